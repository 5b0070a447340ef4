"""Models as ONNX graphs, for the page and other programs; `play.exported` plays them in Python."""

from hypermeter.share.export.command import export

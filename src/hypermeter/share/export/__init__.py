"""Models as ONNX graphs, for the page and other programs; `play.exported` plays them in Python."""

from hypermeter.core.extras import needs

with needs("hypermeter.share.export", of_torch="onnx"):
    from hypermeter.share.export.command import export

"""Models as ONNX graphs, for playing without PyTorch. ``runtime`` plays them."""

from hypermeter.share.export.command import export, export_command

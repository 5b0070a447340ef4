"""Models as ONNX graphs, for playing without PyTorch. ``runtime`` plays them."""

from hypermeter.export.command import export, export_command

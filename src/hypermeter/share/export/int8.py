"""Weights of linear maps in eight bits."""

import tempfile
from pathlib import Path
from typing import Any

from hypermeter.share.export.write import quiet


def quantized(model: Any) -> Any:
    """Return the ONNX model with its linear maps in eight bits: a scale for each output, and one for all inputs.

    Source: ONNX Runtime's dynamic quantization.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, quiet():
        path, small = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, path)
        kinds = ["MatMul", "Gemm"]
        quantize_dynamic(path, small, op_types_to_quantize=kinds, per_channel=True, weight_type=QuantType.QUInt8)
        return onnx.load(small)

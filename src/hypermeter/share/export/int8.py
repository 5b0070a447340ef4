"""Weights of linear maps in eight bits."""

import tempfile
from pathlib import Path
from typing import Any

from hypermeter.share.export.write import quiet


def quantized(model: Any) -> Any:
    """The ONNX model with its linear maps in eight bits: a scale for each output, and one for all that they are given.

    Source: ONNX Runtime's dynamic quantization.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, quiet():
        whole, small = Path(folder) / "whole.onnx", Path(folder) / "small.onnx"
        onnx.save(model, whole)
        quantize_dynamic(
            whole, small, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QUInt8
        )
        return onnx.load(small)

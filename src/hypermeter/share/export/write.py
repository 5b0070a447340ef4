"""A module over named tensors to an ONNX graph without metadata, whose dynamic axes are checked."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from hypermeter.core.errors import HypermeterError

OPSET = 18


class _Flat(nn.Module):
    """A module that takes its tensors by position, around one that takes them by name."""

    def __init__(self, module: nn.Module, names: list[str], call: Callable[[nn.Module, dict[str, Tensor]], Any]):
        super().__init__()
        self.module, self.names, self.call = module, names, call

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.call(self.module, dict(zip(self.names, tensors, strict=True))).values())


def to_onnx(
    module: nn.Module,
    call: Callable[[Any, dict[str, Tensor]], dict[str, Tensor]],
    inputs: Mapping[str, Tensor],
    axes: Mapping[str, tuple[str, ...]],
) -> Any:
    """Return the ONNX model of ``call(module, inputs)``.

    Args:
        module: in eval mode.
        call: gives a dict of tensors, whose keys become the names of the outputs.
        inputs: examples, by name; each dynamic axis of more than one element.
        axes: input -> the names of its first axes, which are dynamic; left out, ``("batch",)``.

    Raises:
        HypermeterError: an axis came out fixed.
    """
    for name in ("onnx", "onnxscript"):  # what is missing is named
        import_module(name)
    names = list(inputs)
    with torch.no_grad():
        outputs = list(call(module, dict(inputs)))
    dims: dict[str, Any] = {}
    shapes = []
    for name in names:
        dynamic = enumerate(axes.get(name, ("batch",)))
        shapes.append({place: dims.setdefault(axis, torch.export.Dim(axis)) for place, axis in dynamic})
    with torch.no_grad(), quiet():
        program = torch.onnx.export(
            _Flat(module, names, call).eval(),
            tuple(tensor.clone() for tensor in inputs.values()),  # one tensor given twice would be one in the graph
            dynamo=True,
            verbose=False,
            input_names=names,
            output_names=outputs,
            dynamic_shapes={"tensors": tuple(shapes)},
            opset_version=OPSET,
        )
    assert program is not None
    graph = program.model_proto
    _strip(graph)
    _check_axes(graph, {name: axes.get(name, ("batch",)) for name in names})
    return graph


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings and log lines of the exporter and the quantizer below errors."""
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir"))]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


def _strip(model: Any) -> None:
    """Remove paths of source files and names of modules."""
    del model.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    parts = [model.graph, *model.functions]
    for part in parts:
        del part.metadata_props[:]
        for node in part.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""


def _check_axes(model: Any, axes: Mapping[str, tuple[str, ...]]) -> None:
    checked = [(value, place, axis) for value in model.graph.input for place, axis in enumerate(axes[value.name])]
    for value, place, axis in checked + [(value, 0, "batch") for value in model.graph.output]:
        if not value.type.tensor_type.shape.dim[place].dim_param:
            raise HypermeterError(f"export: axis {axis} of {value.name} came out fixed; report this with the model")

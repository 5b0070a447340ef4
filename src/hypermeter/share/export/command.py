"""A model as ONNX graphs and a description, to be played on ONNX Runtime."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write, check_folder
from hypermeter.model.expression import Expression
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.model.plan import KINDS, NUMBERS, PLAN_DIM
from hypermeter.play.exported import FORMAT
from hypermeter.play.expressing import OFFSET, VELOCITY
from hypermeter.share.export.graphs import ExpressionGraph, PlanGraph, StepGraph
from hypermeter.share.export.int8 import quantized
from hypermeter.share.export.write import to_onnx

ROWS, BARS = 2, 3
"""Sizes of the examples that graphs are traced with; sizes of 1 would be fixed in the graph."""

GRAPHS = ("step.onnx", "plan.onnx", "expression.onnx", "forward.onnx")
"""Files of an export; earlier versions wrote the last."""

IN_INT8 = ("step.onnx", "expression.onnx")
"""The plan's graph is small."""


def export(model: HierarchicalDrumModel, out: str | Path, name: str, int8: bool = False) -> dict[str, Any]:
    """Write a folder that ``play.loading.load_player`` and the page play.

    ``step.onnx``; ``plan.onnx`` where the model takes plans; ``expression.onnx`` where it has expression;
    ``meta.json``, which describes them. The same model gives the same bytes.

    Args:
        model: with any encoders; an output of ``mixture`` or ``sigmoid``.
        out: the folder, made where there is none.
        name: of the model, for the description.
        int8: store weights of linear maps in eight bits, in the graphs of IN_INT8.

    Returns:
        The content of ``meta.json``.

    Raises:
        HypermeterError: a model with a softmax, or in a metre of one step a bar; the folder cannot be written.
    """
    check_folder(out)
    if model.config["output"] == "softmax":
        raise HypermeterError(f"export: {name} has output softmax, expected mixture or sigmoid; train one of these")
    if model.grid.steps_per_bar == 1:
        raise HypermeterError(f"export: {name} has one step a bar, expected more; use a finer grid")
    model = copy.deepcopy(model).eval().cpu().float().requires_grad_(False)
    step, state = step_graph(model)
    graphs = {"step.onnx": step}
    if model.plan_embedding is not None:
        graphs["plan.onnx"] = plan_graph(model)
    if model.expression is not None:
        graphs["expression.onnx"] = expression_graph(model)
    if int8:
        graphs = {file: quantized(graph) if file in IN_INT8 else graph for file, graph in graphs.items()}
    files = {file: graph.SerializeToString(deterministic=True) for file, graph in graphs.items()}
    meta = describe(model, name, state) | {
        "precision": "int8" if int8 else "float32",
        "files": {file: len(content) for file, content in files.items()},
    }
    files["meta.json"] = (json.dumps(meta, indent=1) + "\n").encode()
    for file, content in files.items():
        with atomic_write(Path(out) / file) as temporary:
            temporary.write_bytes(content)
    for file in GRAPHS:  # what an earlier export left is of another model
        if file not in files:
            (Path(out) / file).unlink(missing_ok=True)
    return meta


def describe(model: HierarchicalDrumModel, name: str, state: dict[str, Tensor]) -> dict[str, Any]:
    """Return what a player must know of the model and its graphs: the content of ``meta.json`` but its files."""
    grid, attention, head = model.grid, model.bar_attention, model.expression
    kit = None
    if model.kit is not None:
        kit = model.kit.to_dict()
        kit["voices"] = [voice | {"label": voice["name"].replace("_", " ")} for voice in kit["voices"]]
    expression = None
    if head is not None:
        expression = {
            "components": head.num_components,
            "state": _tensors(_expression_state(head, 1)),
            "velocity": vars(VELOCITY),
            "offset": vars(OFFSET),
        }
    return {
        "format": FORMAT,
        "name": name,
        "num_drums": model.num_drums,
        "width": model.width,
        "tracks": model.config["tracks"],
        "kit": kit,
        "grid": grid.to_dict() | {"steps_per_bar": grid.steps_per_bar, "steps_per_phrase": grid.steps_per_phrase},
        "components": model.output_layer.num_components,  # pyright: ignore[reportAttributeAccessIssue]
        "features": model.config["step_hidden_dim"],
        "plan_dim": 0 if model.labels is None else PLAN_DIM,
        "labels": model.labels,
        "kinds": list(KINDS),
        "numbers": list(NUMBERS),
        "state": _tensors(state),
        "memory": None
        if attention is None
        else {
            "steps_per_bar": attention.steps_per_bar,
            "window": attention.window,
            "size": attention.memory_size,
        },
        "expression": expression,
    }


def _tensors(state: dict[str, Tensor]) -> list[dict[str, Any]]:
    kinds = {torch.float32: "float32", torch.int64: "int64"}
    return [{"name": name, "shape": list(x.shape[1:]), "dtype": kinds[x.dtype]} for name, x in state.items()]


def _expression_state(head: Expression, rows: int) -> dict[str, Tensor]:
    start = head.init_state(rows)
    return {name: getattr(start, name) for name in ("hidden", "sums", "places")}


# ---------------------------------------------------------------------- the graphs


def step_graph(model: HierarchicalDrumModel) -> tuple[Any, dict[str, Tensor]]:
    """Return the ONNX model of one step, and the state that it begins with."""
    graph = StepGraph(model)
    state = graph.init_state(ROWS)
    inputs = {"x": torch.zeros(ROWS, model.width)}
    if model.labels is not None:
        inputs["asked"] = torch.zeros(ROWS, PLAN_DIM)
    if model.bar_attention is not None:
        inputs["memory"] = torch.zeros(ROWS, model.bar_attention.window, model.bar_attention.memory_size)
    return to_onnx(graph, run_step, inputs | _prefixed(state), {}), state


def run_step(graph: StepGraph, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the outputs of a step from inputs by name."""
    return graph(tensors["x"], tensors.get("asked"), tensors.get("memory"), _state_of(tensors))


def plan_graph(model: HierarchicalDrumModel) -> Any:
    """Return the ONNX model that embeds plans."""
    assert model.plan_embedding is not None
    inputs = {
        "labels": torch.zeros(ROWS, BARS, len(KINDS), dtype=torch.long),
        "numbers": torch.full((ROWS, BARS, len(NUMBERS)), torch.nan),
    }

    def embed(graph: PlanGraph, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"asked": graph(**tensors)}

    return to_onnx(PlanGraph(model.plan_embedding), embed, inputs, dict.fromkeys(inputs, ("batch", "bars")))


def expression_graph(model: HierarchicalDrumModel) -> Any:
    """Return the ONNX model of one step of expression."""
    head = model.expression
    assert head is not None
    inputs = {"features": torch.zeros(ROWS, model.config["step_hidden_dim"])}
    inputs |= {"hits": torch.zeros(ROWS, model.num_drums), "tempo_bpm": torch.full((ROWS,), 120.0)}
    inputs |= {f"last_{name}": torch.zeros(ROWS, model.num_drums) for name in ("hits", "velocity", "offset")}
    return to_onnx(ExpressionGraph(head), run_expression, inputs | _prefixed(_expression_state(head, ROWS)), {})


def run_expression(graph: ExpressionGraph, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the outputs of a step of expression from inputs by name."""
    inputs = {name: tensor for name, tensor in tensors.items() if not name.startswith("state_")}
    return graph(**inputs, state=_state_of(tensors))


def _prefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"state_{name}": tensor for name, tensor in state.items()}


def _state_of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("state_"): x for name, x in tensors.items() if name.startswith("state_")}

"""A model as ONNX graphs and a description, to be played on ONNX Runtime."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.model.plan import KINDS, NUMBERS, PLAN_DIM
from hypermeter.play.exported import FORMAT
from hypermeter.play.expressing import OFFSET, VELOCITY
from hypermeter.share.export.graphs import ExpressionGraph, PlanGraph, StepGraph
from hypermeter.share.export.int8 import quantized
from hypermeter.share.export.recurrent import translations
from hypermeter.share.export.whole import ForwardGraph
from hypermeter.share.export.write import to_onnx

ROWS, BARS = 2, 3
"""Of the examples that graphs are traced with; any number of either can be played, also 1, which the exporter fixes."""

GRAPHS = ("step.onnx", "plan.onnx", "expression.onnx", "forward.onnx")

IN_INT8 = ("step.onnx", "expression.onnx")
"""The plan's graph is small, and whole sequences are for scoring."""


def export(
    model: HierarchicalDrumModel, out: str | Path, name: str, int8: bool = False, forward: bool = False
) -> dict[str, Any]:
    """Write the folder of a model that ``runtime.OnnxPlayer`` and the page play.

    ``step.onnx``; ``plan.onnx`` where the model takes plans; ``expression.onnx`` where it has expression;
    ``forward.onnx`` where it is asked for; ``meta.json``, which describes them. The same model gives the same bytes.

    Args:
        model: with any encoders; an output of ``mixture`` or ``sigmoid``.
        out: the folder, made where there is none.
        name: of the model, for the description.
        int8: weights of linear maps in eight bits, in the graphs of IN_INT8.
        forward: also the graph of whole sequences.

    Returns:
        What ``meta.json`` says.

    Raises:
        HypermeterError: a model with a softmax, or in a metre of one step a bar; the folder cannot be written.
    """
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
    if forward:
        graphs["forward.onnx"] = forward_graph(model)
    files = {file: graph.SerializeToString(deterministic=True) for file, graph in graphs.items()}
    meta = describe(model, name, state) | {
        "precision": "int8" if int8 else "float32",
        "files": {file: len(content) for file, content in files.items()},
    }
    files["meta.json"] = (json.dumps(meta, indent=1) + "\n").encode()
    for file, content in files.items():
        with atomic_write(Path(out) / file) as temporary:
            temporary.write_bytes(content)
    for file in GRAPHS:  # what an export before this one left is of another model
        if file not in files:
            (Path(out) / file).unlink(missing_ok=True)
    return meta


def describe(model: HierarchicalDrumModel, name: str, state: dict[str, Tensor]) -> dict[str, Any]:
    """What a player must know of the model and its graphs."""
    grid, attention, own = model.grid, model.bar_attention, model.expression
    kit = None
    if model.kit is not None:
        kit = model.kit.to_dict()
        kit["voices"] = [each | {"label": each["name"].replace("_", " ")} for each in kit["voices"]]
    expression = None
    if own is not None:
        start = own.init_state(1)
        expression = {
            "components": own.num_components,
            "state": _tensors({each: getattr(start, each) for each in ("hidden", "sums", "places")}),
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
    return [{"name": name, "shape": list(each.shape[1:]), "dtype": kinds[each.dtype]} for name, each in state.items()]


# ---------------------------------------------------------------------- the graphs


def step_graph(model: HierarchicalDrumModel) -> tuple[Any, dict[str, Tensor]]:
    """The ONNX model of one step, and the state that it begins with."""
    graph = StepGraph(model)
    state = graph.init_state(ROWS)
    inputs = {"x": torch.zeros(ROWS, model.width)}
    if model.labels is not None:
        inputs["asked"] = torch.zeros(ROWS, PLAN_DIM)
    if model.bar_attention is not None:
        inputs["memory"] = torch.zeros(ROWS, model.bar_attention.window, model.bar_attention.memory_size)
    return to_onnx(graph, run_step, inputs | _prefixed(state), {}), state


def run_step(graph: StepGraph, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A step from inputs by name."""
    return graph(tensors["x"], tensors.get("asked"), tensors.get("memory"), _state_of(tensors))


def plan_graph(model: HierarchicalDrumModel) -> Any:
    """The ONNX model that embeds plans."""
    assert model.plan_embedding is not None
    inputs = {
        "labels": torch.zeros(ROWS, BARS, len(KINDS), dtype=torch.long),
        "numbers": torch.full((ROWS, BARS, len(NUMBERS)), torch.nan),
    }

    def embed(graph: PlanGraph, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"asked": graph(**tensors)}

    return to_onnx(PlanGraph(model.plan_embedding), embed, inputs, dict.fromkeys(inputs, ("batch", "bars")))


def expression_graph(model: HierarchicalDrumModel) -> Any:
    """The ONNX model of one step of expression."""
    own = model.expression
    assert own is not None
    start = own.init_state(ROWS)
    inputs = {"features": torch.zeros(ROWS, model.config["step_hidden_dim"])}
    inputs |= {"hits": torch.zeros(ROWS, model.num_drums), "tempo_bpm": torch.full((ROWS,), 120.0)}
    inputs |= {f"last_{name}": torch.zeros(ROWS, model.num_drums) for name in ("hits", "velocity", "offset")}
    state = {each: getattr(start, each) for each in ("hidden", "sums", "places")}
    return to_onnx(ExpressionGraph(own), run_expression, inputs | _prefixed(state), {})


def run_expression(graph: ExpressionGraph, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A step of expression from inputs by name."""
    given = {name: each for name, each in tensors.items() if not name.startswith("state_")}
    return graph(**given, state=_state_of(tensors))


def forward_graph(model: HierarchicalDrumModel) -> Any:
    """The ONNX model of whole sequences."""
    steps = 2 * model.grid.steps_per_phrase + model.grid.steps_per_bar + 1  # two of everything: the exporter fixes 1
    inputs = {"step_seq": torch.zeros(ROWS, steps, model.width)}
    if model.labels is not None:
        inputs["asked"] = torch.zeros(ROWS, BARS, PLAN_DIM)

    def run(graph: ForwardGraph, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return graph(**tensors)

    axes = {"step_seq": ("batch", "steps"), "asked": ("batch", "bars")}
    return to_onnx(ForwardGraph(model), run, inputs, axes, translations())


def _prefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"state_{name}": each for name, each in state.items()}


def _state_of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("state_"): each for name, each in tensors.items() if name.startswith("state_")}

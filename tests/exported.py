"""Exported models, once for all tests that play them: import ``exports`` with ``folder``.

An export takes seconds.
"""

from functools import cache
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from filelock import FileLock

import hypermeter
from hypermeter.core.grid import Grid
from hypermeter.model import Parts
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.play.exported import Folder
from hypermeter.share.export import export

LABELS = {"section": ["verse", "chorus"], "style": ["rock", "jazz"], "fill": ["beat", "fill"]}
IN_TWO = Grid(steps_per_beat=2, beats_per_bar=2, bars_per_phrase=2)
SMALL = {"step_hidden_dim": 32, "bar_hidden_dim": 24, "phrase_hidden_dim": 16, "grid": IN_TWO}
SHORT = Parts(attention_bars=3, attention_window=20)
IN_THREE = Grid(steps_per_beat=2, beats_per_bar=3, bars_per_phrase=2)

MODELS = {
    "groove": lambda: hypermeter.load("groove"),
    "gru": lambda: HierarchicalDrumModel(3, **SMALL, labels=LABELS, use_expression=True, num_components=4, parts=SHORT),
    "lstm": lambda: HierarchicalDrumModel(
        5, **SMALL | {"grid": IN_THREE}, cell="lstm", labels=LABELS, num_layers=1, parts=SHORT
    ),
    "transformer": lambda: HierarchicalDrumModel(
        7, **SMALL, use_transformer=True, labels=LABELS, num_layers=1, parts=SHORT
    ),
    "plain": lambda: HierarchicalDrumModel(
        4, **SMALL, output="sigmoid", num_layers=1, parts=Parts(bar_attention=False, look_back=False, positions=False)
    ),
}
"""Name -> model; those with random weights are moved from where they begin, so that all their parts count."""

_PLACE: list[Path] = []


@pytest.fixture(scope="session", autouse=True)
def exports(tmp_path_factory) -> None:
    """One place for all workers of a run: an export takes seconds."""
    base = tmp_path_factory.getbasetemp()
    _PLACE[:] = [base.parent if base.name.startswith("popen-") else base]


@cache
def model(name: str) -> HierarchicalDrumModel:
    torch.manual_seed(0)
    made = MODELS[name]().eval()
    if name != "groove":
        with torch.no_grad():
            for weights in made.parameters():
                weights.add_(0.2 * weights.std(correction=0) * torch.randn_like(weights))
            made.output_layer.project.weight.mul_(4)
            if made.steering is not None:
                made.steering.step.out.weight.mul_(20)
    return made.requires_grad_(False)


@cache
def folder(name: str) -> Path:
    path = _PLACE[0] / "exports" / name
    path.parent.mkdir(exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not (path / "meta.json").exists():  # written last
            with shapes_unchecked():
                export(model(name), path, name)
    return path


class shapes_unchecked:
    """The tests' check of shapes would fix the axes that the exporter keeps open."""

    def __enter__(self) -> None:
        jaxtyping.config.update("jaxtyping_disable", True)

    def __exit__(self, *_: object) -> None:
        jaxtyping.config.update("jaxtyping_disable", False)


def run(session, feeds):
    """The outputs of a graph by name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def embed(name, plan, rows):
    """What the plan's graph makes of a plan of tensors, for so many rows."""
    labels, numbers = (np.ascontiguousarray(part.expand(rows, -1, -1).numpy()) for part in plan)
    return run(Folder.read(folder(name)).session("plan.onnx"), {"labels": labels, "numbers": numbers})["asked"]


class Playing:
    """Pieces side by side on the step graph. As the graph allows it, rows may stand at different positions.

    Args:
        name: of the model.
        rows: pieces.
        plan: (rows, bars, plan_dim), from ``embed``; None plays without a plan.
    """

    def __init__(self, name, rows, plan=None):
        folder_read = Folder.read(folder(name))
        self.session, self.meta, self.plan = folder_read.step_session(), folder_read.meta, plan
        self.state = {
            tensor["name"]: np.zeros((rows, *tensor["shape"]), tensor["dtype"]) for tensor in self.meta["state"]
        }
        self.state["position"] -= 1
        self.memory, size = None, self.meta["memory"]
        if size:
            self.memory = np.zeros((rows, size["steps_per_bar"], size["window"], size["size"]), np.float32)
        self.advance(np.ones((rows, self.meta["width"]), np.float32))  # at position -1 nothing is read

    def advance(self, x):
        position, size = self.state["position"], self.meta["grid"]["steps_per_bar"]
        rows = np.arange(len(position))
        feeds = {f"state_{name}": tensor for name, tensor in self.state.items()} | {"x": np.asarray(x, np.float32)}
        if self.memory is not None:
            feeds["memory"] = self.memory[rows, (position + 1) % size]
        if self.meta["plan_dim"]:
            feeds["asked"] = np.zeros((len(rows), self.meta["plan_dim"]), np.float32)
            if self.plan is not None:
                bar = np.minimum((position + 1) // size, self.plan.shape[1] - 1)
                feeds["asked"] = self.plan[rows, bar]
        self.expected = run(self.session, feeds)
        if self.memory is not None:
            has_begun, bar = position >= 0, position // size % self.memory.shape[2]
            self.memory[rows[has_begun], (position % size)[has_begun], bar[has_begun]] = self.expected["remembered"][
                has_begun
            ]
        self.state = {name: self.expected[f"next_{name}"] for name in self.state}

    def put(self, row, other):
        """The first row of another in place of a row."""
        for target, new in ((self.state, other.state), (self.expected, other.expected)):
            for name in target:
                target[name][row] = new[name][0]
        if self.memory is not None:
            self.memory[row] = other.memory[0]

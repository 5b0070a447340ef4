"""Models written by ``hypermeter export`` once for all tests that play them: import ``exports`` with ``folder``."""

import fcntl
from functools import cache
from pathlib import Path

import jaxtyping
import pytest
import torch

import hypermeter
from hypermeter.core.grid import Grid
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.share.export import export

LABELS = {"section": ["verse", "chorus"], "style": ["rock", "jazz"], "fill": ["beat", "fill"]}
SMALL = {"step_hidden_dim": 32, "bar_hidden_dim": 24, "phrase_hidden_dim": 16, "attention_bars": 3}
IN_THREE = Grid(steps_per_beat=2, beats_per_bar=3, bars_per_phrase=2)

MODELS = {
    "groove": lambda: hypermeter.load("groove"),
    "gru": lambda: HierarchicalDrumModel(3, **SMALL, labels=LABELS, use_expression=True, num_components=4),
    "lstm": lambda: HierarchicalDrumModel(5, **SMALL, cell="lstm", labels=LABELS, grid=IN_THREE),
    "transformer": lambda: HierarchicalDrumModel(
        7, **SMALL, use_transformer=True, attention_window=20, labels=LABELS, num_layers=1
    ),
    "plain": lambda: HierarchicalDrumModel(
        4, **SMALL, output="sigmoid", use_bar_attention=False, use_look_back=False, use_positions=False
    ),
}
"""Name -> model; those with random weights are moved from where they begin, so that all their parts count."""

WITH_FORWARD = ("groove", "lstm", "transformer")
"""The others do without: to export it takes the most time."""

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
            for each in made.parameters():
                each.add_(0.2 * each.std(correction=0) * torch.randn_like(each))
            made.output_layer.project.weight.mul_(4)
            if made.steering is not None:
                made.steering.step.out.weight.mul_(20)
    for each in made.parameters():
        each.requires_grad_(False)
    return made


@cache
def folder(name: str) -> Path:
    path = _PLACE[0] / "exports" / name
    path.parent.mkdir(exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (path / "meta.json").exists():  # written last
            with shapes_unchecked():
                export(model(name), path, name, forward=name in WITH_FORWARD)
    return path


class shapes_unchecked:
    """The tests' check of shapes would fix the axes that the exporter keeps open."""

    def __enter__(self) -> None:
        jaxtyping.config.update("jaxtyping_disable", True)

    def __exit__(self, *_: object) -> None:
        jaxtyping.config.update("jaxtyping_disable", False)

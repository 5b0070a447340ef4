"""The shipped model in every metre."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from hypermeter.core.grid import Grid
from hypermeter.core.kit import load_kit
from hypermeter.learn.evaluate.metres import evaluate_metres
from hypermeter.learn.prepare import prepare
from hypermeter.model.hierarchical import load
from hypermeter.play.loading import load_player
from hypermeter.play.metres import continue_in_metres, parse_metres
from hypermeter.play.plan import plan_bars
from hypermeter.play.request import PlanOptions, SamplingOptions
from test_shipped import GROOVE

GRIDS = [Grid(), Grid.of_metre("4/4", 3), Grid.of_metre("3/4"), Grid.of_metre("6/8", 2), Grid.of_metre("7/8", 2)]


@pytest.fixture(scope="module")
def player():
    return load_player("groove")


@pytest.mark.slow
def test_held_out_bits_in_each_metre(tmp_path):
    if not (GROOVE / "info.csv").exists():
        pytest.skip("the Groove MIDI Dataset is not at HYPERMETER_GROOVE; hypermeter download fetches it")
    prepare(GROOVE, tmp_path, metre="all", steps_per_beat="auto", quiet=True)
    found = evaluate_metres(load("groove"), tmp_path / "validation")
    rows = {(row["metre"], row["steps_per_beat"]): row for row in found}
    for grid, most in ((Grid(), 1.35), (Grid.of_metre("4/4", 3), 1.25), (Grid.of_metre("3/4"), 0.65)):
        row = rows[grid.metre, grid.steps_per_beat]
        assert row["bits_per_step"] <= most and row["bits_per_step"] < row["floor"]


def test_the_file_is_small_and_knows_its_kit_and_grids(player):
    assert Path(str(files("hypermeter") / "weights" / "groove.safetensors")).stat().st_size < 6_000_000
    assert player.kit == load_kit("gm10") and {*GRIDS} <= {*player.grids}
    assert player.has_expression and player.labels


@pytest.mark.parametrize("grid", GRIDS)
def test_it_plays_neither_silence_nor_noise_in_any_metre(player, grid):
    """As the commands play: the tempo is told, and that the first bars are no fill."""
    plan = plan_bars(player.labels, PlanOptions(), 8, grid=grid, tempo_bpm=120.0)
    hits = player.on(grid).generate(8 * grid.steps_per_bar, rows=8, sampling=SamplingOptions(seed=0), plan=plan)
    density = hits.sum(-1).mean(1)
    assert (density > 0.5).all() and (density < 4).all()
    kick = hits[:, :: grid.steps_per_bar, 0].mean()
    assert kick > 2 * hits[..., 0].mean()  # it knows where bars begin


def test_it_changes_the_metre_under_a_plan(player):
    plan = PlanOptions(style="rock")
    grooves = continue_in_metres(player, parse_metres("4/4:4 7/8:4 4/4:2"), sampling=SamplingOptions(seed=1), plan=plan)
    assert all(groove.hits.any() and groove.velocity[groove.hits > 0].std() > 0.02 for groove in grooves)
    assert np.isfinite(np.concatenate([groove.offset.ravel() for groove in grooves])).all()

"""The weights in the package keep what the documents say of them, on performances that they were not trained on."""

import os
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from hypermeter.core.kit import load_kit
from hypermeter.learn.evaluate import evaluate
from hypermeter.learn.prepare import prepare
from hypermeter.model.hierarchical import load
from hypermeter.music.metrics import METRICS

GROOVE = Path(os.environ.get("HYPERMETER_GROOVE", Path(__file__).parents[2] / "shared" / "data" / "groove"))


@pytest.fixture(scope="module")
def model():
    return load("groove")


@pytest.fixture(scope="module")
def validation(tmp_path_factory):
    if not (GROOVE / "info.csv").exists():
        pytest.skip("the Groove MIDI Dataset is not at HYPERMETER_GROOVE; hypermeter download fetches it")
    out = tmp_path_factory.mktemp("groove")
    prepare(GROOVE, out, quiet=True)
    return out / "validation"


@pytest.mark.slow
def test_held_out_bits_forecasts_and_music(model, validation):
    result = evaluate(model, validation)
    assert result["all"]["performances"] == 122
    assert result["all"]["bits_per_step"] <= 1.35  # on the players' own grids
    for level in ("bar", "phrase"):
        forecast = result["forecasts"][level]
        assert forecast["model_mse"] < forecast["last_mse"]
        assert forecast["model_bce"] < forecast["last_bce"]
    music = result["music"]
    assert music["repetition_gap"] <= 0.12  # .11, .06 and .06 with three seeds
    assert music["copied"] <= music["human_copied"]


def test_the_file_is_small_and_knows_its_kit(model):
    size = Path(str(files("hypermeter") / "weights" / "groove.safetensors")).stat().st_size
    assert size < 6_000_000
    assert model.kit == load_kit("gm10")


def test_it_plays_neither_silence_nor_noise(model):
    hits = model.generate(length=512, batch_size=8, seed=0)
    density = METRICS["avg_hits"](hits, model.grid)
    assert (density > 0.1).all() and (density < 3).all() and density.mean() > 0.8  # people play 1.3 hits a step
    consistency = METRICS["groove_consistency"](hits, model.grid)
    assert consistency.mean() > 0.85  # bars resemble their neighbours


def test_it_holds_on_to_a_groove(model):
    bar = np.zeros((16, 10), np.float32)
    bar[[0, 8, 10], 0] = bar[[4, 12], 1] = bar[::2, 2] = 1
    primer = torch.from_numpy(np.tile(bar, (4, 1)))[None].repeat(8, 1, 1)
    made = model.generate(primer, 256, seed=0, include_primer=False)
    hits, same = made.sum().item(), (made * torch.from_numpy(np.tile(bar, (16, 1)))).sum().item()
    assert same / hits > 0.75

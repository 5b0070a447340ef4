"""Small models with weights at random, and the engine's players of them, made once for all tests that play them."""

from dataclasses import replace
from functools import cache

import numpy as np
import torch

from hypermeter.core.grid import Grid
from hypermeter.core.tracks import Track
from hypermeter.model import Parts
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.play.player import Player

LABELS = {"section": ["verse", "chorus"], "style": ["rock", "jazz"], "fill": ["beat", "fill"]}
GRID = Grid(steps_per_beat=2, beats_per_bar=2, bars_per_phrase=2)
"""Bars of 4 steps, phrases of 8."""

SMALL = {"step_hidden_dim": 16, "bar_hidden_dim": 16, "phrase_hidden_dim": 8, "num_components": 3}
KNOWN = [[0, 0, 0], [1, 0, 0], [0, 1, 1], [1, 0, 1]]
BASS = Track("bass", 36, 48, 33, (32, 39))

MODELS = {
    "gru": {"labels": LABELS, "use_expression": True},
    "lstm": {"labels": LABELS, "cell": "lstm"},
    "three layers": {"num_layers": 3},
    "transformer": {"labels": LABELS, "use_transformer": True, "attention_window": 5, "use_expression": True},
    "sigmoid": {"labels": LABELS, "output": "sigmoid"},
    "softmax": {"labels": LABELS, "output": "softmax", "known": KNOWN},
    "tracks": {"labels": LABELS, "tracks": [BASS.to_dict()], "use_expression": True},
    "tracks of a transformer": {"tracks": [BASS.to_dict()], "use_transformer": True},
    "triplets of 3/4": {"labels": LABELS, "grid": Grid(3, 3, 2), "use_expression": True},
    "bars of two steps": {"labels": LABELS, "grid": Grid(1, 2, 3)},
    "thirteen voices": {"num_drums": 13, "labels": LABELS},
    "without positions": {"labels": LABELS, "parts": Parts(positions=False)},
    "without look-back": {"parts": Parts(look_back=False)},
    "without bar attention": {"labels": LABELS, "parts": Parts(bar_attention=False)},
    "without recalled hits": {"labels": LABELS, "parts": Parts(recalled_hits=False)},
    "softmax without recalled hits": {"output": "softmax", "known": KNOWN, "parts": Parts(recalled_hits=False)},
    "without levels": {"parts": Parts(bar_level=False, phrase_level=False)},
    "without anything": {
        "parts": Parts(
            bar_attention=False,
            recalled_hits=False,
            positions=False,
            look_back=False,
            bar_level=False,
            phrase_level=False,
        ),
        "output": "sigmoid",
    },
}
"""Name -> options; three voices unless they say otherwise."""

PLANNED = tuple(name for name, options in MODELS.items() if "labels" in options)
EXPRESSIVE = tuple(name for name, options in MODELS.items() if "use_expression" in options)


def make(num_drums: int = 3, **options) -> HierarchicalDrumModel:
    """A model whose weights are moved from where they begin, so that each of its parts counts."""
    torch.manual_seed(0)
    window = options.pop("attention_window", 7)
    parts = replace(options.pop("parts", Parts()), attention_bars=3, attention_window=window)
    made = HierarchicalDrumModel(num_drums, parts=parts, **{"grid": GRID} | SMALL | options).eval()
    with torch.no_grad():
        for weights in made.parameters():
            weights.add_(0.2 * weights.std(correction=0) * torch.randn_like(weights) + 0.02 * torch.randn_like(weights))
        made.output_layer.project.weight.mul_(4)
        if made.steering is not None:
            made.steering.step.out.weight.mul_(20)
    return made.requires_grad_(False)


@cache
def model(name: str) -> HierarchicalDrumModel:
    return make(**MODELS[name])


@cache
def player(name: str) -> Player:
    return model(name).player(name)


def music(name: str, steps: int = 30, rows: int = 2, seed: int = 1) -> np.ndarray:
    """Hits (rows, steps, width), and notes where the model has a track."""
    random, voices = np.random.default_rng(seed), model(name).num_drums
    hits = (random.random((rows, steps, voices)) < 0.35).astype(np.uint8)
    notes = [track.encode(random.choice([0, 1, 36, 40, 48], (rows * steps,))) for track in model(name).tracks]
    return np.concatenate([hits, *(part.reshape(rows, steps, -1).astype(np.uint8) for part in notes)], -1)

"""The shape of a bar's onsets on a circle."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from hypermeter.core.grid import Grid
from hypermeter.music.metrics.onsets import Hits, Voices, line_bars, mean_of_defined


def _resultant(angles: Tensor, onsets: Tensor) -> Tensor:
    """|1/K sum exp(2 pi i angle)| over the K onsets; NaN with none."""
    angles = 2 * math.pi * angles
    count = onsets.sum(-1)
    length = torch.hypot((onsets * angles.cos()).sum(-1), (onsets * angles.sin()).sum(-1)) / count.clamp_min(1)
    return torch.where(count > 0, length, torch.nan)


def balance(hits: Hits, grid: Grid, voices: Voices = None) -> Float[Tensor, "*B"]:
    """How near the onsets' centre of gravity is to the middle of the circle, mean over whole bars, in [0, 1].

    1 - |1/K sum exp(2 pi i p_k / N)| over the K onset positions p in a bar of N steps. NaN with no onsets, or no whole
    bar.

    Args:
        hits: onsets.
        grid: the metre.
        voices: a voice, a group, or None for all; their union is the line.

    Source: Milne, Bulger & Herff, Journal of Mathematics and Music 2017.
    """
    onsets = line_bars(hits, grid, voices).float()
    position = torch.arange(grid.steps_per_bar, device=hits.device) / grid.steps_per_bar
    return mean_of_defined(1 - _resultant(position, onsets))


def evenness(hits: Hits, grid: Grid, voices: Voices = None) -> Float[Tensor, "*B"]:
    """How near the onsets are to a regular polygon, mean over whole bars, in [0, 1].

    |1/K sum exp(2 pi i (p_k / N - k / K))| over the K onset positions p in a bar of N steps, in order. NaN with no
    onsets, or no whole bar.

    Args:
        hits: onsets.
        grid: the metre.
        voices: a voice, a group, or None for all; their union is the line.

    Source: Milne, Bulger & Herff, Journal of Mathematics and Music 2017.
    """
    onsets = line_bars(hits, grid, voices).float()
    position = torch.arange(grid.steps_per_bar, device=hits.device) / grid.steps_per_bar
    count = onsets.sum(-1, keepdim=True).clamp_min(1)
    return mean_of_defined(_resultant(position - (onsets.cumsum(-1) - 1) / count, onsets))

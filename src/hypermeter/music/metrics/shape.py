"""The shape of a bar's onsets on a circle."""

import math

from jaxtyping import Float

from hypermeter.core.grid import Grid
from hypermeter.music.arrays import Array, arange, namespace
from hypermeter.music.metrics.onsets import Hits, Voices, as_float, line_bars, mean_of_defined


def _resultant(angles: Array, onsets: Array) -> Array:
    """|1/K sum exp(2 pi i angle)| over the K onsets; NaN with none."""
    xp, angles = namespace(onsets), 2 * math.pi * angles
    count = onsets.sum(-1)
    length = xp.hypot((onsets * xp.cos(angles)).sum(-1), (onsets * xp.sin(angles)).sum(-1)) / count.clip(min=1)
    return xp.where(count > 0, length, math.nan)


def balance(hits: Hits, grid: Grid, voices: Voices = None) -> Float[Array, "*B"]:
    """How near the onsets' centre of gravity is to the middle of the circle, mean over whole bars, in [0, 1].

    1 - |1/K sum exp(2 pi i p_k / N)| over the K onset positions p in a bar of N steps. NaN with no onsets, or no whole
    bar.

    Args:
        hits: onsets.
        grid: the metre.
        voices: a voice, a group, or None for all; their union is the line.

    Source: Milne, Bulger & Herff, Journal of Mathematics and Music 2017.
    """
    onsets = as_float(line_bars(hits, grid, voices))
    position = arange(hits, grid.steps_per_bar) / grid.steps_per_bar
    return mean_of_defined(1 - _resultant(position, onsets))


def evenness(hits: Hits, grid: Grid, voices: Voices = None) -> Float[Array, "*B"]:
    """How near the onsets are to a regular polygon, mean over whole bars, in [0, 1].

    |1/K sum exp(2 pi i (p_k / N - k / K))| over the K onset positions p in a bar of N steps, in order. NaN with no
    onsets, or no whole bar.

    Args:
        hits: onsets.
        grid: the metre.
        voices: a voice, a group, or None for all; their union is the line.

    Source: Milne, Bulger & Herff, Journal of Mathematics and Music 2017.
    """
    onsets = as_float(line_bars(hits, grid, voices))
    position = arange(hits, grid.steps_per_bar) / grid.steps_per_bar
    count = onsets.sum(-1, keepdims=True).clip(min=1)
    return mean_of_defined(_resultant(position - (onsets.cumsum(-1) - 1) / count, onsets))

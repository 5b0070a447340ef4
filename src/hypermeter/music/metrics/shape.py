"""Metrics of the onsets of a bar as points on a circle."""

import math

from jaxtyping import Float

from hypermeter.core.grid import Grid
from hypermeter.music.arrays import Array, arange, namespace
from hypermeter.music.metrics.onsets import Hits, Voices, as_float, line_bars, mean_of_defined


def _resultant(angles: Array, onsets: Array) -> Array:
    """Return |1/K sum exp(2 pi i angle)| over the K onsets; NaN without onsets."""
    xp, angles = namespace(onsets), 2 * math.pi * angles
    count = onsets.sum(-1)
    length = xp.hypot((onsets * xp.cos(angles)).sum(-1), (onsets * xp.sin(angles)).sum(-1)) / count.clip(min=1)
    return xp.where(count > 0, length, math.nan)


def balance(hits: Hits, grid: Grid, voices: Voices = None) -> Float[Array, "*B"]:
    """Return how near the onsets' centre of gravity is to the centre of the circle, in [0, 1], as a mean over bars.

    1 - |1/K sum exp(2 pi i p_k / N)| over the K onset positions p of a bar of N steps. A short last bar and bars
    without onsets are left out; NaN if none is left.

    Source: Milne, Bulger & Herff, Journal of Mathematics and Music 2017.
    """
    onsets = as_float(line_bars(hits, grid, voices))
    position = arange(hits, grid.steps_per_bar) / grid.steps_per_bar
    return mean_of_defined(1 - _resultant(position, onsets))


def evenness(hits: Hits, grid: Grid, voices: Voices = None) -> Float[Array, "*B"]:
    """Return how near the onsets are to a regular polygon, in [0, 1], as a mean over bars.

    |1/K sum exp(2 pi i (p_k / N - k / K))| over the K onset positions p of a bar of N steps, in order. A short last bar
    and bars without onsets are left out; NaN if none is left.

    Source: Milne, Bulger & Herff, Journal of Mathematics and Music 2017.
    """
    onsets = as_float(line_bars(hits, grid, voices))
    position = arange(hits, grid.steps_per_bar) / grid.steps_per_bar
    count = onsets.sum(-1, keepdims=True).clip(min=1)
    return mean_of_defined(_resultant(position - (onsets.cumsum(-1) - 1) / count, onsets))

"""Metrics of the number of hits and of their velocity."""

import math

from jaxtyping import Float

from hypermeter.core.grid import Grid
from hypermeter.music.arrays import Array, full, is_floating, join_axes, mean, namespace
from hypermeter.music.metrics.onsets import Hits, as_binary, as_float, chunk_lengths, chunk_sums, ratio


def density(hits: Hits, grid: Grid) -> Float[Array, "*B"]:
    """Return the share of cells (steps x voices) with a hit, in [0, 1]; NaN without steps. Takes probabilities."""
    return mean(mean(as_float(hits)))


def step_density(hits: Hits, grid: Grid) -> Float[Array, "*B T"]:
    """Return at each step the share of voices with a hit, in [0, 1]: the density curve. Takes probabilities."""
    return mean(as_float(hits))


def avg_hits(hits: Hits, grid: Grid) -> Float[Array, "*B"]:
    """Return the mean number of hits per step, in [0, V]; NaN without steps. Takes probabilities."""
    return mean(as_float(hits).sum(-1))


def drum_density(hits: Hits, grid: Grid) -> Float[Array, "*B V"]:
    """Return per voice the share of steps with a hit, in [0, 1]; NaN without steps. Takes probabilities."""
    return mean(as_float(hits), -2)


def max_hits(hits: Hits, grid: Grid) -> Float[Array, "*B"]:
    """Return the largest number of hits on one step, in [0, V]; NaN without steps."""
    counts = as_float(as_binary(hits)).sum(-1)
    return namespace(hits).max(counts, axis=-1) if counts.shape[-1] else mean(counts)


def dense_frac(hits: Hits, grid: Grid, threshold: float | None = None) -> Float[Array, "*B"]:
    """Return the share of bars with more than `threshold` hits per step (V / 2), in [0, 1]; NaN without steps."""
    threshold = hits.shape[-1] / 2 if threshold is None else threshold
    counts = chunk_sums(as_binary(hits), grid.steps_per_bar).sum(-1)
    lengths = chunk_lengths(hits, hits.shape[-2], grid.steps_per_bar)
    return mean(as_float(counts > threshold * lengths))


def co_occurrence(hits: Hits, grid: Grid) -> Float[Array, "*B"]:
    """Return the share of steps with two hits or more, in [0, 1]; NaN without steps.

    Takes probabilities, of independent voices: the number of hits on a step then has a Poisson binomial distribution.
    """
    if not is_floating(hits):
        return mean(as_float(as_binary(hits).sum(-1) > 1))
    xp = namespace(hits)
    none = xp.ones_like(hits[..., 0])
    one = xp.zeros_like(none)
    for hit in xp.unstack(hits, axis=-1):
        none, one = none * (1 - hit), one * (1 - hit) + none * hit
    return mean(1 - none - one)


def hits_per_bar(hits: Hits, grid: Grid) -> Float[Array, "*B bars V"]:
    """Return the number of hits of each voice in each bar; the last bar may be short. Takes probabilities."""
    return chunk_sums(hits, grid.steps_per_bar)


def several_strokes(hits: Hits, grid: Grid, *, strokes: Float[Array, "*B T V"]) -> Float[Array, "*B"]:
    """Return the share of hits with further strokes in their cell, as in flams and rolls, in [0, 1]; NaN without hits.

    Args:
        hits: onsets.
        grid: the metre.
        strokes: number of strokes of each cell, the hit included; read where there is a hit.
    """
    onsets = join_axes(as_binary(hits))
    several = onsets & (join_axes(strokes) > 1)
    return ratio(as_float(several).sum(-1), as_float(onsets).sum(-1))


def velocity_range(hits: Hits, grid: Grid, *, velocity: Float[Array, "*B T V"]) -> Float[Array, "*B"]:
    """Return the difference in velocity of the loudest and the softest hit, in [0, 1]; NaN without hits."""
    xp, onsets = namespace(hits), join_axes(as_binary(hits))
    if not onsets.shape[-1]:
        return full(hits, hits.shape[:-2], math.nan)
    loudest = xp.max(xp.where(onsets, join_axes(velocity), -math.inf), axis=-1)
    softest = xp.min(xp.where(onsets, join_axes(velocity), math.inf), axis=-1)
    return xp.where(onsets.any(-1), loudest - softest, math.nan)

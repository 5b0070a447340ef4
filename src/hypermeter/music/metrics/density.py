"""How much is played, and how loud."""

import math

from jaxtyping import Float

from hypermeter.core.grid import Grid
from hypermeter.music.arrays import Array, full, is_floating, join_axes, mean, namespace
from hypermeter.music.metrics.onsets import Hits, as_binary, as_float, chunk_lengths, chunk_sums


def density(hits: Hits, grid: Grid) -> Float[Array, "*B"]:
    """Share of cells (steps x voices) with a hit, in [0, 1]; NaN with no steps. Probabilities: the expectation."""
    return mean(mean(as_float(hits)))


def step_density(hits: Hits, grid: Grid) -> Float[Array, "*B T"]:
    """At each step, share of the voices with a hit, in [0, 1]: the density curve. Probabilities: the expectation."""
    return mean(as_float(hits))


def avg_hits(hits: Hits, grid: Grid) -> Float[Array, "*B"]:
    """Mean hits per step, in [0, V]; NaN with no steps. Probabilities: the expectation."""
    return mean(as_float(hits).sum(-1))


def drum_density(hits: Hits, grid: Grid) -> Float[Array, "*B V"]:
    """Per voice, share of steps with a hit, in [0, 1]; NaN with no steps. Probabilities: the expectation."""
    return mean(as_float(hits), -2)


def max_hits(hits: Hits, grid: Grid) -> Float[Array, "*B"]:
    """Most hits on one step, in [0, V]; NaN with no steps."""
    counts = as_float(as_binary(hits)).sum(-1)
    return namespace(hits).max(counts, axis=-1) if counts.shape[-1] else mean(counts)


def dense_frac(hits: Hits, grid: Grid, threshold: float | None = None) -> Float[Array, "*B"]:
    """Share of bars with more than ``threshold`` hits per step (left out: V / 2), in [0, 1]; NaN with no steps."""
    threshold = hits.shape[-1] / 2 if threshold is None else threshold
    counts = chunk_sums(as_binary(hits), grid.steps_per_bar).sum(-1)
    lengths = chunk_lengths(hits, hits.shape[-2], grid.steps_per_bar)
    return mean(as_float(counts > threshold * lengths))


def co_occurrence(hits: Hits, grid: Grid) -> Float[Array, "*B"]:
    """Share of steps with two hits or more, in [0, 1]; NaN with no steps.

    Of probabilities, the expectation with independent voices: one minus the probabilities of no hit and of one,
    followed from voice to voice (a Poisson binomial distribution).
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
    """Hits of each voice in each bar; the last bar may be short. Probabilities: the expectation."""
    return chunk_sums(hits, grid.steps_per_bar)


def velocity_range(hits: Hits, grid: Grid, *, velocity: Float[Array, "*B T V"]) -> Float[Array, "*B"]:
    """Loudest minus softest hit, in [0, 1]; NaN with no hits.

    Args:
        hits: onsets.
        grid: the metre.
        velocity: in [0, 1], read where there is a hit.
    """
    xp, onsets = namespace(hits), join_axes(as_binary(hits))
    if not onsets.shape[-1]:
        return full(hits, hits.shape[:-2], math.nan)
    loudest = xp.max(xp.where(onsets, join_axes(velocity), -math.inf), axis=-1)
    softest = xp.min(xp.where(onsets, join_axes(velocity), math.inf), axis=-1)
    return xp.where(onsets.any(-1), loudest - softest, math.nan)

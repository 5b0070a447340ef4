"""How much is played, and how loud."""

import torch
from jaxtyping import Float
from torch import Tensor

from hypermeter.core.grid import Grid
from hypermeter.music.metrics.onsets import Hits, as_binary, as_float, chunk_lengths, chunk_sums


def density(hits: Hits, grid: Grid) -> Float[Tensor, "*B"]:
    """Share of cells (steps x voices) with a hit, in [0, 1]; NaN with no steps. Probabilities: the expectation."""
    return as_float(hits).mean(-1).mean(-1)


def step_density(hits: Hits, grid: Grid) -> Float[Tensor, "*B T"]:
    """At each step, share of the voices with a hit, in [0, 1]: the density curve. Probabilities: the expectation."""
    return as_float(hits).mean(-1)


def avg_hits(hits: Hits, grid: Grid) -> Float[Tensor, "*B"]:
    """Mean hits per step, in [0, V]; NaN with no steps. Probabilities: the expectation."""
    return as_float(hits).sum(-1).mean(-1)


def drum_density(hits: Hits, grid: Grid) -> Float[Tensor, "*B V"]:
    """Per voice, share of steps with a hit, in [0, 1]; NaN with no steps. Probabilities: the expectation."""
    return as_float(hits).mean(-2)


def max_hits(hits: Hits, grid: Grid) -> Float[Tensor, "*B"]:
    """Most hits on one step, in [0, V]; NaN with no steps."""
    counts = as_binary(hits).sum(-1).float()
    return counts.amax(-1) if counts.shape[-1] else counts.mean(-1)


def dense_frac(hits: Hits, grid: Grid, threshold: float | None = None) -> Float[Tensor, "*B"]:
    """Share of bars with more than ``threshold`` hits per step (left out: V / 2), in [0, 1]; NaN with no steps."""
    threshold = hits.shape[-1] / 2 if threshold is None else threshold
    counts = chunk_sums(as_binary(hits), grid.steps_per_bar).sum(-1)
    lengths = chunk_lengths(hits.shape[-2], grid.steps_per_bar, hits.device)
    return (counts > threshold * lengths).float().mean(-1)


def co_occurrence(hits: Hits, grid: Grid) -> Float[Tensor, "*B"]:
    """Share of steps with two hits or more, in [0, 1]; NaN with no steps.

    Of probabilities, the expectation with independent voices: one minus the probabilities of no hit and of one,
    followed from voice to voice (a Poisson binomial distribution).
    """
    if not hits.is_floating_point():
        return (as_binary(hits).sum(-1) > 1).float().mean(-1)
    none = torch.ones_like(hits[..., 0])
    one = torch.zeros_like(none)
    for hit in hits.unbind(-1):
        none, one = none * (1 - hit), one * (1 - hit) + none * hit
    return (1 - none - one).mean(-1)


def hits_per_bar(hits: Hits, grid: Grid) -> Float[Tensor, "*B bars V"]:
    """Hits of each voice in each bar; the last bar may be short. Probabilities: the expectation."""
    return chunk_sums(hits, grid.steps_per_bar)


def velocity_range(hits: Hits, grid: Grid, *, velocity: Float[Tensor, "*B T V"]) -> Float[Tensor, "*B"]:
    """Loudest minus softest hit, in [0, 1]; NaN with no hits.

    Args:
        hits: onsets.
        grid: the metre.
        velocity: in [0, 1], read where there is a hit.
    """
    onsets = as_binary(hits)
    loudest = torch.where(onsets, velocity, -torch.inf).flatten(-2)
    softest = torch.where(onsets, velocity, torch.inf).flatten(-2)
    if not loudest.shape[-1]:
        return torch.full(hits.shape[:-2], torch.nan, device=hits.device)
    return torch.where(onsets.any(-1).any(-1), loudest.amax(-1) - softest.amin(-1), torch.nan)

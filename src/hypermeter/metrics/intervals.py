"""Inter-onset intervals (IOI): distances in steps between consecutive hits.

Per voice, except ``npvi`` and ``ioi_entropy``, which read one line of onsets. Of probabilities, the sums over intervals
are exact expectations with independent cells; a mean or a variance is a ratio of them, and so an approximation.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hypermeter.grid import Grid
from hypermeter.metrics.onsets import (
    Hits,
    Voices,
    as_binary,
    entropy_bits,
    is_probabilistic,
    latest_before,
    line,
    ratio,
)

IOI_BINS = 32
"""Longest distance in steps that ``ioi_hist`` counts."""


def intervals(hits: Hits) -> Int[Tensor, "*B T V"]:
    """At each hit, the steps since the voice's previous hit; 0 elsewhere and at a voice's first hit."""
    onsets = as_binary(hits).transpose(-1, -2)
    previous = latest_before(onsets)
    steps = torch.arange(onsets.shape[-1], device=hits.device)
    return torch.where(onsets & (previous >= 0), steps - previous, 0).transpose(-1, -2)


def _interval_moments(hits: Hits) -> tuple[Tensor, Tensor, Tensor]:
    """Per voice (*B, V): the number of intervals, their sum and the sum of their squares, or what is expected of them.

    The age at step t is the distance to the last hit before it. P(there is one), E[age] and E[age^2] follow from step
    to step: after a hit (probability p) the age is 1, otherwise it is one more.
    """
    if not is_probabilistic(hits):
        gaps = intervals(hits).float()
        return (gaps > 0).sum(-2).float(), gaps.sum(-2), gaps.square().sum(-2)
    there = age = square = torch.zeros_like(hits[..., 0, :])
    count = total = squares = torch.zeros_like(there)
    for hit in hits.unbind(-2):
        count, total, squares = count + hit * there, total + hit * age, squares + hit * square
        rest = 1 - hit
        there, age, square = hit + rest * there, hit + rest * (age + there), hit + rest * (square + 2 * age + there)
    return count, total, squares


def ioi_mean(hits: Hits, grid: Grid) -> Float[Tensor, "*B V"]:
    """Per voice, mean distance in steps between consecutive hits, at least 1; NaN with fewer than two hits.

    Of probabilities: the expected sum of the distances over their expected number.
    """
    count, total, _ = _interval_moments(hits)
    return ratio(total, count)


def ioi_var(hits: Hits, grid: Grid) -> Float[Tensor, "*B V"]:
    """Per voice, population variance (steps squared) of those distances: 0 with two hits, NaN with fewer.

    Of probabilities: the variance of the distances of all sequences together.
    """
    count, total, squares = _interval_moments(hits)
    return (ratio(squares, count) - ratio(total, count).square()).clamp_min(0)


def ioi_hist(hits: Hits, grid: Grid, bins: int = IOI_BINS) -> Float[Tensor, "*B V bins"]:
    """Per voice, how many distances are 1, 2, ... ``bins`` steps; NaN with fewer than two hits.

    Longer ones are left out. Of probabilities: the expected counts, exact; NaN where not even one distance can be.
    """
    if is_probabilistic(hits):
        counts = []
        waiting = hits  # at step t: a hit there and none since, up to the step looked at
        for distance in range(1, bins + 1):
            waiting, later = waiting[..., : max(hits.shape[-2] - distance, 0), :], hits[..., distance:, :]
            counts.append((waiting * later).sum(-2))
            waiting = waiting * (1 - later)
        histogram, possible = torch.stack(counts, -1), (hits > 0).sum(-2) > 1
    else:
        gaps = intervals(hits).transpose(-1, -2)
        histogram, possible = _counts(gaps.clamp_max(bins + 1), bins + 1)[..., :bins], (gaps > 0).any(-1)
    return torch.where(possible[..., None], histogram, torch.nan)


def _counts(gaps: Int[Tensor, "*B T"], longest: int) -> Float[Tensor, "*B longest"]:
    """How often each of 1 to ``longest`` stands among the gaps."""
    counts = torch.zeros(*gaps.shape[:-1], longest + 1, device=gaps.device)
    return counts.scatter_add(-1, gaps, torch.ones_like(gaps, dtype=counts.dtype))[..., 1:]


def ioi_entropy(hits: Hits, grid: Grid, voices: Voices = None) -> Float[Tensor, "*B"]:
    """Shannon entropy in bits of the distances of one line, at least 0; NaN with fewer than two onsets.

    Args:
        hits: onsets.
        grid: the metre.
        voices: a voice, a group, or None for all; their union is the line.
    """
    gaps = intervals(line(hits, voices)[..., None])[..., 0]
    counts = _counts(gaps, gaps.shape[-1])
    total = counts.sum(-1)
    return torch.where(total > 0, entropy_bits(counts / total.clamp_min(1)[..., None]), torch.nan)


def npvi(hits: Hits, grid: Grid, voices: Voices = None) -> Float[Tensor, "*B"]:
    """Normalised pairwise variability index of the distances of one line, in [0, 200); NaN below three onsets.

    100 times the mean of |d_k - d_k+1| / ((d_k + d_k+1) / 2). Source: Grabe & Low 2002.

    Args:
        hits: onsets.
        grid: the metre.
        voices: a voice, a group, or None for all; their union is the line.
    """
    onsets = line(hits, voices)
    gaps = intervals(onsets[..., None])[..., 0].float()
    before = gaps.gather(-1, latest_before(onsets).clamp_min(0))
    is_pair = (gaps > 0) & (before > 0)
    change = (gaps - before).abs() / ((gaps + before) / 2).clamp_min(1)
    return 100 * ratio(torch.where(is_pair, change, 0).sum(-1), is_pair.sum(-1).float())


def fast_patterns(hits: Hits, grid: Grid, fast_threshold: int = 4) -> Float[Tensor, "*B V"]:
    """Per voice, number of consecutive hits at most ``fast_threshold`` steps apart; 0 with fewer than two hits."""
    gaps = intervals(hits)
    return ((gaps > 0) & (gaps <= fast_threshold)).sum(-2).float()

"""Inter-onset intervals (IOI): distances in steps between consecutive hits.

Per voice, except ``npvi`` and ``ioi_entropy``, which read one line of onsets. Of probabilities, the sums over intervals
are exact expectations with independent cells; a mean or a variance is a ratio of them, and so an approximation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from hypermeter.core.grid import Grid
from hypermeter.music.metrics.onsets import (
    Hits,
    Voices,
    as_binary,
    entropy_bits,
    fill_up,
    is_probabilistic,
    line,
    ratio,
)

IOI_BINS = 32
"""Longest distance in steps that ``ioi_hist`` counts."""


@dataclass(frozen=True)
class Intervals:
    """All distances between consecutive hits of the same voice.

    Args:
        shape: (*B, V, T), the lines in which they lie.
        end: (N,) the later hit, as an index into the flattened lines.
        gap: (N,) steps from the hit before it; more than its place in the line for the first hit of a line.
    """

    shape: torch.Size
    end: Int[Tensor, " N"]
    gap: Int[Tensor, " N"]

    @classmethod
    def of(cls, hits: Hits, multiple: int = 1) -> "Intervals":
        """Of onsets, followed by empty steps up to a multiple."""
        lines = as_binary(hits).transpose(-1, -2)
        lines = fill_up(lines if lines.shape[-1] else F.pad(lines, (0, 1)), multiple, -1).contiguous()
        at = lines.view(-1).nonzero()[:, 0]
        return cls(lines.shape, at[1:], at.diff())

    def counts(self, size: int | None = None) -> Float[Tensor, "*B V chunks size"]:
        """[..., g]: how many gaps of g steps have both their hits in the same chunk. T is a multiple of ``size``.

        All that is said of intervals is a sum over this, which has as many cells as the hits. Left out, ``size`` is T.
        """
        size = self.shape[-1] if size is None else size
        is_power_of_two = size & (size - 1) == 0  # of which the remainder is quick
        place = self.end & (size - 1) if is_power_of_two else self.end % size
        cell = self.end - place + self.gap * (self.gap <= place)  # gaps from outside go to the cell of length 0
        counts = torch.zeros(self.shape.numel(), device=cell.device)
        counts.scatter_add_(0, cell, torch.ones(len(cell), device=cell.device))[::size] = 0
        return counts.view(*self.shape[:-1], self.shape[-1] // size, size)


def moments(counts: Float[Tensor, "*B size"]) -> tuple[Tensor, Tensor, Tensor]:
    """The number of gaps, their sum, and the sum of their squares, of ``Intervals.counts``."""
    size = counts.shape[-1]
    dtype = torch.float if size <= 2**12 else torch.double  # whole numbers up to the square of size are exact
    gap = torch.arange(size, dtype=dtype, device=counts.device)
    lines = counts.reshape(-1, size).to(dtype)
    count, total, squares = ((lines @ power).double().view(counts.shape[:-1]) for power in (gap**0, gap, gap**2))
    return count, total, squares


def histogram(
    counts: Float[Tensor, "*B size"], bins: int = IOI_BINS, number: Float[Tensor, "*B"] | None = None
) -> Float[Tensor, "*B bins"]:
    """How many gaps are 1, 2, ... ``bins``, of ``Intervals.counts``; NaN without a gap.

    ``number`` is how many there are of any length, where it is known.
    """
    number = counts.sum(-1) if number is None else number
    undefined = torch.where(number > 0, 0.0, torch.nan)
    return F.pad(counts[..., 1 : bins + 1], (0, max(bins + 1 - counts.shape[-1], 0))).add_(undefined[..., None])


def _expected_moments(probs: Float[Tensor, "*B T V"]) -> tuple[Tensor, Tensor, Tensor]:
    """Per voice, the expectations of what ``moments`` counts.

    The age at step t is the distance to the last hit before it. P(there is one), E[age] and E[age^2] follow from step
    to step: after a hit (probability p) the age is 1, otherwise it is one more.
    """
    there = age = square = torch.zeros_like(probs[..., 0, :])
    count = total = squares = torch.zeros_like(there)
    for hit in probs.unbind(-2):
        count, total, squares = count + hit * there, total + hit * age, squares + hit * square
        rest = 1 - hit
        there, age, square = hit + rest * there, hit + rest * (age + there), hit + rest * (square + 2 * age + there)
    return count, total, squares


def _of_moments(hits: Hits, statistic: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Float[Tensor, "*B V"]:
    if is_probabilistic(hits):
        return statistic(*_expected_moments(hits))
    return statistic(*moments(Intervals.of(hits).counts()[..., 0, :])).float()


def mean_of_moments(count: Tensor, total: Tensor, squares: Tensor) -> Tensor:
    return ratio(total, count)


def variance_of_moments(count: Tensor, total: Tensor, squares: Tensor) -> Tensor:
    return (ratio(squares, count) - ratio(total, count).square()).clamp_min(0)


def ioi_mean(hits: Hits, grid: Grid) -> Float[Tensor, "*B V"]:
    """Per voice, mean distance in steps between consecutive hits, at least 1; NaN with fewer than two hits.

    Of probabilities: the expected sum of the distances over their expected number.
    """
    return _of_moments(hits, mean_of_moments)


def ioi_var(hits: Hits, grid: Grid) -> Float[Tensor, "*B V"]:
    """Per voice, population variance (steps squared) of those distances: 0 with two hits, NaN with fewer.

    Of probabilities: the variance of the distances of all sequences together.
    """
    return _of_moments(hits, variance_of_moments)


def ioi_hist(hits: Hits, grid: Grid, bins: int = IOI_BINS) -> Float[Tensor, "*B V bins"]:
    """Per voice, how many distances are 1, 2, ... ``bins`` steps; NaN with fewer than two hits.

    Longer ones are left out. Of probabilities: the expected counts, exact; NaN where not even one distance can be.
    """
    if not is_probabilistic(hits):
        return histogram(Intervals.of(hits).counts()[..., 0, :], bins)
    counts = []
    waiting = hits  # at step t: a hit there and none since, up to the step looked at
    for distance in range(1, bins + 1):
        waiting, later = waiting[..., : max(hits.shape[-2] - distance, 0), :], hits[..., distance:, :]
        counts.append((waiting * later).sum(-2))
        waiting = waiting * (1 - later)
    possible = (hits > 0).sum(-2) > 1
    return torch.where(possible[..., None], torch.stack(counts, -1), torch.nan)


def ioi_entropy(hits: Hits, grid: Grid, voices: Voices = None) -> Float[Tensor, "*B"]:
    """Shannon entropy in bits of the distances of one line, at least 0; NaN with fewer than two onsets.

    Args:
        hits: onsets.
        grid: the metre.
        voices: a voice, a group, or None for all; their union is the line.
    """
    onsets = line(hits, voices)[..., None]
    counts = Intervals.of(onsets).counts()[..., 0, 0, :]
    return entropy_bits(counts / counts.sum(-1, keepdim=True))


def npvi(hits: Hits, grid: Grid, voices: Voices = None) -> Float[Tensor, "*B"]:
    """Normalised pairwise variability index of the distances of one line, in [0, 200); NaN below three onsets.

    100 times the mean of |d_k - d_k+1| / ((d_k + d_k+1) / 2). Source: Grabe & Low 2002.

    Args:
        hits: onsets.
        grid: the metre.
        voices: a voice, a group, or None for all; their union is the line.
    """
    onsets = line(hits, voices)
    at = onsets.reshape(-1).nonzero()[:, 0]
    row, gap = at // max(onsets.shape[-1], 1), at.diff().float()
    of_one_line = row[2:] == row[:-2]  # three onsets, two gaps
    change = ((gap[1:] - gap[:-1]).abs() / ((gap[1:] + gap[:-1]) / 2))[of_one_line]
    total, pairs = torch.zeros(2, onsets.shape[:-1].numel(), device=hits.device).unbind()
    total.index_add_(0, row[2:][of_one_line], change)
    pairs.index_add_(0, row[2:][of_one_line], torch.ones_like(change))
    return 100 * ratio(total, pairs).view(onsets.shape[:-1])


def fast_patterns(hits: Hits, grid: Grid, fast_threshold: int = 4) -> Float[Tensor, "*B V"]:
    """Per voice, number of consecutive hits at most ``fast_threshold`` steps apart; 0 with fewer than two hits."""
    return Intervals.of(hits).counts()[..., 0, : fast_threshold + 1].sum(-1)

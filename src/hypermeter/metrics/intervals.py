"""Inter-onset intervals (IOI): distances in steps between consecutive hits.

Per voice, except ``npvi`` and ``ioi_entropy``, which read one line of onsets. Of probabilities, the sums over intervals
are exact expectations with independent cells; a mean or a variance is a ratio of them, and so an approximation.
"""

from dataclasses import dataclass

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
    line,
    ratio,
)

IOI_BINS = 32
"""Longest distance in steps that ``ioi_hist`` counts."""


@dataclass(frozen=True)
class Intervals:
    """All distances between consecutive hits of the same voice, as a list.

    Args:
        shape: (*B, V), the lines that they belong to.
        line: (N,) the line of each, as an index into the flattened shape; one past the last for those left out.
        end: (N,) the step of the later hit.
        gap: (N,) steps between the two hits.
    """

    shape: torch.Size
    line: Int[Tensor, " N"]
    end: Int[Tensor, " N"]
    gap: Int[Tensor, " N"]

    @classmethod
    def of(cls, hits: Hits) -> "Intervals":
        steps = max(hits.shape[-2], 1)
        at = as_binary(hits).transpose(-1, -2).reshape(-1).nonzero()[:, 0]
        line = at // steps
        inside = line[1:] == line[:-1]
        line, end, gap = line[1:][inside], (at - line * steps)[1:][inside], at.diff()[inside]
        return cls(torch.Size((*hits.shape[:-2], hits.shape[-1])), line, end, gap)

    def within(self, size: int, chunks: int) -> "Intervals":
        """Those with both hits in one chunk of ``size`` steps; the lines are (*B, chunks, V)."""
        shape = torch.Size((*self.shape[:-1], chunks, self.shape[-1]))
        if chunks == 1:  # a chunk that holds all
            return Intervals(shape, self.line, self.end, self.gap)
        chunk, voices = self.end // size, self.shape[-1]
        row = self.line // voices
        line = self.line + voices * ((chunks - 1) * row + chunk)  # row * chunks + chunk, then the voice
        end = self.end - size * chunk
        return Intervals(shape, torch.where(self.gap <= end, line, shape.numel()), end, self.gap)

    def total(self, values: Float[Tensor, " N"]) -> Float[Tensor, "*B V"]:
        """Per line, the sum of a value for each interval."""
        sums = torch.zeros(self.shape.numel() + 1, dtype=values.dtype, device=values.device)
        return sums.index_add_(0, self.line, values)[:-1].view(self.shape)

    def moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Per line, the number of gaps, their sum, and the sum of their squares."""
        gap = self.gap.double()  # squares of long gaps are more than float32 can add up
        return self.total(torch.ones_like(gap)), self.total(gap), self.total(gap.square())

    def histogram(self, bins: int = IOI_BINS) -> Float[Tensor, "*B V bins"]:
        """Per line, how many gaps are 1, 2, ... ``bins``; NaN without a gap."""
        lines = self.shape.numel()
        counts = torch.zeros((lines + 1) * bins, device=self.gap.device)
        place = torch.where(self.gap <= bins, self.line * bins + self.gap - 1, lines * bins)
        counts.index_add_(0, place, torch.ones(len(place), device=place.device))
        undefined = self.total(torch.ones(len(place), device=place.device)) == 0
        return counts[: lines * bins].view(*self.shape, bins).masked_fill_(undefined[..., None], torch.nan)

    def at_most(self, threshold: int) -> Float[Tensor, "*B V"]:
        """Per line, the number of gaps of at most ``threshold``."""
        return self.total((self.gap <= threshold).float())


def _expected_moments(probs: Float[Tensor, "*B T V"]) -> tuple[Tensor, Tensor, Tensor]:
    """Per voice, the expectations of what ``Intervals.moments`` counts.

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


def _moments(hits: Hits) -> tuple[Tensor, Tensor, Tensor]:
    return _expected_moments(hits) if is_probabilistic(hits) else Intervals.of(hits).moments()


def mean_of_moments(count: Tensor, total: Tensor, squares: Tensor) -> Tensor:
    return ratio(total, count)


def variance_of_moments(count: Tensor, total: Tensor, squares: Tensor) -> Tensor:
    return (ratio(squares, count) - ratio(total, count).square()).clamp_min(0)


def ioi_mean(hits: Hits, grid: Grid) -> Float[Tensor, "*B V"]:
    """Per voice, mean distance in steps between consecutive hits, at least 1; NaN with fewer than two hits.

    Of probabilities: the expected sum of the distances over their expected number.
    """
    mean = mean_of_moments(*_moments(hits))
    return mean if is_probabilistic(hits) else mean.float()


def ioi_var(hits: Hits, grid: Grid) -> Float[Tensor, "*B V"]:
    """Per voice, population variance (steps squared) of those distances: 0 with two hits, NaN with fewer.

    Of probabilities: the variance of the distances of all sequences together.
    """
    variance = variance_of_moments(*_moments(hits))
    return variance if is_probabilistic(hits) else variance.float()


def ioi_hist(hits: Hits, grid: Grid, bins: int = IOI_BINS) -> Float[Tensor, "*B V bins"]:
    """Per voice, how many distances are 1, 2, ... ``bins`` steps; NaN with fewer than two hits.

    Longer ones are left out. Of probabilities: the expected counts, exact; NaN where not even one distance can be.
    """
    if not is_probabilistic(hits):
        return Intervals.of(hits).histogram(bins)
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
    counts = Intervals.of(onsets).histogram(max(onsets.shape[-2], 1))[..., 0, :]
    return entropy_bits(counts / counts.sum(-1, keepdim=True))


def npvi(hits: Hits, grid: Grid, voices: Voices = None) -> Float[Tensor, "*B"]:
    """Normalised pairwise variability index of the distances of one line, in [0, 200); NaN below three onsets.

    100 times the mean of |d_k - d_k+1| / ((d_k + d_k+1) / 2). Source: Grabe & Low 2002.

    Args:
        hits: onsets.
        grid: the metre.
        voices: a voice, a group, or None for all; their union is the line.
    """
    gaps = Intervals.of(line(hits, voices)[..., None])
    gap = gaps.gap.float()
    follows = (gaps.line[1:] == gaps.line[:-1]).float()
    change = (gap[1:] - gap[:-1]).abs() / ((gap[1:] + gap[:-1]) / 2)
    pairs = Intervals(gaps.shape, gaps.line[1:], gaps.end[1:], gaps.gap[1:])
    return 100 * ratio(pairs.total(follows * change), pairs.total(follows))[..., 0]


def fast_patterns(hits: Hits, grid: Grid, fast_threshold: int = 4) -> Float[Tensor, "*B V"]:
    """Per voice, number of consecutive hits at most ``fast_threshold`` steps apart; 0 with fewer than two hits."""
    return Intervals.of(hits).at_most(fast_threshold)

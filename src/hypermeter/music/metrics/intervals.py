"""Metrics of inter-onset intervals (IOI): the distances in steps between consecutive hits.

They are computed per voice, except `npvi` and `ioi_entropy`, which read one line of onsets. For probabilities, sums
over intervals are exact expectations if cells are independent; means and variances are ratios of such sums.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from hypermeter.core.grid import Grid
from hypermeter.music.arrays import Array, as_like, cast, full, namespace, pad, sums_at
from hypermeter.music.metrics.onsets import (
    Hits,
    Voices,
    as_binary,
    entropy_bits,
    is_probabilistic,
    line,
    ratio,
)

IOI_BINS = 32
"""Longest interval in steps that `ioi_hist` counts."""


@dataclass(frozen=True)
class Intervals:
    """All intervals between consecutive hits of the same voice.

    Args:
        shape: (*B, V, T), the lines of onsets.
        end: (N,) the later hit of each interval, as an index into the flattened lines.
        gap: (N,) steps from the hit before it; for the first hit of a line it is larger than its index in the line.
    """

    shape: tuple[int, ...]
    end: Int[Array, " N"]
    gap: Int[Array, " N"]

    @classmethod
    def of(cls, hits: Hits) -> "Intervals":
        """Return the intervals of onsets."""
        lines = as_binary(hits).swapaxes(-1, -2)
        lines = lines if lines.shape[-1] else pad(lines, -1, 0, 1)
        (at,) = namespace(hits).nonzero(lines.reshape(-1))
        return cls(tuple(lines.shape), at[1:], at[1:] - at[:-1])

    def counts(self) -> Float[Array, "*B V T"]:
        """Return at [..., g] the number of gaps of g steps. All metrics of intervals are sums over these counts."""
        size = self.shape[-1]
        position = self.end % size
        cell = self.end - position + self.gap * (self.gap <= position)  # gap 0 if the hit before is of another line
        counts = sums_at(cell, full(cell, cell.shape, 1), math.prod(self.shape))
        counts[::size] = 0
        return counts.reshape(self.shape)


def moments(counts: Float[Array, "*B size"]) -> tuple[Array, Array, Array]:
    """Return the number of gaps, their sum, and the sum of their squares, from `Intervals.counts`."""
    xp, size = namespace(counts), counts.shape[-1]
    powers = as_like(counts, _powers(size))
    lines = cast(counts.reshape((math.prod(counts.shape[:-1]), size)), powers.dtype)
    sums = cast(lines @ powers, xp.float64).reshape((*counts.shape[:-1], 3))
    return sums[..., 0], sums[..., 1], sums[..., 2]


@lru_cache(256)
def _powers(size: int) -> Float[np.ndarray, "size 3"]:
    """Return 1, g and g squared for g from 0 to size - 1, in the smallest type that holds size squared exactly."""
    return (np.arange(size)[:, None] ** np.arange(3)).astype(np.float32 if size <= 2**12 else np.float64)


def histogram(counts: Float[Array, "*B size"], bins: int = IOI_BINS) -> Float[Array, "*B bins"]:
    """Return how many gaps are 1, 2, ... `bins` steps long, from `Intervals.counts`; NaN without a gap."""
    lengths = pad(counts[..., 1 : bins + 1], -1, 0, max(bins + 1 - counts.shape[-1], 0))
    return lengths + namespace(counts).where(counts.sum(-1) > 0, 0.0, math.nan)[..., None]


def _expected_moments(probs: Float[Array, "*B T V"]) -> tuple[Array, Array, Array]:
    """Return per voice the expectations of the values of `moments`.

    The age at step t is the distance to the last hit before it. P(there is one), E[age] and E[age^2] are computed step
    by step: after a hit, of probability p, the age is 1, otherwise it grows by 1.
    """
    xp = namespace(probs)
    has_hit = age = square = count = total = squares = xp.zeros_like(probs[..., 0, :])
    for hit in xp.unstack(probs, axis=-2):
        count, total, squares = count + hit * has_hit, total + hit * age, squares + hit * square
        rest = 1 - hit
        square = hit + rest * (square + 2 * age + has_hit)
        has_hit, age = hit + rest * has_hit, hit + rest * (age + has_hit)
    return count, total, squares


def _of_moments(hits: Hits, statistic: Callable[[Array, Array, Array], Array]) -> Float[Array, "*B V"]:
    if is_probabilistic(hits):
        return statistic(*_expected_moments(hits))
    xp = namespace(hits)
    return cast(statistic(*moments(Intervals.of(hits).counts())), xp.float32)


def mean_of_moments(count: Array, total: Array, squares: Array) -> Array:
    return ratio(total, count)


def variance_of_moments(count: Array, total: Array, squares: Array) -> Array:
    return (ratio(squares, count) - ratio(total, count) ** 2).clip(min=0)


def ioi_mean(hits: Hits, grid: Grid) -> Float[Array, "*B V"]:
    """Return per voice the mean interval in steps between consecutive hits, at least 1; NaN with fewer than two hits.

    Takes probabilities: the result is the expected sum of the intervals over their expected number.
    """
    return _of_moments(hits, mean_of_moments)


def ioi_var(hits: Hits, grid: Grid) -> Float[Array, "*B V"]:
    """Return per voice the population variance, in steps squared, of the intervals between consecutive hits.

    It is 0 with two hits and NaN with fewer. Takes probabilities: the result is the variance of the intervals of all
    sequences together.
    """
    return _of_moments(hits, variance_of_moments)


def ioi_hist(hits: Hits, grid: Grid, bins: int = IOI_BINS) -> Float[Array, "*B V bins"]:
    """Return per voice how many intervals are 1, 2, ... `bins` steps long; NaN with fewer than two hits.

    Longer intervals are not counted. Takes probabilities: the counts are exact expectations, and NaN if no interval is
    possible.
    """
    if not is_probabilistic(hits):
        return histogram(Intervals.of(hits).counts(), bins)
    counts = []
    waiting = hits  # at step t: the probability of a hit there and of none since
    for distance in range(1, bins + 1):
        waiting, later = waiting[..., : max(hits.shape[-2] - distance, 0), :], hits[..., distance:, :]
        counts.append((waiting * later).sum(-2))
        waiting = waiting * (1 - later)
    possible = (hits > 0).sum(-2) > 1
    xp = namespace(hits)
    return xp.where(possible[..., None], xp.stack(counts, axis=-1), math.nan)


def ioi_entropy(hits: Hits, grid: Grid, voices: Voices = None) -> Float[Array, "*B"]:
    """Return the entropy in bits of the intervals of one line, at least 0; NaN with fewer than two onsets."""
    onsets = line(hits, voices)[..., None]
    counts = Intervals.of(onsets).counts()[..., 0, :]
    return entropy_bits(ratio(counts, counts.sum(-1, keepdims=True)))


def npvi(hits: Hits, grid: Grid, voices: Voices = None) -> Float[Array, "*B"]:
    """Return the normalised pairwise variability index of the intervals of one line, in [0, 200).

    100 times the mean of |d_k - d_k+1| / ((d_k + d_k+1) / 2) over consecutive intervals d. NaN below three onsets.

    Source: Grabe & Low 2002.
    """
    onsets = line(hits, voices)
    xp = namespace(hits)
    (at,) = xp.nonzero(onsets.reshape(-1))
    row, gap = at // max(onsets.shape[-1], 1), cast(at[1:] - at[:-1], xp.float32)
    of_one_line = row[2:] == row[:-2]  # three onsets, two gaps
    change = (abs(gap[1:] - gap[:-1]) / ((gap[1:] + gap[:-1]) / 2))[of_one_line]
    row, lines = row[2:][of_one_line], math.prod(onsets.shape[:-1])
    total, pairs = (sums_at(row, values, lines) for values in (change, xp.ones_like(change)))
    return 100 * ratio(total, pairs).reshape(onsets.shape[:-1])


def fast_patterns(hits: Hits, grid: Grid, fast_threshold: int = 4) -> Float[Array, "*B V"]:
    """Return per voice the number of intervals of at most `fast_threshold` steps; 0 with fewer than two hits."""
    return Intervals.of(hits).counts()[..., : fast_threshold + 1].sum(-1)

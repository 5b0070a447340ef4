"""Inter-onset intervals (IOI): distances in steps between consecutive hits.

Per voice, except ``npvi`` and ``ioi_entropy``, which read one line of onsets. Of probabilities, the sums over intervals
are exact expectations with independent cells; a mean or a variance is a ratio of them, and so an approximation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, Int

from hypermeter.core.grid import Grid
from hypermeter.music.arrays import Array, arange, cast, full, namespace, pad, sums_at
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

    shape: tuple[int, ...]
    end: Int[Array, " N"]
    gap: Int[Array, " N"]

    @classmethod
    def of(cls, hits: Hits, multiple: int = 1) -> "Intervals":
        """Of onsets, followed by empty steps up to a multiple."""
        lines = as_binary(hits).swapaxes(-1, -2)
        lines = fill_up(lines if lines.shape[-1] else pad(lines, -1, 0, 1), multiple, -1)
        (at,) = namespace(hits).nonzero(lines.reshape(-1))
        return cls(tuple(lines.shape), at[1:], at[1:] - at[:-1])

    def counts(self, size: int | None = None) -> Float[Array, "*B V chunks size"]:
        """[..., g]: how many gaps of g steps have both their hits in the same chunk. T is a multiple of ``size``.

        All that is said of intervals is a sum over this, which has as many cells as the hits. Left out, ``size`` is T.
        """
        size = self.shape[-1] if size is None else size
        is_power_of_two = size & (size - 1) == 0  # of which the remainder is quick
        place = self.end & (size - 1) if is_power_of_two else self.end % size
        cell = self.end - place + self.gap * (self.gap <= place)  # gaps from outside go to the cell of length 0
        counts = sums_at(cell, full(cell, cell.shape, 1), math.prod(self.shape))
        counts[::size] = 0
        return counts.reshape((*self.shape[:-1], self.shape[-1] // size, size))


def moments(counts: Float[Array, "*B size"]) -> tuple[Array, Array, Array]:
    """The number of gaps, their sum, and the sum of their squares, of ``Intervals.counts``."""
    size = counts.shape[-1]
    xp = namespace(counts)
    dtype = xp.float32 if size <= 2**12 else xp.float64  # whole numbers up to the square of size are exact
    gap = cast(arange(counts, size), dtype)
    lines = cast(counts.reshape((math.prod(counts.shape[:-1]), size)), dtype)
    sums = (cast(lines @ power, xp.float64) for power in (gap**0, gap, gap**2))
    count, total, squares = (each.reshape(counts.shape[:-1]) for each in sums)
    return count, total, squares


def histogram(
    counts: Float[Array, "*B size"], bins: int = IOI_BINS, number: Float[Array, "*B"] | None = None
) -> Float[Array, "*B bins"]:
    """How many gaps are 1, 2, ... ``bins``, of ``Intervals.counts``; NaN without a gap.

    ``number`` is how many there are of any length, where it is known.
    """
    known = counts.sum(-1) if number is None else number
    found = pad(counts[..., 1 : bins + 1], -1, 0, max(bins + 1 - counts.shape[-1], 0))
    return found + namespace(counts).where(known > 0, 0.0, math.nan)[..., None]


def _expected_moments(probs: Float[Array, "*B T V"]) -> tuple[Array, Array, Array]:
    """Per voice, the expectations of what ``moments`` counts.

    The age at step t is the distance to the last hit before it. P(there is one), E[age] and E[age^2] follow from step
    to step: after a hit (probability p) the age is 1, otherwise it is one more.
    """
    xp = namespace(probs)
    there = age = square = count = total = squares = xp.zeros_like(probs[..., 0, :])
    for hit in xp.unstack(probs, axis=-2):
        count, total, squares = count + hit * there, total + hit * age, squares + hit * square
        rest = 1 - hit
        there, age, square = hit + rest * there, hit + rest * (age + there), hit + rest * (square + 2 * age + there)
    return count, total, squares


def _of_moments(hits: Hits, statistic: Callable[[Array, Array, Array], Array]) -> Float[Array, "*B V"]:
    if is_probabilistic(hits):
        return statistic(*_expected_moments(hits))
    xp = namespace(hits)
    return cast(statistic(*moments(Intervals.of(hits).counts()[..., 0, :])), xp.float32)


def mean_of_moments(count: Array, total: Array, squares: Array) -> Array:
    return ratio(total, count)


def variance_of_moments(count: Array, total: Array, squares: Array) -> Array:
    return (ratio(squares, count) - ratio(total, count) ** 2).clip(min=0)


def ioi_mean(hits: Hits, grid: Grid) -> Float[Array, "*B V"]:
    """Per voice, mean distance in steps between consecutive hits, at least 1; NaN with fewer than two hits.

    Of probabilities: the expected sum of the distances over their expected number.
    """
    return _of_moments(hits, mean_of_moments)


def ioi_var(hits: Hits, grid: Grid) -> Float[Array, "*B V"]:
    """Per voice, population variance (steps squared) of those distances: 0 with two hits, NaN with fewer.

    Of probabilities: the variance of the distances of all sequences together.
    """
    return _of_moments(hits, variance_of_moments)


def ioi_hist(hits: Hits, grid: Grid, bins: int = IOI_BINS) -> Float[Array, "*B V bins"]:
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
    xp = namespace(hits)
    return xp.where(possible[..., None], xp.stack(counts, axis=-1), math.nan)


def ioi_entropy(hits: Hits, grid: Grid, voices: Voices = None) -> Float[Array, "*B"]:
    """Shannon entropy in bits of the distances of one line, at least 0; NaN with fewer than two onsets.

    Args:
        hits: onsets.
        grid: the metre.
        voices: a voice, a group, or None for all; their union is the line.
    """
    onsets = line(hits, voices)[..., None]
    counts = Intervals.of(onsets).counts()[..., 0, 0, :]
    return entropy_bits(ratio(counts, counts.sum(-1, keepdims=True)))


def npvi(hits: Hits, grid: Grid, voices: Voices = None) -> Float[Array, "*B"]:
    """Normalised pairwise variability index of the distances of one line, in [0, 200); NaN below three onsets.

    100 times the mean of |d_k - d_k+1| / ((d_k + d_k+1) / 2). Source: Grabe & Low 2002.

    Args:
        hits: onsets.
        grid: the metre.
        voices: a voice, a group, or None for all; their union is the line.
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
    """Per voice, number of consecutive hits at most ``fast_threshold`` steps apart; 0 with fewer than two hits."""
    return Intervals.of(hits).counts()[..., 0, : fast_threshold + 1].sum(-1)

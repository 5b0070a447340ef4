"""Metrics of repetition: transitions, patterns of several steps, and comparisons of bars."""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

from jaxtyping import Bool, Float, Int, Shaped

from hypermeter.core.grid import Grid
from hypermeter.music.arrays import (
    Array,
    arange,
    cast,
    full,
    join_axes,
    mean,
    namespace,
    pad,
    split_axis,
    unique_rows,
    where,
)
from hypermeter.music.metrics.onsets import Hits, as_binary, as_float, entropy_bits, mean_of_defined, ratio, whole_bars

NGRAM_STEPS = 4
"""Default number of steps in a pattern."""

REPETITION_LAGS = 8
"""Default number of bars of `repetition_profile`."""


def transitions(hits: Hits, grid: Grid) -> Float[Array, "*B V V"]:
    """Return at [i, j] the share of voice j among the hits on the step after a hit of voice i. Rows sum to 1, or 0.

    Takes probabilities: the result is the exact expected number of such pairs over their sum.
    """
    onsets = as_float(hits)
    return shares_of_rows(onsets[..., :-1, :].swapaxes(-1, -2) @ onsets[..., 1:, :])


def shares_of_rows(counts: Float[Array, "*B V V"]) -> Float[Array, "*B V V"]:
    """Return each row divided by its sum; a row of zeros is kept."""
    total = counts @ full(counts, (counts.shape[-1], 1), 1, counts.dtype)  # faster than a sum over so few
    return counts / where(total > 0, total, 1)


def ngram_codes(hits: Hits, n: int = NGRAM_STEPS) -> Shaped[Array, "*B places"]:
    """Return for each pattern of n consecutive steps a number that is the same for equal patterns: (*B, T - n + 1)."""
    *batch, steps, voices = hits.shape
    xp = namespace(hits)
    if steps < n or not math.prod(hits.shape):
        return full(hits, (*batch, max(steps - n + 1, 0)), 0)
    cells, places = as_float(as_binary(hits)), steps - n + 1
    if voices <= 24 and voices * n <= 53:  # the bits of a float, and those of a double
        codes = cast(cells @ cast(2.0 ** arange(hits, voices), cells.dtype), xp.float64)
        pattern_codes = codes[..., n - 1 :] + 0
        for step in reversed(range(n - 1)):
            pattern_codes *= 2.0**voices
            pattern_codes += codes[..., step : step + places]
        return pattern_codes
    patterns = xp.concat([cells[..., step : step + places, :] for step in range(n)], axis=-1)
    return unique_rows(patterns.reshape((-1, n * voices)))[1].reshape(patterns.shape[:-1])


def count_equal(groups: Sequence[Shaped[Array, "... _"]]) -> list[Float[Array, "... _"]]:
    """Return for each array the counts of the unique numbers of each row, most frequent first, followed by zeros."""
    xp = namespace(groups[0])
    ends = list(accumulate((math.prod(codes.shape) for codes in groups), initial=0))
    parts = [slice(start, end) for start, end in pairwise(ends)]
    if not ends[-1]:
        return [cast(codes, xp.float32) for codes in groups]
    ordered = xp.concat([xp.sort(codes, axis=-1, stable=False).reshape(-1) for codes in groups])
    is_new = pad(ordered[1:] != ordered[:-1], -1, 1, 0, True)
    for codes, part in zip(groups, parts, strict=True):
        is_new[part][:: codes.shape[-1] or 1] = True
    (first,) = xp.nonzero(is_new)
    negative = full(ordered, ordered.shape, 0)  # in ascending order, counts descend
    negative[first[:-1]] = cast(first[:-1] - first[1:], xp.float32)
    negative[first[-1:]] = cast(first[-1:], xp.float32) - negative.shape[0]
    counts = [negative[part].reshape(codes.shape) for codes, part in zip(groups, parts, strict=True)]
    return [abs(xp.sort(rows, axis=-1, stable=False)) for rows in counts]


def ngrams(hits: Hits, grid: Grid, n: int = NGRAM_STEPS) -> Float[Array, "*B patterns"]:
    """Return the counts of the unique n-step patterns, most frequent first, followed by zeros: (*B, T - n + 1).

    Their sum is T - n + 1. Shape (*B, 0) with fewer than n steps. `ngram_patterns` returns the patterns.
    """
    return count_equal([ngram_codes(hits, n)])[0]


def ngram_patterns(
    hits: Shaped[Array, "T V"], n: int = NGRAM_STEPS
) -> tuple[Bool[Array, "patterns n V"], Int[Array, " patterns"]]:
    """Return the unique n-step patterns of one sequence and their counts, most frequent first."""
    xp, onsets = namespace(hits), as_binary(hits)
    if len(hits) < n:
        return full(hits, (0, n, hits.shape[-1]), False, xp.bool), full(hits, (0,), 0, xp.int64)
    places = len(hits) - n + 1
    patterns, _, counts = unique_rows(xp.stack([onsets[step : step + places] for step in range(n)], axis=1))
    order = xp.argsort(-counts, stable=True)
    return patterns[order], counts[order]


def ngram_diversity(hits: Hits, grid: Grid, n: int = NGRAM_STEPS) -> Float[Array, "*B"]:
    """Return the number of unique n-step patterns; 0 with fewer than n steps."""
    return as_float(ngrams(hits, grid, n) > 0).sum(-1)


def step_entropy(hits: Hits, grid: Grid) -> Float[Array, "*B"]:
    """Return the entropy in bits of the number of hits per step, in [0, log2(V + 1)]; NaN without steps."""
    counts = as_binary(hits).sum(-1, keepdims=True)
    return entropy_bits(mean(as_float(counts == arange(hits, hits.shape[-1] + 1)), -2))


def phrase_entropy(hits: Hits, grid: Grid) -> Float[Array, "*B"]:
    """Return the mean over phrases of their `step_entropy` in bits; NaN without steps. The last phrase may be short."""
    size = grid.steps_per_phrase
    end = hits.shape[-2] // size * size
    entropies = step_entropy(split_axis(hits[..., :end, :], -2, (end // size, size)), grid)
    if end < hits.shape[-2]:
        last = step_entropy(hits[..., end:, :], grid)[..., None]
        entropies = namespace(hits).concat([entropies, last], axis=-1)
    return mean_of_defined(entropies)


def groove_consistency(hits: Hits, grid: Grid) -> Float[Array, "*B"]:
    """Return the mean agreement of neighbouring bars, 1 - Hamming distance / (steps_per_bar * V), in [0, 1].

    A short last bar is left out. NaN with fewer than two whole bars. Takes probabilities: the expectation is exact.

    Source: Wu & Yang, ISMIR 2020. Unlike in muspy, a piece that ends on a bar line has no extra empty bar.
    """
    bars = whole_bars(as_float(hits), grid)
    before, after = bars[..., :-1, :, :], bars[..., 1:, :, :]
    return mean(before * after + (1 - before) * (1 - after), (-3, -2, -1))


def groove_similarity(hits: Hits, grid: Grid) -> Float[Array, "*B"]:
    """Return the mean agreement, as in `groove_consistency`, of all pairs of bars, in [0, 1].

    A short last bar is left out. NaN with fewer than two whole bars.

    Source: Wu & Yang, ISMIR 2020.
    """
    similarity = bar_similarity(hits, grid)
    bars = similarity.shape[-1]
    pairs = max(bars * (bars - 1), 0)
    total = similarity.sum((-2, -1)) - bars
    return ratio(total, namespace(hits).full_like(total, pairs))


def bar_similarity(hits: Hits, grid: Grid) -> Float[Array, "*B bars bars"]:
    """Return the self-similarity matrix of whole bars: 1 - Hamming distance / (steps_per_bar * V), in [0, 1]."""
    bars = join_axes(whole_bars(as_float(as_binary(hits)), grid))
    cells = max(bars.shape[-1], 1)
    agree = bars @ bars.swapaxes(-1, -2) + (1 - bars) @ (1 - bars).swapaxes(-1, -2)
    return agree / cells


def bar_f1(hits: Hits, grid: Grid, lag: int) -> Float[Array, "*B pairs"]:
    """Return the F1 of the hits of each whole bar and of the bar `lag` bars before it; NaN if both are empty."""
    bars = join_axes(whole_bars(as_float(as_binary(hits)), grid))
    before, after = bars[..., : max(bars.shape[-2] - lag, 0), :], bars[..., lag:, :]
    return ratio(2 * (before * after).sum(-1), before.sum(-1) + after.sum(-1))


def bar_novelty(hits: Hits, grid: Grid) -> Float[Array, "*B bars"]:
    """Return the novelty of each whole bar: the similarity among the bars around it minus its similarity to them.

    It is in [-1, 1], and high for fills. Similarity is the mean F1 of the hits, 1 for two empty bars. The bars around a
    bar are those up to `bars_per_phrase` before and after it. NaN if these are fewer than two.
    """
    bars = join_axes(whole_bars(as_float(as_binary(hits)), grid))
    xp, reach = namespace(hits), arange(hits, 1, grid.bars_per_phrase + 1)
    numbers = arange(hits, bars.shape[-2])[:, None] + xp.concat([-reach, reach])
    exists = (numbers >= 0) & (numbers < bars.shape[-2])
    around = bars[..., numbers.clip(0, max(bars.shape[-2] - 1, 0)), :]
    to_bar = xp.where(exists, _similarity(bars[..., None, :], around)[..., 0, :], 0).sum(-1)
    neighbour = arange(hits, 2 * len(reach))
    pairs = exists[:, :, None] & exists[:, None] & (neighbour[:, None] != neighbour)
    among = xp.where(pairs, _similarity(around, around), 0).sum((-2, -1))
    return ratio(among, pairs.sum((-2, -1))) - ratio(to_bar, exists.sum(-1))


def _similarity(first: Float[Array, "*B m cells"], second: Float[Array, "*B n cells"]) -> Float[Array, "*B m n"]:
    """Return the F1 of the hits of each pair of patterns; 1 for two empty ones."""
    total = first.sum(-1)[..., :, None] + second.sum(-1)[..., None, :]
    return namespace(first).where(total > 0, 2 * (first @ second.swapaxes(-1, -2)) / total.clip(min=1), 1.0)


def repetition_profile(hits: Hits, grid: Grid, lags: int = REPETITION_LAGS) -> Float[Array, "*B lags"]:
    """Return for k = 1 to `lags` the mean F1 of the hits of bars that are k bars apart, in [0, 1].

    Pairs of empty bars are left out; NaN if no pair is left.
    """
    profile = [mean_of_defined(bar_f1(hits, grid, lag)) for lag in range(1, lags + 1)]
    return namespace(hits).stack(profile, axis=-1)

"""What comes again: transitions, patterns of some steps, and bars against bars."""

import math

from jaxtyping import Bool, Float, Int, Shaped

from hypermeter.core.grid import Grid
from hypermeter.music.arrays import (
    Array,
    arange,
    cast,
    counts_of,
    full,
    join_axes,
    mean,
    namespace,
    pad,
    sort_descending,
    split_axis,
    unique_rows,
    where,
)
from hypermeter.music.metrics.onsets import Hits, as_binary, as_float, entropy_bits, mean_of_defined, ratio, whole_bars

NGRAM_STEPS = 4
REPETITION_LAGS = 8
"""Bars, of ``repetition_profile``."""


def transitions(hits: Hits, grid: Grid) -> Float[Array, "*B V V"]:
    """[i, j]: share of voice j among all hits on the step after a hit of voice i. A row sums to 1, or is 0.

    Of probabilities: expected numbers of such pairs, exact, over their sum.
    """
    onsets = as_float(hits)
    return shares_of_rows(onsets[..., :-1, :].swapaxes(-1, -2) @ onsets[..., 1:, :])


def shares_of_rows(counts: Float[Array, "*B V V"]) -> Float[Array, "*B V V"]:
    """Each row over its sum; a row of zeros stays one."""
    total = counts @ full(counts, (counts.shape[-1], 1), 1, counts.dtype)  # quicker than a sum over so few
    return counts / where(total > 0, total, 1)


def ngram_codes(hits: Hits, n: int = NGRAM_STEPS) -> Shaped[Array, "*B places"]:
    """At each step that n steps begin with, a number: equal for equal patterns. (*B, T - n + 1), or (*B, 0)."""
    *batch, steps, voices = hits.shape
    xp = namespace(hits)
    if steps < n or not math.prod(hits.shape):
        return full(hits, (*batch, max(steps - n + 1, 0)), 0)
    cells, places = as_float(as_binary(hits)), steps - n + 1
    if voices <= 24 and voices * n <= 53:  # the bits of a float, and those of a double
        codes = cast(cells @ cast(2.0 ** arange(hits, voices), cells.dtype), xp.float64)
        joined = codes[..., n - 1 :]
        for step in reversed(range(n - 1)):
            joined = joined * 2.0**voices
            joined += codes[..., step : step + places]
        return joined
    patterns = xp.concat([cells[..., step : step + places, :] for step in range(n)], axis=-1)
    return unique_rows(patterns.reshape((-1, n * voices)))[1].reshape(patterns.shape[:-1])


def count_equal(codes: Shaped[Array, "*B places"]) -> Float[Array, "*B places"]:
    """How often each different number comes, most frequent first, then zeros."""
    xp = namespace(codes)
    if not math.prod(codes.shape):
        return cast(codes, xp.float32)
    ordered = xp.sort(codes, axis=-1, stable=False)
    run = pad(ordered[..., 1:] != ordered[..., :-1], -1, 1, 0).cumsum(-1)
    counts = counts_of(run, codes.shape[-1], "int32")
    return cast(sort_descending(counts), xp.float32)


def ngrams(hits: Hits, grid: Grid, n: int = NGRAM_STEPS) -> Float[Array, "*B patterns"]:
    """Counts of the different n-step patterns, most frequent first, then zeros: (*B, T - n + 1), which is their sum.

    Shape (*B, 0) with fewer than n steps. ``ngram_patterns`` tells which patterns they are.
    """
    return count_equal(ngram_codes(hits, n))


def ngram_patterns(
    hits: Shaped[Array, "T V"], n: int = NGRAM_STEPS
) -> tuple[Bool[Array, "patterns n V"], Int[Array, " patterns"]]:
    """The different n-step patterns of one sequence and their counts, most frequent first."""
    xp, onsets = namespace(hits), as_binary(hits)
    if len(hits) < n:
        return full(hits, (0, n, hits.shape[-1]), False, xp.bool), full(hits, (0,), 0, xp.int64)
    places = len(hits) - n + 1
    patterns, _, counts = unique_rows(xp.stack([onsets[step : step + places] for step in range(n)], axis=1))
    order = xp.argsort(-counts, stable=True)
    return patterns[order], counts[order]


def ngram_diversity(hits: Hits, grid: Grid, n: int = NGRAM_STEPS) -> Float[Array, "*B"]:
    """Number of different n-step patterns; 0 with fewer than n steps."""
    return as_float(ngrams(hits, grid, n) > 0).sum(-1)


def step_entropy(hits: Hits, grid: Grid) -> Float[Array, "*B"]:
    """Entropy in bits of the distribution of hits per step, in [0, log2(V + 1)]; NaN with no steps."""
    counts = as_binary(hits).sum(-1, keepdims=True)
    return entropy_bits(mean(as_float(counts == arange(hits, hits.shape[-1] + 1)), -2))


def phrase_entropy(hits: Hits, grid: Grid) -> Float[Array, "*B"]:
    """Mean over phrases of their ``step_entropy`` in bits; NaN with no steps. The last phrase may be short."""
    size = grid.steps_per_phrase
    whole = hits.shape[-2] // size * size
    entropies = step_entropy(split_axis(hits[..., :whole, :], -2, (whole // size, size)), grid)
    if whole < hits.shape[-2]:
        last = step_entropy(hits[..., whole:, :], grid)[..., None]
        entropies = namespace(hits).concat([entropies, last], axis=-1)
    return mean_of_defined(entropies)


def groove_consistency(hits: Hits, grid: Grid) -> Float[Array, "*B"]:
    """Mean agreement of neighbouring bars: 1 - Hamming distance / (steps_per_bar * V).

    In [0, 1]; NaN with fewer than two whole bars. A last bar that is short is left out. Of probabilities: the
    expectation, exact.

    Source: Wu & Yang, ISMIR 2020. Unlike muspy, a piece that ends on the bar line gets no extra empty bar.
    """
    bars = whole_bars(as_float(hits), grid)
    before, after = bars[..., :-1, :, :], bars[..., 1:, :, :]
    return mean(before * after + (1 - before) * (1 - after), (-3, -2, -1))


def groove_similarity(hits: Hits, grid: Grid) -> Float[Array, "*B"]:
    """The agreement of ``groove_consistency``, over all pairs of different bars.

    In [0, 1]; NaN with fewer than two whole bars.

    Source: Wu & Yang, ISMIR 2020.
    """
    similarity = bar_similarity(hits, grid)
    bars = similarity.shape[-1]
    pairs = max(bars * (bars - 1), 0)
    total = similarity.sum((-2, -1)) - bars
    return ratio(total, namespace(hits).full_like(total, pairs))


def bar_similarity(hits: Hits, grid: Grid) -> Float[Array, "*B bars bars"]:
    """The self-similarity matrix of whole bars: 1 - Hamming distance / (steps_per_bar * V), in [0, 1]."""
    bars = join_axes(whole_bars(as_float(as_binary(hits)), grid))
    cells = max(bars.shape[-1], 1)
    agree = bars @ bars.swapaxes(-1, -2) + (1 - bars) @ (1 - bars).swapaxes(-1, -2)
    return agree / cells


def bar_f1(hits: Hits, grid: Grid, lag: int) -> Float[Array, "*B pairs"]:
    """F1 of the hits of each whole bar against those of the bar ``lag`` bars before it; NaN for two empty bars."""
    bars = join_axes(whole_bars(as_float(as_binary(hits)), grid))
    before, after = bars[..., : max(bars.shape[-2] - lag, 0), :], bars[..., lag:, :]
    return ratio(2 * (before * after).sum(-1), before.sum(-1) + after.sum(-1))


def bar_novelty(hits: Hits, grid: Grid) -> Float[Array, "*B bars"]:
    """How much each whole bar breaks with those around it: their likeness among themselves less its likeness to them.

    Likeness is F1 of the hits, that of two empty bars is 1; around a bar are the bars up to ``bars_per_phrase`` before
    and after it, without itself. In [-1, 1]; NaN where fewer than two bars are around it. A fill stands out: see
    ``plan.FILL_NOVELTY``.
    """
    bars = join_axes(whole_bars(as_float(as_binary(hits)), grid))
    xp, reach = namespace(hits), arange(hits, 1, grid.bars_per_phrase + 1)
    places = arange(hits, bars.shape[-2])[:, None] + xp.concat([-reach, reach])
    there = (places >= 0) & (places < bars.shape[-2])
    around = bars[..., places.clip(0, max(bars.shape[-2] - 1, 0)), :]
    own = xp.where(there, _likeness(bars[..., None, :], around)[..., 0, :], 0).sum(-1)
    neighbour = arange(hits, 2 * len(reach))
    pairs = there[:, :, None] & there[:, None] & (neighbour[:, None] != neighbour)
    among = xp.where(pairs, _likeness(around, around), 0).sum((-2, -1))
    return ratio(among, pairs.sum((-2, -1))) - ratio(own, there.sum(-1))


def _likeness(one: Float[Array, "*B m cells"], other: Float[Array, "*B n cells"]) -> Float[Array, "*B m n"]:
    """F1 of the hits of each pair of patterns; 1 for two empty ones."""
    both = one.sum(-1)[..., :, None] + other.sum(-1)[..., None, :]
    return namespace(one).where(both > 0, 2 * (one @ other.swapaxes(-1, -2)) / both.clip(min=1), 1.0)


def repetition_profile(hits: Hits, grid: Grid, lags: int = REPETITION_LAGS) -> Float[Array, "*B lags"]:
    """For k = 1 to ``lags`` bars: mean F1 of the hits of a bar against those of the bar k before it.

    In [0, 1]; NaN where there are not that many whole bars. A pair of empty bars is left out.
    """
    profile = [mean_of_defined(bar_f1(hits, grid, lag)) for lag in range(1, lags + 1)]
    return namespace(hits).stack(profile, axis=-1)

"""What comes again: transitions, patterns of some steps, and bars against bars."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from hypermeter.core.grid import Grid
from hypermeter.music.metrics.onsets import Hits, as_binary, as_float, entropy_bits, mean_of_defined, ratio, whole_bars

NGRAM_STEPS = 4
REPETITION_LAGS = 8
"""Bars, of ``repetition_profile``."""


def transitions(hits: Hits, grid: Grid) -> Float[Tensor, "*B V V"]:
    """[i, j]: share of voice j among all hits on the step after a hit of voice i. A row sums to 1, or is 0.

    Of probabilities: expected numbers of such pairs, exact, over their sum.
    """
    onsets = as_float(hits)
    return shares_of_rows(onsets[..., :-1, :].transpose(-1, -2) @ onsets[..., 1:, :])


def shares_of_rows(counts: Float[Tensor, "*B V V"]) -> Float[Tensor, "*B V V"]:
    """Each row over its sum; a row of zeros stays one."""
    total = counts @ counts.new_ones(counts.shape[-1], 1)  # quicker than a sum over so few
    return counts / torch.where(total > 0, total, 1)


def ngram_codes(hits: Hits, n: int = NGRAM_STEPS) -> Shaped[Tensor, "*B places"]:
    """At each step that n steps begin with, a number: equal for equal patterns. (*B, T - n + 1), or (*B, 0)."""
    *batch, steps, voices = hits.shape
    if steps < n or not hits.numel():
        return torch.zeros(*batch, max(steps - n + 1, 0), device=hits.device)
    cells, places = as_float(as_binary(hits)), steps - n + 1
    if voices <= 24 and voices * n <= 53:  # the bits of a float, and those of a double
        codes = (cells @ 2.0 ** torch.arange(voices, device=hits.device)).double()
        joined = codes[..., n - 1 :]
        for step in reversed(range(n - 1)):
            joined = torch.add(codes[..., step : step + places], joined, alpha=2.0**voices)
        return joined
    patterns = cells.unfold(-2, n, 1).flatten(-2)
    return torch.unique(patterns.flatten(0, -2), dim=0, return_inverse=True)[1].view(patterns.shape[:-1])


def count_equal(codes: Shaped[Tensor, "*B places"]) -> Float[Tensor, "*B places"]:
    """How often each different number comes, most frequent first, then zeros."""
    if not codes.numel():
        return codes.float()
    ordered = codes.sort(-1).values
    run = F.pad(ordered[..., 1:] != ordered[..., :-1], (1, 0)).cumsum(-1)
    counts = torch.zeros(codes.shape, dtype=torch.int32, device=codes.device)
    counts.scatter_add_(-1, run, torch.ones_like(counts))
    return counts.sort(-1, descending=True).values.float()


def ngrams(hits: Hits, grid: Grid, n: int = NGRAM_STEPS) -> Float[Tensor, "*B patterns"]:
    """Counts of the different n-step patterns, most frequent first, then zeros: (*B, T - n + 1), which is their sum.

    Shape (*B, 0) with fewer than n steps. ``ngram_patterns`` tells which patterns they are.
    """
    return count_equal(ngram_codes(hits, n))


def ngram_patterns(
    hits: Shaped[Tensor, "T V"], n: int = NGRAM_STEPS
) -> tuple[Bool[Tensor, "patterns n V"], Int[Tensor, " patterns"]]:
    """The different n-step patterns of one sequence and their counts, most frequent first."""
    if len(hits) < n:
        return as_binary(hits).new_zeros(0, n, hits.shape[-1]), torch.zeros(0, dtype=torch.long, device=hits.device)
    windows = as_binary(hits).unfold(0, n, 1).transpose(1, 2)
    patterns, counts = torch.unique(windows, dim=0, return_counts=True)
    order = counts.argsort(descending=True, stable=True)
    return patterns[order], counts[order]


def ngram_diversity(hits: Hits, grid: Grid, n: int = NGRAM_STEPS) -> Float[Tensor, "*B"]:
    """Number of different n-step patterns; 0 with fewer than n steps."""
    return (ngrams(hits, grid, n) > 0).sum(-1).float()


def step_entropy(hits: Hits, grid: Grid) -> Float[Tensor, "*B"]:
    """Entropy in bits of the distribution of hits per step, in [0, log2(V + 1)]; NaN with no steps."""
    counts = as_binary(hits).sum(-1, keepdim=True)
    return entropy_bits((counts == torch.arange(hits.shape[-1] + 1, device=hits.device)).float().mean(-2))


def phrase_entropy(hits: Hits, grid: Grid) -> Float[Tensor, "*B"]:
    """Mean over phrases of their ``step_entropy`` in bits; NaN with no steps. The last phrase may be short."""
    size = grid.steps_per_phrase
    whole = hits.shape[-2] // size * size
    entropies = step_entropy(hits[..., :whole, :].unflatten(-2, (whole // size, size)), grid)
    if whole < hits.shape[-2]:
        entropies = torch.cat([entropies, step_entropy(hits[..., whole:, :], grid)[..., None]], -1)
    return mean_of_defined(entropies)


def groove_consistency(hits: Hits, grid: Grid) -> Float[Tensor, "*B"]:
    """Mean agreement of neighbouring bars: 1 - Hamming distance / (steps_per_bar * V).

    In [0, 1]; NaN with fewer than two whole bars. A last bar that is short is left out. Of probabilities: the
    expectation, exact.

    Source: Wu & Yang, ISMIR 2020. Unlike muspy, a piece that ends on the bar line gets no extra empty bar.
    """
    bars = whole_bars(as_float(hits), grid)
    before, after = bars[..., :-1, :, :], bars[..., 1:, :, :]
    return (before * after + (1 - before) * (1 - after)).mean((-3, -2, -1))


def groove_similarity(hits: Hits, grid: Grid) -> Float[Tensor, "*B"]:
    """The agreement of ``groove_consistency``, over all pairs of different bars.

    In [0, 1]; NaN with fewer than two whole bars.

    Source: Wu & Yang, ISMIR 2020.
    """
    similarity = bar_similarity(hits, grid)
    bars = similarity.shape[-1]
    pairs = max(bars * (bars - 1), 0)
    total = similarity.sum((-2, -1)) - bars
    return ratio(total, torch.full_like(total, pairs))


def bar_similarity(hits: Hits, grid: Grid) -> Float[Tensor, "*B bars bars"]:
    """The self-similarity matrix of whole bars: 1 - Hamming distance / (steps_per_bar * V), in [0, 1]."""
    bars = whole_bars(as_binary(hits).float(), grid).flatten(-2)
    cells = max(bars.shape[-1], 1)
    agree = bars @ bars.transpose(-1, -2) + (1 - bars) @ (1 - bars).transpose(-1, -2)
    return agree / cells


def bar_f1(hits: Hits, grid: Grid, lag: int) -> Float[Tensor, "*B pairs"]:
    """F1 of the hits of each whole bar against those of the bar ``lag`` bars before it; NaN for two empty bars."""
    bars = whole_bars(as_binary(hits).float(), grid).flatten(-2)
    before, after = bars[..., : max(bars.shape[-2] - lag, 0), :], bars[..., lag:, :]
    return ratio(2 * (before * after).sum(-1), before.sum(-1) + after.sum(-1))


def bar_novelty(hits: Hits, grid: Grid) -> Float[Tensor, "*B bars"]:
    """How much each whole bar breaks with those around it: their likeness among themselves less its likeness to them.

    Likeness is F1 of the hits, that of two empty bars is 1; around a bar are the bars up to ``bars_per_phrase`` before
    and after it, without itself. In [-1, 1]; NaN where fewer than two bars are around it. A fill stands out: see
    ``plan.FILL_NOVELTY``.
    """
    bars = whole_bars(as_binary(hits).float(), grid).flatten(-2)
    reach = torch.arange(1, grid.bars_per_phrase + 1, device=hits.device)
    places = torch.arange(bars.shape[-2], device=hits.device)[:, None] + torch.cat([-reach, reach])
    there = (places >= 0) & (places < bars.shape[-2])
    around = bars[..., places.clamp(0, max(bars.shape[-2] - 1, 0)), :]
    own = _likeness(bars[..., None, :], around)[..., 0, :].masked_fill(~there, 0).sum(-1)
    pairs = there[:, :, None] & there[:, None] & ~torch.eye(len(reach) * 2, dtype=torch.bool, device=hits.device)
    among = _likeness(around, around).masked_fill(~pairs, 0).sum((-2, -1))
    return ratio(among, pairs.sum((-2, -1))) - ratio(own, there.sum(-1))


def _likeness(one: Float[Tensor, "*B m cells"], other: Float[Tensor, "*B n cells"]) -> Float[Tensor, "*B m n"]:
    """F1 of the hits of each pair of patterns; 1 for two empty ones."""
    both = one.sum(-1)[..., :, None] + other.sum(-1)[..., None, :]
    return torch.where(both > 0, 2 * (one @ other.transpose(-1, -2)) / both.clamp_min(1), 1.0)


def repetition_profile(hits: Hits, grid: Grid, lags: int = REPETITION_LAGS) -> Float[Tensor, "*B lags"]:
    """For k = 1 to ``lags`` bars: mean F1 of the hits of a bar against those of the bar k before it.

    In [0, 1]; NaN where there are not that many whole bars. A pair of empty bars is left out.
    """
    return torch.stack([mean_of_defined(bar_f1(hits, grid, lag)) for lag in range(1, lags + 1)], -1)

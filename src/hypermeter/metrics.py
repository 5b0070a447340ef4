"""Rhythm metrics: one definition for the data set, evaluation, rewards and the loss.

Every metric takes ``hits`` (*B, T, V), onsets in [0, 1] that start on a bar line, and the ``Grid``. It is batched over
*B and gives NaN where it is undefined. ``avg_hits``, ``density``, ``drum_density``, ``hits_per_bar`` and
``syncopation`` also take probabilities and then give an expectation (``syncopation``: a ratio of expectations); the
others read a value above .5 as a hit. A last bar or phrase may be short.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from hypermeter.grid import Grid, HypermeterError

IOI_BINS = 32
"""Longest distance in steps that ``ioi_hist`` counts."""

NGRAM_STEPS = 4

Hits = Shaped[Tensor, "*B T V"]


def _float(hits: Tensor) -> Tensor:
    return hits if hits.is_floating_point() else hits.float()


def _binary(hits: Tensor) -> Tensor:
    return hits if hits.dtype == torch.bool else hits > 0.5


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator / denominator, NaN where the denominator is 0."""
    return torch.where(denominator > 0, numerator / denominator.clamp_min(1e-12), torch.nan)


def chunk_sums(x: Shaped[Tensor, "*B T V"], size: int) -> Float[Tensor, "*B chunks V"]:
    """Sums over chunks of ``size`` steps; the last chunk may be short."""
    x = _float(x)
    chunks = -(-x.shape[-2] // size)
    x = F.pad(x, (0, 0, 0, chunks * size - x.shape[-2]))
    return x.unflatten(-2, (chunks, size)).sum(-2) if chunks else x


def chunk_means(x: Shaped[Tensor, "*B T V"], size: int) -> Float[Tensor, "*B chunks V"]:
    """Means over chunks of ``size`` steps: a bar, a phrase. A short last chunk is a mean over the steps it has."""
    sums = chunk_sums(x, size)
    steps = (x.shape[-2] - size * torch.arange(sums.shape[-2], device=x.device)).clamp(max=size)
    return sums / steps[:, None]


def avg_hits(hits: Hits, grid: Grid) -> Float[Tensor, "*B"]:
    """Mean hits per step, in [0, V]; NaN with no steps."""
    return _float(hits).sum(-1).mean(-1)


def density(hits: Hits, grid: Grid) -> Float[Tensor, "*B"]:
    """Share of cells (steps x voices) with a hit, in [0, 1]; NaN with no steps."""
    return _float(hits).mean(-1).mean(-1)


def drum_density(hits: Hits, grid: Grid) -> Float[Tensor, "*B V"]:
    """Per voice, share of steps with a hit, in [0, 1]; NaN with no steps."""
    return _float(hits).mean(-2)


def max_hits(hits: Hits, grid: Grid) -> Float[Tensor, "*B"]:
    """Most hits on one step, in [0, V]; NaN with no steps."""
    counts = _binary(hits).sum(-1).float()
    return counts.amax(-1) if counts.shape[-1] else counts.mean(-1)


def dense_frac(hits: Hits, grid: Grid, threshold: float | None = None) -> Float[Tensor, "*B"]:
    """Share of bars with more than ``threshold`` hits per step (left out: V / 2), in [0, 1]; NaN with no steps."""
    threshold = hits.shape[-1] / 2 if threshold is None else threshold
    return (chunk_means(_binary(hits), grid.steps_per_bar).sum(-1) > threshold).float().mean(-1)


def co_occurrence(hits: Hits, grid: Grid) -> Float[Tensor, "*B"]:
    """Share of steps with two hits or more, in [0, 1]; NaN with no steps."""
    return (_binary(hits).sum(-1) > 1).float().mean(-1)


def intervals(hits: Hits) -> Int[Tensor, "*B T V"]:
    """At each hit, the steps since the voice's previous hit; 0 elsewhere and at a voice's first hit."""
    onsets = _binary(hits)
    if not onsets.shape[-2]:
        return onsets.long()
    steps = torch.arange(onsets.shape[-2], device=hits.device)[:, None]
    latest = torch.where(onsets, steps, -1).cummax(-2).values
    previous = F.pad(latest[..., :-1, :], (0, 0, 1, 0), value=-1)
    return torch.where(onsets & (previous >= 0), steps - previous, 0)


def ioi_mean(hits: Hits, grid: Grid) -> Float[Tensor, "*B V"]:
    """Per voice, mean distance in steps between consecutive hits; NaN with fewer than two hits."""
    gaps = intervals(hits)
    return _ratio(gaps.sum(-2).float(), (gaps > 0).sum(-2).float())


def ioi_var(hits: Hits, grid: Grid) -> Float[Tensor, "*B V"]:
    """Per voice, population variance (steps squared) of those distances: 0 with two hits, NaN with fewer."""
    gaps = intervals(hits)
    apart = (gaps - ioi_mean(hits, grid)[..., None, :]).square()
    return _ratio(torch.where(gaps > 0, apart, 0).sum(-2), (gaps > 0).sum(-2).float())


def ioi_hist(hits: Hits, grid: Grid) -> Float[Tensor, "*B V bins"]:
    """Per voice, how many distances are 1, 2, ... 32 steps; longer ones are left out. NaN with fewer than two hits."""
    gaps = intervals(hits)
    longest = torch.arange(1, IOI_BINS + 1, device=hits.device)
    counts = (gaps[..., None] == longest).sum(-3).float()
    return torch.where((gaps > 0).any(-2)[..., None], counts, torch.nan)


def fast_patterns(hits: Hits, grid: Grid, fast_threshold: int = 4) -> Float[Tensor, "*B V"]:
    """Per voice, number of consecutive hits at most ``fast_threshold`` steps apart; 0 with fewer than two hits."""
    gaps = intervals(hits)
    return ((gaps > 0) & (gaps <= fast_threshold)).sum(-2).float()


def transitions(hits: Hits, grid: Grid) -> Float[Tensor, "*B V V"]:
    """[i, j]: share of voice j among all hits on the step after a hit of voice i. A row sums to 1, or is 0."""
    onsets = _binary(hits).float()
    counts = onsets[..., :-1, :].transpose(-1, -2) @ onsets[..., 1:, :]
    return counts / counts.sum(-1, keepdim=True).clamp_min(1)


def weak_steps(steps: int, grid: Grid, weak: str = "bar") -> Bool[Tensor, " steps"]:
    """True on weak steps: ``bar``, all but the first step of a bar; ``offbeat``, all that are not on a beat."""
    if weak not in ("bar", "offbeat"):
        raise HypermeterError(f"syncopation: weak is {weak!r}, expected 'bar' or 'offbeat'")
    period = grid.steps_per_bar if weak == "bar" else grid.steps_per_beat
    return torch.arange(steps) % period != 0


def syncopation(hits: Hits, grid: Grid, weak: str = "bar") -> Float[Tensor, "*B"]:
    """Share of hits that fall on weak steps, in [0, 1]; NaN with no hits.

    Args:
        hits: onsets or probabilities.
        grid: the metre.
        weak: ``bar``, a step is weak unless it is the first of its bar; ``offbeat``, unless it is on a beat.

    Raises:
        HypermeterError: another ``weak``.
    """
    per_step = _float(hits).sum(-1)
    is_weak = weak_steps(per_step.shape[-1], grid, weak).to(per_step.device)
    return _ratio((per_step * is_weak).sum(-1), per_step.sum(-1))


def _ngram_ids(hits: Tensor, n: int) -> Tensor:
    """(N, T - n + 1) for hits (N, T, V): equal numbers for equal n-step patterns of the same batch row."""
    rows, steps, voices = hits.shape
    cells = _binary(hits).reshape(-1, voices)
    if voices < 63:  # a step is a number; sorting numbers is much faster than sorting rows
        ids = torch.unique((cells << torch.arange(voices, device=hits.device)).sum(-1), return_inverse=True)[1]
    else:
        ids = torch.unique(cells, dim=0, return_inverse=True)[1]
    ids = ids.view(rows, steps)
    joined = ids[:, : steps - n + 1]
    for step in range(1, n):
        joined = joined * ids.numel() + ids[:, step : steps - n + 1 + step]
        joined = torch.unique(joined, return_inverse=True)[1].view_as(joined)
    return joined + torch.arange(rows, device=hits.device)[:, None] * ids.numel()


def ngrams(hits: Hits, grid: Grid, n: int = NGRAM_STEPS) -> Float[Tensor, "*B patterns"]:
    """Counts of the different n-step patterns, most frequent first, then zeros: (*B, T - n + 1), which is their sum.

    Shape (*B, 0) with fewer than n steps. ``ngram_patterns`` tells which patterns they are.
    """
    *batch, steps, voices = hits.shape
    places = max(steps - n + 1, 0)
    if not places or not hits.numel():
        return torch.zeros(*batch, places, device=hits.device)
    flat = hits.reshape(-1, steps, voices)
    distinct, counts = torch.unique(_ngram_ids(flat, n), return_counts=True)
    row = distinct // (len(flat) * steps)  # distinct is sorted, so a row's patterns are neighbours
    first = torch.searchsorted(row, torch.arange(len(flat), device=hits.device))
    table = torch.zeros(len(flat), places, device=hits.device)
    table[row, torch.arange(len(row), device=hits.device) - first[row]] = counts.float()
    return table.sort(-1, descending=True).values.reshape(*batch, places)


def ngram_patterns(
    hits: Shaped[Tensor, "T V"], n: int = NGRAM_STEPS
) -> tuple[Bool[Tensor, "patterns n V"], Int[Tensor, " patterns"]]:
    """The different n-step patterns of one sequence and their counts, most frequent first."""
    if len(hits) < n:
        return _binary(hits).new_zeros(0, n, hits.shape[-1]), torch.zeros(0, dtype=torch.long, device=hits.device)
    windows = _binary(hits).unfold(0, n, 1).transpose(1, 2)
    patterns, counts = torch.unique(windows, dim=0, return_counts=True)
    order = counts.argsort(descending=True, stable=True)
    return patterns[order], counts[order]


def ngram_diversity(hits: Hits, grid: Grid, n: int = NGRAM_STEPS) -> Float[Tensor, "*B"]:
    """Number of different n-step patterns; 0 with fewer than n steps."""
    return (ngrams(hits, grid, n) > 0).sum(-1).float()


def step_entropy(hits: Hits, grid: Grid) -> Float[Tensor, "*B"]:
    """Entropy in bits of the distribution of hits per step; 0 with no hits, NaN with no steps."""
    counts = _binary(hits).sum(-1, keepdim=True)
    shares = (counts == torch.arange(hits.shape[-1] + 1, device=hits.device)).float().mean(-2)
    return -torch.xlogy(shares, shares).sum(-1) / torch.log(torch.tensor(2.0))


def phrase_entropy(hits: Hits, grid: Grid) -> Float[Tensor, "*B"]:
    """Mean over phrases of their ``step_entropy`` in bits; NaN with no steps."""
    return _by_chunk(step_entropy, hits, grid, grid.steps_per_phrase).mean(-1)


def hits_per_bar(hits: Hits, grid: Grid) -> Float[Tensor, "*B bars V"]:
    """Hits of each voice in each bar; the last bar may be short."""
    return chunk_sums(hits, grid.steps_per_bar)


def groove_consistency(hits: Hits, grid: Grid) -> Float[Tensor, "*B"]:
    """Mean agreement of neighbouring bars: 1 - Hamming distance / (steps_per_bar * V).

    In [0, 1]; NaN with fewer than two whole bars. A last bar that is short is left out.

    Source: Wu & Yang, ISMIR 2020. Unlike muspy, a piece that ends on the bar line gets no extra empty bar.
    """
    size = grid.steps_per_bar
    bars = hits.shape[-2] // size
    if bars < 2:
        return torch.full(hits.shape[:-2], torch.nan, device=hits.device)
    onsets = _binary(hits)[..., : bars * size, :].unflatten(-2, (bars, size))
    return (onsets[..., 1:, :, :] == onsets[..., :-1, :, :]).float().mean((-3, -2, -1))


METRICS: dict[str, Callable[..., Tensor]] = {
    each.__name__: each
    for each in (
        density,
        avg_hits,
        drum_density,
        max_hits,
        dense_frac,
        co_occurrence,
        ioi_mean,
        ioi_var,
        ioi_hist,
        fast_patterns,
        transitions,
        syncopation,
        ngrams,
        ngram_diversity,
        step_entropy,
        phrase_entropy,
        hits_per_bar,
        groove_consistency,
    )
}
"""Name -> function of (hits (*B, T, V), Grid); options are keywords."""

WINDOW_METRICS = (
    "avg_hits",
    "drum_density",
    "max_hits",
    "dense_frac",
    "ioi_mean",
    "ioi_var",
    "ioi_hist",
    "co_occurrence",
    "ngrams",
    "fast_patterns",
    "transitions",
    "syncopation",
)
"""What ``window_metrics`` gives at step, bar and phrase level."""

SECTION_METRICS = ("avg_hits", "drum_density", "max_hits", "dense_frac")
SONG_METRICS = ("avg_hits", "drum_density", "max_hits", "step_entropy", "phrase_entropy", "ngram_diversity")


def _by_chunk(metric: Callable[..., Tensor], hits: Tensor, grid: Grid, size: int, **options: Any) -> Tensor:
    """The metric of every chunk of ``size`` steps, on a new axis after the batch axes. The last chunk may be short."""
    axis = hits.ndim - 2
    whole = hits.shape[-2] // size * size
    values = metric(hits[..., :whole, :].unflatten(-2, (-1 if whole else 0, size)), grid, **options)
    if whole == hits.shape[-2]:
        return values
    last = metric(hits[..., whole:, :].unsqueeze(axis), grid, **options)
    if metric is ngrams:  # a short chunk has fewer places
        last = F.pad(last, (0, values.shape[-1] - last.shape[-1]))
    return torch.cat([values, last], axis)


def window_metrics(
    hits: Shaped[Tensor, "T V"],
    grid: Grid,
    sections: Sequence[tuple[int, int]] | None = None,
    fast_threshold: int = 4,
) -> dict[str, Any]:
    """All metrics of one window, by level.

    Args:
        hits: onsets, 0 or 1, from a bar line on.
        grid: the metre.
        sections: (start, end) in steps of the window, end not included; what lies outside the window is left out.
        fast_threshold: steps, of ``fast_patterns``.

    Returns:
        ``step``: each of WINDOW_METRICS over the whole window. ``bar`` and ``phrase``: the same for each bar and
        phrase, with that axis first; ``phrase`` also has ``hits_per_bar`` (bars, V). ``section``: a list, a dict of
        SECTION_METRICS for each section (NaN for one outside the window). ``song``: a dict of SONG_METRICS. All values
        are tensors.
    """
    options = {"fast_patterns": {"fast_threshold": fast_threshold}}

    def level(size: int) -> dict[str, Tensor]:
        return {name: _by_chunk(METRICS[name], hits, grid, size, **options.get(name, {})) for name in WINDOW_METRICS}

    return {
        "step": {name: METRICS[name](hits, grid, **options.get(name, {})) for name in WINDOW_METRICS},
        "bar": level(grid.steps_per_bar),
        "phrase": level(grid.steps_per_phrase) | {"hits_per_bar": hits_per_bar(hits, grid)},
        "section": [
            {name: METRICS[name](hits[start:end], grid) for name in SECTION_METRICS} for start, end in sections or ()
        ],
        "song": {name: METRICS[name](hits, grid) for name in SONG_METRICS},
    }

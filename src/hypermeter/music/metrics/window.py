"""Computing the metrics of windows, of their bars and of their phrases in one pass.

Intermediate results of several metrics or levels are computed once: the intervals, the codes of the n-grams, the hits
of each step and bar. Tests ensure that each value equals that of the metric of its name on the chunk alone.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from hypermeter.core.grid import Grid
from hypermeter.music.arrays import Array, as_like, cast, counts_of, full, join_axes, namespace, pad, split, split_axis
from hypermeter.music.metrics.density import avg_hits, dense_frac, drum_density, max_hits
from hypermeter.music.metrics.intervals import Intervals, histogram, mean_of_moments, moments, variance_of_moments
from hypermeter.music.metrics.onsets import (
    as_binary,
    as_float,
    chunk_lengths,
    entropy_bits,
    fill_up,
    mean_of_defined,
    ratio,
)
from hypermeter.music.metrics.repetition import NGRAM_STEPS, count_equal, ngram_codes, shares_of_rows
from hypermeter.music.metrics.syncopation import weak_steps

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
"""Metrics that `window_metrics` returns at step, bar and phrase level."""

SECTION_METRICS = (avg_hits, drum_density, max_hits, dense_frac)
"""Metrics that `window_metrics` returns for sections."""

SONG_METRICS = ("avg_hits", "drum_density", "max_hits", "step_entropy", "phrase_entropy", "ngram_diversity")
"""Metrics that `window_metrics` returns at song level."""


@np.errstate(divide="ignore", invalid="ignore")  # Undefined values are NaN without a warning, as in torch.
def window_metrics(
    hits: Shaped[Array, "*B T V"],
    grid: Grid,
    sections: Sequence[tuple[int, int]] | None = None,
    fast_threshold: int = 4,
) -> dict[str, Any]:
    """Return all metrics of windows by level, as arrays of the library of `hits`.

    Args:
        hits: onsets, 0 or 1, that start on a bar line.
        grid: the metre.
        sections: (start, end) of sections in steps of the window, the end excluded; steps outside it are ignored.
        fast_threshold: parameter of `fast_patterns`, in steps.

    Returns:
        `step`: WINDOW_METRICS of the whole window. `bar` and `phrase`: those of each bar and phrase, on an axis after
        the batch axes; `phrase` also has `hits_per_bar` (*B, bars, V). `section`: a list with a dict of SECTION_METRICS
        for each section, NaN outside the window. `song`: SONG_METRICS of the window.
    """
    return _Window(hits, grid, fast_threshold).report(sections or ())


class _Window:
    """The intermediate results of windows, and their parts for each chunk.

    Most are sums: `sums` (*B, bars, F) has for each bar the numbers of hits of each voice, of all hits, of those on
    weak steps, of steps with two hits or more, of dense bars (0 or 1), and of pairs of hits on neighbouring steps.
    """

    def __init__(self, hits: Array, grid: Grid, fast_threshold: int):
        self.grid, self.fast_threshold = grid, fast_threshold
        *_, self.steps, self.voices = hits.shape
        self.onsets, size = as_binary(hits), grid.steps_per_bar
        self.bars = -(-self.steps // size)
        self.xp = namespace(hits)
        bars = split_axis(fill_up(as_float(self.onsets), size, -2), -2, (self.bars, size))
        self.per_bar, per_step = bars.sum(-2), bars @ full(bars, (self.voices,), 1)
        self.per_step = join_axes(per_step)[..., : self.steps]
        total = per_step.sum(-1, keepdims=True)
        weak = per_step @ as_like(hits, _weak_steps(grid))
        together = as_float(per_step > 1).sum(-1, keepdims=True)
        dense = as_float(total > self.voices / 2 * self._lengths([size], self.steps))
        pairs = bars[..., :-1, :].swapaxes(-1, -2) @ bars[..., 1:, :]
        self.sums = self.xp.concat([self.per_bar, total, weak, together, dense, join_axes(pairs)], axis=-1)
        following = pad(bars[..., 1:, 0, :], -2, 0, 1)
        self.pairs_over_end = join_axes(bars[..., -1, :, None] * following[..., None, :])
        self.intervals, self.codes = Intervals.of(self.onsets, grid.steps_per_phrase), ngram_codes(self.onsets)

    def report(self, sections: Sequence[tuple[int, int]]) -> dict[str, Any]:
        bar, phrase, step = self._levels()
        names = ("avg_hits", "drum_density", "max_hits")
        entropy, phrase_entropy = self._entropies()
        song = {name: step[name] for name in names} | {"step_entropy": entropy, "phrase_entropy": phrase_entropy}
        section = [
            {metric.__name__: metric(self.onsets[..., start:end, :], self.grid) for metric in SECTION_METRICS}
            for start, end in sections
        ]
        return {
            "step": step,
            "bar": bar,
            "phrase": phrase | {"hits_per_bar": self.per_bar},
            "section": section,
            "song": song | {"ngram_diversity": as_float(step["ngrams"] > 0).sum(-1)},
        }

    def _levels(self) -> list[dict[str, Array]]:
        """Return WINDOW_METRICS of each bar, of each phrase, and of the window, which has no axis of chunks.

        Sums are computed for the chunks of all three together, as fewer and larger arrays are faster.
        """
        voices, batch, per_bar = self.voices, self.onsets.ndim - 2, self.grid.steps_per_bar
        spans = [(1, per_bar), (self.grid.bars_per_phrase, self.grid.steps_per_phrase), (self.bars, self.steps)]
        sums_by_level = [self._sums(bars) for bars, _ in spans]
        chunks = [sums.shape[-2] for sums in sums_by_level]
        xp = self.xp
        sums = xp.concat(sums_by_level, axis=-2)
        shares = sums[..., : voices + 3] / self._lengths([size for _, size in spans], self.steps)
        dense = sums[..., voices + 3] / self._lengths([bars for bars, _ in spans], self.bars)[:, 0]
        most = shares[..., voices]  # NaN without steps
        if self.steps:
            most = xp.concat([xp.max(_cut(self.per_step, size), axis=-1) for _, size in spans], axis=-1)
        sizes = [per_bar, self.grid.steps_per_phrase, None]
        gaps = [self.intervals.counts(size)[..., :count, :] for size, count in zip(sizes, chunks, strict=True)]
        moments_by_level = [moments(counts) for counts in gaps]
        of_gaps = [xp.concat(parts, axis=-1).swapaxes(-1, -2) for parts in zip(*moments_by_level, strict=True)]
        fast = xp.concat([counts[..., : self.fast_threshold + 1].sum(-1) for counts in gaps], axis=-1)
        metrics = {
            "avg_hits": shares[..., voices],
            "drum_density": shares[..., :voices],
            "max_hits": most,
            "dense_frac": dense,
            "ioi_mean": cast(mean_of_moments(*of_gaps), xp.float32),
            "ioi_var": cast(variance_of_moments(*of_gaps), xp.float32),
            "co_occurrence": shares[..., voices + 2],
            "fast_patterns": fast.swapaxes(-1, -2),
            "transitions": shares_of_rows(split_axis(sums[..., voices + 4 :], -1, (voices, voices))),
            "syncopation": ratio(sums[..., voices + 1], sums[..., voices]),
        }
        levels: list[dict[str, Array]] = [{}, {}, {}]
        for name, values in metrics.items():
            for level, value in zip(levels, split(values, chunks, batch), strict=True):
                level[name] = value
        for level, counts, (number, *_) in zip(levels, gaps, moments_by_level, strict=True):
            level["ioi_hist"] = histogram(counts, number=number).swapaxes(-2, -3)
        levels[2] = {name: value.squeeze(batch) for name, value in levels[2].items()}
        levels[0]["ngrams"], levels[1]["ngrams"] = self._ngrams(spans[0][1]), self._ngrams(spans[1][1])
        levels[2]["ngrams"] = count_equal(self.codes)
        return levels

    def _lengths(self, sizes: Sequence[int], total: int) -> Float[Array, "chunks 1"]:
        return as_like(self.onsets, _lengths(tuple(sizes), total))

    def _sums(self, bars: int) -> Float[Array, "*B chunks F"]:
        """Return `sums` of each chunk of `bars` bars, with the pairs of hits across the bar lines within it."""
        if bars == 1:
            return self.sums
        sums, over_end = (_cut(x, bars, -2) for x in (self.sums, self.pairs_over_end))
        sums = sums.sum(-2)
        sums[..., -(self.voices**2) :] += over_end[..., :-1, :].sum(-2)
        return sums

    def _ngrams(self, size: int) -> Float[Array, "*B chunks places"]:
        """Return `ngrams` of each chunk, from the codes of the whole window. The last chunk may be short."""
        places, number = max(size - NGRAM_STEPS + 1, 0), self.steps // size
        padded = pad(self.codes, -1, 0, self.steps - self.codes.shape[-1])
        counts = count_equal(split_axis(padded[..., : number * size], -1, (number, size))[..., :places])
        if self.steps % size:
            last = count_equal(self.codes[..., number * size :])
            last = pad(last, -1, 0, places - last.shape[-1])
            counts = self.xp.concat([counts, last[..., None, :]], axis=-2)
        return counts

    def _entropies(self) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
        """Return `step_entropy` and `phrase_entropy`."""
        size, classes = self.grid.steps_per_phrase, self.voices + 2  # The last class is padding.
        hits = cast(self.per_step, self.xp.int64)
        hits = pad(hits, -1, 0, -self.steps % size, classes - 1)
        counts = counts_of(split_axis(hits, -1, (-(-self.steps // size), size)), classes)[..., :-1]
        total = counts.sum(-2)
        of_phrases = entropy_bits(counts / counts.sum(-1, keepdims=True))
        return entropy_bits(total / total.sum(-1, keepdims=True)), mean_of_defined(of_phrases)


@lru_cache(256)
def _weak_steps(grid: Grid) -> Float[np.ndarray, "steps 1"]:
    return weak_steps(grid.steps_per_bar, grid).astype(np.float32)[:, None]


@lru_cache(256)
def _lengths(sizes: tuple[int, ...], total: int) -> Float[np.ndarray, "chunks 1"]:
    """Return the lengths of the chunks of `total` for each size, one size after the other; last chunks may be short."""
    nothing = np.zeros(1)
    lengths = [chunk_lengths(nothing, total, size) if size else nothing for size in sizes]
    return np.concatenate(lengths).astype(np.float32)[:, None]


def _cut(x: Array, size: int, axis: int = -1) -> Array:
    """Return `x` with an axis split into chunks of `size`, the last padded with zeros; size 0 is one chunk."""
    if size == 0:
        return split_axis(x, axis, (1, x.shape[axis]))
    x = fill_up(x, size, axis)
    return split_axis(x, axis, (x.shape[axis] // size, size))

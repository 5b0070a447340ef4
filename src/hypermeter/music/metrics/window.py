"""The metrics of a window, of each of its bars and of each of its phrases, in one pass.

What several metrics or levels need is found once: the intervals, the codes of the n-grams, the hits of each step and
bar. Tests hold that every value is that of the function of its name in ``METRICS`` on the chunk alone.
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
"""What ``window_metrics`` gives at step, bar and phrase level."""

SECTION_METRICS = (avg_hits, drum_density, max_hits, dense_frac)
SONG_METRICS = ("avg_hits", "drum_density", "max_hits", "step_entropy", "phrase_entropy", "ngram_diversity")


@np.errstate(divide="ignore", invalid="ignore")  # NaN where something is undefined, as torch has it
def window_metrics(
    hits: Shaped[Array, "*B T V"],
    grid: Grid,
    sections: Sequence[tuple[int, int]] | None = None,
    fast_threshold: int = 4,
) -> dict[str, Any]:
    """All metrics of windows, by level.

    Args:
        hits: onsets, 0 or 1, from a bar line on.
        grid: the metre.
        sections: (start, end) in steps of the window, end not included; what lies outside the window is left out.
        fast_threshold: steps, of ``fast_patterns``.

    Returns:
        ``step``: each of WINDOW_METRICS over the whole window. ``bar`` and ``phrase``: the same for each bar and
        phrase, with that axis after those of the batch; ``phrase`` also has ``hits_per_bar`` (*B, bars, V).
        ``section``: a list, a dict of SECTION_METRICS for each section (NaN for one outside the window). ``song``: a
        dict of SONG_METRICS. All values are arrays as ``hits`` is.
    """
    return _Window(hits, grid, fast_threshold).report(sections or ())


class _Window:
    """What is found once, and what of it belongs to each chunk.

    Most of it is added up: ``sums`` (*B, bars, F) has for each bar the hits of each voice, all hits, those on weak
    steps, the steps with two hits or more, whether the bar is dense, and the pairs of hits on neighbouring steps.
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
            {each.__name__: each(self.onsets[..., start:end, :], self.grid) for each in SECTION_METRICS}
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
        """WINDOW_METRICS of each bar, of each phrase, and of the window, which has no axis of chunks.

        What is a sum is computed for the chunks of all three together: there are fewer and larger tensors so.
        """
        voices, batch, per_bar = self.voices, self.onsets.ndim - 2, self.grid.steps_per_bar
        spans = [(1, per_bar), (self.grid.bars_per_phrase, self.grid.steps_per_phrase), (self.bars, self.steps)]
        each_sums = [self._sums(bars) for bars, _ in spans]
        chunks = [each.shape[-2] for each in each_sums]
        xp = self.xp
        sums = xp.concat(each_sums, axis=-2)
        shares = sums[..., : voices + 3] / self._lengths([size for _, size in spans], self.steps)
        dense = sums[..., voices + 3] / self._lengths([bars for bars, _ in spans], self.bars)[:, 0]
        most = shares[..., voices]  # of nothing
        if self.steps:
            most = xp.concat([xp.max(_cut(self.per_step, size), axis=-1) for _, size in spans], axis=-1)
        sizes = [per_bar, self.grid.steps_per_phrase, None]
        gaps = [self.intervals.counts(size)[..., :count, :] for size, count in zip(sizes, chunks, strict=True)]
        each_moments = [moments(each) for each in gaps]
        of_gaps = [xp.concat(each, axis=-1).swapaxes(-1, -2) for each in zip(*each_moments, strict=True)]
        fast = xp.concat([each[..., : self.fast_threshold + 1].sum(-1) for each in gaps], axis=-1)
        together = {
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
        for name, values in together.items():
            for level, value in zip(levels, split(values, chunks, batch), strict=True):
                level[name] = value
        for level, each, (number, *_) in zip(levels, gaps, each_moments, strict=True):
            level["ioi_hist"] = histogram(each, number=number).swapaxes(-2, -3)
        levels[2] = {name: value.squeeze(batch) for name, value in levels[2].items()}
        levels[0]["ngrams"], levels[1]["ngrams"] = self._ngrams(spans[0][1]), self._ngrams(spans[1][1])
        levels[2]["ngrams"] = count_equal(self.codes)
        return levels

    def _lengths(self, sizes: Sequence[int], total: int) -> Float[Array, "chunks 1"]:
        return as_like(self.onsets, _lengths(tuple(sizes), total))

    def _sums(self, bars: int) -> Float[Array, "*B chunks F"]:
        """``sums`` of each chunk of ``bars`` bars, with the pairs over the ends of bars within it."""
        if bars == 1:
            return self.sums
        sums, over_end = (_cut(x, bars, -2) for x in (self.sums, self.pairs_over_end))
        sums = sums.sum(-2)
        sums[..., -(self.voices**2) :] += over_end[..., :-1, :].sum(-2)
        return sums

    def _ngrams(self, size: int) -> Float[Array, "*B chunks places"]:
        """``ngrams`` of each chunk, from the codes of the whole window. The last chunk may be short."""
        places, whole = max(size - NGRAM_STEPS + 1, 0), self.steps // size
        padded = pad(self.codes, -1, 0, self.steps - self.codes.shape[-1])
        counts = count_equal(split_axis(padded[..., : whole * size], -1, (whole, size))[..., :places])
        if self.steps % size:
            last = count_equal(self.codes[..., whole * size :])
            last = pad(last, -1, 0, places - last.shape[-1])
            counts = self.xp.concat([counts, last[..., None, :]], axis=-2)
        return counts

    def _entropies(self) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
        """``step_entropy`` and ``phrase_entropy``."""
        size, classes = self.grid.steps_per_phrase, self.voices + 2  # the last class is padding
        hits = cast(self.per_step, self.xp.int64)
        hits = pad(hits, -1, 0, -self.steps % size, classes - 1)
        counts = counts_of(split_axis(hits, -1, (-(-self.steps // size), size)), classes)[..., :-1]
        whole = counts.sum(-2)
        of_phrases = entropy_bits(counts / counts.sum(-1, keepdims=True))
        return entropy_bits(whole / whole.sum(-1, keepdims=True)), mean_of_defined(of_phrases)


@lru_cache(256)
def _weak_steps(grid: Grid) -> Float[np.ndarray, "steps 1"]:
    return weak_steps(grid.steps_per_bar, grid).astype(np.float32)[:, None]


@lru_cache(256)
def _lengths(sizes: tuple[int, ...], total: int) -> Float[np.ndarray, "chunks 1"]:
    """Of all chunks of each size, one size after the other; a last chunk has what is left of ``total``."""
    nothing = np.zeros(1)
    lengths = [chunk_lengths(nothing, total, size) if size else nothing for size in sizes]
    return np.concatenate(lengths).astype(np.float32)[:, None]


def _cut(x: Array, size: int, axis: int = -1) -> Array:
    """Chunks of ``size`` on a new axis before; the last is filled up with zeros. All in one where ``size`` is 0."""
    if size == 0:
        return split_axis(x, axis, (1, x.shape[axis]))
    x = fill_up(x, size, axis)
    return split_axis(x, axis, (x.shape[axis] // size, size))

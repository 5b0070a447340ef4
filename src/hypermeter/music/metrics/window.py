"""Computing the metrics of windows, of their bars and of their phrases in one pass.

Intermediate results of several metrics or levels are computed once: the intervals, the codes of the n-grams, the hits
of each step and bar. Tests ensure that each value equals that of the metric of its name on the chunk alone.

The arithmetic is NumPy's, also for tensors, as nothing here has a gradient and NumPy takes half the time of torch for
arrays of this size.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from hypermeter.core.grid import Grid
from hypermeter.music.arrays import Array, from_numpy, pad, to_numpy
from hypermeter.music.metrics.density import avg_hits, dense_frac, drum_density, max_hits
from hypermeter.music.metrics.intervals import IOI_BINS, mean_of_moments, variance_of_moments
from hypermeter.music.metrics.onsets import as_binary, as_float, chunk_lengths, entropy_bits, mean_of_defined, ratio
from hypermeter.music.metrics.repetition import NGRAM_STEPS, count_equal, ngram_codes
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
    *batch, steps, voices = hits.shape
    onsets = as_binary(to_numpy(hits)).reshape((math.prod(batch), steps, voices))
    report = _Window(onsets, grid, fast_threshold).report(sections or ())

    def like_hits(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {name: like_hits(value) for name, value in tree.items()}
        if isinstance(tree, list):
            return [like_hits(value) for value in tree]
        return from_numpy(hits, tree.reshape((*batch, *tree.shape[1:])))

    return like_hits(report)


class _Window:
    """The intermediate results of windows (N, T, V), and their parts for each chunk.

    Most are sums of bars, which are added up for phrases and windows: the numbers of hits of each voice, of all hits,
    of those on weak steps, of steps with two hits or more, of dense bars (0 or 1), and of pairs of hits on neighbouring
    steps. Empty steps after the end make the last phrase a whole one.
    """

    def __init__(self, onsets: Bool[np.ndarray, "N T V"], grid: Grid, fast_threshold: int):
        self.onsets, self.grid, self.fast_threshold = onsets, grid, fast_threshold
        self.rows, self.steps, self.voices = onsets.shape
        per_bar, per_phrase = grid.steps_per_bar, grid.steps_per_phrase
        self.bars, self.phrases = -(-self.steps // per_bar), -(-self.steps // per_phrase)
        self.padded = pad(onsets, -2, 0, self.phrases * per_phrase - self.steps)
        self.all_bars = self.phrases * grid.bars_per_phrase
        self.length = self.all_bars * per_bar
        self.lines = np.ascontiguousarray(self.padded.swapaxes(1, 2))
        self.cells, self.of_voices = as_float(self.padded), as_float(self.lines)
        by_bar = self.of_voices.reshape((self.rows, self.voices, self.all_bars, per_bar))
        self.per_bar = (by_bar @ np.ones(per_bar, np.float32)).swapaxes(1, 2)
        per_step = self.cells @ np.ones(self.voices, np.float32)
        self.per_step = per_step.reshape((self.rows, self.all_bars, per_bar))

    def report(self, sections: Sequence[tuple[int, int]]) -> dict[str, Any]:
        bar, phrase, step = self._levels()
        names = ("avg_hits", "drum_density", "max_hits")
        entropy, phrase_entropy = self._entropies()
        song = {name: step[name] for name in names} | {"step_entropy": entropy, "phrase_entropy": phrase_entropy}
        section = [
            {metric.__name__: metric(self.onsets[:, start:end], self.grid) for metric in SECTION_METRICS}
            for start, end in sections
        ]
        return {
            "step": step,
            "bar": bar,
            "phrase": phrase | {"hits_per_bar": self.per_bar[:, : self.bars]},
            "section": section,
            "song": song | {"ngram_diversity": as_float(step["ngrams"] > 0).sum(-1)},
        }

    def _levels(self) -> list[dict[str, np.ndarray]]:
        """Return WINDOW_METRICS of each bar, of each phrase, and of the window, which has no axis of chunks.

        Most are computed for the chunks of all three together, as fewer and larger arrays are faster.
        """
        voices, bars = self.voices, self.bars
        lengths, bars_of_chunk = _lengths(self.grid, self.steps)
        sums = self._of_all_chunks(self._sums_of_bars(lengths[:bars]))
        shares = sums / lengths[:, None]
        intervals, histograms = self._intervals()
        metrics = {
            "avg_hits": shares[..., voices],
            "drum_density": shares[..., :voices],
            "max_hits": self._most(),
            "dense_frac": sums[..., voices + 3] / bars_of_chunk,
            "ioi_mean": mean_of_moments(*intervals[:3]).astype(np.float32),
            "ioi_var": variance_of_moments(*intervals[:3]).astype(np.float32),
            "co_occurrence": shares[..., voices + 2],
            "fast_patterns": intervals[3].astype(np.float32),
            "transitions": self._transitions(),
            "syncopation": ratio(sums[..., voices + 1], sums[..., voices]),
        }
        places = slice(bars), slice(bars, bars + self.phrases), -1
        levels = [{name: values[:, place] for name, values in metrics.items()} for place in places]
        codes = ngram_codes(self.onsets)
        by_level = [self._ngrams(codes, size) for size in (self.grid.steps_per_bar, self.grid.steps_per_phrase)]
        for level, counts, ngrams in zip(levels, histograms, [*by_level, count_equal(codes)], strict=True):
            level["ioi_hist"], level["ngrams"] = counts, ngrams
        return levels

    def _sums_of_bars(self, bar_lengths: Float[np.ndarray, " bars"]) -> Float[np.ndarray, "N all_bars F"]:
        """Return for each bar the hits of each voice, and the hits, weak hits, steps with two hits, and dense bars."""
        sums = np.zeros((self.rows, self.all_bars, self.voices + 4), np.float32)
        sums[..., : self.voices] = self.per_bar
        per_step, total, ones = self.per_step, sums[..., self.voices], np.ones(self.grid.steps_per_bar, np.float32)
        total[:] = per_step @ ones
        sums[..., self.voices + 1] = per_step @ weak_steps(self.grid.steps_per_bar, self.grid).astype(np.float32)
        sums[..., self.voices + 2] = as_float(per_step > 1) @ ones
        sums[:, : self.bars, self.voices + 3] = total[:, : self.bars] > self.voices / 2 * bar_lengths
        return sums

    def _of_all_chunks(self, of_bars: Float[np.ndarray, "N all_bars *F"]) -> Float[np.ndarray, "N chunks *F"]:
        """Return sums of bars as those of the bars, of the phrases and of the window, one after the other."""
        of_phrases = _sums_of(of_bars, self.phrases)
        return np.concatenate([of_bars[:, : self.bars], of_phrases, of_phrases.sum(1, keepdims=True)], 1)

    def _most(self) -> Float[np.ndarray, "N chunks"]:
        """Return the most hits on a step of each chunk; NaN without steps."""
        if not self.steps:
            return np.full((self.rows, 1), math.nan, np.float32)
        of_bars = self.per_step.max(-1)
        of_phrases = of_bars.reshape((self.rows, self.phrases, self.grid.bars_per_phrase)).max(-1)
        return np.concatenate([of_bars[:, : self.bars], of_phrases, of_phrases.max(1, keepdims=True)], 1)

    def _transitions(self) -> Float[np.ndarray, "N chunks V V"]:
        """Return `transitions` of each chunk; pairs of hits across its ends are not in it."""
        (per_bar, bars), *longer = self._sizes()
        cells = self.cells.reshape((self.rows, self.all_bars, per_bar, self.voices))[:, :bars]
        pairs = [cells[:, :, :-1].swapaxes(-1, -2) @ cells[:, :, 1:]]
        for size, chunks in longer:  # The other layout is faster for longer chunks.
            cells = self.of_voices.reshape((self.rows, self.voices, chunks, size)).swapaxes(1, 2)
            pairs.append(cells[..., :-1] @ cells[..., 1:].swapaxes(-1, -2))
        counts = np.concatenate(pairs, 1)
        total = counts @ np.ones((self.voices, self.voices), np.float32)
        return counts / np.maximum(total, 1, out=total)

    def _sizes(self) -> list[tuple[int, int]]:
        """Return the steps of a chunk and the number of chunks of each level."""
        per_bar, per_phrase = self.grid.steps_per_bar, self.grid.steps_per_phrase
        return [(per_bar, self.bars), (per_phrase, self.phrases), (self.length, 1)]

    def _intervals(self) -> tuple[Float[np.ndarray, "4 N chunks V"], list[Float[np.ndarray, "N ... V bins"]]]:
        """Return of the intervals in each chunk the number, sum, sum of squares and number of fast ones, in double
        precision, and the histograms of each level, that of the window without an axis of chunks.

        A level has the intervals of the level below, and those that end in another of its chunks than they begin in.
        The sums are over the histograms and over the intervals that these leave out.
        """
        bins, lines = np.arange(1, IOI_BINS + 1), self.rows * self.voices
        exact = np.float32 if self.length * IOI_BINS < 2**24 else np.float64
        powers = np.stack([bins**0, bins, bins**2, bins <= self.fast_threshold], -1).astype(exact)
        at = np.flatnonzero(self.lines)
        end, gap = at[1:], at[1:] - at[:-1]
        histograms: list[np.ndarray] = []
        sums: list[np.ndarray] = []
        longer: np.ndarray | None = None
        for (size, _), count in zip(self._sizes(), (self.all_bars, self.phrases, 1), strict=True):
            chunk, place = _divided(end, size)
            is_inside, width, cells = gap <= place, min(IOI_BINS, size), lines * count
            is_counted = is_inside if size <= IOI_BINS else is_inside & (gap <= IOI_BINS)
            cell = np.where(is_counted, chunk * width + (gap - 1), cells * width)
            counts = np.bincount(cell, minlength=cells * width + 1)[:-1].reshape((lines, count, width))
            if histograms:
                histogram = _sums_of(histograms[-1], count)
                histogram[..., :width] += counts.astype(np.float32)
            else:
                histogram = np.zeros((lines, count, IOI_BINS), np.float32)
                histogram[..., :width] = counts
            of_chunks = (histogram.reshape((cells, IOI_BINS)).astype(exact, copy=False) @ powers).T.astype(float, "C")
            if longer is not None:
                longer = _sums_of(longer.reshape((4 * lines, -1)), count).reshape((4, cells))
            if len(long := np.flatnonzero(is_inside ^ is_counted)):
                where, steps = chunk[long], gap[long]
                weights = None, steps, steps * steps, steps <= self.fast_threshold
                of_long = np.stack([np.bincount(where, of_each, cells) for of_each in weights])
                longer = of_long if longer is None else longer + of_long
            if longer is not None:
                of_chunks += longer
            sums.append(of_chunks.reshape((4, lines, count)))
            histograms.append(histogram)
            crossing = np.flatnonzero(~is_inside)
            end, gap = end[crossing], gap[crossing]
        for histogram, (number, *_) in zip(histograms, sums, strict=True):
            histogram[number == 0] = math.nan

        def kept(x: np.ndarray, chunks: int) -> np.ndarray:
            """Return (N, chunks, V, bins) of (lines, all chunks, bins)."""
            return x[:, :chunks].reshape((self.rows, self.voices, chunks, IOI_BINS)).swapaxes(1, 2)

        bar, phrase, window = histograms
        all_sums = np.concatenate([sums[0][..., : self.bars], *sums[1:]], -1)
        all_sums = all_sums.reshape((4, self.rows, self.voices, all_sums.shape[-1])).swapaxes(-1, -2)
        return all_sums, [kept(bar, self.bars), kept(phrase, self.phrases), kept(window, 1)[:, 0]]

    def _ngrams(self, codes: Shaped[np.ndarray, "N all"], size: int) -> Float[np.ndarray, "N chunks places"]:
        """Return `ngrams` of each chunk, from the codes of the whole window. The last chunk may be short."""
        places, number = max(size - NGRAM_STEPS + 1, 0), self.steps // size
        padded = pad(codes, -1, 0, self.steps - codes.shape[-1])
        whole = padded[:, : number * size].reshape((self.rows, number, size))
        counts = count_equal(whole[..., :places])
        if self.steps % size:
            last = count_equal(codes[:, number * size :])
            last = pad(last, -1, 0, places - last.shape[-1])
            counts = np.concatenate([counts, last[:, None]], 1)
        return counts

    def _entropies(self) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
        """Return `step_entropy` and `phrase_entropy`."""
        classes, per_step = self.voices + 1, self.per_step.reshape((self.rows, self.length))[:, : self.steps]
        phrase = np.arange(self.rows)[:, None] * self.phrases + np.arange(self.steps) // self.grid.steps_per_phrase
        counts = np.bincount(
            (phrase * classes + per_step.astype(np.int64)).ravel(), minlength=self.rows * self.phrases * classes
        )
        counts = counts.astype(np.float32).reshape((self.rows, self.phrases, classes))
        total = counts.sum(1)
        of_phrases = entropy_bits(counts / counts.sum(-1, keepdims=True))
        return entropy_bits(total / total.sum(-1, keepdims=True)), mean_of_defined(of_phrases)


def _sums_of(x: Float[np.ndarray, "N all *F"], chunks: int) -> Float[np.ndarray, "N chunks *F"]:
    """Return the sums of as many elements of the second axis for each chunk; those of few are faster one by one."""
    together = x.shape[1] // chunks if chunks else 0
    x = x.reshape((len(x), chunks, together, *x.shape[2:]))
    if not 0 < together <= 8:
        return x.sum(2)
    total = x[:, :, 0].copy()
    for number in range(1, together):
        total += x[:, :, number]
    return total


def _divided(numbers: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers // size and numbers % size; shifts are faster for a power of two."""
    if size and size & (size - 1) == 0:
        return numbers >> size.bit_length() - 1, numbers & size - 1
    quotient = numbers // max(size, 1)
    return quotient, numbers - quotient * size


@lru_cache(256)
def _lengths(grid: Grid, steps: int) -> tuple[Float[np.ndarray, " chunks"], Float[np.ndarray, " chunks"]]:
    """Return the steps and bars of each bar, each phrase and the window; the last bar and phrase may be short."""
    nothing, bars = np.zeros(1), -(-steps // grid.steps_per_bar)
    in_steps = [chunk_lengths(nothing, steps, size) for size in (grid.steps_per_bar, grid.steps_per_phrase)]
    in_bars = [np.ones(bars), chunk_lengths(nothing, bars, grid.bars_per_phrase)]
    return (
        np.concatenate([*in_steps, [steps]]).astype(np.float32),
        np.concatenate([*in_bars, [bars]]).astype(np.float32),
    )

"""Computing the metrics of windows, of their bars and of their phrases in one pass.

Intermediate results of several metrics or levels are computed once: the intervals, the codes of the n-grams, the hits
of each step and bar. Tests ensure that each value equals that of the metric of its name on the chunk alone.

The arithmetic is NumPy's, also for tensors, as nothing here has a gradient and NumPy takes half the time of torch for
arrays of this size.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from hypermeter.core.grid import Grid
from hypermeter.music.arrays import Array, from_numpy, pad, to_numpy
from hypermeter.music.metrics.density import avg_hits, dense_frac, drum_density, max_hits
from hypermeter.music.metrics.intervals import IOI_BINS
from hypermeter.music.metrics.onsets import as_binary, as_float, entropy_bits
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
    convert = from_numpy(hits)

    def like_hits(tree: Any) -> Any:
        if isinstance(tree, np.ndarray):
            return convert(tree if len(batch) == 1 else tree.reshape((*batch, *tree.shape[1:])))
        if isinstance(tree, dict):
            return {name: like_hits(value) for name, value in tree.items()}
        return [like_hits(value) for value in tree]

    return like_hits(report)


class _Window:
    """Windows (N, T, V) and their chunks: the bars, the phrases and the window, in turn on one axis.

    Empty steps after the end make the last phrase a whole one. Most results are sums over the steps of a chunk: those
    of the phrases and of the window are the sums of their bars, and of what crosses the ends of these.
    """

    def __init__(self, onsets: Bool[np.ndarray, "N T V"], grid: Grid, fast_threshold: int):
        self.onsets, self.grid, self.fast_threshold = onsets, grid, fast_threshold
        self.rows, self.steps, self.voices = onsets.shape
        per_bar, per_phrase = grid.steps_per_bar, grid.steps_per_phrase
        self.bars, self.phrases = -(-self.steps // per_bar), -(-self.steps // per_phrase)
        self.all_bars, self.length = self.phrases * grid.bars_per_phrase, self.phrases * per_phrase
        self.chunks = self.all_bars + self.phrases + 1
        self.padded = pad(onsets, -2, 0, self.length - self.steps)
        self.lines = np.ascontiguousarray(self.padded.swapaxes(1, 2))

    def report(self, sections: Sequence[tuple[int, int]]) -> dict[str, Any]:
        transitions, sums, lines, cells, counts = self._block()
        by_bar = self._fill(sums, transitions, lines, cells)
        metrics = self._of_sums(sums) | {"max_hits": self._most(by_bar), "transitions": _shares(transitions)}
        ngrams = self._ngrams()
        metrics |= self._of_intervals(counts)
        bar = {name: values[:, : self.bars] for name, values in metrics.items()}
        # Copies, as a view of few values would be sent to another process with all that lies between them.
        phrase = {name: values[:, self.all_bars : -1].copy() for name, values in metrics.items()}
        step = {name: values[:, -1].copy() for name, values in metrics.items()}
        bar["ngrams"], phrase["ngrams"], step["ngrams"] = ngrams
        section = [
            {metric.__name__: metric(self.onsets[:, start:end], self.grid) for metric in SECTION_METRICS}
            for start, end in sections
        ]
        song = {name: step[name] for name in ("avg_hits", "drum_density", "max_hits")}
        song["step_entropy"], song["phrase_entropy"] = self._entropies(by_bar)
        song["ngram_diversity"] = as_float(step["ngrams"] > 0).sum(-1)
        phrase["hits_per_bar"] = sums[:, : self.bars, : self.voices]
        return {"step": step, "bar": bar, "phrase": phrase, "section": section, "song": song}

    def _block(self) -> list[Float[np.ndarray, "..."]]:
        """Return arrays of floats that share one block of memory, the largest part of what a call uses.

        They are transitions (N, chunks, V, V) and sums (N, chunks, F) for `_fill` to set; the hits by voice (N, V, L)
        and by step (N, L, V); and zeros (N * chunks * V * bins + 1,) for `_of_intervals`.

        glibc gives memory back to the system after a call that uses more than twice its largest block. To get it anew
        for the next call took a third of the time.
        """
        rows, chunks, voices, length = self.rows, self.chunks, self.voices, self.length
        shapes = [
            (rows, chunks, voices, voices),
            (rows, chunks, voices + 4),
            (rows, voices, length),
            (rows, length, voices),
            (rows * chunks * voices * IOI_BINS + 1,),
        ]
        ends = list(accumulate(map(math.prod, shapes), initial=0))
        block = np.empty(ends[-1], np.float32)
        parts = [block[start:end].reshape(shape) for (start, end), shape in zip(pairwise(ends), shapes, strict=True)]
        _, sums, lines, cells, counts = parts
        sums[:], counts[:] = 0, 0
        lines[:], cells[:] = self.lines.view(np.uint8), self.padded.view(np.uint8)
        return parts

    def _add_up(self, sums: Shaped[np.ndarray, "N chunks *F"]) -> None:
        """Add the sums of the bars to those of their phrases, and then those of the phrases to those of the window."""
        of_bars, of_phrases = sums[:, : self.all_bars], sums[:, self.all_bars : -1]
        of_phrases += of_bars.reshape((self.rows, self.phrases, self.grid.bars_per_phrase, *sums.shape[2:])).sum(2)
        sums[:, -1] += of_phrases.sum(1)

    def _fill(
        self,
        sums: Float[np.ndarray, "N chunks F"],
        transitions: Float[np.ndarray, "N chunks V V"],
        lines: Float[np.ndarray, "N V L"],
        cells: Float[np.ndarray, "N L V"],
    ) -> Float[np.ndarray, "N all_bars steps"]:
        """Return the number of hits of each step.

        Set for each chunk the number of hits of each voice, of all hits, of weak hits, of steps with two hits, and of
        dense bars; and the number of pairs of hits on neighbouring steps, without those across its ends.
        """
        rows, voices, bars, per_bar = self.rows, self.voices, self.all_bars, self.grid.steps_per_bar
        ones = np.ones(per_bar, np.float32)
        by_bar = (np.ones(voices, np.float32) @ lines).reshape((rows, bars, per_bar))
        of_voices = lines.reshape((rows * voices * bars, per_bar)) @ ones
        of_bars = sums[:, :bars]
        of_bars[..., :voices] = of_voices.reshape((rows, voices, bars)).swapaxes(1, 2)
        of_bars[..., voices] = total = by_bar @ ones
        of_bars[..., voices + 1] = by_bar @ weak_steps(per_bar, self.grid).astype(np.float32)
        of_bars[..., voices + 2] = as_float(by_bar > 1) @ ones
        of_bars[..., voices + 3] = total > voices / 2 * _lengths(self.grid, self.steps)[0][:bars]
        self._add_up(sums)

        cells_of_bars = cells.reshape((rows, bars, per_bar, voices))
        before = lines.reshape((rows, voices, bars, per_bar)).swapaxes(1, 2)[..., :-1]
        np.matmul(before, cells_of_bars[:, :, 1:], out=transitions[:, :bars])
        by_phrase = cells.reshape((rows, self.phrases, self.grid.bars_per_phrase, per_bar, voices))
        first, last = by_phrase[..., 0, :], by_phrase[..., -1, :]
        transitions[:, bars:-1] = last[:, :, :-1].swapaxes(-1, -2) @ first[:, :, 1:]
        transitions[:, -1] = last[:, :-1, -1].swapaxes(-1, -2) @ first[:, 1:, 0]
        self._add_up(transitions)

        return by_bar

    def _of_sums(self, sums: Float[np.ndarray, "N chunks F"]) -> dict[str, Float[np.ndarray, "N chunks *_"]]:
        """Return the metrics that are shares of the sums of `_fill`. Those of nothing are 0 / 0, which is NaN."""
        voices = self.voices
        steps, bars = _lengths(self.grid, self.steps)
        shares = sums / steps[:, None]
        return {
            "avg_hits": shares[..., voices],
            "drum_density": shares[..., :voices],
            "dense_frac": sums[..., voices + 3] / bars,
            "co_occurrence": shares[..., voices + 2],
            "syncopation": sums[..., voices + 1] / sums[..., voices],
        }

    def _most(self, by_bar: Float[np.ndarray, "N all_bars steps"]) -> Float[np.ndarray, "N chunks"]:
        """Return the most hits on a step of each chunk; NaN without steps."""
        if not self.steps:
            return np.full((self.rows, 1), math.nan, np.float32)
        of_bars = np.ascontiguousarray(by_bar.transpose(2, 0, 1)).max(0)  # faster than along a short last axis
        of_phrases = of_bars.reshape((self.rows, self.phrases, self.grid.bars_per_phrase)).max(-1)
        return np.concatenate([of_bars, of_phrases, of_phrases.max(1, keepdims=True)], 1)

    def _of_intervals(self, counts: Float[np.ndarray, " all"]) -> dict[str, Float[np.ndarray, "N chunks V *_"]]:
        """Return the metrics of intervals, from zeros for the histogram and for one cell more, which is not read.

        An interval is counted in the shortest chunk that has both its ends, and so added up to the longer ones; one of
        more than IOI_BINS steps, which is in no histogram, is added to each.
        """
        rows, chunks, voices = self.rows, self.chunks, self.voices
        shape, cells = (rows, chunks, voices), rows * chunks * voices
        at = np.flatnonzero(self.lines)
        start, end, gap = at[:-1], at[1:], at[1:] - at[:-1]
        is_long = np.flatnonzero(gap > IOI_BINS)
        long_start, long_end, long_gap = start[is_long], end[is_long], gap[is_long]
        long_cells, long_gaps = [], []
        levels = (self.grid.steps_per_bar, self.all_bars), (self.grid.bars_per_phrase, self.phrases), (self.phrases, 1)
        first, size = 0, 1
        for parts, number in levels:
            size *= parts
            cell_of, before_bins = _cells(rows, chunks, voices, first, number)
            start, end = _quotient(start, parts), _quotient(end, parts)
            is_inside = start == end
            is_counted = is_inside if size <= IOI_BINS else is_inside & (gap <= IOI_BINS)
            place = np.where(is_counted, before_bins.take(end) + gap, len(counts) - 1)
            np.add.at(counts, place, np.float32(1))
            if size > IOI_BINS:
                chunk = _quotient(long_end, size)
                in_one = np.flatnonzero(_quotient(long_start, size) == chunk)
                long_cells.append(cell_of[chunk[in_one]])
                long_gaps.append(long_gap[in_one])
            crossing = np.flatnonzero(~is_inside)
            start, end, gap = start[crossing], end[crossing], gap[crossing]
            first += number
        histogram = counts[:-1].reshape((*shape, IOI_BINS))
        self._add_up(histogram)
        exact = np.float32 if self.length * IOI_BINS < 2**24 else np.float64
        powers = _powers_of_bins(self.fast_threshold).astype(exact)
        sums = (histogram.reshape((cells, IOI_BINS)).astype(exact, copy=False) @ powers).astype(float)
        if long_cells:
            place = np.concatenate(long_cells)[:, None] * 4 + np.arange(4)
            np.add.at(sums.reshape(-1), place.ravel(), _powers(np.concatenate(long_gaps), self.fast_threshold).ravel())
        number, total, squares, fast = (sums[:, place].reshape(shape) for place in range(4))
        histogram[number == 0] = math.nan
        mean = total / number
        return {
            "ioi_mean": mean.astype(np.float32),
            "ioi_var": np.maximum(squares / number - mean * mean, 0).astype(np.float32),
            "ioi_hist": histogram,
            "fast_patterns": fast.astype(np.float32),
        }

    def _ngrams(self) -> list[Float[np.ndarray, "N ... places"]]:
        """Return `ngrams` of each bar, of each phrase, and of the window, which has no axis of chunks."""
        codes = ngram_codes(self.lines.swapaxes(1, 2)[:, : self.steps])
        padded = pad(codes, -1, 0, self.steps - codes.shape[-1])
        groups, sizes = [codes], (self.grid.steps_per_bar, self.grid.steps_per_phrase)
        for size in sizes:  # The last chunk may be short.
            places, number = max(size - NGRAM_STEPS + 1, 0), self.steps // size
            whole = padded[:, : number * size].reshape((self.rows, number, size))
            groups += [whole[..., :places], codes[:, None, number * size :]]
        of_window, *counts = count_equal(groups)
        levels = []
        for size, whole, last in zip(sizes, counts[::2], counts[1::2], strict=True):
            if self.steps % size:
                last = pad(last, -1, 0, whole.shape[-1] - last.shape[-1])
                whole = np.concatenate([whole, last], 1)
            levels.append(whole)
        return [*levels, of_window]

    def _entropies(
        self, by_bar: Float[np.ndarray, "N all_bars steps"]
    ) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
        """Return `step_entropy` and `phrase_entropy`."""
        rows, phrases, classes = self.rows, self.phrases, self.voices + 1
        per_step = by_bar.reshape((rows, self.length))[:, : self.steps].astype(np.int64)
        phrase = np.arange(rows)[:, None] * phrases + np.arange(self.steps) // self.grid.steps_per_phrase
        per_step += phrase * classes
        counts = np.bincount(per_step.ravel(), minlength=rows * phrases * classes).reshape((rows, phrases, classes))
        counts = np.concatenate([counts, counts.sum(1, keepdims=True)], 1).astype(np.float32)
        entropies = entropy_bits(counts / counts.sum(-1, keepdims=True))
        return entropies[:, -1], entropies[:, :-1].sum(-1) / phrases


def _shares(counts: Float[np.ndarray, "N chunks V V"]) -> Float[np.ndarray, "N chunks V V"]:
    """Divide each row by its sum, in place; a row of zeros is kept."""
    voices = counts.shape[-1]
    rows = counts.reshape((math.prod(counts.shape[:-1]), voices))
    total = rows @ np.ones((voices, voices), np.float32)  # of each place, as a division by a column is slower
    rows /= np.maximum(total, 1, out=total)
    return counts


def _powers(intervals: Int[np.ndarray, " N"], fast_threshold: int) -> Float[np.ndarray, "N 4"]:
    """Return for each interval 1, its length, the square of it, and whether it is fast."""
    of_each = np.ones_like(intervals), intervals, intervals * intervals, intervals <= fast_threshold
    return np.stack(of_each, -1).astype(float)


@lru_cache(16)
def _powers_of_bins(fast_threshold: int) -> Float[np.ndarray, "bins 4"]:
    return _powers(np.arange(1, IOI_BINS + 1), fast_threshold)


def _quotient(numbers: Int[np.ndarray, " N"], divisor: int) -> Int[np.ndarray, " N"]:
    """Return numbers // divisor; a shift is faster for a power of two."""
    if divisor and divisor & (divisor - 1) == 0:
        return numbers >> divisor.bit_length() - 1
    return numbers // max(divisor, 1)


@lru_cache(16)
def _cells(
    rows: int, chunks: int, voices: int, first: int, number: int
) -> tuple[Int[np.ndarray, " cells"], Int[np.ndarray, " cells"]]:
    """Return for row, voice and chunk of a level, in this order, the number of its cell in (rows, chunks, voices), and
    the place before its first bin in a histogram of each cell.
    """
    cells = np.arange(rows * chunks * voices).reshape((rows, chunks, voices))
    of_level = cells[:, first : first + number].swapaxes(1, 2).ravel()
    return of_level, of_level * IOI_BINS - 1


@lru_cache(256)
def _lengths(grid: Grid, steps: int) -> tuple[Float[np.ndarray, " chunks"], Float[np.ndarray, " chunks"]]:
    """Return the steps and bars of each chunk of a window; the last phrase may be short, and the last bars empty."""
    bars, phrases = -(-steps // grid.steps_per_bar), -(-steps // grid.steps_per_phrase)
    all_bars = phrases * grid.bars_per_phrase

    def of_chunks(total: int, bar: int, phrase: int) -> Float[np.ndarray, " chunks"]:
        levels = [
            (total - size * np.arange(number)).clip(0, size) for size, number in ((bar, all_bars), (phrase, phrases))
        ]
        return np.concatenate([*levels, [total]]).astype(np.float32)

    return of_chunks(steps, grid.steps_per_bar, grid.steps_per_phrase), of_chunks(bars, 1, grid.bars_per_phrase)

"""The metrics of a window, of each of its bars and of each of its phrases, in one pass.

What several metrics or levels need is found once: the intervals, the codes of the n-grams, the hits of each step and
bar. Tests hold that every value is that of the function of its name in ``METRICS`` on the chunk alone.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from hypermeter.grid import Grid
from hypermeter.metrics.density import avg_hits, dense_frac, drum_density, max_hits
from hypermeter.metrics.intervals import Intervals, mean_of_moments, variance_of_moments
from hypermeter.metrics.onsets import chunk_sums, entropy_bits, mean_of_defined, ratio
from hypermeter.metrics.repetition import NGRAM_STEPS, count_equal, ngram_codes, shares_of_rows
from hypermeter.metrics.syncopation import weak_steps

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


def window_metrics(
    hits: Shaped[Tensor, "*B T V"],
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
        dict of SONG_METRICS. All values are tensors.
    """
    return _Window(hits, grid, fast_threshold).report(sections or ())


class _Window:
    """What is found once."""

    def __init__(self, hits: Tensor, grid: Grid, fast_threshold: int):
        self.onsets, self.grid, self.fast_threshold = hits.bool(), grid, fast_threshold
        *_, self.steps, self.voices = hits.shape
        onsets = self.onsets.float()
        self.per_step = onsets.sum(-1)
        self.weak = self.per_step * weak_steps(self.steps, grid).to(hits.device)
        self.per_bar = chunk_sums(onsets, grid.steps_per_bar)
        self.pairs = self._pairs_by_bar(onsets)
        self.gaps, self.codes = Intervals.of(self.onsets), ngram_codes(self.onsets)

    def report(self, sections: Sequence[tuple[int, int]]) -> dict[str, Any]:
        step, bar, phrase = (self.level(bars) for bars in (None, 1, self.grid.bars_per_phrase))
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
            "song": song | {"ngram_diversity": (step["ngrams"] > 0).sum(-1).float()},
        }

    def level(self, bars: int | None) -> dict[str, Tensor]:
        """WINDOW_METRICS of each chunk of ``bars`` bars, or (None) of the whole window, without an axis of chunks."""
        size = self.steps if bars is None else bars * self.grid.steps_per_bar
        chunks = -(-self.steps // size) if size else 1
        steps = (self.steps - size * torch.arange(chunks, device=self.onsets.device)).clamp(max=size)
        per_step = _cut(self.per_step, size, chunks)
        hits = per_step.sum(-1)
        bars_of_chunk = self.per_bar.shape[-2] if bars is None else bars
        per_bar = _cut(self.per_bar.transpose(-1, -2), bars_of_chunk, chunks).movedim(-3, -2)  # (*B, chunks, V, bars)
        gaps = self.gaps.within(size, chunks)
        moments = gaps.moments()
        found = {
            "avg_hits": hits / steps,
            "drum_density": per_bar.sum(-1) / steps[:, None],
            "max_hits": per_step.amax(-1) if size else hits / steps,
            "dense_frac": self._dense_frac(bars_of_chunk, chunks),
            "ioi_mean": mean_of_moments(*moments).float(),
            "ioi_var": variance_of_moments(*moments).float(),
            "ioi_hist": gaps.histogram(),
            "co_occurrence": (per_step > 1).sum(-1) / steps,
            "ngrams": count_equal(self.codes) if bars is None else self._ngrams(size),
            "fast_patterns": gaps.at_most(self.fast_threshold),
            "transitions": shares_of_rows(self._pairs(bars_of_chunk, chunks)),
            "syncopation": ratio(_cut(self.weak, size, chunks).sum(-1), hits),
        }
        if bars is not None:
            return found
        batch = self.onsets.ndim - 2
        return {name: value if name == "ngrams" else value.squeeze(batch) for name, value in found.items()}

    def _dense_frac(self, bars: int, chunks: int) -> Float[Tensor, "*B chunks"]:
        begun, size = self.per_bar.shape[-2], self.grid.steps_per_bar
        steps = (self.steps - size * torch.arange(begun, device=self.onsets.device)).clamp(max=size)
        dense = (self.per_bar.sum(-1) > self.voices / 2 * steps).float()
        count = (begun - bars * torch.arange(chunks, device=self.onsets.device)).clamp(max=bars)
        return _cut(dense, bars, chunks).sum(-1) / count

    def _pairs_by_bar(self, onsets: Float[Tensor, "*B T V"]) -> tuple[Tensor, Tensor]:
        """Hits of voice j on the step after one of voice i: in each bar, and over each bar's end; (*B, bars, V, V)."""
        size, bars = self.grid.steps_per_bar, self.per_bar.shape[-2]
        onsets = F.pad(onsets, (0, 0, 0, bars * size - self.steps)).unflatten(-2, (bars, size))
        inside = onsets[..., :-1, :].transpose(-1, -2) @ onsets[..., 1:, :]
        following = F.pad(onsets[..., 1:, 0, :], (0, 0, 0, 1))
        return inside, onsets[..., -1, :, None] * following[..., None, :]

    def _pairs(self, bars: int, chunks: int) -> Float[Tensor, "*B chunks V V"]:
        """The same in each chunk of ``bars`` bars."""
        inside, over_end = self.pairs
        if bars == 1:
            return inside
        in_chunk = (torch.arange(1, inside.shape[-3] + 1, device=inside.device) % bars != 0).float()
        pairs = inside + over_end * in_chunk[:, None, None]
        return (
            _cut(pairs.flatten(-2).transpose(-1, -2), bars, chunks)
            .sum(-1)
            .transpose(-1, -2)
            .unflatten(-1, (self.voices, self.voices))
        )

    def _ngrams(self, size: int) -> Float[Tensor, "*B chunks places"]:
        """``ngrams`` of each chunk, from the codes of the whole window. The last chunk may be short."""
        places, whole = max(size - NGRAM_STEPS + 1, 0), self.steps // size
        padded = F.pad(self.codes, (0, self.steps - self.codes.shape[-1]))
        counts = count_equal(padded[..., : whole * size].unflatten(-1, (whole, size))[..., :places])
        if self.steps % size:
            last = count_equal(self.codes[..., whole * size :])
            counts = torch.cat([counts, F.pad(last, (0, places - last.shape[-1]))[..., None, :]], -2)
        return counts

    def _entropies(self) -> tuple[Float[Tensor, "*B"], Float[Tensor, "*B"]]:
        """``step_entropy`` and ``phrase_entropy``."""
        size = self.grid.steps_per_phrase
        phrases, classes = -(-self.steps // size), self.voices + 2  # the last class is padding
        hits = F.pad(self.per_step.long(), (0, phrases * size - self.steps), value=classes - 1)
        hits = hits.unflatten(-1, (phrases, size))
        counts = torch.zeros(*hits.shape[:-1], classes, device=hits.device)
        counts = counts.scatter_add_(-1, hits, torch.ones(hits.shape, device=hits.device))[..., :-1]
        whole = counts.sum(-2)
        of_phrases = entropy_bits(counts / counts.sum(-1, keepdim=True))
        return entropy_bits(whole / whole.sum(-1, keepdim=True)), mean_of_defined(of_phrases)


def _cut(x: Shaped[Tensor, "*B N"], size: int, chunks: int) -> Shaped[Tensor, "*B chunks size"]:
    """Chunks of ``size``; the last is filled up with zeros."""
    return F.pad(x, (0, chunks * size - x.shape[-1])).unflatten(-1, (chunks, size))

"""The metrics of one window in NumPy and plain loops, as one writes them for a paper: the yardstick of ``metrics.py``.

Written from the definitions, not from ``hypermeter.music.metrics``; a test holds the two against each other.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from hypermeter.core.grid import Grid

IOI_BINS = 32
NGRAM_STEPS = 4


def chunks(hits: np.ndarray, size: int) -> list[np.ndarray]:
    """Bars or phrases; the last may be short."""
    return [hits[start : start + size] for start in range(0, len(hits), size)]


def dense_frac(hits: np.ndarray, grid: Grid) -> float:
    bars = chunks(hits, grid.steps_per_bar)
    dense = sum(1 for bar in bars if bar.sum() / len(bar) > hits.shape[1] / 2)
    return dense / len(bars) if bars else math.nan


def ngram_counts(hits: np.ndarray) -> Counter:
    return Counter(hits[start : start + NGRAM_STEPS].tobytes() for start in range(len(hits) - NGRAM_STEPS + 1))


def step_entropy(hits: np.ndarray) -> float:
    if not len(hits):
        return math.nan
    shares = np.bincount(hits.sum(1)) / len(hits)
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


def transitions(hits: np.ndarray) -> np.ndarray:
    counts = hits[:-1].T.astype(float) @ hits[1:]
    totals = counts.sum(1, keepdims=True)
    return np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)


def summary(hits: np.ndarray, grid: Grid) -> dict[str, Any]:
    """What a section gets, and every other level too."""
    per_step = hits.sum(1)
    return {
        "avg_hits": per_step.mean() if len(hits) else math.nan,
        "drum_density": hits.mean(0) if len(hits) else np.full(hits.shape[1], math.nan),
        "max_hits": per_step.max() if len(hits) else math.nan,
        "dense_frac": dense_frac(hits, grid),
    }


def chunk_metrics(hits: np.ndarray, grid: Grid, fast_threshold: int) -> dict[str, Any]:
    """All of a bar, a phrase or a window by itself."""
    steps, voices = hits.shape
    per_step = hits.sum(1)
    mean, var = np.full(voices, math.nan), np.full(voices, math.nan)
    hist, fast = np.full((voices, IOI_BINS), math.nan), np.zeros(voices)
    for voice in range(voices):
        intervals = np.diff(np.flatnonzero(hits[:, voice]))
        if len(intervals):
            mean[voice], var[voice] = intervals.mean(), intervals.var()
            hist[voice] = np.bincount(intervals[intervals <= IOI_BINS], minlength=IOI_BINS + 1)[1:]
            fast[voice] = (intervals <= fast_threshold).sum()
    total = per_step.sum()
    on_weak_steps = total - per_step[:: grid.steps_per_bar].sum()
    return {
        **summary(hits, grid),
        "ioi_mean": mean,
        "ioi_var": var,
        "ioi_hist": hist,
        "co_occurrence": (per_step > 1).mean() if steps else math.nan,
        "ngrams": np.array(sorted(ngram_counts(hits).values(), reverse=True)),
        "fast_patterns": fast,
        "transitions": transitions(hits),
        "syncopation": on_weak_steps / total if total else math.nan,
    }


def level_metrics(hits: np.ndarray, grid: Grid, size: int, fast_threshold: int) -> dict[str, np.ndarray]:
    """Those of every chunk, stacked; a shorter list of n-grams ends in zeros."""
    of_chunks = [chunk_metrics(chunk, grid, fast_threshold) for chunk in chunks(hits, size)]
    stacked = {name: np.stack([metrics[name] for metrics in of_chunks]) for name in of_chunks[0] if name != "ngrams"}
    return stacked | {"ngrams": padded([metrics["ngrams"] for metrics in of_chunks], max(size - NGRAM_STEPS + 1, 0))}


def padded(rows: list[np.ndarray], length: int) -> np.ndarray:
    table = np.zeros((len(rows), length))
    for row, counts in zip(table, rows, strict=True):
        row[: len(counts)] = counts
    return table


def window_metrics(
    hits: np.ndarray, grid: Grid, sections: Sequence[tuple[int, int]] | None = None, fast_threshold: int = 4
) -> dict[str, Any]:
    """The metrics of one window (T, V) of 0 and 1, by level, named as in ``music.metrics.window_metrics``."""
    step = chunk_metrics(hits, grid, fast_threshold)
    step["ngrams"] = padded([step["ngrams"]], max(len(hits) - NGRAM_STEPS + 1, 0))[0]
    phrase = level_metrics(hits, grid, grid.steps_per_phrase, fast_threshold)
    phrase["hits_per_bar"] = np.stack([bar.sum(0) for bar in chunks(hits, grid.steps_per_bar)])
    return {
        "step": step,
        "bar": level_metrics(hits, grid, grid.steps_per_bar, fast_threshold),
        "phrase": phrase,
        "section": [summary(hits[start:end], grid) for start, end in sections or ()],
        "song": {
            "avg_hits": step["avg_hits"],
            "drum_density": step["drum_density"],
            "max_hits": step["max_hits"],
            "step_entropy": step_entropy(hits),
            "phrase_entropy": np.mean([step_entropy(phrase) for phrase in chunks(hits, grid.steps_per_phrase)]),
            "ngram_diversity": len(ngram_counts(hits)),
        },
    }

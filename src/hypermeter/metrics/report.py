"""``METRICS``, and reports made from it: a window at every level, a groove as a whole."""

from collections.abc import Callable, Iterable, Sequence
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Shaped
from torch import Tensor

from hypermeter.grid import Grid, Groove, HypermeterError
from hypermeter.kit import load_kit
from hypermeter.metrics.density import (
    avg_hits,
    co_occurrence,
    dense_frac,
    density,
    drum_density,
    hits_per_bar,
    max_hits,
    step_density,
    velocity_range,
)
from hypermeter.metrics.intervals import (
    Intervals,
    fast_patterns,
    ioi_entropy,
    ioi_hist,
    ioi_mean,
    ioi_var,
    mean_of_moments,
    npvi,
    variance_of_moments,
)
from hypermeter.metrics.repetition import (
    NGRAM_STEPS,
    count_equal,
    groove_consistency,
    groove_similarity,
    ngram_codes,
    ngram_diversity,
    ngrams,
    phrase_entropy,
    repetition_profile,
    step_entropy,
    transitions,
)
from hypermeter.metrics.shape import balance, evenness
from hypermeter.metrics.syncopation import lhl, sioros, syncopation, tmc, witek, wnbd
from hypermeter.metrics.timing import offset_ms, swing_ratio, timing_dfa

METRICS: dict[str, Callable[..., Tensor]] = {
    each.__name__: each
    for each in (
        density,
        step_density,
        avg_hits,
        drum_density,
        max_hits,
        dense_frac,
        hits_per_bar,
        co_occurrence,
        velocity_range,
        ioi_mean,
        ioi_var,
        ioi_hist,
        ioi_entropy,
        npvi,
        fast_patterns,
        syncopation,
        lhl,
        tmc,
        sioros,
        wnbd,
        witek,
        balance,
        evenness,
        transitions,
        ngrams,
        ngram_diversity,
        step_entropy,
        phrase_entropy,
        groove_consistency,
        groove_similarity,
        repetition_profile,
        swing_ratio,
        timing_dfa,
        offset_ms,
    )
}
"""Name -> function of (hits (*B, T, V), Grid); options are keywords. What is put in here is found everywhere."""

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


def by_chunk(metric: Callable[..., Tensor], hits: Tensor, grid: Grid, size: int, **options: Any) -> Tensor:
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
    onsets = hits.bool()
    gaps, codes = Intervals.of(onsets), ngram_codes(onsets)
    steps = onsets.shape[-2]

    def level(size: int) -> dict[str, Tensor]:
        """WINDOW_METRICS of each chunk; what is known of the whole window is not looked for again."""
        chunks = -(-steps // size)
        inside = gaps.within(size, chunks)
        moments = inside.moments()
        found = {
            "ioi_mean": mean_of_moments(*moments),
            "ioi_var": variance_of_moments(*moments),
            "ioi_hist": inside.histogram(),
            "fast_patterns": inside.at_most(fast_threshold),
            "ngrams": _ngrams_of_chunks(codes, size, steps),
        }
        others = (name for name in WINDOW_METRICS if name not in found)
        return found | {name: by_chunk(METRICS[name], onsets, grid, size) for name in others}

    def whole() -> dict[str, Tensor]:
        moments = gaps.moments()
        found = {
            "ioi_mean": mean_of_moments(*moments),
            "ioi_var": variance_of_moments(*moments),
            "ioi_hist": gaps.histogram(),
            "fast_patterns": gaps.at_most(fast_threshold),
            "ngrams": count_equal(codes),
        }
        others = (name for name in WINDOW_METRICS if name not in found)
        return found | {name: METRICS[name](onsets, grid) for name in others}

    step = whole()
    song = {name: step[name] for name in SONG_METRICS if name in step}
    song |= {name: METRICS[name](onsets, grid) for name in ("step_entropy", "phrase_entropy")}
    return {
        "step": step,
        "bar": level(grid.steps_per_bar),
        "phrase": level(grid.steps_per_phrase) | {"hits_per_bar": hits_per_bar(onsets, grid)},
        "section": [
            {name: METRICS[name](onsets[..., start:end, :], grid) for name in SECTION_METRICS}
            for start, end in sections or ()
        ],
        "song": song | {"ngram_diversity": (step["ngrams"] > 0).sum(-1).float()},
    }


def _ngrams_of_chunks(codes: Tensor, size: int, steps: int, n: int = NGRAM_STEPS) -> Tensor:
    """``ngrams`` of each chunk, from the codes of the whole window. The last chunk may be short."""
    places = max(size - n + 1, 0)
    whole, rest = steps // size, steps % size
    padded = F.pad(codes, (0, steps - codes.shape[-1]))
    counts = count_equal(padded[..., : whole * size].unflatten(-1, (whole, size))[..., :places])
    if rest:
        last = count_equal(codes[..., whole * size :])
        counts = torch.cat([counts, F.pad(last, (0, places - last.shape[-1]))[..., None, :]], -2)
    return counts


def measure(groove: Groove, names: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Metrics of a groove by name, each given what it asks for: velocity, offset, tempo, and the groups of its kit.

    Args:
        groove: what to measure.
        names: keys of METRICS; left out, all.

    Raises:
        HypermeterError: an unknown name.
    """
    kit = load_kit(groove.kit)
    context = {
        "velocity": torch.from_numpy(groove.velocity),
        "offset": torch.from_numpy(groove.offset),
        "tempo_bpm": groove.tempo_bpm,
        "streams": kit.streams,
        "cymbals": kit.cymbals,
    }
    hits = torch.from_numpy(groove.hits).bool()
    values = {}
    for name in METRICS if names is None else names:
        if name not in METRICS:
            raise HypermeterError(f"no metric {name!r}, expected some of {', '.join(METRICS)}")
        wanted = signature(METRICS[name]).parameters
        options = {key: value for key, value in context.items() if key in wanted}
        values[name] = METRICS[name](hits, groove.grid, **options)
    return values

"""``METRICS``, and all of them of a groove."""

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from inspect import signature
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.music.arrays import Array, namespace, pad, split_axis, to_numpy
from hypermeter.music.metrics.density import (
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
from hypermeter.music.metrics.intervals import (
    fast_patterns,
    ioi_entropy,
    ioi_hist,
    ioi_mean,
    ioi_var,
    npvi,
)
from hypermeter.music.metrics.repetition import (
    bar_novelty,
    groove_consistency,
    groove_similarity,
    ngram_diversity,
    ngrams,
    phrase_entropy,
    repetition_profile,
    step_entropy,
    transitions,
)
from hypermeter.music.metrics.shape import balance, evenness
from hypermeter.music.metrics.syncopation import lhl, sioros, syncopation, tmc, witek, wnbd
from hypermeter.music.metrics.timing import offset_ms, swing_ratio, timing_dfa

METRICS: dict[str, Callable[..., Array]] = {
    metric.__name__: metric
    for metric in (
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
        bar_novelty,
        swing_ratio,
        timing_dfa,
        offset_ms,
    )
}
"""Name -> function of (hits (*B, T, V), Grid); options are keywords. What is put in here is found everywhere."""


def by_chunk(metric: Callable[..., Array], hits: Array, grid: Grid, size: int, **options: Any) -> Array:
    """The metric of every chunk of ``size`` steps, on a new axis after the batch axes. The last chunk may be short.

    Options that are arrays of the shape of ``hits``, such as velocity, are cut with them.
    """
    xp, axis = namespace(hits), hits.ndim - 2
    number = hits.shape[-2] // size
    whole = number * size
    along = [key for key, value in options.items() if getattr(value, "shape", None) == hits.shape]

    def metric_of(chunks: Callable[[Array], Array]) -> Array:
        return metric(chunks(hits), grid, **(options | {key: chunks(options[key]) for key in along}))

    values = metric_of(lambda x: split_axis(x[..., :whole, :], -2, (number, size)))
    if whole == hits.shape[-2]:
        return values
    last = metric_of(lambda x: split_axis(x[..., whole:, :], -2, (1, x.shape[-2] - whole)))
    if metric is ngrams:  # a short chunk has fewer places
        last = pad(last, -1, 0, values.shape[-1] - last.shape[-1])
    return xp.concat([values, last], axis=axis)


def in_numpy(
    metric: Callable[..., Array], hits: np.ndarray, grid: Grid, size: int | None = None, **options: Any
) -> np.ndarray:
    """A metric of arrays as an array, also where it is one of a user's own that takes tensors alone.

    One that fails on arrays with an AttributeError or a TypeError is given tensors, where torch has been imported.

    Args:
        metric: of METRICS.
        hits: (*B, T, V).
        grid: the metre.
        size: steps; where given, of every chunk of that many, see ``by_chunk``.
        options: of the metric.
    """

    def value_of(hits: Array, options: Mapping[str, Any]) -> np.ndarray:
        value = metric(hits, grid, **options) if size is None else by_chunk(metric, hits, grid, size, **options)
        return to_numpy(value)

    try:
        return value_of(hits, options)
    except (AttributeError, TypeError):
        torch = sys.modules.get("torch")
        if torch is None:
            raise
        arrays = {key: value for key, value in options.items() if isinstance(value, np.ndarray)}
        return value_of(torch.tensor(hits), options | {key: torch.tensor(value) for key, value in arrays.items()})


def measure(groove: Groove, names: Iterable[str] | None = None, size: int | None = None) -> dict[str, np.ndarray]:
    """Metrics of a groove by name, each given what it asks for: velocity, offset, tempo, and the groups of its kit.

    What asks for something that is ``unknown`` of the groove is NaN. Metrics are given NumPy arrays, see
    ``in_numpy``.

    Args:
        groove: what to measure.
        names: keys of METRICS; left out, all.
        size: steps; where given, metrics of every chunk of that many, on a first axis, see ``by_chunk``.

    Returns:
        NumPy arrays, without axes where a metric gives one number.

    Raises:
        HypermeterError: an unknown name.
    """
    kit = load_kit(groove.kit)
    context = {
        "velocity": groove.velocity,
        "offset": groove.offset,
        "tempo_bpm": groove.tempo_bpm,
        "streams": kit.streams,
        "cymbals": kit.cymbals,
    }
    hits = groove.hits.astype(np.float32)
    values = {}
    for name in METRICS if names is None else names:
        if name not in METRICS:
            raise HypermeterError(f"no metric {name!r}, expected some of {', '.join(METRICS)}")
        wanted = signature(METRICS[name]).parameters
        options = {key: value for key, value in context.items() if key in wanted}
        value = in_numpy(METRICS[name], hits, groove.grid, size, **options)
        is_known = groove.unknown.isdisjoint(options)
        values[name] = value if is_known else np.full(value.shape, math.nan)
    return values

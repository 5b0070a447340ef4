"""Computing metrics of chunks and of grooves."""

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
from hypermeter.music.metrics.repetition import ngrams


def by_chunk(metric: Callable[..., Array], hits: Array, grid: Grid, size: int, **options: Any) -> Array:
    """Return a metric of every chunk of `size` steps, on a new axis after the batch axes. The last chunk may be short.

    Options that have the shape of `hits`, such as velocity, are cut as well.
    """
    xp, axis = namespace(hits), hits.ndim - 2
    number = hits.shape[-2] // size
    end = number * size
    along = [key for key, value in options.items() if getattr(value, "shape", None) == hits.shape]

    def metric_of(chunks: Callable[[Array], Array]) -> Array:
        return metric(chunks(hits), grid, **(options | {key: chunks(options[key]) for key in along}))

    values = metric_of(lambda x: split_axis(x[..., :end, :], -2, (number, size)))
    if end == hits.shape[-2]:
        return values
    last = metric_of(lambda x: split_axis(x[..., end:, :], -2, (1, x.shape[-2] - end)))
    if metric is ngrams:  # a short chunk has fewer patterns
        last = pad(last, -1, 0, values.shape[-1] - last.shape[-1])
    return xp.concat([values, last], axis=axis)


def in_numpy(
    metric: Callable[..., Array], hits: np.ndarray, grid: Grid, size: int | None = None, **options: Any
) -> np.ndarray:
    """Return a metric of arrays as an array, even if it takes tensors alone.

    If torch is imported and the metric raises an `AttributeError` or a `TypeError`, it is computed with tensors.

    Args:
        metric: a function as in METRICS.
        hits: (*B, T, V).
        grid: the metre.
        size: if given, the metric is computed of every chunk of so many steps, see `by_chunk`.
        options: keyword arguments of the metric.
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
    """Return metrics of a groove by name, as NumPy arrays.

    A metric gets those of velocity, offset, strokes, tempo, streams and cymbals of the groove and its kit that it has
    as parameters; offsets are counted from the written grid, so they include the shift. It is NaN if one of them is
    `unknown` in the groove.

    Args:
        groove: the groove.
        names: keys of METRICS. Default: all.
        size: if given, metrics are computed of every chunk of so many steps, on a first axis, see `by_chunk`.

    Raises:
        HypermeterError: an unknown name.
    """
    from hypermeter.music.metrics import METRICS  # here, as that module imports this one

    kit = load_kit(groove.kit)
    properties = {
        "velocity": groove.velocity,
        "offset": groove.offset + np.float32(groove.shift),
        "strokes": groove.stroke_counts.astype(np.float32),
        "tempo_bpm": groove.tempo_bpm,
        "streams": kit.streams,
        "cymbals": kit.cymbals,
    }
    hits = groove.hits.astype(np.float32)
    values = {}
    for name in METRICS if names is None else names:
        if name not in METRICS:
            raise HypermeterError(f"no metric {name!r}, expected some of {', '.join(METRICS)}")
        parameters = signature(METRICS[name]).parameters
        options = {key: value for key, value in properties.items() if key in parameters}
        value = in_numpy(METRICS[name], hits, groove.grid, size, **options)
        values[name] = value if groove.unknown.isdisjoint(options) else np.full(value.shape, math.nan)
    return values

"""``METRICS``, and all of them of a groove."""

from collections.abc import Callable, Iterable
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
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
        bar_novelty,
        swing_ratio,
        timing_dfa,
        offset_ms,
    )
}
"""Name -> function of (hits (*B, T, V), Grid); options are keywords. What is put in here is found everywhere."""


def by_chunk(metric: Callable[..., Tensor], hits: Tensor, grid: Grid, size: int, **options: Any) -> Tensor:
    """The metric of every chunk of ``size`` steps, on a new axis after the batch axes. The last chunk may be short.

    Options that are tensors of the shape of ``hits``, such as velocity, are cut with them.
    """
    axis = hits.ndim - 2
    whole = hits.shape[-2] // size * size

    def metric_of(chunks: Callable[[Tensor], Tensor]) -> Tensor:
        along = [key for key, each in options.items() if isinstance(each, Tensor) and each.shape == hits.shape]
        return metric(chunks(hits), grid, **(options | {key: chunks(options[key]) for key in along}))

    values = metric_of(lambda x: x[..., :whole, :].unflatten(-2, (-1 if whole else 0, size)))
    if whole == hits.shape[-2]:
        return values
    last = metric_of(lambda x: x[..., whole:, :].unsqueeze(axis))
    if metric is ngrams:  # a short chunk has fewer places
        last = F.pad(last, (0, values.shape[-1] - last.shape[-1]))
    return torch.cat([values, last], axis)


def measure(groove: Groove, names: Iterable[str] | None = None, size: int | None = None) -> dict[str, Tensor]:
    """Metrics of a groove by name, each given what it asks for: velocity, offset, tempo, and the groups of its kit.

    What asks for something that is ``unknown`` of the groove is NaN.

    Args:
        groove: what to measure.
        names: keys of METRICS; left out, all.
        size: steps; where given, metrics of every chunk of that many, on a first axis, see ``by_chunk``.

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
    hits = torch.from_numpy(groove.hits).float()
    values = {}
    for name in METRICS if names is None else names:
        if name not in METRICS:
            raise HypermeterError(f"no metric {name!r}, expected some of {', '.join(METRICS)}")
        wanted = signature(METRICS[name]).parameters
        options = {key: value for key, value in context.items() if key in wanted}
        if size is None:
            value = METRICS[name](hits, groove.grid, **options)
        else:
            value = by_chunk(METRICS[name], hits, groove.grid, size, **options)
        is_known = groove.unknown.isdisjoint(options)
        values[name] = value if is_known else torch.full(value.shape, torch.nan)
    return values

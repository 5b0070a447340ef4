"""Metrics of timing: offsets, swing, and long-range correlations."""

import math

import numpy as np
from jaxtyping import Bool, Float

from hypermeter.core.grid import Grid
from hypermeter.music.arrays import (
    Array,
    arange,
    as_like,
    cast,
    full,
    median_of_defined,
    namespace,
    split_axis,
    to_numpy,
)
from hypermeter.music.metrics.onsets import Hits, Voices, as_binary, columns_of, ratio

DFA_FEWEST = 128
"""Fewest onsets for which `timing_dfa` is defined."""

DFA_SHORTEST = 8
"""Onsets in the shortest windows of `timing_dfa`; the longest are a quarter of the series."""

MIN_DEVIATION = 1e-6
"""Steps up to which fluctuations count as rounding errors."""

Tempo = int | float | Float[Array, "*B"]


def offset_ms(hits: Hits, grid: Grid, *, offset: Float[Array, "*B T V"], tempo_bpm: Tempo) -> Float[Array, "*B"]:
    """Return the mean absolute offset of the hits, in ms; NaN without hits."""
    xp, onsets = namespace(hits), as_binary(hits)
    steps = ratio(abs(xp.where(onsets, offset, 0)).sum((-2, -1)), onsets.sum((-2, -1)))
    tempo_bpm = tempo_bpm if isinstance(tempo_bpm, int | float) else as_like(hits, tempo_bpm)
    return steps * (60_000 / grid.steps_per_quarter) / tempo_bpm


def _line_offsets(hits: Array, offset: Array, voices: Voices) -> tuple[Bool[Array, "*B T"], Float[Array, "*B T"]]:
    """Return whether the line has an onset, and its offset in steps: the mean over voices with a hit."""
    xp, onsets = namespace(hits), columns_of(as_binary(hits), voices)
    offset = xp.where(onsets, cast(columns_of(offset, voices), xp.float64), 0)
    return onsets.any(-1), offset.sum(-1) / onsets.sum(-1).clip(min=1)


def swing_ratio(hits: Hits, grid: Grid, *, offset: Float[Array, "*B T V"], voices: Voices = None) -> Float[Array, "*B"]:
    """Return the median over beats of the first eighth's duration over the second's: 1 is straight, 2 a triplet.

    Beats count if the line has an onset on the beat, one on the next beat, and exactly one between them, in the middle
    half of the beat. NaN without such a beat, as on all grids of one step a beat.

    Source: Friberg & Sundstrom, Music Perception 2002, for the ratio of consecutive eighths.
    """
    xp, beat = namespace(hits), grid.steps_per_beat
    onsets, offsets = _line_offsets(hits, offset, voices)
    times = arange(hits, hits.shape[-2]) + offsets
    beats = max((hits.shape[-2] - 1) // beat, 0)
    inside = split_axis(onsets[..., : beats * beat], -1, (beats, beat))
    at = split_axis(times[..., : beats * beat], -1, (beats, beat))
    next_on, next_at = onsets[..., beat : beats * beat + 1 : beat], times[..., beat : beats * beat + 1 : beat]
    between = inside[..., 1:]
    middle = xp.where(between, at[..., 1:], 0).sum(-1)
    first, second = middle - at[..., 0], next_at - middle
    share = first / (first + second).clip(min=1e-6)
    is_pair = inside[..., 0] & next_on & (between.sum(-1) == 1) & (share >= 0.25) & (share <= 0.75)
    ratios = xp.where(is_pair, first / second.clip(min=1e-6), math.nan)
    if not math.prod(ratios.shape):
        return full(hits, hits.shape[:-2], math.nan)
    return cast(median_of_defined(ratios), xp.float32)


def timing_dfa(hits: Hits, grid: Grid, *, offset: Float[Array, "*B T V"], cymbals: Voices = None) -> Float[Array, "*B"]:
    """Return the exponent of a detrended fluctuation analysis of the offsets of one line's onsets.

    It is .5 for independent deviations, 1.5 for a random walk, and about .8 for drummers. The mean offset of each step
    of the bar is subtracted first. NaN with fewer than DFA_FEWEST onsets, or without deviations. `cymbals` are the
    voices of the line, as of `Kit.cymbals`; `None` is all.

    Source: Peng et al., Physical Review E 1994 (linear detrending); for drumming, Rasanen et al., PLoS ONE 2015.
    """
    onsets, deviation = _line_offsets(hits, offset, cymbals)
    lines = (math.prod(onsets.shape[:-1]), onsets.shape[-1])
    rows = zip(*(to_numpy(values).reshape(lines) for values in (deviation, onsets)), strict=True)
    exponents = [dfa(_residuals(offsets, is_onset, grid.steps_per_bar)) for offsets, is_onset in rows]
    return as_like(hits, exponents, "float32").reshape(onsets.shape[:-1])


def _residuals(
    deviation: Float[np.ndarray, " T"], onsets: Bool[np.ndarray, " T"], period: int
) -> Float[np.ndarray, " N"]:
    steps = np.flatnonzero(onsets)
    phase, values = steps % period, deviation[steps]
    total, count = np.bincount(phase, values, period), np.bincount(phase, minlength=period)
    return values - (total / count.clip(min=1))[phase]


def dfa(series: Float[Array, " N"]) -> float:
    """Return the slope of log fluctuation over log window length, for windows of DFA_SHORTEST to N / 4 values.

    Detrending is linear. NaN with fewer than DFA_FEWEST values, or if all are equal.
    """
    if len(series) < DFA_FEWEST:
        return math.nan
    series = to_numpy(series).astype(np.float64)
    walk = (series - series.mean()).cumsum()
    longest = len(series) // 4
    lengths = np.unique(np.geomspace(DFA_SHORTEST, longest, 12).round().astype(int))
    fluctuations = []
    for length in lengths:
        count = len(walk) // length
        windows = np.concatenate([walk[: count * length], walk[len(walk) - count * length :]]).reshape(-1, length)
        x = np.arange(length) - (length - 1) / 2
        centred = windows - windows.mean(-1, keepdims=True)
        slope = (centred * x).sum(-1, keepdims=True) / (x**2).sum()
        fluctuations.append(math.sqrt(((centred - slope * x) ** 2).mean()))
    if min(fluctuations) <= MIN_DEVIATION:
        return math.nan
    x, y = np.log(lengths), np.log(fluctuations)
    x = x - x.mean()
    return float((x * y).sum() / (x**2).sum())

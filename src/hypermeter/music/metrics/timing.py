"""Time between the grid lines: offsets, swing, and the long memory of timing."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hypermeter.core.grid import Grid
from hypermeter.music.metrics.onsets import Hits, Voices, as_binary, columns_of, ratio

DFA_FEWEST = 128
"""Onsets, below which ``timing_dfa`` is undefined."""

DFA_SHORTEST = 8
"""Onsets in the shortest windows of ``timing_dfa``; the longest are a quarter of the series."""

LEAST_DEVIATION = 1e-6
"""Steps, below which fluctuations are rounding."""

Tempo = int | float | Float[Tensor, "*B"]


def offset_ms(hits: Hits, grid: Grid, *, offset: Float[Tensor, "*B T V"], tempo_bpm: Tempo) -> Float[Tensor, "*B"]:
    """Mean absolute offset of the hits from the grid, in ms; NaN with no hits.

    Args:
        hits: onsets.
        grid: the metre.
        offset: steps in [-.5, .5), read where there is a hit.
        tempo_bpm: quarter notes a minute, one number or one for each row.
    """
    onsets = as_binary(hits)
    count = onsets.sum((-2, -1)).float()
    steps = ratio(torch.where(onsets, offset, 0).abs().sum((-2, -1)), count)
    return steps * (60_000 / grid.steps_per_quarter) / torch.as_tensor(tempo_bpm, device=hits.device)


def _line_offsets(hits: Tensor, offset: Tensor, voices: Voices) -> tuple[Bool[Tensor, "*B T"], Float[Tensor, "*B T"]]:
    """Where the line has an onset, and its offset in steps: the mean of those that sound together."""
    onsets = columns_of(as_binary(hits), voices)
    offset = torch.where(onsets, columns_of(offset, voices).double(), 0)
    return onsets.any(-1), offset.sum(-1) / onsets.sum(-1).clamp_min(1)


def swing_ratio(
    hits: Hits, grid: Grid, *, offset: Float[Tensor, "*B T V"], voices: Voices = None
) -> Float[Tensor, "*B"]:
    """Median over beats of the first eighth's length over the second's: 1 is straight, 2 a triplet; NaN without a pair.

    A pair is a beat whose line has an onset on the beat, one on the next beat, and between them just one, in the middle
    half of the beat. On a grid of one step a beat there is never one.

    Args:
        hits: onsets.
        grid: the metre.
        offset: steps in [-.5, .5), read where there is a hit.
        voices: a voice, a group, or None for all; their union is the line.

    Source: Friberg & Sundstrom, Music Perception 2002, for the ratio of consecutive eighths.
    """
    beat = grid.steps_per_beat
    onsets, offsets = _line_offsets(hits, offset, voices)
    times = torch.arange(hits.shape[-2], device=hits.device) + offsets
    beats = max((hits.shape[-2] - 1) // beat, 0)
    inside = onsets[..., : beats * beat].unflatten(-1, (beats, beat))
    at = times[..., : beats * beat].unflatten(-1, (beats, beat))
    next_on, next_at = onsets[..., beat : beats * beat + 1 : beat], times[..., beat : beats * beat + 1 : beat]
    between = inside[..., 1:]
    middle = torch.where(between, at[..., 1:], 0).sum(-1)
    first, second = middle - at[..., 0], next_at - middle
    share = first / (first + second).clamp_min(1e-6)
    is_pair = inside[..., 0] & next_on & (between.sum(-1) == 1) & (share >= 0.25) & (share <= 0.75)
    found = torch.where(is_pair, first / second.clamp_min(1e-6), torch.nan)
    if not found.numel():
        return torch.full(hits.shape[:-2], torch.nan, device=hits.device)
    return found.nanquantile(0.5, -1).float()


def timing_dfa(
    hits: Hits, grid: Grid, *, offset: Float[Tensor, "*B T V"], cymbals: Voices = None
) -> Float[Tensor, "*B"]:
    """Exponent of the detrended fluctuation analysis of the timing of successive onsets of one line.

    .5 for independent deviations, 1.5 for a random walk; drummers keep about .8. The series is what is left of the
    onsets' offsets when the mean at each step of the bar is taken away. NaN with fewer than ``DFA_FEWEST`` onsets, or
    with no deviation at all.

    Args:
        hits: onsets.
        grid: the metre.
        offset: steps in [-.5, .5), read where there is a hit.
        cymbals: a voice, a group, or None for all; their union is the line. ``Kit.cymbals`` gives those of a kit.

    Source: Peng et al., Physical Review E 1994 (linear detrending); for drumming, Rasanen et al., PLoS ONE 2015.
    """
    onsets, deviation = _line_offsets(hits, offset, cymbals)
    batch, steps = onsets.shape[:-1].numel(), onsets.shape[-1]
    rows = [
        dfa(_residuals(row, there, grid.steps_per_bar))
        for row, there in zip(deviation.reshape(batch, steps), onsets.reshape(batch, steps), strict=True)
    ]
    return torch.tensor(rows, device=hits.device).reshape(onsets.shape[:-1])


def _residuals(deviation: Float[Tensor, " T"], onsets: Bool[Tensor, " T"], period: int) -> Float[Tensor, " N"]:
    steps = onsets.nonzero()[:, 0]
    phase, values = steps % period, deviation[steps]
    total = torch.zeros(period, dtype=values.dtype, device=values.device).index_add(0, phase, values)
    count = torch.zeros(period, dtype=values.dtype, device=values.device).index_add(0, phase, torch.ones_like(values))
    return values - (total / count.clamp_min(1))[phase]


def dfa(series: Float[Tensor, " N"]) -> float:
    """Slope of log fluctuation over log window length, windows of ``DFA_SHORTEST`` to N / 4 values, linear detrending.

    NaN with fewer than ``DFA_FEWEST`` values, or where they do not differ.
    """
    if len(series) < DFA_FEWEST:
        return math.nan
    walk = (series.double() - series.double().mean()).cumsum(0)
    longest = len(series) // 4
    lengths = torch.logspace(math.log10(DFA_SHORTEST), math.log10(longest), 12).round().long().unique().tolist()
    fluctuations = []
    for length in lengths:
        count = len(walk) // length
        windows = torch.cat([walk[: count * length], walk[len(walk) - count * length :]]).view(-1, length)
        x = torch.arange(length, dtype=walk.dtype, device=walk.device) - (length - 1) / 2
        centred = windows - windows.mean(-1, keepdim=True)
        slope = (centred * x).sum(-1, keepdim=True) / x.square().sum()
        fluctuations.append((centred - slope * x).square().mean().sqrt())
    y = torch.stack(fluctuations)
    if not (y > LEAST_DEVIATION).all():
        return math.nan
    x, y = torch.tensor(lengths, dtype=y.dtype).log(), y.cpu().log()
    x = x - x.mean()
    return ((x * y).sum() / x.square().sum()).item()

"""Metrics of syncopation: hits on weak steps that no hit on the next strong step follows.

`lhl`, `tmc`, `sioros` and `wnbd` are means over the bars of one line that have an onset, each bar taken by itself; they
are NaN without such a bar, and a short last bar is left out. `witek` reads three streams, across bar lines.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.music.arrays import Array, arange, as_like, cast, full, join_axes, namespace, split_axis
from hypermeter.music.metrics.onsets import (
    Hits,
    Voices,
    as_float,
    columns_of,
    latest_before,
    line,
    line_bars,
    mean_of_defined,
    ratio,
    whole_bars,
)

Streams = tuple[Voices, Voices, Voices]


def weak_steps(steps: int, grid: Grid, weak: str = "bar") -> Bool[np.ndarray, " steps"]:
    """Return whether steps are weak: with "bar", all but the first of a bar; with "offbeat", all that are on no beat.

    Raises:
        HypermeterError: another `weak`.
    """
    if weak not in ("bar", "offbeat"):
        raise HypermeterError(f"syncopation: weak is {weak!r}, expected 'bar' or 'offbeat'")
    period = grid.steps_per_bar if weak == "bar" else grid.steps_per_beat
    return np.arange(steps) % period != 0


def syncopation(hits: Hits, grid: Grid, weak: str = "bar") -> Float[Array, "*B"]:
    """Return the share of hits that are on weak steps, in [0, 1]; NaN without hits.

    Takes probabilities: the result is the expected number of such hits over that of all hits.

    Args:
        hits: onsets or probabilities.
        grid: the metre.
        weak: with "bar", all steps but the first of a bar are weak; with "offbeat", all that are on no beat.

    Raises:
        HypermeterError: another `weak`.
    """
    per_step = as_float(hits).sum(-1)
    is_weak = as_like(per_step, weak_steps(per_step.shape[-1], grid, weak))
    return ratio((per_step * is_weak).sum(-1), per_step.sum(-1))


def _factors(number: int) -> list[int]:
    """Return the prime factors in ascending order."""
    for factor in range(2, number + 1):
        if number % factor == 0:
            return [factor, *_factors(number // factor)]
    return []


def subdivisions(grid: Grid) -> tuple[int, ...]:
    """Return the divisions of a bar by level: the prime factors of its beats, then those of the steps in a beat.

    4/4 in sixteenths: 2, 2, 2, 2; 3/4: 3, 2, 2; 6/8: 2, 3, 2; 4/4 in triplets: 2, 2, 3.
    """
    return (*_factors(grid.beats_per_bar), *_factors(grid.steps_per_beat))


@cache
def _levels(divisions: tuple[int, ...]) -> tuple[int, ...]:
    levels = [0]
    for level, parts in enumerate(divisions, 1):
        levels = [new for old in levels for new in (old, *[level] * (parts - 1))]
    return tuple(levels)


def metrical_levels(grid: Grid) -> Int[np.ndarray, " steps_per_bar"]:
    """Return the highest metrical level of each step of a bar: 0 is the downbeat, 1 the half bar."""
    return np.array(_levels(subdivisions(grid)))


def lhl(hits: Hits, grid: Grid, voices: Voices = None, across_bars: bool = False) -> Float[Array, "*B"]:
    """Return the syncopation of a bar by Longuet-Higgins and Lee, at least -1; NaN without onsets.

    Weights of steps are 0, -1, -2, ... by metrical level. A rest is a maximal empty subtree, with the weight of its
    first step. If that is at least the weight of the note before, the difference is added. Without such a pair, the
    value of the bar is -1. With `across_bars`, the note before may be in an earlier bar, so that an anticipated
    downbeat counts.

    Source: Longuet-Higgins & Lee, Music Perception 1984.
    """
    onsets = line_bars(hits, grid, voices)
    size = grid.steps_per_bar
    xp, weight = namespace(hits), as_like(hits, -metrical_levels(grid))
    is_rest, covered = xp.zeros_like(onsets), xp.zeros_like(onsets)
    length = size
    for parts in (1, *subdivisions(grid)):
        length //= parts
        empty = ~split_axis(onsets, -1, (size // length, length)).any(-1)
        empty = xp.repeat(empty, length, axis=-1)
        is_rest |= empty & ~covered & (arange(hits, size) % length == 0)
        covered |= empty
    before = latest_before(join_axes(onsets)).reshape(onsets.shape) if across_bars else latest_before(onsets)
    rise = weight - weight[before.clip(min=0) % size]
    counts = is_rest & (before >= 0) & (rise >= 0)
    score = xp.where(counts.any(-1), cast(xp.where(counts, rise, 0).sum(-1), xp.float32), -1.0)
    return mean_of_defined(xp.where(onsets.any(-1), score, math.nan))


def tmc(hits: Hits, grid: Grid, voices: Voices = None) -> Float[Array, "*B"]:
    """Return Toussaint's metrical complexity of a bar, at least 0; NaN without onsets.

    The greatest metricity of as many onsets minus that of the onsets. Metricity is the sum of their weights; the weight
    of a step is the number of metrical levels that it is on.

    Source: Toussaint, Bridges 2002.
    """
    onsets = line_bars(hits, grid, voices)
    xp, weight = namespace(hits), (len(subdivisions(grid)) + 1 - metrical_levels(grid)).astype(np.float32)
    greatest = as_like(hits, np.cumsum([0, *sorted(weight, reverse=True)], dtype=np.float32))
    count = onsets.sum(-1)
    complexity = greatest[count] - (onsets * as_like(hits, weight)).sum(-1)
    return mean_of_defined(xp.where(count > 0, complexity, math.nan))


def sioros(hits: Hits, grid: Grid, voices: Voices = None, beta: float = 0.5, gamma: float = 0.8) -> Float[Array, "*B"]:
    """Return the syncopation of a bar, taken as a cycle, by Sioros and Guedes; at least 0. NaN without onsets.

    The score of an onset of level h is 1 - .5^h times the least, over the levels from h down, of the weighted mean
    difference from its neighbours of that level. A difference is scaled by 1 - beta + beta |difference of levels| / 4,
    at most 1. Levels below the lowest that the bar uses are left out, so that a finer grid has the same result.

    Args:
        hits: onsets.
        grid: the metre.
        voices: the voices of the line; `None` is all.
        beta: influence of the difference of levels, in [0, 1].
        gamma: weight of the neighbour before; that of the one after is 1.

    Source: Sioros & Guedes, ISMIR 2011, with the parameters of SynPy (Song, Pearce & Harte 2015).
    """
    xp, onsets = namespace(hits), as_float(line_bars(hits, grid, voices))
    levels = metrical_levels(grid).tolist()
    size = len(levels)

    def difference(index: int, direction: int, level: int) -> Array:
        other = (index + direction) % size
        while levels[other] > level:
            other = (other + direction) % size
        scale = min(1 - beta + beta * abs(levels[index] - levels[other]) / 4, 1)
        return scale * (1 - onsets[..., other])

    lowest = xp.max(onsets * as_like(hits, levels, "float32"), axis=-1)
    score = xp.zeros_like(lowest)
    for index, level_of_step in enumerate(levels):
        if level_of_step:  # the downbeat has no potential
            differences = []
            for level in range(level_of_step, max(levels) + 1):
                mean = (gamma * difference(index, -1, level) + difference(index, 1, level)) / (1 + gamma)
                differences.append(xp.where(level <= lowest, mean, math.inf))
            least = xp.min(xp.stack(differences), axis=0)
            score = score + xp.where(onsets[..., index] > 0, (1 - 0.5**level_of_step) * least, 0)
    return mean_of_defined(xp.where(onsets.any(-1), score, math.nan))


def wnbd(hits: Hits, grid: Grid, voices: Voices = None, normalised: bool = False) -> Float[Array, "*B"]:
    """Return the weighted note-to-beat distance of a bar, at least 0; NaN without onsets.

    It is the sum over the onsets off the beat: 2 / T for an onset T beats from the nearest beat if its note ends after
    the next beat and no later than the one after that, otherwise 1 / T. A note lasts until the next onset, or the end
    of the bar. `normalised` divides the sum by the number of onsets, which the source also defines.

    Source: Gomez, Melvin, Rappaport & Toussaint, Bridges 2005.
    """
    onsets = line_bars(hits, grid, voices)
    size, beat = grid.steps_per_bar, grid.steps_per_beat
    xp, step = namespace(hits), arange(hits, size)
    end = size - 1 - xp.flip(latest_before(xp.flip(onsets, axis=-1)), axis=-1)
    end = end.clip(max=size)
    phase = step % beat
    distance = xp.minimum(phase, beat - phase) / beat
    next_beat = (step // beat + 1) * beat
    crosses = (end > next_beat) & (end <= next_beat + beat)
    score = xp.where(onsets & (phase > 0), (1 + as_float(crosses)) / distance.clip(min=1 / size), 0).sum(-1)
    count = onsets.sum(-1)
    if normalised:
        score = score / count.clip(min=1)
    return mean_of_defined(xp.where(count > 0, score, math.nan))


WITEK_WEIGHTS = {
    "paper": {"low: mid high": 2, "mid: low high": 1, "low: high": 5, "mid: high": 5},
    "filled": {"low: mid high": 2, "mid: low high": 1, "low: high": 5, "mid: high": 5, "low: mid": 2, "mid: low": 1},
    "rests": {
        "low: mid high": 2, "mid: low high": 1, "low: high": 5, "mid: high": 5, "low: mid": 2, "mid: low": 1,
        "low: ": 6, "mid: ": 6,
    },
}  # fmt: skip
"""Variant -> instrumental weights of a stream and of those that sound on the step after it.

"paper" has only the pairs in the paper. "filled" adds low against mid alone, and mid against low alone, with the
weights of the pairs of three streams. "rests" also adds a silent step.
"""

GM10_STREAMS: Streams = (0, (1, 5, 6, 7), (2, 3, 4, 8, 9))
"""Low, mid and high voices of the kit gm10; `Kit.streams` has those of any kit."""


def witek(
    hits: Hits, grid: Grid, streams: Sequence[Voices] | None = None, variant: str = "filled"
) -> Float[Array, "*B"]:
    """Return the polyphonic syncopation per bar of three streams, at least 0.

    NaN without hits, a whole bar, or low and mid voices. A low or mid note counts if its stream is silent on the next
    step, and if the metrical weight of that step is at least its own. It adds the difference of these weights and the
    instrumental weight of what the other streams play on that step. Metrical weights are 0 on the downbeat, -1 on other
    beats, and one less at each level below.

    Args:
        hits: onsets.
        grid: the metre.
        streams: (low, mid, high), each a voice or a group of voices. Default: those of the kit gm10.
        variant: a key of WITEK_WEIGHTS.

    Raises:
        HypermeterError: an unknown variant, or default streams for hits of other than ten voices.

    Source: Witek et al., PLoS ONE 2014, e94446, with its correction e0139409.
    """
    if variant not in WITEK_WEIGHTS:
        raise HypermeterError(f"witek: variant is {variant!r}, expected one of {', '.join(WITEK_WEIGHTS)}")
    if streams is None:
        if hits.shape[-1] != 10:
            raise HypermeterError(
                f"witek: {hits.shape[-1]} voices, not those of gm10; give streams=(low, mid, high), as of Kit.streams"
            )
        streams = GM10_STREAMS
    if not any(columns_of(hits, stream).shape[-1] for stream in streams[:2]):
        return full(hits, hits.shape[:-2], math.nan)
    names = ("low", "mid", "high")
    xp, trimmed = namespace(hits), join_axes(whole_bars(hits, grid), -3)
    now = {name: line(trimmed, stream)[..., :-1] for name, stream in zip(names, streams, strict=True)}
    then = {name: line(trimmed, stream)[..., 1:] for name, stream in zip(names, streams, strict=True)}
    bars = trimmed.shape[-2] // grid.steps_per_bar
    if not bars:
        return full(hits, hits.shape[:-2], math.nan)
    levels = metrical_levels(grid)
    beat_level = len(_factors(grid.beats_per_bar))
    below_beat = (levels - beat_level).clip(min=0) + 1
    rise = as_like(hits, np.diff(np.tile(np.where(levels == 0, 0, -below_beat), bars)))
    score = full(hits, rise.shape, 0)
    for pair, instrumental in WITEK_WEIGHTS[variant].items():
        stream, _, others = pair.partition(": ")
        is_syncopated = now[stream] & ~then[stream] & (rise >= 0)
        for other in set(names) - {stream}:
            is_syncopated = is_syncopated & (then[other] == (other in others.split()))
        score = score + xp.where(is_syncopated, rise + instrumental, 0)
    return xp.where(as_float(trimmed).sum((-2, -1)) > 0, score.sum(-1) / bars, math.nan)

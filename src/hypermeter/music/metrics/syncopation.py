"""Syncopation: hits on weak steps where a strong one follows without.

``lhl``, ``tmc``, ``sioros`` and ``wnbd`` read one line of onsets, each whole bar on its own, and give the mean over the
bars that have an onset. ``witek`` reads three streams, and looks over bar lines.
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
    """True on weak steps: ``bar``, all but the first step of a bar; ``offbeat``, all that are not on a beat.

    Raises:
        HypermeterError: another ``weak``.
    """
    if weak not in ("bar", "offbeat"):
        raise HypermeterError(f"syncopation: weak is {weak!r}, expected 'bar' or 'offbeat'")
    period = grid.steps_per_bar if weak == "bar" else grid.steps_per_beat
    return np.arange(steps) % period != 0


def syncopation(hits: Hits, grid: Grid, weak: str = "bar") -> Float[Array, "*B"]:
    """Share of hits that fall on weak steps, in [0, 1]; NaN with no hits.

    Of probabilities: the expected number of such hits over that of all hits.

    Args:
        hits: onsets or probabilities.
        grid: the metre.
        weak: ``bar``, a step is weak unless it is the first of its bar; ``offbeat``, unless it is on a beat.

    Raises:
        HypermeterError: another ``weak``.
    """
    per_step = as_float(hits).sum(-1)
    is_weak = as_like(per_step, weak_steps(per_step.shape[-1], grid, weak))
    return ratio((per_step * is_weak).sum(-1), per_step.sum(-1))


def _factors(number: int) -> list[int]:
    """Prime factors, ascending."""
    for factor in range(2, number + 1):
        if number % factor == 0:
            return [factor, *_factors(number // factor)]
    return []


def subdivisions(grid: Grid) -> tuple[int, ...]:
    """How the bar divides, level by level: the prime factors of its beats, then those of a beat's steps.

    4/4 in sixteenths: 2, 2, 2, 2; 3/4: 3, 2, 2; 6/8: 2, 3, 2; 4/4 in triplets: 2, 2, 3.
    """
    return (*_factors(grid.beats_per_bar), *_factors(grid.steps_per_beat))


@cache
def _levels(divisions: tuple[int, ...]) -> tuple[int, ...]:
    levels = [0]
    for level, parts in enumerate(divisions, 1):
        levels = [each for start in levels for each in (start, *[level] * (parts - 1))]
    return tuple(levels)


def metrical_levels(grid: Grid) -> Int[np.ndarray, " steps_per_bar"]:
    """Of each step of the bar, the level of the metrical tree at which it first stands: 0 the downbeat, 1 the half."""
    return np.array(_levels(subdivisions(grid)))


def lhl(hits: Hits, grid: Grid, voices: Voices = None, across_bars: bool = False) -> Float[Array, "*B"]:
    """Longuet-Higgins and Lee's syncopation of a bar, at least -1; NaN with no onsets, or no whole bar.

    Weights are 0, -1, -2, ... by metrical level. A rest is a maximal empty subtree with the weight of its first step;
    where it is at least the weight of the note just before, the difference counts. A bar without such a pair gives -1.

    Args:
        hits: onsets.
        grid: the metre.
        voices: a voice, a group, or None for all; their union is the line.
        across_bars: the note before may stand in an earlier bar, so that an anticipated downbeat counts.

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
    """Toussaint's metrical complexity of a bar, at least 0; NaN with no onsets, or no whole bar.

    The greatest metricity that as many onsets can have, minus theirs. Metricity is the sum of the onsets' weights; a
    weight is the number of metrical levels on which a step stands.

    Args:
        hits: onsets.
        grid: the metre.
        voices: a voice, a group, or None for all; their union is the line.

    Source: Toussaint, Bridges 2002.
    """
    onsets = line_bars(hits, grid, voices)
    xp, weight = namespace(hits), (len(subdivisions(grid)) + 1 - metrical_levels(grid)).astype(np.float32)
    greatest = as_like(hits, np.cumsum([0, *sorted(weight, reverse=True)], dtype=np.float32))
    count = onsets.sum(-1)
    complexity = greatest[count] - (onsets * as_like(hits, weight)).sum(-1)
    return mean_of_defined(xp.where(count > 0, complexity, math.nan))


def sioros(hits: Hits, grid: Grid, voices: Voices = None, beta: float = 0.5, gamma: float = 0.8) -> Float[Array, "*B"]:
    """Sioros and Guedes' syncopation of a bar, taken as a cycle; at least 0. NaN with no onsets, or no whole bar.

    Each onset of level h scores 1 - .5^h times how far it stands out: the least, over the levels from h down, of its
    weighted mean difference from its neighbours of that level, gamma for the one before and 1 for the one after. A
    difference is scaled by 1 - beta + beta |difference of levels| / 4, at most 1. Levels below the lowest that the bar
    uses are left out, so that a finer grid does not change the result.

    Args:
        hits: onsets.
        grid: the metre.
        voices: a voice, a group, or None for all; their union is the line.
        beta: how much the difference of levels matters, in [0, 1].
        gamma: weight of the neighbour before.

    Source: Sioros & Guedes, ISMIR 2011, with the parameters of SynPy (Song, Pearce & Harte 2015).
    """
    xp, onsets = namespace(hits), as_float(line_bars(hits, grid, voices))
    levels = metrical_levels(grid).tolist()
    size = len(levels)

    def difference(index: int, way: int, level: int) -> Array:
        other = (index + way) % size
        while levels[other] > level:
            other = (other + way) % size
        scale = min(1 - beta + beta * abs(levels[index] - levels[other]) / 4, 1)
        return scale * (1 - onsets[..., other])

    lowest = xp.max(onsets * as_like(hits, levels, "float32"), axis=-1)
    score = xp.zeros_like(lowest)
    for index, own in enumerate(levels):
        if own:  # the downbeat has no potential
            apart = []
            for level in range(own, max(levels) + 1):
                mean = (gamma * difference(index, -1, level) + difference(index, 1, level)) / (1 + gamma)
                apart.append(xp.where(level <= lowest, mean, math.inf))
            least = xp.min(xp.stack(apart), axis=0)
            score = score + xp.where(onsets[..., index] > 0, (1 - 0.5**own) * least, 0)
    return mean_of_defined(xp.where(onsets.any(-1), score, math.nan))


def wnbd(hits: Hits, grid: Grid, voices: Voices = None, normalised: bool = False) -> Float[Array, "*B"]:
    """Weighted note-to-beat distance of a bar, at least 0; NaN with no onsets, or no whole bar.

    An onset off the beat, T beats from the nearest, scores 2 / T if its note ends after the next beat and no later than
    the one after that, otherwise 1 / T. A note lasts until the next onset, or the end of the bar.

    Args:
        hits: onsets.
        grid: the metre.
        voices: a voice, a group, or None for all; their union is the line.
        normalised: divide by the number of onsets, as the source does in the end.

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
"""Variant -> instrumental weights: a stream, and which others sound on the step after it.

``paper`` has only the pairs that the paper names. ``filled`` gives low against mid alone, and mid against low alone,
the weight of the three-stream pair. ``rests`` also counts a step after it on which nothing sounds.
"""

GM10_STREAMS: Streams = (0, (1, 5, 6, 7), (2, 3, 4, 8, 9))
"""Low, mid and high of the kit gm10; ``Kit.streams`` gives them for another."""


def witek(
    hits: Hits, grid: Grid, streams: Sequence[Voices] | None = None, variant: str = "filled"
) -> Float[Array, "*B"]:
    """Polyphonic syncopation a bar of three streams, at least 0; NaN with no hits, whole bar, or low or mid voice.

    A low or mid note that its stream does not play again on the next step, whose metrical weight is at least as great
    as its own, scores the difference of the weights plus the instrumental weight of what the other streams play there.
    Weights are 0 on the downbeat, -1 on other beats, and one less at each level below.

    Args:
        hits: onsets.
        grid: the metre.
        streams: (low, mid, high), each a voice or a group; left out, those of the kit gm10.
        variant: instrumental weights, a key of ``WITEK_WEIGHTS``.

    Raises:
        HypermeterError: an unknown variant, or no streams where there are not ten voices.

    Source: Witek et al., PLoS ONE 2014, e94446, with its correction e0139409.
    """
    if variant not in WITEK_WEIGHTS:
        raise HypermeterError(f"witek: variant is {variant!r}, expected one of {', '.join(WITEK_WEIGHTS)}")
    if streams is None:
        if hits.shape[-1] != 10:
            raise HypermeterError(
                f"witek: {hits.shape[-1]} voices, not those of gm10; give streams=(low, mid, high), as Kit.streams does"
            )
        streams = GM10_STREAMS
    if not any(columns_of(hits, stream).shape[-1] for stream in streams[:2]):
        return full(hits, hits.shape[:-2], math.nan)
    names = ("low", "mid", "high")
    xp, whole = namespace(hits), join_axes(whole_bars(hits, grid), -3)
    now = {name: line(whole, stream)[..., :-1] for name, stream in zip(names, streams, strict=True)}
    then = {name: line(whole, stream)[..., 1:] for name, stream in zip(names, streams, strict=True)}
    bars = whole.shape[-2] // grid.steps_per_bar
    if not bars:
        return full(hits, hits.shape[:-2], math.nan)
    levels = metrical_levels(grid)
    beat_level = len(_factors(grid.beats_per_bar))
    below_beat = (levels - beat_level).clip(min=0) + 1
    rise = as_like(hits, np.diff(np.tile(np.where(levels == 0, 0, -below_beat), bars)))
    score = full(hits, rise.shape, 0)
    for pair, instrumental in WITEK_WEIGHTS[variant].items():
        own, _, others = pair.partition(": ")
        found = now[own] & ~then[own] & (rise >= 0)
        for other in set(names) - {own}:
            found = found & (then[other] == (other in others.split()))
        score = score + xp.where(found, rise + instrumental, 0)
    return xp.where(as_float(whole).sum((-2, -1)) > 0, score.sum(-1) / bars, math.nan)

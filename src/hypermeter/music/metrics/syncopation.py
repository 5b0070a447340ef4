"""Syncopation: hits on weak steps where a strong one follows without.

``lhl``, ``tmc``, ``sioros`` and ``wnbd`` read one line of onsets, each whole bar on its own, and give the mean over the
bars that have an onset. ``witek`` reads three streams, and looks over bar lines.
"""

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
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


def weak_steps(steps: int, grid: Grid, weak: str = "bar") -> Bool[Tensor, " steps"]:
    """True on weak steps: ``bar``, all but the first step of a bar; ``offbeat``, all that are not on a beat.

    Raises:
        HypermeterError: another ``weak``.
    """
    if weak not in ("bar", "offbeat"):
        raise HypermeterError(f"syncopation: weak is {weak!r}, expected 'bar' or 'offbeat'")
    period = grid.steps_per_bar if weak == "bar" else grid.steps_per_beat
    return torch.arange(steps) % period != 0


def syncopation(hits: Hits, grid: Grid, weak: str = "bar") -> Float[Tensor, "*B"]:
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
    is_weak = weak_steps(per_step.shape[-1], grid, weak).to(per_step.device)
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


def metrical_levels(grid: Grid) -> Int[Tensor, " steps_per_bar"]:
    """Of each step of the bar, the level of the metrical tree at which it first stands: 0 the downbeat, 1 the half."""
    return torch.tensor(_levels(subdivisions(grid)))


def lhl(hits: Hits, grid: Grid, voices: Voices = None, across_bars: bool = False) -> Float[Tensor, "*B"]:
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
    weight = -metrical_levels(grid).to(hits.device)
    is_rest = torch.zeros_like(onsets)
    covered = torch.zeros_like(onsets)
    length = size
    for parts in (1, *subdivisions(grid)):
        length //= parts
        empty = ~onsets.unflatten(-1, (-1, length)).any(-1)
        empty = empty.repeat_interleave(length, -1)
        is_rest |= empty & ~covered & (torch.arange(size, device=hits.device) % length == 0)
        covered |= empty
    before = latest_before(onsets.flatten(-2)).unflatten(-1, (-1, size)) if across_bars else latest_before(onsets)
    rise = weight - weight[before.clamp_min(0) % size]
    counts = is_rest & (before >= 0) & (rise >= 0)
    score = torch.where(counts.any(-1), torch.where(counts, rise, 0).sum(-1).float(), -1.0)
    return mean_of_defined(torch.where(onsets.any(-1), score, torch.nan))


def tmc(hits: Hits, grid: Grid, voices: Voices = None) -> Float[Tensor, "*B"]:
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
    weight = (len(subdivisions(grid)) + 1 - metrical_levels(grid)).float().to(hits.device)
    greatest = F.pad(weight.sort(descending=True).values.cumsum(0), (1, 0))
    count = onsets.sum(-1)
    complexity = greatest[count] - (onsets * weight).sum(-1)
    return mean_of_defined(torch.where(count > 0, complexity, torch.nan))


def sioros(hits: Hits, grid: Grid, voices: Voices = None, beta: float = 0.5, gamma: float = 0.8) -> Float[Tensor, "*B"]:
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
    onsets = line_bars(hits, grid, voices).float()
    levels = metrical_levels(grid).tolist()
    size = len(levels)

    def difference(index: int, way: int, level: int) -> Tensor:
        other = (index + way) % size
        while levels[other] > level:
            other = (other + way) % size
        scale = min(1 - beta + beta * abs(levels[index] - levels[other]) / 4, 1)
        return scale * (1 - onsets[..., other])

    lowest = (onsets * torch.tensor(levels, device=hits.device)).amax(-1)
    score = torch.zeros_like(lowest)
    for index, own in enumerate(levels):
        if own:  # the downbeat has no potential
            apart = []
            for level in range(own, max(levels) + 1):
                mean = (gamma * difference(index, -1, level) + difference(index, 1, level)) / (1 + gamma)
                apart.append(torch.where(level <= lowest, mean, torch.inf))
            score = score + torch.where(onsets[..., index] > 0, (1 - 0.5**own) * torch.stack(apart).amin(0), 0)
    return mean_of_defined(torch.where(onsets.any(-1), score, torch.nan))


def wnbd(hits: Hits, grid: Grid, voices: Voices = None, normalised: bool = False) -> Float[Tensor, "*B"]:
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
    step = torch.arange(size, device=hits.device)
    end = size - 1 - latest_before(onsets.flip(-1)).flip(-1)
    end = end.clamp_max(size)
    phase = step % beat
    distance = torch.minimum(phase, beat - phase) / beat
    next_beat = (step // beat + 1) * beat
    crosses = (end > next_beat) & (end <= next_beat + beat)
    score = torch.where(onsets & (phase > 0), (1 + crosses.float()) / distance.clamp_min(1 / size), 0).sum(-1)
    count = onsets.sum(-1)
    if normalised:
        score = score / count.clamp_min(1)
    return mean_of_defined(torch.where(count > 0, score, torch.nan))


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
) -> Float[Tensor, "*B"]:
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
    if not torch.cat([columns_of(hits, stream) for stream in streams[:2]], -1).shape[-1]:
        return torch.full(hits.shape[:-2], torch.nan, device=hits.device)
    names = ("low", "mid", "high")
    whole = whole_bars(hits, grid).flatten(-3, -2)
    now = {name: line(whole, stream)[..., :-1] for name, stream in zip(names, streams, strict=True)}
    then = {name: line(whole, stream)[..., 1:] for name, stream in zip(names, streams, strict=True)}
    bars = whole.shape[-2] // grid.steps_per_bar
    if not bars:
        return torch.full(hits.shape[:-2], torch.nan, device=hits.device)
    levels = metrical_levels(grid)
    beat_level = len(_factors(grid.beats_per_bar))
    below_beat = (levels - beat_level).clamp_min(0) + 1
    weight = torch.where(levels == 0, 0, -below_beat).repeat(bars).to(hits.device)
    rise = weight[1:] - weight[:-1]
    score = torch.zeros(rise.shape, device=hits.device)
    for pair, instrumental in WITEK_WEIGHTS[variant].items():
        own, _, others = pair.partition(": ")
        found = now[own] & ~then[own] & (rise >= 0)
        for other in set(names) - {own}:
            found = found & (then[other] == (other in others.split()))
        score = score + torch.where(found, rise + instrumental, 0)
    return torch.where(as_float(whole).sum((-2, -1)) > 0, score.sum(-1) / bars, torch.nan)

"""Beat-keeping: whether drums keep a beat over many bars, in any metre.

The functions take `hits` (*B, T, V), onsets in [0, 1] that start on a bar line of `grid`, as arrays or tensors. They
read a value above .5 as a hit, leave out a short last bar, and return one value for each element of the batch axes *B,
NaN where it is undefined. Voices are columns; `roles_of` has those of a kit. None of the measures has a best value:
compare them with people's.
"""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from jaxtyping import Bool, Float

from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit
from hypermeter.music.arrays import Array, full, join_axes, mean, namespace, unique_rows, where
from hypermeter.music.metrics.onsets import Hits, as_binary, as_float, line_bars, whole_bars

_KICKS = {35, 36}
_SNARES = {37, 38, 39, 40}

FULL = 0.75
"""Share of the steps of a bar above which a voice fills the bar."""
THIN = 0.5
"""A bar with fewer hits than this share of the piece's mean is thin."""


class Roles(NamedTuple):
    """Columns of the voices that keep a beat.

    Args:
        kick: bass drums.
        snare: snares, their rims and hand claps.
        cymbals: hi-hats and cymbals.
    """

    kick: tuple[int, ...]
    snare: tuple[int, ...]
    cymbals: tuple[int, ...]

    @property
    def all(self) -> tuple[int, ...]:
        """Columns of all of them."""
        return tuple(sorted({*self.kick, *self.snare, *self.cymbals}))


def roles_of(kit: Kit) -> Roles:
    """Return the columns of a kit's voices by what they are in General MIDI."""
    kick, snare = (
        tuple(column for column, pitch in enumerate(kit.gm_pitches) if pitch in pitches)
        for pitches in (_KICKS, _SNARES)
    )
    return Roles(kick, snare, kit.cymbals)


def felt_beats(grid: Grid) -> list[int]:
    """Return the steps of a bar on which its felt beats begin.

    They are the beats of the metre; in compound metres, eighths in groups of three (6/8, 9/8, 12/8), each group is one.
    """
    is_compound = grid.beat_unit >= 8 and grid.beats_per_bar > 3 and grid.beats_per_bar % 3 == 0
    return list(range(0, grid.steps_per_bar, grid.steps_per_beat * (3 if is_compound else 1)))


def backbeats(grid: Grid) -> list[int]:
    """Return the steps of a bar on which its backbeats begin.

    They are the felt beats of even number, as 2 and 4 of 4/4 and the second of 6/8; in three, both after the first.
    """
    beats = felt_beats(grid)
    return beats[1:] if len(beats) == 3 else beats[1::2]


def backbeat(hits: Hits, grid: Grid, snare: Sequence[int]) -> Float[Array, "*B"]:
    """Return the share of the backbeats on whose step a snare sounds, in [0, 1]; NaN without whole bars or backbeats.

    Args:
        hits, grid: see above.
        snare: columns of the snares.
    """
    return mean(as_float(line_bars(hits, grid, snare)[..., backbeats(grid)]), (-2, -1))


def pulse(hits: Hits, grid: Grid, voices: Sequence[int]) -> Float[Array, "*B"]:
    """Return the share of the felt beats on whose step one of the voices sounds, in [0, 1]; NaN without whole bars.

    Args:
        hits, grid: see above.
        voices: columns of those that mark the beat, such as `Roles.all`.
    """
    return mean(as_float(line_bars(hits, grid, voices)[..., felt_beats(grid)]), (-2, -1))


def bar_density(hits: Hits, grid: Grid) -> Float[Array, "*B bars"]:
    """Return the share of cells with a hit of each whole bar, in [0, 1]."""
    return mean(as_float(as_binary(whole_bars(hits, grid))), (-2, -1))


def thin_bars(hits: Hits, grid: Grid) -> Float[Array, "*B"]:
    """Return the share of bars with fewer than THIN times the mean hits of the piece's bars; NaN without whole bars."""
    density = bar_density(hits, grid)
    return mean(as_float(density < THIN * mean(density)[..., None]))


def dropped(hits: Hits, grid: Grid, voices: Sequence[int], least_bars: int | None = None) -> Float[Array, "*B"]:
    """Return the share of bars that belong to a silence of the voices of at least a phrase; NaN without whole bars.

    Args:
        hits, grid: see above.
        voices: columns of those that are to be silent together, such as the kick's.
        least_bars: bars of the shortest silence that counts; a phrase by default.
    """
    is_silent = ~line_bars(hits, grid, voices).any(-1)
    return mean(as_float(_in_runs(is_silent, least_bars or grid.bars_per_phrase)))


def runaway(hits: Hits, grid: Grid, voices: Sequence[int], least_bars: int | None = None) -> Float[Array, "*B"]:
    """Return the share of bars in which one of the voices fills the bars of at least a phrase; NaN without whole bars.

    A voice fills a bar if it sounds on more than FULL of its steps.

    Args:
        hits, grid: see above.
        voices: columns; each is looked at by itself.
        least_bars: bars of the shortest run that counts; a phrase by default.
    """
    share = mean(as_float(as_binary(whole_bars(hits, grid)[..., list(voices)])), -2)
    is_within = _in_runs((share > FULL).swapaxes(-1, -2), least_bars or grid.bars_per_phrase)
    return mean(as_float(is_within.any(-2)))


def _in_runs(is_so: Bool[Array, "*B bars"], least: int) -> Bool[Array, "*B bars"]:
    """Return whether each bar belongs to a run of at least `least` bars that are so."""
    bars, is_within = is_so.shape[-1], full(is_so, is_so.shape, False, is_so.dtype)
    for start in range(bars - least + 1):
        is_within[..., start : start + least] |= is_so[..., start : start + least].all(-1)[..., None]
    return is_within


def distinct_bars(hits: Hits, grid: Grid) -> Float[Array, "*B"]:
    """Return the number of different bars over the number of bars, in (0, 1]; NaN without whole bars.

    It falls as a piece grows longer: compare pieces of one length.
    """
    bars = join_axes(as_float(as_binary(whole_bars(hits, grid))))
    *batch, number, cells = bars.shape
    shares = full(bars, (math.prod(batch),), math.nan)
    if number:
        for row, piece in enumerate(bars.reshape((-1, number, cells))):
            shares[row] = len(unique_rows(piece)[0]) / number
    return shares.reshape(tuple(batch))


class SectionLikeness(NamedTuple):
    """How alike sections are, as the mean F1 of the hits of all pairs of their bars, in [0, 1]; NaN without a pair.

    Args:
        returns: of each return of a section and the section's first time.
        others: of each return of a section and the first time of each other section.
    """

    returns: Float[Array, "*B"]
    others: Float[Array, "*B"]


def section_likeness(hits: Hits, grid: Grid, sections: Sequence[object]) -> SectionLikeness:
    """Return how alike sections are to their first time, and to other sections, when they return.

    A section is a run of bars of one label; a return is a run whose label an earlier run had. A section that comes back
    as itself is more like its first time than like the others. F1 is 1 for two bars without hits.

    Args:
        hits, grid: see above.
        sections: the label of each whole bar; "" for a bar that belongs to none, such as a fill.

    Raises:
        ValueError: another number of labels than of whole bars.
    """
    bars = join_axes(as_float(as_binary(whole_bars(hits, grid))))
    if len(sections) != bars.shape[-2]:
        raise ValueError(f"{len(sections)} labels, expected {bars.shape[-2]}, one for each whole bar")
    runs = runs_of(sections)
    first: dict[object, tuple[int, int]] = {}
    alike: dict[bool, list[Array]] = {True: [], False: []}
    for label, start, end in runs:
        if label in first:
            for other, (other_start, other_end) in first.items():
                pair = bars[..., start:end, :], bars[..., other_start:other_end, :]
                alike[other == label].append(_mean_f1(*pair))
        first.setdefault(label, (start, end))
    undefined, xp = mean(bars[..., :0, 0]), namespace(bars)
    means = (mean(xp.stack(values, axis=-1)) if values else undefined for values in (alike[True], alike[False]))
    return SectionLikeness(*means)


def runs_of(labels: Sequence[object]) -> list[tuple[object, int, int]]:
    """Return (label, first, end) of each run of equal labels, without those of the label ""."""
    runs, start = [], 0
    for label, bars in groupby(labels):
        end = start + len(list(bars))
        if label != "":
            runs.append((label, start, end))
        start = end
    return runs


def _mean_f1(one: Float[Array, "*B m cells"], other: Float[Array, "*B n cells"]) -> Float[Array, "*B"]:
    total = one.sum(-1)[..., :, None] + other.sum(-1)[..., None, :]
    shared = one @ other.swapaxes(-1, -2)
    return mean(where(total > 0, 2 * shared / total.clip(min=1), 1.0), (-2, -1))


def beat_keeping(hits: Hits, grid: Grid, roles: Roles) -> dict[str, Float[Array, "*B"]]:
    """Return the measures that need no sections, by name.

    ``backbeat`` of the snares, ``pulse`` of all roles, ``density`` (mean of ``bar_density``), ``thin_bars``,
    ``dropped`` (mean over kick, snare and cymbals), ``runaway`` (of any voice), ``distinct_bars``.
    """
    groups = [dropped(hits, grid, voices) for voices in roles]
    return {
        "backbeat": backbeat(hits, grid, roles.snare),
        "pulse": pulse(hits, grid, roles.all),
        "density": mean(bar_density(hits, grid)),
        "thin_bars": thin_bars(hits, grid),
        "dropped": sum(groups[1:], groups[0]) / len(groups),
        "runaway": runaway(hits, grid, range(hits.shape[-1])),
        "distinct_bars": distinct_bars(hits, grid),
    }

"""Finding a player's own grid: how far it is from the written one, how clear it is, and its kind."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.grid import Grid

BINS = 12
"""Bins of a step in which onsets are counted."""

SHIFT_SD_S, PRIOR_HITS = 0.020, 32
"""Standard deviation of players' shifts in seconds; this prior counts as one hit of so many, or of all if fewer."""

SWING = (0.54, 0.56, 0.58, 0.60, 0.62, 0.64, 0.66, 0.68, 0.70, 0.72, 0.74)
"""Ratios of swing that are compared."""

WEAK_SHARES = (0.2, 0.6)
"""Shares of the hits on the weak slots of a grid that are compared."""

SPREAD, WIDE_SPREAD = 0.10, 0.20
"""Standard deviations of hits about their slot, in steps. The wide one is compared for straight steps only."""

STRAY_SHARE = 0.06
"""Share of the hits that are anywhere."""

CLEAR = 0.3
"""Clarity below which a piece has no clear grid."""

_EIGHTH_TRIPLETS = (4 / 3, 8 / 3)

TRIPLET_SWING = 0.60
"""Least swing of the halves of a beat that is nearer to triplets, at 2/3, than a sixteenth is to them."""

MIN_SHIFT = 0.01
"""Smallest shift in steps; a smaller one is 0."""


@dataclass(frozen=True)
class OwnGrid:
    """The grid on which a piece is played.

    Args:
        shift: in [-.5, .5) steps, late is positive: what is taken out of the onsets before cells are chosen. It is the
            `player_shift`, unless hits between steps, such as those of a swing, are then on the edge of cells: the
            cells are moved by up to a quarter of a step, so that their edges are where few hits are.
        clarity: in [0, 1], how close hits are to the player's grid: the mean cosine of their distance from it, where
            one turn is the distance between two slots. It is 1 if all are on it, and 0 if there is no grid.
        kind: "straight": steps or their halves. "triplet": three slots in the time of two steps or of a beat. "swing":
            the second of two steps, or the second half of a beat, is late.
        swing: where the second begins, as a share of the pair; .5 unless the kind is "swing".
        player_shift: distance of the player from the written grid, in [-.5, .5) steps.
        steps_per_quarter: of the straight or triplet steps that fit the playing: 4, 3 or 6. Halves of beats that swing
            by TRIPLET_SWING or more are on triplets.
    """

    shift: float = 0.0
    clarity: float = 0.0
    kind: Literal["straight", "triplet", "swing"] = "straight"
    swing: float = 0.5
    player_shift: float = 0.0
    steps_per_quarter: int = 4

    def on(self, grid: Grid, found: Grid) -> "OwnGrid":
        """Return the shifts in steps of a grid, where this one is in steps of the grid on which it was found.

        Cells of triplets are not moved to be between swung hits.
        """
        ratio = grid.steps_per_quarter / found.steps_per_quarter
        if ratio == 1:
            return self
        shift = _wrap(round(self.player_shift * ratio, 6))
        return replace(self, shift=shift, player_shift=shift)


class _Template(NamedTuple):
    """A grid: the slots of a period in steps, of which the strong ones have most hits, and the spread of hits."""

    kind: Literal["straight", "triplet", "swing"]
    swing: float
    strong: tuple[float, ...]
    weak: tuple[float, ...] = ()
    spread: float = SPREAD
    slots_per_step: float = 1.0
    pair_steps: int = 2  # steps of a pair that swings
    num_parameters: int = 0  # more than those of straight steps, each of which costs log N


def find_own_grid(onsets: NDArray[np.float64], steps_per_beat: int, step_duration_s: float) -> OwnGrid:
    """Return the grid on which a piece is played.

    Templates of straight, triplet and swung grids, at shifts of a twelfth of a step, are compared by the likelihood of
    the onsets, a prior of the shift, and a penalty of log N for a parameter. A parabola through the score of the best
    shift and its neighbours refines it. A piece with a third of its hits exactly on steps or thirds of steps is from a
    sequencer: its shift is 0.

    Args:
        onsets: (N,) times of hits in steps from any beat.
        steps_per_beat: number of steps in a beat. The kind is "straight" if it is odd.
        step_duration_s: duration of a step in seconds.
    """
    num_hits = len(onsets)
    if not num_hits:
        return OwnGrid()
    period = 4 if steps_per_beat % 4 == 0 else 2 if steps_per_beat % 2 == 0 else 1
    templates, table, moved, steps = _table(period)
    bins = onsets * BINS
    nearest = np.rint(bins)
    rest = bins - nearest
    remainder = float(rest.sum()) / num_hits  # what counting in bins loses of the mean
    is_exact = abs(rest) < 1e-6
    is_sequenced = (
        3 * np.count_nonzero(is_exact) >= num_hits and 3 * np.count_nonzero(is_exact & (nearest % 4 == 0)) >= num_hits
    )
    counts = np.bincount(nearest.astype(np.int64) % (period * BINS), minlength=period * BINS)
    weights = np.empty((period * BINS + 3, len(_SHIFTS)))
    weights[:-3] = counts[moved]
    weights[-3] = _SQUARES * ((step_duration_s / SHIFT_SD_S) ** 2 * max(1.0, num_hits / PRIOR_HITS)) + _TIES
    weights[-2] = math.log(num_hits)
    weights[-1] = 1.0
    scores = table @ weights
    best, column = divmod(int(scores[:, 1:-1].argmax()), BINS)
    player_shift = 0.0
    if not is_sequenced:
        vertex = _vertex(*scores[best, column : column + 3].tolist())
        player_shift = round((column - BINS // 2 + vertex + remainder) / BINS, 6)
        if abs(player_shift) < MIN_SHIFT:
            player_shift = 0.0
    template = templates[best]
    phases = steps + (remainder / BINS - player_shift)
    clarity = max(float(counts @ np.cos(2 * np.pi * _in_slots(phases, template))) / num_hits, 0.0)
    shift = player_shift
    if template.kind != "straight" and not is_sequenced:
        shift = round(shift + _displacement(phases, counts / num_hits), 6)
    per_quarter = 4
    if template.kind == "triplet":
        per_quarter = 3 if template.weak == _EIGHTH_TRIPLETS else 6
    elif template.kind == "swing" and template.pair_steps == 4 and template.swing >= TRIPLET_SWING:
        per_quarter = 3
    return OwnGrid(_wrap(shift), clarity, template.kind, template.swing, _wrap(player_shift), per_quarter)


def describe_shift(shift_ms: float) -> str:
    """Return a shift in words, to the millisecond."""
    rounded = round(abs(shift_ms))
    return f"{rounded} ms {'early' if shift_ms < 0 else 'late'}" if rounded else "on the grid"


_SHIFTS = np.arange(-BINS // 2 - 1, BINS // 2 + 1, dtype=np.float64)
"""Shifts in bins; the first and the last are compared with as neighbours only."""

_SQUARES, _TIE = (_SHIFTS / BINS) ** 2, 1e-8
_TIES = _TIE * np.arange(len(_SHIFTS))
"""Of equal scores, which sums in another order would make unequal, that of the first template and shift is best."""


def _vertex(before: float, top: float, after: float) -> float:
    """Return where the parabola through values at -1, 0 and 1 is highest, in [-.5, .5]; 0 if it has no top."""
    curvature = before - 2 * top + after
    return min(max(0.5 * (before - after) / curvature, -0.5), 0.5) if curvature < 0 else 0.0


def _wrap(shift: float) -> float:
    """Return a shift that is less than a step out of [-.5, .5) in this range."""
    return shift - 1 if shift >= 0.5 else shift + 1 if shift < -0.5 else shift


@lru_cache
def _table(
    period: int,
) -> tuple[list[_Template], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the K templates, a table of them, and the bins of a period.

    Returns:
        The templates; the table (K, bins + 3) of log-likelihoods of an onset in each bin, the factor of the prior, the
        penalty, and what makes the first of equally good templates the best; the bins that onsets are in after each
        shift back (bins, shifts); and the bins in steps.
    """
    rows, kept = [], []
    bins = np.arange(period * BINS) / BINS
    for template in _templates(period):
        for share in WEAK_SHARES if template.weak else (0.0,):
            density = np.zeros(len(bins))
            for slots, weight in ((template.strong, 1 - share), (template.weak, share)):
                for slot in slots:
                    distance = (bins - slot + period / 2) % period - period / 2
                    density += weight / len(slots) * np.exp(-0.5 * (distance / template.spread) ** 2)
            density = (1 - STRAY_SHARE) * density / density.sum() + STRAY_SHARE / len(bins)
            rows.append([*np.log(density), -0.5, -template.num_parameters, -_TIE * len(rows)])
            kept.append(template)
    return kept, np.array(rows), (np.arange(len(bins))[:, None] + _SHIFTS.astype(np.int64)) % len(bins), bins


def _templates(period: int) -> list[_Template]:
    if period == 1:
        return [_Template("straight", 0.5, (0.0,), spread=spread) for spread in (SPREAD, WIDE_SPREAD)]
    even = tuple(float(step) for step in range(0, period, 2))
    odd = tuple(step + 1 for step in even)
    others = odd + tuple(step + 0.5 for step in range(period))
    templates = [_Template("straight", 0.5, even, odd, spread) for spread in (SPREAD, WIDE_SPREAD)]
    if period == 4:
        templates.append(_Template("straight", 0.5, (0.0,), (2.0,)))
    templates.append(_Template("straight", 0.5, even, others, slots_per_step=2, num_parameters=1))
    triplets = tuple(step + third for step in even for third in (2 / 3, 4 / 3))
    templates.append(_Template("triplet", 0.5, even, triplets, slots_per_step=1.5, num_parameters=1))
    templates += [_Template("swing", r, even, tuple(step + 2 * r for step in even), num_parameters=2) for r in SWING]
    if period == 4:
        templates.append(_Template("triplet", 0.5, (0.0,), _EIGHTH_TRIPLETS, slots_per_step=1.5, num_parameters=1))
        templates += [_Template("swing", r, (0.0,), (4 * r,), pair_steps=4, num_parameters=2) for r in SWING]
    return templates


def _in_slots(phases: NDArray[np.float64], template: _Template) -> NDArray[np.float64]:
    """Return phases, in steps, as numbers of slots of a template: whole numbers are on the grid."""
    if template.kind != "swing":
        return phases * template.slots_per_step
    first = template.pair_steps * template.swing
    second = template.pair_steps - first
    inside = phases % template.pair_steps
    return np.where(inside < first, inside / first, 1 + (inside - first) / second) * (template.pair_steps / 2)


def _displacement(phases: NDArray[np.float64], shares: NDArray[np.float64]) -> float:
    """Return by how much cells are moved, in steps, so that few hits are near their edges.

    Args:
        phases: (bins,) in steps from the player's grid.
        shares: (bins,) of the hits.
    """
    phases, shares = phases[:BINS], shares.reshape(-1, BINS).sum(0)  # Every step has its edge in the same place.
    near_edge = np.exp(16 * (np.cos(2 * np.pi * (phases - 0.5 - _DISPLACEMENTS[:, None])) - 1)) @ shares
    return float(_DISPLACEMENTS[(near_edge + 0.05 * abs(_DISPLACEMENTS)).argmin()])


_DISPLACEMENTS = np.arange(12, -13, -1) / 48  # Of equally good ones the late one: a swung step stays before the next.

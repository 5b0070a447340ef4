"""Feels: how a take is played rather than what, as figures that can be given to another beat, and their distance."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import check_voices, load_kit

PRIOR_HITS = 2.0
"""Hits by which the mean of a cell is drawn towards what its voice and its place have in common with the others."""

FEWEST_HITS, FEWEST_BARS = 2, 4
"""Hits of a cell, in both feels, and bars, below which nothing is compared."""

UNITS: Mapping[str, float] = {
    "shift": 17.7,
    "swing": 14.6,
    "timing": 14.5,
    "accent": 0.253,
    "timing spread": 0.321,
    "velocity spread": 0.585,
    "drift": 0.329,
}
"""Parts of the distance -> what each is between two takes of different drummers, in ms, in velocity, or as a log ratio.

Means over pairs of training performances of the Groove MIDI Dataset: benchmarks/quality/feel.py --units-only.
"""

FITS = 20
"""Rounds in which the lateness of voices is told from that of steps."""

Cells = Float[np.ndarray, "steps voices"]


@dataclass(frozen=True, eq=False)
class Feel:
    """How something is played, by voice and step of the bar.

    Args:
        name: of the take, for messages.
        voices: names of the V voices.
        grid: the metre and its steps.
        tempo_bpm: quarter notes a minute.
        bars: number of bars that were measured.
        count: (steps of a bar, V), number of hits.
        velocity: (steps of a bar, V), mean velocity of the hits, NaN where there are none; all NaN says nothing.
        offset: (steps of a bar, V), mean offset in steps from the player's own grid, likewise.
        shift_ms: distance of that grid from the written one, late is positive.
        velocity_spread: (V,), standard deviation of the velocities from the mean of their cell, NaN where unknown.
        spread_ms: (V,), that of the offsets.
        drift_ms: standard deviation of the mean lateness of bars, NaN where unknown.
        take: the music that was measured, which primes the model; `None` for figures alone.
        about: what it is, in a line.
    """

    name: str
    voices: tuple[str, ...]
    grid: Grid
    tempo_bpm: float
    bars: float
    count: Cells
    velocity: Cells
    offset: Cells
    shift_ms: float
    velocity_spread: Float[np.ndarray, " voices"]
    spread_ms: Float[np.ndarray, " voices"]
    drift_ms: float
    take: Groove | None = None
    about: str = ""

    @classmethod
    def of(cls, groove: Groove, name: str = "like") -> "Feel":
        """Return the feel of a take.

        Velocity or timing that its source lacks is left out of it.

        Args:
            groove: the take, in any metre and grid.
            name: for messages.

        Raises:
            HypermeterError: no hits, or neither velocity nor timing.
        """
        if not groove.hits.any():
            raise HypermeterError(f"{name}: no hits in it, expected a take to play like")
        if {"velocity", "offset"} <= groove.unknown:
            raise HypermeterError(f"{name}: it has neither velocity nor timing, expected a performance to play like")
        return cls._measured([groove], name)

    @classmethod
    def of_many(cls, grooves: Sequence[Groove], name: str) -> "Feel":
        """Return the mean feel of several takes on one grid with one kit; it has no take of its own.

        Raises:
            HypermeterError: no takes, or takes on several grids or of several kits.
        """
        grids, kits = ({getattr(groove, field) for groove in grooves} for field in ("grid", "kit"))
        if len(grids) != 1 or len(kits) != 1:
            raise HypermeterError(f"{name}: {len(grids)} grids and {len(kits)} kits, expected takes on one and of one")
        return replace(cls._measured(grooves, name), take=None)

    @classmethod
    def _measured(cls, grooves: Sequence[Groove], name: str) -> "Feel":
        first, size = grooves[0], grooves[0].grid.steps_per_bar
        kit = load_kit(first.kit)
        check_voices(kit, first.hits.shape[1])
        voices = kit.names
        count, sums = np.zeros((size, len(voices))), np.zeros((2, size, len(voices)))
        squares, degrees, late = np.zeros((2, len(voices))), np.zeros((2, len(voices))), []
        shifts = np.array([groove.shift_ms for groove in grooves])
        weights = np.array([groove.hits.sum() for groove in grooves], np.float64)
        for groove in grooves:
            at, place = groove.hits > 0, np.arange(len(groove)) % size
            own = _sums_by_place(at, place, size)
            count += own
            for number, (field, unit) in enumerate((("velocity", 1.0), ("offset", groove.step_duration_s * 1000))):
                values = np.where(at, getattr(groove, field).astype(np.float64), 0.0)
                if field in groove.unknown:
                    values = np.where(at, np.nan, 0.0)
                total = _sums_by_place(values, place, size)
                sums[number] += total
                rest = np.where(at, (values - (total / own.clip(1))[place]) * unit, 0.0)
                squares[number] += (rest**2).sum(0)
                degrees[number] += (own - 1).clip(0).sum(0)
                if number:
                    late.append(_sd_of_bars(rest, at, size))
        spreads = np.where(degrees > 0, np.sqrt(squares / degrees.clip(1)), np.nan)
        velocity, offset = np.where(count > 0, sums / count.clip(1), np.nan)
        known = [value for value in late if not math.isnan(value)]
        return cls(
            name,
            voices,
            first.grid,
            float(np.average([groove.tempo_bpm for groove in grooves], weights=weights)),
            float(sum(len(groove) for groove in grooves) / size),
            count,
            velocity,
            offset,
            float(np.average(shifts, weights=weights)),
            spreads[0],
            spreads[1],
            float(np.mean(known)) if known else math.nan,
            first,
        )

    # ------------------------------------------------------------------ figures

    @property
    def step_ms(self) -> float:
        return 60_000 / self.tempo_bpm / self.grid.steps_per_quarter

    @property
    def sounding(self) -> list[str]:
        """Voices that have hits."""
        return [voice for voice, hits in zip(self.voices, self.count.sum(0), strict=True) if hits]

    @property
    def has_velocity(self) -> bool:
        return not np.isnan(self.velocity).all()

    @property
    def has_timing(self) -> bool:
        return not np.isnan(self.offset).all()

    @property
    def voice_ms(self) -> Float[np.ndarray, " voices"]:
        """Mean lateness of each voice in ms, the shift of the player included; NaN without hits."""
        return self.shift_ms + _mean_of(self.offset, self.count, 0) * self.step_ms

    @property
    def pattern(self) -> Cells:
        """Mean offset of each cell from that of its voice, in steps; NaN without hits."""
        return self.offset - _mean_of(self.offset, self.count, 0)

    @cached_property
    def late(self) -> Float[np.ndarray, " voices"]:
        """Lateness of each voice in steps from the player's own grid, apart from that of steps; NaN without hits.

        It is the voice's part of the sum of two parts, of voice and step of the bar, that is nearest to the offsets of
        the cells; that of the steps is 0 in the mean over the beats.
        """
        weight = np.where(np.isnan(self.offset), 0, self.count)
        offset, of_step = np.nan_to_num(self.offset), np.zeros(len(weight))
        beats = np.arange(len(weight)) % self.grid.steps_per_beat == 0
        beats = beats if weight[beats].any() else ~beats
        of_voice = np.zeros(weight.shape[1])
        for _ in range(FITS):
            of_voice = ((offset - of_step[:, None]) * weight).sum(0) / weight.sum(0).clip(1e-9)
            of_step = ((offset - of_voice) * weight).sum(1) / weight.sum(1).clip(1e-9)
            of_step -= np.average(of_step[beats], weights=weight[beats].sum(1)) if weight.any() else 0.0
        return np.where(weight.sum(0) > 0, of_voice, np.nan)

    @property
    def swing(self) -> dict[str, float]:
        """Where the second of two steps, and of two halves of a beat, begins, as a share of both: .5 is straight.

        Those of the two that the grid has; NaN where the take has no hits that tell.
        """
        found, pattern, beat = {}, self.pattern, self.grid.steps_per_beat
        step = np.arange(len(self.count))
        for name, length in (("halves of beats", beat), ("steps", 2)):
            if beat % 2 == 0 and (beat > 2 or name != "steps"):
                first, second = (
                    _mean_of(pattern[at], self.count[at], None)
                    for at in (step % length == 0, step % length == length // 2)
                )
                found[name] = float(0.5 + (second - first) / length)
        return found

    def columns_of(self, voices: Sequence[str]) -> np.ndarray:
        """Return the number of each voice, -1 where the feel does not have it."""
        return np.array([self.voices.index(voice) if voice in self.voices else -1 for voice in voices], np.int64)

    def cells_on(self, grid: Grid, voices: Sequence[str]) -> tuple[Cells, Cells, Cells]:
        """Return count, velocity and offset on another grid, in steps of it, with other voices: 0 and NaN for none.

        Places are compared in quarter notes from the bar line, and only those that are the same. A bar that is longer
        hears this one again from its beginning.
        """
        exact = np.arange(grid.steps_per_bar) * self.grid.steps_per_quarter / grid.steps_per_quarter
        nearest = np.floor(exact + 0.5).astype(np.int64)
        is_same = np.abs(exact - nearest) < 1e-6
        columns = self.columns_of(voices)
        is_known = is_same[:, None] & (columns >= 0)
        cells = np.ix_(nearest % self.grid.steps_per_bar, columns)
        count = np.where(is_known, self.count[cells], 0.0)
        velocity, offset = (np.where(is_known, values[cells], np.nan) for values in (self.velocity, self.offset))
        return count, velocity, offset * (grid.steps_per_quarter / self.grid.steps_per_quarter)


def _sums_by_place(values: np.ndarray, place: np.ndarray, size: int) -> Cells:
    sums = np.zeros((size, values.shape[1]))
    np.add.at(sums, place, values)
    return sums


def _mean_of(values: np.ndarray, count: np.ndarray, axis: int | None) -> Any:
    """Return means over cells, weighted by their hits; NaN without any."""
    weight = np.where(np.isnan(values), 0, count)
    total, number = (np.nan_to_num(values) * weight).sum(axis), weight.sum(axis)
    return np.where(number > 0, total / np.where(number > 0, number, 1), np.nan)


def _sd_of_bars(rest: np.ndarray, at: np.ndarray, size: int) -> float:
    """Return the standard deviation of the means of bars, NaN for too few."""
    bars = -(-len(at) // size)
    total, number = np.zeros(bars), np.zeros(bars)
    np.add.at(total, np.arange(len(at)) // size, rest.sum(1))
    np.add.at(number, np.arange(len(at)) // size, at.sum(1))
    means = (total / number.clip(1))[number > 0]
    return float(means.std(ddof=1)) if len(means) >= FEWEST_BARS else math.nan


def mean_spread_ms(feel: Feel) -> float:
    """Return the mean over hits of the spread of their voice, in ms; NaN where unknown."""
    return float(_mean_of(feel.spread_ms, feel.count.sum(0), None))


# ---------------------------------------------------------------------- distance


def differences(one: Feel, other: Feel) -> dict[str, float]:
    """Return the differences of two feels, in ms, in velocity, or as the absolute logarithm of a ratio.

    NaN where there is too little to compare. Cells and voices are those in common, weighted by the geometric mean of
    their hits.

    Returns:
        shift: mean difference of the lateness of voices, ms.
        swing: mean difference of the lateness of the second of two steps, and of two halves of a beat, ms.
        timing: mean difference of the offsets of cells from the means of their voices, ms.
        accent: mean difference of the velocities of cells.
        timing spread, velocity spread: mean log ratio over voices of the standard deviations from the means of cells.
        drift: log ratio of the standard deviations of the lateness of bars.
    """
    step_ms = math.sqrt(one.step_ms * other.step_ms * other.grid.steps_per_quarter / one.grid.steps_per_quarter)
    count, velocity, _ = other.cells_on(one.grid, one.voices)
    _, _, pattern = replace(other, offset=other.pattern).cells_on(one.grid, one.voices)
    both = np.where(np.minimum(one.count, count) >= FEWEST_HITS, np.sqrt(one.count * count), 0.0)
    columns = other.columns_of(one.voices)
    weight = np.where(columns >= 0, np.sqrt(one.count.sum(0) * other.count.sum(0)[columns]), 0.0)
    swings = [
        abs(value - other.swing[name]) * step_ms * (2 if name == "steps" else one.grid.steps_per_beat)
        for name, value in one.swing.items()
        if name in other.swing and other.grid.steps_per_beat == one.grid.steps_per_beat
    ]
    known = [value for value in swings if not math.isnan(value)]
    return {
        "shift": float(_mean_of(np.abs(one.voice_ms - other.voice_ms[columns]), weight, None)),
        "swing": float(np.mean(known)) if known else math.nan,
        "timing": float(_mean_of(np.abs(one.pattern - pattern), both, None)) * step_ms,
        "accent": float(_mean_of(np.abs(one.velocity - velocity), both, None)),
        "timing spread": float(_mean_of(_log_ratio(one.spread_ms, other.spread_ms[columns], 1.0), weight, None)),
        "velocity spread": float(
            _mean_of(_log_ratio(one.velocity_spread, other.velocity_spread[columns], 0.01), weight, None)
        ),
        "drift": float(_log_ratio(one.drift_ms, other.drift_ms, 1.0)),
    }


def _log_ratio(one: Any, other: Any, least: float) -> np.ndarray:
    return np.abs(np.log(np.maximum(one, least) / np.maximum(other, least)))


def feel_distance(one: Feel, other: Feel) -> float:
    """Return the distance of two feels: the mean of their `differences`, each divided by its unit of `UNITS`.

    0 is the same feel, and 1 the mean of two takes of different drummers. NaN if nothing can be compared.
    """
    parts = [value / UNITS[name] for name, value in differences(one, other).items() if not math.isnan(value)]
    return float(np.mean(parts)) if parts else math.nan

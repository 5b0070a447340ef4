"""The metrical grid."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from hypermeter.core.errors import HypermeterError, shorten

MAX_STEPS = 2**16
"""Of a bar; no number of a grid is larger."""

STEPS_IN_WORDS: dict[float, str] = {
    1: "quarters",
    2: "eighths",
    3: "triplets of eighths",
    4: "sixteenths",
    6: "triplets of sixteenths",
    8: "thirty-seconds",
}
"""Steps in a quarter note -> what they are."""


@dataclass(frozen=True)
class Grid:
    """A metre and the number of steps in its beats.

    The default is 4/4 in sixteenths, with phrases of four bars. 6/8 in sixteenths is
    `Grid(steps_per_beat=2, beats_per_bar=6, beat_unit=8)`; 4/4 in eighth triplets is `Grid(steps_per_beat=3)`.

    Raises:
        HypermeterError: a number below 1, or a beat unit that is no power of two.
    """

    steps_per_beat: int = 4
    beats_per_bar: int = 4
    bars_per_phrase: int = 4
    beat_unit: int = 4
    """Note value of a beat: the lower number of a time signature."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_STEPS:
                found = shorten(repr(value), 60)
                raise HypermeterError(f"grid: {name} is {found}, expected a whole number from 1 to {MAX_STEPS}")
        if self.steps_per_bar > MAX_STEPS:
            raise HypermeterError(f"grid: {self.steps_per_bar} steps in a bar, expected at most {MAX_STEPS}")
        if self.beat_unit & (self.beat_unit - 1):
            raise HypermeterError(f"grid: beat_unit is {self.beat_unit}, expected a power of two (4 for quarters)")

    @property
    def steps_per_bar(self) -> int:
        return self.steps_per_beat * self.beats_per_bar

    @property
    def steps_per_phrase(self) -> int:
        return self.steps_per_bar * self.bars_per_phrase

    @property
    def steps_per_quarter(self) -> float:
        """Steps in a quarter note, which tempo and MIDI ticks refer to."""
        return self.steps_per_beat * self.beat_unit / 4

    @property
    def metre(self) -> str:
        return f"{self.beats_per_bar}/{self.beat_unit}"

    @property
    def description(self) -> str:
        """The metre and its steps in words, as `3/4 in sixteenths`; with the phrases, where they are not of 4 bars."""
        steps = STEPS_IN_WORDS.get(self.steps_per_quarter, f"{self.steps_per_beat} steps a beat")
        phrases = "" if self.bars_per_phrase == 4 else f", phrases of {self.bars_per_phrase}"
        return f"{self.metre} in {steps}{phrases}"

    @classmethod
    def of_metre(cls, metre: str = "4/4", steps_per_beat: int = 4, bars_per_phrase: int = 4) -> "Grid":
        """Return the grid of a time signature, written beats/unit.

        Raises:
            HypermeterError: another form, or a number out of range.
        """
        beats, slash, unit = metre.partition("/")
        if not (slash and re.fullmatch("[0-9]{1,5}", beats) and re.fullmatch("[0-9]{1,5}", unit)):
            raise HypermeterError(f"metre is {shorten(repr(metre), 60)}, expected beats/unit, such as 4/4")
        return cls(steps_per_beat, int(beats), bars_per_phrase, int(unit))

    def to_dict(self) -> dict[str, int]:
        return dict(vars(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Grid":
        """Return the grid that `to_dict` wrote; a missing field has its default.

        Raises:
            HypermeterError: an unknown field, or a number out of range.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(values, Mapping):
            raise HypermeterError(f"grid: not a grid's record; expected {', '.join(names)}")
        if unknown := set(map(str, values)).difference(names):
            found = shorten(repr(min(unknown)), 60)
            raise HypermeterError(f"grid: unknown field {found}, expected {', '.join(names)}")
        return cls(**values)


@dataclass(frozen=True)
class GridChoice:
    """The grid on which each part of a file is read.

    Args:
        metre: what is read; `None` reads every part in its own metre.
        steps_per_beat: steps in a beat of the metre; `None` takes those that fit the playing: sixteenths, or triplets
            of eighths or sixteenths.
        bars_per_phrase: bars in a phrase.

    Raises:
        HypermeterError: as `Grid.of_metre`.
    """

    metre: str | None = None
    steps_per_beat: int | None = None
    bars_per_phrase: int = 4

    def __post_init__(self) -> None:
        steps_per_beat = 1 if self.steps_per_beat is None else self.steps_per_beat
        Grid.of_metre(self.metre or "4/4", steps_per_beat, self.bars_per_phrase)

    @classmethod
    def of_words(cls, metre: str, steps_per_beat: int | Literal["auto"], bars_per_phrase: int) -> "GridChoice":
        """Return the choice that the options of a command name: `all` metres, and `auto` for the steps that fit.

        Raises:
            HypermeterError: as `Grid.of_metre`.
        """
        return cls(
            None if metre == "all" else metre, None if steps_per_beat == "auto" else steps_per_beat, bars_per_phrase
        )

    @classmethod
    def of(cls, grid: "Grid | GridChoice") -> "GridChoice":
        """Return the choice that allows one grid only, or the choice itself."""
        return grid if isinstance(grid, cls) else cls(grid.metre, grid.steps_per_beat, grid.bars_per_phrase)

    def grid(self, metre: str = "4/4", steps_per_quarter: int = 4) -> Grid:
        """Return the grid of a part.

        Args:
            metre: of the part, where every one is read.
            steps_per_quarter: that fit the playing. A metre whose beat they do not divide has sixteenths.
        """
        metre = self.metre or metre
        unit = Grid.of_metre(metre, 1).beat_unit
        fitting, rest = divmod(4 * steps_per_quarter, unit)
        if rest or not fitting:
            fitting = max(16 // unit, 1)
        return Grid.of_metre(metre, self.steps_per_beat or fitting, self.bars_per_phrase)


def check_metre(grid: Grid, expected: Grid, what: str) -> None:
    """Raise if the bars of `grid`, on which `what` stands, are not those of `expected`, the grid of the model.

    Raises:
        HypermeterError: another metre, or another number of steps in a bar.
    """
    if (grid.metre, grid.steps_per_bar) != (expected.metre, expected.steps_per_bar):
        raise HypermeterError(
            f"{what} in {grid.metre}, {grid.steps_per_bar} steps a bar; the model plays {expected.metre},"
            f" {expected.steps_per_bar} steps a bar; use a {what} or a model in the same metre"
        )

"""The metrical grid."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from hypermeter.core.errors import HypermeterError


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
            if not isinstance(value, int) or value < 1:
                raise HypermeterError(f"grid: {name} is {value!r}, expected a whole number of at least 1")
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

    @classmethod
    def of_metre(cls, metre: str = "4/4", steps_per_beat: int = 4, bars_per_phrase: int = 4) -> "Grid":
        """Return the grid of a time signature, written beats/unit.

        Raises:
            HypermeterError: another form, or a number out of range.
        """
        beats, slash, unit = metre.partition("/")
        if not (slash and beats.isascii() and unit.isascii() and beats.isdigit() and unit.isdigit()):
            raise HypermeterError(f"metre is {metre!r}, expected beats/unit, such as 4/4")
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
        if unknown := set(values).difference(names):
            raise HypermeterError(f"grid: unknown field {min(unknown)!r}, expected {', '.join(names)}")
        return cls(**values)


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

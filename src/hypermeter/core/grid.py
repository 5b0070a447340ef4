"""The metrical grid."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hypermeter.core.errors import HypermeterError


@dataclass(frozen=True)
class Grid:
    """A metre and how finely it is cut.

    The default is 4/4 in sixteenths, phrases of four bars. 6/8 in sixteenths is
    ``Grid(steps_per_beat=2, beats_per_bar=6, beat_unit=8)``; 4/4 in eighth triplets is ``Grid(steps_per_beat=3)``.
    """

    steps_per_beat: int = 4
    beats_per_bar: int = 4
    bars_per_phrase: int = 4
    beat_unit: int = 4
    """The note value of a beat, as below the line of a time signature."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, int) or value < 1:
                raise HypermeterError(f"grid: {each.name} is {value!r}, expected a whole number of at least 1")
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
        """Steps in a quarter note, the unit of tempo and of MIDI ticks."""
        return self.steps_per_beat * self.beat_unit / 4

    @property
    def metre(self) -> str:
        return f"{self.beats_per_bar}/{self.beat_unit}"

    @classmethod
    def of_metre(cls, metre: str = "4/4", steps_per_beat: int = 4, bars_per_phrase: int = 4) -> "Grid":
        """From a time signature as people write it, beats/unit.

        Raises:
            HypermeterError: not of that form, or a number out of range.
        """
        beats, slash, unit = metre.partition("/")
        if not (slash and beats.isascii() and unit.isascii() and beats.isdigit() and unit.isdigit()):
            raise HypermeterError(f"metre is {metre!r}, expected beats/unit, as 4/4")
        return cls(steps_per_beat, int(beats), bars_per_phrase, int(unit))

    def to_dict(self) -> dict[str, int]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Grid":
        """The grid that ``to_dict`` wrote; a field left out has its default.

        Raises:
            HypermeterError: an unknown field, or a number out of range.
        """
        unknown = set(values) - {each.name for each in fields(cls)}
        if unknown:
            expected = ", ".join(each.name for each in fields(cls))
            raise HypermeterError(f"grid: unknown field {sorted(unknown)[0]!r}, expected {expected}")
        return cls(**values)


def check_metre(found: Grid, wanted: Grid, what: str) -> None:
    """Refuses ``what``, which is on another grid than that of the model that is to hear it."""
    if (found.metre, found.steps_per_bar) != (wanted.metre, wanted.steps_per_bar):
        raise HypermeterError(
            f"{what} in {found.metre}, {found.steps_per_bar} steps a bar; the model plays {wanted.metre},"
            f" {wanted.steps_per_bar} steps a bar; use a {what} or a model in the same metre"
        )

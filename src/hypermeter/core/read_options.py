"""What of a MIDI file is read, as one value that passes from every command to the reader."""

from dataclasses import dataclass
from typing import Literal, get_args

from hypermeter.core.errors import HypermeterError

TempoMap = Literal["keep", "flatten"]
Shift = Literal["find", "keep"]


@dataclass(frozen=True)
class ReadOptions:
    """How the drums of a MIDI file are found and placed on the grid.

    Args:
        channel: MIDI channel with the drums, 1 to 16; else it is found.
        track: name or number of the track with the drums, likewise.
        tempo_map: keep cuts where the tempo changes; flatten follows the beats in one mean tempo.
        shift: find chooses steps on the player's own grid; keep on that of the file.
        map: device of the pitches, as td17 or superior3, or auto.

    Raises:
        HypermeterError: a channel outside 1 to 16, or another word for `tempo_map` or `shift`.
    """

    channel: int | None = None
    track: str | None = None
    tempo_map: TempoMap = "keep"
    shift: Shift = "find"
    map: str | None = None

    def __post_init__(self) -> None:
        if self.channel is not None and not 1 <= self.channel <= 16:
            raise HypermeterError(f"channel is {self.channel}, expected 1 to 16")
        for name, value, choices in (
            ("tempo_map", self.tempo_map, get_args(TempoMap)),
            ("shift", self.shift, get_args(Shift)),
        ):
            if value not in choices:
                raise HypermeterError(f"{name} is {value!r}, expected {' or '.join(choices)}")

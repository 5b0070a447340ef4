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
        channel: 1 to 16, the MIDI channel with the drums; left out, it is found.
        track: name, or number from 1, of the MIDI track with the drums; left out, it is found.
        tempo_map: keep cuts the music where the tempo changes; flatten follows the bars and beats of the file's tempo
            map as one piece in its mean tempo, for the recorded performance of a band.
        shift: find takes the steady shift of the playing out before steps are chosen; keep chooses them on the grid of
            the file.
        map: the pitches of a device or instrument, as td17 or superior3, or auto; left out, those of the kit.

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

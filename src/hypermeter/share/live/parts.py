"""Parts of a song as they are asked for, drawn and sent: jobs, units and notes."""

from dataclasses import dataclass, replace
from typing import Any

from hypermeter.share.live.asking import Settings


@dataclass(frozen=True)
class Note:
    """A hit: where it stands in steps of the song, swing and timing of its own in it; and what is sent."""

    at: float
    pitch: int
    velocity: int


@dataclass
class Unit:
    """A part of the song that was drawn: ``notes`` by time, of which ``sent`` went out."""

    start: int
    steps: int
    notes: list[Note]
    before: Any
    after: Any
    settings: Settings
    is_fill: bool | None
    sent: int = 0
    is_heard: bool = False

    @property
    def end(self) -> int:
        return self.start + self.steps

    def again(self) -> "Unit":
        """As it was before any of it sounded."""
        return replace(self, sent=0, is_heard=False)


@dataclass
class Job:
    """A unit that is being drawn; ``redraws`` where it takes the place of another."""

    start: int
    steps: int
    before: Any
    settings: Settings
    is_fill: bool | None
    redraws: bool
    is_wanted: bool = True

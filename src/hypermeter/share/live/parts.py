"""Parts of a song: asked for, sampled, and sent as notes."""

from dataclasses import dataclass, replace
from typing import Any

from hypermeter.share.live.conditions import LiveSettings


@dataclass(frozen=True)
class Note:
    """A note that is sent at `at`, in steps of the song, with swing and offset in it; velocity from 1 to 127."""

    at: float
    pitch: int
    velocity: int


@dataclass
class SampledPassage:
    """A part of the song that was sampled; `notes` in order of time, of which `sent` went out."""

    start: int
    steps: int
    notes: list[Note]
    before: Any
    after: Any
    settings: LiveSettings
    is_fill: bool | None
    sent: int = 0

    @property
    def end(self) -> int:
        return self.start + self.steps

    def unsent(self) -> "SampledPassage":
        """Return it as it was before any note went out."""
        return replace(self, sent=0)


@dataclass
class SamplingJob:
    """A part that is being sampled; `is_again` if it replaces one that was sampled under older settings."""

    start: int
    steps: int
    before: Any
    settings: LiveSettings
    is_fill: bool | None
    is_again: bool
    is_wanted: bool = True

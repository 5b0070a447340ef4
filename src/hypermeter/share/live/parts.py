"""Parts of a song: a bar or a step that is being sampled, was sampled, or is sent as notes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from hypermeter.core.kit import Kit
from hypermeter.core.swing import apply_swing
from hypermeter.share.live.conditions import LiveSettings


class PassageSampler(Protocol):
    """What `Sampler` and `SamplerProcess` have in common."""

    def sample(
        self, state: Any, steps: int, settings: LiveSettings, row: Any, tempo_bpm: float, heard: Any = None, /
    ) -> Any: ...


@dataclass(frozen=True)
class Note:
    """A note of a hit at a step of the song.

    Args:
        at: position at which it is sent, in steps of the song, with swing and offset in it.
        step: of the hit.
        pitch: MIDI pitch.
        velocity: from 1 to 127.
    """

    at: float
    step: int
    pitch: int
    velocity: int


@dataclass
class SamplingJob:
    """A part that is being sampled.

    Args:
        start: first step.
        steps: length.
        before: state before it.
        settings: that it is sampled with.
        is_fill: whether it is planned as a fill; `None` leaves it to the script.
        is_again: whether it replaces a part that exists.
        is_wanted: False once the song goes on at another position.
    """

    start: int
    steps: int
    before: Any
    settings: LiveSettings
    is_fill: bool | None
    is_again: bool
    is_wanted: bool = True


@dataclass
class SampledPassage:
    """A part that was sampled.

    Args:
        start, steps, before, settings, is_fill: those of its job.
        notes: in order of time, of which `sent` went out.
        after: state after it.
        sent: number of notes that went out.
        is_stand_in: whether it was sampled for another position, and sounds here only if there is no time to sample
            this position.
    """

    start: int
    steps: int
    notes: list[Note]
    before: Any
    after: Any
    settings: LiveSettings
    is_fill: bool | None
    sent: int = 0
    is_stand_in: bool = False

    @property
    def end(self) -> int:
        return self.start + self.steps

    @property
    def is_sent(self) -> bool:
        """Whether all notes went out."""
        return self.sent == len(self.notes)

    def unsent(self) -> "SampledPassage":
        """Return it as it was before any note went out."""
        return replace(self, sent=0)

    def moved(self, steps: int, sent: int) -> "SampledPassage":
        """Return it so many steps later, where it stands in for what is not sampled yet, with notes that went out."""
        notes = [replace(note, at=note.at + steps, step=note.step + steps) for note in self.notes]
        return replace(self, start=self.start + steps, notes=notes, sent=sent, is_stand_in=True)

    def rewind(self, step: float) -> None:
        """Let the hits from a step on be sent next, whether they went out before or not."""
        places = (place for place, note in enumerate(self.notes) if note.step >= step)
        self.sent = next(places, len(self.notes))


NO_BAR = -1
"""Bar of a fill that was played before a jump."""


@dataclass
class OneFill:
    """A fill that is played once; `bar` is the bar that was sampled as the fill, `None` as long as none was."""

    bar: int | None = None

    def is_in(self, bar: int) -> bool:
        """Return whether a bar is the fill: the next one that is sampled, and later none."""
        return self.bar is None or bar == self.bar

    def jump(self, bar: int, fill_bar: int | None) -> None:
        """Keep a fill that sounded from being played again, and let one that did not be played after the jump.

        Args:
            bar: that is left.
            fill_bar: after the jump, that a fill which was sampled stands in for; `None` if there is none.
        """
        if self.bar is not None:
            self.bar = NO_BAR if self.bar <= bar else fill_bar


def notes_of(hits: Any, job: SamplingJob, kit: Kit, swing_pair: int) -> list[Note]:
    """Return the hits of a sampled `Passage`, and their further strokes, as notes in order of time.

    Args:
        hits: the passage.
        job: gives the position, and the swing.
        kit: gives the pitches.
        swing_pair: steps of the pairs that swing, see `apply_swing`.
    """
    cells = hits.hits[:, : kit.num_voices].nonzero()
    further = hits.strokes
    steps, voices = np.append(cells[0], further.step), np.append(cells[1], further.voice)
    offset, velocity = np.append(hits.offset[cells], further.offset), np.append(hits.velocity[cells], further.velocity)
    positions = apply_swing(job.start + steps + offset, job.settings.swing, swing_pair)
    velocities = np.clip(np.rint(127 * velocity.astype(np.float64)), 1, 127).astype(int)
    pitches = [kit.voices[voice].write for voice in voices]
    notes = map(Note, positions.tolist(), (job.start + steps).tolist(), pitches, velocities.tolist())
    return sorted(notes, key=lambda note: note.at)


def parts_from(parts: Sequence[SampledPassage], start: int) -> list[SampledPassage]:
    """Return the parts that follow one another without a gap from a step on."""
    following: list[SampledPassage] = []
    for part in parts:
        if part.start == (following[-1].end if following else start):
            following.append(part)
    return following

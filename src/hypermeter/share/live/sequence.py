"""The part of a song that was sampled: what is sent next, where sampling goes on, and what a jump needs."""

import math
from typing import Any

from hypermeter.share.live.parts import SampledPassage, parts_from

KEPT_STATES = 4
"""Number of bar lines whose states are kept."""


class PartSequence:
    """Parts in order, and the states around them.

    Args:
        first: state before the song.
        steps_per_bar: of the grid.
        ahead_steps: length of a part.
    """

    def __init__(self, first: Any, steps_per_bar: int, ahead_steps: int):
        self._first, self._steps_per_bar, self._ahead_steps = first, steps_per_bar, ahead_steps
        self.parts: list[SampledPassage] = []
        """Parts of the current bar, and those after it."""
        self.next_step, self.state = 0, first
        """Step to sample next, and the state before it."""
        self.first_step = 0
        """First step of the song, or the step of the last jump."""
        self._opening: list[SampledPassage] = []
        self._states: dict[int, Any] = {0: first}

    def add(self, part: SampledPassage) -> None:
        """Append a part; it replaces the one with its start and those after it."""
        self.parts = [older for older in self.parts if older.start < part.start] + [part]
        self.next_step, self.state = part.end, part.after
        if part.start % self._steps_per_bar == 0:
            self._states[part.start] = part.before
            for start in sorted(self._states)[:-KEPT_STATES]:
                del self._states[start]

    def keep_for_start(self, part: SampledPassage) -> None:
        """Keep one of the first two parts, so that the song can begin again at once."""
        if part.start <= self._ahead_steps and self.first_step == 0:
            self._opening = [older for older in self._opening if older.start < part.start] + [part.unsent()]

    def find(self, start: int) -> SampledPassage | None:
        """Return the part that begins at a step."""
        return next((part for part in self.parts if part.start == start), None)

    def drop_before(self, bar: int) -> None:
        """Drop the parts of the bars before a bar whose notes went out, but for the last one."""
        while len(self.parts) > 1 and self.parts[0].is_sent and self.parts[0].end <= bar * self._steps_per_bar:
            del self.parts[0]

    def restart(self) -> None:
        """Go to the beginning, whose first parts were kept."""
        self.first_step, self.next_step, self.state = 0, 0, self._first
        self.parts, self._states = [], {0: self._first}
        for part in self._opening:
            self.add(part.unsent())

    def jump(self, here: float, target: int, skips_bar: bool, is_seamless: bool) -> None:
        """Go to a bar line: the music goes on from the state before the current bar, as if this had not been played.

        The parts that were sampled from that state stand in for those of the new position, until these are sampled.

        Args:
            here: position that is left, in steps.
            target: step of the bar line.
            skips_bar: whether the current bar must not sound again: then it stays in the state, if there is a bar
                after it.
            is_seamless: whether the hits ahead of the beat that went out before the jump belong to the bar after it.
        """
        size = self._steps_per_bar
        line = math.floor(here / size) * size
        line = max((start for start in self._states if start <= line), default=min(self._states))
        if skips_bar and line + size in self._states:
            line += size
        ready = [part for part in parts_from(self.parts, line) if part.start < line + size]
        self.first_step = self.next_step = target
        self.state = self._states[line]
        self.parts, self._states = [], {target: self.state}
        for part in ready:
            self.add(part.moved(target - line, part.sent if is_seamless and part.start >= here else 0))

    def rewind(self, step: float) -> None:
        """Send the hits from a step on next: some of them again, or some before it not at all."""
        for part in self.parts:
            part.rewind(step)

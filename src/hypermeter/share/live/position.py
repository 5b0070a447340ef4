"""Where in the song one is: steps from its beginning as a function of time, by one's own tempo or by a MIDI clock.

Steps are those of the grid. ``position(now)`` and ``time_of(step)`` are each other's inverse as long as nothing changes
the tempo, and ``time_of`` is asked again after every change.
"""

import math
from collections import deque

TICKS_PER_QUARTER = 24
"""Of MIDI clock."""

TICKS_PER_SONG_POSITION = 6
"""Song positions count sixteenths."""

WINDOW_TICKS = 48
"""Ticks that a followed tempo is read from: two quarters."""

OFF_BY_TICKS = 0.3
"""A tick this far from where it was expected is a stray: held up on its way, or of another tempo."""

MOST_STRAYS = 3
"""So many in a row, each as far off as the one before or further, are of another tempo: ticks before are forgotten."""

QUICKEST_TICK_S = 0.004
"""Of 625 bpm. Ticks that were held up come together, and tell no tempo."""

FREEWHEEL_TICKS = 1.5
"""How far one goes on beyond the last tick: a master that falls silent stops the music."""

SLOWEST_TICK_S = 0.15
"""Ticks further apart than at 17 bpm tell no tempo."""


class OwnTempo:
    """Position by a tempo that can be changed.

    Args:
        tempo_bpm: quarter notes a minute.
        steps_per_quarter: of the grid.
    """

    is_followed = False

    def __init__(self, tempo_bpm: float, steps_per_quarter: float):
        self.tempo_bpm, self._steps_per_quarter = tempo_bpm, steps_per_quarter
        self._step, self._since = 0.0, math.inf

    @property
    def step_s(self) -> float:
        """Seconds that a step takes."""
        return 60 / self.tempo_bpm / self._steps_per_quarter

    @property
    def is_running(self) -> bool:
        return self._since < math.inf

    def start(self, when: float) -> None:
        """From the first step at that time."""
        self._step, self._since = 0.0, when

    def change_tempo(self, tempo_bpm: float, now: float) -> None:
        """Go on from here at another tempo."""
        if self.is_running and now > self._since:
            self._step, self._since = self.position(now), now
        self.tempo_bpm = tempo_bpm

    def position(self, now: float) -> float:
        """Below 0 before the start."""
        return self._step + (now - self._since) / self.step_s

    def time_of(self, step: float) -> float:
        return self._since + (step - self._step) * self.step_s


class FollowedTempo:
    """Position by the ticks of a MIDI clock, each of which is a 24th of a quarter.

    Ticks come with jitter. The line that fits the last WINDOW_TICKS of them tells the tempo, and where one is between
    ticks. Ticks that come while the master stands still tell the tempo too.

    Args:
        tempo_bpm: until ticks tell another.
        steps_per_quarter: of the grid.
    """

    is_followed = True

    def __init__(self, tempo_bpm: float, steps_per_quarter: float):
        self.steps_per_tick = steps_per_quarter / TICKS_PER_QUARTER
        self.is_running = False
        self._waits_for_tick = True
        self._ticks: deque[tuple[int, float]] = deque(maxlen=WINDOW_TICKS)  # number and time
        self._strays: list[tuple[int, float, float]] = []  # and how far off
        self._number = 0  # of the next tick, whether running or not
        self._first = 0  # the number at which the song's step 0 stands, or would stand
        self._tick_s, self._at = 60 / tempo_bpm / TICKS_PER_QUARTER, math.nan  # the line: its slope, and time of tick 0
        self._seen_s = 0.0  # when the last tick came

    @property
    def tempo_bpm(self) -> float:
        return 60 / self._tick_s / TICKS_PER_QUARTER

    @property
    def step_s(self) -> float:
        return self._tick_s / self.steps_per_tick

    @property
    def next_step(self) -> float:
        """Where the next tick stands."""
        return (self._number - self._first) * self.steps_per_tick

    def start(self) -> None:
        """The next tick is step 0."""
        self.is_running = self._waits_for_tick = True
        self._first = self._number

    def go_on(self) -> None:
        """The next tick is where one stopped, or where ``jump`` led."""
        self.is_running = self._waits_for_tick = True

    def stop(self) -> None:
        """Ticks no longer move the position."""
        self.is_running = False

    def jump(self, step: float) -> None:
        """The next tick is that step."""
        self._waits_for_tick = True
        self._first = self._number - round(step / self.steps_per_tick)

    def tick(self, when: float) -> None:
        """A tick came at that time, in seconds."""
        gap = when - self._seen_s
        number, self._seen_s = self._number, when
        self._number += 1
        if not self.is_running:  # the song does not move, so that it stands at another tick now
            self._first += 1
        else:
            self._waits_for_tick = False
        if gap > SLOWEST_TICK_S:
            self._ticks.clear()
            self._strays.clear()
        off = abs(when - self._at - number * self._tick_s)
        if len(self._ticks) > 2 and off > OFF_BY_TICKS * self._tick_s:
            if self._strays and off < self._strays[-1][2]:
                self._strays.clear()
            self._strays.append((number, when, off))
            if len(self._strays) < MOST_STRAYS:
                return
            self._ticks.clear()
            self._ticks.extend(each[:2] for each in self._strays)
        else:
            self._ticks.append((number, when))
        self._strays.clear()
        self._fit()

    def _fit(self) -> None:
        size = len(self._ticks)
        mean_number = sum(number for number, _ in self._ticks) / size
        mean_time = sum(when for _, when in self._ticks) / size
        spread = sum((number - mean_number) ** 2 for number, _ in self._ticks)
        if spread:
            together = sum((number - mean_number) * (when - mean_time) for number, when in self._ticks)
            self._tick_s = max(together / spread, QUICKEST_TICK_S)
        self._at = mean_time - mean_number * self._tick_s

    def position(self, now: float) -> float:
        """Where one is, never FREEWHEEL_TICKS beyond the last tick; -infinity where only a tick can tell."""
        last = self._number - 1
        if self._waits_for_tick:
            return -math.inf
        number = min((now - self._at) / self._tick_s, last + FREEWHEEL_TICKS)
        return (max(number, last) - self._first) * self.steps_per_tick

    def time_of(self, step: float) -> float:
        """When that step will be if the tempo stays; infinity where only another tick can tell."""
        number = step / self.steps_per_tick + self._first
        if not self.is_running or self._waits_for_tick or number > self._number - 1 + FREEWHEEL_TICKS:
            return math.inf
        return self._at + number * self._tick_s

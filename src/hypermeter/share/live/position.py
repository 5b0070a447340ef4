"""Position in the song as a function of time, in steps from its beginning: by a tempo, or by a MIDI clock.

`position(now)` and `time_of(step)` are inverse to each other until the tempo changes; `time_of` is called again after
every change.
"""

import math
from collections import deque

TICKS_PER_QUARTER = 24
"""Ticks of MIDI clock in a quarter note."""

TICKS_PER_SONG_POSITION = 6
"""Song positions count sixteenths."""

WINDOW_TICKS = 48
"""Ticks from which the tempo of a MIDI clock is estimated: two quarter notes."""

MAX_DEVIATION_TICKS = 0.3
"""A tick further from its expected time is an outlier: delayed, or of another tempo."""

MAX_OUTLIERS = 3
"""After so many outliers in a row, none nearer than the one before, the tempo is estimated from them alone."""

MIN_TICK_S = 0.004
"""Least time between ticks, that of 625 bpm. Ticks that arrive together after a delay show no tempo."""

FREEWHEEL_TICKS = 1.5
"""Ticks by which the position runs on after the last one: the music stops when the clock does."""

MAX_TICK_S = 0.15
"""Greatest time between ticks, that of 17 bpm; further apart, they show no tempo."""


class OwnTempo:
    """Position by a tempo that can be changed.

    Args:
        tempo_bpm: quarter notes a minute.
        steps_per_quarter: of the grid.
    """

    is_followed = False
    known_s = -math.inf
    """Time since which the position is known."""

    def __init__(self, tempo_bpm: float, steps_per_quarter: float):
        self.tempo_bpm, self.steps_per_quarter = tempo_bpm, steps_per_quarter
        self._step, self._since = 0.0, math.inf
        self.keeps_changes = False
        """Whether `changes` holds all changes; they take memory as long as it plays, and only a file needs them."""
        self.changes: list[tuple[float, float, float]] = []
        """Time in seconds, position in steps and tempo from there on, since the start."""

    @property
    def step_s(self) -> float:
        """Duration of a step in seconds."""
        return 60 / self.tempo_bpm / self.steps_per_quarter

    @property
    def is_running(self) -> bool:
        return self._since < math.inf

    def start(self, when: float) -> None:
        """Begin with step 0 at the time `when`."""
        self._step, self._since = 0.0, when
        self.changes = [(when, 0.0, self.tempo_bpm)]

    def change_tempo(self, tempo_bpm: float, now: float) -> None:
        """Continue from the position at `now` at another tempo."""
        if self.is_running and now > self._since:
            self._step, self._since = self.position(now), now
        self.tempo_bpm = tempo_bpm
        if self.keeps_changes:
            self.changes.append((self._since, self._step, tempo_bpm))

    def position(self, now: float) -> float:
        """Return the position in steps; negative before the start."""
        return self._step + (now - self._since) / self.step_s

    def time_of(self, step: float) -> float:
        """Return the time of a step, in seconds; infinity before `start`."""
        return self._since + (step - self._step) * self.step_s


class FollowedTempo:
    """Position by the ticks of a MIDI clock, each a 24th of a quarter note.

    Ticks arrive with jitter: a line fitted to the last WINDOW_TICKS of them gives the tempo, and the position between
    ticks. Ticks count for the tempo also while the clock is stopped.

    Args:
        tempo_bpm: until ticks give another.
        steps_per_quarter: of the grid.
    """

    is_followed = True

    def __init__(self, tempo_bpm: float, steps_per_quarter: float):
        self.steps_per_quarter = steps_per_quarter
        self.steps_per_tick = steps_per_quarter / TICKS_PER_QUARTER
        self.is_running = False
        self._waits_for_tick = True
        self._ticks: deque[tuple[int, float]] = deque(maxlen=WINDOW_TICKS)  # number and time
        self._outliers: list[tuple[int, float, float]] = []  # number, time and deviation
        self._number = 0  # of the next tick, also while stopped
        self._first = 0  # number of the tick at step 0 of the song
        self._tick_s, self._at = 60 / tempo_bpm / TICKS_PER_QUARTER, math.nan  # slope of the line, time of tick 0
        self._last_s = 0.0  # time of the last tick
        self.known_s = -math.inf
        """Time since which the position is known: that of the first tick after a start, a stop or a jump."""
        self.keeps_changes = False
        """As that of `OwnTempo`."""
        self.changes: list[tuple[float, float, float]] = []
        """Time in seconds, position in steps and tempo, at each quarter note and wherever the clock began to run."""

    @property
    def tempo_bpm(self) -> float:
        return 60 / self._tick_s / TICKS_PER_QUARTER

    @property
    def step_s(self) -> float:
        return self._tick_s / self.steps_per_tick

    @property
    def next_step(self) -> float:
        """Position of the next tick."""
        return (self._number - self._first) * self.steps_per_tick

    def start(self) -> None:
        """Take the next tick as step 0."""
        self.is_running = self._waits_for_tick = True
        self._first = self._number

    def resume(self) -> None:
        """Take the next tick as the position of `stop`, or of `jump` since then; no effect while it runs."""
        if not self.is_running:
            self.is_running = self._waits_for_tick = True

    def stop(self) -> None:
        """Keep the position from now on."""
        self.is_running = False

    def jump(self, step: float) -> None:
        """Take the next tick as that step."""
        self._waits_for_tick = True
        self._first = self._number - round(step / self.steps_per_tick)

    def tick(self, when: float) -> None:
        """Take a tick that arrived at the time `when`, in seconds."""
        number = self._number
        self._number += 1
        self._estimate(number, when)
        if not self.is_running:  # the position stays, and is that of another tick now
            self._first += 1
            return
        if self.keeps_changes and (self._waits_for_tick or (number - self._first) % TICKS_PER_QUARTER == 0):
            position = (number - self._first) * self.steps_per_tick
            self.changes.append((self._at + number * self._tick_s, position, self.tempo_bpm))
        if self._waits_for_tick:
            self.known_s = when
        self._waits_for_tick = False

    def _estimate(self, number: int, when: float) -> None:
        """Follow the tempo of a tick, unless it is an outlier."""
        gap, self._last_s = when - self._last_s, when
        if gap > MAX_TICK_S:
            self._ticks.clear()
            self._outliers.clear()
        deviation = abs(when - self._at - number * self._tick_s)
        if len(self._ticks) > 2 and deviation > MAX_DEVIATION_TICKS * self._tick_s:
            if self._outliers and deviation < self._outliers[-1][2]:
                self._outliers.clear()
            self._outliers.append((number, when, deviation))
            if len(self._outliers) < MAX_OUTLIERS:
                return
            self._ticks.clear()
            self._ticks.extend(outlier[:2] for outlier in self._outliers)
        else:
            self._ticks.append((number, when))
        self._outliers.clear()
        self._fit()

    def _fit(self) -> None:
        """Fit the line by least squares."""
        size = len(self._ticks)
        mean_number = sum(number for number, _ in self._ticks) / size
        mean_time = sum(when for _, when in self._ticks) / size
        variance = sum((number - mean_number) ** 2 for number, _ in self._ticks)
        if variance:
            covariance = sum((number - mean_number) * (when - mean_time) for number, when in self._ticks)
            self._tick_s = max(covariance / variance, MIN_TICK_S)
        self._at = mean_time - mean_number * self._tick_s

    def position(self, now: float) -> float:
        """Return the position, at most FREEWHEEL_TICKS after the last tick; -infinity until a tick fixes it."""
        last = self._number - 1
        if self._waits_for_tick:
            return -math.inf
        number = min((now - self._at) / self._tick_s, last + FREEWHEEL_TICKS)
        return (max(number, last) - self._first) * self.steps_per_tick

    def time_of(self, step: float) -> float:
        """Return the time of a step if the tempo stays; infinity if it depends on another tick."""
        number = step / self.steps_per_tick + self._first
        if not self.is_running or self._waits_for_tick or number > self._number - 1 + FREEWHEEL_TICKS:
            return math.inf
        return self._at + number * self._tick_s

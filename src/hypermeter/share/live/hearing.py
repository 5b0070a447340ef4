"""What is played on an input, as a rhythm on the grid of the drums that answer it.

A note counts for the step that it is nearest to, and is answered a bar later, at the same place. `Heard` depends on
nothing but the positions of the notes, in ticks, so that recorded input gives the music again.
"""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.grid import Grid
from hypermeter.share.live.control_map import ControlMap
from hypermeter.share.live.output import NOTE_ON
from hypermeter.share.live.position import FollowedTempo, OwnTempo

INPUT_TICKS_PER_QUARTER = 9600
"""Resolution of the positions of input, played and recorded."""

MAX_WAITING = 1024
"""Messages that wait to be taken; further ones are lost, and counted."""

BATCH = 64
"""Messages taken between two looks at the notes that are due."""

REMEMBERED = 32
"""Notes from which steady lateness is found, and whether velocities differ."""

FEWEST = 8
"""Notes before a steady lateness is taken out."""

MAX_SHIFT = 0.3
"""Greatest steady lateness, in steps, that is taken out."""

OF_LATE_BEATS = 8
"""Half-life of what was played of late; that of what is played now is a beat."""

SYSTEM = 0xF0
"""Messages from this status on belong to no channel."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Heard:
    """What some steps answer.

    Args:
        strength: (T,), in (0, 1], velocity of the tap at the same place a bar before; 0 where there is none.
        velocity, offset: (T,), of these taps; NaN where there is none, and where all taps of late have the same.
        is_played: (T,), whether there was a tap in the bar up to that place.
        energy: (T,), in [-1, 1], how much more was played just before the step than of late; 0 unless parts are single
            steps.
    """

    strength: Array
    velocity: Array
    offset: Array
    is_played: NDArray[np.bool_]
    energy: Array


@dataclass(frozen=True)
class Tap:
    """The loudest note of a step.

    Args:
        strength: in (0, 1].
        velocity: the same, NaN where all notes of late have the same.
        offset: in [-.5, .5) steps, without the steady lateness; NaN where all notes of late are on the grid.
    """

    strength: float
    velocity: float
    offset: float


def part_steps(grid: Grid, ahead: str) -> int:
    """Return the steps of a part where an input is answered: a beat, or, for "step" or bars of one beat, 1."""
    beat = grid.steps_per_beat
    return beat if ahead == "bar" and 2 * beat <= grid.steps_per_bar else 1


class Ear:
    """Takes the messages of an input: mapped ones change settings, other notes are the rhythm that is answered.

    Args:
        grid: of the model.
        ahead_steps: length of the parts that are sampled; where it is 1, what was just played counts too.
        swing_pair: steps of the pairs that swing.
        controls: the map; `None` maps nothing.
        source: position in ticks and bytes of recorded messages, in order.
        is_recording: whether to keep the messages in `recorded`.
    """

    def __init__(
        self,
        grid: Grid,
        ahead_steps: int,
        swing_pair: int = 2,
        controls: ControlMap | None = None,
        source: Sequence[tuple[int, tuple[int, ...]]] = (),
        is_recording: bool = False,
    ):
        self._ahead_steps, self._swing_pair, self._controls = ahead_steps, swing_pair, controls
        self._ticks_per_step = INPUT_TICKS_PER_QUARTER / grid.steps_per_quarter
        self._beat_steps, self._bar_steps = grid.steps_per_beat, grid.steps_per_bar
        self.lag_steps = grid.steps_per_bar * math.ceil(2 * ahead_steps / grid.steps_per_bar)
        """Steps after which a tap is answered: a bar, by when the steps that answer it are still to be sampled."""
        self._source, self._next = source, 0
        self._inbox: deque[tuple[float, tuple[int, ...]]] = deque()
        self._taps: dict[int, Tap] = {}
        self._recent: deque[tuple[float, float]] = deque(maxlen=4 * REMEMBERED)  # position and strength
        self._lateness: deque[float] = deque(maxlen=REMEMBERED)  # in steps
        self._strengths: deque[float] = deque(maxlen=REMEMBERED)
        self._is_recording = is_recording
        self.recorded: list[tuple[int, tuple[int, ...]]] = []
        """Position in ticks and bytes of each message."""
        self.notes, self.lost = 0, 0
        """Notes that were heard, and messages that came too fast to be taken."""

    def put(self, when: float, message: Sequence[int]) -> None:
        """Take a message that arrived at that time. May be called from any thread."""
        if len(message) < 2 or message[0] >= SYSTEM:
            return
        if len(self._inbox) >= MAX_WAITING:
            self.lost += 1
            return
        self._inbox.append((when, tuple(message)))

    @property
    def is_behind(self) -> bool:
        """Whether messages wait."""
        return bool(self._inbox)

    def next_time(self, tempo: OwnTempo | FollowedTempo) -> float:
        """Return the time of the next recorded message; infinity without one."""
        if self._next == len(self._source):
            return math.inf
        return tempo.time_of(self._source[self._next][0] / self._ticks_per_step)

    def take(
        self,
        now: float,
        tempo: OwnTempo | FollowedTempo,
        swing: float,
        control: Callable[[str, Sequence[Any], float], None],
    ) -> None:
        """Take the messages that wait, but no more than BATCH, and the recorded ones whose time has come.

        Args:
            now: the time.
            tempo: gives the positions.
            swing: of the drums, which the player is taken to play with.
            control: called with address, values and the time for each mapped message.
        """
        reached = tempo.position(now) * self._ticks_per_step + 0.01  # within rounding
        while self._next < len(self._source) and self._source[self._next][0] <= reached:
            ticks, message = self._source[self._next]
            self._next += 1
            self._hear(ticks, message, now, swing, control)
        for _ in range(min(BATCH, len(self._inbox))):
            when, message = self._inbox.popleft()
            position = tempo.position(when)
            is_before = position < -0.5  # before the first beat
            ticks = 0 if is_before else max(round(position * self._ticks_per_step), 0)
            self._hear(ticks, message, now, swing, control, is_before)

    def _hear(
        self,
        ticks: int,
        message: tuple[int, ...],
        now: float,
        swing: float,
        control: Callable[[str, Sequence[Any], float], None],
        is_before: bool = False,
    ) -> None:
        actions = None if self._controls is None else self._controls.actions(message)
        is_note = message[0] & SYSTEM == NOTE_ON and message[2] > 0
        if is_before and actions is None:
            return
        if self._is_recording:
            self.recorded.append((ticks, message))
        for address, values in actions or ():
            control(address, values, now)
        if actions is None and is_note:
            self._tap(_without_swing(ticks / self._ticks_per_step, swing, self._swing_pair), message[2] / 127)

    def _tap(self, position: float, strength: float) -> None:
        self.notes += 1
        shift = self._shift()
        step = math.floor(position - shift + 0.5)
        self._lateness.append(position - step)
        self._strengths.append(strength)
        self._recent.append((position, strength))
        offset = min(max(position - step - shift, -0.5), 0.499)
        has_touch = max(self._strengths) > min(self._strengths), any(self._lateness)
        tap = Tap(strength, strength if has_touch[0] else math.nan, offset if has_touch[1] else math.nan)
        if step not in self._taps or self._taps[step].strength < strength:
            self._taps[step] = tap
        for old in [old for old in self._taps if old < step - 2 * self.lag_steps]:
            del self._taps[old]

    def _shift(self) -> float:
        """Return the median lateness of the last notes: that of the way from drums to ears and hands, not a feel."""
        if len(self._lateness) < FEWEST:
            return 0.0
        return min(max(sorted(self._lateness)[len(self._lateness) // 2], -MAX_SHIFT), MAX_SHIFT)

    def heard(self, start: int, steps: int) -> Heard:
        """Return what steps from `start` on answer."""
        places = [step - self.lag_steps for step in range(start, start + steps)]
        taps = [self._taps.get(place) for place in places]
        spans = [range(place - self._bar_steps + 1, place + 1) for place in places]
        return Heard(
            np.array([0.0 if tap is None else tap.strength for tap in taps]),
            np.array([math.nan if tap is None else tap.velocity for tap in taps]),
            np.array([math.nan if tap is None else tap.offset for tap in taps]),
            np.array([any(tapped in span for tapped in self._taps) for span in spans]),
            np.array([self._energy(step) for step in range(start, start + steps)]),
        )

    def _energy(self, step: int) -> float:
        """Return how much more was played in the last beat than of late, for a bar or more.

        Only notes count that are known in any case when the step is sampled.
        """
        known = [(step - at, strength) for at, strength in self._recent if at < step - self._ahead_steps]
        if self._ahead_steps > 1 or not known:
            return 0.0
        half_life = OF_LATE_BEATS * self._beat_steps
        span = max(self._bar_steps, *(age for age, _ in known))
        weight = OF_LATE_BEATS * (1 - 2 ** (-span / half_life))
        now = sum(strength * 2 ** (-age / self._beat_steps) for age, strength in known)
        of_late = sum(strength * 2 ** (-age / half_life) for age, strength in known) / weight
        return min(max(now - of_late, -1.0), 1.0)

    def lines(self) -> list[str]:
        """Return what was heard, as lines for people."""
        lost = f"; {self.lost} messages came too fast and were left out" if self.lost else ""
        return [f"heard {self.notes} notes{lost}"]

    def forget(self, step: float) -> None:
        """Forget the rhythm, as the song goes on at another step."""
        self._taps.clear()
        self._recent.clear()
        self._next = bisect_left(self._source, step * self._ticks_per_step, key=lambda event: event[0])


def _without_swing(position: float, swing: float, pair_steps: int) -> float:
    """Return the straight position of one that swings: the inverse of `apply_swing`."""
    pair, inside = divmod(position, pair_steps)
    middle = pair_steps * swing
    late = pair_steps / 2 + (inside - middle) / (2 * (1 - swing))
    return pair * pair_steps + (inside / (2 * swing) if inside < middle else late)

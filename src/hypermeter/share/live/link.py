"""Ableton Link: tempo, phase and start of a session on the network, as the messages of a MIDI clock.

It is thus followed by the same rules. Ticks have the times that the session gives them, not those at which a thread
wakes, so that they have no jitter. The library is an extra: Link is licensed under the GPL, version 2 or later, or by
agreement with Ableton.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Literal, Protocol

from hypermeter.core.extras import needs
from hypermeter.share.live.engine import CLOCK, SONG_POSITION, START, STOP, Engine
from hypermeter.share.live.position import TICKS_PER_QUARTER, TICKS_PER_SONG_POSITION

LinkMode = Literal["tempo", "transport"]
"""What of a session is followed: tempo and phase, or start and stop too."""

JOIN_S = 1.0
"""Time to find the other members of a session before the first beat: to join them moves the phase."""

LOOK_S = 0.01
"""Longest time between looks at the session, so that its changes are seen."""

NEAR = 1e-6
"""Ticks by which a beat may fall short of its tick."""

MAX_SONG_POSITION = 2**14 - 1

Message = tuple[int, ...]


class Session(Protocol):
    """A session at one moment. Times are in seconds of its own clock, beats in quarter notes."""

    @property
    def now_s(self) -> float: ...
    @property
    def is_playing(self) -> bool: ...
    def beat_at(self, time_s: float) -> float: ...
    def time_of(self, beat: float) -> float: ...


class LinkSession:
    """A member of the Link session on the network.

    Args:
        tempo_bpm: of the session, if nobody else is in it.
        quantum: quarter notes by whose multiple beats agree: those of a bar.

    Raises:
        HypermeterError: the library is not installed.
    """

    def __init__(self, tempo_bpm: float, quantum: float):
        with needs("--link"):
            library: Any = import_module("link")
        self._link = library.Link(tempo_bpm)
        self._quantum = quantum
        self._link.startStopSyncEnabled = True
        self._link.enabled = True

    @property
    def peers(self) -> int:
        """Number of the other members."""
        return self._link.numPeers()

    @property
    def tempo_bpm(self) -> float:
        return self._link.captureAppSessionState().tempo()

    @property
    def now_s(self) -> float:
        return self._link.clock().micros() / 1e6

    @property
    def is_playing(self) -> bool:
        state = self._link.captureAppSessionState()
        return state.isPlaying() and state.timeForIsPlaying() <= self._link.clock().micros()

    def beat_at(self, time_s: float) -> float:
        return self._link.captureAppSessionState().beatAtTime(round(time_s * 1e6), self._quantum)

    def time_of(self, beat: float) -> float:
        return self._link.captureAppSessionState().timeAtBeat(beat, self._quantum) / 1e6

    def close(self) -> None:
        """Leave the session."""
        self._link.enabled = False


class LinkTicks:
    """A session as messages of a MIDI clock: ticks, and start and stop on bar lines.

    Args:
        session: that is followed.
        quantum: quarter notes in a bar.
        mode: tempo plays from the first bar line on, transport while the session plays.
        join_s: time before the first beat.
    """

    def __init__(self, session: Session, quantum: float, mode: LinkMode = "tempo", join_s: float = JOIN_S):
        self.session, self.mode = session, mode
        self._bar_ticks = round(quantum * TICKS_PER_QUARTER)
        self._begins_s = session.now_s + join_s
        self._tick = math.ceil(session.beat_at(session.now_s) * TICKS_PER_QUARTER - NEAR)
        self._is_playing, self._is_lost = False, False
        self._song_ticks = 0  # since the start

    @property
    def _is_asked(self) -> bool:
        return self.session.now_s >= self._begins_s and (self.mode == "tempo" or self.session.is_playing)

    @property
    def next_s(self) -> float:
        """Time of the next tick, by the clock of the session."""
        return self.session.time_of(self._tick / TICKS_PER_QUARTER)

    def due(self) -> Iterator[tuple[Message, float]]:
        """Yield the messages whose time has come, with their times by the clock of the session."""
        now = self.session.now_s
        if self._is_playing and not self._is_asked:
            self._is_playing = False
            yield (STOP,), now
        reached = math.floor(self.session.beat_at(now) * TICKS_PER_QUARTER + NEAR)
        if not -1 <= reached - self._tick < self._bar_ticks:  # the phase was moved, as by joining others
            self._tick, self._is_lost = reached + 1, True
            return
        while self._tick <= reached:
            when = self.session.time_of(self._tick / TICKS_PER_QUARTER)
            if self._tick % self._bar_ticks == 0:
                yield from ((message, when) for message in self._at_bar_line())
            yield (CLOCK,), when
            self._tick += 1
            self._song_ticks += self._is_playing

    def _at_bar_line(self) -> Iterator[Message]:
        """Yield what starts or places the song where a bar begins."""
        if not self._is_playing and self._is_asked:
            self._is_playing, self._is_lost, self._song_ticks = True, False, 0
            yield (START,)
        elif self._is_playing and self._is_lost:
            self._is_lost = False
            self._song_ticks = -(-self._song_ticks // self._bar_ticks) * self._bar_ticks
            place = self._song_ticks // TICKS_PER_SONG_POSITION
            if place > MAX_SONG_POSITION or self._song_ticks % TICKS_PER_SONG_POSITION:
                self._song_ticks = 0
                yield (START,)
            else:
                yield (SONG_POSITION, place % 128, place // 128)


class LinkInput:
    """Follows a session on a thread of its own.

    Args:
        session: that is followed; it is left with `close`.
        ticks: of the session.
        receive: called with each message and its time by `now`.
        now: the clock of the player, in seconds.
    """

    def __init__(
        self,
        session: LinkSession,
        ticks: LinkTicks,
        receive: Callable[[Message, float], None],
        now: Callable[[], float] = time.perf_counter,
    ):
        self._session, self._ticks, self._receive, self._now = session, ticks, receive, now
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hypermeter-link", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_closed.is_set():
            ahead_s = self._now() - self._session.now_s  # measured anew: clocks of a system drift apart
            for message, when in self._ticks.due():
                self._receive(message, when + ahead_s)
            left_s = self._ticks.next_s - self._session.now_s
            self._is_closed.wait(min(max(left_s, 0.0005), LOOK_S))

    def close(self) -> None:
        self._is_closed.set()
        self._thread.join(1)
        self._session.close()


def follow_link(engine: Engine, mode: LinkMode, tempo_bpm: float) -> LinkInput:
    """Let an engine follow the Link session on the network, until the input is closed.

    Args:
        engine: whose tempo is a `FollowedTempo`.
        mode: what of the session is followed.
        tempo_bpm: of the session, if nobody else is in it.

    Raises:
        HypermeterError: the library is not installed.
    """
    quantum = engine.grid.steps_per_bar / engine.grid.steps_per_quarter
    session = LinkSession(tempo_bpm, quantum)
    return LinkInput(session, LinkTicks(session, quantum, mode), engine.receive, engine.clock.now)

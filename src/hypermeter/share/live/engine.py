"""The player: what was drawn goes out when it is due, and what comes next is drawn meanwhile.

One loop on one thread sends, and never computes; a worker draws beside it (``clock``). Parts are a bar or a step, and
each is drawn one part ahead: while bar 4 sounds, bar 5 is there. What was drawn and has not begun is drawn again from
the same moment when a control changes, if there is time for it, so that a control is heard from the next part on.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit
from hypermeter.core.swing import apply_swing
from hypermeter.play.request import check
from hypermeter.share.live.asking import Asking, Settings, parse_control
from hypermeter.share.live.clock import Clock
from hypermeter.share.live.measure import Timing
from hypermeter.share.live.parts import Job, Note, Unit
from hypermeter.share.live.position import TICKS_PER_QUARTER, TICKS_PER_SONG_POSITION, FollowedTempo, OwnTempo

EARLIEST = 0.5
"""Steps that a hit may sound before its step."""

NOTE_STEPS = 0.5
"""How long a note is held, in steps."""

LEAD_IN_S = 0.2
"""From when the first parts are there to the first beat."""

DROP_S = 0.05
"""A note that is drawn so long after its time is left out."""

SAFETY = 1.5
"""Times the greatest cost of late: time that drawing again must leave."""

ROUNDING = 1e-6
"""Steps by which a position may fall short of where a wait for it ended."""

KEPT_MOMENTS = 4
"""Bar lines that one can go back to."""

NO_BAR = -1
"""Where the fill stands once it was played and one has jumped."""

SHOWN = ("temperature", "section", "style", "fill", "density", "offbeat")
"""Settings that the status tells."""

CLOCK, START, CONTINUE, STOP, SONG_POSITION = 0xF8, 0xFA, 0xFB, 0xFC, 0xF2
ALL_NOTES_OFF = 123


class Sink(Protocol):
    """Where MIDI messages go, as bytes."""

    def send(self, message: tuple[int, ...], when: float) -> None: ...


class Draws(Protocol):
    """`sampler.Drawer`, or what stands for it in a test."""

    def draw(self, moment: Any, steps: int, settings: Settings, row: Any, tempo_bpm: float, /) -> Any: ...


@dataclass
class Engine:
    """Plays until the song's end, or for ever; ``run`` returns then, or by ``end``.

    Args:
        drawer: draws parts.
        first: the moment to begin from.
        asking: what the model is asked.
        kit: gives the pitches.
        grid: of the model.
        sink: takes the messages.
        clock: real or simulated.
        tempo: one's own, or that of a MIDI clock.
        settings: to begin with.
        ahead_steps: of a part: a bar's, or 1.
        swing_pair: steps of the pairs that swing.
        num_bars: of the song; None is without end.
        channel: MIDI channel, from 1.
        sends_clock: whether to send MIDI clock, by one's own tempo.
        tell: is given a line about what was refused or happened.
    """

    drawer: Draws
    first: Any
    asking: Asking
    kit: Kit
    grid: Grid
    sink: Sink
    clock: Clock
    tempo: OwnTempo | FollowedTempo
    settings: Settings = field(default_factory=Settings)
    ahead_steps: int = 16
    swing_pair: int = 2
    num_bars: int | None = None
    channel: int = 10
    sends_clock: bool = False
    tell: Callable[[str], None] = lambda line: None

    def __post_init__(self) -> None:
        if self.grid.steps_per_bar % self.ahead_steps:
            raise HypermeterError(f"play: parts of {self.ahead_steps} steps in bars of {self.grid.steps_per_bar}")
        self.timing = Timing()
        self.sections: list[str] = []
        self._inbox: deque[Callable[[float], None]] = deque()
        self._units: list[Unit] = []
        self._opening: list[Unit] = []
        self._moments: dict[int, Any] = {0: self.first}
        self._next, self._moment = 0, self.first  # what is to be drawn next, and from where
        self._from = 0  # where the song begins, or was led to
        self._job: Job | None = None
        self._sounding: dict[int, float] = {}
        self._next_tick = 0
        self._changed_at: dict[int, float] = {}
        self._fill_bar: int | None = None
        self._costs_s: deque[float] = deque(maxlen=32)  # of a step, in the last parts
        self._bar = -1
        self.begun_s: float | None = None
        """When the first beat was, where one's own tempo is played."""
        self._is_ended = False
        self._last_step = math.inf if self.num_bars is None else self.num_bars * self.grid.steps_per_bar

    # ------------------------------------------------------------------ from other threads

    def receive(self, message: Sequence[int]) -> None:
        """A MIDI message that came in; clock, start, continue, stop and song position are heard."""
        when = self.clock.now()
        self._inbox.append(lambda now: self._hear(tuple(message), when))
        self.clock.wake()

    def control(self, address: str, *values: Any) -> None:
        """An OSC message that came in, see ``asking.CONTROLS``."""
        self._inbox.append(lambda now: self._change(address, values, now))
        self.clock.wake()

    def end(self) -> None:
        """End the music at once."""
        self._is_ended = True
        self.clock.wake()

    def status(self) -> str:
        """One line: where one is, what is asked, and how well time is kept. Read while it plays."""
        shown = {name: getattr(self.settings, name) for name in SHOWN}
        asked = ", ".join(f"{name} {value}" for name, value in shown.items() if value is not None)
        late = self.timing.lateness[-1000:]
        jitter = f", jitter {1e3 * float(np.std(late)):.2f} ms" if late else ""
        place = f"bar {self._bar + 1}" if self.tempo.is_running else "waits"
        return f"{place}, {self.tempo.tempo_bpm:.1f} bpm, {asked}{jitter}, left out {self.timing.dropped}"

    # ------------------------------------------------------------------ the loop

    def run(self) -> Timing:
        """Play; at the end, or when something is raised (an interrupt), all notes end and the clock is stopped."""
        try:
            while not self._is_ended:
                now = self.clock.now()
                while self._inbox:
                    self._inbox.popleft()(now)
                self._send(now)
                self._ask(now)
                if self._is_over(now):
                    break
                self.clock.wait(self._next_time(now))
        finally:
            try:
                self._silence(self.clock.now(), is_end=True)
            finally:
                self.clock.close()
        return self.timing

    def _is_over(self, now: float) -> bool:
        all_sent = not self._sounding and all(unit.sent == len(unit.notes) for unit in self._units)
        return self._next >= self._last_step and all_sent and self._has_reached(self._last_step, now)

    def _has_reached(self, step: float, now: float) -> bool:
        return self.tempo.position(now) >= step - ROUNDING

    def _next_time(self, now: float) -> float:
        times = [when for when in self._sounding.values()]
        times += [self.tempo.time_of(unit.notes[unit.sent].at) for unit in self._units if unit.sent < len(unit.notes)]
        times.append(self.tempo.time_of((self._bar + 1) * self.grid.steps_per_bar))
        if self.sends_clock and self.tempo.is_running:
            times.append(self._tick_time())
        if self._job is None and self._next < self._last_step:
            times.append(self.tempo.time_of(self._next - self.ahead_steps))
        if self._next >= self._last_step:
            times.append(self.tempo.time_of(self._last_step))
        return min((when for when in times if when > now), default=math.inf)

    # ------------------------------------------------------------------ what comes in

    def _hear(self, message: tuple[int, ...], when: float) -> None:
        if not isinstance(self.tempo, FollowedTempo):
            return
        if message[0] == CLOCK:
            self.tempo.tick(when)
        elif message[0] == START:
            self._restart(when)
            self.tempo.start()
        elif message[0] == CONTINUE:
            self.tempo.go_on()
        elif message[0] == STOP:
            self.tempo.stop()
            self._silence(when)
        elif message[0] == SONG_POSITION and len(message) == 3:
            ticks = (message[1] + 128 * message[2]) * TICKS_PER_SONG_POSITION
            self._jump(ticks * self.tempo.steps_per_tick, when)

    def _restart(self, when: float) -> None:
        """From the beginning. Its first parts were kept, so that they are there at once."""
        if self._bar < 0 and not any(unit.sent for unit in self._units) and self._from == 0:
            return
        self._silence(when)
        self._forget()
        self._from, self._units = 0, [unit.again() for unit in self._opening]
        self._next, self._moment = (self._units[-1].end, self._units[-1].after) if self._units else (0, self.first)
        self._moments = {0: self.first} | {
            unit.start: unit.before for unit in self._units if unit.start % self.grid.steps_per_bar == 0
        }
        self._fill_bar = None
        self._bar = -1

    def _jump(self, step: float, when: float) -> None:
        """To another place. What was played stays heard, but for the bar that was left; the next whole bar sounds."""
        assert isinstance(self.tempo, FollowedTempo)
        here = self.tempo.next_step
        self.tempo.jump(step)
        if step == 0:
            self._restart(when)
            return
        if abs(step - here) <= 1:  # as masters do that round where they stopped
            return
        size = self.grid.steps_per_bar
        line = math.floor(here / size) * size
        known = [place for place in self._moments if place <= line]
        moment = self._moments[max(known, default=min(self._moments))]
        self._silence(when)
        self._forget()
        if self._fill_bar is not None:  # a fill that was drawn and did not sound is asked for anew
            self._fill_bar = None if self._fill_bar > self._bar else NO_BAR
        target = math.ceil(step / size) * size
        self._from = self._next = target
        self._moment, self._moments, self._bar = moment, {target: moment}, target // size - 1

    def _forget(self) -> None:
        """What was drawn and what is being drawn is of another place."""
        self._units = []
        if self._job is not None:
            self._job.is_wanted = False

    def _change(self, address: str, values: Sequence[Any], now: float) -> None:
        try:
            name, change = parse_control(address, values)
            if name == "tempo":
                self._change_tempo(change["tempo_bpm"], now)
                return
            settings = self.settings.change(**change)
            settings.check_voices(self.kit)
            self.asking.check(settings, self.sections)
        except HypermeterError as error:
            self.tell(str(error))
            return
        if name == "section" and settings.section is not None and settings.section not in self.sections:
            self.sections.append(settings.section)
        if name == "fill":
            self._fill_bar = None
        self.settings = settings
        self._changed_at[settings.version] = now

    def _change_tempo(self, tempo_bpm: float, now: float) -> None:
        if not isinstance(self.tempo, OwnTempo):
            raise HypermeterError("tempo: that of the MIDI clock is followed; change it there")
        check("tempo_bpm", tempo_bpm)
        self.tempo.change_tempo(tempo_bpm, now)

    # ------------------------------------------------------------------ what is drawn

    def _ask(self, now: float) -> None:
        """Give the worker what is to be drawn next, or again."""
        if self._job is not None:
            return
        unit = next((each for each in self._units if self._can_redraw(each, now)), None)
        reach = max(self.tempo.position(now), self._from)
        if self._next < self._last_step and reach >= self._next - self.ahead_steps - ROUNDING:
            self._draw(self._next, self._moment, redraws=False)
        elif unit is not None:
            self._draw(unit.start, unit.before, redraws=True)

    def _can_redraw(self, unit: Unit, now: float) -> bool:
        """Whether it was drawn under other settings, and there is time to draw it again."""
        if unit.settings.version == self.settings.version or unit.sent or self._has_begun(unit.start, now):
            return False
        return self.tempo.time_of(unit.start - EARLIEST) - now > SAFETY * max(self._costs_s) * unit.steps

    def _has_begun(self, start: int, now: float) -> bool:
        """Whether a part that starts there could have sounded; while a master stands still, ``time_of`` cannot tell."""
        position = self.tempo.position(now)
        if position == -math.inf and isinstance(self.tempo, FollowedTempo):
            return start < self.tempo.next_step
        return start - EARLIEST < position

    def _draw(self, start: int, moment: Any, redraws: bool) -> None:
        bar = start // self.grid.steps_per_bar
        is_fill = self.settings.fill
        if is_fill and self._fill_bar is not None:
            is_fill = bar == self._fill_bar  # once
        tempo_bpm = self.tempo.tempo_bpm
        if self.tempo.is_followed:
            tempo_bpm = round(tempo_bpm, 1)  # that jitter of the ticks is nothing to the model
        job = Job(start, self.ahead_steps, moment, self.settings, is_fill, redraws)
        self._job = job
        settings, sections = self.settings, tuple(self.sections)

        def work() -> Any:
            row = self.asking.row(bar, settings, sections, is_fill, tempo_bpm)
            return self.drawer.draw(moment, job.steps, self.asking.guided(settings), row, tempo_bpm)

        def done(result: Any, error: BaseException | None, took_s: float) -> None:
            self._inbox.append(lambda now: self._take(job, result, error, took_s, now))

        self.clock.work(work, done)

    def _take(self, job: Job, result: Any, error: BaseException | None, took_s: float, now: float) -> None:
        """What was drawn is there."""
        self._job = None
        if error is not None:
            raise error
        self.timing.costs.append(took_s)
        self._costs_s.append(took_s / job.steps)
        if not job.is_wanted:
            return
        headroom = self.tempo.time_of(job.start - EARLIEST) - now
        part, after = result
        unit = Unit(job.start, job.steps, self._notes(part, job), job.before, after, job.settings, job.is_fill)
        if job.redraws:
            place = next((place for place, each in enumerate(self._units) if each.start == job.start), None)
            if place is None or self._units[place].sent or self._has_begun(job.start, now):
                return  # too late: it is heard as it was
            del self._units[place:]
            self.timing.redrawn += 1
        elif headroom < math.inf:
            self.timing.headroom.append(headroom)
        self._units.append(unit)
        self._next, self._moment = unit.end, after
        bar, is_line = divmod(unit.start, self.grid.steps_per_bar)
        if job.is_fill and job.settings.fill:
            self._fill_bar = bar
        if not is_line:
            self._moments[unit.start] = job.before
            for place in sorted(self._moments)[:-KEPT_MOMENTS]:
                del self._moments[place]
        if unit.start <= self.ahead_steps and self._from == 0 and self._bar <= 0:
            self._opening = [each for each in self._opening if each.start < unit.start] + [unit.again()]
        if not job.redraws and headroom < 0:
            self._drop(unit, now)
        if isinstance(self.tempo, OwnTempo) and not self.tempo.is_running and len(self._units) > 1 - self._is_short:
            self._begin(now)

    @property
    def _is_short(self) -> bool:
        """Whether the song has one part only."""
        return self._last_step <= self.ahead_steps

    def _begin(self, now: float) -> None:
        assert isinstance(self.tempo, OwnTempo)
        self.begun_s = now + LEAD_IN_S
        self.tempo.start(self.begun_s)
        if self.sends_clock:
            self.sink.send((START,), now)

    def _notes(self, part: Any, job: Job) -> list[Note]:
        steps, voices = cells = part.hits.nonzero()
        positions = apply_swing(job.start + steps + part.offset[cells], job.settings.swing, self.swing_pair)
        velocities = np.clip(np.rint(127 * part.velocity[cells].astype(np.float64)), 1, 127).astype(int)
        pitches = [self.kit.voices[voice].write for voice in voices]
        notes = map(Note, positions.tolist(), pitches, velocities.tolist())
        return sorted(notes, key=lambda note: note.at)

    def _drop(self, unit: Unit, now: float) -> None:
        """Leave out notes whose time is long past."""
        kept = [note for note in unit.notes if now - self.tempo.time_of(note.at) <= DROP_S]
        self.timing.dropped += len(unit.notes) - len(kept)
        unit.notes = kept

    # ------------------------------------------------------------------ what goes out

    def _send(self, now: float) -> None:
        """All that is due: clock first, then ends of notes, then notes."""
        if self.sends_clock and self.tempo.is_running:
            while self._tick_time() <= now:
                self.sink.send((CLOCK,), now)
                self._next_tick += 1
        for pitch in [pitch for pitch, until in self._sounding.items() if until <= now]:
            self._end_note(pitch, now)
        if not self.tempo.is_running:
            return
        position = self.tempo.position(now)
        following = (self._bar + 1) * self.grid.steps_per_bar
        if following < self._last_step and position >= following - ROUNDING:
            self._bar += 1
            self.timing.bars += 1
        for unit in self._units:
            while unit.sent < len(unit.notes):
                note = unit.notes[unit.sent]
                due = self.tempo.time_of(note.at)
                if due > now and note.at > position:
                    break
                self._play(note, now)
                unit.sent += 1
                if due < math.inf:
                    self.timing.lateness.append(now - due)
                if not unit.is_heard:
                    unit.is_heard = True
                    self._tell_delay(unit.settings.version, now)
        while len(self._units) > 1 and self._units[0].sent == len(self._units[0].notes):
            if self._units[0].end > position:
                break
            del self._units[0]

    def _tell_delay(self, version: int, now: float) -> None:
        for each in [each for each in self._changed_at if each <= version]:
            self.timing.control_delays.append(now - self._changed_at.pop(each))

    def _tick_time(self) -> float:
        return self.tempo.time_of(self._next_tick * self.grid.steps_per_quarter / TICKS_PER_QUARTER)

    def _play(self, note: Note, now: float) -> None:
        if note.pitch in self._sounding:
            self._end_note(note.pitch, now)
        self._sounding[note.pitch] = now + NOTE_STEPS * self.tempo.step_s
        self.sink.send((0x90 | self.channel - 1, note.pitch, note.velocity), now)

    def _end_note(self, pitch: int, now: float) -> None:
        del self._sounding[pitch]
        self.sink.send((0x80 | self.channel - 1, pitch, 0), now)

    def _silence(self, now: float, is_end: bool = False) -> None:
        for pitch in list(self._sounding):
            self._end_note(pitch, now)
        if is_end:
            self.sink.send((0xB0 | self.channel - 1, ALL_NOTES_OFF, 0), now)
            if self.sends_clock:
                self.sink.send((STOP,), now)

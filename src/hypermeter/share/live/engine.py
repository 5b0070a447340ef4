"""The engine of live play: it sends notes when they are due, while the next part of the music is sampled.

One loop on one thread sends and never computes; a worker samples beside it (`clock`). A part is a bar or a step, and
is sampled one part ahead: while bar 4 sounds, bar 5 exists. When a setting changes, a part that has not begun is
sampled again from the same state, if there is time, so that the change is heard from the next part on.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit
from hypermeter.play.request import check
from hypermeter.share.live.clock import Clock, DueActions
from hypermeter.share.live.conditions import LiveConditions, LiveSettings, parse_control
from hypermeter.share.live.controls import WaitingControls
from hypermeter.share.live.hearing import Ear
from hypermeter.share.live.measure import Timing
from hypermeter.share.live.output import NoteOutput, Sink
from hypermeter.share.live.parts import OneFill, PassageSampler, SampledPassage, SamplingJob, notes_of
from hypermeter.share.live.position import TICKS_PER_QUARTER, TICKS_PER_SONG_POSITION, FollowedTempo, OwnTempo
from hypermeter.share.live.sequence import PartSequence

MAX_EARLY_STEPS = 0.5
"""Steps by which a hit may sound before its step."""

NOTE_STEPS = 0.5
"""Duration of a note in steps."""

LEAD_IN_S = 0.2
"""Time from the arrival of the first parts to the first beat."""

DROP_S = 0.05
"""A note that arrives so long after its time is left out."""

SAFETY = 1.5
"""Time that sampling again must leave, as a multiple of the greatest recent cost."""

AT_ONCE = 4
"""Messages that are taken before notes that are due are sent; each takes up to a third of a millisecond."""

ROUNDING = 1e-6
"""Steps by which a position may fall short of the step that was waited for."""

CLOCK, START, CONTINUE, STOP, SONG_POSITION = 0xF8, 0xFA, 0xFB, 0xFC, 0xF2


@dataclass
class Engine:
    """Plays until the end of the song, or until `end`.

    Args:
        sampler: gives the parts of the music.
        first: state to begin from.
        conditions: give the rows of the plan.
        kit: gives the pitches.
        grid: of the model.
        sink: takes the messages.
        clock: real or simulated.
        tempo: its own, or that of a MIDI clock.
        settings: at the beginning.
        ahead_steps: length of a part: a bar, or 1.
        swing_pair: steps of the pairs that swing, see `apply_swing`.
        num_bars: of the song; `None` plays without end.
        channel: MIDI channel, from 1.
        sends_clock: whether to send MIDI clock, at its own tempo.
        ear: takes what `hear` is given, and tells what the parts answer; `None` listens to nothing.
        report: called with a line for each refused control.

    Raises:
        HypermeterError: a bar that is no multiple of `ahead_steps`.
    """

    sampler: PassageSampler
    first: Any
    conditions: LiveConditions
    kit: Kit
    grid: Grid
    sink: Sink
    clock: Clock
    tempo: OwnTempo | FollowedTempo
    settings: LiveSettings = field(default_factory=LiveSettings)
    ahead_steps: int = 16
    swing_pair: int = 2
    num_bars: int | None = None
    channel: int = 10
    sends_clock: bool = False
    ear: Ear | None = None
    report: Callable[[str], None] = lambda line: None

    def __post_init__(self) -> None:
        if self.grid.steps_per_bar % self.ahead_steps:
            raise HypermeterError(f"play: parts of {self.ahead_steps} steps in bars of {self.grid.steps_per_bar}")
        self.timing = Timing()
        self.sections: list[str] = []
        self._due, self._controls = DueActions(), WaitingControls(self.report)
        self._sequence = PartSequence(self.first, self.grid.steps_per_bar, self.ahead_steps)
        self._output = NoteOutput(self.sink, self.channel)
        self._job: SamplingJob | None = None
        self._next_tick = 0
        self._fill = OneFill()
        self._costs_s: deque[float] = deque(maxlen=32)  # per step, of the last parts
        self._bar = -1
        self._stopped_s = -math.inf  # when the clock that is followed stopped
        self.begun_s: float | None = None
        """Time of the first beat; `None` before it, and where a MIDI clock is followed."""
        self._is_ended = False
        self._last_step = math.inf if self.num_bars is None else self.num_bars * self.grid.steps_per_bar

    # ------------------------------------------------------------------ from other threads

    def receive(self, message: Sequence[int], when: float | None = None) -> None:
        """Take a MIDI message; clock, start, continue, stop and song position have an effect.

        Args:
            message: its bytes.
            when: time of what it says, if that is not the time of its arrival.
        """
        when = self.clock.now() if when is None else when
        self._post(when, lambda now: self._receive(tuple(message), when))

    def hear(self, message: Sequence[int]) -> None:
        """Take a MIDI message of the input that is answered."""
        if self.ear is not None:
            self.ear.put(self.clock.now(), message)
            self.clock.wake()

    def control(self, address: str, *values: Any, delay_s: float = 0.0) -> None:
        """Take an OSC message, see `CONTROLS`, which has its effect so many seconds from now."""
        change = partial(self._change, address, values)
        if delay_s > 0:
            self._post(self.clock.now() + delay_s, change)
        elif self._controls.put(address, values, change):
            self._post(self.clock.now(), lambda now: self._controls.call(now))

    def _post(self, when: float, action: Callable[[float], None]) -> None:
        """Call `action` with the time, on the thread of the player, at `when` or as soon as possible after it."""
        self._due.add(when, action)
        self.clock.wake()

    def end(self) -> None:
        """End the music at once."""
        self._is_ended = True
        self.clock.wake()

    @property
    def bar(self) -> int:
        """Number of the bar that sounds, from 0; -1 before the first."""
        return self._bar

    # ------------------------------------------------------------------ the loop

    def run(self) -> Timing:
        """Play; at the end, or if an error or interrupt is raised, end all notes and stop the clock."""
        try:
            while not self._is_ended:
                now = self.clock.now()
                self._due.call(now, AT_ONCE)
                if self.ear is not None:
                    self.ear.take(now, self.tempo, self.settings.swing, self._change)
                self._send(now)
                self._request(now)
                if self._is_over(now):
                    break
                self.clock.wait(self._next_time(now))
        finally:
            try:
                now = self.clock.now()
                self._output.close(now)
                if self.sends_clock:
                    self.sink.send((STOP,), now)
            finally:
                self.clock.close()
        return self.timing

    def _is_over(self, now: float) -> bool:
        all_sent = not self._output.ends and all(part.is_sent for part in self._sequence.parts)
        has_sampled_all = self._sequence.next_step >= self._last_step
        return has_sampled_all and all_sent and self.tempo.position(now) >= self._last_step - ROUNDING

    def _next_time(self, now: float) -> float:
        """Return the time of the next event, as far as it is known."""
        next_step, parts = self._sequence.next_step, self._sequence.parts
        if self._due.next_time <= now:
            return now
        times = [*self._output.ends.values(), self._due.next_time]
        if self.ear is not None:
            if self.ear.is_behind:
                return now
            times.append(self.ear.next_time(self.tempo))
        times += [self.tempo.time_of(part.notes[part.sent].at) for part in parts if not part.is_sent]
        times.append(self.tempo.time_of((self._bar + 1) * self.grid.steps_per_bar))
        if self.sends_clock and self.tempo.is_running:
            times.append(self._tick_time())
        if self._job is None and next_step < self._last_step:
            times.append(self.tempo.time_of(next_step - self.ahead_steps))
        if next_step >= self._last_step:
            times.append(self.tempo.time_of(self._last_step))
        return min((when for when in times if when > now), default=math.inf)

    # ------------------------------------------------------------------ messages

    def _receive(self, message: tuple[int, ...], when: float) -> None:
        if not isinstance(self.tempo, FollowedTempo):
            return
        if message[0] == CLOCK:
            self.tempo.tick(when)
        elif message[0] == START:
            self._restart(when)
            self.tempo.start()
        elif message[0] == CONTINUE:
            self.tempo.resume()
        elif message[0] == STOP:
            self.tempo.stop()
            self._stopped_s = when
            self._output.silence(when)
        elif message[0] == SONG_POSITION and len(message) == 3:
            ticks = (message[1] + 128 * message[2]) * TICKS_PER_SONG_POSITION
            self._jump(ticks * self.tempo.steps_per_tick, when)

    def _restart(self, when: float) -> None:
        """Go to the beginning."""
        sequence = self._sequence
        if self._bar < 0 and not any(part.sent for part in sequence.parts) and sequence.first_step == 0:
            return
        self._leave(when, 0.0)
        sequence.restart()
        self._fill, self._bar = OneFill(), -1

    def _jump(self, step: float, when: float) -> None:
        """Go to another step: the state stays that before the current bar, and the next whole bar sounds."""
        assert isinstance(self.tempo, FollowedTempo)
        here = self.tempo.next_step
        is_seamless = self.tempo.is_running or when - self._stopped_s < self.tempo.step_s
        self.tempo.jump(step)
        if step == 0:
            self._restart(when)
            return
        if abs(step - here) <= 1:  # sequencers send that near the step where they stopped
            if not is_seamless:
                self._sequence.rewind(step)
            return
        self._leave(when, step)
        size = self.grid.steps_per_bar
        bar, bar_left = math.ceil(step / size), math.floor(here / size)
        has_filled = self._fill.bar == bar_left <= self._bar
        self._sequence.jump(here, bar * size, has_filled, is_seamless)
        self._fill.jump(self._bar, bar if any(part.is_fill for part in self._sequence.parts) else None)
        self._bar = bar - 1

    def _leave(self, when: float, step: float) -> None:
        """Go to another step: end the notes that sound, and drop what is being sampled and what was heard."""
        self._output.silence(when)
        if self._job is not None:
            self._job.is_wanted = False
        if self.ear is not None:
            self.ear.forget(step)

    def _change(self, address: str, values: Sequence[Any], now: float) -> None:
        try:
            name, change = parse_control(address, values)
            if name == "tempo":
                if not isinstance(self.tempo, OwnTempo):
                    raise HypermeterError("tempo: that of a clock is followed; change it there")
                check("tempo_bpm", change["tempo_bpm"])
                self.tempo.change_tempo(change["tempo_bpm"], now)
                return
            if not change or (change.get("fill") is False and self.settings.fill):
                return  # a pad was let go: what it began stays, a fill is played once and then none
            if name == "answer" and self.ear is None:
                raise HypermeterError("answer: nothing is listened to; start with --listen PORT")
            settings = self.settings.change(**change)
            settings.check_voices(self.kit)
            self.conditions.check(settings, self.sections)
        except HypermeterError as error:
            self.report(str(error))
            return
        if name == "section" and settings.section is not None and settings.section not in self.sections:
            self.sections.append(settings.section)
        if name == "fill":
            self._fill = OneFill()
        self.settings = settings
        self.timing.change(settings.version, now)

    # ------------------------------------------------------------------ sampling

    def _request(self, now: float) -> None:
        """Give the worker the part to sample next, or again."""
        if self._job is not None:
            return
        sequence = self._sequence
        outdated = next((part for part in sequence.parts if self._can_sample_again(part, now)), None)
        reach = max(self.tempo.position(now), sequence.first_step)
        is_next_due = sequence.next_step < self._last_step and reach >= sequence.next_step - self.ahead_steps - ROUNDING
        if outdated is not None and (outdated.is_stand_in or not is_next_due):
            self._sample(outdated.start, outdated.before, is_again=True)
        elif is_next_due:
            self._sample(sequence.next_step, sequence.state, is_again=False)

    def _can_sample_again(self, part: SampledPassage, now: float) -> bool:
        """Return whether the part was sampled for other settings or another position, and there is time to do it
        again."""
        is_current = part.settings.version == self.settings.version and not part.is_stand_in
        if is_current or part.sent or self._has_begun(part.start, now):
            return False
        return self.tempo.time_of(part.start - MAX_EARLY_STEPS) - now > SAFETY * max(self._costs_s) * part.steps

    def _has_begun(self, start: int, now: float) -> bool:
        """Return whether a part with that start could have sounded; `time_of` cannot tell while a clock is stopped."""
        position = self.tempo.position(now)
        if position == -math.inf and isinstance(self.tempo, FollowedTempo):
            return start < self.tempo.next_step
        return start - MAX_EARLY_STEPS < position

    def _sample(self, start: int, state: Any, is_again: bool) -> None:
        bar = start // self.grid.steps_per_bar
        is_fill = self._fill.is_in(bar) if self.settings.fill else self.settings.fill
        tempo_bpm = self.tempo.tempo_bpm
        if self.tempo.is_followed:
            tempo_bpm = round(tempo_bpm, 1)  # the jitter of the ticks must not reach the model
        job = SamplingJob(start, self.ahead_steps, state, self.settings, is_fill, is_again)
        self._job = job
        settings, sections = self.settings, tuple(self.sections)
        heard = () if self.ear is None else (self.ear.heard(start, job.steps),)

        def work() -> Any:
            row = self.conditions.row(bar, settings, sections, is_fill, tempo_bpm)
            return self.sampler.sample(state, job.steps, self.conditions.guided(settings), row, tempo_bpm, *heard)

        def done(result: Any, error: BaseException | None, took_s: float) -> None:
            self._post(self.clock.now(), lambda now: self._take(job, result, error, took_s, now))

        self.clock.work(work, done)

    def _take(self, job: SamplingJob, result: Any, error: BaseException | None, took_s: float, now: float) -> None:
        """Take the result of a job."""
        self._job = None
        if error is not None:
            raise error
        self.timing.costs.append(took_s)
        self._costs_s.append(took_s / job.steps)
        if not job.is_wanted:
            return
        headroom = self.tempo.time_of(job.start - MAX_EARLY_STEPS) - now
        passage, after = result
        notes = notes_of(passage, job, self.kit, self.swing_pair)
        part = SampledPassage(job.start, job.steps, notes, job.before, after, job.settings, job.is_fill)
        if job.is_again:
            older = self._sequence.find(job.start)
            if older is None or older.sent or self._has_begun(job.start, now):
                return  # too late: the older one sounds
            self.timing.redrawn += 1
        elif headroom < math.inf:
            self.timing.headroom.append(headroom)
        self._sequence.add(part)
        if job.is_fill and job.settings.fill:
            self._fill.bar = part.start // self.grid.steps_per_bar
        if self._bar <= 0:
            self._sequence.keep_for_start(part)
        if not job.is_again and headroom < 0:
            self._drop_late(part, now)
        has_one_part = self._last_step <= self.ahead_steps
        is_ready = len(self._sequence.parts) > 1 or has_one_part
        if isinstance(self.tempo, OwnTempo) and not self.tempo.is_running and is_ready:
            self.begun_s = now + LEAD_IN_S
            self.tempo.start(self.begun_s)
            if self.sends_clock:
                self.sink.send((START,), now)

    def _drop_late(self, part: SampledPassage, now: float) -> None:
        """Leave out notes whose time is long past."""
        kept = [note for note in part.notes if now - self.tempo.time_of(note.at) <= DROP_S]
        self.timing.dropped += len(part.notes) - len(kept)
        part.notes = kept

    # ------------------------------------------------------------------ sending

    def _send(self, now: float) -> None:
        """Send all that is due: the clock, then ends of notes, then notes."""
        if self.sends_clock and self.tempo.is_running:
            while self._tick_time() <= now:
                self.sink.send((CLOCK,), now)
                self._next_tick += 1
        self._output.end_due(now)
        if not self.tempo.is_running:
            return
        position = self.tempo.position(now)
        following = (self._bar + 1) * self.grid.steps_per_bar
        if following < self._last_step and position >= following - ROUNDING:
            self._bar += 1
            self.timing.bars += 1
        for part in self._sequence.parts:
            while not part.is_sent:
                note = part.notes[part.sent]
                due = self.tempo.time_of(note.at)
                if due > now and note.at > position:
                    break
                self._output.play(note.pitch, note.velocity, now, now + NOTE_STEPS * self.tempo.step_s)
                part.sent += 1
                if due < math.inf:
                    # An early hit after a jump of the clock could not be sent before the tick that told the position.
                    self.timing.lateness.append(now - max(due, self.tempo.known_s))
                if part.sent == 1:
                    self.timing.measure_delay(part.settings.version, now)
        self._sequence.drop_before(self._bar)

    def _tick_time(self) -> float:
        return self.tempo.time_of(self._next_tick * self.grid.steps_per_quarter / TICKS_PER_QUARTER)

"""A MIDI file of what is played."""

import math
from bisect import bisect_right
from pathlib import Path

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.io.midi import TICKS_PER_QUARTER
from hypermeter.io.midi.events import encode_number
from hypermeter.share.live.output import NOTE_OFF, NOTE_ON
from hypermeter.share.live.position import FollowedTempo, OwnTempo

MAX_RATIO = 1.5
"""Most by which the tempo of a clock may change from one beat to the next; otherwise it stood still."""

MIN_CHANGE = 0.005
"""Smaller changes of tempo, of a clock with jitter, are not written."""


class FileSink:
    """A MIDI file of the notes that are sent, which `close` writes.

    Args:
        path: of the file.
        grid: gives the metre.
        tempo: from which times become positions; its changes are written too. Of a clock that is followed, beats are
            beats of the file, as long as it lasts: a start or a jump begins the next bar, and pauses are left out.

    Raises:
        HypermeterError: a path at which something else than a file stands.
    """

    def __init__(self, path: Path, grid: Grid, tempo: OwnTempo | FollowedTempo):
        if path.exists() and not path.is_file():
            raise HypermeterError(f"{path}: a folder, device or pipe, expected a MIDI file; choose another path")
        self.path, self._grid, self._tempo = path, grid, tempo
        tempo.keeps_changes = True
        self.sent: list[tuple[float, tuple[int, ...]]] = []
        self.num_bars = 1
        """Least number of bars, unless a clock is followed; the file ends on a bar line."""

    def send(self, message: tuple[int, ...], when: float) -> None:
        self.sent.append((when, message))

    def close(self) -> None:
        """Write the file, unless nothing was sent: a start that fails keeps the file that is there."""
        if not self.sent:
            return
        notes = [(when, message) for when, message in self.sent if message[0] & 0xF0 in (NOTE_ON, NOTE_OFF)]
        steps_per_quarter = self._tempo.steps_per_quarter
        changes, num_bars = [*self._tempo.changes] or [(0.0, 0.0, self._tempo.tempo_bpm)], self.num_bars
        if self._tempo.is_followed:
            changes = _in_one_line(changes, steps_per_quarter, self._grid.steps_per_bar)
            num_bars = max(math.ceil(changes[-1][1] / self._grid.steps_per_bar), 1)
        starts_s = [change[0] for change in changes]
        ticks_per_step = TICKS_PER_QUARTER / steps_per_quarter

        def tick_of(when: float) -> int:
            number = max(bisect_right(starts_s, when) - 1, 0)
            since, step, bpm = changes[number]
            step += (when - since) * bpm / 60 * steps_per_quarter
            if number + 1 < len(changes):
                step = min(step, changes[number + 1][1])  # where the clock stood still
            ticks = round(step * ticks_per_step, 4)  # so that half a tick is half in `write_midi` too
            return max(round(ticks), 0)

        ons = [tick_of(when) for when, message in notes if message[0] & 0xF0 == NOTE_ON]
        bar_ticks = ticks_per_step * self._grid.steps_per_bar
        end = round(max(num_bars, max(ons, default=0) // bar_ticks + 1) * bar_ticks)
        tempos = {round(step * ticks_per_step): bpm for _, step, bpm in changes}
        if self._tempo.is_followed:
            tempos = _audible(tempos)
        events = [(tick, -1, b"\xff\x51\x03" + round(6e7 / bpm).to_bytes(3, "big")) for tick, bpm in tempos.items()]
        starts: dict[int, int] = {}
        for when, message in notes:
            tick, kind, pitch = tick_of(when), message[0] & 0xF0, message[1]
            if kind == NOTE_ON:
                starts[pitch] = tick
            else:
                tick = max(min(tick, end), starts.pop(pitch, tick) + 1)
            events.append((tick, kind, bytes(message)))
        events.sort(key=lambda event: event[:2])  # at one tick, tempo, then ends of notes, then beginnings
        with atomic_write(self.path) as temporary:
            temporary.write_bytes(_midi_file(events, end, self._grid))


def _in_one_line(
    changes: list[tuple[float, float, float]], steps_per_quarter: float, steps_per_bar: int
) -> list[tuple[float, float, float]]:
    """Return time, position and tempo of a followed clock with positions that grow: after a jump, from a bar line on.

    Args:
        changes: those of `FollowedTempo`.
        steps_per_quarter, steps_per_bar: of the grid.
    """
    offset = -(changes[0][1] // steps_per_bar) * steps_per_bar  # the first bar that is played is that of the file
    line = [(changes[0][0], changes[0][1] + offset, changes[0][2])]
    for when, step, bpm in changes[1:]:
        last_when, last_step, _ = line[-1]
        if not 0 <= step + offset - last_step <= steps_per_quarter + 1:
            offset = (last_step // steps_per_bar + 1 - step // steps_per_bar) * steps_per_bar
        elif step + offset > last_step:
            quarters = (step + offset - last_step) / steps_per_quarter
            played_bpm = 60 * quarters / max(when - last_when, 1e-9)
            if bpm / MAX_RATIO < played_bpm < bpm * MAX_RATIO:  # otherwise it stood still in between
                line[-1] = last_when, last_step, played_bpm
        line.append((when, step + offset, bpm))
    return line


def _audible(tempos: dict[int, float]) -> dict[int, float]:
    """Return the tempos without those that differ from the one before by half a percent or less."""
    kept: dict[int, float] = {}
    for tick, bpm in tempos.items():
        if not kept or abs(bpm / [*kept.values()][-1] - 1) > MIN_CHANGE:
            kept[tick] = bpm
    return kept


def _midi_file(events: list[tuple[int, int, bytes]], end: int, grid: Grid) -> bytes:
    """Return a MIDI file of one track: the events (tick, kind, content), in order, up to the tick at which it ends."""
    metre = bytes([grid.beats_per_bar, grid.beat_unit.bit_length() - 1, 24, 8])
    track = b"\0\xff\x03\x05drums\0\xff\x58\x04" + metre
    before = 0
    for tick, _, content in [*events, (end, 0, b"\xff\x2f\0")]:
        track += encode_number(max(tick - before, 0)) + content
        before = tick
    header = (0).to_bytes(2, "big") + (1).to_bytes(2, "big") + TICKS_PER_QUARTER.to_bytes(2, "big")
    return b"".join(name + len(body).to_bytes(4, "big") + body for name, body in ((b"MThd", header), (b"MTrk", track)))

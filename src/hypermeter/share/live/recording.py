"""A MIDI file of what is played."""

from pathlib import Path

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.io.midi import TICKS_PER_QUARTER
from hypermeter.io.midi.events import encode_number
from hypermeter.share.live.output import NOTE_OFF, NOTE_ON
from hypermeter.share.live.position import FollowedTempo, OwnTempo


class FileSink:
    """A MIDI file of the notes that are sent, which `close` writes.

    Args:
        path: of the file.
        grid: gives the metre.
        tempo: from which times become positions; its changes are written too. A followed tempo is written as it is at
            the end, and the first note is its first beat.

    Raises:
        HypermeterError: a path at which something else than a file stands.
    """

    def __init__(self, path: Path, grid: Grid, tempo: OwnTempo | FollowedTempo):
        if path.exists() and not path.is_file():
            raise HypermeterError(f"{path}: a folder, device or pipe, expected a MIDI file; choose another path")
        self.path, self._grid, self._tempo = path, grid, tempo
        self.sent: list[tuple[float, tuple[int, ...]]] = []
        self.num_bars = 1
        """Least number of bars; the file ends on a bar line."""

    def send(self, message: tuple[int, ...], when: float) -> None:
        self.sent.append((when, message))

    def close(self) -> None:
        """Write the file, unless nothing was sent: a start that fails keeps the file that is there."""
        if not self.sent:
            return
        notes = [(when, message) for when, message in self.sent if message[0] & 0xF0 in (NOTE_ON, NOTE_OFF)]
        changes = [*self._tempo.changes] or [(notes[0][0] if notes else 0.0, 0.0, self._tempo.tempo_bpm)]
        ticks_per_step = TICKS_PER_QUARTER / self._tempo.steps_per_quarter

        def tick_of(when: float) -> int:
            since, step, bpm = next((change for change in reversed(changes) if change[0] <= when), changes[0])
            step += (when - since) * bpm / 60 * self._tempo.steps_per_quarter
            return max(
                round(round(step * ticks_per_step, 4)), 0
            )  # twice, so that half a tick is half in `write_midi` too

        ons = [tick_of(when) for when, message in notes if message[0] & 0xF0 == NOTE_ON]
        bar_ticks = ticks_per_step * self._grid.steps_per_bar
        end = round(max(self.num_bars, max(ons, default=0) // bar_ticks + 1) * bar_ticks)
        tempos = {round(step * ticks_per_step): bpm for _, step, bpm in changes}
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

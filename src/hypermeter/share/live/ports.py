"""Where messages go and come from: MIDI ports, a MIDI file, OSC."""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.io.midi import TICKS_PER_QUARTER
from hypermeter.io.midi.events import encode_number
from hypermeter.share.live.position import FollowedTempo, OwnTempo

VIRTUAL = "virtual"
NAME = "Hypermeter"
"""Name of virtual ports."""

HOW_TO_MAKE_ONE = (
    f"name {VIRTUAL} to make one (Linux, macOS), start a synthesizer or loopMIDI (Windows), or name FILE.mid"
)

_ON, _OFF = 0x90, 0x80


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
        notes = [(when, message) for when, message in self.sent if message[0] & 0xF0 in (_ON, _OFF)]
        changes = [*self._tempo.changes] or [(notes[0][0] if notes else 0.0, 0.0, self._tempo.tempo_bpm)]
        ticks_per_step = TICKS_PER_QUARTER / self._tempo.steps_per_quarter

        def tick_of(when: float) -> int:
            since, step, bpm = next((change for change in reversed(changes) if change[0] <= when), changes[0])
            step += (when - since) * bpm / 60 * self._tempo.steps_per_quarter
            return max(
                round(round(step * ticks_per_step, 4)), 0
            )  # twice, so that half a tick is half in `write_midi` too

        ons = [tick_of(when) for when, message in notes if message[0] & 0xF0 == _ON]
        bar_ticks = ticks_per_step * self._grid.steps_per_bar
        end = round(max(self.num_bars, max(ons, default=0) // bar_ticks + 1) * bar_ticks)
        tempos = {round(step * ticks_per_step): bpm for _, step, bpm in changes}
        events = [(tick, -1, b"\xff\x51\x03" + round(6e7 / bpm).to_bytes(3, "big")) for tick, bpm in tempos.items()]
        starts: dict[int, int] = {}
        for when, message in notes:
            tick, kind, pitch = tick_of(when), message[0] & 0xF0, message[1]
            if kind == _ON:
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


class PortSink:
    """A MIDI port, by mido."""

    def __init__(self, port: Any, name: str):
        import mido

        self._port, self._message, self.name = port, mido.Message, name

    def send(self, message: tuple[int, ...], when: float) -> None:
        try:
            self._port.send(self._message.from_bytes(message))
        except Exception as error:  # each backend raises its own
            raise HypermeterError(
                f"{self.name}: the MIDI port is gone ({_first_line(error)}); open it again"
            ) from error

    def close(self) -> None:
        self._port.close()


def port_names(kind: str) -> list[str]:
    """Return the names of the MIDI ports of a kind, "output" or "input"; none where the system has no MIDI."""
    import mido

    if not _has_midi():
        return []
    try:
        return list(dict.fromkeys(getattr(mido, f"get_{kind}_names")()))
    except Exception:  # of the backend: the system has no MIDI
        return []


def _has_midi() -> bool:
    """Return whether there is a device; ALSA prints lines of its own where it is missing."""
    has_backend = "MIDO_BACKEND" in os.environ
    return not sys.platform.startswith("linux") or has_backend or os.path.exists("/dev/snd/seq")


def open_output(name: str) -> PortSink:
    """Open the MIDI output of that name, else the one with it as a part of its name; `virtual` makes one.

    Raises:
        HypermeterError: no such output, more than one, or one that cannot be opened.
    """
    return PortSink(*_open("output", name))


def open_input(name: str, receive: Callable[[tuple[int, ...]], None]) -> Any:
    """Open a MIDI input, named as in `open_output`; `receive` is called with its messages, from another thread."""
    port, _ = _open("input", name, callback=lambda message: receive(tuple(message.bytes())))
    return port


def _open(kind: str, name: str, **options: Any) -> tuple[Any, str]:
    import mido

    function = getattr(mido, f"open_{kind}")
    if name == VIRTUAL:
        if not _has_midi():
            what = f"play {VIRTUAL}" if kind == "output" else f"--follow {VIRTUAL}"
            raise HypermeterError(f"{what}: no MIDI in this system (no /dev/snd/seq; modprobe snd-seq makes it)")
        chosen, options = f"{NAME} {kind}", {"virtual": True, **options}
    else:
        names = port_names(kind)
        matches = [port for port in names if port == name] or [port for port in names if name.lower() in port.lower()]
        if len(matches) != 1:
            number = "more than one" if matches else "no"
            raise HypermeterError(f"{name}: {number} MIDI {kind}; {listing(kind)}")
        chosen = matches[0]
    try:
        return function(chosen, **options), chosen
    except Exception as error:  # each backend raises its own
        raise HypermeterError(f"{chosen}: the MIDI {kind} cannot be opened ({_first_line(error)})") from error


def listing(kind: str) -> str:
    """Return a line of the names of MIDI ports of a kind, and of how to make an output."""
    names = port_names(kind)
    ports = f"{kind}s are: {', '.join(names)}" if names else f"there are no {kind}s"
    return f"{ports}; {HOW_TO_MAKE_ONE}" if kind == "output" else ports


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def listen_to_osc(host: str, port: int, control: Callable[..., None]) -> Any:
    """Start a server of OSC over UDP in a thread of its own, and return it; its `shutdown` ends it.

    Args:
        host: address that it listens on.
        port: 0 takes a free one, see `server_address`.
        control: called with the address and values of each message.

    Raises:
        HypermeterError: an address that cannot be used.
    """
    from pythonosc.dispatcher import Dispatcher
    from pythonosc.osc_server import BlockingOSCUDPServer

    dispatcher = Dispatcher()
    dispatcher.set_default_handler(control)
    try:
        server = BlockingOSCUDPServer((host, port), dispatcher)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HypermeterError(f"OSC {host}:{port}: cannot listen there ({reason}); choose another --osc") from error
    threading.Thread(target=server.serve_forever, name="hypermeter-osc", daemon=True).start()
    return server

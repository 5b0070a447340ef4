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

VIRTUAL = "virtual"
NAME = "Hypermeter"
"""Of virtual ports."""

HOW_TO_MAKE_ONE = (
    "pass --port virtual to make one (Linux, macOS), start a synthesizer or loopMIDI (Windows), or pass FILE.mid"
)


class FileSink:
    """Keeps what is sent, by the time when it was sent, and writes it as a MIDI file.

    Args:
        path: of the file.
        grid: for its metre.
        tempo_bpm: its one tempo; where the music had others its notes stand where they sounded, between the bar lines.
    """

    def __init__(self, path: Path, grid: Grid, tempo_bpm: float):
        if path.exists() and not path.is_file():
            raise HypermeterError(f"{path}: a folder, device or pipe, expected a MIDI file; choose another path")
        self.path, self._grid, self._tempo_bpm = path, grid, tempo_bpm
        self.sent: list[tuple[float, tuple[int, ...]]] = []
        self.begins_s: float | None = None

    def send(self, message: tuple[int, ...], when: float) -> None:
        self.sent.append((when, message))

    def close(self) -> None:
        """Write the file, unless nothing was ever sent: a start that fails leaves what is there."""
        if not self.sent:
            return
        notes = [(when, message) for when, message in self.sent if message[0] & 0xF0 in (0x80, 0x90)]
        origin = self.begins_s if self.begins_s is not None else (notes[0][0] if notes else 0.0)
        starts: dict[int, int] = {}
        events: list[tuple[int, tuple[int, ...]]] = []
        for when, message in notes:
            tick = max(round((when - origin) * TICKS_PER_QUARTER * self._tempo_bpm / 60), 0)
            pitch = message[1]
            if message[0] & 0xF0 == 0x90:
                starts[pitch] = tick
            else:
                tick = max(tick, starts.pop(pitch, tick) + 1)
            events.append((tick, message))
        events.sort(key=lambda event: (event[0], event[1][0] & 0xF0))  # at one time, ends before beginnings
        with atomic_write(self.path) as temporary:
            temporary.write_bytes(_midi_file(events, self._tempo_bpm, self._grid))


def _midi_file(events: list[tuple[int, tuple[int, ...]]], tempo_bpm: float, grid: Grid) -> bytes:
    """Return a MIDI file of one track: messages at their ticks, in order, on the channels that they have."""
    tempo = round(6e7 / tempo_bpm).to_bytes(3, "big")
    metre = bytes([grid.beats_per_bar, grid.beat_unit.bit_length() - 1, 24, 8])
    track = b"\0\xff\x03\x05drums\0\xff\x51\x03" + tempo + b"\0\xff\x58\x04" + metre
    before = 0
    for tick, message in events:
        track += _variable(tick - before) + bytes(message)
        before = tick
    track += b"\0\xff\x2f\0"
    header = (0).to_bytes(2, "big") + (1).to_bytes(2, "big") + TICKS_PER_QUARTER.to_bytes(2, "big")
    return b"".join(name + len(body).to_bytes(4, "big") + body for name, body in ((b"MThd", header), (b"MTrk", track)))


def _variable(number: int) -> bytes:
    """Return a number as MIDI files write it: seven bits a byte, all but the last marked."""
    parts = [number & 0x7F]
    while number := number >> 7:
        parts.append(number & 0x7F | 0x80)
    return bytes(reversed(parts))


class PortSink:
    """A MIDI port, by mido."""

    def __init__(self, port: Any, name: str):
        import mido

        self._port, self._message, self.name = port, mido.Message, name

    def send(self, message: tuple[int, ...], when: float) -> None:
        try:
            self._port.send(self._message.from_bytes(message))
        except Exception as error:  # each backend raises its own
            raise HypermeterError(f"{self.name}: the MIDI port is gone ({_first(error)}); open it again") from error

    def close(self) -> None:
        self._port.close()


def output_names() -> list[str]:
    """The MIDI outputs that there are; none where the system has no MIDI."""
    return _names("get_output_names")


def input_names() -> list[str]:
    return _names("get_input_names")


def _names(function: str) -> list[str]:
    import mido

    if not _has_midi():
        return []
    try:
        return list(dict.fromkeys(getattr(mido, function)()))
    except Exception:  # of the backend: the system has no MIDI
        return []


def _has_midi() -> bool:
    """ALSA prints lines of its own where its device is missing."""
    has_backend = "MIDO_BACKEND" in os.environ
    return not sys.platform.startswith("linux") or has_backend or os.path.exists("/dev/snd/seq")


def open_output(name: str) -> PortSink:
    """The MIDI output of that name, or with it as a part of its name; ``virtual`` makes one.

    Raises:
        HypermeterError: there is none, or more than one, or it cannot be opened.
    """
    return PortSink(*_open("output", name, output_names()))


def open_input(name: str, receive: Callable[[tuple[int, ...]], None]) -> Any:
    """The MIDI input likewise; ``receive`` is given its messages, from another thread."""
    port, _ = _open("input", name, input_names(), callback=lambda message: receive(tuple(message.bytes())))
    return port


def _open(kind: str, name: str, names: list[str], **options: Any) -> tuple[Any, str]:
    import mido

    function = getattr(mido, f"open_{kind}")
    if name == VIRTUAL:
        if not _has_midi():
            option = "--port" if kind == "output" else "--follow"
            raise HypermeterError(
                f"{option} {VIRTUAL}: no MIDI in this system (no /dev/snd/seq; modprobe snd-seq makes it)"
            )
        chosen, options = f"{NAME} {kind}", {"virtual": True, **options}
    else:
        found = [each for each in names if each == name] or [each for each in names if name.lower() in each.lower()]
        if len(found) != 1:
            raise HypermeterError(
                f"{name}: {'no' if not found else 'more than one'} MIDI {kind}; {listing(kind, names)}"
            )
        chosen = found[0]
    try:
        return function(chosen, **options), chosen
    except Exception as error:  # each backend raises its own
        raise HypermeterError(f"{chosen}: the MIDI {kind} cannot be opened ({_first(error)})") from error


def listing(kind: str, names: list[str]) -> str:
    """The ports that there are, and how to make one, in a line."""
    there = f"{kind}s are: {', '.join(names)}" if names else f"there are no {kind}s"
    return f"{there}; {HOW_TO_MAKE_ONE}" if kind == "output" else there


def _first(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def listen_to_osc(host: str, port: int, control: Callable[..., None]) -> Any:
    """A server of OSC over UDP on a thread of its own; ``shutdown`` ends it.

    Args:
        host: address that it listens on.
        port: 0 takes a free one: ``server_address`` tells it.
        control: is given address and values of each message.

    Raises:
        HypermeterError: the address cannot be listened on.
    """
    from pythonosc.dispatcher import Dispatcher
    from pythonosc.osc_server import BlockingOSCUDPServer

    dispatcher = Dispatcher()
    dispatcher.set_default_handler(control)
    try:
        server = BlockingOSCUDPServer((host, port), dispatcher)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HypermeterError(f"OSC {host}:{port}: cannot be listened on ({reason}); choose another --osc") from error
    threading.Thread(target=server.serve_forever, name="hypermeter-osc", daemon=True).start()
    return server

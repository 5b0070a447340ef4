"""MIDI ports that may go while it plays, and are opened again when they are back."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypermeter.core.errors import HypermeterError
from hypermeter.share.live.output import ALL_NOTES_OFF, CONTROL_CHANGE, NOTE_ON
from hypermeter.share.live.ports import VIRTUAL, device_of, open_port, port_names
from hypermeter.share.live.position import TICKS_PER_SONG_POSITION

CLOCK, START, CONTINUE, STOP, SONG_POSITION = 0xF8, 0xFA, 0xFB, 0xFC, 0xF2


class KeptPort:
    """A MIDI port that is looked for while it is gone.

    Args:
        kind: "input" or "output".
        name: as in `open_output`.
        option: that names it, for messages.
        report: called with a line when it goes and when it is back.
        every_s: seconds between two looks at the names of the ports.
        options: of mido.

    Raises:
        HypermeterError: as `open_output`.
    """

    def __init__(
        self, kind: str, name: str, option: str, report: Callable[[str], None], every_s: float, **options: Any
    ):
        self._kind, self._option, self._options = kind, option, options
        self._report, self._every_s = report, every_s
        self._port, self.name = open_port(kind, name, option, **options)
        self._lock = threading.Lock()  # a port must not be closed while it sends
        self._is_open, self._is_closed = True, threading.Event()
        if name != VIRTUAL:
            threading.Thread(target=self._watch, name=f"hypermeter-{kind}", daemon=True).start()

    def _watch(self) -> None:
        while not self._is_closed.wait(self._every_s):
            self.look()

    def look(self) -> None:
        """Look whether the port is there, and let go of it or open it again."""
        names = port_names(self._kind)
        name = next((name for name in names if device_of(name) == device_of(self.name)), None)
        if self._is_open and name is None:
            self._lose()
        elif name is not None and not self._is_open:
            with suppress(HypermeterError):  # not ready yet: it is tried again
                self._port, self.name = open_port(self._kind, name, self._option, **self._options)
                self._return()
                self._is_open = True
                self._report(f"{self.name}: the MIDI {self._kind} is back")

    def _lose(self) -> None:
        with self._lock:
            was_open, self._is_open = self._is_open, False
        if was_open:
            self._close_port()
            self._report(f"{self.name}: the MIDI {self._kind} is gone; it is opened again when it is back")

    def _return(self) -> None:
        """Do what has to be done at a port that is back, before it is used."""

    def _close_port(self) -> None:
        with self._lock, suppress(Exception):  # each backend raises its own at what is gone
            self._port.close()

    def close(self) -> None:
        """Close the port, and look for it no longer."""
        self._is_closed.set()
        if self._is_open:
            self._close_port()


class KeptInput(KeptPort):
    """A MIDI input that may go, and is opened again when it is back.

    Args:
        name: as in `open_output`.
        receive: called with its messages, from another thread.
        report: called with a line when it goes and when it is back.
        every_s: seconds between two looks at the names of the ports.
        option: that names it, for messages.

    Raises:
        HypermeterError: as `open_output`.
    """

    def __init__(
        self,
        name: str,
        receive: Callable[[tuple[int, ...]], None],
        report: Callable[[str], None] = lambda line: None,
        every_s: float = 1.0,
        option: str = "--listen",
    ):
        def callback(message: Any) -> None:
            receive(tuple(message.bytes()))

        super().__init__("input", name, option, report, every_s, callback=callback)


class KeptOutput(KeptPort):
    """A MIDI output that may go, and is opened again when it is back; what is sent in between is left out.

    A port that is back gets the end of all notes. If a MIDI clock runs, it also gets song position and continue at the
    next sixteenth, since it has missed the start.

    Args:
        name: as in `open_output`.
        report: called with a line when it goes and when it is back.
        every_s: seconds between two looks at the names of the ports.

    Raises:
        HypermeterError: as `open_output`.
    """

    def __init__(self, name: str, report: Callable[[str], None] = lambda line: None, every_s: float = 1.0):
        import mido

        self._message = mido.Message
        self._channel: int | None = None
        self._ticks: int | None = None  # of the clock since its start; `None` while it does not run
        self._is_behind = False
        super().__init__("output", name, "play", report, every_s)

    def send(self, message: tuple[int, ...], when: float) -> None:
        """Send a message; a port that is gone takes none."""
        if message[0] & 0xF0 == NOTE_ON:
            self._channel = message[0] & 0x0F
        if message[0] in (START, STOP):
            self._ticks, self._is_behind = (0 if message[0] == START else None), False
        if message[0] == CLOCK and self._ticks is not None:
            self._catch_up()
            self._ticks += 1
        self._put(message)

    def _catch_up(self) -> None:
        """Before a tick: tell a port that has missed the start where the music is."""
        assert self._ticks is not None
        position, rest = divmod(self._ticks, TICKS_PER_SONG_POSITION)
        if self._is_behind and self._is_open and not rest:
            self._is_behind = False
            self._put((SONG_POSITION, position % 128, position // 128 % 128))
            self._put((CONTINUE,))

    def _put(self, message: tuple[int, ...]) -> None:
        try:
            with self._lock:
                if self._is_open:
                    self._port.send(self._message.from_bytes(message))
        except Exception:  # each backend raises its own
            self._lose()

    def _return(self) -> None:
        self._is_behind = self._ticks is not None
        if self._channel is not None:
            with suppress(Exception):  # gone again: the next look tells
                self._port.send(self._message.from_bytes((CONTROL_CHANGE | self._channel, ALL_NOTES_OFF, 0)))

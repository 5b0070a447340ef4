"""Where messages go and come from: MIDI ports."""

import os
import re
import sys
from collections.abc import Callable
from typing import Any

from hypermeter.core.errors import HypermeterError

VIRTUAL = "virtual"
NAME = "Hypermeter"
"""Name of virtual ports."""

PORT_HELP = f"name {VIRTUAL} to make one (Linux, macOS), start a synthesizer or loopMIDI (Windows), or name FILE.mid"


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
    return PortSink(*open_port("output", name, "play"))


def open_input(name: str, receive: Callable[[tuple[int, ...]], None], option: str = "--follow") -> Any:
    """Open a MIDI input, named as in `open_output`; `receive` is called with its messages, from another thread.

    `option` is the one that names it, for messages.
    """
    port, _ = open_port("input", name, option, callback=lambda message: receive(tuple(message.bytes())))
    return port


def device_of(name: str) -> str:
    """Return the name of a port without the numbers that ALSA gives it anew each time it is plugged in."""
    return re.sub(r" \d+:\d+$", "", name)


def open_port(kind: str, name: str, option: str, **options: Any) -> tuple[Any, str]:
    """Return a port of mido and its full name; options are those of mido.

    Raises:
        HypermeterError: as `open_output`.
    """
    import mido

    function = getattr(mido, f"open_{kind}")
    if name == VIRTUAL:
        if not _has_midi():
            raise HypermeterError(
                f"{option} {VIRTUAL}: no MIDI in this system (no /dev/snd/seq; modprobe snd-seq makes it)"
            )
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
    return f"{ports}; {PORT_HELP}" if kind == "output" else ports


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]

"""OSC over UDP: messages that control live play, the time tags of their bundles, replies, and notes."""

import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from hypermeter.core.errors import HypermeterError
from hypermeter.core.kit import Kit
from hypermeter.share.live.output import NOTE_OFF, NOTE_ON

PREFIX = "/hypermeter"
"""Before the addresses of what is sent."""

MAX_REPLY = 1024
"""Most values of one reply."""

Ask = Callable[[str | None], Sequence[tuple[str, Sequence[Any]]]]
"""Returns names and values for a name that was asked, or for all."""

MAX_REPORTED = 100
"""Most senders and kinds of mistakes that are reported: addresses of UDP can be made up."""

MAX_DELAY_S = 1.0
"""Messages dated further ahead are taken at once: the clock of their sender is more likely wrong than meant."""


def open_osc_server(
    host: str,
    port: int,
    control: Callable[..., None],
    report: Callable[[str], None] = lambda line: None,
    ask: Ask | None = None,
) -> Any:
    """Start a server of OSC over UDP in a thread of its own, and return it; its `shutdown` ends it.

    Messages are passed on when they arrive, in their order. A bundle that is dated up to MAX_DELAY_S ahead does not
    hold up what comes after it: `control` is told how long its messages wait.

    Args:
        host: address to bind.
        port: 0 takes a free one, see `server_address`.
        control: called with the address and values of each message, and with the keyword `delay_s` if it is dated
            ahead.
        report: called with a line, once for each sender, if packets are no OSC or dated too far ahead.
        ask: gives what `/get` and `/get NAME` ask, which is sent back to the sender, or to the port of its host that
            is named after it.

    Raises:
        HypermeterError: an address that cannot be used.
    """
    from pythonosc.dispatcher import Dispatcher
    from pythonosc.osc_packet import OscPacket
    from pythonosc.osc_server import BlockingOSCUDPServer

    reported: set[tuple[str, str]] = set()
    logging.getLogger().addFilter(_is_not_of_python_osc)

    def report_once(sender: str, kind: str, line: str) -> None:
        if (sender, kind) not in reported and len(reported) < MAX_REPORTED:
            reported.add((sender, kind))
            report(f"OSC from {sender}: {line}")

    class PromptDispatcher(Dispatcher):
        """Passes messages on without waiting, in which the dispatcher of python-osc holds up all that follow."""

        def call_handlers_for_packet(self, data: bytes, client_address: tuple[str, int]) -> list:
            sender = client_address[0]
            try:
                messages = OscPacket(data).messages
            except Exception as error:  # python-osc lets errors of its parts through
                report_once(sender, "damaged", f"a packet that is no OSC ({error}); others like it are left out, too")
                return []
            now = time.time()  # not before those of the packet: the time of what is not dated is that of its arrival
            for timed in messages:
                address, values = timed.message.address, list(timed.message.params)
                if ask is not None and (name := _asked(address)) is not None:
                    try:
                        _reply(server.socket, client_address, ask, name, values)
                    except HypermeterError as error:
                        report(str(error))
                    except OSError as error:
                        report_once(sender, "reply", f"no reply can be sent ({error.strerror or error})")
                    continue
                delay_s = timed.time - now
                if delay_s > MAX_DELAY_S:
                    line = f"dated {delay_s:.1f} s ahead, more than {MAX_DELAY_S:g} s: taken at once; set its clock"
                    report_once(sender, "dated", line)
                if 0 < delay_s <= MAX_DELAY_S:
                    control(address, *values, delay_s=delay_s)
                else:
                    control(address, *values)
            return []

    class Server(BlockingOSCUDPServer):
        def verify_request(self, request: Any, client_address: Any) -> bool:
            return True  # the dispatcher reports what is no OSC

        def handle_error(self, request: Any, client_address: Any) -> None:
            report_once(client_address[0], "failed", f"a packet that cannot be used ({sys.exc_info()[1]}); send others")

    try:
        server = Server((host, port), PromptDispatcher())
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HypermeterError(f"OSC {host}:{port}: cannot be opened ({reason}); choose another --osc") from error
    threading.Thread(target=server.serve_forever, name="hypermeter-osc", daemon=True).start()
    return server


def _is_not_of_python_osc(record: logging.LogRecord) -> bool:
    """Return False for what python-osc logs at the root of packets that are damaged: these are reported once."""
    return "pythonosc" not in record.pathname


def _asked(address: str) -> str | None:
    """Return what an address asks: "" for `/get`, tempo for `/get/tempo`; `None` if it asks nothing."""
    first, _, name = address.strip("/").removeprefix("hypermeter/").partition("/")
    return name if first == "get" else None


def _reply(udp: Any, sender: tuple[str, int], ask: Ask, name: str, values: list[Any]) -> None:
    """Send back what is asked; values are a name, if the address has none, and the port to reply to, if another."""
    from pythonosc.osc_message_builder import OscMessageBuilder

    if not name and values and isinstance(values[0], str):
        name = values.pop(0)
    port = values.pop(0) if values and isinstance(values[0], int) else sender[1]
    if values or not 0 < port < 65536:
        wrong = values[0] if values else port
        raise HypermeterError(f"OSC /get: {wrong}, expected a name, and a port from 1 to 65535 to reply to if need be")
    for known, contents in ask(name or None):
        message = OscMessageBuilder(f"{PREFIX}/{known}")
        for value in contents[:MAX_REPLY]:
            message.add_arg(value)
        udp.sendto(message.build().dgram, (sender[0], port))


def parse_address(text: str, option: str) -> tuple[str, int]:
    """Return host and port of a text as 9000 or 0.0.0.0:9000; the host is this machine by default.

    Raises:
        HypermeterError: no port; the message begins with `option`.
    """
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit()):
        raise HypermeterError(f"{option}: {text!r}, expected a UDP port as 9000, or a host and a port as 0.0.0.0:9000")
    return host or "127.0.0.1", int(port)


class OscSink:
    """Sends notes by OSC: `/hypermeter/note snare 38 97`, voice, pitch and velocity, which is 0 where the note ends.

    Args:
        text: address, see `parse_address`.
        kit: gives the voices.
        report: called with a line, once, if nothing can be sent; the music continues.

    Raises:
        HypermeterError: no address, or a host that cannot be found.
    """

    def __init__(self, text: str, kit: Kit, report: Callable[[str], None] = lambda line: None):
        from pythonosc.osc_message_builder import OscMessageBuilder

        host, port = parse_address(text, "osc-out")
        if not 0 < port < 65536:
            raise HypermeterError(f"osc-out: {text!r}, expected a port from 1 to 65535")
        try:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        except OSError as error:
            raise HypermeterError(f"osc-out: {text!r}, no such host ({error.strerror}); check it") from error
        self._socket, self._address = socket.socket(family, socket.SOCK_DGRAM), address
        self._socket.setblocking(False)
        self._text, self._report, self._is_reported, self._builder = text, report, False, OscMessageBuilder
        self._voices = {voice.write: voice.name for voice in kit.voices}

    def send(self, message: tuple[int, ...], when: float) -> None:
        kind = message[0] & 0xF0
        if kind not in (NOTE_ON, NOTE_OFF):
            return
        built = self._builder(f"{PREFIX}/note")
        for value in (self._voices.get(message[1], ""), message[1], message[2] if kind == NOTE_ON else 0):
            built.add_arg(value)
        try:
            self._socket.sendto(built.build().dgram, self._address)
        except OSError as error:
            if not self._is_reported:
                self._report(f"osc-out: {self._text}: notes cannot be sent ({error.strerror}); the music continues")
            self._is_reported = True

    def close(self) -> None:
        self._socket.close()

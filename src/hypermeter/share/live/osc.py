"""OSC over UDP: messages that control live play, and the time tags of their bundles."""

import threading
import time
from collections.abc import Callable
from typing import Any

from hypermeter.core.errors import HypermeterError

MAX_DELAY_S = 1.0
"""Messages dated further ahead are taken at once: the clock of their sender is more likely wrong than meant."""


def open_osc_server(
    host: str, port: int, control: Callable[..., None], report: Callable[[str], None] = lambda line: None
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

    Raises:
        HypermeterError: an address that cannot be used.
    """
    from pythonosc.dispatcher import Dispatcher
    from pythonosc.osc_packet import OscPacket
    from pythonosc.osc_server import BlockingOSCUDPServer

    reported: set[tuple[str, str]] = set()

    def report_once(sender: str, kind: str, line: str) -> None:
        if (sender, kind) not in reported:
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
                delay_s = timed.time - now
                if delay_s > MAX_DELAY_S:
                    line = f"dated {delay_s:.1f} s ahead, more than {MAX_DELAY_S:g} s: taken at once; set its clock"
                    report_once(sender, "dated", line)
                if 0 < delay_s <= MAX_DELAY_S:
                    control(timed.message.address, *timed.message.params, delay_s=delay_s)
                else:
                    control(timed.message.address, *timed.message.params)
            return []

    class Server(BlockingOSCUDPServer):
        def verify_request(self, request: Any, client_address: Any) -> bool:
            return True  # the dispatcher reports what is no OSC

    try:
        server = Server((host, port), PromptDispatcher())
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HypermeterError(f"OSC {host}:{port}: cannot be opened ({reason}); choose another --osc") from error
    threading.Thread(target=server.serve_forever, name="hypermeter-osc", daemon=True).start()
    return server

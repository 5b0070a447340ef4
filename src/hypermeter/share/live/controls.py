"""Controls that wait for the player: more than it can take must hold up neither notes nor the controls after them."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from hypermeter.share.live.conditions import CONTROLS, SWITCHES

MAX_WAITING = 256
"""Controls that may wait; more are left out."""


class WaitingControls:
    """The controls that have arrived, in their order.

    Of a control that is a number, a fader, only the last value counts: it takes the place of one that still waits. A
    pad that is pressed and let go keeps both. Each control has one call of `call` on the thread of the player.

    Args:
        report: called with a line when controls are left out.
    """

    def __init__(self, report: Callable[[str], None]):
        self._report, self._lock = report, threading.Lock()
        self._waiting: deque[Any] = deque()  # keys of `_changes`
        self._changes: dict[Any, Callable[[float], None]] = {}
        self._left_out = 0

    def put(self, address: str, values: Sequence[Any], change: Callable[[float], None]) -> bool:
        """Add a control, from any thread; return whether `call` has to be called once more for it."""
        key = _fader(address, values) or object()
        with self._lock:
            if key in self._changes:
                self._changes[key] = change
                return False
            if len(self._waiting) >= MAX_WAITING:
                self._left_out += 1
                return False
            self._waiting.append(key)
            self._changes[key] = change
            return True

    def call(self, now: float) -> None:
        """Make the next change, with the time it is now."""
        with self._lock:
            change = self._changes.pop(self._waiting.popleft())
            left_out, self._left_out = self._left_out, 0
        if left_out:
            self._report(f"{left_out} controls are left out: they come faster than they can be taken; send fewer")
        change(now)


def _fader(address: str, values: Sequence[Any]) -> tuple[str, ...] | None:
    """Return what names a control whose last value alone counts; `None` of others, and of what is no control."""
    control, _, detail = address.strip("/").removeprefix("hypermeter/").partition("/")
    if control not in CONTROLS or control in SWITCHES:
        return None
    if control == "bias" and not detail:
        return ("bias", str(values[0])) if values else None
    return (control, detail)

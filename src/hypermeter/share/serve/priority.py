"""Connections go before computation: threads that compute pause while that of the connections has something to do.

Each system call of that thread gives the interpreter away, and waits to have it again. With threads that compute beside
it every one of the ten calls of a connection would wait for them.
"""

import asyncio
import selectors
import threading
from typing import Any

MAX_PAUSE_S = 0.02
"""Longest pause before a step of the model, so that work goes on also where connections never end."""

_is_idle = threading.Event()
_is_idle.set()  # without a loop that was made here, nothing pauses


class _Selector(selectors.DefaultSelector):
    """Tells whether the loop waits for something to do."""

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout > 0:
            _is_idle.set()
        try:
            return super().select(timeout)
        finally:
            _is_idle.clear()

    def close(self) -> None:
        _is_idle.set()
        super().close()


def make_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop before whose work that of other threads pauses; they call `pause`."""
    return asyncio.SelectorEventLoop(_Selector())


def pause() -> None:
    """Wait until the loop has nothing to do, for at most MAX_PAUSE_S; called by threads that compute, now and then."""
    if not _is_idle.is_set():
        _is_idle.wait(MAX_PAUSE_S)

"""Lines for people while it plays: what is wrong with a message must not hold up the music."""

import queue
import sys
import threading
import time
from collections.abc import Callable

from hypermeter.core.printed import printable

MAX_WAITING = 20
"""Lines that may wait to be printed; more are counted."""

EVERY_S = 0.1
"""Seconds between two lines, so that a flood of wrong messages does not push all else off the screen."""


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Reporter:
    """Prints lines, on a thread of its own: a terminal that stands still stops nothing else.

    Args:
        write: takes each line, which a terminal can show as it is.
        every_s: seconds between two lines.
    """

    def __init__(self, write: Callable[[str], None] = _print, every_s: float = EVERY_S):
        self._write, self._every_s = write, every_s
        self._lines: queue.Queue[str | None] = queue.Queue(MAX_WAITING)
        self._left_out = 0
        self._thread = threading.Thread(target=self._run, name="hypermeter-reports", daemon=True)
        self._thread.start()

    def __call__(self, line: str) -> None:
        """Let a line be printed; from any thread."""
        try:
            self._lines.put_nowait(printable(line))
        except queue.Full:
            self._left_out += 1

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            self._write(line)
            if self._lines.empty() and self._left_out:
                left_out, self._left_out = self._left_out, 0
                self._write(f"{left_out} lines more are left out")
            time.sleep(self._every_s)
        if self._left_out:
            self._write(f"{self._left_out} lines more are left out")

    def close(self) -> None:
        """Print what waits, for three seconds at most."""
        try:
            self._lines.put(None, timeout=1)
        except queue.Full:  # the terminal stands still
            return
        self._thread.join(3)

"""Time as playing needs it: what it is now, waiting, and work that goes on meanwhile. Real, or simulated for tests.

A clock has a ``Worker``: one job at a time beside the player. In simulated time nothing waits and nothing runs beside
anything; a job is done at once, and its result is there once the time that it is said to take has passed.
"""

import heapq
import math
import threading
import time
from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

WAKE_EARLY_S = 0.0005
"""Before the time waited for: a condition wakes late by up to as much, a short sleep does not."""


class Clock(Protocol):
    """Seconds from some start, that never go back."""

    def now(self) -> float: ...

    def wait(self, until: float) -> None:
        """Return at that time, or as soon as ``wake`` was called since the last wait; infinity waits for that alone."""
        ...

    def wake(self) -> None:
        """End the wait, or the next one. From any thread."""
        ...

    def work(self, job: Callable[[], Any], done: Callable[[Any, BaseException | None, float], None]) -> None:
        """Run ``job`` beside the player, one at a time in order.

        Args:
            job: without arguments.
            done: is given what came of it, the error that it raised or None, and the seconds that it took. It is called
                from another thread.
        """
        ...

    def close(self) -> None:
        """End the worker; jobs that have not begun are dropped."""
        ...


class RealClock:
    """The computer's own clock, and a thread that works."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._jobs: list[tuple[Callable, Callable]] = []
        self._is_awake = self._is_closed = False
        self._thread = threading.Thread(target=self._serve, name="hypermeter-draws", daemon=True)
        self._there_is_work = threading.Condition()
        self._thread.start()

    def now(self) -> float:
        return time.perf_counter()

    def wait(self, until: float) -> None:
        with self._condition:
            while not self._is_awake:
                left = until - self.now()
                if left <= WAKE_EARLY_S:
                    break
                self._condition.wait(None if left == math.inf else left - WAKE_EARLY_S)
            was_woken, self._is_awake = self._is_awake, False
        if not was_woken:
            time.sleep(max(until - self.now(), 0))

    def wake(self) -> None:
        with self._condition:
            self._is_awake = True
            self._condition.notify_all()

    def work(self, job: Callable[[], Any], done: Callable[[Any, BaseException | None, float], None]) -> None:
        with self._there_is_work:
            self._jobs.append((job, done))
            self._there_is_work.notify()

    def _serve(self) -> None:
        while True:
            with self._there_is_work:
                while not self._jobs and not self._is_closed:
                    self._there_is_work.wait()
                if self._is_closed:
                    return
                job, done = self._jobs.pop(0)
            started, result, error = self.now(), None, None
            try:
                result = job()
            except BaseException as raised:  # whatever it is, the player tells it
                error = raised
            done(result, error, self.now() - started)
            self.wake()

    def close(self) -> None:
        with self._there_is_work:
            self._jobs.clear()
            self._is_closed = True
            self._there_is_work.notify()
        self._thread.join(timeout=5)


class SimulatedClock:
    """Time that passes only while one waits.

    Args:
        cost_s: seconds that a job takes; or a function of the seconds that it really took; left out, these.
    """

    def __init__(self, cost_s: float | Callable[[float], float] | None = None):
        self._now, self._order, self._is_awake = 0.0, count(), False
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._cost_s = cost_s
        self._free_at = 0.0

    def now(self) -> float:
        return self._now

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Call ``action`` at that time, as a message that comes in then would."""
        heapq.heappush(self._later, (when, next(self._order), action))

    def wait(self, until: float) -> None:
        while not self._is_awake:
            if not self._later or self._later[0][0] > until:
                if until == math.inf:
                    raise RuntimeError("simulated time: waits for ever, as nothing more is to come")
                self._now = max(self._now, until)
                return
            when, _, action = heapq.heappop(self._later)
            self._now = max(self._now, when)
            action()
        self._is_awake = False

    def wake(self) -> None:
        self._is_awake = True

    def work(self, job: Callable[[], Any], done: Callable[[Any, BaseException | None, float], None]) -> None:
        started, result, error = time.perf_counter(), None, None
        try:
            result = job()
        except Exception as raised:
            error = raised
        took = time.perf_counter() - started
        if self._cost_s is not None:
            took = self._cost_s(took) if callable(self._cost_s) else self._cost_s
        self._free_at = max(self._now, self._free_at) + took

        def finish() -> None:
            done(result, error, took)
            self.wake()

        self.at(self._free_at, finish)

    def close(self) -> None:
        self._later.clear()

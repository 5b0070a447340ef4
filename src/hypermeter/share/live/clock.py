"""Time, waiting and work beside the player: real, or simulated.

In simulated time nothing waits and nothing runs in parallel: a job runs at once, and its result arrives after its cost.
"""

import heapq
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

WAKE_EARLY_S = 0.0005
"""Time before the end of a wait at which the condition wakes: it may wake as much too late, a short sleep does not."""


class DueActions:
    """Actions of one thread, each with its time, which any thread adds."""

    def __init__(self) -> None:
        self._inbox: deque[tuple[float, Callable[[float], None]]] = deque()
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []  # by time, and at one time by arrival
        self._arrivals = count()

    @property
    def next_time(self) -> float:
        """Time of the next action that `call` kept back; infinity if there is none."""
        return self._heap[0][0] if self._heap else math.inf

    def add(self, when: float, action: Callable[[float], None]) -> None:
        """Let `action` be called at that time, or as soon as possible after it. May be called from any thread."""
        self._inbox.append((when, action))

    def call(self, now: float, most: int) -> None:
        """Call the actions whose time has come, in the order of their times, with the time it is now.

        Args:
            now: time.
            most: so many at once; `next_time` tells whether there are more.
        """
        while self._inbox:
            when, action = self._inbox.popleft()
            heapq.heappush(self._heap, (when, next(self._arrivals), action))
        while self._heap and self._heap[0][0] <= now and most > 0:
            heapq.heappop(self._heap)[2](now)
            most -= 1


class RealClock:
    """The clock of the computer, and a thread for jobs."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._is_awake = False
        self._worker = ThreadPoolExecutor(1, "hypermeter-worker")

    def now(self) -> float:
        """Return seconds from some start, which never decrease."""
        return time.perf_counter()

    def wait(self, until: float) -> None:
        """Return at that time, or as soon as `wake` was called since the last wait; `until` may be infinity."""
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
        """End the wait, or the next one. May be called from any thread."""
        with self._condition:
            self._is_awake = True
            self._condition.notify_all()

    def work(self, job: Callable[[], Any], done: Callable[[Any, BaseException | None, float], None]) -> None:
        """Run `job` beside the player, one at a time in order.

        Args:
            job: takes no arguments.
            done: called, in another thread, with the result, the error raised or `None`, and the seconds taken.
        """

        def run() -> None:
            started, result, error = self.now(), None, None
            try:
                result = job()
            except BaseException as raised:  # the player raises it again
                error = raised
            done(result, error, self.now() - started)
            self.wake()

        self._worker.submit(run)

    def close(self) -> None:
        """Wait for the job that runs, and drop those that have not begun."""
        self._worker.shutdown(cancel_futures=True)


class SimulatedClock:
    """Time that passes only in `wait`; methods as those of `RealClock`.

    Args:
        cost_s: seconds that a job takes, or a function of the seconds that it took in fact; `None` takes these.
    """

    def __init__(self, cost_s: float | Callable[[float], float] | None = None):
        self._now, self._order, self._is_awake = 0.0, count(), False
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._cost_s = cost_s
        self._free_at = 0.0

    def now(self) -> float:
        return self._now

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Call `action` at that time, as if a message arrived then."""
        heapq.heappush(self._later, (when, next(self._order), action))

    def wait(self, until: float) -> None:
        while not self._is_awake:
            if not self._later or self._later[0][0] > until:
                if until == math.inf:
                    raise RuntimeError("simulated time: a wait without end, as no event is left")
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
        took_s = time.perf_counter() - started
        if self._cost_s is not None:
            took_s = self._cost_s(took_s) if callable(self._cost_s) else self._cost_s
        self._free_at = max(self._now, self._free_at) + took_s

        def finish() -> None:
            done(result, error, took_s)
            self.wake()

        self.at(self._free_at, finish)

    def close(self) -> None:
        self._later.clear()


Clock = RealClock | SimulatedClock

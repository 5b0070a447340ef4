"""What one client may take of the server: size, length, time, and how many at once."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields

from hypermeter.core.errors import HypermeterError


@dataclass(frozen=True)
class Limits:
    """Of each request, and of the server.

    Args:
        body_bytes: of a request.
        bars: asked for, or sent.
        particles: of infill and variation.
        seconds: of work, once it has begun.
        body_seconds: in which the body must have come.
        running: requests that are worked on at once.
        waiting: requests that wait for one of these to end; more are refused.
        wait_seconds: after which one that waits is refused.
    """

    body_bytes: int = 2**20
    bars: int = 256
    particles: int = 256
    seconds: float = 30.0
    body_seconds: float = 10.0
    running: int = 2
    waiting: int = 8
    wait_seconds: float = 10.0

    def __post_init__(self) -> None:
        for each in fields(self):
            check_limit(each.name, getattr(self, each.name))


def check_limit(name: str, value: float, called: str = "") -> None:
    """Refuses a value that the limit of that name cannot have, by what it is called or else by its name."""
    least = 0.001 if name.endswith("seconds") else 0 if name == "waiting" else 1
    if not least <= value:
        raise HypermeterError(f"{called or name} is {value}, expected at least {least}")


class Refused(Exception):
    """A request that is answered with a status and one line."""

    def __init__(self, status: int, reason: str, retry_after_s: int | None = None):
        super().__init__(reason)
        self.status, self.reason = status, reason
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}


class Stopped(Exception):
    """The client is gone: nobody waits for what was being worked on."""


class Watch:
    """Whether work may go on. It is asked at every step of the model, from the thread that works.

    Args:
        seconds: from now on; then the work is refused.
    """

    def __init__(self, seconds: float):
        self.seconds, self._until = seconds, time.monotonic() + seconds
        self._is_stopped = threading.Event()

    def stop(self) -> None:
        """From another thread: the next check ends the work."""
        self._is_stopped.set()

    def check(self) -> None:
        """Nothing, as long as it may.

        Raises:
            Stopped: ``stop`` was called.
            Refused: time is up.
        """
        if self._is_stopped.is_set():
            raise Stopped
        if time.monotonic() > self._until:
            raise Refused(503, f"took longer than {self.seconds:g} s; ask for fewer bars or particles")


async def wait_unless_left(
    task: asyncio.Future, has_left: Callable[[], Awaitable[object]], seconds: float | None = None
) -> bool:
    """Wait until the task is done, the client has left, or the time is up; whether the client has left."""
    leaving = asyncio.ensure_future(has_left())
    try:
        await asyncio.wait((task, leaving), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return leaving.done()
    finally:
        leaving.cancel()


class Slots:
    """Places for requests that are worked on, and a short queue before them."""

    def __init__(self, limits: Limits):
        self._limits, self._free = limits, asyncio.Semaphore(limits.running)
        self.running = self.waiting = 0

    @asynccontextmanager
    async def one(self, has_left: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
        """Wait for a place, and hold it; errors are those of ``take``."""
        await self.take(has_left)
        try:
            yield
        finally:
            self.give_back()

    async def take(self, has_left: Callable[[], Awaitable[object]]) -> None:
        """Wait for a place, which ``give_back`` frees.

        Args:
            has_left: returns once the client has left, which ends the wait.

        Raises:
            Refused: too many wait already, or it took too long.
            Stopped: the client has left.
        """
        if self._free.locked():
            await self._wait(has_left)
        else:
            await self._free.acquire()
        self.running += 1

    async def _wait(self, has_left: Callable[[], Awaitable[object]]) -> None:
        if self.waiting >= self._limits.waiting:
            raise Refused(429, f"busy: {self.waiting} requests wait already; try again", retry_after_s=1)
        self.waiting += 1
        taking, seconds = asyncio.ensure_future(self._free.acquire()), self._limits.wait_seconds
        try:
            has_gone = await wait_unless_left(taking, has_left, seconds)
            if not taking.done():
                if has_gone:
                    raise Stopped
                raise Refused(429, f"busy: no place within {seconds:g} s; try again", retry_after_s=2)
        except BaseException:
            if not taking.cancel():  # it had its place in the same moment
                self._free.release()
            raise
        finally:
            self.waiting -= 1

    def give_back(self) -> None:
        self.running -= 1
        self._free.release()

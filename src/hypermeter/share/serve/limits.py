"""Limits of requests: size, length, time, and how many run at once."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields

from hypermeter.core.errors import HypermeterError
from hypermeter.share.serve.priority import pause


@dataclass(frozen=True)
class Limits:
    """Limits of each request, and of the server.

    Args:
        body_bytes: size of a request.
        bars: most bars to generate, or to send.
        particles: most particles of infill and variation.
        seconds: longest work on a request.
        body_seconds: longest time until the body has arrived.
        running: requests that run at once.
        waiting: requests that may wait for a slot; more are refused.
        wait_seconds: longest wait for a slot.
        connections: connections at once; see `connections.Connections`.
        connections_per_client: connections at once from one address.
        header_seconds: longest silence of a connection before a request, and time for the request without its body.
        reading_seconds: longest time in which a client reads nothing of its answer.
    """

    body_bytes: int = 2**20
    bars: int = 256
    particles: int = 256
    seconds: float = 30.0
    body_seconds: float = 10.0
    running: int = 2
    waiting: int = 8
    wait_seconds: float = 10.0
    connections: int = 256
    connections_per_client: int = 128
    header_seconds: float = 5.0
    reading_seconds: float = 20.0

    def __post_init__(self) -> None:
        for item in fields(self):
            check_limit(item.name, getattr(self, item.name))


def check_limit(name: str, value: float, option: str = "") -> None:
    """Raise ``HypermeterError`` if a limit is out of range; the error names the option, or else the limit."""
    least = 0.001 if name.endswith("seconds") else 0 if name == "waiting" else 1
    if not least <= value:
        raise HypermeterError(f"{option or name} is {value}, expected at least {least}")


class Refused(Exception):
    """A request is answered with an error status and one line."""

    def __init__(self, status: int, reason: str, retry_after_s: int | None = None):
        super().__init__(reason)
        self.status, self.reason = status, reason
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}


class Stopped(Exception):
    """The client has disconnected, so that the work on its request ends."""


class Watch:
    """Ends work whose time is up or whose client left: the working thread calls ``check`` at every step of the model.

    Args:
        seconds: from now on.
    """

    def __init__(self, seconds: float):
        self.seconds, self._until = seconds, time.monotonic() + seconds
        self._is_stopped = threading.Event()

    def stop(self) -> None:
        """Let the next check raise; called from another thread."""
        self._is_stopped.set()

    def check(self) -> None:
        """Raise ``Stopped`` if ``stop`` was called, ``Refused`` if time is up."""
        if self._is_stopped.is_set():
            raise Stopped
        pause()
        if time.monotonic() > self._until:
            raise Refused(503, f"took longer than {self.seconds:g} s; ask for fewer bars, particles or variations")


async def wait_unless_left(
    task: asyncio.Future, has_left: Callable[[], Awaitable[object]], seconds: float | None = None
) -> bool:
    """Wait until the task is done, the client has left, or the time is up; return whether the client has left."""
    leaving = asyncio.ensure_future(has_left())
    try:
        await asyncio.wait((task, leaving), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return leaving.done()
    finally:
        leaving.cancel()


class Slots:
    """Slots for requests that run, and a short queue for them."""

    def __init__(self, limits: Limits):
        self._limits, self._free = limits, asyncio.Semaphore(limits.running)
        self.running = self.waiting = 0

    @asynccontextmanager
    async def one(self, has_left: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
        """Hold a slot within the block; errors are those of ``take``."""
        await self.take(has_left)
        try:
            yield
        finally:
            self.give_back()

    async def take(self, has_left: Callable[[], Awaitable[object]]) -> None:
        """Wait for a slot, which ``give_back`` frees.

        Args:
            has_left: returns once the client has left.

        Raises:
            Refused: too many requests wait already, or the wait took too long.
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
                raise Refused(429, f"busy: no slot within {seconds:g} s; try again", retry_after_s=2)
        except BaseException:
            if not taking.cancel():  # it got a slot in the same moment
                self._free.release()
            raise
        finally:
            self.waiting -= 1

    def give_back(self) -> None:
        self.running -= 1
        self._free.release()

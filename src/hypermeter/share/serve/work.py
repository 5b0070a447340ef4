"""Work on threads: the models, a slot for each request, and an end to work whose client has left."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from fastapi import Request, Response
from pydantic import BaseModel

from hypermeter.core.errors import HypermeterError
from hypermeter.core.printed import printable
from hypermeter.play.loading import kit_of
from hypermeter.play.player import Player
from hypermeter.share.serve.limits import Limits, Refused, Slots, Stopped, Watch, wait_unless_left

Result = TypeVar("Result")

FAILED = "the server failed; see its log"

_log = logging.getLogger("hypermeter.share.serve")


class Server:
    """The models, the limits, and the threads that work.

    Args:
        players: name -> model; the first is the default.
        limits: of requests.

    Raises:
        HypermeterError: no models, one without a kit, or one with tracks.
    """

    def __init__(self, players: Mapping[str, Player], limits: Limits):
        if not players:
            raise HypermeterError("serve: no models, expected at least one")
        self.players, self.limits, self.slots = players, limits, Slots(limits)
        for name, player in players.items():
            kit_of(player)  # raises where the model has no kit, which names the voices
            if player.tracks:
                tracks = ", ".join(track.name for track in player.tracks)
                raise HypermeterError(f"{name}: a model with tracks ({tracks}), expected drums alone; use generate")
        self.threads = ThreadPoolExecutor(limits.running, thread_name_prefix="hypermeter-plays")

    def player(self, name: str | None) -> Player:
        """Return the model of that name, of those that the server was started with; None is the default.

        Raises:
            HypermeterError: there is none.
        """
        if name is None:
            return next(iter(self.players.values()))
        if name not in self.players:
            raise HypermeterError(f"model: no {name!r} here; expected one of {', '.join(self.players)}")
        return self.players[name]

    async def work(self, request: Request, model: str | None, job: Callable[[Player], Result]) -> Result:
        """Run a job on a thread, once there is a slot, until it is done, its time is up, or the client leaves."""
        player = self.player(model)
        async with self.slots.one(partial(_has_left, request)):
            watch = Watch(self.limits.seconds)
            loop = asyncio.get_running_loop()
            working = loop.run_in_executor(self.threads, partial(job, player.watched(watch.check)))
            try:
                await wait_unless_left(working, partial(_has_left, request))
                if not working.done():
                    watch.stop()
                return await working
            finally:  # also where the server ends meanwhile
                watch.stop()

    async def answer(self, request: Request, model: str | None, job: Callable[[Player], BaseModel]) -> Response:
        """Run a job as `work` does and return its answer as JSON, written on the thread: a large one takes a while."""
        content = await self.work(request, model, lambda player: job(player).model_dump_json())
        return Response(content, media_type="application/json")

    async def lines(
        self, request: Request, model: str | None, job: Callable[[Player, Callable[[dict], None]], dict]
    ) -> AsyncGenerator[dict]:
        """Yield the lines that the job sends, then its result; or its error with the status of a response."""
        player = self.player(model)
        await self.slots.take(partial(_has_left, request))
        watch, queue = Watch(self.limits.seconds), asyncio.Queue[dict | None]()
        loop = asyncio.get_running_loop()

        def send(line: dict | None) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, line)

        def run() -> None:
            try:
                send(job(player.watched(watch.check), send))
            except Stopped:
                pass
            except (HypermeterError, Refused) as error:
                send({"error": printable(str(error)), "status": getattr(error, "status", 422)})
            except Exception:
                _log.exception("a job failed")
                send({"error": FAILED, "status": 500})
            finally:
                send(None)

        try:
            working = loop.run_in_executor(self.threads, run)
        except RuntimeError:  # the server ends
            self.slots.give_back()
            raise
        # The slot belongs to the thread, not to a client that reads slowly.
        working.add_done_callback(lambda _: self.slots.give_back())
        try:
            line = await self._first(request, queue)
            while line is not None:
                yield line
                if await request.is_disconnected():
                    return
                line = await queue.get()
        finally:
            watch.stop()
            await asyncio.shield(working)

    async def _first(self, request: Request, queue: asyncio.Queue[dict | None]) -> dict | None:
        """Return the first line; raise ``Stopped`` if the client leaves before it."""
        coming = asyncio.ensure_future(queue.get())
        try:
            await wait_unless_left(coming, partial(_has_left, request))
            if not coming.done():
                raise Stopped
            return coming.result()
        finally:
            coming.cancel()


async def _has_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

"""Sampling in a process of its own: the thread that sends never waits for an interpreter that is busy drawing."""

import multiprocessing
import signal
import weakref
from multiprocessing.connection import Connection
from typing import Any

from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.play.loading import load_player
from hypermeter.play.moment import Part
from hypermeter.play.plan import Plan
from hypermeter.share.live.asking import Settings
from hypermeter.share.live.sampler import Drawer


class Handle:
    """A point that the other process keeps, for as long as anybody here has its handle."""

    def __init__(self, number: int):
        self.number = number


class ProcessDrawer:
    """`Drawer` in another process; its points are handles.

    Args:
        model: name or path, as `load_player` takes it.
        primer: heard first.
        tempo_bpm: of it.
    """

    def __init__(self, model: str, primer: Groove | None = None, tempo_bpm: float = 120.0):
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        arguments = (other, model, primer, tempo_bpm)
        self._process = context.Process(target=_serve, args=arguments, name="hypermeter-draws", daemon=True)
        self._process.start()
        other.close()
        self._released: list[int] = []

    def first(self) -> Handle:
        """Wait until the model is loaded and has heard the primer, and return the point after it.

        Raises:
            HypermeterError: what `load_player` and `Drawer` raise.
        """
        return self._handle(self._answer())

    def draw(
        self, point: Handle, steps: int, settings: Settings, row: Plan | None = None, tempo_bpm: float = 120.0
    ) -> tuple[Part, Handle]:
        """Return what `Drawer.draw` returns."""
        released: list[int] = []
        while self._released:  # one by one: handles may go at any moment, also from another thread
            released.append(self._released.pop())
        try:
            self._connection.send((point.number, steps, settings, row, tempo_bpm, released))
        except OSError as error:
            raise HypermeterError("play: the process that draws has ended; play again") from error
        part, number = self._answer()
        return part, self._handle(number)

    def _answer(self) -> Any:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise HypermeterError("play: the process that draws has ended; play again") from error
        if isinstance(answer, HypermeterError):
            raise answer
        return answer

    def _handle(self, number: int) -> Handle:
        handle = Handle(number)
        weakref.finalize(handle, self._released.append, number).atexit = False
        return handle

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(timeout=2)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()
        self._process.close()


def _serve(connection: Connection, model: str, primer: Groove | None, tempo_bpm: float) -> None:
    """Draw until the other side closes; what the process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal
    try:
        drawer = Drawer(load_player(model))
        points, number = {0: drawer.begin(primer, tempo_bpm)}, 0
        connection.send(number)
        while True:
            place, steps, settings, row, tempo_bpm, released = connection.recv()
            for handle in released:
                del points[handle]
            part, after = drawer.draw(points[place], steps, settings, row, tempo_bpm)
            number += 1
            points[number] = after
            connection.send((part, number))
    except HypermeterError as error:
        connection.send(error)
    except (EOFError, OSError):
        pass  # the other side has closed

"""Drawing in a process of its own: the thread that sends never waits for an interpreter that is busy drawing."""

import multiprocessing
import signal
import weakref
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.model.hierarchical import load
from hypermeter.model.plan import Plan
from hypermeter.share.live.asking import Settings
from hypermeter.share.live.drawing import Drawer, Part


class Handle:
    """A moment that the other process keeps, for as long as anybody here has its handle."""

    def __init__(self, number: int):
        self.number = number


class ProcessDrawer:
    """``Drawer`` in another process; its moments are handles.

    Args:
        model: name or path, as ``model.load`` takes it.
        seed: see ``Drawer``.
        primer: heard first.
        tempo_bpm: of it.
    """

    def __init__(self, model: str, seed: int = 0, primer: Groove | None = None, tempo_bpm: float = 120.0):
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        arguments = (other, model, seed, primer, tempo_bpm)
        self._process = context.Process(target=_serve, args=arguments, name="hypermeter-draws", daemon=True)
        self._process.start()
        other.close()
        self._released: list[int] = []

    def first(self) -> Handle:
        """Wait until the model is loaded and has heard the primer: the moment after it.

        Raises:
            HypermeterError: what ``load`` and ``Drawer`` raise.
        """
        return self._handle(self._answer())

    def draw(
        self, moment: Handle, steps: int, settings: Settings, row: Plan | None = None, tempo_bpm: float = 120.0
    ) -> tuple[Part, Handle]:
        """As ``Drawer.draw``."""
        released: list[int] = []
        while self._released:  # one by one: handles may go at any moment, also from another thread
            released.append(self._released.pop())
        told = None if row is None else (row.labels.numpy(), row.numbers.numpy())
        settings = replace(settings, bias=dict(settings.bias))
        try:
            self._connection.send((moment.number, steps, settings, told, tempo_bpm, released))
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


def _serve(connection: Connection, model: str, seed: int, primer: Groove | None, tempo_bpm: float) -> None:
    """What the process does: draw until the other side closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal
    torch.set_num_threads(1)
    moments: dict[int, Any] = {}
    try:
        drawer = Drawer(load(model), seed)
        moments[0] = drawer.begin(primer, tempo_bpm)
        connection.send(0)
        number = 0
        while True:
            place, steps, settings, told, tempo_bpm, released = connection.recv()
            for each in released:
                del moments[each]
            row = None if told is None else Plan(*(torch.from_numpy(each) for each in told))
            part, after = drawer.draw(moments[place], steps, settings, row, tempo_bpm)
            number += 1
            moments[number] = after
            connection.send((part, number))
    except HypermeterError as error:
        connection.send(error)
    except (EOFError, OSError):
        pass  # the other side has closed

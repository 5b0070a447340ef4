"""Sampling in a process of its own, so that the thread that sends never waits for the interpreter."""

import multiprocessing
import signal
import weakref
from multiprocessing.connection import Connection
from typing import Any

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.play.loading import load_player
from hypermeter.play.plan import Plan
from hypermeter.play.request import FollowOptions
from hypermeter.play.state import Passage
from hypermeter.share.live.conditions import LiveSettings
from hypermeter.share.live.hearing import Heard
from hypermeter.share.live.sampler import Sampler

_ENDED = "play: the process that samples has ended; play again"


class StateHandle:
    """A state that the other process keeps for as long as this handle lives."""

    def __init__(self, number: int):
        self.number = number


class SamplerProcess:
    """`Sampler` in another process; its states are handles.

    Args:
        model: name or path, as `load_player` takes it.
        primer: as `Sampler.begin` takes it.
        tempo_bpm: of the primer.
        grid: that the model plays on; `None` is its own.
        following: as `Sampler` takes it.
    """

    def __init__(
        self,
        model: str,
        primer: Groove | None = None,
        tempo_bpm: float = 120.0,
        grid: Grid | None = None,
        following: FollowOptions = FollowOptions(),
    ):
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        arguments = (other, model, primer, tempo_bpm, grid, following)
        self._process = context.Process(target=_serve, args=arguments, name="hypermeter-sampler", daemon=True)
        self._process.start()
        other.close()
        self._released: list[int] = []

    def first(self) -> StateHandle:
        """Wait until the model is loaded, and return the state after the primer.

        Raises:
            HypermeterError: what `load_player` and `Sampler` raise.
        """
        return self._handle(self._answer())

    def sample(
        self,
        state: StateHandle,
        steps: int,
        settings: LiveSettings,
        row: Plan | None = None,
        tempo_bpm: float = 120.0,
        heard: Heard | None = None,
    ) -> tuple[Passage, StateHandle]:
        """Return what `Sampler.sample` returns, with its errors."""
        released: list[int] = []
        while self._released:  # one by one: a handle may die at any moment, also in another thread
            released.append(self._released.pop())
        try:
            self._connection.send((state.number, (steps, settings, row, tempo_bpm, heard), released))
        except OSError as error:
            raise HypermeterError(_ENDED) from error
        part, number = self._answer()
        return part, self._handle(number)

    def _answer(self) -> Any:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise HypermeterError(_ENDED) from error
        if isinstance(answer, HypermeterError):
            raise answer
        return answer

    def _handle(self, number: int) -> StateHandle:
        handle = StateHandle(number)
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


def _serve(
    connection: Connection,
    model: str,
    primer: Groove | None,
    tempo_bpm: float,
    grid: Grid | None,
    following: FollowOptions,
) -> None:
    """Sample for the other side until it closes the connection; the body of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal
    try:
        player = load_player(model)
        sampler = Sampler(player if grid is None else player.on(grid), following)
        states, number = {0: sampler.begin(primer, tempo_bpm)}, 0
        connection.send(number)
        while True:
            before, arguments, released = connection.recv()
            for handle in released:
                del states[handle]
            part, after = sampler.sample(states[before], *arguments)
            number += 1
            states[number] = after
            connection.send((part, number))
    except HypermeterError as error:
        connection.send(error)
    except (EOFError, OSError):
        pass  # the other side has closed

"""Pieces that a model plays for the card, in a process beside this one where a core is free.

`draw_pieces` is a plain function of values that can be pickled: it may run anywhere, with the same result.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from hypermeter.core.groove import Groove
from hypermeter.learn.engines import Engine
from hypermeter.play.articulating import CHANNELS, ArticulationSampler, strokes_of
from hypermeter.play.compose import TEMPO_BPM
from hypermeter.play.expressing import ExpressionSampler
from hypermeter.play.player import Player
from hypermeter.play.request import SamplingOptions

WORTH_A_PROCESS = 20_000
"""Steps of all pieces together from which a process is started: to start one costs as much as some thousand steps."""


PIECES_PER_TASK = 64
"""Pieces that a task of an engine draws."""


def draw_pieces(
    player: Player, pieces: int, steps: int, seed: int, temperature: float = 1.0, first: int = 0
) -> np.ndarray:
    """Return hits (pieces, steps, W) uint8 of pieces that a player plays from silence, of voices and of tracks.

    ``first`` is the number of the first of them, among those of one seed.
    """
    sampling = SamplingOptions(temperature=temperature, seed=seed)
    return player.generate(steps, None, sampling, rows=pieces, first_row=first)


def draw_strokes(
    player: Player, columns: np.ndarray, seed: int, temperature: float = 1.0, tempo_bpm: float = TEMPO_BPM
) -> list[np.ndarray]:
    """Return the numbers of strokes (T, V) of each cell of pieces, as the player performs their hits.

    Args:
        player: of a model with articulation.
        columns: hits (pieces, T, W) of voices and of tracks.
        seed: of velocity, offset and strokes.
        temperature: of the same.
        tempo_bpm: quarter notes a minute.
    """
    (rows, steps, _), voices = columns.shape, player.num_drums
    assert player.articulation is not None
    sampler = ExpressionSampler(player.network.expression, rows, tempo_bpm, seed, temperature)
    articulator = ArticulationSampler(player.articulation, rows, tempo_bpm, seed, temperature)
    state, made = player.start(rows), np.full((rows, steps, voices, CHANNELS), np.nan, np.float32)
    velocity, offset = np.zeros((2, rows, steps, voices), np.float32)
    for step in range(steps):
        x = columns[:, step]
        velocity[:, step], offset[:, step] = sampler.play(state.features, x[:, :voices], step)
        made[:, step] = articulator.play(state.features, x[:, :voices], velocity[:, step], offset[:, step], step)
        if step + 1 < steps:
            state = player.advance(x, state)
    counts = []
    for row, hits in enumerate(columns[..., :voices]):
        strokes = strokes_of(made[row], hits, velocity[row], offset[row], is_first=True)
        counts.append(Groove(hits, strokes=strokes).stroke_counts)
    return counts


def draw_by(engine: Engine, player: Player, pieces: int, steps: int, seed: int, temperature: float = 1.0) -> np.ndarray:
    """Return the pieces of `draw_pieces`, some of which an engine draws at a time."""
    parts = (range(first, min(first + PIECES_PER_TASK, pieces)) for first in range(0, pieces, PIECES_PER_TASK))
    drawn = engine.run(partial(_draw_part, player, steps, seed, temperature), parts)
    return np.concatenate([part for _, part in sorted(drawn, key=lambda pair: pair[0])])


def _draw_part(player: Player, steps: int, seed: int, temperature: float, part: range) -> tuple[int, np.ndarray]:
    return part.start, draw_pieces(player, len(part), steps, seed, temperature, part.start)


class Beside:
    """A call that runs in a process beside this one until its result is asked for.

    It is made in this process, when its result is asked for, where there is no second core or no interpreter, where
    its values cannot be pickled, such as a player of a custom model, and where the other process failed. The process
    ends with the context.

    Args:
        function: of a module, as the other process imports it.
        arguments: of the function.
        is_worth_it: False makes the call in this process.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any, is_worth_it: bool = True):
        self._function, self._arguments = function, arguments
        self._process: subprocess.Popen[bytes] | None = None
        if not is_worth_it or _cores() < 2 or not sys.executable:
            return
        try:
            call = pickle.dumps((function, arguments))
        except (pickle.PicklingError, AttributeError, TypeError):
            return
        code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import answer; answer()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        self._thread = ThreadPoolExecutor(1)
        self._answer: Future[Any] = self._thread.submit(self._process.communicate, call)

    def result(self) -> Any:
        """Wait for the result and return it."""
        if self._process is not None:
            answer, _ = self._answer.result()
            if self._process.returncode == 0:
                return pickle.loads(answer)
        return self._function(*self._arguments)

    def __enter__(self) -> "Beside":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._thread.shutdown()


def answer() -> None:
    """Make the call that standard input has, in the other process of a `Beside`, and write its result."""
    function, arguments = pickle.load(sys.stdin.buffer)
    sys.stdout.buffer.write(pickle.dumps(function(*arguments)))


def _cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

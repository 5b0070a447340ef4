"""Music of one piece, passage by passage, and the player state after each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.strokes import NO_STROKES, Strokes
from hypermeter.play.network import State

Hits = NDArray[np.uint8]
Single = NDArray[np.float32]


@dataclass(frozen=True)
class Passage:
    """Some steps of music of one piece.

    Args:
        hits: (steps, W), 0 or 1, of the voices and then of the columns of tracks.
        velocity: (steps, V), in (0, 1] at hits.
        offset: (steps, V), in [-.5, .5) steps, late is positive.
        strokes: further strokes of cells.
        openness: (steps, V) of the hi-hat in [0, 1], NaN where it is not known; `None` if nowhere.
    """

    hits: Hits
    velocity: Single
    offset: Single
    strokes: Strokes = NO_STROKES
    openness: Single | None = None

    @staticmethod
    def joined(passages: Sequence["Passage"]) -> "Passage":
        """Return passages, at least one, one after another; with openness if all have one."""
        hits, velocity, offset = (
            np.concatenate([getattr(part, name) for part in passages]) for name in ("hits", "velocity", "offset")
        )
        strokes, start = [NO_STROKES.table], 0
        for part in passages:
            strokes.append(part.strokes.moved(start).table)
            start += len(part.hits)
        openness = [part.openness for part in passages if part.openness is not None]
        joined = np.concatenate(openness) if len(openness) == len(passages) else None
        return Passage(hits, velocity, offset, Strokes.of_table(np.concatenate(strokes)), joined)


@dataclass(frozen=True)
class PlayerState:
    """All that a player remembers of one piece before a step, as a value: it can be kept, and continued from again.

    Args:
        state: of the network.
        expression: state of its expression; `None` without.
        articulation: state of its strokes and openness; `None` without.
        ahead: bars of the piece that the network has not heard, see `play.form`.
    """

    state: State
    expression: Any = None
    articulation: Any = None
    ahead: int = 0

    @property
    def position(self) -> int:
        """Number of steps of the piece so far."""
        return self.state.position + self.ahead * self.state.network.grid.steps_per_bar

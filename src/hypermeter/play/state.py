"""Music of one piece, passage by passage, and the player state after each."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """

    hits: Hits
    velocity: Single
    offset: Single


@dataclass(frozen=True)
class PlayerState:
    """All that a player remembers of one piece before a step, as a value: it can be kept, and continued from again.

    Args:
        state: of the network.
        expression: state of its expression; `None` without.
    """

    state: State
    expression: Any = None

    @property
    def position(self) -> int:
        """Number of steps so far."""
        return self.state.position

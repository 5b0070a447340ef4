"""Swing: the second half of each pair of steps comes late."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def apply_swing(position: ArrayLike, swing: float, pair_steps: int = 2) -> NDArray[np.float64]:
    """Return positions in which the second half of each pair of steps comes late; their order stays.

    Args:
        position: in straight steps from a bar line; any shape.
        swing: where the second half begins, as a share of the pair; .5 is straight, 2/3 are triplets.
        pair_steps: steps of a pair: 2 swings single steps, 4 swings two at a time.
    """
    pair, inside = np.divmod(np.asarray(position, np.float64), pair_steps)
    late = pair_steps * swing + (inside - pair_steps / 2) * 2 * (1 - swing)
    return pair * pair_steps + np.where(inside < pair_steps / 2, inside * 2 * swing, late)

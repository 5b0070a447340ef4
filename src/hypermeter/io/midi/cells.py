"""Cells of a groove: which hit is on which step."""

import numpy as np

_LAST_OFFSET = np.nextafter(np.float32(0.5), np.float32(0))


def cells_of(
    positions: np.ndarray, columns: np.ndarray, velocities: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return hits, velocity and offset, each of the shape (T, V), of hits on their nearest steps.

    Of several hits in a cell the loudest stays, and of equally loud ones the first.

    Args:
        positions: (N,) in steps, from -.5 to less than T - .5.
        columns: (N,) column of each hit's voice.
        velocities: (N,) from 1 to 127.
        shape: T and V.
    """
    steps = np.floor(positions + 0.5).astype(np.int64)
    offsets = positions - steps
    # The last hit written to a cell stays.
    order = np.argsort(velocities - 0.9 * offsets)
    cells = steps[order], columns[order]
    hits, velocity, offset = np.zeros(shape, np.uint8), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    hits[cells] = 1
    velocity[cells] = velocities[order] / 127
    offset[cells] = np.minimum(offsets[order].astype(np.float32), _LAST_OFFSET)
    return hits, velocity, offset

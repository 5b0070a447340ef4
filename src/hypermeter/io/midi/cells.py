"""Cells of a groove: which hit is on which step."""

from typing import Any

import numpy as np

from hypermeter.core.strokes import LATEST_OFFSET, Strokes


def cells_of(
    positions: np.ndarray, columns: np.ndarray, velocities: np.ndarray, openness: np.ndarray, shape: tuple[int, int]
) -> dict[str, Any]:
    """Return hits, velocity, offset and openness, each of the shape (T, V), and strokes, by their names in a groove.

    A hit is on its nearest step. Of several hits in a cell the loudest is in the arrays, and of equally loud ones the
    first; the others are strokes.

    Args:
        positions: (N,) in steps, from -.5 to less than T - .5.
        columns: (N,) column of each hit's voice.
        velocities: (N,) in [0, 1].
        openness: (N,) in [0, 1], or NaN.
        shape: T and V.
    """
    steps, offsets = steps_of(positions)
    # The last hit written to a cell stays.
    order = np.argsort(127 * velocities - 0.9 * (positions - steps), kind="stable")
    steps, columns, offsets, openness = (values[order] for values in (steps, columns, offsets, openness))
    velocities = velocities[order].astype(np.float32)
    owner = np.full(shape, -1, np.int64)
    owner[steps, columns] = np.arange(len(steps))
    is_first = owner[steps, columns] == np.arange(len(steps))
    cells = steps[is_first], columns[is_first]
    arrays = {"hits": np.zeros(shape, np.uint8), "velocity": np.zeros(shape, np.float32)}
    arrays |= {"offset": np.zeros(shape, np.float32), "openness": np.full(shape, np.nan, np.float32)}
    arrays["hits"][cells] = 1
    for name, values in (("velocity", velocities), ("offset", offsets), ("openness", openness)):
        arrays[name][cells] = values[is_first]
    others = (values[~is_first] for values in (steps, columns, offsets, velocities, openness))
    return arrays | {"strokes": Strokes(*others)}


def steps_of(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest step of each position, (N,) int64, and its offset from that, (N,) float32."""
    steps = np.floor(positions + 0.5).astype(np.int64)
    return steps, np.minimum((positions - steps).astype(np.float32), LATEST_OFFSET)

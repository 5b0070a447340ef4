"""Steps in equal parts, as notation has them: each stroke of a voice in the part where it is played."""

from math import lcm
from typing import NamedTuple

import numpy as np

from hypermeter.core.groove import Groove

PARTS = (2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Numbers of parts of a step that are tried: the first in which the strokes of a cell fall on parts of their own."""

EXACT, NEAR = 1e-4, 1 / 24
"""Distances in steps of a stroke from its part: the first in any number of parts, then the second."""


class Stroke(NamedTuple):
    """A stroke: its velocity, and how much later than it is written it is played, in steps."""

    velocity: float
    distance: float


DividedStep = list[Stroke | None]
"""The parts of a step, one or more, `None` where there is no stroke."""


def divided_steps(groove: Groove, column: int) -> list[DividedStep]:
    """Return the steps of one voice, in whole bars.

    The stroke of a cell that is nearest to its step is at the beginning of it. The others are as far from that as they
    are played, in the same step or at the end of the one before; those before the first step are at the end of the
    last.
    """
    size = groove.grid.steps_per_bar
    num_steps = -(-len(groove) // size) * size
    parts: list[dict[int, Stroke]] = [{} for _ in range(num_steps)]  # Of each step, in parts of its own number.
    numbers = [1] * num_steps
    strokes = groove.strokes.take(groove.strokes.voice == column)
    placed: list[list[tuple[int, int, Stroke]]] = [[] for _ in range(num_steps)]
    for step in np.flatnonzero(groove.hits[:, column]).tolist():
        own = strokes.take(strokes.step == step)
        velocities = np.append(groove.velocity[step, column], own.velocity).astype(np.float64).tolist()
        offsets = np.append(groove.offset[step, column], own.offset).astype(np.float64)
        number, places = _divide(offsets - offsets[np.abs(offsets).argmin()])
        for velocity, offset, place in zip(velocities, offsets.tolist(), places, strict=True):
            at = step if place >= 0 else (step - 1) % num_steps
            placed[at].append((number, place % number, Stroke(velocity, offset - place / number)))
    for at, found in enumerate(placed):
        numbers[at] = lcm(*(number for number, _, _ in found)) if any(place for _, place, _ in found) else 1
        parts[at] = {place * (numbers[at] // number) if place else 0: stroke for number, place, stroke in found}
    return [[of_step.get(part) for part in range(number)] for number, of_step in zip(numbers, parts, strict=True)]


def _divide(offsets: np.ndarray) -> tuple[int, list[int]]:
    """Return a number of parts of a step, and the part of each stroke, counted from the step: all are different.

    Half a step later is in the step, and half a step earlier is in the one before.

    Args:
        offsets: (N,) in steps from the beginning of the step.
    """
    if len(offsets) == 1:
        return 1, [0]
    for error in (EXACT, NEAR):
        for number in PARTS:
            places = np.clip(np.rint(offsets * number), -((number - 1) // 2), number // 2).astype(int)
            is_near = np.abs(places / number - offsets).max() <= error
            if is_near and len(set(places.tolist())) == len(places):
                return number, places.tolist()
    number = PARTS[-1]
    while number < 2 * len(offsets):
        number *= 2
    low, high = -((number - 1) // 2), number // 2
    order = np.argsort(offsets, kind="stable")
    rank = np.arange(len(order))
    wanted = np.clip(np.rint(offsets[order] * number), low, high)
    later = np.minimum(np.maximum.accumulate(wanted - rank) + rank, high)
    places = np.empty(len(order), int)
    places[order] = np.minimum.accumulate((later - rank)[::-1])[::-1] + rank
    return number, places.tolist()

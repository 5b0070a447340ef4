"""Several takes of one request that differ: the most different of a larger number that are drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.groove import Groove
from hypermeter.core.limits import MAX_SEED
from hypermeter.play.random import choose_seed
from hypermeter.play.request import check

DRAWN_PER_TAKE = 4
"""Takes that are drawn for each that is kept: eight are the most different of 32."""


@dataclass(frozen=True)
class Take:
    """One of several takes.

    Args:
        groove: the music.
        seed: by which the same request gives it alone.
        distance: from the nearest of the other takes, see `distance_of`; NaN of a take alone.
    """

    groove: Groove
    seed: int
    distance: float


def distance_of(one: Groove, other: Groove) -> float:
    """Return how different two grooves of one length are: 0 for equal ones, 1 for hits that never coincide.

    It is 1 less the sum of the smaller velocities over that of the larger (Ruzicka's similarity), and, of hits that
    coincide, the mean distance of their offsets in steps, as a share of the hits.
    """
    first, second = (groove.velocity * (groove.hits > 0) for groove in (one, other))
    most = float(np.maximum(first, second).sum())
    if most == 0:
        return 0.0
    common, either = (one.hits > 0) & (other.hits > 0), (one.hits > 0) | (other.hits > 0)
    delays = float(np.abs(one.offset - other.offset)[common].sum()) / int(either.sum())
    return 1 - float(np.minimum(first, second).sum()) / most + delays


def most_different(grooves: Sequence[Groove], number: int) -> tuple[list[int], NDArray[np.float64]]:
    """Return the places of `number` grooves: the first, and then each time the one furthest from those before.

    Args:
        grooves: of one length, at least one.
        number: at most as many as there are.

    Returns:
        The places, in the order of choice; and the distance of each from the nearest other of them, NaN if alone.

    Source: Gonzalez 1985, whose greedy choice is within half of the greatest least distance.
    """
    chosen = [0]
    nearest = np.array([distance_of(grooves[0], groove) for groove in grooves])
    while len(chosen) < number:
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, [distance_of(grooves[chosen[-1]], groove) for groove in grooves])
    table = np.array([[distance_of(grooves[one], grooves[other]) for other in chosen] for one in chosen])
    np.fill_diagonal(table, np.inf)
    least = table.min(1)
    return chosen, np.where(np.isinf(least), np.nan, least)


def draw_takes(
    draw: Callable[[int], Groove], variations: int = 8, seed: int | None = 0, drawn_per_take: int = DRAWN_PER_TAKE
) -> list[Take]:
    """Return takes that differ, of `drawn_per_take` times as many that are drawn with successive seeds.

    Args:
        draw: the music of a seed, such as `lambda seed: continue_groove(player, sampling=SamplingOptions(seed=seed))`.
        variations: number of takes.
        seed: of the first take, which is the music without variations; `None` chooses one at random.
        drawn_per_take: 1 keeps all that are drawn.

    Raises:
        HypermeterError: a number out of its bounds.
    """
    for name, value in (("variations", variations), ("drawn_per_take", drawn_per_take)):
        check("variations", value, name)
    first = choose_seed(seed)
    seeds = [(first + number) % (MAX_SEED + 1) for number in range(variations * drawn_per_take)]
    grooves = [draw(one) for one in seeds]
    chosen, distances = most_different(grooves, variations)
    return [Take(grooves[place], seeds[place], float(distances[row])) for row, place in enumerate(chosen)]

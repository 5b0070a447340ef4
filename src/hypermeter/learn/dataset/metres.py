"""Batches of performances in several metres, each batch in one."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hypermeter.learn.dataset.loader import batches
from hypermeter.learn.dataset.windows import CompleteHierarchicalDrumDataset

MIX_POWER = 0.75
"""Power of a metre's bars to which its share of the batches is proportional: 1 would leave a metre with a hundredth of
the bars a hundredth of the batches, 0 would give it as many as any."""

BLOCK = 1024
"""Updates whose metres are drawn together."""


def shares_of(datasets: Sequence[CompleteHierarchicalDrumDataset]) -> np.ndarray:
    """Return the share of the batches that each data set has, (data sets,)."""
    bars = np.array([data.corpus.lengths.sum() / data.grid.steps_per_bar for data in datasets])
    return bars**MIX_POWER / (bars**MIX_POWER).sum()


def mixed_batches(
    datasets: Sequence[CompleteHierarchicalDrumDataset],
    batch_size: int,
    seed: int = 0,
    first: int = 0,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[dict[str, Any]]:
    """Return this process's batches from update ``first`` on, without end, each of one data set.

    Which data set a batch is of depends on the seed and the number of the update only. ``grid`` is that of the batch.

    Args:
        datasets: one for each grid; of one alone, the batches are those of ``batches``.
        batch_size, seed, first, rank, processes: as of ``batches``.
    """
    draws, parts = _Draws(shares_of(datasets), seed), []
    counts = np.bincount([draws.at(update) for update in range(first)], minlength=len(datasets))
    for data, count in zip(datasets, counts.tolist(), strict=True):
        parts.append(batches(data, batch_size, seed, count, rank, processes))
    numbers = map(draws.at, itertools.count(first))
    return (next(parts[number]) | {"grid": datasets[number].grid} for number in numbers)


class _Draws:
    """Numbers drawn with given shares, one for each update.

    Args:
        shares: (numbers,), with a sum of 1.
        seed: of the draws.
    """

    def __init__(self, shares: np.ndarray, seed: int) -> None:
        self.shares, self.seed, self.block, self.drawn = shares, seed, -1, shares

    def at(self, update: int) -> int:
        """Return the number of an update."""
        block, place = divmod(update, BLOCK)
        if block != self.block:
            random = np.random.default_rng([self.seed, 4, block])
            self.block, self.drawn = block, random.choice(len(self.shares), BLOCK, p=self.shares)
        return int(self.drawn[place])

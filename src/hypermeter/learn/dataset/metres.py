"""Batches of performances in several metres, each batch in one."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hypermeter.learn.dataset.loader import batches
from hypermeter.learn.dataset.windows import CompleteHierarchicalDrumDataset

MIX_POWER = 0.6
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
    """Yield this process's batches from update ``first`` on, without end, each of one data set.

    Which data set a batch is of depends on the seed and the number of the update only. ``grid`` is that of the batch.

    Args:
        datasets: one for each grid; of one alone, the batches are those of ``batches``.
        batch_size, seed, first, rank, processes: as of ``batches``.
    """
    shares, counts = shares_of(datasets), np.zeros(len(datasets), np.int64)
    drawn: dict[int, np.ndarray] = {}

    def chosen(update: int) -> int:
        block, place = divmod(update, BLOCK)
        if block not in drawn:
            drawn.clear()
            drawn[block] = np.random.default_rng([seed, 4, block]).choice(len(datasets), BLOCK, p=shares)
        return int(drawn[block][place])

    for update in range(first):
        counts[chosen(update)] += 1
    parts = [
        batches(data, batch_size, seed, int(count), rank, processes)
        for data, count in zip(datasets, counts, strict=True)
    ]
    while True:
        number = chosen(first)
        yield next(parts[number]) | {"grid": datasets[number].grid}
        first += 1

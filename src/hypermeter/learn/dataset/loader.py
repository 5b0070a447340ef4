"""The order of windows in an epoch, and loaders of batches."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from hypermeter.learn.dataset.corpus import FILES_PER_GROUP
from hypermeter.learn.dataset.windows import CompleteHierarchicalDrumDataset, collate

BLOCK_BYTES = 16 << 20
"""Performances of a corpus that is not held, whose windows are mixed: a quarter of the cache."""
AHEAD = 2
"""Batches that are loaded before they are used."""


class EpochOrder:
    """The windows of an epoch in a random order, which the seed, the epoch and the number of processes determine.

    Of a corpus that is held, the windows of a batch are dealt to the processes. Else groups of 16 neighbours are
    shuffled and dealt, and the windows of a process are shuffled in blocks of many groups, so that each process reads
    each of its groups once. Memory grows with the windows of a held corpus, else with the groups.

    Args:
        dataset: the windows.
        batch_size: windows in a batch of all processes together.
        seed, epoch: of the order.
        rank: number of this process.
        processes: number of processes.
    """

    def __init__(
        self,
        dataset: CompleteHierarchicalDrumDataset,
        batch_size: int,
        seed: int = 0,
        epoch: int = 0,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.dataset, self.batch_size, self.seed, self.epoch = dataset, batch_size, seed, epoch
        self.rank, self.processes = rank, processes
        random = np.random.default_rng([seed, epoch])
        if dataset.corpus.is_held:
            self._order = random.permutation(len(dataset))
            return
        starts = np.arange(0, len(dataset.corpus), FILES_PER_GROUP)
        windows = np.diff([*map(dataset.windows_before, starts.tolist()), len(dataset)])
        self._groups = random.permutation(len(starts))
        """Numbers of the groups, as they come."""
        self._group_ends = np.cumsum(windows[self._groups])
        """Windows up to the end of each group."""
        sizes = np.add.reduceat(dataset.corpus.lengths.astype(np.int64) * dataset.bytes_per_step + 2048, starts)
        sizes = np.cumsum(sizes[self._groups])
        last = np.flatnonzero(np.diff(sizes // BLOCK_BYTES, append=-1))
        self._block_ends = last + 1
        """Groups up to the end of each block."""
        self._blocks: dict[int, np.ndarray] = {}

    @property
    def num_batches(self) -> int:
        """Batches in an epoch, at least one; what does not fill one is left out."""
        return max(len(self.dataset) // self.batch_size, 1)

    def batch(self, number: int) -> np.ndarray:
        """Return the indices of this process's windows in a batch of the epoch."""
        if self.dataset.corpus.is_held:
            start = number * self.batch_size
            windows = np.take(self._order, range(start, start + self.batch_size), mode="wrap")
            return windows[self.rank :: self.processes]
        share = len(range(self.rank, self.batch_size, self.processes))
        first, end = (len(self.dataset) * rank // self.processes for rank in (self.rank, self.rank + 1))
        places = first + (number * share + np.arange(share)) % max(end - first, 1)
        return np.array([self._window(place) for place in (places % len(self.dataset)).tolist()])

    def _window(self, place: int) -> int:
        """Return the index of the window at a place of the order of all processes."""
        group = int(np.searchsorted(self._group_ends, place, "right"))
        block = int(np.searchsorted(self._block_ends, group, "right"))
        first_group = int(self._block_ends[block - 1]) if block else 0
        if block not in self._blocks:
            if len(self._blocks) > 1:  # A batch may lie in two.
                self._blocks.pop(next(iter(self._blocks)))
            self._blocks[block] = self._shuffled(block, first_group)
        return int(self._blocks[block][place - (int(self._group_ends[first_group - 1]) if first_group else 0)])

    def _shuffled(self, block: int, first_group: int) -> np.ndarray:
        """Return the indices of a block's windows in their order."""
        windows: list[np.ndarray] = []
        for group in self._groups[first_group : self._block_ends[block]].tolist():
            start, end = group * FILES_PER_GROUP, min((group + 1) * FILES_PER_GROUP, len(self.dataset.corpus))
            windows.append(np.arange(self.dataset.windows_before(start), self.dataset.windows_before(end)))
        return np.random.default_rng([self.seed, self.epoch, 1 + block]).permutation(np.concatenate(windows))


def batches(
    dataset: CompleteHierarchicalDrumDataset,
    batch_size: int,
    seed: int = 0,
    first: int = 0,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[dict[str, Any]]:
    """Yield this process's batches from update ``first`` on, without end; each epoch has its own order."""
    update, epoch, order = first, -1, EpochOrder(dataset, batch_size, seed, 0, rank, processes)
    while True:
        if update // order.num_batches != epoch:
            epoch = update // order.num_batches
            order = EpochOrder(dataset, batch_size, seed, epoch, rank, processes)
            dataset.set_epoch(epoch)
        yield collate(dataset.__getitems__(order.batch(update % order.num_batches).tolist()))
        update += 1


def load_ahead(items: Iterator[Any], ahead: int = AHEAD) -> Iterator[Any]:
    """Yield the same items, of which a thread makes the next ones meanwhile. Closing it ends the thread."""
    queue: Queue[tuple[Any, BaseException | None]] = Queue(ahead)
    is_closed = threading.Event()

    def work() -> None:
        try:
            for item in items:
                put(item, None)
                if is_closed.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:  # It is raised where the items are used.
            put(None, error)

    def put(item: Any, error: BaseException | None) -> None:
        while not is_closed.is_set():
            with suppress(Full):
                queue.put((item, error), timeout=0.1)
                return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            try:
                item, error = queue.get(timeout=1)
            except Empty:
                continue
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        is_closed.set()
        thread.join()


class _EpochSampler(Sampler[int]):
    """The windows of a corpus that is not held, in the order of one epoch after the other."""

    def __init__(self, dataset: CompleteHierarchicalDrumDataset, seed: int) -> None:
        self.dataset, self.seed, self.epoch = dataset, seed, -1

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[int]:
        self.epoch += 1
        order = EpochOrder(self.dataset, 1, self.seed, self.epoch)
        return (int(order.batch(number)[0]) for number in range(len(self)))


def get_complete_rl_dataloader(
    npz_dir: str | Path,
    seq_len: int = 512,
    steps_per_bar: int = 16,
    bars_per_phrase: int = 4,
    batch_size: int = 16,
    shuffle: bool = True,
    augment: bool = False,
    num_workers: int = 0,
    *,
    with_metrics: bool = True,
    hop: int | None = None,
    seed: int = 0,
) -> DataLoader:
    """Return a loader of ``CompleteHierarchicalDrumDataset`` in batches as of ``collate``.

    For several processes, give the data set and ``collate`` to a loader with a DistributedSampler.

    Args:
        npz_dir, seq_len, steps_per_bar, bars_per_phrase, augment, with_metrics, hop: as of the data set.
        batch_size: windows in a batch, at least 1; the last batch may have fewer.
        shuffle: whether each epoch has a random order; otherwise files and their windows come in order.
        num_workers: loading processes; 0 loads in this one.
        seed: of the augmentation and of the order, at least 0.

    Raises:
        HypermeterError: as the data set.
    """
    dataset = CompleteHierarchicalDrumDataset(
        npz_dir, seq_len, steps_per_bar, bars_per_phrase, augment=augment, hop=hop, with_metrics=with_metrics, seed=seed
    )
    order = torch.Generator().manual_seed(seed)
    options = {"num_workers": num_workers, "collate_fn": collate, "generator": order}
    if shuffle and not dataset.corpus.is_held:
        return DataLoader(dataset, batch_size, sampler=_EpochSampler(dataset, seed), **options)
    return DataLoader(dataset, batch_size, shuffle=shuffle, **options)

"""What loading costs beside an update of training, from .npz and shards, and what loading ahead in a thread saves.

    python benchmarks/speed/loading.py NPZ SHARDS [--updates 40]

Both are folders of the same performances. Of each form, with and without plans, held in memory or read by groups:
milliseconds of processor time for a batch of 16 windows of 512 steps; then, for loading in turn, by a thread and by one
worker process, the time of the training thread and of the whole process for an update. On one thread of PyTorch.
"""

import argparse
import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from hypermeter.learn.dataset import CompleteHierarchicalDrumDataset, Corpus, batches, load_ahead
from hypermeter.model.hierarchical import HierarchicalDrumModel


class Stream(IterableDataset):
    """Batches for a worker process of PyTorch's loader."""

    def __init__(self, dataset: CompleteHierarchicalDrumDataset) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return batches(self.dataset, 16)


WAYS: dict[str, Callable[[CompleteHierarchicalDrumDataset], Iterator[dict[str, Any]]]] = {
    "in turn": lambda dataset: batches(dataset, 16),
    "a thread": lambda dataset: load_ahead(batches(dataset, 16)),
    "a worker": lambda dataset: iter(DataLoader(Stream(dataset), batch_size=None, num_workers=1)),
}


def dataset_of(folder: Path, is_held: bool, with_plans: bool) -> CompleteHierarchicalDrumDataset:
    corpus = Corpus(folder, with_sections=with_plans, held_bytes=None if is_held else 0)
    labels = corpus.labels() if with_plans else None
    return CompleteHierarchicalDrumDataset(corpus, hop=64, with_metrics=False, labels=labels)


def batch_ms(dataset: CompleteHierarchicalDrumDataset, number: int) -> float:
    data = batches(dataset, 16)
    next(data)
    begin = time.process_time()
    for _ in itertools.islice(data, number):
        pass
    return (time.process_time() - begin) / number * 1000


def update_ms(data: Iterator[dict[str, Any]], model: HierarchicalDrumModel, number: int) -> tuple[float, float, float]:
    """Return milliseconds of an update: of the thread, of the process, and by the clock."""
    optimizer = torch.optim.AdamW(model.parameters())
    times: list[tuple[float, float, float]] = []
    for batch in itertools.islice(data, number + 3):
        model.compute_loss(model(batch["step"]), batch).backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append((time.thread_time(), time.process_time(), time.perf_counter()))
    steps = [[later - earlier for earlier, later in itertools.pairwise(column)] for column in zip(*times, strict=True)]
    return tuple(1000 * median(column[2:]) for column in steps)  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("npz", type=Path)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dataset = dataset_of(arguments.shards, True, False)
    for name, folder in (("npz", arguments.npz), ("shards", arguments.shards)):
        for is_held, with_plans in itertools.product((True, False), (False, True)):
            begin = time.process_time()
            dataset = dataset_of(folder, is_held, with_plans)
            opening_s = time.process_time() - begin
            cost = batch_ms(dataset, 4 * arguments.updates)
            form = f"{name}, {'held' if is_held else 'by groups'}{', plans' if with_plans else ''}"
            print(f"{form}: reading the corpus {opening_s:.2f} s, a batch {cost:.2f} ms", flush=True)
    model = HierarchicalDrumModel(dataset.num_drums)
    for is_held in (True, False):
        dataset = dataset_of(arguments.shards, is_held, False)
        found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
        for _, way in itertools.product(range(arguments.rounds), WAYS):
            data = WAYS[way](dataset)
            found[way].append(update_ms(data, model, arguments.updates))
            del data
        for way, results in found.items():
            thread, process, clock = (median(column) for column in zip(*results, strict=True))
            form = "held" if is_held else "by groups"
            print(f"{form}, loading {way}: thread {thread:.1f}, process {process:.1f}, clock {clock:.1f} ms an update")


if __name__ == "__main__":
    main()

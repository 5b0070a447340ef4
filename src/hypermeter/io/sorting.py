"""Sorting more than memory holds: sorted runs on the disk, which are merged."""

import heapq
import json
import tempfile
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np
from jaxtyping import UInt64

from hypermeter.core.files import naming_write_errors

VALUE_BITS = 40
"""Values of pairs are below 2 ** VALUE_BITS; pairs are sorted by the number of their key among at most 2 ** 24."""

PAIRS_PER_RUN = 2**20
"""Pairs that are sorted in memory at a time, and that are in memory while runs are merged: 16 MiB, and as much again
for the sorting."""

MIN_PAIRS_OF_RUN = 2**6
"""Pairs of a run that are read at a time, however many runs there are: a kilobyte for each run of 16 MiB."""

CHARACTERS_PER_RUN = 2**23
"""Characters of texts that are sorted in memory at a time."""

Pairs = tuple[UInt64[np.ndarray, " n"], UInt64[np.ndarray, " n"]]
"""Keys and values."""


class PairSorter:
    """Sorts pairs of a key and a value by both, in a fixed amount of memory.

    Args:
        folder: where runs are written, to files without a name that end with the process.
        unique: drop pairs that are there already.
        pairs_per_run: pairs that are in memory at a time, at most 2 ** 24; by default PAIRS_PER_RUN.
    """

    def __init__(self, folder: Path, unique: bool = False, pairs_per_run: int | None = None) -> None:
        self.folder, self.unique, self.pairs_per_run = folder, unique, pairs_per_run or PAIRS_PER_RUN
        self.count = 0
        self._waiting: list[Pairs] = []
        self._num_waiting = 0
        self._file: BinaryIO | None = None
        self._ends = [0]

    def add(self, keys: np.ndarray, values: np.ndarray) -> None:
        """Add pairs: keys of 64 bits, values in [0, 2**VALUE_BITS)."""
        for start in range(0, len(keys), self.pairs_per_run):
            part = slice(start, start + self.pairs_per_run)
            self._waiting.append((np.asarray(keys[part], np.uint64), np.asarray(values[part], np.uint64)))
            self._num_waiting += len(self._waiting[-1][0])
            if self._num_waiting >= self.pairs_per_run:
                self._flush()
        self.count += len(keys)

    def blocks(self) -> Iterator[Pairs]:
        """Yield the sorted pairs, some at a time. They can be read again, until more are added."""
        if self._file is None:
            if self._num_waiting:
                self._waiting = [self._sorted_waiting()]
                self._num_waiting = len(self._waiting[0][0])
                yield self._waiting[0]
            return
        self._flush()
        size = max(self.pairs_per_run // (len(self._ends) - 1), MIN_PAIRS_OF_RUN)
        last = None
        runs = [_Run(self._file, start, end, size) for start, end in zip(self._ends, self._ends[1:], strict=False)]
        for keys, values in _merge(runs):
            if self.unique:
                keys, values = _without_repeats(keys, values, last)
                last = (keys[-1], values[-1]) if len(keys) else last
            if len(keys):
                yield keys, values

    def close(self) -> None:
        """Free the memory and the disk."""
        self._waiting, self._num_waiting = [], 0
        if self._file is not None:
            self._file.close()

    def _flush(self) -> None:
        if not self._num_waiting:
            return
        keys, values = self._sorted_waiting()
        self._waiting, self._num_waiting = [], 0
        with naming_write_errors(self.folder):
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
            self._file.seek(self._ends[-1] * 16)
            self._file.write(np.stack([keys, values], 1).data)
        self._ends.append(self._ends[-1] + len(keys))

    def _sorted_waiting(self) -> Pairs:
        keys, values = (np.concatenate(arrays) for arrays in zip(*self._waiting, strict=True))
        keys, values = _sorted(keys, values)
        return _without_repeats(keys, values, None) if self.unique else (keys, values)


class _Run:
    """A sorted run on the disk, and the part of it that is in memory."""

    def __init__(self, file: BinaryIO, start: int, end: int, size: int) -> None:
        self.file, self.position, self.end, self.size = file, start, end, size
        self.keys = self.values = np.zeros(0, np.uint64)

    def fill(self) -> bool:
        """Read on where nothing is in memory; return whether there is something."""
        if not len(self.keys) and self.position < self.end:
            count = min(self.size, self.end - self.position)
            self.file.seek(self.position * 16)
            pairs = np.frombuffer(self.file.read(count * 16), np.uint64).reshape(count, 2)
            self.keys, self.values = pairs[:, 0].copy(), pairs[:, 1].copy()
            self.position += count
        return bool(len(self.keys))

    def take(self, key: np.uint64, value: np.uint64) -> Pairs:
        """Remove and return the pairs in memory up to a pair, with it."""
        first, last = np.searchsorted(self.keys, key, "left"), np.searchsorted(self.keys, key, "right")
        stop = int(first + np.searchsorted(self.values[first:last], value, "right"))
        taken = self.keys[:stop], self.values[:stop]
        self.keys, self.values = self.keys[stop:], self.values[stop:]
        return taken


def _merge(runs: Sequence[_Run]) -> Iterator[Pairs]:
    """Yield the pairs of sorted runs: each time all up to the least of the last pairs that are in memory."""
    while runs := [run for run in runs if run.fill()]:
        bound = min((run.keys[-1], run.values[-1]) for run in runs)
        taken = [run.take(*bound) for run in runs]
        keys, values = (np.concatenate(arrays) for arrays in zip(*taken, strict=True))
        yield _sorted(keys, values) if len(runs) > 1 else (keys, values)


def _sorted(keys: np.ndarray, values: np.ndarray) -> Pairs:
    # By the key, then by the number of the key and the value together: several times as fast as numpy.lexsort.
    order = np.argsort(keys)
    keys = keys[order]
    numbers = np.concatenate([np.zeros(1, np.uint64), np.cumsum(keys[1:] != keys[:-1], dtype=np.uint64)])
    values = np.sort(numbers << np.uint64(VALUE_BITS) | values[order]) & np.uint64(2**VALUE_BITS - 1)
    return keys, values


def _without_repeats(keys: np.ndarray, values: np.ndarray, last: tuple[np.uint64, np.uint64] | None) -> Pairs:
    is_new = np.ones(len(keys), bool)
    is_new[1:] = (keys[1:] != keys[:-1]) | (values[1:] != values[:-1])
    if last is not None and len(keys):
        is_new[0] = (keys[0], values[0]) != last
    return keys[is_new], values[is_new]


class TextSorter:
    """Sorts texts, each with another text beside it, in a fixed amount of memory. Equal texts stay in their order.

    Args:
        folder: where runs are written, to files without a name that end with the process.
        characters_per_run: characters that are in memory at a time; by default CHARACTERS_PER_RUN.
    """

    def __init__(self, folder: Path, characters_per_run: int | None = None) -> None:
        self.folder, self.characters_per_run = folder, characters_per_run or CHARACTERS_PER_RUN
        self._waiting: list[tuple[str, str]] = []
        self._num_characters = 0
        self._files: list[TextIO] = []

    def add(self, text: str, beside: str = "") -> None:
        """Add a text, and what is kept with it."""
        self._waiting.append((text, beside))
        self._num_characters += len(text) + len(beside) + 150  # of the objects themselves
        if self._num_characters >= self.characters_per_run:
            self._flush()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yield the texts in order, with what is beside them. They can be read again, one reader at a time."""
        self._waiting.sort(key=itemgetter(0))
        if not self._files:
            return iter(self._waiting)
        return heapq.merge(*map(_lines, self._files), self._waiting, key=itemgetter(0))

    def __bool__(self) -> bool:
        return bool(self._waiting or self._files)

    def close(self) -> None:
        """Free the memory and the disk."""
        self._waiting = []
        for file in self._files:
            file.close()
        self._files = []

    def _flush(self) -> None:
        self._waiting.sort(key=itemgetter(0))
        with naming_write_errors(self.folder):
            file = tempfile.TemporaryFile("w+", dir=self.folder, encoding="ascii")  # noqa: SIM115
            self._files.append(file)
            file.writelines(f"{json.dumps(pair)}\n" for pair in self._waiting)
            file.flush()
        self._waiting, self._num_characters = [], 0


def _lines(file: TextIO) -> Iterator[tuple[str, str]]:
    file.seek(0)
    return map(json.loads, file)

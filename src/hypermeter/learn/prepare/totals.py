"""Totals of all files, counted while their records pass by."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from hypermeter.io.midi.own_grid import CLEAR
from hypermeter.io.sorting import PairSorter, TextSorter
from hypermeter.learn.prepare.manifest import Items
from hypermeter.learn.prepare.tables import SPLITS
from hypermeter.music.duplicates import BarSets

_COUNTS = ("bars", "hits", "strokes", "dropped")


class Totals:
    """The manifest's fields about all converted files together; a fixed amount of memory, but for 2 bytes a file.

    Args:
        folder: where digests are sorted.
        leaders: the first file of the group of near-duplicates of each file, see `near_duplicate_leaders`.
    """

    def __init__(self, folder: Path, leaders: np.ndarray) -> None:
        self.splits = {split: Counter(dict.fromkeys(("files", *_COUNTS), 0)) for split in SPLITS}
        self.bars_cut = 0
        self.unmapped: Counter[int] = Counter()
        self.notes: dict[str, Counter[str]] = {"notes": Counter(), "notes_dropped": Counter()}
        self.kinds: Counter[str] = Counter()
        self.shifts_ms: Counter[float] = Counter()
        self.num_left_out = 0
        self.leaders = leaders
        self.is_grouped = np.bincount(leaders, minlength=len(leaders))[leaders] > 1
        self.bars = PairSorter(folder)
        self.grouped = TextSorter(folder)
        self._next = 0

    def add(self, records: Iterable[dict[str, Any]], bars: BarSets) -> None:
        """Count the files of the next task.

        Args:
            records: of all of its files; of rejects only the place among the files counts.
            bars: of the same files.
        """
        codes = np.zeros(len(bars.sizes), np.uint8)
        for number, record in enumerate(records):
            if "npz" in record:
                codes[number] = SPLITS.index(record["split"])
                self._add_record(record)
                if self.is_grouped[self._next]:
                    self.grouped.add(f"{self.leaders[self._next]:010}", json.dumps([record["source"], record["split"]]))
            self._next += 1
        digests, split_of = bars.rows[:, 0], np.repeat(codes, bars.sizes)
        for code in range(len(SPLITS)):
            unique, which = np.unique(digests[split_of == code], return_inverse=True)
            counts = np.bincount(which, bars.counts[split_of == code], len(unique)).astype(np.uint64)
            self.bars.add(unique, counts << np.uint64(2) | np.uint64(code))

    def _add_record(self, record: dict[str, Any]) -> None:
        split = self.splits[record["split"]]
        split["files"] += 1
        for key in _COUNTS:
            split[key] += record[key]
        self.bars_cut += record["bars_cut"]
        self.unmapped.update({int(pitch): count for pitch, count in record["unmapped"].items()})
        for key, counts in self.notes.items():
            counts.update(record.get(key, {}))
        self.kinds[record["own_grid"]["kind"]] += 1
        if record["own_grid"]["clarity"] >= CLEAR:
            self.shifts_ms[record["own_grid"]["player_shift_ms"]] += 1
        self.num_left_out += bool(record["left_out"])

    def fields(self) -> dict[str, Any]:
        """Return the totals in the order of the manifest."""
        distinct, verbatim = self._count_bars()
        num_across = sum(len({split for _, split in group}) > 1 for group in self._groups())
        notes = {key: {name: counts[name] for name in sorted(counts)} for key, counts in self.notes.items()}
        return {
            "splits": {split: {**counts, "distinct_bars": distinct[split]} for split, counts in self.splits.items()},
            "distinct_bars": distinct["all"],
            "hits": sum(counts["hits"] for counts in self.splits.values()),
            "strokes": sum(counts["strokes"] for counts in self.splits.values()),
            "hits_dropped": sum(counts["dropped"] for counts in self.splits.values()),
            "bars_cut": self.bars_cut,
            "unmapped": {str(pitch): self.unmapped[pitch] for pitch in sorted(self.unmapped)},
            "own_grids": self._own_grids(),
            **(notes if notes["notes"] else {}),
            "near_duplicates": Items(map(_parts, self._groups())),
            "near_duplicates_across_splits": num_across,
            "bars_verbatim_in_train": verbatim,
        }

    def _groups(self) -> Iterator[Iterator[tuple[str, str]]]:
        """Yield the groups of near-duplicates, each with its sources and splits."""
        for _, group in groupby(self.grouped, key=itemgetter(0)):
            yield (json.loads(beside) for _, beside in group)

    def close(self) -> None:
        """Free the disk."""
        self.bars.close()
        self.grouped.close()

    def _own_grids(self) -> dict[str, Any]:
        """Return how many files are of each kind of grid or have no clear one, and the median shift of the others."""
        num_files, num_clear = self.kinds.total(), self.shifts_ms.total()
        median_ms = None
        if num_clear:
            shifts_ms = np.array(sorted(self.shifts_ms))
            ends = np.cumsum([self.shifts_ms[shift] for shift in shifts_ms.tolist()])
            middle = np.searchsorted(ends, [(num_clear - 1) // 2, num_clear // 2], "right")
            median_ms = round(float(shifts_ms[middle].mean()), 2)
        kinds = dict(sorted(self.kinds.items()))
        return {"kinds": kinds, "unclear": num_files - num_clear, "median_shift_ms": median_ms}

    def _count_bars(self) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
        """Return the numbers of bars with different hits, and of held-out bars that are in the training split.

        Rests do not count.
        """
        distinct: Counter[str] = Counter()
        bars, in_train = np.zeros(len(SPLITS), np.int64), np.zeros(len(SPLITS), np.int64)
        for keys, values in _whole_groups(self.bars):
            codes = (values & np.uint64(3)).astype(np.intp)
            counts = (values >> np.uint64(2)).astype(np.int64)
            group = np.concatenate([np.zeros(1, np.intp), np.cumsum(keys[1:] != keys[:-1])])
            is_there = np.zeros((group[-1] + 1, len(SPLITS)), bool)
            is_there[group, codes] = True
            distinct["all"] += len(is_there)
            for code, split in enumerate(SPLITS):
                distinct[split] += int(is_there[:, code].sum())
                bars[code] += counts[codes == code].sum()
                in_train[code] += counts[(codes == code) & is_there[group, 0]].sum()
        verbatim = {
            split: {"bars": int(bars[code]), "in_train": int(in_train[code])}
            for code, split in enumerate(SPLITS)
            if code
        }
        return {split: distinct[split] for split in ("all", *SPLITS)}, verbatim


def _parts(group: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield "["
    for number, (source, _) in enumerate(group):
        yield f"{', ' if number else ''}{json.dumps(source)}"
    yield "]"


def _whole_groups(pairs: PairSorter) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield sorted pairs, those of a key together."""
    keys, values = np.zeros(0, np.uint64), np.zeros(0, np.uint64)
    for new_keys, new_values in pairs.blocks():
        keys, values = np.concatenate([keys, new_keys]), np.concatenate([values, new_values])
        last = int(np.searchsorted(keys, keys[-1]))
        if last:
            yield keys[:last], values[:last]
        keys, values = keys[last:], values[last:]
    if len(keys):
        yield keys, values

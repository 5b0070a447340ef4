"""Finding bars and performances that are equal or nearly so.

Near-duplicate performances must not be in both parts of a split, and a bar that is repeated many times teaches nothing.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Int32, UInt32, UInt64

from hypermeter.io.sorting import PairSorter

NEAR = 0.5
"""Share of common bars from which performances are near-duplicates."""

MAX_COMPARED = 64
"""Number of following bars with which each bar is compared."""

FEW_COMPARED = 4
"""Number of following bars with which each bar is compared at first."""

MAX_PAIRS = 2**27
"""Pairs of bars that are on the disk at a time, 32 bytes each; with more, a part is counted after another."""

_MIXING = np.uint64(0x9E3779B97F4A7C15)


def bar_digests(hits: np.ndarray, steps_per_bar: int) -> np.ndarray:
    """Return digests (bars, V + 1) uint64: of each bar with hits, and of the bar without voice v.

    A digest is the sum of random 64-bit numbers, one for each cell with a hit: equal bars have equal digests, others
    practically never. A bar with one voice has as its digest without that voice that of the bar itself.

    Args:
        hits: (T, V), 0 or 1, of whole bars.
        steps_per_bar: number of steps in a bar.
    """
    bars = hits.reshape(-1, steps_per_bar, hits.shape[1])
    bars = bars[bars.any((1, 2))].astype(np.uint64)
    voices = np.einsum("bsv,sv->bv", bars, _digest_keys(*bars.shape[1:]))
    bar = voices.sum(1, keepdims=True)
    without_voice = bar - voices
    numbers = np.arange(1, hits.shape[1] + 1, dtype=np.uint64)
    return np.concatenate([bar, np.where(without_voice == 0, bar, without_voice + numbers)], 1)


@lru_cache
def _digest_keys(steps_per_bar: int, num_voices: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**64, (steps_per_bar, num_voices), np.uint64)


def runs_without_copies(bars: Sequence[Hashable], max_copies: int, counts: Counter[Hashable]) -> list[tuple[int, int]]:
    """Return the first and the last (exclusive) bar of each run of bars that are left without further copies.

    Args:
        bars: the bars in order; equal ones are copies.
        max_copies: how many of the same bar stay: the first ones.
        counts: bar -> copies that came before; these bars are added to it.
    """
    runs: list[tuple[int, int]] = []
    for number, bar in enumerate(bars):
        counts[bar] += 1
        if counts[bar] > max_copies:
            continue
        if runs and runs[-1][1] == number:
            runs[-1] = runs[-1][0], number + 1
        else:
            runs.append((number, number + 1))
    return runs


@dataclass(frozen=True)
class BarSets:
    """The different bars of successive performances.

    Args:
        sizes: (N,) how many different bars with hits each performance has.
        keys: (N,) a digest of all of them: performances of the same bars have the same.
        rows: (R, V + 1) digests of the bars, see `bar_digests`, one performance after another.
        counts: (R,) how often each of them is there.
    """

    sizes: UInt32[np.ndarray, " N"]
    keys: UInt64[np.ndarray, " N"]
    rows: UInt64[np.ndarray, "R W"]
    counts: UInt32[np.ndarray, " R"]


def bar_sets(bars: Sequence[np.ndarray], num_voices: int) -> BarSets:
    """Return the different bars of performances from the digests of all their bars."""
    rows = np.concatenate([np.zeros((0, num_voices + 1), np.uint64), *bars])
    performance = np.repeat(np.arange(len(bars)), [len(digests) for digests in bars])
    order = np.lexsort((rows[:, 0], performance))  # Stable, so that of equal bars the first comes first.
    rows, performance = rows[order], performance[order]
    is_new = np.ones(len(rows), bool)
    is_new[1:] = (rows[1:, 0] != rows[:-1, 0]) | (performance[1:] != performance[:-1])
    first = np.flatnonzero(is_new)
    counts = np.diff(first, append=len(rows)).astype(np.uint32)
    rows, sizes = rows[first], np.bincount(performance[first], minlength=len(bars)).astype(np.uint32)
    content = rows[:, 0].tobytes()
    ends = np.cumsum(sizes, dtype=np.int64) * rows.itemsize
    starts = ends - sizes * rows.itemsize
    keys = b"".join(
        blake2b(content[start:end], digest_size=8).digest()
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    )
    return BarSets(sizes, np.frombuffer(keys, "<u8").astype(np.uint64), rows, counts)


def group_near_duplicates(names: Iterable[str], bars: dict[str, np.ndarray]) -> list[list[str]]:
    """Return all names in groups that a split must not separate: near-duplicates, and each other name by itself."""
    groups = near_duplicates(bars)
    grouped = {name for group in groups for name in group}
    return groups + [[name] for name in names if name not in grouped]


def near_duplicates(bars: dict[str, np.ndarray]) -> list[list[str]]:
    """Return groups of two or more names whose performances share at least NEAR of their unique bars.

    Args:
        bars: name -> digests of its bars, see `bar_digests`.
    """
    if not bars:
        return []
    names = sorted(bars)
    sets = bar_sets([bars[name] for name in names], bars[names[0]].shape[1] - 1)
    with TemporaryDirectory() as folder:
        leaders = near_duplicate_leaders(lambda: [sets], len(names), Path(folder))
    groups: dict[int, list[str]] = {}
    for name, leader in zip(names, leaders.tolist(), strict=True):
        groups.setdefault(leader, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def near_duplicate_leaders(
    bar_sets: Callable[[], Iterable[BarSets]], count: int, folder: Path, pairs_in_memory: int | None = None
) -> Int32[np.ndarray, " N"]:
    """Return, for each performance, the first one of its group of near-duplicates, which may be itself.

    Performances are near-duplicates if they share at least NEAR of their unique bars, or if both are near-duplicates of
    a third. Bars count as shared if they differ in one voice at most. Those with the same bars are one performance.
    Each bar is compared with the next MAX_COMPARED similar ones, in order of the size of their performances, so that
    the time stays linear for a bar that many of them contain.

    Digests are sorted on the disk, and so are the bars that pairs of performances share: in memory are a fixed number
    of pairs, and 28 bytes for each performance.

    Args:
        bar_sets: returns the performances, some at a time; it is called three times.
        count: number of performances.
        folder: where digests are sorted.
        pairs_in_memory: how many pairs are sorted at a time, see `PairSorter`.
    """
    sizes, leader = _same_bars(bar_sets(), count, folder, pairs_in_memory)
    is_first = (leader == np.arange(count)) & (sizes > 0)
    number_of = np.flatnonzero(is_first)[np.argsort(sizes[is_first], kind="stable")].astype(np.int32)
    if not len(number_of):
        return leader
    rank_of = np.zeros(count, np.int32)
    rank_of[number_of] = np.arange(len(number_of))
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes[number_of], dtype=np.int64)])
    entries = PairSorter(folder, pairs_per_run=pairs_in_memory)
    first = 0
    for part in bar_sets():
        numbers = slice(first, first + len(part.sizes))
        row_starts = np.cumsum(part.sizes, dtype=np.int64) - part.sizes
        row_ids = np.arange(len(part.rows)) + np.repeat(starts[rank_of[numbers]] - row_starts, part.sizes)
        is_kept = np.repeat(is_first[numbers], part.sizes)
        rows = part.rows[is_kept]
        entries.add(rows.ravel(), np.repeat(row_ids[is_kept], rows.shape[1]))
        first += len(part.sizes)
    groups = _Groups(leader, number_of)
    ranked_sizes = sizes[number_of]
    del sizes, rank_of, is_first
    # The nearest first: what they join needs no counting among the many pairs of all.
    num_pairs = _join(entries, FEW_COMPARED, 1, starts, ranked_sizes, groups, folder, pairs_in_memory)
    num_parts = -(-num_pairs // MAX_PAIRS)
    _join(entries, MAX_COMPARED, num_parts, starts, ranked_sizes, groups, folder, pairs_in_memory)
    entries.close()
    return groups.leaders()


def _same_bars(
    bar_sets: Iterable[BarSets], count: int, folder: Path, pairs_in_memory: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the size of each performance, and the first one with the same bars."""
    sizes = np.zeros(count, np.uint32)
    leader = np.arange(count, dtype=np.int32)
    keys = PairSorter(folder, pairs_per_run=pairs_in_memory)
    first = 0
    for part in bar_sets:
        numbers = np.arange(first, first + len(part.sizes))
        sizes[numbers] = part.sizes
        has_bars = part.sizes > 0
        keys.add(part.keys[has_bars], numbers[has_bars])
        first += len(numbers)
    last_key, last_leader = None, 0
    for found, numbers in keys.blocks():
        is_new = np.concatenate([found[:1] != last_key, found[1:] != found[:-1]])
        leaders = np.where(is_new, numbers, 0).astype(np.int64)
        if not is_new[0]:
            leaders[0] = last_leader
        starts = np.maximum.accumulate(np.where(is_new, np.arange(len(found)), 0))
        leaders = leaders[starts]
        leader[numbers] = leaders
        last_key, last_leader = found[-1], leaders[-1]
    keys.close()
    return sizes, leader


class _Groups:
    """Sets of performances that are joined: of each performance the leader, the first one of its set.

    Args:
        leader: (N,) of all performances.
        number_of: (R,) rank -> performance, of those that are compared.
    """

    def __init__(self, leader: np.ndarray, number_of: np.ndarray) -> None:
        self.leader, self.number_of = leader, number_of

    def leaders(self) -> np.ndarray:
        """Return the leader of each performance."""
        while (self.leader[self.leader] != self.leader).any():
            self.leader = self.leader[self.leader]
        return self.leader

    def join(self, ranks: np.ndarray, others: np.ndarray) -> None:
        leader = self.leader
        pairs = zip(self.number_of[ranks].tolist(), self.number_of[others].tolist(), strict=True)
        for first, second in pairs:
            first, second = self._find(first), self._find(second)
            leader[max(first, second)] = min(first, second)

    def _find(self, number: int) -> int:
        leader = self.leader
        while (above := int(leader[number])) != number:
            leader[number] = leader[above]
            number = above
        return number


def _join(
    entries: PairSorter,
    max_distance: int,
    num_parts: int,
    starts: np.ndarray,
    sizes: np.ndarray,
    groups: _Groups,
    folder: Path,
    pairs_in_memory: int | None,
) -> int:
    """Join near-duplicates among performances that have a similar bar up to a distance from each other.

    Args:
        entries: digests of bars, with the numbers of the bars.
        max_distance: how many of the following similar bars each one is compared with.
        num_parts: parts of the pairs of performances that are counted one after another.
        starts: (R + 1,) number of the first bar of each performance, in the order of their ranks.
        sizes: (R,) number of bars of each.
        groups: what is joined.
        folder, pairs_in_memory: as in `near_duplicate_leaders`.

    Returns:
        The number of pairs of bars up to MAX_COMPARED.
    """
    num_pairs = 0
    for part in range(num_parts):
        shared = PairSorter(folder, unique=True, pairs_per_run=pairs_in_memory)
        leader_of = groups.leaders()[groups.number_of]
        for rows, ranks, distance, first in _similar(entries, starts):
            num_pairs += len(first) if part == 0 else 0
            if distance > max_distance:
                continue
            one, other = ranks[first], ranks[first + distance]
            first = first[leader_of[one] != leader_of[other]]
            one, other = ranks[first], ranks[first + distance]
            pair = one.astype(np.uint64) << np.uint64(32) | other.astype(np.uint64)
            if num_parts > 1:
                is_in_part = pair * _MIXING % np.uint64(2**31 - 1) % np.uint64(num_parts) == part
                pair, first = pair[is_in_part], first[is_in_part]
            shared.add(pair, rows[first])
            shared.add(pair, rows[first + distance])
        _join_near(shared, sizes, groups)
        shared.close()
    return num_pairs


def _similar(entries: PairSorter, starts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, int, np.ndarray]]:
    """Yield numbers of bars, their performances, a distance, and the places of those that are similar at this distance.

    Places are of the first of two bars, whose performances are different.
    """
    keys, rows = np.zeros(0, np.uint64), np.zeros(0, np.uint64)
    for new_keys, new_rows in entries.blocks():
        num_old = len(keys)
        keys, rows = np.concatenate([keys, new_keys]), np.concatenate([rows, new_rows])
        ranks = np.zeros(len(rows), np.int32)
        for distance in range(1, MAX_COMPARED + 1):
            start = max(num_old - distance, 0)
            first = start + np.flatnonzero(keys[start : len(keys) - distance] == keys[start + distance :])
            if not len(first):
                break
            if distance == 1:  # Of bars that are like another.
                start = max(num_old - MAX_COMPARED, 0)
                used = np.unique(np.concatenate([np.arange(start, num_old), first, first + 1]))
                ranks[used] = np.searchsorted(starts, rows[used].astype(np.int64), "right") - 1
            yield rows, ranks, distance, first[ranks[first] != ranks[first + distance]]
        keys, rows = keys[-MAX_COMPARED:], rows[-MAX_COMPARED:]


def _join_near(shared: PairSorter, sizes: np.ndarray, groups: _Groups) -> None:
    """Join performances of which at least NEAR of the bars are shared: pairs of them, each with the bars."""
    last_pair, last_count = None, 0
    for pairs, _ in shared.blocks():
        found, counts = np.unique(pairs, return_counts=True)
        if last_pair == found[0]:
            counts[0] += last_count
        elif last_pair is not None:
            found, counts = np.insert(found, 0, last_pair), np.insert(counts, 0, last_count)
        last_pair, last_count = found[-1], counts[-1]
        _join_counted(found[:-1], counts[:-1], sizes, groups)
    if last_pair is not None:
        _join_counted(np.array([last_pair], np.uint64), np.array([last_count]), sizes, groups)


def _join_counted(pairs: np.ndarray, counts: np.ndarray, sizes: np.ndarray, groups: _Groups) -> None:
    one, other = (pairs >> np.uint64(32)).astype(np.int64), (pairs & np.uint64(2**32 - 1)).astype(np.int64)
    near = counts >= NEAR * (sizes[one].astype(np.int64) + sizes[other])
    groups.join(one[near], other[near])

"""Finding bars and performances that are equal or nearly so.

Near-duplicate performances must not be in both parts of a split, and a bar that is repeated many times teaches nothing.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache

import numpy as np

NEAR = 0.5
"""Share of common bars from which performances are near-duplicates."""

MAX_COMPARED = 64
"""Number of following bars with which each bar is compared."""


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


def group_near_duplicates(names: Iterable[str], bars: dict[str, np.ndarray]) -> list[list[str]]:
    """Return all names in groups that a split must not separate: near-duplicates, and each other name by itself."""
    groups = near_duplicates(bars)
    grouped = {name for group in groups for name in group}
    return groups + [[name] for name in names if name not in grouped]


def near_duplicates(bars: dict[str, np.ndarray]) -> list[list[str]]:
    """Return groups of two or more names whose performances share at least NEAR of their unique bars.

    Bars count as shared if they differ in one voice at most. Each bar is compared with the next MAX_COMPARED similar
    ones, in order of the size of their performances, so that the time stays linear for a bar that all of them contain.

    Args:
        bars: name -> digests of its bars, see `bar_digests`.
    """
    unique = {name: rows[np.unique(rows[:, 0], return_index=True)[1]] for name, rows in bars.items() if len(rows)}
    names = sorted(unique, key=lambda name: (len(unique[name]), unique[name][:, 0].tobytes(), name))
    if not names:
        return []
    sizes = np.array([len(unique[name]) for name in names])
    rows = np.concatenate([unique[name] for name in names])
    digests = rows.ravel()
    row = np.repeat(np.arange(len(rows)), rows.shape[1])
    file = np.repeat(np.arange(len(names)), sizes)[row]
    order = np.argsort(digests, kind="stable")
    digests, row, file = digests[order], row[order], file[order]
    matches = []
    for distance in range(1, MAX_COMPARED + 1):
        first = np.flatnonzero(digests[:-distance] == digests[distance:])
        if not len(first):
            break
        first = first[file[first] != file[first + distance]]
        pair = file[first] * len(names) + file[first + distance]
        matches += [(pair, row[first]), (pair, row[first + distance])]
    if not matches:
        return []
    pairs, which = np.unique(np.concatenate([pair for pair, _ in matches]), return_inverse=True)
    shared_rows = np.unique(which * len(rows) + np.concatenate([matched_row for _, matched_row in matches]))
    shared = np.bincount(shared_rows // len(rows), minlength=len(pairs))
    first, second = pairs // len(names), pairs % len(names)
    near = shared >= NEAR * (sizes[first] + sizes[second])
    leader = list(range(len(names)))

    def find(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    for number, other in zip(first[near].tolist(), second[near].tolist(), strict=True):
        leader[find(other)] = find(number)
    groups: dict[int, list[str]] = {}
    for number, name in enumerate(names):
        groups.setdefault(find(number), []).append(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)

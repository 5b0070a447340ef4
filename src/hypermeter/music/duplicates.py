"""Bars and performances that are the same, or nearly: what must not lie on both sides of a split."""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

NEAR = 0.5
"""Performances that share at least this part of their bars are near-duplicates."""

MOST_COMPARED = 64


def bar_digests(hits: np.ndarray, steps_per_bar: int) -> np.ndarray:
    """(bars, V + 1) of uint64: each bar, then each bar without voice v. Bars without hits are left out.

    A digest is the sum of random 64-bit numbers, one for each cell that is hit: equal bars have equal digests, unequal
    ones practically never. A bar of one voice counts as itself without that voice, not as an empty bar.
    """
    bars = hits.reshape(-1, steps_per_bar, hits.shape[1])
    bars = bars[bars.any((1, 2))].astype(np.uint64)
    voices = np.einsum("bsv,sv->bv", bars, _digest_keys(*bars.shape[1:]))
    whole = voices.sum(1, keepdims=True)
    rest = whole - voices
    rest = np.where(rest == 0, whole, rest + np.arange(1, hits.shape[1] + 1, dtype=np.uint64))
    return np.concatenate([whole, rest], 1)


@lru_cache
def _digest_keys(steps_per_bar: int, num_voices: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**64, (steps_per_bar, num_voices), np.uint64)


def together(names: Iterable[str], bars: dict[str, np.ndarray]) -> list[list[str]]:
    """All of the files, near-duplicates in groups, each of the others by itself: what a split must not part."""
    groups = near_duplicates(bars)
    grouped = {name for group in groups for name in group}
    return groups + [[name] for name in names if name not in grouped]


def near_duplicates(bars: dict[str, np.ndarray]) -> list[list[str]]:
    """Groups of files, two or more each, that share at least ``NEAR`` of their different bars.

    Bars are near enough when they differ in one voice at most. Each bar is compared with the next ``MOST_COMPARED``
    that are near it, files in order of size, so that a bar that everyone plays does not cost the square of the files.
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
    found = []
    for distance in range(1, MOST_COMPARED + 1):
        first = np.flatnonzero(digests[:-distance] == digests[distance:])
        if not len(first):
            break
        first = first[file[first] != file[first + distance]]
        pair = file[first] * len(names) + file[first + distance]
        found += [(pair, row[first]), (pair, row[first + distance])]
    if not found:
        return []
    pairs, which = np.unique(np.concatenate([pair for pair, _ in found]), return_inverse=True)
    shared_rows = np.unique(which * len(rows) + np.concatenate([ones for _, ones in found]))
    shared = np.bincount(shared_rows // len(rows), minlength=len(pairs))
    first, second = pairs // len(names), pairs % len(names)
    near = shared >= NEAR * (sizes[first] + sizes[second])
    leader = list(range(len(names)))

    def find(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    for one, other in zip(first[near].tolist(), second[near].tolist(), strict=True):
        leader[find(other)] = find(one)
    groups: dict[int, list[str]] = {}
    for number, name in enumerate(names):
        groups.setdefault(find(number), []).append(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)

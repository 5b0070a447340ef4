"""The split of files that no info.csv lists: at random, near-duplicates together."""

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from hypermeter.learn.prepare.tables import SPLITS

SPLIT_SHARES = (0.8, 0.1, 0.1)
"""Shares of the files of a folder without info.csv, in the order of SPLITS."""

NO_SPLIT = len(SPLITS)
"""Number that stands for no split."""


def assign_splits(
    given: UInt8[np.ndarray, " N"], is_usable: Bool[np.ndarray, " N"], leaders: Int32[np.ndarray, " N"], seed: int
) -> UInt8[np.ndarray, " N"]:
    """Return the split of each file, its number in SPLITS: as it is given, else at random, near-duplicates together.

    A near-duplicate of files with a split goes to theirs, to the test split rather than the training split. Files
    without bars, which will be rejects, take no room from the others.

    Args:
        given: the split of each file, or NO_SPLIT.
        is_usable: whether it has bars.
        leaders: the first file of its group of near-duplicates.
        seed: of the random order.
    """
    is_free = is_usable & (given == NO_SPLIT)
    num_in_group = np.bincount(leaders[is_usable], minlength=len(leaders))
    # Groups of several, then those of one, both in the order of their first files.
    groups = np.concatenate([np.flatnonzero(num_in_group > 1), np.flatnonzero(num_in_group == 1)])
    groups = groups[np.random.default_rng(seed).permutation(len(groups))]
    groups = groups[np.argsort(-num_in_group[groups], kind="stable")]
    num_free = np.bincount(leaders[is_free], minlength=len(leaders))
    neighbour = np.full(len(leaders), -1, np.int8)
    is_given = is_usable & (given != NO_SPLIT)
    np.maximum.at(neighbour, leaders[is_given], given[is_given].astype(np.int8))
    room = [share * int(is_free.sum()) for share in SPLIT_SHARES]
    split_of = np.zeros(len(leaders), np.uint8)
    for start in range(0, len(groups), 2**16):  # Lists are quicker than arrays here, but larger.
        part = groups[start : start + 2**16]
        splits = []
        for count, split in zip(num_free[part].tolist(), neighbour[part].tolist(), strict=True):
            if split < 0:
                split = room.index(max(room))
                room[split] -= count
            splits.append(split)
        split_of[part] = splits
    return np.where(given != NO_SPLIT, given, np.where(is_usable, split_of[leaders], 0)).astype(np.uint8)

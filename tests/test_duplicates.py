"""Near-duplicates found on the disk are those that one array of all digests gives."""

import os
from pathlib import Path

import numpy as np
import pytest

from hypermeter.learn.prepare.splits import NO_SPLIT, SPLIT_SHARES, assign_splits
from hypermeter.learn.prepare.tables import SPLITS
from hypermeter.music import duplicates
from hypermeter.music.duplicates import NEAR, bar_digests, bar_sets, near_duplicate_leaders, near_duplicates

GROOVE = Path(os.environ.get("HYPERMETER_GROOVE", Path(__file__).parents[1] / "../shared/data/groove"))


def groups_in_memory(bars, max_compared=64):
    """What `near_duplicates` did before it sorted on the disk: all digests in one array, all matches in another."""
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
    shared = {}
    for distance in range(1, max_compared + 1):
        for first in np.flatnonzero(digests[:-distance] == digests[distance:]).tolist():
            second = first + distance
            if file[first] != file[second]:
                shared.setdefault((file[first], file[second]), set()).update({row[first], row[second]})
    leader = list(range(len(names)))
    for (one, other), found in shared.items():
        if len(found) >= NEAR * (sizes[one] + sizes[other]):
            old, new = leader[other], leader[one]
            leader = [new if value == old else value for value in leader]
    groups = {}
    for number, name in enumerate(names):
        groups.setdefault(leader[number], []).append(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def groups_on_disk(bars, folder, pairs_in_memory=64, files_at_a_time=7):
    names = sorted(bars)
    num_voices = bars[names[0]].shape[1] - 1
    parts = [names[start : start + files_at_a_time] for start in range(0, len(names), files_at_a_time)]

    def sets():
        return (bar_sets([bars[name] for name in part], num_voices) for part in parts)

    groups = {}
    for name, leader in zip(names, near_duplicate_leaders(sets, len(names), folder, pairs_in_memory).tolist()):
        groups.setdefault(leader, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def random_corpus(seed, max_files=60):
    """Performances of bars from a small pool, some with one cell changed; some are copies of another."""
    rng = np.random.default_rng(seed)
    pool = rng.random((int(rng.integers(3, 40)), 16, 3)) < 0.2
    bars = {}
    for number in range(int(rng.integers(2, max_files))):
        hits = pool[rng.integers(0, len(pool), int(rng.integers(0, 9)))].copy()
        is_changed = rng.random(len(hits)) < 0.4
        hits[is_changed, rng.integers(16), rng.integers(3)] ^= True
        copies = bars and rng.random() < 0.2
        bars[f"{number:03}"] = bars["000"] if copies else bar_digests(hits.reshape(-1, 3).astype(np.uint8), 16)
    return bars


@pytest.mark.parametrize("seed", range(40))
def test_groups_are_those_of_the_algorithm_in_memory(tmp_path, seed):
    bars = random_corpus(seed)
    expected = groups_in_memory(bars)
    assert near_duplicates(bars) == groups_on_disk(bars, tmp_path) == expected


def test_pairs_counted_in_parts_give_the_same_groups(tmp_path, monkeypatch):
    corpora = [random_corpus(seed) for seed in range(100, 110)]
    expected = [groups_on_disk(bars, tmp_path) for bars in corpora]
    monkeypatch.setattr(duplicates, "MAX_PAIRS", 40)
    assert [groups_on_disk(bars, tmp_path) for bars in corpora] == expected and any(expected)


def test_copies_are_one_group_however_many_there_are(tmp_path):
    """In memory, each bar of 300 copies was compared with the next 64: here copies are one performance."""
    one, other = (bar_digests((np.random.default_rng(seed).random((96, 10)) < 0.2), 16) for seed in (1, 2))
    near = np.concatenate([one[:4], other[:2]])
    bars = {f"copy {number}": one for number in range(300)} | {"near": near, "other": other}
    assert groups_on_disk(bars, tmp_path) == [sorted(set(bars) - {"other"})]


@pytest.mark.slow
@pytest.mark.skipif(not GROOVE.is_dir(), reason="the Groove MIDI Dataset is not there")
def test_groups_on_groove_are_those_of_the_algorithm_in_memory(tmp_path):
    from hypermeter.io.grooves import read_npz
    from hypermeter.learn.prepare import prepare

    manifest = prepare(GROOVE, tmp_path / "out", quiet=True)
    bars = {
        record["source"]: np.concatenate(
            [bar_digests(read_npz(tmp_path / "out" / name).hits, 16) for name in record["npz"]]
        )
        for record in manifest["files"]
    }
    expected = groups_in_memory(bars)
    assert len(expected) > 30 and manifest["near_duplicates"] == expected == groups_on_disk(bars, tmp_path, 2**14, 100)
    digests = {split: [bars[r["source"]][:, 0] for r in manifest["files"] if r["split"] == split] for split in SPLITS}
    joined = {split: np.concatenate([np.zeros(0, np.uint64), *found]) for split, found in digests.items()}
    assert manifest["distinct_bars"] == len(np.unique(np.concatenate(list(joined.values()))))
    for split in SPLITS:
        assert manifest["splits"][split]["distinct_bars"] == len(np.unique(joined[split]))
    for split in SPLITS[1:]:
        in_train = int(np.isin(joined[split], joined["train"]).sum())
        assert manifest["bars_verbatim_in_train"][split] == {"bars": len(joined[split]), "in_train": in_train}


def splits_in_memory(given, is_usable, leaders, seed):
    """The split of each file as `prepare` chose it when all groups were lists."""
    usable = np.flatnonzero(is_usable).tolist()
    members = {}
    for number in usable:
        members.setdefault(int(leaders[number]), []).append(number)
    groups = [group for group in members.values() if len(group) > 1]
    grouped = {number for group in groups for number in group}
    groups += [[number] for number in usable if number not in grouped]
    order = np.random.default_rng(seed).permutation(len(groups))
    room = np.array(SPLIT_SHARES) * sum(given[number] == NO_SPLIT for number in usable)
    splits = np.where(given == NO_SPLIT, 0, given)
    for group in sorted((groups[number] for number in order), key=len, reverse=True):
        free = [number for number in group if given[number] == NO_SPLIT]
        neighbours = [int(given[number]) for number in group if given[number] != NO_SPLIT]
        split = max(neighbours) if neighbours else int(room.argmax())
        room[split] -= 0 if neighbours else len(free)
        splits[free] = split
    return splits


@pytest.mark.parametrize("seed", range(20))
def test_splits_are_those_of_lists_of_groups(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 400))
    given = np.where(rng.random(count) < rng.choice([0, 0.5]), rng.integers(0, 3, count), NO_SPLIT).astype(np.uint8)
    is_usable = rng.random(count) < 0.9
    leaders = np.arange(count, dtype=np.int32)
    for _ in range(count // 3):
        one, other = np.sort(rng.integers(0, count, 2))
        if is_usable[one] and is_usable[other]:
            leaders[leaders == leaders[other]] = min(leaders[one], leaders[other])
            leaders[leaders == leaders[one]] = min(leaders[one], leaders[other])
    for number in range(count):  # The leader is the first of its group.
        leaders[number] = np.flatnonzero(leaders == leaders[number])[0]
    expected = splits_in_memory(given, is_usable, leaders, seed)
    assert np.array_equal(assign_splits(given, is_usable, leaders, seed), expected)

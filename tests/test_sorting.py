"""Sorting on the disk, and reading large zips by parts."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypermeter.io.npz_writer import npz_bytes, read_npz_bytes, replace_last
from hypermeter.io.sorting import PairSorter, TextSorter
from hypermeter.io.zip_index import iterate_members, open_members


def sorted_pairs(sorter):
    blocks = [np.stack(block, 1) for block in sorter.blocks()]
    return np.concatenate([np.zeros((0, 2), np.uint64), *blocks])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3000), st.sampled_from([1, 7, 2**63]), st.booleans(), st.integers(0, 2**32 - 1))
def test_pairs_are_sorted_as_in_memory(tmp_path_factory, count, num_keys, unique, seed):
    rng = np.random.default_rng(seed)
    pairs = np.stack([rng.integers(0, num_keys, count), rng.integers(0, min(num_keys * 9, 2**40), count)], 1)
    pairs = pairs.astype(np.uint64)
    sorter = PairSorter(tmp_path_factory.getbasetemp(), unique, pairs_per_run=200)
    for part in np.array_split(pairs, 13):
        sorter.add(part[:, 0], part[:, 1])
    expected = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    expected = np.unique(expected, axis=0) if unique and count else expected
    for _ in range(2):
        assert np.array_equal(sorted_pairs(sorter), expected)
    sorter.close()


def test_sorted_pairs_come_in_blocks_of_limited_size(tmp_path):
    sorter = PairSorter(tmp_path, pairs_per_run=2**14)
    sorter.add(np.random.default_rng(0).integers(0, 2**63, 2**18), np.arange(2**18))
    assert max(len(keys) for keys, _ in sorter.blocks()) <= 2**14
    assert not list(tmp_path.iterdir())  # Its files have no names, so that nothing is left of a killed process.
    sorter.close()


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=5)), max_size=60))
def test_texts_are_sorted_as_in_memory_and_equal_ones_keep_their_order(tmp_path_factory, pairs):
    sorter = TextSorter(tmp_path_factory.getbasetemp(), characters_per_run=900)
    for pair in pairs:
        sorter.add(*pair)
    for _ in range(2):
        assert [tuple(pair) for pair in sorter] == sorted(pairs, key=lambda pair: pair[0])
    assert bool(sorter) == bool(pairs)
    sorter.close()


def some_zip(path, count, prefix=b"", comment=b""):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("folder")
        for number in range(count):
            archive.writestr(f"folder/é{number}.mid", bytes([number % 256]) * (number % 50))
        archive.comment = comment
    path.write_bytes(prefix + path.read_bytes())
    return path


@pytest.mark.parametrize("count", [0, 1, 3000, 66_000])
@pytest.mark.parametrize(("prefix", "comment"), [(b"", b""), (b"#!/bin/sh\n" * 9, b"made by hand")])
def test_members_of_a_zip_are_those_that_zipfile_finds(tmp_path, count, prefix, comment):
    path = some_zip(tmp_path / "a.zip", count, prefix, comment)
    members = list(iterate_members(path))
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        assert [name for name, _ in members] == [name for name in archive.namelist() if not name.endswith("/")]
        chosen = members[5::701]
        with open_members(file, [entry for _, entry in chosen]) as part:
            assert part.namelist() == [name for name, _ in chosen]
            assert all(part.read(name) == archive.read(name) for name, _ in chosen)


@pytest.mark.parametrize("spoil", [lambda data: data[:-30], lambda data: data[:200], lambda data: b"", lambda _: b"PK"])
def test_a_damaged_zip_is_one(tmp_path, spoil):
    path = some_zip(tmp_path / "a.zip", 20)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(zipfile.BadZipFile):
        list(iterate_members(path))
    content = bytearray(some_zip(tmp_path / "b.zip", 20).read_bytes())
    content[content.index(b"PK\1\2") + 1] ^= 1
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(zipfile.BadZipFile):
        list(iterate_members(tmp_path / "b.zip"))


ARRAYS = {"a": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.array("größe"), "c": np.zeros((0, 2), np.uint8)}


def test_npz_bytes_are_read_back_and_the_last_array_can_be_changed():
    content = npz_bytes(ARRAYS)
    for read in (read_npz_bytes(content), np.load(io.BytesIO(content))):
        assert all(
            np.array_equal(read[name], array) and read[name].dtype == array.dtype for name, array in ARRAYS.items()
        )
    changed = replace_last(content, lambda array: np.concatenate([array, np.ones((5, 2), np.uint8)]))
    assert changed == npz_bytes(ARRAYS | {"c": np.ones((5, 2), np.uint8)})


def test_damaged_npz_bytes_are_refused():
    content = npz_bytes(ARRAYS)
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 0x55
        try:
            read = read_npz_bytes(bytes(damaged))
        except ValueError:
            continue
        assert all(np.array_equal(read[name], array) for name, array in ARRAYS.items())
    for size in range(0, len(content), 31):
        with pytest.raises(ValueError):
            read_npz_bytes(content[:size])
    other = io.BytesIO()
    np.savez_compressed(other, **ARRAYS)
    with pytest.raises(ValueError):
        read_npz_bytes(other.getvalue())

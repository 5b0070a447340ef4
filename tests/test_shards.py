"""Shards: what is written is read, damage is found, equal performances give equal bytes."""

import io
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hypermeter.core.errors import HypermeterError
from hypermeter.io.shards import ROWS_PER_GROUP, DamagedShardError, Shard, ShardWriter, arrays_of, open_shard

pq = pytest.importorskip("pyarrow.parquet")


def hits(steps: int, voices: int = 3, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((steps, voices)) < 0.3).astype(np.uint8)


def performance(number: int) -> tuple[str, dict[str, np.ndarray], dict]:
    """Some with expression and sections, some with hits alone."""
    sequence = hits(16 + number, seed=number)
    arrays = {"sequence": sequence}
    if number % 2:
        arrays |= {"velocity": (sequence / 2).astype(np.float32), "shift": np.array(-0.25)}
        arrays["section"] = np.array(["verse", ""])
    return f"folder/{number:03}.npz", arrays, {"style": f"rock/{number}", "tempo_bpm": 100.0 + number}


def write(path, numbers=range(40)):
    with ShardWriter(path) as writer:
        for number in numbers:
            writer.add(*performance(number))
    return path


def read_all(shard: Shard) -> list:
    return [(name, arrays_of(shard, row), shard.value(row, "meta")) for row, name in enumerate(shard.names)]


def assert_equal(found, expected):
    assert list(found) == list(expected)
    for key, array in expected.items():
        assert found[key].dtype == array.dtype
        np.testing.assert_array_equal(found[key], array)


def test_a_shard_gives_what_was_added(tmp_path):
    shard = Shard(write(tmp_path / "a.parquet"))
    assert len(shard) == 40
    assert shard.group_starts.tolist() == [0, ROWS_PER_GROUP, 2 * ROWS_PER_GROUP, 40]
    assert shard.steps.tolist() == [16 + number for number in range(40)]
    for number, (name, arrays, meta) in enumerate(read_all(shard)):
        expected_name, expected, expected_meta = performance(number)
        assert name == expected_name
        assert_equal(arrays, expected)
        assert json.loads(meta) == expected_meta
    shard.verify()


ARRAYS = hnp.arrays(
    st.one_of(hnp.floating_dtypes(), hnp.integer_dtypes(), hnp.unicode_string_dtypes(), hnp.boolean_dtypes()),
    hnp.array_shapes(min_dims=0, min_side=0),
)
NAMES = st.text("abcdefgh_/. ", min_size=1).map(lambda name: f"array_{name}")


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(NAMES, ARRAYS, max_size=4), st.text())
def test_any_arrays_of_numbers_and_text_come_back(tmp_path_factory, others, text):
    path = tmp_path_factory.mktemp("any") / "a.parquet"
    arrays = {"sequence": hits(5), **others}
    with ShardWriter(path) as writer:
        writer.add("a.npz", arrays, {"text": text})
        writer.add("b.npz", {"sequence": hits(2)})
    shard = Shard(path)
    found = arrays_of(shard, 0)
    assert found.keys() == arrays.keys()
    for key, array in arrays.items():
        assert (found[key].dtype, found[key].shape) == (array.dtype, array.shape)
        assert found[key].tobytes() == array.tobytes()
    assert json.loads(shard.value(0, "meta")) == {"text": text}
    assert list(arrays_of(shard, 1)) == ["sequence"]
    assert shard.value(1, "meta") is None


def test_equal_performances_give_equal_bytes(tmp_path):
    one, same, other = (
        write(tmp_path / name, numbers).read_bytes()
        for name, numbers in (("a.parquet", range(20)), ("b.parquet", range(20)), ("c.parquet", range(1, 21)))
    )
    assert one == same
    assert one != other


def test_other_programs_read_a_shard_as_parquet(tmp_path):
    table = pq.read_table(write(tmp_path / "a.parquet"))
    assert table.column_names == ["name", "steps", "voices", "meta", "sequence", "velocity", "shift", "section"]
    assert table["name"][3].as_py() == "folder/003.npz"
    np.testing.assert_array_equal(np.load(io.BytesIO(table["sequence"][3].as_py())), performance(3)[1]["sequence"])


def test_every_changed_byte_is_found_or_changes_nothing(tmp_path):
    path = write(tmp_path / "a.parquet", range(20))
    whole = path.read_bytes()
    expected = read_all(Shard(path))
    random = np.random.default_rng(0)
    found = 0
    for place in sorted({*random.integers(len(whole), size=300).tolist(), *range(len(whole) - 40, len(whole))}):
        content = bytearray(whole)
        content[place] ^= 1 << int(random.integers(8))
        path.write_bytes(content)
        try:
            read = read_all(Shard(path))
        except DamagedShardError as error:
            assert str(path) in str(error)
            found += 1
        else:
            for (name, arrays, meta), (expected_name, expected_arrays, expected_meta) in zip(read, expected):
                assert (name, meta) == (expected_name, expected_meta)
                assert_equal(arrays, expected_arrays)
        with pytest.raises(DamagedShardError):
            Shard(path).verify()
    assert found > 300


@pytest.mark.parametrize("left", [0, 3, 7, 8, 100, -1, -9])
def test_a_shard_that_was_cut_off_is_refused(tmp_path, left):
    path = write(tmp_path / "a.parquet")
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DamagedShardError, match=r"a\.parquet: damaged or no shard of performances .*pack or prepare"):
        Shard(path)


def test_parquet_of_other_programs_is_refused(tmp_path):
    import pyarrow as pa

    pq.write_table(pa.table({"name": ["a.npz"]}), tmp_path / "a.parquet")
    with pytest.raises(DamagedShardError, match="its footer is not that of a shard"):
        Shard(tmp_path / "a.parquet")


def test_a_shard_of_a_later_version_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("hypermeter.io.shards.VERSION", 2)
    path = write(tmp_path / "a.parquet")
    monkeypatch.undo()
    with pytest.raises(HypermeterError, match=r"a\.parquet: a shard of version 2, expected 1; update hypermeter"):
        Shard(path)


def test_a_block_that_fails_or_adds_nothing_leaves_no_file(tmp_path):
    with pytest.raises(ZeroDivisionError), ShardWriter(tmp_path / "a.parquet") as writer:
        writer.add(*performance(0))
        1 / 0  # noqa: B018
    with ShardWriter(tmp_path / "b.parquet"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "arrays", "message"),
    [
        ("../a.npz", {}, "a performance named '../a.npz', expected a path below"),
        ("/a.npz", {}, "a performance named '/a.npz'"),
        ("a//b.npz", {}, "a performance named 'a//b.npz'"),
        ("a", {}, "a performance named 'a'"),
        ("folder/000.npz", {}, "folder/000.npz twice"),
        ("a.npz", {"sequence": np.zeros(3)}, "a.npz without a sequence"),
        ("a.npz", {"name": np.zeros(3)}, "a.npz has an array name of float64"),
        ("a.npz", {"notes": np.array([{}], dtype=object)}, "a.npz has an array notes of object"),
    ],
)
def test_what_no_shard_holds_is_refused(tmp_path, name, arrays, message):
    with ShardWriter(tmp_path / "a.parquet") as writer:
        writer.add(*performance(0))
        with pytest.raises(HypermeterError, match=r"a\.parquet: " + message):
            writer.add(name, {"sequence": hits(4), **arrays})


def test_a_suffix_is_required(tmp_path):
    with pytest.raises(HypermeterError, match=r"a\.tar: expected a name that ends in \.parquet"):
        ShardWriter(tmp_path / "a.tar")


def test_shards_are_written_to_addresses_and_read_from_them():
    path = "memory://bucket/train/0.parquet"
    write(path)
    shard = Shard(path)
    assert_equal(arrays_of(shard, 3), performance(3)[1])
    shard.verify()


def test_an_opened_shard_is_kept_until_its_file_changes(tmp_path):
    path = str(write(tmp_path / "a.parquet"))
    shard = open_shard(path)
    assert open_shard(path) is shard
    write(path, range(3))
    assert len(open_shard(path)) == 3
    assert len(pickle.loads(pickle.dumps(shard))) == 3
    with pytest.raises(HypermeterError, match=r"b\.parquet: cannot be read \(No such file"):
        open_shard(str(tmp_path / "b.parquet"))

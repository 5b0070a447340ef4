"""`prepare --packed` writes shards of what `prepare` writes as .npz."""

import pytest

from hypermeter.io.packing import unpack_folder
from hypermeter.io.shards import Shard
from hypermeter.learn.prepare import prepare, sinks
from test_prepare_resume import Cut, contents, cut_off, write_source

pytest.importorskip("pyarrow")


def packed(source, out, **options):
    return prepare(source, out, packed=True, workers=1, quiet=True, **options)


def npz_of(out):
    return {name: content for name, content in contents(out).items() if name.endswith(".npz")}


@pytest.mark.parametrize("has_table", [False, True])
def test_shards_hold_the_npz_byte_for_byte(tmp_path, has_table):
    source = write_source(tmp_path / "in", has_table)
    manifest, loose = packed(source, tmp_path / "packed"), prepare(source, tmp_path / "loose", quiet=True)
    list(unpack_folder(tmp_path / "packed", tmp_path / "unpacked"))
    assert npz_of(tmp_path / "unpacked") == npz_of(tmp_path / "loose")
    assert not npz_of(tmp_path / "packed") and manifest["packed"]
    without = [{key: value for key, value in record.items() if key != "shards"} for record in manifest["files"]]
    of_loose = [{key: value for key, value in record.items() if key != "npz_sha256"} for record in loose["files"]]
    assert without == of_loose and manifest["splits"] == loose["splits"]
    for record in manifest["files"]:
        (shard,) = record["shards"]
        assert record["npz"][0].partition("/")[2] in Shard(tmp_path / "packed" / shard).names


@pytest.mark.parametrize("has_table", [False, True])
@pytest.mark.parametrize(("function", "after"), [("convert_task", 1), ("place_task", 1)])
def test_a_packed_run_that_was_cut_off_ends_with_the_same_bytes(tmp_path, monkeypatch, has_table, function, after):
    if has_table and function == "place_task":
        pytest.skip("with a table, all are in place at once")
    monkeypatch.setattr(sinks, "MAX_BYTES", 20_000)
    source = write_source(tmp_path / "in", has_table)
    packed(source, tmp_path / "whole")
    assert list((tmp_path / "whole").rglob("*_1.parquet"))  # Shards end where they are full.
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
        cut_off(patch, function, after, writes_before=3)
        packed(source, tmp_path / "out")
    packed(source, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_damaged_shard_of_a_task_that_has_ended_is_made_again(tmp_path):
    source = write_source(tmp_path / "in", has_table=True)
    packed(source, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
        cut_off(patch, "convert_task", 2, writes_before=1)
        packed(source, tmp_path / "out")
    shard = tmp_path / "out" / "train" / "00000.parquet"
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 1
    shard.write_bytes(content)
    packed(source, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("is_finished", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_nothing_is_left_of_a_run_of_the_other_kind(tmp_path, monkeypatch, first, is_finished):
    monkeypatch.setattr(sinks, "MAX_BYTES", 20_000)
    source = write_source(tmp_path / "in", has_table=True)
    options = {"workers": 1, "quiet": True}
    if is_finished:
        prepare(source, tmp_path / "out", packed=first, **options)
    else:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
            cut_off(patch, "convert_task", 1, writes_before=3)
            prepare(source, tmp_path / "out", packed=first, **options)
    prepare(source, tmp_path / "out", packed=not first, **options)
    prepare(source, tmp_path / "whole", packed=not first, **options)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")

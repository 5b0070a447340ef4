"""pack and unpack: byte for byte, resumed, and nothing overwritten."""

import json

import numpy as np
import pytest

from hypermeter import cli
from hypermeter.cli.pack import pack, unpack
from hypermeter.core.errors import HypermeterError
from hypermeter.io import packing
from hypermeter.io.npz_writer import npz_bytes
from hypermeter.io.shards import Shard

pytest.importorskip("pyarrow")


def hits(seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random((32, 3)) < 0.3).astype(np.uint8)


def contents(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def as_prepared(seed: int) -> bytes:
    arrays = {"sequence": hits(seed), "velocity": hits(seed).astype(np.float32), "shift": np.array(0.25)}
    arrays |= {"track_bass": np.zeros(32, np.int16), "section": np.array(["verse", "fill"])}
    return npz_bytes(arrays | {"meta": np.array(json.dumps({"style": f"rock/{seed}", "kit": "gm10"}))})


@pytest.fixture
def loose(tmp_path):
    """Two splits and a folder of another name, in files of this package and of others."""
    for name in ("train/a.npz", "train/deep/b.npz", "test/c.npz", "mine/d.npz", "e.npz"):
        path = tmp_path / "npz" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_prepared(ord(path.stem)))
    np.savez(tmp_path / "npz" / "train" / "saved.npz", sequence=hits(1), notes=np.array([["x"]]))
    np.savez_compressed(tmp_path / "npz" / "train" / "compressed.npz", b=np.asfortranarray(np.eye(3)), sequence=hits(2))
    (tmp_path / "npz" / "manifest.json").write_text("{}")
    return tmp_path / "npz"


def test_what_is_unpacked_is_byte_for_byte_what_was_packed(tmp_path, loose, capsys):
    assert cli.main(["pack", str(loose), str(tmp_path / "shards")]) == 0
    assert "7 performances" in capsys.readouterr().out
    shards = contents(tmp_path / "shards")
    assert {*shards} == {"train/00000.parquet", "test/00000.parquet", "00000.parquet", "manifest.json"}
    assert cli.main(["unpack", str(tmp_path / "shards"), str(tmp_path / "again")]) == 0
    assert contents(tmp_path / "again") == contents(loose)
    assert Shard(tmp_path / "shards" / "train" / "00000.parquet").names == [
        "a.npz",
        "compressed.npz",
        "deep/b.npz",
        "saved.npz",
    ]


def test_files_as_prepare_writes_them_are_not_kept_twice(tmp_path, loose):
    pack(loose, tmp_path / "shards", quiet=True)
    assert "npz" not in Shard(tmp_path / "shards" / "test" / "00000.parquet").columns
    assert "npz" in Shard(tmp_path / "shards" / "train" / "00000.parquet").columns


def test_one_shard_is_unpacked_by_itself(tmp_path, loose):
    pack(loose, tmp_path / "shards", quiet=True)
    done = unpack(tmp_path / "shards" / "test" / "00000.parquet", tmp_path / "one", quiet=True)
    assert done["performances"] == 1
    assert contents(tmp_path / "one") == {"c.npz": (loose / "test" / "c.npz").read_bytes()}


@pytest.mark.parametrize("done_before", range(1, 8))
def test_packing_and_unpacking_continue_where_they_stopped(tmp_path, loose, monkeypatch, done_before):
    monkeypatch.setattr(packing, "MAX_ROWS", 2)
    (loose / "train" / "damaged.npz").write_bytes(b"no zip")
    pack(loose, tmp_path / "whole", quiet=True)
    for _ in zip(packing.pack_folder(loose, tmp_path / "shards"), range(done_before)):
        pass  # It stops here, as if it were killed.
    (tmp_path / "shards" / "train").mkdir(parents=True, exist_ok=True)
    (tmp_path / "shards" / "train" / ".00000.77-88.parquet").write_bytes(b"half")
    done = pack(loose, tmp_path / "shards", quiet=True)
    assert contents(tmp_path / "shards") == contents(tmp_path / "whole")
    assert (done["performances"], len(done["rejects"])) == (7, 1)
    for _ in zip(packing.unpack_folder(tmp_path / "shards", tmp_path / "again"), range(done_before)):
        pass
    assert unpack(tmp_path / "shards", tmp_path / "again", quiet=True)["kept"] == min(done_before + 1, 7)
    (loose / "train" / "damaged.npz").unlink()
    assert contents(tmp_path / "again") == contents(loose)


def test_nothing_is_overwritten(tmp_path, loose):
    pack(loose, tmp_path / "shards", quiet=True)
    (loose / "train" / "a0.npz").write_bytes(as_prepared(5))
    with pytest.raises(HypermeterError, match=r"00000\.parquet: of other files than .* \(a0\.npz\); choose another"):
        pack(loose, tmp_path / "shards", quiet=True)
    (loose / "train" / "a0.npz").unlink()
    (loose / "train" / "a.npz").write_bytes(as_prepared(5))
    with pytest.raises(HypermeterError, match=r"00000\.parquet: a\.npz has changed since"):
        pack(loose, tmp_path / "shards", quiet=True)
    with pytest.raises(HypermeterError, match=r"a\.npz: exists with other content"):
        unpack(tmp_path / "shards", loose, quiet=True)
    (tmp_path / "shards" / "00001.parquet").write_bytes(b"")
    with pytest.raises(HypermeterError, match=r"00001\.parquet: "):
        pack(loose, tmp_path / "shards", quiet=True)


def test_shards_are_not_written_beside_what_they_hold(loose):
    for out in (loose, loose / "train"):
        with pytest.raises(HypermeterError, match="is read as data"):
            pack(loose, out, quiet=True)


def test_bad_files_are_left_out_and_told(tmp_path, loose, capsys):
    (loose / "bad.npz").write_bytes(b"no zip")
    np.savez(loose / "empty.npz", notes=np.zeros(3))
    np.savez(loose / "reserved.npz", sequence=hits(0), steps=np.zeros(3))
    done = pack(loose, tmp_path / "shards")
    assert done["performances"] == 7
    assert len(done["rejects"]) == 3
    assert capsys.readouterr().out.count("left out: ") == 3
    path = tmp_path / "shards" / "test" / "00000.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    assert len(unpack(tmp_path / "shards", tmp_path / "again", quiet=True)["rejects"]) == 1
    with pytest.raises(HypermeterError, match=r"no whole shard in it or below; the first: .*damaged"):
        unpack(path, tmp_path / "one", quiet=True)


def test_folders_without_files_are_refused(tmp_path):
    for command in (pack, unpack):
        with pytest.raises(HypermeterError, match="nowhere: no such"):
            command(tmp_path / "nowhere", tmp_path / "out", quiet=True)
    (tmp_path / "folder").mkdir()
    with pytest.raises(HypermeterError, match=r"folder: no \.npz in it"):
        pack(tmp_path / "folder", tmp_path / "out", quiet=True)
    with pytest.raises(HypermeterError, match="folder: no whole shard"):
        unpack(tmp_path / "folder", tmp_path / "out", quiet=True)
    (tmp_path / "folder" / "a.npz").write_bytes(b"")
    with pytest.raises(HypermeterError, match=r"none of 1 files can be packed; the first: .*a\.npz: not a readable"):
        pack(tmp_path / "folder", tmp_path / "out", quiet=True)

"""Performances: a .npz, a folder of them, shards."""

import io
import json
import zipfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from .odd import ODD_NUMBERS, changed, mutated
from .reader import Reader

META = {
    "kit": "gm10", "grid": {"steps_per_beat": 4, "beats_per_bar": 4, "bars_per_phrase": 4, "beat_unit": 4},
    "tempo_bpm": 120.0, "style": "rock/fast", "beat_type": "beat", "split": "train", "source": "a.mid",
}  # fmt: skip
CODES = (
    "|u1",
    "|b1",
    "<f4",
    "<f8",
    ">i8",
    "<i2",
    "<U4",
    "|S3",
    "<c8",
    "|O",
    "<M8[s]",
    "<f2",
    "<q",
    "|V8",
    "<U99999999",
    "x",
)


def groove_arrays(random: Random) -> dict[str, np.ndarray]:
    """Return the arrays of a performance, as `prepare` writes it."""
    numbers = np.random.default_rng(random.randrange(2**32))
    steps = random.choice((0, 1, 16, 32, 64))
    hits = (numbers.random((steps, 10)) < 0.2).astype(np.uint8)
    arrays = {"sequence": hits, "velocity": hits * np.float32(0.5), "offset": hits * np.float32(0.1)}
    arrays |= {"shift": np.array(0.1), "strokes": np.zeros((0, 5), np.float32)}
    if random.random() < 0.3:
        arrays["section"] = np.array([random.choice("AB") for _ in range(-(-steps // 16))])
        arrays["track_bass"] = np.zeros(steps, np.int16)
        arrays["openness"] = np.full(hits.shape, np.nan, np.float32)
    return arrays


def make_npz(random: Random) -> bytes:
    """Return a .npz: as it should be, with odd arrays, with odd headers, or with other bytes."""
    if random.random() < 0.01:
        return _bomb()
    arrays: dict[str, Any] = groove_arrays(random)
    meta: Any = META if random.random() < 0.6 else changed(random, META)
    arrays["meta"] = np.array(json.dumps(meta))
    kind = random.randrange(8)
    if kind == 0:
        arrays["meta"] = np.array(
            random.choice(("[" * 10_000, "{", "", "1" * 5000, '"\\ud800"', "null", "[" * 60 + "]" * 60))
        )
    if kind == 1:
        for _ in range(random.randint(1, 2)):
            arrays[random.choice([*arrays, "section", "chokes", "track_x"])] = _odd_array(random)
    content = io.BytesIO()
    packing = random.choice((zipfile.ZIP_STORED, *[zipfile.ZIP_DEFLATED] * 20, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(content, "w", packing) as archive:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.lib.format.write_array(data, np.asarray(array), allow_pickle=True)
            member = data.getvalue()
            if kind == 2 and random.random() < 0.4:
                member = _odd_header(random) + member[128:]
            if kind == 3 and random.random() < 0.1:
                member += bytes(random.choice((1, 10**6, 10**7)))
            archive.writestr(f"{name}.npy", member)
    return mutated(random, content.getvalue()) if kind == 4 else content.getvalue()


@cache
def _bomb() -> bytes:
    """Return a .npz of a third of a megabyte that unpacks to 300."""
    content = io.BytesIO()
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (30000000, 10), }".ljust(117) + b"\n"
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("sequence.npy", "w") as member:
        member.write(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header)
        for _ in range(300):
            member.write(bytes(10**6))
    return content.getvalue()


def _odd_array(random: Random) -> np.ndarray:
    shape = tuple(random.choice((0, 1, 2, 10, 16, 32)) for _ in range(random.choice((0, 1, 2, 2, 2, 3))))
    fill = random.choice((0, 1, 2, -1, 0.5, np.nan, np.inf, 1e300))
    with np.errstate(all="ignore"):
        array = np.full(shape, fill).astype(random.choice((np.uint8, np.int64, np.float32, bool, "U3", "S2", complex)))
    return array if random.random() < 0.95 else np.array([None, {}], object)


def _odd_header(random: Random) -> bytes:
    """Return the header of a .npy with an odd type, order or shape, or with what is no Python at all."""
    shape = ", ".join(str(random.choice((0, 1, 10, 32, *ODD_NUMBERS))) for _ in range(random.randrange(4)))
    order = random.choice(("False", "False", "True", "None", "1"))
    text = f"{{'descr': {random.choice(CODES)!r}, 'fortran_order': {order}, 'shape': ({shape},), }}"
    if random.random() < 0.2:
        text = random.choice(("{", "[" * 1000, "-" * 3000 + "1", "'descr'", "{" * 100 + "}" * 100, "1" * 5000))
    content = text.encode() + b" " * (random.choice((0, 64, 118)) - len(text)) + b"\n"
    version = random.choice((b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\7\0"))
    size = len(content) if random.random() < 0.9 else random.choice((0, 5, 65535, 2**31))
    return b"\x93NUMPY" + version + (size % 2**16).to_bytes(2, "little") + content


def read_npz(content: bytes, folder: Path) -> None:
    from hypermeter.io.grooves import read_npz as read
    from hypermeter.learn.dataset.conditions import read_sections
    from hypermeter.music.metrics import measure
    from hypermeter.share.inspection import _with_tracks

    path = folder / "a.npz"
    path.write_bytes(content)
    groove = read(path)
    if len(groove) and len(groove) <= 64:
        measure(groove, ("density", "syncopation"))
    read_sections(path, groove.num_bars)
    _with_tracks(groove, path)


def make_folder(random: Random) -> bytes:
    """Return the .npz of a folder, as the members of a zip."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for number in range(random.randint(0, 3)):
            name = random.choice(
                (f"{number}.npz", f"{number}.npz", f"below/{number}.npz", f"{number}.mid", "a.parquet")
            )
            archive.writestr(name, make_npz(random) if random.random() < 0.6 else _good_npz(random))
    return content.getvalue()


def _good_npz(random: Random) -> bytes:
    content = io.BytesIO()
    np.savez(content, **groove_arrays(random), meta=np.array(json.dumps(META)))
    return content.getvalue()


def read_folder(content: bytes, folder: Path) -> None:
    """Read the data set of a folder, and analyse it: what is bad there is left out, and told."""
    from hypermeter.core.errors import HypermeterError
    from hypermeter.io.grooves import read_grooves
    from hypermeter.learn.dataset import CompleteHierarchicalDrumDataset

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in dict.fromkeys(archive.namelist()):
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(archive.read(name))
    try:
        data = CompleteHierarchicalDrumDataset(folder, seq_len=32)
        for index in range(min(len(data), 2)):
            data[index]
    except HypermeterError:
        list(read_grooves(folder, rejects=[]))
        raise


@cache
def _shard(number: int) -> bytes:
    import tempfile

    from hypermeter.io.shards import ShardWriter

    random = Random(number)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "0.parquet")
        with ShardWriter(path) as writer:
            for row in range(3):
                writer.add(f"below/{row}.npz", groove_arrays(random), META if number % 2 else changed(random, META))
        return path.read_bytes()


def make_shard(random: Random) -> bytes:
    shards = tuple(map(_shard, range(8)))
    return mutated(random, random.choice(shards), shards) if random.random() < 0.8 else random.choice(shards)


def read_shard(content: bytes, folder: Path) -> None:
    from hypermeter.io.grooves import read_grooves
    from hypermeter.io.shards import describe_shard

    path = folder / "0.parquet"
    path.write_bytes(content)
    describe_shard(path)
    list(read_grooves(path))


def _needs_pyarrow() -> None:
    import pyarrow  # noqa: F401


READERS = (
    Reader("npz", make_npz, read_npz, 2),
    Reader("data set", make_folder, read_folder, 0.5),
    Reader("shards", make_shard, read_shard, 0.7, _needs_pyarrow),
)

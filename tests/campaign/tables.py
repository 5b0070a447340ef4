"""Tables beside data: info.csv, the manifest and the records of a run that was cut off, likelihoods of a system."""

import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from .odd import ODD_TEXTS, changed, encoded, mutated, text_mutated
from .reader import Reader

_INFO = (
    "drummer,session,id,style,bpm,beat_type,time_signature,midi_filename,audio_filename,duration,split\n"
    "drummer1,s1,a,rock/fast,120,beat,4-4,a.mid,a.wav,10.5,train\n"
    "drummer1,s1,b,jazz,90,fill,4-4,below/b.mid,b.wav,3.2,validation\n"
)
_CELLS = (
    ",", ";", "\t", "|", '"', '""', "\n", "\r\n", "\r", "\0", "a.mid", "../a.mid", "/etc/passwd", "train", "test",
    "split", "midi_filename",
    "\ufeff", "x" * 200_000, "é", "=1+1",
)  # fmt: skip
_BITS = "name,bits\na.npz,12.5\nbelow/b.npz,99.0\n"


def make_info(random: Random) -> bytes:
    text = text_mutated(random, _INFO, _CELLS)
    if random.random() < 0.3:
        return text.encode(random.choice(("utf-16", "utf-8-sig", "latin-1", "cp932")), "replace")
    return mutated(random, encoded(text)) if random.random() < 0.3 else encoded(text)


def read_info(content: bytes, folder: Path) -> None:
    from hypermeter.learn.prepare.source import list_files

    from .midi import samples

    source, sorting = folder / "source", folder / "sorting"
    for path in (source / "below", sorting):
        path.mkdir(parents=True)
    for name in ("a.mid", "below/b.mid"):
        (source / name).write_bytes(samples()[0])
    (source / "info.csv").write_bytes(content)
    listing = list_files(source, sorting)
    list(listing.files())
    list(listing.rejects())


@cache
def _prepared() -> dict[str, bytes]:
    """Return the files of a small folder that `prepare` wrote."""
    import tempfile

    from hypermeter.learn.prepare.command import prepare

    from .midi import samples

    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "source"), Path(folder, "out")
        source.mkdir()
        for number, content in enumerate(samples()[:3]):
            (source / f"{number}.mid").write_bytes(content)
        prepare(source, out, quiet=True)
        return {
            path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()
        }


def make_manifest(random: Random) -> bytes:
    """Return a manifest, or records a line, with other values, names or bytes, after the name of the file."""
    manifest = json.loads(_prepared()["out/manifest.json"])
    name = random.choice(
        ("manifest.json", "manifest.json", "manifest.partial.jsonl", ".prepare/earlier.jsonl", ".prepare/plan.json")
    )
    value: Any = manifest if name == "manifest.json" else random.choice(manifest["files"])
    if random.random() < 0.5:
        value = changed(random, value)
    else:
        records = value.get("files", [value]) if isinstance(value, dict) else []
        for record in records[:1]:
            field = random.choice(("source", "npz", "sha256", "shards", "npz_sha256"))
            text = random.choice(
                (*ODD_TEXTS, "../../x.npz", "train/../../x.npz", "train/" + "a" * 300 + ".npz", "train/\0.npz")
            )
            record[field] = text if field in ("source", "sha256") else [text]
    content = json.dumps(value).encode() + b"\n"
    if name == "manifest.partial.jsonl":
        header = {key: manifest[key] for key in ("version", "kit", "grid", "changes")}
        content = json.dumps(header).encode() + b"\n" + content
    if random.random() < 0.2:
        content = mutated(random, content)
    return name.encode() + b"\n" + content


def read_manifest(content: bytes, folder: Path) -> None:
    """Prepare again over what is there: the result is that of a folder without it."""
    from hypermeter.learn.prepare.command import prepare
    from hypermeter.learn.prepare.manifest import Manifest

    name, _, rest = content.partition(b"\n")
    for file, whole in _prepared().items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(whole)
    path = folder / "out" / name.decode()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(rest)
    prepare(folder / "source", folder / "out", quiet=True)
    dict(Manifest(folder / "out" / "manifest.json"))
    written = {path.relative_to(folder).as_posix(): path.read_bytes() for path in (folder / "out").rglob("*.npz")}
    expected = {name: content for name, content in _prepared().items() if name.endswith(".npz")}
    assert written == expected, "other .npz than without what was there"


def make_bits(random: Random) -> bytes:
    text = text_mutated(random, _BITS, (*_CELLS, "nan", "inf", "-1", "1e400", "name", "bits", "9" * 5000))
    return mutated(random, encoded(text)) if random.random() < 0.3 else encoded(text)


def read_bits(content: bytes, folder: Path) -> None:
    from hypermeter.learn.evaluate.card import evaluate_bits

    data, path = folder / "data", folder / "bits.csv"
    (data / "below").mkdir(parents=True)
    for name in ("a.npz", "below/b.npz"):
        np.savez(data / name, sequence=np.ones((16, 3), np.uint8))
    path.write_bytes(content)
    evaluate_bits(path, data)


READERS = (
    Reader("info.csv", make_info, read_info),
    Reader("manifest", make_manifest, read_manifest, 0.5),
    Reader("likelihoods", make_bits, read_bits, 0.7),
)

"""What is at a source: its MIDI files, and the split of each, from info.csv or by chance."""

import csv
import hashlib
import io
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.io.midi import MIDI_SUFFIXES
from hypermeter.music.duplicates import together

SPLITS = ("train", "validation", "test")
SHARES = (0.8, 0.1, 0.1)
"""Of the files of a plain folder, in the order of SPLITS."""


@dataclass
class File:
    """One MIDI file on its way through."""

    source: str  # Relative to the folder or zip, with forward slashes.
    stem: str  # Of its .npz, unique among all.
    split: str = ""
    style: str = ""
    beat_type: str = ""
    known: dict[str, Any] | None = None  # Its record in an earlier run with the same settings.


def find_files(source: Path) -> tuple[list[File], bool, list[dict[str, Any]]]:
    """The files at a source, whether info.csv has split them, and those that it rejects."""
    if source.is_file() and source.suffix.lower() in MIDI_SUFFIXES:
        return [File(source.name, source.stem)], False, []
    names, read = _contents(source)
    midi = [name for name in names if name.lower().endswith(MIDI_SUFFIXES)]
    if not midi:
        raise HypermeterError(f"{source}: no .mid files there; expected MIDI")
    files = [File(name, stem) for name, stem in zip(midi, _stems(midi), strict=True)]
    tables = [name for name in names if name.rpartition("/")[2] == "info.csv"]
    if not tables:
        return files, False, []
    table = min(tables, key=lambda name: (name.count("/"), name))
    try:
        rows = list(csv.DictReader(io.StringIO(read(table))))
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise HypermeterError(f"{source}: {table} cannot be read ({error}); repair or remove it") from error
    if not rows or not {"midi_filename", "split"} <= set(rows[0]):
        return files, False, []
    base = PurePosixPath(table).parent
    rows_of = {(base / (row["midi_filename"] or "")).as_posix(): row for row in rows}
    listed, rejects = _as_listed(files, rows_of)
    return listed, True, rejects


def _contents(source: Path) -> tuple[list[str], Callable[[str], str]]:
    """The paths in a folder or zip, hidden ones left out, and what reads the text at one of them."""
    try:
        if source.is_dir():
            # os.walk, since rglob stops at the first folder that cannot be read.
            folders = [(Path(at).relative_to(source), names) for at, _, names in os.walk(source)]
            names = [(folder / name).as_posix() for folder, names in folders for name in names]
            read = lambda name: (source / name).read_text("utf-8-sig")  # noqa: E731
        elif source.is_file():
            with zipfile.ZipFile(source) as archive:
                names = [each.filename for each in archive.infolist() if not each.is_dir()]
            read = lambda name: _zip_text(source, name)  # noqa: E731
        else:
            raise HypermeterError(f"{source}: not there; expected a folder, a .zip or a .mid file")
    except zipfile.BadZipFile as error:
        raise HypermeterError(f"{source}: neither a .mid file nor a whole .zip; get a whole copy") from error
    except OSError as error:
        raise HypermeterError(f"{source}: cannot be read ({error.strerror}); check its rights") from error
    return sorted({n for n in names if not any(p.startswith((".", "__MACOSX")) for p in PurePosixPath(n).parts)}), read


def _zip_text(source: Path, name: str) -> str:
    with zipfile.ZipFile(source) as archive:
        return archive.read(name).decode("utf-8-sig")


def _stems(names: Sequence[str]) -> list[str]:
    """One file name for each path: its folders joined by dashes, and a digest where two would be one."""
    plain = [name.rpartition(".")[0].replace("/", "-").replace("\\", "-") for name in names]
    counts = Counter(stem.lower() for stem in plain)
    stems = []
    for name, stem in zip(names, plain, strict=True):
        alone = counts[stem.lower()] == 1 and len(stem.encode()) < 180
        stems.append(stem if alone else f"{stem[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}")
    return stems


def _as_listed(files: Sequence[File], rows_of: dict[str, dict[str, str]]) -> tuple[list[File], list[dict[str, Any]]]:
    """The files with what their rows of info.csv say, and the rejects of both."""
    missing = sorted(set(rows_of) - {each.source for each in files})
    rejects = [reject(name, "in info.csv, but not there") for name in missing]
    listed = []
    for each in files:
        row = rows_of.get(each.source)
        if row is None:
            rejects.append(reject(each.source, "not in info.csv, so it has no split"))
        elif row["split"] not in SPLITS:
            rejects.append(reject(each.source, f"split {row['split']!r} in info.csv, expected {', '.join(SPLITS)}"))
        else:
            each.split, each.style, each.beat_type = row["split"], row.get("style") or "", row.get("beat_type") or ""
            listed.append(each)
    return listed, rejects


def reject(source: str, reason: str, sha256: str = "") -> dict[str, Any]:
    return {"source": source, "sha256": sha256, "reason": reason}


def assign_splits(files: Sequence[File], bars: dict[str, np.ndarray], seed: int) -> None:
    """Gives each file a split, groups of near-duplicates whole, by chance."""
    groups = together((each.source for each in files), bars)
    order = np.random.default_rng(seed).permutation(len(groups))
    wanted = np.array(SHARES) * len(files)
    split_of = {}
    for group in sorted((groups[number] for number in order), key=len, reverse=True):
        split = int(wanted.argmax())
        wanted[split] -= len(group)
        split_of |= dict.fromkeys(group, SPLITS[split])
    for each in files:
        each.split = split_of[each.source]

"""MIDI files of a folder or zip, and the split of each: from info.csv, or at random."""

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
from hypermeter.music.duplicates import group_near_duplicates

SPLITS = ("train", "validation", "test")
SPLIT_SHARES = (0.8, 0.1, 0.1)
"""Shares of the files of a folder without info.csv, in the order of SPLITS."""


@dataclass
class SourceFile:
    """A MIDI file of the source."""

    source: str  # path below the folder or zip, with forward slashes
    stem: str  # name of its .npz without the suffix, unique among all files
    split: str = ""
    style: str = ""
    beat_type: str = ""
    earlier: dict[str, Any] | None = None  # its record in an earlier run with the same settings

    @property
    def labels(self) -> dict[str, str]:
        return {"source": self.source, "split": self.split, "style": self.style, "beat_type": self.beat_type}


def find_files(source: Path) -> tuple[list[SourceFile], bool, list[dict[str, Any]]]:
    """Return the files of a source, whether info.csv gives their splits, and the records of those that it rejects.

    Raises:
        HypermeterError: no such source, no MIDI in it, or a source or info.csv that cannot be read.
    """
    if source.is_file() and source.suffix.lower() in MIDI_SUFFIXES:
        return [SourceFile(source.name, source.stem)], False, []
    names, read = _contents(source)
    midi = [name for name in names if name.lower().endswith(MIDI_SUFFIXES)]
    if not midi:
        raise HypermeterError(f"{source}: no .mid files there; expected MIDI")
    files = [SourceFile(name, stem) for name, stem in zip(midi, _stems(midi), strict=True)]
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
    folder = PurePosixPath(table).parent
    rows_by_file = {(folder / (row["midi_filename"] or "")).as_posix(): row for row in rows}
    listed, rejects = _with_info(files, rows_by_file)
    return listed, True, rejects


def _contents(source: Path) -> tuple[list[str], Callable[[str], str]]:
    """Return the paths in a folder or zip, without hidden ones, and a function that reads the text at one of them."""
    try:
        if source.is_dir():
            # os.walk, since rglob stops at the first folder that cannot be read.
            paths = [Path(folder, name) for folder, _, names in os.walk(source) for name in names]
            names = [path.relative_to(source).as_posix() for path in paths]
            read = lambda name: (source / name).read_text("utf-8-sig")  # noqa: E731
        elif source.is_file():
            with zipfile.ZipFile(source) as archive:
                names = [info.filename for info in archive.infolist() if not info.is_dir()]
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
    """Return a file name for each path: its folders joined by dashes, with a digest where two would be equal."""
    plain = [name.rpartition(".")[0].replace("/", "-").replace("\\", "-") for name in names]
    counts = Counter(stem.lower() for stem in plain)
    stems = []
    for name, stem in zip(names, plain, strict=True):
        is_usable = counts[stem.lower()] == 1 and len(stem.encode()) < 180
        stems.append(stem if is_usable else f"{stem[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}")
    return stems


def _with_info(
    files: Sequence[SourceFile], rows_by_file: dict[str, dict[str, str]]
) -> tuple[list[SourceFile], list[dict[str, Any]]]:
    """Return the files with the fields of their rows in info.csv, and the rejects of both."""
    missing = sorted(set(rows_by_file) - {file.source for file in files})
    rejects = [reject(name, "in info.csv, but not there") for name in missing]
    listed = []
    for file in files:
        row = rows_by_file.get(file.source)
        if row is None:
            rejects.append(reject(file.source, "not in info.csv, so it has no split"))
        elif row["split"] not in SPLITS:
            rejects.append(reject(file.source, f"split {row['split']!r} in info.csv, expected {', '.join(SPLITS)}"))
        else:
            file.split, file.style, file.beat_type = row["split"], row.get("style") or "", row.get("beat_type") or ""
            listed.append(file)
    return listed, rejects


def reject(source: str, reason: str, sha256: str = "") -> dict[str, Any]:
    """Return the manifest's record of a file that is left out."""
    return {"source": source, "sha256": sha256, "reason": reason}


def assign_splits(files: Sequence[SourceFile], bars: dict[str, np.ndarray], seed: int) -> None:
    """Set the split of each file at random, near-duplicates together; ``bars`` has digests by source."""
    groups = group_near_duplicates((file.source for file in files), bars)
    order = np.random.default_rng(seed).permutation(len(groups))
    room = np.array(SPLIT_SHARES) * len(files)
    split_of = {}
    for group in sorted((groups[number] for number in order), key=len, reverse=True):
        split = int(room.argmax())
        room[split] -= len(group)
        split_of |= dict.fromkeys(group, SPLITS[split])
    for file in files:
        file.split = split_of[file.source]

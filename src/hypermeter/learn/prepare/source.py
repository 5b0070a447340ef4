"""MIDI files of a folder or zip, and the split of each: from info.csv, or at random."""

import hashlib
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.io.folders import files_below
from hypermeter.io.midi import MIDI_SUFFIXES
from hypermeter.learn.prepare.tables import SPLITS, TABLE, Table, read_table, table_of
from hypermeter.music.duplicates import group_near_duplicates

SPLIT_SHARES = (0.8, 0.1, 0.1)
"""Shares of the files of a folder without info.csv, in the order of SPLITS."""

_HIDDEN = re.compile(r"(^|/)(\.|__MACOSX)")


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


@dataclass
class Contents:
    """What a source has.

    Args:
        files: MIDI files; those that a table lists have its split, style and kind.
        rejects: records of the files that a table rejects.
        tables: name of each table -> why it is not used; "" for one that is.
    """

    files: list[SourceFile]
    rejects: list[dict[str, Any]]
    tables: dict[str, str]


def find_files(source: Path) -> Contents:
    """Return what a source has: a single MIDI file, a folder, with all folders below it, or a zip.

    Raises:
        HypermeterError: no such source, no MIDI in it, or a source that cannot be read.
    """
    if source.is_file() and source.suffix.lower() in MIDI_SUFFIXES:
        return Contents([SourceFile(source.name, source.stem)], [], {})
    names, read = _contents(source)
    midi = [name for name in names if name.lower().endswith(MIDI_SUFFIXES)]
    if not midi:
        raise HypermeterError(f"{source}: no .mid files there; expected MIDI, such as {', '.join(MIDI_SUFFIXES)}")
    files = [SourceFile(name, stem) for name, stem in zip(midi, _stems(midi), strict=True)]
    tables, reasons = {}, {}
    for name in (name for name in names if name.rpartition("/")[2].lower() == TABLE):
        try:
            table = read_table(name, read(name))
            tables[table.folder], reasons[name] = table, ""
        except (HypermeterError, OSError) as error:
            reasons[name] = f"{name} cannot be read ({error})" if isinstance(error, OSError) else str(error)
    kept, rejects = _with_tables(files, tables)
    return Contents(kept, rejects, reasons)


def _contents(source: Path) -> tuple[list[str], Callable[[str], bytes]]:
    """Return the paths in a folder or zip, without hidden ones, and a function that reads what is at one of them."""
    try:
        if source.is_dir():
            names = files_below(source)
            read = lambda name: (source / name).read_bytes()  # noqa: E731
        elif source.is_file():
            with zipfile.ZipFile(source) as archive:
                names = [info.filename for info in archive.infolist() if not info.is_dir()]
            read = lambda name: _zip_bytes(source, name)  # noqa: E731
        else:
            raise HypermeterError(f"{source}: not there; expected a folder, a .zip or a .mid file")
    except zipfile.BadZipFile as error:
        raise HypermeterError(f"{source}: neither a .mid file nor a whole .zip; get a whole copy") from error
    except OSError as error:
        raise HypermeterError(f"{source}: cannot be read ({error.strerror}); check its rights") from error
    return sorted({name for name in names if not _HIDDEN.search(name)}), read


def _zip_bytes(source: Path, name: str) -> bytes:
    with zipfile.ZipFile(source) as archive:
        return archive.read(name)


def _stems(names: Sequence[str]) -> list[str]:
    """Return a file name for each path: its folders joined by dashes, with a digest where two would be equal."""
    plain = [name.rpartition(".")[0].replace("/", "-").replace("\\", "-") for name in names]
    counts = Counter(stem.lower() for stem in plain)
    stems = []
    for name, stem in zip(names, plain, strict=True):
        is_usable = counts[stem.lower()] == 1 and len(os.fsencode(stem)) < 180
        stems.append(stem if is_usable else f"{stem[:100]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}")
    return stems


def _with_tables(
    files: Sequence[SourceFile], tables: dict[PurePosixPath, Table]
) -> tuple[list[SourceFile], list[dict[str, Any]]]:
    """Return the files with the fields of their rows, each from the table of the nearest folder, and all rejects."""
    there = {file.source for file in files}
    rejects = [
        reject(name, f"in {table.name}, but not there; add the file, or remove the row")
        for table in tables.values()
        for name in sorted(table.rows.keys() - there)
    ]
    kept = []
    for file in files:
        table = table_of(file.source, tables)
        if table is None:
            kept.append(file)
            continue
        row = table.rows.get(file.source)
        if row is None:
            rejects.append(reject(file.source, f"not in {table.name}, so it has no split; add a row for it"))
        elif row["split"] not in SPLITS:
            advice = f"expected {', '.join(SPLITS)}; repair its row"
            rejects.append(reject(file.source, f"split {row['split']!r} in {table.name}, {advice}"))
        else:
            file.split, file.style, file.beat_type = row["split"], row["style"], row["beat_type"]
            kept.append(file)
    return kept, rejects


def reject(source: str, reason: str, sha256: str = "") -> dict[str, Any]:
    """Return the manifest's record of a file that is left out."""
    return {"source": source, "sha256": sha256, "reason": reason}


def assign_splits(files: Sequence[SourceFile], bars: dict[str, np.ndarray], seed: int) -> None:
    """Set the split of each file that has none: at random, near-duplicates together.

    A near-duplicate of files with a split goes to theirs, to the test split rather than the training split. Files
    without bars, which will be rejects, take no room from the others.

    Args:
        files: of the source.
        bars: source -> digests of the bars of the file, none if it cannot be used.
        seed: of the random order.
    """
    given = {file.source: file.split for file in files if file.split}
    usable = [file.source for file in files if len(bars[file.source])]
    groups = group_near_duplicates(usable, bars)
    order = np.random.default_rng(seed).permutation(len(groups))
    room = np.array(SPLIT_SHARES) * len(set(usable) - given.keys())
    split_of = {file.source: SPLITS[0] for file in files} | given
    for group in sorted((groups[number] for number in order), key=len, reverse=True):
        free = [source for source in group if source not in given]
        neighbours = [SPLITS.index(given[source]) for source in group if source in given]
        split = max(neighbours) if neighbours else int(room.argmax())
        room[split] -= 0 if neighbours else len(free)
        split_of |= dict.fromkeys(free, SPLITS[split])
    for file in files:
        file.split = split_of[file.source]

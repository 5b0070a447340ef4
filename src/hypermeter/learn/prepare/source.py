"""MIDI files of a folder or zip, in order, with the split of each that an info.csv lists."""

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from hypermeter.core.addresses import StoredFile, reason_of
from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import naming_write_errors
from hypermeter.io.folders import iterate_files
from hypermeter.io.midi import MIDI_SUFFIXES
from hypermeter.io.sorting import PairSorter, TextSorter
from hypermeter.io.zip_index import iterate_members, open_members
from hypermeter.learn.prepare.tables import SPLITS, TABLE, read_table

_HIDDEN = re.compile(r"(^|/)(\.|__MACOSX)")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A MIDI file of the source.

    Args:
        source: path below the folder or zip, with forward slashes.
        stem: name of its .npz without the suffix, unique among all files.
        split: from an info.csv; "" without.
        style, beat_type: likewise.
        entry: of a file in a zip, its entry in the index.
        earlier: its record in an earlier run with the same settings, if there is one.
    """

    source: str
    stem: str
    split: str = ""
    style: str = ""
    beat_type: str = ""
    entry: bytes = b""
    earlier: dict[str, Any] | None = None

    @property
    def labels(self) -> dict[str, str]:
        return {"source": self.source, "split": self.split, "style": self.style, "beat_type": self.beat_type}


@dataclass(frozen=True)
class Listing:
    """What a source has, on the disk: MIDI files and what a table rejects, each a line of JSON, sorted by source.

    Args:
        path: the files; those that a table lists have its split, style and kind.
        rejects_path: records of the files that a table rejects.
        num_files, num_without_split, num_rejects: how many there are.
        tables: name of each table -> why it is not used; "" for one that is.
        sha256: of all of this.
    """

    path: Path
    rejects_path: Path
    num_files: int
    num_without_split: int
    num_rejects: int
    tables: dict[str, str]
    sha256: str

    def files(self) -> Iterator[SourceFile]:
        """Yield the files in order."""
        return listed_files(self.path)

    def rejects(self) -> Iterator[dict[str, Any]]:
        """Yield the records of the files that a table rejects, in order."""
        with self.rejects_path.open(encoding="ascii") as file:
            yield from map(json.loads, file)


def listed_files(path: Path) -> Iterator[SourceFile]:
    """Yield the files of the listing at a path."""
    with path.open(encoding="ascii") as file:
        for line in file:
            source, stem, split, style, beat_type, entry = json.loads(line)
            yield SourceFile(source, stem, split, style, beat_type, entry.encode("latin-1"))


def list_files(source: Path | StoredFile, folder: Path) -> Listing:
    """List what a source has: a single MIDI file, a folder, with all folders below it, or a zip.

    Args:
        source: the file, folder or zip.
        folder: where the listing is written.

    Raises:
        HypermeterError: no such source, no MIDI in it, or a source that cannot be read.
    """
    names = TextSorter(folder)
    rows = TextSorter(folder)
    try:
        if source.is_file() and source.suffix.lower() in MIDI_SUFFIXES:
            names.add(source.name, "")
            num_names, tables = 1, {}
        else:
            num_names, table_entries = _add_names(source, names)
            if not num_names:
                endings = ", ".join(MIDI_SUFFIXES)
                raise HypermeterError(f"{source}: no .mid files there; expected MIDI, such as {endings}")
            tables = _add_rows(source, table_entries, rows)
        return _write_listing(folder, names, num_names, rows, tables)
    finally:
        names.close()
        rows.close()


def _add_names(source: Path | StoredFile, names: TextSorter) -> tuple[int, dict[str, bytes]]:
    """Add the paths of the MIDI in a folder or zip; return their number, and the tables with their entries in a zip."""
    tables: dict[str, bytes] = {}
    count = 0
    for name, entry in _iterate(source):
        if _HIDDEN.search(name):
            continue
        if name.lower().endswith(MIDI_SUFFIXES):
            names.add(name, entry.decode("latin-1"))
            count += 1
        elif name.rpartition("/")[2].lower() == TABLE:
            tables[name] = entry
    return count, tables


def _iterate(source: Path | StoredFile) -> Iterator[tuple[str, bytes]]:
    try:
        if source.is_dir():
            for name in iterate_files(source) if isinstance(source, Path) else source.names_below():
                yield name, b""
        elif source.is_file():
            yield from iterate_members(source)
        else:
            raise HypermeterError(f"{source}: not there; expected a folder, a .zip or a .mid file")
    except zipfile.BadZipFile as error:
        raise HypermeterError(f"{source}: neither a .mid file nor a whole .zip; get a whole copy") from error
    except OSError as error:
        raise HypermeterError(f"{source}: cannot be read ({reason_of(error)}); check its rights") from error


def _add_rows(source: Path | StoredFile, entries: dict[str, bytes], rows: TextSorter) -> dict[str, str]:
    """Add the rows of all tables; return why each of them is not used, or ""."""
    tables = {}
    for name in sorted(entries):
        try:
            if source.is_dir():
                content = (source / name).read_bytes()
            else:
                with source.open("rb") as file, open_members(file, [entries[name]]) as archive:
                    content = archive.read(name)
            for path, fields in read_table(name, content).rows():
                rows.add(path, json.dumps([name, fields]))
            tables[name] = ""
        except (HypermeterError, OSError) as error:
            tables[name] = f"{name} cannot be read ({error})" if isinstance(error, OSError) else str(error)
    return tables


def _write_listing(
    folder: Path, names: TextSorter, num_names: int, rows: TextSorter, tables: dict[str, str]
) -> Listing:
    is_shared = _shared_stems(folder, names, num_names)
    by_folder = {PurePosixPath(name).parent: name for name, reason in tables.items() if not reason}
    digest = hashlib.sha256(json.dumps(tables).encode())
    counts = {"files": 0, "without_split": 0, "rejects": 0}
    path, rejects_path = folder / "listing.jsonl", folder / "listing_rejects.jsonl"
    of_row = groupby(rows, key=itemgetter(0))
    row = next(of_row, None)
    governing: dict[str, str | None] = {}

    with naming_write_errors(folder), path.open("w", encoding="ascii") as kept, rejects_path.open("w") as rejected:

        def add_reject(source: str, reason: str) -> None:
            line = json.dumps(reject(source, reason)) + "\n"
            rejected.write(line)
            digest.update(line.encode())
            counts["rejects"] += 1

        def rows_up_to(name: str | None) -> dict[str, dict[str, str]]:
            """Reject the rows before a name, or all; return table -> fields of the rows of this name."""
            nonlocal row
            while row is not None and (name is None or row[0] <= name):
                by_table = dict(json.loads(beside) for _, beside in row[1])  # Of equal rows, the last.
                there, row = row[0], next(of_row, None)
                if there == name:
                    return by_table
                for table in by_table:
                    add_reject(there, f"in {table}, but not there; add the file, or remove the row")
            return {}

        for number, (source, group) in enumerate(groupby(names, key=itemgetter(0))):
            *_, (_, entry) = group  # Of equal paths in a zip, the last is read.
            file = SourceFile(source, _stem(source, is_shared[number]))
            fields_of = rows_up_to(source)
            parent = source.rpartition("/")[0]
            if parent not in governing:
                governing = {parent: _table_of(parent, by_folder)}
            table = governing[parent]
            fields = fields_of.get(table) if table is not None else None
            if table is not None and fields is None:
                add_reject(source, f"not in {table}, so it has no split; add a row for it")
                continue
            if fields is not None and fields["split"] not in SPLITS:
                advice = f"expected {', '.join(SPLITS)}; repair its row"
                add_reject(source, f"split {fields['split']!r} in {table}, {advice}")
                continue
            file = replace(file, **fields) if fields else file
            line = json.dumps([file.source, file.stem, file.split, file.style, file.beat_type, entry]) + "\n"
            kept.write(line)
            digest.update(line.encode())
            counts["files"] += 1
            counts["without_split"] += not file.split
        rows_up_to(None)
    return Listing(
        path, rejects_path, counts["files"], counts["without_split"], counts["rejects"], tables, digest.hexdigest()
    )


def _table_of(folder: str, by_folder: dict[PurePosixPath, str]) -> str | None:
    """Return the table that governs a folder: that of the nearest folder above it; `None` if there is none."""
    path = PurePosixPath(folder)
    return next((by_folder[above] for above in (path, *path.parents) if above in by_folder), None)


def _shared_stems(folder: Path, names: TextSorter, num_names: int) -> np.ndarray:
    """Return which of the sorted paths have a plain stem that another has, too; case does not count."""
    stems = PairSorter(folder)
    keys = []
    for number, (name, _) in enumerate(groupby(names, key=itemgetter(0))):
        stem = _plain_stem(name).lower()
        keys.append(hashlib.blake2b(stem.encode("utf-8", "surrogatepass"), digest_size=8).digest())
        if len(keys) == 2**14:
            stems.add(np.frombuffer(b"".join(keys), np.uint64), np.arange(number + 1 - len(keys), number + 1))
            keys = []
    stems.add(np.frombuffer(b"".join(keys), np.uint64), np.arange(stems.count, stems.count + len(keys)))
    is_shared = np.zeros(num_names, bool)
    last_key, last_value = None, 0
    for found, numbers in stems.blocks():
        same = np.flatnonzero(found[1:] == found[:-1])
        is_shared[numbers[same]] = is_shared[numbers[same + 1]] = True
        if found[0] == last_key:
            is_shared[last_value] = is_shared[numbers[0]] = True
        last_key, last_value = found[-1], numbers[-1]
    stems.close()
    return is_shared


def _plain_stem(name: str) -> str:
    return name.rpartition(".")[0].replace("/", "-").replace("\\", "-")


def _stem(name: str, is_shared: bool) -> str:
    """Return the name of a file's .npz: its folders joined by dashes, with a digest where two would be equal."""
    stem = _plain_stem(name)
    if not is_shared and len(os.fsencode(stem)) < 180:
        return stem
    return f"{stem[:100]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}"


def reject(source: str, reason: str, sha256: str = "") -> dict[str, Any]:
    """Return the manifest's record of a file that is left out."""
    return {"source": source, "sha256": sha256, "reason": reason}

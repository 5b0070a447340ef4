"""The manifest: one JSON object, with a record a line, so that it is written and read without holding all of it."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypermeter.learn.prepare.folder import Folder

MANIFEST = "manifest.json"
PARTIAL = "manifest.partial.jsonl"
"""Records of a run that an earlier version did not finish."""

VERSION = 3

LISTS = ("files", "rejects", "near_duplicates")
"""Fields with an item for each file, which are written an item a line."""

MAX_BYTES_AT_ONCE = 2**24
"""Size of a manifest up to which `Manifest` holds the lists, too."""

_RECORD = {
    **dict.fromkeys(("source", "sha256", "split", "style", "beat_type"), str),
    **dict.fromkeys(("bars", "hits", "dropped"), int),
    **dict.fromkeys(("npz", "tempo_bpm", "left_out"), list),
    "unmapped": dict,
}
"""Field of a converted file's record -> its type. With tracks, those of ``_NOTES`` stand beside them."""

_SINCE_VERSION_2 = {"bars_cut": int, "own_grid": dict, "remarks": list, "strokes": int, "npz_sha256": list}
"""Further fields, which records of version 1 lack; `strokes` is there since version 3, and
`npz_sha256` where the .npz are files of their own."""

_NOTES = ("notes", "notes_dropped")
"""Counts of each track."""

_SETTINGS = (
    "version",
    "kit",
    "grid",
    "changes",
    "tracks",
    "sections",
    "least_grid",
    "most_copies",
    "options",
    "packed",
)
"""Settings that decide the content of a .npz. Those after `changes` are there where they are not the default."""


class Manifest(Mapping[str, Any]):
    """A manifest: field -> value. The lists of a large one are read when they are asked for.

    Args:
        path: of the manifest.json that `prepare` wrote.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lists: dict[str, list[Any]] = {}
        if self.path.stat().st_size <= MAX_BYTES_AT_ONCE:
            self._fields = json.loads(self.path.read_text("utf-8"))
        else:
            self._fields = dict(_fields(self.path))

    def __getitem__(self, key: str) -> Any:
        value = self._fields[key]
        if value is None and key in LISTS:
            return list(self.items_of(key))
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"Manifest({str(self.path)!r})"

    def items_of(self, key: str) -> Iterator[Any]:
        """Yield the items of a list one after another: `files`, `rejects` or `near_duplicates`."""
        held = self._fields[key]
        return iter(held) if held is not None else _items(self.path, key)


def _lines_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines of a manifest that `write_manifest` wrote: their field, and the JSON of an item or of all."""
    key = ""
    with path.open(encoding="utf-8") as file:
        for line in file:
            line = line.rstrip("\n").removesuffix(",")
            if line.startswith("  "):
                yield key, line
            elif line.startswith(' "'):
                name, _, value = line.partition(": ")
                key = json.loads(name)
                yield key, "" if value == "[" else value
            elif line not in ("{", "}", " ]"):
                raise ValueError(f"{path}: not of the form that prepare writes")


def _fields(path: Path) -> Iterator[tuple[str, Any]]:
    last = None
    for key, text in _lines_of(path):
        if key != last:
            yield key, json.loads(text) if text else None
        last = key


def _items(path: Path, wanted: str) -> Iterator[Any]:
    for key, text in _lines_of(path):
        if key == wanted and text:
            yield json.loads(text)


def is_record(value: Any) -> bool:
    """Return whether a value is the record of a converted file."""
    return (
        isinstance(value, dict)
        and value.keys() - {*_NOTES, "shards"} - _SINCE_VERSION_2.keys() == _RECORD.keys()
        and isinstance(value.get("shards", []), list)
        and all(map(_is_name, value.get("shards", [])))
        and all(isinstance(value[key], kind) for key, kind in (_RECORD | _SINCE_VERSION_2).items() if key in value)
        and all(map(_is_name, value["npz"]))
        and all(key.isdecimal() and isinstance(count, int) for key, count in value["unmapped"].items())
        and all(isinstance(value.get(key, {}), dict) for key in _NOTES)
        and all(isinstance(count, int) for key in _NOTES for count in value.get(key, {}).values())
    )


def is_whole(record: dict[str, Any]) -> bool:
    """Return whether a record has all that the totals of this version are made of, and numbers in its lists."""
    own_grid = record.get("own_grid", {})
    numbers = [own_grid.get(key) for key in ("shift", "player_shift_ms", "clarity", "swing")]
    numbers += [record.get("bars_cut"), record.get("strokes"), *record["tempo_bpm"]]
    return all(type(number) in (int, float) for number in numbers) and isinstance(own_grid.get("kind"), str)


def _is_name(value: Any) -> bool:
    """Return whether a value can be the name of a file below the folder."""
    return isinstance(value, str) and len(value.encode("utf-8", "surrogatepass")) <= 255 and "\0" not in value


def iterate_manifest(out: Folder, name: str) -> Iterator[Any]:
    """Yield the settings of a manifest, then the records of its files, in the form of `iterate_lines`."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        path = out.fetch(name)
        try:
            fields = dict(_fields(path))
            settings = {key: fields[key] for key in _SETTINGS if key in fields}
            records = _items(path, "files") if fields["files"] is None else iter(fields["files"])
        except ValueError:  # Somebody has written it in another form.
            fields = json.loads(path.read_text("utf-8"))
            settings, records = {key: fields[key] for key in _SETTINGS if key in fields}, iter(fields["files"])
        yield settings
        yield from records


def iterate_lines(out: Folder, name: str) -> Iterator[Any]:
    """Yield the lines of a file that are JSON: a run that was cut off leaves half a line."""
    with suppress(OSError), out.reading(name) as file:
        for line in file:
            with suppress(ValueError, RecursionError):
                yield json.loads(line)


@dataclass(frozen=True)
class Items:
    """A list of the manifest, written an item a line; each item is given as parts of its JSON."""

    items: Iterable[Iterable[str]]


def write_manifest(out: Folder, fields: Iterable[tuple[str, Any]]) -> None:
    """Write the manifest.

    Args:
        out: its folder.
        fields: names and values in order; each is taken when those before it are written. A list may be `Items`.
    """
    with out.writing(MANIFEST) as file:
        file.write(b"{")
        for number, (key, value) in enumerate(fields):
            file.write(f"{',' if number else ''}\n {json.dumps(key)}: ".encode())
            if not isinstance(value, Items):
                file.write(json.dumps(value).encode())
                continue
            count = 0
            for parts in value.items:
                file.write(b",\n  " if count else b"[\n  ")
                file.writelines(part.encode() for part in parts)
                count += 1
            file.write(b"\n ]" if count else b"[]")
        file.write(b"\n}\n")

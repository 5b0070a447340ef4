"""The manifest with its totals, and the records by which an unfinished run continues."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from hypermeter.core.files import atomic_write
from hypermeter.io.midi.own_grid import CLEAR
from hypermeter.learn.prepare.convert import ConvertedFile, total_unmapped
from hypermeter.learn.prepare.source import SPLITS
from hypermeter.music.duplicates import near_duplicates

MANIFEST = "manifest.json"
PARTIAL = "manifest.partial.jsonl"
VERSION = 2

_RECORD = {
    **dict.fromkeys(("source", "sha256", "split", "style", "beat_type"), str),
    **dict.fromkeys(("bars", "hits", "dropped"), int),
    **dict.fromkeys(("npz", "tempo_bpm", "left_out"), list),
    "unmapped": dict,
}
"""Field of a converted file's record -> its type. With tracks, those of ``_NOTES`` stand beside them."""

_SINCE_VERSION_2 = {"bars_cut": int, "own_grid": dict, "remarks": list}
"""Further fields, which records of version 1 lack."""

_NOTES = ("notes", "notes_dropped")
"""Counts of each track."""

_SETTINGS = ("version", "kit", "grid", "changes", "tracks", "sections", "least_grid", "most_copies", "options")
"""Settings that decide the content of a .npz. Those after `changes` are there where they are not the default."""


def _is_record(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() - {*_NOTES} - _SINCE_VERSION_2.keys() == _RECORD.keys()
        and all(isinstance(value[key], kind) for key, kind in (_RECORD | _SINCE_VERSION_2).items() if key in value)
        and all(isinstance(name, str) for name in value["npz"])
        and all(key.isdecimal() and isinstance(count, int) for key, count in value["unmapped"].items())
        and all(isinstance(value.get(key, {}), dict) for key in _NOTES)
        and all(isinstance(count, int) for key in _NOTES for count in value.get(key, {}).values())
    )


def earlier_records(out: Path, settings: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """Return the records of earlier runs with the same settings, by source, and all .npz that earlier runs wrote.

    Lines that are not of the form that ``prepare`` writes are left out.
    """
    records, written = {}, set()
    settings = json.loads(json.dumps(settings))
    names = {track["name"] for track in settings.get("tracks", [])}
    for lines in (_manifest_lines(out / MANIFEST), _json_lines(out / PARTIAL)):
        is_same = False
        for line in lines:
            if _is_record(line):
                written |= set(line["npz"])
                if is_same and all(line.get(key, {}).keys() == names for key in _NOTES):
                    records[line["source"]] = line
            elif isinstance(line, dict) and "version" in line:
                is_same = line == settings
    return records, written


def _manifest_lines(path: Path) -> list[Any]:
    """Return the settings of a manifest, then the records of its files, in the form of ``_json_lines``."""
    try:
        manifest = json.loads(path.read_text("utf-8"))
        return [{key: manifest[key] for key in _SETTINGS if key in manifest}, *manifest["files"]]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _json_lines(path: Path) -> list[Any]:
    """Return the lines of a file that are JSON: a run that was cut off leaves half a line."""
    lines = []
    with suppress(OSError, UnicodeDecodeError):
        for line in path.read_text("utf-8").splitlines():
            with suppress(ValueError):
                lines.append(json.loads(line))
    return lines


def clear(out: Path, written: Iterable[str], kept: set[str]) -> None:
    """Remove .npz that the loader should not read: earlier runs', and parts left by a process that was killed."""
    for part in (part for split in SPLITS for part in (out / split).glob(".*.npz")):
        part.unlink(missing_ok=True)
    for name in written:
        parts = PurePosixPath(name).parts
        if name not in kept and len(parts) == 2 and parts[0] in SPLITS and name.endswith(".npz"):
            (out / name).unlink(missing_ok=True)


def totals(converted: Sequence[ConvertedFile]) -> dict[str, Any]:
    """Return the manifest's fields about all converted files together."""
    records = [file.record for file in converted]
    groups = near_duplicates({file.record["source"]: file.bars for file in converted})
    names = sorted({name for record in records for name in record.get("notes", {})})
    notes = {key: {name: sum(record[key][name] for record in records) for name in names} for key in _NOTES}
    split_of = {record["source"]: record["split"] for record in records}
    return {
        "splits": {split: _split_totals([f for f in converted if f.record["split"] == split]) for split in SPLITS},
        "distinct_bars": _distinct_bars(converted),
        "hits": sum(record["hits"] for record in records),
        "hits_dropped": sum(record["dropped"] for record in records),
        "bars_cut": sum(record["bars_cut"] for record in records),
        "unmapped": total_unmapped(records),
        "own_grids": _own_grids([record["own_grid"] for record in records]),
        **(notes if names else {}),
        "near_duplicates": groups,
        "near_duplicates_across_splits": sum(len({split_of[source] for source in group}) > 1 for group in groups),
        "bars_verbatim_in_train": _bars_in_train(converted),
    }


def write_manifest(out: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest, and remove the records of the unfinished run."""
    with atomic_write(out / MANIFEST) as temporary:
        temporary.write_text(one_record_a_line(manifest), "utf-8")
    (out / PARTIAL).unlink(missing_ok=True)


def _split_totals(converted: Sequence[ConvertedFile]) -> dict[str, int]:
    counts = {key: sum(file.record[key] for file in converted) for key in ("bars", "hits", "dropped")}
    return {"files": len(converted), **counts, "distinct_bars": _distinct_bars(converted)}


def _distinct_bars(converted: Sequence[ConvertedFile]) -> int:
    """Return the number of bars with different hits; rests do not count."""
    return len(np.unique(np.concatenate([np.zeros(0, np.uint64), *(file.bars[:, 0] for file in converted)])))


def _own_grids(grids: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return how many files are of each kind of grid or have no clear one, and the median shift of those that have."""
    clear = [grid["player_shift_ms"] for grid in grids if grid["clarity"] >= CLEAR]
    kinds = Counter(grid["kind"] for grid in grids)
    median_ms = round(float(np.median(clear)), 2) if clear else None
    return {"kinds": dict(sorted(kinds.items())), "unclear": len(grids) - len(clear), "median_shift_ms": median_ms}


def _bars_in_train(converted: Sequence[ConvertedFile]) -> dict[str, dict[str, int]]:
    """Return, for each held-out split, the number of bars with hits, and of those that equal a bar of train."""
    bars = {split: [file.bars[:, 0] for file in converted if file.record["split"] == split] for split in SPLITS}
    joined = {split: np.concatenate([np.zeros(0, np.uint64), *digests]) for split, digests in bars.items()}
    return {
        split: {"bars": len(joined[split]), "in_train": int(np.isin(joined[split], joined["train"]).sum())}
        for split in SPLITS[1:]
    }


def one_record_a_line(manifest: dict[str, Any]) -> str:
    """Return JSON that people can read, written ten times as fast as with indents."""
    parts = []
    for key, value in manifest.items():
        text = json.dumps(value)
        if key in ("files", "rejects", "near_duplicates") and value:
            text = "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"

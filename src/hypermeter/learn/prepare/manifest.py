"""What a run leaves for the next: the manifest with its totals, and the records that let an unfinished run go on."""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from hypermeter.learn.prepare.convert import Outcome, total_unmapped
from hypermeter.learn.prepare.source import SPLITS
from hypermeter.music.duplicates import near_duplicates

MANIFEST = "manifest.json"
PARTIAL = "manifest.partial.jsonl"
VERSION = 1

_RECORD = {
    **dict.fromkeys(("source", "sha256", "split", "style", "beat_type"), str),
    **dict.fromkeys(("bars", "hits", "dropped"), int),
    **dict.fromkeys(("npz", "tempo_bpm", "left_out"), list),
    "unmapped": dict,
}
"""The fields of a file that was kept; those of ``_NOTES`` stand beside them where tracks were asked for."""

_NOTES = ("notes", "notes_dropped")
"""Counts of each track."""

_SETTINGS = ("version", "kit", "grid", "changes", "tracks", "sections")
"""What decides the content of a .npz. The last two are there where they were asked for."""


def _is_record(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() - {*_NOTES} == _RECORD.keys()
        and all(isinstance(value[key], kind) for key, kind in _RECORD.items())
        and all(isinstance(name, str) for name in value["npz"])
        and all(key.isdecimal() and isinstance(count, int) for key, count in value["unmapped"].items())
        and all(isinstance(value.get(key, {}), dict) for key in _NOTES)
        and all(isinstance(count, int) for key in _NOTES for count in value.get(key, {}).values())
    )


def earlier_records(out: Path, settings: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """Records of earlier runs with the same settings, and all the .npz that earlier runs wrote.

    What is not of the form that ``prepare`` writes is as if it were not there.
    """
    records, written = {}, set()
    settings = json.loads(json.dumps(settings))
    names = {each["name"] for each in settings.get("tracks", [])}
    for run in (_manifest_lines(out / MANIFEST), _json_lines(out / PARTIAL)):
        is_same = False
        for line in run:
            if _is_record(line):
                written |= set(line["npz"])
                if is_same and all(line.get(key, {}).keys() == names for key in _NOTES):
                    records[line["source"]] = line
            elif isinstance(line, dict) and "version" in line:
                is_same = line == settings
    return records, written


def _manifest_lines(path: Path) -> list[Any]:
    """The settings of a manifest, then the records of its files, as ``_json_lines`` gives them of an unfinished run."""
    try:
        manifest = json.loads(path.read_text("utf-8"))
        return [{key: manifest[key] for key in _SETTINGS if key in manifest}, *manifest["files"]]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _json_lines(path: Path) -> list[Any]:
    """The lines of a file that are JSON: a run that was cut off leaves half a line."""
    lines = []
    with suppress(OSError, UnicodeDecodeError):
        for line in path.read_text("utf-8").splitlines():
            with suppress(ValueError):
                lines.append(json.loads(line))
    return lines


def clear(out: Path, written: Iterable[str], kept: set[str]) -> None:
    """Removes .npz that the loader would read and should not: earlier runs', and parts left by one that was killed."""
    for part in (part for split in SPLITS for part in (out / split).glob(".*.npz")):
        part.unlink(missing_ok=True)
    for name in written:
        parts = PurePosixPath(name).parts
        if name not in kept and len(parts) == 2 and parts[0] in SPLITS and name.endswith(".npz"):
            (out / name).unlink(missing_ok=True)


def totals(kept: Sequence[Outcome]) -> dict[str, Any]:
    """What the manifest says of all the files that were kept."""
    groups = near_duplicates({each.record["source"]: each.bars for each in kept})
    names = sorted({name for each in kept for name in each.record.get("notes", {})})
    notes = {key: {name: sum(each.record[key][name] for each in kept) for name in names} for key in _NOTES}
    split_of = {each.record["source"]: each.record["split"] for each in kept}
    return {
        "splits": _split_totals(kept),
        "hits": sum(each.record["hits"] for each in kept),
        "hits_dropped": sum(each.record["dropped"] for each in kept),
        "unmapped": total_unmapped(each.record for each in kept),
        **(notes if names else {}),
        "near_duplicates": groups,
        "near_duplicates_across_splits": sum(len({split_of[each] for each in group}) > 1 for group in groups),
        "bars_verbatim_in_train": _verbatim(kept),
    }


def _split_totals(kept: Sequence[Outcome]) -> dict[str, dict[str, int]]:
    of_split = {}
    for split in SPLITS:
        records = [each.record for each in kept if each.record["split"] == split]
        of_split[split] = {"files": len(records)} | {
            key: sum(each[key] for each in records) for key in ("bars", "hits", "dropped")
        }
    return of_split


def _verbatim(kept: Sequence[Outcome]) -> dict[str, dict[str, int]]:
    """For the held-out splits: bars with hits, and those of them that a bar of train equals."""
    bars = {split: [each.bars[:, 0] for each in kept if each.record["split"] == split] for split in SPLITS}
    joined = {split: np.concatenate([np.zeros(0, np.uint64), *ones]) for split, ones in bars.items()}
    return {
        split: {"bars": len(joined[split]), "in_train": int(np.isin(joined[split], joined["train"]).sum())}
        for split in SPLITS[1:]
    }


def one_record_a_line(manifest: dict[str, Any]) -> str:
    """JSON that people can read and that is written ten times as fast as with indents."""
    parts = []
    for key, value in manifest.items():
        text = json.dumps(value)
        if key in ("files", "rejects", "near_duplicates") and value:
            text = "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"

"""The tasks of `prepare`, which an engine runs anywhere: each depends on its value and on two addresses alone.

A task converts some files, one after another in the order of their names, and leaves in the folder `WORK`:

- its records, a line of JSON for each file, written last: a task with records has ended;
- the digests of their bars;
- the .npz of files whose split is not known yet, which a second task puts into their places, or into shards.

Each file is written whole or not at all, so that a task that was killed is done again.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.io.npz_writer import npz_bytes, read_npz_bytes, replace_last
from hypermeter.io.shards import Shard
from hypermeter.learn.prepare.convert import (
    ConversionSettings,
    ConvertedFile,
    convert,
    npz_names,
    piece_npz,
    rejected,
    sha256_of,
)
from hypermeter.learn.prepare.folder import Folder, open_folder
from hypermeter.learn.prepare.reading import Reader, open_source
from hypermeter.learn.prepare.sinks import Sink, open_sink
from hypermeter.learn.prepare.source import SourceFile
from hypermeter.learn.prepare.tables import SPLITS
from hypermeter.music.duplicates import BarSets, bar_digests, bar_sets

WORK = ".prepare"
"""Folder of an unfinished run, in the folder that is written."""

PLAN = f"{WORK}/plan.json"
"""File that is there from before the first task until after the last."""

Places = list[list[int]] | None
"""Where the .npz of a file are among those without a split: start and size of each; None where they are in place."""


@dataclass(frozen=True)
class ConvertTask:
    """Files to convert.

    Args:
        number: of the task.
        plan: digest of the settings and of all files; records of another plan are not used.
        settings: of the conversion.
        files: in the order of their names.
    """

    number: int
    plan: str
    settings: ConversionSettings
    files: tuple[SourceFile, ...]


@dataclass(frozen=True)
class PlaceTask:
    """Files of a task that are put into the folders of their splits.

    Args:
        number: of the task that converted them.
        out: address of the folder that is written.
        packed: write shards.
        splits: for each file the number of its split in SPLITS.
    """

    number: int
    out: str
    packed: bool
    splits: bytes


@dataclass(frozen=True)
class TaskResult:
    """What is told of a task: its number, its files, those that can be used, and those that were done before."""

    number: int
    num_files: int
    num_kept: int
    num_skipped: int


def work_name(number: int, kind: str) -> str:
    """Return the name of a task's file: of its records, its bars, its loose .npz, or the mark that it has begun."""
    return f"{WORK}/{number:07}.{kind}"


def convert_task(task: ConvertTask) -> TaskResult:
    """Convert files, or find that they are converted."""
    out = _open_work(task.settings.out)
    with open_source(task.settings.source, task.files) as read:
        records = _finished(task, out, read)
        if records is not None:
            return _result(task.number, records, len(records))
        earlier = {record["source"]: record for record, places in _own_records(task, out) if places is None}
        out.remove(work_name(task.number, "records"))
        out.write(work_name(task.number, "begun"), b"")
        all_have_splits = all(file.split for file in task.files)
        packed = task.settings.packed
        with ExitStack() as stack:
            sink = stack.enter_context(open_sink(out, task.number, packed and all_have_splits))
            loose: BinaryIO | None = None
            if not all_have_splits:
                loose = stack.enter_context(out.writing(work_name(task.number, "loose")))
            lines, bars, num_skipped = [], [], 0
            for file in task.files:
                written = None
                if not packed:
                    written = _written(task.settings, file, out, read, earlier.get(file.source, file.earlier))
                if written is None:
                    converted = _convert(task.settings, file, read)
                    lines.append(_write(task, file, converted, sink, None if file.split and not packed else loose))
                else:
                    converted = written
                    lines.append((converted.record, None))
                    num_skipped += 1
                bars.append(converted.bars)
        sets = bar_sets(bars, task.settings.kit.num_voices)
        out.write(work_name(task.number, "bars"), npz_bytes(vars(sets)))
        _write_records(out, task.number, task.plan, lines)
    return _result(task.number, lines, num_skipped)


def place_task(task: PlaceTask) -> TaskResult:
    """Put the .npz of files into the folders of their splits. What is there already stays."""
    out = _open_work(task.out)
    plan, lines = read_records(out, task.number)
    placed, num_skipped = [], 0
    with ExitStack() as stack:
        loose: BinaryIO | None = None
        if any(places is not None for _, places in lines):
            loose = stack.enter_context(out.reading(work_name(task.number, "loose")))
        sink = stack.enter_context(open_sink(out, task.number, task.packed and loose is not None))
        for (record, places), code in zip(lines, task.splits, strict=True):
            split = SPLITS[code]
            if "npz" in record and (record["split"] != split or places is not None):
                names = [f"{split}/{name.rpartition('/')[2]}" for name in record["npz"]]
                contents = _contents(out, record, places, loose)
                contents = (replace_last(content, partial(_with_split, split=split)) for content in contents)
                record = _written_to(sink, record | {"split": split, "npz": names}, contents)
            else:
                num_skipped += 1
            placed.append((record, None))
    if num_skipped < len(placed):
        _write_records(out, task.number, plan, placed)
    out.remove(work_name(task.number, "loose"))
    return _result(task.number, placed, num_skipped)


def _with_split(meta: np.ndarray, split: str) -> np.ndarray:
    return np.array(json.dumps(json.loads(str(meta)) | {"split": split}))


def read_record_lines(out: Folder, number: int) -> tuple[str, list[tuple[str, str]]]:
    """Return the plan of a task that has ended, and for each of its files its places and its record, both as JSON.

    Raises:
        OSError: it has not ended.
    """
    plan, *lines = out.read(work_name(number, "records")).decode().split("\n")[:-1]
    return plan, [(places, record) for places, _, record in (line.partition("\t") for line in lines)]


def _open_work(address: str) -> Folder:
    """Return the folder that is written; raise where another machine's is not this one's."""
    out = open_folder(address)
    if not out.exists(PLAN):
        raise HypermeterError(f"{address}: not the folder of this run; each machine that takes part has to reach it")
    return out


def read_records(out: Folder, number: int) -> tuple[str, list[tuple[dict[str, Any], Places]]]:
    """Return the plan of a task that has ended, and for each of its files its record and its places.

    Raises:
        OSError: it has not ended.
    """
    plan, lines = read_record_lines(out, number)
    return plan, [(json.loads(record), json.loads(places)) for places, record in lines]


def read_bar_sets(out: Folder, number: int) -> BarSets:
    """Return the bars of the files of a task that has ended."""
    return BarSets(**read_npz_bytes(out.read(work_name(number, "bars"))))


def _write_records(out: Folder, number: int, plan: str, lines: Sequence[tuple[dict[str, Any], Places]]) -> None:
    content = "".join(f"{json.dumps(places)}\t{json.dumps(record)}\n" for record, places in lines)
    out.write(work_name(number, "records"), f"{plan}\n{content}".encode())


def _result(number: int, lines: Sequence[tuple[dict[str, Any], Places]], num_skipped: int) -> TaskResult:
    return TaskResult(number, len(lines), sum("npz" in record for record, _ in lines), num_skipped)


def _own_records(task: ConvertTask, out: Folder) -> list[tuple[dict[str, Any], Places]]:
    """Return the records of the task's own earlier end, none if it has not ended."""
    try:
        plan, lines = read_records(out, task.number)
    except (OSError, ValueError):
        return []
    return lines if plan == task.plan and len(lines) == len(task.files) else []


def _finished(task: ConvertTask, out: Folder, read: Reader) -> list[tuple[dict[str, Any], Places]] | None:
    """Return the task's records if it has ended and nothing has changed since, in the source or in what it wrote."""
    lines = _own_records(task, out)
    if not lines or not out.exists(work_name(task.number, "bars")):
        return None
    with ExitStack() as stack:
        try:
            loose = None
            if any(places is not None for _, places in lines):
                loose = stack.enter_context(out.reading(work_name(task.number, "loose")))
            for file, (record, places) in zip(task.files, lines, strict=True):
                if _sha256(file, read) != record["sha256"]:
                    return None
                if "npz" in record and (places is not None or "shards" not in record):
                    _check_contents(record, _contents(out, record, places, loose))
            for shard in {shard for record, _ in lines for shard in record.get("shards", ())}:
                Shard(out.path(shard)).verify()
        except (OSError, ValueError, HypermeterError):
            return None
    return lines


def _sha256(file: SourceFile, read: Reader) -> str:
    try:
        return sha256_of(read(file))
    except HypermeterError:
        return ""


def _contents(out: Folder, record: dict[str, Any], places: Places, loose: BinaryIO | None) -> Iterator[bytes]:
    """Yield the .npz of a record, from their places or from among those without a split."""
    if places is None or loose is None:
        yield from map(out.read, record["npz"])
        return
    for start, size in places:
        loose.seek(start)
        yield loose.read(size)


def _check_contents(record: dict[str, Any], contents: Iterable[bytes]) -> list[dict[str, np.ndarray]]:
    """Return the arrays of each .npz of a record.

    Raises:
        ValueError: one is damaged, or not what was written. Records of earlier builds have no digests.
    """
    contents = list(contents)
    digests = [sha256_of(content) for content in contents]
    if record.get("npz_sha256", digests) != digests:
        raise ValueError("not what was written")
    return [read_npz_bytes(content) for content in contents]


def _written(
    settings: ConversionSettings, file: SourceFile, out: Folder, read: Reader, earlier: dict[str, Any] | None
) -> ConvertedFile | None:
    """Return what an earlier run wrote of a file; None if that is missing, damaged or not what this run writes."""
    if earlier is None or "npz" not in earlier:
        return None
    labels = file.labels if file.split else {**file.labels, "split": earlier["split"]}
    if not {**labels, "sha256": _sha256(file, read)}.items() <= earlier.items():
        return None
    if earlier["npz"] != npz_names(labels["split"], file.stem, len(earlier["npz"])):
        return None
    try:
        contents = _check_contents(earlier, _contents(out, earlier, None, None))
        grids = [Grid.from_dict(json.loads(str(arrays["meta"]))["grid"]) for arrays in contents]
        bars = [
            bar_digests(arrays["sequence"], grid.steps_per_bar) for arrays, grid in zip(contents, grids, strict=True)
        ]
        return ConvertedFile(earlier, np.concatenate(bars))
    except (OSError, ValueError, KeyError):  # It is written again.
        return None


def _convert(settings: ConversionSettings, file: SourceFile, read: Reader) -> ConvertedFile:
    try:
        content = read(file)
    except HypermeterError as error:
        return rejected(settings, file, error)
    return convert(settings, file, content, sha256_of(content))


def _write(
    task: ConvertTask, file: SourceFile, converted: ConvertedFile, sink: Sink, loose: BinaryIO | None
) -> tuple[dict[str, Any], Places]:
    """Write the .npz of a file; return its record, and where they are among those without a split."""
    contents = (piece_npz(task.settings, file, part) for part in converted.parts)
    if loose is None or "npz" not in converted.record:
        return _written_to(sink, converted.record, contents), None
    places = []
    for content in contents:
        places.append([loose.tell(), len(content)])
        loose.write(content)
    return converted.record, places


def _written_to(sink: Sink, record: dict[str, Any], contents: Iterable[bytes]) -> dict[str, Any]:
    """Write the .npz of a record; return it, with the names of the shards where they are in shards."""
    names = record.get("npz", [])
    files, digests = [], []
    for name, content in zip(names, contents, strict=True):
        files.append(sink(name, content))
        digests.append(sha256_of(content))
    if files != names:
        return record | {"shards": list(dict.fromkeys(files))}
    return record | {"npz_sha256": digests} if names else record

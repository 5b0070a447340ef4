"""The plan of a run: its files and tasks on the disk, and what earlier runs have written."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count as count_from
from itertools import groupby, islice, takewhile
from operator import itemgetter
from pathlib import Path
from typing import Any

from hypermeter.core.addresses import StoredFile
from hypermeter.io.sorting import TextSorter
from hypermeter.learn.prepare.convert import ConversionSettings, npz_names
from hypermeter.learn.prepare.folder import Folder
from hypermeter.learn.prepare.manifest import MANIFEST, PARTIAL, is_record, is_whole, iterate_lines, iterate_manifest
from hypermeter.learn.prepare.sinks import shards_of_task
from hypermeter.learn.prepare.source import Listing, SourceFile, list_files, listed_files
from hypermeter.learn.prepare.tables import SPLITS
from hypermeter.learn.prepare.tasks import PLAN, WORK, ConvertTask, read_records, work_name

_EARLIER = f"{WORK}/earlier.jsonl"
_LISTING = f"{WORK}/listing.jsonl"
_REJECTS = f"{WORK}/rejects.jsonl"
SORTING = f"{WORK}/sorting"
"""Folder of what is sorted, which is emptied when a run begins."""

MIN_FILES_PER_TASK, MAX_FILES_PER_TASK, USUAL_TASKS = 32, 1024, 64
"""The files of a corpus make 64 tasks, of 32 files at least and 1,024 at most, with any number of workers."""


@dataclass(frozen=True)
class Plan:
    """What a run does.

    Args:
        digest: of the settings and the listing.
        listing: the files.
        files_per_task: how many files a task has; the last may have fewer.
    """

    digest: str
    listing: Listing
    files_per_task: int

    @property
    def num_tasks(self) -> int:
        return -(-self.listing.num_files // self.files_per_task)

    def groups(self) -> Iterator[tuple[SourceFile, ...]]:
        """Yield the files of each task."""
        files = self.listing.files()
        while group := tuple(islice(files, self.files_per_task)):
            yield group


def list_source(source: Path | StoredFile, out: Folder) -> Listing:
    """List what a source has, in the folder that is written.

    Raises:
        HypermeterError: no such source, no MIDI in it, or a source that cannot be read.
    """
    out.remove_folder(SORTING)
    try:
        return list_files(source, out.local(SORTING))
    except BaseException:
        out.remove_folder(SORTING)
        out.remove_if_empty()
        raise


def make_plan(listing: Listing, source: str, out: Folder, header: dict[str, Any], seed: int) -> Plan:
    """Begin a run, or continue an unfinished one with the same settings and files.

    Args:
        listing: of the source.
        source: its address.
        out: the folder that is written.
        header: settings that decide what a .npz holds.
        seed: of the split of files that no info.csv lists.
    """
    files_per_task = min(max(-(-listing.num_files // USUAL_TASKS), MIN_FILES_PER_TASK), MAX_FILES_PER_TASK)
    digest = hashlib.sha256(json.dumps([header, seed, source, listing.sha256, files_per_task]).encode()).hexdigest()
    earlier = _read_plan(out)
    if earlier is None or earlier["digest"] != digest:
        _keep_earlier(out, earlier)
    path, rejects_path = out.keep(listing.path, _LISTING), out.keep(listing.rejects_path, _REJECTS)
    plan = Plan(digest, replace(listing, path=path, rejects_path=rejects_path), files_per_task)
    fields = {"digest": digest, "header": header, "files_per_task": files_per_task, "num_tasks": plan.num_tasks}
    out.write(PLAN, json.dumps(fields).encode())
    return plan


def convert_tasks(plan: Plan, settings: ConversionSettings, earlier: TextSorter) -> Iterator[ConvertTask]:
    """Yield the tasks that convert the files, each with what earlier runs with the same settings wrote of it."""
    records = groupby(earlier, key=itemgetter(0))
    found = next(records, None)
    for number, group in enumerate(plan.groups()):
        files = []
        for file in group:
            while found is not None and found[0] < file.source:
                found = next(records, None)
            if found is not None and found[0] == file.source:
                same = [record for is_same, record in (json.loads(beside) for _, beside in found[1]) if is_same]
                found = next(records, None)
                file = replace(file, earlier=same[-1]) if same else file
            files.append(file)
        yield ConvertTask(number, plan.digest, settings, tuple(files))


def earlier_records(out: Folder, header: dict[str, Any]) -> TextSorter:
    """Return the records of all earlier runs, by source: whether they are of the same settings, and the record.

    Lines that are not of the form that ``prepare`` writes are left out.
    """
    found = TextSorter(out.local(SORTING))
    expected = json.loads(json.dumps(header))
    names = {track["name"] for track in expected.get("tracks", [])}
    for lines in (iterate_manifest(out, MANIFEST), iterate_lines(out, PARTIAL), iterate_lines(out, _EARLIER)):
        is_same = False
        for line in lines:
            if is_record(line):
                has_notes = all(line.get(key, {}).keys() == names for key in ("notes", "notes_dropped"))
                found.add(line["source"], json.dumps([is_same and has_notes and is_whole(line), line]))
            elif isinstance(line, dict) and "version" in line:
                is_same = line == expected
            elif isinstance(line, dict) and line.keys() == {"source", "npz"}:  # of a task that was killed
                found.add(str(line["source"]), json.dumps([False, line]))
    return found


def _read_plan(out: Folder) -> dict[str, Any] | None:
    try:
        plan = json.loads(out.read(PLAN))
        return plan if plan.keys() == {"digest", "header", "files_per_task", "num_tasks"} else None
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


def _keep_earlier(out: Folder, earlier: dict[str, Any] | None) -> None:
    """Keep the records of an unfinished run whose plan was another one, and remove its other files."""
    if earlier is None:
        out.remove(_EARLIER)
    else:
        with out.writing(_EARLIER) as file:
            for line in _lines_of(out, earlier):
                file.write(f"{json.dumps(line)}\n".encode())
    for name in out.names(WORK):
        if f"{WORK}/{name}" not in (_EARLIER, PLAN):
            out.remove(f"{WORK}/{name}")
    out.remove(PLAN)


def _lines_of(out: Folder, earlier: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the settings of an unfinished run, and the records of what it has put into place."""
    yield from iterate_lines(out, _EARLIER)
    yield earlier["header"]
    files = listed_files(out.fetch(_LISTING))
    for number in range(earlier["num_tasks"]):
        group = list(islice(files, earlier["files_per_task"]))
        if out.exists(work_name(number, "records")):
            for record, places in read_records(out, number)[1]:
                if "npz" in record and places is None:
                    yield record
        if out.exists(work_name(number, "begun")):  # Files that a killed task may have written.
            if earlier["header"].get("packed"):
                names = [name for split in SPLITS for name in shards_of_task(out, split, number)]
                yield {"source": group[0].source, "npz": names}
            else:
                yield from ({"source": file.source, "npz": _npz_of(out, file)} for file in group)


def _npz_of(out: Folder, file: SourceFile) -> list[str]:
    """Return the .npz of a file that are there."""
    names = []
    for split in [file.split] if file.split else SPLITS:
        candidates = (npz_names(split, file.stem, count)[-1] for count in count_from(1))
        names += takewhile(out.exists, candidates)
    return names


def remove_work(out: Folder) -> None:
    """Remove what a finished run needs no longer."""
    out.remove(PLAN)
    out.remove_folder(SORTING)
    out.remove_folder(WORK)

"""A run of `prepare`: its tasks on an engine, and between them what needs all files together.

However many files there are, this process holds a fixed number of records, names and digests, and some 40 bytes for
each file: its group of near-duplicates, its split, its number of bars.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from hypermeter.core.errors import HypermeterError
from hypermeter.core.kit_choice import hinted_names
from hypermeter.core.read_options import ReadOptions
from hypermeter.io.shards import SUFFIX
from hypermeter.io.sorting import TextSorter
from hypermeter.learn.engines import Engine, SerialEngine, open_engine, usable_cores
from hypermeter.learn.prepare.convert import ConversionSettings
from hypermeter.learn.prepare.folder import Folder, open_folder
from hypermeter.learn.prepare.manifest import MANIFEST, PARTIAL, Items, Manifest, write_manifest
from hypermeter.learn.prepare.plan import SORTING, Plan, convert_tasks, earlier_records, remove_work
from hypermeter.learn.prepare.reading import CountTask, count_pitches
from hypermeter.learn.prepare.source import Listing
from hypermeter.learn.prepare.splits import NO_SPLIT, assign_splits
from hypermeter.learn.prepare.tables import SPLITS
from hypermeter.learn.prepare.tasks import (
    PlaceTask,
    TaskResult,
    convert_task,
    place_task,
    read_bar_sets,
    read_record_lines,
    read_records,
)
from hypermeter.learn.prepare.totals import Totals
from hypermeter.music.duplicates import near_duplicate_leaders

MIN_FILES_FOR_POOL = 200
"""With fewer files, starting processes costs more than they save."""

FILES_PER_COUNT = 256
"""Files whose pitches are counted by one task."""


@dataclass(frozen=True)
class Outcome:
    """The manifest of a run, the number of files that were done before, and of those with parts left out."""

    manifest: Manifest
    num_skipped: int
    num_left_out: int


def run_plan(
    plan: Plan, settings: ConversionSettings, header: dict[str, Any], seed: int, engine: Engine, quiet: bool
) -> Outcome:
    """Convert the files of a plan, and write the manifest. What is done already is not done again.

    Args:
        plan: from `make_plan`.
        settings: of the conversion.
        header: the settings as the manifest has them.
        seed: of the split of files that no info.csv lists.
        engine: runs the tasks.
        quiet: show no progress.

    Raises:
        HypermeterError: none of the files can be used, the folder cannot be written, or the engine gives up.
    """
    out = open_folder(settings.out)
    for split in SPLITS:
        out.make(split)
    earlier = earlier_records(out, header)
    tasks = convert_tasks(plan, settings, earlier)
    results = list(_shown(engine.run(convert_task, tasks), plan.num_tasks, "converting", quiet))
    num_files = plan.listing.num_files
    sorting = out.local(SORTING)
    leaders = near_duplicate_leaders(lambda: _bar_sets(out, plan), num_files, sorting)
    if plan.listing.num_without_split:
        place_tasks = _place_tasks(out, plan, leaders, seed, settings.packed)
        for _ in _shown(engine.run(place_task, place_tasks), plan.num_tasks, "placing", quiet):
            pass
    totals = Totals(sorting, leaders)
    rejects = TextSorter(sorting)
    fields = {
        **header,
        "source": settings.source,
        "split_by": _split_by(plan.listing.num_without_split, num_files, seed),
        "tables": plan.listing.tables,
    }
    _clear(out, plan, earlier)
    earlier.close()
    write_manifest(out, _fields(out, plan, fields, totals, rejects))
    first_reject = json.loads(next((record for _, record in rejects), "null"))
    num_kept = sum(result.num_kept for result in results)
    totals.close()
    rejects.close()
    out.remove(PARTIAL)
    remove_work(out)
    if not num_kept:
        reason = first_reject["reason"] if first_reject else "no files"
        num_rejects = num_files + plan.listing.num_rejects
        raise HypermeterError(f"{settings.source}: none of {num_rejects} files could be used; the first: {reason}")
    num_skipped = sum(result.num_skipped for result in results)
    return Outcome(Manifest(out.fetch(MANIFEST)), num_skipped, totals.num_left_out)


@contextmanager
def choose_engine(name: str, workers: int, num_files: int, address: str = "") -> Iterator[Engine]:
    """Yield an engine.

    Args:
        name: one of ENGINES.
        workers: processes; 0, the number of cores, of this machine where there are files enough.
        num_files: number of files of the source.
        address: of a Ray cluster, see `RayEngine`.
    """
    count = workers or usable_cores()
    if name == "ray" or (count > 1 and (workers > 1 or num_files >= MIN_FILES_FOR_POOL)):
        with open_engine(name, workers, address) as engine:
            yield engine
    else:
        yield SerialEngine()


def count_all_pitches(
    engine: Engine, source: str, listing: Listing, options: ReadOptions
) -> tuple[np.ndarray, list[str]]:
    """Return the hits of each pitch in all files that can be read, (128,), and names that hint at a map."""
    files = listing.files()
    groups = iter(lambda: tuple(islice(files, FILES_PER_COUNT)), ())
    tasks = (CountTask(source, group, options) for group in groups)
    counts, names = np.zeros(128, np.int64), []
    for more_counts, more_names in engine.run(count_pitches, tasks):
        counts += more_counts
        names = hinted_names([*names, *more_names])
    return counts, names


def _shown(results: Iterable[TaskResult], num_tasks: int, description: str, quiet: bool) -> Iterator[TaskResult]:
    with Progress(console=Console(stderr=True, quiet=quiet), transient=True) as progress:
        yield from progress.track(results, total=num_tasks, description=description)


def _bar_sets(out: Folder, plan: Plan) -> Iterator[Any]:
    return (read_bar_sets(out, number) for number in range(plan.num_tasks))


def _records(out: Folder, plan: Plan) -> Iterator[dict[str, Any]]:
    for number in range(plan.num_tasks):
        yield from (record for record, _ in read_records(out, number)[1])


def _fields(
    out: Folder, plan: Plan, fields: dict[str, Any], totals: Totals, rejects: TextSorter
) -> Iterator[tuple[str, Any]]:
    """Yield the fields of the manifest; records pass once, and are counted on the way."""
    yield from fields.items()
    for record in plan.listing.rejects():
        rejects.add(record["source"], json.dumps(record))
    yield "files", Items([line] for line in _counted(out, plan, totals, rejects))
    yield "rejects", Items([line] for _, line in rejects)
    yield from totals.fields().items()


def _counted(out: Folder, plan: Plan, totals: Totals, rejects: TextSorter) -> Iterator[str]:
    """Yield the records of files that are used, as JSON; count them, and add those of the others to the rejects."""
    for number in range(plan.num_tasks):
        lines = [line for _, line in read_record_lines(out, number)[1]]
        records = [json.loads(line) for line in lines]
        totals.add(records, read_bar_sets(out, number))
        for record, line in zip(records, lines, strict=True):
            if "npz" in record:
                yield line
            else:
                rejects.add(record["source"], line)


def _place_tasks(out: Folder, plan: Plan, leaders: np.ndarray, seed: int, packed: bool) -> Iterator[PlaceTask]:
    given = np.full(plan.listing.num_files, NO_SPLIT, np.uint8)
    is_usable = np.zeros(plan.listing.num_files, bool)
    first = 0
    for files, bars in zip(plan.groups(), _bar_sets(out, plan), strict=True):
        codes = [SPLITS.index(file.split) if file.split else NO_SPLIT for file in files]
        given[first : first + len(files)] = codes
        is_usable[first : first + len(files)] = bars.sizes > 0
        first += len(files)
    splits = assign_splits(given, is_usable, leaders, seed)
    for number in range(plan.num_tasks):
        part = slice(number * plan.files_per_task, (number + 1) * plan.files_per_task)
        yield PlaceTask(number, out.address, packed, splits[part].tobytes())


def _split_by(num_without_split: int, num_files: int, seed: int) -> str:
    if num_without_split == num_files:
        return f"seed {seed}"
    return f"info.csv, and seed {seed} for {num_without_split} files" if num_without_split else "info.csv"


def _clear(out: Folder, plan: Plan, earlier: TextSorter) -> None:
    """Remove .npz that the loader should not read: earlier runs', and parts left by a process that was killed."""
    for split in SPLITS:
        for name in [name for name in out.names(split) if name.startswith(".")]:
            out.remove(f"{split}/{name}")
    names = TextSorter(out.local(SORTING))
    for _, beside in earlier:
        for name in _written_names(json.loads(beside)[1]):
            split, _, rest = name.partition("/")
            if split in SPLITS and rest.endswith((".npz", SUFFIX)) and "/" not in rest:
                names.add(name)
    if names:
        for record in _records(out, plan):
            for name in _written_names(record):
                names.add(name, "kept")
    for name, group in groupby(names, key=itemgetter(0)):
        if not any(is_kept for _, is_kept in group):
            out.remove(name)
    names.close()


def _written_names(record: dict[str, Any]) -> list[str]:
    """Return the names of the files that hold the performances of a record."""
    return record.get("shards") or record.get("npz", [])

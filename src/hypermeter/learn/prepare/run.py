"""A run of `prepare`: its tasks on an engine, and between them what needs all files together.

However many files there are, this process holds a fixed number of records, names and digests, and some 40 bytes for
each file: its group of near-duplicates, its split, its number of bars.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import merge
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
from hypermeter.learn.prepare.manifest import MANIFEST, PARTIAL, Manifest, write_manifest
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
    for number in range(plan.num_tasks):
        records = (record for record, _ in read_records(out, number)[1])
        totals.add(records, read_bar_sets(out, number))
    num_kept = sum(result.num_kept for result in results)
    fields = {
        **header,
        "source": settings.source,
        "split_by": _split_by(plan.listing.num_without_split, num_files, seed),
        "tables": plan.listing.tables,
        "files": None,
        "rejects": None,
        **totals.fields(),
    }
    lists = {
        "files": ([json.dumps(record)] for record in _records(out, plan) if "npz" in record),
        "rejects": ([json.dumps(record)] for record in _rejects(out, plan)),
        "near_duplicates": map(_group_parts, totals.near_duplicates()),
    }
    _clear(out, plan, earlier)
    earlier.close()
    write_manifest(out, fields, lists)
    first_reject = None if num_kept else next(_rejects(out, plan), {"reason": "no files"})
    totals.close()
    out.remove(PARTIAL)
    remove_work(out)
    if first_reject:
        num_rejects = num_files + plan.listing.num_rejects
        reason = f"none of {num_rejects} files could be used; the first: {first_reject['reason']}"
        raise HypermeterError(f"{settings.source}: {reason}")
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


def _rejects(out: Folder, plan: Plan) -> Iterator[dict[str, Any]]:
    converted = (record for record in _records(out, plan) if "npz" not in record)
    return merge(plan.listing.rejects(), converted, key=itemgetter("source"))


def _group_parts(sources: Iterator[str]) -> Iterator[str]:
    yield "["
    for number, source in enumerate(sources):
        yield f"{', ' if number else ''}{json.dumps(source)}"
    yield "]"


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
    for _, (_, record) in earlier:
        for name in _written_names(record):
            split, _, rest = name.partition("/")
            if split in SPLITS and rest.endswith((".npz", SUFFIX)) and "/" not in rest:
                names.add(name, False)
    if names:
        for record in _records(out, plan):
            for name in _written_names(record):
                names.add(name, True)
    for name, group in groupby(names, key=itemgetter(0)):
        if not any(is_kept for _, is_kept in group):
            out.remove(name)
    names.close()


def _written_names(record: dict[str, Any]) -> list[str]:
    """Return the names of the files that hold the performances of a record."""
    return [record["shard"]] if "shard" in record else record.get("npz", [])

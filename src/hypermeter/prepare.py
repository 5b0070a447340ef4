"""A folder, zip or file of MIDI -> a folder of .npz and manifest.json. Nothing here is opened again by the loader."""

import csv
import hashlib
import io
import json
import multiprocessing
import os
import re
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from hypermeter.download import download
from hypermeter.duplicates import bar_digests, near_duplicates
from hypermeter.grid import Grid, HypermeterError, atomic_write
from hypermeter.kit import Kit, load_kit
from hypermeter.midi import MAX_BYTES, Piece, parse_midi

__all__ = ["SPLITS", "download", "prepare"]

SPLITS = ("train", "validation", "test")
SHARES = (0.8, 0.1, 0.1)
"""Of the files of a plain folder, in the order of SPLITS."""

FILES_PER_TASK = 32
FILES_FOR_POOL = 200
"""With fewer files, starting processes costs more than they save."""

MANIFEST = "manifest.json"
PARTIAL = "manifest.partial.jsonl"
VERSION = 1


@dataclass(frozen=True)
class _Job:
    """What a worker needs to know of the run."""

    source: Path
    out: Path
    kit: Kit
    grid: Grid
    changes: Literal["split", "refuse"]


@dataclass
class _File:
    """One MIDI file on its way through."""

    source: str  # Relative to the folder or zip, with forward slashes.
    stem: str  # Of its .npz, unique among all.
    split: str = ""
    style: str = ""
    beat_type: str = ""
    known: dict[str, Any] | None = None  # Its record in an earlier run with the same settings.


@dataclass
class _Outcome:
    """A file's record for the manifest, the digests of its bars (N, V + 1), and whether it was skipped as done."""

    record: dict[str, Any]
    bars: np.ndarray
    skipped: bool = False


def prepare(
    source: Annotated[Path, tyro.conf.arg(metavar="SOURCE")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    kit: str = "gm10",
    steps_per_beat: int = 4,
    metre: str = "4/4",
    bars_per_phrase: int = 4,
    changes: Literal["split", "refuse"] = "split",
    seed: int = 0,
    workers: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Make a folder of .npz for training from a folder, zip or single file of MIDI.

    With an info.csv as the Groove MIDI Dataset has it, split, style and beat or fill are read there. Other folders are
    split by file, .8/.1/.1, near-duplicates together. Run again, it goes on where it stopped.

    Args:
        source: folder, .zip or .mid to read.
        out: folder to write: train/, validation/, test/ and manifest.json.
        kit: gm10, magenta9, gm, or the path of a YAML file.
        steps_per_beat: steps in a beat of the metre.
        metre: the metre to keep, as 4/4; files in another are rejected.
        bars_per_phrase: bars in a phrase.
        changes: split a file where tempo or metre change, or refuse it.
        seed: of the split of a plain folder.
        workers: processes; 0 takes the number of cores where there are files enough.
        quiet: print nothing.

    Returns:
        The manifest.

    Raises:
        HypermeterError: nothing to read at the source, a folder that cannot be written, a bad kit or metre. A bad file
            among others is a reject in the manifest.
    """
    started = time.perf_counter()
    job = _Job(Path(source), Path(out), load_kit(kit), Grid.of_metre(metre, steps_per_beat, bars_per_phrase), changes)
    if changes not in ("split", "refuse"):
        raise HypermeterError(f"changes is {changes!r}, expected split or refuse")
    settings = {"version": VERSION, "kit": job.kit.record, "grid": job.grid.to_dict(), "changes": changes}
    files, is_split, rejects = _find(job.source)
    earlier, leftovers = _earlier(job.out, settings)
    for each in files:
        each.known = earlier.get(each.source)
    with _Crew(job, settings, len(files), workers, quiet) as crew:
        if not is_split:
            bars = {}
            for outcome in crew.run(files, "reading", write=False):
                bars[outcome.record["source"]] = outcome.bars
            _assign_splits(files, bars, seed)
        outcomes = sorted(crew.run(files, "writing", write=True), key=lambda each: each.record["source"])
    records = [each.record for each in outcomes]
    kept = [each for each in outcomes if "npz" in each.record]
    rejects += [each for each in records if "npz" not in each]
    bars_of = {each.record["source"]: each.bars for each in kept}
    groups = near_duplicates(bars_of)
    split_of = {each.record["source"]: each.record["split"] for each in kept}
    manifest = {
        **settings,
        "source": str(source),
        "split_by": "info.csv" if is_split else f"seed {seed}",
        "files": [each.record for each in kept],
        "rejects": sorted(rejects, key=lambda each: each["source"]),
        "splits": _split_totals(kept),
        "hits": sum(each.record["hits"] for each in kept),
        "hits_dropped": sum(each.record["dropped"] for each in kept),
        "unmapped": _total_unmapped(each.record for each in kept),
        "near_duplicates": groups,
        "near_duplicates_across_splits": sum(len({split_of[each] for each in group}) > 1 for group in groups),
        "bars_verbatim_in_train": _verbatim(kept),
    }
    _clear(job.out, leftovers, {name for each in kept for name in each.record["npz"]})
    with atomic_write(job.out / MANIFEST) as temporary:
        temporary.write_text(_one_record_a_line(manifest), "utf-8")
    (job.out / PARTIAL).unlink(missing_ok=True)
    if not kept:
        reason = rejects[0]["reason"] if rejects else "no files"
        raise HypermeterError(f"{source}: none of {len(rejects)} files could be used; the first: {reason}")
    if not quiet:
        _summarize(manifest, sum(each.skipped for each in outcomes), time.perf_counter() - started)
    return manifest


def _find(source: Path) -> tuple[list[_File], bool, list[dict[str, Any]]]:
    """The files at a source, whether info.csv has split them, and those that it rejects."""
    if source.is_file() and source.suffix.lower() in (".mid", ".midi"):
        return [_File(source.name, source.stem)], False, []
    try:
        if source.is_dir():
            # os.walk, since rglob stops at the first folder that cannot be read.
            folders = [(Path(at).relative_to(source), names) for at, _, names in os.walk(source)]
            names = [(folder / name).as_posix() for folder, names in folders for name in names]
            read = lambda name: (source / name).read_text("utf-8-sig")  # noqa: E731
        elif source.is_file():
            with zipfile.ZipFile(source) as archive:
                names = [each.filename for each in archive.infolist() if not each.is_dir()]
            read = lambda name: _zip_text(source, name)  # noqa: E731
        else:
            raise HypermeterError(f"{source}: not there; expected a folder, a .zip or a .mid file")
    except zipfile.BadZipFile as error:
        raise HypermeterError(f"{source}: neither a .mid file nor a whole .zip; get a whole copy") from error
    except OSError as error:
        raise HypermeterError(f"{source}: cannot be read ({error.strerror}); check its rights") from error
    names = sorted({n for n in names if not any(p.startswith((".", "__MACOSX")) for p in PurePosixPath(n).parts)})
    midi = [name for name in names if name.lower().endswith((".mid", ".midi"))]
    if not midi:
        raise HypermeterError(f"{source}: no .mid files there; expected MIDI")
    files = [_File(name, stem) for name, stem in zip(midi, _stems(midi), strict=True)]
    tables = [name for name in names if name.rpartition("/")[2] == "info.csv"]
    if not tables:
        return files, False, []
    table = min(tables, key=lambda name: (name.count("/"), name))
    base = PurePosixPath(table).parent
    try:
        rows = list(csv.DictReader(io.StringIO(read(table))))
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise HypermeterError(f"{source}: {table} cannot be read ({error}); repair or remove it") from error
    if not rows or not {"midi_filename", "split"} <= set(rows[0]):
        return files, False, []
    rows_of = {(base / (row["midi_filename"] or "")).as_posix(): row for row in rows}
    rejects = [_reject(name, "in info.csv, but not there") for name in sorted(set(rows_of) - set(midi))]
    listed = []
    for each in files:
        row = rows_of.get(each.source)
        if row is None:
            rejects.append(_reject(each.source, "not in info.csv, so it has no split"))
        elif row["split"] not in SPLITS:
            rejects.append(_reject(each.source, f"split {row['split']!r} in info.csv, expected {', '.join(SPLITS)}"))
        else:
            each.split, each.style, each.beat_type = row["split"], row.get("style") or "", row.get("beat_type") or ""
            listed.append(each)
    return listed, True, rejects


def _zip_text(source: Path, name: str) -> str:
    with zipfile.ZipFile(source) as archive:
        return archive.read(name).decode("utf-8-sig")


def _stems(names: Sequence[str]) -> list[str]:
    """One file name for each path: its folders joined by dashes, and a digest where two would be one."""
    plain = [name.rpartition(".")[0].replace("/", "-").replace("\\", "-") for name in names]
    counts = Counter(stem.lower() for stem in plain)
    stems = []
    for name, stem in zip(names, plain, strict=True):
        alone = counts[stem.lower()] == 1 and len(stem.encode()) < 180
        stems.append(stem if alone else f"{stem[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}")
    return stems


def _reject(source: str, reason: str, sha256: str = "") -> dict[str, Any]:
    return {"source": source, "sha256": sha256, "reason": reason}


class _Crew:
    """Runs files through workers, shows how far it is, and keeps each record as it comes."""

    def __init__(self, job: _Job, settings: dict[str, Any], num_files: int, workers: int, quiet: bool) -> None:
        if workers < 0:
            raise HypermeterError(f"workers is {workers}, expected 0 or more")
        self.job, self.settings, self.quiet = job, settings, quiet
        self.num_workers = workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
        self.is_pooled = self.num_workers > 1 and (workers > 1 or num_files >= FILES_FOR_POOL)
        self.stack = ExitStack()

    def __enter__(self) -> "_Crew":
        with _writing(self.job.out):
            for split in SPLITS:
                (self.job.out / split).mkdir(parents=True, exist_ok=True)
            # Without a buffer, which would be written once more, and fail once more, when the file is closed.
            self.partial = self.stack.enter_context((self.job.out / PARTIAL).open("ab", buffering=0))
        self._keep([self.settings])
        if self.is_pooled:
            # Forking is the quickest start, and safe while no thread of torch's is about.
            way = "fork" if sys.platform == "linux" and "torch" not in sys.modules else "spawn"
            context = multiprocessing.get_context(way)
            self.pool = self.stack.enter_context(ProcessPoolExecutor(self.num_workers, mp_context=context))
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind and self.is_pooled:
            self.pool.shutdown(wait=True, cancel_futures=True)
        self.stack.close()

    def run(self, files: Sequence[_File], what: str, write: bool) -> list[_Outcome]:
        batches = [files[at : at + FILES_PER_TASK] for at in range(0, len(files), FILES_PER_TASK)]
        outcomes = []
        for batch in self._batches(batches, what, write):
            outcomes += batch
            if write:
                self._keep([each.record for each in batch if not each.skipped])
        return outcomes

    def _batches(self, batches: Sequence[Sequence[_File]], what: str, write: bool) -> Iterator[list[_Outcome]]:
        console = Console(stderr=True, quiet=self.quiet)
        if not self.is_pooled:
            with Progress(console=console, transient=True) as progress:
                for batch in progress.track(batches, description=what):
                    yield _run_batch(self.job, batch, write)
            return
        # Submitted before the bar is shown: its thread must not be there when processes fork.
        futures = [self.pool.submit(_run_batch, self.job, batch, write) for batch in batches]
        try:
            with Progress(console=console, transient=True) as progress:
                for future in progress.track(as_completed(futures), total=len(futures), description=what):
                    yield future.result()
        except BrokenProcessPool as error:
            raise HypermeterError(f"{self.job.source}: a worker process died; run again, or with workers 1") from error

    def _keep(self, records: Sequence[dict[str, Any]]) -> None:
        with _writing(self.job.out / PARTIAL):
            # The line is broken first, since the run before may have left half a line.
            self.partial.write("".join("\n" + json.dumps(each) for each in records).encode())


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Errors of the system in the block are said in one line that names the path."""
    try:
        yield
    except OSError as error:
        reason = f"{path}: cannot be written ({error.strerror}); free space or choose another folder"
        raise HypermeterError(reason) from error


def _run_batch(job: _Job, files: Sequence[_File], write: bool) -> list[_Outcome]:
    with ExitStack() as stack:
        archive = None
        if job.source.is_file() and job.source.suffix.lower() not in (".mid", ".midi"):
            archive = stack.enter_context(zipfile.ZipFile(job.source))
        return [_run_file(job, each, archive, write) for each in files]


def _run_file(job: _Job, file: _File, archive: zipfile.ZipFile | None, write: bool) -> _Outcome:
    """Reads a file; with ``write``, its .npz are written too."""
    sha256 = ""
    try:
        content = _read(job, file, archive)
        sha256 = hashlib.sha256(content).hexdigest()
        known = file.known
        if write and known and known["sha256"] == sha256 and _is_same(known, file):
            bars = _known_bars(job, known)
            if bars is not None:
                return _Outcome(known, bars, skipped=True)
        pieces, left_out = parse_midi(content, file.source, job.kit, job.grid, job.changes)
        bars = np.concatenate([bar_digests(piece.groove.hits, job.grid.steps_per_bar) for piece in pieces])
    except Exception as error:  # Of whatever kind: the other files go on.
        reason = str(error).removeprefix(f"{file.source}: ")
        if not isinstance(error, HypermeterError):
            reason = f"cannot be read ({type(error).__name__}: {' '.join(reason.split())}); repair or remove it"
        nothing = np.zeros((0, job.kit.num_voices + 1), np.uint64)
        return _Outcome(_reject(file.source, reason, sha256), nothing)
    if not write:
        return _Outcome({"source": file.source}, bars)
    names = []
    for number, piece in enumerate(pieces):
        name = f"{file.split}/{file.stem}{f'-{number + 1}' if number else ''}.npz"
        _write_npz(job, file, piece, job.out / name)
        names.append(name)
    record = {
        "source": file.source,
        "sha256": sha256,
        "split": file.split,
        "style": file.style,
        "beat_type": file.beat_type,
        "npz": names,
        "tempo_bpm": [piece.groove.tempo_bpm for piece in pieces],
        "bars": sum(piece.groove.num_bars for piece in pieces),
        "hits": sum(int(piece.groove.hits.sum()) for piece in pieces),
        "dropped": sum(piece.dropped for piece in pieces),
        "unmapped": _total_unmapped({"unmapped": piece.unmapped} for piece in pieces),
        "left_out": left_out,
    }
    return _Outcome(record, bars)


def _read(job: _Job, file: _File, archive: zipfile.ZipFile | None) -> bytes:
    try:
        if archive:
            size = archive.getinfo(file.source).file_size
        else:
            path = job.source if job.source.is_file() else job.source / file.source
            size = path.stat().st_size
        if size > MAX_BYTES:
            raise HypermeterError(f"{file.source}: larger than {MAX_BYTES >> 20} MiB, not a drum performance")
        return archive.read(file.source) if archive else path.read_bytes()
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise HypermeterError(f"{file.source}: cannot be read ({error})") from error


def _is_same(known: dict[str, Any], file: _File) -> bool:
    return (known["split"], known["style"], known["beat_type"]) == (file.split, file.style, file.beat_type)


def _known_bars(job: _Job, known: dict[str, Any]) -> np.ndarray | None:
    """Digests of the bars already written; None where an .npz is missing or damaged."""
    try:
        parts = []
        for name in known["npz"]:
            # Opened here, since np.load leaves a damaged file open.
            with (job.out / name).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                parts.append(bar_digests(arrays["sequence"], job.grid.steps_per_bar))
        return np.concatenate(parts)
    except Exception:  # Whatever is wrong with it, it is written again.
        return None


def _write_npz(job: _Job, file: _File, piece: Piece, path: Path) -> None:
    groove = piece.groove
    meta = {
        "source": file.source,
        "split": file.split,
        "style": file.style,
        "beat_type": file.beat_type,
        "kit": job.kit.record,
        "grid": job.grid.to_dict(),
        "tempo_bpm": groove.tempo_bpm,
        "start_tick": piece.start_tick,
    }
    arrays = {"sequence": groove.hits, "velocity": groove.velocity, "offset": groove.offset}
    with atomic_write(path) as temporary:
        temporary.write_bytes(_npz(arrays | {"meta": np.array(json.dumps(meta))}))


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    """What np.savez writes, in a third of its time. The same arrays give the same bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            header = _npy_header(array.dtype.str, array.shape)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), header + array.tobytes())
    return content.getvalue()


@lru_cache
def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    return header.getvalue()


def _assign_splits(files: Sequence[_File], bars: dict[str, np.ndarray], seed: int) -> None:
    """Gives each file a split, groups of near-duplicates whole, by chance."""
    groups = near_duplicates(bars)
    grouped = {name for group in groups for name in group}
    groups += [[each.source] for each in files if each.source not in grouped]
    order = np.random.default_rng(seed).permutation(len(groups))
    wanted = np.array(SHARES) * len(files)
    split_of = {}
    for group in sorted((groups[number] for number in order), key=len, reverse=True):
        split = int(wanted.argmax())
        wanted[split] -= len(group)
        split_of |= dict.fromkeys(group, SPLITS[split])
    for each in files:
        each.split = split_of[each.source]


_RECORD = {
    **dict.fromkeys(("source", "sha256", "split", "style", "beat_type"), str),
    **dict.fromkeys(("bars", "hits", "dropped"), int),
    **dict.fromkeys(("npz", "tempo_bpm", "left_out"), list),
    "unmapped": dict,
}
"""The fields of a file that was kept."""


def _is_record(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == _RECORD.keys()
        and all(isinstance(value[key], kind) for key, kind in _RECORD.items())
        and all(isinstance(name, str) for name in value["npz"])
        and all(key.isdecimal() and isinstance(count, int) for key, count in value["unmapped"].items())
    )


def _earlier(out: Path, settings: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """Records of earlier runs with the same settings, and all the .npz that earlier runs wrote.

    What is not of the form that ``prepare`` writes is as if it were not there.
    """
    records, written = {}, set()
    settings = json.loads(json.dumps(settings))
    for run in (_manifest_lines(out / MANIFEST, settings), _json_lines(out / PARTIAL)):
        is_same = False
        for line in run:
            if _is_record(line):
                written |= set(line["npz"])
                if is_same:
                    records[line["source"]] = line
            elif isinstance(line, dict) and "version" in line:
                is_same = line == settings
    return records, written


def _manifest_lines(path: Path, keys: Iterable[str]) -> list[Any]:
    """The settings of a manifest, then the records of its files, as ``_json_lines`` gives them of an unfinished run."""
    try:
        manifest = json.loads(path.read_text("utf-8"))
        return [{key: manifest[key] for key in keys}, *manifest["files"]]
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


def _clear(out: Path, written: Iterable[str], kept: set[str]) -> None:
    """Removes .npz that the loader would read and should not: earlier runs', and parts left by one that was killed."""
    for part in (part for split in SPLITS for part in (out / split).glob(".*.npz")):
        part.unlink(missing_ok=True)
    for name in written:
        parts = PurePosixPath(name).parts
        if name not in kept and len(parts) == 2 and parts[0] in SPLITS and name.endswith(".npz"):
            (out / name).unlink(missing_ok=True)


def _split_totals(kept: Sequence[_Outcome]) -> dict[str, dict[str, int]]:
    totals = {}
    for split in SPLITS:
        records = [each.record for each in kept if each.record["split"] == split]
        totals[split] = {"files": len(records)} | {
            key: sum(each[key] for each in records) for key in ("bars", "hits", "dropped")
        }
    return totals


def _total_unmapped(records: Iterable[dict[str, Any]]) -> dict[str, int]:
    """MIDI pitch -> hits. Keys are text, as JSON has them."""
    total: Counter[int] = Counter()
    for each in records:
        total.update({int(pitch): count for pitch, count in each["unmapped"].items()})
    return {str(pitch): total[pitch] for pitch in sorted(total)}


def _verbatim(kept: Sequence[_Outcome]) -> dict[str, dict[str, int]]:
    """For the held-out splits: bars with hits, and those of them that a bar of train equals."""
    bars = {split: [each.bars[:, 0] for each in kept if each.record["split"] == split] for split in SPLITS}
    joined = {split: np.concatenate([np.zeros(0, np.uint64), *ones]) for split, ones in bars.items()}
    return {
        split: {"bars": len(joined[split]), "in_train": int(np.isin(joined[split], joined["train"]).sum())}
        for split in SPLITS[1:]
    }


def _one_record_a_line(manifest: dict[str, Any]) -> str:
    """JSON that people can read and that is written ten times as fast as with indents."""
    parts = []
    for key, value in manifest.items():
        text = json.dumps(value)
        if key in ("files", "rejects", "near_duplicates") and value:
            text = "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _summarize(manifest: dict[str, Any], num_skipped: int, duration_s: float) -> None:
    console = Console()
    table = Table("split", "files", "bars", "hits", "dropped", "bars also in train")
    for split, total in manifest["splits"].items():
        same = manifest["bars_verbatim_in_train"].get(split)
        share = f"{same['in_train']} of {same['bars']}" if same and same["bars"] else ""
        table.add_row(split, *(f"{total[key]:,}" for key in ("files", "bars", "hits", "dropped")), share)
    console.print(table)
    reasons = Counter(re.sub(r" at bar \d+ \(\d+ hits\)", "", each["reason"]) for each in manifest["rejects"])
    console.print(f"{len(manifest['rejects'])} files rejected" + (":" if reasons else ""))
    for reason, count in reasons.most_common(8):
        console.print(f"  {count} x {reason}", markup=False, highlight=False)
    if manifest["unmapped"]:
        told = ", ".join(f"{pitch}: {count:,}" for pitch, count in manifest["unmapped"].items())
        console.print(f"hits that no voice of the kit reads, by pitch: {told}", highlight=False)
    across = manifest["near_duplicates_across_splits"]
    if across:
        console.print(f"{across} groups of near-duplicate performances lie across the splits given by info.csv")
    left_out = sum(bool(each["left_out"]) for each in manifest["files"])
    if left_out:
        console.print(f"{left_out} files had parts left out; see left_out in {MANIFEST}")
    count = len(manifest["files"]) + len(manifest["rejects"])
    again = f", {num_skipped} of them done before" if num_skipped else ""
    console.print(f"{count:,} files in {duration_s:.1f} s{again}")

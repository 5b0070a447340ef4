"""One MIDI file -> its .npz, and its record for the manifest. What a worker process runs."""

import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit
from hypermeter.core.tracks import HOLD, Track
from hypermeter.io.midi import MAX_BYTES, MIDI_SUFFIXES, Piece, parse_midi
from hypermeter.learn.prepare.source import File, reject
from hypermeter.music.duplicates import bar_digests


@dataclass(frozen=True)
class Job:
    """What a worker needs to know of the run."""

    source: Path
    out: Path
    kit: Kit
    grid: Grid
    changes: Literal["split", "refuse"]
    tracks: tuple[Track, ...] = ()
    with_sections: bool = False


@dataclass
class Outcome:
    """A file's record for the manifest, the digests of its bars (N, V + 1), and whether it was skipped as done."""

    record: dict[str, Any]
    bars: np.ndarray
    skipped: bool = False


def run_batch(job: Job, files: Sequence[File], write: bool) -> list[Outcome]:
    """Reads files one after another, the zip that they may be in opened once."""
    with ExitStack() as stack:
        archive = None
        if job.source.is_file() and job.source.suffix.lower() not in MIDI_SUFFIXES:
            archive = stack.enter_context(zipfile.ZipFile(job.source))
        return [_run_file(job, each, archive, write) for each in files]


def _run_file(job: Job, file: File, archive: zipfile.ZipFile | None, write: bool) -> Outcome:
    """Reads a file; with ``write``, its .npz are written too."""
    sha256 = ""
    try:
        content = _read(job, file, archive)
        sha256 = hashlib.sha256(content).hexdigest()
        known = file.known
        if write and known and known["sha256"] == sha256 and _is_same(known, file):
            bars = _known_bars(job, known)
            if bars is not None:
                return Outcome(known, bars, skipped=True)
        pieces, left_out = parse_midi(
            content, file.source, job.kit, job.grid, job.changes, job.tracks, job.with_sections
        )
        bars = np.concatenate([bar_digests(piece.groove.hits, job.grid.steps_per_bar) for piece in pieces])
    except Exception as error:  # Of whatever kind: the other files go on.
        reason = str(error).removeprefix(f"{file.source}: ")
        if not isinstance(error, HypermeterError):
            reason = f"cannot be read ({type(error).__name__}: {' '.join(reason.split())}); repair or remove it"
        nothing = np.zeros((0, job.kit.num_voices + 1), np.uint64)
        return Outcome(reject(file.source, reason, sha256), nothing)
    if not write:
        return Outcome({"source": file.source}, bars)
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
        "unmapped": total_unmapped({"unmapped": piece.unmapped} for piece in pieces),
        "left_out": left_out,
    }
    if job.tracks:
        record["notes"] = {
            each.name: sum(int((piece.groove.tracks[each.name] > HOLD).sum()) for piece in pieces)
            for each in job.tracks
        }
        record["notes_dropped"] = {
            each.name: sum(piece.notes_dropped[each.name] for piece in pieces) for each in job.tracks
        }
    return Outcome(record, bars)


def _read(job: Job, file: File, archive: zipfile.ZipFile | None) -> bytes:
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


def _is_same(known: dict[str, Any], file: File) -> bool:
    return (known["split"], known["style"], known["beat_type"]) == (file.split, file.style, file.beat_type)


def _known_bars(job: Job, known: dict[str, Any]) -> np.ndarray | None:
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


def _write_npz(job: Job, file: File, piece: Piece, path: Path) -> None:
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
    arrays |= {f"track_{name}": codes for name, codes in groove.tracks.items()}
    if groove.sections is not None:
        arrays["section"] = groove.sections
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


def total_unmapped(records: Iterable[dict[str, Any]]) -> dict[str, int]:
    """MIDI pitch -> hits. Keys are text, as JSON has them."""
    total: Counter[int] = Counter()
    for each in records:
        total.update({int(pitch): count for pitch, count in each["unmapped"].items()})
    return {str(pitch): total[pitch] for pitch in sorted(total)}

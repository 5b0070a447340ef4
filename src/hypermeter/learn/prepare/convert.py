"""One MIDI file -> its .npz, and its record for the manifest. Worker processes run this."""

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit
from hypermeter.core.read_options import ReadOptions
from hypermeter.core.tracks import HOLD, Track
from hypermeter.io.midi import MAX_BYTES, MIDI_SUFFIXES, Piece
from hypermeter.io.midi.content import load_midi
from hypermeter.io.midi.own_grid import OwnGrid
from hypermeter.io.midi.read import parse_pieces
from hypermeter.io.npz_writer import npz_bytes
from hypermeter.learn.prepare.source import SourceFile, reject
from hypermeter.music.duplicates import bar_digests, runs_without_copies


@dataclass(frozen=True)
class ConversionSettings:
    """Settings of a run, as workers need them; the last three as in ``prepare``."""

    source: Path
    out: Path
    kit: Kit
    grid: Grid
    changes: Literal["split", "refuse"]
    tracks: tuple[Track, ...] = ()
    with_sections: bool = False
    least_grid: float = 0.0
    most_copies: int = 0
    options: ReadOptions = ReadOptions()

    @cached_property
    def kit_and_grid(self) -> dict[str, Any]:
        """The kit and the grid as a .npz names them."""
        return {"kit": self.kit.record, "grid": self.grid.to_dict()}


@dataclass
class ConvertedFile:
    """A file's record for the manifest, the digests of its bars (N, V + 1), and whether an earlier run wrote it."""

    record: dict[str, Any]
    bars: np.ndarray
    skipped: bool = False


def convert_batch(settings: ConversionSettings, files: Sequence[SourceFile], write: bool) -> list[ConvertedFile]:
    """Convert files one after another; a zip is opened once. Without ``write``, only their bars are read."""
    with _archive(settings.source) as archive:
        return [_convert(settings, file, archive, write) for file in files]


def count_pitches(source: Path, files: Sequence[SourceFile], options: ReadOptions) -> tuple[np.ndarray, list[str]]:
    """Return the hits of each pitch in all files that can be read, (128,), and the names of files and tracks."""
    counts, names = np.zeros(128, np.int64), []
    with _archive(source) as archive:
        for file in files:
            with suppress(HypermeterError):
                midi = load_midi(_read(source, file, archive), file.source, options, in_full=True)
                counts += np.bincount(midi.drums[1], minlength=128)
                names += [file.source, *midi.melody.names]
    return counts, names


@contextmanager
def _archive(source: Path) -> Iterator[zipfile.ZipFile | None]:
    """Open a source that is a zip; of another, yield `None`."""
    if source.is_file() and source.suffix.lower() not in MIDI_SUFFIXES:
        with zipfile.ZipFile(source) as archive:
            yield archive
    else:
        yield None


def _convert(
    settings: ConversionSettings, file: SourceFile, archive: zipfile.ZipFile | None, write: bool
) -> ConvertedFile:
    sha256 = ""
    try:
        content = _read(settings.source, file, archive)
        sha256 = hashlib.sha256(content).hexdigest()
        if write and file.earlier and {**file.labels, "sha256": sha256}.items() <= file.earlier.items():
            bars = _written_bars(settings, file.earlier)
            if bars is not None:
                return ConvertedFile(file.earlier, bars, skipped=True)
        arguments = (settings.kit, settings.grid, settings.changes, settings.tracks, settings.with_sections)
        reading = parse_pieces(content, file.source, *arguments, options=settings.options)
        pieces, left_out, own_grid = reading.pieces, reading.left_out, reading.pieces[0].own_grid
        if own_grid.clarity < settings.least_grid:
            raise HypermeterError(
                f"no clear grid (clarity {own_grid.clarity:.2f}), expected at least {settings.least_grid:g}; a lower"
                " --least-grid keeps it"
            )
        parts = _without_copies(pieces, settings.most_copies) if settings.most_copies else pieces
        bars = np.concatenate([bar_digests(part.groove.hits, settings.grid.steps_per_bar) for part in parts])
    except Exception as error:  # Of whatever kind: the other files go on.
        reason = str(error).removeprefix(f"{file.source}: ")
        if not isinstance(error, HypermeterError):
            reason = f"cannot be read ({type(error).__name__}: {' '.join(reason.split())}); repair or remove it"
        no_bars = np.zeros((0, settings.kit.num_voices + 1), np.uint64)
        return ConvertedFile(reject(file.source, reason, sha256), no_bars)
    if not write:
        return ConvertedFile({"source": file.source}, bars)
    names = []
    for number, part in enumerate(parts):
        name = f"{file.split}/{file.stem}{f'-{number + 1}' if number else ''}.npz"
        _write_npz(settings, file, part, settings.out / name)
        names.append(name)
    num_bars = sum(part.groove.num_bars for part in parts)
    record = {
        **file.labels,
        "sha256": sha256,
        "npz": names,
        "tempo_bpm": [part.groove.tempo_bpm for part in parts],
        "bars": num_bars,
        "bars_cut": sum(piece.groove.num_bars for piece in pieces) - num_bars,
        "hits": sum(int(np.count_nonzero(part.groove.hits)) for part in parts),
        "dropped": sum(piece.dropped for piece in pieces),
        "unmapped": total_unmapped({"unmapped": piece.unmapped} for piece in pieces),
        "left_out": left_out,
        "remarks": reading.remarks,
        "own_grid": _grid_record(own_grid, pieces[0].groove.step_duration_s),
    }
    if settings.tracks:
        record |= {"notes": {}, "notes_dropped": {}}
        for track in settings.tracks:
            record["notes"][track.name] = sum(int((p.groove.tracks[track.name] > HOLD).sum()) for p in parts)
            record["notes_dropped"][track.name] = sum(piece.notes_dropped[track.name] for piece in pieces)
    return ConvertedFile(record, bars)


def _read(source: Path, file: SourceFile, archive: zipfile.ZipFile | None) -> bytes:
    try:
        if archive:
            size = archive.getinfo(file.source).file_size
        else:
            path = source if source.is_file() else source / file.source
            size = path.stat().st_size
        if size > MAX_BYTES:
            raise HypermeterError(f"{file.source}: larger than {MAX_BYTES >> 20} MiB, not a drum performance")
        return archive.read(file.source) if archive else path.read_bytes()
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise HypermeterError(f"{file.source}: cannot be read ({error})") from error


def _written_bars(settings: ConversionSettings, record: dict[str, Any]) -> np.ndarray | None:
    """Return the digests of the bars that a record's .npz hold; None where one is missing or damaged."""
    try:
        bars = []
        for name in record["npz"]:
            # Opened here, since np.load leaves a damaged file open.
            with (settings.out / name).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                bars.append(bar_digests(arrays["sequence"], settings.grid.steps_per_bar))
        return np.concatenate(bars)
    except Exception:  # Whatever is wrong with it, it is written again.
        return None


def _write_npz(settings: ConversionSettings, file: SourceFile, piece: Piece, path: Path) -> None:
    groove = piece.groove
    meta = {
        **file.labels,
        **settings.kit_and_grid,
        "tempo_bpm": groove.tempo_bpm,
        "start_tick": piece.start_tick,
    }
    arrays = {"sequence": groove.hits, "velocity": groove.velocity, "offset": groove.offset}
    arrays["shift"] = np.array(groove.shift)
    arrays |= {f"track_{name}": codes for name, codes in groove.tracks.items()}
    if groove.sections is not None:
        arrays["section"] = groove.sections
    with atomic_write(path) as temporary:
        temporary.write_bytes(npz_bytes(arrays | {"meta": np.array(json.dumps(meta))}))


def _without_copies(pieces: Sequence[Piece], max_copies: int) -> list[Piece]:
    """Return what stays of the pieces of a file if at most `max_copies` of a bar do: its first ones, in whole runs.

    Bars are copies if their hits and notes are equal, whatever velocity and timing. Rests are bars too, but a run of
    nothing else is left out.
    """
    counts: Counter[Hashable] = Counter()
    parts = []
    for piece in pieces:
        groove, size = piece.groove, piece.groove.grid.steps_per_bar
        columns = [groove.hits, *groove.tracks.values()]
        bars = [
            b"".join(column[start : start + size].tobytes() for column in columns)
            for start in range(0, len(groove), size)
        ]
        ticks_per_bar = piece.ticks_per_step * size
        for first, last in runs_without_copies(bars, max_copies, counts):
            start_tick = round(piece.start_tick + first * ticks_per_bar)
            if groove.hits[first * size : last * size].any():
                parts.append(replace(piece, groove=groove.bars(first, last), start_tick=start_tick))
    return parts


def _grid_record(own_grid: OwnGrid, step_duration_s: float) -> dict[str, Any]:
    """Return the manifest's record of the grid on which a file is played."""
    return {
        "shift": own_grid.shift,
        "player_shift_ms": round(own_grid.player_shift * step_duration_s * 1000, 2),
        "clarity": round(own_grid.clarity, 4),
        "kind": own_grid.kind,
        "swing": own_grid.swing,
    }


def total_unmapped(records: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Return MIDI pitch -> hits of all records. Keys are text, as JSON has them."""
    total: Counter[int] = Counter()
    for record in records:
        total.update({int(pitch): count for pitch, count in record["unmapped"].items()})
    return {str(pitch): total[pitch] for pitch in sorted(total)}

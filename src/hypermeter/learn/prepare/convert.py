"""One MIDI file -> its pieces, and its record for the manifest."""

import hashlib
import json
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid, GridChoice
from hypermeter.core.kit import Kit
from hypermeter.core.read_options import ReadOptions
from hypermeter.core.tracks import HOLD, Track
from hypermeter.io.grooves import arrays_of_groove
from hypermeter.io.midi import Piece
from hypermeter.io.midi.own_grid import OwnGrid
from hypermeter.io.midi.read import parse_pieces
from hypermeter.io.npz_writer import npz_bytes
from hypermeter.learn.prepare.source import SourceFile, reject
from hypermeter.music.duplicates import bar_digests, runs_without_copies


@dataclass(frozen=True)
class ConversionSettings:
    """Settings of a run, as tasks need them.

    Args:
        source, out: addresses of the MIDI and of the folder to write.
        grid: of every file, or a choice of it.
        kit, changes, tracks, with_sections, least_grid, most_copies, options, packed: as in ``prepare``.
    """

    source: str
    out: str
    kit: Kit
    grid: Grid | GridChoice
    changes: Literal["split", "refuse"] = "split"
    tracks: tuple[Track, ...] = ()
    with_sections: bool = False
    least_grid: float = 0.0
    most_copies: int = 0
    options: ReadOptions = ReadOptions()
    packed: bool = False


@dataclass
class ConvertedFile:
    """A file as it was read.

    Args:
        record: its record for the manifest; that of a reject has a reason, and no `npz`.
        bars: digests of its bars (N, V + 1).
        parts: its pieces, in the order of the record's `npz`.
    """

    record: dict[str, Any]
    bars: np.ndarray
    parts: Sequence[Piece] = field(default_factory=tuple)


def convert(settings: ConversionSettings, file: SourceFile, content: bytes, sha256: str) -> ConvertedFile:
    """Convert the bytes of a MIDI file. Whatever is wrong with them, it is a reject.

    Without a split, the names of its .npz begin with a slash.
    """
    try:
        arguments = (settings.kit, settings.grid, settings.changes, settings.tracks, settings.with_sections)
        reading = parse_pieces(content, file.source, *arguments, options=settings.options)
        pieces, left_out, own_grid = reading.pieces, reading.left_out, reading.pieces[0].own_grid
        if own_grid.clarity < settings.least_grid:
            raise HypermeterError(
                f"no clear grid (clarity {own_grid.clarity:.2f}), expected at least {settings.least_grid:g}; a lower"
                " --least-grid keeps it"
            )
        parts = _without_copies(pieces, settings.most_copies) if settings.most_copies else pieces
        bars = np.concatenate([bar_digests(part.groove.hits, part.groove.grid.steps_per_bar) for part in parts])
    except Exception as error:  # Of whatever kind: the other files go on.
        return rejected(settings, file, error, sha256)
    num_bars = sum(part.groove.num_bars for part in parts)
    record = {
        **file.labels,
        "sha256": sha256,
        "npz": npz_names(file.split, file.stem, len(parts)),
        "tempo_bpm": [part.groove.tempo_bpm for part in parts],
        "bars": num_bars,
        "bars_cut": sum(piece.groove.num_bars for piece in pieces) - num_bars,
        "hits": sum(int(np.count_nonzero(part.groove.hits)) for part in parts),
        "strokes": sum(len(part.groove.strokes) for part in parts),
        "dropped": 0,  # Of each version before 3, which kept one hit of a cell.
        "unmapped": total_unmapped({"unmapped": piece.unmapped} for piece in pieces),
        "left_out": left_out,
        "remarks": reading.remarks,
        "own_grid": _grid_record(own_grid, pieces[0].groove.step_duration_s),
    }
    if isinstance(settings.grid, GridChoice):
        record["grids"] = list(dict.fromkeys(_name_of(part.groove.grid) for part in parts))
    if settings.tracks:
        record |= {"notes": {}, "notes_dropped": {}}
        for track in settings.tracks:
            record["notes"][track.name] = sum(int((p.groove.tracks[track.name] > HOLD).sum()) for p in parts)
            record["notes_dropped"][track.name] = sum(piece.notes_dropped[track.name] for piece in pieces)
    return ConvertedFile(record, bars, parts)


def rejected(settings: ConversionSettings, file: SourceFile, error: Exception, sha256: str = "") -> ConvertedFile:
    """Return the record of a file that cannot be used."""
    reason = str(error).removeprefix(f"{file.source}: ")
    if not isinstance(error, HypermeterError):
        reason = f"cannot be read ({type(error).__name__}: {' '.join(reason.split())}); repair or remove it"
    no_bars = np.zeros((0, settings.kit.num_voices + 1), np.uint64)
    return ConvertedFile(reject(file.source, reason, sha256), no_bars)


def npz_names(split: str, stem: str, count: int) -> list[str]:
    """Return the names of the .npz of a file with so many pieces."""
    return [f"{split}/{stem}{f'-{number}' if number > 1 else ''}.npz" for number in range(1, count + 1)]


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def meta_of(settings: ConversionSettings, file: SourceFile, piece: Piece) -> dict[str, Any]:
    """Return the metadata of a piece's .npz."""
    return {
        **file.labels,
        "kit": settings.kit.record,
        "grid": piece.groove.grid.to_dict(),
        "tempo_bpm": piece.groove.tempo_bpm,
        "start_tick": piece.start_tick,
    }


def piece_npz(settings: ConversionSettings, file: SourceFile, piece: Piece) -> bytes:
    """Return the .npz of a piece. Its last array is `meta`."""
    return npz_bytes(arrays_of_groove(piece.groove) | {"meta": np.array(json.dumps(meta_of(settings, file, piece)))})


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


def _name_of(grid: Grid) -> str:
    """Return a grid as the manifest names it: the metre, and the steps of a beat."""
    return f"{grid.metre} {grid.steps_per_beat}"


def total_unmapped(records: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Return MIDI pitch -> hits of all records. Keys are text, as JSON has them."""
    total: Counter[int] = Counter()
    for record in records:
        total.update({int(pitch): count for pitch, count in record["unmapped"].items()})
    return {str(pitch): total[pitch] for pitch in sorted(total)}

"""Reading MIDI files as grooves. Drums are the notes on channel 10 of all tracks."""

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, load_kit
from hypermeter.core.tracks import Track
from hypermeter.io.midi.bars import Span, describe_change, find_spans
from hypermeter.io.midi.content import load_score
from hypermeter.io.midi.melody import codes_of, notes_of, sections_of

MIDI_SUFFIXES = (".mid", ".midi")

MAX_STEPS = 1_000_000
"""Steps of the longest file that is read: the times in a damaged file could demand all memory."""

MAX_BYTES = 32 * 2**20
"""Size of the largest file that is read."""

_LAST_OFFSET = np.nextafter(np.float32(0.5), np.float32(0))


@dataclass
class Piece:
    """A span of a MIDI file in one metre and tempo.

    Args:
        groove: whole bars, from the start of the span.
        start_tick: tick of the file at which the span starts.
        unmapped: MIDI pitch -> number of hits that no voice of the kit reads.
        dropped: number of hits dropped because their voice has a louder one on the same step.
        notes_dropped: track -> number of notes dropped because the track has a lower or equal one on the same step.
    """

    groove: Groove
    start_tick: int
    unmapped: dict[int, int]
    dropped: int
    notes_dropped: dict[str, int] = field(default_factory=dict)


def read_midi(
    path: str | Path,
    kit: str | Path | Kit | Mapping[str, Any] = "gm10",
    grid: Grid | None = None,
    tracks: Sequence[Track] = (),
    with_sections: bool = False,
) -> Groove:
    """Return the drums of a MIDI file in one metre and tempo.

    The groove has whole bars, from the start of the file to its last hit, or to its end if that is on a bar line. A
    note is read as a hit on the nearest step, and its distance from that as the offset. Of several hits in one cell the
    loudest is kept, and hits that no voice reads are left out; `read_midi_report` counts both.

    Args:
        path: path of the file.
        kit: the voices: an argument of `load_kit`.
        grid: the metre and its steps. Default: 4/4 in sixteenths.
        tracks: tracks to read beside the drums.
        with_sections: read markers as the names of sections.

    Raises:
        HypermeterError: no readable MIDI file; one without drums or a note of each of `tracks`, in another metre than
            that of `grid`, or in which metre or tempo change.
    """
    content = read_content(Path(path))
    (piece,), _ = parse_midi(content, str(path), kit, grid, "refuse", tracks, with_sections, to_end=True)
    return piece.groove


def read_midi_pieces(
    path: str | Path,
    kit: str | Path | Kit | Mapping[str, Any] = "gm10",
    grid: Grid | None = None,
    changes: Literal["split", "refuse"] = "split",
    tracks: Sequence[Track] = (),
    with_sections: bool = False,
) -> list[Piece]:
    """Return the drums of a MIDI file as one piece for each span of whole bars in one metre and tempo.

    A change of tempo or metre less than an eighth of a step from a bar line counts as at it. Left out are spans in
    another metre than that of `grid`, bars in which tempo or metre change, and spans without drums or a note of each of
    `tracks`.

    Args:
        path, kit, grid, tracks, with_sections: as in `read_midi`.
        changes: "split" at changes of tempo or metre, or "refuse" files with one.

    Raises:
        HypermeterError: no readable MIDI file, one from which no piece can be read, or one with a change where
            `changes` is "refuse".
    """
    return parse_midi(read_content(Path(path)), str(path), kit, grid, changes, tracks, with_sections)[0]


def read_midi_report(
    path: str | Path,
    kit: str | Path | Kit | Mapping[str, Any] = "gm10",
    grid: Grid | None = None,
    changes: Literal["split", "refuse"] = "split",
    tracks: Sequence[Track] = (),
    with_sections: bool = False,
    may_rest: bool = False,
    to_end: bool = False,
) -> tuple[list[Piece], list[str]]:
    """Return the pieces of `read_midi_pieces`, and lines that report what of the file is in none of them.

    Args:
        path, kit, grid, changes, tracks, with_sections: as in `read_midi_pieces`.
        may_rest, to_end: as in `parse_midi`.

    Returns:
        The pieces, at least one; and a line for each span left out, for the hits that no voice reads, by pitch, for the
        hits dropped, and for the notes dropped of each track.

    Raises:
        HypermeterError: as `read_midi_pieces`.
    """
    kit = load_kit(kit)
    content = read_content(Path(path))
    pieces, losses = parse_midi(content, str(path), kit, grid, changes, tracks, with_sections, may_rest, to_end)
    unmapped: Counter[int] = Counter()
    for piece in pieces:
        unmapped.update(piece.unmapped)
    if unmapped:
        counts = ", ".join(f"pitch {pitch}: {count}" for pitch, count in sorted(unmapped.items()))
        losses.append(f"hits that no voice of kit {kit.name} reads ({counts}); choose a kit that has them")
    if dropped := sum(piece.dropped for piece in pieces):
        losses.append(f"hits dropped for a louder one of the same voice and step ({dropped}); a finer grid keeps more")
    for track in tracks:
        if dropped := sum(piece.notes_dropped[track.name] for piece in pieces):
            losses.append(f"notes of {track.name} dropped for a lower or equal one of the same step ({dropped})")
    return pieces, losses


def read_content(path: Path) -> bytes:
    """Return the bytes of a file that is not too large to be MIDI; of `-`, those on standard input.

    Raises:
        HypermeterError: a file that is too large or cannot be read.
    """
    if str(path) == "-":
        return _standard_input()
    try:
        if path.stat().st_size > MAX_BYTES:
            raise HypermeterError(f"{path}: larger than {MAX_BYTES >> 20} MiB, not a drum performance")
        return path.read_bytes()
    except OSError as error:
        raise HypermeterError(f"{path}: cannot be read ({error.strerror}); check the path") from error


@cache
def _standard_input() -> bytes:
    """Return all bytes on standard input, which can be read only once."""
    return sys.stdin.buffer.read(MAX_BYTES)


def parse_midi(
    content: bytes,
    where: str,
    kit: str | Path | Kit | Mapping[str, Any] = "gm10",
    grid: Grid | None = None,
    changes: Literal["split", "refuse"] = "split",
    tracks: Sequence[Track] = (),
    with_sections: bool = False,
    may_rest: bool = False,
    to_end: bool = False,
) -> tuple[list[Piece], list[str]]:
    """Return the pieces in the bytes of a MIDI file, and a line for each span left out; see `read_midi_pieces`.

    Args:
        content: the bytes.
        where: the name of the file in errors.
        kit, grid, changes, tracks, with_sections: as in `read_midi_pieces`.
        may_rest: keep a span if the drums or one of `tracks` play in it, and as many bars as they do.
        to_end: keep silent bars after the last hit if the file ends on a bar line. This is for patterns, whose length
            is intended; the end of a song may be long after that of its drums.

    Raises:
        HypermeterError: as `read_midi_pieces`.
    """
    grid = grid or Grid()
    kit = load_kit(kit)
    if changes not in ("split", "refuse"):
        raise HypermeterError(f"changes is {changes!r}, expected split or refuse")
    score, (ticks, pitches, velocities, _), end_tick = load_score(content, where)
    notes = {track: notes_of(score, track) for track in tracks}
    starts = np.concatenate([ticks, *(track_notes[0] for track_notes in notes.values() if may_rest)])
    ends = np.concatenate([starts, *(track_notes[1] for track_notes in notes.values() if may_rest)])
    if not len(starts):
        also = f", and no notes of {', '.join(track.name for track in tracks)}" if may_rest and tracks else ""
        raise HypermeterError(f"{where}: no drum notes; drums are expected on channel 10{also}")
    ticks_per_step = score.ticks_per_quarter / grid.steps_per_quarter
    if (length := ends.max() / ticks_per_step) > MAX_STEPS:
        raise HypermeterError(f"{where}: a note {length:.0f} steps in, expected at most {MAX_STEPS}; shorten the file")
    last = starts.max() + ticks_per_step / 2
    spans = [span for span in find_spans(score, where, ticks_per_step) if span.start <= last]
    if len(spans) > 1 and changes == "refuse":
        raise HypermeterError(f"{where}: {describe_change(*spans[:2])}, expected one; cut the file there")
    name = kit.name if isinstance(kit.record, str) else kit
    columns = kit.columns[pitches]
    pieces, left_out = [], []
    for span in spans:
        # A note belongs to the nearest step, so the span starts and ends half a step before its bar lines.
        position = (ticks - span.start) / ticks_per_step
        end = math.inf if span is spans[-1] else (span.end - span.start) / ticks_per_step
        inside = np.flatnonzero((position >= -0.5) & (position < end - 0.5))
        read = inside[columns[inside] >= 0]
        has_notes = may_rest and _has_note(notes, span, ticks_per_step)
        at = f"at bar {span.bar} ({len(inside)} hits)"
        reason = ""
        if span.metre != grid.metre:
            advice = f"split the file, or take a model or grid in {span.metre}"
            reason = f"metre {span.metre} {at}, expected {grid.metre}; {advice}"
        elif span.tempo_bpm is None:
            reason = f"tempo or metre changes within the bar {at}; move the change to a bar line"
        elif not len(read) and not has_notes:
            reason = f"no drum notes that the kit {kit.name} reads {at}; choose another kit"
        if reason or span.tempo_bpm is None:
            if len(inside) or has_notes:
                left_out.append(reason)
            continue
        steps = np.floor(position + 0.5).astype(np.int64)
        offsets = position - steps
        if end == math.inf:
            last_step = steps[read].max(initial=0)
            if may_rest and notes:  # A note ends on the step before the one nearest its end.
                last_tick = max(track_ends.max(initial=0) for _, track_ends, _ in notes.values())
                last_step = max(last_step, math.floor((last_tick - span.start) / ticks_per_step - 0.5))
            end = (last_step // grid.steps_per_bar + 1) * grid.steps_per_bar
            length = (min(end_tick, span.end) - span.start) / ticks_per_step
            whole_bars = round(length / grid.steps_per_bar) * grid.steps_per_bar
            if to_end and abs(length - whole_bars) * ticks_per_step < 0.75 and whole_bars <= MAX_STEPS:
                end = max(end, whole_bars)
        shape = round(end), kit.num_voices
        melodies = {
            track.name: codes_of(track_notes, span.start, ticks_per_step, shape[0], track)
            for track, track_notes in notes.items()
        }
        silent = [name for name, (codes, _) in melodies.items() if not codes.any()]
        if silent and not may_rest:
            left_out.append(f"no notes of {silent[0]} {at}; leave the track out to keep the drums")
            continue
        # The last hit written to a cell stays: the loudest, and of equally loud ones the first.
        read = read[np.argsort((velocities - 0.9 * offsets)[read])]
        cells = steps[read], columns[read]
        hits, velocity, offset = np.zeros(shape, np.uint8), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        hits[cells] = 1
        velocity[cells] = velocities[read] / 127
        offset[cells] = np.minimum(offsets[read].astype(np.float32), _LAST_OFFSET)
        sections = None
        if with_sections:
            bar_ticks = ticks_per_step * grid.steps_per_bar
            sections = sections_of(score, span.start, bar_ticks, -(-shape[0] // grid.steps_per_bar))
        codes_by_track = {track: codes for track, (codes, _) in melodies.items()}
        groove = Groove(hits, velocity, offset, span.tempo_bpm, name, grid, sections, tracks=codes_by_track)
        unmapped = Counter(pitches[inside[columns[inside] < 0]].tolist())
        dropped = len(read) - int(hits.sum()), {track: count for track, (_, count) in melodies.items()}
        pieces.append(Piece(groove, round(span.start), dict(sorted(unmapped.items())), *dropped))
    if not pieces:
        raise HypermeterError(f"{where}: {left_out[0]}")
    return pieces, left_out


def _has_note(notes: Mapping[Track, np.ndarray], span: Span, ticks_per_step: float) -> bool:
    """Return whether a note of a track starts in a span; like a hit it belongs to the nearest step."""
    first, last = span.start - ticks_per_step / 2, span.end - ticks_per_step / 2
    return any(((starts >= first) & (starts < last)).any() for starts, _, _ in notes.values())

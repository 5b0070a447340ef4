"""Reading MIDI files as grooves."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid, GridChoice
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, load_kit
from hypermeter.core.kit_choice import describe_unmapped, is_auto, resolve_kit
from hypermeter.core.read_options import ReadOptions
from hypermeter.core.tracks import Track
from hypermeter.io.midi.bars import Span, describe_change, find_spans
from hypermeter.io.midi.content import load_midi
from hypermeter.io.midi.own_grid import CLEAR
from hypermeter.io.midi.pieces import MAX_STEPS, Piece, SpanReader

MIDI_SUFFIXES = (".mid", ".midi", ".smf", ".kar", ".rmi", ".sty", ".bcs", ".fps", ".pcs", ".prs", ".pst", ".sst")
"""Endings of files that hold MIDI: plain, karaoke, in RIFF, and styles of keyboards, of which the MIDI part is read."""

MAX_BYTES = 32 * 2**20
"""Size of the largest file that is read."""


def read_midi(
    path: str | Path,
    kit: str | Path | Kit | Mapping[str, Any] = "gm10",
    grid: Grid | GridChoice | None = None,
    tracks: Sequence[Track] = (),
    with_sections: bool = False,
    options: ReadOptions = ReadOptions(),
) -> Groove:
    """Return the drums of a MIDI file in one metre and tempo.

    The groove has whole bars, from the start of the file to its last hit, or to its end if that is on a bar line. A
    note is read as a hit on the nearest step, and its distance from that as the offset. Of several hits in one cell the
    loudest is its hit, and the others are `strokes`. Hits that no voice reads are left out; `read_midi_report` counts
    them.

    Args:
        path: path of the file.
        kit: the voices: an argument of `load_kit`.
        grid: the metre and its steps, or a choice of them. Default: 4/4 in sixteenths.
        tracks: tracks to read beside the drums.
        with_sections: read markers as the names of sections.
        options: how the drums are found and placed on the grid.

    Raises:
        HypermeterError: no readable MIDI file; one without drums or a note of each of `tracks`, in another metre than
            that of `grid`, or in which metre or tempo change.
    """
    content = read_content(Path(path))
    (piece,), _ = parse_midi(
        content, str(path), kit, grid, "refuse", tracks, with_sections, to_end=True, options=options
    )
    return piece.groove


def read_midi_pieces(
    path: str | Path,
    kit: str | Path | Kit | Mapping[str, Any] = "gm10",
    grid: Grid | GridChoice | None = None,
    changes: Literal["split", "refuse"] = "split",
    tracks: Sequence[Track] = (),
    with_sections: bool = False,
    options: ReadOptions = ReadOptions(),
) -> list[Piece]:
    """Return the drums of a MIDI file as one piece for each span of whole bars in one metre and tempo.

    A change of tempo or metre less than an eighth of a step from a bar line counts as at it. Left out are spans in
    another metre than that of `grid`, bars in which tempo or metre change, and spans without drums or a note of each of
    `tracks`.

    Args:
        path, kit, grid, tracks, with_sections, options: as in `read_midi`.
        changes: "split" at changes of tempo or metre, or "refuse" files with one.

    Raises:
        HypermeterError: no readable MIDI file, one from which no piece can be read, or one with a change where
            `changes` is "refuse".
    """
    content = read_content(Path(path))
    return parse_midi(content, str(path), kit, grid, changes, tracks, with_sections, options=options)[0]


def read_midi_report(
    path: str | Path,
    kit: str | Path | Kit | Mapping[str, Any] = "gm10",
    grid: Grid | GridChoice | None = None,
    changes: Literal["split", "refuse"] = "split",
    tracks: Sequence[Track] = (),
    with_sections: bool = False,
    may_rest: bool = False,
    to_end: bool = False,
    options: ReadOptions = ReadOptions(),
) -> tuple[list[Piece], list[str]]:
    """Return the pieces of `read_midi_pieces`, and lines that report what was chosen, and what is in none of them.

    Args:
        path, kit, grid, changes, tracks, with_sections, options: as in `read_midi_pieces`.
        may_rest, to_end: as in `parse_midi`.

    Returns:
        The pieces, at least one; and the lines of `parse_midi`, a line for the hits that no voice reads, by
        pitch, one if there is no clear grid, and one for the notes dropped of each track.

    Raises:
        HypermeterError: as `read_midi_pieces`.
    """
    settings = kit, grid, changes, tracks, with_sections, may_rest, to_end, options
    return parse_midi_report(read_content(Path(path)), str(path), *settings)


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
    grid: Grid | GridChoice | None = None,
    changes: Literal["split", "refuse"] = "split",
    tracks: Sequence[Track] = (),
    with_sections: bool = False,
    may_rest: bool = False,
    to_end: bool = False,
    options: ReadOptions = ReadOptions(),
) -> tuple[list[Piece], list[str]]:
    """Return the pieces in the bytes of a MIDI file, and lines that report how it was read; see `read_midi_pieces`.

    Args:
        content: the bytes.
        where: the name of the file in errors.
        kit, grid, changes, tracks, with_sections, options: as in `read_midi_pieces`.
        may_rest: keep a span if the drums or one of `tracks` play in it, and as many bars as they do.
        to_end: keep silent bars after the last hit if the file ends on a bar line. This is for patterns, whose length
            is intended; the end of a song may be long after that of its drums.

    Returns:
        The pieces, at least one; and the remarks and the spans left out of `Reading`, a line for each.

    Raises:
        HypermeterError: as `read_midi_pieces`.
    """
    settings = kit, grid, changes, tracks, with_sections, may_rest, to_end, options
    reading = parse_pieces(content, where, *settings)
    return reading.pieces, [*reading.remarks, *reading.left_out]


def parse_midi_report(
    content: bytes,
    where: str,
    kit: str | Path | Kit | Mapping[str, Any] = "gm10",
    grid: Grid | GridChoice | None = None,
    changes: Literal["split", "refuse"] = "split",
    tracks: Sequence[Track] = (),
    with_sections: bool = False,
    may_rest: bool = False,
    to_end: bool = False,
    options: ReadOptions = ReadOptions(),
) -> tuple[list[Piece], list[str]]:
    """Return what `read_midi_report` returns, of the bytes of a file; the arguments are those of `parse_midi`.

    Raises:
        HypermeterError: as `read_midi_pieces`.
    """
    settings = kit, grid, changes, tracks, with_sections, may_rest, to_end, options
    pieces, losses = parse_midi(content, where, *settings)
    kit = load_kit(pieces[0].groove.kit)
    unmapped: Counter[int] = Counter()
    for piece in pieces:
        unmapped.update(piece.unmapped)
    num_hits = sum(piece.groove.num_strokes for piece in pieces)
    if unmapped:
        losses.append(describe_unmapped(unmapped, kit, num_hits + sum(unmapped.values())))
    if num_hits and (clarity := pieces[0].own_grid.clarity) < CLEAR:
        losses.append(f"no clear grid (clarity {clarity:.2f}): hits are anywhere between the steps; check the tempo")
    for track in tracks:
        if dropped := sum(piece.notes_dropped[track.name] for piece in pieces):
            losses.append(f"notes of {track.name} dropped for a lower or equal one of the same step ({dropped})")
    return pieces, losses


@dataclass(frozen=True)
class Reading:
    """What was read of a MIDI file.

    Args:
        pieces: at least one.
        remarks: a line for each choice that had to be made (of the drums, kit, metre or pickup), and one for hits that
            are there twice.
        left_out: a line for each span left out, with the option that would keep it.
    """

    pieces: list[Piece]
    remarks: list[str]
    left_out: list[str]


def parse_pieces(
    content: bytes,
    where: str,
    kit: str | Path | Kit | Mapping[str, Any] = "gm10",
    grid: Grid | GridChoice | None = None,
    changes: Literal["split", "refuse"] = "split",
    tracks: Sequence[Track] = (),
    with_sections: bool = False,
    may_rest: bool = False,
    to_end: bool = False,
    options: ReadOptions = ReadOptions(),
) -> Reading:
    """Return the reading of a MIDI file; its arguments and errors are those of `parse_midi`.

    Raises:
        HypermeterError: as `read_midi_pieces`.
    """
    choice = GridChoice.of(grid or Grid())
    if changes not in ("split", "refuse"):
        raise HypermeterError(f"changes is {changes!r}, expected split or refuse")
    in_full = bool(tracks) or with_sections or is_auto(kit) or options.map == "auto"
    midi = load_midi(content, where, options, in_full)
    counts = np.bincount(midi.drums[1], minlength=128)
    kit, line = resolve_kit(kit, counts, midi.melody.names, options.map)
    reader = SpanReader(midi, kit, choice.grid(), tracks, with_sections, may_rest, to_end)
    onsets = reader.onsets
    if not len(onsets):
        also = f", and no notes of {', '.join(track.name for track in tracks)}" if may_rest and tracks else ""
        advice = "name the drums by --channel or --track"
        raise HypermeterError(f"{where}: no drum notes on channel 10{also}; {midi.no_drums}; {advice}")
    length = reader.last_tick / reader.ticks_per_step
    if length > MAX_STEPS:
        raise HypermeterError(f"{where}: a note {length:.0f} steps in, expected at most {MAX_STEPS}; shorten the file")
    flatten = options.tempo_map == "flatten"
    spans, remarks = find_spans(midi, where, reader.ticks_per_step, choice.metre, onsets, flatten)
    half = reader.ticks_per_step / 2  # Silent spans before the first note and after the last are no matter.
    spans = [span for span in spans if onsets.min() < span.end - half and span.start <= onsets.max() + half]
    if len(spans) > 1 and changes == "refuse":
        raise HypermeterError(f"{where}: {describe_change(*spans[:2])}, expected one; {_advice(*spans[:2])}")
    base = choice.grid(spans[0].metre)  # of the beats of the file
    reader = replace(reader, grid=base)
    remarks = [*midi.remarks, *([line] if line else []), *remarks]
    own_grid = reader.find_own_grid(spans)
    if options.shift == "keep":
        own_grid = replace(own_grid, shift=0.0)
    pieces, left_out, readers = [], [], {base: reader}
    for span in spans:
        grid = choice.grid(span.metre, own_grid.steps_per_quarter)
        if grid not in readers:
            readers[grid] = replace(reader, grid=grid)
        piece = readers[grid].read(span, span is spans[-1], own_grid.on(grid, base))
        if isinstance(piece, Piece):
            pieces.append(piece)
        elif piece:
            left_out.append(piece)
    if not pieces:
        raise HypermeterError(f"{where}: {left_out[0]}")
    return Reading(pieces, remarks, left_out)


def _advice(before: Span, after: Span) -> str:
    cut = "cut the file there"
    return cut if before.metre != after.metre else f"pass --tempo-map flatten to follow it as one tempo, or {cut}"

"""MIDI files to grooves. Drums are channel 10, whatever the track."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, load_kit
from hypermeter.core.tracks import Track
from hypermeter.io.midi.bars import change, stretches_of
from hypermeter.io.midi.content import load_score
from hypermeter.io.midi.melody import codes_of, notes_of, sections_of

MIDI_SUFFIXES = (".mid", ".midi")

MAX_STEPS = 1_000_000
"""Longest piece read, in steps: a damaged time would otherwise ask for all the memory there is."""

MAX_BYTES = 32 * 2**20
"""Largest file read."""

_LAST_OFFSET = np.nextafter(np.float32(0.5), np.float32(0))


@dataclass
class Piece:
    """A stretch of a MIDI file in one metre and tempo.

    Args:
        groove: whole bars, from the start of the stretch.
        start_tick: where it starts in the file.
        unmapped: MIDI pitch -> hits that no voice of the kit reads.
        dropped: hits left out because a louder one of the same voice had the step.
        notes_dropped: track -> notes left out because a lower one had the step, or an equal one.
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
    """The drums of a MIDI file in one metre and tempo, as whole bars from its start to its last hit, or to its end
    where it ends on a bar line.

    A note goes to the nearest step; the rest of its time is its offset. Of two in one cell the louder stays. Hits that
    no voice reads are left out: ``read_midi_report`` tells both.

    Args:
        path: of the file.
        kit: the voices: a kit's name, the path of its YAML file, a ``Kit``, or its record; see ``load_kit``.
        grid: the metre and the steps; left out, 4/4 in sixteenths.
        tracks: to read beside the drums; a file where one never plays is refused.
        with_sections: take markers as the names of sections.

    Raises:
        HypermeterError: no readable MIDI, no drums, another metre than the grid's, a change of tempo or metre.
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
    """The drums of a MIDI file, cut at the bar lines where tempo or metre change.

    A change within an eighth of a step of a bar line is taken as at it. Stretches in another metre, bars that the tempo
    changes within, and stretches without drums are left out; ``read_midi_report`` says which.

    Args:
        path: of the file.
        kit: the voices: a kit's name, the path of its YAML file, a ``Kit``, or its record; see ``load_kit``.
        grid: the metre and the steps; left out, 4/4 in sixteenths.
        changes: ``split`` at a change of tempo or metre, or ``refuse`` a file with one.
        tracks: to read beside the drums; a stretch where one never plays is left out.
        with_sections: take markers as the names of sections.

    Raises:
        HypermeterError: no readable MIDI, nothing in it to keep, or a change where ``changes`` is "refuse".
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
    """``read_midi_pieces``, and what of the file's drums is in none of the pieces.

    Args:
        path: of the file.
        kit, grid, changes, tracks, with_sections: as in ``read_midi_pieces``.
        may_rest, to_end: see ``parse_midi``.

    Returns:
        The pieces; and a line for each stretch left out, one for the hits that no voice reads, by pitch, one for the
        hits dropped, and one for the notes dropped of each track. No lines where all is read.

    Raises:
        HypermeterError: as ``read_midi_pieces``.
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
    """The bytes of a file that is not too large to be MIDI."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise HypermeterError(f"{path}: larger than {MAX_BYTES >> 20} MiB, not a drum performance")
        return path.read_bytes()
    except OSError as error:
        raise HypermeterError(f"{path}: cannot be read ({error.strerror}); check the path") from error


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
    """``read_midi_pieces`` from bytes.

    Args:
        content: the bytes of a MIDI file.
        where: the name that errors give.
        kit: the voices: a kit's name, the path of its YAML file, a ``Kit``, or its record; see ``load_kit``.
        grid: the metre and the steps; left out, 4/4 in sixteenths.
        changes: ``split`` at a change of tempo or metre, or ``refuse`` a file with one.
        tracks: to read beside the drums, for as long as they play. A stretch where one never plays is left out: what
            has no such part tells nothing about it.
        with_sections: take markers as the names of sections.
        may_rest: keep a stretch where the drums or a track never play, so long as one of them does, and as far as one
            of them does.
        to_end: keep silent bars after the last hit where the file ends on a bar line: a pattern is as long as it was
            made. Off for what is learnt from, as a song may go on for long without its drums.

    Returns:
        The pieces, at least one; and what was left out, one line a stretch.

    Raises:
        HypermeterError: as ``read_midi_pieces``.
    """
    grid = grid or Grid()
    kit = load_kit(kit)
    if changes not in ("split", "refuse"):
        raise HypermeterError(f"changes is {changes!r}, expected split or refuse")
    score, (ticks, pitches, velocities, _), end_tick = load_score(content, where)
    notes = {track: notes_of(score, track) for track in tracks}
    starts = np.concatenate([ticks, *(each[0] for each in notes.values() if may_rest)])
    ends = np.concatenate([starts, *(each[1] for each in notes.values() if may_rest)])
    if not len(starts):
        also = f", and no notes of {', '.join(track.name for track in tracks)}" if may_rest and tracks else ""
        raise HypermeterError(f"{where}: no drum notes; drums are expected on channel 10{also}")
    ticks_per_step = score.ticks_per_quarter / grid.steps_per_quarter
    if (length := ends.max() / ticks_per_step) > MAX_STEPS:
        raise HypermeterError(f"{where}: a note {length:.0f} steps in, expected at most {MAX_STEPS}; shorten the file")
    last = starts.max() + ticks_per_step / 2
    heard = [each for each in stretches_of(score, where, ticks_per_step) if each.start <= last]
    if len(heard) > 1 and changes == "refuse":
        what = change(*heard[:2])
        raise HypermeterError(f"{where}: {what}, expected one; cut the file there")
    name = kit.name if isinstance(kit.record, str) else kit
    columns = kit.columns[pitches]
    pieces, left_out = [], []
    for number, each in enumerate(heard):
        # A note belongs to the step it is nearest to, so the cut is half a step before the bar line.
        position = (ticks - each.start) / ticks_per_step
        end = math.inf if number == len(heard) - 1 else (each.end - each.start) / ticks_per_step
        inside = np.flatnonzero((position >= -0.5) & (position < end - 0.5))
        read = inside[columns[inside] >= 0]
        has_notes = may_rest and _begins_within(notes, each.start, each.end, ticks_per_step)
        at = f"at bar {each.bar} ({len(inside)} hits)"
        reason = ""
        if each.metre != grid.metre:
            advice = f"split the file, or take a model or grid in {each.metre}"
            reason = f"metre {each.metre} {at}, expected {grid.metre}; {advice}"
        elif each.tempo_bpm is None:
            reason = f"tempo or metre changes within the bar {at}; move the change to a bar line"
        elif not len(read) and not has_notes:
            reason = f"no drum notes that the kit {kit.name} reads {at}; choose another kit"
        if reason or each.tempo_bpm is None:
            if len(inside) or has_notes:
                left_out.append(reason)
            continue
        steps = np.floor(position + 0.5).astype(np.int64)
        offsets = position - steps
        if end == math.inf:
            furthest = steps[read].max() if len(read) else 0
            if may_rest:
                furthest = max(
                    [furthest, *(_last_step(found[1], ticks_per_step, each.start) for found in notes.values())]
                )
            end = (furthest // grid.steps_per_bar + 1) * grid.steps_per_bar
            length = (min(end_tick, each.end) - each.start) / ticks_per_step
            whole = round(length / grid.steps_per_bar) * grid.steps_per_bar
            if to_end and abs(length - whole) * ticks_per_step < 0.75 and whole <= MAX_STEPS:
                end = max(end, whole)
        shape = round(end), kit.num_voices
        melodies = {
            track.name: codes_of(found, each.start, ticks_per_step, shape[0], track) for track, found in notes.items()
        }
        silent = [name for name, (codes, _) in melodies.items() if not codes.any()]
        if silent and not may_rest:
            left_out.append(f"no notes of {silent[0]} {at}; leave the track out to keep the drums")
            continue
        # Written in this order, the loudest stays in a cell, and of equals the first.
        read = read[np.argsort((velocities - 0.9 * offsets)[read])]
        cells = steps[read], columns[read]
        hits, velocity, offset = np.zeros(shape, np.uint8), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        hits[cells] = 1
        velocity[cells] = velocities[read] / 127
        offset[cells] = np.minimum(offsets[read].astype(np.float32), _LAST_OFFSET)
        sections = None
        if with_sections:
            bar_ticks = ticks_per_step * grid.steps_per_bar
            sections = sections_of(score, each.start, bar_ticks, -(-shape[0] // grid.steps_per_bar))
        played = {track: codes for track, (codes, _) in melodies.items()}
        groove = Groove(hits, velocity, offset, each.tempo_bpm, name, grid, sections, tracks=played)
        unmapped = Counter(pitches[inside[columns[inside] < 0]].tolist())
        dropped = len(read) - int(hits.sum()), {track: count for track, (_, count) in melodies.items()}
        pieces.append(Piece(groove, round(each.start), dict(sorted(unmapped.items())), *dropped))
    if not pieces:
        raise HypermeterError(f"{where}: {left_out[0]}")
    return pieces, left_out


def _begins_within(notes: Mapping[Track, np.ndarray], start: float, end: float, ticks_per_step: float) -> bool:
    """Whether a note of a track begins there; like a hit it belongs to the step that it is nearest to."""
    half = ticks_per_step / 2
    return any(((each[0] >= start - half) & (each[0] < end - half)).any() for each in notes.values())


def _last_step(ends: np.ndarray, ticks_per_step: float, start: float) -> int:
    """The last step that a note with one of these ends sounds on, counted from the start; 0 without any."""
    return max(int(np.floor((ends.max() - start) / ticks_per_step + 0.5)) - 1, 0) if len(ends) else 0

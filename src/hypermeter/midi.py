"""MIDI files to grooves and back. Drums are channel 10, whatever the track."""

import math
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import symusic

from hypermeter.grid import Grid, Groove, HypermeterError, atomic_write
from hypermeter.kit import Kit, load_kit

TICKS_PER_QUARTER = 480
"""Of the files written."""

MAX_STEPS = 1_000_000
"""Longest piece read, in steps: a damaged time would otherwise ask for all the memory there is."""

MAX_BYTES = 32 * 2**20
"""Largest file read."""

_LAST_OFFSET = np.nextafter(np.float32(0.5), np.float32(0))
# Silences every pitch of channel 10 and ends the track: put in place of the end of a track, after its delta time.
_NOTE_OFFS = b"\x89" + b"\x00".join(bytes((pitch, 0)) for pitch in range(128)) + b"\x00\xff\x2f\x00"


@dataclass
class Piece:
    """A stretch of a MIDI file in one metre and tempo.

    Args:
        groove: whole bars, from the start of the stretch.
        start_tick: where it starts in the file.
        unmapped: MIDI pitch -> hits that no voice of the kit reads.
        dropped: hits left out because a louder one of the same voice had the step.
    """

    groove: Groove
    start_tick: int
    unmapped: dict[int, int]
    dropped: int


def read_midi(path: str | Path, kit: str | Path | Kit = "gm10", grid: Grid | None = None) -> Groove:
    """The drums of a MIDI file in one metre and tempo, as whole bars from its start.

    A note goes to the nearest step; the rest of its time is its offset. Of two in one cell the louder stays. Hits that
    no voice reads are left out: ``read_midi_pieces`` counts both.

    Raises:
        HypermeterError: no readable MIDI, no drums, another metre than the grid's, a change of tempo or metre.
    """
    (piece,) = read_midi_pieces(path, kit, grid, changes="refuse")
    return piece.groove


def read_midi_pieces(
    path: str | Path,
    kit: str | Path | Kit = "gm10",
    grid: Grid | None = None,
    changes: Literal["split", "refuse"] = "split",
) -> list[Piece]:
    """The drums of a MIDI file, cut at the bar lines where tempo or metre change.

    Stretches in another metre, bars that the tempo changes within, and stretches without drums are left out;
    ``parse_midi`` says which.

    Raises:
        HypermeterError: no readable MIDI, nothing in it to keep, or a change where ``changes`` is "refuse".
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise HypermeterError(f"{path}: larger than {MAX_BYTES >> 20} MiB, not a drum performance")
        content = path.read_bytes()
    except OSError as error:
        raise HypermeterError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    return parse_midi(content, str(path), kit, grid, changes)[0]


def parse_midi(
    content: bytes,
    where: str,
    kit: str | Path | Kit = "gm10",
    grid: Grid | None = None,
    changes: Literal["split", "refuse"] = "split",
) -> tuple[list[Piece], list[str]]:
    """``read_midi_pieces`` from bytes.

    Args:
        where: the name that errors give.

    Returns:
        The pieces, at least one; and what was left out, one line a stretch.

    Raises:
        HypermeterError: as ``read_midi_pieces``.
    """
    grid = grid or Grid()
    name, kit = str(kit.name if isinstance(kit, Kit) else kit), load_kit(kit)
    if changes not in ("split", "refuse"):
        raise HypermeterError(f"changes is {changes!r}, expected split or refuse")
    score = _load_score(content, where)
    ticks, pitches, velocities = _drum_notes(score)
    if not len(ticks):
        raise HypermeterError(f"{where}: no drum notes; drums are expected on channel 10")
    ticks_per_step = score.ticks_per_quarter / grid.steps_per_quarter
    if (length := ticks.max() / ticks_per_step) > MAX_STEPS:
        raise HypermeterError(f"{where}: a note {length:.0f} steps in, expected at most {MAX_STEPS}; shorten the file")
    heard = [each for each in _stretches(score, where) if each.start <= ticks.max() + ticks_per_step / 2]
    if len(heard) > 1 and changes == "refuse":
        raise HypermeterError(f"{where}: {_change(*heard[:2])}, expected one; cut the file there, or split at changes")
    column_of = np.full(128, -1)
    column_of[list(kit.pitch_to_voice)] = list(kit.pitch_to_voice.values())
    columns = column_of[pitches]
    pieces, left_out = [], []
    for number, each in enumerate(heard):
        # A note belongs to the step it is nearest to, so the cut is half a step before the bar line.
        position = (ticks - each.start) / ticks_per_step
        end = math.inf if number == len(heard) - 1 else (each.end - each.start) / ticks_per_step
        inside = np.flatnonzero((position >= -0.5) & (position < end - 0.5))
        read = columns[inside] >= 0
        reason = ""
        if each.metre != grid.metre:
            reason = f"metre {each.metre}, expected {grid.metre}"
        elif each.tempo_bpm is None:
            reason = "tempo or metre changes within the bar"
        elif not read.any():
            reason = f"no drum notes that the kit {kit.name} reads"
        if reason or each.tempo_bpm is None:
            if len(inside):
                left_out.append(f"{reason}, at tick {each.start:.0f} ({len(inside)} hits)")
            continue
        steps = np.floor(position[inside] + 0.5).astype(np.int64)
        if end == math.inf:
            end = (steps[read].max() // grid.steps_per_bar + 1) * grid.steps_per_bar
        shape = round(end), kit.num_voices
        unmapped = dict(sorted(Counter(pitches[inside[~read]].tolist()).items()))
        kept = np.flatnonzero(read)
        offsets, loudness = position[inside] - steps, velocities[inside]
        # Written in this order, the loudest stays in a cell, and of equals the first.
        kept = kept[np.argsort((loudness - 0.9 * offsets)[kept])]
        cells = steps[kept], columns[inside][kept]
        hits, velocity, offset = np.zeros(shape, np.uint8), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        hits[cells] = 1
        velocity[cells] = loudness[kept] / 127
        offset[cells] = np.minimum(offsets[kept].astype(np.float32), _LAST_OFFSET)
        groove = Groove(hits, velocity, offset, each.tempo_bpm, name, grid)
        pieces.append(Piece(groove, round(each.start), unmapped, len(kept) - int(hits.sum())))
    if not pieces:
        raise HypermeterError(f"{where}: {left_out[0]}")
    return pieces, left_out


def write_midi(groove: Groove, path: str | Path, kit: str | Path | Kit | None = None) -> None:
    """The groove as a MIDI file: channel 10, 480 ticks a quarter, its tempo and metre.

    Times are rounded to a tick within their step. A hit ahead of the first step is written at time zero.

    Args:
        kit: gives the pitches written; left out, ``groove.kit``.

    Raises:
        HypermeterError: a kit of another number of voices, a tempo or metre that MIDI cannot hold, a grid finer than a
            tick, or a path that cannot be written.
    """
    with atomic_write(path) as temporary:
        temporary.write_bytes(to_midi_bytes(groove, kit))


def to_midi_bytes(groove: Groove, kit: str | Path | Kit | None = None) -> bytes:
    """The content of the file that ``write_midi`` writes."""
    kit, grid = load_kit(groove.kit if kit is None else kit), groove.grid
    if groove.hits.shape[1] != kit.num_voices:
        raise HypermeterError(
            f"groove of {groove.hits.shape[1]} voices, but kit {kit.name} has {kit.num_voices}; name its own kit"
        )
    if not 3.6 <= groove.tempo_bpm <= 1e6:
        raise HypermeterError(f"groove: tempo_bpm is {groove.tempo_bpm:g}, MIDI holds 3.6 and faster")
    if grid.beats_per_bar > 255:
        raise HypermeterError(f"groove: metre {grid.metre}, MIDI holds at most 255 beats a bar")
    ticks_per_step = TICKS_PER_QUARTER / grid.steps_per_quarter
    if ticks_per_step < 2:
        raise HypermeterError(f"groove: {grid.steps_per_quarter:g} steps a quarter, MIDI is written with at most 240")
    steps, columns = np.nonzero(groove.hits)
    low = np.ceil((steps - 0.5) * ticks_per_step)
    high = np.ceil((steps + 0.5) * ticks_per_step) - 1
    ticks = np.rint((steps + groove.offset[steps, columns].astype(np.float64)) * ticks_per_step)
    ticks = np.clip(ticks, np.maximum(low, 0), high).astype(np.int32)
    velocities = np.clip(np.rint(groove.velocity[steps, columns] * 127), 1, 127).astype(np.int8)
    durations = np.empty(len(ticks), np.int32)
    for column in range(kit.num_voices):  # A note ends before the next of its pitch starts.
        own = columns == column
        durations[own] = np.clip(np.diff(ticks[own], append=2**30), 1, max(int(ticks_per_step / 2), 1))
    pitches = np.array([voice.write for voice in kit.voices], np.int8)[columns]
    track: Any = symusic.Track("drums", 0, True)  # its annotations miss what it has
    track.notes = symusic.Note.from_numpy(ticks, durations, pitches, velocities)
    score: Any = symusic.Score(TICKS_PER_QUARTER)
    score.tempos.append(symusic.Tempo(0, groove.tempo_bpm))
    score.time_signatures.append(symusic.TimeSignature(0, grid.beats_per_bar, grid.beat_unit))
    score.tracks.append(track)
    return score.dumps_midi()


def _load_score(content: bytes, where: str) -> Any:
    if not content:
        raise HypermeterError(f"{where}: empty file, expected MIDI")
    if content[:4] != b"MThd" or len(content) < 14:
        raise HypermeterError(f"{where}: not a MIDI file (no MThd header)")
    length, form, _, division = struct.unpack(">IHHh", content[4:14])
    if form > 1:
        raise HypermeterError(f"{where}: MIDI format {form}, expected 0 or 1; save it as format 1")
    if division < 1:
        what = "0 ticks per quarter" if division == 0 else "SMPTE time"
        raise HypermeterError(f"{where}: {what}, expected ticks per quarter; save it from a sequencer again")
    # symusic forgets notes that never end, so each track ends with the ends of all notes.
    parts, at = [content[: 8 + length]], 8 + length
    while at + 8 <= len(content):
        kind, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "big")
        chunk = content[at + 8 : at + 8 + size]
        if len(chunk) < size:
            raise HypermeterError(f"{where}: truncated MIDI file; get a whole copy")
        if kind == b"MTrk" and chunk.endswith(b"\xff\x2f\x00"):
            chunk = chunk[:-3] + _NOTE_OFFS
        parts += [kind, len(chunk).to_bytes(4, "big"), chunk]
        at += 8 + size
    if len(parts) == 1:
        raise HypermeterError(f"{where}: truncated MIDI file (no tracks); get a whole copy")
    try:
        return symusic.Score.from_midi(b"".join(parts))
    except (RuntimeError, ValueError) as error:
        raise HypermeterError(f"{where}: damaged MIDI file ({str(error).splitlines()[0]}); get a whole copy") from error


def _drum_notes(score: symusic.core.ScoreTick) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times in ticks, pitches, velocities 0-127 of the notes on channel 10."""
    tracks = [track.notes.numpy() for track in score.tracks if track.is_drum]
    if not tracks:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    joined = [np.concatenate([notes[key] for notes in tracks]) for key in ("time", "pitch", "velocity")]
    return joined[0].astype(np.int64), joined[1].astype(np.int64), joined[2].astype(np.int64)


@dataclass
class _Stretch:
    """Whole bars between two bar lines, in ticks; or, where the tempo is None, a bar that tempo or metre change in."""

    start: float
    end: float
    metre: str
    tempo_bpm: float | None


def _stretches(score: symusic.core.ScoreTick, where: str) -> list[_Stretch]:
    # MIDI is in 4/4 at 120 until it says otherwise; of two events at one tick the last counts.
    metres = {0: (4, 4)} | {each.time: (each.numerator, each.denominator) for each in score.time_signatures}
    tempos = {0: 120.0} | {each.time: round(each.qpm, 2) for each in score.tempos}
    for tick, (beats, _) in metres.items():
        if beats < 1:
            raise HypermeterError(f"{where}: metre with 0 beats at tick {tick}; repair the file")
    for tick, tempo in tempos.items():
        if not 0 < tempo < math.inf:
            raise HypermeterError(f"{where}: tempo {tempo:g} at tick {tick}, expected more than 0; repair the file")
    starts = sorted(metres)
    stretches: list[_Stretch] = []

    def add(start: float, end: float, metre: str, tempo: float | None) -> None:
        if start >= end:
            return
        before = stretches[-1] if stretches else None
        if before and tempo is not None and (before.metre, before.tempo_bpm) == (metre, tempo):
            start = stretches.pop().start
        stretches.append(_Stretch(start, end, metre, tempo))

    for tick, end in zip(starts, [*starts[1:], math.inf], strict=True):
        beats, unit = metres[tick]
        metre, bar = f"{beats}/{unit}", beats * 4 * score.ticks_per_quarter / unit
        start, tempo = float(tick), tempos[max(each for each in tempos if each <= tick)]
        for change in sorted(each for each in tempos if tick < each < end):
            if tempos[change] != tempo:
                line = tick + math.floor((change - tick) / bar) * bar
                add(start, line, metre, tempo)
                if change - line >= 1:
                    add(max(start, line), min(line + bar, end), metre, None)
                    line = min(line + bar, end)
                start, tempo = max(start, line), tempos[change]
        whole = end if end == math.inf else tick + math.floor((end - tick) / bar + 1e-9) * bar
        add(start, whole, metre, tempo)
        add(max(start, whole), end, metre, None)
    return stretches


def _change(before: _Stretch, after: _Stretch) -> str:
    at = f"at tick {after.start:.0f}"
    if before.metre != after.metre:
        return f"metre changes from {before.metre} to {after.metre} {at}"
    if before.tempo_bpm is None or after.tempo_bpm is None:
        return f"tempo or metre changes within the bar {at}"
    return f"tempo changes from {before.tempo_bpm:g} to {after.tempo_bpm:g} {at}"

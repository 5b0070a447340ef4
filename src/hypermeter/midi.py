"""MIDI files to grooves and back. Drums are channel 10, whatever the track."""

import math
import struct
from collections import Counter
from collections.abc import Mapping
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
_END_OF_TRACK = b"\xff\x2f\x00"


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


def read_midi(path: str | Path, kit: str | Path | Kit | Mapping[str, Any] = "gm10", grid: Grid | None = None) -> Groove:
    """The drums of a MIDI file in one metre and tempo, as whole bars from its start.

    A note goes to the nearest step; the rest of its time is its offset. Of two in one cell the louder stays. Hits that
    no voice reads are left out: ``read_midi_report`` tells both.

    Raises:
        HypermeterError: no readable MIDI, no drums, another metre than the grid's, a change of tempo or metre.
    """
    (piece,) = read_midi_pieces(path, kit, grid, changes="refuse")
    return piece.groove


def read_midi_pieces(
    path: str | Path,
    kit: str | Path | Kit | Mapping[str, Any] = "gm10",
    grid: Grid | None = None,
    changes: Literal["split", "refuse"] = "split",
) -> list[Piece]:
    """The drums of a MIDI file, cut at the bar lines where tempo or metre change.

    A change within an eighth of a step of a bar line is taken as at it. Stretches in another metre, bars that the tempo
    changes within, and stretches without drums are left out; ``read_midi_report`` says which.

    Raises:
        HypermeterError: no readable MIDI, nothing in it to keep, or a change where ``changes`` is "refuse".
    """
    return parse_midi(_read(Path(path)), str(path), kit, grid, changes)[0]


def read_midi_report(
    path: str | Path,
    kit: str | Path | Kit | Mapping[str, Any] = "gm10",
    grid: Grid | None = None,
    changes: Literal["split", "refuse"] = "split",
) -> tuple[list[Piece], list[str]]:
    """``read_midi_pieces``, and what of the file's drums is in none of the pieces.

    Returns:
        The pieces; and a line for each stretch left out, one for the hits that no voice reads, by pitch, and one for
        the hits dropped. No lines where all is read.

    Raises:
        HypermeterError: as ``read_midi_pieces``.
    """
    kit = load_kit(kit)
    pieces, losses = parse_midi(_read(Path(path)), str(path), kit, grid, changes)
    unmapped: Counter[int] = Counter()
    for piece in pieces:
        unmapped.update(piece.unmapped)
    if unmapped:
        counts = ", ".join(f"pitch {pitch}: {count}" for pitch, count in sorted(unmapped.items()))
        losses.append(f"hits that no voice of kit {kit.name} reads ({counts}); choose a kit that has them")
    if dropped := sum(piece.dropped for piece in pieces):
        losses.append(f"hits dropped for a louder one of the same voice and step ({dropped}); a finer grid keeps more")
    return pieces, losses


def _read(path: Path) -> bytes:
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
    kit = load_kit(kit)
    if changes not in ("split", "refuse"):
        raise HypermeterError(f"changes is {changes!r}, expected split or refuse")
    score, (ticks, pitches, velocities, _) = _load_score(content, where)
    if not len(ticks):
        raise HypermeterError(f"{where}: no drum notes; drums are expected on channel 10")
    ticks_per_step = score.ticks_per_quarter / grid.steps_per_quarter
    if (length := ticks.max() / ticks_per_step) > MAX_STEPS:
        raise HypermeterError(f"{where}: a note {length:.0f} steps in, expected at most {MAX_STEPS}; shorten the file")
    last = ticks.max() + ticks_per_step / 2
    heard = [each for each in _stretches(score, where, ticks_per_step) if each.start <= last]
    if len(heard) > 1 and changes == "refuse":
        what = _change(*heard[:2])
        raise HypermeterError(f"{where}: {what}, expected one; cut the file there or pass --changes split")
    name = kit.name if isinstance(kit.record, str) else kit
    columns = kit.columns[pitches]
    pieces, left_out = [], []
    for number, each in enumerate(heard):
        # A note belongs to the step it is nearest to, so the cut is half a step before the bar line.
        position = (ticks - each.start) / ticks_per_step
        end = math.inf if number == len(heard) - 1 else (each.end - each.start) / ticks_per_step
        inside = np.flatnonzero((position >= -0.5) & (position < end - 0.5))
        read = inside[columns[inside] >= 0]
        at = f"at bar {each.bar} ({len(inside)} hits)"
        reason = ""
        if each.metre != grid.metre:
            reason = f"metre {each.metre} {at}, expected {grid.metre}; split the file or pass --metre {each.metre}"
        elif each.tempo_bpm is None:
            reason = f"tempo or metre changes within the bar {at}; move the change to a bar line"
        elif not len(read):
            reason = f"no drum notes that the kit {kit.name} reads {at}; choose another kit"
        if reason or each.tempo_bpm is None:
            if len(inside):
                left_out.append(reason)
            continue
        steps = np.floor(position + 0.5).astype(np.int64)
        offsets = position - steps
        if end == math.inf:
            end = (steps[read].max() // grid.steps_per_bar + 1) * grid.steps_per_bar
        shape = round(end), kit.num_voices
        # Written in this order, the loudest stays in a cell, and of equals the first.
        read = read[np.argsort((velocities - 0.9 * offsets)[read])]
        cells = steps[read], columns[read]
        hits, velocity, offset = np.zeros(shape, np.uint8), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        hits[cells] = 1
        velocity[cells] = velocities[read] / 127
        offset[cells] = np.minimum(offsets[read].astype(np.float32), _LAST_OFFSET)
        groove = Groove(hits, velocity, offset, each.tempo_bpm, name, grid)
        unmapped = Counter(pitches[inside[columns[inside] < 0]].tolist())
        pieces.append(Piece(groove, round(each.start), dict(sorted(unmapped.items())), len(read) - int(hits.sum())))
    if not pieces:
        raise HypermeterError(f"{where}: {left_out[0]}")
    return pieces, left_out


def write_midi(groove: Groove, path: str | Path, kit: str | Path | Kit | Mapping[str, Any] | None = None) -> None:
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


def to_midi_bytes(groove: Groove, kit: str | Path | Kit | Mapping[str, Any] | None = None) -> bytes:
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


def _load_score(content: bytes, where: str) -> tuple[Any, np.ndarray]:
    """The score, and its drum notes as ``_drum_notes`` gives them."""
    if not content:
        raise HypermeterError(f"{where}: empty file, expected MIDI")
    if content[:4] == b"RIFF":  # An RMID file: MIDI in the chunk of another format.
        content = content[max(content.find(b"MThd"), 0) :]
    if content[:4] != b"MThd" or len(content) < 14:
        raise HypermeterError(f"{where}: not a MIDI file (no MThd header); save it as MIDI")
    length, form, num_tracks, division = struct.unpack(">IHHh", content[4:14])
    if form > 1:
        raise HypermeterError(f"{where}: MIDI format {form}, expected 0 or 1; save it as format 1")
    if division < 1:
        what = "0 ticks per quarter" if division == 0 else "SMPTE time"
        raise HypermeterError(f"{where}: {what}, expected ticks per quarter; save it from a sequencer again")
    tracks, at = [], 8 + length
    while len(tracks) < num_tracks and at + 8 <= len(content):
        kind, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "big")
        track = content[at + 8 : at + 8 + size]
        if len(track) < size:
            raise HypermeterError(f"{where}: truncated MIDI file; get a whole copy")
        if kind == b"MTrk":
            tracks.append(track)
        at += 8 + size
    if not tracks:
        raise HypermeterError(f"{where}: truncated MIDI file (no tracks); get a whole copy")
    header = struct.pack(">4sIHHh", b"MThd", 6, form, len(tracks), division)
    try:
        # symusic forgets notes that never end. One note-off for each pitch shows whether there are any.
        score = symusic.Score.from_midi(header + b"".join(_with_note_offs(track, _ONE_EACH) for track in tracks))
        notes = _drum_notes(score)
        if (notes[3] >= _FAR).any():
            enough = (_note_offs(np.bincount(np.frombuffer(track, np.uint8), minlength=128)[:128]) for track in tracks)
            score = symusic.Score.from_midi(header + b"".join(map(_with_note_offs, tracks, enough)))
            notes = _drum_notes(score)
        return score, notes
    except (RuntimeError, ValueError) as error:
        raise HypermeterError(f"{where}: damaged MIDI file ({str(error).splitlines()[0]}); get a whole copy") from error


def _note_offs(counts: np.ndarray) -> bytes:
    """Note-offs for channel 10, so many for each pitch, ``_FAR`` ticks on; then the end of the track.

    Each ends one note. As many as the pitch's byte occurs in a track are enough.
    """
    events = np.zeros((counts.sum(), 3), np.uint8)  # In running status: delta time, pitch, velocity.
    events[:, 1] = np.repeat(np.arange(128, dtype=np.uint8), counts)
    return b"\xff\xff\x7f\x89" + events.tobytes()[1:] + b"\x00" + _END_OF_TRACK


_FAR = 2**21 - 1  # The largest delta time of three bytes: no drum is held as long.
_ONE_EACH = _note_offs(np.ones(128, np.int64))


def _with_note_offs(track: bytes, note_offs: bytes) -> bytes:
    """The chunk of a track that ends with ``note_offs``."""
    # An empty text takes the place of the end of the track, after its delta time.
    body = (track[:-3] if track.endswith(_END_OF_TRACK) else track + b"\x00") + b"\xff\x01\x00" + note_offs
    return b"MTrk" + len(body).to_bytes(4, "big") + body


def _drum_notes(score: Any) -> np.ndarray:
    """(4, N): times in ticks, pitches, velocities 0-127 and durations in ticks of the notes on channel 10."""
    tracks = [track.notes.numpy() for track in score.tracks if track.is_drum]
    keys = "time", "pitch", "velocity", "duration"
    return np.array([np.concatenate([np.zeros(0, np.int64), *(notes[key] for notes in tracks)]) for key in keys])


@dataclass(frozen=True)
class _Metre:
    """A metre and its bar lines, in ticks."""

    name: str
    start: float
    bar_ticks: float
    first_bar: int  # The number of the bar that starts it, from 1.

    def bars_until(self, tick: float) -> int:
        """Whole bars from its start."""
        return math.floor((tick - self.start) / self.bar_ticks + 1e-9)

    def line_before(self, tick: float) -> float:
        """The last bar line up to a tick."""
        return self.start + self.bars_until(tick) * self.bar_ticks

    def at_line(self, tick: float, slack: float) -> float:
        """The bar line that is less than ``slack`` from a tick, or else the tick."""
        line = self.start + round((tick - self.start) / self.bar_ticks) * self.bar_ticks
        return line if abs(tick - line) < slack else tick


@dataclass
class _Stretch:
    """Whole bars between two bar lines, in ticks; or, where the tempo is None, a bar that tempo or metre change in."""

    start: float
    end: float
    bar: int  # The number of its first bar, from 1.
    metre: str
    tempo_bpm: float | None


def _metres(score: symusic.core.ScoreTick, where: str, slack: float) -> list[_Metre]:
    # MIDI is in 4/4 until it says otherwise; of two events at one tick the last counts.
    found = {0: (4, 4)} | {each.time: (each.numerator, each.denominator) for each in score.time_signatures}
    metres: list[_Metre] = []
    for tick, (beats, unit) in sorted(found.items()):
        if beats < 1 or unit < 1:
            what = "0 beats" if beats < 1 else "a beat unit that MIDI does not have"
            raise HypermeterError(f"{where}: metre with {what} at tick {tick}, expected one as 4/4; repair the file")
        start, first_bar = float(tick), 1
        if metres:
            before = metres[-1]
            start = before.at_line(tick, slack)
            first_bar = before.first_bar + math.ceil((start - before.start) / before.bar_ticks - 1e-9)
            if start == before.start:
                metres.pop()
        metres.append(_Metre(f"{beats}/{unit}", start, beats * 4 * score.ticks_per_quarter / unit, first_bar))
    return metres


def _stretches(score: symusic.core.ScoreTick, where: str, ticks_per_step: float) -> list[_Stretch]:
    slack = max(1, ticks_per_step / 8)  # Nearer a bar line than this, a change was meant to be there.
    tempos = {0: 120.0} | {each.time: round(each.qpm, 2) for each in score.tempos}
    for tick, tempo in tempos.items():
        if not 0 < tempo < math.inf:
            raise HypermeterError(f"{where}: tempo {tempo:g} at tick {tick}, expected more than 0; repair the file")
    stretches: list[_Stretch] = []

    def add(metre: _Metre, start: float, end: float, tempo: float | None) -> None:
        if start >= end:
            return
        bar = metre.first_bar + metre.bars_until(start)
        before = stretches[-1] if stretches else None
        if before and tempo is not None and (before.metre, before.tempo_bpm) == (metre.name, tempo):
            stretches.pop()
            start, bar = before.start, before.bar
        stretches.append(_Stretch(start, end, bar, metre.name, tempo))

    metres = _metres(score, where, slack)
    for metre, end in zip(metres, [*(each.start for each in metres[1:]), math.inf], strict=True):
        start, tempo = metre.start, tempos[max(each for each in tempos if each <= metre.start)]
        for tick in sorted(each for each in tempos if metre.start < each < end):
            if tempos[tick] != tempo:
                change = metre.at_line(tick, slack)
                line = metre.line_before(change)
                add(metre, start, line, tempo)
                if change > line:
                    after = min(line + metre.bar_ticks, end)
                    add(metre, max(start, line), after, None)
                    line = after
                start, tempo = max(start, line), tempos[tick]
        whole = end if end == math.inf else metre.line_before(end)
        add(metre, start, whole, tempo)
        add(metre, max(start, whole), end, None)
    return stretches


def _change(before: _Stretch, after: _Stretch) -> str:
    at = f"at bar {after.bar}"
    if before.metre != after.metre:
        return f"metre changes from {before.metre} to {after.metre} {at}"
    if before.tempo_bpm is None or after.tempo_bpm is None:
        return f"tempo or metre changes within the bar {at}"
    return f"tempo changes from {before.tempo_bpm:g} to {after.tempo_bpm:g} {at}"

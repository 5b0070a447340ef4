"""The bytes of a MIDI file as a score, notes that never end included."""

import struct
from typing import Any

import numpy as np
import symusic

from hypermeter.core.errors import HypermeterError

_END_OF_TRACK = b"\xff\x2f\x00"
_END = "\x04"
"""Text of the marker that stands for the end of a track, which symusic neither tells nor sets."""


def load_score(content: bytes, where: str) -> tuple[Any, np.ndarray, int]:
    """The score, its drum notes as ``_drum_notes`` gives them, and the tick at which the last of its tracks ends
    (0 where none tells, as where bytes follow its end)."""
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
    score: Any  # its annotations miss what it has
    header = struct.pack(">4sIHHh", b"MThd", 6, form, len(tracks), division)
    try:
        # symusic forgets notes that never end. One note-off for each pitch shows whether there are any.
        score = symusic.Score.from_midi(header + b"".join(_with_note_offs(track, _ONE_EACH) for track in tracks))
        notes = _drum_notes(score)
        if (notes[3] >= _FAR).any():
            enough = (_note_offs(np.bincount(np.frombuffer(track, np.uint8), minlength=128)[:128]) for track in tracks)
            score = symusic.Score.from_midi(header + b"".join(map(_with_note_offs, tracks, enough)))
            notes = _drum_notes(score)
        end = max((each.time for each in score.markers if each.text == _END), default=0)
        score.markers = [each for each in score.markers if each.text != _END]
        return score, notes, end
    except (RuntimeError, ValueError) as error:
        raise HypermeterError(f"{where}: damaged MIDI file ({str(error).splitlines()[0]}); get a whole copy") from error


def dump_score(score: Any, end: int) -> bytes:
    """The bytes of a score with a first track in which nothing comes after the tick ``end``, at which it then ends."""
    if end == 0:
        return score.dumps_midi()
    score.markers.append(symusic.TextMeta(end, _END))
    midi = score.dumps_midi()
    size = int.from_bytes(midi[18:22], "big")
    track = midi[22 : 22 + size].removesuffix(_END_MARKER + b"\x01" + _END_OF_TRACK) + _END_OF_TRACK
    return midi[:18] + len(track).to_bytes(4, "big") + track + midi[22 + size :]


def _note_offs(counts: np.ndarray) -> bytes:
    """Note-offs for channel 10, so many for each pitch, ``_FAR`` ticks on; then the end of the track.

    Each ends one note. As many as the pitch's byte occurs in a track are enough.
    """
    events = np.zeros((counts.sum(), 3), np.uint8)  # In running status: delta time, pitch, velocity.
    events[:, 1] = np.repeat(np.arange(128, dtype=np.uint8), counts)
    return b"\xff\xff\x7f\x89" + events.tobytes()[1:] + b"\x00" + _END_OF_TRACK


_FAR = 2**21 - 1  # The largest delta time of three bytes: no drum is held as long.
_END_MARKER = b"\xff\x06\x01" + _END.encode()
_ONE_EACH = _note_offs(np.ones(128, np.int64))


def _with_note_offs(track: bytes, note_offs: bytes) -> bytes:
    """The chunk of a track that ends with ``note_offs``."""
    # A marker takes the place of the end of the track, after its delta time.
    body = (track[:-3] if track.endswith(_END_OF_TRACK) else track + b"\x00") + _END_MARKER + note_offs
    return b"MTrk" + len(body).to_bytes(4, "big") + body


def _drum_notes(score: Any) -> np.ndarray:
    """(4, N): times in ticks, pitches, velocities 0-127 and durations in ticks of the notes on channel 10."""
    tracks = [track.notes.numpy() for track in score.tracks if track.is_drum]
    keys = "time", "pitch", "velocity", "duration"
    return np.array([np.concatenate([np.zeros(0, np.int64), *(notes[key] for notes in tracks)]) for key in keys])

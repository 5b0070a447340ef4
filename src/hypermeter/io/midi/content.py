"""Conversion between the bytes of a MIDI file and a symusic score, with notes that never end."""

import re
import struct
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError

_END_OF_TRACK = b"\xff\x2f\x00"
_END = "\x04"
"""Text of the marker that stands for the end of a track, which symusic neither reads nor writes."""


def load_score(content: bytes, where: str) -> tuple[Any, np.ndarray, int]:
    """Return a symusic score, its drum notes as of `_drum_notes`, and the tick at which the last of its tracks ends.

    The tick is 0 if no track has an end that can be read, such as when bytes follow it.

    Raises:
        HypermeterError: no MIDI of format 0 or 1 in ticks per quarter, or a damaged file; the error names it `where`.
    """
    import symusic  # here and below, since it takes a tenth of a second

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
    score: Any  # The type annotations of symusic lack some attributes.
    header = struct.pack(">4sIHHh", b"MThd", 6, form, len(tracks), division)
    try:
        # symusic drops notes that never end. One note-off for each pitch shows whether there are any.
        score = symusic.Score.from_midi(
            header + b"".join(_with_note_offs(track, _ONE_NOTE_OFF_PER_PITCH) for track in tracks)
        )
        notes = _drum_notes(score)
        if (notes[3] >= _MAX_DELTA_TICKS).any():
            enough = (_note_offs(np.bincount(np.frombuffer(track, np.uint8), minlength=128)[:128]) for track in tracks)
            score = symusic.Score.from_midi(header + b"".join(map(_with_note_offs, tracks, enough)))
            notes = _drum_notes(score)
        end = max((marker.time for marker in score.markers if marker.text == _END), default=0)
        score.markers = [marker for marker in score.markers if marker.text != _END]
        return score, notes, end
    except (RuntimeError, ValueError) as error:
        raise HypermeterError(f"{where}: damaged MIDI file ({str(error).splitlines()[0]}); get a whole copy") from error


def dump_score(score: Any, end: int) -> bytes:
    """Return a score as a MIDI file whose first track ends at the tick `end`, after all events of that track."""
    import symusic

    if end == 0:
        return score.dumps_midi()
    score.markers.append(symusic.TextMeta(end, _END))
    midi = score.dumps_midi()
    size = int.from_bytes(midi[18:22], "big")
    track = midi[22 : 22 + size].removesuffix(_END_EVENT + b"\x01" + _END_OF_TRACK) + _END_OF_TRACK
    others = re.sub(rb"\x01(\xff\x2f\x00)(?=MTrk|\Z)", b"\0\\1", midi[22 + size :])  # symusic ends a tick too late
    return midi[:18] + len(track).to_bytes(4, "big") + track + others


def _note_offs(counts: np.ndarray) -> bytes:
    """Return note-offs on channel 10, `counts` of each pitch, after `_MAX_DELTA_TICKS`, and the end of the track.

    Each ends one note. As many as the byte of the pitch occurs in a track are enough.
    """
    events = np.zeros((counts.sum(), 3), np.uint8)  # In running status: delta time, pitch, velocity.
    events[:, 1] = np.repeat(np.arange(128, dtype=np.uint8), counts)
    return b"\xff\xff\x7f\x89" + events.tobytes()[1:] + b"\x00" + _END_OF_TRACK


_MAX_DELTA_TICKS = 2**21 - 1  # The largest delta time of three bytes; no drum note is that long.
_END_EVENT = b"\xff\x06\x01" + _END.encode()
_ONE_NOTE_OFF_PER_PITCH = _note_offs(np.ones(128, np.int64))


def _with_note_offs(track: bytes, note_offs: bytes) -> bytes:
    """Return the chunk of a track with its end replaced by a marker and `note_offs`."""
    # The marker follows the delta time of the end.
    body = (track[:-3] if track.endswith(_END_OF_TRACK) else track + b"\x00") + _END_EVENT + note_offs
    return b"MTrk" + len(body).to_bytes(4, "big") + body


def _drum_notes(score: Any) -> np.ndarray:
    """Return (4, N): times in ticks, pitches, velocities 0-127 and durations in ticks of the notes on channel 10."""
    tracks = [track.notes.numpy() for track in score.tracks if track.is_drum]
    keys = "time", "pitch", "velocity", "duration"
    return np.array([np.concatenate([np.zeros(0, np.int64), *(notes[key] for notes in tracks)]) for key in keys])

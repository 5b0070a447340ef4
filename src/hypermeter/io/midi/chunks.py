"""The chunks of a MIDI file: its header, and the bytes of its tracks."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from hypermeter.core.errors import HypermeterError


@dataclass(frozen=True)
class Chunks:
    """A MIDI file as its header says.

    Args:
        format: 0, 1, or 2 for patterns that are independent of each other.
        ticks_per_quarter: at least 1.
        tracks: the content of each track, at least one.
        remarks: a line if the file has fewer tracks than its header says.
    """

    format: int
    ticks_per_quarter: int
    tracks: list[bytes]
    remarks: tuple[str, ...] = ()


def chunks_of(content: bytes, where: str) -> Chunks:
    """Return the chunks of a MIDI file, or of one in a RIFF file; what follows its last track is left out.

    Raises:
        HypermeterError: no MIDI of format 0, 1 or 2 in ticks per quarter, or a file that is cut off. It names it
            `where`.
    """
    if not content:
        raise HypermeterError(f"{where}: empty file, expected MIDI")
    begin, end = midi_place(content)
    midi = content[begin:end]
    if midi[:4] != b"MThd" or len(midi) < 14:
        raise HypermeterError(f"{where}: not a MIDI file (no MThd header); save it as MIDI")
    form, num_tracks, division = struct.unpack(">HHh", midi[8:14])
    if form > 2:
        raise HypermeterError(f"{where}: MIDI format {form}, expected 0, 1 or 2; save it as format 1")
    if division < 1:
        what = "0 ticks per quarter" if division == 0 else "SMPTE time"
        raise HypermeterError(f"{where}: {what}, expected ticks per quarter; save it from a sequencer again")
    try:
        tracks = [midi[start:stop] for start, stop in track_places(midi)]
    except IndexError as error:
        raise HypermeterError(f"{where}: truncated MIDI file; get a whole copy") from error
    if not tracks:
        raise HypermeterError(f"{where}: truncated MIDI file (no tracks); get a whole copy")
    lacks = f"the header announces {num_tracks} tracks, the file has {len(tracks)}"
    return Chunks(form, division, tracks, (lacks,) * (len(tracks) < num_tracks))


def midi_place(content: bytes) -> tuple[int, int]:
    """Return where the MIDI of a file begins and ends: all of it, unless it is a RIFF file (RMID)."""
    if content[:4] != b"RIFF":
        return 0, len(content)
    begin = max(content.find(b"MThd"), 0)
    return begin, min(begin + int.from_bytes(content[max(begin - 4, 0) : begin], "little"), len(content))


def track_places(midi: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the content of each track of a MIDI file begins and ends.

    Raises:
        IndexError: a chunk that is cut off.
    """
    at, num_tracks = 8 + int.from_bytes(midi[4:8], "big"), int.from_bytes(midi[10:12], "big")
    while num_tracks and at + 8 <= len(midi):
        start, stop = at + 8, at + 8 + int.from_bytes(midi[at + 4 : at + 8], "big")
        if stop > len(midi):
            raise IndexError
        if midi[at : at + 4] == b"MTrk":
            num_tracks -= 1
            yield start, stop
        at = stop

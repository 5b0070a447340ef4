"""Changing the times and velocities of a MIDI file's drum notes, with all else in the file kept."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from hypermeter.core.errors import HypermeterError

Retime = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Ticks, pitches and velocities (N,) of a track's notes on channel 10, in order -> their new ticks and velocities."""

_ON, _OFF = 0x99, 0x89
_END_OF_TRACK = b"\xff\x2f"
_BEFORE, _STAYS, _AFTER, _LAST = range(4)  # The order of events at one tick.


class _Event(NamedTuple):
    """An event of a track: its tick, its status (0 unless it is a channel event), and its bytes in the file."""

    tick: int
    status: int
    content: bytes


def replay_drums(content: bytes, where: str, retime: Retime) -> bytes:
    """Return the content of a MIDI file with new times and velocities of the drum notes of each track.

    The end of a note moves with it, but stays after its start and at or before the next start of its pitch, as a
    note-off would end both. The end of the track stays unless a note starts there or later. Tracks without a change are
    kept byte for byte.

    Args:
        content: a MIDI file, or one in a RIFF file.
        where: the name of the file in errors.
        retime: returns ticks of at least 0 and velocities from 1 to 127, with notes of one pitch in their order.

    Raises:
        HypermeterError: a damaged file.
    """
    retime_track = partial(_retime_track, retime=retime)
    try:
        if content[:4] != b"RIFF":
            return map_tracks(content, retime_track)
        start = content.find(b"MThd")
        size = int.from_bytes(content[start - 4 : start], "little")
        midi = map_tracks(content[start : start + size], retime_track)
        if midi == content[start : start + size]:
            return content
        rest = content[start + size + size % 2 :]  # Chunks have an even size.
        body = content[8 : start - 4] + len(midi).to_bytes(4, "little") + midi + bytes(len(midi) % 2) + rest
        return b"RIFF" + len(body).to_bytes(4, "little") + body
    except (IndexError, OverflowError) as error:
        what = "cut off" if isinstance(error, IndexError) else "further from the one before than MIDI holds"
        raise HypermeterError(f"{where}: damaged MIDI file (an event is {what}); get a whole copy") from error


def map_tracks(midi: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Return a MIDI file in which the content of each track is what `change` returns for it.

    Raises:
        IndexError: a chunk that is cut off.
    """
    parts, end = [], 0
    for start, stop in track_places(midi):
        track = change(midi[start:stop])
        parts += midi[end : start - 4], len(track).to_bytes(4, "big"), track
        end = stop
    return b"".join([*parts, midi[end:]])


def track_places(midi: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the events of each track of a MIDI file begin and end.

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


def _retime_track(track: bytes, retime: Retime) -> bytes:
    if _ON not in track:
        return track
    events, rest = parse_events(track)
    ons, offs = _pair_notes(events)
    if not len(ons):
        return track
    begins = np.array([events[on].tick for on in ons])
    pitches, velocities = np.array([tuple(events[on].content[-2:]) for on in ons]).T
    starts, new_velocities = retime(begins, pitches, velocities)
    if np.array_equal(starts, begins) and np.array_equal(new_velocities, velocities):
        return track
    for on, velocity in zip(ons.tolist(), new_velocities.tolist(), strict=True):
        events[on] = events[on]._replace(content=events[on].content[:-1] + bytes([velocity]))
    ticks, rank = np.array([event.tick for event in events]), np.full(len(events), _STAYS)
    is_moved, limit = starts != begins, _next_of_pitch(starts, pitches)
    end_moves = (offs >= 0) & (is_moved | (limit != _next_of_pitch(begins, pitches)))
    ends = np.minimum(ticks[offs] + starts - begins, np.minimum(limit, ticks[-1])).clip(starts + 1)
    ticks[ons], ticks[offs[end_moves]] = starts, ends[end_moves]
    rank[ons[is_moved]], rank[offs[end_moves]] = _AFTER, _BEFORE
    if events[-1].content.startswith(_END_OF_TRACK):
        ticks[-1], rank[-1] = ticks.max(), _LAST
    order = np.lexsort((rank, ticks)).tolist()
    return join_events([events[number]._replace(tick=int(ticks[number])) for number in order]) + rest


def _next_of_pitch(ticks: np.ndarray, pitches: np.ndarray) -> np.ndarray:
    """Return for each note the tick at which the next note of its pitch starts; 2**62 where there is none."""
    following = np.empty(len(ticks), np.int64)
    for pitch in np.unique(pitches):
        starts = ticks[pitches == pitch]
        ordered = np.append(np.sort(starts), 2**62)
        following[pitches == pitch] = ordered[np.searchsorted(ordered, starts, side="right")]
    return following


def _pair_notes(events: list[_Event]) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices (N,) of the events that start the notes on channel 10 and of those that end them, or -1.

    Of overlapping notes of a pitch the first to start ends first; while the pitch lacks ends, the last to start does,
    so that the notes before keep theirs.
    """
    note_events = [
        (number, event.status == _ON and event.content[-1] > 0, event.content[-2])
        for number, event in enumerate(events)
        if event.status in (_ON, _OFF) and event.content[-2] < 128
    ]
    missing_ends = Counter(pitch for _, is_on, pitch in note_events if is_on)
    missing_ends.subtract(pitch for _, is_on, pitch in note_events if not is_on)
    sounding: dict[int, deque[int]] = defaultdict(deque)
    ends: dict[int, int] = {}
    for number, is_on, pitch in note_events:
        if is_on:
            ends[number] = -1
            sounding[pitch].append(number)
        elif sounding[pitch]:
            on = sounding[pitch].pop() if missing_ends[pitch] > 0 else sounding[pitch].popleft()
            ends[on] = number
    return np.array(list(ends), np.int64), np.array(list(ends.values()), np.int64)


def parse_events(track: bytes) -> tuple[list[_Event], bytes]:
    """Return the events of a track up to its end, and the bytes after that."""
    events, tick, status, at = [], 0, 0, 0
    while at < len(track):
        delta, at = decode_number(track, at)
        tick += delta
        begin, first = at, track[at]
        at += first >= 0x80
        if first in (0xF0, 0xF7, 0xFF):
            size, at = decode_number(track, at + (first == 0xFF))
            at += size
        elif first > 0xF0:
            at += {0xF1: 1, 0xF2: 2, 0xF3: 1}.get(first, 0)
        else:
            status = first if first >= 0x80 else status
            at += 1 if 0xC0 <= status < 0xE0 else 2
        if at > len(track) or not (status or first > 0x80):
            raise IndexError
        events.append(_Event(tick, status if first < 0xF0 else 0, track[begin:at]))
        if events[-1].content.startswith(_END_OF_TRACK):
            break
    return events, track[at:]


def join_events(events: list[_Event]) -> bytes:
    """Return the bytes of a track. An event in running status stays so where it can."""
    track, tick, running = bytearray(), 0, 0
    for event in events:
        track += encode_number(event.tick - tick)
        if event.status not in (0, running) and event.content[0] < 0x80:
            track.append(event.status)
        track += event.content
        tick, running = event.tick, event.status
    return bytes(track)


def decode_number(track: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length, and the index after it."""
    value, last = 0, at + 3
    while track[at] >= 0x80 and at < last:
        value, at = value << 7 | track[at] & 0x7F, at + 1
    return value << 7 | track[at] & 0x7F, at + 1


def encode_number(value: int) -> bytes:
    if value >> 28:
        raise OverflowError  # More than MIDI holds.
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(0x80 | value & 0x7F)
    return bytes(parts[::-1])

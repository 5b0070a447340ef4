"""The drum notes of a MIDI file at other times and velocities, where they stand: all else in the file stays."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from hypermeter.core.errors import HypermeterError

Play = Callable[
    [Int[np.ndarray, " N"], Int[np.ndarray, " N"], Int[np.ndarray, " N"]],
    tuple[Int[np.ndarray, " N"], Int[np.ndarray, " N"]],
]
"""Ticks, pitches and velocities of a track's notes on channel 10, in order; then their new ticks and velocities."""

_ON, _OFF = 0x99, 0x89
_END_OF_TRACK = b"\xff\x2f"
_BEFORE, _STAYS, _AFTER, _LAST = range(4)  # The order of what is at one tick.


class _Event(NamedTuple):
    """An event of a track: its tick, its status if it is a channel's or else 0, and its bytes as they stand."""

    tick: int
    status: int
    content: bytes


def replay_drums(content: bytes, where: str, play: Play) -> bytes:
    """The content of a MIDI file, or of one in a RIFF file, in which ``play`` has played the drum notes of each track.

    A note's end moves along with it, to a tick after its beginning or later and to the beginning of the next of its
    pitch or earlier, as a note-off would end both. The end of the track stays, if no note begins there or later. Tracks
    that nothing changes in stay byte for byte.

    Args:
        content: what ``load_score`` takes.
        where: the name that errors give.
        play: gives ticks of at least 0 and velocities of 1 to 127; notes of a pitch stay in their order.

    Raises:
        HypermeterError: a damaged file.
    """
    try:
        if content[:4] != b"RIFF":
            return _replayed(content, play)
        start = content.find(b"MThd")
        size = int.from_bytes(content[start - 4 : start], "little")
        midi = _replayed(content[start : start + size], play)
        if midi == content[start : start + size]:
            return content
        rest = content[start + size + size % 2 :]  # Chunks have an even size.
        body = content[8 : start - 4] + len(midi).to_bytes(4, "little") + midi + bytes(len(midi) % 2) + rest
        return b"RIFF" + len(body).to_bytes(4, "little") + body
    except (IndexError, OverflowError) as error:
        what = "cut off" if isinstance(error, IndexError) else "later after another than MIDI holds"
        raise HypermeterError(f"{where}: damaged MIDI file (an event is {what}); get a whole copy") from error


def _replayed(midi: bytes, play: Play) -> bytes:
    at, num_tracks = 8 + int.from_bytes(midi[4:8], "big"), int.from_bytes(midi[10:12], "big")
    parts = [midi[:at]]
    while num_tracks and at + 8 <= len(midi):
        kind, size = midi[at : at + 4], int.from_bytes(midi[at + 4 : at + 8], "big")
        chunk = midi[at + 8 : at + 8 + size]
        if len(chunk) < size:
            raise IndexError
        if kind == b"MTrk":
            num_tracks -= 1
            chunk = _replayed_track(chunk, play)
        parts += kind, len(chunk).to_bytes(4, "big"), chunk
        at += 8 + size
    return b"".join([*parts, midi[at:]])


def _replayed_track(track: bytes, play: Play) -> bytes:
    if _ON not in track:
        return track
    events, rest = _events(track)
    ons, offs = _notes(events)
    if not len(ons):
        return track
    begins = np.array([events[on].tick for on in ons])
    pitches, velocities = np.array([tuple(events[on].content[-2:]) for on in ons]).T
    starts, played = play(begins, pitches, velocities)
    if np.array_equal(starts, begins) and np.array_equal(played, velocities):
        return track
    for on, velocity in zip(ons.tolist(), played.tolist(), strict=True):
        events[on] = events[on]._replace(content=events[on].content[:-1] + bytes([velocity]))
    ticks, rank = np.array([each.tick for each in events]), np.full(len(events), _STAYS)
    is_moved, limit = starts != begins, _next_of_pitch(starts, pitches)
    ends_anew = (offs >= 0) & (is_moved | (limit != _next_of_pitch(begins, pitches)))
    ends = np.minimum(ticks[offs] + starts - begins, np.minimum(limit, ticks[-1])).clip(starts + 1)
    ticks[ons], ticks[offs[ends_anew]] = starts, ends[ends_anew]
    rank[ons[is_moved]], rank[offs[ends_anew]] = _AFTER, _BEFORE
    if events[-1].content.startswith(_END_OF_TRACK):
        ticks[-1], rank[-1] = ticks.max(), _LAST
    order = np.lexsort((rank, ticks)).tolist()
    return _joined([events[each]._replace(tick=int(ticks[each])) for each in order]) + rest


def _next_of_pitch(ticks: np.ndarray, pitches: np.ndarray) -> np.ndarray:
    """For each note, the next tick that one of its pitch begins at; 2**62 where there is none."""
    found = np.empty(len(ticks), np.int64)
    for pitch in np.unique(pitches):
        own = ticks[pitches == pitch]
        ordered = np.append(np.sort(own), 2**62)
        found[pitches == pitch] = ordered[np.searchsorted(ordered, own, side="right")]
    return found


def _notes(events: list[_Event]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) numbers of the events that begin the notes on channel 10, and of those that end them, -1 where none does.

    The first to begin is the first to end; but the last where a pitch lacks ends, so that the others keep theirs.
    """
    found = [
        (number, each.status == _ON and each.content[-1] > 0, each.content[-2])
        for number, each in enumerate(events)
        if each.status in (_ON, _OFF) and each.content[-2] < 128
    ]
    lacking = Counter(pitch for _, is_on, pitch in found if is_on)
    lacking.subtract(pitch for _, is_on, pitch in found if not is_on)
    sounding: dict[int, deque[int]] = defaultdict(deque)
    ends: dict[int, int] = {}
    for number, is_on, pitch in found:
        if is_on:
            ends[number] = -1
            sounding[pitch].append(number)
        elif sounding[pitch]:
            on = sounding[pitch].pop() if lacking[pitch] > 0 else sounding[pitch].popleft()
            ends[on] = number
    return np.array(list(ends), np.int64), np.array(list(ends.values()), np.int64)


def _events(track: bytes) -> tuple[list[_Event], bytes]:
    """The events of a track up to its end, and the bytes after that."""
    events, tick, status, at = [], 0, 0, 0
    while at < len(track):
        delta, at = _number(track, at)
        tick += delta
        begin, first = at, track[at]
        at += first >= 0x80
        if first in (0xF0, 0xF7, 0xFF):
            size, at = _number(track, at + (first == 0xFF))
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


def _joined(events: list[_Event]) -> bytes:
    """The bytes of a track. An event that is without its status stays so where it can."""
    track, tick, running = bytearray(), 0, 0
    for each in events:
        track += _as_number(each.tick - tick)
        if each.status not in (0, running) and each.content[0] < 0x80:
            track.append(each.status)
        track += each.content
        tick, running = each.tick, each.status
    return bytes(track)


def _number(track: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and the place after it."""
    value, last = 0, at + 3
    while track[at] >= 0x80 and at < last:
        value, at = value << 7 | track[at] & 0x7F, at + 1
    return value << 7 | track[at] & 0x7F, at + 1


def _as_number(value: int) -> bytes:
    if value >> 28:
        raise OverflowError  # More than MIDI holds.
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(0x80 | value & 0x7F)
    return bytes(parts[::-1])

"""The events of a MIDI track."""

from collections import Counter, defaultdict, deque
from typing import NamedTuple

import numpy as np

ON, OFF = 0x90, 0x80
"""Status of note events, without the channel."""
END_OF_TRACK = b"\xff\x2f"


class Event(NamedTuple):
    """An event of a track: its tick, its status (0 unless it is a channel event), and its bytes in the file."""

    tick: int
    status: int
    content: bytes


def pair_notes(events: list[Event]) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices (N,) of the events that start notes and of those that end them, or -1.

    Of overlapping notes of a channel and pitch the first to start ends first; while the pitch lacks ends, the last to
    start does, so that the notes before keep theirs.
    """
    note_events = [
        (number, status & 0xF0 == ON and content[-1] > 0, (status & 15, content[-2]))
        for number, (_, status, content) in enumerate(events)
        if OFF <= status < 0xA0 and content[-2] < 128
    ]
    missing_ends = Counter(key for _, is_on, key in note_events if is_on)
    missing_ends.subtract(key for _, is_on, key in note_events if not is_on)
    sounding: dict[tuple[int, int], deque[int]] = defaultdict(deque)
    ends: dict[int, int] = {}
    for number, is_on, key in note_events:
        if is_on:
            ends[number] = -1
            sounding[key].append(number)
        elif sounding[key]:
            on = sounding[key].pop() if missing_ends[key] > 0 else sounding[key].popleft()
            ends[on] = number
    return np.array(list(ends), np.int64), np.array(list(ends.values()), np.int64)


def parse_events(track: bytes) -> tuple[list[Event], bytes]:
    """Return the events of a track up to its end, and the bytes after that."""
    events, tick, status, at = [], 0, 0, 0
    while at < len(track):
        delta = track[at]
        if delta < 0x80:  # as most are
            at += 1
        else:
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
        events.append(Event(tick, status if first < 0xF0 else 0, track[begin:at]))
        if events[-1].content.startswith(END_OF_TRACK):
            break
    return events, track[at:]


def exclusive_messages(track: bytes) -> list[bytes] | None:
    """Return the system exclusive messages of a track, without F0 and length, if all readers take them for the same.

    No events are made, and what follows the last message is not looked at, so this is quicker than `parse_events`.

    Returns:
        The messages; `None` if there are other system messages, one without F7 at its end, one with running status
        after it, or damage before.
    """
    content = np.frombuffer(track, np.uint8)
    places = np.flatnonzero((content >= 0xF0) & (content < 0xFF))  # They may be of delta times or meta events too.
    at, last, running = 0, int(places.max(initial=-1)), 0
    messages: list[bytes] = []
    needs_status = False
    try:
        while at <= last or needs_status:
            while track[at] >= 0x80:
                at += 1
            at += 1
            status = track[at]
            if status < 0x80 and (needs_status or not running):
                return None
            needs_status = status == 0xF0
            if status == 0xFF:
                if track[at + 1] == END_OF_TRACK[1]:
                    break
                length, at = decode_number(track, at + 2)
                at += length
            elif status == 0xF0:
                length, at = decode_number(track, at + 1)
                messages.append(track[at : at + length])
                at += length
                if messages[-1][-1:] != b"\xf7" or max(messages[-1][:-1], default=0) >= 0x80:
                    return None
            elif status > 0xF0:
                return None
            else:
                running = running if status < 0x80 else 1 if 0xC0 <= status < 0xE0 else 2
                at += running + (status >= 0x80)
    except IndexError:
        return None
    return messages


def join_events(events: list[Event]) -> bytes:
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

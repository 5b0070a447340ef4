"""The drums of a MIDI file on channel 10, and nothing else there: what a sound font takes for drums."""

import re

import numpy as np

from hypermeter.core.read_options import ReadOptions
from hypermeter.io.midi.channels import GM_DRUMS
from hypermeter.io.midi.chunks import midi_place
from hypermeter.io.midi.content import drums_of_tracks, load_midi
from hypermeter.io.midi.events import OFF, Event, join_events, pair_notes, parse_events
from hypermeter.io.midi.replay import map_tracks

_RHYTHM_PART = re.compile(rb"\xf0.{0,5}\x41.\x42\x12\x40[\x10-\x1f]\x15", re.DOTALL)
"""A GS message that makes a part drums or a melody."""


def drums_on_channel_10(content: bytes, where: str, options: ReadOptions = ReadOptions()) -> tuple[bytes, list[str]]:
    """Return a MIDI file whose drums, as they are read, are on channel 10 alone, and lines if they were not before.

    A melody on channel 10 moves to a channel without notes. A file whose channels are so already is kept.

    Args:
        content: the bytes of the file.
        where: its name in errors.
        options: how the drums are found.

    Raises:
        HypermeterError: as `load_midi`.
    """
    start, stop = midi_place(content)
    midi = content[start:stop]
    drums = drums_of_tracks(content, where, options)
    used: dict[bool, set[int]] = {True: set(), False: set()}  # channels of drums, and of all else

    def note_channels(number: int, track: bytes) -> bytes:
        for status, is_drum in zip(_note_ons(track), drums[number].tolist(), strict=False):
            used[is_drum].add(status & 15)
        return track

    map_tracks(midi, note_channels)
    if used[True] <= {GM_DRUMS} and GM_DRUMS not in used[False]:
        return midi, []
    free = min({*range(16)} - used[True] - used[False] - {GM_DRUMS}, default=GM_DRUMS)
    melody_channel = free if GM_DRUMS in used[False] else GM_DRUMS

    def change(number: int, track: bytes) -> bytes:
        return _with_channels(track, drums[number], melody_channel)

    return map_tracks(midi, change), [f"{where}: {remark}" for remark in load_midi(content, where, options).remarks]


def with_pitches(content: bytes, to_gm: np.ndarray) -> bytes:
    """Return a MIDI file with other pitches of the notes on channel 10: (128,), the new one for each."""
    if (to_gm == np.arange(128)).all():
        return content

    def change(_: int, track: bytes) -> bytes:
        events, rest = parse_events(track)
        for number, event in enumerate(events):
            if event.status in (0x89, 0x99, 0xA9) and event.content[-2] < 128:
                pitch = bytes([to_gm[event.content[-2]]])
                events[number] = event._replace(content=event.content[:-2] + pitch + event.content[-1:])
        return join_events(events) + rest

    return map_tracks(content, change)


def _note_ons(track: bytes) -> list[int]:
    """Return the status of each event of a track that starts a note, in order."""
    events = parse_events(track)[0]
    return [events[number].status for number in pair_notes(events)[0].tolist()]


def _with_channels(track: bytes, is_drums: np.ndarray, melody_channel: int) -> bytes:
    """Return a track with its drum notes on channel 10, and what else is there on another channel."""
    events, rest = parse_events(track)
    ons, offs = pair_notes(events)
    is_drum = np.pad(is_drums, (0, len(ons) - len(is_drums)))
    drum_events = {*ons[is_drum].tolist(), *offs[is_drum].tolist()}
    changed = []
    for number, event in enumerate(events):
        if _RHYTHM_PART.match(event.content):
            event = Event(event.tick, 0, b"\xff\x01\x00")  # an empty text: the parts are as General MIDI has them
        elif number in drum_events:
            event = _on_channel(event, GM_DRUMS)
        elif event.status & 15 == GM_DRUMS and event.status >= OFF:
            event = _on_channel(event, melody_channel)
        changed.append(event)
    return join_events(changed) + rest


def _on_channel(event: Event, channel: int) -> Event:
    status = event.status & 0xF0 | channel
    data = event.content[1:] if event.content[0] >= 0x80 else event.content
    return Event(event.tick, status, bytes([status]) + data)

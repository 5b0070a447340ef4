"""The MIDI channel and program of melodic tracks, which a groove does not hold."""

from collections.abc import Iterable, Mapping
from contextlib import suppress

from hypermeter.core.tracks import Track
from hypermeter.io.midi.events import join_events, map_tracks, parse_events, track_places

Instrument = tuple[int, int]
"""Channel and program, both from 0."""


def instruments_of(content: bytes, tracks: Iterable[Track]) -> dict[str, Instrument]:
    """Return the first instrument that plays each track in a readable MIDI file: track name -> instrument."""
    instruments: dict[str, Instrument] = {}
    midi = content[max(content.find(b"MThd"), 0) :]
    with suppress(IndexError):  # damage that symusic forgives
        for start, stop in track_places(midi):
            with suppress(IndexError):
                instruments = _instruments_of_track(midi[start:stop], tracks) | instruments
    return instruments


def _instruments_of_track(track: bytes, melodies: Iterable[Track]) -> dict[str, Instrument]:
    instruments: dict[str, Instrument] = {}
    programs = [0] * 16
    for event in parse_events(track)[0]:
        kind, channel = event.status & 0xF0, event.status & 0x0F
        if kind == 0xC0:
            programs[channel] = event.content[-1]
        elif kind == 0x90 and event.content[-1] and channel != 9:
            for melody in melodies:
                if melody.programs[0] <= programs[channel] <= melody.programs[1]:
                    instruments.setdefault(melody.name, (channel, programs[channel]))
    return instruments


def with_instruments(content: bytes, instruments: Mapping[str, Instrument]) -> bytes:
    """Return a MIDI file whose tracks of these names play on other channels and with other programs."""

    def change(track: bytes) -> bytes:
        events, rest = parse_events(track)
        names = [event.content[3:].decode("latin-1") for event in events if event.content.startswith(b"\xff\x03")]
        if not names or names[0] not in instruments:
            return track
        channel, program = instruments[names[0]]
        for number, (_, status, event) in enumerate(events):
            if status:
                values = event[1:] if event[0] >= 0x80 else event
                values = bytes([program]) if status & 0xF0 == 0xC0 else values
                events[number] = events[number]._replace(content=bytes([status & 0xF0 | channel]) + values)
        return join_events(events) + rest

    return map_tracks(content, change)

"""The MIDI channel and program of melodic tracks, which a groove does not hold."""

from collections.abc import Iterable, Mapping

import numpy as np

from hypermeter.core.read_options import ReadOptions
from hypermeter.core.tracks import Track
from hypermeter.io.encodings import decode_text
from hypermeter.io.midi.channels import GM_DRUMS
from hypermeter.io.midi.content import load_midi
from hypermeter.io.midi.events import join_events, parse_events
from hypermeter.io.midi.replay import map_tracks

Instrument = tuple[int, int]
"""Channel and program, both from 0."""


def instruments_of(
    content: bytes, where: str, tracks: Iterable[Track], options: ReadOptions = ReadOptions()
) -> dict[str, Instrument]:
    """Return the first instrument that plays each track in a MIDI file: track name -> instrument.

    One on channel 10 is left out: there it would need the messages that make the channel a melody.

    Raises:
        HypermeterError: as `load_midi`, to which content, name of the file and options go.
    """
    _, _, _, _, programs, channels, _ = load_midi(content, where, options, in_full=True).melody.notes
    instruments: dict[str, Instrument] = {}
    for track in tracks:
        first, last = track.programs
        plays = np.flatnonzero((first <= programs) & (programs <= last) & (channels != GM_DRUMS))
        if len(plays):
            instruments[track.name] = int(channels[plays[0]]), int(programs[plays[0]])
    return instruments


def with_instruments(content: bytes, instruments: Mapping[str, Instrument]) -> bytes:
    """Return a MIDI file whose tracks of these names play on other channels and with other programs."""

    def change(_: int, track: bytes) -> bytes:
        events, rest = parse_events(track)
        names = [decode_text(event.content[3:]) for event in events if event.content.startswith(b"\xff\x03")]
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

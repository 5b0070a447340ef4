"""The MIDI channel and program of melodic tracks, which a groove does not hold."""

from collections.abc import Iterable, Iterator, Mapping

from hypermeter.core.tracks import Track
from hypermeter.io.midi.events import encode_number, parse_events

Instrument = tuple[int, int]
"""Channel and program, both from 0."""


def instruments_of(content: bytes, tracks: Iterable[Track]) -> dict[str, Instrument]:
    """Return the first instrument that plays each track in a readable MIDI file: track name -> instrument."""
    instruments: dict[str, Instrument] = {}
    for _, chunk in _chunks(content):
        programs = [0] * 16
        try:
            events, _ = parse_events(chunk)
        except IndexError:  # damage that symusic forgives
            continue
        for event in events:
            kind, channel = event.status & 0xF0, event.status & 0x0F
            if kind == 0xC0:
                programs[channel] = event.content[-1]
            elif kind == 0x90 and event.content[-1] and channel != 9:
                for track in tracks:
                    if track.programs[0] <= programs[channel] <= track.programs[1]:
                        instruments.setdefault(track.name, (channel, programs[channel]))
    return instruments


def with_instruments(content: bytes, instruments: Mapping[str, Instrument]) -> bytes:
    """Return a MIDI file whose tracks of these names play on other channels and with other programs."""
    for start, chunk in reversed([*_chunks(content)]):
        events, rest = parse_events(chunk)
        names = [event.content[3:].decode("latin-1") for event in events if event.content.startswith(b"\xff\x03")]
        if not names or names[0] not in instruments:
            continue
        channel, program = instruments[names[0]]
        track, before = b"", 0
        for tick, status, event in events:
            if status:
                values = event[1:] if event[0] >= 0x80 else event
                event = bytes([status & 0xF0 | channel]) + (bytes([program]) if status & 0xF0 == 0xC0 else values)
            track += encode_number(tick - before) + event
            before = tick
        track += rest
        content = content[: start - 4] + len(track).to_bytes(4, "big") + track + content[start + len(chunk) :]
    return content


def _chunks(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the place and the events of each track."""
    at = max(content.find(b"MThd"), 0)
    at += 8 + int.from_bytes(content[at + 4 : at + 8], "big")
    while at + 8 <= len(content):
        size = int.from_bytes(content[at + 4 : at + 8], "big")
        if content[at : at + 4] == b"MTrk":
            yield at + 8, content[at + 8 : at + 8 + size]
        at += 8 + size

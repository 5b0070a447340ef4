"""Chokes as polyphonic aftertouch, which symusic does not write."""

from collections.abc import Sequence

from hypermeter.io.midi.channels import GM_DRUMS
from hypermeter.io.midi.events import Event, join_events, parse_events
from hypermeter.io.midi.replay import map_tracks

_AFTERTOUCH = 0xA0 | GM_DRUMS


def with_chokes(content: bytes, ticks: Sequence[int], pitches: Sequence[int]) -> bytes:
    """Return a MIDI file in whose track of channel 10 pads are pressed at these ticks, and released a tick later.

    Args:
        content: the file; each of its tracks ends with an end of track, and one has notes on channel 10.
        ticks: (N,) in any order.
        pitches: (N,) of the pads.
    """
    pads = list(zip(ticks, pitches, strict=True))
    presses = [Event(tick, _AFTERTOUCH, bytes([_AFTERTOUCH, pitch, 127])) for tick, pitch in pads]
    releases = [Event(tick + 1, _AFTERTOUCH, bytes([_AFTERTOUCH, pitch, 0])) for tick, pitch in pads]

    def press(_: int, track: bytes) -> bytes:
        (*events, end), rest = parse_events(track)
        if not any(event.status and event.status & 15 == GM_DRUMS for event in events):
            return track
        events = sorted([*events, *presses, *releases], key=lambda event: event.tick)
        return join_events([*events, end._replace(tick=max(end.tick, events[-1].tick))]) + rest

    return map_tracks(content, press)

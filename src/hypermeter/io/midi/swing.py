"""Swing of MIDI files."""

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.swing import apply_swing
from hypermeter.io.midi.chunks import chunks_of, midi_place
from hypermeter.io.midi.events import OFF, join_events, parse_events
from hypermeter.io.midi.replay import map_tracks


def swing_midi(content: bytes, where: str, swing: float, steps_per_quarter: float = 4.0) -> bytes:
    """Return a MIDI file whose notes, of all tracks, begin and end as `apply_swing` says, counted from its beginning.

    Args:
        content: of the file.
        where: the name of the file in errors.
        swing: see `apply_swing`; .5 returns the content as it is.
        steps_per_quarter: steps in a quarter note; pairs of these swing.

    Raises:
        HypermeterError: a file that cannot be read.
    """
    if swing == 0.5:
        return content
    ticks_per_step = chunks_of(content, where).ticks_per_quarter / steps_per_quarter

    def change(_: int, track: bytes) -> bytes:
        events, rest = parse_events(track)
        if not events:
            return track
        ticks = np.array([event.tick for event in events])
        is_note = np.array([OFF <= event.status < 0xA0 for event in events])
        swung = np.rint(apply_swing(ticks / ticks_per_step, swing) * ticks_per_step).astype(np.int64)
        ticks = np.where(is_note, swung, ticks)
        ticks[-1] = ticks.max()  # the end of the track
        order = np.argsort(ticks, kind="stable").tolist()
        return join_events([events[number]._replace(tick=int(ticks[number])) for number in order]) + rest

    begin, end = midi_place(content)
    try:
        return map_tracks(content[begin:end], change)
    except (IndexError, OverflowError) as error:
        raise HypermeterError(f"{where}: damaged MIDI file; get a whole copy") from error

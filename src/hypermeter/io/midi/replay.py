"""Changing the times and velocities of a MIDI file's drum notes, with all else in the file kept."""

from collections.abc import Callable

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.read_options import ReadOptions
from hypermeter.io.midi.chunks import midi_place, track_places
from hypermeter.io.midi.content import drums_of_tracks
from hypermeter.io.midi.events import END_OF_TRACK, join_events, pair_notes, parse_events

Retime = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Ticks, pitches and velocities (N,) of a track's drum notes, in order -> their new ticks and velocities."""

_BEFORE, _STAYS, _AFTER, _LAST = range(4)  # The order of events at one tick.


def replay_drums(content: bytes, where: str, retime: Retime, options: ReadOptions = ReadOptions()) -> bytes:
    """Return the content of a MIDI file with new times and velocities of the drum notes of each track.

    The end of a note moves with it, but stays after its start and at or before the next start of its pitch, as a
    note-off would end both. The end of the track stays unless a note starts there or later. Tracks without a change are
    kept byte for byte.

    Args:
        content: a MIDI file, or one in a RIFF file.
        where: the name of the file in errors.
        retime: returns ticks of at least 0 and velocities from 1 to 127, with notes of one pitch in their order.
        options: by which the drums are found, as in reading.

    Raises:
        HypermeterError: a damaged file.
    """
    drums = drums_of_tracks(content, where, options)

    def retime_track(number: int, track: bytes) -> bytes:
        return _retime_track(track, drums[number], retime)

    try:
        start, stop = midi_place(content)
        midi = map_tracks(content[start:stop], retime_track)
        if midi == content[start:stop]:
            return content
        if content[:4] != b"RIFF":
            return midi
        rest = content[stop + (stop - start) % 2 :]  # Chunks have an even size.
        body = content[8 : start - 4] + len(midi).to_bytes(4, "little") + midi + bytes(len(midi) % 2) + rest
        return b"RIFF" + len(body).to_bytes(4, "little") + body
    except OverflowError as error:
        raise HypermeterError(
            f"{where}: damaged MIDI file (an event is further from the one before than MIDI holds); get a whole copy"
        ) from error


def map_tracks(midi: bytes, change: Callable[[int, bytes], bytes]) -> bytes:
    """Return a MIDI file in which the content of each track is what `change` returns for its number and content.

    Raises:
        IndexError: a chunk that is cut off.
    """
    parts, end = [], 0
    for number, (start, stop) in enumerate(track_places(midi)):
        track = change(number, midi[start:stop])
        parts += midi[end : start - 4], len(track).to_bytes(4, "big"), track
        end = stop
    return b"".join([*parts, midi[end:]])


def _retime_track(track: bytes, is_drums: np.ndarray, retime: Retime) -> bytes:
    """Return a track with its drum notes played anew; `is_drums` (N,) says of each note-on whether it is one."""
    if not is_drums.any():
        return track
    events, rest = parse_events(track)
    ons, offs = (numbers[is_drums] for numbers in pair_notes(events))
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
    if events[-1].content.startswith(END_OF_TRACK):
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

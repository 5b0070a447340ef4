"""Tracks and section markers of a MIDI file."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from hypermeter.core.groove import DEFAULT_VELOCITY, Groove
from hypermeter.core.tracks import HOLD, REST, Track
from hypermeter.io.midi.content import MidiFile


def notes_of(midi: MidiFile, track: Track) -> np.ndarray:
    """Return (3, N): start and end in ticks, and pitch, of the notes of the track's programs that are not drums.

    A note that never ends lasts to the end of its track.
    """
    first, last = track.programs
    notes = midi.melody.notes
    return notes[:3, (first <= notes[4]) & (notes[4] <= last)]


def codes_of(
    notes: np.ndarray, start: float, ticks_per_step: float, steps: int, track: Track
) -> tuple[np.ndarray, int]:
    """Return the notes of a span as codes, (steps,) int16, and the number of its notes that were dropped.

    A note starts at the step nearest its start and ends at the step nearest its end, or where the next note starts. Of
    several notes on one step the lowest is kept, compared before they are moved by octaves. Notes that start before the
    span are left out, and not counted.

    Args:
        notes: what `notes_of` returns.
        start: tick of the span's first step.
        ticks_per_step: length of a step.
        steps: number of steps in the span.
        track: the range of pitches.
    """
    codes = np.zeros(steps, np.int16)
    begin, end = (np.floor((notes[row] - start) / ticks_per_step + 0.5).astype(np.int64) for row in (0, 1))
    inside = (begin >= 0) & (begin < steps)
    begin, end, pitch = begin[inside], end[inside], notes[2][inside]
    order = np.lexsort((pitch, begin))
    begin, keep = np.unique(begin[order], return_index=True)
    end, pitch = end[order][keep], track.into_range(pitch[order][keep])
    end = np.minimum(np.maximum(end, begin + 1), np.append(begin[1:], steps))
    for first, last, code in zip(begin.tolist(), end.tolist(), pitch.tolist(), strict=True):
        codes[first:last] = HOLD
        codes[first] = code
    return codes, int(inside.sum()) - len(begin)


def as_notes(codes: np.ndarray, ticks_per_step: float) -> Any:
    """Return codes as symusic notes, of `DEFAULT_VELOCITY`; a note ends with its last HOLD."""
    import symusic  # here and below, since it takes a tenth of a second

    codes = np.append(codes.astype(np.int64), REST)
    begins = np.flatnonzero(codes > HOLD)
    changes = np.flatnonzero(codes != HOLD)
    ends = changes[np.searchsorted(changes, begins, side="right")]
    times, until = (np.rint(steps * ticks_per_step).astype(np.int32) for steps in (begins, ends))
    velocities = np.full(len(begins), round(127 * DEFAULT_VELOCITY), np.int8)
    return symusic.Note.from_numpy(times, until - times, codes[begins].astype(np.int8), velocities)


def add_tracks(score: Any, groove: Groove, tracks: Sequence[Track], ticks_per_step: float) -> None:
    """Add the tracks of a groove to a symusic score, with the programs of `tracks`, or 0."""
    import symusic

    programs = {track.name: track.program for track in tracks}
    for name, codes in groove.tracks.items():
        melody: Any = symusic.Track(name, programs.get(name, 0), False)
        melody.notes = as_notes(codes, ticks_per_step)
        score.tracks.append(melody)


def section_name(text: str) -> str:
    """Return the section that a marker names: lower case, words joined by dashes, without a number at its end."""
    return re.sub(r"[\s:+,]+", "-", re.sub(r"[\s.\d]+$", "", text.strip().lower()))


def sections_of(midi: MidiFile, start: float, ticks_per_bar: float, bars: int) -> np.ndarray | None:
    """Return the section of each bar of a span by the markers of a file: "" before the first; `None` without markers.

    A marker is in force from the bar that it stands in, or from the next if that starts within an eighth of a bar.
    """
    markers = sorted((tick, section_name(text)) for tick, text in midi.markers)
    if not markers:
        return None
    names = [""] * bars
    for time, name in markers:
        bar = max(int((time - start) / ticks_per_bar + 1 / 8), 0)
        names[bar:] = [name] * len(names[bar:])
    return np.array(names)


def add_markers(score: Any, groove: Groove, ticks_per_bar: float) -> None:
    """Add a marker where a section begins. The end of named sections has a blank one, as empty ones are not written."""
    import symusic

    before = ""
    for bar, name in enumerate([] if groove.sections is None else groove.sections.tolist()):
        if name != before:
            score.markers.append(symusic.TextMeta(round(bar * ticks_per_bar), str(name) or " "))
        before = name

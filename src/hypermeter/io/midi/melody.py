"""What a MIDI file holds beside its drums: tracks of one note at a time, and markers that name sections."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import symusic

from hypermeter.core.groove import DEFAULT_VELOCITY, Groove
from hypermeter.core.tracks import HOLD, REST, Track


def notes_of(score: Any, track: Track) -> np.ndarray:
    """(3, N): start and end in ticks, and pitch, of the notes of the track's programs, none of them on channel 10.

    A note that never ends is not among them.
    """
    first, last = track.programs
    found = [np.zeros((3, 0), np.int64)]
    for each in score.tracks:
        if not each.is_drum and first <= each.program <= last:
            notes = each.notes.numpy()
            found.append(np.stack([notes["time"], notes["time"] + notes["duration"], notes["pitch"]]))
    return np.concatenate(found, 1)


def codes_of(
    notes: np.ndarray, start: float, ticks_per_step: float, steps: int, track: Track
) -> tuple[np.ndarray, int]:
    """The notes of a stretch as codes, (steps,) int16, and how many of its notes are not in them.

    A note goes to the nearest step and holds until the step nearest its end, or until the next note begins. Of several
    on one step the lowest stays, as that is the bass: the lowest in the file, before octaves are moved. What began
    before the stretch is left out, and not counted.
    """
    codes = np.zeros(steps, np.int16)
    begin, end = (np.floor((notes[row] - start) / ticks_per_step + 0.5).astype(np.int64) for row in (0, 1))
    inside = (begin >= 0) & (begin < steps)
    begin, end, pitch = begin[inside], end[inside], notes[2][inside]
    order = np.lexsort((pitch, begin))
    begin, keep = np.unique(begin[order], return_index=True)
    end, pitch = end[order][keep], track.into_range(pitch[order][keep])
    end = np.minimum(np.maximum(end, begin + 1), np.append(begin[1:], steps))
    for first, last, each in zip(begin.tolist(), end.tolist(), pitch.tolist(), strict=True):
        codes[first:last] = HOLD
        codes[first] = each
    return codes, int(inside.sum()) - len(begin)


def as_notes(codes: np.ndarray, ticks_per_step: float) -> Any:
    """The notes that codes tell; a note ends where its last HOLD does."""
    codes = np.append(codes.astype(np.int64), REST)
    begins = np.flatnonzero(codes > HOLD)
    goes_on = np.flatnonzero(codes != HOLD)
    ends = goes_on[np.searchsorted(goes_on, begins, side="right")]
    times, until = (np.rint(each * ticks_per_step).astype(np.int32) for each in (begins, ends))
    velocities = np.full(len(begins), round(127 * DEFAULT_VELOCITY), np.int8)
    return symusic.Note.from_numpy(times, until - times, codes[begins].astype(np.int8), velocities)


def add_tracks(score: Any, groove: Groove, tracks: Sequence[Track], ticks_per_step: float) -> None:
    """The groove's tracks, each as a track of the score with the program that ``tracks`` tells."""
    programs = {each.name: each.program for each in tracks}
    for name, codes in groove.tracks.items():
        melody: Any = symusic.Track(name, programs.get(name, 0), False)
        melody.notes = as_notes(codes, ticks_per_step)
        score.tracks.append(melody)


def section_name(text: str) -> str:
    """What a marker calls a section: in small letters, words joined by dashes, a number at its end left out."""
    return re.sub(r"[\s:+,]+", "-", re.sub(r"[\s.\d]+$", "", text.strip().lower()))


def sections_of(score: Any, start: float, ticks_per_bar: float, bars: int) -> np.ndarray | None:
    """The section of each bar of a stretch by the file's markers, "" before the first; None without markers.

    A marker is of the bar that it stands in, or of the next where that is less than an eighth of a bar away.
    """
    markers = sorted((each.time, section_name(each.text)) for each in score.markers)
    if not markers:
        return None
    names = [""] * bars
    for time, name in markers:
        bar = max(int((time - start) / ticks_per_bar + 1 / 8), 0)
        names[bar:] = [name] * len(names[bar:])
    return np.array(names)


def add_markers(score: Any, groove: Groove, ticks_per_bar: float) -> None:
    """A marker where a section begins; a blank one where it is unknown again, since an empty one is not written."""
    before = ""
    for bar, name in enumerate([] if groove.sections is None else groove.sections.tolist()):
        if name != before:
            score.markers.append(symusic.TextMeta(round(bar * ticks_per_bar), str(name) or " "))
        before = name

"""Writing grooves as MIDI files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, check_voices, load_kit
from hypermeter.core.tracks import TRACKS, Track
from hypermeter.io.midi.content import dump_score
from hypermeter.io.midi.melody import add_markers, add_tracks

WRITTEN_SUFFIXES = (".mid", ".midi")
"""Endings of the files that are written."""

TICKS_PER_QUARTER = 480
"""Resolution of the files that are written."""


def write_midi(
    groove: Groove,
    path: str | Path,
    kit: str | Path | Kit | Mapping[str, Any] | None = None,
    tracks: Sequence[Track] = tuple(TRACKS.values()),
) -> None:
    """Write a groove as a MIDI file, whole or not at all.

    It has 480 ticks a quarter, the groove's tempo and metre, drums on channel 10, each track on a channel of its own,
    and sections as markers. Times are rounded to ticks; a hit before the first step is written at tick 0. The file ends
    with the last bar, even if that is silent.

    Args:
        groove: the groove.
        path: path of the file, which is replaced if it exists.
        kit: the kit with whose pitches voices are written. Default: that of the groove.
        tracks: the programs of the groove's tracks; a track that is not among them has program 0.

    Raises:
        HypermeterError: a kit with another number of voices, a tempo or metre that MIDI cannot hold, more than 240
            steps a quarter, or a path that cannot be written.
    """
    with atomic_write(path) as temporary:
        temporary.write_bytes(to_midi_bytes(groove, kit, tracks))


def to_midi_bytes(
    groove: Groove,
    kit: str | Path | Kit | Mapping[str, Any] | None = None,
    tracks: Sequence[Track] = tuple(TRACKS.values()),
) -> bytes:
    """Return the content of the file that `write_midi` writes; its arguments and errors are the same.

    Raises:
        HypermeterError: as `write_midi`.
    """
    import symusic  # here, since it takes a tenth of a second

    kit, grid = load_kit(groove.kit if kit is None else kit), groove.grid
    check_voices(kit, groove.hits.shape[1])
    if not 3.6 <= groove.tempo_bpm <= 1e6:
        raise HypermeterError(f"groove: tempo_bpm is {groove.tempo_bpm:g}, expected 3.6 to 1e6 for MIDI")
    if grid.beats_per_bar > 255:
        raise HypermeterError(f"groove: metre {grid.metre}, MIDI holds at most 255 beats a bar")
    ticks_per_step = TICKS_PER_QUARTER / grid.steps_per_quarter
    if ticks_per_step < 2:
        raise HypermeterError(f"groove: {grid.steps_per_quarter:g} steps a quarter, MIDI is written with at most 240")
    steps, columns = np.nonzero(groove.hits)
    own = steps + groove.shift
    low, high = np.ceil((own - 0.5) * ticks_per_step), np.ceil((own + 0.5) * ticks_per_step) - 1
    ticks = np.rint((own + groove.offset[steps, columns].astype(np.float64)) * ticks_per_step)
    ticks = np.maximum(np.clip(ticks, low, high), 0).astype(np.int32)
    velocities = np.clip(np.rint(groove.velocity[steps, columns] * 127), 1, 127).astype(np.int8)
    durations = np.empty(len(ticks), np.int32)
    for column in range(kit.num_voices):  # A note ends before the next of its pitch starts.
        is_voice = columns == column
        durations[is_voice] = np.clip(np.diff(ticks[is_voice], append=2**30), 1, max(int(ticks_per_step / 2), 1))
    pitches = np.array([voice.write for voice in kit.voices], np.int8)[columns]
    track: Any = symusic.Track("drums", 0, True)  # The type annotations of symusic lack some attributes.
    track.notes = symusic.Note.from_numpy(ticks, durations, pitches, velocities)
    score: Any = symusic.Score(TICKS_PER_QUARTER)
    score.tempos.append(symusic.Tempo(0, groove.tempo_bpm))
    score.time_signatures.append(symusic.TimeSignature(0, grid.beats_per_bar, grid.beat_unit))
    score.tracks.append(track)
    add_tracks(score, groove, tracks, ticks_per_step)
    add_markers(score, groove, ticks_per_step * grid.steps_per_bar)
    return dump_score(score, round(groove.num_bars * grid.steps_per_bar * ticks_per_step))

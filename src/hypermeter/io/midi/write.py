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
from hypermeter.io.midi.chokes import with_chokes
from hypermeter.io.midi.content import PEDAL, dump_score
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
    and sections as markers. Times are rounded to ticks; a hit before the first step is written at tick 0, and of two
    strokes of a voice at one tick the second is written a tick later. The openness of the hi-hat is written as
    controller 4 before the hit that it changes at, and chokes as polyphonic aftertouch. The file ends with the last
    bar, even if that is silent.

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
    groove: Groove | Sequence[Groove],
    kit: str | Path | Kit | Mapping[str, Any] | None = None,
    tracks: Sequence[Track] = tuple(TRACKS.values()),
) -> bytes:
    """Return the content of the file that `write_midi` writes; its arguments and errors are the same.

    Several grooves are written one after another, each in its metre and tempo, with the kit of the first.

    Raises:
        HypermeterError: as `write_midi`.
    """
    grooves = [groove] if isinstance(groove, Groove) else list(groove)
    kit = load_kit(grooves[0].kit if kit is None else kit)
    score, start, chokes = None, 0, []
    for part in grooves:
        part_score, length, part_chokes = _score_of(part, kit, tracks)
        if score is None:
            score = part_score
        else:
            part_score.shift_time(start, inplace=True)
            for name in ("tempos", "time_signatures", "markers"):
                getattr(score, name).extend(getattr(part_score, name))
            for track, part_track in zip(score.tracks, part_score.tracks, strict=True):
                track.notes.extend(part_track.notes)
                track.controls.extend(part_track.controls)
        chokes += [(tick + start, pitch) for tick, pitch in part_chokes]
        start += length
    content = dump_score(score, start)
    return with_chokes(content, *map(list, zip(*chokes, strict=True))) if chokes else content


def _score_of(groove: Groove, kit: Kit, tracks: Sequence[Track]) -> tuple[Any, int, list[tuple[int, int]]]:
    """Return the score of a groove, its length in ticks, and tick and pitch of each choke."""
    import symusic  # here, since it takes a tenth of a second

    grid = groove.grid
    check_voices(kit, groove.hits.shape[1])
    if not 3.6 <= groove.tempo_bpm <= 1e6:
        raise HypermeterError(f"groove: tempo_bpm is {groove.tempo_bpm:g}, expected 3.6 to 1e6 for MIDI")
    if grid.beats_per_bar > 255:
        raise HypermeterError(f"groove: metre {grid.metre}, MIDI holds at most 255 beats a bar")
    ticks_per_step = TICKS_PER_QUARTER / grid.steps_per_quarter
    if ticks_per_step < 2:
        raise HypermeterError(f"groove: {grid.steps_per_quarter:g} steps a quarter, MIDI is written with at most 240")
    played = groove.played
    ticks = _ticks_of(played.step, played.voice, played.offset, groove.shift, ticks_per_step)
    order = np.argsort(ticks, kind="stable")
    ticks, columns = ticks[order], played.voice[order]
    velocities = np.clip(np.rint(played.velocity[order] * 127), 1, 127).astype(np.int8)
    durations = np.empty(len(ticks), np.int32)
    for column in range(kit.num_voices):  # A note ends before the next of its pitch starts.
        is_voice = columns == column
        durations[is_voice] = np.clip(np.diff(ticks[is_voice], append=2**30), 1, max(int(ticks_per_step / 2), 1))
    pitches = np.array([voice.write for voice in kit.voices], np.int8)
    track: Any = symusic.Track("drums", 0, True)  # The type annotations of symusic lack some attributes.
    track.notes = symusic.Note.from_numpy(ticks, durations, pitches[columns], velocities)
    track.controls = _pedal(ticks, played.openness[order])
    score: Any = symusic.Score(TICKS_PER_QUARTER)
    score.tempos.append(symusic.Tempo(0, groove.tempo_bpm))
    score.time_signatures.append(symusic.TimeSignature(0, grid.beats_per_bar, grid.beat_unit))
    score.tracks.append(track)
    add_tracks(score, groove, tracks, ticks_per_step)
    add_markers(score, groove, ticks_per_step * grid.steps_per_bar)
    chokes = groove.chokes
    ticks = _ticks_of(chokes.step, chokes.voice, chokes.offset, groove.shift, ticks_per_step)
    choked = list(zip(ticks.tolist(), pitches[chokes.voice].tolist(), strict=True))
    return score, round(groove.num_bars * grid.steps_per_bar * ticks_per_step), choked


def _ticks_of(
    steps: np.ndarray, columns: np.ndarray, offsets: np.ndarray, shift: float, ticks_per_step: float
) -> np.ndarray:
    """Return ticks (N,) int32 in the cells of strokes: those of a voice are different, as far as its cells have ticks.

    Args:
        steps, columns, offsets: (N,) of the strokes, those of a voice in order.
    """
    own = steps + shift
    low, high = np.ceil((own - 0.5) * ticks_per_step), np.ceil((own + 0.5) * ticks_per_step) - 1
    ticks = np.maximum(np.clip(np.rint((own + offsets.astype(np.float64)) * ticks_per_step), low, high), 0)
    for column in np.unique(columns):
        is_voice = columns == column
        rank = np.arange(np.count_nonzero(is_voice))
        later = np.minimum(np.maximum.accumulate(ticks[is_voice] - rank) + rank, high[is_voice])
        ticks[is_voice] = np.minimum.accumulate((later - rank)[::-1])[::-1] + rank
    return np.maximum(ticks, 0).astype(np.int32)


def _pedal(ticks: np.ndarray, openness: np.ndarray) -> Any:
    """Return the changes of controller 4, before the hits (N,) that have an openness, in order."""
    import symusic

    is_known = ~np.isnan(openness)
    times, values = ticks[is_known], np.rint((1 - openness[is_known]) * 127).astype(np.uint8)
    changes = np.append(True, values[1:] != values[:-1])[: len(values)]
    number = np.full(np.count_nonzero(changes), PEDAL, np.uint8)
    return symusic.ControlChange.from_numpy(times[changes], number, values[changes])

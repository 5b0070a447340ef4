"""Recorded input: a MIDI file of what was played on an input, which is listened to again in place of a port."""

from collections.abc import Sequence
from pathlib import Path

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.share.live.hearing import INPUT_TICKS_PER_QUARTER, SYSTEM

Recorded = list[tuple[int, tuple[int, ...]]]
"""Position in ticks from the first beat, and bytes, of each message."""


def read_input(path: Path) -> Recorded:
    """Return the messages of a MIDI file, of all its tracks and channels, by their beats; its tempo has no effect.

    Raises:
        HypermeterError: a file that cannot be read, or has its times in seconds.
    """
    import mido

    try:
        midi = mido.MidiFile(path)
    except OSError as error:
        raise HypermeterError(f"{path}: cannot be read ({error.strerror or 'no MIDI file'}); check the path") from error
    except Exception as error:  # mido raises what its parts raise
        raise HypermeterError(f"{path}: no MIDI file ({error}); expected one, or the name of a port") from error
    if midi.ticks_per_beat <= 0 or midi.ticks_per_beat >= 1 << 15:
        raise HypermeterError(f"{path}: times in seconds, expected beats; export it with a tempo")
    ticks, recorded = 0, []
    for message in mido.merge_tracks(midi.tracks):
        ticks += message.time
        if not message.is_meta and (content := tuple(message.bytes()))[0] < SYSTEM:
            recorded.append((round(ticks * INPUT_TICKS_PER_QUARTER / midi.ticks_per_beat), content))
    return recorded


def write_input(path: Path, recorded: Sequence[tuple[int, tuple[int, ...]]], grid: Grid, tempo_bpm: float) -> None:
    """Write recorded messages as a MIDI file; `read_input` reads the same positions and bytes from it.

    Raises:
        HypermeterError: a file that cannot be written.
    """
    import mido

    track = mido.MidiTrack()
    track.append(mido.MetaMessage("time_signature", numerator=grid.beats_per_bar, denominator=grid.beat_unit))
    track.append(mido.MetaMessage("set_tempo", tempo=round(6e7 / tempo_bpm)))
    before = 0
    for ticks, content in sorted(recorded, key=lambda event: event[0]):
        track.append(mido.Message.from_bytes(content, time=ticks - before))
        before = ticks
    with atomic_write(path) as temporary:
        mido.MidiFile(type=0, ticks_per_beat=INPUT_TICKS_PER_QUARTER, tracks=[track]).save(temporary)

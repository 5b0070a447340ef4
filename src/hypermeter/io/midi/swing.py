"""Swing of MIDI files."""

from typing import Any

import numpy as np
import symusic

from hypermeter.core.swing import apply_swing
from hypermeter.io.midi.content import dump_score, load_score


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
    score, _, end = load_score(content, where)
    ticks_per_step = score.ticks_per_quarter / steps_per_quarter

    def swung(ticks: np.ndarray) -> np.ndarray:
        return np.rint(apply_swing(ticks / ticks_per_step, swing) * ticks_per_step).astype(np.int32)

    for track in score.tracks:
        notes: Any = track.notes.numpy()
        begin, stop = swung(notes["time"]), swung(notes["time"] + notes["duration"])
        track.notes = symusic.Note.from_numpy(begin, np.maximum(stop - begin, 1), notes["pitch"], notes["velocity"])
    return dump_score(score, end)

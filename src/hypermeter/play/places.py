"""What the place of a step is: in its beat, in its bar, in its phrase, and on which grid.

A model that is told the place by these features, and not by a table of the steps of one bar, plays every metre: what it
learns of the beats of one serves the others. Training and playing share this module.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid

PULSES = 8
"""Pulses of a bar that are told apart, counted from its start and from its end; further ones are as the last."""

BARS = 4
"""Bars of a phrase that are told apart, likewise."""

BEAT_HARMONICS, BAR_HARMONICS = (1, 2, 3, 4, 6), (1, 2, 3, 4, 5, 6, 8)
"""Waves in a pulse and in a bar whose sine and cosine at the step are features."""

NOTE_LENGTHS = (2.0, 1.0, 0.5, 0.25)
"""Lengths, in quarter notes from the bar line, of further waves: they are the same in metres of any beat."""

STEPS_PER_QUARTER = (3.0, 4.0, 6.0)
"""Grids that are told apart; others are told by their number of steps alone."""


def table_error(grid: Grid) -> HypermeterError:
    """Return the error of a model whose places are a table, asked for another grid than its own."""
    return HypermeterError(
        f"model: its places are a table of one grid, which does not serve {grid.metre} at {grid.steps_per_beat} steps a"
        " beat; choose a model that plays every metre, as groove"
    )


def check_look_back(grid: Grid, ahead: int) -> None:
    """Raise if a bar of the grid has fewer than the ``ahead`` steps that a model reads of earlier bars.

    Raises:
        HypermeterError: it has.
    """
    if grid.steps_per_bar < ahead:
        raise HypermeterError(f"model: a bar of {grid.steps_per_bar} steps, expected at least {ahead}")


def is_compound(grid: Grid) -> bool:
    """Return whether the pulse of the metre is three of its beats, as in 6/8, 9/8 and 12/8."""
    return grid.beat_unit >= 8 and grid.beats_per_bar % 3 == 0 and grid.beats_per_bar > 3


def steps_per_pulse(grid: Grid) -> int:
    """Return the steps of a pulse: of a beat, or of three in a compound metre."""
    return grid.steps_per_beat * (3 if is_compound(grid) else 1)


@lru_cache(maxsize=64)
def place_features(grid: Grid) -> Float[np.ndarray, "steps features"]:
    """Return the features of each step of a phrase, float32, each in [-1, 1].

    They are waves in the pulse, in the bar and in lengths of notes from the bar line; the number of the pulse in the
    bar from its start and its end, and of the bar in the phrase likewise; whether a step begins a bar, a pulse, a beat;
    and the grid: its steps per quarter note, its pulses per bar, and whether it is compound. Read-only.
    """
    steps, per_bar, pulse = np.arange(grid.steps_per_phrase), grid.steps_per_bar, steps_per_pulse(grid)
    step, bar = steps % per_bar, steps // per_bar
    num_pulses, per_quarter = per_bar // pulse, grid.steps_per_quarter
    turns = [step / pulse * harmonic for harmonic in BEAT_HARMONICS]
    turns += [step / per_bar * harmonic for harmonic in BAR_HARMONICS]
    turns += [step / per_quarter / length for length in NOTE_LENGTHS]
    angles = 2 * np.pi * np.stack(turns, 1)
    numbers = [
        *_one_hot(step // pulse, num_pulses, PULSES),
        *_one_hot(bar, grid.bars_per_phrase, BARS),
        np.eye(PULSES)[np.full(len(steps), min(num_pulses, PULSES) - 1)],
        np.stack([step == 0, step % pulse == 0, step % grid.steps_per_beat == 0], 1),
        np.broadcast_to([per_quarter == known for known in STEPS_PER_QUARTER], (len(steps), len(STEPS_PER_QUARTER))),
        np.broadcast_to([is_compound(grid), min(per_quarter / 12, 1), min(per_bar / 32, 1)], (len(steps), 3)),
    ]
    features = np.concatenate([np.cos(angles), np.sin(angles), *numbers], 1).astype(np.float32)
    features.flags.writeable = False
    return features


def _one_hot(number: np.ndarray, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers, counted from the first and from the last of ``count``, as rows of zeros with a one."""
    eye = np.eye(size)
    return eye[np.minimum(number, size - 1)], eye[np.minimum(count - 1 - number, size - 1)]


def nearest_steps(before: Grid, after: Grid) -> np.ndarray:
    """Return, for each step of a bar of ``after``, the step of a bar of ``before`` at its place, (steps,) int64.

    Places are compared in quarter notes from the bar line. A bar that is longer than the one before hears that bar
    again from its beginning.
    """
    step = np.arange(after.steps_per_bar)
    nearest = np.floor(step * before.steps_per_quarter / after.steps_per_quarter + 0.5).astype(np.int64)
    return nearest % before.steps_per_bar


@lru_cache(maxsize=64)
def regridding(before: Grid, after: Grid) -> Float[np.ndarray, "new old"]:
    """Return the 0/1 matrix from the hits of a bar of ``before`` to those of a bar of ``after``.

    A hit goes to the nearest step at its place in quarter notes from the bar line. A bar that is longer than the one
    before hears that bar again from its beginning; what is beyond the end of a shorter one is lost.
    """
    matrix = np.zeros((after.steps_per_bar, before.steps_per_bar), np.float32)
    ratio = after.steps_per_quarter / before.steps_per_quarter
    for step in range(before.steps_per_bar):
        for place in range(step, int(after.steps_per_bar / ratio) + 1, before.steps_per_bar):
            new = int(place * ratio + 0.5)
            if new < after.steps_per_bar:
                matrix[new, step] = 1
    matrix.flags.writeable = False
    return matrix


NUM_FEATURES = place_features(Grid()).shape[1]
"""Features of a step."""

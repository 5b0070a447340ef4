"""The ``humanize`` command: MIDI in, the same MIDI with a drummer's velocity and timing out."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from hypermeter.core.limits import MOST_SEED
from hypermeter.play.request import BOUNDS, SamplingOptions, check

if TYPE_CHECKING:
    import numpy as np

    from hypermeter.core.groove import Groove
    from hypermeter.core.kit import Kit
    from hypermeter.io.midi import Piece


def humanize_command(
    file: Annotated[Path, tyro.conf.arg(metavar="IN")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    model: str = "groove",
    amount: float = 1.0,
    timing: float = 1.0,
    velocity: float = 1.0,
    temperature: float = SamplingOptions.temperature,
    seed: int = 0,
) -> Path:
    """Give the drums of a MIDI file a drummer's velocity and timing; all else in it stays.

    Args:
        file: MIDI file in the model's metre, of any length. Where its tempo changes, the drummer begins anew.
        out: MIDI file to write.
        model: a shipped model's name, a checkpoint, or the folder of a training run.
        amount: from 0, as in the file, to 1, all the model's.
        timing: likewise, of timing alone; it and amount are multiplied.
        velocity: likewise, of velocity alone.
        temperature: 1 plays as learnt, less is steadier, more is wilder, 0 is always the middle of what is likely.
        seed: the same seed gives the same music.

    Raises:
        HypermeterError: a file or a number that does not fit, a model that plays hits only.
    """
    from hypermeter.core.files import atomic_write, check_out
    from hypermeter.io.midi import MIDI_SUFFIXES, parse_midi
    from hypermeter.io.midi.content import load_score
    from hypermeter.io.midi.events import replay_drums
    from hypermeter.io.midi.read import read_content
    from hypermeter.play.humanize import check_expression, humanize
    from hypermeter.play.loading import kit_of, load_player

    check_out(out, MIDI_SUFFIXES, [file])
    for name, value in (("amount", amount), ("timing", timing), ("velocity", velocity)):
        BOUNDS["amount"].check(name, value)
    for name, value in (("temperature", temperature), ("seed", seed)):
        check(name, value)
    drummer = replace(load_player(model), name=model)
    kit = kit_of(drummer)
    check_expression(drummer)
    content = read_content(file)
    pieces, left_out = parse_midi(content, str(file), kit, drummer.grid)
    for reason in left_out:
        print(f"{file}: left as it is: {reason}")
    if unmapped := sum(sum(piece.unmapped.values()) for piece in pieces):
        print(f"{file}: left as they are: {unmapped} hits that no voice of kit {kit.name} reads")
    options: dict[str, Any] = {"amount": amount, "timing": timing, "velocity": velocity, "temperature": temperature}
    played = [
        humanize(piece.groove, drummer, seed=(seed + number) % (MOST_SEED + 1), **options)
        for number, piece in enumerate(pieces)
    ]
    score, *_ = load_score(content, str(file))

    def play(ticks: "np.ndarray", pitches: "np.ndarray", velocities: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
        for piece, groove in zip(pieces, played, strict=True):
            ticks, velocities = _play(ticks, pitches, velocities, piece, groove, kit, score.ticks_per_quarter)
        return ticks, velocities

    replayed = replay_drums(content, str(file), play)
    with atomic_write(out) as temporary:
        temporary.write_bytes(replayed)
    return out


def _play(
    ticks: "np.ndarray",
    pitches: "np.ndarray",
    velocities: "np.ndarray",
    piece: "Piece",
    played: "Groove",
    kit: "Kit",
    ticks_per_quarter: int,
) -> "tuple[np.ndarray, np.ndarray]":
    """Ticks and velocities (N,) of a track's notes, changed by what changed in their cells of the piece.

    Of several notes in a cell, as in a flam, one is in the groove, and the others go along with it.
    """
    import numpy as np

    before = piece.groove
    ticks_per_step = ticks_per_quarter / before.grid.steps_per_quarter
    steps = np.floor((ticks - piece.start_tick) / ticks_per_step + 0.5).astype(np.int64)
    columns = kit.columns[pitches]
    at = np.flatnonzero((steps >= 0) & (steps < len(before)) & (columns >= 0))
    at = at[before.hits[steps[at], columns[at]] > 0]
    cells = steps[at], columns[at]
    later = (played.offset[cells].astype(np.float64) - before.offset[cells]) * ticks_per_step
    low, high = (np.ceil(piece.start_tick + (steps[at] + half) * ticks_per_step) for half in (-0.5, 0.5))
    moved = np.rint(ticks[at] + later).clip(np.maximum(low, 0), high - 1)
    louder = played.velocity[cells] / before.velocity[cells]
    ticks, velocities = ticks.copy(), velocities.copy()
    ticks[at] = np.where(later == 0, ticks[at], moved)
    velocities[at] = np.rint(velocities[at] * louder).clip(1, 127)
    return ticks, velocities

"""The `humanize` command: MIDI in, the same MIDI with a drummer's velocity and timing out."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from hypermeter.cli.results import free_path, open_output
from hypermeter.cli.takes import refuse_with_variations, write_takes
from hypermeter.core.errors import HypermeterError
from hypermeter.core.limits import MAX_SEED
from hypermeter.core.read_options import ReadOptions
from hypermeter.play.request import BOUNDS, SamplingOptions, check

if TYPE_CHECKING:
    import numpy as np

    from hypermeter.core.groove import Groove
    from hypermeter.core.kit import Kit
    from hypermeter.io.midi import Piece


def humanize_command(
    file: Annotated[Path, tyro.conf.arg(metavar="IN")],
    out: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[OUT]")] = None,
    model: str = "groove",
    amount: float = 1.0,
    timing: float = 1.0,
    velocity: float = 1.0,
    swing: float = 0.5,
    temperature: float = SamplingOptions.temperature,
    seed: int = 0,
    variations: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    options: Annotated[ReadOptions, tyro.conf.arg(name="midi")] = ReadOptions(),
) -> Path | None:
    """Give the drums of a MIDI file a drummer's velocity and timing; all else in it stays.

    Args:
        file: MIDI file in the model's metre, or - for standard input. The model begins anew where the tempo changes.
        out: MIDI file to write, or - for standard output; by default beat_humanized.mid beside beat.mid.
        model: a shipped model, a checkpoint, or a training run.
        amount: from 0, as in the file, to 1, as the model plays.
        timing: the same for timing alone; multiplied by the amount.
        velocity: the same for velocity alone; multiplied by the amount.
        swing: where each second step begins: .5 is straight, .67 triplets.
        temperature: 1 as learnt, less is steadier, more is wilder, 0 takes the middle of what is likely.
        seed: the same seed gives the same music.
        variations: so many takes that differ, in numbered files.
        options: how the drums are found and placed on the grid.

    Raises:
        HypermeterError: a file or a number that does not fit, or a model that plays hits only.
    """
    from hypermeter.io.midi import MIDI_SUFFIXES, WRITTEN_SUFFIXES

    out = free_path(file, "humanized", variations) if out is None else out
    same = [suffix for suffix in MIDI_SUFFIXES if suffix == file.suffix.lower()]  # What else is in it stays.
    refuse_with_variations(variations, out)
    with open_output(out, (*WRITTEN_SUFFIXES, *same), [file]) as write:
        from hypermeter.cli.material import advise_for_model
        from hypermeter.core.kit import load_kit
        from hypermeter.io.midi.chunks import chunks_of
        from hypermeter.io.midi.read import parse_pieces, read_content
        from hypermeter.io.midi.replay import replay_drums
        from hypermeter.play.humanize import check_expression, humanize
        from hypermeter.play.loading import kit_of, load_player

        for name, value in (("amount", amount), ("timing", timing), ("velocity", velocity)):
            BOUNDS["amount"].check(name, value)
        for name, value in (("temperature", temperature), ("seed", seed), ("swing", swing)):
            check(name, value)
        player = replace(load_player(model), name=model)
        model_kit = kit_of(player)
        check_expression(player)
        content = read_content(file)
        try:
            reading = parse_pieces(content, str(file), model_kit, player.grid_choice, options=options)
        except HypermeterError as error:
            raise HypermeterError(advise_for_model(str(error), player)) from None
        pieces, kit = reading.pieces, load_kit(reading.pieces[0].groove.kit)
        lines = [
            *reading.remarks,
            *(f"left as it is: {advise_for_model(reason, player)}" for reason in reading.left_out),
        ]
        for line in lines:
            print(f"{file}: {line}")
        if unmapped := sum(sum(piece.unmapped.values()) for piece in pieces):
            print(f"{file}: left as they are: {unmapped} hits that no voice of kit {kit.name} reads")
        shares: dict[str, Any] = {"amount": amount, "timing": timing, "velocity": velocity, "temperature": temperature}
        ticks_per_quarter = chunks_of(content, str(file)).ticks_per_quarter

        @cache
        def played(seed: int) -> "list[Groove]":
            seeds = [(seed + number) % (MAX_SEED + 1) for number in range(len(pieces))]
            return [
                humanize(piece.groove, player, seed=one, **shares) for piece, one in zip(pieces, seeds, strict=True)
            ]

        def midi_of(seed: int) -> bytes:
            def play(ticks: Any, pitches: Any, velocities: Any) -> "tuple[np.ndarray, np.ndarray]":
                for piece, groove in zip(pieces, played(seed), strict=True):
                    ticks, velocities = _play(ticks, pitches, velocities, piece, groove, kit, ticks_per_quarter, swing)
                return ticks, velocities

            return replay_drums(content, str(file), play, options)

        if variations is not None:  # Takes are compared by their longest piece.
            longest = max(range(len(pieces)), key=lambda number: len(pieces[number].groove))
            arguments = variations, seed, out, [file], True
            write_takes(lambda one: played(one)[longest], lambda one, _: midi_of(one), *arguments)
            return None
        write(midi_of(seed))
    return None if str(out) == "-" else out


def _play(
    ticks: "np.ndarray",
    pitches: "np.ndarray",
    velocities: "np.ndarray",
    piece: "Piece",
    played: "Groove",
    kit: "Kit",
    ticks_per_quarter: int,
    swing: float,
) -> "tuple[np.ndarray, np.ndarray]":
    """Return ticks and velocities (N,) of a track's notes, changed by what changed in their cells of the piece.

    Of several notes in a cell, as in a flam, one is in the groove, and the others move with it.
    """
    import numpy as np

    from hypermeter.core.swing import apply_swing

    before = piece.groove
    ticks_per_step = ticks_per_quarter / before.grid.steps_per_quarter
    start = piece.start_tick + before.shift * ticks_per_step
    steps = np.floor((ticks - start) / ticks_per_step + 0.5).astype(np.int64)
    columns = kit.columns[pitches]
    inside = np.flatnonzero((steps >= 0) & (steps < len(before)))
    at = inside[columns[inside] >= 0]
    at = at[before.hits[steps[at], columns[at]] > 0]
    cells = steps[at], columns[at]
    delay = (played.offset[cells].astype(np.float64) - before.offset[cells]) * ticks_per_step
    low, high = (np.ceil(start + (steps[at] + half) * ticks_per_step) for half in (-0.5, 0.5))
    moved = np.rint(ticks[at] + delay).clip(np.maximum(low, 0), high - 1)
    gain = played.velocity[cells] / before.velocity[cells]
    ticks, velocities = ticks.copy(), velocities.copy()
    ticks[at] = np.where(delay == 0, ticks[at], moved)
    velocities[at] = np.rint(velocities[at] * gain).clip(1, 127)
    if swing != 0.5:
        positions = apply_swing((ticks[inside] - piece.start_tick) / ticks_per_step, swing)
        ticks[inside] = np.rint(piece.start_tick + positions * ticks_per_step).clip(0)
    return ticks, velocities

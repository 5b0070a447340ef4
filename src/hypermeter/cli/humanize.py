"""The `humanize` command: MIDI in, the same MIDI with a drummer's velocity and timing out."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    like: Annotated[str | None, tyro.conf.arg(metavar="TAKE")] = None,
    keep: Annotated[Literal["timing", "velocity"] | None, tyro.conf.arg(metavar="WHAT")] = None,
    push: Annotated[dict[str, str] | None, tyro.conf.arg(metavar="V MS ...")] = None,
    lay_back: Annotated[dict[str, str] | None, tyro.conf.arg(metavar="V MS ...")] = None,
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
        timing: the same for timing alone; multiplied by the amount. With --like, how much of the take's timing the
            result has, from 0, as the model plays of itself, to 1.
        velocity: the same for velocity alone.
        swing: where each second step begins: .5 is straight, .67 triplets.
        like: play with the feel of another take: a MIDI file, or a feel of the package, as laid-back or drummer-7
            (hypermeter feels lists them).
        keep: timing or velocity, which stays as in the file.
        push: voices that come earlier, and by how much: --push snare 8ms closed_hat 4ms.
        lay_back: the same for voices that come later.
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
    inputs = [file, None if like is None else Path(like)]
    with open_output(out, (*WRITTEN_SUFFIXES, *same), inputs) as write:
        from hypermeter.cli.feels import distance_of, pushes_of, read_feel
        from hypermeter.cli.material import advise_for_model
        from hypermeter.core.kit import load_kit
        from hypermeter.io.midi.chunks import chunks_of
        from hypermeter.io.midi.read import parse_pieces, read_content
        from hypermeter.io.midi.replay import replay_drums
        from hypermeter.play.humanize import check_expression, has_common_voice, humanize
        from hypermeter.play.loading import kit_of, load_player

        for name, value in (("amount", amount), ("timing", timing), ("velocity", velocity)):
            BOUNDS["amount"].check(name, value)
        for name, value in (("temperature", temperature), ("seed", seed), ("swing", swing)):
            check(name, value)
        player = replace(load_player(model), name=model)
        model_kit = kit_of(player)
        check_expression(player)
        early = pushes_of(push, lay_back)
        feel = None if like is None else read_feel(like, player, model_kit)
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
        shares |= {"like": feel, "keep": () if keep is None else (keep,), "push": early}
        common = [feel is None or has_common_voice(feel, piece.groove) for piece in pieces]
        # Of several stretches, one without a voice of the take is as the model plays it.
        feelings: list[dict[str, Any]] = [
            {} if is_common or not any(common) else {"timing": 0.0, "velocity": 0.0} for is_common in common
        ]
        ticks_per_quarter = chunks_of(content, str(file)).ticks_per_quarter

        @cache
        def played(seed: int) -> "list[Groove]":
            seeds = [(seed + number) % (MAX_SEED + 1) for number in range(len(pieces))]
            return [
                humanize(piece.groove, player, seed=one, **shares | feeling)
                for piece, one, feeling in zip(pieces, seeds, feelings, strict=True)
            ]

        def midi_of(seed: int) -> bytes:
            def play(ticks: Any, pitches: Any, velocities: Any) -> "tuple[np.ndarray, np.ndarray]":
                for piece, groove in zip(pieces, played(seed), strict=True):
                    ticks, velocities = _play(ticks, pitches, velocities, piece, groove, kit, ticks_per_quarter, swing)
                return ticks, velocities

            return replay_drums(content, str(file), play, options)

        if variations is not None:  # Takes are compared by their longest piece.
            longest = max(range(len(pieces)), key=lambda number: len(pieces[number].groove))
            arguments = variations, seed, out, inputs, True
            write_takes(lambda one: played(one)[longest], lambda one, _: midi_of(one), *arguments)
            return None
        if feel is not None and feel.has_velocity and feel.has_timing:
            longest = max(range(len(pieces)), key=lambda number: len(pieces[number].groove))
            before, after = (distance_of(feel, groove) for groove in (pieces[longest].groove, played(seed)[longest]))
            print(f"distance from the feel of {feel.name}: {before} before, {after} after (1: two drummers)")
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
    start, later = (piece.start_tick + groove.shift * ticks_per_step for groove in (before, played))
    steps = np.floor((ticks - start) / ticks_per_step + 0.5).astype(np.int64)
    columns = kit.columns[pitches]
    inside = np.flatnonzero((steps >= 0) & (steps < len(before)))
    at = inside[columns[inside] >= 0]
    at = at[before.hits[steps[at], columns[at]] > 0]
    cells = steps[at], columns[at]
    delay = (played.offset[cells].astype(np.float64) - before.offset[cells]) * ticks_per_step
    delay += later - start
    low, high = (np.ceil(later + (steps[at] + half) * ticks_per_step) for half in (-0.5, 0.5))
    moved = np.rint(ticks[at] + delay).clip(np.maximum(low, 0), high - 1)
    gain = played.velocity[cells] / before.velocity[cells]
    ticks, velocities = ticks.copy(), velocities.copy()
    ticks[at] = np.where(delay == 0, ticks[at], moved)
    velocities[at] = np.rint(velocities[at] * gain).clip(1, 127)
    if swing != 0.5:
        positions = apply_swing((ticks[inside] - piece.start_tick) / ticks_per_step, swing)
        ticks[inside] = np.rint(piece.start_tick + positions * ticks_per_step).clip(0)
    return ticks, velocities

"""The `follow` command: a rhythm in MIDI in, drums that follow it out."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from hypermeter.cli.options import DEFAULT_PLAN, DEFAULT_SAMPLING, PlanArguments, SamplingArguments
from hypermeter.cli.results import free_path, open_output
from hypermeter.cli.takes import refuse_with_variations, write_takes
from hypermeter.core.errors import HypermeterError
from hypermeter.core.read_options import ReadOptions, TempoMap
from hypermeter.play.request import Between, FollowOptions, InfillOptions, Way, check

if TYPE_CHECKING:
    from hypermeter.core.groove import Groove


@dataclass(frozen=True)
class RhythmArguments:
    """Which notes of the file are the rhythm; found where one part alone is, or one that is no drums, or one bass.

    Args:
        track: name or number of the track.
        channel: MIDI channel, 1 to 16.
        program: General MIDI program, 1 to 128; 33 to 40 are basses.
        tempo_map: keep needs one tempo; flatten follows the beats.
    """

    track: str | None = None
    channel: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    program: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    tempo_map: Annotated[TempoMap, tyro.conf.arg(metavar="MAP")] = "keep"


@dataclass(frozen=True)
class FollowArguments:
    """How drums answer taps, and what stays.

    Args:
        answer: voices that answer taps: names, loud (kick, snare, toms, crash), all.
        between: the same without a tap: silent (taps on one pitch), or free.
        accent: velocity, 0 to 1, that a loud voice answers.
        touch: whether velocity and timing of taps count.
        way: exact, or learnt by a model that was trained to follow.
        lock: MIDI file whose voices stay.
        keep: voices of --lock that stay; all in it.
        particles: candidates that are weighed by the rhythm.
        draws: draws on whose hits to agree: nearer to a drummer's answer than one.
    """

    answer: Annotated[tuple[str, ...], tyro.conf.arg(metavar="V ..")] = tuple(FollowOptions.answer)
    between: Annotated[Between | None, tyro.conf.arg(metavar="HOW")] = None
    accent: Annotated[float, tyro.conf.arg(metavar="X")] = FollowOptions.accent
    touch: bool = FollowOptions.touch
    way: Annotated[Way, tyro.conf.arg(metavar="WAY")] = FollowOptions.way
    lock: Path | None = None
    keep: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="V ...")] = None
    particles: Annotated[int, tyro.conf.arg(metavar="N")] = InfillOptions.particles
    draws: Annotated[int, tyro.conf.arg(metavar="N")] = FollowOptions.draws


def follow_command(
    file: Annotated[Path, tyro.conf.arg(metavar="IN")],
    out: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[OUT]")] = None,
    model: str = "groove",
    metre: str | None = None,
    grid: Annotated[Literal["straight", "triplets"] | None, tyro.conf.arg(metavar="KIND")] = None,
    expression: bool = True,
    picture: bool = True,
    variations: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    rhythm: RhythmArguments = RhythmArguments(),
    following: FollowArguments = FollowArguments(),
    sampling: SamplingArguments = DEFAULT_SAMPLING,
    plan: PlanArguments = DEFAULT_PLAN,
) -> Path | None:
    """Write drums that follow a rhythm: taps, a bass, a guitar, a melody.

    Args:
        file: MIDI file with the rhythm, or - for standard input.
        out: MIDI file to write, or - for standard output; else taps_followed.mid.
        model: a shipped model, a checkpoint or a run.
        metre: as 6/8; else of the file.
        grid: straight or triplets; else what fits the file.
        expression: whether hits have velocity and timing.
        picture: whether to draw the result, as .svg.
        variations: so many takes that differ, in numbered files.
        rhythm: which notes of the file are the rhythm.
        following: how drums answer it, and what stays.
        sampling: how steps are sampled.
        plan: what the bars are to be, for a model that was trained with labels.

    Raises:
        HypermeterError: a file, a voice or a number that does not fit.
    """
    from hypermeter.io.midi import WRITTEN_SUFFIXES

    out = free_path(file, "followed", variations) if out is None else out
    refuse_with_variations(variations, out)
    inputs = [file, following.lock, *(Path(text) for text in (plan.density, plan.offbeat) if text is not None)]
    with open_output(out, WRITTEN_SUFFIXES, inputs) as write:
        from hypermeter.cli.material import (
            advise_for_model,
            columns_named,
            in_one_tempo,
            locked_pattern,
            name_planned,
            on_grid_of,
            read_groove,
            tell_sample_size,
        )
        from hypermeter.core.grid import GridChoice
        from hypermeter.io.ascii import ascii_grid
        from hypermeter.io.midi import to_midi_bytes
        from hypermeter.io.midi.taps import read_taps
        from hypermeter.play.follow import answering_voices, follow_groove
        from hypermeter.play.loading import kit_of, load_player

        steps, infilling = sampling.options(plan.guidance), InfillOptions(following.particles)
        for name in ("accent", "draws"):
            check(name, getattr(following, name))
        if following.keep is not None and (following.lock is None or not following.keep):
            raise HypermeterError("--keep without voices or without --lock, expected --lock beat.mid --keep kick")
        if not following.answer:
            raise HypermeterError("--answer with nothing after it, expected voices, as kick snare, loud or all")
        if rhythm.program is not None and not 1 <= rhythm.program <= 128:
            raise HypermeterError(f"--program is {rhythm.program}, expected 1 to 128")
        read = ReadOptions(rhythm.channel, rhythm.track, rhythm.tempo_map)
        player = replace(load_player(model), name=model)
        kit = kit_of(player)
        answering_voices(kit, following.answer)
        for voice in sampling.bias or ():
            kit.column_of(voice, "bias")
        choice = player.grid_choice
        try:
            if metre is not None or grid is not None:
                found = metre or read_taps(file, choice, read, rhythm.program).groove.grid.metre
                player = on_grid_of(player, [], found, grid, kit)[0]
                choice = player.grid
            taps = read_taps(file, choice, read, rhythm.program)
        except HypermeterError as error:
            raise HypermeterError(advise_for_model(str(error), player)) from None
        player = player.on(taps.groove.grid) if isinstance(choice, GridChoice) else player
        for line in taps.remarks:
            print(f"{file}: {line}")
        (locked,), _ = in_one_tempo(
            [None if following.lock is None else read_groove(following.lock, player, kit)], None
        )
        bars = taps.groove.num_bars
        planned, number = plan.of_bars(
            None if plan.sections else bars, player, partial(read_groove, player=player, kit=kit)
        )
        if number != bars:
            raise HypermeterError(f"sections: {number} bars, and {bars} in {file}; expected as many")
        pattern, locks = None, None
        if locked is not None:
            keep = columns_named(player, kit, following.keep or ())
            pattern, locks = locked_pattern(player, kit, bars, taps.groove.tempo_bpm, locked, keep, None)
        between = following.between or ("silent" if taps.is_on_one_pitch else "free")
        chosen = following.accent, following.touch, following.way, following.draws
        asked = FollowOptions(following.answer, between, *chosen)
        options: dict[str, Any] = {"plan": planned, "pattern": pattern, "locks": locks, "infilling": infilling}

        def draw(seed: int) -> "Groove":
            seeded = replace(steps, seed=seed)
            groove, infill = follow_groove(player, taps.groove, seeded, asked, expression=expression, **options)
            tell_sample_size([infill])
            return name_planned(groove, range(bars), planned, player)

        if variations is not None:
            write_takes(draw, lambda _, groove: to_midi_bytes(groove), variations, sampling.seed, out, inputs, picture)
            return None
        groove = draw(sampling.seed)
        write(to_midi_bytes(groove))
        print(ascii_grid(groove))
        if str(out) == "-":
            return None
        if picture:
            from hypermeter.share.pictures import show_picture

            show_picture(groove, out.with_suffix(".svg"), out.name, 0)
    return out

"""The `generate` command: MIDI in, MIDI and a picture out."""

import math
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from hypermeter.cli.options import (
    DEFAULT_LOCKS,
    DEFAULT_PLAN,
    DEFAULT_SAMPLING,
    LockArguments,
    PlanArguments,
    SamplingArguments,
    refuse_contradictions,
)
from hypermeter.cli.results import free_path, open_output
from hypermeter.cli.takes import refuse_with_variations, write_takes
from hypermeter.core.errors import HypermeterError
from hypermeter.core.read_options import ReadOptions
from hypermeter.play.request import check

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypermeter.core.groove import Groove
    from hypermeter.play.player import Player


def generate_command(
    primer: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[PRIMER]")] = None,
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    model: str = "groove",
    bars: int | None = None,
    seconds: Annotated[float | None, tyro.conf.arg(metavar="S")] = None,
    tempo_bpm: Annotated[float | None, tyro.conf.arg(metavar="BPM")] = None,
    metre: str | None = None,
    grid: Annotated[Literal["straight", "triplets"] | None, tyro.conf.arg(metavar="KIND")] = None,
    swing: float = 0.5,
    context: Path | None = None,
    include_primer: bool = True,
    expression: bool = True,
    picture: bool = True,
    variations: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    first: Annotated[Path | None, tyro.conf.arg(name="primer")] = None,
    sampling: SamplingArguments = DEFAULT_SAMPLING,
    plan: PlanArguments = DEFAULT_PLAN,
    locks: LockArguments = DEFAULT_LOCKS,
    options: Annotated[ReadOptions, tyro.conf.arg(name="midi")] = ReadOptions(),
) -> Path | None:
    """Continue a groove, change it, fill in around what stays, or begin from nothing; write MIDI and a picture.

    Args:
        primer: MIDI file to continue, or - for standard input; or a groove as text: .tidal, .strudel, .txt.
        out: MIDI or text file to write; - is standard output.
        model: a shipped model, a checkpoint or a run.
        bars: new bars; else of --sections, --lock or a plan's file; 16.
        seconds: length in place of --bars, in whole bars.
        tempo_bpm: by default that of the files, or else 120.
        metre: as 6/8, or in parts: 4/4:8 7/8:4; else of the files.
        grid: straight or triplets; else what fits the files.
        swing: start of each second step; .67 is triplets.
        context: MIDI file of the music before the primer.
        include_primer: whether the result begins with the primer.
        expression: whether new hits have velocity and timing.
        picture: whether to draw the result, as .svg.
        variations: so many takes that differ, in numbered files.
        first: another way to name PRIMER.
        sampling: how steps are sampled.
        plan: what the new bars are to be, for a model that was trained with labels.
        locks: what stays, and what is written around it.
        options: how the drums of MIDI files are found and placed on the grid.

    Raises:
        HypermeterError: a file, a voice or a number that does not fit, or options that contradict each other.
    """
    primer = _only_primer(primer, first)
    if out is None:
        word = "varied" if locks.vary is not None else "changed" if locks.replace else "continued"
        word = word if primer else "filled" if locks.lock else "generated"
        out = free_path(primer or locks.lock, word, variations)
    from hypermeter.io.midi import WRITTEN_SUFFIXES
    from hypermeter.io.notation import TEXT_SUFFIXES, is_text

    inputs = [primer, context, locks.lock, locks.ending, plan.density, plan.offbeat]
    refuse_with_variations(variations, out)
    with open_output(out, (*WRITTEN_SUFFIXES, *TEXT_SUFFIXES), inputs) as write:
        from hypermeter.cli.material import on_grid_of, read_groove, read_song
        from hypermeter.io.ascii import ascii_grid
        from hypermeter.io.notation import text_of, write_text
        from hypermeter.play.loading import kit_of, load_player

        length = next((name for name, value in (("--bars", bars), ("--seconds", seconds)) if value is not None), None)
        refuse_contradictions(plan, locks, primer, length, include_primer)
        if bars is not None and seconds is not None:
            raise HypermeterError("--bars beside --seconds, expected one of them")
        if swing != 0.5 and is_text(out):
            raise HypermeterError(
                f"--swing beside {out}: text stays on the grid; write MIDI, or swing it in its player"
            )
        for name, value in (("bars", bars), ("swing", swing)):
            if value is not None:
                check(name, value)
        if locks.vary is not None:
            check("strength", locks.vary, "--vary")
        sampling.options(plan.guidance)  # checks it before the model is loaded
        player = replace(load_player(model), name=model)
        paths = [primer, context, locks.lock, locks.ending]
        is_changing = metre is not None and ":" in metre
        player, known = on_grid_of(player, paths, None if is_changing else metre, grid, kit_of(player), options)
        read = cache(partial(read_groove, player=player, kit=kit_of(player), options=options, known=known))
        what = {"include_primer": include_primer, "expression": expression}
        song: list[Groove] = []
        if primer is not None and primer not in known and (metre is None or is_changing):
            song = read_song(primer, player, kit_of(player), options)
        if song or is_changing:
            from hypermeter.cli.metres import change_song, continue_song, refuse_with_metres, write_parts

            refuse_with_metres(out, length, None if is_changing else grid, locks, plan, is_changing)
            if variations is not None:
                raise HypermeterError("--variations of a song in several metres: takes are of one metre; leave it out")
            if locks.vary is not None or locks.replace:
                grooves = change_song(song, player, tempo_bpm, sampling, locks, expression)
            else:
                arguments = metre, bars, song, player, paths, read, tempo_bpm, sampling, plan
                grooves = continue_song(*arguments, expression, include_primer)
            return write_parts(grooves, player, picture, swing, out, write)
        if variations is not None:

            def draw(seed: int) -> "Groove":
                asked = replace(sampling, seed=seed)
                return _play(player, paths, read, bars, seconds, tempo_bpm, asked, plan, locks, **what)[0]

            def content_of(_: int, groove: "Groove") -> bytes:
                if is_text(out):
                    return text_of(groove, out).encode()
                return _midi_of(groove, player, paths, options, swing)

            write_takes(draw, content_of, variations, sampling.seed, out, inputs, picture)
            return None
        groove, primer_steps = _play(player, paths, read, bars, seconds, tempo_bpm, sampling, plan, locks, **what)
        if is_text(out):
            write_text(groove, out)
        else:
            write(_midi_of(groove, player, paths, options, swing))
        print(ascii_grid(groove))
        if str(out) == "-":
            return None
        if picture:
            from hypermeter.share.pictures import show_picture

            show_picture(groove, out.with_suffix(".svg"), out.name, primer_steps)
    return out


def _only_primer(primer: Path | None, first: Path | None) -> Path | None:
    """Return the primer, which may be given as argument or as option; raise `HypermeterError` if both are given."""
    form = "hypermeter generate PRIMER --out OUT"
    if primer is not None and first is not None:
        raise HypermeterError(f"{primer} beside --primer {first}: the form is {form}, so --out {primer} writes there")
    if primer is not None and str(primer) != "-" and not primer.exists():
        raise HypermeterError(f"{primer}: no such primer; the form is {form}, so --out {primer} writes there")
    return primer or first


def _play(
    player: "Player",
    paths: list[Path | None],
    read: "Callable[[Path], Groove]",
    bars: int | None,
    seconds: float | None,
    tempo_bpm: float | None,
    sampling: SamplingArguments,
    plan: PlanArguments,
    locks: LockArguments,
    include_primer: bool,
    expression: bool,
) -> "tuple[Groove, int]":
    """Return the music, and how many of its steps are the primer before the new bars.

    Args:
        paths: of primer, context, lock and ending.
        read: reads a file on the player's grid and kit.
    """
    from hypermeter.cli.material import (
        columns_named,
        in_one_tempo,
        locked_pattern,
        name_planned,
        tell_sample_size,
    )
    from hypermeter.play.columns import join_grooves
    from hypermeter.play.compose import continue_groove, fill_groove, replace_bars, vary_groove
    from hypermeter.play.loading import kit_of
    from hypermeter.play.request import InfillOptions

    kit, grid = kit_of(player), player.grid
    for voice in sampling.bias or ():
        kit.column_of(voice, "bias")
    keep = columns_named(player, kit, locks.keep or ())
    files, tempo_bpm = in_one_tempo([None if path is None else read(path) for path in paths], tempo_bpm)
    primer, context, lock, ending = files
    if seconds is not None:
        if not 0 < seconds < math.inf:
            raise HypermeterError(f"seconds is {seconds:g}, expected a finite number above 0")
        bars = max(round(seconds * tempo_bpm / 60 * grid.steps_per_quarter / grid.steps_per_bar), 1)
        check("bars", bars)
    steps, infilling = sampling.options(plan.guidance), InfillOptions(locks.particles)
    options: dict[str, Any] = {"context": context, "expression": expression}
    infill, primer_steps = None, 0
    if locks.vary is not None:
        assert primer is not None
        groove, infill = vary_groove(player, primer, locks.vary, steps, keep=keep, infilling=infilling, **options)
    elif locks.replace:
        assert primer is not None
        chosen = locks.bars_to_replace(primer.num_bars)
        planned, number = plan.of_bars(None if plan.sections else len(chosen), player, read)
        if number != len(chosen):
            raise HypermeterError(f"sections: {number} bars, and {len(chosen)} to replace; expected as many")
        options |= {"keep": keep, "plan": planned, "infilling": infilling}
        groove, infill = replace_bars(player, primer, chosen, steps, **options)
        groove = name_planned(groove, chosen, planned, player)
    else:
        if lock is not None and not plan.sections:
            bars = bars or lock.num_bars
        planned, bars = plan.of_bars(bars, player, read)
        options["plan"] = planned
        if lock is None and ending is None:
            groove = continue_groove(player, primer, bars, steps, tempo_bpm=tempo_bpm, include_primer=False, **options)
        else:
            pattern, locked = locked_pattern(player, kit, bars, tempo_bpm, lock, keep, ending)
            options |= {"planned_bars": range(bars), "infilling": infilling}
            groove, infill = fill_groove(player, pattern, locked, primer, steps, **options)
        groove = name_planned(groove, range(bars), planned, player)
        if primer is not None and include_primer:
            groove, primer_steps = join_grooves(primer, groove), len(primer)
    if infill is not None:
        tell_sample_size([infill])
    return groove, primer_steps


def _midi_of(groove: "Groove", player: "Player", paths: list[Path | None], options: ReadOptions, swing: float) -> bytes:
    """Return the MIDI file of the music, whose tracks have channels and programs of those in the files."""
    from hypermeter.io.midi import to_midi_bytes

    midi = to_midi_bytes(groove)
    if swing != 0.5:
        from hypermeter.io.midi.swing import swing_midi

        midi = swing_midi(midi, "swing", swing, player.grid.steps_per_quarter)
    if player.tracks:
        from hypermeter.io.midi.instruments import instruments_of, with_instruments
        from hypermeter.io.midi.read import read_content
        from hypermeter.io.notation import is_text

        instruments = {}
        for path in paths:
            if path is not None and not is_text(path):
                instruments |= instruments_of(read_content(path), str(path), player.tracks, options)
        midi = with_instruments(midi, instruments)
    return midi

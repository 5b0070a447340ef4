"""The `generate` command where the metre changes, in the primer or after it: a groove for each part, in one file."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hypermeter.cli.material import columns_named, in_one_tempo, tell_if_not_learnt, tell_sample_size
from hypermeter.cli.options import LockArguments, PlanArguments, SamplingArguments
from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.io.ascii import ascii_grid
from hypermeter.io.midi import to_midi_bytes
from hypermeter.io.notation import check_parts, is_text, write_text
from hypermeter.play.loading import kit_of
from hypermeter.play.metres import (
    MetrePart,
    continue_in_metres,
    parse_metres,
    replace_bars_in_metres,
    vary_in_metres,
)
from hypermeter.play.plan import section_names
from hypermeter.play.player import Player
from hypermeter.play.request import InfillOptions


def refuse_with_metres(
    out: Path, length: str | None, grid: str | None, locks: LockArguments, plan: PlanArguments, is_changing: bool
) -> None:
    """Raise `HypermeterError` at what changes of metre do not go with.

    Args:
        out: file to write.
        length: the option that gives the number of bars, if one does.
        grid: of the command, where it has no effect.
        locks, plan: as of the command.
        is_changing: whether the new bars are of several metres; else the primer is.
    """
    given = {"--lock": locks.lock, "--ending": locks.ending, "--grid": grid}
    if is_changing:
        given |= {"--replace": locks.replace, "--vary": locks.vary, length: length}
        reason = "parts in several metres, which have their own bars"
    else:
        in_place = locks.replace is not None or locks.vary is not None
        given |= {"--seconds": length if length == "--seconds" else None}
        given |= {f"--{name}": name if in_place else None for name in plan.names}
        reason = "a primer that changes its metre"
    for option, value in given.items():
        if value is not None:
            raise HypermeterError(f"{option} beside {reason}; leave one out")
    if is_text(out):
        check_parts(out)


def change_song(
    song: Sequence[Groove],
    player: Player,
    tempo_bpm: float | None,
    sampling: SamplingArguments,
    locks: LockArguments,
    expression: bool,
) -> list[Groove]:
    """Return the parts of a song, varied or with bars replaced; print the effective sample sizes."""
    grooves = [groove for groove in in_one_tempo(song, tempo_bpm)[0] if groove is not None]
    keep, infilling = columns_named(player, kit_of(player), locks.keep or ()), InfillOptions(locks.particles)
    options = {"keep": keep, "infilling": infilling, "expression": expression}
    if locks.vary is not None:
        made, results = vary_in_metres(player, grooves, locks.vary, sampling.options(0.0), **options)
    else:
        bars = locks.bars_to_replace(sum(groove.num_bars for groove in grooves))
        made, results = replace_bars_in_metres(player, grooves, bars, sampling.options(0.0), **options)
    tell_sample_size(results, has_parts=True)
    return made


def continue_song(
    metre: str | None,
    bars: int | None,
    song: Sequence[Groove],
    player: Player,
    paths: Sequence[Path | None],
    read: Callable[[Path], Groove],
    tempo_bpm: float | None,
    sampling: SamplingArguments,
    plan: PlanArguments,
    expression: bool,
    include_primer: bool,
) -> list[Groove]:
    """Return the parts of the primer, if they are wanted, and the new ones.

    Args:
        metre: metres and bars of the new parts; `None` goes on in the metre of the last part of the song.
        bars: new bars, where there is no `metre`.
        song: parts of the primer, where it changes its metre.
        player: on the grid of the files.
        paths: of primer and context, then of others, which are not there.
        read: reads a file on the player's grid and kit.
        tempo_bpm, sampling, plan, expression, include_primer: as of the command.
    """
    primers = list(song) if song else [] if paths[0] is None else [read(paths[0])]
    given = [*primers, None if paths[1] is None else read(paths[1])]
    (*known, context), tempo_bpm = in_one_tempo(given, tempo_bpm)
    primers = [groove for groove in known if groove is not None]
    if metre is None:
        planned, total = plan.of_bars(bars, player, read)
        parts = [MetrePart(song[-1].grid, total)]
    else:
        parts = parse_metres(metre, player.grid)
        total = sum(part.bars for part in parts)
        planned, bars = plan.of_bars(None if plan.sections else total, player, read)
        if bars != total:
            raise HypermeterError(f"sections: {bars} bars, and {total} in the parts of --metre; expected as many")
    for grid in dict.fromkeys(part.grid for part in parts):
        tell_if_not_learnt(player, grid)
    options = {"plan": planned, "context": context, "tempo_bpm": tempo_bpm, "expression": expression}
    grooves = continue_in_metres(player, parts, primers, sampling.options(plan.guidance), **options)
    if planned.sections and player.labels is not None:
        names, ends = section_names(planned.sections, player.labels), np.cumsum([part.bars for part in parts])
        grooves = [
            replace(groove, sections=np.array(names[end - groove.num_bars : end]))
            for groove, end in zip(grooves, ends.tolist(), strict=True)
        ]
    return [*primers, *grooves] if include_primer else grooves


def write_parts(
    grooves: Sequence[Groove],
    player: Player,
    picture: bool,
    swing: float,
    out: Path,
    write: Callable[[bytes], None],
) -> Path | None:
    """Print the parts, write MIDI or text and a picture of each; return the path.

    Args:
        grooves: the parts.
        player, picture, swing, out: as of the command.
        write: writes the MIDI.
    """
    if is_text(out):
        write_text(grooves, out)
    else:
        midi = to_midi_bytes(grooves)
        if swing != 0.5:
            from hypermeter.io.midi.swing import swing_midi

            midi = swing_midi(midi, "swing", swing, player.grid.steps_per_quarter)
        write(midi)
    for number, groove in enumerate(grooves, 1):
        print(ascii_grid(groove))
        if picture and str(out) != "-":
            from hypermeter.share.pictures import show_picture

            show_picture(groove, out.with_name(f"{out.stem}_{number}.svg"), f"{out.name}, part {number}", 0)
    return None if str(out) == "-" else out

"""The `generate` command where the metre changes: a groove for each part, in one MIDI file."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hypermeter.cli.material import in_one_tempo, tell_if_not_learnt
from hypermeter.cli.options import LockArguments, PlanArguments, SamplingArguments
from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.io.ascii import ascii_grid
from hypermeter.io.midi import to_midi_bytes
from hypermeter.io.notation import check_parts, is_text, write_text
from hypermeter.play.metres import MetrePart, continue_in_metres
from hypermeter.play.plan import section_names
from hypermeter.play.player import Player


def refuse_with_metres(out: Path, length: str | None, locks: LockArguments, ending: Path | None) -> None:
    """Raise `HypermeterError` at what changes of metre do not go with."""
    given = {"--lock": locks.lock, "--ending": ending, "--replace": locks.replace, "--vary": locks.vary}
    for option in [length, *(name for name, value in given.items() if value is not None)]:
        if option is not None:
            raise HypermeterError(f"{option} beside parts in several metres, which have their own bars; leave one out")
    if is_text(out):
        check_parts(out)


def write_metres(
    parts: Sequence[MetrePart],
    player: Player,
    paths: Sequence[Path | None],
    read: Callable[[Path], Groove],
    tempo_bpm: float | None,
    sampling: SamplingArguments,
    plan: PlanArguments,
    expression: bool,
    include_primer: bool,
    picture: bool,
    swing: float,
    out: Path,
    write: Callable[[bytes], None],
) -> Path | None:
    """Play the parts, print them, and write MIDI and a picture of each; return the path.

    Args:
        parts: metres and bars.
        player: on the grid of the files.
        paths: of primer and context, then of others, which are not there.
        read: reads a file on the player's grid and kit.
        tempo_bpm, sampling, plan, expression, include_primer, picture, swing, out: as of the command.
        write: writes the MIDI.
    """
    (primer, context), tempo_bpm = in_one_tempo([None if path is None else read(path) for path in paths[:2]], tempo_bpm)
    planned, bars = plan.of_bars(None if plan.sections else sum(part.bars for part in parts), player, read)
    if bars != (total := sum(part.bars for part in parts)):
        raise HypermeterError(f"sections: {bars} bars, and {total} in the parts of --metre; expected as many")
    for grid in dict.fromkeys(part.grid for part in parts):
        tell_if_not_learnt(player, grid)
    options = {"plan": planned, "context": context, "tempo_bpm": tempo_bpm, "expression": expression}
    grooves = continue_in_metres(player, parts, primer, sampling.options(plan.guidance), **options)
    if planned.sections and player.labels is not None:
        names, ends = section_names(planned.sections, player.labels), np.cumsum([part.bars for part in parts])
        grooves = [
            replace(groove, sections=np.array(names[end - groove.num_bars : end]))
            for groove, end in zip(grooves, ends.tolist(), strict=True)
        ]
    if primer is not None and include_primer:
        grooves.insert(0, primer)
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

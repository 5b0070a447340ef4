"""The `morph` command: two MIDI files in, the grooves on the way from one to the other out."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from hypermeter.cli.results import free_path, numbered, open_output
from hypermeter.core.errors import HypermeterError
from hypermeter.core.read_options import ReadOptions
from hypermeter.play.request import check

if TYPE_CHECKING:
    from hypermeter.core.groove import Groove
    from hypermeter.play.player import Player


def morph_command(
    first: Annotated[Path, tyro.conf.arg(metavar="FIRST")],
    second: Annotated[Path, tyro.conf.arg(metavar="SECOND")],
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    steps: Annotated[int, tyro.conf.arg(metavar="N")] = 5,
    join: bool = False,
    model: str = "groove",
    beam: Annotated[int, tyro.conf.arg(metavar="N")] = 256,
    picture: bool = True,
    options: Annotated[ReadOptions, tyro.conf.arg(name="midi")] = ReadOptions(),
) -> Path | None:
    """Write the grooves on the way from one groove to another.

    Each has fewer of the hits that only the first groove has than the one before it, and more of those that only the
    second has; hits of both stay. Of all such ways one is chosen whose grooves the model finds likely. Velocity,
    timing and tempo lie in between. The shorter groove is repeated.

    Args:
        first: MIDI file, or text, where the way begins.
        second: where it ends, in the same metre.
        out: MIDI file to write, which is numbered; by default first_morph.mid. - is standard output, of one file.
        steps: grooves between the two.
        join: whether to write one file, of the first groove, those between, and the second one, in the first's tempo.
        model: a shipped model, a checkpoint or a run.
        beam: hypotheses that are compared: more find likelier grooves and take longer.
        picture: whether to draw all of them, as .svg.
        options: how the drums of MIDI are found and placed on the grid.

    Raises:
        HypermeterError: a file or a number that does not fit, grooves in two metres.
    """
    from hypermeter.io.midi import WRITTEN_SUFFIXES

    check("variations", steps, "--steps")
    check("particles", beam, "--beam")
    if str(out) == "-" and not join:
        raise HypermeterError("morph to -: the grooves are numbered files; name one, as -o way.mid, or pass --join")
    number = None if join else steps
    out = free_path(first, "morph", number) if out is None else out
    with open_output(out, WRITTEN_SUFFIXES, [first, second]) as write:
        from hypermeter.cli.material import on_grid_of, read_groove
        from hypermeter.core.files import atomic_write, check_out
        from hypermeter.io.midi import to_midi_bytes
        from hypermeter.play.columns import join_grooves
        from hypermeter.play.loading import kit_of, load_player
        from hypermeter.play.morph import morph_grooves, repeat_shorter
        from hypermeter.share.sheet import write_sheet

        paths = numbered(out, number)
        if not join:
            for path in paths:
                check_out(path, WRITTEN_SUFFIXES, [first, second])
        player = replace(load_player(model), name=model)
        kit = kit_of(player)
        player, known = on_grid_of(player, [first], None, None, kit, options)
        ends = [read_groove(path, player, kit, options, known) for path in (first, second)]
        way = morph_grooves(player, ends[0], ends[1], steps, beam)
        start, end = repeat_shorter(ends[0], ends[1])
        if join:
            between = [f"{number} of {steps}" for number in range(1, steps + 1)]
            whole = start
            for groove in (*way, end):
                whole = join_grooves(whole, groove)
            write(to_midi_bytes(whole))
        else:
            between = [path.name for path in paths]
            for path, groove in zip(paths, way, strict=True):
                with atomic_write(path) as temporary:
                    temporary.write_bytes(to_midi_bytes(groove))
        grooves, names = [start, *way, end], [first.name, *between, second.name]
        print(_table(player, names, grooves))
        if picture and str(out) != "-":
            print(write_sheet(grooves, names, out.with_suffix(".svg")))
    return out if join and str(out) != "-" else None


def _table(player: "Player", names: list[str], grooves: "list[Groove]") -> str:
    """Return a table of the way: cells that differ from the ends, bits per step by the model, metrics."""
    import numpy as np

    from hypermeter.core.tracks import with_columns
    from hypermeter.share.sheet import table_of_takes

    hits = np.stack([groove.hits for groove in grooves])
    log_probs = player.log_prob(np.stack([with_columns(one, {}, player.tracks) for one in hits]))
    bits = -log_probs.mean(-1) / np.log(2)
    distances = [(hits != hits[place]).sum((1, 2)) for place in (0, -1)]
    rows = [["groove", "from first", "from second", "bits"]]
    rows += [
        [name, str(one), str(other), f"{bit:.2f}"]
        for name, one, other, bit in zip(names, *distances, bits, strict=True)
    ]
    return table_of_takes(rows, grooves)

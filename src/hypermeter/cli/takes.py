"""`--variations`: several takes of a command, as numbered files with a contact sheet and a table of metrics."""

import io
import math
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path

from hypermeter.cli.results import numbered
from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write, check_out
from hypermeter.core.groove import Groove
from hypermeter.play.request import check


def refuse_with_variations(variations: int | None, out: Path) -> None:
    """Raise `HypermeterError` at a number of takes out of bounds, or where they cannot be files."""
    if variations is not None:
        check("variations", variations, "--variations")
        if str(out) == "-":
            raise HypermeterError(f"--variations {variations} beside -: takes are files; name one, as -o takes.mid")


def write_takes(
    draw: Callable[[int], Groove],
    content_of: Callable[[int, Groove], bytes],
    variations: int,
    seed: int,
    out: Path,
    inputs: Sequence[Path | None],
    picture: bool,
) -> None:
    """Draw takes that differ, write a file of each, and the contact sheet, and print the table.

    Args:
        draw: the music of a seed; what it prints is shown once.
        content_of: what is written of a take, by its seed.
        variations: number of takes.
        seed: of the first.
        out: path that is numbered; with the suffix .svg it is that of the contact sheet.
        inputs: files that are not replaced.
        picture: whether there is one.

    Raises:
        HypermeterError: a file that cannot be written.
    """
    from hypermeter.play.takes import draw_takes
    from hypermeter.share.sheet import table_of_takes, write_sheet

    paths = numbered(out, variations)
    for path in paths:
        check_out(path, (out.suffix.lower(),), inputs)
    seen: list[int] = []

    def draw_quietly(one: int) -> Groove:
        seen.append(one)
        if len(seen) == 1:
            return draw(one)
        with redirect_stdout(io.StringIO()):
            return draw(one)

    takes = draw_takes(draw_quietly, variations, seed)
    rows = [["file", "seed", "distance"]]
    for take, path in zip(takes, paths, strict=True):
        with atomic_write(path) as temporary:
            temporary.write_bytes(content_of(take.seed, take.groove))
        rows.append([path.name, str(take.seed), "-" if math.isnan(take.distance) else f"{take.distance:.2f}"])
    grooves = [take.groove for take in takes]
    print(table_of_takes(rows, grooves))
    if picture:
        titles = [f"{path.name}, seed {take.seed}" for take, path in zip(takes, paths, strict=True)]
        print(write_sheet(grooves, titles, out.with_suffix(".svg")))

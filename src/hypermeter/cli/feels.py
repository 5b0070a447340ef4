"""The `feels` command, and what `humanize` reads of feels: takes and names, and how far voices are pushed."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from hypermeter.core.errors import HypermeterError

if TYPE_CHECKING:
    from hypermeter.core.groove import Groove
    from hypermeter.core.kit import Kit
    from hypermeter.music.feel import Feel
    from hypermeter.play.player import Player

SHOWN = ("kick", "snare", "closed_hat", "ride")
"""Voices whose lateness the table has."""


def feels_command(
    file: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[TAKE]")] = None,
    model: str = "groove",
) -> None:
    """List the feels of the package with their figures, or those of a take.

    With a take, the distance of each feel from it is told as well: 1 is that of two takes of different drummers.
    Lateness is in ms, below 0 is early. Swing is where the second of two sixteenths begins, and after the slash the
    second eighth: 50 % is straight.

    Args:
        file: a MIDI file, .npz or text, or - for standard input.
        model: on whose grid and kit the take is read.

    Raises:
        HypermeterError: a file that cannot be read, or has no hits.
    """
    from hypermeter.music.feel import feel_distance
    from hypermeter.music.feel_files import feel_names, load_feel
    from hypermeter.music.tables import aligned

    taken = None
    if file is not None:
        from hypermeter.play.loading import kit_of, load_player

        player = load_player(model)
        taken = read_take(file, player, kit_of(player))
    columns = ["", "swing", *SHOWN, "spread", "drift", "what it is" if taken is None else "distance"]
    rows = [] if taken is None else [[*_figures(taken), ""]]
    for name in feel_names():
        feel = load_feel(name)
        rows.append([*_figures(feel), feel.about if taken is None else f"{feel_distance(taken, feel):.2f}"])
    print(aligned([columns, *rows], left=range(len(columns))))


def _figures(feel: "Feel") -> list[str]:
    from hypermeter.music.feel import mean_spread_ms

    late_ms = feel.shift_ms + feel.late * feel.step_ms
    late = dict(zip(feel.voices, late_ms.tolist(), strict=True))
    swings = [
        f"{100 * feel.swing[name]:.0f}".replace("nan", "-")
        for name in ("steps", "halves of beats")
        if name in feel.swing
    ]
    figures = [late.get(voice, float("nan")) for voice in SHOWN]
    shown = [f"{value:+.0f}" for value in figures] + [f"{mean_spread_ms(feel):.0f}", f"{feel.drift_ms:.0f}"]
    return [feel.name, "/".join(swings), *("" if "nan" in text else text for text in shown)]


# ---------------------------------------------------------------------- of humanize


def read_feel(like: str, player: "Player", kit: "Kit") -> "Feel":
    """Return the feel of a name of the package, or of a file.

    Raises:
        HypermeterError: neither of them, or a file that cannot be read or has no hits.
    """
    from hypermeter.music.feel_files import is_feel, load_feel

    path = Path(like)
    if is_feel(like) or not (path.suffix or path.exists()):
        try:
            return load_feel(like)
        except HypermeterError as error:
            raise HypermeterError(f"--like {error}".replace("no such feel", "no such feel or file")) from None
    return read_take(path, player, kit)


def read_take(path: Path, player: "Player", kit: "Kit") -> "Feel":
    """Return the feel of the longest part of a file that is in one metre and tempo.

    Prints which it is, if there are several.

    Raises:
        HypermeterError: a file that cannot be read, or has no hits.
    """
    from hypermeter.core.grid import GridChoice
    from hypermeter.io.grooves import read_grooves
    from hypermeter.music.feel import Feel

    grid = player.grid_choice
    parts = [groove for _, groove, _ in read_grooves(path, kit, grid)]
    if not isinstance(grid, GridChoice):
        parts = [groove for groove in parts if groove.grid == grid] or parts
    groove = max(parts, key=lambda groove: int(groove.hits.sum()))
    if len(parts) > 1:
        print(f"{path}: of {len(parts)} parts in several tempos or metres, the one with most hits: {groove!r}")
    return Feel.of(groove, str(path))


def distance_of(feel: "Feel", groove: "Groove") -> str:
    """Return the distance of a groove from a feel as text."""
    from hypermeter.music.feel import Feel, feel_distance

    return f"{feel_distance(feel, Feel.of(groove)):.2f}"


def pushes_of(push: Mapping[str, str] | None, lay_back: Mapping[str, str] | None) -> dict[str, float]:
    """Return voice -> ms by which it comes earlier, of the options `--push` and `--lay-back`.

    Raises:
        HypermeterError: no number of ms, nothing after the option, or a voice in both.
    """
    found: dict[str, float] = {}
    for option, given, sign in (("--push", push, 1), ("--lay-back", lay_back, -1)):
        if given == {}:
            raise HypermeterError(f"{option} with nothing after it, expected voices and ms, as snare 8ms")
        for voice, text in (given or {}).items():
            number = re.fullmatch(r"([+-]?\d+(?:\.\d*)?|[+-]?\.\d+) *(?:ms)?", text)
            if number is None:
                raise HypermeterError(f"{option} {voice} {text}: expected a time in ms, as {voice} 8ms")
            if voice in found:
                raise HypermeterError(f"--push and --lay-back {voice}: expected one of them")
            found[voice] = sign * float(number[1])
    return found

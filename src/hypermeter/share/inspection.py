"""Looking at one file: its ASCII grid, its picture, its metrics."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import check_out
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.core.tracks import TRACKS
from hypermeter.io.ascii import ascii_grid
from hypermeter.io.grooves import NUMBERED, read_npz
from hypermeter.io.midi import Piece, read_midi_report
from hypermeter.io.notation import is_text, read_text
from hypermeter.io.npz import open_npz
from hypermeter.music.metrics import measure
from hypermeter.music.tables import number
from hypermeter.share.pictures import show_picture

PER_VOICE = ("drum_density", "ioi_mean", "ioi_var", "fast_patterns")
"""Metrics with a number for each voice."""


def inspect(
    path: Annotated[Path, tyro.conf.arg(metavar="FILE")],
    out: Path | None = None,
    kit: str | None = None,
    metre: str = "4/4",
    steps_per_beat: int = 4,
    bars_per_phrase: int = 4,
) -> None:
    """Show a MIDI file or .npz: print its grid and metrics, draw its picture.

    Tracks that play beside the drums are shown with them; the metrics are of the drums. A .npz that tells its kit and
    grid keeps them, and so does text; the options are for what they do not tell.

    Args:
        path: .mid, .midi or .npz; or a groove as text, .txt, .tidal or .strudel.
        out: the PNG to write; left out, the file's name with .png in the current folder. Where tempo or metre change,
            the later stretches get a number.
        kit: gm10, magenta9, gm, or the path of a YAML file. Left out, gm10 for MIDI, and numbered voices for a .npz.
        metre: beats and their unit, as 6/8. Stretches of a MIDI file in another are left out.
        steps_per_beat: steps in a beat of the metre.
        bars_per_phrase: bars in a phrase.

    Raises:
        HypermeterError: a file that cannot be read, a metre other than the grid's, a path that cannot be written.
    """
    grid = Grid.of_metre(metre, steps_per_beat, bars_per_phrase)
    out = Path(f"{path.stem}.png") if out is None else out
    check_out(out, (".png",), [path])
    losses = []
    if path.suffix.lower() == ".npz":
        grooves = [_with_tracks(read_npz(path, kit, grid), path)]
        if load_kit(grooves[0].kit).name == NUMBERED:
            losses = ["no kit is known, so metrics of low, mid and high voices say nothing; name it by --kit"]
    elif is_text(path):
        grooves = [read_text(path, kit or "gm10", grid)]
    else:
        pieces, losses = read_midi_report(path, kit or "gm10", grid, to_end=True)
        _add_tracks(pieces, path, kit or "gm10", grid)
        grooves = [piece.groove for piece in pieces]
    for place, groove in enumerate(grooves, 1):
        picture = out if place == 1 else out.with_stem(f"{out.stem}-{place}")
        print(ascii_grid(groove))
        print_metrics(groove)
        show_picture(groove, picture, title=path.name)
    for loss in losses:
        print(f"{path}: {loss}")


def _with_tracks(groove: Groove, path: Path) -> Groove:
    """The groove with the tracks of its .npz that play."""
    with open_npz(path) as arrays:
        keys = [key for key in arrays if key.startswith("track_")]
        tracks = {key.removeprefix("track_"): np.asarray(arrays[key]) for key in keys}
    try:
        groove = replace(groove, tracks=tracks)
    except HypermeterError as error:
        raise HypermeterError(f"{path}: {error}; prepare it again") from error
    return replace(groove, tracks={name: codes for name, codes in groove.tracks.items() if codes.any()})


def _add_tracks(pieces: Sequence[Piece], path: Path, kit: str, grid: Grid) -> None:
    """Adds to the grooves of a MIDI file the tracks that play in each."""
    for track in TRACKS.values():
        with suppress(HypermeterError):  # It plays nowhere.
            again, _ = read_midi_report(path, kit, grid, tracks=[track], to_end=True)
            found = {each.start_tick: each.groove for each in again}
            for piece in pieces:
                if piece.start_tick in found:
                    tracks = {**piece.groove.tracks, **found[piece.start_tick].tracks}
                    piece.groove = replace(piece.groove, tracks=tracks)


def print_metrics(groove: Groove) -> None:
    """Two tables of METRICS: of the whole, and for each voice that sounds."""
    names, values = load_kit(groove.kit).names, measure(groove)
    whole = Table("metric", "value")
    for name, value in values.items():
        if not value.ndim:
            whole.add_row(name, number(value.item()))
    voices = Table("voice", *PER_VOICE)
    for column in np.flatnonzero(groove.hits.any(0)):
        voices.add_row(names[column], *(number(values[name][column].item()) for name in PER_VOICE))
    console = Console()
    console.print(whole)
    console.print(voices)

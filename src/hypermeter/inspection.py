"""Looking at one file: its ASCII grid, its picture, its metrics."""

import json
import math
import zipfile
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from hypermeter.dataset import read_sequence
from hypermeter.grid import Grid, Groove, HypermeterError
from hypermeter.kit import load_kit
from hypermeter.metrics import measure
from hypermeter.midi import read_midi_pieces
from hypermeter.render import ascii_grid, plot_groove

PER_VOICE = ("drum_density", "ioi_mean", "ioi_var", "fast_patterns")
"""Metrics with a number for each voice."""


def inspect(
    path: Annotated[Path, tyro.conf.arg(metavar="FILE")],
    out: Path | None = None,
    kit: str = "gm10",
    grid: Grid = Grid(),
) -> None:
    """Show a MIDI file or .npz: print its grid and metrics, draw its picture.

    Args:
        path: .mid, .midi or .npz.
        out: the PNG to write; left out, the file's name with .png in the current folder. Where tempo or metre change,
            the later stretches get a number.
        kit: gm10, magenta9, gm, or the path of a YAML file. A .npz that names its kit keeps it.
        grid: of a MIDI file. A .npz that tells its grid keeps it.

    Raises:
        HypermeterError: a file that cannot be read, a metre other than the grid's, a path that cannot be written.
    """
    out = Path(f"{path.stem}.png") if out is None else out
    if path.suffix.lower() == ".npz":
        grooves = [read_npz(path, kit, grid)]
    else:
        grooves = [piece.groove for piece in read_midi_pieces(path, kit, grid)]
    for number, groove in enumerate(grooves, 1):
        picture = out if number == 1 else out.with_stem(f"{out.stem}-{number}")
        print(ascii_grid(groove))
        print_metrics(groove)
        print(plot_groove(groove, picture, title=path.name))


def read_npz(path: Path, kit: str = "gm10", grid: Grid = Grid()) -> Groove:
    """A groove from a .npz with ``sequence`` (T, V), and ``velocity``, ``offset`` and ``meta`` where it has them.

    Args:
        path: the .npz.
        kit: where ``meta`` does not name one.
        grid: where ``meta`` does not tell it.

    Raises:
        HypermeterError: not such a file, or one with another number of voices than the kit.
    """
    hits = read_sequence(path)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            others = {key: archive[key] for key in ("velocity", "offset") if key in archive}
            meta = json.loads(str(archive["meta"])) if "meta" in archive else {}
        grid = Grid.from_dict(meta["grid"]) if "grid" in meta else grid
        groove = Groove(hits, **others, tempo_bpm=meta.get("tempo_bpm", 120.0), kit=meta.get("kit", kit), grid=grid)
    except HypermeterError as error:
        raise HypermeterError(f"{path}: {error}") from error
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise HypermeterError(f"{path}: velocity, offset or meta cannot be read ({error}); prepare it again") from error
    expected = load_kit(groove.kit).num_voices
    if hits.shape[1] != expected:
        raise HypermeterError(f"{path}: {hits.shape[1]} voices, expected {expected} of {groove.kit}; name another kit")
    return groove


def print_metrics(groove: Groove) -> None:
    """Two tables of METRICS: of the whole, and for each voice that sounds."""
    names, values = load_kit(groove.kit).names, measure(groove)
    whole = Table("metric", "value")
    for name, value in values.items():
        if not value.ndim:
            whole.add_row(name, _number(value.item()))
    voices = Table("voice", *PER_VOICE)
    for column in np.flatnonzero(groove.hits.any(0)):
        voices.add_row(names[column], *(_number(values[name][column].item()) for name in PER_VOICE))
    console = Console()
    console.print(whole)
    console.print(voices)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}".rstrip("0").rstrip(".")

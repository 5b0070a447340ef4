"""Looking at one file: its ASCII grid, its picture, its metrics."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import check_out
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, Voice, load_kit
from hypermeter.core.tracks import TRACKS
from hypermeter.io.ascii import ascii_grid
from hypermeter.io.midi import Piece, read_midi_report
from hypermeter.io.notation import is_text, read_text
from hypermeter.learn.dataset import open_npz, read_kit_and_grid, read_meta, read_sequence
from hypermeter.music.metrics import measure
from hypermeter.share.pictures import show_picture

PER_VOICE = ("drum_density", "ioi_mean", "ioi_var", "fast_patterns")
"""Metrics with a number for each voice."""

NUMBERED = "numbered"
"""Name of the kit of a .npz of which no kit is known."""


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
    for number, groove in enumerate(grooves, 1):
        picture = out if number == 1 else out.with_stem(f"{out.stem}-{number}")
        print(ascii_grid(groove))
        print_metrics(groove)
        show_picture(groove, picture, title=path.name)
    for loss in losses:
        print(f"{path}: {loss}")


def read_npz(path: Path, kit: str | Path | Kit | None = None, grid: Grid = Grid()) -> Groove:
    """The drums of a .npz with ``sequence`` (T, V), and ``velocity``, ``offset`` and ``meta`` where it has them.

    What it does not tell of velocity, offset and tempo is ``unknown`` of the groove.

    Args:
        path: the .npz.
        kit: where ``meta`` does not name one; None takes ``numbered_kit``.
        grid: where ``meta`` does not tell it.

    Raises:
        HypermeterError: not such a file, or one with another number of voices than the kit.
    """
    hits, meta = read_sequence(path), read_meta(path)
    own, grid = read_kit_and_grid(path, kit, grid, meta)
    own = own or numbered_kit(hits.shape[1])
    with open_npz(path) as arrays:
        told: dict[str, Any] = {key: arrays[key] for key in ("velocity", "offset") if key in arrays}
    if "tempo_bpm" in meta:
        told["tempo_bpm"] = meta["tempo_bpm"]
    unknown = frozenset(("velocity", "offset", "tempo_bpm")).difference(told)
    try:
        groove = Groove(hits, **told, kit=own, grid=grid, unknown=unknown)
    except (HypermeterError, TypeError, ValueError) as error:
        raise HypermeterError(f"{path}: {error}; prepare it again") from error
    if hits.shape[1] != own.num_voices:
        raise HypermeterError(
            f"{path}: {hits.shape[1]} voices, expected {own.num_voices} of {own.name}; name another kit"
        )
    return groove


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


def numbered_kit(num_voices: int) -> Kit:
    """Voices of which nothing is known but their number: voice_0, voice_1, ... Their pitches say nothing."""
    if num_voices > 128:
        raise HypermeterError(
            f"{num_voices} voices without a kit, expected at most 128, as MIDI has pitches; name a kit"
        )
    pitches = range(127, 127 - num_voices, -1)  # above those of drums, which would tell low voices from high
    return Kit(NUMBERED, tuple(Voice(f"voice_{column}", (pitch,), pitch) for column, pitch in enumerate(pitches)))


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


def number(value: float, figures: int = 4) -> str:
    """Rounded to significant figures, a dash where undefined."""
    return "-" if math.isnan(value) else f"{value:.{figures}g}"

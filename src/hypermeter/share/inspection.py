"""One file as it is inspected: its grooves with all their tracks, and their metrics as tables."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid, GridChoice
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.core.read_options import ReadOptions
from hypermeter.core.tracks import TRACKS
from hypermeter.io.grooves import NUMBERED, read_npz
from hypermeter.io.midi import Piece, read_midi_report
from hypermeter.io.midi.own_grid import describe_shift
from hypermeter.io.notation import is_text, read_text_parts
from hypermeter.io.npz import open_npz
from hypermeter.music.metrics import measure
from hypermeter.music.tables import number

PER_VOICE = ("drum_density", "ioi_mean", "ioi_var", "fast_patterns")
"""Metrics with a number for each voice."""


def read_with_tracks(
    path: Path, kit: str | None, grid: Grid | GridChoice, options: ReadOptions = ReadOptions()
) -> tuple[list[Groove], list[str]]:
    """Return the grooves in a file, with the tracks that play beside the drums, and the lines about it.

    Args:
        path: MIDI, .npz or text.
        kit: name or path of a kit, for a file that names none; None is gm10 for MIDI, numbered voices for a .npz.
        grid: of MIDI, or a choice of it for each part of the file; and for another file that has none.
        options: how the drums of MIDI are found and placed on the grid.

    Raises:
        HypermeterError: a file that cannot be read.
    """
    if path.suffix.lower() == ".npz":
        groove = _with_tracks(read_npz(path, kit, GridChoice.of(grid).grid()), path)
        is_numbered = load_kit(groove.kit).name == NUMBERED
        reason = "no kit is known, so metrics of low, mid and high voices say nothing; name it by --kit"
        played = [f"played {describe_shift(groove.shift_ms)} throughout"] if groove.shift else []
        return [groove], played + [reason] * is_numbered
    if is_text(path):
        return read_text_parts(path, kit or "gm10", grid), []
    pieces, losses = read_midi_report(path, kit or "gm10", grid, to_end=True, options=options)
    _add_tracks(pieces, path, kit or "gm10", grid, options)
    return [piece.groove for piece in pieces], [*_own_grid_lines(pieces[0]), *losses]


def _own_grid_lines(piece: Piece) -> list[str]:
    """Return a line on the grid that a MIDI file is played on; none if that is the written one."""
    own_grid, step_ms = piece.own_grid, piece.groove.step_duration_s * 1000
    if own_grid.kind == "straight" and not own_grid.player_shift:
        return []
    kind = f"swing {own_grid.swing:.2f}" if own_grid.kind == "swing" else own_grid.kind
    played = describe_shift(own_grid.player_shift * step_ms)
    return [f"played {played} throughout, {kind}, clarity {own_grid.clarity:.2f}"]


def _with_tracks(groove: Groove, path: Path) -> Groove:
    """Return the groove with those tracks of its .npz that have notes."""
    with open_npz(path) as arrays:
        tracks = {key.removeprefix("track_"): np.asarray(arrays[key]) for key in arrays if key.startswith("track_")}
    try:
        groove = replace(groove, tracks=tracks)
    except HypermeterError as error:
        raise HypermeterError(f"{path}: {error}; prepare it again") from error
    return replace(groove, tracks={name: codes for name, codes in groove.tracks.items() if codes.any()})


def _add_tracks(pieces: Sequence[Piece], path: Path, kit: str, grid: Grid | GridChoice, options: ReadOptions) -> None:
    """Add to the grooves of a MIDI file the tracks that play in each."""
    for track in TRACKS.values():
        with suppress(HypermeterError):  # It plays nowhere.
            with_track, _ = read_midi_report(path, kit, grid, tracks=[track], to_end=True, options=options)
            grooves = {piece.start_tick: piece.groove for piece in with_track}
            for piece in pieces:
                if piece.start_tick in grooves:
                    tracks = {**piece.groove.tracks, **grooves[piece.start_tick].tracks}
                    piece.groove = replace(piece.groove, tracks=tracks)


def print_metrics(groove: Groove) -> None:
    """Print two tables of METRICS: of the groove, and of each voice that has hits."""
    names, values = load_kit(groove.kit).names, measure(groove)
    of_groove, voices = Table("metric", "value"), Table("voice", *PER_VOICE)
    for name, value in values.items():
        if not value.ndim:
            of_groove.add_row(name, number(value.item()))
    for column in np.flatnonzero(groove.hits.any(0)):
        voices.add_row(names[column], *(number(values[name][column].item()) for name in PER_VOICE))
    console = Console()
    console.print(of_groove)
    console.print(voices)

"""Likelihood of performances in several metres, each on its own grid, beside tables of counts of the same metre."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hypermeter.core.grid import Grid
from hypermeter.io.npz import read_kit_and_grid
from hypermeter.io.performances import read_folder
from hypermeter.learn.dataset import with_tracks
from hypermeter.learn.evaluate.floors import floors
from hypermeter.learn.evaluate.held_out import ReadFolder
from hypermeter.learn.evaluate.likelihood import performance_bits, summarize
from hypermeter.learn.evaluate.music import FEWEST_BARS, People, compare_with, cut, generated_pieces
from hypermeter.learn.evaluate.rows import table
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.music.tables import number
from hypermeter.play.network import LOOK_BACK_STEPS

FEWEST_PIECES = 8
"""Pieces of people in a metre whose music is compared."""

SHOWN = ("density", "syncopation", "step_entropy", "groove_consistency")
"""Metrics of the table of music in each metre."""


def by_grid(
    npz_dir: str | Path, grid: Grid, tracks: Sequence[Any] = (), read: ReadFolder = read_folder
) -> dict[Grid, tuple[list[Any], list[np.ndarray]]]:
    """Return the performances below a folder by their grids: files, and hits with the columns of tracks.

    Args:
        npz_dir: folder of .npz or shards.
        grid: of files that name none.
        tracks: see ``with_tracks``.
        read: reads the folder.
    """
    parts: dict[Grid, tuple[list[Any], list[np.ndarray]]] = {}
    for path, hits in zip(*read(Path(npz_dir)), strict=True):
        files, sequences = parts.setdefault(read_kit_and_grid(path, None, grid)[1], ([], []))
        files.append(path)
        sequences.append(with_tracks(path, hits, tracks))
    return parts


def evaluate_metres(
    model: HierarchicalDrumModel,
    npz_dir: str | Path,
    seed: int = 0,
    *,
    pieces: int = 0,
    temperature: float = 1.0,
    read: ReadFolder = read_folder,
) -> list[dict[str, Any]]:
    """Return a row for each grid of the performances, that of most steps first.

    A row has ``metre``, ``steps_per_beat``, ``bars``; ``summarize`` of the bits; ``bits_per_beat``; and, where a folder
    ``train`` beside the folder has the grid, ``floor``: the bits per step of the best of the ``floors``; and ``music``,
    see ``compare_with``, where pieces are drawn and people have FEWEST_PIECES there.

    Args:
        model: in eval mode, one that serves every metre.
        npz_dir: folder of performances.
        seed: of the bootstrap and of the music.
        pieces: of FEWEST_BARS bars that the model plays in each metre, from silence; 0 leaves out the music.
        temperature: of the music.
        read: reads a folder.

    Raises:
        HypermeterError: no performance, a bad file, or a model that does not serve a metre.
    """
    train = Path(npz_dir).resolve().parent / "train"
    known = by_grid(train, model.grid, (), read) if train.is_dir() and train != Path(npz_dir).resolve() else {}
    rows = []
    for grid, (_, sequences) in by_grid(npz_dir, model.grid, model.tracks, read).items():
        if grid.steps_per_bar < LOOK_BACK_STEPS:
            continue
        bits, steps = performance_bits(model.on(grid), sequences), np.array(list(map(len, sequences)))
        row = {
            "metre": grid.metre,
            "steps_per_beat": grid.steps_per_beat,
            "bars": int(steps.sum()) // grid.steps_per_bar,
            **summarize(bits, steps, seed),
            "bits_per_beat": float(bits.sum() / steps.sum() * grid.steps_per_beat),
        }
        drums = [hits[:, : model.num_drums] for hits in sequences]
        if grid in known:
            found = floors(known[grid][1], drums, grid.steps_per_bar, seed)
            row["floor"] = min(floor["bits_per_step"] for floor in found.values())
        people = cut(drums, grid, FEWEST_BARS)
        if pieces and len(people) >= FEWEST_PIECES:
            train_drums = [hits[:, : model.num_drums] for hits in known[grid][1]] if grid in known else ()
            streams = model.kit.streams if model.kit else None
            played = generated_pieces(model.on(grid), grid, pieces, FEWEST_BARS, seed, temperature)
            row["music"] = compare_with(played, People(people, grid, train_drums, streams))
        rows.append(row)
    return sorted(rows, key=lambda row: -row["steps"])


def metre_rows(name: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines of a table of ``evaluate_metres``."""
    lines = [
        f"Bits of {name} in each metre, each on its own grid; floor: the best table of counts, per step.",
        "",
        "| metre, steps a beat | performances | bars | bits per step | 95 % interval | bits per beat | floor |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        floor = f"{row['floor']:.3f}" if "floor" in row else "-"
        cells = [
            f"{row['metre']}, {row['steps_per_beat']}",
            row["performances"],
            row["bars"],
            f"{row['bits_per_step']:.3f}",
            f"{row['low']:.3f} to {row['high']:.3f}",
            f"{row['bits_per_beat']:.3f}",
            floor,
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    with_music = [row for row in rows if "music" in row]
    if not with_music:
        return lines
    rows_of_music = []
    for row in with_music:
        music = row["music"]
        metrics = [music["metrics"][metric] for metric in SHOWN]
        rows_of_music.append(
            (
                f"{row['metre']}, {row['steps_per_beat']}",
                str(music["human_pieces"]),
                f"{music['overlap']:.3f}",
                f"{music['repetition_gap']:.3f}",
                *(f"{number(values['their_mean'], 3)}, {number(values['mean'], 3)}" for values in metrics),
                f"{100 * music['human_distinct']:.0f} %, {100 * music['distinct']:.0f} %",
            )
        )
    columns = ("metre, steps a beat", "pieces of people", "mean overlap", "greatest gap", *SHOWN, "bars distinct")
    heading = (
        f"Music of {name} in pieces of {FEWEST_BARS} bars, where people have {FEWEST_PIECES} or more in a metre:"
        " people, then the model."
    )
    return [*lines, "", heading, "", *table(columns, rows_of_music)]

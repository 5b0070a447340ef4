"""Rhythm analysis of files and folders: tables, CSV, JSON, and an HTML report."""

import csv
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, load_kit
from hypermeter.core.read_options import ReadOptions
from hypermeter.io.grooves import read_grooves
from hypermeter.music.compare import compare
from hypermeter.music.metrics import METRICS, measure, window_metrics
from hypermeter.music.tables import number, to_json
from hypermeter.play.plan import section_lengths
from hypermeter.share import report

PIPE_WIDTH = 120
"""Columns of the table where the output is not a terminal."""


@dataclass(frozen=True)
class Analysis:
    """A piece and its metrics.

    Args:
        name: of the file, below the folder; with a number where the file holds several pieces.
        groove: the piece.
        values: metric -> array, see ``metrics.measure``.
        losses: a line for each choice in reading the file, and each part of it that is not in its pieces.
    """

    name: str
    groove: Groove
    values: dict[str, np.ndarray]
    losses: list[str] = field(default_factory=list)

    @property
    def flat(self) -> dict[str, float]:
        """Column -> number: metrics with one value, and those with one for each voice (name.voice) or lag (name.3).

        Metrics with a value for each voice are those annotated ``"*B V"``, or not at all and of the shape (V,).
        """
        voices = load_kit(self.groove.kit).names
        columns: dict[str, float] = {}
        for name, value in self.values.items():
            if value.ndim == 0:
                columns[name] = value.item()
            elif name == "repetition_profile":
                columns |= {f"{name}.{lag}": entry for lag, entry in enumerate(value.tolist(), 1)}
            elif value.shape == (len(voices),) and _axes_of(name) in ("*B V", None):
                columns |= {f"{name}.{voice}": entry for voice, entry in zip(voices, value.tolist(), strict=True)}
        return columns


def _axes_of(name: str) -> str | None:
    """Return the axes that a metric is annotated with: a curve over as many steps as voices has the shape (V,) too."""
    return getattr(signature(METRICS[name]).return_annotation, "dim_str", None)


def analyse(
    path: str | Path,
    kit: str | Kit | None = None,
    grid: Grid = Grid(),
    rejects: list[str] | None = None,
    options: ReadOptions = ReadOptions(),
) -> Iterator[Analysis]:
    """Yield the pieces of ``read_grooves``, whose arguments these are, each with all METRICS."""
    for name, groove, losses in read_grooves(path, kit, grid, rejects, options):
        yield Analysis(name, groove, measure(groove), losses)


def columns(pieces: Sequence[Analysis]) -> dict[str, np.ndarray]:
    """Return column -> its number in each piece, NaN where a piece has none."""
    flat = [piece.flat for piece in pieces]
    names = dict.fromkeys(name for numbers in flat for name in numbers)
    return {name: np.array([numbers.get(name, math.nan) for numbers in flat]) for name in names}


def compare_pieces(ours: Sequence[Analysis], theirs: Sequence[Analysis]) -> dict[str, dict[str, float]]:
    """Return ``compare`` of each column that both have."""
    first, second = columns(ours), columns(theirs)
    return {name: compare(first[name], second[name]) for name in first if name in second}


def levels(groove: Groove, sections: Mapping[str, tuple[int, int]] | None = None) -> dict[str, Any]:
    """Return the report of a piece as of a window of the data set, and all scalar METRICS of every bar and phrase.

    Args:
        groove: the piece.
        sections: name -> (start, end) in bars, end not included.
    """
    hits, grid = groove.hits, groove.grid
    bounds = [(start * grid.steps_per_bar, end * grid.steps_per_bar) for start, end in (sections or {}).values()]
    full = window_metrics(hits, grid, bounds)
    full["section"] = dict(zip(sections or {}, full["section"], strict=True))
    scalars = [name for name, value in measure(groove.steps(0, grid.steps_per_bar)).items() if value.ndim == 0]
    for level, size in (("bar", grid.steps_per_bar), ("phrase", grid.steps_per_phrase)):
        full[level] |= measure(groove, scalars, size)
    for name, (start, end) in zip(sections or {}, bounds, strict=True):
        full["section"][name] |= measure(groove.steps(start, end), scalars)
    return full


def parse_sections(text: str, bars: int) -> dict[str, tuple[int, int]]:
    """Return the bars of sections: ``intro:4 verse:8`` -> {"intro": (0, 4), "verse": (4, 12)}.

    A name that comes again gets a number.

    Raises:
        HypermeterError: a text that `play.plan.section_lengths` does not read, or more bars than there are.
    """
    sections: dict[str, tuple[int, int]] = {}
    start = 0
    for name, length in section_lengths(text):
        count = sum(section.partition(" ")[0] == name for section in sections)
        sections[f"{name} {count + 1}" if count else name] = (start, start + length)
        start += length
    if start > bars:
        raise HypermeterError(f"sections: {start} bars in {text!r}, the piece has {bars}")
    return sections


def write_csv(pieces: Sequence[Analysis], path: Path) -> None:
    """Write a row for each piece: name, bars, tempo, then the columns; empty where undefined."""
    table = columns(pieces)
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "bars", "tempo_bpm", *table])
        for row, piece in enumerate(pieces):
            numbers = ["" if math.isnan(values[row]) else f"{values[row]:.6g}" for values in table.values()]
            writer.writerow([piece.name, piece.groove.num_bars, f"{piece.groove.tempo_bpm:g}", *numbers])


# ---------------------------------------------------------------------- the command


def analyse_and_write(
    path: Path,
    out: Path | None,
    against: Path | None,
    sections: str,
    kit: str | None,
    grid: Grid,
    options: ReadOptions,
    pictures: int,
) -> None:
    """Print the table and write the files of the ``analyse`` command; see ``commands.analyse_command``."""
    console = Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)
    plain: dict[str, Any] = {"soft_wrap": True, "highlight": False, "markup": False}
    rejects: list[str] = []
    ours = _measure(analyse(path, kit, grid, rejects, options), path, console)
    theirs = [] if against is None else _measure(analyse(against, kit, grid, rejects, options), against, console)
    if sections and len(ours) > 1:
        raise HypermeterError(f"{path}: {len(ours)} pieces, --sections is for one; name a single file")
    kinds = {(load_kit(piece.groove.kit).names, piece.groove.grid) for piece in (*ours, *theirs)}
    if theirs and len(kinds) > 1:
        raise HypermeterError(f"{path} and {against}: of different kits or grids, on which metrics depend; use one")
    comparison = compare_pieces(ours, theirs) if theirs else {}
    result: dict[str, Any] = {
        "pieces": [
            {"name": piece.name, "bars": piece.groove.num_bars, "tempo_bpm": piece.groove.tempo_bpm}
            | {"metrics": piece.values if len(ours) == 1 else piece.flat}
            for piece in ours
        ],
        "rejects": rejects,
        "losses": {piece.name: piece.losses for piece in ours if piece.losses},
    }
    if len(ours) == 1:
        groove = ours[0].groove
        result["levels"] = levels(groove, parse_sections(sections, groove.num_bars) if sections else None)
    if theirs:
        result["against"] = {"pieces": len(theirs), "comparison": comparison}

    rows, paths = _rows(columns(ours), comparison), [path] if against is None else [path, against]
    names = [_name(path) for path in paths]
    if len(set(names)) < len(paths):
        names = [str(path) for path in paths]
    counts = f"{len(ours)} piece{'s' * (len(ours) > 1)}" + f" against {len(theirs)}" * bool(theirs)
    _print(console, f"{names[0]}: {counts}", rows, result.get("levels", {}).get("section", {}))
    folder = Path(f"{_name(path) if path.is_dir() else path.stem}-analysis") if out is None else out
    files = {"metrics.json": json.dumps(to_json(result), indent=1) + "\n"}
    if find_spec("matplotlib"):
        files["report.html"] = _report(names, ours, theirs, rows, pictures)
    write_csv(ours, folder / "metrics.csv")
    for name, text in files.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    warnings = [f"left out: {reason}" for reason in rejects]
    with_losses = {id(piece.losses): piece for piece in (*ours, *theirs) if piece.losses}
    warnings += [f"{piece.name}: {'; '.join(piece.losses)}" for piece in with_losses.values()]
    for line in warnings:
        console.print(line, style="yellow", **plain)
    if "report.html" not in files:
        line = f"{folder / 'report.html'} is left out: its pictures need matplotlib; pip install matplotlib"
        console.print(line, **plain)
    for name in ("metrics.csv", *files):
        console.print(str(folder / name), **plain)


def _measure(pieces: Iterable[Analysis], path: Path, console: Console) -> list[Analysis]:
    if path.is_dir():
        pieces = track(pieces, f"measuring {escape(_name(path))}", console=console, transient=True)
    return list(pieces)


def _name(path: Path) -> str:
    """Return the name of a file or folder, also of a folder that is given as a dot."""
    return path.resolve().name if path.is_dir() else path.name


def _rows(by_column: dict[str, np.ndarray], comparison: dict[str, dict[str, float]]) -> list[tuple[str, ...]]:
    """Return header and rows: the values of one piece, the mean and spread of several, or the comparison."""
    if comparison:
        rows = [("metric", "mean", "sd", "theirs", "sd", "d", "overlap", "KL")]
        keys = ("mean", "sd", "their_mean", "their_sd", "cohens_d", "overlap", "kl")
        return rows + [(name, *(number(values[key], 3) for key in keys)) for name, values in comparison.items()]
    if all(len(values) == 1 for values in by_column.values()):
        return [("metric", "value"), *((name, number(float(values[0]))) for name, values in by_column.items())]
    rows: list[tuple[str, ...]] = [("metric", "pieces", "mean", "sd", "least", "median", "greatest")]
    for name, values in by_column.items():
        defined = values[np.isfinite(values)]
        if len(defined):
            spread = defined.std(ddof=1) if len(defined) > 1 else math.nan
            numbers = (defined.mean(), spread, *np.quantile(defined, (0, 0.5, 1)))
            rows.append((name, str(len(defined)), *(number(float(value)) for value in numbers)))
    return rows


def _print(
    console: Console,
    title: str,
    rows: list[tuple[str, ...]],
    sections: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """Print the table without the columns of single voices and lags, which are in the files."""
    table = Table(title=escape(title), box=box.SIMPLE)
    for column in rows[0]:
        table.add_column(column, no_wrap=True, justify="left" if column == "metric" else "right")
    for row in rows[1:]:
        if "." not in row[0]:
            table.add_row(*row)
    console.print(table)
    if sections:
        table = Table("metric", *(escape(section) for section in sections), box=box.SIMPLE)
        for name, value in next(iter(sections.values())).items():
            if value.ndim == 0:
                table.add_row(name, *(number(values[name].item()) for values in sections.values()))
        console.print(table)


def _report(
    names: list[str], ours: Sequence[Analysis], theirs: Sequence[Analysis], rows: list[tuple[str, ...]], pictures: int
) -> str:
    sections = [report.table(rows[0], rows[1:])]
    if len(ours) > 1 or theirs:
        label = "Distributions over pieces"
        scalars = {key: values for key, values in columns(ours).items() if "." not in key}
        drawing = report.draw_distributions(scalars, *([columns(theirs)] if theirs else []), labels=names)
        sections += [report.heading(label), report.picture(drawing, label)]
    sections += [report.piece_section(piece.name, piece.groove) for piece in ours[:pictures]]
    if len(ours) > pictures:
        sections.append(f'<p class="note">{len(ours) - pictures} more pieces are in metrics.csv and metrics.json.</p>')
    sections += [report.heading("Definitions"), report.definitions(METRICS)]
    return report.page(f"Rhythm analysis: {' against '.join(names)}", sections)

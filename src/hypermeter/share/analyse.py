"""Rhythm analysis of files and folders: tables, CSV, JSON, and an HTML report."""

import csv
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from hypermeter.core.grid import Grid, GridChoice
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, load_kit
from hypermeter.core.read_options import ReadOptions
from hypermeter.io.grooves import read_grooves
from hypermeter.music.compare import compare
from hypermeter.music.metrics import FREE_OF_GRID, METRICS, measure, window_metrics
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
    grid: Grid | GridChoice = GridChoice(),
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
    """Write a row for each piece: name, bars, tempo, metre, steps a beat, then the columns; empty where undefined."""
    table = columns(pieces)
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "bars", "tempo_bpm", "metre", "steps_per_beat", *table])
        for row, piece in enumerate(pieces):
            numbers = ["" if math.isnan(values[row]) else f"{values[row]:.6g}" for values in table.values()]
            groove, grid = piece.groove, piece.groove.grid
            of_piece = piece.name, groove.num_bars, f"{groove.tempo_bpm:g}", grid.metre, grid.steps_per_beat
            writer.writerow([*of_piece, *numbers])


# ---------------------------------------------------------------------- tables


Rows = list[tuple[str, ...]]
"""A table: the header, and rows whose first cell is the metric."""


@dataclass(frozen=True)
class GridTable:
    """Metrics of the pieces on one grid, or of all pieces.

    Args:
        title: the grid in words; of all pieces, "every grid".
        ours: the pieces.
        theirs: those that they are compared with, if any.
        by_column: column -> its number in each of our pieces.
        comparison: column -> ``compare``; empty where nothing is compared.
    """

    title: str
    ours: Sequence[Analysis]
    theirs: Sequence[Analysis]
    by_column: dict[str, np.ndarray]
    comparison: dict[str, dict[str, float]]

    @property
    def counts(self) -> str:
        """The number of pieces in words."""
        against = f" against {len(self.theirs)}" if self.theirs else ""
        return f"{len(self.ours)} piece{'s' * (len(self.ours) > 1)}{against}"

    @property
    def rows(self) -> Rows:
        """The values of one piece, the mean and spread of several, or the comparison."""
        if self.comparison:
            keys = ("mean", "sd", "their_mean", "their_sd", "cohens_d", "overlap", "kl")
            cells = [(name, *(number(values[key], 3) for key in keys)) for name, values in self.comparison.items()]
            return [("metric", "mean", "sd", "theirs", "sd", "d", "overlap", "KL"), *cells]
        if len(self.ours) == 1:
            cells = [(name, number(float(values[0]))) for name, values in self.by_column.items()]
            return [("metric", "value"), *cells]
        rows: Rows = [("metric", "pieces", "mean", "sd", "least", "median", "greatest")]
        for name, values in self.by_column.items():
            defined = values[np.isfinite(values)]
            if len(defined):
                spread = defined.std(ddof=1) if len(defined) > 1 else math.nan
                numbers = (defined.mean(), spread, *np.quantile(defined, (0, 0.5, 1)))
                rows.append((name, str(len(defined)), *(number(float(value)) for value in numbers)))
        return rows


def by_grid(pieces: Iterable[Analysis]) -> dict[Grid, list[Analysis]]:
    """Return the pieces on each grid, that of most pieces first."""
    groups: dict[Grid, list[Analysis]] = {}
    for piece in pieces:
        groups.setdefault(piece.groove.grid, []).append(piece)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def tables_of(ours: Sequence[Analysis], theirs: Sequence[Analysis] = ()) -> list[GridTable]:
    """Return the tables of some pieces, which may be compared with others.

    Pieces that are all on one grid have one table. Otherwise the first has the metrics of all pieces that are
    ``FREE_OF_GRID``, and one for each grid, which both sides have, the other metrics.

    Raises:
        HypermeterError: pieces to compare that have no grid in common.
    """
    groups, their_groups = by_grid(ours), by_grid(theirs)
    compared = {grid: pieces for grid, pieces in groups.items() if not theirs or grid in their_groups}
    if not compared:
        sides = " and ".join(", ".join(grid.description for grid in side) for side in (groups, their_groups))
        raise HypermeterError(f"no grid in common ({sides}), on which metrics depend; choose --metre, --steps-per-beat")
    if len({*groups, *their_groups}) == 1:
        return [_table(next(iter(groups)).description, ours, theirs, lambda name: True)]
    tables = [_table("every grid", ours, theirs, lambda name: name in FREE_OF_GRID)]
    for grid, pieces in compared.items():
        others = their_groups.get(grid, ())
        tables.append(_table(grid.description, pieces, others, lambda name: name not in FREE_OF_GRID))
    return tables


def _table(title: str, ours: Sequence[Analysis], theirs: Sequence[Analysis], is_in: Callable[[str], bool]) -> GridTable:
    """Return the table of the metrics that are in it."""
    by_column = {name: values for name, values in columns(ours).items() if is_in(name.partition(".")[0])}
    compared = compare_pieces(ours, theirs) if theirs else {}
    return GridTable(title, ours, theirs, by_column, {name: compared[name] for name in by_column if name in compared})


# ---------------------------------------------------------------------- the command


def analyse_and_write(
    path: Path,
    out: Path | None,
    against: Path | None,
    sections: str,
    kit: str | None,
    grid: Grid | GridChoice,
    options: ReadOptions,
    pictures: int,
    with_map: bool = False,
) -> None:
    """Print the tables and write the files of the ``analyse`` command; see ``commands.analyse_command``."""
    console = Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)
    plain: dict[str, Any] = {"soft_wrap": True, "highlight": False, "markup": False}
    rejects: list[str] = []
    ours = _measure(analyse(path, kit, grid, rejects, options), path, console)
    theirs = [] if against is None else _measure(analyse(against, kit, grid, rejects, options), against, console)
    if sections and len(ours) > 1:
        raise HypermeterError(f"{path}: {len(ours)} pieces, --sections is for one; name a single file")
    if theirs and len({load_kit(piece.groove.kit).names for piece in (*ours, *theirs)}) > 1:
        raise HypermeterError(f"{path} and {against}: of different kits, on which metrics depend; use one")
    try:
        tables = tables_of(ours, theirs)
    except HypermeterError as error:
        raise HypermeterError(f"{path} and {against}: {error}") from error
    result = _result_of(tables, ours, theirs, rejects)
    if len(ours) == 1:
        groove = ours[0].groove
        result["levels"] = levels(groove, parse_sections(sections, groove.num_bars) if sections else None)

    paths = [path] if against is None else [path, against]
    names = [_name(path) for path in paths]
    if len(set(names)) < len(paths):
        names = [str(path) for path in paths]
    for table in tables:
        _print(console, f"{names[0]}: {table.counts}; {table.title}", table.rows)
    _print_sections(console, result.get("levels", {}).get("section", {}))
    folder = Path(f"{_name(path) if path.is_dir() else path.stem}-analysis") if out is None else out
    files = {"metrics.json": json.dumps(to_json(result), indent=1) + "\n"}
    if find_spec("matplotlib"):
        map_sections = [_map_section(path, options)] if with_map else []
        files["report.html"] = _report(names, tables, ours, pictures, map_sections)
    write_csv(ours, folder / "metrics.csv")
    for name, text in files.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    warnings = [f"left out: {reason}" for reason in rejects]
    with_losses = {id(piece.losses): piece for piece in (*ours, *theirs) if piece.losses}
    warnings += [f"{piece.name}: {'; '.join(piece.losses)}" for piece in with_losses.values()]
    if theirs:
        for name, side, other in zip(names, (ours, theirs), (theirs, ours), strict=True):
            for alone in by_grid(side).keys() - by_grid(other).keys():
                warnings.append(f"{name}: pieces of {alone.description} are in the table of every grid only")
    for line in warnings:
        console.print(line, style="yellow", **plain)
    if "report.html" not in files:
        line = f"{folder / 'report.html'} is left out: its pictures need matplotlib; pip install matplotlib"
        console.print(line, **plain)
    for name in ("metrics.csv", *files):
        console.print(str(folder / name), **plain)


def _result_of(
    tables: Sequence[GridTable], ours: Sequence[Analysis], theirs: Sequence[Analysis], rejects: Sequence[str]
) -> dict[str, Any]:
    """Return what the JSON file holds of all pieces."""
    result: dict[str, Any] = {
        "pieces": [
            {
                "name": piece.name,
                "bars": piece.groove.num_bars,
                "tempo_bpm": piece.groove.tempo_bpm,
                "metre": piece.groove.grid.metre,
                "steps_per_beat": piece.groove.grid.steps_per_beat,
                "metrics": piece.values if len(ours) == 1 else piece.flat,
            }
            for piece in ours
        ],
        "rejects": rejects,
        "losses": {piece.name: piece.losses for piece in ours if piece.losses},
    }
    if theirs:
        of_all, *of_grids = tables
        result["against"] = {"pieces": len(theirs), "comparison": of_all.comparison}
        if of_grids:
            result["against"]["by_grid"] = {
                table.title: {
                    "pieces": len(table.ours),
                    "their_pieces": len(table.theirs),
                    "comparison": table.comparison,
                }
                for table in of_grids
            }
    return result


def _measure(pieces: Iterable[Analysis], path: Path, console: Console) -> list[Analysis]:
    if path.is_dir():
        pieces = track(pieces, f"measuring {escape(_name(path))}", console=console, transient=True)
    return list(pieces)


def _name(path: Path) -> str:
    """Return the name of a file or folder, also of a folder that is given as a dot."""
    return path.resolve().name if path.is_dir() else path.name


def _print(console: Console, title: str, rows: Rows) -> None:
    """Print a table without the columns of single voices and lags, which are in the files."""
    console.print(title, soft_wrap=True, highlight=False, markup=False)
    table = Table(box=box.SIMPLE)
    for column in rows[0]:
        table.add_column(column, no_wrap=True, justify="left" if column == "metric" else "right")
    for row in rows[1:]:
        if "." not in row[0]:
            table.add_row(*row)
    console.print(table)


def _print_sections(console: Console, sections: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    if sections:
        table = Table("metric", *(escape(section) for section in sections), box=box.SIMPLE)
        for name, value in next(iter(sections.values())).items():
            if value.ndim == 0:
                table.add_row(name, *(number(values[name].item()) for values in sections.values()))
        console.print(table)


def _map_section(folder: Path, options: ReadOptions) -> str:
    """Return a map of a folder, as the shipped model hears it, under a heading."""
    from hypermeter.play.loading import load_player
    from hypermeter.share.near import build_index
    from hypermeter.share.near.map import map_corpus, map_section

    corpus = map_corpus(build_index(folder, load_player("groove"), options))
    note = "Pieces that the model hears as alike are near to each other; pointing at one shows its name."
    return report.heading("Map", note) + map_section(corpus, f"Map of {_name(folder)}")


def _report(
    names: list[str],
    tables: Sequence[GridTable],
    ours: Sequence[Analysis],
    pictures: int,
    map_sections: Sequence[str] = (),
) -> str:
    """Return the report: the tables, with the distributions of each, a map, pictures of pieces, and definitions."""
    sections = []
    for table in tables:
        if len(tables) > 1:
            sections.append(report.heading(table.title, table.counts))
        sections.append(report.table(table.rows[0], table.rows[1:]))
        if len(table.ours) > 1 or table.theirs:
            label = "Distributions over pieces" if len(tables) == 1 else f"Distributions over pieces: {table.title}"
            scalars = {key: values for key, values in table.by_column.items() if "." not in key}
            sets = [scalars, columns(table.theirs)] if table.theirs else [scalars]
            drawing = report.draw_distributions(*sets, labels=names)
            sections += [report.heading(label) if len(tables) == 1 else "", report.picture(drawing, label)]
    sections += map_sections
    sections += [report.piece_section(piece.name, piece.groove) for piece in ours[:pictures]]
    if len(ours) > pictures:
        sections.append(f'<p class="note">{len(ours) - pictures} more pieces are in metrics.csv and metrics.json.</p>')
    sections += [report.heading("Definitions"), report.definitions(METRICS)]
    return report.page(f"Rhythm analysis: {' against '.join(names)}", sections)

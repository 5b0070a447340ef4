"""Rhythm analysis of files and folders: tables, CSV, JSON, and an HTML report."""

import csv
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
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
from hypermeter.io.grooves import read_grooves
from hypermeter.music.compare import compare
from hypermeter.music.metrics import METRICS, measure, window_metrics
from hypermeter.music.tables import number, to_json
from hypermeter.share import report

PIPE_WIDTH = 120
"""Columns of the table where the output is not a terminal."""

MOST_PICTURES = 12
"""Pieces of a folder that the report draws."""


@dataclass(frozen=True)
class Analysis:
    """A piece and its metrics.

    Args:
        name: of the file, below the folder; with a number where the file holds several pieces.
        groove: the piece.
        values: metric -> array, see ``metrics.measure``.
        losses: what of the file is not in its pieces, a line each.
    """

    name: str
    groove: Groove
    values: dict[str, np.ndarray]
    losses: list[str] = field(default_factory=list)

    @property
    def flat(self) -> dict[str, float]:
        """Numbers by column: metrics with one value, and those with one for each voice (name.voice) or lag (name.3).

        For each voice are those that say so by their annotation, ``"*B V"``, or have none and the shape (V,).
        """
        voices = load_kit(self.groove.kit).names
        columns: dict[str, float] = {}
        for name, value in self.values.items():
            if value.ndim == 0:
                columns[name] = value.item()
            elif name == "repetition_profile":
                columns |= {f"{name}.{lag}": each for lag, each in enumerate(value.tolist(), 1)}
            elif value.shape == (len(voices),) and _axes_of(name) in ("*B V", None):
                columns |= {f"{name}.{voice}": each for voice, each in zip(voices, value.tolist(), strict=True)}
        return columns


def _axes_of(name: str) -> str | None:
    """Of the value of a metric, as its annotation names them: a curve over as many steps as voices has their shape."""
    return getattr(signature(METRICS[name]).return_annotation, "dim_str", None)


def analyse(
    path: str | Path, kit: str | Kit | None = None, grid: Grid = Grid(), rejects: list[str] | None = None
) -> Iterator[Analysis]:
    """The pieces of ``read_grooves``, each with all METRICS."""
    for name, groove, losses in read_grooves(path, kit, grid, rejects):
        yield Analysis(name, groove, measure(groove), losses)


def columns(pieces: Sequence[Analysis]) -> dict[str, np.ndarray]:
    """Column -> its number in each piece, NaN where a piece has none."""
    flat = [piece.flat for piece in pieces]
    names = dict.fromkeys(name for each in flat for name in each)
    return {name: np.array([each.get(name, math.nan) for each in flat]) for name in names}


def compare_pieces(ours: Sequence[Analysis], theirs: Sequence[Analysis]) -> dict[str, dict[str, float]]:
    """``compare`` of each column that both have."""
    own, other = columns(ours), columns(theirs)
    return {name: compare(own[name], other[name]) for name in own if name in other}


def levels(groove: Groove, sections: Mapping[str, tuple[int, int]] | None = None) -> dict[str, Any]:
    """The full report of a piece, as the data set gives it of a window, and all scalar METRICS of every bar and phrase.

    Args:
        groove: the piece.
        sections: name -> (start, end) in bars, end not included.
    """
    hits, grid = groove.hits, groove.grid
    bounds = [(start * grid.steps_per_bar, end * grid.steps_per_bar) for start, end in (sections or {}).values()]
    full = window_metrics(hits, grid, bounds)
    full["section"] = dict(zip(sections or {}, full["section"], strict=True))
    scalars = [name for name, value in measure(_slice(groove, 0, grid.steps_per_bar)).items() if value.ndim == 0]
    for level, size in (("bar", grid.steps_per_bar), ("phrase", grid.steps_per_phrase)):
        full[level] |= measure(groove, scalars, size)
    for name, (start, end) in zip(sections or {}, bounds, strict=True):
        full["section"][name] |= measure(_slice(groove, start, end), scalars)
    return full


def _slice(groove: Groove, start: int, end: int) -> Groove:
    cut = {name: getattr(groove, name)[start:end] for name in ("hits", "velocity", "offset")}
    return replace(groove, **cut, sections=None)


def parse_sections(text: str, bars: int) -> dict[str, tuple[int, int]]:
    """``intro:4 verse:8`` -> {"intro": (0, 4), "verse": (4, 12)}, in bars; a name that comes again gets a number.

    Raises:
        HypermeterError: a part that is not name:bars, or more bars than there are.
    """
    sections: dict[str, tuple[int, int]] = {}
    start = 0
    for part in text.split():
        name, _, length = part.partition(":")
        if not name or not (length.isascii() and length.isdigit()) or not int(length):
            raise HypermeterError(f"sections: {part!r}, expected name:bars, as in 'intro:4 verse:8'")
        count = sum(each.partition(" ")[0] == name for each in sections)
        sections[f"{name} {count + 1}" if count else name] = (start, start + int(length))
        start += int(length)
    if start > bars:
        raise HypermeterError(f"sections: {start} bars in {text!r}, the piece has {bars}")
    return sections


def write_csv(pieces: Sequence[Analysis], path: Path) -> None:
    """One row a piece: name, bars, tempo, then the columns; empty where undefined."""
    table = columns(pieces)
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "bars", "tempo_bpm", *table])
        for row, piece in enumerate(pieces):
            numbers = ["" if math.isnan(values[row]) else f"{values[row]:.6g}" for values in table.values()]
            writer.writerow([piece.name, piece.groove.num_bars, f"{piece.groove.tempo_bpm:g}", *numbers])


def analyse_command(
    path: Annotated[Path, tyro.conf.arg(metavar="FILE_OR_FOLDER")],
    out: Path | None = None,
    against: Path | None = None,
    sections: str = "",
    kit: str | None = None,
    metre: str = "4/4",
    steps_per_beat: int = 4,
    bars_per_phrase: int = 4,
    pictures: int = MOST_PICTURES,
) -> None:
    """Measure the rhythm of a file or folder: a table, CSV, JSON and, with matplotlib, an HTML report with pictures.

    With --against, every metric is compared with that of another folder: effect size (d, Cohen's), overlapping area and
    KL divergence (nats) of the two distributions over pieces.

    Args:
        path: .mid, .midi, .npz, or a folder of them; or a groove as text, .txt, .tidal or .strudel.
        out: folder for report.html, metrics.csv and metrics.json; left out, NAME-analysis in the current folder.
        against: a file or folder to compare with.
        sections: of a single piece, in bars, as "intro:4 verse:8"; each is measured on its own.
        kit: gm10 (of MIDI, if left out), magenta9, gm, or the path of a YAML file. A .npz that names its kit keeps it.
        metre: of MIDI files, as 6/8. A .npz that tells its grid keeps it.
        steps_per_beat: likewise.
        bars_per_phrase: likewise.
        pictures: most pieces of a folder that the report draws.

    Raises:
        HypermeterError: nothing that can be read, sections that do not fit, pieces of different kits or grids to
            compare, a path that cannot be written.
    """
    console = Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)
    if pictures < 0:
        raise HypermeterError(f"pictures is {pictures}, expected at least 0")
    rejects: list[str] = []
    grid = Grid.of_metre(metre, steps_per_beat, bars_per_phrase)
    ours = _gather(path, kit, grid, rejects, console)
    theirs = [] if against is None else _gather(against, kit, grid, rejects, console)
    if sections and len(ours) > 1:
        raise HypermeterError(f"{path}: {len(ours)} pieces, --sections is for one; name a single file")
    kinds = {(load_kit(piece.groove.kit).names, piece.groove.grid) for piece in (*ours, *theirs)}
    if theirs and len(kinds) > 1:
        raise HypermeterError(f"{path} and {against}: of different kits or grids, on which metrics depend; use one")
    comparison = compare_pieces(ours, theirs) if theirs else {}
    own = columns(ours)
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
        result["levels"] = levels(groove, parse_sections(sections, groove.num_bars))
    if theirs:
        result["against"] = {"pieces": len(theirs), "comparison": comparison}

    rows, paths = _rows(own, comparison), [path] if against is None else [path, against]
    names = [_name(each) for each in paths]
    if len(set(names)) < len(paths):
        names = [str(each) for each in paths]
    _print(console, names[0], rows, len(ours), len(theirs), result.get("levels", {}).get("section", {}))
    folder = Path(f"{_name(path) if path.is_dir() else path.stem}-analysis") if out is None else out
    write_csv(ours, folder / "metrics.csv")
    with atomic_write(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(to_json(result), indent=1) + "\n", encoding="utf-8")
    written = ["metrics.csv", "metrics.json"]
    if find_spec("matplotlib"):
        written.insert(0, "report.html")
        with atomic_write(folder / "report.html") as temporary:
            temporary.write_text(_report(names, ours, theirs, rows, pictures), encoding="utf-8")
    for reason in rejects:
        console.print(f"left out: {reason}", style="yellow", soft_wrap=True, highlight=False, markup=False)
    for piece in {id(each.losses): each for each in (*ours, *theirs) if each.losses}.values():
        told = f"{piece.name}: {'; '.join(piece.losses)}"
        console.print(told, style="yellow", soft_wrap=True, highlight=False, markup=False)
    if "report.html" not in written:
        told = f"{folder / 'report.html'} is left out: its pictures need matplotlib; pip install matplotlib"
        console.print(told, soft_wrap=True, highlight=False, markup=False)
    for name in written:
        console.print(str(folder / name), soft_wrap=True, highlight=False, markup=False)


def _gather(path: Path, kit: str | None, grid: Grid, rejects: list[str], console: Console) -> list[Analysis]:
    pieces = analyse(path, kit, grid, rejects)
    if path.is_dir():
        pieces = track(pieces, f"measuring {escape(_name(path))}", console=console, transient=True)
    return list(pieces)


def _name(path: Path) -> str:
    """Of a file or folder, also of a folder that is given as a dot."""
    return path.resolve().name if path.is_dir() else path.name


def _rows(own: dict[str, np.ndarray], comparison: dict[str, dict[str, float]]) -> list[tuple[str, ...]]:
    """Header and rows of the table: of one piece its values, of more their mean and spread, and the comparison."""
    if comparison:
        rows = [("metric", "mean", "sd", "theirs", "sd", "d", "overlap", "KL")]
        keys = ("mean", "sd", "their_mean", "their_sd", "cohens_d", "overlap", "kl")
        return rows + [(name, *(number(each[key], 3) for key in keys)) for name, each in comparison.items()]
    if all(len(values) == 1 for values in own.values()):
        return [("metric", "value"), *((name, number(float(values[0]))) for name, values in own.items())]
    rows: list[tuple[str, ...]] = [("metric", "pieces", "mean", "sd", "least", "median", "greatest")]
    for name, values in own.items():
        known = values[np.isfinite(values)]
        if len(known):
            numbers = (
                known.mean(),
                known.std(ddof=1) if len(known) > 1 else math.nan,
                *np.quantile(known, (0, 0.5, 1)),
            )
            rows.append((name, str(len(known)), *(number(float(each)) for each in numbers)))
    return rows


def _print(
    console: Console,
    name: str,
    rows: list[tuple[str, ...]],
    pieces: int,
    others: int,
    sections: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """The table without the columns of single voices and lags, which stand in the files."""
    counts = f"{pieces} piece{'s' if pieces > 1 else ''}" + (f" against {others}" if others else "")
    table = Table(title=f"{escape(name)}: {counts}", box=box.SIMPLE)
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

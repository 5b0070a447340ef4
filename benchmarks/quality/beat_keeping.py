"""Whether a model keeps the beat: by styles, plans of sections and guidance, and over a thousand bars, beside people.

    python benchmarks/quality/beat_keeping.py MODEL NPZ/train [--styles rock pop] [--guidance 0 1] [--out OUT]

Pieces are what ``hypermeter generate --sections PLAN --style STYLE --guidance G --seed S`` plays from silence; each
plan has seeds of its own, from 0 on, since plans that begin alike would begin with the same music. People's are the
grooves of that style in NPZ/train in pieces of up to 32 bars. The measures are those of
``hypermeter.music.beat_keeping``; shares of distinct bars are of stretches of 32 bars in both. Intervals are 95 % by
bootstrap over pieces, and for people over performances. People's sections are those that ``segment`` finds by how alike
phrases are, so that their returns are alike by construction.

Free play is that of a style alone, and of no condition at all, over a thousand bars: means of stretches of 32 bars,
beside the range of nine in ten of people's pieces of all styles.

OUT.json keeps each finished cell, and a run that is started again with the same arguments goes on from there; OUT.md
has the tables.
"""

import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from hypermeter import load_player
from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.io.checkpoint import find_checkpoint
from hypermeter.learn.dataset import read_folder, read_meta
from hypermeter.learn.dataset.conditions import style_of
from hypermeter.learn.evaluate.music import cut
from hypermeter.music.beat_keeping import Roles, beat_keeping, distinct_bars, roles_of, section_likeness
from hypermeter.music.segment import segment
from hypermeter.music.tables import to_json
from hypermeter.play.compose import TEMPO_BPM
from hypermeter.play.loading import kit_of
from hypermeter.play.plan import FILL, labels_of_bars, plan_bars
from hypermeter.play.player import Player
from hypermeter.play.request import PlanOptions, SamplingOptions

PLANS = {
    "song": "intro:4 verse:16 fill:1 chorus:8",
    "long song": "intro:4 verse:16 fill:1 chorus:8 verse:16 fill:1 chorus:8 bridge:8 chorus:16 outro:4",
    "short sections": "verse:8 chorus:8 verse:8 chorus:8 bridge:8 chorus:8",
}
STRETCH = 32
"""Bars of people's pieces, of stretches of long play, and of those in which distinct bars are counted."""
MEASURES = ("backbeat", "pulse", "density", "thin_bars", "dropped", "runaway", "distinct_bars", "returns", "others")
DRAWS = 2_000

Values = dict[str, list[float]]
"""Measure -> its value in each piece."""


def measured(hits: np.ndarray, grid: Grid, roles: Roles, sections: Sequence[str]) -> dict[str, float]:
    """Return the measures of a piece (T, V); distinct bars are the mean over its stretches."""
    values = {name: float(value) for name, value in beat_keeping(hits, grid, roles).items()}
    stretches = [distinct_bars(stretch, grid) for stretch in cut([hits], grid, STRETCH)]
    values["distinct_bars"] = float(np.mean(stretches)) if stretches else math.nan
    return values | {name: float(value) for name, value in section_likeness(hits, grid, sections)._asdict().items()}


def by_measure(pieces: Sequence[dict[str, float]]) -> Values:
    return {name: [piece[name] for piece in pieces] for name in MEASURES}


@dataclass
class People:
    """People's pieces of one style, or of all: their measures, and the performance of each."""

    values: Values
    performances: list[int]


def people_of(folder: Path, grid: Grid, roles: Roles) -> dict[str, People]:
    """Return people's measures by style, and of all under ``all``.

    Raises:
        HypermeterError: no grooves of at least eight bars there.
    """
    found: dict[str, tuple[list[dict[str, float]], list[int]]] = {}
    for number, (path, hits) in enumerate(zip(*read_folder(folder), strict=True)):
        meta = read_meta(path)
        if meta.get("beat_type", "beat") != "beat":
            continue
        for piece in cut([hits], grid, STRETCH):
            sections = segment(piece, grid)[: len(piece) // grid.steps_per_bar].tolist()
            values = measured(piece, grid, roles, [str(section) if section else "" for section in sections])
            for style in ("all", style_of(meta)):
                pieces, performances = found.setdefault(style, ([], []))
                pieces.append(values)
                performances.append(number)
    if not found:
        raise HypermeterError(f"{folder}: no grooves of eight bars or more; name the train folder that prepare wrote")
    return {style: People(by_measure(pieces), numbers) for style, (pieces, numbers) in found.items() if style}


def draws_of_mean(values: Sequence[float], groups: Sequence[int], seed: int = 0) -> np.ndarray:
    """Return the mean in (DRAWS,) bootstrap samples of whole groups; values that are NaN are left out."""
    array, group = np.array(values, float), np.unique(np.array(groups), return_inverse=True)[1]
    is_defined = ~np.isnan(array)
    number = group.max() + 1
    sums = np.bincount(group[is_defined], array[is_defined], number)
    counts = np.bincount(group[is_defined], minlength=number)
    chosen = np.random.default_rng(seed).integers(number, size=(DRAWS, number))
    with np.errstate(invalid="ignore"):
        return sums[chosen].sum(1) / counts[chosen].sum(1)


def interval(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(draws, (0.025, 0.975)) if not np.isnan(draws).all() else (math.nan, math.nan)
    return float(low), float(high)


def mean(values: Sequence[float]) -> float:
    """Return the mean of the values that are defined; NaN without any."""
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def play(player: Player, options: PlanOptions, bars: int, guidance: float, seed: int, temperature: float) -> np.ndarray:
    """Return the drums (T, V) that ``generate`` plays from silence."""
    plan = plan_bars(player.labels, options, bars, grid=player.grid, tempo_bpm=TEMPO_BPM, name=player.name)
    sampling = SamplingOptions(temperature=temperature, guidance=guidance, seed=seed)
    return player.generate(bars * player.grid.steps_per_bar, None, sampling, plan=plan)[0, :, : player.num_drums]


def sections_of(plan: str) -> list[str]:
    """Return the section of each bar of a plan, "" for fills."""
    names = [name or "" for name in labels_of_bars(plan)]
    return ["" if name in FILL else name for name in names]


def cell(player: Player, style: str, plan: str, guidance: float, seeds: Sequence[int], temperature: float) -> Values:
    """Return the measures of pieces of a style under a plan, one for each seed."""
    sections, roles, pieces = sections_of(plan), roles_of(kit_of(player)), []
    options = PlanOptions(sections=plan, style=style)
    for seed in seeds:
        hits = play(player, options, len(sections), guidance, seed, temperature)
        pieces.append(measured(hits, player.grid, roles, sections))
    return by_measure(pieces)


def long_cell(
    player: Player, style: str | None, bars: int, guidance: float, seeds: int, temperature: float
) -> dict[str, Values]:
    """Return the measures of stretches of long pieces, one for each seed, by the bars that they begin and end with."""
    size, roles = player.grid.steps_per_bar, roles_of(kit_of(player))
    starts = [0, *range(100, bars - STRETCH + 1, 100)]
    starts = starts if bars - starts[-1] < 2 * STRETCH else [*starts, bars - STRETCH]
    pieces: dict[int, list[dict[str, float]]] = {start: [] for start in starts}
    for seed in range(seeds):
        hits = play(player, PlanOptions(style=style), bars, guidance, seed, temperature)
        for start in starts:
            stretch = hits[start * size : (start + STRETCH) * size]
            pieces[start].append(measured(stretch, player.grid, roles, [""] * STRETCH))
    return {f"bars {start + 1}-{start + STRETCH}": by_measure(values) for start, values in pieces.items()}


class Kept:
    """Finished cells in a JSON file, for one set of arguments.

    Args:
        path: of the file; None keeps nothing.
        arguments: what the cells depend on.

    Raises:
        HypermeterError: the file is of other arguments, or no such file.
    """

    def __init__(self, path: Path | None, arguments: dict[str, Any]):
        self.path, self.content = path, {"arguments": arguments, "cells": {}}
        if path is not None and path.exists():
            try:
                content = json.loads(path.read_text("utf-8"))
                is_same = content["arguments"] == arguments
            except (ValueError, KeyError, TypeError) as error:
                raise HypermeterError(f"{path}: not a file of this script ({error}); choose another --out") from error
            if not is_same:
                raise HypermeterError(f"{path}: of another model, data or other arguments; choose another --out")
            self.content = content

    def get(self, key: str, make: Callable[[], Any]) -> Any:
        """Return a cell: as it was kept, or else made and kept."""
        cells = self.content["cells"]
        if key not in cells:
            cells[key] = to_json(make())
            if self.path is not None:
                with atomic_write(self.path) as temporary:
                    temporary.write_text(json.dumps(self.content), encoding="utf-8")
        return _with_nan(cells[key])


def _with_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_nan(item) for key, item in value.items()}
    return [math.nan if item is None else item for item in value]


def shown(value: float, digits: int = 2) -> str:
    """Return a number without the zero before its point; a dash for NaN."""
    return "-" if math.isnan(value) else re.sub(r"^(-?)0\.", r"\1.", f"{value:.{digits}f}")


COLUMNS = {
    "pulse": ("pulse", 2),
    "density": ("density", 3),
    "thin_bars": ("thin bars", 3),
    "dropped": ("dropped", 3),
    "runaway": ("run away", 3),
    "distinct_bars": ("distinct", 2),
    "returns": ("returns", 2),
    "others": ("others", 2),
}
"""Measure -> heading of its column, digits after the point."""


def row(name: Sequence[str], values: Values, groups: Sequence[int], less: np.ndarray | None) -> list[str]:
    """Return the cells of a row of a table: the backbeat with its interval, and by how much it is above people's."""
    draws = draws_of_mean(values["backbeat"], groups)
    low, high = interval(draws)
    cells = [*name, f"{shown(mean(values['backbeat']))} ({shown(low)} to {shown(high)})"]
    if less is None:
        cells.append("-")
    else:
        low, high = interval(draws - less)
        difference = mean(values["backbeat"]) - float(np.nanmean(less))
        cells.append(f"{difference:+.2f} ({low:+.2f} to {high:+.2f})")
    return cells + [shown(mean(values[measure]), digits) for measure, (_, digits) in COLUMNS.items()]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)]


def main(
    model: tyro.conf.Positional[str],
    npz_dir: tyro.conf.Positional[Path],
    styles: tuple[str, ...] = (),
    plans: tuple[str, ...] = tuple(PLANS),
    guidance: tuple[float, ...] = (0.0, 0.5, 1.0),
    seeds: int = 20,
    long_bars: int = 1_000,
    long_seeds: int = 8,
    long_styles: tuple[str, ...] = ("", "rock"),
    temperature: float = 1.0,
    out: Path | None = None,
) -> None:
    """Print tables of how well a model keeps the beat, beside people.

    Args:
        model: its name or path.
        npz_dir: folder of people's performances, such as NPZ/train.
        styles: of the model; all that people play there by default.
        plans: names of plans, see PLANS, or texts of sections.
        guidance: strengths of guidance.
        seeds: pieces of each style, plan and guidance.
        long_bars: bars of long play; 0 leaves it out.
        long_seeds: pieces of each.
        long_styles: conditions of long play; "" is none.
        temperature: of all of them.
        out: OUT.json keeps the cells, OUT.md has the tables.
    """
    player = load_player(model)
    if player.labels is None:
        raise HypermeterError(f"{model}: made without labels, so it takes no plan; train it with --only plan")
    if seeds < 1 or (long_bars and (long_seeds < 1 or long_bars < STRETCH)):
        raise HypermeterError(f"seeds and long_seeds: at least 1, and long_bars 0 or at least {STRETCH}")
    people = people_of(npz_dir, player.grid, roles_of(kit_of(player)))
    styles = styles or tuple(style for style in player.labels["style"] if style in people)
    if unknown := sorted({*styles, *long_styles} - {*player.labels["style"], ""}):
        raise HypermeterError(f"{model}: no style {unknown[0]!r}; it has {', '.join(player.labels['style'])}")
    weights = find_checkpoint(model)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else str(weights)
    kept = Kept(
        out and out.with_suffix(".json"),
        {"weights": digest, "seeds": seeds, "long": [long_bars, long_seeds], "temperature": temperature},
    )
    lines = [f"# How {model} keeps the beat", ""]
    lines += [f"{seeds} pieces a row, temperature {temperature:g}; people: {npz_dir}.", ""]
    headings = [heading for heading, _ in COLUMNS.values()]
    columns = ["style", "plan", "guidance", "backbeat (95 %)", "above people's", *headings]
    rows, over_plans = [], []
    for number, style in enumerate(styles):
        draws = None
        if style in people:
            theirs = people[style]
            draws = draws_of_mean(theirs.values["backbeat"], theirs.performances, seed=1)
            rows.append(row((style, "people", "-"), theirs.values, theirs.performances, None))
        of_guidance: dict[float, list[Values]] = {strength: [] for strength in guidance}
        for place, plan in enumerate(plans):
            for strength in guidance:
                text, of_plan = PLANS.get(plan, plan), range(place * seeds, (place + 1) * seeds)
                key = f"{style} | {text} | {strength:g} | {of_plan.start}"
                arguments = player, style, text, strength, of_plan, temperature
                values = kept.get(key, lambda arguments=arguments: cell(*arguments))
                of_guidance[strength].append(values)
                rows.append(row((style, plan, f"{strength:g}"), values, of_plan, draws))
                note = f"{number + 1} of {len(styles)}: {style}, {plan}, guidance {strength:g}: backbeat"
                print(f"{note} {shown(mean(values['backbeat']))}", file=sys.stderr)
        for strength, every in of_guidance.items():
            values = {name: [value for measures in every for value in measures[name]] for name in MEASURES}
            over_plans.append(row((style, "all", f"{strength:g}"), values, range(len(values["backbeat"])), draws))
    lines += ["All plans together:", "", *table(columns, over_plans), "", *table(columns, rows), ""]
    for style in long_styles if long_bars else ():
        for strength in guidance if style else (0.0,):
            key = f"long | {style} | {strength:g}"
            arguments = player, style or None, long_bars, strength, long_seeds, temperature
            stretches = kept.get(key, lambda arguments=arguments: long_cell(*arguments))
            lines += long_table(style, strength, stretches, people["all"], long_seeds)
            print(f"long play, {style or 'no condition'}, guidance {strength:g}: done", file=sys.stderr)
    text = "\n".join(lines)
    print(text)
    if out is not None:
        with atomic_write(out.with_suffix(".md")) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


LONG_MEASURES = tuple(name for name in MEASURES if name not in ("returns", "others"))


def long_table(style: str, guidance: float, stretches: dict[str, Values], people: People, seeds: int) -> list[str]:
    """Return the table of long play: means of stretches, beside the range of nine in ten of people's pieces."""
    rows, outside = [], []
    ranges = {name: np.nanquantile(people.values[name], (0.05, 0.95)) for name in LONG_MEASURES}
    rows.append(["people, nine in ten", *(f"{shown(low, 3)} to {shown(high, 3)}" for low, high in ranges.values())])
    for stretch, values in stretches.items():
        means = {name: mean(values[name]) for name in LONG_MEASURES}
        rows.append([stretch, *(shown(value, 3) for value in means.values())])
        outside += [f"{name} of {stretch}" for name, value in means.items() if not _is_within(value, ranges[name])]
    what = f"style {style}, guidance {guidance:g}" if style else "no condition"
    return [
        f"Long play, {what}, {seeds} pieces:",
        "",
        *table(["stretch", *LONG_MEASURES], rows),
        "",
        f"Outside of people's range: {', '.join(outside) or 'none'}.",
        "",
    ]


def _is_within(value: float, bounds: Any) -> bool:
    return bool(bounds[0] <= value <= bounds[1])


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"beat_keeping: {error}", file=sys.stderr)
        sys.exit(2)

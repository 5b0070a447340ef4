"""The benchmark card of one or more systems on held-out performances, as Markdown and as what JSON can hold."""

import csv
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit
from hypermeter.core.limits import check_seed
from hypermeter.core.tracks import Track
from hypermeter.io.grooves import read_grooves
from hypermeter.io.npz import are_alike
from hypermeter.learn.dataset import common_kit_and_grid, read_folder, read_meta, with_tracks
from hypermeter.learn.evaluate.command import BARS, LONG_BARS, PIECES
from hypermeter.learn.evaluate.floors import floors
from hypermeter.learn.evaluate.likelihood import bits_of_parts, forecasts, one_step_ahead, performance_bits, summarize
from hypermeter.learn.evaluate.music import compare_music, cut, drift, generated_pieces
from hypermeter.learn.evaluate.rows import drift_rows, likelihood, metric_rows, music_rows, overview
from hypermeter.learn.prepare import SPLITS
from hypermeter.model.hierarchical import HierarchicalDrumModel


def read_performances(
    npz_dir: str | Path,
    kit: Kit | None = None,
    grid: Grid = Grid(),
    tracks: Sequence[Track] = (),
    mix_metres: bool = False,
) -> tuple[list[np.ndarray], list[list[str]], Kit | None, Grid]:
    """Performances with a step below a folder, the groups that each belongs to, and the kit and grid of all.

    Args:
        npz_dir: the folder.
        kit: of files that name none; None, nobody knows it.
        grid: of files that tell none.
        tracks: whose columns follow the voices of each performance, see ``with_tracks``.
        mix_metres: as for ``common_kit_and_grid``.

    Raises:
        HypermeterError: none there, a bad file, or files of different kits or grids.
    """
    files, sequences = read_folder(Path(npz_dir))
    sequences = [with_tracks(*each, tracks) for each in zip(files, sequences, strict=True)]
    return sequences, _groups_of(files), *common_kit_and_grid(files, kit, grid, mix_metres)


def _groups_of(files: Sequence[Path]) -> list[list[str]]:
    """What each performance is by its meta: beat or fill, and its style."""
    groups = []
    for meta in map(read_meta, files):
        style, beat_type = meta.get("style"), meta.get("beat_type")
        groups.append([each for each in (beat_type, style and f"style: {style.split('/')[0]}") if each])
    return groups


def evaluate(
    model: HierarchicalDrumModel,
    npz_dir: str | Path,
    seed: int = 0,
    *,
    pieces: int = PIECES,
    bars: int = BARS,
    long_bars: int = LONG_BARS,
    temperature: float = 1.0,
    mix_metres: bool = False,
) -> dict[str, Any]:
    """Everything the card says of a model, as a dict that JSON can hold.

    Args:
        model: in eval mode.
        npz_dir: folder of performances that the model has not seen. Where a folder ``train`` stands beside it, the
            floors are fitted on that, and copied bars are looked for there.
        seed: of the bootstrap and of the music.
        pieces: that the model plays; 0 leaves out the music.
        bars: of each; for the comparison they are cut to lengths as people's pieces have them.
        long_bars: of the pieces that tell whether it drifts; 0 leaves that out.
        temperature: at which the model plays, at least 0.
        mix_metres: take performances in several metres whose bars have as many steps, as if all were in the model's.

    Raises:
        HypermeterError: no .npz there, a bad one, or of another kit or grid than the model's; a number out of range.
    """
    check_numbers(seed, pieces, bars, long_bars, temperature)
    sequences, groups, kit, grid = read_performances(npz_dir, model.kit, model.grid, model.tracks, mix_metres)
    if mix_metres and are_alike(grid, model.grid):
        grid = model.grid
    _check(model, sequences, kit, grid, npz_dir)
    drums = [each[:, : model.num_drums] for each in sequences]
    bits, steps = performance_bits(model, sequences), np.array([len(each) for each in sequences])
    result: dict[str, Any] = {
        "parameters": sum(each.numel() for each in model.parameters()),
        **_bits_of_groups(bits, steps, groups, seed),
        "forecasts": forecasts(model, sequences),
        "next_step": one_step_ahead(model, sequences),
        "voices": list(kit.names) if kit else [f"voice {column}" for column in range(model.num_drums)],
        "seed": seed,
    }
    if model.tracks:
        parts = bits_of_parts(model, sequences)
        result["parts"] = {name: summarize(each, steps, seed) for name, each in parts.items()}
    if pieces:
        result["temperature"] = temperature
    train = _train_beside(npz_dir, drums, kit, grid, mix_metres)
    if train:
        result["floors"] = floors(train, drums, grid.steps_per_bar, seed)
    theirs = cut(drums, grid, bars)
    if pieces and theirs:
        made = generated_pieces(model, grid, pieces, bars, seed, temperature)
        result["music"] = compare_music(made, theirs, grid, train, kit.streams if kit else None)
    if pieces and long_bars:
        result["long_bars"] = long_bars
        result["drift"] = drift(generated_pieces(model, grid, pieces, long_bars, seed, temperature), grid)
    return result


def check_numbers(seed: int = 0, pieces: int = 0, bars: int = 1, long_bars: int = 0, temperature: float = 0.0) -> None:
    check_seed(seed)
    for name, value, least in (
        ("pieces", pieces, 0),
        ("bars", bars, 1),
        ("long_bars", long_bars, 0),
        ("temperature", temperature, 0),
    ):
        if not least <= value < math.inf:
            raise HypermeterError(f"evaluate: {name} is {value}, expected at least {least}")


def _bits_of_groups(bits: np.ndarray, steps: np.ndarray, groups: Sequence[Sequence[str]], seed: int) -> dict[str, Any]:
    """``summarize`` of all performances, and of each group."""
    by_group: dict[str, dict[str, float]] = {}
    for group in sorted({each for members in groups for each in members}):
        rows = np.array([group in members for members in groups])
        by_group[group] = summarize(bits[rows], steps[rows], seed)
    return {"all": summarize(bits, steps, seed), "groups": by_group}


def evaluate_bits(path: str | Path, npz_dir: str | Path, seed: int = 0, *, mix_metres: bool = False) -> dict[str, Any]:
    """The card of a system of which only the likelihoods are known.

    Args:
        path: CSV with the columns ``name``, a performance as its path below npz_dir, and ``bits``, -log2 of the
            probability of all of it. Every performance with a step in it is there once. Other names are left out:
            ``rejects`` has them.
        npz_dir: folder of performances.
        seed: of the bootstrap.
        mix_metres: as for ``common_kit_and_grid``.

    Raises:
        HypermeterError: a file that cannot be read, without a finite number of bits for each performance, or with a
            name twice.
    """
    check_numbers(seed)
    files, sequences = read_folder(Path(npz_dir))
    common_kit_and_grid(files, mix_metres=mix_metres)  # of several, bits would not be of one thing
    names = [each.relative_to(npz_dir).as_posix() for each in files]
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [(row["name"], float(row["bits"])) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise HypermeterError(f"{path}: cannot be read ({error}); expected CSV with name and bits") from error
    found = dict(rows)
    if len(found) < len(rows):
        (twice, _), *_ = Counter(name for name, _ in rows).most_common(1)
        raise HypermeterError(f"{path}: {twice} more than once; expected one row for each performance")
    rejects = [f"{path}: {name} is no performance in {npz_dir}" for name in sorted(set(found) - set(names))]
    for name in names:
        if not 0 <= found.get(name, math.nan) < math.inf:
            raise HypermeterError(f"{path}: no finite bits for {name}; expected a row for each performance")
    bits, steps = np.array([found[name] for name in names]), np.array([len(each) for each in sequences])
    return {**_bits_of_groups(bits, steps, _groups_of(files), seed), "rejects": rejects, "seed": seed}


def evaluate_music(
    folder: str | Path,
    npz_dir: str | Path,
    *,
    bars: int = BARS,
    seed: int = 0,
    kit: str = "gm10",
    mix_metres: bool = False,
) -> dict[str, Any]:
    """The card of music that some other system wrote: a folder of MIDI or .npz, without likelihoods.

    What cannot be read, or is of another kit or grid than the performances, is left out: ``rejects`` has the reasons.
    With ``mix_metres``, performances and pieces may be in several metres whose bars have as many steps.

    Raises:
        HypermeterError: no piece that is long enough is left.
    """
    check_numbers(seed, bars=bars)
    sequences, _, own_kit, grid = read_performances(npz_dir, mix_metres=mix_metres)
    rejects: list[str] = []
    pieces = []
    for name, groove, _ in read_grooves(folder, own_kit or kit, grid, rejects):
        fits = groove.grid == grid or (mix_metres and are_alike(groove.grid, grid))
        if fits and groove.hits.shape[1] == sequences[0].shape[1]:
            pieces.append(groove.hits)
        else:
            rejects.append(f"{Path(folder, name)}: of another kit or grid than {npz_dir}; write it on the same")
    made, theirs = cut(pieces, grid, bars), cut(sequences, grid, bars)
    if not theirs:
        raise HypermeterError(f"{npz_dir}: no performance of at least 8 bars; expected longer ones to compare with")
    if not made:
        reason = f" ({rejects[0]})" if rejects else ""
        raise HypermeterError(f"{folder}: no piece of at least 8 bars; expected pieces of about {bars} bars{reason}")
    train = _train_beside(npz_dir, sequences, own_kit, grid, mix_metres)
    music = compare_music(made, theirs, grid, train, own_kit.streams if own_kit else None)
    return {"music": music, "rejects": rejects, "seed": seed}


def _train_beside(
    npz_dir: str | Path, drums: Sequence[np.ndarray], kit: Kit | None, grid: Grid, mix_metres: bool
) -> list[np.ndarray]:
    """Performances of the folder ``train`` beside a split; none where there is none, or where it is that one.

    Raises:
        HypermeterError: of other voices or another grid than the performances of the split.
    """
    folder = Path(npz_dir).resolve()
    train = folder.parent / SPLITS[0]
    if folder.name not in SPLITS[1:] or not train.is_dir():
        return []
    sequences, _, own_kit, own_grid = read_performances(train, kit, grid, mix_metres=mix_metres)
    fits = own_grid == grid or (mix_metres and are_alike(own_grid, grid))
    if not fits or own_kit != kit or sequences[0].shape[1] != drums[0].shape[1]:
        raise HypermeterError(f"{train}: of another kit or grid than {folder.name} beside it; prepare both alike")
    return sequences


def _check(
    model: HierarchicalDrumModel, sequences: Sequence[np.ndarray], kit: Kit | None, grid: Grid, where: str | Path
) -> None:
    voices = sequences[0].shape[1] - (model.width - model.num_drums)
    if voices != model.num_drums:
        raise HypermeterError(f"{where}: {voices} voices, the model has {model.num_drums}; use its kit")
    if kit is not None and model.kit is not None and kit != model.kit:
        raise HypermeterError(f"{where}: kit {kit.name}, the model has {model.kit.name}; prepare with the model's kit")
    if grid != model.grid:
        raise HypermeterError(
            f"{where}: {grid.metre} of {grid.steps_per_bar} steps a bar and {grid.bars_per_phrase} bars a phrase, the"
            f" model plays {model.grid.metre} of {model.grid.steps_per_bar} and {model.grid.bars_per_phrase}; prepare"
            " with the model's metre"
        )


def card(title: str, systems: dict[str, dict[str, Any]]) -> str:
    """Systems as Markdown: one row each in the tables that compare them, then the details of the first."""
    name, first = next(iter(systems.items()))
    lines = [f"# {title}", "", *overview(systems), ""]
    if any("parts" in each for each in systems.values()):
        lines += [
            "Bits of a model with tracks are of drums and tracks together, and in the rows after it of each: of the"
            " drums, and of a track given the drums of the same step. Floors, hits, forecasts and music are of"
            " the drums.",
            "",
        ]
    if "next_step" in first:
        lines += likelihood(name, first)
    if any("music" in each for each in systems.values()):
        lines += ["", "## Music", "", *music_rows(systems)]
    for system, each in systems.items():
        if each.get("rejects"):
            lines += ["", f"Left out of {system}: {len(each['rejects'])}, which cannot be read or do not fit."]
    if "music" in first:
        lines += ["", *metric_rows(name, first["music"])]
    if first.get("drift"):
        lines += [
            "",
            f"Over {first['long_bars']} bars, means over the pieces of {name}:",
            "",
            *drift_rows(first["drift"]),
        ]
    played = f", and music, played at temperature {first['temperature']:g}" if "temperature" in first else ""
    return "\n".join([*lines, "", f"Seed {first['seed']}: bootstrap over performances{played}.", ""])

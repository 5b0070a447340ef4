"""``hypermeter evaluate``: one or more systems on held-out performances, as a card in Markdown and JSON."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from hypermeter.analyse import read_grooves, to_json
from hypermeter.dataset import common_kit_and_grid, read_folder, read_meta
from hypermeter.evaluate.floors import floors
from hypermeter.evaluate.likelihood import forecasts, one_step_ahead, performance_bits, summarize
from hypermeter.evaluate.music import compare_music, cut, drift, generated_pieces
from hypermeter.grid import Grid, HypermeterError, atomic_write
from hypermeter.inspection import number
from hypermeter.kit import Kit
from hypermeter.model import HierarchicalDrumModel, load
from hypermeter.prepare import SPLITS

PIECES = 64
BARS = 32
LONG_BARS = 256


def read_performances(
    npz_dir: str | Path, kit: Kit | None = None, grid: Grid = Grid()
) -> tuple[list[np.ndarray], list[list[str]], Kit | None, Grid]:
    """Performances with a step below a folder, the groups that each belongs to, and the kit and grid of all.

    Args:
        npz_dir: the folder.
        kit: of files that name none; None, nobody knows it.
        grid: of files that tell none.

    Raises:
        HypermeterError: none there, a bad file, or files of different kits or grids.
    """
    files, sequences = read_folder(Path(npz_dir))
    return sequences, _groups_of(files), *common_kit_and_grid(files, kit, grid)


def _groups_of(files: Sequence[Path]) -> list[list[str]]:
    """What each performance is by its meta: beat or fill, and its style."""
    groups = []
    for meta in map(read_meta, files):
        style, beat_type = meta.get("style"), meta.get("beat_type")
        groups.append([each for each in (beat_type, style and f"style: {str(style).split('/')[0]}") if each])
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

    Raises:
        HypermeterError: no .npz there, a bad one, or of another kit or grid than the model's.
    """
    sequences, groups, kit, grid = read_performances(npz_dir, model.kit, model.grid)
    _check(model, sequences, kit, grid, npz_dir)
    bits, steps = performance_bits(model, sequences), np.array([len(each) for each in sequences])
    result: dict[str, Any] = {
        "parameters": sum(each.numel() for each in model.parameters()),
        **_bits_of_groups(bits, steps, groups, seed),
        "forecasts": forecasts(model, sequences),
        "next_step": one_step_ahead(model, sequences),
        "voices": list(kit.names) if kit else [f"voice {column}" for column in range(model.num_drums)],
        "seed": seed,
    }
    if pieces:
        result["temperature"] = temperature
    train = _train_beside(npz_dir)
    if train:
        result["floors"] = floors(train, sequences, grid.steps_per_bar, seed)
    if pieces and cut(sequences, grid, bars):
        made = generated_pieces(model, grid, pieces, bars, seed, temperature)
        result["music"] = _music(made, sequences, grid, bars, train, kit)
    if pieces and long_bars:
        result["long_bars"] = long_bars
        result["drift"] = drift(generated_pieces(model, grid, pieces, long_bars, seed, temperature), grid)
    return result


def _bits_of_groups(bits: np.ndarray, steps: np.ndarray, groups: Sequence[Sequence[str]], seed: int) -> dict[str, Any]:
    """``summarize`` of all performances, and of each group."""
    by_group: dict[str, dict[str, float]] = {}
    for group in sorted({each for members in groups for each in members}):
        rows = np.array([group in members for members in groups])
        by_group[group] = summarize(bits[rows], steps[rows], seed)
    return {"all": summarize(bits, steps, seed), "groups": by_group}


def evaluate_bits(path: str | Path, npz_dir: str | Path, seed: int = 0) -> dict[str, Any]:
    """The card of a system of which only the likelihoods are known.

    Args:
        path: CSV with the columns ``name``, a performance as its path below npz_dir, and ``bits``, -log2 of the
            probability of all of it. Every performance with a step in it is there once.
        npz_dir: folder of performances.
        seed: of the bootstrap.

    Raises:
        HypermeterError: a file that cannot be read, or without a finite number of bits for each performance.
    """
    files, sequences = read_folder(Path(npz_dir))
    common_kit_and_grid(files)  # of several, bits would not be of one thing
    names = [each.relative_to(npz_dir).as_posix() for each in files]
    try:
        with open(path, newline="", encoding="utf-8") as file:
            found = {row["name"]: float(row["bits"]) for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise HypermeterError(f"{path}: cannot be read ({error}); expected CSV with name and bits") from error
    for name in names:
        if not 0 <= found.get(name, math.nan) < math.inf:
            raise HypermeterError(f"{path}: no finite bits for {name}; expected a row for each performance")
    bits, steps = np.array([found[name] for name in names]), np.array([len(each) for each in sequences])
    return {**_bits_of_groups(bits, steps, _groups_of(files), seed), "seed": seed}


def evaluate_music(
    folder: str | Path, npz_dir: str | Path, *, bars: int = BARS, seed: int = 0, kit: str = "gm10"
) -> dict[str, Any]:
    """The card of music that some other system wrote: a folder of MIDI or .npz, without likelihoods.

    What cannot be read, or is of another kit or grid than the performances, is left out: ``rejects`` has the reasons.

    Raises:
        HypermeterError: no piece that is long enough is left.
    """
    sequences, _, own_kit, grid = read_performances(npz_dir)
    rejects: list[str] = []
    pieces = []
    for name, groove, _ in read_grooves(folder, own_kit or kit, grid, rejects):
        if groove.grid == grid and groove.hits.shape[1] == sequences[0].shape[1]:
            pieces.append(groove.hits)
        else:
            rejects.append(f"{Path(folder, name)}: of another kit or grid than {npz_dir}; write it on the same")
    made = cut(pieces, grid, bars)
    if not made:
        reason = f" ({rejects[0]})" if rejects else ""
        raise HypermeterError(f"{folder}: no piece of at least 8 bars; expected pieces of about {bars} bars{reason}")
    music = _music(made, sequences, grid, bars, _train_beside(npz_dir), own_kit)
    return {"music": music, "rejects": rejects, "seed": seed}


def _music(
    made: Sequence[np.ndarray],
    sequences: Sequence[np.ndarray],
    grid: Grid,
    bars: int,
    train: Sequence[np.ndarray],
    kit: Kit | None,
) -> dict[str, Any]:
    return compare_music(made, cut(sequences, grid, bars), grid, train, kit.streams if kit else None)


def _train_beside(npz_dir: str | Path) -> list[np.ndarray]:
    """Performances of the folder ``train`` beside a split; none where there is none, or where it is that one."""
    folder = Path(npz_dir)
    train = folder.parent / SPLITS[0]
    if folder.name not in SPLITS[1:] or not train.is_dir():
        return []
    return read_performances(train)[0]


def _check(
    model: HierarchicalDrumModel, sequences: Sequence[np.ndarray], kit: Kit | None, grid: Grid, where: str | Path
) -> None:
    if sequences[0].shape[1] != model.num_drums:
        raise HypermeterError(f"{where}: {sequences[0].shape[1]} voices, the model has {model.num_drums}; use its kit")
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
    lines = [f"# {title}", "", *_overview(systems), ""]
    if "next_step" in first:
        lines += _likelihood(name, first)
    if any("music" in each for each in systems.values()):
        lines += ["", "## Music", "", *_music_rows(systems)]
    for system, each in systems.items():
        if each.get("rejects"):
            lines += ["", f"Left out of {system}: {len(each['rejects'])}, which cannot be read or do not fit."]
    if "music" in first:
        lines += ["", *_metric_rows(name, first["music"])]
    if first.get("drift"):
        lines += [
            "",
            f"Over {first['long_bars']} bars, means over the pieces of {name}:",
            "",
            *_drift_rows(first["drift"]),
        ]
    played = f", and music, played at temperature {first['temperature']:g}" if "temperature" in first else ""
    return "\n".join([*lines, "", f"Seed {first['seed']}: bootstrap over performances{played}.", ""])


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(each)} |" for each in (columns, ["---"] * len(columns), *rows)]


def _overview(systems: dict[str, dict[str, Any]]) -> list[str]:
    rows: list[Sequence[str]] = []
    floors_found = next((each["floors"] for each in systems.values() if "floors" in each), {})
    for name, each in floors_found.items():
        rows.append((f"floor: {name}", "-", *_bits(each), "-", "-"))
    for name, each in systems.items():
        if "all" in each:
            step = each.get("next_step")
            accuracy = (f"{step['f1']:.3f}", f"{step['calibration_error']:.4f}") if step else ("-", "-")
            parameters = f"{each['parameters']:,}" if "parameters" in each else "-"
            rows.append((name, parameters, *_bits(each["all"]), *accuracy))
    columns = ("system", "parameters", *BITS_COLUMNS, "hit F1", "calibration error")
    return _table(columns, rows) if rows else []


BITS_COLUMNS = ("bits per step", "95 % interval", "mean of performances")


def _bits(each: dict[str, float]) -> tuple[str, str, str]:
    interval = f"{each['low']:.3f} to {each['high']:.3f}"
    return f"{each['bits_per_step']:.3f}", interval, f"{each['mean_of_performances']:.3f}"


def _likelihood(name: str, result: dict[str, Any]) -> list[str]:
    groups = {"all": result["all"], **result["groups"]}
    rows: list[Sequence[str]] = [
        (group, f"{each['performances']:.0f}", f"{each['steps']:.0f}", *_bits(each)) for group, each in groups.items()
    ]
    lines = [f"## {name}", "", *_table(("performances", "number", "steps", *BITS_COLUMNS), rows), ""]
    bits = result["next_step"]["voice_bits"]
    voices = [*zip(result["voices"], bits, strict=True), ("sum", sum(bits))]
    lines += [*_table(("voice on its own", "bits per step"), [(voice, f"{each:.3f}") for voice, each in voices]), ""]
    rows = []
    for level, each in result["forecasts"].items():
        entropies = (f"{each['model_bce']:.4f}", f"{each['last_bce']:.4f}")
        rows.append((f"next {level}", *entropies, f"{each['model_mse']:.5f}", f"{each['last_mse']:.5f}"))
    columns = ("forecast", "cross entropy a cell", "repeating the last", "squared error a cell", "repeating the last")
    step = result["next_step"]
    f1 = f"precision {step['precision']:.3f}, recall {step['recall']:.3f}, F1 {step['f1']:.3f}"
    return [*lines, *_table(columns, rows), "", f"Hits one step ahead: {f1}."]


def _music_rows(systems: dict[str, dict[str, Any]]) -> list[str]:
    with_music = {name: each["music"] for name, each in systems.items() if "music" in each}
    first = next(iter(with_music.values()))

    def row(name: str, each: dict[str, Any], who: str) -> tuple[str, ...]:
        profile = " ".join(f"{value:.3f}".lstrip("0") for value in each[f"{who}repetition"])
        copied = each.get(f"{who}copied")
        shares = ["-" if copied is None else f"{100 * copied:.1f} %", f"{100 * each[f'{who}distinct']:.1f} %"]
        gap, overlap = ("-", "-") if who else (f"{each['repetition_gap']:.3f}", f"{each['overlap']:.3f}")
        return (name, overlap, profile, gap, *shares)

    rows = [row("people, held out", first, "human_")] + [row(name, each, "") for name, each in with_music.items()]
    columns = (
        "music of",
        "mean overlap",
        "repetition, 1 to 8 bars back",
        "greatest gap",
        "bars copied",
        "bars distinct",
    )
    return _table(columns, rows)


def _metric_rows(name: str, music: dict[str, Any]) -> list[str]:
    keys = ("their_mean", "their_sd", "mean", "sd", "cohens_d", "overlap", "kl")
    rows = [(metric, *(number(each[key], 3) for key in keys)) for metric, each in music["metrics"].items()]
    columns = ("metric", "people: mean", "sd", f"{name}: mean", "sd", "Cohen's d", "overlap", "KL (nats)")
    return _table(columns, rows)


def _drift_rows(stretches: dict[str, dict[str, float]]) -> list[str]:
    names = list(next(iter(stretches.values())))
    rows = [(stretch, *(number(means[name]) for name in names)) for stretch, means in stretches.items()]
    return _table(("stretch", *names), rows)


def evaluate_command(
    model: Annotated[str, tyro.conf.arg(metavar="MODEL")],
    npz_dir: Annotated[Path, tyro.conf.arg(metavar="NPZ_DIR")],
    beside: tuple[str, ...] = (),
    out: Path | None = None,
    seed: int = 0,
    pieces: int = PIECES,
    bars: int = BARS,
    long_bars: int = LONG_BARS,
    temperature: float = 1.0,
) -> None:
    """Print the benchmark card of a model on held-out performances.

    Bits per step are summed over voices: lower is better. Each performance is read whole, each step predicted from all
    before it. Then the model plays, and its music is compared with people's.

    Args:
        model: a shipped model's name, a checkpoint, or the folder of a training run. Of some other system: a folder of
            MIDI or .npz that it wrote, of which the music is judged, or a CSV of the bits that each performance costs
            it, with the columns name (the path below NPZ_DIR) and bits.
        npz_dir: folder of .npz, such as the validation folder that prepare wrote, with train beside it.
        beside: more of the same, each a row in the tables that compare systems.
        out: where given, the card goes to OUT.md and OUT.json as well.
        seed: of the bootstrap and of the music.
        pieces: that a model plays; 0 leaves out the music.
        bars: of each; for the comparison they are cut to lengths as people's pieces have them.
        long_bars: of the pieces that tell whether it drifts; 0 leaves that out.
        temperature: at which models play, at least 0.

    Raises:
        HypermeterError: a model, folder or file that does not fit.
    """
    systems: dict[str, dict[str, Any]] = {}
    for name in (model, *beside):
        if _is_music(Path(name)):
            systems[name] = evaluate_music(name, npz_dir, bars=bars, seed=seed)
            for reason in systems[name]["rejects"]:
                print(f"left out: {reason}")
        elif Path(name).suffix == ".csv":
            systems[name] = evaluate_bits(name, npz_dir, seed)
        else:
            options: dict[str, Any] = {"pieces": pieces, "bars": bars, "temperature": temperature}
            systems[name] = evaluate(load(name), npz_dir, seed, **options, long_bars=0 if systems else long_bars)
    text = card(f"{model} on {npz_dir.name}", systems)
    print(text)
    if out is not None:
        content = json.dumps(to_json(systems), indent=1) + "\n"
        for path, each in ((out.with_suffix(".md"), text), (out.with_suffix(".json"), content)):
            with atomic_write(path) as temporary:
                temporary.write_text(each, encoding="utf-8")
            print(path)


def _is_music(path: Path) -> bool:
    """A folder without weights is music."""
    return path.is_dir() and not any(path.glob("*.safetensors"))

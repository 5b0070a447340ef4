"""The benchmark card of one or more systems on held-out performances, as Markdown and as what JSON can hold."""

import csv
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit
from hypermeter.core.limits import check_seed
from hypermeter.io.grooves import read_grooves
from hypermeter.io.npz import have_equal_steps
from hypermeter.learn.dataset import read_folder, read_shared_kit_and_grid
from hypermeter.learn.engines import IN_PROCESS, Engine
from hypermeter.learn.evaluate.command import BARS, LONG_BARS, PIECES
from hypermeter.learn.evaluate.held_out import HeldOut, Shared, groups_of, read_performances
from hypermeter.learn.evaluate.likelihood import summarize
from hypermeter.learn.evaluate.metres import evaluate_metres, metre_rows
from hypermeter.learn.evaluate.music import FEWEST_BARS, compare_with, cut, drift, stroke_shares
from hypermeter.learn.evaluate.pieces import WORTH_A_PROCESS, Beside, draw_by, draw_pieces, draw_strokes
from hypermeter.learn.evaluate.rows import (
    drift_rows,
    keeping_rows,
    likelihood,
    metric_rows,
    music_rows,
    overview,
    stroke_rows,
)
from hypermeter.learn.evaluate.scores import score
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.model.places import PlaceEmbedding
from hypermeter.model.playing import player_of
from hypermeter.play.player import Player

Evaluation = Callable[[], dict[str, Any]]
"""An evaluation whose inputs are read and checked; it returns a system's part of the card."""


@dataclass(frozen=True)
class CardOptions:
    """The numbers of ``evaluate``.

    Raises:
        HypermeterError: one of them is out of range.
    """

    seed: int = 0
    pieces: int = PIECES
    bars: int = BARS
    long_bars: int = LONG_BARS
    temperature: float = 1.0
    mix_metres: bool = False

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name, least in (("pieces", 0), ("bars", 1), ("long_bars", 0), ("temperature", 0)):
            if not least <= getattr(self, name) < math.inf:
                raise HypermeterError(f"evaluate: {name} is {getattr(self, name)}, expected at least {least}")


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
    """Return a model's part of the card, as a dict that JSON can hold.

    Args:
        model: in eval mode.
        npz_dir: folder of performances that the model has not seen. Where a folder ``train`` stands beside it, the
            floors are fitted on that, and copied bars are counted against it.
        seed, pieces, bars, long_bars, temperature, mix_metres: as in ``evaluate_command``.

    Raises:
        HypermeterError: no .npz there, a bad one, or of another kit or grid than the model's; a number out of range.
    """
    return model_evaluation(model, npz_dir, CardOptions(seed, pieces, bars, long_bars, temperature, mix_metres))()


def model_evaluation(
    model: HierarchicalDrumModel,
    npz_dir: str | Path,
    options: CardOptions,
    shared: Shared | None = None,
    engine: Engine = IN_PROCESS,
) -> Evaluation:
    """Read and check the inputs of ``evaluate``, and return what computes it; ``shared`` is that of the card."""
    mix_metres, seed = options.mix_metres, options.seed
    shared = Shared() if shared is None else shared
    read = read_performances(npz_dir, model.kit, model.grid, model.tracks, mix_metres, shared.read)
    sequences, groups, kit, grid = read
    if mix_metres and have_equal_steps(grid, model.grid):
        grid = model.grid
    _check_fits(model, sequences, kit, grid, npz_dir)
    drums = [hits[:, : model.num_drums] for hits in sequences]
    held_out = shared.held_out(npz_dir, drums, kit, grid, mix_metres)
    has_metres = mix_metres and isinstance(model.position_embedding, PlaceEmbedding | None)

    def run() -> dict[str, Any]:
        player = player_of(model)
        with _begun(player, held_out, options, engine) as pieces:
            predictions = _predictions(model, sequences, groups, held_out, seed, engine)
            music = _music(pieces, player, held_out, options)
        if not has_metres:
            return predictions | music
        of_music = {"pieces": options.pieces, "temperature": options.temperature}
        return predictions | {"metres": evaluate_metres(model, npz_dir, seed, **of_music, read=shared.read)} | music

    return run


def _predictions(
    model: HierarchicalDrumModel,
    sequences: Sequence[np.ndarray],
    groups: Sequence[Sequence[str]],
    held_out: HeldOut,
    seed: int,
    engine: Engine,
) -> dict[str, Any]:
    """Return the part of the card of a model's predictions, and the floors."""
    scores, steps = score(model, sequences, engine=engine), np.array(list(map(len, sequences)))
    result: dict[str, Any] = {
        "parameters": sum(weights.numel() for weights in model.parameters()),
        **_bits_of_groups(scores.bits, steps, groups, seed),
        "forecasts": scores.forecasts(),
        "next_step": scores.next_step(),
        "voices": held_out.voices,
        "seed": seed,
    }
    if model.tracks:
        names = ("drums", *(track.name for track in model.tracks))
        parts = zip(names, scores.parts.T, strict=True)
        result["parts"] = {name: summarize(part_bits, steps, seed) for name, part_bits in parts}
    if held_out.train:
        result["floors"] = held_out.floors(seed)
    return result


def _begun(player: Player, held_out: HeldOut, options: CardOptions, engine: Engine) -> Beside:
    """Begin to draw the pieces of the card: the long ones begin with those that are compared with people's."""
    bars = max(options.bars if held_out.people(options.bars).pieces else 0, options.long_bars)
    if not (options.pieces and bars):
        return Beside(list, is_worth_it=False)
    steps = bars * held_out.grid.steps_per_bar
    is_worth_it = options.pieces * steps >= WORTH_A_PROCESS
    drawn = player, options.pieces, steps, options.seed, options.temperature
    if engine is not IN_PROCESS:
        return Beside(partial(draw_by, engine), *drawn, is_worth_it=False)
    return Beside(draw_pieces, *drawn, is_worth_it=is_worth_it)


def _music(drawn: Beside, player: Player, held_out: HeldOut, options: CardOptions) -> dict[str, Any]:
    """Return the part of the card of the music that the model plays."""
    if not options.pieces:
        return {}
    result: dict[str, Any] = {"temperature": options.temperature}
    people, per_bar = held_out.people(options.bars), held_out.grid.steps_per_bar
    if not (people.pieces or options.long_bars):
        return result
    of_strokes = _strokes(player, held_out, options) if people.pieces else {}
    pieces = drawn.result()[..., : player.num_drums]
    if people.pieces:
        result["music"] = compare_with(pieces[:, : options.bars * per_bar], people) | of_strokes
    if options.long_bars:
        long = pieces[:, : options.long_bars * per_bar]
        result |= {"long_bars": options.long_bars, "drift": drift(long, held_out.grid)}
    return result


def _strokes(player: Player, held_out: HeldOut, options: CardOptions) -> dict[str, Any]:
    """Return the shares of hits with several strokes, of the model and of people, if both have such.

    The pieces are drawn here while another process plays the long ones, which begin like them.
    """
    if player.articulation is None or (of_people := held_out.strokes(options.bars)) is None:
        return {}
    steps = options.bars * held_out.grid.steps_per_bar
    drawn = draw_pieces(player, options.pieces, steps, options.seed, options.temperature)
    played = draw_strokes(player, drawn, options.seed, options.temperature)
    return {"strokes": stroke_shares(played, held_out.grid, held_out.voices), "human_strokes": of_people}


def _bits_of_groups(bits: np.ndarray, steps: np.ndarray, groups: Sequence[Sequence[str]], seed: int) -> dict[str, Any]:
    """Return ``summarize`` of all performances, and of each group."""
    by_group: dict[str, dict[str, float]] = {}
    for group in sorted({name for names in groups for name in names}):
        rows = np.array([group in names for names in groups])
        by_group[group] = summarize(bits[rows], steps[rows], seed)
    return {"all": summarize(bits, steps, seed), "groups": by_group}


def evaluate_bits(path: str | Path, npz_dir: str | Path, seed: int = 0, *, mix_metres: bool = False) -> dict[str, Any]:
    """Return the part of a system of which only the likelihoods are known.

    Args:
        path: CSV with the columns ``name``, a performance as its path below npz_dir, and ``bits``, -log2 of the
            probability of all of it. Each performance with at least one step has one row. Other names are left out:
            ``rejects`` has them.
        npz_dir: folder of performances.
        seed: seed of the bootstrap.
        mix_metres: as for ``read_shared_kit_and_grid``.

    Raises:
        HypermeterError: a file that cannot be read, with other columns, without a finite number of bits for each
            performance, or with a name twice.
    """
    check_seed(seed)
    files, sequences = read_folder(Path(npz_dir))
    read_shared_kit_and_grid(files, mix_metres=mix_metres)  # bits of several could not be compared
    names = [file.relative_to(npz_dir).as_posix() for file in files]
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            if not {"name", "bits"} <= set(columns):
                raise HypermeterError(
                    f"{path}: columns {', '.join(columns) or 'none'}; expected name (path of a performance below"
                    f" {npz_dir}) and bits"
                )
            rows = [(row["name"], float(row["bits"])) for row in reader]
    except (OSError, UnicodeDecodeError, TypeError, ValueError, csv.Error) as error:
        raise HypermeterError(f"{path}: cannot be read ({error}); expected CSV with name and bits") from error
    bits_of_name = dict(rows)
    if len(bits_of_name) < len(rows):
        (twice, _), *_ = Counter(name for name, _ in rows).most_common(1)
        raise HypermeterError(f"{path}: {twice} more than once; expected one row for each performance")
    rejects = [f"{path}: {name} is no performance in {npz_dir}" for name in sorted(set(bits_of_name) - set(names))]
    for name in names:
        if not 0 <= bits_of_name.get(name, math.nan) < math.inf:
            raise HypermeterError(f"{path}: no finite bits for {name}; expected a row for each performance")
    bits, steps = np.array([bits_of_name[name] for name in names]), np.array(list(map(len, sequences)))
    return {**_bits_of_groups(bits, steps, groups_of(files), seed), "rejects": rejects, "seed": seed}


def evaluate_music(
    folder: str | Path,
    npz_dir: str | Path,
    *,
    bars: int = BARS,
    seed: int = 0,
    kit: str = "gm10",
    mix_metres: bool = False,
) -> dict[str, Any]:
    """Return the part of a system of which only the music is known: a folder of MIDI or .npz.

    Files that cannot be read, or of another kit or grid than the performances, are left out: ``rejects`` has the
    reasons. With ``mix_metres``, performances and pieces may be in several metres whose bars have equally many steps.

    ``kit`` is that of MIDI files where the performances name none; the rest is as in ``evaluate``.

    Raises:
        HypermeterError: a number out of range, or no piece that is long enough is left.
    """
    return music_evaluation(folder, npz_dir, CardOptions(seed, bars=bars, mix_metres=mix_metres), kit)()


def music_evaluation(
    folder: str | Path, npz_dir: str | Path, options: CardOptions, kit: str = "gm10", shared: Shared | None = None
) -> Evaluation:
    """Read and check the inputs of ``evaluate_music``, and return what computes it; ``shared`` is that of the card."""
    bars, mix_metres = options.bars, options.mix_metres
    shared = Shared() if shared is None else shared
    sequences, _, shared_kit, grid = read_performances(npz_dir, None, None, (), mix_metres, shared.read)
    rejects: list[str] = []
    pieces = []
    for name, groove, _ in read_grooves(folder, shared_kit or kit, grid, rejects):
        fits = groove.grid == grid or (mix_metres and have_equal_steps(groove.grid, grid))
        if fits and groove.hits.shape[1] == sequences[0].shape[1]:
            pieces.append(groove.hits)
        else:
            rejects.append(f"{Path(folder, name)}: of another kit or grid than {npz_dir}; write it on the same")
    generated = cut(pieces, grid, bars)
    held_out = shared.held_out(npz_dir, sequences, shared_kit, grid, mix_metres)
    people = held_out.people(bars)
    if not people.pieces:
        raise HypermeterError(
            f"{npz_dir}: no performance of at least {FEWEST_BARS} bars; expected longer ones to compare with"
        )
    if not generated:
        reason = f" ({rejects[0]})" if rejects else ""
        raise HypermeterError(
            f"{folder}: no piece of at least {FEWEST_BARS} bars; expected pieces of about {bars} bars{reason}"
        )
    return lambda: {"music": compare_with(generated, people), "rejects": rejects, "seed": options.seed}


def _check_fits(
    model: HierarchicalDrumModel, sequences: Sequence[np.ndarray], kit: Kit | None, grid: Grid, where: str | Path
) -> None:
    """Raise if the performances are of other voices or another grid than the model's."""
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
    """Return systems as Markdown: one row each in the tables that compare them, then the details of the first."""
    name, first = next(iter(systems.items()))
    lines = [f"# {title}", "", *overview(systems), ""]
    if any("parts" in result for result in systems.values()):
        lines += [
            "Bits of a model with tracks are of drums and tracks together, and in the rows after it of each: of the"
            " drums, and of a track given the drums of the same step. Floors, hits, forecasts and music are of"
            " the drums.",
            "",
        ]
    if "next_step" in first:
        lines += likelihood(name, first)
    if "metres" in first:
        lines += ["", "## Metres", "", *metre_rows(name, first["metres"])]
    if any("music" in result for result in systems.values()):
        lines += ["", "## Music", "", *music_rows(systems), *keeping_rows(systems), *stroke_rows(systems)]
    for system, result in systems.items():
        if result.get("rejects"):
            lines += ["", f"Left out of {system}: {len(result['rejects'])}, which cannot be read or do not fit."]
    if "music" in first:
        lines += ["", *metric_rows(name, first["music"])]
    if first.get("drift"):
        heading = f"Over {first['long_bars']} bars, means over the pieces of {name}:"
        lines += ["", heading, "", *drift_rows(first["drift"])]
    music = f", and music, played at temperature {first['temperature']:g}" if "temperature" in first else ""
    return "\n".join([*lines, "", f"Seed {first['seed']}: bootstrap over performances{music}.", ""])

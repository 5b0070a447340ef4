"""How near the expression output comes to people: velocity and offset on held-out performances, and the long memory.

    python benchmarks/quality/expression.py NPZ MODEL [--seed 0] [--draws 10]

The means are of each voice at each step of the bar, learnt on the folder's training performances; one velocity is the
median of training. On the validation performances all are given the hits; the model hears too how the steps before were
played, and gives the median of each hit. Errors are means over all hits and, in brackets, over performances.

The long memory is the DFA exponent of cymbal timing, of performances with enough of them: people's, the model's own
(the same hits, all drawn anew, several times), and independent draws from people's offsets. One draw of each
performance leaves the mean exponent uncertain by some .02.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from hypermeter import load
from hypermeter.core.errors import HypermeterError
from hypermeter.io.npz import read_meta
from hypermeter.learn.dataset import read_folder
from hypermeter.music.metrics import timing_dfa
from hypermeter.play.expressing import OFFSET, VELOCITY


@dataclass
class Performance:
    """Hits, velocity and offset, (T, V), and its tempo."""

    hits: np.ndarray
    velocity: np.ndarray
    offset: np.ndarray
    tempo_bpm: float


def read(folder: Path) -> list[Performance]:
    """All performances of a folder that have hits.

    Raises:
        HypermeterError: one does not tell velocity, offset or tempo.
    """
    performances = []
    for path, hits in zip(*read_folder(folder), strict=True):
        with np.load(path) as arrays:
            if not {"velocity", "offset"} <= set(arrays):
                raise HypermeterError(f"{path}: no velocity and offset; prepare it from MIDI files")
            velocity, offset = arrays["velocity"], arrays["offset"]
        if hits.any():
            performances.append(Performance(hits, velocity, offset, float(read_meta(path)["tempo_bpm"])))
    return performances


def means_by_place(performances: list[Performance], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean velocity and offset of each voice at each step of the bar, (size, V); those of the voice where few are."""
    voices = performances[0].hits.shape[1]
    totals, count = np.zeros((2, size, voices)), np.zeros((size, voices))
    for performance in performances:
        place, at = np.arange(len(performance.hits)) % size, performance.hits > 0
        np.add.at(count, place, at)
        for total, value in zip(totals, (performance.velocity, performance.offset), strict=True):
            np.add.at(total, place, np.where(at, value, 0))
    of_voice = totals.sum(1) / count.sum(0).clip(1)
    velocity, offset = (totals + of_voice[:, None]) / (count + 1)
    return velocity, offset


def row(name: str, errors: list[tuple[np.ndarray, np.ndarray]], bits: str = "-") -> str:
    """A line of the table, from the absolute errors of each performance's hits: offset in ms, velocity."""
    cells = []
    for kind, digits in ((0, 1), (1, 3)):
        apart = [value[kind] for value in errors]
        pooled, by_performance = np.concatenate(apart).mean(), np.mean([value.mean() for value in apart])
        cells.append(f"{pooled:.{digits}f} ({by_performance:.{digits}f})")
    return f"| {name} | {cells[0]} | {cells[1]} | {bits} |"


def exponents(title: str, values: list[torch.Tensor]) -> str:
    every = torch.stack(values).numpy()  # performances, draws
    low, middle, high = np.quantile(every, (0.25, 0.5, 0.75))
    of_draws = every.mean(0)
    spread = f"{of_draws.min():.2f} to {of_draws.max():.2f}" if len(of_draws) > 1 else "-"
    return f"| {title} | {every.mean():.2f} | {spread} | {middle:.2f} | {low:.2f} to {high:.2f} |"


@torch.no_grad()
def main(npz: tyro.conf.Positional[Path], model: tyro.conf.Positional[str], seed: int = 0, draws: int = 10) -> None:
    """Print two tables.

    Args:
        npz: folder with train and validation in it.
        model: its name or path.
        seed: of what is drawn.
        draws: of each performance.
    """
    drummer = load(model)
    expression = getattr(drummer, "expression", None)
    if expression is None:
        raise HypermeterError(f"{model}: the model plays hits only; use one trained with velocity and offset")
    train, held_out = read(npz / "train"), read(npz / "validation")
    size, steps_per_quarter = drummer.grid.steps_per_bar, drummer.grid.steps_per_quarter
    means = means_by_place(train, size)
    fixed = float(np.median(np.concatenate([performance.velocity[performance.hits > 0] for performance in train])))
    names = ("quantised, one velocity", "means of voice and step of the bar", "model, median")
    errors: dict[str, list] = {name: [] for name in names}
    nats = 0.0
    for performance in held_out:
        at, place = performance.hits > 0, np.arange(len(performance.hits)) % size
        tensors = [torch.tensor(x).float()[None] for x in (performance.hits, performance.velocity, performance.offset)]
        tempo = torch.tensor([performance.tempo_bpm])
        dist = expression(drummer(tensors[0]).features[:, :-1], *tensors, tempo)
        nats -= dist.log_prob(*tensors).sum().item()
        log_weights, *ways = (x[0].double().numpy() for x in vars(dist).values())
        pairs = ((VELOCITY, *ways[:2]), (OFFSET, *ways[2:]))
        medians = [bins.median(np.exp(log_weights), mean, scale) for bins, mean, scale in pairs]
        guesses = ((np.full(at.shape, fixed), np.zeros(at.shape)), tuple(x[place] for x in means), medians)
        step_ms = 60_000 / performance.tempo_bpm / steps_per_quarter
        for name, (velocity, offset) in zip(names, guesses, strict=True):
            errors[name].append(
                (np.abs(offset - performance.offset)[at] * step_ms, np.abs(velocity - performance.velocity)[at])
            )
    number = sum(int((performance.hits > 0).sum()) for performance in held_out)
    print(f"{len(held_out)} performances, {number} hits: over hits (over performances)\n")
    print("| | offset MAE, ms | velocity MAE | bits per hit |\n|---|---|---|---|")
    for name in names:
        print(row(name, errors[name], f"{nats / math.log(2) / number:.2f}" if name == names[-1] else "-"))

    cymbals = None if drummer.kit is None else drummer.kit.cymbals
    random, player = np.random.default_rng(seed), drummer.player(model)
    deviations: dict[str, list[torch.Tensor]] = {"people": [], "model": [], "independent draws": []}
    for performance in held_out:
        hits, offset = (torch.tensor(x)[None] for x in (performance.hits, performance.offset))
        if timing_dfa(hits, drummer.grid, offset=offset, cymbals=cymbals).isnan():
            continue
        many = hits.expand(draws, -1, -1)
        played = torch.from_numpy(player.perform(many.numpy(), performance.tempo_bpm, seed=seed)[1])
        shuffled = torch.from_numpy(random.choice(performance.offset[performance.hits > 0], many.shape))
        for name, played_by in (("people", offset), ("model", played), ("independent draws", shuffled)):
            again = many[: len(played_by)]
            deviations[name].append(timing_dfa(again, drummer.grid, offset=played_by, cymbals=cymbals))
    print(f"\nDFA exponent of cymbal timing, {len(deviations['people'])} performances\n")
    print(f"| | mean | of each of {draws} draws | median | half of them |\n|---|---|---|---|---|")
    for name, values in deviations.items():
        if values:
            print(exponents(name, values))


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"expression: {error}", file=sys.stderr)
        sys.exit(2)

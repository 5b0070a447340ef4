"""What counting gives: bits per step of three tables, the floors that a model has to be well below.

    python benchmarks/quality/floors.py NPZ_DIR [--out FILE.json]

A predictor is a table of probabilities (rows, V) and a rule that tells which row holds at each step and voice, from
the position and the bar before. Each table is fitted on NPZ_DIR/train and scored on whole held-out files.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from hypermeter.dataset import read_sequence
from hypermeter.evaluate import BOOTSTRAP_DRAWS, summarize
from hypermeter.grid import Grid, HypermeterError, atomic_write

Rule = Callable[[np.ndarray, int], np.ndarray]
"""Hits (T, V) and steps per bar to a row of the table for each step and voice, (T, V)."""


def same_everywhere(hits: np.ndarray, steps_per_bar: int) -> np.ndarray:
    """One row."""
    return np.zeros(hits.shape, int)


def step_of_bar(hits: np.ndarray, steps_per_bar: int) -> np.ndarray:
    """One row for each step of the bar."""
    return np.broadcast_to(np.arange(len(hits))[:, None] % steps_per_bar, hits.shape)


def previous_bar(hits: np.ndarray, steps_per_bar: int) -> np.ndarray:
    """Three rows for each step of the bar: the cell one bar before was silent, was hit, or is before the file began."""
    before = np.full(hits.shape, 2)
    before[steps_per_bar:] = hits[:-steps_per_bar]
    return step_of_bar(hits, steps_per_bar) * 3 + before


FLOORS: dict[str, Rule] = {
    "voice marginals": same_everywhere,
    "step of the bar": step_of_bar,
    "previous bar": previous_bar,
}


def fit(rule: Rule, sequences: Sequence[np.ndarray], steps_per_bar: int) -> np.ndarray:
    """The table of a rule, (rows, V): (hits + 1/2) / (steps + 1) of each row and voice; 1/2 in a row never seen."""
    rows = 3 * steps_per_bar
    voices = sequences[0].shape[1]
    hits, steps = np.zeros((rows, voices)), np.zeros((rows, voices))
    for sequence in sequences:
        cells = rule(sequence, steps_per_bar), np.broadcast_to(np.arange(voices), sequence.shape)
        np.add.at(hits, cells, sequence)
        np.add.at(steps, cells, 1)
    return (hits + 0.5) / (steps + 1)


def predict(rule: Rule, table: np.ndarray, hits: np.ndarray, steps_per_bar: int) -> np.ndarray:
    """Probability of a hit, (T, V) in (0, 1)."""
    return np.take_along_axis(table, rule(hits, steps_per_bar), axis=0)


def bits(probs: np.ndarray, hits: np.ndarray) -> float:
    """-log2 p of all cells together, each voice on its own."""
    return float(-np.log2(np.where(hits > 0, probs, 1 - probs)).sum())


def floors(
    train: Sequence[np.ndarray], held_out: Sequence[np.ndarray], steps_per_bar: int, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Each of FLOORS, in bits per step summed over voices.

    Args:
        train: hits (T, V) of each file to fit on.
        held_out: hits (T, V) of each file to score, T >= 1.
        steps_per_bar: steps.
        seed: of the bootstrap over performances.

    Returns:
        By name: ``pooled``, all bits over all steps; ``mean``, of the performances' own; and of both the ends of the
        95 % interval, ``pooled_low`` to ``mean_high``.
    """
    steps = np.array([len(each) for each in held_out])
    results = {}
    for name, rule in FLOORS.items():
        table = fit(rule, train, steps_per_bar)
        total = np.array([bits(predict(rule, table, each, steps_per_bar), each) for each in held_out])
        pooled, mean = summarize(total, steps, seed), summarize(total / steps, np.ones(len(steps)), seed)
        results[name] = {
            f"{kind}{end}": summary[key]
            for kind, summary in (("pooled", pooled), ("mean", mean))
            for end, key in (("", "bits_per_step"), ("_low", "low"), ("_high", "high"))
        }
    return results


def read_split(folder: Path) -> list[np.ndarray]:
    """The hits of all files below the folder that have a step.

    Raises:
        HypermeterError: none there, or files with different numbers of voices.
    """
    sequences = [each for each in map(read_sequence, sorted(folder.rglob("*.npz"))) if len(each)]
    if not sequences:
        raise HypermeterError(f"{folder}: no .npz with a step in it; make some with hypermeter prepare")
    voices = {each.shape[1] for each in sequences}
    if len(voices) > 1:
        raise HypermeterError(f"{folder}: files of {sorted(voices)} voices, expected one number; prepare with one kit")
    return sequences


def read_grid(npz_dir: Path) -> Grid:
    """The grid that prepare wrote down, or 4/4 in sixteenths."""
    try:
        return Grid.from_dict(json.loads((npz_dir / "manifest.json").read_text("utf-8"))["grid"])
    except FileNotFoundError:
        return Grid()
    except (ValueError, KeyError, TypeError) as error:
        raise HypermeterError(f"{npz_dir / 'manifest.json'}: no grid in it; run hypermeter prepare again") from error


def markdown(result: dict[str, Any]) -> str:
    lines = [
        "| floor | bits per step, all steps together | 95 % interval | mean of performances | 95 % interval |",
        "|---|---|---|---|---|",
    ]
    for name, each in result["floors"].items():
        cells = [f"{each[k]:.3f} | {each[f'{k}_low']:.3f} to {each[f'{k}_high']:.3f}" for k in ("pooled", "mean")]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    lines += [
        "",
        f"{result['performances']} performances, {result['steps']} steps of {result['split']}, fitted on train. "
        f"Bootstrap over performances, {BOOTSTRAP_DRAWS} draws, seed {result['seed']}.",
    ]
    return "\n".join(lines)


def main(
    npz_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="NPZ_DIR")],
    out: Path | None = None,
    split: str = "validation",
    seed: int = 0,
) -> None:
    """Print the bits per step of simple counts, as a table in Markdown.

    Args:
        npz_dir: folder that prepare wrote, with train and the split in it.
        out: where given, the figures go to this file as JSON.
        split: folder to score.
        seed: of the bootstrap.
    """
    train, held_out = read_split(npz_dir / "train"), read_split(npz_dir / split)
    if train[0].shape[1] != held_out[0].shape[1]:
        found, expected = held_out[0].shape[1], train[0].shape[1]
        raise HypermeterError(f"{npz_dir / split}: {found} voices, expected {expected} as in train; prepare again")
    result = {
        "split": split,
        "performances": len(held_out),
        "steps": sum(map(len, held_out)),
        "seed": seed,
        "floors": floors(train, held_out, read_grid(npz_dir).steps_per_bar, seed),
    }
    print(markdown(result))
    if out is not None:
        with atomic_write(out) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"floors: {error}", file=sys.stderr)
        sys.exit(2)

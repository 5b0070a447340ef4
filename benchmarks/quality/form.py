"""What the bar and phrase levels are worth where form is long: bits of models that hear them and of some that do not.

    python benchmarks/quality/form.py MIX NPZ/validation SONGS/validation SONGS/test [--seeds 2] [--out bench/out/form]

Each design is trained with the outputs of the bar and phrase levels heard at the step level, and without, on the same
data and for the same number of updates. A run that has been done is not done again.

The measures, which were chosen before the first run, in bits per step with a 95 % interval of the difference by
bootstrap over performances (and seeds):

1. all bars of the held-out performances of Groove and, apart, of songs;
2. bars 65 on, of both;
3. bars that return: those whose best likeness (F1 of cells) among bars more than 32 bars back is at least .1 above the
   best among the last 32, so that only something that remembers longer than the bar attention can know them;
4. the first bar after a phrase's end, where a level that counts phrases would help most;
5. in 64 pieces of 32 bars that the model plays: the phrase's end (see ``ablations.py``), people's beside it.

A design earns its keep if the interval of one of 1 to 4 lies below zero, or if 5 falls out of people's interval
without it and not with it.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from ablations import difference, mean_and_interval

from hypermeter import HierarchicalDrumModel, load
from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.learn.dataset import read_folder
from hypermeter.learn.evaluate.music import cut, generated_pieces, phrase_end
from hypermeter.learn.train import TrainConfig, train
from hypermeter.model import Parts

BASE: dict[str, Any] = {"vary": True, "learning_rate": 16e-3, "evaluate_every": 100, "patience": 99}
"""As ``groove``'s first runs were trained (the model card)."""
LATE, REACH, NEARER = 64, 32, 0.1
"""Bars from which on a bar is late; that the bar attention reaches; and more F1 that a bar further back must have."""
PIECES, PIECE_BARS = 64, 32


@dataclass(frozen=True)
class Design:
    """A way of training.

    Args:
        what: in words.
        seq_len: steps in a window.
        batch_size: windows in an update.
        attention_bars: that the bar attention reaches.
    """

    what: str
    seq_len: int = 512
    batch_size: int = 16
    attention_bars: int = 32


DESIGNS = {
    "windows": Design("windows of 32 bars"),
    "long": Design("windows of 128 bars", 2048, 4),
    "memory": Design("windows of 128 bars, bar attention over 128", 2048, 4, 128),
}


def returning_bars(hits: np.ndarray, size: int) -> np.ndarray:
    """Return which whole bars are more like one further back than REACH than like any nearer one."""
    bars = hits[: len(hits) // size * size].reshape(-1, size * hits.shape[1]).astype(float)
    shared, count = bars @ bars.T, bars.sum(1)
    likeness = 2 * shared / np.maximum(count[:, None] + count, 1)
    found = np.zeros(len(bars), bool)
    for bar in range(REACH + 1, len(bars)):
        far, near = likeness[bar, : bar - REACH].max(), likeness[bar, bar - REACH : bar].max()
        found[bar] = count[bar] > 0 and far >= near + NEARER
    return found


@torch.no_grad()
def bits_of_bars(model: HierarchicalDrumModel, performances: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the bits of each whole bar of each performance, and last those of the steps after its last bar."""
    size, found = model.grid.steps_per_bar, []
    for hits in performances:
        nats = model.log_prob(torch.from_numpy(hits).float()[None])[0].double().numpy()
        padded = np.pad(nats, (0, -len(nats) % size))
        found.append(-padded.reshape(-1, size).sum(1) / np.log(2))
    return found


def measured(model: HierarchicalDrumModel, sets: dict[str, list[np.ndarray]]) -> dict[str, list[list[float]]]:
    """Return, for each measure of bits, the bits and the steps of each performance."""
    size, phrase = model.grid.steps_per_bar, model.grid.bars_per_phrase
    found: dict[str, list[list[float]]] = {}
    for name, performances in sets.items():
        for hits, bits in zip(performances, bits_of_bars(model, performances), strict=True):
            number = len(hits) // size
            bars, returns = np.arange(number), returning_bars(hits, size)
            chosen = {
                f"{name}, bars {LATE + 1} on": bars >= LATE,
                f"{name}, bars that return": returns,
                f"{name}, first bars of phrases": (bars % phrase == 0) & (bars > 0),
            }
            found.setdefault(f"{name}, all", []).append([bits.sum(), len(hits)])
            for what, which in chosen.items():
                found.setdefault(what, []).append([bits[:number][which].sum(), int(which.sum()) * size])
    return found


def run(
    name: str, design: Design, hears: bool, seed: int, updates: int, npz_dir: Path, sets: dict[str, Any], out: Path
) -> dict[str, Any]:
    """Train and measure, or read what was done before."""
    folder = out / f"{name}-{'heard' if hears else 'not'}-{seed}"
    result = folder / "result.json"
    if result.exists():
        return json.loads(result.read_text("utf-8"))
    start = time.monotonic()
    parts = Parts(bar_level=hears, phrase_level=hears, attention_bars=design.attention_bars)
    options = BASE | {"seq_len": design.seq_len, "batch_size": design.batch_size, "max_steps": updates}
    train(TrainConfig.of(npz_dir, folder, seed=seed, parts=parts, accelerator="cpu", **options))
    seconds, model = time.monotonic() - start, load(folder)
    made = generated_pieces(model, model.grid, PIECES, PIECE_BARS, seed)
    record = {
        "bits": measured(model, sets),
        "phrase_end": [phrase_end(piece, Grid()) for piece in made],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": seconds,
    }
    with atomic_write(result) as temporary:
        temporary.write_text(json.dumps(record), encoding="utf-8")
    return record


def main(
    npz_dir: tyro.conf.Positional[Path],
    groove: tyro.conf.Positional[Path],
    songs: tyro.conf.Positional[tuple[Path, ...]],
    out: Path = Path("bench/out/form"),
    designs: tuple[Literal["windows", "long", "memory"], ...] = ("windows", "long", "memory"),
    seeds: int = 2,
    updates: int = 1200,
) -> None:
    """Train what is missing, then print a table.

    Args:
        npz_dir: folder to learn from, with train and validation.
        groove: folder of held-out performances.
        songs: folders of held-out songs.
        out: folder of the runs.
        designs: some of them.
        seeds: of each, from 0 on.
        updates: of each run.
    """
    sets = {"Groove": read_folder(groove)[1], "songs": [hits for folder in songs for hits in read_folder(folder)[1]]}
    ends = np.array([[phrase_end(piece, Grid()) for piece in cut(sets["Groove"], Grid(), PIECE_BARS)]])
    print("Phrase's end in people's performances: {:+.3f} ({:+.3f} to {:+.3f})\n".format(*mean_and_interval(ends)))
    print("| design | measure | steps | heard | not heard | heard less not heard (95 %) |\n|---|---|---|---|---|---|")
    for name in designs:
        design = DESIGNS[name]
        both = [
            [run(name, design, hears, seed, updates, npz_dir, sets, out) for seed in range(seeds)]
            for hears in (True, False)
        ]
        for measure in both[0][0]["bits"]:
            values = [np.array([record["bits"][measure] for record in records]) for records in both]
            steps = values[0][0, :, 1]
            kept = steps > 0
            bits = [of_seeds[:, kept, 0] for of_seeds in values]
            means = [f"{of_seeds.sum(1).mean() / steps.sum():.3f}" for of_seeds in bits]
            apart = "{:+.3f} ({:+.3f} to {:+.3f})".format(*difference(bits[0], bits[1], steps[kept]))
            print(f"| {design.what} | {measure} | {int(steps.sum())} | {means[0]} | {means[1]} | {apart} |")
        played = [np.array([record["phrase_end"] for record in records]) for records in both]
        cells = ["{:+.3f} ({:+.3f} to {:+.3f})".format(*mean_and_interval(of_seeds)) for of_seeds in played]
        print(f"| {design.what} | phrase's end | - | {cells[0]} | {cells[1]} | - |", flush=True)


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"form: {error}", file=sys.stderr)
        sys.exit(2)

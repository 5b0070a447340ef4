"""What a model gains from ten new files, of a drummer or a music, against learning from those alone.

    python benchmarks/quality/finetune.py FOLDER --init runs/without_them [--files 10]

The folder's .npz are dealt out by the seed: some to learn from, as many to tell when to stop, and the rest for the
figures. Long performances are dealt first: ten fills are not what anyone would give.
"""

import shutil
import sys
import time
from pathlib import Path

import numpy as np
import tyro
from ngram import read

from hypermeter import load
from hypermeter.core.errors import HypermeterError
from hypermeter.learn.evaluate import performance_bits, summarize
from hypermeter.learn.train import TrainConfig, train

LONG = 128
"""Steps of a performance that is worth learning from."""


def deal(folder: Path, out: Path, files: int, seed: int) -> None:
    """Copy the .npz below a folder to out/train, out/validation and out/test."""
    names, sequences = read(folder)
    order = np.random.default_rng(seed).permutation(len(names))
    order = [*(i for i in order if len(sequences[i]) >= LONG), *(i for i in order if len(sequences[i]) < LONG)]
    if len(order) < 3 * files:
        raise HypermeterError(f"{folder}: {len(order)} .npz with a step, expected at least {3 * files}")
    parts = {"train": order[:files], "validation": order[files : 2 * files], "test": order[2 * files :]}
    for part, members in parts.items():
        shutil.rmtree(out / part, ignore_errors=True)
        (out / part).mkdir(parents=True)
        for member in members:
            shutil.copy(folder / names[member], out / part / Path(names[member]).name)


def main(
    folder: tyro.conf.Positional[Path],
    init: str,
    out: Path = Path("bench/out/finetune"),
    files: int = 10,
    max_steps: int = 200,
    learning_rate: float = 3e-4,
    seed: int = 0,
) -> None:
    """Print bits per step on the rest of the folder: before, after, and from scratch.

    Args:
        folder: .npz of one drummer or music.
        init: the model, which was not trained on them.
        out: folder of the runs.
        files: to learn from, and as many to tell when to stop.
        max_steps: updates, at most; from scratch, three times as many.
        learning_rate: of the fine-tuning, at its highest.
        seed: of the dealing and the runs.
    """
    deal(folder, out / "npz", files, seed)
    held_out = read(out / "npz" / "test")[1]
    steps = np.array([len(performance) for performance in held_out])

    def learn(name: str, **options) -> tuple[Path, float]:
        start = time.monotonic()
        options |= {"evaluate_every": 20, "patience": 4, "accelerator": "cpu", "seed": seed}
        config = TrainConfig.of(out / "npz", out / name, **options)
        return train(config), time.monotonic() - start

    tuned, seconds = learn("tuned", init=init, learning_rate=learning_rate, warmup_steps=10, max_steps=max_steps)
    scratch, scratch_seconds = learn("scratch", max_steps=3 * max_steps)
    print("| | bits per step (95 %) | mean of performances | seconds of training |\n|---|---|---|---|")
    rows = ((f"{init}, before", init, 0.0), ("after", tuned, seconds), ("from scratch", scratch, scratch_seconds))
    for name, model, spent in rows:
        summary = summarize(performance_bits(load(model), held_out), steps, seed)
        interval = f"{summary['low']:.3f} to {summary['high']:.3f}"
        mean = summary["mean_of_performances"]
        print(f"| {name} | {summary['bits_per_step']:.3f} ({interval}) | {mean:.3f} | {spent:.0f} |")
    print(
        f"\n{files} files of {folder.name} to learn from, {len(held_out)} held out, {steps.sum()} steps; seed {seed}."
    )


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"finetune: {error}", file=sys.stderr)
        sys.exit(2)

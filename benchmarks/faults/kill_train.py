"""kill -9 at random moments of a short training on shards, which is then resumed: are its weights those of a whole run?

    python benchmarks/faults/kill_train.py SHARDS [--kills 50] [--seed 0]

Half of the runs hold the corpus in memory, half read it again by groups. A run is a forked process, so that the moments
lie in reading, training, evaluating and writing, and not in the import of libraries. Exits with 1 if a file differs.
"""

import argparse
import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import matplotlib.backends.backend_agg
import matplotlib.figure
import numpy as np
import pyarrow.parquet
import torch
import torch.utils.tensorboard

from hypermeter.learn.dataset import corpus
from hypermeter.learn.train import TrainConfig, train
from hypermeter.learn.train.resume import CHECKPOINT

SMALL = {"step_hidden_dim": 16, "bar_hidden_dim": 8, "phrase_hidden_dim": 8, "num_components": 2, "seq_len": 64}
OPTIONS = {"max_steps": 40, "batch_size": 4, "evaluate_every": 4, "warmup_steps": 2, "patience": 100, "augment": True}
LOADED = matplotlib, pyarrow, torch.utils.tensorboard
"""Libraries that a run imports; they are imported once, before it is forked."""
COMPARED = ("best.safetensors", "last.safetensors", "log.csv")


def run(shards: Path, out: Path, is_held: bool) -> None:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        corpus.HELD_BYTES = corpus.HELD_BYTES if is_held else 0
        train(TrainConfig.of(shards, out, accelerator="cpu", **OPTIONS, **SMALL))


def started(shards: Path, out: Path, is_held: bool) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=run, args=(shards, out, is_held))
    process.start()
    return process


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in COMPARED}


def trials(shards: Path, kills: int, seed: int, folder: Path) -> Iterator[tuple[bool, float, int, list[str]]]:
    """Yield whether the corpus is held, the moment as a share of a run, the update resumed from, and what differs."""
    random = np.random.default_rng(seed)
    whole = {}
    for is_held in (True, False):
        begin = time.monotonic()
        process = started(shards, folder / f"whole-{is_held}", is_held)
        process.join()
        if process.exitcode:
            raise SystemExit(f"the run that is not killed ended with {process.exitcode}")
        whole[is_held] = contents(folder / f"whole-{is_held}"), time.monotonic() - begin
    for number in range(kills):
        is_held, out = number % 2 == 0, folder / f"{number}"
        expected, duration_s = whole[is_held]
        moment = float(random.random())
        process = started(shards, out, is_held)
        process.join(moment * duration_s)
        if process.is_alive() and process.pid:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        update = 0
        if (out / CHECKPOINT).exists():
            update = torch.load(out / CHECKPOINT, weights_only=True)["update"]
        process = started(shards, out, is_held)
        process.join()
        different = [name for name, content in expected.items() if contents(out)[name] != content]
        yield is_held, moment, update, different + ["exit code"] * bool(process.exitcode)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("shards", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    failed, updates = 0, []
    with tempfile.TemporaryDirectory() as folder:
        for is_held, moment, update, different in trials(
            arguments.shards, arguments.kills, arguments.seed, Path(folder)
        ):
            failed += bool(different)
            updates.append(update)
            form = "held" if is_held else "read by groups"
            result = f"differs: {', '.join(different)}" if different else "equal"
            print(f"{form}, killed at {moment:.2f} of a run, resumed from update {update}: {result}", flush=True)
    print(f"{arguments.kills} kills, {failed} differ; resumed from {len(set(updates))} different updates")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

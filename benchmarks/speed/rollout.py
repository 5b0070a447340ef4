"""Speed of rollouts on a CPU, beside an earlier build.

    python benchmarks/speed/rollout.py [--before PYTHON] [--batch-size 16 64 256] [--rounds 5] [--out FILE.json]

PYTHON is the interpreter of an environment in which the earlier build is installed, see `player.py`. Both builds take
turns in one run, each in a process of its own; a figure is the median of the rounds, with the least and the greatest.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write

ROLLOUTS = """
import json, sys
from time import perf_counter, process_time
import torch, hypermeter
try:
    from hypermeter.learn.rl.rollout import rollout
except ImportError:  # builds before the layers
    from hypermeter.rl.rollout import rollout
name, batch_sizes, bars, threads = json.loads(sys.argv[1])
torch.set_num_threads(threads)
model, generator, times = hypermeter.load(name), torch.Generator().manual_seed(0), {}
steps = bars * model.grid.steps_per_bar
for rows in batch_sizes:
    rollout(model, rows, steps, generator=generator)
    for name, reads in ((f"{rows}", False), (f"{rows}, log probabilities read", True)):
        begin, begin_busy = perf_counter(), process_time()
        played = rollout(model, rows, steps, generator=generator)
        if reads:
            played.log_probs
        wall, busy = perf_counter() - begin, process_time() - begin_busy
        times[name] = {"wall": rows * steps / wall, "busy": rows * steps / busy}
print(json.dumps(times))
"""


def measure(command: list[str], settings: str, threads: int) -> dict[str, dict[str, float]]:
    """Return batch size -> steps per second of wall time and of processor time, also with reading `log_probs`."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    done = subprocess.run([*command, "-c", ROLLOUTS, settings], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise HypermeterError(f"{command[0]}: rollouts failed: {done.stderr.strip()[-200:]}")
    return json.loads(done.stdout)


def main(
    before: Path | None = None,
    model: str = "groove",
    batch_size: tuple[int, ...] = (16, 64, 256),
    bars: int = 8,
    rounds: int = 5,
    threads: int = 1,
    out: Path | None = None,
) -> None:
    """Print and keep the steps per second of all rows together.

    On a machine that does other things too, the steps per second of processor time tell more; with one thread they are
    what an idle machine would give.

    Args:
        before: interpreter of the earlier build's environment.
        model: what `load` takes.
        batch_size: rows, one figure each.
        bars: of a piece.
        rounds: turns of each build.
        threads: of torch and of BLAS.
        out: JSON file that keeps all figures.
    """
    sides = {"now": [sys.executable]}
    if before is not None:
        sides["before"] = [str(before), "-E"]  # without PYTHONPATH, which would put this build in its place
    settings = json.dumps([model, batch_size, bars, threads])
    figures: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for side, command in sides.items():
            for rows, rates in measure(command, settings, threads).items():
                for clock, rate in rates.items():
                    figures.setdefault(f"batch {rows}, steps/s ({clock})", {}).setdefault(side, []).append(rate)
    print(f"{model}, {bars} bars, {threads} threads, {rounds} rounds: median (least to greatest)")
    for name, sides_of in figures.items():
        shown = [f"{side} {median(x):.0f} ({min(x):.0f} to {max(x):.0f})" for side, x in sides_of.items()]
        ratio = "" if before is None else f"; {median(sides_of['now']) / median(sides_of['before']):.2f} times"
        print(f"{name}: {', '.join(shown)}{ratio}")
    if out is not None:
        with atomic_write(out) as temporary:
            temporary.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    tyro.cli(main)

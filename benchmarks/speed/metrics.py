"""Speed of all metrics of a window on one thread: batched, against one window after another in NumPy.

    python benchmarks/speed/metrics.py [--before PYTHON] [--quick] [--out FILE.json]

PYTHON is the interpreter of an environment of its own, in which an earlier build is installed, see ``player.py``. All
run in turns, so that a busy machine slows each; a figure is the median of the rounds.
"""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.music.metrics import window_metrics

sys.path.insert(0, str(Path(__file__).parent))
import naive_metrics
from run import BATCH, STEPS, VOICES, in_turns, machine, plausible_hits, ratio_of, ratio_text

TARGET = 50.0
"""Least times faster a window that we want."""

TARGET_BEFORE = 2.0
"""Least times faster than the earlier build that we want."""

ROUNDS = 15

BATCHES = 16
"""That follow one another in a round, as they do when they are read."""


TURN = """
import sys, time, numpy as np, torch
try:
    from hypermeter.core.grid import Grid
    from hypermeter.music.metrics import window_metrics
except ImportError:
    from hypermeter.grid import Grid
    from hypermeter.metrics import window_metrics
torch.set_num_threads(1)
batches = torch.from_numpy(np.load(sys.argv[1])).split(int(sys.argv[2]))
for _ in sys.stdin:
    wall, busy = time.perf_counter(), time.process_time()
    for batch in batches:
        window_metrics(batch, Grid())
    print(time.perf_counter() - wall, time.process_time() - busy, flush=True)
"""
"""The metrics of all batches once for each line of standard input: it prints seconds, and those of the processor."""


def beside(before: Path, rounds: int) -> dict[str, Any]:
    """Return milliseconds of processor time a window of an earlier build and of this one, and the ratio."""
    builds, times = {"before": before, "now": Path(sys.executable)}, {"before": [], "now": []}
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        windows = Path(folder, "windows.npy")
        np.save(windows, plausible_hits(BATCHES * BATCH, STEPS))
        processes = {
            name: stack.enter_context(
                subprocess.Popen(
                    [python, "-c", TURN, windows, str(BATCH)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
            )
            for name, python in builds.items()
        }
        for number in range(rounds + 1):
            for name, process in processes.items():
                assert process.stdin is not None and process.stdout is not None
                print("again", file=process.stdin, flush=True)
                answer = process.stdout.readline().split()
                if len(answer) != 2:
                    raise HypermeterError(f"{builds[name]}: no build of hypermeter that computes window metrics")
                if number:  # the first round warms up
                    times[name].append(float(answer[1]))
    milliseconds = {f"{name}_ms": 1000 * median(busy) / (BATCHES * BATCH) for name, busy in times.items()}
    least = {f"{name}_least_ms": 1000 * min(busy) / (BATCHES * BATCH) for name, busy in times.items()}
    return milliseconds | least | ratio_of(times["before"], times["now"])


def measure(rounds: int = ROUNDS) -> dict[str, float]:
    """Milliseconds a window of each, and the ratio: BATCHES batches of BATCH windows, against the windows of one."""
    windows = plausible_hits(BATCHES * BATCH, STEPS)
    batches, grid = torch.from_numpy(windows).split(BATCH), Grid()

    def batched() -> None:
        for batch in batches:
            window_metrics(batch, grid)

    def one_by_one() -> None:
        for window in windows[:BATCH]:
            naive_metrics.window_metrics(window, grid)

    times = in_turns({"batched": batched, "naive": one_by_one}, rounds)
    times["batched"] = [duration / BATCHES for duration in times["batched"]]
    return {
        **{f"{name}_ms": 1000 * median(duration) / BATCH for name, duration in times.items()},
        **ratio_of(times["naive"], times["batched"]),
    }


def markdown(result: dict[str, Any]) -> str:
    """The figures as a table."""
    metrics, about = result["metrics"], result["machine"]
    rows = [
        (f"hypermeter.music.metrics, batch of {BATCH}, ms a window", f"{metrics['batched_ms']:.3f}"),
        ("NumPy, window by window, ms a window", f"{metrics['naive_ms']:.2f}"),
        ("times faster a window", ratio_text(metrics, TARGET)),
    ]
    if before := result.get("before"):
        shown = [f"{before[f'{name}_ms']:.3f} (least {before[f'{name}_least_ms']:.3f})" for name in ("before", "now")]
        rows += [
            ("the earlier build, ms of processor time a window", shown[0]),
            ("this build, in turns with it", shown[1]),
            ("times faster than the earlier build", ratio_text(before, TARGET_BEFORE)),
        ]
    lines = [f"| all metrics of windows of {STEPS} x {VOICES} | measured |", "|---|---|"]
    lines += [f"| {what} | {value} |" for what, value in rows]
    lines += [
        "",
        f"{about['cpu']}, {about['threads']} thread, load {about['load_at_start']:.1f} at the start; torch "
        f"{about['torch']}, Python {about['python']}; {'quick' if result['quick'] else 'full'} round, random hits.",
    ]
    return "\n".join(lines)


def main(before: Path | None = None, quick: bool = False, out: Path = Path("bench/out/metrics.json")) -> None:
    """Measure, print Markdown, write JSON.

    Args:
        before: interpreter of an earlier build's environment, to compare with.
        quick: one round, to see that everything runs; its figures mean little.
        out: file for the figures as JSON.
    """
    torch.set_num_threads(1)
    result: dict[str, Any] = {"machine": machine(), "quick": quick, "metrics": measure(1 if quick else ROUNDS)}
    if before is not None:
        result["before"] = beside(before, 1 if quick else ROUNDS)
    print(markdown(result))
    with atomic_write(out) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\n{out}")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"metrics: {error}", file=sys.stderr)
        sys.exit(2)

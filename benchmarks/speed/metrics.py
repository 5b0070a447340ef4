"""Speed of all metrics of a window on one thread: batched, against one window after another in NumPy.

    python benchmarks/speed/metrics.py [--quick] [--out FILE.json]

Both run in turns, so that a busy machine slows both; a figure is the median of the rounds.
"""

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

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

ROUNDS = 15

BATCHES = 16
"""That follow one another in a round, as they do when they are read."""


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
    lines = [f"| all metrics of windows of {STEPS} x {VOICES} | measured |", "|---|---|"]
    lines += [f"| {what} | {value} |" for what, value in rows]
    lines += [
        "",
        f"{about['cpu']}, {about['threads']} thread, load {about['load_at_start']:.1f} at the start; torch "
        f"{about['torch']}, Python {about['python']}; {'quick' if result['quick'] else 'full'} round, random hits.",
    ]
    return "\n".join(lines)


def main(quick: bool = False, out: Path = Path("bench/out/metrics.json")) -> None:
    """Measure, print Markdown, write JSON.

    Args:
        quick: one round, to see that everything runs; its figures mean little.
        out: file for the figures as JSON.
    """
    torch.set_num_threads(1)
    result: dict[str, Any] = {"machine": machine(), "quick": quick, "metrics": measure(1 if quick else ROUNDS)}
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

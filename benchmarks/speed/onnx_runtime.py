"""A model exported to ONNX: size of its files, what eight bits cost on held-out drums, time of a step.

    python benchmarks/speed/onnx_runtime.py NPZ/validation [--model groove] [--quick] [--out FILE.json]

PyTorch, the engine in NumPy and both exports take turns, so that a busy machine slows all; a time is the median of the
rounds, on one thread.
"""

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
import torch
import tyro
from run import in_turns, ratio_of

from hypermeter.core.files import atomic_write
from hypermeter.learn.evaluate.card import read_performances
from hypermeter.model.hierarchical import HierarchicalDrumModel, load
from hypermeter.model.playing import TorchNetwork
from hypermeter.play.loading import load_player
from hypermeter.play.player import Player
from hypermeter.share.export import export

ROWS = 32
"""Performances that are judged side by side."""

BATCHES = (1, 64)
TIMED_STEPS = 64


def bits_per_step(player: Player, performances: Sequence[np.ndarray]) -> float:
    """Of all performances together, summed over voices, each step given all before it."""
    order = sorted(performances, key=len)
    total = 0.0
    for start in range(0, len(order), ROWS):
        rows = order[start : start + ROWS]
        padded = np.zeros((len(rows), len(rows[-1]), rows[0].shape[1]), np.uint8)
        for place, hits in enumerate(rows):
            padded[place, : len(hits)] = hits
        for log_probs, hits in zip(player.log_prob(padded), rows, strict=True):
            total -= log_probs[: len(hits)].sum()
    return total / math.log(2) / sum(map(len, order))


def steps_of(player: Player, batch: int) -> Callable[[], None]:
    """Play TIMED_STEPS on each time that it is called."""
    playing = player.stream(rows=batch)
    return lambda: [next(playing) for _ in range(TIMED_STEPS)] and None


def measure(model: HierarchicalDrumModel, name: str, performances: Sequence[np.ndarray], rounds: int) -> dict[str, Any]:
    """Sizes in bytes, bits per step, and of each batch the seconds of a step and their ratio to PyTorch's."""
    with tempfile.TemporaryDirectory() as folder:
        metas = {kind: export(model, Path(folder) / kind, name, kind == "int8") for kind in ("float32", "int8")}
        players = {kind: load_player(Path(folder) / kind) for kind in metas}
        times = {}
        for batch in BATCHES:
            every = {"PyTorch": Player(TorchNetwork(model)), "NumPy": model.player(), **players}
            actions = {kind: steps_of(player, batch) for kind, player in every.items()}
            taken = in_turns(actions, rounds)
            times[batch] = {
                "seconds_per_step": {what: median(durations) / TIMED_STEPS for what, durations in taken.items()},
                "ratio": {kind: ratio_of(taken[kind], taken["PyTorch"]) for kind in every if kind != "PyTorch"},
            }
        bits = {kind: bits_per_step(player, performances) for kind, player in players.items()}
    return {
        "model": name,
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
        "performances": len(performances),
        "steps": sum(map(len, performances)),
        "rounds": rounds,
        "bytes": {kind: meta["files"] for kind, meta in metas.items()},
        "bits_per_step": bits,
        "times": times,
    }


def markdown(result: dict[str, Any]) -> str:
    """The tables."""
    sizes, bits = result["bytes"], result["bits_per_step"]
    lines = [f"| {result['model']} | float32 | int8 |", "|---|---|---|"]
    lines += [
        f"| {file} | {sizes['float32'][file] / 1e6:.2f} MB | {sizes['int8'][file] / 1e6:.2f} MB |"
        for file in sizes["float32"]
    ]
    data_line = f"{result['performances']} performances, {result['steps']:,} steps"
    lines.append(f"| bits per step ({data_line}) | {bits['float32']:.4f} | {bits['int8']:.4f} |")
    kinds = ("PyTorch", "NumPy", "float32", "int8")
    over = " | ".join(f"{kind} / PyTorch" for kind in kinds[1:])
    lines += ["", f"| a step, drawn and heard | {' | '.join(kinds)} | {over} |", "|---" * 8 + "|"]
    for batch, times in result["times"].items():
        cells = [f"{times['seconds_per_step'][kind] * 1e3:.2f} ms" for kind in kinds]
        cells += [
            f"{ratio['ratio']:.2f} ({ratio['least']:.2f} to {ratio['greatest']:.2f})"
            for ratio in times["ratio"].values()
        ]
        lines.append(f"| batch {batch} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    npz_dir: tyro.conf.Positional[Path], model: str = "groove", quick: bool = False, out: Path | None = None
) -> None:
    """Measure and print.

    Args:
        npz_dir: prepared performances that the model has not learnt from.
        model: groove, a .safetensors file, or a training run.
        quick: few performances and rounds.
        out: JSON with all figures.
    """
    torch.set_num_threads(1)
    in_torch = load(model)
    performances = read_performances(npz_dir, in_torch.kit, in_torch.grid)[0]
    if quick:
        performances = [hits[:64] for hits in performances[:4]]
    result = measure(in_torch, Path(model).stem, performances, rounds=1 if quick else 15)
    print(markdown(result))
    if out is not None:
        with atomic_write(out) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    tyro.cli(main)

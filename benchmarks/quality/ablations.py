"""What each part of the model is worth, and what other models reach: bits per step on held-out performances.

    python benchmarks/quality/ablations.py NPZ --group parts --seeds 3
    python benchmarks/quality/ablations.py NPZ --group baselines --seeds 1

Every run has the same data and number of updates. A run that has been done is not done again, so that more rows or
seeds can be asked for later, and two processes can share a folder where they do different rows.

A difference is that of the bits of all held-out performances, mean over the seeds that both rows have; its interval is
a bootstrap over performances and, where there are several, over seeds.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from ngram import read

from hypermeter import load
from hypermeter.evaluate import performance_bits
from hypermeter.grid import HypermeterError, atomic_write
from hypermeter.train import TrainConfig, train

BASE: dict[str, Any] = {"max_steps": 600, "val_every": 100, "patience": 9, "learning_rate": 8e-3, "accelerator": "cpu"}

PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("the model", {}),
    "noatt": ("no bar attention", {"use_bar_attention": False}),
    "norecall": ("bar attention, but its hits only through the features", {"use_recalled_hits": False}),
    "nolook": ("no look-back inputs", {"use_look_back": False}),
    "nobar": ("bar level not heard", {"use_bar_level": False}),
    "nophrase": ("phrase level not heard", {"use_phrase_level": False}),
    "nopos": ("no step-of-bar and bar-of-phrase embeddings", {"use_positions": False}),
    "k8": ("mixture of 8", {"num_components": 8}),
    "sigmoid": ("independent voices", {"output": "sigmoid"}),
}

FLAT: dict[str, Any] = {
    "use_bar_attention": False, "use_positions": False, "use_look_back": False, "use_bar_level": False,
    "use_phrase_level": False, "bar_weight": 0.0, "phrase_weight": 0.0,
}  # fmt: skip
PLAIN: dict[str, Any] = {"use_bar_attention": False, "use_positions": False, "use_look_back": False}
AIDED: dict[str, Any] = {**FLAT, "use_positions": True, "use_look_back": True}
FLAT_TRANSFORMER: dict[str, Any] = {**FLAT, "use_transformer": True, "num_layers": 4}


def _rates(name: str, what: str, options: dict[str, Any], rates: Sequence[str]) -> dict[str, tuple[str, dict]]:
    return {f"{name}_{rate}": (f"{what}, rate {rate}", options | {"learning_rate": float(rate)}) for rate in rates}


BASELINES = {
    **_rates("flatgru", "flat GRU, mixture", FLAT, ("4e-3", "8e-3", "16e-3", "32e-3")),
    **_rates("aided", "flat GRU, mixture, positions, look-back", AIDED, ("8e-3", "16e-3")),
    **_rates("flattr", "flat Transformer of 4 layers, mixture", FLAT_TRANSFORMER, ("1e-3", "2e-3", "4e-3")),
    **_rates("plain", "step, bar and phrase GRUs, sigmoids", PLAIN | {"output": "sigmoid"}, ("4e-3", "8e-3", "16e-3")),
    **_rates("tr", "the model with Transformers", {"use_transformer": True}, ("4e-3", "8e-3", "16e-3")),
}
"""Each at several learning rates; the best is the baseline."""

GROUPS = {"parts": PARTS, "baselines": BASELINES}
DRAWS = 2_000


def run(
    name: str, options: dict[str, Any], seed: int, npz_dir: Path, held_out: list[np.ndarray], out: Path
) -> dict[str, Any]:
    """Train, or read what was trained before: ``bits`` of each held-out performance, ``parameters``, ``seconds``."""
    folder = out / f"{name}-{seed}"
    result = folder / "result.json"
    if result.exists():
        return json.loads(result.read_text("utf-8"))
    start = time.monotonic()
    train(TrainConfig(npz_dir, folder, seed=seed, **(BASE | options)))
    seconds = time.monotonic() - start
    model = load(folder)
    bits = performance_bits(model, held_out)
    parameters = sum(each.numel() for each in model.parameters())
    found = {"bits": bits.tolist(), "parameters": parameters, "seconds": seconds}
    with atomic_write(result) as temporary:
        temporary.write_text(json.dumps(found), encoding="utf-8")
    return found


def difference(ours: np.ndarray, reference: np.ndarray, steps: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Of bits per step, with its 95 % interval: arrays are (seeds, performances)."""
    apart = ours - reference
    random = np.random.default_rng(seed)
    seeds = random.integers(len(apart), size=(DRAWS, len(apart)))
    performances = random.integers(apart.shape[1], size=(DRAWS, apart.shape[1]))
    drawn = apart[seeds[:, :, None], performances[:, None]].mean(1).sum(1) / steps[performances].sum(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return apart.mean(0).sum() / steps.sum(), low, high


def table(rows: dict[str, tuple[str, dict]], found: dict[str, list[dict[str, Any]]], steps: np.ndarray) -> str:
    """Rows as Markdown; those that have been run, in their order. The first is what differences are from."""
    lines = [
        "| | bits per step | spread over seeds | more than the first row (95 %) | parameters | minutes a run |",
        "|---|---|---|---|---|---|",
    ]
    reference: np.ndarray | None = None
    for name, runs in found.items():
        bits = np.array([each["bits"] for each in runs])
        per_step = bits.sum(1) / steps.sum()
        spread = f"{per_step.min():.3f} to {per_step.max():.3f}" if len(runs) > 1 else "one seed"
        apart = "-"
        if reference is None:
            reference = bits
        else:
            both = min(len(bits), len(reference))
            mean, low, high = difference(bits[:both], reference[:both], steps)
            apart = f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
        minutes = np.mean([each["seconds"] for each in runs]) / 60
        cells = (rows[name][0], f"{per_step.mean():.3f}", spread, apart, f"{runs[0]['parameters']:,}", f"{minutes:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    npz_dir: tyro.conf.Positional[Path],
    out: Path = Path("bench/out/ablations"),
    group: Literal["parts", "baselines"] = "parts",
    rows: tuple[str, ...] = (),
    seeds: int = 3,
) -> None:
    """Train what is missing, then print the table.

    Args:
        npz_dir: folder that prepare wrote, with train and validation.
        out: folder of the runs.
        group: parts, or baselines.
        rows: names of some of its rows; left out, all.
        seeds: of each row, from 0 on.
    """
    wanted = GROUPS[group]
    if unknown := set(rows) - set(wanted):
        raise HypermeterError(f"no row {min(unknown)!r}, expected some of {', '.join(wanted)}")
    held_out = read(npz_dir / "validation")[1]
    steps = np.array([len(each) for each in held_out])
    names = [name for name in wanted if not rows or name in rows]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in range(seeds):
        for name in names:
            found[name].append(run(name, wanted[name][1], seed, npz_dir, held_out, out))
    print(table(wanted, found, steps))


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"ablations: {error}", file=sys.stderr)
        sys.exit(2)

"""What a long memory is worth: bits per step of bars late in a performance, by the earlier bars that are read.

    python benchmarks/quality/context.py MODEL NPZ/validation [--first 64] [--bars 8 16 32]

Bars from number ``first`` on (from 0) of all performances that are long enough, each predicted after the whole
performance so far, and after its last bars only. A shortened context begins with a phrase, so that it is up to a phrase
less a bar longer than it says.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor

from hypermeter import HierarchicalDrumModel, load
from hypermeter.core.errors import HypermeterError
from hypermeter.learn.dataset import read_folder

BATCH = 64
"""Bars that are predicted together."""


@torch.no_grad()
def bits_of_bars(model: HierarchicalDrumModel, hits: Tensor, first: int, bars: int | None) -> np.ndarray:
    """Bits of each whole bar from ``first`` on, after ``bars`` bars or, with None, after all before it."""
    size, phrase = model.grid.steps_per_bar, model.grid.bars_per_phrase
    last = len(hits) // size
    if bars is None:
        nats = model.log_prob(hits[None])[0, : last * size]
        return -nats.view(last, size).sum(-1)[first:].numpy() / np.log(2)
    bits = np.zeros(last - first)
    starts = {bar: (bar - bars) // phrase * phrase for bar in range(first, last)}
    for length in {bar + 1 - start for bar, start in starts.items()}:  # in bars, the one that is predicted included
        alike = [bar for bar, start in starts.items() if bar + 1 - start == length]
        for at in range(0, len(alike), BATCH):
            some = alike[at : at + BATCH]
            windows = torch.stack([hits[starts[bar] * size : (bar + 1) * size] for bar in some])
            nats = model.log_prob(windows)[:, -size:].sum(-1)
            bits[[bar - first for bar in some]] = -nats.numpy() / np.log(2)
    return bits


def interval(apart: list[np.ndarray], steps_per_bar: int, seed: int = 0, draws: int = 2_000) -> tuple[float, float]:
    """95 % interval of the mean of bars, in bits per step, by bootstrap over performances."""
    sums, counts = (
        np.array([difference.sum() for difference in apart]),
        np.array([len(difference) for difference in apart]),
    )
    chosen = np.random.default_rng(seed).integers(len(apart), size=(draws, len(apart)))
    low, high = np.quantile(sums[chosen].sum(1) / counts[chosen].sum(1) / steps_per_bar, (0.025, 0.975))
    return float(low), float(high)


def main(
    model: tyro.conf.Positional[str],
    npz_dir: tyro.conf.Positional[Path],
    first: int = 64,
    bars: tuple[int, ...] = (8, 16, 32),
) -> None:
    """Print a table.

    Args:
        model: its name or path.
        npz_dir: folder of held-out performances.
        first: bar from which on bars are predicted, from 0.
        bars: lengths of shortened contexts.
    """
    drummer = load(model)
    size = drummer.grid.steps_per_bar
    long = [
        torch.from_numpy(performance).float()
        for performance in read_folder(npz_dir)[1]
        if len(performance) >= (first + 1) * size
    ]
    if not long:
        raise HypermeterError(f"{npz_dir}: no performance of more than {first} bars; pass a lower --first")
    if min(bars) < 1 or max(bars) > first:
        raise HypermeterError(f"bars are {bars}, expected 1 to {first}, as many as there are before the first bar")
    whole = [bits_of_bars(drummer, performance, first, None) for performance in long]
    number = sum(map(len, whole))
    print(f"{len(long)} performances, {number} bars from bar {first + 1} on\n")
    print("| bars read before | bits per step | more than after all (95 %) |\n|---|---|---|")
    print(f"| the whole performance so far | {sum(bits.sum() for bits in whole) / number / size:.3f} | - |")
    for length in bars:
        of_windows = [bits_of_bars(drummer, performance, first, length) for performance in long]
        apart = [one - other for one, other in zip(of_windows, whole, strict=True)]
        mean = sum(difference.sum() for difference in apart) / number / size
        low, high = interval(apart, size)
        total = sum(bits.sum() for bits in of_windows) / number / size
        print(f"| the last {length} bars | {total:.3f} | {mean:+.3f} ({low:+.3f} to {high:+.3f}) |")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"context: {error}", file=sys.stderr)
        sys.exit(2)

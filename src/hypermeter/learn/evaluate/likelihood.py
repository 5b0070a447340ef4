"""Measures of a model's predictions on performances that it has not seen."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from hypermeter.core.grid import Grid
from hypermeter.learn.evaluate.scores import BATCH_STEPS, CALIBRATION_BINS, batches, padded, score
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.model.plan import Plan, stack

__all__ = [
    "BOOTSTRAP_DRAWS",
    "CALIBRATION_BINS",
    "bits_of_parts",
    "bits_per_step",
    "forecasts",
    "one_step_ahead",
    "performance_bits",
    "summarize",
]

BOOTSTRAP_DRAWS = 2_000


@torch.no_grad()
def performance_bits(
    model: HierarchicalDrumModel,
    sequences: Sequence[np.ndarray],
    plans: Sequence[Plan] | None = None,
    batch_steps: int = BATCH_STEPS,
    grids: Sequence[Grid] | None = None,
) -> np.ndarray:
    """Return -log2 p of each performance, each step given all before it.

    Args:
        model: in eval mode.
        sequences: hits (T, V) of each performance, T >= 1, with the columns of the model's tracks after them.
        plans: conditions of each; None, no plan.
        batch_steps: most steps in a batch, padding included; it does not change the result.
        grids: of each performance; None, that of the model.

    Returns:
        (performances,) bits, summed over steps, voices and tracks.
    """
    bits = np.zeros(len(sequences))
    for grid in dict.fromkeys(grids or [None]):
        placed = model if grid is None else model.on(grid)
        numbers = [index for index in range(len(sequences)) if grids is None or grids[index] == grid]
        for part in batches([len(sequences[index]) for index in numbers], batch_steps):
            batch = [numbers[index] for index in part]
            options = {} if plans is None else {"plan": stack([plans[index] for index in batch])}
            log_prob = placed.log_prob(padded(model, [sequences[index] for index in batch]), **options)
            for index, row in zip(batch, log_prob.double().cpu(), strict=True):
                bits[index] = -row[: len(sequences[index])].sum().item() / math.log(2)
    return bits


def bits_per_step(
    model: HierarchicalDrumModel,
    sequences: Sequence[np.ndarray],
    plans: Sequence[Plan] | None = None,
    grids: Sequence[Grid] | None = None,
) -> float:
    """Return bits per step, summed over voices and tracks, of all performances together (long ones weigh more)."""
    return float(performance_bits(model, sequences, plans, grids=grids).sum() / sum(map(len, sequences)))


def bits_of_parts(model: HierarchicalDrumModel, sequences: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the parts of ``performance_bits``, (performances,) each: of the drums, and of each track.

    A track's bits are given the drums, and the tracks before it, of the same step.
    """
    names = ("drums", *(track.name for track in model.tracks))
    return dict(zip(names, score(model, sequences).parts.T, strict=True))


def forecasts(model: HierarchicalDrumModel, sequences: Sequence[np.ndarray]) -> dict[str, dict[str, float]]:
    """Return ``Scores.forecasts`` of a model on performances."""
    return score(model, sequences).forecasts()


def one_step_ahead(model: HierarchicalDrumModel, sequences: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return ``Scores.next_step`` of a model on performances."""
    return score(model, sequences).next_step()


def summarize(bits: np.ndarray, steps: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Return bits per step with a 95 % interval by bootstrap over performances.

    Args:
        bits: (performances,), in all.
        steps: (performances,), lengths.
        seed: seed of the bootstrap.

    Returns:
        ``bits_per_step`` (all steps together), ``low`` and ``high`` of it, ``mean_of_performances``, ``performances``,
        ``steps``.
    """
    draws = np.random.default_rng(seed).integers(len(bits), size=(BOOTSTRAP_DRAWS, len(bits)))
    low, high = np.quantile(bits[draws].sum(1) / steps[draws].sum(1), (0.025, 0.975))
    return {
        "bits_per_step": float(bits.sum() / steps.sum()),
        "low": float(low),
        "high": float(high),
        "mean_of_performances": float((bits / steps).mean()),
        "performances": len(bits),
        "steps": int(steps.sum()),
    }

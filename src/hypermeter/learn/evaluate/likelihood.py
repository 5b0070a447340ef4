"""Measures of a model's predictions on performances that it has not seen."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from hypermeter.model.heads import Mixture
from hypermeter.model.hierarchical import HierarchicalDrumModel, Prediction
from hypermeter.model.losses import level_loss
from hypermeter.model.plan import Plan, stack
from hypermeter.music.metrics import chunk_means

BOOTSTRAP_DRAWS = 2_000
CALIBRATION_BINS = 10


@torch.no_grad()
def performance_bits(
    model: HierarchicalDrumModel,
    sequences: Sequence[np.ndarray],
    plans: Sequence[Plan] | None = None,
    batch_steps: int = 16_384,
) -> np.ndarray:
    """Return -log2 p of each performance, each step given all before it.

    Args:
        model: in eval mode.
        sequences: hits (T, V) of each performance, T >= 1, with the columns of the model's tracks after them.
        plans: conditions of each; None, no plan.
        batch_steps: most steps in a batch, padding included; it does not change the result.

    Returns:
        (performances,) bits, summed over steps, voices and tracks.
    """
    bits = np.zeros(len(sequences))
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    while order:
        batch = [order.pop()]
        while order and (len(batch) + 1) * len(sequences[batch[0]]) <= batch_steps:
            batch.append(order.pop())
        rows = [torch.from_numpy(sequences[index]).float() for index in batch]
        options = {} if plans is None else {"plan": stack([plans[index] for index in batch])}
        log_prob = model.log_prob(pad_sequence(rows, batch_first=True).to(next(model.parameters()).device), **options)
        for index, row in zip(batch, log_prob.double().cpu(), strict=True):
            bits[index] = -row[: len(sequences[index])].sum().item() / math.log(2)
    return bits


@torch.no_grad()
def bits_of_parts(model: HierarchicalDrumModel, sequences: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the parts of ``performance_bits``, (performances,) each: of the drums, and of each track.

    A track's bits are given the drums, and the tracks before it, of the same step.
    """
    stops = (model.num_drums, *(stop for _, stop in model.groups))
    device = next(model.parameters()).device
    bits = []
    for sequence in sequences:
        step = torch.from_numpy(sequence).float()[None].to(device)
        dist = model(step).step_dist[:, :-1]
        assert isinstance(dist, Mixture)
        nats = [-dist.only(0, stop).log_prob(step[..., :stop]).double().sum().item() for stop in stops]
        bits.append(np.diff(nats, prepend=0.0) / math.log(2))
    names = ("drums", *(track.name for track in model.tracks))
    return dict(zip(names, np.array(bits).T, strict=True))


def bits_per_step(
    model: HierarchicalDrumModel, sequences: Sequence[np.ndarray], plans: Sequence[Plan] | None = None
) -> float:
    """Return bits per step, summed over voices and tracks, of all performances together (long ones weigh more)."""
    return float(performance_bits(model, sequences, plans).sum() / sum(map(len, sequences)))


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


@torch.no_grad()
def forecasts(model: HierarchicalDrumModel, sequences: Sequence[np.ndarray]) -> dict[str, dict[str, float]]:
    """Return cross entropy (nats) and squared error a cell of the next bar and phrase, beside repeating the last.

    For the cross entropy a repeated pattern is clipped to .02 to .98, as its logarithm would be infinite otherwise.
    Only drums of whole bars and phrases after the first are forecast; NaN where there are none.
    """
    totals: dict[str, dict[str, float]] = {
        level: dict.fromkeys(("model_bce", "last_bce", "model_mse", "last_mse", "cells"), 0.0)
        for level in ("bar", "phrase")
    }
    device = next(model.parameters()).device
    for sequence in sequences:
        step = torch.from_numpy(sequence).float()[None].to(device)
        prediction: Prediction = model(step)
        for level, size, logits in (
            ("bar", model.grid.steps_per_bar, prediction.bar_logits),
            ("phrase", model.grid.steps_per_phrase, prediction.phrase_logits),
        ):
            whole = len(sequence) // size
            if whole < 2:
                continue
            patterns = chunk_means(step, size)[:, :whole]
            _add_forecast(totals[level], logits[:, :whole, : model.num_drums], patterns[..., : model.num_drums])
    return {
        level: {name: value / (sums["cells"] or math.nan) for name, value in sums.items() if name != "cells"}
        for level, sums in totals.items()
    }


def _add_forecast(sums: dict[str, float], logits: Tensor, patterns: Tensor) -> None:
    mask = torch.ones(patterns.shape[:2], dtype=torch.bool, device=patterns.device)
    chunks = patterns.shape[1] - 1
    repeated = patterns.clamp(0.02, 0.98)
    for name, preds, kind, is_logits in (
        ("model_bce", logits, "bce", True),
        ("last_bce", repeated, "bce", False),
        ("model_mse", logits, "mse", True),
        ("last_mse", patterns, "mse", False),
    ):
        sums[name] += level_loss(preds, patterns, mask, kind, is_logits).item() * chunks
    sums["cells"] += chunks * patterns.shape[2]


@torch.no_grad()
def one_step_ahead(model: HierarchicalDrumModel, sequences: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return measures of forecasts of the drums' cells, one step ahead, from the second step on.

    Returns:
        ``precision``, ``recall`` and ``f1`` of hits forecast with a probability of at least one half;
        ``calibration_error``, the mean distance of forecast and frequency over ``CALIBRATION_BINS`` bins of equal
        width, weighted by their cells; ``calibration``, a list of (cells, mean forecast, frequency of a hit) by bin;
        ``voice_bits``, a list of the bits a step of each voice on its own. Their sum is more than the joint bits of all
        voices, by the dependence between voices that the model has learnt.
    """
    right = forecast = played = steps = 0.0
    bins = torch.zeros(CALIBRATION_BINS, 3, dtype=torch.float64)
    voice_nats = torch.zeros(model.num_drums, dtype=torch.float64)
    device = next(model.parameters()).device
    for sequence in sequences:
        hits = torch.from_numpy(sequence[1:, : model.num_drums]).double()
        step = torch.from_numpy(sequence).float()[None].to(device)
        probs = model(step).step_preds[0, :-1, : model.num_drums].double().cpu()
        right += (hits * (probs >= 0.5)).sum().item()
        forecast += (probs >= 0.5).sum().item()
        played += hits.sum().item()
        steps += len(hits)
        bin_of_cell = (probs * CALIBRATION_BINS).long().clamp_max(CALIBRATION_BINS - 1).flatten()
        cells = torch.stack([torch.ones_like(probs), probs, hits], -1).flatten(0, 1)
        bins.index_add_(0, bin_of_cell, cells)
        voice_nats -= torch.where(hits > 0, probs, 1 - probs).clamp_min(1e-12).log().sum(0)
    precision, recall = right / max(forecast, 1), right / max(played, 1)
    count = bins[:, 0].clamp_min(1)
    error = (bins[:, 1] - bins[:, 2]).abs().sum() / bins[:, 0].sum().clamp_min(1)
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * right / max(forecast + played, 1),
        "calibration_error": error.item(),
        "calibration": torch.stack([bins[:, 0], bins[:, 1] / count, bins[:, 2] / count], -1).tolist(),
        "voice_bits": (voice_nats / math.log(2) / max(steps, 1)).tolist(),
    }

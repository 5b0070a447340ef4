"""What a model's predictions of performances come to: one pass over each performance, for all figures of the card.

`batches` and `score_batch` are plain functions of values that can be pickled: batches may be scored in any order and
anywhere, and `score` puts their rows together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from hypermeter.learn.engines import IN_PROCESS, Engine
from hypermeter.model.heads import Mixture
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.model.losses import bernoulli_nll
from hypermeter.music.metrics import chunk_means

BATCH_STEPS = 8_192
"""Most steps in a batch, padding included. Larger batches are slower, as their arrays no longer fit into a cache."""

CALIBRATION_BINS = 10

FORECAST_ERRORS = ("model_bce", "last_bce", "model_mse", "last_mse")


@dataclass(frozen=True)
class Scores:
    """Sums over the steps, bars and phrases of N performances; a row is a performance.

    Args:
        bits: -log2 p of all steps, each given all before it, summed over steps, voices and tracks.
        parts: bits of the drums, and of each track given the drums and the tracks before it of the same step.
        bar, phrase: FORECAST_ERRORS of the drums of the next bar (phrase), and the number of cells that were forecast.
        hits: cells forecast as hits (with a probability of at least one half) that are hits, all cells forecast as
            hits, all hits, and steps, from the second step on.
        calibration: cells, their forecasts and their hits, by the forecast in CALIBRATION_BINS bins of equal width.
        voice_nats: cross entropy of each voice on its own, from the second step on.
    """

    bits: Float[np.ndarray, " N"]
    parts: Float[np.ndarray, "N parts"]
    bar: Float[np.ndarray, "N 5"]
    phrase: Float[np.ndarray, "N 5"]
    hits: Float[np.ndarray, "N 4"]
    calibration: Float[np.ndarray, "N bins 3"]
    voice_nats: Float[np.ndarray, "N V"]

    @classmethod
    def joined(cls, scores: Sequence["Scores"], order: Sequence[int]) -> "Scores":
        """Return the rows of several in one: row i of all together becomes row order[i]."""
        rows = np.argsort(order)
        return cls(*(np.concatenate([getattr(some, field.name) for some in scores])[rows] for field in fields(cls)))

    def forecasts(self) -> dict[str, dict[str, float]]:
        """Return cross entropy (nats) and squared error a cell of the next bar and phrase, beside repeating the last.

        For the cross entropy a repeated pattern is clipped to .02 to .98, as its logarithm would be infinite otherwise.
        Only drums of whole bars and phrases after the first are forecast; NaN where there are none.
        """
        result = {}
        for level in ("bar", "phrase"):
            *errors, cells = getattr(self, level).sum(0).tolist()
            means = [error / (cells or math.nan) for error in errors]
            result[level] = dict(zip(FORECAST_ERRORS, means, strict=True))
        return result

    def next_step(self) -> dict[str, Any]:
        """Return measures of forecasts of the drums' cells, one step ahead, from the second step on.

        Returns:
            ``precision``, ``recall`` and ``f1`` of hits forecast with a probability of at least one half;
            ``calibration_error``, the mean distance of forecast and frequency over ``CALIBRATION_BINS`` bins of equal
            width, weighted by their cells; ``calibration``, a list of (cells, mean forecast, frequency of a hit) by
            bin; ``voice_bits``, a list of the bits a step of each voice on its own. Their sum is more than the joint
            bits of all voices, by the dependence between voices that the model has learnt.
        """
        right, forecast, played, steps = self.hits.sum(0).tolist()
        cells, forecasts, hits = self.calibration.sum(0).T
        count = cells.clip(min=1)
        return {
            "precision": right / max(forecast, 1),
            "recall": right / max(played, 1),
            "f1": 2 * right / max(forecast + played, 1),
            "calibration_error": float(abs(forecasts - hits).sum() / cells.sum().clip(min=1)),
            "calibration": np.stack([cells, forecasts / count, hits / count], -1).tolist(),
            "voice_bits": (self.voice_nats.sum(0) / math.log(2) / max(steps, 1)).tolist(),
        }


def batches(lengths: Sequence[int], batch_steps: int = BATCH_STEPS) -> list[list[int]]:
    """Return the numbers of the performances in each batch: the longest first, those of like length together.

    Args:
        lengths: steps of each performance.
        batch_steps: most steps in a batch, padding included; a longer performance is alone.
    """
    order = sorted(range(len(lengths)), key=lambda number: lengths[number])
    result: list[list[int]] = []
    while order:
        batch = [order.pop()]
        while order and (len(batch) + 1) * lengths[batch[0]] <= batch_steps:
            batch.append(order.pop())
        result.append(batch)
    return result


def padded(model: HierarchicalDrumModel, sequences: Sequence[np.ndarray]) -> Float[Tensor, "B T W"]:
    """Return hits (T, W) of each as a tensor on the model's device, with zeros after the end of the shorter ones."""
    rows = [torch.from_numpy(hits).float() for hits in sequences]
    return pad_sequence(rows, batch_first=True).to(next(model.parameters()).device)


def score(
    model: HierarchicalDrumModel,
    sequences: Sequence[np.ndarray],
    batch_steps: int = BATCH_STEPS,
    engine: Engine = IN_PROCESS,
) -> Scores:
    """Return the scores of performances, in their order.

    Args:
        model: in eval mode.
        sequences: hits (T, W) of each performance, T >= 1, with the columns of the model's tracks after the voices.
        batch_steps: most steps in a batch, padding included; it changes no more than the last digits.
        engine: scores the batches.
    """
    parts = batches(list(map(len, sequences)), batch_steps)
    tasks = ((part, [sequences[number] for number in part]) for part in parts)
    found = sorted(engine.run(partial(_score_part, model), tasks), key=lambda pair: pair[0])
    return Scores.joined([scores for _, scores in found], [number for part, _ in found for number in part])


def _score_part(model: HierarchicalDrumModel, task: tuple[list[int], Sequence[np.ndarray]]) -> tuple[list[int], Scores]:
    numbers, sequences = task
    return numbers, score_batch(model, sequences)


@torch.no_grad()
def score_batch(model: HierarchicalDrumModel, sequences: Sequence[np.ndarray]) -> Scores:
    """Return the scores of some performances, from one pass of the model; the arguments are those of ``score``."""
    step = padded(model, sequences)
    prediction = model(step)
    dist, drums = prediction.step_dist, model.num_drums
    device, (rows, steps, _) = step.device, step.shape
    lengths = torch.tensor(list(map(len, sequences)), device=device)[:, None]
    exists = torch.arange(steps, device=device) < lengths
    ahead = F.pad(step, (0, 0, 0, 1))  # a distribution more than steps: of the step after the end

    def bits_of(log_prob: Float[Tensor, "B positions"]) -> Float[np.ndarray, " B"]:
        return torch.where(exists, -log_prob[:, :-1], 0).cpu().double().sum(1).numpy() / math.log(2)

    bits = bits_of(dist.log_prob(ahead))
    parts = bits[:, None]
    if model.tracks:
        assert isinstance(dist, Mixture)
        stops = (drums, *(stop for _, stop in model.groups))
        so_far = [bits_of(dist.only(0, stop).log_prob(ahead[..., :stop])) for stop in stops]
        parts = np.diff(np.stack(so_far, 1), prepend=0.0)
    bar, phrase = (
        _forecast_errors(chunk_means(step, size)[..., :drums], logits[..., :drums], lengths // size)
        for size, logits in (
            (model.grid.steps_per_bar, prediction.bar_logits),
            (model.grid.steps_per_phrase, prediction.phrase_logits),
        )
    )
    row, of_cells = exists[:, 1:].nonzero()[:, 0].cpu(), exists[:, 1:]
    probs = dist.probs[:, 1:-1, :drums][of_cells].cpu().double()
    hits = step[:, 1:, :drums][of_cells].cpu().double()
    forecast, ones = (probs >= 0.5).double(), torch.ones_like(probs)
    counts = [(hits * forecast).sum(1), forecast.sum(1), hits.sum(1), ones[:, 0]]
    bin_of_cell = (probs * CALIBRATION_BINS).long().clamp_max(CALIBRATION_BINS - 1) + row[:, None] * CALIBRATION_BINS
    cells = torch.stack([ones, probs, hits], -1).flatten(0, 1)
    nats = -torch.where(hits > 0, probs, 1 - probs).clamp_min(1e-12).log()
    return Scores(
        bits,
        parts,
        bar,
        phrase,
        _sums(row, torch.stack(counts, 1), rows),
        _sums(bin_of_cell.flatten(), cells, rows * CALIBRATION_BINS).reshape(rows, CALIBRATION_BINS, 3),
        _sums(row, nats, rows),
    )


def _forecast_errors(
    patterns: Float[Tensor, "B chunks V"], logits: Float[Tensor, "B chunks V"], whole: Tensor
) -> Float[np.ndarray, "B 5"]:
    """Return FORECAST_ERRORS and the number of cells.

    Position k of ``logits`` is for chunk k + 1, and a row has ``whole`` (B, 1) chunks.
    """
    chunks = patterns.shape[1]
    exists = torch.arange(1, chunks, device=whole.device) < whole
    last, after, logits = (x[exists] for x in (patterns[:, :-1], patterns[:, 1:], logits[:, : chunks - 1].float()))
    errors = (
        F.binary_cross_entropy_with_logits(logits, after, reduction="none").sum(-1),
        bernoulli_nll(last.clamp(0.02, 0.98), after),
        (logits.sigmoid() - after).square().sum(-1),
        (last - after).square().sum(-1),
        torch.full_like(after[:, 0], after.shape[1]),
    )
    return _sums(exists.nonzero()[:, 0].cpu(), torch.stack(errors, 1).cpu().double(), len(patterns))


def _sums(row: Tensor, values: Float[Tensor, "N F"], rows: int) -> Float[np.ndarray, "rows F"]:
    """Return the sums of the values of each row."""
    return values.new_zeros(rows, values.shape[1]).index_add_(0, row, values).numpy()

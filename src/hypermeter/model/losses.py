"""The training loss: predictions and targets in, scalars out.

Time convention: position t of a ``Prediction``'s ``step_dist`` is for step t (0 from the start state); of a plain
tuple's ``step_preds``, for step t + 1. ``bar_preds[:, k]`` is for bar k + 1, phrases likewise. Means are over unpadded
steps, and a term with nothing to predict is 0.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.music.metrics import METRICS

TINY = 1e-7
LONGEST_INTERVAL = 16
"""Steps; longer distances between hits are left out of the term ``ioi_hist``."""


def masked_mean(values: Float[Tensor, "*S"], mask: Bool[Tensor, "*S"]) -> Float[Tensor, ""]:
    """Return the mean over where the mask is true, 0 if nowhere. Other values may be anything, also NaN."""
    return torch.where(mask, values, 0).sum() / mask.sum().clamp_min(1)


def bernoulli_nll(probs: Float[Tensor, "*B V"], targets: Float[Tensor, "*B V"]) -> Float[Tensor, "*B"]:
    """Return the cross entropy of hits and silences in nats, summed over voices."""
    probs = probs.float()
    on, off = probs.clamp_min(TINY).log(), (1 - probs).clamp_min(TINY).log()
    return -(targets * on + (1 - targets) * off).sum(-1)


def level_loss(
    preds: Float[Tensor, "B chunks V"],
    targets: Float[Tensor, "B all V"],
    mask: Bool[Tensor, "B all"],
    kind: str = "bce",
    is_logits: bool = False,
) -> Float[Tensor, ""]:
    """Return the loss of the next bar's (phrase's) mean pattern, summed over voices, mean over bars but the first.

    Args:
        preds: position k is for bar k + 1; the last, for the bar after the end, is not used.
        targets: means in [0, 1].
        mask: true on unpadded bars.
        kind: ``bce`` in nats, whose minimum is the entropy of the targets, or ``mse``.
        is_logits: preds are logits, otherwise probabilities.

    Raises:
        HypermeterError: ``kind`` is neither.
    """
    if kind not in ("bce", "mse"):
        raise HypermeterError(f"bar_loss is {kind!r}, expected 'bce' or 'mse'")
    following = min(preds.shape[1], targets.shape[1] - 1)
    if following < 1:
        return preds.sum() * 0
    preds, targets = preds[:, :following].float(), targets[:, 1 : following + 1].float()
    if kind == "mse":
        losses = ((preds.sigmoid() if is_logits else preds) - targets).square().sum(-1)
    elif is_logits:
        losses = F.binary_cross_entropy_with_logits(preds, targets, reduction="none").sum(-1)
    else:
        losses = bernoulli_nll(preds, targets)
    return masked_mean(losses, mask[:, 1 : following + 1])


def _ioi_hist_per_step(hits: Float[Tensor, "B T V"], grid: Grid) -> Float[Tensor, "B V lags"]:
    return METRICS["ioi_hist"](hits, grid, bins=LONGEST_INTERVAL) / hits.shape[1]


METRIC_TERMS: dict[str, Callable[[Tensor, Grid], Tensor]] = {
    "density": lambda hits, grid: METRICS["drum_density"](hits, grid),
    "offbeat": lambda hits, grid: METRICS["syncopation"](hits, grid, weak="offbeat"),
    "ioi_hist": _ioi_hist_per_step,
    "ioi_mean": lambda hits, grid: METRICS["ioi_mean"](hits, grid) / grid.steps_per_bar,
}
"""Metrics that take probabilities, scaled to one order of magnitude; each takes what METRICS has when it is called."""


def metric_loss(
    probs: Float[Tensor, "B T V"],
    step: Float[Tensor, "B T V"],
    mask: Bool[Tensor, "B T"],
    grid: Grid,
    names: Iterable[str] = tuple(METRIC_TERMS),
) -> Float[Tensor, ""]:
    """Return the mean squared difference of METRIC_TERMS between predictions and targets, summed over names.

    Each sample is measured over its unpadded steps. The mean is over the values that are defined for the targets;
    undefined values of predictions count as 0.

    Raises:
        HypermeterError: an unknown name.
    """
    names = tuple(names)
    for name in names:
        if name not in METRIC_TERMS:
            raise HypermeterError(f"metrics: no term {name!r}, expected some of {', '.join(METRIC_TERMS)}")
    lengths = mask.sum(-1)
    total = probs.sum() * 0
    for name in names:
        errors, defined = [], []
        for length in lengths.unique().tolist():
            rows = lengths == length
            expected = METRIC_TERMS[name](step[rows, :length].float(), grid)
            predicted = METRIC_TERMS[name](probs[rows, :length].float(), grid)
            errors.append((predicted.nan_to_num(0) - expected.nan_to_num(0)).square().flatten())
            defined.append(~expected.isnan().flatten())
        total = total + masked_mean(torch.cat(errors), torch.cat(defined))
    return total


def loss_terms(
    preds: Any,
    targets: Mapping[str, Any] | tuple[Tensor, Tensor, Tensor],
    metrics: bool | Iterable[str] | list[dict] | None = None,
    *,
    bar_loss: str = "bce",
    step_weight: float = 1.0,
    drums_weight: float = 1.0,
    bar_weight: float = 0.1,
    phrase_weight: float = 0.1,
    metric_weight: float = 0.1,
    grid: Grid | None = None,
) -> dict[str, Tensor]:
    """Return the step, bar, phrase and metric terms of the loss, and their weighted sum.

    Args:
        preds: the model's ``Prediction``, with the exact likelihood of every step; or probabilities (step_preds,
            bar_preds, phrase_preds), scored as independent voices from the second step on.
        targets: the loader's batch, or (step, bar, phrase) without padding. The shift to the next is made here.
        metrics: None or False, no metric term; True, or the batch's own ``metrics``, all METRIC_TERMS; or their names.
        bar_loss: ``bce`` or ``mse``, for bars and phrases, see ``level_loss``.
        step_weight, bar_weight, phrase_weight, metric_weight: of the terms.
        drums_weight: of -log p(drums) in ``step_nll``, where -log p(tracks | drums) has 1. For models with tracks.
        grid: for beats, and for the bars of targets that have no other mask than ``mask``; None is 4/4 in sixteenths.

    Returns:
        Scalars: ``loss``; ``step_nll``, nats per step, summed over voices; ``bar`` and ``phrase``, summed over voices,
        per bar and phrase; ``metric``. The terms are not weighted.

    Raises:
        HypermeterError: step predictions and targets of different shapes, an unknown metric term or ``bar_loss``.
    """
    grid = grid or Grid()
    step, bar, phrase, mask, bar_mask, phrase_mask = _targets(targets, grid)

    dist = getattr(preds, "step_dist", None)
    if dist is not None:  # It has one position more than the targets: that of the step after the end.
        bar_preds, phrase_preds = preds.bar_logits, preds.phrase_logits
        step_nll = masked_mean(-dist.log_prob(F.pad(step, (0, 0, 0, 1)))[:, :-1].float(), mask)
    else:
        step_preds, bar_preds, phrase_preds = preds
        if step_preds.shape != step.shape:
            shape, expected = tuple(step_preds.shape), tuple(step.shape)
            raise HypermeterError(f"step predictions of shape {shape}, targets of {expected}: expected the same")
        step_nll = masked_mean(bernoulli_nll(step_preds[:, :-1], step[:, 1:]), mask[:, 1:])

    losses: dict[str, Tensor] = {
        "step_nll": step_nll,
        "bar": level_loss(bar_preds, bar, bar_mask, bar_loss, dist is not None),
        "phrase": level_loss(phrase_preds, phrase, phrase_mask, bar_loss, dist is not None),
        "metric": step.new_zeros(()),
    }
    if metrics:
        probs = torch.cat([step[:, :1], step_preds[:, :-1]], 1) if dist is None else dist.probs[:, :-1]
        voices = getattr(dist, "num_voices", step.shape[-1])  # metrics are of drums, not of tracks beside them
        losses["metric"] = metric_loss(probs[..., :voices], step[..., :voices], mask, grid, _term_names(metrics))
    weights = {"step_nll": step_weight, "bar": bar_weight, "phrase": phrase_weight, "metric": metric_weight}
    loss = sum((weights[name] * value for name, value in losses.items()), step.new_zeros(()))
    if drums_weight != 1:
        if dist is None:
            raise HypermeterError("drums_weight beside probabilities, expected the model's Prediction; leave it at 1")
        drums = dist[:, :-1].voices.log_prob(step[..., : dist.num_voices])
        loss = loss + step_weight * (drums_weight - 1) * masked_mean(-drums.float(), mask)
    return {"loss": loss, **losses}


def compute_loss(
    preds: Any,
    targets: Mapping[str, Any] | tuple[Tensor, Tensor, Tensor],
    metrics: bool | Iterable[str] | list[dict] | None = None,
    **options: Any,
) -> Float[Tensor, ""]:
    """Return the training loss, a scalar: ``loss_terms(...)["loss"]``.

    Args:
        preds, targets, metrics, options: as of ``loss_terms``.

    Raises:
        HypermeterError: step predictions and targets of different shapes, an unknown metric term or ``bar_loss``.
    """
    return loss_terms(preds, targets, metrics, **options)["loss"]


def _targets(targets: Mapping[str, Any] | tuple[Tensor, Tensor, Tensor], grid: Grid) -> tuple[Tensor, ...]:
    """Return step, bar, phrase and their masks."""
    if not isinstance(targets, Mapping):
        targets = dict(zip(("step", "bar", "phrase"), targets, strict=True))
    step, bar, phrase = (targets[level] for level in ("step", "bar", "phrase"))
    mask = targets.get("mask")
    if mask is None:
        mask = torch.ones(step.shape[:2], dtype=torch.bool, device=step.device)
    masks = []
    for name, chunks, size in (
        ("bar_mask", bar, grid.steps_per_bar),
        ("phrase_mask", phrase, grid.steps_per_phrase),
    ):
        if name in targets:
            masks.append(targets[name])
        elif "mask" in targets:
            begins = torch.arange(chunks.shape[1], device=mask.device) * size
            masks.append(begins < mask.sum(-1, keepdim=True))
        else:
            masks.append(torch.ones(chunks.shape[:2], dtype=torch.bool, device=step.device))
    return step.float(), bar, phrase, mask, *masks


def _term_names(metrics: Any) -> Iterable[str]:
    if metrics is True:
        return tuple(METRIC_TERMS)
    names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    return tuple(METRIC_TERMS) if isinstance(names[0], dict) else names

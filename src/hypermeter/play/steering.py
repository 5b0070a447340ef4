"""Conditioning of a network on a plan: the embedding of its bars, and how they change the scores of a step."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.play.arithmetic import gelu
from hypermeter.play.layers import Array, LayerNorm, Linear, Weights
from hypermeter.play.plan import KINDS, NUMBERS, Plan

KNOTS = 9
"""Number of evenly spaced knots between which a plan's number is interpolated linearly."""

FADES = (1.0, 4.0)
"""Time constants, in bars, of the features that say how recently section or style changed."""

SETTLED = 64
"""Bars after which a change no longer shows in these features: exp(-64 / 4) is below 2**-23."""


class PlanEmbedding:
    """`model.plan.PlanEmbedding` in NumPy: a vector per bar of a plan, 0 where the bar has no condition.

    Args:
        weights: arrays of the checkpoint.
        prefix: prefix of the names of the embedding's arrays.
        num_drums: number of voices.
    """

    def __init__(self, weights: Weights, prefix: str, num_drums: int):
        self.num_drums = num_drums
        self.tables = [np.asarray(weights[f"{prefix}.embed.{kind}.weight"], np.float32) for kind in range(len(KINDS))]
        self.numbers = Linear.of(weights, f"{prefix}.numbers")
        self.between_norm, self.norm = LayerNorm(weights, f"{prefix}.between.0"), LayerNorm(weights, f"{prefix}.norm")
        self.between = Linear.of(weights, f"{prefix}.between.1"), Linear.of(weights, f"{prefix}.between.3")

    def __call__(self, plan: Plan) -> Array:
        """Return the embedded plan, (B, bars, dim)."""
        numbers = plan.numbers.astype(np.float32)
        is_given = ~np.isnan(numbers)
        tempo, density, offbeat = np.moveaxis(np.where(is_given, numbers, 1), -1, 0)
        hits_per_step = density * np.float32(self.num_drums)
        knots = np.stack([(np.log2(tempo / 120) + np.float32(1.5)) / 3, hits_per_step / 4, offbeat], -1)
        knots = np.where(is_given, knots.clip(0, 1), 0)[..., None] * np.float32(KNOTS - 1)
        weights: Array = (1 - np.abs(knots - np.arange(KNOTS, dtype=np.float32))).clip(0)
        interpolated: Array = np.concatenate([weights, np.ones_like(weights[..., :1])], -1) * is_given[..., None]
        total = self.numbers(interpolated.reshape(*interpolated.shape[:-2], -1).astype(np.float32))
        for table, codes in zip(self.tables, np.moveaxis(plan.labels, -1, 0), strict=True):
            total = total + table[codes]
        is_any = np.asarray(is_given.any(-1) | (plan.labels > 0).any(-1), np.float32)[..., None]
        is_dense = is_given[..., NUMBERS.index("density")]
        hits = np.stack([np.where(is_dense, hits_per_step, 0), is_dense.astype(np.float32)], -1)
        newness: Array = np.exp(-_bars_since_change(plan)[..., None] / np.array(FADES, np.float32))
        total = total + self.between[1](gelu(self.between[0](self.between_norm(total))))
        return np.concatenate([self.norm(total) * is_any, newness * is_any, hits, is_any], -1, dtype=np.float32)


def _bars_since_change(plan: Plan) -> Array:
    """Return the bars since the plan's section or style last changed, (B, bars); 0 in the first bar."""
    labels = plan.labels[..., [KINDS.index("section"), KINDS.index("style")]]
    is_new = np.ones(labels.shape[:2], bool)
    is_new[:, 1:] = (labels[:, 1:] != labels[:, :-1]).any(-1)
    bar = np.arange(labels.shape[1])
    return (bar - np.maximum.accumulate(np.where(is_new, bar, 0), 1)).astype(np.float32)


class Steering:
    """How a plan changes the scores of a step and the weights of recalled patterns.

    Args:
        weights: arrays of the checkpoint.
        prefix: prefix of the names of the steering's arrays.
        places: (steps per phrase, dim), embedded positions in the phrase; dim is 0 if the model has none.
        num_drums: number of voices.
        width: columns of a step.
        num_scores: scores of the output layer.
        steps_per_bar: steps per bar of the grid.
    """

    def __init__(
        self,
        weights: Weights,
        prefix: str,
        places: Array,
        num_drums: int,
        width: int,
        num_scores: int,
        steps_per_bar: int,
    ):
        inner = Linear.of(weights, f"{prefix}.step.inner")
        dim = places.shape[1]
        self.of_place = places @ inner.weight[:dim] + inner.bias
        self.of_played = np.ascontiguousarray(inner.weight[dim : dim + width + 2])
        self.of_played[:width] *= np.float32(0.1)
        self.of_plan = np.ascontiguousarray(inner.weight[dim + width + 2 :])
        out = Linear.of(weights, f"{prefix}.step.out")
        out = np.concatenate([out.weight, out.bias[None]])
        self.to_scores, self.to_recalled = out[:, :num_scores], out[:, num_scores:].copy()
        self.num_drums, self.width, self.steps_per_bar = num_drums, width, steps_per_bar

    def __call__(self, bar_plan: Array, so_far: Array, position: int) -> tuple[Array, Array]:
        """Return the steering (B, inner dim + 1), and the relative change of each recalled pattern's weight (B, heads).

        The steering times `to_scores` is added to the scores of the step. Each change is at least -1.

        Args:
            bar_plan: (B, dim), the embedded bar of the plan.
            so_far: (B, W), hits of the bar before the step, summed over its steps.
            position: number of steps before this one.
        """
        hits_per_step, is_dense = bar_plan[:, -3], bar_plan[:, -2]
        hits_left = (hits_per_step * np.float32(self.steps_per_bar) - so_far[:, : self.num_drums].sum(-1)) * is_dense
        steps_left = self.steps_per_bar - position % self.steps_per_bar
        played = np.empty((len(bar_plan), self.width + 2), np.float32)
        played[:, :-2] = so_far
        played[:, -2], played[:, -1] = np.float32(0.1) * hits_left, hits_left / np.float32(steps_left)
        inner = bar_plan @ self.of_plan
        inner += played @ self.of_played
        inner += self.of_place[position % len(self.of_place)]
        out = np.empty((len(bar_plan), inner.shape[1] + 1), np.float32)
        np.multiply(gelu(inner), bar_plan[:, -1:], out=out[:, :-1])
        out[:, -1] = bar_plan[:, -1]
        return out, np.maximum(out.dot(self.to_recalled), -1)


def check_plan(plan: Any, labels: Any, rows: int) -> Plan:
    """Return the plan as NumPy arrays, checked.

    Args:
        plan: a `Plan` or another pair (labels, numbers), each (1 or `rows`, bars, 3).
        labels: the model's vocabulary; `None` if it was made without labels.
        rows: batch size.

    Raises:
        HypermeterError: the model was made without labels, a shape is wrong, or a label is outside the vocabulary.
    """
    if labels is None:
        raise HypermeterError("plan: the model was made without labels; leave the plan out")
    codes: NDArray[np.int64] = np.asarray(plan[0], np.int64)
    numbers: NDArray[np.float32] = np.asarray(plan[1], np.float32)
    shapes = f"labels {codes.shape}, numbers {numbers.shape}"
    fits = codes.ndim == numbers.ndim == 3 and codes.shape[:2] == numbers.shape[:2] and codes.shape[1] > 0
    if not fits or (codes.shape[2], numbers.shape[2]) != (len(KINDS), len(NUMBERS)) or len(codes) not in (1, rows):
        raise HypermeterError(f"plan: {shapes}, expected both (1 or {rows}, bars, 3), of at least 1 bar")
    sizes: Sequence[int] = [len(labels[kind]) for kind in KINDS]
    if not ((codes >= 0) & (codes <= sizes)).all():
        most = ", ".join(f"{size} for {kind}" for size, kind in zip(sizes, KINDS, strict=True))
        raise HypermeterError(f"plan: a label outside the vocabulary, expected 0 to {most}")
    return Plan(codes, numbers)

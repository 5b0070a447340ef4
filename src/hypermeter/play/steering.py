"""The way of a plan into a network: its bars embedded, and what they change in a step."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.play.arithmetic import gelu
from hypermeter.play.layers import Array, LayerNorm, Linear, Weights
from hypermeter.play.plan import KINDS, NUMBERS, Plan

KNOTS = 9
"""Values at which a number is read, evenly from the least to the greatest."""

FADES = (1.0, 4.0)
"""Bars over which what is new becomes old: once a style is played, what was played tells it."""

SETTLED = 64
"""Bars after which nothing that is asked is new any more, as far as single precision can tell."""


class PlanEmbedding:
    """Bars of a plan to vectors, all of whose elements are 0 where nothing is asked; as `model.plan.PlanEmbedding`.

    Args:
        weights: of a checkpoint.
        prefix: of the embedding in it.
        num_drums: voices.
    """

    def __init__(self, weights: Weights, prefix: str, num_drums: int):
        self.num_drums = num_drums
        self.tables = [np.asarray(weights[f"{prefix}.embed.{kind}.weight"], np.float32) for kind in range(len(KINDS))]
        self.numbers = Linear.of(weights, f"{prefix}.numbers")
        self.between_norm, self.norm = LayerNorm(weights, f"{prefix}.between.0"), LayerNorm(weights, f"{prefix}.norm")
        self.between = Linear.of(weights, f"{prefix}.between.1"), Linear.of(weights, f"{prefix}.between.3")

    def __call__(self, plan: Plan) -> Array:
        """Return (B, bars, dim)."""
        numbers = plan.numbers.astype(np.float32)
        known = ~np.isnan(numbers)
        tempo, density, offbeat = np.moveaxis(np.where(known, numbers, 1), -1, 0)
        wanted = density * np.float32(self.num_drums)
        places = np.stack([(np.log2(tempo / 120) + np.float32(1.5)) / 3, wanted / 4, offbeat], -1)
        places = np.where(known, places.clip(0, 1), 0)[..., None] * np.float32(KNOTS - 1)
        shares: Array = (1 - np.abs(places - np.arange(KNOTS, dtype=np.float32))).clip(0)
        read: Array = np.concatenate([shares, np.ones_like(shares[..., :1])], -1) * known[..., None]
        total = self.numbers(read.reshape(*read.shape[:-2], -1).astype(np.float32))
        for table, codes in zip(self.tables, np.moveaxis(plan.labels, -1, 0), strict=True):
            total = total + table[codes]
        is_asked = np.asarray(known.any(-1) | (plan.labels > 0).any(-1), np.float32)[..., None]
        is_dense = known[..., NUMBERS.index("density")]
        beside = np.stack([np.where(is_dense, wanted, 0), is_dense.astype(np.float32)], -1)
        newness: Array = np.exp(-_bars_since_change(plan)[..., None] / np.array(FADES, np.float32))
        total = total + self.between[1](gelu(self.between[0](self.between_norm(total))))
        return np.concatenate([self.norm(total) * is_asked, newness * is_asked, beside, is_asked], -1, dtype=np.float32)


def _bars_since_change(plan: Plan) -> Array:
    """(B, bars), how many bars ago the section or style that a bar is asked for was new; 0 in the first bar."""
    labels = plan.labels[..., [KINDS.index("section"), KINDS.index("style")]]
    is_new = np.ones(labels.shape[:2], bool)
    is_new[:, 1:] = (labels[:, 1:] != labels[:, :-1]).any(-1)
    bar = np.arange(labels.shape[1])
    return (bar - np.maximum.accumulate(np.where(is_new, bar, 0), 1)).astype(np.float32)


class Steering:
    """What a plan changes in the scores of a step, and by how much more each recalled pattern is heard.

    Args:
        weights: of a checkpoint.
        prefix: of the steering in it.
        places: (steps of a phrase, dim), the embedded places of the phrase; of dim 0 where the model has none.
        num_drums: voices.
        width: columns of a step.
        num_scores: of the output.
        steps_per_bar: of the grid.
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

    def __call__(self, asked: Array, so_far: Array, position: int) -> tuple[Array, Array]:
        """Return what `to_scores` maps to what is added to the scores (B, dim), and to the recalled patterns' weights.

        Args:
            asked: (B, dim), of the bar.
            so_far: (B, W), what has been played in it before the step, summed.
            position: steps before it.
        """
        wanted, is_dense = asked[:, -3], asked[:, -2]
        left = (wanted * np.float32(self.steps_per_bar) - so_far[:, : self.num_drums].sum(-1)) * is_dense
        steps_left = self.steps_per_bar - position % self.steps_per_bar
        beside = np.empty((len(asked), self.width + 2), np.float32)
        beside[:, :-2], beside[:, -2], beside[:, -1] = so_far, np.float32(0.1) * left, left / np.float32(steps_left)
        inner = asked @ self.of_plan
        inner += beside @ self.of_played
        inner += self.of_place[position % len(self.of_place)]
        out = np.empty((len(asked), inner.shape[1] + 1), np.float32)
        np.multiply(gelu(inner), asked[:, -1:], out=out[:, :-1])
        out[:, -1] = asked[:, -1]
        return out, np.maximum(out.dot(self.to_recalled), -1)


def check_plan(plan: Any, labels: Any, rows: int) -> Plan:
    """Return a plan as arrays of `rows` rows.

    Args:
        plan: a `Plan`, or anything with labels and numbers of 1 or `rows` rows.
        labels: the model's vocabulary; `None` for a model that takes no plans.
        rows: pieces.

    Raises:
        HypermeterError: the model takes no plans, a shape that does not fit, a label outside the vocabulary.
    """
    if labels is None:
        raise HypermeterError("a plan given, but this model was made without labels; leave the plan out")
    codes: NDArray[np.int64] = np.asarray(plan[0], np.int64)
    numbers: NDArray[np.float32] = np.asarray(plan[1], np.float32)
    found = f"labels {codes.shape}, numbers {numbers.shape}"
    fits = codes.ndim == numbers.ndim == 3 and codes.shape[:2] == numbers.shape[:2] and codes.shape[1] > 0
    if not fits or (codes.shape[2], numbers.shape[2]) != (len(KINDS), len(NUMBERS)) or len(codes) not in (1, rows):
        raise HypermeterError(f"plan: {found}, expected both (1 or {rows}, bars, 3), of at least 1 bar")
    sizes: Sequence[int] = [len(labels[kind]) for kind in KINDS]
    if not ((codes >= 0) & (codes <= sizes)).all():
        most = ", ".join(f"{size} for {kind}" for size, kind in zip(sizes, KINDS, strict=True))
        raise HypermeterError(f"plan: a label outside the vocabulary, expected 0 to {most}")
    return Plan(codes, numbers)

"""Output layers in NumPy: features of a step -> its distribution."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.play.arithmetic import log_softmax
from hypermeter.play.distribution import Categorical, Distribution, Mixture
from hypermeter.play.layers import Array, Linear, Weights


class Head:
    """Map from features to the distribution of a step.

    Args:
        weights: arrays of the checkpoint.
        prefix: prefix of the names of the head's arrays.
        kind: "mixture", "sigmoid" or "softmax".
        width: columns of a step.
        groups: columns of the tracks.
        steering: of what steers, each (dim, scores): its map to scores. `None` for a part that the model has not.
    """

    def __init__(
        self,
        weights: Weights,
        prefix: str,
        kind: str,
        width: int,
        groups: tuple[tuple[int, int], ...],
        steering: Sequence[Array | None] = (),
    ):
        project = Linear.of(weights, f"{prefix}.project")
        num_scores = project.weight.shape[1]
        self.width, self.groups = width, groups
        self.known = np.asarray(weights[f"{prefix}.known"]).astype(np.uint8) if kind == "softmax" else None
        repeat = weights.get(f"{prefix}.repeat")
        self.repeat: Any = None if repeat is None else np.asarray(repeat, np.float32)
        split = len(self.known) + 1 if self.known is not None else num_scores // (1 + width)
        columns = slice(0, split), slice(split, num_scores)
        self.of_weights, self.of_logits = (
            (
                project.weight[:, part].copy(),
                project.bias[part],
                *(None if to_scores is None else to_scores[:, part].copy() for to_scores in steering),
            )
            for part in columns
        )
        if self.known is not None:
            return

        def by_component(array: Any) -> Any:
            return None if array is None else array.reshape(-1, split, width).swapaxes(0, 1).copy()

        self.of_component: Any = tuple(map(by_component, self.of_logits))
        if self.repeat is not None:  # (K, recalled, W) as one map from the recalled hits to all log odds
            full = np.zeros((self.repeat.shape[1], width, split, width), np.float32)
            voices = np.arange(width)
            full[:, voices, :, voices] = self.repeat.transpose(2, 1, 0)
            self.repeat_of_all = full.reshape(-1, split * width)

    def __call__(self, features: Array, recalled: Array | None, *steering: Array | None) -> Distribution:
        """Return the distribution of features (rows, H), recalled hits (rows, recalled, W) and steering (rows, dim)."""
        if self.known is None:
            return _HeadMixture(self, features, recalled, *steering)
        scores, logits = (_scores(part, features, *steering) for part in (self.of_weights, self.of_logits))
        if self.repeat is not None and recalled is not None:
            bias = (recalled * self.repeat).sum(1)
            logits += bias
            scores[:, :-1] += bias @ self.known.T
        return Categorical(log_softmax(scores.astype(np.float64)), logits.astype(np.float64), self.known)


def _scores(part: Any, features: Array, *steering: Array | None) -> Array:
    scores = features.dot(part[0])
    scores += part[1]
    for steered, to_scores in zip(steering, part[2:], strict=False):
        if steered is not None:
            scores += steered.dot(to_scores)
    return scores


class _HeadMixture(Mixture):
    """The mixture of a head. It computes the log odds of all components, or only of those that are drawn."""

    def __init__(self, head: Head, features: Array, recalled: Array | None, *steering: Array | None):
        self.scores, self.groups, self.width = _scores(head.of_weights, features, *steering), head.groups, head.width
        self._head, self._given = head, (features, *steering)
        self._recalled = None if head.repeat is None or recalled is None else recalled.copy()  # not all of its memory

    @cached_property
    def logits(self) -> Array:
        logits = _scores(self._head.of_logits, *self._given)
        if self._recalled is not None:
            logits += self._recalled.reshape(len(logits), -1).dot(self._head.repeat_of_all)
        return logits.reshape(len(logits), -1, self.width)

    def logits_of(self, component: NDArray[np.int64]) -> Array:
        if "logits" in vars(self):
            return super().logits_of(component)
        (weight, bias, *to_logits), (features, *steering) = self._head.of_component, self._given
        logits = features[:, None] @ weight.take(component, 0)  # sooner than an index
        logits += bias.take(component, 0)
        for steered, of_component in zip(steering, to_logits, strict=False):
            if steered is not None:
                logits += steered[:, None] @ of_component.take(component, 0)
        if self._recalled is not None:
            logits += np.add.reduce(self._recalled * self._head.repeat.take(component, 0), 1, keepdims=True)
        return logits[:, 0]

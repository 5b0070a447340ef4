"""Following taps with a trained model in NumPy: the twin of `model.follow.Follow`, and taps as its input.

All taps of a piece are read before its first step, in both directions: they are what the drums are to answer. The drums
themselves are read as far as they have been played.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypermeter.play.arithmetic import gelu_tanh
from hypermeter.play.bins import tempo_inputs
from hypermeter.play.layers import Array, Linear, Recurrent, Tape, Weights

DIMS = (64, 96, 160)
"""Sizes of the layer of a tap, of a direction in which taps are read, and of the layer that changes a step."""
HEADS, KEY_DIM = 4, 16
"""Of the attention to earlier steps whose taps were alike."""
NUM_TOLD, NUM_ASKED = 5, 4
"""What is told of each step, and of the whole piece beside its voices; see `Rhythm`."""
WINDOW = 256
"""Steps that this attention reaches back."""


class Rhythm(NamedTuple):
    """Taps of B rows as input of a model; see `rhythm_of`.

    Args:
        steps: (B, T, 5): whether there is a tap, its velocity and offset, whether each of them is known; 0 without.
        asked: (B, V + 4): whether each voice answers, whether these are silent between taps, whether that is told,
            log2 of tempo_bpm / 120, whether the tempo is known.
        length: (B,), steps of the taps; after them drums play freely.
    """

    steps: Array
    asked: Array
    length: NDArray[np.int64]


def rhythm_of(taps: Any, answer: NDArray[np.bool_], is_silent: bool, tempo_bpm: float) -> Rhythm:
    """Return taps as the input of a model, of one row.

    Args:
        taps: of `listening.Taps`.
        answer: (V,), voices that answer.
        is_silent: whether they are silent between taps.
        tempo_bpm: quarter notes a minute, NaN where unknown.
    """
    values = [taps.velocity, taps.offset]
    known = [taps.is_tap & ~np.isnan(value) for value in values]
    told = [np.where(is_known, value, 0) for is_known, value in zip(known, values, strict=True)]
    steps = np.stack([taps.is_tap, *told, *known], -1).astype(np.float32)
    (tempo,) = tempo_inputs(np.array([tempo_bpm], np.float32))
    asked = np.array([*answer, is_silent, 1, *tempo], np.float32)
    return Rhythm(steps[None], asked[None], np.array([len(steps)]))


@dataclass(frozen=True, eq=False)
class Heard:
    """A rhythm of one row that a network has read: for each of its steps what depends on the taps alone.

    Args:
        encoded: (T, dim), vectors of the steps.
        inner: (T, inner), their part of the layer that changes a step.
        query, key: (T, heads, key dim).
    """

    encoded: Array
    inner: Array
    query: Array
    key: Array


@dataclass(frozen=True, eq=False)
class FollowState:
    """A rhythm and what was played to it; immutable.

    Args:
        heard: the rhythm.
        played: the last steps, `WINDOW` at most.
        position: number of steps since the rhythm began.
    """

    heard: Heard
    played: Tape
    position: int

    def select(self, rows: NDArray[np.int64]) -> "FollowState":
        """Return the state of these rows, in this order."""
        return FollowState(self.heard, self.played.select(rows), self.position)

    def advance(self, x: Array) -> "FollowState":
        """Return the state after a step (rows, W)."""
        return FollowState(self.heard, self.played.append(x), self.position + 1)


class Following:
    """`model.follow.Follow` in NumPy, with the weights of a checkpoint.

    Args:
        weights: arrays of the checkpoint.
        prefix: of the names of its arrays.
        places: (steps per phrase, dim), embedded positions in the phrase; dim is 0 if the model has none.
        width: columns of a step.
        num_scores: scores of the output layer.
        hidden_dim: of the features.
        steps_per_bar: of the grid.
    """

    def __init__(
        self,
        weights: Weights,
        prefix: str,
        places: Array,
        width: int,
        num_scores: int,
        hidden_dim: int,
        steps_per_bar: int,
    ):
        self.places, self.width, self.steps_per_bar = places, width, steps_per_bar
        self.local, self.query, self.key = (
            Linear.of(weights, f"{prefix}.{name}") for name in ("local", "query", "key")
        )
        self.ahead, self.behind = (Recurrent(weights, f"{prefix}.{name}") for name in ("ahead", "behind"))
        self.null, place, age = (
            np.asarray(weights[f"{prefix}.{name}"], np.float32) for name in ("null", "place", "age")
        )
        distance = np.arange(WINDOW + 1, dtype=np.float32)
        self.bias = place[:, None] * (distance % steps_per_bar == 0) - np.exp(age)[:, None] * distance / steps_per_bar
        """(heads, WINDOW + 1), what a distance adds to a score of the attention."""
        inner, out = (Linear.of(weights, f"{prefix}.{name}") for name in ("inner", "out"))
        of_taps, heads = self.query.weight.shape[0], len(self.null)
        sizes = [hidden_dim, len(inner.weight) - hidden_dim - of_taps - (heads + 1) * width, of_taps, heads * width]
        parts = np.split(inner.weight, np.cumsum(sizes))
        self.of_features, self.of_recalled, self.of_taps, self.of_copied, self.of_before = map(
            np.ascontiguousarray, parts
        )
        self.bias_of_inner = inner.bias
        of_inner = np.concatenate([out.weight, out.bias[None]])
        self.to_scores, self.to_recalled = of_inner[:, :num_scores], of_inner[:, num_scores:].copy()

    def start(self, rhythm: Rhythm, rows: int) -> FollowState:
        """Return the state before the first step of a rhythm of one row, which all rows follow."""
        steps, asked = rhythm.steps[0], rhythm.asked[0]
        order = np.arange(len(steps))
        given = [steps, np.broadcast_to(asked, (len(steps), len(asked))), self.places[order % len(self.places)]]
        x = gelu_tanh(self.local(np.concatenate(given, 1, dtype=np.float32)))
        behind = _read(self.behind, x[::-1])[::-1]
        encoded = np.concatenate([x, _read(self.ahead, x), behind], 1)
        query, key = (part(encoded).reshape(len(steps), len(self.null), -1) for part in (self.query, self.key))
        query *= np.float32(1 / math.sqrt(query.shape[-1]))
        heard = Heard(encoded, encoded @ self.of_taps + self.bias_of_inner, query, key)
        return FollowState(heard, Tape(rows, self.width, WINDOW, WINDOW), 0)

    def __call__(self, features: Array, recalled: Array | None, state: FollowState) -> tuple[Array, Array] | None:
        """Return the steering (rows, inner + 1), and the relative change of each recalled pattern's weight.

        The steering times `to_scores` is added to the scores of the step. `None` after the end of the taps.

        Args:
            features: (rows, H), before the step.
            recalled: (rows, recalled, W), hits of the bar attention.
            state: before the step.
        """
        position, heard = state.position, state.heard
        if position >= len(heard.inner):
            return None
        rows, inner = len(features), features.dot(self.of_features)
        inner += heard.inner[position]
        if recalled is not None and len(self.of_recalled):
            inner += recalled.reshape(rows, -1).dot(self.of_recalled)
        if position:
            played = state.played.last
            copied = self._attention(position, played.shape[1], heard) @ played
            inner += copied.reshape(rows, -1).dot(self.of_copied)
            inner += played[:, -1].dot(self.of_before)
        out = np.empty((rows, inner.shape[1] + 1), np.float32)
        out[:, :-1] = gelu_tanh(inner)
        out[:, -1] = 1
        return out, np.maximum(out.dot(self.to_recalled), -1)

    def _attention(self, position: int, number: int, heard: Heard) -> Array:
        """Return the weights (heads, number) of the last steps."""
        key = heard.key[position - number : position]
        scores = np.einsum("hd,nhd->hn", heard.query[position], key) + self.bias[:, number:0:-1]
        most = np.maximum(scores.max(-1, keepdims=True), self.null[:, None])
        weights = np.exp(scores - most)
        return weights / (weights.sum(-1, keepdims=True) + np.exp(self.null[:, None] - most))


def _read(layer: Recurrent, x: Array) -> Array:
    """Return the outputs (T, H) of a recurrent layer for elements (T, D), in their order."""
    into, state, outputs = layer.into[0](np.ascontiguousarray(x)), layer.init_state(1), []
    for number in range(len(x)):
        output, state = layer.step_from(into[number : number + 1], state, number)
        outputs.append(output)
    return np.concatenate(outputs)

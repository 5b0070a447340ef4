"""Velocity and microtiming of hits, drawn step by step from what the expression graph gives.

As ``hypermeter.model.perform``: a component for all voices of a step, then a logistic for the velocity and one for the
offset of each, rounded to bins.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.limits import LEAST_TEMPERATURE
from hypermeter.play.runtime.folder import zeros
from hypermeter.play.runtime.mixture import log_softmax, sigmoid, softplus
from hypermeter.play.runtime.rng import EXPRESSION, Streams

Array = NDArray[np.float64]
EDGE = 1e-6
"""Of uniform numbers, where their logits are taken."""


@dataclass(frozen=True)
class Bins:
    """Equal bins by their centres: lowest / per_unit, (lowest + 1) / per_unit, ...; the outer ones have all beyond."""

    lowest: int
    count: int
    per_unit: int

    def nearest(self, value: Array) -> Array:
        """The number of the bin that a value is in, from 0."""
        return np.floor(value * self.per_unit - self.lowest + 0.5).clip(0, self.count - 1)

    def centre(self, number: Array) -> Array:
        return (number + self.lowest) / self.per_unit

    def log_prob(self, value: Array, mean: Array, scale: Array) -> Array:
        """Of the bins that values (B, 1, V) are in, under logistics (B, K, V), in nats."""
        number = self.nearest(value)
        below = np.where(number <= 0, -np.inf, (self.centre(number - 0.5) - mean) / scale)
        above = np.where(number >= self.count - 1, np.inf, (self.centre(number + 0.5) - mean) / scale)
        return -softplus(-above) - softplus(below) + np.log(-np.expm1(below - above))

    def median(self, weights: Array, mean: Array, scale: Array) -> Array:
        """Centre of the first bin at whose upper edge the mixture has come to a half, by bisection, (B, V)."""
        low = np.zeros((len(mean), mean.shape[2]))
        high = np.full_like(low, self.count - 1)
        for _ in range(math.ceil(math.log2(self.count))):
            middle = np.floor((low + high) / 2)
            edge = self.centre(middle + 0.5)[:, None]
            is_enough = (weights[:, :, None] * sigmoid((edge - mean) / scale)).sum(1) >= 0.5
            is_enough |= middle >= self.count - 1
            low, high = np.where(is_enough, low, np.minimum(middle + 1, high)), np.where(is_enough, middle, high)
        return self.centre(high)


class Expressing:
    """Pieces whose hits are played step by step; changed in place.

    Args:
        player: an ``OnnxPlayer`` with expression.
        rows: pieces.
        tempo_bpm: quarter notes a minute, NaN where unknown.
        seed: of what is drawn.
        temperature: 1 plays as learnt, less is steadier, more is wilder, 0 is the median.

    Raises:
        HypermeterError: a model without expression, a temperature below 0.
    """

    def __init__(self, player: Any, rows: int, tempo_bpm: float, seed: int = 0, temperature: float = 1.0):
        about = player.meta["expression"]
        if about is None:
            raise HypermeterError("expression: the model plays hits only; export one trained with velocity and offset")
        if not 0 <= temperature < math.inf:
            raise HypermeterError(f"expression: temperature is {temperature}, expected at least 0")
        if not (tempo_bpm > 0 or math.isnan(tempo_bpm)):
            raise HypermeterError(f"expression: tempo_bpm is {tempo_bpm}, expected more than 0, or NaN for unknown")
        self.session, self.temperature = player.expression_session, temperature
        self.bins = Bins(**about["velocity"]), Bins(**about["offset"])
        self.state, self.step = zeros(about["state"], rows), 0
        self.streams = Streams(seed, EXPRESSION, rows)
        self.tempo = np.full(rows, tempo_bpm, np.float32)
        self.last = {name: np.zeros((rows, player.num_drums), np.float32) for name in ("hits", "velocity", "offset")}

    def play(
        self, features: NDArray[np.float32], hits: NDArray[Any], told: tuple[Array, Array] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Velocity and offset of a step's hits (B, V); all steps must be given in order, those without hits too.

        Args:
            features: ``Playing.features`` before the step.
            hits: 0 or 1.
            told: velocity and offset that stay, NaN where they are drawn.
        """
        found = self._listen(features, hits)
        uniforms = self.streams.uniforms(1 + 2 * hits.shape[1])
        log_weights = log_softmax(found["log_weights"])
        ways = [(found[f"{name}_mean"], found[f"{name}_scale"]) for name in ("velocity", "offset")]
        if told is not None:
            log_weights = self._given(log_weights, ways, hits, told)
        played = []
        if self.temperature < LEAST_TEMPERATURE:
            weights = np.exp(log_weights)
            played = [bins.median(weights, *way) for bins, way in zip(self.bins, ways, strict=True)]
        else:
            below = np.exp(log_softmax(log_weights / self.temperature)).cumsum(1)[:, :-1]
            component = (uniforms[:, :1] >= below).sum(1)
            rows = np.arange(len(component))
            inside = uniforms[:, 1:].clip(EDGE, 1 - EDGE)
            logistic = np.split(np.log(inside / (1 - inside)) * self.temperature, 2, 1)
            for bins, (mean, scale), noise in zip(self.bins, ways, logistic, strict=True):
                value = mean[rows, component] + scale[rows, component] * noise
                played.append(bins.centre(bins.nearest(value)))
        if self.step == 0:
            played[1] = played[1].clip(0)  # nothing sounds before the first beat
        if told is not None:
            played = [np.where(np.isnan(own), new, own) for own, new in zip(told, played, strict=True)]
        velocity, offset = (np.where(hits > 0, each, 0).astype(np.float32) for each in played)
        self.last = {"hits": np.asarray(hits, np.float32), "velocity": velocity, "offset": offset}
        self.step += 1
        return velocity, offset

    def _listen(self, features: NDArray[np.float32], hits: NDArray[Any]) -> dict[str, Array]:
        """The distribution of the step, in doubles."""
        feeds = {f"state_{name}": each for name, each in self.state.items()}
        feeds |= {f"last_{name}": each for name, each in self.last.items()}
        feeds |= {"features": features, "hits": np.asarray(hits, np.float32), "tempo_bpm": self.tempo}
        names = [each.name for each in self.session.get_outputs()]
        found = dict(zip(names, self.session.run(names, feeds), strict=True))
        self.state = {name: found.pop(f"next_{name}") for name in self.state}
        return {name: each.astype(np.float64) for name, each in found.items()}

    def _given(
        self, log_weights: Array, ways: list[tuple[Array, Array]], hits: NDArray[Any], told: tuple[Array, Array]
    ) -> Array:
        """The weights of the components given how some hits are played."""
        total = log_weights
        for bins, (mean, scale), value in zip(self.bins, ways, told, strict=True):
            is_told = (hits > 0) & ~np.isnan(value)
            of_cells = bins.log_prob(np.where(is_told, value, 0)[:, None], mean, scale)
            total = total + np.where(is_told[:, None], of_cells, 0.0).sum(-1)
        return log_softmax(total)


def perform(
    player: Any,
    hits: ArrayLike,
    tempo_bpm: float,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    known: tuple[ArrayLike, ArrayLike] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Velocity and offset of all hits, each step drawn after the steps before.

    Args:
        player: an ``OnnxPlayer`` with expression.
        hits: (T, V) or (B, T, V).
        tempo_bpm: quarter notes a minute, NaN where unknown.
        seed: 0 to 2**53 - 1.
        temperature: 1 plays as learnt, less is steadier, more is wilder, 0 is the median.
        known: velocity and offset of hits that are played already, of the shape of hits; NaN where they are drawn.

    Returns:
        Velocity in (0, 1] and offset in [-.5, .5) steps, of the shape of hits; both 0 where there is no hit.

    Raises:
        HypermeterError: a model without expression, hits or known of a shape that does not fit.
    """
    rows = np.shape(hits)[0] if np.ndim(hits) == 3 else 1
    played = player.rows_of(hits, rows)
    told = None
    if known is not None:
        if wrong := [np.shape(each) for each in known if np.shape(each) != np.shape(hits)]:
            raise HypermeterError(f"known of shape {wrong[0]}, expected {np.shape(hits)}, that of hits")
        told = [np.asarray(each, np.float64).reshape(played.shape) for each in known]
    expressing = Expressing(player, rows, tempo_bpm, seed, temperature)
    playing = player.begin(rows)
    found = np.zeros((2, *played.shape), np.float32)
    for step in range(played.shape[1]):
        own = None if told is None else (told[0][:, step], told[1][:, step])
        found[:, :, step] = expressing.play(playing.features, played[:, step], own)
        if step + 1 < played.shape[1]:
            playing.hear(played[:, step])
    velocity, offset = found.reshape(2, *np.shape(hits))
    return velocity, offset

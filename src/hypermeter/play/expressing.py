"""Velocity and offset of hits, sampled step by step: the network and its sampler.

Each step has one mixture component for all voices; given it, each hit has a discretised logistic for its velocity and
one for its offset.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.limits import MIN_TEMPERATURE
from hypermeter.play.arithmetic import gelu_tanh, log_softmax
from hypermeter.play.articulating import ArticulationNetwork
from hypermeter.play.bins import EDGE, PRIOR_HITS, Array, Bins, Single, scale_of, tempo_inputs
from hypermeter.play.layers import Linear, Recurrent, Weights
from hypermeter.play.places import nearest_steps
from hypermeter.play.random import EXPRESSION, RandomStream
from hypermeter.play.request import check

MEMORY_BARS = (0.25, 1.0, 4.0, 16.0)
"""Time constants, in bars, of running averages of past hits. Drummers' deviations correlate over all these spans."""

PLACE_BARS = (1.0, 8.0)
"""Time constants, in bars, of the running averages over the same step of earlier bars."""


VELOCITY, OFFSET = Bins(1, 127, 127), Bins(-32, 64, 64)
"""Bins of MIDI velocities 1 to 127, and of 1/64 step: 2 ms at sixteenths and 120 bpm, which is inaudible."""


Pairs = tuple[tuple[Array, Array], tuple[Array, Array]]
"""Mean and scale of the logistics of the velocity and of the offset."""


@dataclass
class ExpressionDistribution:
    """Distribution of the velocities and offsets of a step, given its hits.

    Args:
        log_weights: (B, K), of the components.
        logistics: means and scales in every component, each (B, K, V).
    """

    log_weights: Array
    logistics: Pairs

    def of(self, component: NDArray[np.int64]) -> Pairs:
        """Return the means and scales of one component per row, each (B, V)."""
        rows = np.arange(len(component))
        velocity, offset = ((mean[rows, component], scale[rows, component]) for mean, scale in self.logistics)
        return velocity, offset


@dataclass(frozen=True)
class ExpressionState:
    """State of an `ExpressionNetwork` for a batch; immutable.

    Args:
        hidden: (B, H), state of the recurrent layer.
        sums: (B, spans, 3, V + 1), discounted sums of hits, velocities and offsets, per voice and over all voices.
        places: (steps per bar, B, spans, 3, V + 1), the same sums over one step of the bar only.
    """

    hidden: Single
    sums: Single
    places: tuple[Single, ...]

    def on(self, before: Grid, after: Grid) -> "ExpressionState":
        """Return the state at a bar line where the grid changes: a step has the sums of the one nearest its place."""
        return replace(self, places=tuple(self.places[step] for step in nearest_steps(before, after).tolist()))

    def select(self, rows: NDArray[np.int64]) -> "ExpressionState":
        """Return the state of these batch rows, in this order."""
        return ExpressionState(self.hidden[rows], self.sums[rows], tuple(place[rows] for place in self.places))


class ExpressionNetwork:
    """`model.expression.Expression` in NumPy, with the weights of a checkpoint.

    Args:
        weights: arrays of the checkpoint.
        prefix: prefix of the names of the expression's arrays.
        num_drums: number of voices V.
        steps_per_bar: steps per bar of the grid.
    """

    def __init__(self, weights: Weights, prefix: str, num_drums: int, steps_per_bar: int):
        self.num_drums, self.steps_per_bar = num_drums, steps_per_bar
        self.of_inputs, self.of_averages = Linear.of(weights, f"{prefix}.given"), Linear.of(weights, f"{prefix}.heard")
        self.articulation = ArticulationNetwork.of(weights, f"{prefix}.articulation", num_drums)
        self.rnn, self.inner = Recurrent(weights, f"{prefix}.rnn"), Linear.of(weights, f"{prefix}.inner")
        out = Linear.of(weights, f"{prefix}.out")
        self.components = out.weight.shape[1] // (1 + 4 * num_drums)
        self.weigh = out.weight[:, : self.components], out.bias[: self.components]
        shape = (4, self.components, num_drums)
        rest = out.weight[:, self.components :].reshape(-1, *shape).transpose(2, 0, 1, 3)  # (K, wide, 4, V)
        self.out = np.ascontiguousarray(rest).reshape(self.components, -1, 4 * num_drums)
        bias = out.bias[self.components :].reshape(shape).transpose(1, 0, 2)
        self.out_bias = np.ascontiguousarray(bias).reshape(self.components, -1)
        discount = [0.0] + [math.exp(-1 / (bars * steps_per_bar)) for bars in MEMORY_BARS]
        self.discount = np.array(discount, np.float32)[:, None, None]
        self.place_discount = np.exp(-1 / np.array(PLACE_BARS)).astype(np.float32)[:, None, None]

    def start(self, rows: int) -> ExpressionState:
        """Return the state before the first step; `rows` is the batch size."""
        shape = (rows, len(self.discount), 3, self.num_drums + 1)
        place = np.zeros((rows, len(PLACE_BARS), *shape[2:]), np.float32)
        hidden = np.zeros((rows, self.rnn.size), np.float32)
        return ExpressionState(hidden, np.zeros(shape, np.float32), (place,) * self.steps_per_bar)

    def predict(
        self, features: Single, hits: NDArray[Any], tempo_bpm: Single, state: ExpressionState, position: int
    ) -> tuple["Logistics", ExpressionState]:
        """Return the distribution of velocities and offsets of a step, and the state to call `advance` with.

        Args:
            features: (B, H), features of the drum network before the step.
            hits: (B, V), 0 or 1.
            tempo_bpm: (B,), quarter notes per minute, NaN where unknown.
            state: state before the step.
            position: number of steps before this one.
        """
        inputs = np.concatenate([features, hits, tempo_inputs(tempo_bpm)], 1, dtype=np.float32)
        averages = np.concatenate([state.sums, state.places[position % self.steps_per_bar]], 1)
        averages = averages / (averages[:, :, :1] + PRIOR_HITS)
        x = self.of_inputs(inputs)
        x += self.of_averages(averages.reshape(len(averages), -1))
        x = gelu_tanh(x)
        hidden, _ = self.rnn.step(x, (state.hidden,), position)
        inner = gelu_tanh(self.inner(np.concatenate([hidden, x], 1)))
        return Logistics(self, inner), replace(state, hidden=hidden)

    def advance(
        self, hits: NDArray[Any], velocity: Single, offset: Single, state: ExpressionState, position: int
    ) -> ExpressionState:
        """Return the state after a step with these hits, velocities and offsets, each (B, V); NaN counts as 0."""
        values = np.zeros((len(hits), 1, 3, self.num_drums + 1), np.float32)
        is_hit = hits > 0
        values[:, 0, 0, :-1] = is_hit
        values[:, 0, 1, :-1] = np.where(is_hit & ~np.isnan(velocity), velocity, 0)
        values[:, 0, 2, :-1] = np.where(is_hit & ~np.isnan(offset), offset, 0)
        values[..., -1] = values[..., :-1].sum(-1)
        place, places = position % self.steps_per_bar, state.places
        place_sums = places[place] * self.place_discount + values
        return replace(
            state, sums=state.sums * self.discount + values, places=(*places[:place], place_sums, *places[place + 1 :])
        )


class Logistics(ExpressionDistribution):
    """Distribution of an `ExpressionNetwork`; computes logistics only when they are read."""

    def __init__(self, network: ExpressionNetwork, inner: Single):
        self._network, self._inner = network, inner
        weight, bias = network.weigh
        self.log_weights = log_softmax((inner @ weight + bias).astype(np.float64))

    @property
    def logistics(self) -> Pairs:  # pyright: ignore[reportIncompatibleVariableOverride]
        return _logistics(np.einsum("bi,kio->bko", self._inner, self._network.out) + self._network.out_bias)

    def of(self, component: NDArray[np.int64]) -> Pairs:
        return _logistics(
            (self._inner[:, None] @ self._network.out[component])[:, 0] + self._network.out_bias[component]
        )


def _logistics(raw: Single) -> Pairs:
    velocity, velocity_scale, offset, offset_scale = np.split(raw.astype(np.float64), 4, -1)
    return (0.5 + velocity / 4, scale_of(velocity_scale)), (offset / 4, scale_of(offset_scale))


# ---------------------------------------------------------------------- sampling


Known = tuple[Array, Array]
"""Fixed velocities and offsets, each (B, V); NaN where they are to be sampled."""


class ExpressionSampler:
    """Samples the velocities and offsets of a batch, one step after another.

    Args:
        expression: `expression` of a `Network`.
        rows: batch size.
        tempo_bpm: quarter notes per minute, NaN if unknown.
        seed: seed of the random numbers.
        temperature: 1 samples the learnt distribution, less varies less, 0 takes the median.
        state: state to continue from; `None` starts at the first step.

    Raises:
        HypermeterError: `expression` is None, or the temperature or tempo is out of range.
    """

    def __init__(
        self, expression: Any, rows: int, tempo_bpm: float, seed: int, temperature: float = 1.0, state: Any = None
    ):
        if expression is None:
            raise HypermeterError("expression: the model plays hits only; use one trained with velocity and offset")
        check("temperature", temperature)
        if not (0 < tempo_bpm < math.inf or math.isnan(tempo_bpm)):
            raise HypermeterError(f"expression: tempo_bpm is {tempo_bpm}, expected more than 0, or NaN for unknown")
        self.expression, self.temperature = expression, temperature
        self.state = expression.start(rows) if state is None else state
        self.tempo = np.full(rows, tempo_bpm, np.float32)
        self.stream = RandomStream(seed, EXPRESSION, rows, 1 + 2 * expression.num_drums)

    def play(
        self, features: Single, hits: NDArray[Any], position: int, known: Known | None = None
    ) -> tuple[Single, Single]:
        """Return sampled velocities in (0, 1] and offsets in [-.5, .5) steps, each (B, V), both 0 without a hit.

        Call it for every step in order, also for steps without hits. Offsets of the first step are not negative.

        Args:
            features: (B, H), features of the drum network before the step.
            hits: (B, V), 0 or 1.
            position: number of steps before this one.
            known: fixed velocities and offsets, which the rest is conditioned on.
        """
        dist, state = self.expression.predict(features, hits, self.tempo, self.state, position)
        is_hit = hits > 0
        is_open = is_hit if known is None else is_hit & (np.isnan(known[0]) | np.isnan(known[1]))
        values = [np.zeros(hits.shape), np.zeros(hits.shape)]
        if is_open.any():
            values = self._draw(dist, hits, self.stream.at(position), known)
            if position == 0:
                values[1] = values[1].clip(0)
        if known is not None:
            values = [np.where(np.isnan(fixed), new, fixed) for fixed, new in zip(known, values, strict=True)]
        velocity, offset = (np.where(is_hit, value, 0).astype(np.float32) for value in values)
        self.state = self.expression.advance(hits, velocity, offset, state, position)
        return velocity, offset

    def advance(self, features: Single, hits: NDArray[Any], position: int, velocity: Single, offset: Single) -> None:
        """Update the state with a step's velocities and offsets, each (B, V); NaN where unknown."""
        _, state = self.expression.predict(features, hits, self.tempo, self.state, position)
        self.state = self.expression.advance(hits, velocity, offset, state, position)

    def _draw(
        self, dist: ExpressionDistribution, hits: NDArray[Any], uniforms: Array, known: Known | None
    ) -> list[Array]:
        log_weights = dist.log_weights
        if known is not None:
            log_weights = log_weights_given(dist, hits, known)
        if self.temperature < MIN_TEMPERATURE:
            weights = np.exp(log_weights)
            return [bins.median(weights, *pair) for bins, pair in zip((VELOCITY, OFFSET), dist.logistics, strict=True)]
        cumulative = np.exp(log_softmax(log_weights / self.temperature)).cumsum(1)[:, :-1]
        component = (uniforms[:, :1] >= cumulative).sum(1)
        inside = uniforms[:, 1:].clip(EDGE, 1 - EDGE)
        noises = np.split(np.log(inside / (1 - inside)) * self.temperature, 2, 1)
        values = []
        for bins, (mean, scale), noise in zip((VELOCITY, OFFSET), dist.of(component), noises, strict=True):
            values.append(bins.centre(bins.nearest(mean + scale * noise)))
        return values


def log_weights_given(dist: ExpressionDistribution, hits: NDArray[Any], known: Known) -> Array:
    """Return the log weights (B, K) of the components given the known velocities and offsets."""
    total = dist.log_weights
    if all(np.isnan(value[hits > 0]).all() for value in known):
        return total
    for bins, (mean, scale), value in zip((VELOCITY, OFFSET), dist.logistics, known, strict=True):
        is_known = (hits > 0) & ~np.isnan(value)
        log_probs = bins.log_prob(np.where(is_known, value, 0)[:, None], mean, scale)
        total = total + np.where(is_known[:, None], log_probs, 0.0).sum(-1)
    return log_softmax(total)

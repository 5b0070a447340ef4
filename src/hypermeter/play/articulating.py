"""How hits are articulated: the number of strokes of a cell, their spacing and velocities, and the hi-hat's openness.

It is modelled after velocity and offset, given those of the step's hits. An articulation is an array of CHANNELS for
each cell; NaN is unknown, or not there. The further strokes of a cell are those nearest to its hit, at most MOST - 1.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.kit import Kit
from hypermeter.core.limits import MIN_TEMPERATURE
from hypermeter.core.strokes import Strokes
from hypermeter.play.arithmetic import gelu_tanh, log_softmax
from hypermeter.play.bins import EDGE, PRIOR_HITS, Array, Bins, Single, scale_of, tempo_inputs
from hypermeter.play.layers import Linear, Weights
from hypermeter.play.random import ARTICULATION, RandomStream

MOST = 4
"""Strokes of a cell that are told apart."""

COUNT, BEFORE, GAPS, RATIOS, OPENNESS = 0, 1, slice(2, 5), slice(5, 8), 8
"""Channels: strokes of the cell; how many of them are before the hit; steps from stroke to stroke, in their order;
velocities of the further strokes over that of the hit, in their order; how open the hi-hat is."""

CHANNELS = 9

GAP, RATIO, PEDAL = Bins(0, 64, 64), Bins(1, 32, 32), Bins(0, 128, 127)
"""Bins of gaps in steps, of ratios, and of openness, which are those of controller 4."""

LATEST_STROKE = 0.5 - 1 / 64
"""Latest offset of a stroke after its hit, in steps: beyond it, ticks of MIDI may fall into the next cell."""

COMPONENTS = 3
"""Of the mixture of openness: closed, open, and between."""

SIZES = {"count": MOST, "before": MOST, "gap": 2 * (MOST - 1), "ratio": 4, "openness": 3 * COMPONENTS}
"""Numbers that the network gives for each voice: logits of the counts and of the strokes before; mean and scale of the
gaps, for each count; of the ratios before and after the hit; logits, means and scales of the openness."""

MEMORY_STEPS = (4.0, 16.0, 64.0)
"""Time constants, in steps, of the averages of earlier articulations; beside them stands the last step."""

NUMBERS = 2 + 2 * (MOST - 1) + 2
"""Random numbers of a cell."""


def articulation_of(
    hits: NDArray[Any], velocity: Single, offset: Single, strokes: Strokes | None, openness: Single | None
) -> Single:
    """Return the articulation (T, V, CHANNELS) of music.

    Args:
        hits: (T, V), 0 or 1.
        velocity, offset: (T, V), read at hits.
        strokes: further strokes; `None` if it is not known whether there are any.
        openness: (T, V), NaN where it is not known; `None` if nowhere.
    """
    found = np.full((*hits.shape, CHANNELS), np.nan, np.float32)
    is_hit = hits > 0
    if openness is not None:
        found[..., OPENNESS] = np.where(is_hit, openness, np.nan)
    if strokes is None:
        return found
    found[..., COUNT] = np.where(is_hit, 1, np.nan)
    cells = strokes.step.astype(np.int64) * hits.shape[1] + strokes.voice
    for cell in np.unique(cells[is_hit[strokes.step, strokes.voice]]).tolist():
        place = divmod(cell, hits.shape[1])
        own = cells == cell
        distance = strokes.offset[own].astype(np.float64) - offset[place]
        near = np.sort(np.argsort(np.abs(distance), kind="stable")[: MOST - 1])  # Strokes are in order of time.
        distance, loudness = distance[near], strokes.velocity[own][near]
        before = int((distance < 0).sum())
        gaps = np.diff(np.insert(distance, before, 0.0))
        found[place][COUNT], found[place][BEFORE] = len(near) + 1, before
        found[place][GAPS][: len(gaps)] = gaps
        found[place][RATIOS][: len(near)] = np.minimum(loudness / max(velocity[place], 1e-3), 1)
    return found


def strokes_of(articulation: Single, hits: NDArray[Any], velocity: Single, offset: Single, is_first: bool) -> Strokes:
    """Return the further strokes of an articulation (T, V, CHANNELS), within their cells: gaps that leave it shrink.

    Args:
        articulation: of the hits.
        hits: (T, V), 0 or 1.
        velocity, offset: (T, V), read at hits.
        is_first: whether the first step is that of a piece, before which there is nothing.
    """
    rows: list[tuple[float, ...]] = []
    for step, voice in np.argwhere((hits > 0) & (articulation[..., COUNT] > 1)).tolist():
        cell = articulation[step, voice]
        count, before, main = int(cell[COUNT]), int(cell[BEFORE]), float(offset[step, voice])
        gaps, ratios = cell[GAPS][: count - 1].astype(np.float64), cell[RATIOS][: count - 1]
        sides = -gaps[:before][::-1].cumsum()[::-1], gaps[before:].cumsum()
        low = 0.0 if is_first and step == 0 else -0.5
        latest = max(main, LATEST_STROKE)
        for side, room in zip(sides, (main - low, latest - main), strict=True):
            most = np.abs(side).max(initial=0)
            side *= min(1.0, max(room, 0.0) / most) if most else 1.0
        loudness = (float(velocity[step, voice]) * ratios).clip(1 / 127, 1).tolist()
        times = (main + np.concatenate(sides)).clip(low, latest).tolist()
        rows += [(step, voice, time, loud) for time, loud in zip(times, loudness, strict=True)]
    return Strokes(*np.array(rows, np.float64).reshape(-1, 4).T)


def openness_of(articulation: Single, kit: Kit | None) -> Single:
    """Return the openness (T, V) of an articulation at the voices of the hi-hat; NaN elsewhere, and without a kit."""
    is_hat = np.isin(np.arange(articulation.shape[1]), () if kit is None else kit.hats)
    return np.where(is_hat, articulation[..., OPENNESS], np.float32(np.nan))


@dataclass(frozen=True)
class ArticulationState:
    """State of an `ArticulationNetwork` for a batch; immutable.

    Args:
        sums: (B, spans, 4, V + 1), discounted sums of hits, further strokes, known openness and openness, per voice and
            over all voices.
    """

    sums: Single

    def select(self, rows: NDArray[np.int64]) -> "ArticulationState":
        """Return the state of these batch rows, in this order."""
        return ArticulationState(self.sums[rows])


class ArticulationNetwork:
    """`model.articulation.Articulation` in NumPy, with the weights of a checkpoint.

    Args:
        weights: arrays of the checkpoint.
        prefix: prefix of the names of its arrays.
        num_drums: number of voices V.
    """

    def __init__(self, weights: Weights, prefix: str, num_drums: int):
        self.num_drums = num_drums
        names = "given", "heard", "inner", "out"
        self.given, self.heard, self.inner, self.out = (Linear.of(weights, f"{prefix}.{name}") for name in names)
        self.learns_openness = bool(weights[f"{prefix}.learns_openness"])
        self.discount = np.append(0.0, np.exp(-1 / np.array(MEMORY_STEPS))).astype(np.float32)[:, None, None]

    @classmethod
    def of(cls, weights: Weights, prefix: str, num_drums: int) -> "ArticulationNetwork | None":
        """Return the network, or `None` if a checkpoint has none."""
        return cls(weights, prefix, num_drums) if f"{prefix}.learns_openness" in weights else None

    def start(self, rows: int) -> ArticulationState:
        """Return the state before the first step; `rows` is the batch size."""
        return ArticulationState(np.zeros((rows, len(self.discount), 4, self.num_drums + 1), np.float32))

    def predict(
        self,
        features: Single,
        hits: NDArray[Any],
        velocity: Single,
        offset: Single,
        tempo_bpm: Single,
        state: ArticulationState,
    ) -> dict[str, Array]:
        """Return the numbers (B, V, size) of each of SIZES for a step.

        Args:
            features: (B, H), features of the drum network before the step.
            hits, velocity, offset: (B, V) of the step; NaN where unknown.
            tempo_bpm: (B,), quarter notes per minute, NaN where unknown.
            state: state before the step.
        """
        played = [np.where((hits > 0) & ~np.isnan(values), values, 0) for values in (velocity, offset)]
        given = np.concatenate([features, hits, *played, tempo_inputs(tempo_bpm)], 1, dtype=np.float32)
        x = self.given(given)
        x += self.heard(averages(state.sums).reshape(len(features), -1))
        raw = self.out(gelu_tanh(self.inner(gelu_tanh(x))))
        raw = raw.reshape(len(raw), self.num_drums, -1).astype(np.float64)
        parts = np.split(raw, np.cumsum([*SIZES.values()])[:-1], -1)
        return dict(zip(SIZES, parts, strict=True))

    def advance(self, hits: NDArray[Any], articulation: Single, state: ArticulationState) -> ArticulationState:
        """Return the state after a step with these hits (B, V) and articulations (B, V, CHANNELS)."""
        values = np.zeros((len(hits), 1, 4, self.num_drums + 1), np.float32)
        for row, channel, less in ((0, COUNT, 1.0), (2, OPENNESS, 0.0)):
            is_known = (hits > 0) & ~np.isnan(articulation[..., channel])
            values[:, 0, row, :-1] = is_known
            values[:, 0, row + 1, :-1] = np.where(is_known, articulation[..., channel] - less, 0)
        values[..., -1] = values[..., :-1].sum(-1)
        return ArticulationState(state.sums * self.discount + values)


def averages(sums: Any) -> Any:
    """Return shares of hits and means, of sums (*B, 4, V + 1), an array or a tensor."""
    counts = sums[..., [0, 0, 2, 2], :] + float(PRIOR_HITS)
    return sums / counts


class ArticulationSampler:
    """Samples the articulations of a batch, one step after another, after velocity and offset.

    Args:
        network: of the articulations.
        rows: batch size.
        tempo_bpm: quarter notes per minute, NaN if unknown.
        seed: seed of the random numbers.
        temperature: 1 samples the learnt distribution, 0 takes what is likeliest, and medians.
        state: state to continue from; `None` starts at the first step.
    """

    def __init__(
        self,
        network: ArticulationNetwork,
        rows: int,
        tempo_bpm: float,
        seed: int,
        temperature: float = 1.0,
        state: ArticulationState | None = None,
    ):
        self.network, self.temperature = network, temperature
        self.state = network.start(rows) if state is None else state
        self.tempo = np.full(rows, tempo_bpm, np.float32)
        self.stream = RandomStream(seed, ARTICULATION, rows, NUMBERS * network.num_drums)

    def play(
        self,
        features: Single,
        hits: NDArray[Any],
        velocity: Single,
        offset: Single,
        position: int,
        known: Single | None = None,
    ) -> Single:
        """Return the sampled articulations (B, V, CHANNELS) of a step; NaN without a hit.

        Args:
            features: (B, H), features of the drum network before the step.
            hits, velocity, offset: (B, V) of the step.
            position: number of steps before this one.
            known: (B, V, CHANNELS) of hits that are played already; its number of strokes and its openness stay where
                they are not NaN.
        """
        made = np.full((*hits.shape, CHANNELS), np.nan, np.float32)
        if (hits > 0).any():
            numbers = self.network.predict(features, hits, velocity, offset, self.tempo, self.state)
            drawn = self._draw(numbers, self.stream.at(position).reshape(*hits.shape, NUMBERS))
            made = np.where((hits > 0)[..., None], drawn, np.nan).astype(np.float32)
        if known is not None:
            is_counted = ~np.isnan(known[..., COUNT])[..., None]
            made[..., :OPENNESS] = np.where(is_counted, known[..., :OPENNESS], made[..., :OPENNESS])
            is_open = ~np.isnan(known[..., OPENNESS])
            made[..., OPENNESS] = np.where(is_open, known[..., OPENNESS], made[..., OPENNESS])
        self.state = self.network.advance(hits, made, self.state)
        return made

    def _draw(self, numbers: dict[str, Array], uniforms: Array) -> Array:
        """Return articulations of all cells (B, V, CHANNELS)."""
        drawn = np.full((*uniforms.shape[:-1], CHANNELS), np.nan)
        count = self._choose(numbers["count"], uniforms[..., 0]) + 1
        may_be_before = np.arange(MOST) < count[..., None]
        before = self._choose(np.where(may_be_before, numbers["before"], -np.inf), uniforms[..., 1])
        of_count = np.maximum(count - 2, 0)[..., None]
        mean, scale = (np.take_along_axis(values, of_count, -1) for values in gap_parameters(numbers["gap"]))
        further = np.arange(MOST - 1)
        drawn[..., GAPS] = self._logistic(GAP, mean, scale, uniforms[..., 2 : 1 + MOST])
        is_before = (further < before[..., None]).astype(int)
        mean, scale = (np.take_along_axis(values, 1 - is_before, -1) for values in ratio_parameters(numbers["ratio"]))
        drawn[..., RATIOS] = self._logistic(RATIO, mean, scale, uniforms[..., 1 + MOST : 2 * MOST])
        is_there = further < count[..., None] - 1
        for channels in (GAPS, RATIOS):
            drawn[..., channels] = np.where(is_there, drawn[..., channels], np.nan)
        drawn[..., COUNT], drawn[..., BEFORE] = count, np.where(count > 1, before, np.nan)
        if self.network.learns_openness:
            weights, *pair = openness_parameters(numbers["openness"])
            component = self._choose(weights, uniforms[..., -2])[..., None]
            mean, scale = (np.take_along_axis(values, component, -1) for values in pair)
            drawn[..., OPENNESS] = self._logistic(PEDAL, mean, scale, uniforms[..., -1:])[..., 0]
        return drawn

    def _choose(self, logits: Array, uniform: Array) -> NDArray[np.int64]:
        """Return a class of the last axis of logits for each uniform number; the likeliest at a temperature of 0."""
        if self.temperature < MIN_TEMPERATURE:
            return logits.argmax(-1)
        cumulative = np.exp(log_softmax(logits / self.temperature)).cumsum(-1)[..., :-1]
        return (uniform[..., None] >= cumulative).sum(-1)

    def _logistic(self, bins: Bins, mean: Array, raw_scale: Array, uniform: Array) -> Array:
        inside = uniform.clip(EDGE, 1 - EDGE)
        noise = np.log(inside / (1 - inside)) * (0 if self.temperature < MIN_TEMPERATURE else self.temperature)
        return bins.centre(bins.nearest(mean + scale_of(raw_scale) * noise))


def gap_parameters(raw: Any) -> tuple[Any, Any]:
    """Return means in steps and raw scales of gaps, for each count from 2, of what a network gives (an array or a
    tensor)."""
    return 0.25 + raw[..., : MOST - 1] / 8, raw[..., MOST - 1 :]


def ratio_parameters(raw: Any) -> tuple[Any, Any]:
    """Return means and raw scales of ratios, each before and after the hit."""
    return 0.6 + raw[..., :2] / 4, raw[..., 2:]


def openness_parameters(raw: Any) -> tuple[Any, Any, Any]:
    """Return logits, means and raw scales of the components of openness."""
    size = COMPONENTS
    return raw[..., :size], 0.5 + raw[..., size : 2 * size] / 4, raw[..., 2 * size :]

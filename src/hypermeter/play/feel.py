"""Playing hits with the feel of another take: its memory first, then its figures, step by step."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.core.strokes import LATEST_OFFSET
from hypermeter.core.tracks import with_columns
from hypermeter.music.feel import PRIOR_HITS, Feel
from hypermeter.play.bins import Array, Single
from hypermeter.play.expressing import ExpressionDistribution, ExpressionSampler, ExpressionState, Known
from hypermeter.play.player import Player

FEWEST_BARS, MOST_BARS = 8, 32
"""Bars of a take that the model hears before it plays: a shorter one is heard again, of a longer one the last bars."""

PRIOR_OWN = 2.0
"""Most hits of a cell for which counts what the model expected there while it heard the take."""

PRIOR_SPREAD, PRIOR_BARS = 8.0, 4.0
"""Hits of a voice, and bars, for which counts the spread that is expected before the model has played."""

GAIN = (0.25, 4.0)
"""Least and greatest factor of a deviation."""


KINDS = ("velocity", "offset")

LEAST_VELOCITY = 1 / 127


@dataclass
class Heard:
    """What a model remembers of a take, and what it expected while it heard the second half of it.

    Args:
        state: of the expression, on the grid of the beat.
        number: (steps of a bar, V), hits for which the means count.
        means: (2, steps of a bar, V), of the velocities and offsets that it expected.
        louder: (V,), how much louder than that the take is.
        variance: (2, V), of velocities and offsets about those means as it expected them, NaN where it heard none.
    """

    state: ExpressionState
    number: Array
    means: Array
    louder: Array
    variance: Array


def moments(dist: ExpressionDistribution) -> tuple[Array, Array]:
    """Return the mean and the variance of velocity and offset of the first row, each (2, V)."""
    weights = np.exp(dist.log_weights[0])[:, None]
    mean, square = (np.empty((2, dist.logistics[0][0].shape[2])) for _ in range(2))
    for kind, (middle, scale) in enumerate(dist.logistics):
        mean[kind] = (weights * middle[0]).sum(0)
        square[kind] = (weights * (middle[0] ** 2 + (np.pi * scale[0]) ** 2 / 3)).sum(0)
    return mean, square - mean**2


def hear(player: Player, feel: Feel) -> Heard:
    """Return what the model remembers after the take of a feel; nothing if the feel has none.

    Raises:
        HypermeterError: a take on a grid that the model does not play.
    """
    size, voices = player.grid.steps_per_bar, player.num_drums
    number, means = np.zeros((size, voices)), np.zeros((2, size, voices))
    unheard = np.zeros(voices), np.full((2, voices), np.nan)
    if feel.take is None:
        return Heard(player.network.expression.start(1), number, means, *unheard)
    take = _repeated(feel.take, player)
    there, bar = player.on(take.grid), take.grid.steps_per_bar
    known = [np.full(take.hits.shape, np.nan) if name in take.unknown else getattr(take, name) for name in KINDS]
    tempo = np.full(1, np.nan if "tempo_bpm" in take.unknown else take.tempo_bpm, np.float32)
    expression: Any = there.network.expression
    state, memory = there.network.start(1), expression.start(1)
    count, totals = np.zeros((bar, voices)), np.zeros((2, bar, voices))
    squares, louder = np.zeros((2, voices)), np.zeros(voices)
    for step, x in enumerate(with_columns(take.hits, {}, there.tracks)[:, None]):
        hits, place = take.hits[None, step], step % bar
        dist, memory = expression.predict(state.features, hits, tempo, memory, step)
        memory = expression.advance(hits, known[0][None, step], known[1][None, step], memory, step)
        if step >= len(take) // 2 and hits.any():
            mean, variance = moments(dist)
            count[place] += hits[0]
            totals[:, place] += hits[0] * mean
            squares += hits[0] * (variance + mean**2)
            louder += hits[0] * np.nan_to_num(known[0][step] - mean[0])
        if step + 1 < len(take):
            state = there.advance(x, state)
    expected, heard = totals / count.clip(1), count.sum(0)
    variance = np.where(heard > 0, (squares - (expected**2 * count).sum(1)) / heard.clip(1), np.nan)
    if take.grid == player.grid:  # On another grid, a cell of the take is not one of the beat.
        number, means = np.minimum(count, PRIOR_OWN), expected
    memory = memory.on(take.grid, player.grid) if take.grid != player.grid else memory
    return Heard(memory, number, means, louder / (heard + PRIOR_HITS), variance)


def _repeated(take: Groove, player: Player) -> Groove:
    """Return whole phrases of a take, repeated or cut, with the voices of the player; silent ones the take lacks."""
    size, phrase, names = take.grid.steps_per_bar, take.grid.bars_per_phrase, load_kit(take.kit).names
    bars = -(-min(max(take.num_bars, FEWEST_BARS), MOST_BARS) // phrase) * phrase
    chosen = np.arange(take.num_bars - bars, take.num_bars) % take.num_bars
    steps = (chosen[:, None] * size + np.arange(size)).ravel()
    columns = [names.index(voice) if voice in names else len(names) for voice in player.voices]
    rest = (0, take.num_bars * size - len(take)), (0, 1)  # of a short last bar, and a silent voice
    hits, velocity, offset = (np.pad(getattr(take, name), rest)[steps][:, columns] for name in ("hits", *KINDS))
    kit = player.kit or take.kit
    return Groove(hits, velocity, offset, take.tempo_bpm, kit, take.grid, unknown=take.unknown)


# ---------------------------------------------------------------------- playing


class FeelSampler(ExpressionSampler):
    """Samples velocities and offsets as `ExpressionSampler` does, and gives them the figures of a feel.

    What is drawn for a hit is compared with the mean of what the model has expected in its cell so far, the voice at
    the step of the bar. That mean is replaced by the mean of the take. The rest is scaled by the ratio of two standard
    deviations, that of the take and that of the model so far; of the timing, what all voices of the last bar have in
    common is scaled apart, by that of the drift. Nothing that comes later is known, and what results is remembered.

    Args:
        player: with expression, on the grid of the beat.
        feel: whose feel.
        tempo_bpm: of the beat, NaN where unknown.
        seed: of what is drawn.
        temperature: as of `ExpressionSampler`; the spreads and the drift of the feel are multiplied by it.

    Raises:
        HypermeterError: a take on a grid that the model does not play, or a number out of range.
    """

    def __init__(self, player: Player, feel: Feel, tempo_bpm: float, seed: int, temperature: float):
        self._heard = heard = hear(player, feel)
        super().__init__(player.network.expression, 1, tempo_bpm, seed, temperature, heard.state)
        step_ms = step_ms_at(tempo_bpm, feel, player)
        self._count, velocity, _ = feel.cells_on(player.grid, player.voices)
        self._targets = velocity, offsets_of(feel, player, step_ms)
        columns = feel.columns_of(player.voices)
        self._spread = np.where(
            columns >= 0, [feel.velocity_spread[columns], feel.spread_ms[columns] / step_ms], np.nan
        )
        before, self._drift = self._spread[1] ** 2, feel.drift_ms / step_ms
        if not math.isnan(self._drift):  # The spread about the mean of a cell contains the drift.
            self._spread[1] = np.sqrt(np.maximum(before - self._drift**2, before / 4))
        expected = np.where(np.isnan(heard.variance), self._spread**2, heard.variance)
        expected[1] *= np.where(before > 0, self._spread[1] ** 2 / np.where(before > 0, before, 1), 1)
        self._squares, self._drawn = PRIOR_SPREAD * expected, np.full(player.num_drums, PRIOR_SPREAD)
        self._place, self._size = 0, player.grid.steps_per_bar
        self._lately = np.zeros((self._size, 2))
        self._bars = np.array([PRIOR_BARS * self._drift**2, PRIOR_BARS])

    def play(
        self, features: Single, hits: NDArray[Any], position: int, known: Known | None = None
    ) -> tuple[Single, Single]:
        self._place = position % self._size
        if self._place == 0 and self._lately[:, 1].any():
            total, number = self._lately.sum(0)
            self._bars += ((total / number) ** 2, 1)
        self._lately[self._place] = 0
        return super().play(features, hits, position, known)

    def _draw(
        self, dist: ExpressionDistribution, hits: NDArray[Any], uniforms: Array, known: Known | None
    ) -> list[Array]:
        drawn = np.concatenate(super()._draw(dist, hits, uniforms, known))
        at, place, heard = hits[0] > 0, self._place, self._heard
        heard.number[place] += at
        means = heard.means[:, place]
        means += np.where(at, (moments(dist)[0] - means) / heard.number[place].clip(1), 0)
        apart = np.where(at, drawn - means, 0)
        self._lately[place] = apart[1].sum(), at.sum()
        total, number = self._lately.sum(0)
        common = total / (number + PRIOR_HITS)
        apart[1] -= np.where(at, common, 0)
        self._squares += apart**2
        self._drawn += at
        apart *= _gain(self.temperature * self._spread, np.sqrt(self._squares / self._drawn))
        apart[1] += common * _gain(self.temperature * self._drift, math.sqrt(self._bars[0] / self._bars[1]))
        velocity, offset = means + self._changes(means) + apart
        return [velocity[None].clip(LEAST_VELOCITY, 1), offset[None].clip(-0.5, LATEST_OFFSET)]

    def _changes(self, means: Array) -> Array:
        """Return how much the mean of each cell of the step is to change, (2, V)."""
        velocity, offset = (target[self._place] for target in self._targets)
        # A cell that the take hardly has changes as much as its voice does.
        share = self._count[self._place] / (self._count[self._place] + PRIOR_HITS)
        louder = self._heard.louder
        of_velocity = np.where(np.isnan(velocity), louder, share * (velocity - means[0]) + (1 - share) * louder)
        return np.stack([of_velocity, np.nan_to_num(offset - means[1])])


def _gain(wanted: Any, found: Any) -> Any:
    """Return by what to multiply a deviation; 1 where nothing is wanted."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(np.divide(wanted, found), nan=1.0, posinf=1.0).clip(*GAIN)


def step_ms_at(tempo_bpm: float, feel: Feel, player: Player) -> float:
    """Return the length of a step of the player; at the tempo of the feel, where that of the beat is not known."""
    return 60_000 / (feel.tempo_bpm if math.isnan(tempo_bpm) else tempo_bpm) / player.grid.steps_per_quarter


def offsets_of(feel: Feel, player: Player, step_ms: float) -> Array:
    """Return the mean offset of each cell from the player's own grid, (steps of a bar, V); NaN if the feel has none.

    It is the lateness of the voice, which is the same in ms at every tempo, and the pattern of the take in steps. Cells
    that the take hardly has are as late as others of their step; voices that it lacks, as the others.
    """
    count, _, offset = feel.cells_on(player.grid, player.voices)
    if not feel.has_timing:
        return np.full(count.shape, np.nan)
    hits, columns = feel.count.sum(0), feel.columns_of(player.voices)
    usual = float((np.nan_to_num(feel.late) * hits).sum() / hits.sum())
    late = np.where(columns >= 0, feel.late[columns], np.nan)
    late = np.where(np.isnan(late), usual, late)
    tempo_ratio = feel.step_ms * feel.grid.steps_per_quarter / (step_ms * player.grid.steps_per_quarter)
    late = late * (player.grid.steps_per_quarter / feel.grid.steps_per_quarter)
    pattern = np.nan_to_num(offset - late)
    of_step = (pattern * count).sum(1, keepdims=True) / (count.sum(1, keepdims=True) + PRIOR_HITS)
    return late * tempo_ratio + (pattern * count + PRIOR_HITS * of_step) / (count + PRIOR_HITS)


def perform_like(
    player: Player,
    columns: NDArray[Any],
    tempo_bpm: float,
    feel: Feel,
    *,
    seed: int,
    temperature: float,
    known: tuple[Array, Array],
) -> tuple[Single, Single]:
    """Return velocity and offset (T, V) of hits in the feel of a take; the offsets are from the player's own grid.

    Args:
        player: with expression, on the grid of the hits.
        columns: (T, W), of the voices and the tracks.
        tempo_bpm: quarter notes a minute, NaN where unknown.
        feel: whose feel.
        seed, temperature: of what is drawn.
        known: velocity and offset (T, V) of what is played already and stays; NaN where they are drawn.

    Raises:
        HypermeterError: as `FeelSampler`.
    """
    sampler, state = FeelSampler(player, feel, tempo_bpm, seed, temperature), player.network.start(1)
    voices = player.num_drums
    played = np.zeros((2, len(columns), voices), np.float32)
    for step, x in enumerate(columns[:, None]):
        fixed = known[0][None, step], known[1][None, step]
        (played[0, step],), (played[1, step],) = sampler.play(state.features, x[:, :voices], step, fixed)
        if step + 1 < len(columns):
            state = player.advance(x, state)
    return played[0], played[1]

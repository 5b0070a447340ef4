"""Infill and variation on ONNX Runtime: music around cells that are fixed, also where these come later.

As ``hypermeter.model.infill``, for one piece: many particles are played side by side, weighed by how likely the locked
cells are after what each has played, and forked where few hold most of the weight.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.play.plan import PlanArrays
from hypermeter.play.runtime.mixture import log_softmax, logsumexp
from hypermeter.play.runtime.plan import measured_plan
from hypermeter.play.runtime.rng import HITS, RESAMPLING, VARIATION, Streams

FEWEST_EFFECTIVE = 2
"""An effective sample size below this is warned of: the piece is about the best of the particles, not a fair draw."""


@dataclass(frozen=True)
class Infilled:
    """Music around locks, and how well the particles stood for it.

    Args:
        hits: (T, V).
        effective_sample_size: (T,), 1 / sum of squared weights of the particles when the step had been weighed and
            before any were forked; ``particles`` where there was nothing to weigh.
        log_evidence: estimate of log p(locked cells | what was heard), nats.
        particles: played side by side.
    """

    hits: NDArray[np.uint8]
    effective_sample_size: NDArray[np.float64]
    log_evidence: float
    particles: int

    @property
    def smallest(self) -> float:
        """Of the effective sample sizes."""
        return float(self.effective_sample_size.min(initial=self.particles))

    @property
    def warning(self) -> str:
        """One line where the particles were too few, otherwise nothing."""
        if self.smallest >= min(FEWEST_EFFECTIVE, self.particles):
            return ""
        return (
            f"effective sample size {self.smallest:.1f} of {self.particles} particles at step"
            f" {int(self.effective_sample_size.argmin())}, from 0: the locks from there on are unlikely after all that"
            " was tried; more particles come closer"
        )


def infill(
    player: Any,
    known: ArrayLike,
    values: ArrayLike,
    context: ArrayLike | None = None,
    *,
    particles: int = 64,
    horizon_bars: int | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    voice_bias: ArrayLike | None = None,
    plan: PlanArrays | None = None,
    guidance: float = 1.0,
    seed: int = 0,
) -> Infilled:
    """Fill the free cells, given the locked ones of the same, earlier and later steps.

    Args:
        player: an ``OnnxPlayer``.
        known: (T, V), which cells are locked.
        values: (T, V), hit or silence, read where locked.
        context: (T0, V), heard before.
        particles: at least 1, which does not know of later locks.
        horizon_bars: bars after the last free cell that are weighed; None weighs all, which is exact.
        temperature: see ``OnnxPlayer.stream``, also for top_p, voice_bias, plan, guidance and seed. These change how
            free cells are drawn, not how much the locked ones count, but for plan and bias.

    Raises:
        HypermeterError: an argument that does not fit.
    """
    for name, value, least in (("particles", particles, 1), ("horizon_bars", horizon_bars, 0)):
        if value is not None and value < least:
            raise HypermeterError(f"{name} is {value}, expected at least {least}")
    rules = player.rules(temperature, top_p, voice_bias, plan, guidance)
    is_known, fixed = (each[0] for each in player.locks(known, values, 1))
    steps, voices = is_known.shape
    first, last, weighed = _span(is_known, horizon_bars, player.grid.steps_per_bar)
    playing = player.begin(1, context, plan)
    streams, resampling = Streams(seed, HITS, particles), Streams(seed, RESAMPLING)
    made = np.zeros((1, steps, voices), np.uint8)
    sizes = np.full(steps, float(particles))
    log_weights, log_evidence = np.zeros(1), 0.0
    for step in range(steps):
        if step == first and weighed > first and particles > 1:
            playing, made = playing.select(np.zeros(particles, int)), made.repeat(particles, 0)
            log_evidence += float(log_weights[0])
            log_weights = np.zeros(particles)
        lock = None
        if is_known[step].any():
            lock = tuple(np.broadcast_to(each[step], (len(playing), voices)) for each in (is_known, fixed))
            if step <= weighed:
                log_weights = log_weights + rules.evidence(playing.dist, lock)
        if len(log_weights) > 1:
            sizes[step] = effective_sample_size(log_weights)
            ends = step == weighed
            if (sizes[step] < particles / 2 and step <= last) or ends:
                # No weight so far depends on what is drawn at this step: forked before, particles differ after it.
                log_evidence += float(logsumexp(log_weights)) - math.log(particles)
                chosen = _resample(log_weights, 1 if ends else particles, float(resampling.uniform()[0]))
                log_weights = np.zeros(len(chosen))
                playing, made = playing.select(chosen), made[chosen]
                lock = None if lock is None else tuple(each[: len(chosen)] for each in lock)
        free = playing.free if rules.guidance else None
        uniforms = streams.uniforms(rules.num_uniforms(voices), len(playing))
        made[:, step] = rules.draw(playing.dist, free, uniforms, lock)
        if step + 1 < steps:
            playing.hear(made[:, step])
    return Infilled(made[0], sizes, log_evidence + float(log_weights[0]), particles)


def _span(known: NDArray[np.bool_], horizon_bars: int | None, steps_per_bar: int) -> tuple[int, int, int]:
    """The first and the last step with a free cell, and the last that is weighed; or -1."""
    free, locked = np.flatnonzero((~known).any(1)), np.flatnonzero(known.any(1))
    first, last = (int(free[0]), int(free[-1])) if len(free) else (-1, -1)
    if horizon_bars is not None:
        locked = locked[locked <= last + horizon_bars * steps_per_bar]
    return first, last, int(locked[-1]) if len(locked) else -1


def effective_sample_size(log_weights: NDArray[np.float64]) -> float:
    """1 / sum of squared normalised weights, in [1, P] (Kong, Liu & Wong 1994)."""
    return float(1 / (np.exp(log_softmax(log_weights)) ** 2).sum())


def _resample(log_weights: NDArray[np.float64], number: int, uniform: float) -> NDArray[np.int64]:
    """Systematic resampling: which ``number`` particles go on."""
    places = (uniform + np.arange(number)) / number
    bounds = np.exp(log_softmax(log_weights)).cumsum()
    return np.searchsorted(bounds, places).clip(max=len(log_weights) - 1)


def vary(
    player: Any,
    hits: ArrayLike,
    strength: float,
    *,
    keep: Sequence[int] = (),
    plan: PlanArrays | None = None,
    guidance: float = 0.0,
    seed: int = 0,
    **options: Any,
) -> NDArray[np.uint8]:
    """The groove played a little or quite differently.

    A share ``strength`` of its chunks, of one beat and one voice each, is drawn anew given all others. With the same
    seed the chunks of a smaller strength are among those of a larger.

    Args:
        player: an ``OnnxPlayer``.
        hits: (T, V), the groove, from a bar line on.
        strength: 0 gives the groove itself, 1 a new one.
        keep: voices that stay as they are.
        plan: what is asked of each bar; left out, of a model with labels, what is measured in the groove. It begins
            with the context, where there is one.
        guidance: see ``OnnxPlayer.stream``; as it stands, the model itself.
        seed: 0 to 2**53 - 1.
        options: of ``infill``.

    Returns:
        (T, V).

    Raises:
        HypermeterError: as ``infill``; a strength outside [0, 1].
    """
    if not 0 <= strength <= 1:
        raise HypermeterError(f"strength is {strength}, expected from 0 to 1")
    groove = player.rows_of(hits, 1)[0]
    if not len(groove):
        raise HypermeterError("hits: no steps, expected at least one to vary")
    if wrong := [each for each in keep if not 0 <= each < groove.shape[1]]:
        raise HypermeterError(f"keep: no voice {wrong[0]}, expected 0 to {groove.shape[1] - 1}")
    if plan is None and player.labels is not None:
        context = options.get("context")
        heard = groove if context is None else np.concatenate([player.rows_of(context, 1)[0], groove])
        plan = measured_plan(heard, player.grid)
    size, voices = player.grid.steps_per_beat, groove.shape[1]
    beats = -(-len(groove) // size)
    order = Streams(seed, VARIATION).uniforms(beats * voices)[0].argsort(kind="stable").argsort(kind="stable")
    freed = order < math.floor(strength * len(order) + 0.5)
    known = ~freed.reshape(beats, voices).repeat(size, 0)[: len(groove)]
    known[:, list(keep)] = True
    return infill(player, known, groove, plan=plan, guidance=guidance, seed=seed, **options).hits

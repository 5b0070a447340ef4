"""Infill: sample the free cells given the locked ones, earlier and later, by sequential Monte Carlo on model states.

The piece is one of many particles that are played side by side. A step's free cells are drawn given its locked ones; a
particle weighs as much as the model finds the locked cells likely after what that particle has played. Where few
particles hold most of the weight, the likely ones are forked and the others end, so that a lock on a later bar chooses
among what leads up to it. At the end one particle is drawn by weight.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.tracks import track_groups
from hypermeter.play.arithmetic import log_softmax, logsumexp
from hypermeter.play.following import Rhythm
from hypermeter.play.listening import Listener
from hypermeter.play.locks import Locks
from hypermeter.play.network import State
from hypermeter.play.plan import Plan, plan_of
from hypermeter.play.player import Player
from hypermeter.play.random import RESAMPLING, VARIATION, RandomStream, choose_seed, uniforms
from hypermeter.play.request import InfillOptions, SamplingOptions, check

FEWEST_EFFECTIVE = 2
"""An effective sample size below this is warned of: the piece is about the best of the particles, not a fair draw."""


@dataclass(frozen=True)
class InfillResult:
    """Result of an infill.

    Args:
        hits: (T, W), T the steps of the locks.
        effective_sample_size: (T,), 1 / sum of squared weights of the particles when the step had been weighed and
            before any were forked; `particles` where nothing was locked.
        log_evidence: estimate of log p(locked cells | earlier music), nats; its exponential is unbiased. Cells beyond
            the horizon are not in it.
        particles: number of particles.
        velocity, offset: (T, V) each, of the hits, given the taps of a listener; `None` without one.
    """

    hits: NDArray[np.uint8]
    effective_sample_size: NDArray[np.float64]
    log_evidence: float
    particles: int
    velocity: NDArray[np.float32] | None = None
    offset: NDArray[np.float32] | None = None

    @property
    def smallest(self) -> float:
        """The smallest effective sample size of any step."""
        return float(self.effective_sample_size.min(initial=self.particles))

    @property
    def warning(self) -> str:
        """One line if the particles were too few, otherwise ""."""
        if self.smallest >= min(FEWEST_EFFECTIVE, self.particles):
            return ""
        return (
            f"effective sample size {self.smallest:.1f} of {self.particles} particles at step"
            f" {int(self.effective_sample_size.argmin())}, from 0: the locks from there on are unlikely after all that"
            " was tried; more particles come closer"
        )


def infill(
    player: Player,
    locks: Locks,
    primer: ArrayLike | None = None,
    sampling: SamplingOptions = SamplingOptions(),
    *,
    context: ArrayLike | None = None,
    plan: Plan | None = None,
    infilling: InfillOptions = InfillOptions(),
    start: State | None = None,
    listener: Listener | None = None,
    rhythm: Rhythm | None = None,
) -> InfillResult:
    """Fill the free cells of one piece, given the locked ones of the same, earlier and later steps.

    As it stands the target is the model's own posterior, p(free cells | locked cells, the music before), which the
    weighted particles approach as their number grows. With temperature, top_p or guidance the target is

        prod_t p(locked_t | x_<t) q(free_t | locked_t, x_<t),

    where q is what `Player.stream` draws with these options and p the model at temperature 1, with plan and bias but no
    guidance: the options change how free cells are drawn, not how much the locked cells count.

    Where nothing is locked after a step, it is the plain draw from the conditional, with one particle. A step without
    free cells before the first of them costs one particle too.

    Args:
        player: a model.
        locks: of one row, from the first new step on; they end the piece.
        primer: hits (T0, W) before the locks; not in the result.
        sampling: how free cells are sampled.
        context: hits before the primer.
        plan: counted from the first bar of context and primer.
        infilling: number of particles and horizon. One particle does not depend on later locks.
        start: a state of one row to continue from, with its plan; `None` begins a piece.
        listener: fresh, for as many particles; by its taps particles are weighed too. It begins with the locks, so that
            there is no music before them.
        rhythm: taps that the model follows, from the first step of the locks on.

    Raises:
        HypermeterError: an argument that does not fit.
    """
    locks.check(1, player.width, track_groups(player.num_drums, player.tracks))
    if listener is not None and (context is not None or primer is not None):
        raise HypermeterError("taps: music before them, expected none; leave context and primer out")
    rules, particles = player.rules(sampling, plan), infilling.particles
    first, last, weighed = _span(locks, infilling.horizon_bars, player.grid.steps_per_bar)
    state: Any = player.start(1, plan) if start is None else start
    if listener is not None:  # A tap weighs after its step is drawn.
        weighed = max(weighed, listener.last + 1)
    for hits in (context, primer):
        if hits is not None:
            state = player.consume(hits, state)
    if rhythm is not None:
        state = state.with_rhythm(rhythm)
    hits_of, resampling = rules.stream(particles, player.width), RandomStream(rules.seed, RESAMPLING, 1, 1)
    steps = locks.num_steps
    made = np.zeros((1, steps, player.width), np.uint8)
    sizes = np.full(steps, float(particles))
    log_weights, log_evidence = np.zeros(1), 0.0
    for step in range(steps):
        if step == first and weighed > first and particles > 1:
            state, made = state.select(np.zeros(particles, int)), made.repeat(particles, 0)
            if listener is not None:
                listener.select(np.zeros(particles, int))
            log_evidence += float(log_weights[0])
            log_weights = np.zeros(particles)
        lock, given = locks.at(step, len(state)), None
        if lock is not None and step <= weighed:
            evidence, given = rules.weigh(state.dist, lock)
            log_weights = log_weights + evidence
        if len(log_weights) > 1:
            sizes[step] = effective_sample_size(log_weights)
            ends = step == weighed
            if (sizes[step] < particles / 2 and step <= last) or ends:
                # No weight so far depends on what is drawn at this step: forked before, particles differ after it.
                log_evidence += float(logsumexp(log_weights)) - math.log(particles)
                chosen = _resample(log_weights, 1 if ends else particles, resampling.at(state.position)[0, 0])
                log_weights = np.zeros(len(chosen))
                state, made = state.select(chosen), made[chosen]
                if listener is not None:
                    listener.select(chosen)
                lock, given = locks.at(step, len(state)), None if given is None else given.select(chosen)
        x = player.draw(state, rules, hits_of.at(state.position)[: len(state)], lock, given)
        made[:, step] = x
        if listener is not None:
            log_weights = log_weights + listener.hear(state.features, x[:, : player.num_drums], step)
        if step + 1 < steps:
            state = player.advance(x, state)
    number, chosen = len(log_weights), 0
    if number > 1:  # The last step has weighed after it was drawn.
        chosen = int(_resample(log_weights, 1, resampling.at(steps)[0, 0])[0])
    log_evidence += float(logsumexp(log_weights)) - math.log(number)
    performed = (None, None) if listener is None else tuple(listener.performed[chosen])
    return InfillResult(made[chosen], sizes, log_evidence, particles, *performed)


def _span(locks: Locks, horizon_bars: int | None, steps_per_bar: int) -> tuple[int, int, int]:
    """Return the first and the last step with a free cell, and the last that is weighed; or -1."""
    free, locked = np.flatnonzero((~locks.known[0]).any(1)), np.flatnonzero(locks.is_set[0])
    first, last = (int(free[0]), int(free[-1])) if len(free) else (-1, -1)
    if horizon_bars is not None:
        locked = locked[locked <= last + horizon_bars * steps_per_bar]
    return first, last, int(locked[-1]) if len(locked) else -1


def effective_sample_size(log_weights: NDArray[np.float64]) -> float:
    """Return 1 / sum of squared normalised weights, in [1, P] (Kong, Liu & Wong 1994)."""
    return float(1 / (np.exp(log_softmax(log_weights)) ** 2).sum())


def _resample(log_weights: NDArray[np.float64], number: int, uniform: float) -> NDArray[np.int64]:
    """Return which `number` particles go on, by systematic resampling."""
    places = (uniform + np.arange(number)) / number
    bounds = np.exp(log_softmax(log_weights)).cumsum()
    return np.searchsorted(bounds, places).clip(max=len(log_weights) - 1)


def vary(
    player: Player,
    hits: ArrayLike,
    strength: float,
    sampling: SamplingOptions = SamplingOptions(),
    *,
    keep: Sequence[int] = (),
    context: ArrayLike | None = None,
    plan: Plan | None = None,
    infilling: InfillOptions = InfillOptions(),
    start: State | None = None,
) -> InfillResult:
    """Return a variation of a groove.

    A share `strength` of its chunks, of one beat and one voice (or track) each, is sampled anew given all others. With
    the same seed the chunks of a smaller strength are among those of a larger.

    Args:
        player: a model.
        hits: (T, W), the groove, from a bar line on.
        strength: in [0, 1]; 0 returns the groove itself, 1 a new one.
        sampling: how cells are sampled; its seed also orders the chunks. Guidance has no effect.
        keep: columns that stay as they are.
        context: hits before the groove.
        plan: counted from the first bar of the context; for a model with labels, by default what is measured in it.
        infilling: number of particles and horizon.
        start: as in `infill`.

    Raises:
        HypermeterError: as `infill`; a strength outside [0, 1], a column that the model does not have, no steps.
    """
    check("strength", strength)
    groove = player.columns(hits, 1, "groove")[0]
    if not len(groove):
        raise HypermeterError("groove: no steps in it, expected at least one to vary")
    if wrong := [column for column in keep if not 0 <= column < player.width]:
        raise HypermeterError(f"keep: no column {wrong[0]}, expected 0 to {player.width - 1}")
    if plan is None and start is None and player.labels is not None:
        music = groove if context is None else np.concatenate([player.columns(context, 1, "context")[0], groove])
        plan = plan_of(music[:, : player.num_drums], player.grid)
    seed, size = choose_seed(sampling.seed), player.grid.steps_per_beat
    parts = np.arange(player.width)
    for first, stop in track_groups(player.num_drums, player.tracks):  # a track is varied as one
        parts[first:stop] = first
    parts = np.unique(parts, return_inverse=True)[1]
    beats, count = -(-len(groove) // size), int(parts.max()) + 1
    order = uniforms(seed, VARIATION, beats * count).argsort(kind="stable").argsort(kind="stable")
    freed = (order < math.floor(strength * len(order) + 0.5)).reshape(beats, count)[:, parts]
    is_locked = ~freed.repeat(size, 0)[: len(groove)]
    is_locked[:, list(keep)] = True
    return infill(
        player,
        Locks(is_locked, groove),
        None,
        replace(sampling, seed=seed, guidance=0.0),
        context=context,
        plan=plan,
        infilling=infilling,
        start=start,
    )

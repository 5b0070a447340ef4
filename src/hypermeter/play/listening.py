"""Velocity and timing of taps as evidence of what answers them, and velocity and offset of all hits given them.

A tap is heard as the loudest of the hits that answer it: that hit has the velocity and offset of the tap, and the
others are at most as loud. The expression is a mixture; given its component, velocities and offsets of a step
are independent. The probability of the tap is a sum over the components and over the hits that may be the loudest.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.groove import Groove
from hypermeter.play.arithmetic import first_above, log_softmax, logsumexp, softplus
from hypermeter.play.bins import EDGE
from hypermeter.play.expressing import OFFSET, VELOCITY, Array, Known, log_weights_given
from hypermeter.play.random import EXPRESSION, RandomStream

Single = NDArray[np.float32]


@dataclass(frozen=True)
class Taps:
    """A rhythm on one voice.

    Args:
        is_tap: (T,), whether a step has a tap.
        velocity: (T,), in (0, 1] at taps; NaN where there is none, or it is not known.
        offset: (T,), in [-.5, .5) steps, late is positive; NaN likewise.
    """

    is_tap: NDArray[np.bool_]
    velocity: Array
    offset: Array

    @classmethod
    def of(cls, groove: Groove) -> "Taps":
        """Return the loudest hit of each step of a groove.

        Velocities that are all the same, and offsets that are all 0, are not a player's: they count as unknown.
        """
        is_tap: Any = groove.hits.any(1)
        loudest = np.where(groove.hits > 0, groove.velocity, -1).argmax(1)[:, None]
        parts = []
        for name in ("velocity", "offset"):
            values = np.take_along_axis(getattr(groove, name), loudest, 1)[:, 0].astype(np.float64)
            told = values[is_tap]
            is_told = name not in groove.unknown and (np.ptp(told) > 0 if name == "velocity" else told.any())
            parts.append(np.where(is_tap & is_told, values, np.nan))
        return cls(is_tap, *parts)


class Listener:
    """Weighs particles by how likely they make the velocity and timing of taps, and performs their hits.

    Args:
        expression: `expression` of a `Network`.
        particles: most rows.
        tempo_bpm: quarter notes per minute, NaN if unknown.
        seed: seed of the random numbers.
        taps: of all steps, from the first of the piece.
        answer: (V,), voices that answer the taps.
        known: velocity and offset, each (T, V), of hits that stay; NaN elsewhere.
        is_evidence: whether taps weigh particles; not where the hits were drawn given the taps.
    """

    def __init__(
        self,
        expression: Any,
        particles: int,
        tempo_bpm: float,
        seed: int,
        taps: Taps,
        answer: NDArray[np.bool_],
        known: tuple[Array, Array],
        is_evidence: bool = True,
    ):
        self.is_evidence = is_evidence
        self.expression, self.taps, self.answer, self.known = expression, taps, answer, known
        self.state, voices = expression.start(1), expression.num_drums
        self.tempo_bpm = tempo_bpm
        self.stream = RandomStream(seed, EXPRESSION, particles, 2 + 2 * voices)
        self.performed = np.zeros((1, 2, len(taps.is_tap), voices), np.float32)

    @property
    def last(self) -> int:
        """The last step whose tap weighs particles by its velocity or offset; -1 without any."""
        if not self.is_evidence:
            return -1
        told = np.flatnonzero(~(np.isnan(self.taps.velocity) & np.isnan(self.taps.offset)))
        return int(told[-1]) if len(told) else -1

    def select(self, rows: NDArray[np.int64]) -> None:
        """Go on with these particles, in this order."""
        self.state, self.performed = self.state.select(rows), self.performed[rows]

    def hear(self, features: Single, hits: NDArray[Any], step: int) -> Array:
        """Return log p(tap | hits, all before), (rows,) in nats, and perform the hits given it.

        Args:
            features: (rows, H), features of the drum network before the step.
            hits: (rows, V), 0 or 1.
            step: number of the step, each in order.
        """
        tempo = np.full(len(hits), self.tempo_bpm, np.float32)
        dist, state = self.expression.predict(features, hits, tempo, self.state, step)
        evidence, values = np.zeros(len(hits)), np.zeros((2, *hits.shape))
        is_hit = hits > 0
        if is_hit.any():
            known: Known = tuple(np.broadcast_to(fixed[step], hits.shape) for fixed in self.known)  # pyright: ignore[reportAssignmentType]
            uniforms = self.stream.at(step)[: len(hits)]
            evidence, values = self._perform(dist, hits, known, uniforms, step)
            values = np.where(np.isnan(known), values, known)
            if step == 0:
                values[1] = values[1].clip(0)
        velocity, offset = np.where(is_hit, values, 0).astype(np.float32)
        self.state = self.expression.advance(hits, velocity, offset, state, step)
        self.performed[:, 0, step], self.performed[:, 1, step] = velocity, offset
        return evidence if self.is_evidence else np.zeros(len(hits))

    def _perform(self, dist: Any, hits: NDArray[Any], known: Known, uniforms: Array, step: int) -> tuple[Array, Array]:
        """Return log p(tap), (rows,), and velocity and offset of all hits given it, (2, rows, V)."""
        rows, given = np.arange(len(hits)), log_weights_given(dist, hits, known)
        tap = self.taps.velocity[step], self.taps.offset[step]
        may_be = (hits > 0) & self.answer & np.isnan(known[0])
        is_heard: Any = may_be.any(1) & (not np.isnan(tap).all())
        terms, joint, evidence = None, given, np.zeros(len(hits))
        if is_heard.any():
            terms = _log_loudest(dist, may_be, *tap)
            joint = np.where(is_heard[:, None], given + logsumexp(terms), given)
            evidence = np.where(is_heard, logsumexp(joint) - logsumexp(given), 0)
        component = first_above(np.exp(log_softmax(joint)), uniforms[:, 0])
        pairs = dist.of(component)
        inside = uniforms[:, 2:].clip(EDGE, 1 - EDGE)
        below, beside = inside[:, : hits.shape[1]], inside[:, hits.shape[1] :]
        loudest = np.zeros(hits.shape, bool)
        if terms is not None:
            chances = log_softmax(np.where(is_heard[:, None], terms[rows, component], 0))
            voice = first_above(np.exp(chances), uniforms[:, 1])[:, None]
            loudest = (voice == np.arange(hits.shape[1])) & is_heard[:, None]
            if not np.isnan(tap[0]):  # the others are at most as loud
                is_before = np.arange(hits.shape[1]) < voice
                of_before, of_after = (np.exp(_log_quieter(tap[0], pairs[0], edge)) for edge in EDGES)
                most = np.where(is_before, of_before, of_after)
                below = np.where(may_be & is_heard[:, None], (below * most).clip(1e-12, 1 - EDGE), below)
        values = np.stack(
            [
                bins.centre(bins.nearest(mean + scale * np.log(part / (1 - part))))
                for bins, (mean, scale), part in zip((VELOCITY, OFFSET), pairs, (below, beside), strict=True)
            ]
        )
        for value, told in zip(values, tap, strict=True):
            if not np.isnan(told):
                value[loudest] = told
        return evidence, values


EDGES = (-0.5, 0.5)
"""Of the bin of a tap's velocity: the voices before the loudest are below it, those after it at most in it."""


def _log_quieter(velocity: float, logistic: tuple[Array, Array], edge: float) -> Array:
    """Return log P(a velocity is below an edge of the bin of the tap's velocity) under logistics (..., V)."""
    mean, scale = logistic
    number = float(VELOCITY.nearest(np.array(velocity)))
    if number + edge < 0:
        return np.full(mean.shape, -np.inf)
    if number + edge > VELOCITY.count - 1:
        return np.zeros(mean.shape)
    return -softplus(-(VELOCITY.centre(np.array(number + edge)) - mean) / scale)


def _log_loudest(dist: Any, may_be: NDArray[np.bool_], velocity: float, offset: float) -> Array:
    """Return log p(tap, and a voice is the loudest) in each component, (rows, K, V); -inf for voices that may not be.

    Of equally loud voices the first is the loudest. Where the velocity is not known, each is equally likely the one.
    """
    shape = (len(may_be), 1, may_be.shape[1])
    of_velocity, of_offset = dist.logistics
    if np.isnan(velocity):
        total = np.broadcast_to(-np.log(np.maximum(may_be.sum(1), 1))[:, None, None], of_velocity[0].shape)
    else:
        below, up_to = (np.where(may_be[:, None], _log_quieter(velocity, of_velocity, edge), 0) for edge in EDGES)
        before, after = np.zeros(below.shape), np.zeros(below.shape)
        before[..., 1:] = below.cumsum(-1)[..., :-1]
        after[..., :-1] = up_to[..., ::-1].cumsum(-1)[..., ::-1][..., 1:]
        total = VELOCITY.log_prob(np.full(shape, velocity), *of_velocity) + before + after
    if not np.isnan(offset):
        total = total + OFFSET.log_prob(np.full(shape, offset), *of_offset)
    return np.where(may_be[:, None], total, -np.inf)

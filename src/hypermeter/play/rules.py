"""Sampling of a step: temperature, top-p, bias, guidance and locked cells."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.limits import MIN_TEMPERATURE
from hypermeter.play.arithmetic import first_above, log_softmax
from hypermeter.play.distribution import Distribution, Mixture
from hypermeter.play.locks import Lock
from hypermeter.play.random import CANDIDATES, HITS, RandomStream, generator
from hypermeter.play.unions import is_answered

Array = NDArray[np.float64]


CERTAINTY = 0.3
"""Share of the way from the entropy under the plan to that without it, where that is lower, to which guidance keeps."""


@dataclass(frozen=True)
class Rules:
    """Sampling rules for the steps of a model.

    Args:
        temperature, top_p, guidance, seed: see `SamplingOptions`; the guidance is 0 without a plan.
        bias: (W,), added to log odds; `None` adds nothing.
    """

    temperature: float
    top_p: float
    guidance: float
    seed: int
    bias: Array | None = None

    @property
    def is_plain(self) -> bool:
        """Whether steps are drawn from the distribution itself, so that combinations need not be listed."""
        return self.temperature == self.top_p == 1 and self.guidance == 0

    def stream(self, rows: int, width: int, first_row: int = 0) -> RandomStream:
        """Return the stream whose numbers `draw` takes, of so many rows from `first_row` on."""
        return RandomStream(self.seed, HITS, rows, 1 + width, first_row)

    def weigh(self, dist: Distribution, lock: Lock) -> tuple[Array, Distribution]:
        """Return log p(lock), (B,), and the distribution given it, which `draw` takes as `given`.

        Both include the bias, but neither temperature nor guidance: see `infill`.
        """
        return (dist if self.bias is None else dist.tilt(self.bias)).weigh(*lock)

    def draw(
        self,
        dist: Distribution,
        free: Distribution | None,
        uniforms: Array,
        step: int,
        lock: Lock | None = None,
        given: Distribution | None = None,
    ) -> NDArray[np.uint8]:
        """Return a sampled step (B, W), given its locked cells.

        Bias, guidance and temperature reweight each combination separately, so that their order relative to the locks
        does not matter. `top_p` comes last: it keeps the likeliest of the combinations that have the locked cells.

        Args:
            dist: distribution of the step under the plan.
            free: distribution of the step without a plan; used with guidance.
            uniforms: numbers of `stream` at the step.
            step: index of the step; seeds the candidates if there are too many voices to list all combinations.
            lock: the locked cells; `None` locks nothing.
            given: the distribution that `weigh` returned for these cells, if it was called.
        """
        if self.is_plain and given is not None and not dist.groups:
            return self._with_locked(given.draw(uniforms), lock)
        if self.bias is not None:
            dist, free = dist.tilt(self.bias), None if free is None else free.tilt(self.bias)
        if self.is_plain:
            x = (dist if lock is None else dist.condition(*lock)).draw(uniforms)
        elif isinstance(dist, Mixture) and dist.groups and not self.guidance:
            x = self._draw_with_tracks(dist, uniforms, step, lock)
        else:
            x = self._draw_listed(dist, free, uniforms[:, 0], step, lock)
        return self._with_locked(x, lock)

    @staticmethod
    def _with_locked(x: NDArray[np.uint8], lock: Lock | None) -> NDArray[np.uint8]:
        return x if lock is None else np.where(lock[0], lock[1], x).astype(np.uint8)

    def _draw_listed(
        self, dist: Distribution, free: Distribution | None, uniform: Array, step: int, lock: Lock | None
    ) -> NDArray[np.uint8]:
        """Choose among all combinations, or among sampled candidates if there are too many to list."""
        if not dist.is_listed and lock is not None:
            dist, free = dist.condition(*lock), None if free is None else free.condition(*lock)
        combos, scores = dist.candidates(None if dist.is_listed else generator(self.seed, CANDIDATES, step))
        if self.guidance and free is not None:
            if isinstance(free, Mixture) and not free.is_listed:
                others = free.log_probs_of(combos)
            else:
                others = free.candidates()[1]
            entropy = entropy_of(scores)
            entropy -= CERTAINTY * np.maximum(entropy - entropy_of(others), 0)
            scores = as_certain(guided(scores, others, self.guidance), entropy)
        if dist.is_listed and lock is not None:
            is_locked, values, *some = lock
            agrees = ((combos == values[:, None]) | ~is_locked[:, None]).all(-1)
            for one in some:
                agrees &= is_answered(combos, one[:, None])
            scores = np.where(agrees, scores, -np.inf)
            is_lost = np.isneginf(scores.max(-1, keepdims=True))
            if is_lost.any():  # no listed combination of a softmax has the locked cells, but the escape does
                others, of_escape = dist.condition(*lock).candidates()
                combos = np.where(is_lost[..., None], others, combos)
                scores = np.where(is_lost, of_escape, scores)
        place = self.choose(scores, uniform)
        return combos[place] if combos.ndim == 2 else combos[np.arange(len(place)), place]

    def _draw_with_tracks(self, dist: Mixture, uniforms: Array, step: int, lock: Lock | None) -> NDArray[np.uint8]:
        """Draw the voices first, then each track given the columns before it."""
        x = np.zeros((len(dist), dist.width), np.uint8)
        is_drawn = np.zeros(x.shape, bool)
        voices = dist.num_voices
        of_voices = None if lock is None else tuple(part[:, :voices] for part in lock)
        if lock is not None:  # The voices that are drawn have a hit of its set, and tracks are given them.
            dist = dist.condition(*lock[:2])
        x[:, :voices] = self._draw_listed(dist.voices, None, uniforms[:, 0], step, of_voices)
        is_drawn[:, :voices] = True
        for number, (start, stop) in enumerate(dist.groups):
            rest = dist.condition(is_drawn, x)
            logits = np.concatenate([np.zeros((*rest.logits.shape[:-1], 1)), rest.logits[..., start:stop]], -1)
            logits = np.clip(logits, -700, 700)
            log_probs = np.logaddexp.reduce(rest.log_weights[..., None] + log_softmax(logits), axis=-2)
            chosen = self.choose(log_probs, uniforms[:, 1 + voices + number])
            x[:, start:stop] = np.arange(1, stop - start + 1) == chosen[:, None]
            is_drawn[:, start:stop] = True
        return x

    def choose(self, log_probs: Array, uniform: Array) -> NDArray[np.int64]:
        """Return the index (B,) of one of C outcomes, sampled from `temper(log_probs)`."""
        return first_above(np.exp(self.temper(log_probs)), uniform)

    def temper(self, log_probs: Array) -> Array:
        """Return normalised log probabilities (B, C) at the temperature, cut to the likeliest that hold `top_p`."""
        if self.temperature < MIN_TEMPERATURE:
            return np.where(np.arange(log_probs.shape[-1]) == log_probs.argmax(-1)[:, None], 0.0, -np.inf)
        log_probs = log_softmax(log_probs / self.temperature)
        if self.top_p < 1:
            order = np.argsort(-log_probs, -1, kind="stable")
            ordered = np.exp(np.take_along_axis(log_probs, order, -1))
            is_cut = np.zeros(log_probs.shape, bool)
            np.put_along_axis(is_cut, order, ordered.cumsum(-1) - ordered >= self.top_p, -1)
            log_probs = log_softmax(np.where(is_cut, -np.inf, log_probs))
        return log_probs


def guided(planned: Array, free: Array, guidance: float) -> Array:
    """Return log of p(x | plan)^(1 + g) / p(x | no plan)^g, not normalised; -inf where `planned` is -inf.

    Source: Ho & Salimans 2022, for the scores of a diffusion model; here for the combinations of voices of a step.
    """
    is_possible = ~np.isneginf(planned)
    with np.errstate(invalid="ignore"):
        return np.where(is_possible, (1 + guidance) * planned - guidance * np.maximum(free, -1e9), -np.inf)


def entropy_of(log_probs: Array) -> Array:
    """Return the entropy (B,) in nats of log probabilities (B, C), which need not be normalised."""
    return _moments(_below_their_highest(log_probs))[0]


ENTROPY_TOLERANCE = 1e-6
"""In nats, within which `as_certain` reaches an entropy: so near that page and package take the same power."""
MAX_SEARCHES = 30
"""Most steps in which `as_certain` searches its power."""


def as_certain(scores: Array, entropy: Array) -> Array:
    """Return log probabilities (B, C), not normalised, raised to a power of at least 1, so that they have an entropy.

    Guidance multiplies what the plan changes. Where the plan's part of the network is a little less sure than the music
    so far, that is multiplied too, and the music no longer repeats itself. The power takes it back: the least with
    which the entropy is at most the given one.

    Args:
        scores: log probabilities, not normalised.
        entropy: (B,), in nats.
    """
    finite, power, is_done = _below_their_highest(scores), np.ones(len(scores)), np.zeros(len(scores), bool)
    for _ in range(MAX_SEARCHES):
        found, variance = _moments(finite * power[:, None])
        excess = found - entropy
        is_done |= (np.abs(excess) <= ENTROPY_TOLERANCE) | ((power == 1) & (excess < 0))
        if is_done.all():
            break
        newton = power * (1 + excess / np.maximum(variance, 1e-9))  # The entropy falls by variance / power.
        power = np.where(is_done, power, np.clip(newton, np.maximum(1, power / 2), 2 * power))
    return np.where(np.isneginf(scores), -np.inf, finite * power[:, None])


def _below_their_highest(log_probs: Array) -> Array:
    """Return log probabilities less the highest, and at least -700, so that they can be multiplied."""
    return np.maximum(log_probs - log_probs.max(-1, keepdims=True), -700.0)


def _moments(scores: Array) -> tuple[Array, Array]:
    """Return the entropy (B,) in nats, and the variance (B,) of log p, of scores (B, C) whose highest is 0."""
    weights = np.exp(scores)
    total = weights.sum(-1)
    weighted = weights * scores
    mean = weighted.sum(-1) / total
    return np.log(total) - mean, np.einsum("bc,bc->b", weighted, scores) / total - mean**2

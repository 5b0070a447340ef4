"""Drawing a step from what the graph gives, in doubles: the mixture p(x) = sum_k w_k prod_v Bernoulli(x_v; p_kv).

The semantics are those of ``heads.Mixture`` and ``generate.Player``, for voices alone. Arrays: log_weights (B, K),
logits (B, K, V) of a hit, known and values (B, V) of locked cells, bias (V,) added to log odds.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.limits import LEAST_TEMPERATURE, MOST_BIAS, MOST_ENUMERATED_VOICES, MOST_GUIDANCE

TINY = 1e-300
"""Stands for a probability of 0 where its logarithm is taken."""

Array = NDArray[np.float64]
Lock = tuple[NDArray[np.bool_], NDArray[np.float64]]


@dataclass(frozen=True)
class Mixture:
    """A mixture of products of Bernoullis, one in each row.

    Args:
        log_weights: (B, K), normalised.
        logits: (B, K, V), of a hit.
    """

    log_weights: Array
    logits: Array

    @classmethod
    def of(cls, log_weights: NDArray[np.float32], logits: NDArray[np.float32]) -> "Mixture":
        """What the graph gave, in doubles, of which the weights are normalised again."""
        return cls(log_softmax(log_weights.astype(np.float64)), logits.astype(np.float64))

    @property
    def probs(self) -> Array:
        """(B, V), the marginal probability of each voice's hit."""
        return (np.exp(self.log_weights)[..., None] * sigmoid(self.logits)).sum(-2)

    def log_prob(self, x: NDArray[Any]) -> Array:
        """(B,), nats, of a step (B, V)."""
        return self.log_prob_of(np.ones(x.shape, bool), x)

    def log_prob_of(self, known: NDArray[np.bool_], values: NDArray[Any]) -> Array:
        """(B,), nats, of the known cells, all others summed out."""
        return logsumexp(self.log_weights + self._evidence(known, values))

    def tilt(self, bias: Array) -> "Mixture":
        """p(x) exp(bias . x), normalised."""
        tilted = self.logits + bias
        gain = (softplus(tilted) - softplus(self.logits)).sum(-1)
        return Mixture(log_softmax(self.log_weights + gain), tilted)

    def condition(self, known: NDArray[np.bool_], values: NDArray[Any]) -> "Mixture":
        """Given the known cells: the weights change. The logits stay, so known cells are to be written over a draw."""
        return Mixture(log_softmax(self.log_weights + self._evidence(known, values)), self.logits)

    def _evidence(self, known: NDArray[np.bool_], values: NDArray[Any]) -> Array:
        signed = np.where(values[:, None] > 0, self.logits, -self.logits)
        return np.where(known[:, None], -softplus(-signed), 0.0).sum(-1)

    def draw(self, uniforms: Array) -> NDArray[np.uint8]:
        """(B, V) from (B, 1 + V) numbers in [0, 1): the first chooses the component, the others the voices' hits."""
        component = first_above(np.exp(self.log_weights), uniforms[:, 0])
        chosen = self.logits[np.arange(len(component)), component]
        return (uniforms[:, 1:] < sigmoid(chosen)).astype(np.uint8)

    def log_probs(self) -> Array:
        """(B, 2**V), of all combinations; bit v of a combination's number is the hit of voice v.

        The voices' halves are independent in a component, so that 2 * 2**(V/2) products stand for 2**V of them.
        """
        half = self.logits.shape[-1] // 2
        low, high = _products(self.logits[..., :half]), _products(self.logits[..., half:])
        table = high.swapaxes(-1, -2) @ (np.exp(self.log_weights)[..., None] * low)
        return np.log(np.maximum(table.reshape(len(table), -1), TINY))


def _products(logits: Array) -> Array:
    """(B, K, 2**V), the probability of each combination of independent voices."""
    table = np.ones((*logits.shape[:-1], 1))
    for voice in range(logits.shape[-1]):
        logit = logits[..., voice, None]
        table = np.concatenate([table * sigmoid(-logit), table * sigmoid(logit)], -1)
    return table


@dataclass(frozen=True)
class Rules:
    """How steps are drawn.

    Args:
        temperature: of combinations: 1 as learnt, lower is safer, 0 takes the likeliest.
        top_p: only the likeliest combinations that together hold this probability, in (0, 1].
        guidance: how much further a plan is followed than the model does, in [0, MOST_GUIDANCE].
        bias: (V,), added to log odds, in [-MOST_BIAS, MOST_BIAS]; None is none.

    Raises:
        HypermeterError: one out of its range.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    guidance: float = 0.0
    bias: Array | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.temperature < np.inf and 0 < self.top_p <= 1):
            found = f"temperature {self.temperature}, top_p {self.top_p}"
            raise HypermeterError(f"{found}: expected at least 0, and above 0 up to 1")
        if not 0 <= self.guidance <= MOST_GUIDANCE:
            raise HypermeterError(f"guidance is {self.guidance}, expected from 0 to {MOST_GUIDANCE}")

    @property
    def are_plain(self) -> bool:
        """Whether a draw from the mixture itself will do, so that combinations need not be listed."""
        return self.temperature == self.top_p == 1 and self.guidance == 0

    def check_voices(self, voices: int) -> None:
        """Refuses more voices than can be listed, and a bias of another number of voices or out of range."""
        if not self.are_plain and voices > MOST_ENUMERATED_VOICES:
            raise HypermeterError(
                f"temperature, top_p and guidance with {voices} voices, expected at most {MOST_ENUMERATED_VOICES};"
                " leave them at 1, 1 and 0, or play with PyTorch"
            )
        if self.bias is not None:
            if self.bias.shape != (voices,):
                raise HypermeterError(f"voice_bias of shape {self.bias.shape}, expected ({voices},), one a voice")
            if not (np.abs(self.bias) <= MOST_BIAS).all():
                found = self.bias.tolist()
                raise HypermeterError(f"voice_bias is {found}, expected each from -{MOST_BIAS} to {MOST_BIAS}")

    def log_probs(self, asked: Mixture, free: Mixture | None = None, lock: Lock | None = None) -> Array:
        """(B, 2**V), normalised, of all combinations under the rules; ``free`` is read with guidance."""
        scores = asked.log_probs()
        if self.guidance and free is not None:
            scores = (1 + self.guidance) * scores - self.guidance * free.log_probs()
        bits = np.arange(scores.shape[-1])[:, None] >> np.arange(asked.logits.shape[-1]) & 1
        if self.bias is not None:
            scores = scores + bits @ self.bias
        if lock is not None:
            known, values = lock
            clashes = (known[:, None] & (bits != (values[:, None] > 0))).any(-1)
            scores = np.where(clashes, -np.inf, scores)
        if self.temperature < LEAST_TEMPERATURE:
            return np.where(np.arange(scores.shape[-1]) == scores.argmax(-1)[:, None], 0.0, -np.inf)
        log_probs = log_softmax(scores / self.temperature)
        if self.top_p < 1:
            order = np.argsort(-log_probs, -1, kind="stable")
            ordered = np.exp(np.take_along_axis(log_probs, order, -1))
            is_cut = np.zeros(log_probs.shape, bool)
            np.put_along_axis(is_cut, order, ordered.cumsum(-1) - ordered >= self.top_p, -1)
            log_probs = log_softmax(np.where(is_cut, -np.inf, log_probs))
        return log_probs

    def evidence(self, asked: Mixture, lock: Lock) -> Array:
        """(B,), log p(locked cells), with the bias but at temperature 1 and without guidance: see ``infill``."""
        dist = asked if self.bias is None else asked.tilt(self.bias)
        return dist.log_prob_of(*lock)

    def num_uniforms(self, voices: int) -> int:
        """Random numbers that a step takes in each row."""
        return 1 + voices if self.are_plain else 1

    def draw(
        self, asked: Mixture, free: Mixture | None, uniforms: Array, lock: Lock | None = None
    ) -> NDArray[np.uint8]:
        """(B, V), a step given its locked cells, from (B, ``num_uniforms``) numbers in [0, 1)."""
        if self.are_plain:
            dist = asked if self.bias is None else asked.tilt(self.bias)
            x = (dist if lock is None else dist.condition(*lock)).draw(uniforms)
        else:
            number = first_above(np.exp(self.log_probs(asked, free, lock)), uniforms[:, 0])
            x = (number[:, None] >> np.arange(asked.logits.shape[-1]) & 1).astype(np.uint8)
        return x if lock is None else np.where(lock[0], lock[1] > 0, x).astype(np.uint8)


# ---------------------------------------------------------------------- arithmetic


def first_above(weights: Array, uniform: Array) -> NDArray[np.int64]:
    """(B,), the first of each row's (B, N) weights whose sum so far is above ``uniform`` times all of it."""
    sums = weights.cumsum(-1)
    return (sums > uniform[:, None] * sums[:, -1:]).argmax(-1)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-np.maximum(x, -700)))


def softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def logsumexp(x: Array) -> Array:
    most = x.max(-1, keepdims=True)
    return (most + np.log(np.exp(x - most).sum(-1, keepdims=True)))[..., 0]


def log_softmax(x: Array) -> Array:
    return x - logsumexp(x)[..., None]

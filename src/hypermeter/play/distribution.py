"""The distribution of a step, in doubles: a mixture of products, or a categorical over combinations with an escape.

p(x) = sum_k w_k prod_v Bernoulli(x_v; p_kv). Beside the voices there may be tracks: groups of columns of which at most
one is 1, with a categorical over "none" and their columns in each component. Shapes: `x`, `known` and `values` are
(B, W), `uniforms` (B, numbers) in [0, 1).
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.limits import MAX_ENUMERATED_VOICES
from hypermeter.play.arithmetic import first_above, log_softmax, logsumexp, sigmoid, softplus
from hypermeter.play.unions import Bools, draw_some, is_answered, log_some, open_cells

Array = NDArray[np.float64]
Groups = tuple[tuple[int, int], ...]
"""First column of each track, and the one after its last. Tracks follow the voices without gaps."""

CANDIDATES = 1_024
"""Number of combinations to draw if there are too many to list."""

CERTAIN = 1e9
"""Log odds, against "none", of a track's column that is known to be 1; finite, so that they can be normalised."""

TINY = 1e-300
"""Lower bound of probabilities before their logarithm is taken."""


@lru_cache(8)
def combinations(voices: int) -> NDArray[np.uint8]:
    """Return all combinations, (2**V, V); bit v of a combination's index is the hit of voice v."""
    return (np.arange(2**voices)[:, None] >> np.arange(voices) & 1).astype(np.uint8)


def _with_none(logits: Array) -> Array:
    """Prepend the log odds of "none", 0, to those of a track's columns."""
    return np.concatenate([np.zeros((*logits.shape[:-1], 1)), logits], -1)


class Mixture:
    """A mixture of products of Bernoullis, and of categoricals for tracks; immutable.

    Args:
        scores: (B, K), log weights of the components, each row up to a constant.
        logits: (B, K, W), log odds of a hit, or of a track's column against "none". They may be in single precision;
            computations convert them to doubles.
        groups: columns of the tracks.
        some: (B, W), voices of which at least one sounds, given which the components are; `None` demands nothing. The
            log weights are those given it.
    """

    logits: Any
    some: Bools | None = None

    def __init__(self, scores: NDArray[Any], logits: NDArray[Any], groups: Groups = (), some: Bools | None = None):
        self.scores, self.logits, self.groups, self.width = scores, logits, groups, logits.shape[-1]
        self.some = some

    @cached_property
    def log_weights(self) -> Array:
        """(B, K), log weights of the components, normalised."""
        return log_softmax(self.scores.astype(np.float64))

    def logits_of(self, component: NDArray[np.int64]) -> NDArray[Any]:
        """Return the logits (B, W) of one component per row."""
        return self.logits[np.arange(len(component)), component]

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, rows: NDArray[np.int64]) -> "Mixture":
        """Return the distribution of these rows, in this order."""
        return Mixture(self.scores[rows], self.logits[rows], self.groups, _rows_of(self.some, rows))

    @property
    def num_voices(self) -> int:
        return self.groups[0][0] if self.groups else self.width

    @property
    def num_uniforms(self) -> int:
        """Number of uniforms that `draw` takes: one for the component, one per voice and one per track."""
        return 1 + self.num_voices + len(self.groups)

    @property
    def is_listed(self) -> bool:
        """Whether `candidates` returns all combinations."""
        return not self.groups and self.width <= MAX_ENUMERATED_VOICES

    @property
    def voices(self) -> "Mixture":
        """The distribution of the voices, with tracks marginalised out."""
        some = None if self.some is None else self.some[:, : self.num_voices]
        return Mixture(self.scores, self.logits[..., : self.num_voices], (), some)

    @property
    def probs(self) -> Array:
        """(B, W), marginal probabilities of hits and of the columns of tracks."""
        logits = self.logits.astype(np.float64)
        parts = [sigmoid(logits[..., : self.num_voices])]
        if self.some is not None:  # A hit of the set is enough for it.
            log_chance = np.where(self.some[:, None], self._log_some()[..., None], 0)[..., : self.num_voices]
            parts[0] = np.exp(np.minimum(-softplus(-logits[..., : self.num_voices]) - log_chance, 0))
        parts += [np.exp(log_softmax(_with_none(logits[..., slice(*group)])))[..., 1:] for group in self.groups]
        return (np.exp(self.log_weights)[..., None] * np.concatenate(parts, -1)).sum(-2)

    def log_prob(self, x: NDArray[Any]) -> Array:
        """Return log p(x), (B,) in nats, of steps `x`."""
        if self.groups or self.some is not None:
            return self.weigh(np.ones(x.shape, bool), x)[0]
        signs = 2 * x.T.astype(self.logits.dtype) - 1  # log sigmoid(t) = min(t, 0) - log(1 + exp(-|t|))
        odds = np.multiply(self.logits.transpose(2, 0, 1), signs[:, :, None], order="C")
        factors = np.exp(-np.abs(odds))
        factors += 1
        np.minimum(odds, 0, out=odds)
        of_component = np.add.reduce(odds) - np.log(np.multiply.reduce(factors))
        return logsumexp(self.log_weights + of_component)

    def tilt(self, bias: Array) -> "Mixture":
        """Return the distribution proportional to p(x) exp(bias . x); `bias` is (W,)."""
        untilted = self.logits.astype(np.float64)
        tilted, voices = untilted + bias, slice(0, self.num_voices)
        gain = (softplus(tilted[..., voices]) - softplus(untilted[..., voices])).sum(-1)
        for group in self.groups:
            before, after = (logsumexp(_with_none(logits[..., slice(*group)])) for logits in (untilted, tilted))
            gain = gain + after - before
        new = Mixture(self.log_weights + gain, tilted, self.groups, self.some)
        if self.some is not None:
            new.scores = new.scores + new._log_some() - self._log_some()
        return new

    def weigh(self, known: Bools, values: NDArray[Any], some: Bools | None = None) -> tuple[Array, "Mixture"]:
        """Return log p(known cells, and a hit among `some`), (B,), and the distribution of the other cells given it.

        Args:
            known, values: the known cells.
            some: voices of which at least one sounds, in rows with any; of a distribution that has no such set yet.
        """
        joint = self.log_weights + self._evidence(known, values, some)
        return logsumexp(joint), Mixture(joint, self.logits, self.groups, self._open(known, values, some))

    def condition(self, known: Bools, values: NDArray[Any], some: Bools | None = None) -> "Mixture":
        """Return the distribution given the known cells, which keep their values in every draw, and `some`."""
        logits = np.where(known[:, None], np.where(values[:, None] > 0, np.inf, -np.inf), self.logits)
        for start, stop in self.groups:
            is_chosen, is_out = _known_of_track(known[:, start:stop], values[:, start:stop])
            track = np.where(is_out[:, None], -np.inf, self.logits[..., start:stop])
            logits[..., start:stop] = np.where(is_chosen[:, None], CERTAIN, track)
        scores = self.log_weights + self._evidence(known, values, some)
        return Mixture(scores, logits, self.groups, self._open(known, values, some))

    def _log_some(self) -> Array:
        """Return log P(at least one of the set) of each component, (B, K)."""
        assert self.some is not None
        nothing = np.zeros(self.some.shape, bool)
        return log_some(self.logits, nothing, nothing, self.some)

    def _open(self, known: Bools, values: NDArray[Any], some: Bools | None) -> Bools | None:
        some = self.some if some is None else some
        return None if some is None else open_cells(known, values, some)

    def _evidence(self, known: Bools, values: NDArray[Any], some: Bools | None = None) -> Array:
        """Return log p(known cells, and a hit among `some`) under each component, (B, K)."""
        if some is not None and self.some is not None:
            raise ValueError("a set beside that of the distribution, expected one")
        voices = np.flatnonzero(known[:, : self.num_voices].any(0))  # the others contribute 0
        logits = self.logits[..., voices].astype(np.float64)
        against = np.where(values[:, None, voices] > 0, -logits, logits)
        total = -np.where(known[:, None, voices], softplus(against), 0.0).sum(-1)
        for start, stop in self.groups:
            is_chosen, is_out = _known_of_track(known[:, start:stop], values[:, start:stop])
            left = _with_none(np.where(is_out[:, None], -np.inf, self.logits[..., start:stop]))
            left[..., 0] = np.where(is_chosen.any(-1, keepdims=True), -np.inf, 0)
            total = total + logsumexp(left) - logsumexp(_with_none(self.logits[..., start:stop]))
        if self.some is not None:
            return total + log_some(self.logits, known, values, self.some) - self._log_some()
        return total if some is None else total + log_some(self.logits, known, values, some)

    def draw(self, uniforms: Array) -> NDArray[np.uint8]:
        """Return a step (B, W) sampled with uniforms (B, `num_uniforms`)."""
        weights = np.exp(self.scores - np.maximum.reduce(self.scores, -1, keepdims=True))
        component = first_above(weights, uniforms[:, 0])
        chosen = self.logits_of(component)
        voices = self.num_voices
        hits = _draw_voices(chosen[:, :voices], uniforms[:, 1 : 1 + voices], self.some)
        if not self.groups:
            return hits
        parts = [hits]
        for number, (start, stop) in enumerate(self.groups):
            parts.append(_draw_track(_with_none(chosen[:, start:stop]), uniforms[:, 1 + voices + number]))
        return np.concatenate(parts, -1)

    def candidates(self, rng: np.random.Generator | None = None) -> tuple[NDArray[np.uint8], Array]:
        """Return all combinations (C, W), or some that `rng` draws (B, C, W), and their log probabilities (B, C).

        Raises:
            ValueError: there are too many to list, and `rng` is None.
        """
        if self.is_listed:
            return combinations(self.width), self._log_probs_of_all()
        if rng is None:
            raise ValueError("too many voices to list all combinations, expected a generator to draw some")
        repeated = self.select(np.arange(len(self)).repeat(CANDIDATES))
        steps = repeated.draw(rng.random((len(repeated), self.num_uniforms)))
        combos = steps.reshape(len(self), CANDIDATES, self.width)
        log_probs = self.log_probs_of(combos)
        for row, row_combos in enumerate(combos):  # a combination that was drawn twice counts once
            is_twin = np.ones(CANDIDATES, bool)
            is_twin[np.unique(np.packbits(row_combos, axis=-1), axis=0, return_index=True)[1]] = False
            log_probs[row, is_twin] = -np.inf
        return combos, log_probs

    def log_probs_of(self, combos: NDArray[np.uint8]) -> Array:
        """Return the log probabilities (B, C) of combinations (B, C, W)."""
        rows, number, width = combos.shape
        repeated = self.select(np.arange(rows).repeat(number))
        return repeated.log_prob(combos.reshape(-1, width)).reshape(rows, number)

    def _log_probs_of_all(self) -> Array:
        """Return the log probabilities (B, 2**V) of all combinations.

        Two halves of the voices are independent given the component, so that a matrix product of two tables of
        2**(V/2) columns gives all 2**V probabilities.
        """
        half = self.width // 2
        logits = self.logits.astype(np.float64)
        low, high = _products(logits[..., :half]), _products(logits[..., half:])
        log_weights = self.log_weights if self.some is None else self.log_weights - self._log_some()
        table = high.swapaxes(-1, -2) @ (np.exp(log_weights)[..., None] * low)
        log_probs = np.log(np.maximum(table.reshape(len(table), -1), TINY))
        if self.some is None:
            return log_probs
        return np.where(is_answered(combinations(self.width), self.some[:, None]), log_probs, -np.inf)


def _known_of_track(known: NDArray[np.bool_], values: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which columns of a track are known to be 1, and which to be 0, given or since another column is 1."""
    is_chosen = known & (values > 0)
    return is_chosen, (known | is_chosen.any(-1, keepdims=True)) & ~is_chosen


def _rows_of(some: Bools | None, rows: NDArray[np.int64]) -> Bools | None:
    return None if some is None else some[rows]


def _draw_voices(logits: Array, uniforms: Array, some: Bools | None = None) -> NDArray[np.uint8]:
    """Return hits (B, V). `<` keeps a hit of probability 0 silent when the uniform is 0."""
    if some is not None:
        return draw_some(logits, uniforms, some[:, : logits.shape[1]])
    chance = np.tanh(np.multiply(logits, 0.5, dtype=np.float64))  # this form of the logistic function has no overflow
    chance *= 0.5
    chance += 0.5
    return (uniforms < chance).view(np.uint8)


def _draw_track(logits: Array, uniform: Array) -> NDArray[np.uint8]:
    """Return the columns (B, size) of a track, sampled from log odds (B, 1 + size) whose first is "none"."""
    chosen = first_above(np.exp(logits - logits.max(-1, keepdims=True)), uniform)
    return (np.arange(1, logits.shape[-1]) == chosen[:, None]).astype(np.uint8)


def _products(logits: Array) -> Array:
    """Return the probability of each combination of independent voices, (B, K, 2**V)."""
    table = np.ones((*logits.shape[:-1], 1))
    for voice in range(logits.shape[-1]):
        logit = logits[..., voice, None]
        table = np.concatenate([table * sigmoid(-logit), table * sigmoid(logit)], -1)
    return table


@dataclass(frozen=True)
class Categorical:
    """A categorical over known combinations and an escape: p(x) = p(known x) + p(escape) prod_v Bernoulli(x_v; p_v).

    Args:
        log_probs_known: (B, C + 1), normalised log probabilities of the combinations and, last, of the escape.
        logits: (B, V), log odds of a hit after the escape.
        known: (C, V), the combinations.
        groups: always empty: such a distribution has no tracks.
        some: as in `Mixture`.
    """

    log_probs_known: Array
    logits: Array
    known: NDArray[np.uint8]
    groups: Groups = ()
    some: Bools | None = None

    def __len__(self) -> int:
        return len(self.logits)

    def select(self, rows: NDArray[np.int64]) -> "Categorical":
        """Return the distribution of these rows, in this order."""
        some = _rows_of(self.some, rows)
        return Categorical(self.log_probs_known[rows], self.logits[rows], self.known, (), some)

    @property
    def num_voices(self) -> int:
        return self.logits.shape[-1]

    width = num_voices

    @property
    def num_uniforms(self) -> int:
        """Number of uniforms that `draw` takes: one for the combination, and one per voice for the escape."""
        return 1 + self.num_voices

    @property
    def is_listed(self) -> bool:
        """Whether `candidates` needs no generator."""
        return True

    @property
    def probs(self) -> Array:
        """(B, V), marginal probabilities of hits."""
        weights, of_escape = np.exp(self.log_probs_known), sigmoid(self.logits)
        if self.some is not None:  # A hit of the set is enough for it.
            of_escape = of_escape / np.where(self.some, np.exp(self._log_some()), 1)
        return weights[:, :-1] @ self.known.astype(np.float64) + weights[:, -1:] * of_escape

    def log_prob(self, x: NDArray[Any]) -> Array:
        """Return log p(x), (B,) in nats, of steps `x`."""
        return logsumexp(self.log_probs_known + self._evidence(np.ones(x.shape, bool), x))

    def _log_some(self) -> Array:
        """Return log P(at least one of the set) after the escape, (B, 1)."""
        assert self.some is not None
        nothing = np.zeros(self.some.shape, bool)
        return log_some(self.logits[:, None], nothing, nothing, self.some)

    def _evidence(self, known: Bools, values: NDArray[Any], some: Bools | None = None) -> Array:
        """Return log p(known cells, and a hit among `some`) under each known combination and the escape, (B, C + 1)."""
        agrees = ((self.known == values[:, None]) | ~known[:, None]).all(-1)
        signed = np.where(values > 0, self.logits, -self.logits)
        of_escape = np.where(known, -softplus(-signed), 0.0).sum(-1, keepdims=True)
        if some is not None and self.some is not None:
            raise ValueError("a set beside that of the distribution, expected one")
        if some is not None:
            agrees &= is_answered(self.known, some[:, None])
            of_escape = of_escape + log_some(self.logits[:, None], known, values, some)
        elif self.some is not None:
            of_escape = of_escape + log_some(self.logits[:, None], known, values, self.some) - self._log_some()
        return np.concatenate([np.where(agrees, 0.0, -np.inf), of_escape], -1)

    def tilt(self, bias: Array) -> "Categorical":
        """Return the distribution proportional to p(x) exp(bias . x); `bias` is (V,)."""
        of_known = np.broadcast_to(self.known @ bias, self.log_probs_known[:, :-1].shape)
        of_escape = (softplus(self.logits + bias) - softplus(self.logits)).sum(-1, keepdims=True)
        if self.some is not None:
            tilted = Categorical(self.log_probs_known, self.logits + bias, self.known, (), self.some)
            of_escape = of_escape + tilted._log_some() - self._log_some()
        gain = np.concatenate([of_known, of_escape], -1)
        return Categorical(log_softmax(self.log_probs_known + gain), self.logits + bias, self.known, (), self.some)

    def weigh(self, known: Bools, values: NDArray[Any], some: Bools | None = None) -> tuple[Array, "Categorical"]:
        """Return log p(known cells, and a hit among `some`), (B,), and the distribution given it; see `Mixture`."""
        evidence = logsumexp(self.log_probs_known + self._evidence(known, values, some))
        return evidence, self.condition(known, values, some)

    def condition(self, known: Bools, values: NDArray[Any], some: Bools | None = None) -> "Categorical":
        """Return the distribution given the known cells, which keep their values in every draw, and `some`."""
        log_probs = log_softmax(self.log_probs_known + self._evidence(known, values, some))
        logits = np.where(known, np.where(values > 0, np.inf, -np.inf), self.logits)
        some = self.some if some is None else some
        is_open = None if some is None else open_cells(known, values, some)
        return Categorical(log_probs, logits, self.known, (), is_open)

    def draw(self, uniforms: Array) -> NDArray[np.uint8]:
        """Return a step (B, V) sampled with uniforms (B, `num_uniforms`)."""
        index = first_above(np.exp(self.log_probs_known), uniforms[:, 0])
        escape = _draw_voices(self.logits, uniforms[:, 1 : 1 + self.num_voices], self.some)
        listed = self.known[np.minimum(index, len(self.known) - 1)]
        return np.where((index == len(self.known))[:, None], escape, listed)

    def candidates(self, rng: np.random.Generator | None = None) -> tuple[NDArray[np.uint8], Array]:
        """Return the known combinations (C, V) and their log probabilities (B, C), given that there is no escape.

        If no known combination is possible in some row, the combinations are (B, C, V), and the only one of such a row
        is the likeliest after the escape.
        """
        scores = self.log_probs_known[:, :-1]
        is_impossible = np.isneginf(scores.max(-1, keepdims=True))
        if not is_impossible.any():
            return self.known, log_softmax(scores)
        combos = np.broadcast_to(self.known, (len(self), *self.known.shape)).copy()
        likeliest = self.logits > 0
        if self.some is not None:  # of the set the likeliest voice at least
            best = np.where(self.some, self.logits, -np.inf).argmax(-1)[:, None] == np.arange(self.num_voices)
            likeliest |= best & ~is_answered(likeliest, self.some)[:, None]
        combos[:, 0] = np.where(is_impossible, likeliest, combos[:, 0])
        scores = np.where(is_impossible & (np.arange(scores.shape[-1]) == 0), 0.0, scores)
        return combos, log_softmax(scores)


Distribution = Mixture | Categorical

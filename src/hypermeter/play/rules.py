"""The rules by which a step is drawn: temperature, top-p, bias, guidance and locked cells, in one place."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.limits import LEAST_TEMPERATURE
from hypermeter.play.arithmetic import first_above, log_softmax
from hypermeter.play.distribution import Distribution, Mixture
from hypermeter.play.random import CANDIDATES, HITS, RandomStream, generator
from hypermeter.play.request import SamplingOptions

Array = NDArray[np.float64]
Lock = tuple[NDArray[np.bool_], NDArray[np.uint8]]
"""Which cells of a step are locked (B, W), and their values."""


@dataclass(frozen=True)
class Rules:
    """How the steps of a model are drawn.

    Args:
        temperature, top_p, guidance, seed: see `SamplingOptions`; the guidance is 0 where no plan is followed.
        bias: (W,), added to log odds; None is none.
        groups: columns of tracks.
    """

    temperature: float
    top_p: float
    guidance: float
    seed: int
    bias: Array | None = None

    @classmethod
    def of(cls, sampling: SamplingOptions, seed: int, names: tuple[str, ...], width: int, is_guided: bool) -> "Rules":
        """Make the rules that a request asks for.

        Args:
            sampling: the request.
            seed: its seed, chosen.
            names: of the model's voices; a bias of another raises.
            width: columns of a step.
            is_guided: whether a plan is followed.
        """
        bias = np.zeros(width) if any(sampling.bias.values()) else None
        for name, value in sampling.bias.items():
            if name not in names:
                raise HypermeterError(f"bias: no voice {name!r} in the model; it has {', '.join(names)}")
            if bias is not None:
                bias[names.index(name)] = value
        return cls(sampling.temperature, sampling.top_p, sampling.guidance if is_guided else 0.0, seed, bias)

    @property
    def is_plain(self) -> bool:
        """Whether a draw from the distribution itself will do, so that combinations need not be listed."""
        return self.temperature == self.top_p == 1 and self.guidance == 0

    def stream(self, rows: int, width: int) -> RandomStream:
        """Return the numbers of hits that `draw` takes, for so many rows."""
        return RandomStream(self.seed, HITS, rows, 1 + width)

    def weigh(self, dist: Distribution, lock: Lock) -> tuple[Array, Distribution]:
        """Return log p(locked cells), (B,), and the distribution given them, which a plain draw may take.

        Both are with the bias but at temperature 1 and without guidance: see `infill`.
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
        """(B, W), a step given its locked cells.

        Bias, guidance and temperature weigh each combination by itself, so that it is one whether they come before or
        after the locks. `top_p` comes after: of the combinations that have the locked cells the likeliest stay.

        Args:
            dist: of the step, under the plan.
            free: of the step without a plan; read with guidance.
            uniforms: of `stream` at the step.
            step: steps heard before; names the numbers that are drawn where there are too many voices to list.
            lock: the locked cells.
            given: what `weigh` gave of these cells, where it was asked before.
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
        """Choose among the combinations, or among many that are drawn."""
        if not dist.is_listed and lock is not None:
            dist, free = dist.condition(*lock), None if free is None else free.condition(*lock)
        combos, scores = dist.candidates(None if dist.is_listed else generator(self.seed, CANDIDATES, step))
        if self.guidance and free is not None:
            scores = guided(scores, log_probs_of(free, combos, dist.is_listed), self.guidance)
        if dist.is_listed and lock is not None:
            known, values = lock
            agrees = ((combos == values[:, None]) | ~known[:, None]).all(-1)
            scores = np.where(agrees, scores, -np.inf)
            lost = np.isneginf(scores.max(-1, keepdims=True))
            if lost.any():  # a softmax knows no combination that has the locked cells: the escape has
                others, of_escape = dist.condition(*lock).candidates()
                combos = np.where(lost[..., None], others, combos)
                scores = np.where(lost, of_escape, scores)
        place = self.choose(scores, uniform)
        return combos[place] if combos.ndim == 2 else combos[np.arange(len(place)), place]

    def _draw_with_tracks(self, dist: Mixture, uniforms: Array, step: int, lock: Lock | None) -> NDArray[np.uint8]:
        """Draw the voices first, then each track given what is drawn before it."""
        x = np.zeros((len(dist), dist.width), np.uint8)
        known = np.zeros(x.shape, bool)
        voices = dist.num_voices
        if lock is not None:
            dist = dist.condition(*lock)
        of_voices = None if lock is None else (lock[0][:, :voices], lock[1][:, :voices])
        x[:, :voices] = self._draw_listed(dist.voices, None, uniforms[:, 0], step, of_voices)
        known[:, :voices] = True
        for number, (start, stop) in enumerate(dist.groups):
            given = dist.condition(known, x)
            shares = np.concatenate([np.zeros((*given.logits.shape[:-1], 1)), given.logits[..., start:stop]], -1)
            shares = np.clip(shares, -700, 700)
            log_probs = np.logaddexp.reduce(given.log_weights[..., None] + log_softmax(shares), axis=-2)
            chosen = self.choose(log_probs, uniforms[:, 1 + voices + number])
            x[:, start:stop] = np.arange(1, stop - start + 1) == chosen[:, None]
            known[:, start:stop] = True
        return x

    def choose(self, log_probs: Array, uniform: Array) -> NDArray[np.int64]:
        """(B,), one of C outcomes by p^(1/temperature), of the likeliest that hold `top_p` of that."""
        return first_above(np.exp(self.temper(log_probs)), uniform)

    def temper(self, log_probs: Array) -> Array:
        """(B, C), normalised log probabilities at the temperature, cut to the likeliest."""
        if self.temperature < LEAST_TEMPERATURE:
            return np.where(np.arange(log_probs.shape[-1]) == log_probs.argmax(-1)[:, None], 0.0, -np.inf)
        log_probs = log_softmax(log_probs / self.temperature)
        if self.top_p < 1:
            order = np.argsort(-log_probs, -1, kind="stable")
            ordered = np.exp(np.take_along_axis(log_probs, order, -1))
            is_cut = np.zeros(log_probs.shape, bool)
            np.put_along_axis(is_cut, order, ordered.cumsum(-1) - ordered >= self.top_p, -1)
            log_probs = log_softmax(np.where(is_cut, -np.inf, log_probs))
        return log_probs


def guided(asked: Array, free: Array, guidance: float) -> Array:
    """Return log of p(x | plan)^(1 + g) / p(x | no plan)^g, not normalised; -inf where `asked` is.

    Source: Ho & Salimans 2022, there for scores of a diffusion model; here for each step's combinations of voices.
    """
    is_possible = ~np.isneginf(asked)
    with np.errstate(invalid="ignore"):
        return np.where(is_possible, (1 + guidance) * asked - guidance * np.maximum(free, -1e9), -np.inf)


def log_probs_of(dist: Distribution, combos: NDArray[np.uint8], is_listed: bool) -> Array:
    """(B, C), of combinations (C, W) that `dist` lists too, or of (B, C, W) that another drew."""
    if is_listed:
        return dist.candidates()[1]
    rows, number, width = combos.shape
    flat = dist.select(np.arange(rows).repeat(number))
    return flat.log_prob(combos.reshape(-1, width)).reshape(rows, number)

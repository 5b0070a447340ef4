"""Rollouts: batches of sequences that a policy generates, and a model's view of them.

A model of the package on a CPU is played by the engine of `play`, in NumPy, from its present weights; any other model,
and any on another device, by its own steps in PyTorch. Both take the same random numbers, a function of a seed, the row
and the step, so that a row is the same in batches of any size; the two differ in rounding, which now and then changes a
hit, and with it what follows.

Time convention of this package: ``hits[:, t]`` is step t, ``log_probs[:, t]`` is of step t given those before it, and
``rewards[:, t]`` is paid after step t.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from hypermeter.core.errors import HypermeterError
from hypermeter.model.heads import StepDistribution
from hypermeter.model.plan import Plan
from hypermeter.model.playing import StreamingModel, check_hits, is_for_engine, width_of
from hypermeter.model.stepping import Stepping
from hypermeter.play.distribution import Categorical
from hypermeter.play.random import HITS, RandomStream

MAX_STEPS_PER_PASS = 8_192
"""Steps of all rows together in one parallel pass."""

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Rollout:
    """A batch that a policy generated, with its conditions.

    Args:
        hits: (B, T, W), generated steps, without the primer: voices, then the columns of tracks.
        log_probs: (B, T), nats, of each step under the distribution from which it was sampled. Those of a rollout by
            the engine are computed when they are first read; until then it keeps the features of each step.
        start_seq: (B, T0, W), the primer, or None.
        plan: per-bar conditions, counted from the first bar of the primer, or None.
    """

    hits: Float[Tensor, "B T W"]
    log_probs: Float[Tensor, "B T"]
    start_seq: Float[Tensor, "B T0 W"] | None = None
    plan: Plan | None = None

    @property
    def primer_steps(self) -> int:
        """Steps in the primer."""
        return 0 if self.start_seq is None else self.start_seq.shape[1]

    @property
    def sequence(self) -> Float[Tensor, "B T1 W"]:
        """The primer, then the generated steps."""
        return self.hits if self.start_seq is None else torch.cat([self.start_seq, self.hits], 1)

    def select(self, rows: Int[Tensor, " N"]) -> "Rollout":
        """Return the given rows, in that order."""
        start = None if self.start_seq is None else self.start_seq[rows]
        plan = self.plan if self.plan is None or self.plan.batch_size == 1 else self.plan.select(rows)
        return type(self)(self.hits[rows], self._log_probs_of(rows), start, plan)

    def _log_probs_of(self, rows: Int[Tensor, " N"]) -> Any:
        return self.log_probs[rows]


class _LazyRollout(Rollout):
    """A rollout whose log probabilities are computed when they are first read: learning reads those of `view`.

    Args:
        log_probs: returns them.
    """

    def __init__(
        self, hits: Tensor, log_probs: Callable[[], Tensor] | Tensor, start_seq: Tensor | None, plan: Plan | None
    ):
        vars(self).update(hits=hits, start_seq=start_seq, plan=plan)
        vars(self)["_compute" if callable(log_probs) else "log_probs"] = log_probs

    @cached_property
    def log_probs(self) -> Float[Tensor, "B T"]:
        return vars(self).pop("_compute")()

    def _log_probs_of(self, rows: Int[Tensor, " N"]) -> Callable[[], Tensor]:
        return lambda: self.log_probs[rows]

    def __reduce__(self) -> tuple[Any, ...]:
        return Rollout, (self.hits, self.log_probs, self.start_seq, self.plan)


@torch.no_grad()
def rollout(
    model: StreamingModel,
    batch_size: int,
    steps: int,
    *,
    start_seq: Float[Tensor, "#B T0 W"] | None = None,
    plan: Plan | None = None,
    generator: torch.Generator | None = None,
    first_row: int = 0,
) -> Rollout:
    """Sample ``steps`` steps of ``batch_size`` rows, streamed: the cost of a step does not grow with those before.

    Args:
        model: any streaming model, without dropout.
        batch_size: rows, from 1 to 2**16.
        steps: generated steps of each row, at least 1.
        start_seq: primer, one for all rows or one for each.
        plan: per-bar conditions, counted from the first bar of the primer.
        generator: source of the seed of the rollout, of which one number is drawn; None, the default one.
        first_row: number of the first row. From equal generators, row r of this rollout is row ``first_row`` + r of one
            that begins at row 0: processes or threads may share a batch.

    Raises:
        HypermeterError: a number below those above, or a primer or plan that does not fit.
    """
    if batch_size < 1 or steps < 1:
        raise HypermeterError(f"rollout: batch_size {batch_size}, steps {steps}: expected at least 1 of both")
    if start_seq is not None:
        if start_seq.dim() != 3 or len(start_seq) not in (1, batch_size):
            raise HypermeterError(
                f"rollout: primer of shape {tuple(start_seq.shape)}, expected 1 or {batch_size} rows of (steps, voices)"
            )
        start_seq = start_seq.expand(batch_size, -1, -1)
        check_hits(start_seq, width_of(model), "primer")
    device = "cpu" if generator is None else generator.device
    seed = int(torch.randint(2**53, (), generator=generator, device=device))
    noise = RandomStream(seed, HITS, batch_size, 1 + width_of(model), first_row)
    play = _play_in_numpy if is_for_engine(model) else _play_in_torch
    return play(model, noise, steps, start_seq, plan)


def _play_in_numpy(
    model: Any, noise: RandomStream, steps: int, start_seq: Float[Tensor, "B T0 W"] | None, plan: Any
) -> Rollout:
    """Return the rollout of a model of the package, played by the engine."""
    player, rows = model.player(), noise.rows
    state = player.start(rows, plan)
    if start_seq is not None:
        state = player.consume(start_seq.numpy(), state)
    hits = np.empty((steps, rows, player.width), np.float32)
    dists: list[Any] = []
    for step in range(steps):
        dist = state.dist
        hits[step] = dist.draw(noise.at(state.position))
        # the categorical would keep a number for each known combination
        dists.append(dist.log_prob(hits[step]) if isinstance(dist, Categorical) else dist)
        if step + 1 < steps:
            state = player.network.advance(hits[step], state)
    by_row = torch.from_numpy(hits.swapaxes(0, 1).copy())
    return _LazyRollout(by_row, partial(_log_probs, dists, hits), start_seq, plan)


def _log_probs(dists: list[Any], hits: NDArray[np.float32]) -> Float[Tensor, "B T"]:
    """Return the log probabilities of hits (T, B, W) under a distribution of each step, or those given for it."""
    for step, dist in enumerate(dists):
        if not isinstance(dist, np.ndarray):
            dists[step] = dist.log_prob(hits[step])  # in its place: it would keep the log odds of all components
    return torch.from_numpy(np.stack(dists, 1, dtype=np.float32))


def _play_in_torch(
    model: Any, noise: RandomStream, steps: int, start_seq: Float[Tensor, "B T0 W"] | None, plan: Plan | None
) -> Rollout:
    """Return the rollout of any streaming model, on its device."""
    rows = noise.rows
    state: Any = model.init_state(rows) if plan is None else model.init_state(rows, plan)
    primer = () if start_seq is None else start_seq.unbind(1)
    for position, x in enumerate(primer):
        state = model.advance(x, state, **_position(model, position))
    hits = state.hidden.new_empty(rows, steps, width_of(model))
    log_probs = state.hidden.new_empty(rows, steps)
    numbers = np.stack([noise.at(len(primer) + step) for step in range(steps)])
    for step, uniforms in enumerate(torch.from_numpy(numbers).to(hits.device)):  # at once: a copy waits for the device
        position = len(primer) + step
        dist = model.predict(state, **_position(model, position))
        hits[:, step] = x = dist.draw(uniforms)
        log_probs[:, step] = dist.log_prob(x)
        if step + 1 < steps:
            state = model.advance(x, state, **_position(model, position))
    return Rollout(hits, log_probs, start_seq, plan)


def _position(model: StreamingModel, position: int) -> dict[str, int]:
    """Return the keyword for the position that all rows share, by which a ``Stepping`` model computes less."""
    return {"place": position} if isinstance(model, Stepping) else {}


@dataclass(frozen=True)
class View:
    """A model's predictions for the steps of a rollout.

    Args:
        dist: (B, T), distribution of each step.
        log_probs: (B, T), nats, of the generated steps.
        features: (B, T + 1, hidden), inputs of the distributions, and those of the step after the last.
    """

    dist: StepDistribution
    log_probs: Float[Tensor, "B T"]
    features: Float[Tensor, "B T1 hidden"]


def view(model: Any, played: Rollout) -> View:
    """Predict a rollout in one parallel pass; gradients flow through it, where those of the stream do not."""
    prediction = model(played.sequence) if played.plan is None else model(played.sequence, plan=played.plan)
    dist = prediction.step_dist[:, played.primer_steps : -1]
    return View(dist, dist.log_prob(played.hits), prediction.features[:, played.primer_steps :])


def without_dropout(model: M) -> M:
    """Remove all dropout from the model, in place, and return it in training mode.

    With dropout a step would have one probability when it is sampled and another when it is learnt from: ratios of the
    same weights would not be 1, nor the divergence from the reference 0. Eval mode would serve on a CPU, but cuDNN
    computes no gradient of a GRU in it.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.RNNBase):
            module.dropout = 0.0
    return model.train()

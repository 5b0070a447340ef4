"""Rollouts: a policy plays, many pieces at once, and what it thought of each step is kept.

Time convention of this package: ``hits[:, t]`` is step t, ``log_probs[:, t]`` is of step t given those before it, and
``rewards[:, t]`` is paid after step t.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.model.plan import Plan
from hypermeter.model.playing import Streaming, check_hits, width_of
from hypermeter.model.stepping import Stepping

STEPS_AT_ONCE = 8_192
"""Of a parallel pass over what was played."""


@dataclass(frozen=True)
class Rollout:
    """What a policy played, and what it was given.

    Args:
        hits: (B, T, W), new steps, without the primer; voices, then the columns of tracks.
        log_probs: (B, T), nats, of each step by the distribution that it was drawn from.
        start_seq: (B, T0, W), the primer, or None.
        plan: what was asked of each bar, counted from the first bar of the primer, or None.
    """

    hits: Float[Tensor, "B T W"]
    log_probs: Float[Tensor, "B T"]
    start_seq: Float[Tensor, "B T0 W"] | None = None
    plan: Plan | None = None

    @property
    def heard(self) -> int:
        """Steps of the primer."""
        return 0 if self.start_seq is None else self.start_seq.shape[1]

    @property
    def whole(self) -> Float[Tensor, "B T1 W"]:
        """The primer, then what was played."""
        return self.hits if self.start_seq is None else torch.cat([self.start_seq, self.hits], 1)

    def select(self, rows: Int[Tensor, " N"]) -> "Rollout":
        """The given rows, in that order."""
        start = None if self.start_seq is None else self.start_seq[rows]
        plan = self.plan if self.plan is None or self.plan.batch_size == 1 else self.plan.select(rows)
        return Rollout(self.hits[rows], self.log_probs[rows], start, plan)


@torch.no_grad()
def rollout(
    model: Streaming,
    batch_size: int,
    steps: int,
    *,
    start_seq: Float[Tensor, "#B T0 W"] | None = None,
    plan: Plan | None = None,
    generator: torch.Generator | None = None,
) -> Rollout:
    """``steps`` steps of ``batch_size`` pieces, streamed: a step costs the same however many came before.

    Args:
        model: anything that streams, without dropout.
        batch_size: pieces.
        steps: of each, at least 1.
        start_seq: primer, one for all pieces or one for each; it is heard, and is no part of ``hits``.
        plan: what is asked of each bar, counted from the first bar of the primer.
        generator: of everything drawn, on the model's device.

    Raises:
        HypermeterError: a number below those above, or a primer or plan that does not fit.
    """
    if batch_size < 1 or steps < 1:
        raise HypermeterError(f"rollout: batch_size {batch_size}, steps {steps}: expected at least 1 of both")
    state: Any = model.init_state(batch_size) if plan is None else model.init_state(batch_size, plan)  # pyright: ignore[reportCallIssue]
    if start_seq is not None:
        if start_seq.dim() != 3 or len(start_seq) not in (1, batch_size):
            found = tuple(start_seq.shape)
            raise HypermeterError(
                f"rollout: primer of shape {found}, expected 1 or {batch_size} rows of (steps, voices)"
            )
        start_seq = start_seq.expand(batch_size, -1, -1)
        check_hits(start_seq, width_of(model), "primer")
        for position, x in enumerate(start_seq.unbind(1)):
            state = model.advance(x, state, **_at(model, position))
    heard = 0 if start_seq is None else start_seq.shape[1]
    hits = state.hidden.new_empty(batch_size, steps, width_of(model))
    log_probs = state.hidden.new_empty(batch_size, steps)
    for step in range(steps):
        dist = model.predict(state, **_at(model, heard + step))
        hits[:, step] = x = dist.sample(generator)
        log_probs[:, step] = dist.log_prob(x)
        if step + 1 < steps:
            state = model.advance(x, state, **_at(model, heard + step))
    return Rollout(hits, log_probs, start_seq, plan)


def _at(model: Streaming, position: int) -> dict[str, int]:
    """Where all rows stand, for a model that computes less when it is told."""
    return {"place": position} if isinstance(model, Stepping) else {}

"""Values of the voice combinations in use, as pure functions: what they are worth, and what they should be."""

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from hypermeter.grid import HypermeterError
from hypermeter.heads import (
    Mixture,
    StepDistribution,
    find_known,
    log_norm,
)

Kind = Literal["q", "psi", "g"]
KINDS_OF_VALUES = ("q", "psi", "g")

ESCAPE = 1e-4
"""Share of what is none of the actions, in the model that comes of it: it may be rare, and is not impossible."""

ESCAPE_WEIGHT = 0.1
"""Of keeping the escape at its share, beside the error of the values."""

IMITATION_RATE = 2e-3
"""Learning rate of Adam, which falls to 0, where one model learns to play as another."""

BASELINE_SPEED = 10.0
"""Learning rate of the baseline beside that of the rest: rewards are of many nats, log probabilities of few."""

MOST_GRADIENT = 1.0
"""Length to which a longer gradient is cut."""

# ---------------------------------------------------------------------- actions


def combinations_in_use(hits: Shaped[Tensor, "*B V"], most: int = 512) -> Float[Tensor, "A V"]:
    """The combinations of voices in ``hits``, the most frequent first, at most ``most``."""
    found, counts = hits.reshape(-1, hits.shape[-1]).float().unique(dim=0, return_counts=True)
    return found[counts.argsort(descending=True, stable=True)[:most]]


def action_log_probs(dist: StepDistribution, actions: Float[Tensor, "A V"]) -> Float[Tensor, "*B A"]:
    """Nats of each action. They sum to less than 1 where there are other combinations."""
    actions = actions.to(dist.logits)
    if isinstance(dist, Mixture):
        scores = dist.logits @ actions.T - log_norm(dist.logits, dist.groups)[..., None]
        return (dist.log_weights[..., None] + scores).logsumexp(-2)
    which, is_known = find_known(dist.known, actions)
    listed = dist.log_probs_known[..., which].masked_fill(~is_known, -torch.inf)
    escaped = dist.logits @ actions.T - F.softplus(dist.logits).sum(-1, keepdim=True)
    return torch.logaddexp(listed, escaped + dist.log_probs_known[..., -1:])


# ---------------------------------------------------------------------- values


def policy_log_probs(kind: Kind, values: Float[Tensor, "*B A"], prior: Float[Tensor, "*B A"]) -> Float[Tensor, "*B A"]:
    """What is played by these values. For q, which would only play the best, as for psi.

    Args:
        kind: of the values.
        values: of each action; a number that is the same for all actions changes nothing.
        prior: nats of each action by the reference.
    """
    return (values + prior if kind == "g" else values).log_softmax(-1)


def state_values(
    kind: Kind,
    values: Float[Tensor, "*B A"],
    prior: Float[Tensor, "*B A"],
    chooser: Float[Tensor, "*B A"] | None = None,
) -> Float[Tensor, "*B"]:
    """What a state is worth.

    Args:
        kind, values, prior: as in ``policy_log_probs``.
        chooser: for q, values that choose the best action, which ``values`` then judge (van Hasselt et al. 2016); left
            out, ``values`` do both.
    """
    if kind == "q":
        best = (values if chooser is None else chooser).argmax(-1, keepdim=True)
        return values.gather(-1, best)[..., 0]
    return (values + prior if kind == "g" else values).logsumexp(-1)


def value_targets(
    kind: Kind,
    values: Float[Tensor, "B T A"],
    chosen: Int[Tensor, "B T"],
    rewards: Float[Tensor, "B T"],
    prior: Float[Tensor, "B T A"],
    discount: float = 1.0,
    trace: float = 0.0,
    chooser: Float[Tensor, "B T A"] | None = None,
) -> Float[Tensor, "B T"]:
    """What the value of each action that was played should be. A piece ends after its last step.

    With a trace a step also hears of the error d of the value after it: y_t = r_t + discount (v_(t+1) + trace d_(t+1)),
    d_t = y_t - values_t. What is played is all that decides what comes next, so that true values have no error on any
    path, whoever played it, and the trace does not move what is converged to; it takes a bar's reward to the bar's
    first step in one pass.

    Args:
        kind: of the values.
        values: of the target network, before each step.
        chosen: which action was played.
        rewards: paid after each step, in nats.
        prior: nats of each action by the reference.
        discount: of each step.
        trace: from 0, the backup of one step, to 1.
        chooser: see ``state_values``.

    Source: Harutyunyan et al. 2016 for the trace, there of Q.
    """
    at_chosen = values.gather(-1, chosen[..., None])[..., 0]
    if kind != "g":
        rewards = rewards + prior.gather(-1, chosen[..., None])[..., 0]
    follows = F.pad(state_values(kind, values, prior, chooser)[:, 1:], (0, 1))
    targets = torch.empty_like(rewards)
    error = torch.zeros_like(rewards[:, 0])
    for step in range(rewards.shape[1] - 1, -1, -1):
        targets[:, step] = rewards[:, step] + discount * (follows[:, step] + trace * error)
        error = targets[:, step] - at_chosen[:, step]
    return targets


@torch.no_grad()
def track(target: nn.Module, network: nn.Module, rate: float) -> None:
    """Moves the target network towards the network by ``rate`` of the way (Lillicrap et al. 2016)."""
    for old, new in zip(target.parameters(), network.parameters(), strict=True):
        old.lerp_(new, rate)


class Replay:
    """Whole pieces, the newest ``capacity``; each has tensors of the same names and shapes."""

    def __init__(self, capacity: int):
        if capacity < 1:
            raise HypermeterError(f"replay: capacity is {capacity}, expected at least 1")
        self.capacity, self.added = capacity, 0
        self.columns: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, pieces: Mapping[str, Tensor]) -> None:
        """Put in pieces, one a row; they take the places of the oldest.

        Raises:
            HypermeterError: other names or shapes than those before.
        """
        if not self.columns:
            self.columns = {name: x.new_empty(self.capacity, *x.shape[1:]) for name, x in pieces.items()}
        shapes = {name: tuple(x.shape[1:]) for name, x in pieces.items()}
        expected = {name: tuple(x.shape[1:]) for name, x in self.columns.items()}
        if shapes != expected:
            raise HypermeterError(f"replay: pieces of {shapes}, expected {expected} as those before")
        rows = len(next(iter(pieces.values())))
        for row in range(rows):
            place = (self.added + row) % self.capacity
            for name, column in self.columns.items():
                column[place] = pieces[name][row]
        self.added += rows

    def sample(self, rows: int, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Pieces drawn evenly, with replacement."""
        if not len(self):
            raise HypermeterError("replay: empty, expected pieces; play before learning")
        device = next(iter(self.columns.values())).device
        which = torch.randint(len(self), (rows,), generator=generator, device=device)
        return {name: column[which] for name, column in self.columns.items()}

"""Values of what is played, as pure functions, and the replay that they are learnt from."""

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from hypermeter.core.errors import HypermeterError

Kind = Literal["q", "psi", "g"]
KINDS_OF_VALUES = ("q", "psi", "g")


def value_targets(
    at_chosen: Float[Tensor, "B T"],
    of_states: Float[Tensor, "B T"],
    paid: Float[Tensor, "B T"],
    discount: float = 1.0,
    trace: float = 0.0,
) -> Float[Tensor, "B T"]:
    """What the value of each action that was played should be. A piece ends after its last step.

    With a trace a step also hears of the error d of the value after it: y_t = r_t + discount (v_(t+1) + trace d_(t+1)),
    d_t = y_t - values_t. What is played is all that decides what comes next, so that true values have no error on any
    path, whoever played it, and the trace does not move what is converged to; it takes a bar's reward to the bar's
    first step in one pass.

    Args:
        at_chosen: of the target network, the value of what was played.
        of_states: likewise, what the state before each step is worth.
        paid: after each step, in nats; for psi and q with log p of the reference in it.
        discount: of each step.
        trace: from 0, the backup of one step, to 1.

    Source: Harutyunyan et al. 2016 for the trace, there of Q.
    """
    follows = F.pad(of_states[:, 1:], (0, 1))
    targets = torch.empty_like(paid)
    error = torch.zeros_like(paid[:, 0])
    for step in range(paid.shape[1] - 1, -1, -1):
        targets[:, step] = paid[:, step] + discount * (follows[:, step] + trace * error)
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

    def add(self, pieces: Mapping[str, Shaped[Tensor, "B ..."]]) -> None:
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

"""Values of actions as pure functions, and the replay from which they are learnt."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from hypermeter.core.errors import HypermeterError


def value_targets(
    action_values: Float[Tensor, "B T"],
    state_values: Float[Tensor, "B T"],
    paid: Float[Tensor, "B T"],
    trace: float = 0.0,
) -> Float[Tensor, "B T"]:
    """Return the targets for the values of the actions taken. A sequence ends after its last step.

    With a trace a step also takes part in the error d of the value after it: y_t = r_t + v_(t+1) + trace d_(t+1),
    d_t = y_t - values_t. The actions alone decide what comes next, so true values have no error on any path,
    whoever took it, and the trace does not change the fixed point; it brings a bar's reward to the bar's first step in
    one pass.

    Args:
        action_values: of the target network, the value of each action taken.
        state_values: likewise, the value of the state before each step.
        paid: after each step, in nats, with log p of the reference.
        trace: from 0, the backup of one step, to 1.

    Source: Harutyunyan et al. 2016 for the trace, there of Q.
    """
    next_values = F.pad(state_values[:, 1:], (0, 1))
    targets = torch.empty_like(paid)
    error = torch.zeros_like(paid[:, 0])
    for step in range(paid.shape[1] - 1, -1, -1):
        targets[:, step] = paid[:, step] + (next_values[:, step] + trace * error)
        error = targets[:, step] - action_values[:, step]
    return targets


@torch.no_grad()
def track(target: nn.Module, network: nn.Module, rate: float) -> None:
    """Move the target network towards the network by ``rate`` of the way (Lillicrap et al. 2016)."""
    for old, new in zip(target.parameters(), network.parameters(), strict=True):
        old.lerp_(new, rate)


class Replay:
    """The newest ``capacity`` sequences; all have tensors of the same names and shapes.

    Raises:
        HypermeterError: a capacity below 1.
    """

    def __init__(self, capacity: int):
        if capacity < 1:
            raise HypermeterError(f"replay: capacity is {capacity}, expected at least 1")
        self.capacity, self.added = capacity, 0
        self.columns: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, sequences: Mapping[str, Shaped[Tensor, "B ..."]]) -> None:
        """Store sequences, one a row, in the places of the oldest.

        Raises:
            HypermeterError: other names or shapes than those before.
        """
        if not self.columns:
            self.columns = {name: x.new_empty(self.capacity, *x.shape[1:]) for name, x in sequences.items()}
        shapes = {name: tuple(x.shape[1:]) for name, x in sequences.items()}
        expected = {name: tuple(x.shape[1:]) for name, x in self.columns.items()}
        if shapes != expected:
            raise HypermeterError(f"replay: pieces of {shapes}, expected {expected} as those before")
        rows = len(next(iter(sequences.values())))
        for row in range(rows):
            for name, column in self.columns.items():
                column[(self.added + row) % self.capacity] = sequences[name][row]
        self.added += rows

    def sample(self, rows: int, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Return sequences sampled uniformly, with replacement.

        Raises:
            HypermeterError: the replay is empty.
        """
        if not len(self):
            raise HypermeterError("replay: empty, expected pieces; add some before sampling")
        device = next(iter(self.columns.values())).device
        chosen = torch.randint(len(self), (rows,), generator=generator, device=device)
        return {name: column[chosen] for name, column in self.columns.items()}

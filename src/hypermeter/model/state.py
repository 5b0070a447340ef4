"""What the model gives and what it remembers, as values: ``Prediction`` of whole sequences, ``State`` between steps."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hypermeter.model.encoders import BarMemory, EncoderState
from hypermeter.model.heads import StepDistribution


@dataclass(frozen=True)
class Prediction:
    """What ``forward`` gives; unpacks into ``step_preds, bar_preds, phrase_preds``, probabilities.

    Args:
        step_dist: distribution at positions 0..T; position t is for step t.
        bar_logits: (B, bars, V), position k for the mean pattern of bar k + 1.
        phrase_logits: (B, phrases, V), likewise.
        features: (B, T + 1, hidden), what the distribution of each position was made from.
    """

    step_dist: StepDistribution
    bar_logits: Float[Tensor, "B bars V"]
    phrase_logits: Float[Tensor, "B phrases V"]
    features: Float[Tensor, "B positions hidden"]

    @property
    def step_preds(self) -> Float[Tensor, "B T V"]:
        """Position t is for step t + 1."""
        return self.step_dist[:, 1:].probs

    @property
    def bar_preds(self) -> Float[Tensor, "B bars V"]:
        return self.bar_logits.sigmoid()

    @property
    def phrase_preds(self) -> Float[Tensor, "B phrases V"]:
        return self.phrase_logits.sigmoid()

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.step_preds, self.bar_preds, self.phrase_preds))


@dataclass(frozen=True)
class State:
    """All that the model remembers of each row, as a value: ``step`` gives a new one and leaves the old as it was.

    Args:
        position: steps seen.
        hidden: the step level's output at this position.
        step, bar, phrase: encoder states.
        bar_output, phrase_output: what those levels said last, 0 before the first.
        bar_sums, phrase_sums: gathered since the bar (phrase) began: summed states, then summed patterns.
        history: (B, steps, V), the last steps played, as many as the look-back needs.
        memory: of the bar attention, empty without.
        plan: of all bars, embedded; of size 0 where nothing is asked.
        start: the state before the first step, one row or as many as here, or None in that state itself.
    """

    position: Int[Tensor, " B"]
    hidden: Float[Tensor, "B hidden"]
    step: EncoderState
    bar: EncoderState
    phrase: EncoderState
    bar_output: Float[Tensor, "B bar_hidden"]
    phrase_output: Float[Tensor, "B phrase_hidden"]
    bar_sums: tuple[Tensor, Tensor]
    phrase_sums: tuple[Tensor, Tensor]
    history: Float[Tensor, "B past V"]
    memory: BarMemory
    plan: Float[Tensor, "B bars plan_dim"]
    start: "State | None" = None

    def _parts(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "start"}

    def select(self, rows: Int[Tensor, " N"]) -> "State":
        """The state of the given rows, in that order; a row may come more than once."""
        start = self.start
        if start is not None and len(start.position) > 1:
            start = start.select(rows)
        return State(**{name: _map(part, lambda x: x[rows]) for name, part in self._parts().items()}, start=start)

    def reset(self, mask: Bool[Tensor, " B"]) -> "State":
        """Rows where the mask is true go back to before the first step."""
        if self.start is None:
            return self
        return self.change(mask, **self.start._parts())

    def change(self, mask: Bool[Tensor, " B"], **parts: Any) -> "State":
        """Rows where the mask is true take the given parts; the rest stays."""
        return replace(self, **{name: _where(mask, part, getattr(self, name)) for name, part in parts.items()})

    def detach(self) -> "State":
        start = None if self.start is None else self.start.detach()
        return State(**{name: _map(part, torch.detach) for name, part in self._parts().items()}, start=start)


def _map(value: Any, change) -> Any:
    """``change`` on each tensor of nested tuples."""
    if isinstance(value, tuple):
        return tuple(_map(each, change) for each in value)
    return change(value)


def _where(mask: Bool[Tensor, " B"], chosen: Any, other: Any) -> Any:
    """Rows of nested tuples of tensors: ``chosen`` where the mask is true; either may have one row for all."""
    if isinstance(chosen, tuple):
        return tuple(_where(mask, a, b) for a, b in zip(chosen, other, strict=True))
    return torch.where(mask.view(-1, *[1] * (chosen.dim() - 1)), chosen, other)

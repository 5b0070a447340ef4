"""What the model gives and what it remembers, as values: ``Prediction`` of whole sequences, ``State`` between steps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, overload

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hypermeter.model.encoders import BarMemory, EncoderState
from hypermeter.model.heads import StepDistribution

PARTS = ("step_preds", "bar_preds", "phrase_preds")
"""Of a prediction, in the order in which it unpacks."""


@dataclass(frozen=True)
class Prediction:
    """What ``forward`` gives; like a tuple it unpacks into ``step_preds, bar_preds, phrase_preds``, probabilities, and
    takes an index or a slice.

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

    def __len__(self) -> int:
        return len(PARTS)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self[:])

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Tensor, ...]: ...
    def __getitem__(self, index: int | slice) -> Tensor | tuple[Tensor, ...]:
        names = PARTS[index]
        return getattr(self, names) if isinstance(names, str) else tuple(getattr(self, name) for name in names)


@dataclass(frozen=True)
class State:
    """All that the model remembers of each row, as a value: ``step`` gives a new one and leaves the old as it was.

    Args:
        position: steps seen; -1 before the beginning, when there is not even a distribution of the first step.
        hidden: the step level's output at this position.
        step, bar, phrase: encoder states.
        bar_output, phrase_output: what those levels said last, 0 before the first.
        bar_states, bar_hits: gathered since the bar began: summed states of its steps, and summed hits.
        phrase_states, phrase_hits: gathered since the phrase began: summed states of its bars, and summed hits.
        history: the last steps played, as many as the look-back needs.
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
    bar_states: Float[Tensor, "B hidden"]
    bar_hits: Float[Tensor, "B V"]
    phrase_states: Float[Tensor, "B bar_hidden"]
    phrase_hits: Float[Tensor, "B V"]
    history: Float[Tensor, "B past V"]
    memory: BarMemory
    plan: Float[Tensor, "B bars plan_dim"]
    start: "State | None" = None

    def parts(self) -> dict[str, Any]:
        """All but the start, by name: tensors, and tuples of tensors."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "start"}

    def select(self, rows: Int[Tensor, " N"]) -> "State":
        """The state of the given rows, in that order; a row may come more than once."""
        start = self.start
        if start is not None and len(start.position) > 1:
            start = start.select(rows)
        return State(**{name: map_tensors(lambda x: x[rows], part) for name, part in self.parts().items()}, start=start)

    def reset(self, mask: Bool[Tensor, " B"]) -> "State":
        """Rows where the mask is true go back to before the first step."""
        if self.start is None:
            return self
        return self.change(mask, **self.start.parts())

    def change(self, mask: Bool[Tensor, " B"] | bool, **parts: Any) -> "State":
        """Rows where the mask is true, or all or none, take the given parts; the rest stays."""
        return replace(self, **{name: choose(mask, part, getattr(self, name)) for name, part in parts.items()})

    def detach(self) -> "State":
        start = None if self.start is None else self.start.detach()
        return State(**{name: map_tensors(torch.detach, part) for name, part in self.parts().items()}, start=start)


def map_tensors(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """``change`` on each tensor of nested tuples."""
    if isinstance(value, tuple):
        return tuple(map_tensors(change, part) for part in value)
    return change(value)


def choose(mask: Bool[Tensor, " B"] | bool, chosen: Any, other: Any) -> Any:
    """Rows of nested tuples of tensors: ``chosen`` where the mask is true; either may have one row for all."""
    if isinstance(mask, bool):
        return chosen if mask else other
    if isinstance(other, tuple):
        return tuple(choose(mask, a, b) for a, b in zip(chosen, other, strict=True))
    return torch.where(mask.view(-1, *[1] * (other.dim() - 1)), chosen, other)

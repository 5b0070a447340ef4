"""Values that the model returns: ``Prediction`` of whole sequences, ``State`` between steps."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, overload

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils._pytree import register_pytree_node

from hypermeter.model.encoders import BarMemory, EncoderState
from hypermeter.model.heads import Mixture, SoftmaxWithEscape, StepDistribution


class Probabilities(NamedTuple):
    """What a `Prediction` unpacks into: the probabilities of steps, bars and phrases."""

    step_preds: Float[Tensor, "B T V"]
    bar_preds: Float[Tensor, "B bars V"]
    phrase_preds: Float[Tensor, "B phrases V"]


@dataclass(frozen=True)
class Prediction:
    """Output of ``forward``. It unpacks, like a tuple, into the probabilities ``step_preds, bar_preds, phrase_preds``,
    and takes an index or a slice. It is a pytree of its tensors. ``torch.nn.DataParallel``, which unpacks what it
    gathers, gives `Probabilities` in its place, whose loss is that of independent voices, from step 1 on.

    Args:
        step_dist: distribution at positions 0..T; position t is for step t.
        bar_logits: (B, bars, V), position k for the mean pattern of bar k + 1.
        phrase_logits: (B, phrases, V), likewise.
        features: (B, T + 1, hidden), input of the distribution of each position.
    """

    step_dist: StepDistribution
    bar_logits: Float[Tensor, "B bars V"]
    phrase_logits: Float[Tensor, "B phrases V"]
    features: Float[Tensor, "B positions hidden"]

    def __new__(cls, *values: Any, **fields: Any) -> Any:
        # DataParallel passes an iterable of what it gathered, element by element: those are the probabilities.
        return object.__new__(cls) if len(values) != 1 or fields else Probabilities(*values[0])

    @property
    def step_preds(self) -> Float[Tensor, "B T V"]:
        """Probabilities of hits; position t is for step t + 1."""
        return self.step_dist[:, 1:].probs

    @property
    def bar_preds(self) -> Float[Tensor, "B bars V"]:
        return self.bar_logits.sigmoid()

    @property
    def phrase_preds(self) -> Float[Tensor, "B phrases V"]:
        return self.phrase_logits.sigmoid()

    def __len__(self) -> int:
        return len(Probabilities._fields)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self[:])

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Tensor, ...]: ...
    def __getitem__(self, index: int | slice) -> Tensor | tuple[Tensor, ...]:
        names = Probabilities._fields[index]
        return getattr(self, names) if isinstance(names, str) else tuple(getattr(self, name) for name in names)


def _register(kind: type) -> None:
    """Register a dataclass as a pytree of its fields, but for ``groups``, which are constants."""
    names = [field.name for field in fields(kind) if field.name != "groups"]

    def flatten(value: Any) -> tuple[list[Any], list[list[int]]]:
        return [getattr(value, name) for name in names], [list(group) for group in getattr(value, "groups", ())]

    def unflatten(parts: Iterable[Any], groups: list[list[int]]) -> Any:
        value = object.__new__(kind)  # While torch traces, fields may hold other things than tensors.
        value.__dict__.update(zip(names, parts, strict=True))
        if kind is Mixture:
            value.__dict__["groups"] = tuple((start, stop) for start, stop in groups)
        return value

    register_pytree_node(kind, flatten, unflatten, serialized_type_name=f"{kind.__module__}.{kind.__qualname__}")


for _kind in (Mixture, SoftmaxWithEscape, Prediction):
    _register(_kind)


@dataclass(frozen=True)
class State:
    """State of each row between steps, as a value: ``step`` returns a new one and does not change the old one.

    Args:
        position: number of the next step; -1 before the beginning, when there is no distribution of step 0 yet.
        hidden: the step level's output at this position.
        step, bar, phrase: encoder states.
        bar_output, phrase_output: last outputs of these levels, 0 before the first.
        bar_states, bar_hits: sums of the step level's outputs and of the hits since the bar began.
        phrase_states, phrase_hits: sums of the bar level's outputs and of the hits since the phrase began.
        history: the last steps' hits, as many as the look-back needs.
        memory: of the bar attention, empty without.
        plan: of all bars, embedded; of size 0 without a plan.
        start: the state before the first step, of one row or as many as here; None in that state itself.
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
        """Return all fields but ``start`` by name: tensors, and tuples of tensors."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "start"}

    def map(self, function: Callable[[Tensor], Tensor], start: "State | None") -> "State":
        """Return the state with ``function`` applied to each tensor, and with this ``start``."""
        return State(**{name: map_tensors(function, part) for name, part in self.parts().items()}, start=start)

    def select(self, rows: Int[Tensor, " N"]) -> "State":
        """Return the state of the given rows, in that order; a row may come more than once."""
        start = self.start
        if start is not None and len(start.position) > 1:
            start = start.select(rows)
        return self.map(lambda x: x[rows], start)

    def reset(self, mask: Bool[Tensor, " B"]) -> "State":
        """Return the state in which rows where the mask is true are before the first step again."""
        return self if self.start is None else self.change(mask, **self.start.parts())

    def change(self, mask: Bool[Tensor, " B"] | bool, **parts: Any) -> "State":
        """Return the state whose rows have the given parts where the mask is true; a bool is for all rows."""
        return replace(self, **{name: choose(mask, part, getattr(self, name)) for name, part in parts.items()})


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Return nested tuples of tensors with ``function`` applied to each tensor."""
    return tuple(map_tensors(function, part) for part in value) if isinstance(value, tuple) else function(value)


def choose(mask: Bool[Tensor, " B"] | bool, chosen: Any, other: Any) -> Any:
    """Return nested tuples of tensors, of ``chosen`` where the mask is true; either may have one row for all."""
    if isinstance(mask, bool):
        return chosen if mask else other
    if isinstance(other, tuple):
        return tuple(choose(mask, a, b) for a, b in zip(chosen, other, strict=True))
    return torch.where(mask.view(-1, *[1] * (other.dim() - 1)), chosen, other)

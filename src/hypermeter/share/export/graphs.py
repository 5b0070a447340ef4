"""Exported modules over tensors by name: one step of a model, its plan embedding, and its expression.

The model's step is used as it is. The player keeps the memory of the bar attention, of which the graph takes a column
and returns a new row, and the embedded plan, of which the graph takes the bar of the step.
"""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hypermeter.model.encoders import TransformerEncoder
from hypermeter.model.expression import Expression
from hypermeter.model.heads import Mixture
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.model.plan import Plan, PlanEmbedding
from hypermeter.model.state import State
from hypermeter.play.steering import SETTLED

Named = dict[str, Tensor]
"""Name of a state tensor, as in the graph but without ``state_``, -> value."""

LEVELS = ("step", "bar", "phrase")
KEPT_BY_THE_PLAYER = ("memory", "plan")


class StepGraph(nn.Module):
    """One streaming step: takes the hits of the last step, returns the distribution of the next.

    A state of zeros with position -1 is the start: the hits given with it are ignored, and the distribution is that of
    the first step.
    """

    def __init__(self, model: HierarchicalDrumModel):
        super().__init__()
        self.model = model

    def init_state(self, batch_size: int) -> Named:
        """Return the state before the first step."""
        return self._named(self.model.blank_state(batch_size))

    def forward(
        self,
        x: Float[Tensor, "B W"],
        asked: Float[Tensor, "B plan_dim"] | None,
        memory: Float[Tensor, "B window size"] | None,
        state: Named,
    ) -> Named:
        """Run the step.

        Args:
            x: hits, and notes of tracks, at the state's position.
            asked: embedded plan of the next step's bar; zeros leave it open. None for a model without labels.
            memory: rows of the bar attention at the next step's place in the bar; row r is of the bar whose number is r
                modulo the window. None for a model without bar attention.
            state: before x.

        Returns:
            ``log_weights``, ``logits``, the same with ``free_`` before them where there is ``asked``, ``features``,
            ``remembered`` where there is ``memory``, and ``next_`` of each state tensor.
        """
        model = self.model
        remembered, after = model.cell(x, self._state(state))
        inputs = model.inputs(after, memory)
        free = model.distribution(after, inputs)
        outputs = {} if remembered is None else {"remembered": remembered}
        outputs["features"] = inputs.features
        if asked is None:
            outputs |= _mixture(free)
        else:
            outputs |= _mixture(model.distribution(after, inputs, asked))
            outputs |= {f"free_{name}": tensor for name, tensor in _mixture(free).items()}
        return outputs | {f"next_{name}": tensor for name, tensor in self._named(after).items()}

    def _named(self, state: State) -> Named:
        """Return the tensors of a state by name; those of an encoder are numbered."""
        named: Named = {}
        for name, part in state.parts().items():
            if name in LEVELS:
                named |= {f"{name}_{number}": tensor for number, tensor in enumerate(part[self._has_position(name) :])}
            elif name not in KEPT_BY_THE_PLAYER and part.shape[1:].numel():  # without look-back there is no history
                named[name] = part
        return named

    def _state(self, named: Named) -> State:
        """Return the state that ``_named`` named; the lengths of Transformers' inputs follow from the position."""
        grid, position = self.model.grid, named["position"]
        lengths = (position + 1, position // grid.steps_per_bar, position // grid.steps_per_phrase)
        parts: dict[str, Any] = {"history": named["hidden"][:, None, :0]}  # where the model has none
        parts |= {name: tensor for name, tensor in named.items() if not name[-1].isdigit()}
        for name, length in zip(LEVELS, lengths, strict=True):
            tensors = tuple(tensor for numbered, tensor in named.items() if numbered.rstrip("0123456789") == f"{name}_")
            parts[name] = (length.clamp_min(0), *tensors) if self._has_position(name) else tensors
        return State(**parts, memory=(), plan=named["hidden"][:, None, :0])

    def _has_position(self, level: str) -> bool:
        return isinstance(getattr(self.model, f"{level}_rnn"), TransformerEncoder)


def _mixture(dist: Any) -> Named:
    assert isinstance(dist, Mixture)
    return {"log_weights": dist.log_weights, "logits": dist.logits}


class PlanGraph(nn.Module):
    """The embedding of a plan's bars, and of the last bar SETTLED times more."""

    def __init__(self, embedding: PlanEmbedding):
        super().__init__()
        self.embedding = embedding

    def forward(self, labels: Int[Tensor, "B bars kinds"], numbers: Float[Tensor, "B bars numbers"]) -> Tensor:
        return self.embedding(Plan(*(torch.cat([x, x[:, -1:].expand(-1, SETTLED, -1)], 1) for x in (labels, numbers))))


class ExpressionGraph(nn.Module):
    """One step of expression: takes velocity and offset of the last step, returns the distribution of this one's.

    The first state is zeros, and the step before the first has no hits.
    """

    def __init__(self, expression: Expression):
        super().__init__()
        self.expression = expression

    def forward(
        self,
        features: Float[Tensor, "B hidden"],
        hits: Float[Tensor, "B V"],
        tempo_bpm: Float[Tensor, " B"],
        last_hits: Float[Tensor, "B V"],
        last_velocity: Float[Tensor, "B V"],
        last_offset: Float[Tensor, "B V"],
        state: Named,
    ) -> Named:
        """Run the step; arguments are those of ``Expression``, and an unknown tempo is NaN."""
        head = self.expression
        before = replace(head.init_state(1, tempo_bpm), **state)
        dist, after = head.step(features, hits, head.advance(last_hits, last_velocity, last_offset, before))
        return vars(dist) | {f"next_{name}": getattr(after, name) for name in state}

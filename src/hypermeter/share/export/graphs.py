"""What is exported, as modules over plain tensors by name: one step of a model, its plan, and its expression.

The model's own step is taken as it is. The memory of the bar attention is kept by the player, who gives one of its
columns and is given one new row; the plan is kept by the player too, who gives what is asked of a step's bar.
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
    """One streaming step: hear what was just played, give the distribution of what comes next.

    A state of zeros with position -1 has heard nothing: what is then given as played is not heard, and the
    distribution is that of the first step.
    """

    def __init__(self, model: HierarchicalDrumModel):
        super().__init__()
        self.model = model

    def init_state(self, batch_size: int) -> Named:
        """The state in which nothing was heard."""
        return self._named(self.model.blank_state(batch_size))

    def forward(
        self,
        x: Float[Tensor, "B W"],
        asked: Float[Tensor, "B plan_dim"] | None,
        memory: Float[Tensor, "B window size"] | None,
        state: Named,
    ) -> Named:
        """The step.

        Args:
            x: what was played at the state's position.
            asked: of the bar in which the next step stands; zeros ask nothing. None for a model without labels.
            memory: what was remembered at the next step's place of the bar: row r of the bar whose number is r modulo
                the window. None for a model without bar attention.
            state: before x.

        Returns:
            ``log_weights``, ``logits``, the same with ``free_`` before them where there is ``asked``, ``features``,
            ``remembered`` where there is ``memory``, and ``next_`` of each state tensor.
        """
        model = self.model
        remembered, after = model.cell(x, self._state(state))
        heard = model.hear(after, memory)
        free = model.distribution(after, heard)
        outputs = {} if remembered is None else {"remembered": remembered}
        outputs["features"] = heard.features
        if asked is None:
            outputs |= _mixture(free)
        else:
            outputs |= _mixture(model.distribution(after, heard, asked))
            outputs |= {f"free_{name}": tensor for name, tensor in _mixture(free).items()}
        return outputs | {f"next_{name}": tensor for name, tensor in self._named(after).items()}

    def _named(self, state: State) -> Named:
        """The tensors of a state; those of an encoder are numbered."""
        named: Named = {}
        for name, part in state.parts().items():
            if name in LEVELS:
                named |= {f"{name}_{number}": tensor for number, tensor in enumerate(part[self._has_position(name) :])}
            elif name not in KEPT_BY_THE_PLAYER and part.shape[1:].numel():  # without look-back there is no history
                named[name] = part
        return named

    def _state(self, named: Named) -> State:
        """What ``_named`` named. How much a Transformer has heard the model's position tells."""
        grid, position = self.model.grid, named["position"]
        heard = (position + 1, position // grid.steps_per_bar, position // grid.steps_per_phrase)
        parts: dict[str, Any] = {"history": named["hidden"][:, None, :0]}  # where the model has none
        parts |= {name: tensor for name, tensor in named.items() if not name[-1].isdigit()}
        for name, elements in zip(LEVELS, heard, strict=True):
            own = tuple(tensor for numbered, tensor in named.items() if numbered.rstrip("0123456789") == f"{name}_")
            parts[name] = (elements.clamp_min(0), *own) if self._has_position(name) else own
        return State(**parts, memory=(), plan=named["hidden"][:, None, :0])

    def _has_position(self, level: str) -> bool:
        return isinstance(getattr(self.model, f"{level}_rnn"), TransformerEncoder)


def _mixture(dist: Any) -> Named:
    assert isinstance(dist, Mixture)
    return {"log_weights": dist.log_weights, "logits": dist.logits}


class PlanGraph(nn.Module):
    """A plan's bars and SETTLED more, embedded, for any rows and bars."""

    def __init__(self, embedding: PlanEmbedding):
        super().__init__()
        self.embedding = embedding

    def forward(self, labels: Int[Tensor, "B bars kinds"], numbers: Float[Tensor, "B bars numbers"]) -> Tensor:
        return self.embedding(Plan(*(torch.cat([x, x[:, -1:].expand(-1, SETTLED, -1)], 1) for x in (labels, numbers))))


class ExpressionGraph(nn.Module):
    """One step of expression: hear how the last step was played, give how the hits of this one may be.

    It begins with a state of zeros, and a last step without hits.
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
        """The step; arguments as in ``Expression``, and a tempo that is not known is NaN."""
        own = self.expression
        before = replace(own.init_state(1, tempo_bpm), **state)
        dist, after = own.step(features, hits, own.hear(last_hits, last_velocity, last_offset, before))
        return vars(dist) | {f"next_{name}": getattr(after, name) for name in state}

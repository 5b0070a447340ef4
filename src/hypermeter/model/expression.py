"""Velocity and offset of each hit, given the hits of its step and the expression of the steps before it.

The output is a mixture whose components are shared by the voices of a step and by velocity and offset, so that the kick
and the hat of a step can be late together. In each component a voice has a discretised logistic for its velocity and
one for its offset. Files are quantised, so a density would be unbounded at the grid line and at a pad's velocities.

Source: Salimans et al. 2017, PixelCNN++, for mixtures of discretised logistics.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from hypermeter.core.grid import Grid
from hypermeter.model.articulation import Articulation
from hypermeter.model.encoders import RecurrentEncoder
from hypermeter.model.logistics import bin_log_prob, discounted_sums, scale_of, tempo_inputs
from hypermeter.model.places import with_shared_weights
from hypermeter.play.expressing import MEMORY_BARS, OFFSET, PLACE_BARS, PRIOR_HITS, VELOCITY


@dataclass(frozen=True)
class ExpressionDistribution:
    """Distribution of velocity, in (0, 1], and offset, in [-.5, .5) steps, of a step's hits.

    Args:
        log_weights: of the components, normalised.
        velocity_mean, velocity_scale: of the logistic of each component and voice.
        offset_mean, offset_scale: likewise, in steps.
    """

    log_weights: Float[Tensor, "*B K"]
    velocity_mean: Float[Tensor, "*B K V"]
    velocity_scale: Float[Tensor, "*B K V"]
    offset_mean: Float[Tensor, "*B K V"]
    offset_scale: Float[Tensor, "*B K V"]

    def __getitem__(self, index) -> "ExpressionDistribution":
        """Index the leading axes."""
        return ExpressionDistribution(*(tensor[index] for tensor in vars(self).values()))

    def log_prob(
        self, hits: Float[Tensor, "*B V"], velocity: Float[Tensor, "*B V"], offset: Float[Tensor, "*B V"]
    ) -> Float[Tensor, "*B"]:
        """Return the log probability of a step's velocities and offsets, in nats; 0 without hits.

        Args:
            hits: 0 or 1.
            velocity: in (0, 1], read at hits; NaN is unknown, and marginalised out.
            offset: in [-.5, .5) steps, likewise.
        """
        total = self.log_weights.new_zeros(self.log_weights.shape[:-1].numel(), self.log_weights.shape[-1])
        for bins, value, mean, scale in (
            (VELOCITY, velocity, self.velocity_mean, self.velocity_scale),
            (OFFSET, offset, self.offset_mean, self.offset_scale),
        ):
            is_known = (hits > 0) & ~value.isnan()  # one cell in six, and the only ones that are computed
            mean, scale = (tensor.transpose(-1, -2)[is_known] for tensor in (mean, scale))
            log_probs = bin_log_prob(bins, value[is_known][:, None], mean, scale)
            total = total.index_add(0, is_known.flatten(0, -2).nonzero()[:, 0], log_probs)
        joint = (self.log_weights + total.view_as(self.log_weights)).logsumexp(-1)
        return torch.where((hits > 0).any(-1), joint, 0)


@dataclass(frozen=True)
class ExpressionState:
    """State of ``Expression``, as a value.

    Args:
        hidden: of the recurrent layer.
        sums: hits, velocity and offset of each voice, and of all voices together: of the step before, then summed over
            all steps with each discount of MEMORY_BARS.
        places: the same over earlier bars with each of PLACE_BARS, one for each step of a bar, the next step first.
        tempo: log2 of tempo_bpm / 120, 0 where unknown, and whether it is known.
    """

    hidden: Float[Tensor, "B layers state"]
    sums: Float[Tensor, "B spans kinds"]
    places: Float[Tensor, "B steps place_spans kinds"]
    tempo: Float[Tensor, "B 2"]

    def select(self, rows: Int[Tensor, " N"]) -> "ExpressionState":
        """Return the state of the given rows, in that order."""
        return ExpressionState(*(tensor[rows] for tensor in vars(self).values()))


class Expression(nn.Module):
    """Model of velocity and offset, step after step.

    Its inputs at a step are the drum model's features, the hits of the step, the tempo, and the expression of the steps
    before: of the last one, and averages over MEMORY_BARS and over the same step of earlier bars. The features are
    detached, so that training this output does not change the drum model.

    Strokes of a cell and the openness of the hi-hat are the ``articulation``, a model of its own that is given velocity
    and offset; models that were trained without it have none.

    Args:
        hidden_dim: of the features.
        num_drums: voices V.
        state_dim: of the recurrent layer; the layers around it are twice as wide.
        num_components: of the mixture, K.
        dropout: on inputs of the layers, in [0, 1).
        steps_per_bar: of the grid.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_drums: int,
        state_dim: int = 64,
        num_components: int = 8,
        dropout: float = 0.1,
        steps_per_bar: int = 16,
    ):
        super().__init__()
        self.num_drums, self.num_components, self.steps_per_bar = num_drums, num_components, steps_per_bar
        self.kinds = 3 * (num_drums + 1)
        self.articulation: Articulation | None = None
        spans = 1 + len(MEMORY_BARS) + len(PLACE_BARS)  # the first is the step before
        wide = 2 * state_dim
        self.given = nn.Linear(hidden_dim + num_drums + 2, wide)
        self.heard = nn.Linear(spans * self.kinds, wide, bias=False)
        self.rnn = RecurrentEncoder(wide, state_dim, 1)
        self.inner = nn.Linear(state_dim + wide, wide)
        self.out = nn.Linear(wide, num_components * (1 + 4 * num_drums))
        self.activation, self.drop = nn.GELU("tanh"), nn.Dropout(dropout)
        with torch.no_grad():  # Components start apart.
            self.out.bias.normal_(0, 0.5)
        self.discount: Tensor
        self.register_buffer("discount", _discount(steps_per_bar), persistent=False)
        self.place_discount: Tensor
        self.register_buffer("place_discount", torch.tensor(PLACE_BARS).reciprocal().neg().exp(), persistent=False)

    def forward(
        self,
        features: Float[Tensor, "B T hidden"],
        hits: Float[Tensor, "B T V"],
        velocity: Float[Tensor, "B T V"],
        offset: Float[Tensor, "B T V"],
        tempo_bpm: Float[Tensor, " B"] | None = None,
    ) -> ExpressionDistribution:
        """Return the distribution of each step, given the expression of the steps before it.

        Args:
            features: of the drum model, before each step: ``Prediction.features`` without the last.
            hits: 0 or 1.
            velocity: in (0, 1], read at hits; NaN is unknown, and read as 0.
            offset: in [-.5, .5) steps, likewise.
            tempo_bpm: quarter notes per minute; NaN or None is unknown.
        """
        steps, per_bar = hits.shape[1], self.steps_per_bar
        x = self._kinds(hits, velocity, offset)
        past = F.pad(x, (0, 0, 1, 0))[:, :-1]
        bars = F.pad(x, (0, 0, 0, -steps % per_bar)).unflatten(1, (-1, per_bar))
        by_step = discounted_sums(bars.flatten(2), self.place_discount).unflatten(-1, (per_bar, -1)).transpose(2, 3)
        places = F.pad(by_step, (0, 0, 0, 0, 0, 0, 1, 0))[:, :-1].flatten(1, 2)[:, :steps]
        memory = self._memory(discounted_sums(past, self.discount), places)
        tempo = tempo_inputs(tempo_bpm, len(hits), self.out.weight)
        inputs = self._inputs(features, hits, tempo[:, None].expand(-1, steps, -1))
        x = self.drop(self.activation(inputs + memory))
        return self._distribution(self.rnn(x), x)

    def add_articulation(self, learns_openness: bool = True) -> None:
        """Add a model of strokes and openness, with new weights, if there is none; see ``Articulation``."""
        if self.articulation is None:
            hidden_dim = self.given.in_features - self.num_drums - 2
            added = Articulation(hidden_dim, self.num_drums, learns_openness, dropout=self.drop.p)
            self.articulation = added.to(self.out.weight).train(self.training)

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *options: Any) -> None:
        if f"{prefix}articulation.learns_openness" in state_dict:
            self.add_articulation()
        super()._load_from_state_dict(state_dict, prefix, *options)

    def on(self, grid: Grid) -> "Expression":
        """Return the model on bars of another grid, with the same weights."""
        discount = _discount(grid.steps_per_bar).to(self.discount)
        return with_shared_weights(self, steps_per_bar=grid.steps_per_bar, discount=discount)

    def log_prob(
        self,
        features: Float[Tensor, "B T hidden"],
        hits: Float[Tensor, "B T V"],
        velocity: Float[Tensor, "B T V"],
        offset: Float[Tensor, "B T V"],
        tempo_bpm: Float[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B T"]:
        """Return log p of each step's expression given the steps before, in nats; arguments as in ``forward``."""
        return self(features, hits, velocity, offset, tempo_bpm).log_prob(hits, velocity, offset)

    # ------------------------------------------------------------------ one step at a time

    def init_state(self, batch_size: int, tempo_bpm: Float[Tensor, " B"] | None = None) -> ExpressionState:
        """Return the state before the first step."""
        like, kinds = self.out.weight, self.kinds
        return ExpressionState(
            hidden=self.rnn.init_state(batch_size)[0],
            sums=like.new_zeros(batch_size, len(self.discount), kinds),
            places=like.new_zeros(batch_size, self.steps_per_bar, len(self.place_discount), kinds),
            tempo=tempo_inputs(tempo_bpm, batch_size, self.out.weight),
        )

    def step(
        self, features: Float[Tensor, "B hidden"], hits: Float[Tensor, "B V"], state: ExpressionState
    ) -> tuple[ExpressionDistribution, ExpressionState]:
        """Return the distribution of the next step's expression, and a state for ``advance``.

        Args:
            features: of the drum model before the step, ``model.features(state)``.
            hits: of the step.
            state: before it.
        """
        inputs = self._inputs(features, hits, state.tempo)
        x = self.drop(self.activation(inputs + self._memory(state.sums, state.places[:, 0])))
        output, (hidden,) = self.rnn.step(x, (state.hidden,))
        return self._distribution(output, x), replace(state, hidden=hidden)

    def advance(
        self,
        hits: Float[Tensor, "B V"],
        velocity: Float[Tensor, "B V"],
        offset: Float[Tensor, "B V"],
        state: ExpressionState,
    ) -> ExpressionState:
        """Return the state after a step with this expression."""
        x = self._kinds(hits, velocity, offset)
        sums = state.sums * self.discount[:, None] + x[:, None]
        place = state.places[:, :1] * self.place_discount[:, None] + x[:, None, None]
        return replace(state, sums=sums, places=torch.cat([state.places[:, 1:], place], 1))

    # ------------------------------------------------------------------ shared by both

    def _kinds(self, hits: Tensor, velocity: Tensor, offset: Tensor) -> Float[Tensor, "*B kinds"]:
        """Return hits, velocity and offset, each of all voices and then summed over them; 0 without a hit."""
        is_hit = hits > 0
        x = torch.stack([is_hit.to(self.out.weight.dtype), velocity, offset], -2)
        x = torch.where(is_hit[..., None, :] & ~x.isnan(), x, 0).to(self.out.weight.dtype)
        return torch.cat([x, x.sum(-1, keepdim=True)], -1).flatten(-2)

    def _memory(self, sums: Tensor, places: Tensor) -> Float[Tensor, "*B wide"]:
        """Return a layer of shares and means, from sums of hits, velocity and offset."""
        x = torch.cat([sums, places], -2).unflatten(-1, (3, -1))
        return self.heard((x / (x[..., :1, :] + float(PRIOR_HITS))).flatten(-3))

    def _inputs(self, features: Tensor, hits: Tensor, tempo: Tensor) -> Float[Tensor, "*B wide"]:
        dtype = self.out.weight.dtype
        return self.given(torch.cat([self.drop(features.detach().to(dtype)), hits.to(dtype), tempo], -1))

    def _distribution(self, output: Tensor, x: Tensor) -> ExpressionDistribution:
        inner = self.drop(self.activation(self.inner(torch.cat([output, x], -1))))
        weights, rest = self.out(inner).split([self.num_components, 4 * self.num_components * self.num_drums], -1)
        velocity, velocity_scale, offset, offset_scale = rest.unflatten(
            -1, (4, self.num_components, self.num_drums)
        ).unbind(-3)
        return ExpressionDistribution(
            weights.log_softmax(-1), 0.5 + velocity / 4, scale_of(velocity_scale), offset / 4, scale_of(offset_scale)
        )


def _discount(steps_per_bar: int) -> Float[Tensor, " spans"]:
    """Return what a step is worth at the next, for the step before alone and for each of MEMORY_BARS."""
    return torch.tensor([0.0] + [math.exp(-1 / (bars * steps_per_bar)) for bars in MEMORY_BARS])

"""How hits are played: velocity and microtiming of each, given what the drummer hears and how it has played so far.

A step's hits share one mixture: in each component every voice has a logistic for its velocity and one for its offset,
so that kick and hat of a step can be late together. The logistics are discretised (Salimans et al. 2017, PixelCNN++): MIDI
has 127 velocities, and a density of continuous values would reward the model for finding that. Bins of an offset are
narrower than anyone hears, and the ends of the range take the tails, so that nothing lies outside.

The drum model's features are read and not changed: what is learnt here moves no hit.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hypermeter.grid import HypermeterError

VELOCITIES = 127
"""Bins of a velocity: those of MIDI."""
OFFSET_BINS = 64
"""Of an offset: 2 ms at 120 bpm."""
MEMORIES = (4, 16, 64, 256)
"""Steps over which past offsets and velocities are averaged, exponentially. Drummers drift: their timing is correlated
over many bars, which a recurrent state alone forgets."""
ExpressionState = tuple[Tensor, Tensor]
"""The recurrent memory, and the sums behind the averages: (B, state) and (B, memories, 3)."""


@dataclass(frozen=True)
class ExpressionDistribution:
    """Velocity and offset of the hits of a step.

    Args:
        log_weights: (*B, K), normalised.
        velocity: (*B, K, V, 2), mean and log scale.
        offset: (*B, K, V, 2), likewise, in steps.
    """

    log_weights: Float[Tensor, "*B K"]
    velocity: Float[Tensor, "*B K V 2"]
    offset: Float[Tensor, "*B K V 2"]

    def log_prob(
        self, hits: Float[Tensor, "*B V"], velocity: Float[Tensor, "*B V"], offset: Float[Tensor, "*B V"]
    ) -> Float[Tensor, "*B"]:
        """Nats, summed over the hits; 0 where there is none. What stands at silent voices is not read."""
        is_hit = hits > 0
        velocity_bin = (velocity.nan_to_num() * VELOCITIES).round().clamp(1, VELOCITIES) - 1
        offset_bin = ((offset.nan_to_num() + 0.5) * OFFSET_BINS).floor().clamp(0, OFFSET_BINS - 1)
        of_cells = _log_share(self.velocity, velocity_bin[..., None, :], VELOCITIES, 0.5 / VELOCITIES)
        of_cells = of_cells + _log_share(self.offset, offset_bin[..., None, :], OFFSET_BINS, -0.5)
        per_component = torch.where(is_hit[..., None, :], of_cells, 0).sum(-1)
        return (self.log_weights + per_component).logsumexp(-1)

    def sample(
        self, hits: Float[Tensor, "*B V"], temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "*B V"], Float[Tensor, "*B V"]]:
        """Velocity in (0, 1] and offset in [-.5, .5) of each hit, 0 at silent voices.

        Args:
            hits: of the step.
            temperature: scales the spread of each component; at 0 the likeliest component plays its means.
            generator: of chance.
        """
        weights = self.log_weights.reshape(-1, self.log_weights.shape[-1])
        if temperature > 0:
            chosen = torch.multinomial((weights / temperature).softmax(-1), 1, generator=generator)
        else:
            chosen = weights.argmax(-1, keepdim=True)
        rows = torch.arange(len(weights), device=weights.device)
        drawn = []
        for part in (self.velocity, self.offset):
            mean, log_scale = part.reshape(len(weights), *part.shape[-3:])[rows, chosen[:, 0]].unbind(-1)
            share = torch.rand(mean.shape, generator=generator, device=mean.device).clamp(1e-6, 1 - 1e-6)
            drawn.append((mean + temperature * log_scale.exp() * share.logit()).view(hits.shape))
        return _in_range(hits, *drawn)

    def median(self, hits: Float[Tensor, "*B V"]) -> tuple[Float[Tensor, "*B V"], Float[Tensor, "*B V"]]:
        """The median of each hit's velocity and offset, which has the least absolute error; 0 at silent voices."""
        weights = self.log_weights.exp()[..., None]
        found = []
        for part, low, high in ((self.velocity, 0.0, 1.0), (self.offset, -0.5, 0.5)):
            mean, log_scale = part.unbind(-1)
            below, above = torch.full_like(mean[..., 0, :], low), torch.full_like(mean[..., 0, :], high)
            for _ in range(12):
                middle = (below + above) / 2
                share = (weights * ((middle[..., None, :] - mean) / log_scale.exp()).sigmoid()).sum(-2)
                below, above = torch.where(share < 0.5, middle, below), torch.where(share < 0.5, above, middle)
            found.append((below + above) / 2)
        return _in_range(hits, *found)


def _in_range(hits: Tensor, velocity: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    below_half = 0.5 - 1e-6
    return velocity.clamp(1 / VELOCITIES, 1) * hits, offset.clamp(-0.5, below_half) * hits


def _log_share(logistic: Float[Tensor, "*S 2"], number: Float[Tensor, "*S"], bins: int, low: float) -> Tensor:
    """log of a bin's share of a logistic; the first and the last bin have the tails.

    sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)).
    """
    mean, log_scale = logistic.unbind(-1)
    sharpness = (-log_scale).exp()
    start = low + number / bins
    a, b = (start - mean) * sharpness, (start + 1 / bins - mean) * sharpness
    inner = F.logsigmoid(b) + F.logsigmoid(-a) + torch.log(-torch.expm1(-sharpness / bins))
    return torch.where(number <= 0, F.logsigmoid(b), torch.where(number >= bins - 1, F.logsigmoid(-a), inner))


class Expression(nn.Module):
    """Features and hits of each step, and how the hits before it were played, to an ``ExpressionDistribution``.

    Args:
        hidden_dim: of the drum model's features.
        num_drums: voices.
        state_dim: of the recurrent memory of what was played.
        num_components: of the mixture.
        dropout: of the hidden layer.
    """

    def __init__(
        self, hidden_dim: int, num_drums: int, state_dim: int = 64, num_components: int = 8, dropout: float = 0.1
    ):
        super().__init__()
        self.num_drums, self.num_components = num_drums, num_components
        self.remember = nn.GRU(3 * num_drums, state_dim, batch_first=True)
        inner = 2 * state_dim
        self.given = nn.Linear(hidden_dim + num_drums + 2, inner)
        self.heard = nn.Linear(state_dim + 2 * len(MEMORIES), inner, bias=False)
        self.activation, self.drop = nn.GELU(), nn.Dropout(dropout)
        self.out = nn.Linear(inner, num_components * (1 + 4 * num_drums))
        decay = 1 - 1 / torch.tensor(MEMORIES, dtype=torch.float32)
        self.decay: Tensor
        self.register_buffer("decay", decay, persistent=False)
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            parts = self.out.bias[num_components:].view(num_components, num_drums, 4)
            parts.copy_(torch.tensor([0.5, math.log(0.12), 0.0, math.log(0.08)]))
            parts[..., 0] += torch.linspace(-0.3, 0.3, num_components)[:, None]
            parts[..., 2] += torch.linspace(-0.15, 0.15, num_components)[:, None]

    def forward(
        self,
        features: Float[Tensor, "B T hidden"],
        hits: Float[Tensor, "B T V"],
        velocity: Float[Tensor, "B T V"],
        offset: Float[Tensor, "B T V"],
        tempo_bpm: Float[Tensor, " B"],
    ) -> ExpressionDistribution:
        """The distribution of each step, given how all steps before it were played.

        Args:
            features: ``Prediction.features`` at the steps.
            hits: of the steps.
            velocity, offset: of the hits; NaN, and what stands at silent voices, counts as 0.
            tempo_bpm: NaN where it is unknown.
        """
        played = self._played(hits, velocity, offset)
        memory, _ = self.remember(F.pad(played, (0, 0, 1, 0))[:, :-1])
        means = self._means(F.pad(self._step_means(played), (0, 0, 1, 0))[:, :-1])
        return self._distribution(self._given(features, hits, tempo_bpm[:, None]), memory, means)

    def init_state(self, batch_size: int) -> ExpressionState:
        """Before the first step."""
        like = self.out.weight
        memory = self.remember(like.new_zeros(batch_size, 1, 3 * self.num_drums))[1][0]
        return memory, like.new_zeros(batch_size, len(MEMORIES), 3)

    def predict(
        self,
        features: Float[Tensor, "B hidden"],
        hits: Float[Tensor, "B V"],
        tempo_bpm: Float[Tensor, " B"],
        state: ExpressionState,
    ) -> ExpressionDistribution:
        """The distribution of the next step, whose hits are known."""
        return self._distribution(self._given(features, hits, tempo_bpm), state[0], _ratios(state[1]))

    def advance(
        self,
        hits: Float[Tensor, "B V"],
        velocity: Float[Tensor, "B V"],
        offset: Float[Tensor, "B V"],
        state: ExpressionState,
    ) -> ExpressionState:
        """The state after a step that was played so."""
        memory, sums = state
        played = self._played(hits, velocity, offset)
        memory = self.remember(played[:, None], memory[None].contiguous())[1][0]
        return memory, sums * self.decay[:, None] + self._step_means(played)[:, None]

    def _played(self, hits: Tensor, velocity: Tensor, offset: Tensor) -> Float[Tensor, "*B 3V"]:
        """How a step was played, brought to one order of magnitude."""
        hits = hits.to(self.out.weight.dtype)
        told = [torch.where(hits > 0, each.nan_to_num(), 0).to(hits.dtype) for each in (velocity, offset)]
        return torch.cat([hits, told[0], 4 * told[1]], -1)

    def _step_means(self, played: Float[Tensor, "*B 3V"]) -> Float[Tensor, "*B 3"]:
        """Mean velocity and offset of a step's hits, and 1; zeros where there are none."""
        hits, velocity, offset = played.unflatten(-1, (3, self.num_drums)).unbind(-2)
        count = hits.sum(-1).clamp_min(1)
        return torch.stack([velocity.sum(-1) / count, offset.sum(-1) / count, (hits.sum(-1) > 0).to(hits.dtype)], -1)

    def _means(self, step_means: Float[Tensor, "B T 3"]) -> Float[Tensor, "B T means"]:
        """Exponential averages at each step, the step's own included. One product for each piece of a long sequence."""
        length = 512
        pieces, sums = [], step_means.new_zeros(len(step_means), len(MEMORIES), 3)
        for part in step_means.split(length, 1):
            age = torch.arange(part.shape[1], device=part.device)
            age = age[:, None] - age
            kernel = torch.where(age >= 0, self.decay[:, None, None] ** age.clamp_min(0), 0)
            since = self.decay[:, None] ** (1 + torch.arange(part.shape[1], device=part.device))
            found = torch.einsum("mts,bsv->btmv", kernel, part) + since.T[None, :, :, None] * sums[:, None]
            pieces.append(found)
            sums = found[:, -1]
        return _ratios(torch.cat(pieces, 1))

    def _given(self, features: Tensor, hits: Tensor, tempo_bpm: Tensor) -> Float[Tensor, "*B inner"]:
        is_known = ~tempo_bpm.isnan()
        tempo = torch.where(is_known, (tempo_bpm / 120).log2(), 0)
        both = torch.stack([tempo, is_known.to(tempo.dtype)], -1).to(features.dtype).expand(*features.shape[:-1], 2)
        return self.given(torch.cat([features.detach(), hits.to(features.dtype), both], -1))

    def _distribution(self, given: Tensor, memory: Tensor, means: Tensor) -> ExpressionDistribution:
        hidden = self.drop(self.activation(given + self.heard(torch.cat([memory, means], -1))))
        weights, parts = self.out(hidden).split([self.num_components, 4 * self.num_components * self.num_drums], -1)
        parts = parts.unflatten(-1, (self.num_components, self.num_drums, 2, 2))
        mean, log_scale = parts[..., 0], parts[..., 1].clamp(-6, 1)
        velocity, offset = torch.stack([mean, log_scale], -1).unbind(-2)
        return ExpressionDistribution(weights.log_softmax(-1), velocity, offset)


def _ratios(sums: Float[Tensor, "*B memories 3"]) -> Float[Tensor, "*B means"]:
    """Averages of velocity and offset, drawn to 0 while little has been played."""
    return (sums[..., :2] / (sums[..., 2:] + 0.5)).flatten(-2)


@torch.no_grad()
def perform(
    model: Any,
    hits: Float[Tensor, "B T V"],
    tempo_bpm: float = 120.0,
    *,
    temperature: float = 1.0,
    seed: int = 0,
    plan: Any = None,
) -> tuple[Float[Tensor, "B T V"], Float[Tensor, "B T V"]]:
    """Play hits: their velocities in (0, 1] and offsets in [-.5, .5) steps, 0 at silent voices.

    Args:
        model: a drum model in eval mode with ``expression``.
        hits: of any length; of a model with tracks, all columns.
        tempo_bpm: quarter notes a minute.
        temperature: how much is left to chance: 1 as learnt, 0 nothing.
        seed: the same seed plays in the same way.
        plan: under which the hits were played, or None.

    Raises:
        HypermeterError: a model without expression, or a temperature below 0.
    """
    if getattr(model, "expression", None) is None:
        raise HypermeterError("the model has no expression; teach it with hypermeter train --init it --only expression")
    if not 0 <= temperature < math.inf:
        raise HypermeterError(f"temperature is {temperature}, expected at least 0")
    expression: Expression = model.expression
    drums = hits[..., : expression.num_drums]
    features = model(hits, plan=plan).features[:, :-1]
    tempo = torch.full((len(hits),), float(tempo_bpm), device=hits.device)
    generator = torch.Generator(device=hits.device).manual_seed(seed)
    given = expression._given(features, drums, tempo[:, None])
    state, velocity, offset = expression.init_state(len(hits)), [], []
    for step, now in enumerate(drums.unbind(1)):
        dist = expression._distribution(given[:, step], state[0], _ratios(state[1]))
        played = dist.sample(now, temperature, generator)
        velocity.append(played[0])
        offset.append(played[1])
        state = expression.advance(now, *played, state)
    return torch.stack(velocity, 1), torch.stack(offset, 1)

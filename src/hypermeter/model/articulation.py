"""Strokes of a cell and openness of the hi-hat, given velocity and offset of a step's hits; see `play.articulating`."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from hypermeter.model.logistics import bin_log_prob, discounted_sums, scale_of, tempo_inputs
from hypermeter.play.articulating import (
    BEFORE,
    COUNT,
    GAP,
    GAPS,
    MEMORY_STEPS,
    MOST,
    OPENNESS,
    PEDAL,
    RATIO,
    RATIOS,
    SIZES,
    averages,
    gap_parameters,
    openness_parameters,
    ratio_parameters,
)

FORGETS = 0.8
"""Share of windows of training without the articulations before, so that strokes do not hang on those alone."""


@dataclass(frozen=True)
class ArticulationDistribution:
    """Distribution of the articulation of a step's hits; voices are independent.

    Args:
        numbers: of each voice, those of `SIZES` one after another.
        learns_openness: whether openness counts.
    """

    numbers: Float[Tensor, "*B V size"]
    learns_openness: bool

    def __getitem__(self, index) -> "ArticulationDistribution":
        """Index the leading axes."""
        return ArticulationDistribution(self.numbers[index], self.learns_openness)

    def log_prob(
        self, hits: Float[Tensor, "*B V"], articulation: Float[Tensor, "*B V channels"]
    ) -> Float[Tensor, "*B"]:
        """Return the log probability of a step's articulations, in nats; 0 where nothing is known.

        Args:
            hits: 0 or 1.
            articulation: see `play.articulating`, read at hits; NaN is unknown, and left out.
        """
        total = self.numbers.new_zeros(hits.shape)
        is_hit = hits > 0
        counted = is_hit & ~articulation[..., COUNT].isnan()
        total = total.masked_scatter(counted, self._strokes(self.numbers[counted], articulation[counted]))
        if self.learns_openness:
            known = is_hit & ~articulation[..., OPENNESS].isnan()
            raw = self.numbers[known].split([*SIZES.values()], -1)[-1]
            weights, mean, raw_scale = openness_parameters(raw)
            value = articulation[known][:, OPENNESS, None]
            of_component = weights.log_softmax(-1) + bin_log_prob(PEDAL, value, mean, scale_of(raw_scale))
            openness = torch.zeros_like(total).masked_scatter(known, of_component.logsumexp(-1))
            total = total + openness
        return total.sum(-1)

    @staticmethod
    def _strokes(numbers: Float[Tensor, "N size"], articulation: Float[Tensor, "N channels"]) -> Float[Tensor, " N"]:
        """Return the log probability of the strokes of cells whose number is known."""
        counts, befores, gaps, ratios, _ = numbers.split([*SIZES.values()], -1)
        count = articulation[:, COUNT].long() - 1
        total = counts.log_softmax(-1).gather(1, count[:, None])[:, 0]
        several = count > 0
        more, cell = count[several], articulation[several]
        index = torch.arange(MOST, device=numbers.device)
        before = cell[:, BEFORE].long()
        allowed = befores[several].masked_fill(index > more[:, None], -torch.inf)
        nats = allowed.log_softmax(-1).gather(1, before[:, None])[:, 0]
        further = index[:-1]
        is_there = further < more[:, None]
        mean, raw_scale = (part.gather(1, more[:, None] - 1) for part in gap_parameters(gaps[several]))
        gap = bin_log_prob(GAP, cell[:, GAPS].nan_to_num(), mean, scale_of(raw_scale))
        is_after = (further >= before[:, None]).long()
        mean, raw_scale = (part.gather(1, is_after) for part in ratio_parameters(ratios[several]))
        ratio = bin_log_prob(RATIO, cell[:, RATIOS].nan_to_num(), mean, scale_of(raw_scale))
        nats = nats + torch.where(is_there, gap + ratio, 0).sum(-1)
        return total + torch.zeros_like(total).masked_scatter(several, nats)


@dataclass(frozen=True)
class ArticulationState:
    """State of ``Articulation``, as a value.

    Args:
        sums: hits, further strokes, known openness and openness of each voice and of all together: of the step before,
            then summed with each discount of MEMORY_STEPS.
        tempo: log2 of tempo_bpm / 120, 0 where unknown, and whether it is known.
    """

    sums: Float[Tensor, "B spans 4 voices"]
    tempo: Float[Tensor, "B 2"]

    def select(self, rows: Int[Tensor, " N"]) -> "ArticulationState":
        """Return the state of the given rows, in that order."""
        return ArticulationState(self.sums[rows], self.tempo[rows])


class Articulation(nn.Module):
    """Model of the number, spacing and velocities of the strokes of a cell and of the openness of the hi-hat.

    Its inputs at a step are the drum model's features, which are detached, the hits of the step with their velocity and
    offset, the tempo, and averages over the articulations of the steps before.

    Args:
        hidden_dim: of the features.
        num_drums: voices V.
        learns_openness: whether the openness is learnt; else only strokes are.
        wide: of the layers.
        dropout: on inputs of the layers, in [0, 1).
    """

    def __init__(
        self, hidden_dim: int, num_drums: int, learns_openness: bool = True, wide: int = 64, dropout: float = 0.1
    ):
        super().__init__()
        self.num_drums = num_drums
        self.given = nn.Linear(hidden_dim + 3 * num_drums + 2, wide)
        self.heard = nn.Linear((1 + len(MEMORY_STEPS)) * 4 * (num_drums + 1), wide, bias=False)
        self.inner = nn.Linear(wide, wide)
        self.out = nn.Linear(wide, num_drums * sum(SIZES.values()))
        self.activation, self.drop = nn.GELU("tanh"), nn.Dropout(dropout)
        with torch.no_grad():  # Components start apart, and most cells have one stroke.
            self.out.bias.normal_(0, 0.5)
            self.out.bias.view(num_drums, -1)[:, 0] += 3
        self.learns_openness: Tensor
        self.register_buffer("learns_openness", torch.tensor(float(learns_openness)))
        discount = [0.0, *torch.tensor(MEMORY_STEPS).reciprocal().neg().exp().tolist()]
        self.discount: Tensor
        self.register_buffer("discount", torch.tensor(discount), persistent=False)

    def forward(
        self,
        features: Float[Tensor, "B T hidden"],
        hits: Float[Tensor, "B T V"],
        velocity: Float[Tensor, "B T V"],
        offset: Float[Tensor, "B T V"],
        articulation: Float[Tensor, "B T V channels"],
        tempo_bpm: Float[Tensor, " B"] | None = None,
    ) -> ArticulationDistribution:
        """Return the distribution of each step, given the articulations of the steps before it.

        Args:
            features: of the drum model, before each step: ``Prediction.features`` without the last.
            hits: 0 or 1.
            velocity, offset: of the same steps, read at hits; NaN is unknown, and read as 0.
            articulation: see `play.articulating`.
            tempo_bpm: quarter notes per minute; NaN or None is unknown.
        """
        past = F.pad(self._kinds(hits, articulation).flatten(2), (0, 0, 1, 0))[:, :-1]
        if self.training:  # Its own strokes are fewer than people's at first, and would then stay fewer.
            past = past * (torch.rand(len(past), 1, 1, device=past.device) >= FORGETS)
        sums = discounted_sums(past, self.discount).unflatten(-1, (4, -1))
        tempo = tempo_inputs(tempo_bpm, len(hits), self.out.weight)[:, None].expand(-1, hits.shape[1], -1)
        return self._distribution(features, hits, velocity, offset, tempo, sums)

    def log_prob(
        self,
        features: Float[Tensor, "B T hidden"],
        hits: Float[Tensor, "B T V"],
        velocity: Float[Tensor, "B T V"],
        offset: Float[Tensor, "B T V"],
        articulation: Float[Tensor, "B T V channels"],
        tempo_bpm: Float[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B T"]:
        """Return log p of each step's articulation given the steps before, in nats; arguments as in ``forward``."""
        return self(features, hits, velocity, offset, articulation, tempo_bpm).log_prob(hits, articulation)

    # ------------------------------------------------------------------ one step at a time

    def init_state(self, batch_size: int, tempo_bpm: Float[Tensor, " B"] | None = None) -> ArticulationState:
        """Return the state before the first step."""
        sums = self.out.weight.new_zeros(batch_size, len(self.discount), 4, self.num_drums + 1)
        return ArticulationState(sums, tempo_inputs(tempo_bpm, batch_size, self.out.weight))

    def step(
        self,
        features: Float[Tensor, "B hidden"],
        hits: Float[Tensor, "B V"],
        velocity: Float[Tensor, "B V"],
        offset: Float[Tensor, "B V"],
        state: ArticulationState,
    ) -> ArticulationDistribution:
        """Return the distribution of the next step's articulation; the state after it is that of ``advance``."""
        return self._distribution(features, hits, velocity, offset, state.tempo, state.sums)

    def advance(
        self, hits: Float[Tensor, "B V"], articulation: Float[Tensor, "B V channels"], state: ArticulationState
    ) -> ArticulationState:
        """Return the state after a step with this articulation."""
        x = self._kinds(hits, articulation)
        return ArticulationState(state.sums * self.discount[:, None, None] + x[:, None], state.tempo)

    # ------------------------------------------------------------------ shared by both

    def _kinds(self, hits: Tensor, articulation: Tensor) -> Float[Tensor, "*B 4 voices"]:
        """Return hits, further strokes, known openness and openness, each of all voices and then their sum."""
        count, openness = articulation[..., COUNT] - 1, articulation[..., OPENNESS]
        counted, known = ((hits > 0) & ~values.isnan() for values in (count, openness))
        kinds = [counted, torch.where(counted, count, 0), known, torch.where(known, openness, 0)]
        x = torch.stack([kind.to(self.out.weight.dtype) for kind in kinds], -2)
        return torch.cat([x, x.sum(-1, keepdim=True)], -1)

    def _distribution(
        self, features: Tensor, hits: Tensor, velocity: Tensor, offset: Tensor, tempo: Tensor, sums: Tensor
    ) -> ArticulationDistribution:
        dtype = self.out.weight.dtype
        played = [torch.where((hits > 0) & ~x.isnan(), x, 0).to(dtype) for x in (velocity, offset)]
        given = torch.cat([self.drop(features.detach().to(dtype)), hits.to(dtype), *played, tempo], -1)
        x = self.activation(self.given(given) + self.heard(averages(sums).flatten(-3)))
        raw = self.out(self.drop(self.activation(self.inner(self.drop(x)))))
        return ArticulationDistribution(raw.unflatten(-1, (self.num_drums, -1)), bool(self.learns_openness))

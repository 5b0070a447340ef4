"""Following a rhythm in PyTorch: taps, and how they change the distribution of a step.

A layer that reads in both directions makes a vector of each step of the taps, of which the whole rhythm is known in
advance: it is what the drums are to answer. By these vectors an attention finds earlier steps whose taps were alike,
and what was played there. With the drum model's features they change the scores of the output, as a plan does: the
encoders do not take the taps, so that a model plays without taps as it does without this part.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.model.encoders import RecurrentEncoder
from hypermeter.model.places import with_shared_weights
from hypermeter.play.following import DIMS, HEADS, KEY_DIM, NUM_ASKED, NUM_TOLD, WINDOW, Rhythm


class RhythmTensors(NamedTuple):
    """Taps of B rows, from the first step on; see `play.following.Rhythm`.

    Args:
        steps: is there a tap, its velocity and offset, and whether each of them is known; 0 where there is none.
        asked: of the whole piece: whether each voice answers, whether they are silent between taps, whether this is
            known, log2 of tempo_bpm / 120, and whether the tempo is known.
        length: steps of the taps of each row; after them the drums play freely.
    """

    steps: Float[Tensor, "B T 5"]
    asked: Float[Tensor, "B asked"]
    length: Int[Tensor, " B"]

    @property
    def batch_size(self) -> int:
        return len(self.steps)

    def to(self, device: Any) -> "RhythmTensors":
        return RhythmTensors(*(part.to(device) for part in self))


AnyRhythm = RhythmTensors | Rhythm
"""Taps of tensors or of arrays; models take both."""


def check_rhythm(batch: int, num_drums: int, has_part: bool, taps: AnyRhythm | None) -> RhythmTensors | None:
    """Return the taps of a batch, in tensors, one row for each of its rows.

    Raises:
        HypermeterError: a model that has not learnt to follow, or a shape that does not fit.
    """
    if taps is None:
        return None
    if not has_part:
        raise HypermeterError("model: taps given, but this model has not learnt to follow; train it with --only follow")
    steps, asked, length = (torch.as_tensor(part) for part in taps)
    told, asks = (len(steps), steps.shape[-2], NUM_TOLD), (len(steps), num_drums + NUM_ASKED)
    fits = steps.shape == told and asked.shape == asks and length.shape == asks[:1] and steps.shape[-2] > 0
    if not fits or len(steps) not in (1, batch):
        shapes = ", ".join(str(tuple(part.shape)) for part in (steps, asked, length))
        raise HypermeterError(
            f"model: taps of shapes {shapes}, expected (rows, steps, {NUM_TOLD}), (rows, {num_drums + NUM_ASKED}),"
            f" (rows), of 1 or {batch} rows"
        )
    return RhythmTensors(steps.expand(batch, -1, -1), asked.expand(batch, -1), length.expand(batch))


@dataclass(frozen=True)
class FollowState:
    """State of ``Follow`` between steps, as a value.

    Args:
        encoded: vectors of all steps of the taps.
        hits: what was played at the last WINDOW steps.
        position: number of the next step.
    """

    encoded: Float[Tensor, "B T dim"]
    hits: Float[Tensor, "B window W"]
    position: int


class Follow(nn.Module):
    """Changes of the output distribution's scores by taps; exactly 0 without.

    Args:
        hidden_dim: of the drum model's features.
        position_dim: of the position embedding.
        num_drums: voices.
        width: voices, and columns of tracks.
        scores: inputs of the output distribution.
        num_recalled: recalled patterns of the bar attention, each with a gain.
        steps_per_bar: steps.
        dropout: on the inputs and in the layer, in [0, 1).
    """

    def __init__(
        self,
        hidden_dim: int,
        position_dim: int,
        num_drums: int,
        width: int,
        scores: int,
        num_recalled: int,
        steps_per_bar: int = 16,
        dropout: float = 0.1,
    ):
        super().__init__()
        local, of_way, inner = DIMS
        self.num_drums, self.width, self.steps_per_bar = num_drums, width, steps_per_bar
        self.sizes = [scores, num_recalled]
        self.local = nn.Linear(NUM_TOLD + num_drums + NUM_ASKED + position_dim, local)
        self.ahead, self.behind = (RecurrentEncoder(local, of_way, 2) for _ in range(2))
        dim = local + 2 * of_way
        self.query, self.key = (nn.Linear(dim, HEADS * KEY_DIM) for _ in range(2))
        self.null = nn.Parameter(torch.zeros(HEADS))
        self.place = nn.Parameter(torch.linspace(0, 2, HEADS))
        """Added to the score of a step at the same place of its bar."""
        self.age = nn.Parameter(torch.linspace(-3, 0, HEADS))
        """Log of what is taken off the score for each bar of distance."""
        self.inner = nn.Linear(hidden_dim + num_recalled * width + dim + (HEADS + 1) * width, inner)
        self.out = nn.Linear(inner, scores + num_recalled)
        self.activation, self.drop = nn.GELU("tanh"), nn.Dropout(dropout)
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            self.out.bias.zero_()

    def on(self, grid: Grid) -> "Follow":
        """Return the part on bars of another grid, with the same weights."""
        return with_shared_weights(self, steps_per_bar=grid.steps_per_bar)

    def encode(self, taps: RhythmTensors, positions: Sequence[Float[Tensor, "#B T place"]]) -> Float[Tensor, "B T dim"]:
        """Return a vector of each step of the taps; its last element is 1, and 0 after their end.

        Args:
            taps: checked.
            positions: the position embedding of each of their steps, where the model has one.
        """
        like = self.local.weight
        steps, asked = taps.steps.to(like), taps.asked.to(like)
        rows, length = steps.shape[:2]
        parts = [steps, asked[:, None].expand(-1, length, -1), *(place.expand(rows, -1, -1) for place in positions)]
        x = self.activation(self.local(torch.cat(parts, -1)))
        order = torch.arange(length, device=like.device)
        is_tapped = order < taps.length[:, None].to(like.device)
        turned = torch.where(is_tapped, taps.length[:, None].to(like.device) - 1 - order, order)
        turned = turned[..., None]
        behind = self.behind(x.take_along_dim(turned, 1)).take_along_dim(turned, 1)
        encoded = torch.cat([x, self.ahead(x), behind], -1)
        return torch.cat([encoded, torch.ones_like(encoded[..., :1])], -1) * is_tapped[..., None]

    def forward(
        self,
        features: Float[Tensor, "B positions hidden"],
        recalled: Float[Tensor, "B positions heads W"] | None,
        hits: Float[Tensor, "B T W"],
        encoded: Float[Tensor, "B given dim"],
    ) -> tuple[Float[Tensor, "B positions scores"], Float[Tensor, "B positions recalled"]]:
        """Return what to add to the scores of each step, and the relative gain of each recalled pattern, at least -1.

        Args:
            features: of the drum model at positions 0 to T.
            recalled: hits of its bar attention.
            hits: of the steps.
            encoded: of the taps.
        """
        positions = features.shape[1]
        encoded = F.pad(encoded, (0, 0, 0, max(positions - encoded.shape[1], 0)))[:, :positions]
        order = torch.arange(positions, device=features.device)
        distance = order[:, None] - order
        scores = self._scores(encoded[..., :-1], encoded[..., :-1], distance)
        played = F.pad(hits.to(features.dtype), (0, 0, 0, 1))
        copied = self._copy(scores, played[:, None])
        before = F.pad(hits.to(features.dtype), (0, 0, 1, 0))
        return self._change(features, recalled, encoded, copied.transpose(1, 2), before)

    # ------------------------------------------------------------------ one step at a time

    def init_state(self, taps: RhythmTensors, positions: Sequence[Float[Tensor, "#B T place"]]) -> FollowState:
        """Return the state before the first step; arguments as in ``encode``."""
        encoded = self.encode(taps, positions)
        return FollowState(encoded, encoded.new_zeros(taps.batch_size, WINDOW, self.width), 0)

    def advance(self, x: Float[Tensor, "B W"], state: FollowState) -> FollowState:
        """Return the state after a step of hits."""
        hits = torch.cat([state.hits[:, 1:], x[:, None].to(state.hits)], 1)
        return replace(state, hits=hits, position=state.position + 1)

    def step(
        self,
        features: Float[Tensor, "B hidden"],
        recalled: Float[Tensor, "B heads W"] | None,
        state: FollowState,
    ) -> tuple[Float[Tensor, "B scores"], Float[Tensor, "B recalled"]]:
        """Return what ``forward`` does at the state's position."""
        position, dim = state.position, state.encoded.shape[-1]
        first = max(position - WINDOW, 0)
        keys = state.encoded[:, first:position]
        keys = F.pad(keys, (0, 0, 0, position - first - keys.shape[1]))
        own = state.encoded[:, position : position + 1]
        own = own if own.shape[1] else features.new_zeros(len(features), 1, dim)
        distance = torch.arange(position - first, 0, -1, device=features.device)[None]
        copied = self._copy(
            self._scores(own[..., :-1], keys[..., :-1], distance), state.hits[:, None, WINDOW - (position - first) :]
        )
        return self._change(features, recalled, own[:, 0], copied[:, :, 0], state.hits[:, -1])

    # ------------------------------------------------------------------ shared by both

    def _scores(
        self, encoded: Float[Tensor, "B T dim"], earlier: Float[Tensor, "B S dim"], distance: Int[Tensor, "T S"]
    ) -> Float[Tensor, "B heads T S1"]:
        """Return scores of earlier steps, after that of none of them; -inf for those that are not before the step."""
        query = self.query(encoded).unflatten(-1, (HEADS, KEY_DIM)).transpose(1, 2)
        key = self.key(earlier).unflatten(-1, (HEADS, KEY_DIM)).transpose(1, 2)
        bias = self.place[:, None, None] * (distance % self.steps_per_bar == 0)
        bias = bias - self.age.exp()[:, None, None] * distance / self.steps_per_bar
        bias = bias.masked_fill((distance < 1) | (distance > WINDOW), -math.inf)
        scores = query @ key.transpose(-1, -2) / math.sqrt(KEY_DIM) + bias
        return torch.cat([self.null[:, None, None].expand(*scores.shape[:-1], 1), scores], -1)

    def _copy(
        self, scores: Float[Tensor, "B heads T S1"], played: Float[Tensor, "B any S W"]
    ) -> Float[Tensor, "B heads T W"]:
        return scores.softmax(-1)[..., 1:] @ played

    def _change(
        self,
        features: Float[Tensor, "*B hidden"],
        recalled: Float[Tensor, "*B heads W"] | None,
        encoded: Float[Tensor, "*B dim"],
        copied: Float[Tensor, "*B heads W"],
        before: Float[Tensor, "*B W"],
    ) -> tuple[Float[Tensor, "*B scores"], Float[Tensor, "*B recalled"]]:
        parts = [self.drop(features.detach()), encoded[..., :-1], self.drop(copied.flatten(-2)), before]
        if recalled is not None and self.sizes[1]:
            parts.insert(1, self.drop(recalled.detach().flatten(-2)))
        inner = self.drop(self.activation(self.inner(torch.cat(parts, -1))))
        scores, gain = (self.out(inner) * encoded[..., -1:]).split(self.sizes, -1)
        return scores, gain.clamp_min(-1)

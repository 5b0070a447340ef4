"""Hits played with velocity and microtiming: a model's features, then its expression, one step after another."""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.core.limits import LEAST_TEMPERATURE, MOST_TEMPERATURE, check_seed
from hypermeter.model.expression import ALL_BINS, PRIOR_HITS, Expression, ExpressionDistribution, num_draws

PIECE_BARS = 256
"""Bars of which the drum model makes features at once: its memory grows with the square of their number."""

BEFORE_BARS = 64
"""Bars heard before, where there are more than PIECE_BARS."""


def check_temperature(temperature: float) -> None:
    """Refuses what nothing can be drawn at."""
    if not 0 <= temperature <= MOST_TEMPERATURE:
        raise HypermeterError(f"expression: temperature is {temperature}, expected 0 to {MOST_TEMPERATURE:g}")


@torch.no_grad()
def features_of(model: Any, hits: Float[Tensor, "B T W"]) -> Float[Tensor, "B T hidden"]:
    """``Prediction.features`` before each step, which are the same under any plan.

    Of long pieces, each part is made with BEFORE_BARS heard before it.
    """
    part = PIECE_BARS * model.grid.steps_per_bar
    before = BEFORE_BARS // model.grid.bars_per_phrase * model.grid.steps_per_phrase
    part -= part % model.grid.steps_per_phrase
    rows, found = max(part // max(hits.shape[1], 1), 1), []
    for each in hits.split(rows):
        parts = []
        for start in range(0, max(each.shape[1], 1), part):
            begin = max(start - before, 0)
            made = model(each[:, begin : start + part]).features
            parts.append(made[:, start - begin : -1])
        found.append(torch.cat(parts, 1))
    return torch.cat(found)


@torch.no_grad()
def perform(
    model: Any,
    hits: Float[Tensor, "B T V"],
    tempo_bpm: float | Float[Tensor, " B"],
    *,
    seed: int | None = None,
    temperature: float = 1.0,
    known: tuple[Bool[Tensor, "B T V"], Float[Tensor, "B T V"], Float[Tensor, "B T V"]] | None = None,
) -> tuple[Float[Tensor, "B T V"], Float[Tensor, "B T V"]]:
    """Velocity and offset of all hits, each step drawn after the steps before. Nothing sounds before the first beat.

    Args:
        model: a ``HierarchicalDrumModel`` in eval mode, with an ``Expression`` as its ``expression``.
        hits: 0 or 1; of the voices, or of all columns of a model with tracks.
        tempo_bpm: quarter notes a minute.
        seed: the same seed gives the same performance; None draws one.
        temperature: see ``ExpressionDistribution.sample``; below LEAST_TEMPERATURE it is 0.
        known: which hits are played already, and their velocity and offset, which stay; NaN is not told, and drawn.

    Returns:
        Velocity in (0, 1] and offset in [-.5, .5) steps; both 0 where there is no hit.

    Raises:
        HypermeterError: a model without expression, a temperature below 0 or above MOST_TEMPERATURE.
    """
    expression: Expression | None = getattr(model, "expression", None)
    if expression is None:
        raise HypermeterError("expression: the model plays hits only; use one trained with velocity and offset")
    check_seed(seed)
    check_temperature(temperature)
    temperature = 0 if temperature < LEAST_TEMPERATURE else temperature
    rows, steps, device = len(hits), hits.shape[1], expression.out.weight.device
    hits = F.pad(hits.to(device), (0, model.width - hits.shape[-1]))
    features = features_of(model, hits)
    hits = hits[..., : model.num_drums].float()
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    noise = torch.rand(rows, steps, num_draws(model.num_drums), generator=generator)
    tempo = torch.as_tensor(tempo_bpm, dtype=torch.float32, device=device).expand(rows)
    tempo = expression._tempo(tempo, rows)[:, None].expand(-1, steps, -1)
    given = expression._given(features, hits, tempo).float().cpu().numpy()
    player = _Player(expression, rows)
    told = None
    if known is not None:
        is_known, *values = (each.cpu() for each in known)
        told = [is_known & (hits.cpu() > 0) & ~each.isnan() for each in values]
    hits = hits.cpu()
    is_any, is_open = hits.any(-1).any(0).tolist(), [True] * steps
    if told is not None:
        is_any_known = (told[0] | told[1]).any(-1).any(0).tolist()
        is_open = ((hits > 0) & ~(told[0] & told[1])).any(-1).any(0).tolist()
    played = np.zeros((2, rows, steps, model.num_drums), np.float32)
    for place in range(steps):
        player.listen(given[:, place])
        now = hits[:, place]
        if is_any[place] and is_open[place]:
            if temperature == 0 or (told is not None and is_any_known[place]):
                dist = player.distribution()
                if told is not None:
                    dist = dist.condition(is_known[:, place] & (now > 0), values[0][:, place], values[1][:, place])
                drawn = dist.draw(now, noise[:, place], temperature) if temperature else dist.median(now)
                played[:, :, place] = torch.stack(drawn).numpy()
            else:
                played[:, :, place] = player.draw(now.numpy(), noise[:, place].numpy(), temperature)
            if place == 0:
                played[1, :, 0] = played[1, :, 0].clip(0)
        if told is not None:
            for own, is_told, value in zip(played, told, values, strict=True):
                own[:, place] = np.where(is_told[:, place], value[:, place], own[:, place])
        player.hear(now.numpy(), *played[:, :, place])
    velocity, offset = torch.from_numpy(played).to(device)
    return velocity, offset


class _Player:
    """``Expression.step`` and ``hear`` in numpy, of which a step takes a tenth of the time, in place."""

    def __init__(self, expression: Expression, rows: int):
        self.expression = expression
        weights = {name: each.detach().float().cpu().numpy() for name, each in expression.state_dict().items()}
        self.heard = weights["heard.weight"].T
        self.into, self.back = weights["rnn.rnn.weight_ih_l0"].T, weights["rnn.rnn.weight_hh_l0"].T
        self.into_bias, self.back_bias = weights["rnn.rnn.bias_ih_l0"], weights["rnn.rnn.bias_hh_l0"]
        self.inner, self.inner_bias = weights["inner.weight"].T, weights["inner.bias"]
        components = expression.num_components
        self.weigh, self.weigh_bias = weights["out.weight"][:components].T, weights["out.bias"][:components]
        shape = (4, components, expression.num_drums)
        self.out = weights["out.weight"][components:].reshape(*shape, -1).transpose(1, 3, 0, 2)  # K wide 4 V
        self.out = np.ascontiguousarray(self.out).reshape(components, -1, 4 * expression.num_drums)
        self.out_bias = weights["out.bias"][components:].reshape(shape).transpose(1, 0, 2).reshape(components, -1)
        state = expression.init_state(rows)
        self.hidden = state.hidden[:, 0].float().cpu().numpy()
        self.sums = state.sums.float().cpu().numpy().reshape(rows, -1, 3, expression.num_drums + 1)
        per_bar, spans = state.places.shape[1:3]
        self.places = np.zeros((per_bar, rows, spans, *self.sums.shape[2:]), np.float32)
        self.discount = expression.discount.float().cpu().numpy()[:, None, None]
        self.place_discount = expression.place_discount.float().cpu().numpy()[:, None, None]
        self.place = 0
        self.kinds = np.zeros((rows, 1, *self.sums.shape[2:]), np.float32)

    def listen(self, given: np.ndarray) -> None:
        """Go to the next step; ``given`` is what ``Expression._given`` makes of it, (B, wide)."""
        x = np.concatenate([self.sums, self.places[self.place]], 1)
        x = x / (x[:, :, :1] + np.float32(PRIOR_HITS))
        self.x = _gelu(given + x.reshape(len(x), -1) @ self.heard)
        into, back = self.x @ self.into + self.into_bias, self.hidden @ self.back + self.back_bias
        size = self.hidden.shape[1]
        gates = 0.5 + 0.5 * np.tanh(0.5 * (into[:, : 2 * size] + back[:, : 2 * size]))
        new = np.tanh(into[:, 2 * size :] + gates[:, :size] * back[:, 2 * size :])
        self.hidden = new + gates[:, size:] * (self.hidden - new)

    def distribution(self) -> ExpressionDistribution:
        like = self.expression.out.weight
        dist = self.expression._distribution(*(torch.from_numpy(each).to(like) for each in (self.hidden, self.x)))
        return ExpressionDistribution(*(each.float().cpu() for each in vars(dist).values()))

    def draw(self, hits: np.ndarray, noise: np.ndarray, temperature: float) -> np.ndarray:
        """``ExpressionDistribution.draw``: the component first, so that the others need not be made. (2, B, V)."""
        inner = _gelu(np.concatenate([self.hidden, self.x], 1) @ self.inner + self.inner_bias)
        scores = (inner @ self.weigh + self.weigh_bias) / temperature
        below = np.exp(scores - scores.max(1, keepdims=True)).cumsum(1)
        chosen = (noise[:, :1] * below[:, -1:] >= below[:, :-1]).sum(1)
        raw = (inner[:, None] @ self.out[chosen])[:, 0] + self.out_bias[chosen]
        velocity, velocity_scale, offset, offset_scale = raw.reshape(len(raw), 4, -1).swapaxes(0, 1)
        uniform = noise[:, 1:].clip(1e-6, 1 - 1e-6)
        logistic = (np.log(uniform / (1 - uniform)) * temperature).reshape(len(raw), 2, -1)
        scale = np.exp(3 * np.tanh(np.stack([velocity_scale, offset_scale]) / 3) - 3)
        values = np.stack([0.5 + velocity / 4, offset / 4]) + scale * logistic.swapaxes(0, 1)
        values = np.stack([bins.centre(bins.number(each)) for bins, each in zip(ALL_BINS, values, strict=True)])
        return values * hits

    def hear(self, hits: np.ndarray, velocity: np.ndarray, offset: np.ndarray) -> None:
        kinds = self.kinds[:, 0]
        kinds[:, 0, :-1], kinds[:, 1, :-1], kinds[:, 2, :-1] = hits, velocity, offset
        kinds[:, :, -1] = kinds[:, :, :-1].sum(-1)
        self.sums = self.sums * self.discount + self.kinds
        self.places[self.place] = self.places[self.place] * self.place_discount + self.kinds
        self.place = (self.place + 1) % len(self.places)


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))

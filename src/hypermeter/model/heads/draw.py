"""Draws of one step: as the distribution stands, or at a temperature, or of the likeliest only."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.core.limits import LEAST_TEMPERATURE

LEAST_CHANCE = 1e-13
"""Of a hit; less is none. What is known to be silent has a chance of exp(-60), see ``mixture.CERTAIN``."""


@runtime_checkable
class Drawable(Protocol):
    """What ``sample_tempered`` needs of a distribution."""

    def draw(self, generator: torch.Generator | None = None) -> Tensor: ...

    def candidates(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]: ...


def draw_hits(probs: Float[Tensor, "*S"], generator: torch.Generator | None) -> Float[Tensor, "*S"]:
    """1 with each probability, else 0; never 1 below ``LEAST_CHANCE``, although ``rand`` may be 0 exactly."""
    drawn = torch.rand(probs.shape, generator=generator, device=probs.device).clamp_min(LEAST_CHANCE)
    return (drawn < probs).to(probs.dtype)


def choose(log_weights: Float[Tensor, "*B K"], generator: torch.Generator | None) -> Tensor:
    flat = log_weights.softmax(-1).reshape(-1, log_weights.shape[-1])
    return torch.multinomial(flat, 1, generator=generator).view(log_weights.shape[:-1])


def sample_tempered(
    dist: Drawable, temperature: float, top_p: float, generator: torch.Generator | None
) -> Float[Tensor, "*B V"]:
    """Sample p(x)^(1/temperature) over combinations, cut to the likeliest that hold ``top_p`` of the mass.

    Temperature 0, or less than a millionth, takes the likeliest. Exact up to MOST_ENUMERATED_VOICES voices for the
    mixture.

    Raises:
        HypermeterError: temperature < 0, or top_p outside (0, 1].
    """
    if temperature < 0 or not 0 < top_p <= 1:
        raise HypermeterError(f"temperature {temperature} and top_p {top_p}: expected at least 0, and above 0 to 1")
    if temperature == 1 and top_p == 1:
        return dist.draw(generator)
    combos, log_probs = dist.candidates(generator)
    chosen = choose_tempered(log_probs, temperature, top_p, generator)
    index = chosen[..., None, None].expand(*chosen.shape, 1, combos.shape[-1])
    return combos.gather(-2, index)[..., 0, :]


def choose_tempered(
    log_probs: Float[Tensor, "*B C"], temperature: float, top_p: float, generator: torch.Generator | None
) -> Int[Tensor, "*B"]:
    """One of C outcomes by p^(1/temperature), of the likeliest that hold ``top_p`` of that."""
    if temperature < LEAST_TEMPERATURE:
        return log_probs.argmax(-1)
    log_probs = (log_probs / temperature).log_softmax(-1)
    if top_p < 1:
        ordered, order = log_probs.sort(-1, descending=True)
        before = ordered.exp().cumsum(-1) - ordered.exp()
        cut = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= top_p)
        log_probs = log_probs.masked_fill(cut, -torch.inf)
    return choose(log_probs, generator)

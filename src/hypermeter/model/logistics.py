"""Discretised logistics, and discounted sums over the steps of a piece."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hypermeter.play.bins import Bins

CHUNK = 64
"""Elements in a chunk of discounted sums."""

FAR = 1e4
"""Outer edges of the first and last bin, finite so that there is a gradient."""


def bin_log_prob(bins: Bins, value: Float[Tensor, "*S"], mean: Tensor, scale: Tensor) -> Tensor:
    """Return the log probability of the bins of values, in nats, under logistics of broadcastable shapes.

    The first bin includes everything below it, the last everything above: log(s(b) - s(a)), which is
    log s(b) + log s(-a) + log(1 - exp(a - b)).
    """
    number = (value * bins.per_unit - bins.lowest + 0.5).floor().clamp(0, bins.count - 1)
    centre = (number + bins.lowest) / bins.per_unit
    below = torch.where(number <= 0, -FAR, centre - 0.5 / bins.per_unit)
    above = torch.where(number >= bins.count - 1, FAR, centre + 0.5 / bins.per_unit)
    a, b = (below - mean) / scale, (above - mean) / scale
    return F.logsigmoid(b) + F.logsigmoid(-a) + (-torch.expm1(a - b)).log()


def discounted_sums(
    x: Float[Tensor, "B T kinds"], discount: Float[Tensor, " spans"]
) -> Float[Tensor, "B T spans kinds"]:
    """Return s_t = discount * s_{t-1} + x_t, computed CHUNK elements at a time."""
    carried, parts = x.new_zeros(len(x), len(discount), x.shape[-1]), []
    for chunk in x.split(CHUNK, 1):
        index = torch.arange(chunk.shape[1], device=x.device)
        age = index[:, None] - index
        weights = discount[:, None, None] ** age.clamp_min(0) * (age >= 0)
        earlier = carried[:, None] * (discount ** (index[:, None] + 1))[..., None]
        parts.append(torch.einsum("sij,bjk->bisk", weights, chunk) + earlier)
        carried = parts[-1][:, -1]
    return torch.cat(parts, 1)


def scale_of(raw: Tensor) -> Tensor:
    """Return the scale of a logistic, between .0025 and 1; .05 for 0."""
    return (3 * (raw / 3).tanh() - 3).exp()


def tempo_inputs(tempo_bpm: Float[Tensor, " B"] | None, batch_size: int, like: Tensor) -> Float[Tensor, "B 2"]:
    """Return log2 of tempo_bpm / 120, 0 where it is unknown (NaN or None), and whether it is known."""
    if tempo_bpm is None:
        return like.new_zeros(batch_size, 2)
    tempo = (tempo_bpm.to(like) / 120).log2()
    is_known = ~tempo.isnan()
    return torch.stack([torch.where(is_known, tempo, 0), is_known.to(like.dtype)], -1)

"""Combinations of voices: all of them, those that were played, and which one a step is."""

from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@cache
def combinations(num_drums: int) -> Tensor:
    """All 2**V combinations, (2**V, V)."""
    with torch.inference_mode(False):  # the cache outlives the mode in which it was first asked
        numbers = torch.arange(2**num_drums)
        return (numbers[:, None] >> torch.arange(num_drums) & 1).float()


def known_combinations(hits: Float[Tensor, "*B V"]) -> list[list[int]]:
    """The distinct combinations of voices in ``hits``, for ``SoftmaxHead``."""
    return hits.reshape(-1, hits.shape[-1]).unique(dim=0).int().tolist()


def codes(x: Float[Tensor, "*B V"]) -> Int[Tensor, "*B"]:
    """A number for each combination: a sum of random weights modulo 2**64, the same for two by a chance of 2**-64."""
    weights = torch.randint(-(2**63), 2**63 - 1, x.shape[-1:], generator=torch.Generator().manual_seed(0))
    return (x.long() * weights.to(x.device)).sum(-1)


def find_known(known: Float[Tensor, "C V"], x: Float[Tensor, "*B V"]) -> tuple[Int[Tensor, "*B"], Bool[Tensor, "*B"]]:
    """Which of the known combinations each is, and whether it is one of them at all; otherwise the number is any."""
    known_codes = codes(known)
    order = known_codes.argsort()
    place = torch.searchsorted(known_codes[order], codes(x)).clamp_max(len(known) - 1)
    which = order[place]
    return which, (known[which] == x).all(-1)

"""Combinations of voices, and the index of a step's combination."""

from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@cache
def combinations(num_drums: int) -> Tensor:
    """Return all 2**V combinations, (2**V, V)."""
    with torch.inference_mode(False):  # The cache outlives the mode of the first call.
        numbers = torch.arange(2**num_drums)
        return (numbers[:, None] >> torch.arange(num_drums) & 1).float()


def known_combinations(hits: Float[Tensor, "*B V"]) -> list[list[int]]:
    """Return the distinct combinations of voices in ``hits``, for ``SoftmaxHead``."""
    return hits.reshape(-1, hits.shape[-1]).unique(dim=0).int().tolist()


def codes(x: Float[Tensor, "*B V"]) -> Int[Tensor, "*B"]:
    """Return a hash of each combination: a sum of random weights modulo 2**64."""
    weights = torch.randint(-(2**63), 2**63 - 1, x.shape[-1:], generator=torch.Generator().manual_seed(0))
    return (x.long() * weights.to(x.device)).sum(-1)


def find_known(known: Float[Tensor, "C V"], x: Float[Tensor, "*B V"]) -> tuple[Int[Tensor, "*B"], Bool[Tensor, "*B"]]:
    """Return the index of each combination among the known ones (any, if it is none), and whether it is known."""
    known_codes = codes(known)
    order = known_codes.argsort()
    index = torch.searchsorted(known_codes[order], codes(x)).clamp_max(len(known) - 1)
    which = order[index]
    return which, (known[which] == x).all(-1)

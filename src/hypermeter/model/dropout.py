"""Dropout whose random bits cost less on a CPU."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

LEVELS = 2**16
"""Values of the 16 random bits that decide an element; a probability is rounded to a multiple of 1 / LEVELS."""


def dropout(x: Float[Tensor, "*S"], p: float, training: bool) -> Float[Tensor, "*S"]:
    """Return x with elements set to 0 with probability p and the others divided by 1 - p; x if not ``training``.

    PyTorch draws a number for each element on a CPU. Here one number of 64 bits decides four elements.

    Args:
        x: any shape.
        p: in [0, 1).
        training: whether there is dropout.
    """
    if not training or p == 0 or x.device.type != "cpu":
        return F.dropout(x, p, training)
    kept = max(1, round((1 - p) * LEVELS))
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)  # pyright: ignore[reportArgumentType]
    is_kept = bits.view(torch.int16)[: x.numel()].view(x.shape) < kept - LEVELS // 2
    return x * is_kept.to(x.dtype).mul_(LEVELS / kept)


class Dropout(nn.Dropout):
    """``dropout`` as a module."""

    def forward(self, input: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return dropout(input, self.p, self.training)

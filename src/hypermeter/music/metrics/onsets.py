"""How metrics read hits: as probabilities or as onsets, voice by voice or as one line, whole or bar by bar."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid

Hits = Shaped[Tensor, "*B T V"]
Voices = int | Sequence[int] | None
"""A voice, a group of voices, or None for all: their union is one line of onsets."""


def _tensor(hits: Tensor) -> Tensor:
    if not isinstance(hits, Tensor):
        raise HypermeterError(f"hits: {type(hits).__name__}, expected a tensor; torch.from_numpy(hits)")
    return hits


def as_float(hits: Tensor) -> Tensor:
    hits = _tensor(hits)
    if hits.dtype == torch.bool:
        hits = hits.view(torch.uint8)  # a conversion that runs eight times faster
    return hits if hits.is_floating_point() else hits.float()


def as_binary(hits: Tensor) -> Tensor:
    return hits > 0.5 if _tensor(hits).is_floating_point() else hits.bool()


def is_probabilistic(hits: Tensor) -> bool:
    """Whether there is a value between 0 and 1, or a gradient is wanted."""
    return hits.is_floating_point() and (hits.requires_grad or bool(((hits > 0) & (hits < 1)).any()))


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator / denominator, NaN where the denominator is 0."""
    defined = denominator > 0
    return torch.where(defined, numerator / torch.where(defined, denominator, 1), torch.nan)


def entropy_bits(shares: Float[Tensor, "*B outcomes"]) -> Float[Tensor, "*B"]:
    """Shannon entropy in bits of a distribution."""
    return -(shares * shares.clamp_min(torch.finfo(shares.dtype).tiny).log2()).sum(-1)


def fill_up(x: Tensor, size: int, axis: int) -> Tensor:
    """Zeros after the end of a negative axis, up to a multiple of ``size``; as it is where it has one."""
    extra = -x.shape[axis] % size
    return F.pad(x, (0, 0) * (-1 - axis) + (0, extra)) if extra else x  # to pad by nothing is a copy


def chunk_lengths(steps: int, size: int, device: torch.device | None = None) -> Int[Tensor, " chunks"]:
    """Steps in each chunk of ``size`` steps; the last one has what is left."""
    return (steps - size * torch.arange(-(-steps // size), device=device)).clamp(max=size)


def chunk_sums(x: Shaped[Tensor, "*B T V"], size: int) -> Float[Tensor, "*B chunks V"]:
    """Sums over chunks of ``size`` steps; the last chunk may be short."""
    x = fill_up(as_float(x), size, -2)
    return x.unflatten(-2, (x.shape[-2] // size, size)).sum(-2)


def sums_so_far(x: Shaped[Tensor, "*B T V"], size: int) -> Float[Tensor, "*B positions V"]:
    """At each position 0 to T, the sum over the steps before it in its own chunk of ``size`` steps."""
    chunks = F.pad(as_float(x), (0, 0, 0, size - x.shape[-2] % size)).unflatten(-2, (-1, size))
    return (chunks.cumsum(-2) - chunks).flatten(-3, -2)[..., : x.shape[-2] + 1, :]


def chunk_means(x: Shaped[Tensor, "*B T V"], size: int) -> Float[Tensor, "*B chunks V"]:
    """Means over chunks of ``size`` steps: a bar, a phrase. A short last chunk is a mean over the steps it has."""
    return chunk_sums(x, size) / chunk_lengths(x.shape[-2], size, x.device)[:, None]


def whole_bars(hits: Hits, grid: Grid) -> Shaped[Tensor, "*B bars steps V"]:
    """The bars that are whole; a last one that is short is left out."""
    size = grid.steps_per_bar
    bars = hits.shape[-2] // size
    return hits[..., : bars * size, :].unflatten(-2, (bars, size))


def columns_of(x: Shaped[Tensor, "*B T V"], voices: Voices) -> Shaped[Tensor, "*B T some"]:
    """The columns of the voices.

    Raises:
        HypermeterError: a voice that is not there.
    """
    if voices is None:
        return x
    columns = [voices] if isinstance(voices, int) else list(voices)
    if any(not 0 <= column < x.shape[-1] for column in columns):
        raise HypermeterError(f"voices are {columns}, expected columns from 0 to {x.shape[-1] - 1}")
    return x[..., columns]


def line(hits: Hits, voices: Voices = None) -> Bool[Tensor, "*B T"]:
    """Where at least one of the voices has an onset.

    Raises:
        HypermeterError: a voice that is not there.
    """
    return columns_of(as_binary(hits), voices).any(-1)


def line_bars(hits: Hits, grid: Grid, voices: Voices = None) -> Bool[Tensor, "*B bars steps"]:
    """``line``, cut into whole bars."""
    return whole_bars(line(hits, voices)[..., None], grid)[..., 0]


def latest_before(onsets: Bool[Tensor, "*B T"]) -> Int[Tensor, "*B T"]:
    """At each step, the last step before it that has an onset; -1 where there is none."""
    steps = torch.arange(onsets.shape[-1], device=onsets.device)
    if not onsets.shape[-1]:
        return onsets.long()
    latest = torch.where(onsets, steps, -1).cummax(-1).values
    return F.pad(latest[..., :-1], (1, 0), value=-1)


def mean_of_defined(values: Float[Tensor, "*B N"]) -> Float[Tensor, "*B"]:
    """Mean over the last axis of what is not NaN; NaN where nothing is."""
    defined = ~values.isnan()
    return ratio(torch.where(defined, values, 0).sum(-1), defined.sum(-1).float())

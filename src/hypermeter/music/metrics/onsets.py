"""Forms in which metrics read hits: as floats or booleans, by voice or as one line, by bars or chunks."""

import math
from collections.abc import Sequence

from jaxtyping import Bool, Float, Int, Shaped

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.music.arrays import (
    Array,
    arange,
    cast,
    greatest_so_far,
    is_floating,
    is_numpy,
    join_axes,
    namespace,
    pad,
    split_axis,
    where,
)

Hits = Shaped[Array, "*B T V"]
Voices = int | Sequence[int] | None
"""A voice, a group of voices, or `None` for all. Their union is one line of onsets."""


def as_float(hits: Array) -> Array:
    """Return the hits as floats of any size; other types become float32."""
    xp = namespace(hits)
    if is_floating(hits):
        return hits
    if hits.dtype == xp.bool:
        hits = hits.view(xp.uint8)  # a conversion that runs eight times faster in torch
    return cast(hits, xp.float32)


def as_binary(hits: Array) -> Array:
    """Return whether there is a hit; for probabilities, whether they are above .5."""
    xp = namespace(hits)
    if is_floating(hits):
        return hits > 0.5
    return hits if hits.dtype == xp.bool else cast(hits, xp.bool)


def is_probabilistic(hits: Array) -> bool:
    """Return whether there is a value between 0 and 1, or a gradient is required."""
    if not is_floating(hits):
        return False
    return getattr(hits, "requires_grad", False) or bool(((hits > 0) & (hits < 1)).any())


def ratio(numerator: Array, denominator: Array) -> Array:
    """Return numerator / denominator; NaN where the denominator is 0."""
    defined = denominator > 0
    return where(defined, numerator / where(defined, denominator, 1), math.nan)


def entropy_bits(shares: Float[Array, "*B outcomes"]) -> Float[Array, "*B"]:
    """Return the Shannon entropy in bits of distributions."""
    xp = namespace(shares)
    return -(shares * xp.log2(shares.clip(min=xp.finfo(shares.dtype).tiny))).sum(-1)


def fill_up(x: Array, size: int, axis: int) -> Array:
    """Return `x` with zeros after the end of a negative axis, up to a multiple of `size`."""
    return pad(x, axis, 0, -x.shape[axis] % size)


def chunk_lengths(like: Array, steps: int, size: int) -> Int[Array, " chunks"]:
    """Return the number of steps in each chunk of `size` steps, of which the last may be short."""
    return (steps - size * arange(like, -(-steps // size))).clip(max=size)


def chunk_sums(x: Shaped[Array, "*B T V"], size: int) -> Float[Array, "*B chunks V"]:
    """Return sums over chunks of `size` steps; the last chunk may be short."""
    x = fill_up(as_float(x), size, -2)
    return split_axis(x, -2, (x.shape[-2] // size, size)).sum(-2)


def sums_so_far(x: Shaped[Array, "*B T V"], size: int) -> Float[Array, "*B positions V"]:
    """Return at each position 0 to T the sum over the steps before it within its chunk of `size` steps."""
    padded = pad(as_float(x), -2, 0, size - x.shape[-2] % size)
    chunks = split_axis(padded, -2, (padded.shape[-2] // size, size))
    return join_axes(chunks.cumsum(-2) - chunks, -3)[..., : x.shape[-2] + 1, :]


def chunk_means(x: Shaped[Array, "*B T V"], size: int) -> Float[Array, "*B chunks V"]:
    """Return means over chunks of `size` steps. The mean of a short last chunk is over the steps that it has."""
    sums = chunk_sums(x, size)
    lengths = chunk_lengths(x, x.shape[-2], size)[:, None]
    return sums / (lengths.astype(sums.dtype) if is_numpy(x) else lengths)


def whole_bars(hits: Hits, grid: Grid) -> Shaped[Array, "*B bars steps V"]:
    """Return the bars without a short last one."""
    size = grid.steps_per_bar
    bars = hits.shape[-2] // size
    return split_axis(hits[..., : bars * size, :], -2, (bars, size))


def columns_of(x: Shaped[Array, "*B T V"], voices: Voices) -> Shaped[Array, "*B T some"]:
    """Return the columns of voices.

    Raises:
        HypermeterError: a voice outside [0, V).
    """
    if voices is None:
        return x
    columns = [voices] if isinstance(voices, int) else list(voices)
    if any(not 0 <= column < x.shape[-1] for column in columns):
        raise HypermeterError(f"voices are {columns}, expected columns from 0 to {x.shape[-1] - 1}")
    return x[..., columns] if columns else x[..., :0]


def line(hits: Hits, voices: Voices = None) -> Bool[Array, "*B T"]:
    """Return whether at least one of the voices has an onset.

    Raises:
        HypermeterError: a voice outside [0, V).
    """
    return columns_of(as_binary(hits), voices).any(-1)


def line_bars(hits: Hits, grid: Grid, voices: Voices = None) -> Bool[Array, "*B bars steps"]:
    """Return `line` by bars, without a short last one."""
    return whole_bars(line(hits, voices)[..., None], grid)[..., 0]


def latest_before(onsets: Bool[Array, "*B T"]) -> Int[Array, "*B T"]:
    """Return at each step the last step before it that has an onset; -1 where there is none."""
    xp = namespace(onsets)
    if not onsets.shape[-1]:
        return cast(onsets, xp.int64)
    latest = greatest_so_far(xp.where(onsets, arange(onsets, onsets.shape[-1]), -1))
    return pad(latest[..., :-1], -1, 1, 0, -1)


def mean_of_defined(values: Float[Array, "*B N"]) -> Float[Array, "*B"]:
    """Return the mean over the last axis of the values that are not NaN; NaN if there are none."""
    xp = namespace(values)
    defined = ~xp.isnan(values)
    return ratio(where(defined, values, 0).sum(-1), cast(defined.sum(-1), xp.float32))

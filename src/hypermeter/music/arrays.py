"""What metrics need beyond the array API standard, of NumPy arrays and of torch tensors alike.

Nothing here imports torch: a tensor brings its own functions with it.
"""

import math
from collections.abc import Sequence
from typing import Any

import array_api_compat
import numpy as np

from hypermeter.core.errors import HypermeterError

Array = Any
"""A NumPy array or a torch tensor; annotations tell the shape and the type of its elements."""

_NUMPY = (np.ndarray, np.generic)


def namespace(x: Array) -> Any:
    """The functions of the array API for arrays like ``x``: of NumPy itself, and of array-api-compat for torch.

    Raises:
        HypermeterError: neither an array nor a tensor.
    """
    if is_numpy(x):
        return np
    kind = type(x)
    if kind not in _NAMESPACES:
        try:
            _NAMESPACES[kind] = array_api_compat.array_namespace(x)
        except TypeError as error:
            expected = "a NumPy array or a torch tensor; numpy.asarray(hits)"
            raise HypermeterError(f"hits: {kind.__name__}, expected {expected}") from error
    return _NAMESPACES[kind]


_NAMESPACES: dict[type, Any] = {}  # finding it takes as long as adding up a small tensor


def is_numpy(x: Array) -> bool:
    """Whether ``x`` is an array of NumPy, or the scalar that is left where all axes of one are summed."""
    return isinstance(x, _NUMPY)


def is_floating(x: Array) -> bool:
    return x.dtype.kind == "f" if is_numpy(x) else x.is_floating_point()


def cast(x: Array, dtype: Any) -> Array:
    """The values in another type; as they are where they have it."""
    return x.astype(dtype, copy=False) if is_numpy(x) else x.to(dtype)


def where(condition: Array, x: Array, otherwise: Any) -> Array:
    """``x`` where the condition holds; the namespace's own function takes much longer with a number and a tensor."""
    return np.where(condition, x, otherwise) if is_numpy(x) else x.where(condition, otherwise)


def to_numpy(x: Array) -> np.ndarray:
    """The values as a NumPy array, without their gradient; an array is given back as it is."""
    return np.asarray(x) if is_numpy(x) else x.detach().cpu().numpy()


def as_like(like: Array, values: Any, dtype: str | None = None) -> Array:
    """The values as an array of the kind, and on the device, of ``like``."""
    xp = namespace(like)
    return xp.asarray(values, dtype=dtype and getattr(xp, dtype), **_place(like))


def full(like: Array, shape: Sequence[int], value: float, dtype: Any = None) -> Array:
    """An array of one value, float32 where no type is given, of the kind and on the device of ``like``."""
    xp = namespace(like)
    dtype = xp.float32 if dtype is None else dtype
    return xp.full(tuple(shape), value, dtype=dtype, **_place(like))


def arange(like: Array, *bounds: int) -> Array:
    """Whole numbers, of the kind and on the device of ``like``."""
    return namespace(like).arange(*bounds, **_place(like))


def _place(like: Array) -> dict[str, Any]:
    return {} if is_numpy(like) else {"device": like.device}


def mean(x: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """Mean over axes; NaN, without a warning, where there is nothing on them."""
    if is_numpy(x) and not x.size:
        axes = (axis,) if isinstance(axis, int) else axis
        if not all(x.shape[place] for place in axes):
            return x.sum(axis) * np.float32(math.nan)
    return x.mean(axis)


def split_axis(x: Array, axis: int, sizes: Sequence[int]) -> Array:
    """An axis as several: what ``unflatten`` of torch does."""
    axis %= x.ndim
    return x.reshape((*x.shape[:axis], *sizes, *x.shape[axis + 1 :]))


def split(x: Array, sizes: Sequence[int], axis: int) -> Sequence[Array]:
    """Parts of an axis, one after another, of those sizes."""
    return np.split(x, np.cumsum(sizes[:-1]), axis) if is_numpy(x) else x.split(sizes, axis)


def join_axes(x: Array, axis: int = -2) -> Array:
    """An axis and the next one as one."""
    axis %= x.ndim
    return x.reshape((*x.shape[:axis], x.shape[axis] * x.shape[axis + 1], *x.shape[axis + 2 :]))


def pad(x: Array, axis: int, before: int, after: int, value: float = 0) -> Array:
    """The same value before and after what is on a negative axis; as it is where nothing is added."""
    if not (before or after):
        return x
    if not is_numpy(x):
        return namespace(x).constant_pad_nd(x, (0, 0) * (-1 - axis) + (before, after), value)
    axis %= x.ndim
    shape = (*x.shape[:axis], before + x.shape[axis] + after, *x.shape[axis + 1 :])
    padded = np.full(shape, value, x.dtype)
    padded[(slice(None),) * axis + (slice(before, before + x.shape[axis]),)] = x
    return padded


def greatest_so_far(x: Array) -> Array:
    """Running maximum along the last axis."""
    return np.maximum.accumulate(x, -1) if is_numpy(x) else x.cummax(-1).values


def sums_at(places: Array, values: Array, length: int) -> Array:
    """(length,): at each place the sum of the values that are for it."""
    if is_numpy(places):
        return np.bincount(places, values, length).astype(values.dtype)
    return values.new_zeros(length).scatter_add_(0, places, values)


def counts_of(numbers: Array, size: int, dtype: str = "float32") -> Array:
    """(*B, size): how often each of 0 to ``size`` - 1 comes among the numbers (*B, N)."""
    xp = namespace(numbers)
    shape = (*numbers.shape[:-1], size)
    if is_numpy(numbers):
        rows = np.arange(math.prod(shape[:-1])).reshape((*shape[:-1], 1))
        counts = np.bincount((numbers + size * rows).ravel(), minlength=math.prod(shape))
        return counts.astype(dtype).reshape(shape)
    counts = full(numbers, shape, 0, getattr(xp, dtype))
    return counts.scatter_add_(-1, numbers, xp.ones_like(numbers, dtype=counts.dtype))


def unique_rows(rows: Array) -> tuple[Array, Array, Array]:
    """The different rows (first axis) in ascending order; which of them each row is; how often each comes."""
    if is_numpy(rows):
        found, inverse, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
        return found, inverse.reshape(-1), counts
    return namespace(rows).unique(rows, dim=0, return_inverse=True, return_counts=True)


def sort_descending(x: Array) -> Array:
    """The values of the last axis, the greatest first."""
    return np.sort(x, -1)[..., ::-1] if is_numpy(x) else namespace(x).sort(x, axis=-1, descending=True, stable=False)


def median_of_defined(x: Array) -> Array:
    """Median over the last axis of what is not NaN; NaN where nothing is."""
    xp = namespace(x)
    ordered, count = xp.sort(x, axis=-1), (~xp.isnan(x)).sum(-1)[..., None]
    last = (count - 1).clip(min=0)
    lower, upper = (xp.take_along_axis(ordered, place, axis=-1)[..., 0] for place in (last // 2, last - last // 2))
    return lower + (upper - lower) / 2

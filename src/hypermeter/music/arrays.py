"""Operations of metrics beyond the array API standard, for NumPy arrays and torch tensors alike.

This module does not import torch; it takes functions from the tensors that it is given.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError

Array = Any
"""A NumPy array or a torch tensor; annotations state the shape and the type of its elements."""

_NUMPY = (np.ndarray, np.generic)


def namespace(x: Array) -> Any:
    """Return the functions of the array API for arrays like `x`: NumPy itself, or array-api-compat's for torch.

    Raises:
        HypermeterError: `x` is neither an array nor a tensor.
    """
    kind = type(x)
    if kind in _NAMESPACES:
        return _NAMESPACES[kind]
    if is_numpy(x):
        return np
    import array_api_compat  # here, as only tensors need it

    try:
        return _NAMESPACES.setdefault(kind, array_api_compat.array_namespace(x))
    except TypeError as error:
        expected = "a NumPy array or a torch tensor; numpy.asarray(hits)"
        raise HypermeterError(f"hits: {kind.__name__}, expected {expected}") from error


_NAMESPACES: dict[type, Any] = {np.ndarray: np}  # The lookup of array-api-compat is as slow as a small sum.


def is_numpy(x: Array) -> bool:
    """Return whether `x` is a NumPy array, or a NumPy scalar such as the sum of one."""
    return isinstance(x, _NUMPY)


def is_floating(x: Array) -> bool:
    return x.dtype.kind == "f" if is_numpy(x) else x.is_floating_point()


def cast(x: Array, dtype: Any) -> Array:
    """Return the values in another type: `x` itself where it has that type already."""
    if x.dtype == dtype:
        return x
    return x.astype(dtype) if is_numpy(x) else x.to(dtype)


def where(condition: Array, x: Array, otherwise: Any) -> Array:
    """Return `x` where the condition holds. For a tensor and a number this is faster than the namespace's function."""
    return np.where(condition, x, otherwise) if is_numpy(x) else x.where(condition, otherwise)


def to_numpy(x: Array) -> np.ndarray:
    """Return the values as a NumPy array, without a gradient."""
    return np.asarray(x) if is_numpy(x) else x.detach().cpu().numpy()


def from_numpy(like: Array) -> Callable[[np.ndarray], Array]:
    """Return a function that makes arrays of the library and device of `like`, without a copy where possible."""
    if is_numpy(like):
        return lambda values: values
    convert, device = namespace(like).from_numpy, like.device
    return convert if device.type == "cpu" else lambda values: convert(values).to(device)


def as_like(like: Array, values: Any, dtype: str | None = None) -> Array:
    """Return the values as an array of the library and device of `like`."""
    xp = namespace(like)
    return xp.asarray(values, dtype=dtype and getattr(xp, dtype), **_place(like))


def full(like: Array, shape: Sequence[int], value: float, dtype: Any = None) -> Array:
    """Return an array of one value, by default float32, of the library and device of `like`."""
    xp = namespace(like)
    dtype = xp.float32 if dtype is None else dtype
    return xp.full(tuple(shape), value, dtype=dtype, **_place(like))


def arange(like: Array, *bounds: int) -> Array:
    """Return whole numbers as an array of the library and device of `like`."""
    return namespace(like).arange(*bounds, **_place(like))


def _place(like: Array) -> dict[str, Any]:
    return {} if is_numpy(like) else {"device": like.device}


def mean(x: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """Return the mean over axes; NaN, without a warning, if they are empty."""
    if is_numpy(x) and not x.size:
        axes = (axis,) if isinstance(axis, int) else axis
        if not all(x.shape[axis] for axis in axes):
            return x.sum(axis) * np.float32(math.nan)
    return x.mean(axis)


def split_axis(x: Array, axis: int, sizes: Sequence[int]) -> Array:
    """Return `x` with an axis split into several of these sizes."""
    axis %= x.ndim
    return x.reshape((*x.shape[:axis], *sizes, *x.shape[axis + 1 :]))


def join_axes(x: Array, axis: int = -2) -> Array:
    """Return `x` with an axis and the next one joined."""
    axis %= x.ndim
    return x.reshape((*x.shape[:axis], x.shape[axis] * x.shape[axis + 1], *x.shape[axis + 2 :]))


def pad(x: Array, axis: int, before: int, after: int, value: float = 0) -> Array:
    """Return `x` with a value added before and after a negative axis; `x` itself if nothing is added."""
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
    """Return the running maximum along the last axis."""
    return np.maximum.accumulate(x, -1) if is_numpy(x) else x.cummax(-1).values


def sums_at(indices: Array, values: Array, length: int) -> Array:
    """Return (length,): at each index the sum of its values (N,)."""
    if is_numpy(indices):
        return np.bincount(indices, values, length).astype(values.dtype)
    return values.new_zeros(length).scatter_add_(0, indices, values)


def unique_rows(rows: Array) -> tuple[Array, Array, Array]:
    """Return the unique rows (first axis) in ascending order, the index of each row among them, and their counts."""
    if is_numpy(rows):
        unique, inverse, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
        return unique, inverse.reshape(-1), counts
    return namespace(rows).unique(rows, dim=0, return_inverse=True, return_counts=True)


def median_of_defined(x: Array) -> Array:
    """Return the median over the last axis of the values that are not NaN; NaN if there are none."""
    xp = namespace(x)
    ordered, count = xp.sort(x, axis=-1), (~xp.isnan(x)).sum(-1)[..., None]
    last = (count - 1).clip(min=0)
    lower, upper = (xp.take_along_axis(ordered, index, axis=-1)[..., 0] for index in (last // 2, last - last // 2))
    return lower + (upper - lower) / 2

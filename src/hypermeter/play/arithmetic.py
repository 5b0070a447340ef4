"""Arithmetic over arrays that NumPy lacks, with no overflow and no invalid value for inputs below 1e18 in size."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def constant(value: float) -> Array:
    """Return a number in single precision as an array of no axes, which NumPy takes sooner than a number of its own."""
    return np.array(value, np.float32)


_ERF = tuple(map(constant, (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)))
_ERF_P = constant(0.3275911 / math.sqrt(2))
_HALF, _MINUS_HALF, _ONE = map(constant, (0.5, -0.5, 1))
_TANH_A, _TANH_B = constant(math.sqrt(2 / math.pi)), constant(0.044715 * math.sqrt(2 / math.pi))


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), elementwise."""
    with np.errstate(over="ignore"):  # 1 / inf is 0
        return 1 / (1 + np.exp(-x))


def softplus(x: Array) -> Array:
    """Return log(1 + exp(x)), elementwise."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def logsumexp(x: Array) -> Array:
    """Return log(sum(exp(x))) over the last axis; -inf where all are -inf, inf or NaN where any is."""
    most = np.maximum.reduce(x, -1, keepdims=True)
    is_finite = np.isfinite(most)
    if not is_finite.all():
        return np.where(is_finite[..., 0], logsumexp(np.where(is_finite, x, 0)), most[..., 0])
    return (most + np.log(np.add.reduce(np.exp(x - most), -1, keepdims=True)))[..., 0]


def log_softmax(x: Array) -> Array:
    """Return x less `logsumexp` of it, over the last axis."""
    return x - logsumexp(x)[..., None]


def sigmoid_of_double(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 / (1 + exp(-2 x)), written into x."""
    np.tanh(x, out=x)
    x *= _HALF
    x += _HALF
    return x


def gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return x times the standard normal distribution function of x, within 2e-7 of max(|x|, 1).

    Source: Abramowitz & Stegun 1964, 7.1.26, for the error function.
    """
    size = np.abs(x)
    near = size * _ERF_P
    near += _ONE
    np.reciprocal(near, out=near)
    tail = near * _ERF[0]  # in the end 1 - erf(size / sqrt 2)
    for coefficient in _ERF[1:]:
        tail += coefficient
        tail *= near
    power = size * size
    power *= _MINUS_HALF
    tail *= np.exp(power, out=power)
    tail *= size
    size += x  # twice the positive part
    size -= tail
    size *= _HALF
    return size


def gelu_tanh(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `gelu` in its approximation by the hyperbolic tangent."""
    inner = np.tanh(x * (_TANH_A + _TANH_B * x * x))
    inner += _ONE
    inner *= x
    inner *= _HALF
    return inner


def first_above(weights: Array, uniform: Array) -> NDArray[np.int64]:
    """Return (B,), the first of each row's (B, N) weights whose sum so far is above `uniform` times all of it."""
    sums = np.add.accumulate(weights, -1, np.float64)
    return (sums > uniform[:, None] * sums[:, -1:]).argmax(-1)

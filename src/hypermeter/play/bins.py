"""Discretised logistics: equal bins, and the parameters by which they are drawn."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypermeter.play.arithmetic import sigmoid, softplus

Array = NDArray[np.float64]
Single = NDArray[np.float32]

EDGE = 1e-6
"""Distance that uniform numbers keep from 0 and 1 before their logits are computed."""

PRIOR_HITS = np.float32(0.25)
"""Added to the denominator of an average, the discounted count of hits, which may be 0."""


@dataclass(frozen=True)
class Bins:
    """Equal bins with centres lowest / per_unit, (lowest + 1) / per_unit, ...; the outermost bins are unbounded."""

    lowest: int
    count: int
    per_unit: int

    def nearest(self, value: Array) -> Array:
        """Return the index, from 0, of the bin that holds each value."""
        return np.floor(value * self.per_unit - self.lowest + 0.5).clip(0, self.count - 1)

    def centre(self, number: Array) -> Array:
        """Return the centre of the bin with index `number`."""
        return (number + self.lowest) / self.per_unit

    def log_prob(self, value: Array, mean: Array, scale: Array) -> Array:
        """Return the log probability, (B, K, V) in nats, of the bins of values (B, 1, V) under logistics (B, K, V)."""
        number = self.nearest(value)
        below = np.where(number <= 0, -np.inf, (self.centre(number - 0.5) - mean) / scale)
        above = np.where(number >= self.count - 1, np.inf, (self.centre(number + 0.5) - mean) / scale)
        return -softplus(-above) - softplus(below) + np.log(-np.expm1(below - above))

    def median(self, weights: Array, mean: Array, scale: Array) -> Array:
        """Return the centre of the bin that holds the median of each mixture of logistics, (B, V)."""
        low = np.zeros((len(mean), mean.shape[2]))
        high = np.full_like(low, self.count - 1)
        for _ in range(math.ceil(math.log2(self.count))):
            middle = np.floor((low + high) / 2)
            edge = self.centre(middle + 0.5)[:, None]
            is_enough = (weights[:, :, None] * sigmoid((edge - mean) / scale)).sum(1) >= 0.5
            is_enough |= middle >= self.count - 1
            low, high = np.where(is_enough, low, np.minimum(middle + 1, high)), np.where(is_enough, middle, high)
        return self.centre(high)


def scale_of(raw: Array) -> Array:
    """Return the scale of a logistic, between .0025 and 1; .05 for 0."""
    return np.exp(3 * np.tanh(raw / 3) - 3)


def tempo_inputs(tempo_bpm: Single) -> Single:
    """Return log2 of tempo_bpm / 120, 0 where it is unknown (NaN), and whether it is known, (B, 2)."""
    is_unknown = np.isnan(tempo_bpm)
    return np.stack([np.log2(np.where(is_unknown, 120, tempo_bpm) / 120), ~is_unknown], 1)

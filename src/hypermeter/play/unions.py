"""At least one hit among some voices of a step: its probability, and independent voices that are drawn given it.

The voices of a component are independent, so that the probability of "at least one of the set" is 1 less the product of
the probabilities of silence. Given it, voices are drawn one after another: until one sounds, a voice sounds with its
probability divided by that of "at least one of this and the later voices of the set"; the others are as they are.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.play.arithmetic import softplus

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


def open_cells(known: Bools, values: NDArray[Any], some: Bools) -> Bools:
    """Return the cells (B, W) of which at least one has yet to sound: none where a known hit of the set does.

    Args:
        known: (B, W), whether a cell is known.
        values: (B, W), its value.
        some: (B, W), the set of which at least one cell is a hit; an empty set demands nothing.
    """
    return some & ~known & ~is_answered(known & (values > 0), some)[:, None]


def is_answered(hits: NDArray[Any], some: Bools) -> Bools:
    """Return whether hits (..., W) have one of the set (..., W), or the set is empty."""
    return np.logical_or.reduce((hits > 0) & some, -1) | ~np.logical_or.reduce(some, -1)


def log_some(logits: NDArray[Any], known: Bools, values: NDArray[Any], some: Bools) -> Array:
    """Return log P(at least one hit of the set | known cells) of each component, (B, K), in nats.

    It is 0 where a known hit is of the set, or the set is empty, and -inf where all of the set is known to be silent.

    Args:
        logits: (B, K, W), log odds of hits.
        known, values, some: as in `open_cells`.
    """
    is_open = open_cells(known, values, some)
    total = np.full(logits.shape[:-1], -np.inf)
    for voice in np.flatnonzero(is_open.any(0)):
        of_voice = logits[..., voice].astype(np.float64)
        either = np.logaddexp(-softplus(-of_voice), total - softplus(of_voice))
        total = np.where(is_open[:, voice, None], either, total)
    return np.where(is_answered(known & (values > 0), some)[:, None], 0.0, total)


def draw_some(logits: NDArray[Any], uniforms: Array, is_open: Bools) -> NDArray[np.uint8]:
    """Return hits (B, V) of independent voices, given that at least one of the open ones sounds in each row with any.

    Args:
        logits: (B, V), log odds of hits.
        uniforms: (B, V), in [0, 1).
        is_open: (B, V), from `open_cells`.
    """
    logits = logits.astype(np.float64)
    log_hit, log_rest = -softplus(-logits), -softplus(logits)
    log_later = np.full(len(logits), -np.inf)  # log P(at least one of the open voices from this one on)
    chance = np.exp(log_hit)
    for voice in reversed(range(logits.shape[1])):
        either = np.logaddexp(log_hit[:, voice], log_rest[:, voice] + log_later)
        log_later = np.where(is_open[:, voice], either, log_later)
        with np.errstate(invalid="ignore"):  # where no open voice is to come
            chance[:, voice] = np.where(is_open[:, voice], np.exp(log_hit[:, voice] - log_later), chance[:, voice])
    hits, is_due = uniforms < np.exp(log_hit), is_open.any(-1)
    for voice in range(logits.shape[1]):
        is_next = is_due & is_open[:, voice]
        hits[:, voice] = np.where(is_next, uniforms[:, voice] < chance[:, voice], hits[:, voice])
        is_due &= ~(is_next & hits[:, voice])
    return hits.view(np.uint8)

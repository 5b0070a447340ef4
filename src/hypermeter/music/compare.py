"""Comparing two samples of a quantity: effect size, overlap and divergence."""

import math
from collections.abc import Sequence

import numpy as np

POINTS = 1_000
"""Number of points at which densities are evaluated."""

FLOOR = 0.01
"""Share of each density that is spread uniformly over the points, which bounds the divergence: without it, the tails of
the kernels would dominate."""


def compare(ours: Sequence[float] | np.ndarray, theirs: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Return how two samples of one quantity differ. Values that are NaN or infinite are ignored.

    Returns:
        `n`, `mean` and `sd` of `ours`; `their_n`, `their_mean` and `their_sd`; `cohens_d`; `overlap`, in [0, 1]; and
        `kl`, in nats, at least 0: see `overlap_and_kl`. NaN if a sample has too few values.
    """
    ours, theirs = _finite(ours), _finite(theirs)
    overlap, kl = overlap_and_kl(ours, theirs)
    return {
        "n": len(ours),
        "mean": _mean(ours),
        "sd": _sd(ours),
        "their_n": len(theirs),
        "their_mean": _mean(theirs),
        "their_sd": _sd(theirs),
        "cohens_d": cohens_d(ours, theirs),
        "overlap": overlap,
        "kl": kl,
    }


def cohens_d(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the difference of the means over the pooled standard deviation.

    NaN if a sample has fewer than two values. Without spread, it is 0 for equal means and infinite for others.

    Source: Cohen 1988, equation 2.5.2.
    """
    ours, theirs = _finite(ours), _finite(theirs)
    if min(len(ours), len(theirs)) < 2:
        return math.nan
    difference = float(ours.mean() - theirs.mean())
    freedom = len(ours) + len(theirs) - 2
    spread = math.sqrt(((len(ours) - 1) * ours.var(ddof=1) + (len(theirs) - 1) * theirs.var(ddof=1)) / freedom)
    if spread > 1e-12:
        return difference / spread
    return 0.0 if abs(difference) < 1e-12 else math.copysign(math.inf, difference)


def overlap_and_kl(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """Return the overlapping area of two densities, in [0, 1], and the KL divergence of ours from theirs, in nats.

    The densities are Gaussian kernel estimates with Scott's bandwidth, evaluated and normalised at the same points,
    which span both samples and three bandwidths beyond. For the divergence, FLOOR of each is spread uniformly, so that
    it is at most log(POINTS / FLOOR). A sample without spread gets the bandwidth of the other; for two of them the
    result is (1, 0) if their values are equal, else (0, infinite). NaN if a sample has fewer than two values.

    Source: Yang & Lerch, Neural Computing and Applications 2020. Unlike their code, which evaluates the two densities
    at different points, this evaluates them at the same.
    """
    ours, theirs = _finite(ours), _finite(theirs)
    if min(len(ours), len(theirs)) < 2:
        return math.nan, math.nan
    widths = [_sd(sample) * len(sample) ** -0.2 for sample in (ours, theirs)]
    widest = max(widths)
    if widest < 1e-12:
        same = abs(ours[0] - theirs[0]) < 1e-12
        return (1.0, 0.0) if same else (0.0, math.inf)
    widths = [width if width > 1e-12 else widest for width in widths]
    both = np.concatenate([ours, theirs])
    support = np.linspace(both.min() - 3 * widest, both.max() + 3 * widest, POINTS)
    log_p, log_q = (_log_density(*pair, support) for pair in zip((ours, theirs), widths, strict=True))
    p, q = np.exp(log_p), np.exp(log_q)
    floored_p, floored_q = ((1 - FLOOR) * density + FLOOR / POINTS for density in (p, q))
    kl = (floored_p * np.log(floored_p / floored_q)).sum()
    return float(np.minimum(p, q).sum()), float(max(kl, 0))


def _log_density(sample: np.ndarray, width: float, support: np.ndarray) -> np.ndarray:
    """Return the log of a kernel density estimate, normalised over the points of the support."""
    exponents = -0.5 * ((support[:, None] - sample) / width) ** 2
    highest = exponents.max(1)
    log_density = highest + np.log(np.exp(exponents - highest[:, None]).sum(1))
    return log_density - log_density.max() - np.log(np.exp(log_density - log_density.max()).sum())


def _finite(values: Sequence[float] | np.ndarray) -> np.ndarray:
    values = np.asarray(values, float).ravel()
    return values[np.isfinite(values)]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan

"""Two sets of values side by side: effect size, overlap and divergence, on one support."""

import math
from collections.abc import Sequence

import numpy as np

POINTS = 1_000
"""Of the support, on which densities are integrated."""

FLOOR = 0.01
"""Share of each density that is spread evenly over the support, so that a value which only one side has costs a finite
number of nats: without it the tails of the kernels decide the divergence."""


def compare(ours: Sequence[float] | np.ndarray, theirs: Sequence[float] | np.ndarray) -> dict[str, float]:
    """How two samples of one quantity differ. Values that are NaN or infinite are left out.

    Returns:
        ``n``, ``mean`` and ``sd`` of ours, and ``their_n``, ``their_mean``, ``their_sd``; ``cohens_d``;
        ``overlap``, the overlapping area of the two densities, in [0, 1]; ``kl``, the divergence of ours from theirs
        in nats, at least 0. NaN with fewer than two values on either side.
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
    """Difference of the means over the pooled standard deviation; 0 where both are one and the same value.

    NaN with fewer than two values on either side; infinite where two values differ without any spread.

    Source: Cohen 1988, equation 2.5.2.
    """
    ours, theirs = _finite(ours), _finite(theirs)
    if min(len(ours), len(theirs)) < 2:
        return math.nan
    apart = float(ours.mean() - theirs.mean())
    freedom = len(ours) + len(theirs) - 2
    spread = math.sqrt(((len(ours) - 1) * ours.var(ddof=1) + (len(theirs) - 1) * theirs.var(ddof=1)) / freedom)
    if spread > 1e-12:
        return apart / spread
    return 0.0 if abs(apart) < 1e-12 else math.copysign(math.inf, apart)


def overlap_and_kl(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """Overlapping area, in [0, 1], and KL divergence of ours from theirs, in nats, of two densities.

    The densities are Gaussian kernel estimates (Scott's bandwidth), both evaluated on the same points, which span both
    samples and three bandwidths beyond, and both normalised there. For the divergence, ``FLOOR`` of each is spread over
    the support, so that it is at most log(POINTS / FLOOR). A sample without spread gets the other's bandwidth;
    two of them are the same (1, 0) or have nothing in common (0, infinite). NaN with fewer than two values.

    Source: Yang & Lerch, Neural Computing and Applications 2020, without the fault of their code, which evaluates the
    two densities on different points.
    """
    ours, theirs = _finite(ours), _finite(theirs)
    if min(len(ours), len(theirs)) < 2:
        return math.nan, math.nan
    widths = [_sd(each) * len(each) ** -0.2 for each in (ours, theirs)]
    widest = max(widths)
    if widest < 1e-12:
        same = abs(ours[0] - theirs[0]) < 1e-12
        return (1.0, 0.0) if same else (0.0, math.inf)
    widths = [width if width > 1e-12 else widest for width in widths]
    both = np.concatenate([ours, theirs])
    support = np.linspace(both.min() - 3 * widest, both.max() + 3 * widest, POINTS)
    log_p, log_q = (_log_density(each, width, support) for each, width in zip((ours, theirs), widths, strict=True))
    p, q = np.exp(log_p), np.exp(log_q)
    floored_p, floored_q = ((1 - FLOOR) * each + FLOOR / POINTS for each in (p, q))
    kl = (floored_p * np.log(floored_p / floored_q)).sum()
    return float(np.minimum(p, q).sum()), float(max(kl, 0))


def _log_density(sample: np.ndarray, width: float, support: np.ndarray) -> np.ndarray:
    """Log of a kernel density estimate, normalised over the points of the support."""
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

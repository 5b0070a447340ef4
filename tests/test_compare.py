"""Two samples side by side, against what is known of normal distributions."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from hypermeter.music.compare import FLOOR, POINTS, cohens_d, compare, overlap_and_kl


def normal(mean: float, count: int = 2_000) -> np.ndarray:
    """Quantiles of a normal distribution, so that the sample has its shape without chance."""
    at = (np.arange(count) + 0.5) / count
    return np.array([NormalDist(mean, 1).inv_cdf(quantile) for quantile in at])


@pytest.mark.parametrize("apart", [0.0, 0.5, 1.0, 3.0])
def test_two_normals_overlap_and_diverge_as_the_formulas_say(apart):
    overlap, kl = overlap_and_kl(normal(apart), normal(0))
    # The kernel adds its own variance: 1 + h^2 with Scott's h = n^(-1/5).
    spread = math.sqrt(1 + 2_000**-0.4)
    assert overlap == pytest.approx(math.erfc(apart / spread / 2 / math.sqrt(2)), abs=0.01)
    if apart <= 1:  # further out the floor bounds it
        assert kl == pytest.approx((apart / spread) ** 2 / 2, rel=0.12, abs=0.002)


def test_cohens_d_by_hand():
    # Means 3 and 1, variances 1 and 1 (n - 1), so d = 2.
    assert cohens_d(np.array([2.0, 3.0, 4.0]), np.array([0.0, 1.0, 2.0])) == pytest.approx(2)
    assert cohens_d(np.array([0.0, 1.0, 2.0]), np.array([2.0, 3.0, 4.0])) == pytest.approx(-2)


def test_samples_without_spread_are_the_same_or_have_nothing_in_common():
    same = compare([1.0, 1.0], [1.0, 1.0, 1.0])
    assert (same["cohens_d"], same["overlap"], same["kl"]) == (0, 1, 0)
    apart = compare([1.0, 1.0], [2.0, 2.0])
    assert (apart["cohens_d"], apart["overlap"], apart["kl"]) == (-math.inf, 0, math.inf)


def test_a_single_value_against_a_spread_is_finite():
    comparison = compare([0.0, 0.0, 0.0], normal(0))
    assert 0 < comparison["overlap"] < 1
    assert 0 < comparison["kl"] < math.inf


def test_undefined_values_are_left_out_and_too_few_are_undefined():
    comparison = compare([1.0, math.nan, 2.0, math.inf], [1.0, 2.0])
    assert (comparison["n"], comparison["mean"]) == (2, 1.5)
    assert comparison["overlap"] == pytest.approx(1)
    for few in ([], [1.0], [math.nan, 1.0]):
        undefined = compare(few, [1.0, 2.0])
        assert all(math.isnan(undefined[name]) for name in ("cohens_d", "overlap", "kl"))


def test_the_divergence_is_that_of_ours_from_theirs():
    narrow, wide = normal(0), 1.5 * normal(0)
    assert overlap_and_kl(narrow, wide)[1] == pytest.approx(math.log(1.5) + 1 / 4.5 - 0.5, rel=0.12)
    assert overlap_and_kl(wide, narrow)[1] > 1.3 * overlap_and_kl(narrow, wide)[1]


def test_values_that_only_one_side_has_cost_a_bounded_divergence():
    far = overlap_and_kl(normal(0), 1e-4 * normal(0) + 50)
    assert far[0] == pytest.approx(0, abs=1e-6)
    assert 3 < far[1] < math.log(POINTS / FLOOR)

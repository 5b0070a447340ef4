"""Metrics of probabilities against the mean over samples of hits, and their gradients."""

import math

import pytest
import torch

from hypermeter.core.grid import Grid
from hypermeter.music.metrics import METRICS

GRID = Grid(steps_per_beat=2, beats_per_bar=4)
STEPS, VOICES, SAMPLES = 20, 3, 20_000  # two whole bars and a short one

EXACT = ("density", "step_density", "co_occurrence", "ioi_hist", "groove_consistency")
SOFT = (*EXACT, "syncopation", "transitions", "ioi_mean", "ioi_var")


def probabilities(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(STEPS, VOICES, dtype=dtype) * 0.7 + 0.1


@pytest.fixture(scope="module")
def sampled() -> torch.Tensor:
    probs = probabilities().expand(SAMPLES, STEPS, VOICES)
    return torch.bernoulli(probs, generator=torch.Generator().manual_seed(0)).bool()


def assert_within_standard_errors(actual: torch.Tensor, samples: torch.Tensor) -> None:
    """``samples`` (SAMPLES, ...), of which ``found`` should be the mean."""
    samples = samples.double()
    error = samples.std(0) / math.sqrt(len(samples))
    few = 4 / len(samples)  # what is rare may be in a few samples more or less
    assert ((actual - samples.mean(0)).abs() <= 4 * error + few).all()


def interval_sums(hits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(SAMPLES, V): number, sum and sum of squares of the distances, from the distances themselves."""
    _, voices, steps = hits.transpose(1, 2).nonzero(as_tuple=True)
    samples = hits.transpose(1, 2).nonzero()[:, 0]
    row = samples * VOICES + voices
    is_next = row[1:] == row[:-1]
    row, gaps = row[1:][is_next], (steps[1:] - steps[:-1])[is_next].double()
    sums = torch.zeros(3, len(hits) * VOICES, dtype=torch.float64)
    for power in range(3):
        sums[power].index_add_(0, row, gaps**power)
    return tuple(sums.view(3, len(hits), VOICES))


@pytest.mark.parametrize("name", EXACT)
def test_the_value_is_the_mean_over_samples(name, sampled):
    actual = METRICS[name](probabilities(), GRID)
    samples = METRICS[name](sampled, GRID)
    if name == "ioi_hist":
        samples = samples.nan_to_num(0)  # a sample without a distance has none of each
    assert_within_standard_errors(actual, samples)


def test_syncopation_is_the_share_in_all_samples_together(sampled):
    counts = sampled.double().sum(-1)
    weak = counts[:, [step for step in range(STEPS) if step % 8]].sum(-1)
    share = METRICS["syncopation"](probabilities(), GRID)
    assert_within_standard_errors(torch.tensor(0.0), weak - share * counts.sum(-1))
    mean_of_shares = METRICS["syncopation"](sampled, GRID).nanmean()
    assert share.item() == pytest.approx(mean_of_shares.item(), abs=0.01)


def test_transitions_are_the_shares_in_all_samples_together(sampled):
    hits = sampled.double()
    pairs = hits[:, :-1].transpose(1, 2) @ hits[:, 1:]
    table = METRICS["transitions"](probabilities(), GRID)
    torch.testing.assert_close(table.sum(-1), torch.ones(VOICES, dtype=torch.float64))
    assert_within_standard_errors(torch.tensor(0.0), pairs - table * pairs.sum(-1, keepdim=True))
    torch.testing.assert_close(table.float(), METRICS["transitions"](sampled, GRID).mean(0), atol=0.02, rtol=0)


def test_ioi_mean_and_variance_are_those_of_the_distances_in_all_samples_together(sampled):
    count, total, squares = interval_sums(sampled)
    mean, variance = METRICS["ioi_mean"](probabilities(), GRID), METRICS["ioi_var"](probabilities(), GRID)
    assert_within_standard_errors(torch.tensor(0.0), total - mean * count)
    assert_within_standard_errors(torch.tensor(0.0), squares - 2 * mean * total + (mean**2 - variance) * count)
    torch.testing.assert_close(mean.float(), METRICS["ioi_mean"](sampled, GRID).nanmean(0), atol=0, rtol=0.1)
    # Distances of one sample are alike, so its own variance is less.
    torch.testing.assert_close(variance.float(), METRICS["ioi_var"](sampled, GRID).nanmean(0), atol=0, rtol=0.5)


@pytest.mark.parametrize("name", SOFT)
def test_probabilities_of_0_and_1_are_hits(name):
    torch.manual_seed(2)
    hits = torch.rand(8, 20, 4) < torch.tensor([0.5, 0.2, 0.05, 0])
    expected = METRICS[name](hits, GRID)
    torch.testing.assert_close(METRICS[name](hits.float(), GRID), expected, equal_nan=True)
    wanted = METRICS[name](hits.float().requires_grad_(), GRID).detach()
    torch.testing.assert_close(wanted, expected, equal_nan=True, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name", SOFT)
def test_the_gradient_is_that_of_finite_differences_and_not_zero(name):
    probs = probabilities()[:16].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: METRICS[name](p, GRID), probs)
    (gradient,) = torch.autograd.grad(METRICS[name](probs, GRID).square().sum(), probs)
    assert (gradient.abs() > 1e-9).all()


@pytest.mark.parametrize("name", ["ioi_mean", "ioi_var", "ioi_hist"])
def test_gradients_of_distances_hold_at_certain_hits_and_rests(name):
    # Not gradcheck, which steps outside [0, 1]: one-sided differences from the corners.
    probs = torch.tensor([0, 1, 0.3, 0, 1, 0.6, 1, 0], dtype=torch.float64)[:, None]
    inward = torch.where(probs < 0.5, 1e-6, -1e-6).double()
    probs.requires_grad_()
    total = METRICS[name](probs, GRID).sum()
    (gradient,) = torch.autograd.grad(total, probs)
    for step in range(len(probs)):
        moved = probs.detach().clone()
        moved[step] += inward[step]
        slope = (METRICS[name](moved, GRID).sum() - total) / inward[step]
        torch.testing.assert_close(gradient[step], slope.detach(), atol=1e-4, rtol=1e-4)


def gradient_of(name: str, probs: torch.Tensor, *index) -> torch.Tensor:
    probs = probs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(METRICS[name](probs, GRID)[index].sum(), probs)
    return gradient


def test_more_hits_are_denser_and_closer():
    probs = torch.full((16, 2), 0.3)
    torch.testing.assert_close(gradient_of("density", probs), torch.full((16, 2), 1 / 32))
    torch.testing.assert_close(gradient_of("step_density", probs), torch.full((16, 2), 1 / 2))
    # Two voices sound together with p q on each of 16 steps.
    torch.testing.assert_close(gradient_of("co_occurrence", probs), torch.full((16, 2), 0.3 / 16))
    # A hit inside splits a distance; one at an end may add a long one.
    assert (gradient_of("ioi_mean", probs)[2:-2] < 0).all()
    # Two certain hits with a step between them: a hit there turns a distance of 2 into two of 1.
    three = torch.tensor([1.0, 0.5, 1.0])[:, None]
    assert gradient_of("ioi_hist", three, 0, 0)[1] == pytest.approx(2)
    assert gradient_of("ioi_hist", three, 0, 1)[1] == pytest.approx(-1)
    assert gradient_of("ioi_mean", three)[1] == pytest.approx(-2 / 1.5**2)  # 2 / (1 + p)


def test_variance_of_distances_rises_as_they_become_uneven():
    # Hits at 0, 2 and, almost surely, 4: moving weight to 5 makes distances of 2 and 3.
    probs = torch.tensor([1, 0, 1, 0, 0.9, 0.1])[:, None]
    gradient = gradient_of("ioi_var", probs)
    assert gradient[5] > gradient[4]


def test_weak_hits_syncopate_and_strong_ones_do_not():
    gradient = gradient_of("syncopation", torch.full((16, 2), 0.3))
    assert (gradient[[0, 8]] < 0).all()
    assert (gradient[[step for step in range(16) if step % 8]] > 0).all()


def test_a_likelier_hit_is_followed_more():
    gradient = gradient_of("transitions", torch.full((3, 2), 0.3), 0, 1)
    assert gradient[2, 1] > 0 > gradient[2, 0]


def test_bars_agree_more_where_a_hit_becomes_as_likely_as_in_the_other_bar():
    probs = torch.cat([torch.full((8, 1), 0.9), torch.full((8, 1), 0.2)])
    gradient = gradient_of("groove_consistency", probs)
    torch.testing.assert_close(gradient[8:], torch.full((8, 1), (2 * 0.9 - 1) / 8))
    torch.testing.assert_close(gradient[:8], torch.full((8, 1), (2 * 0.2 - 1) / 8))


@pytest.mark.parametrize("name", SOFT)
@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_the_gradient_is_finite_where_nothing_or_everything_is_certain(name, probability):
    probs = torch.full((16, 2), probability, requires_grad=True)
    METRICS[name](probs, GRID).nan_to_num().sum().backward()
    assert probs.grad.isfinite().all()


@pytest.mark.parametrize("name", SOFT)
def test_a_voice_that_never_plays_leaves_the_gradient_of_the_others_alone(name):
    probs = torch.cat([probabilities()[:16, :2], torch.zeros(16, 1)], 1).requires_grad_()
    METRICS[name](probs, GRID).nan_to_num().square().sum().backward()
    assert probs.grad.isfinite().all()
    assert (probs.grad[:, :2] != 0).any(0).all()

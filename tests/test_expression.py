"""The expression output: proper probabilities, nothing heard too early, one step at a time as all at once."""

import pytest
import torch

from hypermeter.model.expression import Expression, ExpressionDistribution, discounted_sums
from hypermeter.play.expressing import OFFSET, VELOCITY

ROWS, STEPS, VOICES, HIDDEN = 2, 37, 3, 12


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def played(rows=ROWS, steps=STEPS, voices=VOICES):
    """Hits, velocity and offset."""
    hits = (torch.rand(rows, steps, voices) < 0.4).float()
    return hits, hits * (0.05 + 0.9 * torch.rand_like(hits)), hits * (torch.rand_like(hits) - 0.5)


@pytest.fixture
def expression():
    return Expression(HIDDEN, VOICES, 8, 4, 0.0, steps_per_bar=8).eval()


def spread(rows, components=4):
    """A distribution of all kinds of means, some outside the range, and scales."""
    shape = rows, components, VOICES
    means = torch.randn(shape), torch.randn(shape) / 2
    scales = torch.logspace(-2.6, 0, rows)[:, None, None].expand(shape)
    return ExpressionDistribution(torch.randn(rows, components).log_softmax(-1), means[0], scales, means[1], scales)


def repeated(dist, times):
    """Each row so many times."""
    return ExpressionDistribution(*(tensor.repeat_interleave(times, 0) for tensor in vars(dist).values()))


# ---------------------------------------------------------------------- the distribution


@pytest.mark.parametrize("bins", [VELOCITY, OFFSET])
def test_the_bins_of_a_hit_sum_to_one(bins):
    dist, count = spread(6), bins.count
    every = bins.centre(torch.arange(count)).repeat(6)[:, None].expand(-1, VOICES)
    for voice in range(VOICES):
        hits = torch.zeros(6 * count, VOICES)
        hits[:, voice] = 1
        unknown = torch.full_like(every, torch.nan)
        velocity, offset = (every, unknown) if bins is VELOCITY else (unknown, every)
        total = repeated(dist, count).log_prob(hits, velocity, offset).view(6, count).exp().sum(-1)
        assert torch.allclose(total, torch.ones(6), atol=1e-4)


def test_velocity_and_offset_of_all_voices_of_a_step_hang_together():
    """Two components far apart: the log probability of both voices is that of one component, not a product."""
    mean = torch.tensor([-0.25, 0.25])[None, :, None].expand(1, 2, VOICES)
    scale = torch.full((1, 2, VOICES), 0.003)
    dist = ExpressionDistribution(torch.tensor([[0.5, 0.5]]).log(), 0.5 + mean, scale, mean, scale)
    hits = torch.ones(1, VOICES)
    late = dist.log_prob(hits, 0.5 + mean[:, 1], mean[:, 1])
    assert late > torch.tensor(0.5).log() - 6
    mixed = mean[:, 1].clone()
    mixed[:, 0] = -0.25
    assert dist.log_prob(hits, 0.5 + mixed, mixed) < late - 50


def test_silent_cells_are_never_read_and_unknown_values_are_left_out():
    dist, (hits, velocity, offset) = spread(STEPS), (values[0] for values in played())
    nowhere = torch.where(hits > 0, velocity, torch.nan)
    expected = dist.log_prob(hits, velocity, offset)
    assert torch.equal(dist.log_prob(hits, nowhere, torch.where(hits > 0, offset, 99.0)), expected)
    assert (expected[~hits.any(-1)] == 0).all() and (~hits.any(-1)).any()
    unknown = torch.full_like(hits, torch.nan)
    assert dist.log_prob(hits, unknown, unknown).allclose(torch.zeros(STEPS), atol=1e-5)


def test_extreme_values_give_finite_gradients():
    raw = torch.tensor([[[-50.0] * VOICES, [50.0] * VOICES]], requires_grad=True)
    dist = ExpressionDistribution(torch.zeros(1, 2), raw, 0.003 + 0 * raw, raw, 0.003 + 0 * raw)
    dist.log_prob(torch.ones(1, VOICES), torch.ones(1, VOICES), torch.full((1, VOICES), -0.5)).sum().backward()
    assert raw.grad is not None and raw.grad.isfinite().all()


# ---------------------------------------------------------------------- the layers


def test_discounted_sums_are_those_of_a_loop():
    x, discount, total = torch.randn(2, 150, 3), torch.tensor([0.0, 0.5, 0.99]), torch.zeros(2, 3, 3)
    sums = discounted_sums(x, discount)
    for place in range(150):
        total = total * discount[:, None] + x[:, place, None]
        assert torch.allclose(sums[:, place], total, atol=1e-4)


def test_step_equals_forward(expression):
    hits, velocity, offset = played()
    features, tempo = torch.randn(ROWS, STEPS, HIDDEN), torch.tensor([90.0, torch.nan])
    every = expression(features, hits, velocity, offset, tempo)
    state = expression.init_state(ROWS, tempo)
    for place in range(STEPS):
        dist, state = expression.step(features[:, place], hits[:, place], state)
        for one, other in zip(vars(dist).values(), vars(every[:, place]).values(), strict=True):
            assert torch.allclose(one, other, atol=1e-5)
        state = expression.advance(hits[:, place], velocity[:, place], offset[:, place], state)


def test_a_state_can_be_kept_and_its_rows_chosen(expression):
    hits, velocity, offset = played()
    features = torch.randn(ROWS, STEPS, HIDDEN)
    state = expression.init_state(ROWS)
    for place in range(10):
        state = expression.step(features[:, place], hits[:, place], state)[1]
        state = expression.advance(hits[:, place], velocity[:, place], offset[:, place], state)
    both = expression.step(features[:, 10], hits[:, 10], state)[0]
    one = expression.step(features[1:, 10], hits[1:, 10], state.select(torch.tensor([1])))[0]
    again = expression.step(features[:, 10], hits[:, 10], state)[0]
    assert torch.allclose(one.velocity_mean, both.velocity_mean[1:], atol=1e-6)
    assert torch.equal(both.log_weights, again.log_weights)


def test_no_step_depends_on_a_later_one(expression):
    hits, velocity, offset = played()
    features = torch.randn(ROWS, STEPS, HIDDEN)
    inputs = [tensor.clone().requires_grad_() for tensor in (velocity, offset)]
    dist = expression(features, hits, *inputs, torch.full((ROWS,), 100.0))
    for place in (0, 7, 8, 20):
        total = sum(tensor[:, place].sum() for tensor in vars(dist).values())
        for grad in torch.autograd.grad(total, inputs, retain_graph=True):
            assert not grad[:, place:].any()
            assert place == 0 or grad[:, :place].any()


def test_log_prob_of_a_prefix_is_the_prefix_of_log_prob(expression):
    hits, velocity, offset = played()
    features, tempo = torch.randn(ROWS, STEPS, HIDDEN), torch.full((ROWS,), 100.0)
    whole = expression.log_prob(features, hits, velocity, offset, tempo)
    for length in (1, 8, 9, 30):
        part = expression.log_prob(*(tensor[:, :length] for tensor in (features, hits, velocity, offset)), tempo)
        assert torch.allclose(part, whole[:, :length], atol=1e-5)


def test_the_features_get_no_gradient_and_all_weights_do(expression):
    hits, velocity, offset = played()
    features = torch.randn(ROWS, STEPS, HIDDEN, requires_grad=True)
    expression.log_prob(features, hits, velocity, offset, torch.full((ROWS,), 100.0)).sum().backward()
    assert features.grad is None
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in expression.parameters())


def test_unknown_values_are_read_as_zero(expression):
    hits, velocity, offset = played()
    features, unknown = torch.randn(ROWS, STEPS, HIDDEN), torch.full_like(hits, torch.nan)
    one = expression(features, hits, unknown, offset)
    other = expression(features, hits, torch.zeros_like(hits), torch.where(hits > 0, offset, torch.nan))
    assert torch.equal(one.offset_mean, other.offset_mean) and one.log_weights.isfinite().all()
    free, at_120 = (expression(features, hits, velocity, offset, tempo) for tempo in (None, torch.full((ROWS,), 120.0)))
    assert not torch.equal(free.offset_mean, at_120.offset_mean)
    slower = expression(features, hits, velocity, offset, torch.full((ROWS,), 60.0))
    assert not torch.equal(slower.offset_mean, at_120.offset_mean)

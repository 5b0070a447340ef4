"""Dropout by 16 random bits an element."""

import pytest
import torch

from hypermeter.model.dropout import LEVELS, Dropout, dropout


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("p", [0.1, 0.3, 0.9])
def test_elements_are_left_out_with_the_given_probability_and_the_others_scaled(p):
    x = torch.ones(400, 1001)
    out = dropout(x, p, True)
    kept = out != 0
    share = round((1 - p) * LEVELS) / LEVELS
    assert kept.double().mean().item() == pytest.approx(1 - p, abs=4 * (p * (1 - p) / x.numel()) ** 0.5)
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 1 / share))


def test_elements_are_left_out_independently_of_their_neighbours():
    kept = (dropout(torch.ones(400_000), 0.5, True) != 0).double() - 0.5
    for lag in range(1, 9):
        assert abs((kept[lag:] * kept[:-lag]).mean().item()) < 4 * 0.25 / 400_000**0.5


def test_the_gradient_is_that_of_what_was_kept():
    x = torch.randn(7, 3, 5, requires_grad=True)
    out = dropout(x, 0.4, True)
    out.sum().backward()
    torch.testing.assert_close(out, x * x.grad)


def test_a_seed_gives_the_same_elements():
    x = torch.randn(5, 9)
    torch.manual_seed(3)
    first = dropout(x, 0.5, True)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.5, True), first) and not torch.equal(dropout(x, 0.5, True), first)


def test_without_training_or_probability_nothing_is_left_out_nor_drawn():
    x, state = torch.randn(4, 4), torch.get_rng_state()
    assert torch.equal(dropout(x, 0.5, False), x) and torch.equal(dropout(x, 0.0, True), x)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_nearest_to_one_still_keeps_some():
    out = dropout(torch.ones(1000, 1000), 1 - 1e-9, True)
    assert out.isfinite().all() and 0 < (out != 0).sum() < 100

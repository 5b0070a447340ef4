"""Distributions of a step against lists of all that can be played, by their definitions; and against the heads."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from hypermeter.model import heads
from hypermeter.model.playing import distribution_of
from hypermeter.play.arithmetic import first_above, gelu, gelu_tanh, logsumexp, sigmoid_of_double, softplus
from hypermeter.play.distribution import CANDIDATES, Categorical, Mixture, combinations
from hypermeter.play.random import HITS, RandomStream

ROWS, DRAWS = 3, 20_000
KNOWN = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 0, 1]], np.uint8)
GROUPS = ((2, 4), (4, 7))
"""Two voices, a track of two columns and one of three."""


def make(kind, rows=ROWS, seed=0):
    random = np.random.default_rng(seed)
    if kind == "softmax":
        scores = 2 * random.normal(size=(rows, len(KNOWN) + 1))
        return Categorical(scores - logsumexp(scores)[:, None], 2 * random.normal(size=(rows, 4)), KNOWN)
    width, groups = (7, GROUPS) if kind == "tracks" else (4, ())
    components = 1 if kind == "sigmoid" else 3
    return Mixture(random.normal(size=(rows, components)), 2 * random.normal(size=(rows, components, width)), groups)


@pytest.fixture(params=["mixture", "sigmoid", "tracks", "softmax"])
def dist(request):
    return make(request.param)


def all_steps(dist):
    """All that can be played: hits of voices, and at most one column of each track."""
    parts = [(0, 1)] * dist.num_voices
    parts += [[(0,) * (stop - start), *np.eye(stop - start, dtype=int).tolist()] for start, stop in dist.groups]
    return np.array([np.hstack(part) for part in product(*parts)], np.uint8)


def table(dist):
    """(B, all steps), probabilities by the definition."""
    columns = []
    for x in all_steps(dist):
        if isinstance(dist, Categorical):
            escape = np.prod(np.where(x > 0, 1 / (1 + np.exp(-dist.logits)), 1 / (1 + np.exp(dist.logits))), -1)
            weights = np.exp(dist.log_probs_known)
            columns.append(weights[:, :-1] @ (dist.known == x).all(-1) + weights[:, -1] * escape)
            continue
        voices = dist.logits[..., : dist.num_voices]
        of_component = np.prod(
            np.where(x[: dist.num_voices] > 0, 1 / (1 + np.exp(-voices)), 1 / (1 + np.exp(voices))), -1
        )
        for start, stop in dist.groups:
            odds = np.exp(dist.logits[..., start:stop])
            of_component = (
                of_component
                * (x[start:stop] @ np.moveaxis(odds, -1, 0).reshape(stop - start, -1)).reshape(of_component.shape)
                ** x[start:stop].any()
                / (1 + odds.sum(-1))
            )
        columns.append((np.exp(dist.log_weights) * of_component).sum(-1))
    return np.stack(columns, -1)


def in_heads(dist):
    if isinstance(dist, Categorical):
        return heads.SoftmaxWithEscape(
            *map(torch.from_numpy, (dist.log_probs_known, dist.logits)), torch.from_numpy(dist.known).double()
        )
    return heads.Mixture(*map(torch.from_numpy, (dist.log_weights, dist.logits)), dist.groups)


def some_lock(dist, seed=4):
    """Cells of each row that are known, of steps that can be played."""
    random = np.random.default_rng(seed)
    every = all_steps(dist)
    return random.random((len(dist), dist.width)) < 0.4, every[random.integers(0, len(every), len(dist))]


def assert_drawn_as(draws, every, wanted, errors=5.0):
    """Frequencies of draws (draws, W) lie within so many standard errors of probabilities (all steps,)."""
    counts = (draws[:, None] == every).all(-1).mean(0)
    assert counts.sum() == pytest.approx(1)
    assert (np.abs(counts - wanted) <= errors * np.sqrt(wanted * (1 - wanted) / len(draws)) + 1e-9).all()


def uniforms_for(dist, draws=DRAWS):
    return RandomStream(1, HITS, draws, dist.num_uniforms).at(0)


def repeated(dist, row=0, draws=DRAWS):
    return dist.select(np.full(draws, row))


# ---------------------------------------------------------------------- against all that can be played


def test_probabilities_of_all_steps_are_those_of_the_definition_and_sum_to_one(dist):
    every, wanted = all_steps(dist), table(dist)
    log_probs = np.stack([dist.log_prob(np.broadcast_to(x, (ROWS, dist.width))) for x in every], -1)
    np.testing.assert_allclose(np.exp(log_probs), wanted, atol=1e-12)
    np.testing.assert_allclose(wanted.sum(-1), 1)


def test_probs_are_the_marginals(dist):
    np.testing.assert_allclose(dist.probs, table(dist) @ all_steps(dist), atol=1e-12)


def test_some_cells_have_the_probability_of_all_steps_that_have_them(dist):
    is_known, values = some_lock(dist)
    agrees = ((all_steps(dist) == values[:, None]) | ~is_known[:, None]).all(-1)
    np.testing.assert_allclose(np.exp(dist.weigh(is_known, values)[0]), (table(dist) * agrees).sum(-1), atol=1e-12)


def test_a_condition_is_the_share_of_the_steps_that_agree(dist):
    is_known, values = some_lock(dist)
    agrees = ((all_steps(dist) == values[:, None]) | ~is_known[:, None]).all(-1)
    wanted = table(dist) * agrees
    for row in range(ROWS):
        conditioned = repeated(dist.condition(is_known, values), row)
        assert_drawn_as(conditioned.draw(uniforms_for(conditioned)), all_steps(dist), wanted[row] / wanted[row].sum())


def test_a_tilt_is_the_renormalised_product(dist):
    bias = np.random.default_rng(3).normal(size=dist.width) * 2
    wanted = table(dist) * np.exp(all_steps(dist) @ bias)
    np.testing.assert_allclose(table(dist.tilt(bias)), wanted / wanted.sum(-1, keepdims=True), atol=1e-12)


def test_draws_come_as_often_as_they_are_probable(dist):
    for row in range(ROWS):
        copies = repeated(dist, row)
        assert_drawn_as(copies.draw(uniforms_for(copies)), all_steps(dist), table(dist)[row])


def test_voices_alone_have_the_tracks_summed_out():
    dist = make("tracks")
    every, voices = all_steps(dist), all_steps(dist.voices)
    wanted = [(table(dist) * (every[:, :2] == x).all(-1)).sum(-1) for x in voices]
    np.testing.assert_allclose(table(dist.voices), np.stack(wanted, -1), atol=1e-12)


@pytest.mark.parametrize("kind", ["mixture", "sigmoid"])
def test_listed_combinations_have_their_probabilities(kind):
    dist = make(kind)
    combos, log_probs = dist.candidates()
    assert dist.is_listed and np.array_equal(combos, combinations(4))
    assert sorted(map(tuple, combos.tolist())) == sorted(map(tuple, all_steps(dist).tolist()))
    places = [combos.tolist().index(x) for x in all_steps(dist).tolist()]
    np.testing.assert_allclose(np.exp(log_probs)[:, places], table(dist), atol=1e-12)


def test_a_softmax_lists_its_combinations_and_after_an_impossible_lock_what_the_escape_finds_likeliest():
    dist = make("softmax")
    combos, log_probs = dist.candidates()
    assert np.array_equal(combos, KNOWN)
    weights = np.exp(dist.log_probs_known[:, :-1])
    np.testing.assert_allclose(np.exp(log_probs), weights / weights.sum(-1, keepdims=True), atol=1e-12)
    is_known = np.array([[False, False, True, True]] * ROWS)  # no combination has both
    combos, log_probs = dist.condition(is_known, np.ones((ROWS, 4))).candidates()
    likeliest = np.where(is_known, 1, dist.logits > 0)
    assert np.array_equal(combos[np.arange(ROWS), log_probs.argmax(-1)], likeliest)


def test_of_many_voices_distinct_combinations_are_drawn_with_their_probabilities():
    random = np.random.default_rng(0)
    dist = Mixture(random.normal(size=(2, 3)), random.normal(size=(2, 3, 14)))
    assert not dist.is_listed
    with pytest.raises(ValueError, match="expected a generator"):
        dist.candidates()
    combos, log_probs = dist.candidates(np.random.default_rng(1))
    assert combos.shape == (2, CANDIDATES, 14)
    for row in range(2):
        counts = np.unique(combos[row][np.isfinite(log_probs[row])], axis=0)
        assert len(counts) == np.isfinite(log_probs[row]).sum() == len(np.unique(combos[row], axis=0))
        row_log_probs = dist.select(np.full(CANDIDATES, row)).log_prob(combos[row])
        is_first = np.isfinite(log_probs[row])
        np.testing.assert_allclose(log_probs[row][is_first], row_log_probs[is_first])
    alone = dist.select(np.array([0])).candidates(np.random.default_rng(1))[0]
    assert np.array_equal(alone[0], combos[0])  # whatever is beside it


# ---------------------------------------------------------------------- against the heads


def test_distributions_are_those_of_the_heads(dist):
    in_torch, (_, values) = in_heads(dist), some_lock(dist)
    np.testing.assert_allclose(dist.log_prob(values), in_torch.log_prob(torch.from_numpy(values).double()), atol=1e-12)
    np.testing.assert_allclose(dist.probs, in_torch.probs, atol=1e-12)
    np.testing.assert_allclose(table(distribution_of(in_torch)), table(dist), atol=1e-12)


# ---------------------------------------------------------------------- extremes


def test_what_is_certain_or_impossible_gives_no_invalid_value():
    """Warnings are errors in the tests."""
    logits = np.array([[[-1000.0, 1000.0, 0.0]]])
    for groups in ((), ((1, 3),)):
        dist = Mixture(np.zeros((1, 1)), logits, groups)
        is_known, values = np.array([[True, False, False]]), np.array([[1, 0, 0]])
        conditioned = dist.condition(is_known, values)
        assert conditioned.draw(np.full((1, conditioned.num_uniforms), 0.999))[0].tolist()[:2] == [1, 1]
        assert np.isfinite(dist.weigh(is_known, values)[0]).all() and np.isfinite(dist.probs).all()
        assert np.isfinite(dist.tilt(np.array([100.0, -100.0, 0.0])).probs).all()


def test_a_voice_that_is_impossible_is_silent_where_the_number_is_zero(dist):
    is_known, values = np.ones((ROWS, dist.width), bool), np.zeros((ROWS, dist.width))
    conditioned = dist.condition(is_known, values)
    assert not conditioned.draw(np.zeros((ROWS, conditioned.num_uniforms))).any()


def test_the_first_whose_sum_is_above_is_taken():
    weights = np.array([[0.25, 0.25, 0.5]])
    for uniform, place in ((0.0, 0), (0.2499, 0), (0.25, 1), (0.5, 2), (1 - 2**-32, 2)):
        assert first_above(weights, np.array([uniform])).tolist() == [place]
    assert first_above(np.array([[0.0, 1.0, 0.0]]), np.array([0.0])).tolist() == [1]
    assert first_above(np.array([[3.0, 1.0]]), np.array([0.7])).tolist() == [0]  # need not be normalised


def test_arithmetic_is_that_of_pytorch_for_any_finite_input():
    x = np.concatenate([np.linspace(-12, 12, 4001), [-1e9, -1e4, 1e4, 1e9]]).astype(np.float32)
    tensor = torch.from_numpy(x).double()
    scale = np.maximum(np.abs(x), 1)
    assert (np.abs(gelu(x) - torch.nn.functional.gelu(tensor).numpy()) / scale).max() < 3e-7
    inside = x[:4001]
    wanted = torch.nn.functional.gelu(tensor[:4001], approximate="tanh").numpy()
    assert np.abs(gelu_tanh(inside) - wanted).max() < 3e-6
    np.testing.assert_allclose(sigmoid_of_double(x.copy()), torch.sigmoid(2 * tensor).numpy(), atol=2e-7)
    np.testing.assert_allclose(
        softplus(x.astype(float)), torch.nn.functional.softplus(tensor, threshold=36), rtol=1e-12
    )
    nothing = np.full((2, 3), -math.inf)
    nothing[1, 1] = 5
    assert logsumexp(nothing).tolist() == [-math.inf, 5]
    nothing[0, 2] = math.inf
    assert logsumexp(nothing).tolist() == [math.inf, 5]

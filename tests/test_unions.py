"""At least one hit among some voices: its probability and its draws against all that can be played, and as a lock."""

import math

import numpy as np
import pytest

from hypermeter.core.errors import HypermeterError
from hypermeter.play.distribution import Categorical, Mixture
from hypermeter.play.infill import infill
from hypermeter.play.locks import Locks, combine
from hypermeter.play.request import InfillOptions, SamplingOptions
from hypermeter.play.rules import Rules
from hypermeter.play.unions import draw_some
from models import player
from test_infill import FOUR, PIECES, PLAIN, SOFTMAX, far_off, shares_of
from test_play_distribution import ROWS, all_steps, assert_drawn_as, make, repeated, table, uniforms_for

MANY = 400


@pytest.fixture(params=["mixture", "sigmoid", "tracks", "softmax"])
def dist(request):
    return make(request.param)


def lock_of(dist, seed=5):
    """Known cells of voices, and a set of each row, of which a voice is not known; the last row has no set."""
    random = np.random.default_rng(seed)
    known = random.random((ROWS, dist.width)) < 0.3
    known[:, dist.num_voices :] = False
    values = (random.random((ROWS, dist.width)) < 0.3).astype(np.uint8) * known
    some = random.random((ROWS, dist.width)) < 0.7
    some[:, dist.num_voices :], known[:, 0], some[:, 0], some[-1] = False, False, True, False
    return known, values, some


def agrees(dist, known, values, some):
    """(B, all steps), whether steps have the known cells, and a hit of the set."""
    every = all_steps(dist)
    has = (every & some[:, None]).any(-1) | ~some.any(-1)[:, None]
    return ((every == values[:, None]) | ~known[:, None]).all(-1) & has


def test_a_set_has_the_probability_of_all_steps_with_a_hit_of_it(dist):
    lock = lock_of(dist)
    wanted = (table(dist) * agrees(dist, *lock)).sum(-1)
    np.testing.assert_allclose(np.exp(dist.weigh(*lock)[0]), wanted, atol=1e-12)
    assert (np.abs(wanted - np.exp(dist.weigh(*lock[:2])[0])) > 1e-3).any()


def test_what_is_drawn_given_a_set_is_the_share_of_the_steps_that_have_a_hit_of_it(dist):
    lock = lock_of(dist)
    wanted = table(dist) * agrees(dist, *lock)
    given = dist.condition(*lock)
    for row in range(ROWS):
        conditioned = repeated(given, row)
        draws = conditioned.draw(uniforms_for(conditioned))
        assert_drawn_as(draws, all_steps(dist), wanted[row] / wanted[row].sum())


def test_a_distribution_given_a_set_is_that_of_the_definition(dist):
    lock, every = lock_of(dist), all_steps(dist)
    lock[0][:] = False  # known cells have logarithms of 0
    wanted = table(dist) * agrees(dist, *lock)
    wanted /= wanted.sum(-1, keepdims=True)
    given = dist.weigh(*lock)[1]
    log_probs = np.stack([given.log_prob(np.broadcast_to(x, (ROWS, dist.width))) for x in every], -1)
    np.testing.assert_allclose(np.exp(log_probs), wanted, atol=1e-12)
    np.testing.assert_allclose(given.probs, wanted @ every, atol=1e-12)
    bias = np.random.default_rng(3).normal(size=dist.width)
    tilted = wanted * np.exp(every @ bias)
    log_probs = np.stack([given.tilt(bias).log_prob(np.broadcast_to(x, (ROWS, dist.width))) for x in every], -1)
    np.testing.assert_allclose(np.exp(log_probs), tilted / tilted.sum(-1, keepdims=True), atol=1e-12)
    if isinstance(dist, Mixture) and dist.is_listed:
        combos, log_probs = given.candidates()
        has = (combos & lock[2][:, None]).any(-1) | ~lock[2].any(-1)[:, None]
        np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1)
        assert np.isneginf(log_probs[~has]).all()
    with pytest.raises(ValueError, match="a set beside that"):
        given.weigh(*lock)


@pytest.mark.parametrize("logit", [-1000.0, -90.0, -3.0, 60.0])
def test_a_voice_sounds_however_unlikely_it_is(logit):
    uniforms = np.random.default_rng(0).random((50, 3))
    hits = draw_some(np.full((50, 3), logit), uniforms, np.tile([True, True, False], (50, 1)))
    assert hits[:, :2].any(1).all() and (logit > -80 or not hits[:, 2].any())


def test_a_set_that_no_known_combination_has_is_answered_by_the_escape():
    dist = make("softmax")
    known = np.zeros((ROWS, 4), bool)
    values = np.zeros((ROWS, 4), np.uint8)
    known[:, [0, 1]] = True
    some = np.tile([False, False, False, True], (ROWS, 1))
    assert isinstance(dist, Categorical)
    combos, scores = dist.condition(known, values, some).candidates()
    assert combos[:, 0, 3].all() and np.isfinite(scores[:, 0]).all()


@pytest.mark.parametrize("rules", [(1, 1, 0), (0, 1, 0), (0.5, 1, 0), (2, 0.3, 0), (1, 1, 2.0)])
@pytest.mark.parametrize("bias", [None, -30.0])
def test_every_rule_of_sampling_keeps_to_a_set(dist, rules, bias):
    bias = None if bias is None else np.full(dist.width, bias)
    rules = Rules(*rules, 3, bias)
    lock = lock_of(dist)
    free = None if rules.guidance == 0 else dist
    for step in range(20):
        uniforms = rules.stream(ROWS, dist.width).at(step)
        _, given = rules.weigh(dist, lock)
        for x in (rules.draw(dist, free, uniforms, step, lock), rules.draw(dist, free, uniforms, step, lock, given)):
            assert ((x == lock[1]) | ~lock[0]).all()
            assert ((x & lock[2]).any(-1) | ~lock[2].any(-1)).all()


# ---------------------------------------------------------------------- as a lock of a piece


SOME = Locks(  # one of both at the first step, neither at the second, the last has the second or both
    np.array([[False, False], [True, True], [False, False]]),
    np.zeros((3, 2)),
    np.array([[True, True], [False, False], [False, True]]),
)


@pytest.mark.parametrize("player", [PLAIN, SOFTMAX], ids=["mixture", "softmax"])
def test_what_is_drawn_around_sets_is_the_posterior_of_all_pieces(player):
    log_probs = player.log_prob(PIECES).sum(-1)
    has = PIECES[:, 0].any(-1) & ~PIECES[:, 1].any(-1) & (PIECES[:, 2, 1] > 0)
    wanted = np.where(has, log_probs, -math.inf)
    done = [
        infill(player, SOME, sampling=SamplingOptions(seed=seed), infilling=InfillOptions(16)) for seed in range(MANY)
    ]
    assert not far_off(done, shares_of(wanted))
    estimates, evidence = np.exp([made.log_evidence for made in done]), np.exp(log_probs[has]).sum()
    assert abs(estimates.mean() - evidence) < 4.5 * estimates.std() / math.sqrt(MANY) + 1e-6


def sets(steps, voices, seed=0):
    some = np.random.default_rng(seed).random((steps, voices)) < 0.3
    return Locks(np.zeros(some.shape, bool), np.zeros(some.shape), some)


def test_no_step_depends_on_a_later_set():
    early, late = sets(12, 4), sets(12, 4, seed=1)
    other = np.concatenate([early.some[0, :6], late.some[0, 6:]])
    mixed = Locks(np.zeros(other.shape, bool), np.zeros(other.shape), other)
    for seed in range(5):
        sampling = SamplingOptions(seed=seed)
        first, second = (FOUR.generate(12, sampling=sampling, locks=locks)[0] for locks in (early, mixed))
        assert np.array_equal(first[:6], second[:6])
        one = infill(FOUR, mixed, sampling=sampling, infilling=InfillOptions(1)).hits
        assert np.array_equal(one, second)
        assert (second[other.any(1)] & other[other.any(1)]).any(1).all()


def test_a_row_is_the_same_in_every_batch():
    locks = sets(10, 4)
    whole = FOUR.generate(10, rows=4, locks=locks)
    parts = [FOUR.generate(10, rows=rows, locks=locks, first_row=first) for first, rows in ((0, 1), (1, 3))]
    assert np.array_equal(whole, np.concatenate(parts))


def test_locks_without_sets_and_free_play_are_as_before():
    """To the last bit: a lock without a set is two arrays, as it was."""
    values = np.random.default_rng(0).integers(0, 2, (8, 4))
    known = np.random.default_rng(1).random((8, 4)) < 0.5
    plain, empty = Locks(known, values), Locks(known, values, np.zeros((8, 4), bool))
    assert all(len(empty.at(step, 1) or ((), ())) == 2 for step in range(8))
    first, second = (infill(FOUR, locks) for locks in (plain, empty))
    assert np.array_equal(first.hits, second.hits) and first.log_evidence == second.log_evidence


def test_sets_are_combined_with_locks_and_contradictions_are_refused():
    free = np.zeros((2, 3), bool)
    some = np.array([[True, True, False], [False, False, False]])
    both = combine(Locks(free, free * 0, some), Locks(~some & [True, False, True], np.ones((2, 3))))
    assert both.some is not None and np.array_equal(both.some[0], some)
    silent = Locks(some, np.zeros((2, 3)))
    for locks, words in (
        (lambda: combine(silent, Locks(free, free * 0, some)), "all of a set is locked to silence at step 0"),
        (lambda: combine(Locks(free, free * 0, some), Locks(free, free * 0, some & [True, False, True])), "two sets"),
        (lambda: Locks(free, free * 0, some[:1]), "expected the same shape"),
        (lambda: Locks(np.zeros((1, 8), bool), np.zeros((1, 8)), np.ones((1, 8), bool)).check(1, 8, [(3, 8)]), "track"),
    ):
        with pytest.raises(HypermeterError, match=words):
            locks()


def test_notes_of_a_track_are_drawn_beside_a_set_of_voices():
    width = player("tracks").width
    some = np.zeros((6, width), bool)
    some[::2, :2] = True
    locks = Locks(np.zeros(some.shape, bool), np.zeros(some.shape), some)
    for sampling in (SamplingOptions(), SamplingOptions(0.7)):
        done = infill(player("tracks"), locks, sampling=sampling, infilling=InfillOptions(4))
        assert done.hits[::2, :2].any(1).all() and (done.hits[:, 3:].sum(-1) <= 1).all()

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from hypermeter.core.groove import Groove
from hypermeter.core.strokes import Strokes
from hypermeter.play.consensus import agreed_hits, consensus
from hypermeter.play.follow import follow_groove
from hypermeter.play.infill import InfillResult
from hypermeter.play.loading import load_player
from hypermeter.play.locks import Locks
from hypermeter.play.request import FollowOptions, InfillOptions, SamplingOptions


def test_agreed_hits_are_the_best_of_all_sets():
    random = np.random.default_rng(0)
    for _ in range(20):
        shares = random.random((3, 3)) ** 2
        chosen = agreed_hits(shares)

        def worth(cells, shares=shares):
            return 2 * sum(shares.flat[cell] for cell in cells) / (len(cells) + shares.sum())

        sets = (cells for number in range(1, 10) for cells in combinations(range(9), number))
        assert worth(np.flatnonzero(chosen)) == pytest.approx(max(map(worth, sets)))


def test_what_no_draw_has_is_not_agreed_on_and_equal_shares_are_treated_alike():
    assert not agreed_hits(np.zeros((4, 2))).any()
    assert agreed_hits(np.array([[0.5, 0.5, 0], [0.5, 0.1, 0]])).tolist() == [[True, True, False], [True, False, False]]


def test_at_each_tap_the_most_probable_of_its_voices_sounds():
    shares, some = np.array([[1.0, 0.0], [0.01, 0.02], [1.0, 0.0]]), np.array([[0, 0], [1, 1], [1, 0]], bool)
    assert not agreed_hits(shares)[1].any()
    assert agreed_hits(shares, some).tolist() == [[True, False], [False, True], [True, False]]


def draw(hits, velocity, strokes=((), (), (), ())):
    hits = np.array(hits, np.uint8)
    return Groove(hits, hits * velocity, kit="gm10", strokes=Strokes(*strokes))


def test_hits_are_played_as_in_the_draw_that_is_most_like_the_whole():
    rows = [np.eye(10)[0], np.eye(10)[2], np.eye(10)[2], np.zeros(10)]
    drag = [0], [0], [-0.2], [0.3]
    near = draw(rows, 0.5, drag)
    far = draw([np.eye(10)[0] + np.eye(10)[1], np.eye(10)[2], np.zeros(10), np.eye(10)[4]], 0.9, drag)
    third = draw([np.eye(10)[0], np.eye(10)[2], np.eye(10)[2], np.eye(10)[5]], 0.7)
    agreed = consensus([far, near, third])
    assert np.array_equal(agreed.hits, near.hits)
    assert np.array_equal(agreed.velocity, near.velocity) and agreed.strokes == near.strokes
    assert consensus([far]) is far


@pytest.fixture(scope="module")
def player():
    return load_player("groove")


def tapped():
    hits = np.zeros((32, 10), np.uint8)
    hits[[0, 6, 8, 14, 16, 22, 24], 0] = 1
    return Groove(hits, hits * 0.8)


def test_a_rhythm_is_followed_by_what_draws_of_successive_seeds_agree_on(player):
    following, few = FollowOptions(("kick", "snare"), "silent"), InfillOptions(4)
    single = [
        follow_groove(player, tapped(), SamplingOptions(seed=seed), following, infilling=few) for seed in range(5, 8)
    ]
    groove, done = follow_groove(player, tapped(), SamplingOptions(seed=5), replace(following, draws=3), infilling=few)
    some = np.zeros((32, 10), bool)
    some[tapped().hits[:, 0] > 0, :2] = True
    assert groove == consensus([one for one, _ in single], some)
    assert np.array_equal(groove.hits[:, :2].any(1), tapped().hits[:, 0] > 0)
    evidence = [result.log_evidence for _, result in single]
    assert isinstance(done, InfillResult) and np.exp(done.log_evidence) == pytest.approx(np.exp(evidence).mean())


def test_what_stays_stays(player):
    pattern = np.zeros((32, 10), np.uint8)
    pattern[::4, 2] = 1
    known = np.zeros((32, 10), bool)
    known[:, 2] = True
    groove, _ = follow_groove(
        player,
        tapped(),
        SamplingOptions(seed=1),
        FollowOptions(draws=4),
        pattern=Groove(pattern, pattern * 0.3),
        locks=Locks(known, pattern),
        infilling=InfillOptions(2),
    )
    assert np.array_equal(groove.hits[:, 2], pattern[:, 2])
    assert groove.velocity[::4, 2] == pytest.approx(0.3)

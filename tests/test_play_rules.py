"""Rules of sampling against the distributions that they state, listed in full; locks against the rule of Bayes."""

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from hypermeter.core.errors import HypermeterError
from hypermeter.play.arithmetic import log_softmax
from hypermeter.play.distribution import CANDIDATES, Categorical, Mixture
from hypermeter.play.locks import Locks, combine, lock_all_but, lock_ending, lock_voices
from hypermeter.play.player import Player
from hypermeter.play.random import HITS as FOR_HITS
from hypermeter.play.random import RandomStream
from hypermeter.play.request import InfillOptions, PlanOptions, SamplingOptions
from hypermeter.play.rules import ENTROPY_TOLERANCE, Rules, as_certain, entropy_of, guided
from models import music, player
from test_play_distribution import KNOWN, all_steps, assert_drawn_as, make, repeated, table

DRAWS = 20_000
NAMES = ("kick", "snare", "hat", "tom")
BIAS = np.array([1.0, -0.5, 0.0, 2.0])
LOCK = (np.array([True, False, False, True]), np.array([1, 0, 0, 0], np.uint8))


def rules(temperature=1.0, top_p=1.0, guidance=0.0, bias=None, seed=3):
    return Rules(temperature, top_p, guidance, seed, bias)


def stated(planned, free, sampling, lock=None):
    """(all steps,), the probabilities that the rules state, of one row's probabilities of all steps."""
    every = all_steps(make("mixture"))
    scores = np.log(planned) + (0 if sampling.bias is None else every @ sampling.bias)
    if sampling.guidance:
        unplanned = np.log(free) + (0 if sampling.bias is None else every @ sampling.bias)
        scores = (1 + sampling.guidance) * scores - sampling.guidance * unplanned
    if lock is not None:
        agrees = ((every == lock[1]) | ~lock[0]).all(-1)
        scores = np.where(agrees, scores, -math.inf)
    if sampling.temperature == 0:
        return (np.arange(len(scores)) == scores.argmax()).astype(float)
    scores = scores / sampling.temperature
    probs = np.exp(scores - scores.max())
    probs /= probs.sum()
    kept, total = np.zeros(len(probs), bool), 0.0
    for place in np.argsort(-probs, kind="stable"):
        if total >= sampling.top_p:
            break
        kept[place], total = True, total + probs[place]
    return probs * kept / (probs * kept).sum()


def drawn(sampling, planned, free, lock=None, row=0, draws=DRAWS):
    many = [repeated(dist, row, draws) for dist in (planned, free)]
    locks = None if lock is None else tuple(np.broadcast_to(part, (draws, len(part))) for part in lock)
    return sampling.draw(*many, sampling.stream(draws, planned.width).at(5), 5, locks)


@pytest.mark.parametrize("lock", [None, LOCK], ids=["open", "locked"])
@pytest.mark.parametrize("bias", [None, BIAS], ids=["as it is", "biased"])
@pytest.mark.parametrize("guidance", [0.0, 1.5])
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.6, 0.8), (1.0, 0.5), (0.0, 1.0)])
def test_steps_are_drawn_as_the_rules_state(temperature, top_p, guidance, bias, lock):
    planned, free = make("mixture", seed=1), make("mixture", seed=2)
    sampling = rules(temperature, top_p, guidance, bias)
    wanted = stated(table(planned)[0], table(free)[0], sampling, lock)
    assert_drawn_as(drawn(sampling, planned, free, lock), all_steps(planned), wanted)


@pytest.mark.parametrize(("temperature", "top_p"), [(0.7, 1.0), (1.6, 0.8), (0.0, 1.0)])
def test_a_softmax_is_tempered_over_its_combinations(temperature, top_p):
    dist, sampling = make("softmax", seed=1), rules(temperature, top_p)
    weights = np.exp(dist.log_probs_known[0, :-1])
    every = all_steps(dist)
    places = [every.tolist().index(combo) for combo in KNOWN.tolist()]
    probs = np.full(len(every), 1e-300)
    probs[places] = weights / weights.sum()
    assert_drawn_as(drawn(sampling, dist, dist), every, stated(probs, probs, sampling))


def test_a_softmax_draws_its_escape_at_temperature_one():
    dist = make("softmax", seed=1)
    draws = drawn(rules(), dist, dist)
    assert_drawn_as(draws, all_steps(dist), table(dist)[0])
    assert not (draws[:, None] == KNOWN).all(-1).any(-1).all()


def test_a_row_whose_lock_no_listed_combination_has_takes_the_escape_and_the_others_keep_their_guidance():
    is_locked = np.array([[False, False, True, True], [True, False, False, False], [False] * 4])
    values = np.array([[0, 0, 1, 1], [1, 0, 0, 0], [0] * 4], np.uint8)  # no combination has the first
    planned, free = make("softmax", seed=1), make("softmax", seed=2)
    sampling = rules(0.8, guidance=4.0)
    uniforms = sampling.stream(3, 4).at(0)
    together = sampling.draw(planned, free, uniforms, 0, (is_locked, values))
    for row in range(3):
        one = [dist.select(np.array([row])) for dist in (planned, free)]
        alone = sampling.draw(*one, uniforms[[row]], 0, (is_locked[[row]], values[[row]]))
        assert np.array_equal(alone[0], together[row])
    assert together[0].tolist() == [*(planned.logits[0, :2] > 0).astype(int), 1, 1]


def test_tracks_are_tempered_after_the_voices_one_after_another():
    """The oracle tempers the voices, then each track given all before it."""
    dist, sampling = make("tracks", seed=1), rules(0.6, 0.9)
    every, probs = all_steps(dist), table(dist)[0]
    wanted = np.zeros(len(every))

    def cut(shares):
        shares = shares ** (1 / sampling.temperature)
        shares /= shares.sum()
        order = np.argsort(-shares, kind="stable")
        kept = np.zeros(len(shares), bool)
        kept[order[: 1 + (shares[order].cumsum() < sampling.top_p).sum()]] = True
        return shares * kept / (shares * kept).sum()

    def marginal(prefix):
        return probs[(every[:, : len(prefix)] == prefix).all(-1)].sum()

    edges = [0, 2, 4, 7]
    for place, x in enumerate(every):
        share = 1.0
        for start, stop in pairwise(edges):
            ways = np.unique(every[:, start:stop], axis=0)
            shares = cut(np.array([marginal([*x[:start], *way]) for way in ways]))
            share *= shares[(ways == x[start:stop]).all(-1).argmax()]
        wanted[place] = share
    assert wanted.sum() == pytest.approx(1)
    assert_drawn_as(drawn(sampling, dist, dist), every, wanted)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.0}, {"temperature": 0.7, "top_p": 0.6}, {"guidance": 2.0}])
def test_locked_voices_and_notes_come_out(options):
    dist, sampling = make("tracks", seed=1), rules(**options)
    is_locked = np.array([True, False, False, False, False, True, False])
    draws = drawn(
        sampling, dist, make("tracks", seed=2), (is_locked, np.array([1, 0, 0, 0, 0, 1, 0], np.uint8)), draws=20
    )
    assert (draws[:, 0] == 1).all() and (draws[:, 4:] == [0, 1, 0]).all()
    assert (draws[:, 2:4].sum(-1) <= 1).all()


# ---------------------------------------------------------------------- more voices than can be listed


def many_voices(seed=0):
    random = np.random.default_rng(seed)
    return Mixture(random.normal(size=(2, 3)), 2 * random.normal(size=(2, 3, 14)) - 1)


def test_of_many_voices_the_plain_draw_has_the_marginals():
    dist = many_voices()
    draws = drawn(rules(), dist, dist)
    assert np.abs(draws.mean(0) - dist.probs[0]).max() < 5 * 0.5 / math.sqrt(DRAWS)


def test_of_many_voices_the_likeliest_that_was_drawn_is_taken_at_temperature_zero():
    dist = many_voices()
    chosen = rules(0.0).draw(dist, dist, np.zeros((2, 15)), 0)
    random = np.random.default_rng(5)
    for row in range(2):
        others = dist.select(np.full(CANDIDATES, row)).draw(random.random((CANDIDATES, 15)))
        best = dist.log_prob(np.repeat(chosen[None, row], 2, 0))[row]
        assert best >= np.quantile(dist.select(np.full(CANDIDATES, row)).log_prob(others), 0.98)


def test_of_many_voices_locks_bias_and_guidance_count_and_steps_differ():
    planned, free = many_voices(0), many_voices(1)
    is_locked, values = np.zeros(14, bool), np.zeros(14, np.uint8)
    is_locked[[0, 13]], values[13] = True, 1
    sampling = rules(0.9, guidance=1.0, bias=np.array([0.0] * 5 + [50.0] + [-50.0] + [0.0] * 7))
    locks = (np.broadcast_to(is_locked, (2, 14)), np.broadcast_to(values, (2, 14)))
    draws = [sampling.draw(planned, free, sampling.stream(2, 14).at(step), step, locks) for step in range(20)]
    every = np.concatenate(draws)
    assert (every[:, 0] == 0).all() and (every[:, 13] == 1).all()
    assert (every[:, 5] == 1).all() and (every[:, 6] == 0).all() and len(np.unique(every, axis=0)) > 10
    again = sampling.draw(planned, free, sampling.stream(2, 14).at(3), 3, locks)
    assert np.array_equal(again, draws[3])
    alone = sampling.draw(
        planned.select(np.array([0])),
        free.select(np.array([0])),
        sampling.stream(1, 14).at(3),
        3,
        tuple(p[:1] for p in locks),
    )
    assert np.array_equal(alone[0], draws[3][0])


def test_guidance_is_a_power_of_each_probability():
    planned, free = np.log([[0.5, 0.3, 0.2]]), np.log([[0.2, 0.3, 0.5]])
    wanted = np.array([0.5**2.5 / 0.2**1.5, 0.3, 0.2**2.5 / 0.5**1.5])
    np.testing.assert_allclose(np.exp(guided(planned, free, 1.5))[0], wanted)
    with np.errstate(all="raise"):
        lost = guided(np.array([[-math.inf, 0.0]]), np.array([[-math.inf, -math.inf]]), 2.0)
    assert lost[0, 0] == -math.inf and np.isfinite(lost[0, 1])


def test_scores_are_made_as_certain_as_an_entropy():
    random = np.random.default_rng(0)
    free = log_softmax(2 * random.normal(size=(200, 64)))
    planned = log_softmax(0.8 * free + 0.3 * random.normal(size=free.shape))  # a little less sure
    scores, entropy = guided(planned, free, 1.0), np.minimum(entropy_of(planned), entropy_of(free))
    found = as_certain(scores, entropy)
    before, after = entropy_of(scores), entropy_of(found)
    assert (before > entropy + 0.1).mean() > 0.5, "guidance blurs, so that there is something to mend"
    assert (after <= np.minimum(before, entropy + ENTROPY_TOLERANCE) + 1e-9).all()
    is_changed = before > entropy + ENTROPY_TOLERANCE
    np.testing.assert_allclose(after[is_changed], entropy[is_changed], atol=ENTROPY_TOLERANCE)
    assert np.array_equal(found.argmax(-1), scores.argmax(-1)) and np.array_equal(
        as_certain(scores[5:6], entropy[5:6])[0], found[5]
    )
    np.testing.assert_allclose(
        found[~is_changed] - found[~is_changed].max(-1, keepdims=True),
        (scores - scores.max(-1, keepdims=True))[~is_changed],
    )
    impossible = as_certain(np.array([[0.0, -math.inf, -1.0]]), np.array([0.1]))
    assert impossible[0, 1] == -math.inf and entropy_of(impossible) <= 0.1 + ENTROPY_TOLERANCE


def test_an_entropy_is_that_of_the_normalised_probabilities():
    probs = np.array([[0.5, 0.25, 0.25, 0.0]])
    with np.errstate(divide="ignore"):
        assert entropy_of(np.log(probs) + 7)[0] == pytest.approx(1.5 * math.log(2))
    assert entropy_of(np.zeros((1, 8)))[0] == pytest.approx(math.log(8))


def test_a_temperature_near_zero_is_zero_and_the_first_of_equals_is_taken():
    flat = Mixture(np.zeros((1, 1)), np.zeros((1, 1, 3)))
    for temperature in (0.0, 1e-50, 1e-7):
        assert not rules(temperature).draw(flat, flat, np.full((1, 4), 0.99), 0).any()
    kept = np.isfinite(rules(top_p=0.5).temper(flat.candidates()[1])[0])
    assert np.flatnonzero(kept).tolist() == [0, 1, 2, 3]


def test_weights_of_locks_have_bias_but_neither_temperature_nor_guidance():
    dist = make("mixture", seed=1)
    lock = tuple(np.repeat(part[None], 3, 0) for part in LOCK)
    tilted = table(dist.tilt(BIAS))
    agrees = ((all_steps(dist) == LOCK[1]) | ~LOCK[0]).all(-1)
    sampling = rules(0.3, 0.4, 2.0, BIAS)
    evidence, given = sampling.weigh(dist, lock)
    np.testing.assert_allclose(np.exp(evidence), tilted[:, agrees].sum(-1), atol=1e-12)
    uniforms = RandomStream(1, FOR_HITS, 3, 5).at(0)
    plain = rules(bias=BIAS)
    assert np.array_equal(plain.draw(dist, None, uniforms, 0, lock, given), plain.draw(dist, None, uniforms, 0, lock))


# ---------------------------------------------------------------------- requests


def test_a_request_becomes_rules():
    player = Player(SimpleNamespace(kit=SimpleNamespace(names=NAMES), width=6))
    made = player.rules(SamplingOptions(0.5, 0.9, {"hat": 2.0, "kick": -1.0}, 3.0, 7), SimpleNamespace(asks=True))
    assert (made.temperature, made.top_p, made.guidance, made.seed) == (0.5, 0.9, 3.0, 7)
    assert made.bias.tolist() == [-1, 0, 2, 0, 0, 0] and not made.is_plain
    plain = player.rules(SamplingOptions(bias={"hat": 0.0}), SimpleNamespace(asks=False))
    assert plain.bias is None and plain.guidance == 0 and plain.is_plain
    with pytest.raises(HypermeterError, match="bias: no voice 'cowbell' in the model; it has kick, snare"):
        player.rules(SamplingOptions(bias={"cowbell": 1.0}))


@pytest.mark.parametrize(
    ("make_request", "words"),
    [
        (lambda: SamplingOptions(temperature=-1.0), "temperature is -1, expected from 0 to 10"),
        (lambda: SamplingOptions(temperature=math.inf), "temperature is inf"),
        (lambda: SamplingOptions(temperature=math.nan), "temperature is nan"),
        (lambda: SamplingOptions(temperature="hot"), "temperature is 'hot'"),
        (lambda: SamplingOptions(top_p=0.0), "top_p is 0, expected above 0 up to 1"),
        (lambda: SamplingOptions(top_p=1.1), "top_p is 1.1"),
        (lambda: SamplingOptions(guidance=-1.0), "guidance is -1, expected from 0 to 100"),
        (lambda: SamplingOptions(guidance=math.nan), "guidance is nan"),
        (lambda: SamplingOptions(bias={"kick": math.nan}), "bias of kick is nan, expected from -100 to 100"),
        (lambda: SamplingOptions(bias={"kick": 1e30}), r"bias of kick is 1e\+30"),
        (lambda: SamplingOptions(seed=-1), "seed is -1, expected a whole number from 0 to 9007199254740991"),
        (lambda: SamplingOptions(seed=2**53), "seed is 9007199254740992"),
        (lambda: SamplingOptions(seed=1.5), "seed is 1.5, expected a whole number"),
        (lambda: SamplingOptions(seed=True), "seed is True"),
        (lambda: InfillOptions(particles=0), "particles is 0, expected a whole number from 1 to 65536"),
        (lambda: InfillOptions(horizon_bars=-1), "horizon_bars is -1, expected a whole number from 0"),
        (lambda: PlanOptions(density=1.5), "density is 1.5, expected from 0 to 1"),
        (lambda: PlanOptions(offbeat=[0.2, -1]), "offbeat is -1"),
        (lambda: PlanOptions(density=[]), "density has no numbers"),
        (lambda: PlanOptions(tempo_bpm=0), "tempo_bpm is 0"),
    ],
)
def test_a_number_out_of_its_bounds_is_refused_in_one_line(make_request, words):
    with pytest.raises(HypermeterError, match=words) as error:
        make_request()
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------------- locks


HITS = music("gru", 10, rows=1)[0]
GRID = player("gru").grid


def test_voices_bars_and_an_ending_become_locks():
    kick = lock_voices(HITS, [0])
    assert (
        kick.known[..., 0].all() and not kick.known[..., 1:].any() and np.array_equal(kick.values[0, :, 0], HITS[:, 0])
    )
    bars = lock_all_but(HITS, [1, 2], GRID)
    assert bars.known[0, :4].all() and not bars.known[0, 4:].any()  # the last bar is short
    ending = lock_ending(6, HITS)
    assert ending.num_steps == 16 and not ending.known[0, :6].any() and np.array_equal(ending.values[0, 6:], HITS)
    assert lock_ending(3, HITS[None]).known.shape == (1, 13, 3)


def test_locks_combine():
    both = combine(lock_voices(HITS, [0]), lock_ending(8, HITS[:2] * 0 + HITS[8:]))
    assert both.num_steps == 10
    assert both.known[0, :, 0].all() and not both.known[0, :8, 1:].any() and both.known[0, 8:].all()
    assert np.array_equal(both.values[0, 8:], HITS[8:])


def test_locks_of_a_step_are_those_of_each_row_and_none_after_the_last():
    many = Locks(np.stack([HITS > 0, HITS == 0]), np.stack([HITS, HITS]))
    is_locked, values = many.at(4, 2)
    assert np.array_equal(is_locked[1], HITS[4] == 0) and not values[1][is_locked[1]].any()
    assert many.at(10, 2) is None and lock_ending(4, HITS).at(3, 2) is None
    assert lock_voices(HITS, [0]).at(0, 5)[0].shape == (5, 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Locks(HITS > 0, HITS[1:]), r"locks: known \(10, 3\), values \(9, 3\), expected both"),
        (lambda: Locks(HITS[0] > 0, HITS[0]), r"expected both \(steps, columns\)"),
        (lambda: Locks(HITS >= 0, HITS + 0.5), "neither 0 nor 1; lock hits or silence"),
        (lambda: Locks(HITS >= 0, np.full(HITS.shape, math.nan)), "neither 0 nor 1"),
        (lambda: lock_voices(HITS, [3]), "locks: no column 3, expected 0 to 2"),
        (lambda: lock_voices(HITS, [-1]), "locks: no column -1"),
        (lambda: lock_all_but(HITS, [3], GRID), "locks: bar 3, counted from 0, expected 0 to 2"),
        (lambda: lock_all_but(HITS, [-1], GRID), "locks: bar -1"),
        (lambda: lock_ending(-1, HITS), "locks: length is -1, expected 0 free steps or more"),
        (lambda: combine(), "locks: none to combine"),
        (lambda: combine(lock_voices(HITS, [0]), lock_voices(1 - HITS, [0])), "two values for step 0, column 0"),
        (
            lambda: combine(lock_voices(HITS, [0]), lock_voices(HITS[:, :2], [0])),
            "1 rows of 2 columns, expected 1 or 1",
        ),
        (lambda: lock_voices(np.stack([HITS] * 3), [0]).check(2, 3), "3 rows of 3 columns, expected 1 or 2 rows of 3"),
    ],
)
def test_locks_that_do_not_fit_are_refused_in_one_line(call, words):
    with pytest.raises(HypermeterError, match=words) as error:
        call()
    assert "\n" not in str(error.value)


def test_a_lock_on_what_a_categorical_never_has_keeps_its_probability_finite():
    dist = Categorical(np.log([[0.5, 0.49, 0.01]]), np.full((1, 2), -80.0), np.array([[0, 0], [1, 0]], np.uint8))
    is_locked, values = np.array([[True, True]]), np.array([[1, 1]], np.uint8)
    assert np.isfinite(rules().weigh(dist, (is_locked, values))[0]).all()
    assert rules(0.5).draw(dist, dist, np.array([[0.3, 0.3, 0.3]]), 0, (is_locked, values)).tolist() == [[1, 1]]


def test_too_many_voices_to_list_are_drawn_with_their_locks_where_there_is_no_plan():
    random = np.random.default_rng(0)
    dist = Mixture(random.normal(size=(2, 3)), random.normal(size=(2, 3, 20)))
    is_locked, values = random.random((2, 20)) < 0.5, random.random((2, 20)) < 0.5
    sampler = rules(temperature=0.7)
    assert not dist.is_listed
    x = sampler.draw(dist, None, sampler.stream(2, 20).at(0), 0, (is_locked, values.astype(np.uint8)))
    assert (x[is_locked] == values[is_locked]).all() and not (x == values).all()


def test_two_columns_of_one_track_cannot_be_locked_in_one_step():
    hits = np.zeros((4, 6), np.uint8)
    hits[2, 3:5] = 1
    locks = lock_voices(hits, [3, 4])
    locks.check(1, 6, ((2, 4), (4, 6)))
    with pytest.raises(HypermeterError, match="locks: two notes of one track at step 2, columns 2 to 5"):
        locks.check(1, 6, ((2, 6),))

"""Infill: locked cells stay, what is drawn around them is the model's posterior, and a variation has a strength."""

import math
from itertools import pairwise, product

import numpy as np
import pytest

from hypermeter.core.errors import HypermeterError
from hypermeter.play.infill import InfillResult, _resample, effective_sample_size, infill, vary
from hypermeter.play.locks import Locks, lock_ending
from hypermeter.play.plan import Plan, make_plan, plan_of
from hypermeter.play.request import InfillOptions, SamplingOptions
from models import GRID, KNOWN, LABELS, make, music, player

TWO = {"step_hidden_dim": 8, "bar_hidden_dim": 8, "phrase_hidden_dim": 8, "num_layers": 1}
MANY = 500
"""Pieces, each drawn with a seed of its own."""


def toy(voices=2, **options):
    """A player whose steps depend strongly on those before."""
    model = make(voices, **TWO, **options)
    encoder = model.step_rnn.embed.weight if options.get("use_transformer") else model.step_rnn.rnn.weight_ih_l0
    encoder[:, :voices].mul_(12)  # what was played last
    model.output_layer.project.bias.zero_()
    return model.player("toy")


PLAIN, OBEDIENT, FOUR = toy(), toy(labels=LABELS), toy(4)
SOFTMAX = toy(output="softmax", known=[*(combo[:2] for combo in KNOWN[:2]), [1, 1]])
TRANSFORMER = toy(use_transformer=True, attention_window=8)


def hits(steps=16, voices=2, seed=1):
    return (np.random.default_rng(seed).random((steps, voices)) < 0.4).astype(np.uint8)


def sprinkled(steps=16, voices=2, share=0.3):
    """Locks here and there."""
    return Locks(np.random.default_rng(2).random((steps, voices)) < share, hits(steps, voices))


LAST = Locks(  # of the first step one cell, of the last both
    np.array([[False, True], [False, False], [True, True]]), np.array([[0, 1], [0, 0], [1, 0]])
)
PIECES = np.array(list(product([0, 1], repeat=6)), np.uint8).reshape(-1, 3, 2)
"""All that there are, of three steps and two voices."""


# ---------------------------------------------------------------------- against all pieces that there are


def exact(played, earlier=None, plan=None):
    """(64,), log p(piece and locked cells) after the earlier music; -inf where it has not the locked cells."""
    pieces = PIECES if earlier is None else np.concatenate([np.repeat(earlier[None], 64, 0), PIECES], 1)
    log_probs = played.log_prob(pieces, plan)[:, -3:].sum(-1)
    agrees = ((LAST.values == PIECES) | ~LAST.known).all((1, 2))
    return np.where(agrees, log_probs, -math.inf)


def shares_of(log_probs):
    weights = np.exp(log_probs - log_probs.max())
    return weights / weights.sum()


def drawn(player, primer=None, sampling=SamplingOptions(), **options):
    """So many pieces of so many seeds, and what came with them."""
    temperature, top_p = sampling.temperature, sampling.top_p
    seeds = [SamplingOptions(temperature, top_p, seed=seed) for seed in range(MANY)]
    return [infill(player, LAST, primer, sampling, **options) for sampling in seeds]


def far_off(done, wanted, errors=4.5):
    """Whether any piece came more or less often than chance allows, at so many standard errors."""
    counts = np.array([[np.array_equal(made.hits, piece) for piece in PIECES] for made in done]).mean(0)
    return (np.abs(counts - wanted) > errors * np.sqrt(wanted * (1 - wanted) / len(done)) + 2 / len(done)).any()


@pytest.mark.parametrize("player", [PLAIN, SOFTMAX, TRANSFORMER], ids=["mixture", "softmax", "transformer"])
def test_what_is_drawn_is_the_posterior_of_all_pieces_and_its_evidence_is_unbiased(player):
    log_probs = exact(player)
    done = drawn(player, infilling=InfillOptions(16))
    assert not far_off(done, shares_of(log_probs))
    estimates, evidence = np.exp([made.log_evidence for made in done]), np.exp(log_probs[np.isfinite(log_probs)]).sum()
    assert abs(estimates.mean() - evidence) < 4.5 * estimates.std() / math.sqrt(MANY) + 1e-6


def test_one_particle_does_not_know_of_later_locks():
    done = drawn(PLAIN, infilling=InfillOptions(1))
    assert far_off(done, shares_of(exact(PLAIN)), errors=5)
    naive = [PLAIN.generate(3, sampling=SamplingOptions(seed=seed), locks=LAST)[0] for seed in range(20)]
    assert all(np.array_equal(made.hits, piece) for made, piece in zip(done, naive, strict=False))
    estimates, evidence = np.exp([made.log_evidence for made in done]), np.exp(exact(PLAIN)).sum()
    assert abs(estimates.mean() - evidence) < 4.5 * estimates.std() / math.sqrt(MANY)


def test_the_music_before_and_the_plan_enter_the_posterior():
    earlier, plan = hits(6), make_plan(LABELS, sections="verse:1 chorus:2", density=[0.1, 0.9, 0.9])
    wanted = shares_of(exact(OBEDIENT, earlier, plan))
    options = {"context": earlier[:4], "plan": plan, "infilling": InfillOptions(16)}
    plain = [
        infill(OBEDIENT, LAST, earlier[4:], SamplingOptions(guidance=0, seed=seed), **options) for seed in range(MANY)
    ]
    assert not far_off(plain, wanted)
    for other in (exact(OBEDIENT, earlier), exact(OBEDIENT, hits(6, seed=3), plan)):
        assert np.abs(shares_of(other) - wanted).max() > 0.02


def test_with_a_temperature_the_target_is_the_one_that_is_stated():
    """prod_t p(locked_t | x_<t) q(free_t | locked_t, x_<t), listed for all pieces."""
    total, state, temperature = np.zeros(64), PLAIN.start(64), 0.5
    for step in range(3):
        combos, log_probs = state.dist.candidates()
        is_locked, values = LAST.known[0, step], LAST.values[0, step]
        given = np.where(((combos == values) | ~is_locked).all(-1), log_probs, -math.inf)
        evidence = np.log(np.exp(given).sum(-1))
        chosen = (combos == PIECES[:, step, None]).all(-1)
        free = np.exp(given / temperature)
        total += evidence + np.log((free * chosen).sum(-1) / free.sum(-1) + 1e-300)
        state = PLAIN.advance(PIECES[:, step], state)
    assert not far_off(
        drawn(PLAIN, sampling=SamplingOptions(temperature), infilling=InfillOptions(16)), shares_of(total)
    )


def test_a_horizon_leaves_later_bars_out_of_account():
    ending = lock_ending(2, hits(12))
    near = Locks(ending.known[:, :4], ending.values[:, :4])
    without_later = [
        infill(PLAIN, ending, sampling=SamplingOptions(seed=seed), infilling=InfillOptions(64, 0)) for seed in range(8)
    ]
    bar = [
        infill(PLAIN, ending, sampling=SamplingOptions(seed=seed), infilling=InfillOptions(64, 1)) for seed in range(8)
    ]
    whole = [infill(PLAIN, ending, sampling=SamplingOptions(seed=seed)) for seed in range(8)]
    assert all(np.array_equal(made.hits[2:], ending.values[0, 2:]) for made in without_later)
    plain = [
        infill(PLAIN, near, sampling=SamplingOptions(seed=seed), infilling=InfillOptions(64, 0)).hits[:2]
        for seed in range(8)
    ]
    assert all(np.array_equal(made.hits[:2], short) for made, short in zip(without_later, plain, strict=True))
    assert any(not np.array_equal(one.hits, other.hits) for one, other in zip(without_later, whole, strict=True))
    assert without_later[0].log_evidence == 0 > bar[0].log_evidence > whole[0].log_evidence


# ---------------------------------------------------------------------- locked cells


@pytest.mark.parametrize("player", [PLAIN, SOFTMAX], ids=["mixture", "softmax"])
@pytest.mark.parametrize(
    ("sampling", "infilling"),
    [
        (SamplingOptions(), InfillOptions()),
        (SamplingOptions(0.0), InfillOptions()),
        (SamplingOptions(2.0, 0.3), InfillOptions(5)),
        (SamplingOptions(bias={"0": 100.0, "1": -100.0}), InfillOptions(5)),
        (SamplingOptions(), InfillOptions(1)),
        (SamplingOptions(), InfillOptions(7, 0)),
    ],
)
def test_locked_cells_stay(player, sampling, infilling):
    locks = sprinkled(24)
    made = infill(player, locks, hits(5), sampling, infilling=infilling).hits
    assert made.shape == (24, 2) and made.dtype == np.uint8
    assert ((made == locks.values[0]) | ~locks.known[0]).all() and set(np.unique(made)) <= {0, 1}


def test_locked_cells_stay_under_guidance_and_where_they_are_all_but_impossible():
    model = make(2, **TWO, labels=LABELS)
    model.output_layer.project.bias.fill_(-80)  # it plays nothing at all
    locks, plan = sprinkled(12, share=0.5), make_plan(LABELS, sections="verse:1 chorus:2")
    done = infill(model.player(), locks, sampling=SamplingOptions(guidance=3.0), plan=plan)
    assert np.array_equal(done.hits[locks.known[0]], locks.values[locks.known]) and locks.values.any()
    assert math.isfinite(done.log_evidence)


def test_notes_of_a_track_are_filled_around_drums_and_drums_around_notes():
    whole = music("tracks", 12, rows=1)[0]
    for kept in (slice(0, 3), slice(3, None)):
        is_locked = np.zeros(whole.shape, bool)
        is_locked[:, kept] = True
        for sampling in (SamplingOptions(), SamplingOptions(0.7), SamplingOptions(0.9, 0.8)):
            done = infill(player("tracks"), Locks(is_locked, whole), sampling=sampling, infilling=InfillOptions(4))
            assert np.array_equal(done.hits[:, kept], whole[:, kept])
            assert (done.hits[:, 3:].sum(-1) <= 1).all() and math.isfinite(done.log_evidence)


def test_all_locked_comes_back_and_weighs_what_it_is_likely():
    music = hits(9)
    done = infill(PLAIN, Locks(np.ones_like(music, bool), music))
    assert np.array_equal(done.hits, music) and done.smallest == 64
    assert done.log_evidence == pytest.approx(PLAIN.log_prob(music).sum(), abs=1e-6)


def test_nothing_locked_later_is_plain_generation():
    for is_locked in (
        np.zeros((20, 2), bool),
        np.eye(20, 2, k=1, dtype=bool) * 0 + (np.arange(40) == 1).reshape(20, 2),
    ):
        locks = Locks(is_locked, hits(20))
        done = infill(PLAIN, locks, hits(), SamplingOptions(seed=3))
        assert np.array_equal(done.hits, PLAIN.generate(20, hits(), SamplingOptions(seed=3), locks=locks)[0])
        assert (done.effective_sample_size == 64).all() and done.warning == ""


def test_no_steps_to_fill_are_no_steps():
    done = infill(PLAIN, lock_ending(0, hits(0)))
    assert done.hits.shape == (0, 2) and done.log_evidence == 0 and done.smallest == 64


def test_the_same_seed_gives_the_same_music():
    first, again, other = (infill(PLAIN, sprinkled(), sampling=SamplingOptions(seed=seed)).hits for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert infill(PLAIN, sprinkled(), sampling=SamplingOptions(seed=None)).hits.shape == (16, 2)


# ---------------------------------------------------------------------- how well the particles stand for it


def test_the_effective_sample_size_is_between_one_and_the_particles():
    done = infill(PLAIN, sprinkled(32), infilling=InfillOptions(32))
    assert done.effective_sample_size.shape == (32,)
    assert (done.effective_sample_size >= 1 - 1e-9).all() and (done.effective_sample_size <= 32 + 1e-9).all()
    assert done.smallest < 32 and done.particles == 32
    assert effective_sample_size(np.zeros(8)) == pytest.approx(8)
    assert effective_sample_size(np.array([0.0, -1e9, -1e9])) == pytest.approx(1)


def test_too_few_effective_particles_are_warned_of():
    sizes = np.full(4, 9.0)
    assert InfillResult(hits(4), sizes, 0.0, 16).warning == ""
    sizes[2] = 1.25
    assert "effective sample size 1.2 of 16 particles at step 2" in InfillResult(hits(4), sizes, 0.0, 16).warning
    assert InfillResult(hits(4), np.ones(4), 0.0, 1).warning == ""  # of one particle


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"primer": np.zeros((3, 4, 2))}, r"primer of shape \(3, 4, 2\)"),
        ({"context": np.zeros((4, 3))}, r"context of shape \(4, 3\)|primer of shape \(4, 3\)"),
        ({"locks": Locks(np.zeros((2, 4, 2), bool), np.zeros((2, 4, 2)))}, "locks: 2 rows"),
        ({"locks": sprinkled(voices=3)}, "1 rows of 3 columns, expected 1 or 1 rows of 2"),
        ({"plan": make_plan(LABELS, 2)}, "made without labels"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(options, words):
    with pytest.raises(HypermeterError, match=words):
        infill(PLAIN, options.pop("locks", sprinkled()), **options)


# ---------------------------------------------------------------------- variation


def test_strength_zero_is_the_groove_and_strength_one_is_anew():
    music = hits(16, 4)
    assert np.array_equal(vary(FOUR, music, 0.0).hits, music)
    assert np.array_equal(
        vary(FOUR, music, 1.0, SamplingOptions(seed=4)).hits, FOUR.generate(16, sampling=SamplingOptions(seed=4))[0]
    )


def test_the_chunks_of_a_smaller_strength_are_among_those_of_a_larger():
    """As changes to a groove that the model never plays show: all that is free falls silent."""
    model = make(4, **TWO)
    model.output_layer.project.bias.fill_(-80)
    player, music = model.player(), np.ones((17, 4), np.uint8)
    freed = [vary(player, music, strength, infilling=InfillOptions(1)).hits == 0 for strength in (0, 0.2, 0.5, 0.9, 1)]
    assert [cells.mean() for cells in freed] == pytest.approx([0, 0.2, 0.5, 0.9, 1], abs=0.05)
    assert all((later | ~earlier).all() for earlier, later in pairwise(freed))
    beats = freed[2][:16].reshape(8, 2, 4)  # a beat of two steps is freed as one
    assert (beats.all(1) == beats.any(1)).all() and len(np.unique(beats.any(1), axis=0)) > 2
    other = vary(player, music, 0.5, SamplingOptions(seed=1), infilling=InfillOptions(1)).hits == 0
    assert not np.array_equal(other, freed[2])


def test_a_variation_keeps_the_voices_that_are_named():
    music = hits(16, 4)
    made = vary(FOUR, music, 1.0, keep=[0, 3]).hits
    assert np.array_equal(made[:, [0, 3]], music[:, [0, 3]]) and not np.array_equal(made, music)


def test_a_variation_is_planned_as_the_groove_is_measured_from_the_first_bar_of_the_context():
    music, context, options = hits(16), hits(8, seed=5), {"infilling": InfillOptions(8)}
    measured, nothing = (vary(OBEDIENT, music, 1.0, plan=plan, **options).hits for plan in (None, Plan.free(4)))
    assert np.array_equal(measured, vary(OBEDIENT, music, 1.0, plan=plan_of(music, GRID), **options).hits)
    assert not np.array_equal(measured, nothing)
    whole = plan_of(np.concatenate([context, music]), GRID)
    later = [vary(OBEDIENT, music, 1.0, context=context, plan=plan, **options).hits for plan in (None, whole)]
    assert np.array_equal(*later)
    strict = vary(OBEDIENT, music, 1.0, SamplingOptions(guidance=50.0), **options).hits
    assert np.array_equal(strict, measured)  # guidance counts for nothing


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strength": 1.5}, "strength is 1.5, expected from 0 to 1"),
        ({"strength": math.nan}, "strength is nan"),
        ({"keep": [2]}, "keep: no column 2, expected 0 to 1"),
        ({"keep": [-1]}, "keep: no column -1"),
        ({"hits": hits(0)}, "groove: no steps in it"),
        ({"hits": hits(4, 3)}, r"groove of shape \(4, 3\)"),
    ],
)
def test_a_variation_that_cannot_be_is_refused_in_one_line(options, words):
    with pytest.raises(HypermeterError, match=words):
        vary(PLAIN, **{"hits": hits(), "strength": 0.5} | options)


def test_of_particles_the_last_goes_on_where_it_has_all_the_weight():
    weights = np.array([-np.inf, -np.inf, 0.0])
    assert _resample(weights, 4, 0.5).tolist() == [2, 2, 2, 2]
    assert _resample(np.log([0.25, 0.25, 0.5]), 4, 0.5).tolist() == [0, 1, 2, 2]

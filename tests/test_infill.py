"""Infill: locked cells stay, what is drawn around them is the model's posterior, and a variation has a strength."""

import math
from itertools import pairwise, product

import pytest
import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.model.generate import Locks, generate
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.model.infill import Infilled, combine, infill, lock_all_but, lock_ending, lock_voices, vary
from hypermeter.model.plan import FILL, make_plan, plan_of

GRID = Grid(2, 2, 2)  # bars of 4 steps
LABELS = {"section": ["verse", "chorus"], "style": ["rock", "jazz"], "fill": list(FILL)}
ENCODERS = {"gru": {}, "transformer": {"use_transformer": True, "attention_window": 8}}
OUTPUTS = {
    "mixture": {"num_components": 3},
    "softmax": {"output": "softmax", "known": [[0, 0], [1, 0], [1, 1]]},
}


def make(voices=2, **options):
    """A small model whose steps depend strongly on those before."""
    torch.manual_seed(0)
    model = HierarchicalDrumModel(voices, 16, 8, 8, grid=GRID, **options).eval()
    with torch.no_grad():
        model.output_layer.project.weight.mul_(6)
        model.output_layer.project.bias.zero_()
    return model


@pytest.fixture(params=[(encoder, output) for encoder in ENCODERS for output in OUTPUTS], ids="-".join)
def model(request):
    encoder, output = request.param
    return make(**ENCODERS[encoder], **OUTPUTS[output])


def make_obedient(voices=2):
    """One that takes plans, and whose steps depend strongly on them."""
    model = make(voices, labels=LABELS)
    with torch.no_grad():
        model.steering.step.out.weight.mul_(30)
    return model


def hits(rows=1, steps=16, voices=2, seed=1):
    return (torch.rand(rows, steps, voices, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


def sprinkled(rows=1, steps=16, voices=2, share=0.3, seed=2):
    """Locks here and there."""
    known = torch.rand(rows, steps, voices, generator=torch.Generator().manual_seed(seed)) < share
    return Locks(known, hits(rows, steps, voices))


# ---------------------------------------------------------------------- against all pieces that there are


LAST = Locks(  # of the first step one cell, of the last both
    torch.tensor([[[False, True], [False, False], [True, True]]]),
    torch.tensor([[[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]]),
)


def every_piece(steps, voices=2):
    return torch.tensor(list(product([0.0, 1.0], repeat=steps * voices))).view(-1, steps, voices)


def exact_posterior(model, locks, heard=None, **asked):
    """All pieces, log p(piece and locked cells) after what is heard; -inf where it has not the locked cells."""
    pieces = every_piece(locks.num_steps)
    music = pieces if heard is None else torch.cat([heard.expand(len(pieces), -1, -1), pieces], 1)
    with torch.no_grad():
        log_probs = model.log_prob(music, **asked)[:, -locks.num_steps :].sum(-1)
    agrees = ((pieces == locks.values) | ~locks.known).flatten(1).all(-1)
    return log_probs.masked_fill(~agrees, -math.inf)


def shares(made):
    """How often each of all pieces was made."""
    steps, voices = made.shape[1:]
    places = 2 ** torch.arange(steps * voices - 1, -1, -1)
    numbers = (made.flatten(1).long() * places).sum(-1)
    return torch.bincount(numbers, minlength=2 ** (steps * voices)).double() / len(made)


def far_off(made, expected, errors=4.0):
    """Whether any piece came more or less often than chance allows, at so many standard errors."""
    found, expected = shares(made), expected.double()
    allowed = errors * (expected * (1 - expected) / len(made)).sqrt() + 2 / len(made)
    return bool(((found - expected).abs() > allowed).any())


def test_what_is_drawn_is_the_posterior_of_all_pieces(model):
    """The oracle lists all 64 pieces of three steps and two voices."""
    log_probs = exact_posterior(model, LAST)
    done = infill(model, LAST, particles=32, pieces=1000, seed=0)
    assert not far_off(done.hits, log_probs.softmax(-1))


def test_to_lock_the_voices_of_the_same_step_alone_is_not_the_posterior(model):
    expected = exact_posterior(model, LAST).softmax(-1)
    naive = generate(model, length=3, batch_size=4000, locks=LAST, seed=0)
    assert far_off(naive, expected, errors=5.0)
    assert torch.equal(infill(model, LAST, particles=1, pieces=4000, seed=0).hits, naive)


def test_the_evidence_is_an_unbiased_estimate_of_the_probability_of_the_locked_cells(model):
    exact = exact_posterior(model, LAST).logsumexp(-1).exp().item()
    for particles in (1, 4, 32):
        estimates = infill(model, LAST, particles=particles, pieces=1000, seed=1).log_evidence.exp()
        error = estimates.std() / math.sqrt(len(estimates))
        assert estimates.mean().item() == pytest.approx(exact, abs=4 * error.item() + 1e-6)


def test_what_was_heard_and_what_is_asked_enter_the_posterior():
    model, heard = make_obedient(), hits(steps=6)
    plan = make_plan(LABELS, sections="verse:1 chorus:2", density=[0.1, 0.9, 0.9])
    expected = exact_posterior(model, LAST, heard, plan=plan).softmax(-1)
    done = infill(model, LAST, heard[:, 4:], context=heard[:, :4], plan=plan, particles=32, pieces=1000, seed=0)
    assert not far_off(done.hits, expected)
    for other in ({}, {"plan": plan, "heard": hits(steps=6, seed=3)}):
        nearest = exact_posterior(model, LAST, **({"heard": heard} | other)).softmax(-1)
        assert not torch.allclose(nearest, expected, atol=0.02)


def test_with_a_temperature_the_target_is_the_one_that_is_stated():
    """prod_t p(locked_t | x_<t) q(free_t | locked_t, x_<t), listed for all pieces."""
    model, temperature = make(), 0.5
    pieces, total = every_piece(3), torch.zeros(64, dtype=torch.double)
    with torch.no_grad():
        state = model.init_state(64)
        for step, x in enumerate(pieces.unbind(1)):
            combos, log_probs = model.predict(state).candidates()
            known, values = LAST.known[0, step], LAST.values[0, step]
            agrees = ((combos == values) | ~known).all(-1)
            given = log_probs.masked_fill(~agrees, -math.inf)
            chosen = (combos == x[:, None]).all(-1)
            free = (given / temperature).log_softmax(-1)[chosen]
            total += given.logsumexp(-1) + free
            state = model.advance(x, state)
    done = infill(model, LAST, temperature=temperature, particles=32, pieces=1000, seed=0)
    assert not far_off(done.hits, total.softmax(-1))


def test_a_horizon_leaves_later_bars_out_of_account():
    model, locks = make(), lock_ending(2, hits(steps=12))
    short = infill(model, Locks(locks.known[:, :4], locks.values[:, :4]), pieces=20, seed=0)
    done = infill(model, locks, horizon_bars=0, pieces=20, seed=0)
    assert torch.equal(done.hits[:, 2:], locks.values[:, 2:].expand(20, -1, -1))
    assert not torch.equal(infill(model, locks, pieces=20, seed=0).hits, done.hits)
    assert short.hits.shape == (20, 4, 2)


# ---------------------------------------------------------------------- locked cells


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.0},
        {"temperature": 2.0, "top_p": 0.3},
        {"voice_bias": [100.0, -100.0]},
        {"particles": 1},
        {"particles": 5, "pieces": 3},
        {"horizon_bars": 0},
    ],
    ids=str,
)
def test_locked_cells_are_the_same_in_every_piece(model, options):
    locks = sprinkled(steps=24)
    made = infill(model, locks, hits(steps=5), seed=0, **options).hits
    assert made.shape == (options.get("pieces", 1), 24, 2)
    same = (made == locks.values) | ~locks.known
    assert same.all()
    assert set(made.unique().tolist()) <= {0.0, 1.0}


def test_locked_cells_stay_under_guidance_and_where_they_are_impossible():
    model = make_obedient()
    with torch.no_grad():
        model.output_layer.project.bias.fill_(-80)  # it plays nothing at all
    locks = sprinkled(steps=12, share=0.5)
    plan = make_plan(LABELS, sections="verse:1 chorus:2")
    made = infill(model, locks, plan=plan, guidance=3.0, seed=0).hits
    assert torch.equal(made[locks.known], locks.values[locks.known])
    assert locks.values[locks.known].any()


def test_each_piece_may_have_locks_of_its_own():
    locks = sprinkled(rows=3)
    made = infill(make(), locks, pieces=3, particles=8, seed=0).hits
    assert torch.equal(made[locks.known], locks.values[locks.known])


def test_all_locked_comes_back_and_weighs_what_it_is_likely():
    model, music = make(), hits(steps=9)
    done = infill(model, Locks(torch.ones_like(music, dtype=torch.bool), music), seed=0)
    assert torch.equal(done.hits, music)
    assert done.log_evidence.item() == pytest.approx(model.log_prob(music).sum().item(), abs=1e-3)
    assert done.smallest == 64


def test_nothing_locked_is_plain_generation():
    model = make()
    free = lock_ending(20, hits(steps=0))
    assert torch.equal(infill(model, free, hits(), seed=3).hits, generate(model, hits(), 20, seed=3)[:, 16:])


def test_after_the_last_lock_it_is_plain_generation_given_the_locks():
    model = make()
    known = torch.zeros(1, 20, 2, dtype=torch.bool)
    known[:, 0, 1] = True
    locks = Locks(known, hits(steps=20))
    done = infill(model, locks, hits(), seed=3)
    assert torch.equal(done.hits, generate(model, hits(), 20, seed=3, locks=locks)[:, 16:])
    assert (done.effective_sample_size == 64).all()


def test_the_same_seed_gives_the_same_music_and_pieces_differ():
    model, locks = make(), sprinkled()
    first, again, other = (infill(model, locks, pieces=4, seed=seed).hits for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len(first.unique(dim=0)) > 1


# ---------------------------------------------------------------------- how well the particles stand for it


def test_the_effective_sample_size_is_between_one_and_the_particles():
    done = infill(make(), sprinkled(steps=32), particles=32, pieces=3, seed=0)
    assert done.effective_sample_size.shape == (3, 32)
    assert (done.effective_sample_size >= 1 - 1e-4).all() and (done.effective_sample_size <= 32 + 1e-3).all()
    assert done.smallest < 32 and done.particles == 32


def test_too_few_effective_particles_are_told():
    sizes = torch.full((1, 4), 9.0)
    done = Infilled(hits(steps=4), sizes, torch.zeros(1), 16)
    assert done.warning == ""
    sizes[0, 2] = 1.25
    assert "effective sample size 1.2 of 16 particles at step 2" in done.warning


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"particles": 0}, "particles is 0, expected at least 1"),
        ({"pieces": 0}, "pieces is 0"),
        ({"horizon_bars": -1}, "horizon_bars is -1"),
        ({"start_seq": hits(3)}, "primer of 3 rows"),
        ({"context": hits(3)}, "context .*3"),
        ({"pieces": 3, "context": hits(2)}, "context .*2"),
        ({"locks": sprinkled(rows=2)}, "locks: 2 rows"),
        ({"locks": sprinkled(voices=3)}, "1 rows of 3 columns, expected 1 or 1 rows of 2"),
        ({"temperature": -1.0}, "temperature"),
        ({"plan": make_plan(LABELS, 2)}, "made without labels"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(options, words):
    with pytest.raises(HypermeterError, match=words):
        infill(make(), options.pop("locks", sprinkled()), **options)


# ---------------------------------------------------------------------- locks from music


def test_voices_bars_and_an_ending_make_locks():
    music = hits(steps=10, voices=3)
    kept = lock_voices(music, [0, 2])
    assert kept.known[..., [0, 2]].all() and not kept.known[..., 1].any()
    replaced = lock_all_but(music, [1], GRID)
    assert (~replaced.known).nonzero()[:, 1].unique().tolist() == [4, 5, 6, 7]
    short = lock_all_but(music, [2], GRID)  # the last bar has two steps
    assert (~short.known).nonzero()[:, 1].unique().tolist() == [8, 9]
    ending = lock_ending(6, music)
    assert ending.num_steps == 16 and not ending.known[:, :6].any()
    assert torch.equal(ending.values[:, 6:], music) and ending.known[:, 6:].all()
    with pytest.raises(HypermeterError, match="bar 3, counted from 0, expected one of the 3"):
        lock_all_but(music, [3], GRID)


def test_locks_combine_and_contradictions_are_told():
    music = hits(steps=10)
    both = combine(lock_voices(music, [0]), lock_ending(8, music))
    assert both.num_steps == 18
    assert both.known[0, :10, 0].all() and not both.known[0, :8, 1].any() and both.known[0, 10:].all()
    assert torch.equal(both.values[:, 10:], music[:, 2:])
    with pytest.raises(HypermeterError, match="two values for step"):
        combine(lock_voices(music, [0]), lock_voices(1 - music, [0]))
    with pytest.raises(HypermeterError, match="none to combine"):
        combine()


# ---------------------------------------------------------------------- variation


def test_strength_zero_is_the_groove_and_strength_one_is_anew():
    model, music = make(4), hits(3, 16, 4)
    assert torch.equal(vary(model, music, 0.0, seed=0).hits, music)
    anew = vary(model, music, 1.0, seed=0).hits
    assert torch.equal(anew, generate(model, length=16, batch_size=3, seed=0))


def test_what_changes_grows_with_the_strength():
    model, music = make(4), hits(24, 16, 4)
    strengths = (0.0, 0.25, 0.5, 0.75, 1.0)
    changed = [
        (vary(model, music, each, particles=8, seed=0).hits != music).float().mean().item() for each in strengths
    ]
    assert changed == sorted(changed) and changed[0] == 0
    assert all(later > earlier + 0.02 for earlier, later in pairwise(changed))


def test_a_variation_keeps_the_voices_that_are_named():
    music = hits(2, 16, 4)
    made = vary(make(4), music, 1.0, keep=[0, 3], seed=0).hits
    assert torch.equal(made[..., [0, 3]], music[..., [0, 3]])
    assert not torch.equal(made, music)


def test_a_variation_asks_for_what_the_groove_has_from_the_first_bar_that_is_heard():
    model, music, heard = make_obedient(4), hits(1, 16, 4), hits(1, 8, 4, seed=5)
    options = {"strength": 1.0, "seed": 0, "particles": 8}
    measured, nothing = (vary(model, music, plan=plan, **options).hits for plan in (None, make_plan(LABELS, 4)))
    assert torch.equal(measured, vary(model, music, plan=plan_of(music, GRID), **options).hits)
    assert not torch.equal(measured, nothing)
    whole = plan_of(torch.cat([heard, music], 1), GRID)
    later = [vary(model, music, context=heard, plan=plan, **options).hits for plan in (None, whole)]
    assert torch.equal(*later)


def test_a_strength_out_of_range_is_said_in_one_line():
    with pytest.raises(HypermeterError, match="strength is 1.5, expected from 0 to 1"):
        vary(make(), hits(), 1.5)

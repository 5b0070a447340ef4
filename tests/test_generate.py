"""Generation: lengths, seeds, primers of any length, and that it is the model's own distribution that plays.

Then what steers it: music heard before, cells that are locked, and a plan that is followed more or less closely.
"""

import math
import time
from itertools import islice

import jaxtyping
import pytest
import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.model.generate import Guided, GuidedDistribution, Locks, generate, listen, stream
from hypermeter.model.heads import MixtureHead, SoftmaxHead
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.model.plan import FILL, Plan, make_plan


@pytest.fixture(scope="module", params=[False, True], ids=["recurrent", "transformer"])
def model(request):
    torch.manual_seed(0)
    small = {"step_hidden_dim": 16, "bar_hidden_dim": 16, "phrase_hidden_dim": 16, "attention_window": 20}
    return HierarchicalDrumModel(4, use_transformer=request.param, attention_bars=3, grid=Grid(2, 2), **small).eval()


@pytest.fixture
def primer():
    return (torch.rand(2, 13, 4, generator=torch.Generator().manual_seed(1)) < 0.3).float()


def test_the_result_is_the_primer_and_length_steps_more(model, primer):
    made = generate(model, primer, 30, seed=0)
    assert made.shape == (2, 43, 4)
    assert torch.equal(made[:, :13], primer)
    assert set(made.unique().tolist()) <= {0.0, 1.0}


def test_the_primer_can_be_left_out_of_the_result(model, primer):
    whole = generate(model, primer, 30, seed=0)
    assert torch.equal(generate(model, primer, 30, seed=0, include_primer=False), whole[:, 13:])


def test_without_a_primer_the_batch_size_is_given(model):
    assert generate(model, length=5, batch_size=3, seed=0).shape == (3, 5, 4)
    assert generate(model, length=0, batch_size=3).shape == (3, 0, 4)


def test_no_new_steps_give_the_primer_back(model, primer):
    assert torch.equal(generate(model, primer, 0), primer)


def test_the_model_method_is_the_same(model, primer):
    assert torch.equal(model.generate(primer, 20, 0.8, seed=3), generate(model, primer, 20, 0.8, seed=3))


def test_the_same_seed_gives_the_same_music_and_another_seed_other_music(model, primer):
    first, again, other = (generate(model, primer, 100, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_global_seed_is_neither_read_nor_moved(model, primer):
    torch.manual_seed(5)
    first = generate(model, primer, 20, seed=1)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)
    assert torch.equal(generate(model, primer, 20, seed=1), first)


def test_a_longer_piece_begins_as_the_shorter_one(model, primer):
    assert torch.equal(generate(model, primer, 64, seed=4)[:, :33], generate(model, primer, 20, seed=4))


def test_stream_gives_what_generate_gives(model, primer):
    steps = torch.stack(list(islice(stream(model, primer, seed=2), 25)), 1)
    assert torch.equal(steps, generate(model, primer, 25, seed=2, include_primer=False))


def test_a_state_stands_for_the_music_that_made_it(model, primer):
    state = listen(model, primer)
    from_state = torch.stack(list(islice(stream(model, state=state, seed=2), 25)), 1)
    assert torch.equal(from_state, generate(model, primer, 25, seed=2, include_primer=False))
    halves = listen(model, primer[:, 6:], listen(model, primer[:, :6]))
    assert torch.equal(torch.stack(list(islice(stream(model, state=halves, seed=2), 25)), 1), from_state)


def test_what_was_played_long_ago_still_changes_what_comes(model):
    loud, quiet = torch.ones(1, 40, 4), torch.zeros(1, 40, 4)
    same = torch.zeros(1, 4, 4)
    after = [model.predict(listen(model, torch.cat([each, same], 1))).probs for each in (loud, quiet)]
    assert not torch.allclose(*after, atol=1e-6)


def test_temperature_zero_plays_the_likeliest_combination_each_time(model, primer):
    made = generate(model, primer, 12, 0.0, include_primer=False)
    state = listen(model, primer)
    for x in made.unbind(1):
        combos, log_probs = model.predict(state).candidates()
        row = torch.arange(2)
        assert torch.equal(x, combos[row, log_probs.argmax(-1)])
        state = model.advance(x, state)


def test_a_bias_makes_its_voice_busier_and_no_other_silent(model):
    def share(**options):
        return generate(model, length=200, batch_size=8, seed=0, **options).mean((0, 1))

    plain, biased = share(), share(voice_bias=[3.0, 0.0, 0.0, 0.0])
    assert biased[0] > plain[0] + 0.2
    assert (biased[1:] > 0).all()


def test_a_small_top_p_is_less_varied(model):
    def variety(**options):
        return len(generate(model, length=100, batch_size=4, seed=0, **options).flatten(0, 1).unique(dim=0))

    assert variety(top_p=0.3) < variety()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -1.0}, "temperature -1.0"),
        ({"top_p": 0.0}, "top_p 0.0"),
        ({"temperature": float("inf")}, "temperature inf"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"voice_bias": [float("inf"), 0.0, 0.0, 0.0]}, r"voice_bias is \[inf, .*expected each from -100 to 100"),
        ({"voice_bias": [float("nan"), 0.0, 0.0, 0.0]}, r"voice_bias is \[nan"),
        ({"voice_bias": [1e30, 0.0, 0.0, 0.0]}, "expected each from -100 to 100"),
        ({"seed": -1}, "seed is -1, expected 0 to"),
        ({"seed": 2**63}, "seed is 9223372036854775808, expected 0 to"),
        ({"voice_bias": [1.0]}, r"voice_bias of shape \(1,\), expected \(4,\)"),
        ({"length": -1}, "length is -1"),
        ({"start_seq": torch.full((1, 4, 4), 0.5)}, "primer: values other than 0 and 1"),
        ({"start_seq": torch.full((1, 4, 4), math.nan)}, "primer: values other than 0 and 1"),
        ({"context": torch.full((1, 4, 4), 2.0)}, "context: values other than 0 and 1"),
        ({"start_seq": torch.zeros(1, 4, 9)}, r"primer of shape \(1, 4, 9\), expected \(batch, steps, 4 voices\)"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(model, options, words):
    with pytest.raises(HypermeterError, match=words):
        generate(model, **options)


@pytest.mark.parametrize("bias", [-100.0, 100.0])
def test_the_largest_bias_is_never_or_always(model, bias):
    made = generate(model, length=10, seed=0, voice_bias=[bias, 0.0, 0.0, 0.0])
    assert (made[..., 0] == (bias > 0)).all()


@pytest.mark.parametrize("temperature", [1e-50, 1e-30, 1e-5])
def test_a_temperature_near_zero_is_as_zero(model, primer, temperature):
    assert torch.equal(generate(model, primer, 10, temperature, seed=0), generate(model, primer, 10, 0.0, seed=0))


# ---------------------------------------------------------------------- with more voices than can be listed


def test_a_tempered_step_of_many_voices_takes_milliseconds():
    dist = MixtureHead(8, 47)(torch.randn(1, 8))
    started = time.perf_counter()
    for _ in range(20):
        dist.sample(0.8, 0.9)
    assert time.perf_counter() - started < 2


def test_combinations_of_many_voices_that_differ_in_one_voice_are_told_apart():
    voices = 100
    known = torch.cat([torch.zeros(1, voices), torch.eye(voices)])
    dist = SoftmaxHead(8, voices, known.int().tolist())(torch.randn(1, 8).expand(len(known), 8))
    assert (dist.log_prob(known) >= dist.log_probs_known[0, :-1]).all()
    assert (dist.log_prob(torch.ones_like(known)) < dist.log_probs_known[0, :-1].min()).all()


# ---------------------------------------------------------------------- context


def test_a_context_is_a_longer_primer_that_is_not_given_back(model, primer):
    whole = generate(model, primer, 30, seed=0)
    made = generate(model, primer[:, 6:], 30, context=primer[:, :6], seed=0)
    assert torch.equal(made, whole[:, 6:])
    assert torch.equal(generate(model, length=30, context=primer, seed=0), whole[:, 13:])


def test_one_context_is_heard_by_all_pieces(model, primer):
    context = primer[:1].expand(3, -1, -1)
    one = generate(model, length=20, context=primer[:1], batch_size=3, seed=0)
    assert torch.equal(one, generate(model, length=20, context=context, seed=0))


def test_the_start_of_a_long_context_is_not_forgotten(model):
    """Longer than any window: what was played first still changes the distribution."""
    loud, quiet = torch.ones(1, 80, 4), torch.zeros(1, 80, 4)
    same = torch.zeros(1, 4, 4)
    states = [listen(model, same, listen(model, each)) for each in (loud, quiet)]
    assert not torch.equal(*(model.predict(state).probs for state in states))


def test_no_new_steps_after_a_context_are_no_steps(model, primer):
    assert generate(model, length=0, context=primer).shape == (2, 0, 4)


# ---------------------------------------------------------------------- locks


@pytest.fixture
def locks():
    random = torch.Generator().manual_seed(2)
    known = torch.rand(1, 20, 4, generator=random) < 0.4
    return Locks(known, (torch.rand(1, 20, 4, generator=random) < 0.5).float())


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.0}, {"temperature": 3.0, "top_p": 0.2}, {"voice_bias": [100.0, -100.0, 100.0, -100.0]}],
    ids=str,
)
def test_locked_cells_come_out_as_they_are(model, primer, locks, options):
    made = generate(model, primer, 30, seed=0, locks=locks, include_primer=False, **options)
    assert ((made[:, :20] == locks.values) | ~locks.known).all()


def test_locks_of_later_steps_do_not_change_the_draws_before_them(model, primer, locks):
    later = Locks(locks.known & (torch.arange(20) >= 12)[:, None], locks.values)
    plain, locked = (generate(model, primer, 30, seed=0, locks=each) for each in (None, later))
    assert torch.equal(plain[:, : 13 + 12], locked[:, : 13 + 12])
    assert not torch.equal(plain, locked)


def test_voices_are_drawn_given_the_locked_ones_of_their_step(model, primer):
    """The oracle is Bayes over the listed combinations."""
    known, values = torch.tensor([[[True, False, False, True]]]), torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
    state = listen(model, primer[:1])
    combos, log_probs = (each[0] for each in model.predict(state).candidates())
    agrees = (combos[:, 0] == 1) & (combos[:, 3] == 0)
    expected = log_probs.masked_fill(~agrees, -torch.inf).softmax(-1) @ combos
    rows = listen(model, primer[:1]).select(torch.zeros(4000, dtype=torch.long))
    made = next(stream(model, state=rows, locks=Locks(known, values), seed=0)).mean(0)
    assert (made - expected).abs().max() < 4 * 0.5 / 4000**0.5


def test_nothing_locked_is_the_music_without_locks(model, primer):
    free = Locks(torch.zeros(1, 5, 4, dtype=torch.bool), torch.zeros(1, 5, 4))
    assert torch.equal(generate(model, primer, 9, seed=0, locks=free), generate(model, primer, 9, seed=0))


@pytest.mark.parametrize(
    ("known", "values", "words"),
    [
        (torch.ones(1, 2, 4), torch.full((1, 2, 4), 0.5), "neither 0 nor 1"),
        (torch.ones(3, 2, 4), torch.ones(3, 2, 4), "locks: 3 rows of 4 columns, expected 1 or 2 rows of 4"),
        (torch.ones(1, 2, 3), torch.ones(1, 2, 3), "locks: 1 rows of 3 columns"),
    ],
)
def test_locks_that_do_not_fit_are_said_in_one_line(model, primer, known, values, words):
    with pytest.raises(HypermeterError, match=words):
        generate(model, primer, 4, locks=Locks(known.bool(), values))


def test_the_rows_are_those_of_the_state(model, primer):
    state = listen(model, primer[:1].expand(3, -1, -1))
    made = generate(model, primer[:1], 4, state=state, seed=0)
    alike = generate(model, primer[:1].expand(3, -1, -1), 4, state=state, seed=0)
    assert torch.equal(made, alike) and len(made) == 3
    assert generate(model, length=0, state=state).shape == (3, 0, 4)
    with pytest.raises(HypermeterError, match="primer of 2 rows beside 3 pieces"):
        generate(model, primer, 4, state=state)


# ---------------------------------------------------------------------- plans and guidance

LABELS = {"section": ["verse", "chorus"], "style": ["rock", "jazz"], "fill": list(FILL)}
PLAN = make_plan(LABELS, sections="verse:4 chorus:8", style="jazz", density=0.4)
OUTPUTS = {
    "mixture": {"num_components": 3},
    "softmax": {"output": "softmax", "known": [[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 0, 1]]},
}


@pytest.fixture(scope="module", params=OUTPUTS)
def planned(request):
    torch.manual_seed(0)
    small = {"step_hidden_dim": 16, "bar_hidden_dim": 16, "phrase_hidden_dim": 16}
    return HierarchicalDrumModel(4, labels=LABELS, grid=Grid(2, 2), **small, **OUTPUTS[request.param]).eval()


def both_sides(model, rows=1):
    """With the plan and without it, after the same three steps."""
    music = (torch.rand(rows, 3, 4, generator=torch.Generator().manual_seed(3)) < 0.3).float()
    return [model.predict(listen(model, music, model.init_state(rows, plan))) for plan in (PLAN, Plan.free())]


def test_a_plan_changes_the_music_and_counts_from_the_first_bar_heard(planned, primer):
    plain, asked = (generate(planned, primer, 60, seed=0, plan=plan) for plan in (None, PLAN))
    assert not torch.equal(plain, asked)
    context = generate(planned, primer[:, 5:], 60, context=primer[:, :5], seed=0, plan=PLAN)
    assert torch.equal(context, asked[:, 5:])


def test_guidance_zero_is_the_plan_itself(planned, primer):
    made = generate(planned, primer, 30, seed=0, plan=PLAN, guidance=0.0)
    assert torch.equal(made, generate(planned, primer, 30, seed=0, plan=PLAN))
    asked, free = both_sides(planned, 2)
    combos, log_probs = GuidedDistribution(asked, free, 0.0).candidates()
    assert torch.equal(combos, asked.candidates()[0])
    torch.testing.assert_close(log_probs, asked.candidates()[1].log_softmax(-1), atol=1e-5, rtol=0)


def test_the_formula_of_guidance():
    torch.manual_seed(0)
    asked, free = MixtureHead(8, 4)(torch.randn(2, 1, 8))
    combos, log_probs = GuidedDistribution(asked, free, 1.5).candidates()
    scores = 2.5 * asked.log_prob(combos[0]) - 1.5 * free.log_prob(combos[0])
    torch.testing.assert_close(log_probs[0], scores.log_softmax(-1), atol=1e-5, rtol=0)


def test_more_guidance_goes_further_towards_the_plan(planned):
    """How much better the plan explains what is played: its mean grows with guidance, by its variance."""

    def gain(guidance):
        made = generate(planned, length=48, batch_size=32, seed=0, plan=PLAN, guidance=guidance)
        with torch.no_grad():
            return (planned.log_prob(made, plan=PLAN) - planned.log_prob(made)).mean().item()

    gains = [gain(guidance) for guidance in (0.0, 3.0, 12.0)]
    assert gains[0] < gains[1] < gains[2]


def test_bias_and_locks_are_one_before_and_after_guidance(planned):
    """The oracle tilts, conditions and normalises the listed combinations of the guided distribution."""
    asked, free = both_sides(planned)
    bias, known, values = (
        torch.tensor([1.0, -2.0, 0.5, 0.0]),
        torch.tensor([[True, False, False, False]]),
        torch.ones(1, 4),
    )
    combos, plain = GuidedDistribution(asked, free, 2.0).candidates()
    _, changed = GuidedDistribution(asked, free, 2.0).tilt(bias).condition(known, values).candidates()
    scores = (plain + combos @ bias).masked_fill(combos[..., 0] == 0, -torch.inf)
    torch.testing.assert_close(changed.exp(), scores.softmax(-1), atol=1e-4, rtol=0)


def test_locked_cells_stay_under_guidance(planned, primer, locks):
    for temperature in (0.0, 1.0):
        made = generate(planned, primer, 20, temperature, plan=PLAN, guidance=4.0, locks=locks, seed=0)[:, 13:]
        assert ((made == locks.values) | ~locks.known).all()


def test_guidance_at_temperature_zero_takes_the_likeliest_of_the_guided(planned):
    made = generate(planned, length=6, temperature=0.0, plan=PLAN, guidance=2.0)
    guided = Guided(planned, 2.0)
    state = guided.init_state(1, PLAN)
    for x in made.unbind(1):
        combos, log_probs = guided.predict(state).candidates()
        assert torch.equal(x, combos[:, log_probs[0].argmax()])
        state = guided.advance(x, state)


def test_guidance_of_many_voices_is_over_combinations_that_are_drawn():
    torch.manual_seed(0)
    asked, free = (MixtureHead(8, 20)(torch.randn(3, 8)) for _ in range(2))
    dist, generator = GuidedDistribution(asked, free, 1.0), torch.Generator().manual_seed(0)
    combos, log_probs = dist.candidates(generator)
    row, place = 1, int(log_probs[1].argmax())
    ratio = asked[row].log_prob(combos[row, place]) - free[row].log_prob(combos[row, place])
    first = asked[row].log_prob(combos[row, 0]) - free[row].log_prob(combos[row, 0])
    own = asked[row].log_prob(combos[row, place]) - asked[row].log_prob(combos[row, 0])
    assert (log_probs[row, place] - log_probs[row, 0]).item() == pytest.approx((own + ratio - first).item(), abs=1e-3)
    assert dist.sample(0.8, 0.9, generator).shape == (3, 20)


def test_a_guided_state_goes_on_and_forks(planned, primer):
    guided = Guided(planned, 2.0)
    state = listen(guided, primer, guided.init_state(2, PLAN))
    whole = generate(planned, primer, 20, seed=1, plan=PLAN, guidance=2.0, include_primer=False)
    steps = torch.stack(list(islice(stream(planned, state=state, guidance=2.0, seed=1), 20)), 1)
    assert torch.equal(steps, whole)
    swapped = guided.predict(state.select(torch.tensor([1, 0])))
    torch.testing.assert_close(swapped.candidates()[1].flip(0), guided.predict(state).candidates()[1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"guidance": 1.0}, "guidance without a plan"),
        ({"guidance": -1.0, "plan": PLAN}, "guidance is -1.0, expected from 0 to 100"),
        ({"guidance": float("nan"), "plan": PLAN}, "guidance is nan"),
        ({"guidance": 1.0, "plan": Plan.free(3, 2)}, "a plan of 3 rows, expected 1 or 1"),
        ({"plan": Plan.free(3, 2)}, "3 rows"),
        ({"context": torch.zeros(3, 4, 4), "start_seq": torch.zeros(2, 4, 4)}, "context of 3 rows beside 2 pieces"),
        ({"context": torch.zeros(1, 4, 9)}, r"shape \(1, 4, 9\)"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_line(planned, options, words, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(HypermeterError, match=words):
        generate(planned, length=2, **options)


def test_a_state_has_a_plan_of_its_own(planned):
    with pytest.raises(HypermeterError, match="a plan beside a state"):
        stream(planned, state=planned.init_state(1), plan=PLAN)
    with pytest.raises(HypermeterError, match="guidance beside a state without it"):
        stream(planned, state=planned.init_state(1), guidance=1.0)
    guided = Guided(planned, 2.0)
    with pytest.raises(HypermeterError, match="a state with guidance, and none given"):
        stream(planned, state=guided.init_state(1, PLAN))
    assert next(stream(guided, state=guided.init_state(1, PLAN))).shape == (1, 4)


def test_a_model_without_labels_takes_no_plan(model):
    with pytest.raises(HypermeterError, match="made without labels"):
        generate(model, length=2, plan=PLAN)

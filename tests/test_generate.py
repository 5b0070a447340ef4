"""Generation: lengths, seeds, primers of any length, and that it is the model's own distribution that plays."""

import time
from itertools import islice

import pytest
import torch

from hypermeter.generate import generate, listen, stream
from hypermeter.grid import Grid, HypermeterError
from hypermeter.heads import MixtureHead, SoftmaxHead
from hypermeter.model import HierarchicalDrumModel


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


# With more voices than can be enumerated.


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

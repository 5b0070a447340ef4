"""Rollouts: they stream what one parallel pass would say, from silence, after primers and with plans."""

import pickle
import sys
from copy import copy, deepcopy
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from torch.testing import assert_close

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.learn.rl.rollout import Rollout, rollout, view
from hypermeter.model import Parts
from hypermeter.model.hierarchical import HierarchicalDrumModel, load
from hypermeter.model.plan import Plan
from hypermeter.play.distribution import Mixture

GRID = Grid(steps_per_beat=1, beats_per_bar=4, bars_per_phrase=2)
STEPS = 19
MODELS = {
    "recurrent": {},
    "Transformer": {"use_transformer": True},
    "softmax": {"output": "softmax"},
    "labels": {"labels": {"section": ["A", "B"]}},
    "tracks": {"tracks": [{"name": "bass", "lowest": 36, "highest": 47, "program": 33, "programs": (32, 39)}]},
}


def model_of(name="recurrent"):
    torch.manual_seed(0)
    options = {"num_components": 3, "parts": Parts(attention_bars=4), "grid": GRID}
    return HierarchicalDrumModel(3, 8, 8, 8, 1, **options, **MODELS[name]).eval()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", MODELS)
def test_log_probs_are_those_of_one_parallel_pass(name):
    model = model_of(name)
    played = rollout(model, 5, STEPS, generator=generator())
    assert played.hits.shape == (5, STEPS, model.width) and played.log_probs.shape == (5, STEPS)
    assert set(played.hits.unique().tolist()) == {0, 1}
    assert not played.log_probs.requires_grad
    seen = view(model, played)
    assert seen.log_probs.requires_grad and seen.features.shape == (5, STEPS + 1, 8)
    assert_close(played.log_probs, seen.log_probs.detach(), rtol=1e-5, atol=1e-5)
    assert_close(played.log_probs, model.log_prob(played.hits).detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 5])
def test_a_primer_conditions_the_steps_and_is_not_among_them(rows):
    model = model_of()
    primer = (torch.rand(rows, 8, 3, generator=generator(1)) < 0.4).float()
    played = rollout(model, 5, STEPS, start_seq=primer, generator=generator())
    assert played.hits.shape == (5, STEPS, 3) and played.primer_steps == 8
    assert_close(played.sequence[:, :8], primer.expand(5, -1, -1))
    assert_close(played.log_probs, view(model, played).log_probs.detach(), rtol=1e-5, atol=1e-5)
    assert_close(played.log_probs, model.log_prob(played.sequence)[:, 8:].detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 4])
def test_a_plan_conditions_the_stream_and_the_pass_alike(rows):
    model = model_of("labels")
    plan = Plan.free(rows, 5)
    plan.labels[:, ::2, 0] = 1
    plan.numbers[..., 1] = 0.4
    played = rollout(model, 4, STEPS, plan=plan, generator=generator())
    assert_close(played.log_probs, view(model, played).log_probs.detach(), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(played.log_probs, model.log_prob(played.hits), atol=1e-3)
    some = played.select(torch.tensor([3, 1]))
    assert_close(view(model, some).log_probs, view(model, played).log_probs[[3, 1]])


def change_weights(model):
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(0.2 * torch.randn(weights.shape, generator=generator(2)))


@pytest.mark.parametrize("name", MODELS)
def test_log_probs_that_are_read_later_are_those_of_the_weights_that_played(name):
    model = model_of(name)
    read, unread = (rollout(model, 5, STEPS, generator=generator()) for _ in range(2))
    expected = read.log_probs
    change_weights(model)
    some = unread.select(torch.tensor([3, 1]))
    assert torch.equal(unread.log_probs, expected)
    assert torch.equal(some.log_probs, expected[[3, 1]])
    assert not torch.allclose(view(model, unread).log_probs, expected, atol=1e-3)


def test_neither_playing_nor_selecting_rows_computes_log_probs(monkeypatch):
    computed = []
    log_prob = Mixture.log_prob
    monkeypatch.setattr(Mixture, "log_prob", lambda dist, x: computed.append(len(x)) or log_prob(dist, x))
    some = rollout(model_of(), 5, STEPS, generator=generator()).select(torch.tensor([3, 1]))
    assert computed == []
    assert some.log_probs.shape == (2, STEPS) and computed == [5] * STEPS
    assert some.select(torch.tensor([0])).log_probs.equal(some.log_probs[:1]) and computed == [5] * STEPS


def test_hits_that_are_changed_leave_the_log_probs_as_they_were():
    read, unread = (rollout(model_of(), 1, STEPS, generator=generator()) for _ in range(2))
    expected = read.log_probs
    unread.hits.fill_(1)
    assert torch.equal(unread.log_probs, expected)


@pytest.mark.parametrize(
    "copied",
    [lambda played: pickle.loads(pickle.dumps(played)), copy, deepcopy, lambda played: replace(played, plan=None)],
)
def test_a_rollout_is_copied_with_its_log_probs(copied):
    first, second = (rollout(model_of(), 5, STEPS, generator=generator()) for _ in range(2))
    again = copied(first)
    assert torch.equal(again.hits, second.hits) and torch.equal(again.log_probs, second.log_probs)
    assert torch.equal(first.log_probs, second.log_probs)


def test_the_same_generator_plays_the_same():
    model = model_of()
    first, again, other = (rollout(model, 4, STEPS, generator=generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.hits, again.hits) and torch.equal(first.log_probs, again.log_probs)
    assert not torch.equal(first.hits, other.hits)


class Custom(HierarchicalDrumModel):
    """A model that the engine does not know, so that it is played in PyTorch."""


def custom(name="recurrent"):
    model = model_of(name)
    model.__class__ = Custom
    return model


@pytest.mark.parametrize("make", [model_of, custom])
@pytest.mark.parametrize("name", MODELS)
def test_a_row_is_the_same_in_batches_of_any_size(name, make):
    model, primer = make(name), torch.zeros(1, 5, model_of(name).width)
    whole = rollout(model, 40, STEPS, start_seq=primer, generator=generator())
    for first, rows in ((0, 16), (23, 17), (7, 2), (0, 1), (39, 1)):
        part = rollout(model, rows, STEPS, start_seq=primer, generator=generator(), first_row=first)
        assert torch.equal(part.hits, whole.hits[first : first + rows])
        assert_close(part.log_probs, whole.log_probs[first : first + rows], rtol=1e-5, atol=1e-5)
    assert len(whole.hits.flatten(1).unique(dim=0)) > 35


def test_a_row_of_the_shipped_model_is_the_same_in_batches_of_any_size():
    model = load("groove")
    whole = rollout(model, 64, 20, generator=generator())
    for first, rows in ((0, 16), (48, 16), (13, 1)):
        part = rollout(model, rows, 20, generator=generator(), first_row=first)
        assert torch.equal(part.hits, whole.hits[first : first + rows])


@pytest.mark.parametrize("name", MODELS)
def test_the_engine_and_pytorch_play_the_same(name):
    plan = None
    if name == "labels":
        plan = Plan.free(1, 5)
        plan.numbers[..., 1] = 0.4
    one, other = (rollout(make(name), 6, STEPS, plan=plan, generator=generator()) for make in (model_of, custom))
    assert torch.equal(one.hits, other.hits)
    assert_close(one.log_probs, other.log_probs, rtol=1e-5, atol=1e-5)


def test_after_an_update_the_present_weights_are_played():
    model = model_of()
    before = rollout(model, 4, STEPS, generator=generator())
    change_weights(model)
    after = rollout(model, 4, STEPS, generator=generator())
    assert not torch.equal(before.hits, after.hits)
    assert_close(after.log_probs, view(model, after).log_probs.detach(), rtol=1e-5, atol=1e-5)


def test_a_model_in_double_precision_is_played_in_double_precision():
    played = rollout(model_of().double(), 2, STEPS, generator=generator())
    assert played.hits.dtype == played.log_probs.dtype == torch.float64
    assert torch.equal(played.hits.float(), rollout(model_of(), 2, STEPS, generator=generator()).hits)


def test_a_generator_is_advanced_by_a_rollout():
    model, source = model_of(), generator()
    first, second = (rollout(model, 4, STEPS, generator=source).hits for _ in range(2))
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    default = rollout(model, 4, STEPS).hits
    torch.manual_seed(3)
    assert torch.equal(default, rollout(model, 4, STEPS).hits)


def test_pieces_are_as_likely_as_the_model_says():
    """Frequencies of the first step's eight combinations over 4,096 pieces, within four standard errors."""
    model = model_of()
    played = rollout(model, 4096, 1, generator=generator())
    every = torch.tensor([[n & 1, n >> 1 & 1, n >> 2 & 1] for n in range(8)]).float()
    chance = model.log_prob(every[:, None])[:, 0].exp().detach()
    share = (played.hits[:, 0, None] == every).all(-1).float().mean(0)
    assert ((share - chance).abs() < 4 * (chance * (1 - chance) / 4096).sqrt()).all()


def test_rows_are_selected_with_their_primers():
    hits, primer = torch.rand(3, 4, 2), torch.rand(3, 2, 2)
    some = Rollout(hits, hits.sum(-1), primer).select(torch.tensor([2, 0]))
    assert torch.equal(some.sequence, torch.cat([primer, hits], 1)[[2, 0]])
    assert torch.equal(some.log_probs, hits.sum(-1)[[2, 0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "expected at least 1 of both"),
        ({"steps": 0}, "expected at least 1 of both"),
        ({"first_row": 2**16 - 1}, "first row 65535 of 2, expected 0 to 65534"),
        ({"batch_size": 2**16 + 1}, "65537 rows of 4 numbers"),
        ({"start_seq": torch.zeros(3, 4, 3)}, "expected 1 or 2 rows"),
        ({"start_seq": torch.zeros(2, 4, 2)}, "expected \\(batch, steps, 3 voices\\)"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(HypermeterError, match=message):
        rollout(model_of(), **({"batch_size": 2, "steps": 4} | arguments))


@pytest.mark.parametrize(
    ("package", "name"),
    [("torch", "rollout"), ("torch", "load_reward"), ("gymnasium", "DrumsEnv"), ("gymnasium", "env.DrumsEnv")],
)
def test_without_a_package_one_line_names_the_extra_to_install(package, name, monkeypatch):
    for module in [module for module in sys.modules if module.startswith("hypermeter.learn.rl.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    module, _, name = f"hypermeter.learn.rl.{name}".rpartition(".")
    with pytest.raises(ImportError, match=rf"{module}.* needs {package}.*hypermeter\[rl\]") as caught:
        getattr(import_module(module), name)
    assert isinstance(caught.value, HypermeterError) and len(str(caught.value).splitlines()) == 1

"""The engine computes what the model computes in PyTorch, one step at a time, and its states are values."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.model.plan import Plan as TorchPlan
from hypermeter.model.playing import TorchNetwork, player_of
from hypermeter.play.layers import Tape
from hypermeter.play.plan import Plan, make_plan
from hypermeter.play.player import Player
from models import EXPRESSIVE, LABELS, MODELS, PLANNED, make, model, music, player

NEAR = {"atol": 1e-5, "rtol": 1e-5}


def plans(rows=2):
    """What is asked of two pieces, for fewer bars than they have."""
    first = make_plan(LABELS, sections="verse:1 chorus:2", style="jazz", density=[0.1, 0.6], tempo_bpm=90)
    second = make_plan(LABELS, 3, fill=[None, True, False], offbeat=0.4)
    both = [np.concatenate(parts) for parts in zip(first, second, strict=True)]
    return Plan(*both) if rows == 2 else first


def in_torch(plan):
    return TorchPlan(*(torch.from_numpy(part) for part in plan))


def states(made: Player, hits, plan=None):
    """The states before each step and after the last."""
    reached = [made.start(len(hits), plan)]
    for x in hits.swapaxes(0, 1):
        reached.append(made.advance(x, reached[-1]))
    return reached


def same(one, other):
    """Whether two states give the same, to the last bit."""
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("features",)) and np.array_equal(
        one.dist.probs, other.dist.probs
    )


# ---------------------------------------------------------------------- as in PyTorch


@pytest.mark.parametrize("name", MODELS)
def test_features_and_distributions_are_those_of_the_model(name):
    hits = music(name, 20 if "triplets" not in name else 45)
    with torch.no_grad():
        wanted = model(name)(torch.from_numpy(hits).float())
    reached = states(player(name), hits)
    np.testing.assert_allclose(np.stack([state.features for state in reached], 1), wanted.features.numpy(), **NEAR)
    probs = np.stack([state.dist.probs for state in reached], 1)
    np.testing.assert_allclose(probs, wanted.step_dist.probs.numpy(), **NEAR)
    np.testing.assert_allclose(
        player(name).log_prob(hits), model(name).log_prob(torch.from_numpy(hits).float()), atol=2e-5, rtol=1e-5
    )
    assert np.abs(np.diff(probs, axis=1)).max() > 0.05  # the steps differ


@pytest.mark.parametrize("name", PLANNED)
def test_under_a_plan_it_is_the_model_under_that_plan(name):
    hits = music(name, 20 if "triplets" not in name else 45)
    with torch.no_grad():
        wanted = model(name)(torch.from_numpy(hits).float(), plan=in_torch(plans()))
        log_probs = model(name).log_prob(torch.from_numpy(hits).float(), plan=in_torch(plans()))
    reached = states(player(name), hits, plans())
    np.testing.assert_allclose(
        np.stack([state.dist.probs for state in reached], 1), wanted.step_dist.probs.numpy(), **NEAR
    )
    np.testing.assert_allclose(player(name).log_prob(hits, plans()), log_probs, atol=5e-5, rtol=1e-5)
    free = states(player(name), hits)
    for planned, plain in zip(reached, free, strict=True):  # no encoder hears the plan
        assert np.array_equal(planned.features, plain.features) and np.array_equal(planned.free.probs, plain.dist.probs)
    assert np.abs(player(name).log_prob(hits, plans()) - player(name).log_prob(hits)).max() > 0.05


@pytest.mark.parametrize("name", EXPRESSIVE)
def test_how_hits_are_played_is_distributed_as_in_the_model(name):
    in_torch, voices = model(name), model(name).num_drums
    hits = music(name, 30)
    random = np.random.default_rng(0)
    onsets = hits[..., :voices].astype(np.float32)
    velocity = onsets * random.random(onsets.shape, np.float32)
    offset = onsets * (random.random(onsets.shape, np.float32) - np.float32(0.5))
    velocity[onsets == 0] = np.nan  # is not read
    velocity[0, 3] = offset[1, 5] = np.nan  # is heard as 0
    tempo = np.array([97.0, np.nan], np.float32)
    with torch.no_grad():
        features = in_torch(torch.from_numpy(hits).float()).features[:, :-1]
        wanted = in_torch.expression(features, *map(torch.from_numpy, (onsets, velocity, offset, tempo)))
    expression, state = player(name).network.expression, player(name).network.expression.start(2)
    for step in range(hits.shape[1]):
        dist, state = expression.predict(features[:, step].numpy(), onsets[:, step], tempo, state, step)
        (mean, scale), (shift, spread) = dist.logistics
        for actual, tensor in zip((dist.log_weights, mean, scale, shift, spread), vars(wanted).values(), strict=True):
            np.testing.assert_allclose(actual, tensor[:, step].numpy(), atol=2e-5, rtol=1e-4)
        of_one = dist.of(np.array([0, 2]))
        np.testing.assert_allclose(of_one[1][0], shift[[0, 1], [0, 2]], atol=1e-6)
        state = expression.advance(onsets[:, step], velocity[:, step], offset[:, step], state, step)


@pytest.mark.parametrize("name", ["gru", "transformer", "softmax", "tracks", "without bar attention"])
def test_a_model_that_is_played_by_its_own_steps_in_pytorch_is_the_same(name):
    stepped, hits = Player(TorchNetwork(model(name))), music(name)
    for plan in (None, plans()) if name in PLANNED else (None,):
        np.testing.assert_allclose(
            stepped.log_prob(hits, plan), player(name).log_prob(hits, plan), atol=5e-5, rtol=1e-5
        )
    swapped = stepped.consume(hits, stepped.start(2)).select(np.array([1, 0, 1]))
    expected = player(name).consume(hits, player(name).start(2)).dist.probs
    assert len(swapped) == 3 and swapped.position == 30
    np.testing.assert_allclose(swapped.dist.probs, expected[[1, 0, 1]], **NEAR)


def test_weights_are_read_as_they_are_now():
    changed = make(labels=LABELS)
    before = player_of(changed).log_prob(music("gru"))
    with torch.no_grad():
        changed.step_rnn.rnn.weight_ih_l0.mul_(1.5)
    after = player_of(changed).log_prob(music("gru"))
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, changed.log_prob(torch.from_numpy(music("gru")).float()), atol=2e-5, rtol=1e-5)


def test_a_custom_encoder_is_played_by_its_steps():
    custom = make()
    custom.step_rnn = type("Own", (type(custom.step_rnn),), {})(custom.step_rnn.rnn.input_size, 16, 2).eval()
    made = custom.player()
    assert isinstance(made.network, TorchNetwork) and isinstance(player("gru").network, type(make().player().network))
    hits = music("gru")
    with torch.no_grad():
        np.testing.assert_allclose(made.log_prob(hits), custom.log_prob(torch.from_numpy(hits).float()), atol=2e-5)


# ---------------------------------------------------------------------- causality


@pytest.mark.parametrize("name", MODELS)
def test_no_step_depends_on_a_later_one(name):
    """A change at a step changes no log probability before it, and its own only by what was played there."""
    hits = music(name, 17, rows=1)
    before = player(name).log_prob(hits)[0]
    for step in (0, 3, 4, 8, 15):
        changed = hits.copy()
        changed[:, step, 0] ^= 1
        after = player(name).log_prob(changed)[0]
        assert np.array_equal(after[:step], before[:step])
        assert after[step] != before[step] and (after[step + 1 :] != before[step + 1 :]).any()


@pytest.mark.parametrize("name", MODELS)
def test_log_prob_of_a_prefix_is_the_prefix_of_log_prob(name):
    hits = music(name, 20)
    whole = player(name).log_prob(hits)
    for length in (0, 1, 4, 5, 9):
        assert np.array_equal(player(name).log_prob(hits[:, :length]), whole[:, :length])


def test_what_was_played_before_any_window_still_counts():
    for name in ("gru", "transformer"):
        loud, quiet, alike = np.ones((40, 3)), np.zeros((40, 3)), np.zeros((6, 3))
        after = [player(name).consume(np.concatenate([first, alike]), player(name).start()) for first in (loud, quiet)]
        assert np.abs(after[0].dist.probs - after[1].dist.probs).max() > 1e-7


# ---------------------------------------------------------------------- states are values


@pytest.mark.parametrize("name", MODELS)
def test_a_state_gives_the_same_after_it_was_played_on_from_twice(name):
    hits = music(name, 26)
    plan = plans() if name in PLANNED else None
    whole = states(player(name), hits, plan)
    kept, probs = whole[11], whole[11].dist.probs.copy()
    for other_seed in (2, 3):  # two other ways on
        player(name).consume(music(name, 15, seed=other_seed), kept)
    again = player(name).consume(hits[:, 11:], kept)
    assert np.array_equal(kept.dist.probs, probs) and kept.position == 11
    assert same(again, whole[-1])


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_chosen_in_any_order_and_do_not_change_each_other(name):
    hits = music(name, 26, rows=3)
    plan = plans(1) if name in PLANNED else None
    whole, rows = player(name).consume(hits[:, :13], player(name).start(3, plan)), np.array([2, 0, 2, 1])
    chosen = player(name).consume(hits[rows, 13:], whole.select(rows))
    straight = player(name).consume(hits[rows], player(name).start(4, plan))
    np.testing.assert_allclose(chosen.dist.probs, straight.dist.probs, atol=1e-6)
    one = player(name).consume(hits[2:], player(name).start(1, plan))
    np.testing.assert_allclose(one.dist.probs[0], straight.dist.probs[0], atol=1e-6)


def test_rows_of_a_state_keep_their_plans():
    state = player("gru").consume(music("gru", 5), player("gru").start(2, plans()))
    swapped = state.select(np.array([1, 0]))
    np.testing.assert_allclose(swapped.dist.probs, state.dist.probs[::-1], atol=1e-6)
    assert np.abs(state.dist.probs[0] - state.free.probs[0]).max() > 1e-3
    assert np.array_equal(player("gru").with_plan(state, None).dist.probs, state.free.probs)


def test_two_threads_play_on_from_one_state():
    made, hits = player("transformer"), music("transformer", 40)
    start = made.consume(hits[:, :7], made.start(2))
    ways = [music("transformer", 33, seed=seed) for seed in range(2, 10)]
    wanted = [made.consume(way, start).dist.probs for way in ways]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(5):
            actual = list(threads.map(lambda way: made.consume(way, start).dist.probs, ways))
            assert all(np.array_equal(one, other) for one, other in zip(actual, wanted, strict=True))


def test_tapes_that_grow_from_one_another_share_and_those_from_the_same_do_not():
    tape, marks = Tape(2, 3, window=4), [np.full((2, 3), number, np.float32) for number in range(9)]
    tapes = [tape]
    for mark in marks:
        tapes.append(tapes[-1].append(mark))
    for length, grown in enumerate(tapes):
        assert grown.last[0, :, 0].tolist() == [*range(max(length - 4, 0), length)]
    other = tapes[3].append(marks[8])  # the place after it is taken
    assert other.last[0, :, 0].tolist() == [0, 1, 2, 8] and tapes[4].last[0, :, 0].tolist() == [0, 1, 2, 3]
    assert tapes[9].select(np.array([1, 1, 0])).last.shape == (3, 4, 3)
    assert tapes[2].append(marks[5]).append(marks[6]).last[1, :, 2].tolist() == [0, 1, 5, 6]


# ---------------------------------------------------------------------- what does not fit


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Plan.free(2, rows=3), r"plan: labels \(3, 2, 3\), .*expected both \(1 or 2, bars, 3\)"),
        (Plan.free(0), "of at least 1 bar"),
        (Plan(np.zeros((1, 2, 3), int), np.zeros((1, 3, 3))), "expected both"),
        (Plan(np.zeros((1, 2, 2), int), np.zeros((1, 2, 3))), "expected both"),
        (
            Plan(np.full((1, 2, 3), 3), np.zeros((1, 2, 3))),
            "a label outside the vocabulary, expected 0 to 2 for section",
        ),
        (Plan(np.full((1, 2, 3), -1), np.zeros((1, 2, 3))), "a label outside the vocabulary"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_in_one_line(plan, words):
    with pytest.raises(HypermeterError, match=words):
        player("gru").start(2, plan)


def test_a_model_without_labels_takes_no_plan():
    for made in (player("three layers"), Player(TorchNetwork(model("three layers")))):
        with pytest.raises(HypermeterError, match="made without labels; leave the plan out"):
            made.start(1, Plan.free(2))


def test_a_step_that_does_not_fit_is_refused_in_one_line():
    for made in (player("gru"), Player(TorchNetwork(model("gru")))):
        for x in (np.zeros((1, 3)), np.zeros((2, 4)), np.zeros(3)):
            with pytest.raises(HypermeterError, match=r"step of shape .*, expected \(2, 3\)"):
                made.advance(x, made.start(2))

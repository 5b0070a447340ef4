"""Drums that have learnt to follow taps: nothing heard too early, free play as it was, torch and NumPy alike."""

import math

import numpy as np
import pytest
import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.io.midi.taps import TAPS
from hypermeter.learn.train.tapping import WAYS, tap
from hypermeter.model.follow import RhythmTensors
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.play.follow import follow_groove, loud_voices
from hypermeter.play.following import WINDOW, Rhythm, rhythm_of
from hypermeter.play.listening import Taps
from hypermeter.play.locks import Locks
from hypermeter.play.plan import plan_bars
from hypermeter.play.request import FollowOptions, InfillOptions, PlanOptions, SamplingOptions

KIT = load_kit("gm10")
LABELS = {"section": ["A"], "style": ["funk", "rock"], "fill": ["beat", "fill"]}
LENGTHS = (70, 40, 33)
LEARNT = FollowOptions(way="learnt")


def small(**options):
    """A small model whose part is not near 0."""
    torch.manual_seed(0)
    options = {"labels": LABELS, "use_expression": True, "use_follow": True} | options
    model = HierarchicalDrumModel(10, 16, 8, 8, kit=KIT, num_components=3, **options).eval()
    with torch.no_grad():
        for weights in model.follow.parameters():
            weights.copy_(0.3 * torch.randn(weights.shape))
        model.steering.step.out.weight.mul_(20)
    return model


@pytest.fixture(scope="module")
def model():
    return small()


def batch(steps=70, rows=3, grid=None):
    torch.manual_seed(1)
    hits = (torch.rand(rows, steps, 10) < 0.2).float()
    lengths = torch.tensor(LENGTHS[:rows]).clamp(max=steps)
    return {
        "step": hits,
        "velocity": hits * torch.rand(hits.shape),
        "offset": hits * (torch.rand(hits.shape) - 0.5),
        "tempo_bpm": torch.tensor([100.0, 140.0, math.nan][:rows]),
        "mask": torch.arange(steps) < lengths[:, None],
    }


@pytest.fixture
def taps(model):
    return tap(batch(), 10, [0, 1], model.grid)


# ---------------------------------------------------------------------- free play, and nothing heard too early


def test_free_play_is_the_same_to_the_last_bit(model):
    without = HierarchicalDrumModel(10, 16, 8, 8, kit=KIT, num_components=3, labels=LABELS, use_expression=True).eval()
    kept = {name: value for name, value in model.state_dict().items() if not name.startswith("follow.")}
    without.load_state_dict(kept)
    hits = batch()["step"]
    assert torch.equal(model.log_prob(hits), without.log_prob(hits))
    played = [one.player().generate(40, sampling=SamplingOptions(seed=3), rows=2) for one in (model, without)]
    assert np.array_equal(*played)
    states = [one.player().consume(hits[:2, :20].numpy(), one.player().start(2)) for one in (model, without)]
    assert np.array_equal(states[0].dist.logits, states[1].dist.logits)


def test_taps_change_what_is_likely_and_nothing_after_their_end(model, taps):
    hits = batch()["step"]
    free, followed = model.log_prob(hits), model.log_prob(hits, taps=taps)
    assert (free != followed)[:, :33].float().mean() > 0.9
    assert torch.equal(free[2, 33:], followed[2, 33:])


def test_later_hits_have_no_gradient_and_later_taps_have(model, taps):
    hits = batch()["step"].requires_grad_()
    steps = taps.steps.clone().requires_grad_()
    model(hits, taps=taps._replace(steps=steps)).step_dist[:, 20].logits.sum().backward()
    assert torch.count_nonzero(hits.grad[:, 20:]) == 0 and torch.count_nonzero(hits.grad[:, :20]) > 0
    assert torch.count_nonzero(steps.grad[:, 21:33]) > 0


def test_a_beginning_is_as_likely_alone_as_in_the_whole(model, taps):
    hits = batch()["step"]
    torch.testing.assert_close(model.log_prob(hits[:, :25], taps=taps), model.log_prob(hits, taps=taps)[:, :25])


# ---------------------------------------------------------------------- step by step, and the engine


@pytest.mark.parametrize("grid", [None, Grid.of_metre("6/8", steps_per_beat=2)])
def test_step_equals_forward(model, taps, grid):
    model = model if grid is None else model.on(grid)
    hits = batch()["step"]
    state, following, log_probs = model.init_state(3), model.follow_taps(taps), []
    with torch.no_grad():
        for x in hits.unbind(1):
            log_probs.append(model.predict(state, following=following).log_prob(x))
            state, following = model.advance(x, state), model.follow.advance(x, following)
        torch.testing.assert_close(torch.stack(log_probs, 1), model.log_prob(hits, taps=taps), atol=1e-4, rtol=1e-5)


OUTPUTS = [
    {},
    {"output": "sigmoid"},
    {"output": "softmax", "known": [[1] + [0] * 9, [0] * 10]},
    {"use_transformer": True},
]


@pytest.mark.parametrize("options", OUTPUTS, ids=["mixture", "sigmoid", "softmax", "transformer"])
@pytest.mark.parametrize("has_plan", [False, True])
def test_the_engine_equals_torch(options, has_plan):
    model, data = small(**options), batch()
    taps, player = tap(data, 10, [0, 1], model.grid), model.player()
    plan = None
    if has_plan:
        plan = plan_bars(model.labels, PlanOptions(style="funk", density=0.2), 5, grid=model.grid, tempo_bpm=100.0)
    with torch.no_grad():
        expected = model.log_prob(data["step"], taps=taps, plan=plan).numpy()
    for row, length in enumerate(LENGTHS):
        one = Rhythm(taps.steps[row : row + 1, :length].numpy(), taps.asked[row : row + 1].numpy(), np.array([length]))
        state, log_probs = player.start(2, plan).with_rhythm(one), []
        for step in range(70):
            x = data["step"][row, step].numpy()[None].repeat(2, 0)
            log_probs.append(state.dist.log_prob(x)[0])
            state = player.advance(x, state)
            if step == 30:
                state = state.select(np.array([1, 0, 1]))
                state = state.select(np.array([2, 1]))
        np.testing.assert_allclose(log_probs, expected[row], atol=1e-4, rtol=1e-5)


def test_a_piece_may_be_longer_than_the_window(model):
    steps = WINDOW + 40
    hits = (torch.rand(1, steps, 10, generator=torch.Generator().manual_seed(2)) < 0.2).float()
    data = {"step": hits, "velocity": 0.5 * hits, "offset": 0 * hits, "tempo_bpm": torch.tensor([90.0])}
    taps = tap(data | {"mask": torch.ones(1, steps, dtype=torch.bool)}, 10, [0, 1], model.grid)
    with torch.no_grad():
        expected = model.log_prob(hits, taps=taps)[0].numpy()
    player = model.player()
    state, log_probs = player.start(1).with_rhythm(Rhythm(*(part.numpy() for part in taps))), []
    for x in hits[0].numpy():
        log_probs.append(state.dist.log_prob(x[None])[0])
        state = player.advance(x[None], state)
    np.testing.assert_allclose(log_probs, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": torch.zeros(2, 70, 5), "asked": torch.zeros(2, 14), "length": torch.ones(2)}, "of 1 or 3 rows"),
        ({"asked": torch.zeros(3, 9)}, "taps of shapes"),
        ({"steps": torch.zeros(3, 70, 4)}, "taps of shapes"),
    ],
)
def test_taps_that_do_not_fit_are_refused(model, taps, change, words):
    with pytest.raises(HypermeterError, match=words):
        model(batch()["step"], taps=taps._replace(**change))


def test_a_model_that_has_not_learnt_it_says_so(taps):
    model = HierarchicalDrumModel(10, 8, 8, 8, kit=KIT)
    for call in (lambda: model(batch()["step"], taps=taps), lambda: model.follow_taps(taps)):
        with pytest.raises(HypermeterError, match="not learnt to follow.*--only follow"):
            call()
    with pytest.raises(HypermeterError, match="not learnt to follow"):
        follow_groove(model.player(), tapped(), following=FollowOptions(way="learnt"))


# ---------------------------------------------------------------------- drums


def tapped(steps=32, places=(0, 6, 8, 14, 16, 22, 24)):
    hits = np.zeros((steps, 1), np.uint8)
    hits[list(places)] = 1
    loud = np.resize((1.0, 0.5, 0.8), len(places))
    values = np.zeros((2, steps, 1))
    values[0, list(places), 0], values[1, list(places), 0] = loud, 0.05
    return Groove(hits, *values, 100.0, TAPS)


@pytest.fixture(scope="module")
def player(model):
    return model.player()


def test_what_taps_ask_holds_and_a_seed_is_one_music(player):
    taps, loud = tapped(), loud_voices(KIT)
    made = [
        follow_groove(player, taps, SamplingOptions(seed=seed), LEARNT, infilling=InfillOptions(1))[0]
        for seed in (1, 1, 2)
    ]
    assert made[0] == made[1] and made[0] != made[2]
    assert np.array_equal(made[0].hits[:, loud].any(1), taps.hits[:, 0] > 0)
    exact = follow_groove(player, taps, SamplingOptions(seed=1), FollowOptions(way="exact"))[0]
    assert not np.array_equal(exact.hits, made[0].hits)


def test_the_loudest_answer_has_the_touch_of_the_tap(player):
    taps = tapped()
    groove, done = follow_groove(player, taps, SamplingOptions(seed=1), LEARNT, infilling=InfillOptions(4))
    is_tap = taps.hits[:, 0] > 0
    answers = np.where(groove.hits > 0, groove.velocity, 0)[:, loud_voices(KIT)]
    np.testing.assert_allclose(answers.max(1)[is_tap], taps.velocity[is_tap, 0], atol=1e-6)
    assert done.particles == 4
    untouched = follow_groove(player, taps, SamplingOptions(seed=1), FollowOptions(touch=False, way="learnt"))[0]
    assert not np.array_equal(untouched.hits, groove.hits)


def test_plans_locks_and_temperature_steer_it(player):
    taps, hits = tapped(), np.zeros((32, 10), np.uint8)
    hits[::4, 0] = 1
    known = np.zeros(hits.shape, bool)
    known[:, 0] = True
    pattern = Groove(hits, 0.7 * hits, 0 * hits, 100.0, "gm10")
    few = InfillOptions(4)
    groove, _ = follow_groove(player, taps, following=LEARNT, pattern=pattern, locks=Locks(known, hits), infilling=few)
    assert np.array_equal(groove.hits[:, 0], hits[:, 0])
    calls = ({"plan": PlanOptions(style="funk")}, {"plan": PlanOptions(density=0.4)}, {})
    first, *others = (follow_groove(player, taps, following=LEARNT, infilling=few, **call)[0].hits for call in calls)
    assert all(not np.array_equal(first, other) for other in others)
    cold = [
        follow_groove(player, taps, SamplingOptions(0.0, seed=seed), LEARNT, infilling=few)[0].hits for seed in (1, 2)
    ]
    assert np.array_equal(*cold)


# ---------------------------------------------------------------------- taps to learn from


def only(monkeypatch, way):
    for name in WAYS:
        monkeypatch.setitem(WAYS, name, float(name == way))


@pytest.mark.parametrize("way", list(WAYS))
def test_performances_are_reduced_in_every_way(monkeypatch, way):
    only(monkeypatch, way)
    data, grid = batch(), Grid()
    taps = tap(data, 10, [0, 1], grid)
    is_tap, hits = taps.steps[..., 0] > 0, (data["step"] > 0) & data["mask"][..., None]
    assert taps.length.tolist() == list(LENGTHS) and not is_tap[~data["mask"]].any()
    counted = {"all": hits.any(-1), "kick": hits[..., 0], "loud": hits[..., :2].any(-1)}
    if way in counted:
        assert torch.equal(is_tap, counted[way])
    elif way == "noisy":
        assert (is_tap != hits.any(-1)).any()
    else:
        assert is_tap.any() and not (is_tap & ~hits.any(-1)).any() and (is_tap != hits.any(-1)).any()
    velocity, is_told = taps.steps[..., 1], taps.steps[..., 3] > 0
    assert (velocity[~is_told] == 0).all() and not (is_told & ~is_tap).any()
    is_strict = taps.asked[:, 10]
    assert set(is_strict.tolist()) <= ({0.0, 1.0} if way in ("all", "kick", "loud", "hand") else {0.0})
    assert taps.asked[:, -1].tolist() == [1, 1, 0] and taps.asked[1, -2] == pytest.approx(math.log2(140 / 120))


def test_the_taps_of_all_onsets_are_as_loud_as_the_loudest_hit(monkeypatch):
    only(monkeypatch, "all")
    data, loudest = batch(), batch()["velocity"].amax(-1)
    taps = [tap(data, 10, [0, 1], Grid()) for _ in range(20)]
    ratio = torch.stack([(one.steps[..., 1] == loudest)[one.steps[..., 3] > 0].float().mean() for one in taps])
    assert (ratio > 0.3).sum() > 10 and (ratio < 1).any()  # others as on another instrument


def test_a_bass_is_tapped_without_velocity(monkeypatch):
    monkeypatch.setattr("hypermeter.learn.train.tapping.BASS", 1.0)
    data = batch()
    data["bass"] = torch.zeros(3, 70, dtype=torch.bool)
    data["bass"][0, ::8] = True
    taps = tap(data, 10, [0, 1], Grid())
    assert torch.equal(taps.steps[0, :, 0] > 0, data["bass"][0]) and (taps.steps[0, :, 1:] == 0).all()
    assert not torch.equal(taps.steps[1, :, 0] > 0, data["bass"][1])


def test_taps_of_a_file_are_those_that_a_model_learns_from():
    is_tap = np.array([True, False, True])
    velocity, offset = np.array([0.9, np.nan, np.nan]), np.array([0.1, np.nan, -0.2])
    taps = rhythm_of(Taps(is_tap, velocity, offset), np.arange(10) < 2, True, 240.0)
    assert taps.steps[0].tolist() == [
        [1, pytest.approx(0.9), pytest.approx(0.1), 1, 1],
        [0, 0, 0, 0, 0],
        [1, 0, pytest.approx(-0.2), 0, 1],
    ]
    assert taps.asked[0].tolist() == [1, 1, *[0] * 8, 1, 1, 1, 1] and taps.length.tolist() == [3]
    assert RhythmTensors(*map(torch.as_tensor, taps)).batch_size == 1
    assert rhythm_of(Taps(is_tap, velocity, offset), np.arange(10) < 2, False, math.nan).asked[0, -4:].tolist() == [
        0,
        1,
        0,
        0,
    ]

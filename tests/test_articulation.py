"""Strokes and openness, given velocity and offset: no leak, one step as all at once, sampled; absent in old models."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.core.strokes import Strokes
from hypermeter.model.articulation import Articulation, ArticulationDistribution
from hypermeter.model.expression import Expression
from hypermeter.model.hierarchical import HierarchicalDrumModel, load
from hypermeter.model.playing import player_of
from hypermeter.play.articulating import (
    BEFORE,
    CHANNELS,
    COUNT,
    GAP,
    GAPS,
    MOST,
    OPENNESS,
    PEDAL,
    RATIO,
    RATIOS,
    SIZES,
    ArticulationNetwork,
    ArticulationSampler,
    articulation_of,
    strokes_of,
)
from hypermeter.play.compose import continue_groove, fill_groove, replace_bars
from hypermeter.play.humanize import articulate, humanize
from hypermeter.play.locks import lock_voices
from hypermeter.play.request import InfillOptions, SamplingOptions

ROWS, STEPS, VOICES, HIDDEN = 2, 21, 3, 12
TEMPO = torch.tensor([90.0, torch.nan])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def played(rows=ROWS, steps=STEPS, voices=VOICES):
    """Features, hits, velocity, offset and articulation."""
    shape = rows, steps, voices
    hits = (torch.rand(shape) < 0.5).float()
    made = torch.full((*shape, CHANNELS), torch.nan)
    count = torch.randint(1, MOST + 1, shape).float()
    made[..., COUNT], made[..., BEFORE] = count, (torch.rand(shape) * count).floor()
    for number in range(MOST - 1):
        is_there = count > number + 1
        made[..., GAPS][..., number] = torch.where(is_there, torch.rand(shape) / 4, torch.nan)
        made[..., RATIOS][..., number] = torch.where(is_there, torch.rand(shape), torch.nan)
    made[..., OPENNESS] = torch.where(torch.rand(shape) < 0.7, torch.rand(shape), torch.nan)
    features = torch.randn(rows, steps, HIDDEN)
    return features, hits, hits * torch.rand(shape), hits * (torch.rand(shape) - 0.5), made


@pytest.fixture
def articulation():
    return Articulation(HIDDEN, VOICES, wide=8, dropout=0.0).eval()


def test_the_articulations_of_a_hit_sum_to_one():
    """One stroke; two, over all gaps and ratios; all bins of openness."""
    numbers = torch.randn(1, 1, sum(SIZES.values()))
    one = torch.full((1, 1, CHANNELS), torch.nan)
    one[..., COUNT] = 1
    total = ArticulationDistribution(numbers, False).log_prob(torch.ones(1, 1), one).exp().sum()
    bins = GAP.count * RATIO.count
    ratios = torch.full((bins, 1, CHANNELS), torch.nan)
    ratios[..., COUNT], ratios[..., BEFORE] = 2, 0
    ratios[:, 0, GAPS.start] = GAP.centre(torch.arange(GAP.count)).repeat(RATIO.count)
    ratios[:, 0, RATIOS.start] = RATIO.centre(torch.arange(RATIO.count)).repeat_interleave(GAP.count)
    dist = ArticulationDistribution(numbers.expand(bins, -1, -1), False)
    both = dist.log_prob(torch.ones(bins, 1), ratios).exp().sum()
    probs = numbers[0, 0, :MOST].softmax(-1)
    places = numbers[0, 0, MOST : MOST + 2].softmax(-1)
    assert total.item() == pytest.approx(probs[0].item(), abs=1e-4)
    assert both.item() == pytest.approx((probs[1] * places[0]).item(), abs=1e-4)
    pedal = torch.full((PEDAL.count, 1, CHANNELS), torch.nan)
    pedal[..., OPENNESS] = PEDAL.centre(torch.arange(PEDAL.count))[:, None]
    dist = ArticulationDistribution(numbers.expand(PEDAL.count, -1, -1), True)
    assert dist.log_prob(torch.ones(PEDAL.count, 1), pedal).exp().sum() == pytest.approx(1, abs=1e-4)


def test_step_equals_forward(articulation):
    features, hits, velocity, offset, made = played()
    every = articulation(features, hits, velocity, offset, made, TEMPO).numbers
    state = articulation.init_state(ROWS, TEMPO)
    for place in range(STEPS):
        now = features[:, place], hits[:, place], velocity[:, place], offset[:, place]
        assert torch.allclose(articulation.step(*now, state).numbers, every[:, place], atol=1e-5)
        state = articulation.advance(hits[:, place], made[:, place], state)
    assert torch.equal(state.select(torch.tensor([1])).sums, state.sums[1:])


def test_no_step_depends_on_a_later_one_nor_on_its_own_articulation(articulation):
    features, hits, velocity, offset, made = played()
    inputs = [tensor.clone().requires_grad_() for tensor in (made.nan_to_num(), velocity, offset)]
    numbers = articulation(features, hits, inputs[1], inputs[2], inputs[0], TEMPO).numbers
    for place in (0, 7, 20):
        grads = torch.autograd.grad(numbers[:, place].sum(), inputs, retain_graph=True)
        assert not grads[0][:, place:].any() and (place == 0 or grads[0][:, :place].any())
        for grad in grads[1:]:  # Velocity and offset of the step itself are given.
            assert not grad[:, place + 1 :].any() and not grad[:, :place].any() and grad[:, place].any()


def test_log_prob_of_a_prefix_is_the_prefix_of_log_prob(articulation):
    inputs = played()
    whole = articulation.log_prob(*inputs, TEMPO)
    for length in (1, 8, 20):
        part = articulation.log_prob(*(tensor[:, :length] for tensor in inputs), TEMPO)
        assert torch.allclose(part, whole[:, :length], atol=1e-5)


def test_what_is_unknown_or_silent_is_left_out_and_features_get_no_gradient(articulation):
    features, hits, velocity, offset, made = played()
    features.requires_grad_()
    unknown = torch.full_like(made, torch.nan)
    assert (articulation.log_prob(features, hits, velocity, offset, unknown) == 0).all()
    silent = torch.where(hits[..., None] > 0, made, 99.0)
    one = articulation.log_prob(features, hits, velocity, offset, made)
    assert torch.equal(articulation.log_prob(features, hits, velocity, offset, silent), one)
    one.sum().backward()
    assert features.grad is None
    assert all(weights.grad is not None and weights.grad.any() for weights in articulation.parameters())
    only_strokes = Articulation(HIDDEN, VOICES, learns_openness=False).eval()
    without = torch.cat([made[..., :OPENNESS], torch.full_like(made[..., OPENNESS:], torch.nan)], -1)
    first = only_strokes(features, hits, velocity, offset, without).log_prob(hits, made)
    assert torch.equal(first, only_strokes(features, hits, velocity, offset, without).log_prob(hits, without))


def test_numpy_gives_what_torch_gives(articulation):
    features, hits, velocity, offset, made = played()
    weights = {f"a.{name}": tensor.numpy() for name, tensor in articulation.state_dict().items()}
    network = ArticulationNetwork.of(weights, "a", VOICES)
    assert network is not None and ArticulationNetwork.of({}, "a", VOICES) is None
    state, every = network.start(ROWS), articulation(features, hits, velocity, offset, made, TEMPO).numbers.detach()
    for place in range(STEPS):
        now = (tensor[:, place].numpy() for tensor in (features, hits, velocity, offset))
        numbers = network.predict(*now, TEMPO.numpy(), state)
        assert np.allclose(np.concatenate([*numbers.values()], -1), every[:, place].numpy(), atol=1e-5)
        state = network.advance(hits[:, place].numpy(), made[:, place].numpy(), state)


def test_samples_are_distributed_as_log_prob_says(articulation):
    """Counts, places of the hit and openness over many rows of one step."""
    rows = 4096
    features, _, velocity, offset, made = (tensor[:1].expand(rows, *tensor.shape[1:]) for tensor in played())
    weights = {f"a.{name}": tensor.numpy() for name, tensor in articulation.state_dict().items()}
    sampler = ArticulationSampler(ArticulationNetwork(weights, "a", VOICES), rows, np.nan, 3)
    ones = np.ones((rows, VOICES))
    drawn = sampler.play(features[:, 0].numpy(), ones, velocity[:, 0].numpy(), offset[:, 0].numpy(), 0)
    dist = articulation(features[:1, :1], torch.ones(1, 1, VOICES), velocity[:1, :1], offset[:1, :1], made[:1, :1])
    counts, befores, *_ = dist.numbers[0, 0].detach().split([*SIZES.values()], -1)
    for voice in range(VOICES):
        expected = counts[voice].softmax(-1).numpy()
        found = np.bincount(drawn[:, voice, COUNT].astype(int) - 1, minlength=MOST) / rows
        assert np.abs(found - expected).max() < 0.03
        of_two = drawn[drawn[:, voice, COUNT] == 2, voice, BEFORE]
        assert abs(of_two.mean() - befores[voice, :2].softmax(-1)[1]) < 4 * 0.5 / np.sqrt(len(of_two))
        assert np.isnan(drawn[drawn[:, voice, COUNT] == 2, voice, GAPS.start + 1]).all()
        openness = torch.full((PEDAL.count, VOICES, CHANNELS), torch.nan)
        openness[:, voice, OPENNESS] = PEDAL.centre(torch.arange(PEDAL.count))
        every = ArticulationDistribution(dist.numbers[0].expand(PEDAL.count, -1, -1), True)
        log_probs = every.log_prob(torch.ones(PEDAL.count, VOICES), openness).exp().detach()
        mean = float((log_probs * openness[:, voice, OPENNESS]).sum())
        assert drawn[:, voice, OPENNESS].mean() == pytest.approx(mean, abs=0.03)


def test_articulations_and_strokes_are_each_other():
    random = np.random.default_rng(0)
    hits = random.random((40, VOICES)) < 0.4
    velocity, offset = hits * random.uniform(0.6, 1, hits.shape), hits * random.uniform(-0.1, 0.1, hits.shape)
    step, voice = (places.repeat(2) for places in np.nonzero(hits))
    chosen = random.random(len(step)) < 0.4
    step, voice = step[chosen], voice[chosen]
    strokes = Strokes(step, voice, random.uniform(-0.39, 0.39, len(step)), random.uniform(0.1, 0.5, len(step)))
    made = articulation_of(hits, velocity, offset, strokes, None)
    assert np.isnan(made[..., OPENNESS]).all() and np.isnan(made[~hits]).all() and (made[hits][:, COUNT] >= 1).all()
    again = strokes_of(made, hits, velocity, offset, is_first=False)
    assert np.allclose(again.table, strokes.table, atol=1e-5, equal_nan=True)
    assert np.isnan(articulation_of(hits, velocity, offset, None, None)).all()
    first = strokes_of(made, hits, np.where(hits, velocity, 0), np.abs(offset), is_first=True)
    assert (first.offset[first.step == 0] >= 0).all()


def test_a_cell_of_many_strokes_keeps_the_nearest_and_strokes_stay_in_their_cell():
    hits, velocity, offset = np.ones((1, 1)), np.ones((1, 1)), np.zeros((1, 1))
    strokes = Strokes([0] * 5, [0] * 5, [-0.4, -0.2, -0.1, 0.1, 0.45], [0.5] * 5)
    made = articulation_of(hits, velocity, offset, strokes, None)
    assert made[0, 0, COUNT] == MOST and made[0, 0, BEFORE] == 2
    assert made[0, 0, GAPS].tolist() == pytest.approx([0.1, 0.1, 0.1])
    made[0, 0, GAPS] = 0.6, 0.6, 0.6
    wide = strokes_of(made, hits, velocity, offset, is_first=False)
    assert wide.offset.tolist() == pytest.approx([-0.5, -0.25, 0.5 - 1 / 64], abs=1e-6)


# ---------------------------------------------------------------------- in a model


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(1)
    return HierarchicalDrumModel(10, 16, 16, 16, kit=load_kit("gm10"), use_expression=True).eval()


@pytest.fixture(scope="module")
def rolling():
    """A model that plays many strokes."""
    torch.manual_seed(1)
    model = HierarchicalDrumModel(10, 16, 16, 16, kit=load_kit("gm10"), use_expression=True).eval()
    model.expression.add_articulation()
    with torch.no_grad():
        model.expression.articulation.out.bias.view(10, -1)[:, 0] -= 3
    return model


def test_a_model_with_articulation_is_saved_and_loaded_and_one_without_is_as_before(weights, rolling, tmp_path):
    rolling.save(tmp_path / "a.safetensors")
    again = load(tmp_path / "a.safetensors")
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in rolling.state_dict().items())
    weights.save(tmp_path / "b.safetensors")
    assert load(tmp_path / "b.safetensors").expression.articulation is None
    assert player_of(weights).articulation is None and player_of(again).articulation is not None
    whole = Expression(HIDDEN, VOICES, 8, 4)
    whole.add_articulation()
    first = whole.articulation
    whole.add_articulation()
    assert whole.articulation is first


def test_velocity_and_timing_are_as_without_articulation(weights, rolling):
    sampling = SamplingOptions(seed=5)
    plain, rolled = (continue_groove(player_of(model), None, 4, sampling) for model in (weights, rolling))
    shared = set(weights.state_dict())
    rolling_state = rolling.state_dict()
    assert all(torch.equal(rolling_state[name], tensor) for name, tensor in weights.state_dict().items()) and shared
    for name in ("hits", "velocity", "offset"):
        assert np.array_equal(getattr(plain, name), getattr(rolled, name))
    assert not len(plain.strokes) and len(rolled.strokes) > 5
    hats = [*load_kit("gm10").hats]
    assert not np.isnan(rolled.openness[:, hats][rolled.hits[:, hats] > 0]).any()
    assert np.isnan(np.delete(rolled.openness, hats, 1)).all() and np.isnan(plain.openness).all()
    assert (rolled.strokes.offset[rolled.strokes.step == 0] >= 0).all()
    assert continue_groove(player_of(rolling), None, 4, sampling) == rolled
    assert rolled.strokes != continue_groove(player_of(rolling), None, 4, SamplingOptions(seed=6)).strokes


def test_bars_that_are_streamed_have_the_strokes_of_the_whole(rolling):
    bars = []
    whole = continue_groove(
        player_of(rolling), None, 3, SamplingOptions(seed=2), on_bar=lambda number, bar: bars.append(bar)
    )
    assert [bar.strokes for bar in bars] == [whole.bars(bar, bar + 1).strokes for bar in range(3)]


def test_the_strokes_of_a_primer_are_heard(rolling):
    hits = np.zeros((16, 10))
    hits[::2, 1] = 1
    primer = Groove(hits)
    step, voice = np.nonzero(hits)
    rolled = replace(primer, strokes=Strokes(step, voice, [0.2] * 8, [0.4] * 8))
    unknown = replace(primer, unknown=frozenset({"strokes"}))
    player, options = player_of(rolling), {"include_primer": False}
    made = [
        continue_groove(player, groove, 8, SamplingOptions(seed=3), **options) for groove in (primer, rolled, unknown)
    ]
    assert np.array_equal(made[0].hits, made[1].hits)
    assert made[0].strokes != made[1].strokes and made[0].strokes != made[2].strokes


def test_new_hits_of_an_infill_get_strokes_and_those_that_stay_keep_theirs(rolling):
    random = np.random.default_rng(0)
    hits = random.random((32, 10)) < 0.3
    step, voice = np.nonzero(hits)
    strokes = Strokes(step[::3], voice[::3], np.full(len(step[::3]), 0.25), np.full(len(step[::3]), 0.3))
    groove = Groove(hits, strokes=strokes, openness=np.where(hits, 0.5, np.nan))
    player, infilling = player_of(rolling), InfillOptions(particles=2)
    filled, _ = replace_bars(player, groove, [1], keep=[2], infilling=infilling)
    stays = (groove.hits > 0) & (filled.hits > 0)
    kept = filled.strokes.take(stays[filled.strokes.step, filled.strokes.voice])
    assert kept == groove.strokes.take(stays[groove.strokes.step, groove.strokes.voice])
    assert np.array_equal(filled.openness[stays], groove.openness[stays], equal_nan=True)
    is_new = (filled.hits > 0) & (groove.hits == 0)
    assert (filled.stroke_counts[is_new] > 1).any()
    locked, _ = fill_groove(player, groove, lock_voices(groove.hits, [0, 1]), infilling=infilling)
    assert (locked.stroke_counts[:, :2] == groove.stroke_counts[:, :2]).all()
    same = humanize(groove, player)
    assert (same.stroke_counts == groove.stroke_counts).all() and np.array_equal(same.openness, groove.openness, True)
    assert articulate(groove, player, 0, np.zeros(hits.shape, bool)) == groove


def test_a_player_on_another_grid_plays_strokes(rolling):
    grid = Grid.of_metre("3/4")
    made = continue_groove(player_of(rolling).on(grid), None, 4, SamplingOptions(seed=1)) if rolling.on(grid) else None
    assert made is not None and len(made.strokes)

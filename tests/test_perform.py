"""How hits are played: drawn from the model's distribution of each step, what is played already stays and is heard."""

import math

import numpy as np
import pytest
import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.model import expression as in_torch
from hypermeter.model.playing import TorchNetwork
from hypermeter.play.expressing import OFFSET, VELOCITY, ExpressionSampler
from hypermeter.play.player import Player
from models import make, model, music, player

ROWS, STEPS = 2, 37
HITS = music("gru", STEPS)


def spread(rows, components=4, voices=3):
    """A step's distribution of all kinds of means, some outside the range, and scales; in NumPy and in PyTorch."""
    random, shape = np.random.default_rng(0), (rows, components, voices)
    means, scale = random.normal(size=(2, *shape)), np.broadcast_to(np.logspace(-2.6, 0, rows)[:, None, None], shape)
    log_weights = np.log(random.dirichlet(np.ones(components), rows))
    parts = (log_weights, 0.5 + means[0] / 2, scale, means[1] / 4, scale)
    return Fixed(*parts), in_torch.ExpressionDistribution(*map(torch.tensor, parts))


class Fixed:
    """An expression that plays every step alike."""

    def __init__(self, log_weights, velocity, velocity_scale, offset, offset_scale):
        self.log_weights, self.num_drums = log_weights, velocity.shape[2]
        self.logistics = ((velocity, velocity_scale), (offset, offset_scale))

    def of(self, component):
        rows = np.arange(len(component))
        return tuple((mean[rows, component], scale[rows, component]) for mean, scale in self.logistics)

    def repeated(self, times):
        parts = [part.repeat(times, 0) for pair in self.logistics for part in pair]
        return Fixed(self.log_weights.repeat(times, 0), *parts)

    def start(self, rows):
        return ()

    def predict(self, features, hits, tempo_bpm, state, position):
        return self, state

    def advance(self, hits, velocity, offset, state, position):
        return state


def drawn(dist, temperature=1.0, hits=None, known=None, seed=0, position=1):
    rows = len(dist.log_weights)
    performer = ExpressionSampler(dist, rows, 100.0, seed, temperature)
    hits = np.ones((rows, dist.num_drums)) if hits is None else hits
    return performer.play(np.zeros((rows, 1), np.float32), hits, position, known)


# ---------------------------------------------------------------------- how values are drawn


def test_drawn_values_have_the_probabilities_of_the_bins():
    fixed, dist = spread(4)
    draws = 15_000
    velocity, offset = (part.reshape(4, draws, 3) for part in drawn(fixed.repeated(draws)))
    unknown = torch.full((1, 3), math.nan, dtype=torch.double)
    for row in range(4):
        for voice, (bins, values) in enumerate(((VELOCITY, velocity), (OFFSET, offset))):
            hits = torch.zeros(bins.count, 3)
            hits[:, voice] = 1
            every = torch.from_numpy(bins.centre(np.arange(bins.count)))[:, None].expand(-1, 3)
            alike = in_torch.ExpressionDistribution(*(part[[row] * bins.count] for part in vars(dist).values()))
            told = (every, unknown.expand_as(every)) if bins is VELOCITY else (unknown.expand_as(every), every)
            wanted = alike.log_prob(hits, *told).exp().numpy()
            found = np.bincount(bins.nearest(values[row, :, voice].astype(float)).astype(int), minlength=bins.count)
            assert wanted.sum() == pytest.approx(1, abs=1e-4)
            assert (np.abs(found / draws - wanted) < 5 * np.sqrt(wanted / draws) + 2e-4).all()


def test_voices_velocity_and_offset_of_a_step_are_of_one_component():
    mean = np.broadcast_to(np.array([-0.25, 0.25])[None, :, None], (1, 2, 3))
    scale = np.full((1, 2, 3), 0.003)
    fixed = Fixed(np.log([[0.3, 0.7]]), 0.5 + mean, scale, mean, scale).repeated(4000)
    velocity, offset = drawn(fixed)
    is_late = np.concatenate([velocity > 0.5, offset > 0], 1)
    assert (is_late.all(1) | ~is_late.any(1)).all() and is_late[:, 0].mean() == pytest.approx(0.7, abs=0.04)
    for temperature, share in ((0.5, 0.49 / 0.58), (1e6, 0.5)):  # likely components become likelier, or less so
        assert (drawn(fixed, min(temperature, 10))[1][:, 0] > 0).mean() == pytest.approx(share, abs=0.12)
    known = np.full((4000, 3), math.nan), np.where(np.arange(3) == 0, -0.25, math.nan) + np.zeros((4000, 1))
    assert (drawn(fixed, known=known)[1] < 0).all()  # where one is early, so are the others


def test_the_median_is_in_the_middle_of_the_draws():
    fixed = spread(4)[0]
    middle = drawn(fixed, 0.0)
    for found, values in zip(middle, drawn(fixed.repeated(10_000)), strict=True):
        values = values.reshape(4, -1, 3)
        assert ((values < found[:, None]).mean(1) < 0.52).all() and ((values > found[:, None]).mean(1) < 0.52).all()
    near, far = (np.abs(drawn(fixed.repeated(500), each)[1] - middle[1].repeat(500, 0)).mean() for each in (0.2, 1.0))
    assert near < far
    assert all(np.array_equal(one, other) for one, other in zip(middle, drawn(fixed, 1e-7), strict=True))


@pytest.mark.parametrize("temperature", [0.0, 1e-6, 0.5, 1.0, 10.0])
def test_values_are_in_range_and_on_hits_only(temperature):
    fixed, hits = spread(64)[0], np.random.default_rng(1).random((64, 3)) < 0.5
    velocity, offset = drawn(fixed, temperature, hits)
    assert (velocity[hits] > 0).all() and (velocity <= 1).all()
    assert (offset >= -0.5).all() and (offset < 0.5).all()
    assert not velocity[~hits].any() and not offset[~hits].any()


def test_bins_have_the_probabilities_that_the_model_learns_with():
    value, random = np.array([[[0.0, 0.3, 0.99, 1.7]], [[-0.51, -0.2, 0.4, 0.01]]]), np.random.default_rng(0)
    mean, scale = random.normal(size=(2, 5, 4)), np.exp(random.normal(size=(2, 5, 4)) - 2)
    for bins in (VELOCITY, OFFSET):
        wanted = in_torch.bin_log_prob(bins, *map(torch.from_numpy, (value, mean, scale)))
        np.testing.assert_allclose(bins.log_prob(value, mean, scale), wanted, atol=1e-9)


# ---------------------------------------------------------------------- performances


@pytest.mark.parametrize("name", ["gru", "transformer", "triplets of 3/4", "tracks"])
@pytest.mark.parametrize("temperature", [1.0, 0.4, 0.0])
def test_a_performance_is_drawn_from_the_models_distribution_of_each_step(name, temperature):
    """From PyTorch's distribution given what was played before, in one pass over all steps."""
    columns = music(name, STEPS)
    hits = columns[..., :3]
    velocity, offset = player(name).perform(columns, 100.0, seed=3, temperature=temperature)
    own, onsets = model(name), torch.from_numpy(columns).float()
    with torch.no_grad():
        features = own(onsets).features[:, :-1]
        played = map(torch.from_numpy, (velocity, offset))
        dist = own.expression(features, onsets[..., :3], *played, torch.full((ROWS,), 100.0))
    parts = [part.double().numpy() for part in vars(dist).values()]
    steps = [Fixed(*(part[:, step] for part in parts)) for step in range(STEPS)]
    made = [drawn(own, temperature, hits[:, step], seed=3, position=step) for step, own in enumerate(steps)]
    wanted = np.stack(made, 2)
    assert np.isclose(velocity, wanted[0], atol=1e-6).mean() > 0.99  # a rounding may tip a value into the next bin
    assert np.isclose(offset, wanted[1], atol=1e-6).mean() > 0.99
    assert ((velocity > 0) == (hits > 0)).all() and (offset[:, 0] >= 0).all()


def test_a_seed_gives_the_same_performance_and_none_another_each_time():
    one, same, other = (player("gru").perform(HITS, 100.0, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True)) and not np.array_equal(one[0], other[0])
    first, second = (player("gru").perform(HITS, 100.0, seed=None)[0] for _ in range(2))
    assert not np.array_equal(first, second)
    alone = player("gru").perform(HITS[0], 100.0, seed=1)
    assert alone[0].shape == (STEPS, 3) and np.allclose(alone[0], one[0][0], atol=0.01)


def test_nothing_sounds_before_the_first_beat_and_the_tempo_counts():
    hits = np.ones((64, 2, 3))
    velocity, offset = player("gru").perform(hits, 100.0)
    assert (offset[:, 0] >= 0).all() and (offset[:, 1] < 0).any() and (velocity > 0).all()
    unknown, slow = (player("gru").perform(hits, tempo)[1] for tempo in (math.nan, 50.0))
    assert not np.array_equal(unknown, offset) and not np.array_equal(slow, offset)


def test_what_is_played_already_stays_and_is_heard():
    random = np.random.default_rng(0)
    stays = (random.random(HITS.shape) < 0.5) & (HITS > 0)
    velocity, offset = 0.1 + 0.8 * random.random(HITS.shape), random.random(HITS.shape) - 0.5

    def told(*values):
        return tuple(np.where(stays, value, math.nan) for value in values)

    found = player("gru").perform(HITS, 100.0, known=told(velocity, offset))
    for made, own in zip(found, (velocity, offset), strict=True):
        np.testing.assert_allclose(made[stays], own[stays], rtol=1e-6)
    other = player("gru").perform(HITS, 100.0, known=told(1 - velocity / 2, offset))
    assert not np.array_equal(found[0][~stays], other[0][~stays])
    half = player("gru").perform(HITS, 100.0, known=told(np.full(HITS.shape, math.nan), offset))
    assert (half[0][HITS > 0] > 0).all() and np.allclose(half[1][stays], offset[stays])


def test_hits_of_a_step_are_drawn_given_those_that_are_played_already():
    """Two components, early and late: where one voice is known to be late, so are the others."""
    own = make(use_expression=True)
    own.expression = in_torch.Expression(16, 3, 8, 2, steps_per_bar=4).eval().requires_grad_(False)
    own.expression.out.weight.zero_()
    own.expression.out.bias.zero_()
    mean, scale = own.expression.out.bias[2:].view(4, 2, 3)[2:]
    mean.copy_(torch.tensor([[-1.0], [1.0]]))
    scale.fill_(-9)
    hits = np.ones((ROWS, STEPS, 3))
    is_late = np.random.default_rng(0).random((ROWS, STEPS, 1)) < 0.5
    given = np.where(np.arange(3) == 0, np.where(is_late, 0.25, -0.25), math.nan)
    offset = own.player().perform(hits, 100.0, known=(np.full(hits.shape, math.nan), given))[1]
    assert np.array_equal(offset[:, 1:] > 0, np.broadcast_to(is_late, hits.shape)[:, 1:])


def test_voices_alone_are_played_where_tracks_are_silent():
    hits = music("tracks", 12)[..., :3]
    silent = np.concatenate([hits, np.zeros((2, 12, player("tracks").width - 3))], -1)
    one, other = (player("tracks").perform(each, 100.0) for each in (hits, silent))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_model_in_pytorch_performs_as_its_weights_do():
    one, other = (made.perform(HITS, 97.0) for made in (player("gru"), Player(TorchNetwork(model("gru")))))
    assert np.isclose(one[0], other[0], atol=1e-6).mean() > 0.99


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -1.0}, "temperature is -1"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"seed": -1}, "seed is -1"),
        ({"tempo_bpm": 0.0}, "tempo_bpm is 0.0, expected more than 0, or NaN"),
        ({"tempo_bpm": math.inf}, "tempo_bpm is inf"),
        ({"known": (np.zeros((2, 3)), np.zeros((4, 3)))}, r"known of shape \(2, 3\), expected \(4, 3\)"),
        ({"hits": np.zeros((4, 2))}, r"hits of shape \(4, 2\)"),
        ({"hits": np.full((4, 3), 0.5)}, "hits: values other than 0 and 1"),
    ],
)
def test_what_cannot_be_performed_is_said_in_one_line(options, words):
    with pytest.raises(HypermeterError, match=words):
        player("gru").perform(**{"hits": np.zeros((4, 3)), "tempo_bpm": 100.0} | options)


def test_a_model_that_plays_hits_only_is_refused():
    with pytest.raises(HypermeterError, match="plays hits only; use one trained with velocity and offset"):
        player("lstm").perform(np.zeros((4, 3)), 100.0)

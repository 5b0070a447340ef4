"""Playing by ONNX Runtime alone, against what PyTorch plays."""

import importlib.util
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import hypermeter.model.heads.draw
from exported import exports, folder, model  # noqa: F401
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.model import infill as in_torch
from hypermeter.model.expression import OFFSET, VELOCITY, ExpressionDistribution
from hypermeter.model.generate import GuidedDistribution
from hypermeter.model.heads import Mixture as TorchMixture
from hypermeter.model.plan import Plan, make_plan, plan_of
from hypermeter.play.runtime import Expressing, OnnxPlayer, PlanArrays, Streams, make_plan_arrays, measured_plan
from hypermeter.play.runtime.expression import Bins
from hypermeter.play.runtime.mixture import Mixture, Rules, first_above
from hypermeter.play.runtime.rng import EXPRESSION, RESAMPLING


@pytest.fixture(scope="module")
def groove() -> OnnxPlayer:
    return OnnxPlayer.load(folder("groove"))


@pytest.fixture(scope="module")
def small() -> OnnxPlayer:
    """Of three voices, so that all that can be played in a few steps can be listed."""
    return OnnxPlayer.load(folder("gru"))


def test_it_plays_without_pytorch():
    program = f"""
import sys
from pathlib import Path
import numpy as np
from hypermeter.play.runtime import OnnxPlayer, make_plan_arrays
player = OnnxPlayer.load({str(folder("gru"))!r})
plan = make_plan_arrays(player.labels, sections="rock:2 fill:1", tempo_bpm=100, density=0.2)
hits = player.generate(40, plan=plan, temperature=0.9, top_p=0.9, voice_bias=[1, 0, -1], seed=1)[0]
player.infill(np.arange(40)[:, None].repeat(3, 1) % 3 > 0, hits, particles=8)
player.vary(hits, 0.5, particles=4)
player.perform(hits, 100.0)
player.log_prob(hits)
assert hits.shape == (40, 3)
print(sorted(each for each in sys.modules if each.split(".")[0] in ("torch", "symusic", "onnx", "jaxtyping")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


# ---------------------------------------------------------------------- random numbers


def sfc32(seed: int, stream: int):
    """By whole numbers without end."""
    a, b, c, counter = seed % 2**32, seed // 2**32 % 2**32, stream % 2**32, 1
    place = 0
    while True:
        out = (a + b + counter) % 2**32
        counter = (counter + 1) % 2**32
        a, b = b ^ (b >> 9), (c + (c << 3)) % 2**32
        c = (((c << 21) | (c >> 11)) + out) % 2**32
        if place >= 12:
            yield out / 2**32
        place += 1


@pytest.mark.parametrize("seed", (0, 1, 2**32 + 7, 2**53 - 1))
def test_streams_are_those_of_sfc32(seed):
    streams = Streams(seed, RESAMPLING, 3)
    found = streams.uniforms(500)
    for row in range(3):
        reference = sfc32(seed, RESAMPLING + row)
        assert found[row].tolist() == [next(reference) for _ in range(500)]


def test_the_first_numbers_are_those_that_the_page_draws():
    assert (Streams(1).uniforms(3)[0] * 2**32).tolist() == PINNED["1, 0"]
    assert (Streams(2**53 - 1, EXPRESSION + 5).uniforms(3)[0] * 2**32).tolist() == PINNED["2**53 - 1, 65541"]


PINNED = {"1, 0": [441792574, 614447336, 1644328534], "2**53 - 1, 65541": [1472278504, 2437038785, 1223654575]}


def test_rows_that_do_not_draw_stay_where_they_are():
    one, other = Streams(5, rows=4), Streams(5, rows=4)
    one.uniforms(7, rows=2)
    assert (one.uniform()[2:] == other.uniform()[2:]).all()
    other.uniforms(6, rows=2)
    assert (one.uniforms(3, rows=2) == other.uniforms(4, rows=2)[:, 1:]).all()


def test_numbers_are_even_and_rows_unlike():
    drawn = Streams(3, rows=200).uniforms(200)
    assert abs(drawn.mean() - 0.5) < 4 / math.sqrt(12 * drawn.size)
    likeness = np.corrcoef(drawn)
    assert np.abs(likeness - np.eye(200)).max() < 6 / math.sqrt(200)


# ---------------------------------------------------------------------- the distribution of a step


def mixtures(seed: int, rows: int = 3, components: int = 4, voices: int = 5) -> tuple[TorchMixture, Mixture]:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(rows, components, generator=generator, dtype=torch.double).log_softmax(-1)
    logits = 3 * torch.randn(rows, components, voices, generator=generator, dtype=torch.double) - 1
    return TorchMixture(weights, logits), Mixture(weights.numpy(), logits.numpy())


def lock_for(rows: int, voices: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(9)
    known = torch.rand(rows, voices, generator=generator) < 0.4
    return known, (torch.rand(rows, voices, generator=generator) < 0.5).double()


BIAS = np.array([1.0, -0.5, 0, 2, -30])


def test_probabilities_are_those_of_the_heads():
    wanted, found = mixtures(0)
    x = torch.tensor([[1.0, 0, 0, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 0, 1]]).double()
    known, values = lock_for(3, 5)
    assert np.allclose(found.log_prob(x.numpy()), wanted.log_prob(x), atol=1e-12)
    assert np.allclose(found.probs, wanted.probs, atol=1e-12)
    assert np.allclose(found.log_prob_of(known.numpy(), x.numpy()), wanted.log_prob_of(x, known), atol=1e-12)
    assert np.allclose(found.log_probs(), wanted.candidates()[1], atol=1e-12)
    tilted = wanted.tilt(torch.from_numpy(BIAS))
    assert np.allclose(found.tilt(BIAS).log_probs(), tilted.candidates()[1], atol=1e-12)
    given = wanted.condition(known, values)
    assert np.allclose(found.condition(known.numpy(), values.numpy()).log_weights, given.log_weights, atol=1e-12)


@pytest.mark.parametrize("is_locked", (False, True), ids=("open", "locked"))
@pytest.mark.parametrize("bias", (None, BIAS), ids=("as it is", "biased"))
@pytest.mark.parametrize("guidance", (0.0, 0.5, 3.0))
@pytest.mark.parametrize(("temperature", "top_p"), ((1.0, 1.0), (0.7, 1.0), (1.4, 0.8), (1.0, 0.5), (0.0, 1.0)))
def test_rules_weigh_combinations_as_generation_does(monkeypatch, temperature, top_p, guidance, bias, is_locked):
    (asked, own_asked), (free, own_free) = mixtures(1), mixtures(2)
    known, values = lock_for(3, 5)
    dist = GuidedDistribution(asked, free, guidance) if guidance else asked
    dist = dist if bias is None else dist.tilt(torch.from_numpy(bias))
    dist = dist.condition(known, values) if is_locked else dist
    log_probs = dist.candidates()[1]
    if temperature:  # the heads' own tempering and cutting, before anything is drawn
        seen = []
        monkeypatch.setattr(
            hypermeter.model.heads.draw, "choose", lambda each, _: seen.append(each) or torch.zeros(3).long()
        )
        hypermeter.model.heads.choose_tempered(log_probs, temperature, top_p, None)
        wanted = seen[0].softmax(-1)
    else:
        wanted = torch.nn.functional.one_hot(log_probs.argmax(-1), 32).double()
    lock = (known.numpy(), values.numpy()) if is_locked else None
    rules = Rules(temperature, top_p, guidance, bias)
    found = np.exp(rules.log_probs(own_asked, own_free, lock))
    assert np.allclose(found, wanted, atol=1e-9)
    assert (found.argmax(-1) == wanted.argmax(-1).numpy()).all()
    if is_locked:
        told = asked if bias is None else asked.tilt(torch.from_numpy(bias))
        assert np.allclose(rules.evidence(own_asked, lock), in_torch._log_evidence(told, known, values), atol=1e-9)


@pytest.mark.parametrize("rules", (Rules(), Rules(0.8, 0.95), Rules(guidance=1.0, bias=BIAS[:4])), ids=str)
@pytest.mark.parametrize("is_locked", (False, True), ids=("open", "locked"))
def test_draws_have_the_distribution_that_the_rules_tell(rules, is_locked):
    rows = 40_000
    (_, asked), (_, free) = (mixtures(seed, 1, 3, 4) for seed in (3, 4))
    lock = (np.array([[False, True, False, False]]), np.array([[0.0, 1, 0, 0]])) if is_locked else None
    wanted = np.exp(rules.log_probs(asked, free, lock))[0]
    many = [Mixture(each.log_weights.repeat(rows, 0), each.logits.repeat(rows, 0)) for each in (asked, free)]
    many_locks = None if lock is None else tuple(each.repeat(rows, 0) for each in lock)
    uniforms = Streams(7, rows=rows).uniforms(rules.num_uniforms(4))
    x = rules.draw(*many, uniforms, many_locks)
    counts = np.bincount(x @ (1 << np.arange(4)), minlength=16)
    expected = rows * wanted
    assert not counts[wanted < 1e-12].any()
    is_likely = expected > 5
    chi_square = ((counts - expected)[is_likely] ** 2 / expected[is_likely]).sum()
    assert chi_square < is_likely.sum() + 5 * math.sqrt(2 * is_likely.sum())


def test_the_first_of_equal_combinations_is_taken():
    flat = Mixture(np.zeros((1, 1)), np.zeros((1, 1, 3)))
    assert Rules(temperature=0).log_probs(flat).argmax(-1).tolist() == [0]
    kept = np.flatnonzero(np.isfinite(Rules(top_p=0.5).log_probs(flat)[0]))
    assert kept.tolist() == [0, 1, 2, 3]
    assert first_above(np.array([[0.25, 0.25, 0.5]]), np.array([0.25])).tolist() == [1]


# ---------------------------------------------------------------------- playing


@torch.no_grad()
def test_log_probabilities_are_those_of_the_model(groove):
    hits = groove.generate(96, batch_size=3, seed=4)
    own, plan = model("groove"), make_plan(model("groove").labels, 6, style="funk", density=0.2)
    x = torch.from_numpy(hits).float()
    assert np.allclose(groove.log_prob(hits), own.log_prob(x), atol=1e-4)
    found = groove.log_prob(hits, PlanArrays(plan.labels.numpy(), plan.numbers.numpy()))
    both = Plan(plan.labels.expand(3, -1, -1), plan.numbers.expand(3, -1, -1))
    assert np.allclose(found, own.log_prob(x, plan=both), atol=1e-4)
    assert np.abs(found - groove.log_prob(hits)).max() > 0.1
    assert np.allclose(groove.log_prob(hits[1]), groove.log_prob(hits)[1], atol=1e-5)


@torch.no_grad()
def test_what_is_played_has_the_marginals_of_the_model(small):
    rows = 4_000
    hits = small.generate(2, batch_size=rows, seed=11)
    state = model("gru").init_state(1)
    first = model("gru").predict(state).probs[0].numpy()
    every = np.array([[number >> voice & 1 for voice in range(3)] for number in range(8)])
    after = [model("gru").predict(model("gru").advance(torch.tensor(each[None]).float(), state)) for each in every]
    shares = model("gru").predict(state).candidates()[1][0].exp().numpy()
    second = sum(share * dist.probs[0].numpy() for share, dist in zip(shares, after))
    for step, wanted in enumerate((first, second)):
        assert np.abs(hits[:, step].mean(0) - wanted).max() < 5 * 0.5 / math.sqrt(rows)


def test_a_seed_gives_the_same_and_rows_do_not_hang_on_each_other(groove):
    one, three = groove.generate(48, seed=5), groove.generate(48, seed=5, batch_size=3)
    assert (one[0] == three[0]).all()
    assert (one == groove.generate(48, seed=5)).all()
    assert (three[1] != three[0]).any() and (groove.generate(48, seed=6) != one).any()


def test_a_stream_goes_on_and_tells_each_step(groove):
    told = []
    hits = groove.generate(20, seed=2, on_step=lambda number, x: told.append((number, x.copy())))
    assert [number for number, _ in told] == list(range(20))
    assert (np.stack([x for _, x in told], 1) == hits).all()
    steps = groove.stream(seed=2)
    assert (np.stack([next(steps) for _ in range(20)], 1) == hits).all()
    assert groove.generate(0, batch_size=2).shape == (2, 0, 10)


def test_a_primer_is_heard_and_not_given_back(groove):
    primer = groove.generate(32, seed=1)[0]
    after = groove.generate(16, primer, seed=3)
    assert after.shape == (1, 16, 10)
    assert (after != groove.generate(16, seed=3)).any()
    two = groove.generate(16, np.stack([primer, 0 * primer]), seed=3)
    assert (two[0] == after[0]).all() and (two[1] != two[0]).any()


def test_a_plan_and_its_guidance_are_followed(groove):
    def density(guidance: float, asked: float) -> float:
        plan = make_plan_arrays(groove.labels, 4, density=asked)
        return groove.generate(64, plan=plan, guidance=guidance, batch_size=16, seed=8).mean()

    sparse, dense = density(1, 0.08), density(1, 0.3)
    assert sparse < 0.12 < 0.22 < dense
    assert density(3, 0.3) > density(0, 0.3)


def test_locked_cells_come_out_and_bias_tells(groove):
    known = np.zeros((32, 10), bool)
    known[:, 0], known[5] = True, True
    values = np.zeros((32, 10))
    values[::4, 0] = 1
    for options in ({}, {"temperature": 0.8}, {"top_p": 0.9, "voice_bias": -2 * np.ones(10)}):
        hits = groove.generate(40, locks=(known, values), seed=1, batch_size=2, **options)
        assert (hits[:, :32][:, known] == values[known]).all()
    many = [groove.generate(64, voice_bias=[0] * 9 + [bias], batch_size=8, seed=1)[..., 9].mean() for bias in (-3, 3)]
    assert many[0] < many[1] / 2


def test_temperature_nought_plays_the_likeliest(small):
    hits = small.generate(12, temperature=0, seed=1)
    assert (hits == small.generate(12, temperature=0, seed=2)).all()
    state = model("gru").init_state(1)
    for x in hits[0]:
        wanted = model("gru").predict(state).sample(0.0)
        assert (x == wanted[0].numpy()).all()
        state = model("gru").advance(torch.from_numpy(x[None]).float(), state)


# ---------------------------------------------------------------------- infill and variation


def posterior(player: OnnxPlayer, known: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """All pieces that have the locked cells, their probabilities, and log p of the locked cells."""
    free = np.argwhere(~known)
    pieces = np.repeat(values[None].astype(np.uint8), 2 ** len(free), 0)
    for place, (step, voice) in enumerate(free):
        pieces[:, step, voice] = np.arange(len(pieces)) >> place & 1
    joint = player.log_prob(pieces).sum(1)
    evidence = np.log(np.exp(joint).sum())
    return pieces, np.exp(joint - evidence), float(evidence)


def test_infill_draws_from_the_posterior(small):
    known = np.ones((4, 3), bool)
    known[0], known[1, 0] = False, False
    values = np.zeros((4, 3), np.uint8)
    values[1, 1] = values[1, 2] = values[2, 0] = 1
    pieces, shares, evidence = posterior(small, known, values)
    found = [small.infill(known, values, particles=32, seed=seed) for seed in range(1_500)]
    assert all((each.hits[known] == values[known]).all() for each in found)
    counts = np.array([[(each.hits == piece).all() for piece in pieces] for each in found]).sum(0)
    assert counts.sum() == 1_500
    spread = np.sqrt(1_500 * shares * (1 - shares))
    assert (np.abs(counts - 1_500 * shares) < 5 * spread + 1).all()
    plain = np.exp(small.log_prob(pieces)[:, :2].sum(1))
    assert np.abs(shares - plain / plain.sum()).max() > 0.06  # the locks to come matter
    estimates = np.exp([each.log_evidence - evidence for each in found])
    assert abs(estimates.mean() - 1) < 5 * estimates.std() / math.sqrt(1_500) + 1e-3


def test_infill_with_nothing_to_come_is_the_plain_draw(small):
    known, values = np.zeros((6, 3), bool), np.zeros((6, 3))
    found = small.infill(known, values, seed=3)
    assert (found.hits == small.generate(6, seed=3)[0]).all()
    assert found.log_evidence == 0 and found.smallest == 64 and found.warning == ""
    all_locked = small.infill(~known, values, seed=3)
    assert math.isclose(all_locked.log_evidence, small.log_prob(values.astype(int)).sum(), rel_tol=1e-6)


def test_infill_warns_of_few_effective_particles_and_a_horizon_forgets(small):
    known, values = np.ones((40, 3), bool), np.zeros((40, 3))
    known[:4] = False
    values[4:] = 1
    found = small.infill(known, values, particles=8, seed=0)
    assert found.effective_sample_size.shape == (40,)
    assert 1 <= found.smallest < 8
    assert bool(found.warning) == (found.smallest < 2)
    assert found.warning == "" or "more particles" in found.warning
    near = small.infill(known, values, particles=8, seed=0, horizon_bars=0)
    assert near.log_evidence == 0 and near.smallest == 8


def test_variation_changes_what_it_may(groove):
    hits = groove.generate(64, seed=1)[0]
    assert (groove.vary(hits, 0.0, seed=2) == hits).all()
    some = groove.vary(hits, 0.3, seed=2, keep=[0], particles=16)
    changed = some != hits
    assert changed.any() and not changed[:, 0].any()
    beats = changed.reshape(16, 4, 10).any(1)
    assert 0 < beats.mean() <= 0.3
    assert (groove.vary(hits, 1.0, seed=2, particles=1) != hits).mean() > changed.mean()


# ---------------------------------------------------------------------- plans

TEXTS = (
    {"bars": 4},
    {"sections": "intro:4 verse:8 fill:1 chorus:8"},
    {"sections": "verse+rock:2, verse jazz:3 chorus+fill"},
    {"sections": ["verse", None, "fill", "chorus"], "style": "jazz"},
    {"bars": 3, "fill": [True, None, False], "density": 0.3, "offbeat": [0.1, 0.5]},
    {"bars": 5, "density": [0.1, 0.2, 0.6], "tempo_bpm": 97.0},
    {"sections": "nothing:2"},
    {"sections": "verse:0"},
    {"sections": " "},
    {"sections": "verse:2", "bars": 3},
    {"bars": 2, "style": "polka"},
    {"bars": 2, "fill": [True]},
    {"bars": 2, "density": 1.5},
    {"bars": 2, "tempo_bpm": 0.0},
    {"bars": 0},
    {"sections": "a b c d e f g h i"},
)


@pytest.mark.parametrize("labels", ("groove", "gru"))
@pytest.mark.parametrize("told", TEXTS, ids=str)
def test_plans_are_those_of_make_plan(labels, told):
    vocabulary = model(labels).labels
    try:
        wanted = make_plan(vocabulary, **told)
    except HypermeterError as error:
        with pytest.raises(HypermeterError) as raised:
            make_plan_arrays(vocabulary, **told)
        assert str(raised.value) == str(error)
        return
    found = make_plan_arrays(vocabulary, **told)
    assert (found.labels == wanted.labels.numpy()).all()
    assert np.array_equal(found.numbers, wanted.numbers.numpy(), equal_nan=True)


@pytest.mark.parametrize("grid", (Grid(), Grid(steps_per_beat=2, beats_per_bar=3, bars_per_phrase=2)), ids=str)
def test_plans_are_measured_as_in_pytorch(grid):
    generator = np.random.default_rng(0)
    bar = generator.random((grid.steps_per_bar, 4)) < 0.3
    hits = np.tile(bar, (9, 1))
    hits[grid.steps_per_bar * 3 : grid.steps_per_bar * 4] ^= generator.random(bar.shape) < 0.6
    hits[grid.steps_per_bar * 6 : grid.steps_per_bar * 7] = False
    for part in (hits, hits[:-3], hits[:5], hits[: 2 * grid.steps_per_bar]):
        wanted = plan_of(torch.from_numpy(part).float()[None], grid)
        found = measured_plan(part.astype(np.uint8), grid)
        assert (found.labels == wanted.labels.numpy()).all()
        assert np.allclose(found.numbers, wanted.numbers.numpy(), atol=1e-6, equal_nan=True)


# ---------------------------------------------------------------------- expression


@torch.no_grad()
def test_hits_are_played_as_in_pytorch(groove):
    """Each step drawn from PyTorch's distribution with the player's numbers, after what the player played before."""
    hits = groove.generate(64, batch_size=2, seed=3)
    velocity, offset = groove.perform(hits, 93.0, seed=6)
    streams, own = Streams(6, EXPRESSION, 2), model("groove")
    x = torch.from_numpy(hits).float()
    features, state = own(x).features, own.expression.init_state(2, torch.tensor([93.0, 93.0]))
    played = [torch.from_numpy(each) for each in (velocity, offset)]
    agree = []
    for step in range(64):
        dist, state = own.expression.step(features[:, step], x[:, step], state)
        noise = torch.from_numpy(streams.uniforms(21)).float()
        wanted = dist.draw(x[:, step], noise)
        if step == 0:
            wanted = wanted[0], wanted[1].clamp_min(0)
        is_hit = hits[:, step] > 0
        for found, one in zip(played, wanted):
            agree += np.isclose(found[:, step][is_hit], one[is_hit], atol=1e-6).tolist()
        state = own.expression.hear(x[:, step], played[0][:, step], played[1][:, step], state)
    assert len(agree) > 100 and np.mean(agree) > 0.99  # a value on the edge of a bin may fall either way
    assert (velocity[hits == 0] == 0).all() and (offset[hits == 0] == 0).all()
    assert (velocity[hits > 0] > 0).all() and (np.abs(offset) <= 0.5).all() and (offset[:, 0] >= 0).all()
    again = groove.perform(hits[0], 93.0, seed=6)
    assert again[0].shape == (64, 10) and np.allclose(again[0], velocity[0], atol=0.01)


def distribution() -> ExpressionDistribution:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(2, 3, 4, generator=generator, dtype=torch.double) for _ in range(4)]
    weights = torch.randn(2, 3, generator=generator, dtype=torch.double).log_softmax(-1)
    scales = [(each / 2 - 2).exp() for each in rows[1::2]]
    return ExpressionDistribution(weights, 0.5 + rows[0] / 4, scales[0], rows[2] / 4, scales[1])


def test_bins_are_those_of_the_expression():
    dist = distribution()
    weights = dist.log_weights.exp().numpy()
    value = np.array([[[0.0, 0.3, 0.99, 1.7]], [[-0.51, -0.2, 0.49, 0.01]]])
    for bins, mean, scale in (
        (VELOCITY, dist.velocity_mean, dist.velocity_scale),
        (OFFSET, dist.offset_mean, dist.offset_scale),
    ):
        own = Bins(**vars(bins))
        assert np.allclose(own.nearest(value), bins.number(value))
        assert np.allclose(
            own.log_prob(value, mean.numpy(), scale.numpy()),
            bins.log_prob(torch.from_numpy(bins.number(value)), mean, scale),
            atol=1e-9,
        )
        assert np.allclose(
            own.median(weights, mean.numpy(), scale.numpy()),
            bins.median(torch.from_numpy(weights)[..., None], mean, scale),
        )


@torch.no_grad()
def test_what_is_played_already_stays_and_moves_the_others(groove):
    hits = np.zeros((8, 10), np.uint8)
    hits[:, :3] = 1
    told = np.full((2, 8, 10), np.nan)
    told[0, :, 0], told[1, :, 0] = 1.0, 0.3
    velocity, offset = groove.perform(hits, 100.0, seed=1, known=(told[0], told[1]))
    assert (velocity[:, 0] == 1).all() and np.allclose(offset[:, 0], 0.3)
    other = groove.perform(hits, 100.0, seed=1)
    assert (velocity[:, 1] != other[0][:, 1]).any()
    expressing, playing = Expressing(groove, 1, 100.0, temperature=0.0), groove.begin(1)
    dist, _ = model("groove").expression.step(
        torch.from_numpy(playing.features),
        torch.from_numpy(hits[:1]).float(),
        model("groove").expression.init_state(1, torch.tensor([100.0])),
    )
    known = torch.zeros(1, 10, dtype=torch.bool)
    known[:, 0] = True
    given = dist.condition(known, torch.full((1, 10), 1.0), torch.full((1, 10), 0.3))
    wanted = given.median(torch.from_numpy(hits[:1]).float())
    found = expressing.play(playing.features, hits[:1], (told[0][:1], told[1][:1]))
    assert np.allclose(found[0][0, 1:], wanted[0][0, 1:], atol=1e-6)
    assert np.allclose(found[1][0, 1:], wanted[1][0, 1:].clamp_min(0), atol=1e-6)


# ---------------------------------------------------------------------- what does not fit


@pytest.mark.parametrize(
    ("options", "message"),
    (
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**53}, "expected 0 to 2"),
        ({"temperature": -1.0}, "temperature -1.0, top_p 1.0"),
        ({"top_p": 0.0}, "top_p 0.0"),
        ({"voice_bias": [1.0]}, "voice_bias of shape (1,), expected (10,)"),
        ({"voice_bias": [1000.0] * 10}, "expected each from -100 to 100"),
        ({"primer": np.zeros((4, 9))}, "primer of shape (4, 9), expected (steps, 10 voices)"),
        ({"primer": np.full((4, 10), 0.5)}, "neither 0 nor 1"),
        ({"locks": (np.ones((4, 9), bool), np.zeros((4, 9)))}, "locks: known (4, 9)"),
        ({"locks": (np.ones((4, 10), bool), np.full((4, 10), 2))}, "neither 0 nor 1"),
        ({"plan": PlanArrays(np.full((1, 2, 3), 99), np.zeros((1, 2, 3), np.float32))}, "outside the vocabulary"),
        ({"plan": PlanArrays(np.zeros((2, 2, 3), int), np.zeros((2, 2, 3), np.float32))}, "1 or 1 rows"),
        ({"plan": make_plan_arrays({}), "guidance": -1}, "guidance is -1"),
        ({"batch_size": 0}, "0 rows"),
        ({"length": -1}, "length is -1"),
    ),
    ids=str,
)
def test_what_does_not_fit_is_refused_in_one_line(groove, options, message):
    with pytest.raises(HypermeterError) as error:
        groove.generate(**{"length": 2} | options)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_parts_that_the_model_does_not_have_are_refused():
    plain = OnnxPlayer.load(folder("plain"))
    with pytest.raises(HypermeterError, match="made without labels"):
        plain.generate(2, plan=make_plan_arrays({}))
    with pytest.raises(HypermeterError, match="plays hits only"):
        plain.perform(np.zeros((2, 4)), 100.0)
    with pytest.raises(HypermeterError, match="13 voices, expected at most 12"):
        Rules(temperature=0.5).check_voices(13)
    with pytest.raises(HypermeterError, match="particles is 0"):
        plain.infill(np.ones((2, 4), bool), np.zeros((2, 4)), particles=0)
    with pytest.raises(HypermeterError, match="strength is 2"):
        plain.vary(np.zeros((2, 4)), 2)


def test_folders_that_cannot_be_played_are_named(tmp_path):
    with pytest.raises(HypermeterError, match=r"no meta\.json to be read there"):
        OnnxPlayer.load(tmp_path)
    meta = json.loads((folder("plain") / "meta.json").read_text())
    for content, message in (
        ("{", "not JSON"),
        ("[]", "format list, expected 1"),
        (json.dumps(meta | {"format": 2}), "format 2, expected 1"),
        (json.dumps({"format": 1}), "nothing of expression, grid, kinds, kit"),
        (json.dumps(meta), r"step\.onnx: cannot be read"),
        (json.dumps(meta | {"tracks": [{"name": "bass"}]}), r"a model with tracks \(bass\)"),
    ):
        (tmp_path / "meta.json").write_text(content)
        with pytest.raises(HypermeterError, match=message):
            OnnxPlayer.load(tmp_path)
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    shutil.copy(folder("gru") / "step.onnx", tmp_path)
    with pytest.raises(
        HypermeterError, match=r"input asked is \[48\], meta.json says None; the files are of two models"
    ):
        OnnxPlayer.load(tmp_path)
    (tmp_path / "step.onnx").write_bytes(b"no graph")
    with pytest.raises(HypermeterError, match=r"step\.onnx: not a graph that can be run"):
        OnnxPlayer.load(tmp_path)


def test_the_guide_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "groove_onnx").symlink_to(folder("groove"))
    guide = (Path(__file__).parents[1] / "docs" / "deployment.md").read_text("utf-8")
    blocks = re.findall(r"^```py\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    found: dict = {}
    exec(compile("\n".join(blocks), "deployment.md", "exec"), found)
    assert found["done"].hits.shape == found["asked"][0].shape == (80, 10)
    assert (found["other"][:, 0] == found["asked"][0][:, 0]).all()
    assert found["velocity"].shape == (1, 10) and found["bits"].shape == (80,)


def test_the_benchmark_judges_performances_of_any_length(small, monkeypatch):
    place = Path(__file__).parents[1] / "benchmarks" / "speed"
    monkeypatch.syspath_prepend(str(place))
    spec = importlib.util.spec_from_file_location("onnx_runtime_benchmark", place / "onnx_runtime.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    performances = [small.generate(length, seed=length)[0] for length in (20, 3, 11)]
    bits = sum(-small.log_prob(hits).sum() / math.log(2) for hits in performances)
    assert math.isclose(script.bits_per_step(small, performances), bits / 34, rel_tol=1e-6)
    files = {"float32": {"step.onnx": 3_000_000}, "int8": {"step.onnx": 1_000_000}}
    ratio = {kind: script.ratio_of([2, 4], [4, 4]) for kind in files}
    result = {"model": "small", "bytes": files, "bits_per_step": {"float32": 1.5, "int8": 1.25}}
    result |= {"performances": 3, "steps": 34}
    seconds = {"PyTorch": 0.004, "float32": 0.003, "int8": 0.002}
    result["times"] = {1: {"seconds_per_step": seconds, "ratio": ratio}}
    text = script.markdown(result)
    assert "| step.onnx | 3.00 MB | 1.00 MB |" in text and "| 1.5000 | 1.2500 |" in text
    assert "| batch 1 | 4.00 ms | 3.00 ms | 2.00 ms | 0.75 (0.50 to 1.00) |" in text

"""On a CUDA device: the likelihoods are the CPU's, a seed tells the music, and runs give models for the CPU."""

import json

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from hypermeter.core.grid import Grid
from hypermeter.learn.evaluate import performance_bits
from hypermeter.learn.rl.config import ReinforceConfig
from hypermeter.learn.rl.reinforce import reinforce
from hypermeter.learn.train import TrainConfig, train
from hypermeter.model import Parts
from hypermeter.model.hierarchical import HierarchicalDrumModel, load
from hypermeter.model.plan import plan_of
from hypermeter.model.playing import TorchNetwork
from hypermeter.model.state import State
from hypermeter.play.infill import infill, vary
from hypermeter.play.locks import lock_voices
from hypermeter.play.plan import plan_of as plan_of_arrays
from hypermeter.play.player import Player
from hypermeter.play.request import InfillOptions, SamplingOptions

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]

GRID = Grid(steps_per_beat=1, beats_per_bar=4, bars_per_phrase=2)
SMALL = {"step_hidden_dim": 16, "bar_hidden_dim": 8, "phrase_hidden_dim": 8, "num_components": 4}


@pytest.fixture(scope="module", autouse=True)
def exact_products():
    """TF32 has a mantissa of ten bits: too few to compare with the CPU."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Bars that repeat, with some noise."""
    folder, random = tmp_path_factory.mktemp("npz"), np.random.default_rng(0)
    meta = np.array(json.dumps({"grid": GRID.to_dict()}))
    for split, number in (("train", 8), ("validation", 2)):
        (folder / split).mkdir()
        for index in range(number):
            hits = np.tile(random.random((8, 3)) < 0.3, (8, 1)) ^ (random.random((64, 3)) < 0.02)
            np.savez(folder / split / f"{index}.npz", sequence=hits.astype(np.uint8), meta=meta)
    return folder


def model_of(**options):
    torch.manual_seed(0)
    return HierarchicalDrumModel(3, 16, 8, 8, 1, dropout=0.0, **{"num_components": 4, "grid": GRID} | options).eval()


KINDS = [{}, {"cell": "lstm"}, {"use_transformer": True}, {"output": "sigmoid"}, {"parts": Parts(bar_attention=False)}]


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_likelihoods_are_those_of_the_cpu(options):
    hits = (torch.rand(3, 50, 3, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    model = model_of(**options)
    with torch.no_grad():
        there = model.log_prob(hits)
        here = model.cuda().log_prob(hits.cuda())
    assert here.is_cuda
    torch.testing.assert_close(here.cpu(), there, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_step_by_step_is_as_all_at_once(options):
    hits = (torch.rand(2, 40, 3, generator=torch.Generator().manual_seed(1)) < 0.3).float().cuda()
    model = model_of(**options).cuda()
    with torch.no_grad():
        state, probs = model.init_state(2), []
        for step in hits.unbind(1):
            probs.append(model.predict(state).log_prob(step))
            state = model.advance(step, state)
        torch.testing.assert_close(torch.stack(probs, 1), model.log_prob(hits), rtol=1e-4, atol=1e-4)


def test_music_is_made_there_and_the_same_seed_gives_the_same():
    model = model_of().cuda()
    primer = (torch.rand(1, 16, 3) < 0.3).float()
    first, again = (model.generate(primer.cuda().expand(2, -1, -1), 40, seed=3) for _ in range(2))
    assert first.is_cuda and first.shape == (2, 56, 3)
    assert torch.equal(first, again)
    assert torch.equal(first[:, :16].cpu(), primer.expand(2, -1, -1))


def test_the_shipped_model_follows_a_plan_there_as_here():
    model = load("groove").cuda()
    groove = model.generate(length=64, seed=0)
    plan = plan_of(groove, model.grid)
    guided = model.generate(length=64, plan=plan, guidance=1.0, seed=0)
    assert guided.is_cuda and guided.shape == groove.shape
    assert torch.equal(guided.cpu(), load("groove").generate(length=64, plan=plan_of(groove.cpu(), model.grid), seed=0))


def test_a_model_that_is_played_by_its_own_steps_there_plays_what_its_weights_do_here():
    model = load("groove")
    here, there = model.player(), Player(TorchNetwork(model.cuda()))
    hits = here.generate(64)[0]
    plan = plan_of_arrays(hits, here.grid)
    for bar_plan in (None, plan):
        np.testing.assert_allclose(there.log_prob(hits, bar_plan), here.log_prob(hits, bar_plan), rtol=1e-4, atol=1e-4)
    infilling, sampling = InfillOptions(8), SamplingOptions(seed=1)
    made = infill(there, lock_voices(hits, [0]), sampling=sampling, plan=plan, infilling=infilling).hits
    assert np.array_equal(made[:, 0], hits[:, 0]) and made.shape == hits.shape
    varied = vary(there, hits, 0.3, sampling, keep=[0], infilling=infilling).hits
    assert np.array_equal(varied[:, 0], hits[:, 0]) and not np.array_equal(varied, hits)
    velocity, offset = there.perform(hits, 120.0)
    assert np.array_equal(velocity > 0, hits > 0) and np.abs(offset).max() <= 0.5


def test_training_learns_and_gives_a_model_of_the_cpu(data, tmp_path):
    options = {**SMALL, "seq_len": 32, "batch_size": 8, "learning_rate": 1e-2, "warmup_steps": 1, "accelerator": "cuda"}
    train(TrainConfig.of(data, tmp_path / "run", max_steps=60, evaluate_every=20, **options))
    model = load(tmp_path / "run")
    held = [np.load(path)["sequence"] for path in sorted((data / "validation").glob("*.npz"))]
    fresh = HierarchicalDrumModel(3, 16, 8, 8, 1, num_components=4, grid=GRID).eval()
    assert next(model.parameters()).device.type == "cpu"
    assert performance_bits(model, held).sum() < 0.8 * performance_bits(fresh, held).sum()
    bits = performance_bits(model, held)
    np.testing.assert_allclose(performance_bits(model.cuda(), held), bits, rtol=1e-4)


@pytest.mark.parametrize("algorithm", ["ppo", "psi"])
def test_rewards_are_learnt_from(algorithm, data, tmp_path):
    model_of().save(tmp_path / "start.safetensors")
    reward = tmp_path / "reward.yaml"
    reward.write_text("terms:\n  - {metric: avg_hits, level: bar, target: 2, scale: 0.5}\n")
    out = reinforce(
        ReinforceConfig(
            tmp_path / algorithm,
            reward=reward,
            model=str(tmp_path / "start.safetensors"),
            algorithm=algorithm,
            updates=4,
            batch_size=8,
            bars=4,
            evaluate_every=2,
            evaluate_pieces=8,
            held_out=data / "validation",
            accelerator="cuda",
        )
    )
    assert load(out).grid == GRID


@pytest.mark.parametrize("options", KINDS, ids=str)
@torch.no_grad()
def test_a_step_is_captured_as_a_graph_and_played_on(options):
    model = model_of(**options).cuda()
    hits = (torch.rand(40, 5, 3, generator=torch.Generator().manual_seed(1)) < 0.3).float().cuda()
    state = model.init_state(5)
    for x in hits[:6]:
        state = model.advance(x, state)
    state = state.reset(torch.tensor([False, True, False, False, True], device="cuda"))  # rows at two positions

    # What the graph reads lies at fixed places: tensors of their own, as parts of a state may share theirs.
    parts, structure = tree_flatten(state.parts())
    x, parts = hits[6].clone(), [part.clone() for part in parts]

    def step():
        dist, after = model.step(x, State(**tree_unflatten(parts, structure)))
        return dist.log_weights, dist.logits, tree_leaves(after.parts())

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # libraries make their workspaces before the capture
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):  # raises where a step waits for the device
        log_weights, logits, after = step()

    for step_hits in hits[6:]:  # over ends of bars and phrases
        dist, state = model.step(step_hits, state)
        x.copy_(step_hits)
        graph.replay()
        torch.testing.assert_close(log_weights, dist.log_weights, atol=1e-5, rtol=0)
        torch.testing.assert_close(logits, dist.logits, atol=1e-5, rtol=0)
        for part, new in zip(parts, after, strict=True):
            part.copy_(new)

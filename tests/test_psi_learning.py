"""Psi-learning: values against exact ones by enumeration, target network and replay, the policy as a drum model."""

import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.learn.rl.action_values import Replay, track, value_targets
from hypermeter.learn.rl.config import ReinforceConfig
from hypermeter.learn.rl.divergence import combination_log_probs, divergence_and_entropy
from hypermeter.learn.rl.psi_learning import PsiLearner
from hypermeter.learn.rl.rewards import Reward, Term
from hypermeter.learn.rl.rollout import view
from hypermeter.model.heads import combinations
from hypermeter.model.hierarchical import HierarchicalDrumModel, load

GRID = Grid(steps_per_beat=1, beats_per_bar=3, bars_per_phrase=1)
VOICES, STEPS = 2, 3
ACTIONS = combinations(VOICES)
PATHS = torch.cartesian_prod(*[torch.arange(len(ACTIONS))] * STEPS)
"""Every piece of STEPS steps, as numbers of actions."""
PIECES = ACTIONS[PATHS]
KL_WEIGHT = 0.5
AT_THE_END = Reward([Term("density", "bar", target=0.6, scale=0.2)])
AT_EACH_STEP = Reward([*AT_THE_END.terms, Term("density", "step", want="more", weight=0.3)])


@pytest.fixture(scope="module")
def reference() -> HierarchicalDrumModel:
    torch.manual_seed(0)
    return HierarchicalDrumModel(VOICES, 16, 16, 16, 1, num_components=4, grid=GRID).eval()


@pytest.fixture(scope="module")
def prior(reference):
    with torch.no_grad():
        return combination_log_probs(reference(PIECES).step_dist[:, :-1])


def exact_values(prior: torch.Tensor, reward: Reward) -> torch.Tensor:
    """(pieces, T, A): dynamic programming over a tree of prefixes, written out for one prefix after another."""
    paid = reward(PIECES, GRID) / KL_WEIGHT
    rows = {tuple(path.tolist()): row for row, path in enumerate(PATHS)}
    values: dict[tuple[int, ...], torch.Tensor] = {}
    for length in reversed(range(STEPS)):
        for prefix in itertools.product(range(len(ACTIONS)), repeat=length):
            of_actions = []
            for action in range(len(ACTIONS)):
                path = (*prefix, action)
                row = rows[path + (0,) * (STEPS - len(path))]  # any piece that begins so
                following = values[path].exp().sum().log() if len(path) < STEPS else torch.tensor(0.0)
                of_actions.append(prior[row, length, action] + paid[row, length] + following)
            values[prefix] = torch.stack(of_actions)
    return torch.stack([torch.stack([values[tuple(path[:t].tolist())] for t in range(STEPS)]) for path in PATHS])


def targets_of(values, chosen, rewards, prior, trace=0.0) -> torch.Tensor:
    """``value_targets`` of values that are listed."""
    at_chosen, log_p = (table.gather(2, chosen[..., None])[..., 0] for table in (values, prior))
    return value_targets(at_chosen, values.logsumexp(-1), rewards + log_p, trace)


class Table(nn.Module):
    """A number for each action after each prefix."""

    def __init__(self):
        super().__init__()
        self.values = nn.ParameterList(torch.zeros(len(ACTIONS) ** step, len(ACTIONS)) for step in range(STEPS))

    def forward(self, chosen: torch.Tensor) -> torch.Tensor:
        number, result = torch.zeros(len(chosen), dtype=torch.long), []
        for step, values in enumerate(self.values):
            result.append(values[number])
            number = number * len(ACTIONS) + chosen[:, step]
        return torch.stack(result, 1)


# ---------------------------------------------------------------------- values, exactly


@pytest.mark.parametrize("trace", [0.0, 0.5, 1.0])
def test_exact_values_are_their_own_targets_whatever_the_trace(trace, prior):
    values = exact_values(prior, AT_EACH_STEP)
    targets = targets_of(values, PATHS, AT_EACH_STEP(PIECES, GRID) / KL_WEIGHT, prior, trace)
    torch.testing.assert_close(targets, values.gather(2, PATHS[..., None])[..., 0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("trace", [0.0, 0.7])
def test_a_table_learns_the_exact_values_from_replay_with_a_target_network(trace, prior):
    paid = AT_EACH_STEP(PIECES, GRID) / KL_WEIGHT
    generator = torch.Generator().manual_seed(0)
    replay = Replay(256)
    for _ in range(4):  # the values do not depend on the policy that plays
        rows = torch.randint(len(PATHS), (64,), generator=generator)
        replay.add({"chosen": PATHS[rows], "rewards": paid[rows], "prior": prior[rows]})
    replay.add({"chosen": PATHS, "rewards": paid, "prior": prior})
    table, target = Table(), Table()
    optimizer = torch.optim.Adam(table.parameters(), lr=0.15)
    for update in range(300):
        if update == 220:
            optimizer.param_groups[0]["lr"] = 0.01
        batch = replay.sample(64, generator)
        with torch.no_grad():
            targets = targets_of(target(batch["chosen"]), **batch, trace=trace)
        values = table(batch["chosen"]).gather(2, batch["chosen"][..., None])[..., 0]
        optimizer.zero_grad()
        (values - targets).square().mean().backward()
        optimizer.step()
        track(target, table, 0.3)
    torch.testing.assert_close(table(PATHS), exact_values(prior, AT_EACH_STEP), atol=0.02, rtol=0)


def test_targets_by_hand():
    at_chosen, of_states, paid = torch.tensor([[1.0, 0.0]]), torch.tensor([[9.0, 2.0]]), torch.tensor([[10.0, 20.0]])
    assert value_targets(at_chosen, of_states, paid).tolist() == [[10 + 2.0, 20.0]]
    assert value_targets(at_chosen, of_states, paid, trace=0.5).tolist() == [[10 + 2.0 + 0.5 * 20, 20.0]]


@pytest.mark.parametrize("reward", [AT_THE_END, AT_EACH_STEP], ids=["terminal", "each step"])
def test_what_is_played_is_the_reference_weighted_by_the_exponential_of_the_reward(reward, reference, prior):
    played = exact_values(prior, reward).log_softmax(-1).gather(2, PATHS[..., None])[..., 0].sum(1)
    with torch.no_grad():
        total = reference.log_prob(PIECES).sum(1) + reward(PIECES, GRID).sum(1) / KL_WEIGHT
    torch.testing.assert_close(played, total.log_softmax(0), atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------------- actions, replay, target


def test_replay_keeps_the_newest_and_draws_evenly():
    replay = Replay(5)
    with pytest.raises(HypermeterError, match="empty"):
        replay.sample(1)
    replay.add({"number": torch.arange(3), "twice": 2 * torch.arange(3)})
    assert len(replay) == 3
    replay.add({"number": torch.arange(3, 7), "twice": 2 * torch.arange(3, 7)})
    assert len(replay) == 5
    drawn = replay.sample(5_000, torch.Generator().manual_seed(0))
    assert torch.equal(drawn["twice"], 2 * drawn["number"])
    counts = drawn["number"].bincount(minlength=7)
    assert counts[:2].sum() == 0 and ((counts[2:] - 1_000).abs() < 150).all()
    with pytest.raises(HypermeterError, match="as those before"):
        replay.add({"number": torch.arange(3)})


def test_the_target_network_follows_by_its_rate():
    target, network = nn.Linear(2, 1), nn.Linear(2, 1)
    before = target.weight.clone()
    track(target, network, 0.25)
    torch.testing.assert_close(target.weight, 0.75 * before + 0.25 * network.weight)
    track(target, network, 1.0)
    assert torch.equal(target.weight, network.weight)


# ---------------------------------------------------------------------- the learner


def learner_of(reference, reward, seed=0, explore=0.5, warm_up=64, **options) -> PsiLearner:
    settings = {"bars": 1, "batch_size": 32, "kl_weight": KL_WEIGHT, "learning_rate": 1e-2}
    in_config = {name: options.pop(name) for name in settings if name in options}
    config = ReinforceConfig(
        Path("run"), algorithm="psi", value_learning_rate=1e-2, seed=seed, **(settings | in_config)
    )
    return PsiLearner(reference, reward, config, explore=explore, warm_up=warm_up, **options)


@pytest.mark.slow
def test_a_drum_model_learns_the_exact_values(reference, prior):
    options = {"batch_size": 64, "capacity": 1024, "target_rate": 0.1, "learning_rate": 5e-3}
    learner = learner_of(reference, AT_EACH_STEP, seed=1, trace=0.5, **options)
    exact, mass = exact_values(prior, AT_EACH_STEP), prior.exp()
    with torch.no_grad():
        reference_share = reference.log_prob(PIECES).sum(1).exp()

    def error() -> float:
        """Mean over actions, pieces and steps, by how often the reference plays there."""
        with torch.no_grad():
            dist, state_values = learner.network(PIECES)
            values = state_values[..., None] + combination_log_probs(dist)
        weights = mass * reference_share[:, None, None]
        return ((values - exact).abs() * weights).sum().item() / weights.sum().item()

    before = error()
    for update in range(120):
        if update == 90:
            for group in learner.optimizer.param_groups:
                group["lr"] /= 10
        if update % 4 == 0:
            learner.play()
        learner.learn()
    assert error() < min(0.12, 0.2 * before), (before, error())


def test_it_begins_as_the_reference(reference):
    learner = learner_of(reference, AT_THE_END)
    with torch.no_grad():
        torch.testing.assert_close(learner.network(PIECES)[0].log_prob(PIECES), reference.log_prob(PIECES))
        torch.testing.assert_close(learner.policy.log_prob(PIECES), reference.log_prob(PIECES))
        played, _ = learner.play()
        dists = [view(model, played).dist for model in (learner.network.model, reference)]
        assert divergence_and_entropy(*dists, played.hits)[0].abs().max() < 1e-5


def test_state_values_begin_with_what_the_reference_is_paid(reference):
    learner = learner_of(reference, AT_EACH_STEP, batch_size=250, warm_up=1_000, capacity=1_000)
    with torch.no_grad():
        share = reference.log_prob(PIECES).sum(1).exp()[:, None]
        paid = AT_EACH_STEP(PIECES, GRID) / KL_WEIGHT
        expected = (share * paid.flip(1).cumsum(1).flip(1)).sum(0)
        result = (share * learner.network(PIECES)[1]).sum(0)
    torch.testing.assert_close(result, expected, atol=0.15, rtol=0)


def test_a_share_of_the_pieces_is_played_by_the_reference(reference):
    learner = learner_of(reference, AT_THE_END, explore=0.25)
    with torch.no_grad():
        learner.network.model.output_layer.project.weight.zero_()
        learner.network.model.output_layer.project.bias[4:] = 60.0  # plays everything
    played, _ = learner.play()
    assert played.hits.shape == (24, STEPS, VOICES) and played.hits.all()
    newest = learner.replay.columns["whole"][64:96]
    assert not newest[:8].all() and newest[8:].all()


def test_the_result_is_a_drum_model_that_plays_the_policy_and_loads_as_any(reference, tmp_path):
    learner = learner_of(reference, AT_EACH_STEP)
    for _ in range(4):
        learner.learn()
    model = learner.policy
    assert model.config == reference.config and not model.training
    dropout = [[module.p for module in one.modules() if isinstance(module, nn.Dropout)] for one in (model, reference)]
    assert dropout[0] == dropout[1]
    with torch.no_grad():
        log_prob = learner.network(PIECES)[0].log_prob(PIECES)
        torch.testing.assert_close(model.log_prob(PIECES), log_prob)
        assert not torch.allclose(log_prob, reference.log_prob(PIECES), atol=0.01)
    model.save(tmp_path / "learnt.safetensors")
    again = load(tmp_path / "learnt.safetensors")
    assert torch.equal(again.generate(length=9, batch_size=3, seed=1), model.generate(length=9, batch_size=3, seed=1))


@pytest.mark.slow
def test_the_reward_rises_and_the_reference_stays_as_it_is(reference):
    before = {name: x.clone() for name, x in reference.state_dict().items()}
    silent = Reward([Term("density", "bar", target=0.0, scale=0.2)])
    learner = learner_of(reference, silent, kl_weight=0.2, learning_rate=1e-2, explore=0.1)
    rows = [learner.update(torch.Generator()) for _ in range(10)]
    assert {"reward", "reward_bar", "kl", "entropy", "value_error", "kl_weight"} <= set(rows[-1])

    def mean_reward(model) -> float:
        return silent(model.generate(length=STEPS, batch_size=256, seed=2), GRID).sum(1).mean().item()

    assert mean_reward(learner.policy) > mean_reward(reference) + 0.5
    assert all(torch.equal(x, before[name]) for name, x in reference.state_dict().items())
    assert not reference.training


@pytest.mark.slow
def test_the_same_seed_learns_the_same_model(reference):
    state = torch.random.get_rng_state()
    weights = []
    for seed in (1, 1, 2):
        learner = learner_of(reference, AT_THE_END, seed=seed)
        learner.update(torch.Generator())
        weights.append(learner.policy.state_dict())
    first, again, other = weights
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert torch.equal(torch.random.get_rng_state(), state), "the global seed is not moved"


def test_taking_the_policy_changes_nothing_in_what_is_learnt(reference):
    learnt = []
    for takes_policy in (False, True):
        learner = learner_of(reference, AT_THE_END)
        learner.learn()
        if takes_policy:
            learner.policy  # noqa: B018
        learner.play()
        learner.learn()
        learnt.append(learner.network.state_dict())
    assert all(torch.equal(learnt[0][name], learnt[1][name]) for name in learnt[0])


def test_a_model_with_tracks_learns_what_its_drums_are_paid():
    torch.manual_seed(0)
    bass = {"name": "bass", "lowest": 40, "highest": 60, "program": 33, "programs": (32, 39)}
    model = HierarchicalDrumModel(VOICES, 8, 8, 8, 1, num_components=2, tracks=[bass], grid=GRID).eval()
    learner = learner_of(model, AT_THE_END)
    played, paid = learner.play()
    torch.testing.assert_close(paid["bar"], AT_THE_END(played.hits[..., :VOICES], GRID))
    assert learner.learn() > 0 and learner.policy.width == model.width


def test_a_replay_without_room_is_refused():
    with pytest.raises(HypermeterError, match="capacity is 0"):
        Replay(0)

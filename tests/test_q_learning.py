"""Values of actions: against exact ones by enumeration, target network and replay, and the policy as a drum model."""

import itertools

import pytest
import torch
from torch import nn

from hypermeter.generate import Streaming, generate
from hypermeter.grid import Grid, HypermeterError
from hypermeter.heads import Mixture, SoftmaxHead, combinations
from hypermeter.model import HierarchicalDrumModel, load
from hypermeter.plan import FILL, Plan
from hypermeter.rl.action_values import (
    Replay,
    action_log_probs,
    combinations_in_use,
    policy_log_probs,
    state_values,
    track,
    value_targets,
)
from hypermeter.rl.q_learning import ActionPolicy, QLearner, QNetwork, QOptions, q_learning
from hypermeter.rl.rewards import Reward, Term

GRID = Grid(steps_per_beat=1, beats_per_bar=3, bars_per_phrase=1)
VOICES, STEPS = 2, 3
ACTIONS = combinations(VOICES)
PATHS = torch.cartesian_prod(*[torch.arange(len(ACTIONS))] * STEPS)
"""Every piece of STEPS steps, as numbers of actions."""
PIECES = ACTIONS[PATHS]
KL_WEIGHT = 0.5
AT_THE_END = Reward([Term("density", "bar", target=0.6, scale=0.2)])
AT_EACH_STEP = Reward([*AT_THE_END.terms, Term("density", "step", want="more", weight=0.3)])
KINDS = ("q", "psi", "g")


@pytest.fixture(scope="module")
def reference() -> HierarchicalDrumModel:
    torch.manual_seed(0)
    return HierarchicalDrumModel(VOICES, 16, 16, 16, 1, num_components=4, grid=GRID).eval()


@pytest.fixture(scope="module")
def prior(reference):
    with torch.no_grad():
        return action_log_probs(reference(PIECES).step_dist[:, :-1], ACTIONS)


def exact_values(kind: str, prior: torch.Tensor, reward: Reward, discount: float = 1.0) -> torch.Tensor:
    """(pieces, T, A): dynamic programming over a tree of what was played, written out for one prefix after another."""
    paid, log_p = reward(PIECES, GRID) / KL_WEIGHT, prior
    rows = {tuple(path.tolist()): row for row, path in enumerate(PATHS)}
    found: dict[tuple[int, ...], torch.Tensor] = {}
    for length in reversed(range(STEPS)):
        for before in itertools.product(range(len(ACTIONS)), repeat=length):
            worth = []
            for action in range(len(ACTIONS)):
                path = (*before, action)
                row = rows[path + (0,) * (STEPS - len(path))]  # any piece that begins so
                after = torch.tensor(0.0)
                if len(path) < STEPS:
                    next_values, next_prior = found[path], log_p[row, length + 1]
                    if kind == "q":
                        after = next_values.max()
                    elif kind == "psi":
                        after = next_values.exp().sum().log()
                    else:
                        after = (next_prior.exp() * next_values.exp()).sum().log()
                own = 0 if kind == "g" else log_p[row, length, action]
                worth.append(own + paid[row, length] + discount * after)
            found[before] = torch.stack(worth)
    return torch.stack([torch.stack([found[tuple(path[:t].tolist())] for t in range(STEPS)]) for path in PATHS])


class Table(nn.Module):
    """A number for each action after each prefix."""

    def __init__(self):
        super().__init__()
        self.values = nn.ParameterList(torch.zeros(len(ACTIONS) ** step, len(ACTIONS)) for step in range(STEPS))

    def forward(self, chosen: torch.Tensor) -> torch.Tensor:
        number, found = torch.zeros(len(chosen), dtype=torch.long), []
        for step, values in enumerate(self.values):
            found.append(values[number])
            number = number * len(ACTIONS) + chosen[:, step]
        return torch.stack(found, 1)


# ---------------------------------------------------------------------- values, exactly


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("discount", [1.0, 0.8])
@pytest.mark.parametrize("trace", [0.0, 0.5, 1.0])
def test_exact_values_are_their_own_targets_whatever_the_trace(kind, discount, trace, prior):
    values = exact_values(kind, prior, AT_EACH_STEP, discount)
    paid = AT_EACH_STEP(PIECES, GRID) / KL_WEIGHT
    targets = value_targets(kind, values, PATHS, paid, prior, discount, trace)
    torch.testing.assert_close(targets, values.gather(2, PATHS[..., None])[..., 0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trace", [0.0, 0.7])
def test_a_table_learns_the_exact_values_from_replay_with_a_target_network(kind, trace, prior):
    paid = AT_EACH_STEP(PIECES, GRID) / KL_WEIGHT
    generator = torch.Generator().manual_seed(0)
    replay = Replay(256)
    for _ in range(4):  # what is played has nothing to do with the values
        rows = torch.randint(len(PATHS), (64,), generator=generator)
        replay.add({"chosen": PATHS[rows], "rewards": paid[rows], "prior": prior[rows]})
    replay.add({"chosen": PATHS, "rewards": paid, "prior": prior})
    table, target = Table(), Table()
    optimizer = torch.optim.Adam(table.parameters(), lr=0.1)
    for update in range(600):
        if update == 400:
            optimizer.param_groups[0]["lr"] = 0.01
        batch = replay.sample(64, generator)
        with torch.no_grad():
            targets = value_targets(kind, target(batch["chosen"]), **batch, trace=trace)
        values = table(batch["chosen"]).gather(2, batch["chosen"][..., None])[..., 0]
        optimizer.zero_grad()
        (values - targets).square().mean().backward()
        optimizer.step()
        track(target, table, 0.2)
    torch.testing.assert_close(table(PATHS), exact_values(kind, prior, AT_EACH_STEP), atol=0.02, rtol=0)


def test_targets_by_hand():
    values = torch.tensor([[[1.0, 3.0], [2.0, 0.0]]])
    prior = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log()[None]
    chosen, rewards = torch.tensor([[0, 1]]), torch.tensor([[10.0, 20.0]])
    log_p = prior.gather(2, chosen[..., None])[0, :, 0]
    last = 20 + log_p[1]
    one_step = value_targets("q", values, chosen, rewards, prior, discount=0.5)[0]
    torch.testing.assert_close(one_step, torch.stack([10 + log_p[0] + 0.5 * 2.0, last]))
    traced = value_targets("q", values, chosen, rewards, prior, discount=0.5, trace=0.5)[0]
    torch.testing.assert_close(traced[0], 10 + log_p[0] + 0.5 * (2.0 + 0.5 * (last - 0.0)))
    chooser = torch.tensor([[[0.0, 0.0], [0.0, 1.0]]])  # takes the second action, which values judge as 0
    doubled = value_targets("q", values, chosen, rewards, prior, discount=0.5, chooser=chooser)[0]
    torch.testing.assert_close(doubled[0], 10 + log_p[0])
    soft = value_targets("g", values, chosen, rewards, prior)[0]
    torch.testing.assert_close(soft[0], 10 + (0.5 * torch.tensor([2.0, 0.0]).exp().sum()).log())


@pytest.mark.parametrize("kind", ["psi", "g"])
@pytest.mark.parametrize("reward", [AT_THE_END, AT_EACH_STEP], ids=["terminal", "each step"])
def test_what_is_played_is_the_reference_weighted_by_the_exponential_of_the_reward(kind, reward, reference, prior):
    log_probs = policy_log_probs(kind, exact_values(kind, prior, reward), prior)
    played = log_probs.gather(2, PATHS[..., None])[..., 0].sum(1)
    with torch.no_grad():
        worth = reference.log_prob(PIECES).sum(1) + reward(PIECES, GRID).sum(1) / KL_WEIGHT
    torch.testing.assert_close(played, worth.log_softmax(0), atol=1e-4, rtol=1e-4)


def test_psi_is_g_and_log_p(prior):
    psi, g = (exact_values(kind, prior, AT_EACH_STEP) for kind in ("psi", "g"))
    torch.testing.assert_close(psi, g + prior)
    torch.testing.assert_close(state_values("psi", psi, prior), state_values("g", g, prior))


def test_q_prefers_the_piece_that_is_best_by_reward_and_likelihood_together(reference, prior):
    values = exact_values("q", prior, AT_EACH_STEP)
    with torch.no_grad():
        worth = reference.log_prob(PIECES).sum(1) + AT_EACH_STEP(PIECES, GRID).sum(1) / KL_WEIGHT
    best = worth.argmax()
    assert values[best].argmax(-1).tolist() == PATHS[best].tolist()
    assert values[best, 0].max().item() == pytest.approx(worth.max().item(), abs=1e-5)


# ---------------------------------------------------------------------- actions, replay, target


def test_combinations_in_use_are_the_most_frequent_first():
    hits = torch.tensor([[0, 0], [0, 0], [0, 0], [1, 1], [1, 1], [0, 1]])
    assert combinations_in_use(hits).tolist() == [[0, 0], [1, 1], [0, 1]]
    assert combinations_in_use(hits[None], most=2).tolist() == [[0, 0], [1, 1]]


def test_log_probs_of_actions_are_those_of_the_distribution():
    torch.manual_seed(0)
    mixture = Mixture(torch.randn(2, 5, 3).log_softmax(-1), torch.randn(2, 5, 3, 4))
    softmax = SoftmaxHead(8, 4, [[0, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]])(torch.randn(2, 5, 8))
    for dist in (mixture, softmax):
        found = action_log_probs(dist, combinations(4))
        assert found.shape == (2, 5, 16)
        torch.testing.assert_close(found.exp().sum(-1), torch.ones(2, 5))
        for number, x in enumerate(combinations(4)):
            torch.testing.assert_close(found[..., number], dist.log_prob(x.expand(2, 5, 4)))


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


def tiny(kind: str, **options) -> QOptions:
    small = {"steps": STEPS, "kl_weight": KL_WEIGHT, "batch_size": 32, "warm_up": 64, "imitation_updates": 60}
    return QOptions(kind=kind, **{**small, "learning_rate": 1e-2, "explore": 0.5, **options})


@pytest.mark.parametrize(
    "kind", [pytest.param("q", marks=pytest.mark.slow), pytest.param("psi", marks=pytest.mark.slow), "g"]
)
def test_a_drum_model_learns_the_exact_values(kind, reference, prior):
    options = tiny(kind, trace=0.5, batch_size=64, capacity=1024, target_rate=0.1)
    learner = QLearner(reference, AT_EACH_STEP, options, seed=0)
    exact, mass = exact_values(kind, prior, AT_EACH_STEP), prior.exp()

    def error() -> float:
        """Mean over actions, pieces and steps, by how often the reference plays there."""
        with torch.no_grad():
            apart = (learner.network(PIECES)[0] - exact).abs()
        weights = mass * reference_share[:, None, None]
        return (apart * weights).sum().item() / weights.sum().item()

    with torch.no_grad():
        reference_share = reference.log_prob(PIECES).sum(1).exp()
    before = error()
    for update in range(200):
        if update == 150:
            for group in learner.optimizer.param_groups:
                group["lr"] /= 10
        if update % 4 == 0:
            learner.play()
        learner.update()
    assert error() < min(0.12, 0.1 * before)


@pytest.mark.parametrize("kind", ["psi", "g"])
def test_it_begins_as_the_reference(kind, reference, prior):
    learner = QLearner(reference, AT_THE_END, tiny(kind, imitation_updates=100), seed=0)
    with torch.no_grad():
        log_probs = policy_log_probs(kind, learner.network(PIECES)[0], prior)
        divergence = (prior.exp() * (prior - log_probs)).sum(-1)
    if kind == "g":
        values, _ = learner.network(PIECES)
        assert divergence.abs().max() < 1e-5 and (values - values.mean(-1, keepdim=True)).abs().max() < 1e-5
    assert divergence.max() < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_the_policy_streams_as_the_values_say(kind, reference):
    learner = QLearner(reference, AT_EACH_STEP, tiny(kind, imitation_updates=5, warm_up=32), seed=0)
    for _ in range(3):
        learner.update()
    policy = learner.policy()
    assert isinstance(policy, Streaming)
    with torch.no_grad():
        values, _ = learner.network(PIECES)
        prior = action_log_probs(learner.reference(PIECES).step_dist[:, :-1], ACTIONS)
        expected = policy_log_probs(kind, values, prior).gather(2, PATHS[..., None])[..., 0]
        state, found = policy.init_state(len(PIECES)), []
        for x in PIECES.unbind(1):
            found.append(policy.predict(state).log_prob(x))
            state = policy.advance(x, state)
    torch.testing.assert_close(torch.stack(found, 1), expected, atol=1e-4, rtol=1e-4)
    assert generate(policy, length=7, batch_size=2, seed=0).shape == (2, 7, VOICES)
    assert state.select(torch.tensor([3, 0])).hidden.shape[0] == 2


@pytest.mark.parametrize("kind", ["psi", "g"])
def test_the_baseline_begins_with_what_the_reference_is_paid(kind, reference, prior):
    learner = QLearner(reference, AT_EACH_STEP, tiny(kind, batch_size=500, warm_up=2_000, capacity=2_000), seed=0)
    with torch.no_grad():
        share = reference.log_prob(PIECES).sum(1).exp()[:, None]
        paid = AT_EACH_STEP(PIECES, GRID) / KL_WEIGHT
        expected = (share * paid.flip(1).cumsum(1).flip(1)).sum(0)
        values = learner.network(PIECES)[0]
        found = (share * state_values(kind, values, prior)).sum(0)
    torch.testing.assert_close(found, expected, atol=0.15, rtol=0)


def test_exploring_is_playing_as_the_reference(reference, prior):
    network = QNetwork(reference, ACTIONS, STEPS, "psi")
    for explore in (0.25, 1.0):
        policy = ActionPolicy("psi", network.model, reference, explore)
        with torch.no_grad():
            own, mixed = (each.predict(each.init_state(1)) for each in (policy_without(policy), policy))
        share = (1 - explore) * own.log_probs_known[0, :-1].exp() + explore * prior[0, 0].exp()
        torch.testing.assert_close(mixed.log_probs_known[0, :-1].exp(), share)


def policy_without(policy: ActionPolicy) -> ActionPolicy:
    return ActionPolicy(policy.kind, policy.model, policy.reference)


@pytest.mark.parametrize("kind", KINDS)
def test_the_result_is_a_drum_model_that_plays_the_policy_and_loads_as_any(kind, reference, tmp_path):
    options = tiny(kind, imitation_updates=120 if kind == "g" else 10)
    learner = QLearner(reference, AT_EACH_STEP, options, seed=0)
    for _ in range(20):
        learner.update()
    model = learner.as_model()
    assert model.config["output"] == "softmax" and model.config["dropout"] == reference.config["dropout"]
    assert not model.training
    with torch.no_grad():
        values, _ = learner.network(PIECES)
        prior = action_log_probs(learner.reference(PIECES).step_dist[:, :-1], ACTIONS)
        policy = policy_log_probs(kind, values, prior)
        dist = model(PIECES).step_dist[:, :-1]
        divergence = (policy.exp() * (policy - action_log_probs(dist, ACTIONS))).sum(-1)
    assert divergence.abs().max() < (0.1 if kind == "g" else 0.01)
    assert dist.log_probs_known[..., -1].exp().max() < 0.01, "what is none of the actions stays rare"
    model.save(tmp_path / "learnt.safetensors")
    again = load(tmp_path / "learnt.safetensors")
    assert torch.equal(again.generate(length=9, batch_size=3, seed=1), model.generate(length=9, batch_size=3, seed=1))


def test_the_reward_rises_and_the_reference_stays_as_it_is(reference):
    before = {name: x.clone() for name, x in reference.state_dict().items()}
    silent = Reward([Term("density", "bar", target=0.0, scale=0.2)])
    told: list[tuple[int, dict[str, float]]] = []
    options = tiny("g", kl_weight=0.2, learning_rate=3e-3, explore=0.1)
    model = q_learning(reference, silent, 80, options, seed=0, log=lambda *each: told.append(each))
    assert [number for number, _ in told] == [*range(0, 80, options.updates_per_play)]
    assert set(told[-1][1]) == {"reward", "divergence", "loss"}

    def worth(model) -> float:
        return silent(model.generate(length=STEPS, batch_size=256, seed=2), GRID).sum(1).mean().item()

    assert worth(model) > worth(reference) + 0.5
    assert all(torch.equal(x, before[name]) for name, x in reference.state_dict().items())
    assert not reference.training


def test_the_same_seed_learns_the_same_model(reference):
    state = torch.random.get_rng_state()
    first, again, other = (
        q_learning(reference, AT_THE_END, 6, tiny("g", imitation_updates=3), seed=seed).state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert torch.equal(torch.random.get_rng_state(), state), "the global seed is not moved"


@pytest.mark.parametrize("kind", ["psi", "g"])
def test_asking_for_the_model_changes_nothing_in_what_is_learnt(kind, reference):
    learnt = []
    for is_asked in (False, True):
        learner = QLearner(reference, AT_THE_END, tiny(kind, imitation_updates=3), seed=0)
        learner.update()
        if is_asked:
            learner.as_model()
        learner.play()
        learner.update()
        learnt.append(learner.network.state_dict())
    assert all(torch.equal(learnt[0][name], learnt[1][name]) for name in learnt[0])


def test_pieces_may_begin_with_a_primer_and_a_plan():
    torch.manual_seed(0)
    labels = {"fill": list(FILL)}
    model = HierarchicalDrumModel(VOICES, 8, 8, 8, 1, num_components=2, labels=labels, grid=GRID).eval()

    def begin(rows: int) -> tuple[torch.Tensor, Plan]:
        return torch.ones(rows, 3, VOICES), Plan.free(1, 2)

    learner = QLearner(model, AT_THE_END, tiny("psi", imitation_updates=2), begin=begin, seed=0)
    played = learner.play()
    learner.update()
    assert played.hits.shape == (32, STEPS, VOICES) and played.divergence.min() > -1e-6
    torch.testing.assert_close(played.reward, AT_THE_END(played.hits, GRID))
    batch = learner.replay.sample(4)
    assert batch["whole"].shape == (4, 3 + STEPS, VOICES) and batch["whole"][:, :3].all()
    paid = AT_THE_END(batch["whole"][:, 3:].float(), GRID)
    torch.testing.assert_close(batch["rewards"], paid)
    assert batch["chosen"].shape == paid.shape and batch["labels"].shape[0] == 4
    assert learner.as_model().labels is not None


def test_with_many_voices_the_actions_are_what_the_reference_plays():
    torch.manual_seed(0)
    model = HierarchicalDrumModel(6, 8, 8, 8, 1, num_components=2, grid=GRID).eval()
    learner = QLearner(model, AT_THE_END, tiny("g", most_actions=10), seed=0)
    assert learner.actions.shape == (10, 6)
    known = {tuple(each) for each in learner.actions.int().tolist()}
    played = learner.policy(explore=0.5)
    made = generate(played, length=6, batch_size=20, seed=0)
    assert {tuple(each) for each in made.flatten(0, 1).int().tolist()} <= known
    own = torch.eye(6)
    assert torch.equal(QLearner(model, AT_THE_END, tiny("g"), actions=own, seed=0).actions, own)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "sarsa"}, "kind is 'sarsa'"),
        ({"steps": 0}, "steps is 0"),
        ({"kl_weight": 0.0}, "kl_weight is 0.0, expected more than 0"),
        ({"trace": 1.5}, "trace is 1.5, expected from 0 to 1"),
        ({"explore": 1.0}, "explore is 1.0"),
    ],
)
def test_options_out_of_range_are_refused_in_one_line(options, message):
    with pytest.raises(HypermeterError, match=message) as caught:
        QOptions(**options)
    assert len(str(caught.value).splitlines()) == 1


def test_what_cannot_be_valued_is_refused(reference):
    bass = {"name": "bass", "lowest": 40, "highest": 60, "program": 33, "programs": (32, 39)}
    with pytest.raises(HypermeterError, match="a model with tracks"):
        QLearner(HierarchicalDrumModel(VOICES, 8, 8, 8, tracks=[bass], grid=GRID), AT_THE_END)
    with pytest.raises(HypermeterError, match="capacity is 0"):
        Replay(0)
    with pytest.raises(HypermeterError, match="each once"):
        QLearner(reference, AT_THE_END, tiny("g"), actions=torch.zeros(2, VOICES))

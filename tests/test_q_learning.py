"""Values of actions: against exact ones by enumeration, target network and replay, and the policy as a drum model."""

import itertools

import pytest
import torch
from torch import nn

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.learn.rl.action_values import Replay, track, value_targets
from hypermeter.learn.rl.divergence import combination_log_probs
from hypermeter.learn.rl.q_learning import QLearner, QOptions, most, q_learning
from hypermeter.learn.rl.rewards import Reward, Term
from hypermeter.model.heads import Mixture, SoftmaxWithEscape, combinations
from hypermeter.model.hierarchical import HierarchicalDrumModel, load
from hypermeter.model.plan import Plan
from hypermeter.play.plan import FILL

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
        return combination_log_probs(reference(PIECES).step_dist[:, :-1])


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


def state_values(kind, values, prior=None) -> torch.Tensor:
    """What a state is worth, of the values of all that can be played in it."""
    if kind == "q":
        return values.max(-1).values
    return (values + prior if kind == "g" else values).logsumexp(-1)


def targets_of(kind, values, chosen, rewards, prior, discount=1.0, trace=0.0) -> torch.Tensor:
    """``value_targets`` of values that are listed."""
    at_chosen, log_p = (each.gather(2, chosen[..., None])[..., 0] for each in (values, prior))
    paid = rewards if kind == "g" else rewards + log_p
    return value_targets(at_chosen, state_values(kind, values, prior), paid, discount, trace)


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
    targets = targets_of(kind, values, PATHS, paid, prior, discount, trace)
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
            targets = targets_of(kind, target(batch["chosen"]), **batch, trace=trace)
        values = table(batch["chosen"]).gather(2, batch["chosen"][..., None])[..., 0]
        optimizer.zero_grad()
        (values - targets).square().mean().backward()
        optimizer.step()
        track(target, table, 0.2)
    torch.testing.assert_close(table(PATHS), exact_values(kind, prior, AT_EACH_STEP), atol=0.02, rtol=0)


def test_targets_by_hand():
    at_chosen, of_states, paid = torch.tensor([[1.0, 0.0]]), torch.tensor([[9.0, 2.0]]), torch.tensor([[10.0, 20.0]])
    assert value_targets(at_chosen, of_states, paid, 0.5).tolist() == [[10 + 0.5 * 2.0, 20.0]]
    assert value_targets(at_chosen, of_states, paid, 0.5, trace=0.5).tolist() == [[10 + 0.5 * (2.0 + 0.5 * 20), 20.0]]


def test_states_are_worth_by_hand():
    values, prior = torch.tensor([1.0, 3.0]), torch.tensor([0.25, 0.75]).log()
    assert state_values("q", values).item() == 3
    torch.testing.assert_close(state_values("psi", values), values.exp().sum().log())
    torch.testing.assert_close(state_values("g", values, prior), (prior.exp() * values.exp()).sum().log())


@pytest.mark.parametrize("kind", ["psi", "g"])
@pytest.mark.parametrize("reward", [AT_THE_END, AT_EACH_STEP], ids=["terminal", "each step"])
def test_what_is_played_is_the_reference_weighted_by_the_exponential_of_the_reward(kind, reward, reference, prior):
    values = exact_values(kind, prior, reward)
    log_probs = (values + prior if kind == "g" else values).log_softmax(-1)
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
    small = {"steps": STEPS, "kl_weight": KL_WEIGHT, "batch_size": 32, "warm_up": 64}
    return QOptions(
        kind=kind, **{**small, "learning_rate": 1e-2, "value_learning_rate": 1e-2, "explore": 0.5, **options}
    )


def values_of(learner: QLearner, prior: torch.Tensor) -> torch.Tensor:
    """(pieces, T, A): the values of all combinations."""
    with torch.no_grad():
        dist, worth = learner.network(PIECES)
        values = worth[..., None] + combination_log_probs(dist)
    return values - prior if learner.kind == "g" else values


@pytest.mark.parametrize(
    "kind", [pytest.param("q", marks=pytest.mark.slow), pytest.param("psi", marks=pytest.mark.slow), "g"]
)
def test_a_drum_model_learns_the_exact_values(kind, reference, prior):
    options = tiny(kind, trace=0.5, batch_size=64, capacity=1024, target_rate=0.1)
    learner = QLearner(reference, AT_EACH_STEP, options, seed=0)
    exact, mass = exact_values(kind, prior, AT_EACH_STEP), prior.exp()
    with torch.no_grad():
        reference_share = reference.log_prob(PIECES).sum(1).exp()

    def error() -> float:
        """Mean over actions, pieces and steps, by how often the reference plays there."""
        weights = mass * reference_share[:, None, None]
        return ((values_of(learner, prior) - exact).abs() * weights).sum().item() / weights.sum().item()

    before = error()
    for update in range(300):
        if update == 200:
            for group in learner.optimizer.param_groups:
                group["lr"] /= 10
        if update % 4 == 0:
            learner.play()
        learner.update()
    assert error() < min(0.12, 0.2 * before), (before, error())


@pytest.mark.parametrize("kind", KINDS)
def test_it_begins_as_the_reference(kind, reference):
    learner = QLearner(reference, AT_THE_END, tiny(kind), seed=0)
    with torch.no_grad():
        torch.testing.assert_close(learner.network(PIECES)[0].log_prob(PIECES), reference.log_prob(PIECES))
        torch.testing.assert_close(learner.as_model().log_prob(PIECES), reference.log_prob(PIECES))
    assert learner.play().divergence.abs().max() < 1e-5


def test_states_begin_with_what_the_reference_is_paid(reference, prior):
    learner = QLearner(reference, AT_EACH_STEP, tiny("psi", batch_size=500, warm_up=2_000, capacity=2_000), seed=0)
    with torch.no_grad():
        share = reference.log_prob(PIECES).sum(1).exp()[:, None]
        paid = AT_EACH_STEP(PIECES, GRID) / KL_WEIGHT
        expected = (share * paid.flip(1).cumsum(1).flip(1)).sum(0)
        found = (share * learner.network(PIECES)[1]).sum(0)
    torch.testing.assert_close(found, expected, atol=0.15, rtol=0)


def test_a_share_of_the_pieces_is_played_by_the_reference(reference):
    learner = QLearner(reference, AT_THE_END, tiny("psi", explore=0.25), seed=0)
    with torch.no_grad():
        learner.network.model.output_layer.project.weight.zero_()
        learner.network.model.output_layer.project.bias[4:] = 60.0  # plays everything
    played = learner.play()
    assert played.hits.shape == (24, STEPS, VOICES) and played.hits.all()
    newest = learner.replay.columns["whole"][64:96]
    assert not newest[:8].all() and newest[8:].all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_result_is_a_drum_model_that_plays_the_policy_and_loads_as_any(kind, reference, tmp_path):
    learner = QLearner(reference, AT_EACH_STEP, tiny(kind), seed=0)
    for _ in range(20):
        learner.update()
    model = learner.as_model()
    assert model.config == reference.config and not model.training
    assert [each.p for each in model.modules() if isinstance(each, nn.Dropout)] == [
        each.p for each in reference.modules() if isinstance(each, nn.Dropout)
    ]
    with torch.no_grad():
        log_prob = learner.network(PIECES)[0].log_prob(PIECES)
        torch.testing.assert_close(model.log_prob(PIECES), log_prob)
        assert not torch.allclose(log_prob, reference.log_prob(PIECES), atol=0.01)
    model.save(tmp_path / "learnt.safetensors")
    again = load(tmp_path / "learnt.safetensors")
    assert torch.equal(again.generate(length=9, batch_size=3, seed=1), model.generate(length=9, batch_size=3, seed=1))


def test_the_likeliest_of_each_step(reference):
    with torch.no_grad():
        dist = reference(PIECES[:5]).step_dist[:, :-1]
        best, log_prob = most(dist)
        every = combination_log_probs(dist)
    torch.testing.assert_close(log_prob, every.max(-1).values)
    torch.testing.assert_close(dist.log_prob(best), log_prob)


def test_the_likeliest_of_too_many_to_list_is_that_of_a_component_or_a_combination():
    """Components far apart, then a softmax over combinations of thirteen voices."""
    modes = torch.tensor([[1.0, 0, 0, 1, 0], [0, 1, 0, 0, 0]])
    logits, log_weights = (20 * modes - 10).expand(3, 4, 2, 5), torch.tensor([0.4, 0.6]).log().expand(3, 4, 2)
    best, log_prob = most(Mixture(log_weights, logits, ((2, 5),)))
    torch.testing.assert_close(best, modes[1].expand(3, 4, 5))
    torch.testing.assert_close(log_prob.exp(), torch.full((3, 4), 0.6), atol=1e-3, rtol=0)
    known = (torch.rand(6, 13, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    scores = torch.arange(7.0).roll(2).log_softmax(-1).expand(3, 4, 7)
    dist = SoftmaxWithEscape(scores, torch.zeros(3, 4, 13), known)
    best, log_prob = most(dist)
    torch.testing.assert_close(best, known[scores[0, 0, :-1].argmax()].expand(3, 4, 13))
    torch.testing.assert_close(log_prob, dist.log_prob(best))


def test_the_reward_rises_and_the_reference_stays_as_it_is(reference):
    before = {name: x.clone() for name, x in reference.state_dict().items()}
    silent = Reward([Term("density", "bar", target=0.0, scale=0.2)])
    told: list[tuple[int, dict[str, float]]] = []
    options = tiny("psi", kl_weight=0.2, learning_rate=3e-3, explore=0.1)
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
        q_learning(reference, AT_THE_END, 6, tiny("psi"), seed=seed).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert torch.equal(torch.random.get_rng_state(), state), "the global seed is not moved"


def test_asking_for_the_model_changes_nothing_in_what_is_learnt(reference):
    learnt = []
    for is_asked in (False, True):
        learner = QLearner(reference, AT_THE_END, tiny("psi"), seed=0)
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

    learner = QLearner(model, AT_THE_END, tiny("psi"), begin=begin, seed=0)
    played = learner.play()
    learner.update()
    assert played.hits.shape == (16, STEPS, VOICES) and played.divergence.min() > -1e-6
    torch.testing.assert_close(played.reward, AT_THE_END(played.hits, GRID))
    batch = learner.replay.sample(4)
    assert batch["whole"].shape == (4, 3 + STEPS, VOICES) and batch["whole"][:, :3].all()
    paid = AT_THE_END(batch["whole"][:, 3:].float(), GRID)
    torch.testing.assert_close(batch["rewards"], paid)
    assert batch["prior"].shape == paid.shape and batch["labels"].shape[0] == 4
    assert learner.as_model().labels is not None


def test_a_model_with_tracks_learns_what_its_drums_are_paid():
    torch.manual_seed(0)
    bass = {"name": "bass", "lowest": 40, "highest": 60, "program": 33, "programs": (32, 39)}
    model = HierarchicalDrumModel(VOICES, 8, 8, 8, 1, num_components=2, tracks=[bass], grid=GRID).eval()
    for kind in ("q", "psi"):
        learner = QLearner(model, AT_THE_END, tiny(kind), seed=0)
        played = learner.play()
        torch.testing.assert_close(played.reward, AT_THE_END(played.hits[..., :VOICES], GRID))
        assert learner.update() > 0 and learner.as_model().width == model.width


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


def test_a_replay_without_room_is_refused():
    with pytest.raises(HypermeterError, match="capacity is 0"):
        Replay(0)

"""Policy gradients: by hand, and against the exact gradient on a model whose pieces can all be listed."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.learn.rl import Reward, Term
from hypermeter.learn.rl.divergence import combination_log_probs, divergence_and_entropy, is_exact
from hypermeter.learn.rl.policy_gradient import (
    ValueHeads,
    advantages,
    clipped_loss,
    group_relative,
    grpo_estimate,
    leave_one_out,
    level_factors,
    paid_costs,
    ppo_estimate,
    reinforce_estimate,
    reinforce_loss,
    returns,
    value_loss,
)
from hypermeter.learn.rl.rewards import check_reward, paid_by_level
from hypermeter.learn.rl.rollout import Rollout, rollout, view, without_dropout
from hypermeter.model import Parts
from hypermeter.model.heads import Mixture, SoftmaxHead, combinations
from hypermeter.model.hierarchical import HierarchicalDrumModel

STEPS, VOICES = 3, 2
GRID = Grid(steps_per_beat=1, beats_per_bar=2, bars_per_phrase=1)  # a bar of two steps, then one of one
KL_WEIGHT, ENTROPY_WEIGHT = 0.3, 0.2

REWARDS = {
    "step": Reward([Term("avg_hits", "step", target=1.5)]),
    "bar": Reward([Term("density", "bar", want="more"), Term("step_entropy", "bar", want="more", weight=0.5)]),
    "phrase": Reward([Term("co_occurrence", "phrase", want="more")]),
    "all": Reward(
        [Term("avg_hits", "step", target=1), Term("density", "bar", target=0.4), Term("density", "piece", want="less")]
    ),
}


def tiny(seed=0):
    torch.manual_seed(seed)
    model = HierarchicalDrumModel(
        VOICES, 4, 4, 4, 1, num_components=2, parts=Parts(attention_bars=2), grid=GRID
    ).double()
    return without_dropout(model)


@pytest.fixture(scope="module")
def policy():
    return tiny()


@pytest.fixture(scope="module")
def reference():
    return tiny(1)


@pytest.fixture(scope="module")
def pieces():
    """All 64 of three steps and two voices."""
    steps = combinations(VOICES).double()
    return torch.stack([torch.stack(piece) for piece in itertools.product(steps, repeat=STEPS)])


def flat(loss, policy):
    grads = torch.autograd.grad(loss, list(policy.parameters()), allow_unused=True, retain_graph=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(policy.parameters(), grads)])


def worth(reward, hits):
    return sum(rewards.double().sum(1) for rewards in paid_by_level(reward, hits, GRID).values())


def exact_gradient(reward, policy, reference, pieces, kl_weight=0.0, entropy_weight=0.0):
    """By autograd of the expectation: the sum over all pieces of their probability times what they are worth."""
    log_p = policy.log_prob(pieces).sum(1)
    log_q = reference.log_prob(pieces).sum(1).detach()
    p = log_p.exp()
    assert p.sum().item() == pytest.approx(1)
    divergence, entropy = (p * (log_p - log_q)).sum(), -(p * log_p).sum()
    return flat((p * worth(reward, pieces)).sum() - kl_weight * divergence + entropy_weight * entropy, policy)


def loss_of(played, reward, reference, estimator, now, kl_weight=0.0, entropy_weight=0.0, drawn=False, weights=None):
    """The loss as the trainer makes it, times the steps, so that its gradient is minus that of whole pieces.

    ``drawn`` takes one draw for divergence and entropy; ``weights`` are of the pieces, in place of their frequency.
    """
    with torch.no_grad():
        other = view(reference, played)
    if drawn:
        divergence, entropy = (now.log_probs - other.log_probs).detach(), -now.log_probs.detach()
    else:
        divergence, entropy = divergence_and_entropy(now.dist, other.dist, played.hits)
    costs = kl_weight * divergence - entropy_weight * entropy
    paid = {level: rewards.double() for level, rewards in paid_by_level(reward, played.hits, GRID).items()}
    gains = estimator(paid, paid_costs(costs, exact=not drawn), now, played).advantages
    if weights is None:
        return STEPS * (reinforce_loss(now.log_probs, gains) + (0 if drawn else costs.mean()))
    return ((-now.log_probs * gains + (0 if drawn else costs)).sum(1) * weights).sum()


def of_all(pieces, policy):
    """All pieces as a rollout, what the policy thinks of them, and how likely each is."""
    played = Rollout(pieces, policy.log_prob(pieces).detach())
    return played, view(policy, played), played.log_probs.sum(1).exp()


def without_baseline(paid, costs, now, played):
    return reinforce_estimate(paid, costs, GRID, with_baseline=False)


def with_baseline(paid, costs, now, played):
    return reinforce_estimate(paid, costs, GRID)


def heads_of(reward):
    torch.manual_seed(3)
    levels = {"step"} | {term.level for term in reward.terms}
    return ValueHeads(sorted(levels), 4, VOICES, GRID).double()


def with_values(reward, gae_lambda=1.0):
    heads = heads_of(reward)

    def estimator(paid, costs, now, played):
        return ppo_estimate(paid, costs, heads(now.features, played.hits), GRID, gae_lambda=gae_lambda)

    return estimator


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


# ---------------------------------------------------------------------- exactly: the mean over all pieces


@pytest.mark.parametrize("name", REWARDS)
@pytest.mark.parametrize("kl_weight", [0.0, KL_WEIGHT])
@pytest.mark.parametrize("drawn", [False, True])
def test_the_mean_over_all_pieces_is_the_exact_gradient(name, kl_weight, drawn, policy, reference, pieces):
    reward, entropy_weight = REWARDS[name], ENTROPY_WEIGHT * bool(kl_weight)
    exact = exact_gradient(reward, policy, reference, pieces, kl_weight, entropy_weight)
    assert exact.norm() > 1e-3
    played, now, chance = of_all(pieces, policy)
    for estimator in (without_baseline, with_values(reward)):
        loss = loss_of(played, reward, reference, estimator, now, kl_weight, entropy_weight, drawn, chance)
        close(-flat(loss, policy), exact)


def paired(paid, costs, now, played):
    return reinforce_estimate(paid, costs, GRID, group_size=2)


def relative(paid, costs, now, played):
    return grpo_estimate(paid, costs, GRID, group_size=2, by_spread=False)


@pytest.mark.parametrize(("estimator", "share"), [(paired, 1), (relative, 0.5)])
def test_all_pairs_with_the_other_as_baseline_have_the_exact_gradient(estimator, share, policy, reference, pieces):
    """4,096 pairs. Relative to the mean of both, without the spread, it is half: the piece itself is in the mean."""
    reward = REWARDS["all"]
    exact = exact_gradient(reward, policy, reference, pieces, KL_WEIGHT * (share == 1))
    first, second = torch.cartesian_prod(torch.arange(64), torch.arange(64)).T
    played, now, chance = of_all(pieces[torch.stack([first, second], 1).flatten()], policy)
    weights = (chance[::2] * chance[1::2]).repeat_interleave(2) / 2
    loss = loss_of(played, reward, reference, estimator, now, KL_WEIGHT * (share == 1), weights=weights)
    close(-flat(loss, policy), share * exact)


@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 1.0])
def test_right_values_give_the_exact_gradient_whatever_the_lambda(gae_lambda, policy, reference, pieces):
    """With the values that the policy has, found by listing what follows, lambda only changes the noise."""
    reward = REWARDS["bar"]
    played, now, chance = of_all(pieces, policy)
    paid = paid_by_level(reward, pieces, GRID)["bar"].double()
    values = torch.zeros(len(pieces), STEPS + 1, dtype=torch.double)
    for step in range(STEPS):
        is_same = (pieces[:, None, :step] == pieces[None, :, :step]).flatten(2).all(-1)
        after = played.log_probs[:, step:].sum(1).exp() * is_same
        values[:, step] = after @ paid[:, step:].sum(1)

    def estimator(paid, costs, now, played):
        return ppo_estimate(paid, costs, {"bar": values, "step": 0 * values}, GRID, gae_lambda=gae_lambda)

    gradient = -flat(loss_of(played, reward, reference, estimator, now, weights=chance), policy)
    close(gradient, exact_gradient(reward, policy, reference, pieces))


def test_clipping_at_a_ratio_of_1_changes_nothing(policy, pieces):
    log_probs = policy.log_prob(pieces)
    gains = torch.randn(log_probs.shape, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    close(
        flat(clipped_loss(log_probs, log_probs.detach(), gains), policy),
        flat(reinforce_loss(policy.log_prob(pieces), gains), policy),
    )


def test_a_reward_that_reaches_too_few_steps_is_detected(policy, reference, pieces):
    """The proof can fail: a step changes the bars after its own too."""
    reward = REWARDS["bar"]
    exact = exact_gradient(reward, policy, reference, pieces)
    played, now, chance = of_all(pieces, policy)

    def own_bar_only(paid, costs, now, played):
        nothing = {level: costs.new_zeros(len(costs), STEPS + 1) for level in ("bar", "step")}
        return ppo_estimate(paid, costs, nothing, GRID, gae_lambda=0.0)

    gradient = -flat(loss_of(played, reward, reference, own_bar_only, now, weights=chance), policy)
    assert (gradient - exact).norm() > 0.02 * exact.norm()


def test_a_divergence_that_is_only_differentiated_at_each_step_is_detected(policy, reference, pieces):
    """What a step does to the divergence of later steps is a part of the gradient."""
    reward = Reward([Term("density", "bar", want="more", weight=0)])
    exact = exact_gradient(reward, policy, reference, pieces, kl_weight=1)
    played, now, chance = of_all(pieces, policy)

    def costs_left_out(paid, costs, now, played):
        return reinforce_estimate(paid, 0 * costs, GRID, with_baseline=False)

    gradient = -flat(loss_of(played, reward, reference, costs_left_out, now, 1.0, weights=chance), policy)
    assert (gradient - exact).norm() > 0.02 * exact.norm()


# ---------------------------------------------------------------------- by sampling, through the stream


DRAWS, BATCHES = 256, 24


@pytest.fixture(scope="module")
def sampled(policy):
    generator = torch.Generator().manual_seed(6)
    played = [rollout(policy, DRAWS, STEPS, generator=generator) for _ in range(BATCHES)]
    return [(rows, view(policy, rows)) for rows in played]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kl_weight"), [("step", KL_WEIGHT), ("bar", 0.0), ("phrase", KL_WEIGHT)])
@pytest.mark.parametrize("kind", ["no baseline", "leave one out", "values", "group"])
def test_the_mean_of_many_rollouts_is_within_three_standard_errors(
    name, kl_weight, kind, policy, reference, sampled, pieces
):
    """6,144 pieces a case; the gradient along itself, and along four random directions."""
    reward = REWARDS[name]
    estimator = {
        "no baseline": without_baseline,
        "leave one out": with_baseline,
        "values": with_values(reward),
        "group": lambda paid, costs, now, played: grpo_estimate(paid, costs, GRID, by_spread=False),
    }[kind]
    exact = exact_gradient(reward, policy, reference, pieces, kl_weight)
    if kind == "group":
        exact = exact * (DRAWS - 1) / DRAWS
    directions = torch.randn(5, len(exact), dtype=torch.double, generator=torch.Generator().manual_seed(0))
    directions[0] = exact
    directions = F.normalize(directions, dim=1)
    losses = (loss_of(played, reward, reference, estimator, now, kl_weight) for played, now in sampled)
    gradient = torch.stack([-directions @ flat(loss, policy) for loss in losses])
    error = gradient.std(0) / math.sqrt(BATCHES)
    assert ((gradient.mean(0) - directions @ exact).abs() < 3 * error).all()
    assert error[0] < 0.2 * exact.norm()


# ---------------------------------------------------------------------- by hand


def test_returns_are_what_is_paid_from_each_step_on():
    paid = torch.tensor([[1.0, 0, 2, 4]])
    assert returns(paid).tolist() == [[7, 6, 6, 4]]
    assert returns(paid, torch.tensor([1.0, 0.5, 1, 0.5])).tolist() == [[4, 3, 6, 4]]


def test_a_levels_clock_ticks_at_its_ends():
    grid = Grid(steps_per_beat=1, beats_per_bar=2, bars_per_phrase=2)
    assert level_factors(0.5, "step", 5, grid).tolist() == [0.5] * 5
    assert level_factors(0.5, "bar", 5, grid).tolist() == [1, 0.5, 1, 0.5, 1]
    assert level_factors(0.5, "phrase", 5, grid).tolist() == [1, 1, 1, 0.5, 1]
    assert level_factors(0.5, "piece", 5, grid).tolist() == [1, 1, 1, 1, 0.5]


def test_generalised_advantages_by_hand():
    """d = 1 + .5 * 4 - 2 = 1, then 0 + .5 * 8 - 4 = 0, then 2 + .5 * 6 - 8 = -3; a_t = d_t + .5 * .5 a_(t+1)."""
    rewards, values = torch.tensor([[1.0, 0, 2]]), torch.tensor([[2.0, 4, 8, 6]])
    half = torch.full((3,), 0.5)
    assert advantages(rewards, values, half, half).tolist() == [[1 - 0.1875, -0.75, -3]]
    assert advantages(rewards, values, half, torch.zeros(3)).tolist() == [[1, 0, -3]]


def test_within_a_bar_its_reward_reaches_all_steps_whatever_lambda():
    """Two bars of two steps, paid 1 and 3, values 0: with lambda 0 each step hears of its own bar, in full."""
    grid = Grid(steps_per_beat=1, beats_per_bar=2)
    paid, nothing = torch.tensor([[0.0, 1, 0, 3]]), torch.zeros(1, 5)
    estimate = ppo_estimate({"bar": paid}, torch.zeros(1, 4), {"bar": nothing, "step": nothing}, grid, gae_lambda=0.0)
    assert estimate.advantages.tolist() == [[1, 1, 3, 3]]
    estimate = ppo_estimate({"bar": paid}, torch.zeros(1, 4), {"bar": nothing, "step": nothing}, grid, 0.5, 1.0)
    assert estimate.advantages.tolist() == [[2.5, 2.5, 3, 3]]
    assert set(estimate.targets) == {"bar", "step"} and estimate.targets["bar"].tolist() == [[2.5, 2.5, 3, 3]]


def test_baselines_by_hand():
    worth = torch.tensor([[1.0], [2], [6], [10], [20], [30]])
    assert leave_one_out(worth, 3).flatten().tolist() == [-3, -1.5, 4.5, -15, 0, 15]
    assert group_relative(worth, 3, by_spread=False).flatten().tolist() == [-2, -1, 3, -10, 0, 10]
    spread = torch.tensor([1.0, 2, 6]).std()
    relative = group_relative(worth, 3).flatten()
    torch.testing.assert_close(relative, torch.tensor([-2 / spread, -1 / spread, 3 / spread, -1, 0, 1]))
    assert group_relative(torch.full((4, 2), 3.0)).abs().max() == 0
    with pytest.raises(HypermeterError, match="6 pieces in groups of 4"):
        leave_one_out(worth, 4)
    with pytest.raises(HypermeterError, match="1 pieces in groups of 1"):
        leave_one_out(worth[:1])


def test_the_clipped_loss_by_hand():
    """Ratios 1.5 and .5: a gain stops at 1.2 or goes on with .5; a loss goes on with 1.5 or stops at .8."""
    ratio, gain = torch.tensor([[1.5, 0.5, 1.5, 0.5]]), torch.tensor([[1.0, 1, -1, -1]])
    expected = -(1.2 + 0.5 - 1.5 - 0.8) / 4
    assert clipped_loss(ratio.log(), torch.zeros(1, 4), gain).item() == pytest.approx(expected)


def test_masked_steps_do_not_count():
    x, gain = torch.tensor([[1.0, 2], [3, math.nan]]), torch.tensor([[1.0, 1], [1, 1]])
    mask = torch.tensor([[True, True], [True, False]])
    assert reinforce_loss(x, gain, mask) == -2
    assert value_loss(x, gain, mask).item() == pytest.approx((0 + 1 + 4) / 6)
    assert clipped_loss(x, x, gain, mask=mask) == -1


@pytest.mark.parametrize("voices", [1, 2, 5, 10])
def test_the_table_of_combinations_is_their_log_prob(voices):
    torch.manual_seed(0)
    dist = Mixture(torch.randn(2, 3, 4).log_softmax(-1), 3 * torch.randn(2, 3, 4, voices))
    every = combinations(voices)
    table = combination_log_probs(dist)
    assert table.shape == (2, 3, 2**voices)
    expected = torch.stack([dist.log_prob(combination.expand(2, 3, voices)) for combination in every], -1)
    torch.testing.assert_close(table, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(table.exp().sum(-1), torch.ones(2, 3))


def test_the_table_of_a_softmax_is_its_log_prob():
    torch.manual_seed(0)
    dist = SoftmaxHead(4, 3, [[0, 0, 0], [1, 1, 0], [0, 0, 1]])(torch.randn(2, 5, 4))
    expected = torch.stack([dist.log_prob(combination.expand(2, 5, 3)) for combination in combinations(3)], -1)
    torch.testing.assert_close(combination_log_probs(dist), expected)


def test_divergence_and_entropy_are_the_means_of_their_draws():
    torch.manual_seed(0)
    dist, other = (Mixture(torch.randn(1, 1, 3).log_softmax(-1), 2 * torch.randn(1, 1, 3, 4)) for _ in range(2))
    divergence, entropy = divergence_and_entropy(dist, other, torch.zeros(1, 1, 4))
    many = Mixture(*(part.expand(40_000, *part.shape[1:]) for part in (dist.log_weights, dist.logits)))
    hits = many.sample()
    assert divergence.item() == pytest.approx((dist.log_prob(hits) - other.log_prob(hits)).mean().item(), rel=0.03)
    assert entropy.item() == pytest.approx(-dist.log_prob(hits).mean().item(), rel=0.03)
    assert divergence_and_entropy(dist, dist, hits[:1])[0].item() == pytest.approx(0, abs=1e-6)


def test_combinations_of_thirteen_voices_or_of_tracks_are_drawn():
    torch.manual_seed(0)
    for groups, voices in (((), 13), (((2, 5),), 5)):
        dist, other = (
            Mixture(torch.zeros(2, 3, 1), torch.randn(2, 3, 1, voices).requires_grad_(), groups) for _ in range(2)
        )
        assert not is_exact(dist)
        hits = dist.sample()
        divergence, entropy = divergence_and_entropy(dist, other, hits)
        torch.testing.assert_close(divergence, (dist.log_prob(hits) - other.log_prob(hits)).detach())
        torch.testing.assert_close(entropy, -dist.log_prob(hits).detach())
        assert not divergence.requires_grad


def test_costs_are_paid_by_the_steps_that_can_change_them():
    costs = torch.tensor([[1.0, 2, 3]], requires_grad=True)
    assert paid_costs(costs, exact=True).tolist() == [[-2, -3, 0]]
    assert paid_costs(costs, exact=False).tolist() == [[-1, -2, -3]]
    assert not paid_costs(costs, exact=True).requires_grad


def test_value_heads_take_the_steps_before_each_step():
    hits = torch.tensor([[1.0], [0], [1], [1], [1]])[None]
    heads = ValueHeads(["bar", "phrase"], 3, 1, GRID)
    features = torch.randn(1, 6, 3, requires_grad=True)
    values = heads(features, hits)
    assert set(values) == {"bar", "phrase"} and values["bar"].shape == (1, 6)
    assert values["bar"][0, -1] == 0
    other = hits.clone()
    other[:, 3:] = 0
    torch.testing.assert_close(heads(features, other)["bar"][:, :4], values["bar"][:, :4])
    values["bar"].sum().backward()
    assert features.grad is None


def test_without_dropout_the_stream_and_the_pass_agree_in_training_mode():
    torch.manual_seed(0)
    model = HierarchicalDrumModel(3, 8, 8, 8, 2, dropout=0.5, use_transformer=True)
    model = without_dropout(model)
    assert model.training
    played = rollout(model, 3, 20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(played.log_probs, view(model, played).log_probs.detach(), rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------------- what is no reinforcement


class OfTheData:
    """Metrics of performances, handed out as if they were a reward."""

    def __init__(self, by_row):
        self.by_row = by_row

    def __call__(self, hits, grid):
        worth = torch.linspace(0, 1, len(hits)) if self.by_row else torch.full((len(hits),), 0.3)
        return worth[:, None].expand(hits.shape[:2])


def test_a_reward_of_the_data_has_no_gradient_and_is_refused(policy, reference, pieces):
    reward = OfTheData(by_row=False)
    assert exact_gradient(reward, policy, reference, pieces).abs().max() < 1e-12
    played, now, chance = of_all(pieces, policy)
    assert (
        reinforce_estimate(paid_by_level(reward, pieces, GRID), 0 * chance[:, None].expand(-1, 3), GRID)
        .advantages.abs()
        .max()
        < 1e-6
    )
    assert flat(loss_of(played, reward, reference, without_baseline, now, weights=chance), policy).abs().max() < 1e-12
    with pytest.raises(HypermeterError, match="whatever is played, as with metrics of the data") as caught:
        check_reward(reward, pieces, GRID)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(HypermeterError, match="at another place of the batch"):
        check_reward(OfTheData(by_row=True), pieces, GRID)


def test_a_reward_equal_for_all_pieces_of_the_policy_is_refused(pieces):
    reward = Reward([Term("density", "piece", band=(0, 0.9))])
    with pytest.raises(
        HypermeterError, match="each of 63 pieces of the policy has the reward -?0; nothing can be learnt"
    ):
        check_reward(reward, pieces[:-1], GRID)
    check_reward(reward, pieces, GRID)


def test_checking_a_reward_leaves_its_scales_alone(pieces):
    reward = Reward([Term("density", "bar", want="more")], normalise=True)
    check_reward(reward, pieces, GRID)
    assert reward.scales[0].count == 0


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (lambda hits, grid: hits.sum((1, 2)), r"paid \(64,\) at step level, expected \(64, 3\)"),
        (lambda hits, grid: hits.sum(-1).log(), "not finite"),
    ],
)
def test_rewards_of_another_shape_or_without_bounds_are_refused(reward, message, pieces):
    with pytest.raises(HypermeterError, match=message):
        check_reward(reward, pieces, GRID)

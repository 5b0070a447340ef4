"""Policy gradients: by hand, and against the exact gradient on a model whose pieces can all be listed."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from hypermeter.grid import Grid, HypermeterError
from hypermeter.heads import Mixture, SoftmaxHead, combinations
from hypermeter.model import HierarchicalDrumModel
from hypermeter.rl import Reward, Term
from hypermeter.rl.policy_gradient import (
    ValueHeads,
    advantages,
    check_reward,
    clipped_loss,
    combination_log_probs,
    divergence_and_entropy,
    group_relative,
    grpo_estimate,
    is_exact,
    leave_one_out,
    level_factors,
    paid_by_level,
    paid_costs,
    ppo_estimate,
    reinforce_estimate,
    reinforce_loss,
    returns,
    so_far,
    value_loss,
    view,
    without_dropout,
)
from hypermeter.rl.rollout import Rollout, rollout

STEPS, VOICES = 3, 2
GRID = Grid(steps_per_beat=1, beats_per_bar=2, bars_per_phrase=1)  # a bar of two steps, then one of one
KL_WEIGHT, ENTROPY_WEIGHT = 0.3, 0.2

REWARDS = {
    "step": Reward([Term("avg_hits", "step", target=1.5)]),
    "bar": Reward([Term("density", "bar", want="more"), Term("transitions", "bar", want="more", weight=0.5)]),
    "phrase": Reward([Term("step_entropy", "phrase", want="more")]),
    "all": Reward([Term("avg_hits", "step", target=1), Term("density", "bar", target=0.4), Term("density", "piece", want="less")]),
}


def tiny(seed=0):
    torch.manual_seed(seed)
    model = HierarchicalDrumModel(VOICES, 4, 4, 4, 1, num_components=2, attention_bars=2, grid=GRID).double()
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
    return torch.stack([torch.stack(each) for each in itertools.product(steps, repeat=STEPS)])


def flat(loss, policy):
    grads = torch.autograd.grad(loss, list(policy.parameters()), allow_unused=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(policy.parameters(), grads)])


def worth(reward, hits):
    return sum(each.sum(1) for each in paid_by_level(reward, hits, GRID).values()).double()


def exact_gradient(reward, policy, reference, pieces, kl_weight=0.0, entropy_weight=0.0):
    """By autograd of the expectation: the sum over all pieces of their probability times what they are worth."""
    log_p = policy.log_prob(pieces).sum(1)
    log_q = reference.log_prob(pieces).sum(1).detach()
    p = log_p.exp()
    assert p.sum().item() == pytest.approx(1)
    divergence, entropy = (p * (log_p - log_q)).sum(), -(p * log_p).sum()
    return flat((p * worth(reward, pieces)).sum() - kl_weight * divergence + entropy_weight * entropy, policy)


def loss_of(hits, reward, policy, reference, estimator, kl_weight=0.0, entropy_weight=0.0, drawn=False, weights=None):
    """The loss as the trainer makes it, times the steps, so that its gradient is minus that of whole pieces.

    ``drawn`` takes one draw for divergence and entropy; ``weights`` are of the pieces, in place of their frequency.
    """
    played = Rollout(hits, policy.log_prob(hits).detach())
    now = view(policy, played)
    if drawn:
        other = view(reference, played).log_probs
        divergence, entropy = (now.log_probs - other).detach(), -now.log_probs.detach()
    else:
        divergence, entropy = divergence_and_entropy(now.dist, view(reference, played).dist, hits)
    costs = kl_weight * divergence - entropy_weight * entropy
    paid = {level: each.double() for level, each in paid_by_level(reward, hits, GRID).items()}
    found = estimator(paid, paid_costs(costs, exact=not drawn), now, played).advantages
    each = -(now.log_probs * found).sum(1) + (0 if drawn else costs.sum(1))
    if weights is None:
        loss = reinforce_loss(now.log_probs, found) if drawn else reinforce_loss(now.log_probs, found) + costs.mean()
        return loss * STEPS
    return (each * weights).sum()


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
    chance = policy.log_prob(pieces).sum(1).exp().detach()
    for estimator in (without_baseline, with_values(reward)):
        options = (reward, policy, reference, estimator, kl_weight, entropy_weight, drawn, chance)
        close(-flat(loss_of(pieces, *options), policy), exact)


def test_pairs_of_pieces_have_the_exact_gradient_with_the_other_as_baseline(policy, reference, pieces):
    """All 4,096 pairs; group-relative advantages without the spread are half of it, as the piece itself is in the mean."""
    reward = REWARDS["all"]
    exact = exact_gradient(reward, policy, reference, pieces, KL_WEIGHT, ENTROPY_WEIGHT)
    chance = policy.log_prob(pieces).sum(1).exp().detach()
    first, second = torch.cartesian_prod(torch.arange(64), torch.arange(64)).T
    rows = torch.stack([first, second], 1).flatten()
    weights = (chance[first] * chance[second]).repeat_interleave(2) / 2

    def paired(paid, costs, now, played):
        return reinforce_estimate(paid, costs, GRID, group_size=2)

    def relative(paid, costs, now, played):
        return grpo_estimate(paid, costs, GRID, group_size=2, by_spread=False)

    options = (KL_WEIGHT, ENTROPY_WEIGHT, False, weights)
    close(-flat(loss_of(pieces[rows], reward, policy, reference, paired, *options), policy), exact)
    exact = exact_gradient(reward, policy, reference, pieces)
    options = (0.0, 0.0, False, weights)
    close(-flat(loss_of(pieces[rows], reward, policy, reference, relative, *options), policy), exact / 2)


def test_right_values_give_the_exact_gradient_whatever_the_lambda(policy, reference, pieces):
    """With the values that the policy has, found by listing what follows, lambda only changes the noise."""
    reward = REWARDS["bar"]
    chance = policy.log_prob(pieces).detach()
    paid = paid_by_level(reward, pieces, GRID)["bar"].double()
    values = torch.zeros(len(pieces), STEPS + 1, dtype=torch.double)
    for step in range(STEPS):
        same = (pieces[:, None, :step] == pieces[None, :, :step]).flatten(2).all(-1)
        after = chance[:, step:].sum(1).exp() * same
        values[:, step] = after @ paid[:, step:].sum(1)
    exact = exact_gradient(reward, policy, reference, pieces)
    for gae_lambda in (0.0, 0.5, 1.0):

        def estimator(paid, costs, now, played):
            return ppo_estimate(paid, costs, {"bar": values, "step": 0 * values}, GRID, gae_lambda=gae_lambda)

        weights = chance.sum(1).exp()
        close(-flat(loss_of(pieces, reward, policy, reference, estimator, weights=weights), policy), exact)


def test_clipping_at_a_ratio_of_1_changes_nothing(policy, pieces):
    log_probs = policy.log_prob(pieces)
    gains = torch.randn(log_probs.shape, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    close(
        flat(clipped_loss(log_probs, log_probs.detach(), gains), policy),
        flat(reinforce_loss(policy.log_prob(pieces), gains), policy),
    )


def test_a_reward_paid_to_the_wrong_steps_is_found_out(policy, reference, pieces):
    """The proof can fail: steps that are paid for what came before them, or only for what comes at once, are wrong."""
    reward = REWARDS["bar"]
    exact = exact_gradient(reward, policy, reference, pieces)
    weights = policy.log_prob(pieces).sum(1).exp().detach()

    def at_once(paid, costs, now, played):
        return ppo_estimate(paid, costs, {"bar": costs.new_zeros(64, 4), "step": costs.new_zeros(64, 4)}, GRID, gae_lambda=0)

    found = -flat(loss_of(pieces, reward, policy, reference, at_once, weights=weights), policy)
    assert (found - exact).norm() > 0.05 * exact.norm()


# ---------------------------------------------------------------------- by sampling, through the stream


DRAWS, BATCHES = 128, 120


@pytest.mark.parametrize("name", ["step", "bar", "phrase"])
@pytest.mark.parametrize("kl_weight", [0.0, KL_WEIGHT])
@pytest.mark.parametrize("kind", ["no baseline", "leave one out", "values", "group"])
def test_the_mean_of_many_rollouts_is_within_three_standard_errors(name, kl_weight, kind, policy, reference, pieces):
    """15,360 pieces a case; the gradient along itself, and along four random directions."""
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
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(5, len(exact), dtype=torch.double, generator=generator)
    directions[0] = exact
    directions = F.normalize(directions, dim=1)
    found = []
    for _ in range(BATCHES):
        hits = rollout(policy, DRAWS, STEPS, generator=generator).hits
        found.append(-directions @ flat(loss_of(hits, reward, policy, reference, estimator, kl_weight), policy))
    found = torch.stack(found)
    error = found.std(0) / math.sqrt(BATCHES)
    assert ((found.mean(0) - directions @ exact).abs() < 3 * error).all()
    assert error[0] < 0.2 * exact.norm()

"""Policy gradients: returns, advantages, baselines, losses and value heads.

Pure functions of tensors, for sequences (B, T) in the time convention of ``rollout``: ``rewards[:, t]`` is paid after
step t, ``values[:, t]`` is the value before it, and a sequence ends after its last step unless a value is given for
what follows. The objective is the expected sum of rewards, less ``kl_weight`` times the divergence from the reference,
plus ``entropy_weight`` times the entropy, both of whole sequences. A step changes the steps after it, and so their
divergence too: ``paid_costs`` accounts for that, which losses that only differentiate each step's divergence leave out.

torchrl 0.14 has GAE and the clipped objective, of one discount and one lambda for all steps and of modules that read a
TensorDict. Here each level has its own clock, and a function is shorter than a wrapper of those.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.learn.rl.rewards import LEVEL_SIZES
from hypermeter.model.losses import masked_mean
from hypermeter.music.metrics.onsets import sums_so_far

# ---------------------------------------------------------------------- credit


def level_factors(factor: float, level: str, steps: int, grid: Grid) -> Float[Tensor, " T"]:
    """Return ``factor`` at the last step of each bar (phrase, ...) and 1 elsewhere: a discount by a level's clock."""
    size = LEVEL_SIZES[level](grid, steps)
    ends = torch.arange(1, steps + 1) % size == 0
    return torch.where(ends, factor, 1.0)


def returns(rewards: Float[Tensor, "B T"], discounts: Float[Tensor, " T"] | None = None) -> Float[Tensor, "B T"]:
    """Return the sum of what is paid from each step on: g_t = r_t + discount_t g_(t+1); None discounts nothing."""
    if discounts is None:
        return rewards.flip(1).cumsum(1).flip(1)
    return advantages(rewards, rewards.new_zeros(len(rewards), rewards.shape[1] + 1), discounts)


def advantages(
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T1"],
    discounts: Float[Tensor, " T"],
    lambdas: Float[Tensor, " T"] | None = None,
) -> Float[Tensor, "B T"]:
    """Return generalised advantages: a_t = d_t + discount_t lambda_t a_(t+1), d_t = r_t + discount_t v_(t+1) - v_t.

    Args:
        rewards: paid after each step.
        values: value before each step, and, last, after the last step: 0 where the sequence ends there.
        discounts: factor after each step, see ``level_factors``.
        lambdas: 1 trusts the rewards, 0 the value after the step; None, 1. By a bar's clock it is 1 within the bar, so
            that a bar's reward reaches all of its steps in full.

    Source: Schulman et al. 2016, equation 16; there with one discount and one lambda.
    """
    discounts = discounts.to(rewards)
    decays = discounts if lambdas is None else discounts * lambdas.to(rewards)
    differences = rewards + discounts * values[:, 1:] - values[:, :-1]
    result = torch.empty_like(rewards)
    following = torch.zeros_like(rewards[:, 0])
    for step in range(rewards.shape[1] - 1, -1, -1):
        following = differences[:, step] + decays[step] * following
        result[:, step] = following
    return result


def leave_one_out(returns: Float[Tensor, "B *S"], group_size: int | None = None) -> Float[Tensor, "B *S"]:  # noqa: F821
    """Return each row less the mean of the other rows of its group, which does not depend on the row's own steps.

    Args:
        returns: rows of a group are adjacent.
        group_size: rows in a group, at least 2; None, all.

    Source: Kool, van Hoof & Welling 2019; with the baseline taken at each step.
    """
    grouped = _grouped(returns, group_size)
    size = grouped.shape[1]
    return ((grouped - grouped.mean(1, keepdim=True)) * (size / (size - 1))).flatten(0, 1)


def group_relative(
    returns: Float[Tensor, "B T"], group_size: int | None = None, by_spread: bool = True
) -> Float[Tensor, "B T"]:
    """Return each row less the mean of its group, itself included, over the spread of the group's total returns.

    The spread is one number for each group, that of ``returns[:, 0]``, so that steps keep their relative weight.
    Without it the gradient is (size - 1) / size of the true one; with it, groups of nearly equal returns weigh as much
    as others, which is no gradient of the expected return.

    Args:
        returns: from each step on; rows of a group are adjacent.
        group_size: rows in a group, at least 2; None, all.
        by_spread: divide by the spread (Shao et al. 2024, GRPO) or not (Liu et al. 2025).
    """
    grouped = _grouped(returns, group_size)
    centred = grouped - grouped.mean(1, keepdim=True)
    if by_spread:
        centred = centred / (grouped[:, :, :1].std(1, keepdim=True) + 1e-6)
    return centred.flatten(0, 1)


def _grouped(returns: Tensor, group_size: int | None) -> Tensor:
    rows, size = len(returns), group_size or len(returns)
    if size < 2 or rows % size:
        raise HypermeterError(
            f"policy gradient: {rows} pieces in groups of {size}, expected whole groups of at least 2"
        )
    return returns.unflatten(0, (-1, size))


# ---------------------------------------------------------------------- losses


def _mean(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"] | None) -> Float[Tensor, ""]:
    return x.mean() if mask is None else masked_mean(x, mask)


def reinforce_loss(
    log_probs: Float[Tensor, "B T"], advantages: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"] | None = None
) -> Float[Tensor, ""]:
    """Return a loss whose gradient is minus that of the expected return, a step (Williams 1992)."""
    return -_mean(log_probs * advantages, mask)


def clipped_loss(
    log_probs: Float[Tensor, "B T"],
    old_log_probs: Float[Tensor, "B T"],
    advantages: Float[Tensor, "B T"],
    clip: float = 0.2,
    mask: Bool[Tensor, "B T"] | None = None,
) -> Float[Tensor, ""]:
    """Return PPO's loss: a ratio of probabilities outside [1 - clip, 1 + clip] gains nothing more.

    At a ratio of 1 its gradient is that of ``reinforce_loss``.

    Source: Schulman et al. 2017, equation 7.
    """
    ratio = (log_probs - old_log_probs).exp()
    return -_mean(torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages), mask)


def value_loss(
    values: Float[Tensor, "B T"], targets: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"] | None = None
) -> Float[Tensor, ""]:
    """Return half the mean squared error."""
    return 0.5 * _mean((values - targets).square(), mask)


def paid_costs(costs: Float[Tensor, "B T"], exact: bool) -> Float[Tensor, "B T"]:
    """Return the costs of divergence and entropy as rewards of the steps that can change them.

    An exact cost of step t is one of its distribution. Its own gradient is taken directly; beside that it is paid after
    step t - 1, since the steps before led there. A cost of one sample is paid after its own step.
    """
    costs = costs.detach()
    return -F.pad(costs[:, 1:], (0, 1)) if exact else -costs


# ---------------------------------------------------------------------- value heads


class ValueHeads(nn.Module):
    """Values: what will be paid from each step on, by level.

    Each level has a small head over the policy's features, the mean patterns so far of the bar and of the phrase, and
    the share of the sequence that remains. The features are detached: learning values does not change the policy.

    Args:
        levels: one head for each.
        feature_dim: size of the features.
        width: columns of a step.
        grid: grid of the sequences.
        hidden_dim: hidden size of each head.
    """

    def __init__(self, levels: Sequence[str], feature_dim: int, width: int, grid: Grid, hidden_dim: int = 64):
        super().__init__()
        self.grid = grid
        self.heads = nn.ModuleDict(
            {
                level: nn.Sequential(
                    nn.Linear(feature_dim + 2 * width + 1, hidden_dim), nn.Tanh(), nn.Linear(hidden_dim, 1)
                )
                for level in levels
            }
        )

    def forward(
        self, features: Float[Tensor, "B T1 hidden"], hits: Float[Tensor, "B T W"]
    ) -> dict[str, Float[Tensor, "B T1"]]:
        """Return level -> value before each step, and 0 after the last, where the sequence ends."""
        hits = hits.to(features.dtype)
        steps = hits.shape[1]
        left = torch.linspace(1, 0, steps + 1, device=hits.device, dtype=hits.dtype)[None, :, None]
        sizes = (self.grid.steps_per_bar, self.grid.steps_per_phrase)
        parts = [features.detach(), *(sums_so_far(hits, size) / size for size in sizes), left.expand(len(hits), -1, -1)]
        x = torch.cat(parts, -1)[:, :-1]
        return {level: F.pad(head(x)[..., 0], (0, 1)) for level, head in self.heads.items()}


# ---------------------------------------------------------------------- the advantages of each algorithm


@dataclass(frozen=True)
class Estimate:
    """Advantages of the steps and targets of the value heads.

    Args:
        advantages: (B, T).
        targets: level -> (B, T), of values; empty without value heads.
    """

    advantages: Float[Tensor, "B T"]
    targets: Mapping[str, Float[Tensor, "B T"]]


def reinforce_estimate(
    paid: Mapping[str, Float[Tensor, "B T"]],
    costs: Float[Tensor, "B T"],
    grid: Grid,
    discount: float = 1.0,
    group_size: int | None = None,
    with_baseline: bool = True,
) -> Estimate:
    """Return the returns from each step on, less the mean of the other rows of the group.

    Args:
        paid: level -> what is paid after each step.
        costs: result of ``paid_costs``.
        grid: grid of the sequences.
        discount: by each level's clock; costs are not discounted.
        group_size: see ``leave_one_out``.
        with_baseline: subtract the mean of the others.
    """
    total = _total_returns(paid, grid, discount) + returns(costs)
    return Estimate(leave_one_out(total, group_size) if with_baseline else total, {})


def grpo_estimate(
    paid: Mapping[str, Float[Tensor, "B T"]],
    costs: Float[Tensor, "B T"],
    grid: Grid,
    discount: float = 1.0,
    group_size: int | None = None,
    by_spread: bool = True,
) -> Estimate:
    """Return group-relative returns. Costs are centred, but not divided by the spread: they keep their weight."""
    relative = group_relative(_total_returns(paid, grid, discount), group_size, by_spread)
    return Estimate(relative + group_relative(returns(costs), group_size, by_spread=False), {})


def ppo_estimate(
    paid: Mapping[str, Float[Tensor, "B T"]],
    costs: Float[Tensor, "B T"],
    values: Mapping[str, Float[Tensor, "B T1"]],
    grid: Grid,
    discount: float = 1.0,
    gae_lambda: float = 0.95,
) -> Estimate:
    """Return the sum of the levels' generalised advantages, each by its own clock and value head.

    Args:
        paid, costs, grid, discount: as in ``reinforce_estimate``; costs are paid at level ``step``.
        values: level -> value before each step and after the last, of each level in ``paid``, and of ``step``.
        gae_lambda: by each level's clock.
    """
    by_level = {"step": torch.zeros_like(costs), **paid}
    by_level["step"] = by_level["step"] + costs
    total, targets = torch.zeros_like(costs), {}
    for level, rewards in by_level.items():
        steps, value = rewards.shape[1], values[level].detach()
        discounts, lambdas = (level_factors(factor, level, steps, grid) for factor in (discount, gae_lambda))
        of_level = advantages(rewards, value, discounts, lambdas)
        total, targets[level] = total + of_level, of_level + value[:, :-1]
    return Estimate(total, targets)


def _total_returns(paid: Mapping[str, Float[Tensor, "B T"]], grid: Grid, discount: float) -> Float[Tensor, "B T"]:
    by_level = [returns(x, level_factors(discount, level, x.shape[1], grid)) for level, x in paid.items()]
    return torch.stack(by_level).sum(0)

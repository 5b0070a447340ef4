"""Policy gradients: credit, baselines, losses, and what keeps a policy near the model that it began as.

Pure functions of tensors, for sequences (B, T) in the time convention of ``rollout``: ``rewards[:, t]`` is paid after
step t, ``values[:, t]`` is said before it, and a piece ends after its last step unless a value is given for what comes
then. What is maximised is the expected sum of rewards, less ``kl_weight`` times the divergence from the reference, plus
``entropy_weight`` times the entropy, both of whole pieces. A step changes the steps after it, and so their divergence
too: ``paid_costs`` pays for that, which losses that only differentiate each step's divergence leave out.

torchrl 0.14 has GAE and the clipped objective, of one discount and one lambda for every step and of modules that read a
TensorDict. Here each level has its own clock, and a function is shorter than what would wrap those.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.learn.rl.rewards import Reward, RewardFunction
from hypermeter.learn.rl.rollout import Rollout
from hypermeter.model.heads import StepDistribution
from hypermeter.model.losses import masked_mean
from hypermeter.music.metrics.onsets import sums_so_far

LEVEL_SIZES: dict[str, Callable[[Grid, int], int]] = {
    "step": lambda grid, steps: 1,
    "bar": lambda grid, steps: grid.steps_per_bar,
    "phrase": lambda grid, steps: grid.steps_per_phrase,
    "piece": lambda grid, steps: steps,
}
"""Level -> steps of what it judges, of a grid and a piece's steps. The clock of a level ticks when one has ended."""

M = TypeVar("M", bound=nn.Module)

# ---------------------------------------------------------------------- credit


def level_factors(factor: float, level: str, steps: int, grid: Grid) -> Float[Tensor, " T"]:
    """``factor`` after the last step of each bar (phrase, ...), 1 after all others: a discount by a level's clock."""
    size = LEVEL_SIZES[level](grid, steps)
    ends = torch.arange(1, steps + 1) % size == 0
    return torch.where(ends, factor, 1.0)


def returns(rewards: Float[Tensor, "B T"], discounts: Float[Tensor, " T"] | None = None) -> Float[Tensor, "B T"]:
    """What is paid from each step on: g_t = r_t + discount_t g_(t+1)."""
    if discounts is None:
        return rewards.flip(1).cumsum(1).flip(1)
    return advantages(rewards, rewards.new_zeros(len(rewards), rewards.shape[1] + 1), discounts)


def advantages(
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T1"],
    discounts: Float[Tensor, " T"],
    lambdas: Float[Tensor, " T"] | None = None,
) -> Float[Tensor, "B T"]:
    """Generalised advantages: a_t = d_t + discount_t lambda_t a_(t+1), d_t = r_t + discount_t v_(t+1) - v_t.

    Args:
        rewards: paid after each step.
        values: of what follows before each step, and, last, after the last step: 0 where the piece ends there.
        discounts: of what comes after each step, see ``level_factors``.
        lambdas: 1 trusts what was paid, 0 the value after the step; left out, 1. By a bar's clock it is 1 within the
            bar, so that a bar's reward reaches all of its steps in full.

    Source: Schulman et al. 2016, equation 16; there with one discount and one lambda.
    """
    discounts = discounts.to(rewards)
    passed = discounts if lambdas is None else discounts * lambdas.to(rewards)
    differences = rewards + discounts * values[:, 1:] - values[:, :-1]
    found = torch.empty_like(rewards)
    after = torch.zeros_like(rewards[:, 0])
    for step in range(rewards.shape[1] - 1, -1, -1):
        after = differences[:, step] + passed[step] * after
        found[:, step] = after
    return found


def leave_one_out(returns: Float[Tensor, "B *S"], group_size: int | None = None) -> Float[Tensor, "B *S"]:  # noqa: F821
    """Each row less the mean of the other rows of its group, which does not depend on what the row played.

    Args:
        returns: rows of a group stand together.
        group_size: rows of a group, at least 2; left out, all.

    Source: Kool, van Hoof & Welling 2019; with the baseline taken at each step.
    """
    size = group_size or len(returns)
    _check_groups(len(returns), size)
    grouped = returns.unflatten(0, (-1, size))
    return ((grouped - grouped.mean(1, keepdim=True)) * (size / (size - 1))).flatten(0, 1)


def group_relative(
    returns: Float[Tensor, "B T"], group_size: int | None = None, by_spread: bool = True
) -> Float[Tensor, "B T"]:
    """Each row less the mean of its group, itself included, over the spread of the group's whole returns.

    The spread is one number for each group, that of ``returns[:, 0]``, so that steps keep their weight beside each
    other. Without it the gradient is (size - 1) / size of the true one; with it, groups whose pieces are worth almost
    the same weigh as much as others, which is no gradient of the expected return.

    Args:
        returns: from each step on; rows of a group stand together.
        group_size: rows of a group, at least 2; left out, all.
        by_spread: divide by the spread (Shao et al. 2024, GRPO) or not (Liu et al. 2025).
    """
    size = group_size or len(returns)
    _check_groups(len(returns), size)
    grouped = returns.unflatten(0, (-1, size))
    centred = grouped - grouped.mean(1, keepdim=True)
    if by_spread:
        centred = centred / (grouped[:, :, :1].std(1, keepdim=True) + 1e-6)
    return centred.flatten(0, 1)


def _check_groups(rows: int, size: int) -> None:
    if size < 2 or rows % size:
        raise HypermeterError(
            f"policy gradient: {rows} pieces in groups of {size}, expected whole groups of at least 2"
        )


# ---------------------------------------------------------------------- losses


def _mean(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"] | None) -> Float[Tensor, ""]:
    """Over real steps."""
    return x.mean() if mask is None else masked_mean(x, mask)


def reinforce_loss(
    log_probs: Float[Tensor, "B T"], advantages: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"] | None = None
) -> Float[Tensor, ""]:
    """Its gradient is minus that of the expected return, for each step (Williams 1992)."""
    return -_mean(log_probs * advantages, mask)


def clipped_loss(
    log_probs: Float[Tensor, "B T"],
    old_log_probs: Float[Tensor, "B T"],
    advantages: Float[Tensor, "B T"],
    clip: float = 0.2,
    mask: Bool[Tensor, "B T"] | None = None,
) -> Float[Tensor, ""]:
    """PPO's: nothing is gained by a ratio of probabilities outside [1 - clip, 1 + clip] (Schulman et al. 2017, eq. 7).

    At a ratio of 1 its gradient is that of ``reinforce_loss``.
    """
    ratio = (log_probs - old_log_probs).exp()
    return -_mean(torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages), mask)


def value_loss(
    values: Float[Tensor, "B T"], targets: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"] | None = None
) -> Float[Tensor, ""]:
    """Half the squared error."""
    return 0.5 * _mean((values - targets).square(), mask)


# ---------------------------------------------------------------------- divergence and entropy, as costs


def paid_costs(costs: Float[Tensor, "B T"], exact: bool) -> Float[Tensor, "B T"]:
    """What divergence and entropy cost, as a reward of the steps that can change it.

    An exact cost of step t is one of the distribution there. Its own gradient is taken directly; beside that it is
    paid after step t - 1, since the steps before led there. A cost of one draw is paid after its own step.
    """
    costs = costs.detach()
    return -F.pad(costs[:, 1:], (0, 1)) if exact else -costs


# ---------------------------------------------------------------------- a policy's view of a rollout


@dataclass(frozen=True)
class View:
    """What a model thinks of the steps of a rollout.

    Args:
        dist: (B, T), of each step.
        log_probs: (B, T), of what was played.
        features: (B, T + 1, hidden), what the distributions are made from, and those of the step after the last.
    """

    dist: StepDistribution
    log_probs: Float[Tensor, "B T"]
    features: Float[Tensor, "B T1 hidden"]


def view(model: Any, played: Rollout) -> View:
    """One parallel pass: gradients flow through this, not through the stream."""
    whole, heard = played.whole, played.heard
    prediction = model(whole) if played.plan is None else model(whole, plan=played.plan)
    dist = prediction.step_dist[:, heard:-1]
    return View(dist, dist.log_prob(played.hits), prediction.features[:, heard:])


def without_dropout(model: M) -> M:
    """The model, with all dropout taken out and in training mode.

    With dropout a step would have one probability when it was drawn and another when it is learnt from: ratios would
    not be 1 for the same weights, and the divergence from the reference not 0. Eval mode would do on a CPU; cuDNN
    gives no gradient of a GRU in it.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.RNNBase):
            module.dropout = 0.0
    return model.train()


class ValueHeads(nn.Module):
    """What will be paid from each step on, by level.

    Each level has a small head of its own over the policy's features, the mean patterns so far of the bar and of the
    phrase, and the share of the piece that is left. The features are detached: learning what pieces are worth changes
    nothing in how they are played.

    Args:
        levels: one head for each.
        feature_dim: size of the features.
        width: columns of a step.
        grid: the metre.
        hidden_dim: of each head.
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
        """Level -> value before each step, and 0 after the last: a piece ends there."""
        hits = hits.to(features.dtype)
        steps = hits.shape[1]
        left = torch.linspace(1, 0, steps + 1, device=hits.device, dtype=hits.dtype)[None, :, None]
        sizes = (self.grid.steps_per_bar, self.grid.steps_per_phrase)
        parts = [features.detach(), *(sums_so_far(hits, size) / size for size in sizes), left.expand(len(hits), -1, -1)]
        x = torch.cat(parts, -1)[:, :-1]
        return {level: F.pad(head(x)[..., 0], (0, 1)) for level, head in self.heads.items()}


# ---------------------------------------------------------------------- rewards


def paid_by_level(
    reward: RewardFunction | Reward, hits: Float[Tensor, "B T V"], grid: Grid
) -> dict[str, Float[Tensor, "B T"]]:
    """What is paid after each step, by level; of a function that knows no levels, all of it at ``step``.

    Raises:
        HypermeterError: a reward that pays another shape than (pieces, steps), or what is not finite.
    """
    paid = reward.by_level(hits, grid) if isinstance(reward, Reward) else {"step": reward(hits, grid)}
    for level, each in paid.items():
        if each.shape != hits.shape[:2]:
            found, expected = tuple(each.shape), tuple(hits.shape[:2])
            raise HypermeterError(f"reward: paid {found} at {level} level, expected {expected} (pieces, steps)")
        if not each.isfinite().all():
            raise HypermeterError(f"reward: paid what is not finite at {level} level; check the metric and its scale")
    return paid


@torch.no_grad()
def check_reward(reward: RewardFunction | Reward, hits: Float[Tensor, "B T V"], grid: Grid) -> None:
    """Refuses a reward that does not depend on what the policy plays: nothing can be learnt from it.

    The gradient of the expected return is that of the probabilities of pieces, weighted by what they are worth. What
    is worth the same whichever piece is played, such as metrics of the data, has the gradient 0; to lower a loss
    with it would only look like learning.

    Args:
        reward: a function of hits and the grid.
        hits: pieces that the policy played.
        grid: the metre.

    Raises:
        HypermeterError: the worth of a piece depends on its place among the others, or is the same for all pieces.
    """
    if isinstance(reward, Reward):
        reward = replace(reward, frozen=True)
    worth = _worth(reward, hits, grid)
    if not torch.allclose(_worth(reward, hits.flip(0), grid).flip(0), worth, rtol=1e-4, atol=1e-6):
        raise HypermeterError(
            "reward: a piece is worth something else at another place of the batch, so that the worth is not of what "
            "is played; expected a function of hits, not of the data"
        )
    if _differ(worth):
        return
    other = (torch.rand_like(hits.float()) < torch.linspace(0, 1, len(hits), device=hits.device)[:, None, None]).float()
    if _differ(_worth(reward, torch.cat([hits.float(), other]), grid)):
        raise HypermeterError(
            f"reward: each of {len(hits)} pieces of the policy is worth {worth[0]:g}; nothing can be learnt from equal "
            "pieces: move the target, or widen what is told apart"
        )
    raise HypermeterError(
        f"reward: every piece is worth {worth[0]:g}, whatever is played, as with metrics of the data: the gradient is "
        "0, which is no reinforcement; expected a function of the hits that the policy plays"
    )


def _worth(reward: RewardFunction | Reward, hits: Tensor, grid: Grid) -> Float[Tensor, " B"]:
    return torch.stack([each.sum(1) for each in paid_by_level(reward, hits, grid).values()]).sum(0).double()


def _differ(worth: Float[Tensor, " B"]) -> bool:
    return bool((worth - worth[0]).abs().max() > 1e-6 * worth.abs().max().clamp_min(1e-6))


# ---------------------------------------------------------------------- the three algorithms' advantages


@dataclass(frozen=True)
class Estimate:
    """How much better than expected each step was, and what the value heads should have said.

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
    """What is paid from each step on, less what the other pieces of the group were paid from there on.

    Args:
        paid: level -> what is paid after each step.
        costs: as ``paid_costs`` gives them.
        grid: the metre.
        discount: by each level's clock; costs are never discounted.
        group_size: see ``leave_one_out``.
        with_baseline: subtract the mean of the others.
    """
    total = _returns(paid, grid, discount) + returns(costs)
    return Estimate(leave_one_out(total, group_size) if with_baseline else total, {})


def grpo_estimate(
    paid: Mapping[str, Float[Tensor, "B T"]],
    costs: Float[Tensor, "B T"],
    grid: Grid,
    discount: float = 1.0,
    group_size: int | None = None,
    by_spread: bool = True,
) -> Estimate:
    """Group-relative returns. Costs are centred, and not divided by the spread: their weight stays what it is."""
    relative = group_relative(_returns(paid, grid, discount), group_size, by_spread)
    return Estimate(relative + group_relative(returns(costs), group_size, by_spread=False), {})


def ppo_estimate(
    paid: Mapping[str, Float[Tensor, "B T"]],
    costs: Float[Tensor, "B T"],
    values: Mapping[str, Float[Tensor, "B T1"]],
    grid: Grid,
    discount: float = 1.0,
    gae_lambda: float = 0.95,
) -> Estimate:
    """Generalised advantages of each level by its own clock and value head, summed. Costs are paid at ``step``.

    Args:
        paid, costs, grid, discount: as in ``reinforce_estimate``.
        values: level -> value before each step and after the last, of each level in ``paid``, and of ``step``.
        gae_lambda: by each level's clock.
    """
    streams = {"step": torch.zeros_like(costs), **paid}
    streams["step"] = streams["step"] + costs
    total, targets = torch.zeros_like(costs), {}
    for level, rewards in streams.items():
        steps, value = rewards.shape[1], values[level].detach()
        discounts, lambdas = (level_factors(factor, level, steps, grid) for factor in (discount, gae_lambda))
        each = advantages(rewards, value, discounts, lambdas)
        total, targets[level] = total + each, each + value[:, :-1]
    return Estimate(total, targets)


def _returns(paid: Mapping[str, Float[Tensor, "B T"]], grid: Grid, discount: float) -> Float[Tensor, "B T"]:
    each = [returns(x, level_factors(discount, level, x.shape[1], grid)) for level, x in paid.items()]
    return torch.stack(each).sum(0)

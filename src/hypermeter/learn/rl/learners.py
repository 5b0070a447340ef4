"""Learners: the algorithms as the loop of ``reinforce`` calls them, and the measures of what they generate."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hypermeter.core.errors import HypermeterError
from hypermeter.learn.rl.config import ReinforceConfig
from hypermeter.learn.rl.divergence import divergence_and_entropy, is_exact
from hypermeter.learn.rl.policy_gradient import (
    Estimate,
    ValueHeads,
    clipped_loss,
    grpo_estimate,
    paid_costs,
    ppo_estimate,
    reinforce_estimate,
    reinforce_loss,
    value_loss,
)
from hypermeter.learn.rl.rewards import Reward, paid_by_level
from hypermeter.learn.rl.rollout import MAX_STEPS_PER_PASS, Rollout, rollout, view
from hypermeter.model.hierarchical import HierarchicalDrumModel

GRADIENT_CLIP = 1.0
"""Largest norm of a gradient."""

MAX_KL_WEIGHT_CHANGE = 0.1
"""Largest relative change of an adaptive kl_weight in one update."""


class Learner(Protocol):
    """An algorithm: ``update`` generates a batch, learns from it, and returns measures of it (see ``describe``)."""

    @property
    def policy(self) -> HierarchicalDrumModel: ...

    def update(self, generator: torch.Generator) -> dict[str, float]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


# ---------------------------------------------------------------------- measures of generated pieces


def distinct_bars(hits: Float[Tensor, "B T V"], steps_per_bar: int) -> float:
    """Return the share of whole bars that are distinct, in (0, 1]; 1 without any."""
    bars = hits[:, : hits.shape[1] // steps_per_bar * steps_per_bar].reshape(-1, steps_per_bar * hits.shape[2])
    return len(bars.unique(dim=0)) / len(bars) if len(bars) else 1.0


def describe(
    paid: Mapping[str, Float[Tensor, "B T"]],
    divergence: Float[Tensor, "B T"],
    entropy: Float[Tensor, "B T"],
    hits: Float[Tensor, "B T V"],
    steps_per_bar: int,
) -> dict[str, float]:
    """Return means over a batch: ``reward`` of a piece, in all and by level; ``kl`` from the reference and ``entropy``,
    in nats per step; ``distinct_bars``; ``hits`` a step.
    """
    by_level = {f"reward_{level}": rewards.sum(1).mean().item() for level, rewards in paid.items()}
    return {
        "reward": sum(by_level.values()),
        **by_level,
        "kl": divergence.mean().item(),
        "entropy": entropy.mean().item(),
        "distinct_bars": distinct_bars(hits, steps_per_bar),
        "hits": hits.sum(-1).mean().item(),
    }


@torch.no_grad()
def describe_rollout(
    policy: HierarchicalDrumModel, reference: HierarchicalDrumModel, reward: Reward, played: Rollout
) -> dict[str, float]:
    """Return ``describe`` of the policy's rollout, by a reward that is not normalised, so that results compare."""
    grid, drums = policy.grid, played.hits[..., : policy.num_drums]
    divergence, entropy = divergence_and_entropy(view(policy, played).dist, view(reference, played).dist, played.hits)
    paid = paid_by_level(replace(reward, normalise=False), drums, grid)
    return describe(paid, divergence, entropy, drums, grid.steps_per_bar)


def evaluate_policy(
    policy: HierarchicalDrumModel, reference: HierarchicalDrumModel, reward: Reward, pieces: int, bars: int, seed: int
) -> dict[str, float]:
    """Return ``describe_rollout`` of pieces from silence; equal for equal weights and seed."""
    generator = torch.Generator(policy.feature_norm.weight.device).manual_seed(seed)
    played = rollout(policy, pieces, bars * policy.grid.steps_per_bar, generator=generator)
    return describe_rollout(policy, reference, reward, played)


# ---------------------------------------------------------------------- policy gradients


class PolicyLearner:
    """REINFORCE, PPO and GRPO.

    Args:
        policy: model that learns, without dropout.
        reference: the starting model, frozen.
        reward: reward of the generated voices.
        config: settings of the run.
    """

    def __init__(
        self,
        policy: HierarchicalDrumModel,
        reference: HierarchicalDrumModel,
        reward: Reward,
        config: ReinforceConfig,
    ):
        self.policy, self.reference, self.reward, self.config = policy, reference, reward, config
        self.grid, self.steps = policy.grid, config.bars * policy.grid.steps_per_bar
        self.kl_weight = config.kl_weight
        self.optimizer = torch.optim.Adam(policy.parameters(), config.learning_rate)
        self.heads = self.heads_optimizer = None
        if config.algorithm == "ppo":
            levels = sorted({"step", *(term.level for term in reward.terms)})
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed)
                heads = ValueHeads(levels, policy.config["step_hidden_dim"], policy.width, policy.grid)
            self.heads = heads.to(policy.feature_norm.weight.device)
            self.heads_optimizer = torch.optim.Adam(self.heads.parameters(), config.value_learning_rate)

    def update(self, generator: torch.Generator) -> dict[str, float]:
        """Generate a batch and learn from it; return its measures.

        Raises:
            HypermeterError: the gradient is not finite.
        """
        config, policy = self.config, self.policy
        played = rollout(policy, config.batch_size, self.steps, generator=generator)
        with torch.no_grad():
            before, reference = view(policy, played), view(self.reference, played)
            divergence, entropy = divergence_and_entropy(before.dist, reference.dist, played.hits)
        drums = played.hits[..., : policy.num_drums]
        paid = paid_by_level(self.reward, drums, self.grid)
        costs = paid_costs(self.kl_weight * divergence - config.entropy_weight * entropy, is_exact(before.dist))
        estimate = self._estimate(paid, costs, before.features, played.hits)
        measures: dict[str, list[float]] = {"gradient_norm": [], "outside_clip": [], "value_error": []}
        for rows in self._minibatches(generator):
            norm, outside = self._learn(played, rows, before.log_probs, reference.dist, estimate)
            measures["gradient_norm"].append(norm)
            measures["outside_clip"].append(outside)
            if self.heads is not None:
                measures["value_error"].append(self._learn_values(before.features, played.hits, rows, estimate))
        row = describe(paid, divergence, entropy, drums, self.grid.steps_per_bar)
        row |= {"kl_weight": self.kl_weight}
        row |= {name: sum(values) / len(values) for name, values in measures.items() if values}
        if config.kl_target is not None:
            self.kl_weight = adapt_kl_weight(self.kl_weight, row["kl"], config.kl_target)
        return row

    def _estimate(self, paid: Any, costs: Tensor, features: Tensor, hits: Tensor) -> Estimate:
        config = self.config
        if config.algorithm == "reinforce":
            return reinforce_estimate(paid, costs, self.grid, config.discount)
        if config.algorithm == "grpo":
            return grpo_estimate(paid, costs, self.grid, config.discount)
        assert self.heads is not None
        with torch.no_grad():
            values = self.heads(features, hits)
        return ppo_estimate(paid, costs, values, self.grid, config.discount, config.gae_lambda)

    def _minibatches(self, generator: torch.Generator) -> Iterator[Int[Tensor, " N"]]:
        config = self.config
        device = self.policy.feature_norm.weight.device
        if config.algorithm == "reinforce":  # after an update the batch is no longer a sample of the policy
            yield torch.arange(config.batch_size, device=device)
            return
        for _ in range(config.epochs):
            order = torch.randperm(config.batch_size, generator=generator, device=device)
            yield from order.tensor_split(config.minibatches)

    def _learn(
        self, played: Rollout, rows: Int[Tensor, " N"], old: Tensor, reference: Any, estimate: Estimate
    ) -> tuple[float, float]:
        """Update the policy; return the gradient's norm, and the share of steps whose ratio is outside the clip."""
        config, outside = self.config, 0.0
        self.optimizer.zero_grad()
        for part in rows.split(max(1, MAX_STEPS_PER_PASS // self.steps)):
            chosen = played.select(part)
            now = view(self.policy, chosen)
            if config.algorithm == "reinforce":
                loss = reinforce_loss(now.log_probs, estimate.advantages[part])
            else:
                loss = clipped_loss(now.log_probs, old[part], estimate.advantages[part], config.clip)
            if is_exact(now.dist) and (self.kl_weight or config.entropy_weight):
                divergence, entropy = divergence_and_entropy(now.dist, reference[part], chosen.hits)
                loss = loss + (self.kl_weight * divergence - config.entropy_weight * entropy).mean()
            share = len(part) / len(rows)
            (loss * share).backward()
            ratio = (now.log_probs.detach() - old[part]).exp()
            outside += share * ((ratio - 1).abs() > config.clip).float().mean().item()
        norm = nn.utils.clip_grad_norm_(self.policy.parameters(), GRADIENT_CLIP).item()
        if not math.isfinite(norm):
            raise HypermeterError("reinforce: the gradient is not finite; lower --learning-rate")
        self.optimizer.step()
        return norm, outside

    def _learn_values(self, features: Tensor, hits: Tensor, rows: Int[Tensor, " N"], estimate: Estimate) -> float:
        """Update the value heads; return their mean loss."""
        assert self.heads is not None and self.heads_optimizer is not None
        values = self.heads(features[rows], hits[rows])
        losses = [value_loss(values[level][:, :-1], target[rows]) for level, target in estimate.targets.items()]
        self.heads_optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        self.heads_optimizer.step()
        return torch.stack(losses).mean().item()

    def state_dict(self) -> dict[str, Any]:
        parts = {"policy": self.policy, "optimizer": self.optimizer}
        if self.heads is not None and self.heads_optimizer is not None:
            parts |= {"heads": self.heads, "heads_optimizer": self.heads_optimizer}
        return {name: part.state_dict() for name, part in parts.items()} | {"kl_weight": self.kl_weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.kl_weight = state["kl_weight"]
        self.policy.load_state_dict(state["policy"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.heads is not None and self.heads_optimizer is not None:
            self.heads.load_state_dict(state["heads"])
            self.heads_optimizer.load_state_dict(state["heads_optimizer"])


def adapt_kl_weight(kl_weight: float, kl: float, target: float) -> float:
    """Return a weight that brings the divergence nearer to its target, changed in proportion to the distance.

    Source: Ziegler et al. 2019, section 2.2.
    """
    return kl_weight * (1 + MAX_KL_WEIGHT_CHANGE * min(max(kl / target - 1, -1), 1))

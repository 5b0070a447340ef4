"""Reinforcement learning: rewards of rhythm metrics, rollouts, policy gradients, a Gymnasium environment.

The settings and the loop of the command are in ``config`` and ``reinforce``.
"""

from typing import TYPE_CHECKING

from hypermeter.learn.lazy import offer

if TYPE_CHECKING:
    from hypermeter.learn.rl.divergence import divergence_and_entropy
    from hypermeter.learn.rl.env import DrumsEnv, DrumsVectorEnv
    from hypermeter.learn.rl.policy_gradient import (
        Estimate,
        ValueHeads,
        advantages,
        clipped_loss,
        group_relative,
        grpo_estimate,
        leave_one_out,
        paid_costs,
        ppo_estimate,
        reinforce_estimate,
        reinforce_loss,
        returns,
        value_loss,
    )
    from hypermeter.learn.rl.reward_files import load_reward, style_terms
    from hypermeter.learn.rl.rewards import Reward, RunningScale, Term, check_reward, paid_by_level
    from hypermeter.learn.rl.rollout import Rollout, View, rollout, view, without_dropout
else:
    offer(__name__, of_torch="rl")

"""Reinforcement: rewards made of the rhythm metrics, rollouts, policy gradients, values of voice combinations.

Not offered here: ``env``, which needs Gymnasium, ``q_learning``, and ``reinforce``, which is what the command does.
"""

from typing import TYPE_CHECKING

from hypermeter.learn.lazy import offer

if TYPE_CHECKING:
    from hypermeter.learn.rl.divergence import divergence_and_entropy
    from hypermeter.learn.rl.policy_gradient import (
        Estimate,
        ValueHeads,
        View,
        advantages,
        check_reward,
        clipped_loss,
        group_relative,
        grpo_estimate,
        leave_one_out,
        paid_by_level,
        paid_costs,
        ppo_estimate,
        reinforce_estimate,
        reinforce_loss,
        returns,
        value_loss,
        view,
        without_dropout,
    )
    from hypermeter.learn.rl.rewards import Reward, RunningScale, Term, load_reward, style_terms
    from hypermeter.learn.rl.rollout import Rollout, rollout
else:
    offer(__name__)

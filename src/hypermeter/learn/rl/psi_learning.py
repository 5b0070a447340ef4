"""Psi-learning: values of voice combinations, with the reference's log p in the reward.

A reward r is worth r / kl_weight nats. With p the reference and Psi(s, a) the value of playing combination a in state
s, where s' comes next,

    Psi(s, a) = log p(a | s) + r / kl_weight + log sum_b exp Psi(s', b),

the policy that plays exp Psi(s, a), normalised, maximises the reward less kl_weight times the divergence from the
reference: it plays p(sequence) exp(reward / kl_weight), normalised over sequences.

Any values of the actions are a value V of the state plus the log probabilities of a policy. So the network is a drum
model pi, which begins as the reference, and a value head V: Psi(s, a) = V(s) + log pi(a | s). All combinations of
voices are actions, as in the model's own output, and log sum_b exp Psi(s, b) is V(s) itself.

States are functions of all steps before, so that a transition cannot be stored by itself: a stored recurrent state
would be that of older weights. The replay keeps whole sequences, and the network reads them again.

Source: Jaques et al. 2017, Sequence Tutor, there with one step of backup and one voice; Nachum et al. 2017, Bridging
the gap between value and policy based reinforcement learning, for a policy and a state value as values of actions.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hypermeter.learn.rl.action_values import Replay, track, value_targets
from hypermeter.learn.rl.config import ReinforceConfig
from hypermeter.learn.rl.divergence import divergence_and_entropy
from hypermeter.learn.rl.learners import GRADIENT_CLIP, describe
from hypermeter.learn.rl.policy_gradient import ValueHeads, returns
from hypermeter.learn.rl.rewards import Reward, RewardFunction, paid_by_level
from hypermeter.learn.rl.rollout import MAX_STEPS_PER_PASS, Rollout, rollout, view, without_dropout
from hypermeter.model.heads import StepDistribution
from hypermeter.model.hierarchical import HierarchicalDrumModel

VALUE_UPDATES = 200
"""Updates of the state values alone, before the first update of the policy."""


class PsiNetwork(nn.Module):
    """Values of actions: a policy and a state value.

    Args:
        reference: model as which the policy begins.
        unit: nats by which the head's output, of about one, is multiplied.
    """

    def __init__(self, reference: HierarchicalDrumModel, unit: float):
        super().__init__()
        self.model = without_dropout(copy.deepcopy(reference).requires_grad_(True))
        self.worth = ValueHeads(["state"], reference.config["step_hidden_dim"], reference.width, reference.grid)
        self.unit = unit
        self.to(next(reference.parameters()).device)

    def forward(self, hits: Float[Tensor, "B T W"]) -> tuple[StepDistribution, Float[Tensor, "B T"]]:
        """Return the policy's distribution of each step, and the value of the state before it, in nats."""
        prediction = self.model(hits)
        return prediction.step_dist[:, :-1], self.unit * self.worth(prediction.features, hits)["state"][:, :-1]


class PsiLearner:
    """A ``Learner``: an update generates a batch, stores it, and learns from several batches of the replay.

    Args:
        reference: starting model, which is not changed.
        reward: reward of the generated voices.
        config: settings of the run.
        trace: see ``value_targets``; with 0 a bar's reward goes back by one step each time the target has followed.
        explore: share of the sequences that the reference generates, in [0, 1). Uniform exploration would leave what
            the networks know of drumming.
        updates_per_batch: updates for each generated batch.
        target_rate: rate at which the target network follows, an update.
        warm_up: sequences that the reference generates before the first update.
        capacity: sequences in the replay.
    """

    def __init__(
        self,
        reference: HierarchicalDrumModel,
        reward: RewardFunction | Reward,
        config: ReinforceConfig,
        *,
        trace: float = 0.9,
        explore: float = 0.1,
        updates_per_batch: int = 4,
        target_rate: float = 0.05,
        warm_up: int = 128,
        capacity: int = 512,
    ):
        self.config, self.reward = config, reward
        self.trace, self.explore, self.target_rate = trace, explore, target_rate
        self.updates_per_batch = updates_per_batch
        self.device = next(reference.parameters()).device  # moving a copy lays the weights of its GRUs out for cuDNN
        self.reference = without_dropout(copy.deepcopy(reference).requires_grad_(False).to(self.device))
        self.steps = config.bars * reference.grid.steps_per_bar
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        self.replay = Replay(capacity)
        with torch.random.fork_rng([] if self.device.type == "cpu" else [self.device]):
            torch.manual_seed(config.seed)
            self.network = PsiNetwork(self.reference, 1 / config.kl_weight)
        for _ in range(-(-warm_up // config.batch_size)):
            self._generate(self.reference, config.batch_size)
        self._fit_state_values()
        self.target = copy.deepcopy(self.network).requires_grad_(False).to(self.device)
        groups = [
            {"params": list(self.network.model.parameters()), "lr": config.learning_rate},
            {"params": list(self.network.worth.parameters()), "lr": config.value_learning_rate},
        ]
        self.optimizer = torch.optim.Adam(groups)

    @property
    def policy(self) -> HierarchicalDrumModel:
        """The policy as a drum model in eval mode, with the dropout of the reference."""
        model = self.network.model
        with torch.random.fork_rng([] if self.device.type == "cpu" else [self.device]):
            policy = HierarchicalDrumModel.from_config(model.config, model.grid, model.kit).to(self.device)
        policy.load_state_dict(model.state_dict())
        return policy.eval()

    def update(self, generator: torch.Generator) -> dict[str, float]:
        """Generate a batch and learn; ``generator`` is not used, as the learner has its own."""
        played, paid = self.play()
        with torch.no_grad():
            dist, reference_dist = (view(model, played).dist for model in (self.network.model, self.reference))
            divergence, entropy = divergence_and_entropy(dist, reference_dist, played.hits)
        drums, grid = played.hits[..., : self.reference.num_drums], self.reference.grid
        row = describe(paid, divergence, entropy, drums, grid.steps_per_bar)
        losses = [self.learn() for _ in range(self.updates_per_batch)]
        return row | {"kl_weight": self.config.kl_weight, "value_error": sum(losses) / len(losses)}

    def play(self) -> tuple[Rollout, dict[str, Tensor]]:
        """Generate and store a batch; return the policy's share of it, and what is paid for it, by level."""
        explored = round(self.explore * self.config.batch_size)
        if explored:
            self._generate(self.reference, explored)
        return self._generate(self.network.model, self.config.batch_size - explored)

    def _generate(self, model: HierarchicalDrumModel, rows: int) -> tuple[Rollout, dict[str, Tensor]]:
        played = rollout(model, rows, self.steps, generator=self.generator)
        paid = paid_by_level(self.reward, played.hits[..., : model.num_drums], model.grid)
        self.replay.add(
            {
                "whole": played.hits.bool(),
                "rewards": torch.stack(list(paid.values())).sum(0),
                "prior": view(self.reference, played).log_probs.detach(),
            }
        )
        return played, paid

    def learn(self) -> float:
        """Update the network from a batch of the replay; return the loss."""
        config = self.config
        batch = self.replay.sample(config.batch_size, self.generator)
        hits, paid = batch["whole"].float(), batch["rewards"] / config.kl_weight + batch["prior"]
        dist, state_values = self.network(hits)
        with torch.no_grad():
            old_dist, old_state_values = self.target(hits)
            action_values = old_state_values + old_dist.log_prob(hits)
            targets = value_targets(action_values, old_state_values, paid, trace=self.trace)
        loss = F.smooth_l1_loss(state_values + dist.log_prob(hits), targets)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_CLIP)
        self.optimizer.step()
        track(self.target, self.network, self.target_rate)
        return loss.item()

    def _fit_state_values(self) -> None:
        """Fit the state values to the returns of the reference's sequences.

        From 0 they would have far to go; until they arrive, every action that was taken looks worse than the others.
        """
        network, stored = self.network, len(self.replay)
        paid = self.replay.columns["rewards"][:stored] / self.config.kl_weight
        targets = returns(paid, torch.ones(self.steps, device=paid.device)) / network.unit
        hits = self.replay.columns["whole"][:stored].float()
        with torch.no_grad():
            batches = hits.split(max(1, MAX_STEPS_PER_PASS // self.steps))
            features = torch.cat([network.model(batch).features for batch in batches])
        optimizer = torch.optim.Adam(network.worth.parameters(), lr=self.config.value_learning_rate)
        for _ in range(VALUE_UPDATES):
            loss = (network.worth(features, hits)["state"][:, :-1] - targets).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "target": self.target.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "replay": self.replay.columns,
            "added": self.replay.added,
            "random": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.target.load_state_dict(state["target"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.replay.columns, self.replay.added = state["replay"], state["added"]
        self.generator.set_state(state["random"].cpu())

"""Q-learning with the reference's log p in the reward: Q-, psi- and G-learning.

A reward r is worth r / kl_weight nats. With p the reference and Q, Psi, G the values of playing combination a in
state s, where s' comes next,

- q:   Q(s, a)   = log p(a | s) + r / kl_weight + max_b Q(s', b)
- psi: Psi(s, a) = log p(a | s) + r / kl_weight + log sum_b exp Psi(s', b),      which plays exp Psi(s, a), normalised
- g:   G(s, a)   =                r / kl_weight + log sum_b p(b | s') exp G(s', b), which plays p(a | s) exp G(s, a)

The last two maximise the reward less kl_weight times the divergence from the reference, and play p(piece) exp(reward /
kl_weight), normalised over pieces. Psi is G + log p. Q-learning wants the one piece that is best by reward and
likelihood together.

Any values of the actions are what the state is worth plus the log probabilities of what is played by them. So the
network is a drum model pi, which begins as the reference, and a value V of the state: Psi(s, a) = V(s) + log pi(a | s),
G(s, a) = V(s) + log pi(a | s) - log p(a | s). All combinations of voices are actions, as the model's own output has
them; the sum over them is V(s) itself, and only the maximum of q has to look at each. The policy is pi, a drum model
like any other; at first it is the reference.

States are functions of all that was played, so that a transition cannot be stored by itself: a recurrent state that
was kept would be that of older weights. Replay keeps whole pieces and runs the network over them again.

Source: Jaques et al. 2017, Sequence Tutor, there with one step of backup and one voice; Nachum et al. 2017, Bridging
the gap between value and policy based reinforcement learning, for a policy and a value of the state as values of
actions.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hypermeter.core.errors import HypermeterError
from hypermeter.learn.rl.action_values import KINDS_OF_VALUES, Kind, Replay, track, value_targets
from hypermeter.learn.rl.divergence import combination_log_probs, divergence_and_entropy, is_exact
from hypermeter.learn.rl.policy_gradient import ValueHeads, paid_by_level, returns, view, without_dropout
from hypermeter.learn.rl.rewards import RewardFunction
from hypermeter.learn.rl.rollout import STEPS_AT_ONCE, Rollout, rollout
from hypermeter.model.heads import Mixture, StepDistribution, combinations
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.model.plan import Plan

FIRST_UPDATES = 200
"""Of the values of states alone, before anything is learnt of what is played."""

MOST_GRADIENT = 1.0
"""Length to which a longer gradient is cut."""


class QNetwork(nn.Module):
    """Values of actions: what is played by them, and what states are worth.

    Args:
        reference: the model as which it begins.
        unit: nats of which the values of states are numbers of about one.
    """

    def __init__(self, reference: HierarchicalDrumModel, unit: float):
        super().__init__()
        self.model = without_dropout(copy.deepcopy(reference).requires_grad_(True))
        self.worth = ValueHeads(["state"], reference.config["step_hidden_dim"], reference.width, reference.grid)
        self.unit = unit
        self.to(next(reference.parameters()).device)

    def forward(
        self, whole: Float[Tensor, "B T1 W"], heard: int = 0, plan: Plan | None = None
    ) -> tuple[StepDistribution, Float[Tensor, "B T"]]:
        """What is played at each step after the first ``heard``, and what the state before it is worth, in nats."""
        prediction = self.model(whole, plan=plan)
        worth = self.unit * self.worth(prediction.features[:, heard:], whole[:, heard:])["state"]
        return prediction.step_dist[:, heard:-1], worth[:, :-1]


def most(dist: StepDistribution) -> tuple[Float[Tensor, "B T W"], Float[Tensor, "B T"]]:
    """The likeliest combination of each step, and its log probability.

    Of too many to list, the likeliest of those that are the likeliest of a component, or that a softmax knows.
    """
    if is_exact(dist):  # 2**V combinations of each step: one piece at a time
        found = [combination_log_probs(dist[row]).max(-1) for row in range(len(dist.logits))]
        best = torch.stack([each.indices for each in found])
        return combinations(dist.logits.shape[-1]).to(dist.logits)[best], torch.stack([each.values for each in found])
    if not isinstance(dist, Mixture):
        x = dist.known[dist.log_probs_known[..., :-1].argmax(-1)]
        return x, dist.log_prob(x)
    of_components = (dist.logits > 0).to(dist.logits.dtype)
    for start, stop in dist.groups:
        chosen = F.pad(dist.logits[..., start:stop], (1, 0)).argmax(-1)
        of_components[..., start:stop] = F.one_hot(chosen, stop - start + 1)[..., 1:]
    log_probs, best = torch.stack([dist.log_prob(x) for x in of_components.unbind(-2)], -1).max(-1)
    return of_components.take_along_dim(best[..., None, None], -2)[..., 0, :], log_probs


# ---------------------------------------------------------------------- learning


@dataclass(frozen=True)
class QOptions:
    """How values are learnt.

    Args:
        kind: ``q``, ``psi`` or ``g``. Psi and G are learnt by the same steps: they differ by log p on both sides.
        steps: of a piece.
        kl_weight: reward that is worth a nat of divergence from the reference; c of Sequence Tutor.
        discount: of each step.
        trace: see ``value_targets``; with 0 a bar's reward goes back by one step each time the target has followed.
        explore: share of the pieces that the reference plays. It knows more of what is worth trying than even chances
            do, which leave the drumming that the networks know.
        batch_size: pieces that are played together, and that an update learns from.
        updates_per_play: updates for each batch that is played.
        learning_rate: of what is played.
        value_learning_rate: of what states are worth.
        target_rate: by which the target network follows at each update.
        warm_up: pieces that the reference plays before the first update.
        capacity: pieces in the replay.

    Raises:
        HypermeterError: a number out of its range, an unknown kind.
    """

    kind: str = "psi"
    steps: int = 64
    kl_weight: float = 0.1
    discount: float = 1.0
    trace: float = 0.9
    explore: float = 0.1
    batch_size: int = 16
    updates_per_play: int = 4
    learning_rate: float = 1e-4
    value_learning_rate: float = 1e-3
    target_rate: float = 0.05
    warm_up: int = 128
    capacity: int = 512

    def __post_init__(self) -> None:
        if self.kind not in KINDS_OF_VALUES:
            raise HypermeterError(f"q-learning: kind is {self.kind!r}, expected one of {', '.join(KINDS_OF_VALUES)}")
        for name in ("steps", "batch_size", "updates_per_play", "warm_up", "capacity"):
            if getattr(self, name) < 1:
                raise HypermeterError(f"q-learning: {name} is {getattr(self, name)}, expected at least 1")
        for name in ("kl_weight", "learning_rate", "value_learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise HypermeterError(f"q-learning: {name} is {getattr(self, name)}, expected more than 0")
        for name in ("discount", "trace", "target_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise HypermeterError(f"q-learning: {name} is {getattr(self, name)}, expected from 0 to 1")
        if not 0 <= self.explore < 1:
            raise HypermeterError(f"q-learning: explore is {self.explore}, expected at least 0 and less than 1")


Begin = Callable[[int], tuple[Tensor | None, Plan | None]]
"""Number of pieces -> their primers (B, T0, W) or None, T0 always the same, and their plan or None."""


def _begin_with_nothing(rows: int) -> tuple[Tensor | None, Plan | None]:
    return None, None


@dataclass(frozen=True)
class Played:
    """Pieces that the policy played, and what is told of them.

    Args:
        hits: new steps, without the primer.
        paid: level -> what was paid after each step.
        divergence: KL(policy || reference) of each step, in nats, see ``divergence_and_entropy``.
        entropy: of the policy at each step, likewise.
    """

    hits: Float[Tensor, "B T W"]
    paid: Mapping[str, Float[Tensor, "B T"]]
    divergence: Float[Tensor, "B T"]
    entropy: Float[Tensor, "B T"]

    @property
    def reward(self) -> Float[Tensor, "B T"]:
        """Paid after each step, of all levels."""
        return torch.stack(list(self.paid.values())).sum(0)


class QLearner:
    """Plays, remembers, and learns the values of what was played.

    Args:
        reference: a drum model; it stays as it is.
        reward: paid for what is played, without the primer; it is shown the voices.
        options: see there.
        begin: what pieces begin with and what is asked of them; left out, nothing.
        seed: of everything drawn.
    """

    def __init__(
        self,
        reference: HierarchicalDrumModel,
        reward: RewardFunction,
        options: QOptions = QOptions(),
        *,
        begin: Begin = _begin_with_nothing,
        seed: int = 0,
    ):
        self.options, self.reward, self.begin = options, reward, begin
        self.kind: Kind = cast(Kind, options.kind)
        self.device = next(reference.parameters()).device  # moving a copy lays the weights of its GRUs out for cuDNN
        self.reference = without_dropout(copy.deepcopy(reference).requires_grad_(False).to(self.device))
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.replay = Replay(options.capacity)
        self.heard = 0
        with torch.random.fork_rng([] if self.device.type == "cpu" else [self.device]):
            torch.manual_seed(seed)
            self.network = QNetwork(self.reference, 1 / options.kl_weight)
        for _ in range(-(-options.warm_up // options.batch_size)):
            self._play(self.reference, options.batch_size)
        self._begin_values()
        self.target = copy.deepcopy(self.network).requires_grad_(False).to(self.device)
        groups = [
            {"params": list(self.network.model.parameters()), "lr": options.learning_rate},
            {"params": list(self.network.worth.parameters()), "lr": options.value_learning_rate},
        ]
        self.optimizer = torch.optim.Adam(groups)

    @torch.no_grad()
    def play(self) -> Played:
        """Play a batch of pieces and remember them; what is told is of those that the policy played."""
        options = self.options
        explored = round(options.explore * options.batch_size)
        if explored:
            self._play(self.reference, explored)
        played, paid = self._play(self.network.model, options.batch_size - explored)
        own, other = (view(model, played).dist for model in (self.network.model, self.reference))
        return Played(played.hits, paid, *divergence_and_entropy(own, other, played.hits))

    def _play(self, model: HierarchicalDrumModel, rows: int) -> tuple[Rollout, dict[str, Tensor]]:
        """Pieces, now in the replay, and what was paid for them."""
        options = self.options
        start_seq, plan = self.begin(rows)
        played = rollout(model, rows, options.steps, start_seq=start_seq, plan=plan, generator=self.generator)
        self.heard = played.heard
        paid = paid_by_level(self.reward, played.hits[..., : model.num_drums], model.grid)
        pieces = {
            "whole": played.whole.bool(),
            "rewards": torch.stack(list(paid.values())).sum(0),
            "prior": view(self.reference, played).log_probs.detach(),
        }
        if plan is not None:
            plan = Plan(*(each.expand(rows, *each.shape[1:]) for each in plan))
            pieces |= {"labels": plan.labels, "numbers": plan.numbers}
        self.replay.add(pieces)
        return played, paid

    def update(self) -> float:
        """Learn from pieces of the replay; the loss."""
        options, batch = self.options, self.replay.sample(self.options.batch_size, self.generator)
        whole, plan = batch["whole"].float(), _plan_of(batch)
        chosen, paid = whole[:, self.heard :], batch["rewards"] / options.kl_weight + batch["prior"]
        dist, worth = self.network(whole, self.heard, plan)
        with torch.no_grad():
            old, of_states = self.target(whole, self.heard, plan)
            at_chosen = of_states + old.log_prob(chosen)
            if self.kind == "q":  # the network chooses, the target judges (van Hasselt et al. 2016)
                of_states = of_states + old.log_prob(most(dist)[0])
            targets = value_targets(at_chosen, of_states, paid, options.discount, options.trace)
        loss = F.smooth_l1_loss(worth + dist.log_prob(chosen), targets)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), MOST_GRADIENT)
        self.optimizer.step()
        track(self.target, self.network, options.target_rate)
        return loss.item()

    def as_model(self) -> HierarchicalDrumModel:
        """The policy as a drum model in eval mode. Of q it plays by exp Q, and at temperature 0 the best."""
        model = self.network.model
        with torch.random.fork_rng([] if self.device.type == "cpu" else [self.device]):
            made = HierarchicalDrumModel(**model.config, grid=model.grid, kit=model.kit).to(self.device)
        made.load_state_dict(model.state_dict())
        return made.eval()

    def _begin_values(self) -> None:
        """States begin with what the reference is paid from each step on, as well as it can be told.

        From 0 they would have far to go; as long as they are not there, whatever is played looks worse than what is
        not. For q log p is paid too.
        """
        options, network = self.options, self.network
        pieces = {name: x[: len(self.replay)] for name, x in self.replay.columns.items()}
        paid = pieces["rewards"] / options.kl_weight + (pieces["prior"] if self.kind == "q" else 0)
        wanted = returns(paid, torch.full((options.steps,), options.discount, device=paid.device)) / network.unit
        whole = pieces["whole"].float()
        rows = max(1, STEPS_AT_ONCE // whole.shape[1])
        with torch.no_grad():
            parts = [
                network.model(whole[start : start + rows], plan=_plan_of(_rows(pieces, start, rows))).features
                for start in range(0, len(whole), rows)
            ]
        features = torch.cat(parts)[:, self.heard :]
        optimizer = torch.optim.Adam(network.worth.parameters(), lr=options.value_learning_rate)
        for _ in range(FIRST_UPDATES):
            loss = (network.worth(features, whole[:, self.heard :])["state"][:, :-1] - wanted).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _rows(pieces: Mapping[str, Tensor], start: int, number: int) -> dict[str, Tensor]:
    return {name: x[start : start + number] for name, x in pieces.items()}


def _plan_of(batch: Mapping[str, Tensor]) -> Plan | None:
    return Plan(batch["labels"], batch["numbers"]) if "labels" in batch else None


def q_learning(
    reference: HierarchicalDrumModel,
    reward: RewardFunction,
    updates: int = 1_000,
    options: QOptions = QOptions(),
    *,
    begin: Begin = _begin_with_nothing,
    seed: int = 0,
    log: Callable[[int, dict[str, float]], None] | None = None,
) -> HierarchicalDrumModel:
    """A drum model that has learnt by Q-learning what ``reward`` pays for, near to the reference.

    Args:
        reference, reward, options, begin, seed: as in ``QLearner``.
        updates: of the network.
        log: after each batch that is played it is given the number of updates, the ``reward`` of a piece, the
            ``divergence`` of a step in nats, and the mean ``loss`` of the updates since the batch before.
    """
    learner = QLearner(reference, reward, options, begin=begin, seed=seed)
    losses: list[float] = []
    for update in range(updates):
        if update % options.updates_per_play == 0:
            played = learner.play()
            if log is not None:
                found = {"reward": played.reward.sum(1).mean().item(), "divergence": played.divergence.mean().item()}
                log(update, found | ({"loss": sum(losses) / len(losses)} if losses else {}))
            losses = []
        losses.append(learner.update())
    return learner.as_model()

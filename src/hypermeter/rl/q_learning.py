"""Q-learning with the reference's log p in the reward, over the voice combinations in use: Q-, psi- and G-learning.

A reward r is worth r / kl_weight nats. With p the reference and Q, Psi, G the values of playing combination a in
state s, where s' comes next,

- q:   Q(s, a)   = log p(a | s) + r / kl_weight + max_b Q(s', b)
- psi: Psi(s, a) = log p(a | s) + r / kl_weight + log sum_b exp Psi(s', b),      which plays exp Psi(s, a), normalised
- g:   G(s, a)   =                r / kl_weight + log sum_b p(b | s') exp G(s', b), which plays p(a | s) exp G(s, a)

The last two maximise the reward less kl_weight times the divergence from the reference, and play p(piece) exp(reward /
kl_weight), normalised over pieces. Psi is G + log p: what is played is the same, and G starts at the reference, the
same for all actions. Q-learning wants the one piece that is best by reward and likelihood together.

States are functions of all that was played, so that a transition cannot be stored by itself: a recurrent state that
was kept would be that of older weights. Replay keeps whole pieces and runs the network over them again.

Source: Jaques et al. 2017, Sequence Tutor; there with one step of backup and one voice.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from hypermeter.grid import HypermeterError
from hypermeter.heads import (
    MOST_ENUMERATED_VOICES,
    SoftmaxWithEscape,
    combinations,
    find_known,
)
from hypermeter.model import HierarchicalDrumModel
from hypermeter.plan import Plan
from hypermeter.rl.action_values import (
    BASELINE_SPEED,
    ESCAPE,
    ESCAPE_WEIGHT,
    IMITATION_RATE,
    KINDS_OF_VALUES,
    MOST_GRADIENT,
    Kind,
    Replay,
    action_log_probs,
    combinations_in_use,
    policy_log_probs,
    track,
    value_targets,
)
from hypermeter.rl.policy_gradient import paid_by_level, returns, without_dropout
from hypermeter.rl.rewards import RewardFunction
from hypermeter.rl.rollout import rollout


class QNetwork(nn.Module):
    """Values as a drum model has them: a baseline of the state, and log probabilities of the actions.

    Any values are the log of the sum of their exponentials plus log probabilities. So the network is the reference with
    a softmax over the actions in place of its output; where the values are those of psi, that model is the policy.

    Args:
        reference: the model whose weights it begins with.
        actions: combinations.
        steps: of a piece; the baseline has a number of its own for each.
        kind: for g the values begin as the same for all actions, for others as those of a head that is not trained yet.

    Raises:
        HypermeterError: a reference with tracks.
    """

    def __init__(self, reference: HierarchicalDrumModel, actions: Float[Tensor, "A V"], steps: int, kind: Kind):
        super().__init__()
        config = {**reference.config, "output": "softmax", "known": actions.int().tolist(), "dropout": 0.0}
        model = HierarchicalDrumModel(**config, grid=reference.grid, kit=reference.kit)
        own, others = model.state_dict(), reference.state_dict()
        shared = {name for name in own if name in others and own[name].shape == others[name].shape}
        if reference.config["known"] != config["known"]:  # its output is of something else
            shared = {name for name in shared if not name.startswith("output_layer.")}
        model.load_state_dict({**own, **{name: others[name] for name in shared}})
        without_dropout(model)
        self.model = model.to(actions.device)
        self.num_actions = len(actions)
        feature_dim = reference.config["step_hidden_dim"]
        self.baseline = nn.Linear(feature_dim, 1)
        self.by_step = nn.Parameter(torch.zeros(steps))
        nn.init.zeros_(self.baseline.weight)
        nn.init.zeros_(self.baseline.bias)
        head: Any = model.output_layer
        with torch.no_grad():
            if kind == "g":
                head.project.weight.zero_()
                head.project.bias.zero_()
                if head.repeat is not None:
                    head.repeat.zero_()
                self.baseline.bias.fill_(math.log(self.num_actions))  # the values are 0
            head.project.weight[self.num_actions :] = 0  # the escape and its voices are the same everywhere
            head.project.bias[self.num_actions] = math.log(ESCAPE)
        self.to(actions.device)

    def forward(
        self, whole: Float[Tensor, "B T1 V"], heard: int = 0, plan: Plan | None = None
    ) -> tuple[Float[Tensor, "B T A"], Float[Tensor, "B T"]]:
        """Values before each step after the first ``heard``, and log probabilities of the escape."""
        prediction = self.model(whole, plan=plan)
        dist = prediction.step_dist[:, heard:-1]
        assert isinstance(dist, SoftmaxWithEscape)
        baseline = self.baseline(prediction.features[:, heard:-1])[..., 0] + self.by_step
        values = baseline[..., None] + dist.log_probs_known[..., :-1].log_softmax(-1)
        return values, dist.log_probs_known[..., -1]


@dataclass(frozen=True)
class PolicyState:
    """What the two models of an ``ActionPolicy`` remember."""

    model: Any
    reference: Any

    @property
    def hidden(self) -> Float[Tensor, "B hidden"]:
        return self.model.hidden

    def select(self, rows: Int[Tensor, " N"]) -> "PolicyState":
        return PolicyState(self.model.select(rows), self.reference.select(rows))


class ActionPolicy:
    """What is played by a network's values: ``Streaming``.

    Args:
        kind: of the values.
        model: of the ``QNetwork``.
        reference: whose p is in what g plays, and is explored with.
        explore: share of steps that the reference plays. It knows more of what is worth trying than even chances do,
            which leave the drumming that the networks know.
    """

    def __init__(
        self, kind: Kind, model: HierarchicalDrumModel, reference: HierarchicalDrumModel, explore: float = 0.0
    ):
        self.kind: Kind = kind
        self.model, self.reference, self.explore = model, reference, explore
        self.num_drums = model.num_drums
        self.actions: Tensor = model.output_layer.known  # pyright: ignore[reportAssignmentType, reportAttributeAccessIssue]

    def init_state(self, batch_size: int, plan: Plan | None = None) -> PolicyState:
        return PolicyState(self.model.init_state(batch_size, plan), self.reference.init_state(batch_size, plan))

    def predict(self, state: PolicyState) -> SoftmaxWithEscape:
        dist = self.model.predict(state.model)
        assert isinstance(dist, SoftmaxWithEscape)
        prior = action_log_probs(self.reference.predict(state.reference), self.actions)
        log_probs = policy_log_probs(self.kind, dist.log_probs_known[..., :-1], prior)
        if self.explore:
            own, other = (torch.tensor(share).log() for share in (1 - self.explore, self.explore))
            log_probs = torch.logaddexp(log_probs + own, prior.log_softmax(-1) + other)
        return SoftmaxWithEscape(
            F.pad(log_probs, (0, 1), value=-torch.inf), torch.zeros_like(dist.logits), self.actions
        )

    def advance(self, x: Float[Tensor, "B V"], state: PolicyState) -> PolicyState:
        return PolicyState(self.model.advance(x, state.model), self.reference.advance(x, state.reference))


# ---------------------------------------------------------------------- learning


@dataclass(frozen=True)
class QOptions:
    """How values are learnt.

    Args:
        kind: ``q``, ``psi`` or ``g``, which begins as the reference itself and stays nearer to it.
        steps: of a piece.
        kl_weight: reward that is worth a nat of divergence from the reference; c of Sequence Tutor.
        discount: of each step.
        trace: see ``value_targets``; with 0 a bar's reward goes back by one step each time the target has followed.
        explore: share of steps that the reference plays.
        batch_size: pieces that are played together, and that an update learns from.
        updates_per_play: updates for each batch that is played.
        learning_rate: of Adam.
        target_rate: by which the target network follows at each update.
        warm_up: pieces that the reference plays before the first update.
        capacity: pieces in the replay. Each takes 4 bytes a step and action.
        most_actions: combinations of voices to choose from.
        imitation_updates: in which a softmax over the actions learns to play as a policy does that is none.

    Raises:
        HypermeterError: a number out of its range, an unknown kind.
    """

    kind: str = "g"
    steps: int = 64
    kl_weight: float = 0.1
    discount: float = 1.0
    trace: float = 0.9
    explore: float = 0.1
    batch_size: int = 16
    updates_per_play: int = 4
    learning_rate: float = 3e-4
    target_rate: float = 0.05
    warm_up: int = 128
    capacity: int = 512
    most_actions: int = 256
    imitation_updates: int = 150

    def __post_init__(self) -> None:
        if self.kind not in KINDS_OF_VALUES:
            raise HypermeterError(f"q-learning: kind is {self.kind!r}, expected one of {', '.join(KINDS_OF_VALUES)}")
        for name in ("steps", "batch_size", "updates_per_play", "warm_up", "capacity", "most_actions"):
            if getattr(self, name) < 1:
                raise HypermeterError(f"q-learning: {name} is {getattr(self, name)}, expected at least 1")
        for name in ("kl_weight", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise HypermeterError(f"q-learning: {name} is {getattr(self, name)}, expected more than 0")
        for name in ("discount", "trace", "target_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise HypermeterError(f"q-learning: {name} is {getattr(self, name)}, expected from 0 to 1")
        if not 0 <= self.explore < 1:
            raise HypermeterError(f"q-learning: explore is {self.explore}, expected at least 0 and less than 1")


Begin = Callable[[int], tuple[Tensor | None, Plan | None]]
"""Number of pieces -> their primers (B, T0, V) or None, T0 always the same, and their plan or None."""


def _begin_with_nothing(rows: int) -> tuple[Tensor | None, Plan | None]:
    return None, None


@dataclass(frozen=True)
class Played:
    """Pieces that were played, and what is told of them.

    Args:
        hits: new steps, without the primer.
        paid: level -> what was paid after each step.
        divergence: KL(policy || reference) of each step, over the actions, in nats; of the policy without exploring.
        entropy: of the policy at each step, likewise.
    """

    hits: Float[Tensor, "B T V"]
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
        reference: a drum model without tracks; it stays as it is.
        reward: paid for what is played, without the primer.
        options: see there.
        actions: combinations to choose from; left out, all where there are no more than ``most_actions``, otherwise
            those that the reference plays most.
        begin: what pieces begin with and what is asked of them; left out, nothing.
        seed: of everything drawn.

    Raises:
        HypermeterError: a reference with tracks, actions that are not distinct combinations of its voices.
    """

    def __init__(
        self,
        reference: HierarchicalDrumModel,
        reward: RewardFunction,
        options: QOptions = QOptions(),
        *,
        actions: Float[Tensor, "A V"] | None = None,
        begin: Begin = _begin_with_nothing,
        seed: int = 0,
    ):
        if reference.tracks:
            raise HypermeterError("q-learning: a model with tracks, whose combinations are too many to value each")
        self.options, self.reward, self.begin = options, reward, begin
        self.kind: Kind = cast(Kind, options.kind)
        self.reference = copy.deepcopy(reference).requires_grad_(False)
        without_dropout(self.reference)
        self.device = next(reference.parameters()).device
        self.seed, self.generator = seed, torch.Generator(self.device).manual_seed(seed)
        self.replay = Replay(options.capacity)
        self.heard = 0
        self.actions = self._usual_actions() if actions is None else actions.float().to(self.device)
        with torch.random.fork_rng([] if self.device.type == "cpu" else [self.device]):
            torch.manual_seed(seed)
            self.network = QNetwork(self.reference, self.actions, options.steps, self.kind)
        for _ in range(-(-options.warm_up // options.batch_size)):
            self.play(explore=1.0)
        if self.kind != "g":
            self._imitate(self.network.model, lambda batch: batch["prior"].log_softmax(-1))
        self._begin_baseline()
        self.target = copy.deepcopy(self.network).requires_grad_(False)
        baseline = [self.network.by_step, *self.network.baseline.parameters()]
        groups = [
            {"params": list(self.network.model.parameters())},
            {"params": baseline, "lr": BASELINE_SPEED * options.learning_rate},
        ]
        self.optimizer = torch.optim.Adam(groups, lr=options.learning_rate)

    @torch.no_grad()
    def play(self, explore: float | None = None) -> Played:
        """Play a batch of pieces and remember them.

        Args:
            explore: share of steps that the reference plays; left out, that of the options.
        """
        options = self.options
        start_seq, plan = self.begin(options.batch_size)
        policy = self.policy(options.explore if explore is None else explore)
        played = rollout(
            policy, options.batch_size, options.steps, start_seq=start_seq, plan=plan, generator=self.generator
        )
        self.heard = played.heard
        prior = self._prior(played.whole, plan)
        log_probs = policy_log_probs(self.kind, self.network(played.whole, self.heard, plan)[0], prior)
        found = Played(
            played.hits,
            paid_by_level(self.reward, played.hits, self.reference.grid),
            (log_probs.exp() * (log_probs - prior.log_softmax(-1))).sum(-1),
            -(log_probs.exp() * log_probs).sum(-1),
        )
        pieces = {
            "whole": played.whole.bool(),
            "chosen": find_known(self.actions, played.hits)[0],
            "rewards": found.reward,
            "prior": prior,
        }
        if plan is not None:
            plan = Plan(*(each.expand(options.batch_size, *each.shape[1:]) for each in plan))
            pieces |= {"labels": plan.labels, "numbers": plan.numbers}
        self.replay.add(pieces)
        return found

    def update(self) -> float:
        """Learn from pieces of the replay; the loss."""
        options, batch = self.options, self.replay.sample(self.options.batch_size, self.generator)
        whole, plan, chosen = batch["whole"].float(), _plan_of(batch), batch["chosen"]
        values, escape = self.network(whole, self.heard, plan)
        with torch.no_grad():
            targets = value_targets(
                self.kind,
                self.target(whole, self.heard, plan)[0],
                chosen,
                batch["rewards"] / options.kl_weight,
                batch["prior"],
                options.discount,
                options.trace,
                values,
            )
        loss = F.smooth_l1_loss(values.gather(-1, chosen[..., None])[..., 0], targets)
        loss = loss + ESCAPE_WEIGHT * (escape - math.log(ESCAPE)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), MOST_GRADIENT)
        self.optimizer.step()
        track(self.target, self.network, options.target_rate)
        return loss.item()

    def policy(self, explore: float = 0.0) -> ActionPolicy:
        """What is played by the values as they are now."""
        return ActionPolicy(self.kind, self.network.model, self.reference, explore)

    def as_model(self) -> HierarchicalDrumModel:
        """The policy as a drum model in eval mode, with a softmax over the actions, which is saved and loaded as any.

        Of psi and q it is the network. Of q it plays by exp Q, and at temperature 0 the best. What g plays needs the
        reference beside it; a model learns to play the same, on the pieces of the replay.
        """
        with torch.random.fork_rng([] if self.device.type == "cpu" else [self.device]):
            torch.manual_seed(self.seed)
            model = self.network.model
            if self.kind == "g":
                model = QNetwork(self.reference, self.actions, self.options.steps, "psi").model
                self._imitate(model, self._policy_of)
            config = {**model.config, "dropout": self.reference.config["dropout"]}
            made = HierarchicalDrumModel(**config, grid=model.grid, kit=model.kit).to(self.device)
        made.load_state_dict(model.state_dict())
        with torch.no_grad():
            share = self.replay.columns["whole"][: len(self.replay)].float().mean((0, 1)).clamp(1e-3, 1 - 1e-3)
            head: Any = made.output_layer
            head.project.bias[len(self.actions) + 1 :] = share.logit()
        return made.eval()

    def _usual_actions(self) -> Float[Tensor, "A V"]:
        options, voices = self.options, self.reference.num_drums
        if voices <= MOST_ENUMERATED_VOICES and 2**voices <= options.most_actions:
            return combinations(voices).to(self.device)
        played = []
        for _ in range(-(-options.warm_up // options.batch_size)):
            start_seq, plan = self.begin(options.batch_size)
            steps, rows = options.steps, options.batch_size
            made = rollout(self.reference, rows, steps, start_seq=start_seq, plan=plan, generator=self.generator)
            played.append(made.hits)
        return combinations_in_use(torch.cat(played), options.most_actions)

    @torch.no_grad()
    def _begin_baseline(self) -> None:
        """The baseline begins with what the reference is paid from each step on.

        From 0 it would have far to go; as long as it is not there, whatever is played looks worse than what is not.
        """
        options, pieces = self.options, {name: x[: len(self.replay)] for name, x in self.replay.columns.items()}
        paid = pieces["rewards"] / options.kl_weight
        own = torch.zeros_like(paid)
        if self.kind == "q":
            own = pieces["prior"].gather(-1, pieces["chosen"][..., None])[..., 0]
        discounts = torch.full((options.steps,), options.discount)
        self.network.by_step.copy_((returns(paid + own, discounts) - own).mean(0))

    @torch.no_grad()
    def _prior(self, whole: Float[Tensor, "B T1 V"], plan: Plan | None) -> Float[Tensor, "B T A"]:
        dist = self.reference(whole, plan=plan).step_dist[:, self.heard : -1]
        return torch.stack([action_log_probs(dist[row], self.actions) for row in range(len(whole))])

    @torch.no_grad()
    def _policy_of(self, batch: dict[str, Tensor]) -> Float[Tensor, "B T A"]:
        values, _ = self.network(batch["whole"].float(), self.heard, _plan_of(batch))
        return policy_log_probs(self.kind, values, batch["prior"])

    def _imitate(self, model: HierarchicalDrumModel, teach: Callable[[dict[str, Tensor]], Tensor]) -> None:
        """A softmax over the actions learns the distributions that ``teach`` gives of pieces of the replay.

        Drawn by a generator of its own: asking for a model changes nothing in what is learnt.
        """
        updates, generator = self.options.imitation_updates, torch.Generator(self.device).manual_seed(self.seed)
        optimizer = torch.optim.Adam(model.parameters(), lr=IMITATION_RATE)
        for update in range(updates):
            optimizer.param_groups[0]["lr"] = IMITATION_RATE * (1 - update / updates)
            batch = self.replay.sample(self.options.batch_size, generator)
            taught = F.pad(teach(batch) + math.log1p(-ESCAPE), (0, 1), value=math.log(ESCAPE))
            prediction = model(batch["whole"].float(), plan=_plan_of(batch))
            dist = prediction.step_dist[:, self.heard : -1]
            loss = F.kl_div(dist.log_probs_known, taught, reduction="none", log_target=True).sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), MOST_GRADIENT)
            optimizer.step()


def _plan_of(batch: Mapping[str, Tensor]) -> Plan | None:
    return Plan(batch["labels"], batch["numbers"]) if "labels" in batch else None


def q_learning(
    reference: HierarchicalDrumModel,
    reward: RewardFunction,
    updates: int = 1_000,
    options: QOptions = QOptions(),
    *,
    actions: Float[Tensor, "A V"] | None = None,
    begin: Begin = _begin_with_nothing,
    seed: int = 0,
    log: Callable[[int, dict[str, float]], None] | None = None,
) -> HierarchicalDrumModel:
    """A drum model that has learnt by Q-learning what ``reward`` pays for, near to the reference.

    Args:
        reference, reward, options, actions, begin, seed: as in ``QLearner``.
        updates: of the network.
        log: after each batch that is played it is given the number of updates, the ``reward`` of a piece, the
            ``divergence`` of a step in nats, and the mean ``loss`` of the updates since the batch before.
    """
    learner = QLearner(reference, reward, options, actions=actions, begin=begin, seed=seed)
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

"""The settings of a run of reinforcement, and what is refused before it begins."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from hypermeter.core.errors import HypermeterError

Algorithm = Literal["reinforce", "ppo", "grpo", "dqn"]


@dataclass(frozen=True)
class ReinforceConfig:
    """All that decides a run.

    Args:
        out: folder of the run: best.safetensors, last.safetensors, checkpoint.pt, log.csv. Given the folder of an
            unfinished run, it goes on.
        reward: YAML of what is wanted, terms of metrics as {metric: density, level: bar, target: 0.12}.
        model: to start from, and to stay near: the name or path of a model, as ``load`` takes it.
        algorithm: reinforce, with the other pieces as baseline; ppo, with a value head at each level; grpo, relative to
            the spread of the pieces; dqn, values of voice combinations.
        updates: rollouts that are learnt from.
        batch_size: pieces of a rollout, at least 2.
        bars: of a piece.
        learning_rate: of the policy. A high one unlearns drumming before it learns what is wanted.
        kl_weight: what a nat of divergence from the starting model costs. With kl_target, where it begins.
        kl_target: nats per step; where given, kl_weight is moved so that the divergence comes to be about this.
        kl_budget: nats per step; it stops when the divergence is more.
        least_diversity: it stops when the share of distinct bars is less than this much of what it was at the start.
        entropy_weight: what a nat of entropy is worth.
        discount: of what comes after a bar (phrase, ...), at the end of each.
        gae_lambda: of ppo, at the end of each bar (phrase, ...); 1 trusts what was paid, 0 the values.
        clip: of ppo and grpo, how far the probability of a step may move in one update to gain by it.
        epochs: of ppo and grpo, passes over a rollout.
        minibatches: of ppo and grpo, a pass.
        value_learning_rate: of ppo's value heads, and of what states are worth to dqn.
        held_out: folder of .npz, whose bits per step tell whether it still drums.
        look_every: updates between looks: pieces of one seed, scored, and the bits per step.
        look_pieces: of a look.
        seed: of all that is drawn, 0 to 2**31 - 1.
        accelerator: cpu, cuda or auto.
    """

    out: Annotated[Path, tyro.conf.arg(metavar="OUT")]
    reward: Path = Path("reward.yaml")
    model: str = "groove"
    algorithm: Algorithm = "ppo"
    updates: int = 200
    batch_size: int = 32
    bars: int = 8
    learning_rate: float = 1e-4
    kl_weight: float = 0.1
    kl_target: float | None = None
    kl_budget: float = 0.5
    least_diversity: float = 0.5
    entropy_weight: float = 0.0
    discount: float = 1.0
    gae_lambda: float = 0.95
    clip: float = 0.2
    epochs: int = 2
    minibatches: int = 4
    value_learning_rate: float = 1e-3
    held_out: Path | None = None
    look_every: int = 20
    look_pieces: int = 64
    seed: int = 0
    accelerator: Literal["auto", "cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        for names, fits, expected in (
            (COUNTS, lambda value: value >= 1, "at least 1"),
            (("batch_size", "look_pieces"), lambda value: value >= 2, "at least 2"),
            (SHARES, lambda value: 0 <= value <= 1, "in [0, 1]"),
            (AMOUNTS, lambda value: 0 <= value < math.inf, "at least 0"),
            (ABOVE, lambda value: value is None or 0 < value < math.inf, "more than 0"),
            (("seed",), lambda value: 0 <= value < 2**31, "0 to 2**31 - 1"),
            (("algorithm",), lambda value: value in ALGORITHMS, f"one of {', '.join(ALGORITHMS)}"),
            (("accelerator",), lambda value: value in ("auto", "cpu", "cuda"), "auto, cpu or cuda"),
        ):
            for name in names:
                if not fits(getattr(self, name)):
                    raise HypermeterError(f"reinforce: {name} is {getattr(self, name)}, expected {expected}")
        if self.algorithm == "dqn":
            if not self.kl_weight:
                raise HypermeterError("reinforce: dqn with a kl_weight of 0, expected more: it tells rewards in nats")
            if self.kl_target is not None or self.entropy_weight or self.discount != 1:
                raise HypermeterError("reinforce: dqn takes no kl_target, entropy_weight or discount; leave them out")
        if self.kl_target is not None and not self.kl_weight:
            raise HypermeterError("reinforce: kl_weight is 0 with a kl_target, expected more to begin with")
        if self.minibatches > self.batch_size:
            raise HypermeterError(
                f"reinforce: {self.minibatches} minibatches of {self.batch_size} pieces, expected a piece in each"
            )

    def to_dict(self) -> dict[str, Any]:
        """What must agree for a run to go on: all but paths, the machine, and when to stop."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in ELSEWHERE}


ALGORITHMS = ("reinforce", "ppo", "grpo", "dqn")
COUNTS = ("updates", "bars", "epochs", "minibatches", "look_every")
SHARES = ("least_diversity", "discount", "gae_lambda")
AMOUNTS = ("kl_weight", "entropy_weight")
ABOVE = ("learning_rate", "kl_target", "kl_budget", "clip", "value_learning_rate")
ELSEWHERE = ("reward", "out", "accelerator", "updates", "kl_budget", "least_diversity", "held_out")

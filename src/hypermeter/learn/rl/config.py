"""Settings of a run of reinforcement learning, with their checks."""

import dataclasses
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from hypermeter.core.errors import HypermeterError

Algorithm = Literal["reinforce", "ppo", "grpo", "psi", "dqn"]
ALGORITHMS = ("reinforce", "ppo", "grpo", "psi")

NOT_COMPARED = ("reward", "out", "accelerator", "updates", "kl_budget", "least_diversity", "held_out")
"""Settings that may change when a run continues: paths, the device, and when to stop."""

EARLIER_NAMES = {"look_every": "evaluate_every", "look_pieces": "evaluate_pieces"}
"""Name of a setting in runs of earlier versions -> its name now."""


@dataclass(frozen=True)
class ReinforceConfig:
    """Settings of a run.

    Args:
        out: folder of the run: best.safetensors, last.safetensors, checkpoint.pt, log.csv. The folder of an unfinished
            run continues it.
        reward: YAML file of the reward: terms of metrics, as {metric: density, level: bar, target: 0.12}.
        model: the starting model and reference of the divergence: a shipped model's name, a checkpoint or a run.
        algorithm: reinforce, with the other pieces as baseline; ppo, with a value head for each level; grpo, relative
            to the spread of the pieces; psi, values of voice combinations (dqn is its earlier name).
        updates: batches of generated pieces to learn from.
        batch_size: pieces in a batch, at least 2.
        bars: bars in a piece.
        learning_rate: learning rate of the policy. A high one unlearns drumming before it learns the reward.
        kl_weight: cost of a nat of divergence from the starting model. With kl_target, its first value.
        kl_target: divergence in nats per step that an adaptive kl_weight aims at.
        kl_budget: divergence in nats per step beyond which the run stops.
        least_diversity: share of the initial diversity (distinct bars) below which the run stops, in [0, 1].
        entropy_weight: reward for a nat of entropy.
        discount: discount at the end of each bar (phrase, ...), in [0, 1].
        gae_lambda: lambda of ppo at the end of each bar (phrase, ...): 1 trusts the rewards, 0 the value heads.
        clip: of ppo and grpo, largest change of a step's probability that still gains, as a ratio minus 1.
        epochs: of ppo and grpo, passes over a batch.
        minibatches: of ppo and grpo, minibatches in a pass.
        value_learning_rate: learning rate of ppo's value heads and of psi's state values.
        held_out: folder of .npz whose bits per step show how much drumming is unlearnt.
        evaluate_every: updates between evaluations: pieces of one seed, their reward, and the held-out bits per step.
        evaluate_pieces: pieces in an evaluation, at least 2.
        seed: seed of all random numbers, from 0 to 2**31 - 1.
        accelerator: cpu, cuda or auto.

    Raises:
        HypermeterError: a value out of its range, or settings that exclude each other.
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
    evaluate_every: int = 20
    evaluate_pieces: int = 64
    seed: int = 0
    accelerator: Literal["auto", "cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        if self.algorithm == "dqn":
            print("reinforce: --algorithm dqn is psi-learning; its name is psi now", file=sys.stderr)
            object.__setattr__(self, "algorithm", "psi")
        for names, fits, expected in (
            (("updates", "bars", "epochs", "minibatches", "evaluate_every"), lambda value: value >= 1, "at least 1"),
            (("batch_size", "evaluate_pieces"), lambda value: value >= 2, "at least 2"),
            (("least_diversity", "discount", "gae_lambda"), lambda value: 0 <= value <= 1, "in [0, 1]"),
            (("kl_weight", "entropy_weight"), lambda value: 0 <= value < math.inf, "at least 0"),
            (
                ("learning_rate", "kl_target", "kl_budget", "clip", "value_learning_rate"),
                lambda value: value is None or 0 < value < math.inf,
                "more than 0",
            ),
            (("seed",), lambda value: 0 <= value < 2**31, "0 to 2**31 - 1"),
            (("algorithm",), lambda value: value in ALGORITHMS, f"one of {', '.join(ALGORITHMS)}"),
            (("accelerator",), lambda value: value in ("auto", "cpu", "cuda"), "auto, cpu or cuda"),
        ):
            for name in names:
                if not fits(getattr(self, name)):
                    raise HypermeterError(f"reinforce: {name} is {getattr(self, name)}, expected {expected}")
        if self.algorithm == "psi":
            if not self.kl_weight:
                raise HypermeterError("reinforce: psi with a kl_weight of 0, expected more: its values are in nats")
            if self.kl_target is not None or self.entropy_weight or self.discount != 1:
                raise HypermeterError("reinforce: psi takes no kl_target, entropy_weight or discount; leave them out")
        if self.kl_target is not None and not self.kl_weight:
            raise HypermeterError("reinforce: kl_weight is 0 with a kl_target, expected more than 0 as its first value")
        if self.algorithm in ("ppo", "grpo") and self.minibatches > self.batch_size:
            raise HypermeterError(
                f"reinforce: {self.minibatches} minibatches of {self.batch_size} pieces, expected a piece in each"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings that must agree for a run to continue: all but NOT_COMPARED."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in NOT_COMPARED}

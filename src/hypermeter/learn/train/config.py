"""Settings of a training run, with their checks."""

import dataclasses
import math
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from hypermeter.core.errors import HypermeterError

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
Hidden = Annotated[bool, tyro.conf.Suppress]


@dataclass(frozen=True)
class ModelOptions:
    """Options of a new model; a model to start from keeps its own, but for dropout.

    Args:
        step_hidden_dim: size of the step level.
        bar_hidden_dim: size of the bar level.
        phrase_hidden_dim: size of the phrase level.
        num_layers: layers of the step level.
        dropout: dropout in and between levels, in [0, 1).
        use_transformer: Transformer encoders in place of recurrent ones.
        cell: cell of recurrent encoders.
        output: distribution over the voices of a step: mixture, sigmoid or softmax.
        num_components: components of the mixture.
        use_bar_attention, use_recalled_hits, use_positions, use_look_back, use_bar_level, use_phrase_level: for
            ablations, see ``model.Parts``.
    """

    step_hidden_dim: int = 128
    bar_hidden_dim: int = 128
    phrase_hidden_dim: int = 128
    num_layers: int = 2
    dropout: float = 0.3
    use_transformer: Flag = False
    cell: Literal["gru", "lstm"] = "gru"
    output: Annotated[Literal["mixture", "sigmoid", "softmax"], tyro.conf.arg(metavar="NAME")] = "mixture"
    num_components: int = 32
    use_bar_attention: Hidden = True
    use_recalled_hits: Hidden = True
    use_positions: Hidden = True
    use_look_back: Hidden = True
    use_bar_level: Hidden = True
    use_phrase_level: Hidden = True


@dataclass(frozen=True)
class OptimizerOptions:
    """Options of the optimizer, AdamW.

    Args:
        learning_rate: learning rate after the warm-up; a cosine decreases it to 2 % of that.
        warmup_steps: updates of the warm-up.
        weight_decay: weight decay of matrices, without the plan's embedding.
    """

    learning_rate: float = 8e-3
    warmup_steps: int = 100
    weight_decay: float = 0.3


@dataclass(frozen=True)
class LossOptions:
    """Weights of the parts of the loss.

    Args:
        drums_weight: weight of the drums beside tracks; below 1 tracks count more.
        bar_weight: weight of the forecast of the next bar.
        phrase_weight: weight of the forecast of the next phrase.
        metric_weight: weight of the metric term; 0 leaves it out.
        teacher_weight: share of the teachers in the step loss, in [0, 1).
    """

    drums_weight: float = 1.0
    bar_weight: float = 0.1
    phrase_weight: float = 0.1
    metric_weight: float = 0.0
    teacher_weight: float = 0.7


GROUPS = {"model": ModelOptions, "optimizer": OptimizerOptions, "loss": LossOptions}
EARLIER_NAMES = {"val_every": "evaluate_every"}
"""Name of a setting in runs of earlier versions -> its name now."""
CONSTANTS = {"gradient_clip": 1.0, "ema_decay": 0.998}
"""Settings of earlier versions that have one value now."""
NOT_COMPARED = ("npz_dir", "out", "kit", "devices", "accelerator")
"""Settings that may differ when a run continues: paths and the machine. What is in the data is compared itself."""


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run.

    Args:
        npz_dir: folder that prepare wrote, or a folder, .zip or .mid of MIDI, which is prepared into OUT.
        out: folder of the run: best.safetensors, last.safetensors, checkpoint.pt, log.csv, curves.png. With the folder
            of an unfinished run, it continues.
        init: model to start from: a name or path as of ``load``, with the kit and grid of the data.
        only: teach the model of init plans, or velocity and microtiming (expression), and change nothing else in it.
            Held-out data is scored under its plans, or in bits per hit.
        use_plan: learn per-bar conditions (section, style, fill, tempo, density, off-beat share), hidden at random, so
            that the model plays without them too.
        teachers: trained models to distil. A plan is given to those with the model's labels.
        kit: kit of files that name none: gm10, magenta9, gm, or a YAML file.
        tracks: tracks to learn beside the drums: bass. They must be in the .npz (``prepare --tracks``).
        mix_metres: learn metres with equally many steps in a bar, such as 3/4 and 6/8, as one.
        augment: rotate by bars and drop hits; transpose tracks, and exchange and silence drums beside them.
        max_steps: updates.
        batch_size: windows in an update, over all processes.
        seq_len: steps in a window.
        hop_bars: bars between the starts of windows; None is a phrase.
        evaluate_every: updates between evaluations on held-out data.
        patience: evaluations without improvement before the run stops.
        seed: seed of all random numbers, from 0 to 2**31 - 1.
        devices: processes; torchrun has its own number.
        accelerator: cpu, cuda or auto.
        model: Of a new model; with --init, only dropout counts.
        optimizer: Of AdamW.
        loss: Weights of the parts of the loss.

    Raises:
        HypermeterError: a value out of its range, or settings that exclude each other.
    """

    npz_dir: Annotated[Path, tyro.conf.arg(metavar="NPZ_DIR")]
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")]
    init: str | None = None
    only: Literal["plan", "expression"] | None = None
    use_plan: Flag = False
    teachers: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODEL ...")] = ()
    kit: str | None = None
    tracks: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    mix_metres: Flag = False
    augment: Flag = False
    max_steps: int = 2000
    batch_size: int = 16
    seq_len: int = 512
    hop_bars: int | None = None
    evaluate_every: int = 200
    patience: int = 5
    seed: int = 0
    devices: int = 1
    accelerator: Annotated[Literal["auto", "cpu", "cuda"], tyro.conf.arg(metavar="NAME")] = "auto"
    model: ModelOptions = field(default_factory=ModelOptions)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    loss: LossOptions = field(default_factory=LossOptions)

    @classmethod
    def of(cls, npz_dir: Path, out: Path, **options: Any) -> "TrainConfig":
        """Return a configuration of options by the names of the command line, without their groups.

        Raises:
            HypermeterError: an unknown option, or as the class.
        """
        return cls(npz_dir, out).replace(**options)

    def replace(self, **options: Any) -> "TrainConfig":
        """Return the configuration with other options, by the names of the command line."""
        homes = {option.name: group for group, kind in GROUPS.items() for option in dataclasses.fields(kind)}
        changed: dict[str, Any] = {}
        for name, value in options.items():
            if name in homes:
                group = changed.get(homes[name], getattr(self, homes[name]))
                changed[homes[name]] = dataclasses.replace(group, **{name: value})
            elif hasattr(self, name):
                changed[name] = value
            else:
                near = get_close_matches(name, (*homes, *vars(self)), 1)
                raise HypermeterError(f"train: no option {name}{f', did you mean {near[0]}?' if near else ''}")
        return dataclasses.replace(self, **changed)

    def __post_init__(self) -> None:
        from hypermeter.core.tracks import TRACKS  # here, as it needs NumPy, and the help of the command does not

        options = self.options()
        for names, fits, expected in (
            (COUNTS, lambda value: value >= 1, "at least 1"),
            (("hop_bars",), lambda value: value is None or value >= 1, "at least 1"),
            (("dropout", "teacher_weight"), lambda value: 0 <= value < 1, "in [0, 1)"),
            (AMOUNTS, lambda value: 0 <= value < math.inf, "at least 0"),
            (("seed",), lambda value: 0 <= value < 2**31, "0 to 2**31 - 1"),
            (("accelerator",), lambda value: value in ("auto", "cpu", "cuda"), "auto, cpu or cuda"),
        ):
            for name in names:
                if not fits(options[name]):
                    raise HypermeterError(f"train: {name} is {options[name]}, expected {expected}")

        if unknown := set(self.tracks) - set(TRACKS):
            raise HypermeterError(f"train: no track {min(unknown)!r}, expected some of {', '.join(TRACKS)}")
        if self.only is not None and self.init is None:
            raise HypermeterError(f"train: only {self.only} without init; name the model that is to learn it")
        if self.only == "expression" and (self.teachers or self.loss.metric_weight):
            name = "teachers" if self.teachers else "metric_weight"
            raise HypermeterError(f"train: only expression takes no {name}, which are of the hits; leave it out")

    def options(self) -> dict[str, Any]:
        """Return all options by the names of the command line, without their groups."""
        options = dataclasses.asdict(self)
        for group in GROUPS:
            options |= options.pop(group)
        return options

    def to_dict(self) -> dict[str, Any]:
        """Return the options that must agree for a run to continue: all but NOT_COMPARED."""
        return {name: value for name, value in self.options().items() if name not in NOT_COMPARED}


SHAPE_FIELDS = tuple(option.name for option in dataclasses.fields(ModelOptions) if option.name != "dropout")
"""Options of the model on which the shapes of its weights depend."""

COUNTS = (
    "max_steps", "batch_size", "seq_len", "evaluate_every", "patience", "devices", "step_hidden_dim",
    "bar_hidden_dim", "phrase_hidden_dim", "num_layers", "num_components",
)  # fmt: skip
AMOUNTS = (
    "learning_rate", "warmup_steps", "weight_decay", "drums_weight", "bar_weight", "phrase_weight", "metric_weight",
)  # fmt: skip

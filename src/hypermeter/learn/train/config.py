"""Settings of a training run, with their checks."""

import dataclasses
import math
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from hypermeter.core.arguments import Flag
from hypermeter.core.errors import HypermeterError
from hypermeter.core.parts import Parts, describe_part


@dataclass(frozen=True)
class ModelOptions:
    """Options of a new model; a model to start from keeps its own, but for dropout.

    Args:
        step_hidden_dim: size of the step level.
        bar_hidden_dim: size of the bar level.
        phrase_hidden_dim: size of the phrase level.
        num_layers: layers of the step level.
        dropout: in and between levels, below 1.
        use_transformer: Transformers at all levels.
        cell: cell of recurrent layers.
        output: mixture, sigmoid or softmax.
        num_components: components of the mixture.
        parts: parts to leave out, for ablations in Python.
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
    parts: Annotated[Parts, tyro.conf.Suppress] = Parts()

    def options(self) -> dict[str, Any]:
        """Return the options by the names that checkpoints have for them."""
        options = {name: value for name, value in vars(self).items() if name != "parts"}
        return options | self.parts.options()


@dataclass(frozen=True)
class OptimizerOptions:
    """Options of the optimizer: Muon for the matrices inside the model, AdamW for all other weights.

    Args:
        learning_rate: the highest, after the warm-up.
        warmup_steps: updates of the warm-up.
        weight_decay: of matrices, but the plan's.
    """

    learning_rate: float = 8e-3
    warmup_steps: int = 100
    weight_decay: float = 0.3


@dataclass(frozen=True)
class LossOptions:
    """Weights of the parts of the loss.

    Args:
        drums_weight: of the drums beside tracks.
        bar_weight: of the forecast of the next bar.
        phrase_weight: likewise for phrases.
        metric_weight: of the metrics; 0 leaves them out.
        teacher_weight: of the teachers, in [0, 1).
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
        npz_dir: folder that prepare or pack wrote, or a folder, .zip or .mid of MIDI, which is prepared into OUT.
        out: folder of the run. An unfinished run in it continues.
        init: model to start from: a name or path.
        only: teach the model of --init its plan, expression or follow, and change nothing else in it.
        use_plan: learn to follow plans: section, style, fill, tempo, density and off-beat share of each bar.
        teachers: trained models to distil.
        kit: of files that name none, as gm10 or a YAML file.
        tracks: tracks to learn beside the drums: bass. They must be in the .npz (``prepare --tracks``).
        mix_metres: learn all metres of the data, each on its grid.
        augment: vary windows at random: their start, hits, drums and key.
        vary: exchange hat and ride, toms, or silence a voice, in a fifth of the windows each.
        max_steps: updates.
        batch_size: windows in an update.
        seq_len: steps in a window.
        hop_bars: bars between the starts of windows; None is a phrase.
        evaluate_every: updates between evaluations.
        patience: evaluations without gain to stop at.
        seed: of all random numbers, below 2**31.
        devices: processes; torchrun has its own.
        accelerator: cpu, cuda or auto.
        model: Of a new model; with --init, only dropout counts.
        optimizer: Of Muon and AdamW.
        loss: Weights of the parts of the loss.

    Raises:
        HypermeterError: a value out of its range, or settings that exclude each other.
    """

    npz_dir: Annotated[Path, tyro.conf.arg(metavar="NPZ_DIR")]
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")]
    init: str | None = None
    only: Annotated[Literal["plan", "expression", "follow"] | None, tyro.conf.arg(metavar="PART")] = None
    use_plan: Flag = False
    teachers: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODEL ...")] = ()
    kit: str | None = None
    tracks: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    mix_metres: Flag = False
    augment: Flag = False
    vary: Flag = False
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
                advice = describe_part(name) or (f"did you mean {near[0]}?" if near else "see hypermeter train --help")
                raise HypermeterError(f"train: no option {name}; {advice}")
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
        if self.reads_expression and (self.teachers or self.loss.metric_weight):
            name = "teachers" if self.teachers else "metric_weight"
            raise HypermeterError(f"train: only {self.only} takes no {name}; leave it out")

    @property
    def reads_expression(self) -> bool:
        """Whether velocity and timing of the data are read, for the parts that learn from them."""
        return self.only in ("expression", "follow")

    def options(self) -> dict[str, Any]:
        """Return all options by the names of the command line and of checkpoints, without their groups."""
        options = {name: value for name, value in vars(self).items() if name not in GROUPS}
        return options | self.model.options() | vars(self.optimizer) | vars(self.loss)

    def to_dict(self) -> dict[str, Any]:
        """Return the options that must agree for a run to continue: all but NOT_COMPARED."""
        return {name: value for name, value in self.options().items() if name not in NOT_COMPARED}


SHAPE_FIELDS = tuple(name for name in vars(ModelOptions()) if name not in ("dropout", "parts"))
"""Options of the model, beside its parts, on which the shapes of its weights depend."""

COUNTS = (
    "max_steps", "batch_size", "seq_len", "evaluate_every", "patience", "devices", "step_hidden_dim",
    "bar_hidden_dim", "phrase_hidden_dim", "num_layers", "num_components",
)  # fmt: skip
AMOUNTS = (
    "learning_rate", "warmup_steps", "weight_decay", "drums_weight", "bar_weight", "phrase_weight", "metric_weight",
)  # fmt: skip

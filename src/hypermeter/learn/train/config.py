"""The settings of a training run, and what is refused before it begins."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.tracks import TRACKS


@dataclass(frozen=True)
class TrainConfig:
    """All that decides a training run.

    Args:
        npz_dir: folder that prepare wrote, with train and, for early stopping, validation in it; or a folder, .zip or
            .mid of MIDI, which the command prepares into the folder of the run.
        out: folder of the run: best.safetensors, last.safetensors, checkpoint.pt, log.csv, curves.png. Given the folder
            of an unfinished run, it goes on.
        init: start from these weights: the name or path of a model, as ``load`` takes it. Its kit and grid must be the
            data's. Sizes, cell, output and the other options of the model, but for dropout, are its own.
        teachers: names or paths of trained models, whose predictions are learnt beside the data (distillation). With
            use_plan, a teacher that takes plans with the labels of the model hears the same plan as it; what any other
            teacher predicts without a plan, the model learns to predict without one.
        teacher_weight: of what the teachers predict in the step's loss; the rest is for what was played.
        kit: of files that name none: gm10, magenta9, gm, or the path of a YAML file.
        tracks: to learn beside the drums: bass. The .npz must hold them, as ``prepare --tracks`` writes them.
        mix_metres: learn from several metres whose bars have as many steps, such as 3/4 and 6/8 in sixteenths, as if
            they were one; otherwise they are refused.
        max_steps: updates.
        batch_size: windows an update, over all processes.
        seq_len: steps of a window.
        hop_bars: bars from the start of one window to that of the next. Left out, a phrase, so that the place in the
            phrase means the same in every window but the last of a file, which starts on a bar and ends with the file.
        learning_rate: at its highest, after the warm-up; a cosine takes it to 2 % of that.
        warmup_steps: updates of the warm-up.
        weight_decay: of AdamW, on matrices only, and not on those that read the plan.
        gradient_clip: largest norm.
        ema_decay: of the averaged weights, which are the ones evaluated and kept.
        val_every: updates between looks at the held-out performances.
        patience: looks without improvement before it stops early.
        augment: bar-aligned rotations and hit drop-out; with tracks, these are transposed, and voices of the drums
            silenced and exchanged.
        drums_weight: beside tracks, of the drums in the step's loss. Less than 1 learns to play tracks to given drums.
        bar_weight: of the next bar's loss.
        phrase_weight: of the next phrase's loss.
        metric_weight: of the metric term; 0 leaves it out.
        step_hidden_dim: size of the step level.
        bar_hidden_dim: size of the bar level.
        phrase_hidden_dim: size of the phrase level.
        num_layers: of the step level.
        dropout: in and between levels.
        use_transformer: Transformer encoders in place of recurrent ones.
        cell: of recurrent encoders.
        output: distribution over the voices of a step.
        num_components: of the mixture.
        use_bar_attention: attend to the same step of earlier bars.
        use_recalled_hits: the hits that the bar attention reads move the output's log odds as they are.
        use_positions: step-of-bar and bar-of-phrase embeddings.
        use_look_back: give the step level what stood at its place 1, 2 and 4 bars ago.
        use_bar_level: hear the bar level at the step level.
        use_phrase_level: hear the phrase level at the step level.
        use_plan: learn to play what is asked of each bar (section, style, fill, tempo, density, off-beat share), parts
            of which are hidden at random, so that the model plays without them too.
        only: teach a model, ``init``, to take plans, or velocity and microtiming (expression), and leave the rest of it
            as it is. What is held out is judged by the bits under its plans, or of a hit's velocity and offset.
        seed: of weights, order, dropout and augmentation, 0 to 2**31 - 1.
        devices: processes; torchrun's own number is taken where torchrun runs this.
        accelerator: cpu, cuda or auto.
    """

    npz_dir: Annotated[Path, tyro.conf.arg(metavar="NPZ_DIR")]
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")]
    init: str | None = None
    teachers: tuple[str, ...] = ()
    teacher_weight: float = 0.7
    kit: str | None = None
    tracks: tuple[str, ...] = ()
    mix_metres: bool = False
    max_steps: int = 2000
    batch_size: int = 16
    seq_len: int = 512
    hop_bars: int | None = None
    learning_rate: float = 8e-3
    warmup_steps: int = 100
    weight_decay: float = 0.3
    gradient_clip: float = 1.0
    ema_decay: float = 0.998
    val_every: int = 200
    patience: int = 5
    augment: bool = False
    drums_weight: float = 1.0
    bar_weight: float = 0.1
    phrase_weight: float = 0.1
    metric_weight: float = 0.0
    step_hidden_dim: int = 128
    bar_hidden_dim: int = 128
    phrase_hidden_dim: int = 128
    num_layers: int = 2
    dropout: float = 0.3
    use_transformer: bool = False
    cell: Literal["gru", "lstm"] = "gru"
    output: Literal["mixture", "sigmoid", "softmax"] = "mixture"
    num_components: int = 32
    use_bar_attention: bool = True
    use_recalled_hits: bool = True
    use_positions: bool = True
    use_look_back: bool = True
    use_bar_level: bool = True
    use_phrase_level: bool = True
    use_plan: bool = False
    only: Literal["plan", "expression"] | None = None
    seed: int = 0
    devices: int = 1
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        for names, fits, expected in (
            (COUNTS, lambda value: value >= 1, "at least 1"),
            (("hop_bars",), lambda value: value is None or value >= 1, "at least 1"),
            (SHARES, lambda value: 0 <= value < 1, "in [0, 1)"),
            (AMOUNTS, lambda value: 0 <= value < math.inf, "at least 0"),
            (("gradient_clip",), lambda value: 0 < value < math.inf, "more than 0"),
            (("seed",), lambda value: 0 <= value < 2**31, "0 to 2**31 - 1"),
            (("accelerator",), lambda value: value in ("auto", "cpu", "cuda"), "auto, cpu or cuda"),
        ):
            for name in names:
                if not fits(getattr(self, name)):
                    raise HypermeterError(f"train: {name} is {getattr(self, name)}, expected {expected}")

        if unknown := set(self.tracks) - set(TRACKS):
            raise HypermeterError(f"train: no track {min(unknown)!r}, expected some of {', '.join(TRACKS)}")
        if self.only is not None and self.init is None:
            raise HypermeterError(f"train: only {self.only} without init; name the model that is to learn it")
        if self.only == "expression" and (self.teachers or self.metric_weight):
            name = "teachers" if self.teachers else "metric_weight"
            raise HypermeterError(f"train: only expression takes no {name}, which are of the hits; leave it out")

    def to_dict(self) -> dict[str, Any]:
        """Without the paths and the machine: what must agree for a run to go on. Of the data, other things must."""
        elsewhere = ("npz_dir", "out", "kit", "devices", "accelerator")
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in elsewhere}


SHAPE_FIELDS = (
    "step_hidden_dim", "bar_hidden_dim", "phrase_hidden_dim", "num_layers", "use_transformer", "cell",
    "output", "num_components", "use_bar_attention", "use_recalled_hits", "use_positions", "use_look_back",
    "use_bar_level", "use_phrase_level",
)  # fmt: skip
"""Options of the model that its weights fit."""

COUNTS = (
    "max_steps", "batch_size", "seq_len", "val_every", "patience", "devices", "step_hidden_dim",
    "bar_hidden_dim", "phrase_hidden_dim", "num_layers", "num_components",
)  # fmt: skip
SHARES = ("dropout", "ema_decay", "teacher_weight")
AMOUNTS = (
    "learning_rate", "warmup_steps", "weight_decay", "drums_weight", "bar_weight", "phrase_weight", "metric_weight",
)  # fmt: skip

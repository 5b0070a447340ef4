"""Training: a Lightning module, and one loop around it (Lightning Fabric) that resumes exactly where it stopped.

The order of the data is a function of the seed and the update's number, so that nothing but the state of the model,
the optimiser and the random generators has to be kept.
"""

import contextlib
import csv
import dataclasses
import hashlib
import io
import math
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import lightning
import numpy as np
import torch
import tyro
from lightning.fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from hypermeter.dataset import (
    CompleteHierarchicalDrumDataset,
    collate,
    common_kit_and_grid,
    kit_name,
    read_sequence,
)
from hypermeter.evaluate import bits_per_step
from hypermeter.grid import Grid, HypermeterError, atomic_write, remove_leftovers
from hypermeter.heads import StepDistribution, known_combinations
from hypermeter.kit import Kit
from hypermeter.losses import loss_terms, masked_mean
from hypermeter.model import HierarchicalDrumModel, load
from hypermeter.prepare import prepare

CHECKPOINT = "checkpoint.pt"
FILES = (CHECKPOINT, "best.safetensors", "last.safetensors", "log.csv", "curves.png")
"""What a run writes, beside ``tensorboard``."""
LOG_EVERY = 20
"""Updates between rows of the log."""


@dataclass(frozen=True)
class TrainConfig:
    """All that decides a training run.

    Args:
        npz_dir: folder that prepare wrote, with train and, for early stopping, validation in it; or a folder of MIDI,
            which the command prepares into the folder of the run.
        out: folder of the run: best.safetensors, last.safetensors, checkpoint.pt, log.csv, curves.png. Given the folder
            of an unfinished run, it goes on.
        init: start from these weights: the name or path of a model, as ``load`` takes it. Its kit and grid must be the
            data's. Sizes, cell, output and the other options of the model, but for dropout, are its own.
        teachers: names or paths of trained models, whose predictions are learnt beside the data (distillation).
        teacher_weight: of what the teachers predict in the step's loss; the rest is for what was played.
        kit: of files that name none: gm10, magenta9, gm, or the path of a YAML file.
        mix_metres: learn from several metres whose bars have as many steps, such as 3/4 and 6/8 in sixteenths, as if
            they were one; otherwise they are refused.
        max_steps: updates.
        batch_size: windows an update, over all processes.
        seq_len: steps of a window.
        hop_bars: bars from the start of one window to that of the next.
        learning_rate: at its highest, after the warm-up; a cosine takes it to 2 % of that. Left out, it is 8e-3 for
            recurrent encoders and 2e-3 for Transformers.
        warmup_steps: updates of the warm-up.
        weight_decay: of AdamW, on matrices only.
        gradient_clip: largest norm.
        ema_decay: of the averaged weights, which are the ones evaluated and kept.
        val_every: updates between looks at the held-out performances.
        patience: looks without improvement before it stops early.
        augment: bar-aligned rotations and hit drop-out.
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
    mix_metres: bool = False
    max_steps: int = 2000
    batch_size: int = 16
    seq_len: int = 512
    hop_bars: int = 1
    learning_rate: float | None = None
    warmup_steps: int = 100
    weight_decay: float = 0.3
    gradient_clip: float = 1.0
    ema_decay: float = 0.998
    val_every: int = 200
    patience: int = 5
    augment: bool = False
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
    seed: int = 0
    devices: int = 1
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        for names, fits, expected in (
            (COUNTS, lambda value: value >= 1, "at least 1"),
            (SHARES, lambda value: 0 <= value < 1, "in [0, 1)"),
            (AMOUNTS, lambda value: 0 <= value < math.inf, "at least 0"),
            (("gradient_clip",), lambda value: 0 < value < math.inf, "more than 0"),
            (("seed",), lambda value: 0 <= value < 2**31, "0 to 2**31 - 1"),
            (("accelerator",), lambda value: value in ("auto", "cpu", "cuda"), "auto, cpu or cuda"),
        ):
            for name in names:
                if not fits(getattr(self, name)):
                    shown = "learning_rate" if name == "peak_rate" else name
                    raise HypermeterError(f"train: {shown} is {getattr(self, name)}, expected {expected}")

    @property
    def peak_rate(self) -> float:
        """The learning rate at its highest."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 2e-3 if self.use_transformer else 8e-3

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
    "max_steps", "batch_size", "seq_len", "hop_bars", "val_every", "patience", "devices", "step_hidden_dim", "bar_hidden_dim",
    "phrase_hidden_dim", "num_layers", "num_components",
)  # fmt: skip
SHARES = ("dropout", "ema_decay", "teacher_weight")
AMOUNTS = ("peak_rate", "warmup_steps", "weight_decay", "bar_weight", "phrase_weight", "metric_weight")


class DrumModule(lightning.LightningModule):
    """The model with its loss and optimiser; runs under this file's loop and under a Lightning Trainer.

    With teachers, each of them also draws every step given what was played before it, and the likelihood of the draws
    takes ``teacher_weight`` of the step's loss. On average that is the cross entropy with the mean of the teachers'
    distributions (Hinton, Vinyals & Dean 2015).
    """

    def __init__(
        self, model: HierarchicalDrumModel, config: TrainConfig, teachers: Sequence[HierarchicalDrumModel] = ()
    ):
        super().__init__()
        self.model, self.config = model, config
        self.teachers = tuple(teachers)  # in a tuple they are no part of the module: not trained, not saved

    def forward(self, step_seq: Tensor) -> Any:
        return self.model(step_seq)

    def training_step(self, batch: dict[str, Any], batch_idx: int = 0) -> dict[str, Tensor]:
        preds = self.model(batch["step"], batch["bar"], batch["phrase"])
        terms = loss_terms(
            preds,
            batch,
            metrics=self.config.metric_weight > 0,
            bar_weight=self.config.bar_weight,
            phrase_weight=self.config.phrase_weight,
            metric_weight=self.config.metric_weight,
            grid=self.model.grid,
        )
        if self.teachers:
            taught = self._taught_nll(preds.step_dist[:, :-1], batch)
            difference = self.config.teacher_weight * (taught - terms["step_nll"])
            terms |= {"loss": terms["loss"] + difference, "taught_nll": taught}
        return terms

    def _taught_nll(self, dist: StepDistribution, batch: dict[str, Any]) -> Tensor:
        """Nats per real step of what the teachers draw."""
        with torch.no_grad():
            draws = [teacher(batch["step"]).step_dist[:, :-1].draw() for teacher in self.teachers]
        losses = [masked_mean(-dist.log_prob(drawn).float(), batch["mask"]) for drawn in draws]
        return torch.stack(losses).mean()

    def configure_optimizers(self) -> Any:
        config = self.config
        matrices = [each for each in self.parameters() if each.dim() > 1]
        others = [each for each in self.parameters() if each.dim() <= 1]
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=config.peak_rate, betas=(0.9, 0.98))

        def share(update: int) -> float:
            warm = min(1.0, (update + 1) / max(config.warmup_steps, 1))
            return warm * (0.02 + 0.49 * (1 + math.cos(math.pi * min(update / config.max_steps, 1))))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def batches(
    dataset: CompleteHierarchicalDrumDataset, config: TrainConfig, first: int = 0, rank: int = 0, processes: int = 1
) -> Iterator[dict[str, Any]]:
    """Batches from update ``first`` on, without end: each epoch its own permutation of the windows."""
    per_epoch = max(len(dataset) // config.batch_size, 1)
    epoch = -1
    order = np.arange(0)
    update = first
    while True:
        if update // per_epoch != epoch:
            epoch = update // per_epoch
            order = np.random.default_rng([config.seed, epoch]).permutation(len(dataset))
            dataset.set_epoch(epoch)
        start = update % per_epoch * config.batch_size
        rows = np.take(order, range(start, start + config.batch_size), mode="wrap")[rank::processes]
        yield collate([dataset[int(row)] for row in rows])
        update += 1


def train(config: TrainConfig) -> Path:
    """Train a model, or go on with an unfinished run; the folder of the run is the result.

    Raises:
        HypermeterError: data that cannot be read, files of different kits or grids, an unwritable folder, an
            accelerator that is not there, or a run of other settings or data in ``out``.
        KeyboardInterrupt: the run was asked to stop (Ctrl-C, SIGTERM), and has saved what it takes to go on.
    """
    on_cuda = config.accelerator != "cpu" and torch.cuda.is_available()
    if config.accelerator == "cuda" and config.devices > torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise HypermeterError(
            f"train: {config.devices} CUDA devices asked for, {found} here; pass --accelerator cpu or fewer --devices"
        )
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=config.devices,
        strategy="ddp" if config.devices > 1 else "auto",
        precision="bf16-mixed" if on_cuda and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true",
    )
    fabric.launch()
    if config.batch_size < fabric.world_size:
        raise HypermeterError(f"train: batch_size is {config.batch_size}, expected one for each process at least")
    return _Run(fabric, config).run()


@dataclass(frozen=True)
class _Data:
    """What a run learns from, and what it is judged by: held-out hits (T, V) of each performance."""

    folder: Path
    dataset: CompleteHierarchicalDrumDataset
    held_out: list[np.ndarray]
    kit: Kit | None
    grid: Grid

    def fingerprint(self) -> str:
        """A digest that other performances do not have."""
        digest = hashlib.sha256()
        for array in (self.dataset.packed, self.dataset.bounds, *self.held_out):
            digest.update(f"{array.shape}".encode() + array.tobytes())
        return digest.hexdigest()


def _read_data(config: TrainConfig) -> _Data:
    folder, validation = config.npz_dir / "train", config.npz_dir / "validation"
    if not folder.is_dir():
        if validation.is_dir():
            raise HypermeterError(f"{config.npz_dir}: validation but no train in it; prepare it again")
        folder = config.npz_dir
    held_out = sorted(validation.rglob("*.npz"))
    paths = sorted(folder.rglob("*.npz")) + held_out
    kit, grid = common_kit_and_grid(paths, config.kit, mix_metres=config.mix_metres) if paths else (None, Grid())
    dataset = CompleteHierarchicalDrumDataset(
        folder,
        config.seq_len,
        grid.steps_per_bar,
        grid.bars_per_phrase,
        augment=config.augment,
        hop=config.hop_bars * grid.steps_per_bar,
        with_metrics=False,
        seed=config.seed,
        mix_metres=config.mix_metres,
    )
    voices = dataset.num_drums
    if kit is not None and kit.num_voices != voices:
        raise HypermeterError(
            f"{folder}: {voices} voices, kit {kit.name} has {kit.num_voices}; prepare it again or name its kit"
        )
    sequences = [read_sequence(path) for path in held_out]
    for path, sequence in zip(held_out, sequences, strict=True):
        if sequence.shape[1] != voices:
            raise HypermeterError(
                f"{path}: {sequence.shape[1]} voices, expected {voices} as in {folder}; prepare all with one kit"
            )
    return _Data(folder, dataset, [each for each in sequences if len(each)], kit, grid)


class _Run:
    """One training run: what is loaded, what is remembered, what is written."""

    def __init__(self, fabric: Fabric, config: TrainConfig):
        self.fabric = fabric
        data = _read_data(config)
        self.dataset, self.held_out = data.dataset, data.held_out
        self.kept = _read_checkpoint(config.out / CHECKPOINT, fabric.device)
        start = None
        if self.kept is not None:
            options = self.kept["model"]
        elif config.init is not None:
            start = _read_start(config.init, data)
            options = start.config | {"dropout": config.dropout}
        else:
            options = {name: getattr(config, name) for name in (*SHAPE_FIELDS, "dropout")}
            options["num_drums"] = data.dataset.num_drums
            if config.output == "softmax":
                options["known"] = known_combinations(torch.from_numpy(data.dataset.packed).float())
        if config.init is not None:
            config = dataclasses.replace(config, **{name: options[name] for name in SHAPE_FIELDS})
        self.config = config
        self.identity = {
            "config": config.to_dict(),
            "kit": None if data.kit is None else data.kit.to_dict(),
            "grid": data.grid.to_dict(),
            "data": data.fingerprint(),
        }
        if self.kept is not None:
            _check_same_run(config, self.kept, self.identity)
        fabric.seed_everything(config.seed, verbose=False)
        self.model, self.average = (HierarchicalDrumModel(**options, grid=data.grid, kit=data.kit) for _ in range(2))
        if start is not None:
            self.model.load_state_dict(start.state_dict())
        self.average.eval().load_state_dict(self.model.state_dict())
        teachers = [_read_start(name, data).to(fabric.device) for name in config.teachers]
        module = DrumModule(self.model, config, teachers)
        made = module.configure_optimizers()
        self.scheduler = made["lr_scheduler"]["scheduler"]
        self.module, self.optimizer = fabric.setup(module, made["optimizer"])
        self.module.mark_forward_method("training_step")
        self.average.to(fabric.device)
        self.update, self.best, self.since_best = 0, math.inf, 0
        self.history: list[dict[str, float]] = []
        self.stop_asked = False

    def run(self) -> Path:
        config, fabric = self.config, self.fabric
        self._make_folder()
        if not self._restore():
            fabric.seed_everything(config.seed + 1 + fabric.global_rank, verbose=False)
        data = batches(self.dataset, config, self.update, fabric.global_rank, fabric.world_size)
        handlers = {each: signal.signal(each, self._ask_to_stop) for each in (signal.SIGINT, signal.SIGTERM)}
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(quiet=not fabric.is_global_zero)
        asked = False
        try:
            with Progress(*columns, console=console) as progress, self._tensorboard() as board:
                task = progress.add_task("training", total=config.max_steps, completed=self.update)
                self.module.train()
                while self.update < config.max_steps and self.since_best < config.patience and not asked:
                    terms = self._update(next(data))
                    asked = self._is_asked_to_stop()
                    if self.update % LOG_EVERY == 0 or self.update == config.max_steps:
                        row = {"update": self.update, "learning_rate": self.scheduler.get_last_lr()[0]}
                        self._log(row | {name: value.item() for name, value in terms.items()}, board)
                    if self.update % config.val_every == 0 or self.update == config.max_steps:
                        self._look(board)
                        self._save()
                    elif asked:
                        self._save()
                    best = f", best held-out {self.best:.3f} bits per step" if self.best < math.inf else ""
                    progress.update(task, completed=self.update, description=f"loss {terms['loss'].item():.3f}{best}")
        finally:
            for each, handler in handlers.items():
                signal.signal(each, handler)
        fabric.barrier()
        is_unfinished = asked and self.update < config.max_steps and self.since_best < config.patience
        if fabric.is_global_zero:
            plot_curves(self.history, config.out / "curves.png")
            if is_unfinished:
                console.print(f"Stopped at update {self.update} of {config.max_steps}; the same command goes on.")
            elif self.since_best >= config.patience:
                console.print(
                    f"Stopped at update {self.update}: no better on held-out data for {config.patience} looks."
                )
            console.print(
                f"Run in {config.out}: best.safetensors, last.safetensors, log.csv, curves.png", soft_wrap=True
            )
        if is_unfinished:
            raise KeyboardInterrupt
        return config.out

    def _make_folder(self) -> None:
        """The folder of the run, without what a killed process left in it."""
        if not self.fabric.is_global_zero:
            return
        out = self.config.out
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HypermeterError(
                f"{out}: cannot be the folder of a run ({error.strerror}); choose another path"
            ) from error
        for name in FILES:
            remove_leftovers(out / name)

    def _update(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        batch = {
            name: self.fabric.to_device(value) if isinstance(value, Tensor) else value for name, value in batch.items()
        }
        terms = self.module.training_step(batch, self.update)
        self.fabric.backward(terms["loss"])
        most = self.config.gradient_clip
        norm = self.fabric.clip_gradients(self.module, self.optimizer, max_norm=most, error_if_nonfinite=False)
        if not bool(torch.isfinite(torch.as_tensor(norm))):
            raise HypermeterError(f"train: the gradient is not finite at update {self.update}; lower --learning-rate")
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.scheduler.step()
        self.update += 1
        decay = min(self.config.ema_decay, self.update / (self.update + 9))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
        return {name: value.detach() for name, value in terms.items()}

    def _log(self, row: dict[str, float], board: Any) -> None:
        self.history.append(row)
        if board is not None:
            for name, value in row.items():
                board.add_scalar(name, value, row["update"])

    def _look(self, board: Any) -> None:
        """Evaluate the averaged weights on held-out performances, and keep them where they are the best."""
        if not self.held_out:
            improved = True
        else:
            result = bits_per_step(self.average, self.held_out)
            improved = result < self.best
            self.best, self.since_best = (result, 0) if improved else (self.best, self.since_best + 1)
            self._log({"update": self.update, "held_out_bits_per_step": result}, board)
        if improved and self.fabric.is_global_zero:
            self._save_weights("best.safetensors")

    def _save_weights(self, name: str) -> None:
        looks = [row["held_out_bits_per_step"] for row in self.history if "held_out_bits_per_step" in row]
        notes = {"update": self.update, "held_out_bits_per_step": looks[-1] if looks else None}
        self.average.save(self.config.out / name, notes | {"config": self.config.to_dict()})

    def _save(self) -> None:
        """The last weights, the log, and all that it takes to go on."""
        gathered: Any = self.fabric.all_gather(torch.get_rng_state())
        random = gathered.view(self.fabric.world_size, -1).cpu()
        if not self.fabric.is_global_zero:
            return
        self._save_weights("last.safetensors")
        write_log(self.history, self.config.out / "log.csv")
        state = {
            **self.identity,
            "model": self.model.config,
            "module": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "update": self.update,
            "best": self.best,
            "since_best": self.since_best,
            "history": self.history,
            "random": random,
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        content = io.BytesIO()
        torch.save(state, content)
        with atomic_write(self.config.out / CHECKPOINT) as temporary:
            temporary.write_bytes(content.getbuffer())

    def _restore(self) -> bool:
        """Whether there was a run to go on with."""
        state, self.kept = self.kept, None
        if state is None:
            return False
        self.model.load_state_dict(state["module"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.update, self.best, self.since_best = state["update"], state["best"], state["since_best"]
        self.history = state["history"]
        if len(state["random"]) == self.fabric.world_size:
            torch.set_rng_state(state["random"][self.fabric.global_rank].to("cpu", torch.uint8))
        if state["random_cuda"]:
            torch.cuda.set_rng_state_all([each.cpu() for each in state["random_cuda"]])
        return True

    def _ask_to_stop(self, *_: Any) -> None:
        self.stop_asked = True

    def _is_asked_to_stop(self) -> bool:
        """Whether any process was, so that all stop at the same update."""
        if self.fabric.world_size == 1:
            return self.stop_asked
        asked: Any = self.fabric.all_reduce(torch.tensor(float(self.stop_asked)), reduce_op="sum")
        return bool(asked > 0)

    def _tensorboard(self) -> Any:
        if not self.fabric.is_global_zero:
            return contextlib.nullcontext()
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(self.config.out / "tensorboard", purge_step=self.update)


def _read_checkpoint(path: Path, device: torch.device) -> dict[str, Any] | None:
    """What ``_Run._save`` kept, or None where there is no run yet."""
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        missing = {"config", "kit", "grid", "data", "model"} - set(state)
    except Exception as error:  # torch.load raises what pickle, zipfile and it itself raise
        raise HypermeterError(f"{path}: not a readable checkpoint; remove it or choose another folder") from error
    if missing:
        raise HypermeterError(f"{path}: of another version of hypermeter; remove it or choose another folder")
    return state


def _check_same_run(config: TrainConfig, kept: dict[str, Any], now: dict[str, Any]) -> None:
    path = config.out / CHECKPOINT
    for name, value in now["config"].items():
        before = kept["config"].get(name)
        if value != before:
            raise HypermeterError(
                f"{path}: a run with {name} {before}, asked for {value}; choose another folder, or its settings"
            )
    for name in ("kit", "grid", "data"):
        if now[name] != kept[name]:
            what = "other performances" if name == "data" else f"another {name}"
            raise HypermeterError(
                f"{path}: a run on {what} than in {config.npz_dir}; choose another folder, or the data it began with"
            )


def _read_start(name: str, data: _Data) -> HierarchicalDrumModel:
    """A trained model to start from, or to learn from, on the kit and grid of the data."""
    model = load(name)
    if model.kit != data.kit:
        found, expected = kit_name(model.kit), kit_name(data.kit)
        other = " of other voices" if found == expected else ""
        raise HypermeterError(
            f"{name}: {found}{other}, expected {expected} of {data.folder}; prepare with its kit, or name it by --kit"
        )
    if model.grid != data.grid:
        raise HypermeterError(f"{name}: {model.grid}, expected {data.grid} of {data.folder}; prepare on its grid")
    if model.num_drums != data.dataset.num_drums:  # neither has a kit
        found, expected = model.num_drums, data.dataset.num_drums
        raise HypermeterError(f"{name}: {found} voices, expected {expected} of {data.folder}; take another model")
    return model


def write_log(history: list[dict[str, float]], path: Path) -> None:
    """The history as CSV, one row an update logged; columns that a row lacks are empty."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(history)


def plot_curves(history: list[dict[str, float]], path: Path) -> None:
    """Training and held-out bits per step over updates, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="update", ylabel="bits per step")
    for name, label, scale in (
        ("step_nll", "training", 1 / math.log(2)),
        ("held_out_bits_per_step", "held out, averaged weights", 1.0),
    ):
        points = [(row["update"], row[name] * scale) for row in history if name in row]
        if points:
            axes.plot(*zip(*points, strict=True), marker=".", label=label)
    if axes.lines:
        axes.legend()
    axes.grid(alpha=0.3)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120)


def from_midi(config: TrainConfig) -> TrainConfig:
    """The configuration on .npz: a folder of MIDI is prepared into the folder of the run, on the model's kit and grid.

    Raises:
        HypermeterError: no .npz and no MIDI there.
    """
    if any(config.npz_dir.rglob("*.npz")) or not any(config.npz_dir.rglob("*.mid*")):
        return config
    start = None if config.init is None else load(config.init)
    grid = Grid() if start is None else start.grid
    kit: Any = config.kit or ("gm10" if start is None or start.kit is None else start.kit)
    made = config.out / "npz"
    prepare(
        config.npz_dir, made, kit, grid.steps_per_beat, grid.metre, grid.bars_per_phrase, seed=config.seed, quiet=True
    )
    return dataclasses.replace(config, npz_dir=made)


def train_command(config: TrainConfig) -> None:
    """Train a model on a prepared folder, or on a folder of MIDI; the same command goes on with an interrupted run.

    Under torchrun, or with --devices, several processes share each batch.
    """
    train(from_midi(config))

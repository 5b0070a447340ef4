"""The training loop: updates, evaluations on held-out performances, and the state by which a run continues."""

import contextlib
import math
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import naming_write_errors
from hypermeter.core.parts import Parts
from hypermeter.learn.evaluate import bits_per_step
from hypermeter.learn.train.config import SHAPE_FIELDS, TrainConfig
from hypermeter.learn.train.log import plot_curves, write_log
from hypermeter.learn.train.material import batches, read_material_once, read_start, read_teacher
from hypermeter.learn.train.module import DrumModule, expression_nats, follow_nats
from hypermeter.learn.train.resume import (
    CHECKPOINT,
    check_folders,
    check_same_run,
    gather,
    make_folder,
    model_options,
    random_state,
    read_state,
    set_random_state,
    write_state,
)
from hypermeter.model.heads import known_combinations
from hypermeter.model.hierarchical import HierarchicalDrumModel

FILES = (CHECKPOINT, "best.safetensors", "last.safetensors", "log.csv", "curves.png")
"""Files that a run writes, beside ``tensorboard``."""
TENSORBOARD = "tensorboard"
"""Name of the folder of the curves of TensorBoard."""

LOG_EVERY = 20
"""Updates between rows of the log. Only then are values read from a GPU, which otherwise computes without a pause."""
GRADIENT_CLIP = 1.0
"""Largest norm of the gradient."""
EMA_DECAY = 0.998
"""Of the averaged weights, which are the ones that are evaluated and saved."""


def train(config: TrainConfig) -> Path:
    """Train a model, or continue an unfinished run, and return the folder of the run.

    Raises:
        HypermeterError: data that cannot be read, files of different kits or grids, an unwritable folder, an
            unavailable accelerator, or a run of other settings or data in ``out``.
        KeyboardInterrupt: a signal stopped the run (Ctrl-C, SIGTERM); its state is saved.
    """
    check_folders(config)
    on_cuda = config.accelerator != "cpu" and torch.cuda.is_available()
    if config.accelerator == "cuda" and config.devices > torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise HypermeterError(
            f"train: {config.devices} CUDA devices wanted, {count} here; pass --accelerator cpu or fewer --devices"
        )
    devices = max(config.devices, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))  # of torchrun
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=devices,
        strategy="ddp" if devices > 1 or int(os.environ.get("WORLD_SIZE", "1")) > 1 else "auto",
        precision="bf16-mixed" if on_cuda and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true",
    )
    had_group = torch.distributed.is_initialized()
    fabric.launch()
    if config.batch_size < fabric.world_size:
        raise HypermeterError(f"train: batch_size is {config.batch_size}, expected one for each process at least")
    is_finished = _Run(fabric, config).run()
    if torch.distributed.is_initialized() and not had_group:
        fabric.barrier()  # Processes that leave one by one, at their exit, may take each other down.
        torch.distributed.destroy_process_group()
    if not is_finished:
        raise KeyboardInterrupt
    return config.out


class _Run:
    """A training run."""

    def __init__(self, fabric: Fabric, config: TrainConfig):
        self.fabric = fabric
        self.saved = read_state(config.out / CHECKPOINT, fabric.device)
        options = None
        if self.saved is not None:
            options = model_options(config.out / CHECKPOINT, self.saved["model"])
        material = read_material_once(fabric, config, options)
        self.datasets, self.held_out, self.grids = material.datasets, material.held_out, material.held_out_grids
        self.plans = material.held_out_plans if config.only == "plan" else None
        self.items = material.held_out_items
        start = None
        if options is None and config.init is not None:
            start = read_start(config.init, material)
            options = start.config | {"dropout": config.model.dropout, "labels": material.dataset.labels}
            for part in ("expression", "follow"):
                options[f"use_{part}"] = options.get(f"use_{part}", False) or config.only == part
        elif options is None:
            options = config.model.options() | {
                "num_drums": material.dataset.num_drums,
                "labels": material.dataset.labels,
                "tracks": [track.to_dict() for track in material.dataset.tracks],
            }
            if config.model.output == "softmax":
                options["known"] = known_combinations(torch.from_numpy(material.distinct_steps()).float())
        if self.saved is None and len(material.datasets) > 1:
            known = options.get("grids", [])
            options["grids"] = known + [grid.to_dict() for grid in material.grids if grid.to_dict() not in known]
        if config.init is not None:
            shape = {name: options[name] for name in SHAPE_FIELDS}
            names = tuple(track["name"] for track in options["tracks"])
            with_plan = options["labels"] is not None
            config = config.replace(**shape, parts=Parts.from_options(options), tracks=names, use_plan=with_plan)
        self.config = config
        self.identity = {
            "config": config.to_dict(),
            "kit": None if material.kit is None else material.kit.to_dict(),
            "grid": material.grid.to_dict(),
            "data": material.fingerprint(),
        }
        if self.saved is not None:
            check_same_run(config, self.saved, self.identity, fabric.world_size)
        fabric.seed_everything(config.seed, verbose=False)
        self.model, self.average = (
            HierarchicalDrumModel.from_config(options, material.grid, material.kit) for _ in range(2)
        )
        corpus = material.corpora[0]
        if config.only == "expression" and corpus.has_strokes:
            for model in (self.model, self.average):
                model.expression.add_articulation(corpus.has_openness)  # pyright: ignore[reportOptionalMemberAccess]
        if start is not None:
            self.model.load_state_dict(self.model.state_dict() | start.state_dict())
        self.average.eval().load_state_dict(self.model.state_dict())
        teachers = [read_teacher(name, material).to(fabric.device) for name in config.teachers]
        module = DrumModule(self.model, config, teachers)
        optimizers = module.configure_optimizers()
        self.scheduler = optimizers["lr_scheduler"]["scheduler"]
        self.module, self.optimizer = fabric.setup(module, optimizers["optimizer"])
        self.module.mark_forward_method("training_step")
        self.average.to(fabric.device)
        self.update, self.best, self.since_best = 0, math.inf, 0
        self.history: list[dict[str, float]] = []
        self.norms: list[Tensor] = []
        """Norms of the gradient since they were last checked."""
        self.is_stopping = False
        self.stopping: Tensor | None = None
        """Share of processes that are to stop, as of the last update; None with one process."""

    def run(self) -> bool:
        """Train; return whether the run is finished, and not stopped by a signal."""
        config, fabric = self.config, self.fabric
        if fabric.is_global_zero:
            make_folder(config.out, FILES)
        random = self._restore()
        data = batches(self.datasets, config, self.update, fabric.global_rank, fabric.world_size)
        if random is None:
            fabric.seed_everything(config.seed + 1 + fabric.global_rank, verbose=False)
        else:
            set_random_state(random, fabric.device)
        handlers = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(quiet=not fabric.is_global_zero)
        is_stopping, loss = False, "training"
        try:
            with Progress(*columns, console=console) as progress, self._tensorboard() as board:
                task = progress.add_task("training", total=config.max_steps, completed=self.update)
                self.module.train()
                while self.update < config.max_steps and self.since_best < config.patience and not is_stopping:
                    terms = self._update(next(data))
                    is_last = self.update == config.max_steps
                    is_logged = is_last or self.update % LOG_EVERY == 0
                    is_evaluated = is_last or self.update % config.evaluate_every == 0
                    is_stopping = self._any_is_stopping(is_logged)
                    if is_logged or is_evaluated or is_stopping:
                        self._check_norms()
                    if is_logged:
                        row = {"update": self.update, "learning_rate": self.scheduler.get_last_lr()[0]}
                        self._log(row | {name: value.item() for name, value in terms.items()}, board)
                        loss = f"loss {terms['loss'].item():.3f}"
                    if is_evaluated:
                        self._evaluate(board)
                        self._save()
                    elif is_stopping:
                        self._save()
                    best = f", best held-out {self.best:.3f} bits per step" if self.best < math.inf else ""
                    progress.update(task, completed=self.update, description=f"{loss}{best}")
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        fabric.barrier()
        is_unfinished = is_stopping and self.update < config.max_steps and self.since_best < config.patience
        if fabric.is_global_zero:
            plot_curves(self.history, config.out / "curves.png")
            if is_unfinished:
                console.print(f"Stopped at update {self.update} of {config.max_steps}; the same command continues.")
            elif self.since_best >= config.patience:
                console.print(f"Stopped at update {self.update}: {config.patience} evaluations without improvement.")
            console.print(
                f"Run in {config.out}: best.safetensors, last.safetensors, log.csv, curves.png", soft_wrap=True
            )
        return not is_unfinished

    def _update(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        batch = {name: self._on_device(value) for name, value in batch.items()}
        terms = self.module.training_step(batch, self.update)
        self.fabric.backward(terms["loss"] * self._share(batch))
        norm = self.fabric.clip_gradients(self.module, self.optimizer, max_norm=GRADIENT_CLIP, error_if_nonfinite=False)
        self.norms.append(torch.as_tensor(norm))
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.scheduler.step()
        self.update += 1
        decay = min(EMA_DECAY, self.update / (self.update + 9))
        average = get_ema_multi_avg_fn(decay)
        average([*self.average.parameters()], [*self.model.parameters()], self.update)  # pyright: ignore[reportArgumentType]
        return {name: value.detach() for name, value in terms.items()}

    def _on_device(self, value: Any) -> Any:
        if isinstance(value, Tensor) and self.fabric.device.type == "cuda":
            return value.pin_memory().to(self.fabric.device, non_blocking=True)
        return value.to(self.fabric.device) if hasattr(value, "to") else value

    def _check_norms(self) -> None:
        """Raise if the gradient of an update since the last check was not finite; nothing is saved after it."""
        is_finite = torch.stack(self.norms).isfinite().tolist()
        if False in is_finite:
            update = self.update - len(is_finite) + is_finite.index(False)
            raise HypermeterError(f"train: the gradient is not finite at update {update}; lower --learning-rate")
        self.norms.clear()

    def _share(self, batch: dict[str, Any]) -> Tensor | float:
        """Return the weight of this process's mean in the mean over processes: its steps by their mean number.

        In the same message, processes tell whether they are to stop.
        """
        if self.fabric.world_size == 1:
            return 1.0
        steps = batch["mask"].sum().float()
        own = torch.stack([steps, steps.new_full((), float(self.is_stopping))])
        mean: Any = self.fabric.all_reduce(own, reduce_op="mean")
        self.stopping = mean[1]
        return steps / mean[0]

    def _log(self, row: dict[str, float], board: Any) -> None:
        self.history.append(row)
        if board is not None:
            with naming_write_errors(self.config.out / TENSORBOARD):
                for name, value in row.items():
                    board.add_scalar(name, value, row["update"])

    def _evaluate(self, board: Any) -> None:
        """Evaluate the averaged weights on held-out performances, and save them if they are the best."""
        if not self.held_out:
            improved = True
        else:
            result = self._held_out_bits()
            improved = result < self.best
            self.best, self.since_best = (result, 0) if improved else (self.best, self.since_best + 1)
            self._log({"update": self.update, "held_out_bits_per_step": result}, board)
        if improved and self.fabric.is_global_zero:
            self._save_weights("best.safetensors")

    @torch.no_grad()
    def _held_out_bits(self) -> float:
        """Return bits per step; where expression is learnt, bits per hit of velocity and offset."""
        if self.config.only == "follow":
            return self._followed_bits()
        if self.config.only != "expression":
            return bits_per_step(self.average, self.held_out, self.plans, self.grids)
        nats = hits = 0.0
        for item in self.items:
            tensors = {name: value[None] for name, value in item.items() if name != "grid"}
            item_nats, item_hits = expression_nats(self.average.on(item["grid"]), self.fabric.to_device(tensors))
            nats, hits = nats + item_nats.item(), hits + item_hits.item()
        return nats / max(hits, 1) / math.log(2)

    def _followed_bits(self) -> float:
        """Return bits per step given taps, which are the same at every evaluation."""
        nats, steps = 0.0, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            for item in self.items:
                batch = {name: value[None] for name, value in item.items() if name != "grid"}
                batch["mask"] = torch.ones(batch["step"].shape[:2], dtype=torch.bool)
                nats += follow_nats(self.average.on(item["grid"]), self.fabric.to_device(batch)).item()
                steps += len(item["step"])
        return nats / max(steps, 1) / math.log(2)

    def _save_weights(self, name: str) -> None:
        bits = [row.get("held_out_bits_per_step") for row in self.history if row["update"] == self.update]
        notes = {"update": self.update, "held_out_bits_per_step": bits[-1] if bits else None}
        self.average.save(self.config.out / name, notes | {"config": self.config.to_dict()})

    def _save(self) -> None:
        """Save the last weights, the log, and the state by which the run continues."""
        random = gather(random_state(self.fabric.device))
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
        }
        write_state(state, self.config.out / CHECKPOINT)

    def _restore(self) -> dict[str, Any] | None:
        """Restore the saved state, if there is one; return that of the random generators, which is set last."""
        state, self.saved = self.saved, None
        if state is None:
            return None
        self.model.load_state_dict(state["module"])
        self.average.load_state_dict(state["average"])
        try:
            self.optimizer.load_state_dict(state["optimizer"])
        except ValueError as error:
            raise HypermeterError(
                f"{self.config.out}: a run of an earlier version, which trained by AdamW alone; choose another folder,"
                f" and --init {self.config.out} to go on from its weights"
            ) from error
        self.scheduler.load_state_dict(state["scheduler"])
        self.update, self.best, self.since_best = state["update"], state["best"], state["since_best"]
        self.history = state["history"]
        random = state["random"][self.fabric.global_rank]
        if isinstance(random, Tensor):  # of an earlier build, which saved no other generators of all processes
            random = {"torch": random}
            if self.fabric.device.type == "cuda" and state["random_cuda"]:
                random["cuda"] = state["random_cuda"][self.fabric.device.index or 0]
        return random

    def _stop(self, *_: Any) -> None:
        self.is_stopping = True

    def _any_is_stopping(self, is_logged: bool) -> bool:
        """Return whether any process was to stop at the last update, so that all stop at the same one.

        On a GPU, processes look only where the update is logged, as it takes a wait for the device.
        """
        if self.fabric.world_size == 1:
            return self.is_stopping
        is_read = is_logged or self.fabric.device.type == "cpu"
        return is_read and self.stopping is not None and bool(self.stopping > 0)

    @contextlib.contextmanager
    def _tensorboard(self) -> Iterator[Any]:
        """Yield what writes the curves of TensorBoard in the first process, and `None` in others."""
        if not self.fabric.is_global_zero:
            yield None
            return
        from torch.utils.tensorboard import SummaryWriter

        folder = self.config.out / TENSORBOARD
        before = threading.excepthook

        def quietly(arguments: Any) -> None:  # Its thread tells the next call of what it could not write.
            if not issubclass(arguments.exc_type, OSError):
                before(arguments)

        with naming_write_errors(folder):
            board = SummaryWriter(folder, purge_step=self.update)
        threading.excepthook = quietly
        try:
            yield board
        finally:
            with naming_write_errors(folder):
                board.close()
            threading.excepthook = before

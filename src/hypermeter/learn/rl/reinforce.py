"""Fine-tuning towards a reward, near to the starting model: the loop of the ``reinforce`` command.

The algorithm is a ``Learner``; the loop around it evaluates, logs, saves, continues and stops.
"""

import hashlib
import json
import math
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import check_folder
from hypermeter.learn.dataset import kit_name, read_folder, read_shared_kit_and_grid, with_tracks
from hypermeter.learn.evaluate import bits_per_step
from hypermeter.learn.rl.config import EARLIER_NAMES, ReinforceConfig
from hypermeter.learn.rl.learners import Learner, PolicyLearner, evaluate_policy
from hypermeter.learn.rl.psi_learning import PsiLearner
from hypermeter.learn.rl.reward_files import load_reward
from hypermeter.learn.rl.rewards import RunningScale, Term, check_reward
from hypermeter.learn.rl.rollout import rollout, without_dropout
from hypermeter.learn.train.log import write_log
from hypermeter.learn.train.resume import (
    CHECKPOINT,
    check_same_settings,
    defaults_of,
    make_folder,
    read_state,
    write_state,
)
from hypermeter.model.hierarchical import HierarchicalDrumModel, load

FILES = (CHECKPOINT, "best.safetensors", "last.safetensors", "log.csv")
"""Files that a run writes."""


def reinforce(config: ReinforceConfig) -> Path:
    """Fine-tune a model towards a reward, or continue an unfinished run; return the folder of the run.

    The run stops by itself when the divergence from the starting model is more than ``kl_budget``, or when the share of
    distinct bars is less than ``least_diversity`` of what it was. The best weights are those with the highest reward in
    an evaluation within both limits.

    Raises:
        HypermeterError: a model or reward that cannot be read, a reward that does not depend on what is generated (see
            ``check_reward``), held-out data of another kit or grid, an unwritable folder, or a run of other settings
            in ``out``.
        KeyboardInterrupt: the run was asked to stop (Ctrl-C, SIGTERM), and has saved what it needs to continue.
    """
    return _Run(config).run()


class _Run:
    """One run: its inputs, its history and its files."""

    def __init__(self, config: ReinforceConfig):
        self.config, self.console = config, Console()
        if config.accelerator == "cuda" and not torch.cuda.is_available():
            raise HypermeterError("reinforce: no CUDA device here; pass --accelerator cpu")
        check_folder(config.out)
        self.device = torch.device("cuda" if config.accelerator != "cpu" and torch.cuda.is_available() else "cpu")
        state = read_state(config.out / CHECKPOINT, self.device)
        self.reference = load(config.model, device=self.device)
        without_dropout(self.reference.requires_grad_(False))
        self.grid = self.reference.grid
        self.reward = load_reward(config.reward, self.grid, self.reference.kit)
        self.held_out = self._read_held_out()
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        self.identity = {
            "config": config.to_dict(),
            "kit": None if self.reference.kit is None else self.reference.kit.to_dict(),
            "grid": self.grid.to_dict(),
            "data": {
                "terms": [_as_json(asdict(term)) for term in self.reward.terms],
                "normalise": self.reward.normalise,
                "model": self._digest(),
            },
            "model": self.reference.config,
        }
        if state is None:
            steps = config.bars * self.grid.steps_per_bar
            hits = rollout(self.reference, config.batch_size, steps, generator=self.generator).hits
            check_reward(self.reward, hits[..., : self.reference.num_drums], self.grid)
        else:
            state = _with_names_of_today(state)
            self._check_same_run(state)
        self.learner = self._make_learner()
        self.update, self.best = 0, -math.inf
        self.history: list[dict[str, float]] = []
        self.stop_requested = False
        if state is not None:
            self._restore(state)

    def run(self) -> Path:
        config = self.config
        make_folder(config.out, FILES)
        handlers = {name: signal.signal(name, self._request_stop) for name in (signal.SIGINT, signal.SIGTERM)}
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        reason = self._reason_to_stop()
        try:
            with Progress(*columns, console=self.console) as progress:
                task = progress.add_task("reinforcing", total=config.updates, completed=self.update)
                if not self.history:
                    self._evaluate(progress.console)
                while self.update < config.updates and reason is None and not self.stop_requested:
                    row = self.learner.update(self.generator)
                    self.update += 1
                    self.history.append({"update": self.update, **row})
                    reason = self._reason_to_stop()
                    if self.update % config.evaluate_every == 0 or self.update == config.updates or reason is not None:
                        self._evaluate(progress.console)
                        self._save()
                    elif self.stop_requested:
                        self._save()
                    progress.update(task, completed=self.update, description=_line(row))
        finally:
            for name, handler in handlers.items():
                signal.signal(name, handler)
        is_unfinished = self.stop_requested and self.update < config.updates and reason is None
        if is_unfinished:
            self.console.print(f"Stopped at update {self.update} of {config.updates}; the same command continues.")
        elif reason is not None:
            self.console.print(f"Stopped at update {self.update}: {reason}.", soft_wrap=True)
        self.console.print(f"Run in {config.out}: best.safetensors, last.safetensors, log.csv", soft_wrap=True)
        if is_unfinished:
            raise KeyboardInterrupt
        return config.out

    def _make_learner(self) -> Learner:
        if self.config.algorithm == "psi":
            return PsiLearner(self.reference, self.reward, self.config)
        policy = without_dropout(load(self.config.model, device=self.device))
        return PolicyLearner(policy, self.reference, self.reward, self.config)

    def _read_held_out(self) -> list[np.ndarray]:
        folder, model = self.config.held_out, self.reference
        if folder is None:
            return []
        paths, sequences = read_folder(folder)
        kit, grid = read_shared_kit_and_grid(paths, model.kit, self.grid)
        voices = sequences[0].shape[1]
        if voices != model.num_drums:
            raise HypermeterError(f"{folder}: {voices} voices, expected {model.num_drums} as the model has")
        if kit != model.kit or grid != self.grid:
            given, expected = f"{kit_name(kit)}, {grid}", f"{kit_name(model.kit)}, {self.grid}"
            other = ", the kit of other voices" if given == expected else ""
            raise HypermeterError(f"{folder}: {given}{other}, expected {expected} as the model has")
        return [with_tracks(path, hits, model.tracks) for path, hits in zip(paths, sequences, strict=True)]

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for weights in self.reference.state_dict().values():
            digest.update(weights.cpu().numpy().tobytes())
        return digest.hexdigest()

    def _check_same_run(self, state: dict[str, Any]) -> None:
        path = self.config.out / CHECKPOINT
        check_same_settings(path, state["config"], self.identity["config"], defaults_of(ReinforceConfig))
        before = {**state["data"], "terms": [_as_json(defaults_of(Term) | term) for term in state["data"]["terms"]]}
        for name, what in (
            ("terms", "another reward"),
            ("normalise", "another reward"),
            ("model", "another starting model"),
        ):
            if before[name] != self.identity["data"][name]:
                raise HypermeterError(f"{path}: a run with {what}; choose another folder, or what it began with")
        if state["random"].shape != self.generator.get_state().shape:
            raise HypermeterError(
                f"{path}: a run on another kind of device than {self.device.type}; choose its --accelerator"
            )

    def _evaluate(self, console: Console) -> None:
        """Evaluate pieces of one seed, log the result, and keep the best weights."""
        config, policy = self.config, self.learner.policy
        result = evaluate_policy(policy, self.reference, self.reward, config.evaluate_pieces, config.bars, config.seed)
        row = {"update": self.update} | {f"eval_{name}": value for name, value in result.items()}
        if self.held_out:
            row["held_out_bits_per_step"] = bits_per_step(policy, self.held_out)
        self.history.append(row)
        bits = f", held out {row['held_out_bits_per_step']:.3f} bits per step" if self.held_out else ""
        console.print(f"after {self.update} updates: {_line(result)}{bits}", soft_wrap=True, highlight=False)
        is_diverse = self._diversity("eval_distinct_bars") >= config.least_diversity
        if result["reward"] > self.best and result["kl"] <= config.kl_budget and is_diverse:
            self.best = result["reward"]
            self._save_weights(policy, "best.safetensors", row)
        self._save_weights(policy, "last.safetensors", row)

    def _diversity(self, column: str) -> float:
        """Return the last value of a column of the log, as a share of the first; 1 without any."""
        values = [row[column] for row in self.history if column in row]
        return values[-1] / values[0] if values else 1.0

    def _reason_to_stop(self) -> str | None:
        config = self.config
        divergence = next((row["kl"] for row in reversed(self.history) if "kl" in row), 0.0)
        if divergence > config.kl_budget:
            return f"the KL budget is spent, {divergence:.3f} of {config.kl_budget:g} nats per step"
        diversity = self._diversity("distinct_bars")
        if diversity < config.least_diversity:
            return f"diversity collapsed, distinct bars are {diversity:.0%} of what they were at the start"
        return None

    def _save_weights(self, policy: HierarchicalDrumModel, name: str, row: dict[str, float]) -> None:
        policy.save(self.config.out / name, {**row, "config": self.config.to_dict()})

    def _save(self) -> None:
        """Write the log, and the state from which the run continues."""
        write_log(self.history, self.config.out / "log.csv")
        state = {
            **self.identity,
            "learner": self.learner.state_dict(),
            "scales": [(scale.count, scale.mean, scale.squares) for scale in self.reward.scales],
            "update": self.update,
            "best": self.best,
            "history": self.history,
            "random": self.generator.get_state(),
        }
        write_state(state, self.config.out / CHECKPOINT)

    def _restore(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.reward.scales[:] = [RunningScale(*numbers) for numbers in state["scales"]]
        self.update, self.best, self.history = state["update"], state["best"], state["history"]
        self.generator.set_state(state["random"].cpu())

    def _request_stop(self, *_: Any) -> None:
        self.stop_requested = True


def _with_names_of_today(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a run with the names of settings and columns that earlier versions wrote replaced."""
    config = {EARLIER_NAMES.get(name, name): value for name, value in state["config"].items()}
    if config["algorithm"] == "dqn":
        config["algorithm"] = "psi"
    history = [{name.replace("look_", "eval_"): value for name, value in row.items()} for row in state["history"]]
    return {**state, "config": config, "history": history}


def _line(row: dict[str, float]) -> str:
    levels = ", ".join(f"{name[7:]} {value:.3g}" for name, value in row.items() if name.startswith("reward_"))
    return (
        f"reward {row['reward']:.3f} ({levels}), KL {row['kl']:.4f} and entropy {row['entropy']:.3f} nats per step, "
        f"{row['distinct_bars']:.0%} distinct bars, {row['hits']:.2f} hits a step"
    )


def _as_json(record: dict[str, Any]) -> Any:
    """Return the record as JSON reads it, so that stored and present ones compare."""
    return json.loads(json.dumps(record, default=str))

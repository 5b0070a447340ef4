"""A model learns towards a reward, and stays near what it was: what the ``reinforce`` command does.

The algorithm is a ``Learner``; the loop around it looks, logs, saves, goes on and stops.
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
from hypermeter.learn.dataset import common_kit_and_grid, kit_name, read_folder, with_tracks
from hypermeter.learn.evaluate import bits_per_step
from hypermeter.learn.rl.config import ReinforceConfig
from hypermeter.learn.rl.learners import Learner, PolicyLearner, ValueLearner, look
from hypermeter.learn.rl.policy_gradient import check_reward, without_dropout
from hypermeter.learn.rl.rewards import RunningScale, Term, load_reward
from hypermeter.learn.rl.rollout import rollout
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
"""What a run writes."""


def reinforce(config: ReinforceConfig) -> Path:
    """Fine-tune a model towards a reward, or go on with an unfinished run; the folder of the run is the result.

    It stops by itself when the divergence from the starting model is more than ``kl_budget``, or when the bars that
    are played are less distinct than ``least_diversity`` of what they were. The best weights are those whose look was
    worth most within both limits.

    Raises:
        HypermeterError: a model or reward that cannot be read, a reward that does not depend on what is played (see
            ``check_reward``), held-out data of another kit or grid, an unwritable folder, or a run of other settings
            in ``out``.
        KeyboardInterrupt: the run was asked to stop (Ctrl-C, SIGTERM), and has saved what it takes to go on.
    """
    return _Run(config).run()


class _Run:
    """One run: what is loaded, what is remembered, what is written."""

    def __init__(self, config: ReinforceConfig):
        self.config, self.console = config, Console()
        if config.accelerator == "cuda" and not torch.cuda.is_available():
            raise HypermeterError("reinforce: no CUDA device here; pass --accelerator cpu")
        self.device = torch.device("cuda" if config.accelerator != "cpu" and torch.cuda.is_available() else "cpu")
        kept = read_state(config.out / CHECKPOINT, self.device)
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
                "terms": [_plain(asdict(term)) for term in self.reward.terms],
                "normalise": self.reward.normalise,
                "model": self._digest(),
            },
            "model": self.reference.config,
        }
        if kept is None:
            steps = config.bars * self.grid.steps_per_bar
            pieces = rollout(self.reference, config.batch_size, steps, generator=self.generator).hits
            check_reward(self.reward, pieces[..., : self.reference.num_drums], self.grid)
        else:
            self._check_same_run(kept)
        self.learner = self._make_learner()
        self.update, self.best = 0, -math.inf
        self.history: list[dict[str, float]] = []
        self.stop_asked = False
        if kept is not None:
            self._restore(kept)

    def run(self) -> Path:
        config = self.config
        make_folder(config.out, FILES)
        handlers = {each: signal.signal(each, self._ask_to_stop) for each in (signal.SIGINT, signal.SIGTERM)}
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        reason = self._reason_to_stop()
        try:
            with Progress(*columns, console=self.console) as progress:
                task = progress.add_task("reinforcing", total=config.updates, completed=self.update)
                if not self.history:
                    self._look(progress.console)
                while self.update < config.updates and reason is None and not self.stop_asked:
                    row = self.learner.update(self.generator)
                    self.update += 1
                    self.history.append({"update": self.update, **row})
                    reason = self._reason_to_stop()
                    if self.update % config.look_every == 0 or self.update == config.updates or reason is not None:
                        self._look(progress.console)
                        self._save()
                    elif self.stop_asked:
                        self._save()
                    progress.update(task, completed=self.update, description=_told(row))
        finally:
            for each, handler in handlers.items():
                signal.signal(each, handler)
        is_unfinished = self.stop_asked and self.update < config.updates and reason is None
        if is_unfinished:
            self.console.print(f"Stopped at update {self.update} of {config.updates}; the same command goes on.")
        elif reason is not None:
            self.console.print(f"Stopped at update {self.update}: {reason}.", soft_wrap=True)
        self.console.print(f"Run in {config.out}: best.safetensors, last.safetensors, log.csv", soft_wrap=True)
        if is_unfinished:
            raise KeyboardInterrupt
        return config.out

    def _make_learner(self) -> Learner:
        if self.config.algorithm == "dqn":
            return ValueLearner(self.reference, self.reward, self.config)
        policy = load(self.config.model, device=self.device)
        return PolicyLearner(without_dropout(policy), self.reference, self.reward, self.config)

    def _read_held_out(self) -> list[np.ndarray]:
        if self.config.held_out is None:
            return []
        paths, sequences = read_folder(self.config.held_out)
        kit, grid = common_kit_and_grid(paths, self.reference.kit, self.grid)
        voices, expected = sequences[0].shape[1], self.reference.num_drums
        if voices != expected:
            raise HypermeterError(f"{self.config.held_out}: {voices} voices, expected {expected} as the model has")
        if kit != self.reference.kit or grid != self.grid:
            found, expected = f"{kit_name(kit)}, {grid}", f"{kit_name(self.reference.kit)}, {self.grid}"
            other = ", the kit of other voices" if found == expected else ""
            raise HypermeterError(f"{self.config.held_out}: {found}{other}, expected {expected} as the model has")
        return [with_tracks(*each, self.reference.tracks) for each in zip(paths, sequences, strict=True)]

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for each in self.reference.state_dict().values():
            digest.update(each.cpu().numpy().tobytes())
        return digest.hexdigest()

    def _check_same_run(self, kept: dict[str, Any]) -> None:
        path = self.config.out / CHECKPOINT
        check_same_settings(path, kept["config"], self.identity["config"], defaults_of(ReinforceConfig))
        before = {**kept["data"], "terms": [_plain(defaults_of(Term) | term) for term in kept["data"]["terms"]]}
        for name, what in (
            ("terms", "another reward"),
            ("normalise", "another reward"),
            ("model", "another starting model"),
        ):
            if self.identity["data"][name] != before.get(name):
                raise HypermeterError(f"{path}: a run with {what}; choose another folder, or what it began with")
        if len(kept["random"]) != len(self.generator.get_state()):
            here = self.device.type
            raise HypermeterError(f"{path}: a run on another kind of device than {here}; choose its --accelerator")

    def _look(self, console: Console) -> None:
        """Pieces of one seed, scored; the best weights are kept."""
        config, policy = self.config, self.learner.policy
        found = look(policy, self.reference, self.reward, config.look_pieces, config.bars, config.seed)
        row = {"update": self.update} | {f"look_{name}": value for name, value in found.items()}
        if self.held_out:
            row["held_out_bits_per_step"] = bits_per_step(policy, self.held_out)
        self.history.append(row)
        bits = f", held out {row['held_out_bits_per_step']:.3f} bits per step" if self.held_out else ""
        console.print(f"look after {self.update} updates: {_told(found)}{bits}", soft_wrap=True, highlight=False)
        is_within = found["kl"] <= config.kl_budget and self._diversity("look_distinct_bars") >= config.least_diversity
        if found["reward"] > self.best and is_within:
            self.best = found["reward"]
            self._save_weights(policy, "best.safetensors", row)
        self._save_weights(policy, "last.safetensors", row)

    def _diversity(self, column: str) -> float:
        """Of the last row that has the column, as a share of the first's."""
        rows = [row[column] for row in self.history if column in row]
        return rows[-1] / rows[0] if rows else 1.0

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
        """The log, and all that it takes to go on."""
        write_log(self.history, self.config.out / "log.csv")
        state = {
            **self.identity,
            "learner": self.learner.state_dict(),
            "scales": [(each.count, each.mean, each.squares) for each in self.reward.scales],
            "update": self.update,
            "best": self.best,
            "history": self.history,
            "random": self.generator.get_state(),
        }
        write_state(state, self.config.out / CHECKPOINT)

    def _restore(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.reward.scales[:] = [RunningScale(*each) for each in state["scales"]]
        self.update, self.best, self.history = state["update"], state["best"], state["history"]
        self.generator.set_state(state["random"].cpu())

    def _ask_to_stop(self, *_: Any) -> None:
        self.stop_asked = True


def _told(row: dict[str, float]) -> str:
    levels = [
        f"{name.removeprefix('reward_')} {value:.3g}" for name, value in row.items() if name.startswith("reward_")
    ]
    return (
        f"reward {row['reward']:.3f} ({', '.join(levels)}), KL {row['kl']:.4f} and entropy {row['entropy']:.3f} nats "
        f"per step, {row['distinct_bars']:.0%} distinct bars, {row['hits']:.2f} hits a step"
    )


def _plain(record: dict[str, Any]) -> Any:
    """As JSON has it, so that what was kept and what is read again compare."""
    return json.loads(json.dumps(record, default=str))

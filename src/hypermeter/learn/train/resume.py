"""Folder and state of a run, and the check that a run continues with the same settings and data."""

import dataclasses
import io
import random
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write, remove_leftovers
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit
from hypermeter.learn.train.config import CONSTANTS, EARLIER_NAMES, TrainConfig
from hypermeter.model.hierarchical import HierarchicalDrumModel

CHECKPOINT = "checkpoint.pt"

VERSION = 1
"""Version of a run's state. Runs of earlier builds have none, and continue: missing settings have their defaults."""


def write_state(state: dict[str, Any], path: Path) -> None:
    """Write a run's state with its version, atomically."""
    content = io.BytesIO()
    torch.save({"version": VERSION, **state}, content)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getvalue())


def read_state(path: Path, device: torch.device) -> dict[str, Any] | None:
    """Return the state of a run, or None where there is none yet.

    Raises:
        HypermeterError: a file that cannot be read, or of another version.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        missing = {"config", "kit", "grid", "data", "model"} - set(state)
    except Exception as error:  # torch.load raises what pickle, zipfile and it itself raise
        raise HypermeterError(f"{path}: not a readable checkpoint; remove it or choose another folder") from error
    if missing:
        raise HypermeterError(f"{path}: of another version of hypermeter; remove it or choose another folder")
    if (version := state.get("version", VERSION)) != VERSION:
        raise HypermeterError(
            f"{path}: version {version} of a run's record, expected {VERSION}; update hypermeter, or choose another"
            " folder"
        )
    return state


def check_folders(config: TrainConfig) -> None:
    """Raise if the folder of the run is the folder of the data, or is in what is read as data."""
    data, out = config.npz_dir.resolve(), config.out.resolve()
    read = [data / "train", data / "validation"] if (data / "train").is_dir() else [data]
    if out == data or any(folder in (out, *out.parents) for folder in read):
        raise HypermeterError(
            f"{config.out}: cannot be the folder of a run, as {config.npz_dir} is read as data; choose one outside it"
        )


def make_folder(out: Path, files: Sequence[str]) -> None:
    """Make the folder of a run, and remove temporary files of a killed process.

    Raises:
        HypermeterError: a path that cannot be a folder.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HypermeterError(
            f"{out}: cannot be the folder of a run ({error.strerror}); choose another path"
        ) from error
    for name in files:
        remove_leftovers(out / name)


def defaults_of(settings: type) -> dict[str, Any]:
    """Return the defaults of a dataclass, by name, of the fields that have one."""
    defaults = {}
    for field in dataclasses.fields(settings):
        if field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = field.default_factory()
        elif field.default is not dataclasses.MISSING:
            defaults[field.name] = field.default
    return defaults


def check_same_settings(path: Path, before: dict[str, Any], now: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Raise if settings differ from those ``before`` of the run in ``path``; missing ones have their defaults."""
    _check_known(path, before, now)
    before = defaults | before
    for name, value in now.items():
        if value != before[name]:
            raise HypermeterError(
                f"{path}: a run with {name} {before[name]}, now {value}; choose another folder, or the same settings"
            )


def model_options(path: Path, saved: dict[str, Any]) -> dict[str, Any]:
    """Return the model's configuration that the run in ``path`` has saved; missing options have their defaults."""
    defaults = HierarchicalDrumModel(1).config
    _check_known(path, saved, defaults)
    return defaults | saved


def _check_known(path: Path, saved: Iterable[str], known: Container[str]) -> None:
    for name in saved:
        if name not in known:
            raise HypermeterError(
                f"{path}: a run with {name}, which this version of hypermeter does not know; update hypermeter, or"
                " choose another folder"
            )


def earlier_settings(path: Path, saved: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run by their names of today."""
    settings = {EARLIER_NAMES.get(name, name): value for name, value in saved.items()}
    for name, constant in CONSTANTS.items():
        if (value := settings.pop(name, constant)) != constant:
            raise HypermeterError(f"{path}: a run with {name} {value}, which is {constant} now; choose another folder")
    return settings


def check_same_run(config: TrainConfig, saved: dict[str, Any], now: dict[str, Any], processes: int) -> None:
    """Raise if settings, kit, grid, performances or number of processes differ from those of the saved run."""
    path = config.out / CHECKPOINT
    defaults = TrainConfig(config.npz_dir, config.out).to_dict()
    check_same_settings(path, earlier_settings(path, saved["config"]), now["config"], defaults)
    for name, read in (("kit", Kit.from_dict), ("grid", Grid.from_dict), ("data", str)):
        before, current = (None if record[name] is None else read(record[name]) for record in (saved, now))
        if current != before:
            what = "other performances" if name == "data" else f"another {name}"
            raise HypermeterError(
                f"{path}: a run on {what} than in {config.npz_dir}; choose another folder, or the data it began with"
            )
    if (before := len(saved["random"])) != processes:  # Each has its share of a batch, and its own random numbers.
        raise HypermeterError(
            f"{path}: a run with devices {before}, now {processes}; choose another folder, or --devices {before}"
        )


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the states of this process's random generators: of Python, NumPy, PyTorch, and its CUDA device."""
    name, key, *rest = np.random.get_state(legacy=True)
    numpy = (name, np.asarray(key).tolist(), *rest)  # torch.load reads no arrays
    state = {"python": random.getstate(), "numpy": numpy, "torch": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Set the random generators; a state of an earlier build has PyTorch's alone."""
    torch.set_rng_state(state["torch"].to("cpu", torch.uint8))
    if "python" in state:
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


def gather(value: Any) -> list[Any]:
    """Return the value of each process, in the order of their ranks."""
    if not torch.distributed.is_initialized():
        return [value]
    values = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values

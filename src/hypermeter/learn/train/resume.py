"""The folder of a run, what it keeps there so that it can go on, and the check that it is the same run that goes on."""

import dataclasses
import io
import random
from collections.abc import Container, Iterable, Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write, remove_leftovers
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit
from hypermeter.learn.train.config import TrainConfig
from hypermeter.model.hierarchical import HierarchicalDrumModel

CHECKPOINT = "checkpoint.pt"

VERSION = 1
"""Of what a run keeps. A run of an earlier build has none, and goes on: what its record lacks has its default."""


def write_state(state: dict[str, Any], path: Path) -> None:
    """Write a run's state, with the version, whole or not at all."""
    content = io.BytesIO()
    torch.save({"version": VERSION, **state}, content)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def read_state(path: Path, device: torch.device) -> dict[str, Any] | None:
    """What a run has kept, or None where there is no run yet.

    Raises:
        HypermeterError: a file that cannot be read, or of a later version.
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
    """Refuse a folder of the run that is the folder of the data, or lies in what is read as data."""
    data, out = config.npz_dir.resolve(), config.out.resolve()
    read = [data / "train", data / "validation"] if (data / "train").is_dir() else [data]
    if out == data or any(folder in (out, *out.parents) for folder in read):
        raise HypermeterError(
            f"{config.out}: cannot be the folder of a run, as {config.npz_dir} is read as data; choose one outside it"
        )


def make_folder(out: Path, files: Sequence[str]) -> None:
    """The folder of a run, without what a killed process left of its files.

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
    """The defaults of a dataclass, by name; fields without one are left out."""
    found = {}
    for field in dataclasses.fields(settings):
        if field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
        elif field.default is not dataclasses.MISSING:
            found[field.name] = field.default
    return found


def check_same_settings(path: Path, before: dict[str, Any], now: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Refuse other settings than those that the run in ``path`` was kept with; what it lacks has its default."""
    _check_known(path, before, now)
    before = defaults | before
    for name, value in now.items():
        if value != before[name]:
            raise HypermeterError(
                f"{path}: a run with {name} {before[name]}, asked for {value}; choose another folder, or its settings"
            )


def model_options(path: Path, kept: dict[str, Any]) -> dict[str, Any]:
    """The options of the model that the run in ``path`` has kept; what it lacks has its default."""
    parameters = signature(HierarchicalDrumModel).parameters.values()
    _check_known(path, kept, [parameter.name for parameter in parameters])
    defaults = {each.name: each.default for each in parameters if each.default is not Parameter.empty}
    return {name: value for name, value in (defaults | kept).items() if name not in ("grid", "kit")}


def _check_known(path: Path, kept: Iterable[str], known: Container[str]) -> None:
    for name in kept:
        if name not in known:
            raise HypermeterError(
                f"{path}: a run with {name}, which this version of hypermeter does not know; update hypermeter, or"
                " choose another folder"
            )


def check_same_run(config: TrainConfig, kept: dict[str, Any], now: dict[str, Any], processes: int) -> None:
    """Refuse other settings, another kit or grid, other performances or another number of processes than were kept."""
    path = config.out / CHECKPOINT
    check_same_settings(path, kept["config"], now["config"], defaults_of(TrainConfig))
    for name, read in (("kit", Kit.from_dict), ("grid", Grid.from_dict), ("data", str)):
        before, found = (None if record[name] is None else read(record[name]) for record in (kept, now))
        if found != before:
            what = "other performances" if name == "data" else f"another {name}"
            raise HypermeterError(
                f"{path}: a run on {what} than in {config.npz_dir}; choose another folder, or the data it began with"
            )
    if (before := len(kept["random"])) != processes:  # each has its share of a batch, and its own random numbers
        raise HypermeterError(
            f"{path}: a run with devices {before}, asked for {processes}; choose another folder, or --devices {before}"
        )


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of each random generator of this process: of Python, NumPy, PyTorch, and its CUDA device."""
    name, key, *rest = np.random.get_state(legacy=True)
    numpy = (name, np.asarray(key).tolist(), *rest)  # an array is more than torch.load reads
    state = {"python": random.getstate(), "numpy": numpy, "torch": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Set the generators that the state tells; one of an earlier build tells PyTorch's alone."""
    torch.set_rng_state(state["torch"].to("cpu", torch.uint8))
    if "python" in state:
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


def gather(own: Any) -> list[Any]:
    """What each process has, in the order of their ranks."""
    if not torch.distributed.is_initialized():
        return [own]
    found = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, own)
    return found

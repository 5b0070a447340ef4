"""The folder of a run, what it keeps there so that it can go on, and the check that it is the same run that goes on."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write, remove_leftovers
from hypermeter.learn.train.config import TrainConfig

CHECKPOINT = "checkpoint.pt"


def write_state(state: dict[str, Any], path: Path) -> None:
    """Write a run's state whole or not at all."""
    content = io.BytesIO()
    torch.save(state, content)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def read_state(path: Path, device: torch.device) -> dict[str, Any] | None:
    """What a run has kept, or None where there is no run yet."""
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


def check_same_settings(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuses other settings than those that the run in ``path`` was kept with."""
    for name, value in now.items():
        if value != before.get(name):
            raise HypermeterError(
                f"{path}: a run with {name} {before.get(name)}, asked for {value}; choose another folder, or its"
                " settings"
            )


def check_same_run(config: TrainConfig, kept: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuses other settings, another kit or grid, or other performances than those of the run that was kept."""
    path = config.out / CHECKPOINT
    check_same_settings(path, kept["config"], now["config"])
    for name in ("kit", "grid", "data"):
        if now[name] != kept[name]:
            what = "other performances" if name == "data" else f"another {name}"
            raise HypermeterError(
                f"{path}: a run on {what} than in {config.npz_dir}; choose another folder, or the data it began with"
            )

"""What a run keeps so that it can go on, and the check that it is the same run that goes on."""

import io
from pathlib import Path
from typing import Any

import torch

from hypermeter.grid import HypermeterError, atomic_write
from hypermeter.train.config import TrainConfig

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


def check_same_run(config: TrainConfig, kept: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuses other settings, another kit or grid, or other performances than those of the run that was kept."""
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

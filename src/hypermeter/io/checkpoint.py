"""Checkpoints: a model's weights, configuration, grid and kit in one safetensors file, and the paths of such files."""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit
from hypermeter.core.shipped import check_shipped

SHIPPED = Path(__file__).parents[1] / "weights"
"""Folder of the shipped models."""

VERSION = 1
"""Version of the metadata in a checkpoint. Files of earlier builds have none, and are read as this version."""


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint.

    Args:
        config: the arguments of the model's constructor, without grid and kit.
        grid: the grid of the model.
        kit: the kit of the model, or `None`.
        tensors: the `state_dict`: NumPy arrays when read, arrays or PyTorch tensors when written.
    """

    config: dict[str, Any]
    grid: Grid
    kit: Kit | None
    tensors: Mapping[str, Any]


def write_checkpoint(path: str | Path, checkpoint: Checkpoint, notes: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all. Floats become float32; `notes` must be representable in JSON."""
    metadata = {
        "version": VERSION,
        "config": checkpoint.config,
        "grid": checkpoint.grid.to_dict(),
        "kit": None if checkpoint.kit is None else checkpoint.kit.to_dict(),
        "notes": dict(notes),
    }
    tensors = {name: _array_of(tensor) for name, tensor in checkpoint.tensors.items()}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(tensors, metadata={"hypermeter": json.dumps(metadata)}))


def _array_of(tensor: Any) -> NDArray[Any]:
    """Return an array, or a PyTorch tensor of any type and on any device, as a NumPy array."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
        tensor = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return np.ascontiguousarray(tensor)


def shipped_models() -> list[str]:
    """Return the names of the shipped models, sorted."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def name_of_model(model: str | Path) -> str:
    """Return the name of a model for people: of the shipped model, of the run, or of the file without its suffix."""
    path = Path(model)
    return path.stem if path.suffix == ".safetensors" else path.name


def find_checkpoint(name_or_path: str | Path) -> Path:
    """Return the path of the checkpoint that a name or path denotes.

    A string that is the name of a shipped model denotes that model; a warning tells if a folder of that name holds a
    training run, which is written `./groove`, or as a `Path`. The folder of a training run denotes its best weights,
    else its last ones. Any other path is returned as it is.

    Raises:
        HypermeterError: a folder without weights, or neither a path that exists nor the name of a shipped model.
    """
    path, names = Path(name_or_path), shipped_models()
    weights = [file for file in (path / "best.safetensors", path / "last.safetensors") if file.exists()]
    if isinstance(name_or_path, str) and name_or_path in names:
        if weights:
            warnings.warn(f"{name_or_path} is the shipped model; the run in the folder is ./{path}", stacklevel=2)
        check_shipped(shipped := SHIPPED / f"{name_or_path}.safetensors")
        return shipped
    if path.is_dir():
        if not weights:
            raise HypermeterError(f"{path}: no checkpoint there; expected best.safetensors or last.safetensors in it")
        return weights[0]
    if path.suffix != ".safetensors" and not path.exists():
        raise HypermeterError(f"{name_or_path}: no such checkpoint; give a .safetensors file, a run, or {names}")
    return path


@contextmanager
def checkpoint_errors(path: Path) -> Iterator[None]:
    """Turn the errors of a block that reads a checkpoint, or makes a model from it, into one that names the file."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError) as error:
        raise HypermeterError(f"{path}: no checkpoint there; expected a .safetensors file or a training run") from error
    except HypermeterError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        message = f"{path}: not a readable Hypermeter checkpoint ({reason}); train or download again"
        raise HypermeterError(message) from error


def read_checkpoint(path: Path, kit: str | None = None) -> Checkpoint:
    """Return the content of a checkpoint. Call it within `checkpoint_errors`: damaged files raise errors of many types.

    Raises:
        HypermeterError: a checkpoint of a later version, or one whose kit is not named `kit`, where that is given.
    """
    with safe_open(path, framework="numpy") as file:
        metadata = json.loads((file.metadata() or {})["hypermeter"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    if (version := metadata.get("version", VERSION)) != VERSION:
        raise HypermeterError(f"{path}: version {version} of the checkpoint, expected {VERSION}; update hypermeter")
    model_kit = None if metadata["kit"] is None else Kit.from_dict(metadata["kit"])
    if kit is not None and (model_kit is None or model_kit.name != kit):
        name = "no kit" if model_kit is None else f"kit {model_kit.name}"
        raise HypermeterError(f"{path}: {name} in the checkpoint, expected kit {kit}; use its kit or another model")
    return Checkpoint(metadata["config"], Grid.from_dict(metadata["grid"]), model_kit, tensors)

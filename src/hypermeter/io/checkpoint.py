"""Checkpoints: a model's weights, configuration, grid and kit in one safetensors file, and where such files lie."""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
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

SHIPPED = Path(str(files("hypermeter") / "weights"))
"""Where the models are that come with the package."""

VERSION = 1
"""Of the record in a checkpoint beside the weights. A file of an earlier build has none, and reads alike."""


@dataclass(frozen=True)
class Checkpoint:
    """What a model is made from again.

    Args:
        config: the arguments of its constructor, but for grid and kit.
        grid: the metre.
        kit: the voices, None where the model has no kit.
        tensors: its ``state_dict``: NumPy arrays when read; arrays or PyTorch tensors when written.
    """

    config: dict[str, Any]
    grid: Grid
    kit: Kit | None
    tensors: Mapping[str, Any]


def write_checkpoint(path: str | Path, checkpoint: Checkpoint, notes: Mapping[str, Any]) -> None:
    """Write a checkpoint whole or not at all; notes are anything JSON can hold. Floats are written as float32."""
    about = {
        "version": VERSION,
        "config": checkpoint.config,
        "grid": checkpoint.grid.to_dict(),
        "kit": None if checkpoint.kit is None else checkpoint.kit.to_dict(),
        "notes": dict(notes),
    }
    tensors = {name: _array_of(tensor) for name, tensor in checkpoint.tensors.items()}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(tensors, metadata={"hypermeter": json.dumps(about)}))


def _array_of(tensor: Any) -> NDArray[Any]:
    """A NumPy array of an array, or of a PyTorch tensor on any device and of any type."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
        tensor = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return np.ascontiguousarray(tensor)


def shipped_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(each.stem for each in SHIPPED.glob("*.safetensors"))


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The file of a shipped model's name, of a training run (its best weights, else its last), or the path itself.

    A string that is a shipped name means that model. A folder of the same name is ``./groove``, or a ``Path``; where it
    holds a run, a warning says so.

    Raises:
        HypermeterError: a folder without weights, or a name that is not shipped.
    """
    path, names = Path(name_or_path), shipped_models()
    weights = [each for each in (path / "best.safetensors", path / "last.safetensors") if each.exists()]
    if isinstance(name_or_path, str) and name_or_path in names:
        if weights:
            warnings.warn(f"{name_or_path} is the shipped model; the run in the folder is ./{path}", stacklevel=2)
        return SHIPPED / f"{name_or_path}.safetensors"
    if path.is_dir():
        path = weights[0] if weights else path
        if path.is_dir():
            raise HypermeterError(f"{path}: no checkpoint there; expected best.safetensors or last.safetensors in it")
    elif path.suffix != ".safetensors" and not path.exists():
        raise HypermeterError(f"{name_or_path}: no such checkpoint; give a .safetensors file, a run, or {names}")
    return path


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What is wrong with a file that the block reads, or makes a model from, is said in one line that names it."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError) as error:
        raise HypermeterError(f"{path}: no checkpoint there; expected a .safetensors file or a training run") from error
    except HypermeterError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise HypermeterError(
            f"{path}: not a readable Hypermeter checkpoint ({first}); train or download again"
        ) from error


def read_checkpoint(path: Path, kit: str | None = None) -> Checkpoint:
    """Read a checkpoint. Call it in ``reading``, since a damaged file raises errors of many kinds.

    Raises:
        HypermeterError: a checkpoint of a later version; a kit of that name is asked for, and the model has another or
            none.
    """
    with safe_open(path, framework="numpy") as file:
        about = json.loads((file.metadata() or {})["hypermeter"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    if (version := about.get("version", VERSION)) != VERSION:
        raise HypermeterError(f"{path}: version {version} of the checkpoint, expected {VERSION}; update hypermeter")
    own = None if about["kit"] is None else Kit.from_dict(about["kit"])
    if kit is not None and (own is None or own.name != kit):
        found = "no kit" if own is None else f"kit {own.name}"
        raise HypermeterError(f"{path}: {found} in the checkpoint, expected kit {kit}; use its kit or another model")
    return Checkpoint(about["config"], Grid.from_dict(about["grid"]), own, tensors)

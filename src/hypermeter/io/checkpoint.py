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
from hypermeter.core.forms import Form, anything, flag, list_of, maybe, number, one_of, record, text, whole
from hypermeter.core.grid import Grid
from hypermeter.core.json_text import parse_json
from hypermeter.core.kit import Kit
from hypermeter.core.shipped import check_shipped

SHIPPED = Path(__file__).parents[1] / "weights"
"""Folder of the shipped models."""

VERSION = 1
"""Version of the metadata in a checkpoint. Files of earlier builds have none, and are read as this version."""


MAX_METADATA = 2**24
"""Characters of the longest metadata. The combinations of a softmax are most of it."""

MAX_VOICES = 2**12

LABELS: Form = record(dict.fromkeys(("section", "style", "fill"), list_of(text(), 2**12)))
"""The vocabulary of plans."""

_SIZE, _REACH = whole(1, 2**14), whole(1, 2**20)
_CONFIG = record(
    {"num_drums": whole(1, MAX_VOICES)},
    {
        **dict.fromkeys(("step_hidden_dim", "bar_hidden_dim", "phrase_hidden_dim", "num_components"), _SIZE),
        **dict.fromkeys(("attention_bars", "attention_window"), _REACH),
        "num_layers": whole(1, 64),
        "dropout": number(0, 1),
        **dict.fromkeys(
            (
                "use_transformer", "use_bar_attention", "use_recalled_hits", "use_positions", "use_look_back",
                "use_bar_level", "use_phrase_level", "use_place_table", "use_expression", "use_follow",
            ),
            flag,
        ),
        "cell": one_of("gru", "lstm"),
        "output": one_of("mixture", "sigmoid", "softmax"),
        "known": maybe(list_of(list_of(whole(0, 1), MAX_VOICES), 2**20)),
        "labels": maybe(LABELS),
        "tracks": list_of(record({}), 16),
        "grids": list_of(record({}), 2**10),
        "encoders": record({}),
    },
)  # fmt: skip
_METADATA = record({"config": _CONFIG, "grid": record({}), "kit": anything})


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
    except HypermeterError as error:
        if str(path) in str(error):
            raise
        raise HypermeterError(f"{path}: not a readable Hypermeter checkpoint; {error}") from error
    except (SafetensorError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, OSError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        message = f"{path}: not a readable Hypermeter checkpoint ({reason}); train or download again"
        raise HypermeterError(message) from error


def read_checkpoint(path: Path, kit: str | None = None) -> Checkpoint:
    """Return the content of a checkpoint. Call it within `checkpoint_errors`: damaged files raise errors of many types.

    Raises:
        HypermeterError: a checkpoint of a later version, one whose kit is not named `kit`, where that is given, or
            one with weights or metadata that no model has.
    """
    with safe_open(path, framework="numpy") as file:
        metadata = parse_json((file.metadata() or {})["hypermeter"], MAX_METADATA)
        _METADATA(metadata, "metadata")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise HypermeterError(f"{path}: weights {name} are not all finite numbers; train or download again")
    if (version := metadata.get("version", VERSION)) != VERSION:
        raise HypermeterError(f"{path}: version {version} of the checkpoint, expected {VERSION}; update hypermeter")
    model_kit = None if metadata["kit"] is None else Kit.from_dict(metadata["kit"])
    if kit is not None and (model_kit is None or model_kit.name != kit):
        name = "no kit" if model_kit is None else f"kit {model_kit.name}"
        raise HypermeterError(f"{path}: {name} in the checkpoint, expected kit {kit}; use its kit or another model")
    return Checkpoint(metadata["config"], Grid.from_dict(metadata["grid"]), model_kit, tensors)

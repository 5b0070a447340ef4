"""Models: checkpoints, and the description of an exported folder."""

import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from .odd import ODD_FLOATS, changed, mutated
from .reader import Reader

_META: dict[str, Any] = {
    "format": 1, "name": "a", "num_drums": 3, "width": 3, "tracks": [], "plan_dim": 48, "components": 3,
    "kit": {"name": "mine", "voices": [{"name": f"v{n}", "pitches": [36 + n], "write": 36 + n} for n in range(3)]},
    "grid": {"steps_per_beat": 4, "beats_per_bar": 4, "bars_per_phrase": 4, "beat_unit": 4, "steps_per_bar": 16},
    "labels": {"section": ["A", "B"], "style": ["rock"], "fill": ["beat", "fill"]},
    "kinds": ["section", "style", "fill"], "numbers": ["tempo_bpm", "density", "offbeat"],
    "state": [{"name": "hidden", "shape": [2, 16], "dtype": "float32"}, {"name": "position", "shape": [],
    "dtype": "int64"}],
    "memory": {"steps_per_bar": 16, "window": 32, "size": 40},
    "expression": {"components": 3, "state": [{"name": "hidden", "shape": [16], "dtype": "float32"}]},
}  # fmt: skip


@cache
def _checkpoint(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    import tempfile

    from safetensors import safe_open

    from models import model

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.safetensors")
        model(name).save(path)
        with safe_open(path, framework="numpy") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
            return json.loads(file.metadata()["hypermeter"]), tensors


def make_checkpoint(random: Random) -> bytes:
    """Return a checkpoint with other metadata, other weights or other bytes."""
    from safetensors.numpy import save

    metadata, tensors = _checkpoint(random.choice(("gru", "lstm", "softmax", "without levels")))
    tensors, kind = dict(tensors), random.randrange(5)
    if kind in (0, 1):
        metadata = changed(random, metadata)
    if kind in (2, 3):
        for key in random.sample(sorted(tensors), random.randint(1, 3)):
            tensors[key] = _odd_tensor(random, tensors[key])
        if random.random() < 0.2:
            del tensors[random.choice(sorted(tensors))]
    content = save(tensors, metadata={"hypermeter": json.dumps(metadata)})
    return mutated(random, content) if kind == 4 else content


def _odd_tensor(random: Random, tensor: np.ndarray) -> np.ndarray:
    tensor = tensor.copy()
    kind = random.randrange(4)
    if kind == 0 and tensor.size and tensor.dtype.kind == "f":
        with np.errstate(all="ignore"):
            tensor.flat[random.randrange(tensor.size)] = random.choice(ODD_FLOATS)
    elif kind == 1:
        tensor = tensor[..., : tensor.shape[-1] // 2] if tensor.ndim else tensor[None]
    elif kind == 2:
        tensor = tensor.astype(random.choice((np.float64, np.int32, np.float16, bool)))
    else:
        tensor = np.zeros(tuple(random.choice((0, 1, 3, 16)) for _ in range(random.randrange(4))), np.float32)
    return np.ascontiguousarray(tensor)


def read_checkpoint(content: bytes, folder: Path) -> None:
    """Load a model to play and to train, and let the first play a bar."""
    from hypermeter.core.errors import HypermeterError
    from hypermeter.model.hierarchical import load
    from hypermeter.play.loading import load_player

    path = folder / "a.safetensors"
    path.write_bytes(content)
    try:
        player = load_player(path)
        assert np.isfinite(player.log_prob(player.generate(8)[0])).all(), "a likelihood that is not finite"
    except HypermeterError:
        load(path)
        raise
    load(path)


def make_export(random: Random) -> bytes:
    content = json.dumps(changed(random, _META)).encode()
    return mutated(random, content) if random.random() < 0.2 else content


def read_export(content: bytes, folder: Path) -> None:
    """Read the description of an export. There is no graph, which comes after it: ONNX Runtime is not tried here."""
    from hypermeter.play.exported import Folder, OnnxNetwork

    (folder / "meta.json").write_bytes(content)
    OnnxNetwork(Folder.read(folder))


def _needs_torch() -> None:
    import torch  # noqa: F401


READERS = (
    Reader("checkpoint", make_checkpoint, read_checkpoint, 0.7, _needs_torch),
    Reader("export", make_export, read_export),
)

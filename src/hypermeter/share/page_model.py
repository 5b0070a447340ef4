"""A model as the page reads it: a description, and its weights, rounded and packed. It needs no PyTorch."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write, check_folder
from hypermeter.core.limits import MAX_ENUMERATED_VOICES
from hypermeter.io.checkpoint import Checkpoint, checkpoint_errors, find_checkpoint, name_of_model, read_checkpoint
from hypermeter.play.expressing import OFFSET, VELOCITY
from hypermeter.play.network import LOOK_BACK_STEPS, NumpyNetwork
from hypermeter.play.plan import KINDS, NUMBERS

FORMAT = 2
"""Format of the folder; the first was of ONNX graphs."""

MANTISSA_BITS = 15
"""Bits that are kept of the 23 of a number's fraction. The rest takes a quarter of the file and changes no music."""

UNUSED = re.compile(r"(bar|phrase)_(output|persistence)\b|steering\.forecasts\.|follow\.")
"""Arrays that learning needs, but not playing, and those of the learnt way to follow, which the page does not have."""


def export_page_model(model: str | Path, out: str | Path, mantissa_bits: int = MANTISSA_BITS) -> dict[str, Any]:
    """Write a model for the page: ``meta.json`` and ``weights.bin.gz``. The same model gives the same bytes.

    Args:
        model: a shipped name, a checkpoint, or a training run.
        out: the folder, as `model` of a page; made where there is none.
        mantissa_bits: bits that are kept of the fraction of each weight, from 0 to 23.

    Returns:
        The content of ``meta.json``.

    Raises:
        HypermeterError: a model that the page does not play; the folder cannot be written.
    """
    check_folder(out)
    path = find_checkpoint(model)
    with checkpoint_errors(path):
        checkpoint = read_checkpoint(path)
        check_playable(checkpoint, str(model))
        network = NumpyNetwork(checkpoint)
    names = [name for name in sorted(checkpoint.tensors) if not UNUSED.match(name)]
    arrays = [np.asarray(checkpoint.tensors[name], np.float32) for name in names]
    meta = describe(checkpoint, network, name_of_model(model))
    meta["weights"] = [{"name": name, "shape": array.shape} for name, array in zip(names, arrays, strict=True)]
    content = packed(np.concatenate([array.ravel() for array in arrays]), mantissa_bits)
    for file, written in (("meta.json", (json.dumps(meta) + "\n").encode()), ("weights.bin.gz", content)):
        with atomic_write(Path(out) / file) as temporary:
            temporary.write_bytes(written)
    return meta


def check_playable(checkpoint: Checkpoint, name: str) -> None:
    """Raise if the page does not play the model.

    Raises:
        HypermeterError: tracks, too many voices, no kit, or encoders or an output of another kind.
    """
    config = checkpoint.config
    encoder = "custom" if config.get("encoders") else config.get("cell", "gru")
    reasons = {
        "with tracks beside the drums": bool(config.get("tracks")),
        f"of {config['num_drums']} voices": config["num_drums"] > MAX_ENUMERATED_VOICES,
        "without a kit": checkpoint.kit is None,
        "of Transformers": bool(config.get("use_transformer")),
        f"with {encoder} encoders": encoder != "gru",
        f"with output {config.get('output')}": config.get("output", "mixture") not in ("mixture", "sigmoid"),
    }
    if found := [reason for reason, is_so in reasons.items() if is_so]:
        expected = f"a kit of at most {MAX_ENUMERATED_VOICES} voices, GRUs, and output mixture or sigmoid"
        raise HypermeterError(f"{name}: the page plays no model {found[0]}; expected {expected}")


def describe(checkpoint: Checkpoint, network: NumpyNetwork, name: str) -> dict[str, Any]:
    """Return the content of ``meta.json`` without the list of weights."""
    assert checkpoint.kit is not None
    kit = checkpoint.kit.to_dict()
    kit["voices"] = [voice | {"label": voice["name"].replace("_", " ")} for voice in kit["voices"]]
    expression = None
    if network.expression is not None:
        expression = {"velocity": vars(VELOCITY), "offset": vars(OFFSET)}
    return {
        "format": FORMAT,
        "name": name,
        "kit": kit,
        "grid": network.grid.to_dict(),
        "grids": [grid.to_dict() for grid in network.grids],
        "serves_every_grid": network.serves_every_grid,
        "num_drums": network.num_drums,
        "width": network.width,
        "labels": network.labels,
        "kinds": list(KINDS),
        "numbers": list(NUMBERS),
        "attention_bars": 0 if network.attention is None else network.attention.window,
        "look_back_steps": min(LOOK_BACK_STEPS, network.grid.steps_per_bar) if network.past else 0,
        "expression": expression,
        "hats": list(checkpoint.kit.hats),
    }


def rounded(numbers: NDArray[np.float32], mantissa_bits: int) -> NDArray[np.float32]:
    """Return numbers whose fraction is rounded to so many bits, to the nearest, of ties to the even one."""
    dropped = np.uint32(23 - mantissa_bits)
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    if dropped:
        half = np.uint32(1) << (dropped - np.uint32(1))
        bits = bits + (half - np.uint32(1)) + (bits >> dropped & np.uint32(1))
        bits &= ~np.uint32((1 << int(dropped)) - 1)
    return bits.view(np.float32)


def packed(numbers: NDArray[np.float32], mantissa_bits: int) -> bytes:
    """Return numbers, rounded, as gzipped planes of bytes: the first byte of all, then the second of all, and so on."""
    planes = rounded(numbers, mantissa_bits).astype("<f4").view(np.uint8).reshape(-1, 4).T
    return gzip.compress(np.ascontiguousarray(planes).tobytes(), 9, mtime=0)

"""The folder that ``hypermeter export`` writes, read back: its description and its graphs."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid

FORMAT = 1
"""Of the folder; a player refuses others."""

TOLD = {
    "name",
    "num_drums",
    "width",
    "tracks",
    "kit",
    "grid",
    "plan_dim",
    "labels",
    "kinds",
    "state",
    "memory",
    "expression",
}
"""What ``meta.json`` must tell."""

GRID = ("steps_per_beat", "beats_per_bar", "bars_per_phrase", "beat_unit")
"""And of the grid."""


@dataclass(frozen=True)
class Folder:
    """An exported model.

    Args:
        path: of the folder.
        meta: what its ``meta.json`` says.
        threads: of ONNX Runtime, for each graph.
    """

    path: Path
    meta: dict[str, Any]
    threads: int = 1

    @classmethod
    def read(cls, path: str | Path, threads: int = 1) -> "Folder":
        """The folder, its description checked.

        Raises:
            HypermeterError: there is none, it cannot be read, or it is of another format.
        """
        path = Path(path)
        try:
            meta = json.loads((path / "meta.json").read_text("utf-8"))
        except OSError as error:
            reason = f"{path}: no meta.json to be read there ({error.strerror}); write the folder by hypermeter export"
            raise HypermeterError(reason) from error
        except ValueError as error:
            raise HypermeterError(
                f"{path / 'meta.json'}: not JSON; write the folder again by hypermeter export"
            ) from error
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            found = meta.get("format") if isinstance(meta, dict) else type(meta).__name__
            raise HypermeterError(f"{path / 'meta.json'}: format {found}, expected {FORMAT}; export the model again")
        if missing := sorted(TOLD - set(meta)):
            raise HypermeterError(f"{path / 'meta.json'}: nothing of {', '.join(missing)}; export the model again")
        if not isinstance(meta["grid"], dict) or (missing := sorted(set(GRID) - set(meta["grid"]))):
            lacks = ", ".join(missing) if isinstance(meta["grid"], dict) else "its sizes"
            raise HypermeterError(f"{path / 'meta.json'}: a grid without {lacks}; export the model again")
        return cls(path, meta, threads)

    @cached_property
    def grid(self) -> Grid:
        return Grid(**{name: self.meta["grid"][name] for name in GRID})

    def session(self, file: str) -> ort.InferenceSession:
        """A graph, ready to run.

        Raises:
            HypermeterError: the file is missing or damaged.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = self.threads
        options.log_severity_level = 3
        try:
            content = (self.path / file).read_bytes()
            return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except OSError as error:
            raise HypermeterError(f"{self.path / file}: cannot be read ({error.strerror}); export again") from error
        except Exception as error:  # ONNX Runtime has an exception for each kind of damage, and no common name for them
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise HypermeterError(f"{self.path / file}: not a graph that can be run ({first}); export again") from error

    def step_session(self) -> ort.InferenceSession:
        """``step.onnx``, checked against the description.

        Raises:
            HypermeterError: as ``session``; its inputs are not those that are described.
        """
        session = self.session("step.onnx")
        wanted = {f"state_{each['name']}": each["shape"] for each in self.meta["state"]} | {"x": [self.meta["width"]]}
        if self.meta["plan_dim"]:
            wanted["asked"] = [self.meta["plan_dim"]]
        if self.meta["memory"]:
            wanted["memory"] = [self.meta["memory"]["window"], self.meta["memory"]["size"]]
        found = {each.name: each.shape[1:] for each in session.get_inputs()}
        if found != wanted:
            name = min(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
            reason = f"input {name} is {found.get(name)}, meta.json says {wanted.get(name)}"
            raise HypermeterError(f"{self.path / 'step.onnx'}: {reason}; the files are of two models, export again")
        return session


def zeros(tensors: list[dict[str, Any]], rows: int) -> dict[str, np.ndarray]:
    """The tensors that ``meta.json`` lists, of so many rows, zero; the position -1."""
    state = {each["name"]: np.zeros((rows, *each["shape"]), each["dtype"]) for each in tensors}
    if "position" in state:
        state["position"] -= 1
    return state

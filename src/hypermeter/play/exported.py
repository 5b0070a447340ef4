"""A model that `hypermeter export` wrote, played step by step in ONNX Runtime."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.forms import anything, list_of, maybe, one_of, record, text, whole
from hypermeter.core.grid import Grid
from hypermeter.core.json_text import parse_json
from hypermeter.core.kit import Kit
from hypermeter.core.tracks import Track
from hypermeter.io.checkpoint import LABELS, MAX_VOICES
from hypermeter.play.arithmetic import log_softmax
from hypermeter.play.distribution import Mixture
from hypermeter.play.expressing import ExpressionDistribution
from hypermeter.play.layers import Array
from hypermeter.play.network import State
from hypermeter.play.plan import Labels, Plan
from hypermeter.play.steering import check_plan

FORMAT = 1
"""Format of the folder that can be read."""

MAX_BYTES = 2**20
"""Size of the largest `meta.json`."""

GRID_FIELDS = ("steps_per_beat", "beats_per_bar", "bars_per_phrase", "beat_unit")

_SIZE = whole(0, 2**14)
_TENSORS = list_of(record({"name": text(), "shape": list_of(_SIZE, 8), "dtype": one_of("float32", "int64")}), 100)
META = record(
    {
        "name": text(),
        "num_drums": whole(1, MAX_VOICES),
        "width": whole(1, 2**14),
        "tracks": list_of(record({"name": text()}), 16),
        "kit": anything,
        "grid": record(dict.fromkeys(GRID_FIELDS, anything)),
        "plan_dim": _SIZE,
        "labels": maybe(LABELS),
        "kinds": list_of(text(), 100),
        "state": _TENSORS,
        "memory": maybe(record({"steps_per_bar": whole(1, 2**10), "window": whole(1, 2**10), "size": _SIZE})),
        "expression": maybe(record({"state": _TENSORS})),
    }
)
"""Form of `meta.json`."""


@dataclass(frozen=True)
class Folder:
    """An exported model.

    Args:
        path: path of the folder.
        meta: content of its `meta.json`.
    """

    path: Path
    meta: dict[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> "Folder":
        """Read and check the folder's `meta.json`.

        Raises:
            HypermeterError: the file is missing, cannot be read, has another format or lacks a field.
        """
        path = Path(path)
        where = path / "meta.json"
        try:
            with open(where, "rb") as file:
                meta = parse_json(file.read(MAX_BYTES + 1), MAX_BYTES)
        except OSError as error:
            reason = f"{path}: no meta.json to be read there ({error.strerror}); make it with hypermeter export"
            raise HypermeterError(reason) from error
        except ValueError as error:
            raise HypermeterError(f"{where}: not JSON ({error}); export the model again") from error
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            version = meta.get("format") if isinstance(meta, dict) else type(meta).__name__
            raise HypermeterError(f"{where}: format {version}, expected {FORMAT}; export the model again")
        try:
            META(meta, "meta.json")
        except HypermeterError as error:
            raise HypermeterError(f"{path}: {error}; export the model again") from error
        return cls(path, meta)

    def session(self, file: str) -> Any:
        """Return an `onnxruntime.InferenceSession` for a graph of the folder.

        Raises:
            HypermeterError: the file is missing or damaged.
        """
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            content = (self.path / file).read_bytes()
            return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except OSError as error:
            raise HypermeterError(f"{self.path / file}: cannot be read ({error.strerror}); export again") from error
        except Exception as error:  # the exceptions of ONNX Runtime have no common base class
            line = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise HypermeterError(f"{self.path / file}: not a graph that can be run ({line}); export again") from error

    def step_session(self) -> Any:
        """Return the session of `step.onnx`, with its inputs checked against `meta.json`.

        Raises:
            HypermeterError: as `session`, or an input differs from `meta.json`.
        """
        session, meta = self.session("step.onnx"), self.meta
        expected = {f"state_{tensor['name']}": tensor["shape"] for tensor in meta["state"]} | {"x": [meta["width"]]}
        if meta["plan_dim"]:
            expected["asked"] = [meta["plan_dim"]]
        if meta["memory"]:
            expected["memory"] = [meta["memory"]["window"], meta["memory"]["size"]]
        inputs = {tensor.name: tensor.shape[1:] for tensor in session.get_inputs()}
        if inputs != expected:
            name = min(name for name in {*inputs, *expected} if inputs.get(name) != expected.get(name))
            reason = f"input {name} is {inputs.get(name)}, meta.json says {expected.get(name)}"
            raise HypermeterError(f"{self.path / 'step.onnx'}: {reason}; the files are of two models, export again")
        return session


def _zeros(tensors: list[dict[str, Any]], rows: int) -> dict[str, NDArray[Any]]:
    """Return zeros for tensors listed in `meta.json`; `rows` is the batch size."""
    return {tensor["name"]: np.zeros((rows, *tensor["shape"]), tensor["dtype"]) for tensor in tensors}


@dataclass(frozen=True)
class OnnxState(State):
    """State of an `OnnxNetwork` for a batch; immutable. It runs the graph when a result is first read.

    Args:
        network: the network that this is a state of.
        position: number of past steps.
        before: state tensors of the graph before the last step.
        memory: (rows, steps per bar, window, size), bar attention's memory before the last step; `None` without one.
        x: (rows, W), the last step.
        plan: (1 or rows, bars, dim), the embedded plan; `None` without a plan.
    """

    network: "OnnxNetwork"
    position: int
    before: dict[str, NDArray[Any]]
    memory: Array | None
    x: Array
    plan: Array | None = None

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def _results(self) -> dict[str, NDArray[Any]]:
        return self.network.run(self)

    @property
    def features(self) -> Array:
        return self._results["features"]

    @property
    def dist(self) -> Mixture:
        return Mixture(self._results["log_weights"], self._results["logits"])

    @property
    def free(self) -> Mixture:
        if "free_logits" not in self._results:
            return self.dist
        return Mixture(self._results["free_log_weights"], self._results["free_logits"])

    def select(self, rows: NDArray[np.int64]) -> "OnnxState":
        before = {name: tensor[rows] for name, tensor in self.before.items()}
        memory = None if self.memory is None else self.memory[rows]
        selected = OnnxState(self.network, self.position, before, memory, self.x[rows], self.plan_of_rows(rows))
        if "_results" in vars(self):
            vars(selected)["_results"] = {name: tensor[rows] for name, tensor in self._results.items()}
        return selected


class OnnxNetwork:
    """The `Network` of an exported folder.

    Args:
        folder: the exported model.

    Raises:
        HypermeterError: a file is missing or damaged, or the model has tracks beside the drums.
    """

    def __init__(self, folder: Folder):
        meta = folder.meta
        if meta["tracks"]:
            names = ", ".join(track["name"] for track in meta["tracks"])
            raise HypermeterError(f"{folder.path}: a model with tracks ({names}); play its checkpoint instead")
        self.folder, self.meta = folder, meta
        self.grid = Grid(**{name: meta["grid"][name] for name in GRID_FIELDS})
        self.kit = None if meta["kit"] is None else Kit.from_dict(meta["kit"])
        self.num_drums: int = meta["num_drums"]
        self.width: int = meta["width"]
        if (self.kit is not None and self.kit.num_voices != self.num_drums) or self.width != self.num_drums:
            raise HypermeterError(f"{folder.path}: a kit of other voices than the model; export the model again")
        self.tracks: tuple[Track, ...] = ()
        self.labels: Labels | None = meta["labels"]
        self._session = folder.step_session()
        self._outputs = [tensor.name for tensor in self._session.get_outputs()]
        self.expression = None if meta["expression"] is None else OnnxExpression(folder)

    @classmethod
    def read(cls, path: str | Path, kit: str | None = None) -> "OnnxNetwork":
        """Read a folder.

        Raises:
            HypermeterError: as the class and `Folder.read`, or the model's kit is not the kit named `kit`.
        """
        network = cls(Folder.read(path))
        if kit is not None and (network.kit is None or network.kit.name != kit):
            actual = "no kit" if network.kit is None else f"kit {network.kit.name}"
            raise HypermeterError(f"{path}: {actual} in the export, expected kit {kit}; use its kit or another model")
        return network

    @cached_property
    def _plan_session(self) -> Any:
        return self.folder.session("plan.onnx")

    def start(self, rows: int) -> OnnxState:
        before = _zeros(self.meta["state"], rows)
        before["position"] -= 1
        memory, size = None, self.meta["memory"]
        if size:
            memory = np.zeros((rows, size["steps_per_bar"], size["window"], size["size"]), np.float32)
        return OnnxState(self, 0, before, memory, np.zeros((rows, self.width), np.float32))

    def run(self, state: OnnxState) -> dict[str, NDArray[Any]]:
        """Return the outputs of the step graph after the state's last step."""
        rows, size = len(state), self.grid.steps_per_bar
        feeds = {f"state_{name}": tensor for name, tensor in state.before.items()} | {"x": state.x}
        if state.memory is not None:
            feeds["memory"] = np.ascontiguousarray(state.memory[:, state.position % size])
        if self.meta["plan_dim"]:
            plan = np.zeros((rows, self.meta["plan_dim"]), np.float32)
            if state.plan is not None:
                plan[:] = state.plan_of_bar()
            feeds["asked"] = plan
        return dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))

    def advance(self, x: NDArray[Any], state: OnnxState) -> OnnxState:
        outputs, memory, size = state._results, state.memory, self.grid.steps_per_bar
        if memory is not None and state.position > 0:
            last = state.position - 1
            memory = memory.copy()
            memory[:, last % size, last // size % memory.shape[2]] = outputs["remembered"]
        before = {name: outputs[f"next_{name}"] for name in state.before}
        return OnnxState(self, state.position + 1, before, memory, np.asarray(x, np.float32), state.plan)

    def embed(self, plan: Plan) -> Array:
        plan = check_plan(plan, self.labels, len(plan[0]))
        feeds = {"labels": plan.labels, "numbers": plan.numbers}
        return np.asarray(self._plan_session.run(["asked"], feeds)[0])


class OnnxExpression:
    """`ExpressionNetwork` of an exported folder, in ONNX Runtime."""

    def __init__(self, folder: Folder):
        self.folder, self.about = folder, folder.meta["expression"]
        self.num_drums: int = folder.meta["num_drums"]

    @cached_property
    def _session(self) -> Any:
        return self.folder.session("expression.onnx")

    def start(self, rows: int) -> dict[str, NDArray[Any]]:
        zeros = np.zeros((rows, self.num_drums), np.float32)
        silence = {f"last_{name}": zeros for name in ("hits", "velocity", "offset")}
        return {f"state_{name}": tensor for name, tensor in _zeros(self.about["state"], rows).items()} | silence

    def predict(
        self, features: Array, hits: NDArray[Any], tempo_bpm: Array, state: dict[str, NDArray[Any]], position: int
    ) -> tuple[ExpressionDistribution, dict[str, NDArray[Any]]]:
        feeds = state | {"features": features, "hits": np.asarray(hits, np.float32), "tempo_bpm": tempo_bpm}
        names = [tensor.name for tensor in self._session.get_outputs()]
        outputs = dict(zip(names, self._session.run(names, feeds), strict=True))
        after = {name: outputs.pop(name.replace("state_", "next_")) for name in state if name.startswith("state_")}
        values = {name: tensor.astype(np.float64) for name, tensor in outputs.items()}
        velocity, offset = ((values[f"{name}_mean"], values[f"{name}_scale"]) for name in ("velocity", "offset"))
        return ExpressionDistribution(log_softmax(values["log_weights"]), (velocity, offset)), after

    def advance(
        self, hits: NDArray[Any], velocity: Array, offset: Array, state: dict[str, NDArray[Any]], position: int
    ) -> dict[str, NDArray[Any]]:
        last = {"hits": np.asarray(hits, np.float32), "velocity": velocity, "offset": offset}
        return state | {f"last_{name}": np.asarray(tensor, np.float32) for name, tensor in last.items()}

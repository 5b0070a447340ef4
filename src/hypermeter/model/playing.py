"""Models in PyTorch, played by the engine of `play`: those of the package from their weights, others by their steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.tracks import Track
from hypermeter.io.checkpoint import Checkpoint
from hypermeter.model import heads
from hypermeter.model.plan import AnyPlan, as_tensors
from hypermeter.play.arithmetic import log_softmax
from hypermeter.play.distribution import Categorical, Distribution, Mixture
from hypermeter.play.expressing import ExpressionNetwork
from hypermeter.play.locks import Locks
from hypermeter.play.network import NumpyNetwork, State
from hypermeter.play.plan import Labels, Plan
from hypermeter.play.player import Player
from hypermeter.play.request import SamplingOptions


@runtime_checkable
class StreamingModel(Protocol):
    """Interface of a model in PyTorch for the engine and for rollouts.

    `init_state(rows)` returns the state before the first step, a value with `select(rows)`; `predict` returns the
    distribution of the next step (a `heads.Mixture` or `heads.SoftmaxWithEscape`), `advance` the state after a step.
    Optional: `width` (columns of a step, with tracks), `grid`, `kit`, `labels`, `tracks`, `features`, `plan_embedding`
    with `init_state(rows, plan)`, `expression`.
    """

    num_drums: int

    def init_state(self, batch_size: int) -> Any: ...
    def predict(self, state: Any) -> Any: ...
    def advance(self, x: Tensor, state: Any) -> Any: ...


def width_of(model: StreamingModel) -> int:
    """Return the columns of a step: the drum voices, and those of pitched tracks where the model has any."""
    return getattr(model, "width", model.num_drums)


def check_hits(hits: Any, width: int, what: str) -> None:
    """Raise `HypermeterError` if `hits` is not a tensor (batch, steps, width) of 0 and 1; `what` names it."""
    if not isinstance(hits, Tensor):
        raise HypermeterError(f"{what}: {type(hits).__name__}, expected a tensor; torch.from_numpy(hits).float()[None]")
    if hits.dim() != 3 or hits.shape[2] != width:
        raise HypermeterError(f"{what} of shape {tuple(hits.shape)}, expected (batch, steps, {width} voices)")
    if not ((hits == 0) | (hits == 1)).all():
        raise HypermeterError(f"{what}: values other than 0 and 1, expected hits and silences")


# ---------------------------------------------------------------------- stepping in PyTorch


@dataclass(frozen=True)
class TorchState(State):
    """State of a `TorchNetwork`, as a value; see `play.network.State`.

    Args:
        network: whose state it is.
        position: number of the next step.
        model_state: state of the model in PyTorch.
        rows: batch size.
        plan: (1 or rows, bars, dim), the embedded plan; `None` without.
    """

    network: "TorchNetwork"
    position: int
    model_state: Any
    rows: int
    plan: Any = None

    def __len__(self) -> int:
        return self.rows

    @cached_property
    def features(self) -> NDArray[np.float32]:
        with torch.no_grad():
            return self.network.model.features(self.model_state).float().cpu().numpy()

    @cached_property
    def free(self) -> Distribution:
        with torch.no_grad():
            return distribution_of(self.network.model.predict(self.model_state))

    @cached_property
    def dist(self) -> Distribution:
        if self.plan is None:
            return self.free
        with torch.no_grad():
            like = self.model_state.hidden
            plan = torch.from_numpy(np.ascontiguousarray(self.plan)).to(like).expand(self.rows, -1, -1)
            return distribution_of(self.network.model.predict(replace(self.model_state, plan=plan)))

    def select(self, rows: NDArray[np.int64]) -> "TorchState":
        model_state = self.model_state.select(torch.from_numpy(np.asarray(rows, np.int64)).to(self.network.device))
        return TorchState(self.network, self.position, model_state, len(rows), self.plan_of_rows(rows))


class TorchNetwork:
    """A model in PyTorch as a stepper over arrays, on any device; see `play.network.Network`.

    Args:
        model: in eval mode.
    """

    def __init__(self, model: StreamingModel):
        self.model: Any = model
        self.num_drums, self.width = model.num_drums, width_of(model)
        self.tracks: tuple[Track, ...] = tuple(getattr(model, "tracks", ()))
        self.grid: Grid = getattr(model, "grid", None) or Grid()
        self.grids: tuple[Grid, ...] = tuple(getattr(model, "grids", (self.grid,)))
        self.kit = getattr(model, "kit", None)
        self.labels: Labels | None = getattr(model, "labels", None)
        self.expression = None
        if getattr(model, "expression", None) is not None:
            weights = {f"expression.{name}": array for name, array in arrays_of(self.model.expression).items()}
            self.expression = ExpressionNetwork(weights, "expression", model.num_drums, self.grid.steps_per_bar)
        parameters = getattr(model, "parameters", lambda: iter(()))
        like = next(parameters(), None)
        self.device, self.dtype = (None, torch.float32) if like is None else (like.device, like.dtype)

    def on(self, grid: Grid) -> "TorchNetwork":
        """Return the model on another grid.

        Raises:
            HypermeterError: a model that serves one grid only.
        """
        if not hasattr(self.model, "on"):
            raise HypermeterError(f"{type(self.model).__name__}: a model in {self.grid.metre}, not in {grid.metre}")
        return TorchNetwork(self.model.on(grid))

    def start(self, rows: int) -> TorchState:
        with torch.no_grad():
            return TorchState(self, 0, self.model.init_state(rows), rows)

    def advance(self, x: NDArray[Any], state: TorchState) -> TorchState:
        with torch.no_grad():
            hits = torch.tensor(np.asarray(x), dtype=self.dtype, device=self.device)
            after = self.model.advance(hits, state.model_state)
            return TorchState(self, state.position + 1, after, state.rows, state.plan)

    def embed(self, plan: Plan) -> NDArray[np.float32]:
        with torch.no_grad():
            state = self.model.init_state(len(plan.labels), as_tensors(plan).to(self.device))
            return state.plan.float().cpu().numpy()


def distribution_of(dist: Any) -> Distribution:
    """Return a distribution of `heads` as the engine's, in NumPy."""
    if isinstance(dist, heads.Mixture):
        log_weights, logits = (tensor.double().cpu().numpy() for tensor in (dist.log_weights, dist.logits))
        return Mixture(log_weights, logits, dist.groups)
    if isinstance(dist, heads.SoftmaxWithEscape):
        log_probs, logits = (tensor.double().cpu().numpy() for tensor in (dist.log_probs_known, dist.logits))
        return Categorical(log_softmax(log_probs), logits, dist.known.cpu().numpy().astype(np.uint8))
    raise HypermeterError(f"a distribution of {type(dist).__name__}, expected a Mixture or a SoftmaxWithEscape")


def arrays_of(module: torch.nn.Module) -> dict[str, NDArray[Any]]:
    """Return copies of the weights of a module as NumPy arrays."""
    state = module.state_dict()
    return {name: (x.float() if x.is_floating_point() else x).numpy(force=True).copy() for name, x in state.items()}


def is_for_engine(model: Any) -> bool:
    """Return whether the engine plays the model as fast as it can be: all of the package, on a CPU, in single."""
    if not getattr(model, "is_stock", False):
        return False
    return all(x.device.type == "cpu" and x.dtype == torch.float32 for x in model.parameters())


def player_of(model: Any, name: str = "model") -> Player:
    """Return the engine's player of a model in PyTorch.

    A `HierarchicalDrumModel` of the package's parts is played from its present weights, in NumPy on the CPU. Any other
    model that is a `StreamingModel` is played by its own steps, on its device.

    Args:
        model: in eval mode.
        name: of the model, for messages.
    """
    if getattr(model, "is_stock", False):
        return Player(NumpyNetwork(Checkpoint(model.config, model.grid, model.kit, arrays_of(model))), name)
    return Player(TorchNetwork(model), name)


def generate(
    model: StreamingModel,
    start_seq: Float[Tensor, "#B T0 V"] | None = None,
    length: int = 512,
    temperature: float = 1.0,
    *,
    include_primer: bool = True,
    context: Float[Tensor, "#B T1 V"] | None = None,
    plan: AnyPlan | None = None,
    guidance: float = 1.0,
    locks: Locks | None = None,
    top_p: float = 1.0,
    voice_bias: Sequence[float] | Float[Tensor, " V"] | None = None,
    seed: int | None = 0,
    batch_size: int = 1,
) -> Float[Tensor, "B T V"]:
    """Return `length` steps of music after the primer, sampled by the engine.

    Args:
        model: in eval mode, see `player_of`.
        start_seq: primer, of any length; `None` starts from nothing.
        length: new steps, at least 0.
        temperature: see `SamplingOptions`, also for top_p, guidance and seed.
        include_primer: return the primer before the new steps: T0 + length in all. A context is never returned.
        context: music before the primer.
        plan: per-bar conditions, counted from the first bar of context and primer, for a model with labels: a
            `model.plan.Plan` or a `play.plan.Plan`.
        guidance: strength of the plan beyond that of the model itself.
        locks: cells that are fixed, from the first new step on.
        top_p: see `SamplingOptions`.
        voice_bias: V values, added to the log odds of a hit of each voice.
        seed: the same seed gives the same music; `None` chooses one at random.
        batch_size: rows, where neither primer nor context has several.

    Raises:
        HypermeterError: an argument that does not fit.
    """
    player, arrays = player_of(model), []
    for name, hits in (("context", context), ("primer", start_seq)):
        if hits is not None:
            check_hits(hits, width_of(model), name)
        arrays.append(None if hits is None else hits.detach().cpu().numpy())
    rows = max([len(hits) for hits in arrays if hits is not None], default=batch_size)
    bias: dict[str, float] = {}
    if voice_bias is not None:
        values = [float(value) for value in voice_bias]
        if len(values) != model.num_drums:
            raise HypermeterError(f"voice_bias of {len(values)} values, expected {model.num_drums}, one a voice")
        bias = dict(zip(player.voices, values, strict=True))
    if plan is not None:
        plan = Plan(*(np.asarray(part.cpu() if isinstance(part, Tensor) else part) for part in plan))
    generated = player.generate(
        length,
        arrays[1],
        SamplingOptions(temperature, top_p, bias, guidance, seed),
        context=arrays[0],
        plan=plan,
        locks=locks,
        rows=batch_size if rows == 1 else rows,
    )
    like = start_seq
    if like is None:
        like = next(iter(getattr(model, "parameters", lambda: ())()), torch.zeros(0))
    new = torch.from_numpy(generated).to(like)
    if not include_primer or start_seq is None:
        return new
    return torch.cat([start_seq.expand(len(new), -1, -1), new], 1)

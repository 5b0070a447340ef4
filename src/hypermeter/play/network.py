"""A trained model in NumPy, step by step: `NumpyNetwork` returns the distribution of the next step after each step.

It computes the same as `model.HierarchicalDrumModel`, from the weights of a checkpoint, for a batch of pieces that are
all at the same step. The contributions of the position in the phrase to the first maps are computed once.
"""

from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit
from hypermeter.core.parts import Parts
from hypermeter.core.tracks import Track, track_groups
from hypermeter.io.checkpoint import Checkpoint
from hypermeter.play.arithmetic import gelu
from hypermeter.play.distribution import Distribution
from hypermeter.play.expressing import ExpressionNetwork
from hypermeter.play.following import Following, FollowState, Rhythm
from hypermeter.play.heads import Head
from hypermeter.play.layers import Array, BarAttention, LayerNorm, Linear, Recurrent, Tape, Transformer, Weights
from hypermeter.play.places import check_look_back, nearest_steps, place_features, regridding, table_error
from hypermeter.play.plan import Labels, Plan
from hypermeter.play.steering import SETTLED, PlanEmbedding, Steering, check_plan


class lazy:
    """`functools.cached_property` without its lock, which takes longer than some of what a state computes.

    Two threads may both compute a value, with the same result.
    """

    def __init__(self, function: Any):
        self.function, self.name = function, function.__name__

    def __get__(self, state: Any, owner: Any = None) -> Any:
        value = state.__dict__[self.name] = self.function(state)
        return value


NOT_LEARNT = "the model has not learnt to follow taps; follow them the exact way, or train it with --only follow"
LOOK_BACK_BARS = (1, 2, 4)
MAX_GRIDS = 16
"""Most grids on which a network is kept; on others it is made again."""

LOOK_BACK_STEPS = 4
"""Steps of an earlier bar that are an input, from the step of the bar that is predicted onwards."""


class State(Protocol):
    """State of a `Network` for a batch; immutable.

    `position` is the number of past steps; `plan` is the embedded plan (1 or rows, bars, dim), `None` without one;
    `features` (rows, H) determine the distribution of the next step; `dist` is that distribution under the plan, and
    `free` without a plan. `select` returns the state of some rows, in their order; a row may occur more than once.
    """

    network: Any
    position: int
    plan: Array | None

    @property
    def features(self) -> Array: ...
    @property
    def dist(self) -> Any: ...
    @property
    def free(self) -> Any: ...
    def __len__(self) -> int: ...
    def select(self, rows: NDArray[np.int64]) -> Any: ...

    def with_plan(self, plan: Array | None) -> Any:
        """Return the state with another embedded plan. Plans are no input of the encoders, so nothing else changes."""
        return replace(self, plan=plan)  # pyright: ignore[reportArgumentType] # states are dataclasses

    def plan_of_rows(self, rows: NDArray[np.int64]) -> Array | None:
        """Return the embedded plan of some rows."""
        return self.plan if self.plan is None or len(self.plan) == 1 else self.plan[rows]

    def plan_of_bar(self) -> Array:
        """Return the embedded plan (rows, dim) of the bar of the next step; the last bar holds for all later bars."""
        assert self.plan is not None
        bar = min(self.position // self.network.grid.steps_per_bar, self.plan.shape[1] - 1)
        return np.broadcast_to(self.plan[:, bar], (len(self), self.plan.shape[2]))


class Network(Protocol):
    """A model that a player can use: in NumPy, in ONNX Runtime or in PyTorch.

    `start` returns the state before the first step, `advance` the state after a step (rows, width). `embed` returns the
    embedded plan (1 or rows, bars, dim) that `State.with_plan` takes; its last bar holds for all later bars.
    `expression` is None if the model has none.
    """

    num_drums: int
    width: int
    tracks: tuple[Track, ...]
    grid: Grid
    kit: Kit | None
    labels: Labels | None
    expression: Any

    def start(self, rows: int) -> Any: ...
    def advance(self, x: NDArray[Any], state: Any) -> Any: ...
    def embed(self, plan: Plan) -> Array: ...


@dataclass(eq=False)
class NumpyState(State):
    """State of a `NumpyNetwork` for a batch; immutable, though a frozen dataclass would take longer to make.

    Args:
        network: the network that this is a state of.
        position: number of past steps.
        hidden: (rows, H), output of the step encoder.
        of_state: (rows, columns), the bar attention's query, key and value of the state; `hidden` without attention.
        step, bar, phrase: states of the encoders.
        levels: three of (rows, H): contributions of the bar and phrase levels to the features, and their sum.
        sums: sums of step outputs and hits since the bar began, then of outputs and hits of the phrase's past bars.
        history: tape of past steps.
        memory: tapes of the bar attention, one per step of the bar.
        plan: (1 or rows, bars, dim), the embedded plan; `None` without a plan.
        skipped: past steps that the position does not count, as it counts all bars as those of the present metre.
        following: taps that are followed; `None` without.
    """

    network: "NumpyNetwork"
    position: int
    hidden: Array
    of_state: Array
    step: tuple[Any, ...]
    bar: tuple[Any, ...]
    phrase: tuple[Any, ...]
    levels: tuple[Array, Array, Array]
    sums: tuple[Array, Array, Array, Array]
    history: Tape
    memory: tuple[Tape, ...]
    plan: Array | None = None
    skipped: int = 0
    following: FollowState | None = None

    def __len__(self) -> int:
        return len(self.hidden)

    @lazy
    def _outputs(self) -> tuple[Array, Array | None]:
        return self.network.read(self)

    @property
    def features(self) -> Array:
        """(rows, H), features that determine the distribution of the next step, the same under any plan."""
        return self._outputs[0]

    @lazy
    def free(self) -> Distribution:
        """The distribution of the next step without a plan."""
        return self._steered(None)

    @property
    def dist(self) -> Distribution:
        """The distribution of the next step under the plan."""
        return self.free if self.plan is None else self._planned

    @lazy
    def _planned(self) -> Distribution:
        network = self.network
        assert network.steering is not None
        return self._steered(network.steering(self.plan_of_bar(), self.sums[1], self.position))

    @lazy
    def _followed(self) -> tuple[Array, Array] | None:
        following, (features, recalled) = self.network.following, self._outputs
        return None if self.following is None or following is None else following(features, recalled, self.following)

    def _steered(self, planned: tuple[Array, Array] | None) -> Distribution:
        """Return the distribution of the next step under what a plan changes, and what taps change."""
        features, recalled = self._outputs
        given = planned, self._followed
        for part in given:
            if part is not None and recalled is not None and part[1].shape[1]:
                recalled = recalled * (1 + part[1][..., None])
        return self.network.head(features, recalled, *(None if part is None else part[0] for part in given))

    def with_rhythm(self, rhythm: Rhythm) -> "NumpyState":
        """Return the state from which on taps are followed, whose first step is the next one.

        Raises:
            HypermeterError: a model that has not learnt to follow.
        """
        if self.network.following is None:
            raise HypermeterError(NOT_LEARNT)
        return replace(self, following=self.network.following.start(rhythm, len(self)))

    def select(self, rows: NDArray[np.int64]) -> "NumpyState":
        def chosen(part: Any) -> Any:
            if isinstance(part, tuple):
                return tuple(chosen(item) for item in part)
            return part.select(rows) if isinstance(part, Tape) else part[rows]

        parts = (getattr(self, field.name) for field in fields(self)[2:-3])
        plan = self.plan_of_rows(rows)
        following = None if self.following is None else self.following.select(rows)
        steered = {"plan": plan, "skipped": self.skipped, "following": following}
        return NumpyState(self.network, self.position, *map(chosen, parts), **steered)


def _places(weights: Weights, grid: Grid) -> Array:
    """Return the embedding of each step of a phrase, (steps, dim): from its features, or of a table."""
    if "position_embedding.inner.weight" in weights:
        inner, out = (Linear.of(weights, f"position_embedding.{name}") for name in ("inner", "out"))
        return out(gelu(inner(place_features(grid))))
    table = weights.get("position_embedding.weight")
    if table is None:
        return np.zeros((grid.steps_per_phrase, 0), np.float32)
    return np.asarray(table, np.float32)


class NumpyNetwork:
    """The network of a checkpoint in NumPy.

    Args:
        checkpoint: a checkpoint of `model.HierarchicalDrumModel`.

    Raises:
        HypermeterError: the model has custom encoders.
    """

    def __init__(self, checkpoint: Checkpoint):
        config, weights, grid = checkpoint.config, checkpoint.tensors, checkpoint.grid
        self._checkpoint = checkpoint
        self._on: dict[Grid, NumpyNetwork] = {grid: self}
        self.serves_every_grid = "position_embedding.weight" not in weights
        self.grids: tuple[Grid, ...] = tuple(map(Grid.from_dict, config.get("grids", ()))) or (grid,)
        parts = Parts.from_options(config)
        self.grid, self.kit, self.num_drums = grid, checkpoint.kit, config["num_drums"]
        self.labels: Labels | None = config.get("labels")
        self.tracks = tuple(Track.from_dict(track) for track in config.get("tracks", ()))
        self.groups = track_groups(self.num_drums, self.tracks)
        self.width = self.num_drums + sum(track.size for track in self.tracks)
        self.hidden_dim = config["step_hidden_dim"]

        def encoder(name: str) -> Recurrent | Transformer:
            if config.get("use_transformer"):
                return Transformer(weights, name, parts.attention_window)
            return Recurrent(weights, name, config.get("cell", "gru"))

        if custom := config.get("encoders"):
            reason = "play it through PyTorch: hypermeter.load(path, encoders=...).player()"
            raise HypermeterError(f"the checkpoint lacks its custom encoders ({', '.join(custom)}); {reason}")
        self.step_rnn, self.bar_rnn, self.phrase_rnn = map(encoder, ("step_rnn", "bar_rnn", "phrase_rnn"))
        self.step_to_bar, self.bar_to_phrase = (Linear.of(weights, name) for name in ("step_to_bar", "bar_to_phrase"))
        lags = LOOK_BACK_BARS if parts.look_back else ()
        ahead = min(LOOK_BACK_STEPS, grid.steps_per_bar)
        self.past = max(lags, default=0) * grid.steps_per_bar
        back = [bars * grid.steps_per_bar - step for bars in lags for step in range(ahead)]
        self.look_back = np.array([1, *back])  # steps before the next one; 1 is the last step
        self._read_input(weights)
        self.attention = None
        if parts.bar_attention:
            self.attention = BarAttention(weights, "bar_attention", self.width, parts.attention_bars)
        self.hear_bar, self.hear_phrase = (
            Linear.of(weights, name) if f"{name}.weight" in weights else None for name in ("hear_bar", "hear_phrase")
        )
        self.feature_norm, self.unmix = LayerNorm(weights, "feature_norm"), Linear.of(weights, "unmix")
        mix = Linear.of(weights, "mix")
        self.mix = mix.weight[: self.hidden_dim]
        self.mix_of_place = self.places @ mix.weight[self.hidden_dim :] + mix.bias
        num_scores = weights["output_layer.project.weight"].shape[0]
        self.embedding = self.steering = self.following = to_scores = None
        if self.labels is not None:
            self.embedding = PlanEmbedding(weights, "plan_embedding", self.num_drums)
            self.steering = Steering(
                weights, "steering", self.places, self.num_drums, self.width, num_scores, grid.steps_per_bar
            )
            to_scores = self.steering.to_scores
        of_taps = None
        if config.get("use_follow"):
            sizes = self.width, num_scores, self.hidden_dim, grid.steps_per_bar
            self.following = Following(weights, "follow", self.places, *sizes)
            of_taps = self.following.to_scores
        kind = config.get("output", "mixture")
        self.head = Head(weights, "output_layer", kind, self.width, self.groups, (to_scores, of_taps))
        self.expression = None
        if config.get("use_expression"):
            self.expression = ExpressionNetwork(weights, "expression", self.num_drums, grid.steps_per_bar)

    def _read_input(self, weights: Weights) -> None:
        """Split the step encoder's input map by input: past hits, position in the phrase, flag of the first step."""
        size = self.width * len(self.look_back)
        weight = self.step_rnn.input_weight
        bias = (self.step_rnn.into[0] if isinstance(self.step_rnn, Recurrent) else self.step_rnn.embed).bias
        self.places = _places(weights, self.grid)
        self.into_of_hits = np.ascontiguousarray(weight[:size])
        self.into_of_place = self.places @ weight[size + 1 :] + bias
        self.into_of_first = weight[size]

    def on(self, grid: Grid) -> "NumpyNetwork":
        """Return the network on another grid, in any metre.

        Raises:
            HypermeterError: a network whose places are a table of one grid, or a bar of too few steps.
        """
        if (known := self._on.get(grid)) is not None:
            return known
        if not self.serves_every_grid:
            raise table_error(grid)
        check_look_back(grid, min(LOOK_BACK_STEPS, self.grid.steps_per_bar))
        network = NumpyNetwork(replace(self._checkpoint, grid=grid))
        network._on = self._on
        if len(self._on) >= MAX_GRIDS:  # Whoever asks for ever other grids costs time, not memory.
            with suppress(KeyError, RuntimeError, StopIteration):  # Another thread may have done the same.
                del self._on[next(other for other in self._on if other != self.grid)]
        self._on[grid] = network
        return network

    # ------------------------------------------------------------------ stepping

    def start(self, rows: int) -> NumpyState:
        """Return the state before the first step; `rows` is the batch size."""
        hidden, step = self.step_rnn.step_from(
            np.repeat((self.into_of_place[0] + self.into_of_first)[None], rows, 0), self.step_rnn.init_state(rows), 0
        )
        zeros = np.zeros((rows, self.hidden_dim), np.float32)
        silence = np.zeros((rows, self.width), np.float32)
        history = self._tape(np.zeros((max(self.past, 1), rows, self.width), np.float32))
        memory = ()
        if self.attention is not None:
            memory = tuple(self.attention.new_tape(rows) for _ in range(self.grid.steps_per_bar))
        bar, phrase = self.bar_rnn.init_state(rows), self.phrase_rnn.init_state(rows)
        sums = zeros, silence, np.zeros((rows, self.bar_rnn.size), np.float32), silence
        of_state = self._of_state(hidden)
        return NumpyState(self, 0, hidden, of_state, step, bar, phrase, (zeros, zeros, zeros), sums, history, memory)

    def _tape(self, steps: Array) -> Tape:
        """Return the history of past steps (steps, rows, W)."""
        tape = Tape(steps.shape[1], self.width, max(self.past, 1), 2 * max(self.past, 1))
        for x in steps:
            tape = tape.append(x)
        return tape

    def _of_state(self, hidden: Array) -> Array:
        return hidden if self.attention is None else self.attention.of_state(hidden)

    def advance(self, x: NDArray[Any], state: NumpyState, then: "NumpyNetwork | None" = None) -> NumpyState:
        """Return the state after a step (rows, width) of 0 and 1.

        Args:
            x: the step.
            state: before it.
            then: this network on the grid of the next bar, where the metre changes after the last step of one. What
                was heard stays: bars count on, a step hears those of earlier bars that are nearest to its place, see
                `play.places`, and each bar of a phrase weighs as much as another.

        Raises:
            HypermeterError: `then` within a bar.
        """
        x = np.asarray(x, np.float32)
        position, grid = state.position + 1, self.grid
        if then is not None and position % grid.steps_per_bar:
            raise HypermeterError(f"model: the metre changes after step {position}, which ends no bar")
        memory = state.memory
        if self.attention is not None:
            place = state.position % grid.steps_per_bar
            tape = self.attention.remember(state.of_state, x, memory[place])
            memory = (*memory[:place], tape, *memory[place + 1 :])
        following = None if state.following is None else state.following.advance(x)
        history, network, place = state.history.append(x), self, position
        if then is not None:
            history, memory = self._regridded(history, then), self._remembered(memory, then)
            network, place = then, position // grid.steps_per_bar * then.grid.steps_per_bar
        heard = history.back(network.look_back)
        if then is not None:
            heard[:, 0] = x
        into = heard.reshape(len(x), -1).dot(self.into_of_hits)
        into += network.into_of_place[place % len(network.into_of_place)]
        hidden, step = self.step_rnn.step_from(into, state.step, position + state.skipped)
        bar, phrase, levels = state.bar, state.phrase, state.levels
        bar_states, bar_hits, phrase_states, phrase_hits = state.sums
        bar_states, bar_hits = bar_states + hidden, bar_hits + x
        if position % grid.steps_per_bar == 0:
            bar_means = np.concatenate([bar_states, bar_hits], 1) / np.float32(grid.steps_per_bar)
            number = position // grid.steps_per_bar - 1
            output, bar = self.bar_rnn.step(self.step_to_bar(bar_means), bar, number)
            phrase_states, phrase_hits = phrase_states + output, phrase_hits + bar_hits
            bar_states, bar_hits = np.zeros_like(bar_states), np.zeros_like(bar_hits)
            of_bar, of_phrase, _ = levels
            of_bar = of_bar if self.hear_bar is None else self.hear_bar(output)
            if position % grid.steps_per_phrase == 0:
                means = (
                    phrase_states / np.float32(grid.bars_per_phrase),
                    phrase_hits / np.float32(grid.steps_per_phrase),
                )
                number = position // grid.steps_per_phrase - 1
                output, phrase = self.phrase_rnn.step(self.bar_to_phrase(np.concatenate(means, 1)), phrase, number)
                phrase_states, phrase_hits = np.zeros_like(phrase_states), np.zeros_like(phrase_hits)
                of_phrase = of_phrase if self.hear_phrase is None else self.hear_phrase(output)
            levels = of_bar, of_phrase, of_bar + of_phrase
        if then is not None:
            phrase_hits = phrase_hits * np.float32(then.grid.steps_per_bar / grid.steps_per_bar)
        sums = bar_states, bar_hits, phrase_states, phrase_hits
        of_state, skipped = self._of_state(hidden), state.skipped + position - place
        levels_after = step, bar, phrase, levels, sums, history, memory
        return NumpyState(network, place, hidden, of_state, *levels_after, state.plan, skipped, following)

    def _regridded(self, history: Tape, then: "NumpyNetwork") -> Tape:
        """Return the past steps as those of bars of another grid."""
        before, after = self.grid, then.grid
        if not self.past:
            return history
        bars = self.past // before.steps_per_bar
        old = history.back(np.arange(self.past, 0, -1))
        old = old.reshape(len(old), bars, before.steps_per_bar, self.width)
        new = np.einsum("ns,bksv->knbv", regridding(before, after), old).clip(max=1)
        return then._tape(new.reshape(-1, *new.shape[2:]))

    def _remembered(self, memory: tuple[Tape, ...], then: "NumpyNetwork") -> tuple[Tape, ...]:
        """Return the memory of the bar attention as one of the steps of another grid."""
        return tuple(memory[step] for step in nearest_steps(self.grid, then.grid).tolist()) if memory else ()

    def read(self, state: NumpyState) -> tuple[Array, Array | None]:
        """Return the features of the next step (rows, H), and the hits recalled from earlier bars (rows, heads, W)."""
        recalled = None
        hidden = state.hidden + state.levels[2]
        if self.attention is not None:
            tape = state.memory[state.position % self.grid.steps_per_bar]
            attended, recalled = self.attention.recall(state.of_state, tape)
            hidden += attended
        features = self.feature_norm(hidden)
        mixed = features.dot(self.mix)
        mixed += self.mix_of_place[state.position % len(self.mix_of_place)]
        features = features + self.unmix(gelu(mixed))
        return features, recalled if self.head.repeat is not None else None

    def embed(self, plan: Plan) -> Array:
        """Return the embedded plan for `State.with_plan`, (1 or rows, bars + SETTLED, dim).

        Raises:
            HypermeterError: the model was made without labels, or a label is outside its vocabulary.
        """
        plan = check_plan(plan, self.labels, len(plan[0]))
        assert self.embedding is not None
        return self.embedding(plan.bars(0, plan.num_bars + SETTLED))

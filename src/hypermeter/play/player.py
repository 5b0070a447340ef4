"""The player: samples hits from a model, step by step, and their velocity and offset.

Command line, Python, server, live playing and notebooks use `Player`; the same seed, model and options give the same
music in all of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid, GridChoice
from hypermeter.core.groove import DEFAULT_VELOCITY, Groove
from hypermeter.core.kit import Kit
from hypermeter.core.tracks import Track, track_groups
from hypermeter.play.articulating import (
    CHANNELS,
    ArticulationNetwork,
    ArticulationSampler,
    openness_of,
    strokes_of,
)
from hypermeter.play.expressing import ExpressionSampler
from hypermeter.play.form import sections_of
from hypermeter.play.locks import Locks
from hypermeter.play.network import Network, State
from hypermeter.play.plan import Labels, Plan
from hypermeter.play.random import choose_seed
from hypermeter.play.request import SamplingOptions
from hypermeter.play.rules import Rules
from hypermeter.play.state import Hits, Passage, PlayerState, Single
from hypermeter.play.steering import check_plan
from hypermeter.play.streaming import draw_steps


@dataclass(frozen=True)
class Player:
    """The engine with a model.

    Args:
        network: the model.
        name: of the model, for messages.
        before_step: called before each step; it may raise to end the work.
    """

    network: Network
    name: str = "model"
    before_step: Callable[[], None] | None = None

    @property
    def grid(self) -> Grid:
        return self.network.grid

    @property
    def kit(self) -> Kit | None:
        return self.network.kit

    @property
    def labels(self) -> Labels | None:
        """The vocabulary for `plan.make_plan`; `None` for a model that takes no plans."""
        return self.network.labels

    @property
    def tracks(self) -> tuple[Track, ...]:
        return self.network.tracks

    @property
    def num_drums(self) -> int:
        return self.network.num_drums

    @property
    def width(self) -> int:
        """Columns of a step: the voices, and those of the tracks."""
        return self.network.width

    @property
    def voices(self) -> tuple[str, ...]:
        """Names of the voices; their numbers where the model has no kit."""
        return self.network.kit.names if self.network.kit is not None else tuple(map(str, range(self.num_drums)))

    @property
    def has_expression(self) -> bool:
        """Whether the model has learnt velocity and offset."""
        return self.network.expression is not None

    @property
    def grids(self) -> tuple[Grid, ...]:
        """Grids that the model was trained on."""
        return getattr(self.network, "grids", (self.grid,))

    @property
    def grid_choice(self) -> Grid | GridChoice:
        """The grid on which a file is read for the model: any that fits the file, or the one that the model serves."""
        if getattr(self.network, "serves_every_grid", False):
            return GridChoice(bars_per_phrase=self.grid.bars_per_phrase)
        return self.grid

    @property
    def articulation(self) -> ArticulationNetwork | None:
        """What has learnt strokes and openness; `None` if the model has not."""
        return getattr(self.network.expression, "articulation", None)

    def on(self, grid: Grid) -> "Player":
        """Return the player of the model on another grid, in any metre.

        Raises:
            HypermeterError: a model that serves one grid only.
        """
        if grid == self.grid:
            return self
        network: Any = self.network
        if not hasattr(network, "on"):
            raise HypermeterError(f"{self.name}: it was exported in {self.grid.metre}; export it in {grid.metre}")
        return replace(self, network=network.on(grid))

    def on_grid_of(self, groove: Groove | None) -> "Player":
        """Return the player on the grid of a groove, if the model plays every metre; else this one."""
        if not isinstance(groove, Groove) or isinstance(self.grid_choice, Grid):
            return self
        return self.on(groove.grid)

    # ------------------------------------------------------------------ states

    def start(self, rows: int = 1, plan: Plan | None = None) -> State:
        """Return the state before the first step.

        Args:
            rows: batch size.
            plan: of 1 row or `rows`, from the first bar on.

        Raises:
            HypermeterError: a plan that does not fit.
        """
        if rows < 1:
            raise HypermeterError(f"rows is {rows}, expected at least 1")
        return self.with_plan(self.network.start(rows), plan)

    def with_plan(self, state: State, plan: Plan | None) -> State:
        """Return the state under another plan, which is counted from the first bar of all."""
        if plan is None:
            return state.with_plan(None)
        return state.with_plan(self.network.embed(check_plan(plan, self.labels, len(state))))

    def advance(self, x: NDArray[Any], state: State, then: "Player | None" = None) -> State:
        """Return the state after a step (rows, width).

        Args:
            x: the step.
            state: before it.
            then: the player on the grid of the next bar, see `on`, where the metre changes after the step.

        Raises:
            HypermeterError: a step of another shape; a change of metre within a bar.
        """
        if np.shape(x) != (len(state), self.width):
            raise HypermeterError(f"step of shape {np.shape(x)}, expected ({len(state)}, {self.width})")
        if self.before_step is not None:
            self.before_step()
        network: Any = self.network
        return network.advance(x, state) if then is None else network.advance(x, state, then.network)

    def consume(self, hits: ArrayLike, state: State) -> State:
        """Return the state after hits (T, W) or (rows, T, W).

        Raises:
            HypermeterError: hits of another shape, or not of 0 and 1.
        """
        for x in self.columns(hits, len(state), "primer").swapaxes(0, 1):
            state = self.advance(x, state)
        return state

    def columns(self, hits: ArrayLike, rows: int, what: str) -> Hits:
        """Return hits (T, W) or (1 or rows, T, W) as (rows, T, W), checked.

        Raises:
            HypermeterError: another shape, or values other than 0 and 1; it names `what`.
        """
        array = np.asarray(hits)
        whole = array[None] if array.ndim == 2 else array
        if whole.ndim != 3 or whole.shape[2] != self.width or len(whole) not in (1, rows):
            expected = f"(steps, {self.width}), or as many for each of {rows} rows"
            raise HypermeterError(f"{what} of shape {array.shape}, expected {expected}")
        if not ((whole == 0) | (whole == 1)).all():
            raise HypermeterError(f"{what}: values other than 0 and 1, expected hits and silences")
        for track, (start, stop) in zip(self.tracks, track_groups(self.num_drums, self.tracks), strict=True):
            if (whole[..., start:stop].sum(-1) > 1).any():
                raise HypermeterError(f"{what}: two notes of {track.name} in a step, expected one note or none")
        return np.broadcast_to(whole.astype(np.uint8), (rows, *whole.shape[1:]))

    def log_prob(self, hits: ArrayLike, plan: Plan | None = None) -> NDArray[np.float64]:
        """Return log p of each step given all before it, in nats.

        Args:
            hits: (T, W) or (B, T, W).
            plan: of 1 row or B.

        Returns:
            (T,) or (B, T).
        """
        rows = len(np.asarray(hits)) if np.ndim(hits) == 3 else 1
        columns = self.columns(hits, rows, "hits")
        state = self.start(rows, plan)
        log_probs = np.zeros(columns.shape[:2])
        for step in range(columns.shape[1]):
            log_probs[:, step] = state.dist.log_prob(columns[:, step])
            if step + 1 < columns.shape[1]:
                state = self.advance(columns[:, step], state)
        return log_probs if np.ndim(hits) == 3 else log_probs[0]

    # ------------------------------------------------------------------ drawing hits

    def rules(self, sampling: SamplingOptions, plan: Plan | None = None) -> Rules:
        """Return the sampling rules, with a seed; the guidance is 0 unless the plan has conditions beside the tempo.

        Raises:
            HypermeterError: a bias of a voice that the model does not have.
        """
        names, bias = self.voices, np.zeros(self.width)
        for name, value in sampling.bias.items():
            if name not in names:
                raise HypermeterError(f"bias: no voice {name!r} in the model; it has {', '.join(names)}")
            bias[names.index(name)] = value
        guidance = sampling.guidance if plan is not None and plan.asks else 0.0
        seed = choose_seed(sampling.seed)
        return Rules(sampling.temperature, sampling.top_p, guidance, seed, bias if bias.any() else None)

    def draw(
        self,
        state: State,
        rules: Rules,
        uniforms: NDArray[np.float64],
        lock: Any = None,
        given: Any = None,
        position: int | None = None,
    ) -> Hits:
        """Return the next step (rows, W) of each row, at the position of the state or another; see `Rules.draw`."""
        free = state.free if rules.guidance else None
        position = state.position if position is None else position
        return rules.draw(state.dist, free, uniforms, position, lock, given)

    def stream(
        self,
        primer: ArrayLike | None = None,
        sampling: SamplingOptions = SamplingOptions(),
        *,
        context: ArrayLike | None = None,
        plan: Plan | None = None,
        locks: Locks | None = None,
        rows: int | None = None,
        state: State | None = None,
        first_row: int = 0,
    ) -> Iterator[Hits]:
        """Yield steps (rows, W) without end, each sampled given all before it.

        The cost of a step does not grow with what came before.

        Args:
            primer: hits, (T, W) or (rows, T, W), of music to continue; not yielded. It should begin on a bar line.
            sampling: how steps are sampled.
            context: hits before the primer, of any length.
            plan: counted from the first bar of context and primer.
            locks: from the first new step on. The other cells of a step are sampled given its locks, exactly; earlier
                steps do not depend on them, for which there is `infill`.
            rows: batch size; by default that of the state, else of primer and context.
            state: to continue from, with its plan, which `plan` replaces if given. Guidance has an effect only with
                `plan`.
            first_row: number of the first row, by which its random numbers are drawn: rows that are played in parts
                are those that are played together.

        Raises:
            HypermeterError: an argument that does not fit.
        """
        rows = batch_size_of(rows, state, primer, context)
        if state is None:
            state = self.start(rows, plan)
        elif plan is not None:
            state = self.with_plan(state, plan)
        if len(state) != rows:
            raise HypermeterError(f"a state of {len(state)} rows, expected {rows}")
        rules = self.rules(sampling, plan)
        if locks is not None:
            locks.check(rows, self.width, track_groups(self.num_drums, self.tracks))
        music = (("context", context), ("primer", primer))
        earlier = [self.columns(hits, rows, name) for name, hits in music if hits is not None]
        return draw_steps(self, earlier, rules, locks, state, first_row, sections_of(plan))

    def generate(
        self,
        length: int = 256,
        primer: ArrayLike | None = None,
        sampling: SamplingOptions = SamplingOptions(),
        *,
        context: ArrayLike | None = None,
        plan: Plan | None = None,
        locks: Locks | None = None,
        rows: int | None = None,
        state: State | None = None,
        first_row: int = 0,
    ) -> Hits:
        """Return `length` new steps, (rows, length, W); the other arguments and errors are those of `stream`.

        Args:
            length: at least 0.
            primer, sampling, context, plan, locks, rows, state, first_row: see `stream`.
        """
        if length < 0:
            raise HypermeterError(f"length is {length}, expected 0 steps or more")
        options: dict[str, Any] = {"context": context, "plan": plan, "locks": locks, "rows": rows, "state": state}
        steps = self.stream(primer, sampling, **options, first_row=first_row)
        made = np.zeros((batch_size_of(rows, state, primer, context), length, self.width), np.uint8)
        for number in range(length):
            made[:, number] = next(steps)
        return made

    # ------------------------------------------------------------------ music with velocity and timing, part by part

    def initial_state(self, tempo_bpm: float, plan: Plan | None = None, expression: bool = True) -> PlayerState:
        """Return the player state before the first step of one piece.

        Args:
            tempo_bpm: quarter notes a minute, NaN where unknown.
            plan: of 1 row.
            expression: whether hits get velocity and offset from the model, if it has learnt them.
        """
        network, articulation = (self.network.expression, self.articulation) if expression else (None, None)
        starts = [None if part is None else part.start(1) for part in (network, articulation)]
        return PlayerState(self.start(1, plan), starts[0], starts[1])

    def feed(
        self,
        player_state: PlayerState,
        hits: ArrayLike,
        velocity: ArrayLike,
        offset: ArrayLike,
        tempo_bpm: float,
        articulation: ArrayLike | None = None,
        then: "Player | None" = None,
    ) -> PlayerState:
        """Return the player state after music, with its velocity and offset.

        Args:
            player_state: before it.
            hits: (T, W).
            velocity: (T, V), NaN where unknown.
            offset: (T, V), likewise, in steps.
            tempo_bpm: quarter notes a minute, NaN where unknown.
            articulation: (T, V, channels) of strokes and openness, see `play.articulating`; `None` where unknown.
            then: the player on the grid of the next bar, where the metre changes after the music.

        Raises:
            HypermeterError: hits, velocity or offset of another shape.
        """
        columns = self.columns(hits, 1, "primer")[0]
        state, voices = player_state.state, self.num_drums
        sampler = self._performer(player_state, tempo_bpm, 0)
        loudness, shift = np.asarray(velocity, np.float32), np.asarray(offset, np.float32)
        if wrong := [values.shape for values in (loudness, shift) if values.shape != (len(columns), voices)]:
            raise HypermeterError(f"velocity or offset of shape {wrong[0]}, expected ({len(columns)}, {voices})")
        articulated, network = player_state.articulation, self.articulation
        for step, x in enumerate(columns[:, None]):
            if sampler is not None:
                values = loudness[None, step], shift[None, step]
                sampler.advance(state.features, x[:, :voices], player_state.position + step, *values)
            if articulated is not None and network is not None and articulation is not None:
                articulated = network.advance(x[:, :voices], np.asarray(articulation)[None, step], articulated)
            state = self.advance(x, state, then if step + 1 == len(columns) else None)
        return self._after(player_state, state, sampler, articulated, then)

    def play(
        self, player_state: PlayerState, steps: int, rules: Rules, tempo_bpm: float, then: "Player | None" = None
    ) -> tuple[Passage, PlayerState]:
        """Return the next steps of one piece, and the player state after them.

        Args:
            player_state: before them; it stays as it is.
            steps: at least 0.
            rules: of sampling; their seed is also that of velocity and offset.
            tempo_bpm: quarter notes a minute, NaN where unknown.
            then: the player on the grid of the next bar, where the metre changes after these steps.

        Raises:
            HypermeterError: fewer than 0 steps.
        """
        if steps < 0:
            raise HypermeterError(f"steps is {steps}, expected 0 or more")
        state, voices = player_state.state, self.num_drums
        sampler = self._performer(player_state, tempo_bpm, rules.seed)
        articulator = self._articulator(player_state.articulation, tempo_bpm, rules.seed)
        uniforms, first = rules.stream(1, self.width), player_state.position
        hits = np.zeros((steps, self.width), np.uint8)
        velocity, offset = np.zeros((2, steps, voices), np.float32)
        made = np.full((steps, voices, CHANNELS), np.nan, np.float32)
        for step in range(steps):
            position = first + step
            x = self.draw(state, rules, uniforms.at(position), position=position)
            hits[step] = x[0]
            if sampler is None:
                velocity[step] = DEFAULT_VELOCITY * x[0, :voices]
            else:
                (velocity[step],), (offset[step],) = sampler.play(state.features, x[:, :voices], position)
            if articulator is not None:
                played = x[:, :voices], velocity[None, step], offset[None, step]
                (made[step],) = articulator.play(state.features, *played, position)
            state = self.advance(x, state, then if step + 1 == steps else None)
        if articulator is None:
            return Passage(hits, velocity, offset), self._after(player_state, state, sampler, None, then)
        strokes = strokes_of(made, hits[:, :voices], velocity, offset, is_first=first == 0)
        passage = Passage(hits, velocity, offset, strokes, openness_of(made, self.kit))
        return passage, self._after(player_state, state, sampler, articulator.state, then)

    def _after(
        self,
        before: PlayerState,
        state: State,
        sampler: ExpressionSampler | None,
        articulation: Any,
        then: "Player | None",
    ) -> PlayerState:
        """Return the player state of the states of network, sampler and articulation, in the metre of the next bar."""
        expression = None
        if sampler is not None:
            expression = sampler.state if then is None else sampler.state.on(self.grid, then.grid)
        return PlayerState(state, expression, articulation, before.ahead)

    def _performer(self, player_state: PlayerState, tempo_bpm: float, seed: int) -> ExpressionSampler | None:
        if player_state.expression is None:
            return None
        return ExpressionSampler(self.network.expression, 1, tempo_bpm, seed, state=player_state.expression)

    def _articulator(self, state: Any, tempo_bpm: float, seed: int) -> ArticulationSampler | None:
        if state is None or self.articulation is None:
            return None
        return ArticulationSampler(self.articulation, 1, tempo_bpm, seed, state=state)

    def perform(
        self,
        hits: ArrayLike,
        tempo_bpm: float,
        *,
        seed: int | None = 0,
        temperature: float = 1.0,
        known: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> tuple[Single, Single]:
        """Return velocity and offset of all hits, sampled step by step.

        Args:
            hits: (T, W) or (B, T, W); or of the voices alone, where tracks are silent.
            tempo_bpm: quarter notes a minute, NaN where unknown.
            seed: the same seed gives the same performance; `None` chooses one at random.
            temperature: 1 plays as learnt, less is steadier, more is wilder, 0 is the median.
            known: velocity and offset, of the shape of hits, of what is played already and stays; NaN where they are
                drawn.

        Returns:
            Velocity in (0, 1] and offset in [-.5, .5) steps, of the shape of hits but for the tracks; both 0 where
            there is no hit.

        Raises:
            HypermeterError: a model without expression, hits or known of a shape that does not fit.
        """
        array = np.asarray(hits)
        if array.ndim in (2, 3) and array.shape[-1] == self.num_drums < self.width:
            array = np.concatenate([array, np.zeros((*array.shape[:-1], self.width - self.num_drums))], -1)
        rows = len(array) if array.ndim == 3 else 1
        columns, voices = self.columns(array, rows, "hits"), self.num_drums
        sampler = ExpressionSampler(self.network.expression, rows, tempo_bpm, choose_seed(seed), temperature)
        shape = (rows, columns.shape[1], voices)
        fixed = None
        if known is not None:
            fixed = [np.asarray(values, np.float64) for values in known]
            wanted = (*array.shape[:-1], voices)
            if wrong := [values.shape for values in fixed if values.shape != wanted]:
                raise HypermeterError(f"known of shape {wrong[0]}, expected {wanted}, that of hits")
            fixed = [values.reshape(shape) for values in fixed]
        state, played = self.network.start(rows), np.zeros((2, *shape), np.float32)
        for step in range(shape[1]):
            fixed_now = None if fixed is None else (fixed[0][:, step], fixed[1][:, step])
            played[:, :, step] = sampler.play(state.features, columns[:, step, :voices], step, fixed_now)
            if step + 1 < shape[1]:
                state = self.advance(columns[:, step], state)
        velocity, offset = played if array.ndim == 3 else played[:, 0]
        return velocity, offset

    def watched(self, before_step: Callable[[], None]) -> "Player":
        """Return the player with something that is called before each step, and may raise to end the work."""
        return replace(self, before_step=before_step)


def batch_size_of(rows: int | None, state: State | None, *music: ArrayLike | None) -> int:
    """Return the batch size: that which is given, else of the state, else of the music before, else 1."""
    if rows is not None:
        return rows
    if state is not None:
        return len(state)
    return max((len(np.asarray(hits)) for hits in music if hits is not None and np.ndim(hits) == 3), default=1)

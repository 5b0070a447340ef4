"""Gymnasium environments ``hypermeter/Drums-v0``: an agent plays the next step, each bar is judged when it has ended.

``gymnasium.make("hypermeter.learn.rl.env:hypermeter/Drums-v0", ...)`` gives ``DrumsEnv``, and ``gymnasium.make_vec``
the same task for a batch of pieces, ``DrumsVectorEnv``. Gymnasium imports the module before the colon, which registers
both; from 1.0 on it reads no entry points of other packages. Once this file is imported, ``hypermeter/Drums-v0`` is
enough.

A piece has a given length, and nothing is rewarded after its last step: it ends as terminated, not as truncated.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.extras import needs
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, load_kit
from hypermeter.io.ascii import ascii_grid

with needs("hypermeter.learn.rl.env", "rl"):
    import gymnasium
    import torch
    from gymnasium.spaces import Box, MultiBinary
    from gymnasium.utils.seeding import np_random as make_generator
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
    from jaxtyping import Float, Shaped

    from hypermeter.learn.rl.reward_files import load_reward
    from hypermeter.learn.rl.rewards import LEVEL_SIZES, Reward, Term
    from hypermeter.model.plan import NUMBERS, Plan

ENV_ID = "hypermeter/Drums-v0"

DEFAULT_TERM = Term("density", "bar", target=0.1, scale=0.02)
"""Reward where neither a reward nor a plan is given: bars of ten voices as dense as those of the shipped model."""

PLAN_TERMS = {
    "density": Term("density", "bar", target=0.0, scale=0.02),
    "offbeat": Term("syncopation", "bar", target=0.0, scale=0.1, undefined=-10, options={"weak": "offbeat"}),
}
"""Number of a plan that can be played -> the term for a bar's distance from it."""

FULL_TEMPO_BPM = 300.0
"""Tempo that is observed as 1."""

CELL_PIXELS = 8
"""Size of a picture's cells: squares with a line at the right and lower side."""


class _Pieces:
    """A batch of pieces, all at the same step: the task that the two environments share.

    Args:
        rows: batch size.

    The other arguments and the errors are those of ``DrumsEnv``.
    """

    def __init__(
        self,
        rows: int,
        reward: Reward | Mapping[str, Any] | str | Path | None = None,
        *,
        kit: str | Path | Kit = "gm10",
        grid: Grid = Grid(),
        bars: int = 4,
        window_bars: int = 1,
        primers: Float[np.ndarray, "N T0 V"] | torch.Tensor | None = None,
        plan: Plan | None = None,
        follow: float = 1.0,
        render_mode: str | None = None,
    ):
        if rows < 1:
            raise HypermeterError(f"drums: num_envs is {rows}, expected at least 1")
        if bars < 1 or window_bars < 1:
            raise HypermeterError(f"drums: bars {bars}, window_bars {window_bars}: expected at least 1 of each")
        if render_mode not in (None, "ansi", "rgb_array"):
            raise HypermeterError(f"drums: render_mode is {render_mode!r}, expected None, ansi or rgb_array")
        self.rows, self.render_mode = rows, render_mode
        self.kit, self.grid = load_kit(kit), grid
        self.voices, self.steps = self.kit.num_voices, bars * grid.steps_per_bar
        self.window = window_bars * grid.steps_per_bar
        self.primers = np.zeros((1, 0, self.voices), np.float32)
        if primers is not None:
            self.primers = np.asarray(primers, np.float32)
            shape = self.primers.shape
            fits = len(shape) == 3 and shape[0] > 0 and shape[2] == self.voices and shape[1] % grid.steps_per_bar == 0
            if not fits or not np.isin(self.primers, (0, 1)).all():
                raise HypermeterError(
                    f"drums: primers of shape {shape}, expected 0 and 1 of shape (primers, whole bars of "
                    f"{grid.steps_per_bar} steps, {self.voices} voices)"
                )
        self.plans = None if plan is None else plan.numbers[:, np.arange(bars).clip(max=plan.num_bars - 1)]
        self.follow = follow
        self.terms = self._named_terms(reward)
        sizes = {"window": self.window * self.voices, "step_of_bar": grid.steps_per_bar}
        sizes |= {"bar_of_phrase": grid.bars_per_phrase, "left": 1}
        sizes |= {} if plan is None else {"plan": len(NUMBERS), "is_asked": len(NUMBERS)}
        stops = np.cumsum([*sizes.values()]).tolist()
        self.places = {name: slice(stop - size, stop) for (name, size), stop in zip(sizes.items(), stops, strict=True)}
        self.observation_space = Box(0.0, 1.0, (stops[-1],), np.float32)
        self.action_space = MultiBinary(self.voices)
        self.begin([])

    def _named_terms(self, reward: Any) -> dict[str, Term]:
        """Return the terms by ``level/metric``; a second one of a name ends in ``/2``, and so on."""
        terms: Sequence[Term] = [DEFAULT_TERM] if reward is None and self.plans is None else []
        if reward is not None:
            reward = reward if isinstance(reward, Reward) else load_reward(reward, self.grid, self.kit)
            if reward.normalise:
                raise HypermeterError(
                    "drums: a reward that normalises is another function each time; give its terms scales, or wrap the "
                    "environment in gymnasium.wrappers.NormalizeReward"
                )
            terms = reward.terms
        named: dict[str, Term] = {}
        for term in terms:
            name = f"{term.level}/{term.metric}"
            same = sum((other.level, other.metric) == (term.level, term.metric) for other in named.values())
            named[f"{name}/{same + 1}" if same else name] = term
        return named

    def begin(self, generators: Sequence[np.random.Generator]) -> None:
        """Start again, each row with a primer and a plan chosen by its own generator."""
        primer_rows, plan_rows = np.zeros(self.rows, int), np.zeros(self.rows, int)
        for row, generator in enumerate(generators):
            primer_rows[row] = generator.integers(len(self.primers))
            plan_rows[row] = 0 if self.plans is None else generator.integers(len(self.plans))
        silence = np.zeros((self.rows, self.window, self.voices), np.float32)
        to_play = np.zeros((self.rows, self.steps, self.voices), np.float32)
        self.hits = np.concatenate([silence, self.primers[primer_rows], to_play], 1)
        self.first = self.window + self.primers.shape[1]
        self.numbers = None if self.plans is None else self.plans[torch.from_numpy(plan_rows)]
        self.step = 0

    @property
    def is_over(self) -> bool:
        return self.step == self.steps

    def play(self, x: Shaped[np.ndarray, "B V"]) -> tuple[Float[np.ndarray, " B"], dict[str, Float[np.ndarray, " B"]]]:
        """Play a step; return the rewards for it, and the metrics of what has ended with it."""
        shape = (self.rows, self.voices)
        if x.shape != shape or not ((x == 0) | (x == 1)).all():
            raise HypermeterError(f"drums: an action of shape {x.shape}, expected 0 and 1 of shape {shape}")
        if self.is_over:
            raise HypermeterError(f"drums: the piece has ended after {self.steps} steps; call reset")
        self.hits[:, self.first + self.step] = x
        self.step += 1
        rewards, metrics = torch.zeros(self.rows), {}
        for name, term in self.terms.items():
            if (values := self._values(term)) is not None:
                rewards, metrics[name] = rewards + term.score(values), values.double().numpy()
        if self.numbers is not None and self.step % self.grid.steps_per_bar == 0:
            for name, term in PLAN_TERMS.items():
                planned = self.numbers[:, self.step // self.grid.steps_per_bar - 1, NUMBERS.index(name)]
                values = self._values(term)
                assert values is not None
                metrics[f"plan/{name}"] = values.double().numpy()
                rewards = rewards + self.follow * torch.where(planned.isnan(), 0.0, term.score(values - planned))
        return rewards.double().numpy(), metrics

    def _values(self, term: Term) -> Float[torch.Tensor, " B"] | None:
        """Return the metric of the chunk that has ended with this step; None where none has."""
        size = LEVEL_SIZES[term.level](self.grid, self.steps)
        if self.step % size and not self.is_over:
            return None
        start = self.first + (self.step - 1) // size * size
        return term.values(torch.from_numpy(self.hits[:, start : self.first + self.step]), self.grid)[:, -1]

    def observe(self) -> Float[np.ndarray, "B size"]:
        grid, places = self.grid, self.places
        observation = np.zeros((self.rows, *self.observation_space.shape), np.float32)
        now = self.first + self.step
        observation[:, places["window"]] = self.hits[:, now - self.window : now].reshape(self.rows, -1)
        observation[:, places["step_of_bar"].start + self.step % grid.steps_per_bar] = 1
        observation[:, places["bar_of_phrase"].start + self.step // grid.steps_per_bar % grid.bars_per_phrase] = 1
        observation[:, places["left"]] = 1 - self.step / self.steps
        if self.numbers is not None:
            numbers = self.numbers[:, min(self.step, self.steps - 1) // grid.steps_per_bar].numpy()
            is_given = ~np.isnan(numbers)
            full = np.array([FULL_TEMPO_BPM, 1, 1])
            observation[:, places["plan"]] = np.where(is_given, numbers / full, 0).clip(0, 1)
            observation[:, places["is_asked"]] = is_given
        return observation

    def render(self, row: int) -> Any:
        """Return the ASCII grid; or a picture, voices down from the last, steps across, steps to come darker."""
        if self.render_mode != "rgb_array":
            return ascii_grid(self.groove(row)) if self.render_mode else None
        hits = self.hits[row, self.window :]
        shades = np.full((*hits.shape, 3), 40, np.uint8)
        shades[:: self.grid.steps_per_bar] = 60
        shades[self.first - self.window + self.step :] //= 2
        shades[hits > 0] = (255, 160, 60)
        picture = shades.transpose(1, 0, 2)[::-1].repeat(CELL_PIXELS, 0).repeat(CELL_PIXELS, 1)
        picture[CELL_PIXELS - 1 :: CELL_PIXELS] = picture[:, CELL_PIXELS - 1 :: CELL_PIXELS] = 0
        return picture

    def groove(self, row: int) -> Groove:
        return Groove(self.hits[row, self.window : self.first + self.step], kit=self.kit, grid=self.grid)


class DrumsEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One piece, a step at a time.

    The action is the step: which voices sound. The observation is one flat vector of numbers in [0, 1], since all
    agents take that, and a Dict needs a policy of its own; ``places`` names its parts:

    - window: the last ``window_bars`` bars, oldest step first, each step its voices; silence before the beginning.
    - step_of_bar, bar_of_phrase: position of the next step, one-hot, counted from the first step played.
    - left: share of the piece that remains.
    - plan, is_asked: with a plan, tempo (over FULL_TEMPO_BPM), density and off-beat share of the bar of the next step,
      0 where not given, and which of them are given.

    Rewards are for the steps of the agent, without the primer. ``info`` has the metric of each term, also of weight 0,
    at the last step of what it measures, as ``level/metric``; with a plan also ``plan/density`` and ``plan/offbeat`` of
    each bar. Undefined values are left out.

    Args:
        reward: a ``Reward``, or a source for ``load_reward``; None, DEFAULT_TERM, or with a plan only the plan.
        kit: the voices; by default gm10.
        grid: by default ``Grid()``.
        bars: length of an episode, by default 4.
        window_bars: bars in the observation, by default 1.
        primers: (N, T0, V), whole bars before the first step; of several, an episode takes one at random.
        plan: numbers of each bar that the agent plays; of several rows, an episode takes one at random. Labels are not
            observed.
        follow: weight of following the plan, see PLAN_TERMS; by default 1.
        render_mode: None, ``ansi`` (the ASCII grid) or ``rgb_array`` (a picture of the whole piece, for videos).

    Raises:
        HypermeterError: sizes below 1, primers of another shape, a reward that normalises as it goes.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 8}

    def __init__(self, *args: Any, **options: Any):
        self._pieces = pieces = _Pieces(1, *args, **options)
        self.render_mode, self.places = pieces.render_mode, pieces.places
        self.observation_space, self.action_space = pieces.observation_space, pieces.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._pieces.begin([self.np_random])
        return self._pieces.observe()[0], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        rewards, metrics = self._pieces.play(np.asarray(action)[None])
        info = {name: float(values[0]) for name, values in metrics.items() if not np.isnan(values[0])}
        return self._pieces.observe()[0], float(rewards[0]), self._pieces.is_over, False, info

    def groove(self) -> Groove:
        """Return the primer and the steps so far."""
        return self._pieces.groove(0)

    def render(self) -> Any:
        return self._pieces.render(0)


class DrumsVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """A batch of pieces, all at the same step, judged by one call.

    It gives what as many ``DrumsEnv`` give, with their seeds ``seed``, ``seed + 1``, ...; the step after the last one
    begins new pieces. Arguments and errors are those of ``DrumsEnv``.
    """

    metadata: ClassVar[dict[str, Any]] = DrumsEnv.metadata | {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs: int = 1, *args: Any, **options: Any):
        self._pieces = pieces = _Pieces(num_envs, *args, **options)
        self.num_envs, self.render_mode, self.places = num_envs, pieces.render_mode, pieces.places
        self.single_observation_space, self.single_action_space = pieces.observation_space, pieces.action_space
        self.observation_space = batch_space(pieces.observation_space, num_envs)
        self.action_space = batch_space(pieces.action_space, num_envs)
        self._generators: list[np.random.Generator] = []

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict]:
        """Begin new pieces.

        Args:
            seed: seed of the first row, from which the others count on; or one for each row.
            options: ``reset_mask`` is refused where it leaves out a row, since all rows are at the same step.

        Raises:
            HypermeterError: another number of seeds, or a ``reset_mask`` that leaves out a row.
        """
        if options and not np.all(options.get("reset_mask", True)):
            raise HypermeterError("drums: a reset_mask, but all pieces are at the same step; reset them together")
        seeds = [seed + row for row in range(self.num_envs)] if isinstance(seed, int) else seed
        if seeds is not None and len(seeds) != self.num_envs:
            raise HypermeterError(f"drums: {len(seeds)} seeds, expected {self.num_envs}, one for each piece")
        for row in range(self.num_envs):
            row_seed = None if seeds is None else seeds[row]
            if row == len(self._generators):
                self._generators.append(make_generator(row_seed)[0])
            elif row_seed is not None:
                self._generators[row] = make_generator(row_seed)[0]
        self._pieces.begin(self._generators)
        return self._pieces.observe(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        never = np.zeros(self.num_envs, bool)
        if self._pieces.is_over:
            self._pieces.begin(self._generators)
            return self._pieces.observe(), np.zeros(self.num_envs), never, never.copy(), {}
        rewards, metrics = self._pieces.play(np.asarray(actions))
        info: dict[str, np.ndarray] = {}
        for name, values in metrics.items():
            is_defined = ~np.isnan(values)
            if is_defined.any():
                info |= {name: np.where(is_defined, values, 0), f"_{name}": is_defined}
        return self._pieces.observe(), rewards, never | self._pieces.is_over, never, info

    def groove(self, row: int = 0) -> Groove:
        """Return the primer and the steps so far of a row."""
        return self._pieces.groove(row)

    def render(self) -> tuple[Any, ...] | None:
        return tuple(map(self._pieces.render, range(self.num_envs))) if self.render_mode else None


gymnasium.register(
    ENV_ID, entry_point="hypermeter.learn.rl.env:DrumsEnv", vector_entry_point="hypermeter.learn.rl.env:DrumsVectorEnv"
)

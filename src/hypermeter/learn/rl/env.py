"""Gymnasium environments ``hypermeter/Drums-v0``: an agent plays the next step, each bar is judged when it has ended.

``gymnasium.make("hypermeter.learn.rl.env:hypermeter/Drums-v0", ...)`` gives ``DrumsEnv``, and ``gymnasium.make_vec``
the same task for many pieces at once, ``DrumsVectorEnv``, which steps all of them as one array. Gymnasium imports what
stands before the colon, which registers both; from 1.0 on it reads no entry points of other packages. Once this file is
imported, ``hypermeter/Drums-v0`` is enough.

A piece has a given length, and nothing is worth anything after its last step: it ends as terminated, not as truncated.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, MultiBinary
from gymnasium.utils.seeding import np_random as make_generator
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Float, Shaped, UInt8

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, load_kit
from hypermeter.io.ascii import ascii_grid
from hypermeter.learn.rl.rewards import Reward, Term, load_reward
from hypermeter.model.plan import NUMBERS, Plan

ENV_ID = "hypermeter/Drums-v0"

DEFAULT_TERM = Term("density", "bar", target=0.1, scale=0.02)
"""What is wanted where neither a reward nor a plan says: a bar of ten voices as full as the shipped model plays."""

FOLLOWED = {
    "density": Term("density", "bar", target=0.0, scale=0.02),
    "offbeat": Term("syncopation", "bar", target=0.0, scale=0.1, undefined=-10, options={"weak": "offbeat"}),
}
"""Numbers of a plan that can be played -> the term that judges how far a bar is from what is asked of it."""

FULL_TEMPO_BPM = 300.0
"""Observed as 1."""

CELL_PIXELS = 8
"""Of a picture: a cell is a square, with a line at its right and lower side."""


class _Task:
    """What is played and how it is judged: all that the two environments share. Arguments are those of ``DrumsEnv``."""

    def __init__(
        self,
        reward: Reward | Mapping[str, Any] | str | Path | None = None,
        *,
        kit: str | Path | Kit = "gm10",
        grid: Grid = Grid(),
        bars: int = 4,
        window_bars: int = 1,
        primers: Float[np.ndarray, "N T0 V"] | torch.Tensor | None = None,
        plan: Plan | None = None,
        follow: float = 1.0,
    ):
        if bars < 1 or window_bars < 1:
            raise HypermeterError(f"drums: bars {bars}, window_bars {window_bars}: expected at least 1 of each")
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
        self.numbers = None if plan is None else plan.numbers[:, np.arange(bars).clip(max=plan.num_bars - 1)]
        if reward is None:
            terms = [DEFAULT_TERM] if plan is None else []
        else:
            reward = reward if isinstance(reward, Reward) else load_reward(reward, grid, self.kit)
            if reward.normalise:
                raise HypermeterError(
                    "drums: a reward that normalises is another function each time; give its terms scales, or wrap the "
                    "environment in gymnasium.wrappers.NormalizeReward"
                )
            terms = list(reward.terms)
        self.terms = _named(terms)
        self.follow = follow if plan is not None else 0.0
        self.places, at = {}, 0
        sizes = {"window": self.window * self.voices, "step_of_bar": grid.steps_per_bar}
        sizes |= {"bar_of_phrase": grid.bars_per_phrase, "left": 1}
        sizes |= {} if plan is None else {"plan": len(NUMBERS), "is_asked": len(NUMBERS)}
        for name, size in sizes.items():
            self.places[name] = slice(at, at + size)
            at += size
        self.observation_space = Box(0.0, 1.0, (at,), np.float32)
        self.action_space = MultiBinary(self.voices)

    def size(self, level: str) -> int:
        """Steps of what is judged."""
        sizes = {"step": 1, "bar": self.grid.steps_per_bar, "phrase": self.grid.steps_per_phrase, "piece": self.steps}
        return sizes[level]


def _named(terms: Sequence[Term]) -> dict[str, Term]:
    """Terms by ``level/metric``; of more than one of a name the second ends in ``/2``, and so on."""
    named: dict[str, Term] = {}
    for term in terms:
        name = f"{term.level}/{term.metric}"
        twins = sum(each.level == term.level and each.metric == term.metric for each in named.values())
        named[f"{name}/{twins + 1}" if twins else name] = term
    return named


class _Pieces:
    """Pieces that are played side by side, all at the same step.

    Args:
        task: what is played.
        rows: pieces.
    """

    def __init__(self, task: _Task, rows: int):
        self.task, self.rows = task, rows
        self.begin([])

    def begin(self, generators: Sequence[np.random.Generator]) -> None:
        """Start again, each row with a primer and a plan drawn by its own generator."""
        task = self.task
        primer, asked = np.zeros(self.rows, int), np.zeros(self.rows, int)
        for row, generator in enumerate(generators):
            primer[row] = generator.integers(len(task.primers))
            asked[row] = 0 if task.numbers is None else generator.integers(len(task.numbers))
        self.heard = task.primers.shape[1]
        silence = np.zeros((self.rows, task.window, task.voices), np.float32)
        to_play = np.zeros((self.rows, task.steps, task.voices), np.float32)
        self.hits = np.concatenate([silence, task.primers[primer], to_play], 1)
        self.first = task.window + self.heard
        self.numbers = None if task.numbers is None else task.numbers[torch.from_numpy(asked)]
        self.step = 0

    @property
    def is_over(self) -> bool:
        return self.step == self.task.steps

    def play(self, x: Shaped[np.ndarray, "B V"]) -> tuple[Float[np.ndarray, " B"], dict[str, Float[np.ndarray, " B"]]]:
        """Play a step; what each piece is paid for it, and the metrics of what has ended with it."""
        shape = (self.rows, self.task.voices)
        if x.shape != shape or not ((x == 0) | (x == 1)).all():
            raise HypermeterError(f"drums: an action of shape {x.shape}, expected 0 and 1 of shape {shape}")
        if self.is_over:
            raise HypermeterError(f"drums: the piece has ended after {self.task.steps} steps; call reset")
        self.hits[:, self.first + self.step] = x
        self.step += 1
        paid, metrics = torch.zeros(self.rows), {}
        for name, term in self.task.terms.items():
            if (values := self._judged(term)) is not None:
                paid, metrics[name] = paid + term.score(values), values.double().numpy()
        if self.numbers is not None and self.step % self.task.size("bar") == 0:
            for name, term in FOLLOWED.items():
                asked = self.numbers[:, self.step // self.task.size("bar") - 1, NUMBERS.index(name)]
                values = self._judged(term)
                assert values is not None
                metrics[f"plan/{name}"] = values.double().numpy()
                paid = paid + self.task.follow * torch.where(asked.isnan(), 0.0, term.score(values - asked))
        return paid.double().numpy(), metrics

    def _judged(self, term: Term) -> Float[torch.Tensor, " B"] | None:
        """The metric of what has ended with this step, or None."""
        size = self.task.size(term.level)
        if self.step % size and not self.is_over:
            return None
        start = self.first + (self.step - 1) // size * size
        return term.values(torch.from_numpy(self.hits[:, start : self.first + self.step]), self.task.grid)[:, -1]

    def observe(self) -> Float[np.ndarray, "B size"]:
        task, grid = self.task, self.task.grid
        seen = np.zeros((self.rows, *task.observation_space.shape), np.float32)
        at = self.first + self.step
        seen[:, task.places["window"]] = self.hits[:, at - task.window : at].reshape(self.rows, -1)
        seen[:, task.places["step_of_bar"].start + self.step % grid.steps_per_bar] = 1
        seen[:, task.places["bar_of_phrase"].start + self.step // grid.steps_per_bar % grid.bars_per_phrase] = 1
        seen[:, task.places["left"]] = 1 - self.step / task.steps
        if self.numbers is not None:
            bar = min(self.step, task.steps - 1) // grid.steps_per_bar
            asked = self.numbers[:, bar].numpy()
            is_asked = ~np.isnan(asked)
            full = np.array([FULL_TEMPO_BPM, 1, 1])
            seen[:, task.places["plan"]] = np.where(is_asked, asked / full, 0).clip(0, 1)
            seen[:, task.places["is_asked"]] = is_asked
        return seen

    def render(self, row: int, mode: str | None) -> Any:
        if mode == "ansi":
            return ascii_grid(self.groove(row))
        return None if mode is None else self._picture(row)

    def _picture(self, row: int) -> UInt8[np.ndarray, "height width 3"]:
        """Voices down, the last on top, steps across; steps to come are darker, bars begin with a lighter column."""
        hits = self.hits[row, self.task.window :]
        shades = np.full((*hits.shape, 3), 40, np.uint8)
        shades[:: self.task.grid.steps_per_bar] = 60
        shades[self.heard + self.step :] //= 2
        shades[hits > 0] = (255, 160, 60)
        picture = shades.transpose(1, 0, 2)[::-1].repeat(CELL_PIXELS, 0).repeat(CELL_PIXELS, 1)
        picture[CELL_PIXELS - 1 :: CELL_PIXELS] = picture[:, CELL_PIXELS - 1 :: CELL_PIXELS] = 0
        return picture

    def groove(self, row: int) -> Groove:
        """The primer and what was played so far."""
        hits = self.hits[row, self.task.window : self.first + self.step]
        return Groove(hits, kit=self.task.kit, grid=self.task.grid)


class DrumsEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One piece, a step at a time.

    The action is the step: which voices sound. The observation is one flat vector of numbers in [0, 1], since any
    agent takes that, and a Dict asks for a policy of its own; ``places`` names its parts:

    - window: the last ``window_bars`` bars, oldest step first, each step its voices; silence before the beginning.
    - step_of_bar, bar_of_phrase: where the next step stands, one of each is 1, counted from the first step played.
    - left: share of the piece that is left.
    - plan, is_asked: with a plan, tempo (over FULL_TEMPO_BPM), density and off-beat share asked of the bar of the next
      step, 0 where left open, and which of them are asked.

    What is judged is what the agent plays, from its first step on: all that is paid in an episode is the reward of its
    hits. ``info`` has the metric of each term, also of weight 0, at the step with which what it judges ends, as
    ``level/metric``; with a plan ``plan/density`` and ``plan/offbeat`` of each bar. What is undefined is left out.

    Args:
        reward: a ``Reward``, or what ``load_reward`` reads; left out, DEFAULT_TERM, or with a plan only the plan.
        kit: the voices; by default gm10.
        grid: the metre; by default ``Grid()``.
        bars: length of an episode, by default 4.
        window_bars: bars in the observation, by default 1.
        primers: whole bars that are heard first; of several one is drawn each episode.
        plan: what is asked of each bar that the agent plays; of several rows one is drawn each episode. Labels are not
            observed.
        follow: weight of following the plan: minus the distance of each bar's numbers to those asked, see FOLLOWED;
            by default 1.
        render_mode: None, ``ansi`` (the ASCII grid) or ``rgb_array`` (a picture of the whole piece, for videos).

    Raises:
        HypermeterError: sizes below 1, primers of another shape, a reward that normalises as it goes.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 8}

    def __init__(self, *args: Any, render_mode: str | None = None, **options: Any):
        task = _Task(*args, **options)
        _check_render_mode(render_mode)
        self.render_mode = render_mode
        self.observation_space, self.action_space = task.observation_space, task.action_space
        self.places: dict[str, slice] = task.places
        self._pieces = _Pieces(task, 1)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._pieces.begin([self.np_random])
        return self._pieces.observe()[0], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        paid, metrics = self._pieces.play(np.asarray(action)[None])
        found = {name: float(values[0]) for name, values in metrics.items() if not np.isnan(values[0])}
        return self._pieces.observe()[0], float(paid[0]), self._pieces.is_over, False, found

    def groove(self) -> Groove:
        """The primer and what was played so far."""
        return self._pieces.groove(0)

    def render(self) -> Any:
        return self._pieces.render(0, self.render_mode)


class DrumsVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Many pieces, all at the same step: rows of one array, judged by one call.

    It gives what as many ``DrumsEnv`` give, with their seeds ``seed``, ``seed + 1``, ...; the step after the last one
    begins new pieces. Arguments and errors are those of ``DrumsEnv``.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 8,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(self, num_envs: int = 1, *args: Any, render_mode: str | None = None, **options: Any):
        if num_envs < 1:
            raise HypermeterError(f"drums: num_envs is {num_envs}, expected at least 1")
        task = _Task(*args, **options)
        _check_render_mode(render_mode)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.single_observation_space, self.single_action_space = task.observation_space, task.action_space
        self.observation_space = batch_space(task.observation_space, num_envs)
        self.action_space = batch_space(task.action_space, num_envs)
        self.places: dict[str, slice] = task.places
        self._pieces = _Pieces(task, num_envs)
        self._generators: list[np.random.Generator] = []

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict]:
        """Begin new pieces.

        Args:
            seed: of the first row, the others count on; or one for each row.
            options: none is known. ``reset_mask`` is refused: the rows are all at the same step.

        Raises:
            HypermeterError: another number of seeds, or a ``reset_mask`` that leaves out a row.
        """
        if options and not np.all(options.get("reset_mask", True)):
            raise HypermeterError("drums: a reset_mask, but all pieces are at the same step; reset them together")
        seeds = [seed + row for row in range(self.num_envs)] if isinstance(seed, int) else seed
        if seeds is not None and len(seeds) != self.num_envs:
            raise HypermeterError(f"drums: {len(seeds)} seeds, expected {self.num_envs}, one for each piece")
        for row in range(self.num_envs):
            own = None if seeds is None else seeds[row]
            if row == len(self._generators):
                self._generators.append(make_generator(own)[0])
            elif own is not None:
                self._generators[row] = make_generator(own)[0]
        self._pieces.begin(self._generators)
        return self._pieces.observe(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        none = np.zeros(self.num_envs, bool)
        if self._pieces.is_over:
            self._pieces.begin(self._generators)
            return self._pieces.observe(), np.zeros(self.num_envs), none, none.copy(), {}
        paid, metrics = self._pieces.play(np.asarray(actions))
        found: dict[str, np.ndarray] = {}
        for name, values in metrics.items():
            is_there = ~np.isnan(values)
            if is_there.any():
                found |= {name: np.where(is_there, values, 0), f"_{name}": is_there}
        return self._pieces.observe(), paid, none | self._pieces.is_over, none, found

    def groove(self, row: int = 0) -> Groove:
        """The primer and what was played so far, of one row."""
        return self._pieces.groove(row)

    def render(self) -> tuple[Any, ...] | None:
        rows = range(self.num_envs)
        return tuple(self._pieces.render(row, self.render_mode) for row in rows) if self.render_mode else None


def _check_render_mode(render_mode: str | None) -> None:
    if render_mode not in (None, "ansi", "rgb_array"):
        raise HypermeterError(f"drums: render_mode is {render_mode!r}, expected None, ansi or rgb_array")


gymnasium.register(
    ENV_ID, entry_point="hypermeter.learn.rl.env:DrumsEnv", vector_entry_point="hypermeter.learn.rl.env:DrumsVectorEnv"
)

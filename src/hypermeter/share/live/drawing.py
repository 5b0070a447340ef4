"""A model played in parts, as a function: from a moment and what is asked now to a part of the music and the next
moment.

A moment is a value. A part that was drawn can be drawn again from the same moment when something else is asked, as long
as it has not sounded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import check_metre
from hypermeter.core.groove import DEFAULT_VELOCITY, Groove
from hypermeter.core.limits import check_seed
from hypermeter.model.expression import ExpressionState
from hypermeter.model.generate import GuidedDistribution
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.model.plan import NUMBERS, Plan, join
from hypermeter.model.state import State
from hypermeter.share.live.asking import Settings

MOST_ROWS = 128
"""Of the plan that are remembered: what was asked longer ago is not new by any measure."""


@dataclass(frozen=True)
class Moment:
    """Before a step: all that the model remembers, and from where its random numbers go on.

    Args:
        state: of the model; its plan is not read.
        expression: of the model's expression, where it has one.
        random: states of the generators of hits and of expression.
        rows: what was asked of the bars begun, the last MOST_ROWS of them.
        steps: heard and played since the beginning.
    """

    state: State
    expression: ExpressionState | None
    random: tuple[Tensor, Tensor]
    rows: Plan | None
    steps: int = 0


@dataclass(frozen=True)
class Part:
    """Some steps of music.

    Args:
        hits: (steps, V), 0 or 1.
        velocity: (steps, V), in (0, 1] at hits.
        offset: (steps, V), in [-.5, .5) steps, late is positive.
    """

    hits: np.ndarray
    velocity: np.ndarray
    offset: np.ndarray


class Drawer:
    """A model, asked part by part.

    Args:
        model: in eval mode, drums only.
        seed: the same seed and the same asking give the same music.

    Raises:
        HypermeterError: a model with tracks, a seed out of range.
    """

    def __init__(self, model: HierarchicalDrumModel, seed: int = 0):
        if model.tracks:
            names = ", ".join(track.name for track in model.tracks)
            raise HypermeterError(f"play: the model has tracks beside the drums ({names}); use one of drums only")
        check_seed(seed)
        self.model, self.grid, self.num_drums = model, model.grid, model.num_drums
        self._seed = seed
        self._generators = torch.Generator(), torch.Generator()

    @torch.no_grad()
    def begin(self, primer: Groove | None = None, tempo_bpm: float = 120.0) -> Moment:
        """The moment before the first step, or after a primer that was heard with its velocity and timing.

        Raises:
            HypermeterError: a primer of another metre or kit, or one that does not end on a bar line.
        """
        model = self.model
        for place, generator in enumerate(self._generators):
            generator.manual_seed((self._seed + 0x9E3779B97F4A7C15 * place) % 2**63)
        moment = Moment(
            state=model.init_state(1),
            expression=None if model.expression is None else model.expression.init_state(1, torch.tensor([tempo_bpm])),
            random=(self._generators[0].get_state(), self._generators[1].get_state()),
            rows=None,
        )
        if primer is None:
            return moment
        check_metre(primer.grid, model.grid, "primer")
        if primer.hits.shape[1] != model.num_drums:
            raise HypermeterError(f"primer of {primer.hits.shape[1]} voices, expected the model's {model.num_drums}")
        if len(primer) % model.grid.steps_per_bar:
            raise HypermeterError(f"primer of {len(primer)} steps, expected whole bars of {model.grid.steps_per_bar}")
        play = model.expression
        hits = torch.tensor(primer.hits).float()[:, None]
        velocity, offset = (torch.tensor(each)[:, None] for each in (primer.velocity, primer.offset))
        state, expression = moment.state, moment.expression
        for step, x in enumerate(hits):
            if play is not None and expression is not None:
                _, expression = play.step(model.features(state), x, expression)
                expression = play.hear(x, velocity[step], offset[step], expression)
            state = model.advance(x, state)
        rows = Plan.free(1, primer.num_bars) if model.labels is not None else None
        return replace(moment, state=state, expression=expression, rows=rows, steps=len(primer))

    @torch.no_grad()
    def draw(
        self, moment: Moment, steps: int, settings: Settings, row: Plan | None = None, tempo_bpm: float = 120.0
    ) -> tuple[Part, Moment]:
        """``steps`` steps within one bar, and the moment after them.

        Args:
            moment: before them; it stays as it is.
            steps: up to the end of the bar at most.
            settings: of which those asked of a bar are in ``row``.
            row: what is asked of the bar, one row; None for a model without labels.
            tempo_bpm: for the expression.
        """
        model = self.model
        place = moment.steps % self.grid.steps_per_bar
        assert 0 < steps <= self.grid.steps_per_bar - place
        for generator, state in zip(self._generators, moment.random, strict=True):
            generator.set_state(state)
        rows, asked = self._asked(moment.rows, row, is_new_bar=place == 0)
        guidance = settings.guidance if row is not None and _asks(row) else 0.0
        bias = self._bias(settings)
        state, expression = moment.state, moment.expression
        play = model.expression
        if play is not None and expression is not None:
            expression = replace(expression, tempo=play.init_state(1, torch.tensor([tempo_bpm])).tempo)
        silent = torch.zeros(1, self.num_drums)
        found = []
        for number in range(steps):
            dist = self._predict(state, asked, guidance)
            if bias is not None:
                dist = dist.tilt(bias)
            x = dist.sample(settings.temperature, settings.top_p, self._generators[0])
            velocity, offset = DEFAULT_VELOCITY * x, silent
            if play is not None and expression is not None:
                played, expression = play.step(model.features(state), x, expression)
                if x.any():
                    velocity, offset = played.sample(x, 1.0, self._generators[1])
                if moment.steps + number == 0:
                    offset = offset.clamp_min(0)  # nothing sounds before the first beat
                expression = play.hear(x, velocity, offset, expression)
            state = model.advance(x, state)
            found.append((x[0].numpy().astype(np.uint8), velocity[0].numpy(), offset[0].numpy()))
        part = Part(*(np.stack(each) for each in zip(*found, strict=True)))
        random = self._generators[0].get_state(), self._generators[1].get_state()
        return part, Moment(state, expression, random, rows, moment.steps + steps)

    def _predict(self, state: State, asked: Tensor | None, guidance: float) -> Any:
        """The encoders do not hear the plan: one state serves with it and without it."""
        free = replace(state, plan=state.hidden.new_zeros(1, 1, 0))
        if asked is None:
            return self.model.predict(free)
        dist = self.model.predict(replace(state, plan=asked))
        return dist if not guidance else GuidedDistribution(dist, self.model.predict(free), guidance)

    def _asked(self, rows: Plan | None, row: Plan | None, is_new_bar: bool) -> tuple[Plan | None, Tensor | None]:
        """The plan grown by a row, or with another last row; and its last row embedded, (1, 1, plan_dim)."""
        if row is None:
            return rows, None
        if rows is not None and not is_new_bar:
            rows = Plan(rows.labels[:, :-1], rows.numbers[:, :-1]) if rows.num_bars > 1 else None
        rows = row if rows is None else join(rows, row)
        if rows.num_bars > MOST_ROWS:
            rows = rows.bars(rows.num_bars - MOST_ROWS, MOST_ROWS)
        return rows, self.model.init_state(1, rows).plan[:, rows.num_bars - 1 : rows.num_bars]

    def _bias(self, settings: Settings) -> Tensor | None:
        if not any(settings.bias.values()):
            return None
        names: Sequence[str] = self.model.kit.names if self.model.kit is not None else ()
        values = torch.tensor([settings.bias.get(name, 0.0) for name in names])
        return F.pad(values, (0, self.model.width - self.num_drums))


def _asks(row: Plan) -> bool:
    """Whether a row of a plan asks anything beside the tempo, which is told in any case."""
    numbers = row.numbers[..., [each != "tempo_bpm" for each in NUMBERS]]
    return bool((row.labels > 0).any() or not numbers.isnan().all())

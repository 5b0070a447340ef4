"""Steps without end, each drawn given all before it."""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from hypermeter.play.form import Form, section_at
from hypermeter.play.locks import Locks
from hypermeter.play.network import State
from hypermeter.play.rules import Rules
from hypermeter.play.state import Hits

if TYPE_CHECKING:
    from hypermeter.play.player import Player


def draw_steps(
    player: "Player",
    earlier: Sequence[Hits],
    rules: Rules,
    locks: Locks | None,
    state: State,
    first_row: int,
    sections: Sequence[int],
) -> Iterator[Hits]:
    """Yield steps (rows, W) without end; see `Player.stream`.

    Args:
        player: the model.
        earlier: hits (rows, T, W) that are heard first.
        rules: of sampling.
        locks: from the first new step on.
        state: before them, with its plan.
        first_row: number of the first row.
        sections: of each bar of the piece, as `form.sections_of` returns them.
    """
    for hits in earlier:
        state = player.consume(hits, state)
    uniforms, size, plan = rules.stream(len(state), player.width, first_row), player.grid.steps_per_bar, state.plan
    form: Form[State, Hits] | None = None
    steps: list[Hits] = []
    for position in count(first := state.position):
        if sections and plan is not None and position % size == 0:
            bar = position // size
            form = Form.from_bar(bar, sections, player.grid) if form is None else form.play(np.stack(steps, 1))
            form, start = form.turn(section_at(sections, bar), state)
            if start is not None:
                state = player.network.start(len(state)) if start.state is None else start.state
                for hits in start.bars:
                    state = player.consume(hits, state)
                state = state.with_plan(plan[:, bar - state.position // size :])
            form, steps = form.enter(state), []
        lock = None if locks is None else locks.at(position - first, len(state))
        x = player.draw(state, rules, uniforms.at(position), lock, position=position)
        yield x
        state = player.advance(x, state)
        if form is not None:
            steps.append(x)

"""The model one step at a time.

No choice is made by a value of a tensor: what the end of a bar brings is computed at every step, and taken by the rows
that stand at one. So nothing waits for the device, rows may stand at different positions, and a step can be captured as
a CUDA graph or exported. Where a caller knows the position of all rows as a plain number, ``place``, the bar and phrase
levels are only run where they end.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.model.encoders import Recalled
from hypermeter.model.heads import StepDistribution
from hypermeter.model.levels import Levels
from hypermeter.model.plan import Plan, fitting_plan
from hypermeter.model.state import State, choose
from hypermeter.play.steering import SETTLED


class Heard(NamedTuple):
    """What the distribution of a step is made from.

    Args:
        features: ``Prediction.features`` at its position.
        recalled: by the bar attention, None without.
    """

    features: Float[Tensor, "B hidden"]
    recalled: Recalled | None


class Stepping(Levels):
    """Levels that run one step at a time. ``place``, where it is given, is the position of all rows of a state."""

    def init_state(self, batch_size: int, plan: Plan | None = None) -> State:
        """The state before the first step; ``predict`` gives the distribution of that step.

        Args:
            batch_size: rows.
            plan: as in ``forward``, of one row or ``batch_size``.
        """
        plan = fitting_plan(batch_size, self.labels, plan=plan)
        rows = plan.batch_size if plan else 1
        _, start = self.cell(self.feature_norm.weight.new_zeros(rows, self.width), self.blank_state(rows), place=-1)
        memory = () if self.bar_attention is None else self.bar_attention.init_memory(rows)
        start = replace(start, memory=memory)
        if plan is not None:
            start = replace(start, plan=self._asked(plan.bars(0, plan.num_bars + SETTLED)))
        rows = torch.arange(batch_size, device=start.position.device)
        return replace(start.select(rows if plan else torch.zeros_like(rows)), start=start)

    def blank_state(self, batch_size: int) -> State:
        """The state at position -1, which has heard nothing, without memory and plan: zeros for every level.

        ``cell`` takes it to the first step.
        """
        like, bar_dim = self.feature_norm.weight, self.config["bar_hidden_dim"]
        hits, states = (like.new_zeros(batch_size, size) for size in (self.width, self.config["step_hidden_dim"]))
        return State(
            position=torch.full((batch_size,), -1, device=like.device),
            hidden=states,
            step=self.step_rnn.init_state(batch_size),
            bar=self.bar_rnn.init_state(batch_size),
            phrase=self.phrase_rnn.init_state(batch_size),
            bar_output=like.new_zeros(batch_size, bar_dim),
            phrase_output=like.new_zeros(batch_size, self.config["phrase_hidden_dim"]),
            bar_states=states,
            bar_hits=hits,
            phrase_states=like.new_zeros(batch_size, bar_dim),
            phrase_hits=hits,
            history=like.new_zeros(batch_size, self.past, self.width),
            memory=(),
            plan=like.new_zeros(batch_size, 1, 0),
        )

    def step(
        self, x: Float[Tensor, "B V"], state: State, *, place: int | None = None
    ) -> tuple[StepDistribution, State]:
        """Hear the step x; give the distribution of the step after it, and the new state."""
        state = self.advance(x, state, place=place)
        return self.predict(state, place=None if place is None else place + 1), state

    def advance(self, x: Float[Tensor, "B V"], state: State, *, place: int | None = None) -> State:
        """The state after the step x.

        Raises:
            HypermeterError: x of another shape than (rows of the state, voices and the columns of tracks).
        """
        if x.shape != (state.position.shape[0], self.width):
            expected = (state.position.shape[0], self.width)
            raise HypermeterError(f"step: x of shape {tuple(x.shape)}, expected {expected} (rows of the state, voices)")
        element, after = self.cell(x.to(state.hidden.dtype), state, place=place)
        if self.bar_attention is None or element is None:
            return after
        position = state.position if place is None else state.position[:1]
        return replace(after, memory=self.bar_attention.remember(element, position, state.memory))

    def predict(self, state: State, *, place: int | None = None) -> StepDistribution:
        """The distribution of the next step."""
        heard, asked = self._hear(state, place), None
        if state.plan.shape[-1]:
            if place is None:
                bar = (state.position // self.grid.steps_per_bar).clamp(max=state.plan.shape[1] - 1)
                asked = state.plan.take_along_dim(bar[:, None, None], 1)[:, 0]
            else:
                asked = state.plan[:, min(place // self.grid.steps_per_bar, state.plan.shape[1] - 1)]
        return self.distribution(state, heard, asked, place=place)

    def features(self, state: State, *, place: int | None = None) -> Float[Tensor, "B hidden"]:
        """What the distribution of the next step is made from: ``Prediction.features`` at its position."""
        return self._hear(state, place).features

    def _hear(self, state: State, place: int | None) -> Heard:
        return self.hear(state, state.memory[0] if state.memory else None, place=place)

    # ------------------------------------------------------------------ over tensors alone, as they are exported

    def cell(
        self, x: Float[Tensor, "B V"], state: State, *, place: int | None = None
    ) -> tuple[Float[Tensor, "B keys"] | None, State]:
        """Take every level a step on; the memory of the bar attention stays as it is.

        Args:
            x: what was played at the state's position. At position -1 it is not heard.
            state: before x. Its memory and plan are not read.
            place: the position, where all rows have the same.

        Returns:
            What the memory is to hold of this step, None without bar attention, and the state after it.
        """
        grid, position = self.grid, state.position + 1
        here = None if place is None else place + 1
        x = choose(state.position < 0 if place is None else place < 0, torch.zeros_like(x), x)
        element = None if self.bar_attention is None else self.bar_attention.element(state.hidden, x)
        history = torch.cat([state.history, x[:, None]], 1)[:, 1:] if self.past else state.history
        earlier = [history[:, back] for back in self.look_back]
        one_for_all = position if place is None else position[:1]
        hidden, step = self.step_rnn.step(self._step_input(x, earlier, one_for_all), state.step)
        state = replace(
            state,
            position=position,
            hidden=hidden,
            step=step,
            history=history,
            bar_states=state.bar_states + hidden,
            bar_hits=state.bar_hits + x,
            phrase_hits=state.phrase_hits + x,
        )
        for size, end in ((grid.steps_per_bar, self._end_bar), (grid.steps_per_phrase, self._end_phrase)):
            begins = position % size == 0 if here is None else here % size == 0
            ends = begins & (position > 0) if here is None else begins and here > 0
            if begins is not False:
                state = end(state, begins, ends)
        return element, state

    def _end_bar(self, state: State, begins: Tensor | bool, ends: Tensor | bool) -> State:
        """Rows where a bar ``ends`` hear the bar level; those where one ``begins`` gather anew."""
        if ends is not False:
            gathered = torch.cat([state.bar_states, state.bar_hits], -1) / self.grid.steps_per_bar
            output, bar = self.bar_rnn.step(self.step_to_bar(gathered), state.bar)
            state = state.change(ends, bar=bar, bar_output=output, phrase_states=state.phrase_states + output)
        zeros = (torch.zeros_like(state.bar_states), torch.zeros_like(state.bar_hits))
        return state.change(begins, bar_states=zeros[0], bar_hits=zeros[1])

    def _end_phrase(self, state: State, begins: Tensor | bool, ends: Tensor | bool) -> State:
        if ends is not False:
            grid = self.grid
            shares = [state.phrase_states / grid.bars_per_phrase, state.phrase_hits / grid.steps_per_phrase]
            output, phrase = self.phrase_rnn.step(self.bar_to_phrase(torch.cat(shares, -1)), state.phrase)
            state = state.change(ends, phrase=phrase, phrase_output=output)
        zeros = (torch.zeros_like(state.phrase_states), torch.zeros_like(state.phrase_hits))
        return state.change(begins, phrase_states=zeros[0], phrase_hits=zeros[1])

    def hear(self, state: State, column: Float[Tensor, "B window keys"] | None, *, place: int | None = None) -> Heard:
        """What the distribution of the next step is made from.

        Args:
            state: before that step. Its memory and plan are not read.
            column: of the memory, for that step's place of the bar; None without bar attention.
            place: the position, where all rows have the same.
        """
        position, recalled = state.position if place is None else state.position[:1], None
        if self.bar_attention is not None:
            assert column is not None
            recalled = self.bar_attention.recall(state.hidden, position, column)
        heard = state.hidden
        for hear, said in ((self.hear_bar, state.bar_output), (self.hear_phrase, state.phrase_output)):
            if hear is not None:
                heard = heard + hear(said)
        return Heard(self._features(heard, recalled, position), recalled)

    def distribution(
        self,
        state: State,
        heard: Heard,
        asked: Float[Tensor, "B plan_dim"] | None = None,
        *,
        place: int | None = None,
    ) -> StepDistribution:
        """The distribution of the next step, under what is ``asked`` of its bar, or under no plan."""
        position = state.position if place is None else state.position[:1]
        return self._distribution(heard.features, heard.recalled, position, state.bar_hits, asked)

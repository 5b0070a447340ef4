"""The model one step at a time.

Control flow does not depend on values of tensors: what the end of a bar changes is computed at every step, and applied
to the rows at the end of a bar. So nothing waits for the device, rows may be at different positions, and a step can be
captured as a CUDA graph or exported. Where the caller passes ``place``, the position of all rows as a plain number, the
bar and phrase levels run at their ends only.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.model.encoders import AttentionOutput
from hypermeter.model.follow import FollowState
from hypermeter.model.heads import StepDistribution
from hypermeter.model.levels import Levels
from hypermeter.model.plan import AnyPlan, check_plan
from hypermeter.model.state import State, choose
from hypermeter.play.places import nearest_steps, regridding
from hypermeter.play.steering import SETTLED


class StepInputs(NamedTuple):
    """Inputs of the output distribution of a step.

    Args:
        features: ``Prediction.features`` at its position.
        attended: output of the bar attention, None without.
    """

    features: Float[Tensor, "B hidden"]
    attended: AttentionOutput | None


class Stepping(Levels):
    """Levels that run one step at a time. ``place``, where given, is the position of all rows of a state."""

    def init_state(self, batch_size: int, plan: AnyPlan | None = None) -> State:
        """Return the state before the first step; ``predict`` gives the distribution of that step.

        Args:
            batch_size: rows.
            plan: as in ``forward``, of one row or ``batch_size``.

        Raises:
            HypermeterError: a plan that does not fit.
        """
        plan = check_plan(batch_size, self.labels, plan=plan)
        rows = plan.batch_size if plan else 1
        _, start = self.cell(self.feature_norm.weight.new_zeros(rows, self.width), self.blank_state(rows), place=-1)
        if self.bar_attention is not None:
            start = replace(start, memory=self.bar_attention.init_memory(rows))
        if plan is not None:
            start = replace(start, plan=self._embed(plan.bars(0, plan.num_bars + SETTLED)))
            return replace(start, start=start)
        return start.map(lambda x: x.expand(batch_size, *x.shape[1:]), start)

    def blank_state(self, batch_size: int) -> State:
        """Return the state at position -1: zeros for every level, without memory and plan. ``cell`` takes it to 0."""
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
        """Return the distribution of the step after the hits x, and the state after x."""
        state = self.advance(x, state, place=place)
        return self.predict(state, place=None if place is None else place + 1), state

    def advance(
        self,
        x: Float[Tensor, "B V"],
        state: State,
        *,
        place: int | None = None,
        then: "Stepping | None" = None,
    ) -> State:
        """Return the state after the hits x.

        Args:
            x: hits.
            state: before them.
            place: see the class.
            then: this model on the grid of the next bar, see ``on``, where the metre changes after x. What was heard
                stays: bars count on, a step hears those of earlier bars that are nearest to its place, see
                ``play.places``, and each bar of a phrase weighs as much as another.

        Raises:
            HypermeterError: x of another shape than (rows of the state, voices and the columns of tracks), or a change
                of metre within a bar.
        """
        if x.shape != (state.position.shape[0], self.width):
            expected = (state.position.shape[0], self.width)
            raise HypermeterError(f"step: x of shape {tuple(x.shape)}, expected {expected} (rows of the state, voices)")
        if then is not None and ((state.position + 1) % self.grid.steps_per_bar).any():
            raise HypermeterError("step: the metre changes within a bar, expected after its last step")
        element, after = self.cell(x.to(state.hidden.dtype), state, place=place, then=then)
        if self.bar_attention is not None and element is not None:
            position = state.position if place is None else state.position[:1]
            after = replace(after, memory=self.bar_attention.remember(element, position, state.memory))
        if then is None:
            return after
        memory = after.memory and tuple(after.memory[step] for step in nearest_steps(self.grid, then.grid).tolist())
        start = state.start and replace(then.init_state(len(state.start.position)), plan=state.start.plan)
        return replace(after, memory=memory, start=start)

    def predict(
        self, state: State, *, place: int | None = None, following: FollowState | None = None
    ) -> StepDistribution:
        """Return the distribution of the next step.

        Args:
            state: before it.
            place: see the class.
            following: of ``follow_taps``, advanced by the same steps with ``follow.advance``; None follows nothing.
        """
        inputs, condition, followed = self._inputs(state, place), None, None
        if following is not None:
            assert self.follow is not None
            recalled = None if inputs.attended is None else inputs.attended.hits
            followed = self.follow.step(inputs.features, recalled, following)
        if state.plan.shape[-1]:
            last = state.plan.shape[1] - 1
            if place is None:
                bar = (state.position // self.grid.steps_per_bar).clamp(max=last)
                condition = state.plan.take_along_dim(bar[:, None, None], 1)[:, 0]
            else:
                condition = state.plan[:, min(place // self.grid.steps_per_bar, last)]
        position = state.position if place is None else state.position[:1]
        return self._distribution(*inputs, position, state.bar_hits, condition, followed)

    def features(self, state: State, *, place: int | None = None) -> Float[Tensor, "B hidden"]:
        """Return ``Prediction.features`` at the state's position."""
        return self._inputs(state, place).features

    def _inputs(self, state: State, place: int | None) -> StepInputs:
        return self.inputs(state, state.memory[0] if state.memory else None, place=place)

    # ------------------------------------------------------------------ over tensors alone, as they are exported

    def cell(
        self, x: Float[Tensor, "B V"], state: State, *, place: int | None = None, then: "Stepping | None" = None
    ) -> tuple[Float[Tensor, "B keys"] | None, State]:
        """Take every level one step further; the memory of the bar attention stays as it is.

        Args:
            x: hits of the step at the state's position. At position -1 it is ignored.
            state: before x. Its memory and plan are not read.
            place: the position, where all rows have the same.
            then: as in ``advance``.

        Returns:
            The step's element of the memory, None without bar attention, and the state after x.
        """
        grid, position = self.grid, state.position + 1
        next_place = None if place is None else place + 1
        x = choose(state.position < 0 if place is None else place < 0, torch.zeros_like(x), x)
        element = None if self.bar_attention is None else self.bar_attention.element(state.hidden, x)
        history = torch.cat([state.history, x[:, None]], 1)[:, 1:] if self.past else state.history
        reader, reached = self, position
        if then is not None:
            reader, history = then, self._regridded(history, then.grid)
            reached = position // grid.steps_per_bar * then.grid.steps_per_bar
        earlier = [history[:, index] for index in reader.look_back]
        shared = reached if place is None else reached[:1]
        hidden, step = self.step_rnn.step(reader._step_input(x, earlier, shared), state.step)
        state = replace(
            state,
            position=reached,
            hidden=hidden,
            step=step,
            history=history,
            bar_states=state.bar_states + hidden,
            bar_hits=state.bar_hits + x,
            phrase_hits=state.phrase_hits + x,
        )
        for size, end in ((grid.steps_per_bar, self._end_bar), (grid.steps_per_phrase, self._end_phrase)):
            begins = position % size == 0 if next_place is None else next_place % size == 0
            ends = begins & (position > 0) if next_place is None else begins and next_place > 0
            if begins is not False:
                state = end(state, begins, ends)
        if then is not None:
            scale = then.grid.steps_per_bar / grid.steps_per_bar
            state = replace(state, phrase_hits=state.phrase_hits * scale)
        return element, state

    def _regridded(self, history: Float[Tensor, "B past V"], after: Grid) -> Float[Tensor, "B new_past V"]:
        """Return the past steps as those of bars of another grid."""
        if not self.past:
            return history
        matrix = torch.from_numpy(regridding(self.grid, after).copy()).to(history)
        bars = history.unflatten(1, (-1, self.grid.steps_per_bar))
        return torch.einsum("ns,bksv->bknv", matrix, bars).clamp(max=1).flatten(1, 2)

    def _end_bar(self, state: State, begins: Tensor | bool, ends: Tensor | bool) -> State:
        """Run the bar level for rows where a bar ``ends``; clear the bar's sums of rows where one ``begins``."""
        if ends is not False:
            means = torch.cat([state.bar_states, state.bar_hits], -1) / self.grid.steps_per_bar
            output, bar = self.bar_rnn.step(self.step_to_bar(means), state.bar)
            state = state.change(ends, bar=bar, bar_output=output, phrase_states=state.phrase_states + output)
        zeros = (torch.zeros_like(state.bar_states), torch.zeros_like(state.bar_hits))
        return state.change(begins, bar_states=zeros[0], bar_hits=zeros[1])

    def _end_phrase(self, state: State, begins: Tensor | bool, ends: Tensor | bool) -> State:
        """Likewise for phrases."""
        if ends is not False:
            grid = self.grid
            means = [state.phrase_states / grid.bars_per_phrase, state.phrase_hits / grid.steps_per_phrase]
            output, phrase = self.phrase_rnn.step(self.bar_to_phrase(torch.cat(means, -1)), state.phrase)
            state = state.change(ends, phrase=phrase, phrase_output=output)
        zeros = (torch.zeros_like(state.phrase_states), torch.zeros_like(state.phrase_hits))
        return state.change(begins, phrase_states=zeros[0], phrase_hits=zeros[1])

    def inputs(
        self, state: State, column: Float[Tensor, "B window keys"] | None, *, place: int | None = None
    ) -> StepInputs:
        """Return the inputs of the next step's distribution.

        Args:
            state: before that step. Its memory and plan are not read.
            column: of the memory, for that step of the bar; None without bar attention.
            place: the position, where all rows have the same.
        """
        position, attended = state.position if place is None else state.position[:1], None
        if self.bar_attention is not None:
            assert column is not None
            attended = self.bar_attention.recall(state.hidden, position, column)
        hidden = state.hidden
        for layer, output in ((self.hear_bar, state.bar_output), (self.hear_phrase, state.phrase_output)):
            if layer is not None:
                hidden = hidden + layer(output)
        return StepInputs(self._features(hidden, attended, position), attended)

    def distribution(
        self,
        state: State,
        inputs: StepInputs,
        condition: Float[Tensor, "B plan_dim"] | None = None,
        *,
        place: int | None = None,
    ) -> StepDistribution:
        """Return the distribution of the next step, given the embedded plan of its bar as ``condition``, or none."""
        position = state.position if place is None else state.position[:1]
        return self._distribution(inputs.features, inputs.attended, position, state.bar_hits, condition)

"""``HierarchicalDrumModel``: step, bar and phrase levels, one causal order, two ways of running it.

Position t predicts step t and has seen the steps before it. The step level runs over positions; its states are gathered
into bars, those into phrases; what a bar (phrase) gathered is heard by the positions after its end. The bar attention
looks from step i of a bar at step i of earlier bars. All of it meets in the features from which the output
distribution is made, so that training is one parallel pass and streaming needs one step of each level.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.core.kit import Kit
from hypermeter.io.checkpoint import Checkpoint, find_checkpoint, read_checkpoint, reading, write_checkpoint
from hypermeter.model.encoders import Recalled
from hypermeter.model.generate import check_hits, generate
from hypermeter.model.heads import StepDistribution
from hypermeter.model.levels import Levels
from hypermeter.model.losses import compute_loss
from hypermeter.model.plan import SETTLED, Plan, fitting_plan
from hypermeter.model.state import Prediction, State
from hypermeter.music.metrics import chunk_means, sums_so_far


class HierarchicalDrumModel(Levels):
    """Causal drum model with step, bar and phrase levels. Its arguments are those of ``Levels``."""

    # ------------------------------------------------------------------ whole sequences

    def forward(
        self,
        step_seq: Float[Tensor, "B T V"],
        bar_seq: Float[Tensor, "B bars V"] | None = None,
        phrase_seq: Float[Tensor, "B phrases V"] | None = None,
        *,
        sections: Int[Tensor, "B given"] | None = None,
        plan: Plan | None = None,
    ) -> Prediction:
        """Predict the next step, bar and phrase at every step, bar and phrase.

        Args:
            step_seq: hits, T >= 1; a last bar or phrase may be short.
            bar_seq: mean pattern of each bar; left out, computed from step_seq, with the same result.
            phrase_seq: mean pattern of each phrase, likewise.
            sections: label of each bar's section, 1 + its place in the model's vocabulary or 0 for unknown; in a plan
                that asks for more, left out.
            plan: what is asked of each bar, from the first on; after its last bar it stays as it is. Step t sees
                the plan of its own bar.

        Raises:
            HypermeterError: a shape or label that does not fit, or a plan for a model that was made without labels.
        """
        plan = fitting_plan(len(step_seq), self.labels, sections, plan)
        self._check(step_seq, "step_seq")
        dtype, batch = self.feature_norm.weight.dtype, len(step_seq)
        step_seq = step_seq.to(dtype)
        steps, per_bar, per_phrase = step_seq.shape[1], self.grid.steps_per_bar, self.grid.bars_per_phrase
        if bar_seq is None:
            bar_seq = chunk_means(step_seq, per_bar)
        if phrase_seq is None:
            phrase_seq = chunk_means(step_seq, self.grid.steps_per_phrase)
        self._check(bar_seq, "bar_seq", batch, -(-steps // per_bar))
        self._check(phrase_seq, "phrase_seq", batch, -(-steps // self.grid.steps_per_phrase))
        bar_seq, phrase_seq = bar_seq.to(dtype), phrase_seq.to(dtype)

        position = torch.arange(steps + 1, device=step_seq.device)
        past = F.pad(step_seq, (0, 0, self.past, 0))
        earlier = [past[:, place : place + steps + 1] for place in self.look_back]
        hidden = self.step_rnn(self._step_input(F.pad(step_seq, (0, 0, 1, 0)), earlier, position[None]))
        gathered = torch.cat([chunk_means(hidden[:, 1:], per_bar), bar_seq], -1)
        bars = self.bar_rnn(self.drop(self.step_to_bar(gathered)))
        gathered = torch.cat([chunk_means(bars, per_phrase), phrase_seq], -1)
        phrases = self.phrase_rnn(self.drop(self.bar_to_phrase(gathered)))

        recalled = None
        if self.bar_attention is not None:
            recalled = self.bar_attention(hidden, F.pad(step_seq, (0, 0, 0, 1)))
        heard = hidden
        for hear, said, size in (
            (self.hear_bar, bars, per_bar),
            (self.hear_phrase, phrases, self.grid.steps_per_phrase),
        ):
            if hear is not None:  # heard once a chunk, then by all positions after its end
                heard = heard + hear(self.drop(F.pad(said, (0, 0, 1, 0))))[:, position // size]
        last_phrase = F.pad(phrases, (0, 0, 1, 0))[
            :, (torch.arange(bars.shape[1], device=bars.device) + 1) // per_phrase
        ]
        features = self._features(heard, recalled, position[None])
        bar_logits = self.bar_output(torch.cat([bars, last_phrase], -1)) + self.bar_persistence * _log_odds(bar_seq)
        phrase_logits = self.phrase_output(phrases) + self.phrase_persistence * _log_odds(phrase_seq)
        asked_now = so_far = None
        if plan is not None:
            assert self.steering is not None
            so_far = sums_so_far(step_seq, per_bar)
            asked = self._asked(plan.bars(0, phrases.shape[1] * per_phrase + 1))
            asked_now = asked[:, position // per_bar]
            steer_bars, steer_phrases = self.steering.forecasts
            bar_logits = bar_logits + steer_bars(bars, asked[:, 1 : bars.shape[1] + 1])
            phrase_logits = phrase_logits + steer_phrases(phrases, asked[:, per_phrase::per_phrase])
        dist = self._distribution(features, recalled, position[None], so_far, asked_now)
        return Prediction(dist, bar_logits, phrase_logits, features)

    def log_prob(self, step_seq: Float[Tensor, "B T V"], **asked: Any) -> Float[Tensor, "B T"]:
        """log p(x_t | x_<t) in nats, summed over voices; t = 0 from the start state. ``asked`` is as in ``forward``.

        Raises:
            HypermeterError: as ``forward``; values other than 0 and 1.
        """
        check_hits(step_seq, self.width, "step_seq")
        dist = self(step_seq, **asked).step_dist
        return dist.log_prob(F.pad(step_seq, (0, 0, 0, 1)))[:, :-1]

    def compute_loss(self, preds: Any, targets: Any, metrics: Any = None, **options: Any) -> Tensor:
        """``losses.compute_loss`` on this model's grid."""
        return compute_loss(preds, targets, metrics, grid=self.grid, **options)

    # ------------------------------------------------------------------ one step at a time

    def init_state(self, batch_size: int, plan: Plan | None = None) -> State:
        """The state before the first step; ``predict`` gives the distribution of that step.

        Args:
            batch_size: rows.
            plan: as in ``forward``, of one row or ``batch_size``.
        """
        plan = fitting_plan(batch_size, self.labels, plan=plan)
        start = self._start_state(plan)
        rows = torch.arange(batch_size, device=start.position.device)
        return replace(start.select(rows if plan else torch.zeros_like(rows)), start=start)

    def _start_state(self, plan: Plan | None) -> State:
        like, rows = self.feature_norm.weight, plan.batch_size if plan else 1
        position = torch.zeros(rows, dtype=torch.long, device=like.device)
        silence, history = like.new_zeros(rows, self.width), like.new_zeros(rows, self.past, self.width)
        first = self._step_input(silence, self._earlier(history), position)
        hidden, step = self.step_rnn.step(first, self.step_rnn.init_state(rows))
        bar_dim, phrase_dim = self.config["bar_hidden_dim"], self.config["phrase_hidden_dim"]
        return State(
            position=position,
            hidden=hidden,
            step=step,
            bar=self.bar_rnn.init_state(rows),
            phrase=self.phrase_rnn.init_state(rows),
            bar_output=like.new_zeros(rows, bar_dim),
            phrase_output=like.new_zeros(rows, phrase_dim),
            bar_sums=(torch.zeros_like(hidden), silence),
            phrase_sums=(like.new_zeros(rows, bar_dim), silence),
            history=history,
            memory=() if self.bar_attention is None else self.bar_attention.init_memory(rows),
            plan=like.new_zeros(rows, 1, 0) if plan is None else self._asked(plan.bars(0, plan.num_bars + SETTLED)),
        )

    def predict(self, state: State) -> StepDistribution:
        """The distribution of the next step."""
        features, recalled = self._hear(state)
        if not state.plan.shape[-1]:
            return self._distribution(features, recalled, state.position)
        bar = (state.position // self.grid.steps_per_bar).clamp(max=state.plan.shape[1] - 1)
        asked = state.plan[torch.arange(len(bar), device=bar.device), bar]
        return self._distribution(features, recalled, state.position, state.bar_sums[1], asked)

    def features(self, state: State) -> Float[Tensor, "B hidden"]:
        """What the distribution of the next step is made from: ``Prediction.features`` at its position."""
        return self._hear(state)[0]

    def _hear(self, state: State) -> tuple[Tensor, Recalled | None]:
        recalled = None
        if self.bar_attention is not None:
            recalled = self.bar_attention.recall(state.hidden, state.position, state.memory)
        heard = state.hidden
        for hear, said in ((self.hear_bar, state.bar_output), (self.hear_phrase, state.phrase_output)):
            if hear is not None:
                heard = heard + hear(said)
        return self._features(heard, recalled, state.position), recalled

    def step(self, x: Float[Tensor, "B V"], state: State) -> tuple[StepDistribution, State]:
        """Hear the step x; give the distribution of the step after it, and the new state."""
        state = self.advance(x, state)
        return self.predict(state), state

    def advance(self, x: Float[Tensor, "B V"], state: State) -> State:
        """The state after the step x.

        Raises:
            HypermeterError: x of another shape than (rows of the state, voices and the columns of tracks).
        """
        if x.shape != (len(state.position), self.width):
            expected = (len(state.position), self.width)
            raise HypermeterError(f"step: x of shape {tuple(x.shape)}, expected {expected} (rows of the state, voices)")
        x = x.to(state.hidden.dtype)
        memory = state.memory
        if self.bar_attention is not None:
            memory = self.bar_attention.remember(state.hidden, x, state.position, memory)
        position = state.position + 1
        history = torch.cat([state.history, x[:, None]], 1)[:, 1:] if self.past else state.history
        hidden, step = self.step_rnn.step(self._step_input(x, self._earlier(history), position), state.step)
        bar_sums = (state.bar_sums[0] + hidden, state.bar_sums[1] + x)
        state = replace(
            state,
            position=position,
            hidden=hidden,
            step=step,
            bar_sums=bar_sums,
            phrase_sums=(state.phrase_sums[0], state.phrase_sums[1] + x),
            history=history,
            memory=memory,
        )
        ended = position % self.grid.steps_per_bar == 0
        if ended.any():
            state = self._end_bar(state, ended)
        return state

    def generate(
        self,
        start_seq: Float[Tensor, "#B T0 V"] | None = None,
        length: int = 512,
        temperature: float = 1.0,
        **options: Any,
    ) -> Float[Tensor, "B T V"]:
        """``generate.generate`` with this model: (B, T0 + length, V)."""
        return generate(self, start_seq, length, temperature, **options)

    def _end_bar(self, state: State, ended: Bool[Tensor, " B"]) -> State:
        gathered = torch.cat(state.bar_sums, -1) / self.grid.steps_per_bar
        output, bar = self.bar_rnn.step(self.step_to_bar(gathered), state.bar)
        sums = (state.phrase_sums[0] + output, state.phrase_sums[1])
        state = state.change(ended, bar=bar, bar_output=output, bar_sums=_zeros_like(state.bar_sums), phrase_sums=sums)
        ended = state.position % self.grid.steps_per_phrase == 0
        if not ended.any():
            return state
        states, patterns = state.phrase_sums
        gathered = torch.cat([states / self.grid.bars_per_phrase, patterns / self.grid.steps_per_phrase], -1)
        output, phrase = self.phrase_rnn.step(self.bar_to_phrase(gathered), state.phrase)
        return state.change(ended, phrase=phrase, phrase_output=output, phrase_sums=_zeros_like(state.phrase_sums))

    # ------------------------------------------------------------------ files

    def save(self, path: str | Path, notes: Mapping[str, Any] | None = None) -> None:
        """Write weights, configuration, kit and grid as one safetensors file.

        Args:
            path: of the file, by custom ``.safetensors``.
            notes: anything JSON can hold (data, seed, result), kept beside the configuration.
        """
        write_checkpoint(path, Checkpoint(self.config, self.grid, self.kit, self.state_dict()), notes or {})


def _zeros_like(sums: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(sums[0]), torch.zeros_like(sums[1])


def _log_odds(mean_pattern: Float[Tensor, "*B V"]) -> Float[Tensor, "*B V"]:
    """Of a mean pattern, kept finite: .02 to .98."""
    return mean_pattern.clamp(0.02, 0.98).logit()


def load(name_or_path: str | Path, kit: str | None = None, device: str | torch.device = "cpu") -> HierarchicalDrumModel:
    """A model in eval mode.

    Args:
        name_or_path: ``groove`` (shipped), a ``.safetensors`` file, or the folder of a training run (its best
            weights, or its last before there are any).
        kit: where given, the name of the kit that the model must have.
        device: where the weights go.

    Raises:
        HypermeterError: not there, damaged, not a Hypermeter checkpoint, or of another kit.
    """
    path = find_checkpoint(name_or_path)
    with reading(path):
        checkpoint = read_checkpoint(path, kit)
        model = HierarchicalDrumModel(**checkpoint.config, grid=checkpoint.grid, kit=checkpoint.kit)
        model.load_state_dict({name: torch.from_numpy(array) for name, array in checkpoint.tensors.items()})
    return model.to(device).eval()


def kit_of(model: HierarchicalDrumModel, name: str) -> Kit:
    """The model's kit.

    Raises:
        HypermeterError: the checkpoint holds none.
    """
    if model.kit is None:
        raise HypermeterError(f"{name}: no kit in the checkpoint, so its voices have no pitches; train it with --kit")
    return model.kit

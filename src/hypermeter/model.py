"""``HierarchicalDrumModel``: step, bar and phrase levels, one causal order, two ways of running it.

Position t predicts step t and has seen the steps before it. The step level runs over positions; its states are gathered
into bars, those into phrases; what a bar (phrase) gathered is heard by the positions after its end. The bar attention
looks from step i of a bar at step i of earlier bars. All of it meets in the features from which the output
distribution is made, so that training is one parallel pass and streaming needs one step of each level.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hypermeter.checkpoint import Checkpoint, find_checkpoint, read_checkpoint, reading, write_checkpoint
from hypermeter.encoders import BarAttention, Recalled, RecurrentEncoder, TransformerEncoder
from hypermeter.expression import Expression
from hypermeter.generate import generate
from hypermeter.grid import Grid, HypermeterError
from hypermeter.heads import MixtureHead, SoftmaxHead, StepDistribution
from hypermeter.kit import Kit
from hypermeter.losses import compute_loss
from hypermeter.metrics import chunk_means, sums_so_far
from hypermeter.plan import KINDS, Labels, Plan, PlanEmbedding, Steering, fitting_plan
from hypermeter.state import Prediction, State
from hypermeter.tracks import Track, columns_of

LOOK_BACK_BARS = (1, 2, 4)
LOOK_BACK_STEPS = 4
"""From the place that is about to be played on; only what has been played is seen."""


class HierarchicalDrumModel(nn.Module):
    """Causal drum model with step, bar and phrase levels.

    Args:
        num_drums: voices V.
        step_hidden_dim, bar_hidden_dim, phrase_hidden_dim: sizes of the levels.
        num_layers: of the step level; bar and phrase have one.
        dropout: in and between levels, in [0, 1).
        use_transformer: Transformer encoders at every level in place of recurrent ones.
        cell: ``gru`` or ``lstm``, for recurrent encoders.
        output: ``mixture``, ``sigmoid`` or ``softmax``.
        num_components: of the mixture.
        known: combinations of the softmax, see ``heads.known_combinations``.
        use_bar_attention: attend to the same step of earlier bars.
        use_recalled_hits: the hits that the bar attention reads move the output's log odds as they are.
        use_positions: step-of-bar and bar-of-phrase embeddings.
        use_look_back: the step level is given what stood at its place, and just after it, LOOK_BACK_BARS ago.
        use_bar_level: hear the bar level at the step level. Its forecast is made in any case.
        use_phrase_level: likewise for phrases.
        attention_bars: bars that the bar attention sees.
        attention_window: steps (bars, phrases) that Transformer encoders see.
        labels: kind (section, style, fill) -> the labels that a ``Plan`` may ask of a bar; left out, the model takes
            no plans.
        tracks: pitched tracks beside the drums, each a record of ``Track``: their columns follow those of the drums.
        use_expression: also tell velocity and offset of each hit, see ``Expression``.
        grid: the metre.
        kit: the voices, kept in the checkpoint.

    Raises:
        HypermeterError: a size below 1, a dropout outside [0, 1), an unknown cell or output, a size that the heads of
            the attention do not divide, a kit of another number of voices.
    """

    def __init__(
        self,
        num_drums: int,
        step_hidden_dim: int = 128,
        bar_hidden_dim: int = 128,
        phrase_hidden_dim: int = 128,
        num_layers: int = 2,
        dropout: float = 0.1,
        use_transformer: bool = False,
        *,
        cell: str = "gru",
        output: str = "mixture",
        num_components: int = 32,
        known: list[list[int]] | None = None,
        use_bar_attention: bool = True,
        use_recalled_hits: bool = True,
        use_positions: bool = True,
        use_look_back: bool = True,
        use_bar_level: bool = True,
        use_phrase_level: bool = True,
        attention_bars: int = 32,
        attention_window: int = 256,
        labels: Labels | None = None,
        tracks: Sequence[Mapping[str, Any]] = (),
        use_expression: bool = False,
        grid: Grid = Grid(),
        kit: Kit | None = None,
    ):
        super().__init__()
        if kit is not None and kit.num_voices != num_drums:
            raise HypermeterError(f"model: {num_drums} drums, kit {kit.name} has {kit.num_voices}: expected the same")
        self.config = {
            "num_drums": num_drums,
            "step_hidden_dim": step_hidden_dim,
            "bar_hidden_dim": bar_hidden_dim,
            "phrase_hidden_dim": phrase_hidden_dim,
            "num_layers": num_layers,
            "dropout": dropout,
            "use_transformer": use_transformer,
            "cell": cell,
            "output": output,
            "num_components": num_components,
            "known": known,
            "use_bar_attention": use_bar_attention,
            "use_recalled_hits": use_recalled_hits,
            "use_positions": use_positions,
            "use_look_back": use_look_back,
            "use_bar_level": use_bar_level,
            "use_phrase_level": use_phrase_level,
            "attention_bars": attention_bars,
            "attention_window": attention_window,
            "use_expression": use_expression,
            "tracks": [dict(each) for each in tracks],
            "labels": None if labels is None else {kind: list(labels.get(kind, ())) for kind in KINDS},
        }
        for name, value in self.config.items():
            if type(value) is int and value < 1:
                raise HypermeterError(f"model: {name} is {value}, expected at least 1")
        if not 0 <= dropout < 1:
            raise HypermeterError(f"model: dropout is {dropout}, expected in [0, 1)")
        self.num_drums, self.grid, self.kit = num_drums, grid, kit
        self.tracks = tuple(Track.from_dict(each) for each in tracks)
        self.groups = columns_of(num_drums, self.tracks)
        self.width = width = num_drums + sum(track.size for track in self.tracks)
        """Columns of a step: voices, then those of the tracks."""
        self.labels: Labels | None = self.config["labels"]
        self.use_bar_level, self.use_phrase_level = use_bar_level, use_phrase_level

        def encoder(input_dim: int, hidden_dim: int, layers: int) -> RecurrentEncoder | TransformerEncoder:
            if use_transformer:
                return TransformerEncoder(input_dim, hidden_dim, layers, dropout, window=attention_window)
            return RecurrentEncoder(input_dim, hidden_dim, layers, dropout, cell)

        position_dim = 32 if use_positions else 0
        self.position_embedding = None
        if use_positions:
            self.position_embedding = nn.Embedding(grid.steps_per_phrase, position_dim)
            with torch.no_grad():  # a sum of step-of-bar and bar-of-phrase parts to begin with
                step_part = torch.randn(1, grid.steps_per_bar, position_dim)
                bar_part = 0.3 * torch.randn(grid.bars_per_phrase, 1, position_dim)
                self.position_embedding.weight.copy_((step_part + bar_part).flatten(0, 1))
        self.plan_embedding = None if self.labels is None else PlanEmbedding(self.labels, num_drums)
        lags = LOOK_BACK_BARS if use_look_back else ()
        ahead = min(LOOK_BACK_STEPS, grid.steps_per_bar)  # no further than the step before
        self.past = max(lags, default=0) * grid.steps_per_bar
        self.look_back = [self.past - bars * grid.steps_per_bar + step for bars in lags for step in range(ahead)]
        step_input_dim = width * (1 + len(self.look_back)) + 1 + position_dim
        self.step_rnn = encoder(step_input_dim, step_hidden_dim, num_layers)
        self.step_to_bar = nn.Linear(step_hidden_dim + width, bar_hidden_dim)
        self.bar_rnn = encoder(bar_hidden_dim, bar_hidden_dim, 1)
        self.bar_to_phrase = nn.Linear(bar_hidden_dim + width, phrase_hidden_dim)
        self.phrase_rnn = encoder(phrase_hidden_dim, phrase_hidden_dim, 1)
        self.bar_attention = None
        if use_bar_attention:
            self.bar_attention = BarAttention(
                step_hidden_dim, width, grid.steps_per_bar, window=attention_bars, dropout=dropout
            )
        self.hear_bar = nn.Linear(bar_hidden_dim, step_hidden_dim, bias=False) if use_bar_level else None
        self.hear_phrase = nn.Linear(phrase_hidden_dim, step_hidden_dim, bias=False) if use_phrase_level else None
        self.feature_norm = nn.LayerNorm(step_hidden_dim)
        self.mix = nn.Linear(step_hidden_dim + position_dim, 2 * step_hidden_dim)
        self.activation = nn.GELU()
        self.unmix = nn.Linear(2 * step_hidden_dim, step_hidden_dim)
        self.drop = nn.Dropout(dropout)
        recalled = 0 if self.bar_attention is None or not use_recalled_hits else self.bar_attention.num_heads
        self.output_layer = self._head(output, step_hidden_dim, num_components, known, recalled)
        self.steering = None
        if self.labels is not None:
            scores, dims = self.output_layer.num_scores, (bar_hidden_dim, phrase_hidden_dim)
            self.steering = Steering(
                step_hidden_dim + position_dim, num_drums, width, scores, dims, grid.steps_per_bar, dropout
            )
        self.bar_output = nn.Linear(bar_hidden_dim + phrase_hidden_dim, width)
        self.phrase_output = nn.Linear(phrase_hidden_dim, width)
        self.bar_persistence = nn.Parameter(torch.full((width,), 0.7))
        self.phrase_persistence = nn.Parameter(torch.full((width,), 0.7))

        self.expression = Expression(step_hidden_dim, num_drums, dropout=dropout) if use_expression else None

    def _head(
        self, output: str, hidden_dim: int, num_components: int, known: list[list[int]] | None, recalled: int
    ) -> MixtureHead | SoftmaxHead:
        if output == "softmax":
            if self.tracks:
                raise HypermeterError("model: a softmax has no tracks; pass output mixture, or leave the tracks out")
            return SoftmaxHead(hidden_dim, self.num_drums, known, recalled)
        if output not in ("mixture", "sigmoid"):
            raise HypermeterError(f"model: output is {output!r}, expected mixture, sigmoid or softmax")
        components = 1 if output == "sigmoid" else num_components
        return MixtureHead(hidden_dim, self.width, components, recalled, self.groups)

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
                the plan of its own bar and of those before.

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
        steered = None
        if self.steering is not None and plan is not None:
            asked = self._asked(plan.bars(0, phrases.shape[1] * per_phrase + 1))
            so_far = sums_so_far(step_seq, per_bar)
            steered = self._steered(features, so_far, position[None], asked[:, position // per_bar])
            steer_bars, steer_phrases = self.steering.forecasts
            bar_logits = bar_logits + steer_bars(bars, asked[:, 1 : bars.shape[1] + 1])
            phrase_logits = phrase_logits + steer_phrases(phrases, asked[:, per_phrase::per_phrase])
        return Prediction(self._distribution(features, recalled, steered), bar_logits, phrase_logits, features)

    def log_prob(self, step_seq: Float[Tensor, "B T V"], **asked: Any) -> Float[Tensor, "B T"]:
        """log p(x_t | x_<t) in nats, summed over voices; t = 0 from the start state. ``asked`` is as in ``forward``."""
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
        asked = self._asked(plan.at(position))[:, 0] if plan else like.new_zeros(rows, 0)
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
            asked=asked,
            plan=plan or (),
        )

    def predict(self, state: State) -> StepDistribution:
        """The distribution of the next step."""
        features, recalled = self._hear(state)
        steered = None
        if self.steering is not None:
            steered = self._steered(features, state.bar_sums[1], state.position, state.asked)
        return self._distribution(features, recalled, steered)

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
        """The state after the step x."""
        if x.shape != (len(state.position), self.width):
            expected = (len(state.position), self.width)
            raise HypermeterError(f"step: x of shape {tuple(x.shape)}, expected {expected} (rows of the state, voices)")
        x = x.to(state.hidden.dtype)
        memory = state.memory
        if self.bar_attention is not None:
            memory = self.bar_attention.remember(state.hidden, x, state.position, memory)
        position = state.position + 1
        history = torch.cat([state.history, x[:, None]], 1)[:, 1:] if self.past else state.history
        ended = position % self.grid.steps_per_bar == 0
        asked = state.asked
        if state.plan and ended.any():
            asked = torch.where(
                ended[:, None], self._asked(state.plan.at(position // self.grid.steps_per_bar))[:, 0], asked
            )
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
        if ended.any():
            state = self._end_bar(state, ended)
        return replace(state, asked=asked)

    def generate(
        self,
        start_seq: Float[Tensor, "B T0 V"] | None = None,
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

    # ------------------------------------------------------------------ shared by both

    def _earlier(self, history: Float[Tensor, "B past V"]) -> list[Float[Tensor, "B V"]]:
        """What the look-back sees, from the last steps played."""
        return [history[:, place] for place in self.look_back]

    def _step_input(
        self,
        before: Float[Tensor, "*B V"],
        earlier: list[Float[Tensor, "*B V"]],
        position: Int[Tensor, "*#B"],
    ) -> Float[Tensor, "*B input"]:
        """What was played before each position and bars ago, whether there was anything before, and where it stands."""
        is_first = (position == 0).to(before.dtype)[..., None].expand(*before.shape[:-1], 1)
        return torch.cat([before, *earlier, is_first, *self._places(before, position)], -1)

    def _places(self, beside: Float[Tensor, "*B any"], position: Int[Tensor, "*#B"]) -> list[Float[Tensor, "*B dim"]]:
        """The embedded place of each position in its phrase, to be joined to what stands there; none without."""
        if self.position_embedding is None:
            return []
        return [self.position_embedding(position % self.grid.steps_per_phrase).expand(*beside.shape[:-1], -1)]

    def _features(
        self, heard: Float[Tensor, "*B hidden"], recalled: Recalled | None, position: Int[Tensor, "*#B"]
    ) -> Float[Tensor, "*B hidden"]:
        if recalled is not None:
            heard = heard + recalled.state
        features = self.drop(self.feature_norm(heard))
        mixed = self.mix(torch.cat([features, *self._places(features, position)], -1))
        return features + self.unmix(self.activation(mixed))

    def _steered(
        self,
        features: Float[Tensor, "*B hidden"],
        so_far: Float[Tensor, "*B V"],
        position: Int[Tensor, "*#B"],
        asked: Float[Tensor, "*B plan_dim"],
    ) -> Float[Tensor, "*B scores"]:
        assert self.steering is not None
        beside = torch.cat([features, *self._places(features, position)], -1)
        return self.steering(beside, so_far, position, asked)

    def _distribution(
        self,
        features: Float[Tensor, "*B hidden"],
        recalled: Recalled | None,
        steered: Float[Tensor, "*B scores"] | None,
    ) -> StepDistribution:
        return self.output_layer(self.drop(features), None if recalled is None else recalled.hits, steered)

    def _asked(self, plan: Plan) -> Float[Tensor, "B bars plan_dim"]:
        assert self.plan_embedding is not None
        return self.plan_embedding(plan.to(self.feature_norm.weight.device))

    def _check(self, x: Tensor, name: str, batch: int | None = None, length: int | None = None) -> None:
        """Refuse what is not (batch, length, V); left out, any of at least 1 will do."""
        fits = x.dim() == 3 and x.shape[2] == self.width and min(x.shape) > 0
        if not fits or batch not in (None, x.shape[0]) or length not in (None, x.shape[1]):
            expected = f"({batch or 'batch'}, {length or 'steps'}, {self.width} voices)"
            raise HypermeterError(f"model: {name} of shape {tuple(x.shape)}, expected {expected}")

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
        checkpoint = read_checkpoint(path, kit, device)
        model = HierarchicalDrumModel(**checkpoint.config, grid=checkpoint.grid, kit=checkpoint.kit)
        model.load_state_dict(checkpoint.tensors)
    return model.to(device).eval()

"""Layers of the drum model, and what its two ways of running share."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from inspect import signature
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit
from hypermeter.core.parts import Parts, describe_part
from hypermeter.core.tracks import Track, track_groups
from hypermeter.model.dropout import Dropout
from hypermeter.model.encoders import AttentionOutput, BarAttention, RecurrentEncoder, TransformerEncoder
from hypermeter.model.expression import Expression
from hypermeter.model.follow import Follow, FollowState, RhythmTensors
from hypermeter.model.heads import MixtureHead, SoftmaxHead, StepDistribution
from hypermeter.model.places import PlaceEmbedding, PlaceTable, with_shared_weights
from hypermeter.model.plan import KINDS, Labels, Plan, PlanEmbedding, Steering
from hypermeter.play.network import LOOK_BACK_BARS, LOOK_BACK_STEPS
from hypermeter.play.places import check_look_back

L = TypeVar("L", bound="Levels")
ENCODERS = ("step_rnn", "bar_rnn", "phrase_rnn")


class Levels(nn.Module):
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
        labels: kind (section, style, fill) -> the labels that a ``Plan`` may have; None makes a model without plans.
        tracks: pitched tracks beside the drums, each a record of ``Track``; their columns follow those of the drums.
        use_expression: with an output for velocity and offset of each hit, see ``Expression``.
        use_follow: with a part that follows taps, see ``Follow``.
        grid: steps per beat, beats per bar, bars per phrase.
        kit: the voices, kept in the checkpoint.
        parts: parts to leave out, and windows of attention, for ablations.

    Raises:
        HypermeterError: an unknown argument, a size below 1, a dropout outside [0, 1), an unknown cell or output, a
            size that the number of attention heads does not divide, a kit of another number of voices.
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
        labels: Labels | None = None,
        tracks: Sequence[Mapping[str, Any]] = (),
        use_expression: bool = False,
        use_follow: bool = False,
        grid: Grid = Grid(),
        kit: Kit | None = None,
        parts: Parts = Parts(),
        **unknown: Any,
    ):
        super().__init__()
        for name in unknown:
            raise HypermeterError(f"{type(self).__name__}: no argument {name}{_advice(name)}")
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
            **parts.options(),
            "use_expression": use_expression,
            "use_follow": use_follow,
            "tracks": [dict(track) for track in tracks],
            "labels": None if labels is None else {kind: list(labels.get(kind, ())) for kind in KINDS},
            "grids": [],
        }
        for name, value in self.config.items():
            if type(value) is int and value < 1:
                raise HypermeterError(f"model: {name} is {value}, expected at least 1")
        if not 0 <= dropout < 1:
            raise HypermeterError(f"model: dropout is {dropout}, expected in [0, 1)")
        self.num_drums, self.kit = num_drums, kit
        self.tracks = tuple(Track.from_dict(track) for track in tracks)
        self.groups = track_groups(num_drums, self.tracks)
        self.width = width = num_drums + sum(track.size for track in self.tracks)
        """Columns of a step: voices, then those of the tracks."""
        self.labels: Labels | None = self.config["labels"]

        def encoder(input_dim: int, hidden_dim: int, layers: int) -> RecurrentEncoder | TransformerEncoder:
            if use_transformer:
                built = TransformerEncoder(input_dim, hidden_dim, layers, dropout, window=parts.attention_window)
            else:
                built = RecurrentEncoder(input_dim, hidden_dim, layers, dropout, cell)
            built.is_of_config = True  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
            return built

        position_dim = 32 if parts.positions else 0
        self.position_embedding = None
        if parts.positions:
            self.position_embedding = (PlaceTable if parts.place_table else PlaceEmbedding)(position_dim, grid)
        self.plan_embedding = None if self.labels is None else PlanEmbedding(self.labels, num_drums)
        lags = LOOK_BACK_BARS if parts.look_back else ()
        self.lags, self.ahead = lags, min(LOOK_BACK_STEPS, grid.steps_per_bar)  # no further than the step before
        self.first_grid = grid
        self._set_grid(grid)
        step_input_dim = width * (1 + len(self.look_back)) + 1 + position_dim
        self.step_rnn = encoder(step_input_dim, step_hidden_dim, num_layers)
        self.step_to_bar = nn.Linear(step_hidden_dim + width, bar_hidden_dim)
        self.bar_rnn = encoder(bar_hidden_dim, bar_hidden_dim, 1)
        self.bar_to_phrase = nn.Linear(bar_hidden_dim + width, phrase_hidden_dim)
        self.phrase_rnn = encoder(phrase_hidden_dim, phrase_hidden_dim, 1)
        self.bar_attention = None
        if parts.bar_attention:
            self.bar_attention = BarAttention(
                step_hidden_dim, width, grid.steps_per_bar, window=parts.attention_bars, dropout=dropout
            )
        self.hear_bar = nn.Linear(bar_hidden_dim, step_hidden_dim, bias=False) if parts.bar_level else None
        self.hear_phrase = nn.Linear(phrase_hidden_dim, step_hidden_dim, bias=False) if parts.phrase_level else None
        self.feature_norm = nn.LayerNorm(step_hidden_dim)
        self.mix = nn.Linear(step_hidden_dim + position_dim, 2 * step_hidden_dim)
        self.activation = nn.GELU()
        self.unmix = nn.Linear(2 * step_hidden_dim, step_hidden_dim)
        self.drop = Dropout(dropout)
        heads = 0 if self.bar_attention is None or not parts.recalled_hits else self.bar_attention.num_heads
        self.output_layer = self._head(output, step_hidden_dim, num_components, known, heads)
        self.steering = None
        if self.labels is not None:
            scores, dims = self.output_layer.num_scores, (bar_hidden_dim, phrase_hidden_dim)
            self.steering = Steering(position_dim, num_drums, width, scores, heads, dims, grid.steps_per_bar, dropout)
        self.follow = None
        if use_follow:
            scores, per_bar = self.output_layer.num_scores, grid.steps_per_bar
            self.follow = Follow(step_hidden_dim, position_dim, num_drums, width, scores, heads, per_bar, dropout)
        self.bar_output = nn.Linear(bar_hidden_dim + phrase_hidden_dim, width)
        self.phrase_output = nn.Linear(phrase_hidden_dim, width)
        self.bar_persistence = nn.Parameter(torch.full((width,), 0.7))
        self.phrase_persistence = nn.Parameter(torch.full((width,), 0.7))

        self.expression = (
            Expression(step_hidden_dim, num_drums, dropout=dropout, steps_per_bar=grid.steps_per_bar)
            if use_expression
            else None
        )

    def _set_grid(self, grid: Grid) -> None:
        """Set the grid, and what the look-back reads on it."""
        size, self.grid = grid.steps_per_bar, grid
        self.past = max(self.lags, default=0) * size
        self.look_back = [self.past - bars * size + step for bars in self.lags for step in range(self.ahead)]

    @property
    def grids(self) -> tuple[Grid, ...]:
        """Grids that the model was trained on, of which ``config`` has the records; none stands for its first one."""
        return tuple(map(Grid.from_dict, self.config["grids"])) or (self.first_grid,)

    def on(self: L, grid: Grid) -> L:
        """Return the model on another grid, in any metre: it has the same weights, not a copy of them.

        Raises:
            HypermeterError: a model whose places are a table, or a bar of fewer steps than the look-back reads.
        """
        if grid == self.grid:
            return self
        check_look_back(grid, self.ahead)
        model = with_shared_weights(self)
        for name in ("position_embedding", "bar_attention", "steering", "expression", "follow"):
            if (part := getattr(self, name)) is not None:
                model._modules[name] = part.on(grid)
        model._set_grid(grid)
        return model

    @property
    def custom_encoders(self) -> dict[str, str]:
        """Levels whose encoder was replaced by another than that of the configuration -> its class."""
        encoders = {name: getattr(self, name) for name in ENCODERS}
        return {
            name: type(encoder).__name__
            for name, encoder in encoders.items()
            if not getattr(encoder, "is_of_config", False)
        }

    def _head(
        self, output: str, hidden_dim: int, num_components: int, known: list[list[int]] | None, num_recalled: int
    ) -> MixtureHead | SoftmaxHead:
        if output == "softmax":
            if self.tracks:
                raise HypermeterError("model: a softmax has no tracks; pass output mixture, or leave the tracks out")
            return SoftmaxHead(hidden_dim, self.num_drums, known, num_recalled)
        if output not in ("mixture", "sigmoid"):
            raise HypermeterError(f"model: output is {output!r}, expected mixture, sigmoid or softmax")
        components = 1 if output == "sigmoid" else num_components
        return MixtureHead(hidden_dim, self.width, components, num_recalled, self.groups)

    def _step_input(
        self,
        before: Float[Tensor, "*B V"],
        earlier: list[Float[Tensor, "*B _"]],
        position: Int[Tensor, "*#B"],
    ) -> Float[Tensor, "*B input"]:
        """Return the input of the step level: ``_step_hits``, then ``_step_place``."""
        place = self._step_place(position)
        return torch.cat([self._step_hits(before, earlier), place.expand(*before.shape[:-1], -1)], -1)

    def _step_hits(
        self, before: Float[Tensor, "*B V"], earlier: list[Float[Tensor, "*B _"]]
    ) -> Float[Tensor, "*B hits"]:
        """Return the hits before each position and bars ago."""
        return torch.cat([before, *earlier], -1)

    def _step_place(self, position: Int[Tensor, "*B"]) -> Float[Tensor, "*B place"]:
        """Return whether each position is the first, and its embedding."""
        is_first = (position == 0).to(self.feature_norm.weight.dtype)[..., None]
        return torch.cat([is_first, *self._positions(is_first, position)], -1)

    def _positions(self, like: Float[Tensor, "*B any"], position: Int[Tensor, "*#B"]) -> list[Float[Tensor, "*B dim"]]:
        """Return the embedding of each position in its phrase, in the batch shape of ``like``; none without."""
        if self.position_embedding is None:
            return []
        return [self.position_embedding(position % self.grid.steps_per_phrase).expand(*like.shape[:-1], -1)]

    def _features(
        self, hidden: Float[Tensor, "*B hidden"], attended: AttentionOutput | None, position: Int[Tensor, "*#B"]
    ) -> Float[Tensor, "*B hidden"]:
        if attended is not None:
            hidden = hidden + attended.state
        features = self.drop(self.feature_norm(hidden.contiguous()))
        mixed = self.mix(torch.cat([features, *self._positions(features, position)], -1))
        return features + self.unmix(self.activation(mixed))

    def _distribution(
        self,
        features: Float[Tensor, "*B hidden"],
        attended: AttentionOutput | None,
        position: Int[Tensor, "*#B"],
        bar_hits: Float[Tensor, "*B W"] | None = None,
        condition: Float[Tensor, "*B plan_dim"] | None = None,
        followed: tuple[Tensor, Tensor] | None = None,
    ) -> StepDistribution:
        """Return the output; with a ``condition`` and the sum of the bar's hits so far, under a plan.

        ``followed`` is what taps change, see ``Follow``: scores, and gains of recalled patterns.
        """
        hits, steered, changes = None if attended is None else attended.hits, None, []
        if condition is not None:
            assert self.steering is not None
            changes.append(self.steering(self._positions(features, position), bar_hits, position, condition))
        if followed is not None:
            changes.append(followed)
        for scores, gain in changes:
            steered = scores if steered is None else steered + scores
            if hits is not None and gain.shape[-1]:
                hits = hits * (1 + gain[..., None])
        return self.output_layer(self.drop(features), hits, steered)

    def follow_taps(self, taps: RhythmTensors) -> FollowState:
        """Return the state of the part that follows taps, before the first step.

        Args:
            taps: of `check_rhythm`, or of `play.following.rhythm_of` in tensors.

        Raises:
            HypermeterError: a model that has not learnt to follow.
        """
        if self.follow is None:
            raise HypermeterError("model: it has not learnt to follow taps; train it with --only follow")
        return self.follow.init_state(taps, self._places_of(taps))

    def _places_of(self, taps: RhythmTensors) -> list[Float[Tensor, "1 T dim"]]:
        like = self.feature_norm.weight.new_zeros(1, taps.steps.shape[1], 1)
        return self._positions(like, torch.arange(like.shape[1], device=like.device)[None])

    def _embed(self, plan: Plan) -> Float[Tensor, "B bars plan_dim"]:
        assert self.plan_embedding is not None
        return self.plan_embedding(plan.to(self.feature_norm.weight.device))

    def _check(self, x: Tensor, name: str, batch: int | None = None, length: int | None = None) -> None:
        """Raise if x is not (batch, length, W); None stands for any size of at least 1."""
        fits = x.dim() == 3 and x.shape[2] == self.width and min(x.shape) > 0
        if not fits or batch not in (None, x.shape[0]) or length not in (None, x.shape[1]):
            expected = f"({batch or 'batch'}, {length or 'steps'}, {self.width} voices)"
            raise HypermeterError(f"model: {name} of shape {tuple(x.shape)}, expected {expected}")


def _advice(name: str) -> str:
    """Return what to write in place of an argument that the model does not have."""
    if part := describe_part(name):
        return f"; {part}"
    names = [parameter for parameter in signature(Levels).parameters if parameter != "unknown"]
    near = get_close_matches(name, names, 1)
    return f", did you mean {near[0]}?" if near else f"; expected some of {', '.join(names)}"

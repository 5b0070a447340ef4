"""``HierarchicalDrumModel``: step, bar and phrase levels, in a parallel pass or one step at a time.

Position t predicts step t from the steps before it. The step level runs over positions; the means of its outputs over
bars are inputs of the bar level, whose means over phrases are inputs of the phrase level. The outputs of a bar (phrase)
are added to the positions after its end. The bar attention attends from step i of a bar to step i of earlier bars.
The sum of all gives the features, and these the output distribution.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit
from hypermeter.core.parts import Parts
from hypermeter.io.checkpoint import Checkpoint, checkpoint_errors, find_checkpoint, read_checkpoint, write_checkpoint
from hypermeter.model.encoders import RecurrentEncoder
from hypermeter.model.expression import Expression
from hypermeter.model.follow import AnyRhythm, check_rhythm
from hypermeter.model.losses import compute_loss
from hypermeter.model.plan import AnyPlan, check_plan
from hypermeter.model.playing import check_hits, generate, player_of
from hypermeter.model.state import Prediction
from hypermeter.model.stepping import Stepping
from hypermeter.music.metrics import chunk_means, sums_so_far
from hypermeter.play.player import Player


class HierarchicalDrumModel(Stepping):
    """Causal drum model with step, bar and phrase levels. Its arguments are those of ``Levels``."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any], grid: Grid, kit: Kit | None) -> "HierarchicalDrumModel":
        """Return a model with new weights of a ``config`` as models and checkpoints have it."""
        parts = Parts.from_options(config)
        options = {name: value for name, value in config.items() if name not in (*parts.options(), "grids")}
        model = cls(**options, grid=grid, kit=kit, parts=parts)
        model.config["grids"] = list(config.get("grids", ()))
        return model

    # ------------------------------------------------------------------ whole sequences

    def forward(
        self,
        step_seq: Float[Tensor, "B T V"],
        bar_seq: Float[Tensor, "B bars V"] | None = None,
        phrase_seq: Float[Tensor, "B phrases V"] | None = None,
        *,
        sections: Int[Tensor, "B given"] | None = None,
        plan: AnyPlan | None = None,
        taps: AnyRhythm | None = None,
    ) -> Prediction:
        """Predict the next step, bar and phrase at every step, bar and phrase.

        Args:
            step_seq: hits, T >= 1; a last bar or phrase may be short.
            bar_seq: mean pattern of each bar; None computes it from step_seq, with the same result.
            phrase_seq: mean pattern of each phrase, likewise.
            sections: label of each bar's section, 1 + its index in the model's vocabulary or 0 for unknown; not beside
                a plan.
            plan: per-bar conditions, from the first bar on; the last bar's hold for all after it. Step t is given
                those of its own bar.
            taps: a rhythm to follow, for a model that has learnt it; all of it is read at every step.

        Raises:
            HypermeterError: a shape or label that does not fit, or a plan for a model that was made without labels.
        """
        plan = check_plan(len(step_seq), self.labels, sections, plan)
        self._check(step_seq, "step_seq")
        rhythm = check_rhythm(len(step_seq), self.num_drums, self.follow is not None, taps)
        dtype, batch = self.feature_norm.weight.dtype, len(step_seq)
        step_seq = step_seq.to(dtype)
        steps, per_bar, per_phrase = step_seq.shape[1], self.grid.steps_per_bar, self.grid.bars_per_phrase
        if bar_seq is None:
            bar_seq = chunk_means(step_seq, per_bar)
        if phrase_seq is None:
            phrase_seq = chunk_means(step_seq, self.grid.steps_per_phrase)
        assert bar_seq is not None and phrase_seq is not None
        self._check(bar_seq, "bar_seq", batch, -(-steps // per_bar))
        self._check(phrase_seq, "phrase_seq", batch, -(-steps // self.grid.steps_per_phrase))
        bar_seq, phrase_seq = bar_seq.to(dtype), phrase_seq.to(dtype)

        position = torch.arange(steps + 1, device=step_seq.device)
        hidden = self._run_steps(step_seq, position)
        bar_means = torch.cat([chunk_means(hidden[:, 1:], per_bar), bar_seq], -1)
        bars = self.bar_rnn(self.drop(self.step_to_bar(bar_means)))
        phrase_means = torch.cat([chunk_means(bars, per_phrase), phrase_seq], -1)
        phrases = self.phrase_rnn(self.drop(self.bar_to_phrase(phrase_means)))

        attended = None
        if self.bar_attention is not None:
            attended = self.bar_attention(hidden, F.pad(step_seq, (0, 0, 0, 1)))
        earlier_bars, earlier_phrases = (F.pad(outputs, (0, 0, 1, 0)) for outputs in (bars, phrases))
        phrase_of_bar = torch.arange(bars.shape[1] + 1, device=bars.device) // per_phrase
        heard = []  # Computed once for a chunk, then added to all positions after its end.
        if self.hear_bar is not None:
            heard.append(self.hear_bar(self.drop(earlier_bars)))
        if self.hear_phrase is not None:
            heard.append(self.hear_phrase(self.drop(earlier_phrases))[:, phrase_of_bar])
        if heard:
            by_step = sum(heard[1:], heard[0])[:, :, None].expand(-1, -1, per_bar, -1).flatten(1, 2)
            hidden = hidden + by_step[:, : steps + 1]
        features = self._features(hidden, attended, position[None])
        last_phrase = earlier_phrases[:, phrase_of_bar[1:]]
        bar_logits = self.bar_output(torch.cat([bars, last_phrase], -1)) + self.bar_persistence * _log_odds(bar_seq)
        phrase_logits = self.phrase_output(phrases) + self.phrase_persistence * _log_odds(phrase_seq)
        condition = bar_hits = None
        if plan is not None:
            assert self.steering is not None
            bar_hits = sums_so_far(step_seq, per_bar)
            by_bar = self._embed(plan.bars(0, phrases.shape[1] * per_phrase + 1))
            condition = by_bar[:, position // per_bar]
            steer_bars, steer_phrases = self.steering.forecasts
            bar_logits = bar_logits + steer_bars(bars, by_bar[:, 1 : bars.shape[1] + 1])
            phrase_logits = phrase_logits + steer_phrases(phrases, by_bar[:, per_phrase::per_phrase])
        followed = None
        if rhythm is not None:
            assert self.follow is not None
            recalled = None if attended is None else attended.hits
            followed = self.follow(features, recalled, step_seq, self.follow.encode(rhythm, self._places_of(rhythm)))
        dist = self._distribution(features, attended, position[None], bar_hits, condition, followed)
        return Prediction(dist, bar_logits, phrase_logits, features)

    def _run_steps(
        self, step_seq: Float[Tensor, "B T V"], position: Int[Tensor, " positions"]
    ) -> Float[Tensor, "B positions hidden"]:
        """Return the outputs of the step level."""
        before, past = F.pad(step_seq, (0, 0, 1, 0)), F.pad(step_seq, (0, 0, self.past, 0))
        earlier = []
        if self.look_back:  # Steps of a row are side by side in memory, so that a window of them is a row of a view.
            windows = past.unfold(1, self.ahead, 1).transpose(2, 3).flatten(2)
            earlier = [windows[:, start : start + len(position)] for start in self.look_back[:: self.ahead]]
        if type(self.step_rnn) is RecurrentEncoder:  # Another class may take one argument only.
            return self.step_rnn(self._step_hits(before, earlier), self._step_place(position))
        return self.step_rnn(self._step_input(before, earlier, position[None]))

    def log_prob(self, step_seq: Float[Tensor, "B T V"], **conditions: Any) -> Float[Tensor, "B T"]:
        """Return log p(x_t | x_<t) in nats, summed over voices; t = 0 from the start state.

        Args:
            step_seq: hits, 0 or 1.
            conditions: as in ``forward``.

        Raises:
            HypermeterError: as ``forward``; values other than 0 and 1.
        """
        check_hits(step_seq, self.width, "step_seq")
        dist = self(step_seq, **conditions).step_dist
        return dist.log_prob(F.pad(step_seq, (0, 0, 0, 1)))[:, :-1]

    def compute_loss(self, preds: Any, targets: Any, metrics: Any = None, **options: Any) -> Tensor:
        """Return ``losses.compute_loss`` on this model's grid."""
        return compute_loss(preds, targets, metrics, grid=self.grid, **options)

    generate = generate
    """``playing.generate`` with this model: (B, T0 + length, V)."""

    @property
    def is_stock(self) -> bool:
        """Whether all parts are of the package, so that the engine can play the model from its weights."""
        is_known = self.expression is None or type(self.expression) is Expression
        return type(self) is HierarchicalDrumModel and not self.custom_encoders and is_known

    def player(self, name: str = "model") -> Player:
        """Return the engine's player of this model with its present weights; see ``play.player``."""
        return player_of(self, name)

    # ------------------------------------------------------------------ files

    def save(self, path: str | Path, notes: Mapping[str, Any] | None = None) -> None:
        """Write weights, configuration, kit and grid as one safetensors file.

        Args:
            path: of the file, by custom ``.safetensors``.
            notes: anything JSON can hold (data, seed, result), kept beside the configuration.

        Raises:
            HypermeterError: a path that cannot be written.
        """
        config = self.config | ({"encoders": self.custom_encoders} if self.custom_encoders else {})
        write_checkpoint(path, Checkpoint(config, self.grid, self.kit, self.state_dict()), notes or {})

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "expression" and "config" in self.__dict__:  # It may be assigned to a model that was made without.
            self.config["use_expression"] = value is not None


def _log_odds(mean_pattern: Float[Tensor, "*B V"]) -> Float[Tensor, "*B V"]:
    """Return the log odds of a mean pattern, clamped to .02 to .98."""
    return mean_pattern.clamp(0.02, 0.98).logit()


def load(
    name_or_path: str | Path,
    kit: str | None = None,
    device: str | torch.device = "cpu",
    encoders: Mapping[str, nn.Module] | None = None,
) -> HierarchicalDrumModel:
    """Load a model in eval mode.

    Args:
        name_or_path: ``groove`` (shipped), a ``.safetensors`` file, or the folder of a training run (its best
            weights, or its last before there are any).
        kit: name of the kit that the model must have; None takes any.
        device: of the weights.
        encoders: level (``step_rnn``, ``bar_rnn``, ``phrase_rnn``) -> module, for a model that was saved with encoders
            of one's own: modules made as they were for it, which become parts of the model and take its weights.

    Raises:
        HypermeterError: no such file, a damaged one, no Hypermeter checkpoint, or one of another kit; ``encoders`` are
            not those that the model was saved with.
    """
    path = find_checkpoint(name_or_path)
    with checkpoint_errors(path):
        checkpoint = read_checkpoint(path, kit)
        config, encoders = dict(checkpoint.config), dict(encoders or {})
        _check_encoders(path, config.pop("encoders", {}), encoders)
        model = HierarchicalDrumModel.from_config(config, checkpoint.grid, checkpoint.kit)
        for level, encoder in encoders.items():
            setattr(model, level, encoder)
        model.load_state_dict({name: torch.from_numpy(array) for name, array in checkpoint.tensors.items()})
    return model.to(device).eval()


def _check_encoders(path: Path, saved: Mapping[str, str], given: Mapping[str, nn.Module]) -> None:
    """Raise if the encoders are not those of one's own that the checkpoint was saved with."""
    if wrong := sorted({*given} - {*saved}):
        raise HypermeterError(
            f"{path}: encoders given for {', '.join(wrong)}, where the checkpoint has the package's own; leave them out"
        )
    if missing := {level: name for level, name in saved.items() if level not in given}:
        names = ", ".join(f"{level} is a {name}" for level, name in missing.items())
        example = ", ".join(f"'{level}': {name}(...)" for level, name in missing.items())
        raise HypermeterError(f"{path}: {names}, no encoder of the package; load it with encoders={{{example}}}")

"""``HierarchicalDrumModel``: step, bar and phrase levels, one causal order, two ways of running it.

Position t predicts step t and has seen the steps before it. The step level runs over positions; its states are gathered
into bars, those into phrases; what a bar (phrase) gathered is heard by the positions after its end. The bar attention
looks from step i of a bar at step i of earlier bars. All of it meets in the features from which the output
distribution is made, so that training is one parallel pass and streaming needs one step of each level.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from hypermeter.core.errors import HypermeterError
from hypermeter.core.kit import Kit
from hypermeter.io.checkpoint import Checkpoint, find_checkpoint, read_checkpoint, reading, write_checkpoint
from hypermeter.model.losses import compute_loss
from hypermeter.model.plan import Plan, fitting_plan
from hypermeter.model.playing import check_hits, generate, player_of
from hypermeter.model.state import Prediction
from hypermeter.model.stepping import Stepping
from hypermeter.music.metrics import chunk_means, sums_so_far
from hypermeter.play.player import Player


class HierarchicalDrumModel(Stepping):
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
        assert bar_seq is not None and phrase_seq is not None
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

    generate = generate
    """``playing.generate`` with this model: (B, T0 + length, V)."""

    @property
    def is_stock(self) -> bool:
        """Whether all parts are of the package, so that the engine plays the model from its weights."""
        return type(self) is HierarchicalDrumModel and not self.own_encoders

    def player(self, name: str = "model") -> Player:
        """The engine's player of this model as it is now: it infills, varies, performs; see ``play.player``."""
        return player_of(self, name)

    # ------------------------------------------------------------------ files

    def save(self, path: str | Path, notes: Mapping[str, Any] | None = None) -> None:
        """Write weights, configuration, kit and grid as one safetensors file.

        Args:
            path: of the file, by custom ``.safetensors``.
            notes: anything JSON can hold (data, seed, result), kept beside the configuration.
        """
        own = {"encoders": self.own_encoders} if self.own_encoders else {}
        write_checkpoint(path, Checkpoint(self.config | own, self.grid, self.kit, self.state_dict()), notes or {})


def _log_odds(mean_pattern: Float[Tensor, "*B V"]) -> Float[Tensor, "*B V"]:
    """Of a mean pattern, kept finite: .02 to .98."""
    return mean_pattern.clamp(0.02, 0.98).logit()


def load(
    name_or_path: str | Path,
    kit: str | None = None,
    device: str | torch.device = "cpu",
    encoders: Mapping[str, nn.Module] | None = None,
) -> HierarchicalDrumModel:
    """A model in eval mode.

    Args:
        name_or_path: ``groove`` (shipped), a ``.safetensors`` file, or the folder of a training run (its best
            weights, or its last before there are any).
        kit: where given, the name of the kit that the model must have.
        device: where the weights go.
        encoders: by level (``step_rnn``, ``bar_rnn``, ``phrase_rnn``), where the model was saved with encoders of one's
            own: modules as they were made for it, which become parts of the model and take its weights.

    Raises:
        HypermeterError: not there, damaged, not a Hypermeter checkpoint, or of another kit; ``encoders`` are not those
            that the model was saved with.
    """
    path = find_checkpoint(name_or_path)
    with reading(path):
        checkpoint = read_checkpoint(path, kit)
        config, encoders = dict(checkpoint.config), dict(encoders or {})
        _check_encoders(path, config.pop("encoders", {}), encoders)
        model = HierarchicalDrumModel(**config, grid=checkpoint.grid, kit=checkpoint.kit)
        for level, encoder in encoders.items():
            setattr(model, level, encoder)
        model.load_state_dict({name: torch.from_numpy(array) for name, array in checkpoint.tensors.items()})
    return model.to(device).eval()


def _check_encoders(path: Path, saved: Mapping[str, str], given: Mapping[str, nn.Module]) -> None:
    """Refuse encoders that are not those of one's own that the checkpoint was saved with."""
    if wrong := sorted({*given} - {*saved}):
        raise HypermeterError(
            f"{path}: encoders given for {', '.join(wrong)}, where the checkpoint has the package's own; leave them out"
        )
    if missing := {level: name for level, name in saved.items() if level not in given}:
        named = ", ".join(f"{level} is a {name}" for level, name in missing.items())
        example = ", ".join(f"'{level}': {name}(...)" for level, name in missing.items())
        raise HypermeterError(f"{path}: {named}, no encoder of the package; load it with encoders={{{example}}}")


def kit_of(model: HierarchicalDrumModel, name: str) -> Kit:
    """The model's kit.

    Raises:
        HypermeterError: the checkpoint holds none.
    """
    if model.kit is None:
        raise HypermeterError(f"{name}: no kit in the checkpoint, so its voices have no pitches; train it with --kit")
    return model.kit

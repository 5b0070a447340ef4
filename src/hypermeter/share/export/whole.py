"""``HierarchicalDrumModel.forward`` for export: the same computation, for any number of rows and steps in one graph.

Chunks are gathered by index and not by reshaping, and no choice hangs on a length: the exporter would fix either.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hypermeter.model.encoders import Recalled, RecurrentEncoder, TransformerEncoder
from hypermeter.model.heads import Mixture
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.share.export.recurrent import Sequence


class WindowedTransformer(nn.Module):
    """A Transformer encoder over whole sequences, which always has its mask."""

    def __init__(self, encoder: TransformerEncoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Float[Tensor, "B T input"]) -> Float[Tensor, "B T hidden"]:
        own, position = self.encoder, torch.arange(x.shape[1])
        age = position[:, None] - position
        mask = (age >= 0) & (age < own.window)
        x = own.embed(x)
        for layer in own.layers:
            q, k, v = layer.project(x, position[None])
            x = layer.finish(x, F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
        return own.norm(x)


def _whole(encoder: RecurrentEncoder | TransformerEncoder) -> nn.Module:
    return Sequence(encoder) if isinstance(encoder, RecurrentEncoder) else WindowedTransformer(encoder)


class ForwardGraph(nn.Module):
    """Whole sequences at once; position t is for step t."""

    def __init__(self, model: HierarchicalDrumModel):
        super().__init__()
        self.model = model
        self.step_rnn, self.bar_rnn, self.phrase_rnn = map(_whole, (model.step_rnn, model.bar_rnn, model.phrase_rnn))

    def forward(
        self, step_seq: Float[Tensor, "B T W"], asked: Float[Tensor, "B bars plan_dim"] | None = None
    ) -> dict[str, Tensor]:
        """As ``HierarchicalDrumModel.forward``.

        Args:
            step_seq: hits, T >= 1.
            asked: embedded plan, whose last bar goes on; zeros ask nothing.

        Returns:
            ``log_weights`` and ``logits`` of positions 0..T, ``bar_logits``, ``phrase_logits``, ``features``.
        """
        model, grid = self.model, self.model.grid
        per_bar, per_phrase, steps = grid.steps_per_bar, grid.bars_per_phrase, step_seq.shape[1]
        position = torch.arange(steps + 1)
        past = F.pad(step_seq, (0, 0, model.past, 0))
        earlier = [past[:, place : place + steps + 1] for place in model.look_back]
        hidden = self.step_rnn(model._step_input(F.pad(step_seq, (0, 0, 1, 0)), earlier, position[None]))
        bar_seq, phrase_seq = _means(step_seq, per_bar), _means(step_seq, grid.steps_per_phrase)
        bars = self.bar_rnn(model.step_to_bar(torch.cat([_means(hidden[:, 1:], per_bar), bar_seq], -1)))
        phrases = self.phrase_rnn(model.bar_to_phrase(torch.cat([_means(bars, per_phrase), phrase_seq], -1)))
        recalled = None if model.bar_attention is None else self._recall(hidden, step_seq)
        total, ended = hidden, F.pad(phrases, (0, 0, 1, 0))
        if model.hear_bar is not None:
            total = total + model.hear_bar(F.pad(bars, (0, 0, 1, 0)))[:, position // per_bar]
        if model.hear_phrase is not None:
            total = total + model.hear_phrase(ended)[:, position // grid.steps_per_phrase]
        features = model._features(total, recalled, position[None])

        last_phrase = ended[:, (torch.arange(bars.shape[1]) + 1) // per_phrase]
        bar_logits = model.bar_output(torch.cat([bars, last_phrase], -1)) + model.bar_persistence * _log_odds(bar_seq)
        phrase_logits = model.phrase_output(phrases) + model.phrase_persistence * _log_odds(phrase_seq)
        so_far = asked_now = None
        if asked is not None:
            assert model.steering is not None
            before = F.pad(step_seq.cumsum(1), (0, 0, 1, 0))
            so_far = before - before[:, position // per_bar * per_bar]
            asked_now = _at(asked, position // per_bar)
            steer_bars, steer_phrases = model.steering.forecasts
            next_bar = torch.arange(bars.shape[1]) + 1
            next_phrase = (torch.arange(phrases.shape[1]) + 1) * per_phrase
            bar_logits = bar_logits + steer_bars(bars, _at(asked, next_bar))
            phrase_logits = phrase_logits + steer_phrases(phrases, _at(asked, next_phrase))
        dist = model._distribution(features, recalled, position[None], so_far, asked_now)
        assert isinstance(dist, Mixture)
        return {
            "log_weights": dist.log_weights,
            "logits": dist.logits,
            "bar_logits": bar_logits,
            "phrase_logits": phrase_logits,
            "features": features,
        }

    def _recall(self, hidden: Tensor, step_seq: Tensor) -> Recalled:
        """What the bar attention reads at each position, as its ``forward`` does."""
        attention, per_bar = self.model.bar_attention, self.model.grid.steps_per_bar
        assert attention is not None
        played = F.pad(step_seq, (0, 0, 0, 1))
        states, played = (_chunks(x, per_bar).transpose(1, 2).flatten(0, 1) for x in (hidden, played))
        bar = torch.arange(states.shape[1])
        distance = bar[:, None] - bar
        bias = attention._bias(distance, torch.ones_like(distance, dtype=torch.bool))[None]
        found = attention._attend(states, attention.element(states, played), bias)
        by_row = (x.unflatten(0, (-1, per_bar)).transpose(1, 2).flatten(1, 2) for x in found)
        return Recalled(*(x[:, : hidden.shape[1]] for x in by_row))


def _chunks(x: Float[Tensor, "B T C"], size: int) -> Float[Tensor, "B chunks size C"]:
    """Chunks of ``size`` elements, the last filled with zeros."""
    number = (x.shape[1] + size - 1) // size
    places = torch.arange(number)[:, None] * size + torch.arange(size)
    return F.pad(x, (0, 0, 0, size - 1))[:, places]


def _means(x: Float[Tensor, "B T C"], size: int) -> Float[Tensor, "B chunks C"]:
    """``metrics.chunk_means``: of a short last chunk over what it has."""
    chunks = _chunks(x, size)
    lengths = (x.shape[1] - torch.arange(chunks.shape[1]) * size).clamp(max=size)
    return chunks.sum(2) / lengths[:, None]


def _at(asked: Float[Tensor, "B bars dim"], bar: Tensor) -> Tensor:
    """Of these bars; after its last a plan stays as it is."""
    return asked[:, bar.clamp(max=asked.shape[1] - 1)]


def _log_odds(mean_pattern: Tensor) -> Tensor:
    return mean_pattern.clamp(0.02, 0.98).logit()

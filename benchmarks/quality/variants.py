"""Models that differ from the shipped one in one choice each, for the table of choices in ``ablations.py``.

They train and score whole sequences; they do not stream.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hypermeter import HierarchicalDrumModel
from hypermeter.learn.train.config import TrainConfig
from hypermeter.learn.train.material import batches
from hypermeter.model.encoders import AttentionOutput, BarAttention, TransformerEncoder
from hypermeter.model.heads import REPEAT, Mixture, MixtureHead

# ---------------------------------------------------------------------- bar attention


def _attention(model: HierarchicalDrumModel, num_heads: int = 4) -> BarAttention:
    """A bar attention as the model has one."""
    config = model.config
    return BarAttention(
        config["step_hidden_dim"],
        model.width,
        model.grid.steps_per_bar,
        num_heads,
        config["attention_bars"],
        config["dropout"],
    )


class OneHead(HierarchicalDrumModel):
    """Bar attention of one head."""

    num_heads = 1

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.bar_attention = _attention(self, self.num_heads)
        size, components = self.config["step_hidden_dim"], self.config["num_components"]
        self.output_layer = MixtureHead(size, self.width, components, self.num_heads)


class EightHeads(OneHead):
    """Bar attention of eight heads."""

    num_heads = 8


class NoDistance(HierarchicalDrumModel):
    """Bar attention that does not know how far back a bar is."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        assert self.bar_attention is not None
        self.bar_attention.distance_bias.requires_grad_(False).zero_()


class _ReadsHits(BarAttention):
    def keys_and_values(self, states: Tensor, played: Tensor) -> tuple[Tensor, Tensor]:
        return self.key(states), self.value(torch.cat([torch.zeros_like(states), played], -1))


class ValuesOfHits(HierarchicalDrumModel):
    """Bar attention whose values are the hits of earlier bars, without the states."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        assert self.bar_attention is not None
        self.bar_attention.__class__ = _ReadsHits


class _TwoDeep(nn.Module):
    """A second bar attention, whose query is what the first has read."""

    def __init__(self, first: BarAttention, second: BarAttention):
        super().__init__()
        self.first, self.second, self.num_heads = first, second, second.num_heads

    def forward(self, states: Tensor, played: Tensor) -> AttentionOutput:
        read = self.first(states, played).state
        again = self.second(states + read, played)
        return AttentionOutput(read + again.state, again.hits)


class TwoDeep(HierarchicalDrumModel):
    """Bar attention of two layers."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        assert self.bar_attention is not None
        self.bar_attention = _TwoDeep(self.bar_attention, _attention(self))  # type: ignore[assignment]


# ---------------------------------------------------------------------- phrases


class PhraseAttention(HierarchicalDrumModel):
    """Self-attention over phrases in place of their GRU."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        size = self.config["phrase_hidden_dim"]
        self.phrase_rnn = TransformerEncoder(size, size, 1, self.config["dropout"])


# ---------------------------------------------------------------------- output


class TiedHead(MixtureHead):
    """A mixture whose voices are vectors, those by which the hits of the step before are embedded."""

    def __init__(self, hidden_dim: int, vectors: nn.Parameter, num_components: int, num_recalled: int):
        super().__init__(hidden_dim, len(vectors), num_components, num_recalled)
        self.bias = nn.Parameter(self.project.bias[num_components:].detach().unflatten(0, (num_components, -1)).clone())
        self.directions = num_components * vectors.shape[1]
        self.project = nn.Linear(hidden_dim, num_components + self.directions)
        self.vectors = vectors

    def forward(self, features: Tensor, recalled: Tensor | None = None, steered: Tensor | None = None) -> Mixture:
        weights, directions = self.project(features).split([self.num_components, self.directions], -1)
        logits = directions.unflatten(-1, (self.num_components, -1)) @ self.vectors.T + self.bias
        if recalled is not None:
            assert self.repeat is not None
            logits = logits + torch.einsum("...rv,krv->...kv", recalled, self.repeat)
        return Mixture(weights.log_softmax(-1), logits)


class Tied(HierarchicalDrumModel):
    """Voices have one vector each, for the input of the step before and for the output."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        size, config = 32, self.config
        vectors = nn.Parameter(torch.randn(self.width, size) / size**0.5)
        before = self.step_rnn.rnn  # type: ignore[union-attr]
        self.step_rnn = type(self.step_rnn)(
            before.input_size - self.width + size, before.hidden_size, before.num_layers, config["dropout"]
        )
        recalled = 0 if self.bar_attention is None else self.bar_attention.num_heads
        self.output_layer = TiedHead(config["step_hidden_dim"], vectors, config["num_components"], recalled)

    def _step_hits(self, before: Tensor, earlier: list[Tensor]) -> Tensor:
        return torch.cat([before @ self.output_layer.vectors, *earlier], -1)  # type: ignore[union-attr]


@dataclass(frozen=True)
class _Chain(Mixture):
    """p(x) = prod_v Bernoulli(x_v | x_u of the voices u before v); it only scores. ``pairs`` is what u adds to v."""

    pairs: Float[Tensor, "*B V V"] = field(kw_only=True)

    def __getitem__(self, index: Any) -> "_Chain":
        return _Chain(self.log_weights[index], self.logits[index], pairs=self.pairs[index])

    @property
    def probs(self) -> Tensor:
        raise NotImplementedError

    def log_prob(self, x: Float[Tensor, "*B V"]) -> Float[Tensor, "*B"]:
        odds = self.logits[..., 0, :] + (x[..., None, :] @ self.pairs)[..., 0, :]
        return -F.binary_cross_entropy_with_logits(odds, x, reduction="none").sum(-1)


class _ChainHead(nn.Module):
    def __init__(self, hidden_dim: int, voices: int, num_recalled: int, is_reversed: bool):
        super().__init__()
        self.voices, self.num_scores = voices, voices + voices * voices
        self.project = nn.Linear(hidden_dim, self.num_scores)
        self.repeat = nn.Parameter(torch.full((num_recalled, voices), REPEAT))
        order = torch.arange(voices)
        self.register_buffer("earlier", order[:, None] > order if is_reversed else order[:, None] < order)

    def forward(self, features: Tensor, recalled: Tensor | None = None, steered: Tensor | None = None) -> _Chain:
        logits, pairs = self.project(features).split([self.voices, self.voices**2], -1)
        if recalled is not None:
            logits = logits + (recalled * self.repeat).sum(-2)
        pairs = pairs.unflatten(-1, (self.voices, self.voices)) * self.earlier
        return _Chain(torch.zeros_like(logits[..., :1]), logits[..., None, :], pairs=pairs)


class Chain(HierarchicalDrumModel):
    """Voices one after the other, in the order of the kit, in place of the mixture."""

    is_reversed = False

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        recalled = 0 if self.bar_attention is None else self.bar_attention.num_heads
        self.output_layer = _ChainHead(  # type: ignore[assignment]
            self.config["step_hidden_dim"], self.width, recalled, self.is_reversed
        )


class ChainBackwards(Chain):
    """As ``Chain``, from the last voice of the kit to the first."""

    is_reversed = True


# ---------------------------------------------------------------------- training

DEPTH_SHARE = 0.1
"""Of windows in which a part is left out, in stochastic depth."""


class _Sometimes(nn.Module):
    """A part that is left out of some windows in training, all of it (Huang et al. 2016)."""

    def __init__(self, part: nn.Module):
        super().__init__()
        self.part = part
        self.num_heads = getattr(part, "num_heads", 0)

    def forward(self, *inputs: Tensor) -> Any:
        out = self.part(*inputs)
        if not self.training:
            return out
        kept = (torch.rand(len(inputs[0]), device=inputs[0].device) >= DEPTH_SHARE) / (1 - DEPTH_SHARE)
        if isinstance(out, AttentionOutput):
            return AttentionOutput(out.state * kept[:, None, None], out.hits * (kept > 0)[:, None, None, None])
        return out * kept[:, None, None]


class StochasticDepth(HierarchicalDrumModel):
    """What bars, phrases and the bar attention say, and the last layer, are each left out of a tenth of the windows."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        for name in ("hear_bar", "hear_phrase", "bar_attention", "unmix"):
            setattr(self, name, _Sometimes(getattr(self, name)))


def growing_batches(datasets: Any, config: TrainConfig, first: int = 0, *ranks: int) -> Iterator[dict[str, Any]]:
    """Batches of a quarter of the window in the first third of the updates, of half of it in the second."""
    grid = datasets[0].grid
    sizes = {"step": 1, "mask": 1, "bar": grid.steps_per_bar, "bar_mask": grid.steps_per_bar}
    sizes |= {"phrase": grid.steps_per_phrase, "phrase_mask": grid.steps_per_phrase}
    for update, batch in enumerate(batches(datasets, config, first, *ranks), first):
        steps = config.seq_len >> max(2 - 3 * update // config.max_steps, 0)
        yield batch | {name: batch[name][:, : -(-steps // size)] for name, size in sizes.items()}

"""A mixture of products of Bernoullis, and of categoricals where there are tracks."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from hypermeter.core.errors import HypermeterError

REPEAT = 0.5
"""Initial weight of recalled hits in the log odds."""

Groups = tuple[tuple[int, int], ...]
"""First column of each track, and the one after its last; tracks follow the voices."""


def log_norm(logits: Float[Tensor, "*B W"], groups: Groups = ()) -> Float[Tensor, "*B"]:
    """Return the log of the sum of exp(x . logits) over all possible x."""
    voices = logits[..., : groups[0][0]] if groups else logits
    total = F.softplus(voices).sum(-1)
    for group in groups:
        total = total + F.pad(logits[..., slice(*group)], (1, 0)).logsumexp(-1)
    return total


def uniforms_of(logits: Float[Tensor, "*S W"], generator: torch.Generator | None) -> Float[Tensor, "*S W1"]:
    """Return the numbers in [0, 1) that a draw takes: one for the component, and one for each column."""
    shape = (*logits.shape[:-1], 1 + logits.shape[-1])
    return torch.rand(shape, generator=generator, dtype=torch.float64, device=logits.device)


def index_of(log_weights: Float[Tensor, "*B K"], uniform: Float[Tensor, "*B"]) -> Int[Tensor, "*B"]:
    """Return an index in 0..K - 1 for each row; weights need not be normalised."""
    sums = log_weights.double().softmax(-1).cumsum(-1)
    return (sums <= uniform[..., None] * sums[..., -1:]).sum(-1)


@dataclass(frozen=True)
class Mixture:
    """A mixture of products of Bernoullis, and of categoricals where there are tracks.

    Args:
        log_weights: (*B, K), log pi, normalised.
        logits: (*B, K, W), of a hit; of a track's column against "none".
        groups: the columns of tracks.
    """

    log_weights: Float[Tensor, "*B K"]
    logits: Float[Tensor, "*B K W"]
    groups: Groups = ()

    def __getitem__(self, index) -> "Mixture":
        return Mixture(self.log_weights[index], self.logits[index], self.groups)

    @property
    def num_voices(self) -> int:
        return self.groups[0][0] if self.groups else self.logits.shape[-1]

    @property
    def voices(self) -> "Mixture":
        """Return the distribution of the voices, with tracks marginalised out."""
        return self.only(0, self.num_voices)

    def only(self, start: int, stop: int) -> "Mixture":
        """Return the distribution of some columns, with all others marginalised out; tracks must be whole."""
        groups = tuple((first - start, last - start) for first, last in self.groups if start <= first and last <= stop)
        return Mixture(self.log_weights, self.logits[..., start:stop], groups)

    def log_prob(self, x: Float[Tensor, "*B W"]) -> Float[Tensor, "*B"]:
        """Return log p(x) in nats. For each component it is linear in x: sum_v x_v logit_v - softplus(logit_v)."""
        scores = (self.logits @ x.to(self.logits.dtype)[..., None])[..., 0] - log_norm(self.logits, self.groups)
        return (self.log_weights + scores).logsumexp(-1)

    @property
    def probs(self) -> Float[Tensor, "*B W"]:
        """Marginal probability of each column."""
        parts = [self.logits[..., : self.num_voices].sigmoid()]
        parts += [F.pad(self.logits[..., slice(*group)], (1, 0)).softmax(-1)[..., 1:] for group in self.groups]
        return (self.log_weights.exp()[..., None] * torch.cat(parts, -1)).sum(-2)

    def sample(self, generator: torch.Generator | None = None) -> Float[Tensor, "*B W"]:
        """Return a sample of each row."""
        return self.draw(uniforms_of(self.logits[..., 0, :], generator))

    def draw(self, uniforms: Float[Tensor, "*B numbers"]) -> Float[Tensor, "*B W"]:
        """Return a sample of each row by ``uniforms`` in [0, 1): for the component, then each voice, then each track.

        The same numbers give what `play.distribution` draws by them, within rounding.
        """
        component = index_of(self.log_weights, uniforms[..., 0])
        logits = self.logits.gather(-2, component[..., None, None].expand(*component.shape, 1, self.logits.shape[-1]))
        logits = logits[..., 0, :]
        voices = self.num_voices
        parts = [(uniforms[..., 1 : 1 + voices] < logits[..., :voices].sigmoid()).to(logits.dtype)]
        for number, (start, stop) in enumerate(self.groups, 1 + voices):
            chosen = index_of(F.pad(logits[..., start:stop], (1, 0)), uniforms[..., number])
            parts.append(F.one_hot(chosen, stop - start + 1)[..., 1:].to(logits.dtype))
        return torch.cat(parts, -1)


class MixtureHead(nn.Module):
    """Features to a ``Mixture`` of ``num_components``, at least 1; with 1, independent sigmoids.

    Args:
        hidden_dim: size of the features.
        num_drums: voices, and columns of tracks.
        num_components: K.
        num_recalled: recalled patterns, each with a weight in the log odds of each component.
        groups: the columns of tracks.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_drums: int,
        num_components: int = 32,
        num_recalled: int = 0,
        groups: Groups = (),
    ):
        super().__init__()
        if num_components < 1:
            raise HypermeterError(f"mixture: num_components is {num_components}, expected at least 1")
        self.num_drums, self.num_components, self.groups = num_drums, num_components, groups
        self.num_scores = num_components * (1 + num_drums)
        self.project = nn.Linear(hidden_dim, self.num_scores)
        with torch.no_grad():  # Components that start alike stay alike; drums are mostly silent.
            self.project.bias[num_components:].uniform_(-4, 0)
        self.repeat = None
        if num_recalled:
            self.repeat = nn.Parameter(torch.full((num_components, num_recalled, num_drums), REPEAT))

    def forward(
        self,
        features: Float[Tensor, "*B hidden"],
        recalled: Float[Tensor, "*B recalled V"] | None = None,
        steered: Float[Tensor, "*B scores"] | None = None,
    ) -> Mixture:
        """``steered`` is added to what the features are projected to."""
        scores = self.project(features) if steered is None else self.project(features) + steered
        weights, logits = scores.split([self.num_components, self.num_components * self.num_drums], -1)
        logits = logits.unflatten(-1, (self.num_components, self.num_drums))
        if self.repeat is not None and recalled is not None:
            logits = logits + torch.einsum("...rv,krv->...kv", recalled, self.repeat)
        return Mixture(weights.log_softmax(-1), logits, self.groups)

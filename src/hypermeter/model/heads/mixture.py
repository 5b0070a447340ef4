"""A mixture of products of Bernoullis, and of categoricals where there are tracks."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hypermeter.core.errors import HypermeterError
from hypermeter.core.limits import MOST_ENUMERATED_VOICES
from hypermeter.model.heads.combinations import codes, combinations
from hypermeter.model.heads.draw import choose, choose_tempered, draw_hits, sample_tempered

REPEAT = 0.5
"""Log odds that a recalled hit adds, before training."""

CERTAIN = 60.0
"""Log odds of what is known."""

Groups = tuple[tuple[int, int], ...]
"""First column of each track, and the one after its last; they follow the voices without a gap."""

CANDIDATES = 1_024
"""Combinations drawn when there are too many voices to enumerate all 2**V."""


def log_norm(logits: Float[Tensor, "*B W"], groups: Groups = ()) -> Float[Tensor, "*B"]:
    """log of the sum of exp(x . logits) over all x that can be: of voices, and of tracks."""
    voices = logits[..., : groups[0][0]] if groups else logits
    total = F.softplus(voices).sum(-1)
    for group in groups:
        total = total + log_norm_of_track(logits, group)
    return total


def log_norm_of_track(logits: Float[Tensor, "*B W"], group: tuple[int, int]) -> Float[Tensor, "*B"]:
    """The part of ``log_norm`` that a track has: of none and each of its columns."""
    return F.pad(logits[..., slice(*group)], (1, 0)).logsumexp(-1)


def _told(
    known: Bool[Tensor, "*B C"], values: Float[Tensor, "*B C"]
) -> tuple[Bool[Tensor, "*B C"], Bool[Tensor, "*B C"]]:
    """Of a track: the column known to be 1, if any, and those that are therefore, or by themselves, known to be 0."""
    is_chosen = known & (values > 0)
    return is_chosen, (known | is_chosen.any(-1, keepdim=True)) & ~is_chosen


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
        """The voices alone, tracks summed out."""
        return Mixture(self.log_weights, self.logits[..., : self.num_voices])

    def log_prob(self, x: Float[Tensor, "*B W"]) -> Float[Tensor, "*B"]:
        """Nats. A product of Bernoullis is linear in x: sum_v x_v logit_v - softplus(logit_v)."""
        scores = (self.logits @ x.to(self.logits.dtype)[..., None])[..., 0] - log_norm(self.logits, self.groups)
        return (self.log_weights + scores).logsumexp(-1)

    def log_prob_of(self, x: Float[Tensor, "*B W"], columns: Bool[Tensor, "*#B W"]) -> Float[Tensor, "*B"]:
        """Nats of these columns of x, all others summed out; of part of a track, too.

        What a track has in nats given the voices is ``log_prob`` less this of the voices.
        """
        return (self.log_weights + self._evidence(columns.expand(x.shape), x)).logsumexp(-1)

    @property
    def probs(self) -> Float[Tensor, "*B W"]:
        """Marginal probability of a hit of each voice, and of each column of a track."""
        return (self.log_weights.exp()[..., None] * self._column_probs(self.logits)).sum(-2)

    def _column_probs(self, logits: Float[Tensor, "*S W"]) -> Float[Tensor, "*S W"]:
        if not self.groups:
            return logits.sigmoid()
        parts = [logits[..., : self.num_voices].sigmoid()]
        parts += [F.pad(logits[..., start:stop], (1, 0)).softmax(-1)[..., 1:] for start, stop in self.groups]
        return torch.cat(parts, -1)

    def tilt(self, bias: Float[Tensor, " W"]) -> "Mixture":
        """p(x) exp(bias . x), normalised: each voice's log odds given the others rise by its bias."""
        tilted, voices = self.logits + bias, slice(0, self.num_voices)
        gain = (F.softplus(tilted[..., voices]) - F.softplus(self.logits[..., voices])).sum(-1)
        for group in self.groups:
            gain = gain + log_norm_of_track(tilted, group) - log_norm_of_track(self.logits, group)
        return Mixture((self.log_weights + gain).log_softmax(-1), tilted, self.groups)

    def condition(self, known: Bool[Tensor, "*B W"], values: Float[Tensor, "*B W"]) -> "Mixture":
        """p(x | x_v = values_v where known). Of a track, columns that are known to be 0 are left out."""
        fixed = torch.where(values > 0, CERTAIN, -CERTAIN).to(self.logits.dtype)[..., None, :]
        fixed = torch.where(known[..., None, :], fixed, self.logits)
        for start, stop in self.groups:
            is_chosen, is_out = _told(known[..., None, start:stop], values[..., None, start:stop])
            track = torch.where(is_chosen, CERTAIN, fixed[..., start:stop].masked_fill(is_out, -CERTAIN))
            fixed = torch.cat([fixed[..., :start], track, fixed[..., stop:]], -1)
        return Mixture((self.log_weights + self._evidence(known, values)).log_softmax(-1), fixed, self.groups)

    def _evidence(self, known: Bool[Tensor, "*B W"], values: Float[Tensor, "*B W"]) -> Float[Tensor, "*B K"]:
        """log p(x_v = values_v where known) of each component."""
        voices = slice(0, self.num_voices)
        signed = torch.where(values[..., None, :] > 0, self.logits, -self.logits)
        evidence = torch.where(known[..., None, voices], F.logsigmoid(signed[..., voices]), 0).sum(-1)
        for start, stop in self.groups:
            is_chosen, is_out = _told(known[..., None, start:stop], values[..., None, start:stop])
            left = F.pad(self.logits[..., start:stop].masked_fill(is_out, -torch.inf), (1, 0))
            left[..., 0] = left[..., 0].masked_fill(is_chosen.any(-1), -torch.inf)
            evidence = evidence + left.logsumexp(-1) - log_norm_of_track(self.logits, (start, stop))
        return evidence

    def draw(self, generator: torch.Generator | None = None) -> Float[Tensor, "*B W"]:
        """One draw of each row, as it stands."""
        component = choose(self.log_weights, generator)
        logits = self.logits.gather(-2, component[..., None, None].expand(*component.shape, 1, self.logits.shape[-1]))
        return self._draw_columns(logits[..., 0, :], generator)

    def _draw_columns(self, logits: Float[Tensor, "*S W"], generator: torch.Generator | None) -> Float[Tensor, "*S W"]:
        """A draw of the product with these logits."""
        probs = logits[..., : self.num_voices].sigmoid()
        parts = [draw_hits(probs, generator)]
        for start, stop in self.groups:
            chosen = choose(F.pad(logits[..., start:stop], (1, 0)), generator)
            parts.append(F.one_hot(chosen, stop - start + 1)[..., 1:].to(probs.dtype))
        return torch.cat(parts, -1) if self.groups else parts[0]

    def candidates(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Combinations (*B, C, W) and their log probabilities (*B, C): all, or, where they are many, draws."""
        width = self.logits.shape[-1]
        is_listed = not self.groups and width <= MOST_ENUMERATED_VOICES
        combos = combinations(width).to(self.logits) if is_listed else self._draw_many(CANDIDATES, generator)
        scores = self.logits @ combos.transpose(-1, -2) - log_norm(self.logits, self.groups)[..., None]
        log_probs = (self.log_weights[..., None] + scores).logsumexp(-2)
        if not is_listed:
            ordered, order = codes(combos).sort(-1)
            is_twin = F.pad(ordered[..., 1:] == ordered[..., :-1], (1, 0))
            log_probs = log_probs.masked_fill(torch.zeros_like(is_twin).scatter(-1, order, is_twin), -torch.inf)
        return combos.expand(*log_probs.shape, width), log_probs

    def _draw_many(self, number: int, generator: torch.Generator | None) -> Float[Tensor, "*B number W"]:
        rows = self.log_weights.shape[:-1]
        weights = self.log_weights.exp().reshape(-1, self.log_weights.shape[-1])
        component = torch.multinomial(weights, number, replacement=True, generator=generator).view(*rows, number)
        logits = self.logits.gather(-2, component[..., None].expand(*component.shape, self.logits.shape[-1]))
        return self._draw_columns(logits, generator)

    def sample(
        self, temperature: float = 1.0, top_p: float = 1.0, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*B W"]:
        """As ``sample_tempered``; with tracks the voices first, then each track given what is drawn before it."""
        if not self.groups or temperature == top_p == 1:
            return sample_tempered(self, temperature, top_p, generator)
        drawn = self.voices.sample(temperature, top_p, generator)
        x = F.pad(drawn, (0, self.logits.shape[-1] - self.num_voices))
        places = torch.arange(x.shape[-1], device=x.device)
        for start, stop in self.groups:
            given = self.condition((places < start).expand(x.shape), x)
            shares = F.pad(given.logits[..., start:stop], (1, 0)).log_softmax(-1)
            log_probs = (given.log_weights[..., None] + shares).logsumexp(-2)
            chosen = choose_tempered(log_probs, temperature, top_p, generator)
            x[..., start:stop] = F.one_hot(chosen, stop - start + 1)[..., 1:].to(x.dtype)
        return x


class MixtureHead(nn.Module):
    """Features to a ``Mixture`` of ``num_components``, at least 1; with 1, independent sigmoids.

    Args:
        hidden_dim: size of the features.
        num_drums: voices, and columns of tracks.
        num_components: K.
        num_recalled: patterns recalled with the features, each of which moves the voices' log odds in each component.
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
        with torch.no_grad():  # components that start alike stay alike; drums are mostly silent
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

"""Output distributions of one step: what the voices play together, given the model's features.

Each head maps features to a distribution with ``log_prob``, ``probs`` (exact marginals) and ``sample``. The mixture is
p(x) = sum_k pi_k prod_v Bernoulli(x_v; p_kv); with one component it is independent sigmoids. Tilting by a per-voice
bias and conditioning on known voices are exact, and the result is a mixture again.

Beside the voices there may be tracks: groups of columns of which at most one is 1. Where a voice has a Bernoulli, a
track has a categorical over "none" and its columns, in each component, so that they agree through the components.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hypermeter.grid import HypermeterError

REPEAT = 0.5
"""Log odds that a recalled hit adds, before training."""

CERTAIN = 60.0
"""Log odds of what is known."""

Groups = tuple[tuple[int, int], ...]
"""First column of each track, and the one after its last; they follow the voices without a gap."""

MOST_ENUMERATED_VOICES = 12
CANDIDATES = 1_024
"""Combinations drawn when there are too many voices to enumerate all 2**V."""


@cache
def combinations(num_drums: int) -> Tensor:
    """All 2**V combinations, (2**V, V)."""
    with torch.inference_mode(False):  # the cache outlives the mode in which it was first asked
        numbers = torch.arange(2**num_drums)
        return (numbers[:, None] >> torch.arange(num_drums) & 1).float()


def codes(x: Float[Tensor, "*B V"]) -> Int[Tensor, "*B"]:
    """A number for each combination: a sum of random weights modulo 2**64, the same for two by a chance of 2**-64."""
    weights = torch.randint(-(2**63), 2**63 - 1, x.shape[-1:], generator=torch.Generator().manual_seed(0))
    return (x.long() * weights.to(x.device)).sum(-1)


def find_known(known: Float[Tensor, "C V"], x: Float[Tensor, "*B V"]) -> tuple[Int[Tensor, "*B"], Bool[Tensor, "*B"]]:
    """Which of the known combinations each is, and whether it is one of them at all; otherwise the number is any."""
    known_codes = codes(known)
    order = known_codes.argsort()
    place = torch.searchsorted(known_codes[order], codes(x)).clamp_max(len(known) - 1)
    which = order[place]
    return which, (known[which] == x).all(-1)


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
        component = _choose(self.log_weights, generator)
        logits = self.logits.gather(-2, component[..., None, None].expand(*component.shape, 1, self.logits.shape[-1]))
        return self._draw_columns(logits[..., 0, :], generator)

    def _draw_columns(self, logits: Float[Tensor, "*S W"], generator: torch.Generator | None) -> Float[Tensor, "*S W"]:
        """A draw of the product with these logits."""
        probs = logits[..., : self.num_voices].sigmoid()
        parts = [(torch.rand(probs.shape, generator=generator, device=probs.device) < probs).to(probs.dtype)]
        for start, stop in self.groups:
            chosen = _choose(F.pad(logits[..., start:stop], (1, 0)), generator)
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
            chosen = _choose_tempered(log_probs, temperature, top_p, generator)
            x[..., start:stop] = F.one_hot(chosen, stop - start + 1)[..., 1:].to(x.dtype)
        return x


@dataclass(frozen=True)
class SoftmaxWithEscape:
    """A categorical over known combinations and an escape: p(x) = p(known x) + p(escape) prod_v Bernoulli(x_v; p_v).

    Args:
        log_probs_known: (*B, C + 1), normalised; the last is the escape.
        logits: (*B, V), of a hit after the escape.
        known: (C, V), the combinations.
    """

    log_probs_known: Float[Tensor, "*B classes"]
    logits: Float[Tensor, "*B V"]
    known: Float[Tensor, "C V"]

    def __getitem__(self, index) -> "SoftmaxWithEscape":
        return SoftmaxWithEscape(self.log_probs_known[index], self.logits[index], self.known)

    def log_prob(self, x: Float[Tensor, "*B V"]) -> Float[Tensor, "*B"]:
        x = x.to(self.logits.dtype)
        which, is_known = find_known(self.known, x)
        from_known = self.log_probs_known.gather(-1, which[..., None])[..., 0].masked_fill(~is_known, -torch.inf)
        from_escape = (x * self.logits - F.softplus(self.logits)).sum(-1) + self.log_probs_known[..., -1]
        return torch.logaddexp(from_known, from_escape)

    @property
    def probs(self) -> Float[Tensor, "*B V"]:
        weights = self.log_probs_known.exp()
        return weights[..., :-1] @ self.known.to(weights.dtype) + weights[..., -1:] * self.logits.sigmoid()

    def tilt(self, bias: Float[Tensor, " V"]) -> "SoftmaxWithEscape":
        gain = torch.cat(
            [
                (self.known @ bias).expand(self.log_probs_known[..., :-1].shape),
                (F.softplus(self.logits + bias) - F.softplus(self.logits)).sum(-1, keepdim=True),
            ],
            -1,
        )
        return SoftmaxWithEscape((self.log_probs_known + gain).log_softmax(-1), self.logits + bias, self.known)

    def condition(self, known: Bool[Tensor, "*B V"], values: Float[Tensor, "*B V"]) -> "SoftmaxWithEscape":
        agrees = ((self.known == values[..., None, :]) | ~known[..., None, :]).all(-1)
        signed = torch.where(values > 0, self.logits, -self.logits)
        evidence = torch.cat(
            [
                torch.zeros_like(agrees, dtype=signed.dtype).masked_fill(~agrees, -torch.inf),
                torch.where(known, F.logsigmoid(signed), 0).sum(-1, keepdim=True),
            ],
            -1,
        )
        fixed = torch.where(values > 0, CERTAIN, -CERTAIN).to(self.logits.dtype)
        log_probs = (self.log_probs_known + evidence).log_softmax(-1)
        return SoftmaxWithEscape(log_probs, torch.where(known, fixed, self.logits), self.known)

    def draw(self, generator: torch.Generator | None = None) -> Float[Tensor, "*B V"]:
        which = _choose(self.log_probs_known, generator)
        escape = torch.rand(self.logits.shape, generator=generator, device=which.device) < self.logits.sigmoid()
        escaped = which == len(self.known)
        listed = self.known[which.clamp_max(len(self.known) - 1)]
        return torch.where(escaped[..., None], escape.to(listed.dtype), listed)

    def candidates(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """The known combinations; what only the escape gives is left out when tempering or truncating.

        Where voices are known that no known combination has, a draw of the escape is all there is.
        """
        every, scores = self.known.expand(*self.logits.shape[:-1], *self.known.shape), self.log_probs_known[..., :-1]
        none = (scores == -torch.inf).all(-1, keepdim=True)
        if none.any():
            first = torch.arange(len(self.known), device=scores.device) == 0
            every = torch.where((none & first)[..., None], self.draw(generator)[..., None, :], every)
            scores = torch.where(none & first, 0.0, scores)
        return every, scores.log_softmax(-1)

    def sample(
        self, temperature: float = 1.0, top_p: float = 1.0, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*B V"]:
        return sample_tempered(self, temperature, top_p, generator)


StepDistribution = Mixture | SoftmaxWithEscape


def _choose(log_weights: Float[Tensor, "*B K"], generator: torch.Generator | None) -> Tensor:
    flat = log_weights.softmax(-1).reshape(-1, log_weights.shape[-1])
    return torch.multinomial(flat, 1, generator=generator).view(log_weights.shape[:-1])


def sample_tempered(
    dist: StepDistribution, temperature: float, top_p: float, generator: torch.Generator | None
) -> Float[Tensor, "*B V"]:
    """Sample p(x)^(1/temperature) over combinations, cut to the likeliest that hold ``top_p`` of the mass.

    Temperature 0, or less than a millionth, takes the likeliest. Exact up to MOST_ENUMERATED_VOICES voices for the
    mixture.

    Raises:
        HypermeterError: temperature < 0, or top_p outside (0, 1].
    """
    if temperature < 0 or not 0 < top_p <= 1:
        raise HypermeterError(f"temperature {temperature} and top_p {top_p}: expected at least 0, and above 0 to 1")
    if temperature == 1 and top_p == 1:
        return dist.draw(generator)
    combos, log_probs = dist.candidates(generator)
    chosen = _choose_tempered(log_probs, temperature, top_p, generator)
    index = chosen[..., None, None].expand(*chosen.shape, 1, combos.shape[-1])
    return combos.gather(-2, index)[..., 0, :]


def _choose_tempered(
    log_probs: Float[Tensor, "*B C"], temperature: float, top_p: float, generator: torch.Generator | None
) -> Int[Tensor, "*B"]:
    """One of C outcomes by p^(1/temperature), of the likeliest that hold ``top_p`` of that."""
    if temperature < 1e-6:
        return log_probs.argmax(-1)
    log_probs = (log_probs / temperature).log_softmax(-1)
    if top_p < 1:
        ordered, order = log_probs.sort(-1, descending=True)
        before = ordered.exp().cumsum(-1) - ordered.exp()
        cut = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= top_p)
        log_probs = log_probs.masked_fill(cut, -torch.inf)
    return _choose(log_probs, generator)


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


class SoftmaxHead(nn.Module):
    """Features to a ``SoftmaxWithEscape`` over the given combinations.

    Args:
        hidden_dim: size of the features.
        num_drums: voices.
        known: combinations, each a sequence of V values 0 or 1 (``known_combinations`` finds them in training data);
            left out, all of them, for at most MOST_ENUMERATED_VOICES voices.
        num_recalled: patterns recalled with the features, each of which moves the voices' log odds.

    Raises:
        HypermeterError: known is left out with more voices, or is not distinct combinations of the voices.
    """

    def __init__(
        self, hidden_dim: int, num_drums: int, known: Sequence[Sequence[int]] | None = None, num_recalled: int = 0
    ):
        super().__init__()
        if known is None and num_drums > MOST_ENUMERATED_VOICES:
            raise HypermeterError(f"softmax over {num_drums} voices: give the combinations in use as known=")
        listed = combinations(num_drums).clone() if known is None else torch.as_tensor(known, dtype=torch.float32)
        sound = listed.dim() == 2 and listed.shape[1] == num_drums and len(listed) > 0
        if not (sound and ((listed == 0) | (listed == 1)).all() and len(listed.unique(dim=0)) == len(listed)):
            raise HypermeterError(
                f"softmax: known of shape {tuple(listed.shape)}, expected one or more combinations, each once, "
                f"of {num_drums} values 0 or 1"
            )
        self.known: Tensor
        self.register_buffer("known", listed)
        self.num_scores = len(self.known) + 1 + num_drums
        self.project = nn.Linear(hidden_dim, self.num_scores)
        self.repeat = nn.Parameter(torch.full((num_recalled, num_drums), REPEAT)) if num_recalled else None

    def forward(
        self,
        features: Float[Tensor, "*B hidden"],
        recalled: Float[Tensor, "*B recalled V"] | None = None,
        steered: Float[Tensor, "*B scores"] | None = None,
    ) -> SoftmaxWithEscape:
        """``steered`` is added to what the features are projected to."""
        projected = self.project(features) if steered is None else self.project(features) + steered
        scores, logits = projected.split([len(self.known) + 1, self.known.shape[1]], -1)
        if self.repeat is not None and recalled is not None:
            bias = (recalled * self.repeat).sum(-2)
            scores, logits = scores + F.pad(bias @ self.known.T, (0, 1)), logits + bias
        return SoftmaxWithEscape(scores.log_softmax(-1), logits, self.known)


def known_combinations(hits: Float[Tensor, "*B V"]) -> list[list[int]]:
    """The distinct combinations of voices in ``hits``, for ``SoftmaxHead``."""
    return hits.reshape(-1, hits.shape[-1]).unique(dim=0).int().tolist()

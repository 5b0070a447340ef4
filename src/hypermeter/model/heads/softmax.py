"""A categorical over known combinations, and an escape for the others."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hypermeter.core.errors import HypermeterError
from hypermeter.core.limits import MAX_ENUMERATED_VOICES
from hypermeter.model.heads.combinations import combinations, find_known
from hypermeter.model.heads.mixture import REPEAT, index_of, uniforms_of


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

    def sample(self, generator: torch.Generator | None = None) -> Float[Tensor, "*B V"]:
        """Return a sample of each row."""
        return self.draw(uniforms_of(self.logits, generator))

    def draw(self, uniforms: Float[Tensor, "*B numbers"]) -> Float[Tensor, "*B V"]:
        """Return a sample of each row by ``uniforms`` in [0, 1): for the combination, then each voice of the escape."""
        which = index_of(self.log_probs_known, uniforms[..., 0])
        escape = (uniforms[..., 1 : 1 + self.logits.shape[-1]] < self.logits.sigmoid()).to(self.logits.dtype)
        escaped = which == len(self.known)
        listed = self.known[which.clamp_max(len(self.known) - 1)]
        return torch.where(escaped[..., None], escape.to(listed.dtype), listed)


class SoftmaxHead(nn.Module):
    """Features to a ``SoftmaxWithEscape`` over the given combinations.

    Args:
        hidden_dim: size of the features.
        num_drums: voices.
        known: combinations, each a sequence of V values 0 or 1 (see ``known_combinations``); None is all of them, for
            at most MAX_ENUMERATED_VOICES voices.
        num_recalled: recalled patterns, each with a weight in the log odds.

    Raises:
        HypermeterError: ``known`` is None with more voices, or is not distinct combinations of the voices.
    """

    def __init__(
        self, hidden_dim: int, num_drums: int, known: Sequence[Sequence[int]] | None = None, num_recalled: int = 0
    ):
        super().__init__()
        if known is None and num_drums > MAX_ENUMERATED_VOICES:
            raise HypermeterError(f"softmax over {num_drums} voices: give the combinations in use as known=")
        listed = combinations(num_drums).clone() if known is None else torch.as_tensor(known, dtype=torch.float32)
        fits = listed.dim() == 2 and listed.shape[1] == num_drums and len(listed) > 0
        if not (fits and ((listed == 0) | (listed == 1)).all() and len(listed.unique(dim=0)) == len(listed)):
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

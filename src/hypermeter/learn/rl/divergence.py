"""Divergence of a policy's steps from the reference's, and their entropy: exact where combinations can be listed."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hypermeter.core.limits import MAX_ENUMERATED_VOICES
from hypermeter.model.heads import Mixture, StepDistribution, combinations

STEPS_PER_CHUNK = 1_024
"""Steps whose 2**V combinations are in memory together."""


def is_exact(dist: StepDistribution) -> bool:
    """Return whether all combinations of a step can be listed: no tracks, at most MAX_ENUMERATED_VOICES voices."""
    return dist.logits.shape[-1] <= MAX_ENUMERATED_VOICES and not (isinstance(dist, Mixture) and dist.groups)


def combination_log_probs(dist: StepDistribution) -> Float[Tensor, "*B combinations"]:
    """Return log p, in nats, of all 2**V combinations, in the order of ``heads.combinations``.

    Of a mixture: the voices are cut into two halves, and the table of their combinations is one matrix product over
    the components. Probabilities below 1e-38 are raised to that.
    """
    voices = dist.logits.shape[-1]
    if not isinstance(dist, Mixture):
        escape = _independent_log_probs(dist.logits) + dist.log_probs_known[..., -1:]
        numbers = (dist.known @ 2 ** torch.arange(voices).to(dist.known)).long()
        listed = torch.full_like(escape, -torch.inf).index_copy(-1, numbers, dist.log_probs_known[..., :-1])
        return torch.logaddexp(listed, escape)
    half = voices // 2
    low, high = (_independent_log_probs(part).exp() for part in dist.logits.split([half, voices - half], -1))
    table = (dist.log_weights.exp()[..., None] * high).transpose(-1, -2) @ low
    return table.flatten(-2).clamp_min(torch.finfo(table.dtype).tiny).log()


def _independent_log_probs(logits: Float[Tensor, "*B V"]) -> Float[Tensor, "*B combinations"]:
    return logits @ combinations(logits.shape[-1]).to(logits).T - F.softplus(logits).sum(-1, keepdim=True)


def divergence_and_entropy(
    dist: StepDistribution,
    reference: StepDistribution,
    hits: Float[Tensor, "B T W"],
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Return KL(dist || reference) and the entropy of each step, in nats.

    Exact where ``is_exact``; otherwise estimates from one sample, ``hits``, which must be sampled from ``dist``:
    log p(x) - log q(x), and -log p(x). Those have the right mean and no gradient.
    """
    if not is_exact(dist):
        with torch.no_grad():
            log_prob = dist.log_prob(hits)
            return log_prob - reference.log_prob(hits), -log_prob
    rows = max(1, STEPS_PER_CHUNK // hits.shape[1])
    chunks = [_exact(dist[row : row + rows], reference[row : row + rows]) for row in range(0, len(hits), rows)]
    divergences, entropies = zip(*chunks, strict=True)
    return torch.cat(divergences), torch.cat(entropies)


def _exact(dist: StepDistribution, reference: StepDistribution) -> tuple[Tensor, Tensor]:
    log_p, log_q = combination_log_probs(dist), combination_log_probs(reference)
    p = log_p.exp()
    return (p * (log_p - log_q)).sum(-1), -(p * log_p).sum(-1)

"""How far a policy's steps are from the reference's, and how much they leave open: exactly, where that can be."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hypermeter.core.limits import MOST_ENUMERATED_VOICES
from hypermeter.model.heads import Mixture, StepDistribution, combinations

POSITIONS_AT_ONCE = 1_024
"""Whose 2**V combinations are held at once."""


def is_exact(dist: StepDistribution) -> bool:
    """Whether all combinations of a step can be listed: no tracks, at most MOST_ENUMERATED_VOICES voices."""
    return dist.logits.shape[-1] <= MOST_ENUMERATED_VOICES and not (isinstance(dist, Mixture) and dist.groups)


def combination_log_probs(dist: StepDistribution) -> Float[Tensor, "*B combinations"]:
    """Nats of all 2**V combinations, in the order of ``heads.combinations``.

    Of a mixture: the voices are cut into two halves, and the table of their combinations is one matrix product over
    the components. What is less likely than 1e-38 counts as that.
    """
    voices = dist.logits.shape[-1]
    if not isinstance(dist, Mixture):
        escape = _product_log_probs(dist.logits) + dist.log_probs_known[..., -1:]
        numbers = (dist.known @ 2 ** torch.arange(voices).to(dist.known)).long()
        listed = torch.full_like(escape, -torch.inf).index_copy(-1, numbers, dist.log_probs_known[..., :-1])
        return torch.logaddexp(listed, escape)
    half = voices // 2
    low, high = (_product_log_probs(part).exp() for part in dist.logits.split([half, voices - half], -1))
    table = (dist.log_weights.exp()[..., None] * high).transpose(-1, -2) @ low
    return table.flatten(-2).clamp_min(torch.finfo(table.dtype).tiny).log()


def _product_log_probs(logits: Float[Tensor, "*B V"]) -> Float[Tensor, "*B combinations"]:
    """Of independent voices."""
    return logits @ combinations(logits.shape[-1]).to(logits).T - F.softplus(logits).sum(-1, keepdim=True)


def divergence_and_entropy(
    dist: StepDistribution,
    reference: StepDistribution,
    hits: Float[Tensor, "B T W"],
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Of each step's distribution: KL(dist || reference), and the entropy, in nats.

    Exact over all combinations where ``is_exact``; otherwise one draw of each, at ``hits``, which were drawn from
    ``dist``: log p(x) - log q(x), and -log p(x). Of those only the mean is right, and their gradient is nothing.
    """
    if not is_exact(dist):
        with torch.no_grad():
            log_prob = dist.log_prob(hits)
            return log_prob - reference.log_prob(hits), -log_prob
    rows = max(1, POSITIONS_AT_ONCE // hits.shape[1])
    parts = [_exact(dist[row : row + rows], reference[row : row + rows]) for row in range(0, len(hits), rows)]
    return torch.cat([each[0] for each in parts]), torch.cat([each[1] for each in parts])


def _exact(dist: StepDistribution, reference: StepDistribution) -> tuple[Tensor, Tensor]:
    log_p, log_q = combination_log_probs(dist), combination_log_probs(reference)
    p = log_p.exp()
    return (p * (log_p - log_q)).sum(-1), -(p * log_p).sum(-1)

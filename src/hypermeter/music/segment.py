"""The sections of a long piece, found from how alike its phrases are."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from hypermeter.core.grid import Grid
from hypermeter.music.metrics import chunk_means

SAME_SECTION = 0.4
"""Phrases that are more alike than this, on average, belong to one section."""
LEAST_PHRASES = 4
"""Of a piece that is segmented."""


def phrase_likeness(hits: Shaped[Tensor, "T V"], grid: Grid) -> Float[Tensor, "phrases phrases"]:
    """How alike the mean bars of phrases are, the self-similarity matrix: what they share over what either has.

    In [0, 1]; phrases without hits are alike. The last phrase may be short.
    """
    size = grid.steps_per_bar
    bars = F.pad(hits.float(), (0, 0, 0, -len(hits) % size)).unflatten(0, (-1, size)).flatten(1)
    patterns = chunk_means(bars, grid.bars_per_phrase)
    shared = torch.minimum(patterns[:, None], patterns[None]).sum(-1)
    either = torch.maximum(patterns[:, None], patterns[None]).sum(-1)
    return torch.where(either > 0, shared / either.clamp_min(1e-9), 1.0)


def segment(hits: Shaped[Tensor, "T V"], grid: Grid, most: int = 8) -> Int[Tensor, " bars"]:
    """The section of each bar: 1, 2, ... in the order in which they first come; 0 in a piece of too few phrases.

    Average-linkage clustering of phrases by ``phrase_likeness``: the two groups most alike are joined until none are
    more alike than SAME_SECTION and there are at most ``most``. A section that comes again has the number that it had.

    Args:
        hits: a piece, from a bar line on.
        grid: the metre.
        most: sections.
    """
    bars = -(-len(hits) // grid.steps_per_bar)
    likeness = phrase_likeness(hits, grid)
    if len(likeness) < LEAST_PHRASES:
        return torch.zeros(bars, dtype=torch.long)
    group = torch.arange(len(likeness))
    sizes = torch.ones(len(likeness))
    likeness = likeness.fill_diagonal_(-1)
    while True:
        best = int(likeness.argmax())
        one, other = divmod(best, len(likeness))
        alone = int((sizes > 0).sum())
        if alone < 2 or (likeness[one, other] < SAME_SECTION and alone <= most):
            break
        total = sizes[one] + sizes[other]
        joined = (sizes[one] * likeness[one] + sizes[other] * likeness[other]) / total
        joined[likeness[one] < 0] = -1
        joined[[one, other]] = -1
        likeness[one], likeness[:, one] = joined, joined
        likeness[other], likeness[:, other] = -1, -1
        sizes[one], sizes[other] = total, 0
        group[group == other] = one
    first: dict[int, int] = {}
    numbers = torch.tensor([first.setdefault(each, len(first) + 1) for each in group.tolist()])
    return numbers.repeat_interleave(grid.bars_per_phrase)[:bars]

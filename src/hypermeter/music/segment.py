"""The sections of a long piece, found from how alike its phrases are."""

import numpy as np
from jaxtyping import Float, Int, Shaped

from hypermeter.core.grid import Grid
from hypermeter.music.arrays import Array, as_like, namespace, to_numpy
from hypermeter.music.metrics.onsets import as_float, chunk_means, fill_up

SAME_SECTION = 0.4
"""Phrases that are more alike than this, on average, belong to one section."""
LEAST_PHRASES = 4
"""Of a piece that is segmented."""


def phrase_likeness(hits: Shaped[Array, "T V"], grid: Grid) -> Float[Array, "phrases phrases"]:
    """How alike the mean bars of phrases are, the self-similarity matrix: what they share over what either has.

    In [0, 1]; phrases without hits are alike. The last phrase may be short.
    """
    xp, size = namespace(hits), grid.steps_per_bar
    steps = fill_up(as_float(hits), size, -2)
    bars = steps.reshape((len(steps) // size, size * steps.shape[-1]))
    patterns = chunk_means(bars, grid.bars_per_phrase)
    shared = xp.minimum(patterns[:, None], patterns[None]).sum(-1)
    either = xp.maximum(patterns[:, None], patterns[None]).sum(-1)
    return xp.where(either > 0, shared / either.clip(min=1e-9), 1.0)


def segment(hits: Shaped[Array, "T V"], grid: Grid, most: int = 8) -> Int[Array, " bars"]:
    """The section of each bar: 1, 2, ... in the order in which they first come; 0 in a piece of too few phrases.

    Average-linkage clustering of phrases by ``phrase_likeness``: the two groups most alike are joined until none are
    more alike than SAME_SECTION and there are at most ``most``. A section that comes again has the number that it had.

    Args:
        hits: a piece, from a bar line on.
        grid: the metre.
        most: sections.
    """
    bars = -(-len(hits) // grid.steps_per_bar)
    likeness = to_numpy(phrase_likeness(hits, grid))
    if len(likeness) < LEAST_PHRASES:
        return as_like(hits, np.zeros(bars, np.int64))
    group = np.arange(len(likeness))
    sizes = np.ones(len(likeness), np.float32)
    np.fill_diagonal(likeness, -1)
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
    numbers = np.array([first.setdefault(phrase, len(first) + 1) for phrase in group.tolist()])
    return as_like(hits, np.repeat(numbers, grid.bars_per_phrase)[:bars])

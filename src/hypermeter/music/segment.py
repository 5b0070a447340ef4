"""Finding the sections of a piece by the similarity of its phrases."""

import numpy as np
from jaxtyping import Float, Int, Shaped

from hypermeter.core.grid import Grid
from hypermeter.music.arrays import Array, as_like, namespace, to_numpy
from hypermeter.music.metrics.onsets import as_float, chunk_means, fill_up

SAME_SECTION = 0.4
"""Mean similarity above which phrases belong to one section."""
MIN_PHRASES = 4
"""Fewest phrases of a piece that is segmented."""


def phrase_likeness(hits: Shaped[Array, "T V"], grid: Grid) -> Float[Array, "phrases phrases"]:
    """Return the self-similarity matrix of phrases: the weighted Jaccard index of their mean bars, in [0, 1].

    It is 1 for two phrases without hits. The last phrase may be short.
    """
    xp, size = namespace(hits), grid.steps_per_bar
    steps = fill_up(as_float(hits), size, -2)
    bars = steps.reshape((len(steps) // size, size * steps.shape[-1]))
    patterns = chunk_means(bars, grid.bars_per_phrase)
    shared = xp.minimum(patterns[:, None], patterns[None]).sum(-1)
    either = xp.maximum(patterns[:, None], patterns[None]).sum(-1)
    return xp.where(either > 0, shared / either.clip(min=1e-9), 1.0)


def segment(hits: Shaped[Array, "T V"], grid: Grid, most: int = 8) -> Int[Array, " bars"]:
    """Return the section of each bar: 1, 2, ... in order of first occurrence; 0 in a piece below MIN_PHRASES.

    Phrases are clustered with average linkage by `phrase_likeness`, until no two clusters are more similar than
    SAME_SECTION and there are at most `most`. A section that recurs keeps its number.

    Args:
        hits: onsets of a piece that starts on a bar line.
        grid: the metre.
        most: largest number of sections.
    """
    bars = -(-len(hits) // grid.steps_per_bar)
    likeness = to_numpy(phrase_likeness(hits, grid))
    if len(likeness) < MIN_PHRASES:
        return as_like(hits, np.zeros(bars, np.int64))
    cluster = np.arange(len(likeness))
    sizes = np.ones(len(likeness), np.float32)
    np.fill_diagonal(likeness, -1)
    while True:
        best = int(likeness.argmax())
        first, second = divmod(best, len(likeness))
        num_clusters = int((sizes > 0).sum())
        if num_clusters < 2 or (likeness[first, second] < SAME_SECTION and num_clusters <= most):
            break
        total = sizes[first] + sizes[second]
        merged = (sizes[first] * likeness[first] + sizes[second] * likeness[second]) / total
        merged[likeness[first] < 0] = -1
        merged[[first, second]] = -1
        likeness[first], likeness[:, first] = merged, merged
        likeness[second], likeness[:, second] = -1, -1
        sizes[first], sizes[second] = total, 0
        cluster[cluster == second] = first
    order: dict[int, int] = {}
    numbers = np.array([order.setdefault(number, len(order) + 1) for number in cluster.tolist()])
    return as_like(hits, np.repeat(numbers, grid.bars_per_phrase)[:bars])

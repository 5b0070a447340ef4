"""The drums on which several draws agree: a guess at what somebody would have played, not one of many possible pieces.

A draw has hits that are likely and, at random, some that are not. The hits that enough of the draws have are nearer to
any one of them than they are to each other, and nearer to what a drummer played, as far as the model knows drummers.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.groove import CELLS, Groove
from hypermeter.core.strokes import Strokes


def agreed_hits(shares: NDArray[np.float64], some: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Return the cells (T, V) that make the expected F1 of hits greatest, about.

    Of cells in the order of their probability, k are chosen so that 2 * (sum of their probabilities) / (k + expected
    number of hits) is greatest, and those as probable as the last of them.

    Args:
        shares: (T, V), probability of a hit of each cell.
        some: (T, V), of each step voices of which at least one sounds, as of `Locks.some`; its most probable does.

    Source: Nan et al. 2012, Optimizing F-measure; the expectation of the ratio is taken as the ratio of expectations.
    """
    ordered = np.sort(shares, axis=None)[::-1]
    expected = 2 * ordered.cumsum() / (np.arange(1, ordered.size + 1) + max(ordered.sum(), 1e-9))
    chosen = (shares >= ordered[int(expected.argmax())]) & (shares > 0)
    if some is not None:
        asked = np.where(some[:, : shares.shape[1]], shares, -1)
        steps = np.flatnonzero((asked.max(1) > 0) & ~(chosen & (asked >= 0)).any(1))
        chosen[steps, asked[steps].argmax(1)] = True
    return chosen


def consensus(grooves: Sequence[Groove], some: NDArray[np.bool_] | None = None) -> Groove:
    """Return the hits on which draws agree; each is played as in the draw that is most like the whole and has it.

    Args:
        grooves: draws of one request, of one length, at least one; of one alone it is the groove itself.
        some: as of `agreed_hits`.
    """
    if len(grooves) == 1:
        return grooves[0]
    hits = np.stack([groove.hits > 0 for groove in grooves])
    chosen = agreed_hits(hits.mean(0), some)
    common, number = (hits & chosen).sum((1, 2)), hits.sum((1, 2)) + chosen.sum()
    order = np.argsort(-common / np.maximum(number, 1), kind="stable")
    source = order[hits[order].argmax(0)]
    cells = {
        name: np.take_along_axis(np.stack([getattr(groove, name) for groove in grooves]), source[None], 0)[0]
        for name in CELLS[1:]
    }
    cells = {name: np.where(chosen, array, np.nan if name == "openness" else 0) for name, array in cells.items()}
    strokes = Strokes.of_table(
        np.concatenate(
            [
                groove.strokes.take((chosen & (source == number))[groove.strokes.step, groove.strokes.voice]).table
                for number, groove in enumerate(grooves)
            ]
        )
    )
    return replace(grooves[order[0]], hits=chosen.astype(np.uint8), strokes=strokes, **cells)

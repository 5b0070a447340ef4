"""The way from one groove to another: the likeliest grooves between them, each nearer to the second than the last.

A groove between two has, in each cell on which they agree, what both have, and in each other cell what one of them has.
In each bar a given number of hits have gone and a given number have come, so that the density is in between as well; of
all such grooves the likeliest by the model is sought. Hypotheses are played side by side, and at each step those that
have changed equally many cells of the bar compete by the exact likelihood of all that they have played. The middle of
the way is sought first, then the middles of its halves, and so on, so that a cell changes once and stays.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import CELLS, Groove
from hypermeter.core.tracks import with_columns
from hypermeter.play.columns import check_groove, join_grooves, kit_of_result
from hypermeter.play.distribution import combinations
from hypermeter.play.player import Player
from hypermeter.play.request import check

BEAM = 256
"""Hypotheses that are played side by side."""

TOGETHER = 4
"""Cells of a step that are decided together; more are decided in parts."""


def morph_grooves(player: Player, first: Groove, second: Groove, steps: int = 5, beam: int = BEAM) -> list[Groove]:
    """Return grooves on the way from one to another, without these two.

    In each bar, groove k of n has lost a share k / (n + 1) of the hits that only the first has, rounded, and has gained
    as large a share of those that only the second has. A hit that both have gets velocity and offset in between,
    another those of the groove that it comes from; tempo and shift are in between. Further strokes of hits that both
    have, chokes and sections are those of the nearer groove. Tracks beside the drums are left out. The shorter groove
    is repeated.

    Args:
        player: whose likelihood decides which cells change first; the result has its kit.
        first, second: in one metre, on the grid and kit of the model.
        steps: n.
        beam: hypotheses that are compared; more find likelier grooves and take longer.

    Raises:
        HypermeterError: a number out of its bounds, grooves that do not fit the model or each other, or without a step.
    """
    check("variations", steps, "steps")
    check("particles", beam, "beam")
    if isinstance(first, Groove) and isinstance(second, Groove) and first.grid != second.grid:
        ends = f"{first.grid.description} and {second.grid.description}"
        raise HypermeterError(f"grooves to morph: {ends}, expected one grid; read both in one metre and on one grid")
    player = player.on_grid_of(first)
    for name, groove in (("first", first), ("second", second)):
        check_groove(player, groove, name)
        if not len(groove):
            raise HypermeterError(f"{name}: no steps in it, expected at least one")
    first, second = repeat_shorter(first, second)
    columns = [with_columns(groove.hits, {}, player.tracks) for groove in (first, second)]
    way = morph_hits(player, columns[0], columns[1], steps, beam)[:, :, : player.num_drums]
    kit = kit_of_result(player, first)
    return [replace(_between(first, second, hits, (k + 1) / (steps + 1)), kit=kit) for k, hits in enumerate(way)]


def morph_hits(
    player: Player,
    first: UInt8[np.ndarray, "T W"],
    second: UInt8[np.ndarray, "T W"],
    steps: int = 5,
    beam: int = BEAM,
) -> UInt8[np.ndarray, "N T W"]:
    """Return the hits of `steps` grooves on the way from one to another; see `morph_grooves`."""
    size = player.grid.steps_per_bar
    cells = np.stack([first > second, second > first], -1).sum(1)  # that go, that come
    in_bars = np.add.reduceat(cells, np.arange(0, len(cells), size))
    shares = np.arange(steps + 2)[:, None, None] / (steps + 1)
    changed = np.floor(shares * in_bars + 0.5).astype(np.int64)  # (steps + 2, bars, 2)
    way: list[Any] = [None] * (steps + 2)
    way[0], way[-1] = first, second
    spans = [(0, steps + 1)]
    for start, stop in spans:
        if stop - start < 2:
            continue
        middle = (start + stop) // 2
        way[middle] = likeliest_between(player, way[start], way[stop], changed[middle] - changed[start], beam)
        spans += [(start, middle), (middle, stop)]
    return np.stack(way)[1:-1]


def likeliest_between(
    player: Player,
    first: UInt8[np.ndarray, "T W"],
    second: UInt8[np.ndarray, "T W"],
    changed: Int64[np.ndarray, "bars 2"],
    beam: int = BEAM,
) -> UInt8[np.ndarray, "T W"]:
    """Return the likeliest hits that a beam search finds among those between two grooves.

    Args:
        player: the model.
        first, second: hits of both.
        changed: of each bar, how many of the hits that only the first has are gone, and how many of those that only
            the second has are there.
        beam: hypotheses that are played side by side.
    """
    size, differs = player.grid.steps_per_bar, np.stack([first > second, second > first], -1)
    state, made = player.start(1), np.zeros((1, *first.shape), np.uint8)
    score, count = np.zeros(1), np.zeros((1, 2), np.int64)
    for step, (old, new) in enumerate(zip(first, second, strict=True)):
        if step % size == 0:
            count[:] = 0
        wanted = changed[step // size]
        left = differs[step : (step // size + 1) * size].sum((0, 1))  # cells of the bar that are not decided yet
        rows, x = np.arange(len(state)), np.repeat(old[None], len(state), 0)
        known, before = old == new, score
        for part in _parts(np.flatnonzero(~known)):
            choices = combinations(len(part)).astype(np.int64)
            chosen = np.tile(choices, (len(rows), 1))
            rows, x, count = (array.repeat(len(choices), 0) for array in (rows, x, count))
            x[:, part] = np.where(chosen > 0, new[part], old[part])
            count, left = count + chosen @ differs[step, part], left - differs[step, part].sum(0)
            is_possible = ((count <= wanted) & (count + left >= wanted)).all(1)
            rows, x, count = rows[is_possible], x[is_possible], count[is_possible]
            known = known | np.isin(np.arange(len(known)), part)
            score = before[rows] + state.dist.select(rows).weigh(np.broadcast_to(known, x.shape), x)[0]
            kept = _best_of_each(count @ [len(first) * len(old), 1], score, beam)
            rows, x, count, score = rows[kept], x[kept], count[kept], score[kept]
        made = made[rows]
        made[:, step] = x
        if step + 1 < len(first):
            state = player.advance(x, state.select(rows))
    return made[score.argmax()]


def _parts(cells: Int64[np.ndarray, " D"]) -> Sequence[np.ndarray]:
    """Return the cells of a step in parts that are decided together; one empty part where there are none."""
    return np.split(cells, range(TOGETHER, len(cells), TOGETHER)) if len(cells) else [cells]


def _best_of_each(
    count: Int64[np.ndarray, " R"], score: Float64[np.ndarray, " R"], beam: int
) -> Int64[np.ndarray, " K"]:
    """Return the rows that go on: of each count the best, as many of one as of another, `beam` in all but at least two.

    Rows that have changed less are likelier as yet only since the change is still to come.
    """
    order = np.lexsort((-score, count))
    ordered = count[order]
    is_first = np.append(True, ordered[1:] != ordered[:-1])
    starts = np.flatnonzero(is_first)
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return order[rank < max(beam // len(starts), 2)]


# ---------------------------------------------------------------------- grooves


def repeat_shorter(first: Groove, second: Groove) -> tuple[Groove, Groove]:
    """Return both grooves, the shorter one repeated, from bar line to bar line, until it is as long as the other."""
    length = max(len(first), len(second))
    return _repeated(first, length), _repeated(second, length)


def _repeated(groove: Groove, length: int) -> Groove:
    if len(groove) == length:
        return groove
    size = groove.grid.steps_per_bar
    if rest := -len(groove) % size:
        silence = {name: np.zeros((rest, groove.hits.shape[1])) for name in CELLS}
        groove = join_grooves(groove, replace(groove.steps(0, 0), **silence))
    whole = groove
    while len(whole) < length:
        whole = join_grooves(whole, groove)
    return whole.bars(0, -(-length // size)).steps(0, length)


def _between(first: Groove, second: Groove, hits: UInt8[np.ndarray, "T V"], share: float) -> Groove:
    """Return the groove of hits between two of one length; `share` is how far it is from the first, in (0, 1)."""
    both, of_first = (first.hits > 0) & (second.hits > 0), first.hits > 0
    cells: dict[str, Any] = {"hits": hits}
    for name in ("velocity", "offset", "openness"):
        one, other = getattr(first, name), getattr(second, name)
        mean = (1 - share) * one + share * other
        mean = np.where(np.isnan(mean), np.where(np.isnan(one), other, one), mean)
        cells[name] = np.where(hits > 0, np.where(both, mean, np.where(of_first, one, other)), np.float32(0))
    nearer = first if share < 0.5 else second
    strokes = [
        groove.strokes.take(~both[groove.strokes.step, groove.strokes.voice] | (groove is nearer))
        for groove in ((first, second) if first is not second else (first,))
    ]
    tempos = [groove.tempo_bpm for groove in (first, second) if "tempo_bpm" not in groove.unknown]
    ends = (tempos or [first.tempo_bpm])[0], (tempos or [first.tempo_bpm])[-1]
    unknown = (first.unknown | second.unknown) - ({"tempo_bpm"} if tempos else set())
    return Groove(
        **cells,
        tempo_bpm=ends[0] ** (1 - share) * ends[1] ** share,
        kit=first.kit,
        grid=first.grid,
        sections=nearer.sections,
        unknown=unknown,
        shift=(1 - share) * first.shift + share * second.shift,
        strokes=strokes[0] if len(strokes) == 1 else strokes[0].and_of(strokes[1]),
        chokes=nearer.chokes,
    )

"""Plans measured in hits, without PyTorch: as ``hypermeter.model.plan.plan_of``."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.grid import Grid
from hypermeter.play.plan import FILL, FILL_NOVELTY, KINDS, NUMBERS, PlanArrays


def measured_plan(hits: NDArray[Any], grid: Grid) -> PlanArrays:
    """Density, off-beat share and fills of each bar of hits (T, V); the rest is left open."""
    size = grid.steps_per_bar
    plan = PlanArrays.free(-(-len(hits) // size))
    is_hit = np.asarray(hits) > 0
    for bar in range(len(plan.labels[0])):
        cells = is_hit[bar * size : (bar + 1) * size]
        total = cells.sum()
        plan.numbers[0, bar, NUMBERS.index("density")] = cells.mean()
        if total:
            off = cells[np.arange(len(cells)) % grid.steps_per_beat != 0].sum()
            plan.numbers[0, bar, NUMBERS.index("offbeat")] = off / total
    whole = len(hits) // size
    bars = is_hit[: whole * size].reshape(whole, size * is_hit.shape[1])
    novelty = _bar_novelty(bars, grid.bars_per_phrase)
    codes = np.where(novelty > FILL_NOVELTY, 1 + FILL.index("fill"), 1 + FILL.index("beat"))
    plan.labels[0, :whole, KINDS.index("fill")] = np.where(np.isnan(novelty), 0, codes)
    return plan


def _bar_novelty(bars: NDArray[np.bool_], reach: int) -> NDArray[np.float64]:
    """How much each bar (bars, cells) breaks with those up to ``reach`` bars around it; NaN with fewer than two."""
    novelty = np.full(len(bars), math.nan)
    for bar in range(len(bars)):
        places = [each for each in range(bar - reach, bar + reach + 1) if each != bar and 0 <= each < len(bars)]
        pairs = [(one, other) for one in places for other in places if one != other]
        if pairs:
            among = np.mean([_likeness(bars[one], bars[other]) for one, other in pairs])
            novelty[bar] = among - np.mean([_likeness(bars[bar], bars[each]) for each in places])
    return novelty


def _likeness(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """F1 of the hits of two bars; 1 for two empty ones."""
    both = one.sum() + other.sum()
    return 2 * (one & other).sum() / both if both else 1.0

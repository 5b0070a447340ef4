"""Music that changes its metre at a bar line: a groove for each part, played as one piece."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid, GridChoice
from hypermeter.core.groove import Groove
from hypermeter.core.limits import MAX_SEED
from hypermeter.play.compose import TEMPO_BPM, feed_groove, groove_of, guided, kit_of_result, present
from hypermeter.play.plan import Plan, plan_bars
from hypermeter.play.player import Player
from hypermeter.play.random import choose_seed
from hypermeter.play.request import PlanOptions, SamplingOptions, check
from hypermeter.play.state import Passage

SEED_STEP = 0x9E3779B97F4A7C15 % 2**53
"""Added to the seed at each change, as steps are numbered anew by the bars of each metre, and numbers would repeat."""


@dataclass(frozen=True)
class MetrePart:
    """Some bars in one metre.

    Args:
        grid: the metre and its steps.
        bars: at least 1.
    """

    grid: Grid
    bars: int


def parse_metres(text: str, grid: Grid = Grid()) -> list[MetrePart]:
    """Return the parts that a text names, as `4/4:8 7/8:4`.

    Args:
        text: metres with their numbers of bars.
        grid: of whose kind the steps are: sixteenths, or triplets in metres whose beats have them.

    Raises:
        HypermeterError: another form, or a metre that does not exist.
    """
    parts, words = [], text.replace(",", " ").split()
    for word in words or [text]:
        metre, _, number = word.partition(":")
        if not (number.isascii() and number.isdigit() and int(number) > 0):
            raise HypermeterError(f"metre is {text!r}, expected one, as 6/8, or parts with their bars, as 4/4:8 7/8:4")
        choice = GridChoice(metre, None, grid.bars_per_phrase)
        parts.append(MetrePart(choice.grid(steps_per_quarter=int(grid.steps_per_quarter)), int(number)))
    return parts


def continue_in_metres(
    player: Player,
    parts: Sequence[MetrePart],
    primer: Groove | None = None,
    sampling: SamplingOptions = SamplingOptions(),
    *,
    plan: PlanOptions | Plan | None = None,
    context: Groove | None = None,
    tempo_bpm: float = TEMPO_BPM,
    expression: bool = True,
) -> list[Groove]:
    """Return new bars in one metre after another, a groove for each part.

    What was heard before a change stays: see `NumpyNetwork.advance`. Music of one part on the player's grid is that of
    `continue_groove`.

    Args:
        player: on the grid of primer and context, if there are any.
        parts: at least one.
        primer, sampling, plan, context, tempo_bpm, expression: as in `continue_groove`; the plan is of all new bars.

    Raises:
        HypermeterError: as `continue_groove`; a model that serves one grid only.
    """
    bars, earlier = sum(part.bars for part in parts), present(context, primer)
    check("bars", bars)
    player = player.on_grid_of(earlier[0] if earlier else None)
    players = [player.on(part.grid) for part in parts]
    here = player if earlier else players[0]
    kit, tempo_bpm = kit_of_result(player, primer), primer.tempo_bpm if primer is not None else tempo_bpm
    shift_ms = earlier[-1].shift_ms if earlier else 0.0
    plan = PlanOptions() if plan is None else plan
    if isinstance(plan, PlanOptions):
        sampling = guided(sampling, plan)
        num_earlier = sum(groove.num_bars for groove in earlier)
        options = {"grid": here.grid, "tempo_bpm": tempo_bpm, "earlier_bars": num_earlier, "name": player.name}
        plan = plan_bars(player.labels, plan, bars, **options)
    seed, state = choose_seed(sampling.seed), here.initial_state(tempo_bpm, plan, expression)
    for name, groove, following in (("context", context, primer), ("primer", primer, None)):
        if groove is not None:
            then = None if following is not None or players[0].grid == here.grid else players[0]
            state = feed_groove(here, state, groove, tempo_bpm, name, then)
    grooves: list[Groove] = []
    for number, (part, placed) in enumerate(zip(parts, players, strict=True)):
        rules = placed.rules(replace(sampling, seed=(seed + number * SEED_STEP) % (MAX_SEED + 1)), plan)
        passages = []
        for bar in range(part.bars):
            is_last = bar + 1 == part.bars and number + 1 < len(players)
            then = players[number + 1] if is_last and players[number + 1].grid != placed.grid else None
            passage, state = placed.play(state, part.grid.steps_per_bar, rules, tempo_bpm, then)
            passages.append(passage)
        step_ms = 60_000 / tempo_bpm / part.grid.steps_per_quarter
        shift = float(np.clip(shift_ms / step_ms, -0.5, 0.49))
        grooves.append(groove_of(placed, Passage.joined(passages), tempo_bpm, kit, [*earlier, *grooves], shift))
    return grooves

"""Music that changes its metre at a bar line: a groove for each part, played as one piece."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hypermeter.core.errors import HypermeterError, shorten
from hypermeter.core.grid import Grid, GridChoice
from hypermeter.core.groove import Groove
from hypermeter.core.limits import MAX_SEED
from hypermeter.play.columns import columns_of_groove, groove_of, kit_of_result, present
from hypermeter.play.compose import TEMPO_BPM, feed_groove, guided, in_place, measured_plan
from hypermeter.play.infill import InfillResult, infill, vary
from hypermeter.play.locks import combine, lock_all_but, lock_voices
from hypermeter.play.network import State
from hypermeter.play.plan import Plan, plan_bars
from hypermeter.play.player import Player
from hypermeter.play.random import choose_seed
from hypermeter.play.request import InfillOptions, PlanOptions, SamplingOptions, check
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
        if not re.fullmatch("0*[1-9][0-9]{0,5}", number, re.ASCII):
            raise HypermeterError(
                f"metre is {shorten(repr(text), 60)}, expected one, as 6/8, or parts with their bars, as 4/4:8 7/8:4"
            )
        choice = GridChoice(metre, None, grid.bars_per_phrase)
        parts.append(MetrePart(choice.grid(steps_per_quarter=int(grid.steps_per_quarter)), int(number)))
    return parts


def continue_in_metres(
    player: Player,
    parts: Sequence[MetrePart],
    primer: Groove | Sequence[Groove] | None = None,
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
        player: of a model that plays every metre.
        parts: at least one.
        primer: the music before, or its parts in several metres, in one tempo.
        sampling, plan, context, tempo_bpm, expression: as in `continue_groove`; the plan is of all new bars.

    Raises:
        HypermeterError: as `continue_groove`; a model that serves one grid only.
    """
    primers = [primer] if isinstance(primer, Groove) else list(primer or ())
    bars, earlier = sum(part.bars for part in parts), present(context, *primers)
    check("bars", bars)
    players = [player.on(part.grid) for part in parts]
    heard = [player.on(groove.grid) for groove in earlier]
    here = [*heard, *players][0]
    kit = kit_of_result(player, primers[-1] if primers else None)
    tempo_bpm = primers[-1].tempo_bpm if primers else tempo_bpm
    shift_ms = earlier[-1].shift_ms if earlier else 0.0
    plan = PlanOptions() if plan is None else plan
    if isinstance(plan, PlanOptions):
        sampling = guided(sampling, plan)
        num_earlier = sum(groove.num_bars for groove in earlier)
        options = {"grid": here.grid, "tempo_bpm": tempo_bpm, "earlier_bars": num_earlier, "name": player.name}
        plan = plan_bars(player.labels, plan, bars, **options)
    seed, state = choose_seed(sampling.seed), here.initial_state(tempo_bpm, plan, expression)
    for place, then, groove in zip(heard, [*heard, players[0]][1:], earlier, strict=True):
        name = "context" if groove is context else "primer"
        state = feed_groove(place, state, groove, tempo_bpm, name, None if then.grid == place.grid else then)
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


def vary_in_metres(
    player: Player,
    grooves: Sequence[Groove],
    strength: float,
    sampling: SamplingOptions = SamplingOptions(),
    *,
    keep: Sequence[int] = (),
    infilling: InfillOptions = InfillOptions(),
    expression: bool = True,
) -> tuple[list[Groove], list[InfillResult]]:
    """Return a variation of the parts of a song, each on its own grid, and the infill of each.

    A part is varied as by `vary_groove`, given all parts before it as they are then; later parts count as they are
    varied only. Velocity and timing of new hits are given those of their part.

    Args:
        player: of a model that plays every metre.
        grooves: the parts, at least one, of whole bars.
        strength, sampling, keep, infilling, expression: as in `vary_groove`.

    Raises:
        HypermeterError: as `vary_groove`; a model that serves one grid only.
    """

    def fill(placed: Player, groove: Groove, state: State, sampling: SamplingOptions, first_bar: int) -> InfillResult:
        columns = columns_of_groove(placed, groove)
        return vary(placed, columns, strength, sampling, keep=keep, infilling=infilling, start=state)

    plans = [measured_plan(player.on(groove.grid), groove.hits, groove.tempo_bpm) for groove in grooves]
    return _fill_parts(player, grooves, sampling, plans, fill, expression)


def replace_bars_in_metres(
    player: Player,
    grooves: Sequence[Groove],
    bars: Sequence[int],
    sampling: SamplingOptions = SamplingOptions(),
    *,
    keep: Sequence[int] = (),
    infilling: InfillOptions = InfillOptions(),
    expression: bool = True,
) -> tuple[list[Groove], list[InfillResult]]:
    """Return the parts of a song with some bars generated anew, each part on its own grid, and the infill of each.

    Bars are replaced as by `replace_bars`, given the parts before theirs and the rest of their part.

    Args:
        player: of a model that plays every metre.
        grooves: the parts, at least one, of whole bars.
        bars: bars to replace, counted from 0 through all parts.
        sampling, keep, infilling, expression: as in `replace_bars`. Guidance has no effect.

    Raises:
        HypermeterError: as `replace_bars`; a bar that the song does not have, a model that serves one grid only.
    """
    total = sum(groove.num_bars for groove in grooves)
    if wrong := set(bars) - set(range(total)):
        raise HypermeterError(f"bars: {min(wrong)}, expected bars from 0 to {total - 1}, those of all parts")

    def fill(placed: Player, groove: Groove, state: State, sampling: SamplingOptions, first_bar: int) -> InfillResult:
        columns = columns_of_groove(placed, groove)
        here = [bar - first_bar for bar in bars if 0 <= bar - first_bar < groove.num_bars]
        locks = combine(lock_all_but(columns, here, groove.grid), lock_voices(columns, keep))
        return infill(placed, locks, None, sampling, infilling=infilling, start=state)

    plans = []
    for groove in grooves:
        tempo = PlanOptions(), groove.num_bars
        options = {"grid": groove.grid, "tempo_bpm": groove.tempo_bpm, "earlier_bars": 1, "name": player.name}
        plan = plan_bars(player.labels, *tempo, **options)
        plans.append(Plan.free(groove.num_bars) if plan is None else plan.bars(1, groove.num_bars))
    return _fill_parts(player, grooves, sampling, plans, fill, expression)


def _fill_parts(
    player: Player,
    grooves: Sequence[Groove],
    sampling: SamplingOptions,
    plans: Sequence[Plan],
    fill: Callable[[Player, Groove, State, SamplingOptions, int], InfillResult],
    expression: bool,
) -> tuple[list[Groove], list[InfillResult]]:
    """Return the parts of a song after `fill` of each, which gets the state after the parts before it."""
    if not grooves:
        raise HypermeterError("metres: no parts, expected at least one groove")
    players = [player.on(groove.grid) for groove in grooves]
    seed = choose_seed(sampling.seed)
    plan = None if player.labels is None else plans[0].then(*plans[1:])
    state, first_bar = players[0].start(1, plan), 0
    made: list[Groove] = []
    results: list[InfillResult] = []
    for number, (placed, groove) in enumerate(zip(players, grooves, strict=True)):
        of_part = replace(sampling, seed=(seed + number * SEED_STEP) % (MAX_SEED + 1), guidance=0.0)
        result = fill(placed, groove, state, of_part, first_bar)
        made.append(in_place(placed, result, groove, expression, of_part.seed, ()))
        results.append(result)
        first_bar += groove.num_bars
        following = players[number + 1] if number + 1 < len(players) else None
        for step, x in enumerate(result.hits):
            is_change = step + 1 == len(result.hits) and following is not None and following.grid != placed.grid
            state = placed.advance(x[None], state, following if is_change else None)
    return made, results

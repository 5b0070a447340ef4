"""Generate grooves: continue one, fill the free cells of one, replace bars of one, or vary one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import DEFAULT_VELOCITY, Groove
from hypermeter.play.articulating import articulation_of
from hypermeter.play.columns import (
    check_groove,
    columns_of_groove,
    columns_or_none,
    groove_of,
    join_grooves,
    kit_of_result,
    known_values,
    present,
)
from hypermeter.play.following import Rhythm
from hypermeter.play.form import Form, section_at, sections_of
from hypermeter.play.humanize import articulate, articulation_of_groove, humanize
from hypermeter.play.infill import InfillResult, infill, vary
from hypermeter.play.listening import Listener
from hypermeter.play.locks import Locks, combine, lock_all_but, lock_voices
from hypermeter.play.plan import NUMBERS, Labels, Plan, plan_bars, plan_of, section_names
from hypermeter.play.player import Player
from hypermeter.play.random import choose_seed
from hypermeter.play.request import InfillOptions, PlanOptions, SamplingOptions, check
from hypermeter.play.state import Passage, PlayerState

BARS = 16
"""Default number of new bars."""

TEMPO_BPM = 120.0
"""Default tempo, in quarter notes a minute."""


def continue_groove(
    player: Player,
    primer: Groove | None = None,
    bars: int = BARS,
    sampling: SamplingOptions = SamplingOptions(),
    *,
    plan: PlanOptions | Plan | None = None,
    context: Groove | None = None,
    tempo_bpm: float = TEMPO_BPM,
    include_primer: bool = True,
    expression: bool = True,
    on_bar: Callable[[int, Groove], None] | None = None,
) -> Groove:
    """Return the primer continued by `bars` bars.

    Args:
        player: the result has its kit, with the map of the primer's, or the primer's if the model has none.
        primer: on the model's grid and kit; its hits keep velocity and offset, and the new bars have its shift. `None`
            generates from nothing.
        bars: number of new bars, at least 1.
        sampling: how steps are sampled.
        plan: conditions of the new bars; or a `Plan` of all bars from the first of context and primer on. Guidance
            has an effect only where a condition beside the tempo is set.
        context: music before the primer, such as the song so far; not in the result.
        tempo_bpm: in quarter notes a minute; the tempo of the primer takes precedence.
        include_primer: whether the result begins with the primer.
        expression: whether new hits get velocity and offset from the model, if it has learnt them; otherwise they have
            DEFAULT_VELOCITY and offset 0.
        on_bar: called with the number of each new bar, from 0, and the bar, as soon as it is generated.

    Raises:
        HypermeterError: a primer that is no `Groove` or of another grid or number of voices; bars < 1; neither a kit
            nor a primer.
    """
    check("bars", bars)
    player = player.on_grid_of(context if primer is None else primer)
    for name, groove in (("context", context), ("primer", primer)):
        if groove is not None:
            check_groove(player, groove, name)
    kit = kit_of_result(player, primer)
    tempo_bpm = primer.tempo_bpm if primer is not None else tempo_bpm
    earlier = present(context, primer)
    shift = earlier[-1].shift if earlier else 0.0
    plan = PlanOptions() if plan is None else plan
    if isinstance(plan, PlanOptions):
        num_earlier = sum(groove.num_bars for groove in earlier)
        sampling = guided(sampling, plan)
        plan = plan_bars(
            player.labels, plan, bars, grid=player.grid, tempo_bpm=tempo_bpm, earlier_bars=num_earlier, name=player.name
        )
    rules = player.rules(sampling, plan)
    player_state = player.initial_state(tempo_bpm, plan, expression)
    for name, groove in (("context", context), ("primer", primer)):
        if groove is not None:
            player_state = feed_groove(player, player_state, groove, tempo_bpm, name)
    passages, size, sections = [], player.grid.steps_per_bar, sections_of(plan)
    first = player_state.position // size
    whole: Any = player_state.state.plan
    form: Form[PlayerState, Passage] = Form.from_bar(first, sections, player.grid) if sections else Form(1)
    for bar in range(bars):
        if sections:
            form, begun = begin_bar(player, form, section_at(sections, first + bar), player_state, tempo_bpm)
            if begun is not player_state:
                player_state = replace(begun, state=begun.state.with_plan(whole[:, begun.ahead :]))
            form = form.enter(player_state)
        passage, player_state = player.play(player_state, size, rules, tempo_bpm)
        passages.append(passage)
        form = form.play(passage)
        if on_bar is not None:
            on_bar(bar, groove_of(player, passage, tempo_bpm, kit, (), shift))
    new = groove_of(player, Passage.joined(passages), tempo_bpm, kit, earlier, shift)
    return join_grooves(primer, new) if primer is not None and include_primer else new


def begin_bar(
    player: Player, form: Form[PlayerState, Passage], section: int, player_state: PlayerState, tempo_bpm: float
) -> tuple[Form[PlayerState, Passage], PlayerState]:
    """Return the form and the player state, its plan aside, from which a bar of a section begins; see `play.form`.

    Args:
        player: the model.
        form: before the bar.
        section: of the bar, 0 for none.
        player_state: after all that was played.
        tempo_bpm: quarter notes a minute, NaN where unknown.
    """
    bar, size = form.bar, player.grid.steps_per_bar
    form, start = form.turn(section, player_state)
    if start is None:
        return form, player_state
    has_expression = player_state.expression is not None or player_state.articulation is not None
    begun = player.initial_state(tempo_bpm, None, has_expression) if start.state is None else start.state
    begun = replace(begun, ahead=bar - len(start.bars) - begun.state.position // size)
    for passage in start.bars:
        played = passage.hits[:, : player.num_drums], passage.velocity, passage.offset
        articulation = articulation_of(*played, passage.strokes, passage.openness)
        begun = player.feed(begun, passage.hits, passage.velocity, passage.offset, tempo_bpm, articulation)
    return form, begun


def feed_groove(
    player: Player,
    player_state: PlayerState,
    groove: Groove,
    tempo_bpm: float,
    what: str = "groove",
    then: Player | None = None,
) -> PlayerState:
    """Return the player state after a groove, with the velocity and offset of its hits.

    `then` is the player on the grid of the next bar, where the metre changes after the groove.

    Raises:
        HypermeterError: another metre or number of voices than the model's; the message begins with `what`.
    """
    columns = columns_of_groove(player, groove, what)
    velocity, offset = (known_values(groove, kind) for kind in ("velocity", "offset"))
    return player.feed(player_state, columns, velocity, offset, tempo_bpm, articulation_of_groove(groove), then)


def fill_groove(
    player: Player,
    pattern: Groove,
    locks: Locks,
    primer: Groove | None = None,
    sampling: SamplingOptions = SamplingOptions(),
    *,
    plan: PlanOptions | Plan | None = None,
    planned_bars: Sequence[int] | None = None,
    context: Groove | None = None,
    infilling: InfillOptions = InfillOptions(),
    expression: bool = True,
    listener: Listener | None = None,
    rhythm: Rhythm | None = None,
) -> tuple[Groove, InfillResult]:
    """Return the pattern with its free cells filled in, and the infill. Locked hits keep their velocity and offset.

    Args:
        player: the result has its kit.
        pattern: on the model's grid and kit, as long as the locks; it gives the tempo and the sections.
        locks: of one row and of the values that the pattern has, see `columns_of_groove`.
        primer: music before the pattern; not in the result.
        sampling: how free cells are sampled.
        plan: conditions of `planned_bars`, of which the other bars of the pattern have what is measured in them; or a
            `Plan` of all bars from the first of context and primer on. For guidance see `continue_groove`.
        planned_bars: bars of the pattern, counted from 0; `None` for all.
        context: music before the primer.
        infilling: number of particles and horizon.
        expression: see `continue_groove`.
        listener: see `infill`; new hits get its velocity and offset.
        rhythm: see `infill`.

    Raises:
        HypermeterError: as `infill`; a pattern, primer or context of another grid or number of voices, locks of
            another length than the pattern.
    """
    player = player.on_grid_of(pattern)
    check_groove(player, pattern, "pattern")
    if locks.num_steps != len(pattern):
        raise HypermeterError(f"locks: {locks.num_steps} steps for a pattern of {len(pattern)}; expected as many")
    if wrong := set(planned_bars or ()) - set(range(pattern.num_bars)):
        raise HypermeterError(f"planned_bars: {min(wrong)}, expected bars from 0 to {pattern.num_bars - 1}")
    columns = [columns_or_none(player, groove, name) for name, groove in (("context", context), ("primer", primer))]
    plan = PlanOptions() if plan is None else plan
    if isinstance(plan, PlanOptions):
        sampling = guided(sampling, plan)
        plan = _plan_around(player, plan, pattern, planned_bars, present(context, primer))
    sampling = replace(sampling, seed=choose_seed(sampling.seed))
    options: dict[str, Any] = {"context": columns[0], "plan": plan, "infilling": infilling, "listener": listener}
    options["rhythm"] = rhythm
    result = infill(player, locks, columns[1], sampling, **options)
    return in_place(player, result, pattern, expression, sampling.seed, (context, primer)), result


def replace_bars(
    player: Player,
    groove: Groove,
    bars: Sequence[int],
    sampling: SamplingOptions = SamplingOptions(),
    *,
    keep: Sequence[int] = (),
    plan: PlanOptions = PlanOptions(),
    context: Groove | None = None,
    infilling: InfillOptions = InfillOptions(),
    expression: bool = True,
) -> tuple[Groove, InfillResult]:
    """Return the groove with some bars generated anew in their place, and the infill. For other arguments see `infill`.

    Args:
        player: the result has its kit.
        groove: its other bars stay as they are.
        bars: bars to replace, counted from 0.
        sampling: how steps are sampled.
        keep: columns that stay in these bars.
        plan: conditions of these bars, in their order.
        context: music before the groove.
        infilling: number of particles and horizon.
        expression: see `continue_groove`.

    Raises:
        HypermeterError: as `fill_groove`; a bar or a column that is not there.
    """
    player = player.on_grid_of(groove)
    columns = columns_of_groove(player, groove)
    locks = combine(lock_all_but(columns, bars, player.grid), lock_voices(columns, keep))
    options: dict[str, Any] = {"context": context, "infilling": infilling, "expression": expression}
    return fill_groove(player, groove, locks, sampling=sampling, plan=plan, planned_bars=bars, **options)


def vary_groove(
    player: Player,
    groove: Groove,
    strength: float,
    sampling: SamplingOptions = SamplingOptions(),
    *,
    keep: Sequence[int] = (),
    context: Groove | None = None,
    plan: PlanOptions | Plan | None = None,
    infilling: InfillOptions = InfillOptions(),
    expression: bool = True,
) -> tuple[Groove, InfillResult]:
    """Return a variation of the groove, and the infill. Hits that stay keep their velocity and offset.

    A strength of 0 returns the groove itself, 1 a new one; see `infill.vary`. The plan is of all bars of the groove, or
    a `Plan` from the first bar of the context on; without one, it is what is measured in the groove, and its tempo.
    """
    player = player.on_grid_of(groove)
    columns, earlier = columns_of_groove(player, groove), columns_or_none(player, context, "context")
    if isinstance(plan, PlanOptions):
        plan = _plan_around(player, plan, groove, None, present(context))
    elif plan is None and player.labels is not None:
        hits = np.concatenate([music.hits for music in present(context, groove)])
        plan = measured_plan(player, hits, groove.tempo_bpm)
    sampling = replace(sampling, seed=choose_seed(sampling.seed))
    result = vary(player, columns, strength, sampling, keep=keep, context=earlier, plan=plan, infilling=infilling)
    return in_place(player, result, groove, expression, sampling.seed, (context,)), result


# ---------------------------------------------------------------------- plans


def guided(sampling: SamplingOptions, plan: PlanOptions) -> SamplingOptions:
    """Return the sampling options, with a guidance of 0 if the plan sets nothing but the tempo."""
    return sampling if plan.names else replace(sampling, guidance=0.0)


def _plan_around(
    player: Player, options: PlanOptions, pattern: Groove, bars: Sequence[int] | None, earlier: Sequence[Groove]
) -> Plan | None:
    """Return the plan of earlier bars, left open, and of a pattern: `options` in `bars`, as measured in the others."""
    planned = range(pattern.num_bars) if bars is None else sorted(bars)
    num_earlier, tempo_bpm = sum(groove.num_bars for groove in earlier), pattern.tempo_bpm
    begins = not num_earlier and list(planned) == list(range(len(planned)))
    given = plan_bars(
        player.labels,
        options,
        len(planned),
        grid=player.grid,
        tempo_bpm=tempo_bpm,
        earlier_bars=0 if begins else 1,
        name=player.name,
    )
    if given is None:
        return None
    given = given.bars(given.num_bars - len(planned), len(planned))
    plan = Plan.free(num_earlier + pattern.num_bars)
    rows = num_earlier + np.setdiff1d(np.arange(pattern.num_bars), planned)
    if len(rows):
        stays = ~np.isin(np.arange(len(pattern)) // player.grid.steps_per_bar, planned)
        measured = measured_plan(player, pattern.hits[stays], tempo_bpm).like(given)
        plan.labels[:, rows], plan.numbers[:, rows] = measured.labels, measured.numbers
    rows = num_earlier + np.array(planned)
    plan.labels[:, rows], plan.numbers[:, rows] = given.labels, given.numbers
    return plan


def measured_plan(player: Player, hits: NDArray[np.uint8], tempo_bpm: float) -> Plan:
    """Return the plan that is measured in hits (T, V), and the tempo."""
    plan = plan_of(hits, player.grid)
    plan.numbers[..., NUMBERS.index("tempo_bpm")] = tempo_bpm
    return plan


def name_bars(groove: Groove, bars: Sequence[int], sections: str | Sequence[str | None], labels: Labels) -> Groove:
    """Return the groove with `bars`, counted from 0, named by `sections`; a bar without a name there keeps its name."""
    new = section_names(sections, labels)
    if not any(new):
        return groove
    names = [""] * groove.num_bars if groove.sections is None else groove.sections.tolist()
    for bar, name in zip(bars, new, strict=True):
        names[bar] = name or names[bar]
    return replace(groove, sections=np.array(names))


# ---------------------------------------------------------------------- the result of an infill


def in_place(
    player: Player,
    result: InfillResult,
    pattern: Groove,
    expression: bool,
    seed: int | None,
    earlier: Sequence[Groove | None],
) -> Groove:
    """Return the groove of an infill of a pattern, with the pattern's sections and shift.

    Hits of the pattern keep their velocity, offset, further strokes and openness; the others get velocity and offset
    from the model, or DEFAULT_VELOCITY and 0.
    """
    kit = kit_of_result(player, pattern)
    hits = result.hits[:, : player.num_drums]
    stays = (pattern.hits > 0) & (hits > 0)
    new = np.float32(DEFAULT_VELOCITY) * hits if result.velocity is None else result.velocity
    velocity = np.where(stays, pattern.velocity, new)
    offset = np.where(stays, pattern.offset, np.float32(0) if result.offset is None else result.offset)
    groove = groove_of(player, Passage(result.hits, velocity, offset), pattern.tempo_bpm, kit, earlier, pattern.shift)
    kept = {name: getattr(pattern, name) for name in ("sections", "strokes", "openness", "chokes")}
    groove = replace(groove, **kept)  # Without the strokes of hits that do not stay.
    is_new = (hits > 0) & (pattern.hits == 0)
    if result.velocity is not None:
        return articulate(groove, player, seed, is_new)
    return _play_expressively(player, groove, is_new, seed, earlier) if expression else groove


def _play_expressively(
    player: Player, groove: Groove, is_new: NDArray[np.bool_], seed: int | None, earlier: Sequence[Groove | None]
) -> Groove:
    """Return the groove with velocity, offset, strokes and openness of its new hits (T, V) from the model.

    They are given the earlier music and the hits that stay. Return the groove itself if the model has learnt none.
    """
    if not player.has_expression or not is_new.any():
        return groove
    whole, which = groove, is_new
    for before in reversed(present(*earlier)):
        whole, which = join_grooves(before, whole), np.concatenate([np.zeros(before.hits.shape, bool), which])
    played = humanize(replace(whole, tempo_bpm=groove.tempo_bpm), player, seed=seed, which=which)
    first = len(whole) - len(groove)
    velocity, offset = (
        np.where(is_new, getattr(played, name)[first:], getattr(groove, name)) for name in ("velocity", "offset")
    )
    with_strokes = articulate(played, player, seed, which)
    openness = np.where(is_new, with_strokes.openness[first:], groove.openness)
    strokes = with_strokes.strokes.between(first, len(whole))
    return replace(groove, velocity=velocity, offset=offset, strokes=strokes, openness=openness)

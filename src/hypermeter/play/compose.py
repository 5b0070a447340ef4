"""Grooves in, grooves out: a model plays on from a groove, around what is kept of it, towards what is asked for."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import check_metre
from hypermeter.core.groove import DEFAULT_VELOCITY, Groove
from hypermeter.core.tracks import REST, track_groups, with_columns
from hypermeter.play.humanize import humanize
from hypermeter.play.infill import Infilled, infill, vary
from hypermeter.play.loading import kit_of
from hypermeter.play.locks import Locks, combine, lock_all_but, lock_voices
from hypermeter.play.moment import Moment, Part
from hypermeter.play.plan import NUMBERS, Labels, Plan, plan_bars, plan_of, section_names
from hypermeter.play.player import Player
from hypermeter.play.random import choose_seed
from hypermeter.play.request import InfillOptions, PlanOptions, SamplingOptions, check

BARS = 16
"""New ones, where nothing tells how many."""

TEMPO_BPM = 120.0
"""Quarter notes a minute, where nothing tells it."""


def continue_groove(
    player: Player,
    primer: Groove | None = None,
    bars: int = BARS,
    sampling: SamplingOptions = SamplingOptions(),
    *,
    wishes: PlanOptions = PlanOptions(),
    plan: Plan | None = None,
    context: Groove | None = None,
    tempo_bpm: float = TEMPO_BPM,
    include_primer: bool = True,
    expression: bool = True,
    on_bar: Callable[[int, Groove], None] | None = None,
) -> Groove:
    """Return a groove that goes on from the primer by `bars` bars.

    Args:
        player: its kit becomes the groove's; one without takes the primer's.
        primer: on the model's grid and kit; velocity and offset of its hits are kept. `None` starts from nothing.
        bars: new bars, at least 1.
        sampling: how steps are drawn.
        wishes: what is asked of the new bars; guidance counts only where there is a wish beside the tempo.
        plan: in place of wishes, what is asked of each bar from the first of all that is heard.
        context: heard before the primer, such as the song so far; not in the result.
        tempo_bpm: where there is no primer.
        include_primer: whether the result begins with the primer.
        expression: whether a model that has learnt velocity and offset plays the new hits with them; otherwise these
            are DEFAULT_VELOCITY, on the grid.
        on_bar: called with the number of each new bar, from 0, and the bar, as soon as it is played.

    Raises:
        HypermeterError: a primer of another grid or number of voices; bars < 1; neither a kit nor a primer.
    """
    check("bars", bars)
    kit = primer.kit if player.kit is None and primer is not None else kit_of(player)
    tempo_bpm = primer.tempo_bpm if primer is not None else tempo_bpm
    heard = _present(context, primer)
    if plan is None:
        before = sum(groove.num_bars for groove in heard)
        plan = plan_bars(
            player.labels, wishes, bars, grid=player.grid, tempo_bpm=tempo_bpm, heard_bars=before, name=player.name
        )
        sampling = _guided(sampling, wishes)
    rules = player.rules(sampling, plan)
    moment = player.moment(tempo_bpm, plan, expression)
    for name, groove in (("context", context), ("primer", primer)):
        if groove is not None:
            moment = hear_groove(player, moment, groove, tempo_bpm, name)
    parts, size = [], player.grid.steps_per_bar
    for bar in range(bars):
        part, moment = player.play(moment, size, rules, tempo_bpm)
        parts.append(part)
        if on_bar is not None:
            on_bar(bar, _groove_of(player, part, tempo_bpm, kit, ()))
    whole = Part(
        *(np.concatenate(arrays) for arrays in zip(*((p.hits, p.velocity, p.offset) for p in parts), strict=True))
    )
    made = _groove_of(player, whole, tempo_bpm, kit, heard)
    return after(primer, made) if primer is not None and include_primer else made


def hear_groove(player: Player, moment: Moment, groove: Groove, tempo_bpm: float, what: str = "groove") -> Moment:
    """Return the moment after a groove was heard, with the velocity and timing of its hits.

    Raises:
        HypermeterError: another metre or number of voices than the model's, by the name of `what`.
    """
    columns = columns_of_groove(player, groove, what)
    velocity, offset = (_known_values(groove, kind) for kind in ("velocity", "offset"))
    return player.heard(moment, columns, velocity, offset, tempo_bpm)


def fill_groove(
    player: Player,
    pattern: Groove,
    locks: Locks,
    primer: Groove | None = None,
    sampling: SamplingOptions = SamplingOptions(),
    *,
    wishes: PlanOptions = PlanOptions(),
    wished_bars: Sequence[int] | None = None,
    plan: Plan | None = None,
    context: Groove | None = None,
    infilling: InfillOptions = InfillOptions(),
    expression: bool = True,
) -> tuple[Groove, Infilled]:
    """Return a groove around the locked cells of `pattern`, which keep their velocity and offset, and the infill.

    Args:
        player: its kit becomes the groove's.
        pattern: on the model's grid and kit, as long as the locks; it gives the tempo and the sections.
        locks: of one row and of the values that the pattern has, see `columns_of_groove`.
        primer: heard before; not in the result.
        sampling: how free cells are drawn.
        wishes: what is asked of `wished_bars`; of the other bars of the pattern, what is measured in them of the same.
            Guidance counts only where there is a wish beside the tempo.
        wished_bars: of the pattern, counted from 0; `None` for all.
        plan: in place of wishes, what is asked of each bar, from the first of context and primer on.
        context: heard before the primer.
        infilling: how many particles.
        expression: see `continue_groove`.

    Raises:
        HypermeterError: as `infill`; a pattern, primer or context of another grid or number of voices, locks of
            another length than the pattern.
    """
    _check(player, pattern, "pattern")
    if locks.num_steps != len(pattern):
        raise HypermeterError(f"locks: {locks.num_steps} steps for a pattern of {len(pattern)}; expected as many")
    if wrong := set(wished_bars or ()) - set(range(pattern.num_bars)):
        raise HypermeterError(f"wished_bars: {min(wrong)}, expected bars from 0 to {pattern.num_bars - 1}")
    if plan is None:
        plan = _plan_around(player, wishes, pattern, wished_bars, _present(context, primer))
        sampling = _guided(sampling, wishes)
    heard, before = _heard(player, primer, "primer"), _heard(player, context, "context")
    sampling = replace(sampling, seed=choose_seed(sampling.seed))
    done = infill(player, locks, heard, sampling, context=before, plan=plan, infilling=infilling)
    return _in_place(player, done, pattern, expression, sampling.seed, (context, primer)), done


def replace_bars(
    player: Player,
    groove: Groove,
    bars: Sequence[int],
    sampling: SamplingOptions = SamplingOptions(),
    *,
    keep: Sequence[int] = (),
    wishes: PlanOptions = PlanOptions(),
    context: Groove | None = None,
    infilling: InfillOptions = InfillOptions(),
    expression: bool = True,
) -> tuple[Groove, Infilled]:
    """Return the groove with some bars, counted from 0, written anew in their place, and the infill.

    Args:
        player: see `fill_groove`, also for what is not named here.
        groove: of which all other bars stay as they are.
        bars: that are written anew, towards the wishes.
        sampling: how they are drawn.
        keep: columns that stay in them.
        wishes: what is asked of them, in their order.
        context: heard before.
        infilling: how many particles.
        expression: see `continue_groove`.

    Raises:
        HypermeterError: as `fill_groove`; a bar or a column that is not there.
    """
    columns = columns_of_groove(player, groove)
    locks = combine(lock_all_but(columns, bars, player.grid), lock_voices(columns, keep))
    options: dict[str, Any] = {"context": context, "infilling": infilling, "expression": expression}
    return fill_groove(player, groove, locks, sampling=sampling, wishes=wishes, wished_bars=bars, **options)


def vary_groove(
    player: Player,
    groove: Groove,
    strength: float,
    sampling: SamplingOptions = SamplingOptions(),
    *,
    keep: Sequence[int] = (),
    context: Groove | None = None,
    plan: Plan | None = None,
    infilling: InfillOptions = InfillOptions(),
    expression: bool = True,
) -> tuple[Groove, Infilled]:
    """Return `infill.vary` of a groove: 0 gives it back, 1 a new one. Hits that stay keep their velocity and offset.

    Where no plan is given, what is measured in the groove and its tempo are asked for.
    """
    columns, before = columns_of_groove(player, groove), _heard(player, context, "context")
    if plan is None and player.labels is not None:
        hits = np.concatenate([heard.hits for heard in _present(context, groove)])
        plan = _measured(player, hits, groove.tempo_bpm)
    sampling = replace(sampling, seed=choose_seed(sampling.seed))
    done = vary(player, columns, strength, sampling, keep=keep, context=before, plan=plan, infilling=infilling)
    return _in_place(player, done, groove, expression, sampling.seed, (context,)), done


# ---------------------------------------------------------------------- what is asked of the bars


def _guided(sampling: SamplingOptions, wishes: PlanOptions) -> SamplingOptions:
    """Return the sampling, whose guidance is 0 where nothing is wished but the tempo."""
    return sampling if wishes.names else replace(sampling, guidance=0.0)


def _plan_around(
    player: Player, wishes: PlanOptions, pattern: Groove, bars: Sequence[int] | None, heard: Sequence[Groove]
) -> Plan | None:
    """Return the plan of what is heard, left open, and of a pattern: wishes in `bars`, as measured in the others."""
    wished = range(pattern.num_bars) if bars is None else sorted(bars)
    before, tempo_bpm = sum(groove.num_bars for groove in heard), pattern.tempo_bpm
    begins = not before and list(wished) == list(range(len(wished)))
    told = plan_bars(
        player.labels,
        wishes,
        len(wished),
        grid=player.grid,
        tempo_bpm=tempo_bpm,
        heard_bars=0 if begins else 1,
        name=player.name,
    )
    if told is None:
        return None
    told = told.bars(told.num_bars - len(wished), len(wished))
    plan = Plan.free(before + pattern.num_bars)
    rows = before + np.setdiff1d(np.arange(pattern.num_bars), wished)
    if len(rows):
        stays = ~np.isin(np.arange(len(pattern)) // player.grid.steps_per_bar, wished)
        own = _measured(player, pattern.hits[stays], tempo_bpm).like(told)
        plan.labels[:, rows], plan.numbers[:, rows] = own.labels, own.numbers
    rows = before + np.array(wished)
    plan.labels[:, rows], plan.numbers[:, rows] = told.labels, told.numbers
    return plan


def _measured(player: Player, hits: NDArray[np.uint8], tempo_bpm: float) -> Plan:
    """Return the plan that is measured in hits (T, V), and the tempo."""
    plan = plan_of(hits, player.grid)
    plan.numbers[..., NUMBERS.index("tempo_bpm")] = tempo_bpm
    return plan


def name_bars(groove: Groove, bars: Sequence[int], sections: str | Sequence[str | None], labels: Labels) -> Groove:
    """Return the groove with `bars`, counted from 0, named by their sections; what is given no name keeps its own."""
    told = section_names(sections, labels)
    if not any(told):
        return groove
    names = [""] * groove.num_bars if groove.sections is None else groove.sections.tolist()
    for bar, name in zip(bars, told, strict=True):
        names[bar] = name or names[bar]
    return replace(groove, sections=np.array(names))


# ---------------------------------------------------------------------- from grooves to columns and back


def columns_of_groove(player: Player, groove: Groove, what: str = "groove") -> NDArray[np.uint8]:
    """Return (T, W), the groove's hits and, of a model with tracks, its notes; a track that it lacks is silent.

    Raises:
        HypermeterError: another metre or number of voices than the model's, by the name of `what`.
    """
    _check(player, groove, what)
    return with_columns(groove.hits, groove.tracks, player.tracks)


def _check(player: Player, groove: Groove, what: str) -> None:
    check_metre(groove.grid, player.grid, what)
    if (voices := groove.hits.shape[1]) != player.num_drums:
        raise HypermeterError(f"{what}: {voices} voices, expected {player.num_drums}, those of the model")


def _present(*grooves: Groove | None) -> list[Groove]:
    return [groove for groove in grooves if groove is not None]


def _heard(player: Player, groove: Groove | None, what: str) -> NDArray[np.uint8] | None:
    return None if groove is None else columns_of_groove(player, groove, what)


def _known_values(groove: Groove, kind: str) -> NDArray[np.float32]:
    """Return velocity or offset (T, V), NaN where the groove's file told none."""
    values = getattr(groove, kind)
    return np.full_like(values, np.nan) if kind in groove.unknown else values


def _groove_of(player: Player, part: Part, tempo_bpm: float, kit: Any, heard: Sequence[Groove | None]) -> Groove:
    """Return the groove of what was played after what was heard: a note of a track that sounds there may go on."""
    last = next((groove.tracks for groove in reversed(heard) if groove is not None and len(groove)), {})
    sounding = {name for name, codes in last.items() if codes[-1] != REST}
    groups = zip(player.tracks, track_groups(player.num_drums, player.tracks), strict=True)
    tracks = {
        track.name: track.decode(part.hits[:, start:stop], track.name in sounding) for track, (start, stop) in groups
    }
    hits = part.hits[:, : player.num_drums]
    return Groove(hits, part.velocity, part.offset, tempo_bpm, kit, player.grid, tracks=tracks)


def _in_place(
    player: Player, done: Infilled, pattern: Groove, expression: bool, seed: int | None, heard: Sequence[Groove | None]
) -> Groove:
    """Return what was filled in, over the pattern that it was filled into.

    Hits where the pattern has one keep its velocity and offset; the others are played by the model, or are
    DEFAULT_VELOCITY, on the grid. The pattern's sections stay.
    """
    kit = kit_of(player) if player.kit is not None else pattern.kit
    hits = done.hits[:, : player.num_drums]
    stays = (pattern.hits > 0) & (hits > 0)
    velocity = np.where(stays, pattern.velocity, np.float32(DEFAULT_VELOCITY) * hits)
    offset = np.where(stays, pattern.offset, np.float32(0))
    groove = _groove_of(player, Part(done.hits, velocity, offset), pattern.tempo_bpm, kit, heard)
    groove = replace(groove, sections=pattern.sections)
    is_new = (hits > 0) & (pattern.hits == 0)
    return _play_expressively(player, groove, is_new, seed, heard) if expression else groove


def _play_expressively(
    player: Player, groove: Groove, is_new: NDArray[np.bool_], seed: int | None, heard: Sequence[Groove | None]
) -> Groove:
    """Return the groove with velocity and offset of its new hits (T, V) as the model plays them after what is heard.

    Of a model that has learnt neither, the groove as it is.
    """
    if not player.has_expression or not is_new.any():
        return groove
    whole, which = groove, is_new
    for before in reversed([earlier for earlier in heard if earlier is not None]):
        whole, which = after(before, whole), np.concatenate([np.zeros(before.hits.shape, bool), which])
    played = humanize(replace(whole, tempo_bpm=groove.tempo_bpm), player, seed=seed, which=which)
    first = len(whole) - len(groove)
    velocity, offset = (
        np.where(is_new, getattr(played, name)[first:], getattr(groove, name)) for name in ("velocity", "offset")
    )
    return replace(groove, velocity=velocity, offset=offset)


def after(primer: Groove, groove: Groove) -> Groove:
    """Return the primer, then the groove, as one."""
    hits, velocity, offset = (
        np.concatenate([getattr(primer, name), getattr(groove, name)]) for name in ("hits", "velocity", "offset")
    )
    both = primer, groove
    tracks = {
        name: np.concatenate([part.tracks.get(name, np.full(len(part), REST, np.int16)) for part in both])
        for name in {**primer.tracks, **groove.tracks}
    }
    sections = None
    if any(part.sections is not None for part in both) and len(primer) % groove.grid.steps_per_bar == 0:
        names = [np.full(part.num_bars, "") if part.sections is None else part.sections for part in both]
        sections = np.concatenate(names)
    unknown = primer.unknown | groove.unknown
    return Groove(hits, velocity, offset, primer.tempo_bpm, groove.kit, groove.grid, sections, unknown, tracks)

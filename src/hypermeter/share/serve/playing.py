"""Requests to grooves, by `play.compose`."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.music.feel import Feel
from hypermeter.play.columns import columns_of_groove
from hypermeter.play.compose import continue_groove, fill_groove, vary_groove
from hypermeter.play.follow import follow_groove
from hypermeter.play.humanize import humanize
from hypermeter.play.infill import InfillResult
from hypermeter.play.loading import kit_of
from hypermeter.play.locks import Locks, lock_voices
from hypermeter.play.plan import plan_bars
from hypermeter.play.player import Player
from hypermeter.play.request import FollowOptions, InfillOptions, PlanOptions, SamplingOptions
from hypermeter.share.serve.limits import Limits
from hypermeter.share.serve.messages import (
    ContinueRequest,
    FollowRequest,
    GenerateRequest,
    GrooveMessage,
    HumanizeRequest,
    InfillRequest,
    Rows,
    VaryRequest,
    cells_of,
    columns_named,
    on_grid,
    to_groove,
    to_plan_options,
    to_request,
)


def play_request(
    player: Player,
    request: GenerateRequest | ContinueRequest,
    limits: Limits,
    on_bar: Callable[[int, Groove], None] | None = None,
) -> Groove:
    """Return the new bars; `on_bar` is called with the number and groove of each bar as soon as it is generated.

    Raises:
        HypermeterError: a value out of the limits, or that does not fit the model.
    """
    _check_most("bars", request.bars, limits.bars)
    primer = None
    player = on_grid(player, request.groove if isinstance(request, ContinueRequest) else request.grid)
    if isinstance(request, ContinueRequest):
        primer = _whole_bars(request.groove, player, limits, "groove")
    tempo_bpm = request.tempo_bpm if isinstance(request, GenerateRequest) else request.groove.tempo_bpm
    wishes, plan = to_plan_options(request.plan, request.bars + (0 if primer is None else primer.num_bars))
    return continue_groove(
        player,
        primer,
        request.bars,
        to_request(SamplingOptions, request),
        plan=wishes if plan is None else plan,
        tempo_bpm=tempo_bpm,
        include_primer=False,
        expression=request.expression,
        on_bar=on_bar,
    )


def infill_request(player: Player, request: InfillRequest, limits: Limits) -> tuple[Groove, InfillResult]:
    """Return the groove with its open cells filled in, and the infill with its effective sample size.

    Raises:
        HypermeterError: a value out of the limits, or that does not fit the model.
    """
    _check_most("particles", request.particles, limits.particles)
    player = on_grid(player, request.groove)
    pattern = nonempty_groove(request.groove, player, limits)
    context = None if request.context is None else _whole_bars(request.context, player, limits, "context")
    known = _cells_of(player, request, request.known, "known", True)  # voices that are not sent stay silent
    some = None if request.some is None else _cells_of(player, request, request.some, "some", False)
    wishes, plan = to_plan_options(request.plan, pattern.num_bars + (0 if context is None else context.num_bars))
    return fill_groove(
        player,
        pattern,
        Locks(known, pattern.hits, some),
        None,
        to_request(SamplingOptions, request),
        plan=wishes if plan is None else plan,
        context=context,
        infilling=to_request(InfillOptions, request),
        expression=request.expression,
    )


def _cells_of(player: Player, request: InfillRequest, rows: Rows, what: str, other: bool) -> NDArray[np.bool_]:
    """Return cells (T, V) of the model's kit from rows of the voices of a groove; `other` is that of the other voices.

    Raises:
        HypermeterError: rows of another shape than the groove's hits.
    """
    cells = cells_of(rows, what)
    groove, kit = request.groove, kit_of(player)
    steps = cells_of(groove.hits, "groove.hits").shape[1]
    if cells.shape != (len(groove.hits), steps):
        raise HypermeterError(f"{what}: of another shape than groove.hits, expected 0 or 1 for each cell")
    of_kit = np.full((steps, kit.num_voices), other)
    of_kit[:, columns_named(groove.voices or kit.names, kit, "groove.voices")] = cells.T > 0
    return of_kit


def follow_request(player: Player, request: FollowRequest, limits: Limits) -> tuple[Groove, InfillResult]:
    """Return drums that follow a rhythm, and the infill; of `lock` the voices in `keep` stay, or all that it names.

    Raises:
        HypermeterError: a value out of the limits, or that does not fit the model.
    """
    _check_most("particles", request.particles, limits.particles)
    player = on_grid(player, request.groove)
    taps = _whole_bars(request.groove, player, limits, "groove")
    wishes, plan = to_plan_options(request.plan, taps.num_bars)
    pattern, locks = None, None
    if request.lock is not None:
        kit = kit_of(player)
        pattern = replace(_whole_bars(request.lock, player, limits, "lock"), tempo_bpm=taps.tempo_bpm)
        kept = columns_named(request.keep or request.lock.voices or kit.names, kit, "keep")
        locks = lock_voices(columns_of_groove(player, pattern, "lock"), kept)
        stays = np.isin(np.arange(kit.num_voices), kept)
        pattern = replace(pattern, **{name: getattr(pattern, name) * stays for name in ("hits", "velocity", "offset")})
    return follow_groove(
        player,
        taps,
        to_request(SamplingOptions, request),
        to_request(FollowOptions, request),
        plan=wishes if plan is None else plan,
        pattern=pattern,
        locks=locks,
        infilling=to_request(InfillOptions, request),
        expression=request.expression,
    )


def vary_request(player: Player, request: VaryRequest, limits: Limits) -> Groove:
    """Return the groove with a share of it sampled anew; without a plan, the plan is what is measured in it.

    Raises:
        HypermeterError: a value out of the limits, or that does not fit the model.
    """
    _check_most("particles", request.particles, limits.particles)
    player = on_grid(player, request.groove)
    groove = nonempty_groove(request.groove, player, limits)
    wishes, plan = to_plan_options(request.plan, groove.num_bars)
    if plan is None and wishes != PlanOptions():
        options = {"grid": player.grid, "tempo_bpm": groove.tempo_bpm, "name": player.name}
        plan = plan_bars(player.labels, wishes, groove.num_bars, **options)
    varied, _ = vary_groove(
        player,
        groove,
        request.strength,
        to_request(SamplingOptions, request),
        keep=columns_named(request.keep, kit_of(player), "keep"),
        plan=plan,
        infilling=to_request(InfillOptions, request),
        expression=request.expression,
    )
    return varied


def humanize_request(player: Player, request: HumanizeRequest, limits: Limits) -> Groove:
    """Return the groove as the model plays its hits, with the feel of another groove or of a name.

    Raises:
        HypermeterError: a value out of the limits, or that does not fit the model.
    """
    like = request.like
    if isinstance(like, GrooveMessage):
        like = Feel.of(to_groove(like, on_grid(player, like), limits.bars, "like"))
    player = on_grid(player, request.groove)
    return humanize(
        nonempty_groove(request.groove, player, limits),
        player,
        request.amount,
        request.timing,
        request.velocity,
        request.seed,
        request.temperature,
        like=like,
        keep=() if request.keep is None else (request.keep,),
        push=request.push,
    )


def _whole_bars(message: GrooveMessage, player: Player, limits: Limits, what: str) -> Groove:
    groove = to_groove(message, player, limits.bars, what)
    if len(groove) % groove.grid.steps_per_bar:
        raise HypermeterError(f"{what}: {len(groove)} steps, expected whole bars of {groove.grid.steps_per_bar}")
    return groove


def nonempty_groove(message: GrooveMessage, player: Player, limits: Limits) -> Groove:
    """Return the groove of a message; raise ``HypermeterError`` for one without steps."""
    groove = to_groove(message, player, limits.bars)
    if not len(groove):
        raise HypermeterError("groove: no steps in it, expected at least one")
    return groove


def _check_most(name: str, value: int, most: int) -> None:
    if value > most:
        raise HypermeterError(f"{name} is {value}, expected at most {most}")

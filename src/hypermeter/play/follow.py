"""Drums that follow a rhythm: some voice of a set sounds where it taps, and none where it does not.

The exact way draws the model's own posterior given that, and given how loud and when the taps are; see `infill` and
`listening`. Nothing is trained for it. The learnt way takes a model that was trained to follow, see `following`: the
taps change its distribution of each step, and what they ask is locked as well.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit
from hypermeter.core.limits import MAX_SEED
from hypermeter.play.arithmetic import logsumexp
from hypermeter.play.compose import fill_groove
from hypermeter.play.consensus import consensus
from hypermeter.play.following import rhythm_of
from hypermeter.play.infill import InfillResult
from hypermeter.play.listening import Listener, Taps
from hypermeter.play.loading import kit_of
from hypermeter.play.locks import Locks, combine
from hypermeter.play.network import NOT_LEARNT
from hypermeter.play.plan import Plan
from hypermeter.play.player import Player
from hypermeter.play.random import choose_seed
from hypermeter.play.request import FollowOptions, InfillOptions, PlanOptions, SamplingOptions

_CRASHES = {49, 52, 55, 57}


def loud_voices(kit: Kit) -> list[int]:
    """Return the columns of kick, snare, toms, hand drums and crashes."""
    low, mid, _ = kit.streams
    crashes = [column for column, pitch in enumerate(kit.gm_pitches) if pitch in _CRASHES]
    return sorted([*low, *mid, *crashes])


def answering_voices(kit: Kit, answer: Sequence[str]) -> NDArray[np.bool_]:
    """Return whether each voice answers taps, (V,).

    Args:
        kit: of the model.
        answer: see `FollowOptions`.

    Raises:
        HypermeterError: a name that is no voice.
    """
    words = {"all": range(kit.num_voices), "loud": loud_voices(kit)}
    chosen = np.zeros(kit.num_voices, bool)
    for name in answer:
        columns = words[name] if name in words else [kit.column_of(name, "answer", tuple(words))]
        chosen[list(columns)] = True
    return chosen


def lock_taps(taps: Taps, kit: Kit, width: int, following: FollowOptions, around: Locks | None = None) -> Locks:
    """Return the locks of a rhythm, (T, width): some voice of the set at a tap, and none of it between if so asked.

    Args:
        taps: the rhythm.
        kit: of the model.
        width: columns of a step of the model.
        following: how they are answered.
        around: locks of one row, as long; their cells stay as they are. A tap at which they silence all of the set has
            no answer.

    Raises:
        HypermeterError: a name that is no voice.
    """
    answer, is_loud = answering_voices(kit, following.answer), np.zeros(kit.num_voices, bool)
    is_loud[loud_voices(kit)] = True
    some = np.zeros((len(taps.is_tap), width), bool)
    some[:, : kit.num_voices] = taps.is_tap[:, None] & answer
    if (answer & is_loud).any():
        is_accent = np.nan_to_num(taps.velocity) >= following.accent
        some[:, : kit.num_voices] &= ~is_accent[:, None] | is_loud
    known, values = np.zeros(some.shape, bool), np.zeros(some.shape, np.uint8)
    if following.between == "silent":
        known[:, : kit.num_voices] = ~taps.is_tap[:, None] & answer
    if around is None:
        return Locks(known, values, some)
    fixed, hits = around.known[0], around.known[0] & (around.values[0] > 0)
    some[~((hits | ~fixed) & some).any(1)] = False
    return combine(around, Locks(known & ~fixed, values, some))


def follows_learnt_way(player: Player, following: FollowOptions) -> bool:
    """Return whether taps are followed the learnt way.

    Raises:
        HypermeterError: it is asked for, and the model has not learnt it.
    """
    if following.way == "learnt" and getattr(player.network, "following", None) is None:
        raise HypermeterError(f"{player.name}: {NOT_LEARNT}")
    return following.way == "learnt"


def follow_groove(
    player: Player,
    taps: Groove,
    sampling: SamplingOptions = SamplingOptions(),
    following: FollowOptions = FollowOptions(),
    *,
    plan: PlanOptions | Plan | None = None,
    pattern: Groove | None = None,
    locks: Locks | None = None,
    infilling: InfillOptions = InfillOptions(),
    expression: bool = True,
) -> tuple[Groove, InfillResult]:
    """Return drums that follow a rhythm, and the infill; its log evidence is log p(rhythm), in nats.

    The exact way, the drums are a draw from the model given the rhythm, as near as the particles come; see `infill`.
    Where the taps have a touch, log p(velocity and timing of each tap | hits) is part of the evidence; see `Listener`.
    The learnt way, each step is drawn from what the model has learnt to play to these taps; the evidence is that of the
    locks alone.

    Args:
        player: the result has its kit.
        taps: the rhythm, on any kit: of each step its loudest hit is the tap. It gives the length, the tempo, the shift
            and, if the model plays every metre, the grid. See `Taps` for velocity and timing that count as unknown.
        sampling: how free cells are sampled.
        following: how taps are answered.
        plan: conditions of all bars, by their options or bar by bar.
        pattern: a groove of hits that stay, as long as the taps, on the model's grid and kit.
        locks: cells of the pattern that stay, of one row.
        infilling: number of particles and horizon.
        expression: whether hits get velocity and offset from the model; without, taps have no touch.

    Raises:
        HypermeterError: taps of no steps, without a tap, in another metre than the model's; a pattern or locks of
            another length; the learnt way with a model that has not learnt it; an argument that does not fit.
    """
    if not isinstance(taps, Groove) or not taps.hits.any():
        raise HypermeterError("taps: no hits, expected a Groove with some to follow; choose another track or file")
    player = player.on_grid_of(taps)
    kit, rhythm = kit_of(player), Taps.of(taps)
    if pattern is None:
        nothing = np.zeros((len(taps), player.num_drums), np.uint8)
        pattern = Groove(nothing, tempo_bpm=taps.tempo_bpm, kit=kit, grid=taps.grid, shift=taps.shift)
        pattern = replace(pattern, sections=taps.sections)
    for name, steps in (("pattern", len(pattern)), ("locks", len(taps) if locks is None else locks.num_steps)):
        if steps != len(taps):
            raise HypermeterError(f"{name}: {steps} steps for taps of {len(taps)}; expected as many")
    first = choose_seed(sampling.seed)
    locked = lock_taps(rhythm, kit, player.width, following, locks)
    answer, is_learnt = answering_voices(kit, following.answer), follows_learnt_way(player, following)
    tempo_bpm = np.nan if "tempo_bpm" in taps.unknown else taps.tempo_bpm
    options: dict[str, Any] = {"plan": plan, "infilling": infilling, "expression": expression}
    if is_learnt:
        unknown = np.full(len(taps), np.nan, np.float32)
        told = rhythm if following.touch else replace(rhythm, velocity=unknown, offset=unknown)
        options["rhythm"] = rhythm_of(told, answer, following.between == "silent", tempo_bpm)
    stays = (pattern.hits > 0) & (True if locks is None else locks.known[0, :, : player.num_drums])
    known = [np.where(stays, getattr(pattern, name), np.nan) for name in ("velocity", "offset")]
    has_touch = expression and following.touch and player.has_expression
    drawn: list[tuple[Groove, InfillResult]] = []
    for seed in ((first + number) % (MAX_SEED + 1) for number in range(following.draws)):
        listener = None
        if has_touch:
            arguments = infilling.particles, tempo_bpm, seed, rhythm, answer, (known[0], known[1])
            listener = Listener(player.network.expression, *arguments, not is_learnt)
        steps = replace(sampling, seed=seed)
        drawn.append(fill_groove(player, pattern, locked, None, steps, **options, listener=listener))
    return _agreed(drawn, locked)


def _agreed(drawn: Sequence[tuple[Groove, InfillResult]], locked: Locks) -> tuple[Groove, InfillResult]:
    """Return the consensus of draws, and their infill: its evidence is the mean of theirs."""
    results = [result for _, result in drawn]
    if len(drawn) == 1:
        return drawn[0]
    groove = consensus([groove for groove, _ in drawn], None if locked.some is None else locked.some[0])
    evidence = float(logsumexp(np.array([result.log_evidence for result in results]))) - math.log(len(results))
    sizes = np.min([result.effective_sample_size for result in results], 0)
    return groove, InfillResult(groove.hits, sizes, evidence, results[0].particles, groove.velocity, groove.offset)

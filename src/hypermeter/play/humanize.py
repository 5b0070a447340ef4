"""Humanization: velocity and timing from a model for the hits of a given groove, by an adjustable amount."""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import check_metre
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.core.strokes import LATEST_OFFSET, Strokes
from hypermeter.core.tracks import with_columns
from hypermeter.music.feel import Feel
from hypermeter.music.feel_files import load_feel
from hypermeter.play.articulating import ArticulationSampler, articulation_of, openness_of, strokes_of
from hypermeter.play.feel import perform_like, step_ms_at
from hypermeter.play.loading import load_player
from hypermeter.play.player import Player
from hypermeter.play.random import choose_seed
from hypermeter.play.request import BOUNDS, SamplingOptions, check


def humanize(
    groove: Groove,
    player: Player | str | Path = "groove",
    amount: float = 1.0,
    timing: float = 1.0,
    velocity: float = 1.0,
    seed: int | None = 0,
    temperature: float = SamplingOptions.temperature,
    which: NDArray[np.bool_] | None = None,
    like: Feel | Groove | str | None = None,
    keep: Collection[str] = (),
    push: Mapping[str, float] = MappingProxyType({}),
) -> Groove:
    """Return the groove with velocities and offsets from the model. The hits stay the same.

    Further strokes of a cell move and get louder with its hit.

    With `like`, it is played with the feel of another take, see `play.feel`: `timing` and `velocity` are then how much
    of that feel it gets, from 0, as the model plays of itself, to 1; and the groove gets the shift of the take.

    Args:
        groove: a groove on the model's grid and kit.
        player: a `Player`, or a name or path for `load_player`.
        amount: share of the model's values in the result, in [0, 1]; 0 changes nothing.
        timing: factor of `amount` for offsets, in [0, 1].
        velocity: factor of `amount` for velocities, in [0, 1].
        seed: the same seed gives the same result; `None` chooses one at random.
        temperature: 1 samples the learnt distribution, less varies less, more varies more.
        which: (T, V), the hits to change; the model is conditioned on the others. `None` changes all.
        like: the feel of another take, the take, or the name of a feel of the package.
        keep: which of timing and velocity stay as they are in the groove.
        push: voice -> ms by which its changed hits come earlier, whatever the amount; below 0 they are laid back. They
            stay in their cells.

    Returns:
        A new groove whose changed hits at the first step are not early; with an amount of 0 and no push, the same
        groove.

    Raises:
        HypermeterError: an amount, the seed or the temperature is out of range, the model has no expression, the groove
            has another metre or kit, `which` has another shape than the hits, the feel is unknown, has no hits or no
            voice of the groove, or a push is of no voice of the groove or more than half a step.
    """
    seed = choose_seed(seed)
    check("temperature", temperature)
    for name, value in (("amount", amount), ("timing", timing), ("velocity", velocity)):
        BOUNDS["amount"].check(name, value)
    loaded = load_player(player) if isinstance(player, str | Path) else player
    check_expression(loaded)
    loaded = loaded.on_grid_of(groove)
    _check_groove(groove, loaded)
    which = groove.hits > 0 if which is None else np.asarray(which)
    if which.shape != groove.hits.shape:
        raise HypermeterError(f"which of shape {which.shape}, hits of {groove.hits.shape}: expected the same")
    which = which.astype(bool) & (groove.hits > 0)
    late = _late_steps(groove, push)
    feel = None if like is None else _feel_of(like)
    shares = {"velocity": amount * velocity, "offset": amount * timing}
    strengths = {"velocity": velocity, "offset": timing}
    if feel is not None:
        if any(strengths.values()) and not has_common_voice(feel, groove):
            theirs, ours = (", ".join(names) for names in (feel.sounding, _voices_of(groove)))
            raise HypermeterError(
                f"{feel.name}: it has hits of {theirs}, the beat of {ours}; expected a voice in common"
            )
        shares = dict.fromkeys(shares, amount)
        strengths["velocity"] *= feel.has_velocity  # What a take does not tell stays that of the model.
        strengths["offset"] *= feel.has_timing
    for name in keep:
        if name not in KEPT:
            raise HypermeterError(f"keep: {name!r}, expected {' or '.join(KEPT)}")
        shares[KEPT[name]] = 0.0
    changed = which.any() and any(shares.values())
    if not changed and not (which.any(0) & (late != 0)).any():
        return groove
    result = _played(groove, loaded, which, shares, feel, strengths, (seed, temperature)) if changed else groove
    not_early = which[0] & (bool(shares["offset"]) | (late != 0))
    return _moved(groove, result, which, late, not_early)


KEPT = {"timing": "offset", "velocity": "velocity"}
"""What can stay as it is -> its array."""


def _played(
    groove: Groove,
    player: Player,
    which: NDArray[np.bool_],
    shares: Mapping[str, float],
    feel: Feel | None,
    strengths: Mapping[str, float],
    drawing: tuple[int, float],
) -> Groove:
    """Return the groove with shares of what the model plays in its velocity and offset, and in its shift.

    Args:
        groove: the groove.
        player: the model on its grid.
        which: (T, V), the hits that change.
        shares: of velocity and of offset.
        feel: whose feel; `None` for that of the model.
        strengths: of the velocity and the offset of the feel, beside those of the model.
        drawing: seed and temperature.
    """
    before = {name: getattr(groove, name) for name in shares}
    is_fixed = (groove.hits > 0) & ~which
    fixed_velocity, fixed_offset = (
        np.where(is_fixed & (name not in groove.unknown), before[name], np.nan) for name in shares
    )
    columns = with_columns(groove.hits, groove.tracks, player.tracks)
    tempo_bpm = np.nan if "tempo_bpm" in groove.unknown else groove.tempo_bpm
    options = {"seed": drawing[0], "temperature": drawing[1], "known": (fixed_velocity, fixed_offset)}
    later = 0.0
    played: dict[str, NDArray[Any]] = {}
    if feel is None or min(strengths.values()) < 1:
        played = dict(zip(shares, player.perform(columns, tempo_bpm, **options), strict=True))
    if feel is not None and any(strengths.values()):
        later = feel.shift_ms / step_ms_at(tempo_bpm, feel, player) - groove.shift
        like = dict(zip(shares, perform_like(player, columns, tempo_bpm, feel, **options), strict=True))
        if is_fixed.any():  # The grid stays where it is for the hits that stay.
            like["offset"], later = like["offset"] + later, 0.0
        for name, strength in strengths.items():
            if strength:
                played[name] = (1 - strength) * played.get(name, like[name]) + strength * like[name]
    mixed = {
        name: np.where(which, (1 - share) * before[name] + share * played[name], before[name]).astype(np.float32)
        for name, share in shares.items()
    }
    mixed["velocity"] = mixed["velocity"].clip(0, 1)
    mixed["offset"] = mixed["offset"].clip(-0.5, LATEST_OFFSET)
    filled = set() if is_fixed.any() else {name for name, share in shares.items() if share}
    later *= shares["offset"] * strengths["offset"]
    shift = float(np.clip(groove.shift + later, -0.5, LATEST_OFFSET)) if later else groove.shift
    return replace(groove, **mixed, shift=shift, unknown=groove.unknown - filled)


def _moved(
    before: Groove, played: Groove, which: NDArray[np.bool_], late: NDArray[np.float64], not_early: NDArray[np.bool_]
) -> Groove:
    """Return what is played, with voices later by steps (V,), and with the strokes moved as their hits are.

    `not_early` (V,) are the hits of the first step that are not early, of the grid of the groove before.
    """
    offset = np.where(which & (late != 0), (played.offset + late).clip(-0.5, LATEST_OFFSET), played.offset)
    offset = offset.astype(np.float32)
    earliest = min(max(0.0, before.shift - played.shift), LATEST_OFFSET)
    offset[0] = np.where(not_early, offset[0].clip(earliest), offset[0])
    changed = {"velocity": played.velocity, "offset": offset}
    return replace(played, offset=offset, strokes=_moved_along(before, changed))


def has_common_voice(feel: Feel, groove: Groove) -> bool:
    """Return whether a voice has hits in a feel and in a groove, or the groove has no hits."""
    ours, theirs = _voices_of(groove), feel.sounding
    return not ours or bool(set(ours) & set(theirs))


def _voices_of(groove: Groove) -> list[str]:
    return np.array(load_kit(groove.kit).names)[groove.hits.any(0)].tolist()


def _feel_of(like: Feel | Groove | str) -> Feel:
    return load_feel(like) if isinstance(like, str) else Feel.of(like) if isinstance(like, Groove) else like


def _late_steps(groove: Groove, push: Mapping[str, float]) -> NDArray[np.float64]:
    """Return by how many steps each voice is to be later, (V,), of how many ms it is pushed."""
    late = np.zeros(groove.hits.shape[1])
    kit = load_kit(groove.kit) if push else None
    step_ms = groove.step_duration_s * 1000
    for voice, early_ms in push.items():
        column = kit.column_of(voice, "push") if kit is not None else 0
        if not abs(early_ms) <= step_ms / 2:
            raise HypermeterError(
                f"push: {voice} by {early_ms:g} ms, expected at most half a step, {step_ms / 2:.0f} ms at"
                f" {groove.tempo_bpm:g} bpm"
            )
        late[column] = -early_ms / step_ms
    return late


def articulation_of_groove(groove: Groove) -> NDArray[np.float32]:
    """Return the articulation of a groove (T, V, channels), NaN where it is not known; see `play.articulating`."""
    strokes = None if "strokes" in groove.unknown else groove.strokes
    return articulation_of(groove.hits, groove.velocity, groove.offset, strokes, groove.openness)


def articulate(groove: Groove, player: Player, seed: int | None, which: NDArray[np.bool_]) -> Groove:
    """Return the groove with further strokes and openness from the model, or as it is if the model has learnt neither.

    Args:
        groove: on the model's grid and kit.
        player: the model.
        seed: the same seed gives the same result; `None` chooses one at random.
        which: (T, V), the hits to change; the model is conditioned on the others.
    """
    if player.articulation is None:
        return groove
    known = articulation_of_groove(groove)
    known[which] = np.nan
    columns = player.columns(with_columns(groove.hits, groove.tracks, player.tracks), 1, "hits")[0]
    tempo_bpm = math.nan if "tempo_bpm" in groove.unknown else groove.tempo_bpm
    sampler = ArticulationSampler(player.articulation, 1, tempo_bpm, choose_seed(seed))
    state, made = player.network.start(1), np.full(known.shape, np.nan, np.float32)
    for step, x in enumerate(columns[:, None]):
        played = groove.hits[None, step], groove.velocity[None, step], groove.offset[None, step]
        (made[step],) = sampler.play(state.features, *played, step, known[None, step])
        state = player.advance(x, state)
    strokes = strokes_of(made, groove.hits, groove.velocity, groove.offset, is_first=True)
    stay, new = (
        one.take(which[one.step, one.voice] == is_new) for one, is_new in ((groove.strokes, False), (strokes, True))
    )
    openness = np.where(which, openness_of(made, player.kit), groove.openness)
    return replace(groove, strokes=stay.and_of(new), openness=openness)


def _moved_along(groove: Groove, changed: Mapping[str, NDArray[np.float32]]) -> Strokes:
    """Return the strokes of a groove, moved and made louder as the hits of their cells are."""
    strokes = groove.strokes
    cells = strokes.step, strokes.voice
    before, after = groove.velocity[cells], changed["velocity"][cells]
    gain = np.divide(after, before, out=np.ones_like(after), where=before > 0)
    delay = changed["offset"][cells] - groove.offset[cells]
    return replace(
        strokes,
        velocity=(strokes.velocity * gain).clip(0, 1),
        offset=(strokes.offset + delay).clip(-0.5, LATEST_OFFSET),
    )


def check_expression(player: Player) -> None:
    """Raise `HypermeterError` if the model has no expression; the message says how to train one."""
    if not player.has_expression:
        advice = f"hypermeter train NPZ OUT --init {player.name} --only expression"
        raise HypermeterError(f"{player.name}: the model plays hits only; add velocity and timing with {advice}")


def _check_groove(groove: Groove, player: Player) -> None:
    check_metre(groove.grid, player.grid, "groove")
    names = None if player.kit is None else player.kit.names
    groove_names = load_kit(groove.kit).names if names is not None else None
    if groove_names != names or groove.hits.shape[1] != player.num_drums:
        raise HypermeterError(
            f"groove of {groove.hits.shape[1]} voices, expected the {player.num_drums} of the model's kit;"
            " read it with that kit"
        )

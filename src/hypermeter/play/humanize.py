"""Humanization: velocity and timing from a model for the hits of a given groove, by an adjustable amount."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import check_metre
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.core.strokes import LATEST_OFFSET, Strokes
from hypermeter.core.tracks import with_columns
from hypermeter.play.articulating import ArticulationSampler, articulation_of, openness_of, strokes_of
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
) -> Groove:
    """Return the groove with velocities and offsets from the model. The hits stay the same.

    Further strokes of a cell move and get louder with its hit.

    Args:
        groove: a groove on the model's grid and kit.
        player: a `Player`, or a name or path for `load_player`.
        amount: share of the model's values in the result, in [0, 1]; 0 changes nothing.
        timing: factor of `amount` for offsets, in [0, 1].
        velocity: factor of `amount` for velocities, in [0, 1].
        seed: the same seed gives the same result; `None` chooses one at random.
        temperature: 1 samples the learnt distribution, less varies less, more varies more.
        which: (T, V), the hits to change; the model is conditioned on the others. `None` changes all.

    Returns:
        A new groove whose changed hits at the first step are not early; with an amount of 0, the same groove.

    Raises:
        HypermeterError: an amount, the seed or the temperature is out of range, the model has no expression, the groove
            has another metre or kit, or `which` has another shape than the hits.
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
    shares = {"velocity": amount * velocity, "offset": amount * timing}
    if not which.any() or not any(shares.values()):
        return groove
    before = {name: getattr(groove, name) for name in shares}
    is_fixed = (groove.hits > 0) & ~which
    fixed_velocity, fixed_offset = (
        np.where(is_fixed & (name not in groove.unknown), before[name], np.nan) for name in shares
    )
    columns = with_columns(groove.hits, groove.tracks, loaded.tracks)
    tempo_bpm = np.nan if "tempo_bpm" in groove.unknown else groove.tempo_bpm
    played = loaded.perform(
        columns, tempo_bpm, seed=seed, temperature=temperature, known=(fixed_velocity, fixed_offset)
    )
    mixed = {
        name: np.where(which, (1 - share) * before[name] + share * new, before[name]).astype(np.float32)
        for (name, share), new in zip(shares.items(), played, strict=True)
    }
    mixed["velocity"] = mixed["velocity"].clip(0, 1)
    mixed["offset"] = mixed["offset"].clip(-0.5, LATEST_OFFSET)
    if shares["offset"]:
        mixed["offset"][0] = np.where(which[0], mixed["offset"][0].clip(0), mixed["offset"][0])
    filled = set() if is_fixed.any() else {name for name, share in shares.items() if share}
    return replace(groove, **mixed, strokes=_moved_along(groove, mixed), unknown=groove.unknown - filled)


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

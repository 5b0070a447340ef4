"""Hits that stand already, played anew: the velocity and timing of a drummer, as much of them as one likes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import check_metre
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.core.tracks import with_columns
from hypermeter.play.loading import load_player
from hypermeter.play.player import Player
from hypermeter.play.random import choose_seed
from hypermeter.play.request import BOUNDS, SamplingOptions, check

LATEST = np.nextafter(np.float32(0.5), np.float32(0))
"""Of offsets, in steps."""


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
    """Return the groove with the velocity and offset that the model gives its hits. The hits stay.

    Args:
        groove: on the model's grid and kit.
        player: a `Player`, or what `load_player` takes.
        amount: from 0, as it was, to 1, all the model's.
        timing: likewise, of offsets alone; it and amount are multiplied.
        velocity: likewise, of velocities alone.
        seed: the same seed gives the same; `None` chooses one at random.
        temperature: 1 plays as learnt, less is steadier, more is wilder.
        which: (T, V), the hits to play; the others stay, and are heard. `None` for all.

    Returns:
        A new groove in which nothing sounds before the first step. With an amount of 0, the groove as it was.

    Raises:
        HypermeterError: an amount, seed or temperature out of range, a model without expression, a groove of another
            metre or kit, which of another shape than the hits.
    """
    seed = choose_seed(seed)
    check("temperature", temperature)
    for name, value in (("amount", amount), ("timing", timing), ("velocity", velocity)):
        BOUNDS["amount"].check(name, value)
    drummer = load_player(player) if isinstance(player, str | Path) else player
    check_expression(drummer)
    _check_groove(groove, drummer)
    which = groove.hits > 0 if which is None else np.asarray(which)
    if which.shape != groove.hits.shape:
        raise HypermeterError(f"which of shape {which.shape}, hits of {groove.hits.shape}: expected the same")
    which = which.astype(bool) & (groove.hits > 0)
    shares = {"velocity": amount * velocity, "offset": amount * timing}
    if not which.any() or not any(shares.values()):
        return groove
    own = {name: getattr(groove, name) for name in shares}
    stays = (groove.hits > 0) & ~which
    loudness, shift = (np.where(stays & (name not in groove.unknown), own[name], np.nan) for name in shares)
    columns = with_columns(groove.hits, groove.tracks, drummer.tracks)
    tempo_bpm = np.nan if "tempo_bpm" in groove.unknown else groove.tempo_bpm
    played = drummer.perform(columns, tempo_bpm, seed=seed, temperature=temperature, known=(loudness, shift))
    mixed = {
        name: np.where(which, (1 - share) * own[name] + share * new, own[name]).astype(np.float32)
        for (name, share), new in zip(shares.items(), played, strict=True)
    }
    mixed["velocity"] = mixed["velocity"].clip(0, 1)
    mixed["offset"] = mixed["offset"].clip(-0.5, LATEST)
    if shares["offset"]:
        mixed["offset"][0] = np.where(which[0], mixed["offset"][0].clip(0), mixed["offset"][0])
    known_now = set() if stays.any() else {name for name, share in shares.items() if share}
    return replace(groove, **mixed, unknown=groove.unknown - known_now)


def check_expression(player: Player) -> None:
    """Raise `HypermeterError` if the model has learnt no velocity and timing; it says how to teach it."""
    if not player.has_expression:
        advice = f"hypermeter train NPZ OUT --init {player.name} --only expression"
        raise HypermeterError(f"{player.name}: the model plays hits only; teach it velocity and timing by {advice}")


def _check_groove(groove: Groove, player: Player) -> None:
    check_metre(groove.grid, player.grid, "groove")
    names = None if player.kit is None else player.kit.names
    own = load_kit(groove.kit).names if names is not None else None
    if own != names or groove.hits.shape[1] != player.num_drums:
        raise HypermeterError(
            f"groove of {groove.hits.shape[1]} voices, expected the {player.num_drums} of the model's kit;"
            " read it with that kit"
        )

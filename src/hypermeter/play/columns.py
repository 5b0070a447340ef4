"""Grooves as columns of hits for a player, and columns as grooves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import check_metre
from hypermeter.core.groove import CELLS, Groove
from hypermeter.core.kit import Kit, load_kit
from hypermeter.core.tracks import REST, track_groups, with_columns
from hypermeter.play.loading import kit_of
from hypermeter.play.player import Player
from hypermeter.play.state import Passage


def columns_of_groove(player: Player, groove: Groove, what: str = "groove") -> NDArray[np.uint8]:
    """Return (T, W), the groove's hits and, for a model with tracks, its notes; a track that it lacks is silent.

    Raises:
        HypermeterError: another metre or number of voices than the model's; the message begins with `what`.
    """
    check_groove(player, groove, what)
    return with_columns(groove.hits, groove.tracks, player.tracks)


def check_groove(player: Player, groove: Any, what: str) -> None:
    """Raise `HypermeterError` unless `groove` is one in the player's metre with its voices; `what` names it."""
    if not isinstance(groove, Groove):
        raise HypermeterError(f"{what} is {groove!r:.60}, expected a Groove; read a file with hypermeter.read_midi")
    check_metre(groove.grid, player.grid, what)
    if (voices := groove.hits.shape[1]) != player.num_drums:
        raise HypermeterError(f"{what}: {voices} voices, expected {player.num_drums}, those of the model")


def present(*grooves: Groove | None) -> list[Groove]:
    """Return the grooves that are given."""
    return [groove for groove in grooves if groove is not None]


def columns_or_none(player: Player, groove: Groove | None, what: str) -> NDArray[np.uint8] | None:
    """Return `columns_of_groove`, or `None` without a groove."""
    return None if groove is None else columns_of_groove(player, groove, what)


def known_values(groove: Groove, kind: str) -> NDArray[np.float32]:
    """Return velocity or offset (T, V), NaN where it is not known."""
    values = getattr(groove, kind)
    return np.full_like(values, np.nan) if kind in groove.unknown else values


def kit_of_result(player: Player, groove: Groove | None) -> str | Path | Kit:
    """Return the model's kit, with the map of a groove: music for a device stays on its pitches.

    The kit of the groove if the model has none.
    """
    if groove is None:
        return kit_of(player)
    given = load_kit(groove.kit)
    is_with_map = player.kit is not None and given.base == player.kit.without_map
    return groove.kit if player.kit is None or is_with_map else kit_of(player)


def groove_of(
    player: Player, passage: Passage, tempo_bpm: float, kit: Any, earlier: Sequence[Groove | None], shift: float
) -> Groove:
    """Return the groove of a passage; a note of a track that sounds at the end of the earlier music may continue."""
    last = next((groove.tracks for groove in reversed(earlier) if groove is not None and len(groove)), {})
    sounding = {name for name, codes in last.items() if codes[-1] != REST}
    groups = zip(player.tracks, track_groups(player.num_drums, player.tracks), strict=True)
    tracks = {
        track.name: track.decode(passage.hits[:, start:stop], track.name in sounding) for track, (start, stop) in groups
    }
    hits, values = passage.hits[:, : player.num_drums], (passage.velocity, passage.offset)
    beside = {"tracks": tracks, "shift": shift, "strokes": passage.strokes, "openness": passage.openness}
    return Groove(hits, *values, tempo_bpm, kit, player.grid, **beside)


def join_grooves(primer: Groove, groove: Groove) -> Groove:
    """Return the primer followed by the groove, at the tempo and shift of the primer."""
    both, length = (primer, groove), len(primer)
    cells = {name: np.concatenate([getattr(part, name) for part in both]) for name in CELLS}
    strokes, chokes = (
        getattr(primer, name).and_of(getattr(groove, name).moved(length)) for name in ("strokes", "chokes")
    )
    tracks = {
        name: np.concatenate([part.tracks.get(name, np.full(len(part), REST, np.int16)) for part in both])
        for name in {**primer.tracks, **groove.tracks}
    }
    sections = None
    if any(part.sections is not None for part in both) and length % groove.grid.steps_per_bar == 0:
        names = [np.full(part.num_bars, "") if part.sections is None else part.sections for part in both]
        sections = np.concatenate(names)
    return Groove(
        **cells,
        tempo_bpm=primer.tempo_bpm,
        kit=groove.kit,
        grid=groove.grid,
        sections=sections,
        unknown=primer.unknown | groove.unknown,
        tracks=tracks,
        shift=primer.shift,
        strokes=strokes,
        chokes=chokes,
    )

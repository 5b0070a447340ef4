"""What the command line's files are to a player: grooves on its kit and grid, in one tempo, and what stands fixed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import check_metre
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit
from hypermeter.core.tracks import track_groups
from hypermeter.io.midi import read_midi_report
from hypermeter.io.notation import is_text, read_text
from hypermeter.play.compose import TEMPO_BPM, columns_of_groove, name_bars
from hypermeter.play.locks import Locks, combine, lock_ending, lock_voices
from hypermeter.play.player import Player
from hypermeter.play.request import PlanOptions, check


def find_column(kit: Kit, voice: str, option: str, also: Sequence[str] = ()) -> int:
    if voice not in kit.names:
        known = ", ".join([*kit.names, *also])
        raise HypermeterError(f"{option}: no voice {voice!r} in kit {kit.name}; it has {known}")
    return kit.names.index(voice)


def name_as_wished(groove: Groove, bars: Sequence[int], wishes: PlanOptions, player: Player) -> Groove:
    """The groove with those bars named as their sections are asked to be."""
    if not wishes.sections or player.labels is None:
        return groove
    return name_bars(groove, bars, wishes.sections, player.labels)


def columns_named(player: Player, kit: Kit, names: Sequence[str]) -> list[int]:
    """The columns of voices, and of tracks by their names."""
    groups = track_groups(player.num_drums, player.tracks)
    tracks = {track.name: range(*group) for track, group in zip(player.tracks, groups, strict=True)}
    found = (tracks.get(name) or [find_column(kit, name, "keep", tuple(tracks))] for name in names)
    return [column for columns in found for column in columns]


def pattern_of(
    player: Player,
    kit: Kit,
    bars: int,
    tempo_bpm: float,
    lock: Groove | None,
    columns: Sequence[int],
    ending: Groove | None,
) -> tuple[Groove, Locks]:
    """What stands fixed in the new bars and the ending, as a groove, and which of its cells are locked."""
    length = bars * player.grid.steps_per_bar
    free = np.zeros((length, player.width), np.uint8)
    parts, locks = [], [Locks(free > 0, free)]
    if lock is not None:
        if len(lock) > length:
            raise HypermeterError(f"lock: {lock.num_bars} bars for {bars} new ones; ask for more bars, or shorten it")
        cells = columns_of_groove(player, lock, "lock")
        columns = columns or columns_named(player, kit, _playing(lock, kit))
        parts.append((0, lock, [column for column in columns if column < player.num_drums]))
        locks.append(lock_voices(cells, columns))
    if ending is not None:
        end = lock_ending(length, columns_of_groove(player, ending, "ending"))
        has = np.zeros(player.width, bool)
        played = [name for name, codes in ending.tracks.items() if codes.any()]  # a track that it lacks is free
        has[columns_named(player, kit, [*kit.names, *played])] = True
        parts.append((length, ending, range(player.num_drums)))
        locks.append(Locks(end.known & has, end.values))
    whole = combine(*locks)
    told = {name: np.zeros((whole.num_steps, kit.num_voices)) for name in ("hits", "velocity", "offset")}
    size = player.grid.steps_per_bar
    names = [""] * -(-whole.num_steps // size)
    for start, groove, voices in parts:
        if groove.sections is not None:
            names[start // size : start // size + groove.num_bars] = groove.sections.tolist()
        for name, array in told.items():
            array[start : start + len(groove), list(voices)] = getattr(groove, name)[:, list(voices)]
    sections = np.array(names) if any(names) else None
    arrays = told["hits"], told["velocity"], told["offset"]
    return Groove(*arrays, tempo_bpm, kit, player.grid, sections), whole


def tempo_of(files: Sequence[Groove | None], tempo_bpm: float | None) -> float:
    """The tempo that the first file tells that tells one, else the one that is given, else TEMPO_BPM."""
    told = [groove.tempo_bpm for groove in files if groove is not None and "tempo_bpm" not in groove.unknown]
    if told and tempo_bpm is not None:
        raise HypermeterError(f"--tempo-bpm beside a file with a tempo of its own ({told[0]:g} bpm); leave it out")
    if tempo_bpm is not None:
        check("tempo_bpm", tempo_bpm)
    return told[0] if told else TEMPO_BPM if tempo_bpm is None else tempo_bpm


def in_tempo(groove: Groove, tempo_bpm: float) -> Groove:
    """The groove in that tempo, where its file told none."""
    if "tempo_bpm" not in groove.unknown:
        return groove
    return replace(groove, tempo_bpm=tempo_bpm, unknown=groove.unknown - {"tempo_bpm"})


def _playing(groove: Groove, kit: Kit) -> list[str]:
    """The voices with a hit and the tracks with a note."""
    voices = [kit.names[column] for column in np.flatnonzero(groove.hits.any(0))]
    return voices + [name for name, codes in groove.tracks.items() if codes.any()]


def read_groove(path: Path, player: Player, kit: Kit) -> Groove:
    """The one groove in a MIDI file, with the model's tracks that it has; what of it no voice plays is printed."""
    if is_text(path):
        groove = read_text(path, kit, player.grid)
        check_metre(groove.grid, player.grid, str(path))
        return groove
    (piece,), losses = read_midi_report(
        path, kit, player.grid, "refuse", player.tracks, True, may_rest=True, to_end=True
    )
    for loss in losses:
        print(f"{path}: {loss}")
    return piece.groove

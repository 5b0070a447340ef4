"""Files of the command line as music for a player: grooves on its kit and grid, in one tempo, and locks."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid, GridChoice, check_metre
from hypermeter.core.groove import CELLS, Groove
from hypermeter.core.kit import Kit
from hypermeter.core.read_options import ReadOptions
from hypermeter.core.strokes import Chokes, Strokes
from hypermeter.core.tracks import track_groups
from hypermeter.io.midi import read_midi_report
from hypermeter.io.midi.content import load_midi
from hypermeter.io.midi.read import read_content
from hypermeter.io.notation import is_text, read_text, read_text_parts
from hypermeter.play.columns import columns_of_groove
from hypermeter.play.compose import TEMPO_BPM, name_bars
from hypermeter.play.infill import InfillResult
from hypermeter.play.locks import Locks, combine, lock_ending, lock_voices
from hypermeter.play.player import Player
from hypermeter.play.request import PlanOptions, check

Known = Mapping[Path, tuple[Groove, list[str]]]
"""Files that were read already -> their groove, and the lines about them."""


def read_groove(
    path: Path, player: Player, kit: Kit, options: ReadOptions = ReadOptions(), known: Known = MappingProxyType({})
) -> Groove:
    """Return the one groove in a MIDI or text file, with those of its tracks that the model plays.

    Prints how a MIDI file was read, and what of it no voice or track plays.

    Args:
        path: the file.
        player: on whose grid it is read.
        kit: of the player.
        options: how the drums are found and placed on the grid.
        known: files that are not read again.

    Raises:
        HypermeterError: a file that cannot be read, in another metre, or without anything that the model plays.
    """
    try:
        groove, losses = known[path] if path in known else _read(path, player.grid, player, kit, options)
    except HypermeterError as error:
        if not is_text(path):
            _refuse_melody(path, player, options)
        raise HypermeterError(advise_for_model(str(error), player)) from None
    check_metre(groove.grid, player.grid, str(path))
    for loss in losses:
        print(f"{path}: {advise_for_model(loss, player)}")
    return groove


def _read(
    path: Path, grid: Grid | GridChoice, player: Player, kit: Kit, options: ReadOptions
) -> tuple[Groove, list[str]]:
    """Return the one groove in a MIDI or text file, and the lines about it."""
    if is_text(path):
        return read_text(path, kit, grid), []
    (piece,), losses = read_midi_report(
        path, kit, grid, "refuse", player.tracks, True, may_rest=True, to_end=True, options=options
    )
    return piece.groove, losses


def read_song(path: Path, player: Player, kit: Kit, options: ReadOptions = ReadOptions()) -> list[Groove]:
    """Return the parts of a MIDI or text file that changes its metre in one tempo; none of any other file.

    The arguments are those of `read_groove`. It prints how the file was read.
    """
    if not isinstance(player.grid_choice, GridChoice):
        return []
    try:
        if is_text(path):
            parts, losses = read_text_parts(path, kit, player.grid_choice), []
        else:
            settings = path, kit, player.grid_choice, "split", player.tracks, True
            pieces, losses = read_midi_report(*settings, may_rest=True, to_end=True, options=options)
            parts = [piece.groove for piece in pieces]
    except HypermeterError:
        return []  # It is told when the file is read as one groove.
    if len({part.grid for part in parts}) < 2 or len({part.tempo_bpm for part in parts}) > 1:
        return []
    for loss in losses:
        print(f"{path}: {advise_for_model(loss, player)}")
    return parts


STEPS_PER_QUARTER = {"straight": 4, "triplets": 3}
"""Kinds of grids that can be named -> their steps."""


def on_grid_of(
    player: Player,
    paths: Sequence[Path | None],
    metre: str | None,
    grid: str | None,
    kit: Kit,
    options: ReadOptions = ReadOptions(),
) -> tuple[Player, Known]:
    """Return the player in a metre, and on the grid of the first file in it; and that file, if it was read so.

    Args:
        player: of the model.
        paths: files, `None` where there is none.
        metre: as 6/8; `None` takes that of the file, or else of the model.
        grid: a key of STEPS_PER_QUARTER; `None` takes the one that fits the file, or else that of the model.
        kit, options: as in `read_groove`.

    Raises:
        HypermeterError: a metre or a grid that the model does not play, or an invalid one.
    """
    found = player.grid
    path, known = next((path for path in paths if path is not None), None), {}
    if isinstance(player.grid_choice, GridChoice):
        choice = replace(player.grid_choice, metre=metre)
        if path is not None:
            with suppress(HypermeterError):  # It is told when the file is read.
                known[path] = _read(path, choice, player, kit, options)
                found = known[path][0].grid
        elif metre not in (None, found.metre):
            found = choice.grid()
    wanted = GridChoice(metre or found.metre, None, found.bars_per_phrase)
    if grid is not None:
        found = wanted.grid(steps_per_quarter=STEPS_PER_QUARTER[grid])
        if found.steps_per_quarter != STEPS_PER_QUARTER[grid]:
            raise HypermeterError(f"--grid {grid} in {found.metre}: its beats have no such steps; leave it out")
    elif found.metre != wanted.metre:
        found = wanted.grid()
    placed = player.on(found)
    tell_if_not_learnt(player, found)
    return placed, {path: groove for path, groove in known.items() if groove[0].grid == found}


def tell_if_not_learnt(player: Player, grid: Grid) -> None:
    """Print a line where a model that plays every metre was not trained on a grid."""
    if grid not in player.grids and isinstance(player.grid_choice, GridChoice):
        learnt = ", ".join(dict.fromkeys(known.metre for known in player.grids))
        print(f"{player.name}: {grid.metre} at {grid.steps_per_beat} steps a beat was not learnt; it knows {learnt}")


def advise_for_model(line: str, player: Player) -> str:
    """Return a line of the reader with the options of commands whose metre and kit are those of the model."""
    serves_all = isinstance(player.grid_choice, GridChoice)
    advice = "use files in one metre, without --metre" if serves_all else "pass --model groove, which plays every metre"
    line = re.sub(r"pass --metre \S+, or all", advice, line)
    if not serves_all:
        line = re.sub(r"(: metre changes from .*); cut the file there", r"\1; cut the file there, or " + advice, line)
    return line.replace("choose another --kit", "name the map of its device by --map")


def _refuse_melody(path: Path, player: Player, options: ReadOptions) -> None:
    """Raise `HypermeterError` if a MIDI file has notes, none of them drums, and the model plays drums only."""
    midi = load_midi(read_content(path), str(path), options)
    if midi.no_drums and midi.melody.notes.shape[1] and not player.tracks:
        raise HypermeterError(
            f"{path}: no drums on channel 10; {midi.no_drums}; name the drums by --channel or --track; {player.name}"
            " plays drums only: to play to a bass, pass a --model that was trained with --tracks bass"
        )


def in_one_tempo(grooves: Sequence[Groove | None], tempo_bpm: float | None) -> tuple[list[Groove | None], float]:
    """Return the grooves in a tempo, and the tempo.

    Args:
        grooves: `None` for files that are not given.
        tempo_bpm: that all are played at; `None` takes the first tempo that a file has, else TEMPO_BPM, for those
            whose files have none.

    Raises:
        HypermeterError: a tempo out of its bounds.
    """
    if tempo_bpm is not None:
        check("tempo_bpm", tempo_bpm)
    tempos = [groove.tempo_bpm for groove in grooves if groove is not None and "tempo_bpm" not in groove.unknown]
    tempo = tempo_bpm or [*tempos, TEMPO_BPM][0]

    def in_tempo(groove: Groove | None) -> Groove | None:
        if groove is None or (tempo_bpm is None and "tempo_bpm" not in groove.unknown):
            return groove
        return replace(groove, tempo_bpm=tempo, unknown=groove.unknown - {"tempo_bpm"})

    return [in_tempo(groove) for groove in grooves], tempo


def columns_named(player: Player, kit: Kit, names: Sequence[str]) -> list[int]:
    """Return the columns of voices, and of tracks by their names."""
    groups = track_groups(player.num_drums, player.tracks)
    tracks = {track.name: range(*group) for track, group in zip(player.tracks, groups, strict=True)}
    chosen = (tracks.get(name) or [kit.column_of(name, "keep", tuple(tracks))] for name in names)
    return [column for columns in chosen for column in columns]


def name_planned(groove: Groove, bars: Sequence[int], plan: PlanOptions, player: Player) -> Groove:
    """Return the groove with those bars named as the sections of the plan."""
    if not plan.sections or player.labels is None:
        return groove
    return name_bars(groove, bars, plan.sections, player.labels)


def tell_sample_size(infills: Sequence[InfillResult], has_parts: bool = False) -> None:
    """Print how many particles infills amount to, and a warning where they are too few; of parts, with their number."""
    sizes = np.concatenate([infill.effective_sample_size for infill in infills])
    least = min(infill.smallest for infill in infills)
    print(f"effective sample size: least {least:.1f}, mean {sizes.mean():.1f}, of {infills[0].particles}")
    for number, infill in enumerate(infills, 1):
        if infill.warning:
            print(f"warning: {f'part {number}: ' if has_parts else ''}{infill.warning}")


def locked_pattern(
    player: Player,
    kit: Kit,
    bars: int,
    tempo_bpm: float,
    lock: Groove | None,
    columns: Sequence[int],
    ending: Groove | None,
) -> tuple[Groove, Locks]:
    """Return a groove of what stays in the new bars and of the ending, and the locks of its cells.

    Args:
        columns: of the lock that stay; none for all voices and tracks that play in it.

    Raises:
        HypermeterError: a lock of more than `bars`, in another metre, or of another number of voices.
    """
    size = player.grid.steps_per_bar
    length = bars * size
    free = np.zeros((length, player.width), np.uint8)
    parts, locks = [], [Locks(free > 0, free)]
    if lock is not None:
        if len(lock) > length:
            raise HypermeterError(f"lock: {lock.num_bars} bars for {bars} new ones; ask for more bars, or shorten it")
        cells = columns_of_groove(player, lock, "lock")
        if not columns:
            voices = [kit.names[column] for column in np.flatnonzero(lock.hits.any(0))]
            columns = columns_named(player, kit, [*voices, *_sounding_tracks(lock)])
        parts.append((0, lock, [column for column in columns if column < player.num_drums]))
        locks.append(lock_voices(cells, columns))
    if ending is not None:
        end = lock_ending(length, columns_of_groove(player, ending, "ending"))
        is_locked = np.zeros(player.width, bool)  # a track that the ending lacks is free
        is_locked[columns_named(player, kit, [*kit.names, *_sounding_tracks(ending)])] = True
        parts.append((length, ending, range(player.num_drums)))
        locks.append(Locks(end.known & is_locked, end.values))
    combined = combine(*locks)
    arrays = {name: np.zeros((combined.num_steps, kit.num_voices)) for name in CELLS}
    strokes, chokes = Strokes(), Chokes()
    names = [""] * -(-combined.num_steps // size)
    for start, groove, voices in parts:
        if groove.sections is not None:
            names[start // size : start // size + groove.num_bars] = groove.sections.tolist()
        for name, array in arrays.items():
            array[start : start + len(groove), list(voices)] = getattr(groove, name)[:, list(voices)]
        strokes = strokes.and_of(groove.strokes.take(np.isin(groove.strokes.voice, voices)).moved(start))
        chokes = chokes.and_of(groove.chokes.take(np.isin(groove.chokes.voice, voices)).moved(start))
    sections = np.array(names) if any(names) else None
    shift = parts[0][1].shift if parts else 0.0
    kit_read = parts[0][1].kit if parts else kit  # with the map of the device, if one was named
    values = {"sections": sections, "shift": shift, "strokes": strokes, "chokes": chokes}
    return Groove(**arrays, tempo_bpm=tempo_bpm, kit=kit_read, grid=player.grid, **values), combined


def _sounding_tracks(groove: Groove) -> list[str]:
    return [name for name, codes in groove.tracks.items() if codes.any()]

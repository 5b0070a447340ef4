"""Reading grooves from MIDI, .npz and text files, or from a folder of them."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid, GridChoice
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, Voice
from hypermeter.core.read_options import ReadOptions
from hypermeter.core.strokes import Chokes, Strokes
from hypermeter.io.folders import files_below
from hypermeter.io.midi import MIDI_SUFFIXES, read_midi_report
from hypermeter.io.notation import is_text, read_text_parts
from hypermeter.io.npz import File, open_npz, read_kit_and_grid, read_meta, read_sequence
from hypermeter.io.shards import SUFFIX, PackedFile, open_shard

SUFFIXES = (*MIDI_SUFFIXES, ".npz", SUFFIX)

_MOMENTS = {"strokes": Strokes, "chokes": Chokes}

NUMBERED = "numbered"
"""Name of the kit that stands in for a missing one."""


def read_grooves(
    path: str | Path,
    kit: str | Kit | None = None,
    grid: Grid | GridChoice = GridChoice(),
    rejects: list[str] | None = None,
    options: ReadOptions = ReadOptions(),
) -> Iterator[tuple[str, Groove, list[str]]]:
    """Yield the grooves of a file, or of all MIDI, .npz and shards below a folder, also in linked folders.

    Args:
        path: a MIDI file, .npz or shard, or a folder of these; or a groove as text: .txt, .tidal or .strudel.
        kit: of MIDI files (default: gm10), and of .npz without a kit (default: `make_numbered_kit`).
        grid: of MIDI files, and of .npz and text without one. By default each part of a MIDI file is in its own metre,
            on the grid that fits it.
        rejects: if given, files of a folder that cannot be read are skipped, and their errors appended here.
        options: how the drums of MIDI files are found and placed on the grid.

    Yields:
        Name, groove, and a line for each choice in reading the file, and each part of it that no groove contains.

    Raises:
        HypermeterError: no such path, no readable file in it, or an unreadable file where `rejects` is not given.
    """
    path = Path(path)
    files = [path]
    if path.is_dir():
        files = [path / name for name in files_below(path) if name.lower().endswith(SUFFIXES)]
        if not files:
            raise HypermeterError(f"{path}: no MIDI (such as .mid, .kar, .rmi) or .npz in it or below; expected some")
    is_empty = True
    for file in _unpacked(files, None if rejects is None or files == [path] else rejects):
        try:
            grooves, losses = _read(file, kit, grid, options)
        except HypermeterError as error:
            if rejects is None or file == path:
                raise
            rejects.append(str(error))
            continue
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        for number, groove in enumerate(grooves, 1):
            is_empty = False
            yield name if len(grooves) == 1 else f"{name} #{number}", groove, losses
    if is_empty:
        reason = f" ({rejects[0]})" if rejects else ""
        raise HypermeterError(f"{path}: none of {len(files)} files can be analysed{reason}")


def _unpacked(files: Iterable[Path], rejects: list[str] | None) -> Iterator[Path | PackedFile]:
    """Yield files, and for each shard its performances; the errors of damaged shards are appended to the rejects."""
    for file in files:
        if file.suffix.lower() != SUFFIX:
            yield file
            continue
        try:
            names = open_shard(str(file)).names
        except HypermeterError as error:
            if rejects is None:
                raise
            rejects.append(str(error))
            continue
        yield from (PackedFile(str(file), row, name) for row, name in enumerate(names))


def _read(
    file: Path | PackedFile, kit: str | Kit | None, grid: Grid | GridChoice, options: ReadOptions
) -> tuple[list[Groove], list[str]]:
    """Return the grooves in a file, and the lines about it."""
    if isinstance(file, PackedFile) or file.suffix.lower() == ".npz":
        groove = read_npz(file, kit, GridChoice.of(grid).grid())
        if not len(groove):
            raise HypermeterError(f"{file}: no steps in it, expected at least one")
        return [groove], []
    if is_text(file):
        return read_text_parts(file, kit or "gm10", grid), []
    pieces, losses = read_midi_report(file, kit or "gm10", grid, to_end=True, options=options)
    return [piece.groove for piece in pieces], losses


def read_npz(path: File, kit: str | Path | Kit | None = None, grid: Grid = Grid()) -> Groove:
    """Return the drums of a .npz: `sequence` (T, V), and what else of a groove it has.

    That is `velocity`, `offset`, `shift`, `strokes`, `openness`, `chokes` and `meta`. Velocity, offset, strokes and
    tempo that the file does not hold are `unknown` in the groove.

    Args:
        path: the .npz.
        kit: the kit if `meta` has none; `None` is `make_numbered_kit`.
        grid: the grid if `meta` has none.

    Raises:
        HypermeterError: no such file, invalid content, or another number of voices than the kit has.
    """
    hits, meta = read_sequence(path), read_meta(path)
    file_kit, grid = read_kit_and_grid(path, kit, grid, meta)
    file_kit = file_kit or make_numbered_kit(hits.shape[1])
    with open_npz(path) as arrays:
        keys = ("velocity", "offset", "shift", "openness", *_MOMENTS)
        values: dict[str, Any] = {key: arrays[key] for key in keys if key in arrays}
    if "tempo_bpm" in meta:
        values["tempo_bpm"] = meta["tempo_bpm"]
    unknown = frozenset(("velocity", "offset", "tempo_bpm", "strokes")).difference(values)
    try:
        values |= {key: kind.of_table(values[key]) for key, kind in _MOMENTS.items() if key in values}
        groove = Groove(hits, **values, kit=file_kit, grid=grid, unknown=unknown)
    except (HypermeterError, TypeError, ValueError) as error:
        raise HypermeterError(f"{path}: {error}; prepare it again") from error
    if hits.shape[1] != file_kit.num_voices:
        expected = f"{file_kit.num_voices} of {file_kit.name}"
        raise HypermeterError(f"{path}: {hits.shape[1]} voices, expected {expected}; name another kit")
    return groove


def arrays_of_groove(groove: Groove) -> dict[str, np.ndarray]:
    """Return the arrays of a groove's .npz, all but `meta`: openness and chokes only if any is known."""
    arrays = {"sequence": groove.hits, "velocity": groove.velocity, "offset": groove.offset}
    arrays |= {"shift": np.array(groove.shift), "strokes": groove.strokes.table}
    if not np.isnan(groove.openness).all():
        arrays["openness"] = groove.openness
    if len(groove.chokes):
        arrays["chokes"] = groove.chokes.table
    arrays |= {f"track_{name}": codes for name, codes in groove.tracks.items()}
    if groove.sections is not None:
        arrays["section"] = groove.sections
    return arrays


def make_numbered_kit(num_voices: int) -> Kit:
    """Return a kit of voices voice_0, voice_1, ..., whose pitches have no meaning.

    Raises:
        HypermeterError: more voices than MIDI has pitches.
    """
    if num_voices > 128:
        raise HypermeterError(f"{num_voices} voices without a kit, expected at most 128; name a kit")
    pitches = range(127, 127 - num_voices, -1)  # above the pitches of drums, which would mark voices as low or high
    return Kit(NUMBERED, tuple(Voice(f"voice_{column}", (pitch,), pitch) for column, pitch in enumerate(pitches)))

"""Grooves from any file that holds one: MIDI, .npz, text; or from a folder of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, Voice
from hypermeter.io.midi import MIDI_SUFFIXES, read_midi_report
from hypermeter.io.notation import is_text, read_text
from hypermeter.io.npz import open_npz, read_kit_and_grid, read_meta, read_sequence

SUFFIXES = (*MIDI_SUFFIXES, ".npz")

NUMBERED = "numbered"
"""Name of the kit of a .npz of which no kit is known."""


def read_grooves(
    path: str | Path, kit: str | Kit | None = None, grid: Grid = Grid(), rejects: list[str] | None = None
) -> Iterator[tuple[str, Groove, list[str]]]:
    """The pieces of a file, or of all MIDI and .npz below a folder: name, groove, and what of the file is in no piece.

    Args:
        path: .mid, .midi, .npz, or a folder of them; or a groove as text, .txt, .tidal or .strudel.
        kit: of MIDI files (left out, gm10), and of .npz that name none (left out, its voices are numbered).
        grid: of MIDI files, and of .npz that tell none.
        rejects: where given, a file of a folder that cannot be read is left out, and the reason put here.

    Raises:
        HypermeterError: no such path, no file that can be read in it, or a bad file where no ``rejects`` are given.
    """
    path = Path(path)
    files = [path]
    if path.is_dir():
        files = sorted(found for found in path.rglob("*") if found.suffix.lower() in SUFFIXES)
        if not files:
            raise HypermeterError(f"{path}: no .mid, .midi or .npz in it or below; expected at least one")
    found = 0
    for file in files:
        try:
            grooves, losses = _read(file, kit, grid)
        except HypermeterError as error:
            if rejects is None or file == path:
                raise
            rejects.append(str(error))
            continue
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        for place, groove in enumerate(grooves, 1):
            found += 1
            yield name if len(grooves) == 1 else f"{name} #{place}", groove, losses
    if not found:
        reason = f" ({rejects[0]})" if rejects else ""
        raise HypermeterError(f"{path}: none of {len(files)} files can be analysed{reason}")


def _read(file: Path, kit: str | Kit | None, grid: Grid) -> tuple[list[Groove], list[str]]:
    """The grooves in a file, and what of it is not in them.

    Raises:
        HypermeterError: a file that cannot be read, or has no steps.
    """
    if file.suffix.lower() == ".npz":
        groove = read_npz(file, kit, grid)
        if not len(groove):
            raise HypermeterError(f"{file}: no steps in it, expected at least one")
        return [groove], []
    if is_text(file):
        return [read_text(file, kit or "gm10", grid)], []
    pieces, losses = read_midi_report(file, kit or "gm10", grid, to_end=True)
    return [piece.groove for piece in pieces], losses


def read_npz(path: Path, kit: str | Path | Kit | None = None, grid: Grid = Grid()) -> Groove:
    """The drums of a .npz with ``sequence`` (T, V), and ``velocity``, ``offset`` and ``meta`` where it has them.

    What it does not tell of velocity, offset and tempo is ``unknown`` of the groove.

    Args:
        path: the .npz.
        kit: where ``meta`` does not name one; None takes ``numbered_kit``.
        grid: where ``meta`` does not tell it.

    Raises:
        HypermeterError: not such a file, or one with another number of voices than the kit.
    """
    hits, meta = read_sequence(path), read_meta(path)
    own, grid = read_kit_and_grid(path, kit, grid, meta)
    own = own or numbered_kit(hits.shape[1])
    with open_npz(path) as arrays:
        told: dict[str, Any] = {key: arrays[key] for key in ("velocity", "offset") if key in arrays}
    if "tempo_bpm" in meta:
        told["tempo_bpm"] = meta["tempo_bpm"]
    unknown = frozenset(("velocity", "offset", "tempo_bpm")).difference(told)
    try:
        groove = Groove(hits, **told, kit=own, grid=grid, unknown=unknown)
    except (HypermeterError, TypeError, ValueError) as error:
        raise HypermeterError(f"{path}: {error}; prepare it again") from error
    if hits.shape[1] != own.num_voices:
        raise HypermeterError(
            f"{path}: {hits.shape[1]} voices, expected {own.num_voices} of {own.name}; name another kit"
        )
    return groove


def numbered_kit(num_voices: int) -> Kit:
    """Voices of which nothing is known but their number: voice_0, voice_1, ... Their pitches say nothing."""
    if num_voices > 128:
        raise HypermeterError(
            f"{num_voices} voices without a kit, expected at most 128, as MIDI has pitches; name a kit"
        )
    pitches = range(127, 127 - num_voices, -1)  # above those of drums, which would tell low voices from high
    return Kit(NUMBERED, tuple(Voice(f"voice_{column}", (pitch,), pitch) for column, pitch in enumerate(pitches)))

"""The .npz that hold performances: hits, what may stand beside them, and what their meta tells."""

import json
import math
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit, load_kit


@contextmanager
def open_npz(path: str | Path) -> Iterator[Mapping[str, Any]]:
    """The arrays of a .npz by name; each is read when it is asked for.

    Raises:
        HypermeterError: not a .npz, damaged, or an array of Python objects was asked for.
    """
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise HypermeterError(f"{path}: not a readable .npz (no zip of arrays); write it with numpy.savez")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                yield archive
    except HypermeterError:
        raise
    except (OSError, ValueError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        if "pickle" in str(error):
            reason = "an array of Python objects, which are not loaded; save arrays of numbers, and meta as JSON"
            raise HypermeterError(f"{path}: {reason}") from error
        raise HypermeterError(f"{path}: not a readable .npz ({error}); write it with numpy.savez") from error


def read_sequence(path: str | Path) -> np.ndarray:
    """The hits (T, V) uint8 in a .npz. Only the key ``sequence`` is read, of any numeric or boolean type.

    Raises:
        HypermeterError: not a .npz, no ``sequence``, or one that is not a 2-d array of 0 and 1.
    """
    with open_npz(path) as arrays:
        if "sequence" not in arrays:
            keys = ", ".join(sorted(arrays)) or "none"
            raise HypermeterError(f"{path}: no key 'sequence' (keys: {keys}); expected (steps, voices) of 0 and 1")
        sequence = np.asarray(arrays["sequence"])
    if sequence.dtype.kind not in "buif":
        raise HypermeterError(f"{path}: sequence of type {sequence.dtype}, expected numbers 0 and 1")
    if sequence.ndim != 2 or not sequence.shape[1]:
        raise HypermeterError(f"{path}: sequence of shape {sequence.shape}, expected (steps, voices)")
    if sequence.dtype.kind == "f" and np.isnan(sequence).any():
        raise HypermeterError(f"{path}: sequence holds NaN, expected 0 and 1")
    is_other = (sequence != 0) & (sequence != 1)
    if is_other.any():
        hint = "if these are velocities, save sequence > 0 and keep them under the key 'velocity'"
        raise HypermeterError(f"{path}: sequence holds {sequence[is_other][0]:g}, expected 0 and 1; {hint}")
    return sequence.astype(np.uint8)


def read_meta(path: str | Path) -> dict[str, Any]:
    """What the key ``meta`` of a .npz tells, an object in JSON: ``kit``, a name or a kit's record; ``grid``; and more.

    ``tempo_bpm`` is a number above 0; ``style`` and ``beat_type`` are text or null.

    All may be missing: without ``meta`` it is {}, without ``kit`` nobody knows the voices, without ``grid`` the default
    grid is meant.

    Raises:
        HypermeterError: not a .npz; a ``meta`` that is not JSON or not an object; a kit, grid, tempo, style or beat
            type that cannot be one.
    """
    with open_npz(path) as arrays:
        text = str(arrays["meta"]) if "meta" in arrays else "{}"
    try:
        meta = json.loads(text)
    except ValueError as error:
        raise HypermeterError(f"{path}: meta is not JSON ({error}); save JSON, or leave meta out") from error
    if not isinstance(meta, dict):
        raise HypermeterError(f"{path}: meta is {text[:30]}, expected an object in JSON; save one, or leave meta out")
    tempo = meta.get("tempo_bpm")
    if tempo is not None and not (isinstance(tempo, int | float) and 0 < tempo < math.inf):
        raise HypermeterError(f"{path}: tempo_bpm in meta is {tempo!r}, expected a number above 0; prepare it again")
    for key, kinds, expected in (
        ("kit", str | dict, "a kit's name or record"),
        ("grid", dict, "an object"),
        ("style", str | None, "text"),
        ("beat_type", str | None, "text"),
    ):
        if key in meta and not isinstance(meta[key], kinds):
            raise HypermeterError(f"{path}: {key} in meta is {meta[key]!r}, expected {expected}; prepare it again")
    return meta


def read_kit_and_grid(
    path: str | Path, kit: Any = None, grid: Grid = Grid(), meta: Mapping[str, Any] | None = None
) -> tuple[Kit | None, Grid]:
    """The kit and grid that the meta of a .npz tells; what it does not tell is as given.

    Args:
        path: the .npz.
        kit: what ``load_kit`` takes, or None.
        grid: likewise.
        meta: of ``read_meta``, where it was read before.

    Raises:
        HypermeterError: as ``read_meta``; an unknown kit, or a kit or grid that is not sound.
    """
    meta = read_meta(path) if meta is None else meta
    try:
        kit = meta.get("kit", kit)
        return None if kit is None else load_kit(kit), Grid.from_dict(meta["grid"]) if "grid" in meta else grid
    except HypermeterError as error:
        raise HypermeterError(f"{path}: {error}") from error


def common_kit_and_grid(
    paths: Sequence[Path], kit: Any = None, grid: Grid = Grid(), mix_metres: bool = False
) -> tuple[Kit | None, Grid]:
    """The one kit and grid of several .npz; only their meta is read.

    Args:
        paths: at least one.
        kit: of files that name none, as for ``load_kit``.
        grid: of files that tell none.
        mix_metres: take several metres whose bars have as many steps, such as 3/4 and 6/8 in sixteenths; the grid is
            then that of the first file.

    Raises:
        HypermeterError: as ``read_kit_and_grid``; a file of another kit or grid than the first.
    """
    first, *others = paths
    expected_kit, expected_grid = read_kit_and_grid(first, kit, grid)
    for path in others:
        found_kit, found_grid = read_kit_and_grid(path, kit, grid)
        if found_kit != expected_kit:
            found, expected = kit_name(found_kit), kit_name(expected_kit)
            other = " of other voices" if found == expected else ""
            raise HypermeterError(
                f"{path}: {found}{other}, expected {expected} as in {first}; prepare all with one kit"
            )
        if found_grid != expected_grid and not (mix_metres and are_alike(found_grid, expected_grid)):
            alike = ", or train and evaluate with --mix-metres" if are_alike(found_grid, expected_grid) else ""
            raise HypermeterError(
                f"{path}: {found_grid}, expected {expected_grid} as in {first}; prepare all on one grid{alike}"
            )
    return expected_kit, expected_grid


def are_alike(one: Grid, other: Grid) -> bool:
    """Whether bars and phrases have as many steps, so that windows fit in one batch."""
    return (one.steps_per_bar, one.bars_per_phrase) == (other.steps_per_bar, other.bars_per_phrase)


def kit_name(kit: Kit | None) -> str:
    return "no kit" if kit is None else f"kit {kit.name}"


def read_folder(folder: Path) -> tuple[list[Path], list[np.ndarray]]:
    """All .npz with a step in them, and their hits (T, V) uint8. One warning tells how many have none.

    Raises:
        HypermeterError: no such folder, no .npz or none with a step in it, a bad file, or files with different numbers
            of voices.
    """
    if not folder.is_dir():
        raise HypermeterError(f"{folder}: no such folder; expected a folder of .npz")
    found = sorted(folder.rglob("*.npz"))
    if not found:
        raise HypermeterError(f"{folder}: no .npz in it or below; make some with the command prepare")
    read = [(path, read_sequence(path)) for path in found]
    kept = [(path, sequence) for path, sequence in read if len(sequence)]
    if not kept:
        raise HypermeterError(f"{folder}: all {len(read)} .npz are empty, expected at least one step")
    if len(kept) < len(read):
        empty = len(read) - len(kept)
        warnings.warn(f"{folder}: left out {empty} of {len(read)} .npz, which hold no steps", stacklevel=3)
    (first, one), *_ = kept
    for path, sequence in kept:
        if sequence.shape[1] != one.shape[1]:
            raise HypermeterError(
                f"{path}: {sequence.shape[1]} voices, expected {one.shape[1]} as in {first}; prepare all with one kit"
            )
    return [path for path, _ in kept], [sequence for _, sequence in kept]

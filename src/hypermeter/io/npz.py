"""Reading the .npz files of performances: the hits, the arrays beside them, and the metadata."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError, shorten
from hypermeter.core.grid import Grid
from hypermeter.core.json_text import parse_json
from hypermeter.core.kit import Kit, load_kit
from hypermeter.io.npz_reader import ERRORS, MAX_BYTES, CheckedArchive
from hypermeter.io.shards import PackedArrays, PackedFile, open_shard


@dataclass(frozen=True, eq=False)
class OpenFile:
    """A performance that was read: it stands in the place of its path, and is not opened again."""

    file: Path | PackedFile
    arrays: Mapping[str, Any]

    def __str__(self) -> str:
        return str(self.file)


File = str | Path | PackedFile | OpenFile
"""Where a performance is: the path of a .npz, a row of a shard, or its arrays."""

MAX_CELLS = 2**24
"""Steps times voices of the longest performance: with 10 voices 100,000 bars, in which a groove takes some 400 MB."""

MAX_VOICES = 2**12

MAX_TEMPO_BPM = 6e7
"""The quickest tempo that MIDI holds."""

MAX_META = 2**20
"""Characters of the longest metadata."""


@contextmanager
def open_npz(path: File, max_bytes: int = MAX_BYTES) -> Iterator[Mapping[str, Any]]:
    """Yield the arrays of a .npz, or of a performance in a shard, by name. Each is read when it is accessed.

    Args:
        path: where it is.
        max_bytes: size of the largest array of a .npz, unpacked.

    Raises:
        HypermeterError: no readable .npz, or access to an array of Python objects or beyond the limits; a damaged
            shard.
    """
    if isinstance(path, OpenFile):
        yield path.arrays
        return
    if isinstance(path, PackedFile):
        yield PackedArrays(open_shard(path.shard), path.row)
        return
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise HypermeterError(f"{path}: not a readable .npz (no zip of arrays); write it with numpy.savez")
            file.seek(0)
            yield CheckedArchive(file, max_bytes)
    except HypermeterError:
        raise
    except ERRORS as error:
        if "pickle" in str(error):
            reason = "an array of Python objects, which are not loaded; save arrays of numbers, and meta as JSON"
            raise HypermeterError(f"{path}: {reason}") from error
        reason = shorten(str(error) or type(error).__name__, 300)
        raise HypermeterError(f"{path}: not a readable .npz ({reason}); write it with numpy.savez") from error


def read_sequence(path: File) -> np.ndarray:
    """Return the hits (T, V) uint8 of a .npz: its key `sequence`, of any numeric or boolean type.

    Raises:
        HypermeterError: no readable .npz, no `sequence`, or one that is not a 2-d array of 0 and 1.
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
    if sequence.size > MAX_CELLS or sequence.shape[1] > MAX_VOICES:
        expected = f"at most {MAX_VOICES:,} voices and {MAX_CELLS:,} cells"
        raise HypermeterError(f"{path}: sequence of shape {sequence.shape}, expected {expected}; cut it into pieces")
    if sequence.dtype.kind == "f" and np.isnan(sequence).any():
        raise HypermeterError(f"{path}: sequence holds NaN, expected 0 and 1")
    others = sequence[(sequence != 0) & (sequence != 1)]
    if len(others):
        hint = "if these are velocities, save sequence > 0 and keep them under the key 'velocity'"
        raise HypermeterError(f"{path}: sequence holds {others[0]:g}, expected 0 and 1; {hint}")
    return sequence.astype(np.uint8)


def read_meta(path: File) -> dict[str, Any]:
    """Return the metadata of a .npz: the JSON object under the key `meta`, or {} without that key.

    `kit` is a name or a kit's record, `grid` an object, `tempo_bpm` a number above 0, `style` and `beat_type` are text
    or null. Each of these, and other keys, may be missing.

    Raises:
        HypermeterError: no readable .npz, `meta` that is no JSON object, or a value of another type.
    """
    try:
        with open_npz(path) as arrays:
            text = str(arrays["meta"]) if "meta" in arrays else "{}"
        meta = parse_json(text, MAX_META)
    except ValueError as error:
        raise HypermeterError(f"{path}: meta is not JSON ({error}); save JSON, or leave meta out") from error
    if not isinstance(meta, dict):
        raise HypermeterError(f"{path}: meta is {text[:30]}, expected an object in JSON; save one, or leave meta out")
    tempo = meta.get("tempo_bpm")
    if tempo is not None and not (isinstance(tempo, int | float) and tempo is not True and 0 < tempo <= MAX_TEMPO_BPM):
        tempo = shorten(repr(tempo), 60)
        raise HypermeterError(f"{path}: tempo_bpm in meta is {tempo}, expected a number above 0; prepare it again")
    for key, kinds, expected in (
        ("kit", str | dict, "a kit's name or record"),
        ("grid", dict, "an object"),
        ("style", str | None, "text"),
        ("beat_type", str | None, "text"),
    ):
        if key in meta and not isinstance(meta[key], kinds):
            found = shorten(repr(meta[key]), 60)
            raise HypermeterError(f"{path}: {key} in meta is {found}, expected {expected}; prepare it again")
    return meta


def read_kit_and_grid(
    path: File, kit: Any = None, grid: Grid = Grid(), meta: Mapping[str, Any] | None = None
) -> tuple[Kit | None, Grid]:
    """Return the kit and grid of a .npz; each that its metadata lacks is as given.

    Args:
        path: the .npz.
        kit: an argument of `load_kit`, or `None`.
        grid: the default grid.
        meta: what `read_meta` returned, if it was read before.

    Raises:
        HypermeterError: as `read_meta`; an unknown kit, or an invalid kit or grid.
    """
    meta = read_meta(path) if meta is None else meta
    try:
        kit = meta.get("kit", kit)
        return None if kit is None else load_kit(kit), Grid.from_dict(meta["grid"]) if "grid" in meta else grid
    except HypermeterError as error:
        raise HypermeterError(f"{path}: {error}") from error


def read_shared_kit_and_grid(
    paths: Sequence[File], kit: Any = None, grid: Grid = Grid(), mix_metres: bool = False
) -> tuple[Kit | None, Grid]:
    """Return the kit, without its map, and the grid that several .npz have in common. Only their metadata is read.

    Args:
        paths: at least one.
        kit: the kit of files without one, an argument of `load_kit`.
        grid: the grid of files without one.
        mix_metres: allow several metres whose bars have equal numbers of steps, such as 3/4 and 6/8 in sixteenths; the
            grid is then that of the first file.

    Raises:
        HypermeterError: as `read_kit_and_grid`; a file whose kit or grid is not that of the first.
    """
    kits: dict[Kit | None, File] = {}
    grids: dict[Grid, File] = {}
    for path in paths:
        own_kit, own_grid = read_kit_and_grid(path, kit, grid)
        kits.setdefault(own_kit and own_kit.without_map, path)
        grids.setdefault(own_grid, path)
    return check_shared(kits, grids, mix_metres)


def check_shared(
    kits: Mapping[Kit | None, File], grids: Mapping[Grid, File], mix_metres: bool = False
) -> tuple[Kit | None, Grid]:
    """Return the kit and grid that all performances have in common: the first.

    Args:
        kits: each kit, without its map: grooves of several devices are of one kit -> the first performance with it.
        grids: each grid -> the first performance with it.
        mix_metres: as of `read_shared_kit_and_grid`.

    Raises:
        HypermeterError: a performance whose kit or grid is not that of the first.
    """
    (expected_kit, first), *other_kits = kits.items()
    for kit, path in other_kits:
        name, expected = kit_name(kit), kit_name(expected_kit)
        suffix = " of other voices" if name == expected else ""
        raise HypermeterError(f"{path}: {name}{suffix}, expected {expected} as in {first}; prepare all with one kit")
    (expected_grid, first), *other_grids = grids.items()
    for grid, path in other_grids:
        can_mix = have_equal_steps(grid, expected_grid)
        if not (mix_metres and can_mix):
            hint = ", or train and evaluate with --mix-metres" if can_mix else ""
            raise HypermeterError(
                f"{path}: {grid}, expected {expected_grid} as in {first}; prepare all on one grid{hint}"
            )
    return expected_kit, expected_grid


def have_equal_steps(first: Grid, second: Grid) -> bool:
    """Return whether bars and phrases have equal numbers of steps, so that windows fit into one batch."""
    return (first.steps_per_bar, first.bars_per_phrase) == (second.steps_per_bar, second.bars_per_phrase)


def kit_name(kit: Kit | None) -> str:
    return "no kit" if kit is None else f"kit {kit.name}"

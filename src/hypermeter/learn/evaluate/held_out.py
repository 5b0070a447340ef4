"""Held-out performances of a card, with those to learn from beside them, each folder read once for all systems."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hypermeter.core.addresses import StoredFile, as_address
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit
from hypermeter.core.strokes import Strokes
from hypermeter.core.tracks import Track
from hypermeter.io.npz import have_equal_steps, open_npz, read_kit_and_grid
from hypermeter.io.performances import PerformanceFile
from hypermeter.learn.dataset import read_folder, read_meta, read_shared_kit_and_grid, with_tracks
from hypermeter.learn.evaluate.floors import floors
from hypermeter.learn.evaluate.music import People, cut, stroke_shares
from hypermeter.learn.prepare import SPLITS
from hypermeter.music.beat_keeping import roles_of

ReadFolder = Callable[[Path], tuple[Sequence[PerformanceFile], Sequence[np.ndarray]]]
"""Returns the files below a folder and their hits, as `read_folder`."""


def read_performances(
    npz_dir: str | Path,
    kit: Kit | None = None,
    grid: Grid | None = Grid(),
    tracks: Sequence[Track] = (),
    mix_metres: bool = False,
    read: ReadFolder = read_folder,
) -> tuple[list[np.ndarray], list[list[str]], Kit | None, Grid]:
    """Return hits (T, V), T >= 1, of the performances below a folder, the groups of each, and their kit and grid.

    Args:
        npz_dir: the folder.
        kit: kit of files that name none; None, not known.
        grid: grid of files that name none; None, the default one and, where metres are mixed, that of the first file.
        tracks: tracks whose columns follow the voices of each performance, see ``with_tracks``.
        mix_metres: leave out performances whose bars and phrases have other numbers of steps than those of ``grid``,
            and take the others as if all were in its metre.
        read: reads the folder.

    Raises:
        HypermeterError: no performance there, a bad file, or files of different kits or grids.
    """
    files, sequences = select_files(npz_dir, grid, mix_metres, read)
    grid = grid or (read_kit_and_grid(files[0])[1] if mix_metres else Grid())
    sequences = [with_tracks(path, hits, tracks) for path, hits in zip(files, sequences, strict=True)]
    return sequences, groups_of(files), *read_shared_kit_and_grid(files, kit, grid, mix_metres)


def select_files(
    npz_dir: str | Path, grid: Grid | None, mix_metres: bool, read: ReadFolder = read_folder
) -> tuple[Sequence[PerformanceFile], Sequence[np.ndarray]]:
    """Return the files and hits of the performances of ``read_performances``, whose arguments these are."""
    files, sequences = read(Path(npz_dir))
    if mix_metres:
        grids = [read_kit_and_grid(path, None, grid or Grid())[1] for path in files]
        grid = grid or grids[0]
        kept = [place for place, own in enumerate(grids) if have_equal_steps(own, grid)]
        if not kept:
            what = f"{grid.metre} of {grid.steps_per_bar} steps a bar"
            raise HypermeterError(f"{npz_dir}: no performance in {what}, as the model plays; prepare some")
        files, sequences = [files[place] for place in kept], [sequences[place] for place in kept]
    return files, sequences


def groups_of(files: Sequence[PerformanceFile]) -> list[list[str]]:
    """Return the groups of each performance, from its meta: beat or fill, and its style."""
    groups = []
    for meta in map(read_meta, files):
        style, beat_type = meta.get("style"), meta.get("beat_type")
        groups.append([group for group in (beat_type, style and f"style: {style.split('/')[0]}") if group])
    return groups


class HeldOut:
    """Drums of held-out performances, and what is computed of them and of ``train`` beside them, once for all systems.

    Args:
        drums: hits (T, V) of each performance.
        kit: their kit; None, not known.
        grid: their grid.
        train: hits of each performance of the folder ``train`` beside them; none where there is no such folder.
        files: of the performances, which may tell their strokes.
    """

    def __init__(
        self,
        drums: Sequence[np.ndarray],
        kit: Kit | None,
        grid: Grid,
        train: Sequence[np.ndarray],
        files: Sequence[PerformanceFile],
    ):
        self.drums, self.kit, self.grid, self.train, self.files = drums, kit, grid, train, files
        self.people, self.floors, self.strokes = cache(self._people), cache(self._floors), cache(self._strokes)

    def _people(self, bars: int) -> People:
        streams, roles = (self.kit.streams, roles_of(self.kit)) if self.kit else (None, None)
        return People(cut(self.drums, self.grid, bars), self.grid, self.train, streams, roles)

    @property
    def voices(self) -> list[str]:
        """Names of the voices."""
        return list(self.kit.names) if self.kit else [f"voice {column}" for column in range(self.drums[0].shape[1])]

    def _strokes(self, bars: int) -> dict[str, Any] | None:
        """Return ``stroke_shares`` of the pieces of people whose files tell their strokes; `None` without any."""
        told = [stroke_counts(file, drums) for file, drums in zip(self.files, self.drums, strict=True)]
        pieces = cut([counts for counts in told if counts is not None], self.grid, bars)
        return stroke_shares(pieces, self.grid, self.voices) if pieces else None

    def _floors(self, seed: int) -> dict[str, dict[str, float]]:
        return floors(self.train, self.drums, self.grid.steps_per_bar, seed)


class Shared:
    """What the systems of a card have in common: folders that were read, and performances by folder, kit and grid."""

    def __init__(self) -> None:
        self.read: ReadFolder = cache(read_folder)
        self._known: dict[tuple[Any, ...], HeldOut] = {}

    def held_out(
        self, npz_dir: str | Path, drums: Sequence[np.ndarray], kit: Kit | None, grid: Grid, mix_metres: bool
    ) -> HeldOut:
        """Return the performances of a folder with ``train`` beside it, the same for the same arguments.

        ``drums`` are the hits of ``read_performances``, without the columns of tracks.
        """
        key = str(npz_dir), drums[0].shape[1], kit, grid, mix_metres
        if key not in self._known:
            train = train_beside(npz_dir, drums, kit, grid, mix_metres, self.read)
            files, _ = select_files(npz_dir, grid, mix_metres, self.read)
            self._known[key] = HeldOut(drums, kit, grid, train, files)
        return self._known[key]


def stroke_counts(file: PerformanceFile, hits: np.ndarray) -> np.ndarray | None:
    """Return the number of strokes (T, V) of each cell of a performance; `None` where its file does not tell them.

    Args:
        file: of the performance.
        hits: (T, V) of its drums.
    """
    with open_npz(file) as arrays:
        if "strokes" not in arrays:
            return None
        return Groove(hits, strokes=Strokes.of_table(arrays["strokes"])).stroke_counts


def train_beside(
    npz_dir: str | Path,
    drums: Sequence[np.ndarray],
    kit: Kit | None,
    grid: Grid,
    mix_metres: bool,
    read: ReadFolder = read_folder,
) -> list[np.ndarray]:
    """Return the performances of the folder ``train`` beside a held-out split; none where there is no such folder.

    Raises:
        HypermeterError: they are of other voices or another grid than the performances of the split.
    """
    if address := as_address(npz_dir):
        above, _, name = address.rpartition("/")
        train = f"{above}/{SPLITS[0]}"
        is_there = name in SPLITS[1:] and StoredFile(train).is_dir()
    else:
        folder = Path(npz_dir).resolve()
        train, name = folder.parent / SPLITS[0], folder.name
        is_there = name in SPLITS[1:] and train.is_dir()
    if not is_there:
        return []
    sequences, _, train_kit, train_grid = read_performances(train, kit, grid, (), mix_metres, read)
    fits = train_grid == grid or (mix_metres and have_equal_steps(train_grid, grid))
    if not fits or train_kit != kit or sequences[0].shape[1] != drums[0].shape[1]:
        raise HypermeterError(f"{train}: of another kit or grid than {name} beside it; prepare both alike")
    return sequences

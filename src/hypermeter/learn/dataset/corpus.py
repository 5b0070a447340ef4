"""The performances of a folder, read once: held if they are few, else found again by an index."""

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from hypermeter.core.cache import ByteCache
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit, load_kit
from hypermeter.core.strokes import Strokes
from hypermeter.core.tracks import Track, track_groups
from hypermeter.io.npz import OpenFile, check_shared, open_npz, read_kit_and_grid, read_meta, read_sequence
from hypermeter.io.performances import PerformanceFile, check_voices, performance_files, warn_of_empty
from hypermeter.io.shards import DamagedShardError, PackedFile, open_shard
from hypermeter.learn.dataset.conditions import read_expression, read_sections, read_strokes, style_of, with_tracks
from hypermeter.model.plan import Labels
from hypermeter.play.plan import FILL, LETTERS

HELD_BYTES = 256 << 20
"""A corpus of at most so many bytes of arrays is held in memory."""
CACHE_BYTES = 64 << 20
"""Arrays of a larger corpus that each process keeps."""
FILES_PER_GROUP = 16
"""Performances that are read together from a larger corpus, as they are in a shard."""


class Corpus:
    """The performances below a folder that have a step: their lengths, what they have in common, and their arrays.

    All are read once, each file opened once, in the order of their paths. Arrays of at most ``held_bytes`` stay in
    memory; else a performance is read again when it is wanted, with its neighbours, and the last ones are kept.

    Args:
        folder: of .npz and shards, or an fsspec address with shards.
        tracks: tracks whose columns follow the voices.
        with_expression: also read velocity, offset, strokes and openness.
        with_sections: also read sections, for plans.
        held_bytes: most bytes of arrays to hold.
        may_be_empty: accept a folder without any step.

    Raises:
        HypermeterError: no such folder, none with a step in it, an unreadable file, or different numbers of voices;
            invalid tracks, sections or expression.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        tracks: Sequence[Track] = (),
        with_expression: bool = False,
        with_sections: bool = False,
        held_bytes: int | None = None,
        may_be_empty: bool = False,
    ) -> None:
        self.folder, self.tracks = folder, tuple(tracks)
        self._keys = ["sequence", *(f"track_{track.name}" for track in tracks)]
        self._keys += (
            ["velocity", "offset", "strokes", "openness"] * with_expression + ["section"] * with_sections + ["meta"]
        )
        if with_expression and "track_bass" not in self._keys:
            self._keys.append("track_bass")  # a rhythm that drums follow
        self._held_bytes = HELD_BYTES if held_bytes is None else held_bytes
        self._cache = ByteCache(CACHE_BYTES)
        files = performance_files(folder)
        if not files and not may_be_empty:
            raise HypermeterError(f"{folder}: no .npz in it or below, nor a shard; make some with the command prepare")
        while True:  # A shard that turns out to be damaged is left out, and all others are read anew.
            try:
                self._read(files)
                break
            except DamagedShardError as error:
                files = files.without(error)
        if not len(self) and not may_be_empty:
            raise HypermeterError(f"{folder}: all {len(files)} .npz are empty, expected at least one step")
        warn_of_empty(folder, len(files) - len(self), len(files))

    def _read(self, files: Any) -> None:
        self.num_drums = 0
        self.kits: dict[Kit | None, PerformanceFile] = {}
        """Each kit, without its map, or None -> the first performance with it."""
        self.grids: dict[Grid | None, PerformanceFile] = {}
        """Each grid, or None -> the first performance with it."""
        self.meta_error: HypermeterError | None = None
        """Why the first metadata that could not be read could not."""
        self.styles: set[str] = set()
        self.sections: set[str] = set()
        self.tracks_with_notes: set[str] = set()
        self.has_expression = False
        """Whether any performance has both velocity and offset."""
        self.has_strokes = self.has_openness = False
        """Whether any performance tells the strokes of its cells, and the openness of its hi-hat."""
        self._held: list[OpenFile] | None = []
        digest, known = hashlib.sha256(), {}
        lengths, grid_numbers, kept, num_bytes = [], [], [], 0
        for number, opened in enumerate(self._each(files)):
            file = opened.file
            hits = opened.arrays["sequence"]
            if not len(hits):
                continue
            if not kept:
                first, self.num_drums = file, hits.shape[1]
            check_voices(file, hits.shape[1], first, self.num_drums)
            grid = self._add(opened, hits, digest, known)
            grid_numbers.append(list(self.grids).index(grid))
            lengths.append(len(hits))
            kept.append(number)
            if self._held is not None:
                self._held.append(opened)
                num_bytes += _num_bytes(opened)
                if num_bytes > self._held_bytes:
                    self._held = None
        self.files = files.take(kept)
        self.lengths = np.array(lengths, np.int32)
        """Steps of each performance."""
        self._grid_numbers = np.array(grid_numbers, np.int16)
        self.digest = digest.hexdigest()
        """Of all that was read."""

    def _each(self, files: Iterable[PerformanceFile]) -> Iterator[OpenFile]:
        """Yield the arrays of each performance; a shard at an address is fetched whole when it is first met."""
        met: set[str] = set()
        with ExitStack() as stack:
            for file in files:
                if isinstance(file, PackedFile) and file.shard not in met:
                    met.add(file.shard)
                    stack.close()
                    stack.enter_context(open_shard(file.shard).fetched())
                yield self._open(file)

    def _open(self, file: PerformanceFile) -> OpenFile:
        """Read the arrays of a performance, with its hits as uint8."""
        arrays: dict[str, Any] = {}
        with open_npz(file) as all_arrays:
            for key in self._keys:
                if key in all_arrays:
                    try:
                        arrays[key] = all_arrays[key]
                    except ValueError:
                        if key != "meta":  # Metadata that cannot be read is told to those who need it.
                            raise
                        arrays[key] = "a Python object"
        hits = read_sequence(OpenFile(file, arrays) if "sequence" in arrays else file)
        return OpenFile(file, arrays | {"sequence": hits})

    def _add(self, opened: OpenFile, hits: np.ndarray, digest: Any, known: dict[str, Any]) -> Grid | None:
        """Take what a performance says of itself into account, check its arrays, and return the grid that it names.

        ``known`` has the kits and grids of earlier performances by their JSON.
        """
        kit, grid, meta = None, None, {}
        try:
            meta = read_meta(opened)
            key = json.dumps([meta.get("kit"), meta.get("grid")], sort_keys=True)
            if key not in known:
                known[key] = read_kit_and_grid(opened, meta=meta)
            kit, grid = known[key]
            grid = grid if "grid" in meta else None
        except HypermeterError as error:
            self.meta_error = self.meta_error or error
        self.kits.setdefault(kit and kit.without_map, opened.file)
        self.grids.setdefault(grid, opened.file)
        self.styles |= {style_of(meta)} - {""}
        digest.update(json.dumps([hits.shape, meta], sort_keys=True).encode() + hits.tobytes())
        if self.tracks:
            columns = with_tracks(opened, hits, self.tracks)
            for track, (start, stop) in zip(self.tracks, track_groups(self.num_drums, self.tracks), strict=True):
                if columns[:, start:stop].any():
                    self.tracks_with_notes.add(track.name)
            digest.update(columns.tobytes())
        if "velocity" in self._keys:
            velocity, offset, _ = read_expression(opened, hits)
            self.has_expression |= not (np.isnan(velocity) | np.isnan(offset)).all()
            digest.update(velocity.tobytes() + offset.tobytes())
            strokes, openness = read_strokes(opened, hits)
            self.has_strokes |= strokes is not None
            self.has_openness |= openness is not None
            digest.update(bytes_of(strokes, openness))
        if "section" in self._keys:
            sections = read_sections(opened, -(-len(hits) // (grid or Grid()).steps_per_bar)) or []
            self.sections |= {*sections} - {""}
            digest.update(json.dumps(sections).encode())
        return grid

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def is_held(self) -> bool:
        """Whether all arrays are in memory."""
        return self._held is not None

    @property
    def most_common_grid(self) -> Grid | None:
        """The grid that performances with most steps name."""
        steps = np.bincount(self._grid_numbers, self.lengths, len(self.grids))
        return list(self.grids)[int(steps.argmax())]

    def grid(self, index: int) -> Grid | None:
        """Return the grid that a performance names."""
        return list(self.grids)[self._grid_numbers[index]]

    def on(self, grid: Grid | None) -> "Corpus":
        """Return the performances that name a grid, as a corpus of its own; None, those that name none."""
        kept = np.flatnonzero(self._grid_numbers == list(self.grids).index(grid))
        part = copy.copy(self)
        part.files, part.lengths, part._grid_numbers = self.files.take(kept.tolist()), self.lengths[kept], 0 * kept
        part.grids = {grid: self.grids[grid]}
        part._held = None if self._held is None else [self._held[number] for number in kept]
        part._cache = ByteCache(CACHE_BYTES)
        part.digest = hashlib.sha256(f"{self.digest} {grid}".encode()).hexdigest()
        return part

    def performance(self, index: int) -> OpenFile:
        """Return the arrays of a performance."""
        if self._held is not None:
            return self._held[index]
        group, place = divmod(index, FILES_PER_GROUP)
        return self._cache.get(group, lambda: self._read_group(group))[place]

    def _read_group(self, group: int) -> tuple[list[OpenFile], int]:
        start = group * FILES_PER_GROUP
        opened = [self._open(file) for file in self.files[start : start + FILES_PER_GROUP]]
        return opened, sum(map(_num_bytes, opened))

    def hits(self, index: int) -> np.ndarray:
        """Return the hits (T, V) uint8 of a performance, with the columns of the tracks after them."""
        opened = self.performance(index)
        return with_tracks(opened, opened.arrays["sequence"], self.tracks)

    def labels(self) -> Labels:
        """Return the vocabulary of the plans; see ``find_labels``."""
        named = sorted(self.sections - {*FILL})
        return {"section": named or list(LETTERS), "style": sorted(self.styles), "fill": list(FILL)}


def bytes_of(strokes: Strokes | None, openness: np.ndarray | None) -> bytes:
    """Return the bytes of what is known of the strokes and the openness of a performance, for a digest."""
    arrays = [] if strokes is None else [strokes.table]
    return b"".join(array.tobytes() for array in (*arrays, *([] if openness is None else [openness])))


def _num_bytes(opened: OpenFile) -> int:
    """Return the bytes of a performance's arrays, and some for what is about them; of both forms alike."""
    return 1024 + sum(array.nbytes for key, array in opened.arrays.items() if key != "meta")


def shared_kit_and_grid(
    corpora: Sequence[Corpus], kit: Any = None, grid: Grid = Grid(), mix_metres: bool = False
) -> tuple[Kit | None, Grid]:
    """Return the kit and grid of corpora as ``read_shared_kit_and_grid`` does, without reading a file.

    With ``mix_metres`` they may have any grids; that of most steps of the first corpus is returned.

    Raises:
        HypermeterError: as ``read_shared_kit_and_grid``.
    """
    given = None if kit is None else load_kit(kit).without_map
    kits: dict[Kit | None, PerformanceFile] = {}
    grids: dict[Grid, PerformanceFile] = {}
    if mix_metres and corpora and len(corpora[0]):
        common = corpora[0].most_common_grid
        grids[common or grid] = corpora[0].grids[common]
    for corpus in corpora:
        if corpus.meta_error:
            raise corpus.meta_error
        for own_kit, file in corpus.kits.items():
            kits.setdefault(own_kit or given, file)
        for own_grid, file in () if mix_metres else corpus.grids.items():
            grids.setdefault(own_grid or grid, file)
    return check_shared(kits, grids) if kits else (None, grid)

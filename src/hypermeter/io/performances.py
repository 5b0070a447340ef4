"""The performances of a folder: each a .npz, or a row of a shard."""

import copy
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import overload

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.io.npz import read_sequence
from hypermeter.io.shards import SUFFIX, DamagedShardError, PackedFile, is_address, list_address, open_shard

PerformanceFile = Path | PackedFile
"""Where a performance is: what the functions that read a .npz take."""


class FileList(Sequence[PerformanceFile]):
    """The files of performances in the order of their paths, held in some 50 bytes each.

    Args:
        folder: the folder, or its address.
        loose: each .npz below it.
        shards: path of each shard below it -> the names in it.
    """

    def __init__(self, folder: str | Path, loose: Sequence[Path], shards: Mapping[str, Sequence[str]]) -> None:
        self._sources = [str(folder), *shards]
        self._below = ["", *(_below(source, str(folder)) for source in shards)]
        entries = [(path.relative_to(folder).as_posix(), 0, 0) for path in loose]
        for number, names in enumerate(shards.values(), 1):
            entries += [(self._below[number] + name, number, row) for row, name in enumerate(names)]
        entries.sort(key=_by_parts)
        for (name, one, _), (same, other, _) in pairwise(entries):
            if name == same:
                where = [self._sources[number] if number else "a .npz" for number in (one, other)]
                raise HypermeterError(f"{folder}: {name} is in {where[0]} and in {where[1]}; remove one of them")
        encoded = [name.encode() for name, _, _ in entries]
        self._names = b"".join(encoded)
        self._name_ends = np.cumsum([len(name) for name in encoded])
        self._source = np.array([source for _, source, _ in entries], np.int32)
        self._row = np.array([row for _, _, row in entries], np.int32)

    def __len__(self) -> int:
        return len(self._row)

    @overload
    def __getitem__(self, index: int) -> PerformanceFile: ...

    @overload
    def __getitem__(self, index: slice) -> list[PerformanceFile]: ...

    def __getitem__(self, index: int | slice) -> PerformanceFile | list[PerformanceFile]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        start = int(self._name_ends[index - 1]) if index else 0
        name = self._names[start : int(self._name_ends[index])].decode()
        source = int(self._source[index])
        if not source:
            return Path(self._sources[0], name)
        return PackedFile(self._sources[source], int(self._row[index]), name.removeprefix(self._below[source]))

    def __iter__(self) -> Iterator[PerformanceFile]:
        return (self[index] for index in range(len(self)))

    def take(self, indices: Sequence[int] | np.ndarray) -> "FileList":
        """Return the files of these indices, which are sorted."""
        if len(indices) == len(self):
            return self
        ends, files = self._name_ends.tolist(), copy.copy(self)
        names = [self._names[ends[index - 1] if index else 0 : ends[index]] for index in indices]
        files._names, files._name_ends = b"".join(names), np.cumsum([len(name) for name in names])
        files._source, files._row = self._source[indices], self._row[indices]
        return files

    def without(self, error: DamagedShardError) -> "FileList":
        """Return the files but for those of a damaged shard, with a warning.

        Raises:
            DamagedShardError: no other file is left.
        """
        files = self.take(np.flatnonzero(self._source != self._sources.index(error.shard, 1)))
        if not len(files):
            raise error
        warnings.warn(f"{self._sources[0]}: left out a shard; {error}", stacklevel=5)
        return files


def _by_parts(entry: tuple[str, int, int]) -> str:
    """Return a key by which names come in the order of paths: a folder before what starts with its name."""
    return entry[0].replace("/", "\0")


def _below(shard: str, folder: str) -> str:
    """Return the folder of a shard, relative to a folder above it, with a slash at its end unless it is empty."""
    if is_address(shard):
        return shard.removeprefix(folder).lstrip("/").rpartition("/")[0] + "/" * (shard.rpartition("/")[0] != folder)
    below = Path(shard).parent.relative_to(folder).as_posix()
    return "" if below == "." else f"{below}/"


def as_address(path: str | Path) -> str | None:
    """Return the address that a path stands for, also one of which `Path` has taken a slash; None if it is a path."""
    text = re.sub(r"^([a-z][a-z0-9+.-]+):/+", r"\1://", str(path))
    return text.rstrip("/") if is_address(text) else None


def performance_files(folder: str | Path) -> FileList:
    """Return all performances below a folder, or an fsspec address, sorted: .npz, and those in shards.

    One warning tells how many shards are damaged; they are left out.

    Raises:
        HypermeterError: no such folder, or a performance that is in it twice; or all shards are damaged, and there is
            no .npz.
    """
    address = as_address(folder)
    if address:
        return _whole_files(address, [], list_address(address))
    if not Path(folder).is_dir():
        raise HypermeterError(f"{folder}: no such folder; expected a folder of .npz")
    paths = list(Path(folder).rglob("*"))
    loose = [path for path in paths if path.name.endswith(".npz")]
    shards = sorted(str(path) for path in paths if path.suffix == SUFFIX and not path.name.startswith("."))
    return _whole_files(folder, loose, shards)


def _whole_files(folder: str | Path, loose: Sequence[Path], shards: Sequence[str]) -> FileList:
    """Return the files without those of damaged shards."""
    whole, damaged = {}, []
    for path in shards:
        try:
            whole[path] = open_shard(path).names
        except DamagedShardError as error:
            damaged.append(error)
    if damaged and not whole and not loose:
        raise damaged[0]
    if damaged:
        warnings.warn(
            f"{folder}: left out {len(damaged)} of {len(shards)} shards; the first: {damaged[0]}", stacklevel=4
        )
    return FileList(folder, loose, whole)


def read_folder(folder: str | Path) -> tuple[list[PerformanceFile], list[np.ndarray]]:
    """Return all performances below a folder that have a step, and their hits (T, V) uint8.

    One warning tells how many have no steps.

    Raises:
        HypermeterError: no such folder, none with a step in it, an unreadable file, or different numbers of voices.
    """
    files = performance_files(folder)
    if not files:
        raise HypermeterError(f"{folder}: no .npz in it or below, nor a shard; make some with the command prepare")
    sequences = {file: sequence for file in files if len(sequence := read_sequence(file))}
    if not sequences:
        raise HypermeterError(f"{folder}: all {len(files)} .npz are empty, expected at least one step")
    warn_of_empty(folder, len(files) - len(sequences), len(files))
    first = next(iter(sequences))
    for file, sequence in sequences.items():
        check_voices(file, sequence.shape[1], first, sequences[first].shape[1])
    return [*sequences], [*sequences.values()]


def warn_of_empty(folder: str | Path, num_empty: int, num_files: int) -> None:
    if num_empty:
        warnings.warn(f"{folder}: left out {num_empty} of {num_files} .npz, which hold no steps", stacklevel=4)


def check_voices(file: PerformanceFile, voices: int, first: PerformanceFile, expected: int) -> None:
    if voices != expected:
        raise HypermeterError(f"{file}: {voices} voices, expected {expected} as in {first}; prepare all with one kit")

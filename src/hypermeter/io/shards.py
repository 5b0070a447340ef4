"""Shards: many performances in one Parquet file, with checksums, which is read in place and by parts.

A row is a performance: ``name``, ``steps``, ``voices``, a column of .npy content for each array, and ``meta`` as JSON.
Each page has a CRC; the footer has SHA-256 of itself and of all before it. Needs pyarrow, and fsspec for addresses such
as s3://bucket/00000.parquet.
"""

import hashlib
import io
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from hypermeter.core.addresses import is_address, naming_store_errors, open_address
from hypermeter.core.cache import ByteCache
from hypermeter.core.errors import HypermeterError
from hypermeter.core.extras import needs
from hypermeter.core.files import atomic_write
from hypermeter.io.npz_reader import parse_header
from hypermeter.io.npz_writer import npy_bytes, npz_bytes

SUFFIX = ".parquet"
VERSION = 1
ROWS_PER_GROUP = 16
"""Performances that are read together: few, as a window at random needs one."""
MAX_ROWS = 1024
"""Performances in a shard that ``pack`` writes."""
CACHE_BYTES = 16 << 20
"""Of columns that were read last, in each process."""

_KEY = "hypermeter"
_OWN_COLUMNS = ("name", "steps", "voices", "meta", "npz")
_ORDER = ("sequence", "velocity", "offset", "shift", "strokes", "openness", "chokes")
_NOTE = '{{"version": {version}, "data_sha256": "{data}", "footer_sha256": "{footer}"}}'
_NOTE_FORM = re.compile(rb'\{"version": (\d+), "data_sha256": "([0-9a-f]{64})", "footer_sha256": "([0-9a-f]{64})"\}')
_BLANK = "0" * 64


class DamagedShardError(HypermeterError):
    """A shard is not whole; ``shard`` is its path."""

    def __init__(self, shard: str, reason: object) -> None:
        text = " ".join(str(reason).split())
        super().__init__(f"{shard}: damaged or no shard of performances ({text}); pack or prepare it again")
        self.shard, self.reason = shard, reason

    def __reduce__(self) -> tuple:
        return DamagedShardError, (self.shard, self.reason)


@contextmanager
def _telling_damage(shard: str) -> Iterator[None]:
    """Name the shard in errors of reading it, and tell damage from what a disk or network fails to give."""
    import pyarrow as pa

    try:
        yield
    except HypermeterError:
        raise
    except Exception as error:  # pyarrow raises several kinds, of Python and its own, and stores raise theirs
        if isinstance(error, pa.ArrowException | ValueError) or (type(error) is OSError and error.errno is None):
            raise DamagedShardError(shard, error) from error
        raise HypermeterError(f"{shard}: cannot be read ({' '.join(str(error).split())}); try again") from error


class ShardWriter:
    """Write a shard: whole when the block ends without an error, else not at all. Without performances, write nothing.

    The same performances in the same order give the same bytes with one version of pyarrow. They are held until the
    block ends: about `MAX_ROWS` of them are meant for one shard.

    Args:
        path: file to write, which ends in .parquet, or an fsspec address, which is written by one put.

    Raises:
        HypermeterError: another suffix, or the file cannot be written. Without pyarrow `MissingPackageError`.
    """

    def __init__(self, path: str | Path) -> None:
        if not str(path).endswith(SUFFIX):
            raise HypermeterError(f"{path}: expected a name that ends in {SUFFIX}")
        _parquet()
        self.path = path
        self._rows: list[dict[str, Any]] = []
        self._names: set[str] = set()
        self.num_bytes = 0
        """The bytes of all arrays so far, before compression."""

    def add(
        self,
        name: str,
        arrays: Mapping[str, np.ndarray],
        meta: Mapping[str, Any] | str | None = None,
        npz: bytes | None = None,
    ) -> None:
        """Add a performance.

        Args:
            name: path of its .npz below the folder of the shard, with forward slashes.
            arrays: arrays of numbers or text; ``sequence`` (T, V) is one of them, and ``meta`` is none.
            meta: metadata, or its JSON.
            npz: content of its .npz, if `unpack` is to restore other bytes than `to_npz` gives.

        Raises:
            HypermeterError: a name twice, outside the folder or without .npz; no ``sequence``; or an array of Python
                objects, or with the name of another column.
        """
        if name in self._names:
            raise HypermeterError(f"{self.path}: {name} twice; give each performance a name of its own")
        check_name(name, self.path)
        if "sequence" not in arrays or arrays["sequence"].ndim != 2:
            raise HypermeterError(f"{self.path}: {name} without a sequence (steps, voices); add its hits")
        for key, array in arrays.items():
            if key in _OWN_COLUMNS or array.dtype.hasobject:
                raise HypermeterError(f"{self.path}: {name} has an array {key} of {array.dtype}, which no shard holds")
        self._names.add(name)
        text = meta if isinstance(meta, str) or meta is None else json.dumps(meta)
        steps, voices = arrays["sequence"].shape
        row = {key: npy_bytes(array) for key, array in arrays.items()} | ({} if npz is None else {"npz": npz})
        self.num_bytes += sum(map(len, row.values()))
        self._rows.append({"name": name, "steps": steps, "voices": voices, "meta": text, **row})

    def __len__(self) -> int:
        return len(self._rows)

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind or not self._rows:
            return
        content = self._content()
        if is_address(self.path):
            files, place = open_address(str(self.path))
            with naming_store_errors(str(self.path), "written"):
                files.pipe_file(place, content)
            return
        with atomic_write(self.path) as temporary:
            temporary.write_bytes(content)

    def _content(self) -> bytes:
        import pyarrow as pa

        pq = _parquet()
        keys = dict.fromkeys(key for row in self._rows for key in row if key not in _OWN_COLUMNS)
        kinds = {"name": pa.string(), "steps": pa.int32(), "voices": pa.int32(), "meta": pa.string()}
        kinds |= dict.fromkeys(sorted(keys, key=_rank), pa.binary())
        if any("npz" in row for row in self._rows):
            kinds["npz"] = pa.binary()
        sink, schema = io.BytesIO(), pa.schema(list(kinds.items()))
        with pq.ParquetWriter(
            sink, schema, compression="zstd", use_dictionary=False, write_statistics=False, write_page_checksum=True,
            store_schema=False,
        ) as writer:  # fmt: skip
            for start in range(0, len(self._rows), ROWS_PER_GROUP):
                rows = self._rows[start : start + ROWS_PER_GROUP]
                columns = [pa.array([row.get(key) for row in rows], kind) for key, kind in kinds.items()]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            writer.add_key_value_metadata({_KEY: _NOTE.format(version=VERSION, data=_BLANK, footer=_BLANK)})
        content = sink.getbuffer()
        start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
        found = list(_NOTE_FORM.finditer(content, start))[-1]
        for group, part in ((2, content[:start]), (3, content[start:])):  # The second covers the first.
            content[slice(*found.span(group))] = hashlib.sha256(part).hexdigest().encode()
        return bytes(content)


def _rank(name: str) -> int:
    """Return the place of an array as ``prepare`` writes a .npz."""
    if name in _ORDER:
        return _ORDER.index(name)
    return len(_ORDER) + (0 if name.startswith("track_") else 1 if name == "section" else 2)


def check_name(name: str, shard: str | Path) -> None:
    """Raise if a name is no path of a .npz below the folder of the shard."""
    path = PurePosixPath(name)
    if not name.endswith(".npz") or path.is_absolute() or ".." in path.parts or "\\" in name or path.as_posix() != name:
        raise HypermeterError(f"{shard}: a performance named {name!r}, expected a path below the folder, as a/b.npz")


class Shard:
    """A shard that is read in place: its footer when it is opened, columns of groups of rows when they are wanted.

    Args:
        path: of the file, or an fsspec address.

    Raises:
        DamagedShardError: no shard, one that was cut off, or one whose footer has changed. Damage elsewhere is found,
            and raised, when it is read.
        HypermeterError: a file that cannot be opened, or a shard of a later version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self._number = str(path), next(_NUMBERS)
        self._file, self._process = _open(self.path), os.getpid()
        try:
            self._read_footer()
        except BaseException:
            self._file.close()
            raise

    def _read_footer(self) -> None:
        pq = _parquet()
        import pyarrow as pa

        footer = self._footer(self._file)
        found = list(_NOTE_FORM.finditer(footer))
        if not found:
            raise DamagedShardError(self.path, "its footer is not that of a shard")
        (start, stop), (version, self._data_sha256, expected) = found[-1].span(3), found[-1].groups()
        blank = footer[:start] + _BLANK.encode() + footer[stop:]
        if hashlib.sha256(blank).hexdigest().encode() != expected:
            raise DamagedShardError(self.path, "its footer does not have its checksum")
        if int(version) != VERSION:
            raise HypermeterError(
                f"{self.path}: a shard of version {int(version)}, expected {VERSION}; update hypermeter"
            )
        with _telling_damage(self.path):
            self._metadata = pq.read_metadata(pa.BufferReader(b"PAR1" + footer))
            self._parquet_file = self._opened()
        self.columns: list[str] = self._metadata.schema.names
        self.keys: list[str] = [key for key in self.columns if key not in _OWN_COLUMNS]
        """Names of the arrays that performances have."""
        groups = [self._metadata.row_group(group).num_rows for group in range(self._metadata.num_row_groups)]
        self.group_starts = np.cumsum([0, *groups])
        """First row of each group of rows, and the number of rows."""

    def _footer(self, file: Any) -> bytes:
        """Return the footer with its length and mark."""
        with _telling_damage(self.path):
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 8, 0))
            end = file.read(8)
            length = int.from_bytes(end[:4], "little") + 8
            if end[4:] != b"PAR1" or length > size:
                raise DamagedShardError(self.path, "it does not end as Parquet does")
            file.seek(size - length)
            return file.read(length)

    def _opened(self) -> Any:
        return _parquet().ParquetFile(self._file, metadata=self._metadata, page_checksum_verification=True)

    def __len__(self) -> int:
        return self._metadata.num_rows

    def __reduce__(self) -> tuple:
        return open_shard, (self.path,)

    @contextmanager
    def fetched(self) -> Iterator[None]:
        """Hold the whole file in memory during the block if it is at an address: one request is sooner than many.

        Raises:
            HypermeterError: it cannot be read.
        """
        if not is_address(self.path):
            yield
            return
        files, place = open_address(self.path)
        before, process = (self._file, self._parquet_file), self._process
        with _telling_damage(self.path):
            self._file, self._process = io.BytesIO(files.cat_file(place)), os.getpid()
            self._parquet_file = self._opened()
        try:
            yield
        finally:
            (self._file, self._parquet_file), self._process = before, process

    @property
    def names(self) -> list[str]:
        """The name of each performance, read anew."""
        with self.fetched():
            names = self._column("name", None).to_pylist()
        for name in names:
            check_name(name, self.path)
        return names

    @property
    def steps(self) -> np.ndarray:
        """The steps of each performance, (rows,) int32, read anew."""
        with self.fetched():
            return self._column("steps", None).to_numpy()

    def _column(self, key: str, group: int | None) -> Any:
        """Return a column of one group of rows, or of all."""
        with _telling_damage(self.path):
            if self._process != os.getpid():  # Forked processes would share the place in the file.
                self._file, self._process = _open(self.path), os.getpid()
                self._parquet_file = self._opened()
            if group is None:
                return self._parquet_file.read([key], use_threads=False).column(0)
            return self._parquet_file.read_row_group(group, [key], use_threads=False).column(0).combine_chunks()

    def value(self, row: int, key: str) -> Any:
        """Return a performance's value of a column: an array, ``meta`` as text, or None."""
        group = int(np.searchsorted(self.group_starts, row, "right")) - 1

        def read() -> tuple[Any, int]:
            column = self._column(key, group)
            return column, column.nbytes

        column = _CACHE.get((self._number, key, group), read)
        value = column[row - int(self.group_starts[group])]
        if not value.is_valid or key in _OWN_COLUMNS:
            return value.as_py()
        return _array(value.as_buffer(), self.path)

    def verify(self) -> None:
        """Read the whole file, and raise if its checksum is not that of its footer."""
        digest = hashlib.sha256()
        with _open(self.path) as file:
            left = file.seek(0, os.SEEK_END) - len(self._footer(file))
            file.seek(0)
            while left > 0 and (content := file.read(min(left, 1 << 20))):
                digest.update(content)
                left -= len(content)
        if digest.hexdigest().encode() != self._data_sha256:
            raise DamagedShardError(self.path, "its content does not have its checksum")


_CACHE = ByteCache(CACHE_BYTES)
_NUMBERS = itertools.count()


@dataclass(frozen=True)
class PackedFile:
    """A performance in a shard, which stands in the place of the path of a .npz."""

    shard: str
    row: int
    below: str
    """Its path below the folder of the shard."""

    def __str__(self) -> str:
        return f"{self.shard}: {self.below}"

    @property
    def path(self) -> Path:
        """The path that its .npz would have."""
        return Path(self.shard).parent / self.below

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def parent(self) -> Path:
        return self.path.parent

    def relative_to(self, folder: str | Path) -> Path:
        return self.path.relative_to(folder)


class PackedArrays(Mapping[str, Any]):
    """The arrays of a performance in a shard by name, as of a .npz. Each is read when it is accessed."""

    def __init__(self, shard: Shard, row: int) -> None:
        self.shard, self.row = shard, row

    def __getitem__(self, key: str) -> Any:
        if key not in (*self.shard.keys, "meta") or (value := self.shard.value(self.row, key)) is None:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        return key in (*self.shard.keys, "meta") and self.shard.value(self.row, str(key)) is not None

    def __iter__(self) -> Iterator[str]:
        return (key for key in (*self.shard.keys, "meta") if key in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _array(content: Any, shard: str) -> np.ndarray:
    """Return the array of a .npy's content, in memory of its own."""
    raw = memoryview(content)
    try:
        start, stop = (10, 10) if raw[6] == 1 else (12, 12)
        stop += int.from_bytes(raw[8:start], "little")
        dtype, shape, order = parse_header(bytes(raw[start:stop]))
        return np.frombuffer(raw, dtype, offset=stop).reshape(shape, order=order).copy()
    except (ValueError, IndexError) as error:
        raise DamagedShardError(shard, error) from error


def open_shard(path: str) -> Shard:
    """Return a shard, opened once in a process unless its file changes; see ``Shard``."""
    try:
        status = None if is_address(path) else os.stat(path)
    except OSError as error:
        raise HypermeterError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    return _open_shard(path, status and (status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=256)
def _open_shard(path: str, _: Any) -> Shard:
    return Shard(path)


def list_address(address: str) -> list[str]:
    """Return the addresses of all shards below an address, sorted.

    Raises:
        HypermeterError: an address that cannot be opened.
    """
    files, place = open_address(address)
    with naming_store_errors(address, "read"):
        found = files.find(place)
    below = (path.removeprefix(place).lstrip("/") for path in found if path.endswith(SUFFIX))
    return sorted(f"{address}/{path}" for path in below)


def _open(path: str) -> Any:
    """Open a file, or an address, for reading in binary."""
    try:
        if is_address(path):
            files, place = open_address(path)
            return files.open(place, "rb", cache_type="none")
        _parquet()
        import pyarrow as pa

        return pa.OSFile(path, "rb")
    except OSError as error:
        raise HypermeterError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error


def _parquet() -> Any:
    with needs("Shards of performances (.parquet)"):
        import pyarrow.parquet
    return pyarrow.parquet


def arrays_of(shard: Shard, row: int, keys: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Return the arrays of a performance, or those of some names that it has."""
    values = {key: shard.value(row, key) for key in (keys or shard.keys) if key in shard.keys}
    return {key: value for key, value in values.items() if value is not None}


def describe_shard(path: str | Path) -> str:
    """Return a line on a shard, after its checksum was found to be right.

    Raises:
        HypermeterError: as ``Shard``.
    """
    shard = Shard(path)
    shard.verify()
    counts = f"{len(shard):,} performances of {int(shard.steps.sum()):,} steps"
    return f"{path}: {counts}, with {', '.join(shard.keys)}; the checksum is right"


def to_npz(arrays: Mapping[str, np.ndarray], meta: str | None) -> bytes:
    """Return the .npz of a performance's arrays and metadata, as ``prepare`` writes it."""
    ordered = {key: arrays[key] for key in sorted(arrays, key=_rank)}
    return npz_bytes(ordered if meta is None else ordered | {"meta": np.array(meta)})

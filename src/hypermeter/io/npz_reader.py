"""Reading a .npz of unknown origin: sizes and shapes are checked before memory is taken for them.

A zip of a few kilobytes can announce, or unpack to, gigabytes; `numpy.load` takes what it announces.
"""

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from math import prod
from typing import BinaryIO, Literal, cast

import numpy as np

MAX_BYTES = 2**28
"""Size of the largest array of a performance, unpacked."""

MAX_MEMBERS = 1000

_MAX_HEADER = 4096
_MAX_AXES = 8
_FIELD = re.compile(
    r"""(['"])(descr|fortran_order|shape)\1\s*:\s*(?:(['"])([^'"]{0,20})\3|(True|False)|\(([0-9L,\s]{0,200})\))"""
)
_DTYPE = re.compile(r"[<>|=]?(?:[?bBiufcSU]\d{0,8}|[mM]8(?:\[\w{1,5}\])?)")

ERRORS = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    RuntimeError,  # an encrypted member
    NotImplementedError,
    OverflowError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What `zipfile` and NumPy raise for damaged files."""


class CheckedArchive(Mapping[str, np.ndarray]):
    """The arrays of a .npz by name. Each is read, and its checksum compared, when it is accessed.

    Args:
        file: the .npz, open for reading.
        max_bytes: size of the largest array, unpacked.

    Raises:
        One of `ERRORS`: no zip, or one of too many members.
    """

    def __init__(self, file: BinaryIO, max_bytes: int = MAX_BYTES) -> None:
        self._zip = zipfile.ZipFile(file)
        self._max_bytes = max_bytes
        if len(self._zip.filelist) > MAX_MEMBERS:
            raise ValueError(f"{len(self._zip.filelist):,} arrays in it, expected at most {MAX_MEMBERS:,}")
        self._members = {
            info.filename.removesuffix(".npy"): info for info in self._zip.filelist if info.filename.endswith(".npy")
        }

    def __contains__(self, key: object) -> bool:
        return key in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, key: str) -> np.ndarray:
        """Return an array.

        Raises:
            KeyError: no array of that name.
            One of `ERRORS`: a damaged array, one of Python objects, or one beyond the limits.
        """
        info = self._members[key]
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{key}: packed in a way that numpy.savez does not use")
        if info.file_size > self._max_bytes:
            raise ValueError(f"{key}: {info.file_size >> 20:,} MiB, expected at most {self._max_bytes >> 20:,}")
        with self._zip.open(info) as opened:
            stream = cast(zipfile.ZipExtFile, opened)
            start = stream.read(10)
            if start[:6] != b"\x93NUMPY" or start[6] not in (1, 2, 3):
                raise ValueError(f"{key}: not an array of NumPy")
            if start[6] > 1:
                start += stream.read(2)
            length = int.from_bytes(start[8:], "little")
            if length > _MAX_HEADER:
                raise ValueError(f"{key}: a header of {length:,} bytes, expected at most {_MAX_HEADER:,}")
            dtype, shape, order = parse_header(stream.read(length))
            size = prod(shape) * dtype.itemsize
            if size != info.file_size - len(start) - length:
                raise ValueError(f"{key}: the shape {shape} of {dtype} is not that of its content")
            if not size:
                stream.read(1)  # which compares the checksum
                return np.zeros(shape, dtype)
            content = np.empty(size, np.uint8)
            view, at = content.data, 0
            while at < size:
                count = stream.readinto(view[at:])
                if not count:
                    raise EOFError(f"{key}: it is cut off")
                at += count
            return content.view(dtype).reshape(shape, order=order)


@lru_cache(2**9)
def parse_header(header: bytes) -> tuple[np.dtype, tuple[int, ...], Literal["C", "F"]]:
    """Return type, shape and order of an array by the header of its .npy, which is not evaluated as Python.

    Raises:
        ValueError: not the header of an array of numbers or text.
    """
    found = {match[2]: match for match in _FIELD.finditer(header.decode("latin-1"))}
    if found.keys() != {"descr", "fortran_order", "shape"}:
        raise ValueError("the header is not that of an array of numbers or text")
    kind, order, shape = found["descr"][4], found["fortran_order"][5], found["shape"][6]
    if kind is not None and "O" in kind:
        raise ValueError("an array of Python objects (pickle)")
    if kind is None or not _DTYPE.fullmatch(kind) or order is None or shape is None:
        raise ValueError("the header is not that of an array of numbers or text")
    axes = tuple(int(size) for size in shape.replace("L", "").split(",") if size.strip())
    if len(axes) > _MAX_AXES or max(axes, default=0) >= 2**32:
        raise ValueError("the shape has too many axes, or one that is too long")
    return np.dtype(kind), axes, "F" if order == "True" else "C"

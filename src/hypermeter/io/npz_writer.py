"""Writing .npz files, several times as fast as NumPy does."""

import io
import struct
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

_LOCAL = struct.Struct("<4sHHHHHLLLHH")
_CENTRAL = struct.Struct("<4sBBBBHHHHLLLHHHHHLL")
_END = struct.Struct("<4sHHHHLLH")
_DATE = 1 << 5 | 1  # 1 January 1980, so that equal arrays give equal bytes


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays as the bytes of a .npz, uncompressed. Equal arrays give equal bytes.

    They are those of a zip that `zipfile` writes, for less than 2 GiB.

    Args:
        arrays: name -> array of numbers or text.
    """
    parts, central, start = [], [], 0
    for name, array in arrays.items():
        data = npy_bytes(array)
        file = f"{name}.npy".encode()
        sizes: tuple[Any, ...] = zlib.crc32(data), len(data), len(data), len(file), 0
        parts += [_LOCAL.pack(b"PK\3\4", 20, 0, 0, 0, _DATE, *sizes), file, data]
        fields = 20, 3, 20, 0, 0, 0, 0, _DATE, *sizes, 0, 0, 0, 0o600 << 16, start
        central += [_CENTRAL.pack(b"PK\1\2", *fields), file]
        start += _LOCAL.size + len(file) + len(data)
    size = sum(map(len, central))
    return b"".join([*parts, *central, _END.pack(b"PK\5\6", 0, 0, len(arrays), len(arrays), size, start, 0)])


def npy_bytes(array: np.ndarray) -> bytes:
    """Return an array of numbers or text as the bytes of a .npy."""
    return _npy_header(array.dtype.str, array.shape) + array.tobytes()


@lru_cache
def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    return header.getvalue()

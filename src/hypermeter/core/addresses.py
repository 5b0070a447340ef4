"""Addresses of object stores, such as s3://bucket/folder, beside paths on the disk.

An address is a text, and fsspec opens it: whatever package of the kind of store is installed serves it.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from hypermeter.core.errors import HypermeterError
from hypermeter.core.extras import MissingPackageError, needs

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
"""Kind of store -> the package with which fsspec opens it."""


def is_address(path: str | Path) -> bool:
    """Return whether a text is an address that fsspec opens, such as s3://bucket/folder, rather than a path."""
    return "://" in str(path)


def as_address(path: str | Path) -> str | None:
    """Return the address that a path stands for, also one of which `Path` has taken a slash; None if it is a path."""
    text = re.sub(r"^([a-z][a-z0-9+.-]+):/+", r"\1://", str(path))
    return text.rstrip("/") if is_address(text) else None


def open_address(address: str) -> tuple[Any, str]:
    """Return the fsspec filesystem of an address, and the path in it. What others write there is seen at once.

    Raises:
        HypermeterError: an address of an unknown kind, or one whose package is missing.
    """
    with needs(address):
        import fsspec
    kind = address.partition("://")[0]
    try:
        return fsspec.core.url_to_fs(address, use_listings_cache=False)
    except ImportError as error:
        package = PACKAGES.get(kind, "")
        how = 'pip install "hypermeter[cloud]"' if package == "s3fs" else f"pip install {package}"
        reason = f"needs {package}; {how}" if package else str(error)
        raise MissingPackageError(f"{address} {reason}", name=package) from error
    except ValueError as error:
        expected = "expected a path, or s3://bucket/folder, gs://bucket/folder or another address of fsspec"
        raise HypermeterError(f"{address}: {error}; {expected}") from error


def reason_of(error: BaseException) -> str:
    """Return what an error of a store says, in one line."""
    return " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())


@contextmanager
def naming_store_errors(address: str, done: str, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn an error of a store in the block, of whatever kind, into one line that names the address.

    Args:
        address: of the file or folder.
        done: what cannot be done: read or written.
        passing: errors that are left as they are, because the caller treats them.
    """
    try:
        yield
    except (HypermeterError, *passing):
        raise
    except Exception as error:  # of any store
        reason = f"{address}: cannot be {done} ({reason_of(error)}); check address, bucket, keys and rights"
        raise HypermeterError(reason) from error


class StoredFile:
    """A file or folder of an object store, with those methods of a `Path` that reading a source needs.

    Args:
        address: of the file or folder.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.files, self.place = open_address(address)

    def __str__(self) -> str:
        return self.address

    def __truediv__(self, name: str) -> "StoredFile":
        return StoredFile(f"{self.address}/{name}")

    @property
    def name(self) -> str:
        return self.place.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return Path(self.name).stem

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    def is_file(self) -> bool:
        with self._reading():
            return self.files.isfile(self.place)

    def is_dir(self) -> bool:
        with self._reading():
            return self.files.isdir(self.place)

    def open(self, mode: str = "rb") -> BinaryIO:
        with self._reading():
            return self.files.open(self.place, mode)

    def read_bytes(self) -> bytes:
        with self._reading():
            return self.files.cat_file(self.place)

    def names_below(self) -> list[str]:
        """Return the names of all files below this folder, relative to it."""
        with self._reading():
            return [found[len(self.place) :].lstrip("/") for found in self.files.find(self.place)]

    def _reading(self) -> AbstractContextManager[None]:
        return naming_store_errors(self.address, "read", (OSError,))


def as_path(path: str | Path) -> Path | StoredFile:
    """Return what reads a source: a `Path`, or a `StoredFile` of an address."""
    address = as_address(path)
    return Path(path) if address is None else StoredFile(address)

"""Addresses of object stores, such as s3://bucket/folder, beside paths on the disk.

An address is a text, and fsspec opens it: whatever package of the kind of store is installed serves it.
"""

from pathlib import Path
from typing import Any

from hypermeter.core.errors import HypermeterError
from hypermeter.core.extras import MissingPackageError, needs

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
"""Kind of store -> the package with which fsspec opens it."""


def is_address(text: str | Path) -> bool:
    """Return whether a text is an address that fsspec opens, such as s3://bucket/folder, rather than a path."""
    return "://" in str(text)


def open_address(address: str) -> tuple[Any, str]:
    """Return the fsspec filesystem of an address, and the path in it.

    Raises:
        HypermeterError: an address of an unknown kind, or one whose package is missing.
    """
    with needs(address):
        import fsspec
    kind = address.partition("://")[0]
    try:
        return fsspec.core.url_to_fs(address)
    except ImportError as error:
        package = PACKAGES.get(kind)
        how = f"pip install {package}" if package else str(error)
        if package == "s3fs":
            how = 'pip install "hypermeter[cloud]"'
        raise MissingPackageError(f"{address} needs {package or 'another package'}; {how}", name=package) from error
    except ValueError as error:
        known = "a path, s3://bucket/folder, gs://bucket/folder or another kind that fsspec knows"
        raise HypermeterError(f"{address}: cannot be opened ({error}); expected {known}") from error


def reason_of(error: BaseException) -> str:
    """Return what an error of a store says, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())

"""Files that come with the package, each checked against the SHA-256 that it was shipped with."""

import hashlib
import os
from functools import cache, lru_cache
from pathlib import Path

from hypermeter.core.errors import HypermeterError

PACKAGE = Path(__file__).parents[1]
SUMS = PACKAGE / "SHA256SUMS"
"""Digests in the format of `sha256sum`, which can check them too."""


def shipped_text(*parts: str) -> str:
    """Return the text of a file of the package.

    Args:
        parts: its path within the package.

    Raises:
        HypermeterError: a file that is missing, or not the one that was shipped.
    """
    path = PACKAGE.joinpath(*parts)
    check_shipped(path)
    return path.read_text("utf-8")


def check_shipped(path: Path) -> None:
    """Compare a file of the package with its digest; a file elsewhere is not looked at.

    Raises:
        HypermeterError: a file that is missing, or not the one that was shipped.
    """
    if not path.is_relative_to(PACKAGE):
        return
    name = path.relative_to(PACKAGE).as_posix()
    try:
        status = os.stat(path)
        is_same = _digest(path, status.st_mtime_ns, status.st_size) == shipped_sums().get(name)
    except OSError as error:
        raise HypermeterError(f"{path}: missing from the package ({error.strerror}); install it again") from error
    if not is_same:
        advice = "install it again; to change it, copy it elsewhere and name its path (in the sources: make sums)"
        raise HypermeterError(f"{path}: not the file that was shipped, by its SHA-256; {advice}")


@cache
def shipped_sums() -> dict[str, str]:
    """Return path within the package -> SHA-256 of all files that are checked."""
    lines = SUMS.read_text("utf-8").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


@lru_cache(maxsize=256)
def _digest(path: Path, changed_ns: int, size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""Checks of the paths to write, made before hours of work."""

import os
from pathlib import Path

from hypermeter.core.errors import HypermeterError


def check_folder(folder: str | Path) -> None:
    """Raise if a folder cannot be made or written.

    Raises:
        HypermeterError: a file stands in its place or above it, or the rights do not suffice.
    """
    folder = Path(folder)
    nearest = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if not nearest.is_dir():
        raise HypermeterError(f"{folder}: cannot be written ({nearest} is no folder); choose another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise HypermeterError(f"{folder}: cannot be written ({nearest} is read-only); choose another folder")

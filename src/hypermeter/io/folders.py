"""The files of a folder and all folders below it."""

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(folder: str | Path) -> list[str]:
    """Return the paths that `iterate_files` yields, sorted."""
    return sorted(iterate_files(folder))


def iterate_files(folder: str | Path) -> Iterator[str]:
    """Yield the paths of all files below a folder, relative to it, with forward slashes, in no order.

    Links to folders are followed. A folder that several paths lead to, be it in a circle, is read once, by a path
    without links if there is one. Folders that cannot be read are passed over.
    """
    seen: set[str] = set()
    folders, links = [""], []
    while folders or links:
        below = folders.pop() if folders else links.pop(0)
        path = os.path.join(folder, below)
        real_path = os.path.realpath(path)
        if real_path in seen:
            continue
        seen.add(real_path)
        try:
            entries = os.scandir(path)
        except OSError:
            continue
        inner: list[tuple[str, bool]] = []
        with entries:
            for entry in entries:
                if entry.is_dir():
                    inner.append((entry.name, entry.is_symlink()))
                else:
                    yield below + entry.name
        for name, is_link in sorted(inner):
            (links if is_link else folders).append(f"{below}{name}/")

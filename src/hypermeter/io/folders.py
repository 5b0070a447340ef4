"""The files of a folder and all folders below it."""

import os
from pathlib import Path


def files_below(folder: str | Path) -> list[str]:
    """Return the paths of all files below a folder, relative to it, with forward slashes, sorted.

    Links to folders are followed. A folder that several paths lead to, be it in a circle, is read once, by a path
    without links if there is one. Folders that cannot be read are passed over.
    """
    files: list[str] = []
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
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append(f"{below}{entry.name}/")
            else:
                files.append(below + entry.name)
    return sorted(files)

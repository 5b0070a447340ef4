"""The files of a folder and all folders below it."""

import os
from pathlib import Path


def files_below(folder: Path) -> list[Path]:
    """Return the paths of all files below a folder, sorted; folders that cannot be read are passed over.

    Links to folders are followed. A folder that several paths lead to, be it in a circle, is read once, by a path
    without links if there is one.
    """
    files: list[Path] = []
    seen: set[str] = set()
    folders, links = [os.fspath(folder)], []
    while folders or links:
        path = folders.pop() if folders else links.pop(0)
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
                (links if entry.is_symlink() else folders).append(entry.path)
            else:
                files.append(Path(entry.path))
    return sorted(files)

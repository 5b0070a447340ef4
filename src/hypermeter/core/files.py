"""Writing files: whole, or not at all."""

import glob
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hypermeter.core.errors import HypermeterError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, which is renamed to `path` when the block ends without an error.

    A symbolic link is kept, and its target replaced. Write within the block by means that raise `OSError` when the disk
    is full; libraries that open files themselves raise other errors, so let them write to a buffer.

    Raises:
        HypermeterError: `path` is a folder, device or pipe; its folder cannot be made or written; the disk is full.
    """
    path = Path(path)
    if os.path.islink(path):  # os.path asks the system sooner than Path, which counts where thousands are written.
        path = path.resolve()
    if os.path.exists(path) and not os.path.isfile(path):
        raise HypermeterError(f"{path}: a folder, device or pipe, expected a file or no such path; choose another path")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{threading.get_ident()}{path.suffix}")
    try:
        if not os.path.isdir(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        with naming_write_errors(path):
            raise


@contextmanager
def naming_write_errors(path: str | Path) -> Iterator[None]:
    """Turn an error of the system in the block into one line that names `path`."""
    try:
        yield
    except OSError as error:
        reason = f"{path}: cannot be written ({error.strerror}); free space or choose another folder"
        raise HypermeterError(reason) from error


def check_out(out: str | Path, suffixes: Sequence[str], read: Iterable[str | Path | None] = ()) -> None:
    """Raise if a file to write has a wrong suffix, or is one of the files that are read.

    Args:
        out: path of the file to write.
        suffixes: those that it may have, with the dot, in lower case.
        read: paths of the files that are read; `None`, and a path that does not exist, are ignored.

    Raises:
        HypermeterError: another suffix, or a file that is read.
    """
    out = Path(out)
    if out.suffix.lower() not in suffixes:
        raise HypermeterError(f"{out}: expected a name that ends in {' or '.join(suffixes)}")
    for path in read:
        if path is not None and out.exists() and Path(path).exists() and out.samefile(path):
            raise HypermeterError(f"{out}: one of the files that are read; choose another path for the new one")


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


def remove_leftovers(path: str | Path) -> None:
    """Remove the temporary files of killed processes that wrote `path`. No process may be writing it."""
    path = Path(path)
    for leftover in path.parent.glob(f".{glob.escape(path.stem)}.*-*{path.suffix}"):
        leftover.unlink(missing_ok=True)

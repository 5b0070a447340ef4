"""Writing files: whole, or not at all."""

import glob
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hypermeter.core.errors import HypermeterError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, which is renamed to `path` when the block ends without an error.

    A symbolic link is kept, and its target replaced. A file that is replaced keeps its mode. What was written is on the
    disk before it has its name, so that a power cut leaves the earlier file or the new one. Write within the block by
    means that raise `OSError` when the disk is full; libraries that open files themselves raise other errors, so let
    them write to a buffer.

    Raises:
        HypermeterError: `path` is a folder, device or pipe; its folder cannot be made or written; the disk is full.
    """
    path = Path(path)
    if os.path.islink(path):  # os.path asks the system sooner than Path, which counts where thousands are written.
        path = path.resolve()
    if os.path.exists(path) and not os.path.isfile(path):
        raise HypermeterError(f"{path}: a folder, device or pipe, expected a file or no such path; choose another path")
    temporary = path.with_name(f"{_prefix(path)}{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    try:
        if not os.path.isdir(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        os.close(create(temporary))
        yield temporary
        settle(temporary)
        replace(temporary, path)
        settle_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        with naming_write_errors(path):
            raise


def create(path: str | Path) -> int:
    """Return the descriptor of a new file, open for writing, which no link leads to.

    Raises:
        OSError: something has the name already, or the file cannot be made.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o666)


def replace(temporary: str | Path, path: str | Path) -> None:
    """Rename a file, and give it the mode of the one that it replaces."""
    with suppress(FileNotFoundError):
        mode = stat.S_IMODE(os.stat(path).st_mode)
        if mode != stat.S_IMODE(os.stat(temporary).st_mode):
            os.chmod(temporary, mode)
    os.replace(temporary, path)


def settle(path: str | Path) -> None:
    """Wait until the content of a file is on the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def settle_folder(folder: str | Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        with suppress(OSError):  # Some file systems cannot.
            number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(number)
            finally:
                os.close(number)


def _prefix(path: Path) -> str:
    """Return what the names of temporary files of a path begin with; names of files have at most 255 bytes."""
    return f".{os.fsdecode(os.fsencode(path.stem)[:150])}."


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
    for leftover in path.parent.glob(f"{glob.escape(_prefix(path))}*-*{glob.escape(path.suffix)}"):
        leftover.unlink(missing_ok=True)

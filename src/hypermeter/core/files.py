"""Files are written whole or not at all."""

import glob
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hypermeter.core.errors import HypermeterError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its name once the block has ended well.

    A link stays, and the file it leads to is replaced. Within the block, write with what raises ``OSError`` when the
    disk is full: libraries that open files themselves raise errors of their own, so let them fill a buffer.

    Raises:
        HypermeterError: a folder, device or pipe stands there; the folder cannot be made or written; the disk is full.
    """
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()
    if path.exists() and not path.is_file():
        raise HypermeterError(
            f"{path}: a folder, device or pipe, expected a file or nothing there; choose another path"
        )
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{threading.get_ident()}{path.suffix}")
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = f"{path}: cannot be written ({error.strerror}); free space or choose another folder"
            raise HypermeterError(reason) from error
        raise


def check_out(out: str | Path, suffixes: Sequence[str], read: Iterable[str | Path | None] = ()) -> None:
    """That a file to write is named as what it holds, and is none of those that are read.

    Args:
        out: of the file to write.
        suffixes: that it may have, with the dot.
        read: the files that it may not replace; what is not there, or None, is none.

    Raises:
        HypermeterError: where it does not hold.
    """
    out = Path(out)
    if out.suffix.lower() not in suffixes:
        raise HypermeterError(f"{out}: expected a name that ends in {' or '.join(suffixes)}")
    for each in read:
        try:
            is_read = each is not None and out.samefile(each)
        except OSError:  # one of them is not there
            is_read = False
        if is_read:
            raise HypermeterError(f"{out}: one of the files that are read; choose another path for the new one")


def remove_leftovers(path: str | Path) -> None:
    """Remove what processes killed within ``atomic_write`` to ``path`` left; none may be writing it now."""
    path = Path(path)
    for each in path.parent.glob(f".{glob.escape(path.stem)}.*-*{path.suffix}"):
        each.unlink(missing_ok=True)

"""The folder that `prepare` writes, and all that it does there: files are read, written whole, removed and listed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hypermeter.core.addresses import is_address
from hypermeter.core.files import create, naming_write_errors, replace, settle


class Folder:
    """A folder on the disk. Names are paths below it, with forward slashes."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._made: set[str] = set()

    def path(self, name: str) -> str:
        return f"{self.address}/{name}"

    def read(self, name: str) -> bytes:
        """Return what a file holds.

        Raises:
            OSError: it is not there, or cannot be read.
        """
        with open(self.path(name), "rb", 0) as file:
            return file.read()

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        """Open a file to read parts of it.

        Raises:
            OSError: it is not there, or cannot be read.
        """
        with open(self.path(name), "rb") as file:
            yield file

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Open a file to write, which is there under its name when the block ends without an error.

        Raises:
            HypermeterError: it cannot be written.
        """
        with self._replacing(name) as temporary:
            with open(_create(temporary), "wb") as file:
                yield file
            settle(temporary)

    def write(self, name: str, content: bytes) -> None:
        """Write a file: whole, or not at all.

        Raises:
            HypermeterError: it cannot be written.
        """
        # Of the system itself, since thousands are written: a Python file takes as long as writing does.
        with self._replacing(name) as temporary:
            number = _create(temporary)
            try:
                rest = memoryview(content)
                while rest:
                    rest = rest[os.write(number, rest) :]
            finally:
                os.close(number)

    @contextmanager
    def _replacing(self, name: str) -> Iterator[str]:
        """Yield a temporary path beside a file, which takes its place when the block ends without an error.

        `atomic_write` does more for paths of users (links, devices, the disk), at a price that counts for thousands: a
        run that continues, or is repeated, compares checksums of what is there.
        """
        path = self.path(name)
        head, _, tail = path.rpartition("/")
        temporary = f"{head}/.{tail}.{os.getpid()}"
        with naming_write_errors(path):
            self._make(head)
            try:
                yield temporary
                replace(temporary, path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                raise

    def make(self, below: str) -> None:
        """Make a folder below this one, if it is not there.

        Raises:
            HypermeterError: it cannot be made.
        """
        with naming_write_errors(self.path(below)):
            self._make(self.path(below))

    def exists(self, name: str) -> bool:
        return os.path.exists(self.path(name))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(self.path(name))

    def names(self, below: str) -> Iterator[str]:
        """Yield the names of the files in a folder below this one, without its own, in no order."""
        with suppress(FileNotFoundError), os.scandir(self.path(below)) as entries:
            for entry in entries:
                if not entry.is_dir():
                    yield entry.name

    def remove_folder(self, below: str) -> None:
        """Remove a folder below this one, with the files in it."""
        for name in list(self.names(below)):
            self.remove(f"{below}/{name}")
        with suppress(OSError):
            os.rmdir(self.path(below))

    def keep(self, local: Path, name: str) -> Path:
        """Put a file of a folder that `local` returned under a name, and return where it can be read on the disk.

        Raises:
            HypermeterError: it cannot be written.
        """
        path = self.path(name)
        with naming_write_errors(path):
            os.replace(local, path)
        return Path(path)

    def fetch(self, name: str) -> Path:
        """Return where a file can be read on the disk.

        Raises:
            OSError: a file of an object store is not there, or cannot be read.
        """
        return Path(self.path(name))

    def remove_if_empty(self) -> None:
        """Remove the folder, and its folder of an unfinished run, where nothing is in them."""
        for path in (f"{self.address}/.prepare", self.address):
            with suppress(OSError):
                os.rmdir(path)

    def local(self, below: str) -> Path:
        """Return a folder on the disk for sorting, made if it is not there."""
        path = Path(self.path(below))
        with naming_write_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        return path

    def _make(self, path: str) -> None:
        if path not in self._made:
            os.makedirs(path, exist_ok=True)
            self._made.add(path)


def open_folder(address: str) -> Folder:
    """Return the folder at an address, or at a path on the disk.

    Raises:
        HypermeterError: an address of a kind that is not known, or whose package is missing.
    """
    if is_address(address):
        from hypermeter.learn.prepare.stored_folder import StoredFolder

        return StoredFolder(address)
    return Folder(address)


def _create(temporary: str) -> int:
    """Return the descriptor of a new file; what a killed process of the same number left goes."""
    try:
        return create(temporary)
    except FileExistsError:
        os.unlink(temporary)
        return create(temporary)

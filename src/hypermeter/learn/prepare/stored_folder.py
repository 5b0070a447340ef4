"""The folder that `prepare` writes where it is in an object store; see `Folder`."""

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hypermeter.core.addresses import naming_store_errors, open_address
from hypermeter.learn.prepare.folder import Folder


class StoredFolder(Folder):
    """A folder in an object store. A file there is written by one put, so it is whole, and needs no temporary name.

    What is sorted, and what is read line by line, is kept in a temporary folder of this machine until Python ends.
    """

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.files, self.place = open_address(address)
        self._scratch: Path | None = None

    def read(self, name: str) -> bytes:
        with self._reading(name):
            return self.files.cat_file(f"{self.place}/{name}")

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        # Of a file that is read from start to end, by way of parts of 5 MiB.
        with self._reading(name):
            opened = self.files.open(f"{self.place}/{name}", "rb", cache_type="readahead")
        with opened as file:
            yield file

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        with tempfile.TemporaryFile() as file:
            yield file
            file.seek(0)
            with self._writing(name), self.files.open(f"{self.place}/{name}", "wb") as stored:
                shutil.copyfileobj(file, stored, 2**20)

    def write(self, name: str, content: bytes) -> None:
        with self._writing(name):
            self.files.pipe_file(f"{self.place}/{name}", content)

    def make(self, below: str) -> None:
        """Do nothing: a store has no folders without files."""

    def exists(self, name: str) -> bool:
        with self._reading(name):
            return self.files.isfile(f"{self.place}/{name}")

    def remove(self, name: str) -> None:
        with self._writing(name), suppress(FileNotFoundError):
            self.files.rm_file(f"{self.place}/{name}")

    def names(self, below: str) -> Iterator[str]:
        start = f"{self.place}/{below}/"
        with self._reading(below), suppress(FileNotFoundError):
            for entry in self.files.ls(start, detail=True):
                if entry["type"] == "file" and entry["name"] != start:
                    yield entry["name"].rpartition("/")[2]

    def remove_folder(self, below: str) -> None:
        for name in list(self.names(below)):
            self.remove(f"{below}/{name}")

    def keep(self, local: Path, name: str) -> Path:
        with self._writing(name):
            self.files.put_file(str(local), f"{self.place}/{name}")
        return local

    def fetch(self, name: str) -> Path:
        path = self.scratch / name.replace("/", "-")
        with self._reading(name):
            self.files.get_file(f"{self.place}/{name}", str(path))
        return path

    def remove_if_empty(self) -> None:
        """Do nothing: a store has no empty folders."""

    def local(self, below: str) -> Path:
        path = self.scratch / below.replace("/", "-")
        path.mkdir(exist_ok=True)
        return path

    @property
    def scratch(self) -> Path:
        """A temporary folder of this machine."""
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="hypermeter-"))
            atexit.register(shutil.rmtree, self._scratch, ignore_errors=True)
        return self._scratch

    def _writing(self, name: str) -> AbstractContextManager[None]:
        return naming_store_errors(self.path(name), "written")

    def _reading(self, name: str) -> AbstractContextManager[None]:
        return naming_store_errors(self.path(name), "read", (OSError,))

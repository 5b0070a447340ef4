"""Members of a zip, without the memory that `zipfile.ZipFile` takes for the index of a large one.

`zipfile` reads the whole index of an archive, which takes half a kilobyte a member. Here a part of the index is read at
a time, and `zipfile` reads an archive that seems to hold the members of this part alone.
"""

import io
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from hypermeter.core.addresses import StoredFile

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_MEMBER = struct.Struct("<4s6H3L5H2L")
_MAX_COMMENT = 2**16
_MEMBERS_PER_PART = 2**10


def iterate_members(path: Path | StoredFile) -> Iterator[tuple[str, bytes]]:
    """Yield the path of each file in a zip, and its entry in the index.

    Raises:
        zipfile.BadZipFile: no zip, or a damaged index.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        start, size, _ = _find_index(file)
        file.seek(start)
        left = size
        while left > 0:
            entries = []
            while left > 0 and len(entries) < _MEMBERS_PER_PART:
                entries.append(_read_entry(file))
                left -= len(entries[-1])
            position = file.tell()
            with zipfile.ZipFile(_View(file, entries)) as archive:
                members = archive.infolist()
            for member, entry in zip(members, entries, strict=True):
                if not member.is_dir():
                    yield member.filename, entry
            file.seek(position)


def open_members(file: BinaryIO, entries: Sequence[bytes]) -> zipfile.ZipFile:
    """Open an archive of those members alone that have the entries.

    Args:
        file: the zip, open.
        entries: from `iterate_members`.
    """
    return zipfile.ZipFile(_View(file, entries))


def _read_entry(file: BinaryIO) -> bytes:
    head = file.read(_MEMBER.size)
    if len(head) < _MEMBER.size or not head.startswith(b"PK\1\2"):
        raise zipfile.BadZipFile("its index is damaged")
    lengths = _MEMBER.unpack(head)[10:13]
    rest = file.read(sum(lengths))
    if len(rest) < sum(lengths):
        raise zipfile.BadZipFile("its index is cut off")
    return head + rest


def _find_index(file: BinaryIO) -> tuple[int, int, int]:
    """Return where the index of a zip starts, its size in bytes, and the start that the archive itself tells."""
    length = file.seek(0, io.SEEK_END)
    tail_start = max(length - _END.size - _MAX_COMMENT, 0)
    file.seek(tail_start)
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END.size:
        raise zipfile.BadZipFile("no index of a zip")
    *_, size, told_start, _ = _END.unpack_from(tail, at)
    end = tail_start + at
    locator = at - _LOCATOR_64.size
    if locator >= 0 and tail[locator:at].startswith(b"PK\6\7"):
        file.seek(end - _LOCATOR_64.size - _END_64.size)
        fields = _END_64.unpack(file.read(_END_64.size))
        if fields[0] == b"PK\6\6":
            *_, size, told_start = fields
            end -= _LOCATOR_64.size + _END_64.size
    if end - size < 0:
        raise zipfile.BadZipFile("its index is cut off")
    return end - size, size, told_start


class _View(io.RawIOBase):
    """A zip, with an index of some of its members in the place of its own."""

    def __init__(self, file: BinaryIO, entries: Sequence[bytes]) -> None:
        self.file = file
        self.start, _, told_start = _find_index(file)
        index = b"".join(entries)
        count = len(entries)
        large = _END_64.pack(b"PK\6\6", _END_64.size - 12, 45, 45, 0, 0, count, count, len(index), told_start)
        large += _LOCATOR_64.pack(b"PK\6\7", 0, self.start + len(index), 1)
        end = _END.pack(b"PK\5\6", 0, 0, 2**16 - 1, 2**16 - 1, 2**32 - 1, 2**32 - 1, 0)
        self.tail = index + large + end
        self.position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.start + len(self.tail)}[whence]
        self.position = max(origin + offset, 0)
        return self.position

    def read(self, size: int = -1) -> bytes:
        end = self.start + len(self.tail)
        stop = end if size is None or size < 0 else min(self.position + size, end)
        parts = []
        if self.position < min(stop, self.start):
            self.file.seek(self.position)
            parts.append(self.file.read(min(stop, self.start) - self.position))
        parts.append(self.tail[max(self.position - self.start, 0) : max(stop - self.start, 0)])
        content = b"".join(parts)
        self.position += len(content)
        return content

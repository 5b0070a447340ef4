"""Where a task writes performances: each to a .npz of its own, or those of a split to shards."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, takewhile
from typing import Protocol

from hypermeter.io.npz_writer import read_npz_bytes
from hypermeter.io.shards import SUFFIX, ShardWriter
from hypermeter.learn.prepare.folder import Folder
from hypermeter.learn.prepare.tables import SPLITS

MAX_BYTES = 2**26
"""Size of the .npz in a shard, which ends with the performance that reaches it."""


class Sink(Protocol):
    """Writes performances."""

    def __call__(self, name: str, content: bytes) -> str:
        """Write a performance, and return the name of the file that has it.

        Args:
            name: its split, a slash, and the name of its .npz.
            content: its .npz, as `npz_bytes` makes it, with `meta`.
        """
        ...


@contextmanager
def open_sink(out: Folder, number: int, packed: bool) -> Iterator[Sink]:
    """Yield what writes the performances of a task. Its last shards are written when the block ends without an error.

    Args:
        out: the folder that is written.
        number: of the task, by which its shards are named.
        packed: write shards of each split instead of .npz.
    """
    if not packed:

        def write(name: str, content: bytes) -> str:
            out.write(name, content)
            return name

        yield write
        return
    shards = {split: _Shards(out, split, number) for split in SPLITS}

    def add(name: str, content: bytes) -> str:
        split, _, rest = name.partition("/")
        return shards[split].add(rest, content)

    yield add
    for of_split in shards.values():
        of_split.close()


class _Shards:
    """The shards of a task for one split. One is written when it holds MAX_BYTES."""

    def __init__(self, out: Folder, split: str, number: int) -> None:
        self.out, self.split, self.number = out, split, number
        self.count = self.num_bytes = 0
        self.writer: ShardWriter | None = None

    def add(self, name: str, content: bytes) -> str:
        shard = shard_name(self.split, self.number, self.count)
        self.writer = self.writer or ShardWriter(self.out.path(shard))
        arrays = read_npz_bytes(content)
        meta = str(arrays.pop("meta"))
        self.writer.add(name, arrays, meta)
        self.num_bytes += len(content)
        if self.num_bytes >= MAX_BYTES:
            self._write()
        return shard

    def close(self) -> None:
        """Write the last shard; remove further ones, which the task may have written when it was done before."""
        self._write()
        for shard in shards_of_task(self.out, self.split, self.number, self.count):
            self.out.remove(shard)

    def _write(self) -> None:
        if self.writer is not None:
            with self.writer:
                pass  # It is written when the block ends.
            self.writer, self.num_bytes = None, 0
            self.count += 1


def shard_name(split: str, number: int, part: int = 0) -> str:
    """Return the name of a shard that a task writes for a split."""
    return f"{split}/{number:05}{f'_{part}' if part else ''}{SUFFIX}"


def shards_of_task(out: Folder, split: str, number: int, first: int = 0) -> list[str]:
    """Return the names of the shards of a task and split that are there, from a part on."""
    return list(takewhile(out.exists, (shard_name(split, number, part) for part in count(first))))

"""Where a task writes performances: each to a .npz of its own, or those of a split to one shard."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

from hypermeter.io.npz_writer import read_npz_bytes
from hypermeter.io.shards import SUFFIX, ShardWriter
from hypermeter.learn.prepare.folder import Folder
from hypermeter.learn.prepare.tables import SPLITS


class Sink(Protocol):
    """Writes performances."""

    def __call__(self, name: str, content: bytes) -> None:
        """Write a performance.

        Args:
            name: its split, a slash, and the name of its .npz.
            content: its .npz, as `npz_bytes` makes it, with `meta`.
        """
        ...


@contextmanager
def open_sink(out: Folder, number: int, packed: bool) -> Iterator[Sink]:
    """Yield what writes the performances of a task. Its shards are written when the block ends without an error.

    Args:
        out: the folder that is written.
        number: of the task, by which its shards are named.
        packed: write a shard of each split instead of .npz.
    """
    if not packed:
        yield out.write
        return
    writers: dict[str, ShardWriter] = {}
    with ExitStack() as stack:

        def add(name: str, content: bytes) -> None:
            split, _, rest = name.partition("/")
            if split not in writers:
                writers[split] = stack.enter_context(ShardWriter(out.path(shard_name(split, number))))
            arrays = read_npz_bytes(content)
            meta = str(arrays.pop("meta"))
            writers[split].add(rest, arrays, meta)

        yield add
    for split in SPLITS:  # A task that is done again may have nothing left for one.
        if split not in writers:
            out.remove(shard_name(split, number))


def shard_name(split: str, number: int) -> str:
    """Return the name of the shard that a task writes for a split."""
    return f"{split}/{number:05}{SUFFIX}"

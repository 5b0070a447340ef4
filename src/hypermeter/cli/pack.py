"""The ``pack`` and ``unpack`` commands. Their help needs no NumPy: imports stand inside."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    from hypermeter.io.packing import Packed


def pack(
    source: Annotated[Path, tyro.conf.arg(metavar="NPZ")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    quiet: bool = False,
) -> dict[str, Any]:
    """Pack a folder of .npz into shards, for corpora of many files.

    A shard is a Parquet file of up to 1,024 performances, with checksums. All commands read a folder of shards as they
    read its .npz, and give the same results. The same command continues an interrupted run. Needs hypermeter[shards].

    Args:
        source: folder of .npz, such as prepare writes.
        out: folder to write: the shards of train, validation and test in folders of these names, others in itself.
        quiet: print nothing.

    Returns:
        The numbers of performances, shards and bytes, and why files were left out.

    Raises:
        HypermeterError: no .npz that can be read, or a folder with shards of other files. A bad file among others is
            left out.
    """
    from hypermeter.io.packing import count_npz, pack_folder

    return _run(pack_folder(source, out), count_npz(source), "packing", quiet)


def unpack(
    source: Annotated[Path, tyro.conf.arg(metavar="SHARDS")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    quiet: bool = False,
) -> dict[str, Any]:
    """Write the .npz of shards, byte for byte those that were packed.

    The same command continues an interrupted run. A file that exists is never overwritten.

    Args:
        source: folder of shards, or one shard.
        out: folder to write, with the folders of the shards.
        quiet: print nothing.

    Returns:
        As pack.

    Raises:
        HypermeterError: no whole shard, or a file of other content in the place of a .npz. A damaged shard among others
            is left out.
    """
    from hypermeter.io.packing import count_packed, unpack_folder

    return _run(unpack_folder(source, out), count_packed(source), "unpacking", quiet)


def _run(work: "Iterator[Packed]", total: int, description: str, quiet: bool) -> dict[str, Any]:
    """Do the work with a bar of its progress, and print a summary."""
    from rich.console import Console
    from rich.progress import Progress

    started, done = time.perf_counter(), None
    with Progress(console=Console(stderr=True, quiet=quiet), transient=True) as progress:
        for done in progress.track(work, total=total, description=description):  # noqa: B007
            pass
    assert done is not None
    if not quiet:
        loose, packed = f"{done.npz_bytes / 1e6:,.1f} MB of .npz", f"{done.shard_bytes / 1e6:,.1f} MB"
        again = f", {done.kept:,} of them by an earlier run" if done.kept else ""
        duration_s = time.perf_counter() - started
        print(
            f"{done.performances:,} performances, {loose}; {done.shards:,} shards, {packed}{again}; {duration_s:.1f} s"
        )
        for reject in done.rejects[:8]:
            print(f"left out: {reject}")
        if len(done.rejects) > 8:
            print(f"left out: {len(done.rejects)} in all")
    return vars(done)

"""A folder of .npz to shards, and back."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write, remove_leftovers
from hypermeter.io.npz import open_npz, read_meta, read_sequence
from hypermeter.io.shards import MAX_ROWS, SUFFIX, DamagedShardError, Shard, ShardWriter, arrays_of, to_npz

SPLITS = ("train", "validation", "test")
"""Folders of a prepared corpus, each of which has shards of its own."""
MAX_BYTES = 64 << 20
"""Of the arrays in a shard; a shard ends with the performance that reaches it."""
MANIFEST = "manifest.json"


@dataclass
class Packed:
    """What was done: numbers of performances and shards, bytes read and written, and why files were left out."""

    performances: int = 0
    kept: int = 0
    """Performances that an earlier run has written."""
    shards: int = 0
    npz_bytes: int = 0
    shard_bytes: int = 0
    rejects: list[str] = field(default_factory=list)


def count_npz(source: Path) -> int:
    """Return the number of .npz below a folder."""
    return sum(1 for _ in source.rglob("*.npz"))


def pack_folder(source: Path, out: Path) -> Iterator[Packed]:
    """Write shards of all .npz below a folder; see ``hypermeter pack``. Yield what is done so far, after each file.

    Raises:
        HypermeterError: no .npz that can be read; ``out`` in ``source``, or with shards of another corpus.
    """
    if not source.is_dir():
        raise HypermeterError(f"{source}: no such folder; expected a folder of .npz")
    if source.resolve() in (out.resolve(), *out.resolve().parents):
        raise HypermeterError(f"{out}: is read as data, since it is in {source}; choose a folder outside it")
    done = Packed()
    groups: dict[str, list[Path]] = {}
    for path in sorted(source.rglob("*.npz")):
        first = path.relative_to(source).parts[0]
        groups.setdefault(first if first in SPLITS else "", []).append(path)
    if not groups:
        raise HypermeterError(f"{source}: no .npz in it or below; make some with the command prepare")
    for group, files in groups.items():
        yield from _pack_group(source / group, out / group, files, done)
    if not done.performances:
        raise HypermeterError(
            f"{source}: none of {len(done.rejects)} files can be packed; the first: {done.rejects[0]}"
        )
    _copy_manifest(source, out)


def _pack_group(source: Path, out: Path, files: list[Path], done: Packed) -> Iterator[Packed]:
    """Write the shards of one folder, but for those that an earlier run has written."""
    left, number = files[::-1], 0  # the last of which is next
    while left:
        path = out / f"{number:05}{SUFFIX}"
        remove_leftovers(path)
        if path.exists():
            yield from _keep(source, path, left, done)
        else:
            with ShardWriter(path) as writer:
                while left and len(writer) < MAX_ROWS and writer.num_bytes < MAX_BYTES:
                    _add(writer, source, left.pop(), done)
                    yield done
            if not len(writer):  # All that was left is damaged.
                break
        number += 1
        done.shards += 1
        done.shard_bytes += path.stat().st_size
    written = {f"{shard:05}{SUFFIX}" for shard in range(number)}
    for other in sorted(out.glob(f"*{SUFFIX}")):
        if other.name not in written:
            raise HypermeterError(f"{other}: not of this corpus; remove it, or choose another folder")


def _add(writer: ShardWriter, source: Path, path: Path, done: Packed) -> None:
    """Add a .npz to a shard, or to the rejects."""
    try:
        read_sequence(path)
        read_meta(path)
        with open_npz(path) as file:
            arrays = {key: file[key] for key in file}
        meta = str(arrays.pop("meta")) if "meta" in arrays else None
        content = path.read_bytes()
        is_plain = to_npz(arrays, meta) == content
        writer.add(path.relative_to(source).as_posix(), arrays, meta, None if is_plain else content)
    except HypermeterError as error:
        done.rejects.append(str(error))
    else:
        done.performances += 1
        done.npz_bytes += len(content)


def _keep(source: Path, path: Path, left: list[Path], done: Packed) -> Iterator[Packed]:
    """Take the files of a shard of an earlier run from those that are left.

    Raises:
        HypermeterError: it is damaged, or of other files, or a file has changed since.
    """
    shard, since = Shard(path), path.stat().st_mtime
    for name in shard.names:
        while left and (file := left.pop()) != source / name:
            try:
                read_sequence(file)
                read_meta(file)
            except HypermeterError as error:
                done.rejects.append(str(error))
            else:
                raise HypermeterError(f"{path}: of other files than {source} ({file.name}); choose another folder")
            yield done
        if not (source / name).is_file() or (source / name).stat().st_mtime > since:
            raise HypermeterError(f"{path}: {name} has changed since, or is gone; choose another folder, or remove it")
        done.performances += 1
        done.kept += 1
        done.npz_bytes += (source / name).stat().st_size
        yield done


def unpack_folder(source: Path, out: Path) -> Iterator[Packed]:
    """Write the .npz of all shards below a folder; see ``hypermeter unpack``. Yield what is done, after each file.

    Raises:
        HypermeterError: no whole shard, or another file where a .npz is to be written.
    """
    if not source.exists():
        raise HypermeterError(f"{source}: no such file or folder; expected shards that pack or prepare wrote")
    paths = sorted(source.rglob(f"*{SUFFIX}")) if source.is_dir() else [source]
    done = Packed()
    for path in paths:
        try:
            shard = Shard(path)
            shard.verify()
        except DamagedShardError as error:
            done.rejects.append(str(error))
            continue
        done.shards += 1
        done.shard_bytes += path.stat().st_size
        below = path.parent.relative_to(source) if source.is_dir() else Path()
        for row, name in enumerate(shard.names):
            content = shard.value(row, "npz") if "npz" in shard.columns else None
            content = content or to_npz(arrays_of(shard, row), shard.value(row, "meta"))
            target = out / below / name
            done.performances += 1
            done.npz_bytes += len(content)
            if target.exists():
                if target.read_bytes() != content:
                    raise HypermeterError(f"{target}: exists with other content; choose another folder, or remove it")
                done.kept += 1
            else:
                remove_leftovers(target)
                with atomic_write(target) as temporary:
                    temporary.write_bytes(content)
            yield done
    if not done.shards:
        reason = f"; the first: {done.rejects[0]}" if done.rejects else ""
        raise HypermeterError(f"{source}: no whole shard in it or below{reason}")
    if source.is_dir():
        _copy_manifest(source, out)


def count_packed(source: Path) -> int:
    """Return the number of performances in the whole shards of a folder, or of a file."""
    total = 0
    for path in source.rglob(f"*{SUFFIX}") if source.is_dir() else [source]:
        try:
            total += len(Shard(path))
        except HypermeterError:  # It is told when it is read.
            continue
    return total


def _copy_manifest(source: Path, out: Path) -> None:
    """Copy the manifest of ``prepare``, if there is one, and none at the other place."""
    if (source / MANIFEST).is_file() and not (out / MANIFEST).exists():
        with atomic_write(out / MANIFEST) as temporary:
            shutil.copyfile(source / MANIFEST, temporary)

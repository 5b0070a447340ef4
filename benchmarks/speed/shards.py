"""Formats for many performances in one file: size, writing, reading in order and at random, memory, import time.

    python benchmarks/speed/shards.py NPZ [--copies 4] [--formats npz parquet64 ...]

NPZ is a folder that ``prepare`` wrote; each copy of a performance starts a bar later. Each format is written and read
by a process of its own, on one thread. webdataset, litdata and zstd are no dependencies of this project; a format whose
package is missing is left out. Times are processor seconds (the smallest of three), read from the system's cache.
"""

import argparse
import gc
import importlib.util
import io
import json
import multiprocessing
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

PER_SHARD = 1024
RANDOM_READS = 1000
PACKAGES = {"npz": "numpy", "parquet": "pyarrow", "arrow": "pyarrow", "tar": "webdataset", "litdata": "litdata"}


def performances(folder: Path, copies: int) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    for copy in range(copies):
        for path in sorted(folder.rglob("*.npz")):
            with np.load(path) as file:
                arrays = {name: file[name] for name in file}
            for name in ("sequence", "velocity", "offset"):
                arrays[name] = np.roll(arrays[name], 16 * copy, 0)
            yield f"{path.stem}-{copy}", arrays


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def tables(folder: Path, copies: int, rows: int) -> Iterator[Any]:
    """Yield Arrow tables of so many rows: a column of .npy for each array."""
    import pyarrow as pa

    batch: list[dict[str, Any]] = []
    schema = pa.schema([("name", pa.string())] + [(k, pa.binary()) for k in ("sequence", "velocity", "offset", "meta")])
    for name, arrays in performances(folder, copies):
        batch.append({"name": name} | {key: npy(array) for key, array in arrays.items()})
        if len(batch) == rows:
            yield pa.Table.from_pylist(batch, schema)
            batch = []
    if batch:
        yield pa.Table.from_pylist(batch, schema)


class Loose:
    """A .npz for each performance."""

    def write(self, folder: Path, copies: int, out: Path) -> None:
        for name, arrays in performances(folder, copies):
            (out / f"{name}.npz").write_bytes(npz(arrays))

    def open(self, out: Path) -> None:
        self.paths = sorted(out.iterdir())

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int, names: tuple[str, ...]) -> list[np.ndarray]:
        with np.load(self.paths[index]) as file:
            return [file[name] for name in names]

    def in_order(self, names: tuple[str, ...]) -> Iterator[list[np.ndarray]]:
        return (self.read(index, names) for index in range(len(self)))


class Parquet:
    """Parquet with zstd, CRC of each page, and row groups of so many rows."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def write(self, folder: Path, copies: int, out: Path) -> None:
        import pyarrow.parquet as pq

        writer = None
        for number, table in enumerate(tables(folder, copies, self.rows)):
            if number % (PER_SHARD // self.rows) == 0:
                if writer:
                    writer.close()
                writer = pq.ParquetWriter(
                    out / f"{number:06}.parquet", table.schema, compression="zstd", use_dictionary=False,
                    write_page_checksum=True, write_statistics=False,
                )  # fmt: skip
            writer.write_table(table, row_group_size=self.rows)
        writer.close()

    def open(self, out: Path) -> None:
        import pyarrow.parquet as pq

        self.files = [
            pq.ParquetFile(path, memory_map=True, page_checksum_verification=True) for path in sorted(out.iterdir())
        ]
        self.starts = np.cumsum([0, *(file.metadata.num_rows for file in self.files)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def read(self, index: int, names: tuple[str, ...]) -> list[np.ndarray]:
        shard = int(np.searchsorted(self.starts, index, "right")) - 1
        group, row = divmod(index - int(self.starts[shard]), self.rows)
        table = self.files[shard].read_row_group(group, columns=names, use_threads=False)
        return [np.load(io.BytesIO(table.column(name)[row].as_buffer())) for name in names]

    def in_order(self, names: tuple[str, ...]) -> Iterator[list[np.ndarray]]:
        for file in self.files:
            for batch in file.iter_batches(self.rows, columns=names, use_threads=False):
                for row in range(len(batch)):
                    yield [np.load(io.BytesIO(batch.column(name)[row].as_buffer())) for name in names]


class Arrow:
    """Arrow's file format, mapped into memory, in record batches of 64."""

    rows = 64

    def __init__(self, compression: str | None) -> None:
        self.compression = compression

    def write(self, folder: Path, copies: int, out: Path) -> None:
        import pyarrow as pa

        writer = None
        for number, table in enumerate(tables(folder, copies, self.rows)):
            if number % (PER_SHARD // self.rows) == 0:
                if writer:
                    writer.close()
                options = pa.ipc.IpcWriteOptions(compression=self.compression)
                writer = pa.ipc.new_file(str(out / f"{number:06}.arrow"), table.schema, options=options)
            writer.write_table(table)
        writer.close()

    def open(self, out: Path) -> None:
        import pyarrow as pa

        options = pa.ipc.IpcReadOptions(use_threads=False)
        self.files = [pa.ipc.open_file(pa.memory_map(str(path)), options=options) for path in sorted(out.iterdir())]
        batches = [(file, number) for file in self.files for number in range(file.num_record_batches)]
        self.batches = batches
        last, number = batches[-1]
        self.length = (len(batches) - 1) * self.rows + len(last.get_batch(number))

    def __len__(self) -> int:
        return self.length

    def read(self, index: int, names: tuple[str, ...]) -> list[np.ndarray]:
        file, number = self.batches[index // self.rows]
        batch = file.get_batch(number)
        return [np.load(io.BytesIO(batch.column(name)[index % self.rows].as_buffer())) for name in names]

    def in_order(self, names: tuple[str, ...]) -> Iterator[list[np.ndarray]]:
        for file, number in self.batches:
            batch = file.get_batch(number)
            for row in range(len(batch)):
                yield [np.load(io.BytesIO(batch.column(name)[row].as_buffer())) for name in names]


class Tar:
    """WebDataset: tar files of .npy; at random, by the places that the headers of one pass have told."""

    def write(self, folder: Path, copies: int, out: Path) -> None:
        import webdataset

        with webdataset.ShardWriter(str(out / "%06d.tar"), maxcount=PER_SHARD, verbose=0) as writer:
            for name, arrays in performances(folder, copies):
                writer.write({"__key__": name} | {f"{key}.npy": npy(array) for key, array in arrays.items()})

    def open(self, out: Path) -> None:
        self.paths = sorted(out.iterdir())
        self.places: dict[str, dict[str, tuple[Any, int, int]]] = {}
        for path in self.paths:
            file = path.open("rb")
            with tarfile.open(path) as archive:
                for member in archive:
                    name, _, rest = member.name.partition(".")
                    self.places.setdefault(name, {})[rest.partition(".")[0]] = (file, member.offset_data, member.size)
        self.names = list(self.places)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int, names: tuple[str, ...]) -> list[np.ndarray]:
        found = []
        for name in names:
            file, start, size = self.places[self.names[index]][name]
            file.seek(start)
            found.append(np.load(io.BytesIO(file.read(size))))
        return found

    def in_order(self, names: tuple[str, ...]) -> Iterator[list[np.ndarray]]:
        import webdataset

        urls = [str(path) for path in self.paths]
        for sample in webdataset.WebDataset(urls, shardshuffle=False):
            yield [np.load(io.BytesIO(sample[f"{name}.npy"])) for name in names]


class LitData:
    """litdata: chunks of .bin with an index, by its own writer and reader."""

    def write(self, folder: Path, copies: int, out: Path) -> None:
        from litdata.streaming.writer import BinaryWriter

        writer = BinaryWriter(str(out), chunk_bytes="64MB", compression="zstd")
        for number, (name, arrays) in enumerate(performances(folder, copies)):
            writer[number] = {"name": name} | {key: npy(array) for key, array in arrays.items()}
        writer.done()
        writer.merge()

    def open(self, out: Path) -> None:
        from litdata import StreamingDataset

        self.dataset = StreamingDataset(str(out))

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int, names: tuple[str, ...]) -> list[np.ndarray]:
        item = self.dataset[index]
        return [np.load(io.BytesIO(item[name])) for name in names]

    def in_order(self, names: tuple[str, ...]) -> Iterator[list[np.ndarray]]:
        for item in self.dataset:
            yield [np.load(io.BytesIO(item[name])) for name in names]


FORMATS: dict[str, Callable[[], Any]] = {
    "npz": Loose,
    "parquet16": lambda: Parquet(16),
    "parquet64": lambda: Parquet(64),
    "parquet256": lambda: Parquet(256),
    "arrow": lambda: Arrow(None),
    "arrow-zstd": lambda: Arrow("zstd"),
    "tar": Tar,
    "litdata": LitData,
}


def processor_s(work: Callable[[], object], rounds: int = 1) -> float:
    times = []
    for _ in range(rounds):
        gc.collect()
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, folder: Path, copies: int, out: Path) -> dict[str, float]:
    """Return the figures of a format; to be called in a process of its own."""
    kind, every = FORMATS[name](), ("sequence", "velocity", "offset", "meta")
    if not any(out.iterdir()):
        return {"write_s": processor_s(lambda: kind.write(folder, copies, out))}
    before = peak_mb()
    result = {"size_mb": sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6}
    result["open_s"] = processor_s(lambda: kind.open(out))
    order = np.random.default_rng(0).integers(len(kind), size=RANDOM_READS).tolist()
    result["hits_s"] = processor_s(lambda: [None for _ in kind.in_order(("sequence",))], 3)
    result["random_ms"] = processor_s(lambda: [kind.read(index, ("sequence",)) for index in order], 3)
    result["all_s"] = processor_s(lambda: [None for _ in kind.in_order(every)], 3)
    return result | {"peak_mb": peak_mb() - before}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--formats", nargs="+", default=list(FORMATS))
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    results = {}
    for name in arguments.formats:
        package = next(package for prefix, package in PACKAGES.items() if name.startswith(prefix))
        if not importlib.util.find_spec(package):
            print(f"{name}: without {package}", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as folder, context.Pool(1, maxtasksperchild=1) as pool:
            result = {}
            for _ in range(2):
                result |= pool.apply(measure, (name, arguments.folder, arguments.copies, Path(folder)))
        code = (
            "import time; t = time.process_time(); import sys; __import__(sys.argv[1]); print(time.process_time() - t)"
        )
        module = "pyarrow.parquet" if package == "pyarrow" else package
        times = [float(subprocess.check_output([sys.executable, "-c", code, module])) for _ in range(3)]
        results[name] = {key: round(value, 3) for key, value in (result | {"import_s": min(times)}).items()}
        print(json.dumps({"format": name} | results[name]), flush=True)


if __name__ == "__main__":
    main()

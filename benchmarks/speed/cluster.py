"""What the plan of a large run is made of: processor time of tasks and driver, bytes, requests, Ray's own cost.

    python benchmarks/speed/cluster.py MIDI WORK [--out FILE.json]

MIDI is a folder of MIDI files; `prepare_scale.py make` makes a large one. WORK is a new folder for what is written.
Times are processor seconds of this process on one thread, so that other work on the machine matters little.
"""

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro

from hypermeter.core.addresses import open_address
from hypermeter.core.errors import HypermeterError
from hypermeter.io.performances import performance_files
from hypermeter.learn.prepare import prepare, run
from hypermeter.learn.ray_engine import RayEngine

METHODS = ("GET", "PUT", "HEAD", "POST", "DELETE")


class TimedEngine:
    """Runs tasks in this process, and adds up their processor seconds by the name of the function."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.tasks: Counter[str] = Counter()

    def run(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        for task in tasks:
            started = time.process_time()
            result = function(task)
            self.seconds[function.__name__] += time.process_time() - started
            self.tasks[function.__name__] += 1
            yield result


def cluster(
    source: Annotated[Path, tyro.conf.Positional],
    work: Annotated[Path, tyro.conf.Positional],
    out: Path | None = None,
) -> None:
    """Measure, and print lines of JSON.

    Args:
        source: folder of MIDI files.
        work: new folder for what is written.
        out: also write them to this file.
    """
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    work.mkdir(parents=True)
    results = {
        "npz": of_prepare(source, str(work / "npz"), packed=False),
        "shards": of_prepare(source, str(work / "shards"), packed=True),
        "corpus": of_corpus(work / "shards" / "train"),
        "store": of_store(source),
        "ray": of_ray(),
        "model": of_model(),
        "load": os.getloadavg()[0],
    }
    for name, result in results.items():
        print(json.dumps({name: result}))
    if out is not None:
        out.write_text(json.dumps(results, indent=1) + "\n")


def of_prepare(source: Path, out: str, packed: bool) -> dict[str, Any]:
    """Return processor milliseconds a file of tasks and driver, and bytes a file and bar of what is written."""
    engine = TimedEngine()
    run.choose_engine = lambda *_: _Opened(engine)  # type: ignore[assignment]
    started = time.process_time()
    manifest = prepare(source, out, packed=packed, quiet=True)
    total_s = time.process_time() - started
    files = sum(split["files"] for split in manifest["splits"].values())
    bars = sum(split["bars"] for split in manifest["splits"].values())
    result: dict[str, Any] = {"files": files, "bars": bars, "tasks": dict(engine.tasks)}
    result |= {f"{name}_ms_a_file": 1000 * seconds / files for name, seconds in engine.seconds.items()}
    result["driver_ms_a_file"] = 1000 * (total_s - engine.seconds.total()) / files
    if "://" not in out:
        written = [path for path in Path(out).rglob("*") if path.suffix in (".npz", ".parquet")]
        size = sum(path.stat().st_size for path in written)
        result |= {"written_files": len(written), "bytes_a_file": size / files, "bytes_a_bar": size / bars}
        result["manifest_bytes_a_file"] = Path(out, "manifest.json").stat().st_size / files
    return result


class _Opened:
    """An engine that is open already."""

    def __init__(self, engine: TimedEngine) -> None:
        self.engine = engine

    def __enter__(self) -> TimedEngine:
        return self.engine

    def __exit__(self, *_: object) -> None: ...


def of_corpus(folder: Path) -> dict[str, Any]:
    """Return the processor time that it takes to find the performances of a folder of shards, as each run does."""
    shards = len(list(folder.glob("*.parquet")))
    started = time.process_time()
    files = performance_files(folder)
    return {"shards": shards, "files": len(files), "ms_a_shard": 1000 * (time.process_time() - started) / shards}


def of_store(source: Path) -> dict[str, Any]:
    """Return the requests of each kind that preparing a thousand files from a store and into it makes."""
    from moto.server import ThreadedMotoServer

    counts: Counter[str] = Counter()

    class Count(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = record.getMessage()
            counts[next((kind for kind in METHODS if f'"{kind}' in message or f"m{kind}" in message), "other")] += 1

    log = logging.getLogger("werkzeug")
    log.handlers, log.propagate = [Count()], False
    log.setLevel(logging.INFO)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=True)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "testing")
    os.environ |= {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    files, place = open_address("s3://bucket")
    files.mkdir(place)
    paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".mid", ".midi"))[:1000]
    if len(paths) < 1000:
        raise HypermeterError(f"{source}: {len(paths)} MIDI files, expected at least 1,000")
    for number, path in enumerate(paths):
        files.pipe_file(f"{place}/midi/{number}.mid", path.read_bytes())
    counts.clear()
    result = of_prepare(Path("s3://bucket/midi"), "s3://bucket/out", packed=True)
    requests = dict(counts)
    server.stop()
    return {"requests_for_1000_files": requests, "tasks": result["tasks"]}


def nothing(number: int) -> int:
    return number


def of_ray(number: int = 2000) -> dict[str, float]:
    """Return how many empty tasks a second one driver begins and ends, and its processor time for each."""
    os.environ["PYTHONPATH"] = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    import cluster  # by a name that workers can import

    started = time.perf_counter()
    with RayEngine(workers=2) as engine:
        start_s = time.perf_counter() - started
        list(engine.run(cluster.nothing, range(100)))
        started, started_cpu = time.perf_counter(), time.process_time()
        list(engine.run(cluster.nothing, range(number)))
        wall_s, cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
    return {"start_s": start_s, "tasks_a_second": number / wall_s, "driver_ms_a_task": 1000 * cpu_s / number}


def of_model() -> dict[str, int]:
    """Return the parameters of the shipped model, and the bytes of their gradient."""
    from hypermeter import load

    weights = list(load("groove").parameters())
    number = sum(tensor.numel() for tensor in weights)
    return {"parameters": number, "gradient_bytes": sum(tensor.numel() * 4 for tensor in weights)}


if __name__ == "__main__":
    tyro.cli(cluster)

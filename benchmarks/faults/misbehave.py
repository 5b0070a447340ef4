"""Let a thousand clients misbehave at the server, and measure how long `/api/health` takes for one that does not.

    python benchmarks/faults/misbehave.py [--clients 1000] [--seconds 60] [--server hypermeter]

The clients are in a process of their own. Each does one of KINDS, again and again: once the server has closed its
connection it comes back after a second on average, with no other pause. Another process asks for `/api/health` on a new
connection twenty times a second; an answer that is not 200, or none within 5 s, counts as none. `--server` also takes
uvicorn, hypercorn and granian, to serve the same application as they do by themselves, where they are installed.
"""

import asyncio
import json
import multiprocessing
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Literal

import tyro

HEAD = b"POST /api/generate HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
TIMEOUT_S = 5.0
"""Longest wait for an answer to `/api/health`."""

Sent = list[tuple[bytes, float]]
"""What is sent, and the seconds to wait after each part."""


def _ask(path: str, body: dict) -> bytes:
    content = json.dumps(body).encode()
    head = HEAD.replace(b"/api/generate", path.encode()) + b"content-length: %d\r\n\r\n" % len(content)
    return head + content


KINDS: dict[str, tuple[Sent, bool]] = {
    "silent": ([(b"", 600)], True),
    "half a head": ([(HEAD, 600)], True),
    "a head, byte by byte": ([(bytes([byte]), 0.5) for byte in HEAD], True),
    "half a body": ([(HEAD + b'content-length: 100\r\n\r\n{"bars"', 600)], True),
    "a body, byte by byte": ([(HEAD + b"content-length: 100\r\n\r\n", 0.5), *[(b" ", 0.5)] * 99], True),
    "no HTTP": ([(b"\x16\x03\x01\x02\x00\x01\x00" * 20, 600)], True),
    "a head that is too large": ([(HEAD + b"x-filler: " + b"x" * 30_000, 600)], True),
    "a body that is too large": ([(HEAD + b"content-length: 9999999\r\n\r\n" + b" " * 30_000, 600)], True),
    "an answer that is not read": ([(b"GET /page.js HTTP/1.1\r\nhost: localhost\r\n\r\n" * 50, 600)], False),
    "as much work as is allowed": ([(_ask("/api/generate", {"bars": 256}), 600)], True),
    "work that is left": ([(_ask("/api/generate/stream", {"bars": 256}), 0.3)], False),
    "a flood of small questions": ([(b"GET /api/models HTTP/1.1\r\nhost: localhost\r\n\r\n", 0)] * 200, True),
}
"""Kind -> what is sent, and whether the answers are read."""


async def _misbehave(port: int, kind: str, rng: random.Random, counts: Counter) -> None:
    parts, reads = KINDS[kind]
    while True:
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**14)
            counts[kind] += 1
            try:
                closed = asyncio.ensure_future(_read_all(reader) if reads else asyncio.sleep(600))
                for content, pause_s in parts:
                    writer.write(content)
                    await writer.drain()
                    if pause_s and (await asyncio.wait([closed], timeout=pause_s))[0]:
                        break
                closed.cancel()
            finally:
                writer.transport.abort()
        await asyncio.sleep(rng.uniform(0, 2))


async def _read_all(reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while await reader.read(65536):
            pass


def crowd(port: int, clients: int, seconds: float, seed: int) -> None:
    """Misbehave with so many clients; the body of a process."""
    counts: Counter = Counter()

    async def run() -> None:
        kinds = list(KINDS)
        rngs = [random.Random(seed * clients + number) for number in range(clients)]
        going = [
            asyncio.ensure_future(_misbehave(port, kinds[number % len(kinds)], rng, counts))
            for number, rng in enumerate(rngs)
        ]
        await asyncio.sleep(seconds)
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)

    asyncio.run(run())
    print(f"connections: {sum(counts.values())}; {', '.join(f'{kind} {n}' for kind, n in counts.items())}", flush=True)


def health_s(port: int) -> float | None:
    """Return the seconds that an answer of `/api/health` takes on a new connection; None without an answer of 200."""
    started = time.perf_counter()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
            connection.sendall(b"GET /api/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            answer = b""
            while part := connection.recv(65536):
                answer += part
                if time.perf_counter() - started > TIMEOUT_S:
                    return None
    except OSError:
        return None
    return time.perf_counter() - started if answer.startswith(b"HTTP/1.1 200") else None


def serve(server: str, port: int) -> None:
    """Serve the application by another server with its own settings; the body of a process."""
    if server == "granian":
        from granian import Granian
        from granian.constants import Interfaces

        Granian(f"{__name__}:make", "127.0.0.1", port, interface=Interfaces.ASGI, factory=True, workers=1).serve()
        return
    if server == "hypercorn":
        from hypercorn.asyncio import serve as serve_by_hypercorn
        from hypercorn.config import Config

        config = Config()
        config.bind, config.errorlog = [f"127.0.0.1:{port}"], None
        asyncio.run(serve_by_hypercorn(make(), config))  # type: ignore[arg-type]
        return
    import uvicorn

    uvicorn.run(make(), port=port, log_level="critical", limit_concurrency=256)


def make():
    """Return the application that the command serves."""
    from hypermeter.share.serve import make_app
    from hypermeter.share.serve.command import LOOPBACK_HOSTS, load_players, page_folder

    return make_app(load_players(["groove"]), page_folder(), hosts=LOOPBACK_HOSTS)


def memory_mb(pid: int) -> tuple[float, float]:
    """Return the memory that a process of Linux has now and had at most, in MB."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        values = dict(line.split(":", 1) for line in status)
    return tuple(int(values[name].split()[0]) / 1000 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


def misbehave(
    clients: int = 1000,
    seconds: float = 60.0,
    server: Literal["hypermeter", "uvicorn", "hypercorn", "granian"] = "hypermeter",
    seed: int = 0,
    every_s: float = 0.05,
    memory_every_s: float = 0.0,
) -> None:
    """Measure the latency of `/api/health` beside clients that misbehave.

    Args:
        clients: that misbehave.
        seconds: to go on for.
        server: the command, or another server with the same application.
        seed: of the pauses.
        every_s: seconds between two questions.
        memory_every_s: print the memory of the server as often; 0 prints it at the end alone.
    """
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, max(4096, 2 * clients)), most))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--serve", server, str(port)]
    if server == "hypermeter":
        command = [sys.executable, "-m", "hypermeter.cli", "serve", "--port", str(port)]
    served = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while health_s(port) is None:
            time.sleep(0.1)
            if served.poll() is not None:
                raise SystemExit("the server has ended")
        alone = [health_s(port) or TIMEOUT_S for _ in range(50)]
        print(f"alone: median {1e3 * statistics.median(alone):.1f} ms; load {os.getloadavg()[0]:.1f}", flush=True)
        others = multiprocessing.get_context("spawn").Process(target=crowd, args=(port, clients, seconds, seed))
        others.start()
        latencies = ask_for(port, seconds, every_s, served.pid, memory_every_s)
        others.join()
        print(summary(latencies, time_s=seconds), f"; load {os.getloadavg()[0]:.1f}", sep="")
        print("memory: {:.0f} MB now, {:.0f} at most".format(*memory_mb(served.pid)))
        after = [health_s(port) for _ in range(20)]
        print(summary(after, "afterwards"))
    finally:
        served.terminate()
        served.wait(10)


def ask_for(port: int, seconds: float, every_s: float, pid: int, memory_every_s: float) -> list[float | None]:
    """Ask as often, also while earlier questions have no answer; return the latencies."""
    latencies: list[float | None] = []
    asking, until, shown = [], time.monotonic() + seconds, time.monotonic()
    while time.monotonic() < until:
        asking.append(threading.Thread(target=lambda: latencies.append(health_s(port))))
        asking[-1].start()
        time.sleep(every_s)
        asking = [thread for thread in asking if thread.is_alive()]
        if memory_every_s and time.monotonic() - shown > memory_every_s:
            shown = time.monotonic()
            print("memory: {:.0f} MB now, {:.0f} at most".format(*memory_mb(pid)), flush=True)
    for thread in asking:
        thread.join()
    return latencies


def summary(latencies: list[float | None], name: str = "health", time_s: float | None = None) -> str:
    """Return a line with the quantiles; questions without an answer count as the longest."""
    times = sorted(TIMEOUT_S if latency is None else latency for latency in latencies)
    median, most = (times[min(int(share * len(times)), len(times) - 1)] for share in (0.5, 0.99))
    lost = sum(latency is None for latency in latencies)
    span = "" if time_s is None else f" in {time_s:.0f} s"
    return (
        f"{name}: {len(times)} questions{span}, {lost} without an answer; median {1e3 * median:.0f} ms, "
        f"99 % {1e3 * most:.0f} ms, greatest {1e3 * times[-1]:.0f} ms"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        tyro.cli(misbehave)

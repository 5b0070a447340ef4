"""Trying the inputs of a reader in a process of its own, which is ended where an input takes too long."""

import contextlib
import io
import multiprocessing
import os
import resource
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random

from hypermeter.core.errors import MAX_MESSAGE, HypermeterError

from .reader import Reader

MAX_S = 5.0
"""Seconds of processor time for an input, which other work on the machine does not lengthen."""

MAX_BYTES = 10**9
"""Memory of an input, beside that of the process before."""


@dataclass
class Tally:
    """What came of the inputs of a reader.

    Args:
        reader: its name.
        counts: read, refused (one line of `HypermeterError`), found.
        processor_s: of all inputs.
        slowest_s: of one input.
        peak_bytes: most memory that an input took.
        findings: number of an input -> what was found.
    """

    reader: str
    counts: Counter[str] = field(default_factory=Counter)
    processor_s: float = 0.0
    slowest_s: float = 0.0
    peak_bytes: int = 0
    findings: dict[int, str] = field(default_factory=dict)


def make_input(reader: Reader, seed: int, number: int) -> bytes:
    """Return an input: the same of the same reader, seed and number."""
    return reader.make(Random(f"{seed} {reader.name} {number}"))


def try_inputs(reader: Reader, seed: int, numbers: range) -> Tally:
    """Try inputs one after another, with a new process after each that ends the last one."""
    tally, left = Tally(reader.name), list(numbers)
    context = multiprocessing.get_context("forkserver")
    while left:
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there, reader.name, seed, left), daemon=True)
        process.start()
        there.close()
        try:
            left = _listen(process, here, tally, left)
        finally:
            process.kill()
            process.join()
            here.close()
    return tally


def _listen(process: multiprocessing.Process, connection: Connection, tally: Tally, left: list[int]) -> list[int]:
    """Take in what a process tells of its inputs; return those that it has not come to."""
    while left:
        began = _processor_s(process.pid)
        while not wait([connection, process.sentinel], 0.5):
            if _processor_s(process.pid) - began > MAX_S + 1:
                tally.findings[left[0]] = f"more than {MAX_S:g} s"
                tally.counts["found"] += 1
                return left[1:]
        try:
            outcome, what, spent_s, used = connection.recv()
        except (EOFError, ConnectionError):
            process.join()
            tally.findings[left[0]] = f"the process ended with {process.exitcode}"
            tally.counts["found"] += 1
            return left[1:]
        if outcome != "found" and spent_s > MAX_S:
            outcome, what = "found", f"{spent_s:.1f} s"
        if outcome != "found" and used > MAX_BYTES:
            outcome, what = "found", f"{used / 1e6:.0f} MB"
        tally.counts[outcome] += 1
        tally.processor_s += spent_s
        tally.slowest_s, tally.peak_bytes = max(tally.slowest_s, spent_s), max(tally.peak_bytes, used)
        if outcome == "found":
            tally.findings[left[0]] = what
        left = left[1:]
    return left


def _serve(connection: Connection, name: str, seed: int, numbers: list[int]) -> None:
    """Try inputs, and tell of each; the body of the process."""
    from .readers import READERS

    reader = next(reader for reader in READERS if reader.name == name)
    warnings.simplefilter("ignore")
    with contextlib.suppress(BrokenPipeError), tempfile.TemporaryDirectory() as folder:
        with contextlib.suppress(Exception):  # what is imported and made once does not count
            run(reader, make_input(reader, seed, -1), Path(folder, "first"))
        limit = _status("VmSize") + MAX_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for number in numbers:
            content = make_input(reader, seed, number)
            before = _status("VmRSS")
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # The peak is counted anew.
            began = time.process_time()
            outcome, what = run(reader, content, Path(folder, str(number)))
            spent_s = time.process_time() - began
            connection.send((outcome, what, spent_s, max(_status("VmHWM") - before, 0)))
    os._exit(0)


def run(reader: Reader, content: bytes, folder: Path) -> tuple[str, str]:
    """Return what came of an input: read, refused or found, and what was found.

    Args:
        reader: the reader.
        content: the input.
        folder: made, and removed afterwards.
    """
    folder.mkdir()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            reader.run(content, folder)
    except HypermeterError as error:
        text = str(error)
        if len(text) > MAX_MESSAGE or not text.strip():
            return "found", f"a message of {len(text)} characters"
        if any(part in text for part in ("Traceback", "object at 0x")):
            return "found", f"no message for people: {text[:200]}"
        return "refused", ""
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return "found", f"{type(error).__name__}: {str(error)[:200]} ({Path(place.filename).name}:{place.lineno})"
    finally:
        _remove(folder)
    return "read", ""


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _status(name: str) -> int:
    """Return a size of this process in bytes: VmSize, VmRSS or VmHWM."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _processor_s(process: int | None) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

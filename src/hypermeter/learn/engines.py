"""Engines: what runs the tasks of a command, in this process, in several, or on other machines.

A task is a value that can be pickled, and the function that does it depends on nothing else but the addresses in it. An
engine has one method, `run`; `prepare` works with any that keeps to it.
"""

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack
from itertools import islice
from multiprocessing.connection import wait as wait_for_one
from typing import Protocol, TypeVar

from hypermeter.core.errors import HypermeterError

Task = TypeVar("Task")
Result = TypeVar("Result")

MAX_WORKERS = 61
"""Windows waits for no more at once; elsewhere, more would wait for the disk."""

TASKS_PER_WORKER = 2
"""Tasks that are begun or wait, for each process: results and tasks in memory are few, however many there are."""

LOOK_EVERY_S = 0.5
"""Seconds between looks of a worker for its parent, which may have been killed."""

ENGINES = ("local", "ray")
"""Names of the engines that `open_engine` opens."""


class Engine(Protocol):
    """Runs tasks."""

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Yield what a function returns for each task, in the order in which they end.

        Tasks are taken from the iterable when there is room for them. When the iterator is closed early, or a task
        fails, no further task is begun.

        Args:
            function: at the top of a module. Doing a task again does no harm: an engine may do so after a failure.
            tasks: small values that can be pickled.

        Raises:
            HypermeterError: a worker died and the engine cannot go on; or what the function raises.
        """
        ...


class SerialEngine:
    """Does one task after another, in this process."""

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """See `Engine`."""
        return map(function, tasks)


IN_PROCESS = SerialEngine()
"""The default engine of functions."""


class LocalEngine:
    """Runs tasks in processes of this machine, which end with this process, however it ends.

    Args:
        workers: processes, at most MAX_WORKERS.
    """

    def __init__(self, workers: int) -> None:
        self.workers = min(workers, MAX_WORKERS)
        self.stack = ExitStack()

    def __enter__(self) -> "LocalEngine":
        # Forking is the quickest start, and safe while no thread of torch's is about.
        method = "fork" if sys.platform == "linux" and "torch" not in sys.modules else "spawn"
        context = multiprocessing.get_context(method)
        pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=_begin_worker)
        self.pool = self.stack.enter_context(pool)
        self.pool.submit(os.getpid)  # Processes are forked now, before there are threads, such as a progress bar's.
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):  # A task may take minutes, and can be done again.
            for process in list((self.pool._processes or {}).values()):
                process.terminate()
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.stack.close()

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """See `Engine`."""
        remaining = iter(tasks)
        pending: set[Future[Result]] = set()
        try:
            while True:
                room = self.workers * TASKS_PER_WORKER - len(pending)
                pending |= {self.pool.submit(function, task) for task in islice(remaining, room)}
                if not pending:
                    return
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise HypermeterError(
                "a worker process died; run again, or with workers 1, and call the command in a script below"
                ' if __name__ == "__main__"'
            ) from error
        finally:
            for future in pending:
                future.cancel()


def check_engine(name: str, address: str) -> None:
    """Raise if there is no engine of the name, or it takes no address."""
    if name not in ENGINES:
        raise HypermeterError(f"engine is {name!r}, expected {' or '.join(ENGINES)}")
    if address and name != "ray":
        raise HypermeterError(f"address is {address}, which engine {name} does not use; add --engine ray")


def open_engine(name: str, workers: int = 0, address: str = "") -> AbstractContextManager[Engine]:
    """Return an engine that is open within a block.

    Args:
        name: local, for processes of this machine, or ray.
        workers: processes, or tasks at the same time; 0, as many as there are cores.
        address: of a Ray cluster, see `RayEngine`.
    """
    if name == "ray":
        from hypermeter.learn.ray_engine import RayEngine

        return RayEngine(address, workers)
    return LocalEngine(workers or usable_cores())


def usable_cores() -> int:
    """Return the cores that this process may use; all of them where the system does not say (macOS, Windows)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end when it has ended."""
    gc.freeze()  # What modules hold is not garbage: looking for it took a twentieth of the time.
    gc.set_threshold(20_000)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # The command's own handler is for its own process.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        # Forked processes hold each other's ends of the sentinel, which tells nothing while any of them is there.
        while not wait_for_one([parent.sentinel], LOOK_EVERY_S) and _is_child_of(parent.pid):
            pass
        os._exit(1)


def _is_child_of(process: int | None) -> bool:
    return os.name == "nt" or os.getppid() == process

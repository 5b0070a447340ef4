"""An engine that runs tasks on a Ray cluster; see ``hypermeter.learn.engines``.

Tasks are Ray Core tasks. They write their own files and return a few numbers, so that nothing has to be moved,
shuffled or kept in an object store: Ray Data would add blocks, operators and pyarrow without use for them.
"""

import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from hypermeter import __version__
from hypermeter.core.errors import HypermeterError
from hypermeter.core.extras import needs

Task = TypeVar("Task")
Result = TypeVar("Result")

TASKS_PER_CORE = 2
"""Tasks that are begun or wait, for each core of the cluster: results and tasks in memory are few."""

MAX_RETRIES = 10
"""How often a task is begun again whose worker or node died. One that kills each worker ends the run."""

OBJECT_STORE_BYTES = 100 << 20
"""Of a cluster that is started here: results are small and never go there."""

SECONDS_BETWEEN_COUNTS = 2.0
"""Between two questions for the cores of the cluster, which nodes join and leave."""

SECONDS_TO_CONNECT = 10.0

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_TQDM_PATCH_PRINT": "0",
}
"""Ray sends no statistics and prints nothing: progress and errors are the command's own."""

_NO_MODULE = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")


class RayEngine:
    """Runs tasks on the cores of a Ray cluster. A worker or node that dies costs its tasks, which are done again.

    The package must be installed on all nodes in the same version, and all must reach the addresses in the tasks: a
    folder that they share, or an object store.

    Args:
        address: of a cluster, as host:port, or auto for one on this machine; "" takes RAY_ADDRESS, or else starts a
            cluster of this machine's cores, which ends with the block.
        workers: tasks at the same time at most; 0, as many as the cluster has cores.

    Raises:
        HypermeterError: no cluster there, or Ray is not installed; when the block begins.
    """

    def __init__(self, address: str = "", workers: int = 0) -> None:
        self.address, self.workers = address or os.environ.get("RAY_ADDRESS", "") or "local", workers
        self._cores, self._counted_at = 0, -SECONDS_BETWEEN_COUNTS

    def __enter__(self) -> "RayEngine":
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        with needs("--engine ray"):
            import ray
        _silence(ray)
        options: dict[str, Any] = {}
        if self.address == "local":
            from hypermeter.learn.engines import usable_cores

            cores = self.workers or usable_cores()
            options = {"num_cpus": cores, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        self._owns_connection = not ray.is_initialized()
        try:
            if self._owns_connection:
                _check_reachable(self.address)
                ray.init(self.address, log_to_driver=False, configure_logging=False, **options)
        except Exception as error:  # of several kinds
            reason = " ".join(str(error).split())[:200]
            expected = "expected host:port, or auto, of a cluster that ray start began"
            raise HypermeterError(f"address {self.address}: no Ray cluster there ({reason}); {expected}") from error
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        if self._owns_connection:
            ray.shutdown()

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """See `hypermeter.learn.engines.Engine`."""
        import ray

        # Wherever there is a free core: the default fills the driver's node first.
        remote = ray.remote(_call).options(max_retries=MAX_RETRIES, scheduling_strategy="SPREAD")
        remaining = iter(tasks)
        # A function with arguments, such as a model, goes to each node once.
        sent = ray.put(function) if isinstance(function, partial) else function
        pending: list[Any] = []
        try:
            while True:
                room = self._most_pending() - len(pending)
                more = islice(remaining, max(room, 0))
                pending += [remote.remote(sent, task, __version__, os.getcwd()) for task in more]
                if not pending:
                    return
                (done,), pending = ray.wait(pending, num_returns=1)
                yield self._result(done)
        finally:
            for reference in pending:
                with suppress(Exception):  # The cluster may be what failed.
                    ray.cancel(reference)

    def _most_pending(self) -> int:
        import ray

        if time.monotonic() - self._counted_at >= SECONDS_BETWEEN_COUNTS:
            self._cores = int(ray.cluster_resources().get("CPU", 0))
            self._counted_at = time.monotonic()
        return self.workers or max(self._cores, 1) * TASKS_PER_CORE

    def _result(self, reference: Any) -> Any:
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            return ray.get(reference)
        except RayTaskError as error:
            if missing := _NO_MODULE.search(str(error)):
                reason = f"a node of the cluster cannot import {missing[1]}; install hypermeter {__version__} on all"
                raise HypermeterError(reason) from error
            raise error.cause from error
        except RayError as error:
            reason = f"a task failed on {MAX_RETRIES + 1} workers ({type(error).__name__})"
            advice = "what is done stays: run again to continue, and see Ray's logs if it happens again"
            raise HypermeterError(f"{reason}; {advice}") from error


def _call(function: Callable[[Task], Result], task: Task, version: str, folder: str) -> Result:
    """Do a task on a node, in the driver's folder where there is one, if the package there is that of the driver."""
    if version != __version__:
        raise HypermeterError(f"a node has hypermeter {__version__}, expected {version} as here; install it on all")
    with suppress(OSError):  # It matters to relative paths only, and where it is missing, they are, too.
        os.chdir(folder)
    return function(task)


def _check_reachable(address: str) -> None:
    """Raise `OSError` if nothing listens at host:port, for which Ray would wait for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_CONNECT).close()


def _silence(ray: Any) -> None:
    """Keep Ray's own lines off the terminal: its log files have them."""
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    # Of a worker that dies, a thread of the driver prints pages, which no option of ray.init turns off.
    with suppress(AttributeError):
        ray._private.worker.print_to_stdstream = lambda *_, **__: None

"""Worker processes, which start where there are files enough for them, and what they have done so far, on the disk."""

import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from hypermeter.core.errors import HypermeterError
from hypermeter.learn.prepare.convert import Job, Outcome, run_batch
from hypermeter.learn.prepare.manifest import PARTIAL
from hypermeter.learn.prepare.source import SPLITS, File

FILES_PER_TASK = 32
FILES_FOR_POOL = 200
"""With fewer files, starting processes costs more than they save."""
MOST_WORKERS = 61
"""Windows waits for no more at once; elsewhere, more would wait for the disk."""


def usable_cores() -> int:
    """Cores that this process may use; all of them where the system does not tell, as macOS and Windows do not."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Crew:
    """Runs files through workers, shows how far it is, and keeps each record as it comes."""

    def __init__(self, job: Job, settings: dict[str, Any], num_files: int, workers: int, quiet: bool) -> None:
        if workers < 0:
            raise HypermeterError(f"workers is {workers}, expected 0 or more")
        self.job, self.settings, self.quiet = job, settings, quiet
        self.num_workers = min(workers or usable_cores(), MOST_WORKERS)
        self.is_pooled = self.num_workers > 1 and (workers > 1 or num_files >= FILES_FOR_POOL)
        self.stack = ExitStack()

    def __enter__(self) -> "Crew":
        with _writing(self.job.out):
            for split in SPLITS:
                (self.job.out / split).mkdir(parents=True, exist_ok=True)
            # Without a buffer, which would be written once more, and fail once more, when the file is closed.
            self.partial = self.stack.enter_context((self.job.out / PARTIAL).open("ab", buffering=0))
        self._keep([self.settings])
        if self.is_pooled:
            # Forking is the quickest start, and safe while no thread of torch's is about.
            way = "fork" if sys.platform == "linux" and "torch" not in sys.modules else "spawn"
            context = multiprocessing.get_context(way)
            self.pool = self.stack.enter_context(ProcessPoolExecutor(self.num_workers, mp_context=context))
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind and self.is_pooled:
            self.pool.shutdown(wait=True, cancel_futures=True)
        self.stack.close()

    def run(self, files: Sequence[File], what: str, write: bool) -> list[Outcome]:
        """What became of the files, in any order."""
        batches = [files[at : at + FILES_PER_TASK] for at in range(0, len(files), FILES_PER_TASK)]
        outcomes = []
        for batch in self._batches(batches, what, write):
            outcomes += batch
            if write:
                self._keep([each.record for each in batch if not each.skipped])
        return outcomes

    def _batches(self, batches: Sequence[Sequence[File]], what: str, write: bool) -> Iterator[list[Outcome]]:
        console = Console(stderr=True, quiet=self.quiet)
        if not self.is_pooled:
            with Progress(console=console, transient=True) as progress:
                for batch in progress.track(batches, description=what):
                    yield run_batch(self.job, batch, write)
            return
        # Submitted before the bar is shown: its thread must not be there when processes fork.
        futures = [self.pool.submit(run_batch, self.job, batch, write) for batch in batches]
        try:
            with Progress(console=console, transient=True) as progress:
                for future in progress.track(as_completed(futures), total=len(futures), description=what):
                    yield future.result()
        except BrokenProcessPool as error:
            raise HypermeterError(
                f"{self.job.source}: a worker process died; run again, or with workers 1, and call prepare in a script"
                ' below if __name__ == "__main__"'
            ) from error

    def _keep(self, records: Sequence[dict[str, Any]]) -> None:
        with _writing(self.job.out / PARTIAL):
            # The line is broken first, since the run before may have left half a line.
            self.partial.write("".join("\n" + json.dumps(each) for each in records).encode())


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Errors of the system in the block are said in one line that names the path."""
    try:
        yield
    except OSError as error:
        reason = f"{path}: cannot be written ({error.strerror}); free space or choose another folder"
        raise HypermeterError(reason) from error

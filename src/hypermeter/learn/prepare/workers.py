"""Worker processes that convert files, and the records of their work on the disk."""

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
from hypermeter.learn.prepare.convert import ConversionSettings, ConvertedFile, convert_batch
from hypermeter.learn.prepare.manifest import PARTIAL
from hypermeter.learn.prepare.source import SPLITS, SourceFile

FILES_PER_BATCH = 32
MIN_FILES_FOR_POOL = 200
"""With fewer files, starting processes costs more than they save."""
MAX_WORKERS = 61
"""Windows waits for no more at once; elsewhere, more would wait for the disk."""


def usable_cores() -> int:
    """Return the cores that this process may use; all of them where the system does not say (macOS, Windows)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class WorkerPool:
    """Converts files, in processes where there are enough of them, shows progress, and stores each record at once.

    ``header``, the settings as the manifest has them, begins the stored records; for ``workers`` see ``prepare``.
    """

    def __init__(
        self, settings: ConversionSettings, header: dict[str, Any], num_files: int, workers: int, quiet: bool
    ) -> None:
        self.settings, self.header, self.quiet = settings, header, quiet
        self.num_workers = min(workers or usable_cores(), MAX_WORKERS)
        self.is_pooled = self.num_workers > 1 and (workers > 1 or num_files >= MIN_FILES_FOR_POOL)
        self.stack = ExitStack()

    def __enter__(self) -> "WorkerPool":
        out = self.settings.out
        with _naming_errors(out):
            for split in SPLITS:
                (out / split).mkdir(parents=True, exist_ok=True)
            # Without a buffer, which would be written once more, and fail once more, when the file is closed.
            self.partial = self.stack.enter_context((out / PARTIAL).open("ab", buffering=0))
        self._store([self.header])
        if self.is_pooled:
            # Forking is the quickest start, and safe while no thread of torch's is about.
            method = "fork" if sys.platform == "linux" and "torch" not in sys.modules else "spawn"
            context = multiprocessing.get_context(method)
            self.pool = self.stack.enter_context(ProcessPoolExecutor(self.num_workers, mp_context=context))
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind and self.is_pooled:
            self.pool.shutdown(wait=True, cancel_futures=True)
        self.stack.close()

    def run(self, files: Sequence[SourceFile], description: str, write: bool) -> list[ConvertedFile]:
        """Return the converted files, in any order.

        Raises:
            HypermeterError: a worker process died, or the records cannot be written.
        """
        batches = [files[start : start + FILES_PER_BATCH] for start in range(0, len(files), FILES_PER_BATCH)]
        converted = []
        for batch in self._convert(batches, description, write):
            converted += batch
            if write:
                self._store([file.record for file in batch if not file.skipped])
        return converted

    def _convert(
        self, batches: Sequence[Sequence[SourceFile]], description: str, write: bool
    ) -> Iterator[list[ConvertedFile]]:
        console = Console(stderr=True, quiet=self.quiet)
        if not self.is_pooled:
            with Progress(console=console, transient=True) as progress:
                for batch in progress.track(batches, description=description):
                    yield convert_batch(self.settings, batch, write)
            return
        # Submitted before the bar is shown: its thread must not be there when processes fork.
        futures = [self.pool.submit(convert_batch, self.settings, batch, write) for batch in batches]
        try:
            with Progress(console=console, transient=True) as progress:
                for future in progress.track(as_completed(futures), total=len(futures), description=description):
                    yield future.result()
        except BrokenProcessPool as error:
            raise HypermeterError(
                f"{self.settings.source}: a worker process died; run again, or with workers 1, and call prepare in a"
                ' script below if __name__ == "__main__"'
            ) from error

    def _store(self, records: Sequence[dict[str, Any]]) -> None:
        with _naming_errors(self.settings.out / PARTIAL):
            # The line is broken first, since the run before may have left half a line.
            self.partial.write("".join("\n" + json.dumps(record) for record in records).encode())


@contextmanager
def _naming_errors(path: Path) -> Iterator[None]:
    """Turn errors of the system in the block into one line that names the path."""
    try:
        yield
    except OSError as error:
        reason = f"{path}: cannot be written ({error.strerror}); free space or choose another folder"
        raise HypermeterError(reason) from error

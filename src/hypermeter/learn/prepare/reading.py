"""Reading MIDI files of a source: of a folder, of a zip, or the single file that it is."""

import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from hypermeter.core.addresses import StoredFile, as_path
from hypermeter.core.errors import HypermeterError
from hypermeter.core.kit_choice import hinted_names
from hypermeter.core.read_options import ReadOptions
from hypermeter.io.midi import MAX_BYTES, MIDI_SUFFIXES
from hypermeter.io.midi.content import load_midi
from hypermeter.io.zip_index import open_members
from hypermeter.learn.prepare.source import SourceFile

FETCHED_AT_ONCE = 64
"""Files of an object store that are asked for at the same time."""


class Reader(Protocol):
    """Reads files of a source."""

    def __call__(self, file: SourceFile) -> bytes:
        """Return what a file holds.

        Raises:
            HypermeterError: it cannot be read, or is too large. The line begins with its path.
        """
        ...


@contextmanager
def open_source(address: str, files: Sequence[SourceFile]) -> Iterator[Reader]:
    """Yield a function that reads files of a source; a zip is opened once, files of an object store some at a time.

    Args:
        address: of the source.
        files: those that will be read, in this order.

    Raises:
        HypermeterError: the source is not there.
    """
    source = as_path(address)
    is_folder = source.is_dir()
    if not is_folder and not source.is_file():
        raise HypermeterError(f"{address}: not there; each machine that takes part has to reach it")
    with ExitStack() as stack:
        if not is_folder and source.suffix.lower() not in MIDI_SUFFIXES:
            opened = stack.enter_context(source.open("rb"))
            archive = stack.enter_context(open_members(opened, [file.entry for file in files]))
            fetch = partial(_from_zip, archive)
        elif isinstance(source, StoredFile):
            fetch = _StoredFiles(source, files if is_folder else None)
        else:
            fetch = partial(_from_disk, f"{address}/" if is_folder else address, is_folder)

        def read(file: SourceFile) -> bytes:
            try:
                content = fetch(file)
            except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
                raise HypermeterError(f"{file.source}: cannot be read ({error})") from error
            if content is None:
                raise HypermeterError(f"{file.source}: larger than {MAX_BYTES >> 20} MiB, not a drum performance")
            return content

        yield read


def _from_zip(archive: zipfile.ZipFile, file: SourceFile) -> bytes | None:
    """Return the content of a file in a zip; None where it is larger than MAX_BYTES."""
    return archive.read(file.source) if archive.getinfo(file.source).file_size <= MAX_BYTES else None


def _from_disk(path: str, is_folder: bool, file: SourceFile) -> bytes | None:
    """Return the content of a file on the disk; None where it is larger than MAX_BYTES."""
    with open(path + file.source if is_folder else path, "rb", 0) as opened:
        return opened.read() if os.fstat(opened.fileno()).st_size <= MAX_BYTES else None


class _StoredFiles:
    """Reads files of an object store, FETCHED_AT_ONCE of them at the same time, since each takes long to arrive.

    Args:
        source: their folder, or the single file.
        files: those that will be read, in this order; None for a single file.
    """

    def __init__(self, source: StoredFile, files: Sequence[SourceFile] | None) -> None:
        self.source = source
        self.names = None if files is None else [file.source for file in files]
        self.held: dict[str, bytes] = {}

    def __call__(self, file: SourceFile) -> bytes | None:
        if self.names is not None and file.source not in self.held:
            start = self.names.index(file.source)
            self._fetch(self.names[start : start + FETCHED_AT_ONCE])
        content = self.held.get(file.source)
        if content is None:  # The single file, or one whose error is wanted, or which is empty.
            place = f"{self.source.place}/{file.source}" if self.names is not None else self.source.place
            content = self.source.files.cat_file(place)
        return content if len(content) <= MAX_BYTES else None

    def _fetch(self, names: Sequence[str]) -> None:
        places = [f"{self.source.place}/{name}" for name in names]
        ends = [MAX_BYTES + 1] * len(names)
        contents = self.source.files.cat_ranges(places, [0] * len(names), ends, on_error="return")
        found = zip(names, contents, strict=True)
        self.held = {name: content for name, content in found if isinstance(content, bytes)}


@dataclass(frozen=True)
class CountTask:
    """Files whose pitches are counted.

    Args:
        source: address of the source.
        files: some of its files.
        options: how their drums are found.
    """

    source: str
    files: tuple[SourceFile, ...]
    options: ReadOptions


def count_pitches(task: CountTask) -> tuple[np.ndarray, list[str]]:
    """Return the hits of each pitch in the files that can be read, (128,), and names that hint at a map.

    The names are those of files and tracks; of those with the same hint, one.
    """
    counts, names = np.zeros(128, np.int64), []
    with open_source(task.source, task.files) as read:
        for file in task.files:
            with suppress(HypermeterError):
                midi = load_midi(read(file), file.source, task.options, in_full=True)
                counts += np.bincount(midi.drums[1], minlength=128)
                names = hinted_names([*names, file.source, *midi.melody.names])
    return counts, names

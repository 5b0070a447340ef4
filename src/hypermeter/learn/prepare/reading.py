"""Reading MIDI files of a source: of a folder, of a zip, or the single file that it is."""

import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.kit_choice import hinted_names
from hypermeter.core.read_options import ReadOptions
from hypermeter.io.midi import MAX_BYTES, MIDI_SUFFIXES
from hypermeter.io.midi.content import load_midi
from hypermeter.io.zip_index import open_members
from hypermeter.learn.prepare.source import SourceFile


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
    """Yield a function that reads files of a source; a zip is opened once.

    Args:
        address: of the source.
        files: those that will be read.
    """
    source = Path(address)
    with _archive(source, files) as archive:

        def read(file: SourceFile) -> bytes:
            try:
                if archive:
                    size = archive.getinfo(file.source).file_size
                    content = archive.read(file.source) if size <= MAX_BYTES else b""
                else:
                    with open(f"{address}/{file.source}" if source_is_folder else address, "rb", 0) as opened:
                        size = os.fstat(opened.fileno()).st_size
                        content = opened.read() if size <= MAX_BYTES else b""
            except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
                raise HypermeterError(f"{file.source}: cannot be read ({error})") from error
            if size > MAX_BYTES:
                raise HypermeterError(f"{file.source}: larger than {MAX_BYTES >> 20} MiB, not a drum performance")
            return content

        source_is_folder = source.is_dir()
        yield read


@contextmanager
def _archive(source: Path, files: Sequence[SourceFile]) -> Iterator[zipfile.ZipFile | None]:
    """Open a source that is a zip; of another, yield `None`."""
    if source.is_file() and source.suffix.lower() not in MIDI_SUFFIXES:
        with source.open("rb") as opened, open_members(opened, [file.entry for file in files]) as archive:
            yield archive
    else:
        yield None


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

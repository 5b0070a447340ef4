"""What Hypermeter, mido, pretty_midi and MidiTok read of MIDI files as people have them.

    python benchmarks/reading/run.py CORPUS --readers-python PYTHON [--beside FOLDER ...] [--out FILE.json]

CORPUS holds a checkout of each repository in `sources.csv`, as OWNER+NAME; what is missing is left out and named. Of a
source with more than --most files, so many are drawn, with seed 0, and a file that is there twice is read once.
PYTHON is the interpreter of an environment of its own with the other libraries:

    python -m venv READERS
    READERS/bin/pip install mido==1.3.3 pretty_midi==0.2.11.post0 miditok==3.1.0 symusic==0.6.0

Each reader runs in a process of its own, which is killed if a file takes it longer than --seconds.
"""

import csv
import hashlib
import json
import os
import random
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.io.midi import MIDI_SUFFIXES

sys.path.insert(0, str(Path(__file__).parent))
from tables import markdown

HERE = Path(__file__).parent
OTHERS = ("mido", "pretty_midi", "miditok")


class Reader:
    """A reader in a process of its own, which answers one path after another."""

    def __init__(self, command: Sequence[str], seconds: float) -> None:
        self.command, self.seconds = command, seconds
        self.process: subprocess.Popen[str] | None = None

    def read(self, path: Path) -> dict[str, Any]:
        """Return the answer for a file; one that takes too long or ends the process is not opened."""
        if self.process is None:
            environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
            )
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(f"{path}\n")
            self.process.stdin.flush()
            if select.select([self.process.stdout], [], [], self.seconds)[0]:
                return json.loads(self.process.stdout.readline())
            why = f"takes longer than {self.seconds:g} s"
        except (BrokenPipeError, json.JSONDecodeError):
            why = "ends the process"
        self.close()
        return {"opened": False, "hits": 0, "why": why}

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def files_of(corpus: Path, beside: Sequence[Path], most: int) -> Iterator[tuple[str, str, Path]]:
    """Yield the kind, source and path of each file, each content once."""
    with (HERE / "sources.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    places = [
        (row["kind"], row["repository"], corpus / row["repository"].replace("/", "+"), row["pattern"]) for row in rows
    ]
    places += [(folder.name, folder.name, folder, "*") for folder in beside]
    digests: set[str] = set()
    for kind, source, folder, pattern in places:
        if not folder.is_dir():
            print(f"{folder}: no such folder; its files are left out", file=sys.stderr)
            continue
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in MIDI_SUFFIXES and path.is_file())
        paths = [path for path in paths if fnmatchcase(path.relative_to(folder).as_posix(), pattern)]
        if kind == source:  # a row of its own, whatever the corpus holds
            digests = set()
        elif len(paths) > most:
            paths = sorted(random.Random(0).sample(paths, most))
        for path in paths:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if digest not in digests:
                digests.add(digest)
                yield kind, source, path


def versions(python: Path) -> dict[str, str]:
    """Return the versions of the other libraries."""
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {OTHERS!r}}}))"
    return json.loads(subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout)


def main(
    corpus: Annotated[Path, tyro.conf.Positional],
    readers_python: Path,
    beside: tuple[Path, ...] = (),
    most: int = 100,
    seconds: float = 30.0,
    out: Path = Path("bench/out/reading.json"),
) -> None:
    """Read all files with all readers, print Markdown, write JSON.

    Args:
        corpus: folder with the checkouts.
        readers_python: interpreter of the environment with the other libraries.
        beside: folders of MIDI that are rows of their own, read in whole.
        most: files of one source.
        seconds: time for one file.
        out: file for all answers as JSON.
    """
    files = list(files_of(corpus, beside, most))
    if not files:
        raise HypermeterError(f"{corpus}: no MIDI of the repositories in sources.csv; see {HERE / 'README.md'}")
    other = [str(readers_python), str(HERE / "other_readers.py")]
    commands = {"hypermeter": [sys.executable, str(HERE / "hypermeter_reader.py")]}
    commands |= {library: [*other, library] for library in OTHERS}

    def answers_of(command: Sequence[str]) -> list[dict[str, Any]]:
        reader = Reader(command, seconds)
        try:
            return [reader.read(path) for _, _, path in files]
        finally:
            reader.close()

    with ThreadPoolExecutor(2) as pool:
        answers = dict(zip(commands, pool.map(answers_of, commands.values()), strict=True))
    rows = [
        {"kind": kind, "source": source, "file": str(path)} | {name: answers[name][index] for name in commands}
        for index, (kind, source, path) in enumerate(files)
    ]
    result = {"versions": versions(readers_python), "files": rows}
    print(markdown(result))
    with atomic_write(out) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\n{out}")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"reading: {error}", file=sys.stderr)
        sys.exit(2)

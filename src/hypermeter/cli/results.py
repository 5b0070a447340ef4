"""Where a command's result goes: a file, or standard output."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path


def numbered(out: Path, variations: int | None) -> list[Path]:
    """Return the paths of takes: takes_1.mid, takes_2.mid, with as many digits in each; for `None` the path alone."""
    if variations is None:
        return [out]
    digits = len(str(variations))
    return [out.with_name(f"{out.stem}_{number:0{digits}}{out.suffix}") for number in range(1, variations + 1)]


def free_path(source: Path | None, word: str, variations: int | None = None) -> Path:
    """Return a MIDI path at which nothing stands: beat_WORD.mid beside beat.mid, WORD.mid in the working folder.

    Args:
        source: the file that is read, if one is; where its folder cannot be written, the working folder is taken.
        word: what was done to it.
        variations: number of takes, of whose `numbered` paths none is there.
    """
    stem, folder = word, Path()
    if source is not None and str(source) != "-":
        stem = f"{source.stem}_{word}"
        folder = source.parent if os.access(source.parent, os.W_OK) else folder
    number, path = 1, folder / f"{stem}.mid"
    while any(one.exists() for one in numbered(path, variations)):
        number += 1
        path = folder / f"{stem}_{number}.mid"
    return path


@contextmanager
def open_output(out: Path, suffixes: Sequence[str], inputs: Sequence[str | Path | None]) -> Iterator[Callable]:
    """Yield a function that writes the bytes of the result to `out`; for `-`, to standard output.

    In the latter case, text that is printed within the block goes to standard error. If the block is interrupted, a
    line says whether the result is written.

    Args:
        suffixes: that the path may have.
        inputs: files that it must not replace.

    Raises:
        HypermeterError: another path, or one that cannot be written.
    """
    from hypermeter.core.files import atomic_write, check_out

    stdout, is_piped = sys.stdout, str(out) == "-"
    if not is_piped:
        check_out(out, suffixes, inputs)

    def write(content: bytes) -> None:
        if is_piped:
            stdout.buffer.write(content)
            stdout.flush()
            return
        with atomic_write(out) as temporary:
            temporary.write_bytes(content)

    before = _time_of(out)
    try:
        with redirect_stdout(sys.stderr) if is_piped else nullcontext():
            yield write
    except KeyboardInterrupt:
        what = "nothing is written" if _time_of(out) == before else f"{out} is written"
        print(f"interrupted: {what}", file=sys.stderr)
        raise


def _time_of(path: Path) -> int | None:
    """Return when a file was written; `None` where there is none."""
    return path.stat().st_mtime_ns if path.exists() else None

"""Text files of grooves: .txt is the ASCII grid, .tidal and .strudel are code."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid, GridChoice
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit
from hypermeter.io.ascii import ascii_grid, read_ascii_parts
from hypermeter.io.notation.read import from_strudel, from_tidal
from hypermeter.io.notation.write import to_strudel, to_tidal

MAX_BYTES = 2**20
"""Size of the largest file that is read."""

_WRITERS = {".txt": ascii_grid, ".tidal": to_tidal, ".strudel": to_strudel}
TEXT_SUFFIXES = tuple(_WRITERS)


def is_text(path: str | Path) -> bool:
    """Return whether the suffix of a path is one of TEXT_SUFFIXES."""
    return Path(path).suffix.lower() in TEXT_SUFFIXES


def read_text(path: str | Path, kit: str | Path | Kit = "gm10", grid: Grid | GridChoice | None = None) -> Groove:
    """Return the groove in a text file, in the notation of its suffix, in one tempo and metre.

    Args:
        path: path of the file.
        kit: the voices: an argument of `load_kit`.
        grid: the grid if the file does not state it. Default: 4/4 in sixteenths. A choice that leaves the steps open
            takes for code the first that fit it: sixteenths, triplets of eighths, or triplets of sixteenths.

    Raises:
        HypermeterError: a file that cannot be read, is not in the notation of its suffix, or changes tempo or metre.
    """
    first, *others = read_text_parts(path, kit, grid)
    if others:
        change = ", then ".join(f"{part.tempo_bpm:g} bpm in {part.grid.metre}" for part in (first, others[0]))
        raise HypermeterError(f"{path}: tempo or metre change ({change}), expected one; cut the file there")
    return first


def read_text_parts(
    path: str | Path, kit: str | Path | Kit = "gm10", grid: Grid | GridChoice | None = None
) -> list[Groove]:
    """Return the grooves in a text file: an ASCII grid in which tempo or metre change has several.

    The arguments and errors are those of `read_text`.
    """
    path = Path(path)
    choice = GridChoice.of(grid or Grid())
    try:
        if path.stat().st_size > MAX_BYTES:
            raise HypermeterError(f"{path}: larger than {MAX_BYTES >> 20} MiB, not a groove as text")
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise HypermeterError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise HypermeterError(f"{path}: not text in UTF-8, expected a groove as text") from error
    if path.suffix.lower() == ".txt":
        try:
            return read_ascii_parts(text, kit, choice.grid())
        except HypermeterError as error:
            raise HypermeterError(f"{path}: {error}") from error
    read = from_tidal if path.suffix.lower() == ".tidal" else from_strudel
    first = choice.grid()
    try:
        return [read(text, kit, first, where=str(path))]
    except HypermeterError:
        for steps in (3, 6):
            if (other := choice.grid(steps_per_quarter=steps)) != first:
                with suppress(HypermeterError):
                    return [read(text, kit, other, where=str(path))]
        raise


def write_text(groove: Groove | Sequence[Groove], path: str | Path) -> Path:
    """Write a groove as a text file, in the notation of its suffix, and return its path. An existing file is replaced.

    Several grooves, such as the parts of a song that changes its metre, are written one after another, as .txt.

    Raises:
        HypermeterError: another suffix than those of TEXT_SUFFIXES, several grooves as code, or a path that cannot be
            written.
    """
    path = Path(path)
    text = text_of(groove, path)
    with atomic_write(path) as temporary:
        temporary.write_text(text, "utf-8")
    return path


def text_of(groove: Groove | Sequence[Groove], path: Path) -> str:
    """Return what `write_text` writes; the errors are its own."""
    if not is_text(path):
        raise HypermeterError(f"{path}: expected a name that ends in {', '.join(TEXT_SUFFIXES)}")
    parts = [groove] if isinstance(groove, Groove) else list(groove)
    if len(parts) > 1:
        check_parts(path)
    return "\n".join(map(_WRITERS[path.suffix.lower()], parts))


def check_parts(path: str | Path) -> None:
    """Raise if a text file cannot hold parts in several metres.

    Raises:
        HypermeterError: a file of code.
    """
    if Path(path).suffix.lower() != ".txt":
        raise HypermeterError(f"{path}: code is in one metre, a cycle a bar; write .txt or MIDI, or each part alone")

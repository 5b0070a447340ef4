"""Text files of grooves: .txt is the ASCII grid, .tidal and .strudel are code."""

from pathlib import Path

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit
from hypermeter.io.ascii import ascii_grid, read_ascii
from hypermeter.io.notation.read import from_strudel, from_tidal
from hypermeter.io.notation.write import to_strudel, to_tidal

MAX_BYTES = 2**20
"""Size of the largest file that is read."""

_WRITERS = {".txt": ascii_grid, ".tidal": to_tidal, ".strudel": to_strudel}
TEXT_SUFFIXES = tuple(_WRITERS)


def is_text(path: str | Path) -> bool:
    """Return whether the suffix of a path is one of TEXT_SUFFIXES."""
    return Path(path).suffix.lower() in TEXT_SUFFIXES


def read_text(path: str | Path, kit: str | Path | Kit = "gm10", grid: Grid | None = None) -> Groove:
    """Return the groove in a text file, in the notation of its suffix.

    Args:
        path: path of the file.
        kit: the voices: an argument of `load_kit`.
        grid: the grid if the file does not state it. Default: 4/4 in sixteenths.

    Raises:
        HypermeterError: a file that cannot be read, or is not in the notation of its suffix.
    """
    path = Path(path)
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
            return read_ascii(text, kit, grid)
        except HypermeterError as error:
            raise HypermeterError(f"{path}: {error}") from error
    read = from_tidal if path.suffix.lower() == ".tidal" else from_strudel
    return read(text, kit, grid, where=str(path))


def write_text(groove: Groove, path: str | Path) -> Path:
    """Write a groove as a text file, in the notation of its suffix, and return its path. An existing file is replaced.

    Raises:
        HypermeterError: another suffix than those of TEXT_SUFFIXES, or a path that cannot be written.
    """
    path = Path(path)
    text = text_of(groove, path)
    with atomic_write(path) as temporary:
        temporary.write_text(text, "utf-8")
    return path


def text_of(groove: Groove, path: Path) -> str:
    """Return what `write_text` writes; the errors are its own."""
    if not is_text(path):
        raise HypermeterError(f"{path}: expected a name that ends in {', '.join(TEXT_SUFFIXES)}")
    return _WRITERS[path.suffix.lower()](groove)

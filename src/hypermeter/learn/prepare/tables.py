"""Tables of a data set, info.csv: the split, style and kind of each file of their folder."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from hypermeter.core.errors import HypermeterError
from hypermeter.io.encodings import decode_text

SPLITS = ("train", "validation", "test")
TABLE = "info.csv"

_COLUMNS = {
    "file": ("midi_filename", "midi_file", "midi_path", "midi", "filename", "file_name", "file", "file_path", "path"),
    "split": ("split", "subset", "partition", "set"),
    "style": ("style", "genre"),
    "beat_type": ("beat_type", "type", "kind"),
}
"""What a table holds -> the names of its column, in the order of preference."""

_SPLIT_NAMES = {
    **{name: "train" for name in ("train", "training")},
    **{name: "validation" for name in ("validation", "valid", "val", "dev", "development")},
    **{name: "test" for name in ("test", "testing", "evaluation", "eval")},
}

_DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Table:
    """A table that gives splits.

    Args:
        name: its path below the source.
        text: what it says.
        columns: file, split, style and beat_type -> the column that has it, if one does.
    """

    name: str
    text: str
    columns: dict[str, str | None]

    @property
    def folder(self) -> PurePosixPath:
        """The folder that it governs, with all below it."""
        return PurePosixPath(self.name).parent

    def rows(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield the path of each file below the source, with its fields: split, style and beat_type."""
        for row in _rows(self.text):
            values = {kind: (row.get(column or "") or "").strip() for kind, column in self.columns.items()}
            file = values.pop("file").replace("\\", "/")
            values["split"] = _SPLIT_NAMES.get(values["split"].lower(), values["split"])
            yield (self.folder / file).as_posix(), values


def read_table(name: str, content: bytes) -> Table:
    """Return a table whose fields are separated by commas, semicolons, tabs or bars.

    Args:
        name: its path below the source.
        content: text in UTF-8, UTF-16, cp932 or Latin-1.

    Raises:
        HypermeterError: no table, or one without a column of files or of splits. It names the table.
    """
    text = decode_text(content).lstrip("\ufeff")
    has_rows = False
    try:
        for _ in _rows(text):
            has_rows = True
    except csv.Error as error:
        raise HypermeterError(f"{name} cannot be read ({error}); repair it") from error
    columns = [column for column in (_rows(text).fieldnames or () if has_rows else ()) if column]
    by_kind = {kind: _column(columns, names) for kind, names in _COLUMNS.items()}
    if missing := [kind for kind in ("file", "split") if by_kind[kind] is None]:
        has = f"its columns are {', '.join(map(repr, columns))}" if columns else "it has no rows"
        names = " and ".join(_COLUMNS[kind][0] for kind in missing)
        raise HypermeterError(f"{name} has no column of {' or '.join(missing)}s ({has}); name it {names}")
    return Table(name, text, by_kind)


def _rows(text: str) -> "csv.DictReader[str]":
    header = text.partition("\n")[0]
    return csv.DictReader(io.StringIO(text), delimiter=max(_DELIMITERS, key=header.count))


def _column(columns: Iterable[str], names: tuple[str, ...]) -> str | None:
    """Return the column with the first of the names; case, blanks and dashes do not count."""
    by_name = {column.strip().lower().replace(" ", "_").replace("-", "_"): column for column in columns}
    return next((by_name[name] for name in names if name in by_name), None)

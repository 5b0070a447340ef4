"""Tables of a data set, info.csv: the split, style and kind of each file of their folder."""

import csv
import io
from collections.abc import Iterable
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
        rows: path of a file below the source -> its fields: split (as the table has it), style and beat_type.
    """

    name: str
    rows: dict[str, dict[str, str]]

    @property
    def folder(self) -> PurePosixPath:
        """The folder that it governs, with all below it."""
        return PurePosixPath(self.name).parent


def read_table(name: str, content: bytes) -> Table:
    """Return a table whose fields are separated by commas, semicolons, tabs or bars.

    Args:
        name: its path below the source.
        content: text in UTF-8, UTF-16, cp932 or Latin-1.

    Raises:
        HypermeterError: no table, or one without a column of files or of splits. It names the table.
    """
    text = decode_text(content).lstrip("\ufeff")
    header = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header.count)
    try:
        rows = list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
    except csv.Error as error:
        raise HypermeterError(f"{name} cannot be read ({error}); repair it") from error
    columns = [column for column in (rows[0] if rows else ()) if column]
    by_kind = {kind: _column(columns, names) for kind, names in _COLUMNS.items()}
    if missing := [kind for kind in ("file", "split") if by_kind[kind] is None]:
        has = f"its columns are {', '.join(map(repr, columns))}" if columns else "it has no rows"
        names = " and ".join(_COLUMNS[kind][0] for kind in missing)
        raise HypermeterError(f"{name} has no column of {' or '.join(missing)}s ({has}); name it {names}")
    folder = PurePosixPath(name).parent
    fields = {}
    for row in rows:
        values = {kind: (row.get(column or "") or "").strip() for kind, column in by_kind.items()}
        file = values.pop("file").replace("\\", "/")
        values["split"] = _SPLIT_NAMES.get(values["split"].lower(), values["split"])
        fields[(folder / file).as_posix()] = values
    return Table(name, fields)


def _column(columns: Iterable[str], names: tuple[str, ...]) -> str | None:
    """Return the column with the first of the names; case, blanks and dashes do not count."""
    by_name = {column.strip().lower().replace(" ", "_").replace("-", "_"): column for column in columns}
    return next((by_name[name] for name in names if name in by_name), None)


def table_of(file: str, tables: dict[PurePosixPath, Table]) -> Table | None:
    """Return the table that governs a file: that of the nearest folder above it; `None` if there is none."""
    return next((tables[folder] for folder in PurePosixPath(file).parents if folder in tables), None)

"""Reading and writing grooves as TidalCycles and Strudel code, which live coders use."""

from hypermeter.io.notation.files import (
    TEXT_SUFFIXES,
    check_parts,
    is_text,
    read_text,
    read_text_parts,
    text_of,
    write_text,
)
from hypermeter.io.notation.mini import parse_mini
from hypermeter.io.notation.names import samples_of
from hypermeter.io.notation.read import from_strudel, from_tidal
from hypermeter.io.notation.write import to_strudel, to_tidal

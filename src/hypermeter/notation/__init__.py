"""Grooves as live coders write them: TidalCycles and Strudel, in and out."""

from hypermeter.notation.files import TEXT_SUFFIXES, is_text, read_text, write_text
from hypermeter.notation.mini import parse_mini
from hypermeter.notation.names import samples_of
from hypermeter.notation.read import from_strudel, from_tidal
from hypermeter.notation.write import to_strudel, to_tidal

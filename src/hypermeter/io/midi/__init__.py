"""Reading and writing MIDI files."""

from hypermeter.io.midi.read import (
    MAX_BYTES,
    MAX_STEPS,
    MIDI_SUFFIXES,
    Piece,
    parse_midi,
    parse_midi_report,
    read_midi,
    read_midi_pieces,
    read_midi_report,
)
from hypermeter.io.midi.write import TICKS_PER_QUARTER, WRITTEN_SUFFIXES, to_midi_bytes, write_midi

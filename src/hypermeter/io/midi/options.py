"""What of a MIDI file is read: `ReadOptions` is in the core, so that commands need no NumPy for their options."""

from hypermeter.core.read_options import ReadOptions as ReadOptions

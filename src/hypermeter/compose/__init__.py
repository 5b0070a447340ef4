"""Grooves in, grooves out, from Python and from the command line."""

from hypermeter.compose.command import NOTHING_KEPT, Kept, generate_command
from hypermeter.compose.grooves import (
    columns_of_groove,
    continue_groove,
    fill_groove,
    vary_groove,
)

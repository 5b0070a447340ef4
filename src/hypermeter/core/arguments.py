"""Types of command-line options, for the commands of all layers."""

from typing import Annotated

import tyro

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""An option without a value, and without a form that begins with --no."""

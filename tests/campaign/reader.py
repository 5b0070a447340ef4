"""What is tried: readers, each with the inputs that are made for it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

Make = Callable[[Random], bytes]
"""Makes an input."""

Run = Callable[[bytes, Path], None]
"""Reads an input; the folder is its own, and empty."""


@dataclass(frozen=True)
class Reader:
    """A reader of the package.

    Args:
        name: of the table.
        make: makes an input from a random generator; of one state of that it makes one input.
        run: returns, or raises `HypermeterError`; all else is a finding.
        share: inputs of a round, beside those of other readers.
        needs: raises where the reader cannot be tried on this machine; the reason is told.
    """

    name: str
    make: Make
    run: Run
    share: float = 1.0
    needs: Callable[[], None] = field(default=lambda: None)


def check(is_so: bool, what: str) -> None:
    """Raise if what should hold of a reading does not."""
    if not is_so:
        raise AssertionError(what)

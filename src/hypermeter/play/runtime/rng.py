"""Random numbers that are the same in Python and on the page, bit for bit: sfc32, one stream for each purpose and row.

Source: Chris Doty-Humphrey's PractRand; state a, b, c and a counter, of 32 bits each.
"""

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError

HITS, EXPRESSION, RESAMPLING, VARIATION = 0, 2**16, 2**17, 2**18
"""First stream of each purpose; row r of a batch draws from the r-th after it."""

MOST_ROWS = 2**16
MOST_SEED = 2**53 - 1
"""What a JavaScript number holds."""


def check_seed(seed: int) -> None:
    """Refuses what the page could not take."""
    if not 0 <= seed <= MOST_SEED:
        raise HypermeterError(f"seed is {seed}, expected 0 to 2**53 - 1")


class Streams:
    """A generator for each row. Rows that do not draw stay where they are.

    Args:
        seed: 0 to MOST_SEED.
        first: stream of the first row.
        rows: at most MOST_ROWS.

    Raises:
        HypermeterError: a seed or number of rows out of range.
    """

    def __init__(self, seed: int, first: int = HITS, rows: int = 1):
        check_seed(seed)
        if not 1 <= rows <= MOST_ROWS:
            raise HypermeterError(f"{rows} rows, expected 1 to {MOST_ROWS}")
        self.a = np.full(rows, seed % 2**32, np.uint32)
        self.b = np.full(rows, seed // 2**32, np.uint32)
        self.c = np.arange(first, first + rows, dtype=np.uint32)
        self.counter = np.ones(rows, np.uint32)
        for _ in range(12):
            self._next(rows)

    def _next(self, rows: int) -> NDArray[np.uint32]:
        a, b, c = self.a[:rows], self.b[:rows], self.c[:rows]
        out = a + b + self.counter[:rows]
        self.counter[:rows] += np.uint32(1)
        turned = (c << np.uint32(21)) | (c >> np.uint32(11))
        a[:], b[:] = b ^ (b >> np.uint32(9)), c + (c << np.uint32(3))
        c[:] = turned + out
        return out

    def uniform(self, rows: int | None = None) -> NDArray[np.float64]:
        """One number in [0, 1) of each of the first ``rows``; left out, of all."""
        return self._next(len(self.a) if rows is None else rows) / 2.0**32

    def uniforms(self, number: int, rows: int | None = None) -> NDArray[np.float64]:
        """(rows, number), drawn one after the other."""
        return np.stack([self.uniform(rows) for _ in range(number)], 1)

"""Counter-based random numbers: a function of seed, purpose, row, step and index, in Python and on the web page.

Hits, expression, resampling and the order of variation have independent streams. As the generator has no state, player
states can be saved, forked and continued from again.

Source: Salmon, Moraes, Dror & Shaw, SC 2011, Parallel random numbers: as easy as 1, 2, 3 (Threefry-2x32, 20 rounds).
"""

import secrets

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.limits import MAX_SEED, check_seed

HITS, EXPRESSION, RESAMPLING, VARIATION, CANDIDATES, ARTICULATION = range(6)
"""Purposes of random numbers."""

MAX_ROWS = 2**16
MAX_NUMBERS = 2**13
"""Greatest number of random numbers per step and row."""

BLOCK = 2**14
"""Approximate greatest number of pairs that are computed at once."""

FIRST_BLOCK = 16
"""Number of steps computed first, which doubles each time: short uses compute few numbers that they do not need."""

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def threefry(
    key: tuple[int, int], first: NDArray[np.uint32], second: NDArray[np.uint32]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return the two words of each counter (first, second) encrypted with a key of two 32-bit words."""
    words = [np.uint32(key[0]), np.uint32(key[1])]
    words.append(words[0] ^ words[1] ^ _PARITY)
    x, y = first + words[0], second + words[1]
    carried = np.empty_like(y)
    for turn in range(5):
        for rotation in _ROTATIONS[turn % 2]:
            x += y
            np.right_shift(y, np.uint32(32 - rotation), out=carried)
            y <<= np.uint32(rotation)
            y |= carried
            y ^= x
        x += words[(turn + 1) % 3]
        y += np.uint32((int(words[(turn + 2) % 3]) + turn + 1) % 2**32)  # NumPy warns where one number overflows
    return x, y


def choose_seed(seed: int | None) -> int:
    """Return the seed after a check of its range, or a random seed for `None`."""
    if seed is None:
        return secrets.randbelow(MAX_SEED + 1)
    check_seed(seed)
    return int(seed)


class RandomStream:
    """Uniform random numbers of one purpose, for a batch.

    Args:
        seed: in [0, 2**53).
        purpose: HITS, EXPRESSION, RESAMPLING, VARIATION, CANDIDATES or ARTICULATION.
        rows: batch size.
        numbers: numbers per row and step, at most MAX_NUMBERS.
        first_row: number of the first row, from 0. Rows of equal numbers have equal streams in every batch.

    Raises:
        HypermeterError: seed, rows or numbers are out of range; there are MAX_ROWS rows.
    """

    def __init__(self, seed: int, purpose: int, rows: int, numbers: int, first_row: int = 0):
        check_seed(seed)
        if not (1 <= rows <= MAX_ROWS and 1 <= numbers <= MAX_NUMBERS):
            raise HypermeterError(f"{rows} rows of {numbers} numbers, expected 1 to {MAX_ROWS} of 1 to {MAX_NUMBERS}")
        if not 0 <= first_row <= MAX_ROWS - rows:
            raise HypermeterError(f"first row {first_row} of {rows}, expected 0 to {MAX_ROWS - rows}")
        self.rows, self.numbers = rows, numbers
        self._key = (int(seed) % 2**32, int(seed) // 2**32)
        pairs = np.arange(-(-numbers // 2), dtype=np.uint32)
        numbered = np.arange(first_row, first_row + rows, dtype=np.uint32)[:, None]
        self._second = (np.uint32(purpose << 28) | numbered << np.uint32(12)) | pairs
        self._most = max(BLOCK // self._second.size, 1)
        self._steps = min(FIRST_BLOCK, self._most)
        self._first, self._block = -1, np.zeros(0)

    def at(self, step: int) -> NDArray[np.float64]:
        """Return the numbers of a step, (rows, numbers) in [0, 1)."""
        place = step - self._first
        if self._first < 0 or not 0 <= place < self._steps:
            self._steps = min(FIRST_BLOCK if self._first < 0 else 2 * self._steps, self._most)
            self._first, place = step, 0
            self._block = self._make(step)
        return self._block[place, :, : self.numbers]

    def _make(self, step: int) -> NDArray[np.float64]:
        """Return the numbers of `_steps` steps from `step` on, (steps, rows, numbers)."""
        first = (step + np.arange(self._steps, dtype=np.int64)).astype(np.uint32)
        shape = (self._steps, *self._second.shape)
        counters = np.broadcast_to(first[:, None, None], shape), np.broadcast_to(self._second, shape)
        numbers = np.empty((*shape, 2))
        for place, words in enumerate(threefry(self._key, *counters)):
            np.multiply(words, 2.0**-32, out=numbers[..., place])
        return numbers.reshape(self._steps, len(self._second), -1)


def uniforms(seed: int, purpose: int, number: int) -> NDArray[np.float64]:
    """Return `number` uniforms in [0, 1) of row 0: the first MAX_NUMBERS are those of step 0, and so on."""
    parts = []
    for step in range(-(-number // MAX_NUMBERS)):
        length = min(number - step * MAX_NUMBERS, MAX_NUMBERS)
        parts.append(RandomStream(seed, purpose, 1, length).at(step)[0])
    return np.concatenate(parts) if parts else np.zeros(0)


def generator(seed: int, purpose: int, step: int) -> np.random.Generator:
    """Return a NumPy generator for a step that needs more numbers than a stream has."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, purpose, step])))

"""Random numbers without state: each is a function of seed, purpose, row, step and index, here and on the page.

Hits, expression, resampling and the order of variation draw from streams of their own, so that none tells anything of
another. As nothing is kept between draws, a state of music can be saved, forked and drawn from again.

Source: Salmon, Moraes, Dror & Shaw, SC 2011, Parallel random numbers: as easy as 1, 2, 3 (Threefry-2x32, 20 rounds).
"""

import secrets

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.limits import MOST_SEED, check_seed

HITS, EXPRESSION, RESAMPLING, VARIATION, CANDIDATES = range(5)
"""Purposes of random numbers."""

MOST_ROWS = 2**16
MOST_NUMBERS = 2**13
"""Of one step of one row."""

BLOCK = 4096
"""Pairs of numbers that are made at once, about, at the most."""

FIRST_BLOCK = 16
"""Steps whose numbers are made first; then twice as many each time, as who draws one part may not draw the next."""

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def threefry(
    key: tuple[int, int], first: NDArray[np.uint32], second: NDArray[np.uint32]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Encrypt counters, each of two 32-bit words, by a key of two words."""
    words = [np.uint32(key[0]), np.uint32(key[1])]
    words.append(words[0] ^ words[1] ^ _PARITY)
    x, y = first + words[0], second + words[1]
    for turn in range(5):
        for rotation in _ROTATIONS[turn % 2]:
            x += y
            y = (y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation))
            y ^= x
        x += words[(turn + 1) % 3]
        y += np.uint32((int(words[(turn + 2) % 3]) + turn + 1) % 2**32)  # NumPy warns where one number overflows
    return x, y


def choose_seed(seed: int | None) -> int:
    """Return the seed, checked; `None` chooses one at random."""
    if seed is None:
        return secrets.randbelow(MOST_SEED + 1)
    check_seed(seed)
    return int(seed)


class RandomStream:
    """The uniform numbers of one purpose, for rows side by side.

    Args:
        seed: in [0, 2**53).
        purpose: HITS, EXPRESSION, RESAMPLING, VARIATION or CANDIDATES.
        rows: at most MOST_ROWS.
        numbers: of each row at each step, at most MOST_NUMBERS.

    Raises:
        HypermeterError: a seed or a number of rows or numbers out of range.
    """

    def __init__(self, seed: int, purpose: int, rows: int, numbers: int):
        check_seed(seed)
        if not (1 <= rows <= MOST_ROWS and 1 <= numbers <= MOST_NUMBERS):
            raise HypermeterError(f"{rows} rows of {numbers} numbers, expected 1 to {MOST_ROWS} and to {MOST_NUMBERS}")
        self.numbers = numbers
        self._key = (int(seed) % 2**32, int(seed) // 2**32)
        pairs = np.arange(-(-numbers // 2), dtype=np.uint32)
        self._second = (np.uint32(purpose << 28) | np.arange(rows, dtype=np.uint32)[:, None] << np.uint32(12)) | pairs
        self._most = max(BLOCK // self._second.size, 1)
        self._steps = min(FIRST_BLOCK, self._most)
        self._first, self._block = -1, np.zeros(0)

    def at(self, step: int) -> NDArray[np.float64]:
        """Return the numbers of a step, (rows, numbers), in [0, 1)."""
        place = step - self._first
        if self._first < 0 or not 0 <= place < self._steps:
            self._steps = min(FIRST_BLOCK if self._first < 0 else 2 * self._steps, self._most)
            self._first, place = step, 0
            self._block = self._make(step)
        return self._block[place, :, : self.numbers]

    def _make(self, step: int) -> NDArray[np.float64]:
        """Return the numbers of `_steps` steps, (steps, rows, numbers)."""
        first = (step + np.arange(self._steps, dtype=np.int64)).astype(np.uint32)
        shape = (self._steps, *self._second.shape)
        counters = np.broadcast_to(first[:, None, None], shape), np.broadcast_to(self._second, shape)
        x, y = threefry(self._key, *counters)
        return np.stack([x, y], -1).reshape(self._steps, len(self._second), -1) / 2.0**32


def uniforms(seed: int, purpose: int, number: int, row: int = 0) -> NDArray[np.float64]:
    """Return `number` uniforms in [0, 1) of a row: MOST_NUMBERS of each step, from step 0 on."""
    parts = []
    for step in range(-(-number // MOST_NUMBERS)):
        length = min(number - step * MOST_NUMBERS, MOST_NUMBERS)
        parts.append(RandomStream(seed, purpose, row + 1, length).at(step)[row])
    return np.concatenate(parts) if parts else np.zeros(0)


def generator(seed: int, purpose: int, step: int) -> np.random.Generator:
    """Return a generator of its own for a step that takes more numbers than a stream has."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, purpose, step])))

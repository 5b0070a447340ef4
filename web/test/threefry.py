"""Writes ``threefry.json``: words of Threefry-2x32 with 20 rounds (Salmon et al. 2011), in Python's whole numbers."""

import json
from pathlib import Path

ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
WORD = 2**32


def threefry(key, counter):
    keys = (*key, key[0] ^ key[1] ^ 0x1BD11BDA)
    a, b = ((word + extra) % WORD for word, extra in zip(counter, keys, strict=False))
    for number in range(20):
        rotation = ROTATIONS[number % 8]
        a = (a + b) % WORD
        b = (b * 2**rotation % WORD + b // 2 ** (32 - rotation)) ^ a
        if number % 4 == 3:
            block = number // 4 + 1
            a, b = (a + keys[block % 3]) % WORD, (b + keys[(block + 1) % 3] + block) % WORD
    return a, b


def words(seed, purpose, row, step, count):
    counters = [(step, purpose * 2**28 + row * 2**12 + pair) for pair in range((count + 1) // 2)]
    return [word for counter in counters for word in threefry((seed % WORD, seed // WORD), counter)][:count]


PLACES = [
    (0, 0, 0, 0, 11),
    (1, 0, 63, 4096, 11),
    (2**32 + 5, 1, 0, 17, 21),
    (2**53 - 1, 2, 0, 100_000, 1),
    (123456789012345, 3, 0, 1, 6),
    (7, 3, 2**16 - 1, 2**32 - 1, 4),
]
names = ("seed", "purpose", "row", "step")
found = [dict(zip(names, place[:4], strict=True), words=words(*place)) for place in PLACES]
Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")

"""Odd values and mutations, drawn from a `random.Random`.

Hypothesis finds and shrinks; here an input has to be made again from its number alone, a hundred thousand times.
"""

import json
from random import Random
from typing import Any

ODD_NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    127,
    128,
    255,
    256,
    4096,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**53,
    2**63,
    -(2**63),
    10**40,
)
ODD_FLOATS = (0.5, -0.5, 1e-9, 1e300, -1e300, float("inf"), float("-inf"), float("nan"), -0.0, 1e9, 33.3)
ODD_TEXTS = (
    "", " ", "0", "a" * 300, "kick", "snare", "gm10", "auto", "4/4", "0/0", "é", "日本", "\u202e", "\x1b[2J", "a\nb",
    "\t",
    "../../x", "/dev/null", "2026-11-30", "1e400", "9" * 5000, "nan", "null", "~", "-", ":", "%s", "{0}", "\ud800",
    "\x00",
)  # fmt: skip
ODD_BYTES = (0, 1, 4, 0x0A, 0x20, 0x2F, 0x30, 0x51, 0x58, 0x7F, 0x80, 0x90, 0x99, 0xB9, 0xF0, 0xF7, 0xFE, 0xFF)


def odd_value(random: Random, depth: int = 0) -> Any:
    """Return a value of any kind that JSON and YAML know, and of some that they do not."""
    kind = random.randrange(10 if depth < 3 else 6)
    if kind == 0:
        return random.choice((None, True, False))
    if kind in (1, 2):
        return random.choice(ODD_NUMBERS)
    if kind == 3:
        return random.choice(ODD_FLOATS)
    if kind in (4, 5):
        return random.choice(ODD_TEXTS)
    if kind == 6:
        return [odd_value(random, depth + 1) for _ in range(random.randrange(5))]
    if kind == 7:
        return {str(random.choice(ODD_TEXTS)): odd_value(random, depth + 1) for _ in range(random.randrange(4))}
    if kind == 8:
        value: Any = random.choice(ODD_NUMBERS)
        for _ in range(random.choice((2, 20, 100, 500))):
            value = [value]
        return value
    return [random.choice(ODD_NUMBERS)] * random.choice((10, 1000))


def changed(random: Random, value: Any) -> Any:
    """Return a tree of lists and mappings in which one to three places are another value, twice, or missing."""
    value = json.loads(json.dumps(value))
    for _ in range(random.randint(1, 3)):
        places = list(_places(value))
        if not places:
            return odd_value(random)
        holder, key = random.choice(places)
        what = random.randrange(4)
        if what == 0:
            del holder[key]
        elif what == 1 and isinstance(holder, list):
            holder.insert(key, holder[key])
        elif what == 1:
            holder[random.choice(ODD_TEXTS)] = holder[key]
        else:
            holder[key] = odd_value(random)
    return value


def _places(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def mutated(random: Random, content: bytes, others: tuple[bytes, ...] = ()) -> bytes:
    """Return bytes in which one to eight places are changed, cut, repeated, or of another content."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 3, 8))):
        at = random.randrange(len(data) + 1)
        size = random.choice((1, 1, 2, 4, 16, 100))
        kind = random.randrange(8)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << random.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = random.choice(ODD_BYTES)
        elif kind == 2:
            del data[at : at + size]
        elif kind == 3:
            data[at:at] = bytes(random.choice(ODD_BYTES) for _ in range(size))
        elif kind == 4:
            data[at:at] = data[at : at + size] * random.choice((1, 2, 50))
        elif kind == 5:
            del data[at if random.random() < 0.3 else len(data) :]
        elif kind == 6 and others:
            other = random.choice(others)
            start = random.randrange(len(other) + 1)
            data[at:at] = other[start : start + size * 4]
        else:
            data[at : at + 4] = random.choice(ODD_NUMBERS).to_bytes(20, "big", signed=True)[-4:]
    return bytes(data)


def tokens(random: Random, alphabet: tuple[str, ...], longest: int = 40) -> str:
    """Return a text of random tokens."""
    return "".join(random.choice(alphabet) for _ in range(random.randrange(longest)))


def text_mutated(random: Random, text: str, alphabet: tuple[str, ...]) -> str:
    """Return a text in which tokens are put in, taken out or repeated."""
    for _ in range(random.randint(1, 4)):
        at, size = random.randrange(len(text) + 1), random.choice((1, 2, 5, 20))
        kind = random.randrange(4)
        if kind == 0:
            text = text[:at] + random.choice(alphabet) + text[at:]
        elif kind == 1:
            text = text[:at] + text[at + size :]
        elif kind == 2:
            text = text[:at] + text[at : at + size] * random.choice((2, 5, 100)) + text[at:]
        else:
            text = text[:at] + random.choice(ODD_TEXTS) + text[at:]
    return text


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def decoded(content: bytes) -> str:
    return content.decode("utf-8", "surrogatepass")

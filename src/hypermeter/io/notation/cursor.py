"""A position in mini-notation, and the numbers there, which Tidal and Strudel write differently."""

import re
from fractions import Fraction

from hypermeter.core.errors import HypermeterError
from hypermeter.io.notation.source import Source

MAX_STEPS = 4096
"""Most steps of a Euclidean rhythm, and most copies of a step."""

_SPACES = re.compile(r"\s*")
_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?(?!\d)|\.\d{1,9}(?!\d)")
_WHOLE = re.compile(r"\d{1,9}(?!\d)")
_DIVISOR = re.compile(r"%(\d{1,9})(?!\d)")
_RATIO = re.compile(r"\s*([whqestfx])(?![^\W\d_])")


class Cursor:
    """Parse from left to right; each method leaves the index `at` behind the text that it has parsed."""

    def __init__(self, source: Source, is_strudel: bool) -> None:
        self.source, self.text, self.is_strudel = source, source.text, is_strudel
        self.at = 0

    def fail(self, what: str, at: int | None = None) -> HypermeterError:
        return self.source.error(what, self.at if at is None else at)

    def peek(self, ahead: int = 0) -> str:
        return self.text[self.at + ahead : self.at + ahead + 1]

    def skip_spaces(self) -> None:
        while self.peek().isspace():
            self.at += 1

    def skip_spaces_before(self, signs: str) -> None:
        """Skip spaces if one of the signs follows them."""
        spaces = _SPACES.match(self.text, self.at)
        end = spaces.end() if spaces else self.at
        if self.text[end : end + 1] and self.text[end] in signs:
            self.at = end

    def take(self, sign: str) -> bool:
        if self.text.startswith(sign, self.at):
            self.at += len(sign)
            return True
        return False

    def number(self, after: str) -> Fraction:
        """Parse a number behind a sign."""
        match = _NUMBER.match(self.text, self.at)
        number = Fraction(match[0]) if match else Fraction(0)
        if match and not self.is_strudel and match[0].startswith("."):
            raise self.fail(f"{match[0]!r} is no number in Tidal; write 0{match[0]}")
        if not match or not 0 < number <= MAX_STEPS:
            raise self.fail(f"{after!r} without a number after it, expected more than 0 and at most {MAX_STEPS}")
        self.at = match.end()
        if not self.is_strudel and (divisor := _DIVISOR.match(self.text, self.at)):
            if number.denominator != 1 or not int(divisor[1]):
                raise self.fail(f"{match[0]}{divisor[0]} is no fraction of whole numbers")
            self.at, number = divisor.end(), number / int(divisor[1])
        if not self.is_strudel and (letter := _RATIO.match(self.text, self.at)):
            raise self.fail(
                f"Tidal takes {letter[1]!r} for a part of the number before it; put what is before into [ ]"
            )
        return number

    def whole(self, after: str) -> int:
        """Parse a whole number behind a sign."""
        match = _WHOLE.match(self.text, self.at)
        if not match or not 1 <= int(match[0]) <= MAX_STEPS:
            raise self.fail(f"{after!r} without a whole number after it, expected one up to {MAX_STEPS}")
        self.at = match.end()
        return int(match[0])

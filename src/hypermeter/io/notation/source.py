"""Text with positions, which errors name."""

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from hypermeter.core.errors import HypermeterError

MAX_NUMBER = 10**6
"""Largest number of a pattern."""


@dataclass(frozen=True, eq=False)
class Source:
    """A text within a file or code.

    Args:
        text: the text.
        where: the name of its file or code in errors.
        line, column: position of the text in that, from 1.
    """

    text: str
    where: str
    line: int = 1
    column: int = 1

    def place(self, at: int) -> str:
        """Return in words where index `at` of the text is."""
        return f"{self.where}, {describe_place(self.text, at, self.line, self.column)}"

    def error(self, what: str, at: int) -> HypermeterError:
        """Return an error about what is at an index of the text."""
        return HypermeterError(f"{self.place(at)}: {what}")

    def part(self, begin: int, end: int) -> "Source":
        """Return the text from one index to another."""
        before = self.text.count("\n", 0, begin)
        column = begin - self.text.rfind("\n", 0, begin) if before else self.column + begin
        return Source(self.text[begin:end], self.where, self.line + before, column)


class Word(NamedTuple):
    """A word or number of a pattern, and its index in the text."""

    text: str
    at: int
    source: Source

    def error(self, what: str) -> HypermeterError:
        return self.source.error(what, self.at)

    def number(self, name: str = "a number", least: float = -MAX_NUMBER, most: float = MAX_NUMBER) -> Fraction:
        """Return the number that the word is.

        Raises:
            HypermeterError: no number, or one out of range; it names the number as `name`.
        """
        if self.text.isascii() and len(self.text) <= 40 and "e" not in self.text.lower():
            try:
                number = Fraction(self.text.replace("%", "/"))
                if least <= number <= most:
                    return number
            except (ValueError, ZeroDivisionError):
                pass
        expected = f"expected a number from {least:g} to {most:g}"
        raise self.error(f"{name} {self.text[:20]!r}, {expected}")

    def whole(self, name: str, least: int, most: int) -> int:
        """Return the whole number that the word is; raise as `number` does."""
        number = self.number(name, least, most)
        if number.denominator != 1:
            raise self.error(f"{name} {self.text[:20]!r}, expected a whole number from {least} to {most}")
        return int(number)

    def is_true(self) -> bool:
        """Return whether the word is t or 1, or x, and not f or 0."""
        if self.text not in ("t", "true", "1", "x", "f", "false", "0"):
            raise self.error(f"{self.text[:20]!r}, expected t or f, or 1 or 0")
        return self.text in ("t", "true", "1", "x")


def describe_place(text: str, at: int, line: int = 1, column: int = 1) -> str:
    """Return in words the position of index `at` of a text that starts at a line and column."""
    before = text.count("\n", 0, at)
    column = at - text.rfind("\n", 0, at) if before else column + at
    return f"line {line + before}, column {column}"

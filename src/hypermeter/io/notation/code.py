"""What the readers of Tidal and of Strudel code have in common: tokens, and values as arguments of functions."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hypermeter.core.errors import HypermeterError
from hypermeter.io.notation.functions import CHANCE, Function
from hypermeter.io.notation.mini import Kind, parse_mini
from hypermeter.io.notation.pattern import Pattern, atom
from hypermeter.io.notation.source import Source, Word

MAX_NESTED = 100
"""Most nested brackets."""


@dataclass(frozen=True)
class Program:
    """What code plays.

    Args:
        pattern: values of controls by name.
        cycles_a_minute: the tempo, if the code sets one.
    """

    pattern: Pattern
    cycles_a_minute: Fraction | None = None


@dataclass(frozen=True)
class Token:
    """A part of the code: its kind, its text, where it starts and ends, and whether it is the first of its line."""

    kind: str
    text: str
    at: int
    end: int
    is_first: bool


class Reader:
    """Read code from left to right and work out its value."""

    is_strudel = False

    def __init__(self, source: Source, grammar: re.Pattern[str]) -> None:
        self.source, self.tokens, self.index, self.depth = source, [], 0, 0
        line_start = True
        for match in grammar.finditer(source.text):
            kind = match.lastgroup or "space"
            if kind not in ("space", "comment"):
                self.tokens.append(Token(kind, match[0], match.start(), match.end(), line_start))
            line_start = "\n" in match[0] if kind == "space" else line_start and kind == "comment"
        end = len(source.text)
        self.tokens.append(Token("end", "", end, end, True))
        for token in self.tokens:
            if token.text in ('"', "`"):
                raise self.error("a quote that is not closed", token)

    @property
    def token(self) -> Token:
        return self.ahead(0)

    def ahead(self, count: int) -> Token:
        """Return the token that many after the present one; behind the last, which is the end, the end."""
        return self.tokens[min(self.index + count, len(self.tokens) - 1)]

    def error(self, what: str, token: Token | None = None) -> HypermeterError:
        return self.source.error(what, (token or self.token).at)

    def next(self) -> Token:
        token = self.token
        self.index += 1
        return token

    def take(self, text: str) -> bool:
        if self.token.text == text and self.token.kind != "text":
            self.index += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise self.error(f"{self.token.text or 'the end'!r}, expected {text!r}")

    def deeper(self) -> None:
        """Count one more bracket that is open."""
        self.depth += 1
        if self.depth > MAX_NESTED:
            raise self.error(f"more than {MAX_NESTED} brackets within each other")

    def not_read(self, token: Token) -> HypermeterError:
        """Return the error about a name or sign that is not read."""
        if token.text in CHANCE:
            return self.error(f"{token.text!r} plays by chance, which is not read; write out what it plays", token)
        return self.error(f"{token.text!r} is not read; expected s, stack, gain, nudge and patterns in quotes", token)

    def word(self, token: Token, text: str | None = None) -> Word:
        return Word(token.text if text is None else text, token.at, self.source)

    def inner(self, token: Token) -> Source:
        """Return the text between the quotes of a token."""
        return self.source.part(token.at + 1, token.end - 1)

    def computed(self, sign: str, left: Any, right: Any, token: Token) -> Word:
        """Return the result of arithmetic on two numbers."""
        if not (isinstance(left, Word) and isinstance(right, Word)):
            raise self.error(f"{sign!r} of what are no plain numbers is not read", token)
        first, second = left.number(), right.number()
        if sign == "/" and not second:
            raise self.error("a division by 0", token)
        result = {"+": first + second, "-": first - second, "*": first * second}.get(sign)
        return self.word(token, str(first / second if result is None else result))

    # Values as arguments.

    def mini(self, source: Source, kind: Kind) -> Pattern:
        return parse_mini(source, rotates_right=self.is_strudel, kind=kind)

    def words(self, value: Any, kind: Kind, token: Token) -> Pattern:
        """Return a value as a pattern of words."""
        if isinstance(value, Source):
            return self.mini(value, kind)
        if isinstance(value, Word):
            return atom(value)
        if isinstance(value, Pattern):
            return value
        raise self.error("expected a pattern in quotes, or a number", token)

    def pattern(self, value: Any, token: Token) -> Pattern:
        """Return a value as a pattern of controls."""
        if not isinstance(value, Pattern):
            raise self.error(f'{token.text[:20]!r}, expected a pattern of sounds as s "bd sd"', token)
        return value

    def change(self, value: Any, token: Token) -> Callable[[Pattern], Pattern]:
        """Return a value as a function of a pattern."""
        if not isinstance(value, Function) or value.missing != "p":
            raise self.error("expected a function of a pattern, such as rev", token)
        return lambda pattern: self.pattern(self.call(value, pattern, token), token)

    def patterns(self, value: Any, token: Token) -> list[Pattern]:
        if not isinstance(value, list):
            raise self.error("expected a list of patterns in [ ]", token)
        return [self.pattern(item, token) for item in value]

    def call(self, function: Any, argument: Any, token: Token) -> Any:
        """Return a function with one more argument, or its result if that was the last."""
        if not isinstance(function, Function):
            raise self.error(f"{token.text[:20]!r} is an argument of what is no function", token)
        kind = function.missing[0]
        if kind in "nmwb":
            kinds: dict[str, Kind] = {"w": "words", "b": "bools"}
            argument = self.words(argument, kinds.get(kind, "numbers"), token)
        elif kind == "l":
            argument = self.patterns(argument, token)
        else:
            argument = (self.change if kind == "f" else self.pattern)(argument, token)
        try:
            return function.given_one(argument)
        except HypermeterError as error:
            raise error if str(error).startswith(self.source.where) else self.error(str(error), token) from error

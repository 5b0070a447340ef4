"""Reading TidalCycles code: the expressions of Haskell that patterns of drums are written in."""

import re
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

from hypermeter.io.notation.code import Program, Reader, Token
from hypermeter.io.notation.functions import (
    CONTROLS,
    SOUNDS,
    TIDAL_FUNCTIONS,
    TIMED,
    WORD_CONTROLS,
    Function,
    as_controls,
    controls_of,
    wave,
)
from hypermeter.io.notation.pattern import SILENCE, Pattern, late, merge, merge_both, patterned, stack
from hypermeter.io.notation.source import Source, Word

_GRAMMAR = re.compile(
    r"""(?P<comment>--(?![!\#$%&*+./<=>?@\\^|~]).*|\{-[\s\S]*?-\})
    |(?P<text>"[^"]*")
    |(?P<number>\d+(?:\.\d+)?)
    |(?P<word>[A-Za-z_]\w*'*)
    |(?P<sign>\|[-+*/%<>]+\||\|[-+*/%<>]+|[-+*/%<>]+\||<~|~>|<>|\S)
    |\s+""",
    re.VERBOSE,
)
_STREAM = re.compile(r"d\d{1,2}")
_TEMPOS = {"setcps": 60, "setCps": 60, "setcpm": 1}
_HEADS = ("hush", "silence", "once", "let", "p", "do", "all", "solo", "unsolo", "mute", "unmute", "resetCycles")
_COMBINATION = re.compile(r"\|?([-+*/%<>])\|?")
_PRECEDENCE = {"$": 0, "<>": 6, "+": 6, "-": 6, "*": 7, "/": 7, ".": 9}
"""Of the operators that Haskell ranks; all of Tidal's own are at 9."""


def read_tidal(source: Source) -> Program:
    """Return what TidalCycles code plays once it has been evaluated from its start to its end.

    Raises:
        HypermeterError: code that is not read, with its position.
    """
    return _Tidal(source, _GRAMMAR).program()


class _Tidal(Reader):
    def program(self) -> Program:
        streams: dict[str, Pattern] = {}
        cycles = None
        while self.token.kind != "end":
            head = self.token
            if head.text in _TEMPOS:
                self.next()
                cycles = self.tempo(head)
            elif head.text == "hush":
                self.next()
                streams.clear()
            elif head.text == "do":
                self.next()
            elif _STREAM.fullmatch(head.text) or head.text == "p":
                self.next()
                name = head.text if head.text != "p" else str(self.next().text.strip('"'))
                self.take("$")
                streams[name] = self.played()
            elif head.text in _HEADS and head.text != "silence":
                raise self.not_read(head)
            else:
                streams[f"line at {head.at}"] = self.played()
        return Program(stack(list(streams.values())) if streams else SILENCE, cycles)

    def played(self) -> Pattern:
        """Read the pattern of a stream, which ends where the next statement starts."""
        start = self.token
        pattern = self.pattern(self.expression(), start)
        if self.token.kind != "end" and not self.is_head():
            raise self.not_read(self.token)
        return pattern

    def is_head(self) -> bool:
        """Return whether a statement starts at the next token."""
        token = self.token
        is_name = bool(_STREAM.fullmatch(token.text)) or token.text in _HEADS or token.text in _TEMPOS
        is_at_margin = token.kind == "word" and self.source.text[: token.at].endswith("\n")
        return token.is_first and not self.depth and (is_name or is_at_margin)

    def tempo(self, head: Token) -> Fraction:
        """Read the argument of setcps, and return the cycles a minute."""
        self.take("$")
        if self.token.kind != "number" and self.token.text not in ("(", "-"):
            raise self.error(f"{head.text} without a number, expected one as (120/60/4)", head)
        value = self.expression()
        if not isinstance(value, Word):
            raise self.error(f"{head.text} of a pattern, expected a number as (120/60/4)", head)
        return value.number(f"{head.text} of", 0) * _TEMPOS[head.text]

    def expression(self, least: int = 0) -> Any:
        """Read an expression whose operators have at least a precedence."""
        value = self.application()
        while self.token.kind == "sign" and not self.is_end():
            sign = self.token
            precedence = _PRECEDENCE.get(sign.text, 9)
            if precedence < least or (self.is_operator(sign.text) and self.ahead(1).text == ")"):
                return value
            if not self.is_operator(sign.text):
                raise self.not_read(sign)
            self.next()
            value = self.combined(sign, value, self.expression(precedence + (sign.text not in "$.")))
        return value

    def is_operator(self, text: str) -> bool:
        return text in ("$", ".", "#", "<~", "~>", "<>") or bool(_COMBINATION.fullmatch(text))

    def is_end(self) -> bool:
        return self.token.kind == "end" or self.token.text in (")", "]", ",") or self.is_head()

    def application(self) -> Any:
        """Read a function and its arguments, or a single value."""
        if self.token.text == "-" and self.ahead(1).kind == "number":
            self.next()
            number = self.next()
            return self.word(number, f"-{number.text}")
        value = self.atom()
        while self.token.kind in ("text", "number", "word") or self.token.text in ("(", "["):
            if self.is_end():
                break
            token = self.token
            value = self.call(value, self.atom(), token)
        return value

    def atom(self) -> Any:
        token = self.next()
        if token.kind == "text":
            return self.inner(token)
        if token.kind == "number":
            return self.word(token)
        if token.kind == "word":
            return self.named(token)
        if token.text == "(":
            return self.within_brackets(")")
        if token.text == "[":
            return self.within_brackets("]")
        raise self.not_read(token) if token.kind != "end" else self.error("the end, expected a pattern", token)

    def within_brackets(self, closing: str) -> Any:
        """Read what follows an opening bracket: a list, a value, or an operator with one of its sides."""
        self.deeper()
        start, values = self.token, []
        if closing == ")" and self.token.kind == "sign" and self.is_operator(self.token.text):
            sign = self.next()
            if sign.text == "-" and self.token.kind == "number":
                self.index -= 1
            else:
                right = self.expression()
                self.expect(closing)
                self.depth -= 1
                return Function(sign.text, "p", partial(self.combined, sign, right=right))
        while not self.take(closing):
            values.append(self.expression())
            if self.token.kind == "sign" and self.is_operator(self.token.text) and closing == ")":
                sign, left = self.next(), values[0]
                self.expect(closing)
                self.depth -= 1
                return Function(sign.text, "p", partial(self.combined, sign, left))
            if self.token.text != closing:
                self.expect(",")
        self.depth -= 1
        if closing == "]":
            return values
        if len(values) != 1:
            raise self.error("a tuple, which is not read; expected one value in ( )", start)
        return values[0]

    def named(self, token: Token) -> Any:
        """Return the value of a name."""
        name = token.text
        if name in ("silence", "hush"):
            return SILENCE
        if name in TIDAL_FUNCTIONS:
            return TIDAL_FUNCTIONS[name]
        if name in SOUNDS or name in TIMED or (name in CONTROLS and name != "cps"):
            kinds = "w" if name in WORD_CONTROLS else "m"
            return Function(name, kinds, lambda pattern: controls_of(name, pattern, is_strudel=False))
        signal = wave(name, self.word(token), Fraction(1, 2))
        if signal is None:
            raise self.not_read(token)
        return signal

    def combined(self, sign: Token, left: Any, right: Any) -> Any:
        """Return the value of an operator."""
        text = sign.text
        if text == "$":
            return self.call(left, right, sign)
        if text == ".":
            outer, inner = self.change(left, sign), self.change(right, sign)
            return Function(".", "p", lambda pattern: outer(inner(pattern)))
        if text in ("<~", "~>"):
            return self.shifted(left, self.pattern(right, sign), -1 if text == "<~" else 1, sign)
        if text == "<>":
            return stack([self.pattern(left, sign), self.pattern(right, sign)])
        if len(text) == 1 and text != "#" and isinstance(left, Word) and isinstance(right, Word):
            return self.computed(text, left, right, sign)
        return self.united(text, self.pattern(left, sign), self.pattern(right, sign))

    def shifted(self, amount: Any, pattern: Pattern, direction: int, sign: Token) -> Pattern:
        amounts = self.words(amount, "numbers", sign)
        return patterned(lambda word: late(pattern, direction * word.number(f"{sign.text} of")), amounts)

    def united(self, text: str, left: Pattern, right: Pattern) -> Pattern:
        """Return two patterns of controls as one, as # and its kin do; bars stand where the structure is from."""
        text = "|>" if text == "#" else text
        match = _COMBINATION.fullmatch(text)
        operation = match[1] if match else ">"
        unite: Callable[..., dict[str, Word]] = partial(_united, operation)
        if text.startswith("|") and not text.endswith("|"):
            return merge(left, right, unite)
        if text.endswith("|") and not text.startswith("|"):
            return merge(right, left, lambda second, first: unite(first, second))
        return merge_both(left, right, unite)


def _united(operation: str, first: dict[str, Word], second: dict[str, Word]) -> dict[str, Word]:
    """Return the values of two events; of a control that both have, the result of an operation."""
    first, second = as_controls(first), as_controls(second)
    if operation in "<>":
        return {**second, **first} if operation == "<" else {**first, **second}
    both = {}
    for name in first.keys() & second.keys():
        one, other = first[name], second[name]
        if name in WORD_CONTROLS:
            both[name] = one._replace(text=one.text + other.text) if operation == "+" else other
        elif name in TIMED or name == "n":
            both[name] = one._replace(text=str(_computed(operation, one, other)))
    return {**first, **second, **both}


def _computed(operation: str, one: Word, other: Word) -> Fraction:
    first, second = one.number(), other.number()
    if operation in "/%" and not second:
        raise other.error("a division by 0")
    if operation in "+-":
        return first + second if operation == "+" else first - second
    return first * second if operation == "*" else first / second if operation == "/" else first % second

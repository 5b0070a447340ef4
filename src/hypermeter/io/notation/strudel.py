"""Reading Strudel code: the expressions of JavaScript that patterns of drums are written in."""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from hypermeter.io.notation.code import Program, Reader, Token
from hypermeter.io.notation.functions import (
    CONTROLS,
    OUTPUTS,
    SOUNDS,
    STRUDEL_FUNCTIONS,
    STRUDEL_LISTS,
    TIMED,
    Function,
    as_controls,
    controls_of,
    wave,
)
from hypermeter.io.notation.pattern import SILENCE, Pattern, merge, sequence, stack
from hypermeter.io.notation.source import Source, Word

_GRAMMAR = re.compile(
    r"""(?P<comment>//.*|/\*[\s\S]*?\*/)
    |(?P<text>"[^"\n]*"|`[^`]*`)
    |(?P<plain>'[^'\n]*')
    |(?P<number>\d+(?:\.\d+)?|\.\d+)
    |(?P<word>[A-Za-z_$][\w$]*)
    |(?P<sign>=>|\S)
    |\s+""",
    re.VERBOSE,
)
_TEMPOS = {"setcps": 60, "setCps": 60, "setcpm": 1, "setCpm": 1}
_LOADERS = ("samples", "initHydra", "aliasBank", "useRNG", "setVoicingRange")
"""Functions that change what a sound is, and not when it plays."""
_STREAM = re.compile(r"[dp][1-9]")
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
_MAX_STREAMS = 1000


class _Nothing:
    """The value of what gives no pattern, such as an object in braces."""


def read_strudel(source: Source) -> Program:
    """Return what Strudel plays once code has been evaluated.

    Patterns with a label, as in `$: s("bd")`, play together; without any, the last statement alone plays.

    Raises:
        HypermeterError: code that is not read, with its position.
    """
    return _Strudel(source, _GRAMMAR).program()


class _Strudel(Reader):
    is_strudel = True

    def __init__(self, source: Source, grammar: re.Pattern[str]) -> None:
        super().__init__(source, grammar)
        self.streams: dict[str, Pattern] = {}
        self.names: dict[str, Any] = {}
        self.cycles: Fraction | None = None
        self.body_end = 0
        self.all_changes: list[Callable[[Pattern], Pattern]] = []

    def program(self) -> Program:
        last: Any = SILENCE
        while self.token.kind != "end":
            if self.take(";"):
                continue
            last = self.statement()
            if self.token.text != ";" and not self.token.is_first:
                raise self.not_read(self.token)
        pattern = last if isinstance(last, Pattern) else SILENCE
        if self.streams:
            soloed = [stream for name, stream in self.streams.items() if len(name) > 1 and name.startswith("S")]
            pattern = stack(soloed or list(self.streams.values()))
        for change in self.all_changes:
            pattern = change(pattern)
        return Program(pattern, self.cycles)

    def statement(self) -> Any:
        """Read a statement: one with a label, one that names a value, or an expression."""
        token = self.token
        if token.text in ("const", "let", "var"):
            self.next()
            name = self.next()
            self.expect("=")
            self.names[name.text] = self.expression()
            return SILENCE
        if token.kind == "word" and self.ahead(1).text == ":":
            self.index += 2
            start = self.token
            return self.register(token.text, self.pattern(self.expression(), start))
        self.take("await")
        return self.expression()

    def register(self, name: str, pattern: Pattern) -> Pattern:
        """Play a pattern under a name; with an underscore at its start or end it is muted."""
        if name.startswith("_") or name.endswith("_"):
            return SILENCE
        if "$" in name:
            name += str(len(self.streams))
        self.streams[name] = pattern
        return pattern

    def expression(self, least: int = 0) -> Any:
        """Read an expression whose operators have at least a precedence."""
        value = self.chain()
        while _PRECEDENCE.get(self.token.text, -1) >= least and self.token.kind == "sign":
            sign = self.next()
            value = self.computed(sign.text, value, self.expression(_PRECEDENCE[sign.text] + 1), sign)
        return value

    def chain(self) -> Any:
        """Read a value and the methods that are called on it."""
        token = self.token
        value = self.value()
        while self.take("."):
            name = self.next()
            if name.kind != "word":
                raise self.not_read(name)
            if _STREAM.fullmatch(name.text) and self.token.text != "(":
                value = self.register(name.text, self.pattern(value, token))
                continue
            arguments = self.arguments()
            value = self.method(name, value, arguments)
        return value

    def arguments(self) -> list[Any]:
        """Read arguments in round brackets."""
        self.expect("(")
        return self.items(")")

    def items(self, closing: str) -> list[Any]:
        self.deeper()
        values = []
        while not self.take(closing):
            values.append(self.expression())
            if self.token.text != closing:
                self.expect(",")
        self.depth -= 1
        return values

    def value(self) -> Any:
        token = self.next()
        if token.kind == "text":
            return self.mini(self.inner(token), "words")
        if token.kind == "plain":
            return self.word(token, token.text[1:-1])
        if token.kind == "number":
            return self.word(token)
        if token.text == "-" and self.token.kind == "number":
            return self.word(token, f"-{self.next().text}")
        if token.kind == "word":
            return self.named(token)
        if token.text == "(":
            if self.token.text == ")" or (self.token.kind == "word" and self.ahead(2).text == "=>"):
                return self.arrow(token)
            values = self.items(")")
            if len(values) != 1:
                raise self.error("expected one value in ( )", token)
            return values[0]
        if token.text == "[":
            steps = [self.reified(item, token) for item in self.items("]")]
            return sequence([(step, Fraction(1)) for step in steps]) if steps else SILENCE
        if token.text == "{":
            return self.object()
        raise self.not_read(token) if token.kind != "end" else self.error("the end, expected a pattern", token)

    def object(self) -> _Nothing:
        """Read an object in braces, as of options for MIDI."""
        self.deeper()
        while not self.take("}"):
            self.next()
            self.expect(":")
            self.expression()
            if self.token.text != "}":
                self.expect(",")
        self.depth -= 1
        return _Nothing()

    def named(self, token: Token) -> Any:
        """Return the value of a name, or of the function of that name with the arguments behind it."""
        name = token.text
        if self.token.text == "=>":
            self.index -= 1
            return self.arrow(token)
        if name in self.names:
            return self.names[name]
        if name == "silence":
            return SILENCE
        signal = wave(name, self.word(token), Fraction(0))
        if signal is not None:
            return signal
        if name in ("true", "false"):
            return self.word(token)
        if self.token.text != "(":
            return self.function(token)
        arguments = self.arguments()
        if name in _LOADERS:
            return _Nothing()
        if name == "hush":
            self.streams.clear()
            return SILENCE
        if name in _TEMPOS:
            if len(arguments) != 1 or not isinstance(arguments[0], Word):
                raise self.error(f"{name} without a number, expected one as {name}(120/4)", token)
            self.cycles = arguments[0].number(f"{name} of", 0) * _TEMPOS[name]
            return SILENCE
        if name == "all" and len(arguments) == 1:
            self.all_changes.append(self.change(arguments[0], token))
            return SILENCE
        if name in STRUDEL_LISTS:
            return self.listed(token, arguments)
        function = self.function(token)
        if len(arguments) > len(function.missing):
            raise self.error(f"{name} of {len(arguments)} values, expected at most {len(function.missing)}", token)
        for argument in arguments:
            function = self.call(function, argument, token)
        return function

    def function(self, token: Token) -> Function:
        """Return the function of a name."""
        name = token.text
        if name in SOUNDS or name in TIMED or name in CONTROLS:
            return Function(name, "w", lambda pattern: controls_of(name, pattern, is_strudel=True))
        if name not in STRUDEL_FUNCTIONS:
            raise self.not_read(token)
        return STRUDEL_FUNCTIONS[name]

    def listed(self, token: Token, arguments: list[Any]) -> Pattern:
        """Return the value of a function of any number of patterns."""
        steps = [self.reified(argument, token) for argument in arguments]
        return STRUDEL_LISTS[token.text](steps) if steps else SILENCE

    def reified(self, value: Any, token: Token) -> Pattern:
        return self.words(value, "words", token)

    def method(self, name: Token, value: Any, arguments: list[Any]) -> Any:
        """Return the value of a method of a pattern."""
        pattern, text = self.reified(value, name), name.text
        if text in OUTPUTS or text.startswith("_"):
            return pattern
        if text in ("hush", "q"):
            return SILENCE
        if text == "p":
            label = arguments[0] if arguments else None
            if not isinstance(label, Word):
                raise self.error("p without a name, expected one as p(1)", name)
            return self.register(label.text, pattern)
        if text in STRUDEL_LISTS:
            return STRUDEL_LISTS[text]([pattern, *(self.reified(argument, name) for argument in arguments)])
        function = self.function(name)
        if function.kinds == "w":
            if not arguments:
                return self.call(function, pattern, name)
            return merge(
                pattern, self.call(function, arguments[0], name), lambda first, second: {**as_controls(first), **second}
            )
        wanted = len(function.kinds) - 1
        if wanted == 1 and len(arguments) > 1 and function.kinds[0] in "nb":
            arguments = [sequence([(self.reified(argument, name), Fraction(1)) for argument in arguments])]
        if len(arguments) != wanted:
            raise self.error(f"{text} of {len(arguments)} values, expected {wanted}", name)
        for argument in arguments:
            function = self.call(function, argument, name)
        return self.call(function, pattern, name)

    def arrow(self, token: Token) -> Function:
        """Read a function of one pattern, as `x => x.fast(2)`, whose body is worked out at each call."""
        parameter = self.next()
        if token.text == "(":
            self.expect(")")
        self.expect("=>")
        body, nested, names = self.index, self.depth, self.names

        def call(pattern: Pattern) -> Any:
            before = self.index, self.depth, self.names
            self.index, self.depth, self.names = body, nested, {**names, parameter.text: pattern}
            result, self.body_end = self.expression(), self.index
            self.index, self.depth, self.names = before
            return result

        call(SILENCE)
        self.index = self.body_end
        return Function("=>", "p", call)

"""The mini-notation of Tidal and Strudel, as far as drums need it: text to a ``Pattern``."""

import re
from fractions import Fraction

from hypermeter.core.errors import HypermeterError
from hypermeter.io.notation.pattern import SILENCE, Pattern, atom, euclid, faster, sequence, together

MAX_STEPS = 4096
"""Of a Euclidean rhythm, or copies of a step: more is taken for a slip."""

MAX_DENSITY = 1024
"""Events a cycle."""

MAX_DEPTH = 50
"""Groups within groups."""

MAX_MODIFIED = 100
"""Patterns within each other, where one is modified: as bd*2*2*2."""

_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?(?!\d)|\.\d{1,9}(?!\d)")
_WHOLE = re.compile(r"\d{1,9}(?!\d)")
_WORD = re.compile(r"-?\d*\.?\d+(?![\w:])|\d*[A-Za-z]\w*(:\d+)?")
_CLOSING = {"[": "]", "<": ">", "{": "}"}
_NOT_READ = {
    "?": "chance",
    "|": "a random choice",
    "'": "chords",
    "^": "variables",
    ".": "grouping by dots",
    "%": "steps of what is no {}",
    "&": "rotations",
}


def parse_mini(
    text: str, where: str = "pattern", line: int = 1, column: int = 1, rotates_right: bool = False
) -> Pattern:
    """A pattern from mini-notation.

    Read are sequences, rests ``~`` and ``-``, groups ``[a b]``, alternations ``<a b>``, polymetres ``{a b c}%4``,
    stacks with commas, ``a*3``, ``a/2``, ``a!3``, ``a!``, ``a@3``, ``a _``, and Euclidean rhythms ``a(3,8)`` and
    ``a(3,8,2)``.

    Args:
        text: what stands between the quotes.
        where: how errors name it.
        line, column: where in that the text begins, so that errors tell the place.
        rotates_right: the third number of a Euclidean rhythm moves it to later steps, as in Strudel, and not to earlier
            ones, as in Tidal.

    Raises:
        HypermeterError: what is not in this list, such as chance; a bracket that is not closed; a number out of range;
            more than 1024 events a cycle.
    """
    parser = _Parser(text, where, line, column, rotates_right)
    pattern = together(_sequences(parser.stack("")))
    if pattern.density > MAX_DENSITY:
        raise parser.fail(f"more than {MAX_DENSITY} sounds in a cycle", 0)
    return pattern


def place_of(text: str, at: int, line: int = 1, column: int = 1) -> str:
    """Where a character of a text is, for people: of a text that begins at that line and column."""
    before = text.count("\n", 0, at)
    column = at - text.rfind("\n", 0, at) if before else column + at
    return f"line {line + before}, column {column}"


def _sequences(stack: "list[list[tuple[Pattern, Fraction]]]") -> list[Pattern]:
    return [sequence(steps) if steps else SILENCE for steps in stack]


class _Parser:
    """Reads from left to right; each method leaves ``at`` behind what it has read."""

    def __init__(self, text: str, where: str, line: int, column: int, rotates_right: bool) -> None:
        self.text, self.where, self.line, self.column = text, where, line, column
        self.rotation_sign = -1 if rotates_right else 1
        self.at = self.depth = 0

    def fail(self, what: str, at: int | None = None) -> HypermeterError:
        place = place_of(self.text, self.at if at is None else at, self.line, self.column)
        return HypermeterError(f"{self.where}, {place}: {what}")

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def skip_spaces(self) -> None:
        while self.peek().isspace():
            self.at += 1

    def take(self, sign: str) -> bool:
        if self.text.startswith(sign, self.at):
            self.at += len(sign)
            return True
        return False

    def stack(self, closing: str) -> list[list[tuple[Pattern, Fraction]]]:
        """Sequences with commas between them, until ``closing`` or the end of the text; it is not read itself."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.fail(f"more than {MAX_DEPTH} groups within each other")
        stack = [self.steps(closing)]
        while self.take(","):
            stack.append(self.steps(closing))
        self.depth -= 1
        return stack

    def steps(self, closing: str) -> list[tuple[Pattern, Fraction]]:
        """The steps of a sequence, each with its weight."""
        steps: list[tuple[Pattern, Fraction]] = []
        while True:
            self.skip_spaces()
            sign = self.peek()
            if not sign or sign in ",]>})":
                if sign not in (",", closing):
                    if not closing:
                        raise self.fail(f"{sign!r} closes nothing; take it out")
                    raise self.fail(f"{sign or 'the end of the pattern'!r}, expected {closing!r}")
                return steps
            start = self.at
            if sign in "!_":
                self.at += 1
                if not steps:
                    raise self.fail(f"{sign!r} has nothing before it", start)
                pattern, weight = steps[-1]
                if sign == "!":
                    steps.append((pattern, weight))
                else:
                    steps[-1] = pattern, weight + 1
                continue
            pattern = self.term()
            steps += self.modified(pattern)

    def term(self) -> Pattern:
        start, sign = self.at, self.peek()
        if sign in _CLOSING:
            self.at += 1
            stack = self.stack(_CLOSING[sign])
            self.at += 1
            if sign == "[":
                return together(_sequences(stack))
            return self.alternation(stack, start) if sign == "<" else self.polymetre(stack, start)
        if found := _WORD.match(self.text, self.at):
            self.at = found.end()
            return atom(found[0], start)
        if sign in "~-":
            self.at += 1
            return SILENCE
        if sign in _NOT_READ:
            raise self.fail(f"{sign!r} is {_NOT_READ[sign]}, which is not read; write the steps out")
        raise self.fail(f"{sign!r}, expected a sound as bd, a rest ~ or a group [ ]")

    def alternation(self, stack: list[list[tuple[Pattern, Fraction]]], start: int) -> Pattern:
        """Each step in a cycle of its own."""
        return self.with_steps(stack, Fraction(1), start)

    def polymetre(self, stack: list[list[tuple[Pattern, Fraction]]], start: int) -> Pattern:
        """As many steps a cycle as % says, or else the first sequence has."""
        steps = sum((weight for _, weight in stack[0]), Fraction(0))
        if self.take("%"):
            steps = self.number("%")
        return self.with_steps(stack, steps, start)

    def with_steps(self, stack: list[list[tuple[Pattern, Fraction]]], steps: Fraction, start: int) -> Pattern:
        found = []
        for each in stack:
            if not each:
                raise self.fail("nothing in the brackets, expected steps", start)
            found.append(faster(sequence(each), steps / sum((weight for _, weight in each), Fraction(0))))
        return together(found)

    def modified(self, pattern: Pattern) -> list[tuple[Pattern, Fraction]]:
        """A step with what follows it without a space: copies, each with its weight."""
        weight, copies = Fraction(1), 1
        while True:
            start, sign = self.at, self.peek()
            if pattern.depth > MAX_MODIFIED:
                raise self.fail(f"more than {MAX_MODIFIED} patterns within each other; write the steps out")
            if sign in ("*", "/"):
                self.at += 1
                number = self.number(sign)
                pattern = faster(pattern, number if sign == "*" else 1 / number)
            elif sign == "@":
                self.at += 1
                weight = self.number(sign)
            elif sign == "!" and self.text[self.at + 1 : self.at + 2].isdigit():
                self.at += 1
                copies = self.whole(sign)
            elif sign == "!":
                self.at += 1
                copies += 1
            elif sign == "(":
                pattern = self.euclidean(pattern)
            elif sign in _NOT_READ and sign:
                raise self.fail(f"{sign!r} is {_NOT_READ[sign]}, which is not read; write the steps out", start)
            elif sign == ":":
                raise self.fail("':' without the number of a sample, expected one as bd:3")
            else:
                return [(pattern, weight)] * copies

    def euclidean(self, pattern: Pattern) -> Pattern:
        start, numbers = self.at, []
        self.at += 1
        while True:
            self.skip_spaces()
            is_negative = len(numbers) == 2 and self.take("-")
            numbers.append(self.whole("(") * (-1 if is_negative else 1))
            self.skip_spaces()
            if self.take(")"):
                break
            if not self.take(","):
                raise self.fail(f"{self.peek() or 'the end'!r}, expected ',' or ')'")
        if len(numbers) not in (2, 3) or not 0 <= numbers[0] <= numbers[1] or numbers[1] < 1:
            found = ",".join(map(str, numbers))
            raise self.fail(f"({found}), expected hits and steps as (3,8), or a rotation too as (3,8,2)", start)
        hits, steps, rotation = (*numbers, 0)[:3]
        return euclid(pattern, hits, steps, rotation * self.rotation_sign)

    def number(self, after: str) -> Fraction:
        found = _NUMBER.match(self.text, self.at)
        if not found or not 0 < Fraction(found[0]) <= MAX_STEPS:
            raise self.fail(f"{after!r} without a number after it, expected more than 0 and at most {MAX_STEPS}")
        self.at = found.end()
        return Fraction(found[0])

    def whole(self, after: str) -> int:
        found = _WHOLE.match(self.text, self.at)
        if not found or int(found[0]) > MAX_STEPS or (after == "!" and int(found[0]) < 1):
            raise self.fail(f"{after!r} without a whole number after it, expected one up to {MAX_STEPS}")
        self.at = found.end()
        return int(found[0])

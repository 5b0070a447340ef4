"""Parsing the mini-notation of Tidal and Strudel, as far as drums need it."""

import re
from fractions import Fraction

from hypermeter.core.errors import HypermeterError
from hypermeter.io.notation.pattern import SILENCE, Pattern, atom, euclid, faster, sequence, stack

MAX_STEPS = 4096
"""Most steps of a Euclidean rhythm, and most copies of a step."""

MAX_DENSITY = 1024
"""Most events in a cycle."""

MAX_DEPTH = 50
"""Most nested groups."""

MAX_MODIFIED = 100
"""Most nested patterns, as of modifiers such as bd*2*2*2."""

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
    """Return the pattern that a text in mini-notation denotes.

    Supported are sequences, rests `~` and `-`, groups `[a b]`, alternations `<a b>`, polymetres `{a b c}%4`, stacks
    with commas, `a*3`, `a/2`, `a!3`, `a!`, `a@3`, `a _`, and Euclidean rhythms `a(3,8)` and `a(3,8,2)`.

    Args:
        text: the text between the quotes.
        where: the name of its file or code in errors.
        line, column: position of the text in that, from 1.
        rotates_right: the third number of a Euclidean rhythm moves it to later steps, as in Strudel, and not to earlier
            ones, as in Tidal.

    Raises:
        HypermeterError: other notation, such as random choices; a bracket that is not closed; a number out of range;
            more than 1024 events a cycle.
    """
    parser = _Parser(text, where, line, column, rotates_right)
    pattern = stack(_sequences(parser.stack("")))
    if pattern.density > MAX_DENSITY:
        raise parser.fail(f"more than {MAX_DENSITY} sounds in a cycle", 0)
    return pattern


def describe_place(text: str, at: int, line: int = 1, column: int = 1) -> str:
    """Return in words the position of index `at` of a text that starts at a line and column."""
    before = text.count("\n", 0, at)
    column = at - text.rfind("\n", 0, at) if before else column + at
    return f"line {line + before}, column {column}"


def _sequences(sequences: list[list[tuple[Pattern, Fraction]]]) -> list[Pattern]:
    return [sequence(steps) if steps else SILENCE for steps in sequences]


class _Parser:
    """Parse from left to right; each method leaves the index `at` behind the text that it has parsed."""

    def __init__(self, text: str, where: str, line: int, column: int, rotates_right: bool) -> None:
        self.text, self.where, self.line, self.column = text, where, line, column
        self.rotation_sign = -1 if rotates_right else 1
        self.at = self.depth = 0

    def fail(self, what: str, at: int | None = None) -> HypermeterError:
        place = describe_place(self.text, self.at if at is None else at, self.line, self.column)
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
        """Parse sequences with commas between them, up to the sign `closing` or the end of the text."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.fail(f"more than {MAX_DEPTH} groups within each other")
        sequences = [self.steps(closing)]
        while self.take(","):
            sequences.append(self.steps(closing))
        self.depth -= 1
        return sequences

    def steps(self, closing: str) -> list[tuple[Pattern, Fraction]]:
        """Parse the steps of a sequence, each with its weight."""
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
            steps += self.modified(self.term())

    def term(self) -> Pattern:
        start, sign = self.at, self.peek()
        if sign in _CLOSING:
            self.at += 1
            sequences = self.stack(_CLOSING[sign])
            self.at += 1
            if sign == "[":
                return stack(_sequences(sequences))
            steps = Fraction(1)  # of an alternation: each step takes a cycle
            if sign == "{":
                steps = sum((weight for _, weight in sequences[0]), Fraction(0))
                if self.take("%"):
                    steps = self.number("%")
            return self.with_steps(sequences, steps, start)
        if match := _WORD.match(self.text, self.at):
            self.at = match.end()
            return atom(match[0], start)
        if sign in "~-":
            self.at += 1
            return SILENCE
        if sign in _NOT_READ:
            raise self.fail(f"{sign!r} is {_NOT_READ[sign]}, which is not read; write the steps out")
        raise self.fail(f"{sign!r}, expected a sound as bd, a rest ~ or a group [ ]")

    def with_steps(self, sequences: list[list[tuple[Pattern, Fraction]]], steps: Fraction, start: int) -> Pattern:
        """Return sequences at the same time, each of which plays so many of its steps a cycle."""
        patterns = []
        for parts in sequences:
            if not parts:
                raise self.fail("nothing in the brackets, expected steps", start)
            patterns.append(faster(sequence(parts), steps / sum((weight for _, weight in parts), Fraction(0))))
        return stack(patterns)

    def modified(self, pattern: Pattern) -> list[tuple[Pattern, Fraction]]:
        """Parse the modifiers of a step; return its copies, each with its weight."""
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
            arguments = ",".join(map(str, numbers))
            raise self.fail(f"({arguments}), expected hits and steps as (3,8), or a rotation too as (3,8,2)", start)
        hits, steps, rotation = (*numbers, 0)[:3]
        return euclid(pattern, hits, steps, rotation * self.rotation_sign)

    def number(self, after: str) -> Fraction:
        match = _NUMBER.match(self.text, self.at)
        if not match or not 0 < Fraction(match[0]) <= MAX_STEPS:
            raise self.fail(f"{after!r} without a number after it, expected more than 0 and at most {MAX_STEPS}")
        self.at = match.end()
        return Fraction(match[0])

    def whole(self, after: str) -> int:
        match = _WHOLE.match(self.text, self.at)
        if not match or int(match[0]) > MAX_STEPS or (after == "!" and int(match[0]) < 1):
            raise self.fail(f"{after!r} without a whole number after it, expected one up to {MAX_STEPS}")
        self.at = match.end()
        return int(match[0])

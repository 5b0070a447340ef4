"""Parsing the mini-notation of Tidal and Strudel, as far as drums need it.

The two languages differ where this module says so: `test_notation_engines` compares it with both engines.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Literal

from hypermeter.core.errors import HypermeterError
from hypermeter.io.notation.cursor import MAX_STEPS, Cursor
from hypermeter.io.notation.pattern import (
    SILENCE,
    Pattern,
    atom,
    euclid,
    euclid_cut,
    faster,
    late,
    merge,
    patterned,
    sequence,
    stack,
)
from hypermeter.io.notation.source import Source, Word, describe_place  # noqa: F401

MAX_DENSITY = 1024
"""Most events in a cycle."""

MAX_COPIED = 2**14
"""Steps of a text, with their copies."""

MAX_DEPTH = 50
"""Most nested groups."""

MAX_MODIFIED = 100
"""Most nested patterns, as of modifiers such as bd*2*2*2."""

Kind = Literal["words", "numbers", "bools"]
"""What the words of a pattern are. Tidal reads `.5` and `0..3` as words where words are expected, else as more."""

_TIDAL_WORD = re.compile(r"[^\W_][\w:.\-]*|-\d[\d.]*")
_TIDAL_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:%\d+)?(?!\w)|[^\W\d_]\w*")
_STRUDEL_WORD = re.compile(r"[\w~\-#.][\w~\-#.^]*")
_CLOSING = {"[": "]", "<": ">", "{": "}"}
_NOT_READ = {
    "?": "chance",
    "|": "a random choice",
    "'": "chords",
    "^": "variables",
    "%": "steps of what is no {}",
    "&": "rotations",
}


def parse_mini(
    text: str | Source,
    where: str = "pattern",
    line: int = 1,
    column: int = 1,
    rotates_right: bool = False,
    kind: Kind = "words",
) -> Pattern:
    """Return the pattern of `Word` that a text in mini-notation denotes.

    Supported are sequences, rests `~` and `-`, groups `[a b]` and `a . b c`, alternations `<a b>`, polymetres
    `{a b c}%4`, stacks with commas, `a*3`, `a/2`, `a!3`, `a!`, `a@3`, `a _`, ranges `0 .. 3`, and Euclidean rhythms
    `a(3,8)` and `a(3,8,2)`. The numbers of `*`, `/`, `%` and of Euclidean rhythms may be patterns such as `<2 3>`.

    Args:
        text: the text between the quotes.
        where: the name of its file or code in errors.
        line, column: position of the text in that, from 1.
        rotates_right: read the text as Strudel does, where for one the third number of a Euclidean rhythm moves it to
            later steps; otherwise as Tidal does, where it moves the rhythm to earlier ones.
        kind: what the words are.

    Raises:
        HypermeterError: other notation, such as random choices; a bracket that is not closed; a number out of range;
            more than 1024 events a cycle.
    """
    source = text if isinstance(text, Source) else Source(text, where, line, column)
    parser = _Parser(source, rotates_right, kind)
    pattern = stack(parser.sequences(parser.stack("")))
    if pattern.density > MAX_DENSITY:
        raise parser.fail(f"more than {MAX_DENSITY} sounds in a cycle", 0)
    return pattern


Steps = list[tuple[Pattern, Fraction]]
"""Steps of a sequence, each with its weight."""


@dataclass
class _Step:
    """A term and the modifiers behind it."""

    pattern: Pattern
    weight: Fraction = Fraction(1)
    copies: int = 1
    is_copied: bool = False
    is_weighted: bool = False
    later: list[Callable[[Pattern], Pattern]] = field(default_factory=list)  # modifiers behind the copies, in Strudel

    def modify(self, modifier: Callable[[Pattern], Pattern]) -> None:
        if self.is_copied:
            self.later.append(modifier)
        else:
            self.pattern = modifier(self.pattern)


class _Parser(Cursor):
    def __init__(self, source: Source, is_strudel: bool, kind: Kind) -> None:
        super().__init__(source, is_strudel)
        self.kind, self.depth, self.num_steps = kind, 0, 0

    def sequence(self, steps: Steps) -> Pattern:
        return sequence(steps, keeps_wholes=self.is_strudel)

    def sequences(self, sequences: list[Steps]) -> list[Pattern]:
        return [self.sequence(steps) if steps else SILENCE for steps in sequences]

    def stack(self, closing: str) -> list[Steps]:
        """Parse sequences with commas between them, up to the sign `closing` or the end of the text."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.fail(f"more than {MAX_DEPTH} groups within each other")
        sequences = [self.steps(closing)]
        while self.take(","):
            sequences.append(self.steps(closing))
        self.depth -= 1
        return sequences

    def steps(self, closing: str) -> Steps:
        """Parse the steps of a sequence up to a comma, the sign `closing` or the end of the text."""
        groups: list[Steps] = [[]]
        while True:
            self.skip_spaces()
            sign = self.peek()
            if not sign or sign in ",]>})":
                if sign not in (",", closing):
                    if not closing:
                        raise self.fail(f"{sign!r} closes nothing; take it out")
                    raise self.fail(f"{sign or 'the end of the pattern'!r}, expected {closing!r}")
                break
            if self.is_dot():
                self.at += 1
                groups.append([])
            elif sign in "!_@":
                raise self.fail(f"{sign!r} has nothing before it")
            else:
                groups[-1] += self.step()
        if not groups[-1] and len(groups) > 1:  # A dot at the end separates nothing.
            groups.pop()
        if len(groups) == 1:
            return groups[0]
        return [(pattern, Fraction(1)) for pattern in self.sequences(groups)]

    def is_dot(self) -> bool:
        """Return whether a dot that groups the steps before it is next."""
        if self.peek() != "." or (self.is_strudel and _STRUDEL_WORD.match(self.text, self.at + 1)):
            return False
        if self.peek(1).isdigit():
            number = re.match(r"\.\d+", self.text[self.at :])
            written = number[0] if number else "."
            raise self.fail(f"{written!r} is a group and {written[1:]} in Tidal; write 0{written} for the number")
        return True

    def step(self) -> Steps:
        """Parse a term and its modifiers; return its copies, each with its weight."""
        step = _Step(self.term())
        while self.modifier(step):
            if step.pattern.depth + len(step.later) > MAX_MODIFIED:
                raise self.fail(f"more than {MAX_MODIFIED} patterns within each other; write the steps out")
        self.num_steps += step.copies
        if self.num_steps > MAX_COPIED:
            raise self.fail(f"more than {MAX_COPIED} steps with their copies; write a shorter pattern")
        if not self.is_strudel:
            return [(step.pattern, step.weight)] * step.copies
        if step.is_copied:  # One step of the weight, in which the copies share its time.
            step.pattern = sequence([(step.pattern, Fraction(1))] * step.copies)
        for modifier in step.later:
            step.pattern = modifier(step.pattern)
        return [(step.pattern, step.weight)]

    def modifier(self, step: _Step) -> bool:
        """Parse a modifier into a step; return whether there was one."""
        start = self.at
        if self.is_strudel:
            self.skip_spaces()
        sign = self.peek()
        if sign and sign in "*/(" and not self.is_strudel and (step.is_copied or step.is_weighted):
            raise self.fail(f"{sign!r} behind '!' or '@' is not read in Tidal; write it before them")
        if sign in ("*", "/"):
            self.at += 1
            step.modify(partial(self.changed, sign, self.factor(sign, start), start))
            return True
        if sign == "(":
            step.modify(self.euclidean())
            return True
        if sign and sign in _NOT_READ:
            raise self.fail(f"{sign!r} is {_NOT_READ[sign]}, which is not read; write the steps out")
        if sign == ":":
            self.at += 1
            tail = self.term() if self.is_strudel and not self.peek().isspace() and self.peek() else None
            if tail is None:
                raise self.fail("':' without the number of a sample, expected one as bd:3", start)
            step.modify(
                lambda pattern: merge(pattern, tail, lambda word, end: word._replace(text=f"{word.text}:{end.text}"))
            )
            return True
        self.skip_spaces()
        sign = self.peek()
        if self.take(".."):
            self.skip_spaces()
            step.pattern = self.range(step.pattern, self.term(), start)
            return True
        if sign in ("!", "@", "_") and sign:
            self.at += 1
            (self.copy if sign == "!" else self.weigh)(step, sign, start)
            return True
        return False

    def copy(self, step: _Step, sign: str, start: int) -> None:
        """Parse what follows an exclamation mark, which adds copies."""
        if step.is_weighted and not self.is_strudel:
            raise self.fail("'!' behind a weight is not read in Tidal; write the steps out", start)
        step.copies += self.whole(sign) - 1 if self.peek().isdigit() else 1
        if step.copies > MAX_STEPS:
            raise self.fail(f"more than {MAX_STEPS} copies", start)
        step.is_copied = True
        if self.is_strudel:  # The weight so far is lost, and earlier modifiers come before the copies.
            step.weight = Fraction(step.copies)
            for modifier in step.later:
                step.pattern = modifier(step.pattern)
            step.later.clear()

    def weigh(self, step: _Step, sign: str, start: int) -> None:
        """Parse what follows @ or _, which adds to the weight."""
        if step.is_copied and not self.is_strudel:
            raise self.fail(f"{sign!r} behind copies is not read in Tidal; write the steps out", start)
        if not self.is_strudel and re.match(r"\s+\d", self.text[self.at : self.at + 100]):
            raise self.fail(f"Tidal takes the number behind {sign!r} for a weight; write the weight as @2", start)
        step.weight += self.number(sign) - 1 if sign == "@" or self.peek().isdigit() else 1
        step.is_weighted = True
        if step.weight <= 0:
            raise self.fail(f"a weight of {float(step.weight):g}, expected more than 0", start)

    def changed(self, sign: str, factor: Pattern, start: int, pattern: Pattern) -> Pattern:
        def change(word: Word) -> Pattern:
            number = word.number(f"{sign} of", 0, MAX_STEPS)
            return SILENCE if not number else faster(pattern, number if sign == "*" else 1 / number)

        return self.patterned(start, change, factor)

    def patterned(self, start: int, function: Callable[..., Pattern], *arguments: Pattern) -> Pattern:
        try:
            return patterned(function, *arguments)
        except HypermeterError as error:
            raise error if str(error).startswith(self.source.where) else self.fail(str(error), start) from error

    def factor(self, sign: str, start: int) -> Pattern:
        """Parse the number, or the pattern of numbers, behind * or /."""
        self.skip_spaces()
        if self.peek() not in _CLOSING:
            at, number = self.at, self.number(sign)
            if not self.is_strudel:
                self.skip_spaces_before("(")
            return atom(Word(str(number), at, self.source))
        kind, self.kind = self.kind, "numbers"
        step = _Step(self.term())
        if not self.is_strudel and self.peek() in ("*", "/"):  # In Strudel it belongs to what the factor is of.
            self.modifier(step)
        self.kind = kind
        return step.pattern

    def term(self) -> Pattern:
        start, sign = self.at, self.peek()
        if sign in _CLOSING:
            return self.group(sign)
        word = _STRUDEL_WORD if self.is_strudel else _TIDAL_NUMBER if self.kind == "numbers" else _TIDAL_WORD
        if (match := word.match(self.text, self.at)) and match[0] not in ("_", "."):
            self.at = match.end()
            if match[0] in ("~", "-"):
                return SILENCE
            return atom(Word(match[0], start, self.source))
        if sign and sign in "~-":
            self.at += 1
            return SILENCE
        if sign in _NOT_READ:
            raise self.fail(f"{sign!r} is {_NOT_READ[sign]}, which is not read; write the steps out")
        raise self.fail(f"{sign!r}, expected a sound as bd, a rest ~ or a group [ ]")

    def group(self, sign: str) -> Pattern:
        """Parse a group, an alternation or a polymetre."""
        start = self.at
        self.at += 1
        sequences = self.stack(_CLOSING[sign])
        self.at += 1
        if sign == "[":
            pattern = stack(self.sequences(sequences))
        else:
            sizes = [sum((weight for _, weight in steps), Fraction(0)) for steps in sequences]
            if not all(sizes):
                raise self.fail("nothing in the brackets, expected steps", start)
            # A step of an alternation takes a cycle.
            rate = self.rate(sizes[0], start) if sign == "{" else atom(Word("1", start, self.source))
            patterns = []
            for steps, size in zip(sequences, sizes, strict=True):
                patterns.append(self.patterned(start, partial(_at_rate, self.sequence(steps), size), rate))
            pattern = stack(patterns)
        if not self.is_strudel:
            self.skip_spaces_before("*/(")
        return pattern

    def rate(self, size: Fraction, start: int) -> Pattern:
        """Parse the steps a cycle of a polymetre, which are by default those of its first sequence."""
        if not self.take("%"):
            return atom(Word(str(size), start, self.source))
        kind, self.kind = self.kind, "numbers"
        if self.is_strudel or self.peek() in _CLOSING:
            self.skip_spaces()
            rate = self.term() if self.peek() in _CLOSING else atom(Word(str(self.number("%")), self.at, self.source))
        else:  # In Tidal all numbers that follow belong to the rate, with their modifiers.
            steps: Steps = []
            if not self.peek().isdigit():
                self.number("%")
            while self.peek().isdigit():
                steps += self.step()
                self.skip_spaces()
            rate = self.sequence(steps)
        if not self.is_strudel and (self.peek() in _CLOSING or self.peek() == ".") and self.peek():
            raise self.fail(f"{self.peek()!r} belongs to the number behind }}% in Tidal; put {{ }} and it into [ ]")
        self.kind = kind
        return rate

    def range(self, first: Pattern, last: Pattern, start: int) -> Pattern:
        """Return the numbers from one to another in sequence."""
        ends = first.constant, last.constant
        if not all(isinstance(end, Word) for end in ends):
            raise self.fail("a range of what is no number, expected one as 0 .. 3", start)
        low, high = (end.whole("range of", -MAX_STEPS, MAX_STEPS) for end in ends)
        numbers = range(low, high + 1) if low <= high else range(low, high - 1, -1)
        return sequence([(atom(Word(str(number), start, self.source)), Fraction(1)) for number in numbers])

    def euclidean(self) -> Callable[[Pattern], Pattern]:
        """Parse the numbers of a Euclidean rhythm; return what makes one of a pattern."""
        start, arguments = self.at, []
        kind, self.kind = self.kind, "numbers"
        self.at += 1
        while True:
            steps = self.steps(")") if not self.is_strudel else self.argument()
            if not steps:
                raise self.fail(f"{self.peek() or 'the end'!r}, expected a number")
            arguments.append(self.sequence(steps))
            if self.take(")"):
                break
            if not self.take(","):
                raise self.fail(f"{self.peek() or 'the end'!r}, expected ',' or ')'")
        self.kind = kind
        if len(arguments) not in (2, 3):
            numbers = ",".join(str(argument.constant and argument.constant.text) for argument in arguments)
            raise self.fail(f"({numbers}), expected hits and steps as (3,8), or a rotation too as (3,8,2)", start)
        make = self.euclid_by_structure if self.is_strudel else self.euclid_by_time
        return lambda pattern: self.patterned(start, partial(make, pattern, start), *arguments)

    def argument(self) -> Steps:
        self.skip_spaces()
        steps = [] if self.peek() in ("", ",", ")") else self.step()
        self.skip_spaces()
        return steps

    def euclid_by_time(self, pattern: Pattern, start: int, *words: Word) -> Pattern:
        """Return the rhythm of Tidal, which plays the whole pattern in each step and is rotated in time."""
        hits, steps, rotation = self.numbers_of_euclid(words, start)
        if self.kind == "bools" and pattern.density:  # Between the hits it is the opposite.
            if not isinstance(pattern.constant, Word) or not hits:
                raise self.fail("a Euclidean rhythm of more than t or f, which is not read; write it out", start)
            if not pattern.constant.is_true():
                pattern, hits = atom(pattern.constant._replace(text="t")), -hits
        return late(euclid(pattern, hits, steps), Fraction(-rotation, steps), is_delay=False)

    def euclid_by_structure(self, pattern: Pattern, start: int, *words: Word) -> Pattern:
        """Return the rhythm of Strudel, which cuts the pattern at each step that plays; its steps are rotated."""
        hits, steps, rotation = self.numbers_of_euclid(words, start)
        return euclid_cut(pattern, hits, steps, rotation)

    def numbers_of_euclid(self, words: tuple[Word, ...], start: int) -> tuple[int, int, int]:
        """Return hits, steps and rotation."""
        hits, steps, *rotations = (word.whole("(,) of", -MAX_STEPS, MAX_STEPS) for word in words)
        if hits < 0 and not self.is_strudel:
            raise self.fail(
                f"({hits},{steps}) is silence in Tidal 1.7 and other steps in later ones; write them out", start
            )
        if steps < 1 or abs(hits) > steps:
            written = ",".join(word.text for word in words)
            raise self.fail(f"({written}), expected at most as many hits as steps, as (3,8)", start)
        return hits, steps, rotations[0] if rotations else 0


def _at_rate(pattern: Pattern, size: Fraction, word: Word) -> Pattern:
    """Return a sequence of so many steps that plays as many of them a cycle as a word says."""
    return faster(pattern, word.number("steps of", 0, MAX_STEPS) / size)

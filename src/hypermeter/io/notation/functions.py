"""The functions and controls of Tidal and Strudel that are read, and how their arguments become patterns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import cos, pi, sin
from typing import Any

from hypermeter.core.errors import HypermeterError
from hypermeter.io.notation import pattern as patterns
from hypermeter.io.notation.pattern import (
    SILENCE,
    Event,
    Pattern,
    by_cycle,
    cat,
    faster,
    keep_if,
    late,
    merge,
    patterned,
    sequence,
    signal,
    stack,
    with_values,
)
from hypermeter.io.notation.source import Word

MAX_FACTOR = 4096
"""Largest factor of fast, slow and the like, and most parts of a cycle."""

SOUNDS = ("s", "sound", "s_", "drum")
TIMED = ("gain", "velocity", "nudge")
"""Controls whose values are read; others give onsets and rests alone."""

CONTROLS = (
    "accelerate", "amp", "attack", "bandf", "bandq", "bank", "begin", "bpf", "bpq", "channel", "clip", "coarse",
    "color", "colour", "comb", "compressor", "cps", "crush", "ctf", "cut", "cutoff", "decay", "delay", "delayfb",
    "delayfeedback", "delayt", "delaytime", "detune", "djf", "distort", "dry", "duck", "duckattack", "duckdepth",
    "duckorbit", "dur", "end", "fm", "freq", "hcutoff", "hold", "hpf", "hpq", "hresonance", "krush", "legato",
    "leslie", "lock", "loop", "loopAt", "lpa", "lpd", "lpenv", "lpf", "lpq", "lprelease", "lps", "midichan",
    "midinote", "n", "note", "octave", "octer", "orbit", "pan", "phaser", "phaserdepth", "postgain", "release",
    "resonance", "ring", "room", "roomdim", "roomfade", "roomlp", "roomsize", "shape", "size", "speed", "squiz",
    "sustain", "sz", "triode", "unit", "up", "vib", "vibmod", "vowel", "waveloss", "zoom",
)  # fmt: skip

WORD_CONTROLS = (*SOUNDS, "unit", "vowel", "bank", "color", "colour")
"""Controls whose patterns are of words and not of numbers."""

OUTPUTS = (
    "analyze", "draw", "fscope", "log", "logValues", "midi", "midimaps", "midiport", "mqtt", "osc", "pianoroll",
    "punchcard", "scope", "spectrum", "spiral", "tag", "wordfall",
)  # fmt: skip
"""Methods of Strudel that show a pattern or send it elsewhere, and change nothing in it."""

CHANCE = (
    "brandBy", "choose", "chooseBy", "cycleChoose", "degrade", "degradeBy", "almostAlways", "almostNever", "always",
    "never", "often", "rarely", "randcat", "randrepeat", "rolled", "scramble", "shuffle", "sometimes", "sometimesBy",
    "somecycles", "somecyclesBy", "undegradeBy", "unDegradeBy", "wchoose", "wrandcat", "wchooseBy", "chooseCycles",
)  # fmt: skip
"""Functions that play by chance; they are refused, since another run of the engine plays something else."""


@dataclass(frozen=True)
class Function:
    """A function of a language with the arguments that it has so far.

    Args:
        name: its name in errors.
        kinds: a letter for each parameter: n numbers, w words, m numbers or words, b true or false, f a function of a
            pattern, l a list of patterns, p a pattern. Numbers come first.
        build: the function of numbers as fractions, and of the other arguments.
        is_by_cycle: whether a number is a pattern of one a cycle, as in Tidal, which cuts a signal at each cycle.
        given: the arguments so far.
    """

    name: str
    kinds: str
    build: Callable[..., Any]
    is_by_cycle: bool = False
    given: tuple[Any, ...] = ()

    @property
    def missing(self) -> str:
        """The kinds of the arguments that are still missing."""
        return self.kinds[len(self.given) :]

    def given_one(self, argument: Any) -> Any:
        """Return the function with one more argument, or its result if no other is missing."""
        function = replace(self, given=(*self.given, argument))
        return function if function.missing else function.result()

    def result(self) -> Any:
        number = self.kinds.count("n")
        numbers, others = self.given[:number], self.given[number:]
        if not number:
            return self.build(*others)

        def build(*words: Word) -> Pattern:
            return self.build(*(as_word(word).number(f"{self.name} of") for word in words), *others)

        pattern = patterned(build, *numbers)
        return by_cycle(lambda cycle: pattern, [pattern]) if self.is_by_cycle else pattern


Change = Callable[[Pattern], Pattern]


def _checked(factor: Fraction, name: str = "a factor") -> Fraction:
    if not 0 <= factor <= MAX_FACTOR:
        raise HypermeterError(f"{name} of {float(factor):g}, expected one from 0 to {MAX_FACTOR}")
    return factor


def _whole(number: Fraction) -> int:
    if number.denominator != 1 or not 1 <= number <= MAX_FACTOR:
        raise HypermeterError(f"{float(number):g}, expected a whole number from 1 to {MAX_FACTOR}")
    return int(number)


def _fast(factor: Fraction, pattern: Pattern) -> Pattern:
    return faster(pattern, _checked(factor))


def _slow(factor: Fraction, pattern: Pattern) -> Pattern:
    return faster(pattern, 1 / _checked(factor)) if factor else SILENCE


def _inside(factor: Fraction, change: Change, pattern: Pattern) -> Pattern:
    return _fast(factor, change(_slow(factor, pattern)))


def _outside(factor: Fraction, change: Change, pattern: Pattern) -> Pattern:
    return _slow(factor, change(_fast(factor, pattern)))


def _every(number: Fraction, first: Fraction, change: Change, pattern: Pattern) -> Pattern:
    """Return a pattern that is changed in one cycle of so many."""
    size, changed = _whole(number), change(pattern)
    return by_cycle(lambda cycle: changed if cycle % size == first else pattern, (pattern, changed), size)


def _when_mod(size: Fraction, least: Fraction, change: Change, pattern: Pattern) -> Pattern:
    period, changed = _whole(size), change(pattern)
    return by_cycle(lambda cycle: changed if cycle % period >= least else pattern, (pattern, changed), period)


def _brak(pattern: Pattern) -> Pattern:
    half = late(sequence([(pattern, Fraction(1)), (SILENCE, Fraction(1))]), Fraction(1, 4))
    return by_cycle(lambda cycle: half if cycle % 2 else pattern, (pattern, half), 2)


def _iterate(number: Fraction, pattern: Pattern, sign: int = -1) -> Pattern:
    size = _whole(number)
    return cat([late(pattern, Fraction(sign * part, size), is_delay=False) for part in range(size)])


def _struct(bools: Pattern, pattern: Pattern) -> Pattern:
    return merge(keep_if(bools, _is_true), pattern, lambda is_true, value: value)


def _mask(bools: Pattern, pattern: Pattern) -> Pattern:
    return merge(pattern, keep_if(bools, _is_true), lambda value, is_true: value)


def _is_true(event: Event) -> bool:
    return event.value.is_true() if isinstance(event.value, Word) else bool(event.value)


def _swing_by_onsets(amount: Fraction, number: Fraction, pattern: Pattern) -> Pattern:
    """Return the swing of Tidal, which delays what starts in the second half of each of so many parts of a cycle."""

    def is_second_half(event: Event) -> bool:
        return event.start is not None and event.start % 1 >= Fraction(1, 2)

    def change(part: Pattern) -> Pattern:
        return stack(
            [keep_if(late(part, amount), is_second_half), keep_if(part, lambda event: not is_second_half(event))]
        )

    return _inside(number, change, pattern)


def _swing_by_time(amount: Fraction, number: Fraction, pattern: Pattern) -> Pattern:
    """Return the swing of Strudel, which plays the second half of each part of a cycle later by half the amount."""
    delays = _in_a_cycle([patterns.atom(Fraction(0)), patterns.atom(amount / 2)])
    return _inside(number, lambda part: patterned(lambda delay: late(part, delay), delays), pattern)


def _range(low: Fraction, high: Fraction, pattern: Pattern) -> Pattern:
    """Return a pattern of numbers in [0, 1] as numbers between two others."""

    def scaled(value: Any) -> Word:
        word = as_word(value)
        return word._replace(text=str(word.number() * (high - low) + low)) if word.text != CHANCE_VALUE else word

    return with_values(pattern, scaled)


CHANCE_VALUE = "by chance"
"""Value of a signal that has another one whenever it is played."""

_WAVES: Mapping[str, Callable[[float], float] | None] = {
    "sine": lambda time: (1 + sin(2 * pi * time)) / 2,
    "cosine": lambda time: (1 + cos(2 * pi * time)) / 2,
    "saw": lambda time: time % 1,
    "isaw": lambda time: 1 - time % 1,
    "square": lambda time: float(time % 1 >= 0.5),
    "rand": None,
    "perlin": None,
}  # fmt: skip


def wave(name: str, word: Word, share: Fraction) -> Pattern | None:
    """Return the signal of a name, or None if there is no such signal.

    Args:
        name: such as sine.
        word: the position of the name in the code.
        share: where a signal has its value for a span: from 0, at the start, to 1.
    """
    if name == "tri":
        halves = (wave(half, word, share) for half in ("saw", "isaw"))
        return _in_a_cycle([half for half in halves if half is not None])
    if name not in _WAVES:
        return None
    function = _WAVES[name]
    if function is None:
        return signal(lambda begin, end: word._replace(text=CHANCE_VALUE))

    def value_of(begin: Fraction, end: Fraction) -> Word:
        number = Fraction(function(float(begin + share * (end - begin)))).limit_denominator(10**9)
        return word._replace(text=str(number))

    return signal(value_of)


def as_word(value: Any) -> Word:
    """Return a value of a pattern if it is a word or number; raise if it is the values of controls."""
    if not isinstance(value, Word):
        raise next(iter(value.values())).error("a pattern of sounds where one of numbers or words is expected")
    return value


def as_controls(value: Any) -> dict[str, Word]:
    """Return a value of a pattern if it is the values of controls; raise if it is a word or number."""
    if isinstance(value, Word):
        raise value.error(f'{value.text[:20]!r} without a sound, expected s and its pattern, as s "bd sd"')
    return value


def controls_of(name: str, pattern: Pattern, is_strudel: bool) -> Pattern:
    """Return a pattern of words as one of the values of a control by its name; `bd:3` is the sound and its number."""
    if name not in SOUNDS:
        return with_values(pattern, lambda value: {name: as_word(value)})
    names = ("s", "n", "gain") if is_strudel else ("s", "n")

    def split(value: Any) -> dict[str, Word]:
        word = as_word(value)
        parts = zip(names, word.text.split(":"), strict=False)
        return {part_name: word._replace(text=part) for part_name, part in parts}

    return with_values(pattern, split)


def overlay(left: Pattern, right: Pattern) -> Pattern:
    return stack([left, right])


def _both(change: Change, pattern: Pattern) -> Pattern:
    return stack([pattern, change(pattern)])


def _off(delay: Fraction, change: Change, pattern: Pattern) -> Pattern:
    return stack([pattern, change(late(pattern, delay))])


def _in_a_cycle(steps: Sequence[Pattern]) -> Pattern:
    return sequence([(step, Fraction(1)) for step in steps])


def _functions(table: Mapping[str, tuple[str, Callable[..., Any]]], is_by_cycle: bool = False) -> dict[str, Function]:
    functions = {}
    for names, (kinds, build) in table.items():
        for name in names.split():
            functions[name] = Function(name, kinds, build, is_by_cycle and name != "range")
    return functions


_COMMON = {
    "fast density hurry": ("np", _fast),
    "slow sparsity": ("np", _slow),
    "rev": ("p", patterns.reverse),
    "every firstOf": ("nfp", lambda number, change, pattern: _every(number, Fraction(0), change, pattern)),
    "off": ("nfp", _off),
    "superimpose jux": ("fp", _both),
    "iter": ("np", _iterate),
    "brak": ("p", _brak),
    "press": ("p", lambda pattern: patterns.press(pattern, Fraction(1, 2))),
    "pressBy": ("np", lambda share, pattern: patterns.press(pattern, share)),
    "inside": ("nfp", _inside),
    "outside": ("nfp", _outside),
    "struct": ("bp", _struct),
    "mask": ("bp", _mask),
    "range": ("nnp", _range),
    "id": ("p", lambda pattern: pattern),
}

TIDAL_FUNCTIONS = _functions(
    {
        **_COMMON,
        "ply": ("np", lambda number, pattern: patterns.split(pattern, _whole(number), is_within_cycle=True)),
        "rotL": ("np", lambda delay, pattern: late(pattern, -delay, is_delay=False)),
        "rotR": ("np", lambda delay, pattern: late(pattern, delay)),
        "whenmod": ("nnfp", _when_mod),
        "iter'": ("np", lambda number, pattern: _iterate(number, pattern, 1)),
        "palindrome": ("p", lambda pattern: cat([pattern, patterns.reverse(pattern)])),
        "swingBy": ("nnp", _swing_by_onsets),
        "euclid": (
            "nnp",
            lambda hits, steps, pattern: patterns.euclid(pattern, *_rhythm(_checked(hits, "hits"), steps)),
        ),
        "euclidOff eoff": (
            "nnnp",
            lambda hits, steps, rotation, pattern: late(
                patterns.euclid(pattern, *_rhythm(_checked(hits, "hits"), steps)), -rotation / steps, is_delay=False
            ),
        ),
        "stack": ("l", lambda steps: stack(steps) if steps else SILENCE),
        "cat slowcat": ("l", lambda steps: cat(steps) if steps else SILENCE),
        "fastcat fastCat": ("l", lambda steps: _in_a_cycle(steps) if steps else SILENCE),
        "overlay": ("pp", overlay),
        "append slowAppend slowappend": ("pp", lambda first, second: cat([first, second])),
        "fastAppend fastappend": ("pp", lambda first, second: _in_a_cycle([first, second])),
        "const": ("pp", lambda result, pattern: result),
    },
    is_by_cycle=True,
)  # fmt: skip

STRUDEL_FUNCTIONS = _functions(
    {
        **_COMMON,
        "ply": ("np", lambda number, pattern: patterns.split(pattern, _whole(number))),
        "late": ("np", lambda delay, pattern: late(pattern, delay)),
        "early": ("np", lambda delay, pattern: late(pattern, -delay)),
        "lastOf": ("nfp", lambda number, change, pattern: _every(number, number - 1, change, pattern)),
        "iterBack iterback": ("np", lambda number, pattern: _iterate(number, pattern, 1)),
        "palindrome": ("p", lambda pattern: _every(Fraction(2), Fraction(1), patterns.reverse, pattern)),
        "swingBy": ("nnp", _swing_by_time),
        "swing": ("np", lambda number, pattern: _swing_by_time(Fraction(1, 3), number, pattern)),
        "euclid": ("nnp", lambda hits, steps, pattern: patterns.euclid_cut(pattern, *_rhythm(hits, steps))),
        "euclidRot euclidrot": (
            "nnnp",
            lambda hits, steps, rotation, pattern: patterns.euclid_cut(pattern, *_rhythm(hits, steps), int(rotation)),
        ),
        "apply": ("fp", lambda change, pattern: change(pattern)),
    }
)
STRUDEL_LISTS: Mapping[str, Callable[[Sequence[Pattern]], Pattern]] = {
    "stack": stack, "polyrhythm": stack, "pr": stack, "cat": cat, "slowcat": cat, "seq": _in_a_cycle,
    "sequence": _in_a_cycle, "fastcat": _in_a_cycle,
}  # fmt: skip
"""Functions of Strudel of any number of patterns."""


def _rhythm(hits: Fraction, steps: Fraction) -> tuple[int, int]:
    """Return the numbers of a Euclidean rhythm if they are those of one."""
    if _whole(steps) < abs(hits) or hits.denominator != 1:
        numbers = f"{float(hits):g} hits on {float(steps):g} steps"
        raise HypermeterError(f"a Euclidean rhythm of {numbers}, expected at most as many hits as steps")
    return int(hits), int(steps)

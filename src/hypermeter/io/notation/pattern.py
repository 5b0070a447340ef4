"""Patterns of live coding: events in cycles, at exact times.

A pattern is a function of a span of time, in cycles, that gives the events that begin in it. What Tidal and Strudel do
to patterns is done here in the same way, in fractions, so that no onset is ever between two steps by rounding.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, lcm
from typing import NamedTuple


class Event(NamedTuple):
    """A word of the text that sounds from ``begin`` until ``end``, in cycles; ``place`` is where it stands."""

    begin: Fraction
    end: Fraction
    word: str
    place: int


@dataclass(frozen=True)
class Pattern:
    """Events by time.

    Args:
        query: from the first and last time of a span to the events that begin in it, the last time left out.
        period: cycles after which it repeats.
        density: events a cycle on average, or more.
        depth: patterns within each other, of which each query asks the next.
    """

    query: Callable[[Fraction, Fraction], list[Event]]
    period: int = 1
    density: Fraction = Fraction(1)
    depth: int = 0


SILENCE = Pattern(lambda begin, end: [], density=Fraction(0))


def atom(word: str, place: int) -> Pattern:
    """One event a cycle."""

    def query(begin: Fraction, end: Fraction) -> list[Event]:
        cycles = range(ceil(begin), ceil(end))
        return [Event(Fraction(cycle), Fraction(cycle + 1), word, place) for cycle in cycles]

    return Pattern(query)


def sequence(steps: Sequence[tuple[Pattern, Fraction]]) -> Pattern:
    """Patterns one after the other within each cycle, each as long as its weight says."""
    if len(steps) == 1:
        return steps[0][0]
    total = sum((weight for _, weight in steps), Fraction(0))
    starts = [Fraction(0)]
    for _, weight in steps:
        starts.append(starts[-1] + weight / total)
    spans = zip(steps, starts, starts[1:], strict=False)
    sounding = [(pattern, start, until) for (pattern, _), start, until in spans if pattern.density]
    begins, ends = [start for _, start, _ in sounding], [until for _, _, until in sounding]

    def query(begin: Fraction, end: Fraction) -> list[Event]:
        events = []
        for cycle in range(floor(begin), ceil(end)):
            first, last = max(begin - cycle, Fraction(0)), min(end - cycle, Fraction(1))
            for pattern, start, until in sounding[bisect_right(ends, first) : bisect_left(begins, last)]:
                length = until - start
                own_begin = cycle + max(first - start, Fraction(0)) / length
                own_end = cycle + min((last - start) / length, Fraction(1))
                for each in pattern.query(own_begin, own_end):
                    moved = [cycle + start + (time - cycle) * length for time in (each.begin, each.end)]
                    events.append(each._replace(begin=moved[0], end=moved[1]))
        return events

    # A step that seldom sounds is asked each time all the same, so it counts as one event.
    density = sum((max(pattern.density, Fraction(1)) for pattern, _, _ in sounding), Fraction(0))
    depth = 1 + max(pattern.depth for pattern, _ in steps)
    return Pattern(query, lcm(*(pattern.period for pattern, _ in steps)), density, depth)


def faster(pattern: Pattern, factor: Fraction) -> Pattern:
    """So many times as fast; a factor below 1 is slower."""
    if factor == 1:
        return pattern

    def query(begin: Fraction, end: Fraction) -> list[Event]:
        events = pattern.query(begin * factor, end * factor)
        return [each._replace(begin=each.begin / factor, end=each.end / factor) for each in events]

    return Pattern(query, (pattern.period / factor).numerator, pattern.density * factor, pattern.depth + 1)


def together(patterns: Sequence[Pattern]) -> Pattern:
    """All at once."""
    if len(patterns) == 1:
        return patterns[0]

    def query(begin: Fraction, end: Fraction) -> list[Event]:
        return [event for pattern in patterns for event in pattern.query(begin, end)]

    density = sum((pattern.density for pattern in patterns), Fraction(0))
    depth = 1 + max(pattern.depth for pattern in patterns)
    return Pattern(query, lcm(*(pattern.period for pattern in patterns)), density, depth)


def euclid(pattern: Pattern, hits: int, steps: int, rotation: int = 0) -> Pattern:
    """The pattern on ``hits`` of so many steps, spread as evenly as can be, begun ``rotation`` steps later."""
    onsets = bjorklund(hits, steps)
    onsets = onsets[rotation % steps :] + onsets[: rotation % steps]
    return sequence([(pattern if each else SILENCE, Fraction(1)) for each in onsets])


def bjorklund(hits: int, steps: int) -> list[bool]:
    """The Euclidean rhythm, in the rotation that Tidal gives: (3, 8) is x..x..x."""
    if hits == 0:
        return [False] * steps
    first, second = [[True]] * hits, [[False]] * (steps - hits)
    while len(second) > 1:
        number = min(len(first), len(second))
        joined = [one + other for one, other in zip(first, second, strict=False)]
        rest = first[number:] or second[number:]
        first, second = joined, rest
    return [each for group in first + second for each in group]

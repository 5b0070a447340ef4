"""Patterns of live coding: events in cycles, at exact times.

A pattern is a function from a span of time, in cycles, to the events that start in it. Times are fractions, as in Tidal
and Strudel, so that no onset is moved off a step by rounding.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, lcm
from typing import NamedTuple


class Event(NamedTuple):
    """A word of the text that sounds from `begin` to `end`, in cycles; `place` is its index in the text."""

    begin: Fraction
    end: Fraction
    word: str
    place: int


@dataclass(frozen=True)
class Pattern:
    """A pattern.

    Args:
        query: function of the start and end of a span, the end excluded, that returns the events that start in it.
        period: number of cycles after which the pattern repeats.
        density: upper bound of the mean number of events a cycle.
        depth: number of nested patterns.
    """

    query: Callable[[Fraction, Fraction], list[Event]]
    period: int = 1
    density: Fraction = Fraction(1)
    depth: int = 0


SILENCE = Pattern(lambda begin, end: [], density=Fraction(0))


def atom(word: str, place: int) -> Pattern:
    """Return a pattern of one event a cycle."""

    def query(begin: Fraction, end: Fraction) -> list[Event]:
        cycles = range(ceil(begin), ceil(end))
        return [Event(Fraction(cycle), Fraction(cycle + 1), word, place) for cycle in cycles]

    return Pattern(query)


def sequence(steps: Sequence[tuple[Pattern, Fraction]]) -> Pattern:
    """Return patterns in sequence within each cycle, with durations in proportion to their weights."""
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
                step_begin = cycle + max(first - start, Fraction(0)) / length
                step_end = cycle + min((last - start) / length, Fraction(1))
                for event in pattern.query(step_begin, step_end):
                    begin_end = [cycle + start + (time - cycle) * length for time in (event.begin, event.end)]
                    events.append(event._replace(begin=begin_end[0], end=begin_end[1]))
        return events

    # A step that seldom sounds is queried in every cycle, so it counts as one event.
    density = sum((max(pattern.density, Fraction(1)) for pattern, _, _ in sounding), Fraction(0))
    depth = 1 + max(pattern.depth for pattern, _ in steps)
    return Pattern(query, lcm(*(pattern.period for pattern, _ in steps)), density, depth)


def faster(pattern: Pattern, factor: Fraction) -> Pattern:
    """Return a pattern sped up by a factor; one below 1 slows it down."""
    if factor == 1:
        return pattern

    def query(begin: Fraction, end: Fraction) -> list[Event]:
        events = pattern.query(begin * factor, end * factor)
        return [event._replace(begin=event.begin / factor, end=event.end / factor) for event in events]

    return Pattern(query, (pattern.period / factor).numerator, pattern.density * factor, pattern.depth + 1)


def stack(patterns: Sequence[Pattern]) -> Pattern:
    """Return patterns at the same time."""
    if len(patterns) == 1:
        return patterns[0]

    def query(begin: Fraction, end: Fraction) -> list[Event]:
        return [event for pattern in patterns for event in pattern.query(begin, end)]

    density = sum((pattern.density for pattern in patterns), Fraction(0))
    depth = 1 + max(pattern.depth for pattern in patterns)
    return Pattern(query, lcm(*(pattern.period for pattern in patterns)), density, depth)


def euclid(pattern: Pattern, hits: int, steps: int, rotation: int = 0) -> Pattern:
    """Return a pattern on `hits` of `steps` steps, as even as possible, that starts with its step `rotation`."""
    onsets = bjorklund(hits, steps)
    onsets = onsets[rotation % steps :] + onsets[: rotation % steps]
    return sequence([(pattern if is_onset else SILENCE, Fraction(1)) for is_onset in onsets])


def bjorklund(hits: int, steps: int) -> list[bool]:
    """Return the Euclidean rhythm in the rotation of Tidal: (3, 8) is x..x..x."""
    if hits == 0:
        return [False] * steps
    first, second = [[True]] * hits, [[False]] * (steps - hits)
    while len(second) > 1:
        number = min(len(first), len(second))
        pairs = [head + tail for head, tail in zip(first, second, strict=False)]
        first, second = pairs, first[number:] or second[number:]
    return [is_onset for group in first + second for is_onset in group]

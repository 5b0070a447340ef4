"""Patterns of live coding: events in cycles, at exact times.

A pattern is a function from a span of time, in cycles, to its events there. As in Tidal and Strudel, an event that
reaches over the span is cut to a fragment, which knows the whole event: only the fragment with the start of the whole
sounds. Times are fractions, so that no onset is moved off a step by rounding.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from math import ceil, floor, lcm
from typing import Any, NamedTuple

from hypermeter.core.errors import HypermeterError

MAX_VALUES = 4096
"""Most events of a pattern that is an argument, such as <2 3> in bd*<2 3>, until it repeats."""


class Event(NamedTuple):
    """A value that sounds during a part of a whole.

    Args:
        begin, end: the part, in cycles, which is within the span of the query.
        value: what sounds: a `Word`, or the values of controls by name.
        start, stop: the whole, in cycles; None for a signal, which has no onsets.
        delay: cycles by which functions such as `late` and `swing` have moved the event.
    """

    begin: Fraction
    end: Fraction
    value: Any
    start: Fraction | None
    stop: Fraction | None
    delay: Fraction = Fraction(0)

    @property
    def is_onset(self) -> bool:
        """Whether the part has the start of the whole."""
        return self.start == self.begin

    @property
    def span(self) -> tuple[Fraction, Fraction]:
        """The whole, or the part of a signal."""
        return (self.begin, self.end) if self.start is None or self.stop is None else (self.start, self.stop)

    def moved(self, scale: Fraction, offset: Fraction) -> "Event":
        """Return the event at `scale * time + offset`."""
        begin, end, start, stop = self.begin * scale + offset, self.end * scale + offset, self.start, self.stop
        if start is not None and stop is not None:  # Most parts are whole: time is saved where they are the same.
            start = begin if start is self.begin else start * scale + offset
            stop = end if stop is self.end else stop * scale + offset
        return Event(begin, end, self.value, start, stop, self.delay * scale if self.delay else self.delay)

    def with_whole_earlier(self, time: Fraction) -> "Event":
        """Return the event with its whole moved by a time."""
        if self.start is None or self.stop is None:
            return self
        return self._replace(start=self.start - time, stop=self.stop - time)

    def within(self, begin: Fraction, end: Fraction) -> "list[Event]":
        """Return the fragment of the event within a span, if there is one."""
        begin, end = self.begin if self.begin >= begin else begin, self.end if self.end <= end else end
        return [self._replace(begin=begin, end=end)] if begin < end else []


Query = Callable[[Fraction, Fraction], list[Event]]


@dataclass(frozen=True)
class Pattern:
    """A pattern.

    Args:
        query: function of the start and end of a span, the end excluded, that returns the events in it.
        period: number of cycles after which the pattern repeats.
        density: upper bound of the mean number of events a cycle.
        depth: number of nested patterns.
        width: upper bound of the number of events at one time.
        constant: the value, if there is one event in each cycle and all have that value.
    """

    query: Query
    period: int = 1
    density: Fraction = Fraction(1)
    depth: int = 0
    width: int = 1
    constant: Any = None

    def onsets(self, begin: Fraction, end: Fraction) -> list[Event]:
        """Return the events that start in a span."""
        return [event for event in self.query(begin, end) if event.is_onset]


SILENCE = Pattern(lambda begin, end: [], density=Fraction(0), width=0)


def atom(value: Any) -> Pattern:
    """Return a pattern of one event a cycle."""

    def query(begin: Fraction, end: Fraction) -> list[Event]:
        wholes = ((Fraction(cycle), Fraction(cycle + 1)) for cycle in range(floor(begin), ceil(end)))
        return [Event(max(start, begin), min(stop, end), value, start, stop) for start, stop in wholes]

    return Pattern(query, constant=value)


def signal(value_of: Callable[[Fraction, Fraction], Any]) -> Pattern:
    """Return a pattern without onsets that has a value at every time: a function of a span."""
    return Pattern(lambda begin, end: [Event(begin, end, value_of(begin, end), None, None)])


def with_values(pattern: Pattern, function: Callable[[Any], Any]) -> Pattern:
    """Return a pattern with another value of each event."""

    def query(begin: Fraction, end: Fraction) -> list[Event]:
        return [event._replace(value=function(event.value)) for event in pattern.query(begin, end)]

    constant = None if pattern.constant is None else function(pattern.constant)
    return replace(pattern, query=query, constant=constant)


def sequence(steps: Sequence[tuple[Pattern, Fraction]], keeps_wholes: bool = True) -> Pattern:
    """Return patterns in sequence within each cycle, with durations in proportion to their weights.

    Unless it `keeps_wholes`, the whole of an event that goes on from an earlier cycle is where that cycle has it, as in
    the mini-notation of Tidal.
    """
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
                offset = cycle * (1 - length) + start
                for event in pattern.query(step_begin, step_end):
                    moved = event.moved(length, offset)
                    if not keeps_wholes and event.start is not None and event.start < cycle:
                        moved = moved.with_whole_earlier((cycle - floor(event.start)) * (1 - length))
                    events.append(moved)
        return events

    # A step that seldom sounds is queried in every cycle, so it counts as one event.
    density = sum((max(pattern.density, Fraction(1)) for pattern, _, _ in sounding), Fraction(0))
    return _compound(query, [pattern for pattern, _ in steps], density)


def _compound(query: Query, patterns: Sequence[Pattern], density: Fraction, width: int | None = None) -> Pattern:
    period = lcm(*(pattern.period for pattern in patterns))
    depth = 1 + max((pattern.depth for pattern in patterns), default=0)
    widest = max((pattern.width for pattern in patterns), default=0)
    return Pattern(query, period, density, depth, widest if width is None else width)


def cat(patterns: Sequence[Pattern]) -> Pattern:
    """Return patterns in turn, one a cycle."""
    return faster(sequence([(pattern, Fraction(1)) for pattern in patterns]), Fraction(1, len(patterns)))


def faster(pattern: Pattern, factor: Fraction) -> Pattern:
    """Return a pattern sped up by a factor; one below 1 slows it down, and 0 is silence."""
    if factor == 1:
        return pattern
    if factor == 0:
        return SILENCE
    length = 1 / factor

    def query(begin: Fraction, end: Fraction) -> list[Event]:
        return [event.moved(length, Fraction(0)) for event in pattern.query(begin * factor, end * factor)]

    period = (pattern.period * length).numerator
    return Pattern(query, period, pattern.density * factor, pattern.depth + 1, pattern.width)


def late(pattern: Pattern, delay: Fraction, is_delay: bool = True) -> Pattern:
    """Return a pattern that is later by so many cycles; if it `is_delay`, the events know it."""
    if not delay:
        return pattern

    def query(begin: Fraction, end: Fraction) -> list[Event]:
        events = [event.moved(Fraction(1), delay) for event in pattern.query(begin - delay, end - delay)]
        return [event._replace(delay=event.delay + delay) for event in events] if is_delay else events

    return _compound(query, [pattern], pattern.density)


def stack(patterns: Sequence[Pattern]) -> Pattern:
    """Return patterns at the same time."""
    if len(patterns) == 1:
        return patterns[0]

    def query(begin: Fraction, end: Fraction) -> list[Event]:
        return [event for pattern in patterns for event in pattern.query(begin, end)]

    density = sum((pattern.density for pattern in patterns), Fraction(0))
    return _compound(query, patterns, density, sum(pattern.width for pattern in patterns))


def merge(structure: Pattern, values: Pattern, function: Callable[[Any, Any], Any]) -> Pattern:
    """Return the wholes of one pattern, with `function(value, other)` of its values and those of another one there.

    A whole in which the other pattern changes is cut into fragments, and where that rests it is silent.
    """

    def query(begin: Fraction, end: Fraction) -> list[Event]:
        events = []
        for event in structure.query(begin, end):
            for other in values.query(*event.span):
                value = function(event.value, other.value)
                events += event._replace(value=value).within(other.begin, other.end)
        return events

    width = structure.width * values.width
    return _compound(query, [structure, values], structure.density * max(values.width, 1) + values.density, width)


def merge_both(left: Pattern, right: Pattern, function: Callable[[Any, Any], Any]) -> Pattern:
    """Do the same as `merge` with a whole wherever wholes of both patterns overlap."""

    def query(begin: Fraction, end: Fraction) -> list[Event]:
        events = []
        for event in left.query(begin, end):
            for other in right.query(*event.span):
                start = stop = None
                if event.start is not None and other.start is not None:
                    start, stop = max(event.span[0], other.span[0]), min(event.span[1], other.span[1])
                both = event._replace(value=function(event.value, other.value), start=start, stop=stop)
                if start is None or stop is None or start < stop:
                    events += both.within(other.begin, other.end)
        return events

    density = left.density * max(right.width, 1) + right.density * max(left.width, 1)
    return _compound(query, [left, right], density, left.width * right.width)


def keep_if(pattern: Pattern, test: Callable[[Event], bool]) -> Pattern:
    """Return the events of a pattern for which a test holds."""
    return replace(
        pattern,
        query=lambda begin, end: [event for event in pattern.query(begin, end) if test(event)],
        constant=None,
    )


def by_cycle(pattern_of: Callable[[int], Pattern], patterns: Sequence[Pattern], period: int = 1) -> Pattern:
    """Return the pattern that plays in each cycle the one of `patterns` that a function of the cycle returns."""

    def query(begin: Fraction, end: Fraction) -> list[Event]:
        events = []
        for cycle in range(floor(begin), ceil(end)):
            events += pattern_of(cycle).query(max(begin, Fraction(cycle)), min(end, Fraction(cycle + 1)))
        return events

    compound = _compound(query, patterns, max(pattern.density for pattern in patterns))
    return replace(compound, period=lcm(compound.period, period))


def reverse(pattern: Pattern) -> Pattern:
    """Return a pattern with each cycle from its end to its start."""

    def query(begin: Fraction, end: Fraction) -> list[Event]:
        events = []
        for cycle in range(floor(begin), ceil(end)):
            mirror = Fraction(2 * cycle + 1)
            first, last = max(begin, Fraction(cycle)), min(end, Fraction(cycle + 1))
            for event in pattern.query(mirror - last, mirror - first):
                back = event.moved(Fraction(-1), mirror)
                events.append(back._replace(begin=back.end, end=back.begin, start=back.stop, stop=back.start))
        return events

    return _compound(query, [pattern], pattern.density)


def split(pattern: Pattern, number: int, is_within_cycle: bool = False) -> Pattern:
    """Return a pattern in which each event is there so many times within its whole.

    If it `is_within_cycle`, as in Tidal, an event that goes on into the next cycle is silent.
    """

    def query(begin: Fraction, end: Fraction) -> list[Event]:
        events = []
        for event in pattern.query(begin, end):
            if event.start is None or event.stop is None:
                continue
            if is_within_cycle and event.stop > floor(event.start) + 1:
                continue
            length = (event.stop - event.start) / number
            for at in range(number):
                start = event.start + at * length
                events += event._replace(start=start, stop=start + length).within(start, start + length)
        return events

    return _compound(query, [pattern], pattern.density * number)


def press(pattern: Pattern, share: Fraction) -> Pattern:
    """Return a pattern whose events start after a share of their wholes."""

    def query(begin: Fraction, end: Fraction) -> list[Event]:
        events = []
        for event in pattern.query(begin, end):
            if event.start is not None and event.stop is not None:
                start = event.start + share * (event.stop - event.start)
                events += event._replace(start=start).within(start, event.stop)
        return events

    return _compound(query, [pattern], pattern.density)


def patterned(function: Callable[..., Pattern], *arguments: Pattern) -> Pattern:
    """Return a function of numbers or words with patterns as arguments: at each time, the result of the values then.

    Raises:
        HypermeterError: an argument that repeats only after thousands of events.
    """
    if not arguments:
        return function()
    argument, *others = arguments
    if argument.constant is not None:
        return patterned(partial(function, argument.constant), *others)
    if argument.period * max(argument.density, 1) > MAX_VALUES:
        raise HypermeterError(f"a pattern of numbers with more than {MAX_VALUES} events, expected a shorter one")
    events = argument.query(Fraction(0), Fraction(argument.period))
    if any(isinstance(event.value, dict) for event in events):
        raise HypermeterError("a pattern of sounds, expected one of numbers")
    results = {value: patterned(partial(function, value), *others) for value in {event.value for event in events}}
    if not results:
        return SILENCE

    def query(begin: Fraction, end: Fraction) -> list[Event]:
        events = []
        for event in argument.query(begin, end):
            events += results[event.value].query(event.begin, event.end)
        return events

    density = max(result.density for result in results.values())
    return _compound(query, [argument, *results.values()], density * argument.width)


def euclid(pattern: Pattern, hits: int, steps: int) -> Pattern:
    """Return a pattern in each of `hits` of `steps` steps, as even as possible; if below 0, in the steps between."""
    return sequence([(pattern if is_onset else SILENCE, Fraction(1)) for is_onset in _onsets(hits, steps)])


def euclid_cut(pattern: Pattern, hits: int, steps: int, rotation: int = 0) -> Pattern:
    """Return what a pattern plays at each of `hits` of `steps` steps, which are rotated to later ones.

    This is the rhythm of Strudel. In Tidal, as in `euclid`, each step plays the whole pattern.
    """
    onsets = _onsets(hits, steps)
    onsets = onsets[-rotation % steps :] + onsets[: -rotation % steps]
    structure = sequence([(atom(True) if is_onset else SILENCE, Fraction(1)) for is_onset in onsets])
    return merge(structure, pattern, lambda is_onset, value: value)


def _onsets(hits: int, steps: int) -> list[bool]:
    return [is_onset == (hits >= 0) for is_onset in bjorklund(abs(hits), steps)]


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

"""The metres of a MIDI file, and its spans of whole bars in one metre and tempo."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.io.midi.content import MidiFile

INAUDIBLE = 1.005
"""Ratio of the fastest and the slowest of several tempos that count as one."""


USUAL = ("4/4", "3/4", "2/4", "5/4", "7/4", "6/8", "12/8", "7/8")
"""Metres by whose names those of equal bars are read, where every metre is."""


@dataclass(frozen=True)
class Metre:
    """A metre from one tick of a file on, and its bar lines, in ticks."""

    name: str
    start: float
    bar_ticks: float
    first_bar: int  # Number of its first bar, from 1.

    def bars_until(self, tick: float) -> int:
        """Return the number of whole bars from the start of the metre to a tick."""
        return math.floor((tick - self.start) / self.bar_ticks + 1e-9)

    def line_before(self, tick: float) -> float:
        """Return the last bar line at or before a tick."""
        return self.start + self.bars_until(tick) * self.bar_ticks

    def at_line(self, tick: float, slack: float) -> float:
        """Return the bar line that is less than `slack` from a tick, else the tick."""
        line = self.start + round((tick - self.start) / self.bar_ticks) * self.bar_ticks
        return line if abs(tick - line) < slack else tick


@dataclass
class Span:
    """Whole bars in one metre and tempo, from `start` to `end` in ticks.

    Where `tempo_bpm` is `None`, it is a bar in which tempo or metre change.
    """

    start: float
    end: float
    bar: int  # Number of its first bar, from 1.
    metre: str
    tempo_bpm: float | None


def metres_of(midi: MidiFile, where: str, slack: float) -> list[Metre]:
    """Return the metres of a MIDI file in order; one that starts less than `slack` ticks from a bar line is at it.

    Raises:
        HypermeterError: a metre without beats, or with a beat unit that is undefined. It names the file `where`.
    """
    # MIDI is in 4/4 by default; of two events at one tick the last counts.
    signatures = {0: (4, 4)} | {tick: (beats, unit) for tick, beats, unit in midi.signatures}
    metres: list[Metre] = []
    for tick, (beats, unit) in sorted(signatures.items()):
        if beats < 1 or unit < 1:
            what = "0 beats" if beats < 1 else "a beat unit that MIDI does not have"
            raise HypermeterError(
                f"{where}: metre with {what} at tick {tick}, expected one such as 4/4; repair the file"
            )
        start, first_bar = float(tick), 1
        if metres:
            before = metres[-1]
            start = before.at_line(tick, slack)
            first_bar = before.first_bar + math.ceil((start - before.start) / before.bar_ticks - 1e-9)
            if start == before.start:
                metres.pop()
        metres.append(Metre(f"{beats}/{unit}", start, beats * 4 * midi.ticks_per_quarter / unit, first_bar))
    return metres


def find_spans(
    midi: MidiFile, where: str, ticks_per_step: float, metre: str | None, onsets: np.ndarray, flatten: bool = False
) -> tuple[list[Span], list[str]]:
    """Return the spans of a MIDI file in order, without gaps, and lines on what was read otherwise than it is written.

    The last span ends at infinity. A change of tempo or metre less than an eighth of a step from a bar line counts as
    at it; tempos that differ by at most half a percent are one. A first bar that is shorter than the bars in `metre`
    which follow is a pickup: it becomes a whole bar, which begins before it.

    Args:
        midi: the file.
        where: the name of the file in errors.
        ticks_per_step: length of a step.
        metre: the metre that is read; `None` reads all. Metres whose bars are as long and whose beats divide alike are
            taken for it, or for one of USUAL.
        onsets: (N,) ticks of the notes, at least one: tempos are averaged up to the last.
        flatten: whether all tempos are one.

    Raises:
        HypermeterError: an invalid metre or tempo. It names the file `where`.
    """
    slack = max(1, ticks_per_step / 8)
    rounded = {0: 120.0} | {tick: round(tempo, 2) for tick, tempo in midi.tempos}
    tempos = _one_where_alike(rounded, where, float(onsets.max()), math.inf if flatten else INAUDIBLE)
    metres, remarks = metres_of(midi, where, slack), []
    alike: dict[str, str] = {}
    for item in metres:
        for name in USUAL if metre is None else (metre,):
            if item.name != name and are_alike(item.name, name):
                alike.setdefault(item.name, name)
    metres = [replace(item, name=alike.get(item.name, item.name)) for item in metres]
    remarks += [f"metre {name} is read as {read}, whose bars are as long" for name, read in alike.items()]
    is_read = len(metres) > 1 and metre in (None, metres[1].name)
    is_short = is_read and metres[1].start < metres[1].bar_ticks - slack
    if is_short and onsets.min() < metres[1].start - ticks_per_step / 2:
        part = metres[1].start / metres[1].bar_ticks
        remarks.append(f"the first bar is short ({part:.2g} of one): it is read as a pickup, with rests before it")
        metres[:2] = [replace(metres[1], start=metres[1].start - metres[1].bar_ticks, first_bar=1)]
    spans: list[Span] = []
    ticks = sorted(tempos)
    for item, end in zip(metres, [*(item.start for item in metres[1:]), math.inf], strict=True):
        for span in _spans_of_metre(item, end, ticks, tempos, slack):
            before = spans[-1] if spans else None
            is_same = before and (before.metre, before.tempo_bpm) == (span.metre, span.tempo_bpm)
            if before and is_same and span.tempo_bpm is not None:
                before.end = span.end
            else:
                spans.append(span)
    return spans, remarks


def are_alike(metre: str, other: str) -> bool:
    """Return whether bars of two metres are as long and beats divide alike: 2/2, 4/4 and 8/8; 2/4 and 4/8; not 6/8.

    Metres in threes are alike only if they are equal: beats of 6/8 divide into three, those of 3/4 into two.
    """
    (beats, unit), (other_beats, other_unit) = (map(int, name.split("/")) for name in (metre, other))
    return beats * other_unit == other_beats * unit and (metre == other or beats % 3 > 0)


def _one_where_alike(tempos: dict[int, float], where: str, last_tick: float, ratio: float) -> dict[int, float]:
    """Return tempos, tick -> rounded bpm; successive ones within a ratio are their mean, as the music lasts."""
    for tick, tempo in tempos.items():
        if not 0 < tempo < math.inf:
            raise HypermeterError(f"{where}: tempo {tempo:g} at tick {tick}, expected more than 0; repair the file")
    groups: list[list[int]] = []
    least, greatest = math.inf, 0.0
    for tick in sorted(tempos):
        least, greatest = min(least, tempos[tick]), max(greatest, tempos[tick])
        if not groups or greatest > least * ratio + 1e-9:
            groups.append([])
            least = greatest = tempos[tick]
        groups[-1].append(tick)
    ends = [*(group[0] for group in groups[1:]), math.inf]
    merged = {}
    for group, end in zip(groups, ends, strict=True):
        stops = [*group[1:], min(end, max(last_tick, group[-1] + 1))]
        lengths = [stop - start for start, stop in zip(group, stops, strict=True)]
        minutes = sum(length / tempos[tick] for tick, length in zip(group, lengths, strict=True))
        merged[group[0]] = round(sum(lengths) / minutes if len(group) > 1 else tempos[group[0]], 2)
    return merged


def _spans_of_metre(
    metre: Metre, end: float, ticks: list[int], tempos: dict[int, float], slack: float
) -> Iterator[Span]:
    """Yield the spans of one metre, which ends at the tick `end`."""

    def span(start: float, stop: float, tempo: float | None) -> list[Span]:
        if start >= stop:
            return []
        return [Span(start, stop, metre.first_bar + metre.bars_until(start), metre.name, tempo)]

    first = bisect_right(ticks, max(metre.start, 0))
    start, tempo = metre.start, tempos[ticks[first - 1]]
    for tick in ticks[first : bisect_left(ticks, end)]:
        if tempos[tick] != tempo:
            change = metre.at_line(tick, slack)
            line = metre.line_before(change)
            yield from span(start, line, tempo)
            if change > line:
                after = min(line + metre.bar_ticks, end)
                yield from span(max(start, line), after, None)
                line = after
            start, tempo = max(start, line), tempos[tick]
    last_line = end if end == math.inf else metre.line_before(end)
    yield from span(start, last_line, tempo)
    yield from span(max(start, last_line), end, None)


def describe_change(before: Span, after: Span) -> str:
    """Return in words what changes from one span to the next, and in which bar."""
    at = f"at bar {after.bar}"
    if before.metre != after.metre:
        return f"metre changes from {before.metre} to {after.metre} {at}"
    if before.tempo_bpm is None or after.tempo_bpm is None:
        return f"tempo or metre changes within the bar {at}"
    return f"tempo changes from {before.tempo_bpm:g} to {after.tempo_bpm:g} {at}"

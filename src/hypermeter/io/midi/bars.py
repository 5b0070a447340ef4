"""The metres of a MIDI file, and its spans of whole bars in one metre and tempo."""

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any

from hypermeter.core.errors import HypermeterError


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


def metres_of(score: Any, where: str, slack: float) -> list[Metre]:
    """Return the metres of a symusic score in order; one that starts less than `slack` ticks from a bar line is at it.

    Raises:
        HypermeterError: a metre without beats, or with a beat unit that is undefined. It names the file `where`.
    """
    # MIDI is in 4/4 by default; of two events at one tick the last counts.
    signatures = {0: (4, 4)} | {event.time: (event.numerator, event.denominator) for event in score.time_signatures}
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
        metres.append(Metre(f"{beats}/{unit}", start, beats * 4 * score.ticks_per_quarter / unit, first_bar))
    return metres


def find_spans(score: Any, where: str, ticks_per_step: float) -> list[Span]:
    """Return the spans of a symusic score in order, without gaps; the last ends at infinity.

    A change of tempo or metre less than an eighth of a step from a bar line counts as at it.

    Raises:
        HypermeterError: an invalid metre or tempo. It names the file `where`.
    """
    slack = max(1, ticks_per_step / 8)
    tempos = {0: 120.0} | {event.time: round(event.qpm, 2) for event in score.tempos}
    for tick, tempo in tempos.items():
        if not 0 < tempo < math.inf:
            raise HypermeterError(f"{where}: tempo {tempo:g} at tick {tick}, expected more than 0; repair the file")
    spans: list[Span] = []

    def add(metre: Metre, start: float, end: float, tempo: float | None) -> None:
        if start >= end:
            return
        bar = metre.first_bar + metre.bars_until(start)
        before = spans[-1] if spans else None
        if before and tempo is not None and (before.metre, before.tempo_bpm) == (metre.name, tempo):
            spans.pop()
            start, bar = before.start, before.bar
        spans.append(Span(start, end, bar, metre.name, tempo))

    metres, ticks = metres_of(score, where, slack), sorted(tempos)
    for metre, end in zip(metres, [*(metre.start for metre in metres[1:]), math.inf], strict=True):
        first = bisect_right(ticks, metre.start)
        start, tempo = metre.start, tempos[ticks[first - 1]]
        for tick in ticks[first : bisect_left(ticks, end)]:
            if tempos[tick] != tempo:
                change = metre.at_line(tick, slack)
                line = metre.line_before(change)
                add(metre, start, line, tempo)
                if change > line:
                    after = min(line + metre.bar_ticks, end)
                    add(metre, max(start, line), after, None)
                    line = after
                start, tempo = max(start, line), tempos[tick]
        last_line = end if end == math.inf else metre.line_before(end)
        add(metre, start, last_line, tempo)
        add(metre, max(start, last_line), end, None)
    return spans


def describe_change(before: Span, after: Span) -> str:
    """Return in words what changes from one span to the next, and in which bar."""
    at = f"at bar {after.bar}"
    if before.metre != after.metre:
        return f"metre changes from {before.metre} to {after.metre} {at}"
    if before.tempo_bpm is None or after.tempo_bpm is None:
        return f"tempo or metre changes within the bar {at}"
    return f"tempo changes from {before.tempo_bpm:g} to {after.tempo_bpm:g} {at}"

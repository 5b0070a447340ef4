"""The bars of a MIDI file: stretches of it in one metre and tempo."""

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import symusic

from hypermeter.core.errors import HypermeterError


@dataclass(frozen=True)
class Metre:
    """A metre and its bar lines, in ticks."""

    name: str
    start: float
    bar_ticks: float
    first_bar: int  # The number of the bar that starts it, from 1.

    def bars_until(self, tick: float) -> int:
        """Whole bars from its start."""
        return math.floor((tick - self.start) / self.bar_ticks + 1e-9)

    def line_before(self, tick: float) -> float:
        """The last bar line up to a tick."""
        return self.start + self.bars_until(tick) * self.bar_ticks

    def at_line(self, tick: float, slack: float) -> float:
        """The bar line that is less than ``slack`` from a tick, or else the tick."""
        line = self.start + round((tick - self.start) / self.bar_ticks) * self.bar_ticks
        return line if abs(tick - line) < slack else tick


@dataclass
class Stretch:
    """Whole bars between two bar lines, in ticks; or, where the tempo is None, a bar that tempo or metre change in."""

    start: float
    end: float
    bar: int  # The number of its first bar, from 1.
    metre: str
    tempo_bpm: float | None


def metres_of(score: symusic.core.ScoreTick, where: str, slack: float) -> list[Metre]:
    # MIDI is in 4/4 until it says otherwise; of two events at one tick the last counts.
    found = {0: (4, 4)} | {each.time: (each.numerator, each.denominator) for each in score.time_signatures}
    metres: list[Metre] = []
    for tick, (beats, unit) in sorted(found.items()):
        if beats < 1 or unit < 1:
            what = "0 beats" if beats < 1 else "a beat unit that MIDI does not have"
            raise HypermeterError(f"{where}: metre with {what} at tick {tick}, expected one as 4/4; repair the file")
        start, first_bar = float(tick), 1
        if metres:
            before = metres[-1]
            start = before.at_line(tick, slack)
            first_bar = before.first_bar + math.ceil((start - before.start) / before.bar_ticks - 1e-9)
            if start == before.start:
                metres.pop()
        metres.append(Metre(f"{beats}/{unit}", start, beats * 4 * score.ticks_per_quarter / unit, first_bar))
    return metres


def stretches_of(score: symusic.core.ScoreTick, where: str, ticks_per_step: float) -> list[Stretch]:
    slack = max(1, ticks_per_step / 8)  # Nearer a bar line than this, a change was meant to be there.
    tempos = {0: 120.0} | {each.time: round(each.qpm, 2) for each in score.tempos}
    for tick, tempo in tempos.items():
        if not 0 < tempo < math.inf:
            raise HypermeterError(f"{where}: tempo {tempo:g} at tick {tick}, expected more than 0; repair the file")
    stretches: list[Stretch] = []

    def add(metre: Metre, start: float, end: float, tempo: float | None) -> None:
        if start >= end:
            return
        bar = metre.first_bar + metre.bars_until(start)
        before = stretches[-1] if stretches else None
        if before and tempo is not None and (before.metre, before.tempo_bpm) == (metre.name, tempo):
            stretches.pop()
            start, bar = before.start, before.bar
        stretches.append(Stretch(start, end, bar, metre.name, tempo))

    metres, ticks = metres_of(score, where, slack), sorted(tempos)
    for metre, end in zip(metres, [*(each.start for each in metres[1:]), math.inf], strict=True):
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
        whole = end if end == math.inf else metre.line_before(end)
        add(metre, start, whole, tempo)
        add(metre, max(start, whole), end, None)
    return stretches


def change(before: Stretch, after: Stretch) -> str:
    at = f"at bar {after.bar}"
    if before.metre != after.metre:
        return f"metre changes from {before.metre} to {after.metre} {at}"
    if before.tempo_bpm is None or after.tempo_bpm is None:
        return f"tempo or metre changes within the bar {at}"
    return f"tempo changes from {before.tempo_bpm:g} to {after.tempo_bpm:g} {at}"

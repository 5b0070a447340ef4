"""How well a player kept time: lateness of notes, what drawing cost, how soon a control was heard."""

import math
from dataclasses import dataclass, field

import numpy as np
from rich import box
from rich.table import Table

LATE_S = 0.01
"""A note that goes out more than this after its time was late."""


def percentile(values: list[float], percent: float) -> float:
    """NaN without values."""
    return float(np.percentile(values, percent)) if values else math.nan


@dataclass
class Timing:
    """What was measured while playing. Times in seconds.

    Args:
        lateness: of each note, when it went out after its time.
        costs: of each part that was drawn.
        headroom: of each part, the time between its being there and the first that could have sounded of it.
        control_delays: of each change of settings, until the first note under it.
        dropped: notes that were drawn so late that they were left out.
        redrawn: parts that were drawn again as the settings had changed.
        bars: begun.
    """

    lateness: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    headroom: list[float] = field(default_factory=list)
    control_delays: list[float] = field(default_factory=list)
    dropped: int = 0
    redrawn: int = 0
    bars: int = 0

    @property
    def notes(self) -> int:
        return len(self.lateness)

    @property
    def late(self) -> int:
        """Notes that were more than LATE_S late."""
        return int((np.asarray(self.lateness) > LATE_S).sum())

    @property
    def jitter_s(self) -> float:
        """Standard deviation of the lateness; NaN without notes."""
        return float(np.std(self.lateness)) if self.lateness else math.nan

    def table(self) -> Table:
        """In milliseconds, as people read it."""
        table = Table("", "median", "99 %", "most", box=box.SIMPLE)
        for name, values in (
            ("latency of notes, ms", self.lateness),
            ("drawing a part, ms", self.costs),
            ("from control to sound, ms", self.control_delays),
        ):
            if values:
                cells = (f"{1e3 * percentile(values, each):.2f}" for each in (50, 99, 100))
                table.add_row(name, *cells)
        return table

    def lines(self) -> list[str]:
        """The rest in words."""
        said = f"{self.notes} notes in {self.bars} bars; jitter {1e3 * self.jitter_s:.2f} ms"
        said += f"; {self.late} later than {1e3 * LATE_S:.0f} ms, {self.dropped} left out"
        lines = [said if self.notes else f"no notes in {self.bars} bars"]
        least = min(self.headroom, default=math.inf)
        if self.headroom:
            lines.append(f"parts were there {1e3 * least:.0f} ms ahead at the least")
        if self.dropped or least < 0:
            lines.append("drawing was too slow for this tempo: play a bar ahead, or with --guidance 0")
        elif self.late:
            lines.append("late notes had been drawn in time: other programs kept this machine busy")
        return lines

"""Accuracy of live play: lateness of notes, cost of sampling, delay of controls."""

import math
from dataclasses import dataclass, field

import numpy as np

LATE_S = 0.01
"""A note sent more than this after its time is late."""


def percentile(values: list[float], percent: float) -> float:
    """Return a percentile; NaN of no values."""
    return float(np.percentile(values, percent)) if values else math.nan


@dataclass
class Timing:
    """Measurements of live play. Times in seconds.

    Args:
        lateness: of each note: when it was sent, after its time.
        costs: of each part: time to sample it.
        headroom: of each part: from its arrival to the first time at which it could have sounded.
        control_delays: of each change of settings: until the first note with them.
        dropped: notes left out because they arrived too late.
        redrawn: parts sampled again after a change of settings.
        bars: begun.
        changed_at: version of settings that no note has had yet -> when they changed.
    """

    lateness: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    headroom: list[float] = field(default_factory=list)
    control_delays: list[float] = field(default_factory=list)
    dropped: int = 0
    redrawn: int = 0
    bars: int = 0
    changed_at: dict[int, float] = field(default_factory=dict)

    def measure_delay(self, version: int, now: float) -> None:
        """Take a note of a version of the settings, the first of it and of those before it."""
        for changed in [changed for changed in self.changed_at if changed <= version]:
            self.control_delays.append(now - self.changed_at.pop(changed))

    @property
    def notes(self) -> int:
        return len(self.lateness)

    @property
    def late(self) -> int:
        """Number of notes more than LATE_S late."""
        return int((np.asarray(self.lateness) > LATE_S).sum())

    @property
    def jitter_s(self) -> float:
        """Standard deviation of the lateness; NaN without notes."""
        return float(np.std(self.lateness)) if self.lateness else math.nan

    def lines(self) -> list[str]:
        """Return the measurements as lines for people."""
        summary = f"{self.notes} notes in {self.bars} bars; jitter {1e3 * self.jitter_s:.2f} ms"
        summary += f"; {self.late} later than {1e3 * LATE_S:.0f} ms, {self.dropped} left out"
        lines = [summary if self.notes else f"no notes in {self.bars} bars"]
        min_headroom_s = min(self.headroom, default=math.inf)
        if self.headroom:
            lines.append(f"parts arrived at least {1e3 * min_headroom_s:.0f} ms before they were due")
        if self.dropped or min_headroom_s < 0:
            lines.append("sampling was too slow for this tempo: play a bar ahead, or with --guidance 0")
        elif self.late:
            lines.append("late notes were sampled in time: other programs kept this machine busy")
        for name, values in (
            ("latency of notes", self.lateness),
            ("sampling a part", self.costs),
            ("control to sound", self.control_delays),
        ):
            if values:
                median, percent_99 = (1e3 * percentile(values, percent) for percent in (50, 99))
                lines.append(
                    f"{name}: median {median:.2f} ms, 99 % {percent_99:.2f} ms, greatest {1e3 * max(values):.2f} ms"
                )
        return lines

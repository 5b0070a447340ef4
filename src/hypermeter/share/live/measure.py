"""Accuracy of live play: lateness of notes, cost of sampling, delay of controls."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LATE_S = 0.01
"""A note sent more than this after its time is late."""


MAX_KEPT = 20_000
"""Values that are kept of a figure: a quarter of an hour of notes, or more."""

MAX_CHANGES = 1000
"""Changes of settings whose first note is waited for."""


def percentile(values: Iterable[float], percent: float) -> float:
    """Return a percentile; NaN of no values."""
    kept = list(values)
    return float(np.percentile(kept, percent)) if kept else math.nan


class Figures:
    """Numbers that are added without end, in memory that does not grow.

    The number of values, the extremes and the moments are those of all. Iteration gives all values up to MAX_KEPT of
    them, then every second, fourth and so on.

    Args:
        values: the first ones.
        limit: values above it are counted in `above`.
    """

    def __init__(self, values: Iterable[float] = (), limit: float = math.inf):
        self._kept: list[float] = []
        self._every = 1
        self._number, self._mean, self._squares = 0, 0.0, 0.0
        self.limit, self.above = limit, 0
        self.least, self.greatest = math.inf, -math.inf
        self.recent: deque[float] = deque(maxlen=1000)
        for value in values:
            self.append(value)

    def append(self, value: float) -> None:
        """Add a value."""
        if self._number % self._every == 0:
            self._kept.append(value)
            if len(self._kept) > MAX_KEPT:
                self._kept, self._every = self._kept[::2], 2 * self._every
        self._number += 1
        self.recent.append(value)
        self.above += value > self.limit
        self.least, self.greatest = min(self.least, value), max(self.greatest, value)
        difference = value - self._mean
        self._mean += difference / self._number
        self._squares += difference * (value - self._mean)

    @property
    def deviation(self) -> float:
        """Standard deviation of all values; NaN without any."""
        return math.sqrt(self._squares / self._number) if self._number else math.nan

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[float]:
        return iter(self._kept)

    def __array__(self, *arguments: Any, **options: Any) -> np.ndarray:
        return np.array(self._kept, *arguments, **options)


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

    lateness: Figures = field(default_factory=lambda: Figures(limit=LATE_S))
    costs: Figures = field(default_factory=Figures)
    headroom: Figures = field(default_factory=Figures)
    control_delays: Figures = field(default_factory=Figures)
    dropped: int = 0
    redrawn: int = 0
    bars: int = 0
    changed_at: dict[int, float] = field(default_factory=dict)

    def change(self, version: int, now: float) -> None:
        """Take a change of the settings."""
        if len(self.changed_at) < MAX_CHANGES:
            self.changed_at[version] = now

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
        return self.lateness.above

    @property
    def jitter_s(self) -> float:
        """Standard deviation of the lateness; NaN without notes."""
        return self.lateness.deviation

    def lines(self) -> list[str]:
        """Return the measurements as lines for people."""
        summary = f"{self.notes} notes in {self.bars} bars; jitter {1e3 * self.jitter_s:.2f} ms"
        summary += f"; {self.late} later than {1e3 * LATE_S:.0f} ms, {self.dropped} left out"
        lines = [summary if self.notes else f"no notes in {self.bars} bars"]
        min_headroom_s = self.headroom.least
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
                    f"{name}: median {median:.2f} ms, 99 % {percent_99:.2f} ms, greatest {1e3 * values.greatest:.2f} ms"
                )
        return lines

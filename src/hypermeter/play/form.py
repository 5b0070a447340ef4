"""Form: what a section of a plan begins from, so that it differs from the section before and comes back as it was.

A model goes on from all that it has heard, so that a second section would be the first one, continued. Here a section
that is new hears the last phrase or two alone, and a section that returns goes on from where it was before. Bars keep
their place in the phrase.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import numpy as np

from hypermeter.core.grid import Grid
from hypermeter.play.plan import KINDS, Plan

S = TypeVar("S")
B = TypeVar("B")


@dataclass(frozen=True)
class Start(Generic[S, B]):
    """What a bar begins from: a state of earlier, or that before any music, and bars that are heard after it.

    Args:
        state: `None` is that before any music.
        bars: in their order.
    """

    state: S | None
    bars: tuple[B, ...] = ()


@dataclass(frozen=True)
class Form(Generic[S, B]):
    """What has been played of each section, as a value: `turn`, then `enter`, before each bar, and `play` after it.

    Args:
        phrase: bars of a phrase.
        bar: number of the next bar of the piece.
        section: of the bar before it, 0 for none.
        run: numbers of the bars of that section since it began, and the states before them.
        ended: section -> such of the last phrase of its last time, with its end; of sections of a phrase or more.
        bars: the last two phrases, of those that were played here.
    """

    phrase: int
    bar: int = 0
    section: int = 0
    run: tuple[tuple[int, S], ...] = ()
    ended: Mapping[int, tuple[tuple[int, S], ...]] = field(default_factory=dict)
    bars: tuple[B, ...] = ()

    @classmethod
    def from_bar(cls, bar: int, sections: Sequence[int], grid: Grid) -> "Form[S, B]":
        """Return the form before a bar of a plan, of whose earlier bars nothing is kept."""
        return cls(grid.bars_per_phrase, bar, section_at(sections, bar - 1) if bar else 0)

    def turn(self, section: int, state: S) -> tuple["Form[S, B]", Start[S, B] | None]:
        """Return the form with the section before ended where a bar is of another, and what the bar begins from.

        Args:
            section: of the bar, 0 for none.
            state: after all that was played.

        Returns:
            `None` where it begins from the state itself.
        """
        if section == self.section:
            return self, None
        ended, start = self.ended, None
        if self.section and len(self.run) >= self.phrase:
            ended = {**ended, self.section: (*self.run, (self.bar, state))[-self.phrase :]}
        if section in ended:
            start = Start(next(before for bar, before in ended[section] if (self.bar - bar) % self.phrase == 0))
        elif section and self.section:
            heard = (self.bar - 1) % self.phrase + 1 + self.phrase
            start = Start(None, self.bars[-heard:]) if heard <= len(self.bars) and heard < self.bar else None
        return replace(self, section=section, run=(), ended=ended), start

    def enter(self, state: S) -> "Form[S, B]":
        """Return the form with the state from which the next bar begins."""
        return replace(self, run=(*self.run, (self.bar, state))[-self.phrase :])

    def play(self, bar: B) -> "Form[S, B]":
        """Return the form after a bar of music."""
        return replace(self, bars=(*self.bars, bar)[-2 * self.phrase :], bar=self.bar + 1)


def sections_of(plan: Plan | None) -> list[int]:
    """Return the section of each bar, 0 for none; an empty list if there is none, or if the plan's rows differ."""
    if plan is None:
        return []
    sections = np.asarray(plan.labels)[..., KINDS.index("section")]
    is_one = sections.any() and (sections == sections[:1]).all()
    return sections[0].tolist() if is_one else []


def section_at(sections: Sequence[int], bar: int) -> int:
    """Return the section of a bar; those after the last have its section."""
    return sections[min(bar, len(sections) - 1)]

"""What is asked for on the command line, as a plan: sections, style, curves of numbers or the file that they are of."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.io.midi import MIDI_SUFFIXES
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.model.plan import FILL, KINDS, NUMBERS, Plan, join, make_plan, plan_of
from hypermeter.play.plan import section_names

BARS = 16
"""New ones, where nothing tells how many."""


GUIDANCE = 1.0
"""Where nothing is said about it."""


@dataclass(frozen=True)
class Asked:
    """What is asked of the new bars, of a model that was trained with labels.

    Args:
        sections: labels with numbers of bars, "intro:4 verse:8 fill:1 chorus:8"; several at once joined by +, as in
            rock+verse:8. They give the number of bars.
        style: one of the model's styles, for all bars that name none.
        density: share of cells with a hit: a number, numbers joined by commas (a curve over the bars), or a MIDI file
            to be as dense as, bar by bar, again and again; it gives the number of bars where nothing else does.
        offbeat: share of hits off the beat, likewise.
        guidance: how much further all this is followed than the model does by itself: 0 is as learnt, 2 is strict. Left
            out, 1 where any of it is asked; the tempo, which is told in any case, is not followed further by itself.
    """

    sections: str | None = None
    style: str | None = None
    density: str | None = None
    offbeat: str | None = None
    guidance: float | None = None

    @property
    def names(self) -> list[str]:
        """The options given, but guidance."""
        return [name for name in ("sections", "style", "density", "offbeat") if getattr(self, name) is not None]

    @property
    def strength(self) -> float:
        """The guidance; GUIDANCE where nothing is said about it."""
        return GUIDANCE if self.guidance is None else self.guidance


NOTHING_ASKED = Asked()


@dataclass(frozen=True)
class Planner:
    """Plans from what is asked on the command line. None for a model that takes no plans.

    The tempo is asked for in any case; of music that is heard, what is measured in it of all that is asked after it.

    Args:
        model: with labels or without.
        name: of the model, for errors.
        asked: the options.
        tempo_bpm: of the result.
        read: a MIDI file to a groove of the model's.
    """

    model: HierarchicalDrumModel
    name: str
    asked: Asked
    tempo_bpm: float
    read: Callable[[Path], Groove]

    def after(
        self, heard: Sequence[Groove | None], bars: int | None, ending: Groove | None = None
    ) -> tuple[Plan | None, int]:
        """For the heard bars, then new ones, then those of an ending; and how many new ones these are."""
        asked = self._asked(bars)
        if asked is None:
            return None, bars or BARS
        if not any(each is not None for each in heard):
            _begin_with_a_groove(asked, self.model.grid.bars_per_phrase)
        around = [
            None if each is None else _as_far_as_asked(each, asked) for each in map(self.measured, (heard, [ending]))
        ]
        before, end = around
        return join(*(each for each in (before, asked, end) if each is not None)), asked.num_bars

    def name_bars(self, groove: Groove, bars: Sequence[int]) -> Groove:
        """The groove with those bars named as they are asked to be; the others, and what has no name, stay."""
        if not self.asked.sections or self.model.labels is None:
            return groove
        names = section_names(self.asked.sections, self.model.labels)
        if not any(names):
            return groove
        sections = [""] * groove.num_bars if groove.sections is None else groove.sections.tolist()
        for bar, name in zip(bars, names, strict=True):
            sections[bar] = name or sections[bar]
        return replace(groove, sections=np.array(sections))

    def measured(self, heard: Sequence[Groove | None]) -> Plan | None:
        """Of what is heard, one after the other."""
        parts = [torch.tensor(each.hits).float()[None] for each in heard if each is not None]
        if self.model.labels is None or not parts:
            return None
        plan = plan_of(torch.cat(parts, 1), self.model.grid)
        plan.numbers[..., NUMBERS.index("tempo_bpm")] = self.tempo_bpm
        return plan

    def replacing(self, bars: Sequence[int], before: Groove | None, primer: Groove) -> Plan | None:
        """What the primer has, but in the bars that are replaced what is asked of them."""
        if self.asked.sections and self.model.labels is not None:
            told = len(section_names(self.asked.sections, self.model.labels))
            if told != len(bars):
                raise HypermeterError(f"sections: {told} bars, and {len(bars)} to replace; expected as many")
        asked, plan = self._asked(len(bars)), self.measured([before, primer])
        if asked is None or plan is None:
            return None
        plan = _as_far_as_asked(plan, asked)
        rows = torch.tensor(bars) + (before.num_bars if before is not None else 0)
        plan.labels[:, rows], plan.numbers[:, rows] = asked.labels, asked.numbers
        return plan

    def _asked(self, bars: int | None) -> Plan | None:
        asked, labels = self.asked, self.model.labels
        if labels is None:
            if asked.names:
                raise HypermeterError(
                    f"--{asked.names[0]}: {self.name} was made without labels, so nothing can be asked of it; choose a"
                    f" model that has them, or teach it: hypermeter train NPZ OUT --init {self.name} --only plan"
                )
            return None
        files = {name: curve for name in ("density", "offbeat") if (curve := self._measured_curve(name)) is not None}
        if asked.sections:
            told = make_plan(labels, sections=asked.sections).num_bars
        else:
            told = next((len(curve) for curve in files.values()), BARS)
        bars = bars or told
        repeated = {name: [curve[bar % len(curve)] for bar in range(bars)] for name, curve in files.items()}
        return make_plan(
            labels,
            bars,
            sections=asked.sections,
            style=asked.style,
            tempo_bpm=self.tempo_bpm,
            density=repeated.get("density", self._curve("density")),
            offbeat=repeated.get("offbeat", self._curve("offbeat")),
        )

    def _curve(self, name: str) -> list[float] | None:
        """A number, or several; None where a MIDI file is named."""
        text = getattr(self.asked, name)
        if text is None:
            return None
        try:
            return [float(each) for each in text.split(",")]
        except ValueError:
            return None

    def _measured_curve(self, name: str) -> list[float] | None:
        """What the MIDI file that is named has in each bar; None where none is."""
        text = getattr(self.asked, name)
        if text is None or self._curve(name) is not None:
            return None
        path = Path(text)
        if path.suffix.lower() not in MIDI_SUFFIXES:
            raise HypermeterError(f"{name}: {text!r}, expected a number, numbers as .1,.2,.3, or a MIDI file")
        hits = torch.tensor(self.read(path).hits).float()[None]
        curve = plan_of(hits, self.model.grid).numbers[0, :, NUMBERS.index(name)].numpy()
        told = np.flatnonzero(~np.isnan(curve))  # there is no share of hits where there are none
        if not len(told):
            raise HypermeterError(f"{name}: no hits in {path}, expected some to measure; choose another file")
        return np.interp(np.arange(len(curve)), told, curve[told]).tolist()


def _begin_with_a_groove(asked: Plan, bars_per_phrase: int) -> None:
    """Asks the first bars to be no fills, but for the last of the phrase, where nothing is said of fills.

    Many pieces that models learn from are fills by themselves, so that a beginning from silence is often one.
    """
    fills = asked.labels[..., KINDS.index("fill")]
    if not fills.any():
        fills[:, : bars_per_phrase - 1] = 1 + FILL.index("beat")


def _as_far_as_asked(measured: Plan, asked: Plan) -> Plan:
    """The kinds and numbers that are asked of any bar: in training all bars of a piece tell one, or none does."""
    labels = measured.labels.masked_fill((asked.labels == 0).all(1, keepdim=True), 0)
    return Plan(labels, measured.numbers.masked_fill(asked.numbers.isnan().all(1, keepdim=True), math.nan))

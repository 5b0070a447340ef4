"""Settings of a model that change while it plays, and the row of the plan that they make."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.kit import Kit
from hypermeter.play.plan import KINDS, Labels, Plan, make_plan, plan_bars
from hypermeter.play.player import Player
from hypermeter.play.request import BOUNDS, PlanOptions, SamplingOptions, check

ANSWERS = ("follow", "complement", "off")
"""Ways to answer what is played on an input."""

_ANSWERS_TEXT = f"{', '.join(ANSWERS[:-1])} or {ANSWERS[-1]}"


@dataclass(frozen=True)
class LiveSettings(SamplingOptions):
    """All that can be changed while a model plays. `None` leaves a condition to the plan of the command line.

    Args:
        temperature, top_p, bias, guidance, seed: see `SamplingOptions`.
        section, style: labels, as in `make_plan`.
        fill: True makes the next bar a fill and the bars after it none; False rules fills out.
        density, offbeat: shares in [0, 1], as in `make_plan`.
        swing: see `apply_swing`; .5 is straight.
        answer: to what is played on an input: one of ANSWERS.
        version: number of changes so far.

    Raises:
        HypermeterError: a number out of its bounds.
    """

    section: str | None = None
    style: str | None = None
    fill: bool | None = None
    density: float | None = None
    offbeat: float | None = None
    swing: float = 0.5
    answer: str = "off"
    version: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("density", "offbeat", "swing"):
            if getattr(self, name) is not None:
                check(name, getattr(self, name))
        if self.answer not in ANSWERS:
            raise HypermeterError(f"answer: {self.answer!r}, expected {_ANSWERS_TEXT}")

    def change(self, **values: Any) -> "LiveSettings":
        """Return the settings with new values and the next version; the bias of voices not named stays."""
        if "bias" in values:
            values["bias"] = {**self.bias, **values["bias"]}
        return replace(self, **values, version=self.version + 1)

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions that are set."""
        return [name for name in CONDITIONS if getattr(self, name) is not None]

    def check_voices(self, kit: Kit) -> None:
        """Raise `HypermeterError` if the bias names a voice that the kit does not have."""
        for voice in self.bias:
            kit.column_of(voice, "bias")


CONDITIONS = tuple(item.name for item in fields(LiveSettings) if item.default is None)
"""Settings that may be left to the plan."""


@dataclass(frozen=True)
class LiveConditions:
    """The plan of a song that is played, row by row.

    Args:
        labels: vocabulary of the model; `None` for a model without plans.
        script: rows of the first bars; the last row stays for all bars after it. No rows for a model without plans.
        script_sections: text that the script was made from, which fixes the letters of sections named in it.
        has_conditions: whether the script holds more than the tempo, so that guidance applies from the beginning;
            otherwise it applies once a condition is set while playing.
    """

    labels: Labels | None
    script: Plan
    script_sections: str = ""
    has_conditions: bool = True

    @classmethod
    def of(
        cls, player: Player, options: PlanOptions, bars: int, tempo_bpm: float, primer_bars: int = 0
    ) -> "LiveConditions":
        """Return the conditions of plan options, with the same rows as `plan_bars`.

        Args:
            player: gives labels and grid.
            options: of the first bars; those of the last stay after it.
            bars: number of these bars.
            tempo_bpm: quarter notes a minute.
            primer_bars: number of bars of the primer.

        Raises:
            HypermeterError: as `plan_bars`.
        """
        rows = partial(plan_bars, player.labels, options, bars, grid=player.grid, tempo_bpm=tempo_bpm, name=player.name)
        plan, later = rows(earlier_bars=primer_bars), rows(earlier_bars=1)
        if plan is None or later is None:
            return cls(player.labels, Plan.free(0))
        sections = options.sections or ""
        text = sections if isinstance(sections, str) else " ".join(filter(None, sections))
        # The row that stays lacks what only a beginning from silence has.
        script = plan.bars(primer_bars, bars).then(later.bars(bars, 1))
        return cls(player.labels, script, text, has_conditions=bool(options.names))

    def guided(self, settings: LiveSettings) -> LiveSettings:
        """Return the settings, with a guidance of 0 where no condition but the tempo is set."""
        return settings if self.has_conditions or settings.conditions else replace(settings, guidance=0.0)

    def row(
        self, bar: int, settings: LiveSettings, sections: Sequence[str], is_fill: bool | None, tempo_bpm: float
    ) -> Plan | None:
        """Return the plan's row of one bar; `None` for a model without labels.

        Args:
            bar: of the song, from 0.
            settings: its conditions replace those of the script.
            sections: all values of `section` so far, in order, so that one name keeps one letter.
            is_fill: whether the bar is to be a fill; `None` leaves it to the script.
            tempo_bpm: quarter notes a minute.

        Raises:
            HypermeterError: a label that the model does not know.
        """
        if self.labels is None:
            return None
        row = self.script.bars(bar, 1) if self.script.num_bars else Plan.free(1)
        if settings.section is not None:
            row = _over(row, self._section_row(sections, settings.section))
        options = {"style": settings.style, "density": settings.density, "offbeat": settings.offbeat}
        return _over(row, make_plan(self.labels, fill=[is_fill], tempo_bpm=tempo_bpm, **options))

    def _section_row(self, sections: Sequence[str], section: str) -> Plan:
        """Return a row with the labels that the name of a section has."""
        assert self.labels is not None
        before = f"{self.script_sections} {' '.join(sections)}".strip()
        plan = make_plan(self.labels, sections=f"{before} {section}".strip())
        row = plan.bars(plan.num_bars - 1, 1)
        others = {label.lower() for kind in KINDS[1:] for label in self.labels.get(kind, ())}
        if all(name.lower() in others for name in section.split("+")):
            row.labels[..., KINDS.index("section")] = 0  # otherwise that of the bar before it in the text
        return row

    def check(self, settings: LiveSettings, sections: Sequence[str]) -> None:
        """Raise `HypermeterError` if the model cannot play with these settings."""
        if self.labels is None and settings.conditions:
            raise HypermeterError(f"{settings.conditions[0]}: the model was trained without labels and takes no plan")
        self.row(0, settings, sections, settings.fill, 120.0)


def _over(row: Plan, new: Plan) -> Plan:
    """Return a row in which what another row sets replaces its own."""
    labels = np.where(new.labels > 0, new.labels, row.labels)
    return Plan(labels, np.where(np.isnan(new.numbers), row.numbers, new.numbers))


# ---------------------------------------------------------------------- controls


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return float(value)


def _label(value: Any) -> str:
    if not isinstance(value, str) or not value or any(character in value for character in " :,\t\n"):
        raise ValueError
    return value


def _fill(value: Any) -> bool:
    if not isinstance(value, int | float) or not 0 <= value < math.inf:  # a pad may send how hard it was hit
        raise ValueError
    return value > 0


def _bias(voice: Any, value: Any) -> dict[str, float]:
    if not isinstance(voice, str):
        raise ValueError
    return {voice: _number(value)}


_KINDS: dict[str, tuple[Callable[..., Any], str]] = {
    "bias": (_bias, f"a voice and a number {BOUNDS['bias']}"),
    "section": (_label, "a label"),
    "style": (_label, "a style"),
    "answer": (_label, _ANSWERS_TEXT),
    "fill": (_fill, "1 for a fill in the next bar, or 0 for none"),
    **{name: (_number, f"a number {bound}") for name, bound in BOUNDS.items() if not bound.is_whole and name != "bias"},
}
"""Setting -> converter of its OSC values, and what is expected of them."""

CONTROLS = {
    **{item.name: item.name for item in fields(LiveSettings) if item.name in _KINDS},
    "tempo": "tempo_bpm",
}
"""Control -> the setting that it changes."""


SWITCHES = ("section", "style", "fill", "answer")
"""Controls that are pressed and let go; all others are numbers, of which the last counts."""

IN_ADDRESS = ("section", "style", "bias", "answer")
"""Controls whose label or voice may stand in the address, for senders whose pads and faders send a number alone."""


def parse_control(address: str, values: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    """Return the control's name and the settings that an OSC message changes.

    Addresses may begin with `/hypermeter`. `/section/verse 1` is `/section verse`, and `/bias/ride -3` is
    `/bias ride -3`; `/section/verse 0`, the release of a pad, changes nothing.

    Raises:
        HypermeterError: no such control, or values of another kind. `LiveSettings` checks bounds.
    """
    control, _, detail = address.strip("/").removeprefix("hypermeter/").partition("/")
    if control not in CONTROLS or (detail and control not in IN_ADDRESS):
        raise HypermeterError(f"OSC {address}: no such control; expected one of {', '.join(CONTROLS)}")
    name = CONTROLS[control]
    if detail and name != "bias":
        if len(values) == 1 and values[0] == 0:
            return control, {}
        values = values[1:] if len(values) == 1 and isinstance(values[0], int | float) else values
    if detail:
        values = (detail, *values)
    if not values and name in CONDITIONS:
        return control, {name: None}
    convert, expected = _KINDS[name]
    try:
        return control, {name: convert(*values)}
    except (ValueError, TypeError) as error:
        shown = " ".join(map(str, values)) or "no value"
        expected += ", or no value to follow the plan" if name in CONDITIONS else ""
        raise HypermeterError(f"OSC {address}: {shown}, expected {expected}") from error

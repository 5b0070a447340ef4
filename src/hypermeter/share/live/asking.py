"""What is asked of a running model: settings that change while it plays, and the row of the plan that they make."""

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


@dataclass(frozen=True)
class Settings(SamplingOptions):
    """All that can be changed while a model plays: how it draws, and what is asked. None leaves that to the script.

    Args:
        temperature, top_p, bias, guidance, seed: see `SamplingOptions`.
        section, style: labels, as in `make_plan`.
        fill: True asks the next bar to be a fill, and those after it to be none; False asks for none.
        density, offbeat: shares, as in `make_plan`.
        swing: where the second of two steps stands between them; .5 is straight.
        version: counts the changes.

    Raises:
        HypermeterError: a number out of its bounds.
    """

    section: str | None = None
    style: str | None = None
    fill: bool | None = None
    density: float | None = None
    offbeat: float | None = None
    swing: float = 0.5
    version: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("density", "offbeat", "swing"):
            if getattr(self, name) is not None:
                check(name, getattr(self, name))

    def change(self, **values: Any) -> "Settings":
        """Return other values, with a version of their own; a bias of some voices leaves that of the others."""
        if "bias" in values:
            values["bias"] = {**self.bias, **values["bias"]}
        return replace(self, **values, version=self.version + 1)

    @property
    def wishes(self) -> list[str]:
        """Names of what is asked of bars."""
        return [name for name in OPEN if getattr(self, name) is not None]

    def check_voices(self, kit: Kit) -> None:
        """Raise `HypermeterError` at a bias of a voice that the kit does not have."""
        for voice in self.bias:
            if voice not in kit.names:
                known = ", ".join(kit.names)
                raise HypermeterError(f"bias: no voice {voice!r} in kit {kit.name}; it has {known}")


OPEN = tuple(item.name for item in fields(Settings) if item.default is None)
"""Settings that may be left to the script."""


@dataclass(frozen=True)
class Asking:
    """The rows of a plan that grows while it is played.

    Args:
        labels: the model's vocabulary, or None for a model that takes no plans.
        script: what the command line asks, a row a bar; the last stays. Of no rows where the model takes no plans.
        script_sections: the text that the script was made from: names that sections are called by are kept.
        is_wished: whether the script was wished for, so that guidance follows it; otherwise guidance counts once
            something is asked while playing.
    """

    labels: Labels | None
    script: Plan
    script_sections: str = ""
    is_wished: bool = True

    def __post_init__(self) -> None:
        if self.labels is None and self.script.num_bars:
            raise HypermeterError("plan: a script for a model without labels; leave it out")

    @classmethod
    def of(cls, player: Player, wishes: PlanOptions, bars: int, tempo_bpm: float, heard_bars: int = 0) -> "Asking":
        """Make the asking of wishes, by the rule of all doors (`plan_bars`); of the last bar what is wished stays.

        Args:
            player: that is asked.
            wishes: for the first bars.
            bars: how many these are.
            tempo_bpm: quarter notes a minute.
            heard_bars: bars heard before them.

        Raises:
            HypermeterError: as `plan_bars`.
        """
        ask = partial(plan_bars, player.labels, wishes, bars, grid=player.grid, tempo_bpm=tempo_bpm, name=player.name)
        plan, later = ask(heard_bars=heard_bars), ask(heard_bars=1)
        if plan is None or later is None:
            return cls(player.labels, Plan.free(0))
        sections = wishes.sections or ""
        text = sections if isinstance(sections, str) else " ".join(filter(None, sections))
        # what stays is not what a beginning from silence is asked for
        script = plan.bars(heard_bars, bars).then(later.bars(bars, 1))
        return cls(player.labels, script, text, is_wished=bool(wishes.names))

    def guided(self, settings: Settings) -> Settings:
        """Return the settings, without guidance where nothing is wished: a tempo alone does not guide."""
        return settings if self.is_wished or settings.wishes else replace(settings, guidance=0.0)

    def row(
        self, bar: int, settings: Settings, sections: Sequence[str], is_fill: bool | None, tempo_bpm: float
    ) -> Plan | None:
        """Return what is asked of one bar; None of a model without labels.

        Args:
            bar: of the song, from 0.
            settings: as they are.
            sections: all that `section` has been since the beginning, in order, so that the same name has the same
                letter.
            is_fill: whether this bar is asked to be one; None leaves it to the script.
            tempo_bpm: as it is.

        Raises:
            HypermeterError: a label that the model does not know.
        """
        if self.labels is None:
            return None
        row = self.script.bars(bar, 1) if self.script.num_bars else Plan.free(1)
        if settings.section is not None:
            row = _over(row, self._told(sections, settings.section))
        told = make_plan(
            self.labels,
            style=settings.style,
            fill=[is_fill],
            tempo_bpm=tempo_bpm,
            density=settings.density,
            offbeat=settings.offbeat,
        )
        return _over(row, told)

    def _told(self, sections: Sequence[str], section: str) -> Plan:
        """Return a row that asks for a section by its name."""
        assert self.labels is not None
        before = f"{self.script_sections} {' '.join(sections)}".strip()
        plan = make_plan(self.labels, sections=f"{before} {section}".strip())
        told = plan.bars(plan.num_bars - 1, 1)
        others = {label.lower() for kind in KINDS[1:] for label in self.labels.get(kind, ())}
        if all(name.lower() in others for name in section.split("+")):
            told.labels[..., KINDS.index("section")] = 0  # otherwise that of the bar before it in the text
        return told

    def check(self, settings: Settings, sections: Sequence[str]) -> None:
        """Raise `HypermeterError` at what the model cannot be asked."""
        if self.labels is None and settings.wishes:
            name = settings.wishes[0]
            raise HypermeterError(f"{name}: the model was made without labels, so nothing can be asked of it")
        self.row(0, settings, sections, settings.fill, 120.0)


def _over(row: Plan, told: Plan) -> Plan:
    """Return a row with what another one tells in place of its own."""
    labels = np.where(told.labels > 0, told.labels, row.labels)
    return Plan(labels, np.where(np.isnan(told.numbers), row.numbers, told.numbers))


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
    if value not in (0, 1):
        raise ValueError
    return bool(value)


def _bias(voice: Any, value: Any) -> dict[str, float]:
    if not isinstance(voice, str):
        raise ValueError
    return {voice: _number(value)}


_KINDS: dict[str, tuple[Callable[..., Any], str]] = {
    "bias": (_bias, f"a voice and a number {BOUNDS['bias']}"),
    "section": (_label, "a label"),
    "style": (_label, "a style"),
    "fill": (_fill, "1 for a fill in the next bar, 0 for none"),
    **{name: (_number, f"a number {bound}") for name, bound in BOUNDS.items() if not bound.is_whole and name != "bias"},
}
"""Setting -> what its values become, and what is expected of them."""

CONTROLS = {
    **{item.name: item.name for item in fields(Settings) if item.name in _KINDS},
    "tempo": "tempo_bpm",
}
"""Control -> what it changes."""


def parse_control(address: str, values: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    """Return the control's name and what changes, of a message as `/density .2` or `/hypermeter/density .2`.

    Raises:
        HypermeterError: no such control, or values that are not of its kind. Ranges are for `Settings` to check.
    """
    control = address.strip("/").removeprefix("hypermeter/")
    if control not in CONTROLS:
        raise HypermeterError(f"OSC {address}: no such control; expected one of {', '.join(CONTROLS)}")
    name = CONTROLS[control]
    if not values and name in OPEN:
        return control, {name: None}
    convert, expected = _KINDS[name]
    try:
        return control, {name: convert(*values)}
    except (ValueError, TypeError) as error:
        found = " ".join(map(str, values)) or "nothing"
        expected += ", or nothing for the script's" if name in OPEN else ""
        raise HypermeterError(f"OSC {address}: {found}, expected {expected}") from error

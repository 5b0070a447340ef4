"""What is asked of a running model: settings that change while it plays, and the row of the plan that they make."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.kit import Kit
from hypermeter.core.limits import MOST_BIAS, MOST_GUIDANCE
from hypermeter.model.plan import FILL, KINDS, NUMBERS, Labels, Plan, make_plan

LEAST_TEMPO_BPM, MOST_TEMPO_BPM = 20.0, 400.0
MOST_SWING = 0.8
MOST_TEMPERATURE = 10.0


@dataclass(frozen=True)
class Settings:
    """All that can be changed while a model plays. Of what is asked, None leaves it to the script.

    Args:
        temperature: see ``generate.stream``, also for top_p, bias (by voice) and guidance.
        section, style: labels, as in ``make_plan``.
        fill: True asks the next bar to be a fill, and those after it to be none; False asks for none.
        density, offbeat: shares, as in ``make_plan``.
        swing: where the second of two steps stands between them, from .5 (straight) to MOST_SWING.
        version: counts the changes.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    guidance: float = 1.0
    bias: Mapping[str, float] = field(default_factory=dict)
    section: str | None = None
    style: str | None = None
    fill: bool | None = None
    density: float | None = None
    offbeat: float | None = None
    swing: float = 0.5
    version: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("temperature", 0.0, MOST_TEMPERATURE),
            ("top_p", 0.0, 1.0),
            ("guidance", 0.0, float(MOST_GUIDANCE)),
            ("density", 0.0, 1.0),
            ("offbeat", 0.0, 1.0),
            ("swing", 0.5, MOST_SWING),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise HypermeterError(f"{name} is {value:g}, expected from {least:g} to {most:g}")
        if self.top_p == 0:
            raise HypermeterError("top_p is 0, expected above 0 up to 1")
        for voice, value in self.bias.items():
            if not -MOST_BIAS <= value <= MOST_BIAS:
                raise HypermeterError(f"bias of {voice} is {value:g}, expected from -{MOST_BIAS} to {MOST_BIAS}")

    def change(self, **values: Any) -> "Settings":
        """With other values, and a version of its own; a bias of some voices leaves that of the others."""
        if "bias" in values:
            values["bias"] = {**self.bias, **values["bias"]}
        return replace(self, **values, version=self.version + 1)

    def check_voices(self, kit: Kit) -> None:
        """Refuses a bias of a voice that the kit does not have."""
        for voice in self.bias:
            if voice not in kit.names:
                known = ", ".join(kit.names)
                raise HypermeterError(f"bias: no voice {voice!r} in kit {kit.name}; it has {known}")


def check_tempo(tempo_bpm: float) -> None:
    """Refuses a tempo that nobody plays."""
    if not LEAST_TEMPO_BPM <= tempo_bpm <= MOST_TEMPO_BPM:
        expected = f"from {LEAST_TEMPO_BPM:g} to {MOST_TEMPO_BPM:g}"
        raise HypermeterError(f"tempo is {tempo_bpm:g}, expected {expected}")


@dataclass(frozen=True)
class Asking:
    """The rows of a plan that grows while it is played.

    Args:
        labels: the model's vocabulary, or None for a model that takes no plans.
        script: what the command line asks, a row a bar; the last stays. Of no rows where the model takes no plans.
        script_sections: the text that the script was made from: names that sections are called by are kept.
    """

    labels: Labels | None
    script: Plan
    script_sections: str = ""

    def __post_init__(self) -> None:
        if self.labels is None and self.script.num_bars:
            raise HypermeterError("plan: a script for a model without labels; leave it out")

    def row(
        self, bar: int, settings: Settings, sections: Sequence[str], is_fill: bool | None, tempo_bpm: float
    ) -> Plan | None:
        """What is asked of one bar; None of a model without labels.

        Args:
            bar: of the song, from 0.
            settings: as they are.
            sections: all that ``section`` has been since the beginning, in order, so that the same name has the same
                letter.
            is_fill: whether this bar is asked to be one; None leaves it to the script.
            tempo_bpm: as it is.
        """
        if self.labels is None:
            return None
        base = self.script.bars(bar, 1) if self.script.num_bars else Plan.free()
        row = Plan(base.labels.clone(), base.numbers.clone())
        if settings.section is not None:
            told = self._told(sections, settings.section)
            row = Plan(torch.where(told > 0, told, row.labels), row.numbers)
        if settings.style is not None:
            code = make_plan(self.labels, 1, style=settings.style).labels[0, 0, KINDS.index("style")]
            row.labels[..., KINDS.index("style")] = code
        if is_fill is not None:
            row.labels[..., KINDS.index("fill")] = 1 + FILL.index("fill" if is_fill else "beat")
        for name, value in (("density", settings.density), ("offbeat", settings.offbeat), ("tempo_bpm", tempo_bpm)):
            if value is not None:
                row.numbers[..., NUMBERS.index(name)] = value
        return row

    def _told(self, sections: Sequence[str], section: str) -> torch.Tensor:
        """The labels of a section by name, (1, 1, kinds), 0 where it tells none."""
        assert self.labels is not None
        before = f"{self.script_sections} {' '.join(sections)}".strip()
        told = make_plan(self.labels, sections=f"{before} {section}".strip()).labels[:, -1:]
        others = {each.lower() for kind in KINDS[1:] for each in self.labels.get(kind, ())}
        if all(name.lower() in others for name in section.split("+")):
            told[..., KINDS.index("section")] = 0  # otherwise that of the bar before it in the text
        return told

    def check(self, settings: Settings, sections: Sequence[str]) -> None:
        """Refuses what the model cannot be asked, in one line."""
        names = [
            name for name in ("section", "style", "fill", "density", "offbeat") if getattr(settings, name) is not None
        ]
        if self.labels is None and names:
            raise HypermeterError(f"{names[0]}: the model was made without labels, so nothing can be asked of it")
        self.row(0, settings, sections, settings.fill, 120.0)


Converter = Callable[[Sequence[Any]], dict[str, Any]]


def _number(name: str) -> Converter:
    def convert(values: Sequence[Any]) -> dict[str, Any]:
        (value,) = values
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError
        return {name: float(value)}

    return convert


def _open_or(converter: Converter, name: str) -> Converter:
    """Without a value, back to the script."""
    return lambda values: converter(values) if values else {name: None}


def _text(name: str) -> Converter:
    def convert(values: Sequence[Any]) -> dict[str, Any]:
        (value,) = values
        if not isinstance(value, str) or not value or any(each in value for each in " :,\t\n"):
            raise ValueError
        return {name: value}

    return convert


def _fill(values: Sequence[Any]) -> dict[str, Any]:
    (value,) = values
    if value not in (0, 1):
        raise ValueError
    return {"fill": bool(value)}


def _bias(values: Sequence[Any]) -> dict[str, Any]:
    voice, value = values
    if not isinstance(voice, str) or isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    return {"bias": {voice: float(value)}}


CONTROLS: dict[str, tuple[Converter, str]] = {
    "temperature": (_number("temperature"), "a number"),
    "top_p": (_number("top_p"), "a number"),
    "guidance": (_number("guidance"), "a number"),
    "bias": (_bias, "a voice and a number"),
    "section": (_open_or(_text("section"), "section"), "a label, or nothing for the script's"),
    "style": (_open_or(_text("style"), "style"), "a style, or nothing for the script's"),
    "fill": (_open_or(_fill, "fill"), "1 for a fill in the next bar, 0 for none, or nothing for the script's"),
    "density": (_open_or(_number("density"), "density"), "a number, or nothing for the script's"),
    "offbeat": (_open_or(_number("offbeat"), "offbeat"), "a number, or nothing for the script's"),
    "swing": (_number("swing"), "a number"),
    "tempo": (_number("tempo_bpm"), "a number"),
}
"""Control -> what its values become, and what is expected of them."""


def parse_control(address: str, values: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    """A message as ``/density .2`` or ``/hypermeter/density .2``: the control's name, and what changes.

    Raises:
        HypermeterError: no such control, or values that are not of its kind. Ranges are for ``Settings`` to check.
    """
    name = address.strip("/").removeprefix("hypermeter/")
    if name not in CONTROLS:
        raise HypermeterError(f"OSC {address}: no such control; expected one of {', '.join(CONTROLS)}")
    convert, expected = CONTROLS[name]
    try:
        return name, convert(values)
    except (ValueError, TypeError) as error:
        found = " ".join(map(str, values)) or "nothing"
        raise HypermeterError(f"OSC {address}: {found}, expected {expected}") from error

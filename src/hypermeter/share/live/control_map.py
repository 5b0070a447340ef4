"""Maps of controls: what the knobs, faders, pads, pedals and programs of a MIDI device do, in a YAML file."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.yaml_file import parse_yaml, read_text
from hypermeter.play.request import check
from hypermeter.share.live.conditions import CONTROLS, LiveSettings, parse_control

FORM = "cc 64: fill"

RANGES = {
    "density": (0.0, 0.4),
    "offbeat": (0.0, 1.0),
    "temperature": (0.5, 1.5),
    "top_p": (0.5, 1.0),
    "guidance": (0.0, 4.0),
    "swing": (0.5, 0.75),
    "tempo": (60.0, 180.0),
    "bias": (-4.0, 4.0),
}
"""Control -> the numbers at both ends of a knob or fader, where the map names none."""

PLAN = "plan"
"""In place of a value: back to the plan of the command line."""

PRESSED = 0.5
"""Share of its range from which a controller counts as pressed, as MIDI has it for pedals."""

KINDS = ("cc", "note", "program", "bend", "pressure")
_LAST = {"cc": (0, 127), "note": (0, 127), "program": (1, 128)}
_KEY = re.compile(r"(cc|note|program) +(\d{1,3})(?: +channel +(\d{1,2}))?|(bend|pressure)(?: +channel +(\d{1,2}))?")

Key = tuple[str, int, int | None]
"""Kind, number (0 where it has none) and channel, from 1; `None` is every channel."""

Action = tuple[str, tuple[Any, ...]]
"""Address and values, as of an OSC message."""


def parse_key(text: str, where: str) -> Key:
    """Return what a key of a map names.

    Raises:
        HypermeterError: no control of a MIDI device; the message begins with `where`.
    """
    found = _KEY.fullmatch(text.strip())
    kind, number, channel = "", 0, None
    if found:
        kind, number = found[1] or found[4], int(found[2] or 0)
        channel = int(found[3] or found[5] or 0) if found[3] or found[5] else None
    first, last = _LAST.get(kind, (0, 0))
    if not kind or not first <= number <= last or (channel is not None and not 1 <= channel <= 16):
        raise HypermeterError(
            f"{where}: {text!r} is no control; expected cc 0 to 127, note 0 to 127, program 1 to 128, bend or pressure,"
            " and channel 1 to 16 after it if need be"
        )
    return kind, number, channel


def key_text(key: Key) -> str:
    """Return a key as it is written in a map."""
    kind, number, channel = key
    return kind + (f" {number}" if kind in _LAST else "") + ("" if channel is None else f" channel {channel}")


def read_message(message: Sequence[int]) -> tuple[Key, float] | None:
    """Return which control a MIDI message moves, with its channel, and how far, in [0, 1]; `None` of other messages.

    A note is as far as it is loud, and at 0 when it ends; a program is at 1.
    """
    status, channel = message[0] & 0xF0, (message[0] & 0x0F) + 1
    if status in (0x80, 0x90):
        return ("note", message[1], channel), message[2] / 127 if status == 0x90 else 0.0
    if status == 0xB0:
        return ("cc", message[1], channel), message[2] / 127
    if status == 0xC0:
        return ("program", message[1] + 1, channel), 1.0
    if status == 0xD0:
        return ("pressure", 0, channel), message[1] / 127
    if status == 0xE0:
        return ("bend", 0, channel), (message[1] + 128 * message[2]) / 16383
    return None


@dataclass(frozen=True)
class Target:
    """What a control does.

    Args:
        address: of the OSC message that does the same.
        values: sent when it is pressed; not read with a span.
        span: numbers at both ends of a knob or fader, which sends all between them; `None` for what is pressed.
    """

    address: str
    values: tuple[Any, ...] = ()
    span: tuple[float, float] | None = None

    @classmethod
    def of(cls, text: Any, kind: str, where: str) -> "Target":
        """Return the target that a map's text names, as `density 0..0.3`, `section/verse`, `tempo 96` or `fill`.

        Raises:
            HypermeterError: no such control, or values that it does not take; the message begins with `where`.
        """
        name, _, value = (text if isinstance(text, str) else str(text)).strip().partition(" ")
        control = name.partition("/")[0]
        value = value.strip()
        if control not in CONTROLS:
            expected = "fill, section/verse, style/funk, density 0..0.3 or another that OSC has"
            raise HypermeterError(f"{where}: {text!r} names no control; expected {expected}: {', '.join(CONTROLS)}")
        try:
            low, dots, high = value.partition("..")
            if control in RANGES and value != PLAN and (dots or not value):
                span = (float(low), float(high)) if dots else RANGES[control]
                if kind == "program":
                    raise HypermeterError(f"a program has no range, expected one value, as {control} {span[1]:g}")
                for end in span:
                    _check(f"/{name}", (end,))
                return cls(f"/{name}", span=span)
            values: tuple[Any, ...] = (1,) if not value else () if value == PLAN else (_number_or_text(value),)
            _check(f"/{name}", values)
            return cls(f"/{name}", values)
        except ValueError as error:
            raise HypermeterError(f"{where}: {text!r}, expected two numbers, as {control} 0..0.3") from error
        except HypermeterError as error:
            raise HypermeterError(f"{where}: {text!r}: {str(error).removeprefix('OSC ')}") from error

    @property
    def examples(self) -> list[tuple[Any, ...]]:
        """Values that it sends: both ends of its span, or those of a press."""
        return [self.values] if self.span is None else [(end,) for end in self.span]


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _check(address: str, values: tuple[Any, ...]) -> None:
    name, change = parse_control(address, values)
    if name == "tempo":
        check("tempo_bpm", change["tempo_bpm"])
    else:
        LiveSettings().change(**change)


class ControlMap:
    """What the messages of a device do.

    Args:
        targets: by key.
        name: for messages.
    """

    def __init__(self, targets: dict[Key, Target], name: str = "map"):
        self.targets, self.name = targets, name
        self._was_pressed: dict[Key, bool] = {}

    def actions(self, message: Sequence[int]) -> list[Action] | None:
        """Return what a message does; `None` if its control is not in the map."""
        moved = read_message(message)
        if moved is None:
            return None
        (kind, number, channel), share = moved
        key = next((key for key in ((kind, number, channel), (kind, number, None)) if key in self.targets), None)
        if key is None:
            return None
        target = self.targets[key]
        if target.span is not None:
            low, high = target.span
            return [] if kind == "note" and not share else [(target.address, (low + share * (high - low),))]
        is_pressed = share > 0 if kind == "note" else share >= PRESSED
        was_pressed = kind != "program" and kind != "note" and self._was_pressed.get(key, False)
        self._was_pressed[key] = is_pressed
        return [(target.address, target.values)] if is_pressed and not was_pressed else []

    def check(self, check: Any) -> None:
        """Raise `HypermeterError` if a target cannot be used.

        Args:
            check: called with address and values of each; it raises for what the model does not have.
        """
        for key, target in self.targets.items():
            for values in target.examples:
                try:
                    check(target.address, values)
                except HypermeterError as error:
                    raise HypermeterError(f"{self.name}: {key_text(key)}: {error}") from error


def read_map(path: Path) -> ControlMap:
    """Return the map of a YAML file, with lines as `cc 64: fill`.

    Raises:
        HypermeterError: a file that cannot be read, or a line that names no control.
    """
    return parse_map(read_text(path, "map"), str(path))


def parse_map(text: str, where: str) -> ControlMap:
    """Return the map of a YAML text; errors begin with `where`."""
    targets: dict[Key, Target] = {}
    for key_of_line, target in parse_yaml(text, where, FORM).items():
        key = parse_key(str(key_of_line), where)
        if key in targets:
            raise HypermeterError(f"{where}: {key_text(key)} is there twice; keep one")
        targets[key] = Target.of(target, key[0], f"{where}: {key_text(key)}")
    return ControlMap(targets, where)


def add_to_map(path: Path, key: Key, target: str) -> None:
    """Write a line into the map of a file, in place of the one with its key if there is one; other lines stay.

    Raises:
        HypermeterError: a file that is no map, or cannot be written.
    """
    text = read_text(path, "map") if path.exists() else ""
    lines = text.splitlines()
    if text.strip() and any(line.strip() and not line.lstrip().startswith("#") for line in lines):
        parse_map(text, str(path))
    new, kept = f"{key_text(key)}: {target}", []
    for line in lines:
        found = _KEY.fullmatch(line.partition(":")[0].strip().strip("'\""))
        kept.append(new if found and parse_key(found[0], str(path)) == key else line)
    if new not in kept:
        kept.append(new)
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(kept) + "\n", "utf-8")

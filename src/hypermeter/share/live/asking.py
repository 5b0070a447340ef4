"""What can be asked of live play while it plays, by OSC or for a line of status."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.play.plan import KINDS
from hypermeter.share.live.conditions import CONTROLS

if TYPE_CHECKING:
    from hypermeter.share.live.engine import Engine

STATUS_SETTINGS = ("temperature", "section", "style", "fill", "density", "offbeat")
"""Settings that the status shows."""

Reply = tuple[str, tuple[Any, ...]]
"""Name and values."""


def status_line(engine: "Engine") -> str:
    """Return a line of bar, tempo, settings and jitter, while it plays."""
    settings = {name: getattr(engine.settings, name) for name in STATUS_SETTINGS}
    if engine.ear is not None:
        settings["answer"] = f"{engine.settings.answer} ({engine.ear.notes} notes)"
    shown = ", ".join(f"{name} {value}" for name, value in settings.items() if value is not None)
    late = engine.timing.lateness.recent
    jitter = f", jitter {1e3 * float(np.std(list(late))):.2f} ms" if late else ""
    place = f"bar {engine.bar + 1}" if engine.tempo.is_running else "waiting"
    return f"{place}, {engine.tempo.tempo_bpm:.1f} bpm, {shown}{jitter}, {engine.timing.dropped} left out"


def _control(engine: "Engine", name: str) -> list[Reply]:
    """Return the value of a control, in the form that sets it: no value where it is left to the plan."""
    if name == "tempo":
        return [(name, (float(engine.tempo.tempo_bpm),))]
    value = getattr(engine.settings, CONTROLS[name])
    if name == "bias":
        return [(name, (voice, float(number))) for voice, number in value.items()] or [(name, ())]
    return [(name, () if value is None else (int(value) if isinstance(value, bool) else value,))]


def _labels(engine: "Engine", kind: str) -> tuple[str, ...]:
    labels = engine.conditions.labels or {}
    return tuple(labels.get(kind, ()))


QUESTIONS: dict[str, Callable[["Engine"], tuple[Any, ...]]] = {
    "state": lambda engine: ("playing" if engine.tempo.is_running else "waiting", engine.bar + 1),
    "styles": lambda engine: _labels(engine, KINDS[1]),
    "sections": lambda engine: tuple(engine.sections),
    "voices": lambda engine: engine.kit.names,
    "metre": lambda engine: (engine.grid.metre,),
    "seed": lambda engine: (str(engine.settings.seed),),  # it may be more than OSC has room for
    "heard": lambda engine: (0, 0) if engine.ear is None else (engine.ear.notes, engine.ear.lost),
    "timing": lambda engine: (engine.timing.notes, engine.timing.late, engine.timing.dropped),
    "controls": lambda engine: tuple(CONTROLS),
}
"""What can be asked beside the controls -> its values."""


def answer(engine: "Engine", name: str | None = None) -> list[Reply]:
    """Return names and values of what is asked; without a name, of all that can be. May be called from any thread.

    Raises:
        HypermeterError: nothing of that name.
    """
    if name is None:
        return [reply for known in (*CONTROLS, *QUESTIONS) for reply in answer(engine, known)]
    if name in CONTROLS:
        return _control(engine, name)
    if name not in QUESTIONS:
        raise HypermeterError(f"OSC /get {name}: expected one of {', '.join((*CONTROLS, *QUESTIONS))}")
    return [(name, QUESTIONS[name](engine))]

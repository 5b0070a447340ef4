"""What a user may ask of music that is drawn, with its bounds and defaults: the one home of both.

The command line, the server's JSON, OSC and the page take names, bounds and defaults from here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from hypermeter.core.errors import HypermeterError
from hypermeter.core.limits import MOST_BIAS, MOST_GUIDANCE, MOST_SEED


@dataclass(frozen=True)
class Bound:
    """The least and the greatest value of a number.

    Args:
        least, most: both may be taken.
        is_open: the least may not be taken.
        is_whole: whole numbers only.
    """

    least: float
    most: float
    is_open: bool = False
    is_whole: bool = False

    def check(self, name: str, value: Any) -> None:
        """Raise `HypermeterError` if `value` is not a number within the bounds."""
        kind = "__index__" if self.is_whole else "__float__"
        is_number = hasattr(value, kind) and not isinstance(value, bool)
        if not is_number or not self.least <= value <= self.most or (self.is_open and value == self.least):
            shown = f"{value:g}" if isinstance(value, float) else repr(value)
            raise HypermeterError(f"{name} is {shown}, expected {self}")

    def __str__(self) -> str:
        kind = "a whole number " if self.is_whole else ""
        if self.is_open:
            return f"{kind}above {self.least:g} up to {self.most:g}"
        return f"{kind}from {self.least:g} to {self.most:.16g}"


BOUNDS = {
    "temperature": Bound(0, 10),
    "top_p": Bound(0, 1, is_open=True),
    "bias": Bound(-MOST_BIAS, MOST_BIAS),
    "guidance": Bound(0, MOST_GUIDANCE),
    "seed": Bound(0, MOST_SEED, is_whole=True),
    "density": Bound(0, 1),
    "offbeat": Bound(0, 1),
    "tempo_bpm": Bound(20, 400),
    "swing": Bound(0.5, 0.8),
    "strength": Bound(0, 1),
    "amount": Bound(0, 1),
    "particles": Bound(1, 65_536, is_whole=True),
    "horizon_bars": Bound(0, 65_536, is_whole=True),
    "bars": Bound(1, 10_000, is_whole=True),
}
"""Name of a number that can be asked for -> its bounds."""


def check(name: str, value: Any) -> None:
    """Raise `HypermeterError` if a number that can be asked for is out of its bounds."""
    BOUNDS[name].check(name, value)


@dataclass(frozen=True)
class SamplingOptions:
    """How steps are drawn.

    Args:
        temperature: 1 plays as learnt, less is safer, more is wilder, 0 always takes the likeliest.
        top_p: keep only the likeliest combinations of voices that together hold this probability.
        bias: voice -> number added to its log odds; more than 0 is busier.
        guidance: how much further a plan is followed than the model does by itself: 0 is as learnt, 2 is strict. It
            counts only where something beyond the tempo is asked of some bar.
        seed: the same seed gives the same music; `None` chooses one at random.

    Raises:
        HypermeterError: a number out of its bounds, see `BOUNDS`.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    bias: Mapping[str, float] = field(default_factory=dict)
    guidance: float = 1.0
    seed: int | None = 0

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p", "guidance"):
            check(name, getattr(self, name))
        if self.seed is not None:
            check("seed", self.seed)
        for voice, value in self.bias.items():
            BOUNDS["bias"].check(f"bias of {voice}", value)


@dataclass(frozen=True)
class InfillOptions:
    """How much work is spent on what is locked at later steps.

    Args:
        particles: played side by side where something later is locked. More come closer to the model's own choice and
            take longer; the effective sample size tells whether they are enough.
        horizon_bars: bars after the last free one that have a say in it; `None` takes all, which is exact.

    Raises:
        HypermeterError: a number out of its bounds.
    """

    particles: int = 64
    horizon_bars: int | None = None

    def __post_init__(self) -> None:
        check("particles", self.particles)
        if self.horizon_bars is not None:
            check("horizon_bars", self.horizon_bars)


@dataclass(frozen=True)
class PlanOptions:
    """What is asked of the new bars, of a model that was trained with labels; what is left out is open.

    Args:
        sections: a text of labels with numbers of bars, "intro:4 verse:8 fill:1 chorus:8", or the label of each bar;
            see `plan.make_plan`.
        style: one of the model's styles, for all bars that name none.
        fill: whether each bar is a fill.
        density: share of cells with a hit, of all bars, or a curve over them.
        offbeat: share of hits off the beat, likewise.
        tempo_bpm: quarter notes a minute.

    Raises:
        HypermeterError: a number out of its bounds.
    """

    sections: str | Sequence[str | None] | None = None
    style: str | None = None
    fill: Sequence[bool | None] | None = None
    density: float | Sequence[float] | None = None
    offbeat: float | Sequence[float] | None = None
    tempo_bpm: float | None = None

    def __post_init__(self) -> None:
        for name in ("density", "offbeat"):
            value = getattr(self, name)
            if value is None:
                continue
            points = [value] if isinstance(value, int | float) else list(value)
            if not points:
                raise HypermeterError(f"{name} of no numbers, expected at least one")
            for point in points:
                check(name, point)
        if self.tempo_bpm is not None:
            check("tempo_bpm", self.tempo_bpm)

    @property
    def names(self) -> list[str]:
        """The wishes that are given, but the tempo, which is told in any case."""
        return [item.name for item in fields(self) if getattr(self, item.name) is not None and item.name != "tempo_bpm"]


def bounds_record() -> dict[str, Any]:
    """Return `BOUNDS` by the names of their fields, and the defaults of what is asked, as JSON holds them."""
    defaults = {
        item.name: item.default
        for request in (SamplingOptions, InfillOptions)
        for item in fields(request)
        if isinstance(item.default, int | float)
    }
    return {"bounds": {name: asdict(bound) for name, bound in BOUNDS.items()}, "defaults": defaults}

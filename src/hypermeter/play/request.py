"""Options of sampling, infill and plans, with their bounds and defaults.

The command line, the server's JSON, OSC and the page take names, bounds and defaults from here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from hypermeter.core.errors import HypermeterError
from hypermeter.core.limits import MAX_BIAS, MAX_GUIDANCE, MAX_SEED


@dataclass(frozen=True)
class Bound:
    """Range of a number.

    Args:
        least, most: both included.
        is_open: whether `least` is excluded.
        is_whole: whether only whole numbers are allowed.
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


Between = Literal["silent", "free"]
Way = Literal["exact", "learnt"]

BOUNDS = {
    "temperature": Bound(0, 10),
    "top_p": Bound(0, 1, is_open=True),
    "bias": Bound(-MAX_BIAS, MAX_BIAS),
    "guidance": Bound(0, MAX_GUIDANCE),
    "seed": Bound(0, MAX_SEED, is_whole=True),
    "density": Bound(0, 1),
    "offbeat": Bound(0, 1),
    "tempo_bpm": Bound(20, 400),
    "swing": Bound(0.5, 0.8),
    "strength": Bound(0, 1),
    "amount": Bound(0, 1),
    "accent": Bound(0, 1),
    "variations": Bound(1, 1_000, is_whole=True),
    "draws": Bound(1, 1_000, is_whole=True),
    "particles": Bound(1, 65_536, is_whole=True),
    "horizon_bars": Bound(0, 65_536, is_whole=True),
    "bars": Bound(1, 10_000, is_whole=True),
}
"""Name of an option that is a number -> its bounds."""


def check(name: str, value: Any, shown: str | None = None) -> None:
    """Raise `HypermeterError` if an option is out of its `BOUNDS`; the message calls it `shown`, by default `name`."""
    BOUNDS[name].check(shown or name, value)


@dataclass(frozen=True)
class SamplingOptions:
    """How steps are sampled.

    Args:
        temperature: in [0, 10]; 1 samples from the model's distribution, 0 takes the likeliest combination of voices.
        top_p: in (0, 1]; sample among the likeliest combinations that together have this probability.
        bias: voice -> number added to the log odds of its hits; above 0 there are more of them.
        guidance: in [0, 100], strength of the plan: 0 follows it as learnt, 2 strictly. Any value is allowed without a
            plan; it has an effect only if the plan sets a condition beside the tempo for some bar.
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
    """How infill takes locks of later steps into account.

    Args:
        particles: number of particles. More approximate the model's distribution better and take longer; the effective
            sample size says whether they are enough.
        horizon_bars: bars after the last free one whose locks count; `None` counts all, which is exact.

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
    """Conditions of the new bars, for a model that was trained with labels; those that are `None` are open.

    Args:
        sections: a text of labels with numbers of bars, "intro:4 verse:8 fill:1 chorus:8", or the label of each bar;
            see `plan.make_plan`.
        style: one of the model's styles, for all bars for which `sections` has none.
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
                raise HypermeterError(f"{name} has no numbers, expected at least one")
            for point in points:
                check(name, point)
        if self.tempo_bpm is not None:
            check("tempo_bpm", self.tempo_bpm)

    @property
    def names(self) -> list[str]:
        """Names of the conditions that are set, without the tempo, which is set in any case."""
        return [item.name for item in fields(self) if getattr(self, item.name) is not None and item.name != "tempo_bpm"]


@dataclass(frozen=True)
class FollowOptions:
    """How drums answer taps.

    Args:
        answer: voices of which at least one sounds at each tap: names of voices, "loud" for kick, snare, toms and
            crashes, "all".
        between: whether these voices are "silent" at steps without a tap, or "free" as the model plays.
        accent: velocity in [0, 1] from which a loud voice answers a tap, where `answer` has others too.
        touch: whether velocity and timing of taps are heard: by them particles are weighed, and the loudest hit at a
            tap has them.
        way: "exact", or "learnt" by a model that was trained to follow.
        draws: number of draws, with successive seeds, on whose hits to agree; see `consensus`. One is a draw itself.

    Raises:
        HypermeterError: no voices, another word for `between` or `way`, a number out of its bounds.
    """

    answer: Sequence[str] = ("loud",)
    between: Between = "silent"
    accent: float = 0.9
    touch: bool = True
    way: Way = "exact"
    draws: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.answer, str) or not len(self.answer):
            raise HypermeterError(f"answer is {self.answer!r}, expected voices, as ['kick', 'snare'], loud, or all")
        if self.between not in ("silent", "free"):
            raise HypermeterError(f"between is {self.between!r}, expected silent or free")
        if self.way not in ("exact", "learnt"):
            raise HypermeterError(f"way is {self.way!r}, expected exact or learnt")
        check("accent", self.accent)
        check("draws", self.draws)


NOT_ON_PAGE = ("accent", "draws", "variations")
"""Options that nobody sets on the page."""


def bounds_record() -> dict[str, Any]:
    """Return `BOUNDS` of the page by the names of their fields, and the defaults of the options, for its JSON."""
    defaults = {
        item.name: item.default
        for options in (SamplingOptions, InfillOptions, FollowOptions)
        for item in fields(options)
        if isinstance(item.default, int | float) and not isinstance(item.default, bool)
    }
    bounds = {name: asdict(bound) for name, bound in BOUNDS.items() if name not in NOT_ON_PAGE}
    return {"bounds": bounds, "defaults": defaults}

"""Plans: what is asked of each bar, from what people say, or as measured in music."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.play.request import PlanOptions

KINDS = ("section", "style", "fill")
"""Of labels."""
FILL = ("beat", "fill")
"""The labels of the kind fill."""
LETTERS = tuple("ABCDEFGH")
"""The labels of sections that have no names: what comes back has the letter that it had before."""
NUMBERS = ("tempo_bpm", "density", "offbeat")
"""Quarter notes a minute; share of cells with a hit; share of hits off the beat."""
FILL_NOVELTY = 0.2
"""A bar with more ``bar_novelty`` is a fill."""
MOST_BARS = 10_000
"""That a text of sections tells."""

Labels = Mapping[str, Sequence[str]]
"""Kind -> the labels that a model knows."""

_ITEM = re.compile(r"([^\s:,]+)(?::(\d+))?")


class Plan(NamedTuple):
    """What is asked of the bars, from their first on; after its last bar a plan stays as it is.

    Args:
        labels: (B, bars, kinds), 1 + the place in the model's vocabulary, 0 where it is left open.
        numbers: (B, bars, numbers), NaN where left open.
    """

    labels: NDArray[np.int64]
    numbers: NDArray[np.float32]

    @classmethod
    def free(cls, bars: int, rows: int = 1) -> "Plan":
        """A plan that leaves everything open."""
        labels = np.zeros((rows, bars, len(KINDS)), np.int64)
        return cls(labels, np.full((rows, bars, len(NUMBERS)), math.nan, np.float32))

    @property
    def num_bars(self) -> int:
        return self.labels.shape[1]

    @property
    def asks(self) -> bool:
        """Whether anything is asked of any bar beside the tempo, which is told in any case."""
        shares = self.numbers[..., [name != "tempo_bpm" for name in NUMBERS]]
        return bool((self.labels > 0).any() or not np.isnan(shares).all())

    def bars(self, first: int, number: int) -> "Plan":
        """Return `number` bars from bar `first` on; after its last bar a plan stays as it is."""
        places = np.arange(first, first + number).clip(max=self.num_bars - 1)
        return Plan(self.labels[:, places], self.numbers[:, places])

    def like(self, asked: "Plan") -> "Plan":
        """Return what is told of the kinds and numbers that another plan tells of any bar; the others are open.

        In training all bars of a piece tell a kind, or none does.
        """
        is_told = (asked.labels > 0).any(1, keepdims=True), ~np.isnan(asked.numbers).all(1, keepdims=True)
        return Plan(np.where(is_told[0], self.labels, 0), np.where(is_told[1], self.numbers, np.float32(math.nan)))

    def then(self, *others: "Plan") -> "Plan":
        """Return one plan after the other, all of as many pieces."""
        plans = [self, *others]
        labels = np.concatenate([plan.labels for plan in plans], 1)
        return Plan(labels, np.concatenate([plan.numbers for plan in plans], 1))


def make_plan(
    labels: Labels,
    bars: int | None = None,
    *,
    sections: str | Sequence[str | None] | None = None,
    style: str | None = None,
    fill: Sequence[bool | None] | None = None,
    tempo_bpm: float | None = None,
    density: float | Sequence[float] | None = None,
    offbeat: float | Sequence[float] | None = None,
) -> Plan:
    """The plan of one piece, from what people say.

    Args:
        labels: the model's vocabulary.
        bars: of the plan; left out, as many as ``sections`` tells.
        sections: labels of each bar; or a text of labels with numbers of bars, ``intro:4 verse:8 fill:1 chorus:8``.
            Labels are of any kind, several joined by ``+``, as in ``rock+verse:8``. Where the model's sections are
            letters, other names take the letters in the order in which they come. Where some bars are fills, the
            others are none. A bar without a section goes on with the section before it.
        style: of all bars that name none.
        fill: whether each bar is a fill; None leaves it as ``sections`` tell.
        tempo_bpm: of all bars.
        density: share of cells with a hit, of all bars; or a curve, whose points are spread evenly over the bars.
        offbeat: share of hits off the beat, likewise.

    Raises:
        HypermeterError: an unknown label, a number of bars that does not fit, a number out of its range.
    """
    named = bars_of(sections)
    length = bars if bars is not None else len(named) or 1
    if length < 1:
        raise HypermeterError(f"plan: bars is {bars}, expected at least 1")
    if named and len(named) != length:
        raise HypermeterError(f"sections: {len(named)} bars, bars is {length}: expected the same")
    plan = Plan.free(length)
    codes = plan.labels[0]
    _set_labels(codes, named, labels)
    if style is not None:
        column = codes[:, KINDS.index("style")]
        column[column == 0] = _code("style", style, labels)
    if fill is not None:
        if len(fill) != length:
            raise HypermeterError(f"plan: fill of {len(fill)} bars, expected {length}")
        for bar, each in enumerate(fill):
            if each is not None:
                codes[bar, KINDS.index("fill")] = 1 + int(each)
    for name, value, most in (("tempo_bpm", tempo_bpm, math.inf), ("density", density, 1), ("offbeat", offbeat, 1)):
        if value is not None:
            plan.numbers[0, :, NUMBERS.index(name)] = _curve(name, value, most, length)
    return plan


def _curve(name: str, value: float | Sequence[float], most: float, length: int) -> NDArray[np.float64]:
    """A number, or points spread evenly over the bars, at each bar."""
    points = np.atleast_1d(np.asarray(value, float))
    least = 0 if most == 1 else 1
    if not (len(points) and ((points >= least) & (points <= most)).all() and np.isfinite(points).all()):
        expected = "numbers from 0 to 1" if most == 1 else "at least 1"
        raise HypermeterError(f"plan: {name} is {value}, expected {expected}")
    at = np.linspace(0, 1, length) if length > 1 else np.zeros(1)
    return np.interp(at, np.linspace(0, 1, len(points)), points) if len(points) > 1 else np.full(length, points[0])


def bars_of(sections: str | Sequence[str | None] | None) -> list[str | None]:
    """Return the labels of each bar, of a text of `make_plan` or as they are given.

    Raises:
        HypermeterError: a text that is none, or of more than MOST_BARS bars.
    """
    if sections is None:
        return []
    if not isinstance(sections, str):
        return list(sections)
    named: list[str | None] = []
    for item in sections.replace(",", " ").split():
        match = _ITEM.fullmatch(item)
        if match is None or (match[2] or "1").strip("0") == "":
            raise HypermeterError(f"sections: {item!r}, expected label:bars, as in intro:4 verse:8 fill:1 chorus:8")
        number = int(match[2] or 1) if len(match[2] or "") < 9 else MOST_BARS + 1
        if len(named) + number > MOST_BARS:
            raise HypermeterError(f"sections: more than {MOST_BARS} bars at {item[:40]!r}, expected at most as many")
        named += [match[1]] * number
    if not named:
        raise HypermeterError("sections: no label in it, expected label:bars, as in intro:4 verse:8 fill:1 chorus:8")
    return named


def section_names(sections: str | Sequence[str | None], labels: Labels) -> list[str]:
    """Return what bars are called that are asked for as in `make_plan`, styles left out; "" where nothing is left."""
    styles = [each.lower() for each in labels.get("style", ())]
    parts = ((text or "").split("+") for text in bars_of(sections))
    return ["+".join(each for each in names if each.lower() not in styles) for names in parts]


def _set_labels(codes: NDArray[np.int64], named: Sequence[str | None], labels: Labels) -> None:
    section = 0
    letters: dict[str, int] = {}
    is_lettered = tuple(labels.get("section", ())) == LETTERS
    kinds = KINDS[1:] if is_lettered else KINDS
    for bar, text in enumerate(named):
        own = 0
        for name in text.split("+") if text else ():
            kind = next((kind for kind in kinds if _place(name, labels.get(kind, ())) is not None), None)
            if kind is None and is_lettered:
                name = name.lower()
                if len(letters) == len(LETTERS) and name not in letters:
                    most = ", ".join(letters)
                    raise HypermeterError(f"sections: {name!r} beside {most}, expected at most {len(LETTERS)} names")
                own = letters.setdefault(name, len(letters) + 1)
            elif kind is None:
                known = ", ".join(each for kind in KINDS for each in labels.get(kind, ()))
                raise HypermeterError(f"sections: no label {name!r} in the model; it has {known or 'none'}")
            elif kind == "section":
                own = _code(kind, name, labels)
            else:
                codes[bar, KINDS.index(kind)] = _code(kind, name, labels)
        section = own or section
        codes[bar, 0] = section
    fills = codes[:, KINDS.index("fill")]
    if (fills == 1 + FILL.index("fill")).any():
        fills[fills == 0] = 1 + FILL.index("beat")


def _place(name: str, known: Sequence[str]) -> int | None:
    return next((place for place, each in enumerate(known) if each.lower() == name.lower()), None)


def _code(kind: str, name: str, labels: Labels) -> int:
    place = _place(name, labels.get(kind, ()))
    if place is None:
        known = ", ".join(labels.get(kind, ()))
        raise HypermeterError(f"{kind}: no {name!r} in the model; it has {known or 'none'}")
    return 1 + place


def plan_of(hits: NDArray[Any], grid: Grid) -> Plan:
    """Measure density, off-beat share and fills of each bar of hits (T, V) or (B, T, V); the rest is left open."""
    from hypermeter.music.metrics import METRICS, bar_novelty, by_chunk  # here, as most of what plays measures nothing

    hits = np.asarray(hits)
    hits = hits[None] if hits.ndim == 2 else hits
    plan, size = Plan.free(-(-hits.shape[1] // grid.steps_per_bar), len(hits)), grid.steps_per_bar
    onsets = (hits > 0).astype(np.float32)
    plan.numbers[..., NUMBERS.index("density")] = by_chunk(METRICS["density"], onsets, grid, size)
    plan.numbers[..., NUMBERS.index("offbeat")] = by_chunk(METRICS["syncopation"], onsets, grid, size, weak="offbeat")
    novelty = bar_novelty(onsets, grid)
    codes = np.where(novelty > FILL_NOVELTY, 1 + FILL.index("fill"), 1 + FILL.index("beat"))
    plan.labels[:, : novelty.shape[1], KINDS.index("fill")] = np.where(np.isnan(novelty), 0, codes)
    return plan


def plan_bars(
    labels: Labels | None,
    wishes: PlanOptions,
    bars: int,
    *,
    grid: Grid,
    tempo_bpm: float | None = None,
    heard_bars: int = 0,
    name: str = "the model",
) -> Plan | None:
    """Return the plan of bars that were heard, which are left open, and of the new ones; the one rule of every door.

    The tempo is asked of the new bars in any case. Where nothing is heard and nothing is said of fills, the first bars
    of the phrase are asked to be none, but for its last: many pieces that models learn from are fills by themselves, so
    that a beginning from silence is often one.

    Args:
        labels: the model's vocabulary; `None` for a model that takes no plans.
        wishes: what is asked of the new bars.
        bars: new bars.
        grid: of the model.
        tempo_bpm: of the music, told where the wishes name none.
        heard_bars: bars heard before.
        name: of the model, for errors.

    Returns:
        `None` for a model without labels.

    Raises:
        HypermeterError: something is asked of a model without labels; an unknown label; a number of bars that does not
            fit.
    """
    if labels is None:
        if wishes.names:
            raise no_labels(wishes.names[0], name)
        return None
    plan = make_plan(
        labels,
        bars,
        sections=wishes.sections,
        style=wishes.style,
        fill=wishes.fill,
        tempo_bpm=tempo_bpm if wishes.tempo_bpm is None else wishes.tempo_bpm,
        density=wishes.density,
        offbeat=wishes.offbeat,
    )
    fills = plan.labels[..., KINDS.index("fill")]
    if not heard_bars and not fills.any():
        fills[:, : grid.bars_per_phrase - 1] = 1 + FILL.index("beat")
    return Plan.free(heard_bars).then(plan)


def no_labels(what: str, name: str) -> HypermeterError:
    """Return the error of a model, by its name, that takes no plans, and of which something is asked."""
    return HypermeterError(
        f"{what}: {name} was made without labels, so nothing can be asked of it; choose a model that has them, or teach"
        f" it: hypermeter train NPZ OUT --init {name} --only plan"
    )

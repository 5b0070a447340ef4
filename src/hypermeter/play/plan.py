"""Plans, the conditions of each bar: from options and texts, or as measured in music."""

import difflib
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
"""Kinds of labels, in the order of `Plan.labels`."""
FILL = ("beat", "fill")
"""The labels of the kind fill."""
LETTERS = tuple("ABCDEFGH")
"""Labels of sections that have no names: a section that returns has the letter that it had before."""
NUMBERS = ("tempo_bpm", "density", "offbeat")
"""Numbers, in the order of `Plan.numbers`: quarter notes a minute, share of cells with a hit, of hits off the beat."""
FILL_NOVELTY = 0.2
"""A bar with a `bar_novelty` above this is measured as a fill."""
MAX_BARS = 10_000
"""Greatest number of bars of a text of sections."""

Labels = Mapping[str, Sequence[str]]
"""Kind -> the model's vocabulary of labels."""

NEAR_MISS = 0.8
"""Names at least so similar to a label, by `difflib`, are taken for misspelt labels."""

_ITEM = re.compile(r"([^\s:,=]+)(?::(\d+))?")
_FORM = "expected label:bars, as in verse:4, chorus:4"


class Plan(NamedTuple):
    """Conditions of each bar; bars after the last have those of the last.

    Args:
        labels: (B, bars, kinds), 1 + the index in the model's vocabulary, 0 where it is open.
        numbers: (B, bars, numbers), NaN where open.
    """

    labels: NDArray[np.int64]
    numbers: NDArray[np.float32]

    @classmethod
    def free(cls, bars: int, rows: int = 1) -> "Plan":
        """Return a plan without conditions."""
        labels = np.zeros((rows, bars, len(KINDS)), np.int64)
        return cls(labels, np.full((rows, bars, len(NUMBERS)), math.nan, np.float32))

    @property
    def num_bars(self) -> int:
        return self.labels.shape[1]

    @property
    def asks(self) -> bool:
        """Whether any bar has a condition beside the tempo, which is set in any case."""
        shares = self.numbers[..., [name != "tempo_bpm" for name in NUMBERS]]
        return bool((self.labels > 0).any() or not np.isnan(shares).all())

    def bars(self, first: int, number: int) -> "Plan":
        """Return `number` bars from bar `first` on."""
        bars = np.arange(first, first + number).clip(max=self.num_bars - 1)
        return Plan(self.labels[:, bars], self.numbers[:, bars])

    def like(self, other: "Plan") -> "Plan":
        """Return the plan with the kinds and numbers alone that `other` sets in any bar.

        In training a kind is set in all bars of a piece or in none.
        """
        is_set = (other.labels > 0).any(1, keepdims=True), ~np.isnan(other.numbers).all(1, keepdims=True)
        return Plan(np.where(is_set[0], self.labels, 0), np.where(is_set[1], self.numbers, np.float32(math.nan)))

    def then(self, *others: "Plan") -> "Plan":
        """Return one plan after the other, all of the same batch size."""
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
    """Return the plan (1, bars, ...) of one piece.

    Args:
        labels: the model's vocabulary.
        bars: length of the plan; by default that of ``sections``.
        sections: labels of each bar; or a text of labels with numbers of bars, ``intro:4 verse:8 fill:1 chorus:8``.
            Labels are of any kind, several joined by ``+``, as in ``rock+verse:8``. If the model's sections are
            letters, other names stand for the letters in the order in which they come. If some bars are fills, the
            others are not. A bar without a section has that of the bar before.
        style: of all bars that ``sections`` gives none.
        fill: whether each bar is a fill; `None` leaves it as ``sections`` says.
        tempo_bpm: in quarter notes a minute, of all bars.
        density: share of cells with a hit, of all bars; or a curve, whose points are spread evenly over the bars.
        offbeat: share of hits off the beat, likewise.

    Raises:
        HypermeterError: an unknown or misspelt label, a number of bars that does not fit, a number out of its range.
    """
    bar_labels = labels_of_bars(sections)
    length = bars if bars is not None else len(bar_labels) or 1
    if length < 1:
        raise HypermeterError(f"plan: bars is {bars}, expected at least 1")
    if bar_labels and len(bar_labels) != length:
        raise HypermeterError(f"sections: {len(bar_labels)} bars, bars is {length}: expected the same")
    plan = Plan.free(length)
    codes = plan.labels[0]
    _set_labels(codes, bar_labels, labels)
    if style is not None:
        column = codes[:, KINDS.index("style")]
        column[column == 0] = _code("style", style, labels)
    if fill is not None:
        if len(fill) != length:
            raise HypermeterError(f"plan: fill of {len(fill)} bars, expected {length}")
        for bar, is_fill in enumerate(fill):
            if is_fill is not None:
                codes[bar, KINDS.index("fill")] = 1 + int(is_fill)
    for name, value, most in (("tempo_bpm", tempo_bpm, math.inf), ("density", density, 1), ("offbeat", offbeat, 1)):
        if value is not None:
            plan.numbers[0, :, NUMBERS.index(name)] = _curve(name, value, most, length)
    return plan


def _curve(name: str, value: float | Sequence[float], most: float, length: int) -> NDArray[np.float64]:
    """Return the value at each bar (length,) of a number, or of points that are spread evenly over the bars."""
    points = np.atleast_1d(np.asarray(value, float))
    least = 0 if most == 1 else 1
    if not (len(points) and ((points >= least) & (points <= most)).all() and np.isfinite(points).all()):
        expected = "numbers from 0 to 1" if most == 1 else "at least 1"
        raise HypermeterError(f"plan: {name} is {value}, expected {expected}")
    at = np.linspace(0, 1, length) if length > 1 else np.zeros(1)
    return np.interp(at, np.linspace(0, 1, len(points)), points) if len(points) > 1 else np.full(length, points[0])


def section_lengths(text: str) -> list[tuple[str, int]]:
    """Return the labels of sections and their numbers of bars: ``intro:4, verse`` -> [("intro", 4), ("verse", 1)].

    Raises:
        HypermeterError: another form, such as a number or ``=`` in place of a label; more than MAX_BARS bars.
    """
    sections: list[tuple[str, int]] = []
    for item in text.replace(",", " ").split():
        match = _ITEM.fullmatch(item)
        if match is None or (match[2] or "1").strip("0") == "" or any(map(_is_number, match[1].split("+"))):
            raise HypermeterError(f"sections: {item!r}, {_FORM}")
        bars = int(match[2] or 1) if len(match[2] or "") < 9 else MAX_BARS + 1
        sections.append((match[1], bars))
        if sum(length for _, length in sections) > MAX_BARS:
            raise HypermeterError(f"sections: more than {MAX_BARS} bars at {item[:40]!r}, expected at most as many")
    if not sections:
        raise HypermeterError(f"sections: no label in {text!r}, {_FORM}")
    return sections


def _is_number(name: str) -> bool:
    return name.replace(".", "").isdigit()


def labels_of_bars(sections: str | Sequence[str | None] | None) -> list[str | None]:
    """Return the labels of each bar, of a text as in `section_lengths` or as they are given.

    Raises:
        HypermeterError: as `section_lengths`.
    """
    if not isinstance(sections, str):
        return list(sections or ())
    return [label for label, bars in section_lengths(sections) for _ in range(bars)]


def section_names(sections: str | Sequence[str | None], labels: Labels) -> list[str]:
    """Return the name of each bar's section, as in `make_plan` but without styles; "" where there is none."""
    styles = [style.lower() for style in labels.get("style", ())]
    parts = ((text or "").split("+") for text in labels_of_bars(sections))
    return ["+".join(name for name in names if name.lower() not in styles) for names in parts]


def _set_labels(codes: NDArray[np.int64], bar_labels: Sequence[str | None], labels: Labels) -> None:
    """Write the codes (bars, kinds) of labels."""
    section = 0
    letters: dict[str, int] = {}
    has_letters = tuple(labels.get("section", ())) == LETTERS
    kinds = KINDS[1:] if has_letters else KINDS
    vocabulary = [label for kind in KINDS for label in labels.get(kind, ())]
    for bar, text in enumerate(bar_labels):
        new = 0
        for name in text.split("+") if text else ():
            kind = next((kind for kind in kinds if _index(name, labels.get(kind, ())) is not None), None)
            if kind is None:
                near = difflib.get_close_matches(name.lower(), [label.lower() for label in vocabulary], 1, NEAR_MISS)
                if near and near[0] != name.lower():
                    raise HypermeterError(f"sections: no label {name!r} in the model; did you mean {near[0]}? {_FORM}")
                if not has_letters:
                    every = ", ".join(vocabulary) or "none"
                    raise HypermeterError(f"sections: no label {name!r} in the model; it has {every}")
                name = name.lower()
                if len(letters) == len(LETTERS) and name not in letters:
                    most = ", ".join(letters)
                    raise HypermeterError(f"sections: {name!r} beside {most}, expected at most {len(LETTERS)} names")
                new = letters.setdefault(name, len(letters) + 1)
            elif kind == "section":
                new = _code(kind, name, labels)
            else:
                codes[bar, KINDS.index(kind)] = _code(kind, name, labels)
        section = new or section
        codes[bar, 0] = section
    fills = codes[:, KINDS.index("fill")]
    if (fills == 1 + FILL.index("fill")).any():
        fills[fills == 0] = 1 + FILL.index("beat")


def _index(name: str, vocabulary: Sequence[str]) -> int | None:
    return next((index for index, label in enumerate(vocabulary) if label.lower() == name.lower()), None)


def _code(kind: str, name: str, labels: Labels) -> int:
    index = _index(name, labels.get(kind, ()))
    if index is None:
        vocabulary = ", ".join(labels.get(kind, ())) or "none"
        raise HypermeterError(f"{kind}: no {name!r} in the model; it has {vocabulary}")
    return 1 + index


def plan_of(hits: NDArray[Any], grid: Grid) -> Plan:
    """Return the plan of hits (T, V) or (B, T, V): density, off-beat share and fills as measured, the rest open."""
    from hypermeter.music.metrics import METRICS, bar_novelty, by_chunk  # here, as generating seldom measures

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
    options: PlanOptions,
    bars: int,
    *,
    grid: Grid,
    tempo_bpm: float | None = None,
    earlier_bars: int = 0,
    name: str = "the model",
) -> Plan | None:
    """Return the plan of earlier bars, which are open, and of new ones; `None` for a model without labels.

    The new bars always have a tempo. Without earlier bars and without conditions on fills, all bars of the first phrase
    but its last are set to be no fills: many pieces of the training data are fills by themselves, so that music from
    nothing would often begin with one.

    Args:
        labels: the model's vocabulary; `None` for a model that takes no plans.
        options: conditions of the new bars.
        bars: number of new bars.
        grid: of the model.
        tempo_bpm: tempo of the music, used if the options have none.
        earlier_bars: number of bars of context and primer.
        name: of the model, for errors.

    Raises:
        HypermeterError: conditions for a model without labels; an unknown label; a number of bars that does not fit.
    """
    if labels is None:
        if options.names:
            raise no_labels(options.names[0], name)
        return None
    conditions: dict[str, Any] = dict(vars(options))
    if options.tempo_bpm is None:
        conditions["tempo_bpm"] = tempo_bpm
    plan = make_plan(labels, bars, **conditions)
    fills = plan.labels[..., KINDS.index("fill")]
    if not earlier_bars and not fills.any():
        fills[:, : grid.bars_per_phrase - 1] = 1 + FILL.index("beat")
    return Plan.free(earlier_bars).then(plan)


def no_labels(what: str, name: str) -> HypermeterError:
    """Return the error of a condition `what` for a model without labels; it says how to train them."""
    return HypermeterError(
        f"{what}: {name} was made without labels, so it takes no plan; choose a model that has them, or train them:"
        f" hypermeter train NPZ OUT --init {name} --only plan"
    )

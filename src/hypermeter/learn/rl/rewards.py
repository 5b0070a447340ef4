"""Rewards: a weighting of ``METRICS`` at step, bar, phrase or piece level, paid when what they judge has ended.

A reward is any function of hits (B, T, V) and the grid that gives (B, T): what is paid after each step. ``Reward`` is
one made of terms, which YAML can spell. A metric is a reward of weight 0: there is one way to score.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from jaxtyping import Float, Shaped
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit
from hypermeter.io.npz import kit_name
from hypermeter.learn.dataset import common_kit_and_grid, read_folder
from hypermeter.music.metrics import METRICS, by_chunk

LEVELS = ("step", "bar", "phrase", "piece")

RewardFunction = Callable[[Tensor, Grid], Tensor]
"""Hits (B, T, V) and the grid -> (B, T)."""


@dataclass(frozen=True)
class Term:
    """One metric and what is wanted of it.

    Just one of ``target``, ``band`` and ``want`` is given. The reward of a value is minus its distance to the target or
    band, or plus or minus the value itself, over ``scale``, times ``weight``.

    Args:
        metric: a key of METRICS that gives one number.
        level: of what it is the metric: each ``step``, ``bar`` or ``phrase``, or the whole ``piece``.
        target: the value wanted.
        band: (low, high): any value between them is as good.
        want: ``more`` or ``less``.
        scale: distance that costs 1, more than 0.
        weight: of this term.
        undefined: reward where the metric is NaN, before the weight.
        voices: columns that the metric is shown; left out, all. Of the kick alone it is the kick's.
        options: keywords of the metric.

    Raises:
        HypermeterError: a metric that is not there, or arguments that do not fit.
    """

    metric: str
    level: Literal["step", "bar", "phrase", "piece"] = "bar"
    target: float | None = None
    band: tuple[float, float] | None = None
    want: Literal["more", "less"] | None = None
    scale: float = 1.0
    weight: float = 1.0
    undefined: float = 0.0
    voices: tuple[int, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"reward: {self.metric}"
        if self.metric not in METRICS:
            raise HypermeterError(f"{where}: no such metric; expected one of {', '.join(METRICS)}")
        if self.level not in LEVELS:
            raise HypermeterError(f"{where}: level is {self.level!r}, expected one of {', '.join(LEVELS)}")
        if sum(each is not None for each in (self.target, self.band, self.want)) != 1:
            raise HypermeterError(f"{where}: expected just one of target, band and want")
        if self.want not in (None, "more", "less"):
            raise HypermeterError(f"{where}: want is {self.want!r}, expected more or less")
        if self.band is not None:
            try:
                low, high = map(float, self.band)
                fits = low <= high and math.isfinite(low) and math.isfinite(high)
            except (TypeError, ValueError):
                fits = False
            if not fits:
                raise HypermeterError(f"{where}: band is {self.band}, expected (low, high)")
        if not isinstance(self.options, Mapping):
            raise HypermeterError(f"{where}: options are {self.options!r}, expected keywords of the metric")
        for name in ("target", "scale", "weight", "undefined"):
            value: Any = getattr(self, name)
            try:
                number = None if value is None and name == "target" else float(value)  # pyright: ignore[reportArgumentType]
            except (TypeError, ValueError):
                raise HypermeterError(f"{where}: {name} is {value!r}, expected a number") from None
            if number is not None and not math.isfinite(number):
                raise HypermeterError(f"{where}: {name} is {value!r}, expected a finite number")
            object.__setattr__(self, name, number)
        if not self.scale > 0:
            raise HypermeterError(f"{where}: scale is {self.scale}, expected more than 0")
        if self.voices is not None and not (self.voices and all(type(v) is int and v >= 0 for v in self.voices)):
            raise HypermeterError(f"{where}: voices are {self.voices}, expected one or more columns, from 0")

    def values(self, hits: Shaped[Tensor, "B T V"], grid: Grid) -> Float[Tensor, "B chunks"]:
        """The metric of each chunk; NaN where undefined.

        Raises:
            HypermeterError: the metric gives more than one number, or there are fewer voices.
        """
        size = self._size(hits.shape[1], grid)
        if self.voices is not None:
            if max(self.voices) >= hits.shape[2]:
                raise HypermeterError(f"reward: {self.metric} of voice {max(self.voices)}, there are {hits.shape[2]}")
            hits = hits[..., list(self.voices)]
        values = by_chunk(METRICS[self.metric], hits.float(), grid, size, **self.options)
        if values.shape != (len(hits), -(-hits.shape[1] // size)):
            raise HypermeterError(f"reward: {self.metric} gives more than one number; name a metric that gives one")
        return values.float()

    def score(self, values: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """What values of the metric are worth, weighted."""
        if self.target is not None:
            worth = -(values - self.target).abs()
        elif self.band is not None:
            low, high = self.band
            worth = -torch.maximum((low - values).clamp_min(0), (values - high).clamp_min(0))
        else:
            worth = values if self.want == "more" else -values
        worth = torch.where(values.isnan(), self.undefined, worth / self.scale)
        return self.weight * worth

    def pay(self, scores: Float[Tensor, "B chunks"], steps: int, grid: Grid) -> Float[Tensor, "B T"]:
        """Scores at the last step of what they judge, 0 elsewhere. A last chunk may be short."""
        size = self._size(steps, grid)
        ends = (torch.arange(1, scores.shape[1] + 1, device=scores.device) * size).clamp(max=steps) - 1
        paid = torch.zeros(len(scores), steps, device=scores.device)
        paid[:, ends] = scores
        return paid

    def _size(self, steps: int, grid: Grid) -> int:
        sizes = {"step": 1, "bar": grid.steps_per_bar, "phrase": grid.steps_per_phrase, "piece": max(steps, 1)}
        return sizes[self.level]


@dataclass
class RunningScale:
    """Mean and variance of all that it has seen (Chan et al. 1979), to bring rewards of any size to about one."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    def update(self, values: Tensor) -> None:
        """Take in values that are not NaN."""
        values = values[~values.isnan()].double()
        if not len(values):
            return
        mean, total = values.mean().item(), self.count + len(values)
        apart = mean - self.mean
        self.squares += (values - mean).square().sum().item() + apart**2 * self.count * len(values) / total
        self.mean += apart * len(values) / total
        self.count = total

    @property
    def sd(self) -> float:
        """1 until two different values were seen."""
        spread = math.sqrt(self.squares / self.count) if self.count else 0.0
        return spread if spread > 1e-8 else 1.0

    def normalise(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.sd


@dataclass
class Reward:
    """The sum of terms.

    Args:
        terms: at least one.
        normalise: bring each term's scores to mean 0 and spread 1, by what was seen so far, before the weight.
        scales: what was seen so far of each term's scores.
        frozen: see nothing more. ``dataclasses.replace(reward, frozen=True)`` scores what is only evaluated by the
            scales of ``reward`` as they are then, and leaves them alone.
    """

    terms: Sequence[Term]
    normalise: bool = False
    scales: list[RunningScale] = field(default_factory=list)
    frozen: bool = False

    def __post_init__(self) -> None:
        if not self.terms:
            raise HypermeterError("reward: no terms, expected at least one, as {metric: density, target: 0.1}")
        self.scales = self.scales or [RunningScale() for _ in self.terms]

    def __call__(self, hits: Shaped[Tensor, "B T V"], grid: Grid) -> Float[Tensor, "B T"]:
        return torch.stack(list(self.by_level(hits, grid).values())).sum(0)

    def by_level(self, hits: Shaped[Tensor, "B T V"], grid: Grid) -> dict[str, Float[Tensor, "B T"]]:
        """What is paid after each step, by the level of the terms."""
        paid: dict[str, Tensor] = {}
        for term, scale in zip(self.terms, self.scales, strict=True):
            values = term.values(hits, grid)
            scores = term.score(values)
            if self.normalise:
                if not self.frozen:
                    scale.update(scores[~values.isnan()])
                scores = torch.where(values.isnan(), scores, abs(term.weight) * scale.normalise(scores))
            each = term.pay(scores, hits.shape[1], grid)
            paid[term.level] = paid[term.level] + each if term.level in paid else each
        return paid


def style_terms(
    npz_dir: str | Path,
    grid: Grid,
    metrics: Iterable[str] = ("avg_hits", "syncopation", "co_occurrence", "step_entropy"),
    level: Literal["bar", "phrase", "piece"] = "phrase",
    weight: float = 1.0,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    kit: Kit | None = None,
) -> list[Term]:
    """Nearness to a style: for each metric, the mean over its performances as target, their spread as scale.

    Args:
        npz_dir: folder of performances in the style.
        grid: the metre, also of files that tell none.
        metrics: that give one number.
        level: of which chunks the metrics are taken.
        weight: of all terms together.
        options: metric -> its keywords.
        kit: of what is to be rewarded; None, nobody knows it. Files that name none are taken to be of it.

    Raises:
        HypermeterError: no performance there, files of different kits or of another kit or grid, or a metric that is
            undefined in all of them.
    """
    names = list(metrics)
    files, sequences = read_folder(Path(npz_dir))
    own_kit, found_grid = common_kit_and_grid(files, kit, grid)
    if found_grid != grid:
        raise HypermeterError(f"{npz_dir}: {found_grid}, expected {grid}; prepare it on the grid of the reward")
    if kit is not None and own_kit != kit:
        raise HypermeterError(f"{npz_dir}: {kit_name(own_kit)}, expected {kit_name(kit)}; prepare it with the model's")
    terms = []
    for name in names:
        keywords = (_groups(name, own_kit) if own_kit else {}) | dict((options or {}).get(name, {}))
        probe = Term(name, level, target=0.0, options=keywords)
        found = torch.cat([probe.values(torch.from_numpy(each)[None], grid)[0] for each in sequences])
        found = found[~found.isnan()].double()
        if len(found) < 2:
            raise HypermeterError(f"{npz_dir}: {name} is defined in {len(found)} {level}s, expected at least 2")
        spread = max(found.std().item(), 1e-6)
        terms.append(
            Term(name, level, target=found.mean().item(), scale=spread, weight=weight / len(names), options=keywords)
        )
    return terms


FORM = "{metric: density, level: bar, target: 0.12, scale: 0.02, weight: 1}"


def load_reward(source: str | Path | Mapping[str, Any], grid: Grid = Grid(), kit: Kit | None = None) -> Reward:
    """A reward from YAML, or from what YAML holds.

    ``terms`` is a list of terms, each with the fields of ``Term``; ``style`` has the arguments of ``style_terms``, its
    folder as ``folder``; ``normalise`` may be true. With a kit, ``voices`` may be their names, and metrics that ask for
    streams or cymbals have the kit's.

    Raises:
        HypermeterError: a file that cannot be read, or is not a reward.
    """
    where = "reward" if isinstance(source, Mapping) else str(source)
    if isinstance(source, Mapping):
        record: Any = source
    else:
        try:
            record = yaml.safe_load(Path(source).read_text("utf-8"))
        except OSError as error:
            raise HypermeterError(f"{where}: the reward cannot be read ({error.strerror}); check the path") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            first = str(error).splitlines()[0]
            raise HypermeterError(f"{where}: not YAML ({first}); expected terms, each as {FORM}") from error
    if not isinstance(record, Mapping) or not {"terms", "style"} & set(record):
        raise HypermeterError(f"{where}: no terms, expected a list under 'terms', each as {FORM}")
    if unknown := set(record) - {"terms", "style", "normalise"}:
        raise HypermeterError(f"{where}: unknown field {min(map(str, unknown))!r}; expected terms, style, normalise")
    try:
        terms = [_term(each, kit) for each in record.get("terms") or []]
        if style := record.get("style"):
            terms += style_terms(
                style["folder"], grid, kit=kit, **{key: style[key] for key in style if key != "folder"}
            )
    except (TypeError, KeyError, AttributeError) as error:
        raise HypermeterError(f"{where}: a term or style that does not fit ({error}); write terms as {FORM}") from error
    except HypermeterError as error:
        raise HypermeterError(f"{where}: {str(error).removeprefix('reward: ')}") from error
    normalise = record.get("normalise", False)
    if not isinstance(normalise, bool):
        raise HypermeterError(f"{where}: normalise is {normalise!r}, expected true or false")
    for term in terms:
        voices = 1 + max(term.voices or (0,)) if kit is None else kit.num_voices
        try:
            term.values(torch.zeros(1, grid.steps_per_phrase, voices), grid)
        except TypeError as error:
            raise HypermeterError(f"{where}: {term.metric} does not take these options ({error}); mend them") from error
        except HypermeterError as error:
            if kit is not None:  # else nobody knows how many voices there are
                reason = str(error).removeprefix("reward: ")
                named = reason if reason.startswith(term.metric) else f"{term.metric}: {reason}"
                raise HypermeterError(f"{where}: {named}") from error
    return Reward(terms, normalise=normalise)


def _term(record: Any, kit: Kit | None) -> Term:
    if not isinstance(record, Mapping):
        raise HypermeterError(f"term {record!r}, expected fields, as {FORM}")
    if unknown := set(record) - {each.name for each in fields(Term)}:
        raise HypermeterError(f"unknown field {min(map(str, unknown))!r} in a term; write it as {FORM}")
    arguments: dict[str, Any] = dict(record)
    if isinstance(band := arguments.get("band"), list):
        try:
            arguments["band"] = tuple(float(each) for each in band)
        except (TypeError, ValueError):
            arguments["band"] = tuple(band)  # and refused
    if (voices := arguments.get("voices")) is not None:
        voices = [voices] if isinstance(voices, str | int) else voices
        arguments["voices"] = tuple(_column(each, kit) if isinstance(each, str) else each for each in voices)
    if kit is not None and isinstance(options := arguments.get("options", {}), Mapping):
        arguments["options"] = _groups(arguments.get("metric"), kit) | dict(options)
    return Term(**arguments)


def _groups(metric: Any, kit: Kit) -> dict[str, Any]:
    """The groups of the kit that a metric asks for."""
    wanted = signature(METRICS[metric]).parameters if metric in METRICS else {}
    return {name: each for name, each in (("streams", kit.streams), ("cymbals", kit.cymbals)) if name in wanted}


def _column(voice: str, kit: Kit | None) -> int:
    if kit is None:
        raise HypermeterError(f"voice {voice!r} without a kit to find it in; expected numbers of columns")
    if voice not in kit.names:
        raise HypermeterError(f"no voice {voice!r} in kit {kit.name}; it has {', '.join(kit.names)}")
    return kit.names.index(voice)

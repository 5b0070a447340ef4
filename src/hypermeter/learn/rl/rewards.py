"""Rewards: weighted ``METRICS`` of steps, bars, phrases or whole pieces, paid when what they measure has ended.

A reward is any function of hits (B, T, V) and the grid that returns (B, T): what is paid after each step. ``Reward`` is
one made of terms, which YAML can express. A metric is a term of weight 0: there is one way to score.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from hypermeter.core.errors import HypermeterError, shorten
from hypermeter.core.grid import Grid
from hypermeter.music.metrics import METRICS, by_chunk

LEVEL_SIZES: dict[str, Callable[[Grid, int], int]] = {
    "step": lambda grid, steps: 1,
    "bar": lambda grid, steps: grid.steps_per_bar,
    "phrase": lambda grid, steps: grid.steps_per_phrase,
    "piece": lambda grid, steps: max(steps, 1),
}
"""Level -> its length in steps, given the grid and the steps of the piece."""

MAX_NUMBER = 1e9
"""Of targets, scales, weights: rewards are in single precision, in which their squares have to be finite."""

RewardFunction = Callable[[Tensor, Grid], Tensor]
"""Hits (B, T, V) and the grid -> (B, T)."""


@dataclass(frozen=True)
class Term:
    """One metric and its wanted value.

    Exactly one of ``target``, ``band`` and ``want`` is given. The reward of a value is minus its distance to the target
    or band, or plus or minus the value itself, over ``scale``, times ``weight``.

    Args:
        metric: a key of METRICS that gives one number.
        level: what is measured: each ``step``, ``bar`` or ``phrase``, or the whole ``piece``.
        target: the wanted value.
        band: (low, high), between which all values are equally good.
        want: ``more`` or ``less``.
        scale: distance that costs 1, more than 0.
        weight: weight of this term.
        undefined: reward where the metric is NaN, before the weight.
        voices: columns that are measured; None, all.
        options: keywords of the metric.

    Raises:
        HypermeterError: an unknown metric, or arguments that do not fit.
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
        if self.level not in LEVEL_SIZES:
            raise HypermeterError(f"{where}: level is {self.level!r}, expected one of {', '.join(LEVEL_SIZES)}")
        if sum(goal is not None for goal in (self.target, self.band, self.want)) != 1:
            raise HypermeterError(f"{where}: expected just one of target, band and want")
        if self.want not in (None, "more", "less"):
            raise HypermeterError(f"{where}: want is {self.want!r}, expected more or less")
        if self.band is not None:
            try:
                low, high = map(float, self.band)
                fits = -MAX_NUMBER <= low <= high <= MAX_NUMBER
            except (TypeError, ValueError, OverflowError):
                fits = False
            if not fits:
                raise HypermeterError(f"{where}: band is {shorten(repr(self.band), 60)}, expected (low, high)")
        if not isinstance(self.options, Mapping):
            raise HypermeterError(f"{where}: options are {self.options!r}, expected keywords of the metric")
        for name in ("target", "scale", "weight", "undefined"):
            value: Any = getattr(self, name)
            try:
                number = None if value is None and name == "target" else float(value)  # pyright: ignore[reportArgumentType]
            except (TypeError, ValueError, OverflowError):
                raise HypermeterError(f"{where}: {name} is {shorten(repr(value), 60)}, expected a number") from None
            if number is not None and not abs(number) <= MAX_NUMBER:
                expected = f"a finite number, from -{MAX_NUMBER:g} to {MAX_NUMBER:g}"
                raise HypermeterError(f"{where}: {name} is {shorten(repr(value), 60)}, expected {expected}")
            object.__setattr__(self, name, number)
        if not self.scale > 0:
            raise HypermeterError(f"{where}: scale is {self.scale}, expected more than 0")
        if self.voices is not None and not (self.voices and all(type(v) is int and v >= 0 for v in self.voices)):
            raise HypermeterError(f"{where}: voices are {self.voices}, expected one or more columns, from 0")

    def values(self, hits: Shaped[Tensor, "B T V"], grid: Grid) -> Float[Tensor, "B chunks"]:
        """Return the metric of each chunk (step, bar, ...); NaN where it is undefined.

        Raises:
            HypermeterError: the metric gives more than one number, or ``voices`` has a column that is not in ``hits``.
        """
        size = LEVEL_SIZES[self.level](grid, hits.shape[1])
        if self.voices is not None:
            if max(self.voices) >= hits.shape[2]:
                raise HypermeterError(f"reward: {self.metric} of voice {max(self.voices)}, there are {hits.shape[2]}")
            hits = hits[..., list(self.voices)]
        values = by_chunk(METRICS[self.metric], hits.float(), grid, size, **self.options)
        if values.shape != (len(hits), -(-hits.shape[1] // size)):
            raise HypermeterError(f"reward: {self.metric} gives more than one number; name a metric that gives one")
        return values.float()

    def score(self, values: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """Return the weighted reward of values of the metric."""
        if self.target is not None:
            scores = -(values - self.target).abs()
        elif self.band is not None:
            low, high = self.band
            scores = -torch.maximum((low - values).clamp_min(0), (values - high).clamp_min(0))
        else:
            scores = values if self.want == "more" else -values
        return self.weight * torch.where(values.isnan(), self.undefined, scores / self.scale)

    def pay(self, scores: Float[Tensor, "B chunks"], steps: int, grid: Grid) -> Float[Tensor, "B T"]:
        """Return the scores at the last step of each chunk, 0 elsewhere. A last chunk may be short."""
        size = LEVEL_SIZES[self.level](grid, steps)
        ends = (torch.arange(1, scores.shape[1] + 1, device=scores.device) * size).clamp(max=steps) - 1
        rewards = torch.zeros(len(scores), steps, device=scores.device)
        rewards[:, ends] = scores
        return rewards


@dataclass
class RunningScale:
    """Mean and variance of all values so far (Chan et al. 1979), by which rewards of any size become about one."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    def update(self, values: Tensor) -> None:
        """Take in values that are not NaN."""
        values = values[~values.isnan()].double()
        if not len(values):
            return
        mean, total = values.mean().item(), self.count + len(values)
        difference = mean - self.mean
        self.squares += (values - mean).square().sum().item() + difference**2 * self.count * len(values) / total
        self.mean += difference * len(values) / total
        self.count = total

    @property
    def sd(self) -> float:
        """The standard deviation; 1 until two different values are taken in."""
        spread = math.sqrt(self.squares / self.count) if self.count else 0.0
        return spread if spread > 1e-8 else 1.0

    def normalise(self, values: Tensor) -> Tensor:
        """Return the values less the mean, over the standard deviation."""
        return (values - self.mean) / self.sd


@dataclass
class Reward:
    """The sum of terms.

    Args:
        terms: at least one.
        normalise: bring the scores of each term to mean 0 and spread 1, by those so far, before the weight.
        scales: running mean and variance of each term's scores.
        frozen: leave the scales as they are. ``dataclasses.replace(reward, frozen=True)`` shares the scales of
            ``reward`` without changing them, for what is only evaluated.

    Raises:
        HypermeterError: no terms.
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
        """Return what is paid after each step, by the level of the terms."""
        by_level: dict[str, Tensor] = {}
        for term, scale in zip(self.terms, self.scales, strict=True):
            values = term.values(hits, grid)
            scores = term.score(values)
            if self.normalise:
                if not self.frozen:
                    scale.update(scores[~values.isnan()])
                scores = torch.where(values.isnan(), scores, abs(term.weight) * scale.normalise(scores))
            rewards = term.pay(scores, hits.shape[1], grid)
            by_level[term.level] = by_level[term.level] + rewards if term.level in by_level else rewards
        return by_level


def paid_by_level(
    reward: RewardFunction | Reward, hits: Float[Tensor, "B T V"], grid: Grid
) -> dict[str, Float[Tensor, "B T"]]:
    """Return what is paid after each step, by level; all that a plain function pays is of level ``step``.

    Raises:
        HypermeterError: a reward that pays another shape than (pieces, steps), or values that are not finite.
    """
    paid = reward.by_level(hits, grid) if isinstance(reward, Reward) else {"step": reward(hits, grid)}
    for level, rewards in paid.items():
        if rewards.shape != hits.shape[:2]:
            shape, expected = tuple(rewards.shape), tuple(hits.shape[:2])
            raise HypermeterError(f"reward: paid {shape} at {level} level, expected {expected} (pieces, steps)")
        if not rewards.isfinite().all():
            raise HypermeterError(f"reward: paid what is not finite at {level} level; check the metric and its scale")
    return paid


@torch.no_grad()
def check_reward(reward: RewardFunction | Reward, hits: Float[Tensor, "B T V"], grid: Grid) -> None:
    """Raise if a reward does not depend on what the policy generates: nothing could be learnt from it.

    The gradient of the expected return is that of the probabilities of pieces, weighted by their returns. Returns that
    are the same for all pieces, such as metrics of the training data, have the gradient 0.

    Args:
        reward: a function of hits and the grid.
        hits: pieces that the policy generated.
        grid: the grid of the hits.

    Raises:
        HypermeterError: the return of a piece depends on its row in the batch, or is the same for all pieces.
    """
    if isinstance(reward, Reward):
        reward = replace(reward, frozen=True)
    totals = _totals(reward, hits, grid)
    if not torch.allclose(_totals(reward, hits.flip(0), grid).flip(0), totals, rtol=1e-4, atol=1e-6):
        raise HypermeterError(
            "reward: a piece has another reward at another place of the batch, so the reward is not of what is played; "
            "expected a function of hits, not of the data"
        )
    if _differ(totals):
        return
    shares = torch.linspace(0, 1, len(hits), device=hits.device)[:, None, None]
    random = (torch.rand_like(hits.float()) < shares).float()
    if _differ(_totals(reward, torch.cat([hits.float(), random]), grid)):
        raise HypermeterError(
            f"reward: each of {len(hits)} pieces of the policy has the reward {totals[0]:g}; nothing can be learnt "
            "from equal pieces: move the target, or widen the band"
        )
    raise HypermeterError(
        f"reward: every piece has the reward {totals[0]:g}, whatever is played, as with metrics of the data: the "
        "gradient is 0, which is no reinforcement; expected a function of the hits that the policy plays"
    )


def _totals(reward: RewardFunction | Reward, hits: Tensor, grid: Grid) -> Float[Tensor, " B"]:
    return torch.stack([rewards.sum(1) for rewards in paid_by_level(reward, hits, grid).values()]).sum(0).double()


def _differ(totals: Float[Tensor, " B"]) -> bool:
    return bool((totals - totals[0]).abs().max() > 1e-6 * totals.abs().max().clamp_min(1e-6))

"""What is asked of each bar: its section, style, whether it is a fill, its tempo, how dense and how off the beat it is.

All of it is known before the bar is played, and any of it may be left open. A model that was made with ``labels`` is
trained with parts of the plan hidden at random, so that it plays with all, some or none of it.
"""

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple, ParamSpec

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.play import plan as arrays
from hypermeter.play.plan import KINDS, NUMBERS, Labels
from hypermeter.play.steering import FADES, KNOTS

P = ParamSpec("P")

HIDDEN_DIM = 256
"""Of what a plan changes in a step."""
PLAN_DIM = 48
"""Size of an embedded bar of a plan; the last element tells whether anything is asked."""


class Plan(NamedTuple):
    """What is asked of the bars of B pieces, from their first bar on. After its last bar a plan stays as it is.

    Args:
        labels: for each of KINDS 1 + the place in the model's vocabulary, 0 where it is left open.
        numbers: NUMBERS, NaN where left open.
    """

    labels: Int[Tensor, "B bars kinds"]
    numbers: Float[Tensor, "B bars numbers"]

    @classmethod
    def free(cls, batch_size: int = 1, bars: int = 1) -> "Plan":
        """A plan that leaves everything open."""
        labels = torch.zeros(batch_size, bars, len(KINDS), dtype=torch.long)
        return cls(labels, torch.full((batch_size, bars, len(NUMBERS)), math.nan))

    @property
    def num_bars(self) -> int:
        return self.labels.shape[1]

    @property
    def batch_size(self) -> int:
        return self.labels.shape[0]

    def select(self, rows: Int[Tensor, " N"]) -> "Plan":
        """The plan of the given rows, in that order."""
        return Plan(self.labels[rows], self.numbers[rows])

    def bars(self, first: int, number: int) -> "Plan":
        """``number`` bars from bar ``first`` on."""
        index = torch.arange(first, first + number, device=self.labels.device).clamp(max=self.num_bars - 1)
        return Plan(self.labels[:, index], self.numbers[:, index])

    def to(self, device: Any) -> "Plan":
        return Plan(self.labels.to(device), self.numbers.to(device))

    def by_phrase(self, bars_per_phrase: int) -> "Plan":
        """Numbers as means over each phrase's bars that have them; labels as they are."""
        numbers = self.numbers.clone()
        for start in range(0, self.num_bars, bars_per_phrase):
            part = numbers[:, start : start + bars_per_phrase]
            part.copy_(part.nanmean(1, keepdim=True).expand_as(part))
        return Plan(self.labels, numbers)


def join(*plans: Plan) -> Plan:
    """One plan after the other; each is of one piece, or of as many as the others."""
    rows = max(plan.batch_size for plan in plans)
    labels = torch.cat([plan.labels.expand(rows, -1, -1) for plan in plans], 1)
    return Plan(labels, torch.cat([plan.numbers.expand(rows, -1, -1) for plan in plans], 1))


def stack(plans: Sequence[Plan]) -> Plan:
    """The plans of single pieces as one of them all; a shorter one is followed by what is open."""
    labels = pad_sequence([plan.labels[0] for plan in plans], batch_first=True)
    return Plan(labels, pad_sequence([plan.numbers[0] for plan in plans], batch_first=True, padding_value=math.nan))


def _in_tensors(make: Callable[P, arrays.Plan]) -> Callable[P, Plan]:
    """What makes a plan of arrays as what makes one of tensors, on the CPU; its arguments are the same."""

    @wraps(make)
    def in_tensors(*args: P.args, **options: P.kwargs) -> Plan:
        return Plan(*map(torch.from_numpy, make(*args, **options)))

    return in_tensors


make_plan = _in_tensors(arrays.make_plan)


def plan_of(hits: Float[Tensor, "B T V"], grid: Grid) -> Plan:
    """`play.plan.plan_of` of hits on any device; the plan is on the CPU."""
    return _in_tensors(arrays.plan_of)(hits.detach().cpu().numpy(), grid)


def fitting_plan(
    batch: int,
    labels: Labels | None,
    sections: Int[Tensor, "B bars"] | None = None,
    plan: Plan | None = None,
) -> Plan | None:
    """What is asked of a batch, a row for each piece; None where nothing is.

    Args:
        batch: rows.
        labels: the model's vocabulary.
        sections: labels of sections, 0 for unknown: a plan that asks for no more.
        plan: of one row, or ``batch``.

    Raises:
        HypermeterError: the model has no labels, one of sections does not fit, or both sections and a plan are given.
    """
    if sections is None and plan is None:
        return None
    if labels is None:
        what = "sections given" if plan is None else "a plan given"
        raise HypermeterError(f"model: {what}, but this model was made without labels; leave them out")
    if plan is None:
        assert sections is not None
        plan = Plan.free(*sections.shape).to(sections.device)
        plan.labels[..., KINDS.index("section")] = sections
    elif sections is not None:
        raise HypermeterError("model: sections and a plan given, expected one; put the sections into the plan")
    if plan.batch_size not in (1, batch) or plan.num_bars < 1:
        found = f"{plan.batch_size} rows, {plan.num_bars} bars"
        raise HypermeterError(f"model: a plan of {found}, expected 1 or {batch} rows and at least 1 bar")
    sizes = torch.tensor([len(labels[kind]) for kind in KINDS], device=plan.labels.device)
    if not ((plan.labels >= 0) & (plan.labels <= sizes)).all():
        most = ", ".join(f"{size} for {kind}" for size, kind in zip(sizes.tolist(), KINDS, strict=True))
        raise HypermeterError(f"model: a label outside the vocabulary, expected 0 to {most}")
    return Plan(plan.labels.expand(batch, -1, -1), plan.numbers.expand(batch, -1, -1))


def hide(plan: Plan, share: float = 0.5) -> Plan:
    """The plan with each kind and number of each piece left open by that chance, for training."""
    rows, device = plan.batch_size, plan.labels.device
    open_kinds = torch.rand(rows, 1, len(KINDS), device=device) < share
    open_numbers = torch.rand(rows, 1, len(NUMBERS), device=device) < share
    return Plan(plan.labels.masked_fill(open_kinds, 0), plan.numbers.masked_fill(open_numbers, math.nan))


class PlanEmbedding(nn.Module):
    """Bars of a plan to vectors of PLAN_DIM, of which all elements are 0 where nothing is asked.

    A number is read at KNOTS: it lies between two of them and has a share of each. The last elements are how new the
    style and section are, for each of FADES, the hits a step that are asked for, or 0, whether they are, and whether
    anything is asked.

    Args:
        labels: the vocabulary.
        num_drums: voices, which bring densities of all kits to hits a step.
    """

    def __init__(self, labels: Labels, num_drums: int):
        super().__init__()
        self.num_drums, dim = num_drums, PLAN_DIM - 3 - len(FADES)
        self.embed = nn.ModuleList(nn.Embedding(1 + len(labels.get(kind, ())), dim) for kind in KINDS)
        self.numbers = nn.Linear(len(NUMBERS) * (KNOTS + 1), dim)
        self.between = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.norm = nn.LayerNorm(dim)

    def forward(self, plan: Plan) -> Float[Tensor, "B bars dim"]:
        numbers = plan.numbers.to(self.numbers.weight.dtype)
        known = ~numbers.isnan()
        tempo, density, offbeat = numbers.unbind(-1)
        wanted = density * self.num_drums
        places = torch.stack([((tempo / 120).log2() + 1.5) / 3, wanted / 4, offbeat], -1)
        places = torch.where(known, places.clamp(0, 1), 0)[..., None] * (KNOTS - 1)
        shares = (1 - (places - torch.arange(KNOTS, device=places.device)).abs()).clamp_min(0)
        read = torch.cat([shares, torch.ones_like(shares[..., :1])], -1) * known[..., None]
        total = self.numbers(read.flatten(-2))
        for embed, codes in zip(self.embed, plan.labels.unbind(-1), strict=True):
            total = total + embed(codes)
        is_asked = (known.any(-1) | (plan.labels > 0).any(-1)).to(total.dtype)[..., None]
        is_dense = known[..., NUMBERS.index("density")]
        beside = torch.stack([torch.where(is_dense, wanted, 0), is_dense.to(total.dtype)], -1)
        newness = (-bars_since_change(plan)[..., None] / total.new_tensor(FADES)).exp()
        return torch.cat([self.norm(total + self.between(total)) * is_asked, newness * is_asked, beside, is_asked], -1)


def bars_since_change(plan: Plan) -> Float[Tensor, "B bars"]:
    """How many bars ago the section or the style that a bar is asked for was new, 0 in the first bar of the plan."""
    labels = plan.labels[..., [KINDS.index("section"), KINDS.index("style")]]
    bar = torch.arange(plan.num_bars, device=labels.device)
    is_new = F.pad((labels[:, 1:] != labels[:, :-1]).any(-1), (1, 0), value=True)
    is_before = bar[:, None] >= bar
    last = torch.where(is_before & is_new[:, None], bar, 0).amax(-1)  # ONNX has no cummax
    return (bar - last).float()


class Change(nn.Module):
    """What a plan changes in something: nothing where nothing is asked, exactly."""

    def __init__(self, input_dim: int, output_dim: int, hidden_dim: int, dropout: float):
        super().__init__()
        self.inner = nn.Linear(input_dim + PLAN_DIM, hidden_dim)
        self.activation, self.drop = nn.GELU(), nn.Dropout(dropout)
        self.out = nn.Linear(hidden_dim, output_dim)
        with torch.no_grad():
            self.out.weight.mul_(0.1)

    def forward(
        self, beside: Float[Tensor, "*B input"], asked: Float[Tensor, "*B plan_dim"]
    ) -> Float[Tensor, "*B out"]:
        changed = self.out(self.drop(self.activation(self.inner(torch.cat([beside, asked], -1)))))
        return changed * asked[..., -1:]


class Steering(nn.Module):
    """The way of a plan into a model: it changes what the output distribution is made from, and the forecasts.

    The encoders do not hear the plan, only what was played under it. So a model that is asked nothing plays what it
    would play without this part, to the last bit, and one that was trained before can be taught to take plans. It is
    told the place in the phrase, what has been played in the bar so far and, where a density is asked for, how many
    hits are left to play. The model's features it is not told: with them it learnt the training pieces by heart.

    Args:
        position_dim: of the embedded place in the phrase.
        num_drums: voices.
        width: voices, and columns of tracks.
        scores: numbers that the output distribution is made from.
        num_recalled: patterns that are recalled; each can be heard more or less.
        level_dims: of the states of bars and phrases.
        steps_per_bar: steps.
        dropout: of the hidden layers.
    """

    def __init__(
        self,
        position_dim: int,
        num_drums: int,
        width: int,
        scores: int,
        num_recalled: int,
        level_dims: tuple[int, int],
        steps_per_bar: int,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.num_drums, self.steps_per_bar, self.sizes = num_drums, steps_per_bar, [scores, num_recalled]
        self.step = Change(position_dim + width + 2, scores + num_recalled, HIDDEN_DIM, dropout)
        self.forecasts = nn.ModuleList(Change(dim, width, PLAN_DIM, dropout) for dim in level_dims)

    def forward(
        self,
        places: Sequence[Float[Tensor, "*B dim"]],
        so_far: Float[Tensor, "*B W"],
        position: Int[Tensor, "*#B"],
        asked: Float[Tensor, "*B plan_dim"],
    ) -> tuple[Float[Tensor, "*B scores"], Float[Tensor, "*B recalled"]]:
        """What to add to the scores of a step, and by how much more each recalled pattern is heard, from -1 on.

        Args:
            places: the embedded place in the phrase, where the model has one.
            so_far: what has been played in its bar before it, summed.
            position: steps before it.
            asked: of its bar.
        """
        wanted, is_dense = asked[..., -3], asked[..., -2]
        left = (wanted * self.steps_per_bar - so_far[..., : self.num_drums].sum(-1)) * is_dense
        steps_left = self.steps_per_bar - position % self.steps_per_bar
        beside = [*places, 0.1 * so_far, (0.1 * left)[..., None], (left / steps_left)[..., None]]
        scores, louder = self.step(torch.cat(beside, -1), asked).split(self.sizes, -1)
        return scores, louder.clamp_min(-1)

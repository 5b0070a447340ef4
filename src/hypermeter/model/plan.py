"""Plans in PyTorch: per-bar conditions (section, style, fill, tempo, density, off-beat share) and how they steer.

Each condition may be left open. A model that was made with ``labels`` is trained with conditions hidden at random, so
that it plays under all, some or none of them.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.model.places import with_shared_weights
from hypermeter.play import plan as arrays
from hypermeter.play.plan import KINDS, NUMBERS, Labels
from hypermeter.play.steering import FADES, KNOTS

HIDDEN_DIM = 256
"""Of the layer by which a plan changes a step."""
PLAN_DIM = 48
"""Size of an embedded bar of a plan; the last element is 1 where the bar has any condition, else 0."""


class Plan(NamedTuple):
    """Per-bar conditions of B rows, from their first bar on. The last bar's hold for all bars after it.

    Args:
        labels: for each of KINDS 1 + the index in the model's vocabulary, 0 where it is left open.
        numbers: NUMBERS, NaN where left open.
    """

    labels: Int[Tensor, "B bars kinds"]
    numbers: Float[Tensor, "B bars numbers"]

    @classmethod
    def free(cls, batch_size: int = 1, bars: int = 1) -> "Plan":
        """Return a plan that leaves everything open."""
        labels = torch.zeros(batch_size, bars, len(KINDS), dtype=torch.long)
        return cls(labels, torch.full((batch_size, bars, len(NUMBERS)), math.nan))

    @property
    def num_bars(self) -> int:
        return self.labels.shape[1]

    @property
    def batch_size(self) -> int:
        return self.labels.shape[0]

    def select(self, rows: Int[Tensor, " N"]) -> "Plan":
        """Return the plan of the given rows, in that order."""
        return Plan(self.labels[rows], self.numbers[rows])

    def bars(self, first: int, number: int) -> "Plan":
        """Return ``number`` bars from bar ``first`` on."""
        index = torch.arange(first, first + number, device=self.labels.device).clamp(max=self.num_bars - 1)
        return Plan(self.labels[:, index], self.numbers[:, index])

    def to(self, device: Any) -> "Plan":
        return Plan(self.labels.to(device), self.numbers.to(device))

    def by_phrase(self, bars_per_phrase: int) -> "Plan":
        """Return the plan with each number as its mean over the phrase, over the bars that have it."""
        numbers = self.numbers.clone()
        for start in range(0, self.num_bars, bars_per_phrase):
            phrase = numbers[:, start : start + bars_per_phrase]
            phrase.copy_(phrase.nanmean(1, keepdim=True).expand_as(phrase))
        return Plan(self.labels, numbers)


def join(*plans: Plan) -> Plan:
    """Return one plan after the other; each has one row, or as many as the others."""
    rows = max(plan.batch_size for plan in plans)
    labels = torch.cat([plan.labels.expand(rows, -1, -1) for plan in plans], 1)
    return Plan(labels, torch.cat([plan.numbers.expand(rows, -1, -1) for plan in plans], 1))


def stack(plans: Sequence[Plan]) -> Plan:
    """Return plans of one row each as the rows of one plan; shorter ones are padded with open bars."""
    labels = pad_sequence([plan.labels[0] for plan in plans], batch_first=True)
    return Plan(labels, pad_sequence([plan.numbers[0] for plan in plans], batch_first=True, padding_value=math.nan))


AnyPlan = Plan | arrays.Plan
"""A plan of tensors or of arrays; models take both."""


def as_tensors(plan: AnyPlan) -> Plan:
    """Return the plan in tensors."""
    return Plan(*map(torch.as_tensor, plan))


def make_plan(*args: Any, **options: Any) -> Plan:
    """Return `play.plan.make_plan` of the same arguments, in tensors."""
    return as_tensors(arrays.make_plan(*args, **options))


def plan_of(hits: Float[Tensor, "B T V"], grid: Grid) -> Plan:
    """Return `play.plan.plan_of` of hits on any device; the plan is on the CPU."""
    return as_tensors(arrays.plan_of(hits.detach().cpu().numpy(), grid))


def check_plan(
    batch: int,
    labels: Labels | None,
    sections: Int[Tensor, "B bars"] | None = None,
    plan: AnyPlan | None = None,
) -> Plan | None:
    """Return the plan of a batch, one row for each of its rows; None where neither sections nor a plan are given.

    Args:
        batch: rows.
        labels: the model's vocabulary.
        sections: labels of sections, 0 for unknown; a plan of sections alone.
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
    plan = as_tensors(plan)
    if plan.batch_size not in (1, batch) or plan.num_bars < 1:
        size = f"{plan.batch_size} rows, {plan.num_bars} bars"
        raise HypermeterError(f"model: a plan of {size}, expected 1 or {batch} rows and at least 1 bar")
    sizes = torch.tensor([len(labels[kind]) for kind in KINDS], device=plan.labels.device)
    if not ((plan.labels >= 0) & (plan.labels <= sizes)).all():
        most = ", ".join(f"{size} for {kind}" for size, kind in zip(sizes.tolist(), KINDS, strict=True))
        raise HypermeterError(f"model: a label outside the vocabulary, expected 0 to {most}")
    return Plan(plan.labels.expand(batch, -1, -1), plan.numbers.expand(batch, -1, -1))


def hide(plan: Plan, share: float = 0.5) -> Plan:
    """Return the plan with each kind and number of each row left open with that probability, for training."""
    rows, device = plan.batch_size, plan.labels.device
    open_kinds = torch.rand(rows, 1, len(KINDS), device=device) < share
    open_numbers = torch.rand(rows, 1, len(NUMBERS), device=device) < share
    return Plan(plan.labels.masked_fill(open_kinds, 0), plan.numbers.masked_fill(open_numbers, math.nan))


def rename_sections(plan: Plan, letters: int) -> Plan:
    """Return the plan with the letters of each row's sections drawn at random, equal ones alike, for training.

    A letter says which bars belong together. Of letters in the order of a window's sections, a window of two phrases
    has the first two only, and a third where the last window of a file begins within a phrase: the steering would learn
    that the third section is the end of the music, and nothing of those after it.

    Args:
        plan: its sections are letters, 0 where they are open.
        letters: size of the vocabulary.
    """
    sections = plan.labels[..., KINDS.index("section")]
    names = F.pad(1 + torch.rand(plan.batch_size, letters, device=sections.device).argsort(-1), (1, 0))
    labels = plan.labels.clone()
    labels[..., KINDS.index("section")] = names.gather(1, sections)
    return Plan(labels, plan.numbers)


class PlanEmbedding(nn.Module):
    """Bars of a plan to vectors of PLAN_DIM, which are 0 for a bar without conditions.

    A number is interpolated linearly between KNOTS. The last elements are how new the style and section are, for each
    of FADES; the wanted hits per step, or 0; whether a density is wanted; and whether the bar has any condition.

    Args:
        labels: the vocabulary.
        num_drums: voices, by which a density becomes hits per step.
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
        is_given = ~numbers.isnan()
        tempo, density, offbeat = numbers.unbind(-1)
        wanted_hits = density * self.num_drums
        scaled = torch.stack([((tempo / 120).log2() + 1.5) / 3, wanted_hits / 4, offbeat], -1)
        scaled = torch.where(is_given, scaled.clamp(0, 1), 0)[..., None] * (KNOTS - 1)
        shares = (1 - (scaled - torch.arange(KNOTS, device=scaled.device)).abs()).clamp_min(0)
        inputs = torch.cat([shares, torch.ones_like(shares[..., :1])], -1) * is_given[..., None]
        total = self.numbers(inputs.flatten(-2))
        for embed, codes in zip(self.embed, plan.labels.unbind(-1), strict=True):
            total = total + embed(codes)
        is_any = (is_given.any(-1) | (plan.labels > 0).any(-1)).to(total.dtype)[..., None]
        has_density = is_given[..., NUMBERS.index("density")]
        hits = torch.stack([torch.where(has_density, wanted_hits, 0), has_density.to(total.dtype)], -1)
        newness = (-bars_since_change(plan)[..., None] / total.new_tensor(FADES)).exp()
        return torch.cat([self.norm(total + self.between(total)) * is_any, newness * is_any, hits, is_any], -1)


def bars_since_change(plan: Plan) -> Float[Tensor, "B bars"]:
    """Return the number of bars since the plan's section or style last changed, 0 in the first bar of the plan."""
    labels = plan.labels[..., [KINDS.index("section"), KINDS.index("style")]]
    bar = torch.arange(plan.num_bars, device=labels.device)
    is_new = F.pad((labels[:, 1:] != labels[:, :-1]).any(-1), (1, 0), value=True)
    is_before = bar[:, None] >= bar
    last = torch.where(is_before & is_new[:, None], bar, 0).amax(-1)  # ONNX has no cummax
    return (bar - last).float()


class Change(nn.Module):
    """An output that depends on an input and a condition; exactly 0 where there is no condition."""

    def __init__(self, input_dim: int, output_dim: int, hidden_dim: int, dropout: float):
        super().__init__()
        self.inner = nn.Linear(input_dim + PLAN_DIM, hidden_dim)
        self.activation, self.drop = nn.GELU(), nn.Dropout(dropout)
        self.out = nn.Linear(hidden_dim, output_dim)
        with torch.no_grad():
            self.out.weight.mul_(0.1)

    def forward(self, x: Float[Tensor, "*B input"], condition: Float[Tensor, "*B plan_dim"]) -> Float[Tensor, "*B out"]:
        changed = self.out(self.drop(self.activation(self.inner(torch.cat([x, condition], -1)))))
        return changed * condition[..., -1:]


class Steering(nn.Module):
    """Steering by a plan: changes of the output distribution's scores and of the forecasts.

    The encoders do not take the plan, only the hits that were played under it. So without conditions a model is exactly
    what it is without this part, and a trained model can be taught to take plans. Its inputs are the position in the
    phrase, the hits of the bar so far and, where a density is wanted, how many hits are left to play. The model's
    features are no input: with them it memorised the training data.

    Args:
        position_dim: of the position embedding.
        num_drums: voices.
        width: voices, and columns of tracks.
        scores: inputs of the output distribution.
        num_recalled: recalled patterns, each with a gain.
        level_dims: of the outputs of the bar and phrase levels.
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

    def on(self, grid: Grid) -> "Steering":
        """Return the steering of bars of another grid, with the same weights."""
        return with_shared_weights(self, steps_per_bar=grid.steps_per_bar)

    def forward(
        self,
        positions: Sequence[Float[Tensor, "*B dim"]],
        bar_hits: Float[Tensor, "*B W"],
        position: Int[Tensor, "*#B"],
        condition: Float[Tensor, "*B plan_dim"],
    ) -> tuple[Float[Tensor, "*B scores"], Float[Tensor, "*B recalled"]]:
        """Return what to add to the scores of a step, and the relative gain of each recalled pattern, at least -1.

        Args:
            positions: the position embedding, where the model has one.
            bar_hits: sum of the hits of the bar before this step.
            position: number of the step.
            condition: embedded plan of its bar.
        """
        wanted, has_density = condition[..., -3], condition[..., -2]
        left = (wanted * self.steps_per_bar - bar_hits[..., : self.num_drums].sum(-1)) * has_density
        steps_left = self.steps_per_bar - position % self.steps_per_bar
        inputs = [*positions, 0.1 * bar_hits, (0.1 * left)[..., None], (left / steps_left)[..., None]]
        scores, gain = self.step(torch.cat(inputs, -1), condition).split(self.sizes, -1)
        return scores, gain.clamp_min(-1)

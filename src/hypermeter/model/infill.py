"""Infill: music around cells that are fixed, also where these come later. Sequential Monte Carlo on the model's state.

Each piece is one of many particles that are played side by side. A step's free cells are drawn given its locked ones;
a particle weighs as much as the model finds the locked cells likely after what that particle has played. Where few
particles hold most of the weight, the likely ones are forked (``State.select``) and the others end. A lock on a later
bar so chooses among what leads up to it. At the end one particle is drawn by weight.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.limits import check_seed
from hypermeter.model.generate import GuidedDistribution, Locks, Streaming, begin, width_of
from hypermeter.model.plan import Plan, plan_of

FEWEST_EFFECTIVE = 2
"""An effective sample size below this is warned of: the piece is about the best of the particles, not a fair draw."""

# ---------------------------------------------------------------------- what is locked


def lock_voices(hits: Float[Tensor, "B T W"], columns: Sequence[int]) -> Locks:
    """The given columns as they are, the others free: keep my kick, write the hats."""
    known = torch.zeros_like(hits, dtype=torch.bool)
    known[..., list(columns)] = True
    return Locks(known, hits)


def lock_all_but(hits: Float[Tensor, "B T W"], bars: Sequence[int], grid: Grid) -> Locks:
    """All as it is but the given bars, counted from 0, which are free.

    Raises:
        HypermeterError: a bar that the hits do not have.
    """
    known = torch.ones_like(hits, dtype=torch.bool)
    size, length = grid.steps_per_bar, -(-hits.shape[1] // grid.steps_per_bar)
    for bar in bars:
        if not 0 <= bar < length:
            raise HypermeterError(f"locks: bar {bar}, counted from 0, expected one of the {length} that there are")
        known[:, bar * size : (bar + 1) * size] = False
    return Locks(known, hits)


def lock_ending(length: int, hits: Float[Tensor, "B T W"]) -> Locks:
    """``length`` free steps, then the given hits: continue to this ending."""
    free = hits.new_zeros(len(hits), length, hits.shape[2])
    values = torch.cat([free, hits], 1)
    known = torch.arange(values.shape[1], device=hits.device) >= length
    return Locks(known[None, :, None].expand(values.shape), values)


def combine(*locks: Locks) -> Locks:
    """What any of them locks, as long as the longest.

    Raises:
        HypermeterError: nothing given, or a cell that two of them lock to different values.
    """
    if not locks:
        raise HypermeterError("locks: none to combine, expected at least one")
    rows, steps = (max(each.known.shape[axis] for each in locks) for axis in (0, 1))
    width, device = locks[0].known.shape[2], locks[0].known.device
    known = torch.zeros(rows, steps, width, dtype=torch.bool, device=device)
    values = torch.zeros(rows, steps, width, dtype=locks[0].values.dtype, device=device)
    for each in (one.spread(rows, width, device) for one in locks):
        before, before_values = known[:, : each.num_steps], values[:, : each.num_steps]
        clash = before & each.known & (before_values != each.values)
        if clash.any():
            _, step, column = clash.nonzero()[0].tolist()
            raise HypermeterError(f"locks: two values for step {step}, column {column}, counted from 0; lock it once")
        before_values.copy_(torch.where(each.known, each.values, before_values))
        before |= each.known
    return Locks(known, values)


# ---------------------------------------------------------------------- the filter


@dataclass(frozen=True)
class Infilled:
    """Music around locks, and how well the particles stood for it.

    Args:
        hits: (pieces, T, W), T the steps of the locks.
        effective_sample_size: (pieces, T), 1 / sum of squared weights of the particles when the step had been weighed
            and before any were forked; ``particles`` where there was nothing to weigh.
        log_evidence: (pieces,), estimate of log p(locked cells | what was heard), nats; its exponential is unbiased.
            Cells beyond the horizon are not in it.
        particles: of each piece.
    """

    hits: Float[Tensor, "pieces T W"]
    effective_sample_size: Float[Tensor, "pieces T"]
    log_evidence: Float[Tensor, " pieces"]
    particles: int

    @property
    def smallest(self) -> float:
        """Of the effective sample sizes."""
        return self.effective_sample_size.min().item() if self.effective_sample_size.numel() else float(self.particles)

    @property
    def warning(self) -> str:
        """One line where the particles were too few, otherwise nothing."""
        if self.smallest >= min(FEWEST_EFFECTIVE, self.particles):
            return ""
        step = int(self.effective_sample_size.amin(0).argmin())
        return (
            f"effective sample size {self.smallest:.1f} of {self.particles} particles at step {step}, from 0: the locks"
            " from there on are unlikely after all that was tried; more particles come closer"
        )


@torch.no_grad()
def infill(
    model: Streaming,
    locks: Locks,
    start_seq: Float[Tensor, "#B T0 W"] | None = None,
    temperature: float = 1.0,
    *,
    context: Float[Tensor, "#B T1 W"] | None = None,
    plan: Plan | None = None,
    guidance: float = 0.0,
    top_p: float = 1.0,
    voice_bias: Sequence[float] | Float[Tensor, " V"] | None = None,
    particles: int = 64,
    pieces: int = 1,
    horizon_bars: int | None = None,
    seed: int | None = None,
) -> Infilled:
    """Fill the free cells of ``locks``, given the locked ones of the same, earlier and later steps.

    As it stands the target is the model's own posterior, p(free cells | locked cells, what was heard), which the
    weighted particles approach as their number grows. With temperature, top_p or guidance the target is

        prod_t p(locked_t | x_<t) q(free_t | locked_t, x_<t),

    where q is what ``stream`` draws with these options and p the model at temperature 1, with plan and bias but no
    guidance: the options change how free cells are drawn, not how much the locked cells count. A tempered p would be a
    sum over all combinations at each step, and a temperature of 0 would forbid most locks.

    Where nothing is locked after a step, it is the plain draw from the conditional, with one particle. A step without
    free cells before the first of them costs one particle too.

    Args:
        model: in eval mode; its state has ``select``.
        locks: from the first new step on; they end the piece.
        start_seq: primer; heard, not given back.
        temperature: see ``stream``, also for context, plan, guidance, top_p and voice_bias.
        particles: played side by side for each piece, at least 1. 1 is ``stream``, which does not know of later locks.
        pieces: drawn independently, each by a filter of its own. Locks, primer, context and plan have one row or
            as many.
        horizon_bars: bars after the last free cell that are weighed; None weighs all, which is exact.
        seed: the same seed gives the same music; None draws one.

    Raises:
        HypermeterError: as ``stream``; particles, pieces or horizon_bars out of range.
    """
    check_counts(particles, horizon_bars, pieces)
    for name, heard in (("primer", start_seq), ("context", context)):
        if heard is not None and len(heard) not in (1, pieces):
            raise HypermeterError(f"{name} of {len(heard)} rows for {pieces} pieces; expected 1 or as many rows")
    if start_seq is not None and start_seq.dim() == 3:
        start_seq = start_seq.expand(pieces, -1, -1)
    player, state = begin(
        model,
        start_seq,
        temperature,
        context=context,
        plan=plan,
        guidance=guidance,
        top_p=top_p,
        voice_bias=voice_bias,
        seed=seed,
        batch_size=pieces,
    )
    device = state.hidden.device
    locks = locks.spread(pieces, width_of(model), device)
    first, last, weighed = _span(locks, horizon_bars, model)
    made = torch.zeros(pieces, locks.num_steps, width_of(model), device=device)
    sizes = torch.full((pieces, locks.num_steps), float(particles), device=device)
    log_weights, log_evidence = torch.zeros(pieces, 1, device=device), torch.zeros(pieces, device=device)
    origin = torch.arange(pieces, device=device)  # which piece each row is a particle of
    for step in range(locks.num_steps):
        if step == first and weighed > first and particles > 1:
            origin = origin.repeat_interleave(particles)
            state, made = state.select(origin), made[origin]
            log_evidence = log_evidence + log_weights[:, 0]
            log_weights = log_weights.new_zeros(pieces, particles)
        dist, lock = player.predict(state), locks.at(step)
        if lock is not None:
            lock = lock[0][origin], lock[1][origin]
            if step <= weighed:
                log_weights = log_weights + _log_evidence(dist, *lock).view_as(log_weights)
        if log_weights.shape[1] > 1:
            sizes[:, step] = effective_sample_size(log_weights)
            ends = step == weighed
            few = (sizes[:, step] < particles / 2) & (step <= last) | ends
            if few.any():
                # No weight so far depends on what is drawn at this step: forked before, particles differ after it.
                mean = log_weights.logsumexp(-1) - math.log(particles)
                log_evidence = log_evidence + torch.where(few, mean, 0)
                chosen = _resample(log_weights, 1 if ends else particles, few, player.generator)
                log_weights = torch.where(few[:, None], 0, log_weights)[:, : chosen.shape[1]]
                rows = (chosen + particles * torch.arange(pieces, device=device)[:, None]).flatten()
                state, dist, made, origin = state.select(rows), dist[rows], made[rows], origin[rows]
                lock = None if lock is None else (lock[0][rows], lock[1][rows])
        x = player.draw(dist, lock)
        made[:, step] = x
        if step + 1 < locks.num_steps:
            state = player.model.advance(x, state)
    return Infilled(made, sizes, log_evidence + log_weights[:, 0], particles)


def check_counts(particles: int, horizon_bars: int | None, pieces: int = 1) -> None:
    """Refuses numbers that ``infill`` cannot take."""
    for name, value, least in (("particles", particles, 1), ("pieces", pieces, 1), ("horizon_bars", horizon_bars, 0)):
        if value is not None and value < least:
            raise HypermeterError(f"{name} is {value}, expected at least {least}")


def _span(locks: Locks, horizon_bars: int | None, model: Any) -> tuple[int, int, int]:
    """The first and the last step with a free cell, and the last that is weighed, in any of the rows; or -1."""
    free, locked = (~locks.known).any(-1).any(0).nonzero()[:, 0], locks.known.any(-1).any(0).nonzero()[:, 0]
    first, last = (int(free[0]), int(free[-1])) if len(free) else (-1, -1)
    if horizon_bars is not None and len(locked):
        locked = locked[locked <= last + horizon_bars * model.grid.steps_per_bar]
    return first, last, int(locked[-1]) if len(locked) else -1


def effective_sample_size(log_weights: Float[Tensor, "*B P"]) -> Float[Tensor, "*B"]:
    """1 / sum of squared normalised weights, in [1, P] (Kong, Liu & Wong 1994)."""
    return 1 / log_weights.softmax(-1).square().sum(-1)


def _resample(
    log_weights: Float[Tensor, "pieces P"], number: int, few: Bool[Tensor, " pieces"], generator: torch.Generator
) -> Int[Tensor, "pieces number"]:
    """Systematic resampling: which ``number`` particles of each piece go on; all stay where not ``few``."""
    places = torch.rand(len(few), 1, generator=generator, device=few.device) + torch.arange(number, device=few.device)
    bounds = log_weights.double().softmax(-1).cumsum(-1)
    chosen = torch.searchsorted(bounds, (places / number).double()).clamp_max(log_weights.shape[1] - 1)
    return torch.where(few[:, None], chosen, torch.arange(number, device=few.device))


def _log_evidence(dist: Any, known: Bool[Tensor, "B W"], values: Float[Tensor, "B W"]) -> Float[Tensor, " B"]:
    """log p(locked cells of the step), of the plan's side where there is guidance.

    By Bayes p(locked) = p(x) / p(x | locked), for any x that has the locked cells; here the likely one of each voice.
    """
    dist = dist.asked if isinstance(dist, GuidedDistribution) else dist
    given = dist.condition(known, values)
    x = torch.where(known, values, (given.probs > 0.5).to(values.dtype))
    return dist.log_prob(x) - given.log_prob(x)


# ---------------------------------------------------------------------- variation


def vary(
    model: Any,
    hits: Float[Tensor, "B T W"],
    strength: float,
    *,
    keep: Sequence[int] = (),
    plan: Plan | None = None,
    seed: int | None = None,
    **options: Any,
) -> Infilled:
    """The groove played a little or quite differently, each row by itself.

    A share ``strength`` of its chunks, of one beat and one voice (or track) each, is drawn anew given all others. With
    the same seed the chunks of a smaller strength are among those of a larger.

    Args:
        model: in eval mode, with a grid.
        hits: the groove, from a bar line on.
        strength: 0 gives the groove itself, 1 a new one.
        keep: columns that stay as they are.
        plan: what is asked of each bar; left out, of a model with labels, what is measured in the groove
            (``plan_of``).
        seed: the same seed gives the same music; None draws one.
        options: of ``infill``, but pieces.

    Raises:
        HypermeterError: as ``infill``; a strength outside [0, 1].
    """
    if not 0 <= strength <= 1:
        raise HypermeterError(f"strength is {strength}, expected from 0 to 1")
    check_seed(seed)
    if plan is None and getattr(model, "labels", None) is not None:
        heard = [options[name] for name in ("context", "start_seq") if options.get(name) is not None]
        music = torch.cat([*(each.expand(len(hits), -1, -1) for each in heard), hits], 1)
        plan = plan_of(music[..., : model.num_drums], model.grid)
    size = model.grid.steps_per_beat
    beats = -(-hits.shape[1] // size)
    part = torch.arange(hits.shape[2])
    for start, stop in getattr(model, "groups", ()):  # a track is varied as one
        part[start:stop] = start
    part = part.unique(return_inverse=True)[1]
    parts = int(part.max()) + 1
    generator = torch.Generator()
    generator.seed() if seed is None else generator.manual_seed(seed)
    order = torch.rand(len(hits), beats * parts, generator=generator).argsort(-1).argsort(-1)
    freed = (order < round(strength * order.shape[1])).view(len(hits), beats, parts)[..., part]
    known = ~freed.repeat_interleave(size, 1)[:, : hits.shape[1]].to(hits.device)
    known[..., list(keep)] = True
    return infill(model, Locks(known, hits), plan=plan, pieces=len(hits), seed=seed, **options)

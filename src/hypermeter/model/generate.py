"""Generation: a model plays on from a primer, one step at a time, for as long as one likes.

What is asked of it (a plan, and how strongly), what it has heard before, and cells that are fixed all enter here, one
step at a time. Fixed cells of steps to come are the matter of ``infill``.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.core.limits import MOST_BIAS, MOST_ENUMERATED_VOICES, MOST_GUIDANCE, check_seed
from hypermeter.model.heads import Mixture, SoftmaxWithEscape, StepDistribution
from hypermeter.model.plan import Plan


@runtime_checkable
class Streaming(Protocol):
    """What generation asks of a model. One that takes plans has ``init_state(batch_size, plan)``."""

    num_drums: int

    def init_state(self, batch_size: int) -> Any: ...
    def predict(self, state: Any) -> Any: ...
    def advance(self, x: Tensor, state: Any) -> Any: ...


def width_of(model: Streaming) -> int:
    """Columns of a step: the drum voices, and those of pitched tracks where the model has any."""
    return getattr(model, "width", model.num_drums)


@dataclass(frozen=True)
class Locks:
    """Cells that are fixed, hit or silence, from the first new step on. After the last step nothing is locked.

    Args:
        known: which cells are.
        values: 0 or 1; read where known. One row stands for all pieces.

    Raises:
        HypermeterError: shapes that differ, a locked cell that is neither 0 nor 1.
    """

    known: Bool[Tensor, "B T W"]
    values: Float[Tensor, "B T W"]

    def __post_init__(self) -> None:
        if self.known.dim() != 3 or self.known.shape != self.values.shape:
            found = f"known {tuple(self.known.shape)}, values {tuple(self.values.shape)}"
            raise HypermeterError(f"locks: {found}, expected both (pieces, steps, columns)")
        fixed = self.values[self.known]
        if not ((fixed == 0) | (fixed == 1)).all():
            raise HypermeterError("locks: a locked cell that is neither 0 nor 1; lock hits or silence")

    @property
    def num_steps(self) -> int:
        return self.known.shape[1]

    def spread(self, rows: int, width: int, device: Any = None) -> "Locks":
        """For so many rows of a model of that width.

        Raises:
            HypermeterError: another number of rows or columns.
        """
        if self.known.shape[0] not in (1, rows) or self.known.shape[2] != width:
            found = f"{self.known.shape[0]} rows of {self.known.shape[2]} columns"
            raise HypermeterError(f"locks: {found}, expected 1 or {rows} rows of {width} columns, as the model plays")
        return Locks(*(each.expand(rows, -1, -1).to(device) for each in (self.known, self.values)))

    def at(self, step: int) -> tuple[Bool[Tensor, "B W"], Float[Tensor, "B W"]] | None:
        """Which cells of a step are locked, and to what; None where none is."""
        if step >= self.num_steps or not self.known[:, step].any():
            return None
        return self.known[:, step], self.values[:, step]


# ---------------------------------------------------------------------- guidance


@dataclass(frozen=True)
class GuidedDistribution:
    """p(x | plan)^(1 + g) / p(x | no plan)^g, normalised: further towards the plan than the model goes by itself.

    Exact up to MOST_ENUMERATED_VOICES voices; with more, over combinations that p(x | plan) draws.

    Args:
        asked: given the plan.
        free: given none.
        guidance: g, at least 0.

    Source: Ho & Salimans 2022, there for scores of a diffusion model; here for each step's combinations of voices.
    """

    asked: StepDistribution
    free: StepDistribution
    guidance: float

    def __getitem__(self, index) -> "GuidedDistribution":
        return GuidedDistribution(self.asked[index], self.free[index], self.guidance)

    def tilt(self, bias: Float[Tensor, " V"]) -> "GuidedDistribution":
        """Both sides tilted, which tilts the result by as much: (1 + g) b - g b = b."""
        return GuidedDistribution(self.asked.tilt(bias), self.free.tilt(bias), self.guidance)

    def condition(self, known: Bool[Tensor, "*B V"], values: Float[Tensor, "*B V"]) -> "GuidedDistribution":
        """Both sides given the known cells: what that takes from either is the same for all combinations left."""
        return GuidedDistribution(
            self.asked.condition(known, values), self.free.condition(known, values), self.guidance
        )

    def candidates(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Combinations (B, C, V) and their log probabilities (B, C)."""
        combos, asked = self.asked.candidates(generator)
        free = self.free
        if isinstance(free, Mixture) and (free.groups or combos.shape[-1] > MOST_ENUMERATED_VOICES):
            of_free = free[:, None].log_prob(combos)
        else:
            of_free = free.candidates(generator)[1]  # of the same combinations
        scores = (1 + self.guidance) * asked - self.guidance * of_free
        return combos, scores.masked_fill(asked == -math.inf, -math.inf).log_softmax(-1)

    def sample(
        self, temperature: float = 1.0, top_p: float = 1.0, generator: torch.Generator | None = None
    ) -> Float[Tensor, "B V"]:
        """As from a softmax over the places of the candidates: these differ by row where they are too many to list."""
        combos, log_probs = self.candidates(generator)
        places = torch.arange(combos.shape[1], device=combos.device).to(combos.dtype)[:, None]
        listed = SoftmaxWithEscape(
            F.pad(log_probs, (0, 1), value=-math.inf), torch.zeros_like(combos[:, 0, :1]), places
        )
        place = listed.sample(temperature, top_p, generator).long()
        return combos.gather(1, place[..., None].expand(-1, 1, combos.shape[-1]))[:, 0]


@dataclass(frozen=True)
class GuidedState:
    """Of B pieces, with the plan and without it: the rows of one batch, so that a step costs one call.

    Args:
        both: B rows that have the plan, then B that have none.
    """

    both: Any

    @property
    def hidden(self) -> Float[Tensor, "B hidden"]:
        return self.both.hidden[: len(self.both.hidden) // 2]

    def select(self, rows: Int[Tensor, " N"]) -> "GuidedState":
        return GuidedState(self.both.select(torch.cat([rows, rows + len(self.hidden)])))


class Guided:
    """A model that follows its plan more closely: ``Streaming`` over ``GuidedState``.

    Args:
        model: one that takes plans.
        guidance: 0 is the model itself.

    Raises:
        HypermeterError: guidance outside [0, MOST_GUIDANCE].
    """

    def __init__(self, model: Any, guidance: float):
        if not 0 <= guidance <= MOST_GUIDANCE:
            raise HypermeterError(f"guidance is {guidance}, expected from 0 to {MOST_GUIDANCE}")
        self.model, self.guidance = model, guidance
        self.num_drums, self.width = model.num_drums, width_of(model)

    def init_state(self, batch_size: int, plan: Plan | None = None) -> GuidedState:
        if plan is None:
            raise HypermeterError("guidance without a plan, expected one to be guided by; give plan, or no guidance")
        if plan.batch_size not in (1, batch_size):
            raise HypermeterError(f"a plan of {plan.batch_size} rows, expected 1 or {batch_size}")
        free = Plan.free(batch_size, plan.num_bars).to(plan.labels.device)
        labels = torch.cat([plan.labels.expand(batch_size, -1, -1), free.labels])
        numbers = torch.cat([plan.numbers.expand(batch_size, -1, -1), free.numbers])
        return GuidedState(self.model.init_state(2 * batch_size, Plan(labels, numbers)))

    def predict(self, state: GuidedState) -> GuidedDistribution:
        dist, rows = self.model.predict(state.both), len(state.hidden)
        return GuidedDistribution(dist[:rows], dist[rows:], self.guidance)

    def advance(self, x: Float[Tensor, "B V"], state: GuidedState) -> GuidedState:
        return GuidedState(self.model.advance(torch.cat([x, x]), state.both))


# ---------------------------------------------------------------------- what is heard, and how steps are drawn


def check_hits(hits: Any, width: int, what: str) -> None:
    """That these are hits as a model hears them.

    Raises:
        HypermeterError: no tensor, not (batch, steps, width), or values other than 0 and 1.
    """
    if not isinstance(hits, Tensor):
        raise HypermeterError(f"{what}: {type(hits).__name__}, expected a tensor; torch.from_numpy(hits).float()[None]")
    if hits.dim() != 3 or hits.shape[2] != width:
        raise HypermeterError(f"{what} of shape {tuple(hits.shape)}, expected (batch, steps, {width} voices)")
    if not ((hits == 0) | (hits == 1)).all():
        raise HypermeterError(f"{what}: values other than 0 and 1, expected hits and silences")


@torch.no_grad()
def listen(model: Streaming, start_seq: Float[Tensor, "B T V"], state: Any = None) -> Any:
    """The state after ``start_seq``, of any length; it goes on from ``state`` where one is given.

    Raises:
        HypermeterError: start_seq is not (batch, steps, voices of the model), or not of 0 and 1.
    """
    check_hits(start_seq, width_of(model), "primer")
    return _hear(model, start_seq, model.init_state(len(start_seq)) if state is None else state)


def _hear(model: Streaming, hits: Tensor, state: Any) -> Any:
    for x in hits.unbind(1):
        state = model.advance(x, state)
    return state


@dataclass(frozen=True)
class Player:
    """A model, and the rules by which its steps are drawn.

    Args:
        model: a ``Guided`` one where there is guidance.
        temperature, top_p, bias: see ``stream``.
        generator: of everything drawn.
    """

    model: Any
    temperature: float
    top_p: float
    bias: Tensor | None
    generator: torch.Generator

    def predict(self, state: Any) -> Any:
        """The distribution of the next step, with the bias and the guidance in it."""
        dist = self.model.predict(state)
        return dist if self.bias is None else dist.tilt(self.bias)

    def draw(self, dist: Any, lock: tuple[Tensor, Tensor] | None = None) -> Float[Tensor, "B W"]:
        """A step, given its locked cells.

        Bias, guidance and temperature weigh each combination by itself, so that it is one whether they come before or
        after the locks. ``top_p`` comes after: of the combinations that have the locked cells the likeliest stay.
        """
        if lock is None:
            return dist.sample(self.temperature, self.top_p, self.generator)
        known, values = lock
        x = dist.condition(known, values).sample(self.temperature, self.top_p, self.generator)
        return torch.where(known, values.to(x.dtype), x)  # a draw can miss a certain cell, by rounding


@torch.no_grad()
def begin(
    model: Streaming,
    start_seq: Float[Tensor, "#B T0 V"] | None = None,
    temperature: float = 1.0,
    *,
    context: Float[Tensor, "#B T1 V"] | None = None,
    plan: Plan | None = None,
    guidance: float = 0.0,
    top_p: float = 1.0,
    voice_bias: Sequence[float] | Float[Tensor, " V"] | None = None,
    seed: int | None = None,
    batch_size: int = 1,
    state: Any = None,
) -> tuple[Player, Any]:
    """A player, and the state after all that it has heard. Arguments and errors are those of ``stream``."""
    check_seed(seed)
    if not (0 <= temperature < math.inf and 0 < top_p <= 1):
        raise HypermeterError(f"temperature {temperature}, top_p {top_p}: expected at least 0, and above 0 up to 1")
    if state is not None and plan is not None:
        raise HypermeterError("a plan beside a state, expected one: a state keeps the plan that it began with")
    if isinstance(state, GuidedState) and not (guidance or isinstance(model, Guided)):
        raise HypermeterError("a state with guidance, and none given; give the guidance that the state was made with")
    if guidance:
        model = Guided(model, guidance)
        if state is not None and not isinstance(state, GuidedState):
            raise HypermeterError("guidance beside a state without it; make it by listen(Guided(model, guidance), ...)")
    rows = rows_of(start_seq, context, batch_size, state)
    if state is None:
        state = model.init_state(rows) if plan is None else model.init_state(rows, plan)  # pyright: ignore[reportCallIssue]
    for name, heard in (("context", context), ("primer", start_seq)):
        if heard is not None:
            check_hits(heard, width_of(model), name)
            if len(heard) not in (1, rows):
                raise HypermeterError(f"{name} of {len(heard)} rows beside {rows} pieces: expected 1 or as many")
            state = _hear(model, heard.expand(rows, -1, -1), state)
    generator = torch.Generator(device=state.hidden.device)
    generator.seed() if seed is None else generator.manual_seed(seed)
    bias = None
    if voice_bias is not None:
        bias = torch.as_tensor(voice_bias, dtype=state.hidden.dtype, device=state.hidden.device)
        if bias.shape != (model.num_drums,):
            raise HypermeterError(
                f"voice_bias of shape {tuple(bias.shape)}, expected ({model.num_drums},), one a voice"
            )
        if not (bias.abs() <= MOST_BIAS).all():
            raise HypermeterError(f"voice_bias is {bias.tolist()}, expected each from -{MOST_BIAS} to {MOST_BIAS}")
        bias = F.pad(bias, (0, width_of(model) - model.num_drums))
    return Player(model, temperature, top_p, bias, generator), state


def rows_of(start_seq: Tensor | None, context: Tensor | None, batch_size: int, state: Any = None) -> int:
    """Pieces side by side: those of the state, or as many as there are primers, or contexts; of one context,
    ``batch_size``."""
    if state is not None:
        return len(state.hidden)
    if start_seq is not None:
        return len(start_seq)
    return len(context) if context is not None and len(context) > 1 else batch_size


# ---------------------------------------------------------------------- playing


def stream(
    model: Streaming,
    start_seq: Float[Tensor, "#B T0 V"] | None = None,
    temperature: float = 1.0,
    *,
    context: Float[Tensor, "#B T1 V"] | None = None,
    plan: Plan | None = None,
    guidance: float = 0.0,
    locks: Locks | None = None,
    top_p: float = 1.0,
    voice_bias: Sequence[float] | Float[Tensor, " V"] | None = None,
    seed: int | None = None,
    batch_size: int = 1,
    state: Any = None,
) -> Iterator[Float[Tensor, "B V"]]:
    """Steps without end, each drawn from the model given all before it. The cost of a step does not grow.

    Args:
        model: in eval mode.
        start_seq: primer, of any length; it is heard, not given back.
        temperature: of the combinations of voices: 1 as learnt, lower is safer, 0 takes the likeliest.
        context: music heard before the primer, of any length, such as the whole song so far; one row for all pieces or
            as many as there are pieces. It is the same as a longer primer, but ``generate`` does not give it back.
        plan: what is asked of each bar, counted from the first bar of all that is heard; for a model with labels.
        guidance: how much further the plan is followed than the model does by itself, in [0, MOST_GUIDANCE], see
            ``GuidedDistribution``; 0 is the model itself. Needs a plan, and takes twice the work.
        locks: cells that are fixed, from the first new step on. The other voices of their step are drawn given them,
            exactly; steps before them do not know of them, for which there is ``infill``. They come out as they are,
            whatever the model and the other options think of them.
        top_p: only the likeliest combinations that together hold this probability, in (0, 1].
        voice_bias: added to each voice's log odds, V values in [-MOST_BIAS, MOST_BIAS]; more than 0 is busier.
        seed: the same seed gives the same music; None draws one.
        batch_size: pieces side by side, where there is neither primer nor state.
        state: go on from this one (``listen`` gives it). It keeps its plan; with guidance it is one that
            ``listen(Guided(model, guidance), ...)`` gave.

    Raises:
        HypermeterError: a primer, context, plan, lock, bias, guidance, temperature, top_p or seed that does not fit.
    """
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
        batch_size=batch_size,
        state=state,
    )
    if locks is not None:
        locks = locks.spread(len(state.hidden), width_of(model), state.hidden.device)
    return _play(player, state, locks)


def _play(player: Player, state: Any, locks: Locks | None) -> Iterator[Tensor]:
    for step in count():
        with torch.no_grad():
            x = player.draw(player.predict(state), None if locks is None else locks.at(step))
        yield x
        with torch.no_grad():
            state = player.model.advance(x, state)


def generate(
    model: Streaming,
    start_seq: Float[Tensor, "#B T0 V"] | None = None,
    length: int = 512,
    temperature: float = 1.0,
    *,
    include_primer: bool = True,
    **options: Any,
) -> Float[Tensor, "B T V"]:
    """``length`` steps of music after the primer.

    Args:
        model: in eval mode.
        start_seq: primer; None starts from nothing.
        length: new steps, at least 0.
        temperature: see ``stream``.
        include_primer: give the primer back before the new steps: T0 + length in all. A context is never given back.
        options: of ``stream``.

    Raises:
        HypermeterError: as ``stream``; a negative length.
    """
    if length < 0:
        raise HypermeterError(f"length is {length}, expected 0 steps or more")
    steps = stream(model, start_seq, temperature, **options)
    parts = [step for _, step in zip(range(length), steps, strict=False)]
    if parts:
        made = torch.stack(parts, 1)
    else:
        rows = rows_of(start_seq, options.get("context"), options.get("batch_size", 1), options.get("state"))
        made = torch.zeros(rows, 0, width_of(model))
    if not include_primer or start_seq is None:
        return made
    return torch.cat([start_seq.to(made).expand(len(made), -1, -1), made], 1)

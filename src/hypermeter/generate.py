"""Generation: a model plays on from a primer, one step at a time, for as long as one likes."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from hypermeter.grid import HypermeterError
from hypermeter.heads import StepDistribution

MOST_BIAS = 100
"""Of a voice, in log odds: what is likelier than this is certain."""


@runtime_checkable
class Streaming(Protocol):
    """What generation asks of a model."""

    num_drums: int

    def init_state(self, batch_size: int) -> Any: ...
    def predict(self, state: Any) -> StepDistribution: ...
    def advance(self, x: Tensor, state: Any) -> Any: ...


@torch.no_grad()
def listen(model: Streaming, start_seq: Float[Tensor, "B T V"], state: Any = None) -> Any:
    """The state after ``start_seq``, of any length; it goes on from ``state`` where one is given.

    Raises:
        HypermeterError: start_seq is not (batch, steps, voices of the model).
    """
    if start_seq.dim() != 3 or start_seq.shape[2] != model.num_drums:
        found = tuple(start_seq.shape)
        raise HypermeterError(f"primer of shape {found}, expected (batch, steps, {model.num_drums} voices)")
    state = model.init_state(len(start_seq)) if state is None else state
    for x in start_seq.unbind(1):
        state = model.advance(x, state)
    return state


def stream(
    model: Streaming,
    start_seq: Float[Tensor, "B T V"] | None = None,
    temperature: float = 1.0,
    *,
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
        top_p: only the likeliest combinations that together hold this probability, in (0, 1].
        voice_bias: added to each voice's log odds, V values in [-MOST_BIAS, MOST_BIAS]; more than 0 is busier.
        seed: the same seed gives the same music; None draws one.
        batch_size: pieces side by side, where there is neither primer nor state.
        state: go on from this one (``listen`` gives it).

    Raises:
        HypermeterError: a primer, bias, temperature, top_p or seed that does not fit.
    """
    if seed is not None and not 0 <= seed < 2**63:
        raise HypermeterError(f"seed is {seed}, expected 0 to 2**63 - 1")
    if not (0 <= temperature < math.inf and 0 < top_p <= 1):
        raise HypermeterError(f"temperature {temperature}, top_p {top_p}: expected at least 0, and above 0 up to 1")
    if start_seq is not None:
        state = listen(model, start_seq, state)
    elif state is None:
        state = model.init_state(batch_size)
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
    return _play(model, state, temperature, top_p, bias, generator)


def _play(
    model: Streaming, state: Any, temperature: float, top_p: float, bias: Tensor | None, generator: torch.Generator
) -> Iterator[Tensor]:
    while True:
        with torch.no_grad():
            dist = model.predict(state)
            x = (dist if bias is None else dist.tilt(bias)).sample(temperature, top_p, generator)
        yield x
        with torch.no_grad():
            state = model.advance(x, state)


def generate(
    model: Streaming,
    start_seq: Float[Tensor, "B T0 V"] | None = None,
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
        include_primer: give the primer back before the new steps: T0 + length in all.
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
        batch = options.get("batch_size", 1) if start_seq is None else len(start_seq)
        made = torch.zeros(batch, 0, model.num_drums)
    return torch.cat([start_seq.to(made), made], 1) if include_primer and start_seq is not None else made

"""Performances reduced to taps, at random, in the ways in which people tap a rhythm."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit
from hypermeter.model.follow import RhythmTensors
from hypermeter.model.logistics import tempo_inputs
from hypermeter.play.follow import loud_voices

WAYS = {
    "all": 0.4,
    "loud": 0.1,
    "hand": 0.14,
    "kick": 0.04,
    "accents": 0.1,
    "beats": 0.06,
    "noisy": 0.16,
}
"""Way of tapping -> its share of the windows: every onset; kick and snare, or all loud voices; a random set of voices;
kick alone; the louder steps; the loudest steps of each beat; all, of which some are missing, moved or added."""


BASS = 0.5
"""Share of the windows with a bass whose taps are its notes, without velocity and timing."""
UNTOLD = {"velocity": 0.12, "offset": 0.2}
"""Share of the windows whose taps do not tell it."""
ASKED = 0.9
"""Share of the windows in which it is told what the taps are of."""


def loud_columns(kit: Kit | None) -> list[int]:
    """Return the columns of loud voices; of a model without a kit those of all that it may have."""
    return [0, 1] if kit is None else loud_voices(kit)


def tap(batch: Mapping[str, Any], num_drums: int, loud: Sequence[int], grid: Grid) -> RhythmTensors:
    """Return taps to which the drums of a batch are reduced, in a way that is drawn for each window; on the CPU.

    Args:
        batch: ``step``, ``velocity``, ``offset``, ``mask`` and ``tempo_bpm``, as of ``collate``; ``bass`` where known.
        num_drums: voices.
        loud: columns of the loud voices.
        grid: of the batch.
    """
    batch = {name: value.cpu() for name, value in batch.items() if isinstance(value, Tensor)}
    hits, mask = batch["step"][..., :num_drums] > 0, batch["mask"]
    rows, names = len(mask), list(WAYS)
    way = torch.multinomial(torch.tensor(list(WAYS.values())), rows, replacement=True)
    is_way = {name: (way == number)[:, None] for number, name in enumerate(names)}
    voices = _voices(way, num_drums, loud)
    counted = hits & voices[:, None]
    loudest, voice = torch.where(counted, batch["velocity"].nan_to_num(0.5), -1.0).max(-1)
    is_tap = counted.any(-1)
    is_tap &= ~is_way["accents"] | _accents(loudest, is_tap)
    is_tap &= ~is_way["beats"] | _of_beats(loudest, grid.steps_per_beat)
    told = {name: torch.take_along_dim(batch[name], voice[..., None], -1)[..., 0] for name in UNTOLD}
    is_tap, told = _noisy(is_tap, told, is_way["noisy"])
    is_bass = _is_bass(batch)
    is_tap = torch.where(is_bass, batch.get("bass", is_tap), is_tap) & mask
    told["velocity"] = _struck(told["velocity"])
    is_known = [
        is_tap & ~told[name].isnan() & ~is_bass & (torch.rand(rows, 1) >= share) for name, share in UNTOLD.items()
    ]
    values = [torch.where(known, value, 0) for known, value in zip(is_known, told.values(), strict=True)]
    is_free = (is_way["accents"] | is_way["beats"] | is_way["noisy"] | is_bass)[:, 0]
    voices[is_bass[:, 0]] = torch.isin(torch.arange(num_drums), torch.tensor(loud))
    is_told = torch.rand(rows) < ASKED
    asked = torch.cat([voices, (~is_free)[:, None], torch.ones(rows, 1)], -1) * is_told[:, None]
    steps = torch.stack([is_tap, *values, *is_known], -1)
    return RhythmTensors(steps, torch.cat([asked, tempo_inputs(batch["tempo_bpm"], rows, asked)], -1), mask.sum(-1))


def _voices(way: Int[Tensor, " B"], num_drums: int, loud: Sequence[int]) -> Bool[Tensor, "B V"]:
    """Return the voices that are tapped in each window."""
    columns, voices = torch.arange(num_drums), torch.ones(len(way), num_drums, dtype=torch.bool)
    for row, name in enumerate(list(WAYS)[number] for number in way.tolist()):
        if name == "loud":
            voices[row] = torch.isin(columns, torch.tensor(loud if torch.rand(()) < 0.5 else [0, 1]))
        elif name == "kick":
            voices[row] = columns == 0
        elif name == "hand":
            voices[row] = torch.rand(num_drums) < 0.2 + 0.6 * torch.rand(())
    return voices


def _is_bass(batch: Mapping[str, Tensor]) -> Bool[Tensor, "B 1"]:
    """Return in which windows the bass is tapped."""
    rows = len(batch["mask"])
    has_bass = torch.zeros(rows, dtype=torch.bool) if "bass" not in batch else batch["bass"].any(-1)
    return (has_bass & (torch.rand(rows) < BASS))[:, None]


def _accents(loudest: Float[Tensor, "B T"], is_tap: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """Return the steps of each row that are at least as loud as a random quantile of its hits."""
    quantile = torch.where(is_tap, loudest, math.nan)
    least = torch.stack([row.nanquantile(0.2 + 0.6 * torch.rand(())) for row in quantile])[:, None]
    return loudest >= least.nan_to_num(0)


def _of_beats(loudest: Float[Tensor, "B T"], size: int) -> Bool[Tensor, "B T"]:
    """Return of each beat the loudest step, and those at most a tenth softer."""
    length = loudest.shape[1]
    padded = F.pad(loudest, (0, -length % size), value=-1.0).unflatten(1, (-1, size))
    return (padded >= padded.amax(-1, keepdim=True) - 0.1).flatten(1)[:, :length]


def _noisy(
    is_tap: Bool[Tensor, "B T"], told: dict[str, Tensor], is_row: Bool[Tensor, "B 1"]
) -> tuple[Bool[Tensor, "B T"], dict[str, Tensor]]:
    """Return the taps with some of them missing, moved by a step or added, in some rows."""
    rows, length = is_tap.shape
    miss, move, add = (most * torch.rand(rows, 1) * is_row for most in (0.3, 0.2, 0.1))
    order = torch.arange(length).expand(rows, -1)
    beside = (order + 2 * torch.randint(2, order.shape) - 1).clamp(0, length - 1)
    source = torch.where(torch.rand(rows, length) < move, beside, order)
    source = torch.where(torch.rand(rows, length) < add, torch.randint(length, order.shape), source)
    is_left = is_tap.take_along_dim(source, 1) & (torch.rand(rows, length) >= miss)
    return is_left, {name: value.take_along_dim(source, 1) for name, value in told.items()}


def _struck(velocity: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Return velocities as another instrument would have them, in two of five rows."""
    rows = len(velocity)
    is_other = torch.rand(rows, 1) < 0.4
    gain, power = (2 ** (torch.rand(rows, 1) - 0.5) for _ in range(2))
    return torch.where(is_other, (gain * velocity**power).clamp(max=1), velocity)

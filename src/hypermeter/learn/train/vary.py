"""Training windows with drums that a drummer might have chosen in place of those that were played."""

from collections.abc import Sequence
from typing import Any

import torch

from hypermeter.core.kit import Kit

SHARE = 0.2
"""Of the windows in which the voices of a family are exchanged, for each family; and in which a voice is silent."""


def families_of(kit: Kit | None) -> list[list[int]]:
    """Return the columns of voices that may take each other's part: the closed hi-hat and the ride; the toms.

    Only families of two voices or more; none without a kit.
    """
    names = () if kit is None else kit.names
    cymbals = [names.index(name) for name in ("closed_hat", "ride") if name in names]
    toms = [column for column, name in enumerate(names) if name.endswith("tom")]
    return [family for family in (cymbals, toms) if len(family) > 1]


def vary(batch: dict[str, Any], num_drums: int, families: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return the batch with some voices exchanged or silent, by torch's random numbers.

    In ``SHARE`` of the windows each, the parts of a family move on to its other voices, and one of the voices that
    sound is silent, unless it is the only one or the batch has plans, which tell how much is played.

    Args:
        batch: as of ``collate``; it is not changed.
        num_drums: voices, before the columns of tracks.
        families: columns of voices that may take each other's part, see ``families_of``.
    """
    rows, width = batch["step"].shape[0], batch["step"].shape[-1]
    source, kept = torch.arange(width).repeat(rows, 1), torch.ones(rows, width)
    is_varied = (torch.rand(rows, len(families) + 1) < SHARE).tolist()
    for row, (*are_exchanged, is_silenced) in enumerate(is_varied):
        for family, is_exchanged in zip(families, are_exchanged, strict=True):
            if is_exchanged:
                source[row, family] = torch.tensor(family).roll(int(torch.randint(1, len(family), ())))
        sounding = batch["step"][row, :, :num_drums].any(0).nonzero()[:, 0]
        if is_silenced and len(sounding) > 1 and "plan" not in batch:
            kept[row, sounding[torch.randint(len(sounding), ())]] = 0
    kept = kept.gather(1, source)
    varied = {}
    for level in ("step", "bar", "phrase"):
        played = batch[level]
        columns, factors = (part.to(played.device)[:, None].expand_as(played) for part in (source, kept))
        varied[level] = played.gather(-1, columns) * factors
    return batch | varied

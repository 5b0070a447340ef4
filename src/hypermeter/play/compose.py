"""Grooves in, grooves out: a model plays on from a groove, around what is kept of it, towards what is asked for."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import check_metre
from hypermeter.core.groove import DEFAULT_VELOCITY, Groove
from hypermeter.core.tracks import REST, with_columns
from hypermeter.model.generate import Locks
from hypermeter.model.hierarchical import HierarchicalDrumModel, kit_of
from hypermeter.model.infill import Infilled, infill, vary
from hypermeter.model.plan import Plan
from hypermeter.play.asked import BARS
from hypermeter.play.humanize import humanize


def continue_groove(
    model: HierarchicalDrumModel,
    primer: Groove | None = None,
    bars: int = BARS,
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    voice_bias: list[float] | None = None,
    seed: int | None = None,
    tempo_bpm: float = 120.0,
    include_primer: bool = True,
    context: Groove | None = None,
    plan: Plan | None = None,
    guidance: float = 0.0,
    expression: bool = True,
) -> Groove:
    """A groove that goes on from the primer by ``bars`` bars.

    Args:
        model: its kit becomes the groove's; one without takes the primer's.
        primer: on the model's grid and kit; velocity and offset of its hits are kept. None starts from nothing.
        bars: new bars, at least 1.
        temperature: see ``generate.stream``, also for top_p, voice_bias and seed.
        top_p: likewise.
        voice_bias: likewise.
        seed: likewise.
        tempo_bpm: where there is no primer.
        include_primer: whether the result begins with the primer.
        context: heard before the primer, such as the song so far; not in the result.
        plan: what is asked of each bar, from the first of context and primer on.
        guidance: how closely the plan is followed, see ``generate.stream``.
        expression: whether a model that has learnt velocity and offset plays the new hits with them; otherwise these
            are DEFAULT_VELOCITY, on the grid.

    Raises:
        HypermeterError: a primer of another grid or number of voices; bars < 1; neither a kit nor a primer.
    """
    if bars < 1:
        raise HypermeterError(f"bars is {bars}, expected at least 1")
    kit = primer.kit if model.kit is None and primer is not None else kit_of(model, "model")
    options = {"top_p": top_p, "voice_bias": voice_bias, "seed": seed, "plan": plan, "guidance": guidance}
    made = model.generate(
        _heard(model, primer, "primer"),
        bars * model.grid.steps_per_bar,
        temperature,
        context=_heard(model, context, "context"),
        include_primer=False,
        **options,
    )
    tempo_bpm = primer.tempo_bpm if primer is not None else tempo_bpm
    groove = _groove_of(model, made, None, tempo_bpm, kit, (context, primer))
    if expression:
        groove = _play_expressively(model, groove, groove.hits > 0, seed, (context, primer))
    return after(primer, groove) if primer is not None and include_primer else groove


def fill_groove(
    model: HierarchicalDrumModel,
    pattern: Groove,
    locks: Locks,
    primer: Groove | None = None,
    *,
    context: Groove | None = None,
    plan: Plan | None = None,
    seed: int | None = None,
    expression: bool = True,
    **options: Any,
) -> tuple[Groove, Infilled]:
    """A groove around the locked cells of ``pattern``, which keep their velocity and offset.

    Args:
        model: its kit becomes the groove's.
        pattern: on the model's grid and kit, as long as the locks; it gives the tempo and the sections.
        locks: of one row and of the values that the pattern has, see ``columns_of_groove``.
        primer: heard before; not in the result.
        context: heard before that.
        plan: see ``continue_groove``.
        seed: see ``infill``.
        expression: likewise.
        options: of ``infill``, but pieces: a groove is one.

    Returns:
        The groove; and the infill, which tells the effective sample size.

    Raises:
        HypermeterError: as ``infill``; a pattern, primer or context of another grid or number of voices, locks of
            another length than the pattern, several pieces.
    """
    if (pieces := options.pop("pieces", 1)) != 1:
        raise HypermeterError(f"pieces is {pieces}, expected 1, as a groove is; call infill for more")
    _check(model, pattern, "pattern")
    if locks.num_steps != len(pattern):
        raise HypermeterError(f"locks: {locks.num_steps} steps for a pattern of {len(pattern)}; expected as many")
    heard, before = _heard(model, primer, "primer"), _heard(model, context, "context")
    done = infill(model, locks, heard, context=before, plan=plan, seed=seed, **options)
    return _in_place(model, done, pattern, expression, seed, (context, primer)), done


def vary_groove(
    model: HierarchicalDrumModel,
    groove: Groove,
    strength: float,
    *,
    context: Groove | None = None,
    plan: Plan | None = None,
    seed: int | None = None,
    expression: bool = True,
    **options: Any,
) -> tuple[Groove, Infilled]:
    """``infill.vary`` of a groove: 0 gives it back, 1 a new one. Hits that stay keep their velocity and offset."""
    hits = columns_of_groove(model, groove)
    done = vary(model, hits, strength, context=_heard(model, context, "context"), plan=plan, seed=seed, **options)
    return _in_place(model, done, groove, expression, seed, (context,)), done


# ---------------------------------------------------------------------- from grooves to columns and back


def columns_of_groove(model: HierarchicalDrumModel, groove: Groove, what: str = "groove") -> Float[Tensor, "1 T W"]:
    """The groove's hits and, of a model with tracks, its notes; a track that it lacks is silent.

    Raises:
        HypermeterError: another metre or number of voices than the model's, by the name of ``what``.
    """
    _check(model, groove, what)
    return torch.from_numpy(with_columns(groove.hits, groove.tracks, model.tracks)).float()[None]


def _check(model: HierarchicalDrumModel, groove: Groove, what: str) -> None:
    check_metre(groove.grid, model.grid, what)
    if (voices := groove.hits.shape[1]) != model.num_drums:
        raise HypermeterError(f"{what}: {voices} voices, expected {model.num_drums}, those of the model")


def _heard(model: HierarchicalDrumModel, groove: Groove | None, what: str) -> Tensor | None:
    return None if groove is None else columns_of_groove(model, groove, what)


def _groove_of(
    model: HierarchicalDrumModel,
    columns: Tensor,
    pattern: Groove | None,
    tempo_bpm: float,
    kit: Any,
    heard: Sequence[Groove | None] = (),
) -> Groove:
    """Hits where the pattern has one keep its velocity and offset; the others are DEFAULT_VELOCITY, on the grid. Its
    sections stay.

    A note of a track that sounds where what was heard ends may go on.
    """
    played = columns[0].cpu().numpy().astype(np.uint8)
    hits = played[:, : model.num_drums]
    velocity, offset = np.float32(DEFAULT_VELOCITY) * hits, np.zeros(hits.shape, np.float32)
    if pattern is not None:
        kept = (pattern.hits > 0) & (hits > 0)
        velocity, offset = np.where(kept, pattern.velocity, velocity), np.where(kept, pattern.offset, offset)
    groups = zip(model.tracks, model.groups, strict=True)
    last = next((each.tracks for each in reversed(heard) if each is not None and len(each)), {})
    sounding = {name for name, codes in last.items() if codes[-1] != REST}
    tracks = {
        track.name: track.decode(played[:, start:stop], track.name in sounding) for track, (start, stop) in groups
    }
    sections = None if pattern is None else pattern.sections
    return Groove(hits, velocity, offset, tempo_bpm, kit, model.grid, sections, tracks=tracks)


def _in_place(
    model: HierarchicalDrumModel,
    done: Infilled,
    pattern: Groove,
    expression: bool,
    seed: int | None,
    heard: Sequence[Groove | None],
) -> Groove:
    """What was filled in, over the pattern that it was filled into."""
    kit = kit_of(model, "model") if model.kit is not None else pattern.kit
    groove = _groove_of(model, done.hits, pattern, pattern.tempo_bpm, kit, heard)
    new = (groove.hits > 0) & (pattern.hits == 0)
    return _play_expressively(model, groove, new, seed, heard) if expression else groove


def _play_expressively(
    model: HierarchicalDrumModel,
    groove: Groove,
    new: np.ndarray,
    seed: int | None,
    heard: Sequence[Groove | None],
) -> Groove:
    """The groove with velocity and offset of its ``new`` hits (T, V) as the model plays them after what is heard.

    Of a model that has learnt neither, the groove as it is.
    """
    if getattr(model, "expression", None) is None:
        return groove
    whole, is_new = groove, new
    for before in reversed([each for each in heard if each is not None]):
        whole, is_new = after(before, whole), np.concatenate([np.zeros(before.hits.shape, bool), is_new])
    played = humanize(replace(whole, tempo_bpm=groove.tempo_bpm), model, seed=seed, which=is_new)
    first = len(whole) - len(groove)
    velocity, offset = (
        np.where(new, getattr(played, name)[first:], getattr(groove, name)) for name in ("velocity", "offset")
    )
    return replace(groove, velocity=velocity, offset=offset)


def after(primer: Groove, groove: Groove) -> Groove:
    """The primer, then the groove, as one."""
    hits, velocity, offset = (
        np.concatenate([getattr(primer, name), getattr(groove, name)]) for name in ("hits", "velocity", "offset")
    )
    both = primer, groove
    tracks = {
        name: np.concatenate([each.tracks.get(name, np.full(len(each), REST, np.int16)) for each in both])
        for name in {**primer.tracks, **groove.tracks}
    }
    sections = None
    if any(each.sections is not None for each in both) and len(primer) % groove.grid.steps_per_bar == 0:
        names = [np.full(each.num_bars, "") if each.sections is None else each.sections for each in both]
        sections = np.concatenate(names)
    unknown = primer.unknown | groove.unknown
    return Groove(hits, velocity, offset, primer.tempo_bpm, groove.kit, groove.grid, sections, unknown, tracks)

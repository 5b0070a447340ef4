"""Hits that stand already, played anew: the velocity and timing of a drummer, as much of them as one likes."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from jaxtyping import Bool

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write, check_out
from hypermeter.core.grid import check_metre
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, load_kit
from hypermeter.core.limits import check_seed
from hypermeter.core.tracks import with_columns
from hypermeter.io.midi import MIDI_SUFFIXES, Piece, parse_midi
from hypermeter.io.midi.content import load_score
from hypermeter.io.midi.events import replay_drums
from hypermeter.io.midi.read import read_content
from hypermeter.model.hierarchical import kit_of, load
from hypermeter.model.perform import check_temperature, perform

LATEST = np.nextafter(np.float32(0.5), np.float32(0))
"""Of offsets, in steps."""


def humanize(
    groove: Groove,
    model: Any = "groove",
    amount: float = 1.0,
    timing: float = 1.0,
    velocity: float = 1.0,
    seed: int | None = 0,
    temperature: float = 1.0,
    which: Bool[np.ndarray, "T V"] | None = None,
) -> Groove:
    """The groove with the velocity and offset that the model gives its hits. The hits stay.

    Args:
        groove: on the model's grid and kit.
        model: a ``HierarchicalDrumModel``, or what ``load`` takes.
        amount: from 0, as it was, to 1, all the model's.
        timing: likewise, of offsets alone; it and amount are multiplied.
        velocity: likewise, of velocities alone.
        seed: the same seed gives the same; None draws one.
        temperature: 1 plays as learnt, less is steadier, more is wilder.
        which: the hits to play; the others stay, and are heard. None for all.

    Returns:
        A new groove in which nothing sounds before the first step. With an amount of 0, the groove as it was.

    Raises:
        HypermeterError: an amount outside [0, 1], a seed or temperature that ``perform`` refuses, a model without
            expression, a groove of another metre or kit, which of another shape than the hits.
    """
    check_seed(seed)
    check_temperature(temperature)
    for name, value in (("amount", amount), ("timing", timing), ("velocity", velocity)):
        if not 0 <= value <= 1:
            raise HypermeterError(f"{name} is {value}, expected from 0 (as it was) to 1 (all the model's)")
    drummer = load(model) if isinstance(model, str | Path) else model
    _refuse_hits_only(drummer, model if isinstance(model, str | Path) else None)
    _refuse_unfit(groove, drummer)
    if which is None:
        which = groove.hits > 0
    if which.shape != groove.hits.shape:
        raise HypermeterError(f"which of shape {which.shape}, hits of {groove.hits.shape}: expected the same")
    which = which.astype(bool) & (groove.hits > 0)
    shares = {"velocity": amount * velocity, "offset": amount * timing}
    if not which.any() or not any(shares.values()):
        return replace(groove)
    own = {name: getattr(groove, name) for name in shares}
    heard = [np.full_like(own[name], np.nan) if name in groove.unknown else own[name] for name in shares]
    stays = torch.from_numpy((groove.hits > 0) & ~which)[None]
    known = (stays, torch.tensor(heard[0])[None], torch.tensor(heard[1])[None]) if stays.any() else None
    columns = with_columns(groove.hits, groove.tracks, getattr(drummer, "tracks", ()))
    hits = torch.from_numpy(columns).float()[None]
    tempo_bpm = np.nan if "tempo_bpm" in groove.unknown else groove.tempo_bpm
    played = perform(drummer, hits, tempo_bpm, seed=seed, temperature=temperature, known=known)
    mixed = {
        name: np.where(which, (1 - share) * own[name] + share * new[0].cpu().numpy(), own[name]).astype(np.float32)
        for (name, share), new in zip(shares.items(), played, strict=True)
    }
    mixed["velocity"] = mixed["velocity"].clip(0, 1)
    mixed["offset"] = mixed["offset"].clip(-0.5, LATEST)
    if shares["offset"]:
        mixed["offset"][0] = np.where(which[0], mixed["offset"][0].clip(0), mixed["offset"][0])
    told = set() if stays.any() else {name for name, share in shares.items() if share}
    return replace(groove, **mixed, unknown=groove.unknown - told)


def _refuse_hits_only(model: Any, name: str | Path | None) -> None:
    if getattr(model, "expression", None) is None:
        said = "" if name is None else f"{name}: "
        advice = f"teach it velocity and timing by hypermeter train NPZ OUT --init {name or 'MODEL'} --only expression"
        raise HypermeterError(f"{said}the model plays hits only; {advice}")


def _refuse_unfit(groove: Groove, model: Any) -> None:
    check_metre(groove.grid, model.grid, "groove")
    names = None if model.kit is None else model.kit.names
    own = load_kit(groove.kit).names if names is not None else None
    if own != names or groove.hits.shape[1] != model.num_drums:
        raise HypermeterError(
            f"groove of {groove.hits.shape[1]} voices, expected the {model.num_drums} of the model's kit;"
            " read it with that kit"
        )


def humanize_command(
    file: Annotated[Path, tyro.conf.arg(metavar="IN")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    model: str = "groove",
    amount: float = 1.0,
    timing: float = 1.0,
    velocity: float = 1.0,
    temperature: float = 1.0,
    seed: int = 0,
) -> Path:
    """Give the drums of a MIDI file a drummer's velocity and timing; all else in it stays.

    Args:
        file: MIDI file in the model's metre, of any length. Where its tempo changes, the drummer begins anew.
        out: MIDI file to write.
        model: a shipped model's name, a checkpoint, or the folder of a training run.
        amount: from 0, as in the file, to 1, all the model's.
        timing: likewise, of timing alone; it and amount are multiplied.
        velocity: likewise, of velocity alone.
        temperature: 1 plays as learnt, less is steadier, more is wilder, 0 is always the middle of what is likely.
        seed: the same seed gives the same music.

    Raises:
        HypermeterError: a file or a number that does not fit, a model that plays hits only.
    """
    check_out(out, MIDI_SUFFIXES, [file])
    drummer = load(model)
    kit = kit_of(drummer, model)
    _refuse_hits_only(drummer, model)
    content = read_content(file)
    pieces, left_out = parse_midi(content, str(file), kit, drummer.grid)
    for reason in left_out:
        print(f"{file}: left as it is: {reason}")
    if unmapped := sum(sum(piece.unmapped.values()) for piece in pieces):
        print(f"{file}: left as they are: {unmapped} hits that no voice of kit {kit.name} reads")
    options: dict[str, Any] = {"amount": amount, "timing": timing, "velocity": velocity, "temperature": temperature}
    played = [humanize(piece.groove, drummer, seed=seed + number, **options) for number, piece in enumerate(pieces)]
    score, *_ = load_score(content, str(file))

    def play(ticks: np.ndarray, pitches: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        for piece, groove in zip(pieces, played, strict=True):
            ticks, velocities = _play(ticks, pitches, velocities, piece, groove, kit, score.ticks_per_quarter)
        return ticks, velocities

    replayed = replay_drums(content, str(file), play)
    with atomic_write(out) as temporary:
        temporary.write_bytes(replayed)
    return out


def _play(
    ticks: np.ndarray,
    pitches: np.ndarray,
    velocities: np.ndarray,
    piece: Piece,
    played: Groove,
    kit: Kit,
    ticks_per_quarter: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Ticks and velocities (N,) of a track's notes, changed by what changed in their cells of the piece.

    Of several notes in a cell, as in a flam, one is in the groove, and the others go along with it.
    """
    before = piece.groove
    ticks_per_step = ticks_per_quarter / before.grid.steps_per_quarter
    steps = np.floor((ticks - piece.start_tick) / ticks_per_step + 0.5).astype(np.int64)
    columns = kit.columns[pitches]
    at = np.flatnonzero((steps >= 0) & (steps < len(before)) & (columns >= 0))
    at = at[before.hits[steps[at], columns[at]] > 0]
    cells = steps[at], columns[at]
    later = (played.offset[cells].astype(np.float64) - before.offset[cells]) * ticks_per_step
    low, high = (np.ceil(piece.start_tick + (steps[at] + half) * ticks_per_step) for half in (-0.5, 0.5))
    moved = np.rint(ticks[at] + later).clip(np.maximum(low, 0), high - 1)
    louder = played.velocity[cells] / before.velocity[cells]
    ticks, velocities = ticks.copy(), velocities.copy()
    ticks[at] = np.where(later == 0, ticks[at], moved)
    velocities[at] = np.rint(velocities[at] * louder).clip(1, 127)
    return ticks, velocities

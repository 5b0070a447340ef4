"""Grooves in, grooves out: a model plays on from a MIDI file."""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro

from hypermeter.grid import Grid, Groove, HypermeterError
from hypermeter.kit import Kit
from hypermeter.midi import read_midi_report, write_midi
from hypermeter.model import HierarchicalDrumModel, load
from hypermeter.render import ascii_grid, show_picture

VELOCITY = 0.8
"""Of generated hits. In [0, 1]."""


def kit_of(model: HierarchicalDrumModel, name: str) -> Kit:
    """The model's kit.

    Raises:
        HypermeterError: the checkpoint holds none.
    """
    if model.kit is None:
        raise HypermeterError(f"{name}: no kit in the checkpoint, so its voices have no pitches; train it with --kit")
    return model.kit


def continue_groove(
    model: HierarchicalDrumModel,
    primer: Groove | None = None,
    bars: int = 16,
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    voice_bias: list[float] | None = None,
    seed: int | None = None,
    tempo_bpm: float = 120.0,
    include_primer: bool = True,
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

    Raises:
        HypermeterError: a primer of another grid or number of voices; bars < 1; neither a kit nor a primer.
    """
    if bars < 1:
        raise HypermeterError(f"bars is {bars}, expected at least 1")
    kit = primer.kit if model.kit is None and primer is not None else kit_of(model, "model")
    start = None
    if primer is not None:
        if primer.grid.metre != model.grid.metre or primer.grid.steps_per_bar != model.grid.steps_per_bar:
            found, wanted = primer.grid, model.grid
            raise HypermeterError(
                f"primer in {found.metre}, {found.steps_per_bar} steps a bar; the model plays {wanted.metre},"
                f" {wanted.steps_per_bar} steps a bar; use a primer or a model in the same metre"
            )
        start = torch.from_numpy(primer.hits).float()[None]
    options = {"top_p": top_p, "voice_bias": voice_bias, "seed": seed}
    length = bars * model.grid.steps_per_bar
    made = model.generate(start, length, temperature, include_primer=False, **options)[0].numpy().astype(np.uint8)
    velocity, offset = np.float32(VELOCITY) * made, np.zeros(made.shape, np.float32)
    if primer is not None:
        tempo_bpm = primer.tempo_bpm
    if primer is not None and include_primer:
        made = np.concatenate([primer.hits, made])
        velocity = np.concatenate([primer.velocity, velocity])
        offset = np.concatenate([primer.offset, offset])
    return Groove(made, velocity, offset, tempo_bpm, kit, model.grid)


def generate_command(
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    model: str = "groove",
    primer: Path | None = None,
    bars: int = 16,
    temperature: float = 1.0,
    top_p: float = 1.0,
    bias: dict[str, float] | None = None,
    seed: int = 0,
    tempo_bpm: float = 120.0,
    include_primer: bool = True,
    picture: bool = True,
) -> Path:
    """Play on from a MIDI file, or from nothing, and write MIDI and a picture.

    Args:
        out: MIDI file to write; the picture goes beside it, as .png, where matplotlib is installed.
        model: a shipped model's name, a checkpoint, or the folder of a training run.
        primer: MIDI file to go on from, of any length, in the model's metre.
        bars: new bars.
        temperature: 1 plays as learnt, less is safer, more is wilder, 0 is always the likeliest.
        top_p: keep only the likeliest combinations of voices that hold this probability together.
        bias: per voice, added to its log odds: --bias closed_hat 1 ride -2.
        seed: the same seed gives the same music.
        tempo_bpm: where there is no primer.
        include_primer: whether the file begins with the primer.
        picture: whether to draw the picture.

    Raises:
        HypermeterError: a file, a voice or a number that does not fit.
    """
    if out.suffix.lower() == ".png":
        raise HypermeterError(f"{out}: the MIDI file would be overwritten by its own picture; name it .mid")
    drummer = load(model)
    kit = kit_of(drummer, model)
    values = [0.0] * kit.num_voices
    for voice, value in (bias or {}).items():
        if voice not in kit.names:
            raise HypermeterError(f"bias: no voice {voice!r} in kit {kit.name}; it has {', '.join(kit.names)}")
        values[kit.names.index(voice)] = value
    heard = None if primer is None else _read_primer(primer, kit, drummer.grid)
    groove = continue_groove(
        drummer,
        heard,
        bars,
        temperature=temperature,
        top_p=top_p,
        voice_bias=values if bias else None,
        seed=seed,
        tempo_bpm=tempo_bpm,
        include_primer=include_primer,
    )
    write_midi(groove, out, kit)
    print(ascii_grid(groove))
    if picture:
        shaded = len(heard) if heard is not None and include_primer else 0
        show_picture(groove, out.with_suffix(".png"), "shaded: the primer" if shaded else "", shaded)
    return out


def _read_primer(path: Path, kit: Kit, grid: Grid) -> Groove:
    """The one groove in a MIDI file; what of it no voice plays is printed."""
    (piece,), losses = read_midi_report(path, kit, grid, changes="refuse")
    for loss in losses:
        print(f"{path}: {loss}")
    return piece.groove

"""The ``generate`` command: MIDI in, MIDI and a picture out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import check_out
from hypermeter.core.grid import check_metre
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit
from hypermeter.io.ascii import ascii_grid
from hypermeter.io.midi import MIDI_SUFFIXES, read_midi_report, write_midi
from hypermeter.io.notation import TEXT_SUFFIXES, is_text, read_text, write_text
from hypermeter.model.generate import Locks
from hypermeter.model.hierarchical import HierarchicalDrumModel, kit_of, load
from hypermeter.model.infill import check_counts, combine, lock_all_but, lock_ending, lock_voices
from hypermeter.play.asked import NOTHING_ASKED, Asked, Planner
from hypermeter.play.compose import (
    after,
    columns_of_groove,
    continue_groove,
    fill_groove,
    vary_groove,
)
from hypermeter.play.plan import MOST_BARS
from hypermeter.share.pictures import show_picture

TEMPO_BPM = 120.0
"""Where nothing tells it."""


@dataclass(frozen=True)
class Kept:
    """What is fixed, and what is filled in around it.

    Args:
        lock: MIDI file whose voices are played as they stand from the first new bar on; the model writes the others. It
            gives the number of bars where nothing else does. Bars after its end are free.
        keep: the voices that stay, of --lock, of --replace or of --vary: --keep kick snare. Left out with --lock, all
            that have a hit in it.
        replace: bars of the primer, from 1, that are written anew in their place: --replace 7 9-10.
        ending: MIDI file that the new bars lead to and that ends the piece.
        vary: from 0 to 1, the share of the primer (one beat of one voice at a time) that is written anew in its place.
        particles: played side by side where something later is fixed. More come closer to the model's own choice and
            take longer; the effective sample size that is printed tells whether they are enough.
        horizon_bars: bars after the last free one that have a say in it; left out, all.
    """

    lock: Path | None = None
    keep: tuple[str, ...] | None = None
    replace: tuple[str, ...] | None = None
    ending: Path | None = None
    vary: float | None = None
    particles: int = 64
    horizon_bars: int | None = None


NOTHING_KEPT = Kept()


def generate_command(
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    model: str = "groove",
    primer: Path | None = None,
    bars: int | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    bias: dict[str, float] | None = None,
    seed: int = 0,
    tempo_bpm: float | None = None,
    include_primer: bool = True,
    picture: bool = True,
    context: Path | None = None,
    expression: bool = True,
    asked: Asked = NOTHING_ASKED,
    kept: Kept = NOTHING_KEPT,
) -> Path:
    """Play on from a MIDI file, around it or from nothing, and write MIDI and a picture.

    Args:
        out: MIDI file to write, or text: .tidal and .strudel are code for live coding, .txt is the grid as printed. The
            picture goes beside it, as .png, where matplotlib is installed.
        model: a shipped model's name, a checkpoint, or the folder of a training run.
        primer: MIDI file to go on from, of any length, in the model's metre; or text, .tidal, .strudel or .txt. Of its
            tracks, the result has those that the model plays; of its articulations, one of each voice.
        bars: new bars; left out, as many as --sections, --lock or the file of --density or --offbeat have, or else 16.
        temperature: 1 plays as learnt, less is safer, more is wilder, 0 is always the likeliest.
        top_p: keep only the likeliest combinations of voices that hold this probability together.
        bias: per voice, added to its log odds: --bias closed_hat 1 ride -2.
        seed: the same seed gives the same music.
        tempo_bpm: where no file tells one; left out, 120.
        include_primer: whether the file begins with the primer.
        picture: whether to draw the picture.
        context: MIDI file heard before the primer, such as the song so far, of any length; it is not in the result.
        expression: whether new hits have the velocity and timing of a model that has learnt these; otherwise all are
            equally loud and on the grid.
        asked: what is asked of the new bars.
        kept: what is fixed.

    Raises:
        HypermeterError: a file, a voice or a number that does not fit, or options that contradict each other.
    """
    read_from = [primer, context, kept.lock, kept.ending, asked.density, asked.offbeat]
    check_out(out, (*MIDI_SUFFIXES, *TEXT_SUFFIXES), read_from)
    _refuse_contradictions(asked, kept, primer, bars, include_primer)
    drummer = load(model)
    kit = kit_of(drummer, model)
    if bias == {}:
        raise HypermeterError("--bias with nothing after it, expected voices and numbers, as closed_hat 1 ride -2")
    values = [0.0] * kit.num_voices
    for voice, value in (bias or {}).items():
        values[_column(kit, voice, "bias")] = value
    columns = _columns_named(drummer, kit, kept.keep or ())
    read = partial(_read_groove, model=drummer, kit=kit)
    heard, before, lock, ending = (
        None if path is None else read(path) for path in (primer, context, kept.lock, kept.ending)
    )
    files = [each for each in (heard, before, lock, ending) if each is not None]
    told = [each.tempo_bpm for each in files if "tempo_bpm" not in each.unknown]
    if told:
        if tempo_bpm is not None:
            raise HypermeterError(f"--tempo-bpm beside a file with a tempo of its own ({told[0]:g} bpm); leave it out")
        tempo_bpm = told[0]
    elif tempo_bpm is None:
        tempo_bpm = TEMPO_BPM
    heard, before, lock, ending = (
        each if each is None else _in_tempo(each, tempo_bpm) for each in (heard, before, lock, ending)
    )
    planner = Planner(drummer, model, asked, tempo_bpm, read)
    guidance = asked.strength if asked.names else 0.0
    options = {
        "temperature": temperature,
        "top_p": top_p,
        "voice_bias": values if bias else None,
        "seed": seed,
        "context": before,
        "expression": expression,
    }
    particles = {"particles": kept.particles, "horizon_bars": kept.horizon_bars}
    done, shaded = None, 0
    if kept.vary is not None:
        assert heard is not None
        plan = planner.measured([before, heard])
        groove, done = vary_groove(drummer, heard, kept.vary, keep=columns, plan=plan, **options, **particles)
    elif kept.replace:
        assert heard is not None
        chosen = _bars_named(kept.replace, heard.num_bars)
        hits = columns_of_groove(drummer, heard)
        locks = combine(lock_all_but(hits, chosen, drummer.grid), lock_voices(hits, columns))
        plan = planner.replacing(chosen, before, heard)
        groove, done = fill_groove(drummer, heard, locks, plan=plan, guidance=guidance, **options, **particles)
        groove = planner.name_bars(groove, chosen)
    else:
        if lock is not None and not asked.sections:
            bars = bars or lock.num_bars
        plan, bars = planner.after([before, heard], bars, ending)
        options |= {"plan": plan, "guidance": guidance}
        if lock is None and ending is None:
            groove = continue_groove(drummer, heard, bars, tempo_bpm=tempo_bpm, include_primer=False, **options)
        else:
            pattern, locks = _pattern(drummer, kit, bars, tempo_bpm, lock, columns, ending)
            groove, done = fill_groove(drummer, pattern, locks, heard, **options, **particles)
        groove = planner.name_bars(groove, range(bars))
        if heard is not None and include_primer:
            groove, shaded = after(heard, groove), len(heard)
    if is_text(out):
        write_text(groove, out)
    else:
        write_midi(groove, out, kit)
    print(ascii_grid(groove))
    if done is not None:
        mean = done.effective_sample_size.mean()
        print(f"effective sample size {done.smallest:.1f} at the least, {mean:.1f} on average, of {done.particles}")
        if done.warning:
            print(f"warning: {done.warning}")
    if picture:
        show_picture(groove, out.with_suffix(".png"), "shaded: the primer" if shaded else "", shaded)
    return out


def _refuse_contradictions(
    asked: Asked, kept: Kept, primer: Path | None, bars: int | None, include_primer: bool
) -> None:
    """Options that cannot both be meant, in one line that names them."""
    check_counts(kept.particles, kept.horizon_bars)
    for name, expected in (("replace", "bars, as 7 9-10"), ("keep", "voices, as kick snare")):
        if getattr(kept, name) == ():
            raise HypermeterError(f"--{name} with nothing after it, expected {expected}")
    in_place = [f"--{name}" for name in ("replace", "vary") if getattr(kept, name) is not None]
    if len(in_place) == 2:
        raise HypermeterError("--replace beside --vary, expected one of them: run the command twice for both")
    if in_place:
        (option,) = in_place
        if primer is None:
            raise HypermeterError(f"{option} without a primer, expected --primer with the MIDI file to change")
        others = {"--bars": bars, "--lock": kept.lock, "--ending": kept.ending}
        others["--no-include-primer"] = None if include_primer else True
        for other, value in others.items():
            if value is not None:
                raise HypermeterError(f"{other} beside {option}, which changes the primer in its place; leave one out")
        if kept.vary is not None and (asked.names or asked.guidance):
            other = [*asked.names, "guidance"][0]
            raise HypermeterError(f"--{other} beside --vary, which asks for what the primer has; leave one out")
    if kept.keep and not (kept.lock or in_place):
        raise HypermeterError("--keep without music to keep voices of, expected --lock, --replace or --vary beside it")
    if asked.guidance and not asked.names:
        raise HypermeterError("--guidance without anything asked; pass --sections, --style, --density or --offbeat")
    if bars is not None and not 1 <= bars <= MOST_BARS:
        raise HypermeterError(f"bars is {bars}, expected at least 1 and at most {MOST_BARS}")
    if not (kept.lock or kept.ending or in_place):
        for name in ("particles", "horizon_bars"):
            if getattr(kept, name) != getattr(NOTHING_KEPT, name):
                option = name.replace("_", "-")
                raise HypermeterError(f"--{option} with nothing fixed, expected --lock, --ending, --replace or --vary")


def _column(kit: Kit, voice: str, option: str, also: Sequence[str] = ()) -> int:
    if voice not in kit.names:
        known = ", ".join([*kit.names, *also])
        raise HypermeterError(f"{option}: no voice {voice!r} in kit {kit.name}; it has {known}")
    return kit.names.index(voice)


def _bars_named(texts: Sequence[str], num_bars: int) -> list[int]:
    """Bars from 0, of texts as 7 and 9-10, from 1."""
    bars = set()
    for text in texts:
        first, dash, last = text.partition("-")
        last = last if dash else first
        if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
            raise HypermeterError(f"replace: {text!r}, expected a bar as 7 or bars as 9-10")
        if not 1 <= int(first) <= int(last) <= num_bars:
            raise HypermeterError(f"replace: {text}, expected bars from 1 to {num_bars}, those of the primer")
        bars |= set(range(int(first) - 1, int(last)))
    return sorted(bars)


def _columns_named(model: HierarchicalDrumModel, kit: Kit, names: Sequence[str]) -> list[int]:
    """The columns of voices, and of tracks by their names."""
    tracks = {track.name: range(*group) for track, group in zip(model.tracks, model.groups, strict=True)}
    found = (tracks.get(name) or [_column(kit, name, "keep", tuple(tracks))] for name in names)
    return [column for columns in found for column in columns]


def _pattern(
    model: HierarchicalDrumModel,
    kit: Kit,
    bars: int,
    tempo_bpm: float,
    lock: Groove | None,
    columns: Sequence[int],
    ending: Groove | None,
) -> tuple[Groove, Locks]:
    """What stands fixed in the new bars and the ending, as a groove, and which of its cells are locked."""
    length = bars * model.grid.steps_per_bar
    free = torch.zeros(1, length, model.width)
    parts, locks = [], [Locks(free > 0, free)]
    if lock is not None:
        if len(lock) > length:
            raise HypermeterError(f"lock: {lock.num_bars} bars for {bars} new ones; ask for more bars, or shorten it")
        cells = columns_of_groove(model, lock, "lock")
        columns = columns or _columns_named(model, kit, _playing(lock, kit))
        parts.append((0, lock, [each for each in columns if each < model.num_drums]))
        locks.append(lock_voices(cells, columns))
    if ending is not None:
        end = lock_ending(length, columns_of_groove(model, ending, "ending"))
        has = torch.zeros(model.width, dtype=torch.bool)
        played = [name for name, codes in ending.tracks.items() if codes.any()]  # a track that it lacks is free
        has[_columns_named(model, kit, [*kit.names, *played])] = True
        parts.append((length, ending, range(model.num_drums)))
        locks.append(Locks(end.known & has, end.values))
    whole = combine(*locks)
    told = {name: np.zeros((whole.num_steps, kit.num_voices)) for name in ("hits", "velocity", "offset")}
    size = model.grid.steps_per_bar
    names = [""] * -(-whole.num_steps // size)
    for start, groove, voices in parts:
        if groove.sections is not None:
            names[start // size : start // size + groove.num_bars] = groove.sections.tolist()
        for name, array in told.items():
            array[start : start + len(groove), list(voices)] = getattr(groove, name)[:, list(voices)]
    sections = np.array(names) if any(names) else None
    arrays = told["hits"], told["velocity"], told["offset"]
    return Groove(*arrays, tempo_bpm, kit, model.grid, sections), whole


def _in_tempo(groove: Groove, tempo_bpm: float) -> Groove:
    """The groove in that tempo, where its file told none."""
    if "tempo_bpm" not in groove.unknown:
        return groove
    return replace(groove, tempo_bpm=tempo_bpm, unknown=groove.unknown - {"tempo_bpm"})


def _playing(groove: Groove, kit: Kit) -> list[str]:
    """The voices with a hit and the tracks with a note."""
    voices = [kit.names[column] for column in np.flatnonzero(groove.hits.any(0))]
    return voices + [name for name, codes in groove.tracks.items() if codes.any()]


def _read_groove(path: Path, model: HierarchicalDrumModel, kit: Kit) -> Groove:
    """The one groove in a MIDI file, with the model's tracks that it has; what of it no voice plays is printed."""
    if is_text(path):
        groove = read_text(path, kit, model.grid)
        check_metre(groove.grid, model.grid, str(path))
        return groove
    (piece,), losses = read_midi_report(path, kit, model.grid, "refuse", model.tracks, True, may_rest=True, to_end=True)
    for loss in losses:
        print(f"{path}: {loss}")
    return piece.groove

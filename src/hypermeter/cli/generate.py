"""The ``generate`` command: MIDI in, MIDI and a picture out."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from hypermeter.cli.options import NO_LOCKS, NO_WISHES, LockOptions, WishOptions, refuse_contradictions
from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import check_out
from hypermeter.core.grid import check_metre
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit
from hypermeter.core.tracks import track_groups
from hypermeter.io.ascii import ascii_grid
from hypermeter.io.midi import MIDI_SUFFIXES, read_midi_report, write_midi
from hypermeter.io.notation import TEXT_SUFFIXES, is_text, read_text, write_text
from hypermeter.play.compose import (
    TEMPO_BPM,
    after,
    columns_of_groove,
    continue_groove,
    fill_groove,
    name_bars,
    replace_bars,
    vary_groove,
)
from hypermeter.play.locks import Locks, combine, lock_ending, lock_voices
from hypermeter.play.player import Player, kit_of, load_player
from hypermeter.play.request import Drawing, Wishes, check
from hypermeter.share.pictures import show_picture


def generate_command(
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    model: str = "groove",
    primer: Path | None = None,
    bars: int | None = None,
    temperature: float = Drawing.temperature,
    top_p: float = Drawing.top_p,
    bias: dict[str, float] | None = None,
    seed: int = 0,
    tempo_bpm: float | None = None,
    include_primer: bool = True,
    picture: bool = True,
    context: Path | None = None,
    expression: bool = True,
    wishes: WishOptions = NO_WISHES,
    locks: LockOptions = NO_LOCKS,
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
        wishes: what is asked of the new bars.
        locks: what is fixed.

    Raises:
        HypermeterError: a file, a voice or a number that does not fit, or options that contradict each other.
    """
    read_from = [primer, context, locks.lock, locks.ending, wishes.density, wishes.offbeat]
    check_out(out, (*MIDI_SUFFIXES, *TEXT_SUFFIXES), read_from)
    refuse_contradictions(wishes, locks, primer, bars, include_primer)
    if bias == {}:
        raise HypermeterError("--bias with nothing after it, expected voices and numbers, as closed_hat 1 ride -2")
    if bars is not None:
        check("bars", bars)
    drawing, filling = Drawing(temperature, top_p, bias or {}, wishes.strength, seed), locks.filling
    player = replace(load_player(model), name=model)
    kit = kit_of(player)
    for voice in drawing.bias:
        _column(kit, voice, "bias")
    keep = _columns_named(player, kit, locks.keep or ())
    read = partial(_read_groove, player=player, kit=kit)
    files = [None if path is None else read(path) for path in (primer, context, locks.lock, locks.ending)]
    tempo_bpm = _tempo_of(files, tempo_bpm)
    heard, before, lock, ending = (None if groove is None else _in_tempo(groove, tempo_bpm) for groove in files)
    options: dict[str, Any] = {"context": before, "expression": expression}
    done, shaded = None, 0
    if locks.vary is not None:
        assert heard is not None
        groove, done = vary_groove(player, heard, locks.vary, drawing, keep=keep, filling=filling, **options)
    elif locks.replace:
        assert heard is not None
        chosen = locks.bars_to_replace(heard.num_bars)
        asked, told = wishes.of_bars(None if wishes.sections else len(chosen), player, read)
        if told != len(chosen):
            raise HypermeterError(f"sections: {told} bars, and {len(chosen)} to replace; expected as many")
        options |= {"keep": keep, "wishes": asked, "filling": filling}
        groove, done = replace_bars(player, heard, chosen, drawing, **options)
        groove = _named(groove, chosen, asked, player)
    else:
        if lock is not None and not wishes.sections:
            bars = bars or lock.num_bars
        asked, bars = wishes.of_bars(bars, player, read)
        options["wishes"] = asked
        if lock is None and ending is None:
            groove = continue_groove(player, heard, bars, drawing, tempo_bpm=tempo_bpm, include_primer=False, **options)
        else:
            pattern, fixed = _pattern(player, kit, bars, tempo_bpm, lock, keep, ending)
            options |= {"wished_bars": range(bars), "filling": filling}
            groove, done = fill_groove(player, pattern, fixed, heard, drawing, **options)
        groove = _named(groove, range(bars), asked, player)
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


def _column(kit: Kit, voice: str, option: str, also: Sequence[str] = ()) -> int:
    if voice not in kit.names:
        known = ", ".join([*kit.names, *also])
        raise HypermeterError(f"{option}: no voice {voice!r} in kit {kit.name}; it has {known}")
    return kit.names.index(voice)


def _named(groove: Groove, bars: Sequence[int], wishes: Wishes, player: Player) -> Groove:
    """The groove with those bars named as their sections are asked to be."""
    if not wishes.sections or player.labels is None:
        return groove
    return name_bars(groove, bars, wishes.sections, player.labels)


def _columns_named(player: Player, kit: Kit, names: Sequence[str]) -> list[int]:
    """The columns of voices, and of tracks by their names."""
    groups = track_groups(player.num_drums, player.tracks)
    tracks = {track.name: range(*group) for track, group in zip(player.tracks, groups, strict=True)}
    found = (tracks.get(name) or [_column(kit, name, "keep", tuple(tracks))] for name in names)
    return [column for columns in found for column in columns]


def _pattern(
    player: Player,
    kit: Kit,
    bars: int,
    tempo_bpm: float,
    lock: Groove | None,
    columns: Sequence[int],
    ending: Groove | None,
) -> tuple[Groove, Locks]:
    """What stands fixed in the new bars and the ending, as a groove, and which of its cells are locked."""
    length = bars * player.grid.steps_per_bar
    free = np.zeros((length, player.width), np.uint8)
    parts, locks = [], [Locks(free > 0, free)]
    if lock is not None:
        if len(lock) > length:
            raise HypermeterError(f"lock: {lock.num_bars} bars for {bars} new ones; ask for more bars, or shorten it")
        cells = columns_of_groove(player, lock, "lock")
        columns = columns or _columns_named(player, kit, _playing(lock, kit))
        parts.append((0, lock, [column for column in columns if column < player.num_drums]))
        locks.append(lock_voices(cells, columns))
    if ending is not None:
        end = lock_ending(length, columns_of_groove(player, ending, "ending"))
        has = np.zeros(player.width, bool)
        played = [name for name, codes in ending.tracks.items() if codes.any()]  # a track that it lacks is free
        has[_columns_named(player, kit, [*kit.names, *played])] = True
        parts.append((length, ending, range(player.num_drums)))
        locks.append(Locks(end.known & has, end.values))
    whole = combine(*locks)
    told = {name: np.zeros((whole.num_steps, kit.num_voices)) for name in ("hits", "velocity", "offset")}
    size = player.grid.steps_per_bar
    names = [""] * -(-whole.num_steps // size)
    for start, groove, voices in parts:
        if groove.sections is not None:
            names[start // size : start // size + groove.num_bars] = groove.sections.tolist()
        for name, array in told.items():
            array[start : start + len(groove), list(voices)] = getattr(groove, name)[:, list(voices)]
    sections = np.array(names) if any(names) else None
    arrays = told["hits"], told["velocity"], told["offset"]
    return Groove(*arrays, tempo_bpm, kit, player.grid, sections), whole


def _tempo_of(files: Sequence[Groove | None], tempo_bpm: float | None) -> float:
    """The tempo that the first file tells that tells one, else the one that is given, else TEMPO_BPM."""
    told = [groove.tempo_bpm for groove in files if groove is not None and "tempo_bpm" not in groove.unknown]
    if told and tempo_bpm is not None:
        raise HypermeterError(f"--tempo-bpm beside a file with a tempo of its own ({told[0]:g} bpm); leave it out")
    return told[0] if told else TEMPO_BPM if tempo_bpm is None else tempo_bpm


def _in_tempo(groove: Groove, tempo_bpm: float) -> Groove:
    """The groove in that tempo, where its file told none."""
    if "tempo_bpm" not in groove.unknown:
        return groove
    return replace(groove, tempo_bpm=tempo_bpm, unknown=groove.unknown - {"tempo_bpm"})


def _playing(groove: Groove, kit: Kit) -> list[str]:
    """The voices with a hit and the tracks with a note."""
    voices = [kit.names[column] for column in np.flatnonzero(groove.hits.any(0))]
    return voices + [name for name, codes in groove.tracks.items() if codes.any()]


def _read_groove(path: Path, player: Player, kit: Kit) -> Groove:
    """The one groove in a MIDI file, with the model's tracks that it has; what of it no voice plays is printed."""
    if is_text(path):
        groove = read_text(path, kit, player.grid)
        check_metre(groove.grid, player.grid, str(path))
        return groove
    (piece,), losses = read_midi_report(
        path, kit, player.grid, "refuse", player.tracks, True, may_rest=True, to_end=True
    )
    for loss in losses:
        print(f"{path}: {loss}")
    return piece.groove

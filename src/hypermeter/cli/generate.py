"""The ``generate`` command: MIDI in, MIDI and a picture out."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from hypermeter.cli.options import NO_LOCKS, NO_WISHES, LockOptions, WishOptions, refuse_contradictions
from hypermeter.core.errors import HypermeterError
from hypermeter.play.request import SamplingOptions, check


def generate_command(
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    model: str = "groove",
    primer: Path | None = None,
    bars: int | None = None,
    temperature: float = SamplingOptions.temperature,
    top_p: float = SamplingOptions.top_p,
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
    from hypermeter.cli.material import (
        columns_named,
        find_column,
        in_tempo,
        name_as_wished,
        pattern_of,
        read_groove,
        tempo_of,
    )
    from hypermeter.core.files import check_out
    from hypermeter.io.ascii import ascii_grid
    from hypermeter.io.midi import MIDI_SUFFIXES, write_midi
    from hypermeter.io.notation import TEXT_SUFFIXES, is_text, write_text
    from hypermeter.play.compose import after, continue_groove, fill_groove, replace_bars, vary_groove
    from hypermeter.play.loading import kit_of, load_player
    from hypermeter.share.pictures import show_picture

    read_from = [primer, context, locks.lock, locks.ending, wishes.density, wishes.offbeat]
    check_out(out, (*MIDI_SUFFIXES, *TEXT_SUFFIXES), read_from)
    sampling, infilling = SamplingOptions(temperature, top_p, bias or {}, wishes.strength, seed), locks.infilling
    refuse_contradictions(wishes, locks, primer, bars, include_primer)
    if bias == {}:
        raise HypermeterError("--bias with nothing after it, expected voices and numbers, as closed_hat 1 ride -2")
    if bars is not None:
        check("bars", bars)
    player = replace(load_player(model), name=model)
    kit = kit_of(player)
    for voice in sampling.bias:
        find_column(kit, voice, "bias")
    keep = columns_named(player, kit, locks.keep or ())
    read = partial(read_groove, player=player, kit=kit)
    files = [None if path is None else read(path) for path in (primer, context, locks.lock, locks.ending)]
    tempo_bpm = tempo_of(files, tempo_bpm)
    heard, before, lock, ending = (None if groove is None else in_tempo(groove, tempo_bpm) for groove in files)
    options: dict[str, Any] = {"context": before, "expression": expression}
    done, shaded = None, 0
    if locks.vary is not None:
        assert heard is not None
        groove, done = vary_groove(player, heard, locks.vary, sampling, keep=keep, infilling=infilling, **options)
    elif locks.replace:
        assert heard is not None
        chosen = locks.bars_to_replace(heard.num_bars)
        asked, told = wishes.of_bars(None if wishes.sections else len(chosen), player, read)
        if told != len(chosen):
            raise HypermeterError(f"sections: {told} bars, and {len(chosen)} to replace; expected as many")
        options |= {"keep": keep, "wishes": asked, "infilling": infilling}
        groove, done = replace_bars(player, heard, chosen, sampling, **options)
        groove = name_as_wished(groove, chosen, asked, player)
    else:
        if lock is not None and not wishes.sections:
            bars = bars or lock.num_bars
        asked, bars = wishes.of_bars(bars, player, read)
        options["wishes"] = asked
        if lock is None and ending is None:
            groove = continue_groove(
                player, heard, bars, sampling, tempo_bpm=tempo_bpm, include_primer=False, **options
            )
        else:
            pattern, fixed = pattern_of(player, kit, bars, tempo_bpm, lock, keep, ending)
            options |= {"wished_bars": range(bars), "infilling": infilling}
            groove, done = fill_groove(player, pattern, fixed, heard, sampling, **options)
        groove = name_as_wished(groove, range(bars), asked, player)
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

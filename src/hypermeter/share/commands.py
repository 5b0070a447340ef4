"""The ``inspect``, ``analyse`` and ``render`` commands. Their options come without NumPy: imports stand inside."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from hypermeter.core.arguments import Flag
from hypermeter.core.read_options import ReadOptions


def inspect(
    path: Annotated[Path, tyro.conf.arg(metavar="FILE")],
    out: Path | None = None,
    kit: str | None = None,
    metre: str = "all",
    steps_per_beat: int | Literal["auto"] = "auto",
    bars_per_phrase: int = 4,
    options: Annotated[ReadOptions, tyro.conf.arg(name="midi")] = ReadOptions(),
) -> None:
    """Show a file: print its grid and metrics, draw its picture.

    Tracks beside the drums are shown with them; the metrics are of the drums. A .npz that names its kit and grid keeps
    them, and so does text; the options are for what the file does not say.

    Args:
        path: MIDI or .npz; or a groove as text, .txt, .tidal or .strudel; or a shard, .parquet, which is read in whole
            and of which a line tells what is in it.
        out: .svg to write, or .png or .pdf, which need matplotlib; left out, the file's name with .svg in the current
            folder. Where tempo or metre change, the later stretches get a number.
        kit: gm10, gm16, magenta9, gm or a YAML file, and a map after a colon: gm10:td17, gm16:auto. Left out, gm10
            for MIDI, and numbered voices for a .npz.
        metre: all reads each stretch of a MIDI file in its own; one, as 6/8, leaves out stretches in another.
        steps_per_beat: steps in a beat of the metre; auto takes those that fit the file: sixteenths or triplets.
        bars_per_phrase: bars in a phrase.
        options: how the drums of MIDI are found and placed on the grid.

    Raises:
        HypermeterError: a file that cannot be read, a metre other than the grid's, a path that cannot be written.
    """
    from hypermeter.core.files import check_out
    from hypermeter.core.grid import GridChoice
    from hypermeter.io.ascii import ascii_grid
    from hypermeter.io.shards import SUFFIX, describe_shard
    from hypermeter.share.inspection import print_metrics, read_with_tracks
    from hypermeter.share.pictures import PICTURE_SUFFIXES, show_picture

    if path.suffix == SUFFIX:
        print(describe_shard(path))
        return
    grid = GridChoice.of_words(metre, steps_per_beat, bars_per_phrase)
    out = Path(f"{path.stem}.svg") if out is None else out
    check_out(out, PICTURE_SUFFIXES, [path])
    grooves, losses = read_with_tracks(path, kit, grid, options)
    for place, groove in enumerate(grooves, 1):
        print(f"{groove.num_bars} bar{'s' * (groove.num_bars != 1)} of {groove.grid.description}\n")
        print(ascii_grid(groove))
        print_metrics(groove)
        show_picture(groove, out if place == 1 else out.with_stem(f"{out.stem}-{place}"), title=path.name)
    for loss in losses:
        print(f"{path}: {loss}")


def analyse_command(
    path: Annotated[Path, tyro.conf.arg(metavar="FILE_OR_FOLDER")],
    out: Path | None = None,
    against: Path | None = None,
    sections: str = "",
    kit: str | None = None,
    metre: str = "all",
    steps_per_beat: int | Literal["auto"] = "auto",
    bars_per_phrase: int = 4,
    options: Annotated[ReadOptions, tyro.conf.arg(name="midi")] = ReadOptions(),
    pictures: int = 12,
    corpus_map: Flag = False,
) -> None:
    """Measure the rhythm of a file or folder: a table, CSV, JSON and, with matplotlib, an HTML report with pictures.

    Pieces in several metres, or on several grids, have a table for each, of the metrics that depend on it.

    With --against, every metric is compared with that of another folder: effect size (d, Cohen's), overlapping area and
    KL divergence (nats) of the two distributions over pieces.

    Args:
        path: MIDI, .npz, a shard, or a folder of them; or a groove as text, .txt, .tidal or .strudel.
        out: folder for report.html, metrics.csv and metrics.json; left out, NAME-analysis in the current folder.
        against: a file or folder to compare with.
        sections: of a single piece, in bars, as "intro:4 verse:8"; each is measured by itself.
        kit: gm10 (of MIDI, if left out), magenta9, gm, or the path of a YAML file. A .npz that names its kit keeps it.
        metre: all reads each part of a MIDI file in its own metre; one, as 6/8, leaves out the others. A .npz that
            names its grid keeps it.
        steps_per_beat: steps in a beat of the metre, likewise; auto takes those that fit: sixteenths or triplets.
        bars_per_phrase: bars in a phrase, likewise.
        options: how the drums of MIDI are found and placed on the grid.
        pictures: most pieces of a folder that the report draws.
        corpus_map: draw the pieces of a folder in the report as points, those alike near to each other; see map.

    Raises:
        HypermeterError: nothing that can be read, sections that do not fit, pieces of different kits or grids to
            compare, a path that cannot be written.
    """
    from hypermeter.core.errors import HypermeterError
    from hypermeter.core.grid import GridChoice
    from hypermeter.share.analyse import analyse_and_write

    if pictures < 0:
        raise HypermeterError(f"pictures is {pictures}, expected at least 0")
    grid = GridChoice.of_words(metre, steps_per_beat, bars_per_phrase)
    if corpus_map and not path.is_dir():
        raise HypermeterError(f"--corpus-map: {path} is no folder, expected one with three pieces or more")
    analyse_and_write(path, out, against, sections, kit, grid, options, pictures, corpus_map)


def render_command(
    source: Annotated[Path, tyro.conf.arg(metavar="IN")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    sound_font: Path | None = None,
    rate: Annotated[int, tyro.conf.arg(aliases=["--rate-hz"])] = 44100,
    mono: bool = False,
    loop: bool = False,
    swing: float = 0.5,
    channel: int | None = None,
    track: str | None = None,
    map: str | None = None,
    gain_db: float = 0.0,
    normalize: Literal["none", "peak", "loudness"] = "none",
) -> Path:
    """Play a MIDI file into a WAV file, with a synthesised kit or a sound font.

    Args:
        source: MIDI file, in any metre, with any changes of tempo; or a groove as text, .txt, .tidal or .strudel.
        out: WAV file to write.
        sound_font: SF2 or SF3 file, played by the fluidsynth command; left out, drums and bass are synthesised.
        rate: 44100, 48000 or 22050 samples a second.
        mono: whether to write one channel, not two.
        loop: whether to write exactly the bars of the file, the end of which rings on into the beginning.
        swing: where the second of a pair of sixteenths begins, from .5 (straight) over .67 (triplets) to .8.
        channel: 1 to 16, the MIDI channel with the drums; left out, it is found.
        track: name, or number from 1, of the MIDI track with the drums, likewise.
        map: the pitches of a device or instrument, as td17 or superior3, or auto; left out, General MIDI.
        gain_db: raise the level by so many dB, from -60 to 60, after normalising. A file that would clip is lowered to
            a peak of -1 dB of full scale, and a line says by how much.
        normalize: peak sets the highest sample to -1 dB of full scale, loudness the loudness to -16 LUFS.

    Raises:
        HypermeterError: a file that cannot be read, written or played; a number out of its bounds.
    """
    from hypermeter.io.midi import to_midi_bytes
    from hypermeter.io.midi.read import read_content
    from hypermeter.io.notation import is_text, read_text_parts
    from hypermeter.share.sound.level import Level
    from hypermeter.share.sound.render import WavOptions, check_sound, write_midi_sound

    options = WavOptions(sound_font, rate, mono, loop, Level(gain_db, normalize), ReadOptions(channel, track, map=map))
    check_sound(out, [source, sound_font], swing)
    content = to_midi_bytes(read_text_parts(source)) if is_text(source) else read_content(source)
    for line in write_midi_sound(content, str(source), out, options, swing):
        print(line)
    return out

"""Grooves as people read them: an ASCII grid, which can be read back, and a PNG."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hypermeter.grid import Grid, Groove, HypermeterError, atomic_write
from hypermeter.kit import Kit, check_voices, load_kit
from hypermeter.tracks import HOLD, LOWEST_PITCH, TRACKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = {"o": 0.3, "x": 0.7, "X": 0.95}
"""Symbol of a hit -> velocity: ghost note, plain, accent. A rest is a dot."""

STRIP = 4
"""Height of a track in a picture, in voices."""

MOST_BARS = 64
"""Bars in a picture."""

STREAM_COLOURS = ("#c2410c", "#1d4ed8", "#0f766e")
"""Of low, mid and high voices."""

NOTES = "CcDdEFfGgAaB"
"""A note's name in one letter, small where it is sharp."""

HEADER = r"tempo (\d{1,9}(?:\.\d{1,30})?), metre (\d{1,3}/\d{1,3}), (\d{1,3}) steps a beat, phrases of (\d{1,3})"
"""What stands first in a groove as text: tempo, metre, steps a beat, bars a phrase."""

_OCTAVES = "_0123456789"
"""An octave's number in one sign; MIDI's lowest is that below 0."""

_OCTAVE = "-octave"
_HEADER = re.compile(HEADER)
_ROW = re.compile(r"(\S+) *\|(.*)\|")


def ascii_grid(groove: Groove) -> str:
    """Voices down, steps across, bars between ``|``, one block of lines a phrase; the last voice of the kit on top.

    ``read_ascii`` reads it back: hits exactly, velocity as one of LEVELS. Left out are offsets and voices without hits.
    A groove without hits shows all voices. A track has two rows below the drums: its notes, a letter of NOTES where one
    begins and - while it goes on, and their octaves, 4 from middle C on.

    Raises:
        HypermeterError: hits of another number of voices than the kit has.
    """
    grid, kit = groove.grid, load_kit(groove.kit)
    check_voices(kit, groove.hits.shape[1])
    levels = np.array([*LEVELS.values()])
    nearest = np.abs(groove.velocity[..., None] - levels).argmin(-1)
    symbols = np.where(groove.hits > 0, np.array([*LEVELS])[nearest], ".")
    sounding = groove.hits.any(0) | (not groove.hits.any())
    names = [*kit.names, *(f"{name}{_OCTAVE}" for name in groove.tracks)]
    width, size = max(map(len, names)) + 1, grid.steps_per_bar
    blocks = [
        f"tempo {groove.tempo_bpm:g}, metre {grid.metre}, {grid.steps_per_beat} steps a beat, "
        f"phrases of {grid.bars_per_phrase}"
    ]
    for start in range(0, len(groove), grid.steps_per_phrase):
        phrase = symbols[start : start + grid.steps_per_phrase]
        rows = []
        for column in reversed(np.flatnonzero(sounding)):
            bars = ["".join(phrase[at : at + size, column]) for at in range(0, len(phrase), size)]
            rows.append(f"{kit.names[column]:{width}}|{'|'.join(bars)}|")
        for name, codes in groove.tracks.items():
            for row, letters in zip((name, f"{name}{_OCTAVE}"), _track_rows(codes), strict=True):
                part = letters[start : start + grid.steps_per_phrase]
                bars = [part[at : at + size] for at in range(0, len(part), size)]
                rows.append(f"{row:{width}}|{'|'.join(bars)}|")
        blocks.append("\n".join(rows))
    return "\n\n".join(blocks) + "\n"


def _track_rows(codes: np.ndarray) -> tuple[str, str]:
    """A letter a step: notes, and octaves."""
    begins = [code > HOLD for code in codes.tolist()]
    notes = "".join(
        NOTES[c % 12] if b else "-" if c == HOLD else "." for c, b in zip(codes.tolist(), begins, strict=True)
    )
    octaves = "".join(_OCTAVES[c // 12] if b else "." for c, b in zip(codes.tolist(), begins, strict=True))
    return notes, octaves


def _track_codes(name: str, notes: str, octaves: str) -> np.ndarray:
    """What ``_track_rows`` wrote, bar lines taken out."""
    if len(notes) != len(octaves):
        raise HypermeterError(f"grid: {name} of {len(notes)} steps, its octaves of {len(octaves)}: expected the same")
    codes = np.zeros(len(notes), np.int16)
    for step, (note, octave) in enumerate(zip(notes, octaves, strict=True)):
        if note == "-":
            codes[step] = HOLD
        elif note != ".":
            code = 12 * _OCTAVES.find(octave) + NOTES.find(note)
            if note not in NOTES or octave not in _OCTAVES or not LOWEST_PITCH <= code <= 127:
                found = f"{note}{octave}"
                raise HypermeterError(f"grid: {name} has {found!r} at step {step + 1}, expected a note as C2")
            codes[step] = code
    return codes


def read_ascii(text: str, kit: str | Path | Kit = "gm10", grid: Grid | None = None) -> Groove:
    """A groove from what ``ascii_grid`` writes. The first line, of tempo and metre, may be left out; # is a comment.

    Args:
        text: rows of voices, a blank line between phrases.
        kit: names the voices: a kit's name, the path of its YAML file, or a ``Kit``.
        grid: where the first line is left out; None is 4/4 in sixteenths.

    Returns:
        The groove; without the first line its tempo is ``unknown``.

    Raises:
        HypermeterError: an unknown voice or symbol, rows of different lengths, a bar that is too short or too long.
    """
    given, kit = kit, load_kit(kit)
    grid, tempo_bpm, unknown = grid or Grid(), 120.0, frozenset(("tempo_bpm",))
    blocks: list[dict[int, str]] = [{}]
    played = {*TRACKS, *re.findall(rf"^\s*(\S+){_OCTAVE} *\|", text, re.MULTILINE)}
    melodies: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        where, line = f"grid, line {number}", line.partition("#")[0].strip()
        if header := _HEADER.fullmatch(line):
            grid, tempo_bpm = Grid.of_metre(header[2], int(header[3]), int(header[4])), float(header[1])
            unknown = frozenset()
        elif row := _ROW.fullmatch(line):
            if row[1].removesuffix(_OCTAVE) in played and row[1] not in kit.names:
                melodies.setdefault(row[1], []).append(row[2].replace("|", ""))
                continue
            column = _column(row[1], row[2], kit, where)
            if column in blocks[-1]:
                raise HypermeterError(f"{where}: {row[1]} is there twice; leave a blank line between phrases")
            blocks[-1][column] = row[2]
        elif line:
            raise HypermeterError(f"{where}: {line[:30]!r}, expected a row as 'snare |....x.......x...|'")
        elif blocks[-1]:
            blocks.append({})
    bars_of = [bar for block in blocks for bar in _bars(block, kit)]
    if not bars_of:
        raise HypermeterError("grid: no rows, expected some as 'snare |....x.......x...|'")
    for number, bar in enumerate(bars_of, 1):
        if len(bar) > grid.steps_per_bar or (len(bar) < grid.steps_per_bar and number < len(bars_of)):
            raise HypermeterError(f"grid: bar {number} has {len(bar)} steps, expected {grid.steps_per_bar}")
    symbols = np.concatenate(bars_of)
    velocity = np.zeros(symbols.shape, np.float32)
    for symbol, level in LEVELS.items():
        velocity[symbols == symbol] = level
    joined = {name: "".join(parts) for name, parts in melodies.items()}
    if alone := {name.removesuffix(_OCTAVE) for name in joined} - joined.keys():
        raise HypermeterError(f"grid: octaves of {min(alone)} without its notes, expected a row of each")
    tracks = {
        name: _track_codes(name, row, joined.get(name + _OCTAVE, ""))
        for name, row in joined.items()
        if not name.endswith(_OCTAVE)
    }
    return Groove(symbols != ".", velocity, tempo_bpm=tempo_bpm, kit=given, grid=grid, unknown=unknown, tracks=tracks)


def _column(voice: str, bars: str, kit: Kit, where: str) -> int:
    if voice not in kit.names:
        raise HypermeterError(f"{where}: no voice {voice!r} in {kit.name}, expected one of {', '.join(kit.names)}")
    if strange := set(bars) - {*LEVELS, ".", "|"}:
        raise HypermeterError(f"{where}: symbol {min(strange)!r}, expected one of {' '.join(LEVELS)} or a dot")
    return kit.names.index(voice)


def _bars(block: dict[int, str], kit: Kit) -> list[np.ndarray]:
    """Bars (steps, V) of symbols."""
    rows = {column: row.split("|") for column, row in block.items()}
    if not rows:
        return []
    first, *others = rows
    for other in others:
        if [len(bar) for bar in rows[other]] != [len(bar) for bar in rows[first]]:
            one, another = kit.names[other], kit.names[first]
            raise HypermeterError(
                f"grid: bars of {one} {block[other]!r}, expected as long as {another} {block[first]!r}"
            )
    bars = [np.full((len(bar), kit.num_voices), ".") for bar in rows[first]]
    for column, row in rows.items():
        for bar, symbols in zip(bars, row, strict=True):
            bar[:, column] = list(symbols)
    return bars


def plot_groove(groove: Groove, path: str | Path, title: str = "", primer_steps: int = 0) -> Path:
    """``draw_groove`` as PNG.

    Raises:
        HypermeterError: a path that cannot be written.
    """
    figure = draw_groove(groove, title, primer_steps)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")
    return Path(path)


def show_picture(groove: Groove, path: str | Path, title: str = "", primer_steps: int = 0) -> None:
    """``plot_groove`` and print the path; without matplotlib, print that there is no picture.

    Raises:
        HypermeterError: a path that cannot be written.
    """
    if find_spec("matplotlib") is None:
        print(f"{path} is left out: pictures need matplotlib; pip install matplotlib")
    else:
        print(plot_groove(groove, path, title, primer_steps))


def draw_groove(groove: Groove, title: str = "", primer_steps: int = 0) -> "Figure":
    """A drum grid: velocity as height and shade, offset as displacement from the step, lines at bars and phrases.

    Two phrases a row, the first ``MOST_BARS`` bars, with the names of sections above. Low, mid and high voices have
    colours of their own; voices without hits are left out. A track is a strip below the drums, its notes as bars from
    its lowest, which is named, to its highest.

    Args:
        groove: what to draw.
        title: above the picture.
        primer_steps: steps from the start to shade, as what a model was given.

    Raises:
        HypermeterError: hits of another number of voices than the kit has.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch, Rectangle

    grid, kit = groove.grid, load_kit(groove.kit)
    check_voices(kit, groove.hits.shape[1])
    colours = voice_colours(kit)
    steps = min(len(groove), MOST_BARS * grid.steps_per_bar)
    if steps < len(groove):
        title = f"{title} (bars 1-{MOST_BARS} of {groove.num_bars})".strip()
    sounding = np.flatnonzero(groove.hits.any(0) | (not groove.hits.any()))
    row_steps = min(2 * grid.steps_per_phrase, max(steps, 1))
    starts = range(0, max(steps, 1), row_steps)
    melodies = {name: codes for name, codes in groove.tracks.items() if (codes > HOLD).any()}
    below = STRIP * len(melodies)
    height = (0.6 + 0.22 * (len(sounding) + below)) * len(starts) + 0.8
    figure = Figure((13, height), dpi=110, layout="constrained")
    axes = figure.subplots(len(starts), 1, squeeze=False)[:, 0]
    for axis, start in zip(axes, starts, strict=True):
        end = min(start + row_steps, steps)
        axis.axvspan(start, max(min(end, primer_steps), start), color="0.92", zorder=0, linewidth=0)
        for row in range(1, len(sounding)):
            axis.axhline(row, color="0.85", linewidth=0.5, zorder=0)
        for line in range(start, start + row_steps + 1, grid.steps_per_beat):
            width = 1.6 if line % grid.steps_per_phrase == 0 else 0.8 if line % grid.steps_per_bar == 0 else 0.2
            axis.axvline(line, color="0.25", linewidth=width, zorder=1)
        at, rows = np.nonzero(groove.hits[start:end, sounding])
        cells = at + start, sounding[rows]
        left, velocity = cells[0] + groove.offset[cells], groove.velocity[cells]
        heights = height_of(velocity)
        boxes = [
            Rectangle((x + 0.06, y + 0.5 - height / 2), 0.82, height)
            for x, y, height in zip(left, rows, heights, strict=True)
        ]
        faces = [(colours[column], float(opacity_of(v))) for column, v in zip(cells[1], velocity, strict=True)]
        axis.add_collection(PatchCollection(boxes, facecolor=faces, zorder=2, linewidth=0))
        for bar, name in _section_starts(groove, start, end):
            axis.text(bar, len(sounding) + 0.15, name, fontsize=8, ha="left", va="bottom")
        for number, codes in enumerate(melodies.values(), 1):
            axis.axhline(STRIP - STRIP * number, color="0.25", linewidth=0.8)
            axis.add_collection(_strip(codes, start, end, -STRIP * number))
        axis.set(xlim=(start - 0.5, start + row_steps + 0.5), ylim=(-below, len(sounding)))
        ticks = [(row + 0.5, kit.names[column]) for row, column in enumerate(sounding)]
        for number, (name, codes) in enumerate(melodies.items(), 1):
            low, high = codes[codes > HOLD].min(), codes.max()
            ticks += [(STRIP / 2 - STRIP * number, name), (0.5 - STRIP * number, _note(low))]
            ticks += [(STRIP - 0.5 - STRIP * number, _note(high))] if high > low else []
        axis.set_yticks(*zip(*ticks, strict=True), fontsize=8)
        bars = range(start, end, grid.steps_per_bar)
        axis.set_xticks(list(bars), [str(each // grid.steps_per_bar + 1) for each in bars], fontsize=8)
        axis.tick_params(length=0)
    axes[-1].set_xlabel(f"bar ({grid.metre}, {groove.tempo_bpm:g} bpm)", fontsize=8)
    shades = [Patch(facecolor=("0.2", float(opacity_of(v))), label=f"{v:g}") for v in (0.2, 0.6, 1.0)]
    axes[0].legend(
        handles=shades, title="velocity", title_fontsize=8, fontsize=8, ncols=3, frameon=False, borderpad=0,
        loc="lower right", bbox_to_anchor=(1, 1.0), columnspacing=1, handlelength=1, alignment="right",
    )  # fmt: skip
    figure.suptitle(title, fontsize=10)
    return figure


def voice_colours(kit: Kit) -> list[str]:
    """The colour of each voice: of the low, mid and high ones."""
    colours = [""] * kit.num_voices
    for stream, colour in zip(kit.streams, STREAM_COLOURS, strict=True):
        for column in stream:
            colours[column] = colour
    return colours


def height_of(velocity: np.ndarray) -> np.ndarray:
    """Height of a hit in a picture, in rows."""
    return 0.28 + 0.6 * velocity


def opacity_of(velocity: np.ndarray | float) -> np.ndarray | float:
    """Opacity of a hit in a picture."""
    return 0.3 + 0.7 * velocity


def _section_starts(groove: Groove, start: int, end: int) -> list[tuple[int, str]]:
    """The steps of a row where a section begins, and its name; the row's first bar names its section too."""
    if groove.sections is None:
        return []
    size, found, before = groove.grid.steps_per_bar, [], ""
    for step in range(start, end, size):
        name = str(groove.sections[step // size])
        if name != before:
            found.append((step, name))
        before = name
    return found


def plot(groove: Groove, path: str | Path | None = None, title: str = "", primer_steps: int = 0) -> "Figure | Path":
    """A picture of a groove: a matplotlib figure, as ``draw_groove``, or a PNG at ``path``, as ``plot_groove``.

    Raises:
        HypermeterError: a path that cannot be written.
    """
    if path is None:
        return draw_groove(groove, title, primer_steps)
    return plot_groove(groove, path, title, primer_steps)


def _note(pitch: int) -> str:
    """As people write it: C2, C#2."""
    letter, octave = NOTES[pitch % 12], pitch // 12 - 1
    return f"{letter.upper()}{'' if letter.isupper() else '#'}{octave}"


def _strip(codes: np.ndarray, start: int, end: int, bottom: float) -> Any:
    """The notes of a track as boxes, the lowest of the piece at the bottom of the strip."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    pitches = codes[codes > HOLD]
    low, reach = pitches.min(), max(int(np.ptp(pitches)), 1)
    boxes = []
    for step in np.flatnonzero(codes[:end] > HOLD).tolist():
        last = step + 1
        while last < end and codes[last] == HOLD:
            last += 1
        if last > start:
            y = bottom + 0.25 + (STRIP - 1) * (codes[step] - low) / reach
            first = max(step, start)
            boxes.append(Rectangle((first + 0.08, y), last - first - 0.16, 0.5))
    return PatchCollection(boxes, facecolor="tab:orange", zorder=2)

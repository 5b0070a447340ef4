"""Grooves as pictures."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hypermeter.core.files import atomic_write
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, check_voices, load_kit
from hypermeter.core.tracks import HOLD
from hypermeter.io.ascii import NOTES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRIP = 4
"""Height of a track in a picture, in voices."""

MOST_BARS = 64
"""Bars in a picture."""

STREAM_COLOURS = ("#c2410c", "#1d4ed8", "#0f766e")
"""Of low, mid and high voices."""


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

"""Pictures of grooves: one layout, and two painters of it. SVG is written here; figures and PNG need matplotlib."""

import html
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hypermeter.core.extras import needs
from hypermeter.core.files import atomic_write, check_out
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, check_voices, load_kit
from hypermeter.core.tracks import HOLD
from hypermeter.io.ascii import NOTES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE_SUFFIXES = (".svg", ".png", ".pdf")

MAX_BARS = 64
"""Bars in a picture."""

STRIP = 4
"""Height of a track, in voices."""

STREAM_COLOURS = ("#c2410c", "#2563eb", "#0f766e")
"""Of low, mid and high voices."""

INK, TRACK_COLOUR, PRIMER_COLOUR = "#1f2937", "#7c3aed", "#f59e0b"

# Pixels: height of a voice, greatest width of a step, room around everything, of a line of the header, above the voices
# of a row for its bar numbers, below them, and above a track.
_VOICE, _STEP, _MARGIN, _HEADER, _ABOVE, _BELOW, _GAP = 18, 20, 20, 18, 24, 14, 8


class Box(NamedTuple):
    """A filled rectangle with round corners; its title, if it has one, is shown where it is pointed at."""

    x: float
    y: float
    width: float
    height: float
    colour: str = INK
    opacity: float = 1.0
    radius: float = 0.0
    title: str = ""


class Line(NamedTuple):
    x0: float
    y0: float
    x1: float
    y1: float
    width: float
    opacity: float


class Label(NamedTuple):
    """A text whose baseline starts, or ends, at a point."""

    x: float
    y: float
    text: str
    size: float = 11.0
    opacity: float = 0.9
    is_bold: bool = False
    is_end: bool = False


@dataclass
class Layout:
    """A picture in pixels from its top left corner; what comes later in the fields is painted over what is before."""

    width: float = 0.0
    height: float = 0.0
    shades: list[Box] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)


def layout(
    groove: Groove,
    title: str = "",
    primer_steps: int = 0,
    bars: int = MAX_BARS,
    phrases_per_row: int = 2,
    row_width: float = 1280,
) -> Layout:
    """Return a drum grid: a hit's height and opacity are its velocity, its place is its step and offset.

    Several strokes of a voice on one step, as in a flam or a roll, are as many narrow bars.

    Bars are numbered, sections named. Low, mid and high voices have colours of their own; voices without hits are left
    out. A track is a strip below the drums, from its lowest note to its highest, both of which are named.

    Args:
        groove: to draw.
        title: above the picture.
        primer_steps: steps from the start to shade.
        bars: most bars that are drawn.
        phrases_per_row: phrases side by side.
        row_width: of a full row, in pixels.

    Raises:
        HypermeterError: hits of another number of voices than the kit has.
    """
    grid, kit = groove.grid, load_kit(groove.kit)
    check_voices(kit, groove.hits.shape[1])
    steps = min(len(groove), bars * grid.steps_per_bar)
    row_steps = min(phrases_per_row * grid.steps_per_phrase, max(steps, 1))
    voices = np.flatnonzero(groove.hits.any(0) | (not groove.hits.any()))[::-1]
    tracks = {name: codes for name, codes in groove.tracks.items() if (codes > HOLD).any()}
    left = 2 * _MARGIN + 6.5 * max(len(name) for name in (*(kit.names[voice] for voice in voices), *tracks, "C#-1"))
    step_width = min(row_width / row_steps, _STEP)
    picture = Layout(max(left + step_width * row_steps + _MARGIN, 640))
    _add_header(picture, groove, title, bars, primer_steps > 0)
    top = _MARGIN + (2 * _HEADER if title else _HEADER)
    for start in range(0, max(steps, 1), row_steps):
        row = _Row(picture, groove, start, min(start + row_steps, steps), left, step_width)
        top = row.add_drums(kit, voices, top + _ABOVE, primer_steps)
        for name, codes in tracks.items():
            top = row.add_track(name, codes, top + _GAP, primer_steps)
        top += _BELOW
    picture.height = top - _BELOW + _MARGIN
    return picture


def _add_header(picture: Layout, groove: Groove, title: str, bars: int, has_primer: bool) -> None:
    """Add the title, facts of the groove, and a legend."""
    count = f"{groove.num_bars} bar{'s' * (groove.num_bars != 1)}"
    facts = f"{count} of {groove.grid.description}, {groove.tempo_bpm:g} bpm, {int(groove.hits.sum())} hits"
    if strokes := len(groove.strokes):
        facts += f" and {strokes} further stroke{'s' * (strokes != 1)}"
    if groove.num_bars > bars:
        facts += f"; the first {bars} bars are shown"
    x, y = picture.width - _MARGIN + 8, _MARGIN + 12
    picture.labels += [Label(_MARGIN, y, title, 15, is_bold=True)] if title else []
    picture.labels.append(Label(_MARGIN, y + _HEADER * bool(title), facts, opacity=0.7))
    for velocity in (1.0, 0.6, 0.2):
        height = float(height_of(velocity)) * _VOICE
        picture.labels.append(Label(x - 20, y, f"{velocity:g}", opacity=0.7))
        picture.boxes.append(Box(x - 32, y - 4 - height / 2, 8, height, INK, float(opacity_of(velocity)), 2))
        x -= 36
    picture.labels.append(Label(x - 4, y, "velocity", opacity=0.7, is_end=True))
    if has_primer:
        picture.labels.append(Label(x - 76, y, "primer", opacity=0.7, is_end=True))
        picture.boxes.append(Box(x - 136, y - 11, 16, 14, PRIMER_COLOUR, 0.3, 2))


@dataclass(frozen=True)
class _Row:
    """A row of a picture: steps ``start`` to ``end`` of a groove. What adds to it returns where it ends below."""

    picture: Layout
    groove: Groove
    start: int
    end: int
    left: float
    step_width: float

    def x(self, step: float) -> float:
        return self.left + (step - self.start) * self.step_width

    def add_drums(self, kit: Kit, voices: np.ndarray, top: float, primer_steps: int) -> float:
        bottom, colours = top + _VOICE * len(voices), voice_colours(kit)
        played, counts = self.groove.played, self.groove.stroke_counts
        played = played.take((self.start <= played.step) & (played.step < self.end))
        self._add_panel(top, bottom, len(voices), primer_steps)
        self._add_bars(top - 7)
        for row, voice in enumerate(voices.tolist()):
            middle = top + _VOICE * (row + 0.5)
            self.picture.labels.append(Label(self.left - 8, middle + 4, kit.names[voice], is_end=True))
            own = played.take(played.voice == voice)
            for step, offset, velocity in zip(*(own.table.T[[0, 2, 3]].tolist()), strict=True):
                width = 0.84 / counts[int(step), voice]
                x, height = self.x(step + offset + 0.06), height_of(velocity) * _VOICE
                place = x, middle - height / 2, width * self.step_width, height
                self.picture.boxes.append(Box(*place, colours[voice], opacity_of(velocity), 2 if width > 0.5 else 1))
        return bottom

    def add_track(self, name: str, codes: np.ndarray, top: float, primer_steps: int) -> float:
        bottom, pitches = top + _VOICE * STRIP, codes[codes > HOLD]
        self._add_panel(top, bottom, 1, primer_steps)
        low, high = int(pitches.min()), int(pitches.max())
        labels = [(top + _VOICE * STRIP / 2, name, 11), (bottom - _VOICE / 2, _note_name(low), 9)]
        labels += [(top + _VOICE / 2, _note_name(high), 9)] if high > low else []
        self.picture.labels += [Label(self.left - 8, y + 4, text, size, is_end=True) for y, text, size in labels]
        for step in np.flatnonzero(codes[: self.end] > HOLD).tolist():
            last = step + 1
            while last < self.end and codes[last] == HOLD:
                last += 1
            first = max(step, self.start)
            if last > first:
                y = bottom - _VOICE * (0.75 + (STRIP - 1) * (int(codes[step]) - low) / max(high - low, 1))
                place = self.x(first + 0.08), y, (last - first - 0.16) * self.step_width, _VOICE / 2
                self.picture.boxes.append(Box(*place, TRACK_COLOUR, 0.9, 2))
        return bottom

    def _add_panel(self, top: float, bottom: float, voices: int, primer_steps: int) -> None:
        """Add the shade of the primer, the lines between voices, and those at beats, bars and phrases."""
        grid, end = self.groove.grid, max(self.end, self.start + 1)
        shaded = min(end, primer_steps) - self.start
        if shaded > 0:
            shade = Box(self.left, top, shaded * self.step_width, bottom - top, PRIMER_COLOUR, 0.16)
            self.picture.shades.append(shade)
        for y in np.linspace(top, bottom, voices + 1).tolist():
            self.picture.lines.append(Line(self.left, y, self.x(end), y, 0.75, 0.12))
        for step in range(self.start, end + 1, grid.steps_per_beat):
            level = 2 if step % grid.steps_per_phrase == 0 else 1 if step % grid.steps_per_bar == 0 else 0
            width, opacity = ((0.75, 0.16), (1, 0.5), (2, 0.9))[level]
            self.picture.lines.append(Line(self.x(step), top, self.x(step), bottom, width, opacity))

    def _add_bars(self, y: float) -> None:
        """Add the numbers of bars, and the name of a section where it begins and at the first bar of the row."""
        size, sections, before = self.groove.grid.steps_per_bar, self.groove.sections, ""
        every = -(-24 // max(int(size * self.step_width), 1))
        for number, step in enumerate(range(self.start, max(self.end, self.start + 1), size)):
            bar, x = str(step // size + 1), self.x(step)
            if number % every == 0:
                self.picture.labels.append(Label(x, y, bar, 10, 0.55))
                x += 6.5 * len(bar) + 5
            name = "" if sections is None or step >= len(self.groove) else str(sections[step // size])
            if name and name != before:
                self.picture.labels.append(Label(x, y, name, is_bold=True))
            before = name


def voice_colours(kit: Kit) -> list[str]:
    """Return the colour of each voice: that of the low, mid or high ones."""
    colours = [""] * kit.num_voices
    for stream, colour in zip(kit.streams, STREAM_COLOURS, strict=True):
        for column in stream:
            colours[column] = colour
    return colours


def height_of(velocity: float) -> float:
    """Return the height of hits in a picture, in voices."""
    return 0.28 + 0.6 * velocity


def opacity_of(velocity: float) -> float:
    """Return the opacity of hits in a picture, in [0.3, 1]."""
    return 0.3 + 0.7 * velocity


def _note_name(pitch: int) -> str:
    """Return a pitch as people write it: C2, C#2."""
    letter, octave = NOTES[pitch % 12], pitch // 12 - 1
    return f"{letter.upper()}{'' if letter.isupper() else '#'}{octave}"


# ---------------------------------------------------------------------- painters


def to_svg(picture: Layout, is_inline: bool = False, what: str = "drum grid") -> str:
    """Return a layout as SVG.

    Args:
        picture: to paint.
        is_inline: whether it is part of a page: then it has the colour of the text around it, no background, and the
            width that there is. Otherwise it is a picture of its own, on white.
        what: it shows, for those who do not see it.
    """
    w, h = _short(picture.width), _short(picture.height)
    look = f'style="display:block;width:100%;max-width:{w}px"' if is_inline else f'width="{w}" height="{h}"'
    what = html.escape(what)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" {look} role="img" aria-label="{what}" '
        f'font-family="system-ui, Helvetica, Arial, sans-serif" color="{"inherit" if is_inline else INK}">'
    ]
    parts += [] if is_inline else [f'<path d="M0 0H{w}V{h}H0z" fill="#fff"/>']
    parts += map(_svg_box, picture.shades)
    for line in picture.lines:
        x0, y0, x1, y1 = map(_short, line[:4])
        look = f'stroke="currentColor" stroke-width="{line.width:g}" stroke-opacity="{line.opacity:g}"'
        parts.append(f'<path d="M{x0} {y0}L{x1} {y1}" {look} shape-rendering="crispEdges"/>')
    parts += map(_svg_box, picture.boxes)
    for label in picture.labels:
        look = f'font-size="{label.size:g}" fill="currentColor" fill-opacity="{label.opacity:g}"'
        look += ' font-weight="600"' * label.is_bold + ' text-anchor="end"' * label.is_end
        parts.append(f'<text x="{_short(label.x)}" y="{_short(label.y)}" {look}>{_text(label.text)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _svg_box(box: Box) -> str:
    x, y, width, height = map(_short, box[:4])
    colour = "currentColor" if box.colour == INK else box.colour
    look = f'rx="{box.radius:g}" fill="{colour}" fill-opacity="{box.opacity:.2f}"'
    place = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" {look}'
    return f"{place}><title>{_text(box.title)}</title></rect>" if box.title else f"{place}/>"


def _text(text: str) -> str:
    return html.escape("".join(letter for letter in text if letter.isprintable()))


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def draw_groove(groove: Groove, title: str = "", primer_steps: int = 0) -> "Figure":
    """Return the picture of a groove as a matplotlib figure; arguments and errors are those of ``layout``."""
    with needs("a picture that is not .svg"):
        from matplotlib.collections import LineCollection, PatchCollection
        from matplotlib.figure import Figure
        from matplotlib.patches import FancyBboxPatch

    picture, points = layout(groove, title, primer_steps), 0.75  # a pixel is 1/96 inch, a point 1/72
    figure = Figure((picture.width / 96, picture.height / 96), dpi=120)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, picture.width), ylim=(picture.height, 0))
    axes.set_axis_off()
    for order, boxes in ((1, picture.shades), (3, picture.boxes)):
        patches = [FancyBboxPatch(box[:2], *box[2:4], f"round,pad=0,rounding_size={box.radius}") for box in boxes]
        colours = [(box.colour, box.opacity) for box in boxes]
        axes.add_collection(PatchCollection(patches, facecolor=colours, linewidth=0, zorder=order))
    axes.add_collection(
        LineCollection(
            [(line[:2], line[2:4]) for line in picture.lines],
            linewidths=[line.width * points for line in picture.lines],
            colors=[(INK, line.opacity) for line in picture.lines],
            zorder=2,
        )
    )
    for x, y, text, size, opacity, is_bold, is_end in picture.labels:
        look = {"fontsize": size * points, "alpha": opacity, "color": INK, "weight": "bold" if is_bold else "normal"}
        axes.text(x, y, text, ha="right" if is_end else "left", va="baseline", parse_math=False, **look)
    return figure


def plot_groove(groove: Groove, path: str | Path, title: str = "", primer_steps: int = 0) -> Path:
    """Write the picture of a groove as SVG, or by matplotlib as PNG or PDF; arguments are those of ``layout``.

    Raises:
        HypermeterError: as ``layout``; a name with another ending, a path that cannot be written, no matplotlib.
    """
    check_out(path, PICTURE_SUFFIXES)
    kind = Path(path).suffix.lower()
    if kind == ".svg":
        svg = to_svg(layout(groove, title, primer_steps))
        with atomic_write(path) as temporary:
            temporary.write_text(svg, "utf-8")
    else:
        figure = draw_groove(groove, title, primer_steps)
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format=kind[1:])
    return Path(path)


def plot(groove: Groove, path: str | Path | None = None, title: str = "", primer_steps: int = 0) -> "Figure | Path":
    """Draw a groove: into a file, as ``plot_groove``; without a path, as a matplotlib figure, as ``draw_groove``.

    Args:
        groove: to draw.
        path: of a .svg, which the package writes by itself, or of a .png or .pdf, for which matplotlib is needed.
        title: above the picture.
        primer_steps: steps from the start to shade.

    Raises:
        HypermeterError: hits of another number of voices than the kit has; a path that cannot be written; no
            matplotlib where it is needed.
    """
    if path is None:
        return draw_groove(groove, title, primer_steps)
    return plot_groove(groove, path, title, primer_steps)


def show_picture(groove: Groove, path: str | Path, title: str = "", primer_steps: int = 0) -> None:
    """Write the picture as ``plot_groove`` does and print its path."""
    print(plot_groove(groove, path, title, primer_steps))

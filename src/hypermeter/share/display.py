"""A groove in a notebook: its grid as SVG, and a player with its sound. Nothing is fetched from anywhere."""

import base64
import html
from dataclasses import replace

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.core.kit import check_voices, load_kit
from hypermeter.share.pictures import height_of, opacity_of, voice_colours
from hypermeter.share.sound import to_wav

MOST_BARS_SHOWN = 16
MOST_SECONDS_PLAYED = 30
RATE_HZ = 22050
"""Of the sound, which is mono: a second is 60 kB of a page."""

_STEP, _ROW, _LEFT, _TOP = 11, 15, 84, 16
"""Width of a step, height of a voice, room for names and for bar numbers, in pixels."""


def groove_html(groove: Groove) -> str:
    """A figure for a page: the grid of the first 16 bars, a player of the first 30 seconds, and a line that says what
    it is, and what of it is shown."""
    grid = groove.grid
    bars = "1 bar" if groove.num_bars == 1 else f"{groove.num_bars} bars"
    said = [f"{bars} of {grid.metre}, {groove.tempo_bpm:g} bpm, {int(groove.hits.sum())} hits"]
    if groove.num_bars > MOST_BARS_SHOWN:
        said.append(f"the first {MOST_BARS_SHOWN} bars are shown")
    try:
        heard, is_whole = _beginning(groove)
        player = audio_html(to_wav(heard, rate_hz=RATE_HZ, is_mono=True))
        if not is_whole:
            said.append(f"the first {heard.num_bars} are played")
    except HypermeterError as error:  # A groove that cannot be heard can still be seen.
        player = ""
        said.append(f"no sound: {error}")
    caption = html.escape("; ".join(said))
    style = "font-size:0.8em;opacity:0.8"
    below = f'<figcaption style="{style}">{caption}</figcaption>'
    return f'<figure style="margin:0">{groove_svg(groove)}{player}{below}</figure>'


def audio_html(wav: bytes) -> str:
    """A player with the sound in it."""
    encoded = base64.b64encode(wav).decode("ascii")
    return (
        '<audio controls preload="metadata" style="display:block;width:100%;max-width:460px;height:34px" '
        f'src="data:audio/wav;base64,{encoded}"></audio>'
    )


def _beginning(groove: Groove) -> tuple[Groove, bool]:
    """As many whole bars from the start as are played, at least one; and whether that is all."""
    size = groove.grid.steps_per_bar
    steps = max(int(MOST_SECONDS_PLAYED / groove.step_duration_s) // size, 1) * size
    if steps >= len(groove):
        return groove, True
    tracks = {name: codes[:steps] for name, codes in groove.tracks.items()}
    arrays = {name: getattr(groove, name)[:steps] for name in ("hits", "velocity", "offset")}
    return replace(groove, **arrays, sections=None, tracks=tracks), False


def groove_svg(groove: Groove) -> str:
    """The grid, a phrase a row: a hit's height and shade are its velocity, its place is its step and offset.

    Text and lines take the colour of the page around them. Voices without hits are left out; so are tracks.

    Raises:
        HypermeterError: hits of another number of voices than the kit has.
    """
    grid, kit = groove.grid, load_kit(groove.kit)
    check_voices(kit, groove.hits.shape[1])
    colours = voice_colours(kit)
    steps = min(len(groove), MOST_BARS_SHOWN * grid.steps_per_bar)
    sounding = np.flatnonzero(groove.hits.any(0) | (not groove.hits.any()))[::-1]
    across = min(grid.steps_per_phrase, max(steps, 1))
    block = _TOP + _ROW * len(sounding) + 6
    starts = range(0, max(steps, 1), across)
    width, height = _LEFT + _STEP * across + 8, block * len(starts)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="drum grid of {groove.num_bars} bars" '
        f'style="display:block;width:100%;max-width:{width}px;font:10px sans-serif" fill="currentColor">'
    ]
    for number, start in enumerate(starts):
        top = number * block + _TOP
        bottom = top + _ROW * len(sounding)
        for line in range(0, across + 1, grid.steps_per_beat):
            weight = 0.9 if line % grid.steps_per_bar == 0 else 0.25
            x = _LEFT + _STEP * line
            parts.append(f'<path d="M{x} {top}V{bottom}" stroke="currentColor" stroke-opacity="{weight}"/>')
        for line in range(0, across, grid.steps_per_bar):
            if start + line < max(steps, 1):
                bar = (start + line) // grid.steps_per_bar + 1
                parts.append(f'<text x="{_LEFT + _STEP * line + 3}" y="{top - 4}" opacity="0.7">{bar}</text>')
        for row, column in enumerate(sounding):
            y = top + _ROW * row
            name = html.escape(kit.names[column])
            parts.append(f'<text x="{_LEFT - 6}" y="{y + _ROW - 4}" text-anchor="end">{name}</text>')
            for step in (start + np.flatnonzero(groove.hits[start : start + across, column])).tolist():
                if step >= steps:
                    break
                velocity = float(groove.velocity[step, column])
                tall = float(height_of(np.array(velocity))) * _ROW
                x = _LEFT + _STEP * (step - start + float(groove.offset[step, column])) + 0.8
                parts.append(
                    f'<rect x="{x:.1f}" y="{y + (_ROW - tall) / 2:.1f}" width="{_STEP - 1.6:.1f}" height="{tall:.1f}" '
                    f'rx="1.5" fill="{colours[column]}" fill-opacity="{opacity_of(velocity):.2f}"/>'
                )
    return "".join([*parts, "</svg>"])

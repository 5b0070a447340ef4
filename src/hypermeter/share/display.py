"""A groove in a notebook: its picture, and a player with its sound. Nothing is fetched from anywhere."""

import base64
import html

from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.share.pictures import layout, to_svg
from hypermeter.share.sound import to_wav

MAX_BARS_SHOWN = 16
MAX_SECONDS_PLAYED = 30
RATE_HZ = 22050
"""Sample rate of the sound, which is mono: a second takes 60 kB of a page."""


def groove_html(groove: Groove) -> str:
    """Return a figure for a page: the picture of the first 16 bars, a player of the first 30 seconds, and a caption
    where not all of the groove is played.

    Raises:
        HypermeterError: hits of another number of voices than the kit has.
    """
    picture = groove_svg(groove)
    try:
        beginning = _beginning(groove)
        player = audio_html(to_wav(beginning, rate_hz=RATE_HZ, is_mono=True))
        caption = "" if beginning is groove else f"the first {beginning.num_bars} bars are played"
    except HypermeterError as error:  # A groove that cannot be rendered is still shown.
        player, caption = "", f"no sound: {error}"
    if caption:
        caption = f'<figcaption style="font-size:0.8em;opacity:0.8">{html.escape(caption)}</figcaption>'
    return f'<figure style="margin:0">{picture}{player}{caption}</figure>'


def groove_svg(groove: Groove) -> str:
    """Return the picture of ``pictures.layout`` as SVG for a page: the first 16 bars, a phrase in a row.

    Raises:
        HypermeterError: hits of another number of voices than the kit has.
    """
    return to_svg(layout(groove, bars=MAX_BARS_SHOWN, phrases_per_row=1, row_width=768), is_inline=True)


def audio_html(wav: bytes) -> str:
    """Return a player that contains the sound."""
    encoded = base64.b64encode(wav).decode("ascii")
    return (
        '<audio controls preload="metadata" style="display:block;width:100%;max-width:460px;height:34px" '
        f'src="data:audio/wav;base64,{encoded}"></audio>'
    )


def _beginning(groove: Groove) -> Groove:
    """Return as many whole bars from the start as are played, at least one; all of a short groove is itself."""
    size = groove.grid.steps_per_bar
    steps = max(int(MAX_SECONDS_PLAYED / groove.step_duration_s) // size, 1) * size
    if steps >= len(groove):
        return groove
    return groove.steps(0, steps)

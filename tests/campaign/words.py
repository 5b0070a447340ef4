"""Short texts of options: sections and metres."""

from pathlib import Path
from random import Random

from .odd import decoded, encoded, text_mutated, tokens
from .reader import Reader

_SECTIONS = (
    "intro", "verse", "chorus", "A", "fill", "rock", ":", ":4", ":8", " ", " ", "+", "rock+verse:8", ":0", ":-1",
    ":1e9", ":99999",
    ":" + "9" * 400, ",", "=", "é", "\n", "\0", "4",
)  # fmt: skip
_METRES = (
    "4/4", "7/8", "3/4", "6/8", ":8", ":4", " ", "/", "4", "16", "0", "-1", "255", "65536", "99999", "9" * 300, ".5",
    "/3", "/0", "all",
    "auto", "٣", "²", "\0",
)  # fmt: skip


def _maker(samples: tuple[str, ...], alphabet: tuple[str, ...]):
    def make(random: Random) -> bytes:
        if random.random() < 0.5:
            return encoded(text_mutated(random, random.choice(samples), alphabet))
        return encoded(tokens(random, alphabet, 12))

    return make


def read_sections(content: bytes, folder: Path) -> None:
    from hypermeter.play.plan import make_plan, section_lengths
    from hypermeter.share.analyse import parse_sections
    from models import LABELS

    text = decoded(content)
    make_plan(LABELS, sum(bars for _, bars in section_lengths(text)), sections=text)
    parse_sections(text, 64)


def read_metres(content: bytes, folder: Path) -> None:
    from hypermeter.core.grid import Grid, GridChoice
    from hypermeter.play.metres import parse_metres

    text = decoded(content)
    if ":" in text:
        parse_metres(text)
    else:
        GridChoice.of_words(text, "auto", 4).grid()
        Grid.of_metre(text)


_PLANS = ("verse:4 chorus:8 verse:2", "rock+verse:4 jazz+chorus:4", "verse:2 fill:1 chorus")
READERS = (
    Reader("sections", _maker(_PLANS, _SECTIONS), read_sections),
    Reader("metres", _maker(("4/4:8 7/8:4 4/4:2", "6/8", "12/8:3"), _METRES), read_metres),
)

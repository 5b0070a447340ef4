"""Grooves as text: TidalCycles, Strudel, ASCII grids."""

from collections.abc import Callable
from pathlib import Path
from random import Random

from .odd import decoded, encoded, text_mutated, tokens
from .reader import Make, Reader

_MINI = (
    "bd", "sn", "hh", "cp", "~", "-", " ", " ", " ", "*2", "*4", "/2", "!", "!3", "@3", "_", "[", "]", "<", ">", "{",
    "}",
    "%4", "(3,8)", "(3,8,2)", ",", ".", " . ", "..", ":3", "0", "1", ".5", "-1", "4096", "1e9", "?", "|", "*<2 3>",
    "!4096",
    "*4096", "(<3 5>,8)", "e", "0x10", "\n",
)  # fmt: skip
_TIDAL = (
    *_MINI, "d1 $ ", "s ", "sound ", '"', '"', " # ", " + ", "gain ", "fast 2 $ ", "slow 2 $ ",
    "every 4 (fast 2) $ ", "stack [",
    "rev $ ", "(", ")", "hurry ", "nudge ", "setcps ", "off 0.25 ", "(1/8)", "|+| ", "cat [", "0.25 ~> ",
    "euclid 3 8 $ ",
    "ply 3 $ ", "striate 2 $ ", "swingBy (1/3) 4 $ ", "-- x\n", "let x = ", "sine", "range 1 5 ",
)  # fmt: skip
_STRUDEL = (
    *_MINI, 's("', '")', "s(`", "`)", ".fast(2)", ".slow(2)", ".gain(.5)", ".bank('RolandTR909')", "stack(", ")",
    "note(", "$: ",
    "setcpm(120/4)", ".every(4, x=>x.fast(2))", ".late(.1)", ".early(1/8)", ".euclid(3,8)", "// x\n", "cat(", "seq(",
    ".struct('x ~')",
    "sine.range(0,1)", ".ply(2)", ".off(1/8, x=>x)", ".swingBy(1/3, 4)", "silence", ".rev()", "=>", "=",
)  # fmt: skip
_STRUDEL_CHAIN = (
    ".fast(2)",
    ".slow(2)",
    ".gain(.5)",
    ".late(.1)",
    ".euclid(3,8)",
    ".rev()",
    ".ply(2)",
    ".every(4, x=>x.fast(2))",
)
_TIDAL_SAMPLES = (
    'd1 $ stack [s "bd*2 sn", s "hh*8" # gain 0.8]',
    'd1 $ every 4 (fast 2) $ s "bd(3,8) [~ sn]*2 <hh cp>!2 . bd _ sn@3"',
    "bd*4 . ~ sn . hh*8, {bd sn cp}%4",
    'setcps 0.5\nd1 $ nudge "0 0.01" # s "bd sn:3 [hh hh]/2"',
)
_STRUDEL_SAMPLES = (
    'stack(s("bd*2, ~ sn"), s("hh*8").gain("1 .5"))',
    's("bd(3,8) [~ sn]*2 <hh cp>!2").late(.01).fast(2)',
    'setcpm(120/4)\n$: s("bd*4")\n$: s("~ cp").euclid(3,8)',
    "bd*4, ~ sn, hh*8",
)
_ASCII = (
    "kick |", "snare |", "closed_hat |", "bass |", "x", "X", "o", "-", ".", " ", "|", "\n", "\n\n", "kick*2 |",
    "# metre 3/4\n", "tempo 120\n",
    "x...", "....", "g", "f", "12", "crash", "=",
)  # fmt: skip


_WORDS = ("bd", "sn", "hh", "cp", "bd:3", "~", "ho", "rim")
_MODIFIERS = (
    "",
    "",
    "",
    "*2",
    "*3",
    "/2",
    "!",
    "!3",
    "@3",
    "(3,8)",
    "(3,8,2)",
    "*<2 3>",
    "!4096",
    "*1000",
    "(<3 5>,8)",
)


def _pattern(random: Random, depth: int = 0) -> str:
    """Return mini-notation by its grammar."""
    steps = []
    for _ in range(random.randint(1, 5)):
        kind = random.randrange(8) if depth < 4 else 0
        term = random.choice(_WORDS)
        if kind > 4:
            opening, closing = (("[", "]"), ("<", ">"), ("{", "}%4"))[kind - 5]
            term = f"{opening}{_pattern(random, depth + 1)}{closing}"
        steps.append(term + random.choice(_MODIFIERS))
    return random.choice((" ", " ", " ", ", ", " . ")).join(steps)


def _tidal(random: Random) -> str:
    sound = f'{random.choice(("s", "sound"))} "{_pattern(random)}"'
    effect = random.choice(("", ' # gain "1 0.5"', " # gain 0.8", ' # nudge "0 0.01"'))
    change = random.choice(
        ("", "fast 2 $ ", "every 4 rev $ ", 'slow "<1 2>" $ ', "0.25 ~> ", "ply 2 $ ", "euclid 3 8 $ ")
    )
    parts = ", ".join([f"{change}{sound}{effect}", 's "hh*8"'][: random.randint(1, 2)])
    return f"d1 $ stack [{parts}]"


def _strudel(random: Random) -> str:
    chain = "".join(random.choice(_STRUDEL_CHAIN) for _ in range(random.randrange(4)))
    return f'stack(s("{_pattern(random)}"){chain}, s("hh*8"))'


def _maker(samples: tuple[str, ...], alphabet: tuple[str, ...], grammar: Callable[[Random], str] | None = None) -> Make:
    """Return what makes a text by a grammar, from a sample by changes, or of random signs."""

    def make(random: Random) -> bytes:
        kind = random.random()
        if grammar and kind < 0.6:
            text = grammar(random)
            return encoded(text_mutated(random, text, alphabet) if kind < 0.2 else text)
        if kind < 0.9:
            return encoded(text_mutated(random, random.choice(samples), alphabet))
        return encoded(tokens(random, alphabet))

    return make


def read_tidal(content: bytes, folder: Path) -> None:
    from hypermeter.io.notation.read import from_tidal

    from_tidal(decoded(content))


def read_strudel(content: bytes, folder: Path) -> None:
    from hypermeter.io.notation.read import from_strudel

    from_strudel(decoded(content))


def make_ascii(random: Random) -> bytes:
    sample = _ascii_sample(random)
    return encoded(sample) if random.random() < 0.2 else _maker((sample,), _ASCII)(random)


def _ascii_sample(random: Random) -> str:
    import numpy as np

    from hypermeter.core.groove import Groove
    from hypermeter.io.ascii import ascii_grid

    hits = np.random.default_rng(random.randrange(2**32)).random((random.choice((16, 32, 20)), 10)) < 0.2
    return ascii_grid(Groove(hits.astype(np.uint8)))


def read_ascii(content: bytes, folder: Path) -> None:
    from hypermeter.io.notation.files import read_text_parts

    path = folder / "a.txt"
    path.write_bytes(content)
    read_text_parts(path)


READERS = (
    Reader("tidal", _maker(_TIDAL_SAMPLES, _TIDAL, _tidal), read_tidal, 2),
    Reader("strudel", _maker(_STRUDEL_SAMPLES, _STRUDEL, _strudel), read_strudel, 2),
    Reader("ascii", make_ascii, read_ascii),
)

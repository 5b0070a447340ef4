"""Reading code of Tidal and Strudel, or mini-notation alone, as a groove."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import floor, lcm, nan
from pathlib import Path

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import DEFAULT_VELOCITY, Groove
from hypermeter.core.kit import Kit, load_kit
from hypermeter.io.ascii import HEADER
from hypermeter.io.notation.mini import describe_place, parse_mini
from hypermeter.io.notation.names import column_of
from hypermeter.io.notation.pattern import Event, Pattern

MAX_BARS = 1024
"""Most cycles until patterns of different lengths repeat together."""

MAX_STEPS = 1_000_000
"""Steps of the longest groove that is read."""

MAX_OFFSET = Fraction(1, 4)
"""Distance in steps from the grid at which an onset is refused; a smaller one becomes its offset."""

MAX_VALUE = 10
"""Largest value of gain and velocity, and of nudge in seconds."""

MAX_CYCLES = 10**12
"""Most cycles a minute that code may set."""

SOUNDS = ("s", "sound", "s_", "drum")
_VALUES = ("gain", "velocity", "nudge")
_EFFECTS = (
    "bank", "room", "size", "sz", "pan", "orbit", "shape", "cut", "legato", "clip", "speed", "n", "note", "lpf", "hpf",
    "cutoff", "hcutoff", "delay", "delaytime", "delayfeedback", "crush", "distort", "attack", "release", "decay",
    "sustain", "color", "colour", "scope", "pianoroll", "punchcard",
)  # fmt: skip
"""Functions that move no onset, and are ignored."""

_HEADER = re.compile(HEADER + r"(?:, (\d{1,7}) steps)?")
_LAST_OFFSET = float(np.nextafter(np.float32(0.5), np.float32(0)))
_TEMPO = ("setcps", "setcpm", "setCps", "setCpm", "cps")
_IS_FRAME = re.compile(r"d\d+|stack|overlay|silence|hush|once|do|\$")
"""Words around patterns."""

_ARITHMETIC = re.compile(r"[\s(]*([\d.]+(?:\s*[*/]\s*[\d.]+)*)\s*\)?")
_COMMENT_LINE = re.compile(r"^[ \t]*(--|//|#).*", re.MULTILINE)
_TOKEN = re.compile(
    r"""(?P<comment>(--|//).*|\{-[\s\S]*?-\}|/\*[\s\S]*?\*/)
    |(?P<text>"[^"]*"|'[^']*'|`[^`]*`)
    |(?P<number>-?(\d+(\.\d+)?|\.\d+))
    |(?P<word>[A-Za-z_$][\w]*'?)
    |(?P<sign>\|[+<>|]\||\|[+<>|]|[+<>|]\||\S)
    |\s+""",
    re.VERBOSE,
)


@dataclass
class _Text:
    """A pattern and the position of its text, which errors name."""

    pattern: Pattern
    text: str
    line: int
    column: int
    where: str

    def place(self, event: Event) -> str:
        return f"{self.where}, {describe_place(self.text, event.place, self.line, self.column)}"


@dataclass
class _Layer:
    """One `s` and its values of gain, velocity and nudge."""

    sound: _Text
    values: dict[str, _Text | float] = field(default_factory=dict)


def from_tidal(
    text: str,
    kit: str | Path | Kit = "gm10",
    grid: Grid | None = None,
    tempo_bpm: float | None = None,
    bars: int | None = None,
    where: str = "tidal",
    *,
    rotates_right: bool = False,
) -> Groove:
    """Return the groove that TidalCycles code, Strudel code, or mini-notation alone denotes; one cycle is one bar.

    Supported are `d1 $ s "..."`, `stack` in either language, `gain`, `velocity`, `nudge`, and the tempo of `setcps` or
    `setcpm`; effects that move no onset are ignored. For the notation see `parse_mini`. Of several hits of one voice on
    one step the loudest is kept.

    Args:
        text: the code. The comment that `to_tidal` writes states the grid, the tempo if the code sets none, and the
            length if the patterns repeat after as many bars.
        kit: the kit whose voices play the samples; `:n` after a sample matters only if the kit has several of its kind.
        grid: the grid if the comment states none. Default: 4/4 in sixteenths.
        tempo_bpm: the tempo if neither comment nor code state one. Default: 120, and the tempo is `unknown`.
        bars: length of the groove. Default: that of the comment, else the bars after which the patterns repeat.
        where: the name of the text in errors.
        rotates_right: the direction of Euclidean rotations, see `parse_mini`.

    Raises:
        HypermeterError: code that is not supported, such as `every`; a sample that no voice plays; an onset a quarter
            of a step or more from the grid; patterns that repeat after more than 1024 bars. The error has its position.
    """
    if bars is not None and bars < 1:
        raise HypermeterError(f"bars is {bars}, expected at least 1")
    voices, steps = load_kit(kit), 0
    header = _HEADER.search(text)
    if header:
        grid = Grid.of_metre(header[2], int(header[3]), int(header[4]))
        tempo_bpm, steps = float(header[1]), int(header[5] or 0)
    grid = grid or Grid()
    layers, cycles_a_minute = _layers(text, where, rotates_right)
    if cycles_a_minute is not None:
        tempo_bpm = float(cycles_a_minute * grid.steps_per_bar / Fraction(grid.steps_per_quarter))
    period = _period_of(layers)
    if bars is not None:
        steps = bars * grid.steps_per_bar
    elif not steps or -(-steps // grid.steps_per_bar) % period:
        if period > MAX_BARS:
            after = period if period < 10**6 else "more than a million"
            raise HypermeterError(
                f"{where}: repeats after {after} bars, expected at most {MAX_BARS}; say how many bars"
            )
        steps = period * grid.steps_per_bar
    if steps > MAX_STEPS:
        raise HypermeterError(f"{where}: {steps} steps, expected at most {MAX_STEPS}; ask for fewer bars")
    unknown = frozenset(("tempo_bpm",) if tempo_bpm is None else ())
    tempo_bpm = 120.0 if tempo_bpm is None else tempo_bpm
    shape = steps, voices.num_voices
    silent = Groove(np.zeros(shape), tempo_bpm=tempo_bpm, kit=kit, grid=grid, unknown=unknown)
    arrays = np.zeros(shape, np.uint8), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for layer in layers:
        _add_hits(layer, silent, voices, *arrays)
    hits, velocity, offset = arrays
    return replace(silent, hits=hits, velocity=velocity, offset=offset)


def from_strudel(
    text: str,
    kit: str | Path | Kit = "gm10",
    grid: Grid | None = None,
    tempo_bpm: float | None = None,
    bars: int | None = None,
    where: str = "strudel",
) -> Groove:
    """Do the same as `from_tidal`, with Euclidean rhythms rotated as in Strudel: `(3,8,2)` is two steps later."""
    return from_tidal(text, kit, grid, tempo_bpm, bars, where, rotates_right=True)


def _add_hits(
    layer: _Layer, groove: Groove, kit: Kit, hits: np.ndarray, velocity: np.ndarray, offset: np.ndarray
) -> None:
    """Write the hits of a layer, on the grid and in the tempo of `groove`, into the arrays (T, V)."""
    size = groove.grid.steps_per_bar
    end = Fraction(len(groove), size)
    values = {name: _Values(name, value, end) for name, value in layer.values.items()}
    has_gain = not values.keys().isdisjoint(("gain", "velocity"))
    for event in layer.sound.pattern.query(Fraction(0), end):
        position = event.begin * size
        step = floor(position + Fraction(1, 2))
        distance = position - step
        where = layer.sound.place(event)
        if abs(distance) >= MAX_OFFSET:
            bar, within = divmod(position, size)
            raise HypermeterError(
                f"{where}: {event.word!r} is between two steps (at {float(within):.3g} of the {size} of bar {bar + 1},"
                " from 0); take a grid of more steps a beat"
            )
        numbers = {name: number for name in values if (number := values[name].at(event.begin)) is not None}
        if len(numbers) < len(values) or step >= len(hits):
            continue  # A rest in a value silences the sound, as in Tidal.
        column = column_of(event.word, kit, where)
        gain = min(numbers.get("gain", 1) * numbers.get("velocity", 1), 1) if has_gain else DEFAULT_VELOCITY
        if hits[step, column] and velocity[step, column] >= gain:
            continue
        late = float(distance) + numbers.get("nudge", 0) / groove.step_duration_s
        hits[step, column] = 1
        velocity[step, column] = gain
        offset[step, column] = min(max(late, -0.5), _LAST_OFFSET)


class _Values:
    """The numbers of a pattern by time, or one number."""

    def __init__(self, name: str, value: _Text | float, end: Fraction) -> None:
        self.constant = None if isinstance(value, _Text) else value
        events = sorted(value.pattern.query(Fraction(0), end)) if isinstance(value, _Text) else []
        self.begins = [event.begin for event in events]
        self.ends = [event.end for event in events]
        self.numbers = [_number(name, event.word, value.place(event)) for event in events if isinstance(value, _Text)]

    def at(self, time: Fraction) -> float | None:
        """Return the number that started last and has not ended; `None` in a rest."""
        if self.constant is not None:
            return self.constant
        last = bisect_right(self.begins, time) - 1
        return self.numbers[last] if last >= 0 and time < self.ends[last] else None


def _number(name: str, word: str, where: str) -> float:
    """Return the number of a gain, velocity or nudge; raise if it is none, or out of range."""
    try:
        number = float(word)
    except ValueError:
        number = nan
    least = -MAX_VALUE if name == "nudge" else 0
    if not least <= number <= MAX_VALUE:
        raise HypermeterError(f"{where}: {name} {word[:20]!r}, expected a number from {least} to {MAX_VALUE}")
    return number


def _period_of(layers: Sequence[_Layer]) -> int:
    """Return the number of cycles after which all patterns repeat together."""
    values = [value for layer in layers for value in (layer.sound, *layer.values.values())]
    return lcm(*(value.pattern.period for value in values if isinstance(value, _Text)))


def _layers(text: str, where: str, rotates_right: bool) -> tuple[list[_Layer], Fraction | None]:
    """Return the layers of the code, and the cycles a minute that it sets."""
    tokens = [token for token in _TOKEN.finditer(text) if token.lastgroup not in (None, "comment")]
    if not tokens:
        raise HypermeterError(f'{where}: nothing in it, expected patterns such as bd*4 or s "bd*4"')
    for token in tokens:
        if token[0] in ('"', "`"):
            raise HypermeterError(f"{where}, {describe_place(text, token.start())}: a quote that is not closed")
    if not any(token.lastgroup == "text" or token[0] in ("silence", "hush") for token in tokens):
        bare = _COMMENT_LINE.sub(lambda comment: " " * len(comment[0]), text)
        return [_Layer(_Text(parse_mini(bare, where, rotates_right=rotates_right), bare, 1, 1, where))], None
    layers: list[_Layer] = []
    group: list[_Layer] = []  # The layers that the next value modifies.
    opened: list[tuple[int, list[_Layer]]] = []
    expected, cycles, skip_until = "s", None, 0
    for token in tokens:
        kind, word, at = token.lastgroup, token[0], token.start()
        if at < skip_until:
            continue
        place = f"{where}, {describe_place(text, at)}"
        if kind == "text":
            line = text.count("\n", 0, at) + 1
            column = at - text.rfind("\n", 0, at) + 1
            pattern = None if expected == "skip" else parse_mini(word[1:-1], where, line, column, rotates_right)
            if pattern is not None:
                value = _Text(pattern, word[1:-1], line, column, where)
                if expected in ("s", "skipped"):
                    group = [_Layer(value)]
                    layers += group
                else:
                    for layer in group:
                        layer.values[expected] = value
            expected = "s"
        elif kind == "number" and expected in _VALUES:
            for layer in group:
                layer.values[expected] = _number(expected, word, place)
            expected = "s"
        elif word in _TEMPO:
            cycles, skip_until = _cycles_a_minute(text, token.end(), word, place)
        elif word in SOUNDS or _IS_FRAME.fullmatch(word):
            expected = "s"
        elif word in _VALUES:
            if not group:
                raise HypermeterError(f"{place}: {word} without a sound, expected s and its pattern before it")
            expected = word
        elif word in _EFFECTS:
            expected = "skip"
        elif word in ("(", "["):
            opened.append((len(layers), group))
        elif word in (")", "]") and opened:
            start, before = opened.pop()
            group = layers[start:] or before
            expected = "s" if expected in ("skip", "skipped") else expected
        elif kind == "number" and expected in ("skip", "skipped"):
            expected = "skipped"  # More numbers may follow; a pattern starts the next layer.
        elif word in ("#", ".", ",", ":", ";"):
            continue
        else:
            raise HypermeterError(
                f"{place}: {word!r} is not read; expected s, stack, gain, velocity, nudge and patterns in quotes"
            )
    return layers, cycles


def _cycles_a_minute(text: str, at: int, word: str, place: str) -> tuple[Fraction, int]:
    """Return the tempo in numbers with / and * between them, and the index after them."""
    match = _ARITHMETIC.match(text, at)
    if not match:
        raise HypermeterError(f"{place}: {word} without a number, expected one as (120/60/4)")
    value = Fraction(60 if "cps" in word.lower() else 1)
    try:
        for sign, number in re.findall(r"([*/]?)\s*([\d.]+)", match[1]):
            value = value / Fraction(number) if sign == "/" else value * Fraction(number)
    except (ValueError, ZeroDivisionError) as error:
        raise HypermeterError(f"{place}: {word} of {match[1][:20]}, expected numbers as 120/60/4") from error
    if value > MAX_CYCLES:
        raise HypermeterError(f"{place}: {word} of {match[1][:20]}, expected at most {MAX_CYCLES:.0e} cycles a minute")
    return value, match.end()

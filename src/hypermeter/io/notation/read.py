"""Reading code of Tidal and Strudel, or mini-notation alone, as a groove."""

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import ceil, floor, prod
from pathlib import Path

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import DEFAULT_VELOCITY, Groove
from hypermeter.core.kit import Kit, load_kit
from hypermeter.core.strokes import LATEST_OFFSET
from hypermeter.io.ascii import HEADER
from hypermeter.io.midi.cells import cells_of
from hypermeter.io.notation.code import Program
from hypermeter.io.notation.functions import CHANCE_VALUE, SOUNDS, as_controls, controls_of  # noqa: F401
from hypermeter.io.notation.mini import parse_mini
from hypermeter.io.notation.names import column_of
from hypermeter.io.notation.pattern import Event
from hypermeter.io.notation.source import Source, Word
from hypermeter.io.notation.strudel import read_strudel
from hypermeter.io.notation.tidal import read_tidal

MAX_BARS = 1024
"""Most cycles until patterns of different lengths repeat together."""

MAX_STEPS = 1_000_000
"""Steps of the longest groove that is read."""

MAX_SOUNDS = 1_000_000
"""Most sounds of a groove that is read."""

MAX_MOVES = 400_000
"""Most sounds times the patterns within each other, each of which places a sound: about two seconds."""

MAX_OFFSET = Fraction(1, 4)
"""Distance in steps from the grid at which an onset is refused; a smaller one becomes its offset."""

MAX_VALUE = 10
"""Largest value of gain and velocity, and of nudge in seconds."""

MAX_CYCLES = 10**12
"""Most cycles a minute that code may set."""

_HEADER = re.compile(HEADER + r"(?:, (\d{1,7}) steps)?(?:, shift (-?\d\.\d{1,20}))?")
_COMMENT_LINE = re.compile(r"^[ \t]*(--|//|#).*", re.MULTILINE)
_IS_CODE = re.compile(r"[\"'`$]|\b(silence|hush)\b")
_LAST_OFFSET = float(LATEST_OFFSET)
_ROUNDING = 1e-6
_ROUNDED_NUDGE_S = 1.5e-4
"""Seconds that rounding leaves of the nudge of a stroke that is played where it is written, less its shift."""


def from_tidal(
    text: str,
    kit: str | Path | Kit = "gm10",
    grid: Grid | None = None,
    tempo_bpm: float | None = None,
    bars: int | None = None,
    where: str = "tidal",
) -> Groove:
    """Return the groove that TidalCycles code, or mini-notation alone, denotes; one cycle is one bar.

    The code is evaluated from its start to its end: a second `d1` replaces the first, and `hush` ends all. Supported
    are patterns of `s`, with `#` and its kin, `stack`, `cat`, `fast`, `every`, `swingBy`, `~>` and the like, and the
    tempo of `setcps`; of other controls, such as `room`, only the structure counts. Functions of chance are refused.
    For the notation see `parse_mini`. The parts of a step that is divided evenly, as by `sd*2` or `[~ sd]` in it, are
    further strokes of the nearest step, or hits where that has none.

    Args:
        text: the code. The comment that `to_tidal` writes states the grid, the tempo if the code sets none, and the
            length if the patterns repeat after as many bars.
        kit: the kit whose voices play the samples; `:n` after a sample matters only if the kit has several of its kind.
        grid: the grid if the comment states none. Default: 4/4 in sixteenths.
        tempo_bpm: the tempo if neither comment nor code state one. Default: 120, and the tempo is `unknown`.
        bars: length of the groove. Default: that of the comment, else the bars after which the drums repeat.
        where: the name of the text in errors.

    Raises:
        HypermeterError: code that is not supported, such as `sometimes`; a sample that no voice plays; a step a quarter
            or more of a step from the grid, unless `nudge`, `swing` and the like moved it there; patterns that repeat
            after more than 1024 bars. The error has its position.
    """
    return _groove(text, kit, grid, tempo_bpm, bars, where, read_tidal)


def from_strudel(
    text: str,
    kit: str | Path | Kit = "gm10",
    grid: Grid | None = None,
    tempo_bpm: float | None = None,
    bars: int | None = None,
    where: str = "strudel",
) -> Groove:
    """Return the groove that Strudel code, or mini-notation alone, denotes; otherwise as `from_tidal`.

    What stands behind `$:` or another label plays; without labels, the last statement alone.
    """
    return _groove(text, kit, grid, tempo_bpm, bars, where, read_strudel)


def _groove(
    text: str,
    kit: str | Path | Kit,
    grid: Grid | None,
    tempo_bpm: float | None,
    bars: int | None,
    where: str,
    read: Callable[[Source], Program],
) -> Groove:
    if bars is not None and bars < 1:
        raise HypermeterError(f"bars is {bars}, expected at least 1")
    try:
        return _played(text.removeprefix("\ufeff"), kit, grid, tempo_bpm, bars, where, read)
    except RecursionError as error:
        raise HypermeterError(f"{where}: too many functions within each other; write what they play out") from error


def _played(
    text: str,
    kit: str | Path | Kit,
    grid: Grid | None,
    tempo_bpm: float | None,
    bars: int | None,
    where: str,
    read: Callable[[Source], Program],
) -> Groove:
    program = _program(text, where, read)
    steps, shift = 0, 0.0
    if header := _HEADER.search(text):
        grid = Grid.of_metre(header[2], int(header[3]), int(header[4]))
        tempo_bpm, steps, shift = float(header[1]), int(header[5] or 0), float(header[6] or 0)
    grid = grid or Grid()
    if program.cycles_a_minute is not None:
        if program.cycles_a_minute > MAX_CYCLES:
            raise HypermeterError(f"{where}: a tempo of more than {MAX_CYCLES:.0e} cycles a minute")
        tempo_bpm = float(program.cycles_a_minute * grid.steps_per_bar / Fraction(grid.steps_per_quarter))
    stated, steps = steps, _length(program, grid, steps, bars, where)
    if program.pattern.density * Fraction(steps, grid.steps_per_bar) > MAX_SOUNDS:
        raise HypermeterError(f"{where}: more than {MAX_SOUNDS} sounds; ask for fewer bars")
    if program.pattern.density * Fraction(steps, grid.steps_per_bar) * program.pattern.depth > MAX_MOVES:
        raise HypermeterError(f"{where}: too many sounds of patterns within each other; ask for fewer bars")
    unknown = frozenset(("tempo_bpm",) if tempo_bpm is None else ())
    tempo_bpm = 120.0 if tempo_bpm is None else tempo_bpm
    shape = steps, load_kit(kit).num_voices
    groove = Groove(np.zeros(shape), tempo_bpm=tempo_bpm, kit=kit, grid=grid, unknown=unknown, shift=shift)
    groove = _with_hits(groove, program)
    return groove if bars is not None or steps == stated else _without_repeats(groove)


def _program(text: str, where: str, read: Callable[[Source], Program]) -> Program:
    """Return what code plays, or mini-notation without any code."""
    bare = _COMMENT_LINE.sub(lambda comment: " " * len(comment[0]), text)
    if not bare.strip():
        raise HypermeterError(f'{where}: nothing in it, expected patterns such as bd*4 or s "bd*4"')
    if _IS_CODE.search(bare):
        return read(Source(text, where))
    is_strudel = read is read_strudel
    pattern = parse_mini(bare, where, rotates_right=is_strudel)
    return Program(controls_of("s", pattern, is_strudel))


def _length(program: Program, grid: Grid, steps: int, bars: int | None, where: str) -> int:
    """Return the number of steps: of `bars`, else those of the comment if the pattern repeats so, else its period."""
    period = program.pattern.period
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
    return steps


def _with_hits(groove: Groove, program: Program) -> Groove:
    """Return a groove with the hits of a pattern.

    A hit that nudge or a delay moved by more than half a step is on its nearest step. As the pattern goes on for ever,
    one that leaves the groove at one end comes in at the other. Of hits of a voice at one time the loudest stays.
    """
    size, kit = groove.grid.steps_per_bar, load_kit(groove.kit)
    loudest: dict[tuple[float, int], float] = {}
    bars = Fraction(len(groove), size)
    sounds = [_Sound(event) for event in program.pattern.onsets(Fraction(0), bars)]
    nudge_s = max((abs(sound.nudge_s) for sound in sounds), default=0)
    margin = Fraction(2 + ceil(nudge_s / groove.step_duration_s), size)
    before, after = (program.pattern.onsets(*span) for span in ((-margin, Fraction(0)), (bars, bars + margin)))
    for sound in (*sounds, *map(_Sound, before), *map(_Sound, after)):
        written, moved = sound.steps(size), sound.nudge_s / groove.step_duration_s - groove.shift
        time = float(written) + moved
        step = floor(time + 0.5 + _ROUNDING)
        is_moved = sound.event.delay or abs(moved) > _ROUNDED_NUDGE_S / groove.step_duration_s
        if written % 1 == Fraction(1, 2) and not is_moved:  # Half of a divided step, as in sd*2, is still in it.
            step = floor(written)
        if not 0 <= step < len(groove):
            continue
        column = column_of(sound.word.text, kit, sound.place)
        position = step + min(max(time - step, -0.5), _LAST_OFFSET)
        loudest[position, column] = max(sound.velocity, loudest.get((position, column), 0.0))
    places = np.array(list(loudest), np.float64).reshape(-1, 2).T
    velocities = np.array(list(loudest.values()))
    openness = np.full(len(velocities), np.nan)
    return replace(groove, **cells_of(places[0], places[1].astype(int), velocities, openness, groove.hits.shape))


def _without_repeats(groove: Groove) -> Groove:
    """Return the bars after which a groove repeats, since what made the pattern longer may be no matter of drums."""
    size = groove.grid.steps_per_bar
    for bars in range(1, groove.num_bars):
        steps = bars * size
        if groove.num_bars % bars == 0 and groove.steps(steps, len(groove)) == groove.steps(0, len(groove) - steps):
            return groove.steps(0, steps)
    return groove


class _Sound:
    """What an event plays."""

    def __init__(self, event: Event) -> None:
        values = as_controls(event.value)
        if "s" not in values:
            name, word = next(iter(values.items()))
            raise word.error(f'{name} without a sound, expected s and its pattern, as s "bd sd"')
        self.event, self.word = event, values["s"]
        self.place = self.word.source.place(self.word.at)
        if "n" in values and ":" not in self.word.text and values["n"].text.isdigit() and values["n"].text != "0":
            self.word = self.word._replace(text=f"{self.word.text}:{values['n'].text}")
        levels = [_number(name, values[name], 0) for name in ("gain", "velocity") if name in values]
        self.velocity = min(prod(levels), 1.0) if levels else DEFAULT_VELOCITY
        self.nudge_s = _number("nudge", values["nudge"], -MAX_VALUE) if "nudge" in values else 0.0

    def steps(self, size: int) -> Fraction:
        """Return the time in steps, of `size` a cycle.

        Raise if neither it nor where delays moved it from is a step, or one of the equal parts of a divided step.
        """
        times = self.event.begin * size, (self.event.begin - self.event.delay) * size
        begin, end = self.event.span
        length = (end - begin) * size
        is_part = length < 1 and length.numerator == 1 and (times[1] / length).denominator == 1
        if not is_part and all(abs(time - round(time)) >= MAX_OFFSET for time in times):
            bar, within = divmod(times[0], size)
            raise HypermeterError(
                f"{self.place}: {self.word.text!r} is between two steps (at {float(within):.3g} of the {size} of bar "
                f"{bar + 1}, from 0); take a grid of more steps a beat"
            )
        return times[0]


def _number(name: str, word: Word, least: int) -> float:
    if word.text == CHANCE_VALUE:
        raise word.error(f"{name} by chance, which is not read; write the numbers out")
    return float(word.number(name, least, MAX_VALUE))

"""Writing grooves as live coding: a pattern for each voice, a cycle for each bar."""

from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np

from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import check_voices, load_kit
from hypermeter.io.notation.divided import DividedStep, Stroke, divided_steps
from hypermeter.io.notation.names import samples_of

REST = "~"


def to_tidal(groove: Groove, with_gain: bool = True, with_timing: bool = False) -> str:
    """Return a groove as TidalCycles code, `d1 $ stack [s "bd ~ sd ~" # gain "0.8", ...]`, with a bar in each cycle.

    A comment in the first line states tempo, metre and length, so that `from_tidal` reads the same groove: hits
    exactly, other values as rounded here. Several strokes of a voice on a step are written where they are beside its
    hit, in parts of a step: `sd*2`, or `[~ sd]`. Tracks beside the drums are left out, and named in a comment.

    Args:
        groove: the groove.
        with_gain: write velocity as gain, to two decimals.
        with_timing: write shift and offset together as nudge, in seconds to four decimals; the comment has the shift.

    Raises:
        HypermeterError: another number of voices than the kit has.
    """
    patterns = _layers(groove, with_gain, with_timing)
    layers = [" # ".join(f'{name} "{text}"' for name, text in layer) for layer in patterns]
    body = ["d1 $ stack [", *_with_commas(layers), "  ]"] if layers else ["d1 $ silence"]
    cycle = f"setcps ({_tempo(groove)}/60/{_quarters(groove)})"
    return "\n".join([*(f"-- {line}" for line in _header(groove, with_timing)), "", cycle, "", *body]) + "\n"


def to_strudel(groove: Groove, with_gain: bool = True, with_timing: bool = False) -> str:
    """Return a groove as Strudel code, `stack(s("bd ~ sd ~").gain("0.8"), ...)`; otherwise as `to_tidal`.

    Strudel plays nudge through SuperDirt only.
    """
    patterns = _layers(groove, with_gain, with_timing)
    layers = [".".join(f'{name}("{text}")' for name, text in layer) for layer in patterns]
    body = ["stack(", *_with_commas(layers), ")"] if layers else ["silence"]
    cycle = f"setcpm({_tempo(groove)}/{_quarters(groove)})"
    return "\n".join([*(f"// {line}" for line in _header(groove, with_timing)), "", cycle, *body]) + "\n"


def _header(groove: Groove, with_timing: bool) -> list[str]:
    """Return comments with what the patterns do not contain."""
    grid = groove.grid
    shift = _shift_s(groove) / groove.step_duration_s
    lines = [
        f"tempo {_tempo(groove)}, metre {grid.metre}, {grid.steps_per_beat} steps a beat, "
        f"phrases of {grid.bars_per_phrase}, {len(groove)} steps"
        + (f", shift {np.format_float_positional(shift)}" if with_timing and shift else "")
    ]
    if groove.tracks:
        lines.append(f"left out: {', '.join(groove.tracks)}")
    return lines


def _tempo(groove: Groove) -> str:
    return np.format_float_positional(groove.tempo_bpm, trim="-")


def _quarters(groove: Groove) -> str:
    """Return the number of quarter notes in a bar, as text."""
    return np.format_float_positional(groove.grid.steps_per_bar / groove.grid.steps_per_quarter, trim="-")


def _with_commas(layers: Sequence[str]) -> list[str]:
    return [f"  {layer}{',' if number < len(layers) else ''}" for number, layer in enumerate(layers, 1)]


def _layers(groove: Groove, with_gain: bool, with_timing: bool) -> list[list[tuple[str, str]]]:
    """Return for each voice that plays pairs of a function and its pattern, s first."""
    kit = load_kit(groove.kit)
    check_voices(kit, groove.hits.shape[1])
    samples, layers = samples_of(kit), []
    for column in np.flatnonzero(groove.hits.any(0)).tolist():
        steps = divided_steps(groove, column)
        layer = [("s", _pattern(steps, lambda stroke, sample=samples[column]: sample, groove.grid))]
        layer += [("gain", _values(steps, lambda stroke: _number(stroke.velocity, 2), groove.grid))] * with_gain
        layer += [("nudge", _values(steps, lambda stroke: _nudge(groove, stroke), groove.grid))] * with_timing
        layers.append(layer)
    return layers


def _values(steps: Sequence[DividedStep], text_of: Callable[[Stroke], str], grid: Grid) -> str:
    """Return the value of all strokes, or its pattern if they differ."""
    values = {text_of(stroke) for step in steps for stroke in step if stroke}
    return values.pop() if len(values) == 1 else _pattern(steps, text_of, grid)


def _nudge(groove: Groove, stroke: Stroke) -> str:
    """Return the seconds from where a stroke is written to where it is played."""
    seconds = _toward_zero(np.float64(stroke.distance * groove.step_duration_s))
    return _number(float(seconds) + _shift_s(groove), 4)


def _shift_s(groove: Groove) -> float:
    """Return the shift in seconds, as exactly as it is written."""
    return float(_toward_zero(np.float64(groove.shift * groove.step_duration_s)))


def _toward_zero(seconds: np.ndarray | np.float64) -> np.ndarray:
    """Return times with four decimals that are not further from 0, or a hit would end up on the next step."""
    return np.trunc(seconds * 10**4 + np.sign(seconds) * 1e-6) / 10**4


def _number(value: float, decimals: int) -> str:
    """Return a number without trailing zeros, and never -0."""
    return np.format_float_positional(round(value, decimals) + 0.0, trim="-")


def _pattern(steps: Sequence[DividedStep], text_of: Callable[[Stroke], str], grid: Grid) -> str:
    """Return the mini-notation of one voice, which has the text of each stroke in its place."""
    size = grid.steps_per_bar
    words = [_flat([text_of(stroke) if stroke else REST for stroke in step]) for step in steps]
    words = [f"[{word}]" if " " in word else word for word in words]
    bars = [_bar(words[start : start + size], grid) for start in range(0, len(words), size)]
    lengths = [p for p in range(1, len(bars) + 1) if len(bars) % p == 0]  # so that a loop of the pattern repeats too
    period = next(p for p in lengths if all(bar == bars[i % p] for i, bar in enumerate(bars)))
    if period == 1:
        return bars[0]
    bars = [bar if " " not in bar else f"[{bar}]" for bar in bars[:period]]
    return f"<{' '.join(_runs(bars))}>"


def _bar(words: list[str], grid: Grid) -> str:
    """Return steps of equal length as a cycle: as a flat sequence if it is short, else with a group for each beat."""
    words = _sparse(words)
    beats = grid.beats_per_bar
    if _is_repeated(words) or len(words) <= beats or len(words) % beats:
        return _flat(words)
    size = len(words) // beats
    groups = [_flat(_sparse(words[start : start + size])) for start in range(0, len(words), size)]
    return " ".join(_runs([group if " " not in group else f"[{group}]" for group in groups]))


def _sparse(words: list[str]) -> list[str]:
    """Return every k-th word, for the largest k for which all others are rests; all if one is a divided step."""
    if any(" " in word or "*" in word for word in words):
        return words
    for k in range(len(words), 1, -1):
        if len(words) % k == 0 and all(word == REST for at, word in enumerate(words) if at % k):
            return words[::k]
    return words


def _is_repeated(words: list[str]) -> bool:
    return len(words) > 1 and words[0] != REST and len(set(words)) == 1


def _flat(words: list[str]) -> str:
    first = f"[{words[0]}]" if "*" in words[0] and not words[0].startswith("[") else words[0]
    return f"{first}*{len(words)}" if _is_repeated(words) else " ".join(_runs(words))


def _runs(steps: Sequence[str]) -> list[str]:
    """Return steps with runs of three and more as `step!3`, and rests, which Tidal cannot copy so, in brackets."""
    runs = []
    for step, group in groupby(steps):
        number = len(list(group))
        if number < 3:
            runs += [step] * number
        elif step == REST:
            runs += [f"[{REST}]!{number}"] if number > 4 else [REST] * number
        else:
            runs.append(f"[{step}]!{number}" if "*" in step and not step.startswith("[") else f"{step}!{number}")
    return runs

"""Writing grooves as an ASCII grid for people, and reading it back."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, check_voices, load_kit
from hypermeter.core.strokes import Strokes
from hypermeter.core.tracks import HOLD, LOWEST_PITCH, TRACKS

LEVELS = {"o": 0.3, "x": 0.7, "X": 0.95}
"""Symbol of a hit -> velocity: ghost note, normal hit, accent. A rest is a dot."""

NOTES = "CcDdEFfGgAaB"
"""Note names in one letter each, in lower case for sharps."""

HEADER = r"tempo (\d{1,9}(?:\.\d{1,30})?), metre (\d{1,3}/\d{1,3}), (\d{1,3}) steps a beat, phrases of (\d{1,3})"
"""Pattern of the first line of a groove as text: tempo, metre, steps a beat, bars a phrase."""

_OCTAVES = "_0123456789"
"""Octaves in one sign each, from the lowest of MIDI, which is number -1."""

KINDS = ("", "-before", "-after")
"""Rows of a voice: its hits, and how many further strokes are before and after the hit of each step."""

COUNTS = ".123456789abcdefghijklmnopqrstuvwxyz"
"""Numbers of strokes in one sign each; a dot is none."""

SOFTER = 0.7
"""Velocity of further strokes that are read, as a share of that of their hit."""

_OCTAVE = "-octave"
_HEADER = re.compile(HEADER)
_ROW = re.compile(r"(\S+) *\|(.*)\|")


def ascii_grid(groove: Groove) -> str:
    """Return a groove as text: a block of lines for each phrase, a row for each voice, bars between `|`.

    The last voice of the kit is on top. Left out are offsets, and voices without hits unless none has any. A track has
    two rows below the drums: its notes, a letter of NOTES where one starts and - while it is held, and their octaves,
    of which 4 starts at middle C. Below a voice with several strokes on a step in the phrase, as in a flam or a roll,
    are rows of how many are before the hit and after it. `read_ascii` reads the text back: hits and the number of
    strokes exactly, velocity as one of LEVELS.

    Raises:
        HypermeterError: another number of voices than the kit has, or more strokes on a step than COUNTS has.
    """
    grid, kit = groove.grid, load_kit(groove.kit)
    check_voices(kit, groove.hits.shape[1])
    levels = np.array([*LEVELS.values()])
    nearest = np.abs(groove.velocity[..., None] - levels).argmin(-1)
    symbols = np.where(groove.hits > 0, np.array([*LEVELS])[nearest], ".")
    sounding = groove.hits.any(0) | (not groove.hits.any())
    further = _further_strokes(groove)
    with_strokes = [kit.names[column] + KINDS[1] for column in np.flatnonzero((further != ".").any((0, 1)))]
    names = [*kit.names, *with_strokes, *(f"{name}{_OCTAVE}" for name in groove.tracks)]
    width, size = max(map(len, names)) + 1, grid.steps_per_bar
    blocks = [
        f"tempo {groove.tempo_bpm:g}, metre {grid.metre}, {grid.steps_per_beat} steps a beat, "
        f"phrases of {grid.bars_per_phrase}"
    ]
    for start in range(0, len(groove), grid.steps_per_phrase):
        phrase = symbols[start : start + grid.steps_per_phrase]
        rows = []
        for column in reversed(np.flatnonzero(sounding)):
            counts = further[:, start : start + grid.steps_per_phrase, column]
            for kind, row in zip(KINDS, (phrase[:, column], *counts), strict=True):
                if not kind or (row != ".").any():
                    bars = ["".join(row[at : at + size]) for at in range(0, len(row), size)]
                    rows.append(f"{kit.names[column] + kind:{width}}|{'|'.join(bars)}|")
        for name, codes in groove.tracks.items():
            for row, letters in zip((name, f"{name}{_OCTAVE}"), _track_rows(codes), strict=True):
                letters = letters[start : start + grid.steps_per_phrase]
                bars = [letters[at : at + size] for at in range(0, len(letters), size)]
                rows.append(f"{row:{width}}|{'|'.join(bars)}|")
        blocks.append("\n".join(rows))
    return "\n\n".join(blocks) + "\n"


def _further_strokes(groove: Groove) -> np.ndarray:
    """Return the signs (2, T, V) of the numbers of strokes before and after each hit."""
    strokes, counts = groove.strokes, np.zeros((2, *groove.hits.shape), int)
    is_after = strokes.offset >= groove.offset[strokes.step, strokes.voice]
    np.add.at(counts, (is_after.astype(int), strokes.step, strokes.voice), 1)
    if counts.max(initial=0) >= len(COUNTS):
        raise HypermeterError(f"grid: {counts.max()} strokes beside a hit, expected at most {len(COUNTS) - 1}")
    return np.array([*COUNTS])[counts]


def _track_rows(codes: np.ndarray) -> tuple[str, str]:
    """Return the rows of notes and octaves, with a letter for each step."""
    notes = "".join(NOTES[code % 12] if code > HOLD else "-" if code == HOLD else "." for code in codes.tolist())
    octaves = "".join(_OCTAVES[code // 12] if code > HOLD else "." for code in codes.tolist())
    return notes, octaves


def _track_codes(name: str, notes: str, octaves: str) -> np.ndarray:
    """Return the codes of the rows that `_track_rows` returned."""
    if len(notes) != len(octaves):
        raise HypermeterError(f"grid: {name} of {len(notes)} steps, its octaves of {len(octaves)}: expected the same")
    codes = np.zeros(len(notes), np.int16)
    for step, (note, octave) in enumerate(zip(notes, octaves, strict=True)):
        if note == "-":
            codes[step] = HOLD
        elif note != ".":
            code = 12 * _OCTAVES.find(octave) + NOTES.find(note)
            if note not in NOTES or octave not in _OCTAVES or not LOWEST_PITCH <= code <= 127:
                pair = f"{note}{octave}"
                raise HypermeterError(f"grid: {name} has {pair!r} at step {step + 1}, expected a note such as C2")
            codes[step] = code
    return codes


def read_ascii(text: str, kit: str | Path | Kit = "gm10", grid: Grid | None = None) -> Groove:
    """Return the groove that a text in the form of `ascii_grid` denotes; `#` starts a comment.

    Further strokes are spread evenly over the half step before the hit, or after it, and are SOFTER. On the first step,
    which has no time before it, the hit is a quarter of a step late where strokes are before it.

    Args:
        text: rows of voices, with a blank line between phrases. Without the first line, of tempo and metre, the tempo
            is 120 and `unknown`.
        kit: the voices: an argument of `load_kit`.
        grid: the grid if there is no first line. Default: 4/4 in sixteenths.

    Raises:
        HypermeterError: an unknown voice or symbol, rows of different lengths, a bar that is too short or too long,
            strokes beside no hit, or a second line of another tempo or metre: see `read_ascii_parts`.
    """
    given_kit, kit = kit, load_kit(kit)
    grid, tempo_bpm, unknown = grid or Grid(), 120.0, frozenset(("tempo_bpm",))
    blocks: list[dict[tuple[int, str], str]] = [{}]
    headers: set[str] = set()
    track_names = {*TRACKS, *re.findall(rf"^\s*(\S+){_OCTAVE} *\|", text, re.MULTILINE)}
    melodies: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        where, line = f"grid, line {number}", line.partition("#")[0].strip()
        if header := _HEADER.fullmatch(line):
            grid, tempo_bpm = Grid.of_metre(header[2], int(header[3]), int(header[4])), float(header[1])
            unknown = frozenset()
            if len(headers := headers | {line}) > 1:
                raise HypermeterError(f"{where}: another tempo or metre; expected one, write a file for each part")
        elif row := _ROW.fullmatch(line):
            if row[1].removesuffix(_OCTAVE) in track_names and row[1] not in kit.names:
                melodies.setdefault(row[1], []).append(row[2].replace("|", ""))
                continue
            key = _column_and_kind(row[1], row[2], kit, where)
            if key in blocks[-1]:
                raise HypermeterError(f"{where}: {row[1]} is there twice; leave a blank line between phrases")
            blocks[-1][key] = row[2]
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
    rows_of_voices = np.concatenate(bars_of)
    symbols = rows_of_voices[..., 0]
    velocity = np.zeros(symbols.shape, np.float32)
    for symbol, level in LEVELS.items():
        velocity[symbols == symbol] = level
    rows = {name: "".join(parts) for name, parts in melodies.items()}
    if lonely := {name.removesuffix(_OCTAVE) for name in rows} - rows.keys():
        raise HypermeterError(f"grid: octaves of {min(lonely)} without its notes, expected a row of each")
    tracks = {
        name: _track_codes(name, row, rows.get(name + _OCTAVE, ""))
        for name, row in rows.items()
        if not name.endswith(_OCTAVE)
    }
    strokes, offset = _strokes_of(rows_of_voices, velocity, kit)
    beside: dict[str, Any] = {"unknown": unknown, "tracks": tracks, "strokes": strokes}
    return Groove(symbols != ".", velocity, offset, tempo_bpm, given_kit, grid, **beside)


def read_ascii_parts(text: str, kit: str | Path | Kit = "gm10", grid: Grid | None = None) -> list[Groove]:
    """Return the grooves of a text in which tempo or metre change: one for each line of them, and what is before.

    The arguments and errors are those of `read_ascii`.
    """
    parts: list[list[str]] = [[]]
    for line in text.splitlines():
        is_header = _HEADER.fullmatch(line.partition("#")[0].strip())
        if is_header and any(_ROW.fullmatch(earlier.partition("#")[0].strip()) for earlier in parts[-1]):
            parts.append([])
        parts[-1].append(line)
    return [read_ascii("\n".join(part), kit, grid) for part in parts]


def _strokes_of(rows: np.ndarray, velocity: np.ndarray, kit: Kit) -> tuple[Strokes, np.ndarray]:
    """Return the further strokes, and the offsets (T, V) of the hits, of symbols (T, V, KINDS)."""
    offset, made = np.zeros(velocity.shape, np.float32), []
    for step, voice in np.argwhere((rows[..., 1:] != ".").any(-1)).tolist():
        if rows[step, voice, 0] == ".":
            raise HypermeterError(f"grid: strokes of {kit.names[voice]} at step {step + 1} beside no hit; add the hit")
        before, after = (COUNTS.index(sign) for sign in rows[step, voice, 1:])
        first, hit = (0.0, 0.25) if step == 0 and before else (-0.5, 0.0)
        offset[step, voice] = hit
        inside = np.arange(1, before + 1) if first < 0 else np.arange(before)
        places = [*first + (hit - first) * inside / (before + (first < 0))] if before else []
        places += [*hit + (0.5 - hit) * np.arange(1, after + 1) / (after + 1)]
        made += [(step, voice, place, SOFTER * velocity[step, voice], np.nan) for place in places]
    return Strokes.of_table(np.array(made).reshape(-1, 5)), offset


def _column_and_kind(name: str, bars: str, kit: Kit, where: str) -> tuple[int, str]:
    """Return the column of the voice of a row, and which of KINDS the row is, after checking its symbols."""
    kind = next((kind for kind in KINDS[1:] if name.endswith(kind) and name not in kit.names), "")
    column = kit.column_of(name.removesuffix(kind), where)
    expected = "a number or letter of how many strokes" if kind else f"one of {' '.join(LEVELS)}"
    if unknown := set(bars) - {*(COUNTS if kind else LEVELS), ".", "|"}:
        raise HypermeterError(f"{where}: symbol {min(unknown)!r}, expected {expected} or a dot")
    return column, kind


def _bars(block: dict[tuple[int, str], str], kit: Kit) -> list[np.ndarray]:
    """Return the symbols of a phrase, one array (steps, V, KINDS) for each bar."""
    rows = {key: row.split("|") for key, row in block.items()}
    if not rows:
        return []
    first, *others = rows
    for other in others:
        if [len(bar) for bar in rows[other]] != [len(bar) for bar in rows[first]]:
            (name, kind), expected = other, f"{kit.names[first[0]]}{first[1]} {block[first]!r}"
            found = f"{kit.names[name]}{kind} {block[other]!r}"
            raise HypermeterError(f"grid: bars of {found}, expected as long as {expected}")
    bars = [np.full((len(bar), kit.num_voices, len(KINDS)), ".") for bar in rows[first]]
    for (column, kind), row in rows.items():
        for bar, symbols in zip(bars, row, strict=True):
            bar[:, column, KINDS.index(kind)] = list(symbols)
    return bars

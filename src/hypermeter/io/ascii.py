"""Writing grooves as an ASCII grid for people, and reading it back."""

import re
from pathlib import Path

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, check_voices, load_kit
from hypermeter.core.tracks import HOLD, LOWEST_PITCH, TRACKS

LEVELS = {"o": 0.3, "x": 0.7, "X": 0.95}
"""Symbol of a hit -> velocity: ghost note, normal hit, accent. A rest is a dot."""

NOTES = "CcDdEFfGgAaB"
"""Note names in one letter each, in lower case for sharps."""

HEADER = r"tempo (\d{1,9}(?:\.\d{1,30})?), metre (\d{1,3}/\d{1,3}), (\d{1,3}) steps a beat, phrases of (\d{1,3})"
"""Pattern of the first line of a groove as text: tempo, metre, steps a beat, bars a phrase."""

_OCTAVES = "_0123456789"
"""Octaves in one sign each, from the lowest of MIDI, which is number -1."""

_OCTAVE = "-octave"
_HEADER = re.compile(HEADER)
_ROW = re.compile(r"(\S+) *\|(.*)\|")


def ascii_grid(groove: Groove) -> str:
    """Return a groove as text: a block of lines for each phrase, a row for each voice, bars between `|`.

    The last voice of the kit is on top. Left out are offsets, and voices without hits unless none has any. A track has
    two rows below the drums: its notes, a letter of NOTES where one starts and - while it is held, and their octaves,
    of which 4 starts at middle C. `read_ascii` reads the text back: hits exactly, velocity as one of LEVELS.

    Raises:
        HypermeterError: another number of voices than the kit has.
    """
    grid, kit = groove.grid, load_kit(groove.kit)
    check_voices(kit, groove.hits.shape[1])
    levels = np.array([*LEVELS.values()])
    nearest = np.abs(groove.velocity[..., None] - levels).argmin(-1)
    symbols = np.where(groove.hits > 0, np.array([*LEVELS])[nearest], ".")
    sounding = groove.hits.any(0) | (not groove.hits.any())
    names = [*kit.names, *(f"{name}{_OCTAVE}" for name in groove.tracks)]
    width, size = max(map(len, names)) + 1, grid.steps_per_bar
    blocks = [
        f"tempo {groove.tempo_bpm:g}, metre {grid.metre}, {grid.steps_per_beat} steps a beat, "
        f"phrases of {grid.bars_per_phrase}"
    ]
    for start in range(0, len(groove), grid.steps_per_phrase):
        phrase = symbols[start : start + grid.steps_per_phrase]
        rows = []
        for column in reversed(np.flatnonzero(sounding)):
            bars = ["".join(phrase[at : at + size, column]) for at in range(0, len(phrase), size)]
            rows.append(f"{kit.names[column]:{width}}|{'|'.join(bars)}|")
        for name, codes in groove.tracks.items():
            for row, letters in zip((name, f"{name}{_OCTAVE}"), _track_rows(codes), strict=True):
                letters = letters[start : start + grid.steps_per_phrase]
                bars = [letters[at : at + size] for at in range(0, len(letters), size)]
                rows.append(f"{row:{width}}|{'|'.join(bars)}|")
        blocks.append("\n".join(rows))
    return "\n\n".join(blocks) + "\n"


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

    Args:
        text: rows of voices, with a blank line between phrases. Without the first line, of tempo and metre, the tempo
            is 120 and `unknown`.
        kit: the voices: an argument of `load_kit`.
        grid: the grid if there is no first line. Default: 4/4 in sixteenths.

    Raises:
        HypermeterError: an unknown voice or symbol, rows of different lengths, a bar that is too short or too long.
    """
    given_kit, kit = kit, load_kit(kit)
    grid, tempo_bpm, unknown = grid or Grid(), 120.0, frozenset(("tempo_bpm",))
    blocks: list[dict[int, str]] = [{}]
    track_names = {*TRACKS, *re.findall(rf"^\s*(\S+){_OCTAVE} *\|", text, re.MULTILINE)}
    melodies: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        where, line = f"grid, line {number}", line.partition("#")[0].strip()
        if header := _HEADER.fullmatch(line):
            grid, tempo_bpm = Grid.of_metre(header[2], int(header[3]), int(header[4])), float(header[1])
            unknown = frozenset()
        elif row := _ROW.fullmatch(line):
            if row[1].removesuffix(_OCTAVE) in track_names and row[1] not in kit.names:
                melodies.setdefault(row[1], []).append(row[2].replace("|", ""))
                continue
            column = _column(row[1], row[2], kit, where)
            if column in blocks[-1]:
                raise HypermeterError(f"{where}: {row[1]} is there twice; leave a blank line between phrases")
            blocks[-1][column] = row[2]
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
    symbols = np.concatenate(bars_of)
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
    offset = np.zeros(symbols.shape)
    return Groove(symbols != ".", velocity, offset, tempo_bpm, given_kit, grid, unknown=unknown, tracks=tracks)


def _column(voice: str, bars: str, kit: Kit, where: str) -> int:
    column = kit.column_of(voice, where)
    if unknown := set(bars) - {*LEVELS, ".", "|"}:
        raise HypermeterError(f"{where}: symbol {min(unknown)!r}, expected one of {' '.join(LEVELS)} or a dot")
    return column


def _bars(block: dict[int, str], kit: Kit) -> list[np.ndarray]:
    """Return the symbols of a phrase, one array (steps, V) for each bar."""
    rows = {column: row.split("|") for column, row in block.items()}
    if not rows:
        return []
    first, *others = rows
    for other in others:
        if [len(bar) for bar in rows[other]] != [len(bar) for bar in rows[first]]:
            expected = f"{kit.names[first]} {block[first]!r}"
            raise HypermeterError(f"grid: bars of {kit.names[other]} {block[other]!r}, expected as long as {expected}")
    bars = [np.full((len(bar), kit.num_voices), ".") for bar in rows[first]]
    for column, row in rows.items():
        for bar, symbols in zip(bars, row, strict=True):
            bar[:, column] = list(symbols)
    return bars

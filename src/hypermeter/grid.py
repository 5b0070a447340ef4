"""The metrical grid, a groove on it, and the errors and file writes that every other file shares."""

import glob
import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np


class HypermeterError(Exception):
    """Bad input, said in one line: what, where, what was expected, what to do."""


def check_seed(seed: int | None) -> None:
    """Refuses what no generator takes; None draws a seed."""
    if seed is not None and not 0 <= seed < 2**63:
        raise HypermeterError(f"seed is {seed}, expected 0 to 2**63 - 1")


@dataclass(frozen=True)
class Grid:
    """A metre and how finely it is cut.

    The default is 4/4 in sixteenths, phrases of four bars. 6/8 in sixteenths is
    ``Grid(steps_per_beat=2, beats_per_bar=6, beat_unit=8)``; 4/4 in eighth triplets is ``Grid(steps_per_beat=3)``.
    """

    steps_per_beat: int = 4
    beats_per_bar: int = 4
    bars_per_phrase: int = 4
    beat_unit: int = 4
    """The note value of a beat, as below the line of a time signature."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, int) or value < 1:
                raise HypermeterError(f"grid: {each.name} is {value!r}, expected a whole number of at least 1")
        if self.beat_unit & (self.beat_unit - 1):
            raise HypermeterError(f"grid: beat_unit is {self.beat_unit}, expected a power of two (4 for quarters)")

    @property
    def steps_per_bar(self) -> int:
        return self.steps_per_beat * self.beats_per_bar

    @property
    def steps_per_phrase(self) -> int:
        return self.steps_per_bar * self.bars_per_phrase

    @property
    def steps_per_quarter(self) -> float:
        """Steps in a quarter note, the unit of tempo and of MIDI ticks."""
        return self.steps_per_beat * self.beat_unit / 4

    @property
    def metre(self) -> str:
        return f"{self.beats_per_bar}/{self.beat_unit}"

    @classmethod
    def of_metre(cls, metre: str = "4/4", steps_per_beat: int = 4, bars_per_phrase: int = 4) -> "Grid":
        """From a time signature as people write it, beats/unit.

        Raises:
            HypermeterError: not of that form, or a number out of range.
        """
        beats, slash, unit = metre.partition("/")
        if not (slash and beats.isascii() and unit.isascii() and beats.isdigit() and unit.isdigit()):
            raise HypermeterError(f"metre is {metre!r}, expected beats/unit, as 4/4")
        return cls(steps_per_beat, int(beats), bars_per_phrase, int(unit))

    def to_dict(self) -> dict[str, int]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Grid":
        """The grid that ``to_dict`` wrote; a field left out has its default.

        Raises:
            HypermeterError: an unknown field, or a number out of range.
        """
        unknown = set(values) - {each.name for each in fields(cls)}
        if unknown:
            expected = ", ".join(each.name for each in fields(cls))
            raise HypermeterError(f"grid: unknown field {sorted(unknown)[0]!r}, expected {expected}")
        return cls(**values)


def check_metre(found: Grid, wanted: Grid, what: str) -> None:
    """Refuses ``what``, which is on another grid than that of the model that is to hear it."""
    if (found.metre, found.steps_per_bar) != (wanted.metre, wanted.steps_per_bar):
        raise HypermeterError(
            f"{what} in {found.metre}, {found.steps_per_bar} steps a bar; the model plays {wanted.metre},"
            f" {wanted.steps_per_bar} steps a bar; use a {what} or a model in the same metre"
        )


DEFAULT_VELOCITY = 0.8
"""Of hits and notes that nobody told how loud to play. In [0, 1]."""


@dataclass
class Groove:
    """Drumming on a grid: T steps by V voices.

    Args:
        hits: (T, V), 0 or 1.
        velocity: (T, V) in [0, 1]; read where there is a hit. Left out: DEFAULT_VELOCITY at each hit.
        offset: (T, V) in [-.5, .5) steps, late is positive. Left out: 0.
        tempo_bpm: quarter notes a minute.
        kit: name of a kit, path of its YAML file, or a ``Kit`` (which this file, that kit.py imports, cannot name).
        sections: one label a bar, or None.
        tracks: name -> codes (T,) of a track beside the drums, see ``tracks``.
        unknown: which of velocity, offset and tempo_bpm a file did not tell, so that they only fill a place: metrics
            that read them are undefined.

    Raises:
        HypermeterError: shapes that differ, or values outside the ranges above.
    """

    hits: np.ndarray
    velocity: np.ndarray = None  # pyright: ignore[reportAssignmentType]
    offset: np.ndarray = None  # pyright: ignore[reportAssignmentType]
    tempo_bpm: float = 120.0
    kit: Any = "gm10"
    grid: Grid = field(default_factory=Grid)
    sections: np.ndarray | None = None
    unknown: frozenset[str] = frozenset()
    tracks: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hits = np.asarray(self.hits)
        if hits.ndim != 2 or not ((hits == 0) | (hits == 1)).all():
            raise HypermeterError(f"groove: hits of shape {hits.shape}, expected (steps, voices) of 0 and 1")
        self.hits = hits.astype(np.uint8)
        velocity = np.where(hits > 0, DEFAULT_VELOCITY, 0.0) if self.velocity is None else self.velocity
        self.velocity = np.asarray(velocity, np.float32)
        self.offset = np.asarray(np.zeros(hits.shape) if self.offset is None else self.offset, np.float32)
        for name, array in (("velocity", self.velocity), ("offset", self.offset)):
            if array.shape != hits.shape:
                raise HypermeterError(f"groove: {name} of shape {array.shape}, hits of {hits.shape}: expected the same")
        if not ((self.velocity >= 0) & (self.velocity <= 1)).all():
            raise HypermeterError("groove: velocity outside [0, 1]")
        if not ((self.offset >= -0.5) & (self.offset < 0.5)).all():
            raise HypermeterError("groove: offset outside [-.5, .5) steps")
        self.tracks = {name: self._codes(name, np.asarray(codes)) for name, codes in self.tracks.items()}
        if self.sections is not None and len(self.sections) != self.num_bars:
            raise HypermeterError(
                f"groove: {len(self.sections)} sections, expected one for each of {self.num_bars} bars"
            )
        if not (math.isfinite(self.tempo_bpm) and self.tempo_bpm > 0):
            raise HypermeterError(f"groove: tempo_bpm is {self.tempo_bpm}, expected a finite number above 0")

    def _codes(self, name: str, codes: np.ndarray) -> np.ndarray:
        if not name.isidentifier():
            raise HypermeterError(f"groove: a track is named {name!r}, expected a word of letters, digits and _")
        if codes.shape != self.hits.shape[:1]:
            raise HypermeterError(f"groove: track {name} of shape {codes.shape}, expected ({len(self.hits)},)")
        if codes.dtype.kind not in "ui" or ((codes < 0) | (codes > 127)).any():
            raise HypermeterError(f"groove: track {name} of {codes.dtype}, expected whole numbers from 0 to 127")
        return codes.astype(np.int16)

    def __len__(self) -> int:
        return len(self.hits)

    @property
    def num_bars(self) -> int:
        """Bars begun; the last may be short."""
        return -(-len(self.hits) // self.grid.steps_per_bar)

    @property
    def step_duration_s(self) -> float:
        return 60.0 / self.tempo_bpm / self.grid.steps_per_quarter

    def _repr_html_(self) -> str:
        """The drum grid and a player: what a notebook shows of a groove. ``display``, which this file cannot name, does
        it."""
        return import_module("hypermeter.display").groove_html(self)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its name once the block has ended well.

    A link stays, and the file it leads to is replaced. Within the block, write with what raises ``OSError`` when the
    disk is full: libraries that open files themselves raise errors of their own, so let them fill a buffer.

    Raises:
        HypermeterError: a folder, device or pipe stands there; the folder cannot be made or written; the disk is full.
    """
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()
    if path.exists() and not path.is_file():
        raise HypermeterError(
            f"{path}: a folder, device or pipe, expected a file or nothing there; choose another path"
        )
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{threading.get_ident()}{path.suffix}")
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = f"{path}: cannot be written ({error.strerror}); free space or choose another folder"
            raise HypermeterError(reason) from error
        raise


def check_out(out: str | Path, suffixes: Sequence[str], read: Iterable[str | Path | None] = ()) -> None:
    """That a file to write is named as what it holds, and is none of those that are read.

    Args:
        out: of the file to write.
        suffixes: that it may have, with the dot.
        read: the files that it may not replace; what is not there, or None, is none.

    Raises:
        HypermeterError: where it does not hold.
    """
    out = Path(out)
    if out.suffix.lower() not in suffixes:
        raise HypermeterError(f"{out}: expected a name that ends in {' or '.join(suffixes)}")
    for each in read:
        try:
            is_read = each is not None and out.samefile(each)
        except OSError:  # one of them is not there
            is_read = False
        if is_read:
            raise HypermeterError(f"{out}: one of the files that are read; choose another path for the new one")


def remove_leftovers(path: str | Path) -> None:
    """Remove what processes killed within ``atomic_write`` to ``path`` left; none may be writing it now."""
    path = Path(path)
    for each in path.parent.glob(f".{glob.escape(path.stem)}.*-*{path.suffix}"):
        each.unlink(missing_ok=True)

"""Grooves: drumming on a grid, as immutable values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from hypermeter.core import notebook
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit, load_kit
from hypermeter.core.strokes import LATEST_OFFSET, NO_CHOKES, NO_STROKES, Chokes, Strokes

DEFAULT_VELOCITY = 0.8
"""Velocity in [0, 1] of hits and notes for which none is given."""

CELLS = ("hits", "velocity", "offset", "openness")
"""Names of the arrays (T, V)."""


@dataclass(frozen=True, eq=False, repr=False)
class Groove:
    """Drumming on a grid of T steps and V voices.

    A groove is immutable: its arrays are copied on construction and are read-only; `dataclasses.replace` returns a
    changed copy. Grooves are equal if all fields are, including velocity and offset of cells without a hit; kits are
    compared by their voices. Equal grooves have equal hashes.

    A cell, one voice on one step, has at most one hit: the loudest of its strokes when it was read. The further strokes
    of a flam, a drag or a roll stand beside it in `strokes`; those of a cell without a hit are left out.

    Args:
        hits: (T, V), 0 or 1; stored as uint8.
        velocity: (T, V) in [0, 1], read where there is a hit; stored as float32. Default: DEFAULT_VELOCITY at each hit.
        offset: (T, V) in [-.5, .5) steps, late is positive, read where there is a hit; stored as float32. Default: 0.
            A hit on step t is played at t + shift + offset.
        tempo_bpm: quarter notes a minute.
        kit: the name of a kit, the path of its YAML file, a `Kit`, or a kit's record.
        grid: the metre and its steps.
        sections: (bars,) labels, one for each bar, or `None`.
        unknown: which of velocity, offset, tempo_bpm and strokes have default values because their source lacks them;
            metrics that depend on them are NaN.
        tracks: name -> codes (T,) of a track beside the drums, see `core.tracks`; stored as int16.
        shift: in [-.5, .5) steps: the steady distance of the player from the written grid, late is positive. Steps
            and offsets are counted on the player's own grid, which is the written one moved by the shift.
        strokes: the further strokes of cells.
        openness: (T, V) in [0, 1], how open the hi-hat was at each hit of it: 1 - CC4 / 127, so that 1 is open, and
            Roland's pads are closed at .29. NaN where it is not known, and where there is no hit; stored as float32.
        chokes: moments at which cymbals are choked.

    Raises:
        HypermeterError: arrays of different shapes, or values outside these ranges.
    """

    hits: np.ndarray
    velocity: np.ndarray = None  # pyright: ignore[reportAssignmentType]
    offset: np.ndarray = None  # pyright: ignore[reportAssignmentType]
    tempo_bpm: float = 120.0
    kit: str | Path | Kit = "gm10"
    grid: Grid = field(default_factory=Grid)
    sections: np.ndarray | None = None
    unknown: frozenset[str] = frozenset()
    tracks: Mapping[str, np.ndarray] = field(default_factory=dict)
    shift: float = 0.0
    strokes: Strokes = NO_STROKES
    openness: np.ndarray = None  # pyright: ignore[reportAssignmentType]
    chokes: Chokes = NO_CHOKES

    def __post_init__(self) -> None:
        hits = np.asarray(self.hits)
        if hits.ndim != 2 or np.count_nonzero(hits) != np.count_nonzero(hits == 1):
            raise HypermeterError(f"groove: hits of shape {hits.shape}, expected (steps, voices) of 0 and 1")
        velocity = np.where(hits > 0, DEFAULT_VELOCITY, 0.0) if self.velocity is None else self.velocity
        offset = np.zeros(hits.shape, np.float32) if self.offset is None else self.offset
        self._set("hits", _read_only_copy(hits, np.uint8))
        self._set("velocity", _read_only_copy(velocity, np.float32))
        self._set("offset", _read_only_copy(offset, np.float32))
        for name, array in (("velocity", self.velocity), ("offset", self.offset)):
            if array.shape != hits.shape:
                raise HypermeterError(f"groove: {name} of shape {array.shape}, hits of {hits.shape}: expected the same")
        if not _is_within(self.velocity, 0, 1):
            raise HypermeterError("groove: velocity outside [0, 1]")
        if not _is_within(self.offset, -0.5, LATEST_OFFSET):
            raise HypermeterError("groove: offset outside [-.5, .5) steps")
        self._set_strokes()
        tracks = {name: self._checked_codes(name, np.asarray(codes)) for name, codes in self.tracks.items()}
        self._set("tracks", MappingProxyType(tracks))
        self._set("unknown", frozenset(self.unknown))
        if isinstance(self.kit, Mapping):
            self._set("kit", load_kit(self.kit))
        if self.sections is not None:
            sections = _read_only_copy(self.sections, np.str_)
            if sections.shape != (self.num_bars,):
                raise HypermeterError(
                    f"groove: {len(self.sections)} sections, expected one for each of {self.num_bars} bars"
                )
            self._set("sections", sections)
        if not (math.isfinite(self.tempo_bpm) and self.tempo_bpm > 0):
            raise HypermeterError(f"groove: tempo_bpm is {self.tempo_bpm}, expected a finite number above 0")
        if not -0.5 <= self.shift < 0.5:
            raise HypermeterError(f"groove: shift is {self.shift}, expected [-.5, .5) steps")
        self._set("shift", float(self.shift))

    def _set_strokes(self) -> None:
        """Check and set what stands beside the hits."""
        openness = np.asarray(np.nan if self.openness is None else self.openness, np.float32)
        if np.isnan(openness).all():  # Then it may be of a groove of another length, of which `replace` took a part.
            openness = np.full(self.hits.shape, np.nan, np.float32)
        if openness.shape != self.hits.shape:
            raise HypermeterError(f"groove: openness of shape {openness.shape}, hits of {self.hits.shape}")
        openness = np.where(self.hits > 0, openness, np.float32(np.nan))
        if not _is_within(openness[~np.isnan(openness)], 0, 1):
            raise HypermeterError("groove: openness outside [0, 1]")
        self._set("openness", _read_only_copy(openness, np.float32))
        steps, voices = self.hits.shape
        for moments in (self.strokes, self.chokes):
            if len(moments) and (moments.step[-1] >= steps or moments.voice.max() >= voices):
                kind = type(moments).__name__.lower()
                raise HypermeterError(f"groove: {kind} outside its {steps} steps and {voices} voices")
        self._set("strokes", self.strokes.take(self.hits[self.strokes.step, self.strokes.voice] > 0))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _checked_codes(self, name: str, codes: np.ndarray) -> np.ndarray:
        if not name.isidentifier():
            raise HypermeterError(f"groove: a track is named {name!r}, expected a word of letters, digits and _")
        if codes.shape != self.hits.shape[:1]:
            raise HypermeterError(f"groove: track {name} of shape {codes.shape}, expected ({len(self.hits)},)")
        if codes.dtype.kind not in "ui" or ((codes < 0) | (codes > 127)).any():
            raise HypermeterError(f"groove: track {name} of {codes.dtype}, expected whole numbers from 0 to 127")
        return _read_only_copy(codes, np.int16)

    def __len__(self) -> int:
        return len(self.hits)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Groove):
            return NotImplemented
        return (
            (self.tempo_bpm, self.grid, self.shift, self.unknown, self.strokes, self.chokes)
            == (other.tempo_bpm, other.grid, other.shift, other.unknown, other.strokes, other.chokes)
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in (*CELLS[:3], "sections"))
            and np.array_equal(self.openness, other.openness, equal_nan=True)
            and self.tracks.keys() == other.tracks.keys()
            and all(np.array_equal(codes, other.tracks[name]) for name, codes in self.tracks.items())
            and _are_kits_equal(self.kit, other.kit)
        )

    def __hash__(self) -> int:
        return hash((self.tempo_bpm, self.grid, self.shift, self.hits.shape, self.hits.tobytes()))

    def __repr__(self) -> str:
        steps, voices = self.hits.shape
        kit = self.kit.name if isinstance(self.kit, Kit) else self.kit
        bars = "1 bar" if self.num_bars == 1 else f"{self.num_bars} bars"
        short_last_bar = f" ({steps} steps)" if steps % self.grid.steps_per_bar else ""
        parts = [f"{bars} of {self.grid.metre}{short_last_bar}", f"{self.tempo_bpm:g} bpm"]
        parts += [f"{voices} voices of {kit}", f"{self.hits.sum()} hits"]
        parts += [f"{len(self.strokes)} further strokes"] if len(self.strokes) else []
        parts += [f"shift {self.shift_ms:+.0f} ms"] if self.shift else []
        sections = [] if self.sections is None else [name for name in self.sections.tolist() if name]
        lists = {"sections": dict.fromkeys(sections), "tracks": self.tracks, "unknown": sorted(self.unknown)}
        parts += [f"{field} {' '.join(names)}" for field, names in lists.items() if names]
        return f"<Groove: {', '.join(parts)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and unpickle through the constructor, so that the arrays of the copy are read-only too."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Groove, tuple((values | {"tracks": dict(self.tracks)}).values())

    @property
    def num_bars(self) -> int:
        """Number of bars, a short last one included."""
        return -(-len(self.hits) // self.grid.steps_per_bar)

    @property
    def step_duration_s(self) -> float:
        return 60.0 / self.tempo_bpm / self.grid.steps_per_quarter

    @property
    def shift_ms(self) -> float:
        return self.shift * self.step_duration_s * 1000

    @property
    def num_strokes(self) -> int:
        """Number of all strokes: the hits of cells and their further strokes."""
        return int(np.count_nonzero(self.hits)) + len(self.strokes)

    @property
    def stroke_counts(self) -> np.ndarray:
        """(T, V) int64: the number of strokes of each cell; 0 without a hit, and 1 or more with one."""
        counts = self.hits.astype(np.int64)
        np.add.at(counts, (self.strokes.step, self.strokes.voice), 1)
        return counts

    @property
    def played(self) -> Strokes:
        """All strokes: the hits of all cells and their further strokes."""
        step, voice = np.nonzero(self.hits)
        velocity, offset, openness = (getattr(self, name)[step, voice] for name in CELLS[1:])
        return Strokes(step, voice, offset, velocity, openness).and_of(self.strokes)

    def bars(self, first: int, last: int) -> "Groove":
        """Return the bars from `first` up to and without `last`, counted from 0."""
        part = self.steps(first * self.grid.steps_per_bar, last * self.grid.steps_per_bar)
        return part if self.sections is None else replace(part, sections=self.sections[first:last])

    def steps(self, start: int, stop: int) -> "Groove":
        """Return the steps from `start` up to and without `stop`, counted from 0, without the sections of their bars.

        What is after the last step is left out.
        """
        start, stop, _ = slice(start, stop).indices(len(self))
        moments = {name: getattr(self, name).between(start, stop) for name in ("strokes", "chokes")}
        arrays = {name: getattr(self, name)[start:stop] for name in CELLS}
        tracks = {name: codes[start:stop] for name, codes in self.tracks.items()}
        return replace(self, **arrays, **moments, sections=None, tracks=tracks)

    def _repr_html_(self) -> str | None:
        """Return the display in a notebook, the drum grid and a player; `None` where `notebook.groove_html` is."""
        return None if notebook.groove_html is None else notebook.groove_html(self)


def _is_within(values: np.ndarray, low: float, high: float) -> bool:
    """Return whether all values are from `low` to `high`, and none is NaN."""
    return bool(values.min(initial=low) >= low and values.max(initial=high) <= high)


def _read_only_copy(values: Any, dtype: Any) -> np.ndarray:
    array = np.array(values, dtype)
    array.flags.writeable = False
    return array


def _are_kits_equal(first: str | Path | Kit, second: str | Path | Kit) -> bool:
    """Return whether the voices are the same. A kit that cannot be read equals only itself."""
    if first == second:
        return True
    try:
        return load_kit(first) == load_kit(second)
    except HypermeterError:
        return False

"""A groove: drumming on a grid, as a value."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from hypermeter.core import notebook
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit, load_kit

DEFAULT_VELOCITY = 0.8
"""Of hits and notes that nobody told how loud to play. In [0, 1]."""


_ARRAYS = ("hits", "velocity", "offset", "sections")


@dataclass(frozen=True, eq=False, repr=False)
class Groove:
    """Drumming on a grid: T steps by V voices.

    A value: the arrays are copied on construction and cannot be written into; ``dataclasses.replace`` makes a groove
    that differs. Two grooves are equal where all their parts are, velocity and offset without a hit included, and kits
    are compared by their voices. Equal grooves have equal hashes.

    Args:
        hits: (T, V), 0 or 1; kept as uint8.
        velocity: (T, V) in [0, 1]; read where there is a hit; kept as float32. Left out: DEFAULT_VELOCITY at each hit.
        offset: (T, V) in [-.5, .5) steps, late is positive; kept as float32. Left out: 0.
        tempo_bpm: quarter notes a minute.
        kit: name of a kit, path of its YAML file, or a ``Kit``; a kit's record becomes a ``Kit``.
        sections: one label a bar, or None.
        tracks: name -> codes (T,) of a track beside the drums, see ``tracks``; kept as int16.
        unknown: which of velocity, offset and tempo_bpm a file did not tell, so that they only fill a place: metrics
            that read them are undefined.

    Raises:
        HypermeterError: shapes that differ, or values outside the ranges above.
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

    def __post_init__(self) -> None:
        hits = np.asarray(self.hits)
        if hits.ndim != 2 or not ((hits == 0) | (hits == 1)).all():
            raise HypermeterError(f"groove: hits of shape {hits.shape}, expected (steps, voices) of 0 and 1")
        velocity = np.where(hits > 0, DEFAULT_VELOCITY, 0.0) if self.velocity is None else self.velocity
        offset = np.zeros(hits.shape, np.float32) if self.offset is None else self.offset
        self._set("hits", _frozen(hits, np.uint8))
        self._set("velocity", _frozen(velocity, np.float32))
        self._set("offset", _frozen(offset, np.float32))
        for name, array in (("velocity", self.velocity), ("offset", self.offset)):
            if array.shape != hits.shape:
                raise HypermeterError(f"groove: {name} of shape {array.shape}, hits of {hits.shape}: expected the same")
        if not ((self.velocity >= 0) & (self.velocity <= 1)).all():
            raise HypermeterError("groove: velocity outside [0, 1]")
        if not ((self.offset >= -0.5) & (self.offset < 0.5)).all():
            raise HypermeterError("groove: offset outside [-.5, .5) steps")
        tracks = {name: self._codes(name, np.asarray(codes)) for name, codes in self.tracks.items()}
        self._set("tracks", MappingProxyType(tracks))
        self._set("unknown", frozenset(self.unknown))
        if isinstance(self.kit, Mapping):
            self._set("kit", load_kit(self.kit))
        if self.sections is not None:
            sections = _frozen(self.sections, np.str_)
            if sections.shape != (self.num_bars,):
                raise HypermeterError(
                    f"groove: {len(self.sections)} sections, expected one for each of {self.num_bars} bars"
                )
            self._set("sections", sections)
        if not (math.isfinite(self.tempo_bpm) and self.tempo_bpm > 0):
            raise HypermeterError(f"groove: tempo_bpm is {self.tempo_bpm}, expected a finite number above 0")

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _codes(self, name: str, codes: np.ndarray) -> np.ndarray:
        if not name.isidentifier():
            raise HypermeterError(f"groove: a track is named {name!r}, expected a word of letters, digits and _")
        if codes.shape != self.hits.shape[:1]:
            raise HypermeterError(f"groove: track {name} of shape {codes.shape}, expected ({len(self.hits)},)")
        if codes.dtype.kind not in "ui" or ((codes < 0) | (codes > 127)).any():
            raise HypermeterError(f"groove: track {name} of {codes.dtype}, expected whole numbers from 0 to 127")
        return _frozen(codes, np.int16)

    def __len__(self) -> int:
        return len(self.hits)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Groove):
            return NotImplemented
        return (
            (self.tempo_bpm, self.grid, self.unknown) == (other.tempo_bpm, other.grid, other.unknown)
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in _ARRAYS)
            and self.tracks.keys() == other.tracks.keys()
            and all(np.array_equal(codes, other.tracks[name]) for name, codes in self.tracks.items())
            and _are_kits_equal(self.kit, other.kit)
        )

    def __hash__(self) -> int:
        return hash((self.tempo_bpm, self.grid, self.hits.shape, self.hits.tobytes()))

    def __repr__(self) -> str:
        steps, voices = self.hits.shape
        kit = self.kit.name if isinstance(self.kit, Kit) else self.kit
        bars = "1 bar" if self.num_bars == 1 else f"{self.num_bars} bars"
        cut = f" ({steps} steps)" if steps % self.grid.steps_per_bar else ""
        parts = [f"{bars} of {self.grid.metre}{cut}", f"{self.tempo_bpm:g} bpm"]
        parts += [f"{voices} voices of {kit}", f"{self.hits.sum()} hits"]
        sections = [] if self.sections is None else [name for name in self.sections.tolist() if name]
        for what, names in (
            ("sections", dict.fromkeys(sections)),
            ("tracks", self.tracks),
            ("unknown", sorted(self.unknown)),
        ):
            if names:
                parts.append(f"{what} {' '.join(names)}")
        return f"<Groove: {', '.join(parts)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are made as any groove is, so that their arrays cannot be written into either."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return Groove, tuple((values | {"tracks": dict(self.tracks)}).values())

    @property
    def num_bars(self) -> int:
        """Bars begun; the last may be short."""
        return -(-len(self.hits) // self.grid.steps_per_bar)

    @property
    def step_duration_s(self) -> float:
        return 60.0 / self.tempo_bpm / self.grid.steps_per_quarter

    def _repr_html_(self) -> str | None:
        """What a notebook shows of a groove: the drum grid and a player. None, where nothing is there to draw it."""
        return None if notebook.groove_html is None else notebook.groove_html(self)


def _frozen(values: Any, dtype: Any) -> np.ndarray:
    """A copy that cannot be written into."""
    array = np.array(values, dtype)
    array.flags.writeable = False
    return array


def _are_kits_equal(one: str | Path | Kit, other: str | Path | Kit) -> bool:
    """Whether the voices are the same. A kit that cannot be read equals only itself."""
    if one == other:
        return True
    try:
        return load_kit(one) == load_kit(other)
    except HypermeterError:
        return False

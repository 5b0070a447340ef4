"""A groove: drumming on a grid, as a value."""

import math
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid

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
        return import_module("hypermeter.share.display").groove_html(self)

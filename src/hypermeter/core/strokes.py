"""Moments of voices that stand beside the cells of a groove: further strokes of a cell, and chokes."""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypermeter.core.errors import HypermeterError

LATEST_OFFSET = np.nextafter(np.float32(0.5), np.float32(0))
"""Largest offset, in steps."""

_KINDS = {"step": np.int32, "voice": np.uint8}
"""Types of the arrays that are not float32."""

_RANGES = {"step": (0, 2**24), "voice": (0, 255), "offset": (-0.5, LATEST_OFFSET), "velocity": (0, 1)}


@dataclass(frozen=True, eq=False)
class Chokes:
    """Moments at which the sound of a voice is stopped by hand, as of a cymbal.

    The arrays are read-only copies of equal length N, sorted by step, voice and offset. Equal values have equal hashes.

    Args:
        step: (N,), from 0; stored as int32.
        voice: (N,), columns of voices; stored as uint8.
        offset: (N,) in [-.5, .5) steps, late is positive; stored as float32.

    Raises:
        HypermeterError: arrays of different lengths, or values outside these ranges.
    """

    step: NDArray[Any] = ()  # pyright: ignore[reportAssignmentType]
    voice: NDArray[Any] = ()  # pyright: ignore[reportAssignmentType]
    offset: NDArray[Any] = ()  # pyright: ignore[reportAssignmentType]

    def __post_init__(self) -> None:
        arrays = {}
        for name in self._names():
            values = np.asarray(getattr(self, name), np.float64)
            low, high = _RANGES.get(name, (0, 1))
            is_open = name == "openness"  # NaN where it is not known.
            if values.ndim != 1 or not ((values >= low) & (values <= high) | (is_open & np.isnan(values))).all():
                raise HypermeterError(f"{self._kind()}: {name} of {values.shape}, expected (N,) from {low} to {high:g}")
            if name in _KINDS and (values != np.floor(values)).any():
                raise HypermeterError(f"{self._kind()}: {name} holds fractions, expected whole numbers")
            arrays[name] = values.astype(_KINDS.get(name, np.float32))
        if len({len(array) for array in arrays.values()}) > 1:
            lengths = ", ".join(f"{len(array)} of {name}" for name, array in arrays.items())
            raise HypermeterError(f"{self._kind()}: {lengths}; expected as many of each")
        order = np.lexsort([*arrays.values()][::-1])
        for name, array in arrays.items():
            ordered = array[order]
            ordered.flags.writeable = False
            object.__setattr__(self, name, ordered)

    @classmethod
    def _kind(cls) -> str:
        return cls.__name__.lower()

    @classmethod
    def _names(cls) -> list[str]:
        return [field.name for field in fields(cls)]

    def __len__(self) -> int:
        return len(self.step)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and np.array_equal(self.table, other.table, equal_nan=True)

    def __hash__(self) -> int:
        return hash(self.table.tobytes())

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and unpickle through the constructor, so that the arrays of the copy are read-only too."""
        return type(self), tuple(getattr(self, name) for name in self._names())

    @property
    def table(self) -> NDArray[np.float32]:
        """(N, fields): the arrays as columns in their order, as files hold them."""
        return np.stack([getattr(self, name).astype(np.float32) for name in self._names()], 1)

    @classmethod
    def of_table(cls, table: ArrayLike) -> Self:
        """Return the value whose `table` is the given one.

        Raises:
            HypermeterError: another number of columns, or values outside their ranges.
        """
        columns = np.asarray(table)
        names = cls._names()
        if columns.ndim != 2 or columns.shape[1] != len(names):
            raise HypermeterError(f"{cls._kind()} of shape {columns.shape}, expected (N, {len(names)}): {names}")
        return cls(*columns.T)

    def take(self, which: NDArray[np.bool_]) -> Self:
        """Return those of a mask (N,); itself if these are all."""
        if which.all():
            return self
        return replace(self, **{name: getattr(self, name)[which] for name in self._names()})

    def between(self, start: int, stop: int) -> Self:
        """Return those from the step `start` up to and without `stop`, with their steps counted from `start`."""
        return self.take((self.step >= start) & (self.step < stop)).moved(-start)

    def moved(self, steps: int) -> Self:
        """Return them so many steps later."""
        return replace(self, step=self.step + steps) if steps and len(self) else self

    def and_of(self, other: Self) -> Self:
        """Return these and those of another."""
        return type(self).of_table(np.concatenate([self.table, other.table])) if len(other) else self


@dataclass(frozen=True, eq=False)
class Strokes(Chokes):
    """Strokes of a voice beside the hit of its cell, as in a flam, a drag or a roll.

    Args:
        step, voice, offset: (N,) as of `Chokes`.
        velocity: (N,) in [0, 1]; stored as float32.
        openness: (N,) in [0, 1] as of a groove; NaN where it is not known. Default: all NaN.
    """

    velocity: NDArray[Any] = ()  # pyright: ignore[reportAssignmentType]
    openness: NDArray[Any] = None  # pyright: ignore[reportAssignmentType]

    def __post_init__(self) -> None:
        if self.openness is None:
            object.__setattr__(self, "openness", np.full(len(self.step), np.nan))
        super().__post_init__()


NO_STROKES, NO_CHOKES = Strokes(), Chokes()

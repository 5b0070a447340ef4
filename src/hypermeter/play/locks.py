"""Locks, cells that stay fixed: a kick that stays, all bars but those to replace, an ending."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.play.unions import is_answered

Lock = tuple[NDArray[Any], ...]
"""Lock of a step: which cells are locked, their values, and, where at least one of a set sounds, the set; (B, W)."""


@dataclass(frozen=True)
class Locks:
    """Cells that are fixed, hit or silence, from the first new step on. After the last step nothing is locked.

    Args:
        known: (T, W) or (B, T, W), whether a cell is locked.
        values: of the same shape, 0 or 1; read where `known`.
        some: of the same shape, the voices of each step of which at least one sounds; an empty set demands nothing, and
            neither does `None`.

    Raises:
        HypermeterError: shapes that differ, a locked cell that is neither 0 nor 1, a set that is locked to silence.
    """

    known: NDArray[np.bool_]
    values: NDArray[np.uint8]
    some: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        known, values = np.asarray(self.known, bool), np.asarray(self.values)
        if known.ndim not in (2, 3) or known.shape != values.shape:
            shapes = f"known {known.shape}, values {values.shape}"
            raise HypermeterError(f"locks: {shapes}, expected both (steps, columns) or (rows, steps, columns)")
        fixed = values[known]
        if not ((fixed == 0) | (fixed == 1)).all():
            raise HypermeterError("locks: a locked cell that is neither 0 nor 1; lock hits or silence")
        object.__setattr__(self, "known", known if known.ndim == 3 else known[None])
        values = np.where(known, values, 0).astype(np.uint8)
        object.__setattr__(self, "values", values if values.ndim == 3 else values[None])
        if self.some is not None:
            some = np.asarray(self.some, bool)
            if some.shape != known.shape:
                raise HypermeterError(f"locks: sets {some.shape}, known {known.shape}; expected the same shape")
            object.__setattr__(self, "some", some if some.ndim == 3 else some[None])
            if (lost := np.argwhere(~is_answered(~self.known | (self.values > 0), self.some))).size:
                where = f"step {lost[0, 1]}, counted from 0"
                raise HypermeterError(f"locks: all of a set is locked to silence at {where}; leave a voice of it free")

    @property
    def num_steps(self) -> int:
        return self.known.shape[1]

    def check(self, rows: int, width: int, groups: Iterable[tuple[int, int]] = ()) -> None:
        """Raise `HypermeterError` if the locks do not fit a model.

        Args:
            rows: batch size; locks of 1 row fit any.
            width: columns of a step.
            groups: first column of each track and the one after its last, of which a step locks one to a note at most.
        """
        if self.known.shape[0] not in (1, rows) or self.known.shape[2] != width:
            shape = f"{self.known.shape[0]} rows of {self.known.shape[2]} columns"
            raise HypermeterError(f"locks: {shape}, expected 1 or {rows} rows of {width} columns, as the model has")
        for start, stop in groups:
            if self.some is not None and self.some[..., start:stop].any():
                raise HypermeterError(f"locks: a set with columns of a track, {start} to {stop - 1}; name voices alone")
            if (steps := np.argwhere(self.values[..., start:stop].sum(-1) > 1)).size:
                where = f"step {steps[0, 1]}, columns {start} to {stop - 1}"
                raise HypermeterError(f"locks: two notes of one track at {where}, counted from 0; lock one of them")

    @property
    def is_set(self) -> NDArray[np.bool_]:
        """(B, T), whether a step has a locked cell or a set."""
        return np.logical_or.reduce(self.known if self.some is None else self.known | self.some, -1)

    def at(self, step: int, rows: int) -> Lock | None:
        """Return the lock of a step, (rows, W); `None` where there is none."""
        if step >= self.num_steps or not self.is_set[:, step].any():
            return None
        parts: list[NDArray[Any]] = [self.known, self.values]
        if self.some is not None and self.some[:, step].any():
            parts.append(self.some)
        return tuple(np.broadcast_to(part[:, step], (rows, self.known.shape[2])) for part in parts)


def lock_voices(hits: ArrayLike, columns: Sequence[int]) -> Locks:
    """Lock the given columns of hits (T, W) or (B, T, W) as they are; the others are free.

    Raises:
        HypermeterError: a column that the hits do not have.
    """
    values = np.asarray(hits)
    if wrong := [column for column in columns if not 0 <= column < values.shape[-1]]:
        raise HypermeterError(f"locks: no column {wrong[0]}, expected 0 to {values.shape[-1] - 1}")
    known = np.zeros(values.shape, bool)
    known[..., list(columns)] = True
    return Locks(known, values)


def lock_all_but(hits: ArrayLike, bars: Sequence[int], grid: Grid) -> Locks:
    """Lock all bars of hits (T, W) or (B, T, W) as they are but the given ones, counted from 0, which are free.

    Raises:
        HypermeterError: a bar that the hits do not have.
    """
    values = np.asarray(hits)
    known = np.ones(values.shape, bool)
    size, length = grid.steps_per_bar, -(-values.shape[-2] // grid.steps_per_bar)
    for bar in bars:
        if not 0 <= bar < length:
            raise HypermeterError(f"locks: bar {bar}, counted from 0, expected 0 to {length - 1}")
        known[..., bar * size : (bar + 1) * size, :] = False
    return Locks(known, values)


def lock_ending(length: int, hits: ArrayLike) -> Locks:
    """Lock an ending, hits (T, W) or (B, T, W), after `length` free steps.

    Raises:
        HypermeterError: a length below 0.
    """
    if length < 0:
        raise HypermeterError(f"locks: length is {length}, expected 0 free steps or more before the ending")
    end: NDArray[Any] = np.asarray(hits)
    values = np.concatenate([np.zeros((*end.shape[:-2], length, end.shape[-1]), end.dtype), end], -2)
    known = np.zeros(values.shape, bool)
    known[..., length:, :] = True
    return Locks(known, values)


def combine(*locks: Locks) -> Locks:
    """Return the union of locks, as long as the longest.

    Raises:
        HypermeterError: no locks, a cell that two of them lock to different values, or two sets of one step.
    """
    if not locks:
        raise HypermeterError("locks: none to combine, expected at least one")
    rows, steps = (max(lock.known.shape[axis] for lock in locks) for axis in (0, 1))
    width = locks[0].known.shape[2]
    known, values = np.zeros((rows, steps, width), bool), np.zeros((rows, steps, width), np.uint8)
    some = np.zeros((rows, steps, width), bool)
    for lock in locks:
        lock.check(rows, width)
        before, before_values = known[:, : lock.num_steps], values[:, : lock.num_steps]
        clash = before & lock.known & (before_values != lock.values)
        if clash.any():
            _, step, column = np.argwhere(clash)[0]
            raise HypermeterError(f"locks: two values for step {step}, column {column}, counted from 0; lock it once")
        before_values[:] = np.where(lock.known, lock.values, before_values)
        before |= lock.known
        if lock.some is not None:
            sets = some[:, : lock.num_steps]
            if (twice := np.argwhere(sets.any(-1) & lock.some.any(-1) & (sets != lock.some).any(-1))).size:
                raise HypermeterError(f"locks: two sets at step {twice[0, 1]}, counted from 0; expected one")
            sets |= lock.some
    return Locks(known, values, some if some.any() else None)

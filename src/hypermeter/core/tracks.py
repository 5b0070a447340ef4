"""Tracks beside the drums: monophonic melodic parts.

A track is an array of codes, one for each step: REST, HOLD (the note before continues), or the MIDI pitch of a note
that starts. In a model it is a group of columns after the voices, of which at most one is 1: HOLD, then one a pitch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError

REST, HOLD = 0, 1
LOWEST_PITCH = 2
"""Lowest pitch of a note: the two lowest of MIDI are the codes REST and HOLD."""


@dataclass(frozen=True)
class Track:
    """The properties of a track.

    Args:
        name: an identifier, also used in the keys of .npz (`track_bass`).
        lowest, highest: the range, as MIDI pitches; notes outside it are moved into it by octaves.
        program: MIDI program of tracks that are written, from 0.
        programs: first and last MIDI program of tracks that are read.

    Raises:
        HypermeterError: a name that is no identifier, a range outside 2 to 127 or below an octave, a program outside
            0 to 127.
    """

    name: str
    lowest: int
    highest: int
    program: int
    programs: tuple[int, int]

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise HypermeterError(f"track: name is {self.name!r}, expected a word of letters, digits and _")
        if not LOWEST_PITCH <= self.lowest <= self.highest - 11 <= 116:
            pitches = f"{self.lowest} to {self.highest}"
            raise HypermeterError(f"track {self.name}: pitches {pitches}, expected an octave or more within 2 to 127")
        first, last = self.programs
        if not (0 <= first <= last <= 127 and 0 <= self.program <= 127):
            programs = f"{self.program}, {first} to {last}"
            raise HypermeterError(f"track {self.name}: programs {programs}, expected 0 to 127")

    @property
    def size(self) -> int:
        """Number of columns: HOLD and each pitch."""
        return 2 + self.highest - self.lowest

    def into_range(self, pitch: np.ndarray) -> np.ndarray:
        """Return the pitches moved into the range by the fewest octaves."""
        up = np.maximum(-(-(self.lowest - pitch) // 12), 0)
        down = np.maximum(-(-(pitch - self.highest) // 12), 0)
        return pitch + 12 * (up - down)

    def encode(self, codes: np.ndarray) -> np.ndarray:
        """Return codes (T,) as columns (T, size) uint8, with at most one 1 in each row.

        Raises:
            HypermeterError: another shape, or values that are not whole numbers from 0 to 127.
        """
        codes = np.asarray(codes)
        if codes.ndim != 1 or codes.dtype.kind not in "ui" or ((codes < 0) | (codes > 127)).any():
            raise HypermeterError(f"track {self.name}: codes of shape {codes.shape}, expected (steps,), 0 to 127")
        starts = codes >= LOWEST_PITCH
        column = np.where(starts, self.into_range(codes.astype(np.int64)) - self.lowest + 1, 0)
        columns = np.zeros((len(codes), self.size), np.uint8)
        sounding = np.flatnonzero(codes != REST)
        columns[sounding, column[sounding]] = 1
        return columns

    def decode(self, columns: np.ndarray, is_sounding: bool = False) -> np.ndarray:
        """Return columns (T, size) as codes (T,) int16; a HOLD without a note before it becomes a REST.

        Args:
            columns: at most one 1 in each row.
            is_sounding: whether a note sounds before the first step.
        """
        codes = np.where(columns.any(-1), columns.argmax(-1) + self.lowest - 1, REST).astype(np.int16)
        codes[columns[:, 0] > 0] = HOLD
        last = np.maximum.accumulate(np.where(codes != HOLD, np.arange(len(codes)), -1))
        nothing_before = (last < 0) & (not is_sounding)
        held = (codes == HOLD) & (nothing_before | ((last >= 0) & (codes[np.maximum(last, 0)] == REST)))
        codes[held] = REST
        return codes

    def transpose(self, columns: np.ndarray, semitones: int) -> np.ndarray:
        """Return columns (T, size) with each note moved, and moved back by octaves where it leaves the range."""
        pitches = self.into_range(np.arange(self.lowest, self.highest + 1) + semitones)
        moved = np.zeros_like(columns)
        moved[:, 0] = columns[:, 0]
        steps, notes = np.nonzero(columns[:, 1:])
        moved[steps, pitches[notes] - self.lowest + 1] = 1
        return moved

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"programs": list(self.programs)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Track":
        """Return the track that `to_dict` wrote.

        Raises:
            HypermeterError: an unknown or missing field, or values that `Track` refuses.
        """
        names = [field.name for field in fields(cls)]
        if set(values) != set(names):
            raise HypermeterError(f"track: fields {', '.join(values)}, expected {', '.join(names)}")
        try:
            first, last = values["programs"]
            return cls(values["name"], values["lowest"], values["highest"], values["program"], (first, last))
        except (TypeError, ValueError, AttributeError) as error:
            raise HypermeterError(f"track: not a track's record ({error}); expected {', '.join(names)}") from error


BASS = Track("bass", 24, 57, 33, (32, 39))
"""The basses of General MIDI. Nearly all bass notes lie in this range."""

TRACKS = {BASS.name: BASS}
"""Name -> track."""


def with_columns(hits: np.ndarray, codes: Mapping[str, np.ndarray], tracks: Sequence[Track]) -> np.ndarray:
    """Return hits (T, V) followed by the columns of each track; a track without codes rests."""
    silent = np.full(len(hits), REST)
    return np.concatenate([hits, *(track.encode(codes.get(track.name, silent)) for track in tracks)], 1)


def track_groups(num_voices: int, tracks: Sequence[Track]) -> tuple[tuple[int, int], ...]:
    """Return the first column of each track and the one after its last, where the tracks follow the voices."""
    groups, start = [], num_voices
    for track in tracks:
        groups.append((start, start + track.size))
        start += track.size
    return tuple(groups)

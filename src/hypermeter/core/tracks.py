"""Tracks beside the drums: one melody each, one note at a time.

A track is codes, one a step: REST, HOLD (the note goes on), or the MIDI pitch of a note that begins. In a model it is a
group of columns beside the voices, of which at most one is 1: the first is HOLD, then one for each pitch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError

REST, HOLD = 0, 1
LOWEST_PITCH = 2
"""MIDI's two lowest pitches are the codes of REST and HOLD."""


@dataclass(frozen=True)
class Track:
    """A melody.

    Args:
        name: in Python and in the keys of .npz (``track_bass``).
        lowest, highest: MIDI pitches; others are moved by octaves until they are between these.
        program: MIDI program that it is written with, from 0.
        programs: first and last of those that it is read from.

    Raises:
        HypermeterError: a name that is no word, pitches outside 2 to 127, less than an octave, or no such program.
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
            found = f"{self.lowest} to {self.highest}"
            raise HypermeterError(f"track {self.name}: pitches {found}, expected an octave or more within 2 to 127")
        first, last = self.programs
        if not (0 <= first <= last <= 127 and 0 <= self.program <= 127):
            found = f"{self.program}, {first} to {last}"
            raise HypermeterError(f"track {self.name}: programs {found}, expected 0 to 127")

    @property
    def size(self) -> int:
        """Columns: HOLD and each pitch."""
        return 2 + self.highest - self.lowest

    def into_range(self, pitch: np.ndarray) -> np.ndarray:
        """Pitches moved by octaves into the range: the nearest that are in it."""
        up = np.maximum(-(-(self.lowest - pitch) // 12), 0)
        down = np.maximum(-(-(pitch - self.highest) // 12), 0)
        return pitch + 12 * (up - down)

    def encode(self, codes: np.ndarray) -> np.ndarray:
        """Codes (T,) as columns (T, size), uint8, at most one of which is 1.

        Raises:
            HypermeterError: not whole numbers from 0 to 127, one a step.
        """
        codes = np.asarray(codes)
        if codes.ndim != 1 or codes.dtype.kind not in "ui" or ((codes < 0) | (codes > 127)).any():
            raise HypermeterError(f"track {self.name}: codes of shape {codes.shape}, expected (steps,), 0 to 127")
        begins = codes >= LOWEST_PITCH
        column = np.where(begins, self.into_range(codes.astype(np.int64)) - self.lowest + 1, 0)
        columns = np.zeros((len(codes), self.size), np.uint8)
        sounds = np.flatnonzero(codes != REST)
        columns[sounds, column[sounds]] = 1
        return columns

    def decode(self, columns: np.ndarray, is_sounding: bool = False) -> np.ndarray:
        """Columns (T, size) as codes (T,), int16. A HOLD where nothing sounds is a REST.

        Args:
            columns: from one step on.
            is_sounding: whether a note sounds before them.
        """
        codes = np.where(columns.any(-1), columns.argmax(-1) + self.lowest - 1, REST).astype(np.int16)
        codes[columns[:, 0] > 0] = HOLD
        last = np.maximum.accumulate(np.where(codes != HOLD, np.arange(len(codes)), -1))
        nothing_before = (last < 0) & (not is_sounding)
        held = (codes == HOLD) & (nothing_before | ((last >= 0) & (codes[np.maximum(last, 0)] == REST)))
        codes[held] = REST
        return codes

    def transpose(self, columns: np.ndarray, semitones: int) -> np.ndarray:
        """Columns (T, size) with each note moved; by octaves back into the range, where it would leave it."""
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
        """The track that ``to_dict`` wrote.

        Raises:
            HypermeterError: a field that is unknown or missing, or a track that cannot be.
        """
        names = [each.name for each in fields(cls)]
        if set(values) != set(names):
            raise HypermeterError(f"track: fields {', '.join(values)}, expected {', '.join(names)}")
        try:
            first, last = values["programs"]
            return cls(values["name"], values["lowest"], values["highest"], values["program"], (first, last))
        except (TypeError, ValueError, AttributeError) as error:
            raise HypermeterError(f"track: not a track's record ({error}); expected {', '.join(names)}") from error


BASS = Track("bass", 24, 57, 33, (32, 39))
"""Of General MIDI. Nearly all bass notes are in this range as they are."""

TRACKS = {each.name: each for each in (BASS,)}
"""Name -> track."""


def with_columns(hits: np.ndarray, codes: Mapping[str, np.ndarray], tracks: Sequence[Track]) -> np.ndarray:
    """Hits (T, V) with the columns of each track after them; a track without codes rests."""
    silent = np.full(len(hits), REST)
    return np.concatenate([hits, *(track.encode(codes.get(track.name, silent)) for track in tracks)], 1)


def track_groups(num_voices: int, tracks: Sequence[Track]) -> tuple[tuple[int, int], ...]:
    """First column of each track, and the one after its last, where they follow the voices."""
    groups, start = [], num_voices
    for track in tracks:
        groups.append((start, start + track.size))
        start += track.size
    return tuple(groups)

"""The nearest grooves of a corpus: a space of bars, made from an index, and a search of all of it.

The place of a bar has three parts of equal weight: how the model hears it, how loud its hits are, and which cells have
a hit. A search compares with every bar, in NumPy: of 100,000 that is a fraction of a second, without an approximation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.play.player import Player
from hypermeter.share.near.index import Index, IndexedPiece, features_of

By = Literal["bar", "piece"]
Part = Literal["model", "velocity", "hits"]
PARTS: tuple[Part, ...] = ("model", "velocity", "hits")

AXES = 64
"""Principal axes of the model's features that count."""

CHUNK = 8_192
"""Bars that are placed at a time."""


@dataclass(frozen=True)
class Match:
    """A passage, or a piece, that is near.

    Args:
        piece: where it is.
        bars: numbers of its first and its last bar, from 0.
        distance: 0 for the same, 1 is the root mean square of two of the corpus at random.
        hits: how alike the hits are, from 0 to 1: twice the common ones over those of both (F1).
        voices: voice that both have -> the same of its hits.
    """

    piece: IndexedPiece
    bars: tuple[int, int]
    distance: float
    hits: float
    voices: dict[str, float]

    @property
    def alike(self) -> str:
        """What is alike, in words: voices that are the same, then others by how alike they are."""
        same = [voice for voice, share in self.voices.items() if share > 0.995]
        near = sorted((-share, voice) for voice, share in self.voices.items() if 0.5 <= share <= 0.995)
        parts = [f"same {' '.join(same)}"] if same else []
        return ", ".join([*parts, *(f"{voice} {-share:.2f}" for share, voice in near)])


class Space:
    """Places of bars on one grid.

    Args:
        pieces: of one grid, at least one.
        parts: of a place.
    """

    def __init__(self, pieces: Sequence[IndexedPiece], parts: Sequence[Part] = PARTS) -> None:
        self.pieces, self.parts = pieces, parts
        self.features = np.concatenate([piece.features for piece in pieces])
        self.velocity = np.concatenate([piece.velocity for piece in pieces])
        self.counts = np.array([len(piece.bars) for piece in pieces])
        self.starts = np.cumsum(self.counts) - self.counts

    def __len__(self) -> int:
        return len(self.features)

    def _chunks(self) -> list[slice]:
        return [slice(start, start + CHUNK) for start in range(0, len(self), CHUNK)]

    @cached_property
    def _axes(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean of the features, and the map (H, axes) onto principal axes.

        An axis counts by the fourth root of its variance: halfway between as it is and whitened.
        """
        mean = np.zeros(self.features.shape[1])
        square = np.zeros((len(mean), len(mean)))
        for chunk in self._chunks():
            part = self.features[chunk].astype(np.float64)
            mean += part.sum(0)
            square += part.T @ part
        mean /= len(self)
        variance, axes = np.linalg.eigh(square / len(self) - np.outer(mean, mean))
        order = np.argsort(-variance, kind="stable")[:AXES]
        variance = variance[order].clip(min=0)
        weight = np.where(variance > 1e-6 * max(variance[0], 1e-9), variance, np.inf) ** -0.25
        return mean, axes[:, order] * weight

    @cached_property
    def _norms(self) -> list[tuple[np.ndarray, float]]:
        """The mean of each part, and the root mean square of the distance from it."""
        sums: list[Any] = [0.0] * len(self.parts)
        squares = [0.0] * len(self.parts)
        for chunk in self._chunks():
            for number, part in enumerate(self._raw(self.features[chunk], self.velocity[chunk])):
                sums[number] = sums[number] + part.sum(0, dtype=np.float64)
                squares[number] += float(np.square(part, dtype=np.float64).sum())
        means = [total / len(self) for total in sums]
        spreads = [square / len(self) - float(mean @ mean) for square, mean in zip(squares, means, strict=True)]
        return [(mean, max(spread, 1e-9) ** 0.5) for mean, spread in zip(means, spreads, strict=True)]

    def _raw(self, features: np.ndarray, velocity: np.ndarray) -> list[np.ndarray]:
        """Return the parts (N, size) of places, not yet of equal weight."""
        mean, axes = self._axes
        cells = velocity.reshape(len(velocity), -1)
        made = {
            "model": lambda: ((features - mean) @ axes).astype(np.float32),
            "velocity": lambda: cells.astype(np.float32) / 255,
            "hits": lambda: (cells > 0).astype(np.float32),
        }
        return [made[part]() for part in self.parts]

    def place(self, features: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Return the places (N, size) of bars; the mean square of the distance of two bars of the corpus is 1."""
        parts = self._raw(features, velocity)
        weight = (2 * len(parts)) ** -0.5
        scaled = [(part - mean) * (weight / size) for part, (mean, size) in zip(parts, self._norms, strict=True)]
        return np.concatenate(scaled, 1).astype(np.float32)

    def distances(self, places: np.ndarray) -> np.ndarray:
        """Return the distance (Q, N) of each bar from places (Q, size)."""
        square = (places**2).sum(1)[:, None]
        parts = []
        for chunk in self._chunks():
            other = self.place(self.features[chunk], self.velocity[chunk])
            parts.append((square + (other**2).sum(1) - 2 * places @ other.T).clip(min=0))
        return np.sqrt(np.concatenate(parts, 1))

    @cached_property
    def means(self) -> np.ndarray:
        """(pieces, size) the mean place of each piece."""
        return np.stack([self.place(piece.features, piece.velocity).mean(0) for piece in self.pieces])

    def passages(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the distance of the nearest passage of each piece, and the number of its first bar among all.

        The bars of the passage are compared one by one with places (Q, size); of a shorter piece all bars, with the
        first of the places.
        """
        length = np.minimum(self.counts, len(places)).repeat(self.counts)
        left = np.repeat(self.starts + self.counts, self.counts) - np.arange(len(self))
        total = np.zeros(len(self))
        for number, distance in enumerate(self.distances(places)):
            counts_here = number < length
            total[: len(self) - number] += np.where(counts_here[: len(self) - number], distance[number:], 0)
        mean = np.where(left >= length, total / length, np.inf)
        least = np.minimum.reduceat(mean, self.starts)
        is_least = np.flatnonzero(mean == least.repeat(self.counts))
        return least, is_least[np.searchsorted(is_least, self.starts)]


def on_one_grid(index: Index, grid: Grid, what: str = "the groove") -> list[IndexedPiece]:
    """Return the pieces on a grid.

    Raises:
        HypermeterError: there are none; the message names the grids that there are.
    """
    size = grid.steps_per_beat, grid.beats_per_bar, grid.beat_unit
    pieces = [
        piece
        for piece in index.pieces
        if (piece.grid.steps_per_beat, piece.grid.beats_per_bar, piece.grid.beat_unit) == size
    ]
    if not pieces:
        there = ", ".join(sorted({piece.grid.description for piece in index.pieces}))
        raise HypermeterError(f"{what} in {grid.description}, expected what the corpus has: {there}")
    return pieces


def search(
    index: Index,
    player: Player,
    groove: Groove,
    most: int = 10,
    by: By = "bar",
    without: str = "",
    parts: Sequence[Part] = PARTS,
) -> list[Match]:
    """Return the nearest passages or pieces of a corpus, the nearest first.

    Args:
        index: of the corpus, made with the same model.
        player: the model.
        groove: on whose grid the pieces have to be, and of whose kit.
        most: how many.
        by: bar finds the passage of each piece that is nearest to the bars of the groove, in order; piece compares the
            means of all bars.
        without: a file that is passed over, such as that of the groove itself.
        parts: of the places: how the model hears bars, velocity, hits.

    Raises:
        HypermeterError: a groove of other voices, without hits, or on a grid that no piece has; fewer than 1.
    """
    if most < 1:
        raise HypermeterError(f"most is {most}, expected at least 1")
    if load_kit(groove.kit).names != index.voices:
        raise HypermeterError(f"groove: not of the voices of the index, expected {', '.join(index.voices)}")
    bars, features, velocity = features_of(player, groove)
    if not len(bars):
        raise HypermeterError("groove: no hits in it, expected some to search for")
    space = Space(on_one_grid(index, groove.grid), parts)
    places = space.place(features, velocity)
    if by == "piece":
        spread = np.sqrt(2 * space.means.var(0).sum()) or 1.0
        distances = np.sqrt(np.square(space.means - places.mean(0)).sum(1)) / spread
        first = space.starts
    else:
        distances, first = space.passages(places)
    order = [place for place in np.argsort(distances, kind="stable") if space.pieces[place].file != without]
    return [
        _match(
            space.pieces[place], int(first[place] - space.starts[place]), float(distances[place]), velocity, by, index
        )
        for place in order[:most]
    ]


def _match(piece: IndexedPiece, start: int, distance: float, velocity: np.ndarray, by: By, index: Index) -> Match:
    """Return a match, and what of it is alike."""
    if by == "piece":
        ours, theirs, played = (velocity > 0).mean(0), (piece.velocity > 0).mean(0), piece.bars
    else:
        passage = slice(start, start + min(len(velocity), len(piece.bars)))
        ours, theirs, played = velocity[: len(piece.bars)] > 0, piece.velocity[passage] > 0, piece.bars[passage]
    common, sums = np.minimum(ours, theirs), ours.astype(float) + theirs
    steps = tuple(range(common.ndim - 1))
    of_voice = 2 * common.sum(steps) / np.maximum(sums.sum(steps), 1e-9)
    voices = {voice: float(share) for voice, share in zip(index.voices, of_voice, strict=True) if share > 0}
    return Match(piece, (int(played[0]), int(played[-1])), distance, float(2 * common.sum() / sums.sum()), voices)

"""Comparison of a system's own music with people's: metrics, repetition, copying, drift."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from inspect import Parameter, signature
from typing import Any

import numpy as np
from jaxtyping import Shaped

from hypermeter.core.grid import Grid
from hypermeter.learn.evaluate.pieces import draw_pieces
from hypermeter.model.playing import StreamingModel, player_of
from hypermeter.music.beat_keeping import Roles, beat_keeping
from hypermeter.music.compare import compare
from hypermeter.music.duplicates import bar_digests
from hypermeter.music.metrics import METRICS, REPETITION_LAGS, bar_f1, in_numpy
from hypermeter.music.metrics.onsets import mean_of_defined

FEWEST_BARS = 8
"""Bars of the shortest piece that is compared."""

STRETCHES = ((0, 8), (24, 32), (248, 256))
"""Ranges of bars whose metrics show drift in a long piece."""

FEWEST_HITS = 200
"""Hits of a voice whose share with several strokes is told."""

TOGETHER = 64
"""Most pieces that are measured together, which bounds memory."""

DRIFT_METRICS = ("avg_hits", "syncopation", "step_entropy", "groove_consistency")


def generated_pieces(
    model: StreamingModel, grid: Grid, pieces: int, bars: int, seed: int, temperature: float = 1.0
) -> list[np.ndarray]:
    """Return drums (T, V) of pieces that the model generates from silence."""
    player = player_of(model)
    return list(draw_pieces(player, pieces, bars * grid.steps_per_bar, seed, temperature)[..., : player.num_drums])


def cut(sequences: Iterable[np.ndarray], grid: Grid, bars: int) -> list[np.ndarray]:
    """Cut the whole bars of each sequence into pieces of ``bars`` bars; keep a last one of at least ``FEWEST_BARS``.

    Pieces begin with a phrase: where ``bars`` are not whole phrases, those up to the next phrase are left out. Some
    metrics grow with length, so music is compared with music of about the same length.
    """
    pieces = []
    hop = -(-bars // grid.bars_per_phrase) * grid.bars_per_phrase
    for sequence in sequences:
        num_bars = len(sequence) // grid.steps_per_bar
        for start in range(0, num_bars, hop):
            end = min(start + bars, num_bars)
            if end - start >= min(FEWEST_BARS, bars):
                pieces.append(sequence[start * grid.steps_per_bar : end * grid.steps_per_bar])
    return pieces


def cut_alike(pieces: Sequence[np.ndarray], human: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the beginning of each piece, so that the lengths are distributed as those of ``human``.

    The piece that is i-th of n in length, from 0, gets the quantile (i + .5) / n of the human lengths, or stays as it
    is where that is longer.
    """
    rank = np.argsort(np.argsort(list(map(len, pieces)), kind="stable"))
    lengths = np.quantile(list(map(len, human)), (rank + 0.5) / len(pieces), method="inverted_cdf")
    return [piece[: int(length)] for piece, length in zip(pieces, lengths, strict=True)]


def by_length(pieces: Sequence[np.ndarray]) -> list[list[int]]:
    """Return the numbers of the pieces in groups of one length, at most ``TOGETHER``, which are measured together."""
    groups: list[list[int]] = []
    numbers_of_length: dict[int, list[int]] = {}
    for number, piece in enumerate(pieces):
        numbers = numbers_of_length.get(len(piece), [])
        if len(numbers) % TOGETHER == 0:
            numbers = numbers_of_length[len(piece)] = []
            groups.append(numbers)
        numbers.append(number)
    return groups


def of_each(
    metric: Callable[..., Any], pieces: Sequence[np.ndarray], grid: Grid, **options: Any
) -> list[Shaped[np.ndarray, "..."]]:
    """Return a metric of each piece."""
    values: list[np.ndarray] = [np.zeros(0)] * len(pieces)
    for numbers in by_length(pieces):
        hits = np.stack([pieces[number] for number in numbers]).astype(np.float32)
        of_pieces = in_numpy(metric, hits, grid, **options)
        if of_pieces.shape[:1] != (len(numbers),):  # a metric of one's own that knows no batch
            of_pieces = [in_numpy(metric, piece, grid, **options) for piece in hits]
        for number, value in zip(numbers, of_pieces, strict=True):
            values[number] = value
    return values


def values_of(pieces: Sequence[np.ndarray], grid: Grid, streams: Any = None) -> dict[str, np.ndarray]:
    """Return metric -> its value for each piece, of all METRICS that take hits alone and give one number.

    ``avg_hits`` is left out: it is ``density`` times the number of voices.

    Args:
        pieces: hits (T, V) of each.
        grid: their grid.
        streams: (low, mid, high) voices, see ``Kit.streams``; None leaves out the metrics that take them.
    """
    values: dict[str, np.ndarray] = {}
    for name, metric in METRICS.items():
        parameters = signature(metric).parameters
        needs_more = any(
            parameter.kind is Parameter.KEYWORD_ONLY and parameter.default is Parameter.empty
            for parameter in parameters.values()
        )
        takes_streams = "streams" in parameters
        if name == "avg_hits" or needs_more or (takes_streams and streams is None) or not len(pieces):
            continue
        options = {"streams": streams} if takes_streams else {}
        if in_numpy(metric, pieces[0].astype(np.float32), grid, **options).ndim == 0:
            values[name] = np.stack(of_each(metric, pieces, grid, **options)).astype(float)
    return values


def repetition(pieces: Sequence[np.ndarray], grid: Grid) -> list[float]:
    """Return the repetition profile over all pairs of bars of all pieces."""
    profile = []
    for lag in range(1, REPETITION_LAGS + 1):
        pairs = np.concatenate(of_each(bar_f1, pieces, grid, lag=lag))
        profile.append(mean_of_defined(pairs.astype(float)).item())
    return profile


def phrase_ends(pieces: Sequence[np.ndarray], grid: Grid) -> list[float]:
    """Return for each piece by how much the novelty of the last bars of phrases exceeds that of other bars, in means
    of ``bar_novelty``; NaN where a piece has no bars of a kind.
    """
    excesses = []
    for novelty in of_each(METRICS["bar_novelty"], pieces, grid):
        is_last = np.arange(len(novelty)) % grid.bars_per_phrase == grid.bars_per_phrase - 1
        last, other = (mean_of_defined(novelty[bars].astype(float)) for bars in (is_last, ~is_last))
        excesses.append((last - other).item())
    return excesses


def phrase_end(piece: np.ndarray, grid: Grid) -> float:
    """Return ``phrase_ends`` of one piece."""
    return phrase_ends([piece], grid)[0]


def keeping(pieces: Sequence[np.ndarray], grid: Grid, roles: Roles) -> dict[str, float]:
    """Return the means over pieces of the measures of ``beat_keeping``."""
    values: dict[str, list[float]] = {}
    for numbers in by_length(pieces):
        hits = np.stack([pieces[number] for number in numbers]).astype(np.float32)
        for name, of_pieces in beat_keeping(hits, grid, roles).items():
            values.setdefault(name, []).extend(of_pieces.tolist())
    return {name: _mean(of_all) for name, of_all in values.items()}


def stroke_shares(counts: Sequence[np.ndarray], grid: Grid, names: Sequence[str]) -> dict[str, Any]:
    """Return ``several_strokes`` of the hits of all pieces together, and of each voice with FEWEST_HITS or more.

    Args:
        counts: number of strokes (T, V) of each cell of each piece, at least one piece.
        grid: their grid.
        names: of the voices.

    Returns:
        ``share`` in [0, 1] and ``hits``, their number; ``voices``: name -> share.
    """
    strokes = np.concatenate(counts).astype(np.float32)
    hits = (strokes > 0).astype(np.float32)

    def share(columns: slice) -> float:
        return METRICS["several_strokes"](hits[:, columns], grid, strokes=strokes[:, columns]).item()

    numbers = hits.sum(0)
    voices = {
        name: share(slice(column, column + 1)) for column, name in enumerate(names) if numbers[column] >= FEWEST_HITS
    }
    return {"share": share(slice(None)), "hits": int(numbers.sum()), "voices": voices}


def bars_of(pieces: Iterable[np.ndarray], grid: Grid) -> list[np.ndarray]:
    """Return digests of the complete bars with a hit of each piece, equal for equal bars."""
    size = grid.steps_per_bar
    return [bar_digests(piece[: len(piece) // size * size], size)[:, 0] for piece in pieces]


def copied_share(bars: Sequence[np.ndarray], train_bars: np.ndarray) -> float:
    """Return the share of the bars that are among ``train_bars``, in [0, 1]; NaN without bars."""
    digests = np.concatenate([*bars, np.zeros(0, np.uint64)])
    return float(np.isin(digests, train_bars).mean()) if len(digests) else math.nan


def distinct_share(bars: Sequence[np.ndarray]) -> float:
    """Return the mean over pieces of the share of their bars that are distinct, in (0, 1]."""
    return _mean([len(np.unique(digests)) / len(digests) for digests in bars if len(digests)])


def _greatest(values: Iterable[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def _mean(values: Iterable[float]) -> float:
    """Return the mean of the values that are not NaN; NaN without any."""
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _varies(comparison: dict[str, float]) -> bool:
    """Return whether the values of both sides are not all one number, whose overlap would mean nothing."""
    difference = abs(comparison["mean"] - comparison["their_mean"])
    return max(comparison["sd"], comparison["their_sd"], difference) > 1e-12


def drift(pieces: Sequence[np.ndarray], grid: Grid) -> dict[str, dict[str, float]]:
    """Return means over pieces of DRIFT_METRICS in each of STRETCHES that the pieces reach."""
    result = {}
    for start, end in STRETCHES:
        stretch = [piece[start * grid.steps_per_bar : end * grid.steps_per_bar] for piece in pieces]
        if stretch and all(len(hits) == (end - start) * grid.steps_per_bar for hits in stretch):
            hits = np.stack(stretch).astype(np.float32)
            means = {name: mean_of_defined(in_numpy(METRICS[name], hits, grid)).item() for name in DRIFT_METRICS}
            result[f"bars {start + 1}-{end}"] = means
    return result


class People:
    """Held-out music of people, and what systems are compared with: each statistic is computed once, when it is read.

    Args:
        pieces: hits (T, V) of each piece, see ``cut``.
        grid: their grid.
        train: hits of the performances that the systems learnt from, for the share of copied bars; none leave it out.
        streams: see ``values_of``.
        roles: voices that keep the beat; None leaves out ``keeping``.
    """

    def __init__(
        self,
        pieces: Sequence[np.ndarray],
        grid: Grid,
        train: Sequence[np.ndarray] = (),
        streams: Any = None,
        roles: Roles | None = None,
    ):
        self.pieces, self.grid, self.train, self.streams, self.roles = pieces, grid, train, streams, roles

    @cached_property
    def values(self) -> dict[str, np.ndarray]:
        """``values_of`` the pieces."""
        return values_of(self.pieces, self.grid, self.streams)

    @cached_property
    def train_bars(self) -> np.ndarray:
        """Digests of the distinct bars that the systems learnt from."""
        return np.unique(np.concatenate(bars_of(self.train, self.grid)))

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """``music_statistics`` of the pieces."""
        return music_statistics(self.pieces, self)


def music_statistics(pieces: Sequence[np.ndarray], people: People) -> dict[str, Any]:
    """Return the statistics of music that are no ``values_of`` a piece, see ``compare_music``."""
    bars = bars_of(pieces, people.grid)
    result: dict[str, Any] = {
        "repetition": repetition(pieces, people.grid),
        "distinct": distinct_share(bars),
        "phrase_end": _mean(phrase_ends(pieces, people.grid)),
    }
    if people.train:
        result["copied"] = copied_share(bars, people.train_bars)
    if people.roles is not None:
        result["keeping"] = keeping(pieces, people.grid, people.roles)
    return result


def compare_music(
    pieces: Sequence[np.ndarray],
    human: Sequence[np.ndarray],
    grid: Grid,
    train: Sequence[np.ndarray] = (),
    streams: Any = None,
) -> dict[str, Any]:
    """Return ``compare_with`` of a system's pieces and ``People(human, grid, train, streams)``."""
    return compare_with(pieces, People(human, grid, train, streams))


def compare_with(pieces: Sequence[np.ndarray], people: People) -> dict[str, Any]:
    """Compare a system's music with people's.

    Some metrics and the share of distinct bars change with length, so the system's pieces are first cut to lengths
    distributed as those of the human ones (``cut_alike``).

    Args:
        pieces: hits (T, V) of each piece of the system, of about the length of people's.
        people: people's music.

    Returns:
        ``metrics``: name -> ``compare``; ``overlap``: the mean of their overlapping areas, without the metrics that
        are one number in all pieces; ``repetition`` and ``human_repetition``; ``repetition_gap``, the
        greatest difference of the two; ``distinct`` and ``human_distinct``; ``phrase_end`` and ``human_phrase_end``,
        means over pieces; with train, ``copied`` and ``human_copied``; with roles, ``keeping`` and ``human_keeping``.
    """
    pieces = cut_alike(pieces, people.pieces)
    ours = values_of(pieces, people.grid, people.streams)
    metrics = {name: compare(ours[name], people.values[name]) for name in ours}
    result: dict[str, Any] = {
        "pieces": len(pieces),
        "human_pieces": len(people.pieces),
        "metrics": metrics,
        "overlap": _mean([result["overlap"] for result in metrics.values() if _varies(result)]),
    }
    for name, value in music_statistics(pieces, people).items():
        result |= {name: value, f"human_{name}": people.statistics[name]}
        if name == "repetition":
            result["repetition_gap"] = _greatest(np.abs(np.subtract(value, people.statistics[name])).tolist())
    return result

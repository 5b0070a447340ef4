"""Comparison of a system's own music with people's: metrics, repetition, copying, drift."""

import math
from collections.abc import Iterable, Sequence
from inspect import Parameter, signature
from typing import Any

import numpy as np

from hypermeter.core.grid import Grid
from hypermeter.model.playing import StreamingModel, player_of
from hypermeter.music.compare import compare
from hypermeter.music.duplicates import bar_digests
from hypermeter.music.metrics import METRICS, REPETITION_LAGS, bar_f1, in_numpy
from hypermeter.music.metrics.onsets import mean_of_defined
from hypermeter.play.request import SamplingOptions

FEWEST_BARS = 8
"""Bars of the shortest piece that is compared."""

STRETCHES = ((0, 8), (24, 32), (248, 256))
"""Ranges of bars whose metrics show drift in a long piece."""

DRIFT_METRICS = ("avg_hits", "syncopation", "step_entropy", "groove_consistency")


def generated_pieces(
    model: StreamingModel, grid: Grid, pieces: int, bars: int, seed: int, temperature: float = 1.0
) -> list[np.ndarray]:
    """Return drums (T, V) of pieces that the model generates from silence."""
    sampling = SamplingOptions(temperature=temperature, seed=seed)
    generated = player_of(model).generate(bars * grid.steps_per_bar, None, sampling, rows=pieces)
    return list(generated[..., : model.num_drums])


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
        if name == "avg_hits" or needs_more or (takes_streams and streams is None):
            continue
        options = {"streams": streams} if takes_streams else {}
        of_pieces = [in_numpy(metric, piece.astype(np.float32), grid, **options) for piece in pieces]
        if of_pieces and of_pieces[0].ndim == 0:
            values[name] = np.stack(of_pieces).astype(float)
    return values


def repetition(pieces: Sequence[np.ndarray], grid: Grid) -> list[float]:
    """Return the repetition profile over all pairs of bars of all pieces."""
    pairs = [np.concatenate([bar_f1(piece, grid, lag) for piece in pieces]) for lag in range(1, REPETITION_LAGS + 1)]
    return [mean_of_defined(likeness.astype(float)).item() for likeness in pairs]


def phrase_end(piece: np.ndarray, grid: Grid) -> float:
    """Return by how much the novelty of the last bars of phrases exceeds that of other bars, in means of
    ``bar_novelty``; NaN where a piece has no bars of a kind.
    """
    novelty = in_numpy(METRICS["bar_novelty"], piece.astype(np.float32), grid).astype(float)
    is_last = np.arange(len(novelty)) % grid.bars_per_phrase == grid.bars_per_phrase - 1
    return (mean_of_defined(novelty[is_last]) - mean_of_defined(novelty[~is_last])).item()


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


def compare_music(
    pieces: Sequence[np.ndarray],
    human: Sequence[np.ndarray],
    grid: Grid,
    train: Sequence[np.ndarray] = (),
    streams: Any = None,
) -> dict[str, Any]:
    """Compare a system's music with people's.

    Some metrics and the share of distinct bars change with length, so the system's pieces are first cut to lengths
    distributed as those of the human ones (``cut_alike``).

    Args:
        pieces: hits (T, V) of each piece of the system.
        human: hits of held-out performances, in pieces of about that length (``cut``).
        grid: their grid.
        train: hits of the performances that the system learnt from, for the share of copied bars.
        streams: see ``values_of``.

    Returns:
        ``metrics``: name -> ``compare``; ``overlap``: the mean of their overlapping areas, without the metrics that
        are one number in all pieces; ``repetition`` and ``human_repetition``; ``repetition_gap``, the
        greatest difference of the two; ``distinct`` and ``human_distinct``; ``phrase_end`` and ``human_phrase_end``,
        means over pieces; with train, ``copied`` and ``human_copied``.
    """
    pieces = cut_alike(pieces, human)
    ours, theirs = values_of(pieces, grid, streams), values_of(human, grid, streams)
    metrics = {name: compare(ours[name], theirs[name]) for name in ours}
    system_bars, human_bars = bars_of(pieces, grid), bars_of(human, grid)
    profile, human_profile = repetition(pieces, grid), repetition(human, grid)
    result: dict[str, Any] = {
        "pieces": len(pieces),
        "human_pieces": len(human),
        "metrics": metrics,
        "overlap": _mean([result["overlap"] for result in metrics.values() if _varies(result)]),
        "repetition": profile,
        "human_repetition": human_profile,
        "repetition_gap": _greatest(np.abs(np.subtract(profile, human_profile)).tolist()),
        "distinct": distinct_share(system_bars),
        "human_distinct": distinct_share(human_bars),
        "phrase_end": _mean(phrase_end(piece, grid) for piece in pieces),
        "human_phrase_end": _mean(phrase_end(piece, grid) for piece in human),
    }
    if train:
        train_bars = np.unique(np.concatenate(bars_of(train, grid)))
        result["copied"] = copied_share(system_bars, train_bars)
        result["human_copied"] = copied_share(human_bars, train_bars)
    return result

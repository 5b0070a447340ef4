"""How near a system's own music is to people's: metrics, repetition, copying, drift."""

import math
from collections.abc import Iterable, Sequence
from inspect import Parameter, signature
from typing import Any

import numpy as np

from hypermeter.core.grid import Grid
from hypermeter.model.playing import Streaming, player_of
from hypermeter.music.compare import compare
from hypermeter.music.duplicates import bar_digests
from hypermeter.music.metrics import METRICS, REPETITION_LAGS, bar_f1, in_numpy
from hypermeter.music.metrics.onsets import mean_of_defined
from hypermeter.play.request import SamplingOptions

FEWEST_BARS = 8
"""Of a piece of human music that is compared."""

STRETCHES = ((0, 8), (24, 32), (248, 256))
"""Bars whose metrics tell whether a long piece drifts."""

DRIFT_METRICS = ("avg_hits", "syncopation", "step_entropy", "groove_consistency")


def generated_pieces(
    model: Streaming, grid: Grid, pieces: int, bars: int, seed: int, temperature: float = 1.0
) -> list[np.ndarray]:
    """Drums (T, V) of pieces that the model plays from silence."""
    sampling = SamplingOptions(temperature=temperature, seed=seed)
    made = player_of(model).generate(bars * grid.steps_per_bar, None, sampling, rows=pieces)
    return list(made[..., : model.num_drums])


def cut(sequences: Iterable[np.ndarray], grid: Grid, bars: int) -> list[np.ndarray]:
    """Whole bars of each, in pieces of ``bars`` bars; a last piece of at least ``FEWEST_BARS`` is kept.

    Pieces begin with a phrase: where ``bars`` are not whole phrases, those up to the next phrase are left out. Some
    metrics grow with length, so music is compared with music of about the same length.
    """
    pieces = []
    apart = -(-bars // grid.bars_per_phrase) * grid.bars_per_phrase
    for sequence in sequences:
        whole = len(sequence) // grid.steps_per_bar
        for start in range(0, whole, apart):
            end = min(start + bars, whole)
            if end - start >= min(FEWEST_BARS, bars):
                pieces.append(sequence[start * grid.steps_per_bar : end * grid.steps_per_bar])
    return pieces


def cut_alike(pieces: Sequence[np.ndarray], human: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The beginning of each piece, so that the lengths are distributed as those of ``human``.

    The piece that is i-th of n in length, from 0, gets the length that stands at (i + .5) / n of the human ones, or
    stays as it is where that is longer.
    """
    rank = np.argsort(np.argsort([len(each) for each in pieces], kind="stable"))
    lengths = np.quantile([len(each) for each in human], (rank + 0.5) / len(pieces), method="inverted_cdf")
    return [piece[: int(length)] for piece, length in zip(pieces, lengths, strict=True)]


def values_of(pieces: Sequence[np.ndarray], grid: Grid, streams: Any = None) -> dict[str, np.ndarray]:
    """Metric -> its value for each piece, of all METRICS that need nothing but hits and give one number.

    ``avg_hits`` is left out: it is ``density`` times the number of voices.

    Args:
        pieces: hits (T, V) of each.
        grid: the metre.
        streams: (low, mid, high) voices, see ``Kit.streams``; None leaves out the metrics that need them.
    """
    values: dict[str, np.ndarray] = {}
    for name, metric in METRICS.items():
        parameters = signature(metric).parameters
        needs_more = any(
            each.kind is Parameter.KEYWORD_ONLY and each.default is Parameter.empty for each in parameters.values()
        )
        wants_streams = "streams" in parameters
        if name == "avg_hits" or needs_more or (wants_streams and streams is None):
            continue
        options = {"streams": streams} if wants_streams else {}
        found = [in_numpy(metric, piece.astype(np.float32), grid, **options) for piece in pieces]
        if found and found[0].ndim == 0:
            values[name] = np.stack(found).astype(float)
    return values


def repetition(pieces: Sequence[np.ndarray], grid: Grid) -> list[float]:
    """The repetition profile of all pairs of bars of all pieces together."""
    pairs = [np.concatenate([bar_f1(piece, grid, lag) for piece in pieces]) for lag in range(1, REPETITION_LAGS + 1)]
    return [mean_of_defined(likeness.astype(float)).item() for likeness in pairs]


def phrase_end(piece: np.ndarray, grid: Grid) -> float:
    """How much more the last bars of a piece's phrases break with those around them than its other bars do.

    The difference of the means of ``bar_novelty``; NaN where either is of nothing.
    """
    novelty = in_numpy(METRICS["bar_novelty"], piece.astype(np.float32), grid).astype(float)
    is_last = np.arange(len(novelty)) % grid.bars_per_phrase == grid.bars_per_phrase - 1
    return (mean_of_defined(novelty[is_last]) - mean_of_defined(novelty[~is_last])).item()


def bars_of(pieces: Iterable[np.ndarray], grid: Grid) -> list[np.ndarray]:
    """Digests of the whole bars with a hit of each piece, equal for equal bars."""
    size = grid.steps_per_bar
    return [bar_digests(piece[: len(piece) // size * size], size)[:, 0] for piece in pieces]


def copied_share(bars: Sequence[np.ndarray], known: np.ndarray) -> float:
    """Share of the bars that stand in ``known``, in [0, 1]."""
    together = np.concatenate([*bars, np.zeros(0, np.uint64)])
    return float(np.isin(together, known).mean()) if len(together) else math.nan


def distinct_share(bars: Sequence[np.ndarray]) -> float:
    """Mean over pieces of the share of their bars that are different, in (0, 1]."""
    return _mean([len(np.unique(each)) / len(each) for each in bars if len(each)])


def _greatest(values: Iterable[float]) -> float:
    return max((each for each in values if not math.isnan(each)), default=math.nan)


def _mean(values: Iterable[float]) -> float:
    """Of what is not NaN; NaN of nothing."""
    known = [each for each in values if not math.isnan(each)]
    return sum(known) / len(known) if known else math.nan


def _varies(comparison: dict[str, float]) -> bool:
    """Whether not all values of both sides are one and the same number, whose overlap says nothing."""
    apart = abs(comparison["mean"] - comparison["their_mean"])
    return max(comparison["sd"], comparison["their_sd"], apart) > 1e-12


def drift(pieces: Sequence[np.ndarray], grid: Grid) -> dict[str, dict[str, float]]:
    """Means over pieces of DRIFT_METRICS at each of STRETCHES that the pieces reach."""
    result = {}
    for start, end in STRETCHES:
        part = [piece[start * grid.steps_per_bar : end * grid.steps_per_bar] for piece in pieces]
        if all(len(each) == (end - start) * grid.steps_per_bar for each in part) and part:
            hits = np.stack(part).astype(np.float32)
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
    """A system's music beside people's.

    Some metrics and the share of distinct bars change with length, so the system's pieces are first cut to lengths
    distributed as those of the human ones (``cut_alike``).

    Args:
        pieces: hits (T, V) of each piece of the system.
        human: of held-out performances, in pieces of about that length (``cut``).
        grid: the metre.
        train: performances that the system learnt from, for the share of copied bars.
        streams: see ``values_of``.

    Returns:
        ``metrics``: name -> ``compare``; ``overlap``: the mean of their overlapping areas, without the metrics that
        are one and the same number in all pieces; ``repetition`` and ``human_repetition``; ``repetition_gap``, the
        greatest difference of the two; ``distinct`` and ``human_distinct``; ``phrase_end`` and ``human_phrase_end``,
        means over pieces; with train, ``copied`` and ``human_copied``.
    """
    pieces = cut_alike(pieces, human)
    ours, theirs = values_of(pieces, grid, streams), values_of(human, grid, streams)
    metrics = {name: compare(ours[name], theirs[name]) for name in ours}
    own_bars, human_bars = bars_of(pieces, grid), bars_of(human, grid)
    profile, human_profile = repetition(pieces, grid), repetition(human, grid)
    result: dict[str, Any] = {
        "pieces": len(pieces),
        "human_pieces": len(human),
        "metrics": metrics,
        "overlap": _mean([each["overlap"] for each in metrics.values() if _varies(each)]),
        "repetition": profile,
        "human_repetition": human_profile,
        "repetition_gap": _greatest(np.abs(np.subtract(profile, human_profile)).tolist()),
        "distinct": distinct_share(own_bars),
        "human_distinct": distinct_share(human_bars),
        "phrase_end": _mean(phrase_end(each, grid) for each in pieces),
        "human_phrase_end": _mean(phrase_end(each, grid) for each in human),
    }
    if train:
        known = np.unique(np.concatenate(bars_of(train, grid)))
        result |= {"copied": copied_share(own_bars, known), "human_copied": copied_share(human_bars, known)}
    return result

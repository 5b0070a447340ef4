"""Rhythm metrics: one definition for the data set, evaluation, rewards and the loss.

A metric is a function of `hits` and `grid` that returns a NumPy array for an array and a tensor for a tensor. It is
computed for each element of the batch axes *B, and is NaN where it is undefined.

`hits` (*B, T, V) are onsets in [0, 1] that start on a bar line of `grid`; the last bar or phrase may be short. Metrics
whose docstring says so take probabilities, and then return an expectation, of tensors with a gradient; others read a
value above .5 as a hit. Further arguments are keywords:

- `voices`: a voice, a group of voices, or `None` for all. Their union is one line of onsets.
- `velocity` (*B, T, V) in [0, 1] and `offset` (*B, T, V) in [-.5, .5) steps: read where there is a hit.
- `strokes` (*B, T, V): number of strokes of each cell, read where there is a hit.
- `tempo_bpm`: quarter notes a minute, one number or one for each batch element.

`measure` computes metrics of a groove by name, with the keywords that they take.
"""

from collections.abc import Callable

from hypermeter.music.arrays import Array
from hypermeter.music.metrics.density import (
    avg_hits,
    co_occurrence,
    dense_frac,
    density,
    drum_density,
    hits_per_bar,
    max_hits,
    several_strokes,
    step_density,
    velocity_range,
)
from hypermeter.music.metrics.intervals import (
    IOI_BINS,
    fast_patterns,
    ioi_entropy,
    ioi_hist,
    ioi_mean,
    ioi_var,
    npvi,
)
from hypermeter.music.metrics.onsets import chunk_means, chunk_sums, line, ratio, sums_so_far
from hypermeter.music.metrics.repetition import (
    REPETITION_LAGS,
    bar_f1,
    bar_novelty,
    bar_similarity,
    groove_consistency,
    groove_similarity,
    ngram_diversity,
    ngram_patterns,
    ngrams,
    phrase_entropy,
    repetition_profile,
    step_entropy,
    transitions,
)
from hypermeter.music.metrics.report import by_chunk, in_numpy, measure
from hypermeter.music.metrics.shape import balance, evenness
from hypermeter.music.metrics.syncopation import (
    WITEK_WEIGHTS,
    lhl,
    metrical_levels,
    sioros,
    syncopation,
    tmc,
    weak_steps,
    witek,
    wnbd,
)
from hypermeter.music.metrics.timing import dfa, offset_ms, swing_ratio, timing_dfa
from hypermeter.music.metrics.window import SECTION_METRICS, SONG_METRICS, WINDOW_METRICS, window_metrics

METRICS: dict[str, Callable[..., Array]] = {
    metric.__name__: metric
    for metric in (
        density,
        step_density,
        avg_hits,
        drum_density,
        max_hits,
        dense_frac,
        hits_per_bar,
        co_occurrence,
        several_strokes,
        velocity_range,
        ioi_mean,
        ioi_var,
        ioi_hist,
        ioi_entropy,
        npvi,
        fast_patterns,
        syncopation,
        lhl,
        tmc,
        sioros,
        wnbd,
        witek,
        balance,
        evenness,
        transitions,
        ngrams,
        ngram_diversity,
        step_entropy,
        phrase_entropy,
        groove_consistency,
        groove_similarity,
        repetition_profile,
        bar_novelty,
        swing_ratio,
        timing_dfa,
        offset_ms,
    )
}
"""Name -> metric. A metric that is added here is part of reports, of evaluation and of rewards."""

FREE_OF_GRID = frozenset({"several_strokes", "velocity_range", "npvi", "timing_dfa", "offset_ms"})
"""Metrics that have the same meaning on every grid: shares of hits, ratios and times. The others count steps or bars,
or weigh steps by their place in the metre.
"""

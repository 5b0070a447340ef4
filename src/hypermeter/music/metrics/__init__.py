"""Rhythm metrics: one definition for the data set, evaluation, rewards and the loss.

Every metric takes ``hits`` (*B, T, V), onsets in [0, 1] that start on a bar line, and the ``Grid``. Given a NumPy array
it gives one, given a torch tensor it gives a tensor. It is batched over *B and gives NaN where it is undefined. Those
whose docstring says so also take probabilities, and then give an expectation, of tensors with a gradient; the others
read a value above .5 as a hit. A last bar or phrase may be short. Metrics of
loudness and timing also take ``velocity``, ``offset`` and ``tempo_bpm``; ``measure`` gives each what it asks for.
"""

from hypermeter.music.metrics.density import (
    avg_hits,
    co_occurrence,
    dense_frac,
    density,
    drum_density,
    hits_per_bar,
    max_hits,
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
from hypermeter.music.metrics.report import METRICS, by_chunk, in_numpy, measure
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

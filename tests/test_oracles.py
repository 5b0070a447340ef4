"""Metrics against other people's code, where it is sound: AMADS 1.4.0 (MIT) and MFDFA 0.4.3 (MIT).

    pip install -c constraints.txt -e ".[oracles]"

docs/analysis.md lists the public code that is not sound, and where AMADS itself leaves the paper.
"""

import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch

from hypermeter.core.grid import Grid
from hypermeter.music.metrics import METRICS
from hypermeter.music.metrics.timing import dfa

GRID = Grid()


def imported(name: str):
    """A module, or a skipped test; what it warns about when it is imported is its own business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed: pip install -e '.[oracles]'")


def random_lines(count: int, steps: int, share: float = 0.4) -> np.ndarray:
    return (np.random.default_rng(0).random((count, steps)) < share).astype(int)


def measured(name: str, line: np.ndarray, **options) -> float:
    return METRICS[name](torch.from_numpy(line)[:, None], GRID, **options).item()


def test_wnbd_is_that_of_amads():
    amads = imported("amads.time.meter.syncopation")
    compared = 0
    for line in random_lines(300, 16):
        line[12:] = [1, 0, 0, 0]  # AMADS leaves the last note out: here it is on a beat and scores nothing in any case
        at = np.flatnonzero(line)
        if any(end == 4 * (start // 4) + 8 for start, end in pairwise(at) if start % 4):
            continue  # it ends on the second beat after: 2 / T in the paper, as here, and 1 / T in AMADS
        beats = list(amads.vector_to_onset_beat(line.tolist(), 4))
        mean = amads.SyncopationMetric().weighted_note_to_beat_distance(onset_beats=beats)
        assert measured("wnbd", line) == pytest.approx(float(mean * len(beats)), abs=1e-4)
        compared += 1
    assert compared > 200


def test_npvi_is_that_of_amads():
    amads = imported("amads.time.variability")
    for line in random_lines(100, 64):
        intervals = np.diff(np.flatnonzero(line)).astype(float)
        assert measured("npvi", line) == pytest.approx(
            amads.normalized_pairwise_variability_index(intervals.tolist()), rel=1e-5
        )


def test_swing_ratio_is_the_median_of_the_ratios_of_amads():
    amads = imported("amads.time.swing")
    random = np.random.default_rng(0)
    for ratio in (1.0, 1.5, 2.0, 2.5):
        beats = 4 * np.arange(16) + random.uniform(-0.1, 0.1, 16)
        upbeats = 4 * np.arange(15) + 4 * ratio / (1 + ratio) + random.uniform(-0.1, 0.1, 15)
        line, offset = np.zeros(64, dtype=int), np.zeros(64)
        for time in (*beats, *upbeats):
            line[round(time)], offset[round(time)] = 1, time - round(time)
        actual = measured("swing_ratio", line, offset=torch.from_numpy(offset)[:, None])
        assert actual == pytest.approx(np.median(amads.beat_upbeat_ratio(beats, upbeats)), rel=1e-5)


@pytest.mark.parametrize("walk", [False, True])
@pytest.mark.parametrize("count", [128, 301, 1000])
def test_the_exponent_of_timing_is_that_of_mfdfa(count, walk):
    mfdfa = imported("MFDFA")
    series = np.random.default_rng(count).standard_normal(count)
    series = series.cumsum() if walk else series
    lags = np.unique(np.round(np.logspace(np.log10(8), np.log10(count // 4), 12)).astype(int))
    lags, fluctuation = mfdfa.MFDFA(series, lags, order=1, q=2)
    slope = np.polyfit(np.log(lags), np.log(fluctuation[:, 0]), 1)[0]
    assert dfa(torch.from_numpy(series)) == pytest.approx(slope, abs=1e-6)

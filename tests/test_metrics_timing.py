"""Loudness and timing: by hand, against series of known exponents, and against what people play."""

import json
import math
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from hypermeter.core.grid import Grid
from hypermeter.core.kit import load_kit
from hypermeter.learn.prepare import prepare
from hypermeter.music.metrics import METRICS, dfa, offset_ms, repetition_profile, swing_ratio, timing_dfa

GRID = Grid()
SIX_EIGHT = Grid(steps_per_beat=2, beats_per_bar=6, beat_unit=8)
TRIPLETS = Grid(steps_per_beat=3)
GROOVE = Path(os.environ.get("HYPERMETER_GROOVE", Path(__file__).parents[2] / "shared" / "data" / "groove"))


def line_of(steps: int, onsets: dict[int, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Hits and offsets (steps, 1) from step -> offset."""
    hits, offset = torch.zeros(steps, 1), torch.zeros(steps, 1)
    for step, late in onsets.items():
        hits[step], offset[step] = 1, late
    return hits, offset


def swing(steps: int, onsets: dict[int, float], grid: Grid = GRID) -> float:
    hits, offset = line_of(steps, onsets)
    return swing_ratio(hits, grid, offset=offset).item()


def test_straight_eighths_swing_by_one_and_triplets_by_two():
    assert swing(17, {step: 0 for step in range(0, 17, 2)}) == pytest.approx(1)
    late = {beat * 4 + 3: -1 / 3 for beat in range(4)}  # two thirds of the beat, written on the last sixteenth
    assert swing(17, {step: 0 for step in range(0, 17, 4)} | late) == pytest.approx(2)
    assert swing(13, {step: 0 for step in range(13) if step % 3 != 1}, TRIPLETS) == pytest.approx(2)
    assert swing(13, {step: 0 for step in range(13)}, SIX_EIGHT) == pytest.approx(1)


def test_swing_is_of_the_times_played_beats_too():
    # From .1 to 2.3 is 2.2, from there to 3.8 is 1.5.
    assert swing(5, {0: 0.1, 2: 0.3, 4: -0.2}) == pytest.approx(2.2 / 1.5)


def test_swing_is_the_median_of_the_beats():
    beats = {step: 0.0 for step in range(0, 17, 4)}
    assert swing(17, beats | {2: 0, 7: -1 / 3, 10: 0}) == pytest.approx(1)
    assert swing(17, beats | {2: 0, 7: -1 / 3}) == pytest.approx(1.5)  # of 1 and 2, their middle


@pytest.mark.parametrize(
    "steps, onsets",
    [
        (16, {}),
        (16, {5: 0}),
        (16, {0: 0, 4: 0, 8: 0}),  # nothing between the beats
        (16, {0: 0, 2: 0, 3: 0, 4: 0}),  # two between
        (16, {0: 0, 2: 0, 5: 0}),  # no next beat
        (16, {2: 0, 4: 0}),  # no beat before
        (16, {0: 0, 1: -0.1, 4: 0}),  # not in the middle half
        (16, {12: 0, 14: 0}),  # ends on the bar line: the next beat is not there
        (4, {0: 0, 2: 0}),
        (0, {}),
    ],
)
def test_swing_without_a_pair_is_undefined(steps, onsets):
    assert math.isnan(swing(steps, onsets))


def test_swing_of_one_bar_and_of_identical_bars_up_to_the_bar_line():
    bar = {0: 0, 3: -1 / 3, 4: 0, 8: 0, 10: 0, 12: 0, 14: 0.4}  # 2, 1, and a last pair that needs the next bar
    assert swing(16, {step: late for step, late in bar.items() if step not in (10, 14)}) == pytest.approx(2)
    two = bar | {16 + step: late for step, late in bar.items()}
    # 2, 1, 2.4 / 1.6, 2, 1: the last is not complete
    assert swing(32, two) == pytest.approx(1.5)


def test_swing_takes_a_voice_and_the_union_is_at_the_mean_of_what_sounds_together():
    hits = torch.zeros(5, 2)
    hits[[0, 4]] = hits[2, 1] = hits[3, 0] = 1
    offset = torch.zeros(5, 2)
    offset[4] = torch.tensor([0.2, -0.2])
    assert swing_ratio(hits, GRID, offset=offset, voices=0).item() == pytest.approx(3 / 1.2)
    assert swing_ratio(hits, GRID, offset=offset, voices=[1]).item() == pytest.approx(2 / 1.8)
    assert swing_ratio(hits, GRID, offset=offset).isnan()  # the union has two between
    hits[3, 0] = 0
    assert swing_ratio(hits, GRID, offset=offset).item() == pytest.approx(2 / 2)


def test_offsets_where_there_is_no_hit_are_not_read():
    hits, offset = line_of(16, {0: 0.1, 2: 0.1, 4: 0.1})
    offset[[1, 3, 9]] = 0.4
    assert swing_ratio(hits, GRID, offset=offset).item() == pytest.approx(1)
    assert offset_ms(hits, GRID, offset=offset, tempo_bpm=120.0).item() == pytest.approx(12.5)


def test_offset_in_ms_by_hand():
    hits, offset = line_of(32, {0: 0.1, 5: -0.3, 16: 0.2})
    # A sixteenth at 120 is 125 ms; an eighth of 6/8 has two of them.
    assert offset_ms(hits, GRID, offset=offset, tempo_bpm=120.0).item() == pytest.approx(0.2 * 125)
    assert offset_ms(hits, GRID, offset=offset, tempo_bpm=60.0).item() == pytest.approx(0.2 * 250)
    assert offset_ms(hits, SIX_EIGHT, offset=offset, tempo_bpm=120.0).item() == pytest.approx(0.2 * 125)
    assert offset_ms(hits, TRIPLETS, offset=offset, tempo_bpm=120.0).item() == pytest.approx(0.2 * 500 / 3)
    assert offset_ms(hits, Grid(steps_per_beat=6), offset=offset, tempo_bpm=120.0).item() == pytest.approx(
        0.2 * 500 / 6
    )


def test_each_row_has_its_own_tempo():
    hits, offset = line_of(16, {0: 0.1, 5: -0.3})
    tempo = torch.tensor([[60.0, 120.0, 240.0], [30.0, 90.0, 120.0]])
    offsets_ms = offset_ms(hits.expand(2, 3, 16, 1), GRID, offset=offset.expand(2, 3, 16, 1), tempo_bpm=tempo)
    torch.testing.assert_close(offsets_ms, 0.2 * 15_000 / tempo)


def test_offset_of_no_hits_one_hit_one_bar_and_identical_bars():
    for onsets, expected in (({}, math.nan), ({5: -0.4}, 50), ({0: 0.2, 12: -0.4}, 37.5)):
        hits, offset = line_of(16, onsets)
        for repeats in (1, 2):
            actual = offset_ms(hits.repeat(repeats, 1), GRID, offset=offset.repeat(repeats, 1), tempo_bpm=120.0)
            assert actual.item() == pytest.approx(expected, nan_ok=True)


def test_several_strokes_of_no_hits_one_hit_one_bar_and_identical_bars():
    strokes = torch.ones(16, 2)
    strokes[0, 0], strokes[9, 0], strokes[3, 1] = 2, 4, 2  # the last is not read without a hit
    for onsets, expected in (([], math.nan), ([(5, 1)], 0), ([(0, 0), (5, 1), (9, 0), (10, 0)], 0.5)):
        hits = torch.zeros(16, 2)
        for step, voice in onsets:
            hits[step, voice] = 1
        for repeats in (1, 2):
            for grid in (GRID, SIX_EIGHT, TRIPLETS):
                actual = METRICS["several_strokes"](hits.repeat(repeats, 1), grid, strokes=strokes.repeat(repeats, 1))
                assert actual.item() == pytest.approx(expected, nan_ok=True)


def test_velocity_range_of_no_hits_one_hit_one_bar_and_identical_bars():
    velocity = torch.full((16, 2), 0.99)  # not read without a hit
    velocity[0, 0], velocity[5, 1], velocity[9, 0] = 0.9, 0.2, 0.5
    for onsets, expected in (([], math.nan), ([(5, 1)], 0), ([(0, 0), (5, 1), (9, 0)], 0.7)):
        hits = torch.zeros(16, 2)
        for step, voice in onsets:
            hits[step, voice] = 1
        for repeats in (1, 2):
            for grid in (GRID, SIX_EIGHT, TRIPLETS):
                actual = METRICS["velocity_range"](hits.repeat(repeats, 1), grid, velocity=velocity.repeat(repeats, 1))
                assert actual.item() == pytest.approx(expected, nan_ok=True)


def as_offsets(series: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """A hit on each step, late by the series, scaled into a step."""
    offset = torch.from_numpy(0.49 * series / np.abs(series).max()).float()[:, None]
    return torch.ones_like(offset), offset


def exponent(series: np.ndarray, grid: Grid = GRID) -> float:
    hits, offset = as_offsets(series)
    return timing_dfa(hits, grid, offset=offset).item()


@pytest.mark.parametrize("grid", [GRID, SIX_EIGHT, TRIPLETS, Grid(steps_per_beat=6)], ids=lambda series: str(series))
def test_white_noise_has_an_exponent_of_a_half_and_a_random_walk_of_one_and_a_half(grid):
    noise = np.random.default_rng(0).standard_normal((10, 4096))
    assert np.mean([exponent(series, grid) for series in noise]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([exponent(series.cumsum(), grid) for series in noise]) == pytest.approx(1.5, abs=0.05)


def test_pink_noise_is_between():
    random, exponents = np.random.default_rng(1), []
    for _ in range(10):
        spectrum = np.fft.rfft(random.standard_normal(4096))
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
        exponents.append(dfa(torch.from_numpy(np.fft.irfft(spectrum))))
    assert np.mean(exponents) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("length", [128, 500, 1003, 4096])
def test_dfa_follows_its_definition_window_by_window(length):
    series = np.random.default_rng(length).standard_normal(length) + np.sin(np.arange(length) / 30)
    walk = np.cumsum(series - series.mean())
    lengths = np.unique(np.round(np.geomspace(8, length // 4, 12)).astype(int))
    fluctuations = []
    for window in lengths:
        starts = range(0, length - window + 1, window)  # from the front, then as many that end at the end
        starts = [*starts, *(length - start - window for start in starts)]
        squares = []
        for start in starts:
            piece = walk[start : start + window]
            trend = np.polyval(np.polyfit(np.arange(window), piece, 1), np.arange(window))
            squares.append(np.mean((piece - trend) ** 2))
        fluctuations.append(np.sqrt(np.mean(squares)))
    slope = np.polyfit(np.log(lengths), np.log(fluctuations), 1)[0]
    assert dfa(torch.from_numpy(series)) == pytest.approx(slope, abs=1e-5)


def test_the_exponent_ignores_a_pattern_within_the_bar():
    noise = np.random.default_rng(2).standard_normal(2048)
    hits, offset = as_offsets(noise)
    pattern = torch.linspace(-0.3, 0.3, 16).repeat(128)[:, None]
    plain = timing_dfa(hits, GRID, offset=offset)
    torch.testing.assert_close(timing_dfa(hits, GRID, offset=offset + pattern), plain, atol=1e-3, rtol=0)


def test_the_exponent_is_of_the_cymbals_alone_where_they_are_given():
    noise, walk = np.random.default_rng(3).standard_normal((2, 4096))
    hits, offset = (torch.cat(pair, 1) for pair in zip(as_offsets(noise), as_offsets(walk.cumsum())))
    assert timing_dfa(hits, GRID, offset=offset, cymbals=(0,)).item() == pytest.approx(0.5, abs=0.1)
    assert timing_dfa(hits, GRID, offset=offset, cymbals=1).item() == pytest.approx(1.5, abs=0.15)


def test_the_exponent_of_too_few_onsets_or_without_deviation_is_undefined():
    noise = np.random.default_rng(4).standard_normal(128)
    assert math.isnan(exponent(noise[:127]))
    assert not math.isnan(exponent(noise))
    for onsets in ({}, {5: 0.1}, {0: 0.1, 4: -0.2}):
        hits, offset = line_of(16, onsets)
        for repeats in (1, 2):
            assert timing_dfa(hits.repeat(repeats, 1), GRID, offset=offset.repeat(repeats, 1)).isnan()


@pytest.mark.parametrize("late", [0.0, 0.1, -0.37])
def test_playing_always_equally_late_is_no_deviation(late):
    hits = torch.ones(1024, 1)
    assert timing_dfa(hits, GRID, offset=torch.full((1024, 1), late)).isnan()


def test_bars_that_are_identical_to_the_offsets_have_no_deviation():
    hits, offset = line_of(16, {step: 0.03 * step - 0.2 for step in range(0, 16, 2)})
    assert timing_dfa(hits.repeat(40, 1), GRID, offset=offset.repeat(40, 1)).isnan()


@pytest.fixture(scope="module")
def performances(tmp_path_factory) -> list[dict]:
    """Those of the Groove MIDI Dataset's train and validation splits: hits, offset, split, style, beat_type."""
    if not (GROOVE / "info.csv").exists():
        pytest.skip("the Groove MIDI Dataset is not at HYPERMETER_GROOVE; hypermeter download fetches it")
    out = tmp_path_factory.mktemp("groove")
    prepare(GROOVE, out, quiet=True)
    pieces = []
    for path in sorted(out.glob("*/*.npz")):
        with np.load(path) as file:
            hits, offset = torch.from_numpy(file["sequence"]).bool(), torch.from_numpy(file["offset"])
            pieces.append({"hits": hits, "offset": offset} | json.loads(str(file["meta"])))
    return [piece for piece in pieces if piece["split"] != "test"]


@pytest.mark.slow
def test_people_repeat_their_bars_as_published(performances):
    # The mean over all pairs of bars: that of a performance counts as often as it has pairs that are not both empty.
    totals, pairs = torch.zeros(8), torch.zeros(8)
    for piece in performances:
        if piece["split"] == "validation":
            bars = piece["hits"][: len(piece["hits"]) // 16 * 16].unflatten(0, (-1, 16)).flatten(1).any(1)
            counts = torch.tensor([(bars[lag:] | bars[: max(len(bars) - lag, 0)]).sum() for lag in range(1, 9)])
            totals += repetition_profile(piece["hits"], GRID).nan_to_num(0) * counts
            pairs += counts
    assert (pairs > 1000).all()
    published = torch.tensor([0.678, 0.687, 0.641, 0.697, 0.623, 0.636, 0.604, 0.659])  # of the test split
    torch.testing.assert_close(totals / pairs, published, atol=0.03, rtol=0)


@pytest.mark.slow
def test_blues_swings_more_than_jazz_and_rock_and_funk_do_not(performances):
    ratios = defaultdict(list)
    for piece in performances:
        ratio = swing_ratio(piece["hits"], GRID, offset=piece["offset"]).item()
        if piece["beat_type"] == "beat" and not math.isnan(ratio):
            ratios[piece["style"].partition("/")[0]].append(ratio)
    swing_of = {style: np.median(of_style) for style, of_style in ratios.items()}
    assert swing_of["blues"] == pytest.approx(1.93, abs=0.15)
    assert swing_of["blues"] > swing_of["jazz"] > 1.2
    assert swing_of["rock"] == pytest.approx(1, abs=0.1) and swing_of["funk"] == pytest.approx(1, abs=0.1)
    assert swing_of["rock"] > swing_of["funk"]


@pytest.mark.slow
def test_peoples_timing_remembers_and_shuffled_it_does_not(performances):
    cymbals = load_kit("gm10").cymbals
    played = [timing_dfa(piece["hits"], GRID, offset=piece["offset"], cymbals=cymbals).item() for piece in performances]
    played = [piece for piece in played if not math.isnan(piece)]
    assert len(played) > 100
    assert 0.72 < np.median(played) < 0.91
    random = np.random.default_rng(0)
    shuffled = []
    for piece in performances:
        there = piece["hits"][:, list(cymbals)].any(1)
        if there.sum() >= 128:
            late = torch.where(piece["hits"], piece["offset"], 0)[:, list(cymbals)].sum(1)[there]
            shuffled.append(dfa(late[random.permutation(len(late))]))
    assert np.median(shuffled) == pytest.approx(0.5, abs=0.05)

"""Metrics against hand-computed numbers and their values at the edges."""

import cmath
import math
import subprocess
import sys
from inspect import signature

import pytest
import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.music.metrics import (
    METRICS,
    WINDOW_METRICS,
    bar_f1,
    by_chunk,
    chunk_means,
    dense_frac,
    ngram_patterns,
    ngrams,
    syncopation,
    window_metrics,
)

GRID = Grid()
NAN = math.nan


def hits_at(steps: int, *voices: list[int]) -> torch.Tensor:
    """(steps, V) with a hit at each listed step of each voice."""
    hits = torch.zeros(steps, len(voices))
    for voice, onsets in enumerate(voices):
        hits[onsets, voice] = 1
    return hits


def bins(*counts: dict[int, int] | None) -> list[list[float]]:
    """Histograms of 32 distances, one a voice: how often which distance; None where there is none."""
    return [[NAN] * 32 if count is None else [count.get(steps, 0) for steps in range(1, 33)] for count in counts]


def entropy(*shares: float) -> float:
    return -sum(share * math.log2(share) for share in shares)


def resultant(*degrees: float) -> float:
    """Length of the mean of unit vectors."""
    return abs(sum(cmath.exp(1j * math.radians(angle)) for angle in degrees)) / len(degrees)


def value(name: str, hits: torch.Tensor, **options) -> list | float:
    return METRICS[name](hits, GRID, **options).tolist()


def apply(name: str, hits: torch.Tensor, grid: Grid = GRID) -> torch.Tensor:
    """The metric with whatever it asks for; velocities and offsets follow from the place in the sequence."""
    place = torch.arange(hits.shape[-2] * hits.shape[-1]).view(hits.shape[-2:]).float().expand(hits.shape)
    context = {
        "velocity": 0.5 + 0.4 * place.sin(),
        "offset": 0.3 * (place * 1.7).sin(),
        "strokes": 1 + place % 3,
        "tempo_bpm": 100.0,
        "streams": (0, 1, range(2, hits.shape[-1])),
    }
    wanted = signature(METRICS[name]).parameters
    return METRICS[name](hits, grid, **{key: value for key, value in context.items() if key in wanted})


ONE_BAR = hits_at(16, [0, 8], [4, 12], [0, 2, 4, 6])  # kick, snare, four hats
TWO_BARS = torch.cat([ONE_BAR, ONE_BAR])  # ends on the bar line

SHARE_AT = {0: 2 / 3, 2: 1 / 3, 4: 2 / 3, 6: 1 / 3, 8: 1 / 3, 12: 1 / 3}  # of the voices of ONE_BAR, at its steps
STEP_DENSITY = [SHARE_AT.get(step, 0) for step in range(16)]

# name: values for (no hits, one hit of voice 0 on step 5, ONE_BAR, TWO_BARS)
EXPECTED = {
    "density": (0, 1 / 48, 8 / 48, 8 / 48),
    "step_density": ([0] * 16, [0] * 5 + [1 / 3] + [0] * 10, STEP_DENSITY, STEP_DENSITY * 2),
    "avg_hits": (0, 1 / 16, 0.5, 0.5),
    "drum_density": ([0, 0, 0], [1 / 16, 0, 0], [2 / 16, 2 / 16, 4 / 16], [2 / 16, 2 / 16, 4 / 16]),
    "max_hits": (0, 1, 2, 2),
    "dense_frac": (0, 0, 0, 0),
    "co_occurrence": (0, 0, 2 / 16, 2 / 16),
    "ioi_mean": ([NAN] * 3, [NAN] * 3, [8, 8, 2], [8, 8, 22 / 7]),
    "ioi_var": ([NAN] * 3, [NAN] * 3, [0, 0, 0], [0, 0, (6 * 4 + 100) / 7 - (22 / 7) ** 2]),
    # hats of TWO_BARS: 2 2 2 10 2 2 2
    "ioi_hist": (
        bins(*[None] * 3),
        bins(*[None] * 3),
        bins({8: 1}, {8: 1}, {2: 3}),
        bins({8: 3}, {8: 3}, {2: 6, 10: 1}),
    ),
    # the union plays 0 2 4 6 8 12: distances 2 2 2 2 4, and in TWO_BARS 2 2 2 2 4 4 2 2 2 2 4
    "ioi_entropy": (NAN, NAN, entropy(4 / 5, 1 / 5), entropy(8 / 11, 3 / 11)),
    "npvi": (NAN, NAN, 100 * (2 / 3) / 4, 100 * 3 * (2 / 3) / 10),
    "fast_patterns": ([0, 0, 0], [0, 0, 0], [0, 0, 3], [0, 0, 6]),
    "syncopation": (NAN, 1, 6 / 8, 12 / 16),
    # one hit on step 5, in levels of the metrical tree 0 to 4: the rests 6-7 (-3) and 8-15 (-1) follow its -4
    "lhl": (NAN, 1 + 3, -1, -1),
    # weights 5 to 1: 1 where 5 could be; ONE_BAR has the six greatest
    "tmc": (NAN, 5 - 1, 0, 0),
    # level 4, so 15/16, between 4 (level 2, factor .75) and 6 (level 3, factor .625)
    "sioros": (NAN, 15 / 16 * (0.8 * 0.75 + 0.625) / 1.8, 0, 0),
    # a quarter beat from the beat, and held over two of them; in ONE_BAR 2 and 6 end on the next beat
    "wnbd": (NAN, 4, 2 + 2, 2 + 2),
    # ONE_BAR: 0 and 8, 4 and 12 cancel; 2 and 6 point 45 and 135 degrees
    "balance": (NAN, 0, 1 - math.sqrt(2) / 6, 1 - math.sqrt(2) / 6),
    # ONE_BAR: degrees short of the regular hexagon
    "evenness": (NAN, 1, resultant(0, 15, 30, 45, 60, 30), resultant(0, 15, 30, 45, 60, 30)),
    "ngrams": ([13] + [0] * 12, [9, 1, 1, 1, 1] + [0] * 8, [1] * 13, [2] * 13 + [1] * 3 + [0] * 13),
    "ngram_diversity": (1, 5, 13, 16),
    "hits_per_bar": ([[0, 0, 0]], [[1, 0, 0]], [[2, 2, 4]], [[2, 2, 4]] * 2),
    "groove_consistency": (NAN, NAN, NAN, 1),
    "groove_similarity": (NAN, NAN, NAN, 1),
    "repetition_profile": ([NAN] * 8, [NAN] * 8, [NAN] * 8, [1] + [NAN] * 7),
    "bar_novelty": ([NAN], [NAN], [NAN], [NAN] * 2),
    # ONE_BAR: 10 steps of no hits, 4 of one, 2 of two
    "step_entropy": (0, 1 / 16 * 4 + 15 / 16 * math.log2(16 / 15), 1.2987949, 1.2987949),
    "phrase_entropy": (0, 1 / 16 * 4 + 15 / 16 * math.log2(16 / 15), 1.2987949, 1.2987949),
    "transitions": ([[0] * 3] * 3, [[0] * 3] * 3, [[0] * 3] * 3, [[0] * 3] * 3),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_metric_of_no_hits_one_hit_one_bar_and_two_identical_bars(name):
    for hits, expected in zip((hits_at(16, [], [], []), hits_at(16, [5], [], []), ONE_BAR, TWO_BARS), EXPECTED[name]):
        torch.testing.assert_close(
            METRICS[name](hits, GRID), torch.tensor(expected, dtype=torch.float32), equal_nan=True, atol=1e-5, rtol=1e-5
        )


def test_every_metric_has_expected_values_here():
    elsewhere = {
        "witek",
        "velocity_range",
        "several_strokes",
        "swing_ratio",
        "timing_dfa",
        "offset_ms",
    }  # need more than hits
    assert set(METRICS) == set(EXPECTED) | elsewhere


@pytest.mark.parametrize("name", METRICS)
def test_a_batch_gives_what_its_rows_give(name):
    torch.manual_seed(0)
    hits = (torch.rand(2, 3, 41, 4) < 0.3).float()  # 41 steps: the last bar is short
    batched = apply(name, hits)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(batched[i, j], apply(name, hits[i, j]), equal_nan=True)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float64])
def test_the_type_of_hits_does_not_matter(name, dtype):
    torch.testing.assert_close(apply(name, TWO_BARS.to(dtype)).float(), apply(name, TWO_BARS).float(), equal_nan=True)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("steps", [0, 1, 3, 17])
def test_any_length_is_taken(name, steps):
    hits = torch.ones(2, steps, 3)
    result = apply(name, hits)
    assert result.shape[0] == 2
    if steps == 0 and name not in ("ngram_diversity", "fast_patterns", "transitions"):  # counts, 0 of nothing
        assert result.isnan().all()


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("steps", [0, 17])
def test_a_batch_of_nothing_gives_nothing(name, steps):
    one, none = apply(name, torch.ones(1, steps, 3)), apply(name, torch.ones(0, steps, 3))
    assert none.shape == (0, *one.shape[1:])


@pytest.mark.parametrize("steps", [7, 32, 37])
def test_by_chunk_cuts_what_is_as_long_as_the_hits(steps):
    torch.manual_seed(0)
    hits, velocity = (torch.rand(2, steps, 3) < 0.5).float(), torch.rand(2, steps, 3)
    ranges = by_chunk(METRICS["velocity_range"], hits, GRID, 16, velocity=velocity)
    alone = [
        METRICS["velocity_range"](hits[:, start : start + 16], GRID, velocity=velocity[:, start : start + 16])
        for start in range(0, steps, 16)
    ]
    torch.testing.assert_close(ranges, torch.stack(alone, 1))


METRES = {
    "3/4": Grid(beats_per_bar=3),
    "6/8": Grid(steps_per_beat=2, beats_per_bar=6, beat_unit=8),
    "4/4 in triplets, 12 steps": Grid(steps_per_beat=3),
    "4/4 in triplet sixteenths, 24 steps": Grid(steps_per_beat=6),
}

# Two bars, each with voice 0 on its first step and voice 1 in its middle: on a beat, except in 3/4.
# name: value in 3/4, value in the others
IN_OTHER_METRES = {
    "dense_frac": (0, 0),
    "hits_per_bar": ([[1, 1], [1, 1]], [[1, 1], [1, 1]]),
    "syncopation": (0.5, 0.5),
    "lhl": (1, -1),  # 3/4: the middle (-2) is followed by the third beat (-1)
    "tmc": ((4 + 3) - (4 + 2), 0),  # 3/4: a beat could have been played
    "sioros": (0.75 * 0.625, 0),  # 3/4: level 2 between two of level 1, else between the downbeats played
    "wnbd": (2 / 0.5, 0),  # 3/4: half a beat away and held over the third beat to the bar line
    "balance": (1, 1),
    "evenness": (1, 1),
    "groove_consistency": (1, 1),
    "groove_similarity": (1, 1),
    "repetition_profile": ([1] + [NAN] * 7, [1] + [NAN] * 7),
    "bar_novelty": ([NAN] * 2, [NAN] * 2),
}


@pytest.mark.parametrize("metre", METRES)
@pytest.mark.parametrize("name", IN_OTHER_METRES)
def test_metric_of_two_identical_bars_in_other_metres(name, metre):
    size = METRES[metre].steps_per_bar
    hits = hits_at(2 * size, [0, size], [size // 2, size + size // 2])
    expected = torch.tensor(IN_OTHER_METRES[name][metre != "3/4"], dtype=torch.float32)
    torch.testing.assert_close(METRICS[name](hits, METRES[metre]), expected, equal_nan=True)


@pytest.mark.parametrize("metre", METRES)
def test_phrase_entropy_follows_the_phrase_of_the_metre(metre):
    size = METRES[metre].steps_per_phrase
    hits = torch.zeros(2 * size, 1)
    hits[: size // 2] = 1  # one bit in the first phrase, none in the second
    assert METRICS["phrase_entropy"](hits, METRES[metre]).item() == pytest.approx(0.5)


@pytest.mark.parametrize("metre", METRES)
@pytest.mark.parametrize("name", sorted(set(EXPECTED) - set(IN_OTHER_METRES) - {"phrase_entropy"}))
def test_a_metric_that_knows_no_bars_is_the_same_in_every_metre(name, metre):
    torch.testing.assert_close(METRICS[name](TWO_BARS, METRES[metre]), METRICS[name](TWO_BARS, GRID), equal_nan=True)


@pytest.mark.parametrize("metre", METRES)
@pytest.mark.parametrize("name", METRICS)
def test_no_hits_one_hit_and_one_bar_are_defined_in_other_metres_where_they_are_in_four_four(name, metre):
    def defined(grid: Grid, onsets: list[int]) -> bool:
        return not apply(name, hits_at(grid.steps_per_bar, onsets, [], []), grid).isnan().all().item()

    for onsets in ([], [5], [0, 5, 7]):
        assert defined(METRES[metre], onsets) == defined(GRID, onsets)


@pytest.mark.parametrize("voices", [None, 1, [0, 2]])
@pytest.mark.parametrize("name", ["ioi_entropy", "npvi", "lhl", "tmc", "sioros", "wnbd", "balance", "evenness"])
def test_a_line_is_a_voice_or_the_union_of_a_group(name, voices):
    torch.manual_seed(1)
    hits = (torch.rand(64, 3) < 0.3).float()
    columns = [0, 1, 2] if voices is None else [voices] if isinstance(voices, int) else voices
    alone = hits[:, columns].amax(1, keepdim=True)
    assert METRICS[name](hits, GRID, voices=voices) == METRICS[name](alone, GRID)


@pytest.mark.parametrize(
    "name", ["ioi_entropy", "npvi", "lhl", "tmc", "sioros", "wnbd", "balance", "evenness", "swing_ratio"]
)
@pytest.mark.parametrize("voices", [3, -1, [0, 3]])
def test_a_line_of_a_voice_that_is_not_there_is_refused(name, voices):
    options = {"offset": torch.zeros(TWO_BARS.shape)} if name == "swing_ratio" else {}
    with pytest.raises(HypermeterError, match="voices are .*, expected columns from 0 to 2"):
        METRICS[name](TWO_BARS, GRID, voices=voices, **options)


def test_npvi_of_distances_by_hand():
    hits = hits_at(32, [0, 3, 4, 10])  # 3 1 6: 2/2 and 5/3.5
    assert value("npvi", hits) == pytest.approx(100 * (1 + 10 / 7) / 2)


def test_groove_similarity_is_over_all_pairs_and_consistency_over_neighbours():
    a, b = hits_at(16, [0]), hits_at(16, [0, 4])  # one cell in 16 apart
    bars = torch.cat([a, b, b, torch.ones(3, 1)])  # a short last bar is left out
    assert value("groove_consistency", bars) == pytest.approx(1 - 1 / 32)
    assert value("groove_similarity", bars) == pytest.approx(1 - 2 / 48)


def test_repetition_profile_is_f1_and_leaves_out_pairs_of_empty_bars():
    a, b, empty = hits_at(16, [0, 4]), hits_at(16, [0, 4, 8, 12]), torch.zeros(16, 1)
    bars = torch.cat([a, b, empty, empty, a])
    # 1 bar apart: 2/3, 0, left out, 0; 2 apart: 0, 0, 0; 3 apart: 0 and 2/3; 4 apart: 1
    assert bar_f1(bars, GRID, 1).tolist() == pytest.approx([2 / 3, 0, NAN, 0], nan_ok=True)
    expected = [2 / 9, 0, 1 / 3, 1] + [NAN] * 4
    assert value("repetition_profile", bars) == pytest.approx(expected, nan_ok=True)
    assert value("repetition_profile", torch.zeros(64, 1)) == pytest.approx([NAN] * 8, nan_ok=True)


def test_dense_frac_counts_bars_above_half_the_voices_or_the_threshold():
    hits = torch.zeros(32, 4)
    hits[:16, :3] = 1
    hits[16:, :2] = 1  # exactly V / 2 is not above
    assert value("dense_frac", hits) == 0.5
    assert value("dense_frac", hits, threshold=1.0) == 1
    assert dense_frac(hits, Grid(beats_per_bar=8)).item() == 1


def test_ioi_histogram_counts_distances_up_to_32_steps():
    hits = hits_at(100, [0, 1, 2, 34, 67], [5], [])  # 1, 1, 32, 33
    histogram = METRICS["ioi_hist"](hits, GRID)
    assert histogram.shape == (3, 32)
    assert histogram[0, 0] == 2
    assert histogram[0, 31] == 1
    assert histogram[0].sum() == 3  # 33 is left out
    assert histogram[1:].isnan().all()


def test_fast_patterns_follow_the_threshold():
    hits = hits_at(32, [0, 1, 4, 9, 20])  # 1, 3, 5, 11
    assert value("fast_patterns", hits) == [2]
    assert value("fast_patterns", hits, fast_threshold=5) == [3]
    assert value("fast_patterns", hits, fast_threshold=1) == [1]


def test_transition_rows_sum_to_one_or_are_zero():
    hits = hits_at(8, [0, 2], [1, 3], [3])  # after voice 0: voices 1, 1 and 2; after voice 1: voice 0 once
    table = METRICS["transitions"](hits, GRID)
    torch.testing.assert_close(table, torch.tensor([[0, 2 / 3, 1 / 3], [1, 0, 0], [0, 0, 0]]))


def test_syncopation_by_bar_or_off_beat():
    hits = hits_at(16, [0, 4, 6, 7])
    assert value("syncopation", hits) == 0.75
    assert value("syncopation", hits, weak="offbeat") == 0.5
    assert syncopation(hits, Grid(steps_per_beat=2, beats_per_bar=6, beat_unit=8), weak="offbeat").item() == 0.25
    with pytest.raises(HypermeterError, match="weak is 'sometimes'"):
        syncopation(hits, GRID, weak="sometimes")


def test_density_and_syncopation_of_probabilities_are_expectations_with_a_gradient():
    probs = torch.full((16, 2), 0.25, requires_grad=True)
    assert METRICS["density"](probs, GRID).item() == pytest.approx(0.25)
    share = METRICS["syncopation"](probs, GRID)
    assert share.item() == pytest.approx(15 / 16)
    share.backward()
    assert (probs.grad != 0).all()


def test_ngrams_are_counts_most_frequent_first():
    hits = hits_at(10, [0, 4, 8])  # starts at 0..6: 1000 0100 0010 0001 1000 0100 0010
    assert value("ngrams", hits) == [2, 2, 2, 1, 0, 0, 0]
    assert value("ngram_diversity", hits) == 4
    assert value("ngrams", hits, n=1) == [7, 3] + [0] * 8
    assert ngrams(hits[:3], GRID).shape == (0,)
    assert value("ngram_diversity", hits[:3]) == 0
    patterns, counts = ngram_patterns(hits)
    assert counts.tolist() == [2, 2, 2, 1]
    assert sorted("".join(str(int(x)) for x in codes.flatten()) for codes in patterns) == [
        "0001",
        "0010",
        "0100",
        "1000",
    ]
    assert ngram_patterns(hits[:2])[0].shape == (0, 4, 1)


@pytest.mark.parametrize("voices", [62, 63, 80])
def test_ngrams_distinguish_voices_of_wide_kits(voices):
    hits = torch.zeros(2, 2, voices)
    hits[0, 0, -1] = hits[0, 1, 0] = hits[1, :, -2] = 1
    assert ngrams(hits, GRID, n=1).tolist() == [[1, 1], [2, 0]]


def test_groove_consistency_counts_changed_cells_and_leaves_out_a_short_bar():
    changed = TWO_BARS.clone()
    changed[20, 1] = 0
    assert value("groove_consistency", changed) == pytest.approx(1 - 1 / 48)
    assert value("groove_consistency", torch.cat([TWO_BARS, torch.ones(5, 3)])) == 1


def test_phrase_entropy_is_the_mean_over_phrases_the_short_one_too():
    half = torch.cat([torch.zeros(8, 1), torch.ones(8, 1)])
    assert value("phrase_entropy", torch.cat([half, half, half, half, torch.ones(4, 1)])) == pytest.approx(0.5)


def test_chunk_means_of_a_short_chunk_are_over_the_steps_it_has():
    means = chunk_means(torch.cat([torch.ones(16, 1), torch.ones(2, 1), torch.zeros(2, 1)]), 16)
    assert means.tolist() == [[1], [0.5]]


def test_window_metrics_have_all_levels_and_each_bar_has_its_own_values():
    hits = torch.cat([TWO_BARS, torch.zeros(16, 3), ONE_BAR, ONE_BAR[:6]])  # 4 bars and 6 steps
    levels = window_metrics(hits, GRID, sections=[(0, 16), (64, 200), (500, 600)], fast_threshold=2)
    assert set(levels) == {"step", "bar", "phrase", "section", "song"}
    for name in WINDOW_METRICS:
        for level, size in (("bar", 16), ("phrase", 64)):
            for index in range(-(-len(hits) // size)):
                alone = METRICS[name](hits[index * size : (index + 1) * size], GRID)
                actual = levels[level][name][index]
                if name == "ngrams":
                    actual = actual[: alone.numel()]
                torch.testing.assert_close(actual, alone, equal_nan=True)
        torch.testing.assert_close(levels["step"][name], METRICS[name](hits, GRID), equal_nan=True)
    assert levels["phrase"]["hits_per_bar"].shape == (5, 3)
    inside, cut, outside = levels["section"]
    assert inside["avg_hits"] == 0.5
    torch.testing.assert_close(cut["drum_density"], torch.tensor([1 / 6, 1 / 6, 3 / 6]))
    assert outside["avg_hits"].isnan()
    assert levels["song"]["max_hits"] == 2


@pytest.mark.parametrize("steps", [1, 5, 16])
def test_window_metrics_of_a_bar_or_less_have_one_bar_and_one_phrase(steps):
    levels = window_metrics(torch.ones(steps, 2), GRID)
    assert levels["bar"]["avg_hits"].tolist() == levels["phrase"]["avg_hits"].tolist() == [2]
    assert levels["section"] == []


@pytest.mark.parametrize("steps_per_bar", [12, 16, 24])
def test_a_bar_just_at_the_threshold_is_not_dense(steps_per_bar):
    grid = Grid(steps_per_bar // 4)
    torch.manual_seed(0)
    for _ in range(50):  # in any order of the hits
        cells = torch.zeros(steps_per_bar * 10)
        cells[torch.randperm(len(cells))[: steps_per_bar * 5]] = 1
        hits = cells.view(steps_per_bar, 10)
        assert METRICS["dense_frac"](hits, grid) == window_metrics(hits, grid)["step"]["dense_frac"] == 0


def test_the_variance_of_long_intervals_is_not_lost_in_rounding():
    torch.manual_seed(0)
    gaps = 256 + torch.randint(-1, 2, (300,))
    hits = torch.zeros(int(gaps.sum()) + 1, 1)
    hits[torch.cat([torch.zeros(1, dtype=torch.long), gaps.cumsum(0)])] = 1
    expected = gaps.double().var(correction=0).item()
    assert METRICS["ioi_var"](hits, GRID).item() == pytest.approx(expected, rel=1e-5)


def test_window_metrics_of_no_steps_have_no_bars_and_are_undefined():
    levels = window_metrics(torch.zeros(2, 0, 3), GRID)
    assert levels["step"]["avg_hits"].isnan().all() and levels["step"]["avg_hits"].shape == (2,)
    assert levels["step"]["max_hits"].isnan().all()
    assert levels["bar"]["drum_density"].shape == (2, 0, 3)
    assert levels["phrase"]["transitions"].shape == (2, 0, 3, 3)


def some_hits(batch: int, steps: int) -> torch.Tensor:
    return (torch.rand(batch, steps, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()


def test_bar_novelty_is_likeness_of_the_bars_around_less_that_to_the_bar():
    hits = some_hits(2, 16 * 9 + 3)
    bars = hits[:, : 16 * 9].reshape(2, 9, -1)

    def f1(one, other):
        return 2 * (one * other).sum() / (one.sum() + other.sum())

    novelty = METRICS["bar_novelty"](hits, Grid())
    assert novelty.shape == (2, 9)
    for row in range(2):
        for bar in range(9):
            around = [near for near in range(9) if near != bar and abs(near - bar) <= 4]
            among = [f1(bars[row, one], bars[row, other]) for one in around for other in around if one != other]
            to_bar = [f1(bars[row, bar], bars[row, near]) for near in around]
            expected = torch.stack(among).mean() - torch.stack(to_bar).mean()
            assert novelty[row, bar].item() == pytest.approx(expected.item(), abs=1e-5)


def test_bar_novelty_of_too_few_bars_is_undefined_and_of_equal_bars_none():
    bar = some_hits(1, 16)
    assert METRICS["bar_novelty"](bar.repeat(1, 2, 1), Grid()).isnan().all()
    assert METRICS["bar_novelty"](bar[:, :5], Grid()).shape == (1, 0)
    assert METRICS["bar_novelty"](bar.repeat(1, 5, 1), Grid()).abs().max() < 1e-6
    assert METRICS["bar_novelty"](bar.repeat(1, 5, 1) * 0, Grid()).abs().max() < 1e-6


def test_a_bar_unlike_all_others_is_the_most_novel():
    bar, other = some_hits(1, 16), 1 - some_hits(1, 16)
    novelty = METRICS["bar_novelty"](torch.cat([bar, bar, other, bar, bar], 1), Grid())
    assert novelty.argmax() == 2 and novelty[0, 2] > 0.3


def test_a_model_tells_how_an_array_becomes_a_tensor_and_a_metric_how_a_list_becomes_an_array():
    """In a process of its own, as here the annotations are held to."""
    code = """
import numpy as np
from hypermeter.model.playing import generate
from hypermeter.core.grid import Grid
from hypermeter.core.errors import HypermeterError
from hypermeter.music.metrics import METRICS
from hypermeter.model.hierarchical import HierarchicalDrumModel
hits = np.zeros((1, 16, 4))
for call in (
    lambda: METRICS["density"](hits.tolist(), Grid()),
    lambda: METRICS["max_hits"](hits.tolist(), Grid()),
    lambda: generate(HierarchicalDrumModel(4, 8, 8, 8), hits, 1),
    lambda: HierarchicalDrumModel(4, 8, 8, 8).log_prob(hits),
):
    try:
        call()
    except HypermeterError as error:
        print(error)
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert [line.partition(": ")[2] for line in output.splitlines()] == [
        "list, expected a NumPy array or a torch tensor; numpy.asarray(hits)",
        "list, expected a NumPy array or a torch tensor; numpy.asarray(hits)",
        "ndarray, expected a tensor; torch.from_numpy(hits).float()[None]",
        "ndarray, expected a tensor; torch.from_numpy(hits).float()[None]",
    ]

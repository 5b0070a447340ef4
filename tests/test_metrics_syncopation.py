"""Syncopation and shape against the worked tables of the literature, and Witek's three streams by hand."""

import math

import pytest
import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import load_kit
from hypermeter.music.metrics import (
    METRICS,
    WITEK_WEIGHTS,
    balance,
    evenness,
    lhl,
    metrical_levels,
    sioros,
    tmc,
    witek,
    wnbd,
)

GRID = Grid()
THREE_FOUR = Grid(beats_per_bar=3)
SIX_EIGHT = Grid(steps_per_beat=2, beats_per_bar=6, beat_unit=8)
TRIPLETS = Grid(steps_per_beat=3)
FINE_TRIPLETS = Grid(steps_per_beat=6)

FOUR_ON_THE_FLOOR = "1000100010001000"
SON = "1001001000101000"
RUMBA = "1001000100101000"
OFF_BEAT_EIGHTHS = "0010001000100010"

# pattern: LHL, TMC, SG, WNBD
WORKED = {
    FOUR_ON_THE_FLOOR: (-1, 0, 0, 0),
    "1000101000101000": (2, 2, 1.0729, 6),  # shiko
    SON: (4, 4, 1.6979, 14),
    RUMBA: (6, 5, 1.8672, 18),
    "1001001000100100": (6, 6, 2.3828, 20),  # bossa
    "1001001000100010": (5, 5, 1.9878, 18),  # gahu
    "1001001000110000": (6, 6, 1.8316, 22),  # soukous
    OFF_BEAT_EIGHTHS: (4, 7, 2.5156, 14),
    "0101010101010101": (11, 15, 5.5078, 44),
}

# pattern: balance, evenness
SHAPES = {
    SON: (0.98352, 0.98772),
    RUMBA: (0.90575, 0.98161),
    "1111000000000000": (0.09387, 0.31819),
    "1000000000000001": (0.01922, 0.19509),
    FOUR_ON_THE_FLOOR: (1, 1),
}

MONOPHONIC = (lhl, tmc, sioros, wnbd, balance, evenness)


def played(*patterns: str) -> torch.Tensor:
    """(steps, V) from one string of 0 and 1 a voice."""
    return torch.tensor([[float(hit) for hit in pattern] for pattern in patterns]).T


@pytest.mark.parametrize("pattern", WORKED)
@pytest.mark.parametrize("column, metric", list(enumerate((lhl, tmc, sioros, wnbd))))
def test_syncopation_of_known_patterns(pattern, column, metric):
    assert metric(played(pattern), GRID).item() == pytest.approx(WORKED[pattern][column], abs=6e-5)


@pytest.mark.parametrize("pattern", SHAPES)
def test_balance_and_evenness_of_known_patterns(pattern):
    actual = balance(played(pattern), GRID).item(), evenness(played(pattern), GRID).item()
    assert actual == pytest.approx(SHAPES[pattern], abs=6e-6)


@pytest.mark.parametrize("metric", MONOPHONIC)
def test_a_piece_is_the_mean_of_its_bars_without_the_empty_and_the_short_one(metric):
    bars = [played(SON), played(RUMBA), torch.zeros(16, 1), played("10000001")]
    alone = [metric(played(pattern), GRID).item() for pattern in (SON, RUMBA)]
    assert metric(torch.cat(bars), GRID).item() == pytest.approx(sum(alone) / 2)


@pytest.mark.parametrize("metric", MONOPHONIC)
def test_a_rhythm_needs_a_whole_bar_with_an_onset(metric):
    for hits in (torch.zeros(32, 2), torch.ones(15, 2), torch.ones(0, 2)):
        assert metric(hits, GRID).isnan()


@pytest.mark.parametrize("metric", MONOPHONIC)
def test_voices_choose_one_a_group_or_the_union(metric):
    # No voice plays the son clave, all three together do.
    hits = played("1000001000000000", "0001000000101000", "1001000000000000")
    assert metric(hits, GRID) == metric(hits, GRID, voices=[0, 1]) == metric(played(SON), GRID)
    for voice in range(3):
        assert metric(hits, GRID, voices=voice) == metric(hits[:, [voice]], GRID)
    assert metric(hits, GRID, voices=[2]) == metric(hits, GRID, voices=2) != metric(hits, GRID)


def test_wnbd_may_be_divided_by_the_onsets():
    assert wnbd(played(SON), GRID, normalised=True).item() == pytest.approx(14 / 5)


def test_a_note_held_past_the_second_beat_counts_once_in_wnbd():
    # A quarter of a beat from the beat. It ends, for the next onset, ...
    assert wnbd(played("0100100000000000"), GRID).item() == 4  # on the next beat
    assert wnbd(played("0100000010000000"), GRID).item() == 8  # on the one after it
    assert wnbd(played("0100000000001000"), GRID).item() == 4  # later


def test_lhl_hears_an_anticipated_downbeat_where_bars_are_joined():
    hits = played("0000000000000001" + "0000000010000000")
    assert lhl(hits, GRID).item() == -1
    # The note on the last sixteenth (-4) stands before a rest of weight 0; the bar it is in scores -1.
    assert lhl(hits, GRID, across_bars=True).item() == (-1 + 4) / 2
    assert lhl(played(SON), GRID, across_bars=True).item() == 4


def test_lhl_takes_the_largest_empty_subtree_as_one_rest():
    # 12-15 is one rest (-2) after the note on 11 (-4); as single steps it would be -2, -4, -3 and -4.
    assert lhl(played("1000000000010000"), GRID).item() == 2
    # 8-15 is one rest of weight -1 after the note on 6 (-3).
    assert lhl(played("1000001000000000"), GRID).item() == 2


@pytest.mark.parametrize("pattern", WORKED)
@pytest.mark.parametrize("metric", [sioros, lhl, wnbd])
def test_a_finer_grid_does_not_change_the_result(metric, pattern):
    finer = torch.stack([played(pattern), torch.zeros(16, 1)], 1).flatten(0, 1)
    expected = metric(played(pattern), GRID)
    torch.testing.assert_close(metric(finer, Grid(steps_per_beat=8)), expected)


@pytest.mark.parametrize(
    "grid, levels",
    [
        (GRID, "0434243414342434"),
        (THREE_FOUR, "032313231323"),
        (SIX_EIGHT, "032323132323"),
        (TRIPLETS, "033233133233"),
        (FINE_TRIPLETS, "044344244344144344244344"),
    ],
)
def test_metrical_levels_are_those_of_the_tree(grid, levels):
    # 3/4: each beat but the first is level 1. 6/8: the second dotted quarter is 1, other eighths 2, sixteenths 3.
    assert metrical_levels(grid).tolist() == [int(level) for level in levels]


# One hit on the third step and one on the seventh, in bars of 12, 12, 12 and 24.
@pytest.mark.parametrize(
    "grid, expected",
    [
        # Levels of 2 and 6: 2, 2. Rests 4-5 (-1) after 2, 8-11 (-1) after 6: 1 + 1. Weights 4 - level: 4 + 3 - 2 - 2.
        # Half a beat away: 2 ends at 6, past 4 by no more than a beat; 6 ends at 12, past 8: 4 + 4.
        (THREE_FOUR, (2, 3, 8)),
        # Levels 2, 1. Rests 4-5 (-2, equal to the note on 2: 0), 8-9 and so on lower. 4 + 3 - 2 - 3. Both on beats.
        (SIX_EIGHT, (0, 2, 0)),
        # Levels 3, 1. Rest 3-5 (-2) after 2 (-3): 1; 9-11 (-2) after 6 (-1) not. 4 + 3 - 1 - 3. A third of a beat: 2
        # ends at 6, past 3 by a beat: 6; 6 is on the beat.
        (TRIPLETS, (1, 3, 6)),
        # Levels 4, 2. Rests 3-5 (-3) after 2 (-4): 1; 12-23 (-1) after 6 (-2): 1. 5 + 4 - 1 - 3. A third of a beat: 2
        # ends on the next beat: 3; 6 is on the beat.
        (FINE_TRIPLETS, (2, 5, 3)),
    ],
)
def test_syncopation_in_other_metres_by_hand(grid, expected):
    hits = torch.zeros(grid.steps_per_bar, 1)
    hits[[2, 6]] = 1
    assert [metric(hits, grid).item() for metric in (lhl, tmc, wnbd)] == pytest.approx(expected)


def test_sioros_in_six_eight_by_hand():
    hits = torch.zeros(12, 1)
    hits[4] = 1  # the third eighth, level 2, between 2 (level 2, factor .5) and 6 (level 1, factor .625)
    assert sioros(hits, SIX_EIGHT).item() == pytest.approx(0.75 * (0.8 * 0.5 + 0.625) / 1.8)


def streams(**onsets: list[int]) -> torch.Tensor:
    """One bar of low, mid and high."""
    hits = torch.zeros(16, 3)
    for column, name in enumerate(("low", "mid", "high")):
        hits[onsets.get(name, []), column] = 1
    return hits


def witek_of(hits: torch.Tensor, variant: str, grid: Grid = GRID) -> float:
    return witek(hits, grid, streams=(0, 1, 2), variant=variant).item()


# Onsets, then the value of "paper", "filled" and "rests". Steps 3 and 4 are -3 and -1: a rise of 2.
WITEK = [
    ({"low": [3], "high": [4]}, (7, 7, 7)),
    ({"mid": [3], "high": [4]}, (7, 7, 7)),
    ({"low": [3], "mid": [4], "high": [4]}, (4, 4, 4)),
    ({"mid": [3], "low": [4], "high": [4]}, (3, 3, 3)),
    ({"low": [3], "mid": [4]}, (0, 4, 4 + 0)),  # the paper does not name low against mid alone; 4 to 5 falls
    ({"mid": [3], "low": [4]}, (0, 3, 3)),
    ({"low": [2], "mid": [4]}, (0, 0, 0)),  # one step ahead only, and 2 to 3 falls
    ({"low": [2], "high": [3]}, (0, 0, 0)),  # -2 to -3 falls
    ({"low": [3]}, (0, 0, 2 + 6)),
    ({"mid": [3]}, (0, 0, 2 + 6)),
    ({"high": [3]}, (0, 0, 0)),  # a high note has no weight of its own
    ({"high": [3], "low": [4], "mid": [4]}, (0, 0, 0)),
    ({"low": [3, 4], "high": [4]}, (0, 0, 0)),  # the stream plays on: no rest of its own
    ({"low": [3], "mid": [3], "high": [4]}, (14, 14, 14)),  # each against the hat
    ({"low": [7], "high": [8]}, (7, 7, 7)),  # beat 3 weighs -1 as beats 2 and 4 do
    ({"low": [15]}, (0, 0, 0)),  # nothing follows the last step
    ({"low": [0, 8], "mid": [4, 12], "high": [0, 4, 8, 12]}, (0, 0, 0)),
    ({}, (math.nan,) * 3),
]


@pytest.mark.parametrize("onsets, expected", WITEK)
def test_witek_by_hand_in_each_variant(onsets, expected):
    actual = [witek_of(streams(**onsets), variant) for variant in ("paper", "filled", "rests")]
    assert actual == pytest.approx(expected, nan_ok=True)


def test_witek_of_one_hit_one_bar_and_identical_bars_which_join_at_the_bar_line():
    assert witek_of(streams(low=[5]), "filled") == 0
    bar = streams(low=[3], high=[4, 0], mid=[15])
    assert witek_of(bar, "filled") == 7
    # The snare on the last step (-3) is followed by a hat on the downbeat (0): 3 + 5, in one bar of two.
    assert witek_of(torch.cat([bar, bar]), "filled") == 7 + 8 / 2
    assert witek_of(torch.cat([bar, bar, bar[:5]]), "filled") == 7 + 8 / 2  # the short last bar is left out


@pytest.mark.parametrize(
    "grid, rise",
    [(THREE_FOUR, 2), (SIX_EIGHT, 1), (TRIPLETS, 1), (FINE_TRIPLETS, 2)],
    ids=lambda subdivision: str(subdivision),
)
def test_witek_in_other_metres_weighs_beats_and_what_divides_them(grid, rise):
    # Kick on the last step of the first beat, hat on the second. It is two levels below in 3/4 and in triplet
    # sixteenths, one level below in triplets and in the sixteenths of 6/8.
    hits = torch.zeros(grid.steps_per_bar, 3)
    hits[grid.steps_per_beat - 1, 0] = hits[grid.steps_per_beat, 2] = 1
    assert witek_of(hits, "paper", grid) == rise + 5


def test_witek_groups_the_voices_of_gm10_by_itself():
    hits = torch.zeros(16, 10)
    hits[3, 0] = hits[4, 9] = 1  # kick, ride
    hits[11, 6] = hits[12, 3] = 1  # mid tom, pedal hat
    assert witek(hits, GRID).item() == 14
    torch.testing.assert_close(witek(hits, GRID), witek(hits, GRID, streams=load_kit("gm10").streams))
    assert METRICS["witek"](torch.stack([hits, hits * 0]), GRID).tolist() == pytest.approx([14, math.nan], nan_ok=True)


def test_witek_of_another_number_of_voices_needs_streams():
    with pytest.raises(HypermeterError, match="witek: 9 voices, not those of gm10; give streams"):
        witek(torch.zeros(16, 9), GRID)
    with pytest.raises(HypermeterError, match="voices are .*, expected columns from 0 to 2"):
        witek(torch.zeros(16, 3), GRID, streams=(0, 1, 3))
    with pytest.raises(HypermeterError, match="witek: variant is 'mine', expected one of paper, filled, rests"):
        witek(torch.zeros(16, 10), GRID, variant="mine")
    assert set(WITEK_WEIGHTS) == {"paper", "filled", "rests"}


def test_streams_and_cymbals_of_the_kits():
    gm10, magenta9, gm = load_kit("gm10"), load_kit("magenta9"), load_kit("gm")
    assert gm10.streams == ((0,), (1, 5, 6, 7), (2, 3, 4, 8, 9))
    assert gm10.cymbals == (2, 3, 4, 8, 9)
    assert magenta9.streams == ((0,), (1, 4, 5, 6), (2, 3, 7, 8))
    assert magenta9.cymbals == (2, 3, 7, 8)
    low, mid, high = gm.streams
    assert low == (0, 1)
    # side stick, snares, clap, toms, then bongos, congas and timbales; the vibraslap is none of these
    assert mid == (2, 3, 4, 5, 6, 8, 10, 12, 13, 15, *range(25, 32))
    assert sorted(low + mid + high) == list(range(gm.num_voices))
    assert gm.cymbals == (7, 9, 11, 14, 16, 17, 18, 20, 22, 24)

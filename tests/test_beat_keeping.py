"""Beat-keeping, by examples that can be counted by hand."""

import math

import numpy as np
import pytest
import torch

from hypermeter.core.grid import Grid
from hypermeter.core.kit import load_kit
from hypermeter.music.beat_keeping import (
    Roles,
    backbeat,
    backbeats,
    beat_keeping,
    distinct_bars,
    dropped,
    felt_beats,
    pulse,
    roles_of,
    runaway,
    runs_of,
    section_likeness,
    thin_bars,
)

FOUR = Grid()
KICK, SNARE, HAT = 0, 1, 2


def rock(bars):
    """Kick on 1 and 3, snare on 2 and 4, hats in eighths."""
    hits = np.zeros((bars, 16, 3), np.uint8)
    hits[:, [0, 8], KICK] = hits[:, [4, 12], SNARE] = hits[:, ::2, HAT] = 1
    return hits


def piece(bars):
    return bars.reshape(-1, bars.shape[-1])


@pytest.mark.parametrize(
    ("metre", "steps_per_beat", "felt", "back"),
    [
        ("4/4", 4, [0, 4, 8, 12], [4, 12]),
        ("4/4", 3, [0, 3, 6, 9], [3, 9]),
        ("2/4", 4, [0, 4], [4]),
        ("3/4", 4, [0, 4, 8], [4, 8]),
        ("5/4", 4, [0, 4, 8, 12, 16], [4, 12]),
        ("6/8", 2, [0, 6], [6]),
        ("12/8", 2, [0, 6, 12, 18], [6, 18]),
        ("3/8", 2, [0, 2, 4], [2, 4]),
        ("7/8", 2, [0, 2, 4, 6, 8, 10, 12], [2, 6, 10]),
        ("6/4", 4, [0, 4, 8, 12, 16, 20], [4, 12, 20]),
        ("1/4", 4, [0], []),
    ],
)
def test_beats_and_backbeats_of_metres(metre, steps_per_beat, felt, back):
    grid = Grid.of_metre(metre, steps_per_beat)
    assert felt_beats(grid) == felt
    assert backbeats(grid) == back


def test_roles_of_kits_are_told_by_their_pitches():
    kit = load_kit("gm10")
    roles = roles_of(kit)
    assert [kit.names[column] for column in (*roles.kick, *roles.snare)] == ["kick", "snare"]
    assert [kit.names[column] for column in roles.cymbals] == ["closed_hat", "pedal_hat", "open_hat", "crash", "ride"]
    assert roles.all == (0, 1, 2, 3, 4, 8, 9)
    assert roles_of(load_kit("gm10:td17")) == roles
    assert len(roles_of(load_kit("gm")).snare) == 4


def test_the_backbeat_is_the_share_of_backbeats_with_a_snare():
    bars = rock(4)
    assert backbeat(piece(bars), FOUR, [SNARE]) == 1
    bars[0, 4, SNARE] = bars[1, [4, 12], SNARE] = 0
    assert backbeat(piece(bars), FOUR, [SNARE]) == 5 / 8
    bars[0, 5, SNARE] = 1  # beside the backbeat
    assert backbeat(piece(bars), FOUR, [SNARE]) == 5 / 8
    assert backbeat(piece(bars), FOUR, [KICK]) == 0
    assert math.isnan(backbeat(np.zeros((8, 3)), FOUR, [SNARE]))
    assert math.isnan(backbeat(np.ones((8, 3)), Grid.of_metre("1/4"), [SNARE]))


def test_a_backbeat_in_six_eight_is_the_second_half_of_the_bar():
    hits = np.zeros((24, 3))
    hits[[6, 18], SNARE] = 1
    assert backbeat(hits, Grid.of_metre("6/8", 2), [SNARE]) == 1


def test_the_pulse_is_the_share_of_beats_that_are_marked():
    bars = rock(2)
    assert pulse(piece(bars), FOUR, [KICK, SNARE, HAT]) == 1
    assert pulse(piece(bars), FOUR, [KICK]) == 0.5
    bars[1] = 0
    assert pulse(piece(bars), FOUR, [KICK, SNARE, HAT]) == 0.5
    assert pulse(piece(bars), FOUR, []) == 0


def test_thin_bars_have_less_than_half_of_the_mean_density():
    bars = rock(4)
    assert thin_bars(piece(bars), FOUR) == 0
    bars[3, 1:] = 0  # two hits, where 12 + 12 + 12 + 2 are 9.5 in the mean
    assert thin_bars(piece(bars), FOUR) == 0.25
    bars[3, 1, :] = 1  # five hits of 10.25: less than half
    assert thin_bars(piece(bars), FOUR) == 0.25
    bars[3, 2, 0] = 1  # six of 10.5
    assert thin_bars(piece(bars), FOUR) == 0
    assert thin_bars(np.zeros((32, 3)), FOUR) == 0


def test_a_voice_that_is_silent_for_a_phrase_has_dropped_out():
    bars = rock(12)
    bars[1:4, :, KICK] = 0
    assert dropped(piece(bars), FOUR, [KICK]) == 0
    bars[6:11, :, KICK] = 0
    assert dropped(piece(bars), FOUR, [KICK]) == pytest.approx(5 / 12)
    assert dropped(piece(bars), FOUR, [KICK, SNARE]) == 0
    assert dropped(piece(bars), FOUR, [KICK], least_bars=3) == pytest.approx(8 / 12)
    assert dropped(piece(bars), Grid(bars_per_phrase=6), [KICK]) == 0


def test_a_voice_that_fills_the_bars_of_a_phrase_has_run_away():
    bars = rock(8)
    bars[0:4, :12, SNARE] = 1
    bars[0:4, 12:, SNARE] = 0
    assert runaway(piece(bars), FOUR, [KICK, SNARE, HAT]) == 0  # 12 of 16 steps
    bars[0:3, 12, SNARE] = 1
    assert runaway(piece(bars), FOUR, [KICK, SNARE, HAT]) == 0  # three bars
    bars[3, 12, SNARE] = 1
    assert runaway(piece(bars), FOUR, [KICK, SNARE, HAT]) == 0.5
    assert runaway(piece(bars), FOUR, [KICK, HAT]) == 0
    bars[4:8, :, HAT] = 1
    assert runaway(piece(bars), FOUR, [KICK, SNARE, HAT]) == 1


def test_two_voices_that_fill_bars_in_turn_have_not_run_away():
    bars = rock(4)
    bars[0:2, :, SNARE] = bars[2:4, :, HAT] = 1
    assert runaway(piece(bars), FOUR, [SNARE, HAT]) == 0


def test_distinct_bars_are_counted_once():
    bars = rock(4)
    assert distinct_bars(piece(bars), FOUR) == 0.25
    bars[2, 15, KICK] = 1
    assert distinct_bars(piece(bars), FOUR) == 0.5
    assert distinct_bars(piece(rock(3))[:-1], FOUR) == 0.5  # a short last bar is left out


def test_a_section_that_returns_as_itself_is_more_like_its_first_time():
    first, second = rock(2), np.zeros((2, 16, 3), np.uint8)
    second[:, ::4, KICK] = 1  # shares the kicks on 1 and 3 with rock: F1 = 2 * 2 / (12 + 4)
    labels = ["a", "a", "b", "b", "a", "a"]
    alike = section_likeness(piece(np.concatenate([first, second, first])), FOUR, labels)
    assert alike.returns == 1
    assert alike.others == pytest.approx(0.25)
    alike = section_likeness(piece(np.concatenate([first, second, second])), FOUR, labels)
    assert alike.returns == pytest.approx(0.25)
    assert alike.others == 1


def test_without_a_return_the_likeness_of_sections_is_undefined():
    alike = section_likeness(piece(rock(4)), FOUR, ["a", "a", "b", "b"])
    assert math.isnan(alike.returns) and math.isnan(alike.others)
    alike = section_likeness(piece(rock(4)), FOUR, ["a", "", "a", "a"])
    assert alike.returns == 1 and math.isnan(alike.others)
    with pytest.raises(ValueError, match="3 labels, expected 4"):
        section_likeness(piece(rock(4)), FOUR, ["a"] * 3)


def test_silent_bars_are_alike():
    alike = section_likeness(np.zeros((64, 3)), FOUR, ["a", "b", "a", "b"])
    assert alike.returns == alike.others == 1


def test_runs_leave_out_bars_without_a_label():
    assert runs_of(["a", "a", "", "b", "a"]) == [("a", 0, 2), ("b", 3, 4), ("a", 4, 5)]
    assert runs_of([]) == []


def test_all_measures_of_a_piece():
    bars = rock(8)
    bars[4:, :, SNARE] = 0
    values = beat_keeping(piece(bars), FOUR, Roles((KICK,), (SNARE,), (HAT,)))
    expected = {"backbeat": 0.5, "pulse": 1, "density": 11 / 48, "thin_bars": 0, "dropped": 0.5 / 3, "runaway": 0}
    assert {name: float(value) for name, value in values.items()} == pytest.approx(expected | {"distinct_bars": 0.25})


MEASURES = {
    "backbeat": lambda hits: backbeat(hits, FOUR, [SNARE]),
    "pulse": lambda hits: pulse(hits, FOUR, [KICK, SNARE]),
    "thin_bars": lambda hits: thin_bars(hits, FOUR),
    "dropped": lambda hits: dropped(hits, FOUR, [KICK], 2),
    "runaway": lambda hits: runaway(hits, FOUR, [KICK, HAT], 1),
    "distinct_bars": lambda hits: distinct_bars(hits, FOUR),
    "section_likeness": lambda hits: section_likeness(hits, FOUR, "aabaca")[0],
}


@pytest.mark.parametrize("name", MEASURES)
def test_a_batch_has_the_values_of_its_pieces_in_numpy_and_in_torch(name):
    random = np.random.default_rng(0)
    hits = (random.random((2, 3, 6, 16, 3)) < random.random((2, 3, 6, 1, 3)) ** 2).astype(np.float32)
    hits[0, 0, 3] = hits[0, 0, 1]
    hits = hits.reshape(2, 3, 96, 3)
    values = MEASURES[name](hits)
    assert values.shape == (2, 3)
    assert [MEASURES[name](piece) for piece in hits.reshape(6, 96, 3)] == pytest.approx(values.ravel().tolist())
    assert len(np.unique(values)) > 1
    assert MEASURES[name](torch.from_numpy(hits)).numpy() == pytest.approx(values)


@pytest.mark.parametrize("name", [name for name in MEASURES if name != "section_likeness"])
def test_nothing_is_measured_without_a_whole_bar(name):
    assert np.isnan(MEASURES[name](np.zeros((2, 15, 3), np.float32))).all()
    assert MEASURES[name](torch.zeros(2, 15, 3)).isnan().all()

import os

import numpy as np
import pytest

from hypermeter.grid import Grid, Groove, HypermeterError, atomic_write


def test_the_default_grid_is_four_four_in_sixteenths():
    grid = Grid()
    assert (grid.steps_per_bar, grid.steps_per_phrase, grid.steps_per_quarter, grid.metre) == (16, 64, 4, "4/4")


def test_six_eight_in_sixteenths_has_twelve_steps():
    grid = Grid(steps_per_beat=2, beats_per_bar=6, beat_unit=8)
    assert (grid.steps_per_bar, grid.steps_per_quarter, grid.metre) == (12, 4, "6/8")


def test_a_grid_survives_its_dict():
    grid = Grid(3, 5, 2, 8)
    assert Grid.from_dict(grid.to_dict()) == grid


@pytest.mark.parametrize("values", [{"steps_per_beat": 0}, {"beats_per_bar": 1.5}, {"beat_unit": 6}, {"swing": 1}])
def test_a_bad_grid_is_refused_by_the_name_of_the_field(values):
    with pytest.raises(HypermeterError, match=next(iter(values))):
        Grid.from_dict(values)


def test_a_groove_fills_in_velocity_and_offset():
    groove = Groove(np.eye(4))
    assert groove.hits.dtype == np.uint8 and groove.velocity.dtype == groove.offset.dtype == np.float32
    assert np.allclose(groove.velocity, 0.8 * np.eye(4)) and not groove.offset.any()


def test_the_last_bar_may_be_short():
    groove = Groove(np.zeros((17, 2)), tempo_bpm=90)
    assert len(groove) == 17 and groove.num_bars == 2
    assert groove.step_duration_s == pytest.approx(60 / 90 / 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hits": np.full((4, 2), 2)},
        {"hits": np.zeros(4)},
        {"velocity": np.zeros((3, 2))},
        {"velocity": np.full((4, 2), 1.5)},
        {"velocity": np.full((4, 2), np.nan)},
        {"offset": np.full((4, 2), 0.75)},
        {"tempo_bpm": 0.0},
        {"tempo_bpm": float("nan")},
    ],
)
def test_a_groove_refuses_what_is_out_of_range(wrong):
    with pytest.raises(HypermeterError, match="groove"):
        Groove(**{"hits": np.zeros((4, 2)), **wrong})


def test_an_atomic_write_leaves_the_old_file_when_the_block_fails(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(KeyError), atomic_write(path) as temporary:
        temporary.write_text("new")
        raise KeyError
    assert path.read_text() == "old" and os.listdir(path.parent) == ["a.txt"]


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_path(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HypermeterError, match="a.txt"), atomic_write(tmp_path / "file" / "a.txt"):
        pass

import errno
import os
import re
import stat

import pytest

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write, remove_leftovers
from hypermeter.core.grid import Grid


def test_the_default_grid_is_four_four_in_sixteenths():
    grid = Grid()
    assert (grid.steps_per_bar, grid.steps_per_phrase, grid.steps_per_quarter, grid.metre) == (16, 64, 4, "4/4")


def test_six_eight_in_sixteenths_has_twelve_steps():
    grid = Grid(steps_per_beat=2, beats_per_bar=6, beat_unit=8)
    assert (grid.steps_per_bar, grid.steps_per_quarter, grid.metre) == (12, 4, "6/8")


def test_a_grid_is_made_of_a_metre_as_people_write_it():
    assert Grid.of_metre() == Grid()
    assert Grid.of_metre("6/8", 2, bars_per_phrase=2) == Grid(2, 6, 2, 8)


@pytest.mark.parametrize("metre", ["", "4", "4/", "/4", "four/4", "-4/4", "4/4/4", "3.5/4", "²/4", "4/3", "0/4"])
def test_a_metre_that_is_none_is_refused(metre):
    with pytest.raises(HypermeterError, match="metre is|beat_unit is 3|beats_per_bar is 0"):
        Grid.of_metre(metre)


def test_a_grid_survives_its_dict():
    grid = Grid(3, 5, 2, 8)
    assert Grid.from_dict(grid.to_dict()) == grid


@pytest.mark.parametrize("values", [{"steps_per_beat": 0}, {"beats_per_bar": 1.5}, {"beat_unit": 6}, {"swing": 1}])
def test_a_bad_grid_is_refused_by_the_name_of_the_field(values):
    with pytest.raises(HypermeterError, match=next(iter(values))):
        Grid.from_dict(values)


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


has_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes, which Windows lacks")


@pytest.mark.parametrize("kind", [pytest.param("mkfifo", marks=has_pipes), "mkdir"])
def test_what_is_not_a_file_is_left_as_it_is(tmp_path, kind):
    path = tmp_path / "a.txt"
    getattr(os, kind)(path)
    with pytest.raises(HypermeterError, match="a folder, device or pipe"), atomic_write(path):
        pass
    assert not path.is_file() and os.listdir(tmp_path) == ["a.txt"]


@has_pipes
def test_a_link_to_a_pipe_is_refused_and_a_link_to_a_file_stays_a_link(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_pipe").symlink_to("pipe")
    with pytest.raises(HypermeterError, match="a folder, device or pipe"), atomic_write(tmp_path / "to_pipe"):
        pass
    (tmp_path / "to_file").symlink_to("file")
    with atomic_write(tmp_path / "to_file") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "to_file").is_symlink() and (tmp_path / "file").read_text() == "new"


def test_a_full_disk_is_one_line_that_names_the_path(tmp_path):
    path = tmp_path / "a.txt"
    with (
        pytest.raises(HypermeterError, match=rf"{re.escape(str(path))}: cannot be written \(No space left on device\)"),
        atomic_write(path) as temporary,
    ):
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not os.listdir(tmp_path)


def test_files_have_the_mode_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a.txt") as temporary:
            temporary.write_text("a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_what_killed_processes_left_of_a_file_is_removed_and_nothing_else(tmp_path):
    for name in (".a.12-34.txt", ".a.5-6.txt", "a.txt", ".a.12-34.csv", ".b.12-34.txt", ".a.txt"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "a.txt")
    assert sorted(os.listdir(tmp_path)) == sorted(["a.txt", ".a.12-34.csv", ".b.12-34.txt", ".a.txt"])

"""The way between two grooves: the likeliest of all, a cell that changes once, what is in between, files, errors."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest

from hypermeter.cli import main
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.strokes import Chokes, Strokes
from hypermeter.io.midi import read_midi, to_midi_bytes
from hypermeter.play.loading import load_player
from hypermeter.play.morph import likeliest_between, morph_grooves, morph_hits, repeat_shorter
from models import GRID, music, player
from test_infill import PLAIN, SOFTMAX, TRANSFORMER, hits

LENGTH = 2 * GRID.steps_per_bar


def changes(first, second, hits, size):
    """(bars, 2): of each bar the hits that have gone, and those that have come."""
    differs = hits != first
    both = np.stack([differs & (first > second), differs & (second > first)], -1)
    return np.add.reduceat(both.sum(1), np.arange(0, len(first), size))


@pytest.mark.parametrize("toy", [PLAIN, SOFTMAX, TRANSFORMER], ids=["mixture", "softmax", "transformer"])
@pytest.mark.parametrize("seed", [1, 3])
def test_a_wide_beam_finds_the_likeliest_of_all_grooves_between_two(toy, seed):
    first, second = hits(LENGTH, seed=seed), hits(LENGTH, seed=seed + 1)
    changed = changes(first, second, second, GRID.steps_per_bar) // 2
    cells = np.argwhere(first != second)
    every = np.repeat(first[None], 2 ** len(cells), 0)
    for row, choice in enumerate(product([0, 1], repeat=len(cells))):
        for (step, voice), is_second in zip(cells.tolist(), choice, strict=True):
            every[row, step, voice] = (second if is_second else first)[step, voice]
    fits = [(changes(first, second, row, GRID.steps_per_bar) == changed).all() for row in every]
    every = every[fits]
    assert len(every) > 5
    best = every[toy.log_prob(every).sum(-1).argmax()]
    np.testing.assert_array_equal(likeliest_between(toy, first, second, changed, 100_000), best)


@pytest.mark.parametrize("name", ["gru", "tracks", "thirteen voices"])
def test_a_cell_changes_once_and_each_bar_has_its_share_of_the_changes(name):
    toy, steps = player(name), 4
    first, second = music(name, 20, 2)  # The last bar is short of two steps.
    first[:, toy.num_drums :] = second[:, toy.num_drums :] = 0
    size = toy.grid.steps_per_bar
    way = morph_hits(toy, first, second, steps, 32)
    assert way.shape == (steps, *first.shape)
    agree = first == second
    for before, after in pairwise([first, *way, second]):
        assert (before == after)[agree].all()
        assert not ((before == second) & (after != second)).any()
    ends = changes(first, second, second, size)
    for number, groove in enumerate(way, 1):
        shares = np.floor(number / (steps + 1) * ends + 0.5)
        np.testing.assert_array_equal(changes(first, second, groove, size), shares)
    np.testing.assert_array_equal(way, morph_hits(toy, first, second, steps, 32))


def test_the_way_between_equal_grooves_is_the_groove():
    first = hits(LENGTH)
    assert all(np.array_equal(groove, first) for groove in morph_hits(PLAIN, first, first, 3))


# ---------------------------------------------------------------------- grooves


def groove(pattern, velocity, offset=0.0, tempo_bpm=120.0, **options):
    """Of kick, snare and closed hat, one text each, repeated over the bars of the longest."""
    played = np.zeros((len(pattern[0]), 10), np.uint8)
    for voice, row in enumerate(pattern):
        played[:, voice] = [letter == "x" for letter in row]
    return Groove(played, velocity * played, offset * played, tempo_bpm, "gm10", **options)


ROCK = groove(["x.......x.......", "....x.......x...", "x.x.x.x.x.x.x.x."], 0.9, 0.2, 100.0, shift=0.1)
BUSY = groove(["x.x...x.x.x...x.", "....x..x.x..x..x", "xxxxxxxxxxxxxxxx"], 0.5, -0.2, 144.0, shift=-0.1)


@pytest.fixture(scope="module")
def shipped():
    return load_player("groove")


def test_what_both_have_lies_in_between_and_the_rest_is_of_its_groove(shipped):
    (middle,) = morph_grooves(shipped, ROCK, BUSY, 1, 16)
    both = (ROCK.hits > 0) & (BUSY.hits > 0)
    assert (middle.hits[both] == 1).all() and not middle.hits[(ROCK.hits | BUSY.hits) == 0].any()
    np.testing.assert_allclose(middle.velocity[both], 0.7, atol=1e-6)
    np.testing.assert_allclose(middle.offset[both], 0, atol=1e-6)
    new = (middle.hits > 0) & ~both
    np.testing.assert_allclose(middle.velocity[new], 0.5, atol=1e-6)
    assert middle.tempo_bpm == pytest.approx(120) and middle.shift == pytest.approx(0) and middle.kit.name == "gm10"
    assert middle.hits.sum() == ROCK.hits.sum() + new.sum() and 0 < new.sum() < (BUSY.hits > 0).sum() - both.sum()
    way = morph_grooves(shipped, ROCK, BUSY, 3, 16)
    counts = [one.hits.sum() for one in (ROCK, *way, BUSY)]
    assert counts == sorted(counts)
    assert [(one.hits != BUSY.hits).sum() for one in way] == sorted([(one.hits != BUSY.hits).sum() for one in way])[
        ::-1
    ]


def test_strokes_openness_and_chokes_come_along(shipped):
    open_hat = np.where(ROCK.hits, np.float32(0.4), np.nan)
    first = replace(ROCK, strokes=Strokes([0, 4], [0, 1], [0.1, 0.1], [0.3, 0.3]), openness=open_hat)
    second = replace(BUSY, strokes=Strokes([0, 15], [0, 1], [0.2, 0.2], [0.2, 0.2]), chokes=Chokes([4], [2], [0.0]))
    near, far = morph_grooves(shipped, first, second, 2, 16)
    assert near.strokes.take(near.strokes.step == 0).velocity == pytest.approx([0.3]) and not len(near.chokes)
    assert far.strokes.take(far.strokes.step == 0).velocity == pytest.approx([0.2]) and far.chokes == second.chokes
    assert (far.strokes.step == 15).any() == bool(far.hits[15, 1])
    np.testing.assert_allclose(near.openness[0, 2], 0.4, atol=1e-6)  # The second does not know it.
    with_tempo = morph_grooves(shipped, replace(first, unknown={"tempo_bpm"}), second, 1, 4)[0]
    assert with_tempo.tempo_bpm == pytest.approx(144) and "tempo_bpm" not in with_tempo.unknown


def test_the_shorter_one_is_repeated_from_bar_line_to_bar_line():
    short = ROCK.steps(0, 14)
    long = Groove(np.zeros((40, 10)), kit="gm10")
    first, second = repeat_shorter(short, long)
    assert len(first) == len(second) == 40 and second is long
    np.testing.assert_array_equal(first.hits[:14], short.hits)
    np.testing.assert_array_equal(first.hits[16:30], short.hits)
    np.testing.assert_array_equal(first.hits[32:], short.hits[:8])
    assert not first.hits[14:16].any()
    assert repeat_shorter(ROCK, BUSY) == (ROCK, BUSY)


def test_grooves_that_have_no_way_between_them_are_refused(shipped):
    for first, second, words in (
        (ROCK, replace(BUSY, grid=Grid(beats_per_bar=2)), "4/4 in sixteenths and 2/4 in sixteenths, expected one grid"),
        (ROCK, "beat.mid", "second is 'beat.mid', expected a Groove"),
        (ROCK.steps(0, 0), BUSY, "first: no steps"),
        (ROCK, Groove(np.zeros((16, 3)), kit="gm10"), "second: 3 voices, expected 10"),
    ):
        with pytest.raises(HypermeterError, match=words):
            morph_grooves(shipped, first, second)
    for options in ({"steps": 0}, {"beam": 0}, {"steps": 1.5}):
        with pytest.raises(HypermeterError, match=f"{next(iter(options))} is"):
            morph_grooves(shipped, ROCK, BUSY, **options)


# ---------------------------------------------------------------------- the command


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, one in (("one", ROCK), ("two", BUSY)):
        (tmp_path / f"{name}.mid").write_bytes(to_midi_bytes(replace(one, shift=0.0)))
    return tmp_path


def test_the_command_writes_numbered_grooves_a_picture_and_a_table(files, capsys):
    (files / "one_morph_2.mid").write_bytes(b"mine")
    assert main(["morph", "one.mid", "two.mid", "--steps", "3", "--beam", "8"]) == 0
    printed = capsys.readouterr().out
    ends = [read_midi(files / name) for name in ("one.mid", "two.mid")]
    way = [read_midi(files / f"one_morph_2_{number}.mid") for number in (1, 2, 3)]
    assert (files / "one_morph_2.mid").read_bytes() == b"mine" and not (files / "one_morph_2_4.mid").exists()
    distances = [[(one.hits != end.hits).sum() for one in way] for end in ends]
    assert distances[0] == sorted(distances[0]) and distances[1] == sorted(distances[1])[::-1]
    rows = {line.split()[0]: line.split()[1:4] for line in printed.splitlines() if line.split()[0].endswith(".mid")}
    assert list(rows) == ["one.mid", *(f"one_morph_2_{number}.mid" for number in (1, 2, 3)), "two.mid"]
    assert [int(rows[f"one_morph_2_{number}.mid"][0]) for number in (1, 2, 3)] == distances[0]
    sheet = (files / "one_morph_2.svg").read_text()
    assert "one_morph_2_3.mid" in sheet and "two.mid" in sheet


def test_joined_is_one_file_of_all_in_the_tempo_of_the_first(files, capsysbinary):
    assert main(["morph", "one.mid", "two.mid", "--join", "--steps", "2", "--beam", "8", "-o", "way.mid"]) == 0
    whole = read_midi(files / "way.mid")
    assert whole.num_bars == 4 and whole.tempo_bpm == pytest.approx(100, abs=0.1)
    np.testing.assert_array_equal(whole.hits[:16], read_midi(files / "one.mid").hits)
    np.testing.assert_array_equal(whole.hits[48:], read_midi(files / "two.mid").hits)
    capsysbinary.readouterr()
    assert main(["morph", "one.mid", "two.mid", "--join", "--steps", "2", "--beam", "8", "-o", "-"]) == 0
    assert capsysbinary.readouterr().out == (files / "way.mid").read_bytes()


def test_mistakes_of_the_command_are_one_line(files, capsys):
    for arguments, words in (
        (["one.mid", "two.mid", "-o", "-"], "pass --join"),
        (["one.mid", "two.mid", "--steps", "0"], "--steps is 0, expected"),
        (["one.mid", "none.mid"], "none.mid"),
        (["one.mid", "two.mid", "--join", "-o", "two.mid"], "two.mid"),
        (["one.mid", "two.mid", "-o", "way.wav"], "way.wav"),
    ):
        assert main(["morph", *arguments]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1

"""Takes: the most different of those that are drawn, as values and as the files of commands."""

import math

import numpy as np
import pytest

from hypermeter.cli import main
from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.io.midi import read_midi, to_midi_bytes
from hypermeter.play.takes import distance_of, draw_takes, most_different


def groove(*steps, velocity=0.8, offset=0.0):
    hits = np.zeros((16, 10), np.uint8)
    hits[list(steps), 0] = 1
    return Groove(hits, velocity * hits, offset * hits, 120.0, "gm10")


def test_a_distance_is_none_of_equal_grooves_and_one_of_hits_apart():
    one, apart = groove(0, 4), groove(2, 6)
    assert distance_of(one, one) == 0 and distance_of(groove(), groove()) == 0
    assert distance_of(one, apart) == 1 == distance_of(one, groove())
    assert distance_of(one, groove(0)) == pytest.approx(0.5)
    assert distance_of(one, groove(0, 4, velocity=0.4)) == pytest.approx(0.5)
    assert distance_of(one, groove(0, 4, offset=0.25)) == pytest.approx(0.25)
    assert distance_of(one, groove(0, 8)) == distance_of(groove(0, 8), one) == pytest.approx(2 / 3)


def test_the_most_different_are_chosen_one_after_another_from_the_first_on():
    grooves = [groove(0, 4), groove(0, 4, velocity=0.79), groove(0, 8), groove(2, 6, 10), groove(2, 6)]
    chosen, distances = most_different(grooves, 3)
    assert chosen == [0, 3, 2]  # as far from the first as the last is, and before it
    assert distances == pytest.approx([2 / 3, 1, 2 / 3])
    assert most_different(grooves, 1)[0] == [0] and np.isnan(most_different(grooves, 1)[1]).all()
    assert sorted(most_different(grooves, 5)[0]) == list(range(5))
    assert sorted(most_different([groove(0)] * 4, 3)[0]) == [0, 1, 2]  # of equal ones none comes twice


def test_takes_are_of_successive_seeds_the_first_of_the_seed_itself():
    takes = draw_takes(lambda seed: groove(seed % 5, 8), 3, seed=7)
    assert takes[0].seed == 7 and len({take.seed for take in takes}) == 3
    assert all(take.groove == groove(take.seed % 5, 8) and 7 <= take.seed < 19 for take in takes)
    assert len({take.seed % 5 for take in takes}) == 3
    assert [take.seed for take in draw_takes(lambda _: groove(0), 2, 2**53 - 1, 1)] == [2**53 - 1, 0]
    assert math.isnan(draw_takes(lambda _: groove(0), 1)[0].distance)
    for number in (0, 1001, 1.5):
        with pytest.raises(HypermeterError, match="variations is"):
            draw_takes(lambda _: groove(0), number)


@pytest.fixture
def beat(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "beat.mid"
    hits = np.zeros((32, 10), np.uint8)
    hits[::8, 0], hits[4::8, 1], hits[::2, 2] = 1, 1, 1
    path.write_bytes(to_midi_bytes(Groove(hits, 0.8 * hits, 0 * hits, 120.0, "gm10")))
    return path


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["generate", "beat.mid", "--bars", "1"], "beat_continued"),
        (["generate", "beat.mid", "--vary", "0.8", "--particles", "2"], "beat_varied"),
        (["follow", "beat.mid", "--particles", "2"], "beat_followed"),
        (["humanize", "beat.mid"], "beat_humanized"),
    ],
)
def test_commands_write_numbered_takes_a_contact_sheet_and_a_table(beat, tmp_path, capsys, arguments, name):
    (tmp_path / f"{name}_2.mid").write_bytes(b"mine")
    assert main([*arguments, "--variations", "2"]) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / f"{name}_2.mid").read_bytes() == b"mine"
    paths = [tmp_path / f"{name}_2_{number}.mid" for number in (1, 2)]
    first, second = map(read_midi, paths)
    assert not (np.array_equal(first.velocity, second.velocity) and np.array_equal(first.hits, second.hits))
    assert printed.count("beat.mid:") <= 1 and printed.count("effective sample size: ") <= 1
    (row,) = [line.split() for line in printed.splitlines() if line.strip().startswith(paths[1].name)]
    sheet = (tmp_path / f"{name}_2.svg").read_text()
    assert all(path.name in sheet for path in paths) and not (tmp_path / f"{name}_3.mid").exists()
    assert (
        main([*arguments, "--seed", row[1], *(["again.mid"] if "generate" not in arguments else ["-o", "again.mid"])])
        == 0
    )
    assert (tmp_path / "again.mid").read_bytes() == paths[1].read_bytes()


def test_takes_that_cannot_be_are_refused_in_one_line(beat, capsys):
    for arguments, words in (
        (["generate", "--bars", "1", "-o", "-", "--variations", "2"], "--variations 2 beside -"),
        (["generate", "--bars", "1", "--variations", "0"], "--variations is 0, expected"),
        (["generate", "--metre", "4/4:1 7/8:1", "--variations", "2"], "takes are of one metre"),
        (["humanize", "beat.mid", "-", "--variations", "2"], "--variations 2 beside -"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert main(["generate", "--bars", "1", "-o", "groove.tidal", "--variations", "1"]) == 0
    assert beat.with_name("groove_1.tidal").exists()

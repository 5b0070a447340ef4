import struct
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, Voice, load_kit
from hypermeter.core.strokes import Strokes
from hypermeter.core.tracks import BASS, HOLD, REST
from hypermeter.io.ascii import LEVELS, ascii_grid, read_ascii
from hypermeter.share.pictures import MAX_BARS, draw_groove, layout, plot_groove, show_picture


def some_groove(steps=80, kit="gm10", grid=Grid(), density=0.2, seed=0):
    random = np.random.default_rng(seed)
    hits = random.random((steps, load_kit(kit).num_voices)) < density
    velocity = np.where(hits, random.choice([*LEVELS.values()], hits.shape), 0)
    offset = np.where(hits, random.uniform(-0.5, 0.49, hits.shape), 0)
    return Groove(hits, velocity, offset, 97.5, kit, grid)


def size_of(png):
    content = png.read_bytes()
    assert content.startswith(b"\x89PNG")
    return struct.unpack(">II", content[16:24])


def test_the_grid_shows_voices_down_and_steps_across_with_bars_apart():
    hits = np.zeros((20, 10))
    hits[[0, 16], 0] = hits[4, 1] = 1
    velocity = np.zeros((20, 10))
    velocity[0, 0], velocity[16, 0], velocity[4, 1] = 1, 0.7, 0.2
    lines = ascii_grid(Groove(hits, velocity)).splitlines()
    assert lines == [
        "tempo 120, metre 4/4, 4 steps a beat, phrases of 4",
        "",
        "snare      |....o...........|....|",
        "kick       |X...............|x...|",
    ]


@settings(deadline=None)
@given(
    steps=st.integers(1, 100),
    kit=st.sampled_from(["gm10", "magenta9"]),
    grid=st.sampled_from([Grid(), Grid(3), Grid(2, 6, 2, 8), Grid(1, 1, 1)]),
    density=st.sampled_from([0, 0.3, 1]),
    seed=st.integers(0, 9),
)
def test_a_grid_reads_back_as_it_was_written(steps, kit, grid, density, seed):
    groove = some_groove(steps, kit, grid, density, seed)
    again = read_ascii(ascii_grid(groove), kit)
    np.testing.assert_array_equal(again.hits, groove.hits)
    np.testing.assert_array_equal(again.velocity, groove.velocity)
    assert (again.tempo_bpm, again.grid, again.kit) == (97.5, grid, kit)


def test_a_groove_without_hits_shows_every_voice():
    assert ascii_grid(Groove(np.zeros((16, 10)))).count("|................|") == 10


def test_comments_and_the_first_line_may_be_left_out():
    groove = read_ascii("# mine\n\n\nkick |x...x...x...x...| # four on the floor\n\n")
    assert groove.hits[:, 0].sum() == 4 and groove.tempo_bpm == 120 and groove.unknown == {"tempo_bpm"}
    assert not read_ascii("tempo 120, metre 4/4, 4 steps a beat, phrases of 4\nkick |x...............|").unknown


def test_the_grid_may_be_given_where_the_first_line_is_left_out():
    assert read_ascii("kick |x..x..x..|", grid=Grid(3, 3)).grid == Grid(3, 3)
    told = "tempo 90, metre 2/4, 4 steps a beat, phrases of 4\nkick |x...x...|"
    assert read_ascii(told, grid=Grid(3, 3)).grid == Grid(4, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no rows"),
        ("snar |x...............|", "line 1: no voice 'snar' in kit gm10; it has kick, snare"),
        ("\nkick |x..y............|", "line 2: symbol 'y', expected one of o x X"),
        ("kick x...", "line 1: 'kick x...', expected a row"),
        ("kick |x...............|\nkick |x...............|", "line 2: kick is there twice"),
        ("kick |x...............|\nsnare |x...|", "bars of snare 'x...', expected as long as kick"),
        ("kick |x.......|x...............|", "bar 1 has 8 steps, expected 16"),
        ("kick |x................|", "bar 1 has 17 steps, expected 16"),
        (f"tempo {'9' * 5000}, metre 4/4, 4 steps a beat, phrases of 4", "line 1: 'tempo 9999"),
        (f"tempo 90, metre {'9' * 5000}/4, 4 steps a beat, phrases of 4", "line 1: 'tempo 90, metre 9"),
        ("tempo 0, metre 4/4, 4 steps a beat, phrases of 4\nkick |x...............|", "tempo_bpm is 0"),
    ],
)
def test_a_bad_grid_is_refused_in_one_line_that_says_where(text, said):
    with pytest.raises(HypermeterError) as caught:
        read_ascii(text)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("steps", [0, 1, 16, 300])
def test_a_picture_is_drawn_at_any_length(tmp_path, steps):
    path = plot_groove(some_groove(steps), tmp_path / "new" / "a.png", title="a", primer_steps=16)
    picture = layout(some_groove(steps), "a", 16)
    assert size_of(path) == pytest.approx((picture.width * 1.25, picture.height * 1.25), abs=1)
    assert picture.width >= 640 and picture.height > 100
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]


def test_strokes_of_a_cell_are_as_many_narrow_bars():
    hits = np.zeros((16, 10))
    hits[[0, 4], 1] = 1
    groove = Groove(hits, strokes=Strokes([4, 4], [1, 1], [-0.4, -0.2], [0.3, 0.5]))
    boxes = layout(groove).boxes[-4:]
    wide, *narrow = boxes
    assert [box.width for box in narrow] == pytest.approx([wide.width / 3] * 3)
    assert [box.x for box in narrow] == sorted(box.x for box in narrow) and narrow[0].height < narrow[2].height
    assert "2 hits and 2 further strokes" in layout(groove).labels[0].text


def test_a_picture_of_a_long_piece_stops_growing():
    pictures = [layout(some_groove(bars * 16)) for bars in (MAX_BARS, 200)]
    assert pictures[0].height == pictures[1].height
    assert "200 bars" in pictures[1].labels[0].text and f"first {MAX_BARS} bars are shown" in pictures[1].labels[0].text


def test_a_picture_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HypermeterError, match="cannot be written"):
        plot_groove(some_groove(16), tmp_path / "file" / "a.png")


def test_a_kit_of_ones_own_is_drawn_and_read_back_without_its_file(tmp_path):
    kit = Kit("mine", (Voice("boom", (36,), 36), Voice("tick", (42,), 42)))
    groove = Groove(np.eye(16, 2), kit=kit)
    assert "boom |" in ascii_grid(groove)
    assert read_ascii(ascii_grid(groove), kit).kit is kit
    assert plot_groove(groove, tmp_path / "a.png").exists()


@pytest.mark.parametrize("voices", [9, 11])
@pytest.mark.parametrize("show", [ascii_grid, draw_groove])
def test_a_groove_of_other_voices_than_its_kit_is_not_shown_under_wrong_names(show, voices):
    with pytest.raises(HypermeterError, match=f"groove of {voices} voices, but kit gm10 has 10; name its own kit"):
        show(Groove(np.eye(16, voices)))


def test_svg_is_written_without_matplotlib_and_png_says_what_it_needs(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.collections", None)  # cannot be imported
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    show_picture(some_groove(16), tmp_path / "a.svg")
    assert capsys.readouterr().out == f"{tmp_path / 'a.svg'}\n"
    assert ElementTree.parse(tmp_path / "a.svg").getroot().get("width") == "640"
    with pytest.raises(HypermeterError, match="needs matplotlib"):
        plot_groove(some_groove(16), tmp_path / "b.png")
    with pytest.raises(HypermeterError, match=r"b.gif: .*\.svg"):
        plot_groove(some_groove(16), tmp_path / "b.gif")
    assert not list(tmp_path.glob("b*"))


def with_bass(steps=80, seed=0):
    groove = some_groove(steps, seed=seed)
    codes = np.random.default_rng(seed).choice([REST, HOLD, HOLD, 24, 37, 60], steps)
    return replace(groove, tracks={"bass": BASS.decode(BASS.encode(np.where(codes == 60, 57, codes)))})


def test_a_track_shows_its_notes_and_octaves_below_the_drums():
    hits = np.zeros((8, 10))
    hits[0, 0] = 1
    groove = Groove(hits, grid=Grid(2, 2), tracks={"bass": np.array([36, 1, 0, 37, 1, 1, 0, 60], np.int16)})
    assert ascii_grid(groove).splitlines()[-3:] == [
        "kick        |X...|....|".replace("X", "x"),
        "bass        |C-.c|--.C|",
        "bass-octave |2..2|...4|",
    ]


@pytest.mark.parametrize("seed", range(3))
def test_a_grid_with_a_track_is_read_back(seed):
    groove = with_bass(80 + 7 * seed, seed)
    again = read_ascii(ascii_grid(groove))
    assert np.array_equal(again.tracks["bass"], groove.tracks["bass"]) and np.array_equal(again.hits, groove.hits)


def test_a_track_of_any_name_is_read_back():
    bass = with_bass(32).tracks["bass"]
    lead = np.where(bass == HOLD, 127, bass)[::-1]
    groove = replace(with_bass(32), tracks={"bass": bass, "lead": lead})
    again = read_ascii(ascii_grid(groove))
    assert again.tracks.keys() == {"bass", "lead"}
    assert np.array_equal(again.tracks["lead"], groove.tracks["lead"])


@pytest.mark.parametrize("note", ["C_", "c_", "a9"])
def test_a_note_that_midi_does_not_have_or_that_is_a_code_is_said_in_one_line(note):
    text = f"kick        |x...|\nbass        |{note[0]}...|\nbass-octave |{note[1]}...|\n"
    with pytest.raises(HypermeterError, match=f"'{note}' at step 1, expected a note such as C2"):
        read_ascii("tempo 120, metre 2/4, 2 steps a beat, phrases of 4\n" + text)


def test_a_note_that_is_none_is_said_in_one_line():
    text = "kick        |x...|\nbass        |H...|\nbass-octave |2...|\n"
    with pytest.raises(HypermeterError, match="expected a note such as C2"):
        read_ascii("tempo 120, metre 2/4, 2 steps a beat, phrases of 4\n" + text)
    with pytest.raises(HypermeterError, match="its octaves of 0"):
        read_ascii("tempo 120, metre 2/4, 2 steps a beat, phrases of 4\n" + text.rpartition("bass-")[0])


def test_octaves_without_notes_are_said_in_one_line():
    with pytest.raises(HypermeterError, match="octaves of bass without its notes"):
        read_ascii("kick        |x...............|\nbass-octave |2...............|\n")


def test_a_picture_with_a_track_is_taller_and_names_its_lowest_and_highest_note():
    plain, both = layout(some_groove(64)), layout(with_bass(64))
    assert both.height > plain.height
    added = [label.text for label in both.labels if label.text not in {label.text for label in plain.labels}]
    assert added == ["bass", "C1", "A3"]
    codes = np.array([36, HOLD, HOLD, REST] * 4, np.int16)
    (one, *_, last) = layout(replace(some_groove(16, density=0), tracks={"bass": codes})).boxes[3:]
    assert one.width == pytest.approx(20 * 2.84) and last.x - one.x == pytest.approx(20 * 12) and one.y == last.y

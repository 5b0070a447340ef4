"""Pictures of grooves, and how a notebook shows one."""

import base64
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import hypermeter
from hypermeter.cli.demo import read_corpus
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, Voice, load_kit
from hypermeter.share import display
from hypermeter.share.display import MAX_BARS_SHOWN, MAX_SECONDS_PLAYED, groove_html, groove_svg
from hypermeter.share.pictures import PRIMER_COLOUR, STREAM_COLOURS, draw_groove, layout, plot, to_svg, voice_colours
from hypermeter.share.sound.wav import from_wav_bytes

SVG = "{http://www.w3.org/2000/svg}"


def groove_of(*cells, steps=32, **options):
    """A groove of gm10 with hits at (step, column, velocity, offset)."""
    hits, velocity, offset = (np.zeros((steps, 10)) for _ in range(3))
    for step, column, loud, off in cells:
        hits[step, column], velocity[step, column], offset[step, column] = 1, loud, off
    return Groove(hits, velocity, offset, **options)


def rectangles(groove):
    """Of the SVG: x, height, opacity and colour of each hit, by x."""
    boxes = ElementTree.fromstring(groove_svg(groove)).iter(f"{SVG}rect")
    keys = "x", "height", "fill-opacity"
    hits = [box for box in boxes if box.get("fill") in STREAM_COLOURS]
    return sorted([*(float(box.get(key)) for key in keys), box.get("fill")] for box in hits)


def player(groove):
    """The samples in the page of a groove, and their rate."""
    (encoded,) = re.findall(r'src="data:audio/wav;base64,([^"]+)"', groove_html(groove))
    return from_wav_bytes(base64.b64decode(encoded))


def test_a_notebook_shows_a_grid_and_a_player_and_fetches_nothing():
    groove = read_corpus()["rock-1"]
    shown = groove._repr_html_()
    assert shown.count("<svg") == shown.count("<audio controls") == 1
    assert not re.findall(r'(?:src|href)="(?!data:)', shown) and "<script" not in shown
    assert re.sub(r'"http://www.w3.org/2000/svg"', "", shown).count("http") == 0
    assert f"{groove.num_bars} bars of 4/4 in sixteenths, {groove.tempo_bpm:g} bpm, {groove.hits.sum()} hits" in shown
    samples, rate = player(groove)
    assert rate == 22050 and samples.shape[1] == 1 and np.abs(samples).max() > 0.3


def test_a_long_groove_is_cut_and_says_so():
    steps = 16 * 100
    groove = Groove(
        np.tile(np.eye(16, 10), (100, 1)), tracks={"bass": np.full(steps, 40)}, sections=np.array(["a"] * 100)
    )
    shown = groove_html(groove)
    assert f"100 bars of 4/4 in sixteenths, 120 bpm, 1000 hits; the first {MAX_BARS_SHOWN} bars are shown" in shown
    assert f"the first {MAX_SECONDS_PLAYED // 2} bars are played" in shown
    assert len(shown) < 3_000_000
    assert len(rectangles(groove)) == 10 * MAX_BARS_SHOWN
    assert len(player(groove)[0]) < (MAX_SECONDS_PLAYED + 4) * 22050
    assert "are shown" not in groove_html(groove_of((0, 0, 1, 0)))


def test_a_hit_stands_at_its_step_and_offset_as_tall_and_dark_as_it_is_loud():
    soft, late, loud = rectangles(groove_of((0, 1, 0.2, 0), (8, 1, 0.2, 0.25), (16, 1, 1.0, 0)))
    steps = (late[0] - soft[0]) / (loud[0] - soft[0]) * 16
    assert steps == pytest.approx(8.25, abs=0.02)
    assert loud[1] > 1.5 * soft[1] and loud[2] > 1.5 * soft[2]
    assert soft[3] == loud[3] == STREAM_COLOURS[1]


def test_bars_are_numbered_and_phrases_have_rows_of_their_own():
    groove = Groove(np.eye(96, 10), grid=Grid(2, 3, 4))  # bars of 6, phrases of 24
    root = ElementTree.fromstring(groove_svg(groove))
    numbers = [text for text in root.iter(f"{SVG}text") if text.text.isdigit() and text.get("font-size") == "10"]
    assert [text.text for text in numbers] == [str(bar) for bar in range(1, 17)]
    assert len({text.get("y") for text in numbers}) == 4
    assert "kick" in groove_svg(groove)


def test_names_are_escaped():
    kit = Kit("mine", (Voice("<b>&", (36,), 36),))
    assert "&lt;b&gt;&amp;" in groove_html(Groove(np.ones((4, 1)), kit=kit))
    ElementTree.fromstring(groove_svg(Groove(np.ones((4, 1)), kit=kit)))


@pytest.mark.parametrize("steps", [0, 1, 17])
def test_a_groove_of_any_length_is_shown(steps):
    assert "<svg" in groove_html(Groove(np.zeros((steps, 10))))


def test_a_groove_that_cannot_be_heard_is_still_seen(monkeypatch):
    monkeypatch.setattr(display, "MAX_SECONDS_PLAYED", 10_000)
    shown = groove_html(Groove(np.zeros((16 * 700, 10)), tempo_bpm=120))
    assert "<audio" not in shown and "no sound: a piece of 23.3 minutes" in shown and "<svg" in shown


@pytest.mark.parametrize("voices", [9, 11])
def test_a_groove_of_other_voices_than_its_kit_is_not_shown_under_wrong_names(voices):
    with pytest.raises(HypermeterError, match=f"groove of {voices} voices, but kit gm10 has 10"):
        Groove(np.eye(16, voices))._repr_html_()


def test_low_mid_and_high_voices_have_colours_of_their_own():
    colours = dict(zip(load_kit("gm10").names, voice_colours(load_kit("gm10"))))
    assert len({colours[name] for name in ("kick", "snare", "closed_hat")}) == 3
    assert colours["snare"] == colours["low_tom"] and colours["ride"] == colours["closed_hat"]


SOME_HITS = ((0, 1, 0.2, 0), (8, 1, 0.2, 0.25), (16, 1, 1.0, 0))


def test_svg_and_figure_paint_the_same_boxes_lines_and_texts():
    groove = groove_of(*SOME_HITS, tracks={"bass": np.array([36, 1, 40, 0] * 8, np.int16)})
    picture = layout(groove, "mine", 16)
    root = ElementTree.fromstring(to_svg(picture))
    (axes,) = draw_groove(groove, "mine", 16).axes
    shades, boxes, lines = axes.collections
    painted = [path.get_extents() for drawn in (shades, boxes) for path in drawn.get_paths()]
    rects = [[float(rect.get(key)) for key in ("x", "y", "width", "height")] for rect in root.iter(f"{SVG}rect")]
    assert len(rects) == len(picture.shades) + len(picture.boxes) > 20
    np.testing.assert_allclose([[box.x0, box.y0, box.width, box.height] for box in painted], rects, atol=0.051)
    assert len(lines.get_paths()) == len(picture.lines) == len(list(root.iter(f"{SVG}path"))) - 1  # the background
    texts = [(text.get_text(), *text.get_position()) for text in axes.texts]
    assert texts == [(label.text, label.x, label.y) for label in picture.labels]
    assert [text.text for text in root.iter(f"{SVG}text")] == [label.text for label in picture.labels]


def test_a_picture_shades_the_primer_in_each_row_and_panel():
    groove = groove_of((0, 0, 1, 0), steps=256, tracks={"bass": np.full(256, 40, np.int16)})
    assert not layout(groove).shades
    picture = layout(groove, primer_steps=160)
    assert {shade.colour for shade in picture.shades} == {PRIMER_COLOUR}
    assert [round(shade.width) for shade in picture.shades] == [1280, 1280, 320, 320]
    assert "primer" in {label.text for label in picture.labels}


def test_a_picture_marks_bars_and_phrases_and_names_sections():
    sections = np.array(["verse"] * 4 + ["chorus"] * 4)
    picture = layout(groove_of((0, 0, 1, 0), steps=128, sections=sections))
    left = min(line.x0 for line in picture.lines)
    widths = {round((line.x0 - left) / 10): line.width for line in picture.lines if line.x0 == line.x1}
    assert widths[64] > widths[16] > widths[4] > 0
    named = [(label.text, round((label.x - left) // 640)) for label in picture.labels if label.is_bold]
    assert named == [("verse", 0), ("chorus", 1)]


def test_plot_is_a_figure_or_a_file(tmp_path):
    groove = groove_of((0, 0, 1, 0))
    assert hypermeter.plot is plot and plot(groove).axes
    path = plot(groove, tmp_path / "a.png", title="mine", primer_steps=16)
    assert path == tmp_path / "a.png" and path.read_bytes().startswith(b"\x89PNG")
    path = plot(groove, tmp_path / "a.svg", title="mine & co. \udcff\x07")
    assert "mine &amp; co. <" in path.read_text("utf-8") and ElementTree.parse(path)

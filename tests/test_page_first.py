"""The page in a real browser: the first minute, its beats and its words."""

# ruff: noqa: F401, F811  (fixtures are imported, and named as arguments)

import re

import numpy as np
import pytest

from browsing import DESK, PHONE, ROOT, Session, chromium, host, opened, shared_context
from hypermeter.io.ascii import read_ascii
from test_page_files import violations

BEATS = (ROOT / "web" / "src" / "beats.txt").read_text()
NAMES = ["Funk rock", "House", "Bossa", "Jazz waltz", "Afro 6/8"]


def beat(name):
    """Return a beat as Python reads it."""
    return read_ascii(next(part for part in BEATS.split("## ") if part.startswith(name)).partition("\n")[2])


def test_the_beats_are_whole_and_in_several_metres():
    assert re.findall(r"^## ([^,\n]+)", BEATS, re.MULTILINE) == NAMES
    grooves = [beat(name) for name in NAMES]
    assert {groove.grid.metre for groove in grooves} == {"4/4", "3/4", "6/8"}
    for groove in grooves:
        assert groove.num_bars == 4 and groove.hits.sum() > 30


@pytest.mark.slow
@pytest.mark.parametrize("place", ["first-beats", "beats"])
def test_a_beat_is_chosen_as_python_reads_it(opened, place):
    for name in NAMES:
        if place == "beats":
            opened.page.click("#new-song")
        opened.page.locator(f"#{place}").get_by_role("button", name=name).click()
        line, groove = opened.says(name), beat(name)
        assert line.endswith("Undo brings back the last one")
        song = opened.song()
        assert (opened.hits == groove.hits).all() and song["tempo"] == groove.tempo_bpm
        assert np.allclose(song["velocity"], groove.velocity.ravel())
        assert opened.page.evaluate("() => hypermeter.app.song.grid") == groove.grid.to_dict()
        opened.click("bars-2", "continue")
        assert opened.song()["bars"] == 6 and opened.hits[4 * groove.grid.steps_per_bar :].any()


@pytest.mark.slow
def test_a_new_song_may_be_empty(opened):
    opened.page.click("#new-song")
    assert violations(opened) == []
    opened.page.locator("#metre").select_option("5/4")
    opened.page.click("#begin-empty")
    opened.says("A new song in 5/4")
    assert opened.hits.shape == (80, 10) and not opened.hits.any()


@pytest.mark.slow
def test_the_steps_are_dismissed_for_good_and_come_back_by_help(chromium, host):
    session = Session(chromium, host).ready()
    first = session.page.locator("#first")
    assert first.locator("li").count() == 3 and first.is_visible()
    session.page.click("#dismiss")
    assert first.is_hidden()
    assert session.page.evaluate("() => document.activeElement.id") == "play"
    session.page.reload()
    session.ready()
    assert first.is_hidden()
    session.page.click("#help")
    session.page.click("#steps")
    assert first.is_visible()
    session.close()


@pytest.mark.slow
def test_every_control_tells_what_it_does(opened):
    """All have a tooltip, and words that need one are in the help too."""
    missing = opened.page.evaluate(
        """() => [...document.querySelectorAll(':is(.top, .transport, .bar-tools, .ask) button, .ask label')]
            .filter((node) => !node.closest('[hidden]') && !node.closest('[title]') && !/^\\d+$/.test(node.innerText))
            .map((node) => node.id || node.innerText)"""
    )
    assert missing == []
    opened.page.click("#help")
    words = opened.page.locator("#words-list dt").all_inner_texts()
    assert {"Style", "Part", "Take", "Surprise", "Follow the plan", "Rewrite", "Endless"} <= set(words)
    assert len(words) == opened.page.locator("#words-list dd").count() > 20

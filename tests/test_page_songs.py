"""The page in a real browser: what is written is kept, comes back, and is not written over by another tab."""

# ruff: noqa: F401, F811  (fixtures are imported, and named as arguments)

import numpy as np
import pytest

from browsing import DESK, Session, chromium, host, opened, shared_context
from test_page_files import begin, violations

pytestmark = pytest.mark.slow
KEPT_IN_S = 5.0


@pytest.fixture
def context(chromium):
    """A browser that nobody used before."""
    context = chromium.new_context(viewport=DESK, service_workers="block")
    yield context
    context.close()


class Tab(Session):
    """A tab of a browser whose songs are kept from tab to tab."""

    def __init__(self, browser, url, context):
        super().__init__(browser, url, context=context, keeps=True)
        self.ready()

    def keep(self):
        self.page.evaluate("() => hypermeter.keeper.save()")

    def reload(self):
        self.page.reload()
        return self.ready()

    @property
    def name(self):
        return self.page.evaluate("() => hypermeter.app.song.kept.name")


def write(session, voice, step):
    session.cell(voice, step).click()
    session.page.wait_for_timeout(40)


def test_what_was_written_comes_back_with_mixer_settings_and_undo(chromium, host, context):
    tab = Tab(chromium, host, context)
    first = tab.hits
    write(tab, 9, 1)
    write(tab, 9, 3)
    tab.page.get_by_role("button", name="Mute ride").click()
    tab.page.get_by_label("Volume of crash").fill("50")
    tab.page.fill("#seed", "77")
    tab.page.select_option("#style", "6")
    written = tab.song()
    tab.page.wait_for_timeout(1000)  # it is kept without a word
    for way in ("reload", "another tab"):
        if way == "reload":
            tab.reload()
        else:
            tab.close()
            tab = Tab(chromium, host, context)
        assert tab.song() == written, way
        assert tab.page.inner_text("#status").startswith("“Funk rock” is back")
        mixer = tab.page.evaluate("() => hypermeter.app.mixer")
        assert mixer["muted"][9] and mixer["volumes"][8] == 0.5
        assert tab.page.get_by_label("Volume of crash").input_value() == "50"
        assert tab.page.input_value("#seed") == "77" and tab.page.input_value("#style") == "6"
    tab.page.click("#undo")
    tab.page.click("#undo")
    assert (tab.hits == first).all()
    tab.page.click("#redo")
    tab.reload()
    assert tab.hits[1, 9] == 1 and tab.hits[3, 9] == 0
    tab.page.click("#redo")
    assert tab.hits[3, 9] == 1
    tab.close()


def test_another_tab_writes_over_nothing(chromium, host, context):
    one = Tab(chromium, host, context)
    write(one, 9, 1)
    one.keep()
    other = Tab(chromium, host, context)
    assert "open in another tab" in other.page.inner_text("#status") and other.hits[1, 9] == 0
    write(other, 9, 5)
    other.keep()
    write(one, 9, 2)
    one.keep()
    assert one.reload().hits[:6, 9].tolist() == [0, 1, 1, 0, 0, 0]
    assert other.reload().hits[:6, 9].tolist() == [0, 0, 0, 0, 0, 1]
    assert len(one.page.evaluate("() => hypermeter.keeper.list()")) == 2
    one.close()
    other.close()


def test_a_song_that_two_tabs_have_is_kept_twice_where_browsers_have_no_locks(chromium, host, context):
    context.add_init_script("Object.defineProperty(Navigator.prototype, 'locks', { get: () => undefined })")
    one = Tab(chromium, host, context)
    write(one, 9, 1)
    one.keep()
    other = Tab(chromium, host, context)
    assert other.hits[1, 9] == 1  # the last tab to open it has it
    write(one, 9, 2)
    one.keep()
    one.says("Another tab writes “Funk rock”")
    assert one.name == "Funk rock, copy"
    one.keep()
    write(other, 9, 5)
    other.keep()
    assert other.reload().hits[:6, 9].tolist() == [0, 1, 0, 0, 0, 1] and other.name == "Funk rock"
    assert one.reload().hits[:6, 9].tolist() == [0, 1, 1, 0, 0, 0] and one.name == "Funk rock, copy"
    one.close()
    other.close()


def test_songs_are_named_copied_opened_and_deleted(chromium, host, context):
    tab = Tab(chromium, host, context)
    write(tab, 9, 1)
    tab.page.click("#songs")
    tab.page.fill("#song-name", "Verse")
    tab.page.press("#song-name", "Tab")
    tab.page.click("#copy-song")
    tab.says("A copy of “Verse”")
    assert tab.page.input_value("#song-name") == "Verse, copy"
    assert violations(tab) == []
    tab.page.get_by_role("button", name="Close", exact=True).click()
    write(tab, 9, 2)
    tab.page.click("#songs")
    tab.page.get_by_role("button", name="Verse 4 bars").click()
    tab.says("“Verse” is back")
    assert tab.hits[:3, 9].tolist() == [0, 1, 0]
    tab.page.click("#songs")
    tab.page.get_by_role("button", name="Delete Verse, copy").click()
    tab.page.get_by_role("button", name="Delete Verse, copy for good").click()
    tab.says("“Verse, copy” is deleted")
    assert tab.page.locator("#kept li").count() == 0
    tab.close()


def test_beats_that_nobody_touched_are_not_kept_and_undo_goes_to_the_song_before(chromium, host, context):
    tab = Tab(chromium, host, context)
    write(tab, 9, 1)
    before = tab.song()
    for metre in ("6/8", "3/4", "5/4"):
        begin(tab, metre)
        tab.keep()
    names = [each["name"] for each in tab.page.evaluate("() => hypermeter.keeper.list()")]
    assert sorted(names) == ["Funk rock", "New song in 5/4"]
    for _ in range(3):
        tab.page.click("#undo")
    assert tab.song() == before and tab.name == "Funk rock"
    assert tab.reload().song() == before
    tab.close()


def test_a_link_opens_a_song_of_its_own_and_after_a_reload_what_was_written_counts(chromium, host, context):
    tab = Tab(chromium, host, context)
    write(tab, 9, 1)
    tab.page.get_by_role("button", name="Mute kick").click()
    link = tab.link()
    assert tab.page.url == host  # the address is left as it is
    other = Tab(chromium, link, context)
    assert other.hits[1, 9] == 1 and other.name == "From a link"
    assert other.page.evaluate("() => hypermeter.app.mixer.muted[0]")
    write(other, 9, 2)
    assert other.reload().hits[:3, 9].tolist() == [0, 1, 1]
    tab.keep()
    assert tab.reload().hits[:3, 9].tolist() == [0, 1, 0]
    tab.close()
    other.close()


def test_without_storage_the_page_says_so_and_works(chromium, host):
    denied = "() => Object.defineProperty(window, 'indexedDB', { get: () => { throw new Error('denied') } })"
    session = Session(chromium, host, denied).ready()
    write(session, 9, 1)
    assert session.hits[1, 9] == 1
    session.page.click("#songs")
    session.until("() => document.getElementById('shelf-hint').innerText.startsWith('This browser keeps no songs')")
    session.close()


# ---------------------------------------------------------------------- nothing is wiped unawares


def test_the_bars_of_the_opening_beat_are_not_made_anew_unless_selected(opened):
    before = opened.hits
    for button in ("fill-in", "vary", "busier", "calmer", "fill-bar", "clear-bars", "cut-bars"):
        opened.click(button)
        assert opened.page.inner_text("#status").startswith("No bar is selected")
    assert (opened.hits == before).all() and opened.page.locator(".bar-button[aria-pressed=true]").count() == 0
    opened.page.keyboard.press("Control+a")
    opened.page.wait_for_timeout(40)
    assert opened.page.locator(".bar-button[aria-pressed=true]").count() == 4
    opened.page.keyboard.press("Escape")
    opened.page.wait_for_timeout(40)
    assert opened.page.locator(".bar-button[aria-pressed=true]").count() == 0


def test_clear_says_what_it_did(opened):
    opened.select(0, 1)
    count = int(opened.hits[:16].sum())
    opened.page.get_by_role("button", name="Lock kick").click()
    kicks = int(opened.hits[:16, 0].sum())
    opened.click("clear-bars")
    line = f"Cleared bar 1: {count - kicks} hits gone; {kicks} hits locked and left; Undo brings them back"
    assert opened.page.inner_text("#status") == line
    opened.click("undo")
    assert opened.hits[:16].sum() == count


def test_undo_after_endless_play_goes_back_bar_by_bar(opened):
    opened.page.fill("#tempo", "240")
    opened.page.press("#tempo", "Enter")
    opened.page.click("#endless")
    opened.until("() => hypermeter.app.bars >= 8")
    opened.page.click("#endless")
    opened.page.click("#play")
    opened.idle()
    bars = opened.song()["bars"]
    for left in range(bars - 1, 3, -1):
        opened.page.click("#undo")
        assert opened.song()["bars"] == left

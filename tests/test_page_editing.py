"""The page in a real browser: bars, hits and patterns edited by hand, by buttons, keys and the pointer."""

# ruff: noqa: F401, F811  (fixtures are imported, and named as arguments)

import numpy as np
import pytest

import hypermeter
from browsing import DESK, PHONE, Session, chromium, host, opened, shared_context
from hypermeter.core.read_options import ReadOptions
from test_page_files import begin, violations

pytestmark = pytest.mark.slow
BAR = 16


def bars(session):
    """Return the bars as tuples of their hits, to be compared."""
    return [bar.tobytes() for bar in session.hits.reshape(-1, BAR * 10)]


def selected(session):
    return session.page.evaluate("() => hypermeter.app.selection")


def test_bars_are_edited_by_keys_as_elsewhere(opened):
    one, two, three, four = bars(opened)
    press = opened.page.keyboard.press
    opened.select(0, 2)
    press("Control+c")
    assert opened.says("Copied bars 1–2")
    opened.select(2, 3)
    press("Control+v")  # over bars 3 and 4
    assert bars(opened) == [one, two, one, two] and selected(opened) == [2, 4]
    press("Control+z")
    opened.select(2, 3)
    press("Control+Shift+v")
    assert bars(opened) == [one, two, one, two, three, four] and selected(opened) == [2, 4]
    press("Control+z")
    opened.select(0, 0)
    press("Control+v")
    assert bars(opened) == [one, two, three, four, one, two]
    press("Control+z")
    opened.select(1, 2)
    press("Control+d")
    assert bars(opened) == [one, two, two, three, four] and selected(opened) == [2, 3]
    press("Control+z")
    opened.select(0, 2)
    press("Control+x")
    assert bars(opened) == [three, four]
    press("Control+v")
    assert bars(opened) == [one, two]
    press("Control+z")
    press("Control+z")
    opened.select(1, 3)
    press("Control+Shift+ArrowLeft")
    assert bars(opened) == [two, three, one, four] and selected(opened) == [0, 2]
    press("Control+Shift+ArrowLeft")
    opened.says("Bars 1–2 can go no further to the front")
    press("Control+Shift+ArrowRight")
    assert bars(opened) == [one, two, three, four]
    press("Insert")
    assert bars(opened)[:4] == [one, bytes(BAR * 10), bytes(BAR * 10), two]
    press("Delete")
    assert bars(opened) == [one, two, three, four]
    opened.select(0, 4)
    press("Delete")
    opened.says("A song has at least one bar")
    press("Backspace")
    assert opened.says("Cleared bars 1–4") and opened.hits.sum() == 0


def test_buttons_do_the_same_and_bars_of_another_metre_are_refused(opened):
    one, two, three, four = bars(opened)
    opened.click("copy-bars")
    opened.says("No bar is selected")
    opened.click("paste-bars")
    opened.says("Nothing was copied")
    opened.select(3, 4)
    opened.click("copy-bars", "move-earlier", "duplicate-bars", "delete-bars")
    assert bars(opened) == [one, two, four, three]
    opened.select(0, 1)
    opened.click("paste-between", "insert-bars", "move-later")
    assert bars(opened) == [four, bytes(BAR * 10), one, two, four, three]
    opened.click("take-out")
    assert bars(opened) == [four, one, two, four, three]
    begin(opened, "7/8")
    before = opened.song()
    opened.click("paste-bars")
    opened.says("The copied bars are in 4/4, and this song is in 7/8")
    assert opened.song() == before
    assert violations(opened) == []


def test_text_that_is_selected_is_copied_as_text(opened):
    opened.select(0, 1)
    opened.page.evaluate("() => getSelection().selectAllChildren(document.getElementById('bars-name'))")
    opened.page.keyboard.press("Control+c")
    opened.page.evaluate("() => getSelection().removeAllRanges()")
    opened.page.click("#paste-bars")
    opened.says("Nothing was copied")


def test_a_fast_stroke_skips_no_cell(opened):
    opened.select(0, 4)
    opened.click("clear-bars")
    start, end = opened.cell(9, 0).bounding_box(), opened.cell(9, 31).bounding_box()
    mouse = opened.page.mouse
    mouse.move(start["x"] + 5, start["y"] + 5)
    mouse.down()
    mouse.move(end["x"] + 5, end["y"] + 5)  # at once
    mouse.up()
    assert opened.hits[:, 9].sum() == 32 and opened.hits.sum() == 32
    opened.page.keyboard.press("Control+z")
    assert opened.hits.sum() == 0
    corner = opened.cell(0, 0).bounding_box()
    mouse.move(corner["x"] + 5, corner["y"] + 5)
    mouse.down()
    mouse.move(end["x"] + 5, end["y"] + 5)
    mouse.move(end["x"] + 5, end["y"] + 400)  # out of the grid, and back elsewhere
    mouse.move(start["x"] + 5, start["y"] + 400)
    mouse.move(start["x"] + 5, start["y"] + 5)
    mouse.up()
    hits = opened.hits
    assert (hits.sum(0) > 0).all()  # each voice that the line goes through
    assert np.flatnonzero(hits[:, 4]).min() > 4 and hits[1:10, 9].sum() == 0


def drag(session, cell, right=0, down=0):
    box = cell.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session.page.mouse.move(x, y)
    session.page.mouse.down()
    session.page.mouse.move(x + right, y + down)
    session.page.mouse.up()
    session.page.wait_for_timeout(60)


def test_hits_are_moved_in_time_by_hand(opened, tmp_path):
    opened.select(0, 4)
    opened.page.evaluate("() => hypermeter.app.edit({ ...hypermeter.app.song, swing: 0 })")
    opened.click("clear-bars")
    opened.cell(1, 4).click()
    opened.page.click("#mode-timing")
    drag(opened, opened.cell(1, 4), right=-12)
    assert opened.song()["offset"][41] == pytest.approx(-0.2)
    step_ms = 60_000 / 104 / 4
    assert opened.page.inner_text("#status") == f"snare: {round(0.2 * step_ms)} ms early, always played"
    assert f"{round(0.2 * step_ms)} ms early" in opened.cell(1, 4).get_attribute("aria-label")
    opened.cell(1, 4).focus()
    for _ in range(5):
        opened.page.keyboard.press(".")
    assert opened.song()["offset"][41] == pytest.approx(-0.1)
    with opened.page.expect_download() as caught:
        opened.page.click("#save-midi")
    caught.value.save_as(tmp_path / "early.mid")
    groove = hypermeter.read_midi(tmp_path / "early.mid", options=ReadOptions(shift="keep"))
    assert groove.offset[4, 1] == pytest.approx(-0.1, abs=1 / 240)
    opened.page.keyboard.press("Control+z")
    opened.page.keyboard.press("Control+z")
    assert opened.song()["offset"][41] == 0


def test_a_hit_has_a_chance_which_playing_and_files_share(opened, tmp_path):
    opened.select(0, 4)
    opened.click("clear-bars")
    for step in range(BAR):
        opened.cell(2, step).click()
    opened.page.click("#mode-chance")
    assert opened.page.locator("#roll").is_hidden()
    for step in range(BAR):
        drag(opened, opened.cell(2, step), down=60)
    chances = opened.page.evaluate("() => [...hypermeter.app.song.chances.values()]")
    assert chances == pytest.approx([0.5] * BAR)
    assert "played 50 percent of the time" in opened.cell(2, 0).get_attribute("aria-label")
    heard = opened.page.evaluate("() => hypermeter.sound.score().hits.map(({ frame }) => frame)")
    assert 2 <= len(heard) <= 14
    with opened.page.expect_download() as caught:
        opened.page.click("#save-midi")
    caught.value.save_as(tmp_path / "chance.mid")
    opened.says("Saved as hypermeter.mid; hits with a chance are those of the first time round")
    groove = hypermeter.read_midi(tmp_path / "chance.mid", options=ReadOptions(shift="keep"))
    assert groove.hits.sum() == len(heard)
    link = opened.link()
    opened.page.click("#roll")
    assert opened.page.evaluate("() => hypermeter.sound.score().hits.map(({ frame }) => frame)") != heard
    opened.page.evaluate("(link) => { location.hash = new URL(link).hash }", link)
    opened.until("() => hypermeter.app.song.kept.name === 'From a link'")
    assert opened.page.evaluate("() => hypermeter.sound.score().hits.map(({ frame }) => frame)") == heard
    opened.cell(2, 0).focus()
    opened.page.keyboard.press("+")
    assert opened.page.evaluate("() => hypermeter.app.song.chances.get(2)") == pytest.approx(0.6)


PLAYED = """async () => {
    const { sound } = hypermeter
    const seen = []
    const end = performance.now() + 8000
    while (performance.now() < end && sound.isPlaying) {
        const bar = Math.floor(sound.step / 16)
        if (sound.step >= 0 && seen.at(-1) !== bar) seen.push(bar)
        if (seen.length === 5) break
        await new Promise((resolve) => setTimeout(resolve, 10))
    }
    return seen
}"""


def test_patterns_are_played_in_their_order(opened, tmp_path):
    one, two, three, four = bars(opened)
    opened.page.fill("#tempo", "240")
    opened.page.press("#tempo", "Enter")
    assert opened.page.locator("#patterns").is_hidden()
    opened.select(0, 1)
    opened.click("make-pattern")
    opened.select(2, 4)
    opened.click("make-pattern")
    opened.page.get_by_label("Name").fill("Verse")
    opened.page.get_by_label("Name").press("Enter")
    opened.page.get_by_role("button", name="Play A once more").click()
    chips = opened.page.locator("#pattern-order button")
    assert chips.all_inner_texts() == ["A", "Verse", "A"]
    chips.nth(1).focus()
    opened.page.keyboard.press("ArrowLeft")
    assert chips.all_inner_texts() == ["Verse", "A", "A"]
    opened.page.keyboard.press("Control+z")
    opened.page.wait_for_timeout(50)
    chips.nth(2).click()
    assert chips.all_inner_texts() == ["A", "Verse"]
    opened.page.click("#ordered")
    opened.click("show-sounds")
    opened.page.keyboard.press("Escape")
    assert violations(opened) == []
    opened.select(0, 0)
    opened.page.click("#play")
    seen = opened.page.evaluate(PLAYED)
    assert len(seen) == 5 and seen == [(0, 2, 3)[((0, 2, 3).index(seen[0]) + place) % 3] for place in range(5)]
    opened.page.click("#play")
    link = opened.link()
    with opened.page.expect_download() as caught:
        opened.page.click("#save-midi")
    caught.value.save_as(tmp_path / "order.mid")
    groove = hypermeter.read_midi(tmp_path / "order.mid", options=ReadOptions(shift="keep"))
    assert [bar.tobytes() for bar in groove.hits.astype(np.uint8).reshape(-1, 160)] == [one, three, four]
    opened.click("unroll")
    assert bars(opened) == [one, three, four] and opened.page.locator("#patterns").is_hidden()
    opened.click("undo")
    assert bars(opened) == [one, two, three, four] and chips.count() == 2
    opened.page.evaluate("(link) => { location.hash = new URL(link).hash }", link)
    opened.until("() => hypermeter.app.song.kept.name === 'From a link'")
    opened.page.wait_for_timeout(60)
    assert chips.all_inner_texts() == ["A", "Verse"]


def test_space_plays_wherever_one_is_and_single_keys_can_be_turned_off(chromium, host):
    session = Session(chromium, host).ready()
    playing = "() => hypermeter.sound.isPlaying"
    before = session.hits
    for focused in ("body", "#add-bar", ".cell", "#swing"):
        if focused != "body":
            session.page.locator(focused).first.focus()
        for is_playing in (True, False):
            session.page.keyboard.press("Space")
            session.until(f"() => hypermeter.sound.isPlaying === {str(is_playing).lower()}", 5)
    assert (session.hits == before).all() and session.song()["bars"] == 4
    session.page.locator("#tempo").focus()
    session.page.keyboard.press("Space")
    assert not session.page.evaluate(playing)
    session.page.locator("#play").focus()
    session.page.keyboard.press("?")
    session.page.get_by_label("Letters and other single keys act").uncheck()
    assert violations(session) == []
    session.page.keyboard.press("Escape")
    session.page.keyboard.press("l")
    assert session.page.evaluate("() => hypermeter.app.settings.mode") == "write"
    session.page.locator("#add-bar").focus()
    session.page.keyboard.press("Space")  # presses the button
    assert session.song()["bars"] == 5 and not session.page.evaluate(playing)
    session.page.reload()
    session.ready()
    session.page.keyboard.press("l")
    assert session.page.evaluate("() => hypermeter.app.settings.mode") == "write"
    session.close()


def test_one_key_way_to_the_grid_and_through_the_mixer(opened):
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("() => document.activeElement.id") == "skip"
    opened.page.keyboard.press("Enter")
    label = "() => document.activeElement.getAttribute('aria-label')"
    assert opened.page.evaluate(label).startswith("kick, bar 1, beat 1.1")
    assert opened.page.evaluate("() => location.hash") == ""
    assert opened.page.locator("#voices [tabindex='0']").count() == 5
    opened.page.get_by_label("Volume of kick").focus()
    opened.page.keyboard.press("ArrowDown")
    assert opened.page.evaluate(label) == "Volume of snare"
    opened.page.keyboard.press("ArrowLeft")
    assert opened.page.evaluate("() => hypermeter.app.mixer.volumes.slice(0, 2)") == [1, 0.99]
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate(label) == "Mute snare"
    for _ in range(3):
        opened.page.keyboard.press("Tab")
    assert opened.page.evaluate(label).startswith("kick, bar 1")  # past all other voices


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_axe_finds_nothing_in_what_edits(chromium, host, viewport):
    session = Session(chromium, host, viewport=viewport).ready()
    session.select(0, 2)
    session.page.evaluate("() => document.getElementById('make-pattern').click()")
    session.page.wait_for_timeout(60)
    session.page.evaluate("() => document.getElementById('mode-chance').click()")
    session.page.evaluate(
        "() => { const { app } = hypermeter; app.edit({ ...app.song, chances: new Map([[0, 0.5]]) }) }"
    )
    session.page.wait_for_timeout(60)
    assert violations(session) == []
    for name in ("show-sounds", "save-wav"):
        session.page.click(f"#{name}")
        assert violations(session) == []
        session.page.keyboard.press("Escape")
    wide = session.page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]
    session.close()

"""The page in a real browser: for fingers, for contrast themes, and on a machine without sound."""

# ruff: noqa: F401, F811  (fixtures are imported, and named as arguments)

import io

import numpy as np
import pytest

from browsing import PHONE, Session, chromium, host
from test_page_files import begin, violations

pytestmark = pytest.mark.slow
SIDEWAYS = {"width": 844, "height": 390}
TABLET = {"width": 820, "height": 1180}
LEAST = 24


def by_touch(chromium, host, viewport=PHONE, **options):
    return Session(chromium, host, viewport=viewport, has_touch=True, is_mobile=True, **options).ready()


def cells(session):
    """Return width and height of the smallest cell, and how many a row has."""
    return session.page.evaluate(
        """() => {
            const all = [...document.querySelectorAll('.cell')].map((cell) => cell.getBoundingClientRect())
            const least = (side) => Math.min(...all.map((box) => box[side]))
            return [least('width'), least('height'), all.length / 10]
        }"""
    )


@pytest.mark.parametrize("metre", ["4/4", "6/8", "12/8", "5/4", "3/4, triplets", "7/8"])
def test_cells_have_room_for_a_finger(chromium, host, metre):
    session = by_touch(chromium, host)
    begin(session, metre)
    for size in (PHONE, {"width": 320, "height": 640}, SIDEWAYS, TABLET):
        session.page.set_viewport_size(size)
        session.page.wait_for_timeout(150)
        width, height, count = cells(session)
        assert width >= LEAST and height >= LEAST, (size, width, height)
        wide = session.page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1] == size["width"]
        assert count >= (6 if size["width"] < 400 else 9), (size, count)
    session.close()


def test_half_a_bar_at_a_time(chromium, host):
    session = by_touch(chromium, host)
    seen = [session.page.inner_text("#in-view")]
    assert session.page.locator("#earlier").is_disabled()
    while session.page.locator("#later").is_enabled():
        session.page.tap("#later")
        session.page.wait_for_timeout(40)
        seen.append(session.page.inner_text("#in-view"))
    assert seen == [f"Bar {bar}, half {half} of 4" for bar in (1, 2, 3, 4) for half in (1, 2)]
    label = session.cell(0, 0).get_attribute("aria-label")
    assert label.startswith("kick, bar 4, beat 3.1")
    before = session.hits
    session.cell(9, 7).tap()
    assert session.hits[63, 9] == 1 - before[63, 9]
    session.cell(9, 0).focus()
    session.page.keyboard.press("ArrowLeft")
    session.page.wait_for_timeout(40)
    assert session.page.inner_text("#in-view") == "Bar 4, half 1 of 4"
    session.close()


def test_it_turns_with_what_plays(chromium, host):
    session = by_touch(chromium, host)
    session.page.tap("#play")
    session.until("() => document.getElementById('in-view').innerText === 'Bar 1, half 2 of 4'", 10)
    session.until("() => document.getElementById('in-view').innerText === 'Bar 2, half 1 of 4'", 10)
    session.page.tap("#play")
    session.close()


def swipe(session, node, way):
    """Scroll by a finger that begins on a node, by (x, y) pixels."""
    box = node.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    protocol = session.context.new_cdp_session(session.page)

    def send(kind, points):
        protocol.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    send("touchStart", [{"x": x, "y": y}])
    for share in range(1, 11):
        send("touchMove", [{"x": x + way[0] * share / 10, "y": y + way[1] * share / 10}])
        session.page.wait_for_timeout(16)
    send("touchEnd", [])
    session.page.wait_for_timeout(200)


def test_scrolling_writes_nothing(chromium, host):
    if chromium.browser_type.name != "chromium":
        pytest.skip("touches are sent by Chromium's protocol")
    session = by_touch(chromium, host)
    before = session.song()
    for node in (session.cell(2, 1), session.page.locator(".lane").nth(1)):
        node.scroll_into_view_if_needed()
        top = session.page.evaluate("() => scrollY")
        swipe(session, node, (0, -150))
        assert session.page.evaluate("() => scrollY") != top
        assert session.song() == before
    volume = session.page.locator("#swing")
    volume.scroll_into_view_if_needed()
    swipe(session, volume, (0, -120))
    assert session.song() == before
    session.close()


def test_a_finger_writes_by_taps_and_draws_sideways(chromium, host):
    if chromium.browser_type.name != "chromium":
        pytest.skip("touches are sent by Chromium's protocol")
    session = by_touch(chromium, host)
    cell = session.cell(8, 0)
    cell.scroll_into_view_if_needed()
    assert session.hits[:8, 8].sum() == 0
    width = cell.bounding_box()["width"]
    swipe(session, cell, (5 * width, 3))
    assert 5 <= session.hits[:8, 8].sum() <= 6
    session.page.tap("#undo")
    session.page.wait_for_timeout(500)
    assert session.hits[:8, 8].sum() == 0  # as one
    lane = session.page.locator(".lane").nth(1)
    lane.scroll_into_view_if_needed()
    lane.tap()
    assert 0.15 < session.song()["asks"][1]["density"] < 0.25
    session.close()


@pytest.mark.parametrize("viewport", [PHONE, SIDEWAYS], ids=["upright", "sideways"])
def test_play_stays_in_reach(chromium, host, viewport):
    session = by_touch(chromium, host, viewport)
    for part in (0, 0.5, 1):
        session.page.evaluate("(part) => scrollTo(0, part * document.documentElement.scrollHeight)", part)
        session.page.wait_for_timeout(60)
        box = session.page.locator("#play").bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= viewport["height"]
        on_top = "() => { const { x, y, width, height } = document.getElementById('play').getBoundingClientRect()\n"
        on_top += "return !!document.elementFromPoint(x + width / 2, y + height / 2).closest('#play') }"
        assert session.page.evaluate(on_top)
    assert violations(session) == []
    session.close()


def test_a_contrast_theme_shows_sliders_pressed_states_and_selection(chromium, host):
    session = Session(chromium, host, forced_colors="active").ready()
    session.select(0, 1)
    style = """([selector, name, pseudo]) => getComputedStyle(document.querySelector(selector), pseudo)[name]"""

    def colour(selector, name="backgroundColor", pseudo=None):
        return session.page.evaluate(style, [selector, name, pseudo])

    assert colour("#mode-write") != colour("#mode-lock")
    assert colour(".bar-button[aria-pressed=true]") != colour(".bar-button[aria-pressed=false]")
    assert colour("#bars-4") == colour("#mode-write")
    ground = colour(".cell:not(.hit)")
    assert colour(".cell.hit", pseudo="::before") != ground
    assert colour(".cell:not(.hit)", "borderTopStyle") == "solid"
    for slider in ("#volume", "#temperature"):
        assert (
            session.page.evaluate("(id) => getComputedStyle(document.querySelector(id)).forcedColorAdjust", slider)
            == "none"
        )
        assert colours(session.page.locator(slider).screenshot()) > 2  # ground, track and thumb
    session.close()


def colours(png):
    """Return how many colours a picture has."""
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    return len(np.unique(np.asarray(image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3), axis=0))


PENDING = "() => { AudioContext.prototype.resume = () => new Promise(() => undefined)\n"
PENDING += "Object.defineProperty(BaseAudioContext.prototype, 'state', { get: () => 'suspended' }) }"
DENIED = "() => { window.AudioContext = class { constructor() { throw new Error('no device') } } }"
STILL = "() => Object.defineProperty(BaseAudioContext.prototype, 'currentTime', { get: () => 0 })"


@pytest.mark.parametrize("init", [PENDING, DENIED, STILL], ids=["pending", "denied", "still"])
def test_a_machine_without_sound_gets_a_line(chromium, host, init, tmp_path):
    session = Session(chromium, host, init).ready()
    session.page.click("#play")
    assert "MIDI and WAV files are saved all the same" in session.says("No sound: this machine has no audio output")
    assert session.page.inner_text("#play") == "Play"
    assert session.save_wav(tmp_path / "silent.wav") == "hypermeter.wav"
    session.cell(9, 1).click()
    assert session.hits[1, 9] == 1
    session.close()

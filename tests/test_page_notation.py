"""The page in a real browser: drum notation, on the screen and on paper."""

# ruff: noqa: F401, F811  (fixtures are imported, and named as arguments)

import pytest

from browsing import DESK, PHONE, Session, chromium, host
from test_page_files import begin, violations

pytestmark = pytest.mark.slow
DRAWN = "() => !document.getElementById('print').disabled"


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_the_song_is_drawn_when_it_is_asked_for(chromium, host, viewport):
    session = Session(chromium, host, viewport=viewport).ready()
    asked = []
    session.context.on("request", lambda sent: asked.append(sent.url.split("/")[-1]))
    loaded = session.page.evaluate("() => performance.getEntriesByType('resource').map(({ name }) => name)")
    assert not any("engraving" in name or "notes.woff2" in name for name in loaded)  # the first load has none of it
    session.page.click("#show-notation")
    session.until(DRAWN)
    assert {"engraving.js", "notes.woff2"} <= set(asked)
    labels = session.page.locator(".score-row").evaluate_all("(rows) => rows.map((row) => row.ariaLabel)")
    assert labels == ["Bars 1 to 2", "Bars 3 to 4"]
    assert session.page.locator("#rows .vf-clef").count() == 2
    assert session.page.locator("#rows .vf-timesignature").count() == 1
    texts = "() => [...document.querySelectorAll('#rows text')]"
    signs = session.page.evaluate(f"{texts}.map(({{ textContent }}) => textContent)")
    assert sum("\ue0a2" <= sign <= "\ue0b3" for sign in signs) == session.hits.sum()  # each hit has a head
    fonts = session.page.evaluate(f"{texts}.map((node) => getComputedStyle(node).fontFamily)")
    assert set(fonts) == {'"Hypermeter Notes"'}
    heights = session.page.evaluate(f"{texts}.map((node) => Number(node.getAttribute('y')))")
    assert min(heights) > 12 and max(heights) < 176  # nothing is cut off
    assert violations(session) == []
    session.page.emulate_media(media="print")
    assert session.page.locator("main").is_hidden() and session.page.locator("#print").is_hidden()
    assert session.page.locator(".score-row").first.is_visible()
    session.page.emulate_media(media="screen")
    session.page.keyboard.press("Escape")
    session.page.emulate_media(media="print")
    assert session.page.locator("main").is_visible()
    session.close()


def test_every_metre_and_every_cell_is_drawn(chromium, host):
    session = Session(chromium, host).ready()
    for metre in ("6/8", "4/4, triplets", "7/8", "12/8", "5/4"):
        begin(session, metre)
        session.page.evaluate(
            """() => {
                const { app } = hypermeter
                const hits = app.song.hits.map((_, cell) => (cell * 7919) % 5 < 2 ? 1 : 0)
                const velocity = Float32Array.from(hits, (hit, cell) => hit * ((cell % 9) + 1) / 9)
                app.edit({ ...app.song, hits, velocity })
            }"""
        )
        session.page.click("#show-notation")
        session.until(DRAWN)
        assert session.page.inner_text("#notation-about").startswith(metre.split(",")[0])
        assert session.page.inner_text("#notation-says") == ""
        session.page.keyboard.press("Escape")
    session.close()

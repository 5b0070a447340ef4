"""The page in a real browser: its build, what is written and heard, and what the model is asked."""

# ruff: noqa: F401, F811  (fixtures are imported, and named as arguments)

import hashlib
import itertools
import json
import shutil
import subprocess
import time
from dataclasses import replace

import numpy as np
import pytest

from browsing import PAGE, ROOT, chromium, host, opened, shared_context
from hypermeter.core.groove import Groove
from hypermeter.core.strokes import Strokes

WEB = ROOT / "web"


# ---------------------------------------------------------------------- the build


def test_the_build_is_of_these_sources():
    def files(folder):
        for path in sorted(folder.iterdir(), key=lambda each: each.name):
            yield from files(path) if path.is_dir() else [path]

    names = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts")
    sources = [WEB / name for name in names]
    for folder in ("public", "scripts", "src"):
        sources += files(WEB / folder)
    found = hashlib.sha256()
    for path in [*sources, ROOT / "src" / "hypermeter" / "share" / "sound" / "drums.json"]:
        found.update(f"{path.relative_to(ROOT).as_posix()}\n".encode() + path.read_bytes())
    built = json.loads((PAGE / "build.json").read_text())["sources"]
    assert built == found.hexdigest(), "the page was not built since its sources changed: make page"


def test_the_page_is_light():
    assert sum(path.stat().st_size for path in PAGE.rglob("*") if path.is_file()) < 3_000_000


def test_the_lock_file_names_no_host():
    assert "resolved" not in (WEB / "package-lock.json").read_text()


@pytest.mark.slow
def test_the_units_of_the_page_hold():
    if shutil.which("npm") is None or not (WEB / "node_modules").is_dir():
        pytest.skip("needs node and web/node_modules (make page)")
    done = subprocess.run(["npm", "test"], cwd=WEB, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_nothing_in_the_page_names_another_host():
    text = (PAGE / "index.html").read_text() + (PAGE / "page.css").read_text()
    assert "http:" not in text and "https:" not in text
    assert "default-src 'none'" in text and "unsafe-inline" not in text and "'unsafe-eval'" not in text


# ---------------------------------------------------------------------- writing and hearing


def test_a_beat_is_written_and_heard(opened):
    opened.select(0, 4)
    opened.click("clear-bars")
    opened.cell(0, 0).click()
    opened.cell(1, 4).click()
    hits = opened.hits
    assert hits.sum() == 2 and hits[0, 0] == 1 and hits[4, 1] == 1
    sound = opened.render()
    rate, step = 44100, 60 / 104 / 4
    loudness = [
        np.sqrt(np.mean(sound[:, int(at * rate) : int((at + 0.1) * rate)] ** 2)) for at in (0, 4 * step, 10 * step)
    ]
    assert loudness[0] > 0.05 and loudness[1] > 0.05, loudness
    assert loudness[2] < 0.01, loudness  # only what is left of the room
    assert np.abs(sound).max() < 1
    opened.page.get_by_role("button", name="Mute kick").click()
    muted = opened.render()
    assert np.abs(muted[:, : int(0.1 * rate)]).max() < 1e-4 and np.abs(muted).max() > 0.05
    opened.cell(1, 4).click()
    assert opened.hits.sum() == 1


@pytest.mark.slow
def test_it_sounds_as_the_renderer_in_python_does(opened):
    from hypermeter.share.sound.mix import mix, score_of

    opened.page.evaluate("() => hypermeter.app.edit({ ...hypermeter.app.song, swing: 0 })")
    song = opened.song()
    arrays = {name: np.array(song[name], np.float32).reshape(-1, 10) for name in ("hits", "velocity", "offset")}
    expected = mix(score_of(Groove(**arrays, tempo_bpm=song["tempo"]))).T
    found = opened.render()
    length = min(found.shape[1], expected.shape[1])
    apart = found[:, :length] - expected[:, :length]
    assert np.sqrt(np.mean(apart**2)) < 0.002 * np.sqrt(np.mean(expected**2))


@pytest.mark.slow
def test_play_runs_through_the_steps_and_stops(opened):
    opened.page.fill("#tempo", "240")
    opened.page.press("#tempo", "Enter")
    opened.page.click("#play")
    seen = set()
    end = time.monotonic() + 3
    while time.monotonic() < end:
        seen.add(opened.page.evaluate("() => hypermeter.sound.step"))
        opened.page.wait_for_timeout(10)
    assert len(seen - {-1}) > 30  # a step is 62.5 ms
    assert opened.page.locator(".cell[data-now]").count() == 10
    opened.page.keyboard.press("p")
    opened.until("() => hypermeter.sound.step === -1 && document.getElementById('play').innerText === 'Play'", 5)


@pytest.mark.slow
def test_a_stroke_paints_and_is_undone_as_one(opened):
    opened.select(0, 4)
    opened.click("clear-bars")
    start, end = opened.cell(9, 0).bounding_box(), opened.cell(9, 7).bounding_box()
    mouse = opened.page.mouse
    mouse.move(start["x"] + 5, start["y"] + 5)
    mouse.down()
    mouse.move(end["x"] + 5, end["y"] + 5, steps=30)
    mouse.up()
    assert opened.hits[:, 9].sum() == 8
    opened.page.keyboard.press("Control+z")
    assert opened.hits.sum() == 0
    opened.page.keyboard.press("Control+Shift+z")
    assert opened.hits[:8, 9].all()


@pytest.mark.slow
def test_the_grid_is_played_by_keys(opened):
    opened.select(0, 4)
    opened.click("clear-bars")
    opened.cell(0, 0).focus()
    keys = opened.page.keyboard
    for key in ("Enter", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight", "Enter", "x", "]"):
        keys.press(key)
    hits, song = opened.hits, opened.song()
    assert hits.sum() == 2 and hits[0, 0] and hits[4, 1]
    assert np.flatnonzero(song["locked"]).tolist() == [41]
    assert song["velocity"][41] == pytest.approx(0.9)
    label = opened.page.evaluate("() => document.activeElement.getAttribute('aria-label')")
    assert label == "snare, bar 1, beat 2.1, hit, 90 percent, locked"
    keys.press("Home")
    keys.press("PageDown")
    focused = opened.page.evaluate("() => document.activeElement.getAttribute('aria-label')")
    assert focused.startswith("snare, bar 2, beat 1.1")
    assert opened.page.locator("#grid [tabindex='0']").count() == 1


@pytest.mark.slow
def test_a_hit_is_given_further_strokes_by_a_key_or_a_click(opened):
    opened.select(0, 4)
    opened.click("clear-bars")
    opened.cell(1, 4).click()
    opened.cell(1, 4).focus()
    for strokes in (2, 3, 4):
        opened.page.keyboard.press("r")
        opened.page.wait_for_timeout(40)
        assert opened.cell(1, 4).get_attribute("data-strokes") == str(strokes)
        assert (
            opened.cell(1, 4).get_attribute("aria-label")
            == f"snare, bar 1, beat 2.1, hit, 80 percent, {strokes} strokes"
        )
    assert [cell for cell, *_ in opened.song()["strokes"]] == [41] * 3
    opened.page.keyboard.press("r")
    assert opened.song()["strokes"] == []
    opened.page.click("#mode-strokes")
    opened.cell(1, 4).click()
    assert len(opened.song()["strokes"]) == 1 and opened.hits.sum() == 1
    opened.cell(1, 5).click()  # no hit is there
    assert opened.hits.sum() == 1
    opened.page.click("#undo")
    assert opened.song()["strokes"] == []
    opened.page.keyboard.press("Escape")


STROKES_AND_PEDAL = """() => {
    const { app } = hypermeter
    const openness = app.song.openness.slice()
    const strokes = new Map()
    app.song.hits.forEach((hit, cell) => {
        if (hit && cell % 10 === 1) {
            strokes.set(cell, [-0.25, 0.25].map((offset) => ({ offset, velocity: 0.3, openness: NaN })))
        }
        if (hit && cell % 10 === 4) openness[cell] = 0.6
    })
    app.edit({ ...app.song, swing: 0, openness, strokes })
}"""


@pytest.mark.slow
def test_strokes_and_a_half_open_hi_hat_sound_as_in_python(opened):
    from hypermeter.share.sound.mix import mix, score_of

    opened.page.evaluate(STROKES_AND_PEDAL)
    song = opened.song()
    arrays = {name: np.array(song[name], np.float32).reshape(-1, 10) for name in ("hits", "velocity", "offset")}
    openness = np.array(song["openness"], np.float32).reshape(-1, 10)
    rows = [(cell // 10, cell % 10, offset, velocity) for cell, offset, velocity in song["strokes"]]
    assert len(rows) > 8 and np.isfinite(openness).any()
    groove = Groove(**arrays, tempo_bpm=song["tempo"], strokes=Strokes(*np.array(rows).T), openness=openness)
    expected, found = mix(score_of(groove)).T, opened.render()
    plain = mix(score_of(replace(groove, strokes=Strokes(), openness=None))).T
    length = min(sound.shape[1] for sound in (found, expected, plain))

    def size(sound):
        return np.sqrt(np.mean(sound**2))

    apart = size(found[:, :length] - expected[:, :length])
    assert apart < 0.01 * size(expected) and size(plain[:, :length] - expected[:, :length]) > 10 * apart


# ---------------------------------------------------------------------- the model


@pytest.mark.slow
def test_it_plays_on_and_takes_it_back(opened):
    before = opened.song()
    opened.click("bars-8", "continue")
    after = opened.song()
    assert after["bars"] == 12
    assert after["hits"][: len(before["hits"])] == before["hits"]
    new = slice(len(before["hits"]), None)
    hits, velocity, offset = (np.array(after[name][new]) for name in ("hits", "velocity", "offset"))
    assert 60 < hits.sum() < 500
    assert len(set(velocity[hits > 0].round(3))) > 10 and ((velocity > 0) == (hits > 0)).all()
    assert (np.abs(offset[hits > 0]) > 0).mean() > 0.3 and (np.abs(offset) <= 0.5).all()
    opened.page.click("#undo")
    assert opened.song()["hits"] == before["hits"]


@pytest.mark.slow
def test_locked_cells_and_voices_stay(opened):
    opened.page.get_by_role("button", name="Lock closed hat").click()
    opened.page.click("#mode-lock")
    opened.cell(1, 4).click()
    opened.cell(8, 0).click()  # silence is locked too
    before = opened.hits
    opened.select(0, 4)
    opened.page.fill("#seed", "5")
    opened.click("fill-in")
    after = opened.hits
    assert (after != before).any()
    assert (after[:, 2] == before[:, 2]).all() and after[4, 1] == 1 and after[0, 8] == 0
    opened.page.click("#undo")
    assert (opened.hits == before).all()
    opened.page.fill("#seed", "5")
    opened.click("fill-in")
    assert (opened.hits == after).all()  # the same seed


@pytest.mark.slow
def test_bars_are_varied_filled_and_made_busier(opened):
    opened.click("bars-4", "continue")
    before = opened.hits
    opened.page.evaluate("() => hypermeter.app.select(4, 6)")
    opened.click("vary")
    varied = opened.hits
    changed = np.flatnonzero((varied != before).any(1))
    assert len(changed) and changed.min() >= 64 and changed.max() < 96
    opened.click("busier")
    busier = opened.hits[64:96].sum()
    opened.click("calmer", "calmer", "calmer")
    assert opened.hits[64:96].sum() < busier
    opened.page.evaluate("() => hypermeter.app.select(7, 8)")
    now = opened.hits
    opened.click("fill-bar")
    assert (opened.hits[:112] == now[:112]).all() and (opened.hits[112:] != now[112:]).any()
    assert opened.song()["asks"][7]["fill"] == 2


@pytest.mark.slow
def test_a_curve_of_density_is_drawn_and_followed(opened):
    opened.click("bars-8")
    lanes = opened.page.locator("#overview .lane")
    first, last = lanes.nth(4).bounding_box(), lanes.nth(11).bounding_box()
    mouse = opened.page.mouse
    mouse.move(first["x"] + 8, first["y"] + first["height"] * 0.93)
    mouse.down()
    mouse.move(last["x"] + last["width"] - 8, last["y"] + last["height"] * 0.2, steps=40)
    mouse.up()
    asked = [each["density"] for each in opened.song()["asks"][4:12]]
    assert all(now > before for before, now in itertools.pairwise(asked))
    assert asked[0] < 0.06 and asked[-1] > 0.25
    opened.click("continue")
    counts = opened.hits[64:].reshape(8, -1).sum(1)
    assert counts[4:].sum() > 2 * counts[:4].sum()
    opened.page.locator(".bar-button").nth(0).focus()
    opened.page.keyboard.press("ArrowUp")
    assert opened.song()["asks"][0]["density"] == pytest.approx(opened.hits[:16].mean() + 0.01, abs=1e-6)
    opened.page.keyboard.press("Shift+Delete")
    assert opened.song()["asks"][0]["density"] is None


@pytest.mark.slow
def test_work_is_stopped(opened):
    opened.page.evaluate("() => void hypermeter.app.continue(200)")
    opened.page.wait_for_timeout(200)
    opened.page.click("#stop")
    opened.until("() => document.getElementById('status').innerText === 'Stopped'", 5)
    opened.click("bars-4", "continue")  # and it goes on
    opened.until("() => document.getElementById('status').innerText.startsWith('4 new bars')", 5)


@pytest.mark.slow
def test_what_is_undone_while_it_comes_stays_undone(opened):
    before = opened.hits
    opened.page.evaluate("() => void hypermeter.app.continue(200)")
    opened.until("() => hypermeter.app.bars > 8")
    opened.page.keyboard.press("Control+z")
    opened.until("() => !hypermeter.app.busy", 10)
    assert (opened.hits == before).all()


@pytest.mark.slow
def test_endless_play_has_no_gap(opened):
    opened.page.fill("#tempo", "200")
    opened.page.press("#tempo", "Enter")
    opened.page.click("#endless")
    opened.page.wait_for_timeout(9000)  # seven bars at this tempo
    state = opened.page.evaluate(
        "() => ({ gaps: hypermeter.sound.gaps, step: hypermeter.sound.step, bars: hypermeter.app.bars })"
    )
    assert state["gaps"] == 0
    assert state["step"] > 80 and state["bars"] * 16 - state["step"] >= 16
    opened.page.click("#play")


@pytest.mark.slow
def test_endless_play_forgets_the_oldest_bars(opened):
    """At its most bars a song loses its first, and what plays goes on where it was."""
    opened.page.evaluate(
        """() => {
            const { app } = hypermeter
            const cells = 256 * 160
            const hits = Uint8Array.from({ length: cells }, (_, i) => (i * 7919) % 13 === 0 ? 1 : 0)
            const velocity = Float32Array.from(hits, (hit) => hit * 0.7)
            const rest = { offset: new Float32Array(cells), locked: new Uint8Array(cells), tempo: 60 }
            const articulation = { openness: new Float32Array(cells).fill(NaN), strokes: new Map() }
            app.edit({ ...app.song, hits, velocity, ...rest, ...articulation })
            app.show(252)
        }"""
    )
    before = opened.hits
    opened.page.click("#endless")
    opened.until("() => hypermeter.app.bars === 196")  # four ahead of the bar that plays, after 64 were dropped
    hits = opened.hits
    assert (hits[: 192 * 16] == before[64 * 16 :]).all() and hits[192 * 16 :].any()
    assert 188 * 16 <= opened.page.evaluate("() => hypermeter.sound.step") < 196 * 16
    opened.page.click("#play")

"""The page in a real browser: files and links, for everyone, on any host, and quickly."""

# ruff: noqa: F401, F811  (fixtures are imported, and named as arguments)

import time
import wave

import numpy as np
import pytest

import hypermeter
from browsing import DESK, NOTHING, PHONE, Session, UnpackingHost, chromium, host, opened, serving, shared_context
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.read_options import ReadOptions
from hypermeter.core.strokes import Strokes
from odd_midi import Note, Song, Track, beat, meta, metre, play, tempo

pytestmark = pytest.mark.slow
FIRST_SOUND_S = 6.0
"""Generous: two seconds are meant, on a machine that does nothing else."""
CONTINUATION_S = 6.0


# ---------------------------------------------------------------------- files and links


def test_a_saved_midi_file_is_read_by_hypermeter(opened, tmp_path):
    opened.click("bars-4", "continue")
    with opened.page.expect_download() as caught:
        opened.page.click("#save-midi")
    path = tmp_path / caught.value.suggested_filename
    caught.value.save_as(path)
    groove, song = hypermeter.read_midi(path, options=ReadOptions(shift="keep")), opened.song()
    assert path.name == "hypermeter.mid" and groove.tempo_bpm == pytest.approx(104, abs=0.01)
    hits = opened.hits
    assert (groove.hits == hits).all()
    assert np.allclose(groove.velocity.ravel(), song["velocity"][: groove.hits.size], atol=0.51 / 127)
    swung = np.array(song["offset"]).reshape(-1, 10) + 0.05 * (np.arange(len(hits)) % 2)[:, None]
    wanted = np.where(hits > 0, np.clip(swung, -0.5, 0.499), 0)[: len(groove)]
    assert np.abs(groove.offset - wanted).max() < 1 / 120 + 1e-6


def test_a_saved_wav_file_sounds(opened, tmp_path):
    path = tmp_path / "beat.wav"
    assert opened.save_wav(path) == "hypermeter.wav"
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 44100, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(float) / 32768
        assert file.getnframes() / 44100 == pytest.approx(64 * 60 / 104 / 4 + 2, abs=0.01)
    assert 0.02 < np.sqrt(np.mean(samples**2)) < 0.5


DROP = """([bytes, name]) => {
    const transfer = new DataTransfer()
    transfer.items.add(new File([Uint8Array.from(bytes)], name, { type: 'audio/midi' }))
    for (const kind of ['dragenter', 'dragover', 'drop']) {
        document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }))
    }
}"""


def test_a_midi_file_is_dropped_in(opened, tmp_path):
    rng = np.random.default_rng(0)
    hits = (rng.random((80, 10)) < 0.2).astype(np.uint8)
    hits[60:] = 0  # the fifth bar is silent
    groove = Groove(hits, velocity=hits * rng.integers(20, 127, hits.shape) / 127, tempo_bpm=90.0)
    hypermeter.write_midi(groove, tmp_path / "mine.mid")
    opened.page.evaluate(DROP, [list((tmp_path / "mine.mid").read_bytes()), "mine.mid"])
    opened.until("() => hypermeter.app.bars === 5")
    song = opened.song()
    assert (opened.hits == hits).all() and song["tempo"] == 90
    assert np.allclose(song["velocity"], groove.velocity.ravel(), atol=1e-6)
    assert opened.page.inner_text("#status") == "mine.mid: 5 bars"
    opened.page.click("#undo")
    assert opened.song()["bars"] == 4
    opened.page.evaluate(DROP, [list(b"not music"), "letter.txt"])
    opened.page.wait_for_timeout(100)
    assert opened.page.inner_text("#status").startswith("letter.txt: not a MIDI file")
    assert opened.song()["bars"] == 4 and opened.page.locator("#drop").is_hidden()


def drop(session, name, tracks):
    """Drop a MIDI file of 120 ticks a quarter in the page, and return what the status then says."""
    content = Song(np.random.default_rng(0), 120, [Track([tempo(0, 100), metre(0, 4, 4)]), *tracks]).encode()
    session.page.evaluate(DROP, [list(content), name])
    session.until(f"() => document.getElementById('status').innerText.startsWith({name!r})")
    return session.page.inner_text("#status")


def on_channel(channel, pitch, bars=2, name=b"", late=0):
    """Return a track that plays every beat, `late` ticks after it."""
    notes = [Note(120 * number + late, pitch, 90) for number in range(4 * bars)]
    return Track([meta(0, 3, name), *play(notes, channel)])


def hits_by_voice(session):
    return session.hits.sum(0).tolist()


def test_the_part_with_the_drums_can_be_chosen(opened):
    tracks = on_channel(10, 36, name=b"Kick"), on_channel(2, 38, name=b"Claps")
    assert drop(opened, "two.mid", tracks) == "two.mid: 2 bars"
    assert hits_by_voice(opened)[:2] == [8, 0]
    part = opened.page.get_by_label("Drums of the file")
    assert part.locator("option").all_inner_texts() == [
        "as found",
        "Kick, channel 10, 8 notes",
        "Claps, channel 2, 8 notes",
    ]
    part.select_option("Claps, channel 2, 8 notes")
    assert hits_by_voice(opened)[:2] == [0, 8]
    opened.page.click("#undo")
    assert hits_by_voice(opened)[:2] == [8, 0]
    assert violations(opened) == []
    drop(opened, "one.mid", [on_channel(10, 36)])
    assert part.is_hidden()


def test_drums_that_are_not_found_can_be_chosen(opened):
    before = opened.song()
    line = drop(opened, "song.mid", [on_channel(1, 60, name=b"Piano"), on_channel(3, 38)])
    assert "'Piano' on channel 1 (8 notes)" in line and opened.song() == before
    opened.page.get_by_label("Drums of the file").select_option("Track 3, channel 3, 8 notes")
    assert hits_by_voice(opened)[:2] == [0, 8]


def test_drums_on_another_channel_are_told(opened):
    drums = Track(play(beat(np.random.default_rng(0), 120, 2), channel=1))
    assert "no drums on channel 10" in drop(opened, "loop.mid", [drums])
    assert opened.hits.sum() > 20


def test_changes_of_tempo_can_be_followed(opened):
    drums = on_channel(10, 36, bars=4)
    drums.events.append(tempo(960, 120))
    assert "2 bars after a change of tempo" in drop(opened, "faster.mid", [drums])
    opened.page.get_by_label("Its tempo changes").select_option("are followed")
    assert opened.song()["bars"] == 4 and opened.page.inner_text("#status") == "faster.mid: 4 bars"


def test_a_steady_shift_is_kept_beside_the_grid(opened, tmp_path):
    line = drop(opened, "late.mid", [on_channel(10, 36, bars=4, late=6)])
    shift = opened.page.evaluate("() => hypermeter.app.song.shift")
    assert shift == pytest.approx(0.2, abs=0.01) and f"{round(150 * shift)} ms late" in line
    with opened.page.expect_download() as caught:
        opened.page.click("#save-midi")
    caught.value.save_as(tmp_path / "late.mid")
    groove = hypermeter.read_midi(tmp_path / "late.mid", options=ReadOptions(shift="keep"))
    assert groove.offset[groove.hits > 0] == pytest.approx(0.2)
    opened.page.get_by_label("Its grid").select_option("of the file")
    assert opened.page.evaluate("() => hypermeter.app.song.shift") == 0
    assert opened.page.evaluate("() => hypermeter.app.song.offset[0]") == pytest.approx(0.2)


SIX = Grid(steps_per_beat=2, beats_per_bar=6, beat_unit=8)


def begin(session, metre):
    """Begin a new song in a metre, by its name in the menu."""
    session.page.click("#new-song")
    session.page.locator("#metre").select_option(metre)
    session.page.click("#begin-plain")
    session.page.wait_for_timeout(50)


def test_a_new_song_is_in_the_metre_of_the_menu_and_goes_on_in_it(opened, tmp_path):
    for name, steps in (("6/8", 12), ("4/4, triplets", 12), ("7/8", 14), ("12/8", 24), ("3/4", 12), ("5/4", 20)):
        begin(opened, name)
        assert opened.page.inner_text("#status").startswith(f"A new song in {name}")
        assert opened.page.evaluate("() => hypermeter.app.song.stepsPerBar") == steps
        shown = opened.page.locator("#grid [role=row]:not(.head)").first.locator("[role=gridcell]").count()
        assert shown == steps * min(4, 64 // steps)
    begin(opened, "6/8")
    opened.click("bars-4", "continue")
    assert len(opened.hits) == 8 * 12 and opened.hits[48:].any()
    assert opened.cell(0, 6).get_attribute("aria-label").startswith("kick, bar 5, beat 4.1")
    assert violations(opened) == []
    with opened.page.expect_download() as caught:
        opened.page.click("#save-midi")
    caught.value.save_as(tmp_path / "six.mid")
    groove = hypermeter.read_midi(tmp_path / "six.mid", grid=SIX, options=ReadOptions(shift="keep"))
    assert (groove.hits == opened.hits[: len(groove)]).all() and groove.grid == SIX
    opened.save_wav(tmp_path / "six.wav")
    with wave.open(str(tmp_path / "six.wav")) as file:
        assert file.getnframes() / 44100 == pytest.approx(8 * 3 * 60 / 104 + 2, abs=0.01)
    for _ in range(4):  # bars that came one by one are one
        if len(opened.hits) == 4 * 12:
            break
        opened.page.click("#undo")
    assert opened.song()["bars"] == 4


def test_a_file_is_opened_in_its_own_metre_or_in_the_one_of_the_menu(opened, tmp_path):
    rng = np.random.default_rng(3)
    for grid, name in ((SIX, "6/8"), (Grid(steps_per_beat=3), "4/4, triplets"), (Grid(2, 7, 4, 8), "7/8")):
        hits = (rng.random((6 * grid.steps_per_bar, 10)) < 0.25).astype(np.uint8)
        hits[-1, 0] = 1
        groove = Groove(hits, velocity=0.5 * hits, tempo_bpm=90.0, grid=grid)
        hypermeter.write_midi(groove, tmp_path / "own.mid")
        opened.page.evaluate(DROP, [list((tmp_path / "own.mid").read_bytes()), "own.mid"])
        opened.until(f"() => document.getElementById('status').innerText === 'own.mid: 6 bars in {name}'")
        assert (opened.hits == hits).all()
        assert opened.page.evaluate("() => hypermeter.app.song.grid") == grid.to_dict()
        assert opened.page.inner_text("#song-metre") == name
    opened.page.get_by_label("Its metre").select_option("6/8")
    opened.until("() => document.getElementById('status').innerText.includes('metre 7/8')")
    opened.page.get_by_label("Its metre").select_option("7/8")
    opened.until("() => document.getElementById('status').innerText === 'own.mid: 6 bars in 7/8'")
    assert violations(opened) == []


def test_strokes_and_the_pedal_of_a_file_are_kept(opened, tmp_path):
    hits = np.zeros((64, 10), np.uint8)
    hits[::8, 0] = hits[4::8, 1] = hits[::4, 4] = 1
    openness = np.where((hits > 0) & (np.arange(10) == 4), np.float32(64 / 127), np.float32(np.nan))
    strokes = Strokes([4, 12, 12], [1, 1, 1], [-0.2, -0.25, 0.25], [0.3, 0.4, 0.5])
    groove = Groove(hits, velocity=0.7 * hits, tempo_bpm=100.0, strokes=strokes, openness=openness)
    hypermeter.write_midi(groove, tmp_path / "flams.mid")
    opened.page.evaluate(DROP, [list((tmp_path / "flams.mid").read_bytes()), "flams.mid"])
    opened.until("() => document.getElementById('status').innerText === 'flams.mid: 4 bars'")
    assert [cell for cell, *_ in opened.song()["strokes"]] == [41, 121, 121]
    assert opened.cell(1, 12).get_attribute("data-strokes") == "3"
    with opened.page.expect_download() as caught:
        opened.page.click("#save-midi")
    caught.value.save_as(tmp_path / "again.mid")
    first, again = (hypermeter.read_midi(tmp_path / f"{name}.mid") for name in ("flams", "again"))
    assert (again.hits == first.hits).all() and np.allclose(again.openness, first.openness, equal_nan=True)
    assert np.allclose(again.strokes.table, first.strokes.table, equal_nan=True) and len(again.strokes) == 3
    link, before = opened.link(), opened.song()
    opened.page.click("#undo")
    opened.page.evaluate("(link) => { location.href = link }", link)
    opened.until("() => hypermeter.app.song.strokes.size === 2")
    after = opened.song()
    assert [cell for cell, *_ in after["strokes"]] == [cell for cell, *_ in before["strokes"]]
    known = [value for value in after["openness"] if value is not None]
    assert len(known) == 16 and known[0] == pytest.approx(64 / 127)
    assert violations(opened) == []


def test_a_link_holds_the_metre(opened, chromium):
    begin(opened, "7/8")
    other = Session(chromium, opened.link()).ready()
    assert (other.hits == opened.hits).all()
    assert other.page.evaluate("() => hypermeter.app.song.grid") == Grid(2, 7, 4, 8).to_dict()
    other.close()


def test_a_link_holds_the_song(opened, chromium):
    opened.click("bars-4", "continue")
    opened.page.click("#mode-lock")
    opened.cell(0, 0).click()
    opened.page.get_by_role("button", name="Mute snare").click()
    song, url = opened.song(), opened.link()
    assert len(url) < 4000
    other = Session(chromium, url).ready()
    back = other.song()
    for name in ("hits", "locked", "tempo", "bars", "asks"):
        assert back[name] == song[name], name
    assert np.allclose(back["velocity"], song["velocity"], atol=0.51 / 127)
    assert other.page.evaluate("() => hypermeter.app.mixer.muted.indexOf(true)") == 1
    other.close()
    broken = Session(chromium, url[:-40]).ready()
    assert broken.song()["bars"] == 4 and broken.page.inner_text("#status") == "The link is damaged."
    broken.close()
    anchor = Session(chromium, url.split("#")[0] + "#section-2").ready()
    assert anchor.page.inner_text("#status").startswith(("Ready", "Loading")) and anchor.page.url.endswith("#section-2")
    anchor.close()


# ---------------------------------------------------------------------- for everyone


def violations(session):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    found = axe.Axe().run(session.page)
    return [(each["id"], each["nodes"][0]["html"][:120]) for each in found.response["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_axe_finds_nothing(chromium, host, scheme, viewport):
    session = Session(chromium, host, color_scheme=scheme, viewport=viewport).ready()
    session.click("bars-4", "continue")
    session.click("lock-bars", "clear-bars")
    session.page.get_by_role("button", name="Lock crash").click()
    assert violations(session) == []
    session.page.keyboard.press("?")
    assert violations(session) == []
    session.page.get_by_role("button", name="Close", exact=True).click()
    session.close()


def test_it_fits_a_phone(chromium, host):
    session = Session(chromium, host, viewport=PHONE, has_touch=True, is_mobile=True).ready()
    for width in (320, PHONE["width"]):
        session.page.set_viewport_size({"width": width, "height": 844})
        wide = session.page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1] == width
    assert session.page.locator("#grid [role=row]:not(.head)").first.locator("[role=gridcell]").count() == 8
    before = session.hits
    session.cell(3, 2).tap()
    assert session.hits[2, 3] == 1 - before[2, 3]
    session.page.tap("#continue")
    session.idle()
    assert session.song()["bars"] == 8
    session.page.tap("#mixer")
    session.page.get_by_role("button", name="Mute kick").tap()
    assert session.page.evaluate("() => hypermeter.app.mixer.muted[0]") and session.page.locator("#grid").is_hidden()
    session.close()


def test_dark_is_dark(chromium, host):
    shades = {}
    for scheme in ("light", "dark"):
        session = Session(chromium, host, color_scheme=scheme).ready()
        colour = session.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        shades[scheme] = sum(int(each) for each in colour[4:-1].split(",")) / 3
        session.close()
    assert shades["light"] > 200 and shades["dark"] < 50


def test_without_the_model_one_still_writes(chromium, host):
    session = Session(chromium, f"{host}icon.svg")
    session.context.route("**/weights.bin.gz", lambda route: route.abort())
    session.page.goto(host)
    session.until("() => document.getElementById('status').innerText.startsWith('The model cannot be loaded')")
    before = session.hits
    session.cell(0, 1).click()
    assert session.hits.sum() == before.sum() + 1
    session.page.keyboard.press("Escape")
    session.click("continue")
    assert session.song()["bars"] == 4 and "Failed to fetch" in session.page.inner_text("#status")
    session.errors.clear()
    session.close()


def test_a_host_that_unpacks_on_the_way_will_do(chromium):
    server = serving(UnpackingHost)
    session = Session(chromium, f"http://127.0.0.1:{server.server_port}/").ready()
    session.click("bars-4", "continue")
    assert session.song()["bars"] == 8
    session.close()
    server.shutdown()
    server.server_close()


# ---------------------------------------------------------------------- speed


PRESS_PLAY = """() => {
    const poll = setInterval(() => {
        const own = window.hypermeter
        if (!own) return
        if (own.pressed === undefined) {
            own.pressed = performance.now()
            document.getElementById('play').click()
        } else if (own.heard === undefined && own.sound.step >= 0) {
            own.heard = performance.now()
            clearInterval(poll)
        }
    }, 5)
    window.addEventListener('load', () => {
        const ready = setInterval(() => {
            if (!window.hypermeter) return
            clearInterval(ready)
            hypermeter.engine.ready.then(() => (hypermeter.loaded = performance.now()))
        }, 5)
    })
}"""
"""Plays as soon as there is a page, and keeps when: milliseconds since it was opened."""


def test_it_is_quick(chromium, host, capsys):
    session = Session(chromium, host, PRESS_PLAY)
    session.until("() => window.hypermeter?.heard && hypermeter.loaded")
    first_sound, loaded = session.page.evaluate("() => [hypermeter.heard / 1000, hypermeter.loaded / 1000]")
    session.page.click("#play")
    taken = []
    for seed in range(5):
        start = time.perf_counter()
        session.play("continue", {**NOTHING, "bars": 16, "temperature": 1, "seed": seed})
        taken.append(time.perf_counter() - start)
    session.close()
    with capsys.disabled():
        print(f"\nfirst sound {first_sound:.2f} s after opening, model {loaded:.2f} s;", end=" ")
        print(f"16 bars in {min(taken):.2f} s at best, {np.median(taken):.2f} s in the median")
    assert first_sound < FIRST_SOUND_S
    assert np.median(taken) < CONTINUATION_S

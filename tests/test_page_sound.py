"""The page in a real browser: sound as files, and kits, places and sounds of one's own."""

# ruff: noqa: F401, F811  (fixtures are imported, and named as arguments)

import io
import wave
import zipfile

import numpy as np
import pytest

import hypermeter
from browsing import Session, chromium, host, opened, shared_context
from hypermeter.core.groove import Groove
from hypermeter.core.read_options import ReadOptions

pytestmark = pytest.mark.slow
RATE = 44100
HALVES = "() => hypermeter.app.setMixer({ volumes: hypermeter.app.mixer.volumes.map(() => 0.4) })"


def samples(file):
    """Return (2, frames) of a WAV file of 16 or 24 bits, in [-1, 1], and its bits."""
    with wave.open(file) as found:
        assert (found.getnchannels(), found.getframerate()) == (2, RATE)
        width, raw = found.getsampwidth(), np.frombuffer(found.readframes(found.getnframes()), np.uint8)
    padded = np.zeros((raw.size // width, 4), np.uint8)
    padded[:, 4 - width :] = raw.reshape(-1, width)
    return padded.view("<i4").ravel().reshape(-1, 2).T / 2**31, 8 * width


def test_a_song_of_several_parts_is_as_in_python(opened):
    """Parts are of twelve seconds: what rings across their seams is as if rendered at once."""
    from hypermeter.share.sound.mix import mix, score_of

    opened.page.evaluate("() => hypermeter.app.edit({ ...hypermeter.app.song, swing: 0, tempo: 45 })")
    song = opened.song()
    arrays = {name: np.array(song[name], np.float32).reshape(-1, 10) for name in ("hits", "velocity", "offset")}
    expected = mix(score_of(Groove(**arrays, tempo_bpm=45))).T
    found = opened.render()
    assert found.shape[1] == round((64 / 3 + 2) * RATE)
    length = min(found.shape[1], expected.shape[1])
    apart = found[:, :length] - expected[:, :length]
    assert np.sqrt(np.mean(apart**2)) < 0.002 * np.sqrt(np.mean(expected**2))
    assert np.abs(apart).max() < 0.01


def test_a_loop_has_its_exact_length_and_begins_with_what_rings_at_its_end(opened, tmp_path):
    opened.page.evaluate("() => hypermeter.app.edit({ ...hypermeter.app.song, tempo: 105 })")
    opened.select(2, 4)
    name = opened.save_wav(tmp_path / "loop.wav", part="selection", end="loop", bits="24")
    loop, bits = samples(str(tmp_path / "loop.wav"))
    frames = 32 * 6300  # of a step at this tempo
    assert name == "hypermeter-loop.wav" and bits == 24 and loop.shape[1] == frames
    assert opened.says(f"Saved as hypermeter-loop.wav: a loop of {frames / RATE:.3f} s")
    opened.click("duplicate-bars")
    opened.select(2, 6)
    assert opened.save_wav(tmp_path / "twice.wav", part="selection", end="ring", bits="24") == "hypermeter.wav"
    twice, _ = samples(str(tmp_path / "twice.wav"))
    later = twice[:, frames : 2 * frames]
    assert np.abs(loop - later).max() < 1e-4
    assert np.sqrt(np.mean((loop[:, :2000] - twice[:, :2000]) ** 2)) > 1e-4  # the first round has nothing before it


def test_voices_by_themselves_add_up_to_the_mix(opened, tmp_path):
    opened.page.evaluate(HALVES)  # softer than the limiter
    assert opened.save_wav(tmp_path / "mix.wav", bits="24") == "hypermeter.wav"
    mix, _ = samples(str(tmp_path / "mix.wav"))
    assert opened.save_wav(tmp_path / "stems.zip", files="stems", bits="24") == "hypermeter-stems.zip"
    with zipfile.ZipFile(tmp_path / "stems.zip") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        stems = [samples(io.BytesIO(archive.read(name)))[0] for name in names]
    labels = ["kick", "snare", "closed hat", "open hat", "low tom", "high tom"]
    assert names == [f"{place + 1:02} {label}.wav" for place, label in enumerate(labels)]
    assert np.abs(mix).max() < 0.7 and all(np.abs(stem).max() > 0.01 for stem in stems)
    assert np.abs(np.sum(stems, 0) - mix).max() < 1e-4


def test_what_is_muted_or_not_solo_is_in_no_file(opened, tmp_path):
    opened.page.get_by_role("button", name="Mute snare").click()
    for solo in (False, True):
        if solo:
            opened.page.get_by_role("button", name="Solo kick").click()
            opened.page.get_by_role("button", name="Solo snare").click()  # muted all the same
        with opened.page.expect_download() as caught:
            opened.page.click("#save-midi")
        caught.value.save_as(tmp_path / "heard.mid")
        assert opened.says("Saved as hypermeter.mid; silent voices are left out")
        groove = hypermeter.read_midi(tmp_path / "heard.mid", options=ReadOptions(shift="keep"))
        heard = [0] if solo else [0, 2, 4, 5, 7]
        assert np.flatnonzero(groove.hits.sum(0)).tolist() == heard
        opened.save_wav(tmp_path / "heard.zip", files="stems")
        with zipfile.ZipFile(tmp_path / "heard.zip") as archive:
            assert len(archive.namelist()) == len(heard)
        voices = opened.page.evaluate("() => [...new Set(hypermeter.sound.score().hits.map(({ voice }) => voice))]")
        assert sorted(voices) == heard
    opened.page.get_by_role("button", name="Mute kick").click()
    opened.page.click("#save-wav")
    opened.page.click("#export-save")
    opened.until(
        "() => document.getElementById('export-says').innerText === 'It cannot be made: no hit is heard in these bars'"
    )
    opened.page.keyboard.press("Escape")


def test_saving_tells_how_far_it_is_and_is_stopped(opened):
    opened.page.evaluate("() => hypermeter.app.edit({ ...hypermeter.app.song, tempo: 40 })")
    for _ in range(5):
        opened.page.keyboard.press("Control+a")
        opened.page.keyboard.press("Control+d")
    opened.page.wait_for_timeout(60)
    assert opened.song()["bars"] == 128
    opened.page.click("#save-wav")
    opened.page.locator("#export-files").select_option("stems")
    opened.page.click("#export-save")
    opened.until("() => document.getElementById('export-progress').value > 0.001")
    assert opened.page.locator("#export-save").is_disabled()
    opened.page.click("#export-stop")
    opened.until("() => document.getElementById('export-says').innerText === 'Stopped: nothing was saved'")
    assert opened.page.locator("#export-work").is_hidden() and opened.page.locator("#export-save").is_enabled()
    opened.page.keyboard.press("Escape")


def test_kits_and_places_are_heard(opened):
    plain = opened.render()
    opened.page.click("#show-sounds")
    seen = [plain]
    for kit in ("Tight", "Deep", "Machine"):
        opened.page.get_by_label("Kit", exact=True).select_option(kit)
        found = opened.render()
        assert all(np.abs(found[:, : 2 * RATE] - other[:, : 2 * RATE]).max() > 0.02 for other in seen)
        assert 0.02 < np.abs(found).max() < 1
        seen.append(found)
    opened.page.get_by_label("Kit", exact=True).select_option("Studio")
    assert np.abs(opened.render() - plain).max() < 1e-5
    opened.page.get_by_label("Where kick is, left or right").fill("-100")
    opened.page.keyboard.press("Escape")
    opened.page.get_by_role("button", name="Solo kick").click()
    left, right = opened.render()
    assert np.abs(left).max() > 0.2 > 0.05 > np.abs(right).max()
    link = opened.link()
    opened.page.evaluate("(link) => { location.hash = new URL(link).hash }", link)
    opened.until("() => hypermeter.app.song.kept.name === 'From a link'")
    assert opened.page.evaluate("() => [hypermeter.app.mixer.pans[0], hypermeter.app.mixer.soloed[0]]") == [-1, True]


DROP_ON = """([bytes, name, index]) => {
    const transfer = new DataTransfer()
    transfer.items.add(new File([Uint8Array.from(bytes)], name, { type: 'audio/wav' }))
    const row = document.querySelectorAll('#voices .voice')[index]
    for (const kind of ['dragenter', 'dragover', 'drop']) {
        row.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }))
    }
}"""


def tone(seconds=0.2, hz=1000):
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        wave_of = 0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)
        file.writeframes((32767 * wave_of).astype("<i2").tobytes())
    return list(buffer.getvalue())


def test_a_sound_of_ones_own_is_dropped_on_a_voice_and_kept(chromium, host):
    session = Session(chromium, host, keeps=True).ready()
    session.select(0, 4)
    session.click("clear-bars")
    session.cell(1, 0).click()
    plain = session.render()
    session.page.evaluate(DROP_ON, [tone(), "beep.wav", 1])
    session.says("snare sounds as beep.wav")
    assert session.page.locator("#drop").is_hidden() and session.song()["bars"] == 4
    found = session.render()
    power = np.abs(np.fft.rfft(found[0, : int(0.2 * RATE)]))
    assert np.argmax(power) * 5 == pytest.approx(1000, abs=10) and np.abs(found - plain).max() > 0.1
    session.page.wait_for_timeout(400)
    session.page.reload()
    session.ready()
    session.until("() => hypermeter.app.mixer.samples[1]?.name === 'beep.wav'")
    session.page.evaluate("() => hypermeter.sound.loadSamples()")
    session.page.wait_for_timeout(300)
    assert np.abs(session.render() - found).max() < 1e-5
    for content, name, line in (
        ([1] * 100, "noise.wav", "noise.wav is no sound that this browser reads"),
        (tone(10.5), "long.wav", "long.wav has 10.5 seconds; a sound of a voice has at most 10"),
        ([0] * 2_000_001, "big.wav", "big.wav has 2.0 MB; a sound of a voice has at most 2"),
    ):
        session.page.evaluate(DROP_ON, [content, name, 0])
        session.says(line)
    assert session.page.evaluate("() => hypermeter.app.mixer.samples[0]") is None
    session.page.click("#show-sounds")
    session.page.get_by_role("button", name="snare: the sound of the kit again").click()
    session.page.keyboard.press("Escape")
    assert np.abs(session.render() - plain).max() < 1e-5
    session.close()

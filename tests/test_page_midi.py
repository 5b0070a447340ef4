"""The page in a real browser: pads, machines and clock, by a stand-in for Web MIDI and by a port of the system."""

# ruff: noqa: F401, F811  (fixtures are imported, and named as arguments)

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from browsing import DESK, PHONE, ROOT, Session, chromium, host
from test_page_files import violations

pytestmark = pytest.mark.slow
FAKE = (ROOT / "web" / "test" / "fake_midi.mjs").read_text().replace("export class", "class")
PLUGGED = "() => { midi.plug('input', 'Pads', 'Roland'); midi.plug('input', 'Master'); midi.plug('output', 'Synth') }"
ON, OFF = 0x99, 0x89
WITHOUT_MODEL = "window.Worker = class extends EventTarget { postMessage() {} terminate() {} };"
"""Nothing here asks the model, whose thread would take the time of what has to be in time."""
BEHIND = "() => Object.defineProperty(document, 'hidden', { get: () => true })"
"""As behind another tab: the page then plans far ahead, and a test is in time on a busy machine too."""


def with_midi(chromium, host, plugged=PLUGGED, options="{}", is_connected=True, **others):
    init = f"() => {{ {WITHOUT_MODEL} {FAKE}\nwindow.midi = new FakeMidi({options});\n({plugged})();\n"
    init += "Object.defineProperty(navigator, 'requestMIDIAccess', { value: () => midi.request() });\n"
    init += "window.port = (name) => midi.ports.find((port) => port.name === name) }"
    session = Session(chromium, host, init, **others)
    session.until("() => !!window.hypermeter")
    session.page.click("#connections")
    if is_connected:
        session.page.click("#midi-connect")
        session.until("() => hypermeter.connections.ports.isConnected")
        session.page.wait_for_timeout(50)
    return session


def choose(session, name, label):
    session.page.select_option(f"#{name}", label=label)
    session.page.wait_for_timeout(50)


def sent(session, name="Synth"):
    """Return bytes, time and how far ahead it was sent, of each message that reached an output."""
    found = session.page.evaluate("(name) => port(name).sent.map(({ data, at, ahead }) => [data, at, ahead])", name)
    return [(tuple(data), at, ahead) for data, at, ahead in found]


def arrive(session, name, *messages):
    """Let messages arrive now, one after the other."""
    tell = "([name, all]) => { for (const data of all) port(name).arrive(data, performance.now()) }"
    session.page.evaluate(tell, [name, [list(message) for message in messages]])
    session.page.wait_for_timeout(40)


def status(session):
    return session.page.inner_text("#status")


# ---------------------------------------------------------------------- whether there is MIDI


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ("NotAllowedError", "does not let this page use MIDI"),
        ("SecurityError", "does not let this page use MIDI"),
        ("NotSupportedError", "has no MIDI that the browser can use"),
        ("InvalidStateError", "cannot be opened"),
    ],
)
def test_a_refusal_is_explained_and_can_be_taken_back(chromium, host, answer, line):
    session = with_midi(chromium, host, options=f"{{ answer: '{answer}' }}", is_connected=False)
    session.page.click("#midi-connect")
    session.until(f"() => document.getElementById('midi-says').innerText.includes({line!r})", 10)
    session.page.evaluate("() => { midi.answer = 'grant' }")
    session.page.click("#midi-connect")
    session.until("() => document.getElementById('midi-says').innerText.startsWith('In: Pads, Master. Out: Synth')", 10)
    assert not session.page.is_visible("#midi-connect")
    session.close()


def test_a_question_that_nobody_answers_and_a_browser_without_midi_are_told(chromium, host):
    session = with_midi(chromium, host, options="{ answer: 'pending' }", is_connected=False)
    session.page.click("#midi-connect")
    session.until("() => document.getElementById('midi-connect').disabled", 5)
    session.until("() => document.getElementById('midi-says').innerText.includes('has not answered yet')", 10)
    session.close()
    none = "() => { delete Navigator.prototype.requestMIDIAccess }"
    session = Session(chromium, host, none).ready()
    session.page.click("#connections")
    assert "This browser has no MIDI for pages" in session.page.inner_text("#midi-says")
    session.page.click("#record")
    session.says("This browser has no MIDI for pages")
    session.close()


# ---------------------------------------------------------------------- out


def test_what_is_heard_goes_out_at_its_time_with_a_clock(chromium, host):
    session = with_midi(chromium, host)
    choose(session, "out-to", "Synth")
    session.click("send-clock")
    session.page.fill("#tempo", "120")
    session.page.press("#tempo", "Enter")
    session.page.evaluate("() => hypermeter.app.edit({ ...hypermeter.app.song, swing: 0 })")
    session.page.evaluate(BEHIND)
    session.page.click("#play")
    session.until("() => hypermeter.sound.step >= 18", 30)
    session.page.click("#play")
    session.page.wait_for_timeout(300)
    all_sent = sent(session)
    asked = session.page.evaluate("() => port('Synth').sent.map(({ data, asked, ahead }) => [data, asked, ahead])")
    start = next(at for data, at, _ in asked if data == [0xFA])
    ticks = [at for data, at, _ in asked if data == [0xF8]]
    song, pitches = session.song(), [36, 38, 42, 44, 46, 43, 47, 50, 49, 51]
    hits = np.array(song["hits"]).reshape(-1, 10)
    offset = np.array(song["offset"]).reshape(-1, 10)
    places = [(step + offset[step, voice], pitches[voice]) for step, voice in zip(*hits.nonzero())]
    begun = [((at - start - 1) / 125, data[1]) for data, at, ahead in asked if data[0] == ON and ahead > 200]
    nearest = [  # in a loop of 64 steps
        min(abs((place - hit + 32) % 64 - 32) for hit, other in places if other == pitch) for place, pitch in begun
    ]
    assert np.mean(np.array(nearest) < 0.04) > 0.8, nearest  # 5 ms, but after a stall of a busy machine
    assert len(begun) > 6 and len({pitch for _, pitch in begun}) > 2
    assert np.median(np.diff(ticks)) == pytest.approx(500 / 24, abs=0.5)
    ahead = [ahead for data, _, ahead in all_sent if data[0] == ON]
    assert np.median(ahead) > 60
    sounding = set()
    for data, _, _ in all_sent:
        if data[0] == ON:
            sounding.add(data[1])
        elif data[0] == OFF:
            sounding.discard(data[1])
    assert not sounding and (0xFC,) in [data for data, _, _ in all_sent]
    assert (0xB9, 123, 0) in [data for data, _, _ in all_sent[-30:]]
    session.close()


def test_channel_kit_and_mutes_count_and_a_click_in_the_grid_is_heard_there(chromium, host):
    session = with_midi(chromium, host)
    choose(session, "out-to", "Synth")
    choose(session, "out-channel", "3")
    choose(session, "out-map", "Steven Slate Drums 5")
    session.select(0, 4)
    session.click("clear-bars")
    session.cell(8, 0).click()
    session.page.wait_for_timeout(300)
    notes = [data for data, _, _ in sent(session) if data[0] == 0x92]
    from hypermeter.core.kit import load_kit

    assert [pitch for _, pitch, _ in notes] == [load_kit("gm10:ssd5").voices[8].write]
    session.page.get_by_role("button", name="Mute crash").click()
    session.page.click("#play")
    session.page.wait_for_timeout(700)
    session.page.click("#play")
    assert [data for data, _, _ in sent(session) if data[0] == 0x92] == notes
    session.close()


def test_every_kit_is_written_and_read_as_in_python(chromium, host):
    from hypermeter.core.kit import load_kit
    from hypermeter.core.pitch_map import MAPS

    session = with_midi(chromium, host)
    maps = """(maps) => maps.map((name) => {
        hypermeter.connections.set({ outMap: name, padsMap: name })
        return [hypermeter.connections.pitches, [...hypermeter.connections.columns]]
    })"""
    for name, (pitches, columns) in zip(MAPS, session.page.evaluate(maps, list(MAPS)), strict=True):
        kit = load_kit("gm10" if name == "gm" else f"gm10:{name}")
        assert pitches == [voice.write for voice in kit.voices], name
        assert dict(columns) == dict(kit.pitch_to_voice), name
    session.close()


def test_a_device_that_goes_and_comes_back_is_used_again(chromium, host):
    session = with_midi(chromium, host)
    choose(session, "out-to", "Synth")
    session.page.click("#play")
    session.page.wait_for_timeout(600)
    session.page.evaluate("() => midi.unplug(port('Synth'))")
    session.says("“Synth” is gone")
    assert session.page.input_value("#out-to").startswith("{")
    assert "Synth (not there)" in session.page.inner_text("#out-to")
    count = len(sent(session))
    session.page.wait_for_timeout(600)
    assert session.page.evaluate("() => hypermeter.sound.isPlaying") and len(sent(session)) == count
    session.page.evaluate("() => midi.plug('output', 'Synth')")
    session.says("“Synth” is there")
    session.page.wait_for_timeout(1200)
    assert len([data for data, _, _ in sent(session)[count:] if data[0] == ON]) > 3
    session.page.evaluate("() => midi.plug('input', 'New pads')")
    session.page.wait_for_timeout(60)
    assert "New pads" in session.page.inner_text("#pads-from")
    session.page.click("#play")
    session.close()


def test_it_plays_out_on_a_machine_without_sound(chromium, host):
    plugged = PLUGGED[:-2] + "; window.AudioContext = class { constructor() { throw new Error('no device') } } }"
    session = with_midi(chromium, host, plugged)
    choose(session, "out-to", "Synth")
    session.page.click("#play")
    session.page.wait_for_timeout(1200)
    assert session.page.inner_text("#play") == "Stop"
    session.page.click("#play")
    assert len([data for data, _, _ in sent(session) if data[0] == ON]) > 5
    session.close()


# ---------------------------------------------------------------------- in

PLAY_PADS = """(all) => { // pitch, velocity and step of the song, in steps of 125 ms from the first that sounds
    const { sound } = hypermeter
    const wait = () => {
        const near = sound.near(performance.now())
        if (!near.length) return setTimeout(wait, 5)
        const { step, late } = near.at(-1)
        const first = performance.now() - (step + late) * 125
        for (const [pitch, velocity, place] of all) {
            const at = first + place * 125
            setTimeout(() => port('Pads').arrive([0x99, pitch, velocity], at), at + 8 - performance.now())
        }
    }
    wait()
}"""


def ready_to_record(chromium, host, *switches):
    session = with_midi(chromium, host)
    session.page.fill("#tempo", "120")
    session.page.press("#tempo", "Enter")
    session.select(0, 4)
    session.click("clear-bars")
    session.page.evaluate("() => hypermeter.app.edit({ ...hypermeter.app.song, swing: 0 })")
    for name in switches:
        session.click(name)
    return session


def test_pads_are_recorded_with_loudness_and_timing_after_a_count_in(chromium, host):
    session = ready_to_record(chromium, host)
    began = session.page.evaluate("() => performance.now()")
    session.page.click("#record")
    session.page.evaluate(PLAY_PADS, [[36, 127, 0.1], [38, 64, 3.7], [42, 30, 8.25], [99, 90, 9]])
    session.until("() => hypermeter.sound.step >= 12", 20)
    assert session.page.evaluate("() => performance.now()") - began > 2000 + 1400  # with a bar of clicks
    session.page.click("#record")
    assert session.says("Recorded 3 hits")
    song = session.song()
    hits = session.hits
    assert list(zip(*hits.nonzero())) == [(0, 0), (4, 1), (8, 2)]
    at = [0, 4 * 10 + 1, 8 * 10 + 2]
    assert [song["velocity"][cell] for cell in at] == pytest.approx([1, 64 / 127, 30 / 127], abs=0.001)
    assert [song["offset"][cell] for cell in at] == pytest.approx([0.1, -0.3, 0.25], abs=0.04)  # 5 ms
    assert session.page.evaluate("() => hypermeter.sound.isPlaying")
    session.page.click("#play")
    session.page.keyboard.press("Control+z")
    session.page.wait_for_timeout(50)
    assert session.hits.sum() == 0  # the take at once
    session.close()


def test_on_the_grid_hits_have_no_timing_and_a_stop_ends_the_take(chromium, host):
    session = ready_to_record(chromium, host, "quantise")
    session.page.select_option("#count-in", "0")
    session.cell(0, 4).click()
    session.page.click("#record")
    session.page.evaluate(PLAY_PADS, [[36, 100, 6.3], [44, 100, 7.8]])
    session.until("() => hypermeter.sound.step >= 10", 20)
    session.page.click("#play")
    session.says("Recorded 2 hits")
    song = session.song()
    assert list(zip(*session.hits.nonzero())) == [(4, 0), (6, 0), (8, 3)]  # it is an overdub
    assert not np.any(song["offset"]) and session.page.inner_text("#record") == "Record"
    session.close()


def test_without_overdub_the_take_replaces_what_it_passes(chromium, host):
    session = ready_to_record(chromium, host, "overdub")
    session.page.select_option("#count-in", "0")
    session.cell(0, 4).click()
    session.cell(0, 63).click()
    session.page.click("#record")
    session.until("() => hypermeter.sound.step >= 6", 20)
    session.page.click("#record")
    session.says("Nothing was played")
    assert list(zip(*session.hits.nonzero())) == [(63, 0)]
    session.page.click("#play")
    session.close()


# ---------------------------------------------------------------------- by a clock


def test_it_follows_a_clock_with_its_tempo_start_stop_and_place(chromium, host):
    session = with_midi(chromium, host)
    choose(session, "out-to", "Synth")
    choose(session, "clock-from", "Master")
    assert session.says("Follows the clock of “Master”")
    assert session.page.locator("#tempo").is_disabled() and session.page.locator("#send-clock").is_disabled()
    session.page.click("#play")
    session.says("Waits for the clock")
    session.page.evaluate(
        """() => { const now = performance.now()
            port('Master').arrive([0xfa], now)
            midi.tick(port('Master'), 90, now + 20) }"""
    )
    session.until("() => hypermeter.sound.step >= 8", 40)
    assert session.page.inner_text("#play") == "Stop"
    session.until("() => document.getElementById('clock-says').innerText.endsWith('beats a minute')", 10)
    session.until("() => Math.abs(hypermeter.app.song.tempo - 90) < 0.5", 10)
    session.page.evaluate("() => midi.quiet()")
    session.says("The clock of “Master” stopped coming", 15)
    notes = [data for data, _, _ in sent(session) if data[0] == ON]
    session.page.wait_for_timeout(500)
    assert [data for data, _, _ in sent(session) if data[0] == ON] == notes and notes
    arrive(session, "Master", (0xFC,))
    session.until("() => !hypermeter.sound.isPlaying", 5)
    arrive(session, "Master", (0xF2, 32, 0), (0xFB,))
    session.page.evaluate("() => { midi.tick(port('Master'), 90) }")
    session.until("() => hypermeter.sound.step >= 34", 10)
    session.page.click("#later-ms")
    session.says("5 ms later than the clock")
    choose(session, "clock-from", "none: the tempo is the page’s")
    assert session.page.locator("#tempo").is_enabled()
    session.close()


def test_tap_tempo_and_nudge(chromium, host):
    session = with_midi(chromium, host)
    for _ in range(5):
        session.page.keyboard.press("t")
        session.page.wait_for_timeout(380)
    tempo = session.song()["tempo"]
    assert 120 < tempo < 160 and status(session) == f"{tempo:g} beats a minute"
    session.page.click("#later-ms")
    session.says("Nudge while it plays")
    session.page.click("#play")
    session.page.click("#later-ms")
    session.says("From here on 10 ms later")
    session.page.click("#play")
    session.close()


# ---------------------------------------------------------------------- knobs


def learn(session, selector, message):
    if session.page.get_attribute("#learn", "aria-pressed") == "false":
        session.page.click("#learn")
    session.page.click(selector)
    session.page.wait_for_timeout(30)
    arrive(session, "Pads", message)


def test_knobs_and_pads_are_learnt_for_any_control_and_kept_for_their_device(chromium, host):
    session = with_midi(chromium, host)
    before = session.song()
    learn(session, "#swing", (0xB0, 74, 10))
    assert session.says("Swing is moved by cc 74 channel 1")
    session.page.wait_for_timeout(700)
    learn(session, "#fill-in", (0x99, 49, 100))
    learn(session, "#style", (0xE0, 0, 64))
    learn(session, "[aria-label='Mute snare']", (0xB0, 20, 127))
    learn(session, "[aria-label='Volume of kick']", (0xB0, 21, 127))
    learn(session, "#tempo", (0xB0, 22, 1))
    session.page.keyboard.press("Escape")
    assert session.page.get_attribute("#learn", "aria-pressed") == "false"
    assert session.song()["hits"] == before["hits"]  # choosing a control does nothing else
    assert session.page.locator("#learnt li").count() == 6
    arrive(session, "Pads", (0xB0, 74, 127), (0xB0, 22, 0), (0xB0, 21, 64), (0xE0, 127, 127))
    assert session.page.input_value("#swing") == "100" and session.song()["tempo"] == 40
    mixer = session.page.evaluate("() => hypermeter.app.mixer")
    assert mixer["volumes"][0] == pytest.approx(0.63) and not mixer["muted"][1]
    assert session.page.input_value("#style") == str(len(session.page.query_selector_all("#style option")) - 1)
    arrive(session, "Pads", (0xB0, 20, 0), (0xB0, 20, 127), (0xB0, 20, 100), (0xB0, 20, 0))
    assert session.page.evaluate("() => hypermeter.app.mixer.muted[1]")  # pressed once
    arrive(session, "Pads", (0x99, 49, 90), (0x89, 49, 0))
    session.says("No bar is selected")
    arrive(session, "Master", (0xB0, 74, 0))
    assert session.page.input_value("#swing") == "100"  # another device
    kept = json.loads(session.page.evaluate("() => localStorage.getItem('hypermeter midi')"))
    assert kept["learnt"]["Roland/Pads"]["cc 74 channel 1"] == "swing"
    session.page.get_by_role("button", name="Forget cc 74 channel 1 of Pads for Swing").click()
    arrive(session, "Pads", (0xB0, 74, 0))
    assert session.page.input_value("#swing") == "100"
    session.page.click("#undo")
    assert session.song()["tempo"] != 40  # a knob that is turned is undone as one
    session.close()


def test_settings_are_there_after_a_reload_and_damaged_ones_do_no_harm(chromium, host):
    session = with_midi(chromium, host)
    choose(session, "out-to", "Synth")
    session.click("metronome")
    learn(session, "#play", (0x99, 50, 90))
    session.page.keyboard.press("Escape")
    session.page.evaluate("() => { navigator.permissions.query = async () => ({ state: 'granted' }) }")
    session.page.add_init_script("navigator.permissions.query = async () => ({ state: 'granted' })")
    session.page.reload()
    session.until("() => !!window.hypermeter")
    session.until("() => hypermeter.connections.ports.isConnected", 5)  # without a question
    session.page.click("#connections")
    assert session.page.input_value("#out-to") == json.dumps(
        {"name": "Synth", "manufacturer": "Maker"}, separators=(",", ":")
    )
    assert session.page.get_attribute("#metronome", "aria-pressed") == "true"
    arrive(session, "Pads", (0x99, 50, 90))
    session.until("() => hypermeter.sound.isPlaying", 5)
    damaged = '{"channel": 77, "out": 3, "learnt": {"x": {"cc 1": 5}}, "isHeard": false}'
    session.page.evaluate("(text) => localStorage.setItem('hypermeter midi', text)", damaged)
    session.page.reload()
    session.until("() => !!window.hypermeter")
    kept = session.page.evaluate("() => hypermeter.connections.kept")
    assert (kept["channel"], kept["out"], kept["learnt"], kept["isHeard"]) == (10, None, {}, False)
    session.close()


# ---------------------------------------------------------------------- the panel


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_the_panel_has_no_violations_and_fits(chromium, host, viewport, scheme):
    session = with_midi(chromium, host, viewport=viewport, color_scheme=scheme, has_touch=viewport == PHONE)
    learn(session, "#swing", (0xB0, 74, 10))
    session.page.click("#swing")
    session.page.wait_for_timeout(100)
    assert violations(session) == []
    wide = session.page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]
    small = session.page.evaluate(
        """() => [...document.querySelectorAll('#midi :is(button, select, input)')].filter((node) => node.offsetParent)
            .filter((node) => node.offsetHeight < 24 || node.offsetWidth < 24).map((node) => node.id)"""
    )
    assert small == []
    session.close()


def test_the_panel_is_used_by_keys_alone(chromium, host):
    session = with_midi(chromium, host, is_connected=False)
    page = session.page
    page.focus("#connections")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.focus("#midi-connect")
    page.keyboard.press("Enter")
    session.until("() => hypermeter.connections.ports.isConnected")
    seen = []
    page.focus("#pads-from")
    while page.evaluate("() => document.activeElement.closest('#midi') !== null"):
        seen.append(page.evaluate("() => document.activeElement.id"))
        page.keyboard.press("Tab")
    assert seen == page.evaluate(
        """() => [...document.querySelectorAll('#midi :is(select, button, input)')]
            .filter((node) => node.offsetParent).map((node) => node.id)"""
    )
    page.focus("#learn")
    page.keyboard.press("Enter")
    page.focus("#endless")
    arrive(session, "Pads", (0x99, 51, 80))
    assert session.says("Endless is moved by note 51")
    session.close()


# ---------------------------------------------------------------------- the system's MIDI


@pytest.mark.skipif(not Path("/dev/snd/seq").exists(), reason="no MIDI sequencer in this system (no /dev/snd/seq)")
def test_a_port_of_the_system_is_played_and_played_back(chromium, host):
    """A program makes an input and an output; the page plays the one, and records from the other."""
    mido = pytest.importorskip("mido")
    pytest.importorskip("rtmidi")
    if chromium.browser_type.name != "chromium":
        pytest.skip("permission is granted by Chromium's names")
    with mido.open_input("Test synth", virtual=True) as heard, mido.open_output("Test pads", virtual=True) as pads:
        session = Session(chromium, host, permissions=["midi", "midi-sysex"]).ready()
        session.page.click("#connections")
        session.page.click("#midi-connect")
        session.until("() => hypermeter.connections.ports.isConnected", 15)
        name = session.page.evaluate("() => hypermeter.connections.ports.of('output').map((port) => port.name)")
        choose(session, "out-to", next(each for each in name if "Test synth" in each))
        session.page.click("#send-clock")
        session.page.click("#record")
        session.until("() => hypermeter.sound.step >= 2", 20)
        before = session.hits.sum()
        pads.send(mido.Message("note_on", channel=9, note=51, velocity=99))
        session.until("() => hypermeter.sound.step >= 6", 20)
        session.page.click("#play")
        session.page.wait_for_timeout(500)
        kinds = [message.type for message in heard.iter_pending()]
        assert kinds.count("note_on") > 3 and kinds.count("clock") > 20 and "start" in kinds and "stop" in kinds
        assert session.hits.sum() == before + 1
        session.close()

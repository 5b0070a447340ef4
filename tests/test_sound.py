"""The synthesised kit and its mix: what is heard, when, how loud and how bright."""

import shutil
import subprocess
import sys
import wave
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from hypermeter import cli
from hypermeter.cli.demo import read_corpus
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import KITS, Kit, Voice, load_kit
from hypermeter.core.pitch_map import load_map
from hypermeter.core.read_options import ReadOptions
from hypermeter.core.strokes import Chokes, Strokes
from hypermeter.io.midi import to_midi_bytes, write_midi
from hypermeter.io.midi.content import load_midi
from hypermeter.share.sound import SAMPLE_RATE, Hit, Score, mix, render_wav, score_of, to_wav, voice_samples
from hypermeter.share.sound.channels import with_pitches
from hypermeter.share.sound.drums import coefficients, drums, filtered, noise, sound_name, sounds_of
from hypermeter.share.sound.mix import bass_samples, limited
from hypermeter.share.sound.render import score_of_midi
from hypermeter.share.sound.wav import from_wav_bytes
from midi_bytes import hit, midi, track

SOUND_FONTS = [Path("/usr/share/sounds/sf2/TimGM6mb.sf2"), Path("/usr/share/sounds/sf2/default-GM.sf2")]
SOUNDS = [name for name, voice in drums()["voices"].items() if "same_as" not in voice]


def share(samples, low_hz=0.0, high_hz=np.inf):
    """Of the energy, what is between two frequencies."""
    energy = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    return energy[(hz >= low_hz) & (hz < high_hz)].sum() / energy.sum()


def groove_of(cells, steps=16, tempo_bpm=120.0, **options):
    """A groove of gm10 with hits at (step, voice, velocity, offset)."""
    hits, velocity, offset = (np.zeros((steps, 10)) for _ in range(3))
    for step, voice, loud, off in cells:
        column = load_kit("gm10").names.index(voice)
        hits[step, column], velocity[step, column], offset[step, column] = 1, loud, off
    return Groove(hits, velocity, offset, tempo_bpm, **options)


def onsets(samples):
    """Samples at which sound begins after silence."""
    loud = np.abs(samples).max(1) > 1e-4 if samples.ndim == 2 else np.abs(samples) > 1e-4
    return np.flatnonzero(loud)


@pytest.mark.parametrize("name", SOUNDS)
def test_a_voice_is_as_drums_json_says_to_the_sample(name):
    expected, samples = drums()["voices"][name]["check"], voice_samples(name, 0.8)
    assert len(samples) == expected["length"] and len(expected["samples"]) > 3
    assert np.abs(samples).max() == pytest.approx(expected["peak"], abs=1e-6)
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(expected["rms"], abs=1e-6)
    for place, value in expected["samples"].items():
        assert samples[int(place)] == pytest.approx(value, abs=1e-6), place


@pytest.mark.parametrize("name", SOUNDS)
def test_a_voice_sounds_at_once_and_dies_away(name):
    samples = voice_samples(name, 1.0)
    peak = np.abs(samples).max()
    assert 0.1 < peak < 1.5
    assert np.abs(samples[: int(0.02 * SAMPLE_RATE)]).max() > 0.1 * peak
    assert np.abs(samples[-100:]).max() < 1e-3 * peak


@pytest.mark.parametrize("name", SOUNDS)
def test_a_voice_is_louder_and_no_darker_the_harder_it_is_hit(name):
    loudness = [np.sqrt(np.sum(voice_samples(name, velocity) ** 2)) for velocity in (0, 0.1, 0.3, 0.6, 1.0)]
    assert loudness[0] == 0 and all(soft < hard for soft, hard in pairwise(loudness))
    assert loudness[-1] / loudness[1] > 10


def test_a_hard_hit_is_brighter():
    for name, above_hz in (("kick", 500), ("snare", 2000), ("low_tom", 1000), ("crash", 2000)):
        soft, hard = (share(voice_samples(name, velocity), above_hz) for velocity in (0.2, 1.0))
        assert hard > soft, name


@pytest.mark.parametrize(
    ("name", "low_hz", "high_hz", "least"),
    [
        ("kick", 0, 150, 0.8),
        ("low_tom", 50, 250, 0.8),
        ("high_tom", 120, 450, 0.8),
        ("closed_hat", 5000, np.inf, 0.8),
        ("pedal_hat", 5000, np.inf, 0.7),
        ("open_hat", 5000, np.inf, 0.8),
        ("crash", 3000, np.inf, 0.8),
        ("ride", 3000, np.inf, 0.7),
        ("snare", 120, 450, 0.15),
        ("snare", 1000, np.inf, 0.3),
    ],
)
def test_spectra_are_those_of_drums(name, low_hz, high_hz, least):
    assert share(voice_samples(name, 0.8), low_hz, high_hz) > least


def test_toms_are_tuned_from_low_to_high_and_an_open_hat_is_longer_than_a_closed_one():
    def pitch(name):
        samples = voice_samples(name, 0.8)
        return np.argmax(np.abs(np.fft.rfft(samples))) * SAMPLE_RATE / len(samples)

    assert pitch("low_floor_tom") < pitch("low_tom") < pitch("mid_tom") < pitch("high_tom")
    quiet = [np.flatnonzero(np.abs(voice_samples(name, 0.8)) > 0.01)[-1] for name in ("closed_hat", "open_hat")]
    assert quiet[1] > 4 * quiet[0]


@pytest.mark.parametrize("kit", KITS)
def test_every_voice_of_a_shipped_kit_has_a_sound_of_its_own_name(kit):
    assert set(load_kit(kit).names) <= set(drums()["voices"])
    assert "default" not in sounds_of(load_kit(kit))


def test_a_voice_of_another_kit_sounds_as_its_pitch_or_as_the_default():
    kit = Kit("mine", (Voice("boom", (36,), 36), Voice("tick", (42,), 42), Voice("zap", (27,), 27)))
    assert sounds_of(kit) == ["kick", "closed_hat", "default"]
    assert sound_name("ride_1") == "ride"
    with pytest.raises(HypermeterError, match="no voice 'gong'"):
        voice_samples("gong", 1)


def test_noise_is_the_generator_that_the_page_has():
    def sfc32(a, b, c, counter):
        while True:
            t = (a + b + counter) % 2**32
            counter = (counter + 1) % 2**32
            a = b ^ (b >> 9)
            b = (c + (c << 3)) % 2**32
            c = (((c << 21) | (c >> 11)) % 2**32 + t) % 2**32
            yield t

    numbers = sfc32(7, 0, 0, 1)
    wanted = [next(numbers) for _ in range(112)][12:]
    np.testing.assert_array_equal(noise(7, 100), np.array(wanted) / 2**31 - 1)
    samples = noise(1, 20000)
    assert abs(samples.mean()) < 0.02 and samples.std() == pytest.approx(3**-0.5, abs=0.01)


@pytest.mark.parametrize(
    ("kind", "passed_hz", "stopped_hz"), [("lowpass", 50, 8000), ("highpass", 8000, 50), ("bandpass", 1000, 15000)]
)
def test_a_filter_passes_what_it_should(kind, passed_hz, stopped_hz):
    shape = {"type": kind, "hz": 1000, "q": 0.707}
    n = np.arange(8192)
    gains = [
        np.abs(filtered(np.sin(2 * np.pi * hz * n / SAMPLE_RATE), [shape])[4096:]).max()
        for hz in (passed_hz, stopped_hz)
    ]
    assert gains[0] == pytest.approx(1, abs=0.02) and gains[1] < 0.15
    (b, (a1, a2)) = coefficients(shape)
    z = np.exp(-2j * np.pi * 1000 / SAMPLE_RATE)
    at_corner = abs((b[0] + b[1] * z + b[2] * z**2) / (1 + a1 * z + a2 * z**2))
    assert at_corner == pytest.approx(1 if kind == "bandpass" else 0.707, abs=1e-3)


def test_hits_sound_at_the_sample_of_their_step_and_offset():
    step = 60 / 120 / 4 * SAMPLE_RATE
    for start, offset in ((0, 0.0), (4, 0.0), (4, 0.25), (8, -0.5)):
        samples = mix(score_of(groove_of([(start, "snare", 1.0, offset)])))
        assert onsets(samples)[0] == pytest.approx((start + offset) * step, abs=20)
        assert len(samples) >= 16 * step


def test_a_hit_ahead_of_the_first_step_sounds_at_time_zero():
    assert onsets(mix(score_of(groove_of([(0, "kick", 1.0, -0.4)]))))[0] < 30


def test_other_metres_and_tempos_have_their_own_times():
    hits = np.zeros((12, 10))
    hits[6, 1] = 1
    samples = mix(score_of(Groove(hits, tempo_bpm=90, grid=Grid.of_metre("6/8", 2))))
    assert onsets(samples)[0] == pytest.approx(6 * 60 / 90 / 4 * SAMPLE_RATE, abs=20)


def test_a_louder_hit_is_louder_in_the_mix():
    loudness = [np.abs(mix(score_of(groove_of([(0, "snare", velocity, 0)])))).max() for velocity in (0.2, 0.5, 1.0)]
    assert loudness[0] < loudness[1] < loudness[2]


@pytest.mark.parametrize("by", ["closed_hat", "pedal_hat", "open_hat"])
def test_a_hat_silences_the_open_hat(by):
    later = int(1.0 * SAMPLE_RATE)
    alone = mix(Score([Hit(0.0, "open_hat", 1.0)]))
    both = mix(Score([Hit(0.0, "open_hat", 1.0), Hit(0.5, by, 0.05)]))
    np.testing.assert_allclose(both[: SAMPLE_RATE // 2], alone[: SAMPLE_RATE // 2], atol=1e-6)
    rest = both[later : later + 4410] if len(both) > later else np.zeros((1, 2))
    assert np.sqrt(np.mean(alone[later : later + 4410] ** 2)) > 4 * np.sqrt(np.mean(rest**2))


def test_a_hat_silences_neither_a_ride_nor_a_hat_at_the_same_time():
    def energy(*hits):
        return float(np.sum(mix(Score([*hits])) ** 2))

    ride, hat = Hit(0.0, "ride", 1.0), Hit(0.2, "closed_hat", 0.0)
    assert energy(ride, hat) == pytest.approx(energy(ride))
    assert energy(Hit(0.2, "open_hat", 1.0), hat) == pytest.approx(energy(Hit(0.2, "open_hat", 1.0)))


def test_every_stroke_of_a_cell_is_heard():
    groove = groove_of([(4, "snare", 1.0, 0.0)], strokes=Strokes([4, 4], [1, 1], [-0.4, -0.2], [0.3, 0.5]))
    hits = score_of(groove).hits
    assert [hit.time_s for hit in hits] == pytest.approx([0.45, 0.475, 0.5])
    assert [hit.velocity for hit in hits] == pytest.approx([0.3, 0.5, 1.0])
    assert onsets(mix(score_of(groove)))[0] == pytest.approx(0.45 * SAMPLE_RATE, abs=60)
    assert {hit.time_s for hit in score_of_midi(to_midi_bytes(groove), "a.mid")[0].hits} == {0.45, 0.475, 0.5}


def rms_s(score, start_s, end_s):
    """Root mean square of a score between two times."""
    return float(np.sqrt(np.mean(mix(score)[round(start_s * SAMPLE_RATE) : round(end_s * SAMPLE_RATE)] ** 2)))


def test_an_open_hat_rings_the_shorter_the_further_its_pedal_is_down():
    rings = [
        rms_s(Score([Hit(0.0, "open_hat", 1.0, openness)], length_s=1), 0.1, 0.3) for openness in (0.3, 0.6, 1, None)
    ]
    assert rings[0] < rings[1] / 2 < rings[2] / 4 and rings[2] == rings[3]
    openness = np.full((16, 10), np.nan)
    openness[0, 4] = 1 - 64 / 127
    groove = groove_of([(0, "open_hat", 1.0, 0.0)], openness=openness)
    (hit,), (again,) = score_of(groove).hits, score_of_midi(to_midi_bytes(groove), "a.mid")[0].hits
    assert hit.openness == pytest.approx(again.openness) == pytest.approx(1 - 64 / 127)


def test_the_pedal_that_goes_down_silences_the_open_hat():
    events = [(0, b"\xb9\x04\x00"), *hit(0, 46), (240, b"\xb9\x04\x5a"), (250, b"\xb9\x04\x5b"), *hit(480, 38)]
    score, _ = score_of_midi(midi(track(*events)), "a.mid")
    assert [(stop.time_s, stop.sound) for stop in score.stops] == [(0.25, "open_hat")]
    ringing = replace(score, stops=[])
    assert rms_s(score, 0, 0.2) == pytest.approx(rms_s(ringing, 0, 0.2))
    assert rms_s(score, 0.35, 0.45) < 0.1 * rms_s(ringing, 0.35, 0.45)


def test_a_choke_stops_its_cymbal_and_no_other():
    groove = groove_of([(0, "crash", 1.0, 0.0), (0, "ride", 1.0, 0.0)])
    choked = replace(groove, chokes=Chokes([4], [8], [0.0]))
    assert rms_s(score_of(choked), 1.0, 1.5) < rms_s(score_of(groove), 1.0, 1.5)
    alone = score_of(groove_of([(0, "ride", 1.0, 0.0)]))
    assert rms_s(score_of(choked), 1.0, 1.5) == pytest.approx(rms_s(alone, 1.0, 1.5), rel=0.05)
    score, _ = score_of_midi(to_midi_bytes(choked), "a.mid")
    assert [stop.time_s for stop in score.stops] == [0.5]
    loop = to_wav(choked, is_loop=True)
    assert len(loop) == len(to_wav(groove, is_loop=True)) and loop != to_wav(groove, is_loop=True)


def test_everything_at_once_does_not_clip_and_a_soft_sound_is_left_as_it_is():
    everything = Score([Hit(0.0, name, 1.0) for name in SOUNDS] * 2)
    assert 0.9 < np.abs(mix(everything)).max() <= 1
    samples = np.linspace(-5, 5, 1001)
    bent, threshold = limited(samples), drums()["limiter_threshold"]
    assert np.abs(bent).max() <= 1 and (np.diff(bent) >= 0).all()
    soft = np.abs(samples) <= threshold
    np.testing.assert_array_equal(bent[soft], samples[soft].astype(np.float32))


def test_the_kit_is_spread_a_little_and_the_kick_is_in_the_middle():
    def sides(name):
        return np.sqrt(np.sum(mix(Score([Hit(0.0, name, 0.6)])).astype(float) ** 2, axis=0))

    left, right = sides("kick")
    assert left == pytest.approx(right, rel=0.02)
    assert sides("closed_hat")[0] > 1.1 * sides("closed_hat")[1]
    assert sides("ride")[1] > 1.1 * sides("ride")[0]


def test_a_bass_note_has_its_pitch_and_ends_with_it():
    samples = bass_samples(45, SAMPLE_RATE)
    assert np.argmax(np.abs(np.fft.rfft(samples, 2**17))) * SAMPLE_RATE / 2**17 == pytest.approx(110, abs=1)
    assert np.abs(samples[-5:]).max() < 0.01 and len(samples) == SAMPLE_RATE + round(0.03 * SAMPLE_RATE)


def test_a_bass_track_is_heard_beside_the_drums():
    codes = np.zeros(16, np.int16)
    codes[4:8] = 36, 1, 1, 1
    groove = Groove(np.zeros((16, 10)), tracks={"bass": codes})
    samples = mix(score_of(groove))
    step = groove.step_duration_s * SAMPLE_RATE
    assert onsets(samples)[0] == pytest.approx(4 * step, abs=60)
    assert np.abs(samples[int(8.5 * step + 20000) :]).max() < 0.01


def test_a_wav_is_read_as_it_was_mixed(tmp_path):
    groove = read_corpus()["funk-1"]
    path = render_wav(groove, tmp_path / "new" / "a.wav")
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, SAMPLE_RATE)
    samples, rate = from_wav_bytes(path.read_bytes())
    np.testing.assert_allclose(samples, mix(score_of(groove)), atol=1 / 32767)
    assert rate == SAMPLE_RATE and 0.02 < samples.std() < 0.3
    assert len(samples) >= len(groove) * groove.step_duration_s * SAMPLE_RATE - 1
    assert [each.name for each in path.parent.iterdir()] == ["a.wav"]
    assert to_wav(groove) == path.read_bytes() == render_wav(groove, tmp_path / "b.wav").read_bytes()


def test_half_the_rate_keeps_what_is_below_and_nothing_above_folds_down():
    house = read_corpus()["house-1"]
    groove = replace(house, **{name: getattr(house, name)[:32] for name in ("hits", "velocity", "offset")})
    whole, half = (from_wav_bytes(to_wav(groove, rate_hz=rate, is_mono=True)) for rate in (44100, 22050))
    assert half[1] == 22050 and half[0].shape == (-(-len(whole[0]) // 2), 1)
    low = [
        np.abs(np.fft.rfft(samples[:, 0], 2**18 // scale))[:25000] * scale
        for (samples, _), scale in ((whole, 1), (half, 2))
    ]
    assert np.linalg.norm(low[0] - low[1]) / np.linalg.norm(low[0]) < 0.02
    with pytest.raises(HypermeterError, match="rate is 8000 Hz, expected one of 44100, 48000, 22050"):
        to_wav(groove_of([]), rate_hz=8000)


def test_48_khz_sounds_the_same_and_adds_nothing_above():
    samples, fine = (
        from_wav_bytes(to_wav(groove_of([(0, "snare", 1, 0), (6, "ride", 0.6, 0)]), rate_hz=rate, is_mono=True))
        for rate in (44100, 48000)
    )
    assert fine[1] == 48000 and len(fine[0]) == -(-len(samples[0]) * 160 // 147)
    parts = len(samples[0]) // 147
    seconds = parts / 300
    spectra = [np.fft.rfft(wav[: parts * size, 0]) / size for (wav, _), size in ((samples, 147), (fine, 160))]
    low = int(18_000 * seconds)
    assert np.linalg.norm(spectra[0][:low] - spectra[1][:low]) < 0.01 * np.linalg.norm(spectra[0][:low])
    assert np.linalg.norm(spectra[1][int(22_100 * seconds) :]) < 1e-3 * np.linalg.norm(spectra[1])


@pytest.mark.parametrize("rate", [44100, 48000, 22050])
@pytest.mark.parametrize(("tempo", "steps"), [(97.3, 16), (120, 20)])  # a bar at 120 is a whole number of samples
def test_a_loop_is_its_bars_to_the_sample_and_goes_on_as_the_pattern_played_twice_does(rate, tempo, steps):
    cells = [(0, "kick", 1, 0), (4, "snare", 0.8, 0.2), (14, "open_hat", 1, 0), (15, "crash", 1, 0)]
    groove = groove_of([*cells, (1, "closed_hat", 0.7, 0)], steps, tempo)
    bars_s = -(-steps // 16) * 4 * 60 / tempo
    loop, _ = from_wav_bytes(to_wav(groove, rate_hz=rate, is_loop=True))
    assert len(loop) == round(bars_s * rate)
    if tempo == 120:
        again = Groove(*(np.tile(np.pad(a, ((0, -steps % 16), (0, 0))), (3, 1)) for a in arrays_of(groove)), tempo)
        played, _ = from_wav_bytes(to_wav(again, rate_hz=rate))
        np.testing.assert_allclose(loop, played[2 * len(loop) : 3 * len(loop)], atol=2e-3)
    once, _ = from_wav_bytes(to_wav(groove, rate_hz=rate))
    assert np.abs(loop[: rate // 10] - once[: rate // 10]).max() > 0.01  # the crash rings on into the beginning


def arrays_of(groove):
    return groove.hits, groove.velocity, groove.offset


def test_silence_is_as_long_as_the_groove():
    samples, _ = from_wav_bytes(to_wav(groove_of([])))
    assert not samples.any() and len(samples) == round(2 * SAMPLE_RATE)
    assert len(from_wav_bytes(to_wav(groove_of([], steps=0)))[0]) == 0


def test_what_cannot_be_rendered_is_said_in_one_line(tmp_path):
    with pytest.raises(HypermeterError, match=r"a piece of .* minutes, expected at most 20"):
        render_wav(groove_of([], steps=16000, tempo_bpm=100), tmp_path / "a.wav")
    with pytest.raises(HypermeterError, match="groove of 9 voices, but kit gm10 has 10"):
        to_wav(Groove(np.zeros((16, 9))))
    (tmp_path / "file").write_text("")
    with pytest.raises(HypermeterError, match="cannot be written"):
        render_wav(groove_of([]), tmp_path / "file" / "a.wav")
    for content in (b"RIFF", b"", b"RIFF0000WAVEfmt "):
        (tmp_path / "font.sf2").write_bytes(content)
        with pytest.raises(HypermeterError, match=r"font.sf2: not a sound font"):
            render_wav(groove_of([]), tmp_path / "a.wav", tmp_path / "font.sf2")
    with pytest.raises(HypermeterError, match=r"none.sf2: cannot be read"):
        render_wav(groove_of([]), tmp_path / "a.wav", tmp_path / "none.sf2")
    assert not (tmp_path / "a.wav").exists()


def test_without_fluidsynth_a_line_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "font.sf2").write_bytes(b"RIFF0000sfbkLIST")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(HypermeterError, match="needs the fluidsynth command, which is not installed"):
        render_wav(groove_of([]), tmp_path / "a.wav", tmp_path / "font.sf2")


@pytest.fixture
def sound_font():
    fonts = [each for each in SOUND_FONTS if each.exists()]
    if not fonts or not shutil.which("fluidsynth"):
        pytest.skip("needs fluidsynth and a General MIDI sound font")
    return fonts[0]


def test_a_sound_font_plays_the_same_onsets(tmp_path, sound_font):
    groove = groove_of([(4, "snare", 1.0, 0), (12, "kick", 1.0, 0)])
    samples, rate = from_wav_bytes(render_wav(groove, tmp_path / "a.wav", sound_font).read_bytes())
    assert rate == SAMPLE_RATE and samples.shape[1] == 2
    assert onsets(samples)[0] == pytest.approx(0.5 * SAMPLE_RATE, abs=500)
    assert np.abs(samples).max() > 0.05
    samples, rate = from_wav_bytes(to_wav(groove, sound_font, 22050, is_mono=True))
    assert rate == 22050 and samples.shape[1] == 1


def test_a_loop_by_a_sound_font_is_its_bars_to_the_sample(sound_font):
    groove = groove_of([(0, "kick", 1, 0), (15, "crash", 1.0, 0)], tempo_bpm=97.3)
    loop, once = (from_wav_bytes(to_wav(groove, sound_font, 48000, is_loop=is_loop))[0] for is_loop in (True, False))
    assert len(loop) == round(4 * 60 / 97.3 * 48000)
    assert np.abs(loop[:4800] - once[:4800]).max() > 0.01


def test_a_sound_font_that_is_damaged_is_refused(tmp_path, sound_font):
    (tmp_path / "font.sf2").write_bytes(sound_font.read_bytes()[:5000])
    with pytest.raises(HypermeterError, match=r"font.sf2: fluidsynth failed \(SoundFont file size mismatch\)"):
        to_wav(groove_of([(0, "kick", 1, 0)]), tmp_path / "font.sf2")


def test_a_midi_file_sounds_as_the_groove_that_it_was_written_from(tmp_path):
    hits = [(0, "kick", 1.0, 0), (5, "snare", 0.5, 0.25), (8, "open_hat", 0.7, -0.2)]
    groove = groove_of(hits, tempo_bpm=100, tracks={"bass": np.array([40, 1, 0, 0] * 4, np.int16)})
    score, lines = score_of_midi(to_midi_bytes(groove), "a.mid")
    assert not lines
    for found, wanted in zip(score.hits, score_of(groove).hits):
        assert found.sound == wanted.sound
        assert found.time_s == pytest.approx(wanted.time_s, abs=0.002)
        assert found.velocity == pytest.approx(wanted.velocity, abs=0.004)
    for found, wanted in zip(score.notes, score_of(groove).notes):
        assert (found.pitch, found.time_s) == (wanted.pitch, pytest.approx(wanted.time_s, abs=0.002))
        assert found.end_s == pytest.approx(wanted.end_s, abs=0.002)
    assert len(score.hits) == 3 and len(score.notes) == 4


def test_a_change_of_tempo_is_followed_and_flams_are_kept(tmp_path):
    import symusic

    score = symusic.Score(480)
    score.tempos.extend([symusic.Tempo(0, 120.0), symusic.Tempo(960, 60.0)])
    drum, piano = symusic.Track("drums", 0, True), symusic.Track("piano", 0, False)
    for tick in (0, 20, 960, 1440):
        drum.notes.append(symusic.Note(tick, 10, 38, 100))
    piano.notes.append(symusic.Note(0, 480, 60, 100))
    score.tracks.extend([drum, piano])
    found, lines = score_of_midi(score.dumps_midi(), "a.mid")
    assert [hit.time_s for hit in found.hits] == pytest.approx([0, 20 / 960, 1.0, 2.0])
    assert lines == ["a.mid: not played: piano; a --sound-font plays every part"]
    score.tracks.pop(0)
    with pytest.raises(HypermeterError, match="neither drums on channel 10 nor a bass"):
        score_of_midi(score.dumps_midi(), "a.mid")


def test_a_gm_sound_that_the_kit_of_ten_has_not_is_heard_as_itself(tmp_path):
    hits = np.zeros((16, 47))
    hits[0, load_kit("gm").names.index("cowbell")] = 1
    score, _ = score_of_midi(to_midi_bytes(Groove(hits, kit="gm")), "a.mid")
    assert [hit.sound for hit in score.hits] == ["cowbell"]


def test_sound_notation_and_display_start_without_torch_and_matplotlib():
    code = "import sys, hypermeter.share.sound, hypermeter.io.notation, hypermeter.share.display; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "hypermeter.share.sound.mix" in done.stdout
    assert not {"torch", "matplotlib", "lightning"} & set(done.stdout.split())


def test_the_command_renders_midi_and_code(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_midi(read_corpus()["rock-1"], "beat.mid")
    Path("beat.tidal").write_text('d1 $ s "bd*4, ~ sd ~ sd"')
    for source in ("beat.mid", "beat.tidal"):
        assert cli.main(["render", source, "beat.wav", "--mono", "--rate", "22050"]) == 0
        assert capsys.readouterr().out == "beat.wav\n"
        samples, rate = from_wav_bytes(Path("beat.wav").read_bytes())
        assert rate == 22050 and samples.shape[1] == 1 and np.abs(samples).max() > 0.3
    for arguments, said in (
        (["beat.mid", "beat.mp3"], "beat.mp3: expected a name that ends in .wav"),
        (["gone.mid", "beat.wav"], "gone.mid: cannot be read"),
        (["beat.wav", "other.wav"], "beat.wav: not a MIDI file"),
        (["beat.mid", "beat.wav", "--rate-hz", "8000"], "rate is 8000 Hz"),
        (["beat.mid", "beat.wav", "--swing", ".9"], "swing is 0.9"),
    ):
        assert cli.main(["render", *arguments]) == 2
        assert said in capsys.readouterr().err


def test_the_command_renders_loops_and_swing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    silent_at_the_end = groove_of([(1, "snare", 1, 0), (16, "kick", 1, 0)], 48, 100)
    write_midi(silent_at_the_end, "beat.mid")
    Path("beat.txt").write_text(
        "tempo 100, metre 3/4, 4 steps a beat, phrases of 4\nkick |x..x....x...|x..x....x..x|\n"
    )
    for source, bars_s in (("beat.mid", 3 * 2.4), ("beat.txt", 2 * 1.8)):
        assert cli.main(["render", source, "loop.wav", "--loop", "--rate", "48000"]) == 0
        samples, rate = from_wav_bytes(Path("loop.wav").read_bytes())
        assert rate == 48000 and len(samples) == round(bars_s * 48000)
    for swing, place in ((".5", 1), (".75", 1.5)):
        assert cli.main(["render", "beat.mid", "swung.wav", "--swing", swing]) == 0
        samples, _ = from_wav_bytes(Path("swung.wav").read_bytes())
        assert onsets(samples)[0] == pytest.approx(place * 0.15 * SAMPLE_RATE, abs=60)


def drum_notes_of(content):
    drums = load_midi(content, "a.mid").drums
    return sorted(map(tuple, drums.T.tolist()))


def groove_of_a_device(map_name):
    hits = np.zeros((64, 10))
    hits[::4, 0] = hits[4::8, 1] = hits[::2, 4] = 1
    return to_midi_bytes(Groove(hits, kit=f"gm10:{map_name}")), to_midi_bytes(Groove(hits))


@pytest.mark.parametrize("map_name", ["superior3", "addictive2", "td17"])
def test_a_device_sounds_by_its_map_as_general_midi_does(map_name):
    of_device, of_gm = groove_of_a_device(map_name)
    score, lines = score_of_midi(of_device, "a.mid", ReadOptions(map=map_name))
    assert score == score_of_midi(of_gm, "a.mid")[0] and not lines


def test_a_map_that_is_found_is_told_and_sounds():
    of_device, of_gm = groove_of_a_device("addictive2")
    assert score_of_midi(of_device, "a.mid")[0] != score_of_midi(of_gm, "a.mid")[0]
    score, lines = score_of_midi(of_device, "AD2 kit.mid", ReadOptions(map="auto"))
    assert "addictive2" in lines[0] and score == score_of_midi(of_gm, "a.mid")[0]


def test_a_sound_font_plays_a_device_by_its_map():
    of_device, of_gm = groove_of_a_device("addictive2")
    to_gm = np.array([load_map("addictive2").to_gm(pitch) for pitch in range(128)])
    notes = [drum_notes_of(content) for content in (with_pitches(of_device, to_gm), of_gm)]
    assert notes[0] == notes[1] != drum_notes_of(of_device)

"""The level of rendered files: gain, peak and loudness, and that nothing clips."""

import math
import shutil
import warnings
from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypermeter import cli
from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.share.sound import render_midi, render_wav, to_wav
from hypermeter.share.sound.font import font_samples
from hypermeter.share.sound.level import LOUDNESS_LUFS, PEAK_DB, Level, loudness_of, set_level
from hypermeter.share.sound.wav import RATES, from_wav_bytes

SOUND_FONTS = [Path("/usr/share/sounds/sf2/TimGM6mb.sf2"), Path("/usr/share/sounds/sf2/default-GM.sf2")]
RATE = 44100


def sine(hz, seconds=5, rate_hz=RATE, amplitude=1.0):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)


def loud_groove():
    """Kick, snare, hat and crash at full velocity on each beat, more than full scale before the limiter."""
    hits = np.zeros((8, 10))
    hits[::4, [0, 1, 2, 8]] = 1
    return Groove(hits, velocity=hits)


def peak_db(content):
    return 20 * math.log10(np.abs(from_wav_bytes(content)[0]).max())


def bytes_of(path):
    return from_wav_bytes(path.read_bytes())[0]


@pytest.fixture
def sound_font():
    fonts = [font for font in SOUND_FONTS if font.exists()]
    if not fonts or not shutil.which("fluidsynth"):
        pytest.skip("needs fluidsynth and a General MIDI sound font")
    return fonts[0]


@pytest.fixture
def song(tmp_path):
    """Loud chords of strings and brass, a bass and drums: together far above full scale at any usual gain."""
    midi = mido.MidiFile(ticks_per_beat=480)
    for channel, program, pitches in (
        (0, 48, (48, 55, 60, 64)),
        (1, 61, (60, 64, 67)),
        (2, 33, (36,)),
        (9, 0, (36, 49)),
    ):
        track = mido.MidiTrack([mido.Message("program_change", channel=channel, program=program)])
        for _ in range(4):
            for pitch in pitches:
                track.append(mido.Message("note_on", channel=channel, note=pitch, velocity=127))
            for number, pitch in enumerate(pitches):
                track.append(mido.Message("note_off", channel=channel, note=pitch, time=0 if number else 480))
        midi.tracks.append(track)
    midi.save(tmp_path / "song.mid")
    return tmp_path / "song.mid"


# ---------------------------------------------------------------------- loudness


def test_loudness_is_that_of_the_recommendation():
    """The first is the calibration of ITU-R BS.1770; the others are of pyloudnorm 0.1.1 with its filters "DeMan"."""
    left = np.stack([sine(997, rate_hz=48000), np.zeros(5 * 48000)], 1)
    assert loudness_of(left, 48000) == pytest.approx(-3.01, abs=0.005)
    low = np.stack([sine(50, amplitude=0.5)] * 2, 1)
    assert loudness_of(low, RATE) == pytest.approx(-10.643, abs=0.002)
    noise = np.random.default_rng(0).normal(size=(RATE * 5, 2)) * 0.1
    loudness = loudness_of(noise, RATE)
    assert loudness_of(noise / 2, RATE) == pytest.approx(loudness - 20 * math.log10(2))
    pauses = np.concatenate([noise, np.zeros((RATE * 20, 2)), 1e-3 * noise])  # neither silence nor whispers count
    assert loudness_of(pauses, RATE) == pytest.approx(loudness, abs=0.15)


def test_short_and_silent_sounds_have_a_loudness():
    assert loudness_of(np.zeros((RATE, 2)), RATE) == loudness_of(np.zeros((0, 1)), RATE) == -math.inf
    short = np.stack([sine(997, 0.2)] * 2, 1)
    assert loudness_of(short, RATE) == pytest.approx(0 - 10 * math.log10(2), abs=0.2)  # half a block of it


# ---------------------------------------------------------------------- level


@settings(deadline=None, max_examples=50)
@given(
    loud=st.floats(1e-4, 30),
    gain_db=st.floats(-60, 60),
    normalize=st.sampled_from(["none", "peak", "loudness"]),
    sides=st.integers(1, 2),
)
def test_no_sample_exceeds_full_scale_and_what_was_lowered_is_reported(loud, gain_db, normalize, sides):
    samples = loud * np.random.default_rng(0).uniform(-1, 1, (RATE // 2, sides))
    levelled, lines = set_level(samples, RATE, Level(gain_db, normalize))
    peak, new_peak = (20 * math.log10(np.abs(part).max()) for part in (samples, levelled))
    assert new_peak <= 1e-9 and np.allclose(levelled * 10 ** ((peak - new_peak) / 20), samples)
    if lines:
        assert new_peak == pytest.approx(PEAK_DB) and "level lowered by" in lines[0]
    elif normalize == "none":
        assert new_peak == pytest.approx(peak + gain_db)
    elif normalize == "peak":
        assert new_peak == pytest.approx(PEAK_DB + gain_db)
    else:
        loudness = loudness_of(levelled, RATE)
        assert loudness == pytest.approx(LOUDNESS_LUFS + gain_db, abs=0.05) or loudness < -60


def test_what_needs_no_other_level_stays_to_the_last_bit_and_silence_stays_silent():
    samples = np.random.default_rng(0).uniform(-1, 1, (100, 2))
    same, lines = set_level(samples, RATE, Level())
    assert same is samples and not lines
    for normalize in ("none", "peak", "loudness"):
        for silence in (np.zeros((RATE, 2)), np.zeros((0, 2))):
            levelled, lines = set_level(silence, RATE, Level(6.0, normalize))
            assert levelled.shape == silence.shape and not levelled.any() and not lines


def test_the_line_says_by_how_much():
    samples = np.full((10, 1), 10 ** (3 / 20))
    assert set_level(samples, RATE, Level())[1] == ["level lowered by 4.0 dB, or it would clip by 3.0 dB"]
    assert set_level(samples, RATE, Level(2.0))[1] == ["level lowered by 6.0 dB, or it would clip by 5.0 dB"]
    assert set_level(samples, RATE, Level(-3.5))[1] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gain_db": 61}, "gain_db is 61, expected -60 to 60"),
        ({"gain_db": math.nan}, "gain_db is nan"),
        ({"normalize": "rms"}, "normalize is 'rms', expected none, peak, loudness"),
    ],
)
def test_a_level_out_of_its_bounds_is_refused(options, words):
    with pytest.raises(HypermeterError, match=words):
        to_wav(Groove(np.zeros((16, 10))), **options)


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("rate_hz", "is_mono", "is_loop"),
    [*((rate_hz, False, False) for rate_hz in RATES), (48000, True, False), (22050, True, True)],
)
def test_the_synthesised_kit_does_not_clip_in_any_format(rate_hz, is_mono, is_loop, recwarn, tmp_path):
    samples = bytes_of(render_wav(loud_groove(), tmp_path / "a.wav", None, rate_hz, is_mono, is_loop))
    assert 0.9 < np.abs(samples).max() < 1 and not recwarn.list
    assert np.abs(samples[: rate_hz // 10]).max() > 0.5  # the first beat is as loud as the others


@pytest.mark.parametrize("rate_hz", [44100, 22050])
@pytest.mark.parametrize("is_mono", [False, True])
def test_normalising_means_the_same_in_every_format(rate_hz, is_mono):
    soft = Groove(np.eye(32, 10), velocity=0.3 * np.eye(32, 10))
    content = to_wav(soft, None, rate_hz, is_mono, gain_db=-5.0, normalize="peak")
    assert peak_db(content) == pytest.approx(PEAK_DB - 5, abs=0.01)
    content = to_wav(soft, None, rate_hz, is_mono, gain_db=-8.0, normalize="loudness")
    assert loudness_of(*from_wav_bytes(content)) == pytest.approx(LOUDNESS_LUFS - 8, abs=0.02)
    plain, louder = (to_wav(soft, None, rate_hz, is_mono, gain_db=gain_db) for gain_db in (0.0, 6.0))
    assert peak_db(louder) - peak_db(plain) == pytest.approx(6, abs=0.01)


def test_python_warns_where_the_level_was_lowered(tmp_path):
    with pytest.warns(UserWarning, match=r"a.wav: level lowered by .* dB, or it would clip by .* dB") as caught:
        render_wav(loud_groove(), tmp_path / "a.wav", gain_db=12)
    assert [warning.filename for warning in caught] == [__file__]
    assert peak_db((tmp_path / "a.wav").read_bytes()) == pytest.approx(PEAK_DB, abs=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        render_wav(loud_groove(), tmp_path / "a.wav", gain_db=-12)


@pytest.mark.parametrize("is_loop", [False, True])
def test_a_song_by_a_sound_font_does_not_clip_and_says_so(song, sound_font, tmp_path, is_loop):
    assert np.abs(font_samples(song.read_bytes(), sound_font)).max() > 1.2
    (line,) = render_midi(song, tmp_path / "a.wav", sound_font, is_loop=is_loop)
    assert line.startswith(f"{tmp_path / 'a.wav'}: level lowered by ")
    samples = bytes_of(tmp_path / "a.wav")
    assert np.abs(samples).max() == pytest.approx(10 ** (PEAK_DB / 20), abs=1e-4)
    assert render_midi(song, tmp_path / "b.wav", sound_font, is_loop=is_loop, gain_db=-12) == []
    softer = bytes_of(tmp_path / "b.wav")
    scale = np.abs(samples).max() / np.abs(softer).max()
    assert np.abs(scale * softer - samples).max() < 1e-3  # one gain for the whole file, nothing bent


def test_the_levels_of_a_sound_font_are_those_of_the_kit(song, sound_font, tmp_path):
    for options, expected in (({"normalize": "peak"}, PEAK_DB), ({"normalize": "peak", "gain_db": -3}, PEAK_DB - 3)):
        assert render_midi(song, tmp_path / "a.wav", sound_font, **options) == []
        assert peak_db((tmp_path / "a.wav").read_bytes()) == pytest.approx(expected, abs=0.01)
    lines = render_midi(song, tmp_path / "a.wav", sound_font, normalize="loudness", gain_db=-10)
    assert lines == [] and loudness_of(bytes_of(tmp_path / "a.wav"), RATE) == pytest.approx(
        LOUDNESS_LUFS - 10, abs=0.02
    )


def test_the_command_sets_the_level(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("beat.tidal").write_text('d1 $ s "bd*4, ~ sd ~ sd"')
    assert cli.main(["render", "beat.tidal", "beat.wav", "--normalize", "peak", "--gain-db", "-4"]) == 0
    assert capsys.readouterr().out == "beat.wav\n"
    assert peak_db(Path("beat.wav").read_bytes()) == pytest.approx(PEAK_DB - 4, abs=0.01)
    assert cli.main(["render", "beat.tidal", "beat.wav", "--normalize", "peak", "--gain-db", "5"]) == 0
    assert capsys.readouterr().out == ("beat.wav: level lowered by 5.0 dB, or it would clip by 4.0 dB\nbeat.wav\n")
    assert peak_db(Path("beat.wav").read_bytes()) == pytest.approx(PEAK_DB, abs=0.01)
    assert cli.main(["render", "beat.tidal", "beat.wav", "--gain-db", "100"]) == 2
    assert "gain_db is 100.0, expected -60 to 60" in capsys.readouterr().err

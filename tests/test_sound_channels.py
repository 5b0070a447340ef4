"""A sound font plays the drums that are read as drums, whatever their channel."""

import shutil
from pathlib import Path

import mido
import numpy as np
import pytest

from hypermeter.core.read_options import ReadOptions
from hypermeter.share.sound import render_midi
from hypermeter.share.sound.channels import drums_on_channel_10
from hypermeter.share.sound.wav import from_wav_bytes

SOUND_FONTS = [Path("/usr/share/sounds/sf2/TimGM6mb.sf2"), Path("/usr/share/sounds/sf2/default-GM.sf2")]
BEAT = [(42, 240), (36, 0), (38, 240), (42, 240), (36, 240)]
GS_MELODY_ON_10 = mido.Message("sysex", data=[0x41, 0x10, 0x42, 0x12, 0x40, 0x10, 0x15, 0x00, 0x1B])
GM2_MELODY_ON_10 = [mido.Message("control_change", channel=9, control=0, value=121)]


def track_of(name, channel, notes, *setup):
    """A track of notes (pitch, ticks since the one before), each a sixteenth long, in running status."""
    track = mido.MidiTrack([mido.MetaMessage("track_name", name=name), *setup])
    late = 0
    for pitch, after in notes:
        track.append(mido.Message("note_on", channel=channel, note=pitch, velocity=100, time=max(after - late, 0)))
        track.append(mido.Message("note_on", channel=channel, note=pitch, velocity=0, time=120))
        late = 120
    return track


def save(path, *tracks):
    midi = mido.MidiFile(ticks_per_beat=480)
    midi.tracks.extend(tracks)
    midi.save(path)
    return path


def note_channels(path, content):
    """The channels, from 1, of the notes of each track."""
    path.write_bytes(content)
    return [{m.channel + 1 for m in track if m.type == "note_on"} for track in mido.MidiFile(path).tracks]


@pytest.fixture
def sound_font():
    fonts = [font for font in SOUND_FONTS if font.exists()]
    if not fonts or not shutil.which("fluidsynth"):
        pytest.skip("needs fluidsynth and a General MIDI sound font")
    return fonts[0]


def test_a_file_of_general_midi_stays_as_it_is(tmp_path):
    song = save(tmp_path / "a.mid", track_of("Piano", 0, [(60, 0)]), track_of("Drums", 9, BEAT)).read_bytes()
    assert drums_on_channel_10(song, "a.mid") == (song, [])


def test_drums_of_another_channel_move_to_ten_and_nothing_else_changes(tmp_path):
    song = save(tmp_path / "a.mid", track_of("Piano", 1, [(60, 0)]), track_of("Drums", 0, BEAT)).read_bytes()
    moved, (line,) = drums_on_channel_10(song, "a.mid")
    assert note_channels(tmp_path / "b.mid", moved) == [{2}, {10}] and line.startswith("a.mid: ") and "Drums" in line
    messages = [
        [[m.copy(channel=0) if not m.is_meta else m for m in track] for track in mido.MidiFile(path).tracks]
        for path in (tmp_path / "a.mid", tmp_path / "b.mid")
    ]
    assert messages[0] == messages[1]


@pytest.mark.parametrize("setup", [[GS_MELODY_ON_10], GM2_MELODY_ON_10], ids=["GS", "GM2"])
def test_a_melody_on_channel_ten_moves_away(tmp_path, setup):
    piano = track_of("Piano", 9, [(36, 0), (43, 240)], *setup)
    song = save(tmp_path / "a.mid", piano, track_of("Drums", 0, BEAT)).read_bytes()
    moved, _ = drums_on_channel_10(song, "a.mid", ReadOptions(channel=1))
    assert note_channels(tmp_path / "b.mid", moved) == [{2}, {10}]
    assert not [m for track in mido.MidiFile(tmp_path / "b.mid").tracks for m in track if m.type == "sysex"]


def test_the_channel_of_the_options_is_that_of_the_drums(tmp_path):
    song = save(tmp_path / "a.mid", track_of("One", 2, BEAT), track_of("Two", 3, BEAT)).read_bytes()
    moved, _ = drums_on_channel_10(song, "a.mid", ReadOptions(channel=3))
    assert note_channels(tmp_path / "b.mid", moved) == [{10}, {4}]


def test_a_sound_font_plays_drums_of_channel_one_as_those_of_channel_ten(tmp_path, sound_font):
    sounds = []
    for channel in (9, 0):
        song = save(tmp_path / f"{channel}.mid", track_of("Drums", channel, BEAT))
        lines = render_midi(song, tmp_path / "a.wav", sound_font)
        assert len(lines) == (channel == 0)
        sounds.append(from_wav_bytes((tmp_path / "a.wav").read_bytes())[0])
    assert np.array_equal(*sounds) and np.abs(sounds[0]).max() > 0.05

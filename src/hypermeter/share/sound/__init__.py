"""Grooves and MIDI files as sound: with a synthesised kit, or with a sound font that the user names."""

from hypermeter.share.sound.drums import SAMPLE_RATE, sound_name, voice_samples
from hypermeter.share.sound.mix import Hit, Note, Score, mix, score_of
from hypermeter.share.sound.render import render_midi, render_wav, to_wav

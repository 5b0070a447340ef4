#!/usr/bin/env bash
# A drum pattern of eight note-ons without note-offs is empty to symusic 0.6.0, miditoolkit 1.0.1, pretty_midi
# 0.2.11, partitura 1.9.0 and music21 10.5.1; muspy 0.5.0 reads eight notes.
#
# Guess before: all six read eight notes. A Standard MIDI File need not hold a note-off for each note-on, a synthesiser
# plays such a drum in full, and a library can end the note with the track, at the next stroke, or after some length.
# Seen: all but muspy drop every note whose end they do not find, and none of them prints a warning about it. Of 742
# files from public repositories with notes on channel 10, 122 (of five repositories) have no note-off at all.
# Fails if any of the six reads another number of notes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet symusic==0.6.0 miditoolkit==1.0.1 pretty_midi==0.2.11.post0 partitura==1.9.0 \
    music21==10.5.1 muspy==0.5.0 mido==1.3.3 setuptools
cat >hits.py <<'PYTHON'
import warnings

warnings.simplefilter("ignore")
import miditoolkit
import mido
import music21
import muspy
import partitura
import pretty_midi
import symusic

KICK, SNARE = 36, 38
track = mido.MidiTrack()
for beat in range(8):
    pitch = SNARE if beat % 2 else KICK
    track.append(mido.Message("note_on", channel=9, note=pitch, velocity=90, time=480 if beat else 0))
track.append(mido.MetaMessage("end_of_track", time=480))
mido.MidiFile(type=0, ticks_per_beat=480, tracks=[track]).save("hits.mid")

print("symusic", sum(len(track.notes) for track in symusic.Score("hits.mid").tracks))
print("miditoolkit", sum(len(track.notes) for track in miditoolkit.MidiFile("hits.mid").instruments))
print("pretty_midi", sum(len(track.notes) for track in pretty_midi.PrettyMIDI("hits.mid").instruments))
print("partitura", sum(len(part.notes) for part in partitura.load_performance_midi("hits.mid")))
print("music21", len(music21.converter.parse("hits.mid").flatten().notes))
print("muspy", sum(len(track.notes) for track in muspy.read_midi("hits.mid").tracks))
PYTHON
env/bin/python hits.py 2>errors | tee seen || { cat errors >&2; exit 1; }
diff seen <(printf 'symusic 0\nmiditoolkit 0\npretty_midi 0\npartitura 0\nmusic21 0\nmuspy 8\n')

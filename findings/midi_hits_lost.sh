#!/usr/bin/env bash
# Of five valid drum hits, pretty_midi 0.2.11 reads four and partitura 1.9.0 three; symusic 0.6.0 and miditoolkit 1.0.1
# read all.
#
# Guess before: all four libraries read every note of a MIDI file in which each note-on is followed by its note-off. A
# note that ends at the tick at which it begins, as drum triggers write it, has the length 0. Where a pitch is struck
# again before it was released, each note-off ends the note that began first.
# Seen: pretty_midi drops the note of length 0. partitura keeps one open note for each pitch, so the second stroke
# replaces the first, which is lost, also where the release of the first is written after the second stroke of the same
# tick. Neither prints a warning about it.
# Fails if any of the four reads another number of notes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet symusic==0.6.0 pretty_midi==0.2.11.post0 miditoolkit==1.0.1 partitura==1.9.0 mido==1.3.3 setuptools
cat >hits.py <<'PYTHON'
import warnings

warnings.simplefilter("ignore")
import miditoolkit
import mido
import partitura
import pretty_midi
import symusic

KICK, SNARE, HAT = 36, 38, 42
events = [  # tick, pitch, velocity; velocity 0 is a note-off
    (0, KICK, 80), (0, KICK, 0),  # a note of length 0
    (480, SNARE, 60), (600, SNARE, 90), (720, SNARE, 0), (840, SNARE, 0),  # struck again before it is released
    (960, HAT, 70), (1200, HAT, 75), (1200, HAT, 0), (1440, HAT, 0),  # released at the tick of the next stroke
]  # fmt: skip
track, now = mido.MidiTrack(), 0
for tick, pitch, velocity in events:
    track.append(
        mido.Message("note_on" if velocity else "note_off", channel=9, note=pitch, velocity=velocity, time=tick - now)
    )
    now = tick
mido.MidiFile(type=0, ticks_per_beat=480, tracks=[track]).save("hits.mid")

print("symusic", sum(len(track.notes) for track in symusic.Score("hits.mid").tracks))
print("miditoolkit", sum(len(track.notes) for track in miditoolkit.MidiFile("hits.mid").instruments))
print("pretty_midi", sum(len(track.notes) for track in pretty_midi.PrettyMIDI("hits.mid").instruments))
print("partitura", sum(len(part.notes) for part in partitura.load_performance_midi("hits.mid")))
PYTHON
env/bin/python hits.py | tee seen
diff seen <(printf 'symusic 5\nmiditoolkit 5\npretty_midi 4\npartitura 3\n')

#!/usr/bin/env bash
# Reading and writing a MIDI file with pretty_midi 0.2.11 changes the tempo of 33 of the 200 files whose tempo is a whole
# number of beats a minute from 40 to 239.
#
# Guess before: a tempo in MIDI is a whole number of microseconds a quarter, so a file that is read and written without a
# change keeps it.
# Seen: pretty_midi stores the tempo as seconds a tick and rounds it down when it writes, so that it loses a microsecond
# for 33 of the tempos. Some lose another one at each further pass: 133 bpm, 451,128 microseconds, is 451,125 after
# twenty. mido, symusic and miditoolkit keep all tempos.
# Fails if another number of tempos changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet pretty_midi==0.2.11.post0 mido==1.3.3 symusic==0.6.0 miditoolkit==1.0.1 setuptools
cat >tempo.py <<'PYTHON'
import io
import warnings

warnings.simplefilter("ignore")
import miditoolkit
import mido
import pretty_midi
import symusic


def file_of(tempo):
    messages = [mido.MetaMessage("set_tempo", tempo=tempo), mido.Message("note_on", note=60)]
    track = mido.MidiTrack([*messages, mido.Message("note_off", note=60, time=480)])
    return written(mido.MidiFile(type=0, ticks_per_beat=480, tracks=[track]).save)


def written(save):
    buffer = io.BytesIO()
    save(file=buffer)
    return buffer.getvalue()


def tempo_of(content):
    (tempo,) = [
        message.tempo
        for track in mido.MidiFile(file=io.BytesIO(content)).tracks
        for message in track
        if message.type == "set_tempo"
    ]
    return tempo


def by_pretty_midi(content):
    buffer = io.BytesIO()
    pretty_midi.PrettyMIDI(io.BytesIO(content)).write(buffer)
    return buffer.getvalue()


PASSES = {
    "mido": lambda content: written(mido.MidiFile(file=io.BytesIO(content)).save),
    "symusic": lambda content: symusic.Score.from_midi(content).dumps_midi(),
    "miditoolkit": lambda content: written(miditoolkit.MidiFile(file=io.BytesIO(content)).dump),
    "pretty_midi": by_pretty_midi,
}
TEMPOS = [round(60_000_000 / bpm) for bpm in range(40, 240)]
for name, read_and_write in PASSES.items():
    changed = sum(tempo_of(read_and_write(file_of(tempo))) != tempo for tempo in TEMPOS)
    print(f"{name}: {changed} of {len(TEMPOS)} changed")
content = file_of(451_128)
for _ in range(20):
    content = by_pretty_midi(content)
print(f"451128 after twenty passes: {tempo_of(content)}")
PYTHON
env/bin/python tempo.py | tee seen
diff seen - <<'SEEN'
mido: 0 of 200 changed
symusic: 0 of 200 changed
miditoolkit: 0 of 200 changed
pretty_midi: 33 of 200 changed
451128 after twenty passes: 451125
SEEN

"""Grooves and MIDI files to WAV, and the ``render`` command."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write, check_out
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.core.tracks import BASS
from hypermeter.io.midi import to_midi_bytes
from hypermeter.io.midi.content import load_score
from hypermeter.io.midi.read import read_content
from hypermeter.io.notation import is_text, read_text
from hypermeter.share.sound.drums import SAMPLE_RATE, sounds_of
from hypermeter.share.sound.font import font_wav_bytes
from hypermeter.share.sound.mix import Hit, Note, Score, mix, score_of
from hypermeter.share.sound.wav import from_wav_bytes, to_wav_bytes


def to_wav(
    groove: Groove, sound_font: str | Path | None = None, rate_hz: int = SAMPLE_RATE, is_mono: bool = False
) -> bytes:
    """The content of the file that ``render_wav`` writes."""
    if sound_font is None:
        return to_wav_bytes(mix(score_of(groove)), rate_hz, is_mono)
    return _with_font(to_midi_bytes(groove), sound_font, rate_hz, is_mono)


def render_wav(
    groove: Groove,
    path: str | Path,
    sound_font: str | Path | None = None,
    rate_hz: int = SAMPLE_RATE,
    is_mono: bool = False,
) -> Path:
    """A groove as a WAV file of 16 bits, its bass with it; the same groove gives the same file.

    Args:
        groove: hits are heard with their velocity and offset; one ahead of the first step, at time zero.
        path: to write.
        sound_font: an SF2 or SF3 file, which the fluidsynth command plays; None takes the synthesised kit.
        rate_hz: 44100 or 22050.
        is_mono: both sides in one.

    Raises:
        HypermeterError: a piece of more than 20 minutes, a rate or path that will not do, a sound font that cannot be
            played.
    """
    check_out(path, (".wav",), [sound_font])
    content = to_wav(groove, sound_font, rate_hz, is_mono)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return Path(path)


def render_midi(
    midi: str | Path,
    path: str | Path,
    sound_font: str | Path | None = None,
    rate_hz: int = SAMPLE_RATE,
    is_mono: bool = False,
) -> list[str]:
    """A MIDI file as WAV at its own times, in any metre and with its changes of tempo; on no grid.

    The synthesised kit plays the drums of channel 10 and the notes of bass programs; a sound font, everything.

    Returns:
        A line for what is not heard.

    Raises:
        HypermeterError: as ``read_midi`` of the file, and as ``render_wav``.
    """
    check_out(path, (".wav",), [midi, sound_font])
    content, lines = read_content(Path(midi)), []
    if sound_font is None:
        score, lines = score_of_midi(content, str(midi))
        wav = to_wav_bytes(mix(score), rate_hz, is_mono)
    else:
        wav = _with_font(content, sound_font, rate_hz, is_mono)
    with atomic_write(path) as temporary:
        temporary.write_bytes(wav)
    return lines


def _with_font(midi: bytes, sound_font: str | Path, rate_hz: int, is_mono: bool) -> bytes:
    samples, _ = from_wav_bytes(font_wav_bytes(midi, Path(sound_font)))
    return to_wav_bytes(samples, rate_hz, is_mono)


def score_of_midi(content: bytes, where: str) -> tuple[Score, list[str]]:
    """The drums and basses of a MIDI file, and a line for the parts that no voice plays.

    Raises:
        HypermeterError: not MIDI, or neither drums nor bass in it.
    """
    midi, (ticks, pitches, velocities, _), _ = load_score(content, where)
    seconds = _seconds_of(midi, where)
    kit = load_kit("gm")
    sounds = [*sounds_of(kit), "default"]
    hits = [
        Hit(time, sounds[kit.columns[pitch]], velocity / 127)
        for time, pitch, velocity in zip(seconds(ticks).tolist(), pitches.tolist(), velocities.tolist(), strict=True)
    ]
    notes, other = [], []
    for track in midi.tracks:
        if track.is_drum or not len(track.notes):
            continue
        if not BASS.programs[0] <= track.program <= BASS.programs[1]:
            other.append(track.name or f"program {track.program}")
            continue
        found = track.notes.numpy()
        begin, end = seconds(found["time"]), seconds(found["time"] + found["duration"])
        parts = begin.tolist(), end.tolist(), found["pitch"].tolist(), (found["velocity"] / 127).tolist()
        notes += [Note(*each) for each in zip(*parts, strict=True)]
    if not hits and not notes:
        raise HypermeterError(f"{where}: neither drums on channel 10 nor a bass; name a --sound-font to hear the rest")
    lines = [f"{where}: not heard: {', '.join(other)}; a --sound-font plays every part"] if other else []
    return Score(hits, notes), lines


def _seconds_of(midi: Any, where: str) -> Any:
    """A function from ticks to seconds, along the file's tempos."""
    tempos = {0: 120.0} | {each.time: each.qpm for each in midi.tempos}
    starts = np.array(sorted(tempos), np.float64)
    bpm = np.array([tempos[each] for each in sorted(tempos)])
    if not ((bpm > 0) & np.isfinite(bpm)).all():
        raise HypermeterError(f"{where}: a tempo of {bpm.min():g}, expected more than 0; repair the file")
    per_tick = 60 / bpm / midi.ticks_per_quarter
    begun = np.concatenate([[0.0], np.cumsum(np.diff(starts) * per_tick[:-1])])

    def seconds(ticks: np.ndarray) -> np.ndarray:
        at = np.searchsorted(starts, ticks, side="right") - 1
        return begun[at] + (ticks - starts[at]) * per_tick[at]

    return seconds


def render_command(
    source: Annotated[Path, tyro.conf.arg(metavar="IN")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    sound_font: Path | None = None,
    rate_hz: int = SAMPLE_RATE,
    mono: bool = False,
) -> Path:
    """Play a MIDI file into a WAV file, with a synthesised kit or a sound font.

    Args:
        source: MIDI file, in any metre, with any changes of tempo; or a groove as text, .txt, .tidal or .strudel.
        out: WAV file to write.
        sound_font: SF2 or SF3 file, played by the fluidsynth command; left out, drums and bass are synthesised.
        rate_hz: 44100 or 22050.
        mono: whether to write one channel, not two.

    Raises:
        HypermeterError: a file that cannot be read, written or played.
    """
    if is_text(source):
        return render_wav(read_text(source), out, sound_font, rate_hz, mono)
    for line in render_midi(source, out, sound_font, rate_hz, mono):
        print(line)
    return out

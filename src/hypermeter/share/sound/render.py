"""Grooves and MIDI files to WAV."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write, check_out
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, load_kit
from hypermeter.core.kit_choice import best_map
from hypermeter.core.pitch_map import load_map
from hypermeter.core.read_options import ReadOptions
from hypermeter.core.tracks import BASS
from hypermeter.io.midi import to_midi_bytes
from hypermeter.io.midi.bars import metres_of
from hypermeter.io.midi.content import MidiFile, load_midi
from hypermeter.io.midi.read import read_content
from hypermeter.io.midi.swing import swing_midi
from hypermeter.play.request import check
from hypermeter.share.sound.channels import drums_on_channel_10, with_pitches
from hypermeter.share.sound.drums import SAMPLE_RATE, sounds_of
from hypermeter.share.sound.font import font_samples
from hypermeter.share.sound.level import Level, Normalize, set_level
from hypermeter.share.sound.mix import (
    CLOSED,
    OPEN_HAT,
    Hit,
    Note,
    Score,
    Stop,
    end_of,
    known,
    limited,
    mix_unlimited,
    room_samples,
    score_of,
)
from hypermeter.share.sound.wav import check_rate, resampled, to_wav_bytes


@dataclass(frozen=True)
class WavOptions:
    """How music becomes a WAV file.

    Args:
        sound_font: an SF2 or SF3 file, which the fluidsynth command plays; None takes the synthesised kit.
        rate_hz: 44100, 48000 or 22050.
        is_mono: write one channel, the mean of both sides.
        is_loop: write exactly the bars of the music; what rings on after them sounds at the beginning.
        level: of what is written.
        drums: how the drums of a MIDI file are found.

    Raises:
        HypermeterError: another rate.
    """

    sound_font: str | Path | None = None
    rate_hz: int = SAMPLE_RATE
    is_mono: bool = False
    is_loop: bool = False
    level: Level = field(default_factory=Level)
    drums: ReadOptions = ReadOptions()

    def __post_init__(self) -> None:
        check_rate(self.rate_hz)


def to_wav(
    groove: Groove,
    sound_font: str | Path | None = None,
    rate_hz: int = SAMPLE_RATE,
    is_mono: bool = False,
    is_loop: bool = False,
    gain_db: float = 0.0,
    normalize: Normalize = "none",
) -> bytes:
    """Return the content of the file that ``render_wav`` writes."""
    return _to_wav(groove, WavOptions(sound_font, rate_hz, is_mono, is_loop, Level(gain_db, normalize)))[0]


def _to_wav(groove: Groove, options: WavOptions) -> tuple[bytes, list[str]]:
    """Return the content of a WAV file, and a line if its level was lowered."""
    loop_s = groove.num_bars * groove.grid.steps_per_bar * groove.step_duration_s if options.is_loop else 0
    if options.sound_font is None:
        samples = _synthesised(score_of(groove), options.rate_hz, loop_s)
    else:
        general_midi = to_midi_bytes(groove, load_kit(groove.kit).without_map)
        samples = _by_font(general_midi, Path(options.sound_font), options.rate_hz, loop_s)
    return _finish(samples, options)


def _finish(samples: np.ndarray, options: WavOptions) -> tuple[bytes, list[str]]:
    """Return samples (samples, 2) as the content of a WAV file, and a line if their level was lowered."""
    if options.is_mono:
        samples = samples.mean(1, keepdims=True)
    samples, lines = set_level(samples, options.rate_hz, options.level)
    return to_wav_bytes(samples, options.rate_hz, from_hz=options.rate_hz), lines


def render_wav(
    groove: Groove,
    path: str | Path,
    sound_font: str | Path | None = None,
    rate_hz: int = SAMPLE_RATE,
    is_mono: bool = False,
    is_loop: bool = False,
    gain_db: float = 0.0,
    normalize: Normalize = "none",
) -> Path:
    """Write a groove as a WAV file of 16 bits, its tracks with it; the same groove gives the same file.

    Args:
        groove: hits sound with their velocity and offset; one ahead of the first step, at time zero.
        path: to write.
        sound_font: an SF2 or SF3 file, which the fluidsynth command plays; None takes the synthesised kit.
        rate_hz: 44100, 48000 or 22050.
        is_mono: write one channel.
        is_loop: write exactly the bars of the groove; what rings on after them sounds at the beginning.
        gain_db: dB that the level is raised by, in [-60, 60], after normalising. If the file would clip, its highest
            sample is lowered to -1 dB of full scale, and a warning says by how much.
        normalize: "none"; "peak", the highest sample at -1 dB; or "loudness", -16 LUFS by ITU-R BS.1770.

    Raises:
        HypermeterError: a piece of more than 20 minutes; a rate, gain or path that cannot be written; a sound font
            that cannot be played.
    """
    check_out(path, (".wav",), [sound_font])
    options = WavOptions(sound_font, rate_hz, is_mono, is_loop, Level(gain_db, normalize))
    content, lines = _to_wav(groove, options)
    for line in lines:
        warnings.warn(f"{path}: {line}", stacklevel=2)
    return _write(path, content)


def render_midi(
    midi: str | Path,
    path: str | Path,
    sound_font: str | Path | None = None,
    rate_hz: int = SAMPLE_RATE,
    is_mono: bool = False,
    is_loop: bool = False,
    swing: float = 0.5,
    gain_db: float = 0.0,
    normalize: Normalize = "none",
    options: ReadOptions = ReadOptions(),
) -> list[str]:
    """Write a MIDI file as WAV at its own times, in any metre and with its changes of tempo; on no grid.

    The synthesised kit plays the drums, as reading finds them, and the notes of bass programs; a sound font plays
    everything, the drums on channel 10. Arguments are those of ``render_wav``, ``swing``: where the second of two
    sixteenths begins, in [.5, .8], and ``options``: how the drums are found.

    Returns:
        Lines on how the drums were found, on the parts that are not played, and on a level that was lowered.

    Raises:
        HypermeterError: as ``read_midi`` of the file, and as ``render_wav``; a swing out of its bounds.
    """
    wav = WavOptions(sound_font, rate_hz, is_mono, is_loop, Level(gain_db, normalize), options)
    check_sound(path, [midi, sound_font], swing)
    return write_midi_sound(read_content(Path(midi)), str(midi), path, wav, swing)


def check_sound(path: str | Path, read: Iterable[str | Path | None], swing: float) -> None:
    """Raise ``HypermeterError`` if a file cannot be written so; ``read`` are the files that it may not replace."""
    check_out(path, (".wav",), read)
    check("swing", swing)


def write_midi_sound(content: bytes, where: str, path: str | Path, options: WavOptions, swing: float) -> list[str]:
    """Write the content of a MIDI file as WAV, as ``render_midi``; ``where`` is its name in errors."""
    content = swing_midi(content, where, swing)
    loop_s, lines = _loop_seconds(content, where) if options.is_loop else 0, []
    if options.sound_font is None:
        score, lines = score_of_midi(content, where, options.drums)
        samples = _synthesised(score, options.rate_hz, loop_s)
    else:
        to_gm, map_lines = _to_gm(load_midi(content, where, options.drums), where, options.drums)
        content, lines = drums_on_channel_10(content, where, options.drums)
        content, lines = with_pitches(content, to_gm), lines + map_lines
        samples = _by_font(content, Path(options.sound_font), options.rate_hz, loop_s)
    content, level_lines = _finish(samples, options)
    _write(path, content)
    return lines + [f"{path}: {line}" for line in level_lines]


def _write(path: str | Path, content: bytes) -> Path:
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return Path(path)


def _synthesised(score: Score, rate_hz: int, loop_s: float) -> np.ndarray:
    """Return the samples (samples, 2) of a score; of a loop, those of a round into which the ones before ring on."""
    if not loop_s:
        return limited(resampled(mix_unlimited(score), rate_hz))
    ring_s = (end_of(score) + len(room_samples())) / SAMPLE_RATE - loop_s
    before = max(int(np.ceil(ring_s / loop_s)), 0) * loop_s
    starts = np.arange(0, before + loop_s / 2, loop_s).tolist()
    hits = [replace(hit, time_s=hit.time_s + start) for start in starts for hit in score.hits]
    notes = [
        replace(note, time_s=note.time_s + start, end_s=note.end_s + start) for start in starts for note in score.notes
    ]
    stops = [replace(stop, time_s=stop.time_s + start) for start in starts for stop in score.stops]
    samples = limited(resampled(mix_unlimited(Score(hits, notes, before + loop_s, stops)), rate_hz))
    return _of_length(samples[round(before * rate_hz) :], round(loop_s * rate_hz))


def _by_font(midi: bytes, sound_font: Path, rate_hz: int, loop_s: float) -> np.ndarray:
    """Return the samples (samples, 2) of a MIDI file; of a loop, what rings on is added to its beginning."""
    samples = resampled(font_samples(midi, sound_font), rate_hz)
    if not loop_s:
        return samples
    length = round(loop_s * rate_hz)
    rounds = [_of_length(samples[start : start + length], length) for start in range(0, len(samples), length)]
    return np.sum(rounds, 0)


def _of_length(samples: np.ndarray, length: int) -> np.ndarray:
    return np.pad(samples[:length], ((0, max(length - len(samples), 0)), (0, 0)))


def score_of_midi(content: bytes, where: str, options: ReadOptions = ReadOptions()) -> tuple[Score, list[str]]:
    """Return the drums and basses of a MIDI file, and lines on how they were found, and the parts that no voice plays.

    Args:
        content: the bytes of the file.
        where: its name in errors.
        options: how the drums are found.

    Raises:
        HypermeterError: not MIDI, or neither drums nor bass in it.
    """
    midi = load_midi(content, where, options, in_full=True)
    ticks, pitches, velocities = midi.drums
    to_gm, map_lines = _to_gm(midi, where, options)
    pitches = to_gm[pitches]
    seconds = _seconds_of(midi, where)
    kit = load_kit("gm")
    sounds = [*sounds_of(kit), "default"]
    names = [sounds[column] for column in kit.columns[pitches].tolist()]
    values = seconds(ticks).tolist(), names, (velocities / 127).tolist(), known(_openness_at(midi, ticks))
    hits = [Hit(*stroke) for stroke in zip(*values, strict=True)]
    begins, ends, note_pitches, note_velocities, programs, _, tracks = midi.melody.notes
    is_bass = (BASS.programs[0] <= programs) & (programs <= BASS.programs[1])
    parts = seconds(begins), seconds(ends), note_pitches, note_velocities / 127
    notes = [Note(*values) for values in zip(*(part[is_bass].tolist() for part in parts), strict=True)]
    silent = dict.fromkeys(zip(tracks[~is_bass].tolist(), programs[~is_bass].tolist(), strict=True))
    other = list(dict.fromkeys(midi.melody.names[track] or f"program {program}" for track, program in silent))
    if not hits and not notes:
        raise HypermeterError(
            f"{where}: neither drums on channel 10 nor a bass; {midi.no_drums}; name the drums by --channel or --track,"
            " or a --sound-font to play the rest"
        )
    lines = [f"{where}: {remark}" for remark in midi.remarks] + map_lines
    lines += [f"{where}: not played: {', '.join(other)}; a --sound-font plays every part"] if other else []
    return Score(hits, notes, stops=_stops_of(midi, seconds, to_gm, kit, sounds)), lines


def _openness_at(midi: MidiFile, ticks: np.ndarray) -> np.ndarray:
    """Return how open the hi-hat is at ticks (N,), in [0, 1]; NaN where no controller says."""
    times, values = midi.pedal
    openness = np.append(1 - values / 127, np.nan)
    return openness[np.searchsorted(times, ticks, "right") - 1]


def _stops_of(
    midi: MidiFile,
    seconds: Callable[[np.ndarray], np.ndarray],
    to_gm: np.ndarray,
    kit: Kit,
    sounds: Sequence[str],
) -> list[Stop]:
    """Return the chokes of cymbals, and those of the open hi-hat where its pedal goes down."""
    ticks, pitches = midi.chokes
    names = [sounds[int(column)] for column in kit.columns[to_gm[pitches]]]
    stops = [Stop(time_s, name) for time_s, name in zip(seconds(ticks).tolist(), names, strict=True)]
    times, values = midi.pedal
    is_closed = 1 - values / 127 <= CLOSED
    closings = times[is_closed & ~np.append(False, is_closed[:-1])[: len(times)]]
    return stops + [Stop(time_s, OPEN_HAT) for time_s in seconds(closings).tolist()]


def _to_gm(midi: MidiFile, where: str, options: ReadOptions) -> tuple[np.ndarray, list[str]]:
    """Return (128,), the General MIDI pitch of each pitch by the map, and a line on a map that is found."""
    name, lines = options.map or "gm", []
    if name == "auto":
        name = best_map(np.bincount(midi.drums[1], minlength=128), (where,)).map
        lines = [f"{where}: drums of {load_map(name).title} ({name}), whose map fits best"]
    return np.array([load_map(name).to_gm(pitch) if name != "gm" else pitch for pitch in range(128)]), lines


def _loop_seconds(content: bytes, where: str) -> float:
    """Return the length of a MIDI file in whole bars: to the end of that in which the last note begins, or to the end
    of the file where that is on a bar line."""
    midi = load_midi(content, where, in_full=True)
    end, last_onset = midi.end, max(midi.drums[0].max(initial=0), midi.melody.notes[0].max(initial=0))
    metre = metres_of(midi, where, 1)[-1]
    bars_to_end = (end - metre.start) / metre.bar_ticks
    ends_on_line = abs(bars_to_end - round(bars_to_end)) * metre.bar_ticks < 1
    bars = max(metre.bars_until(last_onset) + 1, round(bars_to_end) if ends_on_line else 0)
    return float(_seconds_of(midi, where)(np.array(metre.start + bars * metre.bar_ticks)))


def _seconds_of(midi: MidiFile, where: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from ticks to seconds, along the file's tempos."""
    tempos = {0: 120.0} | dict(midi.tempos)
    starts = np.array(sorted(tempos), np.float64)
    bpm = np.array([tempos[tick] for tick in sorted(tempos)])
    if not ((bpm > 0) & np.isfinite(bpm)).all():
        raise HypermeterError(f"{where}: a tempo of {bpm.min():g}, expected more than 0; repair the file")
    per_tick = 60 / bpm / midi.ticks_per_quarter
    start_s = np.concatenate([[0.0], np.cumsum(np.diff(starts) * per_tick[:-1])])

    def seconds(ticks: np.ndarray) -> np.ndarray:
        at = np.searchsorted(starts, ticks, side="right") - 1
        return start_s[at] + (ticks - starts[at]) * per_tick[at]

    return seconds

"""Hits and notes, at times in seconds, as stereo samples."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import DEFAULT_VELOCITY, Groove
from hypermeter.core.kit import check_voices, load_kit
from hypermeter.core.strokes import Chokes
from hypermeter.core.tracks import HOLD
from hypermeter.share.sound.drums import (
    BLOCK,
    SAMPLE_RATE,
    drums,
    filtered,
    noise,
    sounds_of,
    voice_length,
    voice_samples,
)

MAX_MINUTES = 20
"""Longest piece that is mixed: its samples are in memory."""

INAUDIBLE = 1e-3
"""Samples after the last one that is larger are cut off."""

FADES = 8
"""A choked sound ends this many times ``choke_s`` after it is choked."""

RELEASE = round(0.03 * SAMPLE_RATE)
"""Samples in which a bass note fades after its end."""


CLOSED = 0.33
"""Openness up to which a hi-hat is closed: Roland's pads send .29 where the pedal is down."""

OPEN_HAT, CLOSED_RING_S = "open_hat", 0.06
"""The sound that rings as long as the hi-hat is open; closed, it fades so fast."""


@dataclass(frozen=True)
class Hit:
    """A stroke.

    Args:
        time_s: of its onset, in seconds.
        sound: a voice of drums.json.
        velocity: in [0, 1].
        openness: of a hi-hat, in [0, 1]; `None`, where it is not known, sounds as 1.
    """

    time_s: float
    sound: str
    velocity: float
    openness: float | None = None


@dataclass(frozen=True)
class Stop:
    """The time in seconds at which a voice of drums.json is choked."""

    time_s: float
    sound: str


@dataclass(frozen=True)
class Note:
    """A bass note: onset and end in seconds, MIDI pitch, and velocity in [0, 1]."""

    time_s: float
    end_s: float
    pitch: int
    velocity: float = DEFAULT_VELOCITY

    @property
    def length(self) -> int:
        """In samples, without its release."""
        return round((self.end_s - self.time_s) * SAMPLE_RATE)


@dataclass
class Score:
    """Hits, notes and chokes in any order; ``length_s`` is the least length of the sound."""

    hits: list[Hit] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    length_s: float = 0.0
    stops: list[Stop] = field(default_factory=list)


def score_of(groove: Groove) -> Score:
    """Return a groove's strokes, chokes and the notes of its tracks as they are played, none before time zero.

    Raises:
        HypermeterError: hits of another number of voices than the kit has.
    """
    kit, step_s = load_kit(groove.kit), groove.step_duration_s
    check_voices(kit, groove.hits.shape[1])
    sounds = sounds_of(kit)
    played, chokes = groove.played, groove.chokes

    def times(moments: Chokes) -> list[float]:
        return (np.maximum(moments.step + groove.shift + moments.offset.astype(np.float64), 0) * step_s).tolist()

    names = [sounds[column] for column in played.voice.tolist()]
    values = times(played), names, played.velocity.tolist(), known(played.openness)
    hits = [Hit(*stroke) for stroke in zip(*values, strict=True)]
    stops = [Stop(time_s, sounds[voice]) for time_s, voice in zip(times(chokes), chokes.voice.tolist(), strict=True)]
    notes = []
    for codes in groove.tracks.values():
        for step in np.flatnonzero(codes > HOLD).tolist():
            end = step + 1
            while end < len(codes) and codes[end] == HOLD:
                end += 1
            begin_s, end_s = (max(at + groove.shift, 0) * step_s for at in (step, end))
            notes.append(Note(begin_s, end_s, int(codes[step])))
    return Score(hits, notes, len(groove) * step_s, stops)


def known(values: np.ndarray) -> list[float | None]:
    """Return values as a list, with `None` in the place of NaN."""
    return [None if np.isnan(value) else value for value in values.tolist()]


def mix(score: Score) -> np.ndarray:
    """Return (samples, 2) in (-1, 1), float32 at 44.1 kHz: left and right, until the last sound has died away.

    A hit of a group, such as the hi-hats, silences the earlier ones of its group, and a choke those of its sound. An
    open hi-hat rings the shorter the further its pedal is down.

    Raises:
        HypermeterError: longer than ``MAX_MINUTES``.
    """
    return limited(mix_unlimited(score))


def mix_unlimited(score: Score) -> np.ndarray:
    """Return what ``mix`` limits, for another rate: it is limited there, or new samples between these would clip."""
    ends = [score.length_s, *(hit.time_s for hit in score.hits), *(note.end_s for note in score.notes)]
    if max(ends) > 60 * MAX_MINUTES:
        raise HypermeterError(
            f"a piece of {max(ends) / 60:.1f} minutes, expected at most {MAX_MINUTES} to be rendered; cut it in parts"
        )
    settings, length = drums(), end_of(score)
    mixed = np.zeros((length, 2), np.float32)
    for hit, choked_s in zip(score.hits, _choke_times(score.hits, score.stops), strict=True):
        samples = voice_samples(hit.sound, hit.velocity)
        if hit.sound == OPEN_HAT and hit.openness is not None and hit.openness < 1:
            samples = _half_open(samples, hit.openness)
        if choked_s < np.inf:
            samples = _choked(samples, round((choked_s - hit.time_s) * SAMPLE_RATE), settings["choke_s"])
        _add(mixed, hit.time_s, samples, settings["voices"][hit.sound]["pan"])
    for note in score.notes:
        _add(mixed, note.time_s, bass_samples(note.pitch, note.length, note.velocity), 0.0)
    mixed += in_the_room(mixed)
    mixed *= np.float32(settings["level"])
    last = np.flatnonzero((mixed > INAUDIBLE).any(1) | (mixed < -INAUDIBLE).any(1))[-1:]
    return mixed[: max(*(last + 1), round(score.length_s * SAMPLE_RATE), 0)]


def end_of(score: Score) -> int:
    """Return the sample, at 44.1 kHz, at which the last sound ends, without the room."""
    hits = (round(hit.time_s * SAMPLE_RATE) + voice_length(hit.sound) for hit in score.hits)
    notes = (round(note.time_s * SAMPLE_RATE) + note.length + RELEASE for note in score.notes)
    return max(round(score.length_s * SAMPLE_RATE), *hits, *notes, 0)


def _add(mixed: np.ndarray, time_s: float, samples: np.ndarray, pan: float) -> None:
    """Add a sound at its time and place, with the same power at each place."""
    start, angle = round(time_s * SAMPLE_RATE), (pan + 1) * np.pi / 4
    for side, gain in enumerate(np.sqrt(2) * np.array([np.cos(angle), np.sin(angle)])):
        mixed[start : start + len(samples), side] += gain * samples


def _choke_times(hits: Sequence[Hit], stops: Sequence[Stop]) -> list[float]:
    """Return when each hit is silenced, in seconds; infinity where no choke and none of its group comes later."""
    voices = drums()["voices"]
    times: dict[tuple[str, bool], list[float]] = {}  # By group, or by sound.
    for hit in hits:
        if group := voices[hit.sound].get("group"):
            times.setdefault((group, True), []).append(hit.time_s)
    for stop in stops:
        times.setdefault((stop.sound, False), []).append(stop.time_s)
    sorted_times = {key: np.append(np.unique(onsets), np.inf) for key, onsets in times.items()}
    never = np.array([np.inf])

    def next_after(hit: Hit, key: tuple[str, bool]) -> float:
        later = sorted_times.get(key, never)
        return float(later[np.searchsorted(later, hit.time_s, side="right")])

    return [
        min(next_after(hit, (voices[hit.sound].get("group", ""), True)), next_after(hit, (hit.sound, False)))
        for hit in hits
    ]


def _half_open(samples: np.ndarray, openness: float) -> np.ndarray:
    """Return an open hi-hat whose pedal is partly down: it fades at once where the hat is closed, and not if open."""
    share = min(max((openness - CLOSED) / (1 - CLOSED), 0.0), 1.0)
    return samples * np.exp(-(1 - share) * np.arange(len(samples)) / (CLOSED_RING_S * SAMPLE_RATE))


def _choked(samples: np.ndarray, after: int, choke_s: float) -> np.ndarray:
    """Return the sound up to ``after`` samples, and then fading."""
    fade = np.exp(-np.arange(round(FADES * choke_s * SAMPLE_RATE)) / (choke_s * SAMPLE_RATE))
    samples = samples[: after + len(fade)].copy()
    samples[after:] *= fade[: max(len(samples) - after, 0)]
    return samples


@lru_cache(maxsize=256)
def bass_samples(pitch: int, length: int, velocity: float = DEFAULT_VELOCITY) -> np.ndarray:
    """Return a plucked bass, (samples,): ``length`` samples and a release of 30 ms; higher harmonics decay faster.

    Args:
        pitch: MIDI pitch; 69 is 440 Hz.
        length: of the note, in samples.
        velocity: in [0, 1].
    """
    t = np.arange(length + RELEASE) / SAMPLE_RATE
    hz = 440 * 2 ** ((pitch - 69) / 12)
    tone = np.zeros(len(t))
    for harmonic in range(1, 13):
        if harmonic * hz < SAMPLE_RATE / 3:
            amplitude = velocity ** (0.15 * harmonic) / harmonic
            tone += amplitude * np.sin(2 * np.pi * harmonic * hz * t) * np.exp(-t * (0.9 + 1.1 * harmonic))
    tone = 0.38 * velocity**1.3 * np.tanh(1.2 * tone) * np.minimum(t / 0.004, 1)
    tone[length:] *= np.linspace(1, 0, RELEASE)
    tone.flags.writeable = False
    return tone


@cache
def room_samples() -> np.ndarray:
    """Return the impulse response of the room, (samples, 2), without the direct sound."""
    room = drums()["room"]
    n = np.arange(round(7 * room["decay_s"] * SAMPLE_RATE))
    fading = np.exp(-n / (room["decay_s"] * SAMPLE_RATE))
    sides = [filtered(noise(seed, len(n)), room["filters"]) * fading for seed in room["seeds"]]
    delay = np.zeros((round(room["delay_s"] * SAMPLE_RATE), 2))
    return np.concatenate([delay, room["gain"] * np.stack(sides, 1)])


def in_the_room(dry: np.ndarray) -> np.ndarray:
    """Return what the room adds to the samples, (samples, 2): their mean, convolved with each side of its response."""
    room = room_samples()
    mono, wet = dry.mean(1), np.zeros_like(dry)
    size = 2**17
    block = size - len(room) + 1
    response = np.fft.rfft(room, size, axis=0)
    for start in range(0, len(mono), block):
        spectrum = np.fft.rfft(mono[start : start + block], size)
        wet[start : start + size] += np.fft.irfft(spectrum[:, None] * response, size, axis=0)[: len(mono) - start]
    return wet


def limited(samples: np.ndarray) -> np.ndarray:
    """Return float32 samples in [-1, 1]: those past the threshold are bent towards 1, the others stay as they are."""
    threshold, out = drums()["limiter_threshold"], samples.astype(np.float32)
    above = 1 - threshold
    for start in range(0, len(samples), BLOCK):
        block = samples[start : start + BLOCK]
        size = np.abs(block)
        bent = np.sign(block) * (threshold + above * np.tanh(np.maximum(size - threshold, 0) / above))
        out[start : start + BLOCK] = np.where(size > threshold, bent, block)
    return out

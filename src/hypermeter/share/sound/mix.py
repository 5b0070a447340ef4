"""Hits and notes, at times in seconds, as stereo samples."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import DEFAULT_VELOCITY, Groove
from hypermeter.core.kit import check_voices, load_kit
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
"""What is left of the last sound below this is cut off."""

FADES = 8
"""A choked sound ends this many times ``choke_s`` after it is choked."""

RELEASE = round(0.03 * SAMPLE_RATE)
"""Samples in which a bass note fades after its end."""


@dataclass(frozen=True)
class Hit:
    """A stroke: a voice of drums.json, the time of its onset in seconds, and its velocity in [0, 1]."""

    time_s: float
    sound: str
    velocity: float


@dataclass(frozen=True)
class Note:
    """A bass note: onset and end in seconds, MIDI pitch, and velocity in [0, 1]."""

    time_s: float
    end_s: float
    pitch: int
    velocity: float = DEFAULT_VELOCITY

    @property
    def length(self) -> int:
        """In samples, without what is heard after its end."""
        return round((self.end_s - self.time_s) * SAMPLE_RATE)


@dataclass
class Score:
    """What is played, in any order; ``length_s`` is the least length of the sound."""

    hits: list[Hit] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    length_s: float = 0.0


def score_of(groove: Groove) -> Score:
    """A groove's hits at their steps and offsets, none before time zero, and the notes of its tracks.

    Raises:
        HypermeterError: hits of another number of voices than the kit has.
    """
    kit, step_s = load_kit(groove.kit), groove.step_duration_s
    check_voices(kit, groove.hits.shape[1])
    sounds = sounds_of(kit)
    steps, columns = np.nonzero(groove.hits)
    times = np.maximum(steps + groove.offset[steps, columns].astype(np.float64), 0) * step_s
    velocities = groove.velocity[steps, columns].tolist()
    hits = [Hit(t, sounds[c], v) for t, c, v in zip(times.tolist(), columns.tolist(), velocities, strict=True)]
    notes = []
    for codes in groove.tracks.values():
        for step in np.flatnonzero(codes > HOLD).tolist():
            end = step + 1
            while end < len(codes) and codes[end] == HOLD:
                end += 1
            notes.append(Note(step * step_s, end * step_s, int(codes[step])))
    return Score(hits, notes, len(groove) * step_s)


def mix(score: Score) -> np.ndarray:
    """(samples, 2) in (-1, 1), float32 at 44.1 kHz: left and right, until the last sound has died away.

    A hit of a group, as the hi-hats are one, silences the earlier ones of its group.

    Raises:
        HypermeterError: longer than ``MAX_MINUTES``.
    """
    ends = [score.length_s, *(hit.time_s for hit in score.hits), *(note.end_s for note in score.notes)]
    if max(ends) > 60 * MAX_MINUTES:
        raise HypermeterError(
            f"a piece of {max(ends) / 60:.1f} minutes, expected at most {MAX_MINUTES} to be rendered; cut it in parts"
        )
    said, length = drums(), round(max(ends) * SAMPLE_RATE)
    for hit in score.hits:
        length = max(length, round(hit.time_s * SAMPLE_RATE) + voice_length(hit.sound))
    for note in score.notes:
        length = max(length, round(note.time_s * SAMPLE_RATE) + note.length + RELEASE)
    heard = np.zeros((length, 2), np.float32)
    for hit, choked_s in zip(score.hits, _chokes(score.hits), strict=True):
        samples = voice_samples(hit.sound, hit.velocity)
        if choked_s < np.inf:
            samples = _choked(samples, round((choked_s - hit.time_s) * SAMPLE_RATE), said["choke_s"])
        _add(heard, hit.time_s, samples, said["voices"][hit.sound]["pan"])
    for note in score.notes:
        _add(heard, note.time_s, bass_samples(note.pitch, note.length, note.velocity), 0.0)
    heard += in_the_room(heard)
    for start in range(0, length, BLOCK):
        heard[start : start + BLOCK] = limited(said["level"] * heard[start : start + BLOCK])
    last = np.flatnonzero((heard > INAUDIBLE).any(1) | (heard < -INAUDIBLE).any(1))[-1:]
    return heard[: max(*(last + 1), round(score.length_s * SAMPLE_RATE), 0)]


def _add(heard: np.ndarray, time_s: float, samples: np.ndarray, pan: float) -> None:
    """Adds a sound at its time and place, with the same power wherever it stands."""
    start, angle = round(time_s * SAMPLE_RATE), (pan + 1) * np.pi / 4
    for side, gain in enumerate(np.sqrt(2) * np.array([np.cos(angle), np.sin(angle)])):
        heard[start : start + len(samples), side] += gain * samples


def _chokes(hits: Sequence[Hit]) -> list[float]:
    """When each hit is silenced, in seconds; infinity where none of its group comes later."""
    voices = drums()["voices"]
    times: dict[str, list[float]] = {}
    for hit in hits:
        if group := voices[hit.sound].get("group"):
            times.setdefault(group, []).append(hit.time_s)
    sorted_times = {group: np.unique(each) for group, each in times.items()}
    found = []
    for hit in hits:
        later = sorted_times.get(voices[hit.sound].get("group"), np.zeros(0))
        at = np.searchsorted(later, hit.time_s, side="right")
        found.append(float(later[at]) if at < len(later) else np.inf)
    return found


def _choked(samples: np.ndarray, after: int, choke_s: float) -> np.ndarray:
    """The sound until ``after`` samples, and then its fading."""
    fade = np.exp(-np.arange(round(FADES * choke_s * SAMPLE_RATE)) / (choke_s * SAMPLE_RATE))
    samples = samples[: after + len(fade)].copy()
    samples[after:] *= fade[: max(len(samples) - after, 0)]
    return samples


@lru_cache(maxsize=256)
def bass_samples(pitch: int, length: int, velocity: float = DEFAULT_VELOCITY) -> np.ndarray:
    """A plucked bass, (samples,): harmonics of which the higher ones decay faster; ``length`` samples, then 30 ms.

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
def _room() -> np.ndarray:
    """(samples, 2): what is heard of one sample in the room, after the sound itself."""
    said = drums()["room"]
    n = np.arange(round(7 * said["decay_s"] * SAMPLE_RATE))
    fading = np.exp(-n / (said["decay_s"] * SAMPLE_RATE))
    sides = [filtered(noise(seed, len(n)), said["filters"]) * fading for seed in said["seeds"]]
    wait = np.zeros((round(said["delay_s"] * SAMPLE_RATE), 2))
    return np.concatenate([wait, said["gain"] * np.stack(sides, 1)])


def in_the_room(dry: np.ndarray) -> np.ndarray:
    """What the room adds to the samples, (samples, 2): their mean through its two echoes."""
    room = _room()
    mono, wet = dry.mean(1), np.zeros_like(dry)
    size = 2**17
    block = size - len(room) + 1
    response = np.fft.rfft(room, size, axis=0)
    for start in range(0, len(mono), block):
        part = np.fft.rfft(mono[start : start + block], size)
        heard = np.fft.irfft(part[:, None] * response, size, axis=0)[: len(mono) - start]
        wet[start : start + size] += heard
    return wet


def limited(samples: np.ndarray) -> np.ndarray:
    """The samples within (-1, 1): those past the threshold are bent towards 1, the others stay as they are."""
    threshold = drums()["limiter_threshold"]
    size, above = np.abs(samples), 1 - threshold
    bent = np.sign(samples) * (threshold + above * np.tanh(np.maximum(size - threshold, 0) / above))
    return np.where(size > threshold, bent, samples).astype(np.float32)

"""The synthesised kit: drums.json, and each voice as samples.

A voice is a sum of layers. A layer is a source (a sine or triangle whose pitch falls or rises, noise, or metal, which
is a sum of square waves) through filters, under an envelope. A layer's signal is the same at each velocity and only its
gain changes, ``velocity ** touch``: bright layers have the higher ``touch``, so that a soft hit is darker.

The page plays the same file: what is computed here, and in which order, is fixed to the last sample.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import count
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.kit import Kit
from hypermeter.core.shipped import shipped_text

SAMPLE_RATE = 44100
"""In Hz."""

BLOCK = 2**20
"""Samples that are limited, or written, at once."""

DECAYS = 8
"""A layer ends this many times its decay after its attack, at -69 dB."""


@cache
def drums() -> dict[str, Any]:
    """Return the content of drums.json."""
    return json.loads(shipped_text("share", "sound", "drums.json"))


def sound_name(name: str, pitch: int | None = None) -> str:
    """Return the voice of drums.json for a voice of any kit: by name, else by the pitch it writes, else default."""
    voices = drums()["voices"]
    if name not in voices:
        name = drums()["pitches"].get(str(pitch), "default")
    return voices[name].get("same_as", name)


def sounds_of(kit: Kit) -> list[str]:
    """Return ``sound_name`` of each voice of a kit."""
    return [sound_name(*voice) for voice in zip(kit.names, kit.gm_pitches, strict=True)]


def voice_samples(name: str, velocity: float) -> np.ndarray:
    """Return one hit, (samples,) of float64 at 44.1 kHz, mono, without room and limiter; read-only.

    Args:
        name: of a voice of drums.json.
        velocity: in [0, 1]; 0 is silence.

    Raises:
        HypermeterError: no such voice.
    """
    layers, touch = _layers(name)
    return float(velocity) ** touch @ layers


def voice_length(name: str) -> int:
    """Return the number of samples of a hit of a voice."""
    return _layers(name)[0].shape[1]


@cache
def _layers(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the layers at full velocity, (layers, samples), and their touch, (layers,)."""
    voices = drums()["voices"]
    if name not in voices:
        raise HypermeterError(f"sound: no voice {name!r}, expected one of {', '.join(voices)}")
    layers = voices[voices[name].get("same_as", name)]["layers"]
    signals = [layer_samples(layer) for layer in layers]
    padded = np.zeros((len(layers), max(map(len, signals))))
    for row, signal in zip(padded, signals, strict=True):
        row[: len(signal)] = signal
    padded.flags.writeable = False
    return padded, np.array([layer["touch"] for layer in layers])


def layer_samples(layer: Mapping[str, Any]) -> np.ndarray:
    """Return a layer at full velocity, (samples,): silence of ``start_s``, source, filters, envelope, drive, gain."""
    attack_s, decay_s = layer["attack_s"], layer["decay_s"]
    n = np.arange(int(np.ceil((attack_s + DECAYS * decay_s) * SAMPLE_RATE)))
    signal = filtered(_source(layer, n), layer["filters"])
    t = n / SAMPLE_RATE
    envelope = np.exp(-t / decay_s) * np.minimum(t / attack_s, 1.0)
    signal = signal * envelope
    if drive := layer.get("drive", 0.0):
        signal = np.tanh(drive * signal) / np.tanh(drive)
    start = round(layer.get("start_s", 0.0) * SAMPLE_RATE)
    return np.concatenate([np.zeros(start), layer["gain"] * signal])


def _source(layer: Mapping[str, Any], n: np.ndarray) -> np.ndarray:
    """Return samples ``n`` of a source, within [-1, 1]."""
    kind = layer["source"]
    if kind == "noise":
        return noise(layer["seed"], len(n))
    if kind == "metal":
        frequencies = layer["frequencies_hz"]
        squares = [np.where((hz * n) / SAMPLE_RATE % 1.0 < 0.5, 1.0, -1.0) for hz in frequencies]
        return np.sum(squares, 0) / len(frequencies)
    t, start, end, sweep_s = n / SAMPLE_RATE, layer["start_hz"], layer["end_hz"], layer["sweep_s"]
    cycles = end * t + (start - end) * sweep_s * (1.0 - np.exp(-t / sweep_s))  # the integral of the frequency
    if kind == "sine":
        return np.sin(2 * np.pi * cycles)
    if kind == "triangle":
        return 1.0 - 4.0 * np.abs((cycles + 0.25) % 1.0 - 0.5)
    raise HypermeterError(f"sound: source {kind!r}, expected sine, triangle, noise or metal")


def noise(seed: int, length: int) -> np.ndarray:
    """Return (length,) uniform in [-1, 1) from sfc32, the small fast counting generator of Chris Doty-Humphrey."""
    numbers = _sfc32(seed)
    return np.array([next(numbers) for _ in range(length)], np.float64) / 2**31 - 1.0


def _sfc32(seed: int) -> Iterator[int]:
    """Yield integers of 32 bits; the state starts as (seed, 0, 0, 1), and the first twelve are left out."""
    mask = 0xFFFFFFFF
    a, b, c, counter = seed & mask, (seed >> 32) & mask, 0, 1
    for number in count():
        t = (a + b + counter) & mask
        counter = (counter + 1) & mask
        a = b ^ (b >> 9)
        b = (c + (c << 3)) & mask
        c = (((c << 21) | (c >> 11)) + t) & mask
        if number >= 12:
            yield t


def filtered(signal: np.ndarray, filters: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return the signal through biquads, one after the other (transposed direct form II, from rest)."""
    for shape in filters:
        (b0, b1, b2), (a1, a2) = coefficients(shape)
        s1 = s2 = 0.0
        out = []
        for x in signal.tolist():
            y = b0 * x + s1
            s1 = b1 * x - a1 * y + s2
            s2 = b2 * x - a2 * y
            out.append(y)
        signal = np.array(out)
    return signal


def coefficients(shape: Mapping[str, Any]) -> tuple[tuple[float, float, float], tuple[float, float]]:
    """Return b0, b1, b2 and a1, a2, over a0, of a filter; the bandpass has a peak of 0 dB.

    Source: Robert Bristow-Johnson, Cookbook formulae for audio EQ biquad filter coefficients.
    """
    w = 2 * np.pi * shape["hz"] / SAMPLE_RATE
    cos, alpha = float(np.cos(w)), float(np.sin(w)) / (2 * shape["q"])
    kind = shape["type"]
    if kind == "lowpass":
        b = (1 - cos) / 2, 1 - cos, (1 - cos) / 2
    elif kind == "highpass":
        b = (1 + cos) / 2, -(1 + cos), (1 + cos) / 2
    elif kind == "bandpass":
        b = alpha, 0.0, -alpha
    else:
        raise HypermeterError(f"sound: filter {kind!r}, expected lowpass, highpass or bandpass")
    a0 = 1 + alpha
    return (b[0] / a0, b[1] / a0, b[2] / a0), (-2 * cos / a0, (1 - alpha) / a0)

"""Samples as the bytes of a WAV file."""

import io
import wave
from fractions import Fraction

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.share.sound.drums import BLOCK, SAMPLE_RATE

RATES = (44100, 48000, 22050)
"""Sample rates that can be written, in Hz."""

TAPS = 48
"""Samples on each side of a new one from which ``resampled`` computes it."""


def check_rate(rate_hz: int) -> None:
    """Raise ``HypermeterError`` if ``rate_hz`` is not one of RATES."""
    if rate_hz not in RATES:
        raise HypermeterError(f"rate is {rate_hz} Hz, expected one of {', '.join(map(str, RATES))}")


def to_wav_bytes(
    samples: np.ndarray, rate_hz: int = SAMPLE_RATE, is_mono: bool = False, from_hz: int = SAMPLE_RATE
) -> bytes:
    """Return a WAV file of 16 bits.

    Args:
        samples: (samples, 2) in [-1, 1], or (samples, 1); what exceeds it is cut off, see `set_level`.
        rate_hz: of the file, one of RATES.
        is_mono: write the mean of both sides.
        from_hz: rate of the samples: 44100, or ``rate_hz``.

    Raises:
        HypermeterError: another rate.
    """
    check_rate(rate_hz)
    if is_mono:
        samples = samples.mean(1, keepdims=True)
    if from_hz != rate_hz:
        samples = resampled(samples, rate_hz)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        for start in range(0, len(samples), BLOCK):
            file.writeframes(np.rint(np.clip(samples[start : start + BLOCK], -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def from_wav_bytes(content: bytes) -> tuple[np.ndarray, int]:
    """Return the samples (samples, channels), float64 in [-1, 1], of a WAV file of 16 bits, and its rate in Hz."""
    with wave.open(io.BytesIO(content), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return samples.reshape(-1, file.getnchannels()) / 32767, file.getframerate()


def resampled(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Return samples (N, channels) at 44.1 kHz as (ceil(N * rate_hz / 44100), channels), float64, at another rate.

    What is above half of the lower rate is taken out, by a sinc under a Blackman window.
    """
    if rate_hz == SAMPLE_RATE:
        return samples
    up, down = Fraction(rate_hz, SAMPLE_RATE).as_integer_ratio()
    cutoff, taps = 0.94 * min(up / down, 1), np.arange(-TAPS, TAPS + 1)
    padded = np.pad(np.asarray(samples, np.float64), ((TAPS, TAPS + 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(taps), axis=0)
    out = np.zeros((-(-len(samples) * up // down), samples.shape[1]))
    for phase in range(min(up, len(out))):  # every up-th sample stands equally far from a sample of the input
        start, distance = divmod(phase * down, up)
        at = np.clip(taps - distance / up, -TAPS, TAPS)
        window = 0.42 + 0.5 * np.cos(np.pi * at / TAPS) + 0.08 * np.cos(2 * np.pi * at / TAPS)
        kernel = np.sinc(cutoff * at) * window
        part, near = out[phase::up], windows[start::down]
        for block in range(0, len(part), TAPS**2):  # as much as is copied at once
            near_block = near[block : block + TAPS**2]
            part[block : block + TAPS**2] = (near_block @ (kernel / kernel.sum()))[: len(part) - block]
    return out

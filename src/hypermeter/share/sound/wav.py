"""Samples as the bytes of a WAV file."""

import io
import wave

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.share.sound.drums import BLOCK, SAMPLE_RATE

RATES = (44100, 22050)
"""Sample rates that are written, in Hz."""


def to_wav_bytes(samples: np.ndarray, rate_hz: int = SAMPLE_RATE, is_mono: bool = False) -> bytes:
    """A WAV file of 16 bits.

    Args:
        samples: (samples, 2) in [-1, 1] at 44.1 kHz.
        rate_hz: 44100, or 22050 for half the size without what is above 10 kHz.
        is_mono: both sides in one.

    Raises:
        HypermeterError: another rate.
    """
    if rate_hz not in RATES:
        raise HypermeterError(f"rate is {rate_hz} Hz, expected {' or '.join(map(str, RATES))}")
    if is_mono:
        samples = samples.mean(1, keepdims=True)
    if rate_hz == SAMPLE_RATE // 2:
        samples = _halved(samples)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        for start in range(0, len(samples), BLOCK):
            file.writeframes(np.rint(np.clip(samples[start : start + BLOCK], -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def from_wav_bytes(content: bytes) -> tuple[np.ndarray, int]:
    """The samples (samples, channels), float64 in [-1, 1], of a WAV file of 16 bits, and its rate in Hz."""
    with wave.open(io.BytesIO(content), "rb") as file:
        whole = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return whole.reshape(-1, file.getnchannels()) / 32767, file.getframerate()


def _halved(samples: np.ndarray) -> np.ndarray:
    """Every other sample, what is above a quarter of the rate taken out first: a sinc under a Blackman window."""
    n = np.arange(-48, 49)
    kernel = 0.47 * np.sinc(0.47 * n) * np.blackman(len(n))
    kernel /= kernel.sum()
    padded = np.pad(samples, ((len(n) // 2, len(n) // 2), (0, 0)))
    return np.stack([np.convolve(channel, kernel, "valid")[::2] for channel in padded.T], 1)[: -(-len(samples) // 2)]

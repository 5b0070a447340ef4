"""The level of a file: gain, normalising, and that nothing clips."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from hypermeter.core.errors import HypermeterError

PEAK_DB = -1.0
"""Highest sample of a file whose peak is set, in dB of full scale."""

LOUDNESS_LUFS = -16.0
"""Loudness of a file whose loudness is set, in LUFS."""

MAX_GAIN_DB = 60.0

BLOCK_S, HOP_S = 0.4, 0.1
"""Length of the blocks whose loudness is measured, and the time between their beginnings."""

QUIET_LUFS, QUIET_LU = -70.0, -10.0
"""Blocks below this, or so far below the mean of the others, do not count for the loudness."""

Normalize = Literal["none", "peak", "loudness"]
Samples = Float[np.ndarray, "samples sides"]


@dataclass(frozen=True)
class Level:
    """How loud a file is.

    Args:
        gain_db: dB that the samples are raised by, in [-60, 60], after normalising.
        normalize: none; peak, which sets the highest sample to -1 dB of full scale; or loudness, which sets the
            loudness by ITU-R BS.1770 to -16 LUFS.

    Raises:
        HypermeterError: a gain out of its bounds, or another word for `normalize`.
    """

    gain_db: float = 0.0
    normalize: Normalize = "none"

    def __post_init__(self) -> None:
        if not abs(self.gain_db) <= MAX_GAIN_DB:
            raise HypermeterError(f"gain_db is {self.gain_db}, expected -{MAX_GAIN_DB:g} to {MAX_GAIN_DB:g}")
        if self.normalize not in get_args(Normalize):
            raise HypermeterError(f"normalize is {self.normalize!r}, expected {', '.join(get_args(Normalize))}")


def set_level(samples: Samples, rate_hz: int, level: Level) -> tuple[Samples, list[str]]:
    """Return the samples at a level, all of them in [-1, 1], and a line if that is lower than was set.

    A peak above full scale is lowered to -1 dB, and the whole file with it: nothing clips.

    Args:
        samples: of a file, of any size.
        rate_hz: samples a second.
        level: as it is set.
    """
    peak = float(np.abs(samples).max(initial=0.0))
    gain_db = level.gain_db
    if level.normalize == "peak" and peak:
        gain_db += PEAK_DB - to_db(peak)
    elif level.normalize == "loudness" and peak:  # measured at full scale, where a soft file is not taken for silence
        gain_db += LOUDNESS_LUFS - loudness_of(samples / peak, rate_hz) - to_db(peak)
    lines = []
    if peak and (above_db := to_db(peak) + gain_db) > 0:
        what = "would clip" if above_db < 0.05 else f"would clip by {above_db:.1f} dB"
        lines.append(f"level lowered by {above_db - PEAK_DB:.1f} dB, or it {what}")
        gain_db -= above_db - PEAK_DB
    return (samples * 10 ** (gain_db / 20) if gain_db else samples), lines


def to_db(amplitude: float) -> float:
    """Return an amplitude, more than 0, in dB of full scale."""
    return 20 * math.log10(amplitude)


def loudness_of(samples: Samples, rate_hz: int) -> float:
    """Return the integrated loudness of one channel or of two, in LUFS; -infinity for silence.

    What is shorter than a block of 400 ms counts as if silence followed it.

    Source: ITU-R BS.1770-4, with its filters for any rate as in Brecht De Man, Evaluation of Implementations of the
    EBU R128 Loudness Measurement, 145th AES Convention, 2018.
    """
    block, hop = round(BLOCK_S * rate_hz), round(HOP_S * rate_hz)
    padded = np.pad(samples, ((0, max(block - len(samples), 0)), (0, 0)))
    energy = np.concatenate([[0.0], np.cumsum(np.sum(_weighted(padded, rate_hz) ** 2, 1))])
    starts = np.arange(0, len(padded) - block + 1, hop)
    power = (energy[starts + block] - energy[starts]) / block
    power = power[power > _power_of(QUIET_LUFS)]
    if not len(power):
        return -math.inf
    power = power[power > power.mean() * 10 ** (QUIET_LU / 10)]
    return -0.691 + 10 * math.log10(power.mean())


def _power_of(loudness: float) -> float:
    return 10 ** ((loudness + 0.691) / 10)


def _weighted(samples: Samples, rate_hz: int) -> Samples:
    """Return the samples through the K filter: a high shelf, the acoustics of the head, and a high-pass.

    It is applied to the spectrum, of the samples and as much silence as the filters ring.
    """
    size = len(samples) + rate_hz // 2
    z = np.exp(-2j * np.pi * np.fft.rfftfreq(size))
    response = _high_shelf(z, rate_hz) * _high_pass(z, rate_hz)
    return np.fft.irfft(np.fft.rfft(samples, size, axis=0) * response[:, None], size, axis=0)[: len(samples)]


def _high_shelf(z: np.ndarray, rate_hz: int) -> np.ndarray:
    """Return the response at 1 / z of the first stage, 4 dB above 1.7 kHz."""
    k, q, high = math.tan(math.pi * 1681.974450955533 / rate_hz), 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    middle = high**0.4996667741545416
    above = (high + middle * k / q + k * k) + 2 * (k * k - high) * z + (high - middle * k / q + k * k) * z**2
    return above / ((1 + k / q + k * k) + 2 * (k * k - 1) * z + (1 - k / q + k * k) * z**2)


def _high_pass(z: np.ndarray, rate_hz: int) -> np.ndarray:
    """Return the response at 1 / z of the second stage, from 38 Hz on."""
    k, q = math.tan(math.pi * 38.13547087602444 / rate_hz), 0.5003270373238773
    scale = 1 + k / q + k * k
    return (1 - 2 * z + z**2) / (1 + 2 * (k * k - 1) / scale * z + (1 - k / q + k * k) / scale * z**2)

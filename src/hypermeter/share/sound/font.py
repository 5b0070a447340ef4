"""MIDI to sound by a sound font (SF2, SF3) and the fluidsynth command."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.share.sound.drums import SAMPLE_RATE

SECONDS_ALLOWED = 600
GAIN = 0.5
"""Of fluidsynth, whose default of 0.2 is soft for drums alone; docs/sound.md has the peaks of both."""

SILENCE = 5e-4
"""Where no preset sounds, fluidsynth writes samples below this."""


def font_samples(midi: bytes, sound_font: Path, rate_hz: int = SAMPLE_RATE) -> np.ndarray:
    """Return a MIDI file, all its channels, as fluidsynth plays it with a sound font: (samples, 2), float32.

    Full scale is 1. Several parts together often exceed it, and are not cut off there: see `set_level`.

    Raises:
        HypermeterError: no sound font there, fluidsynth not installed or failing, or nothing but silence.
    """
    _check_font(sound_font)
    command = shutil.which("fluidsynth")
    if command is None:
        raise HypermeterError(
            f"{sound_font}: needs the fluidsynth command, which is not installed; install it (apt, brew, choco: "
            "fluidsynth), or leave the sound font out for the kit of the package"
        )
    with tempfile.TemporaryDirectory() as folder:
        song, out = Path(folder, "in.mid"), Path(folder, "out.raw")
        song.write_bytes(midi)
        options = ["-ni", "-q", "-g", str(GAIN), "-r", str(rate_hz), "-T", "raw", "-O", "float", "-E", "little"]
        options += ["-F", str(out)]
        options += ["-o", "synth.default-soundfont="]  # or another font would play in place of a damaged one
        try:
            done = subprocess.run(
                [command, *options, str(sound_font.resolve()), str(song)],
                capture_output=True,
                text=True,
                timeout=SECONDS_ALLOWED,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as error:
            reason = f"{sound_font}: fluidsynth took more than {SECONDS_ALLOWED} s; cut the piece"
            raise HypermeterError(reason) from error
        if done.returncode or not out.exists() or "Failed to load" in done.stderr:
            errors = [line for line in done.stderr.splitlines() if "error" in line] or [f"exit code {done.returncode}"]
            reason = errors[0].removeprefix("fluidsynth: error: ")
            raise HypermeterError(f"{sound_font}: fluidsynth failed ({reason}); try another sound font")
        samples = np.fromfile(out, "<f4").reshape(-1, 2)
    if not (np.abs(samples) > SILENCE).any():
        raise HypermeterError(f"{sound_font}: only silence came out; take a sound font with General MIDI drums")
    return samples


def _check_font(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError as error:
        raise HypermeterError(f"{path}: cannot be read ({error.strerror}); check the path of the sound font") from error
    if start[:4] != b"RIFF" or start[8:] != b"sfbk":
        raise HypermeterError(f"{path}: not a sound font, expected an SF2 or SF3 file")

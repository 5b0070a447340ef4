"""Peaks and loudness of MIDI files by a sound font, at several gains of fluidsynth, and by the synthesised kit.

python benchmarks/quality/levels.py FONT FOLDER [FOLDER ...]
"""

import math
import random
import sys
from pathlib import Path

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.share.sound.channels import drums_on_channel_10
from hypermeter.share.sound.drums import SAMPLE_RATE
from hypermeter.share.sound.font import GAIN, font_samples
from hypermeter.share.sound.level import loudness_of, to_db
from hypermeter.share.sound.mix import mix_unlimited
from hypermeter.share.sound.render import score_of_midi

FILES, MAX_BYTES, GAINS = 40, 40_000, (1.0, 0.5, 0.35, 0.2)


def levels(samples: np.ndarray) -> tuple[float, float]:
    """Return the peak in dB of full scale, and the loudness in LUFS."""
    return to_db(float(np.abs(samples).max())), loudness_of(samples, SAMPLE_RATE)


def main(font: Path, folders: list[Path]) -> None:
    for folder in folders:
        paths = sorted(path for path in folder.rglob("*.mid") if path.stat().st_size <= MAX_BYTES)
        random.Random(0).shuffle(paths)
        by_font, by_kit = [], []
        for path in paths[:FILES]:
            content = path.read_bytes()
            try:
                by_font.append(levels(font_samples(drums_on_channel_10(content, str(path))[0], font)))
                by_kit.append(levels(mix_unlimited(score_of_midi(content, str(path))[0])))
            except HypermeterError as error:
                print(f"left out: {error}", file=sys.stderr)
        print(f"\n{folder.name}: {len(by_font)} files\n\n| gain | median peak | exceed full scale | median loudness |")
        print("|---|---|---|---|")
        peaks, loudness = np.array(by_font).T
        for gain in GAINS:
            gain_db = 20 * math.log10(gain / GAIN)
            share = 100 * np.mean(peaks + gain_db > 0)
            print(
                f"| {gain} | {np.median(peaks) + gain_db:.1f} | {share:.0f} % | {np.median(loudness) + gain_db:.1f} |"
            )
        peaks, loudness = np.array(by_kit).T
        print(f"| the kit | {np.median(peaks):.1f} before its limiter | | {np.median(loudness):.1f} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(folder) for folder in sys.argv[2:]])

"""Write the feels of the package: those by hand, and the drummers of the training split of the Groove MIDI Dataset.

    hypermeter prepare GROOVE NPZ
    python benchmarks/quality/named_feels.py NPZ src/hypermeter/feels

The drummers' are means over the hits of their training performances in 4/4, each on the player's own grid, without
those in which no grid is clear, see docs/own_grid.md. Nothing of the validation and test splits is read.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.core.kit import load_kit
from hypermeter.io.grooves import read_npz
from hypermeter.music.feel import Feel
from hypermeter.music.feel_files import feel_text

KIT = load_kit("gm10")
TEMPO_BPM = 100.0
LEAST_CLARITY = 0.3
SOURCE = (
    "Figures of the Groove MIDI Dataset (Gillick, Roberts, Engel, Eck & Bamman, ICML 2019; Google LLC), CC BY 4.0:",
    "training split, performances in 4/4. Written by benchmarks/quality/named_feels.py.",
)
BY_HAND = {
    "straight": ("on the grid, steps of equal length", {}, 0.5),
    "swung": ("each second sixteenth late, at 60 % of two", {}, 0.6),
    "shuffled": ("each second eighth late, at 60 % of a beat", {}, 0.6),
    "laid-back": ("late: snare and hats most, the kick least", {"kick": 4.0, "snare": 16.0}, 0.5),
    "pushed": ("early: snare and hats most, the kick least", {"kick": -4.0, "snare": -12.0}, 0.5),
}
"""Name -> what it is, the lateness of voices in ms, and where the second of two begins."""
OTHERS_MS = {"laid-back": 12.0, "pushed": -10.0}
"""Lateness of the voices that a feel by hand does not name."""


def by_hand(name: str) -> Feel:
    """Return a feel of timing alone; how loud and how steady it is stays that of the model."""
    about, late_ms, swing = BY_HAND[name]
    grid, voices = Grid(), KIT.num_voices
    step, step_ms = np.arange(grid.steps_per_bar), 60_000 / TEMPO_BPM / grid.steps_per_quarter
    offset = np.tile([late_ms.get(voice, OTHERS_MS.get(name, 0.0)) / step_ms for voice in KIT.names], (len(step), 1))
    length = grid.steps_per_beat if name == "shuffled" else 2
    # The second of two moves by all of it; for halves of beats, the steps between by half of it.
    late = (2 * swing - 1) * length / 2
    offset += late * (1 - np.abs(step % length - length / 2) / (length / 2))[:, None]
    nothing = np.full(voices, math.nan)
    velocity = np.full(offset.shape, math.nan)
    count = np.full(offset.shape, 16.0)
    return Feel(
        name, KIT.names, grid, TEMPO_BPM, 16, count, velocity, offset, 0.0, nothing, nothing, math.nan, None, about
    )


def main(npz_dir: tyro.conf.Positional[Path], out: tyro.conf.Positional[Path]) -> None:
    """Write a YAML file for each feel.

    Args:
        npz_dir: folder with train in it, which prepare wrote from Groove.
        out: folder to write to.
    """
    drummers: dict[str, list] = {}
    manifest = json.loads((npz_dir / "manifest.json").read_text("utf-8"))
    clear = {name for file in manifest["files"] if file["own_grid"]["clarity"] >= LEAST_CLARITY for name in file["npz"]}
    for path in sorted((npz_dir / "train").glob("*.npz")):
        if f"train/{path.name}" not in clear:
            continue
        groove = read_npz(path)
        if groove.hits.any():
            drummers.setdefault(path.name.partition("-")[0], []).append(groove)
    if not drummers:
        raise HypermeterError(f"{npz_dir / 'train'}: no performances; name the folder that prepare wrote")
    texts = {
        name: feel_text(by_hand(name), notes=("Written by benchmarks/quality/named_feels.py.",)) for name in BY_HAND
    }
    for drummer, grooves in drummers.items():
        name = drummer.replace("drummer", "drummer-")
        feel = Feel.of_many(grooves, name)
        minutes = sum(len(groove) * groove.step_duration_s for groove in grooves) / 60
        about = f"{len(grooves)} performances, {minutes:.0f} minutes, of the Groove MIDI Dataset"
        feel = Feel(**vars(feel) | {"about": about})
        texts[name] = feel_text(feel, notes=SOURCE)
    for name, text in texts.items():
        with atomic_write(out / f"{name}.yaml") as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(f"{out}: {len(texts)} feels")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"named_feels: {error}", file=sys.stderr)
        sys.exit(2)

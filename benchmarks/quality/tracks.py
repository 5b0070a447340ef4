"""What drums tell about a bass: bits per step of the bass given the drums, and of the bass alone.

    hypermeter prepare multitrack songs --tracks bass
    python benchmarks/quality/tracks.py songs

Two models of the same size and budget: one hears and plays drums and bass, the other the bass alone (its drums are
silent). Of the first, the bits of a step's bass are those of drums and bass together less those of the drums: what is
left when the drums of this step, and drums and bass before it, are known. Figures are of the split test, which neither
training nor the choice of when to stop has seen; songs weigh by their length.
"""

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from hypermeter import HierarchicalDrumModel, load
from hypermeter.dataset import read_folder, with_tracks
from hypermeter.evaluate import bits_of_parts, summarize
from hypermeter.grid import HypermeterError, atomic_write
from hypermeter.heads import Mixture
from hypermeter.train import TrainConfig, train

BASE: dict[str, Any] = {
    "max_steps": 1200,
    "augment": True,  # songs are few, and in twelve keys they are more
    "num_components": 16,
    "val_every": 150,
    "patience": 9,
    "accelerator": "cpu",
    "tracks": ("bass",),
}


def silence_drums(folder: Path, out: Path) -> None:
    """A copy of prepared .npz in which no drum is played."""
    for path in sorted(folder.rglob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            kept = {name: arrays[name] for name in arrays.files if name not in ("velocity", "offset")}
        kept["sequence"] = np.zeros_like(kept["sequence"])
        target = out / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        np.savez(target, **kept)


@torch.no_grad()
def bits(model: HierarchicalDrumModel, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each song: bits of its drums, of its bass given them, of its bass before a step's drums; and its steps."""
    songs = [with_tracks(path, hits, model.tracks) for path, hits in zip(*read_folder(folder), strict=True)]
    parts, before = bits_of_parts(model, songs), []
    is_bass = torch.arange(model.width) >= model.num_drums
    for song in songs:
        x = torch.from_numpy(song).float()[None]
        dist = model(x).step_dist[:, :-1]
        assert isinstance(dist, Mixture)
        before.append(-dist.log_prob_of(x, is_bass).sum().item() / math.log(2))
    return parts["drums"], parts["bass"], np.array(before), np.array([len(song) for song in songs])


def main(npz_dir: tyro.conf.Positional[Path], out: Path = Path("bench/out/tracks"), seed: int = 0) -> None:
    """Train what is missing and print a table.

    Args:
        npz_dir: folder that ``prepare --tracks bass`` wrote.
        out: folder of the runs.
        seed: of both.
    """
    silent = out / "silent"
    if not silent.exists():
        silence_drums(npz_dir, out / "half")
        shutil.move(out / "half", silent)
    rows = {}
    for name, folder, weight in (("together", npz_dir, 0.3), ("alone", silent, 1.0)):
        run = out / f"{name}-{seed}"
        train(TrainConfig(folder, run, seed=seed, drums_weight=weight, **BASE))
        drums, given, before, steps = bits(load(run), folder / "test")
        parts = {"drums": drums, "bass": given, "bass before the step's drums": before}
        rows[name] = {part: summarize(found, steps) for part, found in parts.items()}
    with atomic_write(out / f"result-{seed}.json") as temporary:
        temporary.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print("| bits per step on songs not heard | drums | bass | bass before the step's drums |\n|---|---|---|---|")
    for name, row in rows.items():
        cells = [
            f"{row[part]['bits_per_step']:.3f} ({row[part]['low']:.3f} to {row[part]['high']:.3f})" for part in row
        ]
        print(f"| {name} | {' | '.join(cells if name == 'together' else ['-', cells[1], '-'])} |")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"tracks: {error}", file=sys.stderr)
        sys.exit(2)

"""What drums tell about a bass: bits per step of the bass given the drums, and of the bass alone.

    hypermeter prepare multitrack songs --tracks bass
    python benchmarks/quality/tracks.py songs

Two models of the same size and budget: one hears and plays drums and bass, the other the bass alone (its drums are
silent). Of the first, the bits of a step's bass are those of drums and bass together less those of the drums: what is
left when the drums of this step, and drums and bass before it, are known.

Songs are few, so each is held out once: they are dealt into folds, near-duplicates by their drums together, and each
fold is judged by two models that learnt from the others, of which a tenth tell when to stop: by the bits of drums and
bass, and by those of the bass. Songs weigh by their length; the difference is paired, song by song, and its interval is
over songs, not over deals and seeds.
"""

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from ablations import difference

from hypermeter import HierarchicalDrumModel, load
from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.learn.dataset import read_folder, read_kit_and_grid, read_meta, with_tracks
from hypermeter.learn.evaluate import bits_of_parts, summarize
from hypermeter.learn.train import TrainConfig, train
from hypermeter.model.heads import Mixture
from hypermeter.music.duplicates import bar_digests, group_near_duplicates

BASE: dict[str, Any] = {
    "max_steps": 1200,
    "augment": True,  # songs are few, and in twelve keys they are more
    "num_components": 16,
    "evaluate_every": 150,
    "patience": 9,
    "tracks": ("bass",),
}
DRUMS_WEIGHT = {"together": 0.3, "alone": 1.0}
"""Of the two models."""


def songs_of(npz_dir: Path) -> list[list[Path]]:
    """The .npz, in groups that must not lie on both sides: parts of one file, and near-duplicates of it."""
    paths, sequences = read_folder(npz_dir)
    parts: dict[str, list[Path]] = {}
    digests: dict[str, list[np.ndarray]] = {}
    for path, hits in zip(paths, sequences, strict=True):
        meta = read_meta(path)
        bar = read_kit_and_grid(path, meta=meta)[1].steps_per_bar
        source = meta["source"]
        parts.setdefault(source, []).append(path)
        digests.setdefault(source, []).append(bar_digests(hits[: len(hits) // bar * bar], bar))
    groups = group_near_duplicates(parts, {source: np.concatenate(digest) for source, digest in digests.items()})
    return [[path for source in group for path in parts[source]] for group in groups]


def deal(songs: list[list[Path]], folds: int, seed: int) -> list[list[list[Path]]]:
    """Songs into folds with about as many .npz in each."""
    order = np.random.default_rng(seed).permutation(len(songs))
    dealt: list[list[list[Path]]] = [[] for _ in range(folds)]
    for group in sorted((songs[number] for number in order), key=len, reverse=True):
        min(dealt, key=lambda fold: sum(map(len, fold))).append(group)
    return dealt


def lay_out(dealt: list[list[list[Path]]], fold: int, out: Path) -> None:
    """Folders ``together`` and ``alone``, each with train, validation and, of the fold, test."""
    rest = sorted(group for number, groups in enumerate(dealt) for group in groups if number != fold)
    parts = {
        "test": dealt[fold],
        "validation": rest[::10],
        "train": [group for number, group in enumerate(rest) if number % 10],
    }
    splits = {split: [path for group in groups for path in group] for split, groups in parts.items()}
    half = out.with_name(f"{out.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    for split, paths in splits.items():
        for name in DRUMS_WEIGHT:
            (half / name / split).mkdir(parents=True)
        for path in paths:
            shutil.copy(path, half / "together" / split / path.name)
            silence_drums(path, half / "alone" / split / path.name)
    half.rename(out)


def silence_drums(path: Path, out: Path) -> None:
    """A copy of a prepared .npz in which no drum is played."""
    with np.load(path, allow_pickle=False) as arrays:
        kept = {name: arrays[name] for name in arrays.files if name not in ("velocity", "offset")}
    np.savez(out, **(kept | {"sequence": np.zeros_like(kept["sequence"])}))


@torch.no_grad()
def bits(model: HierarchicalDrumModel, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each song: bits of its drums, of its bass given them, of its bass before a step's drums; and its steps."""
    songs = [with_tracks(path, hits, model.tracks) for path, hits in zip(*read_folder(folder), strict=True)]
    parts, before = bits_of_parts(model, songs), []
    for song in songs:
        x = torch.from_numpy(song).float()[None]
        dist = model(x).step_dist[:, :-1]
        assert isinstance(dist, Mixture)
        bass = dist.only(model.num_drums, model.width).log_prob(x[..., model.num_drums :])
        before.append(-bass.sum().item() / math.log(2))
    return parts["drums"], parts["bass"], np.array(before), np.array([len(song) for song in songs])


def run(fold: int, name: str, data: Path, out: Path, seed: int, accelerator: str) -> dict[str, list[float]]:
    """Train, or read what was trained before: of each song of the fold, bits of its parts and steps."""
    folder = out / f"{name}-{fold}-{seed}"
    result = folder / "result.json"
    if result.exists():
        return json.loads(result.read_text("utf-8"))
    options = BASE | {"accelerator": accelerator, "drums_weight": DRUMS_WEIGHT[name], "seed": seed}
    train(TrainConfig.of(data / name, folder, **options))
    of_parts = bits(load(folder), data / name / "test")
    sources = [read_meta(path)["source"] for path in read_folder(data / name / "test")[0]]
    song_of = np.unique(sources, return_inverse=True)[1]
    parts = ("drums", "bass", "bass before the step's drums", "steps")
    rows = {
        part: np.bincount(song_of, bits_of_part).tolist() for part, bits_of_part in zip(parts, of_parts, strict=True)
    }
    with atomic_write(result) as temporary:
        temporary.write_text(json.dumps(rows), encoding="utf-8")
    return rows


def cell(bits: np.ndarray, steps: np.ndarray) -> str:
    summary = summarize(bits, steps)
    return f"{summary['bits_per_step']:.3f} ({summary['low']:.3f} to {summary['high']:.3f})"


def main(
    npz_dir: tyro.conf.Positional[Path],
    out: Path = Path("bench/out/tracks"),
    folds: int = 5,
    only: tuple[int, ...] = (),
    seed: int = 0,
    accelerator: Literal["auto", "cpu", "cuda"] = "cpu",
) -> None:
    """Train what is missing and print a table.

    Args:
        npz_dir: folder that ``prepare --tracks bass`` wrote.
        out: folder of the runs.
        folds: that the songs are dealt into.
        only: some of the folds, from 0 on, so that several processes can share a folder; left out, all.
        seed: of the folds and of each run.
        accelerator: cpu, cuda or auto.
    """
    if unknown := [fold for fold in only if not 0 <= fold < folds]:
        raise HypermeterError(f"no fold {unknown[0]}, expected 0 to {folds - 1}")
    dealt = deal(songs_of(npz_dir), folds, seed)
    rows: dict[str, dict[str, np.ndarray]] = {}
    results: dict[str, list[dict[str, list[float]]]] = {name: [] for name in DRUMS_WEIGHT}
    for fold in only or range(folds):
        data = out / f"data-{fold}-{seed}"
        if not data.exists():
            lay_out(dealt, fold, data)
        for name in results:
            results[name].append(run(fold, name, data, out, seed, accelerator))
    for name, runs in results.items():
        rows[name] = {part: np.concatenate([record[part] for record in runs]) for part in runs[0]}
    both, alone = rows["together"], rows["alone"]
    steps, given, before = both["steps"], both["bass"], both["bass before the step's drums"]
    print("| bits per step on held-out songs | drums | bass | bass before the step's drums |\n|---|---|---|---|")
    print(f"| together | {cell(both['drums'], steps)} | {cell(given, steps)} | {cell(before, steps)} |")
    print(f"| alone | - | {cell(alone['bass'], steps)} | - |\n")
    for what, reference in (("alone", alone["bass"]), ("before the step's drums", before)):
        mean, low, high = difference(given[None], reference[None], steps)
        fewer = int((given < reference).sum())
        print(
            f"Bass given the drums, less bass {what}: {mean:+.4f} ({low:+.4f} to {high:+.4f}), "
            f"below it in {fewer} of {len(steps)}"
        )


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"tracks: {error}", file=sys.stderr)
        sys.exit(2)

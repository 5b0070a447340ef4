"""Data of a run: performances, models to start from or to learn from, and batches."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit
from hypermeter.core.tracks import TRACKS, Track, track_groups
from hypermeter.learn.dataset import (
    CompleteHierarchicalDrumDataset,
    collate,
    find_labels,
    kit_name,
    read_expression,
    read_folder,
    read_plan,
    read_sequence,
    read_shared_kit_and_grid,
    with_tracks,
)
from hypermeter.learn.train.config import TrainConfig
from hypermeter.model.hierarchical import HierarchicalDrumModel, load
from hypermeter.model.plan import Labels, Plan


@dataclass(frozen=True)
class Material:
    """Training and held-out data of a run.

    Args:
        folder: of the training data.
        dataset: windows of the training data.
        held_out: hits (T, V) of each held-out performance.
        held_out_plans: their plans, where plans are learnt.
        held_out_items: held-out performances as items of the data set, where expression is learnt.
        kit: of all data, None where no file names one.
        grid: of all data.
    """

    folder: Path
    dataset: CompleteHierarchicalDrumDataset
    held_out: list[np.ndarray]
    held_out_plans: list[Plan]
    held_out_items: list[dict[str, Any]]
    kit: Kit | None
    grid: Grid

    def fingerprint(self) -> str:
        """Return a digest of all performances."""
        digest = hashlib.sha256()
        for array in (self.dataset.packed, self.dataset.bounds, *self.held_out):
            digest.update(f"{array.shape}".encode() + array.tobytes())
        if self.dataset.labels is not None:
            digest.update(json.dumps(self.dataset.labels).encode())
        for plan in (*self.dataset.plans, *self.held_out_plans):
            digest.update(plan.labels.numpy().tobytes() + plan.numbers.numpy().tobytes())
        for velocity, offset, tempo_bpm in self.dataset.expression:
            digest.update(velocity.tobytes() + offset.tobytes() + f"{tempo_bpm}".encode())
        return digest.hexdigest()


def read_material(config: TrainConfig, model: Mapping[str, Any] | None = None) -> Material:
    """Read and check all performances of the folder.

    Args:
        config: of the run.
        model: configuration of the run's model, for its labels and tracks; None takes that of the model to start from.

    Raises:
        HypermeterError: data that cannot be read or does not fit together, or lacks what is to be learnt.
    """
    if model is None and config.init is not None:
        model = load(config.init).config
    folder, validation = config.npz_dir / "train", config.npz_dir / "validation"
    if not folder.is_dir():
        if validation.is_dir():
            raise HypermeterError(f"{config.npz_dir}: validation but no train in it; prepare it again")
        folder = config.npz_dir
    held_out = sorted(validation.rglob("*.npz"))
    paths = sorted(folder.rglob("*.npz")) + held_out
    kit, grid = read_shared_kit_and_grid(paths, config.kit, mix_metres=config.mix_metres) if paths else (None, Grid())
    dataset = CompleteHierarchicalDrumDataset(
        folder,
        config.seq_len,
        grid.steps_per_bar,
        grid.bars_per_phrase,
        augment=config.augment,
        hop=(config.hop_bars or grid.bars_per_phrase) * grid.steps_per_bar,
        with_metrics=False,
        seed=config.seed,
        labels=_labels(config, model, folder, grid),
        tracks=(tracks := _tracks(config, model)),
        with_expression=config.only == "expression",
        mix_metres=config.mix_metres,
    )
    voices = dataset.num_drums
    if kit is not None and kit.num_voices != voices:
        raise HypermeterError(
            f"{folder}: {voices} voices, kit {kit.name} has {kit.num_voices}; prepare it again or name its kit"
        )
    sequences = [read_sequence(path) for path in held_out]
    for path, sequence in zip(held_out, sequences, strict=True):
        if sequence.shape[1] != voices:
            raise HypermeterError(
                f"{path}: {sequence.shape[1]} voices, expected {voices} as in {folder}; prepare all with one kit"
            )
    if tracks:
        _check_tracks(dataset, tracks)
    judged = [(path, sequence) for path, sequence in zip(held_out, sequences, strict=True) if len(sequence)]
    plans = [] if dataset.labels is None else [read_plan(*pair, grid, dataset.labels) for pair in judged]
    items = [_item(*pair, tracks) for pair in judged] if config.only == "expression" else []
    for where, played in (
        (folder, [(velocity, offset) for velocity, offset, _ in dataset.expression]),
        (validation, [(item["velocity"].numpy(), item["offset"].numpy()) for item in items]),
    ):
        if played and all((np.isnan(velocity) | np.isnan(offset)).all() for velocity, offset in played):
            raise HypermeterError(
                f"{where}: no .npz with both velocity and offset, so there is nothing to learn; prepare from MIDI"
            )
    if model is not None and model.get("labels") is not None:  # Others are of the data itself.
        _warn_of_unknown_styles(config, dataset)
    return Material(folder, dataset, [with_tracks(*pair, tracks) for pair in judged], plans, items, kit, grid)


def _warn_of_unknown_styles(config: TrainConfig, dataset: CompleteHierarchicalDrumDataset) -> None:
    """Warn if the data has styles that the labels of the model lack: they are left open."""
    assert dataset.labels is not None
    styles = find_labels(dataset.files, [plan.num_bars for plan in dataset.plans])["style"]
    if unknown := set(styles) - set(dataset.labels["style"]):
        names = ", ".join(sorted(unknown))
        warnings.warn(f"{config.init} does not know these styles of the data, which stay open: {names}", stacklevel=3)


def _item(path: Path, hits: np.ndarray, tracks: Sequence[Track]) -> dict[str, Any]:
    """Return a whole performance with its velocity and offset, as an item of the data set."""
    velocity, offset, tempo_bpm = read_expression(path, hits)
    return {
        "step": torch.from_numpy(with_tracks(path, hits, tracks)).float(),
        "velocity": torch.from_numpy(velocity),
        "offset": torch.from_numpy(offset),
        "tempo_bpm": torch.tensor(tempo_bpm),
    }


def _tracks(config: TrainConfig, model: Mapping[str, Any] | None) -> tuple[Track, ...]:
    """Return the tracks of the model, else those of the settings."""
    if model is not None:
        return tuple(Track.from_dict(track) for track in model.get("tracks", ()))
    return tuple(TRACKS[name] for name in config.tracks)


def _check_tracks(dataset: CompleteHierarchicalDrumDataset, tracks: Sequence[Track]) -> None:
    """Raise if no file has notes of a track: it would be learnt as one that always rests."""
    for track, (start, stop) in zip(tracks, track_groups(dataset.num_drums, tracks), strict=True):
        if not dataset.packed[:, start:stop].any():
            raise HypermeterError(
                f"{dataset.files[0].parent}: no notes of {track.name} in any .npz; prepare with --tracks {track.name}"
            )


def _labels(config: TrainConfig, model: Mapping[str, Any] | None, folder: Path, grid: Grid) -> Labels | None:
    """Return the vocabulary of the plans: that of the model, else that of the data; None without plans."""
    if model is not None and (labels := model.get("labels")) is not None:
        return labels
    if not (config.use_plan or config.only == "plan"):
        return None
    files, sequences = read_folder(folder)
    return find_labels(files, [-(-len(sequence) // grid.steps_per_bar) for sequence in sequences])


def read_start(name: str, material: Material) -> HierarchicalDrumModel:
    """Load a model to start from, or to learn from.

    Raises:
        HypermeterError: it cannot be loaded, or has another kit, grid or tracks than the data.
    """
    model, folder = load(name), material.folder
    if model.kit != material.kit:
        actual, expected = kit_name(model.kit), kit_name(material.kit)
        other = " of other voices" if actual == expected else ""
        raise HypermeterError(
            f"{name}: {actual}{other}, expected {expected} of {folder}; prepare with its kit, or name it by --kit"
        )
    if model.grid != material.grid:
        raise HypermeterError(f"{name}: {model.grid}, expected {material.grid} of {folder}; prepare on its grid")
    if model.tracks != material.dataset.tracks:
        raise HypermeterError(f"{name}: its tracks are not those of the model to start from; take another teacher")
    if model.num_drums != material.dataset.num_drums:  # neither has a kit
        actual, expected = model.num_drums, material.dataset.num_drums
        raise HypermeterError(f"{name}: {actual} voices, expected {expected} of {folder}; take another model")
    return model


def batches(
    dataset: CompleteHierarchicalDrumDataset, config: TrainConfig, first: int = 0, rank: int = 0, processes: int = 1
) -> Iterator[dict[str, Any]]:
    """Yield batches from update ``first`` on, without end; each epoch has its own permutation of the windows."""
    per_epoch = max(len(dataset) // config.batch_size, 1)
    epoch = -1
    order = np.arange(0)
    update = first
    while True:
        if update // per_epoch != epoch:
            epoch = update // per_epoch
            order = np.random.default_rng([config.seed, epoch]).permutation(len(dataset))
            dataset.set_epoch(epoch)
        start = update % per_epoch * config.batch_size
        rows = np.take(order, range(start, start + config.batch_size), mode="wrap")[rank::processes]
        yield collate([dataset[int(row)] for row in rows])
        update += 1

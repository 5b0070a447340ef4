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

from hypermeter.core.addresses import as_address
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit
from hypermeter.core.tracks import TRACKS, Track
from hypermeter.io.shards import list_address
from hypermeter.learn.dataset import (
    CompleteHierarchicalDrumDataset,
    Corpus,
    Performance,
    kit_name,
    load_ahead,
    mixed_batches,
    shared_kit_and_grid,
)
from hypermeter.learn.dataset.corpus import bytes_of
from hypermeter.learn.train.config import TrainConfig
from hypermeter.model.hierarchical import HierarchicalDrumModel, load
from hypermeter.model.plan import Plan
from hypermeter.play.network import LOOK_BACK_STEPS


@dataclass(frozen=True)
class Material:
    """Training and held-out data of a run.

    Args:
        folder: of the training data, or its address.
        datasets: windows of the training data, of one grid each; that of ``grid`` first.
        held_out: hits (T, V) of each held-out performance, those of one grid together.
        held_out_grids: their grids.
        held_out_plans: their plans, where plans are learnt.
        held_out_items: held-out performances as items of the data set, where expression is learnt.
        kit: of all data, None where no file names one.
        grid: of all data, or of most of it where metres are mixed.
        corpora: of the training data, and of the held-out performances.
    """

    folder: str | Path
    datasets: Sequence[CompleteHierarchicalDrumDataset]
    held_out: Sequence[np.ndarray]
    held_out_grids: Sequence[Grid]
    held_out_plans: Sequence[Plan]
    held_out_items: Sequence[dict[str, Any]]
    kit: Kit | None
    grid: Grid
    corpora: Sequence[Corpus]

    @property
    def dataset(self) -> CompleteHierarchicalDrumDataset:
        """The windows on ``grid``, which have labels, tracks and voices in common with the others."""
        return self.datasets[0]

    @property
    def grids(self) -> list[Grid]:
        """The grids of the training data."""
        return [data.grid for data in self.datasets]

    def distinct_steps(self) -> np.ndarray:
        """Return the distinct steps of the training data, sorted."""
        return np.unique(np.concatenate([data.distinct_steps() for data in self.datasets]), axis=0)

    def fingerprint(self) -> str:
        """Return a digest of all performances, whether they are in .npz or in shards."""
        digest = hashlib.sha256()
        if not all(corpus.is_held for corpus in self.corpora):
            digest.update("".join(corpus.digest for corpus in self.corpora).encode())
            return digest.hexdigest()
        held_out = self.held_out
        performances = [data.performance(file) for data in self.datasets for file in range(len(data.corpus))]
        bounds = np.cumsum([0, *(len(performance.hits) for performance in performances)])
        shape = (int(bounds[-1]), performances[0].hits.shape[1])
        digest.update(f"{shape}".encode() + b"".join(performance.hits.tobytes() for performance in performances))
        for array in (bounds, *held_out):
            digest.update(f"{array.shape}".encode() + array.tobytes())
        if self.dataset.labels is not None:
            digest.update(json.dumps(self.dataset.labels).encode())
        if len(self.datasets) > 1:
            digest.update(json.dumps([grid.to_dict() for grid in (*self.grids, *self.held_out_grids)]).encode())
        plans = [performance.plan for performance in performances if performance.plan is not None]
        for plan in (*plans, *self.held_out_plans):
            digest.update(plan.labels.numpy().tobytes() + plan.numbers.numpy().tobytes())
        for performance in performances:
            if performance.expression is not None:
                velocity, offset, tempo_bpm = performance.expression
                digest.update(velocity.tobytes() + offset.tobytes() + f"{tempo_bpm}".encode())
                digest.update(bytes_of(performance.strokes, performance.openness))
        return digest.hexdigest()


class _Each(Sequence[Any]):
    """What is made of each performance of data sets, when it is wanted."""

    def __init__(self, datasets: Sequence[CompleteHierarchicalDrumDataset], what: str) -> None:
        self.places = [(data, file) for data in datasets for file in range(len(data.corpus))]
        self.what = what

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> Any:
        dataset, file = self.places[index]
        performance = dataset.performance(file)
        return _item(performance, dataset.grid) if self.what == "item" else getattr(performance, self.what)


def _each(datasets: Sequence[CompleteHierarchicalDrumDataset], what: str) -> Sequence[Any]:
    values = _Each(datasets, what)
    return list(values) if all(data.corpus.is_held for data in datasets) else values


def read_material(config: TrainConfig, model: Mapping[str, Any] | None = None) -> Material:
    """Read and check all performances of the folder, each file once.

    Args:
        config: of the run.
        model: configuration of the run's model, for its labels and tracks; None takes that of the model to start from.

    Raises:
        HypermeterError: data that cannot be read or does not fit together, or lacks what is to be learnt.
    """
    if model is None and config.init is not None:
        model = load(config.init).config
    labels = None if model is None else model.get("labels")
    tracks = _tracks(config, model)
    folder, validation = _folders(config.npz_dir)
    options = {"tracks": tracks, "with_expression": config.reads_expression}
    options["with_sections"] = labels is not None or config.use_plan or config.only == "plan"
    corpora = [Corpus(folder, **options)]
    if validation is not None:
        corpora.append(Corpus(validation, **options, may_be_empty=True))
    kit, grid = shared_kit_and_grid(corpora, config.kit, mix_metres=config.mix_metres)
    if labels is None and options["with_sections"]:
        labels = corpora[0].labels()
    splits = [
        [
            _windows(part, grid if part_grid is None else part_grid, config, labels, tracks)
            for part_grid, part in _by_grid(corpus, grid, config.mix_metres)
        ]
        for corpus in corpora
        if len(corpus)
    ]
    datasets, held_out = splits[0], [data for split in splits[1:] for data in split]
    dataset = datasets[0]
    voices = dataset.num_drums
    if kit is not None and kit.num_voices != voices:
        raise HypermeterError(
            f"{folder}: {voices} voices, kit {kit.name} has {kit.num_voices}; prepare it again or name its kit"
        )
    for other in held_out:
        if other.num_drums != voices:
            path = other.files[0]
            raise HypermeterError(
                f"{path}: {other.num_drums} voices, expected {voices} as in {folder}; prepare all with one kit"
            )
    for track in tracks:
        if track.name not in corpora[0].tracks_with_notes:  # It would be learnt as one that always rests.
            raise HypermeterError(
                f"{dataset.files[0].parent}: no notes of {track.name} in any .npz; prepare with --tracks {track.name}"
            )
    for corpus in corpora:
        if options["with_expression"] and len(corpus) and not corpus.has_expression:
            raise HypermeterError(
                f"{corpus.folder}: no .npz with both velocity and offset, so there is nothing to learn; prepare from"
                " MIDI"
            )
    known = None if model is None else model.get("labels")  # Others are of the data itself.
    if known is not None and (unknown := corpora[0].styles - set(known["style"])):
        names = ", ".join(sorted(unknown))
        warnings.warn(f"{config.init} does not know these styles of the data, which stay open: {names}", stacklevel=2)
    return Material(
        folder,
        datasets,
        _each(held_out, "hits"),
        [data.grid for data in held_out for _ in range(len(data.corpus))],
        _each(held_out, "plan") if labels is not None else [],
        _each(held_out, "item") if options["with_expression"] else [],
        kit,
        grid,
        corpora,
    )


def _by_grid(corpus: Corpus, grid: Grid, mix_metres: bool) -> list[tuple[Grid | None, Corpus]]:
    """Return the performances of each grid that has a bar of enough steps, those of ``grid`` first; or all together."""
    if not mix_metres:
        return [(None, corpus)]
    grids = [own for own in corpus.grids if (own or grid).steps_per_bar >= LOOK_BACK_STEPS]
    return [(own, corpus.on(own)) for own in sorted(grids, key=lambda own: (own or grid) != grid)]


def _windows(
    corpus: Corpus, grid: Grid, config: TrainConfig, labels: Any, tracks: Sequence[Track]
) -> CompleteHierarchicalDrumDataset:
    """Return the windows of performances in one metre: of whole phrases, if they are longer than one."""
    per_phrase = grid.steps_per_phrase
    return CompleteHierarchicalDrumDataset(
        corpus,
        config.seq_len // per_phrase * per_phrase
        if config.mix_metres and config.seq_len > per_phrase
        else config.seq_len,
        grid.steps_per_bar,
        grid.bars_per_phrase,
        augment=config.augment,
        hop=(config.hop_bars or grid.bars_per_phrase) * grid.steps_per_bar,
        with_metrics=False,
        seed=config.seed,
        labels=labels,
        tracks=tracks,
        with_expression=config.reads_expression,
        grid=grid,
    )


def read_material_once(fabric: Any, config: TrainConfig, model: Mapping[str, Any] | None = None) -> Material:
    """Return what ``read_material`` does, which the first process reads for all.

    Raises:
        HypermeterError: as ``read_material``, in all processes.
    """
    result: Any = None
    if fabric.is_global_zero:
        try:
            result = read_material(config, model)
        except HypermeterError as error:
            result = error
    result = fabric.broadcast(result)
    if isinstance(result, HypermeterError):
        raise result
    return result


def _folders(npz_dir: Path) -> tuple[str | Path, str | Path | None]:
    """Return the folder to train on, and that of held-out performances, if there is one."""
    if address := as_address(npz_dir):
        splits = {shard.removeprefix(address).lstrip("/").partition("/")[0] for shard in list_address(address)}
        if "train" not in splits:
            return address, None
        return f"{address}/train", f"{address}/validation" if "validation" in splits else None
    folder, validation = npz_dir / "train", npz_dir / "validation"
    if not folder.is_dir():
        if validation.is_dir():
            raise HypermeterError(f"{npz_dir}: validation but no train in it; prepare it again")
        folder = npz_dir
    return folder, validation if validation.is_dir() else None


def _item(performance: Performance, grid: Grid) -> dict[str, Any]:
    """Return a whole performance with its velocity and offset, as an item of the data set with its grid."""
    assert performance.expression is not None
    velocity, offset, tempo_bpm = performance.expression
    return {
        "step": torch.from_numpy(performance.hits).float(),
        "velocity": torch.from_numpy(velocity),
        "offset": torch.from_numpy(offset),
        "articulation": torch.from_numpy(performance.articulation(np.arange(len(velocity)))),
        "tempo_bpm": torch.tensor(tempo_bpm),
        "grid": grid,
    }


def _tracks(config: TrainConfig, model: Mapping[str, Any] | None) -> tuple[Track, ...]:
    """Return the tracks of the model, else those of the settings."""
    if model is not None:
        return tuple(Track.from_dict(track) for track in model.get("tracks", ()))
    return tuple(TRACKS[name] for name in config.tracks)


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
        try:
            model = model.on(material.grid)
        except HypermeterError as error:
            raise HypermeterError(
                f"{name}: {model.grid}, expected {material.grid} of {folder}; prepare on its grid"
            ) from error
    if model.tracks != material.dataset.tracks:
        raise HypermeterError(f"{name}: its tracks are not those of the model to start from; take another teacher")
    if model.num_drums != material.dataset.num_drums:  # neither has a kit
        actual, expected = model.num_drums, material.dataset.num_drums
        raise HypermeterError(f"{name}: {actual} voices, expected {expected} of {folder}; take another model")
    return model


def read_teacher(name: str, material: Material) -> HierarchicalDrumModel:
    """Load a model to learn from.

    Raises:
        HypermeterError: as ``read_start``, or the model learnt none of the grids of the data.
    """
    teacher = read_start(name, material)
    if not set(teacher.grids) & set(material.grids):
        raise HypermeterError(
            f"{name}: it learnt {teacher.grids[0]}, expected a grid of {material.folder}; take another teacher"
        )
    return teacher


def batches(
    datasets: Sequence[CompleteHierarchicalDrumDataset],
    config: TrainConfig,
    first: int = 0,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[dict[str, Any]]:
    """Yield batches from update ``first`` on, without end; see ``mixed_batches``.

    Batches of a corpus that is not held are loaded ahead, since a disk or network is waited for.
    """
    loaded = mixed_batches(datasets, config.batch_size, config.seed, first, rank, processes)
    return loaded if all(data.corpus.is_held for data in datasets) else load_ahead(loaded)

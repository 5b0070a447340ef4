"""A folder of .npz as windows that start on bar lines, and the loader that batches them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.tracks import Track, track_groups
from hypermeter.io.npz import read_folder, read_kit_and_grid, read_meta
from hypermeter.learn.dataset.conditions import (
    is_lettered,
    letter_anew,
    measured_anew,
    read_expression,
    read_plan,
    with_tracks,
)
from hypermeter.model.plan import Labels, Plan, stack
from hypermeter.music.metrics import chunk_means, window_metrics

DROP_OUT = 0.02
"""Share of hits that augmentation silences."""


class WindowMetrics(dict):
    """The metrics of a window. Pickled as numpy: each tensor that a loader's worker sends costs an open file."""

    def __reduce__(self) -> tuple:
        return _tensors, (_map(dict(self), lambda value: value.numpy()),)


def _map(tree: Any, change: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _map(value, change) for key, value in tree.items()}
    return [_map(value, change) for value in tree] if isinstance(tree, list) else change(tree)


def _tensors(tree: dict) -> WindowMetrics:
    return WindowMetrics(_map(tree, lambda value: torch.as_tensor(np.array(value))))


class CompleteHierarchicalDrumDataset(Dataset):
    """Windows of all .npz under a folder, each with its bar and phrase means and its metrics.

    All files are read at the start into one packed uint8 array. An item is a dict:
    ``step`` (steps, V) float32 in {0, 1}; ``bar`` (bars, V) and ``phrase`` (phrases, V), means in [0, 1] over the
    chunk, where a last one may be short; ``metrics``, the levels of ``window_metrics`` (empty dicts without
    ``with_metrics``). With ``labels`` also ``plan``, what could have been asked of its bars, see ``read_plan``; with
    ``with_expression`` also ``velocity`` and ``offset`` (steps, V) and ``tempo_bpm``, NaN where a file does not tell.
    Windows start on bar lines, ``hop`` steps apart; the last one of a file covers its end and may be shorter than
    ``seq_len``. A file shorter than ``seq_len`` is one item of its own length.

    Augmentation moves the window to a random bar of the same performance, going on from its first bar after its last
    whole one, and silences ``DROP_OUT`` of the hits. With tracks, it moves them by one interval of at most half an
    octave, and hides from them which song it is: in half of the windows the drums exchange their voices, and any number
    of voices falls silent, more often many than few. Bar phase is kept. The augmentation depends on (seed, epoch,
    index) only: call ``set_epoch`` before each epoch, before the loader's workers start.

    Args:
        npz_dir: folder, searched with its subfolders in sorted order.
        seq_len: steps in a window, at least a bar.
        steps_per_bar: steps.
        bars_per_phrase: bars.
        sections: (start, end) in steps of the window, for the section metrics.
        augment: whether to augment.
        fast_threshold: steps, for the metric ``fast_patterns``.
        hop: steps between windows, whole bars; left out, one bar.
        with_metrics: False for faster training.
        seed: of the augmentation.
        labels: vocabulary of the plans, see ``find_labels``.
        tracks: beside the drums, whose columns follow the voices in ``step``, ``bar`` and ``phrase``; the metrics are
            of the drums alone.
        with_expression: read velocity, offset and tempo.
        mix_metres: take files in several metres, where their meta tells them, whose bars have ``steps_per_bar`` steps.

    Raises:
        HypermeterError: no such folder, no .npz or none with a step in it, a bad file, files with different numbers
            of voices, a file whose meta tells bars of other lengths, files in different metres without ``mix_metres``,
            or an argument outside its range. Files without steps are left out with one warning.
    """

    def __init__(
        self,
        npz_dir: str | Path,
        seq_len: int = 512,
        steps_per_bar: int = 16,
        bars_per_phrase: int = 4,
        sections: Sequence[tuple[int, int]] | None = None,
        augment: bool = False,
        fast_threshold: int = 4,
        *,
        hop: int | None = None,
        with_metrics: bool = True,
        seed: int = 0,
        labels: Labels | None = None,
        tracks: Sequence[Track] = (),
        with_expression: bool = False,
        mix_metres: bool = False,
    ) -> None:
        # Only bars and phrases matter here: a beat of one step unless the bar is cut in four, as in 4/4.
        per_beat = steps_per_bar // 4 if steps_per_bar % 4 == 0 else 1
        self.grid = Grid(per_beat or 1, steps_per_bar // (per_beat or 1), bars_per_phrase)
        hop = steps_per_bar if hop is None else hop
        if hop < 1 or hop % steps_per_bar:
            raise HypermeterError(f"hop is {hop} steps, expected whole bars of {steps_per_bar} steps")
        if seq_len < steps_per_bar:
            raise HypermeterError(f"seq_len is {seq_len} steps, expected at least one bar of {steps_per_bar}")
        for start, end in sections or ():
            if not 0 <= start < end:
                raise HypermeterError(f"section ({start}, {end}), expected 0 <= start < end in steps of the window")
        self.seq_len, self.hop, self.seed, self.epoch = seq_len, hop, seed, 0
        self.sections, self.fast_threshold = sections, fast_threshold
        self.augment, self.with_metrics = augment, with_metrics

        self.files, sequences = read_folder(Path(npz_dir))
        self.grids = self._grids(mix_metres)
        self.num_drums, self.tracks = sequences[0].shape[1], tuple(tracks)
        both = [with_tracks(*each, tracks) for each in zip(self.files, sequences, strict=True)]
        self.packed = np.concatenate(both)
        """(all steps, V and the columns of tracks) uint8, file after file."""
        lengths = [len(each) for each in sequences]
        self.bounds = np.cumsum([0, *lengths])
        """Where each file begins in ``packed``, and its end."""
        self.windows = np.array([(file, start) for file, steps in enumerate(lengths) for start in self._starts(steps)])
        """(items, 2): number of the file, first step of the window in it."""
        self.labels, self.plans = labels, []
        if labels is not None:
            self.plans = [read_plan(*each, self.grid, labels) for each in zip(self.files, sequences, strict=True)]
        self.expression: list[tuple[np.ndarray, np.ndarray, float]] = []
        if with_expression:
            self.expression = [
                read_expression(path, sequence) for path, sequence in zip(self.files, sequences, strict=True)
            ]

    def _grids(self, mix_metres: bool) -> list[Grid]:
        """Of the files. The data set itself has no metre, but a file that tells its own must fit."""
        grids: list[Grid] = []
        first: tuple[Path, Grid] | None = None
        for path in self.files:
            grids.append(self.grid)  # where the file tells none
            try:
                meta = read_meta(path)
                grid = read_kit_and_grid(path, meta=meta)[1]
            except HypermeterError:  # hits are all that is needed here; a meta that cannot be read tells nothing
                continue
            if "grid" not in meta:
                continue
            if grid.steps_per_bar != self.grid.steps_per_bar:
                raise HypermeterError(
                    f"{path}: bars of {grid.steps_per_bar} steps, expected {self.grid.steps_per_bar}; pass its"
                    " steps_per_bar, or prepare it again"
                )
            first = first or (path, grid)
            if grid.metre != first[1].metre and not mix_metres:
                raise HypermeterError(
                    f"{path}: {grid.metre}, and {first[0]} is {first[1].metre}; keep metres apart, or pass mix_metres"
                )
            grids[-1] = grid
        return grids

    def _starts(self, steps: int) -> list[int]:
        last = -(-max(steps - self.seq_len, 0) // self.grid.steps_per_bar) * self.grid.steps_per_bar
        return [*range(0, last, self.hop), last]

    def set_epoch(self, epoch: int) -> None:
        """Draw the augmentation anew. A loader's running workers do not see it: call it before they start."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Several items; a loader asks for a batch in this way. Windows of one length are measured together."""
        items: list[dict[str, Any]] = []
        for index in indices:
            file, rows, hits = self._window(int(index))
            step = torch.from_numpy(hits.astype(np.float32))
            bar, phrase = (chunk_means(step, size) for size in (self.grid.steps_per_bar, self.grid.steps_per_phrase))
            metrics = WindowMetrics(step={}, bar={}, phrase={}, section=[], song={})
            items.append(
                {"step": step, "bar": bar, "phrase": phrase, "metrics": metrics} | self._beside(file, rows, step)
            )
        if self.with_metrics:
            for length in {len(item["step"]) for item in items}:
                alike = [item for item in items if len(item["step"]) == length]
                steps = torch.stack([item["step"][:, : self.num_drums] for item in alike])
                measured = window_metrics(steps, self.grid, self.sections, self.fast_threshold)
                for row, item in enumerate(alike):
                    item["metrics"] = WindowMetrics(_map(measured, lambda value, row=row: value[row]))
        return items

    def _window(self, index: int) -> tuple[int, np.ndarray, np.ndarray]:
        """The number of its file, the rows of the file that it takes, and its hits."""
        file, start = self.windows[index].tolist()
        sequence = self.packed[self.bounds[file] : self.bounds[file + 1]]
        rows = np.arange(start, min(start + self.seq_len, len(sequence)))
        if not self.augment:
            return file, rows, sequence[rows]
        random = np.random.default_rng([self.seed, self.epoch, index % len(self)])
        bars = max(len(sequence) // self.grid.steps_per_bar, 1)
        start = int(random.integers(bars)) * self.grid.steps_per_bar
        rows = (start + np.arange(len(rows))) % min(bars * self.grid.steps_per_bar, len(sequence))
        hits = sequence[rows].copy()
        drums = hits[:, : self.num_drums]
        drums *= random.random(drums.shape) >= DROP_OUT
        if self.tracks:
            if random.random() < 0.5 and not self.expression:  # which is of each voice as it was played
                drums[:] = drums[:, random.permutation(self.num_drums)]
            drums *= random.random(self.num_drums) < random.random() ** 2
            interval = int(random.integers(-5, 7))
            for track, group in zip(self.tracks, track_groups(self.num_drums, self.tracks), strict=True):
                hits[:, slice(*group)] = track.transpose(hits[:, slice(*group)], interval)
        return file, rows, hits

    def _beside(self, file: int, rows: np.ndarray, step: Tensor) -> dict[str, Any]:
        """What stands beside the hits of a window."""
        beside: dict[str, Any] = {}
        if self.labels is not None:
            bars = torch.from_numpy(rows[:: self.grid.steps_per_bar] // self.grid.steps_per_bar)
            plan = Plan(*(each[:, bars] for each in self.plans[file]))
            if self.augment and self.tracks:
                plan = measured_anew(plan, step[None, :, : self.num_drums], self.grids[file])
            beside["plan"] = letter_anew(plan) if is_lettered(self.labels) else plan
        if self.expression:
            velocity, offset, tempo_bpm = self.expression[file]
            beside |= {"velocity": torch.from_numpy(velocity[rows]), "offset": torch.from_numpy(offset[rows])}
            beside["tempo_bpm"] = torch.tensor(tempo_bpm)
        return beside


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    """A batch, padded with zeros to its longest item.

    ``step`` (B, T, V), ``bar`` (B, bars, V), ``phrase`` (B, phrases, V), and ``mask`` (B, T), ``bar_mask`` (B, bars),
    ``phrase_mask`` (B, phrases), true where real; ``metrics``: the items' dicts, in a list. Where the items have them:
    ``plan`` of B pieces, padded with what is open; ``velocity`` and ``offset`` (B, T, V); ``tempo_bpm`` (B,).
    """
    batch: dict[str, Any] = {}
    for level, mask in (("step", "mask"), ("bar", "bar_mask"), ("phrase", "phrase_mask")):
        rows: list[Tensor] = [item[level] for item in items]
        batch[level] = pad_sequence(rows, batch_first=True)
        batch[mask] = torch.arange(batch[level].shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
    if "plan" in items[0]:
        batch["plan"] = stack([item["plan"] for item in items])
    if "velocity" in items[0]:
        for name in ("velocity", "offset"):
            batch[name] = pad_sequence([item[name] for item in items], batch_first=True)
        batch["tempo_bpm"] = torch.stack([item["tempo_bpm"] for item in items])
    return batch | {"metrics": [item["metrics"] for item in items]}


def get_complete_rl_dataloader(
    npz_dir: str | Path,
    seq_len: int = 512,
    steps_per_bar: int = 16,
    bars_per_phrase: int = 4,
    batch_size: int = 16,
    shuffle: bool = True,
    augment: bool = False,
    num_workers: int = 0,
    *,
    with_metrics: bool = True,
    hop: int | None = None,
    seed: int = 0,
) -> DataLoader:
    """A loader of ``CompleteHierarchicalDrumDataset`` in batches as of ``collate``.

    For several processes, give the data set and ``collate`` to a loader with a DistributedSampler (Lightning does so by
    itself).

    Args:
        npz_dir: folder, searched with its subfolders in sorted order.
        seq_len: steps in a window, at least a bar.
        steps_per_bar: steps, at least 1.
        bars_per_phrase: bars, at least 1.
        batch_size: windows in a batch, at least 1; the last batch may have fewer.
        shuffle: whether each pass has an order of its own; otherwise files and their windows come in order.
        augment: whether to augment, see the data set.
        num_workers: processes that load; 0 loads in this one.
        with_metrics: False for faster training.
        hop: steps between windows, whole bars; left out, one bar.
        seed: of the augmentation and of the order, at least 0.

    Raises:
        HypermeterError: as the data set.
    """
    dataset = CompleteHierarchicalDrumDataset(
        npz_dir, seq_len, steps_per_bar, bars_per_phrase, augment=augment, hop=hop, with_metrics=with_metrics, seed=seed
    )
    order = torch.Generator().manual_seed(seed)
    return DataLoader(
        dataset, batch_size, shuffle=shuffle, num_workers=num_workers, collate_fn=collate, generator=order
    )

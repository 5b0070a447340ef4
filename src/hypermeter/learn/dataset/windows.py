"""Windows of performances, which start on bar lines, and batches of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from hypermeter.core.cache import ByteCache
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.strokes import Strokes
from hypermeter.core.tracks import HOLD, Track, track_groups
from hypermeter.io.performances import PerformanceFile
from hypermeter.learn.dataset.conditions import (
    is_lettered,
    letter_anew,
    measured_anew,
    read_expression,
    read_plan,
    read_strokes,
)
from hypermeter.learn.dataset.corpus import CACHE_BYTES, Corpus
from hypermeter.model.plan import Labels, Plan, stack
from hypermeter.music.metrics import chunk_means, window_metrics
from hypermeter.play.articulating import articulation_of

DROP_OUT = 0.02
"""Share of hits that augmentation silences."""


class WindowMetrics(dict):
    """Metrics of a window. Pickled as NumPy: each tensor that a loader's worker sends costs an open file."""

    def __reduce__(self) -> tuple:
        return _tensors, (_map(dict(self), lambda value: value.numpy()),)


def _map(tree: Any, change: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _map(value, change) for key, value in tree.items()}
    return [_map(value, change) for value in tree] if isinstance(tree, list) else change(tree)


def _tensors(tree: dict) -> WindowMetrics:
    return WindowMetrics(_map(tree, lambda value: torch.as_tensor(np.array(value))))


@dataclass(frozen=True, eq=False)
class Performance:
    """Hits (T, V and the columns of tracks) uint8 of a performance, its plan, and its velocity, offset and tempo.

    With expression also its further strokes and openness (T, V), and where a note of the bass begins (T,); `None` where
    they are not known.
    """

    hits: np.ndarray
    plan: Plan | None
    expression: tuple[np.ndarray, np.ndarray, float] | None
    strokes: Strokes | None = None
    openness: np.ndarray | None = None
    bass: np.ndarray | None = None

    def articulation(self, rows: np.ndarray) -> np.ndarray:
        """Return the articulation of some steps, (steps, V, channels) float32; see `play.articulating`."""
        assert self.expression is not None
        velocity, offset, _ = self.expression
        strokes = self.strokes
        if strokes is not None:
            first, last = (np.searchsorted(strokes.step, rows, side) for side in ("left", "right"))
            counts = last - first
            index = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
            table = strokes.table[index]
            table[:, 0] = np.repeat(np.arange(len(rows)), counts)
            strokes = Strokes.of_table(table)
        hits = self.hits[rows, : velocity.shape[1]]
        openness = None if self.openness is None else self.openness[rows]
        return articulation_of(hits, velocity[rows], offset[rows], strokes, openness)

    @property
    def num_bytes(self) -> int:
        arrays = [self.hits, *(self.plan or ()), *(self.expression or ())[:2]]
        arrays += [] if self.openness is None else [self.openness]
        arrays += [] if self.strokes is None else [self.strokes.table]
        return 1024 + sum(array.nbytes for array in arrays)


class CompleteHierarchicalDrumDataset(Dataset):
    """Windows of all .npz under a folder, each with its bar and phrase means and its metrics.

    All files are read once, see ``Corpus``. An item is a dict: ``step`` (steps, V) float32 in {0, 1}; ``bar``
    (bars, V) and ``phrase`` (phrases, V), means in [0, 1], of which the last may be of a shorter chunk; ``metrics``, a
    dict by level, see ``window_metrics`` (of empty dicts without ``with_metrics``). With ``labels`` also ``plan``, see
    ``read_plan``; with ``with_expression`` also ``velocity`` and ``offset`` (steps, V) and ``tempo_bpm``, NaN where
    unknown. Windows are ``hop`` steps apart; the last one of a file covers its end and may be shorter than ``seq_len``.

    Augmentation moves a window to a random bar of its performance, where the first bar follows the last whole one, and
    drops ``DROP_OUT`` of the hits. Tracks are transposed by at most half an octave; beside them, in half of the windows
    the drums exchange their voices, and any number of voices is silenced. It depends on (seed, epoch, index) only: call
    ``set_epoch`` before each epoch, before the loader's workers start.

    Args:
        npz_dir: folder of .npz or shards, searched with its subfolders in sorted order; or a corpus that was read with
            the same tracks, with expression where that is wanted, and with sections where there are labels.
        seq_len: steps in a window, at least a bar.
        steps_per_bar: steps.
        bars_per_phrase: bars.
        sections: (start, end) in steps of the window, for the section metrics.
        augment: whether to augment.
        fast_threshold: steps, for the metric ``fast_patterns``.
        hop: steps between windows, whole bars; None is one bar.
        with_metrics: False for faster training.
        seed: of the augmentation.
        labels: vocabulary of the plans, see ``find_labels``.
        tracks: tracks whose columns follow the voices in ``step``, ``bar`` and ``phrase``; metrics are of the drums.
        with_expression: read velocity, offset and tempo.
        mix_metres: accept files in several metres whose bars have ``steps_per_bar`` steps.
        grid: the metre, which conditions and metrics are of; None, one of the beats that ``steps_per_bar`` allows.

    Raises:
        HypermeterError: no such folder, no .npz or none with a step in it, a bad file, different numbers of voices,
            bars of other lengths, different metres without ``mix_metres``, or an argument outside its range. Files
            without steps are left out with one warning.
    """

    def __init__(
        self,
        npz_dir: str | Path | Corpus,
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
        grid: Grid | None = None,
    ) -> None:
        # A beat of one step unless the bar is cut in four, as in 4/4.
        per_beat = steps_per_bar // 4 if steps_per_bar % 4 == 0 else 1
        self.grid = grid or Grid(per_beat or 1, steps_per_bar // (per_beat or 1), bars_per_phrase)
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

        if not isinstance(npz_dir, Corpus):
            options = {"with_expression": with_expression, "with_sections": labels is not None}
            npz_dir = Corpus(npz_dir, tracks=tracks, **options)
        self.corpus, self.files, self.num_drums = npz_dir, npz_dir.files, npz_dir.num_drums
        self.tracks, self.labels, self.with_expression = tuple(tracks), labels, with_expression
        self._check_grids(mix_metres)
        last = np.maximum(-(-(self.corpus.lengths - seq_len) // steps_per_bar), 0) * steps_per_bar
        self._last_starts = last.astype(np.int32)
        """First step of the last window of each performance."""
        self._window_ends = np.cumsum(-(-last // hop) + 1)
        """Number of windows up to the end of each performance."""
        self._cache = ByteCache(CACHE_BYTES)
        self._loaded = [self._read(file) for file in range(len(self.corpus))] if self.corpus.is_held else None

    def _check_grids(self, mix_metres: bool) -> None:
        """Raise if grids that performances name do not fit together; one without is on the data set's."""
        first: tuple[PerformanceFile, Grid] | None = None
        for grid, path in self.corpus.grids.items():
            if grid is None:
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

    def _read(self, file: int) -> "Performance":
        opened, hits, plan, expression = self.corpus.performance(file), self.corpus.hits(file), None, None
        strokes, openness, bass = None, None, None
        if self.labels is not None:
            plan = read_plan(opened, opened.arrays["sequence"], self.grid, self.labels)
        if self.with_expression:
            expression = read_expression(opened, opened.arrays["sequence"])
            strokes, openness = read_strokes(opened, opened.arrays["sequence"])
            if (notes := opened.arrays.get("track_bass")) is not None and notes.shape == hits.shape[:1]:
                bass = notes > HOLD
        return Performance(hits, plan, expression, strokes, openness, bass)

    def performance(self, file: int) -> "Performance":
        """Return the hits of a performance, and its plan and expression where the data set has them."""
        if self._loaded is not None:
            return self._loaded[file]

        def read() -> tuple[Performance, int]:
            performance = self._read(file)
            return performance, performance.num_bytes

        return self._cache.get(file, read)

    @property
    def bytes_per_step(self) -> int:
        """Bytes of a step of a performance in memory."""
        voices = self.num_drums
        tracks = sum(stop - start for start, stop in track_groups(voices, self.tracks))
        return voices + tracks + 12 * voices * self.with_expression

    def distinct_steps(self) -> np.ndarray:
        """Return the distinct rows of ``packed``, sorted."""
        found = np.zeros((0, 0), np.uint8)
        for start in range(0, len(self.corpus), 1024):
            files = range(start, min(start + 1024, len(self.corpus)))
            rows = np.unique(np.concatenate([self.performance(file).hits for file in files]), axis=0)
            found = np.unique(np.concatenate([found, rows]), axis=0) if len(found) else rows
        return found

    @property
    def packed(self) -> np.ndarray:
        """(all steps, V and the columns of tracks) uint8, file after file: the whole corpus in memory."""
        return np.concatenate([self.performance(file).hits for file in range(len(self.corpus))])

    @property
    def windows(self) -> np.ndarray:
        """(items, 2): number of the file, first step of the window in it."""
        return np.array([self._place(index) for index in range(len(self))])

    def _place(self, index: int) -> tuple[int, int]:
        """Return the number of a window's file, and its first step in it."""
        index = range(len(self))[index]
        file = int(np.searchsorted(self._window_ends, index, "right"))
        number = index - (int(self._window_ends[file - 1]) if file else 0)
        return file, min(number * self.hop, int(self._last_starts[file]))

    def windows_before(self, file: int) -> int:
        """Return the number of windows of all performances before one."""
        return int(self._window_ends[file - 1]) if file else 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the augmentation. Call it before a loader's workers start, which do not see it later."""
        self.epoch = epoch

    def __len__(self) -> int:
        return int(self._window_ends[-1])

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return several items, as a loader fetches a batch; windows of one length are measured together."""
        items: list[dict[str, Any]] = []
        for index in indices:
            file, rows, hits = self._window(int(index))
            step = torch.from_numpy(hits.astype(np.float32))
            bar, phrase = (chunk_means(step, size) for size in (self.grid.steps_per_bar, self.grid.steps_per_phrase))
            metrics = WindowMetrics(step={}, bar={}, phrase={}, section=[], song={})
            items.append(
                {"step": step, "bar": bar, "phrase": phrase, "metrics": metrics} | self._extras(file, rows, step)
            )
        if self.with_metrics:
            for length in {len(item["step"]) for item in items}:
                same_length = [item for item in items if len(item["step"]) == length]
                steps = torch.stack([item["step"][:, : self.num_drums] for item in same_length])
                metrics = window_metrics(steps, self.grid, self.sections, self.fast_threshold)
                for row, item in enumerate(same_length):
                    item["metrics"] = WindowMetrics(_map(metrics, lambda value, row=row: value[row]))
        return items

    def _window(self, index: int) -> tuple[int, np.ndarray, np.ndarray]:
        """Return the number of the window's file, its steps of the file, and its hits."""
        file, start = self._place(index)
        sequence = self.performance(file).hits
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
            if random.random() < 0.5 and not self.with_expression:  # Expression is of the voice that was played.
                drums[:] = drums[:, random.permutation(self.num_drums)]
            drums *= random.random(self.num_drums) < random.random() ** 2
            interval = int(random.integers(-5, 7))
            for track, group in zip(self.tracks, track_groups(self.num_drums, self.tracks), strict=True):
                hits[:, slice(*group)] = track.transpose(hits[:, slice(*group)], interval)
        return file, rows, hits

    def _extras(self, file: int, rows: np.ndarray, step: Tensor) -> dict[str, Any]:
        """Return the plan and expression of a window, where the data set has them."""
        extras: dict[str, Any] = {}
        performance = self.performance(file)
        if performance.plan is not None and self.labels is not None:
            bars = torch.from_numpy(rows[:: self.grid.steps_per_bar] // self.grid.steps_per_bar)
            plan = Plan(*(part[:, bars] for part in performance.plan))
            if self.augment and self.tracks:
                plan = measured_anew(plan, step[None, :, : self.num_drums], self.corpus.grid(file) or self.grid)
            extras["plan"] = letter_anew(plan) if is_lettered(self.labels) else plan
        if performance.expression is not None:
            velocity, offset, tempo_bpm = performance.expression
            extras |= {"velocity": torch.from_numpy(velocity[rows]), "offset": torch.from_numpy(offset[rows])}
            extras["tempo_bpm"] = torch.tensor(tempo_bpm)
            extras["articulation"] = torch.from_numpy(performance.articulation(rows))
            bass = np.zeros(len(rows), bool) if performance.bass is None else performance.bass[rows]
            extras["bass"] = torch.from_numpy(bass)
        return extras


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a batch, padded with zeros to its longest item.

    ``step`` (B, T, V), ``bar`` (B, bars, V), ``phrase`` (B, phrases, V), and ``mask`` (B, T), ``bar_mask`` (B, bars),
    ``phrase_mask`` (B, phrases), false where padded; ``metrics``: a list of the items' dicts by level. Where items have
    them: ``plan`` of B rows, padded with open bars; ``velocity`` and ``offset`` (B, T, V),
    ``articulation`` (B, T, V, channels); ``bass`` (B, T), where its notes begin; ``tempo_bpm`` (B,).
    """
    batch: dict[str, Any] = {}
    for level, mask in (("step", "mask"), ("bar", "bar_mask"), ("phrase", "phrase_mask")):
        rows: list[Tensor] = [item[level] for item in items]
        batch[level] = pad_sequence(rows, batch_first=True)
        batch[mask] = torch.arange(batch[level].shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
    if "plan" in items[0]:
        batch["plan"] = stack([item["plan"] for item in items])
    if "velocity" in items[0]:
        for name in ("velocity", "offset", "articulation", "bass"):
            batch[name] = pad_sequence([item[name] for item in items], batch_first=True)
        batch["tempo_bpm"] = torch.stack([item["tempo_bpm"] for item in items])
    return batch | {"metrics": [item["metrics"] for item in items]}

"""A folder of .npz as windows that start on bar lines, and the loader that batches them."""

import json
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from hypermeter.grid import Grid, HypermeterError
from hypermeter.kit import Kit, load_kit
from hypermeter.metrics import chunk_means, window_metrics

DROP_OUT = 0.02
"""Share of hits that augmentation silences."""


@contextmanager
def open_npz(path: str | Path) -> Iterator[Mapping[str, Any]]:
    """The arrays of a .npz by name; each is read when it is asked for.

    Raises:
        HypermeterError: not a .npz, damaged, or an array of Python objects was asked for.
    """
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise HypermeterError(f"{path}: not a readable .npz (no zip of arrays); write it with numpy.savez")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                yield archive
    except HypermeterError:
        raise
    except (OSError, ValueError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        if "pickle" in str(error):
            reason = "an array of Python objects, which are not loaded; save arrays of numbers, and meta as JSON"
            raise HypermeterError(f"{path}: {reason}") from error
        raise HypermeterError(f"{path}: not a readable .npz ({error}); write it with numpy.savez") from error


def read_sequence(path: str | Path) -> np.ndarray:
    """The hits (T, V) uint8 in a .npz. Only the key ``sequence`` is read, of any numeric or boolean type.

    Raises:
        HypermeterError: not a .npz, no ``sequence``, or one that is not a 2-d array of 0 and 1.
    """
    with open_npz(path) as arrays:
        if "sequence" not in arrays:
            keys = ", ".join(sorted(arrays)) or "none"
            raise HypermeterError(f"{path}: no key 'sequence' (keys: {keys}); expected (steps, voices) of 0 and 1")
        sequence = np.asarray(arrays["sequence"])
    if sequence.dtype.kind not in "buif":
        raise HypermeterError(f"{path}: sequence of type {sequence.dtype}, expected numbers 0 and 1")
    if sequence.ndim != 2 or not sequence.shape[1]:
        raise HypermeterError(f"{path}: sequence of shape {sequence.shape}, expected (steps, voices)")
    if sequence.dtype.kind == "f" and np.isnan(sequence).any():
        raise HypermeterError(f"{path}: sequence holds NaN, expected 0 and 1")
    is_other = (sequence != 0) & (sequence != 1)
    if is_other.any():
        hint = "if these are velocities, save sequence > 0 and keep them under the key 'velocity'"
        raise HypermeterError(f"{path}: sequence holds {sequence[is_other][0]:g}, expected 0 and 1; {hint}")
    return sequence.astype(np.uint8)


def read_meta(path: str | Path) -> dict[str, Any]:
    """What the key ``meta`` of a .npz tells, an object in JSON: ``kit``, a name or a kit's record; ``grid``; and more.

    All may be missing: without ``meta`` it is {}, without ``kit`` nobody knows the voices, without ``grid`` the default
    grid is meant.

    Raises:
        HypermeterError: not a .npz; a ``meta`` that is not JSON or not an object; a kit or grid that cannot be one.
    """
    with open_npz(path) as arrays:
        text = str(arrays["meta"]) if "meta" in arrays else "{}"
    try:
        meta = json.loads(text)
    except ValueError as error:
        raise HypermeterError(f"{path}: meta is not JSON ({error}); save JSON, or leave meta out") from error
    if not isinstance(meta, dict):
        raise HypermeterError(f"{path}: meta is {text[:30]}, expected an object in JSON; save one, or leave meta out")
    for key, kinds, expected in (("kit", str | dict, "a kit's name or record"), ("grid", dict, "an object")):
        if key in meta and not isinstance(meta[key], kinds):
            raise HypermeterError(f"{path}: {key} in meta is {meta[key]!r}, expected {expected}; prepare it again")
    return meta


def read_kit_and_grid(
    path: str | Path, kit: Any = None, grid: Grid = Grid(), meta: Mapping[str, Any] | None = None
) -> tuple[Kit | None, Grid]:
    """The kit and grid that the meta of a .npz tells; what it does not tell is as given.

    Args:
        path: the .npz.
        kit: what ``load_kit`` takes, or None.
        grid: likewise.
        meta: of ``read_meta``, where it was read before.

    Raises:
        HypermeterError: as ``read_meta``; an unknown kit, or a kit or grid that is not sound.
    """
    meta = read_meta(path) if meta is None else meta
    try:
        kit = meta.get("kit", kit)
        return None if kit is None else load_kit(kit), Grid.from_dict(meta["grid"]) if "grid" in meta else grid
    except HypermeterError as error:
        raise HypermeterError(f"{path}: {error}") from error


def common_kit_and_grid(
    paths: Sequence[Path], kit: Any = None, grid: Grid = Grid(), mix_metres: bool = False
) -> tuple[Kit | None, Grid]:
    """The one kit and grid of several .npz; only their meta is read.

    Args:
        paths: at least one.
        kit: of files that name none, as for ``load_kit``.
        grid: of files that tell none.
        mix_metres: take several metres whose bars have as many steps, such as 3/4 and 6/8 in sixteenths; the grid is
            then that of the first file.

    Raises:
        HypermeterError: as ``read_kit_and_grid``; a file of another kit or grid than the first.
    """
    first, *others = paths
    expected_kit, expected_grid = read_kit_and_grid(first, kit, grid)
    for path in others:
        found_kit, found_grid = read_kit_and_grid(path, kit, grid)
        if found_kit != expected_kit:
            found, expected = kit_name(found_kit), kit_name(expected_kit)
            other = " of other voices" if found == expected else ""
            raise HypermeterError(
                f"{path}: {found}{other}, expected {expected} as in {first}; prepare all with one kit"
            )
        if found_grid != expected_grid and not (mix_metres and _are_alike(found_grid, expected_grid)):
            alike = ", or train with --mix-metres" if _are_alike(found_grid, expected_grid) else ""
            raise HypermeterError(
                f"{path}: {found_grid}, expected {expected_grid} as in {first}; prepare all on one grid{alike}"
            )
    return expected_kit, expected_grid


def _are_alike(one: Grid, other: Grid) -> bool:
    """Whether bars and phrases have as many steps, so that windows fit in one batch."""
    return (one.steps_per_bar, one.bars_per_phrase) == (other.steps_per_bar, other.bars_per_phrase)


def kit_name(kit: Kit | None) -> str:
    return "no kit" if kit is None else f"kit {kit.name}"


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
    ``with_metrics``).
    Windows start on bar lines, ``hop`` steps apart; the last one of a file covers its end and may be shorter than
    ``seq_len``. A file shorter than ``seq_len`` is one item of its own length.

    Augmentation moves the window to a random bar of the same performance, going on from its first bar after its last
    whole one, and silences ``DROP_OUT`` of the hits. Bar phase is kept. It depends on (seed, epoch, index) only: call
    ``set_epoch`` before each epoch, before the loader's workers start.

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
        self._check_metres(mix_metres)
        self.packed = np.concatenate(sequences)
        """(all steps, V) uint8, file after file."""
        lengths = [len(each) for each in sequences]
        self.bounds = np.cumsum([0, *lengths])
        """Where each file begins in ``packed``, and its end."""
        self.windows = np.array([(file, start) for file, steps in enumerate(lengths) for start in self._starts(steps)])
        """(items, 2): number of the file, first step of the window in it."""

    def _check_metres(self, mix_metres: bool) -> None:
        """The data set itself has no metre, but a file that tells its own must fit."""
        first: tuple[Path, Grid] | None = None
        for path in self.files:
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

    @property
    def num_drums(self) -> int:
        return self.packed.shape[1]

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
            step = self._step(index)
            bar, phrase = (chunk_means(step, size) for size in (self.grid.steps_per_bar, self.grid.steps_per_phrase))
            metrics = WindowMetrics(step={}, bar={}, phrase={}, section=[], song={})
            items.append({"step": step, "bar": bar, "phrase": phrase, "metrics": metrics})
        if self.with_metrics:
            for length in {len(item["step"]) for item in items}:
                alike = [item for item in items if len(item["step"]) == length]
                steps = torch.stack([item["step"] for item in alike])
                measured = window_metrics(steps, self.grid, self.sections, self.fast_threshold)
                for row, item in enumerate(alike):
                    item["metrics"] = WindowMetrics(_map(measured, lambda value, row=row: value[row]))
        return items

    def _step(self, index: int) -> Tensor:
        file, start = self.windows[index]
        sequence = self.packed[self.bounds[file] : self.bounds[file + 1]]
        hits = sequence[start : start + self.seq_len]
        if self.augment:
            hits = self._augmented(sequence, len(hits), int(index) % len(self))
        return torch.from_numpy(hits.astype(np.float32))

    def _augmented(self, sequence: np.ndarray, steps: int, index: int) -> np.ndarray:
        random = np.random.default_rng([self.seed, self.epoch, index])
        bars = max(len(sequence) // self.grid.steps_per_bar, 1)
        start = random.integers(bars) * self.grid.steps_per_bar
        whole = min(bars * self.grid.steps_per_bar, len(sequence))
        hits = sequence[(start + np.arange(steps)) % whole]
        return hits * (random.random(hits.shape) >= DROP_OUT)


def read_folder(folder: Path) -> tuple[list[Path], list[np.ndarray]]:
    """All .npz with a step in them, and their hits (T, V) uint8. One warning tells how many have none.

    Raises:
        HypermeterError: no such folder, no .npz or none with a step in it, a bad file, or files with different numbers
            of voices.
    """
    if not folder.is_dir():
        raise HypermeterError(f"{folder}: no such folder; expected a folder of .npz")
    found = sorted(folder.rglob("*.npz"))
    if not found:
        raise HypermeterError(f"{folder}: no .npz in it or below; make some with the command prepare")
    read = [(path, read_sequence(path)) for path in found]
    kept = [(path, sequence) for path, sequence in read if len(sequence)]
    if not kept:
        raise HypermeterError(f"{folder}: all {len(read)} .npz are empty, expected at least one step")
    if len(kept) < len(read):
        empty = len(read) - len(kept)
        warnings.warn(f"{folder}: left out {empty} of {len(read)} .npz, which hold no steps", stacklevel=3)
    (first, one), *_ = kept
    for path, sequence in kept:
        if sequence.shape[1] != one.shape[1]:
            raise HypermeterError(
                f"{path}: {sequence.shape[1]} voices, expected {one.shape[1]} as in {first}; prepare all with one kit"
            )
    return [path for path, _ in kept], [sequence for _, sequence in kept]


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    """A batch, padded with zeros to its longest item.

    ``step`` (B, T, V), ``bar`` (B, bars, V), ``phrase`` (B, phrases, V), and ``mask`` (B, T), ``bar_mask`` (B, bars),
    ``phrase_mask`` (B, phrases), true where real; ``metrics``: the items' dicts, in a list.
    """
    batch: dict[str, Any] = {}
    for level, mask in (("step", "mask"), ("bar", "bar_mask"), ("phrase", "phrase_mask")):
        rows: list[Tensor] = [item[level] for item in items]
        batch[level] = pad_sequence(rows, batch_first=True)
        batch[mask] = torch.arange(batch[level].shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
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
    """A loader of ``CompleteHierarchicalDrumDataset``, whose arguments these are, in batches as of ``collate``.

    ``seed`` also sets the order. For several processes, give the data set and ``collate`` to a loader with a
    DistributedSampler (Lightning does so by itself).

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

"""An index of a corpus: of each bar with hits what is played, how loud, and how the model hears it."""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.json_text import parse_json
from hypermeter.core.kit import load_kit
from hypermeter.core.read_options import ReadOptions
from hypermeter.io.folders import files_below
from hypermeter.io.grooves import SUFFIXES, read_grooves, read_npz
from hypermeter.io.npz import open_npz, read_meta
from hypermeter.io.shards import SUFFIX, PackedFile, open_shard
from hypermeter.play.describe import ROWS, describe_bars
from hypermeter.play.loading import kit_of
from hypermeter.play.player import Player

VERSION = 1

MAX_BYTES = 2**32
"""Size of the largest array of an index, and of its record."""

Stamp = tuple[int, int]
"""Size of a file in bytes, and when it was changed, in nanoseconds."""


@dataclass(frozen=True, eq=False)
class IndexedPiece:
    """The bars with hits of a piece.

    Args:
        file: that it is in, relative to the folder.
        name: of the file, with a number where it holds several pieces; or of the performance in a shard.
        grid: of the piece.
        tempo_bpm: quarter notes a minute.
        style: of its metadata, "" where it has none.
        group: the first folder of its path, or of the path of the file that it was prepared from.
        bars: (N,) numbers of its bars that have hits, from 0.
        features: (N, H) float16, see `play.describe`.
        velocity: (N, S, V) uint8, 0 where there is no hit, else 1 to 255.
    """

    file: str
    name: str
    grid: Grid
    tempo_bpm: float
    style: str
    group: str
    bars: np.ndarray
    features: np.ndarray
    velocity: np.ndarray


@dataclass(frozen=True, eq=False)
class Index:
    """An index of a folder.

    Args:
        folder: its path.
        voices: names of the voices of all pieces.
        probe: (H,) how the model hears a bar that is always the same: by it an index knows its model.
        options: how MIDI was read.
        files: file that was read -> its stamp.
        rejects: file that could not be read -> the reason.
        pieces: in the order of their names.
    """

    folder: str
    voices: tuple[str, ...]
    probe: np.ndarray
    options: str
    files: Mapping[str, Stamp]
    rejects: Mapping[str, str] = field(default_factory=dict)
    pieces: Sequence[IndexedPiece] = ()

    @property
    def num_bars(self) -> int:
        return sum(len(piece.bars) for piece in self.pieces)

    def is_of(self, player: Player, options: ReadOptions | None = None) -> bool:
        """Return whether it was made with this model, and by these options."""
        probe = probe_of(player)
        return (
            self.voices == player.voices
            and self.probe.shape == probe.shape
            and np.allclose(self.probe, probe, atol=0.01)
            and (options is None or self.options == repr(options))
        )

    def changed(self) -> list[str]:
        """Return the files that have changed or are gone since they were read, and new ones, if the folder is there."""
        if not Path(self.folder).is_dir():
            return []
        now = stamps(Path(self.folder))
        return sorted(file for file in {*now, *self.files} if now.get(file) != self.files.get(file))


def probe_of(player: Player) -> np.ndarray:
    """Return how a model hears a bar that is always the same."""
    place = np.arange(player.grid.steps_per_bar)[:, None] + 3 * np.arange(player.num_drums)
    return describe_bars(player, (place % 5 == 0).astype(np.uint8)[None])[0].astype(np.float16)


def stamps(folder: Path) -> dict[str, Stamp]:
    """Return the stamps of all MIDI, .npz and shards below a folder."""
    found = {}
    for file in files_below(folder):
        if file.lower().endswith(SUFFIXES):
            stat = (folder / file).stat()
            found[file] = (stat.st_size, stat.st_mtime_ns)
    return found


def build_index(
    folder: str | Path,
    player: Player,
    options: ReadOptions = ReadOptions(),
    known: Index | None = None,
    watch: Callable[[Iterable[str], int], Iterable[str]] = lambda files, _: files,
) -> Index:
    """Return the index of all MIDI, .npz and shards below a folder. Files that cannot be read are in its `rejects`.

    Args:
        folder: the corpus.
        player: the model, whose voices the pieces have.
        options: how the drums of MIDI are found and placed on the grid.
        known: an earlier index of the same model and options, from which files that have not changed are taken.
        watch: called with the files to read and their number; it yields them.

    Raises:
        HypermeterError: no such folder, or nothing in it that can be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise HypermeterError(f"{folder}: no such folder, expected one of MIDI, .npz or shards")
    files = stamps(folder)
    if not files:
        raise HypermeterError(f"{folder}: no MIDI (such as .mid, .kar, .rmi) or .npz in it or below; expected some")
    same = set() if known is None else {file for file, stamp in files.items() if known.files.get(file) == stamp}
    pieces = [] if known is None else [piece for piece in known.pieces if piece.file in same]
    rejects = {} if known is None else {file: reason for file, reason in known.rejects.items() if file in same}
    waiting: dict[Grid, list[tuple[Any, ...]]] = {}
    new = [file for file in files if file not in same]
    for file in watch(new, len(new)):
        try:
            for name, groove, meta in _pieces_of(folder, file, player, options):
                described = waiting.setdefault(groove.grid, [])
                described.append((file, name, groove, meta, *_bars_of(groove)))
                if sum(len(bars) for *_, bars, _ in described) >= ROWS:
                    pieces += _described(player, waiting.pop(groove.grid))
        except HypermeterError as error:
            rejects[file] = str(error)
    for described in waiting.values():
        pieces += _described(player, described)
    if not pieces:
        reason = f" ({next(iter(rejects.values()))})" if rejects else ", which have no hits"
        raise HypermeterError(f"{folder}: none of {len(files)} files can be searched{reason}")
    pieces.sort(key=lambda piece: piece.name)
    settings = str(folder.resolve()), player.voices, probe_of(player), repr(options)
    return Index(*settings, files, dict(sorted(rejects.items())), pieces)


def _pieces_of(
    folder: Path, file: str, player: Player, options: ReadOptions
) -> Iterator[tuple[str, Groove, Mapping[str, Any]]]:
    """Yield name, groove and metadata of the pieces in a file that have the voices of the model."""
    path, kit, below = folder / file, kit_of(player), Path(file).parent
    if path.suffix.lower() == SUFFIX:
        rows = (PackedFile(str(path), row, name) for row, name in enumerate(open_shard(str(path)).names))
        found = (((below / row.below).as_posix(), read_npz(row), read_meta(row)) for row in rows)
    elif path.suffix.lower() == ".npz":
        found = iter([(file, read_npz(path), read_meta(path))])
    else:
        read = read_grooves(path, kit, player.grid_choice, options=options)
        found = (((below / name).as_posix(), groove, {}) for name, groove, _ in read)
    for name, groove, meta in found:
        if load_kit(groove.kit).names != kit.names:
            raise HypermeterError(f"{name}: not of the voices of {player.name}; prepare it with kit {kit.name}")
        yield name, groove, meta


def _bars_of(groove: Groove) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the bars with hits, and their velocities (N, S, V) as an `IndexedPiece` has them."""
    size = groove.grid.steps_per_bar
    loudness = np.rint(255 * groove.velocity).clip(1, 255) * (groove.hits > 0)
    padded = np.pad(loudness, ((0, -len(loudness) % size), (0, 0)))
    velocity = padded.reshape(-1, size, padded.shape[1]).astype(np.uint8)
    bars = np.flatnonzero(velocity.any((1, 2)))
    return bars, velocity[bars]


def _described(player: Player, waiting: Sequence[tuple[Any, ...]]) -> list[IndexedPiece]:
    """Return the pieces of one grid, with features of all their bars at once."""
    grid = waiting[0][2].grid
    velocities = [velocity for *_, velocity in waiting]
    hits = (np.concatenate(velocities) > 0).astype(np.uint8)
    features = describe_bars(player.on(grid), hits).astype(np.float16)
    ends = np.cumsum([len(velocity) for velocity in velocities])
    pieces = []
    for (file, name, groove, meta, bars, velocity), end in zip(waiting, ends.tolist(), strict=True):
        if len(bars):
            parts = str(meta.get("source") or name).split("/")
            labels = str(meta.get("style") or ""), parts[0] if len(parts) > 1 else ""
            own = features[end - len(bars) : end]
            pieces.append(IndexedPiece(file, name, grid, groove.tempo_bpm, *labels, bars, own, velocity))
    return pieces


def features_of(player: Player, groove: Groove) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return bars, features and velocity of a groove, as an `IndexedPiece` has them."""
    bars, velocity = _bars_of(groove)
    hits = (velocity > 0).astype(np.uint8)
    return bars, describe_bars(player.on(groove.grid), hits).astype(np.float16), velocity


# ---------------------------------------------------------------------- files


def write_index(index: Index, path: str | Path) -> Path:
    """Write an index as a file of arrays, and return its path.

    Raises:
        HypermeterError: a path that cannot be written.
    """
    record = {
        "version": VERSION,
        "folder": index.folder,
        "voices": index.voices,
        "options": index.options,
        "files": index.files,
        "rejects": index.rejects,
        "pieces": [
            [piece.file, piece.name, piece.grid.to_dict(), piece.tempo_bpm, piece.style, piece.group, len(piece.bars)]
            for piece in index.pieces
        ],
    }
    pieces = index.pieces
    buffer = io.BytesIO()
    np.savez(
        buffer,
        record=np.array(json.dumps(record)),
        probe=index.probe,
        bars=np.concatenate([piece.bars for piece in pieces]).astype(np.int32),
        features=np.concatenate([piece.features for piece in pieces]),
        velocity=np.concatenate([piece.velocity.ravel() for piece in pieces]),
    )
    with atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return Path(path)


def read_index(path: str | Path) -> Index:
    """Return the index that `write_index` wrote.

    Raises:
        HypermeterError: no such file, or no index of this version.
    """
    advice = "expected an index that hypermeter search FOLDER --index wrote; name the folder to make it again"
    with open_npz(path, MAX_BYTES) as arrays:
        try:
            record = parse_json(str(arrays["record"]), MAX_BYTES)
            if record["version"] != VERSION:
                raise HypermeterError(f"{path}: an index of version {record['version']}; {advice}")
            probe, all_bars, features, velocity = (arrays[key] for key in ("probe", "bars", "features", "velocity"))
            pieces, start, cell, voices = [], 0, 0, len(record["voices"])
            for file, name, grid, tempo_bpm, style, group, number in record["pieces"]:
                grid, end = Grid.from_dict(grid), start + number
                cell_end = cell + number * grid.steps_per_bar * voices
                own = velocity[cell:cell_end].reshape(number, grid.steps_per_bar, voices)
                bars = all_bars[start:end]
                pieces.append(IndexedPiece(file, name, grid, tempo_bpm, style, group, bars, features[start:end], own))
                start, cell = end, cell_end
            files = {file: (int(size), int(time)) for file, (size, time) in record["files"].items()}
            settings = record["folder"], tuple(record["voices"]), probe, record["options"]
            return Index(*settings, files, record["rejects"], pieces)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise HypermeterError(f"{path}: not an index ({type(error).__name__}: {error}); {advice}") from error

"""MIDI as data of a run: it is prepared into the folder of the run."""

import os
from typing import Any

import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit, load_kit
from hypermeter.io.folders import files_below
from hypermeter.io.midi import MIDI_SUFFIXES
from hypermeter.learn.prepare import prepare
from hypermeter.learn.train.config import TrainConfig
from hypermeter.learn.train.resume import CHECKPOINT, check_folders, read_state
from hypermeter.model.hierarchical import load


def from_midi(config: TrainConfig) -> TrainConfig:
    """Return the configuration on .npz; MIDI is prepared into the folder of the run.

    Kit, grid and tracks are those of the run that continues, else of the model to start from.

    Raises:
        HypermeterError: MIDI that cannot be prepared, a model or checkpoint that cannot be read, or a run in the folder
            of its data.
    """
    check_folders(config)
    suffixes = {os.path.splitext(name)[1].lower() for name in files_below(config.npz_dir)}
    if suffixes & {".npz", ".parquet"} or not (config.npz_dir.is_file() or suffixes & set(MIDI_SUFFIXES)):
        return config
    npz_dir = config.out / "npz"
    if npz_dir.resolve() == config.npz_dir.resolve():
        raise HypermeterError(f"{npz_dir}: MIDI where its .npz would be written; choose another folder for the run")
    start_kit, grid, tracks = _start(config)
    kit: Any = config.kit or start_kit or "gm10"
    prepare(
        config.npz_dir,
        npz_dir,
        kit,
        grid.steps_per_beat,
        grid.metre,
        grid.bars_per_phrase,
        tracks=tracks,
        seed=config.seed,
        quiet=os.environ.get("LOCAL_RANK", "0") != "0",  # One of several processes prints.
    )
    return config.replace(npz_dir=npz_dir)


def _start(config: TrainConfig) -> tuple[Kit | None, Grid, tuple[str, ...]]:
    """Return kit, grid and names of tracks of the run that continues, of the model to start from, or of a new one."""
    saved = read_state(config.out / CHECKPOINT, torch.device("cpu"))
    if saved is not None:
        kit = None if saved["kit"] is None else load_kit(saved["kit"])
        return kit, Grid.from_dict(saved["grid"]), tuple(track["name"] for track in saved["model"].get("tracks", ()))
    if config.init is None:
        return None, Grid(), config.tracks
    start = load(config.init)
    return start.kit, start.grid, tuple(track.name for track in start.tracks)

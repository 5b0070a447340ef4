"""MIDI as the data of a run: it is prepared into the folder of the run."""

import dataclasses
import os
from typing import Any

import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit, load_kit
from hypermeter.io.midi import MIDI_SUFFIXES
from hypermeter.learn.prepare import prepare
from hypermeter.learn.train.config import TrainConfig
from hypermeter.learn.train.resume import CHECKPOINT, check_folders, read_state
from hypermeter.model.hierarchical import load


def from_midi(config: TrainConfig) -> TrainConfig:
    """The configuration on .npz: MIDI, as ``prepare`` takes it, is prepared into the folder of the run.

    It is prepared on the kit and grid, and with the tracks, of the run that goes on or else of the model to start from.

    Raises:
        HypermeterError: MIDI that cannot be prepared, a model or checkpoint that cannot be read, or a run in the folder
            of its data.
    """
    check_folders(config)
    suffixes = {path.suffix.lower() for path in config.npz_dir.rglob("*")}
    if ".npz" in suffixes or not (config.npz_dir.is_file() or suffixes & set(MIDI_SUFFIXES)):
        return config
    made = config.out / "npz"
    if made.resolve() == config.npz_dir.resolve():
        raise HypermeterError(f"{made}: MIDI where its .npz would be written; choose another folder for the run")
    found, grid, tracks = _start(config)
    kit: Any = config.kit or found or "gm10"
    prepare(
        config.npz_dir,
        made,
        kit,
        grid.steps_per_beat,
        grid.metre,
        grid.bars_per_phrase,
        tracks=tracks,
        seed=config.seed,
        quiet=os.environ.get("LOCAL_RANK", "0") != "0",  # of several processes, one tells
    )
    return dataclasses.replace(config, npz_dir=made)


def _start(config: TrainConfig) -> tuple[Kit | None, Grid, tuple[str, ...]]:
    """Kit, grid and names of tracks of the run that goes on, or of the model to start from, or of a new one."""
    kept = read_state(config.out / CHECKPOINT, torch.device("cpu"))
    if kept is not None:
        kit = None if kept["kit"] is None else load_kit(kept["kit"])
        return kit, Grid.from_dict(kept["grid"]), tuple(each["name"] for each in kept["model"].get("tracks", ()))
    if config.init is None:
        return None, Grid(), config.tracks
    start = load(config.init)
    return start.kit, start.grid, tuple(track.name for track in start.tracks)

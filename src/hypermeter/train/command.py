"""The ``train`` command, which takes a folder of MIDI too."""

import dataclasses
from typing import Any

from hypermeter.grid import Grid
from hypermeter.model import load
from hypermeter.prepare import prepare
from hypermeter.train.config import TrainConfig
from hypermeter.train.run import train


def from_midi(config: TrainConfig) -> TrainConfig:
    """The configuration on .npz: a folder of MIDI is prepared into the folder of the run, on the model's kit and grid.

    Raises:
        HypermeterError: no .npz and no MIDI there.
    """
    own = config.out.resolve()
    others = [path for path in config.npz_dir.rglob("*") if own not in path.resolve().parents]
    if any(path.suffix == ".npz" for path in others):
        return config
    if not any(path.suffix.lower() in (".mid", ".midi") for path in others):
        return config
    start = None if config.init is None else load(config.init)
    grid = Grid() if start is None else start.grid
    kit: Any = config.kit or ("gm10" if start is None or start.kit is None else start.kit)
    made = config.out / "npz"
    prepare(
        config.npz_dir,
        made,
        kit,
        grid.steps_per_beat,
        grid.metre,
        grid.bars_per_phrase,
        tracks=config.tracks if start is None else tuple(track.name for track in start.tracks),
        seed=config.seed,
        quiet=True,
    )
    return dataclasses.replace(config, npz_dir=made)


def train_command(config: TrainConfig) -> None:
    """Train a model on a prepared folder, or on a folder of MIDI; the same command goes on with an interrupted run.

    Under torchrun, or with --devices, several processes share each batch.
    """
    train(from_midi(config))

"""What the tests of training learn from: small data, small models, short runs."""

import csv
import json

import numpy as np
import torch

from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit, Voice
from hypermeter.learn.train import TrainConfig
from hypermeter.model.hierarchical import HierarchicalDrumModel

SMALL = {"step_hidden_dim": 16, "bar_hidden_dim": 8, "phrase_hidden_dim": 8, "num_components": 2, "seq_len": 64}

MINE = Kit("mine", (Voice("boom", (36,), 36), Voice("tick", (42,), 42), Voice("clap", (39,), 39)))


def write_data(folder):
    """Grooves of two bars that repeat, with a little noise: easy to learn, and not at once."""
    random = np.random.default_rng(0)
    for split, number in (("train", 12), ("validation", 3)):
        (folder / split).mkdir()
        for index in range(number):
            bar = random.random((32, 3)) < 0.3
            hits = np.tile(bar, (4, 1)) ^ (random.random((128, 3)) < 0.02)
            np.savez(folder / split / f"{index}.npz", sequence=hits.astype(np.uint8))
    return folder


def config_of(data, out, **options):
    settings = {"max_steps": 8, "batch_size": 4, "evaluate_every": 4, "warmup_steps": 2, "accelerator": "cpu", **SMALL}
    return TrainConfig.of(data, out, **(settings | options))


def read_log(folder):
    """The losses of a run, without the time of day."""
    with open(folder / "log.csv", newline="") as file:
        return [{name: value for name, value in row.items() if name != "time_s"} for row in csv.DictReader(file)]


def corpus(folder, splits=("train", "validation"), voices=3, seed=0, **meta):
    """A performance in each split, with meta."""
    random = np.random.default_rng(seed)
    for split in splits:
        (folder / split).mkdir(parents=True, exist_ok=True)
        hits = (random.random((128, voices)) < 0.3).astype(np.uint8)
        np.savez(folder / split / f"{len(list((folder / split).iterdir()))}.npz", sequence=hits, meta=json.dumps(meta))
    return folder


def some_model(path, seed=0, **options):
    torch.manual_seed(seed)
    settings = {"num_components": 3, "cell": "lstm", "grid": Grid(3), "kit": MINE}
    model = HierarchicalDrumModel(3, 8, 8, 8, **(settings | options)).eval()
    model.save(path)
    return model

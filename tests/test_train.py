"""Training: it learns, resumes exactly, stops by itself, and shares work between processes."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from hypermeter.grid import HypermeterError
from hypermeter.model import load
from hypermeter.train import CHECKPOINT, DrumModule, TrainConfig, batches, train

SMALL = {"step_hidden_dim": 16, "bar_hidden_dim": 8, "phrase_hidden_dim": 8, "num_components": 2, "seq_len": 64}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Grooves of two bars that repeat, with a little noise: easy to learn, and not at once."""
    folder = tmp_path_factory.mktemp("npz")
    random = np.random.default_rng(0)
    for split, number in (("train", 12), ("validation", 3)):
        (folder / split).mkdir()
        for index in range(number):
            bar = random.random((32, 3)) < 0.3
            hits = np.tile(bar, (4, 1)) ^ (random.random((128, 3)) < 0.02)
            np.savez(folder / split / f"{index}.npz", sequence=hits.astype(np.uint8))
    return folder


def config_of(data, out, **options):
    settings = {"max_steps": 8, "batch_size": 4, "val_every": 4, "warmup_steps": 2, "accelerator": "cpu", **SMALL}
    return TrainConfig(npz_dir=data, out=out, **(settings | options))


def read_log(folder):
    """The losses of a run, without the time of day."""
    with open(folder / "log.csv", newline="") as file:
        return [{name: value for name, value in row.items() if name != "time_s"} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_it_learns(data, tmp_path):
    train(config_of(data, tmp_path, max_steps=60, val_every=20, learning_rate=1e-2))
    held_out = [float(row["held_out_bits_per_step"]) for row in read_log(tmp_path) if row["held_out_bits_per_step"]]
    assert held_out[-1] < held_out[0] - 0.1
    assert held_out[-1] < 3 * 0.88  # less than the entropy of three voices that hit 30 % of the time
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert any((tmp_path / "tensorboard").iterdir())


def test_the_run_loads_as_a_model_with_its_settings_in_the_notes(data, tmp_path):
    folder = train(config_of(data, tmp_path, max_steps=2, val_every=2, dropout=0.3))
    assert load(folder).config["dropout"] == 0.3
    with safe_open(folder / "best.safetensors", "pt") as file:
        notes = json.loads(file.metadata()["hypermeter"])["notes"]
    assert notes["config"]["seed"] == 0
    assert notes["held_out_bits_per_step"] > 0


def test_the_same_seed_gives_the_same_weights(data, tmp_path):
    one, two = (load_file(train(config_of(data, tmp_path / name)) / "last.safetensors") for name in "ab")
    other = load_file(train(config_of(data, tmp_path / "c", seed=1)) / "last.safetensors")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(data, tmp_path, monkeypatch):
    whole = config_of(data, tmp_path / "whole", max_steps=12, augment=True)
    train(whole)
    parts = replace(whole, out=tmp_path / "parts")
    original, calls = DrumModule.training_step, []

    def fail_at_the_seventh(self, *arguments):
        calls.append(1)
        if len(calls) == 7:
            raise KeyError("killed")
        return original(self, *arguments)

    monkeypatch.setattr(DrumModule, "training_step", fail_at_the_seventh)
    with pytest.raises(KeyError, match="killed"):
        train(parts)
    monkeypatch.setattr(DrumModule, "training_step", original)
    assert torch.load(parts.out / CHECKPOINT, weights_only=True)["update"] == 4
    train(parts)
    assert read_log(parts.out) == read_log(whole.out)
    one, two = (load_file(each.out / "last.safetensors") for each in (whole, parts))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_done_and_the_same_command_goes_on(data, tmp_path):
    arguments = ["--max-steps", "2000", "--batch-size", "2", "--val-every", "10", "--seq-len", "32"]
    command = [sys.executable, "-m", "hypermeter.cli", "train", str(data), str(tmp_path), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 100
    while not (tmp_path / CHECKPOINT).exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "the same command goes on" in " ".join(output.split())
    assert 10 <= torch.load(tmp_path / CHECKPOINT, weights_only=True)["update"] < 2000


def test_it_stops_by_itself_when_nothing_improves(data, tmp_path):
    train(config_of(data, tmp_path, max_steps=100, val_every=1, patience=2, learning_rate=0.0, warmup_steps=0))
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["update"] == 3


def test_a_finished_run_is_left_as_it_is(data, tmp_path):
    config = config_of(data, tmp_path, max_steps=2)
    train(config)
    before = (tmp_path / "last.safetensors").stat().st_mtime_ns
    train(config)
    assert (tmp_path / "last.safetensors").stat().st_mtime_ns == before


def test_a_folder_without_validation_trains_to_the_end(data, tmp_path):
    train(config_of(data / "train", tmp_path, max_steps=8, val_every=2, patience=1))
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["update"] == 8
    load(tmp_path)


@pytest.mark.parametrize("options", [{"use_transformer": True}, {"output": "softmax"}, {"cell": "lstm"}])
def test_every_kind_of_model_trains(data, tmp_path, options):
    train(config_of(data, tmp_path, max_steps=2, metric_weight=0.1, **options))
    assert load(tmp_path).log_prob(torch.zeros(1, 20, 3)).isfinite().all()


def test_a_folder_with_another_run_is_refused(data, tmp_path):
    train(config_of(data, tmp_path, max_steps=1))
    with pytest.raises(HypermeterError, match="a run with learning_rate 0.003, asked for 0.1"):
        train(config_of(data, tmp_path, max_steps=1, learning_rate=0.1))


def test_a_damaged_checkpoint_is_refused(data, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(HypermeterError, match="not a readable checkpoint"):
        train(config_of(data, tmp_path))


def test_processes_share_a_batch_without_overlap_and_begin_anywhere(data):
    from hypermeter.dataset import CompleteHierarchicalDrumDataset

    dataset = CompleteHierarchicalDrumDataset(data / "train", 64, with_metrics=False)
    config = config_of(data, Path("unused"))
    whole, first, second = (batches(dataset, config, 3, rank, of) for rank, of in ((0, 1), (0, 2), (1, 2)))
    for _ in range(20):
        one, two, both = next(first)["step"], next(second)["step"], next(whole)["step"]
        assert torch.equal(both[0::2], one)
        assert torch.equal(both[1::2], two)


@pytest.mark.slow
def test_two_processes_train_together(data, tmp_path):
    script = (
        "import sys; from pathlib import Path; from hypermeter.train import TrainConfig, train\n"
        f"train(TrainConfig(Path({str(data)!r}), Path({str(tmp_path)!r}), max_steps=4, val_every=2, batch_size=4,"
        f" devices=2, accelerator='cpu', **{SMALL!r}))"
    )
    (tmp_path / "run.py").write_text(script)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, str(tmp_path / "run.py")],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert state["update"] == 4
    assert len(state["random"]) == 2
    assert not torch.equal(*state["random"])  # dropout differs between processes
    load(tmp_path)

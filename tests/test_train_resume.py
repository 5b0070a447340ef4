"""Runs that go on: as if they had not been interrupted, from records of earlier builds, and under no other settings."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from hypermeter.cli.demo import read_corpus
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import load_kit
from hypermeter.io.midi import write_midi
from hypermeter.learn.train import CHECKPOINT, DrumModule, train, train_command
from hypermeter.model.hierarchical import HierarchicalDrumModel, load
from training import MINE, SMALL, config_of, corpus, read_log, some_model, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("npz"))


@pytest.fixture
def prepared(tmp_path):
    return corpus(tmp_path / "npz", kit=MINE.to_dict(), grid=Grid(3).to_dict())


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
    one, two = (load_file(run.out / "last.safetensors") for run in (whole, parts))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_done_and_the_same_command_goes_on(data, tmp_path):
    arguments = ["--max-steps", "2000", "--batch-size", "2", "--evaluate-every", "10", "--seq-len", "32"]
    command = [sys.executable, "-m", "hypermeter.cli", "train", str(data), str(tmp_path), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 100
    while not (tmp_path / CHECKPOINT).exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "the same command continues" in " ".join(output.split())
    assert 10 <= torch.load(tmp_path / CHECKPOINT, weights_only=True)["update"] < 2000


def test_a_finished_run_is_left_as_it_is(data, tmp_path):
    config = config_of(data, tmp_path, max_steps=2)
    train(config)
    before = (tmp_path / "last.safetensors").stat().st_mtime_ns
    train(config)
    assert (tmp_path / "last.safetensors").stat().st_mtime_ns == before


def test_a_folder_with_another_run_is_refused(data, tmp_path):
    train(config_of(data, tmp_path, max_steps=1))
    with pytest.raises(HypermeterError, match="a run with learning_rate 0.008, now 0.1"):
        train(config_of(data, tmp_path, max_steps=1, learning_rate=0.1))


def test_a_damaged_checkpoint_is_refused(data, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(HypermeterError, match="not a readable checkpoint"):
        train(config_of(data, tmp_path))


def test_a_checkpoint_of_another_version_is_refused(data, tmp_path):
    torch.save({"config": {}, "update": 3}, tmp_path / CHECKPOINT)
    with pytest.raises(HypermeterError, match="of another version of hypermeter; remove it"):
        train(config_of(data, tmp_path))


def rewrite(path, change):
    """Change what a run has kept."""
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)


def test_a_run_of_a_build_without_newer_options_goes_on_as_if_it_had_not_been_cut(data, tmp_path):
    """Of an earlier build: no version, no options that came later, and of one generator a tensor, as it was kept."""
    whole = config_of(data, tmp_path / "whole")
    train(whole)
    parts = replace(whole, out=tmp_path / "parts")
    stop_at(parts, 4)

    def age(state):
        del state["version"], state["config"]["drums_weight"], state["config"]["hop_bars"]
        state["config"] |= {
            "gradient_clip": 1.0,
            "ema_decay": 0.998,
            "val_every": state["config"].pop("evaluate_every"),
        }
        del state["model"]["use_recalled_hits"], state["model"]["tracks"]
        state["grid"] = {"steps_per_beat": 4}
        state["random"] = torch.stack([generator["torch"] for generator in state["random"]])
        state["random_cuda"] = []

    rewrite(parts.out / CHECKPOINT, age)
    rewrite(parts.out / CHECKPOINT, lambda state: state["config"].update(ema_decay=0.9))
    with pytest.raises(HypermeterError, match="a run with ema_decay 0.9"):
        train(parts)
    rewrite(parts.out / CHECKPOINT, lambda state: state["config"].update(ema_decay=0.998))
    with pytest.raises(HypermeterError, match=r"a run with drums_weight 1\.0, now 0\.5"):
        train(parts.replace(drums_weight=0.5))
    train(parts)
    assert read_log(parts.out) == read_log(whole.out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.update(version=2), "version 2 of a run's record, expected 1; update hypermeter"),
        (lambda state: state["config"].update(swing=1), "a run with swing, which this version of hypermeter does not"),
        (lambda state: state["model"].update(swing=1), "a run with swing, which this version of hypermeter does not"),
        (lambda state: state["grid"].update(swing=1), "grid: unknown field 'swing'"),
    ],
)
def test_a_run_of_a_newer_build_is_refused(data, tmp_path, change, message):
    train(config_of(data, tmp_path, max_steps=1))
    rewrite(tmp_path / CHECKPOINT, change)
    with pytest.raises(HypermeterError, match=message) as caught:
        train(config_of(data, tmp_path, max_steps=1))
    assert len(str(caught.value).splitlines()) == 1


def test_every_generator_goes_on_where_it_stopped(data, tmp_path, monkeypatch):
    original = DrumModule.training_step

    def noisy(self, *arguments):
        terms = original(self, *arguments)
        return terms | {"loss": terms["loss"] * (random.random() + np.random.normal() ** 2)}

    monkeypatch.setattr(DrumModule, "training_step", noisy)
    whole = config_of(data, tmp_path / "whole")
    train(whole)
    parts = replace(whole, out=tmp_path / "parts")
    stop_at(parts, 3)
    train(parts)
    assert read_log(parts.out) == read_log(whole.out)


def test_a_run_that_was_trained_by_adamw_alone_is_refused(data, tmp_path):
    config = config_of(data, tmp_path / "run")
    train(config)
    state = torch.load(config.out / CHECKPOINT, weights_only=True)
    del state["optimizer"]["param_groups"][2]
    torch.save(state, config.out / CHECKPOINT)
    with pytest.raises(HypermeterError, match=r"run: a run of an earlier version, which trained by AdamW .* --init"):
        train(config)


def stop_at(config, update):
    """Begin a run, and interrupt it in an update."""
    inner, calls = DrumModule.training_step, []

    def stop(self, *arguments):
        calls.append(0)
        if len(calls) == update:
            signal.raise_signal(signal.SIGINT)
        return inner(self, *arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(DrumModule, "training_step", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config)


@pytest.mark.parametrize(
    ("voices", "seed", "meta", "message"),
    [
        (3, 0, {"kit": MINE.to_dict() | {"name": "other"}}, "a run on another kit than in .*/b"),
        (10, 0, {"kit": "gm10"}, "a run on another kit"),
        (3, 0, {"kit": MINE.to_dict(), "grid": {"bars_per_phrase": 2}}, "a run on another grid"),
        (3, 1, {"kit": MINE.to_dict()}, "a run on other performances"),
    ],
)
def test_a_run_goes_on_with_its_own_kit_grid_and_data_only(tmp_path, voices, seed, meta, message):
    one = corpus(tmp_path / "a", kit=MINE.to_dict())
    train(config_of(one, tmp_path / "run", max_steps=1))
    with pytest.raises(HypermeterError, match=message):
        train(config_of(corpus(tmp_path / "b", voices=voices, seed=seed, **meta), tmp_path / "run", max_steps=1))
    train(config_of(corpus(tmp_path / "c", kit=MINE.to_dict()), tmp_path / "run", max_steps=1))


def test_a_run_that_was_given_a_model_goes_on_without_it_as_if_it_had_not_been_cut(prepared, tmp_path, monkeypatch):
    some_model(tmp_path / "start.safetensors")
    whole = config_of(prepared, tmp_path / "whole", init=str(tmp_path / "start.safetensors"), augment=True)
    train(whole)
    parts = replace(whole, out=tmp_path / "parts")
    original, calls = DrumModule.training_step, []

    def fail_at_the_sixth(self, *arguments):
        calls.append(1)
        if len(calls) == 6:
            raise KeyError("killed")
        return original(self, *arguments)

    monkeypatch.setattr(DrumModule, "training_step", fail_at_the_sixth)
    with pytest.raises(KeyError, match="killed"):
        train(parts)
    monkeypatch.setattr(DrumModule, "training_step", original)
    (tmp_path / "start.safetensors").unlink()
    train(parts)
    assert read_log(parts.out) == read_log(whole.out)
    one, two = (load_file(run.out / "last.safetensors") for run in (whole, parts))
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(HypermeterError, match="a run with init .*start.safetensors, now None"):
        train(replace(parts, init=None))


def test_a_signal_to_stop_saves_and_then_interrupts(data, tmp_path, monkeypatch, capsys):
    original = DrumModule.training_step

    def stop(self, *arguments):
        signal.raise_signal(signal.SIGINT)
        return original(self, *arguments)

    monkeypatch.setattr(DrumModule, "training_step", stop)
    with pytest.raises(KeyboardInterrupt):
        train(config_of(data, tmp_path))
    assert "Stopped at update 1 of 8; the same command continues." in capsys.readouterr().out
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["update"] == 1
    assert not (tmp_path / "best.safetensors").exists()


def test_weights_without_an_evaluation_have_no_bits(data, tmp_path, monkeypatch):
    original, calls = DrumModule.training_step, []

    def stop_at_five(self, *arguments):
        calls.append(0)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)
        return original(self, *arguments)

    monkeypatch.setattr(DrumModule, "training_step", stop_at_five)
    with pytest.raises(KeyboardInterrupt):
        train(config_of(data, tmp_path))
    notes = {}
    for name in ("best", "last"):
        with safe_open(tmp_path / f"{name}.safetensors", "pt") as file:
            notes[name] = json.loads(file.metadata()["hypermeter"])["notes"]
    assert notes["best"]["update"] == 4 and notes["best"]["held_out_bits_per_step"] > 0
    assert notes["last"]["update"] == 5 and notes["last"]["held_out_bits_per_step"] is None


TOGETHER = """
import random, signal, sys
from pathlib import Path
import numpy as np
from hypermeter.learn.train import DrumModule, TrainConfig, train

data, out, stop, options = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), eval(sys.argv[4])
original, calls = DrumModule.training_step, []

def noisy(self, *arguments):
    terms = original(self, *arguments)
    calls.append(0)
    if len(calls) == stop:
        signal.raise_signal(signal.SIGINT)
    return terms | {"loss": terms["loss"] * (random.random() + np.random.normal() ** 2)}

DrumModule.training_step = noisy
try:
    options |= {"max_steps": 4, "evaluate_every": 2, "batch_size": 4, "devices": 2, "accelerator": "cpu"}
    train(TrainConfig.of(data, out, **options))
except KeyboardInterrupt:
    pass
"""
"""Training whose loss draws from every random generator, interrupted in the given update."""


@pytest.mark.slow
def test_two_processes_train_together_and_go_on_as_if_they_had_not_been_interrupted(data, tmp_path):
    (tmp_path / "run.py").write_text(TOGETHER)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for out, stop in (("whole", 0), ("parts", 3), ("parts", 0)):
        done = subprocess.run(
            [*torchrun, *map(str, (tmp_path / "run.py", data, tmp_path / out, stop, SMALL))],
            capture_output=True,
            text=True,
            timeout=240,
            env=os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        state = torch.load(tmp_path / out / CHECKPOINT, weights_only=True)
        assert state["update"] == (stop or 4)
        one, two = state["random"]
        assert one["python"] != two["python"] and one["numpy"] != two["numpy"]
        assert not torch.equal(one["torch"], two["torch"])  # dropout differs between processes
    whole, parts = (load_file(tmp_path / out / "last.safetensors") for out in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert read_log(tmp_path / "whole") == read_log(tmp_path / "parts")
    alone = config_of(data, tmp_path / "parts", max_steps=4, evaluate_every=2, warmup_steps=100)
    with pytest.raises(HypermeterError, match="a run with devices 2, now 1; .*--devices 2"):
        train(alone)


def test_a_run_on_midi_goes_on_without_the_model_it_started_from(tmp_path):
    for name, groove in list(read_corpus().items())[:3]:
        write_midi(groove, tmp_path / "midi" / f"{name}.mid")
    start = tmp_path / "start.safetensors"
    HierarchicalDrumModel(9, 16, 8, 8, kit=load_kit("magenta9")).save(start)
    config = config_of(tmp_path / "midi", tmp_path / "run", init=str(start), max_steps=1)
    train_command(config)
    start.unlink()
    train_command(config)
    assert load(tmp_path / "run").kit == load_kit("magenta9")
    (tmp_path / "midi" / f"{name}.mid").unlink()
    with pytest.raises(HypermeterError, match="a run on other performances"):
        train_command(config)

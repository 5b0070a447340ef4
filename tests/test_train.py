"""Training: it learns, resumes exactly, stops by itself, and shares work between processes."""

import csv
import errno
import json
import math
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from safetensors import safe_open
from safetensors.torch import load_file

from hypermeter.cli.demo import read_corpus
from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit, Voice, load_kit
from hypermeter.io.midi import write_midi
from hypermeter.learn.train import (
    CHECKPOINT,
    FILES,
    DrumModule,
    TrainConfig,
    batches,
    from_midi,
    plot_curves,
    train,
    train_command,
)
from hypermeter.learn.train.material import read_material
from hypermeter.learn.train.run import _Run
from hypermeter.model.encoders import rotate
from hypermeter.model.heads import combinations
from hypermeter.model.hierarchical import HierarchicalDrumModel, load
from hypermeter.model.plan import Plan
from hypermeter.music.metrics import chunk_means

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
    assert process.returncode == 130, output
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
    with pytest.raises(HypermeterError, match="a run with learning_rate 0.008, asked for 0.1"):
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
        del state["model"]["use_recalled_hits"], state["model"]["tracks"]
        state["grid"] = {"steps_per_beat": 4}
        state["random"] = torch.stack([each["torch"] for each in state["random"]])
        state["random_cuda"] = []

    rewrite(parts.out / CHECKPOINT, age)
    with pytest.raises(HypermeterError, match=r"a run with drums_weight 1\.0, asked for 0\.5"):
        train(replace(parts, drums_weight=0.5))
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


# What does not fit is said before anything is learnt.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 0}, "num_layers is 0, expected at least 1"),
        ({"bar_hidden_dim": 0}, "bar_hidden_dim is 0, expected at least 1"),
        ({"num_components": 0}, "num_components is 0, expected at least 1"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan, expected at least 0"),
        ({"learning_rate": float("inf")}, "learning_rate is inf"),
        ({"warmup_steps": -1}, "warmup_steps is -1"),
        ({"gradient_clip": -1.0}, "gradient_clip is -1.0, expected more than 0"),
        ({"gradient_clip": float("nan")}, "gradient_clip is nan"),
        ({"dropout": 1.0}, r"dropout is 1.0, expected in \[0, 1\)"),
        ({"ema_decay": float("nan")}, "ema_decay is nan"),
        ({"seed": -1}, r"seed is -1, expected 0 to 2\*\*31 - 1"),
        ({"seed": 2**31}, "seed is 2147483648"),
        ({"accelerator": "foo"}, "accelerator is foo, expected auto, cpu or cuda"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(data, tmp_path, options, message):
    with pytest.raises(HypermeterError, match=message):
        config_of(data, tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_hidden_dim": 30}, "hidden_dim is 30, expected a multiple of 4 for 4 heads"),
        ({"step_hidden_dim": 30, "use_transformer": True}, "hidden_dim is 30, expected a multiple of 8 for 4 heads"),
        ({"cell": "rnn"}, "cell is 'rnn', expected gru or lstm"),
        ({"output": "gauss"}, "output is 'gauss', expected mixture, sigmoid or softmax"),
        ({"kit": "none"}, "kit none: no such kit"),
        ({"kit": "gm10"}, "3 voices, kit gm10 has 10"),
        ({"init": "polka"}, "polka: no such checkpoint"),
    ],
)
def test_a_model_that_cannot_be_is_refused(data, tmp_path, options, message):
    with pytest.raises(HypermeterError, match=message):
        train(config_of(data, tmp_path, **options))


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_cuda_without_a_device_is_refused(data, tmp_path):
    with pytest.raises(HypermeterError, match="1 CUDA devices asked for, 0 here; pass --accelerator cpu"):
        train(config_of(data, tmp_path, accelerator="cuda"))


def test_a_gradient_that_is_not_finite_is_refused_with_what_to_do(data, tmp_path, monkeypatch):
    original = DrumModule.training_step

    def spoilt(self, *arguments):
        terms = original(self, *arguments)
        return terms | {"loss": terms["loss"] * float("nan")}

    monkeypatch.setattr(DrumModule, "training_step", spoilt)
    with pytest.raises(HypermeterError, match="the gradient is not finite at update 0; lower --learning-rate"):
        train(config_of(data, tmp_path))


# Mixed precision.


@pytest.mark.parametrize(("accelerator", "supported", "precision"), [
    ("auto", True, "bf16-mixed"), ("auto", False, "32-true"), ("cpu", True, "32-true"),
])  # fmt: skip
def test_mixed_precision_is_for_devices_that_have_bfloat16(
    data, tmp_path, monkeypatch, accelerator, supported, precision
):
    def fabric(**options):
        raise KeyError(options["precision"])

    monkeypatch.setattr("hypermeter.learn.train.run.Fabric", fabric)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: supported and not including_emulation
    )
    with pytest.raises(KeyError, match=precision):
        train(config_of(data, tmp_path, accelerator=accelerator))


def test_rotary_positions_far_into_a_piece_survive_bfloat16():
    x, position = torch.randn(1, 2, 400, 8), torch.arange(400)[None]
    torch.testing.assert_close(rotate(x.bfloat16(), position).float(), rotate(x, position), atol=0.05, rtol=0.02)


# Kits, grids and data.

MINE = Kit("mine", (Voice("boom", (36,), 36), Voice("tick", (42,), 42), Voice("clap", (39,), 39)))


def corpus(folder, splits=("train", "validation"), voices=3, seed=0, **meta):
    """A performance in each split, with meta."""
    random = np.random.default_rng(seed)
    for split in splits:
        (folder / split).mkdir(parents=True, exist_ok=True)
        hits = (random.random((128, voices)) < 0.3).astype(np.uint8)
        np.savez(folder / split / f"{len(list((folder / split).iterdir()))}.npz", sequence=hits, meta=json.dumps(meta))
    return folder


def test_a_kit_of_ones_own_is_kept_whole_in_the_model(tmp_path):
    corpus(tmp_path / "npz", kit=MINE.to_dict(), grid=Grid(3).to_dict())
    model = load(train(config_of(tmp_path / "npz", tmp_path / "run", max_steps=1)))
    assert (model.kit, model.grid) == (MINE, Grid(3))


def test_files_that_name_no_kit_have_the_one_given(tmp_path):
    corpus(tmp_path / "npz", voices=10)
    model = load(train(config_of(tmp_path / "npz", tmp_path / "run", max_steps=1, kit="gm10")))
    assert model.kit == load_kit("gm10")


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_file_of_another_kit_or_grid_is_named(tmp_path, split):
    corpus(tmp_path, voices=10, kit="gm10")
    corpus(tmp_path, (split,), voices=10, kit="gm10", grid=Grid(3).to_dict())
    with pytest.raises(HypermeterError, match=rf"{split}/1\.npz: Grid\(steps_per_beat=3, .* prepare all on one grid"):
        train(config_of(tmp_path, tmp_path / "run"))


def test_held_out_files_of_another_number_of_voices_are_refused_at_the_start(tmp_path):
    corpus(corpus(tmp_path, ("train",)), ("validation",), voices=4)
    with pytest.raises(HypermeterError, match=r"validation/0\.npz: 4 voices, expected 3 as in .*train"):
        train(config_of(tmp_path, tmp_path / "run"))


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


# Starting from the weights of a model.


def some_model(path, seed=0, **options):
    torch.manual_seed(seed)
    settings = {"num_components": 3, "cell": "lstm", "grid": Grid(3), "kit": MINE}
    model = HierarchicalDrumModel(3, 8, 8, 8, **(settings | options)).eval()
    model.save(path)
    return model


@pytest.fixture
def prepared(tmp_path):
    return corpus(tmp_path / "npz", kit=MINE.to_dict(), grid=Grid(3).to_dict())


def test_a_run_starts_from_the_weights_and_options_of_the_model_it_is_given(prepared, tmp_path):
    start = some_model(tmp_path / "start.safetensors")
    options = {"init": str(tmp_path / "start.safetensors"), "max_steps": 1, "dropout": 0.3}
    still = load(train(config_of(prepared, tmp_path / "still", learning_rate=0.0, **options)))
    assert still.config == start.config | {"dropout": 0.3}
    for name, weights in start.state_dict().items():
        torch.testing.assert_close(still.state_dict()[name], weights, msg=name)
    moved = load(train(config_of(prepared, tmp_path / "moved", learning_rate=0.1, warmup_steps=0, **options)))
    assert not torch.equal(moved.mix.weight, start.mix.weight)
    with safe_open(tmp_path / "moved" / "best.safetensors", "pt") as file:
        notes = json.loads(file.metadata()["hypermeter"])["notes"]
    assert notes["config"]["step_hidden_dim"] == 8 and notes["config"]["cell"] == "lstm"


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
    one, two = (load_file(each.out / "last.safetensors") for each in (whole, parts))
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(HypermeterError, match="a run with init .*start.safetensors, asked for None"):
        train(replace(parts, init=None))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kit": None}, "no kit, expected kit mine of .*; prepare with its kit, or name it by --kit"),
        ({"kit": replace(MINE, name="other")}, "kit other, expected kit mine"),
        ({"kit": replace(MINE, voices=MINE.voices[::-1])}, "kit mine of other voices, expected kit mine"),
        ({"grid": Grid()}, r"Grid\(steps_per_beat=4, .*expected Grid\(steps_per_beat=3, .*; prepare on its grid"),
    ],
)
def test_a_model_of_another_kit_or_grid_cannot_be_started_from(prepared, tmp_path, options, message):
    some_model(tmp_path / "start.safetensors", **options)
    with pytest.raises(HypermeterError, match=r"start\.safetensors: " + message):
        train(config_of(prepared, tmp_path / "run", init=str(tmp_path / "start.safetensors")))


def test_a_model_without_a_kit_and_of_other_voices_cannot_be_started_from(data, tmp_path):
    HierarchicalDrumModel(4, 8, 8, 8).save(tmp_path / "start.safetensors")
    with pytest.raises(HypermeterError, match="4 voices, expected 3"):
        train(config_of(data, tmp_path / "run", init=str(tmp_path / "start.safetensors")))


def test_windows_begin_on_phrases_unless_said_otherwise(data, tmp_path):
    whole = read_material(config_of(data, tmp_path)).dataset
    assert set(whole.windows[:, 1] % 64) == {0} and whole.hop == 64
    assert read_material(config_of(data, tmp_path, hop_bars=1)).dataset.hop == 16
    with pytest.raises(HypermeterError, match="hop_bars is 0, expected at least 1"):
        config_of(data, tmp_path, hop_bars=0)


# Learning from teachers.


def taught_module(teachers, **options):
    torch.manual_seed(5)
    model = HierarchicalDrumModel(3, 8, 8, 8, num_components=2, dropout=0.0)
    return DrumModule(model, config_of(Path(), Path(), **options), teachers)


def batch_of(steps):
    lengths = torch.tensor([steps, steps // 2])
    mask = torch.arange(steps) < lengths[:, None]
    hits = (torch.rand(2, steps, 3, generator=torch.Generator().manual_seed(2)) < 0.3).float() * mask[..., None]
    bar, phrase = chunk_means(hits, 16), chunk_means(hits, 64)
    return {"step": hits, "bar": bar, "phrase": phrase, "mask": mask}


def test_the_likelihood_of_what_teachers_draw_is_the_cross_entropy_with_their_mean(tmp_path):
    teachers = [some_model(tmp_path / f"{seed}.safetensors", seed, grid=Grid()) for seed in (1, 2)]
    module, batch = taught_module(teachers), batch_of(16)
    every = combinations(3)
    with torch.no_grad():
        dist = module.model(batch["step"]).step_dist[:, :-1]
        exact = torch.zeros(2, 16)
        for teacher in teachers:
            taught = teacher(batch["step"]).step_dist[:, :-1]
            for each in every:
                hits = each.expand(2, 16, 3)
                exact -= taught.log_prob(hits).exp() * dist.log_prob(hits) / len(teachers)
        exact = exact[batch["mask"]].mean()
        torch.manual_seed(0)
        draws = torch.stack([module._taught_nll(dist, batch) for _ in range(400)])
    assert abs(draws.mean() - exact) < 3 * draws.std() / 20
    assert draws.std() / 20 < 0.05 * exact


def test_teachers_take_their_share_of_the_loss_and_are_not_trained(tmp_path):
    teacher = some_model(tmp_path / "teacher.safetensors", grid=Grid())
    module = taught_module([teacher], teacher_weight=0.25)
    terms = module.training_step(batch_of(32))
    parts = 0.75 * terms["step_nll"] + 0.25 * terms["taught_nll"] + 0.1 * (terms["bar"] + terms["phrase"])
    torch.testing.assert_close(terms["loss"], parts)
    terms["loss"].backward()
    assert all(each.grad is None for each in teacher.parameters())
    assert len(list(module.parameters())) == len(list(module.model.parameters()))
    alone = taught_module([]).training_step(batch_of(32))
    torch.testing.assert_close(alone["step_nll"], terms["step_nll"])
    assert "taught_nll" not in alone


LABELS = {"section": ["A", "B"], "style": ["jazz", "rock"], "fill": ["beat", "fill"]}


def planned_module(*teachers, **options):
    """A model that takes plans, with large weights of what is asked, so that whoever hears it is told apart."""
    torch.manual_seed(5)
    model = HierarchicalDrumModel(3, 8, 8, 8, num_components=2, dropout=0.0, labels=LABELS)
    for parts in (model, *teachers):
        if parts.steering is not None:
            for weights in parts.steering.parameters():
                torch.nn.init.normal_(weights)
    return DrumModule(model, config_of(Path(), Path(), use_plan=True, **options), teachers)


def planned_batch():
    batch = batch_of(64)
    labels = torch.tensor([[[1, 2, 1]] * 4, [[2, 1, 2]] * 4])
    return batch | {"plan": Plan(labels, torch.tensor([[[100.0, 0.2, 0.4]] * 4, [[80.0, 0.4, math.nan]] * 4]))}


@pytest.mark.parametrize("labels", [LABELS, None, LABELS | {"style": ["rock", "jazz"]}])
def test_a_teacher_and_its_model_hear_the_same_plan_or_none(tmp_path, monkeypatch, labels):
    some_model(tmp_path / "teacher.safetensors", grid=Grid(), labels=labels)
    teacher = load(tmp_path / "teacher.safetensors")
    module, batch, heard = planned_module(teacher, teacher_weight=0.9), planned_batch(), {}
    for name, model in (("model", module.model), ("teacher", teacher)):
        original = model.forward

        def forward(*arguments, name=name, original=original, **options):
            preds = original(*arguments, **options)
            heard.setdefault(name, []).append((options.get("plan"), preds.step_dist[:, :-1]))
            return preds

        monkeypatch.setattr(model, "forward", forward)
    some_dist = teacher(batch["step"]).step_dist
    monkeypatch.setattr(type(some_dist), "draw", lambda self: batch["step"])
    torch.manual_seed(3)
    terms = module.training_step(batch)
    (taught_plan, _), (plan, dist) = heard["teacher"][-1], heard["model"][-1]
    assert (taught_plan is None) == (labels != LABELS) and plan is taught_plan
    assert len(heard["model"]) == (1 if labels == LABELS else 2) and heard["model"][0][0] is not None
    expected = -dist.log_prob(batch["step"])[batch["mask"]].mean()
    torch.testing.assert_close(terms["taught_nll"], expected)
    if labels != LABELS:
        assert abs(expected - terms["step_nll"]) > 1e-3  # the model plays otherwise where it hears the plan


def test_a_teacher_that_hears_no_plan_cannot_teach_plans_alone(tmp_path):
    teacher = some_model(tmp_path / "teacher.safetensors", grid=Grid())
    with pytest.raises(HypermeterError, match="only plan with a teacher that takes no plans"):
        planned_module(teacher, only="plan", init="groove")


@pytest.mark.slow
def test_a_model_comes_near_to_its_teacher(prepared, tmp_path):
    teacher = some_model(tmp_path / "teacher.safetensors", cell="gru")
    with torch.no_grad():
        teacher.output_layer.project.bias.add_(3)  # it plays far more than the data
    options = {"learning_rate": 2e-2, "max_steps": 40, "val_every": 40, "teacher_weight": 0.9}
    teacher.save(tmp_path / "teacher.safetensors")
    teachers = (str(tmp_path / "teacher.safetensors"),)
    taught = load(train(config_of(prepared, tmp_path / "taught", teachers=teachers, **options)))
    alone = load(train(config_of(prepared, tmp_path / "alone", **options)))
    hits = torch.zeros(1, 32, 3)
    wanted, near, far = (each(hits).step_preds.mean() for each in (teacher, taught, alone))
    assert abs(near - wanted) < 0.5 * abs(far - wanted)


def test_a_teacher_of_another_grid_is_refused(prepared, tmp_path):
    some_model(tmp_path / "teacher.safetensors", grid=Grid())
    with pytest.raises(HypermeterError, match=r"teacher\.safetensors: Grid\(steps_per_beat=4, .*prepare on its grid"):
        train(config_of(prepared, tmp_path / "run", teachers=(str(tmp_path / "teacher.safetensors"),)))


# What a run writes.


def test_a_process_counts_by_its_steps(data, tmp_path):
    run = _Run(Fabric(accelerator="cpu", devices=1), config_of(data, tmp_path))
    batch = {"mask": torch.tensor([[True, True, True], [True, False, False]])}
    assert run._share(batch) == 1
    reduced, losses = [], []

    def all_reduce(own, reduce_op):
        reduced.append(reduce_op)
        return (own + 12) / 2

    run.fabric = SimpleNamespace(
        world_size=2,
        device=torch.device("cpu"),
        all_reduce=all_reduce,
        backward=losses.append,
        clip_gradients=lambda *_, **options: torch.ones(()),
    )
    assert run._share(batch) == 0.5 and reduced == ["mean"]
    whole = next(batches(run.dataset, run.config))
    steps = whole["mask"].sum().item()
    torch.manual_seed(0)
    terms = run._update(whole)
    torch.testing.assert_close(losses[0].detach(), terms["loss"] * steps / ((steps + 12) / 2))


def test_drums_weigh_less_only_beside_a_track(data, tmp_path):
    with pytest.raises(HypermeterError, match="drums_weight is 0.3, but there is no track"):
        train(config_of(data, tmp_path / "run", drums_weight=0.3))
    assert not (tmp_path / "run").exists()


def test_being_asked_to_stop_saves_and_then_interrupts(data, tmp_path, monkeypatch, capsys):
    original = DrumModule.training_step

    def stop(self, *arguments):
        signal.raise_signal(signal.SIGINT)
        return original(self, *arguments)

    monkeypatch.setattr(DrumModule, "training_step", stop)
    with pytest.raises(KeyboardInterrupt):
        train(config_of(data, tmp_path))
    assert "Stopped at update 1 of 8; the same command goes on." in capsys.readouterr().out
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["update"] == 1
    assert not (tmp_path / "best.safetensors").exists()


def test_weights_that_no_look_has_judged_tell_no_bits(data, tmp_path, monkeypatch):
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


@pytest.mark.parametrize("name", [CHECKPOINT, "last.safetensors", "log.csv"])
def test_a_full_disk_is_one_line_that_names_the_file(data, tmp_path, monkeypatch, name):
    def full(path):
        if path.name == name:
            monkeypatch.setattr(Path, "write_bytes", no_space)
            monkeypatch.setattr("hypermeter.learn.train.log.open", no_space, raising=False)
        return atomic_write(path)

    def no_space(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for module in ("learn.train.resume", "learn.train.log", "io.checkpoint"):
        monkeypatch.setattr(f"hypermeter.{module}.atomic_write", full)
    with pytest.raises(HypermeterError, match=rf"{name}: cannot be written \(No space left on device\)"):
        train(config_of(data, tmp_path))


def test_all_files_have_the_same_mode_and_leftovers_of_a_killed_run_go(data, tmp_path):
    leftovers = [f".{Path(name).stem}.12-34{Path(name).suffix}" for name in FILES]
    for name in leftovers:
        (tmp_path / name).touch()
    before = os.umask(0o027)
    try:
        train(config_of(data, tmp_path, max_steps=1))
    finally:
        os.umask(before)
    assert {name for name in os.listdir(tmp_path)} == {*FILES, "tensorboard"}
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in FILES} == {0o640}


def test_a_file_cannot_be_the_folder_of_a_run(data, tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(HypermeterError, match="cannot be the folder of a run .*; choose another path"):
            train(config_of(data, out))


@pytest.mark.parametrize("out", ["npz", "npz/train", "npz/train/run", "npz/../npz", "midi", "midi/run", "run"])
def test_a_run_is_not_written_where_its_data_are_read(tmp_path, out):
    for folder in ("npz/train", "midi", "run/npz"):
        (tmp_path / folder).mkdir(parents=True)
    for path in ("midi/a.mid", "run/npz/a.mid"):
        write_midi(next(iter(read_corpus().values())), tmp_path / path)
    np.savez(tmp_path / "npz" / "train" / "0.npz", sequence=np.ones((64, 3), np.uint8))
    source = {"npz": "npz", "midi": "midi", "run": "run/npz"}[out.partition("/")[0]]
    before = sorted(tmp_path.rglob("*"))
    for begin in (train_command,) if out == "run" else (train_command, train):
        with pytest.raises(HypermeterError, match="read as data; choose one outside|MIDI where its .npz would be"):
            begin(config_of(tmp_path / source, tmp_path / out, max_steps=1))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_beside_the_splits_of_its_data_is_well(data, tmp_path):
    shutil.copytree(data, tmp_path / "npz")
    assert (train(config_of(tmp_path / "npz", tmp_path / "npz" / "runs" / "one", max_steps=1)) / CHECKPOINT).exists()


def test_curves_show_a_single_point(tmp_path):
    plot_curves([{"update": 1, "step_nll": 1.0}], tmp_path / "one.png")
    plot_curves([{"update": 1, "step_nll": float("nan")}], tmp_path / "none.png")
    one, none = (plt_pixels(tmp_path / f"{name}.png") for name in ("one", "none"))
    assert one > none


def plt_pixels(path):
    """Saturated pixels, which only lines and markers have."""
    from matplotlib.image import imread

    colours = imread(path)[..., :3]
    return ((colours.max(-1) - colours.min(-1)) > 0.3).sum()


def test_processes_share_a_batch_without_overlap_and_begin_anywhere(data):
    from hypermeter.learn.dataset import CompleteHierarchicalDrumDataset

    dataset = CompleteHierarchicalDrumDataset(data / "train", 64, with_metrics=False)
    config = config_of(data, Path("unused"))
    whole, first, second = (batches(dataset, config, 3, rank, of) for rank, of in ((0, 1), (0, 2), (1, 2)))
    for _ in range(20):
        one, two, both = next(first)["step"], next(second)["step"], next(whole)["step"]
        assert torch.equal(both[0::2], one)
        assert torch.equal(both[1::2], two)


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
    train(TrainConfig(data, out, max_steps=4, val_every=2, batch_size=4, devices=2, accelerator="cpu", **options))
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
    alone = config_of(data, tmp_path / "parts", max_steps=4, val_every=2, warmup_steps=100)
    with pytest.raises(HypermeterError, match="a run with devices 2, asked for 1; .*--devices 2"):
        train(alone)


def test_a_folder_of_midi_is_prepared_on_the_kit_and_grid_of_the_model_to_start_from(tmp_path, capsys):
    for name, groove in list(read_corpus().items())[:3]:
        write_midi(groove, tmp_path / "midi" / f"{name}.mid")
    HierarchicalDrumModel(9, 16, 8, 8, kit=load_kit("magenta9")).save(tmp_path / "start.safetensors")
    config = config_of(tmp_path / "midi", tmp_path / "run", init=str(tmp_path / "start.safetensors"), max_steps=1)
    (tmp_path / "midi" / "broken.mid").write_bytes(b"x")
    train_command(config)
    assert "1 files rejected" in capsys.readouterr().out
    assert load(tmp_path / "run").kit == load_kit("magenta9")
    assert (tmp_path / "run" / "npz" / "manifest.json").exists()
    assert from_midi(config_of(tmp_path / "run" / "npz", tmp_path)).npz_dir == tmp_path / "run" / "npz"


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


def test_a_file_of_midi_or_a_zip_is_prepared_as_a_folder_is(tmp_path):
    for name, groove in list(read_corpus().items())[:3]:
        write_midi(groove, tmp_path / "midi" / f"{name}.mid")
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "midi")
    for number, source in enumerate((tmp_path / "midi" / f"{name}.mid", Path(packed))):
        made = from_midi(config_of(source, tmp_path / f"run{number}")).npz_dir
        assert made == tmp_path / f"run{number}" / "npz" and any((made / "train").glob("*.npz"))
    (tmp_path / "notes.txt").write_text("no MIDI")
    with pytest.raises(HypermeterError, match="notes.txt: neither a .mid file nor a whole .zip"):
        train_command(config_of(tmp_path / "notes.txt", tmp_path / "run"))

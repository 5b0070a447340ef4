"""Training: it learns, stops by itself, shares work between processes, and refuses what does not fit."""

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from safetensors import safe_open
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from hypermeter.cli.demo import read_corpus
from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.core.kit import load_kit
from hypermeter.core.parts import Parts
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
from hypermeter.model.hierarchical import load
from training import MINE, config_of, corpus, read_log, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("npz"))


@pytest.mark.slow
def test_it_learns(data, tmp_path):
    train(config_of(data, tmp_path, max_steps=60, evaluate_every=10, learning_rate=1e-2))
    held_out = [float(row["held_out_bits_per_step"]) for row in read_log(tmp_path) if row["held_out_bits_per_step"]]
    assert held_out[-1] < held_out[0] - 0.1
    assert held_out[-1] < 3 * 0.88  # less than the entropy of three voices that hit 30 % of the time
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert any((tmp_path / "tensorboard").iterdir())


def test_the_run_loads_as_a_model_with_its_settings_in_the_notes(data, tmp_path):
    folder = train(config_of(data, tmp_path, max_steps=2, evaluate_every=2, dropout=0.3))
    assert load(folder).config["dropout"] == 0.3
    with safe_open(folder / "best.safetensors", "pt") as file:
        notes = json.loads(file.metadata()["hypermeter"])["notes"]
    assert notes["config"]["seed"] == 0
    assert notes["held_out_bits_per_step"] > 0


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(data, tmp_path):
    one, two = (load_file(train(config_of(data, tmp_path / name)) / "last.safetensors") for name in "ab")
    other = load_file(train(config_of(data, tmp_path / "c", seed=1)) / "last.safetensors")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_it_stops_by_itself_when_nothing_improves(data, tmp_path):
    train(config_of(data, tmp_path, max_steps=100, evaluate_every=1, patience=2, learning_rate=0.0, warmup_steps=0))
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["update"] == 3


def test_a_folder_without_validation_trains_to_the_end(data, tmp_path):
    train(config_of(data / "train", tmp_path, max_steps=8, evaluate_every=2, patience=1))
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["update"] == 8
    load(tmp_path)


@pytest.mark.parametrize("options", [{"use_transformer": True}, {"output": "softmax"}, {"cell": "lstm"}])
def test_every_kind_of_model_trains(data, tmp_path, options):
    train(config_of(data, tmp_path, max_steps=2, metric_weight=0.1, **options))
    assert load(tmp_path).log_prob(torch.zeros(1, 20, 3)).isfinite().all()


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
        ({"dropout": 1.0}, r"dropout is 1.0, expected in \[0, 1\)"),
        ({"teacher_weight": float("nan")}, "teacher_weight is nan"),
        ({"learning_rates": 1e-3}, "no option learning_rates; did you mean learning_rate"),
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
    with pytest.raises(HypermeterError, match="CUDA devices.*0 here; pass --accelerator cpu"):
        train(config_of(data, tmp_path, accelerator="cuda"))


def test_a_gradient_that_is_not_finite_is_refused_with_what_to_do(data, tmp_path, monkeypatch):
    original = DrumModule.training_step

    def spoilt(self, *arguments):
        terms = original(self, *arguments)
        return terms | {"loss": terms["loss"] * float("nan")}

    monkeypatch.setattr(DrumModule, "training_step", spoilt)
    with pytest.raises(HypermeterError, match="the gradient is not finite at update 0; lower --learning-rate"):
        train(config_of(data, tmp_path))


def test_the_update_whose_gradient_was_not_finite_is_named_and_nothing_is_saved_after_it(data, tmp_path, monkeypatch):
    original, updates = DrumModule.training_step, []

    def spoilt(self, *arguments):
        updates.append(0)
        terms = original(self, *arguments)
        return terms | {"loss": terms["loss"] * float("nan" if len(updates) == 6 else 1)}

    monkeypatch.setattr(DrumModule, "training_step", spoilt)
    with pytest.raises(HypermeterError, match="the gradient is not finite at update 5"):
        train(config_of(data, tmp_path / "run"))
    assert torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)["update"] == 4


class _Reads(TorchDispatchMode):
    """Counts values that are read from tensors: for each, the program waits until a GPU has computed it."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize("options", [{}, {"output": "sigmoid", "cell": "lstm"}, {"use_transformer": True}])
def test_an_update_reads_no_value_back(data, tmp_path, options):
    run = _Run(Fabric(accelerator="cpu", devices=1), config_of(data, tmp_path, **options))
    updates = batches(run.datasets, run.config)
    with _Reads() as reads:
        run._update(next(updates))
        assert reads.count == 0
        run.norms[0].item()
        assert reads.count == 1


def test_one_process_that_is_to_stop_stops_all(data, tmp_path):
    run = _Run(Fabric(accelerator="cpu", devices=1), config_of(data, tmp_path))
    batch = {"mask": torch.tensor([[True, True]])}
    run.fabric = SimpleNamespace(
        world_size=2, device=torch.device("cpu"), all_reduce=lambda own, reduce_op: (own + other) / 2
    )
    for flag in (0.0, 1.0):
        other = torch.tensor([2.0, flag])
        run._share(batch)
        assert run._any_is_stopping(False) == bool(flag)
    run.fabric.device = torch.device("cuda")
    assert run._any_is_stopping(True) and not run._any_is_stopping(False)


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


def test_a_custom_kit_is_kept_whole_in_the_model(tmp_path):
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


def test_windows_begin_on_phrases_by_default(data, tmp_path):
    whole = read_material(config_of(data, tmp_path)).dataset
    assert set(whole.windows[:, 1] % 64) == {0} and whole.hop == 64
    assert read_material(config_of(data, tmp_path, hop_bars=1)).dataset.hop == 16
    with pytest.raises(HypermeterError, match="hop_bars is 0, expected at least 1"):
        config_of(data, tmp_path, hop_bars=0)


# What a run writes.


def test_a_process_counts_by_its_steps(data, tmp_path):
    run = _Run(Fabric(accelerator="cpu", devices=1), config_of(data, tmp_path))
    batch = {"mask": torch.tensor([[True, True, True], [True, False, False]])}
    assert run._share(batch) == 1
    reduced, losses = [], []

    def all_reduce(own_steps, reduce_op):
        reduced.append(reduce_op)
        return (own_steps + 12) / 2

    run.fabric = SimpleNamespace(
        world_size=2,
        device=torch.device("cpu"),
        all_reduce=all_reduce,
        backward=losses.append,
        clip_gradients=lambda *_, **options: torch.ones(()),
    )
    assert run._share(batch) == 0.5 and reduced == ["mean"]
    whole = next(batches(run.datasets, run.config))
    steps = whole["mask"].sum().item()
    torch.manual_seed(0)
    terms = run._update(whole)
    torch.testing.assert_close(losses[0].detach(), terms["loss"] * steps / ((steps + 12) / 2))


def test_drums_weigh_less_only_beside_a_track(data, tmp_path):
    with pytest.raises(HypermeterError, match="drums_weight is 0.3, but there is no track"):
        train(config_of(data, tmp_path / "run", drums_weight=0.3))
    assert not (tmp_path / "run").exists()


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
    whole, first, second = (batches([dataset], config, 3, rank, of) for rank, of in ((0, 1), (0, 2), (1, 2)))
    for _ in range(20):
        one, two, both = next(first)["step"], next(second)["step"], next(whole)["step"]
        assert torch.equal(both[0::2], one)
        assert torch.equal(both[1::2], two)


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


def test_the_help_leaves_parts_of_the_model_to_python():
    command = [sys.executable, "-m", "hypermeter.cli", "train", "--help"]
    done = subprocess.run(command, env=os.environ | {"COLUMNS": "80"}, capture_output=True, text=True, check=True)
    assert "--teacher-weight" in done.stdout
    assert "use-look-back" not in done.stdout and "attention" not in done.stdout


def test_parts_of_a_model_are_a_value_of_their_own(tmp_path):
    config = TrainConfig.of(tmp_path, tmp_path / "run", parts=Parts(look_back=False))
    assert config.model.parts == Parts(look_back=False) and config.to_dict()["use_look_back"] is False
    with pytest.raises(HypermeterError, match=r"no option use_look_back; pass parts=Parts\(look_back=...\)"):
        TrainConfig.of(tmp_path, tmp_path / "run", use_look_back=False)


def test_options_are_set_by_name_in_their_groups(tmp_path):
    config = config_of(tmp_path, tmp_path / "run", learning_rate=1e-3, dropout=0.1, metric_weight=0.2, kit="gm10")
    assert (config.optimizer.learning_rate, config.model.dropout, config.loss.metric_weight) == (1e-3, 0.1, 0.2)
    assert config.replace(dropout=0.2).model == replace(config.model, dropout=0.2)
    assert config.options().items() >= {"learning_rate": 1e-3, "dropout": 0.1, "metric_weight": 0.2}.items()
    assert "kit" not in config.to_dict() and config.to_dict()["use_positions"] is True

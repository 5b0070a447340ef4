"""Teaching a model what it did not learn at first: plans, expression; and learning drums together with a bass."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from hypermeter.core.errors import HypermeterError
from hypermeter.core.strokes import Strokes
from hypermeter.core.tracks import BASS
from hypermeter.learn.dataset import CompleteHierarchicalDrumDataset, collate
from hypermeter.learn.train import DrumModule, TrainConfig, train
from hypermeter.learn.train.material import read_material
from hypermeter.learn.train.module import expression_nats
from hypermeter.model.hierarchical import load
from hypermeter.model.plan import Plan
from hypermeter.play.articulating import CHANNELS, COUNT
from hypermeter.play.plan import LETTERS

SMALL = {"step_hidden_dim": 16, "bar_hidden_dim": 8, "phrase_hidden_dim": 8, "num_components": 2, "seq_len": 64}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Dense rock and sparse jazz, louder on the beat and later off it; a bass that follows the kick."""
    folder = tmp_path_factory.mktemp("npz")
    random = np.random.default_rng(0)
    for split, number in (("train", 12), ("validation", 4)):
        (folder / split).mkdir()
        for index in range(number):
            style = ("rock", "jazz")[index % 2]
            hits = (np.tile(random.random((16, 3)), (8, 1)) < (0.45 if style == "rock" else 0.1)).astype(np.uint8)
            on_beat = (np.arange(128) % 4 == 0)[:, None]
            velocity = np.where(on_beat, 0.9, 0.4).astype(np.float32) * hits
            offset = np.where(on_beat, 0.0, 0.2).astype(np.float32) * hits
            meta = json.dumps({"style": style, "tempo_bpm": 100.0})
            bass = np.where(hits[:, 0], 40, 1).astype(np.int16)
            arrays = {"velocity": velocity, "offset": offset, "meta": meta, "track_bass": bass}
            np.savez(folder / split / f"{index}.npz", sequence=hits, **arrays)
    return folder


def config_of(data, out, **options):
    settings = {"max_steps": 6, "batch_size": 4, "evaluate_every": 3, "warmup_steps": 2, "accelerator": "cpu", **SMALL}
    return TrainConfig.of(data, out, **(settings | options))


@pytest.fixture(scope="module")
def start(data, tmp_path_factory):
    return train(config_of(data, tmp_path_factory.mktemp("runs") / "start"))


@pytest.mark.parametrize("part", ["plan", "expression", "follow"])
def test_a_part_is_learnt_and_the_rest_stays_as_it_is(data, start, tmp_path, part):
    taught = train(config_of(data, tmp_path / "taught", init=str(start), only=part))
    before, after = load_file(start / "best.safetensors"), load_file(taught / "best.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert set(after) > set(before)
    hits = (torch.rand(1, 40, 3, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    assert torch.equal(load(taught).log_prob(hits), load(start).log_prob(hits))


def test_strokes_and_openness_are_learnt_where_the_data_tells_them(data, start, tmp_path):
    folder = tmp_path / "npz"
    for path in sorted(data.rglob("*.npz")):
        with np.load(path) as file:
            arrays = {name: file[name] for name in file}
        step, voice = (places[::2] for places in np.nonzero(arrays["sequence"]))
        values = np.full(len(step), -0.25), np.full(len(step), 0.2), np.full(len(step), np.nan)
        target = folder / path.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        np.savez(target, **arrays, strokes=Strokes(step, voice, *values).table)
    assert load(train(config_of(data, tmp_path / "without", init=str(start), only="expression"))).expression is not None
    taught = load(train(config_of(folder, tmp_path / "with", init=str(start), only="expression")))
    articulation = taught.expression.articulation
    assert articulation is not None and not articulation.learns_openness
    batch = next(iter(DataLoader(windows(folder), 4, collate_fn=collate)))
    assert batch["articulation"].shape == (*batch["step"].shape, CHANNELS)
    counts = batch["articulation"][..., COUNT]
    assert counts[batch["step"] > 0].mean() == pytest.approx(1.5, abs=0.15) and counts[batch["step"] == 0].isnan().all()
    nats, hits = expression_nats(taught, batch)
    without = taught.expression
    taught.expression.articulation = None
    assert expression_nats(taught, batch)[0] < nats and without is taught.expression and hits > 0
    again = load(train(config_of(data, tmp_path / "again", init=str(tmp_path / "with"), only="expression")))
    assert again.expression.articulation is not None


def windows(folder):
    return CompleteHierarchicalDrumDataset(folder / "train", 64, with_expression=True, with_metrics=False)


def test_a_model_can_learn_one_part_after_the_other(data, start, tmp_path):
    first = train(config_of(data, tmp_path / "first", init=str(start), only="plan"))
    second = load(train(config_of(data, tmp_path / "second", init=str(first), only="expression")))
    assert second.labels == {"section": list(LETTERS), "style": ["jazz", "rock"], "fill": ["beat", "fill"]}
    assert second.expression is not None


@pytest.mark.slow
def test_what_only_names_is_learnt(data, start, tmp_path):
    taught = load(train(config_of(data, tmp_path, init=str(start), only="plan", max_steps=60, learning_rate=2e-2)))
    counts = {}
    for style in ("jazz", "rock"):
        plan = Plan.free(16, 4)
        plan.labels[..., 1] = 1 + taught.labels["style"].index(style)
        counts[style] = taught.generate(None, 64, batch_size=16, plan=plan, seed=0).sum().item()
    assert counts["rock"] > 1.3 * counts["jazz"]


@pytest.mark.slow
def test_how_hits_are_played_is_learnt(data, start, tmp_path):
    short = config_of(data, tmp_path / "short", init=str(start), only="expression", max_steps=2, evaluate_every=1)
    long = config_of(data, tmp_path / "long", init=str(start), only="expression", max_steps=60, learning_rate=2e-2)
    bits = []
    for config in (short, long):
        log = (train(config) / "log.csv").read_text().splitlines()
        column = log[0].split(",").index("held_out_bits_per_step")
        bits.append(next(float(row.split(",")[column]) for row in reversed(log[1:]) if row.split(",")[column]))
    assert bits[1] < bits[0] - 1


def test_drop_out_is_for_the_part_that_is_learnt(data, start, tmp_path):
    config = config_of(data, tmp_path, init=str(start), only="plan", dropout=0.5)
    model = load(train(config))
    module = DrumModule(model, config).train()
    assert not model.step_rnn.training and model.steering is not None and model.steering.training
    assert {name.split(".")[1] for name, child in module.named_parameters() if child.requires_grad} == {
        "plan_embedding",
        "steering",
    }


def test_every_letter_is_learnt_though_windows_have_few_sections(data, start, tmp_path):
    config = config_of(data, tmp_path, init=str(start), only="plan")
    module = DrumModule(load(train(config)), config)
    plan = Plan.free(400, 8)
    plan.labels[:, :4, 0], plan.labels[:, 4:, 0] = 1, 2
    torch.manual_seed(0)
    sections = module._sampled_plan(plan).labels[..., 0]
    first, second = sections[sections[:, 0] > 0][:, ::4].unbind(1)  # half of the rows are open
    assert set(first.tolist()) == set(second.tolist()) == set(range(1, 9)) and (first != second).all()


def test_sections_that_have_names_keep_them(data, start, tmp_path):
    named = tmp_path / "named"
    for split in ("train", "validation"):
        (named / split).mkdir(parents=True)
        for path in sorted((data / split).glob("*.npz"))[:4]:
            with np.load(path) as arrays:
                np.savez(named / split / path.name, **arrays, section=np.array(["verse"] * 4 + ["chorus"] * 4))
    config = config_of(named, tmp_path / "out", init=str(start), only="plan")
    module = DrumModule(load(train(config)), config)
    plan = Plan.free(400, 2)
    plan.labels[:, 0, 0], plan.labels[:, 1, 0] = 1, 2
    assert set(module._sampled_plan(plan).labels[..., 0].unique(dim=0).tolist()[-1]) == {1, 2}


def test_a_part_is_taught_to_a_model_that_is_there():
    with pytest.raises(HypermeterError, match="only plan without init"):
        TrainConfig(npz_dir="npz", out="out", only="plan")


def test_a_plan_can_be_learnt_from_the_start(data, tmp_path):
    model = load(train(config_of(data, tmp_path, use_plan=True)))
    assert model.labels["style"] == ["jazz", "rock"]


def test_a_track_is_learnt_beside_the_drums(data, tmp_path):
    folder = train(config_of(data, tmp_path / "a", tracks=("bass",)))
    model = load(folder)
    assert model.tracks == (BASS,)
    again = load(train(config_of(data, tmp_path / "b", init=str(folder))))
    assert again.tracks == (BASS,)


def test_a_track_that_no_file_has_is_refused(data, tmp_path):
    for path in data.rglob("*.npz"):
        with np.load(path) as arrays:
            kept = {name: arrays[name] for name in arrays.files if name != "track_bass"}
        target = tmp_path / "npz" / path.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        np.savez(target, **kept)
    with pytest.raises(HypermeterError, match="prepare with --tracks bass"):
        read_material(config_of(tmp_path / "npz", tmp_path / "out", tracks=("bass",)))
    with pytest.raises(HypermeterError, match="no track 'viola'"):
        config_of(data, tmp_path / "out", tracks=("viola",))


def without(data, folder, *names):
    """A copy of the data without some arrays."""
    for path in data.rglob("*.npz"):
        with np.load(path) as arrays:
            kept = {name: arrays[name] for name in arrays.files if name not in names}
        target = folder / path.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        np.savez(target, **kept)
    return folder


def test_expression_is_not_learnt_from_files_without_any(data, start, tmp_path):
    silent = without(data, tmp_path / "npz", "velocity", "offset")
    with pytest.raises(HypermeterError, match="nothing to learn"):
        train(config_of(silent, tmp_path / "out", init=str(start), only="expression"))


@pytest.mark.parametrize("name", ["velocity", "offset"])
def test_expression_is_not_learnt_from_one_of_velocity_and_offset(data, start, tmp_path, name):
    half = without(data, tmp_path / "npz", name)
    with pytest.raises(HypermeterError, match="no .npz with both velocity and offset, so there is nothing to learn"):
        train(config_of(half, tmp_path / "out", init=str(start), only="expression"))


@pytest.mark.parametrize("options", [{"teachers": ("groove",)}, {"metric_weight": 0.1}])
def test_what_expression_would_not_read_is_refused(options):
    (name,) = options
    with pytest.raises(HypermeterError, match=f"only expression takes no {name}"):
        TrainConfig.of(npz_dir="npz", out="out", init="groove", only="expression", **options)


def test_all_that_is_trained_has_a_gradient(data, start, tmp_path):
    """Processes that share a batch wait for the gradient of each parameter."""
    first = train(config_of(data, tmp_path / "first", init=str(start), only="plan"))
    taught = train(config_of(data, tmp_path / "taught", init=str(first), only="expression"))
    for only in (None, "plan", "expression"):
        config = config_of(data, tmp_path / "more", init=str(taught), only=only)
        module = DrumModule(load(taught), config).train()
        dataset = read_material(config).dataset
        module.training_step(collate([dataset[index] for index in range(4)]))["loss"].backward()
        learnt = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        assert learnt and not [name for name, parameter in learnt.items() if parameter.grad is None]


def test_expression_is_learnt_on_a_model_with_a_track(data, tmp_path):
    band = train(config_of(data, tmp_path / "band", tracks=("bass",)))
    assert load(train(config_of(data, tmp_path / "out", init=str(band), only="expression"))).expression is not None


def test_a_run_does_not_go_on_with_other_labels(data, start, tmp_path):
    other_data = without(data, tmp_path / "npz")
    config = config_of(other_data, tmp_path / "out", init=str(start), only="plan")
    train(config)
    for path in other_data.rglob("*.npz"):
        with np.load(path) as arrays:
            kept = dict(arrays.items())
        np.savez(path, **kept | {"meta": json.dumps({"style": "polka"})})
    with pytest.warns(UserWarning, match="polka"), pytest.raises(HypermeterError, match="other performances"):
        train(config)


def test_styles_that_a_model_does_not_have_are_reported(data, start, tmp_path):
    taught = train(config_of(data, tmp_path / "taught", init=str(start), only="plan"))
    other = without(data, tmp_path / "npz")
    for path in other.rglob("*.npz"):
        with np.load(path) as arrays:
            kept = dict(arrays.items())
        np.savez(path, **kept | {"meta": json.dumps({"style": "zouk"})})
    with pytest.warns(UserWarning, match="zouk"):
        read_material(config_of(other, tmp_path / "out", init=str(taught), only="plan"))

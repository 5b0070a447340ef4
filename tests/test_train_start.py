"""Starting from the weights of a model, and learning from teachers."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from hypermeter.cli.demo import read_corpus
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import load_kit
from hypermeter.core.parts import Parts
from hypermeter.io.midi import write_midi
from hypermeter.learn.train import DrumModule, from_midi, train, train_command
from hypermeter.model.heads import combinations
from hypermeter.model.hierarchical import HierarchicalDrumModel, load
from hypermeter.model.plan import Plan
from hypermeter.music.metrics import chunk_means
from training import MINE, config_of, corpus, some_model, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("npz"))


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kit": None}, "no kit, expected kit mine of .*; prepare with its kit, or name it by --kit"),
        ({"kit": replace(MINE, name="other")}, "kit other, expected kit mine"),
        ({"kit": replace(MINE, voices=MINE.voices[::-1])}, "kit mine of other voices, expected kit mine"),
        (
            {"grid": Grid(), "parts": Parts(place_table=True)},
            r"Grid\(steps_per_beat=4, .*expected Grid\(steps_per_beat=3, .*; prepare on its grid",
        ),
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


@pytest.mark.slow
def test_the_likelihood_of_what_teachers_draw_is_the_cross_entropy_with_their_mean(tmp_path):
    teachers = [some_model(tmp_path / f"{seed}.safetensors", seed, grid=Grid()) for seed in (1, 2)]
    module, batch = taught_module(teachers), batch_of(16)
    every = combinations(3)
    with torch.no_grad():
        dist = module.model(batch["step"]).step_dist[:, :-1]
        exact = torch.zeros(2, 16)
        for teacher in teachers:
            taught = teacher(batch["step"]).step_dist[:, :-1]
            for piece in every:
                hits = piece.expand(2, 16, 3)
                exact -= taught.log_prob(hits).exp() * dist.log_prob(hits) / len(teachers)
        exact = exact[batch["mask"]].mean()
        torch.manual_seed(0)
        draws = torch.stack([module._taught_nll(module.model, module.teachers, dist, batch) for _ in range(400)])
    assert abs(draws.mean() - exact) < 3 * draws.std() / 20
    assert draws.std() / 20 < 0.05 * exact


def test_teachers_take_their_share_of_the_loss_and_are_not_trained(tmp_path):
    teacher = some_model(tmp_path / "teacher.safetensors", grid=Grid())
    module = taught_module([teacher], teacher_weight=0.25)
    terms = module.training_step(batch_of(32))
    parts = 0.75 * terms["step_nll"] + 0.25 * terms["taught_nll"] + 0.1 * (terms["bar"] + terms["phrase"])
    torch.testing.assert_close(terms["loss"], parts)
    terms["loss"].backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert len(list(module.parameters())) == len(list(module.model.parameters()))
    alone = taught_module([]).training_step(batch_of(32))
    torch.testing.assert_close(alone["step_nll"], terms["step_nll"])
    assert "taught_nll" not in alone


def test_an_update_is_taught_by_one_teacher_which_is_drawn_anew(tmp_path):
    teachers = [some_model(tmp_path / f"{seed}.safetensors", seed, grid=Grid()) for seed in (1, 2, 3)]
    called = []
    for teacher in teachers:
        teacher.register_forward_hook(lambda teacher, *_: called.append(teachers.index(teacher)))
    module, batch = taught_module(teachers), batch_of(16)
    torch.manual_seed(0)
    for update in range(20):
        module.training_step(batch)
        assert len(called) == update + 1
    assert {*called} == {0, 1, 2}


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
def test_a_teacher_and_its_model_get_the_same_plan_or_none(tmp_path, monkeypatch, labels):
    some_model(tmp_path / "teacher.safetensors", grid=Grid(), labels=labels)
    teacher = load(tmp_path / "teacher.safetensors")
    module, batch, plans_of = planned_module(teacher, teacher_weight=0.9), planned_batch(), {}
    for name, model in (("model", module.model), ("teacher", teacher)):
        original = model.forward

        def forward(*arguments, name=name, original=original, **options):
            preds = original(*arguments, **options)
            plans_of.setdefault(name, []).append((options.get("plan"), preds.step_dist[:, :-1]))
            return preds

        monkeypatch.setattr(model, "forward", forward)
    some_dist = teacher(batch["step"]).step_dist
    monkeypatch.setattr(type(some_dist), "sample", lambda self, generator=None: batch["step"])
    torch.manual_seed(3)
    terms = module.training_step(batch)
    (taught_plan, _), (plan, dist) = plans_of["teacher"][-1], plans_of["model"][-1]
    assert (taught_plan is None) == (labels != LABELS) and plan is taught_plan
    assert len(plans_of["model"]) == (1 if labels == LABELS else 2) and plans_of["model"][0][0] is not None
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
    options = {"learning_rate": 2e-2, "max_steps": 40, "evaluate_every": 40, "teacher_weight": 0.9}
    teacher.save(tmp_path / "teacher.safetensors")
    teachers = (str(tmp_path / "teacher.safetensors"),)
    taught = load(train(config_of(prepared, tmp_path / "taught", teachers=teachers, **options)))
    alone = load(train(config_of(prepared, tmp_path / "alone", **options)))
    hits = torch.zeros(1, 32, 3)
    wanted, near, far = (candidate(hits).step_preds.mean() for candidate in (teacher, taught, alone))
    assert abs(near - wanted) < 0.5 * abs(far - wanted)


def test_a_teacher_of_another_grid_is_refused_if_its_places_are_a_table(prepared, tmp_path):
    some_model(tmp_path / "teacher.safetensors", grid=Grid(), parts=Parts(place_table=True))
    with pytest.raises(HypermeterError, match=r"teacher\.safetensors: Grid\(steps_per_beat=4, .*prepare on its grid"):
        train(config_of(prepared, tmp_path / "run", teachers=(str(tmp_path / "teacher.safetensors"),)))


def test_a_model_of_another_metre_starts_on_the_grid_of_the_data(prepared, tmp_path):
    some_model(tmp_path / "start.safetensors", grid=Grid())
    run = train(config_of(prepared, tmp_path / "run", init=str(tmp_path / "start.safetensors"), max_steps=1))
    assert load(run).grid == Grid(3)


def test_a_teacher_that_learnt_no_grid_of_the_data_is_refused(prepared, tmp_path):
    some_model(tmp_path / "teacher.safetensors", grid=Grid())
    with pytest.raises(HypermeterError, match=r"teacher\.safetensors: it learnt Grid\(.*expected a grid of"):
        train(config_of(prepared, tmp_path / "run", teachers=(str(tmp_path / "teacher.safetensors"),)))


def test_a_teacher_teaches_on_the_grids_that_it_learnt(tmp_path):
    teachers = [some_model(tmp_path / f"{steps}.safetensors", 1, grid=Grid(steps)) for steps in (3, 4)]
    teachers[0] = teachers[0].on(Grid())  # as the data has mostly 4/4 in sixteenths
    called = []
    teachers[0].step_rnn.register_forward_hook(lambda *_: called.append(3))
    teachers[1].step_rnn.register_forward_hook(lambda *_: called.append(4))
    module = taught_module(teachers)
    for steps in (3, 4):
        batch = batch_of(4 * steps) | {"grid": Grid(steps)}  # a bar
        for _ in range(4):
            module.training_step(batch)
    assert called == [3] * 4 + [4] * 4

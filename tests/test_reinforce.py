"""The command ``reinforce``: it learns the reward, continues exactly, and stops by itself."""

import csv
import json
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hypermeter.cli import main
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit, Voice
from hypermeter.core.tracks import BASS
from hypermeter.learn.rl import Reward, Term
from hypermeter.learn.rl.config import ALGORITHMS, ReinforceConfig
from hypermeter.learn.rl.learners import PolicyLearner, adapt_kl_weight, distinct_bars, evaluate_policy
from hypermeter.learn.rl.reinforce import FILES, reinforce
from hypermeter.learn.train.resume import CHECKPOINT
from hypermeter.model import Parts
from hypermeter.model.hierarchical import HierarchicalDrumModel, load

GRID = Grid(steps_per_beat=1, beats_per_bar=4, bars_per_phrase=2)
GRADIENTS = [name for name in ALGORITHMS if name != "psi"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small model, a reward of bars and phrases, and held-out performances."""
    folder = tmp_path_factory.mktemp("reinforce")
    torch.manual_seed(0)
    parts = Parts(attention_bars=4)
    model = HierarchicalDrumModel(3, 16, 8, 8, 1, dropout=0.5, num_components=4, parts=parts, grid=GRID)
    model.save(folder / "start.safetensors")
    (folder / "reward.yaml").write_text(
        "terms:\n"
        "  - {metric: avg_hits, level: bar, target: 2, scale: 0.5}\n"
        "  - {metric: groove_consistency, level: phrase, want: more, weight: 0.1}\n"
    )
    (folder / "held").mkdir()
    hits = (np.random.default_rng(0).random((3, 24, 3)) < 0.3).astype(np.uint8)
    for index, sequence in enumerate(hits):
        np.savez(folder / "held" / f"{index}.npz", sequence=sequence, meta=np.array(f'{{"grid": {_json(GRID)}}}'))
    return folder


def _json(grid):
    return str(grid.to_dict()).replace("'", '"')


def config_of(folder, out, algorithm="ppo", **options):
    settings = {
        "reward": folder / "reward.yaml",
        "model": str(folder / "start.safetensors"),
        "updates": 4,
        "batch_size": 8,
        "bars": 4,
        "evaluate_every": 2,
        "evaluate_pieces": 8,
        "learning_rate": 1e-2,
        "kl_budget": 10.0,
        "least_diversity": 0.0,
        "minibatches": 2,
        "held_out": folder / "held",
    }
    return ReinforceConfig(out, algorithm=algorithm, **(settings | options))


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """The folder of a whole run of an algorithm, made once; no test writes there."""
    runs = {}

    def run(algorithm):
        if algorithm not in runs:
            runs[algorithm] = tmp_path_factory.mktemp(algorithm)
            reinforce(config_of(folder, runs[algorithm], algorithm, **TUNED[algorithm]))
        return runs[algorithm]

    return run


TUNED = {name: {"kl_target": 0.05, "entropy_weight": 0.01} for name in GRADIENTS} | {
    "psi": {"bars": 2, "learning_rate": 1e-4}
}


def read_log(out):
    with open(out / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", GRADIENTS)
def test_it_learns_the_reward_and_reports_its_cost(algorithm, folder, tmp_path):
    options = {"updates": 12, "batch_size": 24, "evaluate_every": 12, "evaluate_pieces": 48, "learning_rate": 2e-2}
    reinforce(config_of(folder, tmp_path, algorithm, **options))
    first, last = (row for row in read_log(tmp_path) if row["eval_reward"])
    assert float(last["eval_reward_bar"]) > float(first["eval_reward_bar"]) + 1
    assert abs(float(last["eval_hits"]) - 2) < abs(float(first["eval_hits"]) - 2) - 0.3
    assert float(first["eval_kl"]) == pytest.approx(0, abs=1e-6) and float(last["eval_kl"]) > 0.01
    for name in ("eval_reward_phrase", "eval_entropy", "eval_distinct_bars", "held_out_bits_per_step"):
        assert float(last[name])


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_run_that_was_cut_continues_as_if_it_had_not_been(algorithm, folder, finished, tmp_path):
    for updates in (2, 4):
        reinforce(config_of(folder, tmp_path, algorithm, updates=updates, **TUNED[algorithm]))
    assert read_log(finished(algorithm)) == read_log(tmp_path)
    assert {"reward", "kl", "entropy", "distinct_bars"} <= set(read_log(tmp_path)[1])
    for name in ("best.safetensors", "last.safetensors"):
        one, other = load_file(finished(algorithm) / name), load_file(tmp_path / name)
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_dqn_is_the_earlier_name_of_psi(folder, capsys):
    config = config_of(folder, folder / "run", "dqn")
    assert config == config_of(folder, folder / "run", "psi")
    (line,) = capsys.readouterr().err.splitlines()
    assert "dqn" in line and "psi" in line


@pytest.mark.slow
def test_a_run_with_the_names_of_earlier_versions_continues(folder, finished, tmp_path):
    shutil.copytree(finished("psi"), tmp_path, dirs_exist_ok=True)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    config = state["config"]
    config |= {"algorithm": "dqn", "look_every": config.pop("evaluate_every")}
    config["look_pieces"] = config.pop("evaluate_pieces")
    state["history"] = [
        {name.replace("eval_", "look_"): value for name, value in row.items()} for row in state["history"]
    ]
    torch.save(state, tmp_path / CHECKPOINT)
    reinforce(config_of(folder, tmp_path, "psi", **(TUNED["psi"] | {"updates": 5})))
    before, after = read_log(finished("psi")), read_log(tmp_path)
    assert after[: len(before)] == before and after[-1]["update"] == "5"


def test_a_normalised_reward_continues_with_its_scales(folder, tmp_path):
    text = (folder / "reward.yaml").read_text("utf-8")
    (tmp_path / "reward.yaml").write_text("normalise: true\n" + text)
    done, parts = tmp_path / "done", tmp_path / "parts"
    options = {"reward": tmp_path / "reward.yaml", "evaluate_every": 1}
    reinforce(config_of(folder, done, "reinforce", updates=2, **options))
    for updates in (1, 2):
        reinforce(config_of(folder, parts, "reinforce", updates=updates, **options))
    assert read_log(done) == read_log(parts)


def test_ctrl_c_saves_and_the_same_command_continues(folder, finished, tmp_path, monkeypatch, capsys):
    config = config_of(folder, tmp_path, **TUNED["ppo"])
    update = PolicyLearner.update

    def interrupted(learner, generator):
        row = update(learner, generator)
        calls.append(row)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return row

    calls = []
    monkeypatch.setattr(PolicyLearner, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reinforce(config)
    assert "Stopped at update 3 of 4; the same command continues" in capsys.readouterr().out
    monkeypatch.undo()
    reinforce(config)
    assert read_log(tmp_path) == read_log(finished("ppo"))


def test_the_result_loads_like_any_other_model(folder, finished):
    assert {path.name for path in finished("ppo").iterdir()} == set(FILES)
    start, result = load(folder / "start.safetensors"), load(finished("ppo"))
    assert result.config == start.config and result.grid == start.grid
    assert any(not torch.equal(a, b) for a, b in zip(start.parameters(), result.parameters()))
    assert result.generate(length=8, seed=0).shape == (1, 8, 3)


def test_it_stops_when_the_kl_budget_is_spent_and_keeps_weights_within_it(folder, tmp_path, capsys):
    config = config_of(folder, tmp_path, updates=50, kl_budget=0.02, kl_weight=0.0, evaluate_every=1)
    reinforce(config)
    rows = [row for row in read_log(tmp_path) if row["kl"]]
    assert len(rows) < 50 and float(rows[-1]["kl"]) > 0.02 >= float(rows[-2]["kl"])
    assert "the KL budget is spent" in capsys.readouterr().out
    start, best = load(folder / "start.safetensors"), load(tmp_path)
    reward = Reward([Term("avg_hits", "bar", target=2)])
    assert evaluate_policy(best, start, reward, 64, 4, 1)["kl"] < 0.03
    reinforce(config)
    assert len([row for row in read_log(tmp_path) if row["kl"]]) == len(rows)
    assert "the KL budget is spent" in capsys.readouterr().out


def test_it_stops_when_diversity_collapses(folder, tmp_path, capsys):
    (tmp_path / "same.yaml").write_text("terms: [{metric: density, level: bar, want: more, weight: 10}]")
    out = tmp_path / "run"
    options = {"updates": 100, "kl_weight": 0.0, "kl_budget": 1e3, "learning_rate": 5e-2, "least_diversity": 0.5}
    reinforce(config_of(folder, out, reward=tmp_path / "same.yaml", **options))
    rows = [row for row in read_log(out) if row["kl"]]
    assert len(rows) < 100 and float(rows[-1]["distinct_bars"]) < 0.5 * float(rows[0]["distinct_bars"])
    assert "diversity collapsed" in capsys.readouterr().out


def test_the_weight_of_divergence_moves_towards_the_target(finished):
    assert adapt_kl_weight(1, 0.2, 0.1) == pytest.approx(1.1)
    assert adapt_kl_weight(1, 9, 0.1) == pytest.approx(1.1)
    assert adapt_kl_weight(1, 0.05, 0.1) == pytest.approx(0.95)
    assert adapt_kl_weight(1, 0, 0.1) == pytest.approx(0.9)
    rows = [row for row in read_log(finished("ppo")) if row["kl"]]
    assert float(rows[0]["kl_weight"]) == 0.1 and float(rows[0]["kl"]) < 1e-6
    assert float(rows[1]["kl_weight"]) == pytest.approx(0.09, rel=1e-3)


def test_costs_of_divergence_and_entropy_keep_both(folder, tmp_path):
    """With a heavy weight the divergence stays small; with none it grows. A bonus keeps entropy."""
    last = {}
    for name, costs in (
        ("free", {"kl_weight": 0.0}),
        ("near", {"kl_weight": 100.0}),
        ("open", {"kl_weight": 0.0, "entropy_weight": 3.0}),
    ):
        options = {"updates": 6, "evaluate_every": 6, "learning_rate": 3e-3, **costs}
        reinforce(config_of(folder, tmp_path / name, "reinforce", **options))
        last[name] = read_log(tmp_path / name)[-1]
    assert float(last["near"]["eval_kl"]) < 0.2 * float(last["free"]["eval_kl"])
    assert float(last["open"]["eval_entropy"]) > float(last["free"]["eval_entropy"])


def test_the_first_ratio_is_1_although_the_model_was_trained_with_dropout(folder, tmp_path):
    reinforce(config_of(folder, tmp_path, "grpo", updates=1, epochs=1, minibatches=1))
    assert float(read_log(tmp_path)[1]["outside_clip"]) == 0


def test_distinct_bars_by_hand():
    one, two = torch.zeros(4, 3), torch.ones(4, 3)
    pieces = torch.stack([torch.cat([one, two]), torch.cat([one, one])])
    assert distinct_bars(pieces, 4) == 0.5
    assert distinct_bars(pieces[:, :3], 4) == 1


def test_another_run_in_the_folder_is_refused(folder, finished, tmp_path):
    run = shutil.copytree(finished("ppo"), tmp_path / "run")
    config = config_of(folder, run, **TUNED["ppo"])
    (tmp_path / "other.yaml").write_text("terms: [{metric: density, want: more}]")
    (tmp_path / "normalised.yaml").write_text("normalise: true\n" + (folder / "reward.yaml").read_text())
    for changes, message in (
        ({"clip": 0.3}, "clip 0.2.* 0.3"),
        ({"algorithm": "grpo"}, "algorithm ppo.* grpo"),
        ({"reward": tmp_path / "other.yaml"}, "another reward"),
        ({"reward": tmp_path / "normalised.yaml"}, "another reward"),
    ):
        with pytest.raises(HypermeterError, match=message) as caught:
            reinforce(replace(config, **changes))
        assert len(str(caught.value).splitlines()) == 1
    (run / CHECKPOINT).write_bytes(b"not one")
    with pytest.raises(HypermeterError, match="not a readable checkpoint"):
        reinforce(config)


def test_inputs_that_do_not_fit_are_refused_before_anything_is_written(folder, tmp_path):
    (tmp_path / "free.yaml").write_text("terms: [{metric: density, level: bar, want: more, weight: 0}]")
    (tmp_path / "met.yaml").write_text("terms: [{metric: density, level: bar, band: [0, 1]}]")
    for name in ("other", "kit"):
        (tmp_path / name).mkdir()
    np.savez(tmp_path / "other" / "a.npz", sequence=np.ones((8, 5), np.uint8))
    mine = Kit("mine", tuple(Voice(f"voice_{pitch}", (pitch,), pitch) for pitch in range(3)))
    meta = np.array(json.dumps({"grid": GRID.to_dict(), "kit": mine.to_dict()}))
    np.savez(tmp_path / "kit" / "a.npz", sequence=np.ones((8, 3), np.uint8), meta=meta)
    for changes, message in (
        ({"reward": tmp_path / "free.yaml"}, "whatever is played, as with metrics of the data"),
        ({"reward": tmp_path / "met.yaml"}, "whatever is played"),
        ({"reward": tmp_path / "nothing.yaml"}, "the reward cannot be read"),
        ({"held_out": tmp_path / "other"}, "5 voices, expected 3 as the model has"),
        ({"held_out": tmp_path / "kit"}, "kit mine, .*expected no kit"),
        ({"model": "nothing"}, "no such checkpoint"),
    ):
        with pytest.raises(HypermeterError, match=message) as caught:
            reinforce(config_of(folder, tmp_path / "run", **changes))
        assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()
    with pytest.raises(HypermeterError, match=r"met\.yaml.*cannot be written.*choose another folder"):
        reinforce(config_of(folder, tmp_path / "met.yaml" / "run", model="nothing"))  # before the model is read


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"updates": 0}, "updates is 0, expected at least 1"),
        ({"batch_size": 1}, "batch_size is 1, expected at least 2"),
        ({"learning_rate": 0}, "learning_rate is 0, expected more than 0"),
        ({"kl_target": 0}, "kl_target is 0, expected more than 0"),
        ({"kl_weight": -1}, "kl_weight is -1, expected at least 0"),
        ({"kl_weight": 0, "kl_target": 0.1}, "kl_weight is 0 with a kl_target"),
        ({"gae_lambda": 2}, r"gae_lambda is 2, expected in \[0, 1\]"),
        ({"algorithm": "psi", "kl_weight": 0.0}, "psi with a kl_weight of 0"),
        ({"algorithm": "psi", "entropy_weight": 0.1}, "psi takes no kl_target, entropy_weight or discount"),
        ({"algorithm": "sac"}, "algorithm is sac, expected one of reinforce, ppo, grpo, psi"),
        ({"minibatches": 9}, "9 minibatches of 8 pieces"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message, folder, tmp_path):
    with pytest.raises(HypermeterError, match=message):
        config_of(folder, tmp_path, **changes)


def test_held_out_bits_of_a_model_with_a_track_are_of_drums_and_track(folder, tmp_path):
    torch.manual_seed(0)
    model = HierarchicalDrumModel(3, 8, 8, 8, 1, num_components=2, grid=GRID, tracks=[BASS.to_dict()]).eval()
    model.save(tmp_path / "band.safetensors")
    (tmp_path / "held").mkdir()
    hits = (np.random.default_rng(0).random((16, 3)) < 0.3).astype(np.uint8)
    codes = np.where(hits[:, 0], 40, 1).astype(np.int16)
    np.savez(tmp_path / "held" / "a.npz", sequence=hits, track_bass=codes, meta=f'{{"grid": {_json(GRID)}}}')
    options = {"model": str(tmp_path / "band.safetensors"), "held_out": tmp_path / "held", "updates": 1, "bars": 2}
    reinforce(config_of(folder, tmp_path / "run", **options))
    step = torch.from_numpy(np.concatenate([hits, BASS.encode(codes)], 1)).float()[None]
    expected = -model.log_prob(step).mean().item() / np.log(2)
    assert float(read_log(tmp_path / "run")[0]["held_out_bits_per_step"]) == pytest.approx(expected, rel=1e-4)


@pytest.fixture
def stored(finished, tmp_path):
    """A copy of a whole run, and what changes the state that it stored."""
    shutil.copytree(finished("reinforce"), tmp_path, dirs_exist_ok=True)

    def change(function):
        state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
        function(state)
        torch.save(state, tmp_path / CHECKPOINT)

    return tmp_path, change


def test_a_run_of_a_version_without_newer_options_continues(folder, stored):
    def remove_newer(state):
        del state["version"], state["config"]["discount"], state["config"]["value_learning_rate"]
        for term in state["data"]["terms"]:
            del term["voices"], term["undefined"], term["options"]

    out, change = stored
    change(remove_newer)
    config = config_of(folder, out, "reinforce", **TUNED["reinforce"])
    with pytest.raises(HypermeterError, match=r"discount 1\.0.* 0\.9"):
        reinforce(replace(config, discount=0.9))
    reinforce(replace(config, updates=5))
    assert read_log(out)[-1]["update"] == "5"


@pytest.mark.parametrize(
    ("newer", "message"),
    [
        (lambda state: state.update(version=2), "version 2.* expected 1; update hypermeter"),
        (lambda state: state["config"].update(swing=1), "a run with swing"),
        (lambda state: state.update(random=state["random"][:16]), "another kind of device than cpu"),
    ],
)
def test_a_run_of_a_newer_version_or_another_device_is_refused(folder, stored, newer, message):
    out, change = stored
    change(newer)
    with pytest.raises(HypermeterError, match=message):
        reinforce(config_of(folder, out, "reinforce", **TUNED["reinforce"]))


def test_it_runs_from_the_command_line(folder, tmp_path, capsys):
    options = {"model": folder / "start.safetensors", "reward": folder / "reward.yaml", "updates": 1, "bars": 2}
    arguments = [f"--{name}={value}" for name, value in (options | {"evaluate-pieces": 8}).items()]
    assert main(["reinforce", str(tmp_path / "run"), *arguments]) == 0
    assert "after 1 updates" in capsys.readouterr().out and load(tmp_path / "run").num_drums == 3

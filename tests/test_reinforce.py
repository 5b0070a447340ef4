"""The command ``reinforce``: it learns what is asked, goes on exactly, and stops by itself."""

import csv
import json
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit, Voice
from hypermeter.core.tracks import BASS
from hypermeter.learn.rl import Reward, Term
from hypermeter.learn.rl.config import ALGORITHMS, ReinforceConfig
from hypermeter.learn.rl.learners import PolicyLearner, adapted, distinct_bars, look
from hypermeter.learn.rl.reinforce import FILES, reinforce
from hypermeter.learn.train.resume import CHECKPOINT
from hypermeter.model.hierarchical import HierarchicalDrumModel, load

GRID = Grid(steps_per_beat=1, beats_per_bar=4, bars_per_phrase=2)
GRADIENTS = [name for name in ALGORITHMS if name != "dqn"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small model, a reward of bars and phrases, and held-out performances."""
    folder = tmp_path_factory.mktemp("reinforce")
    torch.manual_seed(0)
    model = HierarchicalDrumModel(3, 16, 8, 8, 1, dropout=0.5, num_components=4, attention_bars=4, grid=GRID)
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
        "look_every": 2,
        "look_pieces": 8,
        "learning_rate": 1e-2,
        "kl_budget": 10.0,
        "minibatches": 2,
        "held_out": folder / "held",
    }
    return ReinforceConfig(out, algorithm=algorithm, **(settings | options))


def read_log(out):
    with open(out / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", GRADIENTS)
def test_it_learns_what_is_asked_and_tells_what_it_costs(algorithm, folder, tmp_path):
    reinforce(config_of(folder, tmp_path, algorithm, updates=25, batch_size=32, look_every=25, look_pieces=64))
    first, last = (row for row in read_log(tmp_path) if row["look_reward"])
    assert float(last["look_reward_bar"]) > float(first["look_reward_bar"]) + 1
    assert abs(float(last["look_hits"]) - 2) < abs(float(first["look_hits"]) - 2) - 0.3
    assert float(first["look_kl"]) == pytest.approx(0, abs=1e-6) and float(last["look_kl"]) > 0.01
    for name in ("look_reward_phrase", "look_entropy", "look_distinct_bars", "held_out_bits_per_step"):
        assert float(last[name])


@pytest.mark.slow
def test_q_learning_runs_in_the_same_loop(folder, tmp_path):
    done, parts = tmp_path / "done", tmp_path / "parts"
    reinforce(config_of(folder, done, "dqn"))
    for updates in (2, 4):
        reinforce(config_of(folder, parts, "dqn", updates=updates))
    assert read_log(done) == read_log(parts)
    assert load(done).num_drums == 3
    assert {"reward", "kl", "entropy", "distinct_bars"} <= set(read_log(done)[1])


@pytest.mark.parametrize("algorithm", GRADIENTS)
def test_a_run_that_was_cut_goes_on_as_if_it_had_not_been(algorithm, folder, tmp_path):
    options = {"kl_target": 0.05, "entropy_weight": 0.01}
    done, parts = tmp_path / "done", tmp_path / "parts"
    reinforce(config_of(folder, done, algorithm, **options))
    for updates in (2, 4):
        reinforce(config_of(folder, parts, algorithm, updates=updates, **options))
    assert read_log(done) == read_log(parts)
    for name in ("best.safetensors", "last.safetensors"):
        one, other = load_file(done / name), load_file(parts / name)
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_normalised_reward_goes_on_with_what_it_has_seen(folder, tmp_path):
    text = (folder / "reward.yaml").read_text("utf-8")
    (tmp_path / "reward.yaml").write_text("normalise: true\n" + text)
    done, parts = tmp_path / "done", tmp_path / "parts"
    reinforce(config_of(folder, done, "grpo", reward=tmp_path / "reward.yaml"))
    for updates in (2, 4):
        reinforce(config_of(folder, parts, "grpo", reward=tmp_path / "reward.yaml", updates=updates))
    assert read_log(done) == read_log(parts)


def test_ctrl_c_saves_and_the_same_command_goes_on(folder, tmp_path, monkeypatch, capsys):
    config = config_of(folder, tmp_path / "cut")
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
    assert "Stopped at update 3 of 4; the same command goes on" in capsys.readouterr().out
    monkeypatch.undo()
    reinforce(config)
    reinforce(replace(config, out=tmp_path / "done"))
    assert read_log(tmp_path / "cut") == read_log(tmp_path / "done")


def test_the_result_loads_like_any_other_model(folder, tmp_path):
    assert reinforce(config_of(folder, tmp_path)) == tmp_path
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)
    start, result = load(folder / "start.safetensors"), load(tmp_path)
    assert result.config == start.config and result.grid == start.grid
    assert any(not torch.equal(a, b) for a, b in zip(start.parameters(), result.parameters()))
    assert result.generate(length=8, seed=0).shape == (1, 8, 3)


def test_it_stops_when_the_kl_budget_is_spent_and_keeps_what_is_within(folder, tmp_path, capsys):
    config = config_of(folder, tmp_path, updates=50, kl_budget=0.02, kl_weight=0.0, look_every=1)
    reinforce(config)
    rows = [row for row in read_log(tmp_path) if row["kl"]]
    assert len(rows) < 50 and float(rows[-1]["kl"]) > 0.02 >= float(rows[-2]["kl"])
    assert "the KL budget is spent" in capsys.readouterr().out
    start, best = load(folder / "start.safetensors"), load(tmp_path)
    reward = Reward([Term("avg_hits", "bar", target=2)])
    assert look(best, start, reward, 64, 4, 1)["kl"] < 0.03
    reinforce(config)
    assert len([row for row in read_log(tmp_path) if row["kl"]]) == len(rows)
    assert "the KL budget is spent" in capsys.readouterr().out


def test_it_stops_when_diversity_collapses(folder, tmp_path, capsys):
    (tmp_path / "same.yaml").write_text("terms: [{metric: density, level: bar, want: more, weight: 10}]")
    out = tmp_path / "run"
    reinforce(
        config_of(
            folder, out, reward=tmp_path / "same.yaml", updates=100, kl_weight=0.0, kl_budget=1e3, learning_rate=5e-2
        )
    )
    rows = [row for row in read_log(out) if row["kl"]]
    assert len(rows) < 100 and float(rows[-1]["distinct_bars"]) < 0.5 * float(rows[0]["distinct_bars"])
    assert "diversity collapsed" in capsys.readouterr().out


def test_the_weight_of_divergence_moves_towards_the_target(folder, tmp_path):
    assert adapted(1, 0.2, 0.1) == pytest.approx(1.1)
    assert adapted(1, 9, 0.1) == pytest.approx(1.1)
    assert adapted(1, 0.05, 0.1) == pytest.approx(0.95)
    assert adapted(1, 0, 0.1) == pytest.approx(0.9)
    reinforce(config_of(folder, tmp_path, updates=2, kl_target=1.0))
    rows = [row for row in read_log(tmp_path) if row["kl"]]
    assert float(rows[0]["kl_weight"]) == 0.1 and float(rows[1]["kl_weight"]) == pytest.approx(0.09, rel=1e-3)


def test_a_model_that_is_pulled_to_where_it_is_stays_there(folder, tmp_path):
    """With a heavy weight the divergence stays small; with none it grows."""
    found = []
    for kl_weight in (0.0, 100.0):
        out = tmp_path / str(kl_weight)
        reinforce(config_of(folder, out, "reinforce", updates=6, kl_weight=kl_weight, look_every=6, learning_rate=3e-3))
        found.append(float(read_log(out)[-1]["look_kl"]))
    assert found[1] < 0.2 * found[0]


def test_an_entropy_bonus_keeps_entropy(folder, tmp_path):
    found = []
    for weight in (0.0, 3.0):
        out = tmp_path / str(weight)
        reinforce(config_of(folder, out, "reinforce", updates=6, entropy_weight=weight, kl_weight=0.0, look_every=6))
        found.append(float(read_log(out)[-1]["look_entropy"]))
    assert found[1] > found[0]


def test_the_first_ratio_is_1_although_the_model_was_trained_with_dropout(folder, tmp_path):
    reinforce(config_of(folder, tmp_path, "grpo", updates=1, epochs=1, minibatches=1))
    assert float(read_log(tmp_path)[1]["outside_clip"]) == 0


def test_distinct_bars_by_hand():
    one, two = torch.zeros(4, 3), torch.ones(4, 3)
    pieces = torch.stack([torch.cat([one, two]), torch.cat([one, one])])
    assert distinct_bars(pieces, 4) == 0.5
    assert distinct_bars(pieces[:, :3], 4) == 1


def test_another_run_in_the_folder_is_refused(folder, tmp_path):
    config = config_of(folder, tmp_path / "run", updates=1)
    reinforce(config)
    (tmp_path / "other.yaml").write_text("terms: [{metric: density, want: more}]")
    (tmp_path / "normalised.yaml").write_text("normalise: true\n" + (folder / "reward.yaml").read_text())
    torch.manual_seed(9)
    HierarchicalDrumModel(3, 16, 8, 8, 1, grid=GRID).save(tmp_path / "start.safetensors")
    for changes, message in (
        ({"clip": 0.3}, "a run with clip 0.2, asked for 0.3"),
        ({"algorithm": "grpo"}, "a run with algorithm ppo, asked for grpo"),
        ({"reward": tmp_path / "other.yaml"}, "a run with another reward"),
        ({"reward": tmp_path / "normalised.yaml"}, "a run with another reward"),
    ):
        with pytest.raises(HypermeterError, match=message) as caught:
            reinforce(replace(config, **changes))
        assert len(str(caught.value).splitlines()) == 1
    (tmp_path / "run" / CHECKPOINT).write_bytes(b"not one")
    with pytest.raises(HypermeterError, match="not a readable checkpoint"):
        reinforce(config)


def test_what_cannot_be_learnt_from_is_refused_before_anything_is_written(folder, tmp_path):
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
        ({"algorithm": "dqn", "kl_weight": 0.0}, "dqn with a kl_weight of 0"),
        ({"algorithm": "dqn", "entropy_weight": 0.1}, "dqn takes no kl_target, entropy_weight or discount"),
        ({"algorithm": "sac"}, "algorithm is sac, expected one of reinforce, ppo, grpo, dqn"),
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


def test_a_run_of_a_build_without_newer_options_goes_on(folder, tmp_path):
    config = config_of(folder, tmp_path, "reinforce", updates=1, look_every=1)
    reinforce(config)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    del state["version"], state["config"]["discount"], state["config"]["value_learning_rate"]
    for term in state["data"]["terms"]:
        del term["voices"], term["undefined"], term["options"]
    torch.save(state, tmp_path / CHECKPOINT)
    with pytest.raises(HypermeterError, match=r"a run with discount 1\.0, asked for 0\.9"):
        reinforce(replace(config, discount=0.9))
    reinforce(replace(config, updates=2))
    assert read_log(tmp_path)[-1]["update"] == "2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.update(version=2), "version 2 of a run's record, expected 1; update hypermeter"),
        (lambda state: state["config"].update(swing=1), "a run with swing, which this version of hypermeter does not"),
        (lambda state: state.update(random=state["random"][:16]), "a run on another kind of device than cpu"),
    ],
)
def test_a_run_of_a_newer_build_or_another_device_is_refused(folder, tmp_path, change, message):
    config = config_of(folder, tmp_path, "reinforce", updates=1, look_every=1)
    reinforce(config)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    change(state)
    torch.save(state, tmp_path / CHECKPOINT)
    with pytest.raises(HypermeterError, match=message):
        reinforce(config)


@pytest.mark.slow
def test_it_runs_from_the_command_line(folder, tmp_path):
    options = {"model": folder / "start.safetensors", "reward": folder / "reward.yaml", "updates": 1, "bars": 2}
    arguments = [str(each) for name, value in options.items() for each in (f"--{name}", value)]
    command = [sys.executable, "-m", "hypermeter.cli", "reinforce", str(tmp_path / "run"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "look after 1 updates" in done.stdout and load(tmp_path / "run").num_drums == 3

"""The scripts in benchmarks/: floors against numbers worked out by hand, and one quick round of the speeds."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hypermeter.grid import Grid
from hypermeter.metrics import window_metrics

ROOT = Path(__file__).parents[1]


def script(place: str):
    name = f"benchmark_{Path(place).stem}"
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / place)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


floors = script("quality/floors.py")
speed = script("speed/run.py")
naive = script("speed/naive_metrics.py")
metrics_speed = script("speed/metrics.py")

TWO_STEPS_A_BAR = 2


def one_voice(*hits: int) -> np.ndarray:
    return np.array(hits, np.uint8)[:, None]


def probabilities(rule, train: np.ndarray, hits: np.ndarray) -> list[float]:
    table = floors.fit(rule, [train], TWO_STEPS_A_BAR)
    return floors.predict(rule, table, hits, TWO_STEPS_A_BAR)[:, 0].tolist()


def test_marginals_are_smoothed_by_half_a_hit_and_half_a_silence():
    # 1 hit in 3 steps: (1 + .5) / (3 + 1)
    assert probabilities(floors.same_everywhere, one_voice(1, 0, 0), one_voice(0, 1)) == [0.375, 0.375]


def test_each_step_of_the_bar_has_its_own_probability():
    # first steps 1, 1, 0: 2.5 / 4; second steps 0, 0: .5 / 3
    found = probabilities(floors.step_of_bar, one_voice(1, 0, 1, 0, 0), one_voice(0, 0, 0))
    np.testing.assert_allclose(found, [0.625, 0.5 / 3, 0.625])


def test_the_previous_bar_tells_hit_silent_and_not_there_apart():
    # first steps of the bars 1 1 0, second 0 1 1.
    train = one_voice(1, 0, 1, 1, 0, 1)
    found = probabilities(floors.previous_bar, train, one_voice(1, 0, 0, 1, 1, 0))
    first_bar = [1.5 / 2, 0.5 / 2]
    second_bar = [1.5 / 3, 1.5 / 2]  # a hit was followed by 1 and by 0; a silence by 1
    third_bar = [0.5, 1.5 / 2]  # a silence at the first step was never followed; a hit at the second by 1
    np.testing.assert_allclose(found, first_bar + second_bar + third_bar)


def test_a_file_shorter_than_a_bar_has_no_previous_bar():
    assert floors.previous_bar(one_voice(1), TWO_STEPS_A_BAR).tolist() == [[2]]
    assert floors.previous_bar(one_voice(1, 1), TWO_STEPS_A_BAR).tolist() == [[2], [5]]


def test_no_floor_looks_at_the_step_that_it_predicts_or_later():
    random = np.random.default_rng(0)
    hits = (random.random((40, 3)) < 0.4).astype(np.uint8)
    for rule in floors.FLOORS.values():
        table = floors.fit(rule, [hits], 16)
        whole = floors.predict(rule, table, hits, 16)
        for step in (0, 15, 16, 30):
            other = hits.copy()
            other[step:] ^= 1
            np.testing.assert_array_equal(floors.predict(rule, table, other, 16)[: step + 1], whole[: step + 1])


def test_bits_are_summed_over_steps_and_voices():
    probs = np.array([[0.5, 0.25], [0.125, 0.5]])
    assert floors.bits(probs, np.array([[1, 1], [1, 0]])) == 1 + 2 + 3 + 1


def test_all_steps_together_and_the_mean_of_performances_differ_as_lengths_do():
    # One hit in two steps of training: p = 1/2 everywhere, so 1 bit a step and voice; the interval is one point.
    result = floors.floors([one_voice(1, 0)], [one_voice(1), one_voice(0, 0, 1)], TWO_STEPS_A_BAR)["voice marginals"]
    assert set(result.values()) == {1.0}
    # 2 hits in 2 steps: p = 5/6. A file of one hit costs log2(6/5), one of three silences 3 log2(6).
    hit, silence = np.log2(6 / 5), np.log2(6)
    result = floors.floors([one_voice(1, 1)], [one_voice(1), one_voice(0, 0, 0)], TWO_STEPS_A_BAR)["voice marginals"]
    assert result["pooled"] == pytest.approx((hit + 3 * silence) / 4)
    assert result["mean"] == pytest.approx((hit + silence) / 2)
    assert (result["mean_low"], result["mean_high"]) == pytest.approx((hit, silence))  # both draws the same: 1 in 4


def run_floors(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "benchmarks" / "quality" / "floors.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_floors_script_prints_a_table_and_writes_the_same_figures(tmp_path):
    for split in ("train", "validation"):
        (tmp_path / split).mkdir()
        np.savez(tmp_path / split / "a.npz", sequence=one_voice(1, 0, 0, 1, 1, 1))
    (tmp_path / "manifest.json").write_text(json.dumps({"grid": {"steps_per_beat": 1, "beats_per_bar": 2}}))
    done = run_floors(tmp_path, "--out", tmp_path / "floors.json")
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "floors.json").read_text())
    assert (written["performances"], written["steps"], written["seed"]) == (1, 6, 0)
    for name, each in written["floors"].items():
        assert f"| {name} | {each['pooled']:.3f} |" in done.stdout


def test_the_floors_script_refuses_a_folder_without_train_in_one_line(tmp_path):
    done = run_floors(tmp_path)
    assert done.returncode == 2
    assert (
        done.stderr == f"floors: {tmp_path / 'train'}: no .npz with a step in it; make some with hypermeter prepare\n"
    )


def test_a_ratio_is_taken_round_by_round():
    assert speed.ratio_of([2, 30, 4], [1, 10, 1]) == {"ratio": 3, "least": 2, "greatest": 4}


def test_actions_take_turns_and_the_first_round_is_not_counted():
    order = []
    times = speed.in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2)
    assert order == ["a", "b"] * 3
    assert {name: len(each) for name, each in times.items()} == {"a": 2, "b": 2}


def test_random_hits_repeat_a_bar():
    hits = speed.plausible_hits(4, 64)
    assert hits.shape == (4, 64, speed.VOICES)
    assert 0.1 < hits.mean() < 0.35
    assert (hits[:, 16:] == hits[:, :-16]).mean() > 0.9


def test_a_player_plays_on_for_as_many_steps_as_asked():
    player = speed.Player(speed.HierarchicalDrumModel(speed.VOICES).eval())
    player.play(5)
    assert player.state.position.tolist() == [5]


def test_a_short_round_of_every_speed_fills_the_tables_and_the_plot(tmp_path, monkeypatch):
    monkeypatch.delenv("HYPERMETER_GROOVE", raising=False)
    monkeypatch.setattr(speed, "QUICK", replace(speed.QUICK, bars=(4, 5), recomputed_steps=1))
    monkeypatch.setattr(speed, "BATCH", 2)
    monkeypatch.setattr(speed, "TIMED_STEPS", 16)
    monkeypatch.setattr(speed.torch, "set_num_threads", lambda number: None)
    speed.main(quick=True, out=tmp_path / "speed.json", plot=tmp_path / "img" / "cost.png")
    result = json.loads((tmp_path / "speed.json").read_text())
    assert result["preparing"] is None
    assert set(result["length"]) == set(speed.MODELS)
    for part in ("training", "generation", "loading"):
        assert all(value > 0 for value in result[part].values())
    assert all(list(each) == ["4", "5"] for each in result["length"].values())
    assert (tmp_path / "img" / "cost.png").read_bytes().startswith(b"\x89PNG")
    text = speed.markdown(result)
    assert "1 thread" in text or "thread" in text
    assert "target at least 0.45" in text


def assert_same_values(found, expected) -> None:
    if isinstance(found, dict):
        assert set(found) == set(expected)
        for name in found:
            assert_same_values(found[name], expected[name])
    elif isinstance(found, list):
        assert len(found) == len(expected)
        for mine, other in zip(found, expected):
            assert_same_values(mine, other)
    else:
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps, voices", [(512, 10), (144, 5), (75, 10), (16, 3), (7, 2), (2, 2)])
@pytest.mark.parametrize("grid", [Grid(), Grid(steps_per_beat=2, beats_per_bar=6, bars_per_phrase=2, beat_unit=8)])
def test_the_metrics_timed_against_give_the_same_values(steps, voices, grid):
    random = np.random.default_rng(steps)
    # Voices from silent to busy, and bars from empty to full.
    hits = (random.random((steps, voices)) < np.linspace(0, 0.9, voices)).astype(np.uint8)
    hits[16:32] = 0
    hits[48:60] = 1
    sections = [(0, 16), (5, steps), (steps, steps + 8)]
    found = window_metrics(torch.from_numpy(hits), grid, sections=sections, fast_threshold=3)
    assert_same_values(found, naive.window_metrics(hits, grid, sections=sections, fast_threshold=3))


def test_a_short_round_of_the_speed_of_metrics_prints_and_writes_the_ratio(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(metrics_speed, "BATCH", 2)
    monkeypatch.setattr(metrics_speed.torch, "set_num_threads", lambda number: None)
    metrics_speed.main(quick=True, out=tmp_path / "metrics.json")
    result = json.loads((tmp_path / "metrics.json").read_text())
    assert result["metrics"]["ratio"] == pytest.approx(result["metrics"]["naive_ms"] / result["metrics"]["batched_ms"])
    printed = capsys.readouterr().out
    assert f"| times faster a window | {result['metrics']['ratio']:.2f} (" in printed
    assert "target at least 50)" in printed

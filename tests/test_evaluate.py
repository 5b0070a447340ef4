"""The benchmark card: bits against hand-set numbers, whole performances, groups."""

import json
import math

import numpy as np
import pytest
import torch

from hypermeter.evaluate import bits_per_step, card, evaluate, forecasts, next_step_f1, performance_bits, summarize
from hypermeter.grid import Grid, HypermeterError
from hypermeter.model import HierarchicalDrumModel


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return HierarchicalDrumModel(3, 16, 16, 16, grid=Grid(2, 2, 2)).eval()


def performances(*lengths):
    random = np.random.default_rng(0)
    return [(random.random((steps, 3)) < 0.3).astype(np.uint8) for steps in lengths]


def test_a_coin_for_each_voice_costs_a_bit_a_voice_and_step():
    model = HierarchicalDrumModel(3, 8, 8, 8, output="sigmoid").eval()
    for each in model.output_layer.parameters():
        torch.nn.init.zeros_(each)
    assert bits_per_step(model, performances(40, 7)) == pytest.approx(3.0, abs=1e-6)


def test_batching_does_not_change_the_bits_of_a_performance(model):
    sequences = performances(5, 64, 1, 33, 64)
    together = performance_bits(model, sequences)
    apart = [-model.log_prob(torch.from_numpy(each).float()[None]).sum().item() / math.log(2) for each in sequences]
    assert together == pytest.approx(apart, rel=1e-5)
    assert performance_bits(model, sequences, batch_steps=1) == pytest.approx(apart, rel=1e-5)


def test_the_summary_weighs_steps_and_its_interval_holds_the_mean():
    result = summarize(np.array([10.0, 90.0]), np.array([10, 30]))
    assert result["bits_per_step"] == 2.5
    assert result["mean_of_performances"] == 2.0
    assert (result["low"], result["high"]) == (1.0, 3.0)
    assert summarize(np.array([10.0, 90.0]), np.array([10, 30])) == result


def test_repeating_the_last_bar_is_scored_by_hand(model):
    sequence = np.zeros((12, 3), np.uint8)  # three bars of four steps
    sequence[4:8, 0] = 1  # bar 1 is all kick: repeating errs by 1 on its cell twice, of 2 x 3 cells
    result = forecasts(model, [sequence])
    assert result["bar"]["last_mse"] == pytest.approx(2 / 6)
    wrong, right = -math.log(0.02), -math.log(0.98)
    assert result["bar"]["last_bce"] == pytest.approx((2 * wrong + 4 * right) / 6, rel=1e-5)
    assert result["phrase"]["last_mse"] == 0  # one whole phrase only: nothing to forecast


def test_hit_forecasts_of_a_model_that_always_plays_the_first_voice(model):
    model = HierarchicalDrumModel(3, 8, 8, 8, output="sigmoid").eval()
    with torch.no_grad():
        model.output_layer.project.weight.zero_()
        model.output_layer.project.bias.copy_(torch.tensor([0.0, 5.0, -5.0, -5.0]))
    sequence = np.zeros((5, 3), np.uint8)
    sequence[:, 0] = [1, 1, 0, 1, 0]  # of the four steps after the first, two
    sequence[:, 1] = [0, 0, 0, 0, 1]
    result = next_step_f1(model, [sequence])
    assert result == pytest.approx({"precision": 2 / 4, "recall": 2 / 3, "f1": 4 / 7})


def test_the_card_groups_by_style_and_says_the_numbers(model, tmp_path):
    for number, (each, style) in enumerate(zip(performances(16, 24, 32), ("jazz/funk", "rock", "jazz"))):
        meta = json.dumps({"style": style, "beat_type": "beat"})
        np.savez(tmp_path / f"{number}.npz", sequence=each, meta=np.array(meta))
    np.savez(tmp_path / "other.npz", sequence=performances(9)[0])
    result = evaluate(model, tmp_path)
    assert result["all"]["performances"] == 4
    assert {name: each["performances"] for name, each in result["groups"].items()} == {
        "beat": 3, "style: jazz": 2, "style: rock": 1,
    }  # fmt: skip
    assert f"{result['all']['bits_per_step']:.3f}" in card("a model", result)
    json.dumps(result)


def test_a_folder_of_another_kit_or_of_nothing_is_refused(model, tmp_path):
    with pytest.raises(HypermeterError, match="no .npz with a step"):
        evaluate(model, tmp_path)
    np.savez(tmp_path / "a.npz", sequence=np.zeros((4, 5), np.uint8))
    with pytest.raises(HypermeterError, match="5 voices, the model has 3"):
        evaluate(model, tmp_path)

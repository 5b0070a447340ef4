"""The floors, against numbers worked out by hand."""

import numpy as np
import pytest

from hypermeter.learn.evaluate.floors import (
    FLOORS,
    bits,
    fit,
    floors,
    predict,
    previous_bar,
    same_everywhere,
    step_of_bar,
)

TWO_STEPS_A_BAR = 2


def one_voice(*hits: int) -> np.ndarray:
    return np.array(hits, np.uint8)[:, None]


def probabilities(rule, train: np.ndarray, hits: np.ndarray) -> list[float]:
    table = fit(rule, [train], TWO_STEPS_A_BAR)
    return predict(rule, table, hits, TWO_STEPS_A_BAR)[:, 0].tolist()


def test_marginals_are_smoothed_by_half_a_hit_and_half_a_silence():
    # 1 hit in 3 steps: (1 + .5) / (3 + 1)
    assert probabilities(same_everywhere, one_voice(1, 0, 0), one_voice(0, 1)) == [0.375, 0.375]


def test_each_step_of_the_bar_has_its_own_probability():
    # first steps 1, 1, 0: 2.5 / 4; second steps 0, 0: .5 / 3
    result = probabilities(step_of_bar, one_voice(1, 0, 1, 0, 0), one_voice(0, 0, 0))
    np.testing.assert_allclose(result, [0.625, 0.5 / 3, 0.625])


def test_the_previous_bar_distinguishes_hit_silent_and_missing():
    # first steps of the bars 1 1 0, second 0 1 1.
    train = one_voice(1, 0, 1, 1, 0, 1)
    result = probabilities(previous_bar, train, one_voice(1, 0, 0, 1, 1, 0))
    first_bar = [1.5 / 2, 0.5 / 2]
    second_bar = [1.5 / 3, 1.5 / 2]  # a hit was followed by 1 and by 0; a silence by 1
    third_bar = [0.5, 1.5 / 2]  # a silence at the first step was never followed; a hit at the second by 1
    np.testing.assert_allclose(result, first_bar + second_bar + third_bar)


def test_a_file_shorter_than_a_bar_has_no_previous_bar():
    assert previous_bar(one_voice(1), TWO_STEPS_A_BAR).tolist() == [[2]]
    assert previous_bar(one_voice(1, 1), TWO_STEPS_A_BAR).tolist() == [[2], [5]]


def test_no_floor_looks_at_the_step_that_it_predicts_or_later():
    random = np.random.default_rng(0)
    hits = (random.random((40, 3)) < 0.4).astype(np.uint8)
    for rule in FLOORS.values():
        table = fit(rule, [hits], 16)
        before = predict(rule, table, hits, 16)
        for step in (0, 15, 16, 30):
            other = hits.copy()
            other[step:] ^= 1
            np.testing.assert_array_equal(predict(rule, table, other, 16)[: step + 1], before[: step + 1])


def test_bits_are_summed_over_steps_and_voices():
    probs = np.array([[0.5, 0.25], [0.125, 0.5]])
    assert bits(probs, np.array([[1, 1], [1, 0]])) == 1 + 2 + 3 + 1


def test_all_steps_together_and_the_mean_of_performances_differ_as_lengths_do():
    # One hit in two steps of training: p = 1/2 everywhere, so 1 bit a step and voice; the interval is one point.
    result = floors([one_voice(1, 0)], [one_voice(1), one_voice(0, 0, 1)], TWO_STEPS_A_BAR)["voice marginals"]
    assert {result[name] for name in ("bits_per_step", "low", "high", "mean_of_performances")} == {1.0}
    # 2 hits in 2 steps: p = 5/6. A file of one hit costs log2(6/5), one of three silences 3 log2(6).
    hit, silence = np.log2(6 / 5), np.log2(6)
    result = floors([one_voice(1, 1)], [one_voice(1), one_voice(0, 0, 0)], TWO_STEPS_A_BAR)["voice marginals"]
    assert result["bits_per_step"] == pytest.approx((hit + 3 * silence) / 4)
    assert result["mean_of_performances"] == pytest.approx((hit + silence) / 2)
    assert (result["low"], result["high"]) == pytest.approx((hit, silence))  # both draws the same: 1 in 4

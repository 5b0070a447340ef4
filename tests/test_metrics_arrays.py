"""Metrics of NumPy arrays: what they are of torch tensors, from the same definitions, also where torch is not."""

import subprocess
import sys
from inspect import signature

import numpy as np
import pytest
import torch

from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.music.metrics import METRICS, bar_f1, by_chunk, measure, ngram_patterns, sums_so_far, window_metrics
from hypermeter.music.metrics.onsets import latest_before
from hypermeter.music.segment import segment

GRID = Grid()
VOICES = 10


def some_hits(*shape: int, share: float = 0.3) -> np.ndarray:
    return np.random.default_rng(sum(shape)).random((*shape, VOICES)) < share


def one_hit(steps: int) -> np.ndarray:
    hits = np.zeros((steps, VOICES), bool)
    hits[5, 0] = True
    return hits


MANY = some_hits(400)
"""Enough onsets for the long memory of timing."""

HITS = {
    "no steps": np.zeros((0, VOICES), bool),
    "one step": np.ones((1, VOICES), bool),
    "no hits": np.zeros((32, VOICES), bool),
    "one hit": one_hit(32),
    "every hit": np.ones((32, VOICES), bool),
    "one bar": some_hits(16),
    "less than a bar": some_hits(7),
    "a short last bar": some_hits(41),
    "some phrases and a short one": MANY,
    "sparse": some_hits(200, share=0.02),
    "a batch": some_hits(3, 70),
    "two batch axes": some_hits(2, 3, 41),
    "a batch of nothing": np.zeros((0, 17, VOICES), bool),
}


def context_of(hits: np.ndarray, name: str) -> dict:
    """What the metric asks for beside the hits."""
    random = np.random.default_rng(1)
    context = {
        "velocity": random.random(hits.shape, np.float32),
        "strokes": random.integers(1, 4, hits.shape).astype(np.float32),
        "offset": random.random(hits.shape, np.float32) - 0.5,
        "tempo_bpm": 97.3,
        "streams": ((0,), (1, 5, 6, 7), (2, 3, 4, 8, 9)),
        "cymbals": (2, 3, 4),
    }
    wanted = signature(METRICS[name]).parameters
    return {key: value for key, value in context.items() if key in wanted}


def as_tensors(options: dict) -> dict:
    return {key: torch.tensor(value) if isinstance(value, np.ndarray) else value for key, value in options.items()}


def assert_same(actual, wanted: torch.Tensor) -> None:
    assert isinstance(actual, np.ndarray | np.generic) and isinstance(wanted, torch.Tensor)
    assert actual.shape == wanted.shape
    np.testing.assert_allclose(actual, wanted.detach().numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("kind", HITS)
@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_the_same_of_an_array_and_of_a_tensor(name, kind):
    hits, options = HITS[kind], context_of(HITS[kind], name)
    for dtype in (np.bool_, np.uint8, np.float32, np.float64):
        array = hits.astype(dtype)
        actual = METRICS[name](array, GRID, **options)
        assert_same(actual, METRICS[name](torch.from_numpy(array), GRID, **as_tensors(options)))


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_of_probabilities_is_the_same_of_an_array_and_of_a_tensor(name):
    probs = np.random.default_rng(0).random((2, 37, VOICES), np.float32)
    options = context_of(probs, name)
    assert_same(METRICS[name](probs, GRID, **options), METRICS[name](torch.tensor(probs), GRID, **as_tensors(options)))


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_by_chunk_is_the_same_of_an_array_and_of_a_tensor(name):
    hits = some_hits(2, 48 if name in ("step_density", "bar_novelty") else 41)  # curves, shorter in a short chunk
    options = context_of(hits, name)
    actual = by_chunk(METRICS[name], hits, GRID, 16, **options)
    assert_same(actual, by_chunk(METRICS[name], torch.from_numpy(hits), GRID, 16, **as_tensors(options)))


@pytest.mark.parametrize("grid", [Grid(beats_per_bar=3), Grid(steps_per_beat=6), Grid(2, 6, 2, 8)], ids=str)
@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_the_same_of_an_array_and_of_a_tensor_in_other_metres(name, grid):
    hits, options = some_hits(101), context_of(some_hits(101), name)
    actual = METRICS[name](hits, grid, **options)
    assert_same(actual, METRICS[name](torch.from_numpy(hits), grid, **as_tensors(options)))


@pytest.mark.parametrize("kind", HITS)
def test_the_metrics_of_a_window_are_the_same_of_an_array_and_of_a_tensor(kind):
    hits = HITS[kind]
    actual, wanted = (window_metrics(x, GRID, [(0, 16), (16, 99)]) for x in (hits, torch.from_numpy(hits)))
    for level in ("step", "bar", "phrase", "song"):
        assert actual[level].keys() == wanted[level].keys()
        for name in actual[level]:
            assert_same(actual[level][name], wanted[level][name])
    for section, expected in zip(actual["section"], wanted["section"]):
        for name in section:
            assert_same(section[name], expected[name])


def test_what_stands_beside_the_metrics_is_the_same_of_an_array_and_of_a_tensor():
    hits = some_hits(70)
    tensor = torch.from_numpy(hits)
    assert_same(sums_so_far(hits, 16), sums_so_far(tensor, 16))
    assert_same(bar_f1(hits, GRID, 1), bar_f1(tensor, GRID, 1))
    assert_same(segment(MANY, GRID), segment(torch.from_numpy(MANY), GRID))
    for actual, wanted in zip(ngram_patterns(hits[:, :2], 2), ngram_patterns(tensor[:, :2], 2)):
        assert_same(actual, wanted)
    for actual, wanted in zip(ngram_patterns(hits[:1]), ngram_patterns(tensor[:1])):
        assert_same(actual, wanted)


def test_ngrams_of_wide_kits_are_the_same_of_an_array_and_of_a_tensor():
    hits = np.random.default_rng(0).random((2, 40, 64)) < 0.01
    actual, wanted = (METRICS["ngrams"](x, GRID, n=2) for x in (hits, torch.from_numpy(hits)))
    assert actual[0, 0] > 1
    assert_same(actual, wanted)


def test_a_groove_is_measured_in_numpy():
    groove = Groove(MANY)
    for name, value in measure(groove).items():
        assert isinstance(value, np.ndarray), name
    for name, value in measure(groove, size=16).items():
        assert isinstance(value, np.ndarray) and len(value) in (25, 10), name


def test_a_custom_metric_in_torch_alone_is_given_tensors(monkeypatch):
    def loud(hits, grid, velocity):
        return torch.where(hits > 0.5, velocity, 0).amax((-2, -1))

    monkeypatch.setitem(METRICS, "loud", loud)
    groove = Groove(MANY, velocity=np.full(MANY.shape, 0.75))
    assert measure(groove, ["loud"])["loud"] == 0.75
    value = measure(groove, ["loud"], 16)["loud"]
    assert isinstance(value, np.ndarray) and value.tolist() == [0.75] * 25


def test_a_fault_of_a_custom_metric_is_not_hidden(monkeypatch):
    monkeypatch.setitem(METRICS, "wrong", lambda hits, grid: hits.no_such_method())
    with pytest.raises(AttributeError, match="no_such_method"):
        measure(Groove(MANY), ["wrong"])


def test_metrics_are_measured_where_torch_is_not():
    code = """
import sys
sys.modules["torch"] = None
import numpy as np
from hypermeter.core.groove import Groove
from hypermeter.core.grid import Grid
from hypermeter.music.metrics import METRICS, measure, window_metrics
from hypermeter.music.segment import segment
hits = np.random.default_rng(0).random((300, 10)) < .3
values = measure(Groove(hits))
window_metrics(hits, Grid())
segment(hits, Grid())
assert values.keys() == METRICS.keys()
print(float(values["density"]) == np.float32(hits.mean()))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "True", result.stderr


def test_sums_so_far_and_latest_onsets_by_hand():
    hits = np.array([[1.0], [1.0], [0.0], [1.0]])
    assert sums_so_far(hits, 2)[:, 0].tolist() == [0, 1, 0, 0, 0]
    assert latest_before(hits[:, 0] > 0).tolist() == [-1, 0, 1, 1]
    assert latest_before(np.zeros((2, 0), bool)).shape == (2, 0)

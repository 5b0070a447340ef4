"""The measure of following: reductions to taps, F1, and a quick round."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from hypermeter.core.groove import Groove

PATH = Path(__file__).parents[1] / "benchmarks" / "quality" / "follow.py"
spec = importlib.util.spec_from_file_location("benchmark_follow", PATH)
assert spec is not None and spec.loader is not None
sys.modules[spec.name] = follow = importlib.util.module_from_spec(spec)
spec.loader.exec_module(follow)


def window(seed=0):
    random = np.random.default_rng(seed)
    hits = (random.random((32, 10)) < 0.15).astype(np.uint8)
    velocity, offset = hits * random.uniform(0.2, 1, hits.shape), hits * random.uniform(-0.2, 0.2, hits.shape)
    return Groove(hits, velocity, offset, 100.0, "gm10")


@pytest.mark.parametrize("name", list(follow.REDUCTIONS))
def test_taps_are_the_loudest_hits_of_the_steps_that_are_kept(name):
    own = window()
    taps = follow.tap(own, name, np.random.default_rng(0))
    assert taps.hits[:, 0].any() and not taps.hits[:, 1:].any() and taps.tempo_bpm == 100
    counted = own.hits[:, :2] if name == "loud" else own.hits
    is_tap = taps.hits[:, 0] > 0
    if name == "hand":  # some are missing, some moved
        assert 0 < (is_tap != counted.any(1)).sum() < 16
        return
    assert not (is_tap & ~counted.any(1)).any()
    loudest = np.where(counted, own.velocity[:, : counted.shape[1]], 0).max(1)
    assert taps.velocity[is_tap, 0] == pytest.approx(loudest[is_tap])
    assert is_tap.sum() == counted.any(1).sum() or name in ("loudest", "accents")
    if name == "accents":
        assert loudest[is_tap].min() >= np.median(loudest[loudest > 0])


def test_f1_is_that_of_hits_in_common():
    one, other = np.array([1, 1, 0, 0]), np.array([1, 0, 1, 1])
    assert follow.f1(one, one) == 1 and follow.f1(one, other) == pytest.approx(2 / 5)
    own = window()
    scores = follow.scores([own], [own])
    assert scores["f1"] == scores["kick"] == scores["hats"] == 1
    assert scores["velocity_error"] == scores["offset_error"] == 0


def test_a_quick_round_prints_and_writes_a_table(tmp_path, capsys):
    for number in range(2):
        own = window(number)
        arrays = {"sequence": own.hits, "velocity": own.velocity, "offset": own.offset}
        np.savez(tmp_path / f"{number}.npz", **arrays, meta=json.dumps({"tempo_bpm": 100, "kit": "gm10"}))
    follow.main("groove", tmp_path, 2, ("all", "hand"), particles=2, draws=2, out=tmp_path / "out.json")
    assert "2 windows" in capsys.readouterr().out
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert set(rows) == {"nothing", "one voice", "all", "hand"} and 0 < rows["all"]["f1"] <= 1

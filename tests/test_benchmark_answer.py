"""The measure of answering live: what is played of a groove, what is counted, and a quick round."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from hypermeter.core.groove import Groove
from hypermeter.play.loading import load_player
from hypermeter.play.state import Passage

PATH = Path(__file__).parents[1] / "benchmarks" / "quality" / "answer.py"
spec = importlib.util.spec_from_file_location("benchmark_answer", PATH)
assert spec is not None and spec.loader is not None
sys.modules[spec.name] = answer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(answer)


def piece(seed=0):
    random = np.random.default_rng(seed)
    hits = (random.random((48, 10)) < 0.2).astype(np.uint8)
    velocity, offset = hits * random.uniform(0.2, 1, hits.shape), hits * random.uniform(-0.2, 0.2, hits.shape)
    return Groove(hits, velocity, offset, 100.0, "gm10")


def test_what_is_played_is_kick_and_snare_at_their_places():
    groove = Groove(np.eye(16, 10), np.eye(16, 10) * 0.5, np.eye(16, 10) * -0.25, 100.0, "gm10")
    assert answer.taps_of(groove) == [(0, (0x90, 60, 64)), (1800, (0x90, 60, 64))]  # nothing before the first beat


def test_a_groove_that_answers_itself_a_bar_later_has_all_its_taps():
    groove, player = piece(), load_player("groove")
    later = Passage(*(np.roll(getattr(groove, name), 16, 0) for name in ("hits", "velocity", "offset")))
    (taps, answered, others, _, loud, _), pairs = answer.measure(player, groove, later)
    assert answered == taps > 0 and taps + others == 32 and loud >= taps
    assert all(velocity >= tap - 1e-6 for tap, velocity in pairs) and len(pairs) == taps


def test_a_quick_round_prints_and_writes_a_table(tmp_path, capsys):
    for number in range(2):
        own = piece(number)
        arrays = {"sequence": own.hits, "velocity": own.velocity, "offset": own.offset}
        np.savez(tmp_path / f"{number}.npz", **arrays, meta=json.dumps({"tempo_bpm": 100, "kit": "gm10"}))
    answer.main("groove", tmp_path, 2, 3, ("follow",), out=tmp_path / "out.json")
    table = json.loads((tmp_path / "out.json").read_text())
    assert list(table) == ["no input", "follow"] and "2 pieces of 3 bars" in capsys.readouterr().out
    assert table["no input"]["share"] == 1 and table["follow"]["at_taps"] == pytest.approx(1, abs=0.1)

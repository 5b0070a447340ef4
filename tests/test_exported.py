"""An exported folder plays on ONNX Runtime what its checkpoint plays; and all that plays does without PyTorch."""

import importlib.util
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from exported import exports, folder, model  # noqa: F401
from hypermeter.core.errors import HypermeterError
from hypermeter.play.exported import OnnxNetwork
from hypermeter.play.infill import infill, vary
from hypermeter.play.loading import load_player
from hypermeter.play.locks import Locks
from hypermeter.play.plan import make_plan
from hypermeter.play.request import InfillOptions, SamplingOptions

NAMES = ("gru", "lstm", "transformer", "plain", "groove")


pytestmark = pytest.mark.slow  # an export takes seconds


@pytest.fixture(scope="module", params=NAMES)
def pair(request):
    """Players of an exported folder and of the model itself."""
    return load_player(folder(request.param)), model(request.param).player()


def plan_for(player):
    return (
        None
        if player.labels is None
        else make_plan(player.labels, 3, density=[0.1, 0.4], style=player.labels["style"][1])
    )


def test_it_plays_without_pytorch():
    program = f"""
import sys
import numpy as np
from hypermeter.play.infill import infill, vary
from hypermeter.play.locks import lock_voices
from hypermeter.play.plan import make_plan
from hypermeter.play.loading import load_player
from hypermeter.play.request import SamplingOptions, InfillOptions
for path, voices in (({str(folder("gru"))!r}, 3), ("groove", 10)):
    player = load_player(path)
    plan = make_plan(player.labels, 3, tempo_bpm=100, density=0.2)
    sampling = SamplingOptions(0.9, 0.9, {{player.voices[0]: 1.0}}, seed=1)
    hits = player.generate(40, plan=plan, sampling=sampling)[0]
    infill(player, lock_voices(hits, [0]), sampling=sampling, plan=plan, infilling=InfillOptions(8))
    vary(player, hits, 0.5, infilling=InfillOptions(4))
    player.perform(hits, 100.0)
    player.log_prob(hits)
    assert hits.shape == (40, voices)
print(sorted(each for each in sys.modules if each.split(".")[0] in ("torch", "symusic", "onnx")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


# ---------------------------------------------------------------------- as the checkpoint


def test_what_a_player_reports_of_its_model_is_the_same(pair):
    for name in ("grid", "kit", "labels", "num_drums", "width", "voices", "tracks", "has_expression"):
        assert getattr(pair[0], name) == getattr(pair[1], name)


def test_log_probabilities_are_the_same_with_a_plan_and_without(pair):
    steps = 3 * pair[0].grid.steps_per_phrase + 3  # the plan is over before
    hits = pair[1].generate(steps, rows=2)
    for plan in (None, plan_for(pair[0])):
        np.testing.assert_allclose(*(player.log_prob(hits, plan) for player in pair), atol=1e-4)


def test_the_same_seed_gives_the_same_music(pair):
    plan, voice = plan_for(pair[0]), pair[0].voices[0]
    primer = pair[1].generate(9, sampling=SamplingOptions(seed=8))
    for sampling in (SamplingOptions(seed=2), SamplingOptions(0.8, 0.9, {voice: 1.0}, 2.0, 3), SamplingOptions(0.0)):
        one, other = (player.generate(60, primer, sampling, plan=plan, rows=2) for player in pair)
        assert np.array_equal(one, other)


def test_infill_and_variation_are_the_same(pair):
    hits = pair[1].generate(24, sampling=SamplingOptions(seed=4))[0]
    is_locked = np.random.default_rng(0).random(hits.shape) < 0.4
    one, other = (infill(player, Locks(is_locked, hits), infilling=InfillOptions(8)) for player in pair)
    assert np.array_equal(one.hits, other.hits) and one.log_evidence == pytest.approx(other.log_evidence, abs=1e-3)
    one, other = (vary(player, hits, 0.5, SamplingOptions(seed=1), infilling=InfillOptions(4)).hits for player in pair)
    assert np.array_equal(one, other)


def test_how_hits_are_played_is_the_same(pair):
    if not pair[0].has_expression:
        with pytest.raises(HypermeterError, match="plays hits only"):
            pair[0].perform(np.zeros((2, pair[0].num_drums)), 100.0)
        return
    hits = pair[1].generate(40, rows=2)
    for options in ({}, {"temperature": 0.0}, {"known": known_of(hits)}):
        performances = [player.perform(hits, 93.0, seed=6, **options) for player in pair]
        for one, other in zip(*performances, strict=True):  # a value on the edge of a bin may fall either way
            assert np.isclose(one, other, atol=1e-5).mean() > 0.99


def known_of(hits):
    first = np.where(np.arange(hits.shape[-1]) == 0, 0.3, math.nan)
    return (np.broadcast_to(first, hits.shape),) * 2


def test_states_are_values_and_go_on(pair):
    hits, plan = pair[1].generate(21, rows=2), plan_for(pair[0])
    state = pair[0].consume(hits[:, :11], pair[0].start(2, plan))
    pair[0].consume(1 - hits[:, 11:], state)
    again = pair[0].consume(hits[:, 11:], state.select(np.array([1, 0, 1])).select(np.array([1, 2])))
    straight = pair[0].consume(hits, pair[0].start(2, plan))
    np.testing.assert_allclose(again.dist.probs, straight.dist.probs, atol=1e-5)
    np.testing.assert_allclose(again.free.probs, pair[1].consume(hits, pair[1].start(2)).dist.probs, atol=1e-5)


# ---------------------------------------------------------------------- what does not fit


def test_folders_that_cannot_be_played_are_named(tmp_path):
    with pytest.raises(HypermeterError, match=r"no meta\.json to be read there"):
        OnnxNetwork.read(tmp_path)
    meta = json.loads((folder("plain") / "meta.json").read_text())
    for content, message in (
        ("{", "not JSON"),
        ("[]", "format list, expected 1"),
        (json.dumps(meta | {"format": 2}), "format 2, expected 1"),
        (json.dumps({"format": 1}), "nothing of expression, grid, kinds, kit"),
        (json.dumps(meta | {"grid": 4}), "meta.json.grid is 4, expected an object"),
        (json.dumps(meta), r"step\.onnx: cannot be read"),
        (json.dumps(meta | {"tracks": [{"name": "bass"}]}), r"a model with tracks \(bass\); play its checkpoint"),
    ):
        (tmp_path / "meta.json").write_text(content)
        with pytest.raises(HypermeterError, match=message) as error:
            load_player(tmp_path)
        assert "\n" not in str(error.value)
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    shutil.copy(folder("gru") / "step.onnx", tmp_path)
    with pytest.raises(
        HypermeterError, match=r"input asked is \[48\], meta.json says None; the files are of two models"
    ):
        load_player(tmp_path)
    (tmp_path / "step.onnx").write_bytes(b"no graph")
    with pytest.raises(HypermeterError, match=r"step\.onnx: not a graph that can be run"):
        load_player(tmp_path)


def test_the_kit_that_is_wanted_is_that_of_the_folder():
    assert load_player(folder("groove"), kit="gm10").num_drums == 10
    with pytest.raises(HypermeterError, match="no kit in the export, expected kit gm10"):
        load_player(folder("plain"), kit="gm10")
    with pytest.raises(HypermeterError, match="made without labels"):
        load_player(folder("plain")).generate(2, plan=make_plan({}))


def test_the_benchmark_judges_performances_of_any_length(monkeypatch):
    place = Path(__file__).parents[1] / "benchmarks" / "speed"
    monkeypatch.syspath_prepend(str(place))
    spec = importlib.util.spec_from_file_location("onnx_runtime_benchmark", place / "onnx_runtime.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    small = load_player(folder("gru"))
    performances = [small.generate(length, sampling=SamplingOptions(seed=length))[0] for length in (20, 3, 11)]
    bits = sum(-small.log_prob(hits).sum() / math.log(2) for hits in performances)
    assert math.isclose(script.bits_per_step(small, performances), bits / 34, rel_tol=1e-6)
    files = {"float32": {"step.onnx": 3_000_000}, "int8": {"step.onnx": 1_000_000}}
    ratio = {kind: script.ratio_of([2, 4], [4, 4]) for kind in ("NumPy", *files)}
    result = {"model": "small", "bytes": files, "bits_per_step": {"float32": 1.5, "int8": 1.25}}
    result |= {"performances": 3, "steps": 34}
    seconds = {"PyTorch": 0.004, "NumPy": 0.001, "float32": 0.003, "int8": 0.002}
    result["times"] = {1: {"seconds_per_step": seconds, "ratio": ratio}}
    text = script.markdown(result)
    assert "| step.onnx | 3.00 MB | 1.00 MB |" in text and "| 1.5000 | 1.2500 |" in text
    assert "| batch 1 | 4.00 ms | 1.00 ms | 3.00 ms | 2.00 ms | 0.75 (0.50 to 1.00) |" in text

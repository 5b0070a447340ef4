"""The page plays what the Python runtime and the server play: the same seed, the same hits."""

# ruff: noqa: F401, F811  (fixtures are imported, and named as arguments)

import gzip
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest

from browsing import NOTHING, PAGE, Session, chromium, host, opened

pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from hypermeter.play.runtime import OnnxPlayer, make_plan_arrays

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def player(tmp_path_factory):
    """Of the export that the page ships."""
    folder = tmp_path_factory.mktemp("export")
    for path in (PAGE / "model").iterdir():
        if path.suffix == ".gz":
            (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        else:
            shutil.copy(path, folder)
    return OnnxPlayer.load(folder)


def test_the_page_ships_the_model_of_the_package(player):
    import torch

    import hypermeter

    hits = player.generate(128, seed=1)[0]
    model, plan = hypermeter.load("groove"), make_plan_arrays(player.labels, 2, style="jazz", density=0.1)
    asked = hypermeter.Plan(*(torch.from_numpy(each) for each in plan))
    with torch.no_grad():
        for ours, theirs in ((None, None), (plan, asked)):  # the plan ends before the music
            expected = model.log_prob(torch.from_numpy(hits).float()[None], plan=theirs)[0]
            assert np.allclose(player.log_prob(hits, plan=ours), expected, atol=1e-4), "another model: make page"


def some_plan(player, bars):
    fill = [bar % 4 == 3 for bar in range(bars)]
    return make_plan_arrays(player.labels, bars, style="funk", fill=fill, density=[0.1, 0.25])


def asked_of(plan):
    """A plan as the page has it."""
    if plan is None:
        return None
    numbers = [None if math.isnan(each) else float(each) for each in plan.numbers[0].ravel().tolist()]
    return {"labels": plan.labels[0].ravel().tolist(), "numbers": numbers}


def song_of(hits, velocity=None, offset=None, tempo=100):
    velocity = 0.8 * hits if velocity is None else velocity
    offset = np.zeros(hits.shape) if offset is None else offset
    arrays = {"hits": hits, "velocity": velocity, "offset": offset}
    return {name: np.asarray(each).ravel().tolist() for name, each in arrays.items()} | {"tempo": tempo}


def check_played(found, expected):
    """Velocity and offset: arithmetic that differs in the last digit can put a hit in the bin beside."""
    for name, wanted in zip(("velocity", "offset"), expected):
        assert np.quantile(np.abs(found[name] - wanted), 0.99) < 1e-6, name


# ---------------------------------------------------------------------- the runtime


@pytest.mark.parametrize("temperature", [1.0, 0.8, 0.0])
@pytest.mark.parametrize("guidance", [None, 0.0, 1.5])
def test_the_same_seed_gives_the_hits_of_the_runtime(opened, player, temperature, guidance):
    plan = None if guidance is None else some_plan(player, 16)
    options = {"temperature": temperature, "seed": 2**32 + 7, "guidance": guidance or 0.0}
    found = opened.play("continue", {**NOTHING, **options, "bars": 16, "asked": asked_of(plan)})
    assert (found["hits"] == player.generate(256, plan=plan, **options)[0]).all()


def test_top_p_and_bias_are_those_of_the_runtime(opened, player):
    bias = [0, 0.5, -1, 0, 0, 0, 0, 0, 0, 1.5]
    for top_p in (0.9, 1.0):
        request = {**NOTHING, "bars": 16, "temperature": 1, "topP": top_p, "bias": bias, "seed": 3}
        found = opened.play("continue", request)
        assert (found["hits"] == player.generate(256, top_p=top_p, voice_bias=bias, seed=3)[0]).all()


def some_infill(player):
    """A song of 12 bars, of which the last eight are to be filled in, and which cells of these are known."""
    song = player.generate(192, seed=11)[0]
    known = np.zeros((128, 10), np.uint8)
    known[:, 0] = known[64:] = known[5] = 1
    return song, known


@pytest.mark.parametrize("particles", [1, 16])
@pytest.mark.parametrize(("temperature", "guidance"), [(1.0, None), (0.8, 1.0)])
def test_the_same_seed_fills_in_as_the_runtime(opened, player, particles, temperature, guidance):
    """With one particle these are the locks of ``stream``; with more, infill."""
    song, known = some_infill(player)
    context, pattern = song[:64], song[64:]
    plan = None if guidance is None else some_plan(player, 12)
    options = {"particles": particles, "temperature": temperature, "seed": 4, "guidance": guidance or 0.0}
    cells = {"known": known.ravel().tolist(), "start": 64, "horizonBars": 2}
    found = opened.play("infill", {**options, **song_of(song), **cells, "asked": asked_of(plan)})
    expected = player.infill(known, pattern, context=context, horizon_bars=2, plan=plan, **options)
    assert (found["hits"] == expected.hits).all() and (found["hits"] != pattern).any()
    assert found["smallest"] == pytest.approx(expected.smallest, rel=1e-3)
    if particles == 1:
        locks = known[:, :], pattern
        primed = player.generate(
            128, context, locks=locks, plan=plan, seed=4, temperature=temperature, guidance=guidance or 0.0
        )
        assert (found["hits"] == primed[0]).all()
    whole = np.concatenate([context, expected.hits])
    is_told = np.concatenate([context > 0, (expected.hits > 0) & (pattern > 0)])
    told = tuple(np.where(is_told, value, np.nan) for value in (np.float32(0.8), 0.0))
    played = player.perform(whole, 100, seed=4, known=told)
    check_played(found, [each[64:] for each in played])


def test_the_same_seed_plays_as_the_runtime(opened, player):
    primer = player.generate(64, seed=8)[0]
    velocity, offset = player.perform(primer, 110, seed=9)
    request = {**song_of(primer, velocity, offset, 110), "temperature": 1, "seed": 12, "bars": 4}
    first = opened.play("continue", request)
    assert (first["hits"] == player.generate(64, primer, seed=12)[0]).all()
    new = np.full(first["hits"].shape, np.nan)
    told = tuple(np.concatenate([np.where(primer > 0, own, np.nan), new]) for own in (velocity, offset))
    played = player.perform(np.concatenate([primer, first["hits"]]).astype(np.uint8), 110, seed=12, known=told)
    check_played(first, [each[64:] for each in played])
    # What the thread remembers of the primer changes nothing: the same again, and after other music.
    again = opened.play("continue", request)
    opened.play("continue", {**NOTHING, "temperature": 1, "seed": 12, "bars": 4})
    third = opened.play("continue", request)
    for name, each in first.items():
        assert (each == again[name]).all() and (each == third[name]).all()


def test_endless_play_remembers_what_it_no_longer_sends(opened, player):
    first = opened.play("continue", {**NOTHING, "temperature": 1, "seed": 1, "bars": 8})
    window = {name: each[64:] for name, each in first.items()}
    request = {
        **song_of(window["hits"], window["velocity"], window["offset"], 120),
        "temperature": 1,
        "seed": 2,
        "bars": 4,
    }
    found = opened.play("continue", {**request, "mayRemember": True})
    whole = player.generate(64, first["hits"], seed=2)[0]
    part = player.generate(64, window["hits"], seed=2)[0]
    assert (found["hits"] == whole).all() and (whole != part).any()
    assert (opened.play("continue", request)["hits"] == part).all()


# ---------------------------------------------------------------------- the server


@pytest.fixture(scope="module")
def served():
    """``hypermeter serve`` with the shipped model, as a user starts it."""
    pytest.importorskip("fastapi", reason="the server is an extra")
    pytest.importorskip("uvicorn", reason="the server is an extra")
    command = [sys.executable, "-m", "hypermeter.cli", "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("http://"), line
        yield line.split()[0]
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


@pytest.fixture
def on_server(chromium, served):
    session = Session(chromium, served).ready()
    session.until("() => !document.getElementById('engine').hidden")
    session.page.click("#engine-server")
    yield session
    session.close()


def test_the_server_plays_what_the_page_plays(on_server, player):
    song = song_of(player.generate(64, seed=2)[0])
    for request in (
        {**NOTHING, "temperature": 1, "seed": 5, "bars": 4},
        {**song, "temperature": 0.8, "seed": 6, "bars": 4, "guidance": 1.0, "asked": asked_of(some_plan(player, 8))},
    ):
        here, there = (on_server.play("continue", request, where) for where in ("page", "server"))
        assert (here["hits"] == there["hits"]).all() and here["hits"].any()
        check_played(here, [there[name] for name in ("velocity", "offset")])


def test_the_server_fills_in_as_the_page_does(on_server, player):
    song, known = some_infill(player)
    options = {"particles": 8, "temperature": 1, "seed": 7, "guidance": 1.0, "asked": asked_of(some_plan(player, 12))}
    cells = {"known": known.ravel().tolist(), "start": 64, "horizonBars": None}
    request = {**options, **song_of(song), **cells}
    here, there = (on_server.play("infill", request, where) for where in ("page", "server"))
    assert (here["hits"] == there["hits"]).all()
    check_played(here, [there[name] for name in ("velocity", "offset")])


def test_everything_is_done_on_the_server_where_it_is_chosen(on_server):
    asked = []
    on_server.page.on(
        "request", lambda each: asked.append(each.url.split("/api/")[-1]) if "/api/" in each.url else None
    )
    on_server.click("bars-4", "continue")
    on_server.click("vary")
    on_server.click("fill-bar")
    assert asked == ["continue/stream", "infill", "infill"]
    assert on_server.song()["bars"] == 8
    on_server.page.click("#engine-page")
    on_server.click("continue")
    assert len(asked) == 3 and on_server.song()["bars"] == 12

"""The server, in process: answers against the playing engine, limits, headers, refusals, and clients that leave."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the server is an extra")

import httpx

from hypermeter import cli
from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.core.strokes import Chokes, Strokes
from hypermeter.core.tracks import BASS
from hypermeter.io.checkpoint import find_checkpoint, read_checkpoint, write_checkpoint
from hypermeter.io.midi import to_midi_bytes
from hypermeter.play.compose import continue_groove, fill_groove, vary_groove
from hypermeter.play.follow import follow_groove
from hypermeter.play.humanize import humanize
from hypermeter.play.loading import load_player
from hypermeter.play.locks import Locks
from hypermeter.play.plan import Plan, make_plan, plan_bars
from hypermeter.play.request import BOUNDS, FollowOptions, InfillOptions, PlanOptions, SamplingOptions
from hypermeter.play.takes import distance_of, draw_takes
from hypermeter.share.serve import Limits, make_app
from hypermeter.share.serve.command import is_loopback, listen, load_players, serve_command
from hypermeter.share.serve.limits import Refused, Slots, Stopped, Watch
from hypermeter.share.serve.messages import (
    ContinueRequest,
    FollowRequest,
    GenerateRequest,
    InfillRequest,
    VaryRequest,
    from_groove,
)
from midi_bytes import beat as beat_events
from midi_bytes import midi, track

KIT = load_kit("gm10")
V = KIT.num_voices


@pytest.fixture(scope="module")
def player():
    return load_player("groove")


@pytest.fixture(scope="module")
def app(player, tmp_path_factory):
    page = tmp_path_factory.mktemp("page")
    (page / "index.html").write_text("<!doctype html><title>Page</title>")
    (page / "model").mkdir()
    for name in ("page.js", "thing.wasm", "model/step.onnx.gz", "data.json"):
        (page / name).write_bytes(b"{}")
    (page.parent / "secret.txt").write_text("secret")
    (page / "link.txt").symlink_to(page.parent / "secret.txt")
    return make_app({"small": player, "other": player}, page, hosts=("test", "127.0.0.1"))


def ask(app, method, path, **options):
    """One request, answered."""

    async def once():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **options)

    return asyncio.run(once())


def post(app, path, body, **options):
    return ask(app, "POST", f"/api/{path}", json=body, **options)


def played(app, path, body):
    answer = post(app, path, body)
    assert answer.status_code == 200, answer.text
    return answer.json()["groove"]


def error_of(answer, status):
    assert answer.status_code == status, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/json" and set(answer.json()) == {"error"}
    line = answer.json()["error"]
    assert line and "\n" not in line and len(line) <= 500 and "Traceback" not in line
    return line


def beat(bars=2):
    hits = np.zeros((16 * bars, V), np.uint8)
    hits[::4, 0] = hits[4::8, 1] = hits[::2, 2] = 1
    return hits


def sent(hits, **more):
    return {"hits": hits.T.tolist(), **more}


def array(groove, name="hits"):
    return np.array(groove[name]).T


# ---------------------------------------------------------------------- the same as in Python


def check_same(answer, groove):
    """Hits are equal, and velocities and offsets to the digits that are sent."""
    assert (array(answer) == groove.hits).all() and groove.hits.any()
    assert np.allclose(array(answer, "velocity"), groove.velocity, rtol=0, atol=5.1e-7)
    assert np.allclose(array(answer, "offset"), groove.offset, rtol=0, atol=5.1e-7)
    assert answer["tempo_bpm"] == groove.tempo_bpm and answer["voices"] == list(KIT.names)


ASKED = [
    ({}, SamplingOptions(), PlanOptions()),
    (
        {"seed": 2**53 - 1, "temperature": 0.7, "top_p": 0.9},
        SamplingOptions(seed=2**53 - 1, temperature=0.7, top_p=0.9),
        PlanOptions(),
    ),
    ({"bias": {"ride": 3.0}, "seed": 5}, SamplingOptions(bias={"ride": 3.0}, seed=5), PlanOptions()),
    (
        {"plan": {"style": "jazz", "density": [0.1, 0.4]}, "guidance": 2},
        SamplingOptions(guidance=2),
        PlanOptions(style="jazz", density=[0.1, 0.4]),
    ),
    (
        {"plan": {"sections": "verse:2 fill:1"}, "seed": 4},
        SamplingOptions(seed=4),
        PlanOptions(sections="verse:2 fill:1"),
    ),
    ({"plan": {"tempo_bpm": 200}, "seed": 4}, SamplingOptions(seed=4), PlanOptions(tempo_bpm=200)),
]


@pytest.mark.parametrize(("body", "sampling", "wishes"), ASKED)
def test_what_is_generated_is_what_python_plays(app, player, body, sampling, wishes):
    answer = played(app, "generate", {"bars": 3, "tempo_bpm": 90, **body})
    check_same(answer, continue_groove(player, None, 3, sampling, plan=wishes, tempo_bpm=90))


@pytest.mark.parametrize(("body", "sampling", "wishes"), ASKED)
def test_a_groove_is_continued_as_python_continues_it(app, player, body, sampling, wishes):
    answer = played(app, "continue", {"groove": sent(beat(), tempo_bpm=100), "bars": 3, **body})
    primer = Groove(beat(), tempo_bpm=100, kit=KIT)
    check_same(answer, continue_groove(player, primer, 3, sampling, plan=wishes, include_primer=False))


TAKEN = {
    "generate": {"bars": 2},
    "continue": {"groove": sent(beat(), tempo_bpm=100), "bars": 2},
    "infill": {"groove": sent(beat()), "known": [[0] * 16 + [1] * 16] * V, "particles": 2},
    "vary": {"groove": sent(beat()), "strength": 0.8, "particles": 2},
    "follow": {"groove": sent(beat()), "particles": 2},
    "humanize": {"groove": sent(beat())},
}


@pytest.mark.parametrize("path", TAKEN)
def test_takes_are_the_most_different_of_what_the_seeds_give_alone(app, path):
    body = TAKEN[path] | {"seed": 3}
    takes = ask(app, "POST", f"/api/{path}/takes", json=body | {"variations": 2}).json()["takes"]
    alone = [post(app, path, body | {"seed": seed}).json() for seed in range(3, 11)]
    distances = [distance_of(to_python(alone[0]), to_python(other)) for other in alone]
    assert [take["seed"] for take in takes] == [3, 3 + int(np.argmax(distances))]
    for take in takes:
        assert take["distance"] == pytest.approx(max(distances), abs=1e-5)
        one = alone[take["seed"] - 3]
        assert take["groove"] == one["groove"]
        assert take["effective_sample_size"] == one.get("effective_sample_size")
        assert take["warning"] == one.get("warning", "")
    (single,) = ask(app, "POST", f"/api/{path}/takes", json=body | {"variations": 1}).json()["takes"]
    assert single["distance"] is None and single["groove"] == alone[0]["groove"]
    error_of(post(app, f"{path}/takes", body | {"variations": 17}), 422)
    error_of(post(app, path, body | {"variations": 2}), 422)


def to_python(answer):
    groove = answer["groove"]
    return Groove(*(array(groove, name) for name in ("hits", "velocity", "offset")), kit=KIT)


def test_takes_of_python_are_those_of_the_server(app, player):
    answer = post(app, "generate/takes", {"bars": 2, "seed": 3, "variations": 3}).json()["takes"]
    takes = draw_takes(lambda seed: continue_groove(player, None, 2, SamplingOptions(seed=seed)), 3, 3)
    assert [one["seed"] for one in answer] == [take.seed for take in takes] and answer[0]["seed"] == 3
    for one, take in zip(answer, takes):
        check_same(one["groove"], take.groove)


def test_some_voice_of_a_set_sounds_as_in_python(app, player):
    known, some = np.zeros((32, V), np.uint8), np.zeros((32, V), np.uint8)
    known[:, 2], some[::3, :2] = 1, 1
    body = {"groove": sent(beat()), "particles": 4, "seed": 5}
    answer = played(app, "infill", body | {"known": known.T.tolist(), "some": some.T.tolist()})
    expected, _ = fill_groove(
        player,
        Groove(beat(), tempo_bpm=120, kit=KIT),
        Locks(known > 0, beat(), some > 0),
        None,
        SamplingOptions(seed=5),
        infilling=InfillOptions(4),
    )
    check_same(answer, expected)
    assert array(answer)[::3, :2].any(1).all()
    for wrong in ([[1]], some[:16].T.tolist()):
        assert "some: of another shape" in error_of(
            post(app, "infill", body | {"known": known.T.tolist(), "some": wrong}), 422
        )
    known[3, :2] = 1
    silent = body | {"groove": sent(0 * beat()), "known": known.T.tolist(), "some": some.T.tolist()}
    assert "locked to silence" in error_of(post(app, "infill", silent), 422)


def test_strokes_openness_and_chokes_go_through_the_server(app):
    hits = beat()
    step, voice = (int(place[-1]) for place in np.nonzero(hits))
    openness = np.full(hits.shape, np.nan)
    openness[step, voice] = 0.25
    strokes, chokes = Strokes([step], [voice], [-0.25], [0.5], [0.75]), Chokes([3], [voice], [0.25])
    groove = Groove(hits, kit=KIT, strokes=strokes, openness=openness, chokes=chokes)
    headers = {"content-type": "audio/midi"}
    read = ask(app, "POST", "/api/midi/read?shift=keep", content=to_midi_bytes(groove), headers=headers).json()[
        "groove"
    ]
    assert read["strokes"] == [
        {"step": step, "voice": voice, "offset": -0.25, "velocity": 0.503937, "openness": 0.748031}
    ]
    assert read["chokes"] == [{"step": 3, "voice": voice, "offset": 0.25}]
    body = sent(hits) | {
        "strokes": [{"step": step, "voice": voice, "offset": -0.25, "velocity": 0.5, "openness": 0.75}]
    }
    body |= {"chokes": [{"step": 3, "voice": voice, "offset": 0.25}]}
    rows = [[0.25 if (row, at) == (voice, step) else None for at in range(len(hits))] for row in range(hits.shape[1])]
    same = played(app, "vary", {"groove": body | {"openness": rows}, "strength": 0})
    assert (same["strokes"], same["openness"], same["chokes"]) == (body["strokes"], rows, body["chokes"])
    body["strokes"][0]["step"] = len(hits)
    error_of(post(app, "analyse", {"groove": body}), 422)


def test_the_tempo_is_a_condition_where_no_plan_is(app, player):
    with_tempo = make_plan(player.labels, 2, tempo_bpm=200)
    body = {"groove": sent(beat(), tempo_bpm=200), "bars": 2, "seed": 4}
    numbers = [[None, None, None]] * 2 + [[200, None, None]] * 2
    by_bar = {"labels": [[0, 0, 0]] * 4, "numbers": numbers}
    primer = Groove(beat(), tempo_bpm=200, kit=KIT)
    plan = Plan.free(2).then(with_tempo)
    expected = continue_groove(player, primer, 2, SamplingOptions(seed=4), plan=plan, include_primer=False)
    open_bars = {"labels": [[0, 0, 0]], "numbers": [[None, None, None]]}
    for given in ({}, {"plan": None}, {"plan": {}}, {"plan": by_bar}):
        check_same(played(app, "continue", body | given), expected)
    assert (array(played(app, "continue", body | {"plan": open_bars})) != expected.hits).any()


def some_infill():
    """A request, and the pattern, locks and context that it tells."""
    cells = np.zeros((32, V), np.uint8)
    cells[:16] = cells[:, 0] = 1
    velocity = np.where(beat() > 0, 0.25, 0)
    body = {"known": cells.T.tolist(), "context": sent(beat(1)), "particles": 8, "seed": 1}
    pattern = Groove(beat(), velocity.astype(np.float32), kit=KIT)
    return (
        body | {"groove": sent(beat(), velocity=velocity.T.tolist())},
        pattern,
        Locks(cells > 0, beat()),
        Groove(beat(1), kit=KIT),
    )


@pytest.mark.parametrize("wishes", [PlanOptions(), PlanOptions(style="jazz", fill=[None, True])])
def test_locked_cells_stay_and_the_rest_is_infilled_as_in_python(app, player, wishes):
    body, pattern, locks, context = some_infill()
    conditions = {name: getattr(wishes, name) for name in wishes.names}
    answer = post(app, "infill", body | {"plan": conditions or None})
    expected, done = fill_groove(
        player,
        pattern,
        locks,
        None,
        SamplingOptions(seed=1),
        plan=wishes,
        context=context,
        infilling=InfillOptions(8),
    )
    assert answer.status_code == 200, answer.text
    filled = answer.json()
    check_same(filled["groove"], expected)
    assert filled["effective_sample_size"]["smallest"] == pytest.approx(done.smallest)
    is_locked = locks.known[0]
    assert (array(filled["groove"], "velocity")[is_locked & (beat() > 0)] == 0.25).all()
    assert (array(filled["groove"])[is_locked] == beat()[is_locked]).all()


def test_a_plan_may_be_given_bar_by_bar_as_the_page_does(app, player):
    labels = [[0, 0, 0], [1, 3, 1], [2, 3, 2]]
    numbers = [[None, None, None], [120, 0.3, None], [None, 0.1, 0]]
    plan, message = Plan(np.array([labels]), np.array([numbers], np.float32)), {"labels": labels, "numbers": numbers}
    answer = played(app, "continue", {"groove": sent(beat(1)), "bars": 2, "seed": 4, "plan": message})
    primer = Groove(beat(1), kit=KIT)
    check_same(answer, continue_groove(player, primer, 2, SamplingOptions(seed=4), plan=plan, include_primer=False))
    cells = ["x" * 16 + "." * 16] * V
    answer = played(
        app, "infill", {"groove": sent(beat()), "known": cells, "horizon_bars": 0, "particles": 4, "plan": message}
    )
    locks = Locks(np.arange(32)[:, None].repeat(V, 1) < 16, beat())
    check_same(answer, fill_groove(player, Groove(beat(), kit=KIT), locks, plan=plan, infilling=InfillOptions(4, 0))[0])


def test_conditions_beyond_the_bars_count_for_nothing(app):
    message = {"labels": [[0, 0, 0]], "numbers": [[None, None, None]]}
    more = {"labels": [[0, 0, 0], [0, 0, 0], [1, 3, 1]], "numbers": [[None, None, None]] * 2 + [[60, 1, 1]]}
    assert played(app, "generate", {"bars": 2, "plan": message}) == played(app, "generate", {"bars": 2, "plan": more})


@pytest.mark.parametrize("wishes", [PlanOptions(), PlanOptions(style="jazz")])
def test_a_groove_is_varied_as_python_varies_it(app, player, wishes):
    body = {"groove": sent(beat()), "strength": 0.9, "temperature": 2, "keep": ["kick"], "particles": 4, "seed": 9}
    if wishes.names:
        body["plan"] = {"style": wishes.style}
    answer = played(app, "vary", body)
    plan = plan_bars(player.labels, wishes, 2, grid=player.grid, tempo_bpm=120) if wishes.names else None
    sampling, groove = SamplingOptions(temperature=2, seed=9), Groove(beat(), kit=KIT)
    check_same(answer, vary_groove(player, groove, 0.9, sampling, keep=[0], plan=plan, infilling=InfillOptions(4))[0])
    assert (array(answer) != beat()).any() and (array(answer)[:, 0] == beat()[:, 0]).all()
    assert (array(played(app, "vary", body | {"strength": 0})) == beat()).all()


def test_taps_are_followed_as_python_follows_them(app, player):
    velocity, offset = (np.zeros((1, 32)) for _ in range(2))
    velocity[0, ::6], offset[0, ::6] = np.linspace(0.3, 1, 6), 0.1
    taps = {"hits": [(velocity[0] > 0).astype(int).tolist()], "voices": ["snare"]}
    taps |= {"velocity": velocity.round(6).tolist(), "offset": offset.tolist()}
    body = {"groove": taps, "particles": 4, "seed": 3, "plan": {"style": "funk"}, "answer": ["kick", "snare"]}
    answer = post(app, "follow", body).json()
    arrays = np.zeros((2, 32, V), np.float32)
    arrays[:, :, 1] = velocity[0].round(6), offset[0]
    rhythm = Groove((arrays[0] > 0).astype(np.uint8), *arrays, kit=KIT)
    options = {"plan": PlanOptions(style="funk"), "infilling": InfillOptions(4)}
    following = FollowOptions(("kick", "snare"))
    groove, done = follow_groove(player, rhythm, SamplingOptions(seed=3), following, **options)
    check_same(answer["groove"], groove)
    assert answer["effective_sample_size"]["smallest"] == pytest.approx(done.smallest)
    lock = {"hits": ["x..............." * 2, "." * 32], "voices": ["kick", "closed_hat"]}
    agreed, _ = follow_groove(player, rhythm, SamplingOptions(seed=3), replace(following, draws=3), **options)
    check_same(post(app, "follow", body | {"draws": 3}).json()["groove"], agreed)
    kept = post(app, "follow", body | {"lock": lock, "keep": ["kick"]}).json()["groove"]
    assert np.flatnonzero(array(kept)[:, 0]).tolist() == [0, 16] and array(kept)[:, [2, 3, 4, 9]].any()


def test_a_groove_is_humanized_as_python_humanizes_it(app, player):
    groove, take = Groove(beat(), kit=KIT), continue_groove(player, None, 4, SamplingOptions(seed=5), tempo_bpm=100)
    body = {"groove": sent(beat()), "seed": 2, "timing": 0.7, "velocity": 0.4, "push": {"snare": 8}}
    heard = from_groove(take).model_dump()
    like = heard | {"strokes": [], "openness": None}
    answer = played(app, "humanize", body | {"like": like})
    exact = replace(take, **{name: getattr(take, name).astype(np.float64).round(6) for name in ("velocity", "offset")})
    check_same(answer, humanize(groove, player, 1.0, 0.7, 0.4, 2, like=exact, push={"snare": 8.0}))
    check_same(played(app, "humanize", body | {"push": {}}), humanize(groove, player, 1.0, 0.7, 0.4, 2))
    kept = played(app, "humanize", body | {"like": "pushed", "keep": "velocity"})
    check_same(kept, humanize(groove, player, 1.0, 0.7, 0.4, 2, like="pushed", keep=["velocity"], push={"snare": 8.0}))


def test_names_bounds_and_defaults_of_what_is_drawn_are_those_of_every_door():
    for message, request in (
        (GenerateRequest, SamplingOptions()),
        (ContinueRequest, SamplingOptions()),
        (InfillRequest, InfillOptions()),
        (VaryRequest, InfillOptions()),
        (FollowRequest, InfillOptions()),
        (FollowRequest, FollowOptions()),
    ):
        schema = message.model_json_schema()["properties"]
        for name, default in vars(request).items():
            assert schema[name]["default"] == (list(default) if isinstance(default, tuple) else default)
            if isinstance(default, float | int) and not isinstance(default, bool):
                least = schema[name].get("minimum", schema[name].get("exclusiveMinimum"))
                assert (least, schema[name]["maximum"]) == (BOUNDS[name].least, BOUNDS[name].most)
                assert ("exclusiveMinimum" in schema[name]) == BOUNDS[name].is_open


def test_requests_at_once_play_what_each_plays_alone(app):
    """States are values, and what models share is only read."""
    bodies = [{"bars": 4, "seed": seed, "plan": {"style": "jazz"}} for seed in range(6)]
    alone = [played(app, "generate", body) for body in bodies]

    async def many():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
            return await asyncio.gather(*(client.post("/api/generate", json=body) for body in bodies))

    assert [answer.json()["groove"] for answer in asyncio.run(many())] == alone


def test_streaming_gives_the_same_bars_one_a_line(app):
    for path, body in (("generate", {"bars": 3, "seed": 2}), ("continue", {"groove": sent(beat()), "bars": 3})):
        whole = played(app, path, body)
        answer = post(app, f"{path}/stream", body)
        assert answer.status_code == 200 and answer.headers["content-type"] == "application/x-ndjson"
        *bars, last = map(json.loads, answer.text.splitlines())
        assert last == {"done": True, "bars": 3, "seed": body.get("seed", 0)}
        assert [bar["bar"] for bar in bars] == [0, 1, 2]
        for name in ("hits", "velocity", "offset"):
            assert (np.concatenate([array(bar["groove"], name) for bar in bars]) == array(whole, name)).all()


def test_without_expression_new_hits_are_equally_loud_and_on_the_grid(app):
    groove = played(app, "generate", {"bars": 1, "expression": False})
    assert set(array(groove, "velocity")[array(groove) > 0]) == {0.8} and not array(groove, "offset").any()


def test_rows_may_be_text_and_voices_few_and_in_any_order(app):
    few = {"hits": ["....x.......x...", "x.1-0..x........"], "voices": ["snare", "kick"]}
    whole = np.zeros((16, V), np.uint8)
    whole[[4, 12], 1] = whole[[0, 2, 7], 0] = 1
    body = {"bars": 2, "seed": 4}
    assert played(app, "continue", {"groove": few, **body}) == played(app, "continue", {"groove": sent(whole), **body})


def test_midi_is_read_and_written(app):
    groove = Groove(beat(), tempo_bpm=105, kit=KIT)
    headers = {"content-type": "audio/midi"}
    read = ask(app, "POST", "/api/midi/read", content=to_midi_bytes(groove), headers=headers)
    assert read.status_code == 200 and read.json()["losses"] == []
    read_groove = read.json()["groove"]
    assert (array(read_groove) == beat()).all() and read_groove["tempo_bpm"] == 105
    written = post(app, "midi/write", {"groove": read_groove})
    assert written.headers["content-type"] == "audio/midi" and written.content == to_midi_bytes(groove)
    error_of(ask(app, "POST", "/api/midi/read", content=b"MThd nonsense", headers=headers), 422)
    error_of(ask(app, "POST", "/api/midi/read", content=b"x", headers={"content-type": "text/plain"}), 415)


def test_midi_is_read_by_the_channel_or_track_that_is_named(app):
    song = midi(track(*beat_events(1), name="Live"), track(*beat_events(2, channel=2), name="Clip"))
    headers = {"content-type": "audio/midi"}

    def bars(address):
        answer = ask(app, "POST", f"/api/midi/read{address}", content=song, headers=headers)
        return len(answer.json()["groove"]["hits"][0]) // 16 if answer.status_code == 200 else answer.status_code

    of_channel_2 = ("?channel=2", "?track=clip", "?channel=2&shift=keep")
    assert [bars(address) for address in ("", "?track=1", *of_channel_2)] == [1, 1, 2, 2, 2]
    assert [bars(address) for address in ("?channel=0", "?channel=3", "?track=", "?tempo_map=x")] == [422] * 4


def test_metrics_are_those_of_the_package(app):
    from hypermeter.music.metrics import measure

    metrics = post(app, "analyse", {"groove": sent(beat())}).json()["metrics"]
    expected = measure(Groove(beat(), kit=KIT))
    assert set(metrics) == set(expected) and metrics["density"] == pytest.approx(float(expected["density"]), abs=1e-6)
    assert all(value is None or value == value for value in metrics.values())


def test_models_and_health_list_what_there_is(app, player):
    answer = ask(app, "GET", "/api/models").json()
    assert [model["name"] for model in answer["models"]] == ["small", "other"]
    first = answer["models"][0]
    assert first["labels"] == player.labels and first["pitches"][0] == list(KIT.voices[0].pitches)
    assert answer["limits"] == {"body_bytes": 2**20, "bars": 256, "particles": 256, "seconds": 30.0}
    assert ask(app, "GET", "/api/health").json() == {"status": "ok", "version": "0.1.0", "running": 0, "slots": 2}


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("generate", {"bars": 0}, "bars: .* greater than or equal to 1"),
        ("generate", {"bars": 257}, "bars is 257, expected at most 256"),
        ("generate", {"bars": "4"}, "bars: "),
        ("generate", {"bars": True}, "bars: "),
        ("generate", {"bar": 4}, "bar: Extra inputs"),
        ("generate", {"seed": 2**53}, "seed: "),
        ("generate", {"seed": -1}, "seed: "),
        ("generate", {"temperature": -0.1}, "temperature: "),
        ("generate", {"top_p": 0}, "top_p: "),
        ("generate", {"bias": {"gong": 1}}, "bias: no voice 'gong'"),
        ("generate", {"bias": {"gong": 0}}, "bias: no voice 'gong'"),
        ("generate", {"model": "../../etc/passwd"}, "model: no '../../etc/passwd' here; expected one of small, other"),
        ("generate", {"plan": {"style": "polka"}}, "style: no 'polka' in the model"),
        ("generate", {"plan": {"sections": "verse:3"}, "bars": 4}, "sections: 3 bars, bars is 4"),
        ("generate", {"plan": {"sections": "verse:99999"}, "bars": 4}, "sections: more than 10000 bars"),
        ("generate", {"plan": {"fill": [True]}, "bars": 4}, "fill of 1 bars, expected 4"),
        ("generate", {"plan": {"labels": [[0, 0, 0]]}}, "plan: labels, expected labels and numbers"),
        ("generate", {"plan": {"labels": [[0, 99, 0]], "numbers": [[None, None, None]]}}, "outside the vocabulary"),
        (
            "generate",
            {"plan": {"labels": [[0, 0, 0]], "numbers": [[0.5, None, None]]}},
            "plan.numbers: tempo_bpm is 0.5",
        ),
        ("generate", {"plan": {"labels": [[0, 0]], "numbers": [[None, None, None]]}}, "plan.labels.0"),
        ("generate/stream", {"plan": {"style": "polka"}}, "style: no 'polka' in the model"),
        ("continue", {}, "groove: Field required"),
        ("continue", {"groove": {"hits": ["x..."]}}, "1 rows of hits for 10 voices"),
        ("continue", {"groove": {"hits": ["x..."], "voices": ["kick"]}}, "4 steps, expected whole bars of 16"),
        ("continue", {"groove": {"hits": ["x..", "x"], "voices": ["kick", "ride"]}}, "rows of .1, 3. steps"),
        ("continue", {"groove": {"hits": ["x", "x"], "voices": ["kick", "kick"]}}, "a voice twice"),
        ("continue", {"groove": {"hits": [[2]], "voices": ["kick"]}}, "groove.hits.0"),
        ("continue", {"groove": {"hits": ["?"], "voices": ["kick"]}}, "groove.hits.0"),
        (
            "continue",
            {"groove": {"hits": ["x" * 16], "voices": ["kick"], "grid": {"steps_per_beat": 3}}},
            "groove: 16 steps, expected whole bars of 12",
        ),
        ("continue", {"groove": {"hits": ["x"], "voices": ["kick"], "velocity": [[0.1, 0.2]]}}, "velocity of another"),
        ("continue", {"groove": {"hits": ["x"], "voices": ["kick"], "velocity": [[1.5]]}}, "groove.velocity.0.0"),
        ("continue", {"groove": {"hits": ["x"], "voices": ["kick"], "offset": [[0.5]]}}, "groove.offset.0.0"),
        ("continue", {"groove": {"hits": ["." * 16 * 257], "voices": ["kick"]}}, "expected at most 256 bars"),
        ("infill", {"groove": {"hits": ["x"], "voices": ["kick"]}, "known": ["x."]}, "known: of another shape"),
        ("infill", {"groove": {"hits": ["x"], "voices": ["kick"]}, "known": ["x"], "particles": 257}, "particles is"),
        ("infill", {"groove": {"hits": [""], "voices": ["kick"]}, "known": [""]}, "no steps"),
        ("vary", {"groove": {"hits": ["x"], "voices": ["kick"]}, "strength": 1.1}, "strength: "),
        ("follow", {"groove": {"hits": ["." * 16], "voices": ["kick"]}}, "taps: no hits"),
        ("humanize", {"groove": {"hits": ["x..."], "voices": ["kick"]}, "like": "drumer-3"}, "did you mean drummer-3"),
        ("humanize", {"groove": {"hits": ["x..."], "voices": ["kick"]}, "timing": 1.5}, "timing: "),
        (
            "humanize",
            {"groove": {"hits": ["x..."], "voices": ["kick"]}, "like": {"hits": ["...."], "voices": ["kick"]}},
            "like: no hits",
        ),
        ("humanize", {"groove": {"hits": ["x..."], "voices": ["kick"]}, "push": {"cow": 3}}, "push: no voice 'cow'"),
        ("follow", {"groove": {"hits": ["x" * 16], "voices": ["kick"]}, "answer": ["cow"]}, "answer: no voice 'cow'"),
        ("follow", {"groove": {"hits": ["x" * 16], "voices": ["kick"]}, "answer": []}, "answer: "),
        ("vary", {"groove": {"hits": ["x"], "voices": ["kick"]}, "strength": 1, "keep": ["gong"]}, "keep: no voice"),
        ("analyse", {"groove": {"hits": [""], "voices": ["kick"]}}, "no steps"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_one_line(app, path, body, expected):
    assert re.search(expected, error_of(post(app, path, body), 422))


def test_what_is_not_json_is_refused(app):
    headers = {"content-type": "application/json"}
    for content in (b"", b"{", b"\xff", b"[" * 100_000, b"1" * 10_000, b'{"bars": 1e999}', b'{"bars": NaN}'):
        answer = ask(app, "POST", "/api/generate", content=content, headers=headers)
        assert answer.status_code in (400, 422)
        error_of(answer, answer.status_code)
    lone = rb'{"model": "\ud800"}'  # half a pair, which UTF-8 cannot hold
    error_of(ask(app, "POST", "/api/generate", content=lone, headers=headers), 422)
    assert "expected application/json" in error_of(ask(app, "POST", "/api/generate", content=b"{}"), 415)


def test_paths_and_methods_that_are_not_there(app):
    assert "/api/openapi.json" in error_of(ask(app, "GET", "/api/nothing"), 404)
    error_of(ask(app, "GET", "/nothing"), 404)
    answer = ask(app, "GET", "/api/generate")
    assert answer.headers["allow"] == "OPTIONS, POST" and error_of(answer, 405)
    for method, path, allowed in (
        ("POST", "/page.js", "GET, HEAD, OPTIONS"),
        ("HEAD", "/api/generate", "OPTIONS, POST"),
        ("DELETE", "/api/health", "GET, HEAD, OPTIONS"),
    ):
        answer = ask(app, method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    for path in ("/docs", "/redoc", "/openapi.json", "/api/docs", "/docs/oauth2-redirect"):
        error_of(ask(app, "GET", path), 404)


@pytest.mark.parametrize("path", ["/", "/page.js", "/api/health", "/api/models", "/api/openapi.json"])
def test_head_is_get_without_its_body(app, path):
    whole, head = ask(app, "GET", path), ask(app, "HEAD", path)
    assert whole.status_code == head.status_code == 200 and whole.content and not head.content
    assert dict(head.headers) == dict(whole.headers) and int(head.headers["content-length"]) == len(whole.content)


def test_options_lists_the_methods_and_opens_nothing_to_other_sites(app):
    for path, allowed in (
        ("/api/generate", "OPTIONS, POST"),
        ("/api/health", "GET, HEAD, OPTIONS"),
        ("/page.js", "GET, HEAD, OPTIONS"),
    ):
        asked = {"origin": "http://elsewhere.example", "access-control-request-method": "POST"}
        answer = ask(app, "OPTIONS", path, headers=asked)
        assert (answer.status_code, answer.headers["allow"], answer.content) == (204, allowed, b"")
        assert "nosniff" in answer.headers.values()
        assert not [name for name in answer.headers if name.startswith("access-control")]
    error_of(ask(app, "OPTIONS", "/api/nothing"), 404)


def test_names_of_hosts_have_no_case(player):
    app = make_app({"small": player}, hosts=("LocalHost", "[::1]"))
    for host in ("localhost", "LOCALHOST:8000", "[::1]", "[::1]:8000"):
        assert ask(app, "GET", "/api/health", headers={"host": host}).status_code == 200
    for host in ("localhost.example", "", "localhost@elsewhere", "elsewhere:80"):
        assert "is not served here" in error_of(ask(app, "GET", "/api/health", headers={"host": host}), 400)


def test_the_page_is_served_and_nothing_beside_it(app):
    assert "Page" in ask(app, "GET", "/").text
    for name, kind in (
        ("page.js", "text/javascript; charset=utf-8"),
        ("thing.wasm", "application/wasm"),
        ("model/step.onnx.gz", "application/gzip"),
        ("data.json", "application/json"),
    ):
        answer = ask(app, "GET", f"/{name}")
        assert answer.headers["content-type"] == kind and "content-encoding" not in answer.headers
        again = ask(app, "GET", f"/{name}", headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
    for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/link.txt", "/model/", "//secret.txt"):
        assert "secret" not in ask(app, "GET", path).text.replace("secret.txt", ""), path


def test_every_answer_has_the_headers_of_security(app):
    for method, path in (("GET", "/"), ("GET", "/api/health"), ("GET", "/nothing"), ("POST", "/api/generate")):
        headers = ask(app, method, path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy and "unsafe-inline" not in policy and "http" not in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["cross-origin-opener-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
    assert ask(app, "GET", "/api/health", headers={"host": "evil.example"}).status_code == 400
    assert ask(app, "GET", "/api/health", headers={"host": "127.0.0.1:8000"}).status_code == 200


def test_an_internal_error_is_one_line_without_its_details(player, monkeypatch):
    app = make_app({"small": player})
    monkeypatch.setattr("hypermeter.share.serve.app.play_request", lambda *rest: 1 / 0)
    assert error_of(post(app, "generate", {}), 500) == "the server failed; see its log"
    assert error_of(post(app, "generate/stream", {}), 500) == "the server failed; see its log"


# ---------------------------------------------------------------------- limits


def test_a_body_that_is_too_large_is_refused_with_or_without_its_length(player):
    app = make_app({"small": player}, limits=Limits(body_bytes=1000))
    headers = {"content-type": "application/json"}
    assert "1000 bytes" in error_of(ask(app, "POST", "/api/generate", content=b" " * 1001, headers=headers), 413)

    async def in_parts():
        for _ in range(11):
            yield b" " * 100

    error_of(ask(app, "POST", "/api/generate", content=in_parts(), headers=headers), 413)
    assert ask(app, "POST", "/api/generate", content=b'{"bars":1}'.ljust(1000), headers=headers).status_code == 200


def test_a_body_that_comes_too_slowly_is_refused(player):
    app = make_app({"small": player}, limits=Limits(body_seconds=0.1))

    async def slowly():
        yield b'{"bars":'
        await asyncio.sleep(1)
        yield b"1}"

    headers = {"content-type": "application/json"}
    assert "within 0.1 s" in error_of(ask(app, "POST", "/api/generate", content=slowly(), headers=headers), 408)


def test_work_that_takes_too_long_is_ended(player):
    app = make_app({"small": player}, limits=Limits(seconds=0.05))
    started = time.monotonic()
    assert "longer than 0.05 s" in error_of(post(app, "generate", {"bars": 256}), 503)
    whole = np.zeros((16, V), np.uint8)
    infill = {"groove": sent(whole.repeat(16, 0)), "known": ["x" + "." * 254 + "x"] * V, "particles": 256}
    error_of(post(app, "infill", infill), 503)
    answer = post(app, "generate/stream", {"bars": 256})
    if answer.status_code == 200:  # some bars came before
        assert "longer than" in json.loads(answer.text.splitlines()[-1])["error"]
    assert time.monotonic() - started < 10


class Gate:
    """Steps of the model wait before it."""

    def __init__(self):
        self.is_open, self.is_reached = threading.Event(), threading.Event()


@pytest.fixture
def gate(monkeypatch):
    gate, check = Gate(), Watch.check

    def checked(watch):
        gate.is_reached.set()
        assert gate.is_open.wait(10)
        check(watch)

    monkeypatch.setattr(Watch, "check", checked)
    yield gate
    gate.is_open.set()


def test_more_requests_than_there_are_places_wait_and_more_than_may_wait_are_refused(player, gate):
    app = make_app({"small": player}, limits=Limits(running=2, waiting=3))

    async def many():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=30) as client:
            requests = [asyncio.ensure_future(client.post("/api/generate", json={"bars": 1})) for _ in range(9)]
            while sum(request.done() for request in requests) < 4:
                await asyncio.sleep(0.01)
            busy = (await client.get("/api/health")).json()
            gate.is_open.set()
            return busy, [request.result() for request in requests if request.done()], await asyncio.gather(*requests)

    busy, refused, answers = asyncio.run(many())
    assert busy["running"] == busy["slots"] == 2
    assert len(refused) == 4 and all("try again" in error_of(answer, 429) for answer in refused)
    assert all(answer.headers["retry-after"].isdigit() for answer in refused)
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 4


def test_one_that_waits_too_long_is_refused(player, gate):
    app = make_app({"small": player}, limits=Limits(running=1, wait_seconds=0.1))

    async def two():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=30) as client:
            first = asyncio.ensure_future(client.post("/api/generate", json={"bars": 1}))
            await asyncio.to_thread(gate.is_reached.wait)
            second = await client.post("/api/generate", json={"bars": 1})
            gate.is_open.set()
            return await first, second

    first, second = asyncio.run(two())
    assert first.status_code == 200 and "no slot within 0.1 s" in error_of(second, 429)


@pytest.mark.parametrize("path", ["generate", "generate/stream", "infill", "vary"])
def test_a_request_whose_client_leaves_stops_its_work_and_frees_its_place(player, path, monkeypatch):
    app, limits = None, Limits(running=1)
    ended = threading.Event()
    stop, check = Watch.stop, Watch.check

    def checked(watch):
        try:
            check(watch)
        except Stopped:
            ended.set()
            raise

    monkeypatch.setattr(Watch, "check", checked)
    app = make_app({"small": player}, limits=limits)
    groove = sent(beat().repeat(128, 0)[:4096])
    body = {"generate": {"bars": 256}, "generate/stream": {"bars": 256}}.get(path)
    body = body or {"infill": {"groove": groove, "known": ["x" + "." * 4094 + "x"] * V, "particles": 256}}.get(path)
    body = body or {"groove": groove, "strength": 1.0, "particles": 256}

    async def leave():
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "method": "POST",
            "path": f"/api/{path}",
            "raw_path": f"/api/{path}".encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "http_version": "1.1",
            "headers": [(b"content-type", b"application/json"), (b"host", b"test")],
            "client": ("127.0.0.1", 1),
            "server": ("test", 80),
        }
        coming, gone = (
            [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}],
            asyncio.Event(),
        )

        async def receive():
            if coming:
                return coming.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            pass

        answering = asyncio.ensure_future(app(scope, receive, send))
        await asyncio.sleep(0.3)
        assert not answering.done()
        gone.set()
        await asyncio.wait_for(answering, 10)
        assert await asyncio.to_thread(ended.wait, 10)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=30) as client:
            return await client.post("/api/generate", json={"bars": 1})

    assert asyncio.run(leave()).status_code == 200
    assert stop is Watch.stop


async def stays():
    await asyncio.Event().wait()


def test_slots_are_given_back_after_an_error():
    async def use():
        slots = Slots(Limits(running=1, waiting=0))
        for _ in range(3):
            with contextlib.suppress(ZeroDivisionError):
                async with slots.one(stays):
                    assert slots.running == 1
                    with pytest.raises(Refused):
                        async with slots.one(stays):
                            pass
                    raise ZeroDivisionError
        return slots.running, slots.waiting

    assert asyncio.run(use()) == (0, 0)


def test_who_leaves_while_waiting_frees_the_place_in_the_queue():
    async def use():
        slots, gone = Slots(Limits(running=1, waiting=1, wait_seconds=60)), asyncio.Event()
        async with slots.one(stays):
            waits = asyncio.ensure_future(slots.take(gone.wait))
            await asyncio.sleep(0.05)
            assert slots.waiting == 1
            with pytest.raises(Refused):
                await slots.take(stays)
            gone.set()
            with pytest.raises(Stopped):
                await asyncio.wait_for(waits, 5)
            assert (slots.running, slots.waiting) == (1, 0)
        await asyncio.wait_for(slots.take(stays), 5)
        return slots.running, slots.waiting

    assert asyncio.run(use()) == (1, 0)


def test_a_watch_ends_work_by_time_or_by_hand():
    watch = Watch(60)
    watch.check()
    watch.stop()
    with pytest.raises(Stopped):
        watch.check()
    with pytest.raises(Refused, match=r"longer than 0.001 s"):
        late = Watch(0.001)
        time.sleep(0.01)
        late.check()


def test_limits_out_of_range_are_refused():
    with pytest.raises(HypermeterError, match="bars is 0"):
        Limits(bars=0)
    assert Limits(waiting=0).waiting == 0


# ---------------------------------------------------------------------- the schema


def test_the_schema_is_there_and_names_no_other_site(app):
    schema = ask(app, "GET", "/api/openapi.json").json()
    assert {"/api/generate", "/api/continue", "/api/infill", "/api/vary", "/api/analyse", "/api/models"} <= set(
        schema["paths"]
    )
    assert "http" not in json.dumps(schema).replace("HTTP", "").replace("http.", "")
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"] and "200" in operation["responses"], path
            if method == "post":
                assert {"400", "413", "415", "422"} <= set(operation["responses"]), path
                assert operation["responses"]["422"]["content"]["application/json"]["schema"]["$ref"].endswith(
                    "/Problem"
                )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_whatever_is_sent_is_answered_as_the_schema_says(player):
    """Schemathesis: no failure of the server's, and answers of the status, type and form that the schema has."""
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis.errors import Unsatisfiable
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    app = make_app({"small": player}, limits=Limits(bars=2, particles=2, seconds=20))
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app)
    held = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
        checks.negative_data_rejection,
    ]
    statuses_of = {}

    def hold(operation, mode):
        @settings(
            max_examples=8,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def run(case):
            response = case.call()
            statuses_of.setdefault(operation.label, []).append(response.status_code)
            # A body that is too large is refused before it is read, whatever is in it.
            is_read = response.status_code != 413
            case.validate_response(response, checks=held if is_read else held[:-1])

        with contextlib.suppress(Unsatisfiable):  # nothing is wrong for what takes anything
            run()

    for operation in (declared.ok() for declared in schema.get_all_operations()):
        for mode in schemathesis.GenerationMode:
            hold(operation, mode)
    assert len(statuses_of) == 19
    assert all(200 in statuses for label, statuses in statuses_of.items() if label.startswith("GET"))


@pytest.mark.parametrize(
    ("plan", "line"),
    [
        ({"density": [0.1, 5]}, "plan.density.1: Input should be less than or equal to 1, found '5'"),
        ({"density": "x"}, "plan.density: Input should be a valid number, found 'x'"),
    ],
)
def test_a_mistake_is_named_by_its_place_in_the_request(app, plan, line):
    assert error_of(post(app, "generate", {"bars": 1, "plan": plan}), 422) == line


# ---------------------------------------------------------------------- the command


@pytest.mark.parametrize("option", ["workers", "max_bars", "max_body"])
def test_limits_of_nothing_are_refused_by_the_option(option):
    with pytest.raises(HypermeterError, match=f"--{option.replace('_', '-')} is 0, expected at least 1"):
        serve_command(**{option: 0})


def test_addresses():
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost")
    assert not is_loopback("0.0.0.0") and not is_loopback("example.org")
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HypermeterError, match=f"127.0.0.1:{port}: cannot be listened on"):
            listen("127.0.0.1", port)
    with pytest.raises(HypermeterError, match="port is 70000"):
        listen("127.0.0.1", 70000)


@pytest.fixture
def custom_model(tmp_path, monkeypatch):
    """A folder groove with a model of one's own, without a kit, in the folder where one works."""
    monkeypatch.chdir(tmp_path)
    Path("groove").mkdir()
    write_checkpoint("groove/best.safetensors", replace(read_checkpoint(find_checkpoint("groove")), kit=None), {})


def test_a_shipped_name_comes_before_a_folder_of_that_name(custom_model):
    with pytest.warns(UserWarning, match=r"groove is the shipped model; the run in the folder is ./groove"):
        (shipped,) = load_players(["groove"]).values()
    (player,) = load_players(["./groove"]).values()
    assert shipped.kit is not None and player.kit is None


def test_models_are_served_by_their_names_and_two_of_one_name_are_refused(custom_model):
    assert list(load_players(["./groove"])) == list(load_players([str(Path("groove").resolve())])) == ["groove"]
    assert list(load_players(["groove/best.safetensors"])) == ["best"]
    with pytest.raises(HypermeterError, match="two are named groove"):
        load_players(["./groove", "./groove"])


def test_a_model_whose_voices_have_no_names_is_refused(custom_model):
    with pytest.raises(HypermeterError, match="groove: no kit in it"):
        make_app(load_players(["./groove"]))


def test_a_model_with_tracks_is_refused(player):
    network = copy(player.network)
    network.tracks = (BASS,)
    with pytest.raises(HypermeterError, match="^mine: a model with tracks .bass., expected drums alone"):
        make_app({"mine": replace(player, network=network)})


def test_the_command_refuses_in_one_line(capsys):
    assert cli.main(["serve", "--port", "70000"]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and "port is 70000" in err


@pytest.mark.slow
def test_the_command_serves_and_ends_on_ctrl_c(player):
    command = [sys.executable, "-m", "hypermeter.cli", "serve", "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, env=environment) as serving:
        try:
            address = serving.stdout.readline().split()[0]
            assert address.startswith("http://127.0.0.1:")
            deadline = time.monotonic() + 20
            while True:
                with contextlib.suppress(httpx.TransportError):
                    answer = httpx.post(f"{address}api/generate", json={"bars": 1}, timeout=30)
                    break
                assert time.monotonic() < deadline
            assert (
                answer.status_code == 200
                and (array(answer.json()["groove"]) == continue_groove(player, None, 1).hits).all()
            )
            guide = (Path(__file__).parents[1] / "docs" / "server.md").read_text("utf-8")
            (code,) = re.findall(r"^```py\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
            names = {}
            exec(code.replace("http://127.0.0.1:8000", address.rstrip("/")), names)
            assert len(names["new_bars"]["hits"][0]) == 64 and names["varied"]["hits"][0][:4] == [1, 0, 0, 0]
            with httpx.stream("POST", f"{address}api/generate/stream", json={"bars": 200}, timeout=20) as streaming:
                assert json.loads(next(streaming.iter_lines()))["bar"] == 0
            until = time.monotonic() + 20  # what was streamed ends with its client
            while httpx.get(f"{address}api/health").json()["running"]:
                assert time.monotonic() < until
                time.sleep(0.05)
            serving.send_signal(signal.SIGINT)
            _, err = serving.communicate(timeout=20)
        finally:
            serving.kill()
    assert serving.returncode == 0 and "Traceback" not in err


WITHOUT = """
import sys
sys.modules["torch"] = sys.modules["onnxruntime"] = None  # cannot be imported
import asyncio, json, httpx
from hypermeter.share.serve import make_app
from hypermeter.share.serve.command import load_players

app = make_app(load_players(["groove"]))

async def ask():
    groove = {"hits": ["x...x...x...x..."], "voices": ["kick"]}
    bodies = {
        "generate": {"bars": 1},
        "generate/stream": {"bars": 1},
        "continue": {"groove": groove, "bars": 1, "plan": {"style": "jazz"}},
        "continue/stream": {"groove": groove, "bars": 1},
        "infill": {"groove": groove, "known": ["x..............x"], "particles": 2},
        "vary": {"groove": groove, "strength": 0.5, "particles": 2},
        "follow": {"groove": groove, "particles": 2},
        "humanize": {"groove": groove, "like": "laid-back"},
        "analyse": {"groove": groove},
        "midi/write": {"groove": groove},
    }
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", timeout=60) as client:
        told = {}
        for path, body in bodies.items():
            answer = await client.post(f"/api/{path}", json=body)
            told[path] = answer.status_code
        headers = {"content-type": "audio/midi"}
        read = await client.post("/api/midi/read", content=answer.content, headers=headers)
        models = await client.get("/api/models")
        return {**told, "midi/read": read.status_code, "models": models.status_code}

print(json.dumps(asyncio.run(ask())))
"""


def run_python(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_request_of_each_kind_is_answered_where_pytorch_and_onnx_runtime_are_not_installed():
    statuses = json.loads(run_python("-c", WITHOUT))
    assert len(statuses) == 12 and set(statuses.values()) == {200}, statuses


def test_the_help_needs_none_of_the_packages_that_serve():
    script = """
import contextlib, sys
from hypermeter.cli import main
with contextlib.suppress(SystemExit):
    main(["serve", "--help"])
print(*(name for name in ("fastapi", "pydantic", "uvicorn", "numpy", "torch", "onnxruntime") if name in sys.modules))
"""
    *printed, loaded = run_python("-c", script).splitlines()
    assert any("--max-bars" in line for line in printed) and not loaded


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux tells them")
def test_each_request_is_computed_on_one_thread_alone():
    """The matrices are small: where OpenBLAS shares each among threads, infill takes several times as long."""
    script = """
import os, uvicorn
os.environ.pop("OMP_NUM_THREADS")
uvicorn.Server.run = lambda *_: print(len(os.listdir("/proc/self/task")))
from hypermeter.cli import main
main(["serve", "--port", "0"])
"""
    assert run_python("-c", script).splitlines()[-1] == "1"


def test_a_stroke_at_the_end_of_its_cell_is_answered():
    late = Strokes([0], [0], [0.49999997], [0.5])
    groove = Groove(np.eye(16, 10, dtype=np.uint8), strokes=late, kit=load_kit("gm10"))
    assert from_groove(groove).strokes[0].offset < 0.5
